package quantize

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/litgpt-go/litgpt/internal/ggufmap"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// TestCodecs takes blocks apart and puts them together again: codes that are the nearest to what a block stands for are its own.
func TestCodecs(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for d := range codecs {
		n := d.Block()
		v, raw := make([]float32, 8*n), make([]byte, d.Bytes(8*n))
		for i := range v {
			v[i] = float32(r.NormFloat64()) * .1
		}
		tensor.Quantize(d, v, n, nil, raw)
		want := make([]float32, len(v))
		tensor.ToFloats(d, raw, want)
		g, ok := newGrid(d)
		if !ok {
			t.Fatalf("%v has no codec", d)
		}
		size := d.Bytes(n)
		for block := range 8 {
			b := slices.Clone(raw[block*size : (block+1)*size])
			g.read(d, b)
			for i := range n {
				c, got := g.nearest(i, want[block*n+i])
				if math.Abs(float64(got-want[block*n+i])) > 1e-6 {
					t.Fatalf("%v: element %d is %g, the nearest code stands for %g", d, i, want[block*n+i], got)
				}
				g.set(b, i, c)
			}
			again := make([]float32, n)
			tensor.ToFloats(d, b, again)
			for i := range n {
				if again[i] != want[block*n+i] {
					t.Fatalf("%v: element %d is %g after its code was set, want %g", d, i, again[i], want[block*n+i])
				}
			}
		}
	}
}

// TestInverseFactor: UᵀU·(H + damping) is the identity.
func TestInverseFactor(t *testing.T) {
	const n = 40
	r := rand.New(rand.NewPCG(3, 4))
	x := make([]float64, 100*n)
	for i := range x {
		x[i] = r.NormFloat64() + .3*x[max(0, i-n)]
	}
	h := make([]float64, n*n)
	for i := range n {
		for j := range n {
			for k := range 100 {
				h[i*n+j] += x[k*n+i] * x[k*n+j]
			}
		}
	}
	mean := 0.0
	for i := range n {
		mean += h[i*n+i] / n
	}
	u, err := inverseFactor(slices.Clone(h), n)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		for j := range n {
			sum := 0.0
			for k := range n {
				inverse := 0.0
				for l := range n {
					inverse += float64(u[l*n+i]) * float64(u[l*n+k])
				}
				d := h[k*n+j]
				if k == j {
					d += damping * mean
				}
				sum += inverse * d
			}
			want := 0.0
			if i == j {
				want = 1
			}
			if math.Abs(sum-want) > 1e-4 {
				t.Fatalf("[%d,%d]: %g, want %g", i, j, sum, want)
			}
		}
	}
	if _, err := inverseFactor(make([]float64, 4), 2); err == nil {
		t.Error("inputs that are all 0: no error")
	}
}

// correlated inputs, as those of a model are: few directions have most of the size.
func correlated(r *rand.Rand, rows, cols int) []float64 {
	const few = 24
	mix := make([]float64, few*cols)
	for i := range mix {
		mix[i] = r.NormFloat64()
	}
	x := make([]float64, rows*cols)
	for i := range rows {
		for k := range few {
			f := r.NormFloat64()
			for j := range cols {
				x[i*cols+j] += f * mix[k*cols+j]
			}
		}
		for j := range cols {
			x[i*cols+j] += r.NormFloat64() * .5
		}
	}
	return x
}

