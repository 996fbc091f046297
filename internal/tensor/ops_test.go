package tensor

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// bench is what one case is built on: a device, a graph and a source of values that is the same for every number of threads.
type bench struct {
	testing.TB
	dev *Device
	g   *Graph
	rng *rand.Rand

	weights []*Tensor
}

// open is a device that lasts as long as the test.
func open(t testing.TB, threads int) *Device {
	t.Helper()
	dev, err := Open("cpu", Options{Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dev.Close)
	return dev
}

func newBench(t testing.TB, dev *Device) *bench {
	b := &bench{TB: t, dev: dev, g: NewGraph(), rng: rand.New(rand.NewPCG(1, 2))}
	t.Cleanup(func() {
		for _, w := range b.weights {
			w.Free()
		}
	})
	return b
}

func (b *bench) random(n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(b.rng.NormFloat64())
	}
	return v
}

// in is an input of random values.
func (b *bench) in(shape ...int) *Tensor {
	return b.g.Floats(shape...).SetFloats(b.random(numel(shape)))
}

// ids is an input of n random integers below limit.
func (b *bench) ids(limit, n int) *Tensor {
	v := make([]int32, n)
	for i := range v {
		v[i] = int32(b.rng.IntN(limit))
	}
	return b.g.Ints(n).SetInts(v)
}

// w is a weight of random values.
func (b *bench) w(d DType, shape ...int) *Tensor {
	b.Helper()
	w := Param(shape...)
	w.Name = "w"
	if err := b.dev.Alloc(w, d); err != nil {
		b.Fatal(err)
	}
	if d != I32 {
		w.SetValues(b.random(w.Numel()))
	}
	b.weights = append(b.weights, w)
	return w
}

// spans is an input of (from, to) pairs.
func (b *bench) spans(v []int32) *Tensor { return b.g.Ints(len(v)/2, 2).SetInts(v) }

// run computes outs; it fails the test where that fails.
func (b *bench) run(outs ...*Tensor) *Program {
	b.Helper()
	p, err := b.g.Compile(b.dev, outs...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.Close)
	if err := p.Run(); err != nil {
		b.Fatal(err)
	}
	return p
}

// check runs every node of the graph and, when tolerance is not 0, compares each with its reference,
// computed from the values that its operands had. It returns the values, for comparison by bits.
func (b *bench) check(tolerance float64) (values [][]float32) {
	b.Helper()
	before := map[*Tensor][]float64{}
	for _, w := range b.weights {
		before[w] = wide(w.Values())
	}
	var outs []*Tensor
	for _, n := range b.g.nodes {
		overwritten := slices.ContainsFunc(b.g.nodes, func(o *Tensor) bool { return o.Op == OpSetRows && o.Src[0] == n })
		if !overwritten && n.dtype != I32 {
			outs = append(outs, n)
		}
	}
	b.run(outs...)
	var value func(t *Tensor) []float64
	compute := func(t *Tensor) []float64 {
		src := make([][]float64, len(t.Src))
		for i, s := range t.Src {
			src[i] = value(s)
		}
		return references[t.Op](t, src)
	}
	value = func(t *Tensor) []float64 {
		switch {
		case t.IsWeight():
			return before[t]
		case t.IsInput() && t.dtype == I32:
			v := make([]float64, len(t.ids))
			for i, x := range t.ids {
				v[i] = float64(x)
			}
			return v
		case t.IsInput():
			return wide(t.floats)
		case slices.Contains(outs, t):
			return wide(t.Values())
		}
		return compute(t)
	}
	for _, n := range outs {
		got := n.Values()
		if tolerance > 0 {
			near(b, fmt.Sprintf("%v %v", n.Op, n.shape), got, compute(n), tolerance)
		}
		values = append(values, got)
	}
	return values
}

func wide(v []float32) []float64 {
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = float64(x)
	}
	return out
}

// near compares element-wise; tolerance is a fraction of the largest value, or of
// 0.1 where that is more: operands are about 1, and differences of them cancel.
func near(t testing.TB, what string, got []float32, want []float64, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: got %d elements, want %d", what, len(got), len(want))
	}
	largest := 0.1
	for _, x := range want {
		largest = max(largest, math.Abs(x))
	}
	for i := range got {
		if d := math.Abs(float64(got[i]) - want[i]); !(d <= tolerance*largest) {
			t.Errorf("%s: element %d: got %g, want %g (largest %g)", what, i, got[i], want[i], largest)
			return
		}
	}
}

