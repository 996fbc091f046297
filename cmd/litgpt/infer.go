package main

import (
	"context"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/litgpt-go/litgpt/internal/repl"
	"github.com/litgpt-go/litgpt/internal/settings"
	"github.com/litgpt-go/litgpt/recipes"
)

func newGenerate(env *env) *cobra.Command {
	cfg := recipes.NewGenerate()
	return settings.Command("generate", "continue a prompt", "Generate text from a prompt.", &cfg,
		func(ctx context.Context) error { return cfg.Run(ctx, env.stdout, env.log) })
}

func newGenerateSequentially(env *env) *cobra.Command {
	cfg := recipes.NewGenerateSequentially()
	return settings.Command("generate_sequentially", "continue a prompt, with the model's layers on several GPUs", "Generate text from a prompt, with the model's layers on several GPUs.", &cfg,
		func(ctx context.Context) error { return cfg.Run(ctx, env.stdout, env.log) })
}

func newGenerateSpeculatively(env *env) *cobra.Command {
	cfg := recipes.NewGenerateSpeculatively()
	return settings.Command("generate_speculatively", "continue a prompt, with a small model that guesses ahead", "Generate text from a prompt; a small model guesses ahead, which changes the speed and not the text.", &cfg,
		func(ctx context.Context) error { return cfg.Run(ctx, env.stdout, env.log) })
}

func newChat(env *env) *cobra.Command {
	cfg := recipes.NewChat()
	return settings.Command("chat", "talk with a model in the terminal", "Chat with a model.", &cfg, func(ctx context.Context) error {
		in, ok1 := env.stdin.(*os.File)
		out, ok2 := env.stdout.(*os.File)
		errs, ok3 := env.stderr.(*os.File)
		if ok1 && ok2 && ok3 {
			return cfg.Run(ctx, repl.Standard(in, out, errs), env.log)
		}
		return cfg.Run(ctx, repl.Options{In: env.stdin, Out: env.stdout, Err: env.stderr, Now: time.Now}, env.log)
	})
}

func newScore(env *env) *cobra.Command {
	cfg := recipes.NewScore()
	return settings.Command("score", "measure how likely a text is", `Score a text: token ids, log-probabilities, mean negative log-likelihood per window, perplexity, as JSON on stdout.`, &cfg,
		func(ctx context.Context) error { return cfg.Run(ctx, env.stdout, env.log) })
}
