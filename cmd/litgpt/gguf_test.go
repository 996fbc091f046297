package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/gguf"
	"github.com/litgpt-go/litgpt/internal/ggufmap"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/tokenizer"
)

// asGGUF writes the tiny model as a GGUF file: its matrices as they are, or quantized to q.
func asGGUF(t testing.TB, to string, q tensor.DType) {
	t.Helper()
	config, err := os.ReadFile(filepath.Join(tiny(t), "config.json"))
	check(t, err)
	src, err := safetensors.OpenDir(tiny(t))
	check(t, err)
	defer src.Close()
	e, err := ggufmap.Export(config, src)
	check(t, err)
	meta, _, err := tokenizer.GGUF(tiny(t), 512)
	check(t, err)
	infos := make([]gguf.Info, len(e.Tensors))
	types := make([]tensor.DType, len(e.Tensors))
	for i, x := range e.Tensors {
		infos[i], types[i] = x.Info, tensor.F32
		if q.Quantized() && !x.Keep {
			types[i] = q
			infos[i].Type, _ = gguf.TypeByName(q.String())
		}
	}
	f, err := os.Create(to)
	check(t, err)
	w, err := gguf.NewWriter(f, append(e.Metadata, meta...), infos)
	check(t, err)
	for i := range e.Tensors {
		v := make([]float32, e.Tensors[i].Rows()*e.Tensors[i].Cols())
		check(t, e.Tensors[i].Floats(v, 0))
		_, err := w.Write(tensor.FromFloats(types[i], v))
		check(t, err)
	}
	check(t, w.Close())
	check(t, f.Close())
}

// TestGGUF uses a GGUF file wherever a checkpoint is expected: what the same weights in a directory give.
func TestGGUF(t *testing.T) {
	dir := t.TempDir()
	asGGUF(t, filepath.Join(dir, "tiny.gguf"), tensor.F32)
	for _, args := range [][]string{
		{"generate", "CKPT", "--prompt", "First Citizen", "--max_new_tokens", "20", "--temperature", "0", "--threads", "1"},
		{"generate", "CKPT", "--token_ids", "[5,77,300]", "--max_new_tokens", "8", "--temperature", "0", "--threads", "1", "--json"},
		{"score", "CKPT", "--token_ids", "[[3,14,15,92,65]]", "--threads", "1"},
		{"tokenize", "CKPT", "First Citizen: speak"},
		{"chat", "CKPT", "--temperature", "0", "--max_new_tokens", "20", "--threads", "1"},
	} {
		run := func(ckpt string) string {
			a := slices.Clone(args)
			a[1] = ckpt
			r := ok(t, with(t, dir, "Who?\n", a...))
			for _, field := range strings.Fields(r.stdout) { // times differ
				if strings.Contains(field, "seconds") {
					t.Fatalf("%v: %s", args, r.stdout)
				}
			}
			return r.stdout
		}
		if got, want := run("tiny.gguf"), run(tiny(t)); got != want || got == "" {
			t.Errorf("%v: got %q, want %q", args, got, want)
		}
	}

	// An adapter on it, its use, and the merged checkpoint, which is a Hugging Face directory.
	train := func(command, out, ckpt string, more ...string) {
		t.Helper()
		args := finetuneArgs(t, command, 4, 0, append([]string{"--out_dir", out, "--precision", "32-true"}, more...)...)
		args[1] = ckpt
		ok(t, litgpt(t, dir, args...))
	}
	train("finetune_lora", "lora", "tiny.gguf")
	train("finetune_lora", "lora2", tiny(t))
	generate := func(ckpt string) string {
		t.Helper()
		return ok(t, litgpt(t, dir, "generate", ckpt, "--prompt", "First Citizen", "--max_new_tokens", "12", "--temperature", "0", "--threads", "1")).stdout
	}
	if got, want := generate("lora/final"), generate("lora2/final"); got != want {
		t.Errorf("an adapter on the file gives %q, one on the directory %q", got, want)
	}
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json", "generation_config.json", "prompt_style.yaml"} {
		if _, err := os.Stat(filepath.Join(dir, "lora", "final", name)); err != nil {
			t.Error(err)
		}
	}
	ok(t, litgpt(t, dir, "merge_lora", "lora/final", "--out_dir", "merged"))
	if got, want := generate("merged"), generate("lora/final"); got != want {
		t.Errorf("merged it gives %q, not %q", got, want)
	}
	train("finetune_full", "full", "tiny.gguf")
	train("finetune_full", "full2", tiny(t))
	if got, want := generate("full/final"), generate("full2/final"); got != want {
		t.Errorf("trained whole the file gives %q, the directory %q", got, want)
	}
	args := pretrainArgs(t, 2, 0, "--initial_checkpoint_dir", "../tiny.gguf", "--tokenizer_dir", "")
	mkdir(t, filepath.Join(dir, "pre"))
	ok(t, litgpt(t, filepath.Join(dir, "pre"), append([]string{"pretrain"}, args[15:]...)...))
	generate("pre/out/final")

	// A directory with nothing but the file, and a file that is none.
	mkdir(t, filepath.Join(dir, "checkpoints", "only"))
	check(t, os.Rename(filepath.Join(dir, "tiny.gguf"), filepath.Join(dir, "checkpoints", "only", "model.gguf")))
	if got, want := generate("only"), generate(tiny(t)); got != want {
		t.Errorf("in a directory it gives %q, want %q", got, want)
	}
	fails(t, litgpt(t, dir, "generate", "lora/final", "--prompt", "x", "--threads", "1"), exitFailed, "tiny.gguf", "is not there")
	b, err := os.ReadFile(filepath.Join(dir, "checkpoints", "only", "model.gguf"))
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, "short.gguf"), b[:len(b)-100], 0o644))
	fails(t, litgpt(t, dir, "generate", "short.gguf", "--prompt", "x"), exitFailed, "short.gguf", "truncated")
}

// TestQuantizedGGUF trains adapters on quantized weights, and says so.
func TestQuantizedGGUF(t *testing.T) {
	dir := t.TempDir()
	asGGUF(t, filepath.Join(dir, "q8.gguf"), tensor.Q8_0)
	r := ok(t, litgpt(t, dir, "generate", "q8.gguf", "--prompt", "First Citizen", "--max_new_tokens", "12", "--temperature", "0", "--threads", "1"))
	if !strings.Contains(r.stderr, "type=Q8_0") {
		t.Errorf("got stderr\n%s\nwant in it type=Q8_0", r.stderr)
	}
	args := finetuneArgs(t, "finetune_lora", 4, 0)
	args[1] = "q8.gguf"
	r = ok(t, litgpt(t, dir, args...))
	if !strings.Contains(r.stderr, "type=Q8_0") || !strings.Contains(r.stderr, "precision=32-true") {
		t.Errorf("got stderr\n%s\nwant in it type=Q8_0 and precision=32-true", r.stderr)
	}
	ok(t, litgpt(t, dir, "generate", "out/final", "--prompt", "First Citizen", "--max_new_tokens", "4", "--threads", "1"))
	asGGUF(t, filepath.Join(dir, "q8.gguf"), tensor.Q4_0)
	fails(t, litgpt(t, dir, "generate", "out/final", "--prompt", "x"), exitFailed, "trained on other weights")
}
