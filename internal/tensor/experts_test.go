package tensor

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"unsafe"
)

// expertCases have experts without pairs, with few and with many; a row for each token and for each pair; every stored type.
func expertCases() (cases []opCase) {
	add := func(op Op, build func(b *bench)) { cases = append(cases, opCase{op: op, build: build}) }
	for _, n := range []int{1, 3, 17, 40} {
		for _, e := range []int{1, 4, 33} {
			for _, k := range []int{1, min(3, e), min(e, 8)} {
				add(OpRoute, func(b *bench) { x := b.in(n, e); x.RouteWeights(x.Route(k), true) })
				for _, chosen := range []bool{false, true} {
					add(OpRouteWeights, func(b *bench) { x := b.in(n, e); x.RouteWeights(x.Route(k), chosen) })
					add(OpRouteWeightsBack, func(b *bench) { x := b.in(n, e); x.RouteWeightsBackward(x.Route(k), b.in(n, k), chosen) })
				}
				add(OpGroup, func(b *bench) { b.in(n, e).Route(k).Group().GroupCounts(e, b.in(n)) })
				add(OpGroupCounts, func(b *bench) { b.in(n, e).Route(k).Group().GroupCounts(e, b.in(n)) })
			}
		}
		for _, k := range []int{1, 2, 5} {
			for _, c := range awkward {
				add(OpCombine, func(b *bench) { b.in(n*k, c).Combine(b.in(n, k)); b.in(n*k, c).SumChoices(k) })
				add(OpCombineBack, func(b *bench) { b.in(n, k).CombineBackward(b.in(n, c)) })
				add(OpCombineBackW, func(b *bench) { b.in(n*k, c).CombineBackwardWeights(b.in(n, c)) })
				add(OpGLU, func(b *bench) { b.in(n*k, 2*c).GLU() })
				add(OpGLUBack, func(b *bench) { b.in(n*k, 2*c).GLUBackward(b.in(n*k, c)) })
			}
		}
	}
	for _, n := range []int{1, 5, 33, 300} {
		for _, m := range []int{2, 70} {
			for _, c := range []int{3, 33, 130} {
				if n == 300 && m*c > 70*33 {
					continue
				}
				for _, d := range []DType{F32, BF16, F16} {
					add(OpExperts, func(b *bench) {
						group := b.in(n, 5).Route(2).Group()
						b.in(n, c).Experts(b.w(d, 5, m, c), group)
						b.in(2*n, c).Experts(b.w(d, 5, m, c), group)
						b.in(n, c).Experts(b.w(d, 9, m, c), b.in(n, 9).Route(1).Group())
					})
					add(OpExpertsBack, func(b *bench) { b.in(3*n, m).ExpertsBackward(b.w(d, 4, m, c), b.in(n, 4).Route(3).Group()) })
					add(OpExpertsBackW, func(b *bench) {
						b.in(n, 7).MatMulT(b.w(d, 2, 7)) // decides the type of a GPU's products
						group := b.in(n, 6).Route(2).Group()
						b.in(2*n, m).ExpertsBackwardWeight(b.in(n, c), group, 6)
						b.in(2*n, m).ExpertsBackwardWeight(b.in(2*n, c), group, 6)
					})
				}
				add(OpExperts, func(b *bench) { b.in(n, c).Experts(b.in(5, m, c), b.in(n, 5).Route(2).Group()) })
			}
		}
	}
	return cases
}

// TestRouteOrder looks at the integers themselves: ties by lowest id, NaN first, and pairs of an expert in their order.
func TestRouteOrder(t *testing.T) {
	devices := gpus(t)
	devices["cpu"] = open(t, 2)
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for name, dev := range devices {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, dev)
			ids := b.g.Floats(5, 4).SetFloats([]float32{1, 2, 2, 0, nan, inf, 3, nan, 0, 0, 0, 0, -inf, -inf, -1, -inf, 4, 3, 2, 1}).Route(2)
			group := ids.Group()
			p := b.run(group, ids)
			for what, c := range map[string]struct {
				t    *Tensor
				want []int32
			}{
				"ids":   {ids, []int32{1, 2, 0, 3, 0, 1, 2, 0, 0, 1}},
				"group": {group, []int32{0, 4, 7, 9, 10, 2, 4, 7, 8, 0, 5, 9, 1, 6, 3}},
			} {
				got := make([]int32, len(c.want))
				dev.b.Get(p.lowered[c.t], unsafe.Slice((*byte)(unsafe.Pointer(&got[0])), 4*len(got)), 0)
				if !slices.Equal(got, c.want) {
					t.Errorf("%s: got %v, want %v", what, got, c.want)
				}
			}
		})
	}
}

// TestSoftmaxBackwardTwice uses one gradient for two softmaxes that nothing else needs
// any more: the planner is free to put the result where one of the operands is.
func TestSoftmaxBackwardTwice(t *testing.T) {
	devices := gpus(t)
	devices["cpu"] = open(t, 2)
	for name, dev := range devices {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, dev)
			dy := b.in(5, 7).Scale(2)
			var out []*Tensor
			var want [][]float64
			for range 2 {
				x := b.in(5, 7)
				y := x.Scale(1).Softmax(0.5, nil)
				out = append(out, y.SoftmaxBackward(dy, 0.5).Scale(3))
				p := references[OpSoftmax](y, [][]float64{wide(x.floats)})
				g := references[OpScale](dy, [][]float64{wide(dy.Src[0].floats)})
				d := references[OpSoftmaxBack](out[len(out)-1].Src[0], [][]float64{p, g})
				want = append(want, references[OpScale](out[len(out)-1], [][]float64{d}))
			}
			b.run(out...)
			for i := range out {
				near(t, fmt.Sprint("softmax ", i), out[i].Values(), want[i], 1e-5)
			}
		})
	}
}

// BenchmarkExperts compares a layer of experts with a dense one that does as much
// arithmetic: 8 experts of which 2 are chosen against the two as one layer.
func BenchmarkExperts(b *testing.B) {
	const c, hidden, e, k = 1024, 1792, 8, 2
	dev := open(b, 1) // threads that wait for each other would be measured instead, on a busy machine
	for _, n := range []int{1, 32, 64, 512} {
		for _, kind := range []string{"experts", "dense"} {
			b.Run(fmt.Sprintf("%s/%d tokens", kind, n), func(b *testing.B) {
				bb := newBench(b, dev)
				x := bb.in(n, c)
				var y *Tensor
				if kind == "experts" {
					l := x.MatMulT(bb.w(BF16, e, c))
					ids := l.Route(k)
					group := ids.Group()
					y = x.Experts(bb.w(BF16, e, 2*hidden, c), group).GLU().Experts(bb.w(BF16, e, c, hidden), group).Combine(l.RouteWeights(ids, true))
				} else {
					y = x.MatMulT(bb.w(BF16, 2*k*hidden, c)).GLU().MatMulT(bb.w(BF16, c, k*hidden))
				}
				p, err := bb.g.Compile(dev, y)
				if err != nil {
					b.Fatal(err)
				}
				defer p.Close()
				for b.Loop() {
					if err := p.Run(); err != nil {
						b.Fatal(err)
					}
				}
				flops := 2.0 * float64(n) * k * 3 * c * hidden
				b.ReportMetric(flops*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}
