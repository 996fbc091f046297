package tensor

import (
	"math"
	"slices"
)

// The operations of the backward pass and of the update of the weights.

// RMSNormBackward is the gradient of [Tensor.RMSNormOffset] with respect to t.
func (t *Tensor) RMSNormBackward(w, dy *Tensor, n Norm) *Tensor {
	wantFloats(OpRMSNormBack, t, w, dy)
	same(OpRMSNormBack, t, dy)
	wantRow(OpRMSNormBack, "weight", t, w)
	return node(OpRMSNormBack, n, t.shape, t, w, dy)
}

// RMSNormBackwardWeight is the gradient of [Tensor.RMSNorm] with respect to w, whatever the offset.
func (t *Tensor) RMSNormBackwardWeight(dy *Tensor, eps float64) *Tensor {
	wantFloats(OpRMSNormBackW, t, dy)
	same(OpRMSNormBackW, t, dy)
	return node(OpRMSNormBackW, eps, []int{t.Dim(-1)}, t, dy)
}

// LayerNormBackward is the gradient of [Tensor.LayerNorm] with respect to t.
func (t *Tensor) LayerNormBackward(w, dy *Tensor, eps float64) *Tensor {
	wantFloats(OpLayerNormBack, t, w, dy)
	same(OpLayerNormBack, t, dy)
	wantRow(OpLayerNormBack, "weight", t, w)
	return node(OpLayerNormBack, eps, t.shape, t, w, dy)
}

// LayerNormBackwardWeight is the gradient of [Tensor.LayerNorm] with respect to w; that of b is dy, summed.
func (t *Tensor) LayerNormBackwardWeight(dy *Tensor, eps float64) *Tensor {
	wantFloats(OpLayerNormBackW, t, dy)
	same(OpLayerNormBackW, t, dy)
	return node(OpLayerNormBackW, eps, []int{t.Dim(-1)}, t, dy)
}

// SoftcapBackward is the adjoint of the [Tensor.Softcap] whose result is t.
func (t *Tensor) SoftcapBackward(dy *Tensor, c float64) *Tensor {
	wantFloats(OpSoftcapBack, t, dy)
	same(OpSoftcapBack, t, dy)
	wantCap(OpSoftcapBack, c)
	return node(OpSoftcapBack, c, t.shape, t, dy)
}

// ColumnsBackward puts dy (…, n) into columns [from, from+n) of zeros (…, c).
func (dy *Tensor) ColumnsBackward(from, c int) *Tensor {
	wantFloats(OpColumnsBack, dy)
	if n := dy.Dim(-1); from < 0 || from > c-n {
		fail(OpColumnsBack, "%v into columns from %d of %d", dy.shape, from, c)
	}
	shape := slices.Clone(dy.shape)
	shape[len(shape)-1] = c
	return node(OpColumnsBack, from, shape, dy)
}

// SoftmaxBackward is the adjoint of the softmax whose result is t.
func (t *Tensor) SoftmaxBackward(dy *Tensor, scale float64) *Tensor {
	wantFloats(OpSoftmaxBack, t, dy)
	same(OpSoftmaxBack, t, dy)
	return node(OpSoftmaxBack, scale, t.shape, t, dy)
}

// RoPEBackward is the adjoint of the rotation with the given table: the opposite rotation, times the same magnitude.
func (t *Tensor) RoPEBackward(table *Tensor) *Tensor {
	wantFloats(OpRoPE, t)
	if table.Op != OpRopeTable || len(t.shape) != 3 || t.shape[0] != table.shape[0] || 2*table.shape[1] > t.Dim(-1) {
		fail(OpRoPE, "%v by a table of %v", t.shape, table.shape)
	}
	return node(OpRoPE, true, t.shape, t, table)
}

