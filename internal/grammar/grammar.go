// Package grammar constrains what is generated: to JSON of a schema, to a regular
// expression, to a grammar.
//
// Compile turns a Source into an automaton over bytes with a stack, once; Start
// gives the state of one text, which says before each token which ones can come.
// Whatever is chosen among them, the text stays one that can be completed, and it
// can end only where it is complete. Bounds of sizes are constants beside what they
// bound.
//
// The way of a source: schema.go, regex.go and gbnf.go read it into expressions
// (node.go), link.go makes automata of those, stacks.go runs them, masks.go finds
// the tokens. It knows no models: ids and bytes come from a Vocab.
package grammar

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/litgpt-go/litgpt/internal/sample"
)

// Types of sources.
const (
	JSONObject = "json_object" // any JSON object; Text is not read
	JSONSchema = "json_schema" // what the JSON schema Text describes
	Regex      = "regex"       // what matches the regular expression Text from first to last character
	GBNF       = "gbnf"        // what the rule root of Text describes, a grammar in llama.cpp's form
)

// Source is what a text must be.
type Source struct {
	Type string // one of those above
	Text string

	// Strict objects have no properties but those listed, unless a schema says
	// otherwise: additionalProperties is false where it is not written. JSON Schema's
	// own default is true.
	Strict bool

	// Schemas are rules a GBNF grammar can refer to by name, each given by the JSON
	// schema of what it stands for: for a call's arguments inside a format's own text.
	Schemas map[string]string
}

// Grammar is a compiled source for one vocabulary. Any number of goroutines may use it.
type Grammar struct {
	v       *Vocab
	a       *automaton
	arena   *atomic.Pointer[arena] // shared with those that After returns
	swap    *sync.Mutex
	trigger *trigger // nil: the text begins at once
}

// cacheBytes bounds what a grammar remembers of the sets and masks it came to.
const cacheBytes = 32 << 20

// Compile reads a source. Errors say what is wrong where.
func Compile(source Source, v *Vocab) (*Grammar, error) {
	read, ok := readers[source.Type]
	if !ok {
		return nil, fmt.Errorf("type of grammar %q: want one of %q", source.Type, slices.Sorted(maps.Keys(readers)))
	}
	size := len(source.Text)
	for _, s := range source.Schemas {
		size += len(s)
	}
	if size > maxSource {
		return nil, fmt.Errorf("%s of %d bytes: want at most %d", source.Type, size, maxSource)
	}
	limit := &limits{}
	r, err := read(source, v, limit)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source.Type, err)
	}
	a, err := link(r, limit, &v.bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source.Type, err)
	}
	g := &Grammar{v: v, a: a, arena: new(atomic.Pointer[arena]), swap: new(sync.Mutex)}
	g.arena.Store(newArena(a, cacheBytes))
	return g, nil
}

// readers turn sources into rules.
var readers = map[string]func(Source, *Vocab, *limits) (*rules, error){
	JSONObject: func(Source, *Vocab, *limits) (*rules, error) {
		r := newRules()
		r.list = append(r.list, &rule{name: "root"})
		r.list[0].body = r.object()
		return r, nil
	},
	JSONSchema: func(s Source, _ *Vocab, l *limits) (*rules, error) { return readSchema(s.Text, s.Strict, l) },
	Regex:      func(s Source, _ *Vocab, l *limits) (*rules, error) { return readRegex(s.Text) },
	GBNF:       readGBNF,
}

// current returns the arena to work in, a new one when the last is full.
func (g *Grammar) current() *arena {
	ar := g.arena.Load()
	if !ar.full() {
		return ar
	}
	g.swap.Lock()
	defer g.swap.Unlock()
	if ar = g.arena.Load(); ar.full() {
		ar = newArena(g.a, ar.limit)
		g.arena.Store(ar)
	}
	return ar
}

// Accepts tells whether text is what the grammar describes, all of it.
func (g *Grammar) Accepts(text []byte) bool {
	s := g.Start()
	for _, b := range text {
		if !s.write(b) {
			return false
		}
	}
	return s.Complete()
}

// State is how far one text has come. One goroutine uses it at a time.
type State struct {
	g     *Grammar
	set   *set // nil while a trigger is waited for
	wait  int  // state of the trigger
	ended bool // an id that ends the text was chosen

	scratch sample.Mask // Allowed's result where it is not a shared one
	listed  []int32     // what is in scratch
}

// Start returns the state before the first token.
func (g *Grammar) Start() *State {
	s := &State{g: g}
	if g.trigger == nil {
		s.set = g.current().start()
	}
	return s
}

// Clone returns a copy that goes its own way.
func (s *State) Clone() *State {
	return &State{g: s.g, set: s.set, wait: s.wait, ended: s.ended}
}

// Allowed returns the tokens that can come next, with those that end the text where
// it is complete; nil for all. It must not be changed and is valid until Accept.
func (s *State) Allowed() sample.Mask {
	if s.ended {
		return s.list(nil)
	}
	if s.set == nil {
		return s.g.waiting(s.wait)
	}
	t := s.g.v.tokens(s.here())
	if t.mask != nil {
		return t.mask
	}
	return s.list(t.few)
}

// here is the state's set, in an arena that is not full.
func (s *State) here() *set {
	if ar := s.g.current(); s.set.in != ar {
		s.set = ar.adopt(s.set)
	}
	return s.set
}

// list puts ids into scratch.
func (s *State) list(ids []int32) sample.Mask {
	if s.scratch == nil {
		s.scratch = sample.NewMask(s.g.v.size)
	}
	for _, id := range s.listed {
		s.scratch[id>>6] = 0
	}
	for _, id := range ids {
		s.scratch.Set(id)
	}
	s.listed = ids
	return s.scratch
}

// Accept takes the token that was chosen. Without one of those that can come it
// gives an error and stays where it is.
func (s *State) Accept(id int32) error {
	v := s.g.v
	if s.ended {
		return fmt.Errorf("token %d: the text has ended", id)
	}
	if slices.Contains(v.end, id) {
		if s.set != nil && !s.set.ends {
			return fmt.Errorf("token %d ends the text, which is not complete", id)
		}
		s.ended = true
		return nil
	}
	if id < 0 || int(id) >= v.size {
		return fmt.Errorf("token %d: the vocabulary has %d", id, v.size)
	}
	if s.set == nil {
		return s.acceptWaiting(id)
	}
	at := s.here()
	if len(v.token[id]) == 0 {
		return fmt.Errorf("token %d has no text", id)
	}
	for _, b := range v.token[id] {
		if at = at.step(b); at.dead() {
			return fmt.Errorf("token %d (%s) cannot come here", id, v.name(id))
		}
	}
	s.set = at
	return nil
}

// name is a token in an error.
func (v *Vocab) name(id int32) string {
	if n, ok := v.special[id]; ok {
		return n
	}
	return fmt.Sprintf("%q", v.token[id])
}

// Done reports that nothing more can come: the text has ended, or is complete and
// cannot go on.
func (s *State) Done() bool {
	return s.ended || s.set != nil && len(s.set.configs) == 0
}

// Complete reports that the text can end here.
func (s *State) Complete() bool { return s.ended || s.set == nil || s.set.ends }

// write takes one byte of text.
func (s *State) write(b byte) bool {
	if s.set == nil {
		s.waitByte(b)
		return true
	}
	next := s.here().step(b)
	if next.dead() {
		return false
	}
	s.set = next
	return true
}
