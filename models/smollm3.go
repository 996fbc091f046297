package models

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// SmolLM3: Llama's blocks, of which every fourth leaves out the rotation ("NoPE",
// https://arxiv.org/abs/2501.18795), so that it compares contents only.
//
//	https://huggingface.co/blog/smollm3
//
// In the comments N is the number of tokens in the batch, C the hidden size, H and
// Hkv the query and key/value heads, D the head size.

type smolLM3Config struct {
	sizes
	rotary
	AttentionBias bool     `json:"attention_bias"`
	MLPBias       bool     `json:"mlp_bias"`
	Rotates       []int    `json:"no_rope_layers"`         // per layer; in spite of its name 1 means that it rotates
	NoRopeEvery   int      `json:"no_rope_layer_interval"` // without the list: the last of as many does not
	UseWindow     bool     `json:"use_sliding_window"`
	SlidingWindow int      `json:"sliding_window"`
	LayerTypes    []string `json:"layer_types"` // without it, a window is for the layers that do not rotate
}

type smolLM3 struct {
	Embed  *nn.Embedding   `hf:"model.embed_tokens"`
	Blocks []*smolLM3Block `hf:"model.layers"`
	Norm   *nn.RMSNorm     `hf:"model.norm"`
	LMHead *nn.Linear      `hf:"lm_head"`

	config smolLM3Config
}

type smolLM3Block struct {
	AttnNorm *nn.RMSNorm       `hf:"input_layernorm"`
	Attn     *smolLM3Attention `hf:"self_attn"`
	MLPNorm  *nn.RMSNorm       `hf:"post_attention_layernorm"`
	MLP      *nn.GatedMLP      `hf:"mlp"`
}

type smolLM3Attention struct {
	Q *nn.Linear `hf:"q_proj"`
	K *nn.Linear `hf:"k_proj"`
	V *nn.Linear `hf:"v_proj"`
	O *nn.Linear `hf:"o_proj"`

	heads, kvHeads int
	rope           *tensor.RoPE // nil: positions are not seen
	attn           nn.Attn
}

func newSmolLM3(config []byte) (Model, error) {
	c, err := readSmolLM3Config(config)
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
	m := &smolLM3{
		Embed:  nn.NewEmbedding(c.VocabSize, c.HiddenSize),
		Blocks: make([]*smolLM3Block, c.NumLayers),
		Norm:   nn.NewRMSNorm(c.HiddenSize, c.RMSNormEps),
		config: c,
	}
	for i := range m.Blocks {
		m.Blocks[i] = &smolLM3Block{
			AttnNorm: nn.NewRMSNorm(c.HiddenSize, c.RMSNormEps),
			Attn: &smolLM3Attention{
				Q:       nn.NewLinear(c.HiddenSize, c.NumHeads*c.HeadDim, c.AttentionBias),
				K:       nn.NewLinear(c.HiddenSize, c.NumKVHeads*c.HeadDim, c.AttentionBias),
				V:       nn.NewLinear(c.HiddenSize, c.NumKVHeads*c.HeadDim, c.AttentionBias),
				O:       nn.NewLinear(c.NumHeads*c.HeadDim, c.HiddenSize, c.AttentionBias),
				heads:   c.NumHeads,
				kvHeads: c.NumKVHeads,
				rope:    rope,
				attn:    nn.Attn{Layer: i, Scale: 1 / math.Sqrt(float64(c.HeadDim)), Window: windows[i]},
			},
			MLPNorm: nn.NewRMSNorm(c.HiddenSize, c.RMSNormEps),
			MLP:     nn.NewGatedMLP(c.HiddenSize, c.IntermediateSize, tensor.SiLU, c.MLPBias),
		}
		if c.Rotates[i] == 0 {
			m.Blocks[i].Attn.rope = nil
		}
	}
	m.LMHead = c.head(m.Embed)
	return m, nil
}

// readSmolLM3Config reads either spelling of config.json and refuses what cannot be.
func readSmolLM3Config(config []byte) (smolLM3Config, error) {
	c := smolLM3Config{
		sizes:       sizes{RMSNormEps: 1e-6, Context: 32768, TieEmbeddings: true},
		rotary:      rotary{RopeTheta: 2e6},
		NoRopeEvery: 4,
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return c, configError(config, err)
	}
	if err := unsupported(config, map[string][]string{"hidden_act": {`"silu"`}, "quantization_config": nil}); err != nil {
		return c, err
	}
	if err := c.check(); err != nil {
		return c, err
	}
	if c.Rotates == nil {
		if c.NoRopeEvery <= 0 {
			return c, fmt.Errorf("config.json: no_rope_layer_interval is %d; a positive number wanted", c.NoRopeEvery)
		}
		c.Rotates = slices.Repeat([]int{1}, c.NumLayers)
		for i := c.NoRopeEvery - 1; i < c.NumLayers; i += c.NoRopeEvery {
			c.Rotates[i] = 0
		}
	}
	if len(c.Rotates) < c.NumLayers {
		return c, fmt.Errorf("config.json: no_rope_layers has %d entries for num_hidden_layers %d", len(c.Rotates), c.NumLayers)
	}
	return c, nil
}

// windows gives each layer's window; 0 is none.
func (c smolLM3Config) windows() ([]int, error) {
	if !c.UseWindow {
		return make([]int, c.NumLayers), nil // whatever the types of the layers
	}
	return windows(c.LayerTypes, c.NumLayers, c.SlidingWindow, func(i int) bool { return c.SlidingWindow != 0 && c.Rotates[i] == 0 })
}

func (m *smolLM3) Forward(b *nn.Batch) *tensor.Tensor {
	x := m.Embed.Forward(b.Tokens).Mark() // (N, C)
	for _, block := range m.Blocks {
		x = block.forward(x, b).Mark()
	}
	return m.Norm.Forward(x)
}

func (m *smolLM3) Logits(h *tensor.Tensor) *tensor.Tensor { return m.LMHead.Forward(h) }

func (m *smolLM3) Dims() Dims { return m.config.dims() }

func (l *smolLM3Block) forward(x *tensor.Tensor, b *nn.Batch) *tensor.Tensor {
	x = x.Add(l.Attn.forward(l.AttnNorm.Forward(x), b))
	x = x.Add(l.MLP.Forward(l.MLPNorm.Forward(x)))
	return x
}

func (a *smolLM3Attention) forward(x *tensor.Tensor, b *nn.Batch) *tensor.Tensor {
	q := nn.Heads(a.Q.Forward(x), a.heads)   // (N, H, D)
	k := nn.Heads(a.K.Forward(x), a.kvHeads) // (N, Hkv, D)
	v := nn.Heads(a.V.Forward(x), a.kvHeads) // (N, Hkv, D)

	if a.rope != nil {
		q = q.RoPE(b.Positions, a.rope)
		k = k.RoPE(b.Positions, a.rope)
	}

	return a.O.Forward(b.Attend(a.attn, q, k, v)) // (N, C)
}
