package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/litgpt-go/litgpt/internal/settings"
	"github.com/litgpt-go/litgpt/recipes"
)

func newTemplate(env *env) *cobra.Command {
	cfg := recipes.NewTemplate()
	return settings.Command("template", "write conversations as a chat template has them",
		`Fill a chat template with conversations: a line of JSON for each line of --jsonl, {"text": …} or {"error": …}.`, &cfg,
		func(ctx context.Context) error { return cfg.Run(ctx, env.stdin, env.stdout) })
}
