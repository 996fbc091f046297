package ggufmap

import (
	"github.com/litgpt-go/litgpt/internal/gguf"
)

// family is how one architecture of Hugging Face is written in GGUF.
type family struct {
	arch    string                               // general.architecture
	aliases []string                             // others that are the same as far as read here
	hf      string                               // architectures
	model   string                               // model_type
	when    func(f *gguf.File, arch string) bool // of several families with arch, which this is; nil: the first

	rules    []rule
	consumed []string // tensors that the configuration takes in

	// defaults are config.json's, of what it need not say.
	defaults string
	keys     []key

	thetaKey string // of config.json; rope_theta if ""
	partial  string // config.json's key for the rotated part of a head; "" where all of it is
	noHead   bool   // config.json has no head_dim
	ffn      string // config.json's key for the MLP's size; intermediate_size if ""
	kv       string // config.json's key for key/value heads; num_key_value_heads if ""; "-" for none

	ownHead bool // llama.cpp wants output.weight even where it is the embedding

	// fromGGUF and toGGUF do what keys cannot: f is read into c, c (complete) is written to e.
	fromGGUF func(f *gguf.File, arch string, c conf) error
	toGGUF   func(e *Exported, c conf)

	// notes says what llama.cpp computes otherwise, or refuses.
	notes func(c conf) []string
}

func (fam *family) theta() string {
	if fam.thetaKey != "" {
		return fam.thetaKey
	}
	return "rope_theta"
}

// A rule is the name of a module in GGUF and as published, without .weight and .bias; %d is the layer,
// and the second %d an expert.
type rule struct {
	gguf, hf string
	order    *interleave
	plusOne  bool // a norm, stored as w+1
	stack    bool // all experts of the layer
	f32      bool // llama.cpp wants a matrix in F32 too
}

// rule finds the rule of a name of GGUF.
func (fam *family) rule(template string) (rule, bool) {
	for _, r := range fam.rules {
		if r.gguf == template {
			return r, true
		}
	}
	return rule{}, false
}

// key is a number that both have.
type key struct {
	gguf, hf string // gguf without the architecture's prefix
	kind     gguf.Kind
}

// Layers of most families have these names.
const layer = "model.layers.%d."

var embed = []rule{{gguf: "token_embd", hf: "model.embed_tokens"}, {gguf: "output", hf: "lm_head"}}

// attention is the projections of layers in Llama's spelling, in the order o of queries and keys.
func attention(o *interleave) []rule {
	return []rule{
		{gguf: "blk.%d.attn_q", hf: layer + "self_attn.q_proj", order: o},
		{gguf: "blk.%d.attn_k", hf: layer + "self_attn.k_proj", order: o},
		{gguf: "blk.%d.attn_v", hf: layer + "self_attn.v_proj"},
		{gguf: "blk.%d.attn_output", hf: layer + "self_attn.o_proj"},
	}
}

var mlp = []rule{
	{gguf: "blk.%d.ffn_gate", hf: layer + "mlp.gate_proj"},
	{gguf: "blk.%d.ffn_up", hf: layer + "mlp.up_proj"},
	{gguf: "blk.%d.ffn_down", hf: layer + "mlp.down_proj"},
}

// prenorm is the norms before attention and MLP, and the last.
var prenorm = []rule{
	{gguf: "output_norm", hf: "model.norm"},
	{gguf: "blk.%d.attn_norm", hf: layer + "input_layernorm"},
	{gguf: "blk.%d.ffn_norm", hf: layer + "post_attention_layernorm"},
}

// sandwich is the norms of Gemma 2 and 3.
var sandwich = []rule{
	{gguf: "output_norm", hf: "model.norm", plusOne: true},
	{gguf: "blk.%d.attn_norm", hf: layer + "input_layernorm", plusOne: true},
	{gguf: "blk.%d.post_attention_norm", hf: layer + "post_attention_layernorm", plusOne: true},
	{gguf: "blk.%d.ffn_norm", hf: layer + "pre_feedforward_layernorm", plusOne: true},
	{gguf: "blk.%d.post_ffw_norm", hf: layer + "post_feedforward_layernorm", plusOne: true},
}

var headNorms = []rule{
	{gguf: "blk.%d.attn_q_norm", hf: layer + "self_attn.q_norm"},
	{gguf: "blk.%d.attn_k_norm", hf: layer + "self_attn.k_norm"},
}

