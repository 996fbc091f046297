package tensor

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/litgpt-go/litgpt/internal/ggml"
)

// cost is what one run of a program takes at least: floating-point operations or bytes of memory.
type cost struct{ flop, bytes float64 }

// measure compiles what build makes and runs it on as many threads as -cpu says.
func measure(b *testing.B, c cost, build func(g *Graph, dev *Device) []*Tensor) {
	dev, err := Open("cpu", Options{Threads: runtime.GOMAXPROCS(0)})
	if err != nil {
		b.Fatal(err)
	}
	defer dev.Close()
	g := NewGraph()
	outputs := build(g, dev)
	p, err := g.Compile(dev, outputs...)
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	for _, n := range g.Nodes() { // weights belong to the caller, here to the benchmark
		for _, s := range n.Src {
			if s.IsWeight() {
				defer s.Free()
			}
		}
	}
	if err := p.Run(); err != nil { // inputs are copied, pages touched, threads awake
		b.Fatal(err)
	}
	timed(b, c, func() bool { return dev.b.Compute(p.graph) == nil }) // without copying the inputs again
}

// timed runs compute b.N times and reports its speed.
func timed(b *testing.B, c cost, compute func() bool) {
	for b.Loop() {
		if !compute() {
			b.Fatal("the computation failed")
		}
	}
	seconds := b.Elapsed().Seconds() / float64(b.N)
	if c.flop > 0 {
		b.ReportMetric(c.flop/seconds*1e-9, "GFLOP/s")
	}
	if c.bytes > 0 {
		b.ReportMetric(c.bytes/seconds*1e-9, "GB/s")
	}
}

func normal(n int) []float32 {
	rng := rand.New(rand.NewPCG(1, 2))
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	return v
}

func randomInput(g *Graph, shape ...int) *Tensor {
	return g.Floats(shape...).SetFloats(normal(numel(shape)))
}

func randomWeight(b *testing.B, dev *Device, d DType, shape ...int) *Tensor {
	w := Param(shape...)
	if err := dev.Alloc(w, d); err != nil {
		b.Fatal(err)
	}
	w.SetValues(normal(numel(shape)))
	return w
}

// benchShapes are rows of the batch and the (out, in) of a weight: the layers of
// a model of 135M parameters in training, and its head.
var benchShapes = []struct{ n, out, in int }{
	{1024, 576, 576}, {1024, 192, 576}, {1024, 1536, 576}, {1024, 576, 1536}, {128, 49152, 576},
}

// benchModes are the product of a layer and those of its backward pass, each 2·n·out·in operations.
var benchModes = []struct {
	name  string
	dtype []DType
	make  func(b *testing.B, g *Graph, dev *Device, d DType, n, out, in int) *Tensor
}{
	{"x·wT", []DType{F32, BF16, F16}, func(b *testing.B, g *Graph, dev *Device, d DType, n, out, in int) *Tensor {
		return randomInput(g, n, in).MatMulT(randomWeight(b, dev, d, out, in))
	}},
	{"x·w", []DType{F32, BF16, F16}, func(b *testing.B, g *Graph, dev *Device, d DType, n, out, in int) *Tensor {
		return randomInput(g, n, out).MatMul(randomWeight(b, dev, d, out, in))
	}},
	{"xT·w", []DType{F32}, func(b *testing.B, g *Graph, dev *Device, _ DType, n, out, in int) *Tensor {
		return randomInput(g, n, out).TMatMul(randomInput(g, n, in))
	}},
}

func BenchmarkMatMul(b *testing.B) {
	for _, s := range benchShapes {
		for _, m := range benchModes {
			for _, d := range m.dtype {
				b.Run(fmt.Sprintf("%dx%dx%d/%s/%v", s.n, s.out, s.in, m.name, d), func(b *testing.B) {
					measure(b, cost{flop: 2 * float64(s.n) * float64(s.out) * float64(s.in)}, func(g *Graph, dev *Device) []*Tensor {
						return []*Tensor{m.make(b, g, dev, d, s.n, s.out, s.in)}
					})
				})
			}
		}
	}
}

