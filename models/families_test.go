package models_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/models"
)

// tiny is a config.json of small sizes for an architecture; of a key given twice the last counts.
func tiny(architecture string, keys ...string) string {
	return fmt.Sprintf(`{"architectures": [%q], "vocab_size": 17, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
		"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4, "max_position_embeddings": 64%s}`,
		architecture, strings.Join(append([]string{""}, keys...), ", "))
}

const imageConfig = `{"architectures": ["Gemma3ForConditionalGeneration"], "text_config": %s, "vision_config": {"hidden_size": 8}}`

// What the families refuse, each beside a configuration that it takes.
func TestFamilyConfigErrors(t *testing.T) {
	const (
		mistral, qwen2, qwen3  = "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"
		smol, olmo2            = "SmolLM3ForCausalLM", "Olmo2ForCausalLM"
		gemma, gemma2, gemma3  = "GemmaForCausalLM", "Gemma2ForCausalLM", "Gemma3ForCausalLM"
		full, sliding, chunked = `"full_attention"`, `"sliding_attention"`, `"chunked_attention"`
	)
	for _, tt := range []struct {
		config string
		want   string // part of the message; "" where the configuration is good
	}{
		{tiny(mistral), ""},
		{tiny(mistral, `"sliding_window": null`), ""},
		{tiny(mistral, `"sliding_window": 7`), ""},
		{tiny(mistral, `"sliding_window": -7`), "sliding_window is -7"},
		{tiny(mistral, `"sliding_window": "all"`), "sliding_window is a string, int wanted"},
		{tiny(mistral, `"layer_types": [`+full+`, `+sliding+`]`), "layer_types is"},
		{tiny(mistral, `"hidden_act": "gelu"`), `hidden_act is "gelu"`},
		{tiny(mistral, `"vocab_size": "many"`), "config.json: vocab_size is a string, int wanted"},
		{tiny(mistral, `"num_key_value_heads": 3`), "num_key_value_heads 3 does not divide num_attention_heads 4"},
		{tiny(mistral, `"head_dim": 0, "hidden_size": 18`), "num_attention_heads 4 does not divide hidden_size 18"},
		{tiny(mistral, `"head_dim": 3`), "head_dim 3"},
		{tiny(mistral, `"intermediate_size": 0`), "intermediate_size is 0"},
		{tiny(mistral, `"num_hidden_layers": 10001`), "num_hidden_layers 10001"},
		{tiny(mistral, `"rms_norm_eps": 1`), "rms_norm_eps 1"},
		{tiny(mistral, `"rope_theta": 0`), "rope_theta 0"},
		{tiny(mistral, `"partial_rotary_factor": 0.5`), "partial_rotary_factor is 0.5"},
		{tiny(mistral, `"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}`), "partial_rotary_factor is 0.5"},
		{tiny(mistral, `"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 1.0}`), ""},
		{tiny(mistral, `"rope_parameters": 7`), "rope_parameters is a number"},
		{tiny(mistral, `"rope_scaling": {"type": "dynamic", "factor": 2}`), `unknown rope_type "dynamic"`},
		{tiny(mistral, `"rope_scaling": {"type": "yarn", "factor": "2"}`), "config.json: rope_scaling.factor is a string"},
		{tiny(mistral, `"rope_scaling": {"type": "yarn", "beta_fast": "2"}`), "config.json: rope_scaling.beta_fast is a string"},
		{tiny(mistral, `"quantization_config": {"bits": 4}`), "quantization_config is"},

		{tiny(qwen2, `"rope_scaling": {"type": "yarn", "factor": 4.0}`), ""}, // stretches max_position_embeddings
		{tiny(qwen2, `"use_sliding_window": true, "max_window_layers": 1, "sliding_window": 3`), ""},
		{tiny(qwen2, `"use_sliding_window": true, "max_window_layers": 1, "sliding_window": -3`), "sliding_window is -3"},
		{tiny(qwen2, `"layer_types": [`+full+`]`), "layer_types has 1 entries for num_hidden_layers 2"},
		{tiny(qwen2, `"layer_types": [`+full+`, `+chunked+`]`), `layer_types[1] is "chunked_attention"`},
		{tiny(qwen2, `"layer_types": [`+full+`, `+sliding+`]`), "layer 1 has a window"},
		{tiny(qwen2, `"use_sliding_window": true, "layer_types": [`+full+`, `+sliding+`]`), ""}, // of 4096

		{tiny(qwen3, `"attention_bias": true`), ""},
		{tiny(qwen3, `"hidden_act": "relu"`), `hidden_act is "relu"`},

		{tiny(smol, `"no_rope_layers": [0, 1, 1]`), ""}, // transformers asks for no fewer than layers
		{tiny(smol, `"no_rope_layers": [0]`), "no_rope_layers has 1 entries for num_hidden_layers 2"},
		{tiny(smol, `"no_rope_layer_interval": 0`), "no_rope_layer_interval is 0"},
		{tiny(smol, `"use_sliding_window": true, "layer_types": [`+sliding+`, `+sliding+`]`), "layer 0 has a window"},

		{tiny(olmo2, `"clip_qkv": 8`), "clip_qkv is 8"},
		{tiny(olmo2, `"sliding_window": 8`), "sliding_window is 8"},

		{tiny(gemma, `"hidden_act": "gelu", "hidden_activation": null`), ""}, // as first published
		{tiny(gemma, `"hidden_activation": "gelu"`), `hidden_activation is "gelu"`},
		{tiny(gemma, `"hidden_act": "silu"`), `hidden_act is "silu"`},
		{tiny(gemma, `"use_bidirectional_attention": true`), "use_bidirectional_attention is true"},

		{tiny(gemma2, `"attn_logit_softcapping": null, "final_logit_softcapping": null`), ""},
		{tiny(gemma2, `"attn_logit_softcapping": -1`), "attn_logit_softcapping -1"},
		{tiny(gemma2, `"query_pre_attn_scalar": 0`), "query_pre_attn_scalar 0"},
		{tiny(gemma2, `"sliding_window": null`), "layer 0 has a window"},

		{tiny(gemma3, `"sliding_window_pattern": 0`), "sliding_window_pattern 0"},
		{tiny(gemma3, `"attn_logit_softcapping": 50.0`), "attn_logit_softcapping is 50"},
		{tiny(gemma3, `"final_logit_softcapping": -1`), "final_logit_softcapping -1"},
		{tiny(gemma3, `"rope_local_base_freq": 0`), "rope_theta 0"},
		{tiny(gemma3, `"rope_parameters": {"full_attention": {"rope_theta": 1e6}, "sliding_attention": null}`), ""},
		{tiny(gemma3, `"rope_parameters": {"full_attention": {"rope_theta": 1e6, "partial_rotary_factor": 0.5}}`), "partial_rotary_factor is 0.5"},
		{tiny(gemma3, `"rope_parameters": {"chunked_attention": {"rope_theta": 1e6}}`), `rope_parameters has "chunked_attention"`},
		{tiny(gemma3, `"rope_parameters": {"rope_theta": 1e6}`), "rope_parameters is a number"},
		{tiny(gemma3, `"rope_parameters": {"sliding_attention": {"rope_type": "spiral"}}`), `unknown rope_type "spiral"`},

		{fmt.Sprintf(imageConfig, tiny(gemma3)), ""},
		{fmt.Sprintf(imageConfig, tiny(gemma3, `"vocab_size": "many"`)), "vocab_size is a string, int wanted"},
		{fmt.Sprintf(imageConfig, "null"), "text_config is"},
		{`{"architectures": ["Gemma3ForConditionalGeneration"]}`, "text_config is"},
		{`{"architectures": ["Gemma3ForConditionalGeneration"], "quantization_config": {"bits": 4}, "text_config": {}}`, "quantization_config is"},
	} {
		_, err := models.New([]byte(tt.config))
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.config, err)
		case tt.want != "" && err == nil:
			t.Errorf("%s: no error, want %q", tt.config, tt.want)
		case tt.want != "" && (!strings.HasPrefix(err.Error(), "config.json") || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: got %q, want config.json: … %q", tt.config, err, tt.want)
		}
	}
}

