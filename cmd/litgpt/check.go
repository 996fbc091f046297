package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/litgpt-go/litgpt/internal/settings"
	"github.com/litgpt-go/litgpt/recipes"
)

func newCheck(env *env) *cobra.Command {
	cfg := recipes.Check{}
	return settings.Command("check", "find what does not fit together in a checkpoint", `Compare a checkpoint's tokenizer, chat template, special tokens, configuration and the names and shapes of its weights,
and list what disagrees: errors, which give wrong results, warnings and remarks.`, &cfg,
		func(ctx context.Context) error { return cfg.Run(ctx, env.stdout) })
}
