package ggufmap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/litgpt-go/litgpt/internal/gguf"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// mapped is the weights of a GGUF file under their published names. It is a
// checkpoint.Source and a checkpoint.Headers.
type mapped struct {
	f     *gguf.File
	names []string
	from  map[string]*entry
}

// entry is one published weight.
type entry struct {
	rows
	dtype safetensors.DType
	shape []int
	exact string // key of the values that the file rounds; "" for none
}

// source lists the weights.
func (fam *family) source(f *gguf.File, s sizes) (*mapped, error) {
	m := &mapped{f: f, from: map[string]*entry{}}
	var unknown []error
	for _, name := range f.Names() {
		t, _ := f.Tensor(name)
		if err := fam.place(m, t, s); err != nil {
			unknown = append(unknown, err)
		}
	}
	return m, errors.Join(unknown...)
}

// place adds the weights that t holds.
func (fam *family) place(m *mapped, t gguf.Tensor, s sizes) error {
	if slices.Contains(consumed, t.Name) {
		return nil
	}
	template, layer, suffix := split(t.Name)
	n, _ := view(t.Shape)
	if block, _ := t.Type.Block(); block > 1 && len(t.Shape) < 2 {
		return fmt.Errorf("tensor %s: type %v of a vector, want floats", t.Name, t.Type)
	}
	add := func(r rule, shape []int, parts ...part) error {
		hf := published(r.hf, layer) + suffix
		e := &entry{rows: rows{parts: parts}, dtype: safetensors.DType(t.Type.String()), shape: shape}
		if r.order != nil {
			if n := shape[0]; s.headDim < 2 || s.headDim%2 != 0 || n%s.headDim != 0 || s.kvHeads < 1 || s.heads%s.kvHeads != 0 {
				return fmt.Errorf("tensor %s: %d rows, want whole heads of %d channels, an even number, and %d heads for %d of keys and values", t.Name, n, s.headDim, s.heads, s.kvHeads)
			}
			if r.order == grouped && shape[0] != (s.heads+2*s.kvHeads)*s.headDim {
				return fmt.Errorf("tensor %s: %d rows, want those of %d queries and %d keys and values of %d each", t.Name, shape[0], s.heads, s.kvHeads, s.headDim)
			}
			e.order = r.order.toHF(s) // which divides by them
		}
		if r.plusOne {
			e.rows.add = -1
			if key := exactPrefix + hf; m.f.Has(key) {
				e.exact = key
			}
			if t.Type != gguf.F32 {
				return fmt.Errorf("tensor %s: type %v of a norm, want F32", t.Name, t.Type)
			}
		}
		if m.from[hf] != nil {
			return fmt.Errorf("tensor %s: %s has come from another one already", t.Name, hf)
		}
		m.from[hf] = e
		m.names = append(m.names, hf)
		return nil
	}
	r, ok := fam.rule(m.f, template)
	switch {
	case ok && r.stack:
		if len(t.Shape) != 3 || suffix != ".weight" || t.Shape[0] != s.experts {
			return fmt.Errorf("tensor %s: shape %v, want (experts, out, in) of %d experts", t.Name, t.Shape, s.experts)
		}
		out := t.Shape[1]
		for e := range t.Shape[0] {
			one := r
			one.hf = numbered(r.hf, e)
			if err := add(one, t.Shape[1:], part{t.Name, e * out, out}); err != nil {
				return err
			}
		}
		return nil
	case ok:
		return add(r, t.Shape, part{t.Name, 0, n})
	}
	// Projections that are one tensor here and several in the published model.
	if template == "blk.%d.attn_qkv" {
		at, head := 0, s.headDim
		for _, p := range []struct {
			template string
			rows     int
		}{{"blk.%d.attn_q", s.heads * head}, {"blk.%d.attn_k", s.kvHeads * head}, {"blk.%d.attn_v", s.kvHeads * head}} {
			r, ok := fam.rule(m.f, p.template)
			if !ok || (s.heads+2*s.kvHeads)*head != n {
				return fmt.Errorf("tensor %s: is not known, or has another number of rows than %d queries and %d keys and values of %d", t.Name, s.heads, s.kvHeads, head)
			}
			shape := slices.Clone(t.Shape)
			shape[0] = p.rows
			if err := add(r, shape, part{t.Name, at, p.rows}); err != nil {
				return err
			}
			at += p.rows
		}
		return nil
	}
	return fmt.Errorf("tensor %s: is none of the architecture %s", t.Name, fam.arch)
}

