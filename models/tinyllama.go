package models

import "fmt"

// TinyLlama is a Llama 2 of 1.1 B weights (https://arxiv.org/abs/2401.02385): it
// needs no code of its own, only its published shapes. They are what "pretrain"
// starts from; a checkpoint brings its own config.json.

// Shape is a named configuration to pretrain.
type Shape struct {
	Name   string // LitGPT's name
	Config string // config.json
}

// Shapes are the configurations known by name.
func Shapes() []Shape {
	tiny := llamaShape(2048, 32000, 22, 2048, 32, 4, 5632)
	return []Shape{
		{"tiny-llama-1.1b", tiny},
		{"tiny-llama-1.1b-chat", tiny},
		{"micro-llama-300M", llamaShape(2048, 32000, 12, 1024, 16, 4, 5632)},
	}
}

func llamaShape(context, vocab, layers, hidden, heads, kvHeads, intermediate int) string {
	return fmt.Sprintf(`{
 "architectures": ["LlamaForCausalLM"],
 "model_type": "llama",
 "bos_token_id": 1,
 "eos_token_id": 2,
 "hidden_act": "silu",
 "max_position_embeddings": %d,
 "vocab_size": %d,
 "num_hidden_layers": %d,
 "hidden_size": %d,
 "num_attention_heads": %d,
 "num_key_value_heads": %d,
 "intermediate_size": %d,
 "rms_norm_eps": 1e-05,
 "rope_theta": 10000.0,
 "rope_scaling": null,
 "tie_word_embeddings": false
}`, context, vocab, layers, hidden, heads, kvHeads, intermediate)
}
