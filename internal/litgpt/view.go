package litgpt

import (
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/safetensors"
)

// View is a checkpoint whose tensors are made of rows of another one's: it is a
// checkpoint.Source. Its methods may be called by several goroutines at once, except Close.
type View struct {
	src     checkpoint.Source
	names   []string
	targets map[string]target
	closer  io.Closer

	mu  sync.Mutex
	err error
}

// target is a tensor of a View.
type target struct {
	dtype  safetensors.DType
	shape  []int
	pieces []piece // its rows, one after the other
	same   string  // the name of the tensor whose values it shares, "" for its own
}

// piece is some rows of a tensor of the source, where a row is what its last axis has; the
// elements of a vector are rows.
type piece struct {
	from string
	rows
}

type rows struct{ first, n int }

// part is a tensor's place in a space of rows: with others before and behind it. Its rows
// are those of a tensor called name from first on.
type part struct {
	name  string
	first int
	shape []int
}

// height is how many rows a shape has.
func height(shape []int) int {
	n := 1
	for i, d := range shape {
		if i == 0 || i < len(shape)-1 {
			n *= d
		}
	}
	return n
}

func newView(src checkpoint.Source) *View { return &View{src: src, targets: map[string]target{}} }

// share makes name another name of the tensor of.
func (v *View) share(name, of string) {
	t := v.targets[of]
	t.same = of
	v.names = append(v.names, name)
	v.targets[name] = t
}

// add makes targets of the rows of sources, taken in an order, or as they are if that is nil.
func (v *View) add(targets, sources []part, order []rows) error {
	total := 0
	var dtype safetensors.DType
	for i, s := range sources {
		t, _ := v.src.Tensor(s.name)
		if i > 0 && t.DType != dtype {
			return fmt.Errorf("%s has type %s, %s, with which it is one weight, %s; convert the checkpoint to one type", s.name, t.DType, sources[0].name, dtype)
		}
		dtype = t.DType
		total += height(s.shape)
	}
	if order == nil {
		order = []rows{{0, total}}
	}
	// The order's rows, cut where sources begin.
	var pieces []piece
	for _, r := range order {
		at := 0
		for _, s := range sources {
			h := height(s.shape)
			first, end := max(r.first, at), min(r.first+r.n, at+h)
			if first < end {
				pieces = append(pieces, piece{s.name, rows{s.first + first - at, end - first}})
			}
			at += h
		}
	}
	// And dealt out to the targets.
	for _, t := range targets {
		out := target{dtype: dtype, shape: t.shape}
		for need := height(t.shape); need > 0; {
			if len(pieces) == 0 {
				return fmt.Errorf("%s: %d of its rows are missing", t.name, need)
			}
			p := &pieces[0]
			n := min(need, p.n)
			out.pieces = append(out.pieces, piece{p.from, rows{p.first, n}})
			p.first, p.n, need = p.first+n, p.n-n, need-n
			if p.n == 0 {
				pieces = pieces[1:]
			}
		}
		v.names = append(v.names, t.name)
		v.targets[t.name] = out
	}
	if len(pieces) > 0 {
		return fmt.Errorf("%s: %d rows of %s belong to nothing", targets[0].name, pieces[0].n, pieces[0].from)
	}
	return nil
}

// Names lists the tensors in the order of the model.
func (v *View) Names() []string { return slices.Clone(v.names) }

// Tensor gives the tensor called name. Where its rows lie one after the other in a tensor of
// the source, its Data is theirs; otherwise every call copies them, see Err.
func (v *View) Tensor(name string) (safetensors.Tensor, bool) {
	t, parts, ok := v.parts(name)
	if !ok {
		return t, false
	}
	if len(parts) == 1 {
		parts[0].Name, parts[0].Shape = t.Name, t.Shape
		return parts[0], true
	}
	size := 0
	for _, p := range parts {
		size += len(p.Data)
	}
	t.Data = make([]byte, size)
	at := 0
	for _, p := range parts {
		if err := p.CopyTo(t.Data[at : at+len(p.Data)]); err != nil {
			v.fail(err)
			return safetensors.Tensor{}, false
		}
		at += len(p.Data)
	}
	return t, true
}

// Header implements checkpoint.Headers: Data is nil where the rows would have to be copied.
func (v *View) Header(name string) (safetensors.Tensor, bool) {
	t, ok := v.targets[name]
	if !ok || len(t.pieces) == 1 {
		return v.Tensor(name)
	}
	return safetensors.Tensor{Name: name, DType: t.dtype, Shape: slices.Clone(t.shape)}, true
}

// Err says why Tensor did not give a tensor that is there: the file was truncated while it
// was open, or its disk is gone.
func (v *View) Err() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.err
}

func (v *View) fail(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.err == nil {
		v.err = err
	}
}

// Close closes what Open opened; the data of tensors must not be read any more.
func (v *View) Close() error {
	if v.closer == nil {
		return nil
	}
	return v.closer.Close()
}

// parts gives a tensor without its Data, and tensors whose Data, one after the other, that is.
func (v *View) parts(name string) (safetensors.Tensor, []safetensors.Tensor, bool) {
	t, ok := v.targets[name]
	if !ok {
		return safetensors.Tensor{}, nil, false
	}
	out := safetensors.Tensor{Name: name, DType: t.dtype, Shape: slices.Clone(t.shape)}
	var parts []safetensors.Tensor
	var whole safetensors.Tensor
	for _, p := range t.pieces {
		if whole.Name != p.from || whole.Data == nil {
			if whole, ok = v.src.Tensor(p.from); !ok {
				return safetensors.Tensor{}, nil, false
			}
		}
		row := len(whole.Data) / max(height(whole.Shape), 1)
		part := whole
		part.Data = whole.Data[p.first*row : (p.first+p.n)*row]
		part.Shape = slices.Clone(t.shape)
		if len(part.Shape) > 0 {
			part.Shape[0] = p.n
		}
		parts = append(parts, part)
	}
	return out, parts, true
}
