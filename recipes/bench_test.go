package recipes

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/data"
	"github.com/litgpt-go/litgpt/internal/generate"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/optim"
	"github.com/litgpt-go/litgpt/internal/sample"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/internal/train"
	"github.com/litgpt-go/litgpt/lora"
	"github.com/litgpt-go/litgpt/models"
)

// The shapes that are compared with other programs: SmolLM2-135M, and the small
// Llama of 10.6 M weights that LitGPT pretrains in the comparison. Weights are
// random: speed does not depend on them.
const (
	smolLM2 = `{"architectures": ["LlamaForCausalLM"], "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
		"num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 8192, "rope_theta": 100000, "tie_word_embeddings": true}`
	micro = `{"architectures": ["LlamaForCausalLM"], "vocab_size": 512, "hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 6,
		"num_attention_heads": 6, "num_key_value_heads": 6, "max_position_embeddings": 256}`
)

// testDevice is where benchmarks and the tests with real weights compute: LITGPT_DEVICE, or the CPU.
func testDevice() string { return cmp.Or(os.Getenv("LITGPT_DEVICE"), "cpu") }

func randomModel(b *testing.B, config string, matrix checkpoint.Type) (*tensor.Device, models.Model) {
	b.Helper()
	dev, err := tensor.Open(testDevice(), tensor.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(dev.Close) // after the weights' cleanup, which is registered later
	return dev, randomModelOn(b, dev, config, matrix)
}

// randomModelOn declares a model and fills it with random weights until b ends.
func randomModelOn(b *testing.B, dev *tensor.Device, config string, matrix checkpoint.Type) models.Model {
	b.Helper()
	types := map[checkpoint.Type]tensor.DType{checkpoint.F32: tensor.F32, checkpoint.BF16: tensor.BF16, checkpoint.F16: tensor.F16}
	return randomModelOf(b, dev, config, func(string) tensor.DType { return types[matrix] })
}

// randomModelOf is randomModelOn with matrices of the types that of gives their names.
func randomModelOf(b *testing.B, dev *tensor.Device, config string, of func(name string) tensor.DType) models.Model {
	b.Helper()
	m, err := models.New([]byte(config))
	if err != nil {
		b.Fatal(err)
	}
	for name, p := range nn.Params(m) {
		dtype := tensor.F32
		if len(p.Shape()) > 1 {
			dtype = of(name)
		}
		if err := dev.Alloc(p, dtype); err != nil {
			b.Fatal(err)
		}
		p.SetValues(initial(name, p, m.Dims(), 1))
	}
	b.Cleanup(func() {
		for _, p := range nn.Params(m) {
			p.Free()
		}
	})
	return m
}

func benchmarkSteps(b *testing.B, config string, matrix checkpoint.Type, B, T int, adapter, recompute bool) {
	dev, m := randomModel(b, config, matrix)
	benchmarkLoRA(b, dev, m, B, T, adapter, recompute)
}

// benchmarkLoRA is benchmarkSteps of a model; without adapter it is full finetuning.
func benchmarkLoRA(b *testing.B, dev *tensor.Device, m models.Model, B, T int, adapter, recompute bool) {
	var names []string
	var weights []*tensor.Tensor
	if adapter {
		var err error
		names, weights, err = lora.Inject(dev, m, lora.Config{Rank: 8, Alpha: 16, Dropout: 0.05, Targets: []string{"q_proj", "v_proj"}}, rand.New(rand.NewPCG(1, 2)))
		if err != nil {
			b.Fatal(err)
		}
	} else {
		for name, p := range nn.Params(m) {
			names, weights = append(names, name), append(weights, p)
		}
	}
	o, err := optim.New(dev, optim.Config{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.01}, names, weights)
	if err != nil {
		b.Fatal(err)
	}
	defer o.Close()
	t := train.New(dev, m, o, recompute, 1)
	defer t.Close()
	batch := data.Batch{Tokens: make([]int32, B*T), Targets: make([]int32, B*T), B: B, T: T}
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range batch.Tokens {
		batch.Tokens[i], batch.Targets[i] = rng.Int32N(500), rng.Int32N(500)
	}
	step := func() {
		if _, _, err := t.Step([]data.Batch{batch}, 1e-4, 1).Wait(); err != nil {
			b.Fatal(err)
		}
	}
	step() // compiles the graph
	b.ResetTimer()
	from := processor(b)
	for range b.N {
		step()
	}
	b.ReportMetric(float64(B*T*b.N)/(processor(b)-from), "tok/cpu-s")
	b.ReportMetric(float64(B*T*b.N)/b.Elapsed().Seconds(), "tok/s")
	b.ReportMetric(float64(t.Scratch()>>20), "scratch-MiB")
}

func BenchmarkLoRAStep(b *testing.B) {
	b.Run("F32", func(b *testing.B) { benchmarkSteps(b, smolLM2, checkpoint.F32, 4, 256, true, false) })
	b.Run("BF16", func(b *testing.B) { benchmarkSteps(b, smolLM2, checkpoint.BF16, 4, 256, true, false) })
	b.Run("F32/recompute", func(b *testing.B) { benchmarkSteps(b, smolLM2, checkpoint.F32, 4, 256, true, true) })
}

func BenchmarkFullStep(b *testing.B) {
	benchmarkSteps(b, smolLM2, checkpoint.F32, 4, 256, false, false)
}

func BenchmarkPretrainStep(b *testing.B) {
	benchmarkSteps(b, micro, checkpoint.F32, 16, 256, false, false)
}

func BenchmarkGenerate(b *testing.B) {
	for _, x := range []struct {
		name   string
		matrix checkpoint.Type
		cache  tensor.DType
	}{{"F32", checkpoint.F32, tensor.F32}, {"BF16", checkpoint.BF16, tensor.F16}, {"F16", checkpoint.F16, tensor.F16}} {
		dev, m := randomModel(b, smolLM2, x.matrix)
		run := func(b *testing.B, prompt, tokens int) {
			e := generate.New(dev, m, generate.Options{Cache: x.cache})
			defer e.Close()
			ids := make([]int32, prompt)
			for i := range b.N {
				ids[0] = int32(i%400 + 1) // another prompt each time: nothing of it is in the cache
				req := generate.Request{Prompt: ids, MaxTokens: tokens, Sampling: sample.Config{}}
				for _, err := range e.Generate(context.Background(), req) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(max(prompt, tokens)*b.N)/b.Elapsed().Seconds(), "tok/s")
		}
		b.Run(fmt.Sprintf("decode64/%s", x.name), func(b *testing.B) { run(b, 1, 65) })
		b.Run(fmt.Sprintf("prefill512/%s", x.name), func(b *testing.B) { run(b, 512, 1) })
	}
}
