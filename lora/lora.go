// Package lora fine-tunes a model through low-rank corrections of its linear
// layers: y = W·x + (alpha/rank)·B·A·x, with W frozen. https://arxiv.org/abs/2106.09685
//
// No model file knows about it: [Inject] finds the linear layers by their
// checkpoint names and hangs an adapter on each. On disk an adapter is a PEFT
// directory ([Save], [Load]).
package lora

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
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

	// Parameters are ends of the names of stacks of experts to adapt, e.g.
	// mlp.experts.down_proj (PEFT's target_parameters). Their input has no dropout.
	Parameters []string

	// Parts are the targets whose weight holds several projections (a fused qkv_proj),
	// with those of them that are adapted. Each part has an update of its own of rank
	// Rank, as if it were a layer of its own: see [Layer].
	Parts map[string][]nn.Rows

	// Ranks and Alphas are those of targets, and of stacks whose names end in what the
	// key matches, that differ from Rank and Alpha.
	Ranks  map[string]int
	Alphas map[string]float64
}

// rank and alpha of the layers that target selects. The parts of a weight share one
// product of matrices of their joint rank, whose scale is as before.
func (c Config) rank(target string) int {
	return cmp.Or(c.Ranks[target], c.Rank) * max(1, len(c.Parts[target]))
}

func (c Config) alpha(target string) float64 {
	return cmp.Or(c.Alphas[target], c.Alpha) * float64(max(1, len(c.Parts[target])))
}

// Layer is the correction of one linear layer. Its names are those of PEFT, so
// an adapter directory can be read by either program.
//
// Where only parts of a weight's rows are adapted, with r as the rank of each, rows
// r·i to r·(i+1) of A and the columns of the same numbers of B are those of part i,
// and B is zero in the rows of all others. So it is a plain LoRA layer for whoever
// reads it, and computes what LitGPT's LoRAQKVLinear does: the zeros have no
// gradient, hence stay.
type Layer struct {
	A *nn.Linear `hf:"lora_A"` // in -> rank, random at first
	B *nn.Linear `hf:"lora_B"` // rank -> out, zero at first

	scale float64
	mask  tensor.Mask
	parts *parts // nil when all rows are adapted
}

// parts says where B (out, rank) may differ from zero; layers of one kind share it.
type parts struct {
	out, rank int // rank is that of one part
	rows      []nn.Rows
}

// allowed gives 1 where B may differ from zero, else 0: (out, rank·parts).
func (p *parts) allowed() []float32 {
	mask := make([]float32, 0, p.out*p.rank*len(p.rows))
	for i := range p.out {
		for _, rows := range p.rows {
			var x float32
			if rows.Has(i) {
				x = 1
			}
			for range p.rank {
				mask = append(mask, x)
			}
		}
	}
	return mask
}

