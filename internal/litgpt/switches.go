package litgpt

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// What the families set in LitGPT's configuration and in config.json, where it takes
// more than a line of families.go.

// llama sets the switches of Llama's blocks.
func (c *Config) llama() {
	c.Norm, c.MLP, c.Bias, c.Parallel = "RMSNorm", "LLaMAMLP", false, false
}

// everywhere gives all layers a window; 0 is none.
func (c *Config) everywhere(window int) {
	if c.Window = window; window != 0 {
		c.WindowIndices = slices.Repeat([]int{1}, c.Layers)
	}
}

// windows gives some layers a window: those that "layer_types" says, or slides.
func (c *Config) windows(p *published, window int, slides func(layer int) bool) {
	c.WindowIndices = make([]int, c.Layers)
	for i := range c.WindowIndices {
		if p.LayerTypes != nil && p.LayerTypes[i] == "sliding_attention" || p.LayerTypes == nil && slides(i) {
			c.WindowIndices[i] = 1
		}
	}
	if c.Window = window; !slices.Contains(c.WindowIndices, 1) {
		c.Window, c.WindowIndices = 0, nil
	}
}

// windowsFrom is Qwen's way: the layers from one on, if windows are used at all.
func (c *Config) windowsFrom(p *published) error {
	window := 0
	if p.UseWindow {
		window = p.Window.value
	}
	c.windows(p, window, func(i int) bool { return window != 0 && i >= p.WindowsFrom })
	return nil
}

// layerTypes writes the windows layer by layer.
func (c *Config) layerTypes(out map[string]any, use bool) {
	types := make([]string, c.Layers)
	for i := range types {
		types[i] = "full_attention"
		if c.Window != 0 && c.WindowIndices[i] == 1 {
			types[i] = "sliding_attention"
		}
	}
	out["sliding_window"], out["layer_types"] = nullable(c.Window), types
	if use {
		out["use_sliding_window"] = c.Window != 0
	}
}

var errBias = errors.New("attention_bias: LitGPT has biases of queries, keys and values only, or of every linear layer")

func noBias(p *published) error {
	if p.AttentionBias {
		return errBias
	}
	return nil
}

func llamaToLit(p *published, c *Config) error {
	c.llama()
	c.Bias = p.AttentionBias
	if p.AttentionBias != p.MLPBias {
		return fmt.Errorf("attention_bias %v, mlp_bias %v: LitGPT has biases of every linear layer or of none", p.AttentionBias, p.MLPBias)
	}
	return nil
}

func gemmaToLit(p *published, c *Config) error {
	c.llama()
	c.MLP, c.GELU, c.ScaleEmbeddings = "GemmaMLP", "tanh", true
	return noBias(p)
}

func gemma2ToLit(p *published, c *Config) error {
	err := gemmaToLit(p, c)
	c.PostAttnNorm, c.PostMLPNorm, c.ScoresScalar = true, true, real(p.QueryScalar)
	c.AttnSoftcap, c.FinalSoftcap = real(p.AttnSoftcap.value), real(p.FinalSoftcap.value)
	c.windows(p, p.Window.value, func(i int) bool { return i%2 == 0 })
	return err
}

func gemma2FromLit(c *Config, out map[string]any) {
	out["hidden_act"], out["hidden_activation"] = "gelu_pytorch_tanh", "gelu_pytorch_tanh"
	out["query_pre_attn_scalar"] = cmp.Or(c.ScoresScalar, real(c.HeadSize))
	out["attn_logit_softcapping"], out["final_logit_softcapping"] = nullable(c.AttnSoftcap), nullable(c.FinalSoftcap)
	c.layerTypes(out, false)
}

func gemma3ToLit(p *published, c *Config) error {
	p.AttnSoftcap.value = 0 // models.New refuses it
	err := gemma2ToLit(p, c)
	c.NormQK = true
	c.windows(p, p.Window.value, func(i int) bool { return (i+1)%p.Pattern != 0 })
	c.RopeLocal, c.RopeIndices = real(p.RopeLocal), make([]int, c.Layers)
	copy(c.RopeIndices, c.WindowIndices)
	return err
}

func gemma3FromLit(c *Config, out map[string]any) {
	gemma2FromLit(c, out)
	out["rope_local_base_freq"] = float(c.RopeLocal)
	// The pattern too, where there is one: older transformers know nothing else.
	for pattern := 2; pattern <= c.Layers; pattern++ {
		regular := c.Window != 0
		for i, w := range c.WindowIndices {
			regular = regular && (w == 1) == ((i+1)%pattern != 0)
		}
		if regular {
			out["sliding_window_pattern"] = pattern
			break
		}
	}
}

