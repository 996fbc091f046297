package tensor

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// quantized is a weight of a quantized type.
func (b *bench) quantized(t *testing.T, d DType, shape ...int) *Tensor {
	b.Helper()
	w, _ := quantizedWeight(t, b.dev, d, rand.New(rand.NewPCG(uint64(d), 7)), shape...)
	w.Name = d.String()
	b.weights = append(b.weights, w)
	return w
}

// inBlocks is n blocks of a type.
func (d DType) inBlocks(n int) int { return n * d.Block() }

// forQuantized runs f for every GPU and quantized type.
func forQuantized(t *testing.T, f func(t *testing.T, dev *Device, d DType)) {
	for name, dev := range gpus(t) {
		t.Run(name, func(t *testing.T) {
			for _, d := range quantizedTypes() {
				t.Run(d.String(), func(t *testing.T) { f(t, dev, d) })
			}
		})
	}
}

// TestDequantizeCUDA multiplies the identity by weights of every type, dequantized to each type of float:
// the result is what [ToFloats] gives, rounded to that type.
func TestDequantizeCUDA(t *testing.T) {
	forQuantized(t, func(t *testing.T, dev *Device, d DType) {
		t.Cleanup(func() { dev.Dequantize(BF16) })
		const rows = 3
		n := 256 // elements of a row
		identity := make([]float32, n*n)
		for i := range n {
			identity[i*n+i] = 1
		}
		for _, to := range []DType{F32, F16, BF16} {
			dev.Dequantize(to)
			b := newBench(t, dev)
			w := b.quantized(t, d, rows, n)
			y := b.g.Floats(n, n).SetFloats(identity).MatMulT(w)
			b.run(y)
			exact, got := w.Values(), y.Values()
			want := make([]float32, len(exact))
			ToFloats(to, FromFloats(to, exact), want)
			largest := 0.0
			for _, x := range exact {
				largest = math.Max(largest, math.Abs(float64(x)))
			}
			if largest == 0 {
				t.Fatal("all weights are 0")
			}
			// Where a block has a least value besides its scale, two roundings may be one.
			slack := map[DType]float64{F32: 0x1p-23, F16: 0x1p-10, BF16: 0x1p-7}[to] * largest
			if !slices.Contains([]DType{Q4_1, Q5_1, Q2_K, Q4_K, Q5_K}, d) {
				slack = 0
			}
			differ := 0
			for j := range rows {
				for i := range n {
					w, g := want[j*n+i], got[i*rows+j]
					if w != g {
						differ++
					}
					if !(math.Abs(float64(w)-float64(g)) <= slack) {
						t.Fatalf("%v, row %d, column %d: got %g, want %g", to, j, i, g, w)
					}
				}
			}
			if to != F32 && differ > rows*n/50 {
				t.Errorf("%v: %d of %d elements are rounded otherwise", to, differ, rows*n)
			}
		}
	})
}

// TestQuantizedProductsCUDA compares products of few and of many rows, and those of gradients, with
// float64: in float32, which loses nothing, and of many rows in the half types.
func TestQuantizedProductsCUDA(t *testing.T) {
	forQuantized(t, func(t *testing.T, dev *Device, d DType) {
		t.Cleanup(func() { dev.Dequantize(BF16) })
		for _, c := range []struct{ rows, out, blocks int }{{1, 5, 3}, {2, 1, 1}, {3, 7, 2}, {4, 4, 1}, {5, 6, 1}, {8, 9, 2}, {9, 5, 1}, {33, 6, 1}} {
			for _, to := range []DType{F32, F16, BF16} {
				if to != F32 && c.rows != 8 && c.rows != 9 {
					continue
				}
				t.Run(fmt.Sprintf("%dx%dx%d/%v", c.rows, c.out, c.blocks, to), func(t *testing.T) {
					dev.Dequantize(to)
					b := newBench(t, dev)
					w := b.quantized(t, d, c.out, d.inBlocks(c.blocks))
					b.in(c.rows, w.Dim(1)).MatMulT(w)
					if to != F32 && c.rows <= fewRows {
						b.check(cudaTolerance[F32]) // activations stay float32 whatever the type
						return
					}
					b.in(c.rows, c.out).MatMul(w)
					b.check(cudaTolerance[to])
				})
			}
		}
	})
}

// TestQuantizedUnalignedCUDA multiplies rows that begin between the vectors of a GPU.
func TestQuantizedUnalignedCUDA(t *testing.T) {
	for name, dev := range gpus(t) {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, dev)
			b.in(1, 2*256+1).Part(1, 2, 256).MatMulT(b.quantized(t, Q4_K, 6, 256))
			b.check(cudaTolerance[F32])
		})
	}
}

