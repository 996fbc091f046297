package models

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// Gemma 3, its text models: Gemma 2 without the softcaps, with normalized queries and
// keys. Five layers of six see a window and rotate by frequencies of their own.
// gemma3vision.go takes the text model out of a checkpoint that also sees images.
//
//	https://arxiv.org/abs/2503.19786
//
// In the comments N is the number of tokens in the batch, C the hidden size, H and
// Hkv the query and key/value heads, D the head size, V the vocabulary.

type gemma3Config struct {
	sizes
	AttentionBias bool              `json:"attention_bias"`
	QueryScalar   float64           `json:"query_pre_attn_scalar"` // the scores are divided by its root
	FinalSoftcap  optional[float64] `json:"final_logit_softcapping"`
	SlidingWindow optional[int]     `json:"sliding_window"`
	Pattern       int               `json:"sliding_window_pattern"` // the last of so many layers sees everything
	LayerTypes    []string          `json:"layer_types"`            // transformers 5: the same, layer by layer

	RopeTheta      float64                    `json:"rope_theta"`           // of the layers that see everything
	RopeScaling    *nn.RopeScaling            `json:"rope_scaling"`         // of those too
	RopeLocal      float64                    `json:"rope_local_base_freq"` // of the layers with a window
	RopeParameters map[string]*nn.RopeScaling `json:"rope_parameters"`      // transformers 5: the three above by the layers' type
}

type gemma3 struct {
	Embed  *nn.Embedding  `hf:"model.embed_tokens"`
	Blocks []*gemma3Block `hf:"model.layers"`
	Norm   *nn.RMSNorm    `hf:"model.norm"`
	LMHead *nn.Linear     `hf:"lm_head"`

	config gemma3Config
}

type gemma3Block struct {
	AttnNorm     *nn.RMSNorm      `hf:"input_layernorm"`
	Attn         *gemma3Attention `hf:"self_attn"`
	PostAttnNorm *nn.RMSNorm      `hf:"post_attention_layernorm"`
	MLPNorm      *nn.RMSNorm      `hf:"pre_feedforward_layernorm"`
	MLP          *nn.GatedMLP     `hf:"mlp"`
	PostMLPNorm  *nn.RMSNorm      `hf:"post_feedforward_layernorm"`
}

type gemma3Attention struct {
	Q *nn.Linear `hf:"q_proj"`
	K *nn.Linear `hf:"k_proj"`
	V *nn.Linear `hf:"v_proj"`
	O *nn.Linear `hf:"o_proj"`

	QNorm *nn.RMSNorm `hf:"q_norm"` // (D), the same for all heads
	KNorm *nn.RMSNorm `hf:"k_norm"`

	heads, kvHeads int
	rope           *tensor.RoPE
	attn           nn.Attn
}

func newGemma3(config []byte) (Model, error) {
	c, err := readGemma3Config(config)
	if err != nil {
		return nil, err
	}
	windows, err := windows(c.LayerTypes, c.NumLayers, c.SlidingWindow.Value, func(i int) bool { return (i+1)%c.Pattern != 0 })
	if err != nil {
		return nil, err
	}
	global, local, err := c.ropes()
	if err != nil {
		return nil, err
	}
	m := &gemma3{
		Embed:  nn.NewEmbedding(c.VocabSize, c.HiddenSize),
		Blocks: make([]*gemma3Block, c.NumLayers),
		Norm:   gemmaNorm(c.HiddenSize, c.RMSNormEps),
		config: c,
	}
	for i := range m.Blocks {
		m.Blocks[i] = &gemma3Block{
			AttnNorm: gemmaNorm(c.HiddenSize, c.RMSNormEps),
			Attn: &gemma3Attention{
				Q:       nn.NewLinear(c.HiddenSize, c.NumHeads*c.HeadDim, c.AttentionBias),
				K:       nn.NewLinear(c.HiddenSize, c.NumKVHeads*c.HeadDim, c.AttentionBias),
				V:       nn.NewLinear(c.HiddenSize, c.NumKVHeads*c.HeadDim, c.AttentionBias),
				O:       nn.NewLinear(c.NumHeads*c.HeadDim, c.HiddenSize, c.AttentionBias),
				QNorm:   gemmaNorm(c.HeadDim, c.RMSNormEps),
				KNorm:   gemmaNorm(c.HeadDim, c.RMSNormEps),
				heads:   c.NumHeads,
				kvHeads: c.NumKVHeads,
				rope:    global,
				attn:    nn.Attn{Layer: i, Scale: 1 / math.Sqrt(c.QueryScalar), Window: windows[i]},
			},
			PostAttnNorm: gemmaNorm(c.HiddenSize, c.RMSNormEps),
			MLPNorm:      gemmaNorm(c.HiddenSize, c.RMSNormEps),
			MLP:          nn.NewGatedMLP(c.HiddenSize, c.IntermediateSize, tensor.GELUTanh, false),
			PostMLPNorm:  gemmaNorm(c.HiddenSize, c.RMSNormEps),
		}
		if windows[i] != 0 {
			m.Blocks[i].Attn.rope = local
		}
	}
	m.LMHead = c.head(m.Embed)
	return m, nil
}

