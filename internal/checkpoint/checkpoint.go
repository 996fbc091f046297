// Package checkpoint moves weights between files and models. Names are those of
// Hugging Face checkpoints throughout.
package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// Source is an opened checkpoint: a directory of safetensors shards, or a map in a test.
type Source interface {
	Names() []string
	Tensor(name string) (safetensors.Tensor, bool)
}

// Headers is implemented by sources that have to make the data of some tensors: Header is
// Tensor, but Data is nil where it would have to be made.
type Headers interface {
	Header(name string) (safetensors.Tensor, bool)
}

// Header gives type and shape of a tensor; there need not be Data.
func Header(src Source, name string) (safetensors.Tensor, bool) {
	if h, ok := src.(Headers); ok {
		return h.Header(name)
	}
	return src.Tensor(name)
}

// Adapter is implemented by models whose checkpoints do not hold one tensor per
// weight under its name, e.g. fused or permuted projections.
type Adapter interface {
	AdaptCheckpoint(Source) Source
}

// Pieced is implemented by models some of whose weights are several tensors in some
// checkpoints: the experts of a layer, which are one weight here.
type Pieced interface {
	// CheckpointPieces gives, by the names of such weights, the tensors that hold their
	// rows, one after the other, in a checkpoint of which has reports what it holds; nil
	// when it is stored as the model has it. With has nil it is the layout to save a new model in.
	CheckpointPieces(has func(name string) bool) map[string][]nn.Piece
}

// pieces gives the tensors that hold a model's weights where those are several; src may be nil.
func pieces(model any, src Source) map[string][]nn.Piece {
	m, ok := model.(Pieced)
	if !ok {
		return nil
	}
	if src == nil {
		return m.CheckpointPieces(nil)
	}
	return m.CheckpointPieces(func(name string) bool { _, ok := Header(src, name); return ok })
}

// Options say how weights are held.
type Options struct {
	// Matrix is the type of weights of two axes or more in memory; Stored keeps that of the
	// file. Norms and biases are always F32. Weights that are quantized in the file stay
	// so, whatever Matrix says, unless Own is set.
	Matrix Type

	// Own copies every weight, so that it can be trained; otherwise a weight whose
	// type fits is used where the file is mapped. Quantized weights become floats of
	// the type Matrix, F32 if that is Stored.
	Own bool

	// Quantize, if not nil, names quantized types for weights as they are loaded, by their names in the model;
	// I32, which no weight has, is for those that it leaves as they are. Weights that are quantized in the file stay so.
	Quantize func(name string, shape []int) tensor.DType
}

// Type is a choice of a weight's type in memory.
type Type int

// The choices.
const (
	Stored Type = iota
	F32
	BF16
	F16
)

var types = map[Type]tensor.DType{F32: tensor.F32, BF16: tensor.BF16, F16: tensor.F16}

// stored is the type of a tensor in a file: a float, or one of GGML's quantized types, which a GGUF file has.
func stored(t safetensors.Tensor) (tensor.DType, bool) {
	d, ok := tensor.DTypeByName(string(t.DType))
	return d, ok && d != tensor.I32
}

