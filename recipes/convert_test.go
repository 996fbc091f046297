package recipes

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/durable"
	"github.com/litgpt-go/litgpt/internal/progress"
	"github.com/litgpt-go/litgpt/internal/pth"
	"github.com/litgpt-go/litgpt/internal/safetensors"
)

// quiet is where a test's conversions report; log gets the lines.
func quiet(log io.Writer) Out {
	return Out{Log: func(*progress.Bar) *slog.Logger { return slog.New(slog.NewTextHandler(log, nil)) },
		NewBar: func(int64, string, string) *progress.Bar { return nil }, Result: io.Discard}
}

// fixtureDirs are the checkpoints of package models' tests, and those below the directory that the
// environment variable LITGPT_FIXTURES names.
func fixtureDirs(t *testing.T) (dirs []string) {
	t.Helper()
	for _, root := range []string{"../models/testdata/fixtures", os.Getenv("LITGPT_FIXTURES")} {
		all, err := filepath.Glob(filepath.Join(root, "*", "model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range all {
			dirs = append(dirs, filepath.Dir(name))
		}
	}
	if len(dirs) < 30 {
		t.Fatalf("got %d checkpoints, want at least 30", len(dirs))
	}
	return dirs
}

func convert(t *testing.T, from, to string, more func(*Convert)) error {
	t.Helper()
	c := Convert{Source: from, Destination: to, Threads: 1}
	if more != nil {
		more(&c)
	}
	var log bytes.Buffer
	err := c.Run(context.Background(), quiet(&log))
	if err == nil && !strings.Contains(log.String(), "msg=converted") {
		t.Errorf("%s: got log %q, want converted", to, &log)
	}
	return err
}

// Every fixture there and back, with weights in each type: the same bytes, and the same file where
// the checkpoint has nothing superfluous in it.
func TestConvertRoundTrip(t *testing.T) {
	for _, dir := range fixtureDirs(t) {
		t.Run(filepath.Base(filepath.Dir(dir))+"/"+filepath.Base(dir), func(t *testing.T) {
			tmp := t.TempDir()
			types := map[string]string{"": dir}
			for _, dtype := range []string{"float16", "bfloat16"} {
				types[dtype] = filepath.Join(tmp, dtype)
				if err := convert(t, dir, types[dtype], func(c *Convert) { c.DType = dtype }); err != nil {
					t.Fatal(err)
				}
			}
			for dtype, from := range types {
				for _, way := range []struct {
					format, there string
				}{{"gguf", "there.gguf"}, {"litgpt", "there"}} {
					there, back := filepath.Join(tmp, dtype+way.there), filepath.Join(tmp, dtype+way.format+"-back")
					if err := convert(t, from, there, func(c *Convert) { c.Format = way.format }); err != nil {
						if why := notLitGPT[filepath.Base(dir)]; way.format == "litgpt" && why != "" && strings.Contains(err.Error(), why) {
							continue
						}
						t.Fatalf("%s: %v", way.format, err)
					}
					if err := convert(t, there, back, nil); err != nil {
						t.Fatalf("%s back: %v", way.format, err)
					}
					sameTensors(t, way.format+" "+dtype, from, back)
				}
			}
		})
	}
}

// notLitGPT are the fixtures that LitGPT's model has no settings for, and what the error says.
var notLitGPT = map[string]string{
	"gemma3-small": "attention_bias", "olmo2-small": "attention_bias", "qwen3-small": "attention_bias", "gptneox-sequential": "attention_bias",
	"phi3-odd": "longrope", "phi3-longrope": "longrope", "qwen2.5-yarn": "yarn", "qwen3-moe-mixed": "decoder_sparse_step",
	"smollm3": "SmolLM3ForCausalLM", "smollm3-window": "SmolLM3ForCausalLM",
}

// sameTensors compares two directories' weights.
func sameTensors(t *testing.T, what, wantDir, gotDir string) {
	t.Helper()
	config, err := os.ReadFile(filepath.Join(wantDir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	vision := bytes.Contains(config, []byte("vision_config")) // only the text model is converted
	a, err := os.ReadFile(filepath.Join(wantDir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(gotDir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(a, b) {
		return
	}
	if !vision {
		t.Errorf("%s: the files differ, in their headers at least", what)
	}
	want, err := safetensors.OpenDir(wantDir)
	if err != nil {
		t.Fatal(err)
	}
	defer want.Close()
	got, err := safetensors.OpenDir(gotDir)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	names := map[string]bool{}
	for _, name := range append(want.Names(), got.Names()...) {
		names[name] = true
	}
	for name := range names {
		plain := strings.TrimPrefix(name, "language_model.")
		if vision && !strings.HasPrefix(plain, "model.") {
			continue
		}
		x, inWant := want.Tensor("language_model." + plain)
		if !vision {
			x, inWant = want.Tensor(name)
		}
		y, inGot := got.Tensor(plain)
		switch {
		case !inGot:
			t.Errorf("%s: %s is not there", what, name)
		case !inWant:
			t.Errorf("%s: %s is new", what, name)
		case x.DType != y.DType || !bytes.Equal(x.Data, y.Data):
			t.Errorf("%s: %s: got %s %v, want %s %v, or other bytes", what, name, y.DType, y.Shape, x.DType, x.Shape)
		}
	}
}

// What is not a whole checkpoint, or cannot be written, leaves nothing behind.
func TestConvertLeavesNothing(t *testing.T) {
	const fixture = "../models/testdata/fixtures/tinyllama"
	tmp := t.TempDir()
	run := func(ctx context.Context, c Convert) error { return c.Run(ctx, quiet(io.Discard)) }

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, to := range []string{"x.gguf", "lit", "hf"} {
		c := Convert{Source: fixture, Destination: filepath.Join(tmp, to), Format: map[string]string{"lit": "litgpt", "hf": "hf"}[to]}
		if err := run(ctx, c); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want that it was cancelled", to, err)
		}
	}
	if err := enough(tmp, 1000, func(string) (int, bool) { return 999, true }); err == nil || !strings.Contains(err.Error(), "the disk has") {
		t.Errorf("got %v, want that the disk is full", err)
	}
	if err := enough(tmp, 1000, func(string) (int, bool) { return 0, false }); err != nil {
		t.Errorf("got %v where nobody knows the free space", err)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("got %v, %v, want nothing", left, err)
	}
}

// A result whose logits differ is not kept.
func TestConvertCompares(t *testing.T) {
	const fixture = "../models/testdata/fixtures/tinyllama"
	to := filepath.Join(t.TempDir(), "to")
	l, err := open(fixture)
	if err != nil {
		t.Fatal(err)
	}
	c, err := newConversion(context.Background(), quiet(io.Discard), l, formHF, "", "", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	c.src = &recent{Source: turned{l.src, "model.layers.1.self_attn.q_proj.weight"}}
	for _, f := range []form{formHF, formGGUF, formLit} {
		path := to + map[form]string{formGGUF: ".gguf"}[f]
		if err := c.run(f, path); err == nil || !strings.Contains(err.Error(), "its logits differ") || exists(path) {
			t.Errorf("%s: got %v, want that the logits differ, and nothing at %s", f, err, path)
		}
	}
}

// turned is a source with one tensor's halves exchanged, as a wrong permutation would.
type turned struct {
	checkpoint.Source
	name string
}

func (s turned) Tensor(name string) (safetensors.Tensor, bool) {
	t, ok := s.Source.Tensor(name)
	if name == s.name {
		half := len(t.Data) / 2
		t.Data = append(bytes.Clone(t.Data[half:]), t.Data[:half]...)
	}
	return t, ok
}

// PyTorch files are read, in one file and in shards, with a head that shares the embedding's storage.
func TestConvertTorch(t *testing.T) {
	for _, fixture := range []string{"tinyllama", "llama3.2"} {
		from, dir := filepath.Join("../models/testdata/fixtures", fixture), t.TempDir()
		config, err := os.ReadFile(filepath.Join(from, "config.json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o666); err != nil {
			t.Fatal(err)
		}
		src, err := safetensors.OpenDir(from)
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		if err := writeTorch(filepath.Join(dir, "pytorch_model.bin"), src); err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(t.TempDir(), "to")
		if err := convert(t, dir, to, nil); err != nil {
			t.Fatal(err)
		}
		sameTensors(t, fixture, from, to)
	}
}

func writeTorch(path string, src *safetensors.Dir) error {
	f, err := durable.CreateFile(path, 0o666)
	if err != nil {
		return err
	}
	defer f.Abort()
	w := pth.NewWriter(f, "pytorch_model")
	for _, name := range src.Names() {
		t, _ := src.Tensor(name)
		if err := w.Write(t, []safetensors.Tensor{t}); err != nil {
			return err
		}
		if _, own := src.Tensor("lm_head.weight"); name == "model.embed_tokens.weight" && !own {
			if err := w.Share("lm_head.weight", name); err != nil {
				return err
			}
		}
	}
	if err := w.Close(""); err != nil {
		return err
	}
	return f.Commit()
}
