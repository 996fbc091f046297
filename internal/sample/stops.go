package sample

// Stops finds the first stop sequence in a stream of tokens and withholds tokens that may be part of one until that is
// decided. It is an Aho-Corasick automaton: after a mismatch it goes on with the longest ending that still begins a stop
// sequence, so a sequence that overlaps its own beginning (1 1 2 in 1 1 1 2) is found. One goroutine uses it at a time.
type Stops struct {
	nodes   []node
	state   int
	held    []int32 // withheld tokens, as many as the state's depth
	emitted []int32 // scratch for the result of Push
	done    bool
}

type node struct {
	next  map[int32]int
	fail  int // the node of the longest proper ending of this one's tokens
	depth int
	match int // length of the longest stop sequence that ends here; 0 means none
}

// NewStops prepares for sequences of token ids; empty ones are ignored. Without any, every token passes at once.
func NewStops(sequences [][]int32) *Stops {
	s := &Stops{nodes: []node{{}}}
	for _, seq := range sequences {
		at := 0
		for _, id := range seq {
			to, ok := s.nodes[at].next[id]
			if !ok {
				to = len(s.nodes)
				s.nodes = append(s.nodes, node{depth: s.nodes[at].depth + 1})
				if s.nodes[at].next == nil {
					s.nodes[at].next = map[int32]int{}
				}
				s.nodes[at].next[id] = to
			}
			at = to
		}
		s.nodes[at].match = s.nodes[at].depth
	}
	for queue := []int{0}; len(queue) > 0; queue = queue[1:] { // by depth, as fail links point to smaller depths
		at := queue[0]
		for id, to := range s.nodes[at].next {
			if at != 0 {
				s.nodes[to].fail = s.step(s.nodes[at].fail, id)
			}
			if s.nodes[to].match == 0 {
				s.nodes[to].match = s.nodes[s.nodes[to].fail].match
			}
			queue = append(queue, to)
		}
	}
	return s
}

// step is where the automaton goes from a node with a token.
func (s *Stops) step(at int, id int32) int {
	for {
		if to, ok := s.nodes[at].next[id]; ok {
			return to
		}
		if at == 0 {
			return 0
		}
		at = s.nodes[at].fail
	}
}

// Push takes the next token and returns the tokens that are now certain not to belong to a stop sequence; the slice is valid
// until the next call. done means that a stop sequence is complete: it and what follows are never emitted. Where several end
// at the same token, the longest counts.
func (s *Stops) Push(id int32) (emit []int32, done bool) {
	if s.done {
		return nil, true
	}
	s.state = s.step(s.state, id)
	s.held = append(s.held, id)
	n := s.nodes[s.state]
	keep := n.depth
	if n.match > 0 {
		s.done = true
		keep = n.match
	}
	out := len(s.held) - keep
	s.emitted = append(s.emitted[:0], s.held[:out]...)
	s.held = append(s.held[:0], s.held[out:]...)
	if s.done {
		s.held = nil
	}
	return s.emitted, s.done
}

// Flush returns the tokens withheld for a stop sequence that did not come, for the end of generation, and starts a new stream.
func (s *Stops) Flush() []int32 {
	out := s.held
	s.held, s.state, s.done = nil, 0, false
	return out
}
