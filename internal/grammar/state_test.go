package grammar

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/litgpt-go/litgpt/internal/sample"
	"github.com/litgpt-go/litgpt/tokenizer"
)

// constraint is what the engine wants of a grammar (generate.Constraint).
type constraint interface {
	Allowed() sample.Mask
	Accept(id int32) error
	Done() bool
}

var _ constraint = (*State)(nil)

func TestEnd(t *testing.T) {
	v := byteVocab(t, "ab")
	end := int32(v.Size() - 1)
	g := compile(t, Source{Type: Regex, Text: "a+b?"}, v)
	s := g.Start()
	if got := ids(s.Allowed(), v.Size()); !slices.Equal(got, []int32{'a', 256}) {
		t.Errorf("at the start: %v", got)
	}
	if err := s.Accept(end); err == nil {
		t.Error("ended before it is complete")
	}
	if err := s.Accept('b'); err == nil || !strings.Contains(err.Error(), "cannot come here") {
		t.Errorf("wrong token: %v", err)
	}
	if err := s.Accept(9999); err == nil {
		t.Error("accepted an id beyond the vocabulary")
	}
	if err := s.Accept('a'); err != nil {
		t.Fatal(err)
	}
	if got := ids(s.Allowed(), v.Size()); !slices.Equal(got, []int32{'a', 'b', 256, end}) {
		t.Errorf("after a: %v", got)
	}
	other := s.Clone()
	if err := other.Accept('b'); err != nil || !other.Done() {
		t.Errorf("after ab: %v, done %v", err, other.Done())
	}
	if got := ids(other.Allowed(), v.Size()); !slices.Equal(got, []int32{end}) {
		t.Errorf("when done: %v", got)
	}
	if err := s.Accept(end); err != nil || !s.Done() {
		t.Errorf("end: %v, done %v", err, s.Done())
	}
	if err := s.Accept('a'); err == nil {
		t.Error("went on after the end")
	}
	if got := ids(s.Allowed(), v.Size()); len(got) > 0 {
		t.Errorf("after the end: %v", got)
	}
}

