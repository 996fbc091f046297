package grammar

import (
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
)

// While a text is written, the automaton is in a set of configurations: a state
// and the stack of states to come back to. Stacks share their lower frames, equal
// frames and equal sets are one (they are interned), and a set remembers where each
// byte leads: in the steady state a byte costs one look-up.

// frame is where a call comes back to; nil is the end of the text.
type frame struct {
	state int32
	up    *frame
	id    uint32              // in its arena
	after atomic.Pointer[set] // the set after coming back to it, once asked for
}

// open is a frame of which nothing is known: what is above it holds for all stacks.
var open = &frame{state: -1}

type config struct {
	state int32
	count int32 // characters of the string that state is in
	up    *frame
}

// set is a set of configurations. It has no more than maxConfigs: of a very
// ambiguous text some readings are given up, which can make a text impossible that
// the grammar has, never the other way round.
type set struct {
	configs []config
	ends    bool // the text can end here
	escapes bool // the frame open can be come back to
	in      *arena

	expanded []config // and those after calls; under in.mu
	next     []atomic.Pointer[set]
	tokens   atomic.Pointer[tokens] // that can come, for stacks that end in nil
	local    atomic.Pointer[local]  // the same for a stack of open
}

const maxConfigs = 64

// dead tells that nothing leads on and the text is not complete.
func (s *set) dead() bool { return len(s.configs) == 0 && !s.ends && !s.escapes }

// arena holds the frames and sets of an automaton that requests have come to. One
// that has grown too large is given up as a whole; whoever comes from it moves to
// the next with what it needs.
type arena struct {
	a     *automaton
	limit int64
	bytes atomic.Int64
	none  *set

	mu     sync.Mutex
	frames map[frameKey]*frame
	sets   map[string]*set
	key    []byte
}

type frameKey struct {
	state int32
	up    *frame
}

func newArena(a *automaton, limit int64) *arena {
	ar := &arena{a: a, limit: limit, frames: map[frameKey]*frame{}, sets: map[string]*set{}}
	ar.none = &set{in: ar}
	return ar
}

// full tells that it is time for another arena.
func (ar *arena) full() bool { return ar.bytes.Load() > ar.limit }

// frame interns a frame; under mu.
func (ar *arena) frame(state int32, up *frame) *frame {
	k := frameKey{state, up}
	f, ok := ar.frames[k]
	if !ok {
		f = &frame{state: state, up: up, id: uint32(len(ar.frames) + 2)}
		ar.frames[k] = f
		ar.bytes.Add(100)
	}
	return f
}

// kernel collects the configurations of a set.
type kernel struct {
	ar      *arena
	configs []config
	ends    bool
	escapes bool
}

// add adds a configuration, and where it can come back to; under mu.
func (k *kernel) add(c config) {
	for {
		s := &k.ar.a.states[c.state]
		if s.only {
			// What follows is the called rule's, whose states are shared.
			up := c.up
			if call := s.calls[0]; !call.last {
				up = k.ar.frame(call.to, up)
			}
			c = config{state: s.calls[0].start, up: up}
			s = &k.ar.a.states[c.state]
		}
		if s.live() {
			if slices.Contains(k.configs, c) {
				return
			}
			if len(k.configs) < maxConfigs {
				k.configs = append(k.configs, c)
			}
		}
		if !s.accept {
			return
		}
		switch c.up {
		case nil:
			k.ends = true
			return
		case open:
			k.escapes = true
			return
		}
		c = config{state: c.up.state, up: c.up.up}
	}
}

// set interns what was collected; under mu.
func (ar *arena) set(k *kernel) *set {
	if len(k.configs) == 0 && !k.ends && !k.escapes {
		return ar.none
	}
	slices.SortFunc(k.configs, func(a, b config) int {
		if a.state != b.state {
			return int(a.state - b.state)
		}
		if a.count != b.count {
			return int(a.count - b.count)
		}
		return int(a.up.number()) - int(b.up.number())
	})
	ar.key = ar.key[:0]
	for _, c := range k.configs {
		ar.key = binary.LittleEndian.AppendUint32(ar.key, uint32(c.state))
		ar.key = binary.LittleEndian.AppendUint32(ar.key, uint32(c.count))
		ar.key = binary.LittleEndian.AppendUint32(ar.key, c.up.number())
	}
	if k.ends {
		ar.key = append(ar.key, 1)
	}
	if k.escapes {
		ar.key = append(ar.key, 2, 2)
	}
	if s, ok := ar.sets[string(ar.key)]; ok {
		return s
	}
	s := &set{configs: slices.Clone(k.configs), ends: k.ends, escapes: k.escapes, in: ar}
	if ar.bytes.Load() > 2*ar.limit {
		return s // within one walk over the tokens no other arena can begin: forget this set
	}
	s.next = make([]atomic.Pointer[set], ar.a.count)
	ar.sets[string(ar.key)] = s
	ar.bytes.Add(int64(200 + 30*len(s.configs) + 8*len(s.next)))
	return s
}

