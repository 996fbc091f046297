package models_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/data"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/optim"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/internal/train"
	"github.com/litgpt-go/litgpt/models"
)

// families are tiny models that need no file: a new family is one entry. The
// fixtures compare with transformers; these compare a model with itself.
var families = []struct {
	name, config string
	weights      int
}{
	{"llama3", `{"architectures": ["LlamaForCausalLM"], "vocab_size": 17, "hidden_size": 16, "intermediate_size": 24,
		"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
		"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 16}}`, 1 + 2*9 + 2},
	{"llama tied with biases", `{"architectures": ["LlamaForCausalLM"], "vocab_size": 17, "hidden_size": 16, "intermediate_size": 24,
		"num_hidden_layers": 1, "num_attention_heads": 2, "attention_bias": true, "mlp_bias": true, "tie_word_embeddings": true}`, 1 + 16 + 1},
	{"llama with linear scaling", `{"architectures": ["LlamaForCausalLM"], "vocab_size": 17, "hidden_size": 16, "intermediate_size": 24, "head_dim": 6,
		"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "rope_scaling": {"type": "linear", "factor": 2}}`, 1 + 9 + 2},
	{"mistral", tiny("MistralForCausalLM", `"sliding_window": 3`), 1 + 2*9 + 2},
	{"qwen2", tiny("Qwen2ForCausalLM", `"tie_word_embeddings": true, "use_sliding_window": true, "max_window_layers": 1, "sliding_window": 2`), 1 + 2*12 + 1},
	{"qwen3", tiny("Qwen3ForCausalLM", `"attention_bias": true, "num_hidden_layers": 1, "head_dim": 6`), 1 + 15 + 2},
	{"qwen2 with YaRN", tiny("Qwen2ForCausalLM", `"num_hidden_layers": 1, "rope_scaling": {"type": "yarn", "factor": 4, "original_max_position_embeddings": 64}`), 1 + 12 + 2},
	{"smollm3", tiny("SmolLM3ForCausalLM", `"no_rope_layer_interval": 2, "attention_bias": true, "mlp_bias": true`), 1 + 2*16 + 1},
	{"olmo2", tiny("Olmo2ForCausalLM", `"num_attention_heads": 3, "num_key_value_heads": 3`), 1 + 2*11 + 2},
	{"gemma", tiny("GemmaForCausalLM", `"num_key_value_heads": 1`), 1 + 2*9 + 1},
	{"gemma2", tiny("Gemma2ForCausalLM", `"sliding_window": 3, "query_pre_attn_scalar": 2, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0`), 1 + 2*11 + 1},
	{"gemma3", tiny("Gemma3ForCausalLM", `"sliding_window": 3, "sliding_window_pattern": 2, "query_pre_attn_scalar": 2, "tie_word_embeddings": false`), 1 + 2*13 + 2},
	{"gemma3 with images", fmt.Sprintf(imageConfig, tiny("Gemma3ForCausalLM", `"num_hidden_layers": 1, "query_pre_attn_scalar": 2`)), 1 + 13 + 1},
	{"mixtral", `{"architectures": ["MixtralForCausalLM"], "vocab_size": 17, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
		"num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 2, "sliding_window": 3}`, 1 + 9 + 2},
	{"qwen3 moe", `{"architectures": ["Qwen3MoeForCausalLM"], "vocab_size": 17, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "head_dim": 6,
		"num_attention_heads": 4, "num_key_value_heads": 2, "num_experts": 3, "num_experts_per_tok": 3, "moe_intermediate_size": 8, "decoder_sparse_step": 2,
		"attention_bias": true}`, 1 + 2*15 + 15 + 2},
	{"phi", `{"architectures": ["PhiForCausalLM"], "vocab_size": 17, "hidden_size": 24, "intermediate_size": 20,
		"num_hidden_layers": 1, "num_attention_heads": 3, "num_key_value_heads": 1, "partial_rotary_factor": 0.6}`, 1 + 2 + 8 + 4 + 2 + 2},
	{"phi tied", `{"architectures": ["PhiForCausalLM"], "vocab_size": 17, "hidden_size": 16, "intermediate_size": 20,
		"num_hidden_layers": 2, "num_attention_heads": 2, "tie_word_embeddings": true}`, 1 + 2*14 + 2 + 1},
	{"phi3 with a window", `{"architectures": ["Phi3ForCausalLM"], "vocab_size": 17, "hidden_size": 24, "intermediate_size": 20,
		"num_hidden_layers": 2, "num_attention_heads": 3, "num_key_value_heads": 1, "sliding_window": 3}`, 1 + 2*6 + 2},
	{"phi3 with short factors", `{"architectures": ["Phi3ForCausalLM"], "vocab_size": 17, "hidden_size": 16, "intermediate_size": 20, "original_max_position_embeddings": 5,
		"num_hidden_layers": 1, "num_attention_heads": 2, "tie_word_embeddings": true, "partial_rotary_factor": 0.5,
		"rope_scaling": {"type": "su", "short_factor": [1, 2], "long_factor": [3, 4]}}`, 1 + 6 + 1},
	{"phi3 with long factors", `{"architectures": ["Phi3ForCausalLM"], "vocab_size": 17, "hidden_size": 16, "intermediate_size": 20, "original_max_position_embeddings": 4,
		"num_hidden_layers": 1, "num_attention_heads": 2, "tie_word_embeddings": true, "partial_rotary_factor": 0.5,
		"rope_scaling": {"type": "longrope", "short_factor": [1, 2], "long_factor": [3, 4], "attention_factor": 1.2}}`, 1 + 6 + 1},
	{"neox", `{"architectures": ["GPTNeoXForCausalLM"], "vocab_size": 17, "hidden_size": 24, "intermediate_size": 20,
		"num_hidden_layers": 1, "num_attention_heads": 3, "rotary_pct": 0.25}`, 1 + 12 + 2 + 1},
	{"neox sequential", `{"architectures": ["GPTNeoXForCausalLM"], "vocab_size": 17, "hidden_size": 16, "intermediate_size": 20, "hidden_act": "gelu_new",
		"num_hidden_layers": 2, "num_attention_heads": 2, "use_parallel_residual": false, "attention_bias": false, "tie_word_embeddings": true}`, 1 + 2*10 + 2},
	{"falcon 7b", `{"architectures": ["FalconForCausalLM"], "vocab_size": 17, "hidden_size": 24, "num_kv_heads": 71,
		"num_hidden_layers": 1, "num_attention_heads": 3}`, 1 + 6 + 2},
	{"falcon 40b", `{"architectures": ["FalconForCausalLM"], "vocab_size": 17, "hidden_size": 16, "num_kv_heads": 2, "new_decoder_architecture": true,
		"num_hidden_layers": 1, "num_attention_heads": 4, "ffn_hidden_size": 20, "tie_word_embeddings": false}`, 1 + 8 + 2 + 1},
	{"falcon sequential", `{"architectures": ["FalconForCausalLM"], "vocab_size": 17, "hidden_size": 16, "parallel_attn": false, "multi_query": false, "bias": true,
		"num_hidden_layers": 1, "num_attention_heads": 2, "ffn_hidden_size": 20}`, 1 + 12 + 2},
	{"stablelm", `{"architectures": ["StableLmForCausalLM"], "vocab_size": 17, "hidden_size": 24, "intermediate_size": 20,
		"num_hidden_layers": 1, "num_attention_heads": 3, "num_key_value_heads": 1}`, 1 + 11 + 2 + 1},
	{"stablelm 2", `{"architectures": ["StableLmForCausalLM"], "vocab_size": 17, "hidden_size": 16, "intermediate_size": 20,
		"num_hidden_layers": 1, "num_attention_heads": 2, "use_qkv_bias": true, "tie_word_embeddings": true}`, 1 + 14 + 2},
}

