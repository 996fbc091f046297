package litgpt

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/models"
)

// published are the keys of a config.json that say more of a model than its sizes, in
// the spellings of transformers 4 and 5. The sizes are those of models.Dims.
type published struct {
	IntermediateSize int `json:"intermediate_size"`
	FFNHiddenSize    int `json:"ffn_hidden_size"`
	MoEIntermediate  int `json:"moe_intermediate_size"`

	Eps              float64 `json:"-"` // under the family's own key
	HiddenAct        string  `json:"hidden_act"`
	Activation       string  `json:"activation"`
	AttentionBias    bool    `json:"attention_bias"`
	MLPBias          bool    `json:"mlp_bias"`
	QKVBias          bool    `json:"use_qkv_bias"`
	Bias             bool    `json:"bias"`
	ParallelResidual bool    `json:"use_parallel_residual"`

	Partial        float64         `json:"partial_rotary_factor"`
	RotaryPct      float64         `json:"rotary_pct"`
	RopeTheta      float64         `json:"rope_theta"`
	RotaryEmbBase  float64         `json:"rotary_emb_base"`
	RopeLocal      float64         `json:"rope_local_base_freq"`
	RopeScaling    *nn.RopeScaling `json:"rope_scaling"`
	RopeParameters json.RawMessage `json:"rope_parameters"` // transformers 5: those above; in Gemma 3 by the layers' type

	UseWindow    bool          `json:"use_sliding_window"`
	Window       none[int]     `json:"sliding_window"`
	WindowsFrom  int           `json:"max_window_layers"`
	LayerTypes   []string      `json:"layer_types"`
	Pattern      int           `json:"sliding_window_pattern"`
	QueryScalar  float64       `json:"query_pre_attn_scalar"`
	AttnSoftcap  none[float64] `json:"attn_logit_softcapping"`
	FinalSoftcap none[float64] `json:"final_logit_softcapping"`

	NumLocalExperts int   `json:"num_local_experts"`
	NumExperts      int   `json:"num_experts"`
	NumChosen       int   `json:"num_experts_per_tok"`
	NormTopK        bool  `json:"norm_topk_prob"`
	SparseStep      int   `json:"decoder_sparse_step"`
	DenseLayers     []int `json:"mlp_only_layers"`

	NewDecoder   bool `json:"new_decoder_architecture"`
	ParallelAttn bool `json:"parallel_attn"`
	NumNorms     int  `json:"num_ln_in_parallel_attn"`

	Repo string `json:"_name_or_path"`
}

// none is a number whose absence means the family's default and whose null means none, 0.
type none[T int | float64] struct{ value T }

// UnmarshalJSON implements json.Unmarshaler; null comes here too.
func (n *none[T]) UnmarshalJSON(data []byte) error {
	n.value = 0
	return json.Unmarshal(data, &n.value)
}

// configOf makes LitGPT's configuration of a config.json that models.New takes.
func configOf(config []byte, name string) (Config, *family, error) {
	arch, err := models.Architecture(config)
	if err != nil {
		return Config{}, nil, err
	}
	f := byArchitecture(arch)
	if f == nil {
		return Config{}, nil, fmt.Errorf("LitGPT has no %s", arch)
	}
	m, err := models.New(config)
	if err != nil {
		return Config{}, nil, err
	}
	p, err := readPublished(f, config)
	if err != nil {
		return Config{}, nil, err
	}
	d := m.Dims()
	c := defaults()
	c.BlockSize, c.Layers, c.Embd, c.Vocab, c.PaddedVocab = d.Context, d.Layers, d.Hidden, d.Vocab, d.Vocab
	c.Heads, c.Groups, c.HeadSize, c.Intermediate = d.Heads, d.KVHeads, d.HeadDim, cmp.Or(p.FFNHiddenSize, p.IntermediateSize, 4*d.Hidden)
	c.NormEps, c.RopeBase, c.RotaryPart = real(p.Eps), real(p.RopeTheta), real(p.Partial)
	if err := c.scale(p.RopeScaling); err != nil {
		return Config{}, nil, err
	}
	if err := f.toLit(&p, &c); err != nil {
		return Config{}, nil, fmt.Errorf("config.json: %w", err)
	}
	if err := c.fill(); err != nil {
		return Config{}, nil, err
	}
	c.call(f, name, p.Repo)
	return c, f, nil
}

