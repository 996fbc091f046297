package recipes

import (
	"math"
	"testing"

	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/models"
)

// TestInitial measures the spread of random weights: LitGPT's √(2/5C), and 1/√C/L
// for the projections that end a sub-layer, whatever the family calls them.
func TestInitial(t *testing.T) {
	dims := models.Dims{Hidden: 64, Layers: 8}
	wide, narrow := math.Sqrt(2.0/(5*64)), 1.0/8/8
	for name, want := range map[string]float64{
		"model.embed_tokens.weight":                                 wide,
		"lm_head.weight":                                            wide,
		"model.layers.0.self_attn.q_proj.weight":                    wide,
		"model.layers.0.self_attn.o_proj.weight":                    narrow,
		"model.layers.0.mlp.down_proj.weight":                       narrow,
		"model.layers.0.mlp.gate_up_proj.weight":                    wide,
		"model.layers.0.self_attn.dense.weight":                     narrow, // Phi
		"model.layers.0.mlp.fc1.weight":                             wide,
		"model.layers.0.mlp.fc2.weight":                             narrow,
		"gpt_neox.layers.0.attention.dense.weight":                  narrow,
		"gpt_neox.layers.0.mlp.dense_h_to_4h.weight":                wide,
		"gpt_neox.layers.0.mlp.dense_4h_to_h.weight":                narrow,
		"model.layers.0.block_sparse_moe.experts.3.w1.weight":       wide,
		"model.layers.0.block_sparse_moe.experts.3.w2.weight":       narrow,
		"model.layers.0.mlp.experts.down_proj":                      narrow,
		"model.layers.0.mlp.experts.gate_up_proj":                   wide,
		"transformer.h.0.self_attention.dense.weight":               narrow, // Falcon
		"transformer.h.0.self_attention.query_key_value.weight":     wide,
		"model.layers.0.mlp.experts.0.my_down_proj_of_sorts.weight": wide,
	} {
		sum := 0.0
		v := initial(name, tensor.Param(64, 64), dims, 1)
		for _, x := range v {
			sum += float64(x) * float64(x)
		}
		if got := math.Sqrt(sum / float64(len(v))); math.Abs(got/want-1) > 0.05 { // 4096 draws: one standard error is 1 %
			t.Errorf("%s: got a deviation of %.4f, want %.4f", name, got, want)
		}
	}
	for name, want := range map[string]float32{"model.norm.weight": 1, "model.norm.bias": 0, "lm_head.bias": 0} {
		for _, x := range initial(name, tensor.Param(64), dims, 1) {
			if x != want {
				t.Fatalf("%s: got %g, want %g", name, x, want)
			}
		}
	}
}
