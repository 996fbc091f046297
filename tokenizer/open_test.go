package tokenizer

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	spm := string(tinySpm().trainer(3, 2))
	writeFiles(t, dir, map[string]string{
		"tokenizer.json": `{"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}`,
		"a.model":        spm,
		"lfs.model":      "version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
		"empty.model":    "",
		"words.txt":      "hello world\n",
		"half.gguf":      "GGUF\x03\x00\x00\x00",
	})
	for name, want := range map[string]string{
		"": "", "tokenizer.json": "", "a.model": "",
		"lfs.model":   "lfs.model: is a Git LFS pointer",
		"empty.model": "empty.model: is empty",
		"words.txt":   "words.txt: is no tokenizer.json, no tiktoken file, no GGUF file, and as a SentencePiece model: not a protobuf message",
		"half.gguf":   "half.gguf: has 8 bytes, want at least the 24",
		"none":        "none: no such file",
	} {
		tk, err := Open(filepath.Join(dir, name))
		switch {
		case want == "" && (err != nil || len(tk.Encode("a", false)) == 0 || len(tk.Hash()) != 64):
			t.Errorf("%q: %v", name, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: got %v, want %s", name, err, want)
		}
	}
}

// TestLoadInstead: a directory without a tokenizer.json, and what its other files
// say about its tokenizer.model.
func TestLoadInstead(t *testing.T) {
	spm := string(tinySpm().trainer(3, 2))
	for _, c := range []struct {
		name   string
		config string
		other  map[string]string
		text   string
		want   []int32
	}{
		{"no configuration", "", nil, "ab<s>ab", []int32{1, 3, 6, 1, 3, 6}},
		{"no BOS", `{"add_bos_token":false}`, nil, "a", []int32{7}},
		{"EOS", `{"add_bos_token":false,"add_eos_token":true}`, nil, "a", []int32{7, 2}},
		{"not legacy", `{"legacy":false}`, nil, "ab<s>ab", []int32{1, 3, 6, 1, 6}},
		{"T5", `{"tokenizer_class":"T5Tokenizer","add_bos_token":false}`, nil, "a", []int32{7, 2}},
		{"added tokens", `{"added_tokens_decoder":{"8":{"content":"<u>","special":true,"rstrip":true}}}`, nil, "a<u>  b", []int32{1, 7, 8, 3, 5}},
		{"added tokens of old", "", map[string]string{"added_tokens.json": `{"<u>":8}`}, "a<u>", []int32{1, 7, 8}},
		{"the json goes first", "", map[string]string{"tokenizer.json": `{"model":{"type":"BPE","vocab":{"x":0,"a":1},"merges":[]}}`}, "a", []int32{1}},
		{"a gguf beside it", "", map[string]string{"x.gguf": "GGUF"}, "a", []int32{1, 7}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			writeFiles(t, dir, map[string]string{"tokenizer.model": spm})
			writeFiles(t, dir, c.other)
			if c.config != "" {
				writeFiles(t, dir, map[string]string{"tokenizer_config.json": c.config})
			}
			tk := loadDir(t, dir)
			if got := tk.Encode(c.text, true); !slices.Equal(got, c.want) {
				t.Errorf("%q: got %v, want %v", c.text, got, c.want)
			}
		})
	}
	dir := t.TempDir()
	two := ggufFile(ggufKinds[0].values...)
	for _, name := range []string{"a.gguf", "b.gguf"} {
		if err := os.WriteFile(filepath.Join(dir, name), two, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "2 files *.gguf to choose from, a.gguf and b.gguf among them") {
		t.Errorf("two files: got %v", err)
	}
	for _, bad := range []string{`{"added_tokens_decoder":{"x":{"content":"a"}}}`, `{"added_tokens_decoder":{"-1":{"content":"a"}}}`,
		`{"added_tokens_decoder":{"2000000000":{"content":"a"}}}`, `{"added_tokens_decoder":{"9":{"content":""}}}`} {
		dir := t.TempDir()
		writeFiles(t, dir, map[string]string{"tokenizer.model": spm, "tokenizer_config.json": bad})
		if _, err := Load(dir); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}
