package lora

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/durable"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/models"
)

// saved writes the adapter of m.
func saved(t *testing.T, m models.Model, cfg Config, base Base) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "adapter")
	d, err := durable.NewDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Abort()
	if err := Save(d, m, cfg, base); err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestPEFTRoundTrip(t *testing.T) {
	dev := openCPU(t)
	cfg := Config{Rank: 3, Alpha: 6, Dropout: 0.25, Targets: []string{"down_proj", "q_proj"}}
	m := newTiny(t, dev, tiny, tensor.F32)
	if dir := t.TempDir(); IsAdapter(dir) {
		t.Error("an empty directory is an adapter")
	}
	names, weights := inject(t, dev, m, cfg)
	steps(t, newTrainer(t, dev, m, names, weights, false, 1), 3, 1e-2)
	base := Base{Path: "some/base", Hash: "abc", Quantize: "Q4_1"}
	dir := saved(t, m, cfg, base)
	if !IsAdapter(dir) {
		t.Error("what was saved is no adapter")
	}
	got, gotBase, err := ReadConfig(dir)
	if err != nil || got.Rank != cfg.Rank || got.Alpha != cfg.Alpha || got.Dropout != cfg.Dropout || !slices.Equal(got.Targets, cfg.Targets) || gotBase != base {
		t.Errorf("got %+v, %+v, %v, want %+v, %+v", got, gotBase, err, cfg, base)
	}
	f, err := safetensors.Open(filepath.Join(dir, WeightsFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, name := range f.Names() {
		if !strings.HasPrefix(name, "base_model.model.model.layers.") || !strings.Contains(name, "_proj.lora_") || !strings.HasSuffix(name, ".weight") {
			t.Errorf("PEFT has no weight called %s", name)
		}
	}
	if len(f.Names()) != len(weights) {
		t.Errorf("got %d tensors, want %d", len(f.Names()), len(weights))
	}

	other := newTiny(t, dev, tiny, tensor.F32)
	if _, err := Load(dev, other, dir); err != nil {
		t.Fatal(err)
	}
	want := maps.Collect(nn.Params(m))
	for name, p := range nn.Params(other) {
		if !bytes.Equal(p.Bytes(), want[name].Bytes()) {
			t.Errorf("%s differs", name)
		}
	}
	if a, b := logits(t, dev, m), logits(t, dev, other); !slices.Equal(a, b) {
		t.Errorf("the scores differ by %g", maxDiff(a, b))
	}
}

// TestPEFTConfig changes one key of a configuration: kinds of adapters that compute something else are refused.
func TestPEFTConfig(t *testing.T) {
	for _, tt := range []struct {
		key, value string
		want       string // part of the error; empty for what is harmless
	}{
		{"peft_type", `"LORA"`, ""},
		{"peft_version", `"0.21.2"`, ""},
		{"modules_to_save", `null`, ""},
		{"rank_pattern", `null`, ""},
		{"bias", `"none"`, ""},
		{"loftq_config", `{ }`, ""},
		{"use_dora", `false`, ""},
		{"init_lora_weights", `"gaussian"`, ""},
		{"init_lora_weights", `"pissa_niter_16"`, `init_lora_weights is "pissa_niter_16"`},
		{"peft_type", `"IA3"`, `peft_type is "IA3"; a plain LoRA adapter is wanted`},
		{"use_dora", `true`, "use_dora is true; a plain LoRA adapter is wanted"},
		{"use_rslora", `true`, "use_rslora is true"},
		{"fan_in_fan_out", `true`, "fan_in_fan_out is true"},
		{"bias", `"all"`, "it trains biases"},
		{"lora_bias", `true`, "lora_bias is true"},
		{"modules_to_save", `["lm_head"]`, "modules_to_save is [lm_head]"},
		{"rank_pattern", `{"q_proj": 8}`, ""},
		{"alpha_pattern", `{"q_proj": 8}`, ""},
		{"rank_pattern", `{"layers.0.*": 8}`, `rank_pattern has the pattern "layers.0.*", which is none of target_modules`},
		{"alpha_pattern", `{"k_proj": 8}`, `alpha_pattern has the pattern "k_proj", which is none of target_modules`},
		{"rank_pattern", `{"q_proj": -8}`, "ranks are map[q_proj:-8]"},
		{"alpha_pattern", `{"q_proj": -8}`, "alphas are map[q_proj:-8]"},
		{"layers_to_transform", `[0]`, "layers_to_transform"},
		{"exclude_modules", `["q_proj"]`, "exclude_modules"},
		{"layer_replication", `[[0, 2]]`, "layer_replication"},
		{"alora_invocation_tokens", `[1, 2]`, "alora_invocation_tokens"},
		{"trainable_token_indices", `[1]`, "trainable_token_indices"},
		{"use_qalora", `true`, "use_qalora"},
		{"target_parameters", `[7]`, "target_parameters"},
		{"target_modules", `"all-linear"`, `target_modules is the pattern "all-linear"`},
		{"target_modules", `[]`, "no layers are chosen"},
		{"target_modules", `[1]`, "target_modules"},
		{"r", `0`, "rank is 0"},
		{"r", `-4`, "rank is -4"},
		{"r", `"8"`, "json"},
		{"lora_alpha", `0`, "alpha is 0"},
		{"lora_dropout", `1.5`, "dropout is 1.5"},
	} {
		t.Run(tt.key+" "+tt.value, func(t *testing.T) {
			c := map[string]json.RawMessage{"peft_type": []byte(`"LORA"`), "r": []byte("2"), "lora_alpha": []byte("4"), "target_modules": []byte(`["q_proj"]`)}
			c[tt.key] = []byte(tt.value)
			raw, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			name := filepath.Join(dir, ConfigFile)
			if err := os.WriteFile(name, raw, 0o644); err != nil {
				t.Fatal(err)
			}
			_, _, err = ReadConfig(dir)
			if tt.want == "" && err != nil {
				t.Errorf("got %v, want no error", err)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), name+": ")) {
				t.Errorf("got %v, want %q after the file's name", err, tt.want)
			}
		})
	}
}

