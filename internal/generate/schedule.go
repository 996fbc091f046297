package generate

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"

	"github.com/litgpt-go/litgpt/internal/kvcache"
)

// group is what sequences must have in common to be in one pass.
type group struct {
	adapter *adapter
	long    bool // they have outgrown [models.Dims.Original]
	embed   bool
}

func (s *sequence) group() group {
	return group{s.adapter, s.e.outgrown(len(s.tokens)), s.embed}
}

// outgrown reports whether a sequence of n tokens is rotated otherwise than a short one.
func (e *Engine) outgrown(n int) bool { return e.middle > 0 && n > e.middle }

// schedule runs passes until there is nothing to do, on a thread of its own that ends with it: every thread that has
// computed keeps scratch memory, 10 MB and more, and the goroutine would visit many.
func (e *Engine) schedule(stopped chan struct{}) {
	runtime.LockOSThread()
	defer close(stopped)
	for e.collect() {
		e.device.Lock()
		e.turn()
		e.device.Unlock()
		e.count()
	}
}

// collect takes the new requests, lets those go that nobody waits for, and reports whether any are left.
func (e *Engine) collect() bool {
	e.mu.Lock()
	e.waiting = append(e.waiting, e.arrivals...)
	e.arrivals = nil
	closed := e.closed
	e.mu.Unlock()
	for _, s := range slices.Concat(e.waiting, e.running) {
		if closed {
			e.fail(s, ErrClosed)
		} else if s.left() {
			e.retire(s)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.active = len(e.waiting)+len(e.running)+len(e.arrivals) > 0
	return e.active
}

// count brings the public counts up to date.
func (e *Engine) count() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stats.Running, e.stats.Waiting = len(e.running), len(e.waiting)+len(e.arrivals)
	e.pending = e.stats.Waiting
	e.stats.UsedPages = e.run.used()
	e.stats.Compiled = e.run.compiled()
}

// retire forgets a sequence and gives its pages back.
func (e *Engine) retire(s *sequence) {
	e.release(s)
	same := func(o *sequence) bool { return o == s }
	e.running, e.waiting = slices.DeleteFunc(e.running, same), slices.DeleteFunc(e.waiting, same)
	e.mu.Lock()
	if s.adapter.users--; s.adapter.users == 0 && s.adapter.leaving != nil {
		close(s.adapter.leaving)
	}
	e.mu.Unlock()
	e.count()
	close(s.done)
}

// release gives a sequence's pages back.
func (e *Engine) release(s *sequence) {
	if s.kv != nil {
		s.kv.Release()
	}
	if s.ahead != nil {
		s.ahead.Release()
	}
	s.kv, s.ahead, s.guesses = nil, nil, nil
}

// fail ends a sequence with an error.
func (e *Engine) fail(s *sequence, err error) {
	s.send(func() { s.err, s.ended = err, true })
	e.retire(s)
}

// preempt lets a sequence wait until its pages can be had again, and be read again then.
func (e *Engine) preempt(s *sequence) {
	e.release(s)
	e.running = slices.DeleteFunc(e.running, func(o *sequence) bool { return o == s })
	e.waiting = insert(e.waiting, s)
}

// insert keeps sequences in the order of their arrival.
func insert(list []*sequence, s *sequence) []*sequence {
	i, _ := slices.BinarySearchFunc(list, s, func(a, b *sequence) int { return cmp.Compare(a.number, b.number) })
	return slices.Insert(list, i, s)
}

// turn runs one pass.
func (e *Engine) turn() {
	e.admit()
	if len(e.running) == 0 {
		return
	}
	e.last = e.next()
	e.pass.begin(e.last)
	e.guess()
	e.compose()
	if len(e.pass.pieces) == 0 {
		return
	}
	err := e.run.run(&e.pass)
	e.mu.Lock()
	e.stats.Passes++
	e.mu.Unlock()
	if err != nil {
		for _, x := range e.pass.pieces {
			e.fail(x.s, err)
		}
		return
	}
	if e.pass.embed {
		e.sum()
	} else {
		e.choose()
	}
}

// admit begins waiting sequences, the first that came first, as long as there are pages for them and for one more of each that runs.
func (e *Engine) admit() {
	for len(e.waiting) > 0 && len(e.running) < e.o.Sequences {
		s := e.waiting[0]
		if c := s.req.Constraint; c != nil && c.Done() {
			s.send(func() { s.ended = true })
			e.retire(s)
			continue
		}
		n := min(len(s.tokens)+1, e.limit)
		room := n
		if e.o.Sequences == 1 {
			if room = s.end; s.req.MaxTokens == 0 {
				room = min(s.end, n+chunk)
			}
		}
		pages, err := e.run.room(kvcache.Cover(room))
		if err != nil {
			e.fail(s, err)
			continue
		}
		var known []int32 // what the cache may have; all states of an embedding are wanted
		if !s.embed {
			known = s.tokens[:len(s.tokens)-1]
		}
		root := s.adapter.root(e.outgrown(len(s.tokens)))
		have, idle := pages.Match(root, known)
		if len(e.running) > 0 && kvcache.Cover(n)-have+len(e.running) > pages.Available()-idle {
			return
		}
		s.kv = pages.Begin(root, known)
		if !s.kv.Reserve(n) {
			e.release(s)
			if len(e.running) == 0 {
				e.fail(s, fmt.Errorf("%d tokens do not fit %d pages; this is a bug, please report it", n, pages.Len()))
			}
			return
		}
		e.mu.Lock()
		if !s.begun {
			e.stats.Prompt += int64(len(s.req.Prompt))
		} else {
			e.stats.Preempted++
		}
		e.mu.Unlock()
		s.begun = true
		e.waiting = e.waiting[1:]
		e.running = insert(e.running, s)
	}
}

// next chooses whose turn it is: all groups in turns.
func (e *Engine) next() group {
	var all []group
	for _, s := range e.running {
		if g := s.group(); !slices.Contains(all, g) {
			all = append(all, g)
		}
	}
	return all[(slices.Index(all, e.last)+1)%len(all)]
}

// compose fills the pass: the next token of each sequence of the group, and of those that
// are behind as many as the chunk has room for, or their share when the pass makes a token for somebody.
func (e *Engine) compose() {
	p := &e.pass
	room, read := e.o.Chunk, 0
	for _, s := range slices.Clone(e.running) {
		if s.group() != p.group || s.kv == nil || s.embed || len(s.tokens)-s.kv.Len != 1 {
			continue
		}
		if e.reserve(s, len(s.guesses)) {
			p.add(s, s.kv, s.kv.Len, append(s.tokens[s.kv.Len:len(s.tokens):len(s.tokens)], s.guesses...), 1+len(s.guesses))
			room -= 1 + len(s.guesses)
		}
	}
	most := padded(p.tokens+e.o.Share) - p.tokens // what would be padding costs nothing
	for _, s := range e.running {
		if s.group() != p.group || slices.ContainsFunc(p.pieces, func(x piece) bool { return x.s == s }) {
			continue
		}
		s.guesses = nil
		if !s.embed {
			s.kv.Follow(s.tokens[:len(s.tokens)-1]) // takes what others have read meanwhile
			if p.reads(s) {
				continue
			}
		}
		if p.wanted > 0 {
			room = min(room, most-read)
		}
		todo := s.tokens[s.kv.Len:]
		n := min(len(todo), room)
		if n <= 0 {
			break
		}
		wanted := 0
		if n == len(todo) {
			wanted = 1
		}
		p.add(s, s.kv, s.kv.Len, todo[:n], wanted)
		room -= n
		read += n
	}
}

// reserve makes room for the next token of a sequence and guesses after it, for which
// the youngest sequences wait; false means that it is the youngest itself.
func (e *Engine) reserve(s *sequence, guesses int) bool {
	n := s.kv.Len + 1
	if guesses > 0 && s.kv.Reserve(n+guesses) {
		return true
	}
	s.guesses = nil
	for !s.kv.Reserve(n) {
		if have, err := e.run.room(0); err == nil && have.Len() < kvcache.Cover(e.o.Positions) {
			if _, err := e.run.room(have.Len() + 1); err == nil {
				continue
			} else if e.o.Sequences == 1 { // what was stored is lost
				e.fail(s, err)
				return false
			}
		}
		youngest := e.running[len(e.running)-1]
		e.preempt(youngest)
		if youngest == s {
			return false
		}
	}
	return true
}

// pass is one run of the model: pieces of sequences of a group, one after the other.
type pass struct {
	group
	pieces []piece
	tokens int  // of all pieces
	wanted int  // rows of scores
	length int  // of the longest sequence
	best   bool // nothing is wanted but the likeliest tokens
	k      int  // candidates in scores; 0 for all

	// What came of it.
	scores []float32 // of the wanted rows: logits (V), or the candidates' (k) and then their ids (k)
	states []float32 // final hidden states (N, C), for embeddings
}

// piece is a part of a sequence.
type piece struct {
	s      *sequence
	kv     *kvcache.Sequence
	at     int // position of the first token
	tokens []int32
	wanted int // how many of the last tokens' scores are wanted
	row    int // of the first of those
}

func (p *pass) begin(g group) {
	p.group, p.pieces, p.tokens, p.wanted, p.length, p.k = g, p.pieces[:0], 0, 0, 0, 0
}

func (p *pass) add(s *sequence, kv *kvcache.Sequence, at int, tokens []int32, wanted int) {
	p.pieces = append(p.pieces, piece{s, kv, at, tokens, wanted, p.wanted})
	p.tokens += len(tokens)
	p.wanted += wanted
	p.length = max(p.length, len(s.tokens))
}

// reads reports whether the pass reads the page that s would read next for another sequence of the same beginning.
func (p *pass) reads(s *sequence) bool {
	at, rest := s.kv.Len/kvcache.Page, s.tokens[s.kv.Len:]
	if s.kv.Len%kvcache.Page != 0 || len(rest) <= kvcache.Page {
		return false
	}
	for _, x := range p.pieces {
		if len(x.tokens) > 1 && x.kv.Len >= s.kv.Len && len(x.s.tokens) >= s.kv.Len+kvcache.Page &&
			slices.Equal(x.s.tokens[s.kv.Len:s.kv.Len+kvcache.Page], rest[:kvcache.Page]) &&
			(at == 0 || x.kv.Table[at-1] == s.kv.Table[at-1]) {
			return true
		}
	}
	return false
}
