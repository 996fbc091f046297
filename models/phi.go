package models

import (
	"cmp"
	"encoding/json"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// Phi 1, 1.5 and 2: attention and MLP read one LayerNorm and are added to the
// residual together, part of each head is rotated, and every layer has a bias.
//
//	https://arxiv.org/abs/2309.05463 (Phi 1.5)
//
// In the comments N is the number of tokens in the batch, C the hidden size, H and
// Hkv the query and key/value heads, D the head size, V the vocabulary. Dropout of
// pretraining (resid_pdrop, embd_pdrop) is not used: finetuning has its own.

type phiConfig struct {
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
	TieEmbeddings    bool            `json:"tie_word_embeddings"`

	headDim int
}

type phi struct {
	Embed  *nn.Embedding `hf:"model.embed_tokens"`
	Blocks []*phiBlock   `hf:"model.layers"`
	Norm   *nn.LayerNorm `hf:"model.final_layernorm"`
	LMHead *nn.Linear    `hf:"lm_head"`

	config phiConfig
}

type phiBlock struct {
	Norm *nn.LayerNorm `hf:"input_layernorm"`
	Attn *phiAttention `hf:"self_attn"`
	MLP  *phiMLP       `hf:"mlp"`
}

type phiAttention struct {
	Q *nn.Linear `hf:"q_proj"`
	K *nn.Linear `hf:"k_proj"`
	V *nn.Linear `hf:"v_proj"`
	O *nn.Linear `hf:"dense"`

	heads, kvHeads int
	rope           *tensor.RoPE
	attn           nn.Attn
}

type phiMLP struct {
	Up   *nn.Linear `hf:"fc1"`
	Down *nn.Linear `hf:"fc2"`
}

func newPhi(config []byte) (Model, error) {
	c, err := readPhiConfig(config)
	if err != nil {
		return nil, err
	}
	rope, err := partialRoPE(c.headDim, c.Partial, c.RopeTheta, c.RopeScaling)
	if err != nil {
		return nil, err
	}
	m := &phi{
		Embed:  nn.NewEmbedding(c.VocabSize, c.HiddenSize),
		Blocks: make([]*phiBlock, c.NumLayers),
		Norm:   nn.NewLayerNorm(c.HiddenSize, c.LayerNormEps, true),
		LMHead: &nn.Linear{Bias: tensor.Param(c.VocabSize)},
		config: c,
	}
	for i := range m.Blocks {
		m.Blocks[i] = &phiBlock{
			Norm: nn.NewLayerNorm(c.HiddenSize, c.LayerNormEps, true),
			Attn: &phiAttention{
				Q:       nn.NewLinear(c.HiddenSize, c.HiddenSize, true),
				K:       nn.NewLinear(c.HiddenSize, c.NumKVHeads*c.headDim, true),
				V:       nn.NewLinear(c.HiddenSize, c.NumKVHeads*c.headDim, true),
				O:       nn.NewLinear(c.HiddenSize, c.HiddenSize, true),
				heads:   c.NumHeads,
				kvHeads: c.NumKVHeads,
				rope:    rope,
				attn:    nn.Attn{Layer: i, Scale: scale(c.headDim)},
			},
			MLP: &phiMLP{
				Up:   nn.NewLinear(c.HiddenSize, c.IntermediateSize, true),
				Down: nn.NewLinear(c.IntermediateSize, c.HiddenSize, true),
			},
		}
	}
	if c.TieEmbeddings { // the head's bias is its own in any case
		m.LMHead.Weight = m.Embed.Weight
	} else {
		m.LMHead.Weight = tensor.Param(c.VocabSize, c.HiddenSize)
	}
	return m, nil
}

func readPhiConfig(config []byte) (phiConfig, error) {
	c := phiConfig{LayerNormEps: 1e-5, RopeTheta: 10000, Context: 2048, Partial: 0.5}
	if err := json.Unmarshal(config, &c); err != nil {
		return c, configError(config, err)
	}
	if err := unsupported(config, map[string][]string{
		"hidden_act": {`"gelu_new"`, `"gelu_pytorch_tanh"`}, "qk_layernorm": {"false"}, "head_dim": nil, "quantization_config": nil, "sliding_window": nil,
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

func (m *phi) Forward(b *nn.Batch) *tensor.Tensor {
	x := m.Embed.Forward(b.Tokens).Mark() // (N, C)
	for _, block := range m.Blocks {
		x = block.forward(x, b).Mark()
	}
	return m.Norm.Forward(x)
}

func (m *phi) Logits(h *tensor.Tensor) *tensor.Tensor { return m.LMHead.Forward(h) }

func (l *phiBlock) forward(x *tensor.Tensor, b *nn.Batch) *tensor.Tensor {
	h := l.Norm.Forward(x)
	return x.Add(l.Attn.forward(h, b)).Add(l.MLP.forward(h))
}

func (a *phiAttention) forward(x *tensor.Tensor, b *nn.Batch) *tensor.Tensor {
	q := nn.Heads(a.Q.Forward(x), a.heads)   // (N, H, D)
	k := nn.Heads(a.K.Forward(x), a.kvHeads) // (N, Hkv, D)
	v := nn.Heads(a.V.Forward(x), a.kvHeads) // (N, Hkv, D)

	q = q.RoPE(b.Positions, a.rope)
	k = k.RoPE(b.Positions, a.rope)

	return a.O.Forward(b.Attend(a.attn, q, k, v)) // (N, C)
}

func (m *phiMLP) forward(x *tensor.Tensor) *tensor.Tensor {
	return m.Down.Forward(m.Up.Forward(x).Act(tensor.GELUTanh))
}

func (m *phi) Dims() Dims {
	c := m.config
	return Dims{
		Layers: c.NumLayers, Hidden: c.HiddenSize, Vocab: c.VocabSize,
		Heads: c.NumHeads, KVHeads: c.NumKVHeads, HeadDim: c.headDim,
		Context: c.Context, Tied: c.TieEmbeddings,
	}
}

// LoRATargets are what LitGPT's switches mean in this family.
func (m *phi) LoRATargets() map[string][]Target {
	return map[string][]Target{
		"query":      {{Layer: "q_proj"}},
		"key":        {{Layer: "k_proj"}},
		"value":      {{Layer: "v_proj"}},
		"projection": {{Layer: "dense"}},
		"mlp":        {{Layer: "fc1"}, {Layer: "fc2"}},
		"head":       {{Layer: "lm_head"}},
	}
}
