package autograd

import "github.com/litgpt-go/litgpt/internal/tensor"

// A rule returns the vector-Jacobian products of y, one per operand of y, nil
// where there is none. dy is the gradient of the loss with respect to y; want
// says which operands are asked for, so a rule can skip a costly one (the
// weight gradient of a frozen linear layer).
type rule func(y, dy *tensor.Tensor, want func(i int) bool) []*tensor.Tensor

type tensors = []*tensor.Tensor

// rules is sorted as the operations are in package tensor. nil says that an
// operation has no gradient: it is one of a backward pass, updates something in
// place, or makes constants. Where such a node needs one, [Gradients] fails before anything runs.
var rules = [...]rule{
	tensor.OpLeaf: nil,
	tensor.OpAdd: func(y, dy *tensor.Tensor, want func(int) bool) []*tensor.Tensor {
		return tensors{dy, dy}
	},
	// y = a*b: da = dy*b, db = dy*a
	tensor.OpMul: func(y, dy *tensor.Tensor, want func(int) bool) []*tensor.Tensor {
		dx := tensors{nil, nil}
		if want(0) {
			dx[0] = dy.Mul(y.Src[1])
		}
		if want(1) {
			dx[1] = dy.Mul(y.Src[0])
		}
		return dx
	},
	tensor.OpScale: func(y, dy *tensor.Tensor, want func(int) bool) []*tensor.Tensor {
		return tensors{dy.Scale(y.Attr.(float64))}
	},
	// y = x·wᵀ: dx = dy·w, dw = dyᵀ·x. A w that is shared over leading axes gets the sum over its users.
	tensor.OpMatMulT: func(y, dy *tensor.Tensor, want func(int) bool) []*tensor.Tensor {
		x, w := y.Src[0], y.Src[1]
		dx := tensors{nil, nil}
		if want(0) {
			dx[0] = dy.MatMul(w)
		}
		if want(1) {
			dx[1] = ungroup(dy.TMatMul(x), w)
		}
		return dx
	},
	// y = x·w: dx = dy·wᵀ, dw = xᵀ·dy
	tensor.OpMatMul: func(y, dy *tensor.Tensor, want func(int) bool) []*tensor.Tensor {
		x, w := y.Src[0], y.Src[1]
		dx := tensors{nil, nil}
		if want(0) {
			dx[0] = dy.MatMulT(w)
		}
		if want(1) {
			dx[1] = ungroup(x.TMatMul(dy), w)
		}
		return dx
	},
	tensor.OpTMatMul: nil,
	tensor.OpRMSNorm: func(y, dy *tensor.Tensor, want func(int) bool) []*tensor.Tensor {
		x, w, n := y.Src[0], y.Src[1], y.Attr.(tensor.Norm)
		dx := tensors{nil, nil}
		if want(0) {
			dx[0] = x.RMSNormBackward(w, dy, n)
		}
		if want(1) {
			dx[1] = x.RMSNormBackwardWeight(dy, n.Eps)
		}
		return dx
	},
	tensor.OpRMSNormBack:  nil,
	tensor.OpRMSNormBackW: nil,
	// y = h·w + b, h the normalized x: db = Σ dy, which is dy un-broadcast
	tensor.OpLayerNorm: func(y, dy *tensor.Tensor, want func(int) bool) []*tensor.Tensor {
		x, w, eps := y.Src[0], y.Src[1], y.Attr.(float64)
		dx := tensors{nil, nil, dy}[:len(y.Src)]
		if want(0) {
			dx[0] = x.LayerNormBackward(w, dy, eps)
		}
		if want(1) {
			dx[1] = x.LayerNormBackwardWeight(dy, eps)
		}
		return dx
	},
	tensor.OpLayerNormBack:  nil,
	tensor.OpLayerNormBackW: nil,
	tensor.OpAct: func(y, dy *tensor.Tensor, want func(int) bool) []*tensor.Tensor {
		return tensors{y.Src[0].ActBackward(y.Attr.(tensor.Activation), dy)}
	},
	tensor.OpActBack: nil,
	// y = a(gate)·up: dgate = dy·up·a'(gate), dup = dy·a(gate)
	tensor.OpGate: func(y, dy *tensor.Tensor, want func(int) bool) []*tensor.Tensor {
		gate, up, a := y.Src[0], y.Src[1], y.Attr.(tensor.Activation)
		dx := tensors{nil, nil}
		if want(0) {
			dx[0] = gate.GateBackward(a, up, dy)
		}
		if want(1) {
			dx[1] = gate.Gate(a, dy)
		}
		return dx
	},
	tensor.OpGateBack: nil,
	// By its result, as the softmax or cross entropy above it keeps that.
	tensor.OpSoftcap: func(y, dy *tensor.Tensor, want func(int) bool) []*tensor.Tensor {
		return tensors{y.SoftcapBackward(dy, y.Attr.(float64))}
	},
	tensor.OpSoftcapBack: nil,
	tensor.OpSoftmax: func(y, dy *tensor.Tensor, want func(int) bool) []*tensor.Tensor {
		return tensors{y.SoftmaxBackward(dy, y.Attr.(float64)), nil}[:len(y.Src)]
	},
	tensor.OpSoftmaxBack: nil,
	tensor.OpRopeTable:   nil,
	tensor.OpRoPE: func(y, dy *tensor.Tensor, want func(int) bool) []*tensor.Tensor {
		return tensors{dy.RoPEBackward(y.Src[1]), nil}
	},
	tensor.OpReshape: func(y, dy *tensor.Tensor, want func(int) bool) []*tensor.Tensor {
		return tensors{dy.Reshape(y.Src[0].Shape()...)}
	},
	tensor.OpPermute: func(y, dy *tensor.Tensor, want func(int) bool) []*tensor.Tensor {
		axes := y.Attr.([]int)
		inverse := make([]int, len(axes))
		for i, a := range axes {
			inverse[a] = i
		}
		return tensors{dy.Permute(inverse...)}
	},
	tensor.OpColumns: func(y, dy *tensor.Tensor, want func(int) bool) []*tensor.Tensor {
		return tensors{dy.ColumnsBackward(y.Attr.(int), y.Src[0].Dim(-1))}
	},
	tensor.OpColumnsBack: nil,
	tensor.OpRows: func(y, dy *tensor.Tensor, want func(int) bool) []*tensor.Tensor {
		return tensors{dy.RowsBackward(y.Src[1], y.Src[0].Dim(0)), nil}
	},
	tensor.OpRowsBack: nil,
	tensor.OpZeros:    nil,
	tensor.OpSetRows:  nil,
	tensor.OpAttention: func(y, dy *tensor.Tensor, want func(int) bool) []*tensor.Tensor {
		q, k, v := y.Src[0], y.Src[1], y.Src[2]
		d := q.AttentionBackward(k, v, y.Src[3], dy, y.Attr.(tensor.Attn))
		dx := tensors{nil, nil, nil, nil}
		for i, offset := 0, 0; i < 3; i++ {
			if want(i) {
				dx[i] = d.Part(offset, y.Src[i].Shape()...)
			}
			offset += y.Src[i].Numel()
		}
		return dx
	},
	tensor.OpAttentionBack:  nil,
	tensor.OpPagedAttention: nil,
	tensor.OpPart:           nil,
	tensor.OpCrossEntropy: func(y, dy *tensor.Tensor, want func(int) bool) []*tensor.Tensor {
		return tensors{y.Src[0].CrossEntropyBackward(y.Src[1], dy), nil}
	},
	tensor.OpCrossEntropyBack: nil,
	tensor.OpSumTo:            nil,
	tensor.OpDropout: func(y, dy *tensor.Tensor, want func(int) bool) []*tensor.Tensor {
		return tensors{dy.Dropout(y.Src[1], y.Attr.(tensor.Mask)), nil}
	},
	tensor.OpAccumulate: nil,
	tensor.OpAdamW:      nil,
	tensor.OpSquareSum:  nil,
	tensor.OpAddDot:     nil,
	tensor.OpClip:       nil,
	tensor.OpTopK:       nil,
	tensor.OpRoute:      nil,
	tensor.OpRouteWeights: func(y, dy *tensor.Tensor, want func(int) bool) []*tensor.Tensor {
		return tensors{y.Src[0].RouteWeightsBackward(y.Src[1], dy, y.Attr.(bool)), nil}
	},
	tensor.OpRouteWeightsBack: nil,
	tensor.OpGroup:            nil,
	tensor.OpGroupCounts:      nil,
	// y_p = W[e]·x: dx = W[e]ᵀ·dy_p, summed over the pairs that share a row; dW[e] = Σ dy_p ⊗ x
	tensor.OpExperts: func(y, dy *tensor.Tensor, want func(int) bool) []*tensor.Tensor {
		x, w, group := y.Src[0], y.Src[1], y.Src[2]
		dx := tensors{nil, nil, nil}
		if want(0) {
			dx[0] = dy.ExpertsBackward(w, group)
			if per := y.Attr.(int); per > 1 {
				dx[0] = dx[0].SumChoices(per)
			}
		}
		if want(1) {
			dx[1] = dy.ExpertsBackwardWeight(x, group, w.Dim(0))
		}
		return dx
	},
	tensor.OpExpertsBack:  nil,
	tensor.OpExpertsBackW: nil,
	tensor.OpCombine: func(y, dy *tensor.Tensor, want func(int) bool) []*tensor.Tensor {
		if len(y.Src) == 1 {
			return tensors{nil} // SumChoices, which the rule of Experts makes
		}
		dx := tensors{nil, nil}
		if want(0) {
			dx[0] = y.Src[1].CombineBackward(dy)
		}
		if want(1) {
			dx[1] = y.Src[0].CombineBackwardWeights(dy)
		}
		return dx
	},
	tensor.OpCombineBack:  nil,
	tensor.OpCombineBackW: nil,
	tensor.OpGLU: func(y, dy *tensor.Tensor, want func(int) bool) []*tensor.Tensor {
		return tensors{y.Src[0].GLUBackward(dy)}
	},
	tensor.OpGLUBack: nil,
}

// Differentiable reports whether op has a rule.
func Differentiable(op tensor.Op) bool { return rules[op] != nil }

// ungroup sums d over the groups of leading axes that shared w, to w's shape.
func ungroup(d, w *tensor.Tensor) *tensor.Tensor {
	shape, want := d.Shape(), w.Shape()
	off := len(shape) - len(want)
	for i := len(want) - 3; i >= 0; i-- {
		group := shape[off+i] / want[i]
		if group == 1 {
			continue
		}
		// (…, Hkv·g, rest) -> (g, …, Hkv, rest), then the leading g is summed away.
		outer, inner := 1, 1
		for _, n := range shape[:off+i] {
			outer *= n
		}
		for _, n := range shape[off+i+1:] {
			inner *= n
		}
		d = d.Reshape(outer, want[i], group, inner).Permute(2, 0, 1, 3)
		flat := []int{outer, want[i], inner}
		d = d.SumTo(flat)
		shape = append(append(append([]int{}, shape[:off+i]...), want[i]), shape[off+i+1:]...)
		d = d.Reshape(shape...)
	}
	return d
}
