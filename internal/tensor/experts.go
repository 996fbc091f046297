package tensor

import "slices"

// Mixture of experts (https://arxiv.org/abs/1701.06538, https://arxiv.org/abs/2401.04088).
//
// In the comments N is tokens, E experts, k the experts of a token, P = N·k the pairs
// of a token and one of its experts: pair n·k+j is token n's choice j. Which pairs an
// expert has is data, as the ids are; no shape depends on it.

// MaxChoices bounds the k of [Tensor.Route].
const MaxChoices = 64

// maxExperts keeps an id in half of the bits that a GPU sorts it by.
const maxExperts = 1 << 14

// Route gives the ids of the experts with the k largest logits t (N, E) of each
// token: integers (N, k), the largest first, ties by lowest id, NaN above all numbers.
// Which are chosen has no gradient.
func (t *Tensor) Route(k int) *Tensor {
	wantFloats(OpRoute, t)
	if len(t.shape) != 2 || k < 1 || k > min(MaxChoices, t.shape[1]) || t.shape[1] > maxExperts {
		fail(OpRoute, "%d experts by logits %v: 1 to %d wanted, of no more than there are", k, t.shape, MaxChoices)
	}
	r := node(OpRoute, nil, []int{t.shape[0], k}, t)
	r.dtype = I32
	return r
}

// wantRoute wants ids that were chosen by logits (N, E), so that each is an expert.
func wantRoute(op Op, t, ids *Tensor) {
	wantInts(op, ids)
	if ids.Op != OpRoute || !slices.Equal(ids.Src[0].shape, t.shape) {
		fail(op, "ids %v of %v for logits %v; those of their route wanted", ids.shape, ids.Op, t.shape)
	}
}

// RouteWeights gives the softmax of the logits t (N, E) at ids (N, k), which are t's
// route. chosen takes it over the chosen logits only, so that a token's weights sum to
// 1 (Mixtral; Qwen3 with norm_topk_prob), else it is over all of them.
func (t *Tensor) RouteWeights(ids *Tensor, chosen bool) *Tensor {
	wantFloats(OpRouteWeights, t)
	wantRoute(OpRouteWeights, t, ids)
	return node(OpRouteWeights, chosen, ids.shape, t, ids)
}

// RouteWeightsBackward is the gradient of [Tensor.RouteWeights] with respect to the logits t, for dy (N, k).
func (t *Tensor) RouteWeightsBackward(ids, dy *Tensor, chosen bool) *Tensor {
	wantFloats(OpRouteWeightsBack, t, dy)
	wantRoute(OpRouteWeightsBack, t, ids)
	same(OpRouteWeightsBack, ids, dy)
	return node(OpRouteWeightsBack, chosen, t.shape, t, ids, dy)
}

// Group lists the pairs of the route t (N, k) by expert: integers (E+1+P), where the
// pairs of each expert begin among those that follow, then the pairs. It is made once
// for all products of a layer.
func (t *Tensor) Group() *Tensor {
	wantInts(OpGroup, t)
	if t.Op != OpRoute {
		fail(OpGroup, "integers of %v, a route wanted", t.Op)
	}
	r := node(OpGroup, t.Src[0].shape[1], []int{t.Src[0].shape[1] + 1 + t.Numel()}, t)
	r.dtype = I32
	return r
}

// GroupCounts adds up, for each of the experts of the group t, the weights (N) of the
// tokens whose pairs it has: their number where all weights are 1. It has no gradient.
func (t *Tensor) GroupCounts(experts int, weights *Tensor) *Tensor {
	wantInts(OpGroupCounts, t)
	wantFloats(OpGroupCounts, weights)
	if t.Op != OpGroup || t.Attr.(int) != experts || len(weights.shape) != 1 || weights.shape[0] != t.Src[0].shape[0] {
		fail(OpGroupCounts, "%d experts of %v %v by weights %v", experts, t.Op, t.shape, weights.shape)
	}
	return node(OpGroupCounts, t.Src[0].shape[1], []int{experts}, t, weights)
}

// wantGroup checks rows x (N or P, …) and a group among e experts, and gives the number
// of pairs and how many of them share a row of x.
func wantGroup(op Op, x, group *Tensor, e int) (pairs, per int) {
	wantInts(op, group)
	pairs = group.Numel() - e - 1
	if len(x.shape) != 2 || group.Op != OpGroup || group.Attr.(int) != e || pairs%x.shape[0] != 0 {
		fail(op, "%v by a group %v of %d experts", x.shape, group.shape, e)
	}
	return pairs, pairs / x.shape[0]
}

// Experts gives each pair the product of its row of t with the weights of its expert:
// row p of the result (P, m) is W[e]·t[p/k] for t (N, c), W[e]·t[p] for t (P, c). w is
// (E, m, c), of any float type; group is [Tensor.Group]'s. Only chosen experts are read.
func (t *Tensor) Experts(w, group *Tensor) *Tensor {
	wantFloats(OpExperts, t)
	wantStored(OpExperts, w)
	rank2(OpExperts, w)
	if len(w.shape) != 3 || t.Dim(-1) != w.shape[2] {
		fail(OpExperts, "inner axes differ: %v and %v (weight %q); (experts, out, in) wanted", t.shape, w.shape, w.Name)
	}
	pairs, per := wantGroup(OpExperts, t, group, w.shape[0])
	return node(OpExperts, per, []int{pairs, w.shape[1]}, t, w, group)
}