// BenchmarkMatMulRows decides smallProduct: our two products, and GGML's beside them, on few rows,
// for a layer whose weight stays in the cache and for a head, whose does not.
// The nodes are made here, since the lowering would choose between the two.
func BenchmarkMatMulRows(b *testing.B) {
	kernels := []struct {
		name string
		make func(c *ggml.Context, x, w ggml.Tensor, shape []int) ggml.Tensor
	}{
		{"ggml", func(c *ggml.Context, x, w ggml.Tensor, _ []int) ggml.Tensor { return c.MulMat(w, x) }},
		{"rows", func(c *ggml.Context, x, w ggml.Tensor, shape []int) ggml.Tensor {
			return c.Custom(ggml.MatVec, ne(shape), ggml.Params{}, x, w)
		}},
		{"packed", func(c *ggml.Context, x, w ggml.Tensor, shape []int) ggml.Tensor {
			return c.Custom(ggml.MatMul, ne(shape), ggml.Params{}, x, w)
		}},
	}
	dev, err := Open("cpu", Options{Threads: runtime.GOMAXPROCS(0)})
	if err != nil {
		b.Fatal(err)
	}
	defer dev.Close()
	for _, s := range []struct{ out, in int }{{1536, 576}, {49152, 576}} {
		for _, d := range []DType{F32, BF16, F16} {
			w := randomWeight(b, dev, d, s.out, s.in)
			for _, n := range []int{1, 2, 3, 4, 8, 16, 24, 32, 64} {
				for _, k := range kernels {
					b.Run(fmt.Sprintf("%dx%d/%v/n=%d/%s", s.out, s.in, d, n, k.name), func(b *testing.B) {
						c := ggml.NewContext(8, 8)
						defer c.Free()
						x := c.New(ggml.F32, ne([]int{n, s.in}))
						x.SetInput()
						y := k.make(c, x, w.store.t, []int{n, s.out})
						y.SetOutput()
						g := c.NewGraph(8)
						g.Expand(y)
						if _, ok := g.Plan(dev.b); !ok {
							b.Fatal("not enough memory")
						}
						defer g.Free()
						dev.b.Set(x, asBytes(normal(n*s.in)), 0)
						timed(b, cost{2 * float64(n*s.out*s.in), float64(w.Numel() * d.Size())}, func() bool { return dev.b.Compute(g) == nil })
					})
				}
			}
			w.Free()
		}
	}
}

// BenchmarkQuantizedRows shows that no number of rows falls behind those beside it, with activations as they are and
// rounded; it decides up to how many rows weights are not packed (blocks.cpp).
func BenchmarkQuantizedRows(b *testing.B) {
	const out, in = 1536, 768
	for _, d := range []DType{Q4_0, Q4_1, Q5_0, Q8_0, Q2_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, MXFP4} {
		for _, exact := range []bool{false, true} {
			for _, n := range []int{1, 2, 4, 8, 16, 64, 512} {
				b.Run(fmt.Sprintf("%v/exact=%v/n=%d", d, exact, n), func(b *testing.B) {
					measure(b, cost{2 * float64(n*out*in), float64(d.Bytes(out * in))}, func(g *Graph, dev *Device) []*Tensor {
						g.Exact = exact
						return []*Tensor{randomInput(g, n, in).MatMulT(randomWeight(b, dev, d, out, in))}
					})
				})
			}
		}
	}
}

// causal are the spans of sequences of n tokens each.
func causal(g *Graph, sequences, n int) *Tensor {
	v := make([]int32, 0, 2*sequences*n)
	for s := range sequences {
		for i := range n {
			v = append(v, int32(s*n), int32(s*n+i+1))
		}
	}
	return g.Ints(sequences*n, 2).SetInts(v)
}

// Operations are counted for the pairs of a causal mask, whichever a kernel
// computes: two products forward, five backward (the scores again).
func BenchmarkAttention(b *testing.B) {
	for _, s := range []struct{ batch, tokens, heads, kv, dim int }{{4, 256, 9, 3, 64}, {16, 256, 6, 6, 64}, {1, 2048, 9, 3, 64}} {
		a := Attn{Scale: 1 / math.Sqrt(float64(s.dim)), Sequences: s.batch}
		n := s.batch * s.tokens
		product := 2 * float64(s.batch*s.heads*s.dim) * float64(s.tokens*(s.tokens+1)/2)
		operands := func(g *Graph) (q, k, v, spans *Tensor) {
			return randomInput(g, n, s.heads, s.dim), randomInput(g, n, s.kv, s.dim), randomInput(g, n, s.kv, s.dim), causal(g, s.batch, s.tokens)
		}
		name := fmt.Sprintf("B%d_T%d_H%d_Hkv%d_D%d", s.batch, s.tokens, s.heads, s.kv, s.dim)
		b.Run(name+"/forward", func(b *testing.B) {
			measure(b, cost{flop: 2 * product}, func(g *Graph, _ *Device) []*Tensor {
				q, k, v, spans := operands(g)
				return []*Tensor{q.Attention(k, v, spans, a)}
			})
		})
		b.Run(name+"/backward", func(b *testing.B) {
			measure(b, cost{flop: 5 * product}, func(g *Graph, _ *Device) []*Tensor {
				q, k, v, spans := operands(g)
				return []*Tensor{q.AttentionBackward(k, v, spans, randomInput(g, n, s.heads*s.dim), a)}
			})
		})
	}
}

