package models_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/models"
)

// with replaces keys of a configuration.
func with(t testing.TB, config string, changes map[string]string) string {
	t.Helper()
	var c map[string]json.RawMessage
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		t.Fatal(err)
	}
	for k, v := range changes {
		c[k] = json.RawMessage(v)
	}
	out, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func tinyConfig(t testing.TB, name string) string {
	t.Helper()
	for _, f := range families {
		if f.name == name {
			return f.config
		}
	}
	t.Fatalf("no family %q", name)
	return ""
}

// TestFamilyErrors breaks one key of a valid configuration. Those that all families read alike are in TestConfigErrors.
func TestFamilyErrors(t *testing.T) {
	long := func(s string) string { return `{"type": "longrope", ` + s + `}` }
	for family, cases := range map[string][]struct{ key, value, want string }{
		"phi": {
			{"vocab_size", `0`, "vocab_size is 0"},
			{"hidden_size", `25`, "num_attention_heads 3 does not divide hidden_size 25"},
			{"num_key_value_heads", `2`, "2 key/value heads do not divide num_attention_heads 3"},
			{"hidden_act", `"gelu"`, `hidden_act is "gelu"`},
			{"qk_layernorm", `true`, "qk_layernorm is true"},
			{"partial_rotary_factor", `0.2`, "0.2 of 8 channels per head are rotated"},
			{"partial_rotary_factor", `1.5`, "1.5 of 8 channels per head are rotated"},
			{"rope_parameters", `{"rope_theta": 1e4, "partial_rotary_factor": 0.6, "rope_type": "linear"}`, `factor 0 of type "linear"`},
			{"rope_theta", `-1`, "rope_theta -1"},
			{"rope_scaling", `{"type": "dynamic", "factor": 2}`, `unknown rope_type "dynamic"`},
			{"layer_norm_eps", `2`, "epsilon 2 of the norms"},
			{"num_hidden_layers", `20000`, "num_hidden_layers 20000"},
		},
		"phi3 with short factors": {
			{"sliding_window", `-1`, "sliding_window is -1"},
			{"hidden_act", `"gelu"`, `hidden_act is "gelu"`},
			{"attention_bias", `true`, "attention_bias is true"},
			{"num_key_value_heads", `3`, "3 key/value heads"},
			{"partial_rotary_factor", `0.4`, "0.4 of 8 channels"},
			{"rope_scaling", `{"type": "linear", "factor": 2}`, `unknown rope_type "linear" (known: default, longrope)`},
			{"rope_scaling", long(`"short_factor": [1, 2]`), "long_factor has 0 numbers; one for each of the 2 pairs"},
			{"rope_scaling", long(`"short_factor": [1, 2, 3], "long_factor": [1, 2]`), "short_factor has 3 numbers"},
			{"rope_scaling", long(`"short_factor": [1, 2], "long_factor": [1, 0]`), "long_factor has 0; positive"},
			{"rope_scaling", long(`"short_factor": [1, 2], "long_factor": [1, 2], "attention_factor": -1`), "attention_factor -1"},
			{"original_max_position_embeddings", `-5`, "original_max_position_embeddings -5"},
		},
		"neox": {
			{"num_attention_heads", `5`, "num_attention_heads 5 does not divide hidden_size 24"},
			{"hidden_act", `"swish"`, `hidden_act is "swish"`},
			{"rotary_pct", `0`, "0 of 8 channels"},
			{"rotary_emb_base", `0`, "rope_theta 0"},
			{"intermediate_size", `-3`, "intermediate_size is -3"},
		},
		"falcon 40b": {
			{"alibi", `true`, "alibi is true"},
			{"num_kv_heads", `3`, "3 key/value heads do not divide num_attention_heads 4"},
			{"parallel_attn", `false`, "new_decoder_architecture with parallel_attn false"},
			{"num_ln_in_parallel_attn", `3`, "num_ln_in_parallel_attn 3"},
			{"new_decoder_architecture", `"yes"`, "new_decoder_architecture is a string"},
			{"activation", `"swish"`, `activation is "swish"`},
			{"hidden_size", `20`, "1 of 5 channels"},
		},
		"falcon 7b": {
			{"num_ln_in_parallel_attn", `2`, "num_ln_in_parallel_attn 2 without new_decoder_architecture"},
			{"apply_residual_connection_post_layernorm", `true`, "apply_residual_connection_post_layernorm is true"},
			{"hidden_size", `25`, "does not divide hidden_size 25"},
		},
		"stablelm": {
			{"qk_layernorm", `true`, "qk_layernorm is true"},
			{"use_parallel_residual", `true`, "use_parallel_residual is true"},
			{"hidden_act", `"gelu"`, `hidden_act is "gelu"`},
			{"num_key_value_heads", `2`, "2 key/value heads"},
		},
	} {
		for _, tt := range cases {
			t.Run(family+", "+tt.key+" "+tt.value, func(t *testing.T) {
				config := tinyConfig(t, family)
				if _, err := models.New([]byte(config)); err != nil {
					t.Fatal(err)
				}
				m, err := models.New([]byte(with(t, config, map[string]string{tt.key: tt.value})))
				if err == nil || m != nil {
					t.Fatalf("got %v, %v, want an error", m, err)
				}
				if !strings.HasPrefix(err.Error(), "config.json: ") || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
					t.Errorf("got %q, want one line with %q", err, tt.want)
				}
			})
		}
	}
}

// TestDims checks what the defaults of a configuration come to.
func TestDims(t *testing.T) {
	for name, want := range map[string]models.Dims{
		"phi":                     {Layers: 1, Hidden: 24, Vocab: 17, Heads: 3, KVHeads: 1, HeadDim: 8, Context: 2048},
		"phi tied":                {Layers: 2, Hidden: 16, Vocab: 17, Heads: 2, KVHeads: 2, HeadDim: 8, Context: 2048, Tied: true},
		"phi3 with a window":      {Layers: 2, Hidden: 24, Vocab: 17, Heads: 3, KVHeads: 1, HeadDim: 8, Context: 4096},
		"phi3 with short factors": {Layers: 1, Hidden: 16, Vocab: 17, Heads: 2, KVHeads: 2, HeadDim: 8, Context: 4096, Original: 5, Tied: true},
		"neox":                    {Layers: 1, Hidden: 24, Vocab: 17, Heads: 3, KVHeads: 3, HeadDim: 8, Context: 2048},
		"falcon 7b":               {Layers: 1, Hidden: 24, Vocab: 17, Heads: 3, KVHeads: 1, HeadDim: 8, Context: 2048, Tied: true},
		"falcon 40b":              {Layers: 1, Hidden: 16, Vocab: 17, Heads: 4, KVHeads: 2, HeadDim: 4, Context: 2048},
		"falcon sequential":       {Layers: 1, Hidden: 16, Vocab: 17, Heads: 2, KVHeads: 2, HeadDim: 8, Context: 2048, Tied: true},
		"stablelm":                {Layers: 1, Hidden: 24, Vocab: 17, Heads: 3, KVHeads: 1, HeadDim: 8, Context: 4096},
	} {
		m, err := models.New([]byte(tinyConfig(t, name)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got := m.Dims(); got != want {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
}
