package tensor

import (
	"math"
	"slices"
)

// In shape comments N is tokens, C channels, H heads, D head size, V vocabulary.

func wantFloats(op Op, ts ...*Tensor) {
	for _, t := range ts {
		if t.IsWeight() && t.store == nil {
			continue // checked when compiled
		}
		if t.dtype != F32 {
			fail(op, "operand %q is %v, F32 wanted", t.Name, t.dtype)
		}
	}
}

func wantInts(op Op, t *Tensor) {
	if t.dtype != I32 {
		fail(op, "operand %q is %v, I32 wanted", t.Name, t.dtype)
	}
}

func same(op Op, a, b *Tensor) {
	if !slices.Equal(a.shape, b.shape) {
		fail(op, "shapes differ: %v and %v", a.shape, b.shape)
	}
}

// suffix reports whether small is the last axes of shape.
func suffix(shape, small []int) bool {
	return len(small) <= len(shape) && slices.Equal(shape[len(shape)-len(small):], small)
}

// Add returns t + u; u has the shape of t or of its last axes.
func (t *Tensor) Add(u *Tensor) *Tensor {
	wantFloats(OpAdd, t, u)
	if !suffix(t.shape, u.shape) {
		fail(OpAdd, "cannot broadcast %v to %v", u.shape, t.shape)
	}
	return node(OpAdd, nil, t.shape, t, u)
}

// Mul returns t * u element-wise; u has the shape of t or of its last axes.
func (t *Tensor) Mul(u *Tensor) *Tensor {
	wantFloats(OpMul, t, u)
	if !suffix(t.shape, u.shape) {
		fail(OpMul, "cannot broadcast %v to %v", u.shape, t.shape)
	}
	return node(OpMul, nil, t.shape, t, u)
}

// Scale returns s * t.
func (t *Tensor) Scale(s float64) *Tensor {
	wantFloats(OpScale, t)
	return node(OpScale, s, t.shape, t)
}

// lead checks that the leading axes of u (all but two) divide those of t, group-wise, and returns t's.
func lead(op Op, t, u *Tensor) []int {
	a, b := t.shape[:len(t.shape)-2], u.shape[:len(u.shape)-2]
	if len(b) > len(a) {
		fail(op, "cannot share %v over %v", u.shape, t.shape)
	}
	for i, d := range b {
		if a[len(a)-len(b)+i]%d != 0 {
			fail(op, "cannot share %v over %v", u.shape, t.shape)
		}
	}
	return a
}

func rank2(op Op, ts ...*Tensor) {
	for _, t := range ts {
		if len(t.shape) < 2 {
			fail(op, "operand %q of shape %v: at least two axes wanted", t.Name, t.shape)
		}
	}
}

// MatMulT returns t·uᵀ over the last two axes: (…, n, k) and (…, m, k) give
// (…, n, m). Leading axes of u are shared by groups of those of t. u may be a
// weight of any type.
func (t *Tensor) MatMulT(u *Tensor) *Tensor {
	rank2(OpMatMulT, t, u)
	if t.Dim(-1) != u.Dim(-1) {
		fail(OpMatMulT, "inner axes differ: %v and %v (weight %q)", t.shape, u.shape, u.Name)
	}
	wantFloats(OpMatMulT, t)
	return node(OpMatMulT, nil, append(slices.Clone(lead(OpMatMulT, t, u)), t.Dim(-2), u.Dim(-2)), t, u)
}

// MatMul returns t·u: (…, n, k) and (…, k, m) give (…, n, m); otherwise as [Tensor.MatMulT].
func (t *Tensor) MatMul(u *Tensor) *Tensor {
	rank2(OpMatMul, t, u)
	if t.Dim(-1) != u.Dim(-2) {
		fail(OpMatMul, "inner axes differ: %v and %v (weight %q)", t.shape, u.shape, u.Name)
	}
	wantFloats(OpMatMul, t)
	return node(OpMatMul, nil, append(slices.Clone(lead(OpMatMul, t, u)), t.Dim(-2), u.Dim(-1)), t, u)
}

