package sugarme

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	lib "github.com/sugarme/tokenizer"

	"github.com/litgpt-go/litgpt/tokenizer"
)

// data are the tokenizers of the package above.
const data = "../testdata/"

// read returns the content of a file, unpacked if it ends in .gz.
func read(tb testing.TB, path string) []byte {
	tb.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	if !strings.HasSuffix(path, ".gz") {
		return b
	}
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		tb.Fatal(err)
	}
	if b, err = io.ReadAll(r); err != nil {
		tb.Fatal(err)
	}
	return b
}

// adapter returns New of a tokenizer.json.
func adapter(tb testing.TB, description []byte) *Tokenizer {
	tb.Helper()
	t, err := tokenizer.Parse(description)
	if err != nil {
		tb.Fatal(err)
	}
	k, err := New(t)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func fixture(tb testing.TB) *Tokenizer { return adapter(tb, read(tb, data+"fixture/tokenizer.json")) }

// vector is what Hugging Face's tokenizers makes of a text.
type vector struct {
	Name       string
	Text       string
	IDs        []int
	Special    []int  `json:"ids_special"`
	DecodeSkip string `json:"decode_skip"` // of Special, special tokens left out
	Decode     string
}

// facade is what the library's Tokenizer and ours both do.
type facade interface {
	EncodeSingle(string, ...bool) (*lib.Encoding, error)
	Decode([]int, bool) string
}

// checkVectors runs vectors through tk and returns how many agree in every field.
func checkVectors(t *testing.T, tk facade, vectors []vector) (right int) {
	t.Helper()
	for _, v := range vectors {
		bad := t.Failed()
		for _, special := range []bool{false, true} {
			want := v.IDs
			if special {
				want = v.Special
			}
			e, err := tk.EncodeSingle(v.Text, special)
			if err != nil {
				t.Errorf("%s: %v", v.Name, err)
			} else if !slices.Equal(e.Ids, want) {
				t.Errorf("%s: ids of %.60q, special %v: got %.200v, want %.200v", v.Name, v.Text, special, e.Ids, want)
			}
		}
		if got := tk.Decode(v.Special, true); got != v.DecodeSkip {
			t.Errorf("%s: decoded without special tokens: got %.200q, want %.200q", v.Name, got, v.DecodeSkip)
		}
		if got := tk.Decode(v.Special, false); got != v.Decode {
			t.Errorf("%s: decoded: got %.200q, want %.200q", v.Name, got, v.Decode)
		}
		if bad == t.Failed() {
			right++
		}
	}
	return right
}

func testVectors(t *testing.T, description, vectors string) {
	var list []vector
	if err := json.Unmarshal(read(t, vectors), &list); err != nil {
		t.Fatal(err)
	}
	k := adapter(t, read(t, description))
	if len(list) < 100 {
		t.Errorf("%d vectors; want hundreds", len(list))
	}
	checkVectors(t, k, list)
	checkVectors(t, k.Tokenizer, list) // the library's own methods
}

func TestGolden(t *testing.T) {
	for _, name := range []string{"phi-2", "mistral-7b-v0.1"} {
		t.Run(name, func(t *testing.T) {
			testVectors(t, data+name+".tokenizer.json.gz", data+name+".vectors.json.gz")
		})
	}
}

// TestGoldenSets runs over LITGPT_TOKENIZERS as the package above does.
func TestGoldenSets(t *testing.T) {
	dir := os.Getenv("LITGPT_TOKENIZERS")
	if dir == "" {
		t.Skip("LITGPT_TOKENIZERS is not set")
	}
	vectors, err := filepath.Glob(filepath.Join(dir, "golden", "*.json.gz"))
	if err != nil || len(vectors) == 0 {
		t.Fatalf("no golden/*.json.gz in %s: %v", dir, err)
	}
	for _, path := range vectors {
		name := strings.TrimSuffix(filepath.Base(path), ".json.gz")
		description := filepath.Join(dir, name, "tokenizer.json.gz")
		if _, err := os.Stat(description); err != nil {
			continue
		}
		t.Run(name, func(t *testing.T) { testVectors(t, description, path) })
	}
}

// wanted is an Encoding as tools/reference/tokenizer_padding.py writes it.
type wanted struct {
	IDs         []int `json:"ids"`
	Tokens      []string
	TypeIDs     []int `json:"type_ids"`
	Special     []int
	Attention   []int
	Words       []int
	Sequences   []int // nil: Hugging Face has forgotten them
	Offsets     []int // start, end, start, end, …
	Overflowing []wanted
}

// golden is one call of encode or encode_batch.
type golden struct {
	Inputs     [][]json.RawMessage // each a text or words, and perhaps another
	Batch      bool
	Special    bool
	Truncation *struct {
		MaxLength int `json:"max_length"`
		Stride    int
		Strategy  string
	}
	Padding *struct {
		Direction string
		PadID     int    `json:"pad_id"`
		PadTypeID int    `json:"pad_type_id"`
		PadToken  string `json:"pad_token"`
		Length    *int
	}
	Error string
	Want  []wanted
}

type group struct {
	Tokenizer        string
	OwnPostProcessor bool            `json:"own_post_processor"`
	PostProcessor    json.RawMessage `json:"post_processor"`
	VocabSize        int             `json:"vocab_size"`
	Cases            []golden
}

var strategies = map[string]lib.TruncationStrategy{
	"longest_first": lib.LongestFirst, "only_first": lib.OnlyFirst, "only_second": lib.OnlySecond,
}

// setUp makes k truncate and pad as the case says.
func (g *golden) setUp(k *Tokenizer) {
	k.WithTruncation(nil)
	k.WithPadding(nil)
	if t := g.Truncation; t != nil {
		k.WithTruncation(&lib.TruncationParams{MaxLength: t.MaxLength, Stride: t.Stride, Strategy: strategies[t.Strategy]})
	}
	if p := g.Padding; p != nil {
		params := &lib.PaddingParams{Strategy: *lib.NewPaddingStrategy(), Direction: lib.Right,
			PadId: p.PadID, PadTypeId: p.PadTypeID, PadToken: p.PadToken}
		if p.Length != nil {
			params.Strategy = *lib.NewPaddingStrategy(lib.WithFixed(*p.Length))
		}
		if p.Direction == "left" {
			params.Direction = lib.Left
		}
		k.WithPadding(params)
	}
}

// encodeInputs are the case's inputs as the library has them.
func (g *golden) encodeInputs(t *testing.T) (list []lib.EncodeInput, words bool) {
	t.Helper()
	for _, texts := range g.Inputs {
		var sequences []lib.InputSequence
		for _, raw := range texts {
			var text string
			list := []string{}
			if json.Unmarshal(raw, &text) == nil {
				sequences = append(sequences, lib.NewInputSequence(text))
			} else if err := json.Unmarshal(raw, &list); err != nil {
				t.Fatal(err)
			} else {
				words = true
				sequences = append(sequences, lib.NewInputSequence(list))
			}
		}
		if len(sequences) == 2 {
			list = append(list, lib.NewDualEncodeInput(sequences[0], sequences[1]))
		} else {
			list = append(list, lib.NewSingleEncodeInput(sequences[0]))
		}
	}
	return list, words
}

// differs names the fields in which got is not what Hugging Face makes. ignore names
// those not to look at; "deep" is the parts that overflow from overflowing parts.
func differs(got *lib.Encoding, want *wanted, ignore string) (out []string) {
	offsets := []int{}
	for _, o := range got.Offsets {
		offsets = append(offsets, o...)
	}
	for _, f := range []struct {
		name      string
		got, want any
		equal     bool
	}{
		{"ids", got.Ids, want.IDs, slices.Equal(got.Ids, want.IDs)},
		{"tokens", got.Tokens, want.Tokens, slices.Equal(got.Tokens, want.Tokens)},
		{"type ids", got.TypeIds, want.TypeIDs, slices.Equal(got.TypeIds, want.TypeIDs)},
		{"special tokens mask", got.SpecialTokenMask, want.Special, slices.Equal(got.SpecialTokenMask, want.Special)},
		{"attention mask", got.AttentionMask, want.Attention, slices.Equal(got.AttentionMask, want.Attention)},
		{"offsets", offsets, want.Offsets, slices.Equal(offsets, want.Offsets)},
		{"words", got.Words, want.Words, slices.Equal(got.Words, want.Words)},
		{"sequences", SequenceIDs(got), want.Sequences, want.Sequences == nil || slices.Equal(SequenceIDs(got), want.Sequences)},
		{"overflowing parts", len(got.Overflowing), len(want.Overflowing), len(got.Overflowing) == len(want.Overflowing)},
	} {
		if !f.equal && !strings.Contains(ignore, f.name) {
			out = append(out, fmt.Sprintf("%s: got %v, want %v", f.name, f.got, f.want))
		}
	}
	if strings.Contains(ignore, "nested") {
		return out
	}
	if strings.Contains(ignore, "deep") {
		ignore += " nested"
	}
	for i := range min(len(got.Overflowing), len(want.Overflowing)) {
		for _, d := range differs(&got.Overflowing[i], &want.Overflowing[i], ignore) {
			out = append(out, fmt.Sprintf("overflowing part %d: %s", i, d))
		}
	}
	return out
}

func readGroups(t *testing.T) []group {
	t.Helper()
	var file struct{ Groups []group }
	if err := json.Unmarshal(read(t, "testdata/padding.json.gz"), &file); err != nil {
		t.Fatal(err)
	}
	return file.Groups
}

// adapter returns the group's tokenizer.
func (g *group) adapter(t *testing.T) *Tokenizer {
	t.Helper()
	b := read(t, data+g.Tokenizer)
	if !g.OwnPostProcessor {
		var description map[string]json.RawMessage
		if err := json.Unmarshal(b, &description); err != nil {
			t.Fatal(err)
		}
		description["post_processor"] = g.PostProcessor
		var err error
		if b, err = json.Marshal(description); err != nil {
			t.Fatal(err)
		}
	}
	return adapter(t, b)
}

// run encodes the case's inputs.
func (g *golden) run(t *testing.T, tk interface {
	Encode(lib.EncodeInput, bool) (*lib.Encoding, error)
	EncodeBatch([]lib.EncodeInput, bool) ([]lib.Encoding, error)
}) (got []lib.Encoding, ignore string, err error) {
	t.Helper()
	inputs, words := g.encodeInputs(t)
	if !words {
		ignore = "words" // of a text: not ours to know
	}
	if g.Batch {
		got, err = tk.EncodeBatch(inputs, g.Special)
		return got, ignore, err
	}
	e, err := tk.Encode(inputs[0], g.Special)
	if err != nil {
		return nil, "", err
	}
	return []lib.Encoding{*e}, ignore, nil
}

// compare reports the first difference of each encoding, and counts.
func (g *golden) compare(t *testing.T, name string, got []lib.Encoding, ignore string) (encodings, overflowing int) {
	t.Helper()
	if len(got) != len(g.Want) {
		t.Fatalf("%s: %d encodings, want %d", name, len(got), len(g.Want))
	}
	for j := range got {
		encodings++
		overflowing += len(got[j].Overflowing)
		if d := differs(&got[j], &g.Want[j], ignore); d != nil {
			t.Errorf("%s, encoding %d of %s, special %v: %s (and %d more)", name, j, g.Inputs, g.Special, d[0], len(d)-1)
		}
	}
	return encodings, overflowing
}

// libraryLives tells whether the library's own methods survive the case: they pad on
// the left with a panic and end the process where a truncation cannot be done, or
// could not be done if the text were any longer.
func (g *golden) libraryLives() bool {
	if g.Error != "" || g.Padding != nil && g.Padding.Direction == "left" {
		return false
	}
	for _, texts := range g.Inputs {
		if g.Truncation == nil {
			break
		}
		empty := func(raw json.RawMessage) bool { return string(raw) == `""` || string(raw) == "[]" }
		switch g.Truncation.Strategy {
		case "only_first":
			if empty(texts[0]) {
				return false
			}
		case "only_second":
			if len(texts) == 1 || empty(texts[1]) {
				return false
			}
		}
	}
	return true
}

func TestTruncationPaddingPairs(t *testing.T) {
	encodings, overflowing, failures := 0, 0, 0
	for n, g := range readGroups(t) {
		t.Run(fmt.Sprint(n, " ", g.Tokenizer), func(t *testing.T) {
			k := g.adapter(t)
			if got := k.GetVocabSize(true); got != g.VocabSize {
				t.Errorf("vocabulary of %d tokens, want %d", got, g.VocabSize)
			}
			for i, c := range g.Cases {
				name := fmt.Sprintf("case %d", i)
				c.setUp(k)
				got, ignore, err := c.run(t, k)
				if (err != nil) != (c.Error != "") {
					t.Errorf("%s: error %v, want %q", name, err, c.Error)
				} else if err != nil {
					failures++
				} else {
					e, o := c.compare(t, name, got, ignore)
					encodings, overflowing = encodings+e, overflowing+o
				}
				if c.libraryLives() {
					if got, ignore, err = c.run(t, k.Tokenizer); err != nil {
						t.Errorf("%s, the library's methods: %v", name, err)
					} else {
						c.compare(t, name+", the library's methods", got, ignore+" deep") // it does not pad those
					}
				}
			}
		})
	}
	t.Logf("%d encodings, %d overflowing parts, %d errors", encodings, overflowing, failures)
	if encodings < 800 || overflowing < 800 || failures < 100 {
		t.Errorf("%d encodings, %d overflowing parts and %d errors are too few to prove anything", encodings, overflowing, failures)
	}
}