// split takes a tensor's name apart: "blk.3.attn_q.weight" is "blk.%d.attn_q", 3 and ".weight".
func split(name string) (template string, layer int, suffix string) {
	template = name
	for _, s := range []string{".weight", ".bias"} {
		if base, ok := strings.CutSuffix(name, s); ok {
			template, suffix = base, s
			break
		}
	}
	if rest, ok := strings.CutPrefix(template, "blk."); ok {
		number, rest, _ := strings.Cut(rest, ".")
		if n, err := strconv.Atoi(number); err == nil && n >= 0 && strconv.Itoa(n) == number {
			return "blk.%d." + rest, n, suffix
		}
	}
	return template, 0, suffix
}

// published fills in the number of the layer, if the name has one.
func published(template string, layer int) string {
	return strings.Replace(template, "%d", strconv.Itoa(layer), 1)
}

// numbered fills in the last number: that of the expert.
func numbered(template string, expert int) string {
	i := strings.LastIndex(template, "%d")
	return template[:i] + strconv.Itoa(expert) + template[i+2:]
}

// Names implements checkpoint.Source.
func (m *mapped) Names() []string { return m.names }

// Header implements checkpoint.Headers: Data is nil where it has to be made.
func (m *mapped) Header(name string) (safetensors.Tensor, bool) {
	e := m.from[name]
	if e == nil {
		return safetensors.Tensor{}, false
	}
	t := safetensors.Tensor{Name: name, DType: e.dtype, Shape: e.shape}
	if !e.plain() {
		return t, true
	}
	g, ok := m.f.Tensor(e.parts[0].name)
	if !ok {
		return t, false
	}
	rows, _ := view(g.Shape)
	rowBytes := len(g.Data) / rows
	t.Data = g.Data[e.parts[0].from*rowBytes:][:e.parts[0].n*rowBytes]
	return t, true
}

// Tensor implements checkpoint.Source.
func (m *mapped) Tensor(name string) (safetensors.Tensor, bool) {
	t, ok := m.Header(name)
	if !ok || t.Data != nil {
		return t, ok
	}
	e := m.from[name]
	n, _ := view(e.shape)
	g, ok := m.f.Tensor(e.parts[0].name)
	if !ok {
		return t, false
	}
	rows, _ := view(g.Shape)
	rowBytes := len(g.Data) / rows
	t.Data = make([]byte, n*rowBytes)
	err := e.gather(t.Data, 0, n, rowBytes, func(name string) (safetensors.Tensor, bool) {
		g, ok := m.f.Tensor(name)
		return safetensors.Tensor{Name: name, Data: g.Data}, ok
	})
	if err != nil {
		return t, false
	}
	if e.add != 0 {
		shift(t.Data, e.add)
		m.restore(t.Data, e)
	}
	return t, true
}

// shift adds to F32 elements.
func shift(data []byte, by float32) {
	for i := 0; i < len(data); i += 4 {
		v := math.Float32frombits(binary.LittleEndian.Uint32(data[i:]))
		binary.LittleEndian.PutUint32(data[i:], math.Float32bits(v+by))
	}
}

// restore replaces elements by the exact ones that the file carries, unless it was changed since.
func (m *mapped) restore(data []byte, e *entry) {
	if e.exact == "" {
		return
	}
	exact, err := m.f.Floats(e.exact)
	if err != nil || 4*len(exact) != len(data) {
		return
	}
	g, ok := m.f.Tensor(e.parts[0].name)
	if !ok {
		return
	}
	stored := make([]float32, len(exact))
	raw := make([]byte, len(data))
	if g.CopyTo(raw) != nil {
		return
	}
	tensor.ToFloats(tensor.F32, raw, stored)
	for i, x := range exact {
		if float32(x)-e.add == stored[i] {
			binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(float32(x)))
		}
	}
}
