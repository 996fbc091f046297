package grammar

import (
	"encoding/binary"
	"slices"
)

// dfa is a deterministic automaton over bytes; state 0 is the start. Those of
// rules also have calls: symbols that stand for all that another rule describes.
type dfa struct{ states []dfaState }

type dfaState struct {
	edges  []edge // by byte, disjoint
	calls  []call
	accept bool
}

type edge struct {
	lo, hi byte
	to     int32
}

type call struct{ rule, to int32 }

// next returns the state after a byte, -1 when there is none.
func (s *dfaState) next(b byte) int32 {
	for _, e := range s.edges {
		if b <= e.hi {
			if b >= e.lo {
				return e.to
			}
			return -1
		}
	}
	return -1
}

// matches tells whether all of s is accepted; only for automata without calls.
func (d *dfa) matches(s string) bool {
	at := int32(0)
	for i := 0; i < len(s); i++ {
		if at = d.states[at].next(s[i]); at < 0 {
			return false
		}
	}
	return d.states[at].accept
}

// determinize makes the automaton of an expression without rules.
func determinize(x *node, limit *limits) (*dfa, error) {
	n := &nfa{limit: limit}
	start := n.state()
	return n.determinize(start, n.add(x, start))
}

// determinize is the subset construction.
func (n *nfa) determinize(start, end int32) (*dfa, error) {
	if err := n.limit.check(); err != nil {
		return nil, err
	}
	s := &subsets{n: n, end: end, seen: make([]bool, len(n.first)), index: map[string]int32{}, out: &dfa{}}
	s.state([]int32{start})
	for i := 0; i < len(s.sets); i++ {
		s.expand(i)
		if err := n.limit.check(); err != nil {
			return nil, err
		}
	}
	return s.out, nil
}

type subsets struct {
	n     *nfa
	end   int32
	seen  []bool
	stack []int32
	key   []byte
	index map[string]int32
	sets  [][]int32 // by state of out: the states of n that matter
	out   *dfa
}

// state returns the state of a set, of which the ends of empty steps are a part.
func (s *subsets) state(set []int32) int32 {
	s.stack = s.stack[:0]
	push := func(q int32) {
		if !s.seen[q] {
			s.seen[q] = true
			s.stack = append(s.stack, q)
		}
	}
	for _, q := range set {
		push(q)
	}
	var matter []int32
	for i := 0; i < len(s.stack); i++ {
		q, reads := s.stack[i], s.stack[i] == s.end
		for e := s.n.first[q]; e >= 0; e = s.n.edges[e].next {
			if s.n.edges[e].kind == edgeEmpty {
				push(s.n.edges[e].to)
			} else {
				reads = true
			}
		}
		if reads {
			matter = append(matter, q)
		}
	}
	s.n.limit.work += len(s.stack)
	for _, q := range s.stack {
		s.seen[q] = false
	}
	slices.Sort(matter)
	s.key = s.key[:0]
	for _, q := range matter {
		s.key = binary.LittleEndian.AppendUint32(s.key, uint32(q))
	}
	if i, ok := s.index[string(s.key)]; ok {
		return i
	}
	i := int32(len(s.sets))
	s.index[string(s.key)] = i
	s.sets = append(s.sets, matter)
	_, accept := slices.BinarySearch(matter, s.end)
	s.out.states = append(s.out.states, dfaState{accept: accept})
	s.n.limit.states++
	return i
}

// expand finds the edges of a state.
func (s *subsets) expand(i int) {
	var read []nfaEdge
	calls := map[int32][]int32{}
	var order []int32
	for _, q := range s.sets[i] {
		for e := s.n.first[q]; e >= 0; e = s.n.edges[e].next {
			switch x := s.n.edges[e]; x.kind {
			case edgeByte:
				read = append(read, x)
			case edgeCall:
				if calls[x.call] == nil {
					order = append(order, x.call)
				}
				calls[x.call] = append(calls[x.call], x.to)
			}
		}
	}
	slices.Sort(order)
	for _, rule := range order {
		to := s.state(calls[rule])
		s.out.states[i].calls = append(s.out.states[i].calls, call{rule, to})
	}
	var cut [257]bool
	for _, e := range read {
		cut[e.lo], cut[int(e.hi)+1] = true, true
	}
	var targets []int32
	for lo := 0; lo < 256; {
		hi := lo + 1
		for hi < 256 && !cut[hi] {
			hi++
		}
		targets = targets[:0]
		for _, e := range read {
			if int(e.lo) <= lo && lo <= int(e.hi) {
				targets = append(targets, e.to)
			}
		}
		s.n.limit.work += len(targets)
		if len(targets) > 0 {
			to := s.state(targets)
			s.out.states[i].edges = appendEdge(s.out.states[i].edges, edge{byte(lo), byte(hi - 1), to})
		}
		lo = hi
	}
}

// appendEdge appends an edge behind the last, joined with it where it can be.
func appendEdge(edges []edge, e edge) []edge {
	if n := len(edges); n > 0 && edges[n-1].to == e.to && edges[n-1].hi+1 == e.lo {
		edges[n-1].hi = e.hi
		return edges
	}
	return append(edges, e)
}

