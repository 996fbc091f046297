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
	tails  *trie   // instead of many pops: what comes after them in tokens
}

// manyPops is from how many pops on the tails of tokens are put together: they are
// far fewer than the nodes, as in a","  bc","  def","  . But no more than maxTails.
const (
	manyPops = 32
	maxTails = 30_000
)

// tailsOf makes the trie of what follows in tokens after nodes; nil when it would
// be too large.
func (v *Vocab) tailsOf(pops []int32) *trie {
	n := 0
	for _, p := range pops {
		n += int(v.trie.nodes[v.trie.nodes[p].end].first - v.trie.nodes[p+1].first)
	}
	if len(pops) < manyPops || n > maxTails {
		return nil
	}
	var tails []tail
	for _, p := range pops {
		node := v.trie.nodes[p]
		for _, id := range v.trie.ids[v.trie.nodes[p+1].first:v.trie.nodes[node.end].first] {
			tails = append(tails, tail{v.token[id][node.depth:], id})
		}
	}
	t := newTrie(tails)
	return &t
}

// walker looks for tokens. The sets it comes to get numbers, and a table of its own
// where each leads: on its way through some 100,000 nodes nothing else is touched.
type walker struct {
	v    *Vocab
	ar   *arena
	mask sample.Mask
	pops []int32
	work int

	sets  []*set
	index map[*set]int32
	flags []uint8
	table []int32 // by set and class of byte: the set after it, +1; 0: not looked up yet
	stack []int32 // set by depth
}

const (
	flagDead    = 1 << iota
	flagEscapes // is over open, which can be come back to
	flagEnd     // nothing can follow
)

// maxWalk bounds what a very ambiguous grammar may cost for a token, in
// configurations; beyond it only tokens of one byte are looked at.
const maxWalk = 2 << 20

// see returns the number of a set.
func (w *walker) see(s *set) int32 {
	if i, ok := w.index[s]; ok {
		return i
	}
	if w.index == nil {
		w.index = map[*set]int32{}
		w.stack = make([]int32, w.v.trie.deep+1)
	}
	i := int32(len(w.sets))
	w.index[s] = i
	w.sets = append(w.sets, s)
	flags := uint8(0)
	if s.dead() {
		flags |= flagDead
	}
	if s.escapes {
		flags |= flagEscapes
	}
	if len(s.configs) == 0 {
		flags |= flagEnd
	}
	w.flags = append(w.flags, flags)
	w.table = append(w.table, make([]int32, w.ar.a.count)...)
	return i
}

// below marks the tokens below node that can come after s, and notes in pops where
// open is come back to.
func (w *walker) below(node int32, s *set, note bool) {
	w.in(&w.v.trie, node, s, note)
}

// in is below for any trie.
func (w *walker) in(t *trie, node int32, s *set, note bool) {
	first := w.see(s)
	nodes, class, count := t.nodes, &w.ar.a.class, w.ar.a.count
	w.stack[0] = first
	base := nodes[node].depth + 1
	for i, end := node+1, nodes[node].end; i < end; {
		n := &nodes[i]
		at := int(w.stack[n.depth-base])*count + int(class[n.byte])
		next := w.table[at] - 1
		if next < 0 {
			from := w.sets[w.stack[n.depth-base]]
			next = w.see(from.step(n.byte))
			w.table[at] = next + 1
			w.work += len(from.expanded) // which step has set
		}
		flags := w.flags[next]
		if flags&flagDead != 0 {
			i = n.end
			continue
		}
		for _, id := range t.ids[n.first:nodes[i+1].first] {
			w.mask.Set(id)
		}
		if flags&flagEscapes != 0 && note && n.end > i+1 {
			w.pops = append(w.pops, i)
		}
		if flags&flagEnd != 0 || w.work > maxWalk {
			i = n.end
			continue
		}
		w.stack[n.depth-base+1] = next
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
		k := kernel{ar: s.in}
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
	if l.tails = w.v.tailsOf(l.pops); l.tails != nil {
		l.pops = nil
		w.ar.bytes.Add(l.tails.size())
	}
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
	if l.tails != nil {
		w.in(l.tails, 0, w.ar.back(up), false)
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
