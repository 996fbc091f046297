package grammar

import (
	"compress/gzip"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/sample"
	"github.com/litgpt-go/litgpt/tokenizer"
)

// byteVocab has a token for each byte, then words; its last id ends the text.
func byteVocab(tb testing.TB, words ...string) *Vocab {
	tb.Helper()
	var tokens [][]byte
	for b := range 256 {
		tokens = append(tokens, []byte{byte(b)})
	}
	for _, w := range words {
		tokens = append(tokens, []byte(w))
	}
	tokens = append(tokens, nil)
	v, err := VocabOf(tokens, []int32{int32(len(tokens) - 1)})
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// jsonVocab has tokens like those of real vocabularies: some that end one thing of
// JSON and begin others, some that end in the middle of a character.
func jsonVocab(tb testing.TB) *Vocab {
	return byteVocab(tb, `":`, `": `, `", "`, `","`, `{"`, ` {"`, `"}`, `"}]`, "}}", "],[", "[[", "]]", `[{"`, `":"`, `": "`, `""`, `"",`,
		"true", "false", "null", " true", "nul", "tr", "ab", "abc", "the", " the", "name", "na", "age", `"name`, `"na`, "\n", "\n\n", "\n  ", "    ", "\t\t",
		"_s", "10", "00", "123", "1.", ".5", "-1", "e+", "é", "日本", "本\xe8", "\xa9 ", "😀", `\n`, `\u`, `\u00`, `\"`, `\\`, `\ud83d`, "2024", "-0", "T1", ",\n", ": ", ", ")
}

func compile(tb testing.TB, s Source, v *Vocab) *Grammar {
	tb.Helper()
	g, err := Compile(s, v)
	if err != nil {
		tb.Fatalf("%+v: %v", s, err)
	}
	return g
}

func ids(m sample.Mask, size int) (out []int32) {
	for id := range int32(size) {
		if m.Has(id) {
			out = append(out, id)
		}
	}
	return out
}

// draw writes a text by choosing among the tokens allowed, which ends as soon as it
// can once it is long: after many tokens the shortest way to the end is followed.
func draw(tb testing.TB, g *Grammar, r *rand.Rand, tokens int) string {
	tb.Helper()
	s := g.Start()
	var out []byte
	for n := 0; !s.Done(); n++ {
		if s.Complete() && (n > tokens || r.IntN(4) == 0) {
			break
		}
		some := ids(s.Allowed(), g.v.Size())
		if len(some) == 0 {
			tb.Fatalf("nothing can come after %q", out)
		}
		id := some[r.IntN(len(some))]
		if n > tokens {
			id = closing(g.v, s, some, r)
		}
		if err := s.Accept(id); err != nil {
			tb.Fatalf("after %q: a token that is allowed: %v", out, err)
		}
		out = append(out, g.v.Bytes(id)...)
		if n > tokens+5000 {
			tb.Fatalf("no end: %.300q", out)
		}
	}
	if !s.Complete() {
		tb.Fatalf("done but not complete: %q", out)
	}
	return string(out)
}

// closing prefers tokens that end things, and then those that patterns want.
func closing(v *Vocab, s *State, some []int32, r *rand.Rand) int32 {
	for _, id := range some {
		if c := s.Clone(); r.IntN(2) == 0 && c.Accept(id) == nil && c.Complete() {
			return id
		}
	}
	for _, want := range []string{`"`, "}", "]", "_s", "b"} {
		for _, id := range some {
			if string(v.Bytes(id)) == want && r.IntN(3) > 0 {
				return id
			}
		}
	}
	return some[r.IntN(len(some))]
}

// feed writes text in tokens of the vocabulary that r chooses, and tells whether
// each was allowed and the end is complete.
func feed(tb testing.TB, g *Grammar, text string, r *rand.Rand) (ok bool, why string) {
	tb.Helper()
	s := g.Start()
	for rest := text; rest != ""; {
		var some []int32
		for id := range int32(g.v.Size()) {
			if b := g.v.Bytes(id); len(b) > 0 && strings.HasPrefix(rest, string(b)) {
				some = append(some, id)
			}
		}
		id := some[r.IntN(len(some))]
		mask := s.Allowed()
		err := s.Clone().Accept(id)
		if mask.Has(id) != (err == nil) {
			tb.Fatalf("after %q: mask has %q: %v, Accept: %v", text[:len(text)-len(rest)], g.v.Bytes(id), mask.Has(id), err)
		}
		if err := s.Accept(id); err != nil {
			return false, text[:len(text)-len(rest)] + " ┃ " + rest
		}
		rest = rest[len(g.v.Bytes(id)):]
	}
	return s.Complete(), "the end"
}

// readGz reads a file that may be compressed.
func readGz(tb testing.TB, path string) []byte {
	tb.Helper()
	f, err := os.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	var in io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if in, err = gzip.NewReader(f); err != nil {
			tb.Fatal(err)
		}
	}
	b, err := io.ReadAll(in)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// tokenizers calls f with the tokenizers beside this package and, if
// LITGPT_TOKENIZERS names a directory, those of DIR/*/tokenizer.json.gz.
func tokenizers(tb testing.TB, f func(name string, tok *tokenizer.Tokenizer)) {
	paths := []string{"../../demo/model/tokenizer.json", "../../tokenizer/testdata/mistral-7b-v0.1.tokenizer.json.gz", "../../tokenizer/testdata/phi-2.tokenizer.json.gz"}
	if dir := os.Getenv("LITGPT_TOKENIZERS"); dir != "" {
		more, err := filepath.Glob(filepath.Join(dir, "*", "tokenizer.json.gz"))
		if err != nil {
			tb.Fatal(err)
		}
		paths = append(paths, more...)
	}
	for _, p := range paths {
		tok, err := tokenizer.Parse(readGz(tb, p))
		if err != nil {
			tb.Fatal(p, err)
		}
		name := filepath.Base(filepath.Dir(p))
		if name == "testdata" {
			name = strings.TrimSuffix(filepath.Base(p), ".tokenizer.json.gz")
		}
		f(name, tok)
	}
}