// TMatMul returns tᵀ·u: (…, k, n) and (…, k, m) give (…, n, m).
func (t *Tensor) TMatMul(u *Tensor) *Tensor {
	rank2(OpTMatMul, t, u)
	if t.Dim(-2) != u.Dim(-2) {
		fail(OpTMatMul, "inner axes differ: %v and %v", t.shape, u.shape)
	}
	wantFloats(OpTMatMul, t, u)
	return node(OpTMatMul, nil, append(slices.Clone(lead(OpTMatMul, t, u)), t.Dim(-1), u.Dim(-1)), t, u)
}

// RMSNorm returns t / sqrt(mean(t²)+eps) * w over the last axis. https://arxiv.org/abs/1910.07467
func (t *Tensor) RMSNorm(w *Tensor, eps float64) *Tensor {
	wantFloats(OpRMSNorm, t, w)
	if len(w.shape) != 1 || w.shape[0] != t.Dim(-1) {
		fail(OpRMSNorm, "weight %q of shape %v for rows of %d", w.Name, w.shape, t.Dim(-1))
	}
	return node(OpRMSNorm, eps, t.shape, t, w)
}

// RMSNormBackward is the gradient of [Tensor.RMSNorm] with respect to t.
func (t *Tensor) RMSNormBackward(w, dy *Tensor, eps float64) *Tensor {
	same(OpRMSNormBack, t, dy)
	return node(OpRMSNormBack, eps, t.shape, t, w, dy)
}

// RMSNormBackwardWeight is the gradient of [Tensor.RMSNorm] with respect to w.
func (t *Tensor) RMSNormBackwardWeight(dy *Tensor, eps float64) *Tensor {
	same(OpRMSNormBackW, t, dy)
	return node(OpRMSNormBackW, eps, []int{t.Dim(-1)}, t, dy)
}

// SwiGLU returns silu(t) * up. https://arxiv.org/abs/2002.05202
func (t *Tensor) SwiGLU(up *Tensor) *Tensor {
	wantFloats(OpSwiGLU, t, up)
	same(OpSwiGLU, t, up)
	return node(OpSwiGLU, nil, t.shape, t, up)
}

// SwiGLUBackward is the gradient of [Tensor.SwiGLU] with respect to the gate t; that of up is t.SwiGLU(dy).
func (t *Tensor) SwiGLUBackward(up, dy *Tensor) *Tensor {
	same(OpSwiGLUBackGate, t, dy)
	return node(OpSwiGLUBackGate, nil, t.shape, t, up, dy)
}

// Softmax returns softmax(scale*t + mask) over the last axis; mask has the last two axes of t, or is nil.
func (t *Tensor) Softmax(scale float64, mask *Tensor) *Tensor {
	wantFloats(OpSoftmax, t)
	if mask == nil {
		return node(OpSoftmax, scale, t.shape, t)
	}
	wantFloats(OpSoftmax, mask)
	if len(mask.shape) != 2 || !suffix(t.shape, mask.shape) {
		fail(OpSoftmax, "mask %v for scores %v", mask.shape, t.shape)
	}
	return node(OpSoftmax, scale, t.shape, t, mask)
}

// SoftmaxBackward is the adjoint of the softmax whose result is t.
func (t *Tensor) SoftmaxBackward(dy *Tensor, scale float64) *Tensor {
	same(OpSoftmaxBack, t, dy)
	return node(OpSoftmaxBack, scale, t.shape, t, dy)
}

// RoPE describes rotary position embedding (https://arxiv.org/abs/2104.09864).
// Every published variant comes down to an angular frequency per pair of
// channels and one magnitude. It is a pointer's target: layers that share one share its table.
type RoPE struct {
	Freqs []float64 // radians per position, one per rotated pair
	Scale float64   // magnitude of the rotation, 1 unless YaRN or LongRoPE
}

