package recipes

import (
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/models"
)

// Norms begin as the identity, also those whose checkpoints store the difference from it.
func TestInitialNorms(t *testing.T) {
	dev, err := tensor.Open("cpu", tensor.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	for architecture, want := range map[string]float32{"Gemma2ForCausalLM": 0, "Qwen3ForCausalLM": 1} {
		m, err := models.New([]byte(`{"architectures": ["` + architecture + `"], "vocab_size": 17, "hidden_size": 16, "intermediate_size": 24,
			"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4, "max_position_embeddings": 64}`))
		if err != nil {
			t.Fatal(err)
		}
		if err := initialize(dev, m, precisions["32-true"], 1); err != nil {
			t.Fatal(err)
		}
		norms := 0
		for name, p := range nn.Params(m) {
			if strings.HasSuffix(name, "norm.weight") {
				norms++
				for _, v := range p.Values() {
					if v != want {
						t.Fatalf("%s, %s: got %g, want %g", architecture, name, v, want)
					}
				}
			}
			p.Free()
		}
		if norms != 5 {
			t.Errorf("%s: got %d norms, want 5", architecture, norms)
		}
	}
}
