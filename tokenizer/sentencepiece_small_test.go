package tokenizer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// spmSmall are models of our own with what SentencePiece makes of the texts of the
// other vectors: BPE and Unigram, with and without byte fallback, character map,
// dummy space, user-defined and unused pieces.
var spmSmall = []string{"spm-bpe", "spm-bpe-nfkc", "spm-unigram", "spm-unigram-bytes"}

func TestSentencePieceSmall(t *testing.T) {
	texts := unmarshalFile[[]vector](t, "testdata/phi-2.vectors.json.gz")
	for _, name := range spmSmall {
		t.Run(name, func(t *testing.T) {
			m, err := parseSpm(readGz(t, "testdata/"+name+".model.gz"))
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "tokenizer.model")
			if err := os.WriteFile(path, readGz(t, "testdata/"+name+".model.gz"), 0o644); err != nil {
				t.Fatal(err)
			}
			tk, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			wrong, compared, kinds := 0, 0, map[pieceKind]int{}
			for i, raw := range unmarshalFile[[]json.RawMessage](t, "testdata/"+name+".vectors.json.gz") {
				var ids []int32
				var decoded string
				if string(raw) == "null" {
					continue
				}
				if err := json.Unmarshal(raw, &[]any{&ids, &decoded}); err != nil {
					t.Fatal(err)
				}
				for _, id := range ids {
					kinds[m.pieces[id].kind]++
				}
				compared++
				text := texts[i].Text
				if got := tk.Encode(text, false); !slices.Equal(got, ids) {
					if wrong++; wrong < 5 {
						t.Errorf("%s: %.80q:\n got %.200v\nwant %.200v", texts[i].Name, text, got, ids)
					}
				}
				// An unknown piece is " ⁇ " there and "<unk>" here.
				want := strings.ReplaceAll(decoded, " ⁇ ", "<unk>")
				if got := tk.Decode(ids, false); got != want {
					if wrong++; wrong < 5 {
						t.Errorf("%s: decoded %q, want %q", texts[i].Name, got, want)
					}
				}
				checkTokens(t, tk, text, ids)
			}
			if wrong > 0 || compared < 580 {
				t.Errorf("%d wrong of %d", wrong, compared)
			}
			t.Logf("kinds of pieces given: %v", kinds)
			checkStreams(t, tk, texts[:100])
		})
	}
}

// checkTokens: EncodeTokens gives ids with ranges of text, in order.
func checkTokens(t *testing.T, tk *Tokenizer, text string, ids []int32) {
	t.Helper()
	tokens := tk.EncodeTokens(text, false)
	if len(tokens) != len(ids) {
		t.Errorf("%.60q: %d tokens, want %d", text, len(tokens), len(ids))
		return
	}
	at := 0
	for i, x := range tokens {
		if x.ID != ids[i] || x.Start < at || x.End < x.Start || x.End > len(text) {
			t.Errorf("%.60q: token %d is %+v after %d, want id %d", text, i, x, at, ids[i])
			return
		}
		at = x.Start
	}
}
