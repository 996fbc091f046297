package grammar

// Every kind of source becomes the same expressions over bytes; characters are
// bytes of UTF-8 from here on, because tokens may begin and end in the middle of one.

type kind uint8

const (
	kindBytes  kind = iota // one byte in lo..hi
	kindText               // the bytes of text
	kindSeq                // subs, one after the other; none: the empty text
	kindAlt                // one of subs; none: nothing at all
	kindRepeat             // subs[0], min to max times
	kindRef                // what rule number ref describes
	kindAuto               // what auto accepts
	kindGraph              // a way through graph
)

// node is an expression. Nodes are shared, and never changed once built.
type node struct {
	kind     kind
	lo, hi   byte
	text     string
	subs     []*node
	min, max int // max < 0: no limit
	ref      int
	auto     *dfa
	graph    *graph
}

// graph is an automaton whose edges are expressions: what is awkward to write as
// an expression, such as the commas of an object with optional properties.
// Node 0 is the start, node 1 the end.
type graph struct {
	nodes int
	edges []graphEdge
}

type graphEdge struct {
	from, to int
	by       *node // nil: nothing has to be written
}

func newGraph() *graph { return &graph{nodes: 2} }

func (g *graph) node() int {
	g.nodes++
	return g.nodes - 1
}

func (g *graph) edge(from, to int, by *node) { g.edges = append(g.edges, graphEdge{from, to, by}) }

var (
	nothing = &node{kind: kindAlt} // no text at all, not even the empty one
	empty   = &node{kind: kindSeq}
)

func text(s string) *node          { return &node{kind: kindText, text: s} }
func seq(subs ...*node) *node      { return &node{kind: kindSeq, subs: subs} }
func alt(subs ...*node) *node      { return &node{kind: kindAlt, subs: subs} }
func ref(rule int) *node           { return &node{kind: kindRef, ref: rule} }
func auto(d *dfa) *node            { return &node{kind: kindAuto, auto: d} }
func bytesIn(lo, hi byte) *node    { return &node{kind: kindBytes, lo: lo, hi: hi} }
func optional(n *node) *node       { return repeat(n, 0, 1) }
func star(n *node) *node           { return repeat(n, 0, -1) }
func (g *graph) expression() *node { return &node{kind: kindGraph, graph: g} }

func repeat(n *node, min, max int) *node {
	return &node{kind: kindRepeat, subs: []*node{n}, min: min, max: max}
}

// rule is a named expression, or the rest of a JSON string after its first quote.
type rule struct {
	name string
	body *node
	rest *lengths // instead of body
	line int      // in the source, from 1; 0 where there are no lines
	keep bool     // is called, never copied into the rules that use it
}

// lengths bound the characters of a JSON string; max < 0: no limit.
type lengths struct{ min, max int }

// rules are a grammar while it is built; rule 0 is the whole text.
type rules struct {
	list   []*rule
	byKind map[any]int // rules that are made once, by what asks for them
}

func newRules() *rules { return &rules{byKind: map[any]int{}} }

// add makes a rule whose body may be set later.
func (r *rules) add(name string, body *node) int {
	r.list = append(r.list, &rule{name: name, body: body})
	return len(r.list) - 1
}

// once returns the rule of a key, and makes it the first time.
func (r *rules) once(key any, name string, body func() *node) *node {
	i, ok := r.byKind[key]
	if !ok {
		i = r.add(name, nothing)
		r.list[i].keep = true
		r.byKind[key] = i
		r.list[i].body = body()
	}
	return ref(i)
}

// each calls f with n and all expressions in it.
func (n *node) each(f func(*node)) {
	f(n)
	for _, s := range n.subs {
		s.each(f)
	}
	if n.graph != nil {
		for _, e := range n.graph.edges {
			if e.by != nil {
				e.by.each(f)
			}
		}
	}
}

// nullable tells whether n can be the empty text, given which rules can.
func (n *node) nullable(rules []bool) bool {
	switch n.kind {
	case kindBytes:
		return false
	case kindText:
		return n.text == ""
	case kindSeq:
		for _, s := range n.subs {
			if !s.nullable(rules) {
				return false
			}
		}
		return true
	case kindAlt:
		for _, s := range n.subs {
			if s.nullable(rules) {
				return true
			}
		}
		return false
	case kindRepeat:
		return n.min == 0 || n.subs[0].nullable(rules)
	case kindRef:
		return rules[n.ref]
	case kindAuto:
		return n.auto.states[0].accept
	default:
		return n.graph.nullable(rules)
	}
}

func (g *graph) nullable(rules []bool) bool {
	reached := make([]bool, g.nodes)
	reached[0] = true
	for again := true; again; {
		again = false
		for _, e := range g.edges {
			if reached[e.from] && !reached[e.to] && (e.by == nil || e.by.nullable(rules)) {
				reached[e.to], again = true, true
			}
		}
	}
	return reached[1]
}

// size is about how many states n becomes, at most limit+1; of gives the sizes of
// rules that would be copied in, 0 for those that are called.
func (n *node) size(of []int, limit int) int {
	total := 1
	add := func(k int) { total = min(total+k, limit+1) }
	switch n.kind {
	case kindText:
		add(len(n.text))
	case kindRepeat:
		one := n.subs[0].size(of, limit)
		times := max(n.min, n.max, 1)
		if times > limit/one {
			return limit + 1
		}
		add(one * times)
	case kindRef:
		add(of[n.ref])
	case kindAuto:
		add(len(n.auto.states))
	case kindGraph:
		add(n.graph.nodes)
		for _, e := range n.graph.edges {
			if e.by != nil {
				add(e.by.size(of, limit))
			}
		}
	case kindBytes, kindSeq, kindAlt:
		for _, s := range n.subs {
			add(s.size(of, limit))
		}
	}
	return total
}
