package models

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// Qwen3 MoE (30B-A3B, 235B-A22B): Qwen3's blocks, with norms on queries and keys, whose
// MLPs are mixtures of many small experts; some layers may have a dense MLP instead.
// https://arxiv.org/abs/2505.09388
//
// In the comments N is the number of tokens in the batch, C the hidden size, H and
// Hkv the query and key/value heads, D the head size, V the vocabulary, E the experts.

type qwen3MoEConfig struct {
	VocabSize        int             `json:"vocab_size"`
	HiddenSize       int             `json:"hidden_size"`
	IntermediateSize int             `json:"intermediate_size"` // of dense layers
	NumLayers        int             `json:"num_hidden_layers"`
	NumHeads         int             `json:"num_attention_heads"`
	NumKVHeads       int             `json:"num_key_value_heads"` // 0 means NumHeads
	HeadDim          int             `json:"head_dim"`            // 0 means HiddenSize / NumHeads
	Context          int             `json:"max_position_embeddings"`
	RMSNormEps       float64         `json:"rms_norm_eps"`
	RopeTheta        float64         `json:"rope_theta"`
	RopeScaling      *nn.RopeScaling `json:"rope_scaling"`
	RopeParameters   *nn.RopeScaling `json:"rope_parameters"` // transformers 5: both of the above
	AttentionBias    bool            `json:"attention_bias"`
	ExpertSize       int             `json:"moe_intermediate_size"`
	NumExperts       int             `json:"num_experts"`
	NumLocalExperts  int             `json:"num_local_experts"` // how transformers 5 spells the same
	NumChosen        int             `json:"num_experts_per_tok"`
	NormTopK         bool            `json:"norm_topk_prob"`      // a token's weights sum to 1
	SparseStep       int             `json:"decoder_sparse_step"` // every so many layers have experts
	DenseLayers      []int           `json:"mlp_only_layers"`     // those that have none nevertheless
	TieEmbeddings    bool            `json:"tie_word_embeddings"`
}

type qwen3MoE struct {
	Embed  *nn.Embedding    `hf:"model.embed_tokens"`
	Blocks []*qwen3MoEBlock `hf:"model.layers"`
	Norm   *nn.RMSNorm      `hf:"model.norm"`
	LMHead *nn.Linear       `hf:"lm_head"`

	config qwen3MoEConfig
}

type qwen3MoEBlock struct {
	AttnNorm *nn.RMSNorm        `hf:"input_layernorm"`
	Attn     *qwen3MoEAttention `hf:"self_attn"`
	MLPNorm  *nn.RMSNorm        `hf:"post_attention_layernorm"`
	Sparse   *qwen3MoESparse    `hf:"mlp"` // one of the two, nil the other
	Dense    *qwen3MoEDense     `hf:"mlp"`
}

type qwen3MoEAttention struct {
	Q *nn.Linear `hf:"q_proj"`
	K *nn.Linear `hf:"k_proj"`
	V *nn.Linear `hf:"v_proj"`
	O *nn.Linear `hf:"o_proj"`

	QNorm *nn.RMSNorm `hf:"q_norm"` // over each head
	KNorm *nn.RMSNorm `hf:"k_norm"`

	heads, kvHeads int
	rope           *tensor.RoPE
	attn           nn.Attn
}

// qwen3MoESparse has the names of transformers 5; see CheckpointPieces for the published ones.
type qwen3MoESparse struct {
	Router  *nn.Linear  `hf:"gate"`
	Experts *nn.Experts `hf:"experts"`

	chosen int  // experts per token
	norm   bool // their weights sum to 1
}

type qwen3MoEDense struct {
	Gate *nn.Linear `hf:"gate_proj"`
	Up   *nn.Linear `hf:"up_proj"`
	Down *nn.Linear `hf:"down_proj"`
}

