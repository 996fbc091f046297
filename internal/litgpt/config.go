package litgpt

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const maxConfig = 1 << 20 // bytes of a model_config.yaml

// Config is LitGPT's description of a model, the dataclass that model_config.yaml holds
// (litgpt/config.py). Keys whose value is None there are left out: null and absence are
// the zero value. The last group came after LitGPT 0.5.9 and is read, to be refused.
type Config struct {
	AttnSoftcap     real            `yaml:"attention_logit_softcapping,omitempty"`
	ScoresScalar    real            `yaml:"attention_scores_scalar,omitempty"` // scores are divided by its root; 0 means HeadSize
	AttnBias        bool            `yaml:"attn_bias"`                         // of queries, keys and values only
	Bias            bool            `yaml:"bias"`                              // of every linear layer
	BlockSize       int             `yaml:"block_size"`                        // positions
	FinalSoftcap    real            `yaml:"final_logit_softcapping,omitempty"`
	GELU            string          `yaml:"gelu_approximate"`
	HeadSize        int             `yaml:"head_size"`
	HFConfig        map[string]any  `yaml:"hf_config"`
	Intermediate    int             `yaml:"intermediate_size"`
	HeadBias        bool            `yaml:"lm_head_bias"`
	MLP             string          `yaml:"mlp_class_name"`
	MoEIntermediate int             `yaml:"moe_intermediate_size,omitempty"` // of an expert; 0 means Intermediate
	Embd            int             `yaml:"n_embd"`
	Experts         int             `yaml:"n_expert"`
	ExpertsPerToken int             `yaml:"n_expert_per_token"`
	Heads           int             `yaml:"n_head"`
	Layers          int             `yaml:"n_layer"`
	Groups          int             `yaml:"n_query_groups"` // key/value heads
	Name            string          `yaml:"name"`
	Norm1           bool            `yaml:"norm_1"`
	Norm2           bool            `yaml:"norm_2"`
	Norm            string          `yaml:"norm_class_name"`
	NormEps         real            `yaml:"norm_eps"`
	NormQK          bool            `yaml:"norm_qk"`
	NormQKType      string          `yaml:"norm_qk_type"`
	PaddedVocab     int             `yaml:"padded_vocab_size"` // rows of the embedding
	PaddingMultiple int             `yaml:"padding_multiple"`
	Parallel        bool            `yaml:"parallel_residual"`
	PostAttnNorm    bool            `yaml:"post_attention_norm"`
	PostMLPNorm     bool            `yaml:"post_mlp_norm"`
	RopeAdjustments map[string]real `yaml:"rope_adjustments,omitempty"`
	RopeBase        real            `yaml:"rope_base"`
	Condense        real            `yaml:"rope_condense_ratio"` // positions are divided by it
	RopeIndices     []int           `yaml:"rope_indices,omitempty,flow"`
	RopeLocal       real            `yaml:"rope_local_base_freq,omitempty"` // of the layers whose RopeIndices is 1
	RotaryPart      real            `yaml:"rotary_percentage"`
	ScaleEmbeddings bool            `yaml:"scale_embeddings"`
	SharedNorm      bool            `yaml:"shared_attention_norm"`
	WindowIndices   []int           `yaml:"sliding_window_indices,omitempty,flow"`
	Window          int             `yaml:"sliding_window_size,omitempty"` // of the layers whose WindowIndices is 1
	Vocab           int             `yaml:"vocab_size"`

	RopeInterleave  bool           `yaml:"rope_interleave,omitempty"`
	LatentAttention map[string]any `yaml:"latent_attention,omitempty"`
	SharedExperts   int            `yaml:"n_shared_expert,omitempty"`
	ExpertGroups    int            `yaml:"n_expert_groups,omitempty"`
	TopGroups       int            `yaml:"n_topk_groups,omitempty"`
	GroupScores     int            `yaml:"n_topk_scores_per_group,omitempty"`
	DenseFirst      int            `yaml:"first_k_dense_replace,omitempty"`
	RoutedScale     real           `yaml:"routed_scaling_factor,omitempty"`
	NormTopK        bool           `yaml:"norm_topk_prob,omitempty"`
}

