package recipes

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/litgpt-go/litgpt/internal/generate"
	"github.com/litgpt-go/litgpt/internal/sample"
)

// Sampling are the settings of how the next token is chosen.
type Sampling struct {
	MaxNewTokens int     `yaml:"max_new_tokens" help:"tokens to generate at most"`
	TopK         int     `yaml:"top_k" help:"choose among this many of the likeliest tokens; 0 for all"`
	TopP         float64 `yaml:"top_p" help:"choose among the likeliest tokens that together have this probability; 0 takes the likeliest"`
	Temperature  float64 `yaml:"temperature" help:"below 1 sharper, above 1 flatter; 0 takes the likeliest token"`
	Seed         int64   `yaml:"seed" help:"seed of the choices"`

	MinP              float64 `yaml:"min_p" help:"choose among tokens of at least this part of the likeliest one's probability; 0 for all"`
	RepetitionPenalty float64 `yaml:"repetition_penalty" help:"above 1 makes tokens of the prompt and the answer less likely; 1 for none"`
	PresencePenalty   float64 `yaml:"presence_penalty" help:"above 0 makes tokens of the answer less likely, once; from -2 to 2"`
	FrequencyPenalty  float64 `yaml:"frequency_penalty" help:"above 0 makes tokens of the answer less likely, each time; from -2 to 2"`
}

func newSampling() Sampling {
	return Sampling{MaxNewTokens: 50, TopK: 50, TopP: 1, Temperature: 0.8, Seed: 1234, RepetitionPenalty: 1}
}

func (s Sampling) config(i int) sample.Config {
	return sample.Config{
		Temperature: s.Temperature, TopK: s.TopK, TopP: s.TopP, MinP: s.MinP, Seed: uint64(s.Seed) + uint64(i),
		RepetitionPenalty: s.RepetitionPenalty, PresencePenalty: s.PresencePenalty, FrequencyPenalty: s.FrequencyPenalty,
	}
}

func (s Sampling) check() error {
	var bad []string
	if s.MaxNewTokens <= 0 {
		bad = append(bad, fmt.Sprintf("--max_new_tokens is %d; a positive number wanted", s.MaxNewTokens))
	}
	if err := s.config(0).Check(); err != nil {
		bad = append(bad, err.Error())
	}
	return usage(bad)
}

// Inference is how a model is held for generation.
type Inference struct {
	Precision string `yaml:"precision" help:"32-true, bf16-true or 16-true; default the checkpoint's own type"`
	Quantize  string `yaml:"quantize" help:"quantize the layers while loading: bnb.nf4, bnb.fp4 (both IQ4_NL), bnb.int8 (Q8_0), or a type of GGML"`
	KVCache   string `yaml:"kv_cache" help:"what keys and values are kept in: f32, f16, bf16 or q8_0; default f16, or f32 for weights in float32"`
	Lookup    int    `yaml:"lookup" help:"guess this many tokens ahead from what the text said before; the tokens stay the same"`
	Spread    `yaml:",inline"`
}

func newInference() Inference { return Inference{Spread: newSpread()} }

// Generate continues a prompt: "litgpt generate".
type Generate struct {
	CheckpointDir string `yaml:"checkpoint_dir" arg:"0" help:"model directory, FILE.gguf, or adapter directory"`
	Generation    `yaml:",inline"`
}

// Generation is what is generated.
type Generation struct {
	Prompt      string `yaml:"prompt" help:"what the model is asked; it is written in the model's prompt style"`
	SysPrompt   string `yaml:"sys_prompt" help:"system prompt, for styles that have one"`
	PromptStyle string `yaml:"prompt_style" help:"style to write the prompt in; default is the model's own: its finetuning's, else its chat template, else LitGPT's for its name"`
	TokenIDs    string `yaml:"token_ids" help:"prompt as token ids, e.g. [1,2,3], taken as it is"`
	JSON        bool   `yaml:"json" help:"print a JSON line per sample with prompt_ids, ids, text and finish_reason"`
	NumSamples  int    `yaml:"num_samples" help:"continuations to generate"`
	Sampling    `yaml:",inline"`
	Inference   `yaml:",inline"`
	Planned     `yaml:",inline"`
}

// NewGenerate returns the defaults.
func NewGenerate() Generate {
	return Generate{Generation: newGeneration()}
}

func newGeneration() Generation {
	return Generation{Prompt: "What food do llamas eat?", NumSamples: 1, Sampling: newSampling(), Inference: newInference()}
}