func TestFamilies(t *testing.T) {
	dev := openCPU(t)
	for _, tt := range families {
		t.Run(tt.name, func(t *testing.T) {
			m := newTiny(t, dev, tt.config)
			n := 0
			for name, p := range nn.Params(m) {
				if n++; p.Name != name {
					t.Errorf("weight %s calls itself %q", name, p.Name)
				}
			}
			if n != tt.weights {
				t.Errorf("got %d weights, want %d", n, tt.weights)
			}
			testGradient(t, dev, m)
		})
	}
}

func newTiny(t *testing.T, dev *tensor.Device, config string) models.Model {
	t.Helper()
	m, err := models.New([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for _, p := range nn.Params(m) {
		if err := dev.Alloc(p, tensor.F32); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Free)
		p.SetValues(normal(rng, p.Numel(), 0.3))
	}
	return m
}

func normal(rng *rand.Rand, n int, deviation float64) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(deviation * rng.NormFloat64())
	}
	return x
}

// testGradient checks the gradient of every weight against finite differences: in
// the gradient's own direction, in which the loss must change by its norm, in a
// random one, and along its largest element and one other.
func testGradient(t *testing.T, dev *tensor.Device, m models.Model) {
	b := data.Batch{Tokens: []int32{3, 1, 4, 1, 5, 9, 2, 6, 5, 3}, Targets: []int32{data.Ignore, 4, 1, 5, 9, 2, 6, 5, 3, 5}, B: 2, T: 5}
	e := train.NewEvaluator(dev, m)
	defer e.Close()
	loss := func() float64 {
		nll, err := e.Loss(b)
		if err != nil {
			t.Fatal(err)
		}
		var sum float64
		for _, x := range nll {
			sum += float64(x)
		}
		return sum / float64(len(nll))
	}
	tr := fixture{dev: dev}.trainer(t, m, optim.Config{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8}, false)
	if _, _, err := tr.Step([]data.Batch{b}, 0, 0).Wait(); err != nil { // a rate of 0: only the gradients
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for _, p := range tr.Optimizer.Params {
		w, grad := p.Weight.Values(), p.Grad.Values()
		largest, random := 0, normal(rng, len(grad), 1)
		for i, x := range grad {
			if math.Abs(float64(x)) > math.Abs(float64(grad[largest])) {
				largest = i
			}
		}
		for name, d := range map[string][]float32{"its own direction": grad, "a random direction": random,
			fmt.Sprint("element ", largest): unit(len(w), largest), fmt.Sprint("element ", len(w)-1): unit(len(w), len(w)-1)} {
			size := math.Sqrt(dot(d, d))
			at := func(step float64) float64 {
				moved := slices.Clone(w)
				for i := range moved {
					moved[i] += float32(step / size * float64(d[i]))
				}
				p.Weight.SetValues(moved)
				return loss()
			}
			// Four points: the error is in step⁴, so that the step can be large enough for
			// float32. Norms behind a sub-layer, which divide by what is small in these
			// models, bend the loss so much that it must be smaller there.
			got, agreed := dot(grad, d)/size, false
			var want float64
			for _, step := range []float64{0.03, 0.01, 0.003} {
				want = (8*(at(step)-at(-step)) - (at(2*step) - at(-2*step))) / (12 * step)
				if agreed = math.Abs(got-want) <= 1e-4+1e-3*math.Abs(want); agreed {
					break
				}
			}
			if !agreed {
				t.Errorf("%s, %s: got a slope of %g, want %g", p.Name, name, got, want)
			}
		}
		p.Weight.SetValues(w)
	}
}

func unit(n, i int) []float32 {
	x := make([]float32, n)
	x[i] = 1
	return x
}

func dot(a, b []float32) (sum float64) {
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}

// valid is a configuration to be broken in one place.
const valid = `{"architectures": ["LlamaForCausalLM"], "vocab_size": 17, "hidden_size": 16, "intermediate_size": 24,
 "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "hidden_act": "silu",
 "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": false}`

// set replaces or adds a key of valid.
func set(key, value string) string {
	lines := strings.TrimSuffix(valid, "}")
	if at := strings.Index(lines, `"`+key+`":`); at >= 0 {
		end := at + strings.IndexAny(lines[at:], ",}")
		if strings.HasPrefix(lines[at+len(key)+3:], " [") {
			end = at + strings.IndexByte(lines[at:], ']') + 1
		}
		if !strings.ContainsAny(lines[at:], ",}") {
			end = len(lines)
		}
		return lines[:at] + `"` + key + `": ` + value + lines[end:] + "}"
	}
	return lines + `, "` + key + `": ` + value + "}"
}

func TestConfigErrors(t *testing.T) {
	if _, err := models.New([]byte(valid)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, config string
		want         []string // parts of the message
	}{
		{"empty", "", []string{"config.json:1: unexpected end"}},
		{"no JSON", "{\n \"vocab_size\": 17,\n x}", []string{"config.json:3: invalid character 'x'"}},
		{"no object", `[1]`, []string{"config.json:", "array"}},
		{"null", `null`, []string{`no "architectures"`}},
		{"no architecture", `{"vocab_size": 17}`, []string{`no "architectures"`, "LlamaForCausalLM"}},
		{"empty architectures", set("architectures", `[]`), []string{`no "architectures"`}},
		{"wrong architectures", set("architectures", `["FooForCausalLM"]`), []string{`unsupported architecture "FooForCausalLM"`, "LlamaForCausalLM"}},
		{"architectures of a wrong type", set("architectures", `[7]`), []string{"architectures", "number"}},

		{"text for a number", set("vocab_size", `"many"`), []string{"vocab_size is a string, int wanted"}},
		{"fraction", set("hidden_size", `16.5`), []string{"hidden_size is a number 16.5, int wanted"}},
		{"number for a truth", set("tie_word_embeddings", `1`), []string{"tie_word_embeddings is a number, bool wanted"}},
		{"rope_scaling as text", set("rope_scaling", `"llama3"`), []string{"rope_scaling is a string"}},
		{"factor as text", set("rope_scaling", `{"rope_type": "linear", "factor": "2"}`), []string{"rope_scaling.factor is a string"}},

		{"no vocabulary", set("vocab_size", `0`), []string{"vocab_size is 0"}},
		{"two wrong", strings.Replace(set("hidden_size", `-16`), `"intermediate_size": 24`, `"intermediate_size": 0`, 1), []string{"hidden_size is -16", "intermediate_size is 0"}},
		{"no heads", set("num_attention_heads", `0`), []string{"num_attention_heads is 0"}},
		{"negative heads", set("num_attention_heads", `-4`), []string{"num_attention_heads is -4"}},
		{"negative kv heads", set("num_key_value_heads", `-2`), []string{"num_key_value_heads is -2"}},
		{"kv heads", set("num_key_value_heads", `3`), []string{"num_key_value_heads 3 does not divide num_attention_heads 4"}},
		{"more kv heads", set("num_key_value_heads", `8`), []string{"num_key_value_heads 8 does not divide num_attention_heads 4"}},
		{"hidden size and heads", set("hidden_size", `18`), []string{"num_attention_heads 4 does not divide hidden_size 18"}},
		{"odd head size", set("head_dim", `5`), []string{"head_dim", "5", "even"}},
		{"vast head size", set("head_dim", `4096`), []string{"head_dim", "4096", "2048"}},
		{"no layers", set("num_hidden_layers", `0`), []string{"num_hidden_layers is 0"}},
		{"too many layers", set("num_hidden_layers", `100000`), []string{"num_hidden_layers 100000", "10000"}},
		{"epsilon", set("rms_norm_eps", `-1`), []string{"rms_norm_eps -1"}},
		{"no context", set("max_position_embeddings", `-1`), []string{"max_position_embeddings is -1"}},
		{"huge vocabulary", set("vocab_size", `1000000000000`), []string{"vocab_size is 1000000000000", "2^28"}},
		{"beyond int64", set("vocab_size", `100000000000000000000`), []string{"vocab_size is a number 100000000000000000000, int wanted"}},
		{"huge matrix", strings.Replace(set("hidden_size", `268435456`), `"vocab_size": 17`, `"vocab_size": 268435456, "head_dim": 16`, 1), []string{"a weight of shape [268435456 268435456]", "2^46"}},

		{"theta", set("rope_theta", `-1`), []string{"rope_theta -1: a positive number wanted"}},
		{"rope type", set("rope_scaling", `{"rope_type": "spiral", "factor": 2}`), []string{`unknown rope_type "spiral"`, "llama3"}},
		{"old rope type", set("rope_scaling", `{"type": "spiral", "factor": 2}`), []string{`unknown rope_type "spiral"`}},
		{"rope type of transformers 5", set("rope_parameters", `{"rope_type": "spiral", "rope_theta": 1e4, "factor": 2}`), []string{`unknown rope_type "spiral"`}},
		{"unknown rope type without factor", set("rope_scaling", `{"rope_type": "spiral"}`), []string{`unknown rope_type "spiral"`}},
		{"factor", set("rope_scaling", `{"rope_type": "linear", "factor": 0}`), []string{`factor 0 of type "linear"`}},
		{"llama3 without its numbers", set("rope_scaling", `{"rope_type": "llama3", "factor": 8}`), []string{"low_freq_factor 0", "original_max_position_embeddings 0"}},

		{"activation", set("hidden_act", `"gelu"`), []string{`hidden_act is "gelu"`, `"silu"`}},
		{"window", set("sliding_window", `4096`), []string{"sliding_window is 4096", "null"}},
		{"quantized", set("quantization_config", `{"quant_method": "gptq", "bits": 4}`), []string{"quantization_config is", "gptq"}},
		{"partial rotation", set("partial_rotary_factor", `0.5`), []string{"partial_rotary_factor is 0.5"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var err error
			allocated := allocation(func() { _, err = models.New([]byte(tt.config)) })
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("got %q, want %q in it", err, part)
				}
			}
			if !strings.HasPrefix(err.Error(), "config.json") || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %q, want one line that begins with the file's name", err)
			}
			if allocated > 1<<20 {
				t.Errorf("%d bytes allocated", allocated)
			}
		})
	}
}

