package grammar

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// styles are the ways in which programs write JSON.
func styles(t *testing.T, doc string) []string {
	t.Helper()
	out := []string{doc}
	var b bytes.Buffer
	for _, indent := range []string{"  ", "    ", "\t"} {
		b.Reset()
		if err := json.Indent(&b, []byte(doc), "", indent); err != nil {
			t.Fatalf("%s: %v", doc, err)
		}
		out = append(out, b.String())
	}
	return append(out, spaced(doc))
}

// spaced writes a space after commas and colons, as Python does.
func spaced(doc string) string {
	var b strings.Builder
	inString := false
	for i := 0; i < len(doc); i++ {
		b.WriteByte(doc[i])
		switch {
		case doc[i] == '\\':
			i++
			b.WriteByte(doc[i])
		case doc[i] == '"':
			inString = !inString
		case !inString && (doc[i] == ',' || doc[i] == ':'):
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// What is a schema's is accepted in all styles and however it is cut into tokens;
// what is not is refused, and no text that is drawn at random is wrong.
func TestSchemas(t *testing.T) {
	v := jsonVocab(t)
	for _, c := range schemaCases {
		t.Run(c.name, func(t *testing.T) {
			g := compile(t, Source{Type: JSONSchema, Text: c.schema, Strict: c.strict}, v)
			r := rand.New(rand.NewPCG(1, 1))
			check := newChecker(t, c.schema, c.strict)
			for _, doc := range c.valid {
				for _, text := range styles(t, doc) {
					if err := check.document(text); err != nil {
						t.Fatalf("the checker refuses %s: %v", text, err)
					}
					for range 5 {
						if ok, why := feed(t, g, text, r); !ok {
							t.Errorf("%q is not accepted: %s", text, why)
							break
						}
					}
				}
			}
			for _, doc := range c.wrong {
				if g.Accepts([]byte(doc)) {
					t.Errorf("%q is accepted", doc)
				}
			}
			n := 40
			if strings.HasPrefix(c.name, "long") {
				n = 1
			}
			for range n {
				text := draw(t, g, r, 60)
				if err := check.document(text); err != nil {
					t.Fatalf("drew %q: %v", text, err)
				}
				if !g.Accepts([]byte(text)) {
					t.Fatalf("drew %q, which is not accepted", text)
				}
				writeDrawn(t, c.schema, text)
			}
		})
	}
}

// writeDrawn appends a text to the file LITGPT_GRAMMAR_DRAWN, for another
// validator to look at.
func writeDrawn(t *testing.T, schema, text string) {
	path := os.Getenv("LITGPT_GRAMMAR_DRAWN")
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := json.NewEncoder(f).Encode([]string{schema, text}); err != nil {
		t.Fatal(err)
	}
}

func TestSchemaErrors(t *testing.T) {
	v := jsonVocab(t)
	for _, c := range schemaErrors {
		_, err := Compile(Source{Type: JSONSchema, Text: c.schema}, v)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

// Random documents of any kind are objects' values.
func TestAnyJSON(t *testing.T) {
	v := jsonVocab(t)
	g := compile(t, Source{Type: JSONObject}, v)
	r := rand.New(rand.NewPCG(3, 3))
	for range 100 {
		b, err := json.Marshal(map[string]any{"a": randomJSON(r, 4), "": randomJSON(r, 3)})
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range styles(t, string(b)) {
			if ok, why := feed(t, g, text, r); !ok {
				t.Fatalf("%q is not accepted: %s", text, why)
			}
		}
		text := draw(t, g, r, 100)
		var m map[string]any
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Fatalf("drew %q: %v", text, err)
		}
	}
}

func randomJSON(r *rand.Rand, depth int) any {
	words := []string{"", "the", "naïve \"quoted\"", "line\nfeed\t", "日本 😀", "back\\slash/", "\u0001\u007f\u2028"}
	switch n := r.IntN(7); {
	case n == 0:
		return nil
	case n == 1:
		return r.IntN(2) == 0
	case n == 2:
		return r.IntN(2_000_000) - 1_000_000
	case n == 3:
		return r.NormFloat64() * 1e3
	case n == 4 || depth == 0:
		return words[r.IntN(len(words))]
	case n == 5:
		list := make([]any, r.IntN(4))
		for i := range list {
			list[i] = randomJSON(r, depth-1)
		}
		return list
	}
	m := map[string]any{}
	for range r.IntN(4) {
		m[words[r.IntN(len(words))]] = randomJSON(r, depth-1)
	}
	return m
}

func TestFormatsCompile(t *testing.T) {
	for name := range formatTexts {
		if d := formats[name](); len(d.states) < 4 {
			t.Errorf("%s: %d states", name, len(d.states))
		}
	}
}