// Forward implements nn.Adapter.
func (l *Layer) Forward(x, y *tensor.Tensor) *tensor.Tensor {
	if g := x.Graph(); g.Training && l.mask.P > 0 {
		x = x.Dropout(g.Seed(), l.mask)
	}
	h := l.A.Forward(x)
	if g := x.Graph(); g.Training && l.parts != nil {
		allowed := g.Shared(l.parts, func() *tensor.Tensor {
			return g.Floats(l.B.Weight.Shape()...).SetFloats(l.parts.allowed())
		})
		return y.Add(h.MatMulT(l.B.Weight.Mul(allowed)).Scale(l.scale))
	}
	return y.Add(l.B.Forward(h).Scale(l.scale))
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
	unused := append(slices.Clone(cfg.Targets), cfg.Parameters...)
	var all []string
	type choice struct {
		name, target string
		layer        *nn.Linear
	}
	var chosen []choice
	var stacks []*nn.Stack
	for name, l := range nn.Linears(model) {
		if isAdapter(name) {
			continue
		}
		if !slices.Contains(all, lastPart(name)) {
			all = append(all, lastPart(name))
		}
		if target := matching(cfg.Targets, name); target != "" {
			unused = slices.DeleteFunc(unused, func(t string) bool { return t == target })
			chosen = append(chosen, choice{name, target, l})
		}
	}
	sizes := map[*nn.Stack]Config{}
	for name, s := range nn.Stacks(model) {
		if !slices.Contains(all, lastPart(name)) {
			all = append(all, lastPart(name))
		}
		if target := matchesStack(cfg.Parameters, name); target != "" {
			unused = slices.DeleteFunc(unused, func(t string) bool { return t == target })
			stacks = append(stacks, s)
			rank, alpha := cfg.size(name)
			sizes[s] = Config{Rank: rank, Alpha: alpha}
		}
	}
	if len(unused) > 0 {
		return nil, nil, fmt.Errorf("lora: no layer is called %s; this model's layers are %s", strings.Join(unused, ", "), strings.Join(all, ", "))
	}
	for target := range cfg.Parts {
		if !slices.Contains(cfg.Targets, target) {
			return nil, nil, fmt.Errorf("lora: parts of %s are given, which is no target (%s)", target, strings.Join(cfg.Targets, ", "))
		}
	}
	kinds := map[string]*parts{} // by target and rows
	for layer, c := range chosen {
		l := c.layer
		out, in, rank := l.Weight.Dim(0), l.Weight.Dim(1), cfg.rank(c.target)
		a := &Layer{A: nn.NewLinear(in, rank, false), B: nn.NewLinear(rank, out, false),
			scale: cfg.alpha(c.target) / float64(rank), mask: tensor.Mask{P: cfg.Dropout, Layer: layer}}
		if rows := cfg.Parts[c.target]; rows != nil {
			kind := fmt.Sprint(c.target, out)
			if kinds[kind] == nil {
				kinds[kind] = &parts{out, rank / len(rows), rows}
			}
			a.parts = kinds[kind]
		}
		if err := errors.Join(dev.Alloc(a.A.Weight, tensor.F32), dev.Alloc(a.B.Weight, tensor.F32)); err != nil {
			return nil, nil, err
		}
		a.A.Weight.SetValues(uniform(rng, rank, in))
		a.B.Weight.SetValues(make([]float32, out*rank))
		l.Adapter = a
	}
	for _, s := range stacks {
		e, out, in, rank := s.Weight.Dim(0), s.Weight.Dim(1), s.Weight.Dim(2), sizes[s].Rank
		a := &StackLayer{A: tensor.Param(e, rank, in), B: tensor.Param(e, out, rank), scale: sizes[s].Alpha / float64(rank)}
		a.A.Name, a.B.Name = s.Weight.Name+".lora_A.weight", s.Weight.Name+".lora_B.weight"
		if err := errors.Join(dev.Alloc(a.A, tensor.F32), dev.Alloc(a.B, tensor.F32)); err != nil {
			return nil, nil, err
		}
		a.A.SetValues(uniform(rng, e*rank, in))
		a.B.SetValues(make([]float32, e*out*rank))
		s.Adapter = a
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

// uniform draws rows of n numbers in ±1/√n.
func uniform(rng *rand.Rand, rows, n int) []float32 {
	values := make([]float32, rows*n)
	for i := range values {
		values[i] = float32((2*rng.Float64() - 1) / math.Sqrt(float64(n)))
	}
	return values
}

func (c Config) check() error {
	switch {
	case c.Rank <= 0 || c.Rank > 1<<16:
		return fmt.Errorf("lora: rank is %d; a positive number wanted", c.Rank)
	case !(c.Alpha > 0) || math.IsInf(c.Alpha, 0):
		return fmt.Errorf("lora: alpha is %g; a positive number wanted", c.Alpha)
	case !(c.Dropout >= 0 && c.Dropout < 1):
		return fmt.Errorf("lora: dropout is %g; 0 ≤ dropout < 1 wanted", c.Dropout)
	case len(c.Parameters) > 0 && c.Dropout > 0:
		return fmt.Errorf("lora: dropout is %g; experts are adapted without dropout, as PEFT does it: set --lora_dropout 0", c.Dropout)
	case slices.ContainsFunc(slices.Collect(maps.Values(c.Ranks)), func(r int) bool { return r <= 0 || r > 1<<16 }):
		return fmt.Errorf("lora: ranks are %v; positive numbers wanted", c.Ranks)
	case slices.ContainsFunc(slices.Collect(maps.Values(c.Alphas)), func(a float64) bool { return !(a > 0) || math.IsInf(a, 0) }):
		return fmt.Errorf("lora: alphas are %v; positive numbers wanted", c.Alphas)
	case len(c.Targets)+len(c.Parameters) == 0:
		return errors.New("lora: no layers are chosen; switch on at least one of --lora_query, --lora_key, --lora_value, --lora_projection, --lora_mlp, --lora_head")
	}
	return nil
}

// IsWeight reports whether a weight of a model, or the layer that has it, is an adapter's, by its name.
func IsWeight(name string) bool { return isAdapter(name) }

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
