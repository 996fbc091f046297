package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/litgpt-go/litgpt/internal/progress"
	"github.com/litgpt-go/litgpt/internal/settings"
	"github.com/litgpt-go/litgpt/recipes"
)

func newQuantize(env *env) *cobra.Command {
	cfg := recipes.NewQuantize()
	return settings.Command("quantize", "make a checkpoint smaller: four bits a weight, or so", `Quantize a model into a GGUF file.

  litgpt quantize CHECKPOINT model.gguf --type Q4_K_M
  litgpt quantize CHECKPOINT model.gguf --type Q3_K_M --calibrate text.txt
  litgpt quantize CHECKPOINT model.gguf --report   says what a file that is there has lost
  litgpt quantize list   shows the types
Every command takes the file as a checkpoint, and so does llama.cpp.`, &cfg, func(ctx context.Context) error {
		out := env.out()
		out.NewBar = func(total int64, label, unit string) *progress.Bar { // there are no log lines on the way
			return progress.New(env.stderr, env.stderrTerminal, total, label, unit)
		}
		return cfg.Run(ctx, out)
	})
}
