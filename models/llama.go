package models

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// Llama 1 to 3.3, Code Llama, TinyLlama, SmolLM2 and all others that call
// themselves LlamaForCausalLM: pre-norm blocks, rotary positions, grouped-query
// attention, SwiGLU.
//
//	https://arxiv.org/abs/2302.13971 (Llama), https://arxiv.org/abs/2307.09288 (Llama 2),
//	https://arxiv.org/abs/2308.12950 (Code Llama), https://arxiv.org/abs/2407.21783 (Llama 3)
//
// In the comments N is the number of tokens in the batch, C the hidden size, H and
// Hkv the query and key/value heads, D the head size, V the vocabulary.

type llamaConfig struct {
	VocabSize        int             `json:"vocab_size"`
	HiddenSize       int             `json:"hidden_size"`
	IntermediateSize int             `json:"intermediate_size"`
	NumLayers        int             `json:"num_hidden_layers"`
	NumHeads         int             `json:"num_attention_heads"`
	NumKVHeads       int             `json:"num_key_value_heads"` // 0 means NumHeads
	HeadDim          int             `json:"head_dim"`            // 0 means HiddenSize / NumHeads
	Context          int             `json:"max_position_embeddings"`
	RMSNormEps       float64         `json:"rms_norm_eps"`
	RopeTheta        float64         `json:"rope_theta"`
	RopeScaling      *nn.RopeScaling `json:"rope_scaling"`    // Llama 3.1 and later
	RopeParameters   *nn.RopeScaling `json:"rope_parameters"` // transformers 5: both of the above
	AttentionBias    bool            `json:"attention_bias"`
	MLPBias          bool            `json:"mlp_bias"`
	TieEmbeddings    bool            `json:"tie_word_embeddings"` // Llama 3.2 1B and 3B
}

type llama struct {
	Embed  *nn.Embedding `hf:"model.embed_tokens"`
	Blocks []*llamaBlock `hf:"model.layers"`
	Norm   *nn.RMSNorm   `hf:"model.norm"`
	LMHead *nn.Linear    `hf:"lm_head"`

	config llamaConfig
}

type llamaBlock struct {
	AttnNorm *nn.RMSNorm     `hf:"input_layernorm"`
	Attn     *llamaAttention `hf:"self_attn"`
	MLPNorm  *nn.RMSNorm     `hf:"post_attention_layernorm"`
	MLP      *llamaMLP       `hf:"mlp"`
}

type llamaAttention struct {
	Q *nn.Linear `hf:"q_proj"`
	K *nn.Linear `hf:"k_proj"`
	V *nn.Linear `hf:"v_proj"`
	O *nn.Linear `hf:"o_proj"`

	heads, kvHeads int
	rope           *tensor.RoPE
	attn           nn.Attn
}

type llamaMLP struct {
	Gate *nn.Linear `hf:"gate_proj"`
	Up   *nn.Linear `hf:"up_proj"`
	Down *nn.Linear `hf:"down_proj"`
}