// BenchmarkElementwise are the operations whose time is memory's: bytes are those of their operands and results.
func BenchmarkElementwise(b *testing.B) {
	const n, c, hidden, heads, dim, vocab, rows = 1024, 576, 1536, 9, 64, 49152, 128
	positions := func(g *Graph) *Tensor {
		v := make([]int32, n)
		for i := range v {
			v[i] = int32(i % 256)
		}
		return g.Ints(n).SetInts(v)
	}
	targets := func(g *Graph) *Tensor {
		v := make([]int32, rows)
		for i := range v {
			v[i] = int32(i * 379)
		}
		return g.Ints(rows).SetInts(v)
	}
	rope := &RoPE{Scale: 1}
	for i := range dim / 2 {
		rope.Freqs = append(rope.Freqs, math.Pow(10000, -2*float64(i)/dim))
	}
	for _, o := range []struct {
		name  string
		bytes float64
		make  func(g *Graph) *Tensor
	}{
		{"RMSNorm", 8 * n * c, func(g *Graph) *Tensor { return randomInput(g, n, c).RMSNorm(randomInput(g, c), 1e-5) }},
		{"RMSNormBackward", 12 * n * c, func(g *Graph) *Tensor {
			return randomInput(g, n, c).RMSNormBackward(randomInput(g, c), randomInput(g, n, c), Norm{Eps: 1e-5})
		}},
		{"RMSNormBackwardWeight", 8 * n * c, func(g *Graph) *Tensor {
			return randomInput(g, n, c).RMSNormBackwardWeight(randomInput(g, n, c), 1e-5)
		}},
		{"SwiGLU", 12 * n * hidden, func(g *Graph) *Tensor { return randomInput(g, n, hidden).SwiGLU(randomInput(g, n, hidden)) }},
		{"SwiGLUBackward", 16 * n * hidden, func(g *Graph) *Tensor {
			return randomInput(g, n, hidden).GateBackward(SiLU, randomInput(g, n, hidden), randomInput(g, n, hidden))
		}},
		{"LayerNorm", 8 * n * c, func(g *Graph) *Tensor {
			return randomInput(g, n, c).LayerNorm(randomInput(g, c), randomInput(g, c), 1e-5)
		}},
		{"LayerNormBackward", 12 * n * c, func(g *Graph) *Tensor {
			return randomInput(g, n, c).LayerNormBackward(randomInput(g, c), randomInput(g, n, c), 1e-5)
		}},
		{"GateGELU", 12 * n * hidden, func(g *Graph) *Tensor {
			return randomInput(g, n, hidden).Gate(GELU, randomInput(g, n, hidden))
		}},
		{"GateGELUTanh", 12 * n * hidden, func(g *Graph) *Tensor {
			return randomInput(g, n, hidden).Gate(GELUTanh, randomInput(g, n, hidden))
		}},
		{"GateGELUTanhBackward", 16 * n * hidden, func(g *Graph) *Tensor {
			return randomInput(g, n, hidden).GateBackward(GELUTanh, randomInput(g, n, hidden), randomInput(g, n, hidden))
		}},
		{"Softcap", 8 * rows * vocab, func(g *Graph) *Tensor { return randomInput(g, rows, vocab).Softcap(30) }},
		{"RoPE", 8 * n * c, func(g *Graph) *Tensor { // the table, which serves all layers, is made by the same run
			return randomInput(g, n, heads, dim).RoPE(positions(g), rope)
		}},
		{"CrossEntropy", 4 * rows * vocab, func(g *Graph) *Tensor { return randomInput(g, rows, vocab).CrossEntropy(targets(g)) }},
		{"CrossEntropyBackward", 8 * rows * vocab, func(g *Graph) *Tensor {
			return randomInput(g, rows, vocab).CrossEntropyBackward(targets(g), randomInput(g, rows))
		}},
	} {
		b.Run(o.name, func(b *testing.B) {
			measure(b, cost{bytes: o.bytes}, func(g *Graph, _ *Device) []*Tensor { return []*Tensor{o.make(g)} })
		})
	}
}
