package grammar

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"unicode/utf8"
)

// fuzzDraw writes up to so many tokens at random; complete tells whether the text
// ended. Wherever it stands, something can come or the text is complete.
func fuzzDraw(t *testing.T, g *Grammar, seed uint64, tokens int) (text string, complete bool) {
	r := rand.New(rand.NewPCG(seed, 0))
	s := g.Start()
	var out []byte
	for range tokens {
		if s.Done() || s.Complete() && r.IntN(3) == 0 {
			return string(out), true
		}
		some := ids(s.Allowed(), g.v.Size())
		if s.Complete() && len(some) == 1 {
			return string(out), true
		}
		if len(some) == 0 {
			t.Fatalf("nothing can come after %q", out)
		}
		id := some[r.IntN(len(some))]
		if b := g.v.Bytes(id); b == nil {
			return string(out), true
		}
		if err := s.Accept(id); err != nil {
			t.Fatalf("after %q: a token that is allowed: %v", out, err)
		}
		out = append(out, g.v.Bytes(id)...)
	}
	return string(out), s.Complete()
}

func FuzzSchema(f *testing.F) {
	for _, c := range schemaCases {
		f.Add(c.schema, c.strict)
	}
	for _, c := range schemaErrors {
		if c.want != "too large" { // takes up to a second
			f.Add(c.schema, false)
		}
	}
	f.Add(personSchema, true)
	v := jsonVocab(f)
	f.Fuzz(func(t *testing.T, schema string, strict bool) {
		g, err := Compile(Source{Type: JSONSchema, Text: schema, Strict: strict}, v)
		if err != nil {
			return
		}
		for seed := range uint64(3) {
			if text, complete := fuzzDraw(t, g, seed, 60); complete {
				if !json.Valid([]byte(text)) || !utf8.ValidString(text) {
					t.Errorf("drew %q, which is no JSON", text)
				}
				if !g.Accepts([]byte(text)) {
					t.Errorf("drew %q, which is not accepted", text)
				}
			}
		}
	})
}

// notAsGo finds what means something else in Go: white space, and {00,1}, which
// there stands for itself.
var notAsGo = regexp.MustCompile(`\\[sS]|\{0\d|,0\d`)

func FuzzRegex(f *testing.F) {
	for _, c := range regexCases {
		f.Add(c.pattern)
	}
	f.Add(`(?i)[^a-f\d]+\p{Lu}|(^x$)`)
	for _, texts := range formatTexts {
		f.Add(texts[0])
	}
	v := jsonVocab(f)
	f.Fuzz(func(t *testing.T, pattern string) {
		g, err := Compile(Source{Type: Regex, Text: pattern}, v)
		if err != nil {
			return
		}
		oracle, err := regexp.Compile(`^(?:` + pattern + `)$`)
		if err != nil || notAsGo.MatchString(pattern) {
			oracle = nil
		}
		for seed := range uint64(3) {
			text, complete := fuzzDraw(t, g, seed, 40)
			if complete && oracle != nil && !oracle.MatchString(text) {
				t.Errorf("drew %q, which Go does not match", text)
			}
		}
	})
}

func FuzzGBNF(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.gbnf")
	if err != nil {
		f.Fatal(err)
	}
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Add("root ::= \"a\" root \"b\" | [^x-z]{2,} ( . | \"\\n\" )? # c\nw ::= \"\\u00e9\"")
	f.Add(ambiguous(3))
	v := jsonVocab(f)
	f.Fuzz(func(t *testing.T, text string) {
		g, err := Compile(Source{Type: GBNF, Text: text}, v)
		if err != nil {
			return
		}
		for seed := range uint64(3) {
			if text, complete := fuzzDraw(t, g, seed, 40); complete && !g.Accepts([]byte(text)) {
				t.Errorf("drew %q, which is not accepted", text)
			}
		}
	})
}
