package recipes

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/generate"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/sample"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/models"
)

// BenchmarkFamilies measures every family beside Llama, at one size and on random
// weights in BF16: "prefill" of 256 tokens, which is bound by floating-point
// operations, and "decode" of 32 tokens, which is bound by bytes read. The column
// of-llama is the family's GFLOP/s or GB/s divided by Llama's: what its operations
// or bytes predict from Llama's speed, divided by what it takes. 0.9 and more is
// within 10 %. One thread computes and its processor time counts, the two run in
// turns, and the fastest run of each is taken: what else the machine does only adds
// time. llama beside itself shows the noise that is left.
func BenchmarkFamilies(b *testing.B) {
	dev, err := tensor.Open("cpu", tensor.Options{Threads: 1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(dev.Close)
	llama := newContender(b, dev, familyConfigs(b)["llama"])
	for _, kind := range familyOrder(b) {
		b.Run(kind, func(b *testing.B) {
			c := newContender(b, dev, familyConfigs(b)[kind])
			b.Run("prefill", func(b *testing.B) { race(b, c, llama, 256, 1, contender.flops, "GFLOP/s") })
			b.Run("decode", func(b *testing.B) { race(b, c, llama, 1, 33, contender.bytes, "GB/s") })
		})
	}
}

// benchmarkSize replaces the sizes in a published config.json; the rest of it stays.
var benchmarkSize = map[string]int{
	"vocab_size": 8192, "hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 8, "num_attention_heads": 12,
	"num_key_value_heads": 4, "num_kv_heads": 4, "head_dim": 64, "max_position_embeddings": 1024,
	"sliding_window": 1024, // longer than the text: all families attend to as much
	"num_experts":    8, "num_local_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 1024,
}

// familyOrder lists the families with a name and a file, by model_type.
func familyOrder(b *testing.B) (kinds []string) {
	for kind := range familyConfigs(b) {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	return kinds
}

// familyConfigs gives a config.json of benchmarkSize for each model_type, made
// from the first model known by name that has it.
func familyConfigs(b *testing.B) map[string]string {
	b.Helper()
	configs := map[string]string{}
	for _, s := range models.Shapes() {
		architecture, err := models.Architecture(s.Config)
		if err != nil {
			b.Fatal(err)
		}
		var c map[string]any
		if err := json.Unmarshal(s.Config, &c); err != nil {
			b.Fatal(err)
		}
		kind := fmt.Sprint(c["model_type"])
		if _, seen := configs[kind]; seen || !models.Supported(architecture) {
			continue
		}
		if c["num_key_value_heads"] == c["num_attention_heads"] {
			delete(c, "num_key_value_heads") // the family need not have grouped queries
		}
		for key, value := range benchmarkSize {
			if c[key] != nil {
				c[key] = value
			}
		}
		if c["num_local_experts"] != nil {
			c["intermediate_size"] = benchmarkSize["moe_intermediate_size"]
		}
		config, err := json.Marshal(c)
		if err != nil {
			b.Fatal(err)
		}
		configs[kind] = string(config)
	}
	return configs
}

// contender is a model with what a token of it costs.
type contender struct {
	engine *generate.Engine
	dims   models.Dims
	active float64 // weights of matrices that a token is multiplied with, the vocabulary's apart
}

func newContender(b *testing.B, dev *tensor.Device, config string) contender {
	b.Helper()
	m := randomModelOn(b, dev, config, checkpoint.BF16)
	c := contender{engine: generate.New(dev, m, generate.Options{Cache: tensor.F16}), dims: m.Dims()}
	b.Cleanup(c.engine.Close)
	for _, p := range nn.Params(m) {
		switch shape := p.Shape(); {
		case shape[0] == c.dims.Vocab: // the embedding is looked up; the head is counted by its users
		case len(shape) == 2:
			c.active += float64(p.Numel())
		case len(shape) == 3: // (E, out, in), of which a token has some experts
			c.active += float64(p.Numel()) * float64(benchmarkSize["num_experts_per_tok"]) / float64(shape[0])
		}
	}
	return c
}

// run reads a prompt and generates, and gives the processor time it took; salt makes prompts differ, or their keys and
// values would be in the cache already.
func (c contender) run(b *testing.B, prompt, tokens, salt int) time.Duration {
	ids := make([]int32, prompt)
	ids[0] = int32(salt%1000 + 1)
	start := processorTime(b)
	req := generate.Request{Prompt: ids, MaxTokens: tokens, Sampling: sample.Config{}}
	for _, err := range c.engine.Generate(context.Background(), req) {
		if err != nil {
			b.Fatal(err)
		}
	}
	return processorTime(b) - start
}

// processorTime is what this process has computed, on all its threads, so far.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// keys is the number of keys that the queries of n tokens see in all layers and
// heads, in channels.
func (c contender) keys(n int) float64 {
	return float64(c.dims.Layers*c.dims.Heads*c.dims.HeadDim) * float64(n) * float64(n+1) / 2
}

// flops of reading a prompt and choosing one token: two for each weight and token,
// scores and values, and the scores of the vocabulary once.
func (c contender) flops(prompt, tokens int) float64 {
	return 2*c.active*float64(prompt) + 4*c.keys(prompt) + 2*float64(c.dims.Vocab*c.dims.Hidden)
}

// bytes that a prompt of one token and the next ones read: all weights and the
// cache, both of two bytes, once for each token.
func (c contender) bytes(prompt, tokens int) float64 {
	weights := c.active + float64(c.dims.Vocab*c.dims.Hidden)
	cache := 2 * c.keys(tokens) * float64(c.dims.KVHeads) / float64(c.dims.Heads)
	return 2 * (weights*float64(tokens) + cache)
}

// race runs c and llama in turns.
func race(b *testing.B, c, llama contender, prompt, tokens int, cost func(c contender, prompt, tokens int) float64, unit string) {
	c.run(b, prompt, tokens, 0) // compiles the graphs
	llama.run(b, prompt, tokens, 0)
	mine, its := math.Inf(1), math.Inf(1) // seconds
	b.ResetTimer()
	for i := range b.N {
		mine = min(mine, c.run(b, prompt, tokens, i+1).Seconds())
		b.StopTimer()
		its = min(its, llama.run(b, prompt, tokens, i+1).Seconds())
		b.StartTimer()
	}
	rate := cost(c, prompt, tokens) / mine
	b.ReportMetric(float64(max(prompt, tokens))/mine, "tok/s")
	b.ReportMetric(rate/1e9, unit)
	b.ReportMetric(rate/(cost(llama, prompt, tokens)/its), "of-llama")
}
