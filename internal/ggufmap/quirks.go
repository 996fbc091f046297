package ggufmap

import (
	"fmt"
	"slices"
)

// What single families need beside the table.

// nullWindow says that there is no window: without the key there would be one of 4096.
func nullWindow(m *meta, c conf) {
	if !c.has("sliding_window") {
		c["sliding_window"] = []byte("null")
	}
}

// biases finds what a configuration says of them in the first layer.
func biases(m *meta, c conf) {
	for name, key := range map[string]string{"blk.0.attn_q.bias": "attention_bias", "blk.0.ffn_up.bias": "mlp_bias"} {
		if _, ok := m.f.Tensor(name); ok {
			c.set(key, true)
		}
	}
}

// scale sets what Gemma divides its scores by, which llama.cpp knows by the number of layers: the 27B models
// have that of a head's share of the hidden channels.
func (m *meta) scale(c conf, layersOf27B int) {
	c.set("query_pre_attn_scalar", c.int("head_dim"))
	if c.int("num_hidden_layers") == layersOf27B {
		c.set("query_pre_attn_scalar", c.int("hidden_size")/c.int("num_attention_heads"))
	}
}

// pattern reads which layers have the window: one of so many has none (numbered, if the configuration has a
// key for that), or a list.
func (m *meta) pattern(c conf, numbered string) {
	name := m.name("attention.sliding_window_pattern")
	if n, err := m.f.Int(name); err == nil {
		if n < 1 {
			m.errs = append(m.errs, fmt.Errorf("%s: is %d, want a positive number", name, n))
			return
		}
		if numbered != "" {
			c.set(numbered, n)
			return
		}
		var types []string
		for i := range c.int("num_hidden_layers") {
			types = append(types, layerType(int64(i)%n != n-1))
		}
		c.set("layer_types", types)
		return
	}
	var types []string
	if list, err := m.f.Bools(name); err == nil {
		for _, slides := range list {
			types = append(types, layerType(slides))
		}
	} else if list, err := m.f.Ints(name); err == nil {
		for _, slides := range list {
			types = append(types, layerType(slides != 0))
		}
	}
	switch {
	case types != nil:
		c.set("layer_types", types)
	case numbered != "":
		c.set(numbered, 6)
	}
}

func layerType(slides bool) string {
	if slides {
		return "sliding_attention"
	}
	return "full_attention"
}

// pattern writes which layers have the window, if it is not what llama.cpp supposes: all but the last of every.
func (e *Exported) pattern(c conf, every int) {
	n := c.int("num_hidden_layers")
	usual, slides := make([]bool, n), make([]bool, n)
	types, _ := get[[]string](c, "layer_types")
	for i := range n {
		usual[i] = i%e.usual() != e.usual()-1
		slides[i] = every > 0 && i%every != every-1
		if types != nil && i < len(types) {
			slides[i] = types[i] == "sliding_attention"
		}
	}
	if !slices.Equal(usual, slides) {
		e.set("attention.sliding_window_pattern", slides)
	}
}

// usual is llama.cpp's pattern of an architecture.
func (e *Exported) usual() int {
	if e.Arch == "gemma2" {
		return 2
	}
	return 6
}

// falconLayout finds which of Falcon's layouts a file has.
func falconLayout(m *meta, c conf) {
	has := func(name string) bool { _, ok := m.f.Tensor(name); return ok }
	heads, kv := c.int("num_attention_heads"), c.int("num_kv_heads")
	two := has("blk.0.attn_norm_2.weight")
	c.set("parallel_attn", !has("blk.0.ffn_norm.weight"))
	c.set("bias", has("blk.0.attn_qkv.bias"))
	c.set("alibi", false)
	switch old := !two && (kv == 1 || kv == heads); {
	case old:
		c.set("new_decoder_architecture", false)
		c.set("multi_query", kv == 1)
	case two:
		c.set("new_decoder_architecture", true)
	default:
		c.set("new_decoder_architecture", true)
		c.set("num_ln_in_parallel_attn", 1)
	}
}

// What llama.cpp does not read, or refuses.

func only(cond bool, note string) []string {
	if cond {
		return []string{note}
	}
	return nil
}

func refused(what string) string {
	return what + ": llama.cpp refuses models of this architecture with it"
}

func windowNote(c conf) []string {
	return only(c.int("sliding_window") > 0, "sliding_window: llama.cpp lets this architecture's queries see everything")
}

func gemmaNotes(c conf) (list []string) {
	list = append(list, only(c.has("tie_word_embeddings") && !c.bool("tie_word_embeddings"), "tie_word_embeddings false: llama.cpp may refuse this architecture with a head of its own")...)
	list = append(list, only(c.bool("attention_bias"), refused("attention_bias"))...)
	if q := c.int("query_pre_attn_scalar"); q != 0 && q != c.int("head_dim") && !slices.Contains([]int{46, 62}, c.int("num_hidden_layers")) {
		list = append(list, "query_pre_attn_scalar: llama.cpp takes the size of a head")
	}
	for _, k := range []string{"attn_logit_softcapping", "final_logit_softcapping"} {
		if v, ok := c[k]; ok && string(v) == "null" && c.has("query_pre_attn_scalar") && !c.has("rope_local_base_freq") {
			list = append(list, k+" null: llama.cpp has one nevertheless")
		}
	}
	return list
}

func qwenNotes(c conf) (list []string) {
	types, _ := get[[]string](c, "layer_types")
	list = append(list, only(c.bool("use_sliding_window") || slices.Contains(types, "sliding_attention"),
		"sliding_window: llama.cpp lets this architecture's queries see everything")...)
	list = append(list, only(c.bool("attention_bias"), refused("attention_bias"))...)
	if c.has("moe_intermediate_size") {
		list = append(list, only(!c.bool("norm_topk_prob"), "norm_topk_prob false: llama.cpp makes a token's weights sum to 1")...)
		dense, _ := get[[]int](c, "mlp_only_layers")
		list = append(list, only(c.int("decoder_sparse_step") > 1 || len(dense) > 0, refused("layers without experts"))...)
	}
	return list
}

func smolLM3Notes(c conf) (list []string) {
	rotates, _ := get[[]int](c, "no_rope_layers")
	odd := rotates == nil && c.int("no_rope_layer_interval") != 4
	for i, r := range rotates {
		odd = odd || (r == 0) != (i%4 == 3)
	}
	list = append(list, only(odd, "no_rope_layers: llama.cpp leaves every fourth layer without rotation")...)
	list = append(list, only(c.bool("use_sliding_window"), "sliding_window: llama.cpp lets this architecture's queries see everything")...)
	return append(list, only(c.bool("attention_bias") || c.bool("mlp_bias"), refused("attention_bias or mlp_bias"))...)
}
