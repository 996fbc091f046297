package autograd

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/tensor"
)

// weight is a loaded weight of random values of about 1/4.
func (n *net) weight(d tensor.DType, shape ...int) *tensor.Tensor {
	n.Helper()
	w := tensor.Param(shape...)
	if err := n.dev.Alloc(w, d); err != nil {
		n.Fatal(err)
	}
	n.Cleanup(w.Free)
	v := make([]float32, w.Numel())
	for i := range v {
		v[i] = float32(n.rng.NormFloat64()) / 4
	}
	w.SetValues(v)
	return w
}

// A weight that is used twice gets the sum of both uses; one of no use gets nil, and so does a frozen one, at no cost.
func TestSharedAndUnused(t *testing.T) {
	n := newNet(t, 1)
	w, frozen, unused := n.weight(tensor.F32, 4, 4), n.weight(tensor.BF16, 4, 4), n.weight(tensor.F32, 2)
	x := n.in(5, 4)
	h := x.MatMulT(w)
	y := h.MatMulT(frozen).MatMulT(w)
	dy := n.in(5, 4)
	before := len(n.g.Nodes())
	grads, err := Gradients([]Output{{y, dy}}, ts{w, unused}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if grads[1] != nil {
		t.Errorf("an unused weight got a gradient of shape %v", grads[1].Shape())
	}
	// d(second use), d(its input), d(frozen's input), d(first use), their sum: nothing for x, nothing for the frozen weight.
	if added := len(n.g.Nodes()) - before; added != 5 {
		t.Errorf("got %d nodes, want 5", added)
	}
	// The same by hand, with the parts apart.
	second := dy.TMatMul(h.MatMulT(frozen))
	first := dy.MatMul(w).MatMul(frozen).TMatMul(x)
	sum := second.Add(first)
	run(t, n.compile(grads[0], sum))
	same(t, "gradient", grads[0].Values(), sum.Values())
}

func same(t testing.TB, what string, got, want []float32) {
	t.Helper()
	for i := range got {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Errorf("%s: element %d: got %g, want %g", what, i, got[i], want[i])
			return
		}
	}
}

