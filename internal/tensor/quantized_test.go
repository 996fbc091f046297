package tensor

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
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

// inBytes is what products in integers see of rows of activations: chunks of 32 as multiples of a 127th of the largest.
func inBytes(x []float32) []float32 {
	out := make([]float32, len(x))
	for g := 0; g < len(x); g += 32 {
		top := float32(0)
		for _, v := range x[g : g+32] {
			top = max(top, v, -v)
		}
		for i, v := range x[g : g+32] {
			out[g+i] = float32(math.RoundToEven(float64(v*(127/top)))) * (top / 127)
		}
	}
	return out
}

// TestQuantizedProducts multiplies by weights of every quantized type, forwards, with the activations as they are and
// rounded to 8 bits, and backwards; sizes are no multiples of tiles, and weights begin where a file has them.
func TestQuantizedProducts(t *testing.T) {
	one, two := open(t, 1), open(t, 2)
	for _, d := range quantizedTypes() {
		out, in := 51, 352
		if d.Block() == 256 {
			in = 1280 // more than is packed at a time
		}
		r := rand.New(rand.NewPCG(uint64(d), 1))
		aligned, v := quantizedWeight(t, two, d, r, out, in)
		raw := append(make([]byte, dtypes[d].align), aligned.Bytes()...)
		aligned.Free()
		w := Param(out, in)
		if err := two.Map(w, d, raw[dtypes[d].align:]); err != nil {
			t.Fatal(err)
		}
		own := dtypes[d].ggml.Rounds() || dtypes[d].ggml.FewRows() > smallProduct // rounded as the oracle does
		for _, n := range []int{1, 2, 3, 4, 5, 7, 9, 13, 24, 25, 70} {
			xs, dys := make([]float32, n*in), make([]float32, n*out)
			for i := range xs {
				xs[i] = float32(r.NormFloat64())
			}
			for i := range dys {
				dys[i] = float32(r.NormFloat64())
			}
			for _, exact := range []bool{false, true} {
				var first []float32
				for _, dev := range []*Device{one, two} {
					if dev == two && (n != 2 && n != 13 || d != Q4_0 && d != Q8_0 && d != Q6_K && d != IQ2_XXS) {
						continue // a thread waits for the other one by spinning, which takes long on a machine that has other work
					}
					g := NewGraph()
					g.Exact = exact
					x, dy := g.Floats(n, in).SetFloats(xs), g.Floats(n, out).SetFloats(dys)
					y, again, dx := x.MatMulT(w), x.MatMulT(w), dy.MatMul(w) // two of the same activations
					p, err := g.Compile(dev, y, again, dx)
					if err != nil {
						t.Fatal(err)
					}
					if err := p.Run(); err != nil {
						t.Fatal(err)
					}
					got := slices.Concat(y.Values(), again.Values(), dx.Values())
					p.Close()
					if first == nil {
						first = got
					} else if !slices.Equal(got, first) {
						t.Errorf("%v, %d rows: two threads give other numbers than one", d, n)
					}
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
						t.Errorf("%v, %d rows, exact %v, %s: off by %g where values reach %g", d, n, exact, what, worst, size)
					}
				}
				a, tolerance := xs, 1e-5
				switch {
				case exact:
				case own && (n <= dtypes[d].ggml.FewRows() || dtypes[d].ggml.Rounds()):
					a = inBytes(xs)
				case n <= smallProduct:
					tolerance = 0.02
				}
				weight := func(j, k int) float32 { return v[j*in+k] }
				check("x·wᵀ", first[:n*out], n, out, in, a, weight, tolerance)
				check("x·wᵀ again", first[n*out:2*n*out], n, out, in, a, weight, tolerance)
				check("dy·w", first[2*n*out:], n, in, out, dys, func(j, k int) float32 { return v[k*in+j] }, 1e-5)
			}
		}
		w.Free()
	}
}

