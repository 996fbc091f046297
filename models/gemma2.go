package models

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// Gemma 2: Gemma with norms before and after attention and MLP, a window in every
// other layer, and scores and logits that are capped softly.
//
//	https://arxiv.org/abs/2408.00118
//
// In the comments N is the number of tokens in the batch, C the hidden size, H and
// Hkv the query and key/value heads, D the head size, V the vocabulary.

type gemma2Config struct {
	sizes
	rotary
	AttentionBias bool              `json:"attention_bias"`
	QueryScalar   float64           `json:"query_pre_attn_scalar"` // the scores are divided by its root
	AttnSoftcap   optional[float64] `json:"attn_logit_softcapping"`
	FinalSoftcap  optional[float64] `json:"final_logit_softcapping"`
	SlidingWindow optional[int]     `json:"sliding_window"`
	LayerTypes    []string          `json:"layer_types"` // transformers 5; without it the layers 0, 2, … have the window
}

type gemma2 struct {
	Embed  *nn.Embedding  `hf:"model.embed_tokens"`
	Blocks []*gemma2Block `hf:"model.layers"`
	Norm   *nn.RMSNorm    `hf:"model.norm"`
	LMHead *nn.Linear     `hf:"lm_head"`

	config gemma2Config
}

type gemma2Block struct {
	AttnNorm     *nn.RMSNorm      `hf:"input_layernorm"`
	Attn         *gemma2Attention `hf:"self_attn"`
	PostAttnNorm *nn.RMSNorm      `hf:"post_attention_layernorm"`
	MLPNorm      *nn.RMSNorm      `hf:"pre_feedforward_layernorm"`
	MLP          *nn.GatedMLP     `hf:"mlp"`
	PostMLPNorm  *nn.RMSNorm      `hf:"post_feedforward_layernorm"`
}

type gemma2Attention struct {
	Q *nn.Linear `hf:"q_proj"`
	K *nn.Linear `hf:"k_proj"`
	V *nn.Linear `hf:"v_proj"`
	O *nn.Linear `hf:"o_proj"`

	heads, kvHeads int
	rope           *tensor.RoPE
	attn           nn.Attn
}

func newGemma2(config []byte) (Model, error) {
	c, err := readGemma2Config(config)
	if err != nil {
		return nil, err
	}
	rope, err := c.rope(config, c.sizes)
	if err != nil {
		return nil, err
	}
	windows, err := windows(c.LayerTypes, c.NumLayers, c.SlidingWindow.Value, func(i int) bool { return i%2 == 0 })
	if err != nil {
		return nil, err
	}
	m := &gemma2{
		Embed:  nn.NewEmbedding(c.VocabSize, c.HiddenSize),
		Blocks: make([]*gemma2Block, c.NumLayers),
		Norm:   gemmaNorm(c.HiddenSize, c.RMSNormEps),
		config: c,
	}
	for i := range m.Blocks {
		m.Blocks[i] = &gemma2Block{
			AttnNorm: gemmaNorm(c.HiddenSize, c.RMSNormEps),
			Attn: &gemma2Attention{
				Q:       nn.NewLinear(c.HiddenSize, c.NumHeads*c.HeadDim, c.AttentionBias),
				K:       nn.NewLinear(c.HiddenSize, c.NumKVHeads*c.HeadDim, c.AttentionBias),
				V:       nn.NewLinear(c.HiddenSize, c.NumKVHeads*c.HeadDim, c.AttentionBias),
				O:       nn.NewLinear(c.NumHeads*c.HeadDim, c.HiddenSize, c.AttentionBias),
				heads:   c.NumHeads,
				kvHeads: c.NumKVHeads,
				rope:    rope,
				attn:    nn.Attn{Layer: i, Scale: 1 / math.Sqrt(c.QueryScalar), Softcap: c.AttnSoftcap.Value, Window: windows[i]},
			},
			PostAttnNorm: gemmaNorm(c.HiddenSize, c.RMSNormEps),
			MLPNorm:      gemmaNorm(c.HiddenSize, c.RMSNormEps),
			MLP:          nn.NewGatedMLP(c.HiddenSize, c.IntermediateSize, tensor.GELUTanh, false),
			PostMLPNorm:  gemmaNorm(c.HiddenSize, c.RMSNormEps),
		}
	}
	m.LMHead = c.head(m.Embed)
	return m, nil
}

// readGemma2Config reads either spelling of config.json and refuses what cannot be.
func readGemma2Config(config []byte) (gemma2Config, error) {
	c := gemma2Config{
		sizes:         sizes{HeadDim: 256, RMSNormEps: 1e-6, Context: 8192, TieEmbeddings: true},
		rotary:        rotary{RopeTheta: 10000},
		QueryScalar:   256,
		AttnSoftcap:   optional[float64]{50},
		FinalSoftcap:  optional[float64]{30},
		SlidingWindow: optional[int]{4096},
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return c, configError(config, err)
	}
	if err := unsupported(config, gemmaHarmless); err != nil {
		return c, err
	}
	if !(c.QueryScalar > 0) || !(c.AttnSoftcap.Value >= 0) || !(c.FinalSoftcap.Value >= 0) {
		return c, fmt.Errorf("config.json: query_pre_attn_scalar %g, attn_logit_softcapping %g, final_logit_softcapping %g: positive numbers wanted, or null for no softcap",
			c.QueryScalar, c.AttnSoftcap.Value, c.FinalSoftcap.Value)
	}
	return c, c.check()
}

func (m *gemma2) Forward(b *nn.Batch) *tensor.Tensor {
	x := gemmaEmbed(m.Embed, b, m.config.HiddenSize).Mark() // (N, C)
	for _, block := range m.Blocks {
		x = block.forward(x, b).Mark()
	}
	return m.Norm.Forward(x)
}

func (m *gemma2) Logits(h *tensor.Tensor) *tensor.Tensor {
	scores := m.LMHead.Forward(h) // (N, V)
	if c := m.config.FinalSoftcap.Value; c != 0 {
		scores = scores.Softcap(c)
	}
	return scores
}

func (m *gemma2) Dims() Dims { return m.config.dims() }

func (l *gemma2Block) forward(x *tensor.Tensor, b *nn.Batch) *tensor.Tensor {
	x = x.Add(l.PostAttnNorm.Forward(l.Attn.forward(l.AttnNorm.Forward(x), b)))
	x = x.Add(l.PostMLPNorm.Forward(l.MLP.Forward(l.MLPNorm.Forward(x))))
	return x
}

func (a *gemma2Attention) forward(x *tensor.Tensor, b *nn.Batch) *tensor.Tensor {
	q := nn.Heads(a.Q.Forward(x), a.heads)   // (N, H, D)
	k := nn.Heads(a.K.Forward(x), a.kvHeads) // (N, Hkv, D)
	v := nn.Heads(a.V.Forward(x), a.kvHeads) // (N, Hkv, D)

	q = q.RoPE(b.Positions, a.rope)
	k = k.RoPE(b.Positions, a.rope)

	return a.O.Forward(b.Attend(a.attn, q, k, v)) // (N, C)
}
