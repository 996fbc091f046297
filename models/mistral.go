package models

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// Mistral 7B, Mathstral, Mistral Nemo and Mistral Large: Llama's blocks without
// biases, and in version 0.1 a window that every layer's attention has.
//
//	https://arxiv.org/abs/2310.06825
//
// In the comments N is the number of tokens in the batch, C the hidden size, H and
// Hkv the query and key/value heads, D the head size.

type mistralConfig struct {
	sizes
	rotary
	SlidingWindow optional[int] `json:"sliding_window"` // null since version 0.2
}

type mistral struct {
	Embed  *nn.Embedding   `hf:"model.embed_tokens"`
	Blocks []*mistralBlock `hf:"model.layers"`
	Norm   *nn.RMSNorm     `hf:"model.norm"`
	LMHead *nn.Linear      `hf:"lm_head"`

	config mistralConfig
}

type mistralBlock struct {
	AttnNorm *nn.RMSNorm       `hf:"input_layernorm"`
	Attn     *mistralAttention `hf:"self_attn"`
	MLPNorm  *nn.RMSNorm       `hf:"post_attention_layernorm"`
	MLP      *nn.GatedMLP      `hf:"mlp"`
}

type mistralAttention struct {
	Q *nn.Linear `hf:"q_proj"`
	K *nn.Linear `hf:"k_proj"`
	V *nn.Linear `hf:"v_proj"`
	O *nn.Linear `hf:"o_proj"`

	heads, kvHeads int
	rope           *tensor.RoPE
	attn           nn.Attn
}

func newMistral(config []byte) (Model, error) {
	c, err := readMistralConfig(config)
	if err != nil {
		return nil, err
	}
	rope, err := c.rope(config, c.sizes)
	if err != nil {
		return nil, err
	}
	m := &mistral{
		Embed:  nn.NewEmbedding(c.VocabSize, c.HiddenSize),
		Blocks: make([]*mistralBlock, c.NumLayers),
		Norm:   nn.NewRMSNorm(c.HiddenSize, c.RMSNormEps),
		config: c,
	}
	for i := range m.Blocks {
		m.Blocks[i] = &mistralBlock{
			AttnNorm: nn.NewRMSNorm(c.HiddenSize, c.RMSNormEps),
			Attn: &mistralAttention{
				Q:       nn.NewLinear(c.HiddenSize, c.NumHeads*c.HeadDim, false),
				K:       nn.NewLinear(c.HiddenSize, c.NumKVHeads*c.HeadDim, false),
				V:       nn.NewLinear(c.HiddenSize, c.NumKVHeads*c.HeadDim, false),
				O:       nn.NewLinear(c.NumHeads*c.HeadDim, c.HiddenSize, false),
				heads:   c.NumHeads,
				kvHeads: c.NumKVHeads,
				rope:    rope,
				attn:    nn.Attn{Layer: i, Scale: 1 / math.Sqrt(float64(c.HeadDim)), Window: c.SlidingWindow.Value},
			},
			MLPNorm: nn.NewRMSNorm(c.HiddenSize, c.RMSNormEps),
			MLP:     nn.NewGatedMLP(c.HiddenSize, c.IntermediateSize, tensor.SiLU, false),
		}
	}
	m.LMHead = c.head(m.Embed)
	return m, nil
}

// readMistralConfig reads either spelling of config.json and refuses what cannot be.
func readMistralConfig(config []byte) (mistralConfig, error) {
	c := mistralConfig{
		sizes:         sizes{NumKVHeads: 8, RMSNormEps: 1e-6, Context: 131072},
		rotary:        rotary{RopeTheta: 10000},
		SlidingWindow: optional[int]{4096},
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return c, configError(config, err)
	}
	// Layers of different kinds are Ministral's, another architecture.
	if err := unsupported(config, map[string][]string{"hidden_act": {`"silu"`}, "layer_types": nil, "quantization_config": nil}); err != nil {
		return c, err
	}
	if c.SlidingWindow.Value < 0 {
		return c, fmt.Errorf("config.json: sliding_window is %d; a positive number or null wanted", c.SlidingWindow.Value)
	}
	return c, c.check()
}

func (m *mistral) Forward(b *nn.Batch) *tensor.Tensor {
	x := m.Embed.Forward(b.Tokens).Mark() // (N, C)
	for _, block := range m.Blocks {
		x = block.forward(x, b).Mark()
	}
	return m.Norm.Forward(x)
}

func (m *mistral) Logits(h *tensor.Tensor) *tensor.Tensor { return m.LMHead.Forward(h) }

func (m *mistral) Dims() Dims { return m.config.dims() }

func (l *mistralBlock) forward(x *tensor.Tensor, b *nn.Batch) *tensor.Tensor {
	x = x.Add(l.Attn.forward(l.AttnNorm.Forward(x), b))
	x = x.Add(l.MLP.Forward(l.MLPNorm.Forward(x)))
	return x
}

func (a *mistralAttention) forward(x *tensor.Tensor, b *nn.Batch) *tensor.Tensor {
	q := nn.Heads(a.Q.Forward(x), a.heads)   // (N, H, D)
	k := nn.Heads(a.K.Forward(x), a.kvHeads) // (N, Hkv, D)
	v := nn.Heads(a.V.Forward(x), a.kvHeads) // (N, Hkv, D)

	q = q.RoPE(b.Positions, a.rope)
	k = k.RoPE(b.Positions, a.rope)

	return a.O.Forward(b.Attend(a.attn, q, k, v)) // (N, C)
}
