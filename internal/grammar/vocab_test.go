package grammar

import (
	"bytes"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/tokenizer"
)

// The bytes of a text's tokens, one after the other, are the text.
func TestVocabSpellsTexts(t *testing.T) {
	texts := []string{
		`{"name": "Zoë", "n": [1, 2.5e-3]}`, "tabs\tand\nlines\r\n  indented", "日本語 и русский, 😀👩‍🚀", "a    lot        of space", "\u0001\u007f control",
	}
	tokenizers(t, func(name string, tok *tokenizer.Tokenizer) {
		v, err := NewVocab(tok, tok.EOS())
		if name == "t5-small" { // has no braces
			if err == nil || !strings.Contains(err.Error(), "changes texts") {
				t.Errorf("%s: got %v, want an error", name, err)
			}
			return
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		single := 0
		for _, ok := range v.bytes[:0xF5] {
			if ok {
				single++
			}
		}
		if want := 0xF5 - 2; single < want && !strings.HasPrefix(name, "falcon") { // all but C0 and C1, which are in no UTF-8
			t.Errorf("%s: %d bytes are tokens, want %d", name, single, want)
		}
		for _, text := range texts {
			var got []byte
			for _, id := range tok.Encode(text, false) {
				if v.Bytes(id) == nil {
					t.Errorf("%s: token %d of %q has no bytes", name, id, text)
				}
				got = append(got, v.Bytes(id)...)
			}
			if strings.TrimPrefix(string(got), " ") != text {
				t.Errorf("%s: got %q, want %q", name, got, text)
			}
		}
		for _, id := range tok.EOS() {
			if v.Bytes(id) != nil {
				t.Errorf("%s: the token that ends a text has bytes %q", name, v.Bytes(id))
			}
		}
	})
}

func TestTrie(t *testing.T) {
	tokens := [][]byte{[]byte("b"), []byte("abc"), nil, []byte("a"), []byte("abd"), []byte("b"), []byte("ab")}
	var all []tail
	for id, b := range tokens {
		if b != nil {
			all = append(all, tail{b, int32(id)})
		}
	}
	tr := newTrie(all)
	var path []byte
	found := map[int32]bool{}
	for i, n := range tr.nodes[:tr.nodes[0].end] {
		path = append(path[:max(0, int(n.depth)-1)], n.byte)
		for _, id := range tr.tokens(int32(i)) {
			if !bytes.Equal(path[:n.depth], tokens[id]) {
				t.Errorf("token %d is %q, in the trie %q", id, tokens[id], path)
			}
			found[id] = true
		}
		if i > 0 && tr.nodes[n.end].depth > n.depth {
			t.Errorf("node %d ends at %d, which is below it", i, n.end)
		}
	}
	if len(found) != 6 {
		t.Errorf("found %d tokens, want 6", len(found))
	}
}

func TestVocabRefuses(t *testing.T) {
	for _, c := range []struct {
		tokens [][]byte
		end    []int32
		want   string
	}{
		{[][]byte{[]byte("a")}, []int32{1}, "id 1 ends a text"},
		{[][]byte{bytes.Repeat([]byte("a"), maxToken+1)}, nil, "bytes, want at most"},
	} {
		if _, err := VocabOf(c.tokens, c.end); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}
