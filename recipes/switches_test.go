package recipes

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/models"
)

// TestSwitches checks what LitGPT's six switches mean in each family: which layers,
// and that the parts of a fused weight cover its rows, each once.
func TestSwitches(t *testing.T) {
	const sizes = `"vocab_size": 17, "hidden_size": 32, "intermediate_size": 24, "ffn_hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4, `
	for _, tt := range []struct {
		config string
		want   [6]string // layers of query, key, value, projection, mlp, head
	}{
		{`{"architectures": ["LlamaForCausalLM"], "num_key_value_heads": 2}`, [6]string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj up_proj down_proj", "lm_head"}},
		{`{"architectures": ["StableLmForCausalLM"]}`, [6]string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj up_proj down_proj", "lm_head"}},
		{`{"architectures": ["PhiForCausalLM"]}`, [6]string{"q_proj", "k_proj", "v_proj", "dense", "fc1 fc2", "lm_head"}},
		{`{"architectures": ["Phi3ForCausalLM"], "num_key_value_heads": 2}`, [6]string{"qkv_proj", "qkv_proj", "qkv_proj", "o_proj", "gate_up_proj down_proj", "lm_head"}},
		{`{"architectures": ["GPTNeoXForCausalLM"]}`, [6]string{"query_key_value", "query_key_value", "query_key_value", "dense", "dense_h_to_4h dense_4h_to_h", "embed_out"}},
		{`{"architectures": ["FalconForCausalLM"]}`, [6]string{"query_key_value", "query_key_value", "query_key_value", "dense", "dense_h_to_4h dense_4h_to_h", "lm_head"}},
		{`{"architectures": ["FalconForCausalLM"], "new_decoder_architecture": true, "num_kv_heads": 2}`,
			[6]string{"query_key_value", "query_key_value", "query_key_value", "dense", "dense_h_to_4h dense_4h_to_h", "lm_head"}},
	} {
		t.Run(tt.config, func(t *testing.T) {
			m, err := models.New([]byte("{" + sizes + tt.config[1:]))
			if err != nil {
				t.Fatal(err)
			}
			all := FinetuneLoRA{LoRAR: 2, LoRAAlpha: 4}
			covered := map[string][]nn.Rows{}
			for i, on := range []*bool{&all.LoRAQuery, &all.LoRAKey, &all.LoRAValue, &all.LoRAProjection, &all.LoRAMLP, &all.LoRAHead} {
				c := FinetuneLoRA{LoRAR: 2, LoRAAlpha: 4}
				for j, x := range []*bool{&c.LoRAQuery, &c.LoRAKey, &c.LoRAValue, &c.LoRAProjection, &c.LoRAMLP, &c.LoRAHead} {
					*x = i == j
				}
				cfg := c.config(m)
				if got := strings.Join(cfg.Targets, " "); got != tt.want[i] {
					t.Errorf("switch %d: got %q, want %q", i, got, tt.want[i])
				}
				for layer, rows := range cfg.Parts {
					covered[layer] = append(covered[layer], rows...)
				}
				*on = true
			}
			if got := fmt.Sprint(all.config(m).Parts); got != fmt.Sprint(covered) && len(covered) > 0 {
				t.Errorf("all at once: got %v, want %v", got, covered)
			}
			var layers []string
			for name, l := range nn.Linears(m) {
				last := name[strings.LastIndexByte(name, '.')+1:]
				layers = append(layers, last)
				for i := 0; covered[last] != nil && i < l.Weight.Dim(0); i++ {
					n := 0
					for _, r := range covered[last] {
						if r.Has(i) {
							n++
						}
					}
					if n != 1 {
						t.Fatalf("row %d of %s is in %d parts", i, last, n)
					}
				}
			}
			for _, target := range all.config(m).Targets {
				if !slices.Contains(layers, target) {
					t.Errorf("no layer is called %s; there are %v", target, layers)
				}
			}
			if len(layers) != len(all.config(m).Targets) {
				t.Errorf("got targets %v, want all of %v", all.config(m).Targets, layers)
			}
		})
	}
}
