package tensor

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// quantizedTypes are all of them.
func quantizedTypes() []DType {
	var all []DType
	for d := Q4_0; d < numDTypes; d++ {
		all = append(all, d)
	}
	return all
}

// quantizedWeight is a weight of the type with values around 0 and, as the oracle, the floats that it stands for.
func quantizedWeight(t *testing.T, dev *Device, d DType, r *rand.Rand, shape ...int) (*Tensor, []float32) {
	t.Helper()
	w := Param(shape...)
	if err := dev.Alloc(w, d); err != nil {
		t.Fatal(err)
	}
	v := make([]float32, w.Numel())
	raw := make([]byte, d.Bytes(len(v)))
	if d >= IQ1_S && d <= IQ3_S {
		// GGML takes up to 20 s to prepare quantizing to these: random indices and a scale of 1/16 do as well.
		for i := range raw {
			raw[i] = byte(r.Uint32())
		}
		for at := 0; at < len(raw); at += d.Bytes(d.Block()) {
			if d == IQ1_M { // the scale is in the high nibbles of its last four numbers
				scales := raw[at+48:]
				scales[1], scales[3], scales[5], scales[7] = scales[1]&15, scales[3]&15, scales[5]&15|0xc0, scales[7]&15|0x20
			} else {
				raw[at], raw[at+1] = 0, 0x2c
			}
		}
	} else {
		for i := range v {
			v[i] = float32(r.NormFloat64()) * 0.3
		}
		Quantize(d, v, shape[len(shape)-1], nil, raw)
	}
	w.SetBytes(raw)
	ToFloats(d, raw, v)
	return w, v
}

// TestQuantizedProducts multiplies by weights of every quantized type: many rows with the floats that
// they stand for, few rows with activations rounded to 8 bits as well, and transposed.
func TestQuantizedProducts(t *testing.T) {
	dev := open(t, 2)
	const out, in = 48, 512
	for _, d := range quantizedTypes() {
		for _, n := range []int{1, 5, 7, 33} {
			t.Run(fmt.Sprint(d, "/", n), func(t *testing.T) {
				r := rand.New(rand.NewPCG(uint64(d), uint64(n)))
				w, v := quantizedWeight(t, dev, d, r, out, in)
				defer w.Free()
				g := NewGraph()
				x, dy := g.Floats(n, in), g.Floats(n, out)
				xs, dys := make([]float32, n*in), make([]float32, n*out)
				for i := range xs {
					xs[i] = float32(r.NormFloat64())
				}
				for i := range dys {
					dys[i] = float32(r.NormFloat64())
				}
				y, dx := x.MatMulT(w), dy.MatMul(w)
				p, err := g.Compile(dev, y, dx)
				if err != nil {
					t.Fatal(err)
				}
				defer p.Close()
				x.SetFloats(xs)
				dy.SetFloats(dys)
				if err := p.Run(); err != nil {
					t.Fatal(err)
				}
				check := func(what string, got []float32, rows, cols, depth int, a []float32, b func(j, k int) float32, tolerance float64) {
					t.Helper()
					worst, size := 0.0, 0.0
					for i := range rows {
						for j := range cols {
							sum := 0.0
							for k := range depth {
								sum += float64(a[i*depth+k]) * float64(b(j, k))
							}
							worst = math.Max(worst, math.Abs(sum-float64(got[i*cols+j])))
							size = math.Max(size, math.Abs(sum))
						}
					}
					if !(worst <= tolerance*size) {
						t.Errorf("%s: off by %g where values reach %g", what, worst, size)
					}
				}
				tolerance := 1e-5
				if n <= smallProduct {
					tolerance = 0.02 // the activations are rounded to 8 bits
				}
				check("x·wᵀ", y.Values(), n, out, in, xs, func(j, k int) float32 { return v[j*in+k] }, tolerance)
				check("dy·w", dx.Values(), n, in, out, dys, func(j, k int) float32 { return v[k*in+j] }, 1e-5)
			})
		}
	}
}

// TestQuantizedRows looks rows up in tables of every quantized type, exactly.
func TestQuantizedRows(t *testing.T) {
	dev := open(t, 2)
	const rows, in = 9, 256
	for _, d := range quantizedTypes() {
		w, v := quantizedWeight(t, dev, d, rand.New(rand.NewPCG(1, uint64(d))), rows, in)
		g := NewGraph()
		ids := g.Ints(3)
		y := w.Rows(ids)
		p, err := g.Compile(dev, y)
		if err != nil {
			t.Fatal(err)
		}
		ids.SetInts([]int32{8, 0, 3})
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		got := y.Values()
		for i, row := range []int{8, 0, 3} {
			for c := range in {
				if got[i*in+c] != v[row*in+c] {
					t.Fatalf("%v: row %d, column %d: %g, want %g", d, row, c, got[i*in+c], v[row*in+c])
				}
			}
		}
		p.Close()
		w.Free()
	}
}

// TestQuantizeErrors: what GGML would end the process for.
func TestQuantizeErrors(t *testing.T) {
	for name, call := range map[string]func(){
		"float type":      func() { Quantize(F32, make([]float32, 32), 32, nil, make([]byte, 128)) },
		"row no blocks":   func() { Quantize(Q4_K, make([]float32, 512), 128, nil, make([]byte, 288)) },
		"short output":    func() { Quantize(Q4_0, make([]float32, 64), 32, nil, make([]byte, 18)) },
		"short weights":   func() { Quantize(Q4_0, make([]float32, 64), 32, make([]float32, 31), make([]byte, 36)) },
		"wants weights":   func() { Quantize(IQ2_XXS, make([]float32, 256), 256, nil, make([]byte, 66)) },
		"half a block":    func() { ToFloats(Q4_0, make([]byte, 18), make([]float32, 16)) },
		"too few bytes":   func() { ToFloats(Q4_0, make([]byte, 17), make([]float32, 32)) },
		"integers":        func() { ToFloats(I32, make([]byte, 4), make([]float32, 1)) },
		"from half block": func() { FromFloats(Q8_0, make([]float32, 31)) },
	} {
		var err error
		func() {
			defer Catch(&err)
			call()
		}()
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
