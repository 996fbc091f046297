package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/litgpt-go/litgpt/internal/progress"
	"github.com/litgpt-go/litgpt/internal/settings"
	"github.com/litgpt-go/litgpt/models"
	"github.com/litgpt-go/litgpt/recipes"
)

// out is where training reports: bars on a terminal, lines elsewhere.
func (e *env) out() recipes.Out {
	return recipes.Out{
		Result: e.stdout,
		NewBar: func(total int64, label, unit string) *progress.Bar {
			if !e.stderrTerminal {
				return nil // a log line a step is progress enough
			}
			return progress.New(e.stderr, true, total, label, unit)
		},
		Log: func(b *progress.Bar) *slog.Logger {
			if b == nil {
				return e.log
			}
			return newLogger(b.Writer())
		},
	}
}

func newPretrain(env *env) *cobra.Command {
	cfg := recipes.NewPretrain()
	return settings.Command("pretrain", "train a model from random weights", `Pretrain a model on text.

  litgpt pretrain tiny-llama-1.1b --tokenizer_dir DIR --data TextFiles --data.train_data_path texts/
  litgpt pretrain list   shows the models known by name`, &cfg, func(ctx context.Context) error {
		if cfg.ModelName == "list" {
			return recipes.ListNames(env.stdout, func(s models.Shape) string { return s.Name })
		}
		return cfg.Run(ctx, env.out())
	})
}

func newTrainTokenizer(env *env) *cobra.Command {
	cfg := recipes.NewTrainTokenizer()
	return settings.Command("train_tokenizer", "learn a vocabulary from text", `Train a byte-level BPE tokenizer on text.

  litgpt train_tokenizer texts/ --vocab_size 32000 --out_dir DIR
The result is a directory for pretrain's --tokenizer_dir, and for Hugging Face's AutoTokenizer.`, &cfg, func(ctx context.Context) error {
		return cfg.Run(ctx, env.out())
	})
}

func newFinetune(env *env) *cobra.Command { return finetuneLoRA(env, "finetune") }

func newFinetuneLoRA(env *env) *cobra.Command { return finetuneLoRA(env, "finetune_lora") }

func finetuneLoRA(env *env, name string) *cobra.Command {
	cfg := recipes.NewFinetuneLoRA()
	return settings.Command(name, "train low-rank adapters on a frozen model", `Finetune a model using the LoRA method.

  litgpt `+name+` CHECKPOINT --data JSON --data.json_path data.json
The adapter, a PEFT directory, is in OUT_DIR/final; every command takes it as a checkpoint.`, &cfg, func(ctx context.Context) error {
		return cfg.Run(ctx, env.out())
	})
}

func newFinetuneFull(env *env) *cobra.Command {
	cfg := recipes.NewFinetuneFull()
	return settings.Command("finetune_full", "train all weights of a model", "Finetune a model.", &cfg, func(ctx context.Context) error {
		return cfg.Run(ctx, env.out())
	})
}

func newMergeLoRA(env *env) *cobra.Command {
	cfg := recipes.NewMergeLoRA()
	return settings.Command("merge_lora", "add an adapter to its base model", "Merge a LoRA adapter into its base and write a complete Hugging Face checkpoint, or a GGUF file.", &cfg,
		func(ctx context.Context) error { return cfg.Run(ctx, env.out()) })
}
