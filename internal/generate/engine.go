// Package generate continues sequences of tokens, many at once, through a paged KV cache.
//
// An [Engine] runs passes: each is one run of the model over tokens of several sequences, one
// token of those that are being continued, and a piece of the prompts that are being
// read, so that a long prompt does not stop the others. schedule.go decides what a pass
// has, program.go computes it, choose.go makes tokens of it, speculate.go guesses
// ahead. Start with [Engine.Generate].
//
// N tokens of a pass, R sequences, V vocabulary.
package generate

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/litgpt-go/litgpt/internal/kvcache"
	"github.com/litgpt-go/litgpt/internal/sample"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/models"
)

// Options are the choices in making an engine. The zero value is one sequence at a time with a cache in F32.
type Options struct {
	Cache         tensor.DType // of keys and values: F32, F16 or BF16 (half the memory; what other programs use) or Q8_0 (a quarter; see [kvcache.Check])
	Positions     int          // room for keys and values, of all sequences together; 0 for one context
	Sequences     int          // at most at once; 0 is 1. The cache of 1 grows as needed, that of more is allocated with the first request
	Queue         int          // requests that may wait for others to end; 0 for any number
	Chunk         int          // tokens of a pass; 0 is 256
	Share         int          // of those, from prompts, where the pass makes a token for somebody; 0 is about 64 on a CPU, and any number on a GPU
	Deterministic bool         // a request's tokens do not depend on what runs beside it, nor on what is cached; slower
	Lookup        int          // tokens guessed ahead from what the text said before; 0 for none
	Draft         *Draft       // a model that guesses ahead; nil for none
}

// Draft is a small model with the vocabulary of the large one.
type Draft struct {
	Model  models.Model
	Tokens int // guessed ahead
}

// chunk is how many tokens run at once: enough for full speed of the products, few
// enough for Ctrl-C and memory. share is how many of prompts run where somebody waits for the end of the pass: so many
// that another costs what it costs in a larger pass, on a CPU.
const (
	chunk = 256
	share = 64
)

// Engine generates from one model. Generate and the other methods may be called by many
// goroutines at once. It computes in a goroutine of its own, which there is only while there is something to
// do; then the device and the model are the engine's.
type Engine struct {
	o      Options
	model  models.Model
	run    runner
	draft  *drafter // nil without a draft model
	limit  int      // positions of one sequence
	vocab  int
	middle int // models.Dims.Original

	device sync.Mutex // held while the device or the model's layers are used

	mu       sync.Mutex // guards the following
	arrivals []*sequence
	active   bool // the scheduler runs
	closed   bool
	stopped  chan struct{} // closed when the scheduler has ended
	pending  int           // arrivals and waiting
	number   int64
	stats    Stats
	adapters map[string]*adapter
	base     *adapter
	roots    int64 // of the cache, so far

	// The scheduler's own.
	waiting  []*sequence // in the order of their arrival
	running  []*sequence // the same
	last     group       // whose turn it was
	choosers []chooser
	pass     pass
}

// New returns an engine for m on dev. It takes memory with the first request.
func New(dev *tensor.Device, m models.Model, o Options) *Engine {
	d := m.Dims()
	if o.Share <= 0 && !dev.Async() {
		o.Share = share
	}
	o = o.defaults(d)
	e := newEngine(newModelRunner(dev, m, o), d, o)
	e.model = m
	if o.Draft != nil {
		e.draft = newDrafter(dev, o)
	}
	return e
}

func (o Options) defaults(d models.Dims) Options {
	if o.Sequences <= 0 {
		o.Sequences = 1
	}
	if o.Chunk <= 0 {
		o.Chunk = chunk
	}
	if o.Share <= 0 || o.Share > o.Chunk {
		o.Share = o.Chunk
	}
	if o.Positions <= 0 {
		o.Positions = d.Context
	}
	return o
}