func experts(router, gate, up, down string) []rule {
	return []rule{
		{gguf: "blk.%d.ffn_gate_inp", hf: router, f32: true},
		{gguf: "blk.%d.ffn_gate_exps", hf: gate, stack: true},
		{gguf: "blk.%d.ffn_up_exps", hf: up, stack: true},
		{gguf: "blk.%d.ffn_down_exps", hf: down, stack: true},
	}
}

func plusOne(rules []rule) (out []rule) {
	for _, r := range rules {
		r.plusOne = true
		out = append(out, r)
	}
	return out
}

func join(lists ...[]rule) (all []rule) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

func keys(lists ...[]key) (all []key) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

var (
	rmsEps   = []key{{"attention.layer_norm_rms_epsilon", "rms_norm_eps", gguf.Float32}}
	normEps  = []key{{"attention.layer_norm_epsilon", "layer_norm_eps", gguf.Float32}}
	window   = []key{{"attention.sliding_window", "sliding_window", gguf.Uint32}}
	finalCap = []key{{"final_logit_softcapping", "final_logit_softcapping", gguf.Float32}}
	attnCap  = []key{{"attn_logit_softcapping", "attn_logit_softcapping", gguf.Float32}}
	used     = []key{{"expert_used_count", "num_experts_per_tok", gguf.Uint32}}
)

// families is the table. Facts are those of llama.cpp's conversion scripts and loaders.
var families = []family{
	{
		arch: "llama", hf: "MixtralForCausalLM", model: "mixtral",
		when: func(f *gguf.File, arch string) bool { n, _ := f.Int(arch + ".expert_count"); return n > 0 },
		rules: join(embed, prenorm, attention(rotated), experts(layer+"block_sparse_moe.gate",
			layer+"block_sparse_moe.experts.%d.w1", layer+"block_sparse_moe.experts.%d.w3", layer+"block_sparse_moe.experts.%d.w2")),
		consumed: []string{"rope_freqs.weight"},
		defaults: `{"rms_norm_eps":1e-5,"rope_theta":1e6,"max_position_embeddings":32768,"num_local_experts":8,"num_experts_per_tok":2}`,
		keys:     keys(rmsEps, window, used, []key{{"expert_count", "num_local_experts", gguf.Uint32}}),
		notes:    windowNote,
	},
	{
		arch: "llama", hf: "MistralForCausalLM", model: "mistral", aliases: []string{"mistral3"},
		when: func(f *gguf.File, arch string) bool {
			return f.Has(arch+".attention.sliding_window") || arch == "mistral3"
		},
		rules:    join(embed, prenorm, attention(rotated), mlp),
		consumed: []string{"rope_freqs.weight"},
		defaults: `{"num_key_value_heads":8,"rms_norm_eps":1e-6,"max_position_embeddings":131072,"rope_theta":10000,"sliding_window":4096}`,
		keys:     keys(rmsEps, window),
		fromGGUF: nullWindow,
		notes:    windowNote,
	},
	{
		arch: "llama", hf: "LlamaForCausalLM", model: "llama",
		rules:    join(embed, prenorm, attention(rotated), mlp),
		consumed: []string{"rope_freqs.weight"},
		defaults: `{"rms_norm_eps":1e-6,"rope_theta":10000,"max_position_embeddings":2048}`,
		keys:     rmsEps,
		fromGGUF: biases,
	},
}

// nullWindow says that there is no window: without the key there would be one of 4096.
func nullWindow(f *gguf.File, arch string, c conf) error {
	if !c.has("sliding_window") {
		c["sliding_window"] = []byte("null")
	}
	return nil
}

// biases finds what Llama's configuration says of them.
func biases(f *gguf.File, arch string, c conf) error {
	for name, key := range map[string]string{"blk.0.attn_q.bias": "attention_bias", "blk.0.ffn_up.bias": "mlp_bias"} {
		if _, ok := f.Tensor(name); ok {
			c.set(key, true)
		}
	}
	return nil
}

func windowNote(c conf) []string {
	if c.int("sliding_window") > 0 {
		return []string{"sliding_window: llama.cpp lets this architecture's queries see everything"}
	}
	return nil
}
