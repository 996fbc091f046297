package tokenizer

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/litgpt-go/litgpt/internal/gguf"
)

// asGGUF writes the tokenizer of a directory into a GGUF file without weights.
func asGGUF(t *testing.T, dir string, rows int) (path string, notes []string) {
	t.Helper()
	meta, notes, err := GGUF(dir, rows)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := gguf.NewWriter(&b, append([]gguf.KV{{Key: "general.architecture", Value: "llama"}}, meta...), nil); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "tokenizer.gguf")
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path, notes
}

// differ counts the vectors whose texts two tokenizers give different ids.
func differ(t *testing.T, what string, got, want *Tokenizer, vectors []vector) (n int) {
	t.Helper()
	for _, v := range vectors {
		for _, special := range []bool{false, true} {
			a, b := got.Encode(v.Text, special), want.Encode(v.Text, special)
			if slices.Equal(a, b) {
				continue
			}
			if n++; n <= 3 {
				t.Logf("%s: %.60q: got %.200v, want %.200v", what, v.Text, a, b)
			}
			break
		}
	}
	return n
}

// TestGGUFWrite takes tokenizers into GGUF, and from there into the files of a directory: the same ids of all texts.
// Those in LITGPT_TOKENIZERS are counted.
func TestGGUFWrite(t *testing.T) {
	type source struct {
		path, vectors string
		must          bool
	}
	sources := map[string]source{
		"fixture":         {"testdata/fixture/tokenizer.json", "testdata/fixture/vectors.json.gz", true},
		"phi-2":           {"testdata/phi-2.tokenizer.json.gz", "testdata/phi-2.vectors.json.gz", true},
		"mistral-7b-v0.1": {"testdata/mistral-7b-v0.1.tokenizer.json.gz", "testdata/mistral-7b-v0.1.vectors.json.gz", true},
	}
	if dir := os.Getenv("LITGPT_TOKENIZERS"); dir != "" {
		paths, err := filepath.Glob(filepath.Join(dir, "*", "tokenizer.json.gz"))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			name := filepath.Base(filepath.Dir(p))
			if golden := filepath.Join(dir, "golden", name+".json.gz"); fileExists(golden) {
				sources["dir/"+name] = source{p, golden, false}
			}
		}
	}
	for name, s := range sources {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), readGz(t, s.path), 0o644); err != nil {
				t.Fatal(err)
			}
			if config, err := os.ReadFile(filepath.Join(filepath.Dir(s.path), "tokenizer_config.json")); err == nil {
				if err := os.WriteFile(filepath.Join(dir, "tokenizer_config.json"), config, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want := loadDir(t, dir)
			if _, _, err := GGUF(dir, want.VocabSize()-1); err == nil {
				t.Error("an embedding with too few rows is no error")
			}
			if want.model == nil || s.must == false && !isBPE(want) {
				t.Skip("no BPE")
			}
			vectors := unmarshalFile[[]vector](t, s.vectors)
			path, notes := asGGUF(t, dir, want.VocabSize()+3)
			got, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			n := differ(t, "GGUF", got, want, vectors)
			files, err := Files(path)
			if err != nil {
				t.Fatal(err)
			}
			out := t.TempDir()
			for name, b := range files {
				if err := os.WriteFile(filepath.Join(out, name), b, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			back := loadDir(t, out)
			m := differ(t, "files", back, got, vectors)
			if s.must && !slices.Equal(back.EOS(), got.EOS()) || back.ChatTemplate() != got.ChatTemplate() || back.ChatTemplate() != want.ChatTemplate() {
				t.Errorf("ends %v and %v, templates of %d, %d and %d bytes", back.EOS(), got.EOS(), len(back.ChatTemplate()), len(got.ChatTemplate()), len(want.ChatTemplate()))
			}
			t.Logf("%d of %d other ids in GGUF, %d more in the files made of it; notes %q", n, len(vectors), m, notes)
			if s.must && n+m > 0 {
				t.Fail()
			}
		})
	}
}

func fileExists(path string) bool { _, err := os.Stat(path); return err == nil }

func isBPE(t *Tokenizer) bool { _, ok := t.model.(*bpe); return ok }
