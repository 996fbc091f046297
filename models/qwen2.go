package models

import (
	"encoding/json"
	"math"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// Qwen 2, Qwen 2.5 (also Coder, Math and 1M) and QwQ: Llama's blocks with biases on
// queries, keys and values, whatever attention_bias would say. The layers from
// max_window_layers on may have a window; published checkpoints switch it off.
//
//	https://arxiv.org/abs/2407.10671 (Qwen2), https://arxiv.org/abs/2412.15115 (Qwen2.5)
//
// In the comments N is the number of tokens in the batch, C the hidden size, H and
// Hkv the query and key/value heads, D the head size.

type qwen2Config struct {
	sizes
	rotary
	UseWindow     bool          `json:"use_sliding_window"`
	SlidingWindow optional[int] `json:"sliding_window"`
	WindowsFrom   int           `json:"max_window_layers"`
	LayerTypes    []string      `json:"layer_types"` // transformers 5: what the three above come to
}

type qwen2 struct {
	Embed  *nn.Embedding `hf:"model.embed_tokens"`
	Blocks []*qwen2Block `hf:"model.layers"`
	Norm   *nn.RMSNorm   `hf:"model.norm"`
	LMHead *nn.Linear    `hf:"lm_head"`

	config qwen2Config
}

type qwen2Block struct {
	AttnNorm *nn.RMSNorm     `hf:"input_layernorm"`
	Attn     *qwen2Attention `hf:"self_attn"`
	MLPNorm  *nn.RMSNorm     `hf:"post_attention_layernorm"`
	MLP      *nn.GatedMLP    `hf:"mlp"`
}

type qwen2Attention struct {
	Q *nn.Linear `hf:"q_proj"`
	K *nn.Linear `hf:"k_proj"`
	V *nn.Linear `hf:"v_proj"`
	O *nn.Linear `hf:"o_proj"`

	heads, kvHeads int
	rope           *tensor.RoPE
	attn           nn.Attn
}

func newQwen2(config []byte) (Model, error) {
	c, err := readQwen2Config(config)
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
	m := &qwen2{
		Embed:  nn.NewEmbedding(c.VocabSize, c.HiddenSize),
		Blocks: make([]*qwen2Block, c.NumLayers),
		Norm:   nn.NewRMSNorm(c.HiddenSize, c.RMSNormEps),
		config: c,
	}
	for i := range m.Blocks {
		m.Blocks[i] = &qwen2Block{
			AttnNorm: nn.NewRMSNorm(c.HiddenSize, c.RMSNormEps),
			Attn: &qwen2Attention{
				Q:       nn.NewLinear(c.HiddenSize, c.NumHeads*c.HeadDim, true),
				K:       nn.NewLinear(c.HiddenSize, c.NumKVHeads*c.HeadDim, true),
				V:       nn.NewLinear(c.HiddenSize, c.NumKVHeads*c.HeadDim, true),
				O:       nn.NewLinear(c.NumHeads*c.HeadDim, c.HiddenSize, false),
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

// readQwen2Config reads either spelling of config.json and refuses what cannot be.
func readQwen2Config(config []byte) (qwen2Config, error) {
	c := qwen2Config{
		sizes:         sizes{RMSNormEps: 1e-6, Context: 32768},
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
func (c qwen2Config) windows() ([]int, error) {
	window := 0
	if c.UseWindow {
		window = c.SlidingWindow.Value
	}
	return windows(c.LayerTypes, c.NumLayers, window, func(i int) bool { return window != 0 && i >= c.WindowsFrom })
}

func (m *qwen2) Forward(b *nn.Batch) *tensor.Tensor {
	x := m.Embed.Forward(b.Tokens).Mark() // (N, C)
	for _, block := range m.Blocks {
		x = block.forward(x, b).Mark()
	}
	return m.Norm.Forward(x)
}

func (m *qwen2) Logits(h *tensor.Tensor) *tensor.Tensor { return m.LMHead.Forward(h) }

func (m *qwen2) Dims() Dims { return m.config.dims() }

func (l *qwen2Block) forward(x *tensor.Tensor, b *nn.Batch) *tensor.Tensor {
	x = x.Add(l.Attn.forward(l.AttnNorm.Forward(x), b))
	x = x.Add(l.MLP.Forward(l.MLPNorm.Forward(x)))
	return x
}

func (a *qwen2Attention) forward(x *tensor.Tensor, b *nn.Batch) *tensor.Tensor {
	q := nn.Heads(a.Q.Forward(x), a.heads)   // (N, H, D)
	k := nn.Heads(a.K.Forward(x), a.kvHeads) // (N, Hkv, D)
	v := nn.Heads(a.V.Forward(x), a.kvHeads) // (N, Hkv, D)

	q = q.RoPE(b.Positions, a.rope)
	k = k.RoPE(b.Positions, a.rope)

	return a.O.Forward(b.Attend(a.attn, q, k, v)) // (N, C)
}
