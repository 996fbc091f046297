package lora

import (
	"fmt"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// Merge adds each correction to the weight it corrects and removes the adapters.
// Sums are made in float32 and rounded once to the weight's type; quantized weights cannot take
// them (see [Merger]). A weight that is mapped from a file gets memory of its own. A tied head
// cannot be merged apart from the embedding.
func Merge(dev *tensor.Device, model any) (err error) {
	defer tensor.Catch(&err)
	m, err := NewMerger(dev, model)
	if err != nil {
		return err
	}
	for _, w := range m.order {
		if w.DType().Quantized() {
			return fmt.Errorf("lora: %s is %v; merging would quantize it anew", w.Name, w.DType())
		}
	}
	for _, w := range m.order {
		if err := m.merge(w); err != nil {
			return err
		}
	}
	for _, l := range nn.Linears(model) {
		if a, ok := l.Adapter.(*Layer); ok {
			a.A.Weight.Free()
			a.B.Weight.Free()
			l.Adapter = nil
		}
	}
	for _, s := range nn.Stacks(model) {
		if a, ok := s.Adapter.(*StackLayer); ok {
			a.A.Free()
			a.B.Free()
			s.Adapter = nil
		}
	}
	return nil
}

// Merger computes what adapters make of the weights that they correct, one weight at a time: the base
// stays as it is, in whatever type, and the adapters on it.
type Merger struct {
	dev   *tensor.Device
	of    map[*tensor.Tensor]correction
	order []*tensor.Tensor
}

// correction is scale·B·A for a weight (out, in), or for that of each expert (E, out, in).
type correction struct {
	a, b  *tensor.Tensor
	scale float64
}

// NewMerger finds the adapters of a model on dev.
func NewMerger(dev *tensor.Device, model any) (*Merger, error) {
	m := &Merger{dev: dev, of: map[*tensor.Tensor]correction{}}
	add := func(w *tensor.Tensor, c correction) {
		m.of[w] = c
		m.order = append(m.order, w)
	}
	own := map[*tensor.Tensor]string{}
	for name, p := range nn.Params(model) {
		own[p] = name
	}
	for name, l := range nn.Linears(model) {
		a, ok := l.Adapter.(*Layer)
		if !ok {
			continue
		}
		if own[l.Weight] != name+".weight" {
			return nil, fmt.Errorf("lora: %s shares its weight with %s; merging would change both, use the adapter directory as it is", name, own[l.Weight])
		}
		add(l.Weight, correction{a.A.Weight, a.B.Weight, a.scale})
	}
	for _, s := range nn.Stacks(model) {
		if a, ok := s.Adapter.(*StackLayer); ok {
			add(s.Weight, correction{a.A, a.B, a.scale})
		}
	}
	return m, nil
}

// Corrects reports whether an adapter corrects the weight w.
func (m *Merger) Corrects(w *tensor.Tensor) bool { _, ok := m.of[w]; return ok }

// Values gives the weight w with its correction, if it has one, in float32: of a quantized weight
// the numbers that it stands for, corrected.
func (m *Merger) Values(w *tensor.Tensor) (v []float32, err error) {
	defer tensor.Catch(&err)
	v = w.Values()
	if err := w.Err(); err != nil {
		return nil, err
	}
	if _, ok := m.of[w]; !ok {
		return v, nil
	}
	at := 0
	return v, m.deltas(w, func(delta []float32) error {
		for i, d := range delta {
			v[at+i] += d
		}
		at += len(delta)
		return nil
	})
}

// deltas gives the correction of w, or those of its experts one by one.
func (m *Merger) deltas(w *tensor.Tensor, each func([]float32) error) error {
	c := m.of[w]
	out, in, rank := w.Dim(-2), w.Dim(-1), c.a.Dim(-2)
	g := tensor.NewGraph()
	ga, gb := g.Floats(rank, in), g.Floats(out, rank)
	delta := gb.MatMul(ga).Scale(c.scale) // (out, in)
	p, err := g.Compile(m.dev, delta)
	if err != nil {
		return err
	}
	defer p.Close()
	av, bv := c.a.Values(), c.b.Values()
	for e := range w.Numel() / (out * in) {
		ga.SetFloats(av[e*rank*in : (e+1)*rank*in])
		gb.SetFloats(bv[e*out*rank : (e+1)*out*rank])
		if err := p.Run(); err != nil {
			return err
		}
		if err := each(delta.Values()); err != nil {
			return err
		}
	}
	return nil
}

// merge changes w itself.
func (m *Merger) merge(w *tensor.Tensor) error {
	n := w.Dim(-2) * w.Dim(-1)
	data, size, sum, e := w.Bytes(), w.DType().Bytes(n), make([]float32, n), 0
	err := m.deltas(w, func(delta []float32) error {
		one := data[e*size : (e+1)*size]
		tensor.ToFloats(w.DType(), one, sum)
		for i, d := range delta {
			sum[i] += d
		}
		copy(one, tensor.FromFloats(w.DType(), sum))
		e++
		return nil
	})
	if err != nil {
		return err
	}
	if err := m.dev.Alloc(w, w.DType()); err != nil {
		return err
	}
	w.SetBytes(data)
	return nil
}
