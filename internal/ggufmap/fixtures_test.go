package ggufmap

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/gguf"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/models"
)

// fixtures are the checkpoints of package models' tests, and those below the directory
// that the environment variable LITGPT_FIXTURES names.
func fixtures(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, root := range []string{"../../models/testdata/fixtures", os.Getenv("LITGPT_FIXTURES")} {
		entries, err := os.ReadDir(root)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		for _, e := range entries {
			dir := filepath.Join(root, e.Name())
			if _, err := os.Stat(filepath.Join(dir, "model.safetensors")); err == nil {
				all[filepath.Base(filepath.Dir(root))+"/"+e.Name()] = dir
			}
		}
	}
	if len(all) < 30 {
		t.Fatalf("%d checkpoints, want at least 30", len(all))
	}
	return all
}

func openCPU(t *testing.T) *tensor.Device {
	t.Helper()
	dev, err := tensor.Open("cpu", tensor.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dev.Close)
	return dev
}

// scores are the logits (T, V) of a text longer than the windows and first contexts of the
// fixtures.
func scores(t *testing.T, dev *tensor.Device, config []byte, src checkpoint.Source) []float32 {
	t.Helper()
	m, err := models.New(config)
	if err != nil {
		t.Fatalf("%v\n%s", err, config)
	}
	if err := checkpoint.Load(dev, m, src, checkpoint.Options{}); err != nil {
		t.Fatalf("%v\n%s", err, config)
	}
	defer func() {
		for _, p := range nn.Params(m) {
			p.Free()
		}
	}()
	tokens := make([]int32, 70)
	for i := range tokens {
		tokens[i] = int32(i*i*7+i*31) % int32(min(m.Dims().Vocab, 500))
	}
	g := tensor.NewGraph()
	b := nn.NewBatch(g, 1, len(tokens))
	y := m.Logits(m.Forward(b))
	p, err := g.Compile(dev, y)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	b.Set(tokens, 0)
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	return y.Values()
}

// written gives the bytes of an exported model as a file.
func written(t *testing.T, e *Exported) *gguf.File {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, e.Metadata, e.Tensors, nil); err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Parse(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestFixtures takes every checkpoint to GGUF and back: the same configuration as far as
// models read it, the same logits, bit for bit, and the same bytes of every weight.
func TestFixtures(t *testing.T) {
	dev := openCPU(t)
	for name, dir := range fixtures(t) {
		for _, spelling := range []string{"config.json", "config_v5.json"} {
			t.Run(name+"/"+spelling, func(t *testing.T) {
				config, err := os.ReadFile(filepath.Join(dir, spelling))
				if errors.Is(err, fs.ErrNotExist) {
					t.Skip("no such file")
				} else if err != nil {
					t.Fatal(err)
				}
				src, err := safetensors.OpenDir(dir)
				if err != nil {
					t.Fatal(err)
				}
				defer src.Close()
				e, err := Export(config, src)
				if err != nil {
					t.Fatal(err)
				}
				t.Log(e.Notes)
				back, made, err := Source(written(t, e))
				if err != nil {
					t.Fatal(err)
				}
				want, got := scores(t, dev, config, src), scores(t, dev, made, back)
				if !slices.Equal(got, want) {
					t.Errorf("the logits differ\n%s", made)
				}
				sameWeights(t, config, src, back)
			})
		}
	}
}

// sameWeights compares the bytes of all weights of a model, under the names the model has for them.
func sameWeights(t *testing.T, config []byte, want, got checkpoint.Source) {
	t.Helper()
	m, err := models.New(config)
	if err != nil {
		t.Fatal(err)
	}
	if a, ok := m.(checkpoint.Adapter); ok {
		want = a.AdaptCheckpoint(want)
	}
	n := 0
	for name, p := range nn.Params(m) {
		a, b := flat(t, m, name, p, want), flat(t, m, name, p, got)
		if !bytes.Equal(a, b) {
			t.Errorf("%s: %d bytes differ from the checkpoint's %d", name, len(b), len(a))
		}
		n++
	}
	if n == 0 {
		t.Error("a model without weights")
	}
}

// flat is the bytes of a weight that may be stored in pieces.
func flat(t *testing.T, m any, name string, p *tensor.Tensor, src checkpoint.Source) (all []byte) {
	t.Helper()
	pieces := []nn.Piece{{Name: name}}
	if split, ok := m.(checkpoint.Pieced); ok {
		if list := split.CheckpointPieces(func(name string) bool { _, ok := src.Tensor(name); return ok })[name]; list != nil {
			pieces = list
		}
	}
	for _, piece := range pieces {
		x, ok := src.Tensor(piece.Name)
		if !ok {
			t.Fatalf("no %s among %s", piece.Name, strings.Join(src.Names(), " "))
		}
		all = append(all, x.Data...)
	}
	return all
}
