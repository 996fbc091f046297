package ggufmap

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/litgpt-go/litgpt/internal/gguf"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// readRope makes what config.json says of the rotation.
func (fam *family) readRope(m *meta, c conf, head int, over conf) {
	if v, ok := m.float("rope.freq_base", false); ok {
		c.number(fam.theta(), v)
	} else {
		c.number(fam.theta(), 10000)
	}
	turned, ok := m.int("rope.dimension_count", false)
	switch {
	case !ok || turned == 0:
		turned = head
	case turned > head || turned < 2 || turned%2 != 0:
		m.errs = append(m.errs, fmt.Errorf("%s.rope.dimension_count is %d, want an even number up to %d", m.arch, turned, head))
		return
	}
	if fam.partial != "" {
		part := float64(turned) / float64(head)
		if int(float64(head)*part) != turned {
			part = math.Nextafter(part, 2)
		}
		c.set(fam.partial, part)
	} else if turned != head {
		m.errs = append(m.errs, fmt.Errorf("%s.rope.dimension_count is %d, want all %d of a head's channels", m.arch, turned, head))
	}
	scaling := conf{}
	kind, _ := m.text("rope.scaling.type")
	factor, has := m.float("rope.scaling.factor", false)
	if old, ok := m.float("rope.scale_linear", false); !has && ok {
		factor = old
	}
	original, hasOriginal := m.int("rope.scaling.original_context_length", false)
	attn, hasAttn := m.float("rope.scaling.attn_factor", false)
	for _, k := range []string{"yarn_attn_factor", "yarn_beta_fast", "yarn_beta_slow"} {
		v, ok := m.float("rope.scaling."+k, false)
		if ok && kind == "yarn" {
			scaling.number(map[string]string{"yarn_attn_factor": "attention_factor", "yarn_beta_fast": "beta_fast", "yarn_beta_slow": "beta_slow"}[k], v)
		}
	}
	switch {
	case kind == "yarn":
		scaling.set("rope_type", "yarn")
		scaling.number("factor", factor)
		if hasOriginal {
			scaling.set("original_max_position_embeddings", original)
		}
		if hasAttn && attn != 1 {
			m.errs = append(m.errs, fmt.Errorf("%s.rope.scaling.attn_factor is %g beside yarn, which is not known here", m.arch, attn))
		}
	case m.f32("rope_factors_long.weight") != nil:
		scaling.set("rope_type", "longrope")
		for name, tensor := range map[string]string{"short_factor": "rope_factors_short.weight", "long_factor": "rope_factors_long.weight"} {
			var list []float64
			for _, v := range m.f32(tensor) {
				list = append(list, shortFloat(v))
			}
			scaling.set(name, list)
		}
		if hasOriginal {
			c.set("original_max_position_embeddings", original)
		}
		if hasAttn {
			scaling.number("attention_factor", attn)
		}
	case m.f32("rope_freqs.weight") != nil:
		if over.has("rope_scaling") {
			break // says it exactly
		}
		s, err := llama3(m.f32("rope_freqs.weight"), c.float(fam.theta()), turned, original)
		if err != nil {
			m.errs = append(m.errs, err)
			return
		}
		scaling = s
	case (kind == "" || kind == "linear") && factor != 0 && factor != 1:
		scaling.set("rope_type", "linear")
		scaling.number("factor", factor)
	case kind == "" || kind == "none" || kind == "linear" || kind == "longrope":
		if hasOriginal && original != c.int("max_position_embeddings") && fam.partial != "" {
			c.set("original_max_position_embeddings", original)
		}
		if hasAttn && attn != 1 {
			m.errs = append(m.errs, fmt.Errorf("%s.rope.scaling.attn_factor is %g without a scaling, which is not known here", m.arch, attn))
		}
	default:
		m.errs = append(m.errs, fmt.Errorf("%s.rope.scaling.type is %.40q (known: none, linear, yarn, longrope)", m.arch, kind))
	}
	if len(scaling) > 0 {
		c.set("rope_scaling", scaling)
	}
}

// f32 reads a small tensor; nil when it is not there.
func (m *meta) f32(name string) []float32 {
	t, ok := m.f.Tensor(name)
	if !ok || t.Type != gguf.F32 || len(t.Data) > 1<<20 {
		return nil
	}
	raw := make([]byte, len(t.Data))
	if t.CopyTo(raw) != nil {
		return nil
	}
	v := make([]float32, len(raw)/4)
	tensor.ToFloats(tensor.F32, raw, v)
	return v
}

// shortFloat is the float64 of the fewest digits that rounds to v: 1.08 for float32(1.08).
func shortFloat(v float32) float64 {
	var x float64
	fmt.Sscan(shortest(float64(v)), &x)
	return x
}

