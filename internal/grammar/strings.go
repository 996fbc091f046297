package grammar

import "github.com/litgpt-go/litgpt/internal/sample"

// Strings are what most of JSON's tokens are in, and there nearly the whole
// vocabulary can come. All strings of all grammars are one automaton, restOfString,
// and what can come in its states is kept with the vocabulary: by how many
// characters a token needs, for strings of limited length.

// restMasks says what can come in a state of restOfString.
type restMasks struct {
	all   sample.Mask // tokens that stay in the string
	order []int32     // the same, by how many characters they begin
	start []int32     // of those that begin k: the index of the first in order; one more at the end
	pops  []restPop   // nodes of the trie that end the string
}

type restPop struct{ node, chars int32 }

// inString marks the tokens that can come in a string with c.count characters.
func (w *walker) inString(p *pushState, c config) {
	r := w.v.restMasks(p.inRest)
	most := int32(len(r.start)) - 2
	if p.rest.max >= 0 {
		most = min(most, int32(p.rest.max)-c.count)
	}
	w.addUpTo(r, most)
	var back *set
	if c.up != nil {
		back = w.ar.back(c.up)
	}
	for _, pop := range r.pops {
		if n := int(c.count + pop.chars); n < p.rest.min || p.rest.max >= 0 && n > p.rest.max {
			continue
		}
		for _, id := range w.v.trie.tokens(pop.node) {
			w.mask.Set(id)
		}
		if back != nil {
			w.below(pop.node, back, false)
		}
	}
}

// addUpTo marks the tokens that begin at most so many characters.
func (w *walker) addUpTo(r *restMasks, most int32) {
	cut := r.start[most+1]
	if int(cut) < len(r.order)/2 {
		for _, id := range r.order[:cut] {
			w.mask.Set(id)
		}
		return
	}
	if int(cut) == len(r.order) {
		for i, word := range r.all {
			w.mask[i] |= word
		}
		return
	}
	m := append(sample.Mask(nil), r.all...)
	for _, id := range r.order[cut:] {
		m[id>>6] &^= 1 << (id & 63)
	}
	for i, word := range m {
		w.mask[i] |= word
	}
}

// restMasks returns what can come in a state, which is found out the first time.
func (v *Vocab) restMasks(state int32) *restMasks {
	if r := v.rest[state].Load(); r != nil {
		return r
	}
	r := v.findRest(state)
	v.rest[state].Store(r)
	return r
}

func (v *Vocab) findRest(state int32) *restMasks {
	d := restOfString()
	end := int32(len(d.states) - 1)
	next := make([][256]int16, len(d.states))
	for i := range d.states {
		for b := range 256 {
			if next[i][b] = -1; v.bytes[b] {
				next[i][b] = int16(d.states[i].next(byte(b)))
			}
		}
	}
	type at struct{ state, chars int32 }
	t := &v.trie
	stack := make([]at, t.deep+1)
	stack[0] = at{state, 0}
	r := &restMasks{all: sample.NewMask(v.size)}
	var count []int32                     // tokens by characters
	need := make([]uint16, 0, len(t.ids)) // of each token found
	var found []int32
	for i := int32(1); i < int32(len(t.byte)); {
		depth := t.depth[i]
		s := stack[depth-1]
		to := int32(next[s.state][t.byte[i]])
		if to < 0 {
			i = t.end[i]
			continue
		}
		if to == end {
			r.pops = append(r.pops, restPop{i, s.chars})
			i = t.end[i]
			continue
		}
		if s.state == 0 {
			s.chars++
		}
		s.state = to
		stack[depth] = s
		for _, id := range t.tokens(i) {
			for int(s.chars) >= len(count) {
				count = append(count, 0)
			}
			count[s.chars]++
			found, need = append(found, id), append(need, uint16(s.chars))
			r.all.Set(id)
		}
		i++
	}
	r.start = make([]int32, len(count)+1)
	for k, n := range count {
		r.start[k+1] = r.start[k] + n
	}
	at2 := append([]int32(nil), r.start...)
	r.order = make([]int32, len(found))
	for i, id := range found {
		r.order[at2[need[i]]] = id
		at2[need[i]]++
	}
	return r
}
