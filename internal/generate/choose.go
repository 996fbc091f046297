package generate

import (
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/litgpt-go/litgpt/internal/sample"
)

// chooser is what one goroutine needs to choose tokens.
type chooser struct {
	scratch sample.Scratch
	ids     []int32
}

// chosen is what came of a piece.
type chosen struct {
	tokens []Token
	right  int // guesses
	err    error
}

// choose makes tokens of the scores of a pass, on several processors, and gives them away.
func (e *Engine) choose() {
	p := &e.pass
	results := make([]chosen, len(p.pieces))
	each := func(c *chooser, i int) {
		if x := p.pieces[i]; x.wanted > 0 {
			results[i] = c.choose(p, x, e.vocab)
		}
	}
	workers := min(p.wanted, runtime.GOMAXPROCS(0))
	for len(e.choosers) < max(1, workers) {
		e.choosers = append(e.choosers, chooser{})
	}
	if workers < 2 {
		for i := range results {
			each(&e.choosers[0], i)
		}
	} else {
		var wg sync.WaitGroup
		var next atomic.Int64
		for w := range workers {
			wg.Go(func() {
				for i := next.Add(1) - 1; i < int64(len(results)); i = next.Add(1) - 1 {
					each(&e.choosers[w], int(i))
				}
			})
		}
		wg.Wait()
	}
	for i, x := range p.pieces {
		e.accept(x, results[i])
	}
}

// choose draws the tokens that follow a piece: one, and one more for each guess that was right.
func (c *chooser) choose(p *pass, x piece, vocab int) (r chosen) {
	s := x.s
	if own, ok := s.sampler.(*sample.Sampler); ok {
		own.Use(&c.scratch)
	}
	for i := range x.wanted {
		t, err := c.one(p, s, x.row+i, vocab)
		if err != nil {
			r.err = err
			return r
		}
		s.sampler.Accept(t.ID)
		if s.req.Constraint != nil {
			if err := s.req.Constraint.Accept(t.ID); err != nil {
				r.err = err
				return r
			}
		}
		switch {
		case slices.Contains(s.req.End, t.ID), s.req.Constraint != nil && s.req.Constraint.Done():
			t.Reason = Stopped
		case len(s.tokens)+i+1 >= s.end:
			t.Reason = Length
		}
		r.tokens = append(r.tokens, t)
		if i == len(s.guesses) || s.guesses[i] != t.ID {
			break
		}
		r.right++
		if t.Reason != "" {
			break
		}
	}
	return r
}

// one draws from one row of scores.
func (c *chooser) one(p *pass, s *sequence, row, vocab int) (t Token, err error) {
	if p.k > 0 {
		n := min(s.sampler.Need(), p.k)
		part := p.scores[2*p.k*row : 2*p.k*(row+1)]
		c.ids = c.ids[:0]
		for _, id := range part[p.k : p.k+n] {
			c.ids = append(c.ids, int32(id))
		}
		t.ID, err = s.sampler.Pick(part[:n], c.ids)
		return t, err
	}
	logits := p.scores[vocab*row : vocab*(row+1)]
	var allowed sample.Mask
	if s.req.Constraint != nil {
		allowed = s.req.Constraint.Allowed()
	}
	if t.ID, err = s.sampler.Next(logits, allowed); err == nil && s.req.Logprobs > 0 {
		t.Logprob, t.Top = sample.Logprobs(logits, t.ID, s.req.Logprobs-1)
	}
	return t, err
}

// need is how many candidates are enough for a sequence; 0 for all.
func (s *sequence) need() int {
	if s.req.Constraint != nil || s.req.Logprobs > 0 {
		return 0
	}
	return s.sampler.Need()
}

// accept brings a sequence to the state after a pass.
func (e *Engine) accept(x piece, r chosen) {
	s := x.s
	fed := len(x.tokens) - len(s.guesses)
	found := max(0, x.at-s.read) // what one that was preempted finds again is no gain
	s.cached += found
	x.kv.Commit(x.tokens[:fed+r.right])
	s.read = max(s.read, x.kv.Len)
	e.learn(s, r.right)
	if len(s.tokens) == len(s.req.Prompt) && len(r.tokens) > 0 {
		r.tokens[0].Cached = s.cached
	}
	for _, t := range r.tokens {
		s.tokens = append(s.tokens, t.ID)
	}
	e.mu.Lock()
	e.stats.Cached += int64(found)
	e.stats.Generated += int64(len(r.tokens))
	e.stats.Drafted += int64(len(s.guesses))
	e.stats.Accepted += int64(r.right)
	e.mu.Unlock()
	ended := len(r.tokens) > 0 && r.tokens[len(r.tokens)-1].Reason != ""
	s.guesses = nil
	if len(r.tokens) > 0 || s.req.Progress != nil || ended {
		s.send(func() {
			s.out = append(s.out, r.tokens...)
			s.progress = min(s.kv.Len, len(s.req.Prompt))
			s.ended = s.ended || ended
		})
	}
	switch {
	case r.err != nil:
		e.fail(s, r.err)
	case ended:
		e.retire(s)
	case e.outgrown(len(s.tokens)) && !e.pass.long:
		e.preempt(s) // all of it is rotated otherwise from now on
	default:
		if w := e.run.window(); w > 0 {
			s.kv.Drop(s.kv.Len - w + 1)
		}
	}
}

// sum adds up the hidden states of sequences that are embedded.
func (e *Engine) sum() {
	p := &e.pass
	at := 0
	c := len(p.states) / max(1, p.tokens)
	for _, x := range p.pieces {
		if x.s.sum == nil {
			x.s.sum = make([]float32, c)
		}
		for range x.tokens {
			for j, v := range p.states[at*c : (at+1)*c] {
				x.s.sum[j] += v
			}
			at++
		}
		x.kv.Commit(x.tokens)
		if x.kv.Len == len(x.s.tokens) {
			x.s.send(func() { x.s.ended = true })
			e.retire(x.s)
		}
	}
}

// normalized scales a vector to length 1.
func normalized(v []float32) []float32 {
	n := 0.0
	for _, x := range v {
		n += float64(x) * float64(x)
	}
	if n = math.Sqrt(n); n > 0 {
		for i := range v {
			v[i] = float32(float64(v[i]) / n)
		}
	}
	return v
}