// awkward are sizes around and between the vector widths (8, 16), the register tiles (6 or 12 by 16 or 32) and the switch of products at few rows.
var awkward = []int{1, 2, 3, 17, 33}

// opCase makes nodes of op in the graph; every node the graph has is checked.
type opCase struct {
	op        Op
	tolerance float64 // 0 means 1e-5 of the largest value
	build     func(b *bench)
}

var opCases = func() (cases []opCase) {
	add := func(op Op, build func(b *bench)) { cases = append(cases, opCase{op: op, build: build}) }
	for _, n := range awkward {
		for _, c := range awkward {
			add(OpAdd, func(b *bench) { b.in(n, c).Add(b.in(n, c)).Add(b.in(c)).Add(b.w(F32, c)) })
			add(OpMul, func(b *bench) { b.in(2, n, c).Mul(b.in(2, n, c)).Mul(b.in(n, c)).Mul(b.w(F32, c)) })
			add(OpScale, func(b *bench) { b.in(n, c).Scale(-1.75) })
			add(OpRMSNorm, func(b *bench) { b.in(n, c).RMSNorm(b.w(F32, c), 1e-5); b.in(n, c).RMSNormOffset(b.w(F32, c), 1e-6, 1) })
			// Rows of one channel have a gradient near 0, as a difference of large numbers.
			cases = append(cases, opCase{OpRMSNormBack, 5e-5, func(b *bench) { b.in(n, c).RMSNormBackward(b.w(F32, c), b.in(n, c), Norm{Eps: 1e-5}) }})
			cases = append(cases, opCase{OpRMSNormBack, 5e-5, func(b *bench) { b.in(n, c).RMSNormBackward(b.w(F32, c), b.in(n, c), Norm{1e-5, 1}) }})
			add(OpRMSNormBackW, func(b *bench) { b.in(n, c).RMSNormBackwardWeight(b.in(n, c), 1e-5) })
			add(OpLayerNorm, func(b *bench) {
				b.in(n, c).LayerNorm(b.w(F32, c), b.w(F32, c), 1e-5)
				b.in(2, n, c).Add(b.g.Floats(c).SetFloats(slices.Repeat([]float32{10}, c))).LayerNorm(b.w(F32, c), nil, 0.1) // rows far from 0
			})
			// Of one channel, which is its mean, only eps is left: the gradient is a rounding error over its root. Of two, that differ
			// by about 1, the normalized ones are ±1 but for eps, and the gradient a difference of large numbers.
			eps := 1e-5
			if c == 1 {
				eps = 0.1
			}
			cases = append(cases, opCase{OpLayerNormBack, 1e-4, func(b *bench) { b.in(n, c).LayerNormBackward(b.w(F32, c), b.in(n, c), eps) }})
			add(OpLayerNormBackW, func(b *bench) { b.in(n, c).LayerNormBackwardWeight(b.in(n, c), 1e-5) })
			for a := range activations {
				a := Activation(a)
				add(OpAct, func(b *bench) { b.in(n, c).Scale(3).Act(a) })
				add(OpActBack, func(b *bench) { b.in(n, c).Scale(3).ActBackward(a, b.in(n, c)) })
				add(OpGate, func(b *bench) { b.in(n, c).Gate(a, b.in(n, c)) })
				add(OpGateBack, func(b *bench) { b.in(n, c).Scale(3).GateBackward(a, b.in(n, c), b.in(n, c)) })
			}
			for _, limit := range []float64{0.5, 2, 50} {
				add(OpSoftcap, func(b *bench) { b.in(n, c).Softcap(limit) })
				add(OpSoftcapBack, func(b *bench) { b.in(n, c).Softcap(limit).SoftcapBackward(b.in(n, c), limit) })
			}
			add(OpColumns, func(b *bench) { b.in(n, c).Columns(0, c); b.in(2, n, c+3).Columns(2, c) })
			add(OpColumnsBack, func(b *bench) { b.in(n, c).ColumnsBackward(0, c); b.in(2, n, c).ColumnsBackward(3, c+4) })
			add(OpSoftmax, func(b *bench) { b.in(2, n, c).Softmax(0.3, b.in(n, c)); b.in(n, c).Softmax(1, nil) })
			add(OpSoftmaxBack, func(b *bench) { b.in(2, n, c).Softmax(0.3, nil).SoftmaxBackward(b.in(2, n, c), 0.3) })
			add(OpReshape, func(b *bench) { b.in(n, 2*c).Reshape(c, 2, n, 1).Reshape(2 * n * c) })
			add(OpRows, func(b *bench) {
				for _, d := range []DType{F32, BF16, F16} {
					b.w(d, n, c).Rows(b.ids(n, 17))
				}
			})
			add(OpRowsBack, func(b *bench) { b.in(17, c).RowsBackward(b.ids(n, 17), n) })
			add(OpZeros, func(b *bench) { b.in(1).Zeros(n, c) })
			add(OpSetRows, func(b *bench) {
				ids := func() *Tensor { return b.g.Ints(2).SetInts([]int32{int32(n), 0}) }
				b.in(1).Zeros(n+1, c).SetRows(ids(), b.in(2, c)).SetRows(b.ids(n+1, 1), b.in(1, c))
				for _, d := range []DType{F32, F16, BF16} {
					b.w(d, n+1, c).SetRows(ids(), b.in(2, c))
				}
				b.w(Q8_0, n+1, 32*c).SetRows(ids(), b.in(2, 32*c))
			})
			add(OpTopK, func(b *bench) {
				for _, k := range []int{1, c/2 + 1, c} {
					b.in(n, c).TopK(k)
					b.in(n, 3*c).Mul(b.g.Floats(3 * c).SetFloats(make([]float32, 3*c))).TopK(k) // zeros of both signs
				}
			})
			add(OpCrossEntropy, func(b *bench) { b.in(n, c).CrossEntropy(b.targets(c, n)) })
			add(OpCrossEntropyBack, func(b *bench) { b.in(n, c).CrossEntropyBackward(b.targets(c, n), b.in(n)) })
			add(OpSumTo, func(b *bench) { b.in(3, n, c).SumTo([]int{c}); b.in(3, n, c).SumTo([]int{n, c}) })
			add(OpPart, func(b *bench) { b.in(n, 3*c).Scale(2).Part(n*c, c, n, 2) })
			add(OpDropout, func(b *bench) { b.in(n, c).Dropout(b.g.Ints(2).SetInts([]int32{-5, 77}), Mask{0.3, 4}) })
			add(OpAccumulate, func(b *bench) {
				b.in(n, c).Accumulate(b.w(F32, n, c), b.g.Floats(1).SetFloats([]float32{0.5}))
				b.in(n, c).Accumulate(b.w(F32, n, c), b.g.Floats(1).SetFloats([]float32{0}))
			})
			add(OpAdamW, func(b *bench) { b.adamw(b.w(BF16, n, c), 3, n, c); b.adamw(nil, 3, n, c) })
			add(OpSquareSum, func(b *bench) {
				b.g.SquareSum(b.w(F32, n*100, c), b.g.SquareSum(b.in(n, c), nil))
				b.g.SquareSum(b.in(n, c), b.w(F32, 2))
			})
			add(OpAddDot, func(b *bench) {
				for _, beta := range []float32{0, 1, -0.5} {
					b.in(n, c).AddDot(b.in(n, c), b.w(F32, 2), b.g.Floats(1).SetFloats([]float32{beta}))
				}
			})
			add(OpClip, func(b *bench) {
				for _, limit := range []float32{0, 0.5, 1e4} {
					h := b.in(7)
					h.floats[6] = limit
					b.w(F32, 2).Clip(b.g.SquareSum(b.in(n, c), nil), b.in(2), h)
				}
			})
			add(OpPermute, func(b *bench) {
				b.in(n, c).T()
				b.in(2, n, c).Permute(2, 0, 1)
				b.in(2, n, 3, c).Permute(1, 3, 2, 0)
				b.in(2, n, 3, c).Permute(0, 2, 1, 3)
				b.in(n, c).Permute(0, 1)
			})
		}
		for _, d := range []int{2, 24, 64, 80} {
			for _, pairs := range []int{1, d / 2, d/4 + 1} {
				rope := &RoPE{Freqs: make([]float64, min(pairs, d/2)), Scale: 1.25}
				for i := range rope.Freqs {
					rope.Freqs[i] = math.Pow(10000, -float64(i)/float64(len(rope.Freqs)))
				}
				add(OpRoPE, func(b *bench) {
					pos := b.ids(5000, n)
					b.in(n, 3, d).RoPE(pos, rope).RoPEBackward(b.g.ropeTable(pos, rope))
				})
			}
		}
		add(OpRopeTable, func(b *bench) {
			b.in(n, 1, 4).RoPE(b.ids(100000, n), &RoPE{Freqs: []float64{1, 0.01}, Scale: 0.5})
			b.in(2*n, 1, 4).RoPE(b.ids(10, 2*n).Reshape(2, n), &RoPE{Freqs: []float64{1}, Scale: 1})
		})
	}
	for _, n := range []int{1, 3, 4, 17, 33} {
		for _, m := range []int{1, 2, 17, 33} {
			for _, k := range []int{1, 33, 300} {
				add(OpMatMulT, func(b *bench) { b.in(n, k).MatMulT(b.in(m, k)); b.in(n, k).MatMulT(b.w(F32, m, k)) })
				add(OpMatMul, func(b *bench) { b.in(n, k).MatMul(b.in(k, m)); b.in(n, k).MatMul(b.w(F32, k, m)) })
				add(OpTMatMul, func(b *bench) { b.in(k, n).TMatMul(b.in(k, m)) })
				for _, d := range []DType{BF16, F16} {
					const tolerance = 1e-5 // weights of any type are converted exactly
					cases = append(cases, opCase{OpMatMulT, tolerance, func(b *bench) { b.in(n, k).MatMulT(b.w(d, m, k)) }})
					add(OpMatMul, func(b *bench) { b.in(n, k).MatMul(b.w(d, k, m)) })
				}
			}
		}
		// Leading axes: batches, groups of heads that share keys, a weight shared by all.
		add(OpMatMulT, func(b *bench) {
			b.in(6, n, 24).MatMulT(b.in(2, 17, 24))
			b.in(2, 6, n, 24).MatMulT(b.in(2, 3, 17, 24))
			b.in(4, 6, n, 24).MatMulT(b.in(2, 3, 17, 24))
			b.in(2, 6, n, 24).MatMulT(b.in(3, 17, 24))
			b.in(2, 6, n, 24).MatMulT(b.w(F32, 17, 24))
			b.in(6, n, 24).MatMulT(b.w(F32, 3, 17, 24))
		})
		add(OpMatMul, func(b *bench) {
			b.in(2, 6, n, 24).MatMul(b.in(2, 3, 24, 17))
			b.in(2, 6, n, 24).MatMul(b.w(F32, 24, 17))
		})
		add(OpTMatMul, func(b *bench) {
			b.in(2, 6, 24, n).TMatMul(b.in(2, 6, 24, 17))
			b.in(6, 24, n).TMatMul(b.in(2, 24, 17))
		})
	}
	for _, k := range []int{1, 50, 1000, MaxTopK} {
		add(OpTopK, func(b *bench) { b.in(3, 5000).TopK(k) })
	}
	cases = append(cases, expertCases()...)
	return append(append(cases, attentionCases()...), pagedCases()...)
}()

