package main

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/safetensors"
)

// The tiny model through all layouts: every command takes each, with the same result, and what comes back is the file that there was.
func TestConvert(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{
		{"convert", tiny(t), "tiny.gguf"},
		{"convert", "tiny.gguf", "back"},
		{"convert", tiny(t), "lit", "--format", "litgpt"},
		{"convert", "lit", "lit.gguf"},
		{"convert_from_litgpt", "lit", "hf"},
		{"convert_pretrained_checkpoint", "lit", "lit2"},
		{"convert", tiny(t), "f16", "--dtype", "torch.float16"},
		{"convert", "f16", "f16.gguf"},
		{"convert", "f16.gguf", "f16back"},
	} {
		r := ok(t, litgpt(t, dir, append(args, "--threads", "1")...))
		exact := "max_diff=0 "
		if slices.Contains(args, "--dtype") {
			exact = "rel_diff=0.000"
		}
		if !strings.Contains(r.stderr, "msg=converted") || !strings.Contains(r.stderr, exact) {
			t.Errorf("%q: got stderr\n%s\nwant %s in it", args, r.stderr, exact)
		}
	}
	sameFile := func(a, b string) {
		t.Helper()
		if !bytes.Equal(read(t, a), read(t, b)) {
			t.Errorf("%s and %s differ", a, b)
		}
	}
	in := func(names ...string) string { return filepath.Join(append([]string{dir}, names...)...) }
	const weights = "model.safetensors"
	same := func(a, b string) { // our own training has the order of the model, Hugging Face's files are sorted
		t.Helper()
		if !slices.EqualFunc(sorted(t, a), sorted(t, b), func(x, y safetensors.Tensor) bool {
			return x.Name == y.Name && x.DType == y.DType && slices.Equal(x.Shape, y.Shape) && bytes.Equal(x.Data, y.Data)
		}) {
			t.Errorf("the tensors of %s and %s differ", a, b)
		}
	}
	same(filepath.Join(tiny(t), weights), in("back", weights))
	sameFile(in("back", weights), in("hf", weights))
	sameFile(in("f16", weights), in("f16back", weights))
	sameFile(in("lit", "lit_model.pth"), in("lit2", "lit_model.pth"))

	copyDir(t, tiny(t), in("place"))
	ok(t, litgpt(t, dir, "convert_to_litgpt", "place", "--model_name", "tiny-llama-1.1b", "--threads", "1"))
	sameFile(in("lit", "lit_model.pth"), in("place", "lit_model.pth"))
	if config := read(t, in("place", "model_config.yaml")); !bytes.Contains(config, []byte("tiny-llama-1.1b")) {
		t.Errorf("got model_config.yaml\n%s\nwant the name in it", config)
	}

	ask := func(checkpoint string) []int32 {
		return decode[generated](t, litgpt(t, dir, "generate", checkpoint, "--prompt", "first citizen", "--prompt_style", "default", "--json", "--temperature", "0", "--max_new_tokens", "10", "--threads", "1")).IDs
	}
	want := ask(tiny(t))
	for _, checkpoint := range []string{"tiny.gguf", "back", "lit", "lit.gguf", "hf", "lit2", "place"} {
		if got := ask(checkpoint); !slices.Equal(got, want) {
			t.Errorf("%s: got tokens %v, want %v", checkpoint, got, want)
		}
	}

	for _, checkpoint := range []string{"lit", "back"} {
		if r := ok(t, litgpt(t, dir, "check", checkpoint)); !strings.Contains(r.stdout, "0 errors") || !strings.Contains(r.stdout, "(21 weights, a tokenizer of 512 ids") {
			t.Errorf("check %s: got %q", checkpoint, r.stdout)
		}
	}

	// LitGPT's directory and GGUF are bases of adapters, which become llama.cpp's and come back.
	for _, base := range []string{"lit", "tiny.gguf"} {
		out := "out-" + base
		args := finetuneArgs(t, "finetune", 2, 0, "--out_dir", out)
		args[1] = base
		ok(t, litgpt(t, dir, args...))
		final, file, back := filepath.Join(out, "final"), out+".gguf", out+"-back"
		ok(t, litgpt(t, dir, "convert", final, file, "--threads", "1"))
		ok(t, litgpt(t, dir, "convert", file, back, "--threads", "1", "--pretrained_checkpoint_dir", base))
		ok(t, litgpt(t, dir, "convert", file, back+"2", "--threads", "1"))
		if !slices.Equal(ask(final), ask(back)) || !slices.Equal(ask(final), ask(back+"2")) {
			t.Errorf("%s: the adapter that came back computes something else", base)
		}
	}
}

