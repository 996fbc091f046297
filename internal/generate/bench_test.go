package generate

import (
	"testing"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/models"
)

// BenchmarkCompile makes the graphs of a model of 30 layers: what others wait for when a pass has a new shape.
func BenchmarkCompile(b *testing.B) {
	dev, err := tensor.Open("cpu", tensor.Options{Threads: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer dev.Close()
	m, err := models.New([]byte(`{"architectures": ["LlamaForCausalLM"], "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
		"num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 8192, "rope_theta": 100000, "tie_word_embeddings": true}`))
	if err != nil {
		b.Fatal(err)
	}
	for _, p := range nn.Params(m) {
		dtype := tensor.BF16
		if len(p.Shape()) == 1 {
			dtype = tensor.F32
		}
		if err := dev.Alloc(p, dtype); err != nil {
			b.Fatal(err)
		}
		defer p.Free()
	}
	r := newModelRunner(dev, m, Options{Sequences: 64, Positions: 4096, Chunk: 256})
	defer r.close()
	if _, err := r.room(1); err != nil {
		b.Fatal(err)
	}
	if _, err := r.program(shape{tokens: 256, sequences: 64, width: 32, wanted: 64}); err != nil { // the largest: the others fit its memory
		b.Fatal(err)
	}
	for i := range b.N {
		if _, err := r.program(shape{tokens: 16 + i%200, sequences: 16, width: 32, wanted: 16}); err != nil {
			b.Fatal(err)
		}
		r.drop(func(s shape) bool { return s.wanted == 16 })
	}
}
