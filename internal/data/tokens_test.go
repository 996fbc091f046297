package data

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// hashTok is a tokenizer with another hash and vocabulary.
type hashTok struct {
	bytesTok
	hash  string
	vocab int
}

func (h hashTok) Hash() string   { return h.hash }
func (h hashTok) VocabSize() int { return h.vocab }

// wideTok gives ids that want four bytes.
type wideTok struct{ hashTok }

func (w wideTok) Encode(text string, special bool) []int32 {
	ids := bytesTok{}.Encode(text, special)
	for i := range ids {
		ids[i] += 70000
	}
	return ids
}

func TestTokenCache(t *testing.T) {
	text := strings.Repeat("to be or not to be. ", 20)
	dir := write(t, map[string]string{"a.txt": text})
	cache := filepath.Join(t.TempDir(), "new", "cache")
	path := filepath.Join(dir, "a.txt")
	read := func(tok Tokenizer, note string) []string {
		t.Helper()
		calls := 0
		train, _ := open(t, textConfig(path, ""), Options{Tokenizer: tok, MaxSeqLength: 4, CacheDir: cache, Progress: func(done, total int64) { calls++ }})
		wantReport(t, train, note)
		if fromCache := strings.Contains(note, "from"); fromCache == (calls > 0) {
			t.Errorf("%s: progress was called %d times", note, calls)
		}
		return rows(train)
	}
	files := func() []string {
		t.Helper()
		list, err := filepath.Glob(filepath.Join(cache, "*"))
		if err != nil {
			t.Fatal(err)
		}
		return list
	}

	first := read(bytesTok{}, "tokens, kept in "+cache)
	equal(t, "files", len(files()), 1)
	equal(t, "size: header and two bytes per token", fileSize(files()[0]), int64(headerSize+2*(1+len(strings.TrimSpace(text)))))
	equal(t, "rows from the cache", read(bytesTok{}, "tokens, from "+cache), first)

	// whatever the tokens depend on makes other tokens
	read(hashTok{hash: "other", vocab: 256}, "kept in")
	if err := os.WriteFile(path, []byte(strings.ToUpper(text)), 0o600); err != nil {
		t.Fatal(err)
	}
	if upper := read(bytesTok{}, "kept in"); slices.Equal(upper, first) || upper[0] != "\x00TO B" {
		t.Errorf("got %q, want the changed text", upper[0])
	}
	if err := os.Rename(path, filepath.Join(dir, "b.txt")); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, "b.txt")
	read(bytesTok{}, "kept in")
	equal(t, "files", len(files()), 4)

	// four bytes a token
	wide := wideTok{hashTok{hash: "wide", vocab: 70256}}
	kept, _ := open(t, textConfig(path, ""), Options{Tokenizer: wide, MaxSeqLength: 4, CacheDir: cache})
	again, _ := open(t, textConfig(path, ""), Options{Tokenizer: wide, MaxSeqLength: 4, CacheDir: cache})
	wantReport(t, again, "from")
	equal(t, "wide tokens", again.Batch([]int{0}, 0), kept.Batch([]int{0}, 0))
	equal(t, "wide tokens", kept.Batch([]int{0}, 0).Tokens, []int32{70000, 70000 + 'T', 70000 + 'O', 70000 + ' '})

	_, _, err := Open(t.Context(), textConfig(path, ""), Options{Tokenizer: wideTok{hashTok{hash: "liar", vocab: 100}}, MaxSeqLength: 4, CacheDir: cache})
	wantError(t, err, "the tokenizer gave token 70000, outside its own vocabulary")
	for _, f := range files() {
		if filepath.Ext(f) != ".tokens" {
			t.Errorf("%s is left over", f)
		}
	}
}

