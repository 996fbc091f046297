package models

import (
	"encoding/json"
	"math"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// Qwen 3, the dense ones: no biases, and the queries and keys of every head are
// normalized before the rotation.
//
//	https://arxiv.org/abs/2505.09388
//
// In the comments N is the number of tokens in the batch, C the hidden size, H and
// Hkv the query and key/value heads, D the head size.

type qwen3Config struct {
	sizes
	rotary
	AttentionBias bool          `json:"attention_bias"`
	UseWindow     bool          `json:"use_sliding_window"`
	SlidingWindow optional[int] `json:"sliding_window"`
	WindowsFrom   int           `json:"max_window_layers"`
	LayerTypes    []string      `json:"layer_types"` // transformers 5: what the three above come to
}

type qwen3 struct {
	Embed  *nn.Embedding `hf:"model.embed_tokens"`
	Blocks []*qwen3Block `hf:"model.layers"`
	Norm   *nn.RMSNorm   `hf:"model.norm"`
	LMHead *nn.Linear    `hf:"lm_head"`

	config qwen3Config
}

type qwen3Block struct {
	AttnNorm *nn.RMSNorm     `hf:"input_layernorm"`
	Attn     *qwen3Attention `hf:"self_attn"`
	MLPNorm  *nn.RMSNorm     `hf:"post_attention_layernorm"`
	MLP      *nn.GatedMLP    `hf:"mlp"`
}

type qwen3Attention struct {
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

func newQwen3(config []byte) (Model, error) {
	c, err := readQwen3Config(config)
	if err != nil {
		return nil, err
	}
	rope, err := c.rope(config, c.sizes)
	if err != nil {
		return nil, err
	}
	windows, err := c.windows()
	if err != nil {
		return nil, err
	}
	m := &qwen3{
		Embed:  nn.NewEmbedding(c.VocabSize, c.HiddenSize),
		Blocks: make([]*qwen3Block, c.NumLayers),
		Norm:   nn.NewRMSNorm(c.HiddenSize, c.RMSNormEps),
		config: c,
	}
	for i := range m.Blocks {
		m.Blocks[i] = &qwen3Block{
			AttnNorm: nn.NewRMSNorm(c.HiddenSize, c.RMSNormEps),
			Attn: &qwen3Attention{
				Q:       nn.NewLinear(c.HiddenSize, c.NumHeads*c.HeadDim, c.AttentionBias),
				K:       nn.NewLinear(c.HiddenSize, c.NumKVHeads*c.HeadDim, c.AttentionBias),
				V:       nn.NewLinear(c.HiddenSize, c.NumKVHeads*c.HeadDim, c.AttentionBias),
				O:       nn.NewLinear(c.NumHeads*c.HeadDim, c.HiddenSize, c.AttentionBias),
				QNorm:   nn.NewRMSNorm(c.HeadDim, c.RMSNormEps),
				KNorm:   nn.NewRMSNorm(c.HeadDim, c.RMSNormEps),
				heads:   c.NumHeads,
				kvHeads: c.NumKVHeads,
				rope:    rope,
				attn:    nn.Attn{Layer: i, Scale: 1 / math.Sqrt(float64(c.HeadDim)), Window: windows[i]},
			},
			MLPNorm: nn.NewRMSNorm(c.HiddenSize, c.RMSNormEps),
			MLP:     nn.NewGatedMLP(c.HiddenSize, c.IntermediateSize, tensor.SiLU, false),
		}
	}
	m.LMHead = c.head(m.Embed)
	return m, nil
}

// readQwen3Config reads either spelling of config.json and refuses what cannot be.
func readQwen3Config(config []byte) (qwen3Config, error) {
	c := qwen3Config{
		sizes:         sizes{HeadDim: 128, RMSNormEps: 1e-6, Context: 32768},
		rotary:        rotary{RopeTheta: 10000},
		SlidingWindow: optional[int]{4096},
		WindowsFrom:   28,
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return c, configError(config, err)
	}
	if err := unsupported(config, map[string][]string{"hidden_act": {`"silu"`}, "quantization_config": nil}); err != nil {
		return c, err
	}
	return c, c.check()
}

// windows gives each layer's window; 0 is none.
func (c qwen3Config) windows() ([]int, error) {
	window := 0
	if c.UseWindow {
		window = c.SlidingWindow.Value
	}
	return windows(c.LayerTypes, c.NumLayers, window, func(i int) bool { return window != 0 && i >= c.WindowsFrom })
}

func (m *qwen3) Forward(b *nn.Batch) *tensor.Tensor {
	x := m.Embed.Forward(b.Tokens).Mark() // (N, C)
	for _, block := range m.Blocks {
		x = block.forward(x, b).Mark()
	}
	return m.Norm.Forward(x)
}

func (m *qwen3) Logits(h *tensor.Tensor) *tensor.Tensor { return m.LMHead.Forward(h) }

func (m *qwen3) Dims() Dims { return m.config.dims() }

func (l *qwen3Block) forward(x *tensor.Tensor, b *nn.Batch) *tensor.Tensor {
	x = x.Add(l.Attn.forward(l.AttnNorm.Forward(x), b))
	x = x.Add(l.MLP.Forward(l.MLPNorm.Forward(x)))
	return x
}

func (a *qwen3Attention) forward(x *tensor.Tensor, b *nn.Batch) *tensor.Tensor {
	q := nn.Heads(a.Q.Forward(x), a.heads)   // (N, H, D)
	k := nn.Heads(a.K.Forward(x), a.kvHeads) // (N, Hkv, D)
	v := nn.Heads(a.V.Forward(x), a.kvHeads) // (N, Hkv, D)

	q = a.QNorm.Forward(q).RoPE(b.Positions, a.rope)
	k = a.KNorm.Forward(k).RoPE(b.Positions, a.rope)

	return a.O.Forward(b.Attend(a.attn, q, k, v)) // (N, C)
}
