// Package quantize makes smaller checkpoints: which weight gets which of GGML's types, what is
// measured of a model to choose the numbers in them well, and the writing of it all to a GGUF file.
//
// Start with Choose, which decides the types, and Plan.Write, which streams: a few million weights are in
// memory at a time, whatever the model's size. Importance are the mean squares of what meets
// each column of a matrix (Observe measures them), by which the quantizers weigh errors;
// GPTQ (https://arxiv.org/abs/2210.17323) goes further and corrects the errors of columns in those that follow.
//
// Without importance the values are, bit for bit, those that llama-quantize writes; with the same importance as well.
package quantize

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/litgpt-go/litgpt/internal/gguf"
	"github.com/litgpt-go/litgpt/internal/ggufmap"
	"github.com/litgpt-go/litgpt/internal/settings"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// Config says how to quantize.
type Config struct {
	Mixture    Mixture
	Overrides  []Override  // the first that matches a tensor decides
	Pure       bool        // every matrix gets the mixture's type
	KeepHead   bool        // the output projection (or the embedding that is it) keeps its type
	Requantize bool        // also what is quantized already; its errors add up
	Importance *Importance // nil for none
}

// Plan is what each tensor becomes.
type Plan struct {
	Tensors  []Tensor
	Metadata []gguf.KV // of the model, with the type of the file
	Notes    []string  // types that do not fit, importance that is missing
}

// Tensor is one of them.
type Tensor struct {
	*ggufmap.Tensor
	To         tensor.DType
	Importance []float32 // of each column, one expert's after the other's; nil for none

	was  tensor.DType // in the checkpoint, if GPTQ has quantized it since
	gptq bool
}

// Bytes is the size of the value.
func (t *Tensor) Bytes() int { return t.To.Bytes(t.Rows() * t.Cols()) }

// Choose decides the types of a model's tensors.
func Choose(e *ggufmap.Exported, c Config) (*Plan, error) {
	m := model{arch: e.Arch, tied: true, importance: c.Importance != nil}
	m.layers, m.experts = number(e, "block_count"), number(e, "expert_count")
	m.gqa = number(e, "attention.head_count") / max(1, number(e, "attention.head_count_kv"))
	for _, t := range e.Tensors {
		m.tied = m.tied && t.Name != "output.weight"
	}
	p := &Plan{}
	used := make([]bool, len(c.Overrides))
	fell := map[string]int{}
	var quantized, without, wants []string
	for i := range e.Tensors {
		t := Tensor{Tensor: &e.Tensors[i]}
		t.To = t.DType()
		if !t.quantizable() || c.KeepHead && roleOf(t.Name, m.tied) == head {
			p.Tensors = append(p.Tensors, t)
			continue
		}
		to := c.Mixture.Type
		if d, ok := override(c.Overrides, used, t.Tensor); ok {
			to = d
		} else if !c.Pure {
			to = c.Mixture.choose(t.Name, t.Cols(), len(t.Shape) > 2, m)
		}
		t.To = fit(to, t.Cols())
		if t.To != to {
			fell[fmt.Sprintf("rows of %d cannot be %v, which is made of blocks of %d: %v is taken", t.Cols(), to, to.Block(), t.To)]++
		}
		if t.To != t.DType() && t.DType().Quantized() && !c.Requantize {
			quantized = append(quantized, fmt.Sprintf("%s is %v", t.Name, t.DType()))
		}
		if t.To.Quantized() && c.Importance != nil {
			experts := 1
			if len(t.Shape) > 2 {
				experts = t.Shape[0]
			}
			w, err := c.Importance.of(t.Name, t.Cols(), experts)
			if err != nil {
				return nil, err
			}
			t.Importance = w
			if w == nil && roleOf(t.Name, m.tied) != head && roleOf(t.Name, m.tied) != embedding {
				without = append(without, t.Name)
			}
		}
		if t.Importance == nil && needsImportance(c.Mixture, t.Name, t.To) {
			wants = append(wants, fmt.Sprintf("%s to %v", t.Name, t.To))
		}
		p.Tensors = append(p.Tensors, t)
	}
	switch {
	case len(quantized) > 0:
		return nil, &settings.UsageError{Msg: fmt.Sprintf("%s and %d more tensors are quantized already, which cannot be undone: errors would add up", quantized[0], len(quantized)-1),
			Hint: "quantize the model that it was made from, or set --requantize"}
	case len(wants) > 0:
		return nil, &settings.UsageError{Msg: fmt.Sprintf("quantizing %s and %d more tensors needs importance; the result would be of no use", wants[0], len(wants)-1),
			Hint: "give a text with --calibrate, or a file with --imatrix"}
	}
	for i, o := range c.Overrides {
		if !used[i] {
			return nil, &settings.UsageError{Msg: fmt.Sprintf("--override %s: no matrix has such a name, or an earlier pattern takes them all", o), Hint: "names are those of GGUF, blk.0.ffn_down, or of the checkpoint; * stands for anything"}
		}
	}
	for note, n := range fell {
		p.Notes = append(p.Notes, fmt.Sprintf("%s (%d tensors)", note, n))
	}
	if len(without) > 0 {
		p.Notes = append(p.Notes, fmt.Sprintf("no importance is known of %s and %d more tensors", without[0], len(without)-1))
	}
	p.Metadata = gguf.SetKV(e.Metadata, gguf.KV{Key: "general.file_type", Value: c.Mixture.FileType})
	if c.Mixture.Type.Quantized() {
		p.Metadata = gguf.SetKV(p.Metadata, gguf.KV{Key: "general.quantization_version", Value: uint32(2)})
	}
	if c.Importance != nil {
		p.Metadata = gguf.SetKV(p.Metadata, c.Importance.metadata()...)
	}
	return p, nil
}

