package recipes

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/litgpt-go/litgpt/internal/generate"
)

// GenerateSpeculatively is generate with a small model that guesses ahead: "litgpt generate_speculatively".
type GenerateSpeculatively struct {
	DraftDir     string `yaml:"draft_model_checkpoint_dir" arg:"0" help:"model that guesses: a small one with the same tokenizer"`
	TargetDir    string `yaml:"target_model_checkpoint_dir" arg:"1" help:"model or adapter directory"`
	SpeculativeK int    `yaml:"speculative_k" help:"tokens that are guessed at a time, at most"`
	Generation   `yaml:",inline"`
}

// NewGenerateSpeculatively returns the defaults.
func NewGenerateSpeculatively() GenerateSpeculatively {
	return GenerateSpeculatively{SpeculativeK: 3, Generation: newGeneration()}
}

// Run generates; text goes to stdout.
func (c GenerateSpeculatively) Run(ctx context.Context, stdout io.Writer, log *slog.Logger) error {
	if c.SpeculativeK < 1 || c.SpeculativeK > maxGuesses {
		return usage([]string{fmt.Sprintf("--speculative_k is %d; 1 to %d tokens wanted", c.SpeculativeK, maxGuesses)})
	}
	if c.Lookup > 0 {
		return usage([]string{"--lookup guesses without a model, of which one is given; leave it out"})
	}
	ids, err := c.check()
	if err != nil {
		return err
	}
	t, err := newTalker(c.TargetDir, c.PromptStyle, c.Inference)
	if err != nil {
		return err
	}
	defer t.close()
	if t.draft, err = open(c.DraftDir); err != nil {
		return err
	}
	t.draft.requantize(t.quant)
	if err := c.same(t); err != nil {
		return err
	}
	t.options.Draft = &generate.Draft{Tokens: c.SpeculativeK}
	return c.run(ctx, t, ids, stdout, log)
}

// same is an error when the two models' ids do not mean the same.
func (c GenerateSpeculatively) same(t *talker) error {
	if a, b := t.draft.Dims().Vocab, t.Dims().Vocab; a != b {
		return fmt.Errorf("the draft model %s has a vocabulary of %d tokens, %s one of %d; models with the same tokenizer are wanted", c.DraftDir, a, c.TargetDir, b)
	}
	tok, err := t.draft.tokenizer()
	if err != nil {
		return err
	}
	n := int32(t.Dims().Vocab)
	for id := range n {
		if a, b := tok.Decode([]int32{id}, false), t.tok.Decode([]int32{id}, false); a != b {
			return fmt.Errorf("token %d is %.40q for the draft model %s and %.40q for %s; models with the same tokenizer are wanted", id, a, c.DraftDir, b, c.TargetDir)
		}
	}
	return nil
}
