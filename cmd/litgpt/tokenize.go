package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/litgpt-go/litgpt/internal/settings"
	"github.com/litgpt-go/litgpt/recipes"
)

func newTokenize(env *env) *cobra.Command {
	cfg := recipes.NewTokenize()
	return settings.Command("tokenize", "turn text into token ids, and ids into text", `Show what a tokenizer makes of a text: ids, pieces and byte offsets, as JSON on stdout.

  litgpt tokenize CHECKPOINT "some text"
  litgpt tokenize CHECKPOINT --decode "[1,2,3]"
  litgpt tokenize CHECKPOINT --jsonl texts.jsonl > ids.jsonl`, &cfg,
		func(ctx context.Context) error { return cfg.Run(ctx, env.stdin, env.stdinTerminal, env.stdout) })
}
