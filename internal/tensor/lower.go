package tensor

import (
	"slices"

	"github.com/litgpt-go/litgpt/internal/ggml"
)

// This file alone knows GGML's order of axes. ne gives a row-major shape in it.
func ne(shape []int) [4]int64 {
	n := [4]int64{1, 1, 1, 1}
	for i, d := range shape {
		n[len(shape)-1-i] = int64(d)
	}
	return n
}

// smallProduct is the number of rows up to which dot products, which pack nothing,
// beat the packed kernel (BenchmarkMatMulRows); tiledProduct is that for rows of whole
// vectors, of which several are multiplied by each row of the weight that is read.
const (
	smallProduct = 6
	tiledProduct = 64
)

// lowering makes the GGML node of t from those of its operands.
type lowering func(c *ggml.Context, t *Tensor, src []ggml.Tensor) ggml.Tensor

func lowerCPU(p *Program, t *Tensor, src []ggml.Tensor) ggml.Tensor {
	if t.Op == OpMatMulT && t.Src[1].dtype.Quantized() && !t.g.Exact {
		return p.lowerRounded(t, src)
	}
	if t.Op == OpPagedAttention {
		a := params(t.Attr)
		a.I[3] = flag(t.g.Invariant)
		return p.ctx.Custom(ggml.PagedAttention, ne(t.shape), a, append(src, p.partials(t))...)
	}
	return lowerings[t.Op](p.ctx, t, src)
}