// Load fills every weight of model on dev; a planning device gets their sizes only, and
// of the files nothing but headers is read. It reports all that does not fit at
// once: weights the checkpoint lacks, tensors the model does not have, shapes that
// differ, and types that are no floats. Source must outlive the model.
func Load(dev *tensor.Device, model any, src Source, o Options) error {
	if a, ok := model.(Adapter); ok {
		src = a.AdaptCheckpoint(src)
	}
	type job struct {
		p  *tensor.Tensor
		ts []safetensors.Tensor // their headers
	}
	split := pieces(model, src)
	var jobs []job
	var errs []error
	used := map[string]bool{}
	for name, p := range nn.Params(model) {
		p.Name = name
		j := job{p: p}
		for _, piece := range of(split, name, p) {
			used[piece.Name] = true
			t, ok := Header(src, piece.Name)
			_, float := stored(t)
			switch {
			case !ok:
				errs = append(errs, fmt.Errorf("missing %s, shape %v", piece.Name, piece.Shape))
			case !slices.Equal(t.Shape, piece.Shape):
				errs = append(errs, fmt.Errorf("%s: shape %v in the checkpoint, %v in the model", piece.Name, t.Shape, piece.Shape))
			case !float:
				errs = append(errs, fmt.Errorf("%s: type %s in the checkpoint, F32, F16, BF16 or one of GGML's quantized types wanted", piece.Name, t.DType))
			default:
				j.ts = append(j.ts, t)
			}
		}
		jobs = append(jobs, j)
	}
	for _, name := range src.Names() {
		if used[name] || strings.HasSuffix(name, ".rotary_emb.inv_freq") {
			continue // old checkpoints store the rotary frequencies, which config.json gives
		}
		if dev.Planning() && isHead(name) {
			continue // what it holds is seen when the weights are loaded
		}
		if err := extra(model, src, name); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("checkpoint does not match config.json:\n%w", err)
	}
	dev.Label("weights")
	for _, j := range jobs {
		if err := place(dev, src, j.p, j.ts, o); err != nil {
			return fmt.Errorf("%s: %w", j.p.Name, err)
		}
	}
	return nil
}

// extra says what is wrong with a tensor that the model does not have. A head
// that equals the embedding it is tied to is only superfluous.
func extra(model any, src Source, name string) error {
	if !isHead(name) {
		return fmt.Errorf("unused %s", name)
	}
	embedding := ""
	for embedding = range nn.Params(model) { // the first weight of every family
		break
	}
	head, _ := src.Tensor(name)
	embed, ok := src.Tensor(embedding)
	if ok && head.DType == embed.DType && bytes.Equal(head.Data, embed.Data) {
		return nil
	}
	return fmt.Errorf("%s differs from %s, although tie_word_embeddings says they are one", name, embedding)
}

// isHead reports whether a tensor is called as output projections are.
func isHead(name string) bool { return name == "lm_head.weight" || name == "embed_out.weight" }

// of gives the tensors that hold a weight: its pieces, or itself.
func of(split map[string][]nn.Piece, name string, p *tensor.Tensor) []nn.Piece {
	if list := split[name]; list != nil {
		return list
	}
	return []nn.Piece{{Name: name, Shape: p.Shape()}}
}

// place gives p memory and the values of ts, which are its rows.
func place(dev *tensor.Device, src Source, p *tensor.Tensor, ts []safetensors.Tensor, o Options) error {
	from, _ := stored(ts[0])
	to, ok := types[o.Matrix]
	switch {
	case len(p.Shape()) < 2, o.Own && from.Quantized() && !ok:
		to = tensor.F32
	case !ok, from.Quantized() && !o.Own:
		to = from
	}
	for _, t := range ts {
		if d, _ := stored(t); d != from && to.Quantized() {
			to = tensor.F32 // experts of several types: none is quantized anew
		}
	}
	if o.Quantize != nil && !from.Quantized() {
		if q := o.Quantize(p.Name, p.Shape()); q.Quantized() {
			to = q
		}
	}
	if from == to && !o.Own && len(ts) == 1 && ts[0].Data != nil {
		return dev.Map(p, from, ts[0].Data)
	}
	if err := dev.Alloc(p, to); err != nil || dev.Planning() {
		return err
	}
	return fill(p, src, ts)
}

// FillWeight sets a weight, which has memory of its own, to its value in a checkpoint of
// the model. False says that the checkpoint does not hold it.
func FillWeight(p *tensor.Tensor, name string, model any, src Source) (bool, error) {
	if a, ok := model.(Adapter); ok {
		src = a.AdaptCheckpoint(src)
	}
	var ts []safetensors.Tensor
	for _, piece := range of(pieces(model, src), name, p) {
		t, ok := Header(src, piece.Name)
		if !ok {
			return false, nil
		}
		ts = append(ts, t)
	}
	return true, fill(p, src, ts)
}

