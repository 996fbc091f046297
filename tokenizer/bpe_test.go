package tokenizer

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
)

// randomBPE is the file of a vocabulary of the letters and of random merges. What
// the letters lack of an alphabet is unknown, dropped or spelled in bytes.
func randomBPE(r *rand.Rand, letters []string, merges int, settings map[string]any) []byte {
	vocab := map[string]int{}
	var tokens []string
	add := func(token string) {
		if _, ok := vocab[token]; !ok {
			vocab[token] = len(vocab)
			tokens = append(tokens, token)
		}
	}
	for _, l := range letters {
		add(l)
	}
	var pairs [][2]string
	for range merges {
		a, b := tokens[r.IntN(len(tokens))], tokens[r.IntN(len(tokens))]
		if len(a+b) > 40 {
			continue
		}
		add(a + b)
		pairs = append(pairs, [2]string{a, b})
	}
	if r.IntN(2) == 0 { // real ones are in an order in which they can happen
		r.Shuffle(len(pairs), func(i, j int) { pairs[i], pairs[j] = pairs[j], pairs[i] })
	}
	model := map[string]any{"type": "BPE", "vocab": vocab, "merges": pairs}
	for key, value := range settings {
		model[key] = value
		if key == "unk_token" {
			vocab[value.(string)] = len(vocab)
		}
		if key == "byte_fallback" {
			for b := range 256 {
				vocab[fmt.Sprintf("<0x%02X>", b)] = len(vocab)
			}
		}
	}
	file, err := json.Marshal(map[string]any{"model": model})
	if err != nil {
		panic(err)
	}
	return file
}

// slowMerge is the definition: again and again the leftmost pair of the lowest rank.
func slowMerge(t *mergeTable, ids []int32) []int32 {
	ids = slices.Clone(ids)
	for {
		best, at := uint32(noRank), 0
		for i := 0; i+1 < len(ids); i++ {
			if r := t.rank(ids[i], ids[i+1]); r < best {
				best, at = r, i
			}
		}
		if best == noRank {
			return ids
		}
		ids[at] = t.products[best]
		ids = slices.Delete(ids, at+1, at+2)
	}
}

// randomText is runs of letters: the same ones again and again make the cases in
// which what comes later changes what was merged before.
func randomText(r *rand.Rand, letters []string, n int) string {
	var b strings.Builder
	for range n {
		part := letters[r.IntN(len(letters))]
		for range 1 + r.IntN(3)*r.IntN(20) {
			b.WriteString(part)
		}
	}
	return b.String()
}