// lowerings are those of the CPU, by operation. A GPU has its own for some (cuda.go).
var lowerings = [...]lowering{
	OpAdd: func(c *ggml.Context, t *Tensor, s []ggml.Tensor) ggml.Tensor { return c.Add(s[0], s[1]) },
	OpMul: func(c *ggml.Context, t *Tensor, s []ggml.Tensor) ggml.Tensor { return c.Mul(s[0], s[1]) },
	OpScale: func(c *ggml.Context, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		return c.Scale(s[0], float32(t.Attr.(float64)))
	},
	OpMatMulT: func(c *ggml.Context, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		w := t.Src[1]
		few := t.shape[0] <= smallProduct && !t.g.Invariant
		if w.Dim(-1)%16 == 0 { // then a row's result does not depend on their number
			few = t.shape[0] <= tiledProduct || t.g.Invariant
		}
		if few && len(t.shape) == 2 && !w.dtype.Quantized() {
			return c.Custom(ggml.MatVec, ne(t.shape), ggml.Params{I: [6]int64{flag(t.g.Invariant)}}, s...)
		}
		return c.Custom(ggml.MatMul, ne(t.shape), ggml.Params{}, s...)
	},
	OpMatMul: func(c *ggml.Context, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		return c.Custom(ggml.MatMul, ne(t.shape), ggml.Params{I: [6]int64{0, 1}}, s...)
	},
	OpTMatMul: func(c *ggml.Context, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		return c.Custom(ggml.MatMul, ne(t.shape), ggml.Params{I: [6]int64{1, 1}}, s...)
	},
	OpRMSNorm:        custom(ggml.RMSNorm),
	OpRMSNormBack:    custom(ggml.RMSNormBack),
	OpRMSNormBackW:   custom(ggml.RMSNormBackW),
	OpLayerNorm:      custom(ggml.LayerNorm),
	OpLayerNormBack:  custom(ggml.LayerNormBack),
	OpLayerNormBackW: custom(ggml.LayerNormBackW),
	OpAct:            custom(ggml.Act),
	OpActBack:        custom(ggml.ActBack),
	OpGate:           custom(ggml.Gate),
	OpGateBack:       custom(ggml.GateBack),
	OpSoftcap:        custom(ggml.Softcap),
	OpSoftcapBack:    custom(ggml.SoftcapBack),
	OpSoftmax: func(c *ggml.Context, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		var mask ggml.Tensor
		if len(s) > 1 {
			mask = s[1]
		}
		return c.SoftMax(s[0], mask, float32(t.Attr.(float64)))
	},
	OpSoftmaxBack: custom(ggml.SoftmaxBack),
	OpRopeTable:   custom(ggml.RopeTable),
	OpRoPE:        custom(ggml.RoPE),
	OpReshape: func(c *ggml.Context, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		return c.Reshape(s[0], ne(t.shape))
	},
	OpPermute: func(c *ggml.Context, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		// GGML's axis of ours a is n-1-a, and it wants to be told where each of its axes goes.
		axes, n := t.Attr.([]int), len(t.shape)
		to := [4]int{0, 1, 2, 3}
		for i, a := range axes {
			to[n-1-a] = n - 1 - i
		}
		return c.Cont(c.Permute(s[0], to))
	},
	OpColumns:     custom(ggml.Columns),
	OpColumnsBack: custom(ggml.ColumnsBack),
	OpRows:        func(c *ggml.Context, t *Tensor, s []ggml.Tensor) ggml.Tensor { return c.GetRows(s[0], s[1]) },
	OpRowsBack:    custom(ggml.RowsBack),
	OpZeros:       custom(ggml.Zero),
	OpSetRows: func(c *ggml.Context, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		return c.SetRows(s[0], s[2], s[1])
	},
	OpAttention:      custom(ggml.Attention),
	OpAttentionBack:  custom(ggml.AttentionBack),
	OpPagedAttention: custom(ggml.PagedAttention),
	OpPart: func(c *ggml.Context, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		return c.View(s[0], ne(t.shape), F32.Bytes(1), F32.Bytes(t.Attr.(int)))
	},
	OpCrossEntropy:     custom(ggml.CrossEntropy),
	OpCrossEntropyBack: custom(ggml.CrossEntropyBack),
	OpSumTo: func(c *ggml.Context, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		return c.Custom(ggml.SumTo, ne(t.shape), ggml.Params{I: [6]int64{int64(t.Src[0].Numel() / t.Numel())}}, s...)
	},
	OpDropout: func(c *ggml.Context, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		m := t.Attr.(Mask)
		return c.Custom(ggml.Dropout, ne(t.shape), ggml.Params{F: [4]float32{float32(m.P)}, I: [6]int64{int64(m.Layer)}}, s...)
	},
	OpAccumulate: func(c *ggml.Context, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		return c.CustomInPlace(ggml.Accumulate, s[0], ggml.Params{}, s[1:]...)
	},
	OpAdamW: func(c *ggml.Context, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		return c.CustomInPlace(ggml.AdamW, s[0], ggml.Params{F: [4]float32{float32(t.Attr.(float64))}}, s[1:]...)
	},
	OpSquareSum: custom(ggml.SquareSum),
	OpAddDot: func(c *ggml.Context, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		return c.CustomInPlace(ggml.AddDot, s[0], ggml.Params{}, s[1:]...)
	},
	OpClip: func(c *ggml.Context, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		return c.CustomInPlace(ggml.Clip, s[0], ggml.Params{}, s[1:]...)
	},
	OpTopK: custom(ggml.TopK),
	OpRoute: func(c *ggml.Context, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		return c.CustomOf(ggml.I32, ggml.Route, ne(t.shape), ggml.Params{}, s...)
	},
	OpRouteWeights:     custom(ggml.RouteWeights),
	OpRouteWeightsBack: custom(ggml.RouteWeightsBack),
	OpGroup: func(c *ggml.Context, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		return c.CustomOf(ggml.I32, ggml.Group, ne(t.shape), ggml.Params{I: [6]int64{int64(t.Attr.(int))}}, s...)
	},
	OpGroupCounts: func(c *ggml.Context, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		return c.Custom(ggml.GroupCounts, ne(t.shape), ggml.Params{I: [6]int64{int64(t.Attr.(int))}}, s...)
	},
	OpExperts: func(c *ggml.Context, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		return c.Custom(ggml.Experts, ne(t.shape), ggml.Params{I: [6]int64{int64(t.Attr.(int)), 0, flag(t.g.Exact), flag(t.g.Invariant)}}, s...)
	},
	OpExpertsBack: func(c *ggml.Context, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		return c.Custom(ggml.Experts, ne(t.shape), ggml.Params{I: [6]int64{1, 1}}, s...)
	},
	OpExpertsBackW: func(c *ggml.Context, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		return c.Custom(ggml.ExpertsBackW, ne(t.shape), ggml.Params{I: [6]int64{int64(t.Attr.(int))}}, s...)
	},
	OpCombine: func(c *ggml.Context, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		return c.Custom(ggml.Combine, ne(t.shape), ggml.Params{I: [6]int64{int64(t.Attr.(int))}}, s...)
	},
	OpCombineBack:  custom(ggml.CombineBack),
	OpCombineBackW: custom(ggml.CombineBackW),
	OpGLU:          custom(ggml.GLU),
	OpGLUBack:      custom(ggml.GLUBack),
}

// lowerRounded is a product with a quantized weight by activations rounded to 8 bits
// where that is faster: for few rows, and for types with few enough bits.
func (p *Program) lowerRounded(t *Tensor, s []ggml.Tensor) ggml.Tensor {
	w := dtypes[t.Src[1].dtype].ggml
	switch {
	case len(t.shape) != 2 || len(t.Src[1].shape) != 2:
	case t.shape[0] <= w.FewRows() && !t.g.Invariant:
		return p.ctx.Custom(ggml.MatVec, ne(t.shape), ggml.Params{}, s...)
	case w.Rounds():
		return p.ctx.Custom(ggml.MatMulRounded, ne(t.shape), ggml.Params{}, p.rounded(t.Src[0], s[0]), s[1])
	}
	return lowerings[OpMatMulT](p.ctx, t, s)
}