// fill converts the values of ts, one after the other, to p. What of them has no Data is made by src.
func fill(p *tensor.Tensor, src Source, ts []safetensors.Tensor) error {
	at := 0
	for _, t := range ts {
		if t.Data == nil {
			made, ok := src.Tensor(t.Name)
			if !ok {
				return fmt.Errorf("%s: cannot be read: its file is closed, or was truncated", t.Name)
			}
			t = made
		}
		if err := fillAt(p, at, t); err != nil {
			return err
		}
		from, _ := stored(t)
		at += elements(from, len(t.Data))
	}
	return nil
}

// Fill converts the value of t to the type of p, which has memory of its own, a piece at a time.
func Fill(p *tensor.Tensor, t safetensors.Tensor) error { return fillAt(p, 0, t) }

// fillAt is Fill of the elements of p from first on.
func fillAt(p *tensor.Tensor, first int, t safetensors.Tensor) error {
	from, _ := stored(t)
	to := p.DType()
	const piece = 1 << 20 // elements, whole blocks of every type
	n := elements(from, len(t.Data))
	if !from.Quantized() && to.Quantized() { // seconds per billion weights and core
		return quantizeAt(p, first, t, piece)
	}
	raw, floats := make([]byte, from.Bytes(min(n, piece))), make([]float32, min(n, piece))
	for at := 0; at < n; at += piece {
		m := min(piece, n-at)
		chunk := t
		chunk.Shape, chunk.Data = []int{m}, t.Data[from.Bytes(at):from.Bytes(at+m)]
		if err := chunk.CopyTo(raw[:from.Bytes(m)]); err != nil {
			return err
		}
		if from == to {
			p.WriteBytes(raw[:from.Bytes(m)], to.Bytes(first+at))
			continue
		}
		tensor.ToFloats(from, raw[:from.Bytes(m)], floats[:m])
		p.WriteBytes(tensor.FromFloats(to, floats[:m]), to.Bytes(first+at))
	}
	return nil
}

// elements is how many elements of a type n bytes are.
func elements(d tensor.DType, n int) int { return n / d.Bytes(d.Block()) * d.Block() }

// quantizeAt is fillAt of a quantized weight from floats, a piece of so many elements to each goroutine.
func quantizeAt(p *tensor.Tensor, first int, t safetensors.Tensor, piece int) error {
	from, _ := stored(t)
	to := p.DType()
	n := elements(from, len(t.Data))
	var mu sync.Mutex // of what follows, and of p
	next, failed := 0, error(nil)
	take := func() (at, m int) {
		mu.Lock()
		defer mu.Unlock()
		at = next
		if failed != nil || at >= n {
			return at, 0
		}
		m = min(piece, n-at)
		next += m
		return at, m
	}
	var all sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), (n+piece-1)/piece) {
		all.Go(func() {
			raw, floats := make([]byte, from.Bytes(min(n, piece))), make([]float32, min(n, piece))
			for {
				at, m := take()
				if m == 0 {
					return
				}
				chunk := t
				chunk.Shape, chunk.Data = []int{m}, t.Data[from.Bytes(at):from.Bytes(at+m)]
				err := chunk.CopyTo(raw[:from.Bytes(m)])
				var out []byte
				if err == nil {
					out, err = quantized(from, to, raw[:from.Bytes(m)], floats[:m])
				}
				mu.Lock()
				if err != nil && failed == nil {
					failed = err
				} else if err == nil {
					p.WriteBytes(out, to.Bytes(first+at))
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return failed
}

// quantized converts floats, using v.
func quantized(from, to tensor.DType, raw []byte, v []float32) (out []byte, err error) {
	defer tensor.Catch(&err)
	tensor.ToFloats(from, raw, v)
	for i, x := range v {
		if x-x != 0 {
			return nil, fmt.Errorf("element %d of a piece is %g; the checkpoint is damaged", i, x)
		}
	}
	return tensor.FromFloats(to, v), nil
}
