package models

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// Mixtral 8x7B and 8x22B: Mistral's blocks, whose MLP is a mixture of experts. A linear
// router scores the experts of each token; the two with the largest scores compute it,
// weighted by the softmax of their two scores. https://arxiv.org/abs/2401.04088
//
// In the comments N is the number of tokens in the batch, C the hidden size, H and
// Hkv the query and key/value heads, D the head size, V the vocabulary, E the experts.

type mixtralConfig struct {
	VocabSize        int             `json:"vocab_size"`
	HiddenSize       int             `json:"hidden_size"`
	IntermediateSize int             `json:"intermediate_size"` // of each expert
	NumLayers        int             `json:"num_hidden_layers"`
	NumHeads         int             `json:"num_attention_heads"`
	NumKVHeads       int             `json:"num_key_value_heads"` // 0 means NumHeads
	HeadDim          int             `json:"head_dim"`            // 0 means HiddenSize / NumHeads
	Context          int             `json:"max_position_embeddings"`
	RMSNormEps       float64         `json:"rms_norm_eps"`
	RopeTheta        float64         `json:"rope_theta"`
	RopeScaling      *nn.RopeScaling `json:"rope_scaling"`
	RopeParameters   *nn.RopeScaling `json:"rope_parameters"` // transformers 5: both of the above
	Window           int             `json:"sliding_window"`  // positions back a query sees; 0 means all, as in all published ones
	NumExperts       int             `json:"num_local_experts"`
	NumChosen        int             `json:"num_experts_per_tok"`
	TieEmbeddings    bool            `json:"tie_word_embeddings"`
}

type mixtral struct {
	Embed  *nn.Embedding   `hf:"model.embed_tokens"`
	Blocks []*mixtralBlock `hf:"model.layers"`
	Norm   *nn.RMSNorm     `hf:"model.norm"`
	LMHead *nn.Linear      `hf:"lm_head"`

	config mixtralConfig
}

type mixtralBlock struct {
	AttnNorm *nn.RMSNorm       `hf:"input_layernorm"`
	Attn     *mixtralAttention `hf:"self_attn"`
	MLPNorm  *nn.RMSNorm       `hf:"post_attention_layernorm"`
	MLP      *mixtralMLP       `hf:"mlp"`
}

type mixtralAttention struct {
	Q *nn.Linear `hf:"q_proj"`
	K *nn.Linear `hf:"k_proj"`
	V *nn.Linear `hf:"v_proj"`
	O *nn.Linear `hf:"o_proj"`

	heads, kvHeads int
	rope           *tensor.RoPE
	attn           nn.Attn
}

// mixtralMLP has the names of transformers 5; see CheckpointPieces for the published ones.
type mixtralMLP struct {
	Router  *nn.Linear  `hf:"gate"`
	Experts *nn.Experts `hf:"experts"`

	chosen int // experts per token
}

