package recipes

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/generate"
	"github.com/litgpt-go/litgpt/internal/kvcache"
	"github.com/litgpt-go/litgpt/internal/sample"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/lora"
	"github.com/litgpt-go/litgpt/tokenizer"
)

// maxGuesses bounds what is guessed ahead: each guess is one more row of a pass, right or not.
const maxGuesses = 16

// talker is a model with its tokenizer, ready to generate once it is loaded.
type talker struct {
	*loaded
	matrix checkpoint.Type
	cache  string // the setting kv_cache
	dev    *tensor.Device
	tok    *tokenizer.Tokenizer
	styleChoice
	engine *generate.Engine

	options generate.Options // of the engine, before load; that of the cache follows from the setting
	draft   *loaded          // the model that guesses ahead, opened; nil without
}

// newTalker opens a checkpoint for generation, without its weights.
func newTalker(dir, style string, c Inference) (t *talker, err error) {
	if err := checkInference(c.Precision); err != nil {
		return nil, err
	}
	if c.Lookup < 0 || c.Lookup > maxGuesses {
		return nil, usage([]string{fmt.Sprintf("--lookup is %d; 0 to %d tokens wanted", c.Lookup, maxGuesses)})
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
	t = &talker{loaded: l, cache: c.KVCache, options: generate.Options{Lookup: c.Lookup}}
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
	o := t.options
	o.Cache = cacheType(t.cache, t.dtype)
	if t.draft != nil {
		if err := t.draft.load(t.dev, t.matrix, false); err != nil {
			return err
		}
		o.Draft.Model = t.draft.Model
	}
	t.engine = generate.New(t.dev, t.Model, o)
	t.describe(log, t.dev, "prompt_style", t.style.Name(), "style_from", t.why, "kv_cache", o.Cache.String(), "load_ms", time.Since(start).Milliseconds())
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
	if t.draft != nil {
		t.draft.close()
	}
	if t.dev != nil {
		t.dev.Close()
	}
}

// answer generates from ids until a stop sequence or max tokens. emit gets the ids
// that are part of the answer, as soon as that is certain. cached is how many of ids were not read again.
func (t *talker) answer(ctx context.Context, ids []int32, max int, sampling sample.Config, emit func([]int32) error) (cached int, reason string, err error) {
	stops := sample.NewStops(t.style.StopTokens(t.tok))
	for token, err := range t.engine.Generate(ctx, generate.Request{Prompt: ids, MaxTokens: max, Sampling: sampling}) {
		if err != nil {
			return cached, "", err
		}
		cached += token.Cached // the first has it
		sure, done := stops.Push(token.ID)
		if err := emit(sure); err != nil {
			return cached, "", err
		}
		if done {
			return cached, "stop", nil
		}
	}
	return cached, "length", emit(stops.Flush())
}

// addAdapter hangs the LoRA adapter of dir on the model, for requests that ask for it by name.
func (t *talker) addAdapter(name, dir string) error {
	return t.engine.AddAdapter(name, func() (generate.Layers, error) { return lora.LoadSet(t.dev, t.Model, dir) })
}
