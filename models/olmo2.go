package models

import (
	"encoding/json"
	"math"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// OLMo 2: the norms stand behind attention and MLP instead of before them, and all
// of a token's queries together are normalized, and its keys, before they are split into heads.
//
//	https://arxiv.org/abs/2501.00656
//
// In the comments N is the number of tokens in the batch, C the hidden size, H and
// Hkv the query and key/value heads, D the head size.

type olmo2Config struct {
	sizes
	rotary
	AttentionBias bool `json:"attention_bias"`
}

type olmo2 struct {
	Embed  *nn.Embedding `hf:"model.embed_tokens"`
	Blocks []*olmo2Block `hf:"model.layers"`
	Norm   *nn.RMSNorm   `hf:"model.norm"`
	LMHead *nn.Linear    `hf:"lm_head"`

	config olmo2Config
}

type olmo2Block struct {
	Attn     *olmo2Attention `hf:"self_attn"`
	AttnNorm *nn.RMSNorm     `hf:"post_attention_layernorm"` // of the attention's result
	MLP      *nn.GatedMLP    `hf:"mlp"`
	MLPNorm  *nn.RMSNorm     `hf:"post_feedforward_layernorm"`
}

type olmo2Attention struct {
	Q *nn.Linear `hf:"q_proj"`
	K *nn.Linear `hf:"k_proj"`
	V *nn.Linear `hf:"v_proj"`
	O *nn.Linear `hf:"o_proj"`

	QNorm *nn.RMSNorm `hf:"q_norm"` // (H*D)
	KNorm *nn.RMSNorm `hf:"k_norm"` // (Hkv*D)

	heads, kvHeads int
	rope           *tensor.RoPE
	attn           nn.Attn
}

func newOlmo2(config []byte) (Model, error) {
	c, err := readOlmo2Config(config)
	if err != nil {
		return nil, err
	}
	rope, err := c.rope(config, c.sizes)
	if err != nil {
		return nil, err
	}
	m := &olmo2{
		Embed:  nn.NewEmbedding(c.VocabSize, c.HiddenSize),
		Blocks: make([]*olmo2Block, c.NumLayers),
		Norm:   nn.NewRMSNorm(c.HiddenSize, c.RMSNormEps),
		config: c,
	}
	for i := range m.Blocks {
		m.Blocks[i] = &olmo2Block{
			Attn: &olmo2Attention{
				Q:       nn.NewLinear(c.HiddenSize, c.NumHeads*c.HeadDim, c.AttentionBias),
				K:       nn.NewLinear(c.HiddenSize, c.NumKVHeads*c.HeadDim, c.AttentionBias),
				V:       nn.NewLinear(c.HiddenSize, c.NumKVHeads*c.HeadDim, c.AttentionBias),
				O:       nn.NewLinear(c.NumHeads*c.HeadDim, c.HiddenSize, c.AttentionBias),
				QNorm:   nn.NewRMSNorm(c.NumHeads*c.HeadDim, c.RMSNormEps),
				KNorm:   nn.NewRMSNorm(c.NumKVHeads*c.HeadDim, c.RMSNormEps),
				heads:   c.NumHeads,
				kvHeads: c.NumKVHeads,
				rope:    rope,
				attn:    nn.Attn{Layer: i, Scale: 1 / math.Sqrt(float64(c.HeadDim))},
			},
			AttnNorm: nn.NewRMSNorm(c.HiddenSize, c.RMSNormEps),
			MLP:      nn.NewGatedMLP(c.HiddenSize, c.IntermediateSize, tensor.SiLU, false),
			MLPNorm:  nn.NewRMSNorm(c.HiddenSize, c.RMSNormEps),
		}
	}
	m.LMHead = c.head(m.Embed)
	return m, nil
}

// readOlmo2Config reads either spelling of config.json and refuses what cannot be.
func readOlmo2Config(config []byte) (olmo2Config, error) {
	c := olmo2Config{
		sizes:  sizes{RMSNormEps: 1e-5, Context: 2048},
		rotary: rotary{RopeTheta: 10000},
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return c, configError(config, err)
	}
	// OLMo 3 has windows, and the architecture's name of its own.
	if err := unsupported(config, map[string][]string{"hidden_act": {`"silu"`}, "sliding_window": nil, "clip_qkv": nil, "quantization_config": nil}); err != nil {
		return c, err
	}
	return c, c.check()
}

func (m *olmo2) Forward(b *nn.Batch) *tensor.Tensor {
	x := m.Embed.Forward(b.Tokens).Mark() // (N, C)
	for _, block := range m.Blocks {
		x = block.forward(x, b).Mark()
	}
	return m.Norm.Forward(x)
}

func (m *olmo2) Logits(h *tensor.Tensor) *tensor.Tensor { return m.LMHead.Forward(h) }

func (m *olmo2) Dims() Dims { return m.config.dims() }

func (l *olmo2Block) forward(x *tensor.Tensor, b *nn.Batch) *tensor.Tensor {
	x = x.Add(l.AttnNorm.Forward(l.Attn.forward(x, b)))
	x = x.Add(l.MLPNorm.Forward(l.MLP.Forward(x)))
	return x
}

func (a *olmo2Attention) forward(x *tensor.Tensor, b *nn.Batch) *tensor.Tensor {
	q := nn.Heads(a.QNorm.Forward(a.Q.Forward(x)), a.heads)   // (N, H, D)
	k := nn.Heads(a.KNorm.Forward(a.K.Forward(x)), a.kvHeads) // (N, Hkv, D)
	v := nn.Heads(a.V.Forward(x), a.kvHeads)                  // (N, Hkv, D)

	q = q.RoPE(b.Positions, a.rope)
	k = k.RoPE(b.Positions, a.rope)

	return a.O.Forward(b.Attend(a.attn, q, k, v)) // (N, C)
}