// NewGenerateSequentially is "litgpt generate_sequentially": generate with the layers on all GPUs.
func NewGenerateSequentially() Generate {
	c := NewGenerate()
	c.Devices = "auto"
	return c
}

// Run generates; text goes to stdout.
func (c Generate) Run(ctx context.Context, stdout io.Writer, log *slog.Logger) error {
	ids, err := c.check()
	if err != nil {
		return err
	}
	t, err := newTalker(c.CheckpointDir, c.PromptStyle, c.Inference)
	if err != nil {
		return err
	}
	defer t.close()
	return c.run(ctx, t, ids, stdout, log)
}

// check reports settings that have no meaning, and gives the ids of --token_ids, nil without it.
func (c Generation) check() (ids []int32, err error) {
	if err := c.Sampling.check(); err != nil {
		return nil, err
	}
	if c.NumSamples <= 0 {
		return nil, usage([]string{fmt.Sprintf("--num_samples is %d; a positive number wanted", c.NumSamples)})
	}
	if !utf8.ValidString(c.Prompt) || !utf8.ValidString(c.SysPrompt) {
		return nil, usage([]string{"--prompt is not UTF-8, or --sys_prompt is not"})
	}
	if c.TokenIDs != "" {
		if err := json.Unmarshal([]byte(c.TokenIDs), &ids); err != nil || len(ids) == 0 {
			return nil, usage([]string{fmt.Sprintf("--token_ids is %.60q; a list like [1,2,3] wanted", c.TokenIDs)})
		}
	}
	return ids, nil
}

// run generates with an opened model; ids are those of --token_ids.
func (c Generation) run(ctx context.Context, t *talker, ids []int32, stdout io.Writer, log *slog.Logger) (err error) {
	if ids == nil {
		if ids, err = t.style.Prompt(t.tok, c.Prompt, "", c.SysPrompt); err != nil {
			return err
		}
	} else if err := checkIDs(ids, t.Dims().Vocab); err != nil {
		return err
	}
	if done, err := t.plan(c.Planned, stdout, len(ids), c.MaxNewTokens); done || err != nil {
		return err
	}
	t.options.Positions = len(ids) + c.MaxNewTokens // for one sample after the other
	if err := t.load(log); err != nil {
		return err
	}
	for i := range c.NumSamples {
		if err := c.sample(ctx, t, ids, i, stdout, log); err != nil {
			return err
		}
	}
	return nil
}

// sample generates continuation i.
func (c Generation) sample(ctx context.Context, t *talker, ids []int32, i int, stdout io.Writer, log *slog.Logger) error {
	start, before := time.Now(), t.engine.Stats()
	stream := t.tok.Stream(true)
	var out []int32
	var text strings.Builder
	_, reason, err := t.answer(ctx, ids, c.MaxNewTokens, c.Sampling.config(i), func(sure []int32) error {
		out = append(out, sure...)
		for _, id := range sure {
			piece := stream.Next(id)
			text.WriteString(piece)
			if !c.JSON {
				if _, err := io.WriteString(stdout, piece); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	rest := stream.Flush()
	text.WriteString(rest)
	if c.JSON {
		if out == nil {
			out = []int32{}
		}
		if err := json.NewEncoder(stdout).Encode(map[string]any{"prompt_ids": ids, "ids": out, "text": text.String(), "finish_reason": reason}); err != nil {
			return err
		}
	} else if _, err := io.WriteString(stdout, rest+"\n"); err != nil {
		return err
	}
	took := time.Since(start)
	said := []any{"sample", i + 1, "prompt_tokens", len(ids), "tokens", len(out), "seconds", round(took.Seconds()), "tok/s", round(float64(len(out)) / took.Seconds()), "finish_reason", reason}
	log.Info("generated", append(said, acceptance(before, t.engine.Stats())...)...)
	return nil
}

// acceptance says how much of what was guessed ahead was right.
func acceptance(before, after generate.Stats) []any {
	guessed, right := after.Drafted-before.Drafted, after.Accepted-before.Accepted
	if guessed == 0 {
		return nil
	}
	return []any{"guessed", guessed, "acceptance", round(float64(right) / float64(guessed))}
}

func checkIDs(ids []int32, vocab int) error {
	for i, id := range ids {
		if id < 0 || int(id) >= vocab {
			return usage([]string{fmt.Sprintf("token id %d at place %d is out of range; the model has %d", id, i, vocab)})
		}
	}
	return nil
}
