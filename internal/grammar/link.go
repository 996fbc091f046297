package grammar

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// automaton is a grammar ready to run: the automata of all rules in one list of
// states, with calls from one to another. It does not change.
type automaton struct {
	states []pushState
	start  int32
	empty  bool        // the empty text is described
	class  [256]uint16 // bytes that no state tells apart have the same
	count  int         // classes
}

// pushState is a state. A call goes to the start of another rule and comes back
// to the state to. Inside the rest of a string characters are counted: head is the
// state between two of them.
type pushState struct {
	edges  []edge
	calls  []pushCall
	accept bool
	only   bool // can go on with the rest of a string, and nothing else
	head   bool
	rest   *lengths // of the string this is a state of
	inRest int32    // its number in restOfString
}

type pushCall struct {
	start, to int32
	last      bool // nothing can follow in the caller, which need not be come back to
}

// live tells whether a text can go on from s.
func (s *pushState) live() bool { return len(s.edges)+len(s.calls) > 0 }

// maxWays bounds in how many ways one byte can be understood at once, before it
// is read.
const maxWays = 500

// linker turns rules into an automaton.
type linker struct {
	rules    []*rule
	nullable []bool
	inlined  []bool
	autos    []*dfa // of rules that are called
	limit    *limits
	live     [][]bool // of autos: a text can be completed from the state
	callable []bool   // a text that is not empty can be
	bytes    *[256]bool
}

// link makes the automaton of rules. bytes are those that the vocabulary can
// write one by one: no other is ever demanded, so that a text that was begun can
// always be completed.
func link(r *rules, limit *limits, bytes *[256]bool) (*automaton, error) {
	l := &linker{rules: r.list, limit: limit, bytes: bytes}
	l.findNullable()
	l.choose()
	if err := l.determinize(); err != nil {
		return nil, err
	}
	l.findLive()
	if !l.live[0][0] {
		return nil, errNoText
	}
	if err := l.leftRecursion(); err != nil {
		return nil, err
	}
	a := l.flatten()
	return a, nil
}

var errNoText = errors.New("no text at all is described, or none that this tokenizer can write")

func (l *linker) findNullable() {
	l.nullable = make([]bool, len(l.rules))
	for again := true; again; {
		again = false
		for i, r := range l.rules {
			if !l.nullable[i] && r.rest == nil && r.body.nullable(l.nullable) {
				l.nullable[i], again = true, true
			}
		}
	}
}

// choose decides which rules are copied into those that use them, so that stacks
// stay shallow and what can be decided for a state is decided once: small ones,
// unless they are recursive. A rule with a loop is called: all its uses then share
// the loop's states, and the token masks of these.
func (l *linker) choose() {
	n := len(l.rules)
	l.inlined = make([]bool, n)
	uses, loops := make([]int, n), make([]bool, n)
	refs := make([][]int, n)
	for i, r := range l.rules {
		if r.rest != nil {
			continue
		}
		r.body.each(func(x *node) {
			switch x.kind {
			case kindRef:
				uses[x.ref]++
				refs[i] = append(refs[i], x.ref)
			case kindRepeat:
				loops[i] = loops[i] || x.max < 0
			case kindGraph, kindAuto:
				loops[i] = true
			}
		})
	}
	sizes := make([]int, n)
	recursive := findRecursive(refs)
	const small, once = 60, 2000
	for _, i := range calleesFirst(refs) {
		r := l.rules[i]
		if i == 0 || r.keep || r.rest != nil || recursive[i] {
			continue
		}
		size := r.body.size(sizes, once)
		if size <= small && !loops[i] || size <= once && uses[i] == 1 {
			l.inlined[i], sizes[i] = true, size
		}
	}
}

// calleesFirst orders rules so that each comes after those it refers to, as far as
// there is such an order.
func calleesFirst(refs [][]int) []int {
	type at struct{ rule, next int }
	seen, order := make([]bool, len(refs)), make([]int, 0, len(refs))
	for r := range refs {
		if seen[r] {
			continue
		}
		seen[r] = true
		for path := []at{{r, 0}}; len(path) > 0; {
			p := &path[len(path)-1]
			if p.next == len(refs[p.rule]) {
				order = append(order, p.rule)
				path = path[:len(path)-1]
				continue
			}
			to := refs[p.rule][p.next]
			p.next++
			if !seen[to] {
				seen[to] = true
				path = append(path, at{to, 0})
			}
		}
	}
	return order
}