func TestLoadErrors(t *testing.T) {
	dev := openCPU(t)
	cfg := Config{Rank: 2, Alpha: 4, Targets: []string{"q_proj"}}
	m := newTiny(t, dev, tiny, tensor.F32)
	inject(t, dev, m, cfg)
	wider := strings.Replace(tiny, `"hidden_size": 16`, `"hidden_size": 32`, 1)
	deeper := strings.Replace(tiny, `"num_hidden_layers": 2`, `"num_hidden_layers": 3`, 1)
	shallower := strings.Replace(tiny, `"num_hidden_layers": 2`, `"num_hidden_layers": 1`, 1)
	for _, tt := range []struct {
		name, config string
		remove       string
		want         []string
	}{
		{"other shapes", wider, "", []string{"q_proj.lora_A.weight: shape [2 16] in the adapter, [2 32] for this model", "layers.1.self_attn.q_proj.lora_B.weight: shape [16 2]"}},
		{"more layers", deeper, "", []string{"missing base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight, shape [2 16]", "layers.2.self_attn.q_proj.lora_B.weight"}},
		{"fewer layers", shallower, "", []string{"unused base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight", "layers.1.self_attn.q_proj.lora_B.weight"}},
		{"no weights", tiny, WeightsFile, []string{"no " + WeightsFile + "; the adapter's weights are missing"}},
		{"no configuration", tiny, ConfigFile, []string{ConfigFile}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := saved(t, m, cfg, Base{})
			if tt.remove != "" {
				if err := os.Remove(filepath.Join(dir, tt.remove)); err != nil {
					t.Fatal(err)
				}
			}
			_, err := Load(dev, newTiny(t, dev, tt.config, tensor.F32), dir)
			for _, want := range tt.want {
				if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), dir) {
					t.Errorf("got %v, want %q and the directory", err, want)
				}
			}
		})
	}
}
