package server

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"sync"

	"github.com/litgpt-go/litgpt/internal/generate"
	"github.com/litgpt-go/litgpt/internal/sample"
	"github.com/litgpt-go/litgpt/internal/toolcall"
)

// question is what the model is asked, whichever endpoint it came to.
type question struct {
	m        *served
	ids      []int32
	settings settings
	form     form // of the answer: constraint and tool calls; its zero value is free text
}

// piece is some of one choice's answer.
type piece struct {
	choice int
	text   string
	probs  []tokenProb // of the tokens whose text begins in text, or before: with logprobs
	calls  []callDelta
	tokens int    // generated since the last piece
	cached int    // tokens of the prompt that were found in the KV cache
	finish string // the last piece of a choice has one: "stop", "length" or "tool_calls"
	match  string // the stop string that ended it
	err    error  // or this
}

// tokenProb is a token with its probability.
type tokenProb struct {
	id      int32
	logprob float32
	top     []generate.Candidate
	start   int // of its text in the answer, in bytes
}

// callDelta is some of a tool call, as it streams: id and name come first.
type callDelta struct {
	index           int
	id, name, extra string // extra is more of the arguments
}

// mailbox holds pieces that the client has not been sent. It takes any number (of tokens
// there are few), so that a slow reader never holds the model up.
type mailbox struct {
	mu     sync.Mutex
	pieces []piece
	open   int // choices that go on
	ready  chan struct{}
}

