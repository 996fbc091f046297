package tensor

import (
	"encoding/json"
	"math"
	"os"
	"testing"
)

// hyper are the seven numbers of [Tensor.AdamW] at a step, counted from 1.
func hyper(lr, beta1, beta2, eps float64, step int, clip float64) []float32 {
	s := float64(step)
	return []float32{float32(lr), float32(beta1), float32(beta2), float32(eps), float32(1 - math.Pow(beta1, s)), float32(math.Sqrt(1 - math.Pow(beta2, s))), float32(clip)}
}

// adamw makes an update of random leaves at the given step; working may be nil.
func (b *bench) adamw(working *Tensor, step int, shape ...int) *Tensor {
	m, v := b.w(F32, shape...), b.w(F32, shape...)
	squares := v.Values()
	for i := range squares {
		squares[i] *= squares[i]
	}
	v.SetValues(squares)
	h := b.g.Floats(7).SetFloats(hyper(1e-2, 0.9, 0.95, 1e-8, step, 0.7))
	return b.w(F32, shape...).AdamW(AdamWState{Grad: b.in(shape...), M: m, V: v, Working: working}, h, 0.1)
}

// Several steps in float64, with clipping, a working copy in BF16 and gradients that are nodes.
func TestAdamWSteps(t *testing.T) {
	const n, lr, beta1, beta2, eps, decay, clip = 37, 3e-3, 0.9, 0.95, 1e-8, 0.1, 0.25
	b := newBench(t, open(t, 2))
	w, m, v, working := b.w(F32, n), b.w(F32, n), b.w(F32, n), b.w(BF16, n)
	m.SetValues(make([]float32, n))
	v.SetValues(make([]float32, n))
	grad, h := b.in(n), b.g.Floats(7).SetFloats(make([]float32, 7))
	update := w.AdamW(AdamWState{Grad: grad.Scale(2), M: m, V: v, Working: working}, h, decay)
	p, err := b.g.Compile(b.dev, update)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	want, wm, wv := wide(w.Values()), make([]float64, n), make([]float64, n)
	for step := 1; step <= 10; step++ {
		g := b.random(n)
		grad.SetFloats(g)
		h.SetFloats(hyper(lr, beta1, beta2, eps, step, clip))
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
		p, err := b.g.Compile(b.dev, w.AdamW(AdamWState{Grad: grad, M: m, V: v}, h, c.Decay))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		for i, g := range c.Grads {
			grad.SetFloats(g)
			h.SetFloats(hyper(c.LR, c.Beta1, c.Beta2, c.Eps, i+1, 1))
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
	y := b.g.SquareSum(b.g.Floats(len(x)).SetFloats(x))
	b.run(y)
	near(t, "sum", y.Values(), []float64{float64(len(x)) * float64(float32(0.1)) * float64(float32(0.1))}, 5e-5)
}