type ropeKey struct {
	pos *Tensor
	r   *RoPE
}

// ropeTable gives the cosines and sines (N, D/2, 2) of r at positions pos (N); once per graph.
func (g *Graph) ropeTable(pos *Tensor, r *RoPE) *Tensor {
	wantInts(OpRopeTable, pos)
	key := ropeKey{pos, r}
	if t := g.ropes[key]; t != nil {
		return t
	}
	freqs := make([]float32, len(r.Freqs))
	for i, f := range r.Freqs {
		freqs[i] = float32(f)
	}
	f := g.Floats(len(freqs)).SetFloats(freqs)
	t := node(OpRopeTable, r.Scale, []int{pos.Numel(), len(freqs), 2}, pos, f)
	if g.ropes == nil {
		g.ropes = map[ropeKey]*Tensor{}
	}
	g.ropes[key] = t
	return t
}

// RoPE rotates the pairs (i, i+len(r.Freqs)) of each row of t (N, H, D) by pos (N); channels beyond the pairs stay.
func (t *Tensor) RoPE(pos *Tensor, r *RoPE) *Tensor {
	wantFloats(OpRoPE, t)
	if n := len(r.Freqs); len(t.shape) != 3 || t.shape[0] != pos.Numel() || n == 0 || 2*n > t.Dim(-1) || n > 1024 {
		fail(OpRoPE, "%d pairs on %v at %d positions", n, t.shape, pos.Numel())
	}
	return node(OpRoPE, false, t.shape, t, t.graphOf(pos).ropeTable(pos, r))
}

func (t *Tensor) graphOf(u *Tensor) *Graph {
	if t.g != nil {
		return t.g
	}
	return u.g
}

// RoPEBackward is the adjoint of the rotation with the given table: the opposite rotation, times the same magnitude.
func (t *Tensor) RoPEBackward(table *Tensor) *Tensor {
	return node(OpRoPE, true, t.shape, t, table)
}

// Reshape returns t with another shape of as many elements.
func (t *Tensor) Reshape(shape ...int) *Tensor {
	checkShape(OpReshape, shape)
	if numel(shape) != t.Numel() {
		fail(OpReshape, "%v to %v", t.shape, shape)
	}
	r := node(OpReshape, nil, shape, t)
	r.dtype = t.dtype
	return r
}

// Permute reorders the axes and copies: axis i of the result is axis axes[i] of t.
func (t *Tensor) Permute(axes ...int) *Tensor {
	wantFloats(OpPermute, t)
	shape, seen := make([]int, len(axes)), map[int]bool{}
	for i, a := range axes {
		if a < 0 || a >= len(t.shape) || seen[a] || len(axes) != len(t.shape) {
			fail(OpPermute, "axes %v of %v", axes, t.shape)
		}
		seen[a], shape[i] = true, t.shape[a]
	}
	return node(OpPermute, axes, shape, t)
}

// T swaps the last two axes.
func (t *Tensor) T() *Tensor {
	axes := make([]int, len(t.shape))
	for i := range axes {
		axes[i] = i
	}
	n := len(axes)
	axes[n-1], axes[n-2] = n-2, n-1
	return t.Permute(axes...)
}

// Rows gathers rows of the table t (V, C) by ids (N), giving (N, C) in F32. Ids outside the table are checked when the program runs.
func (t *Tensor) Rows(ids *Tensor) *Tensor {
	wantInts(OpRows, ids)
	if len(t.shape) != 2 || len(ids.shape) != 1 || !ids.IsInput() {
		fail(OpRows, "table %v, ids %v", t.shape, ids.shape)
	}
	return node(OpRows, nil, []int{ids.shape[0], t.shape[1]}, t, ids)
}

// RowsBackward sums the rows of dy (N, C) into a table of rows rows, at ids (N).
func (dy *Tensor) RowsBackward(ids *Tensor, rows int) *Tensor {
	wantInts(OpRowsBack, ids)
	return node(OpRowsBack, nil, []int{rows, dy.Dim(-1)}, dy, ids)
}

