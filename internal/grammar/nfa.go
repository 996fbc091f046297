package grammar

import (
	"errors"
	"fmt"
)

// Sizes a source may reach. They bound memory and the time of Compile; what people
// write by hand or generate from types stays far below.
const (
	maxSource = 1 << 20 // bytes
	maxNFA    = 400_000 // states of the expressions of a grammar
	maxStates = 100_000 // states of its automaton
	maxWork   = 4 << 20 // of making automata, in states looked at
)

// limits counts what the automata of one grammar have used.
type limits struct {
	nfa, states, work int
}

var errTooLarge = errors.New("the automaton is too large")

func (l *limits) check() error {
	switch {
	case l.nfa > maxNFA:
		return fmt.Errorf("%w: more than %d states before it is made deterministic; use smaller repetitions", errTooLarge, maxNFA)
	case l.states > maxStates:
		return fmt.Errorf("%w: more than %d states; use smaller repetitions or simpler alternatives", errTooLarge, maxStates)
	case l.work > maxWork:
		return fmt.Errorf("%w: it takes too long to make it deterministic; use smaller repetitions or simpler alternatives", errTooLarge)
	}
	return nil
}

// nfa is an automaton with steps that read nothing: Thompson's construction.
type nfa struct {
	first []int32 // of each state, its last edge; -1: none
	edges []nfaEdge
	limit *limits

	inline   func(rule int) *node // the body to copy in for a rule; nil: it is called
	nullable []bool               // rules that can be empty
}

type nfaEdge struct {
	lo, hi byte
	kind   uint8
	call   int32 // rule
	to     int32
	next   int32 // edge of the same state
}

const (
	edgeEmpty = iota
	edgeByte
	edgeCall
)

func (n *nfa) state() int32 {
	n.first = append(n.first, -1)
	n.limit.nfa++
	return int32(len(n.first) - 1)
}

func (n *nfa) edge(from int32, e nfaEdge) {
	e.next = n.first[from]
	n.edges = append(n.edges, e)
	n.first[from] = int32(len(n.edges) - 1)
}

func (n *nfa) empty(from, to int32) { n.edge(from, nfaEdge{kind: edgeEmpty, to: to}) }

// add appends what x describes after a state and returns the state after it. A
// loop never leads back to from, which other expressions may begin at, too.
func (n *nfa) add(x *node, from int32) int32 {
	if n.limit.nfa > maxNFA {
		return from // determinize gives the error
	}
	switch x.kind {
	case kindBytes:
		to := n.state()
		n.edge(from, nfaEdge{kind: edgeByte, lo: x.lo, hi: x.hi, to: to})
		return to
	case kindText:
		for i := 0; i < len(x.text); i++ {
			to := n.state()
			n.edge(from, nfaEdge{kind: edgeByte, lo: x.text[i], hi: x.text[i], to: to})
			from = to
		}
		return from
	case kindSeq:
		for _, s := range x.subs {
			from = n.add(s, from)
		}
		return from
	case kindAlt:
		to := n.state()
		for _, s := range x.subs {
			start := n.state()
			n.empty(from, start)
			n.empty(n.add(s, start), to)
		}
		return to
	case kindRepeat:
		return n.addRepeat(x, from)
	case kindRef:
		if body := n.inline(x.ref); body != nil {
			return n.add(body, from)
		}
		to := n.state()
		n.edge(from, nfaEdge{kind: edgeCall, call: int32(x.ref), to: to})
		if n.nullable[x.ref] {
			n.empty(from, to)
		}
		return to
	case kindAuto:
		return n.addAuto(x.auto, from)
	default:
		states := make([]int32, x.graph.nodes)
		for i := range states {
			states[i] = n.state()
		}
		n.empty(from, states[0])
		for _, e := range x.graph.edges {
			at := states[e.from]
			if e.by != nil {
				start := n.state()
				n.empty(at, start)
				at = n.add(e.by, start)
			}
			n.empty(at, states[e.to])
		}
		return states[1]
	}
}

func (n *nfa) addRepeat(x *node, from int32) int32 {
	for range x.min {
		n.limit.nfa++ // even if nothing is repeated
		if n.limit.nfa > maxNFA {
			return from
		}
		from = n.add(x.subs[0], from)
	}
	if x.max < 0 {
		loop := n.state()
		n.empty(from, loop)
		start := n.state()
		n.empty(loop, start)
		n.empty(n.add(x.subs[0], start), loop)
		out := n.state()
		n.empty(loop, out)
		return out
	}
	to := n.state()
	for i := x.min; i < x.max && n.limit.nfa <= maxNFA; i++ {
		n.empty(from, to)
		next := n.state()
		n.empty(from, next)
		from = n.add(x.subs[0], next)
	}
	n.empty(from, to)
	return to
}

func (n *nfa) addAuto(d *dfa, from int32) int32 {
	states := make([]int32, len(d.states))
	for i := range states {
		states[i] = n.state()
	}
	to := n.state()
	n.empty(from, states[0])
	for i, s := range d.states {
		for _, e := range s.edges {
			n.edge(states[i], nfaEdge{kind: edgeByte, lo: e.lo, hi: e.hi, to: states[e.to]})
		}
		if s.accept {
			n.empty(states[i], to)
		}
	}
	return to
}
