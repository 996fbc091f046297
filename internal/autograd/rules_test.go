package autograd

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/litgpt-go/litgpt/internal/cudatest"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// without are the operations that have no rule, and why.
var without = map[tensor.Op]string{
	tensor.OpLeaf:             "nothing upstream of it",
	tensor.OpTMatMul:          "made by the rules of products",
	tensor.OpRMSNormBack:      "made by the rule of RMSNorm",
	tensor.OpRMSNormBackW:     "made by the rule of RMSNorm",
	tensor.OpLayerNormBack:    "made by the rule of LayerNorm",
	tensor.OpLayerNormBackW:   "made by the rule of LayerNorm",
	tensor.OpActBack:          "made by the rule of Act",
	tensor.OpGateBack:         "made by the rule of Gate",
	tensor.OpSoftcapBack:      "made by the rule of Softcap",
	tensor.OpSoftmaxBack:      "made by the rule of Softmax",
	tensor.OpRopeTable:        "made of positions and frequencies, which are constants",
	tensor.OpColumnsBack:      "made by the rule of Columns",
	tensor.OpRowsBack:         "made by the rule of Rows",
	tensor.OpZeros:            "a constant",
	tensor.OpSetRows:          "writes in place, for caches, which inference alone has",
	tensor.OpAttentionBack:    "made by the rule of Attention",
	tensor.OpPagedAttention:   "reads caches, which inference alone has",
	tensor.OpPart:             "takes gradients out of AttentionBackward's",
	tensor.OpCrossEntropyBack: "made by the rule of CrossEntropy",
	tensor.OpSumTo:            "the adjoint of broadcasting",
	tensor.OpAccumulate:       "updates in place",
	tensor.OpAdamW:            "updates in place",
	tensor.OpSquareSum:        "for the norm of the gradients only",
	tensor.OpAddDot:           "updates in place",
	tensor.OpClip:             "updates in place",
	tensor.OpTopK:             "chooses, for sampling",
	tensor.OpRoute:            "chooses",
	tensor.OpRouteWeightsBack: "made by the rule of RouteWeights",
	tensor.OpGroup:            "integers",
	tensor.OpGroupCounts:      "made of integers",
	tensor.OpExpertsBack:      "made by the rule of Experts",
	tensor.OpExpertsBackW:     "made by the rule of Experts",
	tensor.OpCombineBack:      "made by the rule of Combine",
	tensor.OpCombineBackW:     "made by the rule of Combine",
	tensor.OpGLUBack:          "made by the rule of GLU",
}

// net is what a case is built on.
type net struct {
	testing.TB
	dev    *tensor.Device
	g      *tensor.Graph
	rng    *rand.Rand
	inputs map[*tensor.Tensor][]float32 // the value of each
}