// llama3Factors are what Llama 3.1's rule divides the frequencies of dim channels by.
func llama3Factors(theta float64, dim int, factor, low, high, original float64) []float32 {
	out := make([]float32, dim/2)
	for i := range out {
		wavelen := 2 * math.Pi * math.Pow(theta, 2*float64(i)/float64(dim))
		switch {
		case wavelen < original/high:
			out[i] = 1
		case wavelen > original/low:
			out[i] = float32(factor)
		default:
			smooth := (original/wavelen - low) / (high - low)
			out[i] = float32(1 / ((1-smooth)/factor + smooth))
		}
	}
	return out
}

// llama3 finds the parameters of Llama 3.1's rule that give the factors. Models have low 1 and
// high 4 of 8192 positions; others are tried since finetunes change them.
func llama3(factors []float32, theta float64, dim, original int) (conf, error) {
	if len(factors) != dim/2 {
		return nil, fmt.Errorf("tensor rope_freqs.weight: %d factors, want one for each of %d pairs of channels", len(factors), dim/2)
	}
	factor := float64(0)
	for _, f := range factors {
		factor = max(factor, float64(f))
	}
	try := []float64{float64(original), 8192}
	for n := 8; n <= 1<<20; n *= 2 {
		try = append(try, float64(n))
	}
	for _, low := range []float64{1, 2} { // twice of all three is the same rule
		for _, high := range []float64{4, 8, 2} {
			for _, original := range try {
				if original <= 0 || high <= low || !(factor >= 1) {
					continue
				}
				if near(llama3Factors(theta, dim, factor, low, high, original), factors) {
					c := conf{}
					c.set("rope_type", "llama3")
					c.number("factor", factor)
					c.number("low_freq_factor", low)
					c.number("high_freq_factor", high)
					c.set("original_max_position_embeddings", int(original))
					return c, nil
				}
			}
		}
	}
	return nil, fmt.Errorf("tensor rope_freqs.weight: its factors are not those of Llama 3.1's rule for any original context up to 2^20")
}

func near(a, b []float32) bool {
	for i := range a {
		if d := math.Abs(float64(a[i] - b[i])); !(d <= 1e-4*math.Abs(float64(b[i]))) {
			return false
		}
	}
	return true
}

// writeRope adds the rotation's metadata and tensors.
func (fam *family) writeRope(e *Exported, c conf, s sizes) {
	turned := s.headDim
	if fam.partial != "" {
		turned = int(float64(s.headDim) * c.float(fam.partial))
	}
	e.set("rope.dimension_count", uint32(turned))
	theta := c.float(fam.theta())
	e.set("rope.freq_base", float32(theta))
	r, ok := get[conf](c, "rope_scaling")
	if !ok {
		return
	}
	kind := r.text("rope_type")
	if kind == "" {
		kind = r.text("type")
	}
	original := r.int("original_max_position_embeddings")
	if r.has("short_factor") { // Phi-3, whatever it calls it
		kind = "longrope"
	}
	switch kind {
	case "linear":
		e.set("rope.scaling.type", "linear")
		e.set("rope.scaling.factor", float32(r.float("factor")))
	case "yarn":
		e.set("rope.scaling.type", "yarn")
		e.set("rope.scaling.factor", float32(r.float("factor")))
		if original == 0 {
			original = c.int("max_position_embeddings")
		}
		e.set("rope.scaling.original_context_length", uint32(original))
		for _, k := range []key{{"yarn_attn_factor", "attention_factor", 0}, {"yarn_beta_fast", "beta_fast", 0}, {"yarn_beta_slow", "beta_slow", 0}} {
			if v := r.float(k.hf); v != 0 {
				e.set("rope.scaling."+k.gguf, float32(v))
			}
		}
		for _, k := range []string{"mscale", "mscale_all_dim", "truncate", "attention_factor"} {
			if r.has(k) {
				e.note("rope_scaling." + k + ": llama.cpp has its own")
			}
		}
	case "llama3":
		e.vector("rope_freqs.weight", llama3Factors(theta, turned, r.float("factor"), r.float("low_freq_factor"), r.float("high_freq_factor"), float64(original)))
	case "longrope":
		e.set("rope.scaling.type", "longrope")
		context := c.float("max_position_embeddings")
		if original == 0 {
			original = c.int("original_max_position_embeddings")
		}
		e.set("rope.scaling.original_context_length", uint32(original))
		attn := r.float("attention_factor")
		if attn == 0 {
			scale := context / float64(original)
			if f := r.float("factor"); f != 0 {
				scale = f
			}
			attn = 1
			if scale > 1 && original > 1 {
				attn = math.Sqrt(1 + math.Log(scale)/math.Log(float64(original)))
			}
		}
		e.set("rope.scaling.attn_factor", float32(attn))
		for _, kind := range []string{"long", "short"} {
			list, _ := get[[]float32](r, kind+"_factor")
			e.vector("rope_factors_"+kind+".weight", list)
		}
	}
}

func floatBytes(v []float32) []byte {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}
