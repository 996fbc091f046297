package tensor

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/litgpt-go/litgpt/internal/cudatest"
)

// BenchmarkCUDA times what a training step and decoding are made of, in the shapes
// of an 8B Llama at 2×2048 tokens. TFLOP/s and GB/s are to be read against the
// card's own. It runs on a GPU only: the emulator says nothing of speed.
func BenchmarkCUDA(b *testing.B) {
	lib, ok := cudatest.Libraries(b)["gpu"]
	if !ok {
		b.Skip("no GPU")
	}
	dev, err := OpenLibrary(lib, 0, Options{TF32: os.Getenv("LITGPT_TF32") != ""})
	if err != nil {
		b.Fatal(err)
	}
	defer dev.Close()
	weight := func(b *testing.B, d DType, shape ...int) *Tensor {
		w := Param(shape...)
		w.Name = "w"
		if err := dev.Alloc(w, d); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(w.Free)
		return w // its contents do not matter to its speed
	}
	const n, c, ffn, vocab = 4096, 4096, 14336, 128256
	type product struct {
		name  string
		flops float64 // per run
		bytes float64 // that must be moved at least
		build func(b *testing.B, g *Graph) *Tensor
	}
	var quantized []product
	for _, d := range []DType{Q4_0, Q4_1, Q8_0, Q4_K, Q6_K, IQ4_NL, IQ4_XS, MXFP4} {
		bytes := float64(d.Bytes(c * ffn))
		// One row, what the kernel of few rows computes at once, and what is dequantized first: which of both should compute 16 rows.
		for _, rows := range []int{1, fewRows, fewRows + 1, 16, 64, n} {
			if rows != 1 && d != Q4_K && d != Q8_0 {
				continue
			}
			quantized = append(quantized, product{fmt.Sprintf("quantized/%v %d rows", d, rows), 2 * float64(rows) * c * ffn, bytes, func(b *testing.B, g *Graph) *Tensor {
				return g.Floats(rows, c).MatMulT(weight(b, d, ffn, c))
			}})
		}
		quantized = append(quantized, product{fmt.Sprintf("quantized/%v backward", d), 2 * n * c * ffn, bytes, func(b *testing.B, g *Graph) *Tensor {
			return g.Floats(n, ffn).MatMul(weight(b, d, ffn, c))
		}})
	}
	for _, x := range append([]product{
		{"forward/8192", 2 * 8192 * 8192 * 8192, 0, func(b *testing.B, g *Graph) *Tensor { return g.Floats(8192, 8192).MatMulT(weight(b, BF16, 8192, 8192)) }},
		{"forward/up", 2 * n * c * ffn, 0, func(b *testing.B, g *Graph) *Tensor { return g.Floats(n, c).MatMulT(weight(b, BF16, ffn, c)) }},
		{"backward/up", 2 * n * c * ffn, 0, func(b *testing.B, g *Graph) *Tensor { return g.Floats(n, ffn).MatMul(weight(b, BF16, ffn, c)) }},
		{"forward/float32", 2 * n * c * c, 0, func(b *testing.B, g *Graph) *Tensor { return g.Floats(n, c).MatMulT(weight(b, F32, c, c)) }},
		{"decode/up", 2 * c * ffn, 2 * c * ffn, func(b *testing.B, g *Graph) *Tensor { return g.Floats(1, c).MatMulT(weight(b, BF16, ffn, c)) }},
		{"decode/head", 2 * c * vocab, 2 * c * vocab, func(b *testing.B, g *Graph) *Tensor { return g.Floats(1, c).MatMulT(weight(b, BF16, vocab, c)) }},
		{"decode/argmax", 0, 4 * vocab, func(b *testing.B, g *Graph) *Tensor { return g.Floats(1, vocab).TopK(1) }},
		{"decode/top50", 0, 4 * vocab, func(b *testing.B, g *Graph) *Tensor { return g.Floats(1, vocab).TopK(50) }},
		{"norm", 0, 8 * n * c, func(b *testing.B, g *Graph) *Tensor { return g.Floats(n, c).RMSNorm(weight(b, F32, c), 1e-5) }},
		{"swiglu", 0, 12 * n * ffn, func(b *testing.B, g *Graph) *Tensor { return g.Floats(n, ffn).SwiGLU(g.Floats(n, ffn)) }},
		{"attention/forward", 2 * 2 * 2 * 32 * 128 * 2048 * 2049 / 2, 0, func(b *testing.B, g *Graph) *Tensor { return attend(b, g, weight, 0) }},
		{"attention/backward", 5 * 2 * 2 * 32 * 128 * 2048 * 2049 / 2, 0, func(b *testing.B, g *Graph) *Tensor { return attend(b, g, weight, 1) }},
		{"attention/decode 8192", 0, 2 * 2 * 8192 * 8 * 128, func(b *testing.B, g *Graph) *Tensor {
			spans := g.Ints(1, 2).SetInts([]int32{0, 8192})
			k, v := weight(b, F16, 8192, 8, 128), weight(b, F16, 8192, 8, 128)
			return g.Floats(1, 32, 128).Attention(k, v, spans, Attn{Scale: 1 / math.Sqrt(128), Sequences: 1})
		}},
		{"attention/paged decode 64x1024", 0, 2 * 2 * 64 * 1024 * 8 * 128, func(b *testing.B, g *Graph) *Tensor { return pagedBatch(b, g, weight, 64, 1, 1024) }},
		{"attention/paged chunk 512 of 4096", 2 * 2 * 32 * 128 * 512 * (4096 - 256), 0, func(b *testing.B, g *Graph) *Tensor { return pagedBatch(b, g, weight, 1, 512, 4096) }},
		{"loss", 0, 4 * 512 * vocab, func(b *testing.B, g *Graph) *Tensor { return g.Floats(512, vocab).CrossEntropy(ids(g, 512)) }},
	}, quantized...) {
		b.Run(x.name, func(b *testing.B) {
			g := NewGraph()
			y := x.build(b, g)
			p, err := g.Compile(dev, y)
			if err != nil {
				b.Fatal(err)
			}
			defer p.Close()
			for _, in := range p.inputs {
				if in.dtype == F32 {
					in.SetFloats(normal(in.Numel()))
				}
			}
			for range 3 { // the third is what all later ones are: a captured graph
				if err := p.Run(); err != nil {
					b.Fatal(err)
				}
			}
			if err := dev.Wait(); err != nil {
				b.Fatal(err)
			}
			const runs = 16 // queued together, so that the host is not what is timed
			for b.Loop() {
				for range runs {
					if err := dev.b.Compute(p.graph); err != nil { // the inputs are there
						b.Fatal(err)
					}
				}
				if err := dev.Wait(); err != nil {
					b.Fatal(err)
				}
			}
			seconds := b.Elapsed().Seconds() / float64(b.N*runs)
			b.ReportMetric(seconds*1e6, "µs/run")
			if x.flops > 0 {
				b.ReportMetric(x.flops/seconds/1e12, "TFLOP/s")
			}
			if x.bytes > 0 {
				b.ReportMetric(x.bytes/seconds/1e9, "GB/s")
			}
		})
	}
}

