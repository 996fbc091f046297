package models

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// gemma3Vision is a Gemma 3 checkpoint of 4B weights and more as published, of
// which this is the text model: without an image in the prompt nothing else has a
// say. Its weights have the names that the text model has by itself.
type gemma3Vision struct {
	Text *gemma3 `hf:""`
}

func newGemma3Vision(config []byte) (Model, error) {
	var c struct {
		Text json.RawMessage `json:"text_config"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, configError(config, err)
	}
	if len(c.Text) == 0 || c.Text[0] != '{' {
		return nil, fmt.Errorf("config.json: text_config is %.20q; the object that describes the language part is wanted", c.Text)
	}
	if err := unsupported(config, map[string][]string{"quantization_config": nil}); err != nil {
		return nil, err
	}
	text, err := newGemma3(c.Text)
	if err != nil {
		return nil, err
	}
	return &gemma3Vision{text.(*gemma3)}, nil
}

// gemma3TextConfig makes the config.json of the text model by itself, with the keys
// of the whole one that concern the text too.
func gemma3TextConfig(config []byte) ([]byte, error) {
	var c, text map[string]json.RawMessage
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, configError(config, err)
	}
	if err := json.Unmarshal(c["text_config"], &text); err != nil || text == nil {
		return nil, fmt.Errorf("config.json: text_config is %.20q; the object that describes the language part is wanted", c["text_config"])
	}
	for _, key := range []string{"bos_token_id", "eos_token_id", "pad_token_id", "torch_dtype", "dtype", "transformers_version"} {
		if v, ok := c[key]; ok {
			text[key] = v // where both have one, the whole model's counts
		}
	}
	text["architectures"], text["model_type"] = json.RawMessage(`["Gemma3ForCausalLM"]`), json.RawMessage(`"gemma3_text"`)
	out, err := json.MarshalIndent(text, "", "  ")
	return append(out, '\n'), err
}

func (m *gemma3Vision) Forward(b *nn.Batch) *tensor.Tensor { return m.Text.Forward(b) }

func (m *gemma3Vision) Logits(h *tensor.Tensor) *tensor.Tensor { return m.Text.Logits(h) }

func (m *gemma3Vision) Dims() Dims { return m.Text.Dims() }

// gemma3Prefixes are how the text model's names begin in a checkpoint with images
// (published, and as transformers 5 has them in memory), and by itself. The vision
// tower and its projector, which texts do not reach, have no name in the model.
var gemma3Prefixes = []struct{ in, to string }{
	{"language_model.model.", "model."},
	{"language_model.lm_head.", "lm_head."},
	{"model.language_model.", "model."},
	{"vision_tower.", ""},
	{"multi_modal_projector.", ""},
	{"model.vision_tower.", ""},
	{"model.multi_modal_projector.", ""},
}

// AdaptCheckpoint implements checkpoint.Adapter.
func (m *gemma3Vision) AdaptCheckpoint(src checkpoint.Source) checkpoint.Source {
	s := renamed{Source: src, from: map[string]string{}}
next:
	for _, name := range src.Names() {
		to := name
		for _, p := range gemma3Prefixes {
			rest, ok := strings.CutPrefix(name, p.in)
			if ok && p.to == "" {
				continue next
			}
			if ok {
				to = p.to + rest
				break
			}
		}
		s.names = append(s.names, to)
		s.from[to] = name
	}
	return s
}

// renamed is a checkpoint under other names.
type renamed struct {
	checkpoint.Source
	names []string
	from  map[string]string // the source's name for each of names
}

func (r renamed) Names() []string { return r.names }

func (r renamed) Tensor(name string) (safetensors.Tensor, bool) { return r.Source.Tensor(r.from[name]) }

// Header implements checkpoint.Headers.
func (r renamed) Header(name string) (safetensors.Tensor, bool) {
	return checkpoint.Header(r.Source, r.from[name])
}
