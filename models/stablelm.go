package models

import (
	"cmp"
	"encoding/json"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// StableLM 3B, StableLM 2 1.6B, Zephyr 3B and StableCode 3B: a Llama with
// LayerNorms, of whose heads a part is rotated. (The alpha models are GPT-NeoX.)
//
//	https://arxiv.org/abs/2402.17834
//
// In the comments N is the number of tokens in the batch, C the hidden size, H and
// Hkv the query and key/value heads, D the head size.

type stableLMConfig struct {
	VocabSize        int             `json:"vocab_size"`
	HiddenSize       int             `json:"hidden_size"`
	IntermediateSize int             `json:"intermediate_size"`
	NumLayers        int             `json:"num_hidden_layers"`
	NumHeads         int             `json:"num_attention_heads"`
	NumKVHeads       int             `json:"num_key_value_heads"` // 0 means NumHeads
	Context          int             `json:"max_position_embeddings"`
	LayerNormEps     float64         `json:"layer_norm_eps"`
	Partial          float64         `json:"partial_rotary_factor"` // of each head's channels
	RopeTheta        float64         `json:"rope_theta"`
	RopeScaling      *nn.RopeScaling `json:"rope_scaling"`
	RopeParameters   *nn.RopeScaling `json:"rope_parameters"` // transformers 5: the three above
	QKVBias          bool            `json:"use_qkv_bias"`    // StableLM 2
	TieEmbeddings    bool            `json:"tie_word_embeddings"`

	headDim int
}

type stableLM struct {
	Embed  *nn.Embedding    `hf:"model.embed_tokens"`
	Blocks []*stableLMBlock `hf:"model.layers"`
	Norm   *nn.LayerNorm    `hf:"model.norm"`
	LMHead *nn.Linear       `hf:"lm_head"`

	config stableLMConfig
}

type stableLMBlock struct {
	AttnNorm *nn.LayerNorm      `hf:"input_layernorm"`
	Attn     *stableLMAttention `hf:"self_attn"`
	MLPNorm  *nn.LayerNorm      `hf:"post_attention_layernorm"`
	MLP      *stableLMMLP       `hf:"mlp"`
}

type stableLMAttention struct {
	Q *nn.Linear `hf:"q_proj"`
	K *nn.Linear `hf:"k_proj"`
	V *nn.Linear `hf:"v_proj"`
	O *nn.Linear `hf:"o_proj"`

	heads, kvHeads int
	rope           *tensor.RoPE
	attn           nn.Attn
}

type stableLMMLP struct {
	Gate *nn.Linear `hf:"gate_proj"`
	Up   *nn.Linear `hf:"up_proj"`
	Down *nn.Linear `hf:"down_proj"`
}

func newStableLM(config []byte) (Model, error) {
	c, err := readStableLMConfig(config)
	if err != nil {
		return nil, err
	}
	rope, err := partialRoPE(c.headDim, c.Partial, c.RopeTheta, c.RopeScaling)
	if err != nil {
		return nil, err
	}
	m := &stableLM{
		Embed:  nn.NewEmbedding(c.VocabSize, c.HiddenSize),
		Blocks: make([]*stableLMBlock, c.NumLayers),
		Norm:   nn.NewLayerNorm(c.HiddenSize, c.LayerNormEps, true),
		config: c,
	}
	for i := range m.Blocks {
		m.Blocks[i] = &stableLMBlock{
			AttnNorm: nn.NewLayerNorm(c.HiddenSize, c.LayerNormEps, true),
			Attn: &stableLMAttention{
				Q:       nn.NewLinear(c.HiddenSize, c.HiddenSize, c.QKVBias),
				K:       nn.NewLinear(c.HiddenSize, c.NumKVHeads*c.headDim, c.QKVBias),
				V:       nn.NewLinear(c.HiddenSize, c.NumKVHeads*c.headDim, c.QKVBias),
				O:       nn.NewLinear(c.HiddenSize, c.HiddenSize, false),
				heads:   c.NumHeads,
				kvHeads: c.NumKVHeads,
				rope:    rope,
				attn:    nn.Attn{Layer: i, Scale: scale(c.headDim)},
			},
			MLPNorm: nn.NewLayerNorm(c.HiddenSize, c.LayerNormEps, true),
			MLP: &stableLMMLP{
				Gate: nn.NewLinear(c.HiddenSize, c.IntermediateSize, false),
				Up:   nn.NewLinear(c.HiddenSize, c.IntermediateSize, false),
				Down: nn.NewLinear(c.IntermediateSize, c.HiddenSize, false),
			},
		}
	}
	if c.TieEmbeddings {
		m.LMHead = m.Embed.AsLinear()
	} else {
		m.LMHead = nn.NewLinear(c.HiddenSize, c.VocabSize, false)
	}
	return m, nil
}

func readStableLMConfig(config []byte) (stableLMConfig, error) {
	c := stableLMConfig{LayerNormEps: 1e-5, RopeTheta: 10000, Context: 4096, Partial: 0.25}
	if err := json.Unmarshal(config, &c); err != nil {
		return c, configError(config, err)
	}
	// StableLM 2 12B has the second and third.
	if err := unsupported(config, map[string][]string{
		"hidden_act": {`"silu"`}, "qk_layernorm": {"false"}, "use_parallel_residual": {"false"}, "head_dim": nil, "quantization_config": nil, "sliding_window": nil,
	}); err != nil {
		return c, err
	}
	if p := c.RopeParameters; p != nil {
		c.RopeScaling, c.RopeTheta, c.Partial = p, cmp.Or(p.Theta, c.RopeTheta), cmp.Or(p.Partial, c.Partial)
	}
	c.NumKVHeads = cmp.Or(c.NumKVHeads, c.NumHeads)
	if err := positive(map[string]int{"vocab_size": c.VocabSize, "hidden_size": c.HiddenSize, "intermediate_size": c.IntermediateSize,
		"num_hidden_layers": c.NumLayers, "num_attention_heads": c.NumHeads, "num_key_value_heads": c.NumKVHeads, "max_position_embeddings": c.Context}); err != nil {
		return c, err
	}
	if err := cmp.Or(groups(c.NumHeads, c.NumKVHeads), bounds(c.NumLayers, c.LayerNormEps)); err != nil {
		return c, err
	}
	var err error
	c.headDim, err = splitHeads(c.HiddenSize, c.NumHeads)
	return c, err
}

func (m *stableLM) Forward(b *nn.Batch) *tensor.Tensor {
	x := m.Embed.Forward(b.Tokens).Mark() // (N, C)
	for _, block := range m.Blocks {
		x = block.forward(x, b).Mark()
	}
	return m.Norm.Forward(x)
}

func (m *stableLM) Logits(h *tensor.Tensor) *tensor.Tensor { return m.LMHead.Forward(h) }

func (l *stableLMBlock) forward(x *tensor.Tensor, b *nn.Batch) *tensor.Tensor {
	x = x.Add(l.Attn.forward(l.AttnNorm.Forward(x), b))
	x = x.Add(l.MLP.forward(l.MLPNorm.Forward(x)))
	return x
}

func (a *stableLMAttention) forward(x *tensor.Tensor, b *nn.Batch) *tensor.Tensor {
	q := nn.Heads(a.Q.Forward(x), a.heads)   // (N, H, D)
	k := nn.Heads(a.K.Forward(x), a.kvHeads) // (N, Hkv, D)
	v := nn.Heads(a.V.Forward(x), a.kvHeads) // (N, Hkv, D)

	q = q.RoPE(b.Positions, a.rope)
	k = k.RoPE(b.Positions, a.rope)

	return a.O.Forward(b.Attend(a.attn, q, k, v)) // (N, C)
}

func (m *stableLMMLP) forward(x *tensor.Tensor) *tensor.Tensor {
	return m.Down.Forward(m.Gate.Forward(x).SwiGLU(m.Up.Forward(x)))
}

func (m *stableLM) Dims() Dims {
	c := m.config
	return Dims{
		Layers: c.NumLayers, Hidden: c.HiddenSize, Vocab: c.VocabSize,
		Heads: c.NumHeads, KVHeads: c.NumKVHeads, HeadDim: c.headDim,
		Context: c.Context, Tied: c.TieEmbeddings,
	}
}