func newNet(t testing.TB, threads int) *net {
	t.Helper()
	dev, err := tensor.Open("cpu", tensor.Options{Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dev.Close)
	return newNetOn(t, dev)
}

func newNetOn(t testing.TB, dev *tensor.Device) *net {
	return &net{t, dev, tensor.NewGraph(), rand.New(rand.NewPCG(3, 4)), map[*tensor.Tensor][]float32{}}
}

// in is an input of random values, whose gradient is asked for where a case returns it.
func (n *net) in(shape ...int) *tensor.Tensor {
	t := n.g.Floats(shape...)
	v := make([]float32, t.Numel())
	for i := range v {
		v[i] = float32(n.rng.NormFloat64())
	}
	n.inputs[t] = v
	return t.SetFloats(v)
}

// awayFromZero is an input whose elements' signs no step of the differences changes.
func awayFromZero(n *net, shape ...int) *tensor.Tensor {
	t := n.in(shape...)
	v := n.inputs[t]
	for i, x := range v {
		v[i] = x + float32(math.Copysign(0.1, float64(x)))
	}
	return t.SetFloats(v)
}

// spread is an input of rows of different numbers, so far apart that a finite difference does not change their order.
func (n *net) spread(rows, columns int) *tensor.Tensor {
	t := n.g.Floats(rows, columns)
	var v []float32
	for range rows {
		for _, i := range n.rng.Perm(columns) {
			v = append(v, 0.25*float32(i)-0.5)
		}
	}
	n.inputs[t] = v
	return t.SetFloats(v)
}

func (n *net) ids(v ...int32) *tensor.Tensor { return n.g.Ints(len(v)).SetInts(v) }

// causal are the spans of sequences of length each.
func (n *net) causal(sequences, length int) *tensor.Tensor {
	var v []int32
	for s := range sequences {
		for i := range length {
			v = append(v, int32(s*length), int32(s*length+i+1))
		}
	}
	return n.g.Ints(len(v)/2, 2).SetInts(v)
}

func (n *net) compile(outs ...*tensor.Tensor) *tensor.Program {
	n.Helper()
	p, err := n.g.Compile(n.dev, outs...)
	if err != nil {
		n.Fatal(err)
	}
	n.Cleanup(p.Close)
	return p
}

func run(t testing.TB, p *tensor.Program) {
	t.Helper()
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
}

type ts = []*tensor.Tensor

// ruleCases build a value and name the operands with respect to which it is differentiated.
var ruleCases = []struct {
	op    tensor.Op
	name  string
	build func(n *net) (y *tensor.Tensor, params ts)
}{
	{tensor.OpAdd, "same shape", func(n *net) (*tensor.Tensor, ts) { a, b := n.in(3, 5), n.in(3, 5); return a.Add(b), ts{a, b} }},
	{tensor.OpAdd, "broadcast", func(n *net) (*tensor.Tensor, ts) { a, b := n.in(2, 3, 5), n.in(5); return a.Add(b), ts{a, b} }},
	{tensor.OpAdd, "to itself", func(n *net) (*tensor.Tensor, ts) { a := n.in(3); return a.Add(a).Add(a), ts{a} }},
	{tensor.OpMul, "same shape", func(n *net) (*tensor.Tensor, ts) { a, b := n.in(3, 5), n.in(3, 5); return a.Mul(b), ts{a, b} }},
	{tensor.OpMul, "broadcast", func(n *net) (*tensor.Tensor, ts) { a, b := n.in(2, 3, 5), n.in(3, 5); return a.Mul(b), ts{a, b} }},
	{tensor.OpMul, "by itself", func(n *net) (*tensor.Tensor, ts) { a := n.in(3); return a.Mul(a).Mul(a), ts{a} }},
	{tensor.OpMul, "second only", func(n *net) (*tensor.Tensor, ts) { a, b := n.in(2, 5), n.in(5); return a.Mul(b), ts{b} }},
	{tensor.OpScale, "", func(n *net) (*tensor.Tensor, ts) { a := n.in(3, 5); return a.Scale(-1.5), ts{a} }},
	{tensor.OpMatMulT, "linear layer", func(n *net) (*tensor.Tensor, ts) { x, w := n.in(5, 7), n.in(3, 7); return x.MatMulT(w), ts{x, w} }},
	{tensor.OpMatMulT, "batches of a linear layer", func(n *net) (*tensor.Tensor, ts) {
		x, w := n.in(2, 3, 5, 7), n.in(3, 7)
		return x.MatMulT(w), ts{x, w}
	}},
	{tensor.OpMatMulT, "groups of heads", func(n *net) (*tensor.Tensor, ts) {
		x, w := n.in(6, 5, 4), n.in(2, 3, 4)
		return x.MatMulT(w), ts{x, w}
	}},
	{tensor.OpMatMulT, "groups of heads in batches", func(n *net) (*tensor.Tensor, ts) {
		x, w := n.in(2, 6, 5, 4), n.in(2, 3, 2, 4)
		return x.MatMulT(w), ts{x, w}
	}},
	{tensor.OpMatMulT, "groups in both axes", func(n *net) (*tensor.Tensor, ts) {
		x, w := n.in(4, 6, 2, 3), n.in(2, 3, 2, 3)
		return x.MatMulT(w), ts{x, w}
	}},
	{tensor.OpMatMulT, "groups, batches shared", func(n *net) (*tensor.Tensor, ts) {
		x, w := n.in(2, 6, 2, 3), n.in(3, 2, 3)
		return x.MatMulT(w), ts{w}
	}},
	{tensor.OpMatMulT, "by itself", func(n *net) (*tensor.Tensor, ts) { x := n.in(4, 3); return x.MatMulT(x), ts{x} }},
	{tensor.OpMatMul, "", func(n *net) (*tensor.Tensor, ts) { x, w := n.in(5, 7), n.in(7, 3); return x.MatMul(w), ts{x, w} }},
	{tensor.OpMatMul, "groups of heads", func(n *net) (*tensor.Tensor, ts) {
		x, w := n.in(2, 6, 5, 4), n.in(2, 3, 4, 3)
		return x.MatMul(w), ts{x, w}
	}},
	{tensor.OpMatMul, "a shared second", func(n *net) (*tensor.Tensor, ts) { x, w := n.in(3, 2, 4), n.in(4, 3); return x.MatMul(w), ts{x, w} }},
	{tensor.OpRMSNorm, "", func(n *net) (*tensor.Tensor, ts) { x, w := n.in(4, 19), n.in(19); return x.RMSNorm(w, 1e-5), ts{x, w} }},
	{tensor.OpRMSNorm, "heads", func(n *net) (*tensor.Tensor, ts) { x, w := n.in(2, 3, 8), n.in(8); return x.RMSNorm(w, 1), ts{x, w} }},
	{tensor.OpRMSNorm, "offset", func(n *net) (*tensor.Tensor, ts) {
		x, w := n.in(4, 19), n.in(19)
		return x.RMSNormOffset(w, 1e-6, 1), ts{x, w}
	}},
	{tensor.OpLayerNorm, "", func(n *net) (*tensor.Tensor, ts) {
		x, w, b := n.in(4, 19), n.in(19), n.in(19)
		return x.LayerNorm(w, b, 1e-5), ts{x, w, b}
	}},
	{tensor.OpLayerNorm, "heads, no bias", func(n *net) (*tensor.Tensor, ts) {
		x, w := n.in(2, 3, 8), n.in(8)
		return x.LayerNorm(w, nil, 0.1), ts{x, w}
	}},
	{tensor.OpLayerNorm, "bias only", func(n *net) (*tensor.Tensor, ts) {
		b := n.in(8)
		return n.in(3, 8).LayerNorm(n.in(8), b, 1e-5), ts{b}
	}},
	{tensor.OpAct, "SiLU", func(n *net) (*tensor.Tensor, ts) { x := n.in(3, 19); return x.Act(tensor.SiLU), ts{x} }},
	{tensor.OpAct, "GELU", func(n *net) (*tensor.Tensor, ts) { x := n.in(3, 19); return x.Act(tensor.GELU), ts{x} }},
	{tensor.OpAct, "GELUTanh", func(n *net) (*tensor.Tensor, ts) { x := n.in(3, 19); return x.Act(tensor.GELUTanh), ts{x} }},
	{tensor.OpAct, "ReLU", func(n *net) (*tensor.Tensor, ts) { x := awayFromZero(n, 3, 19); return x.Act(tensor.ReLU), ts{x} }},
	{tensor.OpGate, "SiLU", func(n *net) (*tensor.Tensor, ts) { g, u := n.in(3, 19), n.in(3, 19); return g.SwiGLU(u), ts{g, u} }},
	{tensor.OpGate, "SiLU of itself", func(n *net) (*tensor.Tensor, ts) { g := n.in(19); return g.SwiGLU(g), ts{g} }},
	{tensor.OpGate, "GELU", func(n *net) (*tensor.Tensor, ts) {
		g, u := n.in(3, 19), n.in(3, 19)
		return g.Gate(tensor.GELU, u), ts{g, u}
	}},
	{tensor.OpGate, "GELUTanh", func(n *net) (*tensor.Tensor, ts) {
		g, u := n.in(3, 19), n.in(3, 19)
		return g.Gate(tensor.GELUTanh, u), ts{g, u}
	}},
	{tensor.OpGate, "ReLU", func(n *net) (*tensor.Tensor, ts) {
		g, u := awayFromZero(n, 3, 19), n.in(3, 19)
		return g.Gate(tensor.ReLU, u), ts{g, u}
	}},
	{tensor.OpSoftcap, "", func(n *net) (*tensor.Tensor, ts) { x := n.in(3, 19); return x.Softcap(1.5), ts{x} }},
	{tensor.OpSoftcap, "nearly linear", func(n *net) (*tensor.Tensor, ts) { x := n.in(3, 19); return x.Softcap(30), ts{x} }},
	{tensor.OpColumns, "in the middle", func(n *net) (*tensor.Tensor, ts) { x := n.in(3, 7); return x.Columns(2, 4), ts{x} }},
	{tensor.OpColumns, "two halves", func(n *net) (*tensor.Tensor, ts) {
		x := n.in(3, 8)
		return x.Columns(0, 4).Mul(x.Columns(4, 4)), ts{x}
	}},
	{tensor.OpSoftmax, "", func(n *net) (*tensor.Tensor, ts) { x := n.in(3, 19); return x.Softmax(0.7, nil), ts{x} }},
	{tensor.OpSoftmax, "masked", func(n *net) (*tensor.Tensor, ts) { x := n.in(2, 3, 5); return x.Softmax(0.7, n.in(3, 5)), ts{x} }},
	{tensor.OpRoPE, "part of the channels", func(n *net) (*tensor.Tensor, ts) {
		x := n.in(4, 2, 7)
		return x.RoPE(n.ids(0, 3, 17, 2), &tensor.RoPE{Freqs: []float64{1, 0.1}, Scale: 1.2}), ts{x}
	}},
	{tensor.OpReshape, "", func(n *net) (*tensor.Tensor, ts) { x := n.in(4, 6); return x.Reshape(2, 3, 4).Mul(n.in(3, 4)), ts{x} }},
	{tensor.OpPermute, "three axes in a circle", func(n *net) (*tensor.Tensor, ts) { x := n.in(2, 3, 4); return x.Permute(2, 0, 1), ts{x} }},
	{tensor.OpPermute, "four axes", func(n *net) (*tensor.Tensor, ts) { x := n.in(2, 3, 4, 2); return x.Permute(1, 3, 2, 0), ts{x} }},
	{tensor.OpRows, "a row twice, one never", func(n *net) (*tensor.Tensor, ts) { x := n.in(4, 3); return x.Rows(n.ids(3, 0, 3, 1)), ts{x} }},
	{tensor.OpAttention, "groups, two sequences", func(n *net) (*tensor.Tensor, ts) {
		q, k, v := n.in(10, 4, 6), n.in(10, 2, 6), n.in(10, 2, 6)
		return q.Attention(k, v, n.causal(2, 5), tensor.Attn{Scale: 0.4, Sequences: 2}), ts{q, k, v}
	}},
	{tensor.OpAttention, "values only", func(n *net) (*tensor.Tensor, ts) {
		v := n.in(5, 1, 6)
		return n.in(5, 2, 6).Attention(n.in(5, 1, 6), v, n.causal(1, 5), tensor.Attn{Scale: 0.4, Sequences: 1}), ts{v}
	}},
	{tensor.OpAttention, "soft cap", func(n *net) (*tensor.Tensor, ts) {
		q, k, v := n.in(10, 4, 6), n.in(10, 2, 6), n.in(10, 2, 6)
		return q.Attention(k, v, n.causal(2, 5), tensor.Attn{Scale: 0.4, Sequences: 2, Softcap: 1.1}), ts{q, k, v}
	}},
	{tensor.OpCrossEntropy, "one ignored", func(n *net) (*tensor.Tensor, ts) {
		x := n.in(4, 19)
		return x.CrossEntropy(n.ids(3, tensor.Ignore, 18, 0)), ts{x}
	}},
	{tensor.OpRouteWeights, "over the chosen", func(n *net) (*tensor.Tensor, ts) {
		x := n.spread(5, 6)
		return x.RouteWeights(x.Route(3), true), ts{x}
	}},
	{tensor.OpRouteWeights, "over all", func(n *net) (*tensor.Tensor, ts) {
		x := n.spread(5, 6)
		return x.RouteWeights(x.Route(2), false), ts{x}
	}},
	{tensor.OpExperts, "a row for each token", func(n *net) (*tensor.Tensor, ts) {
		x, w := n.in(9, 4), n.in(5, 3, 4)
		return x.Experts(w, n.spread(9, 5).Route(2).Group()), ts{x, w}
	}},
	{tensor.OpExperts, "a row for each pair", func(n *net) (*tensor.Tensor, ts) {
		x, w := n.in(6, 5), n.in(4, 2, 5)
		return x.Experts(w, n.spread(3, 4).Route(2).Group()), ts{x, w}
	}},
	{tensor.OpExperts, "many pairs of one expert, none of another", func(n *net) (*tensor.Tensor, ts) {
		x, w := n.in(14, 3), n.in(2, 3, 3)
		return x.Experts(w, n.g.Floats(14, 2).SetFloats(make([]float32, 28)).Route(1).Group()), ts{x, w}
	}},
	{tensor.OpCombine, "", func(n *net) (*tensor.Tensor, ts) { y, w := n.in(12, 5), n.in(4, 3); return y.Combine(w), ts{y, w} }},
	{tensor.OpGLU, "", func(n *net) (*tensor.Tensor, ts) { x := n.in(3, 38); return x.GLU(), ts{x} }},
	{tensor.OpGLU, "a whole layer", func(n *net) (*tensor.Tensor, ts) {
		x, l, up, down := n.in(5, 4), n.spread(5, 3), n.in(3, 6, 4), n.in(3, 4, 3)
		ids := l.Route(2)
		group := ids.Group()
		return x.Experts(up, group).GLU().Experts(down, group).Combine(l.RouteWeights(ids, true)), ts{x, l, up, down}
	}},
	{tensor.OpDropout, "", func(n *net) (*tensor.Tensor, ts) {
		x := n.in(6, 7)
		return x.Dropout(n.ids(7, -9), tensor.Mask{P: 0.4, Layer: 3}), ts{x}
	}},
}

// TestRules compares the gradient of Σ c·y, with random c, with central differences, element by element.
func TestRules(t *testing.T) {
	covered := map[tensor.Op]bool{}
	for _, c := range ruleCases {
		covered[c.op] = true
		t.Run(fmt.Sprintf("%v/%s", c.op, c.name), func(t *testing.T) { differences(newNet(t, 1), c.build) })
	}
	for _, op := range tensor.Ops() {
		switch {
		case Differentiable(op) && without[op] != "":
			t.Errorf("%v has a rule, and a reason to have none: %s", op, without[op])
		case Differentiable(op) && !covered[op]:
			t.Errorf("the rule of %v is not tried", op)
		case !Differentiable(op) && without[op] == "":
			t.Errorf("%v has neither a rule nor a reason to have none", op)
		}
	}
}

// TestRulesCUDA does the same on a GPU.
func TestRulesCUDA(t *testing.T) {
	for name, lib := range cudatest.Libraries(t) {
		t.Run(name, func(t *testing.T) {
			dev, err := tensor.OpenLibrary(lib, 0, tensor.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(dev.Close)
			for _, c := range ruleCases {
				t.Run(fmt.Sprintf("%v/%s", c.op, c.name), func(t *testing.T) { differences(newNetOn(t, dev), c.build) })
			}
		})
	}
}

func differences(n *net, build func(n *net) (*tensor.Tensor, ts)) {
	n.Helper()
	y, params := build(n)
	dy := n.in(y.Shape()...)
	grads, err := Gradients([]Output{{y, dy}}, params, Options{})
	if err != nil {
		n.Fatal(err)
	}
	run(n, n.compile(grads...))
	got := make([][]float32, len(grads))
	for i, g := range grads {
		if !slices.Equal(g.Shape(), params[i].Shape()) {
			n.Fatalf("gradient %d of shape %v, want %v", i, g.Shape(), params[i].Shape())
		}
		got[i] = g.Values()
	}
	forward := n.compile(y) // last: a node's values are those of the program that was compiled last
	loss := func() (sum float64) {
		run(n, forward)
		for i, v := range y.Values() {
			sum += float64(v) * float64(n.inputs[dy][i])
		}
		return sum
	}
	// The rounding of float32 weighs with 1/step, the third derivative with step².
	const step = 1.0 / 64
	for i, p := range params {
		v := slices.Clone(n.inputs[p])
		for j, x := range n.inputs[p] {
			v[j] = x + step
			p.SetFloats(v)
			up := loss()
			v[j] = x - step
			p.SetFloats(v)
			want := (up - loss()) / (2 * step)
			v[j] = x
			if d := math.Abs(float64(got[i][j]) - want); !(d <= 2e-3*max(1, math.Abs(want))) {
				n.Fatalf("operand %d, element %d: got %g, want %g", i, j, got[i][j], want)
			}
		}
		p.SetFloats(v)
	}
}