// findRecursive finds the rules that come back to themselves: those of strongly
// connected components of more than one (Kosaraju's algorithm), or with an edge to
// themselves.
func findRecursive(refs [][]int) []bool {
	n := len(refs)
	back, recursive, component := make([][]int, n), make([]bool, n), make([]int, n)
	for i, to := range refs {
		component[i] = -1
		for _, t := range to {
			back[t] = append(back[t], i)
			recursive[i] = recursive[i] || t == i
		}
	}
	order := calleesFirst(refs)
	for k := n - 1; k >= 0; k-- {
		if component[order[k]] >= 0 {
			continue
		}
		component[order[k]] = k
		members := []int{order[k]}
		for i := 0; i < len(members); i++ {
			for _, t := range back[members[i]] {
				if component[t] < 0 {
					component[t] = k
					members = append(members, t)
				}
			}
		}
		for _, m := range members {
			recursive[m] = recursive[m] || len(members) > 1
		}
	}
	return recursive
}

// determinize makes the automata of the rules that are called, beginning with 0.
func (l *linker) determinize() error {
	l.autos = make([]*dfa, len(l.rules))
	n := &nfa{limit: l.limit, nullable: l.nullable, inline: func(i int) *node {
		if l.inlined[i] {
			return l.rules[i].body
		}
		return nil
	}}
	queue, seen := []int{0}, make([]bool, len(l.rules))
	seen[0] = true
	for ; len(queue) > 0; queue = queue[1:] {
		r := l.rules[queue[0]]
		if r.rest != nil {
			l.autos[queue[0]] = restOfString()
			l.limit.states += len(restOfString().states)
			continue
		}
		n.first, n.edges = n.first[:0], n.edges[:0]
		start := n.state()
		d, err := n.determinize(start, n.add(r.body, start))
		if err != nil {
			return r.wrap(err)
		}
		l.autos[queue[0]] = d
		for _, s := range d.states {
			for _, c := range s.calls {
				if !seen[c.rule] {
					seen[c.rule] = true
					queue = append(queue, int(c.rule))
				}
			}
		}
	}
	return nil
}

// wrap says which rule of a source that has rules an error is about.
func (r *rule) wrap(err error) error {
	if r.line == 0 {
		return err
	}
	return fmt.Errorf("line %d: rule %s: %w", r.line, r.name, err)
}

// findLive finds the states from which a text can be completed, and takes away
// edges that the vocabulary cannot follow.
func (l *linker) findLive() {
	l.live, l.callable = make([][]bool, len(l.autos)), make([]bool, len(l.autos))
	for r, d := range l.autos {
		if d == nil {
			continue
		}
		l.live[r] = make([]bool, len(d.states))
		for i, s := range d.states {
			l.live[r][i] = s.accept
		}
	}
	for again := true; again; {
		again = false
		for r, d := range l.autos {
			if d == nil {
				continue
			}
			for i := len(d.states) - 1; i >= 0; i-- {
				goes := l.goesOn(r, i)
				if goes && !l.live[r][i] {
					l.live[r][i], again = true, true
				}
				if goes && i == 0 && !l.callable[r] {
					l.callable[r], again = true, true
				}
			}
		}
	}
}

// goesOn tells whether a text can be completed from a state after one more byte.
func (l *linker) goesOn(r, i int) bool {
	s := &l.autos[r].states[i]
	for _, e := range s.edges {
		if l.live[r][e.to] && l.canWrite(e) {
			return true
		}
	}
	for _, c := range s.calls {
		if l.live[r][c.to] && l.callable[c.rule] {
			return true
		}
	}
	return false
}

func (l *linker) canWrite(e edge) bool {
	for b := int(e.lo); b <= int(e.hi); b++ {
		if l.bytes[b] {
			return true
		}
	}
	return false
}