// TestGPTQ: the products with the inputs are nearer to what they should be than after quantizing each weight by
// itself, with importance too.
func TestGPTQ(t *testing.T) {
	const rows, cols, inputs = 24, 512, 1024
	r := rand.New(rand.NewPCG(5, 6))
	x := correlated(r, inputs, cols)
	h := make([]float64, cols*cols)
	for k := range inputs {
		row := x[k*cols : (k+1)*cols]
		for i := range cols {
			for j := range cols {
				h[i*cols+j] += row[i] * row[j]
			}
		}
	}
	w := make([]float32, rows*cols)
	for i := range w {
		w[i] = float32(r.NormFloat64()) * .05
	}
	importance := make([]float32, cols)
	for i := range importance {
		importance[i] = float32(h[i*cols+i])
	}
	for d := range codecs {
		t.Run(d.String(), func(t *testing.T) {
			loss := func(raw []byte) (sum float64) {
				v := make([]float32, len(w))
				tensor.ToFloats(d, raw, v)
				for i := range rows {
					e := make([]float64, cols)
					for j := range cols {
						e[j] = float64(w[i*cols+j]) - float64(v[i*cols+j])
					}
					for j := range cols {
						sum += e[j] * dot(h[j*cols:(j+1)*cols], e)
					}
				}
				return sum
			}
			plain := make([]byte, d.Bytes(len(w)))
			tensor.Quantize(d, w, cols, importance, plain)
			got, err := gptq(d, slices.Clone(w), cols, slices.Clone(h))
			if err != nil {
				t.Fatal(err)
			}
			a, b := loss(plain), loss(got)
			if b > 0.5*a {
				t.Errorf("loss %g, want less than half of %g", b, a)
			}
		})
	}
}

// TestCorrect: the blocks' results stay nearer to those of the original than after quantizing without correction, the plan
// has what was made, and the file holds what the model computed with.
func TestCorrect(t *testing.T) {
	dev := openCPU(t)
	small := map[string]string{"llama": llamaConfig("LlamaForCausalLM", 2, 4, 2, `"tie_word_embeddings":true`), "moe": configs["moe"]}
	for name := range small {
		e, src := exported(t, small[name])
		var chunks [][]int32
		r := rand.New(rand.NewPCG(7, 8))
		for range 6 {
			c := make([]int32, 64)
			for i := range c {
				c[i] = int32(r.IntN(300))
			}
			chunks = append(chunks, c)
		}
		want := hiddenOf(t, dev, loadedModel(t, dev, small[name], src), chunks[0])
		plan := func() *Plan {
			p, err := Choose(e, Config{Mixture: mixture(t, "Q3_K_S"), Pure: true})
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		distance := func(p *Plan) float64 {
			path := filepath.Join(t.TempDir(), "q.gguf")
			if err := p.Write(context.Background(), path, 2, nil); err != nil {
				t.Fatal(err)
			}
			f, err := ggufmap.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			got, sum := hiddenOf(t, dev, loadedModel(t, dev, string(f.Config), f), chunks[0]), 0.0
			for i := range got {
				sum += math.Pow(float64(got[i]-want[i]), 2)
			}
			return math.Sqrt(sum / float64(len(got)))
		}
		before := distance(plan())
		p, m, blocks := plan(), loadedModel(t, dev, small[name], src), 0
		if err := Correct(context.Background(), dev, m, []byte(small[name]), src, p, chunks, func() { blocks++ }); err != nil {
			t.Fatal(err)
		}
		if blocks != m.Dims().Layers {
			t.Errorf("%s: %d blocks, want %d", name, blocks, m.Dims().Layers)
		}
		after := distance(p)
		t.Logf("%s: %g without, %g with correction", name, before, after)
		if !(after < before) {
			t.Errorf("%s: the blocks' results are off by %g, without correction by %g", name, after, before)
		}
		for n, l := range nn.Linears(m) {
			if l.Adapter != nil {
				t.Errorf("%s still has an adapter", n)
			}
		}
	}
}

// hiddenOf is what the blocks make of tokens.
func hiddenOf(t *testing.T, dev *tensor.Device, m interface {
	Forward(*nn.Batch) *tensor.Tensor
}, tokens []int32) []float32 {
	t.Helper()
	g := tensor.NewGraph()
	b := nn.NewBatch(g, 1, len(tokens))
	h := m.Forward(b)
	p, err := g.Compile(dev, h)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	b.Set(tokens, 0)
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	return h.Values()
}

func BenchmarkGPTQ(b *testing.B) {
	for _, cols := range []int{576, 1536} {
		b.Run(fmt.Sprint(cols), func(b *testing.B) {
			r := rand.New(rand.NewPCG(5, 6))
			h, w := make([]float64, cols*cols), make([]float32, 576*cols)
			for i := range cols {
				h[i*cols+i] = 1
			}
			for i := range w {
				w[i] = float32(r.NormFloat64())
			}
			for b.Loop() {
				if _, err := gptq(tensor.Q4_0, slices.Clone(w), cols, slices.Clone(h)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