func newQwen3MoE(config []byte) (Model, error) {
	c, err := readQwen3MoEConfig(config)
	if err != nil {
		return nil, err
	}
	rope, err := nn.NewRoPE(c.HeadDim, c.RopeTheta, c.RopeScaling)
	if err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}

	m := &qwen3MoE{
		Embed:  nn.NewEmbedding(c.VocabSize, c.HiddenSize),
		Blocks: make([]*qwen3MoEBlock, c.NumLayers),
		Norm:   nn.NewRMSNorm(c.HiddenSize, c.RMSNormEps),
		config: c,
	}
	for i := range m.Blocks {
		m.Blocks[i] = &qwen3MoEBlock{
			AttnNorm: nn.NewRMSNorm(c.HiddenSize, c.RMSNormEps),
			Attn: &qwen3MoEAttention{
				Q:       nn.NewLinear(c.HiddenSize, c.NumHeads*c.HeadDim, c.AttentionBias),
				K:       nn.NewLinear(c.HiddenSize, c.NumKVHeads*c.HeadDim, c.AttentionBias),
				V:       nn.NewLinear(c.HiddenSize, c.NumKVHeads*c.HeadDim, c.AttentionBias),
				O:       nn.NewLinear(c.NumHeads*c.HeadDim, c.HiddenSize, c.AttentionBias),
				QNorm:   nn.NewRMSNorm(c.HeadDim, c.RMSNormEps),
				KNorm:   nn.NewRMSNorm(c.HeadDim, c.RMSNormEps),
				heads:   c.NumHeads,
				kvHeads: c.NumKVHeads,
				rope:    rope,
				attn:    nn.Attn{Layer: i, Scale: 1 / math.Sqrt(float64(c.HeadDim))},
			},
			MLPNorm: nn.NewRMSNorm(c.HiddenSize, c.RMSNormEps),
		}
		if c.sparse(i) {
			m.Blocks[i].Sparse = &qwen3MoESparse{
				Router:  nn.NewLinear(c.HiddenSize, c.NumExperts, false),
				Experts: nn.NewExperts(c.NumExperts, c.HiddenSize, c.ExpertSize),
				chosen:  c.NumChosen,
				norm:    c.NormTopK,
			}
		} else {
			m.Blocks[i].Dense = &qwen3MoEDense{
				Gate: nn.NewLinear(c.HiddenSize, c.IntermediateSize, false),
				Up:   nn.NewLinear(c.HiddenSize, c.IntermediateSize, false),
				Down: nn.NewLinear(c.IntermediateSize, c.HiddenSize, false),
			}
		}
	}
	if c.TieEmbeddings {
		m.LMHead = m.Embed.AsLinear()
	} else {
		m.LMHead = nn.NewLinear(c.HiddenSize, c.VocabSize, false)
	}
	return m, nil
}

// sparse reports whether layer i has experts.
func (c qwen3MoEConfig) sparse(i int) bool {
	return (i+1)%c.SparseStep == 0 && !slices.Contains(c.DenseLayers, i)
}

// readQwen3MoEConfig reads either spelling of config.json and refuses what cannot be.
func readQwen3MoEConfig(config []byte) (qwen3MoEConfig, error) {
	c := qwen3MoEConfig{RMSNormEps: 1e-6, RopeTheta: 10000, Context: 32768, HeadDim: 128, IntermediateSize: 6144, ExpertSize: 768, NumChosen: 8, SparseStep: 1}
	if err := json.Unmarshal(config, &c); err != nil {
		return c, configError(config, err)
	}
	if err := unsupported(config, map[string][]string{
		"hidden_act": {`"silu"`}, "use_sliding_window": {"false"}, "quantization_config": nil, "partial_rotary_factor": {"1", "1.0"},
	}); err != nil {
		return c, err
	}
	if p := c.RopeParameters; p != nil {
		c.RopeScaling, c.RopeTheta = p, cmp.Or(p.Theta, c.RopeTheta)
	}
	c.NumExperts = cmp.Or(c.NumExperts, c.NumLocalExperts, 128)
	c.NumKVHeads = cmp.Or(c.NumKVHeads, c.NumHeads)
	if c.NumHeads > 0 {
		if c.HeadDim == 0 && c.HiddenSize%c.NumHeads != 0 {
			return c, fmt.Errorf("config.json: num_attention_heads %d does not divide hidden_size %d, and there is no head_dim", c.NumHeads, c.HiddenSize)
		}
		c.HeadDim = cmp.Or(c.HeadDim, c.HiddenSize/c.NumHeads)
	}
	if err := positive(map[string]int{"vocab_size": c.VocabSize, "hidden_size": c.HiddenSize, "intermediate_size": c.IntermediateSize,
		"num_hidden_layers": c.NumLayers, "num_attention_heads": c.NumHeads, "num_key_value_heads": c.NumKVHeads, "head_dim": c.HeadDim,
		"max_position_embeddings": c.Context, "moe_intermediate_size": c.ExpertSize,
		"num_experts": c.NumExperts, "num_experts_per_tok": c.NumChosen, "decoder_sparse_step": c.SparseStep}); err != nil {
		return c, err
	}
	if c.NumHeads%c.NumKVHeads != 0 {
		return c, fmt.Errorf("config.json: num_key_value_heads %d does not divide num_attention_heads %d", c.NumKVHeads, c.NumHeads)
	}
	if c.NumLayers > 10000 || !(c.RMSNormEps >= 0 && c.RMSNormEps < 1) {
		return c, fmt.Errorf("config.json: num_hidden_layers %d, rms_norm_eps %g: at most 10000 layers and an epsilon below 1 wanted", c.NumLayers, c.RMSNormEps)
	}
	return c, checkExperts("num_experts", c.NumExperts, c.NumChosen)
}

