package tensor

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"
)

// hyper are the seven numbers of [Tensor.AdamW] at a step, counted from 1; the last is for [Tensor.Clip].
func hyper(lr, beta1, beta2, eps float64, step int, limit float64) []float32 {
	s := float64(step)
	return []float32{float32(lr), float32(beta1), float32(beta2), float32(eps), float32(1 - math.Pow(beta1, s)), float32(math.Sqrt(1 - math.Pow(beta2, s))), float32(limit)}
}

// adamw makes an update of random leaves at the given step; working may be nil.
func (b *bench) adamw(working *Tensor, step int, shape ...int) *Tensor {
	m, v := b.w(F32, shape...), b.w(F32, shape...)
	squares := v.Values()
	for i := range squares {
		squares[i] *= squares[i]
	}
	v.SetValues(squares)
	h := b.g.Floats(7).SetFloats(hyper(1e-2, 0.9, 0.95, 1e-8, step, 0))
	return b.w(F32, shape...).AdamW(AdamWState{Grad: b.in(shape...), M: m, V: v, Working: working}, h, b.factor(0.7), 0.1)
}

// factor is what [Tensor.Clip] gives.
func (b *bench) factor(x float64) *Tensor {
	return b.g.Floats(2).SetFloats([]float32{100, float32(x)})
}

// Several steps in float64, with clipping, a working copy in BF16 and gradients that are nodes.
func TestAdamWSteps(t *testing.T) {
	const n, lr, beta1, beta2, eps, decay, clip = 37, 3e-3, 0.9, 0.95, 1e-8, 0.1, 0.25
	b := newBench(t, open(t, 2))
	w, m, v, working := b.w(F32, n), b.w(F32, n), b.w(F32, n), b.w(BF16, n)
	m.SetValues(make([]float32, n))
	v.SetValues(make([]float32, n))
	grad, h := b.in(n), b.g.Floats(7).SetFloats(make([]float32, 7))
	update := w.AdamW(AdamWState{Grad: grad.Scale(2), M: m, V: v, Working: working}, h, b.factor(clip), decay)
	p, err := b.g.Compile(b.dev, update)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	want, wm, wv := wide(w.Values()), make([]float64, n), make([]float64, n)
	for step := 1; step <= 10; step++ {
		g := b.random(n)
		grad.SetFloats(g)
		h.SetFloats(hyper(lr, beta1, beta2, eps, step, 0))
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		s := float64(step)
		for i := range n {
			x := float64(g[i]) * 2 * clip
			want[i] -= lr * decay * want[i]
			wm[i] = beta1*wm[i] + (1-beta1)*x
			wv[i] = beta2*wv[i] + (1-beta2)*x*x
			want[i] -= lr * (wm[i] / (1 - math.Pow(beta1, s))) / (math.Sqrt(wv[i]/(1-math.Pow(beta2, s))) + eps)
		}
		near(t, "w", w.Values(), want, 1e-6)
		near(t, "m", m.Values(), wm, 1e-6)
		near(t, "v", v.Values(), wv, 1e-6)
		got := w.Values()
		copied := make([]float32, n)
		ToFloats(BF16, FromFloats(BF16, got), copied)
		equalBits(t, "working copy", working.Values(), copied)
	}
}

// The numbers of torch.optim.AdamW, written by tools/reference/adamw.py.
func TestAdamWTorch(t *testing.T) {
	data, err := os.ReadFile("testdata/adamw.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Cases []struct {
			LR, Beta1, Beta2, Eps, Decay float64
			Start, M, V                  []float32
			Grads, Weights               [][]float32
		}
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) < 4 {
		t.Fatalf("got %d cases, want 4", len(file.Cases))
	}
	for _, c := range file.Cases {
		n := len(c.Start)
		b := newBench(t, open(t, 2))
		w, m, v := b.w(F32, n), b.w(F32, n), b.w(F32, n)
		w.SetValues(c.Start)
		m.SetValues(make([]float32, n))
		v.SetValues(make([]float32, n))
		grad, h := b.g.Floats(n), b.g.Floats(7)
		p, err := b.g.Compile(b.dev, w.AdamW(AdamWState{Grad: grad, M: m, V: v}, h, b.factor(1), c.Decay))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		for i, g := range c.Grads {
			grad.SetFloats(g)
			h.SetFloats(hyper(c.LR, c.Beta1, c.Beta2, c.Eps, i+1, 0))
			if err := p.Run(); err != nil {
				t.Fatal(err)
			}
			near(t, "w", w.Values(), wide(c.Weights[i]), 2e-7)
		}
		near(t, "m", m.Values(), wide(c.M), 1e-6)
		near(t, "v", v.Values(), wide(c.V), 1e-6)
	}
}

// beta 0 overwrites even NaN; the sum of several micro batches is that of their gradients.
func TestAccumulate(t *testing.T) {
	const n = 21
	b := newBench(t, open(t, 2))
	sum, grad, beta := b.w(F32, n), b.in(n), b.g.Floats(1)
	garbage := make([]float32, n)
	for i := range garbage {
		garbage[i] = float32(math.NaN())
	}
	sum.SetValues(garbage)
	p, err := b.g.Compile(b.dev, grad.Scale(1).Accumulate(sum, beta))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	want := make([]float64, n)
	for step := range 4 {
		g := b.random(n)
		for i := range want {
			want[i] += float64(g[i])
		}
		grad.SetFloats(g)
		beta.SetFloats([]float32{float32(min(step, 1))})
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		near(t, "sum", sum.Values(), want, 1e-6)
	}
}

