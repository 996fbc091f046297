package models

import (
	"cmp"
	"encoding/json"
	"fmt"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// Falcon 7B, 11B, 40B and 180B: one weight for queries and the few keys and values
// they share, attention and MLP side by side under one LayerNorm or two. The RW
// models, whose positions are ALiBi, are not this family.
//
//	https://arxiv.org/abs/2311.16867
//
// In the comments N is the number of tokens in the batch, C the hidden size, H and
// Hkv the query and key/value heads, D the head size, G = H/Hkv.

type falconConfig struct {
	VocabSize        int             `json:"vocab_size"`
	HiddenSize       int             `json:"hidden_size"`
	IntermediateSize int             `json:"ffn_hidden_size"` // 0 means 4·HiddenSize
	NumLayers        int             `json:"num_hidden_layers"`
	NumHeads         int             `json:"num_attention_heads"`
	NumKVHeads       int             `json:"num_kv_heads"` // read in the new architecture only; the old one has 1 or NumHeads
	Context          int             `json:"max_position_embeddings"`
	LayerNormEps     float64         `json:"layer_norm_epsilon"`
	Activation       string          `json:"activation"`
	New              bool            `json:"new_decoder_architecture"` // 11B, 40B, 180B
	MultiQuery       bool            `json:"multi_query"`              // in the old architecture: one key/value head
	Parallel         bool            `json:"parallel_attn"`
	Norms            int             `json:"num_ln_in_parallel_attn"` // in the new architecture; 0 means 2
	Bias             bool            `json:"bias"`
	RopeTheta        float64         `json:"rope_theta"`
	RopeScaling      *nn.RopeScaling `json:"rope_scaling"`
	RopeParameters   *nn.RopeScaling `json:"rope_parameters"` // transformers 5: both of the above
	TieEmbeddings    bool            `json:"tie_word_embeddings"`

	headDim    int
	activation tensor.Activation
}

type falcon struct {
	Embed  *nn.Embedding  `hf:"transformer.word_embeddings"`
	Blocks []*falconBlock `hf:"transformer.h"`
	Norm   *nn.LayerNorm  `hf:"transformer.ln_f"`
	LMHead *nn.Linear     `hf:"lm_head"`

	config falconConfig
}

// falconBlock has the norms of one of three layouts: InputNorm alone for both
// branches (7B, 11B), AttnNorm and MLPNorm side by side (40B, 180B), or InputNorm
// and PostNorm one after the other.
type falconBlock struct {
	InputNorm *nn.LayerNorm    `hf:"input_layernorm"`
	AttnNorm  *nn.LayerNorm    `hf:"ln_attn"`
	MLPNorm   *nn.LayerNorm    `hf:"ln_mlp"`
	PostNorm  *nn.LayerNorm    `hf:"post_attention_layernorm"`
	Attn      *falconAttention `hf:"self_attention"`
	MLP       *falconMLP       `hf:"mlp"`
}

type falconAttention struct {
	QKV *nn.Linear `hf:"query_key_value"` // for each key/value head, rows of its G queries, its key, its value
	O   *nn.Linear `hf:"dense"`

	heads, kvHeads, headDim int
	rope                    *tensor.RoPE
	attn                    nn.Attn
}

type falconMLP struct {
	Up   *nn.Linear `hf:"dense_h_to_4h"`
	Down *nn.Linear `hf:"dense_4h_to_h"`

	activation tensor.Activation
}

func newFalcon(config []byte) (Model, error) {
	c, err := readFalconConfig(config)
	if err != nil {
		return nil, err
	}
	rope, err := partialRoPE(c.headDim, 1, c.RopeTheta, c.RopeScaling)
	if err != nil {
		return nil, err
	}
	norm := func() *nn.LayerNorm { return nn.NewLayerNorm(c.HiddenSize, c.LayerNormEps, true) }
	m := &falcon{
		Embed:  nn.NewEmbedding(c.VocabSize, c.HiddenSize),
		Blocks: make([]*falconBlock, c.NumLayers),
		Norm:   norm(),
		config: c,
	}
	for i := range m.Blocks {
		block := &falconBlock{
			Attn: &falconAttention{
				QKV:     nn.NewLinear(c.HiddenSize, (c.NumHeads+2*c.NumKVHeads)*c.headDim, c.Bias),
				O:       nn.NewLinear(c.HiddenSize, c.HiddenSize, c.Bias),
				heads:   c.NumHeads,
				kvHeads: c.NumKVHeads,
				headDim: c.headDim,
				rope:    rope,
				attn:    nn.Attn{Layer: i, Scale: scale(c.headDim)},
			},
			MLP: &falconMLP{
				Up:         nn.NewLinear(c.HiddenSize, c.IntermediateSize, c.Bias),
				Down:       nn.NewLinear(c.IntermediateSize, c.HiddenSize, c.Bias),
				activation: c.activation,
			},
		}
		switch {
		case c.New && c.Norms == 2:
			block.AttnNorm, block.MLPNorm = norm(), norm()
		case c.New || c.Parallel:
			block.InputNorm = norm()
		default:
			block.InputNorm, block.PostNorm = norm(), norm()
		}
		m.Blocks[i] = block
	}
	if c.TieEmbeddings {
		m.LMHead = m.Embed.AsLinear()
	} else {
		m.LMHead = nn.NewLinear(c.HiddenSize, c.VocabSize, false)
	}
	return m, nil
}

func readFalconConfig(config []byte) (falconConfig, error) {
	c := falconConfig{LayerNormEps: 1e-5, RopeTheta: 10000, Context: 2048, Activation: "gelu", MultiQuery: true, Parallel: true, TieEmbeddings: true}
	if err := json.Unmarshal(config, &c); err != nil {
		return c, configError(config, err)
	}
	if err := unsupported(config, map[string][]string{
		"alibi": {"false"}, "apply_residual_connection_post_layernorm": {"false"}, "head_dim": nil, "quantization_config": nil,
	}); err != nil {
		return c, err
	}
	if p := c.RopeParameters; p != nil {
		c.RopeScaling, c.RopeTheta = p, cmp.Or(p.Theta, c.RopeTheta)
	}
	switch { // Falcon 7B's config.json says 71 key/value heads, and multi_query, which counts
	case c.New:
		c.NumKVHeads, c.Norms = cmp.Or(c.NumKVHeads, c.NumHeads), cmp.Or(c.Norms, 2)
	case c.MultiQuery:
		c.NumKVHeads = 1
	default:
		c.NumKVHeads = c.NumHeads
	}
	c.IntermediateSize = cmp.Or(c.IntermediateSize, 4*min(c.HiddenSize, 1<<28))
	if err := positive(map[string]int{"vocab_size": c.VocabSize, "hidden_size": c.HiddenSize, "ffn_hidden_size": c.IntermediateSize,
		"num_hidden_layers": c.NumLayers, "num_attention_heads": c.NumHeads, "num_kv_heads": c.NumKVHeads, "max_position_embeddings": c.Context}); err != nil {
		return c, err
	}
	if c.New && (!c.Parallel || c.Norms > 2 || c.Norms < 1) {
		return c, fmt.Errorf("config.json: new_decoder_architecture with parallel_attn %v and num_ln_in_parallel_attn %d: true, and 1 or 2 wanted", c.Parallel, c.Norms)
	}
	if !c.New && c.Norms > 1 {
		return c, fmt.Errorf("config.json: num_ln_in_parallel_attn %d without new_decoder_architecture: 1 or null wanted", c.Norms)
	}
	if err := cmp.Or(groups(c.NumHeads, c.NumKVHeads), bounds(c.NumLayers, c.LayerNormEps)); err != nil {
		return c, err
	}
	var err error
	if c.activation, err = activation("activation", c.Activation); err != nil {
		return c, err
	}
	c.headDim, err = splitHeads(c.HiddenSize, c.NumHeads)
	return c, err
}

func (m *falcon) Forward(b *nn.Batch) *tensor.Tensor {
	x := m.Embed.Forward(b.Tokens).Mark() // (N, C)
	for _, block := range m.Blocks {
		x = block.forward(x, b).Mark()
	}
	return m.Norm.Forward(x)
}

func (m *falcon) Logits(h *tensor.Tensor) *tensor.Tensor { return m.LMHead.Forward(h) }

func (l *falconBlock) forward(x *tensor.Tensor, b *nn.Batch) *tensor.Tensor {
	if l.AttnNorm != nil {
		attn := l.Attn.forward(l.AttnNorm.Forward(x), b)
		return x.Add(attn).Add(l.MLP.forward(l.MLPNorm.Forward(x)))
	}
	h := l.InputNorm.Forward(x)
	x = x.Add(l.Attn.forward(h, b))
	if l.PostNorm != nil {
		h = l.PostNorm.Forward(x)
	}
	return x.Add(l.MLP.forward(h))
}

func (a *falconAttention) forward(x *tensor.Tensor, b *nn.Batch) *tensor.Tensor {
	n, d, g := x.Dim(0), a.headDim, a.heads/a.kvHeads
	qkv := a.QKV.Forward(x).Reshape(n*a.kvHeads, (g+2)*d)
	q := qkv.Columns(0, g*d).Reshape(n, a.heads, d)       // (N, H, D)
	k := qkv.Columns(g*d, d).Reshape(n, a.kvHeads, d)     // (N, Hkv, D)
	v := qkv.Columns((g+1)*d, d).Reshape(n, a.kvHeads, d) // (N, Hkv, D)

	q = q.RoPE(b.Positions, a.rope)
	k = k.RoPE(b.Positions, a.rope)

	return a.O.Forward(b.Attend(a.attn, q, k, v)) // (N, C)
}

func (m *falconMLP) forward(x *tensor.Tensor) *tensor.Tensor {
	return m.Down.Forward(m.Up.Forward(x).Act(m.activation))
}

func (m *falcon) Dims() Dims {
	c := m.config
	return Dims{
		Layers: c.NumLayers, Hidden: c.HiddenSize, Vocab: c.VocabSize,
		Heads: c.NumHeads, KVHeads: c.NumKVHeads, HeadDim: c.headDim,
		Context: c.Context, Tied: c.TieEmbeddings,
	}
}

// LoRATargets are what LitGPT's switches mean in this family: rows of each key/value head in the fused weight.
func (m *falcon) LoRATargets() map[string][]Target {
	d, q := m.config.headDim, m.config.NumHeads/m.config.NumKVHeads*m.config.headDim
	return map[string][]Target{
		"query":      {{"query_key_value", nn.Rows{From: 0, To: q, Every: q + 2*d}}},
		"key":        {{"query_key_value", nn.Rows{From: q, To: q + d, Every: q + 2*d}}},
		"value":      {{"query_key_value", nn.Rows{From: q + d, To: q + 2*d, Every: q + 2*d}}},
		"projection": {{Layer: "dense"}},
		"mlp":        {{Layer: "dense_h_to_4h"}, {Layer: "dense_4h_to_h"}},
		"head":       {{Layer: "lm_head"}},
	}
}
