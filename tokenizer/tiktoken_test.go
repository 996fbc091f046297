package tokenizer

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tiktokenFile makes lines of tokens, ranked by their place.
func tiktokenFile(tokens ...string) []byte {
	var b []byte
	for i, token := range tokens {
		b = fmt.Appendf(b, "%s %d\n", base64.StdEncoding.EncodeToString([]byte(token)), i)
	}
	return b
}

func TestTiktokenPieces(t *testing.T) {
	pieces, err := tiktokenPieces([]byte("YQ== 0\r\nYg== 2\n\nYWI= 1"))
	if err != nil {
		t.Fatal(err)
	}
	want := []spmPiece{{"a", 0, pieceNormal}, {"ab", -1, pieceNormal}, {"b", -2, pieceNormal}}
	if !slices.Equal(pieces, want) {
		t.Errorf("got %v, want %v", pieces, want)
	}
	for want, file := range map[string]string{
		"no tokens":                      "\n\n",
		"line 2: want a token in base64": "YQ== 0\nYg==\n",
		`line 1: want a token in base64 and its rank, got "YQ== x"`: "YQ== x",
		"line 1: want a token":                       "YQ== -1",
		`line 2: "!!" is no token in base64`:         "YQ== 0\n!! 1\n",
		`line 1: "" is no token in base64`:           " 0\n",
		"rank 1 is there twice":                      "YQ== 1\nYg== 1\n",
		"line 1: rank 2000000 in a file of 2 tokens": "YQ== 2000000\n",
		"line 1: a token of 4098 bytes":              strings.Repeat("YWFh", 1366) + " 0\n",
	} {
		if _, err := tiktokenPieces([]byte(file)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: got %v, want %s", file, err, want)
		}
	}
}

// The lowest rank is merged first, the leftmost of equal ones; a word that is a
// token needs no merges; bytes without a token drop out.
func TestTiktokenMerges(t *testing.T) {
	m := &pieceBPE{unknown: -1, bytewise: true}
	var err error
	if m.pieces, err = tiktokenPieces(tiktokenFile("a", "b", "c", "bc", "ab", "abc", "aa", "xyz", "é"[:1])); err != nil {
		t.Fatal(err)
	}
	if err := m.index(); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][]int32{
		"abc": {5}, "abcb": {5, 1}, "aaa": {6, 0}, "xyz": {7}, "xyza": {0}, "é": {8}, "": nil, "cab": {2, 4},
	} {
		if got := m.appendIDs(nil, text); !slices.Equal(got, want) {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
		var ids []int32
		for _, p := range m.appendPieces(nil, text) {
			ids = append(ids, p.id)
		}
		if !slices.Equal(ids, want) {
			t.Errorf("%q: pieces %v, want %v", text, ids, want)
		}
	}
}

func TestTiktokenUnknownFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "my.tiktoken")
	if err := os.WriteFile(path, tiktokenFile("a", "b"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Open(path)
	if err == nil || !strings.HasPrefix(err.Error(), path+": a tiktoken file of 2 ranks that is none we know") ||
		!strings.Contains(err.Error(), "cl100k_base (100256 ranks)") {
		t.Errorf("got %v", err)
	}
}

// TestTiktokenKinds: the special tokens have the published ids.
func TestTiktokenKinds(t *testing.T) {
	ids := map[string]int32{}
	count := map[string]int{}
	for _, k := range tiktokenKinds() {
		for _, tok := range k.added(k.ranks) {
			ids[k.name+" "+tok.Content] = tok.ID
			count[k.name]++
		}
	}
	for name, want := range map[string]int32{
		"r50k_base <|endoftext|>": 50256, "cl100k_base <|endoftext|>": 100257, "cl100k_base <|fim_suffix|>": 100260,
		"cl100k_base <|endofprompt|>": 100276, "o200k_base <|endofprompt|>": 200018,
		"llama3 <|begin_of_text|>": 128000, "llama3 <|eot_id|>": 128009, "llama3 <|reserved_special_token_247|>": 128255,
		"llama4 <|header_start|>": 200005, "llama4 <|eot|>": 200008, "llama4 <|image_start|>": 200080,
		"llama4 <|vision_reserved_special_token_1047|>": 201133, "llama4 <|reasoning_thinking_end|>": 201143,
		"qwen <|im_end|>": 151645, "qwen <|extra_204|>": 151850,
	} {
		if got := ids[name]; got != want {
			t.Errorf("%s: got %d, want %d", name, got, want)
		}
	}
	for name, want := range map[string]int{"llama3": 256, "llama4": 2048, "qwen": 208} {
		if count[name] != want {
			t.Errorf("%s: %d special tokens, want %d", name, count[name], want)
		}
	}
}

// TestTiktokenDir compares files with the vectors of the tokenizer.json made from
// them, on the texts that hold no special token which only one of the two has.
func TestTiktokenDir(t *testing.T) {
	dir := tokenizersDir(t)
	for _, c := range []struct{ file, golden string }{
		{"llama3", "llama3_2"}, {"qwen", "qwen3"}, {"cl100k_base", "phi-4-recon"},
	} {
		t.Run(c.file, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), c.file+".tiktoken")
			if err := os.WriteFile(path, readGz(t, filepath.Join(dir, "spm", c.file+".tiktoken.gz")), 0o644); err != nil {
				t.Fatal(err)
			}
			tk, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			json := parseFile(t, filepath.Join(dir, c.golden, "tokenizer.json.gz"))
			var vectors []vector
			for _, v := range unmarshalFile[[]vector](t, filepath.Join(dir, "golden", c.golden+".json.gz")) {
				theirs := func(a, b *Tokenizer) bool {
					for text, id := range a.addedID {
						got, ok := b.addedID[text]
						same := ok && got == id && a.added[id].StripLeft == b.added[id].StripLeft && a.added[id].StripRight == b.added[id].StripRight
						if !same && strings.Contains(v.Text, text) {
							return true
						}
					}
					return false
				}
				if !theirs(tk, json) && !theirs(json, tk) {
					vectors = append(vectors, v)
				}
			}
			right := checkVectors(t, tk, vectors)
			t.Logf("%d of %d exact", right, len(vectors))
			if len(vectors) < 500 {
				t.Errorf("only %d texts compared", len(vectors))
			}
			checkStreams(t, tk, vectors[:100])
			checkPieces(t, tk.model, vectors[:100])
		})
	}
}

func FuzzTiktoken(f *testing.F) {
	f.Add(tiktokenFile("a", "b", "ab", "\xff", " ", "aba"))
	f.Add([]byte("YQ== 0\nYg== 2\r\nYWI= 1"))
	f.Add([]byte("YQ== 4000000000"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 {
			return
		}
		checkHostile(t, b, func() *Tokenizer {
			pieces, err := tiktokenPieces(b)
			if err != nil {
				return nil
			}
			kind := tiktokenKind{pattern: patternQwen, nfc: len(b)%2 == 0, bos: "<s>", special: []addedToken{{Content: "<s>"}, {Content: "</s>"}}, eos: "</s>"}
			tk, err := tiktokenTokenizer(pieces, &kind, dirOptions{})
			if err != nil {
				return nil
			}
			return tk
		})
	})
}