func (b *mailbox) put(p piece) {
	b.mu.Lock()
	b.pieces = append(b.pieces, p)
	if p.finish != "" || p.err != nil {
		b.open--
	}
	b.mu.Unlock()
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

// take returns what has come, and whether more will.
func (b *mailbox) take() (pieces []piece, more bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	pieces, b.pieces = b.pieces, nil
	return pieces, b.open > 0
}

// check finds out whether the question can be asked, and how many tokens an answer may have.
func (q *question) check() error {
	room := q.m.model.Context() - len(q.ids)
	if room < 1 {
		return tooLong(len(q.ids), q.m.model.Context())
	}
	if len(q.ids) == 0 {
		return bad("prompt", "the prompt is empty; at least one token wanted")
	}
	if q.settings.max == 0 || q.settings.max > room {
		q.settings.max = room // the answer then ends by "length"
	}
	return nil
}

// ask answers questions. The pieces of their choices, numbered through, are in the mailbox
// as they come; wait returns when all is over, which cancelling ctx brings about.
func (s *Server) ask(ctx context.Context, questions []*question, choices int) (box *mailbox, wait func()) {
	box = &mailbox{open: choices, ready: make(chan struct{}, 1)}
	var running sync.WaitGroup
	number := 0
	for _, q := range questions {
		for i := range q.settings.n {
			seed := q.settings.sampling.Seed + uint64(i)
			choice := number
			number++
			running.Go(func() { s.choice(ctx, q, choice, seed, box) })
		}
	}
	return box, running.Wait
}

// choice answers one choice of a question.
func (s *Server) choice(ctx context.Context, q *question, choice int, seed uint64, box *mailbox) {
	watch := s.metrics.watch(q)
	defer watch.end()
	defer func() {
		if p := recover(); p != nil {
			s.panicked(ctx, p)
			box.put(piece{choice: choice, err: errPanic})
		}
	}()
	err := q.run(ctx, choice, seed, func(p piece) {
		watch.piece(p)
		box.put(p)
	})
	if err != nil {
		e := asError(ctx, err)
		if e.Status == http.StatusInternalServerError {
			s.log.Error("generation", "request", requestID(ctx), "model", q.m.name, "error", err.Error())
		}
		watch.failed(e)
		box.put(piece{choice: choice, err: e})
	}
}

// run generates one choice. The last piece is put by it, but for errors.
func (q *question) run(ctx context.Context, choice int, seed uint64, put func(piece)) error {
	g := q.settings
	sampling := g.sampling
	sampling.Seed = seed
	a := answer{q: q, choice: choice, put: put, ends: q.m.stops(g), stops: sample.NewTextStops(g.stops)}
	a.stream = q.textStream()
	r := generate.Request{Prompt: q.ids, MaxTokens: g.max, Sampling: sampling, Logprobs: g.logprobs, Adapter: q.m.adapter()}
	for _, end := range q.m.ends {
		if len(end) == 1 && !g.ignoreEOS {
			r.End = append(r.End, end[0])
		}
	}
	r.End = append(r.End, g.stopIDs...)
	r.Constraint = q.form.constraint()
	if q.form.parser != nil {
		a.calls = q.form.parser()
	}
	n, reason := 0, generate.Reason("")
	for token, err := range q.m.model.Generate(ctx, r) {
		if err != nil {
			return err
		}
		n++
		reason = token.Reason
		if done := a.push(token); done {
			return a.finish("stop")
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if reason == "" && (r.Constraint != nil && r.Constraint.Done() || n < g.max) {
		reason = generate.Stopped // the grammar has nothing more to come
	}
	return a.finish(cmp.Or(string(reason), string(generate.Length)))
}

// answer turns the tokens of one choice into pieces.
type answer struct {
	q      *question
	choice int
	put    func(piece)
	ends   *sample.Stops
	stops  *sample.TextStops
	stream textStream
	calls  *toolcall.Parser // nil: the answer is text

	held   []generate.Token // those that ends withholds
	probs  []tokenProb      // of tokens whose text is withheld
	read   int              // bytes decoded so far
	sent   int              // bytes that passed the stop strings
	tokens int              // not yet counted in a piece
	cached int              // of the prompt
	called bool             // there was a tool call
	over   bool             // a sequence of ids that ends the answer is complete
}

// push takes a token; done says that the answer is over.
func (a *answer) push(token generate.Token) (done bool) {
	a.tokens++
	a.cached += token.Cached // the first has it
	a.held = append(a.held, token)
	sure, ended := a.ends.Push(token.ID)
	for range sure {
		token := a.held[0]
		a.held = a.held[1:]
		if a.accept(token) {
			return true
		}
	}
	a.over = ended
	return ended
}

// accept takes a token that is part of the answer; done says that a stop string is complete.
func (a *answer) accept(token generate.Token) (done bool) {
	if a.q.settings.logprobs > 0 {
		a.probs = append(a.probs, tokenProb{id: token.ID, logprob: token.Logprob, top: token.Top, start: a.read})
	}
	text := a.stream.Next(token.ID)
	a.read += len(text)
	text, done = a.stops.Push(text)
	a.emit(text)
	return done
}

// emit sends text that is certain, unless a tool call may be in it.
func (a *answer) emit(text string) {
	a.sent += len(text)
	p := piece{choice: a.choice, text: text, cached: a.cached}
	if a.calls != nil {
		p.text, p.calls = deltas(a.calls.Push(text))
		a.called = a.called || len(p.calls) > 0
	}
	known := slices.IndexFunc(a.probs, func(t tokenProb) bool { return t.start >= a.sent })
	if known < 0 {
		known = len(a.probs)
	}
	p.probs, a.probs = a.probs[:known:known], a.probs[known:]
	if p.text != "" || len(p.probs) > 0 || len(p.calls) > 0 {
		p.tokens, a.tokens = a.tokens, 0
		a.put(p)
	}
}

// finish sends what was withheld, and the reason of the end.
func (a *answer) finish(reason string) error {
	match := a.stops.Matched()
	if match == "" {
		if !a.over { // else what is held is the end itself
			for range a.ends.Flush() {
				token := a.held[0]
				a.held = a.held[1:]
				if a.accept(token) {
					break
				}
			}
		}
		text, done := a.stops.Push(a.stream.Flush())
		a.emit(text)
		if !done {
			a.emit(a.stops.Flush())
		}
	}
	match = a.stops.Matched()
	last := piece{choice: a.choice, finish: reason, match: match, tokens: a.tokens, cached: a.cached}
	if match != "" {
		last.finish = "stop"
	} else {
		last.probs = a.probs
	}
	if a.calls != nil {
		last.text, last.calls = deltas(a.calls.Flush())
		if a.called = a.called || len(last.calls) > 0; a.called && last.finish == "stop" {
			last.finish = "tool_calls"
		}
	}
	a.put(last)
	return nil
}
