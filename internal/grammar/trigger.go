package grammar

import (
	"fmt"
	"sync/atomic"

	"github.com/litgpt-go/litgpt/internal/sample"
)

// trigger finds the text after which a grammar begins, in free text: the automaton
// of Knuth, Morris and Pratt for several texts at once (Aho and Corasick).
type trigger struct {
	next  [][256]int32
	match []bool
	masks []atomic.Pointer[waitMask] // by state
}

// waitMask is what can come before a trigger; a nil mask: all.
type waitMask struct{ mask sample.Mask }

// maxTriggers bounds the bytes of triggers: each takes a kilobyte, and up to a mask.
const maxTriggers = 1024

// After returns a grammar of texts that are free until one of the triggers was
// written, and g's from there on. A text without one is complete wherever it ends.
// A trigger may be the name of a special token. Without triggers it is g.
func (g *Grammar) After(triggers ...string) (*Grammar, error) {
	if len(triggers) == 0 {
		return g, nil
	}
	t := &trigger{next: make([][256]int32, 1), match: make([]bool, 1)}
	for _, s := range triggers {
		if s == "" {
			return nil, fmt.Errorf("a trigger is empty")
		}
		at := int32(0)
		for i := 0; i < len(s); i++ {
			if t.next[at][s[i]] == 0 {
				if len(t.next) > maxTriggers {
					return nil, fmt.Errorf("triggers of more than %d bytes", maxTriggers)
				}
				t.next[at][s[i]] = int32(len(t.next))
				t.next, t.match = append(t.next, [256]int32{}), append(t.match, false)
			}
			at = t.next[at][s[i]]
		}
		t.match[at] = true
	}
	t.complete()
	t.masks = make([]atomic.Pointer[waitMask], len(t.next))
	return &Grammar{v: g.v, a: g.a, arena: g.arena, swap: g.swap, trigger: t}, nil
}

// complete adds the edges that go on with the longest ending that begins a trigger.
func (t *trigger) complete() {
	fail := make([]int32, len(t.next))
	var queue []int32
	for _, to := range t.next[0] {
		if to != 0 {
			queue = append(queue, to)
		}
	}
	for ; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		t.match[at] = t.match[at] || t.match[fail[at]]
		for b, to := range t.next[at] {
			if to == 0 {
				t.next[at][b] = t.next[fail[at]][b]
				continue
			}
			fail[to] = t.next[fail[at]][b]
			queue = append(queue, to)
		}
	}
}

// waiting returns what can come before the trigger: everything but tokens in which
// the trigger ends and something follows that the grammar does not begin with.
func (g *Grammar) waiting(state int) sample.Mask {
	t := g.trigger
	if m := t.masks[state].Load(); m != nil {
		return m.mask
	}
	m := &waitMask{}
	full := sample.NewMask(g.v.size)
	for id := range int32(g.v.size) {
		full.Set(id)
	}
	tr := &g.v.trie
	stack := make([]int32, tr.deep+1)
	stack[0] = int32(state)
	ar := g.current()
	for i := int32(1); i < int32(len(tr.byte)); {
		d := tr.depth[i]
		if stack[d] = t.next[stack[d-1]][tr.byte[i]]; !t.match[stack[d]] {
			i++
			continue
		}
		if tr.end[i] > i+1 {
			m.mask = full
			for _, id := range tr.ids[tr.first[i+1]:tr.first[tr.end[i]]] {
				full[id>>6] &^= 1 << (id & 63)
			}
			w := &walker{v: g.v, ar: ar, mask: full}
			w.below(i, ar.start(), false)
		}
		i = tr.end[i]
	}
	t.masks[state].Store(m)
	return m.mask
}

// waitByte takes a byte of free text.
func (s *State) waitByte(b byte) {
	t := s.g.trigger
	s.wait = int(t.next[s.wait][b])
	if t.match[s.wait] {
		s.set = s.g.current().start()
	}
}

// acceptWaiting takes a token of free text.
func (s *State) acceptWaiting(id int32) error {
	was := s.wait
	b := s.g.v.token[id]
	if name, ok := s.g.v.special[id]; ok {
		b = []byte(name)
	}
	for _, b := range b {
		if !s.write(b) {
			s.set, s.wait = nil, was
			return fmt.Errorf("token %d (%s) cannot come here", id, s.g.v.name(id))
		}
	}
	return nil
}
