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

	rules []rule

	// defaults are config.json's, of what it need not say.
	defaults string
	keys     []key

	thetaKey string // of config.json; rope_theta if ""
	partial  string // config.json's key for the rotated part of a head; "" where all of it is
	noHead   bool   // config.json has no head_dim
	ffn      string // config.json's key for the MLP's size; intermediate_size if ""
	kv       string // config.json's key for key/value heads; num_key_value_heads if ""; "-" for none

	ownHead bool // llama.cpp wants output.weight even where it is the embedding

	// fromGGUF and toGGUF do what keys cannot: metadata is read into c, c (complete) is written to e.
	fromGGUF func(m *meta, c conf)
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
	plusOne  bool   // a norm, stored as w+1
	stack    bool   // all experts of the layer
	f32      bool   // llama.cpp wants a matrix in F32 too
	with     string // the rule is for files that have this tensor; "" for all
}

// consumed are tensors that the configuration takes in.
var consumed = []string{"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"}

// rule finds the rule of a name of GGUF.
func (fam *family) rule(f *gguf.File, template string) (rule, bool) {
	for _, r := range fam.rules {
		if _, has := f.Tensor(r.with); r.gguf == template && (r.with == "" || has) {
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
		defaults: `{"num_key_value_heads":8,"rms_norm_eps":1e-6,"max_position_embeddings":131072,"rope_theta":10000,"sliding_window":4096}`,
		keys:     keys(rmsEps, window),
		fromGGUF: nullWindow,
		notes:    windowNote,
	},
	{
		arch: "llama", hf: "LlamaForCausalLM", model: "llama",
		rules:    join(embed, prenorm, attention(rotated), mlp),
		defaults: `{"rms_norm_eps":1e-6,"rope_theta":10000,"max_position_embeddings":2048}`,
		keys:     rmsEps,
		fromGGUF: biases,
	},
	{
		arch: "smollm3", hf: "SmolLM3ForCausalLM", model: "smollm3",
		rules:    join(embed, prenorm, attention(rotated), mlp),
		defaults: `{"rms_norm_eps":1e-6,"rope_theta":2e6,"max_position_embeddings":32768,"no_rope_layer_interval":4}`,
		keys:     rmsEps,
		fromGGUF: biases,
		notes:    smolLM3Notes,
	},
	{
		arch: "gemma", hf: "GemmaForCausalLM", model: "gemma",
		rules:    join(embed, plusOne(prenorm), attention(nil), mlp),
		defaults: `{"head_dim":256,"rms_norm_eps":1e-6,"rope_theta":10000,"max_position_embeddings":8192}`,
		keys:     rmsEps,
		fromGGUF: biases,
		notes:    gemmaNotes,
	},
	{
		arch: "gemma2", hf: "Gemma2ForCausalLM", model: "gemma2",
		rules: join(embed, sandwich, attention(nil), mlp),
		defaults: `{"head_dim":256,"rms_norm_eps":1e-6,"rope_theta":10000,"max_position_embeddings":8192,"sliding_window":4096,
			"query_pre_attn_scalar":256,"attn_logit_softcapping":50,"final_logit_softcapping":30}`,
		keys: keys(rmsEps, window, attnCap, finalCap),
		fromGGUF: func(m *meta, c conf) {
			biases(m, c)
			m.scale(c, 46)
			m.pattern(c, "")
		},
		toGGUF: func(e *Exported, c conf) { e.pattern(c, 2) },
		notes:  gemmaNotes,
	},
	{
		arch: "gemma3", hf: "Gemma3ForCausalLM", model: "gemma3_text",
		rules: join(embed, sandwich, plusOne(headNorms), attention(nil), mlp),
		defaults: `{"head_dim":256,"rms_norm_eps":1e-6,"rope_theta":1e6,"rope_local_base_freq":10000,"max_position_embeddings":131072,"sliding_window":4096,
			"num_attention_heads":8,"num_key_value_heads":4,"query_pre_attn_scalar":256,"sliding_window_pattern":6}`,
		keys: keys(rmsEps, window, finalCap, []key{{"rope.freq_base_swa", "rope_local_base_freq", gguf.Float32}}),
		fromGGUF: func(m *meta, c conf) {
			biases(m, c)
			m.scale(c, 62)
			m.pattern(c, "sliding_window_pattern")
		},
		toGGUF: func(e *Exported, c conf) { e.pattern(c, c.int("sliding_window_pattern")) },
		notes:  gemmaNotes,
	},
	{
		arch: "qwen2", hf: "Qwen2ForCausalLM", model: "qwen2",
		rules:    join(embed, prenorm, attention(nil), mlp),
		defaults: `{"rms_norm_eps":1e-6,"rope_theta":10000,"max_position_embeddings":32768}`,
		keys:     rmsEps,
		notes:    qwenNotes,
	},
	{
		arch: "qwen3", hf: "Qwen3ForCausalLM", model: "qwen3",
		rules:    join(embed, prenorm, attention(nil), headNorms, mlp),
		defaults: `{"head_dim":128,"rms_norm_eps":1e-6,"rope_theta":10000,"max_position_embeddings":32768}`,
		keys:     rmsEps,
		fromGGUF: biases,
		notes:    qwenNotes,
	},
	{
		arch: "qwen3moe", hf: "Qwen3MoeForCausalLM", model: "qwen3_moe",
		rules: join(embed, prenorm, attention(nil), headNorms, mlp, experts(layer+"mlp.gate",
			layer+"mlp.experts.%d.gate_proj", layer+"mlp.experts.%d.up_proj", layer+"mlp.experts.%d.down_proj")),
		defaults: `{"head_dim":128,"rms_norm_eps":1e-6,"rope_theta":10000,"max_position_embeddings":32768,"intermediate_size":6144,
			"moe_intermediate_size":768,"num_experts_per_tok":8}`,
		keys: keys(rmsEps, used, []key{{"expert_count", "num_experts", gguf.Uint32},
			{"expert_feed_forward_length", "moe_intermediate_size", gguf.Uint32}}),
		fromGGUF: func(m *meta, c conf) {
			biases(m, c)
			c.set("norm_topk_prob", true) // llama.cpp knows no other
			if k := c.int("num_experts_per_tok"); !c.has("moe_intermediate_size") && k > 0 {
				c.set("moe_intermediate_size", c.int("intermediate_size")/k)
			}
		},
		toGGUF: func(e *Exported, c conf) {
			if n := c.int("num_local_experts"); n > 0 { // transformers 5's spelling
				e.set("expert_count", uint32(n))
			}
		},
		notes: qwenNotes,
	},
	{
		arch: "olmo2", hf: "Olmo2ForCausalLM", model: "olmo2",
		rules: join(embed, attention(nil), headNorms, mlp, []rule{
			{gguf: "output_norm", hf: "model.norm"},
			{gguf: "blk.%d.post_attention_norm", hf: layer + "post_attention_layernorm"},
			{gguf: "blk.%d.post_ffw_norm", hf: layer + "post_feedforward_layernorm"},
		}),
		defaults: `{"rms_norm_eps":1e-5,"rope_theta":10000,"max_position_embeddings":2048}`,
		keys:     rmsEps,
		ownHead:  true,
		fromGGUF: biases,
		notes: func(c conf) []string {
			return only(c.bool("attention_bias"), refused("attention_bias"))
		},
	},
	{
		arch: "phi2", hf: "PhiForCausalLM", model: "phi",
		rules: join(embed, []rule{
			{gguf: "output_norm", hf: "model.final_layernorm"},
			{gguf: "blk.%d.attn_norm", hf: layer + "input_layernorm"},
			{gguf: "blk.%d.attn_q", hf: layer + "self_attn.q_proj"},
			{gguf: "blk.%d.attn_k", hf: layer + "self_attn.k_proj"},
			{gguf: "blk.%d.attn_v", hf: layer + "self_attn.v_proj"},
			{gguf: "blk.%d.attn_output", hf: layer + "self_attn.dense"},
			{gguf: "blk.%d.ffn_up", hf: layer + "mlp.fc1"},
			{gguf: "blk.%d.ffn_down", hf: layer + "mlp.fc2"},
		}),
		defaults: `{"layer_norm_eps":1e-5,"rope_theta":10000,"max_position_embeddings":2048,"partial_rotary_factor":0.5}`,
		keys:     normEps,
		partial:  "partial_rotary_factor", noHead: true, ownHead: true,
		fromGGUF: func(m *meta, c conf) { c.set("hidden_act", "gelu_new") },
	},
	{
		arch: "phi3", hf: "Phi3ForCausalLM", model: "phi3",
		rules: join(embed, prenorm, []rule{
			{gguf: "blk.%d.attn_qkv", hf: layer + "self_attn.qkv_proj"},
			{gguf: "blk.%d.attn_output", hf: layer + "self_attn.o_proj"},
			{gguf: "blk.%d.ffn_up", hf: layer + "mlp.gate_up_proj"}, // both, the gate first
			{gguf: "blk.%d.ffn_down", hf: layer + "mlp.down_proj"},
		}),
		defaults: `{"rms_norm_eps":1e-5,"rope_theta":10000,"max_position_embeddings":4096,"original_max_position_embeddings":4096,"partial_rotary_factor":1}`,
		keys:     keys(rmsEps, window),
		partial:  "partial_rotary_factor", noHead: true,
		toGGUF: func(e *Exported, c conf) { // llama.cpp's scripts mark Phi-4 by 0
			e.set("attention.sliding_window", uint32(c.int("sliding_window")))
			e.set("rope.scaling.original_context_length", uint32(c.int("original_max_position_embeddings")))
		},
		fromGGUF: func(m *meta, c conf) {
			if c.int("sliding_window") == 0 {
				c["sliding_window"] = []byte("null")
			}
		},
		notes: windowNote,
	},
	{
		arch: "gptneox", hf: "GPTNeoXForCausalLM", model: "gpt_neox",
		rules: []rule{
			{gguf: "token_embd", hf: "gpt_neox.embed_in"},
			{gguf: "output", hf: "embed_out"},
			{gguf: "output_norm", hf: "gpt_neox.final_layer_norm"},
			{gguf: "blk.%d.attn_norm", hf: "gpt_neox.layers.%d.input_layernorm"},
			{gguf: "blk.%d.attn_qkv", hf: "gpt_neox.layers.%d.attention.query_key_value", order: grouped},
			{gguf: "blk.%d.attn_output", hf: "gpt_neox.layers.%d.attention.dense"},
			{gguf: "blk.%d.ffn_norm", hf: "gpt_neox.layers.%d.post_attention_layernorm"},
			{gguf: "blk.%d.ffn_up", hf: "gpt_neox.layers.%d.mlp.dense_h_to_4h"},
			{gguf: "blk.%d.ffn_down", hf: "gpt_neox.layers.%d.mlp.dense_4h_to_h"},
		},
		defaults: `{"layer_norm_eps":1e-5,"rotary_emb_base":10000,"rotary_pct":0.25,"max_position_embeddings":2048,"use_parallel_residual":true,
			"attention_bias":true,"hidden_act":"gelu"}`,
		keys:     keys(normEps, []key{{"use_parallel_residual", "use_parallel_residual", gguf.Bool}}),
		thetaKey: "rotary_emb_base", partial: "rotary_pct", noHead: true, kv: "-", ownHead: true,
		fromGGUF: func(m *meta, c conf) {
			_, ok := m.f.Tensor("blk.0.attn_qkv.bias")
			c.set("attention_bias", ok)
		},
		notes: func(c conf) []string {
			var list []string
			list = append(list, only(!c.bool("attention_bias"), refused("attention_bias false"))...)
			return append(list, only(c.text("hidden_act") == "relu" || c.text("hidden_act") == "silu", "hidden_act: llama.cpp computes gelu")...)
		},
	},
	{
		arch: "falcon", hf: "FalconForCausalLM", model: "falcon",
		rules: []rule{
			{gguf: "token_embd", hf: "transformer.word_embeddings"},
			{gguf: "output", hf: "lm_head"},
			{gguf: "output_norm", hf: "transformer.ln_f"},
			{gguf: "blk.%d.attn_norm", hf: "transformer.h.%d.ln_mlp", with: "blk.0.attn_norm_2.weight"},
			{gguf: "blk.%d.attn_norm_2", hf: "transformer.h.%d.ln_attn"},
			{gguf: "blk.%d.attn_norm", hf: "transformer.h.%d.input_layernorm"},
			{gguf: "blk.%d.ffn_norm", hf: "transformer.h.%d.post_attention_layernorm"},
			{gguf: "blk.%d.attn_qkv", hf: "transformer.h.%d.self_attention.query_key_value", order: grouped},
			{gguf: "blk.%d.attn_output", hf: "transformer.h.%d.self_attention.dense"},
			{gguf: "blk.%d.ffn_up", hf: "transformer.h.%d.mlp.dense_h_to_4h"},
			{gguf: "blk.%d.ffn_down", hf: "transformer.h.%d.mlp.dense_4h_to_h"},
		},
		defaults: `{"layer_norm_epsilon":1e-5,"rope_theta":10000,"max_position_embeddings":2048,"parallel_attn":true,"activation":"gelu"}`,
		keys:     []key{{"attention.layer_norm_epsilon", "layer_norm_epsilon", gguf.Float32}},
		noHead:   true, ffn: "ffn_hidden_size", kv: "num_kv_heads",
		fromGGUF: falconLayout,
		notes: func(c conf) []string {
			var list []string
			list = append(list, only(!c.bool("parallel_attn"), refused("parallel_attn false"))...)
			list = append(list, only(c.bool("bias"), refused("bias"))...)
			return append(list, only(c.text("activation") == "relu" || c.text("activation") == "silu", "activation: llama.cpp computes gelu")...)
		},
	},
	{
		arch: "stablelm", hf: "StableLmForCausalLM", model: "stablelm",
		rules:    join(embed, prenorm, attention(nil), mlp),
		defaults: `{"layer_norm_eps":1e-5,"rope_theta":10000,"max_position_embeddings":4096,"partial_rotary_factor":0.25}`,
		keys:     normEps,
		partial:  "partial_rotary_factor", noHead: true, ownHead: true,
		fromGGUF: func(m *meta, c conf) {
			_, ok := m.f.Tensor("blk.0.attn_q.bias")
			c.set("use_qkv_bias", ok)
		},
	},
}
