package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/litgpt-go/litgpt/internal/settings"
	"github.com/litgpt-go/litgpt/recipes"
)

func newServe(env *env) *cobra.Command {
	cfg := recipes.NewServe()
	return settings.Command("serve", "answer requests over HTTP, as OpenAI's API and LitGPT's", "Serve models over HTTP: OpenAI's API, LitGPT's POST /predict, a chat page.", &cfg,
		func(ctx context.Context) error { return cfg.Run(ctx, env.stdout, env.stderr, env.log) })
}
