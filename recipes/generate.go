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

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/generate"
	"github.com/litgpt-go/litgpt/internal/kvcache"
	"github.com/litgpt-go/litgpt/internal/sample"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/tokenizer"
)

// Sampling are the settings of how the next token is chosen.
type Sampling struct {
	MaxNewTokens int     `yaml:"max_new_tokens" help:"tokens to generate at most"`
	TopK         int     `yaml:"top_k" help:"choose among this many of the likeliest tokens; 0 for all"`
	TopP         float64 `yaml:"top_p" help:"choose among the likeliest tokens that together have this probability; 0 takes the likeliest"`
	Temperature  float64 `yaml:"temperature" help:"below 1 sharper, above 1 flatter; 0 takes the likeliest token"`
	Seed         int64   `yaml:"seed" help:"seed of the choices"`
}

func newSampling() Sampling {
	return Sampling{MaxNewTokens: 50, TopK: 50, TopP: 1, Temperature: 0.8, Seed: 1234}
}

func (s Sampling) config(i int) sample.Config {
	return sample.Config{Temperature: s.Temperature, TopK: s.TopK, TopP: s.TopP, Seed: uint64(s.Seed) + uint64(i)}
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
	Spread    `yaml:",inline"`
}

func newInference() Inference { return Inference{Spread: newSpread()} }

// Generate continues a prompt: "litgpt generate".
type Generate struct {
	CheckpointDir string `yaml:"checkpoint_dir" arg:"0" help:"model or adapter directory"`
	Prompt        string `yaml:"prompt" help:"what the model is asked; it is written in the model's prompt style"`
	SysPrompt     string `yaml:"sys_prompt" help:"system prompt, for styles that have one"`
	PromptStyle   string `yaml:"prompt_style" help:"style to write the prompt in; default is the model's own: its finetuning's, else its chat template, else LitGPT's for its name"`
	TokenIDs      string `yaml:"token_ids" help:"prompt as token ids, e.g. [1,2,3], taken as it is"`
	JSON          bool   `yaml:"json" help:"print a JSON line per sample with prompt_ids, ids, text and finish_reason"`
	NumSamples    int    `yaml:"num_samples" help:"continuations to generate"`
	Sampling      `yaml:",inline"`
	Inference     `yaml:",inline"`
	Planned       `yaml:",inline"`
}

// NewGenerate returns the defaults.
func NewGenerate() Generate {
	return Generate{Prompt: "What food do llamas eat?", NumSamples: 1, Sampling: newSampling(), Inference: newInference()}
}

// NewGenerateSequentially is "litgpt generate_sequentially": generate with the layers on all GPUs.
func NewGenerateSequentially() Generate {
	c := NewGenerate()
	c.Devices = "auto"
	return c
}

// talker is a model with its tokenizer, ready to generate once it is loaded.
type talker struct {
	*loaded
	matrix checkpoint.Type
	cache  string // the setting kv_cache
	dev    *tensor.Device
	tok    *tokenizer.Tokenizer
	styleChoice
	engine *generate.Engine
}

// newTalker opens a checkpoint for generation, without its weights.
func newTalker(dir, style string, c Inference) (t *talker, err error) {
	if err := checkInference(c.Precision); err != nil {
		return nil, err
	}
	dtype, named := kvcache.Types[c.KVCache]
	if c.KVCache != "" && !named {
		return nil, usage([]string{fmt.Sprintf("--kv_cache is %q; f32, f16, bf16 or q8_0 wanted", c.KVCache)})
	}
	q, err := parseQuantization(c.Quantize)
	if err != nil {
		return nil, err
	}
	l, err := open(dir)
	if err != nil {
		return nil, err
	}
	l.requantize(q)
	t = &talker{loaded: l, cache: c.KVCache}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	if err := kvcache.Check(dtype, l.Dims().HeadDim); err != nil {
		return t, usage([]string{fmt.Sprintf("--kv_cache %s: %v", c.KVCache, err)})
	}
	if t.tok, err = l.tokenizer(); err != nil {
		return t, err
	}
	if t.styleChoice, err = l.chooseStyle(t.tok, style); err != nil {
		return t, err
	}
	if t.dev, err = c.Spread.open(l.Dims().Layers); err != nil {
		return t, err
	}
	if c.Precision != "" {
		t.matrix = precisions[c.Precision].matrix
	}
	return t, nil
}

