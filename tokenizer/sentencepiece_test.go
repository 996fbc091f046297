package tokenizer

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// spmGoldens are models with vectors made with SentencePiece itself.
var spmGoldens = []string{"llama2", "gemma2", "mistral.v1", "mistral.v3"}

// tokenizersDir is the directory of LITGPT_TOKENIZERS, or skips the test.
func tokenizersDir(tb testing.TB) string {
	tb.Helper()
	dir := os.Getenv("LITGPT_TOKENIZERS")
	if dir == "" {
		tb.Skip("LITGPT_TOKENIZERS names no directory of tokenizers with golden vectors")
	}
	return dir
}

// checkSpm compares a model with vectors of SentencePiece: as a file by itself with
// every one of them, and as a checkpoint's with those that hold no control piece.
func checkSpm(t *testing.T, model []byte, vectors []vector) {
	t.Helper()
	m, err := parseSpm(model)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := parseAny(model, "", dirOptions{alone: true})
	if err != nil {
		t.Fatal(err)
	}
	right := checkVectors(t, plain, vectors)
	t.Logf("%d of %d exact", right, len(vectors))
	checkStreams(t, plain, vectors)
	checkPieces(t, plain.model, vectors)

	tk, err := parseAny(model, "", dirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	bos, hasBOS := tk.BOS()
	if !hasBOS {
		t.Fatal("no BOS")
	}
	compared := 0
	for _, v := range vectors {
		if slices.ContainsFunc(m.pieces, func(p spmPiece) bool {
			return (p.kind == pieceControl || p.kind == pieceUnknown || turnTokens[p.text]) && strings.Contains(v.Text, p.text)
		}) {
			continue
		}
		compared++
		want := append([]int32{bos}, v.IDs...)
		if got := tk.Encode(v.Text, true); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", v.Name, got, want)
		}
		if got := tk.Decode(want, true); got != v.Decode {
			t.Errorf("%s: decoded %q, want %q", v.Name, got, v.Decode)
		}
	}
	if compared < len(vectors)*3/4 {
		t.Errorf("only %d of %d texts compared", compared, len(vectors))
	}
}

// checkPieces: appendPieces gives the ids of appendIDs, with ranges that cover the
// text in order.
func checkPieces(t *testing.T, m model, vectors []vector) {
	t.Helper()
	for _, v := range vectors {
		text := strings.ReplaceAll(v.Text, " ", string(spaceMark))
		ids := m.appendIDs(nil, text)
		pieces := m.appendPieces(nil, text)
		at := 0
		for i, p := range pieces {
			if i >= len(ids) || p.id != ids[i] {
				t.Fatalf("%s: pieces %v, ids %v", v.Name, pieces, ids)
			}
			same := i > 0 && p.start == pieces[i-1].start && p.end == pieces[i-1].end // bytes of one character
			if !same && p.start != at || p.end <= p.start {
				t.Fatalf("%s: piece %d is [%d, %d), want it to begin at %d", v.Name, i, p.start, p.end, at)
			}
			at = p.end
		}
		if len(ids) != len(pieces) || at != len(text) && len(ids) > 0 {
			t.Fatalf("%s: %d pieces for %d ids, up to %d of %d", v.Name, len(pieces), len(ids), at, len(text))
		}
	}
}

func TestSentencePieceDir(t *testing.T) {
	dir := tokenizersDir(t)
	for _, name := range spmGoldens {
		t.Run(name, func(t *testing.T) {
			checkSpm(t, readGz(t, filepath.Join(dir, "spm", name+".model.gz")),
				unmarshalFile[[]vector](t, filepath.Join(dir, "golden", "spm_"+name+".json.gz")))
		})
	}
}

func BenchmarkSentencePiece(b *testing.B) {
	dir := tokenizersDir(b)
	var texts strings.Builder
	for texts.Len() < 1<<20 {
		for _, v := range unmarshalFile[[]vector](b, "testdata/phi-2.vectors.json.gz") {
			texts.WriteString(v.Text + "\n")
		}
	}
	text := texts.String()
	for _, name := range spmGoldens {
		raw := readGz(b, filepath.Join(dir, "spm", name+".model.gz"))
		b.Run(name+"/load", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := parseAny(raw, "", dirOptions{}); err != nil {
					b.Fatal(err)
				}
			}
		})
		tk, err := parseAny(raw, "", dirOptions{})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name+"/encode", func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			var ids []int32
			for b.Loop() {
				ids = tk.AppendEncode(ids[:0], text, false)
			}
		})
	}
}
