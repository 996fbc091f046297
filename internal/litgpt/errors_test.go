package litgpt

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/durable"
	"github.com/litgpt-go/litgpt/internal/pth"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// inMemory copies a fixture.
func inMemory(t *testing.T, name, file string) source {
	t.Helper()
	f, err := safetensors.Open(filepath.Join(fixtures, name, file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := source{}
	for _, n := range f.Names() {
		x, _ := f.Tensor(n)
		s[n] = safetensors.Tensor{Name: n, DType: x.DType, Shape: x.Shape, Data: slices.Clone(x.Data)}
	}
	return s
}

// translated is a fixture in LitGPT's layout, in memory.
func translated(t *testing.T, name string) (modelConfig []byte, lit source) {
	t.Helper()
	modelConfig, v, err := ToLit(read(t, fixtures, name, "config.json"), inMemory(t, name, "model.safetensors"), name)
	if err != nil {
		t.Fatal(err)
	}
	lit = source{}
	for _, n := range v.Names() {
		lit[n], _ = v.Tensor(n)
	}
	return modelConfig, lit
}

func zeros(name string, dtype safetensors.DType, bytes int, shape ...int) safetensors.Tensor {
	return safetensors.Tensor{Name: name, DType: dtype, Shape: shape, Data: make([]byte, bytes)}
}

func TestFromLitErrors(t *testing.T) {
	const head, embed, qkv = "lm_head.weight", "transformer.wte.weight", "transformer.h.0.attn.qkv.weight"
	for name, c := range map[string]struct {
		change func(s source)
		want   []string
	}{
		"missing and unused": {func(s source) {
			delete(s, qkv)
			s["other"] = zeros("other", "F32", 4, 1)
		}, []string{"lit_model.pth does not match model_config.yaml:", "missing " + qkv + ", shape [192 64]", "unused other"}},
		"shape":    {func(s source) { s[head] = zeros(head, "F32", 64, 4, 4) }, []string{head + ": shape [4 4] in the checkpoint, [512 64] by model_config.yaml"}},
		"LoRA":     {func(s source) { s["x.lora_A"] = zeros("x.lora_A", "F32", 4, 1) }, []string{"x.lora_A belongs to an adapter; merge it"}},
		"adapter":  {func(s source) { s["x.gating_factor"] = zeros("x", "F32", 4, 1) }, []string{"belongs to an adapter"}},
		"all gone": {func(s source) { clear(s) }, []string{"and 5 more"}},
	} {
		t.Run(name, func(t *testing.T) {
			modelConfig, lit := translated(t, "llama2")
			c.change(lit)
			_, _, err := FromLit(modelConfig, lit)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %s", err, want)
				}
			}
		})
	}
}

