package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/litgpt-go/litgpt/internal/settings"
	"github.com/litgpt-go/litgpt/recipes"
)

func newConvert(env *env) *cobra.Command {
	cfg := recipes.Convert{}
	return settings.Command("convert", "turn a checkpoint into GGUF, Hugging Face's or LitGPT's files", `Convert a checkpoint between Hugging Face directories, GGUF files and LitGPT directories, or an adapter between PEFT and GGUF.

  litgpt convert DIR model.gguf
  litgpt convert model.gguf DIR
  litgpt convert DIR LITGPT_DIR --format litgpt
Both ends are loaded and their logits compared before the result is kept.`, &cfg, func(ctx context.Context) error { return cfg.Run(ctx, env.out()) })
}

func newConvertToLitGPT(env *env) *cobra.Command {
	cfg := recipes.ConvertToLitGPT{}
	return settings.Command("convert_to_litgpt", "add LitGPT's files to a Hugging Face directory", "Convert a Hugging Face checkpoint to LitGPT's files, in its directory.", &cfg,
		func(ctx context.Context) error { return cfg.Run(ctx, env.out()) })
}

func newConvertFromLitGPT(env *env) *cobra.Command {
	cfg := recipes.ConvertFromLitGPT{}
	return settings.Command("convert_from_litgpt", "make a Hugging Face directory of one of LitGPT's", "Convert a LitGPT checkpoint to a complete Hugging Face directory.", &cfg,
		func(ctx context.Context) error { return cfg.Run(ctx, env.out()) })
}

func newConvertPretrained(env *env) *cobra.Command {
	cfg := recipes.ConvertPretrained{}
	return settings.Command("convert_pretrained_checkpoint", "take the model out of a checkpoint of LitGPT's pretraining",
		"Make a checkpoint of LitGPT's pretraining one that can be finetuned: the model without the state of training.", &cfg,
		func(ctx context.Context) error { return cfg.Run(ctx, env.out()) })
}