// load loads the weights.
func (t *talker) load(log *slog.Logger) error {
	start := time.Now()
	t.warn(log)
	if err := t.loaded.load(t.dev, t.matrix, false); err != nil {
		return err
	}
	cache := cacheType(t.cache, t.dtype)
	t.engine = generate.New(t.dev, t.Model, generate.Options{Cache: cache})
	t.describe(log, t.dev, "prompt_style", t.style.Name(), "style_from", t.why, "kv_cache", cache.String(), "load_ms", time.Since(start).Milliseconds())
	return nil
}

// cacheType is that of the KV cache: the one asked for, else half precision, which is enough where the weights have no more.
func cacheType(asked string, weights tensor.DType) tensor.DType {
	if t, ok := kvcache.Types[asked]; ok {
		return t
	}
	if weights == tensor.F32 {
		return tensor.F32
	}
	return tensor.F16
}

func (t *talker) close() {
	if t.engine != nil {
		t.engine.Close()
	}
	t.loaded.close()
	if t.dev != nil {
		t.dev.Close()
	}
}

// answer generates from ids until a stop sequence or max tokens. emit gets the ids
// that are part of the answer, as soon as that is certain.
func (t *talker) answer(ctx context.Context, ids []int32, max int, sampling sample.Config, emit func([]int32) error) (reason string, err error) {
	stops := sample.NewStops(t.style.StopTokens(t.tok))
	for token, err := range t.engine.Generate(ctx, generate.Request{Prompt: ids, MaxTokens: max, Sampling: sampling}) {
		if err != nil {
			return "", err
		}
		sure, done := stops.Push(token.ID)
		if err := emit(sure); err != nil {
			return "", err
		}
		if done {
			return "stop", nil
		}
	}
	return "length", emit(stops.Flush())
}

// Run generates; text goes to stdout.
func (c Generate) Run(ctx context.Context, stdout io.Writer, log *slog.Logger) error {
	if err := c.Sampling.check(); err != nil {
		return err
	}
	if c.NumSamples <= 0 {
		return usage([]string{fmt.Sprintf("--num_samples is %d; a positive number wanted", c.NumSamples)})
	}
	if !utf8.ValidString(c.Prompt) || !utf8.ValidString(c.SysPrompt) {
		return usage([]string{"--prompt is not UTF-8, or --sys_prompt is not"})
	}
	var ids []int32
	if c.TokenIDs != "" {
		if err := json.Unmarshal([]byte(c.TokenIDs), &ids); err != nil || len(ids) == 0 {
			return usage([]string{fmt.Sprintf("--token_ids is %.60q; a list like [1,2,3] wanted", c.TokenIDs)})
		}
	}
	t, err := newTalker(c.CheckpointDir, c.PromptStyle, c.Inference)
	if err != nil {
		return err
	}
	defer t.close()
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
	if err := t.load(log); err != nil {
		return err
	}
	for i := range c.NumSamples {
		start := time.Now()
		sampling := c.Sampling.config(i)
		stream := t.tok.Stream(true)
		var out []int32
		var text strings.Builder
		reason, err := t.answer(ctx, ids, c.MaxNewTokens, sampling, func(sure []int32) error {
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
		log.Info("generated", "sample", i+1, "prompt_tokens", len(ids), "tokens", len(out), "seconds", round(took.Seconds()), "tok/s", round(float64(len(out))/took.Seconds()), "finish_reason", reason)
	}
	return nil
}

func checkIDs(ids []int32, vocab int) error {
	for i, id := range ids {
		if id < 0 || int(id) >= vocab {
			return usage([]string{fmt.Sprintf("token id %d at place %d is out of range; the model has %d", id, i, vocab)})
		}
	}
	return nil
}
