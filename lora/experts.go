package lora

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// StackLayer is the correction of one stack of experts, each with matrices of its own.
//
// PEFT keeps those of all experts in two matrices (its ParamWrapper, since 0.17): lora_A
// (E·r, in), expert by expert, and lora_B (out, r·E), whose column ρ·E+e is expert e's
// column ρ. A is the same memory here; B is transposed when it is read and written.
type StackLayer struct {
	A *tensor.Tensor `hf:"lora_A.weight"` // (E, r, in), random at first
	B *tensor.Tensor `hf:"lora_B.weight"` // (E, out, r), zero at first

	scale float64
}

// Forward implements nn.StackAdapter.
func (l *StackLayer) Forward(x, group, y *tensor.Tensor) *tensor.Tensor {
	return y.Add(x.Experts(l.A, group).Experts(l.B, group).Scale(l.scale))
}

var _ nn.StackAdapter = (*StackLayer)(nil)

// Parameters gives the [Config.Parameters] that adapt all experts of a model: none when it has no experts.
func Parameters(model any) (names []string) {
	for name := range nn.Stacks(model) {
		if n := lastParts(name); !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

// lastParts is what PEFT calls a stack in all layers: mlp.experts.gate_up_proj.
func lastParts(name string) string {
	parts := strings.Split(name, ".")
	return strings.Join(parts[max(0, len(parts)-3):], ".")
}

// Modules gives those of the layers' names that a model has as linear layers.
func Modules(model any, names ...string) (have []string) {
	for name := range nn.Linears(model) {
		if n := lastPart(name); slices.Contains(names, n) && !slices.Contains(have, n) {
			have = append(have, n)
		}
	}
	return have
}

// size gives the rank and alpha of the layer of that name; PEFT matches a pattern with the end of the name.
func (c Config) size(name string) (rank int, alpha float64) {
	find := func(keys iter.Seq[string]) string {
		for _, key := range slices.Sorted(keys) {
			if re, err := regexp.Compile(`^(?:.*\.)?(?:` + key + `)$`); err == nil && re.MatchString(name) {
				return key
			}
		}
		return ""
	}
	rank = cmp.Or(c.Ranks[find(maps.Keys(c.Ranks))], c.Rank)
	return rank, cmp.Or(c.Alphas[find(maps.Keys(c.Alphas))], c.Alpha)
}

// peftNames gives what PEFT calls the two matrices of each stack, by our names. The wrapper of a parameter
// takes the place of the module that has it, and of a further parameter that of the
// wrapper: the first parameter's names have a base_layer for each later one.
func peftNames(model any) map[string]string {
	names := map[string]string{}
	adapted := map[string][]string{} // by module
	for name, s := range nn.Stacks(model) {
		if s.Adapter != nil {
			module := strings.TrimSuffix(name, "."+lastPart(name))
			adapted[module] = append(adapted[module], name)
		}
	}
	for module, list := range adapted {
		for i, name := range list {
			to := module + strings.Repeat(".base_layer", len(list)-1-i)
			for _, ab := range []string{".lora_A.weight", ".lora_B.weight"} {
				names[name+ab] = to + ab
			}
		}
	}
	return names
}

// peftValue is a stack's matrix as PEFT stores it: its shape there and, for B, its elements.
func peftValue(name string, p *tensor.Tensor) checkpoint.Value {
	v := checkpoint.Value{Name: prefix + name, DType: tensor.F32, From: p, Shape: peftShape(p, isB(name))}
	if isB(name) {
		v.Floats = transposed(p.Values(), p.Dim(0), p.Dim(1), p.Dim(2), false)
	}
	return v
}

func isB(name string) bool { return strings.HasSuffix(name, ".lora_B.weight") }

// peftShape is the shape of A (E, r, in) or B (E, out, r) in PEFT's files.
func peftShape(p *tensor.Tensor, b bool) []int {
	if b {
		return []int{p.Dim(1), p.Dim(2) * p.Dim(0)}
	}
	return []int{p.Dim(0) * p.Dim(1), p.Dim(2)}
}

// transposed brings B from (E, out, r) to PEFT's (out, r, E), or back.
func transposed(v []float32, e, out, r int, back bool) []float32 {
	y := make([]float32, len(v))
	for i := range e {
		for o := range out {
			for j := range r {
				ours, theirs := (i*out+o)*r+j, (o*r+j)*e+i
				if back {
					y[ours] = v[theirs]
				} else {
					y[theirs] = v[ours]
				}
			}
		}
	}
	return y
}

// fillStack sets one of a stack's matrices to its value in PEFT's layout.
func fillStack(p *tensor.Tensor, t safetensors.Tensor) error {
	if !isB(p.Name) {
		return checkpoint.Fill(p, t)
	}
	v, err := floats(t)
	if err != nil {
		return err
	}
	p.SetValues(transposed(v, p.Dim(0), p.Dim(1), p.Dim(2), true))
	return nil
}

func floats(t safetensors.Tensor) ([]float32, error) {
	types := map[safetensors.DType]tensor.DType{"F32": tensor.F32, "F16": tensor.F16, "BF16": tensor.BF16}
	from, ok := types[t.DType]
	if !ok {
		return nil, fmt.Errorf("%s: type %s, F32, F16 or BF16 wanted", t.Name, t.DType)
	}
	raw := make([]byte, len(t.Data))
	if err := t.CopyTo(raw); err != nil {
		return nil, err
	}
	v := make([]float32, len(raw)/from.Size())
	tensor.ToFloats(from, raw, v)
	return v, nil
}

// Adapters made before transformers 5, or by programs whose experts are layers each,
// have a pair of matrices for each expert's layer: experts.3.w1.lora_A.weight. They become
// corrections of stacks, as PEFT converts them: gate and up, which are one weight here,
// side by side with as many times the rank, B being zero where one would reach into the other.

// split are the names of the layers of each stack that an adapter has by themselves.
type split map[string][]nn.Piece

// splitStacks finds the stacks that the adapter corrects layer by layer, and gives the
// configuration that adapts them as stacks.
func splitStacks(model any, f checkpoint.Source, cfg Config) (split, Config) {
	m, ok := model.(checkpoint.Pieced)
	if !ok {
		return nil, cfg
	}
	found := split{}
	all := m.CheckpointPieces(nil)
	targets := map[string]bool{} // that are met by experts' layers
	cfg.Ranks, cfg.Alphas = maps.Clone(cfg.Ranks), maps.Clone(cfg.Alphas)
	for name, s := range nn.Stacks(model) {
		list := all[name]
		for _, p := range list {
			layer := strings.TrimSuffix(p.Name, ".weight")
			if target := matching(cfg.Targets, layer); target != "" {
				if _, ok := f.Tensor(prefix + layer + ".lora_A.weight"); ok {
					targets[target], found[name] = true, list
				}
			}
		}
		if found[name] == nil {
			continue
		}
		if cfg.Ranks == nil {
			cfg.Ranks, cfg.Alphas = map[string]int{}, map[string]float64{}
		}
		times, key := len(list)/s.Weight.Dim(0), regexp.QuoteMeta(name)
		cfg.Parameters = append(cfg.Parameters, name)
		cfg.Ranks[key], cfg.Alphas[key] = times*cfg.Rank, float64(times)*cfg.Alpha
		cfg.Dropout = 0 // stacks have none, nor has PEFT for them
	}
	cfg.Targets = slices.DeleteFunc(slices.Clone(cfg.Targets), func(t string) bool {
		for name := range nn.Linears(model) {
			if matching([]string{t}, name) != "" {
				return false
			}
		}
		return targets[t]
	})
	return found, cfg
}

// fill sets A or B of a stack from its experts' layers, and says which tensors were used and what does not fit.
func (s split) fill(p *tensor.Tensor, stack string, f checkpoint.Source, cfg Config, used map[string]bool) (errs []error) {
	e, list, r := p.Dim(0), s[stack], cfg.Rank
	n := len(list) / e // layers of one expert
	v := make([]float32, p.Numel())
	suffix := ".lora_A.weight"
	if isB(p.Name) {
		suffix = ".lora_B.weight"
	}
	for i, piece := range list {
		layer := strings.TrimSuffix(piece.Name, ".weight")
		name := prefix + layer + suffix
		if matching(cfg.Targets, layer) == "" {
			continue
		}
		used[name] = true
		want := []int{r, piece.Shape[1]}
		if isB(p.Name) {
			want = []int{piece.Shape[0], r}
		}
		t, ok := f.Tensor(name)
		if !ok {
			errs = append(errs, fmt.Errorf("missing %s, shape %v", name, want))
			continue
		}
		if !slices.Equal(t.Shape, want) {
			errs = append(errs, fmt.Errorf("%s: shape %v in the adapter, %v for this model", name, t.Shape, want))
			continue
		}
		x, err := floats(t)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if !isB(p.Name) {
			copy(v[i*len(x):], x)
			continue
		}
		for o := range want[0] { // rows of this layer among its expert's, columns of its rank
			copy(v[(i*want[0]+o)*n*r+i%n*r:], x[o*r:(o+1)*r])
		}
	}
	if errs == nil {
		p.SetValues(v)
	}
	return errs
}

// matchesStack gives the first of the parameters that a stack's name ends in, or "".
func matchesStack(parameters []string, name string) string {
	for _, t := range parameters {
		if ok, _ := path.Match(t, lastPart(name)); ok || t == name || strings.HasSuffix(name, "."+t) {
			return t
		}
	}
	return ""
}
