package grammar

import (
	"math/bits"
	"slices"

	"github.com/litgpt-go/litgpt/internal/sample"
)

// Which tokens can come depends on the state on top of the stack, for nearly all
// of them: those that do not reach beyond the end of its rule. They are found once
// for a state (local) and serve under every stack. The others are followed from
// where the rule is left, with the real stack: a few hundred nodes of the trie.
// (XGrammar, arXiv 2411.15100, splits them so, too.)

// tokens is a set of tokens: a list while there are few, else a mask.
type tokens struct {
	few  []int32
	mask sample.Mask
}

const fewTokens = 256

// local is what can come whatever the stack below.
type local struct {
	tokens tokens
	pops   []int32 // nodes of the trie at whose end the rule can be left, with nodes below
}

// walker looks for tokens.
type walker struct {
	v     *Vocab
	ar    *arena
	mask  sample.Mask
	pops  []int32
	stack []*set
	work  int
}

// maxWalk bounds what a very ambiguous grammar may cost for a token, in
// configurations; beyond it only tokens of one byte are looked at.
const maxWalk = 4 << 20

// below marks the tokens below node that can come after s, and notes in pops where
// open is come back to.
func (w *walker) below(node int32, s *set, note bool) {
	t := &w.v.trie
	if len(w.stack) <= t.deep {
		w.stack = make([]*set, t.deep+1)
	}
	w.stack[0] = s
	base := int(t.depth[node]) + 1
	for i := node + 1; i < t.end[node]; {
		d := int(t.depth[i]) - base
		from := w.stack[d]
		next := from.step(t.byte[i])
		w.work += len(next.configs)
		if next == w.ar.none {
			i = t.end[i]
			continue
		}
		for _, id := range t.tokens(i) {
			w.mask.Set(id)
		}
		if note && next.escapes && t.end[i] > i+1 {
			w.pops = append(w.pops, i)
		}
		if len(next.configs) == 0 || w.work > maxWalk {
			i = t.end[i]
			continue
		}
		w.stack[d+1] = next
		i++
	}
}

// tokens returns what can come after s: with the ids that end the text where it may end.
func (v *Vocab) tokens(s *set) *tokens {
	if t := s.tokens.Load(); t != nil {
		return t
	}
	w := &walker{v: v, ar: s.in, mask: sample.NewMask(v.size)}
	var plain []config
	for _, c := range s.configs {
		if p := &s.in.a.states[c.state]; p.rest != nil {
			w.inString(p, c) // before all others: it may clear bits
		} else {
			plain = append(plain, c)
		}
	}
	for len(plain) > 0 {
		up := plain[0].up
		k := kernel{a: s.in.a}
		plain = slices.DeleteFunc(plain, func(c config) bool {
			if c.up == up {
				k.configs = append(k.configs, config{c.state, c.count, open})
			}
			return c.up == up
		})
		w.add(w.local(&k), up)
	}
	if s.ends {
		for _, id := range v.end {
			w.mask.Set(id)
		}
	}
	t := compact(w.mask)
	s.in.bytes.Add(t.size())
	s.tokens.Store(t)
	return t
}

// local returns what can come after configurations over open.
func (w *walker) local(k *kernel) *local {
	w.ar.mu.Lock()
	s := w.ar.set(k)
	w.ar.mu.Unlock()
	if l := s.local.Load(); l != nil {
		return l
	}
	in := &walker{v: w.v, ar: w.ar, mask: sample.NewMask(w.v.size)}
	in.below(0, s, true)
	l := &local{tokens: *compact(in.mask), pops: in.pops}
	w.ar.bytes.Add(l.tokens.size() + int64(4*len(l.pops)) + 100)
	s.local.Store(l)
	return l
}

// add puts what is known of the top of a stack and what follows below into the mask.
func (w *walker) add(l *local, up *frame) {
	for i, word := range l.tokens.mask {
		w.mask[i] |= word
	}
	for _, id := range l.tokens.few {
		w.mask.Set(id)
	}
	if up == nil {
		return // nothing follows
	}
	if len(l.pops) > 0 {
		back := w.ar.back(up)
		for _, node := range l.pops {
			w.below(node, back, false)
		}
	}
}

// compact lists a mask's tokens if there are few.
func compact(m sample.Mask) *tokens {
	n := 0
	for _, word := range m {
		n += bits.OnesCount64(word)
	}
	if n > fewTokens {
		return &tokens{mask: m}
	}
	t := &tokens{few: make([]int32, 0, n)}
	for i, word := range m {
		for ; word != 0; word &= word - 1 {
			t.few = append(t.few, int32(64*i+bits.TrailingZeros64(word)))
		}
	}
	return t
}

func (t *tokens) size() int64 { return int64(8*len(t.mask) + 4*len(t.few) + 60) }

func (t *tokens) has(id int32) bool {
	if t.mask != nil {
		return t.mask.Has(id)
	}
	_, ok := slices.BinarySearch(t.few, id)
	return ok
}
