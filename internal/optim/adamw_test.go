package optim

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/tensor"
)

// newOptimizer trains a matrix, a norm's weight and a BF16 matrix of random values.
func newOptimizer(t *testing.T, cfg Config) (*tensor.Device, *AdamW) {
	t.Helper()
	dev, err := tensor.Open("cpu", tensor.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dev.Close)
	rng := rand.New(rand.NewPCG(1, 2))
	var weights []*tensor.Tensor
	for _, w := range []struct {
		dtype tensor.DType
		shape []int
	}{{tensor.F32, []int{5, 7}}, {tensor.F32, []int{7}}, {tensor.BF16, []int{3, 40}}} {
		p := tensor.Param(w.shape...)
		if err := dev.Alloc(p, w.dtype); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Free)
		p.SetValues(random(rng, p.Numel()))
		weights = append(weights, p)
	}
	o, err := New(dev, cfg, []string{"a.weight", "norm.weight", "b.weight"}, weights)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	return dev, o
}

func random(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

// state is everything an update changes.
func state(o *AdamW) (values [][]float32) {
	for _, p := range o.Params {
		values = append(values, p.Master.Values(), p.Weight.Values(), p.M.Values(), p.V.Values())
	}
	return values
}

func equal(a, b [][]float32) bool { return slices.EqualFunc(a, b, slices.Equal[[]float32]) }

// Several steps of all weights together, in float64: one norm, one factor, decay of matrices only.
func TestStep(t *testing.T) {
	const lr, decay = 1e-2, 0.1
	for _, limit := range []float64{0, 0.5, 1e6} {
		dev, o := newOptimizer(t, Config{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: decay})
		rng := rand.New(rand.NewPCG(3, 4))
		w, m, v := make([][]float64, 3), make([][]float64, 3), make([][]float64, 3)
		for i, p := range o.Params {
			w[i], m[i], v[i] = wide(p.Master.Values()), make([]float64, p.Weight.Numel()), make([]float64, p.Weight.Numel())
		}
		for step := 1; step <= 5; step++ {
			sum := 0.0
			for _, p := range o.Params {
				p.Grad.SetValues(random(rng, p.Weight.Numel()))
				for _, x := range wide(p.Grad.Values()) {
					sum += x * x
				}
			}
			if err := o.Step(lr, limit); err != nil {
				t.Fatal(err)
			}
			norm, factor := math.Sqrt(sum), 1.0
			if limit > 0 {
				factor = min(1, limit/(norm+1e-6))
			}
			got, err := dev.Fetch(o.Clip).Wait()
			if err != nil || math.Abs(float64(got[0][0])-norm) > 1e-6*norm || math.Abs(float64(got[0][1])-factor) > 1e-6*factor {
				t.Fatalf("step %d to %g: got norm and factor %g, %v, want %g, %g", step, limit, got, err, norm, factor)
			}
			for i, p := range o.Params {
				grad, master := wide(p.Grad.Values()), p.Master.Values()
				for j := range w[i] {
					g := grad[j] * factor
					m[i][j] = 0.9*m[i][j] + 0.1*g
					v[i][j] = 0.95*v[i][j] + 0.05*g*g
					if i != 1 {
						w[i][j] *= 1 - lr*decay
					}
					w[i][j] -= lr * m[i][j] / (1 - math.Pow(0.9, float64(step))) / (math.Sqrt(v[i][j]/(1-math.Pow(0.95, float64(step)))) + 1e-8)
					if math.Abs(float64(master[j])-w[i][j]) > 2e-6 {
						t.Fatalf("step %d to %g: %s[%d]: got %g, want %g", step, limit, p.Name, j, master[j], w[i][j])
					}
				}
			}
		}
		if o.Steps != 5 {
			t.Errorf("got %d steps, want 5", o.Steps)
		}
	}
}

func wide(v []float32) []float64 {
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = float64(x)
	}
	return out
}

// A loss or a gradient that is not finite changes nothing, nor does a later step
// before Restart; from there on it is as if those steps had not been.
func TestStepNotFinite(t *testing.T) {
	nan := float32(math.NaN())
	for name, spoil := range map[string]func(o *AdamW) (mend func()){
		"gradient": func(o *AdamW) func() {
			g := o.Params[1].Grad
			x := g.Values()
			y := slices.Clone(x)
			y[6] = nan
			g.SetValues(y)
			return func() { g.SetValues(x) }
		},
		"loss": func(o *AdamW) func() {
			o.Loss.SetValues([]float32{nan, 0})
			return func() { o.Loss.SetValues([]float32{1, 0}) }
		},
	} {
		_, o := newOptimizer(t, Config{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8})
		_, want := newOptimizer(t, Config{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8})
		rng := rand.New(rand.NewPCG(3, 4))
		for i, p := range o.Params {
			x := random(rng, p.Weight.Numel())
			p.Grad.SetValues(x)
			want.Params[i].Grad.SetValues(x)
		}
		step := func(o *AdamW) {
			t.Helper()
			if err := o.Step(1e-2, 1); err != nil {
				t.Fatal(err)
			}
		}
		step(o)
		step(want)
		before := state(o)
		mend := spoil(o)
		step(o)
		if f := o.Clip.Values()[1]; f == f || !equal(state(o), before) {
			t.Errorf("%s: factor %g, or the step changed something", name, f)
		}
		mend()
		step(o)
		if f := o.Clip.Values()[1]; f == f || !equal(state(o), before) {
			t.Errorf("%s: factor %g, or the step after it changed something", name, f)
		}
		o.Restart(1)
		step(o)
		step(want)
		if o.Steps != 2 || equal(state(o), before) || !equal(state(o), state(want)) {
			t.Errorf("%s: after %d steps the weights are not those of an optimizer that never failed", name, o.Steps)
		}
	}
}

func TestNoWeights(t *testing.T) {
	dev, _ := newOptimizer(t, Config{})
	if _, err := New(dev, Config{}, nil, nil); err == nil || !strings.Contains(err.Error(), "no weights") {
		t.Errorf("got %v", err)
	}
}
