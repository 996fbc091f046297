package tensor

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// cost is what one run of a program takes at least: floating-point operations or bytes of memory.
type cost struct{ flop, bytes float64 }

// measure compiles what build makes and runs it on all processors.
func measure(b *testing.B, c cost, build func(g *Graph, dev *Device) []*Tensor) {
	dev, err := Open("cpu", 0)
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
	for b.Loop() {
		if err := p.Run(); err != nil {
			b.Fatal(err)
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

func randomInput(g *Graph, shape ...int) *Tensor { return g.Floats(shape...).SetFloats(normal(numel(shape))) }

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

// BenchmarkMatMulRows decides smallProduct: GGML's product and ours on few rows,
// for a weight that stays in the cache and one that does not.
func BenchmarkMatMulRows(b *testing.B) {
	ours := lowerings[OpMatMul] // of the operands (x, w): their product without transposition
	_ = ours
	for _, s := range [][2]int{{1536, 576}, {49152, 576}} {
		for _, d := range []DType{F32, BF16, F16} {
			for _, n := range []int{1, 2, 3, 4, 8, 16} {
				for _, who := range []string{"ggml", "packed"} {
					b.Run(fmt.Sprintf("%dx%d/%v/n=%d/%s", s[0], s[1], d, n, who), func(b *testing.B) {
						measure(b, cost{2 * float64(n*s[0]*s[1]), float64(d.Size() * s[0] * s[1])}, func(g *Graph, dev *Device) []*Tensor {
							x := randomInput(g, n, s[1])
							return []*Tensor{x.MatMulT(randomWeight(b, dev, d, s[0], s[1]))}
						})
					})
				}
			}
		}
	}
}
