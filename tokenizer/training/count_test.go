package training

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// write makes files of names and contents and returns them in the order of names.
func write(t testing.TB, content map[string]string) (dir string, files []File) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range slices.Sorted(maps.Keys(content)) {
		path, data := filepath.Join(dir, name), []byte(content[name])
		if strings.HasSuffix(name, ".gz") {
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			z.Write(data)
			z.Close()
			data = b.Bytes()
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		files = append(files, File{path, int64(len(data))})
	}
	return dir, files
}

func counts(t testing.TB, files []File, cfg Config) (map[string]int64, *Words) {
	t.Helper()
	cfg.Splitter = splitter(t, "llama3")
	w, err := Count(t.Context(), files, cfg, func(int64) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	m := map[string]int64{}
	err = w.all(t.Context(), func(text []byte, count int64) {
		if m[string(text)] != 0 {
			t.Errorf("%q comes twice", text)
		}
		m[string(text)] = count
	})
	if err != nil {
		t.Fatal(err)
	}
	return m, w
}

// The counts do not depend on threads, on the size of blocks, or on what had to
// wait on the disk; nor does the vocabulary.
func TestCountIsTheSameHowever(t *testing.T) {
	files := []File{{Path: "../../demo/tinyshakespeare.txt"}, {Path: "../../demo/tinyshakespeare.txt"}}
	want, w := counts(t, files, Config{Threads: 1})
	wantStats := w.Stats
	for _, cfg := range []Config{
		{Threads: 3}, {Threads: 2, blockSize: 100}, {Threads: 8, blockSize: 1000},
		{Threads: 1, Memory: 1 << 19, blockSize: 4096}, {Threads: 4, Memory: 1 << 19, blockSize: 1 << 14},
	} {
		cfg.TempDir = t.TempDir()
		got, w := counts(t, files, cfg)
		if !maps.Equal(got, want) {
			t.Errorf("%+v: got other counts", cfg)
		}
		if spilled := w.Stats.Spilled > 0; spilled != (cfg.Memory > 0) {
			t.Errorf("%+v: got %d bytes on the disk", cfg, w.Stats.Spilled)
		}
		w.Stats.Spilled = 0
		if w.Stats != wantStats {
			t.Errorf("%+v: got %+v, want %+v", cfg, w.Stats, wantStats)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if left, _ := os.ReadDir(cfg.TempDir); len(left) > 0 {
			t.Errorf("left on the disk: %v", left)
		}
	}
	one, _ := counts(t, files[:1], Config{})
	for text, n := range want {
		if one[text]*2 != n { // words do not cross files: the play ends in a line break
			t.Errorf("%q: got %d in two files, %d in one", text, n, one[text])
		}
	}
}

// What does not fit is left out from the rare end, the same whatever the threads.
func TestPrune(t *testing.T) {
	files := []File{{Path: "../../demo/tinyshakespeare.txt"}}
	all, _ := counts(t, files, Config{})
	cfg := Config{VocabSize: 1000, Memory: 300 << 10, TempDir: t.TempDir(), Splitter: splitter(t, "llama3")}
	first, stats := learn(t, files, cfg)
	if stats.MinCount < 2 || stats.PrunedDistinct == 0 || stats.Distinct != int64(len(all)) {
		t.Fatalf("got %+v, want words left out", stats)
	}
	size, distinct, words := int64(0), int64(0), int64(0)
	for text, n := range all {
		if n >= stats.MinCount {
			size += placeSize * int64(len(text)+1)
		} else {
			distinct, words = distinct+1, words+n
		}
	}
	if size > cfg.Memory || distinct != stats.PrunedDistinct || words != stats.PrunedWords {
		t.Errorf("got %+v and %d bytes; want %d different words, %d in all, and %d bytes at most", stats, size, distinct, words, cfg.Memory)
	}
	cfg.Threads, cfg.blockSize = 4, 5000
	second, again := learn(t, files, cfg)
	again.Spilled, stats.Spilled = 0, 0
	if !bytes.Equal(first.JSON(), second.JSON()) || again != stats {
		t.Errorf("another result with 4 threads: %+v, %+v", again, stats)
	}
	cfg.Memory = 10
	w, err := Count(t.Context(), files, cfg, func(int64) {})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Learn(t.Context(), cfg, func(int64) {}); err == nil || !strings.Contains(err.Error(), "max_memory") {
		t.Errorf("no memory: got %v", err)
	}
}

func TestKindsOfFiles(t *testing.T) {
	_, files := write(t, map[string]string{
		"a.txt":      "one two two",
		"b.txt.gz":   "two\n",
		"c.jsonl":    `{"text": "one"}` + "\n\n" + `{"id": 7, "text": "tw\u006f\n"}` + "\n",
		"d.jsonl.gz": `{"text": "é two"}`,
		"e.txt":      "", // an empty one
		"f.bad":      "caf\xe9 \xff\xff \xe4\xb8 ok\xe4",
	})
	got, w := counts(t, files, Config{TextKey: "text", Threads: 2, blockSize: 8})
	want := map[string]int64{"one": 2, " two": 3, "two": 2, "\n": 2, "é": 1, "caf": 1, "\ufffd": 1, " \ufffd\ufffd": 1, " \ufffd": 1, " ok": 1}
	// The first of f.bad is part of no word before: "caf\ufffd" is two words.
	want["\ufffd"]++ // and the last one
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if s := w.Stats; s.Broken != 5 || s.BrokenFiles != 1 || s.Documents != 6 || s.Files != 6 {
		t.Errorf("got %+v", s)
	}
	if got := strings.Join(w.Sample, "|"); !strings.Contains(got, "é two") || !strings.Contains(got, "one") {
		t.Errorf("sample: got %q", got)
	}
	plain, _ := counts(t, files[2:3], Config{})
	if plain[`{"`] == 0 {
		t.Errorf("without a key .jsonl is text: got %v", plain)
	}
}

// Text without a place to cut is cut anyway, at a character.
func TestForced(t *testing.T) {
	_, files := write(t, map[string]string{"a.txt": strings.Repeat("é", 100)})
	got, w := counts(t, files, Config{blockSize: 8, maxBlock: 15})
	if w.Stats.Forced == 0 || len(got) == 0 {
		t.Errorf("got %+v, %v", w.Stats, got)
	}
	n := 0
	for text, count := range got {
		n += len(text) * int(count)
	}
	if n != 200 || w.Stats.Broken != 0 {
		t.Errorf("got %d bytes and %+v, want 200", n, w.Stats)
	}
}

func TestReadErrors(t *testing.T) {
	long := strings.Repeat("x", 300)
	for name, tt := range map[string]struct{ name, content, want string }{
		"no key":        {"a.jsonl", `{"text":"a"}` + "\n" + `{"body":"b"}`, `a.jsonl:2: the record has no key "text"; name that of the text with --text_key`},
		"no string":     {"a.jsonl", "\n" + `{"text":[1]}`, `a.jsonl:2: "text" is no string: [1]`},
		"null":          {"a.jsonl", `{"text":null}`, `a.jsonl:1: "text" is no string: null`},
		"no JSON":       {"a.jsonl", "{\"text\":\"" + long + "\"}\n" + strings.Repeat("{\"text\":\"b\"}\n", 50) + "{", "a.jsonl:52: want a JSON object"},
		"no object":     {"a.jsonl", `"text"`, "a.jsonl:1: want a JSON object"},
		"too long":      {"a.jsonl", `{"text":"` + strings.Repeat(long, 20), "a.jsonl:1: a record of more than 4096 bytes"},
		"no gzip":       {"a.txt", "", "gzip: invalid header"},
		"cut off gzip":  {"b.txt.gz", long, "b.txt.gz: unexpected EOF"},
		"no such thing": {"", "", "no such file"},
	} {
		dir, files := write(t, map[string]string{tt.name + "x": tt.content, "z.txt": long})
		path := filepath.Join(dir, tt.name)
		switch name {
		case "no gzip":
			path = filepath.Join(dir, "a.txt.gz")
			os.WriteFile(path, []byte("plain text, by its name"), 0o666)
		case "cut off gzip":
			_, gz := write(t, map[string]string{"b.txt.gz": tt.content})
			b, _ := os.ReadFile(gz[0].Path)
			os.WriteFile(path, b[:len(b)-6], 0o666)
		case "no such thing":
			path = filepath.Join(dir, "missing.txt")
		default:
			os.WriteFile(path, []byte(tt.content), 0o666)
		}
		files = append(files, File{Path: path})
		w, err := Count(t.Context(), files, Config{Splitter: splitter(t, "gpt2"), TextKey: "text", Threads: 2, blockSize: 256, maxBlock: 4096}, func(int64) {})
		if err == nil || !strings.Contains(err.Error(), tt.want) || w != nil {
			t.Errorf("%s: got %v, want %q in it", name, err, tt.want)
		}
	}
}

func TestCancel(t *testing.T) {
	_, files := write(t, map[string]string{"a.txt": strings.Repeat("some words\n", 10000)})
	ctx, cancel := context.WithCancel(t.Context())
	cfg := Config{Splitter: splitter(t, "gpt2"), VocabSize: 300, Threads: 2, blockSize: 100}
	read := 0
	_, err := Count(ctx, files, cfg, func(n int64) {
		if read += int(n); read > 5000 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || read > 50000 {
		t.Errorf("got %v after %d bytes, want it cancelled", err, read)
	}
	w, err := Count(t.Context(), files, cfg, func(int64) {})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	if _, err := w.Learn(ctx, cfg, func(int64) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("merging: got %v, want it cancelled", err)
	}
}

func TestList(t *testing.T) {
	dir, _ := write(t, map[string]string{"a.txt": "a", "b/c.jsonl": "c", "b/d.md": "d", ".git/e.txt": "e", "b/.f.txt": "f", "g/h.md": "h", "i.txt.gz": "i"})
	at := func(names ...string) (paths []string) {
		for _, n := range names {
			paths = append(paths, filepath.Join(dir, n))
		}
		return paths
	}
	suffixes := []string{".txt", ".jsonl", ".txt.gz"}
	for _, tt := range []struct {
		paths, want []string
		err         string
	}{
		{at("."), at("a.txt", "b/c.jsonl", "i.txt.gz"), ""},
		{at("b/d.md", "b", "b/c.jsonl", "b"), at("b/d.md", "b/c.jsonl"), ""},
		{at("g"), nil, "none of its 1 files ends in .txt, .jsonl, .txt.gz; choose with --suffixes"},
		{at("x", "y.txt"), nil, "y.txt: no such file or directory"},
		{[]string{os.DevNull}, nil, "is no regular file"},
	} {
		files, err := List(tt.paths, suffixes)
		var got []string
		for _, f := range files {
			got = append(got, f.Path)
		}
		if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%q: got error %v, want %q", tt.paths, err, tt.err)
		}
		if fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%q: got %q, want %q", tt.paths, got, tt.want)
		}
	}
}

// Which samples are kept does not depend on the order in which they come.
func TestSamples(t *testing.T) {
	var want []string
	for _, backwards := range []bool{false, true} {
		s := &samples{}
		for i := range int64(5000) {
			if backwards {
				i = 4999 - i
			}
			s.add(i, fmt.Sprint(i)+strings.Repeat("é", sampleSize))
		}
		got := s.texts()
		if len(got) > maxSamples || len(got) < maxSamples/2 || !strings.HasPrefix(got[1], "16é") || len(got[1]) > sampleSize || strings.Contains(got[1], "\ufffd") {
			t.Errorf("got %d pieces, the second %.10q… of %d bytes", len(got), got[1], len(got[1]))
		}
		if want == nil {
			want = got
		}
		if !slices.Equal(got, want) {
			t.Error("got other pieces backwards")
		}
	}
}

// Counts beyond 32 bits decide as others do; Hugging Face's are of 32 bits.
func TestBigCounts(t *testing.T) {
	for _, tt := range []struct {
		words map[string]int64
		want  string
	}{
		{map[string]int64{"ab": 1 << 31, "cd": 1<<31 - 1, "ef": 1<<31 + 1}, "[[e f] [a b] [c d]]"},
		{map[string]int64{"ab": 1 << 40, "cd": 1<<40 + 1, "xab": 2}, "[[a b] [c d] [x ab]]"},
	} {
		words := newTable(maphash.MakeSeed())
		for text, n := range tt.words {
			words.add(text, n)
		}
		w := &Words{tables: []*table{words}}
		v, err := w.Learn(t.Context(), Config{VocabSize: 300, MinFrequency: 2}, func(int64) {})
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(v.Merges); got != tt.want || v.Reached {
			t.Errorf("%v: got %s, want %s", tt.words, got, tt.want)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		cfg  Config
		want string
	}{
		{Config{VocabSize: 256}, ""},
		{Config{VocabSize: 255}, "vocab_size 255 is too small: 256 bytes and 0 special tokens want 256 at least"},
		{Config{VocabSize: 257, Special: []string{"<s>", "</s>"}}, "vocab_size 257 is too small: 256 bytes and 2 special tokens want 258 at least"},
		{Config{VocabSize: 256, Special: []string{"a"}}, ""}, // is a byte's as well
		{Config{VocabSize: 300, Special: []string{"<s>", "<s>"}}, `special_tokens: "<s>" is given twice`},
		{Config{VocabSize: 300, Special: []string{""}}, "special_tokens: one is empty"},
		{Config{VocabSize: 300, Special: []string{"\xff"}}, `special_tokens: "\xff" is not UTF-8`},
	} {
		err := tt.cfg.Check()
		if got := fmt.Sprint(err); got != tt.want && (err != nil || tt.want != "") {
			t.Errorf("%+v: got %s, want %s", tt.cfg, got, tt.want)
		}
	}
}