func TestAfter(t *testing.T) {
	v := byteVocab(t, "l>x", "l>{", "call", "<ca", "l><call>")
	base := compile(t, Source{Type: Regex, Text: `\{a*\}`}, v)
	g, err := base.After("<call>", "!!")
	if err != nil {
		t.Fatal(err)
	}
	s := g.Start()
	if s.Allowed() != nil {
		t.Error("not all is allowed in free text")
	}
	if !s.Complete() || s.Done() {
		t.Error("free text is complete, but not done")
	}
	for _, b := range []byte("say <call <ca") {
		if m := s.Allowed(); m != nil && !m.Has(int32(b)) {
			t.Errorf("%q is not allowed", b)
		}
		if err := s.Accept(int32(b)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := s.Accept('l'); err != nil {
			t.Fatal(err)
		}
	}
	if m := s.Allowed(); m != nil {
		t.Error("one byte before the end of the trigger: not everything is allowed")
	}
	before := s.Clone()
	for _, c := range []struct {
		from string
		id   int32
		ok   bool
	}{{"<cal", 'l', true}, {"<cal", 256, false}, {"<cal", 257, true}, {"<cal", 260, false}, {"cal", 256, true}, {"al", 260, true}} {
		s := g.Start()
		for _, b := range []byte(c.from) {
			if err := s.Accept(int32(b)); err != nil {
				t.Fatal(err)
			}
		}
		m := s.Allowed()
		if has := m == nil || m.Has(c.id); has != c.ok {
			t.Errorf("after %q: token %q is allowed: %v", c.from, v.Bytes(c.id), has)
		}
		if err := s.Clone().Accept(c.id); (err == nil) != c.ok {
			t.Errorf("after %q: token %q: %v", c.from, v.Bytes(c.id), err)
		}
	}
	s = before
	if err := s.Accept('>'); err != nil {
		t.Fatal(err)
	}
	if got := ids(s.Allowed(), v.Size()); !slices.Equal(got, []int32{'{'}) {
		t.Errorf("after the trigger: %v", got)
	}
	for text, want := range map[string]bool{"": true, "free <call": true, "x<call>{aa}": true, "x<call>": false, "x<call>y": false, "!!{}": true, "!<call>{}": true} {
		if g.Accepts([]byte(text)) != want {
			t.Errorf("%q: accepted %v, want %v", text, !want, want)
		}
	}
	if _, err := base.After(""); err == nil {
		t.Error("an empty trigger")
	}
	if same, _ := base.After(); same != base {
		t.Error("without triggers it is another grammar")
	}
}

// A control token may be the trigger.
func TestAfterSpecial(t *testing.T) {
	tokens := [][]byte{[]byte("a"), []byte("["), nil, nil}
	v, err := newVocab(tokens, map[int32]string{2: "[CALLS]"}, []int32{3})
	if err != nil {
		t.Fatal(err)
	}
	g, err := compile(t, Source{Type: Regex, Text: `\[a`}, v).After("[CALLS]")
	if err != nil {
		t.Fatal(err)
	}
	s := g.Start()
	for _, id := range []int32{0, 1, 2} {
		if m := s.Allowed(); m != nil && !m.Has(id) {
			t.Fatalf("token %d is not allowed", id)
		}
		if err := s.Accept(id); err != nil {
			t.Fatal(err)
		}
	}
	if got := ids(s.Allowed(), 4); !slices.Equal(got, []int32{1}) {
		t.Errorf("after the trigger: %v", got)
	}
}

// Bytes that no token writes are never demanded.
func TestPoorVocabulary(t *testing.T) {
	var tokens [][]byte
	for _, s := range []string{"a", "b", "é", "\xc3", "{", "}", `"`, ":", "ü"} {
		tokens = append(tokens, []byte(s))
	}
	v, err := VocabOf(tokens, nil)
	if err != nil {
		t.Fatal(err)
	}
	g := compile(t, Source{Type: JSONObject}, v)
	r := rand.New(rand.NewPCG(1, 9))
	for range 20 {
		draw(t, g, r, 30)
	}
	if _, err := Compile(Source{Type: Regex, Text: "abc"}, v); err == nil || !strings.Contains(err.Error(), "this tokenizer can write") {
		t.Errorf("got %v", err)
	}
}

// The mask says what walking each token says, on real vocabularies and with a
// cache so small that it is given up all the time.
func TestMasksAgree(t *testing.T) {
	sources := []Source{
		{Type: JSONSchema, Text: personSchema, Strict: true},
		{Type: JSONObject},
		{Type: GBNF, Text: jsonGBNF},
		{Type: Regex, Text: `([a-z]+ ?){1,40}(é|日本)*\.|"[^"]*"`},
		{Type: GBNF, Text: "root ::= s\ns ::= \"a\" s \"b\" | \"a\" t \"c\" | \" \"*\nt ::= \"a\" s \"e\" | \"a\" t \"f\" | [^x]"},
	}
	tokenizers(t, func(name string, tok *tokenizer.Tokenizer) {
		if name == "t5-small" {
			return
		}
		v, err := NewVocab(tok, tok.EOS())
		if err != nil {
			t.Fatal(name, err)
		}
		for k, source := range sources {
			g := compile(t, source, v)
			small := compile(t, source, v)
			small.arena.Store(newArena(small.a, 1000))
			r := rand.New(rand.NewPCG(8, uint64(k)))
			s, other := g.Start(), small.Start()
			for n := 0; n < 25 && !s.Done(); n++ {
				m := s.Allowed()
				if !slices.Equal(m, other.Allowed()) {
					t.Fatalf("%s: source %d: a small cache gives another mask", name, k)
				}
				some := ids(m, v.Size())
				for range 300 {
					id := int32(r.IntN(v.Size()))
					if r.IntN(2) == 0 {
						id = some[r.IntN(len(some))]
					}
					if err := s.Clone().Accept(id); (err == nil) != m.Has(id) {
						t.Fatalf("%s: source %d: token %d (%s): in the mask %v, Accept: %v", name, k, id, v.name(id), m.Has(id), err)
					}
				}
				id := some[r.IntN(len(some))]
				if err := s.Accept(id); err != nil {
					t.Fatal(err)
				}
				if err := other.Accept(id); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// Many requests share one grammar, whose cache is given up under them.
func TestConcurrent(t *testing.T) {
	v := jsonVocab(t)
	g := compile(t, Source{Type: JSONSchema, Text: personSchema, Strict: true}, v)
	g.arena.Store(newArena(g.a, 200_000))
	want := make([]string, 8)
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			text := draw(t, g, rand.New(rand.NewPCG(11, uint64(i%8))), 100)
			if i < 8 {
				want[i] = text
			}
			if !g.Accepts([]byte(text)) {
				t.Errorf("drew %q, which is not accepted", text)
			}
		})
	}
	all.Wait()
	for i, text := range want {
		if again := draw(t, g, rand.New(rand.NewPCG(11, uint64(i))), 100); again != text {
			t.Errorf("the same choices give %q and %q", text, again)
		}
	}
	if n := g.arena.Load().bytes.Load(); n > 3_000_000 {
		t.Errorf("the cache has %d bytes", n)
	}
}

func TestCompileRefuses(t *testing.T) {
	v := byteVocab(t)
	if _, err := Compile(Source{Type: "yaml"}, v); err == nil || !strings.Contains(err.Error(), `want one of ["gbnf" "json_object" "json_schema" "regex"]`) {
		t.Errorf("type: %v", err)
	}
	if _, err := Compile(Source{Type: Regex, Text: strings.Repeat("a", maxSource+1)}, v); err == nil || !strings.Contains(err.Error(), "want at most") {
		t.Errorf("size: %v", err)
	}
}

// A text of many open brackets, which stacks up, costs and remembers little.
func TestDeepText(t *testing.T) {
	v := byteVocab(t, "[[[[[[[[", "]]]]]]]]")
	g := compile(t, Source{Type: JSONSchema, Text: `{"type":"array"}`}, v)
	text := strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)
	if !g.Accepts([]byte(text)) {
		t.Error("not accepted")
	}
	s := g.Start()
	for range 2000 {
		if !s.Allowed().Has(256) {
			t.Fatal("not allowed")
		}
		if err := s.Accept(256); err != nil {
			t.Fatal(err)
		}
	}
	if n := g.arena.Load().bytes.Load(); n > 2*cacheBytes {
		t.Errorf("the cache has %d bytes", n)
	}
}
