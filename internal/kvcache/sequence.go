package kvcache

import "slices"

// Sequence is what one sequence has of a pool: its table of pages, some of which it
// may share with others that begin in the same way. One goroutine uses a pool and all its sequences.
type Sequence struct {
	Len   int     // positions whose keys and values are stored
	Table []int32 // page of each Page positions; 0 where they were given back ([Sequence.Drop])

	p      *Pages
	parent int64   // node of the last whole page; 0 when the sequence is in the tree no more
	part   []int32 // tokens after it
	gone   int     // pages given back at the beginning
}

// least is how many positions at the beginning of a page are worth copying to go on there.
const least = 4

// Cover is how many pages n positions take.
func Cover(n int) int { return (n + Page - 1) / Page }

// Match says how much of tokens a new sequence below root would find: whole pages only,
// and how many of them nobody uses now.
func (p *Pages) Match(root int64, tokens []int32) (pages, idle int) {
	for len(tokens) >= Page {
		i := p.find(root, tokens[:Page])
		if i == 0 {
			return pages, idle
		}
		if pages++; p.all[i].refs == 0 {
			idle++
		}
		root, tokens = p.all[i].node, tokens[Page:]
	}
	return pages, idle
}

// Begin returns a sequence below root that has as much of tokens as is remembered.
func (p *Pages) Begin(root int64, tokens []int32) *Sequence {
	s := &Sequence{p: p, parent: root}
	s.Follow(tokens)
	rest := tokens[s.Len:]
	rest = rest[:min(len(rest), Page)]
	i, n := p.nearest(s.parent, rest)
	switch q := &p.all[i]; {
	case n == 0:
	case q.refs == 0 && n == len(q.tokens) && n < Page: // an end that nobody uses: it goes on here
		p.ref(i)
		p.forget(i)
		s.extend(i, rest[:n])
	case n >= least:
		p.ref(i) // so that it is not what is taken
		if to, ok := p.take(); ok {
			if p.copy != nil {
				p.copy(i, to, n)
			}
			s.extend(to, rest[:n])
		}
		p.unref(i)
	}
	return s
}

// extend adds a page that holds tokens.
func (s *Sequence) extend(i int32, tokens []int32) {
	s.Table = append(s.Table, i)
	s.part = append(s.part, tokens...)
	s.Len += len(tokens)
}

// Follow takes whole pages of tokens, the sequence's from its beginning on, that others have
// stored meanwhile, and reports how many positions those were. Pages reserved for them are given back.
func (s *Sequence) Follow(tokens []int32) (n int) {
	for len(s.part) == 0 && s.parent != 0 && s.Len+Page <= len(tokens) {
		i := s.p.find(s.parent, tokens[s.Len:s.Len+Page])
		if i == 0 {
			break
		}
		s.p.ref(i)
		if at := s.Len / Page; at < len(s.Table) {
			s.p.unref(s.Table[at])
			s.Table[at] = i
		} else {
			s.Table = append(s.Table, i)
		}
		s.parent = s.p.all[i].node
		s.Len += Page
		n += Page
	}
	return n
}

// Reserve takes pages for the positions up to n. False means that there are not enough; those it got stay.
func (s *Sequence) Reserve(n int) bool {
	for len(s.Table) < Cover(n) {
		i, ok := s.p.take()
		if !ok {
			return false
		}
		s.Table = append(s.Table, i)
	}
	return true
}

// Row is where in the cache a position goes, which is reserved.
func (s *Sequence) Row(position int) int32 { return s.Table[position/Page]*Page + int32(position%Page) }

// Commit says that the keys and values of the next tokens have been stored.
func (s *Sequence) Commit(tokens []int32) {
	for len(tokens) > 0 {
		n := min(len(tokens), Page-len(s.part))
		s.part = append(s.part, tokens[:n]...)
		s.Len += n
		tokens = tokens[n:]
		if len(s.part) == Page {
			s.fill()
		}
	}
}

// fill puts the page that has become full into the tree, or takes the one that holds the same.
func (s *Sequence) fill() {
	at := s.Len/Page - 1
	if s.parent != 0 {
		if i := s.p.find(s.parent, s.part); i != 0 {
			s.p.ref(i)
			s.p.unref(s.Table[at])
			s.Table[at], s.parent = i, s.p.all[i].node
		} else if q := s.p.all[s.Table[at]]; q.node == 0 {
			s.parent = s.p.add(s.Table[at], s.parent, s.part)
		}
	}
	s.part = s.part[:0]
}

// Drop gives back the pages of which only positions before from are left.
func (s *Sequence) Drop(from int) {
	for ; s.gone < min(from, s.Len)/Page; s.gone++ {
		s.p.unref(s.Table[s.gone])
		s.Table[s.gone] = 0
	}
}

// Release gives all pages back. What is stored in them is remembered as long as there are free ones besides.
func (s *Sequence) Release() {
	if n := s.Len / Page; len(s.part) > 0 && s.parent != 0 && !s.known() {
		s.p.add(s.Table[n], s.parent, s.part)
	}
	for i := len(s.Table) - 1; i >= s.gone; i-- { // the end is forgotten before the beginning
		s.p.unref(s.Table[i])
	}
	*s = Sequence{p: s.p}
}

// known reports whether another page holds what the unfinished one does.
func (s *Sequence) known() bool {
	i, n := s.p.nearest(s.parent, s.part)
	return n == len(s.part) && i != s.Table[s.Len/Page]
}

// Pages gives the table's pages for a batch whose tables have width columns.
func (s *Sequence) Pages(width int) []int32 {
	t := s.Table[:min(len(s.Table), width)]
	return append(slices.Clip(t), make([]int32, width-len(t))...)
}