// Differentiation stops at a node that is a parameter: what is upstream of it gets nothing by way of it.
func TestStopsAtParams(t *testing.T) {
	n := newNet(t, 1)
	w, x := n.weight(tensor.F32, 4, 4), n.in(5, 4)
	h := x.MatMulT(w)
	y := h.Mul(h)
	dy := n.in(5, 4)
	grads, err := Gradients([]Output{{y, dy}}, ts{h, w, y}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if grads[0] != nil || grads[1] != nil || grads[2] != dy {
		t.Errorf("y is a parameter: got %v, %v and %v, want nil, nil and dy", grads[0], grads[1], grads[2])
	}
	grads, err = Gradients([]Output{{y, dy}}, ts{h, w}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if grads[1] != nil {
		t.Error("the weight upstream of h got a gradient")
	}
	want := dy.Mul(h).Scale(2)
	run(t, n.compile(grads[0], want))
	same(t, "dh", grads[0].Values(), want.Values())
}

// Two outputs, one of them upstream of the other, add up; the gradient of an output that is the parameter is its own.
func TestSeveralOutputs(t *testing.T) {
	n := newNet(t, 1)
	x := n.in(3)
	y := x.Scale(2)
	z := y.Scale(5)
	dy, dz := n.in(3), n.in(3)
	grads, err := Gradients([]Output{{y, dy}, {z, dz}}, ts{x}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	run(t, n.compile(grads[0]))
	for i, got := range grads[0].Values() {
		want := 2*float64(n.inputs[dy][i]) + 10*float64(n.inputs[dz][i])
		if math.Abs(float64(got)-want) > 1e-5 {
			t.Errorf("element %d: got %g, want %g", i, got, want)
		}
	}
}

func TestErrors(t *testing.T) {
	tests := []struct {
		name, want string
		build      func(n *net) ([]Output, ts)
	}{
		{"no rule", "no gradient rule for sum_to", func(n *net) ([]Output, ts) {
			x := n.in(3, 4)
			return []Output{{x.SumTo([]int{4}), n.in(4)}}, ts{x}
		}},
		{"no rule, further up", "no gradient rule for rms_norm_back", func(n *net) ([]Output, ts) {
			x := n.in(3, 4)
			return []Output{{x.RMSNormBackward(n.in(4), n.in(3, 4), tensor.Norm{Eps: 1e-5}).Scale(2), n.in(3, 4)}}, ts{x}
		}},
		{"the mask of a softmax", "no gradient of softmax with respect to operand 1", func(n *net) ([]Output, ts) {
			mask := n.in(3, 4)
			return []Output{{n.in(3, 4).Softmax(1, mask), n.in(3, 4)}}, ts{mask}
		}},
		{"shape", "gradient of shape [4] for an output of [3 4]", func(n *net) ([]Output, ts) {
			x := n.in(3, 4)
			return []Output{{x.Scale(2), n.in(4)}}, ts{x}
		}},
		{"no outputs", "no outputs", func(n *net) ([]Output, ts) { return nil, ts{n.in(3)} }},
		{"a cache", "attention_back", func(n *net) ([]Output, ts) {
			q, k := n.in(2, 1, 4), n.in(5, 1, 4)
			y := q.Attention(k, k, n.causal(1, 2), tensor.Attn{Scale: 1, Sequences: 1})
			return []Output{{y, n.in(2, 4)}}, ts{q}
		}},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			n := newNet(t, 1)
			outputs, params := c.build(n)
			if _, err := Gradients(outputs, params, Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	// What has no rule does no harm where nothing is asked for upstream of it.
	n := newNet(t, 1)
	x, w := n.in(3, 4), n.weight(tensor.F32, 4)
	if _, err := Gradients([]Output{{x.SumTo([]int{4}).Mul(w), n.in(4)}}, ts{w}, Options{}); err != nil {
		t.Error(err)
	}
}

// blocks is a small transformer with dropout and marks between its blocks; it returns the gradients
// of its first trained weights (0 means all) and the scratch memory of the program that computes them.
func blocks(t *testing.T, count, threads, trained int, o Options) (grads [][]float32, scratch int) {
	const (
		sequences, length = 2, 24
		tokens            = sequences * length
		heads, kv, d      = 4, 2, 8
		hidden, inner     = heads * d, 48
	)
	n := newNet(t, threads)
	var params ts
	weight := func(shape ...int) *tensor.Tensor {
		w := n.weight(tensor.F32, shape...)
		params = append(params, w)
		return w
	}
	pos := make([]int32, tokens)
	for i := range pos {
		pos[i] = int32(i % length)
	}
	at, seed, spans := n.ids(pos...), n.ids(11, 12), n.causal(sequences, length)
	rope := &tensor.RoPE{Freqs: []float64{1, 0.3, 0.1, 0.03}, Scale: 1}
	x := n.in(tokens, hidden).MatMulT(weight(hidden, hidden)).Mark()
	for i := range count {
		h := x.RMSNorm(weight(hidden), 1e-5)
		q := h.MatMulT(weight(hidden, hidden)).Reshape(tokens, heads, d).RoPE(at, rope)
		k := h.MatMulT(weight(kv*d, hidden)).Reshape(tokens, kv, d).RoPE(at, rope)
		v := h.MatMulT(weight(kv*d, hidden)).Reshape(tokens, kv, d)
		a := q.Attention(k, v, spans, tensor.Attn{Scale: 0.3, Sequences: sequences})
		x = x.Add(a.MatMulT(weight(hidden, hidden)).Dropout(seed, tensor.Mask{P: 0.2, Layer: 2 * i}))
		h = x.RMSNorm(weight(hidden), 1e-5)
		h = h.MatMulT(weight(inner, hidden)).SwiGLU(h.MatMulT(weight(inner, hidden)))
		x = x.Add(h.MatMulT(weight(hidden, inner)).Dropout(seed, tensor.Mask{P: 0.2, Layer: 2*i + 1})).Mark()
	}
	if trained > 0 {
		params = params[:trained]
	}
	all, err := Gradients([]Output{{x, n.in(tokens, hidden)}}, params, o)
	if err != nil {
		t.Fatal(err)
	}
	for i, g := range all {
		if g == nil {
			t.Fatalf("weight %d of %d got no gradient", i, len(all))
		}
	}
	p := n.compile(all...)
	run(t, p)
	for _, g := range all {
		grads = append(grads, g.Values())
	}
	return grads, p.Scratch
}

// Recomputation gives the same bits, dropout included, and needs less memory; any number of threads does.
func TestRecompute(t *testing.T) {
	want, _ := blocks(t, 3, 1, 0, Options{})
	for _, threads := range []int{1, 2} {
		got, _ := blocks(t, 3, threads, 0, Options{Recompute: true})
		for i := range want {
			same(t, "gradient", got[i], want[i])
			if !slices.ContainsFunc(want[i], func(x float32) bool { return x != 0 }) {
				t.Errorf("gradient %d is 0", i)
			}
		}
	}
	// With one weight trained, the first, the scratch memory holds activations and no gradients of other weights.
	_, kept := blocks(t, 24, 1, 1, Options{})
	_, again := blocks(t, 24, 1, 1, Options{Recompute: true})
	t.Logf("24 blocks: %d KiB kept, %d KiB with recomputation", kept>>10, again>>10)
	if again > kept/2 {
		t.Errorf("recomputation needs %d bytes, %d without", again, kept)
	}
}
