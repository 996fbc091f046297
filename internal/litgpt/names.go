package litgpt

import (
	"cmp"
	"strconv"
	"strings"
)

// link says that the rows of some layers of LitGPT's, one after the other, are those of
// some of transformers'. Names, of which there may be several with spaces between
// them, are without ".weight" and ".bias"; "{}" is the number of a layer, then of an expert.
type link struct {
	lit, hf string
	weave   bool // transformers has the rows by key/value head: its queries, its key, its value
}

type links []link

// chain joins tables.
func chain(tables ...links) links {
	var all links
	for _, t := range tables {
		all = append(all, t...)
	}
	return all
}

// at is a table with a prefix before the names of both sides.
func at(lit, hf string, table links) links {
	prefixed := func(prefix, names string) string {
		list := strings.Fields(names)
		for i := range list {
			list[i] = prefix + list[i]
		}
		return strings.Join(list, " ")
	}
	out := make(links, len(table))
	for i, l := range table {
		out[i] = link{prefixed(lit, l.lit), prefixed(hf, l.hf), l.weave}
	}
	return out
}

const litBlock = "transformer.h.{}."

var (
	llamaTop  = links{{lit: "transformer.wte", hf: "model.embed_tokens"}, {lit: "transformer.ln_f", hf: "model.norm"}, {lit: "lm_head", hf: "lm_head"}}
	llamaAttn = at(litBlock+"attn.", "model.layers.{}.self_attn.", links{
		{lit: "qkv", hf: "q_proj k_proj v_proj"}, {lit: "proj", hf: "o_proj"}, {lit: "norm_q", hf: "q_norm"}, {lit: "norm_k", hf: "k_norm"}})
	llamaMLP = at(litBlock+"mlp.", "model.layers.{}.mlp.", links{
		{lit: "fc_1", hf: "gate_proj"}, {lit: "fc_2", hf: "up_proj"}, {lit: "proj", hf: "down_proj"}})
	llamaNorms = at(litBlock, "model.layers.{}.", links{
		{lit: "norm_1", hf: "input_layernorm"}, {lit: "norm_2", hf: "post_attention_layernorm"}})

	llamaLinks  = chain(llamaTop, llamaAttn, llamaMLP, llamaNorms)
	gemma2Links = chain(llamaTop, llamaAttn, llamaMLP, at(litBlock, "model.layers.{}.", links{
		{lit: "norm_1", hf: "input_layernorm"}, {lit: "post_attention_norm", hf: "post_attention_layernorm"},
		{lit: "norm_2", hf: "pre_feedforward_layernorm"}, {lit: "post_mlp_norm", hf: "post_feedforward_layernorm"}}))
	olmo2Links = chain(llamaTop, llamaAttn, llamaMLP, at(litBlock, "model.layers.{}.", links{
		{lit: "post_attention_norm", hf: "post_attention_layernorm"}, {lit: "post_mlp_norm", hf: "post_feedforward_layernorm"}}))

	mixtralLinks = chain(llamaTop, llamaAttn, llamaNorms, at(litBlock+"mlp.", "model.layers.{}.block_sparse_moe.", links{
		{lit: "gate", hf: "gate"}, {lit: "experts.{}.fc_1", hf: "experts.{}.w1"}, {lit: "experts.{}.fc_2", hf: "experts.{}.w3"}, {lit: "experts.{}.proj", hf: "experts.{}.w2"}}))
	qwen3MoELinks = chain(llamaTop, llamaAttn, llamaNorms, at(litBlock+"mlp.", "model.layers.{}.mlp.", links{
		{lit: "gate", hf: "gate"}, {lit: "experts.{}.fc_1", hf: "experts.{}.gate_proj"}, {lit: "experts.{}.fc_2", hf: "experts.{}.up_proj"},
		{lit: "experts.{}.proj", hf: "experts.{}.down_proj"}}))

	phiLinks = chain(links{{lit: "transformer.wte", hf: "model.embed_tokens"}, {lit: "transformer.ln_f", hf: "model.final_layernorm"}, {lit: "lm_head", hf: "lm_head"}},
		at(litBlock, "model.layers.{}.", links{
			{lit: "norm_1", hf: "input_layernorm"}, {lit: "attn.qkv", hf: "self_attn.q_proj self_attn.k_proj self_attn.v_proj"}, {lit: "attn.proj", hf: "self_attn.dense"},
			{lit: "mlp.fc", hf: "mlp.fc1"}, {lit: "mlp.proj", hf: "mlp.fc2"}}))
	phi3Links = chain(llamaTop, llamaNorms, at(litBlock, "model.layers.{}.", links{
		{lit: "attn.qkv", hf: "self_attn.qkv_proj"}, {lit: "attn.proj", hf: "self_attn.o_proj"},
		{lit: "mlp.fc_1 mlp.fc_2", hf: "mlp.gate_up_proj"}, {lit: "mlp.proj", hf: "mlp.down_proj"}}))

	neoxLinks = chain(links{{lit: "transformer.wte", hf: "gpt_neox.embed_in"}, {lit: "transformer.ln_f", hf: "gpt_neox.final_layer_norm"}, {lit: "lm_head", hf: "embed_out"}},
		at(litBlock, "gpt_neox.layers.{}.", links{
			{lit: "norm_1", hf: "input_layernorm"}, {lit: "attn.qkv", hf: "attention.query_key_value", weave: true}, {lit: "attn.proj", hf: "attention.dense"},
			{lit: "norm_2", hf: "post_attention_layernorm"}, {lit: "mlp.fc", hf: "mlp.dense_h_to_4h"}, {lit: "mlp.proj", hf: "mlp.dense_4h_to_h"}}))
)

