package quantize

import (
	"context"
	"fmt"
	"math"
	"os"
	"sync"

	"github.com/litgpt-go/litgpt/internal/durable"
	"github.com/litgpt-go/litgpt/internal/gguf"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// pieceSize is how many weights one goroutine takes at a time: 4 MiB of floats.
const pieceSize = 1 << 20

// piece is some rows of a tensor, on their way to the file.
type piece struct {
	t       *Tensor
	first   int
	rows    int
	out     []byte
	err     error
	done    chan struct{}
	weights int
}

// Bytes is the size of all values.
func (p *Plan) Bytes() (n int) {
	for i := range p.Tensors {
		n += p.Tensors[i].Bytes()
	}
	return n
}

// SourceBytes is the size of the values that they are made from.
func (p *Plan) SourceBytes() (n int) {
	for i := range p.Tensors {
		n += p.Tensors[i].source().Bytes(p.Tensors[i].Rows() * p.Tensors[i].Cols())
	}
	return n
}

// Write writes the file: to a temporary name, synced, renamed. Several goroutines quantize, each some
// rows; about workers pieces are in memory. done, if not nil, is told the bytes of the source that
// are through. When ctx ends, nothing is left.
func (p *Plan) Write(ctx context.Context, path string, workers int, done func(bytes int64)) error {
	infos := make([]gguf.Info, len(p.Tensors))
	for i, t := range p.Tensors {
		infos[i] = t.Info
		var ok bool
		if infos[i].Type, ok = gguf.TypeByName(t.To.String()); !ok {
			return fmt.Errorf("tensor %s: type %v, which GGUF does not have", t.Name, t.To)
		}
	}
	f, err := durable.CreateFile(path, os.FileMode(0o644))
	if err != nil {
		return err
	}
	defer f.Abort()
	w, err := gguf.NewWriter(f, p.Metadata, infos)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	err = p.pieces(ctx, max(1, workers), func(c *piece) error {
		if _, err := w.Write(c.out); err != nil {
			return err
		}
		if done != nil {
			done(int64(c.t.source().Bytes(c.weights)))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return f.Commit()
}

// pieces makes all values on several goroutines, and hands them to each in their order.
func (p *Plan) pieces(ctx context.Context, workers int, each func(*piece) error) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	jobs, order := make(chan *piece), make(chan *piece, workers+1)
	running.Go(func() {
		defer close(order)
		defer close(jobs)
		for i := range p.Tensors {
			t := &p.Tensors[i]
			for first := 0; first < t.Rows(); {
				n := min(t.Rows()-first, max(1, pieceSize/t.Cols()))
				if per := t.rowsPerExpert(); t.Importance != nil {
					n = min(n, per-first%per) // each expert has importance of its own
				}
				c := &piece{t: t, first: first, rows: n, weights: n * t.Cols(), done: make(chan struct{})}
				select {
				case <-ctx.Done():
					return
				case order <- c:
				}
				select {
				case <-ctx.Done():
					return
				case jobs <- c:
				}
				first += n
			}
		}
	})
	for range workers {
		running.Go(func() {
			var floats []float32
			for c := range jobs {
				floats, c.err = c.make(floats)
				close(c.done)
			}
		})
	}
	for c := range order {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.done:
		}
		if c.err != nil {
			return c.err
		}
		if err := each(c); err != nil {
			return err
		}
		c.out = nil
	}
	return ctx.Err()
}

// source is the type in the checkpoint.
func (t *Tensor) source() tensor.DType {
	if t.gptq {
		return t.was
	}
	return t.DType()
}

func (t *Tensor) rowsPerExpert() int {
	if len(t.Shape) < 3 {
		return t.Rows()
	}
	return t.Rows() / t.Shape[0]
}

// make computes the piece. floats is memory to use; what is returned may be used again.
func (c *piece) make(floats []float32) ([]float32, error) {
	t, cols := c.t, c.t.Cols()
	rowBytes := t.To.Bytes(cols)
	c.out = make([]byte, c.rows*rowBytes)
	if t.To == t.DType() {
		return floats, t.Read(c.out, c.first)
	}
	if cap(floats) < c.weights {
		floats = make([]float32, c.weights)
	}
	floats = floats[:c.weights]
	if err := t.Floats(floats, c.first); err != nil {
		return floats, err
	}
	var importance []float32
	if t.Importance != nil {
		at := c.first / t.rowsPerExpert() * cols % len(t.Importance)
		importance = t.Importance[at : at+cols]
	}
	return floats, quantizeRows(t, floats, c.first, importance, c.out)
}

// quantizeRows converts rows of t, from first on.
func quantizeRows(t *Tensor, v []float32, first int, importance []float32, out []byte) (err error) {
	defer tensor.Catch(&err)
	cols := t.Cols()
	for i, x := range v {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return fmt.Errorf("tensor %s: element [%d,%d] is %g; the checkpoint is damaged", t.Name, first+i/cols, i%cols, x)
		}
	}
	if !t.To.Quantized() {
		copy(out, tensor.FromFloats(t.To, v))
		return nil
	}
	tensor.Quantize(t.To, v, cols, importance, out)
	if !tensor.ValidBlocks(t.To, out) {
		return fmt.Errorf("tensor %s: weights too large for %v among rows %d to %d; give it another type with --override", t.Name, t.To, first, first+len(v)/cols-1)
	}
	return nil
}
