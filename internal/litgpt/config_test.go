package litgpt

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/models"
)

// TestNames translates the configuration of every model that LitGPT knows by name, both
// ways. With LITGPT_LIT set, they are kept there, for tools/reference/pth_check.py.
func TestNames(t *testing.T) {
	n := 0
	for _, s := range models.Shapes() {
		arch, err := models.Architecture(s.Config)
		if err != nil {
			t.Fatal(err)
		}
		if !models.Supported(arch) {
			continue
		}
		c, f, err := configOf(s.Config, s.Name)
		if err != nil {
			t.Errorf("%s: %v", s.Name, err)
			continue
		}
		if c.Name != s.Name || f.architecture != arch || of(&c) != f || c.HFConfig["org"].(string)+"/"+c.HFConfig["name"].(string) != s.Repo {
			t.Errorf("%s of %s: got %s of %s, %v", s.Name, arch, c.Name, of(&c).architecture, c.HFConfig)
		}
		text, err := c.encode()
		if err != nil {
			t.Fatal(err)
		}
		read, err := ReadConfig(text)
		if err != nil || len(c.differences(read)) > 0 {
			t.Errorf("%s: %v, read back with %v", s.Name, err, c.differences(read))
		}
		var tied struct {
			Tied bool `json:"tie_word_embeddings"`
		}
		if err := json.Unmarshal(s.Config, &tied); err != nil {
			t.Fatal(err)
		}
		back, err := read.configJSON(of(&read), tied.Tied, "bfloat16")
		if err != nil {
			t.Errorf("%s: %v", s.Name, err)
			continue
		}
		a, err1 := models.New(s.Config)
		b, err2 := models.New(back)
		if err1 != nil || err2 != nil || a.Dims() != b.Dims() {
			t.Errorf("%s: %v, %v, got\n%s", s.Name, err1, err2, back)
		}
		if keep := os.Getenv("LITGPT_LIT"); keep != "" {
			if err := os.MkdirAll(filepath.Join(keep, "names"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(keep, "names", s.Name+".yaml"), text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		n++
	}
	if n < 190 {
		t.Errorf("got %d models, at least 190 wanted", n)
	}
}

// TestTheirNames reads what LitGPT writes for every one of its names (LITGPT_LIT/theirnames,
// made by tools/reference/pth_check.py).
func TestTheirNames(t *testing.T) {
	root := os.Getenv("LITGPT_LIT")
	if root == "" {
		t.Skip("LITGPT_LIT is not set; see tools/reference/pth_check.py")
	}
	files, err := filepath.Glob(filepath.Join(root, "theirnames", "*.yaml"))
	if err != nil || len(files) < 190 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		c, err := ReadConfig(read(t, file))
		if err != nil {
			t.Error(err)
			continue
		}
		if f := of(&c); f == nil {
			if !strings.HasPrefix(name, "OLMo-1B") && !strings.HasPrefix(name, "OLMo-7B") { // which has no file in package models
				t.Errorf("%s: no family", name)
			}
		} else if _, err := c.configJSON(f, false, "bfloat16"); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if s, ok := models.FindShape(name); ok {
			if arch, err := models.Architecture(s.Config); err != nil || arch != f.architecture {
				t.Errorf("%s: got %s, want %s", name, f.architecture, arch)
			}
		}
	}
}

const tinyConfig = `{name: tiny, n_layer: 1, n_embd: 8, n_head: 2, vocab_size: 5, padded_vocab_size: 5, bias: false, norm_class_name: RMSNorm, parallel_residual: false,
 mlp_class_name: LLaMAMLP, intermediate_size: 6, rotary_percentage: 1.0, block_size: 16`

// with is tinyConfig with something else in it.
func with(old, new string) string { return strings.Replace(tinyConfig, old, new, 1) + "}" }

func TestReadConfig(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"good":           {tinyConfig + "}", ""},
		"null":           {tinyConfig + ", sliding_window_size: null, rope_adjustments: null, hf_config: null}", ""},
		"LoRA's":         {tinyConfig + ", lora_r: 8, adapter_start_layer: 2}", ""},
		"later":          {tinyConfig + ", latent_attention: null, n_shared_expert: null, routed_scaling_factor: 1.0, rope_interleave: false, norm_topk_prob: false}", ""},
		"empty":          {"", "is empty"},
		"no map":         {"- 1", "cannot unmarshal"},
		"no YAML":        {"{", "did not find"},
		"unknown":        {tinyConfig + ", alibi: true}", `unknown key "alibi"`},
		"type":           {tinyConfig + ", norm_eps: small}", "cannot unmarshal"},
		"large":          {strings.Repeat("#", maxConfig+1), "want at most"},
		"latent":         {tinyConfig + ", latent_attention: {q_lora_rank: 8}}", "latent_attention map[q_lora_rank:8] instead of"},
		"interleaved":    {tinyConfig + ", rope_interleave: true}", "rope_interleave true instead of false"},
		"yarn":           {tinyConfig + ", rope_adjustments: {factor: 4, beta_fast: 32, beta_slow: 1, original_max_seq_len: 8}}", "rope_adjustments has [beta_fast"},
		"half Llama":     {tinyConfig + ", rope_adjustments: {factor: 4, low_freq_factor: 1}}", "rope_adjustments has [factor low_freq_factor]"},
		"zero layers":    {tinyConfig + ", n_query_groups: 0}", ""},
		"groups":         {tinyConfig + ", n_query_groups: 3}", "n_query_groups 3 does not divide n_head 2"},
		"heads":          {"{n_embd: 7, n_head: 2}", "n_head 2 does not divide n_embd 7"},
		"negative":       {tinyConfig + ", n_expert: -1}", "n_expert is -1"},
		"huge":           {tinyConfig + ", head_size: 1000000000}", "head_size is 1000000000"},
		"many experts":   {"{n_layer: 10000, n_expert: 10000}", "more than any model has"},
		"windows":        {tinyConfig + ", sliding_window_size: 4, sliding_window_indices: []}", "sliding_window_indices has 0 entries for n_layer 1"},
		"window 2":       {tinyConfig + ", sliding_window_size: 4, sliding_window_indices: [2]}", "0 and 1 wanted"},
		"no MLP size":    {"{mlp_class_name: LLaMAMLP}", "no intermediate_size"},
		"no family":      {with("RMSNorm", "Other"), "norm_class_name \"Other\""},
		"parallel Llama": {with("parallel_residual: false", "parallel_residual: true"), "parallel_residual true instead of false"},
		"Gemma's name":   {strings.Replace(tinyConfig, "LLaMAMLP", "GemmaMLP", 1) + ", gelu_approximate: tanh, scale_embeddings: true}", `only if its name has "Gemma" in it`},
		"Gemma's norm":   {with("name: tiny", "name: Gemma"), `"Gemma" in it`},
		"OLMo":           {strings.Replace(with("RMSNorm", "LayerNorm"), "name: tiny", "name: OLMo-1B-hf", 1), "no family here has"},
		"twice":          {tinyConfig + ", n_head: 2}", "already defined"},
		"condensed":      {tinyConfig + ", rope_condense_ratio: 8}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			config, err := ReadConfig([]byte(c.text))
			if err == nil {
				f := of(&config)
				if f == nil {
					_, _, err = FromLit([]byte(c.text), source{})
				} else {
					_, err = config.configJSON(f, false, "float32")
				}
			}
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestReals compares with what Python writes: 1e-05 without a point is a string there.
func TestReals(t *testing.T) {
	for x, want := range map[real]string{1e-5: "1.0e-05", 1e-6: "1.0e-06", 1.5e-7: "1.5e-07", 0.25: "0.25", 10000: "10000", 1e6: "1000000", 0.0625: "0.0625", 1e20: "1.0e+20"} {
		c := Config{NormEps: x}
		text, err := c.encode()
		if err != nil || !strings.Contains(string(text), "norm_eps: "+want+"\n") {
			t.Errorf("%g: got %v\n%s, want %s", float64(x), err, text, want)
		}
	}
}

func TestCall(t *testing.T) {
	llama := read(t, fixtures, "llama2", "config.json")
	for _, c := range []struct {
		fixture, hint, name, repo string
	}{
		{"llama2", "", "Llama", ""},
		{"llama2", "TinyLlama/TinyLlama-1.1B-Chat-v1.0", "tiny-llama-1.1b-chat", "TinyLlama/TinyLlama-1.1B-Chat-v1.0"},
		{"llama2", "me/mine", "mine", ""},
		{"llama2", "me/mine/", "mine", ""},
		{"llama2", "Gemma-2b", "Llama", ""}, // LitGPT would add 1 to the norms
		{"llama2", "phi-llama", "Llama-phi-llama", ""},
		{"llama2", "mistral-like", "Llama-mistral-like", ""},
		{"llama2", "our-falcon", "Llama", ""},
		{"gemma-small", "mine", "Gemma-mine", ""},
		{"gemma-small", "CodeGemma-mine", "CodeGemma-mine", ""},
		{"gemma-small", "Gemma-2-mine", "Gemma-Gemma-2-mine", ""},
		{"gemma2-small", "google/gemma-2-9b-it", "Gemma-2-9b-it", "google/gemma-2-9b-it"},
		{"phi-2", "phi-3-mine", "phi-phi-3-mine", ""},
		{"phi3-window", "mine", "Phi-3-mine", ""},
		{"phi3-window", "Phi-4-mine", "Phi-4-mine", ""},
		{"olmo2", "", "OLMo-2-", ""},
		{"olmo2", "mine", "OLMo-2-mine", ""},
		{"falcon-7b", "mine", "falcon-mine", ""},
	} {
		config, f, err := configOf(read(t, fixtures, c.fixture, "config.json"), c.hint)
		if err != nil {
			t.Fatal(err)
		}
		repo := ""
		if config.HFConfig["org"] != nil {
			repo = config.HFConfig["org"].(string) + "/" + config.HFConfig["name"].(string)
		}
		if config.Name != c.name || repo != c.repo || of(&config) != f {
			t.Errorf("%s, %q: got %q of %q, want %q of %q", c.fixture, c.hint, config.Name, repo, c.name, c.repo)
		}
	}
	named := []byte(strings.Replace(string(llama), "{", `{"_name_or_path": "meta-llama/Llama-2-7b-hf",`, 1))
	if c, _, err := configOf(named, ""); err != nil || c.Name != "Llama-2-7b-hf" {
		t.Errorf("_name_or_path: got %q, %v", c.Name, err)
	}
}

// source is a checkpoint in memory.
type source map[string]safetensors.Tensor

func (s source) Names() []string {
	var names []string
	for n := range s {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func (s source) Tensor(name string) (safetensors.Tensor, bool) { t, ok := s[name]; return t, ok }
