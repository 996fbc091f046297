package tokenizer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// streamed decodes ids one by one and checks each piece.
func streamed(t *testing.T, s *Stream, ids []int32) string {
	t.Helper()
	var b strings.Builder
	for i, id := range ids {
		piece := s.Next(id)
		if !utf8.ValidString(piece) {
			t.Errorf("Next(%d) at %d: %q is no UTF-8", id, i, piece)
		}
		b.WriteString(piece)
	}
	b.WriteString(s.Flush())
	return b.String()
}

// checkStreams compares streams with Decode over vectors and random ids.
func checkStreams(t *testing.T, tk *Tokenizer, vectors []vector) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	for _, skip := range []bool{false, true} {
		s := tk.Stream(skip) // one stream for all: Flush makes it ready again
		check := func(name string, ids []int32) {
			if got, want := streamed(t, s, ids), tk.Decode(ids, skip); got != want {
				t.Errorf("%s, skipSpecial %v: streamed %.80q, decoded %.80q", name, skip, got, want)
			}
		}
		for _, v := range vectors {
			check(v.Name, v.Special)
		}
		for range 300 {
			ids := make([]int32, 30)
			for i := range ids {
				// The low ids are the bytes of most vocabularies: torn characters.
				ids[i] = rng.Int32N([]int32{int32(tk.VocabSize()) + 2, 300}[rng.IntN(2)]) - 1
			}
			check("random ids", ids)
		}
	}
}

// TestStreamHoldsHalves: a character made of several tokens comes out whole.
func TestStreamHoldsHalves(t *testing.T) {
	for _, name := range goldens {
		tk := parseFile(t, "testdata/"+name+".tokenizer.json.gz")
		ids := tk.Encode("a 🦙 b", false)
		s, pieces := tk.Stream(true), []string{}
		for _, id := range ids {
			if p := s.Next(id); p != "" {
				pieces = append(pieces, p)
			}
		}
		pieces = append(pieces, s.Flush())
		if got := strings.Join(pieces, ""); got != "a 🦙 b" {
			t.Errorf("%s: got %q", name, got)
		}
		for _, p := range pieces {
			if strings.Contains(p, "\uFFFD") || !utf8.ValidString(p) {
				t.Errorf("%s: half a character in %q", name, pieces)
			}
		}
	}
}

// TestStreamAfterFuse: a ByteLevel that sees the text as one waits for its end only where a token of the vocabulary may make it
// leave all as it is. What it must give then is that of tokenizers 0.22.2.
func TestStreamAfterFuse(t *testing.T) {
	const file = `{"model":{"type":"BPE","vocab":{"Ġa":0,"Ċ":1,"Ã":2,"©":3,"%s":4},"merges":[]},"decoder":{"type":"Sequence","decoders":[
		{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteLevel"}]}}`
	for _, c := range []struct {
		token  string
		ids    []int32
		pieces []string // of Next and, last, Flush
	}{
		{"b", []int32{0, 2, 3, 4}, []string{" a", "", "é", "b", ""}},
		{"▁b", []int32{0, 2, 3}, []string{"", "", "", " aé"}},
		{"▁b", []int32{0, 2, 3, 4}, []string{"", "", "", "", "ĠaÃ© b"}},
		{"<0xE2>", []int32{0, 4}, []string{"", "", "Ġa\uFFFD"}},
	} {
		tk, err := Parse([]byte(fmt.Sprintf(file, c.token)))
		if err != nil {
			t.Fatal(err)
		}
		s, pieces := tk.Stream(false), []string{}
		for _, id := range c.ids {
			pieces = append(pieces, s.Next(id))
		}
		if pieces = append(pieces, s.Flush()); !slices.Equal(pieces, c.pieces) {
			t.Errorf("%s: got %q, want %q", c.token, pieces, c.pieces)
		}
		if got, want := tk.Decode(c.ids, false), strings.Join(c.pieces, ""); got != want {
			t.Errorf("%s: decoded %q, want %q", c.token, got, want)
		}
	}
}

func TestDecodersOverPieces(t *testing.T) {
	const file = `{"model":{"type":"BPE","vocab":{"▁a":0,"▁":1,"b":2,"<0xE2>":3,"<0x82>":4,"<0xAC>":5,"xy":6,"x":7,"y":8},"merges":[]},"decoder":%}`
	for _, c := range []struct {
		decoder string
		ids     []int32
		want    string
	}{
		{`null`, []int32{0, 2}, "▁a b"},
		{`{"type":"Metaspace","replacement":"▁"}`, []int32{0, 0, 2}, "a ab"},
		{`{"type":"Metaspace","replacement":"▁","prepend_scheme":"never"}`, []int32{0, 0}, " a a"},
		{`{"type":"ByteFallback"}`, []int32{3, 4, 5, 2, 3, 4, 2}, "€b\uFFFD\uFFFDb"},
		{`{"type":"ByteFallback"}`, []int32{3, 4, 5, 3}, "\uFFFD\uFFFD\uFFFD\uFFFD"}, // the run as a whole is torn
		{`{"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"Strip","content":"▁","start":2,"stop":2}]}`,
			[]int32{1, 1, 1, 2, 1, 1, 1, 2, 1, 1, 1}, "▁b▁▁▁b▁"},
		{`{"type":"Strip","content":"▁","start":1,"stop":1}`, []int32{0, 1, 2}, "ab"},
		{`{"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"Replace","pattern":{"String":"xy"},"content":"z"}]}`, []int32{7, 8, 6}, "zz"},
		{`{"type":"Replace","pattern":{"Regex":"x."},"content":"z"}`, []int32{7, 8, 6}, "xyz"},
	} {
		tk, err := Parse([]byte(strings.Replace(file, "%", c.decoder, 1)))
		if err != nil {
			t.Fatal(err)
		}
		if got := tk.Decode(c.ids, false); got != c.want {
			t.Errorf("%s: got %q, want %q", c.decoder, got, c.want)
		}
		if got := streamed(t, tk.Stream(false), c.ids); got != c.want {
			t.Errorf("%s: streamed %q, want %q", c.decoder, got, c.want)
		}
	}
}