// ExpertsBackward gives each pair W[e]ᵀ·t[p]: the gradient of [Tensor.Experts], one row
// for each pair, for its gradient t (P, m).
func (t *Tensor) ExpertsBackward(w, group *Tensor) *Tensor {
	wantFloats(OpExpertsBack, t)
	wantStored(OpExpertsBack, w)
	rank2(OpExpertsBack, w)
	if len(w.shape) != 3 || t.Dim(-1) != w.shape[1] {
		fail(OpExpertsBack, "%v by weight %q of %v", t.shape, w.Name, w.shape)
	}
	pairs, per := wantGroup(OpExpertsBack, t, group, w.shape[0])
	if per != 1 {
		fail(OpExpertsBack, "%v by %d pairs", t.shape, pairs)
	}
	return node(OpExpertsBack, 1, []int{pairs, w.shape[2]}, t, w, group)
}

// ExpertsBackwardWeight is the gradient of [Tensor.Experts] with respect to the weights
// (experts, m, c), at the rows x (N or P, c), for its gradient t (P, m).
func (t *Tensor) ExpertsBackwardWeight(x, group *Tensor, experts int) *Tensor {
	wantFloats(OpExpertsBackW, t, x)
	pairs, per := wantGroup(OpExpertsBackW, x, group, experts)
	if len(t.shape) != 2 || t.shape[0] != pairs {
		fail(OpExpertsBackW, "%v by %d pairs", t.shape, pairs)
	}
	return node(OpExpertsBackW, per, []int{experts, t.shape[1], x.shape[1]}, t, x, group)
}

// Combine adds up the results of each token's experts: Σ_j weights[n][j]·t[n·k+j] for t (P, C) and weights (N, k), giving (N, C).
func (t *Tensor) Combine(weights *Tensor) *Tensor {
	wantFloats(OpCombine, t, weights)
	if len(t.shape) != 2 || len(weights.shape) != 2 || weights.Numel() != t.shape[0] {
		fail(OpCombine, "%v by weights %v", t.shape, weights.shape)
	}
	return node(OpCombine, weights.shape[1], []int{weights.shape[0], t.shape[1]}, t, weights)
}

// SumChoices is [Tensor.Combine] with weights 1: it adds up each k rows of t.
func (t *Tensor) SumChoices(k int) *Tensor {
	wantFloats(OpCombine, t)
	if len(t.shape) != 2 || k < 1 || t.shape[0]%k != 0 {
		fail(OpCombine, "each %d rows of %v", k, t.shape)
	}
	return node(OpCombine, k, []int{t.shape[0] / k, t.shape[1]}, t)
}

// CombineBackward is the gradient of [Tensor.Combine] by its first operand (P, C), for the weights t (N, k) and dy (N, C).
func (t *Tensor) CombineBackward(dy *Tensor) *Tensor {
	wantFloats(OpCombineBack, t, dy)
	if len(t.shape) != 2 || len(dy.shape) != 2 || t.shape[0] != dy.shape[0] {
		fail(OpCombineBack, "weights %v, gradient %v", t.shape, dy.shape)
	}
	return node(OpCombineBack, nil, []int{t.Numel(), dy.shape[1]}, t, dy)
}

// CombineBackwardWeights is the gradient of [Tensor.Combine] by the weights (N, k), for t (P, C) and dy (N, C).
func (t *Tensor) CombineBackwardWeights(dy *Tensor) *Tensor {
	wantFloats(OpCombineBackW, t, dy)
	if len(t.shape) != 2 || len(dy.shape) != 2 || t.shape[1] != dy.shape[1] || t.shape[0]%dy.shape[0] != 0 {
		fail(OpCombineBackW, "%v, gradient %v", t.shape, dy.shape)
	}
	return node(OpCombineBackW, nil, []int{dy.shape[0], t.shape[0] / dy.shape[0]}, t, dy)
}

// GLU is silu(gate)·up of the halves of each row of t (N, 2C): [Tensor.SwiGLU] of a fused projection.
func (t *Tensor) GLU() *Tensor {
	wantFloats(OpGLU, t)
	if len(t.shape) != 2 || t.shape[1]%2 != 0 {
		fail(OpGLU, "%v: rows of gate and up side by side wanted", t.shape)
	}
	return node(OpGLU, nil, []int{t.shape[0], t.shape[1] / 2}, t)
}

// GLUBackward is the gradient of [Tensor.GLU], for dy (N, C).
func (t *Tensor) GLUBackward(dy *Tensor) *Tensor {
	wantFloats(OpGLUBack, t, dy)
	if len(t.shape) != 2 || !slices.Equal(dy.shape, []int{t.shape[0], t.shape[1] / 2}) || t.shape[1]%2 != 0 {
		fail(OpGLUBack, "%v, gradient %v", t.shape, dy.shape)
	}
	return node(OpGLUBack, nil, t.shape, t, dy)
}
