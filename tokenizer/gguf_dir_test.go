package tokenizer

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestGGUFDir compares the ids of DIR/NAME.gguf with vectors DIR/NAME.json that
// llama.cpp made, special tokens in the texts parsed.
func TestGGUFDir(t *testing.T) {
	dir := os.Getenv("LITGPT_GGUF")
	if dir == "" {
		t.Skip("LITGPT_GGUF names no directory of GGUF files with llama.cpp's vectors")
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: no *.json (%v)", dir, err)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".json")
		t.Run(name, func(t *testing.T) {
			tk, err := Open(strings.TrimSuffix(path, ".json") + ".gguf")
			if err != nil {
				t.Fatal(err)
			}
			right, shown := 0, 0
			vectors := unmarshalFile[[]vector](t, path)
			for _, v := range vectors {
				got, special := tk.Encode(v.Text, false), tk.Encode(v.Text, true)
				if slices.Equal(got, v.IDs) && slices.Equal(special, v.Special) {
					right++
					continue
				}
				if shown++; shown <= 6 {
					t.Logf("%q\n got %v\nwant %v", v.Text, got, v.IDs)
				}
			}
			t.Logf("%s: %d of %d as llama.cpp, pre %q", name, right, len(vectors), "")
			checkStreams(t, tk, vectors[:50])
		})
	}
}
