package generate

import (
	"github.com/litgpt-go/litgpt/internal/kvcache"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// Speculation guesses what a sequence says next, and lets the model read the guesses with the
// token before them in one pass. Tokens are drawn from the model's scores and by the
// request's own sampler, one after the other, as long as they are what was guessed: so they
// are those that there would be without it. (https://arxiv.org/abs/2211.17192 accepts by
// chance instead, which keeps the distribution, not the tokens of a seed.)

// mostRows bounds the tokens of a pass with guesses: beyond, a row more costs about what a pass of its own would.
const mostRows = 32

// eagerness adapts how much is guessed to how much of it was right.
type eagerness struct {
	n      int // to guess next; 0 at first: all that is allowed
	misses int // in a row
	rest   int // passes without a guess
}

// next gives how many to guess, of most.
func (g *eagerness) next(most int) int {
	if g.rest > 0 {
		g.rest--
		return 0
	}
	if g.n == 0 {
		g.n = most
	}
	return min(g.n, most)
}

// learn takes how many of the guesses were right.
func (g *eagerness) learn(guesses, right int) {
	switch {
	case guesses == 0:
	case right == guesses:
		g.n, g.misses = max(g.n, right+2), 0
	case right > 0:
		g.n, g.misses = right+1, 0
	default:
		g.n = 1
		g.misses = min(g.misses+1, 5)
		g.rest = 1<<g.misses/2 - 1
	}
}

// guess fills in the guesses of the sequences that are being continued.
func (e *Engine) guess() {
	if e.o.Lookup <= 0 && e.draft == nil {
		return
	}
	var able []*sequence
	for _, s := range e.running {
		if s.group() == e.pass.group && !s.embed && len(s.tokens)-s.kv.Len == 1 {
			able = append(able, s)
		}
	}
	for _, s := range able {
		most := e.o.Lookup
		if e.draft != nil {
			most = e.draft.tokens
		}
		most = min(most, s.end-len(s.tokens)-1, mostRows/len(able)-1)
		if e.middle > 0 && !e.pass.long {
			most = min(most, e.middle-len(s.tokens))
		}
		s.guesses = nil
		if n := s.eager.next(max(0, most)); n > 0 && e.draft == nil {
			s.guesses = lookup(s.tokens, n)
		} else {
			s.eager.n = max(n, s.eager.n)
			s.hope = n
		}
	}
	if e.draft != nil {
		e.draft.propose(able, e.o.Chunk)
	}
}

// learn takes what became of the guesses of a sequence, whose tokens are still those before the pass.
func (e *Engine) learn(s *sequence, right int) {
	s.eager.learn(len(s.guesses), right)
	if s.ahead != nil {
		if n := min(s.drafted, len(s.tokens)+right); n > s.ahead.Len {
			all := append(s.tokens[:len(s.tokens):len(s.tokens)], s.guesses[:right]...)
			s.ahead.Commit(all[s.ahead.Len:n])
		}
		s.drafted = s.ahead.Len
	}
}

// lookup guesses that a text goes on as it did after the same few tokens before.
func lookup(tokens []int32, n int) []int32 {
	const longest, shortest = 4, 2
	end := len(tokens)
	for g := min(longest, end-1); g >= shortest; g-- {
		last := tokens[end-g:]
	search:
		for at := end - g - 1; at >= 0; at-- {
			for i := range last {
				if tokens[at+i] != last[i] {
					continue search
				}
			}
			guesses := make([]int32, n)
			for i := range guesses {
				if from := at + g + i; from < end {
					guesses[i] = tokens[from]
				} else { // it repeats itself
					guesses[i] = guesses[from-end]
				}
			}
			return guesses
		}
	}
	return nil
}

// drafter runs the draft model.
type drafter struct {
	run    runner
	base   *adapter
	tokens int // to guess
	limit  int // positions
	middle int
	pass   pass
}

func newDrafter(dev *tensor.Device, o Options) *drafter {
	m := o.Draft.Model
	d := m.Dims()
	o.Positions = min(o.Positions, max(1, o.Sequences)*d.Context)
	return &drafter{run: newModelRunner(dev, m, o), base: &adapter{roots: [2]int64{-2, -1}}, tokens: o.Draft.Tokens, limit: min(d.Context, o.Positions), middle: d.Original}
}

// propose lets the draft model guess s.hope tokens for each sequence. One that it has much to read of
// yet gets none this time; nor does one that there is no room for, which is no error.
func (d *drafter) propose(list []*sequence, chunk int) {
	for _, long := range []bool{false, true} {
		var able []*sequence
		for _, s := range list {
			if n := len(s.tokens) + s.hope; s.hope > 0 && n <= d.limit && long == (d.middle > 0 && n > d.middle) && d.begin(s, long) {
				able = append(able, s)
			}
		}
		for round := 0; len(able) > 0; round++ {
			able = d.round(able, long, chunk)
		}
	}
}

// begin makes sure that a sequence has pages of the draft model's.
func (d *drafter) begin(s *sequence, long bool) bool {
	n := len(s.tokens) + s.hope
	room := n
	if s.e.o.Sequences == 1 {
		room = min(d.limit, max(s.end, n))
	}
	pages, err := d.run.room(kvcache.Cover(room))
	if err != nil {
		return false
	}
	if s.ahead != nil && s.aheadLong != long {
		s.ahead.Release()
		s.ahead = nil
	}
	if s.ahead == nil {
		s.ahead = pages.Begin(d.base.root(long), s.tokens[:len(s.tokens)-1])
		s.drafted, s.aheadLong = s.ahead.Len, long
	}
	if !s.ahead.Reserve(n) {
		s.ahead.Release()
		s.ahead = nil
		return false
	}
	return true
}

// round runs one pass of the draft model, and gives the sequences that want another.
func (d *drafter) round(list []*sequence, long bool, room int) (more []*sequence) {
	p := &d.pass
	p.begin(group{adapter: d.base, long: long})
	p.best = true
	for _, s := range list {
		all := append(s.tokens[:len(s.tokens):len(s.tokens)], s.guesses...)
		rest := all[s.drafted:]
		n := min(len(rest), room)
		if n == 0 {
			continue
		}
		wanted := 0
		if n == len(rest) {
			wanted = 1
		}
		p.add(s, s.ahead, s.drafted, rest[:n], wanted)
		p.length = max(p.length, len(s.tokens)+s.hope)
		room -= n
	}
	if d.run.run(p) != nil {
		return nil // without guesses it goes on
	}
	for _, x := range p.pieces {
		s := x.s
		s.drafted += len(x.tokens)
		if keep := min(s.drafted, len(s.tokens)); keep > s.ahead.Len { // what is certain
			s.ahead.Commit(s.tokens[s.ahead.Len:keep])
		}
		if x.wanted == 0 {
			continue
		}
		s.guesses = append(s.guesses, int32(p.scores[2*p.k*x.row+p.k]))
		if len(s.guesses) < s.hope {
			more = append(more, s)
		}
	}
	return more
}
