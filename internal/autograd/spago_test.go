package autograd

import (
	"math"
	"slices"
	"testing"

	"github.com/nlpodyssey/spago/ag"
	"github.com/nlpodyssey/spago/losses"
	"github.com/nlpodyssey/spago/mat"

	"github.com/litgpt-go/litgpt/internal/tensor"
)

// A small Llama: one block of it, with everything a real one has.
const (
	vocab, hidden, inner = 11, 8, 12
	numHeads, numKV      = 4, 2
	headDim              = hidden / numHeads
	eps, ropeTheta       = 1e-5, 100.0
)

var (
	tokens  = []int32{3, 1, 4, 1, 5, 9}
	targets = []int32{1, 4, 1, tensor.Ignore, 9, 2}
)

// llamaShapes are the weights by name, with their shapes.
var llamaShapes = []struct {
	name  string
	shape []int
}{
	{"embed", []int{vocab, hidden}}, {"norm1", []int{hidden}},
	{"q", []int{hidden, hidden}}, {"k", []int{numKV * headDim, hidden}}, {"v", []int{numKV * headDim, hidden}}, {"o", []int{hidden, hidden}},
	{"norm2", []int{hidden}}, {"gate", []int{inner, hidden}}, {"up", []int{inner, hidden}}, {"down", []int{hidden, inner}},
	{"norm", []int{hidden}}, {"head", []int{vocab, hidden}},
}

func freqs() []float64 {
	f := make([]float64, headDim/2)
	for i := range f {
		f[i] = math.Pow(ropeTheta, -2*float64(i)/headDim)
	}
	return f
}

// ours is the loss, summed over the targets, and the gradient of each weight.
func ours(n *net, w map[string]*tensor.Tensor) (loss float64, grads map[string][]float32) {
	count := len(tokens)
	pos := make([]int32, count)
	for i := range pos {
		pos[i] = int32(i)
	}
	at, rope := n.ids(pos...), &tensor.RoPE{Freqs: freqs(), Scale: 1}
	x := w["embed"].Rows(n.ids(tokens...))
	h := x.RMSNorm(w["norm1"], eps)
	q := h.MatMulT(w["q"]).Reshape(count, numHeads, headDim).RoPE(at, rope)
	k := h.MatMulT(w["k"]).Reshape(count, numKV, headDim).RoPE(at, rope)
	v := h.MatMulT(w["v"]).Reshape(count, numKV, headDim)
	a := q.Attention(k, v, n.causal(1, count), tensor.Attn{Scale: 1 / math.Sqrt(headDim), Sequences: 1})
	x = x.Add(a.MatMulT(w["o"]))
	h = x.RMSNorm(w["norm2"], eps)
	x = x.Add(h.MatMulT(w["gate"]).SwiGLU(h.MatMulT(w["up"])).MatMulT(w["down"]))
	l := x.RMSNorm(w["norm"], eps).MatMulT(w["head"]).CrossEntropy(n.ids(targets...))
	ones := n.g.Floats(count).SetFloats(slices.Repeat([]float32{1}, count))
	var params ts
	for _, s := range llamaShapes {
		params = append(params, w[s.name])
	}
	all, err := Gradients([]Output{{l, ones}}, params, Options{})
	if err != nil {
		n.Fatal(err)
	}
	run(n, n.compile(append(slices.Clone(all), l)...))
	for _, x := range l.Values() {
		loss += float64(x)
	}
	grads = map[string][]float32{}
	for i, s := range llamaShapes {
		grads[s.name] = all[i].Values()
	}
	return loss, grads
}