// Each mistake is one error; what was there stays, and nothing else is left.
func TestBadConvert(t *testing.T) {
	dir := t.TempDir()
	copyDir(t, tiny(t), filepath.Join(dir, "hf"))
	ok(t, litgpt(t, dir, "convert", "hf", "x.gguf", "--threads", "1"))
	ok(t, litgpt(t, dir, "convert", "hf", "lit", "--format", "litgpt", "--threads", "1"))
	ok(t, litgpt(t, dir, finetuneArgs(t, "finetune", 1, 0)...))
	check(t, os.Rename(filepath.Join(dir, "out", "final"), filepath.Join(dir, "peft")))
	check(t, os.RemoveAll(filepath.Join(dir, "out")))
	const code = "\x80\x02cos\nsystem\nU\x04trueR." // pickle: os.system("true")
	for _, tt := range []struct {
		name   string
		damage func(t *testing.T)
		args   []string
		code   int
		want   []string
	}{
		{"nothing", nil, []string{"convert", "nosuch", "y.gguf"}, 1, []string{"nosuch: there is no such checkpoint"}},
		{"one argument", nil, []string{"convert", "hf"}, 2, []string{"DESTINATION"}},
		{"file there", nil, []string{"convert", "hf", "x.gguf"}, 1, []string{"x.gguf: is there already"}},
		{"directory there", nil, []string{"convert", "x.gguf", "hf"}, 1, []string{"hf: is there already"}},
		{"in a file", nil, []string{"convert", "hf", "x.gguf/y.gguf"}, 1, []string{"x.gguf/y.gguf"}},
		{"no direction", nil, []string{"convert", "hf", "y"}, 2, []string{"nothing says what to make of it", "--format litgpt"}},
		{"format", nil, []string{"convert", "hf", "y", "--format", "onnx"}, 2, []string{`--format is "onnx"; hf, gguf, litgpt or peft wanted`}},
		{"format and name", nil, []string{"convert", "hf", "y", "--format", "gguf"}, 2, []string{"something.gguf"}},
		{"name and format", nil, []string{"convert", "hf", "y.gguf", "--format", "litgpt"}, 2, []string{"is called like a GGUF file"}},
		{"type", nil, []string{"convert", "hf", "y.gguf", "--dtype", "float8"}, 2, []string{`--dtype is "float8"`}},
		{"quantized type", nil, []string{"convert", "hf", "y.gguf", "--dtype", "q4_k"}, 2, []string{`--dtype is "q4_k"`, "litgpt quantize"}},
		{"not GGUF", func(t *testing.T) { write(t, "bad.gguf", []byte("GGML")) }, []string{"convert", "bad.gguf", "y"}, 1, []string{"bad.gguf"}},
		{"GGUF cut", cut("x.gguf", 5000), []string{"convert", "x.gguf", "y"}, 1, []string{"x.gguf"}},
		{"GGUF weights cut", cut("x.gguf", 200000), []string{"convert", "x.gguf", "y"}, 1, []string{"x.gguf"}},
		{"GGUF architecture", func(t *testing.T) {
			replace(t, "x.gguf", "\x05\x00\x00\x00\x00\x00\x00\x00llama", "\x05\x00\x00\x00\x00\x00\x00\x00lemma")
		},
			[]string{"convert", "x.gguf", "y"}, 1, []string{`general.architecture is "lemma"`}},
		{"no config", remove("hf/config.json"), []string{"convert", "hf", "y.gguf"}, 1, []string{"no config.json"}},
		{"weights cut", cut("hf/model.safetensors", 100000), []string{"convert", "hf", "y.gguf"}, 1, []string{"hf/model.safetensors"}},
		{"weights of another model", func(t *testing.T) { edit(t, "hf/config.json", `"hidden_size": 64`, `"hidden_size": 128`) },
			[]string{"convert", "hf", "y", "--format", "litgpt"}, 1, []string{"checkpoint does not match config.json"}},
		{"not finite", func(t *testing.T) { inf(t, "hf/model.safetensors") }, []string{"convert", "hf", "y.gguf"}, 1, []string{"its logits are not finite"}},
		{"torch, no zip", func(t *testing.T) { check(t, os.Rename("hf/model.safetensors", "hf/pytorch_model.bin")) }, []string{"convert", "hf", "y"}, 1, []string{"hf/pytorch_model.bin"}},
		{"lit cut", cut("lit/lit_model.pth", 10000), []string{"convert", "lit", "y"}, 1, []string{"lit/lit_model.pth"}},
		{"lit runs code", func(t *testing.T) { zipPickle(t, "lit/lit_model.pth", code) }, []string{"convert_from_litgpt", "lit", "y"}, 1, []string{"lit/lit_model.pth", "os.system"}},
		{"lit without weights", remove("lit/lit_model.pth"), []string{"convert_from_litgpt", "lit", "y"}, 1, []string{"lit_model.pth"}},
		{"lit's adapter", func(t *testing.T) { check(t, os.Rename("lit/lit_model.pth", "lit/lit_model.pth.lora")) }, []string{"convert", "lit", "y"}, 1, []string{"no hyperparameters.yaml, which says what rank and alpha the adapter has"}},
		{"lit config", func(t *testing.T) { edit(t, "lit/model_config.yaml", "n_layer: 2", "n_layer: 3") }, []string{"convert", "lit", "y"}, 1, []string{"lit_model.pth does not match model_config.yaml"}},
		{"lit config key", func(t *testing.T) { edit(t, "lit/model_config.yaml", "n_layer: 2", "n_layers: 2") }, []string{"convert", "lit", "y"}, 1, []string{"n_layers"}},
		{"not LitGPT", nil, []string{"convert_from_litgpt", "hf", "y"}, 1, []string{"no model_config.yaml"}},
		{"not Hugging Face", nil, []string{"convert_to_litgpt", "lit"}, 1, []string{"is no Hugging Face directory"}},
		{"LitGPT's there", func(t *testing.T) { write(t, "hf/lit_model.pth", nil) }, []string{"convert_to_litgpt", "hf"}, 1, []string{"hf/lit_model.pth: is there already"}},
		{"pretrained there", nil, []string{"convert_pretrained_checkpoint", "lit", "hf"}, 1, []string{"hf: is there already"}},
		{"adapter to a directory", nil, []string{"convert", "peft", "y"}, 2, []string{"something.gguf"}},
		{"adapter's type", nil, []string{"convert", "peft", "y.gguf", "--dtype", "f16"}, 2, []string{"--dtype and other formats are for whole models"}},
		{"adapter without base", func(t *testing.T) { replace(t, "peft/adapter_config.json", tiny(t), "nosuch") }, []string{"convert", "peft", "y.gguf"}, 1, []string{`base checkpoint "nosuch" is not there`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			copyDir(t, dir, ".")
			if tt.damage != nil {
				tt.damage(t)
			}
			before := files(t, ".")
			fails(t, litgpt(t, ".", append(tt.args, "--threads", "1")...), tt.code, tt.want...)
			if after := files(t, "."); !slices.Equal(before, after) {
				t.Errorf("got files %q, want %q", after, before)
			}
		})
	}
}