// A file of tokens that is damaged in any byte is made again.
func TestTokenCacheDamaged(t *testing.T) {
	path := filepath.Join(write(t, map[string]string{"a.txt": "to be or not"}), "a.txt")
	cache := t.TempDir()
	opt := Options{Tokenizer: bytesTok{}, MaxSeqLength: 4, CacheDir: cache}
	train, _ := open(t, textConfig(path, ""), opt)
	want := rows(train)
	kept, err := filepath.Glob(filepath.Join(cache, "*.tokens"))
	if err != nil || len(kept) != 1 {
		t.Fatal(kept, err)
	}
	whole, err := os.ReadFile(kept[0])
	if err != nil {
		t.Fatal(err)
	}
	damaged := [][]byte{nil, whole[:10], whole[:headerSize], whole[:len(whole)-1], whole[:len(whole)-2], append(slices.Clone(whole), 0, 0)}
	for i := range whole {
		b := slices.Clone(whole)
		b[i] ^= 4
		damaged = append(damaged, b)
	}
	for i, b := range damaged {
		// a new file: sets that are open read the old one
		if err := errors.Join(os.Remove(kept[0]), os.WriteFile(kept[0], b, 0o600)); err != nil {
			t.Fatal(err)
		}
		train, _ := open(t, textConfig(path, ""), opt)
		wantReport(t, train, "the kept tokens could not be used")
		equal(t, "rows", rows(train), want)
		if b, err := os.ReadFile(kept[0]); err != nil || !slices.Equal(b, whole) {
			t.Errorf("damage %d: the file was not made again (%v)", i, err)
		}
	}
}

// Without a place to keep tokens they are in memory.
func TestTokenCacheUnwritable(t *testing.T) {
	dir := write(t, map[string]string{"a.txt": "to be or not to be", "file": "in the way"})
	train, val := open(t, textConfig(filepath.Join(dir, "a.txt"), ""), Options{MaxSeqLength: 4, CacheDir: filepath.Join(dir, "file", "cache")})
	wantReport(t, train, "19 tokens, in memory: mkdir "+filepath.Join(dir, "file"))
	equal(t, "rows", append(rows(train), rows(val)...), []string{"\x00to b", "e or ", "to be"})

	t.Setenv("HOME", "")
	t.Setenv("XDG_CACHE_HOME", "")
	train, val, err := Open(t.Context(), textConfig(filepath.Join(dir, "a.txt"), ""), Options{Tokenizer: bytesTok{}, MaxSeqLength: 4})
	if err != nil {
		t.Fatal(err)
	}
	wantReport(t, train, "in memory")
	if err := errors.Join(train.Close(), val.Close()); err != nil {
		t.Error(err)
	}
}

// A full disk in the middle of the writing is trouble with the cache, which leads
// to memory, and leaves no half of a file.
func TestTokenCacheFull(t *testing.T) {
	dir := t.TempDir()
	_, err := writeCache(filepath.Join(dir, "x.tokens"), [32]byte{}, 2, func(w *tokenWriter) error {
		if err := w.write([]int32{1, 2}); err != nil {
			t.Fatal(err)
		}
		w.w = fullDisk{}
		return w.write([]int32{3})
	})
	if !errors.As(err, new(*cacheError)) {
		t.Errorf("got %v, want a *cacheError", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("%v is left over", left)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// Two sets share one mapping, which ends with the second.
func TestTokensClose(t *testing.T) {
	closed := 0
	tok := newTokens(make([]byte, 64), 2, func() error { closed++; return nil })
	train, val, err := splitText(tok, "x", 4, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range []*Set{train, val} {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		equal(t, "times unmapped", closed, i)
	}
}

// Whoever stops it leaves nothing behind.
func TestTextCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cache := t.TempDir()
	dir := write(t, map[string]string{"a.txt": strings.Repeat("to be or not to be ", 6*pieceSize/19)})
	_, _, err := Open(ctx, textConfig(filepath.Join(dir, "a.txt"), ""), Options{Tokenizer: bytesTok{}, MaxSeqLength: 4, CacheDir: cache, Progress: func(done, total int64) {
		if done > 0 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if left, _ := os.ReadDir(cache); len(left) > 0 {
		t.Errorf("%v is left over", left)
	}
}
