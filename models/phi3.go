package models

import (
	"cmp"
	"encoding/json"
	"fmt"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// Phi 3 and 3.5 mini and medium, Phi 4 and 4-mini: a Llama whose query, key and
// value projections are one weight, as are gate and up, with windows, partial
// rotation and LongRoPE in the long-context versions.
//
//	https://arxiv.org/abs/2404.14219 (Phi 3), https://arxiv.org/abs/2412.08905 (Phi 4),
//	https://arxiv.org/abs/2503.01743 (Phi 4-mini), https://arxiv.org/abs/2402.13753 (LongRoPE)
//
// A sequence of up to original_max_position_embeddings tokens is rotated by the
// short factors, a longer one by the long factors from its first token on, as in
// transformers: in training by the length of the batch, padding included; in
// generation by the length so far. The token that makes a sequence long makes what
// the cache holds of it wrong: it is read again once ([Dims].Original), and the text
// is that of a model without a cache. (So did transformers 4; the cached generate of
// 5.14.1 forgets what comes before that token, and its text differs from its own
// without a cache.)
//
// In the comments N is the number of tokens in the batch, C the hidden size, H and
// Hkv the query and key/value heads, D the head size, F the MLP's size.

type phi3Config struct {
	VocabSize        int             `json:"vocab_size"`
	HiddenSize       int             `json:"hidden_size"`
	IntermediateSize int             `json:"intermediate_size"`
	NumLayers        int             `json:"num_hidden_layers"`
	NumHeads         int             `json:"num_attention_heads"`
	NumKVHeads       int             `json:"num_key_value_heads"` // 0 means NumHeads
	Context          int             `json:"max_position_embeddings"`
	Original         int             `json:"original_max_position_embeddings"` // where the long factors begin
	RMSNormEps       float64         `json:"rms_norm_eps"`
	Window           int             `json:"sliding_window"` // positions back a query sees, itself included; 0 means all
	Partial          float64         `json:"partial_rotary_factor"`
	RopeTheta        float64         `json:"rope_theta"`
	RopeScaling      *nn.RopeScaling `json:"rope_scaling"`
	RopeParameters   *nn.RopeScaling `json:"rope_parameters"` // transformers 5: the three above
	TieEmbeddings    bool            `json:"tie_word_embeddings"`

	headDim int
}

type phi3 struct {
	Embed  *nn.Embedding `hf:"model.embed_tokens"`
	Blocks []*phi3Block  `hf:"model.layers"`
	Norm   *nn.RMSNorm   `hf:"model.norm"`
	LMHead *nn.Linear    `hf:"lm_head"`

	config phi3Config
	rope   *tensor.RoPE
	long   *nn.LongRoPE // instead of rope, when the model has it
}

type phi3Block struct {
	AttnNorm *nn.RMSNorm    `hf:"input_layernorm"`
	Attn     *phi3Attention `hf:"self_attn"`
	MLPNorm  *nn.RMSNorm    `hf:"post_attention_layernorm"`
	MLP      *phi3MLP       `hf:"mlp"`
}

type phi3Attention struct {
	QKV *nn.Linear `hf:"qkv_proj"` // rows of all queries, then keys, then values
	O   *nn.Linear `hf:"o_proj"`

	heads, kvHeads, headDim int
	attn                    nn.Attn
}

type phi3MLP struct {
	GateUp *nn.Linear `hf:"gate_up_proj"` // rows of the gate, then up
	Down   *nn.Linear `hf:"down_proj"`
}

func newPhi3(config []byte) (Model, error) {
	c, err := readPhi3Config(config)
	if err != nil {
		return nil, err
	}
	m := &phi3{
		Embed:  nn.NewEmbedding(c.VocabSize, c.HiddenSize),
		Blocks: make([]*phi3Block, c.NumLayers),
		Norm:   nn.NewRMSNorm(c.HiddenSize, c.RMSNormEps),
		config: c,
	}
	if err := m.setRoPE(); err != nil {
		return nil, err
	}
	for i := range m.Blocks {
		m.Blocks[i] = &phi3Block{
			AttnNorm: nn.NewRMSNorm(c.HiddenSize, c.RMSNormEps),
			Attn: &phi3Attention{
				QKV:     nn.NewLinear(c.HiddenSize, (c.NumHeads+2*c.NumKVHeads)*c.headDim, false),
				O:       nn.NewLinear(c.NumHeads*c.headDim, c.HiddenSize, false),
				heads:   c.NumHeads,
				kvHeads: c.NumKVHeads,
				headDim: c.headDim,
				attn:    nn.Attn{Layer: i, Scale: scale(c.headDim), Window: c.Window},
			},
			MLPNorm: nn.NewRMSNorm(c.HiddenSize, c.RMSNormEps),
			MLP: &phi3MLP{
				GateUp: nn.NewLinear(c.HiddenSize, 2*c.IntermediateSize, false),
				Down:   nn.NewLinear(c.IntermediateSize, c.HiddenSize, false),
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

// setRoPE chooses between one rotation and the two of LongRoPE. Early checkpoints
// called it "su" and "yarn"; it never was YaRN.
func (m *phi3) setRoPE() error {
	c, s := m.config, m.config.RopeScaling
	n, err := rotated(c.headDim, c.Partial)
	if err != nil {
		return err
	}
	if s == nil {
		s = &nn.RopeScaling{}
	}
	switch kind := cmp.Or(s.Type, s.LegacyType, "default"); kind {
	case "default":
		m.rope, err = nn.NewRoPE(n, c.RopeTheta, nil)
	case "longrope", "su", "yarn":
		m.long, err = nn.NewLongRoPE(n, c.RopeTheta, s, c.Context, cmp.Or(s.OriginalContext, c.Original))
	default:
		err = fmt.Errorf("rope_scaling: unknown rope_type %q (known: default, longrope)", kind)
	}
	if err != nil {
		return fmt.Errorf("config.json: %w", err)
	}
	return nil
}

func readPhi3Config(config []byte) (phi3Config, error) {
	c := phi3Config{RMSNormEps: 1e-5, RopeTheta: 10000, Context: 4096, Original: 4096, Partial: 1}
	if err := json.Unmarshal(config, &c); err != nil {
		return c, configError(config, err)
	}
	if err := unsupported(config, map[string][]string{
		"hidden_act": {`"silu"`}, "attention_bias": {"false"}, "mlp_bias": {"false"}, "lm_head_bias": {"false"}, "head_dim": nil, "quantization_config": nil,
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
	if c.Window < 0 {
		return c, fmt.Errorf("config.json: sliding_window is %d; a positive number or null wanted", c.Window)
	}
	if err := cmp.Or(groups(c.NumHeads, c.NumKVHeads), bounds(c.NumLayers, c.RMSNormEps)); err != nil {
		return c, err
	}
	var err error
	c.headDim, err = splitHeads(c.HiddenSize, c.NumHeads)
	return c, err
}

func (m *phi3) Forward(b *nn.Batch) *tensor.Tensor {
	rope := m.rope
	if m.long != nil {
		rope = b.LongRoPE(m.long)
	}
	x := m.Embed.Forward(b.Tokens).Mark() // (N, C)
	for _, block := range m.Blocks {
		x = block.forward(x, b, rope).Mark()
	}
	return m.Norm.Forward(x)
}

func (m *phi3) Logits(h *tensor.Tensor) *tensor.Tensor { return m.LMHead.Forward(h) }

func (l *phi3Block) forward(x *tensor.Tensor, b *nn.Batch, rope *tensor.RoPE) *tensor.Tensor {
	x = x.Add(l.Attn.forward(l.AttnNorm.Forward(x), b, rope))
	x = x.Add(l.MLP.forward(l.MLPNorm.Forward(x)))
	return x
}

func (a *phi3Attention) forward(x *tensor.Tensor, b *nn.Batch, rope *tensor.RoPE) *tensor.Tensor {
	qkv := a.QKV.Forward(x) // (N, (H+2·Hkv)·D)
	nq, nkv := a.heads*a.headDim, a.kvHeads*a.headDim
	q := nn.Heads(qkv.Columns(0, nq), a.heads)         // (N, H, D)
	k := nn.Heads(qkv.Columns(nq, nkv), a.kvHeads)     // (N, Hkv, D)
	v := nn.Heads(qkv.Columns(nq+nkv, nkv), a.kvHeads) // (N, Hkv, D)

	q = q.RoPE(b.Positions, rope)
	k = k.RoPE(b.Positions, rope)

	return a.O.Forward(b.Attend(a.attn, q, k, v)) // (N, C)
}

func (m *phi3MLP) forward(x *tensor.Tensor) *tensor.Tensor {
	both := m.GateUp.Forward(x) // (N, 2·F)
	f := both.Dim(1) / 2
	return m.Down.Forward(both.Columns(0, f).Gate(tensor.SiLU, both.Columns(f, f)))
}

func (m *phi3) Dims() Dims {
	c := m.config
	d := Dims{
		Layers: c.NumLayers, Hidden: c.HiddenSize, Vocab: c.VocabSize,
		Heads: c.NumHeads, KVHeads: c.NumKVHeads, HeadDim: c.headDim,
		Context: c.Context, Tied: c.TieEmbeddings,
	}
	if m.long != nil {
		d.Original = m.long.Original
	}
	return d
}

// LoRATargets are what LitGPT's switches mean in this family: rows of the fused weights.
func (m *phi3) LoRATargets() map[string][]Target {
	c := m.config
	k := c.NumHeads * c.headDim
	v := k + c.NumKVHeads*c.headDim
	end := v + c.NumKVHeads*c.headDim
	return map[string][]Target{
		"query":      {{"qkv_proj", nn.Rows{From: 0, To: k}}},
		"key":        {{"qkv_proj", nn.Rows{From: k, To: v}}},
		"value":      {{"qkv_proj", nn.Rows{From: v, To: end}}},
		"projection": {{Layer: "o_proj"}},
		"mlp": {{"gate_up_proj", nn.Rows{From: 0, To: c.IntermediateSize}}, {"gate_up_proj", nn.Rows{From: c.IntermediateSize, To: 2 * c.IntermediateSize}},
			{Layer: "down_proj"}},
		"head": {{Layer: "lm_head"}},
	}
}
