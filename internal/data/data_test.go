package data

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// bytesTok is a tokenizer of bytes: 0 begins a text, 1 ends it.
type bytesTok struct{}

func (bytesTok) Encode(text string, special bool) []int32 {
	var ids []int32
	if special {
		ids = append(ids, 0)
	}
	for _, b := range []byte(text) {
		ids = append(ids, int32(b))
	}
	return ids
}
func (bytesTok) EOS() []int32   { return []int32{1} }
func (bytesTok) Hash() string   { return "bytes" }
func (bytesTok) VocabSize() int { return 256 }

// wordsTok has a token per word, with the space before it: in the manner of
// GPT-2, or with prefix of SentencePiece, which puts a space before every text.
// It has no token that begins a text.
type wordsTok struct{ prefix bool }

var words = regexp.MustCompile(` ?[\pL]+| ?[^\s\pL]+|\s+`)

func (w wordsTok) Encode(text string, special bool) (ids []int32) {
	if w.prefix {
		text = " " + text
	}
	for _, word := range words.FindAllString(text, -1) {
		id := int32(7)
		for _, b := range []byte(word) {
			id = (id*31 + int32(b)) & 0xfffff
		}
		ids = append(ids, id+1)
	}
	return ids
}
func (wordsTok) EOS() []int32   { return []int32{0} }
func (wordsTok) Hash() string   { return "words" }
func (wordsTok) VocabSize() int { return 1<<20 + 1 }

// plainStyle is the one of LitGPT's test of SFTDataset.
type plainStyle struct{}

func (plainStyle) Render(prompt, input, system string) (string, bool, error) {
	if prompt == "refused" {
		return "", false, fmt.Errorf("a prompt that the template refuses")
	}
	return system + "In: " + prompt + input + " Out:", false, nil
}

// write makes files in a temporary directory and gives its path.
func write(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// jsonConfig is the default one for a path.
func jsonConfig(path string) Config {
	c := Defaults()
	c.JSON.JSONPath = path
	return c
}

func textConfig(train, val string) Config {
	c := Defaults()
	c.Class = "TextFiles"
	c.TextFiles.TrainDataPath, c.TextFiles.ValDataPath = train, val
	return c
}

func open(t testing.TB, cfg Config, opt Options) (train, val *Set) {
	t.Helper()
	if opt.Tokenizer == nil {
		opt.Tokenizer = bytesTok{}
	}
	if opt.Style == nil {
		opt.Style = plainStyle{}
	}
	if opt.CacheDir == "" {
		opt.CacheDir = t.TempDir()
	}
	train, val, err := Open(t.Context(), cfg, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := train.Close(); err != nil {
			t.Error(err)
		}
		if err := val.Close(); err != nil {
			t.Error(err)
		}
	})
	return train, val
}

// wantError checks that an error has all of the parts, and one place for each.
func wantError(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("got no error, want one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("got error %q, want it to contain %q", err, p)
		}
	}
}

func wantReport(t testing.TB, s *Set, part string) {
	t.Helper()
	if !strings.Contains(strings.Join(s.Report(), "\n"), part) {
		t.Errorf("got report %q, want it to contain %q", s.Report(), part)
	}
}

func equal(t testing.TB, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// rows are the samples of a set as text.
func rows(s *Set) []string {
	var list []string
	for i := range s.Len() {
		ids, _ := s.examples.read(nil, i)
		b := make([]byte, len(ids))
		for j, id := range ids {
			b[j] = byte(id)
		}
		list = append(list, string(b))
	}
	return list
}

func TestOpenWantsAKnownClassAndATokenizer(t *testing.T) {
	c := Defaults()
	c.Class = "Alpaca"
	_, _, err := Open(t.Context(), c, Options{Tokenizer: bytesTok{}})
	wantError(t, err, `data "Alpaca" is not known: want one of JSON, TextFiles`)
	_, _, err = Open(t.Context(), Defaults(), Options{})
	wantError(t, err, "no tokenizer", "--tokenizer_dir")
}

// Every key a user can set has a name and a help text, and those are LitGPT's.
func TestConfigKeys(t *testing.T) {
	for _, c := range []struct {
		of   any
		want []string
	}{
		{JSON{}, []string{"json_path", "mask_prompt", "val_split_fraction", "prompt_style", "ignore_index", "seed", "num_workers"}},
		{TextFiles{}, []string{"train_data_path", "val_data_path", "seed", "num_workers"}},
	} {
		var keys []string
		for f := range reflect.TypeOf(c.of).Fields() {
			keys = append(keys, f.Tag.Get("yaml"))
			if f.Tag.Get("help") == "" {
				t.Errorf("%T.%s has no help text", c.of, f.Name)
			}
		}
		equal(t, fmt.Sprintf("keys of %T", c.of), keys, c.want)
	}
}

// LitGPT's vector of the collate function: [1,2,3] and [4..8].
func TestBatch(t *testing.T) {
	f := &tokenized{tokens: []int32{1, 2, 3, 4, 5, 6, 7, 8}, ends: []int{3, 8}, prompts: []int{2, 3}, full: []int{3, 5}}
	const x = Ignore
	for _, c := range []struct {
		name    string
		mask    bool
		indices []int
		padTo   int
		want    Batch
	}{
		{"padded to the longest", false, []int{0, 1}, 0, Batch{[]int32{1, 2, 0, 0, 4, 5, 6, 7}, []int32{2, 3, x, x, 5, 6, 7, 8}, 2, 4}},
		{"the other order", false, []int{1, 0}, 1, Batch{[]int32{4, 5, 6, 7, 1, 2, 0, 0}, []int32{5, 6, 7, 8, 2, 3, x, x}, 2, 4}},
		{"one alone", false, []int{0}, 0, Batch{[]int32{1, 2}, []int32{2, 3}, 1, 2}},
		{"prompts masked", true, []int{0, 1}, 0, Batch{[]int32{1, 2, 0, 0, 4, 5, 6, 7}, []int32{x, 3, x, x, x, x, 7, 8}, 2, 4}},
		{"rounded up", false, []int{0}, 4, Batch{[]int32{1, 2, 0, 0}, []int32{2, 3, x, x}, 1, 4}},
		{"rounded already", false, []int{1}, 2, Batch{[]int32{4, 5, 6, 7}, []int32{5, 6, 7, 8}, 1, 4}},
		{"empty", false, nil, 8, Batch{[]int32{}, []int32{}, 0, 0}},
	} {
		s := &Set{examples: &samples{file: f, index: []int{0, 1}, mask: c.mask}}
		equal(t, c.name, s.Batch(c.indices, c.padTo), c.want)
		equal(t, "longest", s.Longest(), 5)
	}
}
