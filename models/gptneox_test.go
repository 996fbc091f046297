package models_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/models"
)

// oldPythia is a checkpoint as old versions of transformers wrote it, with buffers, or
// with the head under the name that transformers 5 has in memory.
type oldPythia struct {
	checkpoint.Source
	extra  map[string]safetensors.Tensor
	lmHead bool
}

func (o oldPythia) Names() (names []string) {
	for _, n := range o.Source.Names() {
		if n == "embed_out.weight" && o.lmHead {
			n = "lm_head.weight"
		}
		names = append(names, n)
	}
	for n := range o.extra {
		names = append(names, n)
	}
	return names
}

func (o oldPythia) Tensor(name string) (safetensors.Tensor, bool) {
	if t, ok := o.extra[name]; ok {
		return t, true
	}
	if o.lmHead && name == "embed_out.weight" {
		return safetensors.Tensor{}, false
	}
	if o.lmHead && name == "lm_head.weight" {
		name = "embed_out.weight"
	}
	return o.Source.Tensor(name)
}

func TestOldPythia(t *testing.T) {
	dev := openCPU(t)
	f := fixture{dir: filepath.Join(own, "gptneox"), required: true, dev: dev}
	ids := f.inputs(t).IDs
	want := logits(t, dev, f.load(t, "config.json", false), ids)
	src, err := safetensors.OpenDir(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	mask := safetensors.Tensor{DType: "BOOL", Shape: []int{1, 1, 2, 2}, Data: make([]byte, 4)}
	for name, tt := range map[string]struct {
		source oldPythia
		want   string // the error
	}{
		"buffers": {oldPythia{src, map[string]safetensors.Tensor{"gpt_neox.layers.0.attention.bias": mask,
			"gpt_neox.layers.1.attention.masked_bias":         mask,
			"gpt_neox.layers.0.attention.rotary_emb.inv_freq": mask}, false}, ""},
		"lm_head":      {oldPythia{src, nil, true}, ""},
		"other extras": {oldPythia{src, map[string]safetensors.Tensor{"gpt_neox.layers.0.attention.dense.biases": mask}, false}, "unused gpt_neox.layers.0.attention.dense.biases"},
	} {
		m, err := models.New(f.read(t, "config.json"))
		if err != nil {
			t.Fatal(err)
		}
		err = checkpoint.Load(dev, m, tt.source, checkpoint.Options{})
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: got %v, want %q", name, err, tt.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got := logits(t, dev, m, ids); !slices.Equal(got, want) {
			t.Errorf("%s: the scores differ", name)
		}
	}
}

// TestSuperfluousHead loads checkpoints that store a tied head all the same, as Falcon 7B does.
func TestSuperfluousHead(t *testing.T) {
	dev := openCPU(t)
	for name, embed := range map[string]string{"falcon-7b": "transformer.word_embeddings.weight", "gptneox-sequential": "gpt_neox.embed_in.weight", "phi3-odd": "model.embed_tokens.weight"} {
		f := fixture{dir: filepath.Join(own, name), required: true, dev: dev}
		src, err := safetensors.OpenDir(f.dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { src.Close() })
		head, ok := src.Tensor(embed)
		if !ok {
			t.Fatalf("%s has no %s", name, embed)
		}
		other := head
		other.Data = slices.Clone(head.Data)
		other.Data[5] ^= 1
		key := "lm_head.weight"
		if name == "gptneox-sequential" {
			key = "embed_out.weight"
		}
		for want, tensor := range map[string]safetensors.Tensor{"": head, key + " differs from " + embed: other} {
			m, err := models.New(f.read(t, "config.json"))
			if err != nil {
				t.Fatal(err)
			}
			err = checkpoint.Load(dev, m, oldPythia{src, map[string]safetensors.Tensor{key: tensor}, false}, checkpoint.Options{})
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %q", name, err, want)
			}
		}
	}
}
