package models

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// GPT-NeoX: Pythia, Dolly 2, RedPajama-INCITE, StableLM and StableCode alpha.
// LayerNorms with biases, attention and MLP side by side or one after the other,
// part of each head rotated, and one weight for query, key and value.
//
//	https://arxiv.org/abs/2204.06745 (GPT-NeoX), https://arxiv.org/abs/2304.01373 (Pythia)
//
// In the comments N is the number of tokens in the batch, C the hidden size, H the
// heads, D the head size.

type neoxConfig struct {
	VocabSize        int             `json:"vocab_size"`
	HiddenSize       int             `json:"hidden_size"`
	IntermediateSize int             `json:"intermediate_size"`
	NumLayers        int             `json:"num_hidden_layers"`
	NumHeads         int             `json:"num_attention_heads"`
	Context          int             `json:"max_position_embeddings"`
	LayerNormEps     float64         `json:"layer_norm_eps"`
	Activation       string          `json:"hidden_act"`
	Parallel         bool            `json:"use_parallel_residual"`
	AttentionBias    bool            `json:"attention_bias"`
	Partial          float64         `json:"rotary_pct"` // of each head's channels
	RopeTheta        float64         `json:"rotary_emb_base"`
	RopeScaling      *nn.RopeScaling `json:"rope_scaling"`
	RopeParameters   *nn.RopeScaling `json:"rope_parameters"` // transformers 5: the three above
	TieEmbeddings    bool            `json:"tie_word_embeddings"`

	headDim    int
	activation tensor.Activation
}

type neox struct {
	Embed  *nn.Embedding `hf:"gpt_neox.embed_in"`
	Blocks []*neoxBlock  `hf:"gpt_neox.layers"`
	Norm   *nn.LayerNorm `hf:"gpt_neox.final_layer_norm"`
	LMHead *nn.Linear    `hf:"embed_out"`

	config neoxConfig
}

type neoxBlock struct {
	AttnNorm *nn.LayerNorm  `hf:"input_layernorm"`
	Attn     *neoxAttention `hf:"attention"`
	MLPNorm  *nn.LayerNorm  `hf:"post_attention_layernorm"`
	MLP      *neoxMLP       `hf:"mlp"`

	parallel bool
}

type neoxAttention struct {
	QKV *nn.Linear `hf:"query_key_value"` // for each head, rows of its query, key and value
	O   *nn.Linear `hf:"dense"`

	heads, headDim int
	rope           *tensor.RoPE
	attn           nn.Attn
}

type neoxMLP struct {
	Up   *nn.Linear `hf:"dense_h_to_4h"`
	Down *nn.Linear `hf:"dense_4h_to_h"`

	activation tensor.Activation
}

func newGPTNeoX(config []byte) (Model, error) {
	c, err := readNeoxConfig(config)
	if err != nil {
		return nil, err
	}
	rope, err := partialRoPE(c.headDim, c.Partial, c.RopeTheta, c.RopeScaling)
	if err != nil {
		return nil, err
	}
	m := &neox{
		Embed:  nn.NewEmbedding(c.VocabSize, c.HiddenSize),
		Blocks: make([]*neoxBlock, c.NumLayers),
		Norm:   nn.NewLayerNorm(c.HiddenSize, c.LayerNormEps, true),
		config: c,
	}
	for i := range m.Blocks {
		m.Blocks[i] = &neoxBlock{
			AttnNorm: nn.NewLayerNorm(c.HiddenSize, c.LayerNormEps, true),
			Attn: &neoxAttention{
				QKV:     nn.NewLinear(c.HiddenSize, 3*c.HiddenSize, c.AttentionBias),
				O:       nn.NewLinear(c.HiddenSize, c.HiddenSize, c.AttentionBias),
				heads:   c.NumHeads,
				headDim: c.headDim,
				rope:    rope,
				attn:    nn.Attn{Layer: i, Scale: scale(c.headDim)},
			},
			MLPNorm: nn.NewLayerNorm(c.HiddenSize, c.LayerNormEps, true),
			MLP: &neoxMLP{
				Up:         nn.NewLinear(c.HiddenSize, c.IntermediateSize, true),
				Down:       nn.NewLinear(c.IntermediateSize, c.HiddenSize, true),
				activation: c.activation,
			},
			parallel: c.Parallel,
		}
	}
	if c.TieEmbeddings {
		m.LMHead = m.Embed.AsLinear()
	} else {
		m.LMHead = nn.NewLinear(c.HiddenSize, c.VocabSize, false)
	}
	return m, nil
}

// activations are those of MLPs without a gate, by the names transformers has for them.
var activations = map[string]tensor.Activation{
	"gelu": tensor.GELU, "gelu_new": tensor.GELUTanh, "gelu_fast": tensor.GELUTanh, "gelu_pytorch_tanh": tensor.GELUTanh,
	"relu": tensor.ReLU, "silu": tensor.SiLU,
}

func activation(key, name string) (tensor.Activation, error) {
	a, ok := activations[name]
	if !ok {
		return 0, fmt.Errorf("config.json: %s is %.60q, which this model family does not have here (known: gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, relu, silu)", key, name)
	}
	return a, nil
}