func allocation(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// FuzzConfig wants an error or a model whose sizes fit, without a panic, from any
// bytes, and no more memory than the most layers need.
func FuzzConfig(f *testing.F) {
	f.Add([]byte(valid))
	for _, tt := range families {
		f.Add([]byte(tt.config))
	}
	for _, s := range models.Shapes() {
		f.Add([]byte(s.Config))
	}
	for key, value := range map[string]string{"num_hidden_layers": "10000", "head_dim": "2048", "rope_parameters": `{"rope_type": "llama3"}`,
		"rope_scaling": `{"type": "linear", "factor": 1e308}`, "vocab_size": "268435456", "rope_theta": "1e-320", "hidden_act": "null"} {
		f.Add([]byte(set(key, value)))
	}
	f.Fuzz(func(t *testing.T, config []byte) {
		var m models.Model
		var err error
		allocated := allocation(func() { m, err = models.New(config) })
		if limit := uint64(256<<20 + 100*len(config)); allocated > limit {
			t.Errorf("%d bytes allocated for %q", allocated, config)
		}
		if err != nil {
			if m != nil {
				t.Errorf("a model beside the error %v", err)
			}
			return
		}
		d := m.Dims()
		if min(d.Layers, d.Hidden, d.Vocab, d.Heads, d.KVHeads, d.HeadDim, d.Context) <= 0 || d.Heads%d.KVHeads != 0 {
			t.Errorf("sizes %+v from %q", d, config)
		}
	})
}