// RowsBackward sums the rows of dy (N, C) into a table of rows rows, at ids (N).
func (dy *Tensor) RowsBackward(ids *Tensor, rows int) *Tensor {
	wantFloats(OpRowsBack, dy)
	wantInts(OpRowsBack, ids)
	if len(dy.shape) != 2 || !slices.Equal(ids.shape, dy.shape[:1]) || !ids.IsInput() {
		fail(OpRowsBack, "%v at ids %v", dy.shape, ids.shape)
	}
	return node(OpRowsBack, nil, []int{rows, dy.Dim(-1)}, dy, ids)
}

// AttentionBackward gives the gradients of [Tensor.Attention] (without a cache:
// as many keys as queries) as one row of numbers: those of t, then k, then v;
// [Tensor.Part] takes them out.
func (t *Tensor) AttentionBackward(k, v, spans, dy *Tensor, a Attn) *Tensor {
	wantFloats(OpAttentionBack, t, k, v, dy)
	same(OpAttentionBack, k, v)
	if len(t.shape) != 3 || len(k.shape) != 3 || k.Dim(2) != t.Dim(2) || t.Dim(1)%k.Dim(1) != 0 || k.shape[0] != t.shape[0] || dy.Numel() != t.Numel() {
		fail(OpAttentionBack, "queries %v, keys %v, dy %v", t.shape, k.shape, dy.shape)
	}
	wantSpans(OpAttentionBack, t, spans, a)
	return node(OpAttentionBack, a, []int{t.Numel() + 2*k.Numel()}, t, k, v, spans, dy)
}

// Part is a view of t's elements from offset on, in the given shape.
func (t *Tensor) Part(offset int, shape ...int) *Tensor {
	wantFloats(OpPart, t)
	if n := numel(checkShape(OpPart, shape)); offset < 0 || offset > t.Numel()-n {
		fail(OpPart, "%v at %d of %v", shape, offset, t.shape)
	}
	return node(OpPart, offset, shape, t)
}

// CrossEntropyBackward is the adjoint of [Tensor.CrossEntropy] at logits t for dy (N).
func (t *Tensor) CrossEntropyBackward(targets, dy *Tensor) *Tensor {
	wantFloats(OpCrossEntropyBack, t, dy)
	wantInts(OpCrossEntropyBack, targets)
	same(OpCrossEntropyBack, targets, dy)
	if len(t.shape) != 2 || !slices.Equal(targets.shape, t.shape[:1]) || !targets.IsInput() {
		fail(OpCrossEntropyBack, "logits %v, targets %v", t.shape, targets.shape)
	}
	return node(OpCrossEntropyBack, nil, t.shape, t, targets, dy)
}

// SumTo sums t over its leading axes down to shape, which are its last axes: the adjoint of broadcasting.
func (t *Tensor) SumTo(shape []int) *Tensor {
	wantFloats(OpSumTo, t)
	if !suffix(t.shape, shape) {
		fail(OpSumTo, "%v to %v", t.shape, shape)
	}
	return node(OpSumTo, nil, shape, t)
}

// Accumulate sets the weight-like leaf sum to beta·sum + t, in place; beta (1) is an input, and 0 overwrites.
func (t *Tensor) Accumulate(sum, beta *Tensor) *Tensor {
	same(OpAccumulate, sum, t)
	wantFloats(OpAccumulate, sum, t, beta)
	if !sum.IsWeight() || beta.Numel() != 1 {
		fail(OpAccumulate, "into a weight by 1 factor wanted, not into %v by %d", sum.Op, beta.Numel())
	}
	return node(OpAccumulate, nil, t.shape, sum, t, beta)
}

// AdamWState are the leaves one weight's update reads and writes; all F32 and of the weight's shape.
type AdamWState struct {
	Grad, M, V *Tensor
	Working    *Tensor // BF16 copy of the weight that the model computes with; nil when the weight itself is
}

// hyperparameters are the numbers of an update that [Tensor.Clip] and [Tensor.AdamW] read:
// learning rate, β1, β2, ε, 1−β1^step, sqrt(1−β2^step), largest norm of the gradient (0: any).
const hyperparameters = 7