// Zeros returns zeros, in a place of its own that [Tensor.SetRows] may write to. after is evaluated first.
func (after *Tensor) Zeros(shape ...int) *Tensor { return node(OpZeros, nil, shape, after) }

// SetRows writes the rows of src (N, C) into t (S, C) at ids (N), in place, and
// returns t as it then is; readers must use the result. t is a weight (a cache,
// F32 or F16), [Tensor.Zeros], or the result of SetRows.
func (t *Tensor) SetRows(ids, src *Tensor) *Tensor {
	wantInts(OpSetRows, ids)
	wantFloats(OpSetRows, src)
	if !t.IsWeight() && t.Op != OpZeros && t.Op != OpSetRows {
		fail(OpSetRows, "cannot write into %v", t.Op)
	}
	if len(t.shape) != 2 || len(src.shape) != 2 || t.Dim(-1) != src.Dim(-1) || !slices.Equal(ids.shape, src.shape[:1]) || !ids.IsInput() {
		fail(OpSetRows, "%v at %v into %v", src.shape, ids.shape, t.shape)
	}
	r := node(OpSetRows, nil, t.shape, t, ids, src)
	r.dtype = t.dtype
	return r
}

// Attn are the parameters of [Tensor.Attention].
type Attn struct {
	Scale     float64 // of the scores, usually 1/sqrt(D)
	Sequences int     // the N queries are this many sequences of equal length, one after the other
}

// Attention is softmax(scale·t·kᵀ)·v per head: t (N, H, D) are queries, k and v
// (S, Hkv, D) keys and values whose heads are shared by groups of query heads.
// Query i sees the rows [spans[i][0], spans[i][1]) of k; spans is (N, 2). The
// result is (N, H·D).
func (t *Tensor) Attention(k, v, spans *Tensor, a Attn) *Tensor {
	wantFloats(OpAttention, t)
	wantInts(OpAttention, spans)
	same(OpAttention, k, v)
	if len(t.shape) != 3 || len(k.shape) != 3 || k.Dim(2) != t.Dim(2) || t.Dim(1)%k.Dim(1) != 0 {
		fail(OpAttention, "queries %v, keys %v", t.shape, k.shape)
	}
	if n := t.shape[0]; !slices.Equal(spans.shape, []int{n, 2}) || a.Sequences < 1 || n%a.Sequences != 0 || !spans.IsInput() {
		fail(OpAttention, "%d sequences of %v with spans %v", a.Sequences, t.shape, spans.shape)
	}
	return node(OpAttention, a, []int{t.shape[0], t.shape[1] * t.shape[2]}, t, k, v, spans)
}

// AttentionBackward gives the gradients of [Tensor.Attention] (without a cache:
// as many keys as queries) as one row of numbers: those of t, then k, then v;
// [Tensor.Part] takes them out.
func (t *Tensor) AttentionBackward(k, v, spans, dy *Tensor, a Attn) *Tensor {
	wantFloats(OpAttentionBack, t, k, v, dy)
	if k.shape[0] != t.shape[0] || dy.Numel() != t.Numel() {
		fail(OpAttentionBack, "queries %v, keys %v, dy %v", t.shape, k.shape, dy.shape)
	}
	return node(OpAttentionBack, a, []int{t.Numel() + 2*k.Numel()}, t, k, v, spans, dy)
}

// Part is a view of t's elements from offset on, in the given shape.
func (t *Tensor) Part(offset int, shape ...int) *Tensor {
	if offset < 0 || offset+numel(checkShape(OpPart, shape)) > t.Numel() {
		fail(OpPart, "%v at %d of %v", shape, offset, t.shape)
	}
	return node(OpPart, offset, shape, t)
}

// Ignore marks a target position that takes no part in the loss.
const Ignore = -100