func newMixtral(config []byte) (Model, error) {
	c, err := readMixtralConfig(config)
	if err != nil {
		return nil, err
	}
	rope, err := nn.NewRoPE(c.HeadDim, c.RopeTheta, c.RopeScaling)
	if err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}

	m := &mixtral{
		Embed:  nn.NewEmbedding(c.VocabSize, c.HiddenSize),
		Blocks: make([]*mixtralBlock, c.NumLayers),
		Norm:   nn.NewRMSNorm(c.HiddenSize, c.RMSNormEps),
		config: c,
	}
	for i := range m.Blocks {
		m.Blocks[i] = &mixtralBlock{
			AttnNorm: nn.NewRMSNorm(c.HiddenSize, c.RMSNormEps),
			Attn: &mixtralAttention{
				Q:       nn.NewLinear(c.HiddenSize, c.NumHeads*c.HeadDim, false),
				K:       nn.NewLinear(c.HiddenSize, c.NumKVHeads*c.HeadDim, false),
				V:       nn.NewLinear(c.HiddenSize, c.NumKVHeads*c.HeadDim, false),
				O:       nn.NewLinear(c.NumHeads*c.HeadDim, c.HiddenSize, false),
				heads:   c.NumHeads,
				kvHeads: c.NumKVHeads,
				rope:    rope,
				attn:    nn.Attn{Layer: i, Scale: 1 / math.Sqrt(float64(c.HeadDim)), Window: c.Window},
			},
			MLPNorm: nn.NewRMSNorm(c.HiddenSize, c.RMSNormEps),
			MLP: &mixtralMLP{
				Router:  nn.NewLinear(c.HiddenSize, c.NumExperts, false),
				Experts: nn.NewExperts(c.NumExperts, c.HiddenSize, c.IntermediateSize),
				chosen:  c.NumChosen,
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

// readMixtralConfig reads either spelling of config.json and refuses what cannot be.
func readMixtralConfig(config []byte) (mixtralConfig, error) {
	c := mixtralConfig{RMSNormEps: 1e-5, RopeTheta: 1e6, Context: 32768, NumExperts: 8, NumChosen: 2}
	if err := json.Unmarshal(config, &c); err != nil {
		return c, configError(config, err)
	}
	if err := unsupported(config, map[string][]string{
		"hidden_act": {`"silu"`}, "router_jitter_noise": {"0", "0.0"}, "quantization_config": nil, "partial_rotary_factor": {"1", "1.0"},
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
		"max_position_embeddings": c.Context, "num_local_experts": c.NumExperts, "num_experts_per_tok": c.NumChosen}); err != nil {
		return c, err
	}
	if c.NumHeads%c.NumKVHeads != 0 {
		return c, fmt.Errorf("config.json: num_key_value_heads %d does not divide num_attention_heads %d", c.NumKVHeads, c.NumHeads)
	}
	if c.NumLayers > 10000 || !(c.RMSNormEps >= 0 && c.RMSNormEps < 1) || c.Window < 0 {
		return c, fmt.Errorf("config.json: num_hidden_layers %d, rms_norm_eps %g, sliding_window %d: at most 10000 layers, an epsilon below 1 and no negative window wanted", c.NumLayers, c.RMSNormEps, c.Window)
	}
	return c, checkExperts("num_local_experts", c.NumExperts, c.NumChosen)
}

// checkExperts says whether n experts of which k are chosen can be routed to.
func checkExperts(key string, n, k int) error {
	const limit = 1 << 14
	if k > min(n, tensor.MaxChoices) || n > limit {
		return fmt.Errorf("config.json: num_experts_per_tok %d of %s %d: at most %d experts, and at most %d of them per token, wanted", k, key, n, limit, min(n, tensor.MaxChoices))
	}
	return nil
}

func (m *mixtral) Forward(b *nn.Batch) *tensor.Tensor {
	x := m.Embed.Forward(b.Tokens).Mark() // (N, C)
	for _, block := range m.Blocks {
		x = block.forward(x, b).Mark()
	}
	return m.Norm.Forward(x)
}

func (m *mixtral) Logits(h *tensor.Tensor) *tensor.Tensor { return m.LMHead.Forward(h) }

func (l *mixtralBlock) forward(x *tensor.Tensor, b *nn.Batch) *tensor.Tensor {
	x = x.Add(l.Attn.forward(l.AttnNorm.Forward(x), b))
	x = x.Add(l.MLP.forward(l.MLPNorm.Forward(x), b))
	return x
}

func (a *mixtralAttention) forward(x *tensor.Tensor, b *nn.Batch) *tensor.Tensor {
	q := nn.Heads(a.Q.Forward(x), a.heads)   // (N, H, D)
	k := nn.Heads(a.K.Forward(x), a.kvHeads) // (N, Hkv, D)
	v := nn.Heads(a.V.Forward(x), a.kvHeads) // (N, Hkv, D)

	q = q.RoPE(b.Positions, a.rope)
	k = k.RoPE(b.Positions, a.rope)

	return a.O.Forward(b.Attend(a.attn, q, k, v)) // (N, C)
}

func (m *mixtralMLP) forward(x *tensor.Tensor, b *nn.Batch) *tensor.Tensor {
	scores := m.Router.Forward(x) // (N, E)
	return m.Experts.Forward(b, x, scores, m.chosen, true)
}

// CheckpointPieces implements checkpoint.Pieced: published checkpoints, and those that
// transformers writes unless told otherwise, have a matrix w1 (gate), w3 (up) and w2
// (down) for each expert.
func (m *mixtral) CheckpointPieces(has func(name string) bool) map[string][]nn.Piece {
	if has != nil && has("model.layers.0.mlp.experts.gate_up_proj") {
		return nil
	}
	all := map[string][]nn.Piece{}
	for i, l := range m.Blocks {
		name, old := fmt.Sprintf("model.layers.%d.mlp", i), fmt.Sprintf("model.layers.%d.block_sparse_moe", i)
		all[name+".gate.weight"] = []nn.Piece{{Name: old + ".gate.weight", Shape: l.MLP.Router.Weight.Shape()}}
		l.MLP.Experts.Pieces(all, name+".experts", nn.Numbered(old+".experts.%d.w1.weight"), nn.Numbered(old+".experts.%d.w3.weight"), nn.Numbered(old+".experts.%d.w2.weight"))
	}
	return all
}

func (m *mixtral) Dims() Dims {
	c := m.config
	return Dims{
		Layers: c.NumLayers, Hidden: c.HiddenSize, Vocab: c.VocabSize,
		Heads: c.NumHeads, KVHeads: c.NumKVHeads, HeadDim: c.HeadDim,
		Context: c.Context, Tied: c.TieEmbeddings,
	}
}
