package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/litgpt-go/litgpt/internal/settings"
	"github.com/litgpt-go/litgpt/recipes"
)

func newDownload(env *env) *cobra.Command {
	cfg := recipes.Download{}
	return settings.Command("download", "list the models known by name", `List the models known by name, by their repository on the Hugging Face Hub.

  litgpt download list`, &cfg, func(context.Context) error { return cfg.Run(env.stdout) })
}