func newLlama(config []byte) (Model, error) {
	c, err := readLlamaConfig(config)
	if err != nil {
		return nil, err
	}
	rope, err := nn.NewRoPE(c.HeadDim, c.RopeTheta, c.RopeScaling)
	if err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}

	m := &llama{
		Embed:  nn.NewEmbedding(c.VocabSize, c.HiddenSize),
		Blocks: make([]*llamaBlock, c.NumLayers),
		Norm:   nn.NewRMSNorm(c.HiddenSize, c.RMSNormEps),
		config: c,
	}
	for i := range m.Blocks {
		m.Blocks[i] = &llamaBlock{
			AttnNorm: nn.NewRMSNorm(c.HiddenSize, c.RMSNormEps),
			Attn: &llamaAttention{
				Q:       nn.NewLinear(c.HiddenSize, c.NumHeads*c.HeadDim, c.AttentionBias),
				K:       nn.NewLinear(c.HiddenSize, c.NumKVHeads*c.HeadDim, c.AttentionBias),
				V:       nn.NewLinear(c.HiddenSize, c.NumKVHeads*c.HeadDim, c.AttentionBias),
				O:       nn.NewLinear(c.NumHeads*c.HeadDim, c.HiddenSize, c.AttentionBias),
				heads:   c.NumHeads,
				kvHeads: c.NumKVHeads,
				rope:    rope,
				attn:    nn.Attn{Layer: i, Scale: 1 / math.Sqrt(float64(c.HeadDim))},
			},
			MLPNorm: nn.NewRMSNorm(c.HiddenSize, c.RMSNormEps),
			MLP: &llamaMLP{
				Gate: nn.NewLinear(c.HiddenSize, c.IntermediateSize, c.MLPBias),
				Up:   nn.NewLinear(c.HiddenSize, c.IntermediateSize, c.MLPBias),
				Down: nn.NewLinear(c.IntermediateSize, c.HiddenSize, c.MLPBias),
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

// readLlamaConfig reads either spelling of config.json and refuses what cannot be.
func readLlamaConfig(config []byte) (llamaConfig, error) {
	c := llamaConfig{RMSNormEps: 1e-6, RopeTheta: 10000, Context: 2048}
	if err := json.Unmarshal(config, &c); err != nil {
		return c, configError(config, err)
	}
	if err := unsupported(config, map[string][]string{
		"hidden_act": {`"silu"`}, "sliding_window": nil, "quantization_config": nil, "partial_rotary_factor": {"1", "1.0"},
	}); err != nil {
		return c, err
	}
	if p := c.RopeParameters; p != nil {
		c.RopeScaling, c.RopeTheta = p, cmp.Or(p.Theta, c.RopeTheta)
	}
	c.NumKVHeads = cmp.Or(c.NumKVHeads, c.NumHeads)
	if c.NumHeads > 0 {
		if c.HeadDim == 0 && c.HiddenSize%c.NumHeads != 0 {
			return c, fmt.Errorf("config.json: num_attention_heads %d does not divide hidden_size %d, and there is no head_dim", c.NumHeads, c.HiddenSize)
		}
		c.HeadDim = cmp.Or(c.HeadDim, c.HiddenSize/c.NumHeads)
	}
	if err := positive(map[string]int{"vocab_size": c.VocabSize, "hidden_size": c.HiddenSize, "intermediate_size": c.IntermediateSize,
		"num_hidden_layers": c.NumLayers, "num_attention_heads": c.NumHeads, "num_key_value_heads": c.NumKVHeads, "head_dim": c.HeadDim,
		"max_position_embeddings": c.Context}); err != nil {
		return c, err
	}
	if c.NumHeads%c.NumKVHeads != 0 {
		return c, fmt.Errorf("config.json: num_key_value_heads %d does not divide num_attention_heads %d", c.NumKVHeads, c.NumHeads)
	}
	if c.NumLayers > 10000 || !(c.RMSNormEps >= 0 && c.RMSNormEps < 1) {
		return c, fmt.Errorf("config.json: num_hidden_layers %d, rms_norm_eps %g: at most 10000 layers and an epsilon below 1 wanted", c.NumLayers, c.RMSNormEps)
	}
	return c, nil
}

func (m *llama) Forward(b *nn.Batch) *tensor.Tensor {
	x := m.Embed.Forward(b.Tokens).Mark() // (N, C)
	for _, block := range m.Blocks {
		x = block.forward(x, b).Mark()
	}
	return m.Norm.Forward(x)
}

func (m *llama) Logits(h *tensor.Tensor) *tensor.Tensor { return m.LMHead.Forward(h) }

func (l *llamaBlock) forward(x *tensor.Tensor, b *nn.Batch) *tensor.Tensor {
	x = x.Add(l.Attn.forward(l.AttnNorm.Forward(x), b))
	x = x.Add(l.MLP.forward(l.MLPNorm.Forward(x)))
	return x
}

func (a *llamaAttention) forward(x *tensor.Tensor, b *nn.Batch) *tensor.Tensor {
	q := nn.Heads(a.Q.Forward(x), a.heads)   // (N, H, D)
	k := nn.Heads(a.K.Forward(x), a.kvHeads) // (N, Hkv, D)
	v := nn.Heads(a.V.Forward(x), a.kvHeads) // (N, Hkv, D)

	q = q.RoPE(b.Positions, a.rope)
	k = k.RoPE(b.Positions, a.rope)

	return a.O.Forward(b.Attend(a.attn, q, k, v)) // (N, C)
}

func (m *llamaMLP) forward(x *tensor.Tensor) *tensor.Tensor {
	return m.Down.Forward(m.Gate.Forward(x).SwiGLU(m.Up.Forward(x)))
}

func (m *llama) Dims() Dims {
	c := m.config
	return Dims{
		Layers: c.NumLayers, Hidden: c.HiddenSize, Vocab: c.VocabSize,
		Heads: c.NumHeads, KVHeads: c.NumKVHeads, HeadDim: c.HeadDim,
		Context: c.Context, Tied: c.TieEmbeddings,
	}
}