// rounded gives activations rounded, those made for an earlier product if the operations between are few
// (the projections of a layer), so that their memory is not held for long.
func (p *Program) rounded(t *Tensor, n ggml.Tensor) ggml.Tensor {
	at := len(p.lowered)
	if p.round.of != t || at-p.round.at > 16 {
		p.round.of, p.round.n = t, p.ctx.Custom(ggml.Round, ne([]int{t.shape[0], t.shape[1] / 8 * 3}), ggml.Params{}, n)
	}
	p.round.at = at
	return p.round.n
}

// custom lowers to a kernel whose parameters are what [params] makes of Attr.
func custom(k ggml.Kernel) lowering {
	return func(c *ggml.Context, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		return c.Custom(k, ne(t.shape), params(t.Attr), s...)
	}
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// params are an operation's parameters as the kernels read them.
func params(attr any) (p ggml.Params) {
	switch a := attr.(type) {
	case float64:
		p.F[0] = float32(a)
	case int:
		p.I[0] = int64(a)
	case bool:
		p.I[0] = flag(a)
	case Activation:
		p.I[0] = activations[a].kernel
	case Attn:
		p.F[0], p.F[1], p.I[0], p.I[2] = float32(a.Scale), float32(a.Softcap), int64(a.Sequences), int64(a.Page)
	case Norm:
		p.F[0], p.F[1] = float32(a.Eps), float32(a.Offset)
	}
	return p
}

// Types of operands. What is not listed in operandTypes is read as F32.
var (
	floats32 = []DType{F32}
	integers = []DType{I32}
	cached   = []DType{F32, F16, BF16, Q8_0}
	anything = allDTypes()
	stored   = slices.DeleteFunc(allDTypes(), func(d DType) bool { return d == I32 })
)

func allDTypes() []DType {
	all := make([]DType, numDTypes)
	for i := range all {
		all[i] = DType(i)
	}
	return all
}

// operandTypes are the types that an operation reads, by position of the operand;
// nil and beyond the end mean F32. GGML ends the process, and our kernels read
// beyond the end of memory, where this is not kept.
var operandTypes = [numOps][][]DType{
	OpMatMulT:          {nil, stored},
	OpMatMul:           {nil, stored},
	OpRopeTable:        {integers},
	OpReshape:          {anything},
	OpRows:             {stored, integers},
	OpRowsBack:         {nil, integers},
	OpZeros:            {anything},
	OpSetRows:          {cached, integers},
	OpAttention:        {nil, cached, cached, integers},
	OpAttentionBack:    {nil, nil, nil, integers},
	OpPagedAttention:   {nil, cached, cached, integers, integers, integers},
	OpCrossEntropy:     {nil, integers},
	OpCrossEntropyBack: {nil, integers},
	OpDropout:          {nil, integers},
	OpAdamW:            {nil, nil, nil, nil, nil, nil, {BF16}},
	OpRouteWeights:     {nil, integers},
	OpRouteWeightsBack: {nil, integers},
	OpGroup:            {integers},
	OpGroupCounts:      {integers},
	OpExperts:          {nil, stored, integers},
	OpExpertsBack:      {nil, stored, integers},
	OpExpertsBackW:     {nil, nil, integers},
}

// updates are the operands that an operation writes to.
var updates = [numOps][]int{OpSetRows: {0}, OpAccumulate: {0}, OpAdamW: {0, 2, 3, 6}, OpAddDot: {0}, OpClip: {0}}

// checkOperands reports what is known only when the weights have storage: those
// without, of a type that the operation cannot read, or mapped and to be written.
func checkOperands(t *Tensor) {
	for i, s := range t.Src {
		if s.IsWeight() && s.store == nil {
			fail(t.Op, "weight %q has no storage", s.Name)
		}
		want := floats32
		if types := operandTypes[t.Op]; i < len(types) && types[i] != nil {
			want = types[i]
		}
		if !slices.Contains(want, s.dtype) {
			fail(t.Op, "operand %q is %v, %v wanted", s.Name, s.dtype, want)
		}
		if s.IsWeight() && s.store.keep != nil && slices.Contains(updates[t.Op], i) {
			fail(t.Op, "weight %q is mapped from a file and cannot be written", s.Name)
		}
	}
	switch {
	case (t.Op == OpReshape || t.Op == OpSetRows) && t.dtype != t.Src[0].dtype:
		fail(t.Op, "weight %q is %v, it was %v when the graph was built", t.Src[0].Name, t.Src[0].dtype, t.dtype)
	case (t.Op == OpAttention || t.Op == OpPagedAttention) && t.Src[1].dtype != t.Src[2].dtype:
		fail(t.Op, "keys are %v, values %v", t.Src[1].dtype, t.Src[2].dtype)
	}
}