// Gemma 3 of 4B: a configuration as published, which says only where it differs from the defaults.
func TestGemma3Defaults(t *testing.T) {
	m, err := models.New([]byte(fmt.Sprintf(imageConfig, `{"hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text",
		"num_hidden_layers": 34, "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024}`)))
	if err != nil {
		t.Fatal(err)
	}
	want := models.Dims{Layers: 34, Hidden: 2560, Vocab: 262208, Heads: 8, KVHeads: 4, HeadDim: 256, Context: 131072, Tied: true}
	if got := m.Dims(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	n := 0
	for _, p := range nn.Params(m) {
		n += p.Numel()
	}
	if n != 3880263168 { // of the 4,300,079,472 that the published model has with its vision tower and projector
		t.Errorf("got %d parameters, want 3880263168", n)
	}
}

// names is a checkpoint of nothing but names.
type names []string

func (n names) Names() []string { return n }

func (n names) Tensor(name string) (safetensors.Tensor, bool) {
	return safetensors.Tensor{DType: safetensors.DType(name)}, slices.Contains(n, name)
}

func TestGemma3VisionNames(t *testing.T) {
	m, err := models.New([]byte(fmt.Sprintf(imageConfig, tiny("Gemma3ForCausalLM"))))
	if err != nil {
		t.Fatal(err)
	}
	src := names{
		"language_model.model.embed_tokens.weight", "model.language_model.norm.weight", "language_model.lm_head.weight", "model.layers.0.mlp.up_proj.weight",
		"vision_tower.vision_model.post_layernorm.weight", "multi_modal_projector.mm_soft_emb_norm.weight",
		"model.vision_tower.vision_model.post_layernorm.weight", "model.multi_modal_projector.mm_soft_emb_norm.weight", "audio_tower.weight",
	}
	got := m.(checkpoint.Adapter).AdaptCheckpoint(src)
	want := map[string]string{ // the source's name by the model's
		"model.embed_tokens.weight": src[0], "model.norm.weight": src[1], "lm_head.weight": src[2], src[3]: src[3],
		"audio_tower.weight": "audio_tower.weight", // unknown: loading shall say that it is unused
	}
	if len(got.Names()) != len(want) {
		t.Errorf("got %q", got.Names())
	}
	for name, from := range want {
		if x, ok := got.Tensor(name); !ok || string(x.DType) != from {
			t.Errorf("%s: got %q, want %q", name, x.DType, from)
		}
	}
	if _, ok := got.Tensor(src[4]); ok {
		t.Error("the vision tower is there")
	}
}

// What is saved of a model with images is its text model, which transformers can load by itself.
func TestSavedConfig(t *testing.T) {
	whole := []byte(fmt.Sprintf(`{"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "eos_token_id": [1, 106], "torch_dtype": "bfloat16",
		"mm_tokens_per_image": 256, "text_config": %s, "vision_config": {"hidden_size": 8}}`, tiny("-", `"eos_token_id": 1, "sliding_window": 5`)))
	saved, err := models.SavedConfig(whole)
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(saved, &c); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"architectures": "[Gemma3ForCausalLM]", "model_type": "gemma3_text", "eos_token_id": "[1 106]",
		"torch_dtype": "bfloat16", "sliding_window": "5", "mm_tokens_per_image": "<nil>", "vision_config": "<nil>", "text_config": "<nil>"} {
		if got := fmt.Sprint(c[key]); got != want {
			t.Errorf("%s: got %s, want %s", key, got, want)
		}
	}
	a, err := models.New(whole)
	if err != nil {
		t.Fatal(err)
	}
	b, err := models.New(saved)
	if err != nil {
		t.Fatal(err)
	}
	if a.Dims() != b.Dims() {
		t.Errorf("got %+v, want %+v", b.Dims(), a.Dims())
	}
	if same, err := models.SavedConfig([]byte(valid)); err != nil || string(same) != valid {
		t.Errorf("got %s (%v), want what was given", same, err)
	}
	for _, bad := range []string{`{}`, `{"architectures": ["Gemma3ForConditionalGeneration"]}`, `{"architectures": ["Gemma3ForConditionalGeneration"], "text_config": null}`} {
		if _, err := models.SavedConfig([]byte(bad)); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}