// minimal joins the states that accept the same; of automata without calls, and
// small ones only (Moore's algorithm looks at all states as often as the longest
// text that tells two of them apart is long).
func (d *dfa) minimal() *dfa {
	if len(d.states) > 1000 {
		return d
	}
	class := make([]int32, len(d.states))
	count := 0
	for {
		index := map[string]int32{}
		next := make([]int32, len(d.states))
		for i, s := range d.states {
			key := binary.LittleEndian.AppendUint32(nil, uint32(class[i]))
			if s.accept {
				key = append(key, 1)
			}
			var edges []edge
			for _, e := range s.edges {
				edges = appendEdge(edges, edge{e.lo, e.hi, class[e.to]})
			}
			for _, e := range edges {
				key = binary.LittleEndian.AppendUint32(append(key, e.lo, e.hi), uint32(e.to))
			}
			c, ok := index[string(key)]
			if !ok {
				c = int32(len(index))
				index[string(key)] = c
			}
			next[i] = c
		}
		class = next
		if len(index) == count {
			break
		}
		count = len(index)
	}
	out := &dfa{states: make([]dfaState, count)}
	for i, s := range d.states { // state 0 is the first of its class, which is 0
		var edges []edge
		for _, e := range s.edges {
			edges = appendEdge(edges, edge{e.lo, e.hi, class[e.to]})
		}
		out.states[class[i]] = dfaState{edges: edges, accept: s.accept}
	}
	return out
}

// product runs two automata side by side. both: what both accept; otherwise what
// a accepts and b does not. The result has no states from which nothing is accepted.
func product(a, b *dfa, both bool, limit *limits) (*dfa, error) {
	type pair struct{ a, b int32 }
	out, index, list := &dfa{}, map[pair]int32{}, []pair{}
	state := func(p pair) int32 {
		i, ok := index[p]
		if !ok {
			i = int32(len(list))
			index[p] = i
			list = append(list, p)
			inB := p.b >= 0 && b.states[p.b].accept
			out.states = append(out.states, dfaState{accept: a.states[p.a].accept && inB == both})
			limit.states++
		}
		return i
	}
	state(pair{})
	for i := 0; i < len(list); i++ {
		p := list[i]
		for _, e := range a.states[p.a].edges {
			for lo := int(e.lo); lo <= int(e.hi); {
				to, hi := int32(-1), int(e.hi)
				if p.b >= 0 {
					to, hi = b.states[p.b].stretch(byte(lo), e.hi)
				}
				if to >= 0 || !both {
					t := state(pair{e.to, to})
					out.states[i].edges = appendEdge(out.states[i].edges, edge{byte(lo), byte(hi), t})
				}
				lo = hi + 1
				limit.work++
			}
		}
		if err := limit.check(); err != nil {
			return nil, err
		}
	}
	return out.trim(), nil
}

// stretch returns where lo leads to, -1 for nowhere, and up to which byte that is so.
func (s *dfaState) stretch(lo, last byte) (to int32, hi int) {
	for _, e := range s.edges {
		if e.hi < lo {
			continue
		}
		if e.lo > lo {
			return -1, min(int(e.lo)-1, int(last))
		}
		return e.to, min(int(e.hi), int(last))
	}
	return -1, int(last)
}

// trim leaves out states from which nothing is accepted, except the start.
func (d *dfa) trim() *dfa {
	from := make([][]int32, len(d.states))
	alive := make([]bool, len(d.states))
	var queue []int32
	for i, s := range d.states {
		for _, e := range s.edges {
			from[e.to] = append(from[e.to], int32(i))
		}
		if s.accept {
			alive[i] = true
			queue = append(queue, int32(i))
		}
	}
	for ; len(queue) > 0; queue = queue[1:] {
		for _, p := range from[queue[0]] {
			if !alive[p] {
				alive[p] = true
				queue = append(queue, p)
			}
		}
	}
	out, at := &dfa{}, make([]int32, len(d.states))
	for i := range d.states {
		if at[i] = -1; alive[i] || i == 0 {
			at[i] = int32(len(out.states))
			out.states = append(out.states, dfaState{accept: d.states[i].accept})
		}
	}
	for i, s := range d.states {
		for _, e := range s.edges {
			if at[i] >= 0 && at[e.to] >= 0 && alive[e.to] {
				s := &out.states[at[i]]
				s.edges = appendEdge(s.edges, edge{e.lo, e.hi, at[e.to]})
			}
		}
	}
	return out
}

// explore makes the automaton of a step function, which takes ok from a byte that
// must not come; the bytes of alphabet are in order.
func explore[S comparable](start S, alphabet string, step func(S, byte) (next S, ok bool), accept func(S) bool, limit *limits) (*dfa, error) {
	out, index, list := &dfa{}, map[S]int32{}, []S{}
	state := func(s S) int32 {
		i, ok := index[s]
		if !ok {
			i = int32(len(list))
			index[s] = i
			list = append(list, s)
			out.states = append(out.states, dfaState{accept: accept(s)})
			limit.states++
		}
		return i
	}
	state(start)
	for i := 0; i < len(list); i++ {
		for k := 0; k < len(alphabet); k++ {
			limit.work++
			if next, ok := step(list[i], alphabet[k]); ok {
				to := state(next)
				out.states[i].edges = appendEdge(out.states[i].edges, edge{alphabet[k], alphabet[k], to})
			}
		}
		if err := limit.check(); err != nil {
			return nil, err
		}
	}
	return out.trim(), nil
}
