package quantize

import (
	"fmt"
	"strings"

	"github.com/litgpt-go/litgpt/internal/settings"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// Mixture says which type each tensor of a model gets, under llama-quantize's name for it. Most
// matrices get Type; those that the rules name get more bits, since the model's answers
// depend on them more, or fewer.
type Mixture struct {
	Name     string
	Type     tensor.DType
	FileType uint32 // general.file_type: llama.h's llama_ftype

	v, down, out, k, q, upGate, embed pick // by role; nil is Type
	head                              tensor.DType
	manyExperts                       bool // of eight experts attention's output gets Q5_K
	few                               bool // one of the mixtures around two bits, which have rules of their own
}

// place is a tensor as rules see it.
type place struct {
	layer, layers int
	gqa, experts  int // queries per key and value; experts, 0 for none
	falcon        bool
	importance    bool // there is an importance matrix
}

// more is llama.cpp's use_more_bits: the first and the last eighth of the layers, and each third between.
func (p place) more() bool {
	n := p.layers / 8
	return p.layer < n || p.layer >= 7*p.layers/8 || (p.layer-n)%3 == 2
}

// first says that the layer is in the first 1/n of them.
func (p place) first(n int) bool { return p.layer < p.layers/n }

// pick chooses a type in place of base.
type pick func(p place, base tensor.DType) tensor.DType

func always(d tensor.DType) pick {
	return func(place, tensor.DType) tensor.DType { return d }
}

func when(cond func(place) bool, d tensor.DType) pick {
	return func(p place, base tensor.DType) tensor.DType {
		if cond(p) {
			return d
		}
		return base
	}
}

func grouped(p place) bool   { return p.gqa >= 4 }
func middle(p place) bool    { return !p.first(8) && p.layer < 7*p.layers/8 }
func eighth(p place) bool    { return p.first(8) }
func unweighed(p place) bool { return !p.importance }

func and(a, b func(place) bool) func(place) bool {
	return func(p place) bool { return a(p) && b(p) }
}

// mixtures is the table, in order of llama-quantize's help. The rules are those of llama.cpp's
// src/llama-quant.cpp, which found them by measuring.
var mixtures = []Mixture{
	{Name: "Q4_0", Type: tensor.Q4_0, FileType: 2, down: when(and(eighth, weighed), tensor.Q4_1)},
	{Name: "Q4_1", Type: tensor.Q4_1, FileType: 3},
	{Name: "MXFP4_MOE", Type: tensor.MXFP4, FileType: 38, head: tensor.Q8_0},
	{Name: "MXFP4", Type: tensor.MXFP4, FileType: 38, head: tensor.Q8_0},
	{Name: "Q5_0", Type: tensor.Q5_0, FileType: 8, down: when(and(eighth, weighed), tensor.Q5_1)},
	{Name: "Q5_1", Type: tensor.Q5_1, FileType: 9},
	{Name: "IQ2_XXS", Type: tensor.IQ2_XXS, FileType: 19, few: true, head: tensor.Q5_K, embed: always(tensor.Q2_K), v: few(tensor.Q2_K), down: when(eighth, tensor.Q2_K)},
	{Name: "IQ2_XS", Type: tensor.IQ2_XS, FileType: 20, few: true, head: tensor.Q5_K, embed: always(tensor.Q2_K), v: few(tensor.Q2_K), down: when(eighth, tensor.Q2_K)},
	{Name: "IQ2_S", Type: tensor.IQ2_XS, FileType: 28, few: true, head: tensor.Q5_K, embed: always(tensor.IQ3_S), v: few(tensor.IQ3_S), down: when(eighth, tensor.IQ3_S), out: always(tensor.IQ3_S)},
	{Name: "IQ2_M", Type: tensor.IQ2_S, FileType: 29, few: true, head: tensor.Q5_K, embed: always(tensor.IQ3_S), v: few(tensor.IQ3_S), down: when(eighth, tensor.IQ3_S), out: always(tensor.IQ3_S)},
	{Name: "IQ1_S", Type: tensor.IQ1_S, FileType: 24, few: true, head: tensor.Q5_K, embed: always(tensor.Q2_K), v: few(tensor.Q2_K), down: when(eighth, tensor.Q2_K), out: always(tensor.IQ2_XXS)},
	{Name: "IQ1_M", Type: tensor.IQ1_M, FileType: 31, few: true, head: tensor.Q5_K, embed: always(tensor.Q2_K), v: few(tensor.Q2_K), down: when(eighth, tensor.Q2_K), out: always(tensor.IQ2_XXS)},
	{Name: "TQ1_0", Type: tensor.TQ1_0, FileType: 36, embed: always(tensor.Q4_K)},
	{Name: "TQ2_0", Type: tensor.TQ2_0, FileType: 37, embed: always(tensor.Q4_K)},
	{Name: "Q2_K", Type: tensor.Q2_K, FileType: 10, manyExperts: true, down: always(tensor.Q3_K), out: notFalcon(tensor.Q3_K),
		v: func(p place, base tensor.DType) tensor.DType {
			if grouped(p) {
				return tensor.Q4_K
			}
			return tensor.Q3_K
		}},
	{Name: "Q2_K_S", Type: tensor.Q2_K, FileType: 21, v: when(grouped, tensor.Q4_K), down: when(eighth, tensor.Q4_K)},
	{Name: "IQ3_XXS", Type: tensor.IQ3_XXS, FileType: 23, manyExperts: true, head: tensor.Q5_K, embed: always(tensor.IQ3_S), out: notFalcon(tensor.IQ3_S),
		k: always(tensor.IQ2_S), q: always(tensor.IQ2_S),
		v: func(p place, base tensor.DType) tensor.DType {
			if grouped(p) {
				return tensor.Q4_K
			}
			return when(unweighed, tensor.IQ3_S)(p, base)
		},
		down: func(p place, base tensor.DType) tensor.DType {
			if p.importance {
				return base
			}
			return when(eighth, tensor.Q4_K)(p, tensor.Q3_K)
		}},
	{Name: "IQ3_S", Type: tensor.IQ3_S, FileType: 26, manyExperts: true, v: when(grouped, tensor.Q4_K)},
	{Name: "IQ3_M", Type: tensor.IQ3_S, FileType: 27, manyExperts: true, v: always(tensor.Q4_K), out: notFalcon(tensor.Q4_K),
		down: when(func(p place) bool { return eighth(p) || p.experts == 8 && p.more() }, tensor.Q4_K)},
	{Name: "IQ3_XS", Type: tensor.IQ3_S, FileType: 22, manyExperts: true, v: when(grouped, tensor.Q4_K), k: always(tensor.IQ3_XXS), q: always(tensor.IQ3_XXS),
		upGate: when(middle, tensor.IQ3_XXS)},
	{Name: "Q3_K_S", Type: tensor.Q3_K, FileType: 11, manyExperts: true},
	{Name: "Q3_K_M", Type: tensor.Q3_K, FileType: 12, manyExperts: true, out: notFalcon(tensor.Q4_K),
		v: when(func(p place) bool { return p.layer < 2 }, tensor.Q5_K).orElse(tensor.Q4_K),
		down: func(p place, base tensor.DType) tensor.DType {
			switch {
			case p.first(16):
				return tensor.Q5_K
			case !p.falcon || p.more():
				return tensor.Q4_K
			}
			return base
		}},
	{Name: "Q3_K_L", Type: tensor.Q3_K, FileType: 13, v: always(tensor.Q5_K), down: notFalcon(tensor.Q5_K).orElse(tensor.Q4_K), out: notFalcon(tensor.Q5_K).orElse(tensor.Q4_K)},
	{Name: "IQ4_NL", Type: tensor.IQ4_NL, FileType: 25, manyExperts: true, v: when(grouped, tensor.Q5_K), down: when(and(eighth, unweighed), tensor.Q5_K)},
	{Name: "IQ4_XS", Type: tensor.IQ4_XS, FileType: 30, manyExperts: true, v: when(grouped, tensor.Q5_K), down: when(and(eighth, unweighed), tensor.Q5_K)},
	{Name: "Q4_K_S", Type: tensor.Q4_K, FileType: 14, manyExperts: true, v: when(func(p place) bool { return p.layer < 4 }, tensor.Q5_K),
		down: when(func(p place) bool { return !p.falcon && eighth(p) }, tensor.Q5_K)},
	{Name: "Q4_K_M", Type: tensor.Q4_K, FileType: 15, manyExperts: true, v: when(place.more, tensor.Q6_K),
		down: func(p place, base tensor.DType) tensor.DType {
			switch {
			case p.falcon && p.first(16):
				return tensor.Q6_K
			case p.falcon:
				return when(place.more, tensor.Q5_K)(p, base)
			}
			return when(place.more, tensor.Q6_K)(p, base)
		}},
	{Name: "Q5_K_S", Type: tensor.Q5_K, FileType: 16},
	{Name: "Q5_K_M", Type: tensor.Q5_K, FileType: 17, v: when(place.more, tensor.Q6_K), down: when(place.more, tensor.Q6_K)},
	{Name: "Q6_K", Type: tensor.Q6_K, FileType: 18},
	{Name: "Q8_0", Type: tensor.Q8_0, FileType: 7},
	{Name: "F16", Type: tensor.F16, FileType: 1},
	{Name: "BF16", Type: tensor.BF16, FileType: 32},
	{Name: "F32", Type: tensor.F32, FileType: 0},
}

// aliases are names that llama-quantize takes too.
var aliases = map[string]string{"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}

func weighed(p place) bool { return p.importance }

// few is the rule for values of the mixtures around two bits.
func few(d tensor.DType) pick {
	return func(p place, base tensor.DType) tensor.DType {
		if p.gqa >= 4 || p.experts >= 4 {
			return tensor.Q4_K
		}
		return d
	}
}

func notFalcon(d tensor.DType) pick { return when(func(p place) bool { return !p.falcon }, d) }

// orElse is what a pick that keeps the type gives instead.
func (f pick) orElse(d tensor.DType) pick {
	return func(p place, base tensor.DType) tensor.DType { return f(p, d) }
}

// Names are those of all mixtures.
func Names() []string {
	var names []string
	for _, m := range mixtures {
		names = append(names, m.Name)
	}
	return names
}

// MixtureByName finds a mixture; letters may be of either case.
func MixtureByName(name string) (Mixture, error) {
	upper := strings.ToUpper(name)
	if full, ok := aliases[upper]; ok {
		upper = full
	}
	for _, m := range mixtures {
		if m.Name == upper {
			return m, nil
		}
	}
	return Mixture{}, &settings.UsageError{Msg: fmt.Sprintf("type %q is not known", name), Hint: "types are " + strings.Join(Names(), ", ")}
}

// The parts that tensors play.
type role int

const (
	other role = iota
	embedding
	head // the output projection, or the embedding where that is it
	query
	key
	value // or queries, keys and values in one
	attentionOut
	upOrGate
	down
)

// roles find a part by what a tensor's name contains.
var roles = []struct {
	name string
	role role
}{
	{"attn_qkv.weight", value}, {"attn_v.weight", value}, {"attn_k.weight", key}, {"attn_q.weight", query}, {"attn_output.weight", attentionOut},
	{"ffn_up", upOrGate}, {"ffn_gate", upOrGate}, {"ffn_down", down},
}

func roleOf(name string, tied bool) role {
	switch {
	case name == "output.weight", name == "token_embd.weight" && tied:
		return head
	case name == "token_embd.weight":
		return embedding
	}
	for _, r := range roles {
		if strings.Contains(name, r.name) {
			return r.role
		}
	}
	return other
}

// model is what rules need to know of one.
type model struct {
	arch                 string
	layers, gqa, experts int
	tied                 bool
	importance           bool
}

// choose gives the type of the tensor called name, of cols columns; stacked says that it is one matrix per expert.
func (m Mixture) choose(name string, cols int, stacked bool, of model) tensor.DType {
	if !m.Type.Quantized() {
		return m.Type
	}
	r := roleOf(name, of.tied)
	falcon := of.arch == "falcon"
	if r == head {
		switch {
		case falcon || cols%m.Type.Block() != 0:
			return tensor.Q8_0
		case m.head != 0:
			return m.head
		case m.Type != tensor.Q8_0:
			return tensor.Q6_K
		}
		return m.Type
	}
	if m.Name == "MXFP4_MOE" && !stacked {
		return tensor.Q8_0
	}
	p := place{layer: layerOf(name), layers: of.layers, gqa: of.gqa, experts: of.experts, falcon: falcon, importance: of.importance}
	eight := of.experts == 8
	var rule pick
	switch r {
	case embedding:
		rule = m.embed
	case query:
		rule = m.q
	case key:
		rule = m.k
		if eight && m.few {
			return tensor.Q4_K
		} else if eight && m.Type != tensor.MXFP4 {
			return tensor.Q8_0
		}
	case value:
		rule = m.v
		if eight && !m.few && m.Type != tensor.MXFP4 {
			return tensor.Q8_0
		}
	case attentionOut:
		rule = m.out
		if eight && !falcon {
			rule = nil
			if m.few || m.manyExperts {
				return tensor.Q5_K
			}
		}
	case upOrGate:
		rule = m.upGate
	case down:
		rule = m.down
	}
	d := m.Type
	if rule != nil {
		d = rule(p, d)
	}
	// Models of 80 layers whose queries share keys (Llama 2 70B): attn_v is an eighth of attn_q, so that more bits cost little.
	if big := of.layers == 80 && of.gqa > 1 && (of.arch == "llama" || of.arch == "qwen2"); r == value && big && !m.few && (d == tensor.Q3_K || d == tensor.Q4_K) {
		d = tensor.Q5_K
	}
	return d
}

// fallbacks are the types in blocks of 32 that take the place of those in blocks of 256.
var fallbacks = map[tensor.DType]tensor.DType{
	tensor.IQ1_S: tensor.IQ4_NL, tensor.IQ1_M: tensor.IQ4_NL, tensor.IQ2_XXS: tensor.IQ4_NL, tensor.IQ2_XS: tensor.IQ4_NL, tensor.IQ2_S: tensor.IQ4_NL,
	tensor.IQ3_XXS: tensor.IQ4_NL, tensor.IQ3_S: tensor.IQ4_NL, tensor.IQ4_XS: tensor.IQ4_NL,
	tensor.Q2_K: tensor.Q4_0, tensor.Q3_K: tensor.Q4_0, tensor.TQ1_0: tensor.Q4_0, tensor.TQ2_0: tensor.Q4_0,
	tensor.Q4_K: tensor.Q5_0, tensor.Q5_K: tensor.Q5_1, tensor.Q6_K: tensor.Q8_0,
}

// fit gives d, or what takes its place in rows of cols columns.
func fit(d tensor.DType, cols int) tensor.DType {
	if cols%d.Block() == 0 {
		return d
	}
	if to, ok := fallbacks[d]; ok && cols%to.Block() == 0 {
		return to
	}
	return tensor.F16
}