// The sum of a million squares is not kept in one float32, whose error would be percents.
func TestSquareSumOfMany(t *testing.T) {
	b := newBench(t, open(t, 2))
	x := make([]float32, 1<<20+3)
	for i := range x {
		x[i] = 0.1
	}
	y := b.g.SquareSum(b.g.Floats(len(x)).SetFloats(x), nil)
	b.run(y)
	near(t, "sum", y.Values()[:1], []float64{float64(len(x)) * float64(float32(0.1)) * float64(float32(0.1))}, 5e-5)
}

// A long chain of small sums after a large one loses nothing: in one float32 each of these would vanish.
func TestSumsOfPairs(t *testing.T) {
	const n, small = 500, 1e-3
	b := newBench(t, open(t, 2))
	squares := b.g.SquareSum(b.g.Floats(1).SetFloats([]float32{1000}), nil)
	sum, one := b.w(F32, 2), b.g.Floats(1).SetFloats([]float32{1})
	large := b.g.Floats(1).SetFloats([]float32{1e6})
	outs := []*Tensor{large.AddDot(one, sum, b.g.Floats(1).SetFloats([]float32{0}))}
	x := b.g.Floats(1).SetFloats([]float32{small})
	for range n {
		squares = b.g.SquareSum(x, squares)
		outs = append(outs, x.AddDot(one, sum, one))
	}
	b.run(append(outs, squares)...)
	for _, c := range []struct {
		what   string
		values []float32
		want   float64
	}{
		{"squares", squares.Values(), 1e6 + n*small*small},
		{"sum", sum.Values(), 1e6 + n*small},
	} {
		// A pair has 48 bits; float32(small) is not small.
		if got := float64(c.values[0]) + float64(c.values[1]); math.Abs(got-c.want) > 1e-7*(c.want-1e6)+n*1e6*0x1p-48 {
			t.Errorf("%s: got 1e6 + %g, want %g", c.what, got-1e6, c.want-1e6)
		}
	}
}

// What is not finite stops the update of everything, and of every later step, until the leaf is set anew.
func TestClipNotFinite(t *testing.T) {
	const n = 35
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	b := newBench(t, open(t, 2))
	grad, loss, h := b.g.Floats(n), b.g.Floats(2), b.g.Floats(7).SetFloats(hyper(1e-2, 0.9, 0.95, 1e-8, 1, 1))
	state, w, m, v, working := b.w(F32, 2), b.w(F32, n), b.w(F32, n), b.w(F32, n), b.w(BF16, n)
	v.SetValues(make([]float32, n))
	// One part of the gradient stays finite.
	squares := b.g.SquareSum(grad, b.g.SquareSum(b.in(7), nil))
	clip := state.Clip(squares, loss, h)
	p, err := b.g.Compile(b.dev, w.AdamW(AdamWState{Grad: b.in(n).Scale(1), M: m, V: v, Working: working}, h, clip, 0.1))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	run := func(g float32, l []float32) (changed bool, values []float32) {
		t.Helper()
		x := make([]float32, n)
		x[n-1] = g
		grad.SetFloats(x)
		loss.SetFloats(l)
		leaves := []*Tensor{w, m, v, working}
		var before [][]float32
		for _, leaf := range leaves {
			before = append(before, leaf.Values())
		}
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		same := 0
		for i, leaf := range leaves {
			if slices.Equal(leaf.Values(), before[i]) {
				same++
			}
		}
		if same != 0 && same != len(leaves) {
			t.Fatalf("%d of %d leaves changed", len(leaves)-same, len(leaves))
		}
		return same == 0, state.Values()
	}
	for _, c := range []struct {
		name string
		grad float32
		loss []float32
	}{
		{"NaN gradient", nan, []float32{1, 0}},
		{"infinite gradient", -inf, []float32{1, 0}},
		{"overflowing squares", 1e30, []float32{1, 0}},
		{"NaN loss", 1, []float32{nan, 0}},
		{"infinite loss", 1, []float32{-inf, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			state.SetValues([]float32{0, 1})
			if changed, v := run(1, []float32{1, 1e-9}); !changed || !(v[1] > 0 && v[1] < 1) {
				t.Fatalf("a finite step: changed %t, norm and factor %g", changed, v)
			}
			changed, v := run(c.grad, c.loss)
			if changed || !math.IsNaN(float64(v[1])) {
				t.Errorf("got changed %t, norm and factor %g; want no change", changed, v)
			}
			if finite := !math.IsNaN(float64(v[0])) && !math.IsInf(float64(v[0]), 0); finite != (c.grad == 1) {
				t.Errorf("got norm %g", v[0])
			}
			if changed, v := run(1, []float32{1, 0}); changed || !math.IsNaN(float64(v[1])) || !(v[0] > 1) {
				t.Errorf("the step after: changed %t, norm and factor %g; want no change and its own norm", changed, v)
			}
		})
	}
}
