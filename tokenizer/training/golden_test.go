package training

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/litgpt-go/litgpt/tokenizer"
)

// golden is a tokenizer that Hugging Face's trainer made: tools/reference/train_tokenizer.py.
type golden struct {
	Name         string
	Splitter     string
	VocabSize    int   `json:"vocab_size"`
	MinFrequency int64 `json:"min_frequency"`
	Special      []string
	ByLine       bool `json:"by_line"`
	Texts        []string
	File         string // instead of Texts, in demo/
	Tokenizer    string // tokenizer.json
}

func splitter(t testing.TB, name string) Splitter {
	t.Helper()
	for _, s := range tokenizer.Splitters() {
		if s.Name == name {
			return Splitter{Pattern: s.Pattern, GPT2: name == "gpt2", Next: s.Next}
		}
	}
	t.Fatalf("no splitter %q", name)
	panic("unreachable")
}

func learn(t testing.TB, files []File, cfg Config) (*Vocab, Stats) {
	t.Helper()
	w, err := Count(t.Context(), files, cfg, func(int64) {})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	v, err := w.Learn(t.Context(), cfg, func(int64) {})
	if err != nil {
		t.Fatal(err)
	}
	return v, w.Stats
}

// TestGolden demands Hugging Face's tokenizer.json, byte for byte.
// LITGPT_TRAINED names a file of further ones.
func TestGolden(t *testing.T) {
	cases := readGolden(t, "testdata/golden.json.gz")
	if len(cases) < 60 {
		t.Errorf("got %d cases, want all", len(cases))
	}
	if more := os.Getenv("LITGPT_TRAINED"); more != "" {
		cases = append(cases, readGolden(t, more)...)
	}
	dir := t.TempDir()
	for i, g := range cases {
		var files []File
		if g.File != "" {
			files = append(files, File{Path: filepath.Join("../../demo", g.File)})
		}
		for k, text := range g.Texts {
			path := filepath.Join(dir, fmt.Sprint(k))
			if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
				t.Fatal(err)
			}
			files = append(files, File{Path: path})
		}
		v, _ := learn(t, files, Config{
			Splitter: splitter(t, g.Splitter), VocabSize: g.VocabSize, MinFrequency: g.MinFrequency,
			Special: g.Special, ByLine: g.ByLine, Threads: 1 + i%3,
		})
		if got := v.JSON(); string(got) != g.Tokenizer {
			t.Errorf("%s (%s, %d tokens): %s", g.Name, g.Splitter, g.VocabSize, difference(got, []byte(g.Tokenizer)))
		}
	}
}

func readGolden(t *testing.T, path string) (cases []golden) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(z).Decode(&cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

// difference is the first line in which two texts differ.
func difference(got, want []byte) string {
	g, w := bytes.Split(got, []byte("\n")), bytes.Split(want, []byte("\n"))
	for i := range min(len(g), len(w)) {
		if !bytes.Equal(g[i], w[i]) {
			return fmt.Sprintf("line %d: got %s, want %s", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf("got %d lines, want %d", len(g), len(w))
}