// TestRandomBPE: cut, cached, in windows and in pieces the ids are those of the
// definition, for vocabularies of every kind.
func TestRandomBPE(t *testing.T) {
	letters := []string{"a", "b", "c", "▁", "é", "漢"}
	for _, c := range []struct {
		name     string
		known    int // letters in the vocabulary
		settings map[string]any
	}{
		{"all letters", 6, nil},
		{"letters dropped", 4, nil},
		{"unknown", 4, map[string]any{"unk_token": "<unk>"}},
		{"unknown fused", 3, map[string]any{"unk_token": "<unk>", "fuse_unk": true}},
		{"bytes", 4, map[string]any{"unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true}},
		{"affixes", 6, map[string]any{"unk_token": "<unk>", "continuing_subword_prefix": "a", "end_of_word_suffix": "c"}},
		{"whole words first", 6, map[string]any{"ignore_merges": true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRand(uint64(len(c.name)))
			for round := range 60 {
				file := randomBPE(r, letters[:c.known], 3+r.IntN(60), c.settings)
				tk, err := Parse(file)
				if err != nil && strings.Contains(err.Error(), "not in the vocabulary") {
					continue // a random merge may give something else with a prefix
				}
				if err != nil {
					t.Fatal(err)
				}
				m := tk.model.(*bpe)
				for range 20 {
					text := randomText(r, append(letters, "x", "\xff"), r.IntN(1+round))
					var k mergeScratch
					m.symbols(&k, text)
					want := slowMerge(m.merges, k.ids)
					if id := m.vocab.id(text); m.ignoreMerges && id >= 0 {
						want = []int32{id}
					}
					pieces := m.appendPieces(nil, text)
					ids := []int32{}
					for i, p := range pieces {
						ids = append(ids, p.id)
						if p.start > p.end || i > 0 && p.start != pieces[i-1].end {
							t.Errorf("%q: piece %d is %v after %v", text, i, p, pieces[i-1])
						}
					}
					for what, got := range map[string][]int32{
						"first":  m.appendIDs(nil, text),
						"again":  m.appendIDs(nil, text),
						"pieces": ids,
					} {
						if !slices.Equal(got, want) {
							t.Fatalf("%s\n%q, %s: got %v, want %v", file, text, what, got, want)
						}
					}
				}
			}
		})
	}
}

// TestWindows: a long text in windows gives what a heap over all of it gives, also
// where tokens are longer than a window.
func TestWindows(t *testing.T) {
	r := newRand(1)
	long := []string{"a"}
	for len(long[len(long)-1]) < 1<<10 {
		long = append(long, strings.Repeat("a", 2*len(long[len(long)-1])))
	}
	vocab, merges := map[string]int{"b": 0}, [][2]string{}
	for _, token := range long {
		vocab[token] = len(vocab)
		if half := token[len(token)/2:]; half != token {
			merges = append(merges, [2]string{half, half})
		}
	}
	for range 100 {
		r.Shuffle(len(merges), func(i, j int) { merges[i], merges[j] = merges[j], merges[i] })
		j, _ := json.Marshal(map[string]any{"model": map[string]any{"type": "BPE", "vocab": vocab, "merges": merges}})
		files := [][]byte{j, randomBPE(r, []string{"a", "b"}, 30, nil)}
		for _, file := range files {
			tk, err := Parse(file)
			if err != nil {
				t.Fatal(err)
			}
			m := tk.model.(*bpe)
			var b strings.Builder
			for b.Len() < 1+r.IntN(8000) {
				b.WriteString(strings.Repeat("a", 1+r.IntN(1+r.IntN(3000))) + strings.Repeat("b", r.IntN(3)))
			}
			var k mergeScratch
			m.symbols(&k, b.String())
			var want, got []int32
			for i, id := range k.ids {
				rank := uint32(noRank)
				if i+1 < len(k.ids) {
					rank = m.merges.rank(id, k.ids[i+1])
				}
				k.row = append(k.row, symbol{id, int32(i), rank})
			}
			for _, s := range m.merges.heap(&k, k.row) {
				want = append(want, s.id)
			}
			for _, s := range m.merges.windows(&k, nil, k.ids) {
				got = append(got, s.id)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%.200s\n%.200q:\n got %v\nwant %v", file, b.String(), got, want)
			}
		}
	}
}

// TestWordCache: words of all lengths come back with their own ids, and the table
// does not grow, from many goroutines.
func TestWordCache(t *testing.T) {
	var c wordCache
	ids := func(w string) []int32 {
		ids := make([]int32, 1+len(w)/5)
		for i := range ids {
			ids[i] = int32(len(w)*1000+int(w[i])) | int32(w[0])<<13
		}
		return ids
	}
	var wait sync.WaitGroup
	for g := range 4 {
		wait.Go(func() {
			r := newRand(uint64(g))
			found := 0
			for range 200_000 {
				// A few words again and again, many only once.
				n := 1 + r.IntN(maxWord)
				w := strings.Repeat(string(rune('a'+r.IntN(26))), n)
				if r.IntN(4) == 0 {
					w = fmt.Sprintf("%0*d", n, r.Uint32())[:n]
				}
				key := newWordKey(w)
				got, ok := c.appendIDs([]int32{7}, &key)
				if ok && (got[0] != 7 || !slices.Equal(got[1:], ids(w))) {
					t.Errorf("%q: got %v, want %v", w, got[1:], ids(w))
					return
				}
				if ok {
					found++
					continue
				}
				if len(got) != 1 {
					t.Errorf("%q: not found, and %v appended", w, got[1:])
				}
				c.put(&key, ids(w))
			}
			if found < 50_000 {
				t.Errorf("found %d of 200000 words", found)
			}
		})
	}
	wait.Wait()
	if size := reflect.TypeFor[wordTable]().Size(); size > 5<<19 {
		t.Errorf("the table takes %d bytes", size)
	}
}

func TestWordKey(t *testing.T) {
	for n := 1; n <= maxWord; n++ {
		w := "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"[:n]
		key := newWordKey(w)
		var data [slotData]uint64
		for i := range n {
			data[i/8] |= uint64(w[i]) << (8 * (i % 8))
		}
		if got := [slotData]uint64(append(slices.Clone(key.data[:]), 0)); got != data || key.n != (n+7)/8 {
			t.Errorf("%q: got %x (%d), want %x", w, got, key.n, data)
		}
	}
}

func TestVocabulary(t *testing.T) {
	text, entries := []byte("ab<x>abc"), []vocabularyEntry{{1, 4, false}, {2, 0, false}, {5, 7, true}, {6, 2, false}, {8, 3, false}}
	v, err := newVocabulary(text, entries)
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]int32{"a": 2, "b": 0, "<x>": -1, "bc": 3, "": -1, "ab": -1} {
		if got, got2 := v.id(token), v.idOf([]byte(token)); got != want || got2 != want {
			t.Errorf("id of %q: got %d and %d, want %d", token, got, got2, want)
		}
	}
	for id, want := range []string{"b", "", "a", "bc", "a", "", "", "<x>", ""} {
		if got := v.token(int32(id)); got != want {
			t.Errorf("token %d: got %q, want %q", id, got, want)
		}
	}
	if v.token(-1) != "" || v.size() != 8 {
		t.Errorf("token -1 %q, size %d", v.token(-1), v.size())
	}
	if _, err := newVocabulary(text, []vocabularyEntry{{1, 1 << 30, false}}); err == nil {
		t.Error("an id of 2³⁰ in a vocabulary of one token: no error")
	}
	if _, err := newMergeTable(1<<22, 1<<22); err == nil {
		t.Error("4 Mi merges of 4 Mi ids: no error")
	}
}

// TestLongLine: a long line without a place to cut takes time in proportion to its
// length, and hostile vocabularies no more than n log n.
func TestLongLine(t *testing.T) {
	vocab, merges := map[string]int{"a": 0}, [][2]string{}
	for token := "a"; len(token) < 1<<16; token += token {
		vocab[token+token] = len(vocab)
		merges = append(merges, [2]string{token, token})
	}
	j, _ := json.Marshal(map[string]any{"model": map[string]any{"type": "BPE", "vocab": vocab, "merges": merges}})
	tk, err := Parse(j)
	if err != nil {
		t.Fatal(err)
	}
	ids := tk.Encode(strings.Repeat("a", 1<<18+1), false)
	if len(ids) != 5 || ids[0] != int32(len(vocab)-1) || ids[4] != 0 {
		t.Errorf("got %d ids, %v", len(ids), ids[:min(len(ids), 20)])
	}
}
