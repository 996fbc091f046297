package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/litgpt-go/litgpt/internal/settings"
	"github.com/litgpt-go/litgpt/recipes"
)

func newDoctor(env *env) *cobra.Command {
	cfg := recipes.Doctor{}
	return settings.Command("doctor", "say what this machine has, and what would run where", `Look at the program, the processor, memory, and CUDA's library, driver and devices; list where each operation would run.`, &cfg,
		func(context.Context) error { return cfg.Run(versionText(), env.stdout) })
}