// falconLinks knows the three layouts of the norms: one for both branches, two side by
// side, two one after the other.
func falconLinks(c *Config) links {
	norms := links{{lit: "norm_1", hf: "input_layernorm"}}
	switch {
	case !c.Parallel:
		norms = append(norms, link{lit: "norm_2", hf: "post_attention_layernorm"})
	case !c.SharedNorm:
		norms = links{{lit: "norm_1", hf: "ln_attn"}, {lit: "norm_2", hf: "ln_mlp"}}
	}
	return chain(links{{lit: "transformer.wte", hf: "transformer.word_embeddings"}, {lit: "transformer.ln_f", hf: "transformer.ln_f"}, {lit: "lm_head", hf: "lm_head"}},
		at(litBlock, "transformer.h.{}.", chain(norms, links{
			{lit: "attn.qkv", hf: "self_attention.query_key_value", weave: true}, {lit: "attn.proj", hf: "self_attention.dense"},
			{lit: "mlp.fc", hf: "mlp.dense_h_to_4h"}, {lit: "mlp.proj", hf: "mlp.dense_4h_to_h"}})))
}

// weight is a tensor of LitGPT's GPT(config).state_dict().
type weight struct {
	layer  string // its name in the tables, without ".weight" or ".bias"
	ids    []int  // of the layer and the expert
	suffix string // ".weight" or ".bias"
	shape  []int
}

func (w weight) name() string { return number(w.layer, w.ids) + w.suffix }

// number puts numbers into the places of a name.
func number(name string, ids []int) string {
	for _, id := range ids {
		name = strings.Replace(name, "{}", strconv.Itoa(id), 1)
	}
	return name
}

// weights lists what a model of LitGPT's has, with the shapes.
func (c *Config) weights() []weight {
	var all []weight
	linear := func(layer string, ids []int, out, in int, bias bool) {
		all = append(all, weight{layer, ids, ".weight", []int{out, in}})
		if bias {
			all = append(all, weight{layer, ids, ".bias", []int{out}})
		}
	}
	norm := func(on bool, layer string, ids []int, size int) {
		if on {
			all = append(all, weight{layer, ids, ".weight", []int{size}})
		}
		if on && c.Norm == "LayerNorm" {
			all = append(all, weight{layer, ids, ".bias", []int{size}})
		}
	}
	linear("transformer.wte", nil, c.PaddedVocab, c.Embd, false)
	for i := range c.Layers {
		id := []int{i}
		norm(c.Norm1, litBlock+"norm_1", id, c.Embd)
		linear(litBlock+"attn.qkv", id, (c.Heads+2*c.Groups)*c.HeadSize, c.Embd, c.Bias || c.AttnBias)
		linear(litBlock+"attn.proj", id, c.Embd, c.Heads*c.HeadSize, c.Bias)
		q, k := c.HeadSize, c.HeadSize
		if c.NormQKType == "olmo2" {
			q, k = c.Heads*c.HeadSize, c.Groups*c.HeadSize
		}
		norm(c.NormQK, litBlock+"attn.norm_q", id, q)
		norm(c.NormQK, litBlock+"attn.norm_k", id, k)
		norm(c.PostAttnNorm, litBlock+"post_attention_norm", id, c.Embd)
		norm(c.Norm2 && !c.SharedNorm, litBlock+"norm_2", id, c.Embd)
		switch c.MLP {
		case "GptNeoxMLP":
			linear(litBlock+"mlp.fc", id, c.Intermediate, c.Embd, c.Bias)
			linear(litBlock+"mlp.proj", id, c.Embd, c.Intermediate, c.Bias)
		case "LLaMAMoE":
			linear(litBlock+"mlp.gate", id, c.Experts, c.Embd, false)
			for e := range c.Experts {
				linear(litBlock+"mlp.experts.{}.fc_1", []int{i, e}, c.expertSize(), c.Embd, c.Bias)
				linear(litBlock+"mlp.experts.{}.fc_2", []int{i, e}, c.expertSize(), c.Embd, c.Bias)
				linear(litBlock+"mlp.experts.{}.proj", []int{i, e}, c.Embd, c.expertSize(), c.Bias)
			}
		default:
			linear(litBlock+"mlp.fc_1", id, c.Intermediate, c.Embd, c.Bias)
			linear(litBlock+"mlp.fc_2", id, c.Intermediate, c.Embd, c.Bias)
			linear(litBlock+"mlp.proj", id, c.Embd, c.Intermediate, c.Bias)
		}
		norm(c.PostMLPNorm, litBlock+"post_mlp_norm", id, c.Embd)
	}
	norm(true, "transformer.ln_f", nil, c.Embd)
	linear("lm_head", nil, c.PaddedVocab, c.Embd, c.HeadBias)
	return all
}

func (c *Config) expertSize() int { return cmp.Or(c.MoEIntermediate, c.Intermediate) }