// TestQuantizedRowsCUDA looks rows up in tables of every type.
func TestQuantizedRowsCUDA(t *testing.T) {
	forQuantized(t, func(t *testing.T, dev *Device, d DType) {
		b := newBench(t, dev)
		b.quantized(t, d, 9, d.inBlocks(3)).Rows(b.g.Ints(5).SetInts([]int32{8, 0, 3, 3, 7}))
		b.check(1e-6)
	})
}

// TestQuantizedExpertsCUDA: few pairs, many, of tokens and of pairs, and the gradient.
func TestQuantizedExpertsCUDA(t *testing.T) {
	forQuantized(t, func(t *testing.T, dev *Device, d DType) {
		t.Cleanup(func() { dev.Dequantize(BF16) })
		const e, m = 3, 6
		for _, n := range []int{1, 5, 19} {
			for _, to := range []DType{F32, BF16} {
				dev.Dequantize(to)
				b := newBench(t, dev)
				w := b.quantized(t, d, e, m, d.inBlocks(1))
				group := b.in(n, e).Route(2).Group()
				b.in(n, w.Dim(2)).Experts(w, group)
				b.in(2*n, w.Dim(2)).Experts(w, group)
				b.in(2*n, m).ExpertsBackward(w, group)
				b.check(cudaTolerance[to])
			}
		}
	})
}

// TestQuantizedMemoryCUDA: of a chain of layers with their gradients no more than one weight is dequantized at
// any time, in the forward pass and in the backward one; a weight's next use takes the floats of its last.
func TestQuantizedMemoryCUDA(t *testing.T) {
	const n, c = 16, 512
	for name, dev := range gpus(t) {
		t.Run(name, func(t *testing.T) {
			activations := func(layers int, stored DType) (bytes, dequantized int) {
				plan := dev.Plan()
				g := NewGraph()
				x := g.Floats(n, c)
				var weights []*Tensor
				for range layers {
					w := Param(c, c)
					if err := plan.Alloc(w, stored); err != nil {
						t.Fatal(err)
					}
					weights = append(weights, w)
					x = x.MatMulT(w)
				}
				for _, w := range slices.Backward(weights) {
					x = x.MatMul(w)
				}
				p, err := g.Compile(plan, x)
				if err != nil {
					t.Fatal(err)
				}
				defer p.Close()
				for _, node := range p.graph.Nodes() {
					if node.What() == "CUSTOM" && node.Bytes() == c*c*BF16.Size() {
						dequantized++
					}
				}
				for _, u := range plan.Usage() {
					if u.Label == Activations {
						bytes += u.Bytes
					}
				}
				return bytes, dequantized
			}
			const weight = c * c * 2
			for _, layers := range []int{1, 2, 6} {
				stored, none := activations(layers, BF16)
				quantized, converted := activations(layers, Q4_K)
				if more := quantized - stored; more < weight*9/10 || more > weight*11/10 {
					t.Errorf("%d layers: %d bytes for dequantized weights, %d wanted", layers, more, weight)
				}
				// The last layer's weight is used twice in a row, all others are dequantized for each direction.
				if none != 0 || converted != 2*layers-1 {
					t.Errorf("%d layers: %d weights were dequantized, want %d (of %d in BF16)", layers, converted, 2*layers-1, none)
				}
			}
		})
	}
}

// TestQuantizedComputeType: quantized matrices leave the type of products to the device, unless there is a half type.
func TestQuantizedComputeType(t *testing.T) {
	dev := open(t, 1)
	for _, c := range []struct {
		weights []DType
		ask     DType
		want    DType
	}{
		{[]DType{Q4_K}, BF16, BF16},
		{[]DType{F32, Q4_K}, F16, F16},
		{[]DType{Q8_0, F32}, F32, F32},
		{[]DType{Q8_0, F16}, BF16, F16},
		{[]DType{F32}, BF16, F32},
	} {
		b := newBench(t, dev)
		for _, d := range c.weights {
			w := Param(1, 256)
			if err := dev.Alloc(w, d); err != nil {
				t.Fatal(err)
			}
			b.weights = append(b.weights, w)
			b.in(2, 256).MatMulT(w)
		}
		if got := computeType(b.g, c.ask); got != c.want {
			t.Errorf("%v, %v asked for: got %v, want %v", c.weights, c.ask, got, c.want)
		}
	}
	if err := caught(func() { dev.Dequantize(Q4_K) }); err == nil {
		t.Error("products in Q4_K were accepted")
	}
}