// starts are the rules called before a rule has read anything.
func (l *linker) starts(r int) (called []int) {
	for _, c := range l.autos[r].states[0].calls {
		if l.live[r][c.to] && l.callable[c.rule] {
			called = append(called, int(c.rule))
		}
	}
	return called
}

// leftRecursion refuses rules that call themselves before they have read a byte,
// and too many ways to understand one.
func (l *linker) leftRecursion() error {
	const visiting = -1
	ways := make([]int, len(l.autos))
	var path []int
	var visit func(r int) error
	visit = func(r int) error {
		if ways[r] > 0 {
			return nil
		}
		path = append(path, r)
		if ways[r] == visiting {
			return l.rules[r].wrap(fmt.Errorf("is left-recursive (%s): it begins with itself; write it with a repetition, as in  list ::= item (\",\" item)*", l.names(path)))
		}
		ways[r] = visiting
		total := 1
		for _, c := range l.starts(r) {
			if err := visit(c); err != nil {
				return err
			}
			total = min(total+ways[c], maxWays+1)
		}
		ways[r] = total
		path = path[:len(path)-1]
		return nil
	}
	for r, d := range l.autos {
		if d == nil {
			continue
		}
		if err := visit(r); err != nil {
			return err
		}
	}
	for r, d := range l.autos {
		if d == nil {
			continue
		}
		for _, s := range d.states {
			total := 1
			for _, c := range s.calls {
				total += ways[c.rule]
			}
			if total > maxWays {
				return l.rules[r].wrap(fmt.Errorf("is too ambiguous: the next character can be understood in more than %d ways", maxWays))
			}
		}
	}
	return nil
}

func (l *linker) names(path []int) string {
	last := path[len(path)-1]
	path = path[slices.Index(path, last):]
	var names []string
	for _, r := range path {
		names = append(names, l.rules[r].name)
	}
	return strings.Join(names, " → ")
}

// flatten puts the live states of all rules into one list.
func (l *linker) flatten() *automaton {
	a := &automaton{empty: l.nullable[0]}
	at := make([][]int32, len(l.autos))
	for r, d := range l.autos {
		if d == nil {
			continue
		}
		at[r] = make([]int32, len(d.states))
		for i := range d.states {
			if l.live[r][i] || i == 0 {
				at[r][i] = int32(len(a.states))
				a.states = append(a.states, pushState{})
			}
		}
	}
	for r, d := range l.autos {
		if d == nil {
			continue
		}
		for i, s := range d.states {
			if !l.live[r][i] {
				continue
			}
			p := &a.states[at[r][i]]
			p.accept = s.accept
			if rest := l.rules[r].rest; rest != nil {
				p.rest, p.head, p.inRest = rest, i == 0, int32(i)
			}
			for _, e := range s.edges {
				if l.live[r][e.to] {
					l.cut(e, func(lo, hi byte) { p.edges = append(p.edges, edge{lo, hi, at[r][e.to]}) })
				}
			}
			for _, c := range s.calls {
				if l.live[r][c.to] && l.callable[c.rule] {
					last := d.states[c.to].accept && !l.goesOn(r, int(c.to))
					p.calls = append(p.calls, pushCall{at[c.rule][0], at[r][c.to], last})
				}
			}
		}
	}
	for i := range a.states {
		s := &a.states[i]
		s.only = !s.accept && len(s.edges) == 0 && len(s.calls) == 1 && a.states[s.calls[0].start].rest != nil
	}
	a.start = at[0][0]
	a.findClasses()
	return a
}

// cut calls f with the parts of an edge that the vocabulary can write.
func (l *linker) cut(e edge, f func(lo, hi byte)) {
	for lo := int(e.lo); lo <= int(e.hi); lo++ {
		if !l.bytes[lo] {
			continue
		}
		hi := lo
		for hi < int(e.hi) && l.bytes[hi+1] {
			hi++
		}
		f(byte(lo), byte(hi))
		lo = hi
	}
}

func (a *automaton) findClasses() {
	var cut [257]bool
	for _, s := range a.states {
		for _, e := range s.edges {
			cut[e.lo], cut[int(e.hi)+1] = true, true
		}
	}
	for b := range 256 {
		if b > 0 && cut[b] {
			a.count++
		}
		a.class[b] = uint16(a.count)
	}
	a.count++
}