// AdamW updates the F32 leaf t in place (https://arxiv.org/abs/1711.05101). h (7)
// is an input, see hyperparameters. The second number of clip (2) is the factor of
// the gradient; where that is NaN nothing changes.
func (t *Tensor) AdamW(s AdamWState, h, clip *Tensor, decay float64) *Tensor {
	for _, x := range []*Tensor{t, s.Grad, s.M, s.V} {
		same(OpAdamW, t, x)
		wantFloats(OpAdamW, x)
		if x != s.Grad && !x.IsWeight() {
			fail(OpAdamW, "cannot update %v in place, a weight wanted", x.Op)
		}
	}
	wantFloats(OpAdamW, h, clip)
	if h.Numel() != hyperparameters || math.IsNaN(decay) {
		fail(OpAdamW, "%d hyperparameters, %d wanted", h.Numel(), hyperparameters)
	}
	if clip.Numel() != 2 {
		fail(OpAdamW, "norm and factor of shape %v, 2 numbers wanted", clip.shape)
	}
	src := []*Tensor{t, s.Grad, s.M, s.V, h, clip}
	if s.Working != nil {
		same(OpAdamW, t, s.Working)
		if s.Working.dtype != BF16 || !s.Working.IsWeight() {
			fail(OpAdamW, "working copy is %v %v, a weight in BF16 wanted", s.Working.Op, s.Working.dtype)
		}
		src = append(src, s.Working)
	}
	return node(OpAdamW, decay, t.shape, src...)
}

// wantPairs wants sums as [Graph.SquareSum] gives them: two floats, whose sum each is.
func wantPairs(op Op, ts ...*Tensor) {
	wantFloats(op, ts...)
	for _, t := range ts {
		if !slices.Equal(t.shape, []int{2}) {
			fail(op, "a sum of shape %v, a pair wanted", t.shape)
		}
	}
}

// SquareSum returns total + Σt² as a node of g. Both sums are pairs (2) of floats,
// the second what the first has lost by rounding; nil is no total. t and total are
// nodes of g or weights, which belong to no graph.
func (g *Graph) SquareSum(t, total *Tensor) *Tensor {
	wantFloats(OpSquareSum, t)
	src := []*Tensor{t}
	if total != nil {
		wantPairs(OpSquareSum, total)
		src = append(src, total)
	}
	for _, s := range src {
		if s.g != nil && s.g != g {
			fail(OpSquareSum, "operand belongs to another graph")
		}
	}
	n := &Tensor{Op: OpSquareSum, Src: src, shape: []int{2}, g: g}
	g.nodes = append(g.nodes, n)
	return n
}

// AddDot sets the weight-like leaf sum, a pair (2) as [Graph.SquareSum]'s, to
// beta·sum + Σt·u, in place; beta (1) is an input, and 0 overwrites.
func (t *Tensor) AddDot(u, sum, beta *Tensor) *Tensor {
	same(OpAddDot, t, u)
	wantFloats(OpAddDot, t, u, beta)
	wantPairs(OpAddDot, sum)
	if !sum.IsWeight() || beta.Numel() != 1 {
		fail(OpAddDot, "into a weight by 1 factor wanted, not into %v by %d", sum.Op, beta.Numel())
	}
	return node(OpAddDot, nil, sum.shape, sum, t, u, beta)
}

// Clip sets the weight-like leaf t (2) to the norm of the gradient, whose sum of
// squares is the pair squares (2), and to the factor that brings it down to the
// largest norm in h (7, see hyperparameters). The factor is NaN when the norm or the pair loss (2) is
// not finite, and from then on until the leaf is set anew: nothing after a step that
// failed may count. https://pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_norm_.html
func (t *Tensor) Clip(squares, loss, h *Tensor) *Tensor {
	wantPairs(OpClip, t, squares, loss)
	wantFloats(OpClip, h)
	if !t.IsWeight() {
		fail(OpClip, "cannot update %v in place, a weight wanted", t.Op)
	}
	if h.Numel() != hyperparameters {
		fail(OpClip, "%d hyperparameters, %d wanted", h.Numel(), hyperparameters)
	}
	return node(OpClip, nil, t.shape, t, squares, loss, h)
}