// CrossEntropy returns −log softmax(t)[target] for each row of t (N, V), 0 where targets (N) is negative ([Ignore]).
func (t *Tensor) CrossEntropy(targets *Tensor) *Tensor {
	wantFloats(OpCrossEntropy, t)
	wantInts(OpCrossEntropy, targets)
	if len(t.shape) != 2 || !slices.Equal(targets.shape, t.shape[:1]) || !targets.IsInput() {
		fail(OpCrossEntropy, "logits %v, targets %v", t.shape, targets.shape)
	}
	return node(OpCrossEntropy, nil, t.shape[:1], t, targets)
}

// CrossEntropyBackward is the adjoint of [Tensor.CrossEntropy] at logits t for dy (N).
func (t *Tensor) CrossEntropyBackward(targets, dy *Tensor) *Tensor {
	same(OpCrossEntropyBack, targets, dy)
	return node(OpCrossEntropyBack, nil, t.shape, t, targets, dy)
}

// SumTo sums t over its leading axes down to shape, which are its last axes: the adjoint of broadcasting.
func (t *Tensor) SumTo(shape []int) *Tensor {
	if !suffix(t.shape, shape) {
		fail(OpSumTo, "%v to %v", t.shape, shape)
	}
	return node(OpSumTo, nil, shape, t)
}

// Mask is what decides a dropout mask beside the seed.
type Mask struct {
	P     float64 // probability of a zero
	Layer int     // distinguishes the layers of a model
}

// Dropout zeroes elements with probability m.P and scales the others by 1/(1−P).
// The mask follows from seed (2 integers, an input) and m alone, so that the
// backward pass, which is the same operation, meets it again.
func (t *Tensor) Dropout(seed *Tensor, m Mask) *Tensor {
	wantFloats(OpDropout, t)
	wantInts(OpDropout, seed)
	if !(m.P >= 0 && m.P < 1) || seed.Numel() != 2 {
		fail(OpDropout, "probability %g: 0 ≤ p < 1 wanted", m.P)
	}
	return node(OpDropout, m, t.shape, t, seed)
}

// Accumulate sets the weight-like leaf sum to beta·sum + t, in place; beta (1) is an input, and 0 overwrites.
func (t *Tensor) Accumulate(sum, beta *Tensor) *Tensor {
	same(OpAccumulate, sum, t)
	wantFloats(OpAccumulate, sum, t, beta)
	return node(OpAccumulate, nil, t.shape, sum, t, beta)
}

// AdamWState are the leaves one weight's update reads and writes; all F32 and of the weight's shape.
type AdamWState struct {
	Grad, M, V *Tensor
	Working    *Tensor // BF16 copy of the weight that the model computes with; nil when the weight itself is
}

// AdamW updates the F32 leaf t in place (https://arxiv.org/abs/1711.05101). h (7)
// is an input: learning rate, β1, β2, ε, 1−β1^step, sqrt(1−β2^step), factor of the gradient.
func (t *Tensor) AdamW(s AdamWState, h *Tensor, decay float64) *Tensor {
	for _, x := range []*Tensor{s.Grad, s.M, s.V} {
		same(OpAdamW, t, x)
		wantFloats(OpAdamW, x)
	}
	if h.Numel() != 7 || math.IsNaN(decay) {
		fail(OpAdamW, "%d hyperparameters, 7 wanted", h.Numel())
	}
	src := []*Tensor{t, s.Grad, s.M, s.V, h}
	if s.Working != nil {
		same(OpAdamW, t, s.Working)
		if s.Working.dtype != BF16 {
			fail(OpAdamW, "working copy is %v, BF16 wanted", s.Working.dtype)
		}
		src = append(src, s.Working)
	}
	return node(OpAdamW, decay, t.shape, src...)
}

// SquareSum returns Σt² (1). after keeps a leaf's node in the graph g.
func (g *Graph) SquareSum(t *Tensor) *Tensor {
	wantFloats(OpSquareSum, t)
	n := &Tensor{Op: OpSquareSum, Src: []*Tensor{t}, shape: []int{1}, g: g}
	g.nodes = append(g.nodes, n)
	return n
}