func qwen3MoEToLit(p *published, c *Config) error {
	c.llama()
	c.MLP, c.NormQK, c.Experts, c.ExpertsPerToken, c.MoEIntermediate = "LLaMAMoE", true, p.NumExperts, p.NumChosen, p.MoEIntermediate
	if p.SparseStep != 1 || len(p.DenseLayers) > 0 {
		return fmt.Errorf("decoder_sparse_step %d, mlp_only_layers %v: LitGPT has experts in every layer", p.SparseStep, p.DenseLayers)
	}
	if !p.NormTopK {
		return errors.New("norm_topk_prob is false: LitGPT's weights of the chosen experts sum to 1")
	}
	return noBias(p)
}

func qwen3MoEFromLit(c *Config, out map[string]any) {
	out["attention_bias"], out["moe_intermediate_size"], out["num_experts"], out["num_experts_per_tok"] = false, c.expertSize(), c.Experts, c.ExpertsPerToken
	out["norm_topk_prob"], out["decoder_sparse_step"], out["mlp_only_layers"] = true, 1, []int{}
}

// gelus are the activations of MLPs without a gate that LitGPT has, by transformers'
// names; the first of each kind is written.
var gelus = []struct{ hf, lit string }{
	{"gelu", "none"}, {"gelu_new", "tanh"}, {"gelu_fast", "tanh"}, {"gelu_pytorch_tanh", "tanh"},
}

func geluToLit(key, name string) (string, error) {
	for _, g := range gelus {
		if g.hf == name {
			return g.lit, nil
		}
	}
	return "", fmt.Errorf("%s %q: LitGPT has gelu and gelu_new", key, name)
}

func geluFromLit(approximate string) string {
	for _, g := range gelus {
		if g.lit == approximate {
			return g.hf
		}
	}
	return approximate
}

func neoxToLit(p *published, c *Config) (err error) {
	c.Norm, c.MLP, c.Bias, c.Parallel = "LayerNorm", "GptNeoxMLP", true, p.ParallelResidual
	if !p.AttentionBias {
		return errors.New("attention_bias is false: LitGPT has biases of every linear layer or of none")
	}
	c.GELU, err = geluToLit("hidden_act", p.HiddenAct)
	return err
}

func neoxFromLit(c *Config, out map[string]any) {
	delete(out, "num_key_value_heads") // as many as heads; the way back shows another number
	delete(out, "rope_theta")
	out["rotary_emb_base"], out["rotary_pct"] = float(c.RopeBase), c.RotaryPart
	out["hidden_act"], out["use_parallel_residual"], out["attention_bias"] = geluFromLit(c.GELU), c.Parallel, true
}

func falconToLit(p *published, c *Config) (err error) {
	c.Norm, c.MLP, c.Bias, c.Parallel = "LayerNorm", "GptNeoxMLP", p.Bias, p.ParallelAttn
	norms := 1
	if p.NewDecoder {
		norms = cmp.Or(p.NumNorms, 2)
	}
	c.SharedNorm = p.ParallelAttn && norms == 1
	c.GELU, err = geluToLit("activation", p.Activation)
	return err
}

func falconFromLit(c *Config, out map[string]any) {
	delete(out, "hidden_act")
	delete(out, "intermediate_size")
	delete(out, "num_key_value_heads")
	out["ffn_hidden_size"], out["num_kv_heads"], out["activation"], out["bias"] = c.Intermediate, c.Groups, geluFromLit(c.GELU), c.Bias
	out["alibi"], out["parallel_attn"], out["multi_query"] = false, c.Parallel, c.Groups == 1
	grouped := c.Groups != 1 && c.Groups != c.Heads
	if out["new_decoder_architecture"] = false; c.Parallel && (grouped || !c.SharedNorm) {
		out["new_decoder_architecture"], out["num_ln_in_parallel_attn"] = true, 2
		if c.SharedNorm {
			out["num_ln_in_parallel_attn"] = 1
		}
	}
}

// cut divides a repository into its organization and its name; a name alone has none.
func cut(repo string) (org, base string, ok bool) {
	repo = strings.TrimRight(repo, "/")
	if i := strings.LastIndexByte(repo, '/'); i >= 0 {
		return repo[:i], repo[i+1:], true
	}
	return "", repo, false
}