// quantizable says that a tensor is a matrix that llama.cpp reads quantized.
func (t *Tensor) quantizable() bool {
	return !t.Keep && len(t.Shape) > 1 && t.Rows() > 1 && strings.HasSuffix(t.Name, "weight") && !strings.HasSuffix(t.Name, "_norm.weight")
}

// needsImportance tells what llama-quantize refuses to make without.
func needsImportance(m Mixture, name string, to tensor.DType) bool {
	if to.NeedsImportance() {
		return true
	}
	if name == "token_embd.weight" || name == "output.weight" {
		return false
	}
	switch to {
	case tensor.IQ3_XXS, tensor.IQ2_S, tensor.IQ1_M:
		return true
	case tensor.Q2_K:
		return m.Name == "Q2_K_S"
	}
	return false
}

// number reads a size of the model's metadata.
func number(e *ggufmap.Exported, key string) int {
	for _, kv := range e.Metadata {
		if kv.Key == e.Arch+"."+key {
			if n, ok := kv.Value.(uint32); ok {
				return int(n)
			}
		}
	}
	return 0
}

// layerOf is the number of the layer that a tensor of GGUF belongs to, 0 for none.
func layerOf(name string) int {
	rest, _ := strings.CutPrefix(name, "blk.")
	digits, _, _ := strings.Cut(rest, ".")
	n, _ := strconv.Atoi(digits)
	return n
}

// Override gives tensors a type by their names.
type Override struct {
	Pattern string
	Type    tensor.DType
}

func (o Override) String() string { return o.Pattern + "=" + o.Type.String() }

// ParseOverride reads PATTERN=TYPE.
func ParseOverride(s string) (Override, error) {
	pattern, name, ok := strings.Cut(s, "=")
	d, known := tensor.DTypeByName(strings.ToUpper(strings.TrimSpace(name)))
	if pattern = strings.TrimSpace(pattern); !ok || pattern == "" || !known || d == tensor.I32 {
		return Override{}, &settings.UsageError{Msg: fmt.Sprintf("--override is %q; a name and a type wanted", s), Hint: "such as --override 'blk.*.ffn_down=Q6_K'; types are those of GGML, F16, BF16 and F32"}
	}
	return Override{pattern, d}, nil
}

// override finds the first that matches a tensor, by its name or one that it has in the checkpoint.
func override(list []Override, used []bool, t *ggufmap.Tensor) (tensor.DType, bool) {
	for i, o := range list {
		for _, name := range append([]string{t.Name}, t.From...) {
			if matches(o.Pattern, name) {
				used[i] = true
				return o.Type, true
			}
		}
	}
	return 0, false
}

// matches reports whether a pattern is the name, with or without .weight; * is any letters. One
// without * may be some of the words between dots as well: ffn_down, or mlp.down_proj.
func matches(pattern, name string) bool {
	base := strings.TrimSuffix(name, ".weight")
	if !strings.Contains(pattern, "*") {
		return pattern == name || strings.Contains("."+base+".", "."+pattern+".")
	}
	return glob(pattern, name) || glob(pattern, base)
}

func glob(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	rest, ok := strings.CutPrefix(s, parts[0])
	if !ok {
		return false
	}
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(rest, p)
		if i < 0 {
			return false
		}
		rest = rest[i+len(p):]
	}
	return strings.HasSuffix(rest, parts[len(parts)-1])
}

// BitsPerWeight is the mean over all tensors.
func (p *Plan) BitsPerWeight() float64 {
	n := 0
	for i := range p.Tensors {
		n += p.Tensors[i].Rows() * p.Tensors[i].Cols()
	}
	return 8 * float64(p.Bytes()) / float64(max(1, n))
}
