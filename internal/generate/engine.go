// Package generate continues sequences of tokens, one at a time, through a KV cache.
package generate

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/litgpt-go/litgpt/internal/kvcache"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/sample"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/models"
)

// Engine generates from one model, one sequence at a time. It keeps the cache of
// the last request and reads again only what differs, so a growing conversation is
// read once.
type Engine struct {
	mu    sync.Mutex
	model models.Model
	dev   *tensor.Device
	dtype tensor.DType // of the cache

	cache  *kvcache.Cache
	tokens []int32 // whose keys and values are in the cache
	length int     // of the sequence that they were read as the beginning of
	decode *pass   // for one token
	whole  *pass   // for a whole chunk, while a prompt is read

	// What the last pass left. The host need not see the logits (V) of a device with
	// memory of its own where the sampler is content with the k largest.
	k      int       // candidates, 0 for all logits
	scores []float32 // logits (V), or the candidates' (k) and then their ids (k)
	ids    []int32   // (k)
	narrow bool      // candidates are chosen on every device: for tests
}

// chunk is how many tokens of a prompt run at once: enough for full speed of the
// products, few enough for Ctrl-C and memory.
const chunk = 256

// New returns an engine for m on dev, with a cache of F32, F16 or BF16 (half the
// memory; what other programs use) or Q8_0 (a quarter; see [kvcache.Check]).
func New(dev *tensor.Device, m models.Model, cache tensor.DType) *Engine {
	return &Engine{model: m, dev: dev, dtype: cache}
}

// Close releases the cache and the compiled graphs.
func (e *Engine) Close() {
	if e.decode != nil {
		e.decode.p.Close()
	}
	if e.cache != nil {
		e.cache.Close()
	}
	e.decode, e.cache, e.tokens = nil, nil, nil
}

// ContextError reports a request that does not fit the model's context.
type ContextError struct{ Prompt, New, Context int }

func (e *ContextError) Error() string {
	return fmt.Sprintf("a prompt of %d tokens and %d new ones exceed the model's context of %d", e.Prompt, e.New, e.Context)
}

// Advice says what to do about it.
func (e *ContextError) Advice() string {
	if e.Prompt < e.Context {
		return fmt.Sprintf("ask for at most %d new tokens, or shorten the prompt", e.Context-e.Prompt)
	}
	return "shorten the prompt"
}

// Generate yields the continuation of a prompt as it is made. It ends after
// MaxTokens, when the consumer breaks off, or with an error: also that of ctx when
// it is cancelled.
func (e *Engine) Generate(ctx context.Context, req Request) iter.Seq2[Token, error] {
	return func(yield func(Token, error) bool) {
		e.mu.Lock()
		defer e.mu.Unlock()
		if req.MaxTokens == 0 {
			req.MaxTokens = e.model.Dims().Context - len(req.Prompt)
		}
		if req.sampler == nil {
			req.sampler = sample.New(req.Sampling)
		}
		if err := e.start(ctx, req); err != nil {
			yield(Token{}, err)
			return
		}
		for i := range req.MaxTokens {
			if err := ctx.Err(); err != nil {
				yield(Token{}, err)
				return
			}
			id, err := e.choose(req.sampler)
			if err != nil {
				yield(Token{}, err)
				return
			}
			if !yield(Token{ID: id}, nil) || slices.Contains(req.End, id) {
				return
			}
			if i+1 == req.MaxTokens {
				return
			}
			if err := e.follow(ctx, id); err != nil {
				yield(Token{}, err)
				return
			}
		}
	}
}

// want sets how many candidates the passes leave, by what the sampler needs.
func (e *Engine) want(s Sampler) {
	v := e.model.Dims().Vocab
	k := min(s.Need(), v)
	if k > tensor.MaxTopK || !e.dev.Async() && !e.narrow {
		k = 0
	}
	if k != e.k && e.decode != nil {
		e.decode.p.Close()
		e.decode = nil
	}
	n := 2 * k
	if k == 0 {
		n = v
	}
	e.k, e.scores, e.ids = k, slices.Grow(e.scores[:0], n)[:n], slices.Grow(e.ids[:0], k)[:k]
}

// choose gives the id that follows the last pass.
func (e *Engine) choose(s Sampler) (int32, error) {
	if e.k == 0 {
		return s.Sample(e.scores)
	}
	for i, id := range e.scores[e.k:] {
		e.ids[i] = int32(id)
	}
	return s.Pick(e.scores[:e.k], e.ids)
}

