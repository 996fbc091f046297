package recipes

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/litgpt-go/litgpt/internal/generate"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// BenchmarkBatch is what several clients at once get of SmolLM2-135M: prompts of 100 tokens, of which nothing is
// cached, and 64 tokens more for each.
func BenchmarkBatch(b *testing.B) {
	for _, x := range quantizedModels {
		if x.name != "BF16" && x.name != "Q4_0" {
			continue
		}
		b.Run(x.name, func(b *testing.B) {
			dev, m := quantizedModel(b, x.of)
			for _, n := range []int{1, 4, 16, 64} {
				b.Run(fmt.Sprint(n), func(b *testing.B) {
					e := generate.New(dev, m, generate.Options{Cache: tensor.F16, Sequences: n, Positions: n * 192})
					defer e.Close()
					const prompt, tokens = 100, 64
					salt := int32(0)
					step := func() {
						var wg sync.WaitGroup
						for range n {
							salt++
							ids := make([]int32, prompt)
							ids[0], ids[1] = salt%40000, salt/40000
							wg.Go(func() {
								for _, err := range e.Generate(context.Background(), generate.Request{Prompt: ids, MaxTokens: tokens}) {
									if err != nil {
										b.Error(err)
									}
								}
							})
						}
						wg.Wait()
					}
					step() // compiles the graphs
					b.ResetTimer()
					from := processor(b)
					for range b.N {
						step()
					}
					made := float64(n * tokens * b.N)
					b.ReportMetric(made/b.Elapsed().Seconds(), "tok/s")
					b.ReportMetric(made/(processor(b)-from), "tok/cpu-s")
					s := e.Stats()
					b.ReportMetric(float64(s.Passes)/float64(b.N+1), "passes")
				})
			}
		})
	}
}