// number tells frames apart: 0 the end of the text, 1 open.
func (f *frame) number() uint32 {
	switch f {
	case nil:
		return 0
	case open:
		return 1
	}
	return f.id
}

// single interns the set of one configuration and where it can come back to.
func (ar *arena) single(c config) *set {
	ar.mu.Lock()
	defer ar.mu.Unlock()
	k := kernel{ar: ar}
	k.add(c)
	return ar.set(&k)
}

// start is the set before the first byte.
func (ar *arena) start() *set {
	ar.mu.Lock()
	defer ar.mu.Unlock()
	k := kernel{ar: ar, ends: ar.a.empty}
	if ar.a.states[ar.a.start].live() {
		k.configs = append(k.configs, config{state: ar.a.start})
	}
	return ar.set(&k)
}

// back is the set after a call has come back to f.
func (ar *arena) back(f *frame) *set {
	if s := f.after.Load(); s != nil {
		return s
	}
	s := ar.single(config{state: f.state, up: f.up})
	f.after.Store(s)
	return s
}

// step returns the set after a byte; dead when it cannot come.
func (s *set) step(b byte) *set {
	if s.next == nil {
		return s.find(b)
	}
	at := &s.next[s.in.a.class[b]]
	if t := at.Load(); t != nil {
		return t
	}
	t := s.find(b)
	at.Store(t)
	return t
}

// find makes the set after a byte.
func (s *set) find(b byte) *set {
	ar := s.in
	ar.mu.Lock()
	defer ar.mu.Unlock()
	if s.expanded == nil {
		s.expanded = ar.expand(s.configs)
	}
	k := kernel{ar: ar}
	for _, c := range s.expanded {
		p := &ar.a.states[c.state]
		if to := p.next(b); to >= 0 {
			count, ok := p.counted(c.count, b)
			if !ok {
				continue
			}
			k.add(config{to, count, c.up})
		}
	}
	return ar.set(&k)
}

// next is where a byte leads, -1 for nowhere.
func (p *pushState) next(b byte) int32 {
	if len(p.edges) > 8 {
		i, _ := slices.BinarySearchFunc(p.edges, b, func(e edge, b byte) int { return int(e.hi) - int(b) })
		if i < len(p.edges) && p.edges[i].lo <= b {
			return p.edges[i].to
		}
		return -1
	}
	for _, e := range p.edges {
		if e.lo <= b && b <= e.hi {
			return e.to
		}
	}
	return -1
}

// counted is the number of characters after a byte; ok is false when a string may
// not end yet, or not go on. Above its minimum a string without maximum does not count.
func (p *pushState) counted(count int32, b byte) (after int32, ok bool) {
	if !p.head {
		return count, true
	}
	if b == '"' {
		return 0, int(count) >= p.rest.min
	}
	if p.rest.max >= 0 {
		return count + 1, int(count) < p.rest.max
	}
	return min(count+1, int32(p.rest.min)), true
}

// maxExpanded bounds the configurations looked at for a byte; what one of them can
// call (maxWays) always fits.
const maxExpanded = 1000

// expand adds what can be called; under mu. Configurations are taken one by one, each
// with all that it leads to, so that at least the first has a way on.
func (ar *arena) expand(configs []config) []config {
	out := make([]config, 0, len(configs)+4)
	var seen map[config]bool
	for _, c := range configs {
		if len(out) > maxExpanded {
			break
		}
		out = append(out, c)
		for i := len(out) - 1; i < len(out); i++ {
			for _, call := range ar.a.states[out[i].state].calls {
				up := out[i].up
				if !call.last {
					up = ar.frame(call.to, up)
				}
				n := config{state: call.start, up: up}
				if seen == nil && slices.Contains(out, n) || seen[n] {
					continue
				}
				out = append(out, n)
				if seen != nil {
					seen[n] = true
				} else if len(out) > 32 {
					seen = map[config]bool{}
					for _, c := range out {
						seen[c] = true
					}
				}
			}
		}
	}
	return out
}

// adopt returns the equal of a set of another arena.
func (ar *arena) adopt(s *set) *set {
	ar.mu.Lock()
	defer ar.mu.Unlock()
	k := kernel{ar: ar, ends: s.ends, escapes: s.escapes}
	for _, c := range s.configs {
		k.configs = append(k.configs, config{c.state, c.count, ar.adoptFrame(c.up)})
	}
	return ar.set(&k)
}

func (ar *arena) adoptFrame(f *frame) *frame {
	var path []*frame
	for ; f != nil && f != open; f = f.up {
		path = append(path, f)
	}
	up := f
	for _, f := range slices.Backward(path) {
		up = ar.frame(f.state, up)
	}
	return up
}
