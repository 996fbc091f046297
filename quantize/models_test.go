package quantize

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/ggufmap"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/models"
)

// random is a checkpoint of a model that needs none: its weights are made of their names and places.
type random struct {
	names  []string
	shapes map[string][]int
}

func newRandom(tb testing.TB, config string) *random {
	tb.Helper()
	m, err := models.New([]byte(config))
	if err != nil {
		tb.Fatal(err)
	}
	r := &random{shapes: map[string][]int{}}
	split := map[string][]nn.Piece{}
	if p, ok := m.(checkpoint.Pieced); ok {
		split = p.CheckpointPieces(nil)
	}
	for name, p := range nn.Params(m) {
		list := split[name]
		if list == nil {
			list = []nn.Piece{{Name: name, Shape: p.Shape()}}
		}
		for _, piece := range list {
			r.names, r.shapes[piece.Name] = append(r.names, piece.Name), piece.Shape
		}
	}
	return r
}

func (r *random) Names() []string { return r.names }

func (r *random) Header(name string) (safetensors.Tensor, bool) {
	shape, ok := r.shapes[name]
	return safetensors.Tensor{Name: name, DType: "F32", Shape: shape}, ok
}

// Tensor gives weights of about the size of trained ones, about normal; those of norms around 1.
func (r *random) Tensor(name string) (safetensors.Tensor, bool) {
	t, ok := r.Header(name)
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	s := uint32(2166136261)
	for _, c := range []byte(name) {
		s = (s ^ uint32(c)) * 16777619
	}
	next := func() float64 {
		s = s*1664525 + 1013904223
		return float64(s>>8) / (1 << 24)
	}
	t.Data = make([]byte, 0, 4*n)
	for range n {
		v := (next() + next() + next() + next() - 2) * 0.06
		if len(t.Shape) == 1 {
			v++
		}
		t.Data = binary.LittleEndian.AppendUint32(t.Data, math.Float32bits(float32(v)))
	}
	return t, ok
}

func exported(tb testing.TB, config string) (*ggufmap.Exported, *random) {
	tb.Helper()
	r := newRandom(tb, config)
	e, err := ggufmap.Export([]byte(config), r)
	if err != nil {
		tb.Fatal(err)
	}
	return e, r
}

// configs are small models with what the rules ask for.
var configs = map[string]string{
	"llama":   llamaConfig("LlamaForCausalLM", 16, 4, 4, `"tie_word_embeddings":true`),
	"grouped": llamaConfig("LlamaForCausalLM", 18, 4, 1, `"tie_word_embeddings":false`),
	"big":     llamaConfig("LlamaForCausalLM", 80, 4, 2, `"tie_word_embeddings":false`),
	"mixtral": llamaConfig("MixtralForCausalLM", 9, 4, 2, `"num_local_experts":8,"num_experts_per_tok":2,"tie_word_embeddings":false`),
	"moe": llamaConfig("Qwen3MoeForCausalLM", 3, 4, 2, `"num_experts":4,"num_experts_per_tok":2,"moe_intermediate_size":256,"norm_topk_prob":true,
		"head_dim":64,"decoder_sparse_step":1,"mlp_only_layers":[],"tie_word_embeddings":false`),
	"falcon": `{"architectures":["FalconForCausalLM"],"model_type":"falcon","hidden_size":256,"num_attention_heads":4,"num_hidden_layers":17,"vocab_size":300,
		"new_decoder_architecture":false,"multi_query":true,"parallel_attn":true,"bias":false,"alibi":false,"layer_norm_epsilon":1e-5,"max_position_embeddings":64}`,
	"odd": llamaConfig("LlamaForCausalLM", 3, 2, 2, `"tie_word_embeddings":true,"odd":1`),
}

func llamaConfig(arch string, layers, heads, kv int, more string) string {
	hidden, ffn := 256, 512
	if strings.Contains(more, `"odd":1`) { // rows of no whole large blocks, and of no whole blocks at all
		hidden, ffn = 96, 80
		more = strings.TrimSuffix(more, `,"odd":1`)
	}
	model := map[string]string{"LlamaForCausalLM": "llama", "MixtralForCausalLM": "mixtral", "Qwen3MoeForCausalLM": "qwen3_moe"}[arch]
	return fmt.Sprintf(`{"architectures":[%q],"model_type":%q,"hidden_size":%d,"intermediate_size":%d,"num_attention_heads":%d,"num_key_value_heads":%d,
		"num_hidden_layers":%d,"vocab_size":300,"rms_norm_eps":1e-5,"rope_theta":10000,"max_position_embeddings":64,"hidden_act":"silu",%s}`, arch, model, hidden, ffn, heads, kv, layers, more)
}

func openCPU(tb testing.TB) *tensor.Device {
	tb.Helper()
	dev, err := tensor.Open("cpu", tensor.Options{Threads: 1})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(dev.Close)
	return dev
}

// loadedModel is the model of a config with weights of src.
func loadedModel(tb testing.TB, dev *tensor.Device, config string, src checkpoint.Source) models.Model {
	tb.Helper()
	m, err := models.New([]byte(config))
	if err != nil {
		tb.Fatal(err)
	}
	if err := checkpoint.Load(dev, m, src, checkpoint.Options{}); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		for _, p := range nn.Params(m) {
			p.Free()
		}
	})
	return m
}

func mixture(tb testing.TB, name string) Mixture {
	tb.Helper()
	m, err := MixtureByName(name)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}