// replace changes all old in a file.
func replace(t testing.TB, name, old, new string) {
	t.Helper()
	data := read(t, name)
	if !bytes.Contains(data, []byte(old)) {
		t.Fatalf("%s: has no %q", name, old)
	}
	write(t, name, bytes.ReplaceAll(data, []byte(old), []byte(new)))
}

// inf makes a weight infinite.
func inf(t testing.TB, name string) {
	t.Helper()
	tensors(t, name, func(all []safetensors.Tensor) []safetensors.Tensor {
		for _, x := range all {
			if x.Name == "model.norm.weight" {
				binary.LittleEndian.PutUint32(x.Data[20:], math.Float32bits(float32(math.Inf(1))))
			}
		}
		return all
	})
}

// zipPickle writes a file as torch.save does, of a pickle alone.
func zipPickle(t testing.TB, name, pickle string) {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, r := range [][2]string{{"data.pkl", pickle}, {"version", "3\n"}} {
		w, err := z.CreateHeader(&zip.FileHeader{Name: "archive/" + r[0], Method: zip.Store})
		check(t, err)
		_, err = w.Write([]byte(r[1]))
		check(t, err)
	}
	check(t, z.Close())
	write(t, name, b.Bytes())
}

// sorted gives the tensors of a file by their names.
func sorted(t testing.TB, name string) (all []safetensors.Tensor) {
	t.Helper()
	f, err := safetensors.Open(name)
	check(t, err)
	defer f.Close()
	for _, n := range slices.Sorted(slices.Values(f.Names())) {
		x, _ := f.Tensor(n)
		x.Data, x.Shape = bytes.Clone(x.Data), slices.Clone(x.Shape)
		all = append(all, x)
	}
	return all
}
