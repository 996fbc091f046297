package lora

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"

	"github.com/litgpt-go/litgpt/internal/durable"
	"github.com/litgpt-go/litgpt/internal/gguf"
	"github.com/litgpt-go/litgpt/internal/ggufmap"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// llama.cpp's adapters (--lora FILE) are GGUF files of pairs of tensors, called as the weight
// that they correct with .lora_a (rank, in) and .lora_b (out, rank) at the end, for experts
// (E, rank, in) and (E, out, rank). The rows of lora_b have the order of that weight's rows in
// GGUF. One alpha is for all of them: a pair is scaled by alpha/rank.
const (
	endA, endB = ".lora_a", ".lora_b"

	basePathKey = "litgpt.base.path"
	baseHashKey = "litgpt.base.sha256"
	baseTypeKey = "litgpt.base.quantize"
)

// SaveGGUF writes the adapter of model, whose config.json is config, to a file that llama.cpp takes
// for the same base. Its numbers are those of the adapter in float32; where a layer has a scale of
// its own, lora_b is multiplied by what it differs by.
func SaveGGUF(path string, model any, config []byte, cfg Config, base Base) error {
	places, err := ggufmap.NewPlaces(config)
	if err != nil {
		return err
	}
	meta := []gguf.KV{{Key: "general.architecture", Value: places.Arch}, {Key: "general.type", Value: "adapter"}, {Key: "adapter.type", Value: "lora"},
		{Key: "adapter.lora.alpha", Value: float32(cfg.Alpha)}, {Key: "general.file_type", Value: uint32(0)}}
	for _, kv := range []gguf.KV{{Key: basePathKey, Value: base.Path}, {Key: baseHashKey, Value: base.Hash}, {Key: baseTypeKey, Value: base.Quantize}} {
		if kv.Value != "" {
			meta = append(meta, kv)
		}
	}
	var infos []gguf.Info
	var data [][]byte
	add := func(name string, shape []int, v []float32) {
		infos = append(infos, gguf.Info{Name: name, Type: gguf.F32, Shape: shape})
		data = append(data, tensor.FromFloats(tensor.F32, v))
	}
	pair := func(name string, w, a, b *tensor.Tensor, scale float64) error {
		list, err := places.Of(name, w.Shape())
		if err != nil {
			return err
		}
		rank := a.Dim(-2)
		factor := float32(scale * float64(rank) / cfg.Alpha)
		bv := b.Values()
		for _, p := range list {
			lead, out := p.Shape[:len(p.Shape)-2], p.Shape[len(p.Shape)-2]
			rows := p.Shape[0]
			if len(lead) == 1 {
				rows *= out
			}
			v := make([]float32, 0, rows*rank)
			for r := range rows {
				at := p.Row(r) * rank
				for _, x := range bv[at : at+rank] {
					v = append(v, x*factor)
				}
			}
			add(p.Name+endA, append(slices.Clone(lead), rank, p.Shape[len(p.Shape)-1]), a.Values())
			add(p.Name+endB, append(slices.Clone(lead), out, rank), v)
		}
		return nil
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
		if own[l.Weight] != name+".weight" && !places.OwnHead {
			return fmt.Errorf("lora: %s shares its weight with %s, and GGUF has one tensor for both; an adapter of the head cannot be written", name, own[l.Weight])
		}
		if err := pair(name+".weight", l.Weight, a.A.Weight, a.B.Weight, a.scale); err != nil {
			return err
		}
	}
	for name, s := range nn.Stacks(model) {
		if a, ok := s.Adapter.(*StackLayer); ok {
			if err := pair(name, s.Weight, a.A, a.B, a.scale); err != nil {
				return err
			}
		}
	}
	if len(infos) == 0 {
		return errors.New("lora: the model has no adapter to write")
	}
	var buf bytes.Buffer // adapters are small
	w, err := gguf.NewWriter(&buf, meta, infos)
	if err != nil {
		return err
	}
	for _, d := range data {
		if _, err := w.Write(d); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return durable.WriteFile(path, buf.Bytes(), 0o644)
}

// IsGGUF reports whether an opened GGUF file is an adapter.
func IsGGUF(f *gguf.File) bool {
	kind, err := f.Text("general.type")
	return err == nil && kind == "adapter"
}

// low is a pair of matrices of a GGUF adapter, in float32.
type low struct {
	name    string // of the tensor that it corrects
	a, b    []float32
	rank    int
	over    int // what alpha is divided by: rank, but where several pairs became one
	in, out int
	experts int // 0 for a layer without
	used    bool
}

// LoadGGUF hangs the adapter of a GGUF file on model, which is its base on dev and whose config.json
// is config. All that does not fit is reported together. The configuration has the names that PEFT
// wants: a layer is a target by itself where others of its kind have no correction or one of another rank.
func LoadGGUF(dev *tensor.Device, model any, config []byte, path string) (Config, Base, error) {
	f, err := gguf.Open(path)
	if err != nil {
		return Config{}, Base{}, err
	}
	defer f.Close()
	cfg, err := loadGGUF(dev, model, config, f)
	if err != nil {
		return cfg, Base{}, fmt.Errorf("%s: %w", path, err)
	}
	base, err := GGUFBase(f)
	return cfg, base, err
}

// GGUFBase says which checkpoint the adapter in a GGUF file corrects, as far as SaveGGUF wrote it there.
func GGUFBase(f *gguf.File) (base Base, err error) {
	for key, v := range map[string]*string{basePathKey: &base.Path, baseHashKey: &base.Hash, baseTypeKey: &base.Quantize} {
		if f.Has(key) {
			if *v, err = f.Text(key); err != nil {
				return base, err
			}
		}
	}
	return base, err
}

func loadGGUF(dev *tensor.Device, model any, config []byte, f *gguf.File) (cfg Config, err error) {
	places, err := ggufmap.NewPlaces(config)
	if err != nil {
		return cfg, err
	}
	arch, err := f.Text("general.architecture")
	if err != nil {
		return cfg, err
	}
	kind, err := f.Text("adapter.type")
	switch {
	case !IsGGUF(f):
		return cfg, errors.New("is no adapter: its general.type is not adapter")
	case err != nil:
		return cfg, err
	case kind != "lora" || f.Has("adapter.alora.invocation_tokens"):
		return cfg, fmt.Errorf("adapter.type is %.40q; a plain lora wanted", kind)
	case arch != places.Arch:
		return cfg, fmt.Errorf("general.architecture is %.40q, that of the base %q", arch, places.Arch)
	}
	alpha := 0.0
	if f.Has("adapter.lora.alpha") {
		if alpha, err = f.Float("adapter.lora.alpha"); err != nil {
			return cfg, err
		}
	}
	pairs, err := readPairs(f)
	if err != nil {
		return cfg, err
	}

	// What each layer of the model finds.
	var errs []error
	layers := map[string]*low{}
	ranks := map[int]int{} // how often
	for name, l := range nn.Linears(model) {
		list, err := places.Of(name+".weight", l.Weight.Shape())
		if err != nil || len(list) != 1 || pairs[list[0].Name] == nil {
			continue
		}
		p := pairs[list[0].Name]
		p.used = true
		if p.experts != 0 || p.in != l.Weight.Dim(1) || p.out != l.Weight.Dim(0) {
			errs = append(errs, fmt.Errorf("%s corrects a weight of shape (%d, %d), %s is %v", p.name, p.out, p.in, name, l.Weight.Shape()))
			continue
		}
		layers[name] = p.ordered(list[0])
		ranks[p.rank]++
	}
	stacks := map[string]*low{}
	for name, s := range nn.Stacks(model) {
		list, err := places.Of(name, s.Weight.Shape())
		if err != nil {
			continue
		}
		var parts []*low
		for _, place := range list {
			p := pairs[place.Name]
			if p == nil {
				p = &low{name: place.Name, experts: place.Shape[0], out: place.Shape[1], in: place.Shape[2]} // of rank 0: no correction
			}
			p.used = true
			if p.experts != place.Shape[0] || p.out != place.Shape[1] || p.in != place.Shape[2] {
				errs = append(errs, fmt.Errorf("%s corrects weights of shape (%d, %d, %d), %s is %v", p.name, p.experts, p.out, p.in, place.Name, place.Shape))
			}
			parts = append(parts, p)
		}
		if errs != nil || !slices.ContainsFunc(parts, func(p *low) bool { return p.rank > 0 }) {
			continue
		}
		stacks[name] = stacked(parts, list, s.Weight.Dim(1), alpha == 0)
		ranks[stacks[name].rank]++
	}
	for _, name := range slices.Sorted(maps.Keys(pairs)) {
		if !pairs[name].used {
			errs = append(errs, fmt.Errorf("%s is corrected by the adapter, and the model does not have it", name))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return cfg, fmt.Errorf("does not fit the model:\n%w", err)
	}
	cfg.Rank = slices.MaxFunc(slices.Sorted(maps.Keys(ranks)), func(a, b int) int { return ranks[a] - ranks[b] })
	cfg.Alpha = cmp.Or(alpha, float64(cfg.Rank))
	cfg.name(model, layers, stacks, alpha == 0)
	if _, _, err := Inject(dev, model, cfg, rand.New(rand.NewPCG(0, 0))); err != nil {
		return cfg, err
	}
	for name, l := range nn.Linears(model) {
		if a, ok := l.Adapter.(*Layer); ok && !dev.Planning() {
			a.A.Weight.SetValues(layers[name].a)
			a.B.Weight.SetValues(layers[name].b)
		}
	}
	for name, s := range nn.Stacks(model) {
		if a, ok := s.Adapter.(*StackLayer); ok && !dev.Planning() {
			a.A.SetValues(stacks[name].a)
			a.B.SetValues(stacks[name].b)
		}
	}
	return cfg, nil
}

// readPairs reads all tensors of an adapter.
func readPairs(f *gguf.File) (map[string]*low, error) {
	pairs := map[string]*low{}
	for _, name := range f.Names() {
		t, _ := f.Tensor(name)
		base, a := strings.CutSuffix(name, endA)
		if !a {
			var b bool
			if base, b = strings.CutSuffix(name, endB); !b {
				return nil, fmt.Errorf("tensor %s is no part of a low-rank correction (%s, %s)", name, endA, endB)
			}
		}
		dtype, ok := tensor.DTypeByName(t.Type.String())
		if !ok || len(t.Shape) < 2 || len(t.Shape) > 3 {
			return nil, fmt.Errorf("tensor %s: type %v and shape %v, a matrix or a stack of them wanted", name, t.Type, t.Shape)
		}
		p := pairs[base]
		if p == nil {
			p = &low{name: base}
			pairs[base] = p
		}
		n := 1
		for _, d := range t.Shape {
			n *= d
		}
		raw, v := make([]byte, len(t.Data)), make([]float32, n)
		if err := t.CopyTo(raw); err != nil {
			return nil, err
		}
		tensor.ToFloats(dtype, raw, v)
		experts, rows, cols := 0, t.Shape[len(t.Shape)-2], t.Shape[len(t.Shape)-1]
		if len(t.Shape) == 3 {
			experts = t.Shape[0]
		}
		rank := cols
		if a {
			rank = rows
		}
		if p.rank != 0 && (p.rank != rank || p.experts != experts) {
			return nil, fmt.Errorf("tensor %s: shape %v does not fit the other one of the pair", name, t.Shape)
		}
		if p.rank, p.over, p.experts = rank, rank, experts; a {
			p.a, p.in = v, cols
		} else {
			p.b, p.out = v, rows
		}
	}
	for name, p := range pairs {
		if p.a == nil || p.b == nil {
			return nil, fmt.Errorf("tensor %s: one of %s and %s is missing", name, endA, endB)
		}
	}
	if len(pairs) == 0 {
		return nil, errors.New("has no tensors")
	}
	return pairs, nil
}

// ordered has the rows of b as the model has them.
func (p *low) ordered(place ggufmap.Placed) *low {
	o := *p
	o.b = make([]float32, len(p.b))
	for r := range p.out {
		copy(o.b[place.Row(r)*p.rank:][:p.rank], p.b[r*p.rank:])
	}
	return &o
}

// stacked is the correction of a stack of out rows for each expert by those of its parts, gate and
// up, or by its only one. Parts that share A, as ours do, keep their rank; others are side by side.
func stacked(parts []*low, places []ggufmap.Placed, out int, unscaled bool) *low {
	e, in := parts[0].experts, parts[0].in
	s := &low{in: in, out: out, experts: e}
	shared := true
	for _, p := range parts {
		shared = shared && slices.Equal(p.a, parts[0].a)
		s.rank += p.rank
	}
	first := parts[0] // whose scale is that of all
	if shared {
		s.rank = first.rank
	}
	if first.rank == 0 {
		first = parts[1]
	}
	s.over = first.rank
	s.a, s.b = make([]float32, e*s.rank*in), make([]float32, e*out*s.rank)
	column := 0 // of the part in the joint rank
	for i, p := range parts {
		if p.rank == 0 {
			continue
		}
		factor := float32(1)
		if !unscaled {
			factor = float32(first.rank) / float32(p.rank)
		}
		for x := range e {
			copy(s.a[(x*s.rank+column)*in:], p.a[x*p.rank*in:(x+1)*p.rank*in])
		}
		for r := range e * p.out {
			to := s.b[places[i].Row(r)*s.rank+column:]
			for j, v := range p.b[r*p.rank : (r+1)*p.rank] {
				to[j] = v * factor
			}
		}
		if !shared {
			column += p.rank
		}
	}
	return s
}

// name fills in targets, parameters and what differs from the common rank and alpha. Where all
// layers of a kind have a correction of one rank, the kind is the target.
func (c *Config) name(model any, layers, stacks map[string]*low, unscaled bool) {
	adapt := func(found map[string]*low, all []string, kindOf func(string) string, key func(string) string) (targets []string) {
		whole := map[string]bool{}
		first := map[string]*low{}
		for _, name := range all {
			kind, p := kindOf(name), found[name]
			if _, seen := whole[kind]; !seen {
				whole[kind], first[kind] = p != nil, p
			} else if f := first[kind]; p == nil || f == nil || p.rank != f.rank || p.over != f.over {
				whole[kind] = false
			}
		}
		for _, name := range slices.Sorted(maps.Keys(found)) {
			target, p := name, found[name]
			if whole[kindOf(name)] {
				target = kindOf(name)
			}
			if slices.Contains(targets, target) {
				continue
			}
			targets = append(targets, target)
			alpha := c.Alpha * float64(p.rank) / float64(p.over)
			if unscaled {
				alpha = float64(p.rank)
			}
			if p.rank != c.Rank {
				c.Ranks = with(c.Ranks, key(target), p.rank)
			}
			if alpha != c.Alpha {
				c.Alphas = with(c.Alphas, key(target), alpha)
			}
		}
		slices.Sort(targets)
		return targets
	}
	var all []string
	for name := range nn.Linears(model) {
		all = append(all, name)
	}
	c.Targets = adapt(layers, all, lastPart, func(t string) string { return t })
	all = nil
	for name := range nn.Stacks(model) {
		all = append(all, name)
	}
	c.Parameters = adapt(stacks, all, lastParts, regexp.QuoteMeta)
}

func with[V any](m map[string]V, key string, v V) map[string]V {
	if m == nil {
		m = map[string]V{}
	}
	m[key] = v
	return m
}