// start reads the prompt, as far as the cache does not hold it.
func (e *Engine) start(ctx context.Context, req Request) error {
	d := e.model.Dims()
	n := len(req.Prompt) + req.MaxTokens
	if len(req.Prompt) == 0 {
		return fmt.Errorf("the prompt has no tokens")
	}
	if n > d.Context {
		return &ContextError{len(req.Prompt), req.MaxTokens, d.Context}
	}
	if e.cache == nil || e.cache.Size < n {
		size := n
		if e.cache != nil { // a growing conversation: do not begin anew each time
			size = min(d.Context, max(n, 2*e.cache.Size))
		}
		e.Close()
		var err error
		if e.cache, err = kvcache.New(e.dev, e.dtype, d.Layers, d.KVHeads, size, d.HeadDim); err != nil {
			e.cache = nil
			return err
		}
	}
	e.want(req.sampler)
	same := 0
	for same < min(len(req.Prompt)-1, len(e.tokens)) && req.Prompt[same] == e.tokens[same] {
		same++
	}
	if e.outgrows(e.length, len(req.Prompt)) || e.outgrows(len(req.Prompt), e.length) {
		same = 0
	}
	e.tokens, e.cache.Len = e.tokens[:same], same
	return e.read(ctx, req.Prompt, req.Progress)
}

// read runs what follows the cache's tokens in a sequence, a chunk at a time.
func (e *Engine) read(ctx context.Context, tokens []int32, progress func(done, total int)) error {
	defer func() {
		if e.whole != nil {
			e.whole.p.Close()
			e.whole = nil
		}
	}()
	for part := range slices.Chunk(tokens[e.cache.Len:], chunk) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := e.step(part, len(tokens)); err != nil {
			return err
		}
		if progress != nil {
			progress(len(e.tokens), len(tokens))
		}
	}
	return nil
}

// outgrows reports whether a sequence that grows from one length to another is
// rotated otherwise from then on ([models.Dims.Original]).
func (e *Engine) outgrows(from, to int) bool {
	original := e.model.Dims().Original
	return original > 0 && from <= original && to > original
}

// follow runs the token that was chosen last. The one with which the sequence
// outgrows its rotation makes the cache void: all is read again, as by a prompt.
func (e *Engine) follow(ctx context.Context, id int32) error {
	n := len(e.tokens)
	if !e.outgrows(n, n+1) {
		return e.step([]int32{id}, n+1)
	}
	tokens := append(slices.Clone(e.tokens), id)
	e.tokens, e.cache.Len = e.tokens[:0], 0
	return e.read(ctx, tokens, nil)
}

// pass is a compiled graph for a number of tokens.
type pass struct {
	p      *tensor.Program
	batch  *nn.Batch
	last   *tensor.Tensor // index of the token whose scores are wanted
	scores *tensor.Tensor // (1, V), or (1, 2, k) of the candidates
}

func (e *Engine) compile(n int) (s *pass, err error) {
	defer tensor.Catch(&err)
	g := tensor.NewGraph()
	s = &pass{batch: nn.NewCachedBatch(g, n, e.cache)}
	h := e.model.Forward(s.batch) // (N, C)
	if n > 1 {
		s.last = g.Ints(1).SetInts([]int32{int32(n - 1)})
		h = h.Rows(s.last)
	}
	s.scores = e.model.Logits(h)
	if e.k > 0 {
		s.scores = s.scores.TopK(e.k)
	}
	s.p, err = g.Compile(e.dev, s.scores)
	return s, err
}

// step runs tokens after those in the cache, a piece of a sequence of length tokens,
// and leaves the scores of the last in e.scores.
func (e *Engine) step(tokens []int32, length int) (err error) {
	var kept **pass // graphs of these sizes serve again
	switch len(tokens) {
	case 1:
		kept = &e.decode
	case chunk:
		kept = &e.whole
	}
	var s *pass
	if kept != nil && *kept != nil {
		s = *kept
	} else if s, err = e.compile(len(tokens)); err != nil {
		return err
	} else if kept != nil {
		*kept = s
	} else {
		defer s.p.Close()
	}
	e.length, s.batch.Length = length, length
	s.batch.Set(tokens, e.cache.Len)
	if err := s.p.Run(); err != nil {
		return err
	}
	s.scores.Read(e.scores)
	if err := e.dev.Wait(); err != nil { // also what went wrong in reading
		return err
	}
	e.cache.Len += len(tokens)
	e.tokens = append(e.tokens, tokens...)
	return nil
}