func readNeoxConfig(config []byte) (neoxConfig, error) {
	c := neoxConfig{LayerNormEps: 1e-5, RopeTheta: 10000, Context: 2048, Partial: 0.25, Activation: "gelu", Parallel: true, AttentionBias: true}
	if err := json.Unmarshal(config, &c); err != nil {
		return c, configError(config, err)
	}
	if err := unsupported(config, map[string][]string{"head_dim": nil, "quantization_config": nil, "sliding_window": nil}); err != nil {
		return c, err
	}
	if p := c.RopeParameters; p != nil {
		c.RopeScaling, c.RopeTheta, c.Partial = p, cmp.Or(p.Theta, c.RopeTheta), cmp.Or(p.Partial, c.Partial)
	}
	if err := positive(map[string]int{"vocab_size": c.VocabSize, "hidden_size": c.HiddenSize, "intermediate_size": c.IntermediateSize,
		"num_hidden_layers": c.NumLayers, "num_attention_heads": c.NumHeads, "max_position_embeddings": c.Context}); err != nil {
		return c, err
	}
	if err := bounds(c.NumLayers, c.LayerNormEps); err != nil {
		return c, err
	}
	var err error
	if c.activation, err = activation("hidden_act", c.Activation); err != nil {
		return c, err
	}
	c.headDim, err = splitHeads(c.HiddenSize, c.NumHeads)
	return c, err
}

func (m *neox) Forward(b *nn.Batch) *tensor.Tensor {
	x := m.Embed.Forward(b.Tokens).Mark() // (N, C)
	for _, block := range m.Blocks {
		x = block.forward(x, b).Mark()
	}
	return m.Norm.Forward(x)
}

func (m *neox) Logits(h *tensor.Tensor) *tensor.Tensor { return m.LMHead.Forward(h) }

func (l *neoxBlock) forward(x *tensor.Tensor, b *nn.Batch) *tensor.Tensor {
	attn := x.Add(l.Attn.forward(l.AttnNorm.Forward(x), b))
	if !l.parallel {
		x = attn // what the MLP reads
	}
	return attn.Add(l.MLP.forward(l.MLPNorm.Forward(x)))
}

func (a *neoxAttention) forward(x *tensor.Tensor, b *nn.Batch) *tensor.Tensor {
	n, d := x.Dim(0), a.headDim
	qkv := a.QKV.Forward(x).Reshape(n*a.heads, 3*d)
	q := qkv.Columns(0, d).Reshape(n, a.heads, d)   // (N, H, D)
	k := qkv.Columns(d, d).Reshape(n, a.heads, d)   // (N, H, D)
	v := qkv.Columns(2*d, d).Reshape(n, a.heads, d) // (N, H, D)

	q = q.RoPE(b.Positions, a.rope)
	k = k.RoPE(b.Positions, a.rope)

	return a.O.Forward(b.Attend(a.attn, q, k, v)) // (N, C)
}

func (m *neoxMLP) forward(x *tensor.Tensor) *tensor.Tensor {
	return m.Down.Forward(m.Up.Forward(x).Act(m.activation))
}

func (m *neox) Dims() Dims {
	c := m.config
	return Dims{
		Layers: c.NumLayers, Hidden: c.HiddenSize, Vocab: c.VocabSize,
		Heads: c.NumHeads, KVHeads: c.NumHeads, HeadDim: c.headDim,
		Context: c.Context, Tied: c.TieEmbeddings,
	}
}

// LoRATargets are what LitGPT's switches mean in this family: rows of each head in the fused weight.
func (m *neox) LoRATargets() map[string][]Target {
	d := m.config.headDim
	return map[string][]Target{
		"query":      {{"query_key_value", nn.Rows{From: 0, To: d, Every: 3 * d}}},
		"key":        {{"query_key_value", nn.Rows{From: d, To: 2 * d, Every: 3 * d}}},
		"value":      {{"query_key_value", nn.Rows{From: 2 * d, To: 3 * d, Every: 3 * d}}},
		"projection": {{Layer: "dense"}},
		"mlp":        {{Layer: "dense_h_to_4h"}, {Layer: "dense_4h_to_h"}},
		"head":       {{Layer: "embed_out"}},
	}
}

// AdaptCheckpoint hides the causal masks that old checkpoints store, and gives the
// head its published name, which transformers 5 replaced in memory by lm_head.
func (m *neox) AdaptCheckpoint(src checkpoint.Source) checkpoint.Source { return neoxSource{src} }

type neoxSource struct{ checkpoint.Source }

func (s neoxSource) Names() (names []string) {
	for _, n := range s.Source.Names() {
		if strings.HasSuffix(n, ".attention.bias") || strings.HasSuffix(n, ".attention.masked_bias") {
			continue
		}
		if n == "lm_head.weight" {
			n = "embed_out.weight"
		}
		names = append(names, n)
	}
	return names
}

func (s neoxSource) Tensor(name string) (safetensors.Tensor, bool) {
	t, ok := s.Source.Tensor(name)
	if !ok && name == "embed_out.weight" {
		t, ok = s.Source.Tensor("lm_head.weight")
	}
	return t, ok
}

// Header implements checkpoint.Headers.
func (s neoxSource) Header(name string) (safetensors.Tensor, bool) {
	t, ok := checkpoint.Header(s.Source, name)
	if !ok && name == "embed_out.weight" {
		t, ok = checkpoint.Header(s.Source, "lm_head.weight")
	}
	return t, ok
}
