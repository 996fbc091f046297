package recipes

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/litgpt-go/litgpt/internal/generate"
	"github.com/litgpt-go/litgpt/internal/sample"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/models"
)

// plain stores all matrices in one type, but the embedding, which is the head too, as llama-quantize does.
func plain(d tensor.DType) func(name string, layer int) tensor.DType {
	return func(name string, layer int) tensor.DType {
		if layer < 0 && d.Quantized() {
			return tensor.Q8_0
		}
		return d
	}
}

// q4km is what llama-quantize makes of SmolLM2-135M for Q4_K_M: rows of 576 are no multiple of 256, so that most matrices get a type of the older kind.
func q4km(name string, layer int) tensor.DType {
	more := layer < 4 || layer >= 26 || (layer-4)%3 == 1
	switch {
	case layer < 0, strings.Contains(name, "v_proj") && more:
		return tensor.Q8_0
	case strings.Contains(name, "down_proj") && more:
		return tensor.Q6_K
	case strings.Contains(name, "down_proj"):
		return tensor.Q4_K
	}
	return tensor.Q5_0
}

// quantizedModels are the types that are compared with llama-bench, and BF16 beside them.
var quantizedModels = []struct {
	name string
	of   func(name string, layer int) tensor.DType
}{
	{"BF16", plain(tensor.BF16)}, {"Q4_0", plain(tensor.Q4_0)}, {"Q4_1", plain(tensor.Q4_1)}, {"Q8_0", plain(tensor.Q8_0)}, {"Q4_K_M", q4km},
}

// quantizedModel is SmolLM2-135M with random weights in the types that of says.
func quantizedModel(b *testing.B, of func(name string, layer int) tensor.DType) (*tensor.Device, models.Model) {
	b.Helper()
	dev, err := tensor.Open(testDevice(), tensor.Options{Threads: runtime.GOMAXPROCS(0)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(dev.Close)
	return dev, randomModelOf(b, dev, smolLM2, func(name string) tensor.DType {
		layer := -1
		if _, rest, ok := strings.Cut(name, "layers."); ok {
			fmt.Sscanf(rest, "%d", &layer)
		}
		return of(name, layer)
	})
}

// processor is the time that all threads of this program have run.
func processor(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) * 1e-9
}

// BenchmarkQuantized is decoding, prefill and a LoRA step on SmolLM2-135M. With -cpu 1, tok/cpu-s, the tokens to
// a second of processor time, tells two builds apart even on a machine that is busy.
func BenchmarkQuantized(b *testing.B) {
	for _, x := range quantizedModels {
		b.Run(x.name, func(b *testing.B) {
			dev, m := quantizedModel(b, x.of)
			run := func(b *testing.B, prompt, tokens int) {
				e := generate.New(dev, m, generate.Options{Cache: tensor.F16})
				defer e.Close()
				ids := make([]int32, prompt)
				step := func(i int) {
					ids[0] = int32(i%400 + 1)
					req := generate.Request{Prompt: ids, MaxTokens: tokens, Sampling: sample.Config{}}
					for _, err := range e.Generate(context.Background(), req) {
						if err != nil {
							b.Fatal(err)
						}
					}
				}
				step(0) // compiles the graphs
				b.ResetTimer()
				from := processor(b)
				for i := range b.N {
					step(i + 1)
				}
				n := float64(max(prompt, tokens) * b.N)
				b.ReportMetric(n/b.Elapsed().Seconds(), "tok/s")
				b.ReportMetric(n/(processor(b)-from), "tok/cpu-s")
			}
			b.Run("decode64", func(b *testing.B) { run(b, 1, 65) })
			b.Run("prefill512", func(b *testing.B) { run(b, 512, 1) })
			b.Run("LoRA1x256", func(b *testing.B) { benchmarkLoRA(b, dev, m, 1, 256, true, false) }) // last: the adapters stay
		})
	}
}