// theirs is the same in spago's graph of float64: one column vector per token, heads and scores one by one.
func theirs(t testing.TB, w map[string]mat.Tensor) (loss float64) {
	t.Helper()
	scalar := func(x float64) mat.Tensor { return mat.Scalar(x) }
	norm := func(x, w mat.Tensor) mat.Tensor {
		return ag.Prod(ag.DivScalar(x, ag.Sqrt(ag.AddScalar(ag.ReduceMean(ag.Square(x)), scalar(eps)))), w)
	}
	// rotated multiplies a head by the matrix of its rotation.
	rotated := func(x mat.Tensor, pos int) mat.Tensor {
		r := make([]float64, headDim*headDim)
		for i, f := range freqs() {
			j, c, s := i+headDim/2, math.Cos(float64(pos)*f), math.Sin(float64(pos)*f)
			r[i*headDim+i], r[i*headDim+j], r[j*headDim+i], r[j*headDim+j] = c, -s, s, c
		}
		return ag.Mul(mat.NewDense[float64](mat.WithShape(headDim, headDim), mat.WithBacking(r)), x)
	}
	head := func(x mat.Tensor, i int) mat.Tensor { return ag.Slice(x, i*headDim, 0, (i+1)*headDim, 1) }

	var keys, values [numKV][]mat.Tensor
	var total mat.Tensor
	for pos, id := range tokens {
		x := ag.T(ag.Slice(w["embed"], int(id), 0, int(id)+1, hidden))
		h := norm(x, w["norm1"])
		q, k, v := ag.Mul(w["q"], h), ag.Mul(w["k"], h), ag.Mul(w["v"], h)
		for i := range numKV {
			keys[i], values[i] = append(keys[i], rotated(head(k, i), pos)), append(values[i], head(v, i))
		}
		var heads []mat.Tensor
		for i := range numHeads {
			query, kv := rotated(head(q, i), pos), i/(numHeads/numKV)
			var scores []mat.Tensor
			for _, key := range keys[kv] {
				scores = append(scores, ag.ProdScalar(ag.Dot(query, key), scalar(1/math.Sqrt(headDim))))
			}
			p := ag.Softmax(ag.Concat(scores...))
			var y mat.Tensor
			for j, value := range values[kv] {
				part := ag.ProdScalar(value, ag.At(p, j))
				if y == nil {
					y = part
				} else {
					y = ag.Add(y, part)
				}
			}
			heads = append(heads, y)
		}
		x = ag.Add(x, ag.Mul(w["o"], ag.Concat(heads...)))
		h = norm(x, w["norm2"])
		x = ag.Add(x, ag.Mul(w["down"], ag.Prod(ag.SiLU(ag.Mul(w["gate"], h)), ag.Mul(w["up"], h))))
		if targets[pos] < 0 {
			continue
		}
		l := losses.CrossEntropy(ag.Mul(w["head"], norm(x, w["norm"])), int(targets[pos]))
		if total == nil {
			total = l
		} else {
			total = ag.Add(total, l)
		}
	}
	if err := ag.Backward(total); err != nil {
		t.Fatal(err)
	}
	return total.Value().Item().F64()
}

// TestSpago compares the loss and every gradient with an independent library's.
func TestSpago(t *testing.T) {
	n := newNet(t, 2)
	w, theirW := map[string]*tensor.Tensor{}, map[string]mat.Tensor{}
	for _, s := range llamaShapes {
		w[s.name] = n.weight(tensor.F32, s.shape...)
		v := w[s.name].Values()
		for i := range v {
			v[i] *= 2 // about 1/2, so that attention and gates are far from uniform
		}
		w[s.name].SetValues(v)
		wide := make([]float64, len(v))
		for i, x := range v {
			wide[i] = float64(x)
		}
		theirW[s.name] = mat.NewDense[float64](mat.WithShape(s.shape...), mat.WithBacking(wide), mat.WithGrad(true))
	}
	loss, grads := ours(n, w)
	want := theirs(t, theirW)
	if math.Abs(loss-want) > 1e-5*want {
		t.Errorf("loss: got %.8g, want %.8g", loss, want)
	}
	for _, s := range llamaShapes {
		var diff, norm float64
		theirs := theirW[s.name].Grad().Data().F64()
		if len(theirs) != len(grads[s.name]) {
			t.Fatalf("%s: %d elements, want %d", s.name, len(theirs), len(grads[s.name]))
		}
		for i, x := range theirs {
			d := float64(grads[s.name][i]) - x
			diff, norm = diff+d*d, norm+x*x
		}
		diff, norm = math.Sqrt(diff), math.Sqrt(norm)
		if norm == 0 || !(diff <= 1e-4*norm) {
			t.Errorf("gradient of %s: off by %g of a norm of %g", s.name, diff, norm)
		}
		t.Logf("%-6s relative difference %.1e of norm %.3g", s.name, diff/norm, norm)
	}
}