// TestQuantizedExperts multiplies by stacks of quantized experts, few pairs of each and many.
func TestQuantizedExperts(t *testing.T) {
	dev := open(t, 1)
	const experts, k, out, in = 4, 2, 51, 512
	for _, d := range []DType{Q4_0, Q4_1, Q8_0, Q4_K, Q6_K, IQ3_S} {
		r := rand.New(rand.NewPCG(uint64(d), 5))
		w, v := quantizedWeight(t, dev, d, r, experts, out, in)
		for _, n := range []int{1, 3, 11, 600} {
			xs, scores := make([]float32, n*in), make([]float32, n*experts)
			for i := range xs {
				xs[i] = float32(r.NormFloat64())
			}
			for i := range scores {
				scores[i] = float32(r.NormFloat64())
			}
			for _, exact := range []bool{false, true} {
				g := NewGraph()
				g.Exact = exact
				y := g.Floats(n, in).SetFloats(xs).Experts(w, g.Floats(n, experts).SetFloats(scores).Route(k).Group())
				p, err := g.Compile(dev, y)
				if err != nil {
					t.Fatal(err)
				}
				if err := p.Run(); err != nil {
					t.Fatal(err)
				}
				got := y.Values()
				p.Close()
				a, tolerance := xs, 1e-5
				if !exact && dtypes[d].ggml.Rounds() {
					a = inBytes(xs)
				} else if !exact && dtypes[d].ggml.FewRows() > smallProduct {
					tolerance = 0.02 // rounded where an expert has few pairs
				}
				worst, size := 0.0, 0.0
				for i := range n {
					order := []int{0, 1, 2, 3}
					slices.SortFunc(order, func(a, b int) int { return cmp.Compare(scores[i*experts+b], scores[i*experts+a]) })
					for c, e := range order[:k] {
						for j := range out {
							sum := 0.0
							for l := range in {
								sum += float64(a[i*in+l]) * float64(v[(e*out+j)*in+l])
							}
							worst = math.Max(worst, math.Abs(sum-float64(got[(i*k+c)*out+j])))
							size = math.Max(size, math.Abs(sum))
						}
					}
				}
				if !(worst <= tolerance*size) {
					t.Errorf("%v, %d tokens, exact %v: off by %g where values reach %g", d, n, exact, worst, size)
				}
			}
		}
		w.Free()
	}
}

// TestQuantizedUnpacking: our readers give the very numbers that GGML's do, from any chunk of 32 on.
func TestQuantizedUnpacking(t *testing.T) {
	dev := open(t, 1)
	for _, d := range quantizedTypes() {
		const rows, in = 3, 512
		w, v := quantizedWeight(t, dev, d, rand.New(rand.NewPCG(3, uint64(d))), rows, in)
		g := NewGraph()
		g.Exact = true
		unit := make([]float32, in*in) // picks every element, whichever way the product reads them
		for i := range in {
			unit[i*in+i] = 1
		}
		y := g.Floats(in, in).SetFloats(unit).MatMulT(w)
		p, err := g.Compile(dev, y)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		got := y.Values()
		for i := range in {
			for j := range rows {
				if got[i*rows+j] != v[j*in+i] {
					t.Fatalf("%v: element %d of row %d is %g, want %g", d, i, j, got[i*rows+j], v[j*in+i])
				}
			}
		}
		p.Close()
		w.Free()
	}
}

// TestQuantizedNotFinite: an activation that is not a number shows in the product, however many rows there are.
func TestQuantizedNotFinite(t *testing.T) {
	dev := open(t, 1)
	for _, d := range []DType{Q4_0, Q8_0, Q2_K, Q4_K, Q6_K} {
		w, _ := quantizedWeight(t, dev, d, rand.New(rand.NewPCG(4, 4)), 16, 256)
		for _, n := range []int{1, 20} {
			for _, bad := range []float64{math.NaN(), math.Inf(1)} {
				g := NewGraph()
				xs := normal(n * 256)
				xs[100] = float32(bad)
				y := g.Floats(n, 256).SetFloats(xs).MatMulT(w)
				p, err := g.Compile(dev, y)
				if err != nil {
					t.Fatal(err)
				}
				if err := p.Run(); err != nil {
					t.Fatal(err)
				}
				got := float64(y.Values()[3])
				if !math.IsNaN(got) && !math.IsInf(got, 0) {
					t.Errorf("%v, %d rows: %g of an activation of %g", d, n, got, bad)
				}
				p.Close()
			}
		}
		w.Free()
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
