package ggufmap

import (
	"bytes"
	"testing"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/gguf"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/models"
)

// FuzzSource changes files of all kinds of layout: what opens has a configuration that is JSON, and weights that can be read.
func FuzzSource(f *testing.F) {
	for _, d := range []tensor.DType{tensor.F32, tensor.Q8_0} {
		config, src := tiny(d, "")
		e, err := Export(config, src)
		if err != nil {
			f.Fatal(err)
		}
		var b bytes.Buffer
		if err := Write(&b, e.Metadata, e.Tensors, nil); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	// Headers of other families, their tensors a few bytes each.
	for _, fam := range families {
		e := &Exported{Arch: fam.arch, Metadata: []gguf.KV{{Key: "general.architecture", Value: fam.arch}}}
		for _, k := range []string{"block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count", "attention.head_count_kv", "expert_count"} {
			e.set(k, uint32(2))
		}
		var infos []gguf.Info
		n := 0
		for _, r := range fam.rules {
			shape := []int{2, 2}
			if r.stack {
				shape = []int{2, 2, 2}
			}
			if r.with == "" {
				infos = append(infos, gguf.Info{Name: published(r.gguf, 0) + ".weight", Type: gguf.F32, Shape: shape})
				n += 64
			}
		}
		var b bytes.Buffer
		if _, err := gguf.NewWriter(&b, e.Metadata, infos); err != nil {
			f.Fatal(err)
		}
		f.Add(append(b.Bytes(), make([]byte, n)...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := gguf.Parse(b)
		if err != nil {
			return
		}
		src, config, err := Source(g)
		if err != nil {
			return
		}
		for _, name := range src.Names() {
			h, ok := checkpoint.Header(src, name)
			x, ok2 := src.Tensor(name)
			if !ok || !ok2 || h.DType != x.DType || len(x.Data) == 0 {
				t.Errorf("%s: %v %v, %d bytes", name, ok, ok2, len(x.Data))
			}
		}
		if _, err := models.Architecture(config); err != nil {
			t.Error(err)
		}
		models.New(config) // any error, no panic
	})
}
