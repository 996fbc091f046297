package training

import "testing"

// BenchmarkCount counts the words of 1.1 MB of English, from the disk.
func BenchmarkCount(b *testing.B) {
	files := []File{{Path: "../../demo/tinyshakespeare.txt"}}
	cfg := Config{Splitter: splitter(b, "llama3"), Threads: 1}
	for b.Loop() {
		w, err := Count(b.Context(), files, cfg, func(int64) {})
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(w.Stats.Bytes)
	}
}

// BenchmarkLearn merges its 15 thousand different words into 8,000 tokens.
func BenchmarkLearn(b *testing.B) {
	files := []File{{Path: "../../demo/tinyshakespeare.txt"}}
	cfg := Config{Splitter: splitter(b, "llama3"), VocabSize: 8000}
	w, err := Count(b.Context(), files, cfg, func(int64) {})
	if err != nil {
		b.Fatal(err)
	}
	tables := w.tables
	for b.Loop() {
		w.tables = tables
		if _, err := w.Learn(b.Context(), cfg, func(int64) {}); err != nil {
			b.Fatal(err)
		}
	}
}