func (m *qwen3MoE) Forward(b *nn.Batch) *tensor.Tensor {
	x := m.Embed.Forward(b.Tokens).Mark() // (N, C)
	for _, block := range m.Blocks {
		x = block.forward(x, b).Mark()
	}
	return m.Norm.Forward(x)
}

func (m *qwen3MoE) Logits(h *tensor.Tensor) *tensor.Tensor { return m.LMHead.Forward(h) }

func (l *qwen3MoEBlock) forward(x *tensor.Tensor, b *nn.Batch) *tensor.Tensor {
	x = x.Add(l.Attn.forward(l.AttnNorm.Forward(x), b))
	h := l.MLPNorm.Forward(x)
	if l.Dense != nil {
		return x.Add(l.Dense.forward(h))
	}
	return x.Add(l.Sparse.forward(h, b))
}

func (a *qwen3MoEAttention) forward(x *tensor.Tensor, b *nn.Batch) *tensor.Tensor {
	q := nn.Heads(a.Q.Forward(x), a.heads)   // (N, H, D)
	k := nn.Heads(a.K.Forward(x), a.kvHeads) // (N, Hkv, D)
	v := nn.Heads(a.V.Forward(x), a.kvHeads) // (N, Hkv, D)

	q = a.QNorm.Forward(q).RoPE(b.Positions, a.rope)
	k = a.KNorm.Forward(k).RoPE(b.Positions, a.rope)

	return a.O.Forward(b.Attend(a.attn, q, k, v)) // (N, C)
}

func (m *qwen3MoESparse) forward(x *tensor.Tensor, b *nn.Batch) *tensor.Tensor {
	scores := m.Router.Forward(x) // (N, E)
	return m.Experts.Forward(b, x, scores, m.chosen, m.norm)
}

func (m *qwen3MoEDense) forward(x *tensor.Tensor) *tensor.Tensor {
	return m.Down.Forward(m.Gate.Forward(x).SwiGLU(m.Up.Forward(x)))
}

// CheckpointPieces implements checkpoint.Pieced: published checkpoints, and those that
// transformers writes unless told otherwise, have three matrices for each expert.
func (m *qwen3MoE) CheckpointPieces(has func(name string) bool) map[string][]nn.Piece {
	all := map[string][]nn.Piece{}
	for i, l := range m.Blocks {
		name := fmt.Sprintf("model.layers.%d.mlp.experts", i)
		if l.Sparse == nil || has != nil && has(name+".gate_up_proj") {
			continue
		}
		l.Sparse.Experts.Pieces(all, name, nn.Numbered(name+".%d.gate_proj.weight"), nn.Numbered(name+".%d.up_proj.weight"), nn.Numbered(name+".%d.down_proj.weight"))
	}
	return all
}

func (m *qwen3MoE) Dims() Dims {
	c := m.config
	return Dims{
		Layers: c.NumLayers, Hidden: c.HiddenSize, Vocab: c.VocabSize,
		Heads: c.NumHeads, KVHeads: c.NumKVHeads, HeadDim: c.HeadDim,
		Context: c.Context, Tied: c.TieEmbeddings,
	}
}
