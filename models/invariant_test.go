package models_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/models"
)

// wide are models whose rows are whole blocks of all quantized types.
func wide(architecture, more string) string {
	return fmt.Sprintf(`{"architectures": [%q], "vocab_size": 97, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2,
		"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, %s}`, architecture, more)
}

var invariants = []struct{ name, config string }{
	{"llama", wide("LlamaForCausalLM", `"tie_word_embeddings": true`)},
	{"mixtral", wide("MixtralForCausalLM", `"num_local_experts": 4, "num_experts_per_tok": 2`)},
	{"gemma2", wide("Gemma2ForCausalLM", `"sliding_window": 40, "query_pre_attn_scalar": 64, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0`)},
}

// paged is a pool of pages, of which each sequence has as many as its longest needs, in an order of its own.
type paged struct {
	kv     []*tensor.Tensor
	dims   models.Dims
	tables []int32 // (sequences, width)
	width  int
}

const pageRows = 16

func newPaged(t *testing.T, dev *tensor.Device, dtype tensor.DType, d models.Dims, sequences, positions int) *paged {
	p := &paged{dims: d, width: (positions + pageRows - 1) / pageRows}
	for _, page := range rand.New(rand.NewPCG(3, 4)).Perm(sequences * p.width) {
		p.tables = append(p.tables, int32(page+1))
	}
	for range 2 * d.Layers {
		w := tensor.Param((1+sequences*p.width)*pageRows, d.KVHeads*d.HeadDim)
		if err := dev.Alloc(w, dtype); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Free)
		p.kv = append(p.kv, w)
	}
	return p
}

// row is where the keys and values of a sequence's position lie.
func (p *paged) row(sequence, position int) int32 {
	return p.tables[sequence*p.width+position/pageRows]*pageRows + int32(position%pageRows)
}

func (p *paged) Page() int { return pageRows }

func (p *paged) Append(a nn.Attn, rows, k, v *tensor.Tensor) (keys, values *tensor.Tensor) {
	put := func(w, x *tensor.Tensor) *tensor.Tensor {
		return w.SetRows(rows, x.Reshape(x.Dim(0), w.Dim(1))).Reshape(w.Dim(0), p.dims.KVHeads, p.dims.HeadDim)
	}
	return put(p.kv[2*a.Layer], k), put(p.kv[2*a.Layer+1], v)
}

// piece are the next n tokens of a sequence.
type piece struct{ sequence, n int }

// play runs passes over sequences of tokens and gives the logits of each sequence's positions; padding tokens end each pass.
func play(t *testing.T, dev *tensor.Device, m models.Model, tokens [][]int32, passes [][]piece, padding int) [][]float32 {
	t.Helper()
	kv := newPaged(t, dev, tensor.F16, m.Dims(), len(tokens), len(tokens[0]))
	done, out := make([]int, len(tokens)), make([][]float32, len(tokens))
	for _, pass := range passes {
		var ids, positions, rows, sequences []int32
		for _, x := range pass {
			for range x.n {
				at := done[x.sequence]
				ids, positions, sequences = append(ids, tokens[x.sequence][at]), append(positions, int32(at)), append(sequences, int32(x.sequence))
				rows = append(rows, kv.row(x.sequence, at))
				done[x.sequence]++
			}
		}
		pad := make([]int32, padding)
		g := tensor.NewGraph()
		g.Invariant = true
		b := nn.NewPagedBatch(g, len(ids)+padding, len(tokens), kv.width, kv)
		v, at := compute(t, dev, m, g, b, func() {
			b.SetPaged(append(ids, pad...), append(positions, pad...), append(rows, pad...), append(sequences, pad...), kv.tables, len(tokens[0]))
		}), 0
		for _, x := range pass {
			n := x.n * m.Dims().Vocab
			out[x.sequence] = append(out[x.sequence], v[at:at+n]...)
			at += n
		}
	}
	return out
}

// With [tensor.Graph.Invariant] a token's logits are the same to the bit alone and in company, whole prompts and pieces of them, on one thread or two.
func TestInvariant(t *testing.T) {
	one, two := openThreads(t, 1), openThreads(t, 2)
	const n = 140 // more than attention takes at a time
	for _, c := range invariants {
		for _, dtype := range []tensor.DType{tensor.F32, tensor.BF16, tensor.Q4_K, tensor.Q8_0} {
			t.Run(fmt.Sprintf("%s/%v", c.name, dtype), func(t *testing.T) {
				load := func(dev *tensor.Device) models.Model {
					m, err := models.New([]byte(c.config))
					if err != nil {
						t.Fatal(err)
					}
					rng := rand.New(rand.NewPCG(1, 2))
					for _, p := range nn.Params(m) {
						to := dtype
						if len(p.Shape()) == 1 {
							to = tensor.F32
						}
						if err := dev.Alloc(p, to); err != nil {
							t.Fatal(err)
						}
						t.Cleanup(p.Free)
						p.SetValues(normal(rng, p.Numel(), 0.1))
					}
					return m
				}
				rng := rand.New(rand.NewPCG(7, 8))
				tokens := make([][]int32, 64)
				for i := range tokens {
					tokens[i] = make([]int32, n)
					for j := range tokens[i] {
						tokens[i][j] = int32(rng.IntN(97))
					}
				}
				company := func(of piece, others int) (pass []piece) { // one token of each
					for i := range others {
						if i == others/2 {
							pass = append(pass, of)
						}
						pass = append(pass, piece{i + 1, 1})
					}
					return pass
				}
				m := map[*tensor.Device]models.Model{one: load(one), two: load(two)}
				want := play(t, one, m[one], tokens[:1], [][]piece{{{0, n}}}, 0)[0]
				for _, x := range []struct {
					name    string
					dev     *tensor.Device
					padding int
					passes  [][]piece
				}{
					{"two threads", two, 0, [][]piece{{{0, n}}}},
					{"pieces", one, 1, [][]piece{{{0, 1}}, {{0, 2}}, {{0, 124}}, {{0, 5}}, {{0, 8}}}},
					{"tokens after a prompt", two, 0, [][]piece{{{0, 126}}, {{0, 1}}, {{0, 1}}, {{0, 1}}, {{0, 1}}}},
					{"company", two, 3, [][]piece{company(piece{0, 33}, 2), company(piece{0, 1}, 1), company(piece{0, 1}, 63), company(piece{0, 95}, 20), {{3, 40}, {0, 1}, {5, 7}}, company(piece{0, 1}, 7)}},
				} {
					got := play(t, x.dev, m[x.dev], tokens, x.passes, x.padding)[0]
					for i := range got {
						if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
							t.Fatalf("%s: logit %d of token %d is %g, %g in one batch", x.name, i%97, i/97, got[i], want[i])
						}
					}
				}
			})
		}
	}
}

func openThreads(t *testing.T, n int) *tensor.Device {
	t.Helper()
	dev, err := tensor.Open("cpu", tensor.Options{Threads: n})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dev.Close)
	return dev
}