func newEngine(run runner, d models.Dims, o Options) *Engine {
	e := &Engine{o: o, run: run, limit: min(d.Context, o.Positions), vocab: d.Vocab, middle: d.Original, adapters: map[string]*adapter{}}
	e.base = e.newAdapter(nil)
	e.stats.Pages = kvcache.Cover(o.Positions)
	return e
}

// Close ends all requests and releases the cache and the compiled graphs.
func (e *Engine) Close() {
	e.mu.Lock()
	e.closed = true
	stopped := e.stopped
	e.mu.Unlock()
	if stopped != nil {
		<-stopped
	}
	e.device.Lock()
	defer e.device.Unlock()
	e.run.close()
	if e.draft != nil {
		e.draft.run.close()
	}
	for _, a := range e.adapters {
		if a.layers != nil {
			a.layers.Free()
		}
	}
	e.adapters = nil
}

// Stats gives the present counts.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stats
}

// ContextError reports a request that does not fit the model's context, or the cache where that is smaller.
type ContextError struct {
	Prompt, New, Context int
	Cache                bool // Context is the room of the cache
}

func (e *ContextError) Error() string {
	what := "the model's context"
	if e.Cache {
		what = "the KV cache"
	}
	return fmt.Sprintf("a prompt of %d tokens and %d new ones exceed %s of %d", e.Prompt, e.New, what, e.Context)
}

// Advice says what to do about it.
func (e *ContextError) Advice() string {
	if e.Prompt < e.Context {
		return fmt.Sprintf("ask for at most %d new tokens, or shorten the prompt", e.Context-e.Prompt)
	}
	return "shorten the prompt"
}

// Errors of requests that were not begun.
var (
	ErrFull   = errors.New("too many requests are waiting; try again later")
	ErrClosed = errors.New("the engine is closed")
)

// AdapterError reports a request for an adapter that there is not.
type AdapterError struct{ Name string }

func (e *AdapterError) Error() string { return fmt.Sprintf("there is no adapter %q", e.Name) }

// Generate yields the continuation of a prompt as it is made. It ends after
// MaxTokens, with the context, when the consumer breaks off, or with an error: also that of ctx when
// it is cancelled. Nothing of the request is computed any more when it has returned.
func (e *Engine) Generate(ctx context.Context, req Request) iter.Seq2[Token, error] {
	return func(yield func(Token, error) bool) {
		s, err := e.submit(req, false)
		if err != nil {
			yield(Token{}, err)
			return
		}
		defer s.leave()
		for read := 0; ; {
			tokens, progress, ended, err := s.receive(ctx)
			if req.Progress != nil && progress > read {
				read = progress
				req.Progress(read, len(req.Prompt))
			}
			for _, t := range tokens {
				if err := ctx.Err(); err != nil {
					yield(Token{}, err)
					return
				}
				if !yield(t, nil) {
					return
				}
			}
			if err != nil {
				yield(Token{}, err)
			}
			if err != nil || ended {
				return
			}
		}
	}
}

// Embed gives the mean over the positions of a text of the final hidden states (C) of the model
// with an adapter, "" for none; its length is 1.
func (e *Engine) Embed(ctx context.Context, adapter string, ids []int32) ([]float32, error) {
	s, err := e.submit(Request{Prompt: ids, Adapter: adapter}, true)
	if err != nil {
		return nil, err
	}
	defer s.leave()
	for {
		_, _, ended, err := s.receive(ctx)
		if err != nil {
			return nil, err
		}
		if ended {
			return normalized(s.sum), nil
		}
	}
}

