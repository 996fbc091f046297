package tensor

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestQuick(t *testing.T) {
	dev, err := Open("cpu", 2)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	for _, s := range [][3]int{{1, 5, 7}, {13, 33, 19}, {100, 300, 600}, {7, 16, 257}} {
		n, m, k := s[0], s[1], s[2]
		w := Param(m, k)
		dev.Alloc(w, F32)
		wv := make([]float32, m*k)
		for i := range wv {
			wv[i] = float32(rng.NormFloat64())
		}
		w.SetValues(wv)
		g := NewGraph()
		x := g.Floats(n, k)
		xv := make([]float32, n*k)
		for i := range xv {
			xv[i] = float32(rng.NormFloat64())
		}
		x.SetFloats(xv)
		y := x.MatMulT(w)
		z := y.MatMul(w)
		q := y.TMatMul(x)
		p, err := g.Compile(dev, y, z, q)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		yv := y.Values()
		var worst float64
		for i := range n {
			for j := range m {
				var s float64
				for l := range k {
					s += float64(xv[i*k+l]) * float64(wv[j*k+l])
				}
				worst = max(worst, math.Abs(s-float64(yv[i*m+j])))
			}
		}
		zv, qv := z.Values(), q.Values()
		for i := range n {
			for j := range k {
				var s float64
				for l := range m {
					s += float64(yv[i*m+l]) * float64(wv[l*k+j])
				}
				worst = max(worst, math.Abs(s-float64(zv[i*k+j]))/100)
			}
		}
		for i := range m {
			for j := range k {
				var s float64
				for l := range n {
					s += float64(yv[l*m+i]) * float64(xv[l*k+j])
				}
				worst = max(worst, math.Abs(s-float64(qv[i*k+j]))/100)
			}
		}
		t.Log(s, worst)
		if worst > 1e-3 {
			t.Error("wrong")
		}
		p.Close()
	}
}

func BenchmarkQuick(b *testing.B) {
	dev, _ := Open("cpu", 2)
	for _, d := range []DType{F32, BF16} {
		for _, s := range [][3]int{{1024, 576, 576}, {1024, 192, 576}, {1024, 1536, 576}, {1024, 576, 1536}, {128, 49152, 576}} {
			n, m, k := s[0], s[1], s[2]
			w := Param(m, k)
			dev.Alloc(w, d)
			w.SetValues(make([]float32, m*k))
			g := NewGraph()
			x := g.Floats(n, k).SetFloats(make([]float32, n*k))
			y := x.MatMulT(w)
			dx := y.MatMul(w)
			p, err := g.Compile(dev, y, dx)
			if err != nil {
				b.Fatal(err)
			}
			b.Run(d.String()+" "+string(rune('0'+len(s))), func(b *testing.B) {
				for range b.N {
					p.Run()
				}
				b.ReportMetric(4*float64(n)*float64(m)*float64(k)*float64(b.N)/b.Elapsed().Seconds()*1e-9, "GFLOP/s")
			})
			p.Close()
			w.Free()
		}
	}
}
