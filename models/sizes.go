package models

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// What the configurations of several families have in common: leaves, which a
// family's config embeds beside the keys of its own.

// sizes are the keys of config.json that decoders without a special layout share.
type sizes struct {
	VocabSize        int     `json:"vocab_size"`
	HiddenSize       int     `json:"hidden_size"`
	IntermediateSize int     `json:"intermediate_size"`
	NumLayers        int     `json:"num_hidden_layers"`
	NumHeads         int     `json:"num_attention_heads"`
	NumKVHeads       int     `json:"num_key_value_heads"` // 0 means NumHeads
	HeadDim          int     `json:"head_dim"`            // 0 means HiddenSize / NumHeads
	Context          int     `json:"max_position_embeddings"`
	RMSNormEps       float64 `json:"rms_norm_eps"`
	TieEmbeddings    bool    `json:"tie_word_embeddings"`
}

// check fills in what follows from other keys and refuses what cannot be.
func (s *sizes) check() error {
	s.NumKVHeads = cmp.Or(s.NumKVHeads, s.NumHeads)
	if s.NumHeads > 0 {
		if s.HeadDim == 0 && s.HiddenSize%s.NumHeads != 0 {
			return fmt.Errorf("config.json: num_attention_heads %d does not divide hidden_size %d, and there is no head_dim", s.NumHeads, s.HiddenSize)
		}
		s.HeadDim = cmp.Or(s.HeadDim, s.HiddenSize/s.NumHeads)
	}
	if err := positive(map[string]int{"vocab_size": s.VocabSize, "hidden_size": s.HiddenSize, "intermediate_size": s.IntermediateSize,
		"num_hidden_layers": s.NumLayers, "num_attention_heads": s.NumHeads, "num_key_value_heads": s.NumKVHeads, "head_dim": s.HeadDim,
		"max_position_embeddings": s.Context}); err != nil {
		return err
	}
	if s.NumHeads%s.NumKVHeads != 0 {
		return fmt.Errorf("config.json: num_key_value_heads %d does not divide num_attention_heads %d", s.NumKVHeads, s.NumHeads)
	}
	if s.NumLayers > 10000 || !(s.RMSNormEps >= 0 && s.RMSNormEps < 1) {
		return fmt.Errorf("config.json: num_hidden_layers %d, rms_norm_eps %g: at most 10000 layers and an epsilon below 1 wanted", s.NumLayers, s.RMSNormEps)
	}
	return nil
}

func (s *sizes) dims() Dims {
	return Dims{
		Layers: s.NumLayers, Hidden: s.HiddenSize, Vocab: s.VocabSize,
		Heads: s.NumHeads, KVHeads: s.NumKVHeads, HeadDim: s.HeadDim,
		Context: s.Context, Tied: s.TieEmbeddings,
	}
}

// head is the output projection: the embedding itself where the two are tied.
func (s *sizes) head(embed *nn.Embedding) *nn.Linear {
	if s.TieEmbeddings {
		return embed.AsLinear()
	}
	return nn.NewLinear(s.HiddenSize, s.VocabSize, false)
}

// rotary are the keys of config.json for one rotation of all layers.
type rotary struct {
	RopeTheta      float64         `json:"rope_theta"`
	RopeScaling    *nn.RopeScaling `json:"rope_scaling"`
	RopeParameters *nn.RopeScaling `json:"rope_parameters"` // transformers 5: both of the above
}

// rope makes the rotation for heads of s; config is the whole config.json.
func (r rotary) rope(config []byte, s sizes) (*tensor.RoPE, error) {
	scaling, theta := r.RopeScaling, r.RopeTheta
	if p := r.RopeParameters; p != nil {
		scaling, theta = p, cmp.Or(p.Theta, theta)
	}
	if err := wholeHeads(config); err != nil {
		return nil, err
	}
	return newRoPE(s, theta, scaling)
}

// newRoPE is nn.NewRoPE for heads of s. A scaling that does not say what context
// it stretches means that of the model, as in transformers.
func newRoPE(s sizes, theta float64, scaling *nn.RopeScaling) (*tensor.RoPE, error) {
	if scaling != nil {
		c := *scaling
		c.OriginalContext = cmp.Or(c.OriginalContext, s.Context)
		scaling = &c
	}
	rope, err := nn.NewRoPE(s.HeadDim, theta, scaling)
	if err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	return rope, nil
}

// wholeHeads refuses a rotation of a part of each head's channels, wherever config.json
// says it: at the top, in rope_parameters, or there by the layers' type.
func wholeHeads(config []byte) error {
	harmless := map[string][]string{"partial_rotary_factor": {"1", "1.0"}}
	if err := unsupported(config, harmless); err != nil {
		return err
	}
	var c struct {
		RopeParameters map[string]json.RawMessage `json:"rope_parameters"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return configError(config, err)
	}
	if v, ok := c.RopeParameters["partial_rotary_factor"]; ok {
		return unsupported(fmt.Appendf(nil, `{"partial_rotary_factor": %s}`, v), harmless)
	}
	for _, kind := range slices.Sorted(maps.Keys(c.RopeParameters)) {
		if v := c.RopeParameters[kind]; v[0] == '{' {
			if err := unsupported(v, harmless); err != nil {
				return err
			}
		}
	}
	return nil
}

// optional is a key that has a default when it is absent and means "none" when it
// is null: a type that decodes itself is shown null, which encoding/json
// otherwise passes over. The zero Value is none.
type optional[T int | float64] struct{ Value T }

// UnmarshalJSON implements json.Unmarshaler.
func (o *optional[T]) UnmarshalJSON(data []byte) error {
	o.Value = 0
	return json.Unmarshal(data, &o.Value)
}

// windows gives each layer's window, 0 where it sees everything. types is
// "layer_types" of config.json; without it sliding says which layers have one.
func windows(types []string, layers, window int, sliding func(layer int) bool) ([]int, error) {
	if types != nil && len(types) != layers {
		return nil, fmt.Errorf("config.json: layer_types has %d entries for num_hidden_layers %d", len(types), layers)
	}
	if window < 0 {
		return nil, fmt.Errorf("config.json: sliding_window is %d; a positive number or null wanted", window)
	}
	w := make([]int, layers)
	for i := range w {
		slides := types == nil && sliding(i)
		if types != nil {
			switch types[i] {
			case "full_attention":
			case "sliding_attention":
				slides = true
			default:
				return nil, fmt.Errorf("config.json: layer_types[%d] is %.40q (known: full_attention, sliding_attention)", i, types[i])
			}
		}
		if slides && window == 0 {
			return nil, fmt.Errorf("config.json: layer %d has a window, but sliding_window does not say how long it is", i)
		}
		if slides {
			w[i] = window
		}
	}
	return w, nil
}