// submit checks a request and gives it to the scheduler.
func (e *Engine) submit(req Request, embed bool) (*sequence, error) {
	if len(req.Prompt) == 0 {
		return nil, fmt.Errorf("the prompt has no tokens")
	}
	if err := e.fits(len(req.Prompt), req.MaxTokens, embed); err != nil {
		return nil, err
	}
	for i, id := range req.Prompt {
		if id < 0 || int(id) >= e.vocab {
			return nil, fmt.Errorf("token id %d at place %d is out of range; the model has %d", id, i, e.vocab)
		}
	}
	s := newSequence(e, req, embed)
	e.mu.Lock()
	defer e.mu.Unlock()
	switch a := e.adapters[req.Adapter]; {
	case e.closed:
		return nil, ErrClosed
	case req.Adapter == "":
		s.adapter = e.base
	case a == nil || a.leaving != nil:
		return nil, &AdapterError{req.Adapter}
	default:
		s.adapter = a
	}
	if e.o.Queue > 0 && e.pending >= e.o.Queue && e.stats.Running+e.pending >= e.o.Sequences {
		return nil, ErrFull
	}
	s.adapter.users++
	e.number++
	s.number = e.number
	e.pending++
	e.stats.Waiting++
	e.arrivals = append(e.arrivals, s)
	if !e.active {
		e.active, e.stopped = true, make(chan struct{})
		go e.schedule(e.stopped)
	}
	return s, nil
}

// fits is an error for a request that could not end even alone.
func (e *Engine) fits(prompt, tokens int, embed bool) error {
	n := prompt + max(1, tokens)
	if embed {
		n = prompt
	}
	if n > e.limit {
		return &ContextError{prompt, max(1, tokens), e.limit, e.limit < e.contextOf()}
	}
	return nil
}

func (e *Engine) contextOf() int {
	if e.model == nil {
		return e.limit
	}
	return e.model.Dims().Context
}

// sequence is a request with its state.
type sequence struct {
	e       *Engine
	req     Request
	number  int64 // in the order of arrival
	adapter *adapter
	embed   bool

	// The scheduler's.
	sampler   Sampler
	tokens    []int32 // the prompt and what was chosen
	end       int     // length at which it ends
	kv        *kvcache.Sequence
	begun     bool    // it was admitted before
	read      int     // positions read so far, for it or before for others; no fewer after a preemption
	cached    int     // of those, how many for others
	guesses   []int32 // of what follows tokens, in this pass
	eager     eagerness
	ahead     *kvcache.Sequence // of the draft model
	drafted   int               // positions that the draft model has read, guesses too
	hope      int               // guesses wanted of it
	aheadLong bool
	sum       []float32 // of hidden states

	// The mailbox.
	mu       sync.Mutex
	out      []Token
	progress int
	err      error
	ended    bool
	gone     bool          // the consumer wants no more
	wake     chan struct{} // has room for one
	done     chan struct{} // closed when the scheduler knows it no more
}

func newSequence(e *Engine, req Request, embed bool) *sequence {
	s := &sequence{e: e, req: req, embed: embed, sampler: req.sampler, tokens: slices.Clone(req.Prompt),
		wake: make(chan struct{}, 1), done: make(chan struct{})}
	s.end = e.limit
	if embed {
		s.end = len(req.Prompt)
	} else if req.MaxTokens > 0 {
		s.end = len(req.Prompt) + req.MaxTokens
	}
	if s.sampler == nil {
		s.sampler = sample.New(req.Sampling)
	}
	s.sampler.See(req.Prompt...)
	return s
}

// receive waits for what the scheduler has to say.
func (s *sequence) receive(ctx context.Context) (tokens []Token, progress int, ended bool, err error) {
	select {
	case <-ctx.Done():
		return nil, 0, true, ctx.Err()
	case <-s.wake:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	tokens, s.out = s.out, nil
	return tokens, s.progress, s.ended, s.err
}

// send tells the consumer that something changed.
func (s *sequence) send(change func()) {
	s.mu.Lock()
	change()
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// leave says that no more is wanted, and waits until nothing more is computed.
func (s *sequence) leave() {
	s.mu.Lock()
	s.gone = true
	s.mu.Unlock()
	<-s.done
}

func (s *sequence) left() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone
}