// readGemma3Config reads either spelling of config.json and refuses what cannot be.
func readGemma3Config(config []byte) (gemma3Config, error) {
	c := gemma3Config{ // the published configurations leave out what the 4B model has
		sizes: sizes{VocabSize: 262208, HiddenSize: 2304, IntermediateSize: 9216, NumLayers: 26, NumHeads: 8, NumKVHeads: 4, HeadDim: 256,
			RMSNormEps: 1e-6, Context: 131072, TieEmbeddings: true},
		QueryScalar:   256,
		SlidingWindow: optional[int]{4096},
		Pattern:       6,
		RopeTheta:     1e6,
		RopeLocal:     10000,
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return c, configError(config, err)
	}
	if err := unsupported(config, gemmaHarmless); err != nil {
		return c, err
	}
	// Nothing published has it, and transformers does not apply it.
	if err := unsupported(config, map[string][]string{"attn_logit_softcapping": nil}); err != nil {
		return c, err
	}
	if err := wholeHeads(config); err != nil {
		return c, err
	}
	if !(c.QueryScalar > 0) || !(c.FinalSoftcap.Value >= 0) || c.Pattern <= 0 {
		return c, fmt.Errorf("config.json: query_pre_attn_scalar %g, final_logit_softcapping %g, sliding_window_pattern %d: positive numbers wanted, or null for no softcap",
			c.QueryScalar, c.FinalSoftcap.Value, c.Pattern)
	}
	return c, c.check()
}

// ropes are the rotations of the layers that see everything and of those with a window.
func (c gemma3Config) ropes() (global, local *tensor.RoPE, err error) {
	byType := map[string]*nn.RopeScaling{"full_attention": c.RopeScaling, "sliding_attention": nil}
	theta := map[string]float64{"full_attention": c.RopeTheta, "sliding_attention": c.RopeLocal}
	for _, kind := range slices.Sorted(maps.Keys(c.RopeParameters)) {
		if _, ok := byType[kind]; !ok {
			return nil, nil, fmt.Errorf("config.json: rope_parameters has %.40q (known: full_attention, sliding_attention)", kind)
		}
		if p := c.RopeParameters[kind]; p != nil {
			byType[kind], theta[kind] = p, cmp.Or(p.Theta, theta[kind])
		}
	}
	if global, err = newRoPE(c.sizes, theta["full_attention"], byType["full_attention"]); err != nil {
		return nil, nil, err
	}
	local, err = newRoPE(c.sizes, theta["sliding_attention"], byType["sliding_attention"])
	return global, local, err
}

func (m *gemma3) Forward(b *nn.Batch) *tensor.Tensor {
	x := gemmaEmbed(m.Embed, b, m.config.HiddenSize).Mark() // (N, C)
	for _, block := range m.Blocks {
		x = block.forward(x, b).Mark()
	}
	return m.Norm.Forward(x)
}

func (m *gemma3) Logits(h *tensor.Tensor) *tensor.Tensor {
	scores := m.LMHead.Forward(h) // (N, V)
	if c := m.config.FinalSoftcap.Value; c != 0 {
		scores = scores.Softcap(c)
	}
	return scores
}

func (m *gemma3) Dims() Dims { return m.config.dims() }

func (l *gemma3Block) forward(x *tensor.Tensor, b *nn.Batch) *tensor.Tensor {
	x = x.Add(l.PostAttnNorm.Forward(l.Attn.forward(l.AttnNorm.Forward(x), b)))
	x = x.Add(l.PostMLPNorm.Forward(l.MLP.Forward(l.MLPNorm.Forward(x))))
	return x
}

func (a *gemma3Attention) forward(x *tensor.Tensor, b *nn.Batch) *tensor.Tensor {
	q := nn.Heads(a.Q.Forward(x), a.heads)   // (N, H, D)
	k := nn.Heads(a.K.Forward(x), a.kvHeads) // (N, Hkv, D)
	v := nn.Heads(a.V.Forward(x), a.kvHeads) // (N, Hkv, D)

	q = a.QNorm.Forward(q).RoPE(b.Positions, a.rope)
	k = a.KNorm.Forward(k).RoPE(b.Positions, a.rope)

	return a.O.Forward(b.Attend(a.attn, q, k, v)) // (N, C)
}
