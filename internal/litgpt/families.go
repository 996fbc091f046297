package litgpt

import (
	"slices"
	"strings"
)

// family is one architecture of transformers, as LitGPT spells it.
type family struct {
	architecture, modelType string

	// name is what a name begins with that is made for the family. LitGPT's converters go
	// by names, large letters or small: prefixes are theirs, nil for what is left.
	name     string
	prefixes []string

	// is reports whether a configuration of LitGPT's is of this family.
	is func(c *Config) bool

	eps     string    // the key of the norms' epsilon in config.json
	headDim bool      // config.json has head_dim
	absent  published // what config.json means where it says nothing

	// toLit sets what the family has of its own, in c, which has the sizes; fromLit sets
	// the keys for it in config.json.
	toLit   func(p *published, c *Config) error
	fromLit func(c *Config, out map[string]any)

	links func(c *Config) links
}

// families are in the order in which a configuration of LitGPT's is tried.
var families = []family{
	{architecture: "FalconForCausalLM", modelType: "falcon", name: "falcon", eps: "layer_norm_epsilon",
		is: func(c *Config) bool {
			return c.MLP == "GptNeoxMLP" && !c.HeadBias && (!c.Bias || strings.Contains(strings.ToLower(c.Name), "falcon"))
		},
		absent: published{Eps: 1e-5, RopeTheta: 10000, Partial: 1, Activation: "gelu", ParallelAttn: true},
		toLit:  falconToLit, fromLit: falconFromLit, links: falconLinks},
	{architecture: "PhiForCausalLM", modelType: "phi", name: "phi", prefixes: []string{"phi"}, eps: "layer_norm_eps",
		is:     func(c *Config) bool { return c.MLP == "GptNeoxMLP" && c.HeadBias },
		absent: published{Eps: 1e-5, RopeTheta: 10000, Partial: 0.5},
		toLit: func(p *published, c *Config) error {
			c.Norm, c.MLP, c.GELU, c.Bias, c.HeadBias, c.Parallel, c.SharedNorm = "LayerNorm", "GptNeoxMLP", "tanh", true, true, true, true
			return nil
		},
		fromLit: func(c *Config, out map[string]any) {
			out["hidden_act"], out["partial_rotary_factor"], out["num_key_value_heads"], out["qk_layernorm"] = "gelu_new", c.RotaryPart, c.Groups, false
		},
		links: func(*Config) links { return phiLinks }},
	{architecture: "GPTNeoXForCausalLM", modelType: "gpt_neox", name: "pythia", eps: "layer_norm_eps",
		is:     func(c *Config) bool { return c.MLP == "GptNeoxMLP" },
		absent: published{Eps: 1e-5, RopeTheta: 10000, Partial: 0.25, HiddenAct: "gelu", ParallelResidual: true, AttentionBias: true},
		toLit:  neoxToLit, fromLit: neoxFromLit, links: func(*Config) links { return neoxLinks }},
	{architecture: "Gemma3ForCausalLM", modelType: "gemma3_text", name: "Gemma-3", prefixes: []string{"gemma-3"}, eps: "rms_norm_eps", headDim: true,
		is: func(c *Config) bool { return c.MLP == "GemmaMLP" && c.NormQK },
		absent: published{Eps: 1e-6, RopeTheta: 1e6, RopeLocal: 10000, Partial: 1, IntermediateSize: 9216, QueryScalar: 256,
			Window: none[int]{4096}, Pattern: 6},
		toLit: gemma3ToLit, fromLit: gemma3FromLit, links: func(*Config) links { return gemma2Links }},
	{architecture: "Gemma2ForCausalLM", modelType: "gemma2", name: "Gemma-2", prefixes: []string{"gemma-2"}, eps: "rms_norm_eps", headDim: true,
		is:     func(c *Config) bool { return c.MLP == "GemmaMLP" && c.PostAttnNorm },
		absent: published{Eps: 1e-6, RopeTheta: 10000, Partial: 1, QueryScalar: 256, Window: none[int]{4096}, AttnSoftcap: none[float64]{50}, FinalSoftcap: none[float64]{30}},
		toLit:  gemma2ToLit, fromLit: gemma2FromLit, links: func(*Config) links { return gemma2Links }},
	{architecture: "GemmaForCausalLM", modelType: "gemma", name: "Gemma", eps: "rms_norm_eps", headDim: true,
		is:     func(c *Config) bool { return c.MLP == "GemmaMLP" },
		absent: published{Eps: 1e-6, RopeTheta: 10000, Partial: 1},
		toLit:  gemmaToLit,
		fromLit: func(c *Config, out map[string]any) {
			out["hidden_act"], out["hidden_activation"] = "gelu_pytorch_tanh", "gelu_pytorch_tanh"
		},
		links: func(*Config) links { return llamaLinks }},
	{architecture: "Qwen3MoeForCausalLM", modelType: "qwen3_moe", name: "Qwen3", prefixes: []string{"qwen3"}, eps: "rms_norm_eps", headDim: true,
		is:     func(c *Config) bool { return c.MLP == "LLaMAMoE" && c.NormQK },
		absent: published{Eps: 1e-6, RopeTheta: 10000, Partial: 1, IntermediateSize: 6144, MoEIntermediate: 768, NumExperts: 128, NumChosen: 8, SparseStep: 1},
		toLit:  qwen3MoEToLit, fromLit: qwen3MoEFromLit, links: func(*Config) links { return qwen3MoELinks }},
	{architecture: "MixtralForCausalLM", modelType: "mixtral", name: "Mixtral", eps: "rms_norm_eps", headDim: true,
		is:     func(c *Config) bool { return c.MLP == "LLaMAMoE" },
		absent: published{Eps: 1e-5, RopeTheta: 1e6, Partial: 1, NumExperts: 8, NumChosen: 2},
		toLit: func(p *published, c *Config) error {
			c.llama()
			c.MLP, c.Experts, c.ExpertsPerToken = "LLaMAMoE", p.NumExperts, p.NumChosen
			c.everywhere(p.Window.value)
			return nil
		},
		fromLit: func(c *Config, out map[string]any) {
			out["num_local_experts"], out["num_experts_per_tok"], out["sliding_window"] = c.Experts, c.ExpertsPerToken, nullable(c.Window)
			out["intermediate_size"] = c.expertSize()
		},
		links: func(*Config) links { return mixtralLinks }},
	{architecture: "StableLmForCausalLM", modelType: "stablelm", name: "stablelm", eps: "layer_norm_eps",
		is: func(c *Config) bool {
			return c.MLP == "LLaMAMLP" && c.Norm == "LayerNorm" && !strings.Contains(c.Name, "OLMo")
		},
		absent: published{Eps: 1e-5, RopeTheta: 10000, Partial: 0.25},
		toLit: func(p *published, c *Config) error {
			c.llama()
			c.Norm, c.AttnBias = "LayerNorm", p.QKVBias
			return nil
		},
		fromLit: func(c *Config, out map[string]any) {
			out["partial_rotary_factor"], out["use_qkv_bias"], out["use_parallel_residual"], out["qk_layernorm"] = c.RotaryPart, c.AttnBias, false, false
		},
		links: func(*Config) links { return llamaLinks }},
	{architecture: "Olmo2ForCausalLM", modelType: "olmo2", name: "OLMo-2-", prefixes: []string{"olmo-2-"}, eps: "rms_norm_eps",
		is:     func(c *Config) bool { return c.MLP == "LLaMAMLP" && c.NormQK && c.NormQKType == "olmo2" },
		absent: published{Eps: 1e-5, RopeTheta: 10000, Partial: 1},
		toLit: func(p *published, c *Config) error {
			c.llama()
			c.Norm1, c.Norm2, c.NormQK, c.NormQKType, c.PostAttnNorm, c.PostMLPNorm = false, false, true, "olmo2", true, true
			return noBias(p)
		},
		fromLit: func(c *Config, out map[string]any) { out["attention_bias"] = false },
		links:   func(*Config) links { return olmo2Links }},
	{architecture: "Qwen3ForCausalLM", modelType: "qwen3", name: "Qwen3", prefixes: []string{"qwen3"}, eps: "rms_norm_eps", headDim: true,
		is:     func(c *Config) bool { return c.MLP == "LLaMAMLP" && c.NormQK },
		absent: published{Eps: 1e-6, RopeTheta: 10000, Partial: 1, Window: none[int]{4096}, WindowsFrom: 28},
		toLit: func(p *published, c *Config) error {
			c.llama()
			c.NormQK = true
			return firstError(noBias(p), c.windowsFrom(p))
		},
		fromLit: func(c *Config, out map[string]any) {
			out["attention_bias"] = false
			c.layerTypes(out, true)
		},
		links: func(*Config) links { return llamaLinks }},
	{architecture: "Qwen2ForCausalLM", modelType: "qwen2", name: "Qwen2.5", prefixes: []string{"qwen2.5", "qwq"}, eps: "rms_norm_eps",
		is:     func(c *Config) bool { return c.MLP == "LLaMAMLP" && c.AttnBias },
		absent: published{Eps: 1e-6, RopeTheta: 10000, Partial: 1, Window: none[int]{4096}, WindowsFrom: 28},
		toLit: func(p *published, c *Config) error {
			c.llama()
			c.AttnBias = true
			return c.windowsFrom(p)
		},
		fromLit: func(c *Config, out map[string]any) { c.layerTypes(out, true) },
		links:   func(*Config) links { return llamaLinks }},
	{architecture: "Phi3ForCausalLM", modelType: "phi3", name: "Phi-3", prefixes: []string{"phi-3", "phi-4"}, eps: "rms_norm_eps",
		is: func(c *Config) bool {
			return c.MLP == "LLaMAMLP" && (c.rotated() != c.HeadSize || hasPrefix(c.Name, "phi-3", "phi-4"))
		},
		absent: published{Eps: 1e-5, RopeTheta: 10000, Partial: 1},
		toLit: func(p *published, c *Config) error {
			c.llama()
			c.everywhere(p.Window.value)
			return nil
		},
		fromLit: func(c *Config, out map[string]any) {
			out["partial_rotary_factor"], out["sliding_window"], out["original_max_position_embeddings"] = c.RotaryPart, nullable(c.Window), c.BlockSize
		},
		links: func(*Config) links { return phi3Links }},
	{architecture: "MistralForCausalLM", modelType: "mistral", name: "Mistral", eps: "rms_norm_eps", headDim: true,
		is: func(c *Config) bool {
			return c.MLP == "LLaMAMLP" && !c.Bias && (c.Window != 0 || hasPrefix(c.Name, "mistral", "mathstral"))
		},
		absent: published{Eps: 1e-6, RopeTheta: 10000, Partial: 1, Window: none[int]{4096}},
		toLit: func(p *published, c *Config) error {
			c.llama()
			c.everywhere(p.Window.value)
			return nil
		},
		fromLit: func(c *Config, out map[string]any) { out["sliding_window"] = nullable(c.Window) },
		links:   func(*Config) links { return llamaLinks }},
	{architecture: "LlamaForCausalLM", modelType: "llama", name: "Llama", eps: "rms_norm_eps", headDim: true,
		is:     func(c *Config) bool { return c.MLP == "LLaMAMLP" && c.Norm == "RMSNorm" },
		absent: published{Eps: 1e-6, RopeTheta: 10000, Partial: 1},
		toLit:  llamaToLit,
		fromLit: func(c *Config, out map[string]any) {
			out["attention_bias"], out["mlp_bias"] = c.Bias, c.Bias
		},
		links: func(*Config) links { return llamaLinks }},
}

// of finds a configuration's family, nil if there is none.
func of(c *Config) *family {
	for i := range families {
		if families[i].is(c) {
			return &families[i]
		}
	}
	return nil
}

func byArchitecture(name string) *family {
	for i := range families {
		if families[i].architecture == name {
			return &families[i]
		}
	}
	return nil
}

// fits reports whether LitGPT, which goes by names, takes a model of this name for one
// of this family: its norms have an offset if there is "Gemma" in it, its converters look
// for "falcon" and at how it begins.
func (f *family) fits(name string, c Config) bool {
	c.Name = name
	if of(&c) != f || strings.Contains(name, "Gemma") != strings.HasPrefix(f.name, "Gemma") || strings.Contains(name, "falcon") != (f.name == "falcon") {
		return false
	}
	longest := ""
	for _, other := range families {
		for _, p := range other.prefixes {
			if hasPrefix(name, p) && len(p) > len(longest) {
				longest = p
			}
		}
	}
	return longest == "" && f.prefixes == nil || slices.Contains(f.prefixes, longest)
}

func hasPrefix(name string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(strings.ToLower(name), p) })
}
