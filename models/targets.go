package models

import "github.com/litgpt-go/litgpt/internal/nn"

// Target is a layer that LoRA may adapt, by the last part of its name; or some of
// its rows, where one weight holds several projections.
type Target struct {
	Layer string
	Rows  nn.Rows // the zero value is all
}

// LoRATargets says which layers of m LitGPT's switches mean: query, key, value,
// projection (the attention's output), mlp and head. A family whose layers are not
// called as Llama's are has a method LoRATargets of its own.
func LoRATargets(m Model) map[string][]Target {
	if own, ok := m.(interface{ LoRATargets() map[string][]Target }); ok {
		return own.LoRATargets()
	}
	return map[string][]Target{
		"query":      {{Layer: "q_proj"}},
		"key":        {{Layer: "k_proj"}},
		"value":      {{Layer: "v_proj"}},
		"projection": {{Layer: "o_proj"}},
		"mlp":        {{Layer: "gate_proj"}, {Layer: "up_proj"}, {Layer: "down_proj"}},
		"head":       {{Layer: "lm_head"}},
	}
}