// defaults are the dataclass's own.
func defaults() Config {
	return Config{BlockSize: 4096, Layers: 16, Embd: 4096, Vocab: 50254, PaddingMultiple: 512, Norm: "LayerNorm", NormEps: 1e-5, NormQKType: "default",
		Parallel: true, Heads: 32, RopeBase: 10000, RotaryPart: 0.25, Condense: 1, Bias: true, MLP: "GptNeoxMLP", GELU: "none", Norm1: true, Norm2: true,
		HFConfig: map[string]any{}}
}

// real is a float64 that is written as Python's YAML writes and reads it: 1e-05, which
// Go writes, is a string there.
type real float64

// MarshalYAML implements yaml.Marshaler.
func (r real) MarshalYAML() (any, error) {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!float"}
	switch x := float64(r); {
	case x == math.Trunc(x) && math.Abs(x) < 1e15: // most of these are integers to LitGPT
		n.Tag, n.Value = "!!int", strconv.FormatInt(int64(x), 10)
	default:
		n.Value = strconv.FormatFloat(x, 'g', -1, 64)
		if mantissa, exponent, ok := strings.Cut(n.Value, "e"); ok && !strings.Contains(mantissa, ".") {
			n.Value = mantissa + ".0e" + exponent
		}
	}
	return n, nil
}

// ReadConfig reads a model_config.yaml as LitGPT does: what follows from other keys is
// filled in. A key that is none of LitGPT's is an error, like a size that cannot be.
func ReadConfig(text []byte) (Config, error) {
	c := defaults()
	if len(text) > maxConfig {
		return c, fmt.Errorf("model_config.yaml: %d bytes, want at most %d", len(text), maxConfig)
	}
	var keys map[string]yaml.Node
	if err := yaml.Unmarshal(text, &keys); err != nil {
		return c, fmt.Errorf("model_config.yaml: %w", err)
	}
	if len(keys) == 0 {
		return c, errors.New("model_config.yaml: is empty; LitGPT's description of the model is wanted")
	}
	known := map[string]bool{}
	for f := range reflect.TypeFor[Config]().Fields() {
		key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		known[key] = true
	}
	var unknown []string
	for key := range keys {
		// Adapters are beside the model, whose own weights these do not change.
		if !known[key] && !strings.HasPrefix(key, "lora_") && !strings.HasPrefix(key, "adapter_") && key != "rope_n_elem" {
			unknown = append(unknown, strconv.Quote(key))
		}
	}
	if unknown != nil {
		slices.Sort(unknown)
		return c, fmt.Errorf("model_config.yaml: unknown key %.200s; it may change what the model computes", strings.Join(unknown, ", "))
	}
	if err := yaml.Unmarshal(text, &c); err != nil {
		return c, fmt.Errorf("model_config.yaml: %w", err)
	}
	return c, c.fill()
}