// readPublished reads config.json with the family's defaults; both spellings of the
// rotation end in the fields of the older one.
func readPublished(f *family, config []byte) (published, error) {
	p := f.absent
	var keys map[string]json.RawMessage
	if err := firstError(json.Unmarshal(config, &p), json.Unmarshal(config, &keys)); err != nil {
		return p, fmt.Errorf("config.json: %w", err)
	}
	if raw, ok := keys[f.eps]; ok {
		if err := json.Unmarshal(raw, &p.Eps); err != nil {
			return p, fmt.Errorf("config.json: %s: %w", f.eps, err)
		}
	}
	p.RopeTheta, p.Partial = cmp.Or(p.RotaryEmbBase, p.RopeTheta), cmp.Or(p.RotaryPct, p.Partial)
	p.NumExperts = cmp.Or(p.NumLocalExperts, p.NumExperts)
	flat := p.RopeParameters
	if f.architecture == "Gemma3ForCausalLM" && len(flat) > 0 {
		var kinds map[string]json.RawMessage
		if err := json.Unmarshal(flat, &kinds); err != nil {
			return p, fmt.Errorf("config.json: rope_parameters: %w", err)
		}
		flat = kinds["full_attention"]
		var local nn.RopeScaling
		if raw := kinds["sliding_attention"]; raw != nil {
			if err := json.Unmarshal(raw, &local); err != nil {
				return p, fmt.Errorf("config.json: rope_parameters: %w", err)
			}
		}
		p.RopeLocal = cmp.Or(local.Theta, p.RopeLocal)
		if kind := cmp.Or(local.Type, local.LegacyType, "default"); kind != "default" {
			return p, fmt.Errorf("config.json: layers with a window rotate with %q; LitGPT scales the others only", kind)
		}
	}
	if len(flat) > 0 && !bytes.Equal(flat, []byte("null")) {
		var s nn.RopeScaling
		if err := json.Unmarshal(flat, &s); err != nil {
			return p, fmt.Errorf("config.json: rope_parameters: %w", err)
		}
		p.RopeScaling, p.RopeTheta, p.Partial = &s, cmp.Or(s.Theta, p.RopeTheta), cmp.Or(s.Partial, p.Partial)
	}
	return p, nil
}

// scale sets the rotation's scaling; c has the sizes.
func (c *Config) scale(s *nn.RopeScaling) error {
	if s == nil {
		return nil
	}
	switch kind := cmp.Or(s.Type, s.LegacyType, "default"); kind {
	case "default":
	case "linear":
		c.RopeAdjustments = map[string]real{"factor": real(s.Factor)}
	case "llama3":
		c.RopeAdjustments = map[string]real{"factor": real(s.Factor), "low_freq_factor": real(s.LowFreqFactor), "high_freq_factor": real(s.HighFreqFactor),
			"original_max_seq_len": real(cmp.Or(s.OriginalContext, c.BlockSize))}
	default:
		return fmt.Errorf("config.json: rope_scaling of type %q: LitGPT has linear and llama3 and would compute other logits; "+
			"to use the model there within its original context, take rope_scaling out of config.json", kind)
	}
	return nil
}

// call chooses the name, by which LitGPT knows a Gemma's norms, the way back and the
// prompt's style: LitGPT's own if hint or repo are a published model, else one of them
// if LitGPT's rules take it for this family, else one that they do.
func (c *Config) call(f *family, hint, repo string) {
	for _, candidate := range []string{hint, repo} {
		s, ok := models.FindShape(candidate)
		if !ok {
			continue
		}
		if arch, err := models.Architecture(s.Config); err == nil && arch == f.architecture {
			org, base, _ := cut(s.Repo)
			c.Name, c.HFConfig = s.Name, map[string]any{"org": org, "name": base}
			return
		}
	}
	_, base, _ := cut(cmp.Or(hint, repo))
	switch {
	case base == "":
		c.Name = f.name
	case f.fits(base, *c):
		c.Name = base
	default:
		c.Name = strings.TrimSuffix(f.name, "-") + "-" + base
	}
	if !f.fits(c.Name, *c) {
		c.Name = f.name
	}
}

