package models

import (
	"encoding/json"
	"math"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// Gemma and CodeGemma: Llama's blocks with a GELU gate, norms that scale by 1 + weight,
// embeddings multiplied by √C, heads of a size of their own, and a tied output.
//
//	https://arxiv.org/abs/2403.08295
//
// In the comments N is the number of tokens in the batch, C the hidden size, H and
// Hkv the query and key/value heads, D the head size.

type gemmaConfig struct {
	sizes
	rotary
	AttentionBias bool `json:"attention_bias"`
}

type gemma struct {
	Embed  *nn.Embedding `hf:"model.embed_tokens"`
	Blocks []*gemmaBlock `hf:"model.layers"`
	Norm   *nn.RMSNorm   `hf:"model.norm"`
	LMHead *nn.Linear    `hf:"lm_head"`

	config gemmaConfig
}

type gemmaBlock struct {
	AttnNorm *nn.RMSNorm     `hf:"input_layernorm"`
	Attn     *gemmaAttention `hf:"self_attn"`
	MLPNorm  *nn.RMSNorm     `hf:"post_attention_layernorm"`
	MLP      *nn.GatedMLP    `hf:"mlp"`
}

type gemmaAttention struct {
	Q *nn.Linear `hf:"q_proj"`
	K *nn.Linear `hf:"k_proj"`
	V *nn.Linear `hf:"v_proj"`
	O *nn.Linear `hf:"o_proj"`

	heads, kvHeads int
	rope           *tensor.RoPE
	attn           nn.Attn
}

func newGemma(config []byte) (Model, error) {
	c, err := readGemmaConfig(config)
	if err != nil {
		return nil, err
	}
	rope, err := c.rope(config, c.sizes)
	if err != nil {
		return nil, err
	}
	m := &gemma{
		Embed:  nn.NewEmbedding(c.VocabSize, c.HiddenSize),
		Blocks: make([]*gemmaBlock, c.NumLayers),
		Norm:   gemmaNorm(c.HiddenSize, c.RMSNormEps),
		config: c,
	}
	for i := range m.Blocks {
		m.Blocks[i] = &gemmaBlock{
			AttnNorm: gemmaNorm(c.HiddenSize, c.RMSNormEps),
			Attn: &gemmaAttention{
				Q:       nn.NewLinear(c.HiddenSize, c.NumHeads*c.HeadDim, c.AttentionBias),
				K:       nn.NewLinear(c.HiddenSize, c.NumKVHeads*c.HeadDim, c.AttentionBias),
				V:       nn.NewLinear(c.HiddenSize, c.NumKVHeads*c.HeadDim, c.AttentionBias),
				O:       nn.NewLinear(c.NumHeads*c.HeadDim, c.HiddenSize, c.AttentionBias),
				heads:   c.NumHeads,
				kvHeads: c.NumKVHeads,
				rope:    rope,
				attn:    nn.Attn{Layer: i, Scale: 1 / math.Sqrt(float64(c.HeadDim))},
			},
			MLPNorm: gemmaNorm(c.HiddenSize, c.RMSNormEps),
			MLP:     nn.NewGatedMLP(c.HiddenSize, c.IntermediateSize, tensor.GELUTanh, false),
		}
	}
	m.LMHead = c.head(m.Embed)
	return m, nil
}

// readGemmaConfig reads either spelling of config.json and refuses what cannot be.
func readGemmaConfig(config []byte) (gemmaConfig, error) {
	c := gemmaConfig{
		sizes:  sizes{HeadDim: 256, RMSNormEps: 1e-6, Context: 8192, TieEmbeddings: true},
		rotary: rotary{RopeTheta: 10000},
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return c, configError(config, err)
	}
	if err := unsupported(config, gemmaHarmless); err != nil {
		return c, err
	}
	return c, c.check()
}

// gemmaHarmless are the values that the Gemmas were trained with. The first
// checkpoints say "gelu" as hidden_act and mean its approximation by tanh, as
// transformers 4 takes it (https://github.com/huggingface/transformers/pull/29402).
var gemmaHarmless = map[string][]string{
	"hidden_act":                  {`"gelu"`, `"gelu_pytorch_tanh"`},
	"hidden_activation":           {`"gelu_pytorch_tanh"`},
	"use_bidirectional_attention": {"false"},
	"quantization_config":         nil,
}

// gemmaNorm declares a norm whose checkpoints store the scale's difference from 1.
func gemmaNorm(c int, eps float64) *nn.RMSNorm {
	return &nn.RMSNorm{Weight: tensor.Param(c), Eps: eps, Offset: 1}
}

// gemmaEmbed gives the embeddings of tokens times √C. The factor is that of float32:
// transformers rounds it to the type of the weights, in BF16 by up to 0.2 %.
func gemmaEmbed(e *nn.Embedding, b *nn.Batch, c int) *tensor.Tensor {
	return e.Forward(b.Tokens).Scale(math.Sqrt(float64(c)))
}

func (m *gemma) Forward(b *nn.Batch) *tensor.Tensor {
	x := gemmaEmbed(m.Embed, b, m.config.HiddenSize).Mark() // (N, C)
	for _, block := range m.Blocks {
		x = block.forward(x, b).Mark()
	}
	return m.Norm.Forward(x)
}

func (m *gemma) Logits(h *tensor.Tensor) *tensor.Tensor { return m.LMHead.Forward(h) }

func (m *gemma) Dims() Dims { return m.config.dims() }

func (l *gemmaBlock) forward(x *tensor.Tensor, b *nn.Batch) *tensor.Tensor {
	x = x.Add(l.Attn.forward(l.AttnNorm.Forward(x), b))
	x = x.Add(l.MLP.Forward(l.MLPNorm.Forward(x)))
	return x
}

func (a *gemmaAttention) forward(x *tensor.Tensor, b *nn.Batch) *tensor.Tensor {
	q := nn.Heads(a.Q.Forward(x), a.heads)   // (N, H, D)
	k := nn.Heads(a.K.Forward(x), a.kvHeads) // (N, Hkv, D)
	v := nn.Heads(a.V.Forward(x), a.kvHeads) // (N, Hkv, D)

	q = q.RoPE(b.Positions, a.rope)
	k = k.RoPE(b.Positions, a.rope)

	return a.O.Forward(b.Attend(a.attn, q, k, v)) // (N, C)
}