// fill does what the dataclass does after it was made, and refuses what cannot be.
func (c *Config) fill() error {
	const limit = 1 << 28
	if c.Name == "" {
		c.Name, _ = c.HFConfig["name"].(string)
	}
	bad := func(format string, args ...any) error { return fmt.Errorf("model_config.yaml: "+format, args...) }
	for _, v := range []struct {
		key   string
		value int
		least int
	}{{"n_embd", c.Embd, 1}, {"n_head", c.Heads, 1}, {"n_layer", c.Layers, 1}, {"block_size", c.BlockSize, 1}, {"vocab_size", c.Vocab, 1}, {"padding_multiple", c.PaddingMultiple, 1},
		{"head_size", c.HeadSize, 0}, {"n_query_groups", c.Groups, 0}, {"intermediate_size", c.Intermediate, 0}, {"moe_intermediate_size", c.MoEIntermediate, 0},
		{"padded_vocab_size", c.PaddedVocab, 0}, {"n_expert", c.Experts, 0}, {"n_expert_per_token", c.ExpertsPerToken, 0}, {"sliding_window_size", c.Window, 0}} {
		if v.value < v.least || v.value > limit {
			return bad("%s is %d; a number from %d to 2^28 wanted", v.key, v.value, v.least)
		}
	}
	if c.HeadSize == 0 && c.Embd%c.Heads != 0 {
		return bad("n_head %d does not divide n_embd %d, and there is no head_size", c.Heads, c.Embd)
	}
	c.HeadSize = cmp.Or(c.HeadSize, c.Embd/c.Heads)
	c.Groups = cmp.Or(c.Groups, c.Heads)
	if c.Heads%c.Groups != 0 {
		return bad("n_query_groups %d does not divide n_head %d", c.Groups, c.Heads)
	}
	if c.PaddedVocab == 0 {
		c.PaddedVocab = (c.Vocab + c.PaddingMultiple - 1) / c.PaddingMultiple * c.PaddingMultiple
	}
	if c.Intermediate == 0 && c.MLP == "LLaMAMLP" {
		return bad("no intermediate_size")
	}
	c.Intermediate = cmp.Or(c.Intermediate, 4*c.Embd)
	if c.Layers > 10000 || c.Experts > 10000 || c.Layers*max(c.Experts, 1) > 1<<20 {
		return bad("%d layers of %d experts are more than any model has", c.Layers, c.Experts)
	}
	for _, l := range []struct {
		key  string
		on   bool
		list *[]int
	}{{"sliding_window_indices", c.Window != 0, &c.WindowIndices}, {"rope_indices", c.RopeLocal != 0, &c.RopeIndices}} {
		switch {
		case !l.on:
			*l.list = nil
			continue
		case *l.list == nil:
			*l.list = slices.Repeat([]int{1}, c.Layers)
		case len(*l.list) < c.Layers:
			return bad("%s has %d entries for n_layer %d", l.key, len(*l.list), c.Layers)
		}
		*l.list = (*l.list)[:c.Layers]
		if slices.ContainsFunc(*l.list, func(i int) bool { return i != 0 && i != 1 }) {
			return bad("%s %v: 0 and 1 wanted", l.key, *l.list)
		}
	}
	return nil
}

// mathematics is c without what does not change the numbers a model computes, in one
// spelling: two configurations describe the same model if it is equal.
func (c Config) mathematics() Config {
	c.Name, c.HFConfig, c.Vocab, c.PaddingMultiple = "", nil, 0, 0
	c.RotaryPart = real(c.rotated())
	if c.MLP != "GptNeoxMLP" && c.MLP != "GemmaMLP" {
		c.GELU = ""
	}
	if !c.NormQK {
		c.NormQKType = ""
	}
	if c.MLP == "LLaMAMoE" {
		c.Intermediate, c.MoEIntermediate = cmp.Or(c.MoEIntermediate, c.Intermediate), 0
	} else {
		c.MoEIntermediate, c.Experts, c.ExpertsPerToken = 0, 0, 0
	}
	if !slices.Contains(c.WindowIndices, 1) {
		c.Window, c.WindowIndices = 0, nil
	}
	c.ScoresScalar = cmp.Or(c.ScoresScalar, real(c.HeadSize))
	if c.Condense != 1 { // positions divided or frequencies divided: the same angles
		factor := c.Condense
		if f, ok := c.RopeAdjustments["factor"]; ok && len(c.RopeAdjustments) == 1 {
			factor *= f
		}
		if len(c.RopeAdjustments) <= 1 && c.RopeLocal == 0 {
			c.RopeAdjustments, c.Condense = map[string]real{"factor": factor}, 1
		}
	}
	if len(c.RopeAdjustments) == 0 {
		c.RopeAdjustments = nil
	}
	c.NormTopK = false // of grouped experts only, which SharedExperts and the like are about
	if c.RoutedScale == 1 {
		c.RoutedScale = 0
	}
	return c
}

// rotated is how many channels of a head are.
func (c Config) rotated() int { return int(float64(c.RotaryPart) * float64(c.HeadSize)) }

// differences lists the keys in which two configurations differ, with both values.
func (c Config) differences(d Config) []string {
	a, b := reflect.ValueOf(c), reflect.ValueOf(d)
	var list []string
	for i := range a.NumField() {
		x, y := a.Field(i).Interface(), b.Field(i).Interface()
		if !reflect.DeepEqual(x, y) {
			key, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("yaml"), ",")
			list = append(list, fmt.Sprintf("%s %.60s instead of %.60s", key, fmt.Sprint(x), fmt.Sprint(y)))
		}
	}
	return list
}