func TestToLitErrors(t *testing.T) {
	const q = "model.layers.0.self_attn.q_proj.weight"
	for name, c := range map[string]struct {
		fixture string
		change  func(s source)
		want    string
	}{
		"missing":      {"llama2", func(s source) { delete(s, q) }, "missing " + q + ", shape [64 64]"},
		"unused":       {"llama2", func(s source) { s["other"] = zeros("other", "F32", 4, 1) }, "unused other"},
		"frequencies":  {"llama2", func(s source) { s["x.rotary_emb.inv_freq"] = zeros("x", "F32", 4, 1) }, ""},
		"shape":        {"llama2", func(s source) { s[q] = zeros(q, "F32", 16, 2, 2) }, q + ": shape [2 2] in the checkpoint, [64 64] by config.json"},
		"types":        {"llama2", func(s source) { s[q] = zeros(q, "BF16", 2*64*64, 64, 64) }, "has type F32, " + q + ", with which it is one weight, BF16"},
		"head":         {"llama3.2", func(s source) { s[headName] = zeros(headName, "F32", 4*512*64, 512, 64) }, "lm_head.weight differs from the embedding"},
		"same head":    {"llama3.2", func(s source) { s[headName] = s["model.embed_tokens.weight"] }, ""},
		"causal masks": {"gptneox", func(s source) { s["gpt_neox.layers.0.attention.bias"] = zeros("", "U8", 4, 4) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := inMemory(t, c.fixture, "model.safetensors")
			c.change(s)
			_, _, err := ToLit(read(t, fixtures, c.fixture, "config.json"), s, "")
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	if _, _, err := ToLit([]byte(`{`), source{}, ""); err == nil || !strings.HasPrefix(err.Error(), "config.json") {
		t.Errorf("got %v", err)
	}
}

// TestStacked takes Mixtral's experts as transformers 5 holds them.
func TestStacked(t *testing.T) {
	_, want := translated(t, "mixtral-tiny")
	_, v, err := ToLit(read(t, fixtures, "mixtral-tiny", "config.json"), inMemory(t, "mixtral-tiny", "reference/stacked.safetensors"), "")
	if err != nil {
		t.Fatal(err)
	}
	same(t, v, want)
}

// TestOldNames reads what torch.compile, Lightning and LitGPT of 2023 left in names, and a
// state of training.
func TestOldNames(t *testing.T) {
	for _, name := range []string{"gptneox", "llama3", "falcon-40b"} {
		modelConfig, lit := translated(t, name)
		c, err := ReadConfig(modelConfig)
		if err != nil {
			t.Fatal(err)
		}
		old, compiled := source{}, source{}
		woven := newView(lit)
		for _, n := range lit.Names() {
			x := lit[n]
			compiled["_forward_module._orig_mod."+n] = x
			if strings.Contains(n, ".attn.qkv.") {
				m := strings.Replace(n, ".attn.qkv.", ".attn.attn.", 1)
				if err := woven.add([]part{{m, 0, x.Shape}}, []part{{n, 0, x.Shape}}, c.weave(link{weave: true}, false)); err != nil {
					t.Fatal(err)
				}
				x, _ = woven.Tensor(m)
				n = m
			}
			old[n] = x
		}
		for _, s := range []source{old, compiled} {
			_, hf, err := FromLit(modelConfig, s)
			if err != nil {
				t.Fatal(err)
			}
			same(t, hf, inMemory(t, name, "model.safetensors"))
		}
	}
}

// TestTypes writes quantized and other weights in a type of floats.
func TestTypes(t *testing.T) {
	config := read(t, fixtures, "llama2", "config.json")
	s := inMemory(t, "llama2", "model.safetensors")
	for n, x := range s {
		if len(x.Shape) == 2 && x.Shape[1]%32 == 0 {
			values := make([]float32, len(x.Data)/4)
			tensor.ToFloats(tensor.F32, x.Data, values)
			q, _ := tensor.DTypeByName("Q8_0")
			x.DType, x.Data = "Q8_0", tensor.FromFloats(q, values)
			s[n] = x
		}
	}
	modelConfig, lit, err := ToLit(config, s, "")
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if err := Write(&buf, lit, ""); err == nil || !strings.Contains(err.Error(), `elements of type "Q8_0" cannot be stored in a PyTorch file`) {
		t.Errorf("got %v", err)
	}
	if err := Write(&buf, lit, "I8"); err == nil || !strings.Contains(err.Error(), "F32, F16 or BF16 wanted") {
		t.Errorf("got %v", err)
	}
	for _, dtype := range []safetensors.DType{"F32", "F16", "BF16"} {
		dir := filepath.Join(t.TempDir(), "x")
		save(t, dir, modelConfig, lit, dtype)
		back, hf, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		var c map[string]any
		if err := json.Unmarshal(back, &c); err != nil || c["torch_dtype"] != torchTypes[dtype] {
			t.Errorf("%s: torch_dtype %v, %v", dtype, c["torch_dtype"], err)
		}
		for n, x := range s {
			from, _ := tensor.DTypeByName(string(x.DType))
			to, _ := tensor.DTypeByName(string(dtype))
			size := 1
			for _, d := range x.Shape {
				size *= d
			}
			values := make([]float32, size)
			tensor.ToFloats(from, x.Data, values)
			y, ok := hf.Tensor(n)
			if want := tensor.FromFloats(to, values); !ok || !bytes.Equal(y.Data, want) {
				t.Errorf("%s in %s differs from %s", n, dtype, x.DType)
			}
		}
		hf.Close()
	}
}

// TestOpen takes the special tokens from a config.json beside, and nothing else.
func TestOpen(t *testing.T) {
	modelConfig, lit := translated(t, "gemma-small")
	dir := t.TempDir()
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "no model_config.yaml; a checkpoint directory of LitGPT's is wanted") {
		t.Errorf("got %v", err)
	}
	write(ConfigFile, modelConfig)
	if _, _, err := Open(dir); err == nil || !strings.Contains(err.Error(), WeightsFile) {
		t.Errorf("got %v", err)
	}
	var buf bytes.Buffer // a state of training, whose "model" it is
	w := pth.NewWriter(&buf, "lit_model")
	for _, n := range slices.Sorted(maps.Keys(lit)) {
		if err := w.Write(lit[n], []safetensors.Tensor{lit[n]}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close("model"); err != nil {
		t.Fatal(err)
	}
	write(WeightsFile, buf.Bytes())
	for text, want := range map[string]any{
		"": nil,
		`{"architectures": ["GemmaForCausalLM"], "eos_token_id": [1, 107], "rms_norm_eps": 0.5}`: []any{1.0, 107.0},
		`{"architectures": ["LlamaForCausalLM"], "eos_token_id": 3}`:                             nil,
		`no JSON`: nil,
	} {
		if write("config.json", []byte(text)); text == "" {
			os.Remove(filepath.Join(dir, "config.json"))
		}
		config, hf, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		var c map[string]any
		if err := json.Unmarshal(config, &c); err != nil {
			t.Fatal(err)
		}
		list, _ := want.([]any)
		got, _ := c["eos_token_id"].([]any)
		if !slices.Equal(got, list) || c["rms_norm_eps"] != 1e-6 || c["tie_word_embeddings"] != true {
			t.Errorf("%s: got %s", text, config)
		}
		same(t, hf, inMemory(t, "gemma-small", "model.safetensors")) // copies of one value are a tied head
		if err := hf.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestTruncated loses the file while a woven weight is read.
func TestTruncated(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x")
	modelConfig, v, err := ToLit(read(t, fixtures, "gptneox", "config.json"), inMemory(t, "gptneox", "model.safetensors"), "")
	if err != nil {
		t.Fatal(err)
	}
	save(t, dir, modelConfig, v, "")
	_, hf, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer hf.Close()
	if err := os.Truncate(filepath.Join(dir, WeightsFile), 0); err != nil {
		t.Fatal(err)
	}
	const qkv = "gpt_neox.layers.0.attention.query_key_value.weight"
	if _, ok := hf.Tensor(qkv); ok || hf.Err() == nil || !strings.Contains(hf.Err().Error(), "truncated") {
		t.Errorf("got %v, %v", ok, hf.Err())
	}
	d, err := durable.NewDir(filepath.Join(t.TempDir(), "y"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Abort()
	if err := write(d, modelConfig, hf, ""); err == nil || !strings.Contains(err.Error(), "truncated") {
		t.Errorf("got %v", err)
	}
}

// FuzzFromLit: whatever the configuration says, it is an error or a config.json whose way
// back is the same model.
func FuzzFromLit(f *testing.F) {
	f.Add([]byte(tinyConfig + "}"))
	for _, name := range []string{"gptneox", "mixtral-tiny"} {
		text, err := os.ReadFile(filepath.Join("testdata", name, ConfigFile))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 1<<12 {
			t.Skip()
		}
		c, err := ReadConfig(text)
		if err != nil || c.Layers > 8 || c.Experts > 8 {
			return
		}
		s := source{}
		for _, w := range c.weights() {
			s[w.name()] = safetensors.Tensor{Name: w.name(), DType: "F32", Shape: w.shape} // nothing reads them
		}
		config, hf, err := FromLit(text, s)
		if err != nil {
			return
		}
		back, _, err := configOf(config, c.Name)
		if err != nil || len(c.mathematics().differences(back.mathematics())) > 0 || len(hf.Names()) == 0 {
			t.Fatalf("%v\n%s", err, config)
		}
	})
}

var _ checkpoint.Source = (*View)(nil)
