// Package lora fine-tunes a model through low-rank corrections of its linear
// layers: y = W·x + (alpha/rank)·B·A·x, with W frozen. https://arxiv.org/abs/2106.09685
//
// No model file knows about it: [Inject] finds the linear layers by their
// checkpoint names and hangs an adapter on each. On disk an adapter is a PEFT
// directory ([Save], [Load]).
package lora

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path"
	"slices"
	"strings"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// Config selects the layers to adapt and the size of the correction.
type Config struct {
	Rank    int      // of the update matrices
	Alpha   float64  // the update is scaled by alpha/rank
	Dropout float64  // of the input of the update, in training
	Targets []string // last part of the names of the layers to adapt, e.g. q_proj; patterns of path.Match
}

// Layer is the correction of one linear layer. Its names are those of PEFT, so
// an adapter directory can be read by either program.
type Layer struct {
	A *nn.Linear `hf:"lora_A"` // in -> rank, random at first
	B *nn.Linear `hf:"lora_B"` // rank -> out, zero at first

	scale float64
	mask  tensor.Mask
}

// Forward implements nn.Adapter.
func (l *Layer) Forward(x, y *tensor.Tensor) *tensor.Tensor {
	if g := x.Graph(); g.Training && l.mask.P > 0 {
		x = x.Dropout(g.Seed(), l.mask)
	}
	return y.Add(l.B.Forward(l.A.Forward(x)).Scale(l.scale))
}

var _ nn.Adapter = (*Layer)(nil)

// Inject freezes every weight of model, adapts the layers that cfg targets with
// weights of their own on dev, and returns the trainable weights with their
// names. A is drawn from rng as PEFT draws it, uniform in ±1/√in, and B is zero:
// the model computes what it did.
func Inject(dev *tensor.Device, model any, cfg Config, rng *rand.Rand) (names []string, weights []*tensor.Tensor, err error) {
	if err := cfg.check(); err != nil {
		return nil, nil, err
	}
	dev.Label("adapter")
	unused := slices.Clone(cfg.Targets)
	var all []string
	var chosen []*nn.Linear
	for name, l := range nn.Linears(model) {
		if isAdapter(name) {
			continue
		}
		if !slices.Contains(all, lastPart(name)) {
			all = append(all, lastPart(name))
		}
		if target := matching(cfg.Targets, name); target != "" {
			unused = slices.DeleteFunc(unused, func(t string) bool { return t == target })
			chosen = append(chosen, l)
		}
	}
	if len(unused) > 0 {
		return nil, nil, fmt.Errorf("lora: no layer is called %s; this model's layers are %s", strings.Join(unused, ", "), strings.Join(all, ", "))
	}
	for layer, l := range chosen {
		out, in := l.Weight.Dim(0), l.Weight.Dim(1)
		a := &Layer{A: nn.NewLinear(in, cfg.Rank, false), B: nn.NewLinear(cfg.Rank, out, false),
			scale: cfg.Alpha / float64(cfg.Rank), mask: tensor.Mask{P: cfg.Dropout, Layer: layer}}
		values := make([]float32, cfg.Rank*in)
		for i := range values {
			values[i] = float32((2*rng.Float64() - 1) / math.Sqrt(float64(in)))
		}
		if err := errors.Join(dev.Alloc(a.A.Weight, tensor.F32), dev.Alloc(a.B.Weight, tensor.F32)); err != nil {
			return nil, nil, err
		}
		a.A.Weight.SetValues(values)
		a.B.Weight.SetValues(make([]float32, out*cfg.Rank))
		l.Adapter = a
	}
	for name, p := range nn.Params(model) {
		p.Trainable = isAdapter(name)
		if p.Trainable {
			p.Name = name
			names, weights = append(names, name), append(weights, p)
		}
	}
	return names, weights, nil
}

func (c Config) check() error {
	switch {
	case c.Rank <= 0 || c.Rank > 1<<16:
		return fmt.Errorf("lora: rank is %d; a positive number wanted", c.Rank)
	case !(c.Alpha > 0) || math.IsInf(c.Alpha, 0):
		return fmt.Errorf("lora: alpha is %g; a positive number wanted", c.Alpha)
	case !(c.Dropout >= 0 && c.Dropout < 1):
		return fmt.Errorf("lora: dropout is %g; 0 ≤ dropout < 1 wanted", c.Dropout)
	case len(c.Targets) == 0:
		return errors.New("lora: no layers are chosen; switch on at least one of --lora_query, --lora_key, --lora_value, --lora_projection, --lora_mlp, --lora_head")
	}
	return nil
}

func isAdapter(name string) bool {
	return strings.HasSuffix(name, ".lora_A") || strings.HasSuffix(name, ".lora_B") ||
		strings.HasSuffix(name, ".lora_A.weight") || strings.HasSuffix(name, ".lora_B.weight")
}

func lastPart(name string) string { return name[strings.LastIndexByte(name, '.')+1:] }

// matching gives the first target that the layer's name matches, or "".
func matching(targets []string, name string) string {
	for _, t := range targets {
		if ok, _ := path.Match(t, lastPart(name)); ok || t == name || strings.HasSuffix(name, "."+t) {
			return t
		}
	}
	return ""
}

// Merge adds each correction to the weight it corrects and removes the adapters.
// Sums are made in float32 and rounded once to the weight's type. A weight that is
// mapped from a file gets memory of its own. A tied head cannot be merged apart
// from the embedding.
func Merge(dev *tensor.Device, model any) (err error) {
	defer tensor.Catch(&err)
	embeddings := map[*tensor.Tensor]string{}
	for name, p := range nn.Params(model) {
		embeddings[p] = name
	}
	for name, l := range nn.Linears(model) {
		a, ok := l.Adapter.(*Layer)
		if !ok {
			continue
		}
		if own := embeddings[l.Weight]; own != name+".weight" {
			return fmt.Errorf("lora: %s shares its weight with %s; merging would change both, use the adapter directory as it is", name, own)
		}
		g := tensor.NewGraph()
		b := g.Floats(a.B.Weight.Shape()...).SetFloats(a.B.Weight.Values())
		delta := b.MatMul(a.A.Weight) // (out, in)
		delta = delta.Scale(a.scale)
		p, err := g.Compile(dev, delta)
		if err != nil {
			return err
		}
		if err := p.Run(); err != nil {
			p.Close()
			return err
		}
		sum := l.Weight.Values()
		for i, d := range delta.Values() {
			sum[i] += d
		}
		p.Close()
		if err := dev.Alloc(l.Weight, l.Weight.DType()); err != nil {
			return err
		}
		l.Weight.SetValues(sum)
		a.A.Weight.Free()
		a.B.Weight.Free()
		l.Adapter = nil
	}
	return nil
}
