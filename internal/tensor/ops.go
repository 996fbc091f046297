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

// rank2 wants two axes, each of which C can count in an int.
func rank2(op Op, ts ...*Tensor) {
	for _, t := range ts {
		if len(t.shape) < 2 {
			fail(op, "operand %q of shape %v: at least two axes wanted", t.Name, t.shape)
		}
		if max(t.Dim(-1), t.Dim(-2)) > math.MaxInt32 {
			fail(op, "operand %q of shape %v: axes below 2^31 wanted", t.Name, t.shape)
		}
	}
}

// wantStored refuses integers where weights of any float type are read.
func wantStored(op Op, t *Tensor) {
	if t.dtype == I32 {
		fail(op, "operand %q is %v, floats wanted", t.Name, t.dtype)
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
	wantStored(OpMatMulT, u)
	return node(OpMatMulT, nil, append(slices.Clone(lead(OpMatMulT, t, u)), t.Dim(-2), u.Dim(-2)), t, u)
}

// MatMul returns t·u: (…, n, k) and (…, k, m) give (…, n, m); otherwise as [Tensor.MatMulT].
func (t *Tensor) MatMul(u *Tensor) *Tensor {
	rank2(OpMatMul, t, u)
	if t.Dim(-1) != u.Dim(-2) {
		fail(OpMatMul, "inner axes differ: %v and %v (weight %q)", t.shape, u.shape, u.Name)
	}
	wantFloats(OpMatMul, t)
	wantStored(OpMatMul, u)
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

// Norm are the parameters of [Tensor.RMSNormOffset].
type Norm struct {
	Eps    float64 // added to the mean of squares
	Offset float64 // added to the weights
}

// wantRow wants a vector with a number for each channel of t.
func wantRow(op Op, what string, t, w *Tensor) {
	if len(w.shape) != 1 || w.shape[0] != t.Dim(-1) {
		fail(op, "%s %q of shape %v for rows of %d", what, w.Name, w.shape, t.Dim(-1))
	}
}

// RMSNorm returns t / sqrt(mean(t²)+eps) * w over the last axis. https://arxiv.org/abs/1910.07467
func (t *Tensor) RMSNorm(w *Tensor, eps float64) *Tensor { return t.RMSNormOffset(w, eps, 0) }

// RMSNormOffset returns t / sqrt(mean(t²)+eps) * (offset+w) over the last axis. Gemma's
// checkpoints hold w−1: their offset is 1.
func (t *Tensor) RMSNormOffset(w *Tensor, eps, offset float64) *Tensor {
	wantFloats(OpRMSNorm, t, w)
	wantRow(OpRMSNorm, "weight", t, w)
	return node(OpRMSNorm, Norm{eps, offset}, t.shape, t, w)
}

// LayerNorm returns (t−mean(t)) / sqrt(var(t)+eps) * w + b over the last axis; b may be nil. https://arxiv.org/abs/1607.06450
func (t *Tensor) LayerNorm(w, b *Tensor, eps float64) *Tensor {
	wantFloats(OpLayerNorm, t, w)
	wantRow(OpLayerNorm, "weight", t, w)
	if b == nil {
		return node(OpLayerNorm, eps, t.shape, t, w)
	}
	wantFloats(OpLayerNorm, b)
	wantRow(OpLayerNorm, "bias", t, b)
	return node(OpLayerNorm, eps, t.shape, t, w, b)
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

// Softcap returns c·tanh(t/c): nearly t where it is small, and never beyond ±c. Gemma 2, https://arxiv.org/abs/2408.00118
func (t *Tensor) Softcap(c float64) *Tensor {
	wantFloats(OpSoftcap, t)
	wantCap(OpSoftcap, c)
	return node(OpSoftcap, c, t.shape, t)
}

// wantCap wants a number whose inverse is one too, in float32.
func wantCap(op Op, c float64) {
	if x := float32(c); !(x > 0) || math.IsInf(float64(x), 0) || math.IsInf(float64(1/x), 0) {
		fail(op, "soft cap %g: a positive number wanted", c)
	}
}

// RoPE describes rotary position embedding (https://arxiv.org/abs/2104.09864).
// Every published variant comes down to an angular frequency per pair of
// channels and one magnitude. It is a pointer's target: layers that share one share its table.
type RoPE struct {
	Freqs []float64 // radians per position, one per rotated pair
	Scale float64   // magnitude of the rotation, 1 unless YaRN or LongRoPE
	Input *Tensor   // when set, the input (D/2) that holds the frequencies of a run instead of Freqs
}

type ropeKey struct {
	pos *Tensor
	r   *RoPE
}

// ropeTable gives the cosines and sines (N, D/2, 2) of r at positions pos (N); once per graph.
func (g *Graph) ropeTable(pos *Tensor, r *RoPE) *Tensor {
	key := ropeKey{pos, r}
	if t := g.ropes[key]; t != nil {
		return t
	}
	f := r.Input
	if f == nil {
		freqs := make([]float32, len(r.Freqs))
		for i, x := range r.Freqs {
			freqs[i] = float32(x)
		}
		f = g.Floats(len(freqs)).SetFloats(freqs)
	} else if !f.IsInput() || f.dtype != F32 || !slices.Equal(f.shape, []int{len(r.Freqs)}) {
		fail(OpRopeTable, "an input of %d frequencies wanted, got %v %v", len(r.Freqs), f.dtype, f.shape)
	}
	t := node(OpRopeTable, r.Scale, []int{pos.Numel(), len(r.Freqs), 2}, pos, f)
	if g.ropes == nil {
		g.ropes = map[ropeKey]*Tensor{}
	}
	g.ropes[key] = t
	return t
}

// RoPE rotates the pairs (i, i+len(r.Freqs)) of each row of t (N, H, D) by pos (N); channels beyond the pairs stay.
func (t *Tensor) RoPE(pos *Tensor, r *RoPE) *Tensor {
	wantFloats(OpRoPE, t)
	wantInts(OpRoPE, pos)
	if pos.g == nil {
		fail(OpRoPE, "positions %q belong to no graph", pos.Name)
	}
	if n := len(r.Freqs); len(t.shape) != 3 || t.shape[0] != pos.Numel() || n == 0 || 2*n > t.Dim(-1) || n > 1024 {
		fail(OpRoPE, "%d pairs on %v at %d positions", n, t.shape, pos.Numel())
	}
	return node(OpRoPE, false, t.shape, t, pos.g.ropeTable(pos, r))
}

// Reshape returns t with another shape of as many elements.
func (t *Tensor) Reshape(shape ...int) *Tensor {
	checkShape(OpReshape, shape)
	if numel(shape) != t.Numel() || shape[len(shape)-1]%t.dtype.Block() != 0 {
		fail(OpReshape, "%v %v to %v", t.dtype, t.shape, shape)
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
	return node(OpPermute, slices.Clone(axes), shape, t)
}

// T swaps the last two axes.
func (t *Tensor) T() *Tensor {
	rank2(OpPermute, t)
	axes := make([]int, len(t.shape))
	for i := range axes {
		axes[i] = i
	}
	n := len(axes)
	axes[n-1], axes[n-2] = n-2, n-1
	return t.Permute(axes...)
}

// Columns copies the columns [from, from+n) of t (…, C): (…, n).
func (t *Tensor) Columns(from, n int) *Tensor {
	wantFloats(OpColumns, t)
	if c := t.Dim(-1); from < 0 || n < 1 || from > c-n {
		fail(OpColumns, "%d columns from %d of %q of shape %v", n, from, t.Name, t.shape)
	}
	shape := slices.Clone(t.shape)
	shape[len(shape)-1] = n
	return node(OpColumns, from, shape, t)
}

// Rows gathers rows of the table t (V, C) by ids (N), giving (N, C) in F32. Ids outside the table are checked when the program runs.
func (t *Tensor) Rows(ids *Tensor) *Tensor {
	wantInts(OpRows, ids)
	wantStored(OpRows, t)
	if len(t.shape) != 2 || len(ids.shape) != 1 || !ids.IsInput() {
		fail(OpRows, "table %v, ids %v", t.shape, ids.shape)
	}
	return node(OpRows, nil, []int{ids.shape[0], t.shape[1]}, t, ids)
}

// Zeros returns zeros, in a place of its own that [Tensor.SetRows] may write to. after is evaluated first.
func (after *Tensor) Zeros(shape ...int) *Tensor { return node(OpZeros, nil, shape, after) }

// SetRows writes the rows of src (N, C) into t (S, C) at ids (N), in place, and
// returns t as it then is; readers must use the result. t is a weight (a cache,
// of any type but integers), [Tensor.Zeros], or the result of SetRows.
func (t *Tensor) SetRows(ids, src *Tensor) *Tensor {
	wantInts(OpSetRows, ids)
	wantFloats(OpSetRows, src)
	wantStored(OpSetRows, t)
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
	Softcap   float64 // scores s become Softcap·tanh(s/Softcap); 0: they stay
	Page      int     // rows of a page, of [Tensor.PagedAttention]: a power of two, 16 to 256
}

// Attention is softmax(scale·t·kᵀ)·v per head: t (N, H, D) are queries, k and v
// (S, Hkv, D) keys and values whose heads are shared by groups of query heads.
// Query i sees the rows [spans[i][0], spans[i][1]) of k; spans is (N, 2). The
// result is (N, H·D).
func (t *Tensor) Attention(k, v, spans *Tensor, a Attn) *Tensor {
	wantFloats(OpAttention, t)
	wantStored(OpAttention, k)
	wantStored(OpAttention, v)
	same(OpAttention, k, v)
	if len(t.shape) != 3 || len(k.shape) != 3 || k.Dim(2) != t.Dim(2) || t.Dim(1)%k.Dim(1) != 0 {
		fail(OpAttention, "queries %v, keys %v", t.shape, k.shape)
	}
	wantSpans(OpAttention, t, spans, a)
	return node(OpAttention, a, []int{t.shape[0], t.shape[1] * t.shape[2]}, t, k, v, spans)
}

// wantSpans checks what the spans and the parameters must be, forward and backward.
func wantSpans(op Op, t, spans *Tensor, a Attn) {
	wantInts(op, spans)
	if n := t.shape[0]; !slices.Equal(spans.shape, []int{n, 2}) || a.Sequences < 1 || n%a.Sequences != 0 || !spans.IsInput() {
		fail(op, "%d sequences of %v with spans %v", a.Sequences, t.shape, spans.shape)
	}
	if a.Softcap != 0 {
		wantCap(op, a.Softcap)
	}
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
	if !(m.P >= 0 && float32(m.P) < 1) || seed.Numel() != 2 {
		fail(OpDropout, "probability %g: 0 ≤ p < 1 wanted; %d integers of seed, 2 wanted", m.P, seed.Numel())
	}
	return node(OpDropout, m, t.shape, t, seed)
}

// MaxTopK bounds the k of [Tensor.TopK].
const MaxTopK = 1024

// TopK gives the k largest elements of each row of t (N, V), which are logits, and
// their ids: (N, 2, k), in the first half the elements, largest first, ties by
// lowest id, in the second the ids as floats, exact since V < 2^24 is wanted. NaN
// counts as larger than all numbers, so that broken weights show.
func (t *Tensor) TopK(k int) *Tensor {
	wantFloats(OpTopK, t)
	if len(t.shape) != 2 || k < 1 || k > min(MaxTopK, t.shape[1]) || t.shape[1] >= 1<<24 {
		fail(OpTopK, "%d of %v: 1 to %d wanted, of rows of at least as many and less than 2^24", k, t.shape, MaxTopK)
	}
	return node(OpTopK, nil, []int{t.shape[0], 2, k}, t)
}