// targets are n classes below v, the first ignored when there are several.
func (b *bench) targets(v, n int) *Tensor {
	t := b.ids(v, n)
	if n > 1 {
		t.ids[0] = Ignore
	}
	return t
}

// TestOps compares every operation with its reference, and the results of 1, 2 and 3 threads bit for bit.
func TestOps(t *testing.T) {
	covered := map[Op]int{OpLeaf: 1} // cases by operation
	devices := []*Device{open(t, 1), open(t, 2), open(t, 3)}
	for i, c := range opCases {
		if references[c.op] == nil {
			t.Fatalf("%v has no reference", c.op)
		}
		number := covered[c.op]
		covered[c.op]++
		if c.tolerance == 0 {
			c.tolerance = 1e-5
		}
		t.Run(fmt.Sprintf("%v/%d", c.op, i), func(t *testing.T) {
			var first [][]float32
			for _, dev := range devices {
				// On a busy machine threads wait for each other for milliseconds: every seventh case must do.
				if dev.Threads > 1 && number%7 != 3 {
					continue
				}
				b := newBench(t, dev)
				c.build(b)
				if first == nil {
					if !slices.ContainsFunc(b.g.nodes, func(n *Tensor) bool { return n.Op == c.op }) {
						t.Fatal("the case makes no such node")
					}
					first = b.check(c.tolerance)
					continue
				}
				for i, got := range b.check(0) {
					equalBits(t, fmt.Sprintf("output %d, %d threads", i, dev.Threads), got, first[i])
				}
			}
		})
	}
	for _, op := range Ops() {
		if covered[op] == 0 {
			t.Errorf("no case for %v", op)
		}
		if op != OpLeaf && references[op] == nil {
			t.Errorf("no reference for %v", op)
		}
		if op != OpLeaf && lowerings[op] == nil {
			t.Errorf("no lowering for %v", op)
		}
	}
}

func equalBits(t testing.TB, what string, got, want []float32) {
	t.Helper()
	for i := range got {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Errorf("%s: element %d: got %x, want %x (%g, %g)", what, i, math.Float32bits(got[i]), math.Float32bits(want[i]), got[i], want[i])
			return
		}
	}
}