// attend is attention of 2 sequences of 2048 tokens, or its gradient, in BF16:
// a product with a BF16 matrix makes that the graph's type.
func attend(b *testing.B, g *Graph, weight func(*testing.B, DType, ...int) *Tensor, backward int) *Tensor {
	a := Attn{Scale: 1 / math.Sqrt(128), Sequences: 2}
	spans := causal(g, 2, 2048)
	q, k, v := g.Floats(4096, 32, 128), g.Floats(4096, 8, 128), g.Floats(4096, 8, 128)
	y := q.Attention(k, v, spans, a)
	if backward == 1 {
		y = q.AttentionBackward(k, v, spans, g.Floats(4096, 32*128), a)
	}
	g.Floats(1, 8).MatMulT(weight(b, BF16, 8, 8)) // not computed: the output does not need it
	return y
}

func ids(g *Graph, n int) *Tensor {
	v := make([]int32, n)
	for i := range v {
		v[i] = int32(i * 7)
	}
	return g.Ints(n).SetInts(v)
}

// TestComputeType: products of activations run in the type of the graph's matrices.
func TestComputeType(t *testing.T) {
	dev := open(t, 1)
	for _, d := range []DType{F32, F16, BF16} {
		t.Run(fmt.Sprint(d), func(t *testing.T) {
			b := newBench(t, dev)
			b.in(2, 3).MatMulT(b.in(4, 3))
			b.in(2, 3).MatMulT(b.w(d, 4, 3))
			if got := computeType(b.g, BF16); got != d {
				t.Errorf("got %v, want %v", got, d)
			}
		})
	}
}

// pagedBatch is attention of the last n of as many positions of each sequence, in pages of 32 that lie in no order.
func pagedBatch(b *testing.B, g *Graph, weight func(*testing.B, DType, ...int) *Tensor, sequences, n, positions int) *Tensor {
	const page = 32
	p := deal(rand.New(rand.NewPCG(1, 2)), page, 0, 0, slices.Repeat([]history{{positions - n, n}}, sequences)...)
	k, v := weight(b, F16, p.count*page, 8, 128), weight(b, F16, p.count*page, 8, 128)
	return p.attend(&bench{TB: b, g: g}, g.Floats(sequences*n, 32, 128), k, v, Attn{Scale: 1 / math.Sqrt(128)})
}