// configJSON makes the config.json of a model of LitGPT's. dtype is torch's name of the
// weights' type.
func (c *Config) configJSON(f *family, tied bool, dtype string) ([]byte, error) {
	out := map[string]any{
		"architectures": []string{f.architecture}, "model_type": f.modelType, "vocab_size": c.PaddedVocab, "hidden_size": c.Embd,
		"intermediate_size": c.Intermediate, "num_hidden_layers": c.Layers, "num_attention_heads": c.Heads, "num_key_value_heads": c.Groups,
		"max_position_embeddings": c.BlockSize, f.eps: c.NormEps, "rope_theta": float(c.RopeBase), "tie_word_embeddings": tied, "torch_dtype": dtype,
		"hidden_act": "silu",
	}
	if c.HeadSize*c.Heads != c.Embd && !f.headDim && f.architecture != "Qwen2ForCausalLM" && f.architecture != "Olmo2ForCausalLM" {
		return nil, fmt.Errorf("model_config.yaml: head_size %d: %s has no heads but of n_embd %d / n_head %d", c.HeadSize, f.architecture, c.Embd, c.Heads)
	}
	if f.headDim || c.HeadSize*c.Heads != c.Embd {
		out["head_dim"] = c.HeadSize
	}
	scaling, err := c.ropeScaling()
	if err != nil {
		return nil, err
	}
	if scaling != nil {
		out["rope_scaling"] = scaling
	}
	if org, ok := c.HFConfig["org"].(string); ok && org != "" {
		if base, ok := c.HFConfig["name"].(string); ok && base != "" {
			out["_name_or_path"] = org + "/" + base
		}
	}
	if strings.Contains(c.Name, "Gemma") != strings.HasPrefix(f.name, "Gemma") {
		return nil, fmt.Errorf("model_config.yaml: mlp_class_name %s of a model called %q: LitGPT adds 1 to the norms' weights only if its name has \"Gemma\" in it, the family here never or always", c.MLP, c.Name)
	}
	f.fromLit(c, out)
	text, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("model_config.yaml: %w", err) // an infinity among the numbers
	}
	text = append(text, '\n')
	// Whatever LitGPT's switches say beyond what the family has shows in the way back.
	back, _, err := configOf(text, c.Name)
	if err != nil {
		return nil, fmt.Errorf("model_config.yaml, as config.json: %w", err)
	}
	if list := c.mathematics().differences(back.mathematics()); list != nil {
		return nil, fmt.Errorf("model_config.yaml: no family here has this; of %s it has %s", f.architecture, list)
	}
	return text, nil
}

// ropeScaling is rope_scaling of config.json, nil if there is none.
func (c *Config) ropeScaling() (map[string]any, error) {
	a := c.mathematics().RopeAdjustments
	keys := []string{"factor", "high_freq_factor", "low_freq_factor", "original_max_seq_len"}
	switch {
	case len(a) == 0:
		return nil, nil
	case len(a) == 1 && a["factor"] != 0:
		return map[string]any{"rope_type": "linear", "type": "linear", "factor": float(a["factor"])}, nil
	case len(a) == 4 && !slices.ContainsFunc(keys, func(k string) bool { return a[k] == 0 }):
		return map[string]any{"rope_type": "llama3", "factor": float(a["factor"]), "low_freq_factor": float(a["low_freq_factor"]),
			"high_freq_factor": float(a["high_freq_factor"]), "original_max_position_embeddings": int(a["original_max_seq_len"])}, nil
	}
	return nil, fmt.Errorf("model_config.yaml: rope_adjustments has %v; the keys of linear scaling (factor) or of Llama 3's %v wanted", slices.Sorted(maps.Keys(a)), keys)
}

// float is a number that JSON shows to be one with a fraction: transformers minds.
type float float64

// MarshalJSON implements json.Marshaler.
func (f float) MarshalJSON() ([]byte, error) {
	text, err := json.Marshal(float64(f))
	if err == nil && !bytes.ContainsAny(text, ".e") {
		text = append(text, ".0"...)
	}
	return text, err
}

// nullable is n, or null for 0.
func nullable[T int | real](n T) any {
	if n == 0 {
		return nil
	}
	return n
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
