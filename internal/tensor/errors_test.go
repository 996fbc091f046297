package tensor

import (
	"errors"
	"math"
	"strings"
	"testing"
)

// wrong are operands that do not fit: each must panic with an [*Error] of this
// operation while the graph is built, since C would end the process or read beyond the end.
var wrong = []struct {
	op    Op
	name  string
	build func(b *bench)
}{
	{OpLeaf, "no axes", func(b *bench) { Param() }},
	{OpLeaf, "five axes", func(b *bench) { Param(1, 1, 1, 1, 1) }},
	{OpLeaf, "an empty axis", func(b *bench) { b.g.Floats(3, 0) }},
	{OpLeaf, "a negative axis", func(b *bench) { b.g.Ints(-1) }},
	{OpLeaf, "overflow", func(b *bench) { Param(1<<31, 1<<31, 1<<2) }},
	{OpLeaf, "too many integers", func(b *bench) { b.g.Ints(2).SetInts(make([]int32, 3)) }},
	{OpLeaf, "floats for integers", func(b *bench) { b.g.Ints(2).SetFloats(make([]float32, 2)) }},
	{OpLeaf, "integers for floats", func(b *bench) { b.g.Floats(2).SetInts(make([]int32, 2)) }},
	{OpScale, "integers for a node", func(b *bench) { b.in(2).Scale(1).SetInts(make([]int32, 2)) }},
	{OpAdd, "shapes", func(b *bench) { b.in(2, 3).Add(b.in(2)) }},
	{OpAdd, "the larger second", func(b *bench) { b.in(3).Add(b.in(2, 3)) }},
	{OpAdd, "integers", func(b *bench) { b.in(3).Add(b.ids(2, 3)) }},
	{OpAdd, "a BF16 weight", func(b *bench) { b.in(3).Add(b.w(BF16, 3)) }},
	{OpAdd, "two graphs", func(b *bench) { b.in(3).Add(NewGraph().Floats(3)) }},
	{OpAdd, "two weights", func(b *bench) { b.w(F32, 3).Add(b.w(F32, 3)) }},
	{OpMul, "shapes", func(b *bench) { b.in(2, 3).Mul(b.in(2, 2)) }},
	{OpMul, "integers", func(b *bench) { b.ids(2, 3).Mul(b.in(3)) }},
	{OpScale, "integers", func(b *bench) { b.ids(2, 3).Scale(2) }},
	{OpMatMulT, "inner axes", func(b *bench) { b.in(2, 3).MatMulT(b.in(3, 2)) }},
	{OpMatMulT, "one axis", func(b *bench) { b.in(3).MatMulT(b.in(2, 3)) }},
	{OpMatMulT, "one axis second", func(b *bench) { b.in(2, 3).MatMulT(b.in(3)) }},
	{OpMatMulT, "groups", func(b *bench) { b.in(4, 2, 3).MatMulT(b.in(3, 2, 3)) }},
	{OpMatMulT, "more batches second", func(b *bench) { b.in(2, 2, 3).MatMulT(b.in(4, 2, 3)) }},
	{OpMatMulT, "more axes second", func(b *bench) { b.in(2, 3).MatMulT(b.in(1, 2, 3)) }},
	{OpMatMulT, "an F16 operand first", func(b *bench) { b.w(F16, 2, 3).MatMulT(b.in(2, 3)) }},
	{OpMatMulT, "integers first", func(b *bench) { b.g.Ints(2, 3).MatMulT(b.in(2, 3)) }},
	{OpMatMulT, "integers second", func(b *bench) { b.in(2, 3).MatMulT(b.g.Ints(2, 3)) }},
	{OpMatMulT, "an integer weight", func(b *bench) { b.in(2, 3).MatMulT(b.w(I32, 2, 3)) }},
	{OpMatMulT, "more rows than an int", func(b *bench) { b.in(2, 3).MatMulT(Param(1<<31, 3)) }},
	{OpMatMul, "inner axes", func(b *bench) { b.in(2, 3).MatMul(b.in(2, 3)) }},
	{OpMatMul, "one axis", func(b *bench) { b.in(3).MatMul(b.in(3, 2)) }},
	{OpMatMul, "integers second", func(b *bench) { b.in(2, 3).MatMul(b.g.Ints(3, 2)) }},
	{OpTMatMul, "inner axes", func(b *bench) { b.in(2, 3).TMatMul(b.in(3, 2)) }},
	{OpTMatMul, "a BF16 weight", func(b *bench) { b.in(2, 3).TMatMul(b.w(BF16, 2, 3)) }},
	{OpRMSNorm, "size of the weight", func(b *bench) { b.in(2, 3).RMSNorm(b.in(2), 1e-5) }},
	{OpRMSNorm, "axes of the weight", func(b *bench) { b.in(2, 3).RMSNorm(b.in(1, 3), 1e-5) }},
	{OpRMSNorm, "a BF16 weight", func(b *bench) { b.in(2, 3).RMSNorm(b.w(BF16, 3), 1e-5) }},
	{OpRMSNormBack, "size of the weight", func(b *bench) { b.in(2, 3).RMSNormBackward(b.in(2), b.in(2, 3), Norm{Eps: 1e-5}) }},
	{OpRMSNormBack, "gradient", func(b *bench) { b.in(2, 3).RMSNormBackward(b.in(3), b.in(3), Norm{Eps: 1e-5}) }},
	{OpRMSNormBack, "integers", func(b *bench) { b.in(2, 3).RMSNormBackward(b.in(3), b.g.Ints(2, 3), Norm{Eps: 1e-5}) }},
	{OpRMSNormBackW, "gradient", func(b *bench) { b.in(2, 3).RMSNormBackwardWeight(b.in(1, 3), 1e-5) }},
	{OpRMSNormBackW, "integers", func(b *bench) { b.in(2, 3).RMSNormBackwardWeight(b.g.Ints(2, 3), 1e-5) }},
	{OpLayerNorm, "size of the weight", func(b *bench) { b.in(2, 3).LayerNorm(b.in(2), nil, 1e-5) }},
	{OpLayerNorm, "axes of the weight", func(b *bench) { b.in(2, 3).LayerNorm(b.in(1, 3), nil, 1e-5) }},
	{OpLayerNorm, "a BF16 weight", func(b *bench) { b.in(2, 3).LayerNorm(b.w(BF16, 3), nil, 1e-5) }},
	{OpLayerNorm, "size of the bias", func(b *bench) { b.in(2, 3).LayerNorm(b.in(3), b.in(2), 1e-5) }},
	{OpLayerNorm, "a BF16 bias", func(b *bench) { b.in(2, 3).LayerNorm(b.in(3), b.w(BF16, 3), 1e-5) }},
	{OpLayerNormBack, "size of the weight", func(b *bench) { b.in(2, 3).LayerNormBackward(b.in(2), b.in(2, 3), 1e-5) }},
	{OpLayerNormBack, "gradient", func(b *bench) { b.in(2, 3).LayerNormBackward(b.in(3), b.in(3), 1e-5) }},
	{OpLayerNormBack, "integers", func(b *bench) { b.in(2, 3).LayerNormBackward(b.in(3), b.g.Ints(2, 3), 1e-5) }},
	{OpLayerNormBackW, "gradient", func(b *bench) { b.in(2, 3).LayerNormBackwardWeight(b.in(1, 3), 1e-5) }},
	{OpLayerNormBackW, "integers", func(b *bench) { b.in(2, 3).LayerNormBackwardWeight(b.g.Ints(2, 3), 1e-5) }},
	{OpAct, "no such activation", func(b *bench) { b.in(3).Act(ReLU + 1) }},
	{OpAct, "integers", func(b *bench) { b.g.Ints(3).Act(GELU) }},
	{OpActBack, "gradient", func(b *bench) { b.in(2, 3).ActBackward(GELU, b.in(3)) }},
	{OpActBack, "no such activation", func(b *bench) { b.in(3).ActBackward(ReLU+1, b.in(3)) }},
	{OpActBack, "integers", func(b *bench) { b.in(3).ActBackward(GELU, b.g.Ints(3)) }},
	{OpGate, "no such activation", func(b *bench) { b.in(3).Gate(200, b.in(3)) }},
	{OpGateBack, "no such activation", func(b *bench) { b.in(3).GateBackward(200, b.in(3), b.in(3)) }},
	{OpGate, "shapes", func(b *bench) { b.in(2, 3).Gate(SiLU, b.in(3)) }},
	{OpGate, "integers", func(b *bench) { b.in(3).Gate(SiLU, b.g.Ints(3)) }},
	{OpGateBack, "gradient", func(b *bench) { b.in(2, 3).GateBackward(SiLU, b.in(2, 3), b.in(3)) }},
	{OpGateBack, "up", func(b *bench) { b.in(2, 3).GateBackward(SiLU, b.in(3), b.in(2, 3)) }},
	{OpGateBack, "integers", func(b *bench) { b.in(3).GateBackward(SiLU, b.in(3), b.g.Ints(3)) }},
	{OpSoftcap, "none", func(b *bench) { b.in(3).Softcap(0) }},
	{OpSoftcap, "negative", func(b *bench) { b.in(3).Softcap(-30) }},
	{OpSoftcap, "not a number", func(b *bench) { b.in(3).Softcap(math.NaN()) }},
	{OpSoftcap, "infinite in float32", func(b *bench) { b.in(3).Softcap(1e39) }},
	{OpSoftcap, "of infinite inverse", func(b *bench) { b.in(3).Softcap(1e-40) }},
	{OpSoftcap, "integers", func(b *bench) { b.g.Ints(3).Softcap(30) }},
	{OpSoftcapBack, "gradient", func(b *bench) { b.in(2, 3).SoftcapBackward(b.in(3), 30) }},
	{OpSoftcapBack, "none", func(b *bench) { b.in(3).SoftcapBackward(b.in(3), 0) }},
	{OpSoftcapBack, "integers", func(b *bench) { b.in(3).SoftcapBackward(b.g.Ints(3), 30) }},
	{OpSoftmax, "mask", func(b *bench) { b.in(2, 3).Softmax(1, b.in(3)) }},
	{OpSoftmax, "rows of the mask", func(b *bench) { b.in(2, 3).Softmax(1, b.in(1, 3)) }},
	{OpSoftmax, "integers", func(b *bench) { b.in(2, 3).Softmax(1, b.g.Ints(2, 3)) }},
	{OpSoftmaxBack, "gradient", func(b *bench) { b.in(2, 3).SoftmaxBackward(b.in(3), 1) }},
	{OpSoftmaxBack, "integers", func(b *bench) { b.in(3).SoftmaxBackward(b.g.Ints(3), 1) }},
	{OpRoPE, "axes", func(b *bench) { b.in(2, 4).RoPE(b.ids(9, 2), &RoPE{Freqs: []float64{1}}) }},
	{OpRoPE, "positions", func(b *bench) { b.in(3, 1, 4).RoPE(b.ids(9, 2), &RoPE{Freqs: []float64{1}}) }},
	{OpRoPE, "pairs", func(b *bench) { b.in(2, 1, 4).RoPE(b.ids(9, 2), &RoPE{Freqs: []float64{1, 2, 3}}) }},
	{OpRoPE, "no pairs", func(b *bench) { b.in(2, 1, 4).RoPE(b.ids(9, 2), &RoPE{}) }},
	{OpRoPE, "too many pairs", func(b *bench) { b.in(2, 1, 4096).RoPE(b.ids(9, 2), &RoPE{Freqs: make([]float64, 1025)}) }},
	{OpRoPE, "positions that are floats", func(b *bench) { b.in(2, 1, 4).RoPE(b.in(2), &RoPE{Freqs: []float64{1}}) }},
	{OpRoPE, "positions of no graph", func(b *bench) { b.w(F32, 2, 1, 4).RoPE(b.w(I32, 2), &RoPE{Freqs: []float64{1}}) }},
	{OpRoPE, "positions of another graph", func(b *bench) { b.in(2, 1, 4).RoPE(NewGraph().Ints(2), &RoPE{Freqs: []float64{1}}) }},
	{OpRopeTable, "frequencies of another number", func(b *bench) { b.in(2, 1, 4).RoPE(b.ids(9, 2), &RoPE{Freqs: []float64{1}, Input: b.in(2)}) }},
	{OpRopeTable, "frequencies that are integers", func(b *bench) { b.in(2, 1, 4).RoPE(b.ids(9, 2), &RoPE{Freqs: []float64{1}, Input: b.ids(9, 1)}) }},
	{OpRopeTable, "frequencies that are no input", func(b *bench) { b.in(2, 1, 4).RoPE(b.ids(9, 2), &RoPE{Freqs: []float64{1}, Input: b.w(F32, 1)}) }},
	{OpRoPE, "no table", func(b *bench) { b.in(2, 1, 4).RoPEBackward(b.in(2, 2, 2)) }},
	{OpRoPE, "table of other positions", func(b *bench) { b.in(3, 1, 4).RoPEBackward(b.g.ropeTable(b.ids(9, 2), &RoPE{Freqs: []float64{1}})) }},
	{OpRoPE, "table of more pairs", func(b *bench) { b.in(2, 1, 2).RoPEBackward(b.g.ropeTable(b.ids(9, 2), &RoPE{Freqs: []float64{1, 2}})) }},
	{OpReshape, "elements", func(b *bench) { b.in(2, 3).Reshape(4) }},
	{OpReshape, "negative sizes", func(b *bench) { b.in(2, 3).Reshape(-2, -3) }},
	{OpReshape, "five axes", func(b *bench) { b.in(2).Reshape(1, 1, 1, 1, 2) }},
	{OpPermute, "an axis twice", func(b *bench) { b.in(2, 3).Permute(0, 0) }},
	{OpPermute, "an axis that is not there", func(b *bench) { b.in(2, 3).Permute(0, 2) }},
	{OpPermute, "too few axes", func(b *bench) { b.in(2, 3).Permute(0) }},
	{OpPermute, "no axes", func(b *bench) { b.in(2, 3).Permute() }},
	{OpPermute, "integers", func(b *bench) { b.g.Ints(2, 3).Permute(1, 0) }},
	{OpPermute, "one axis transposed", func(b *bench) { b.in(3).T() }},
	{OpColumns, "beyond the end", func(b *bench) { b.in(2, 3).Columns(1, 3) }},
	{OpColumns, "before the start", func(b *bench) { b.in(2, 3).Columns(-1, 2) }},
	{OpColumns, "none", func(b *bench) { b.in(2, 3).Columns(1, 0) }},
	{OpColumns, "sizes that overflow", func(b *bench) { b.in(2, 3).Columns(math.MaxInt, math.MaxInt) }},
	{OpColumns, "integers", func(b *bench) { b.g.Ints(2, 3).Columns(0, 1) }},
	{OpColumns, "a BF16 weight", func(b *bench) { b.in(2, 3).Add(b.w(BF16, 2, 3).Columns(0, 1)) }},
	{OpColumnsBack, "beyond the end", func(b *bench) { b.in(2, 3).ColumnsBackward(1, 3) }},
	{OpColumnsBack, "before the start", func(b *bench) { b.in(2, 3).ColumnsBackward(-1, 4) }},
	{OpColumnsBack, "integers", func(b *bench) { b.g.Ints(2, 3).ColumnsBackward(0, 4) }},
	{OpRows, "table", func(b *bench) { b.in(2, 3, 4).Rows(b.ids(2, 2)) }},
	{OpRows, "table of integers", func(b *bench) { b.g.Ints(2, 3).Rows(b.ids(2, 2)) }},
	{OpRows, "axes of ids", func(b *bench) { b.in(2, 3).Rows(b.g.Ints(2, 2)) }},
	{OpRows, "ids that are floats", func(b *bench) { b.in(2, 3).Rows(b.in(2)) }},
	{OpRows, "ids that are computed", func(b *bench) { b.in(2, 3).Rows(b.g.Ints(2, 2).Reshape(4)) }},
	{OpRowsBack, "number of ids", func(b *bench) { b.in(2, 3).RowsBackward(b.ids(2, 3), 4) }},
	{OpRowsBack, "axes", func(b *bench) { b.in(3).RowsBackward(b.ids(2, 3), 4) }},
	{OpRowsBack, "no rows", func(b *bench) { b.in(2, 3).RowsBackward(b.ids(2, 2), 0) }},
	{OpRowsBack, "integers", func(b *bench) { b.g.Ints(2, 3).RowsBackward(b.ids(2, 2), 4) }},
	{OpRowsBack, "ids that are computed", func(b *bench) { b.in(2, 3).RowsBackward(b.g.Ints(1, 2).Reshape(2), 4) }},
	{OpZeros, "shape", func(b *bench) { b.in(2).Zeros(0) }},
	{OpSetRows, "into a product", func(b *bench) { b.in(2, 3).Scale(2).SetRows(b.ids(2, 1), b.in(1, 3)) }},
	{OpSetRows, "columns", func(b *bench) { b.w(F32, 2, 3).SetRows(b.ids(2, 1), b.in(1, 2)) }},
	{OpSetRows, "number of ids", func(b *bench) { b.w(F32, 2, 3).SetRows(b.ids(2, 2), b.in(1, 3)) }},
	{OpSetRows, "axes", func(b *bench) { b.w(F32, 2, 3, 4).SetRows(b.ids(2, 1), b.in(1, 3, 4)) }},
	{OpSetRows, "integers", func(b *bench) { b.w(F32, 2, 3).SetRows(b.ids(2, 1), b.g.Ints(1, 3)) }},
	{OpSetRows, "into integers", func(b *bench) { b.w(I32, 2, 3).SetRows(b.ids(2, 1), b.in(1, 3)) }},
	{OpAttention, "heads", func(b *bench) { b.attention(3, []int{2, 3, 4}, []int{2, 2, 4}, []int{2, 2, 4}, 1) }},
	{OpAttention, "head sizes", func(b *bench) { b.attention(2, []int{2, 2, 4}, []int{2, 2, 3}, []int{2, 2, 3}, 1) }},
	{OpAttention, "values", func(b *bench) { b.attention(2, []int{2, 2, 4}, []int{2, 2, 4}, []int{3, 2, 4}, 1) }},
	{OpAttention, "axes", func(b *bench) { b.attention(2, []int{2, 8}, []int{2, 8}, []int{2, 8}, 1) }},
	{OpAttention, "spans", func(b *bench) { b.attention(3, []int{2, 2, 4}, []int{2, 2, 4}, []int{2, 2, 4}, 1) }},
	{OpAttention, "sequences", func(b *bench) { b.attention(3, []int{3, 2, 4}, []int{3, 2, 4}, []int{3, 2, 4}, 2) }},
	{OpAttention, "no sequences", func(b *bench) { b.attention(3, []int{3, 2, 4}, []int{3, 2, 4}, []int{3, 2, 4}, 0) }},
	{OpAttention, "keys of integers", func(b *bench) {
		b.in(2, 1, 4).Attention(b.g.Ints(2, 1, 4), b.in(2, 1, 4), b.g.Ints(2, 2), Attn{Scale: 1, Sequences: 1})
	}},
	{OpAttention, "values of integers", func(b *bench) {
		b.in(2, 1, 4).Attention(b.in(2, 1, 4), b.w(I32, 2, 1, 4), b.g.Ints(2, 2), Attn{Scale: 1, Sequences: 1})
	}},
	{OpAttention, "a negative soft cap", func(b *bench) {
		b.in(2, 1, 4).Attention(b.in(2, 1, 4), b.in(2, 1, 4), b.g.Ints(2, 2), Attn{Scale: 1, Sequences: 1, Softcap: -50})
	}},
	{OpAttention, "a soft cap that is no number", func(b *bench) {
		b.in(2, 1, 4).Attention(b.in(2, 1, 4), b.in(2, 1, 4), b.g.Ints(2, 2), Attn{Scale: 1, Sequences: 1, Softcap: math.NaN()})
	}},
	{OpAttentionBack, "a negative soft cap", func(b *bench) {
		b.in(2, 1, 4).AttentionBackward(b.in(2, 1, 4), b.in(2, 1, 4), b.g.Ints(2, 2), b.in(2, 4), Attn{Scale: 1, Sequences: 1, Softcap: -50})
	}},
	{OpAttentionBack, "a cache", func(b *bench) { b.attentionBack(2, []int{2, 2, 4}, []int{3, 2, 4}, 8, 1) }},
	{OpAttentionBack, "heads", func(b *bench) { b.attentionBack(2, []int{2, 3, 4}, []int{2, 2, 4}, 12, 1) }},
	{OpAttentionBack, "head sizes", func(b *bench) { b.attentionBack(2, []int{2, 2, 4}, []int{2, 2, 3}, 8, 1) }},
	{OpAttentionBack, "gradient", func(b *bench) { b.attentionBack(2, []int{2, 2, 4}, []int{2, 2, 4}, 7, 1) }},
	{OpAttentionBack, "spans", func(b *bench) { b.attentionBack(1, []int{2, 2, 4}, []int{2, 2, 4}, 8, 1) }},
	{OpAttentionBack, "sequences", func(b *bench) { b.attentionBack(2, []int{2, 2, 4}, []int{2, 2, 4}, 8, 0) }},
	{OpAttentionBack, "axes", func(b *bench) { b.attentionBack(2, []int{2, 8}, []int{2, 8}, 8, 1) }},
	{OpPagedAttention, "heads", func(b *bench) {
		b.pagedAttention([]int{2, 3, 4}, []int{32, 2, 4}, []int{2, 2}, []int{2}, []int{1, 2}, 16)
	}},
	{OpPagedAttention, "head sizes", func(b *bench) {
		b.pagedAttention([]int{2, 2, 4}, []int{32, 2, 3}, []int{2, 2}, []int{2}, []int{1, 2}, 16)
	}},
	{OpPagedAttention, "axes", func(b *bench) { b.pagedAttention([]int{2, 8}, []int{32, 8}, []int{2, 2}, []int{2}, []int{1, 2}, 16) }},
	{OpPagedAttention, "spans", func(b *bench) {
		b.pagedAttention([]int{2, 2, 4}, []int{32, 2, 4}, []int{3, 2}, []int{2}, []int{1, 2}, 16)
	}},
	{OpPagedAttention, "sequences", func(b *bench) {
		b.pagedAttention([]int{2, 2, 4}, []int{32, 2, 4}, []int{2, 2}, []int{3}, []int{1, 2}, 16)
	}},
	{OpPagedAttention, "one page table", func(b *bench) { b.pagedAttention([]int{2, 2, 4}, []int{32, 2, 4}, []int{2, 2}, []int{2}, []int{2}, 16) }},
	{OpPagedAttention, "no page size", func(b *bench) {
		b.pagedAttention([]int{2, 2, 4}, []int{32, 2, 4}, []int{2, 2}, []int{2}, []int{1, 2}, 0)
	}},
	{OpPagedAttention, "a negative page size", func(b *bench) {
		b.pagedAttention([]int{2, 2, 4}, []int{32, 2, 4}, []int{2, 2}, []int{2}, []int{1, 2}, -16)
	}},
	{OpPagedAttention, "small pages", func(b *bench) {
		b.pagedAttention([]int{2, 2, 4}, []int{32, 2, 4}, []int{2, 2}, []int{2}, []int{1, 2}, 8)
	}},
	{OpPagedAttention, "large pages", func(b *bench) {
		b.pagedAttention([]int{2, 2, 4}, []int{512, 2, 4}, []int{2, 2}, []int{2}, []int{1, 2}, 512)
	}},
	{OpPagedAttention, "odd pages", func(b *bench) {
		b.pagedAttention([]int{2, 2, 4}, []int{48, 2, 4}, []int{2, 2}, []int{2}, []int{1, 2}, 24)
	}},
	{OpPagedAttention, "a part of a page", func(b *bench) {
		b.pagedAttention([]int{2, 2, 4}, []int{33, 2, 4}, []int{2, 2}, []int{2}, []int{1, 2}, 16)
	}},
	{OpPagedAttention, "spans that are computed", func(b *bench) {
		b.in(2, 2, 4).PagedAttention(b.in(32, 2, 4), b.in(32, 2, 4), b.g.Ints(4).Reshape(2, 2), b.g.Ints(2), b.g.Ints(1, 2), Attn{Scale: 1, Page: 16})
	}},
	{OpPagedAttention, "tables of floats", func(b *bench) {
		b.in(2, 2, 4).PagedAttention(b.in(32, 2, 4), b.in(32, 2, 4), b.g.Ints(2, 2), b.g.Ints(2), b.in(1, 2), Attn{Scale: 1, Page: 16})
	}},
	{OpPagedAttention, "a negative soft cap", func(b *bench) {
		b.in(2, 2, 4).PagedAttention(b.in(32, 2, 4), b.in(32, 2, 4), b.g.Ints(2, 2), b.g.Ints(2), b.g.Ints(1, 2), Attn{Scale: 1, Page: 16, Softcap: -1})
	}},
	{OpPart, "beyond the end", func(b *bench) { b.in(6).Part(4, 3) }},
	{OpPart, "before the start", func(b *bench) { b.in(6).Part(-1, 3) }},
	{OpPart, "an offset that overflows", func(b *bench) { b.in(6).Part(math.MaxInt-1, 3) }},
	{OpPart, "integers", func(b *bench) { b.g.Ints(6).Reshape(6).Part(0, 3) }},
	{OpPart, "halves", func(b *bench) { b.w(F16, 2, 3).SetRows(b.ids(2, 1), b.in(1, 3)).Part(0, 6) }},
	{OpCrossEntropy, "targets", func(b *bench) { b.in(2, 3).CrossEntropy(b.ids(3, 3)) }},
	{OpCrossEntropy, "axes", func(b *bench) { b.in(2).CrossEntropy(b.ids(2, 2)) }},
	{OpCrossEntropy, "targets that are floats", func(b *bench) { b.in(2, 3).CrossEntropy(b.in(2)) }},
	{OpCrossEntropy, "targets that are computed", func(b *bench) { b.in(2, 3).CrossEntropy(b.g.Ints(2, 1).Reshape(2)) }},
	{OpCrossEntropyBack, "gradient", func(b *bench) { b.in(2, 3).CrossEntropyBackward(b.ids(3, 2), b.in(3)) }},
	{OpCrossEntropyBack, "targets", func(b *bench) { b.in(2, 3).CrossEntropyBackward(b.ids(3, 3), b.in(3)) }},
	{OpCrossEntropyBack, "targets that are floats", func(b *bench) { b.in(2, 3).CrossEntropyBackward(b.in(2), b.in(2)) }},
	{OpCrossEntropyBack, "axes", func(b *bench) { b.in(2).CrossEntropyBackward(b.ids(2, 2), b.in(2)) }},
	{OpSumTo, "shape", func(b *bench) { b.in(2, 3).SumTo([]int{2}) }},
	{OpSumTo, "no axes", func(b *bench) { b.in(2, 3).SumTo(nil) }},
	{OpSumTo, "integers", func(b *bench) { b.g.Ints(2, 3).SumTo([]int{3}) }},
	{OpDropout, "always", func(b *bench) { b.in(2).Dropout(b.ids(9, 2), Mask{P: 1}) }},
	{OpDropout, "1 in float32", func(b *bench) { b.in(2).Dropout(b.ids(9, 2), Mask{P: 1 - 1e-12}) }},
	{OpDropout, "negative", func(b *bench) { b.in(2).Dropout(b.ids(9, 2), Mask{P: -0.1}) }},
	{OpDropout, "not a number", func(b *bench) { b.in(2).Dropout(b.ids(9, 2), Mask{P: math.NaN()}) }},
	{OpDropout, "seed", func(b *bench) { b.in(2).Dropout(b.ids(9, 1), Mask{P: 0.1}) }},
	{OpDropout, "seed of floats", func(b *bench) { b.in(2).Dropout(b.in(2), Mask{P: 0.1}) }},
	{OpAccumulate, "shapes", func(b *bench) { b.in(2).Accumulate(b.w(F32, 3), b.in(1)) }},
	{OpAccumulate, "into a node", func(b *bench) { b.in(2).Accumulate(b.in(2), b.in(1)) }},
	{OpAccumulate, "into BF16", func(b *bench) { b.in(2).Accumulate(b.w(BF16, 2), b.in(1)) }},
	{OpAccumulate, "two factors", func(b *bench) { b.in(2).Accumulate(b.w(F32, 2), b.in(2)) }},
	{OpAdamW, "shapes", func(b *bench) { b.update(F32, 2, func(s *AdamWState) { s.M = b.w(F32, 3) }) }},
	{OpAdamW, "a moment that is a node", func(b *bench) { b.update(F32, 2, func(s *AdamWState) { s.V = b.in(2).Scale(1) }) }},
	{OpAdamW, "integers", func(b *bench) { b.update(F32, 2, func(s *AdamWState) { s.Grad = b.g.Ints(2) }) }},
	{OpAdamW, "a BF16 weight", func(b *bench) { b.update(BF16, 2, nil) }},
	{OpAdamW, "an F16 copy", func(b *bench) { b.update(F32, 2, func(s *AdamWState) { s.Working = b.w(F16, 2) }) }},
	{OpAdamW, "shape of the copy", func(b *bench) { b.update(F32, 2, func(s *AdamWState) { s.Working = b.w(BF16, 3) }) }},
	{OpAdamW, "hyperparameters", func(b *bench) {
		b.w(F32, 2).AdamW(AdamWState{Grad: b.in(2), M: b.w(F32, 2), V: b.w(F32, 2)}, b.in(6), b.in(2), 0)
	}},
	{OpAdamW, "norm without factor", func(b *bench) {
		b.w(F32, 2).AdamW(AdamWState{Grad: b.in(2), M: b.w(F32, 2), V: b.w(F32, 2)}, b.in(7), b.in(1), 0)
	}},
	{OpAdamW, "a factor of integers", func(b *bench) {
		b.w(F32, 2).AdamW(AdamWState{Grad: b.in(2), M: b.w(F32, 2), V: b.w(F32, 2)}, b.in(7), b.ids(9, 2), 0)
	}},
	{OpAdamW, "hyperparameters of integers", func(b *bench) {
		b.w(F32, 2).AdamW(AdamWState{Grad: b.in(2), M: b.w(F32, 2), V: b.w(F32, 2)}, b.ids(9, 7), b.in(2), 0)
	}},
	{OpSquareSum, "integers", func(b *bench) { b.g.SquareSum(b.g.Ints(2), nil) }},
	{OpSquareSum, "another graph", func(b *bench) { b.g.SquareSum(NewGraph().Floats(2), nil) }},
	{OpSquareSum, "a total of one number", func(b *bench) { b.g.SquareSum(b.in(2), b.in(1)) }},
	{OpSquareSum, "a total of two rows", func(b *bench) { b.g.SquareSum(b.in(2), b.in(2, 1)) }},
	{OpSquareSum, "a total of integers", func(b *bench) { b.g.SquareSum(b.in(2), b.ids(9, 2)) }},
	{OpSquareSum, "a total of another graph", func(b *bench) { b.g.SquareSum(b.in(2), NewGraph().Floats(2)) }},
	{OpAddDot, "shapes", func(b *bench) { b.in(3).AddDot(b.in(2), b.w(F32, 2), b.in(1)) }},
	{OpAddDot, "into a node", func(b *bench) { b.in(3).AddDot(b.in(3), b.in(2), b.in(1)) }},
	{OpAddDot, "into one number", func(b *bench) { b.in(3).AddDot(b.in(3), b.w(F32, 1), b.in(1)) }},
	{OpAddDot, "into BF16", func(b *bench) { b.in(3).AddDot(b.in(3), b.w(BF16, 2), b.in(1)) }},
	{OpAddDot, "two factors", func(b *bench) { b.in(3).AddDot(b.in(3), b.w(F32, 2), b.in(2)) }},
	{OpAddDot, "integers", func(b *bench) { b.in(3).AddDot(b.ids(9, 3), b.w(F32, 2), b.in(1)) }},
	{OpClip, "into a node", func(b *bench) { b.in(2).Clip(b.in(2), b.in(2), b.in(7)) }},
	{OpClip, "into one number", func(b *bench) { b.w(F32, 1).Clip(b.in(2), b.in(2), b.in(7)) }},
	{OpClip, "into BF16", func(b *bench) { b.w(BF16, 2).Clip(b.in(2), b.in(2), b.in(7)) }},
	{OpClip, "squares", func(b *bench) { b.w(F32, 2).Clip(b.in(1), b.in(2), b.in(7)) }},
	{OpClip, "loss", func(b *bench) { b.w(F32, 2).Clip(b.in(2), b.in(1), b.in(7)) }},
	{OpClip, "a loss of integers", func(b *bench) { b.w(F32, 2).Clip(b.in(2), b.ids(9, 2), b.in(7)) }},
	{OpClip, "hyperparameters", func(b *bench) { b.w(F32, 2).Clip(b.in(2), b.in(2), b.in(6)) }},
	{OpClip, "hyperparameters of integers", func(b *bench) { b.w(F32, 2).Clip(b.in(2), b.in(2), b.ids(9, 7)) }},
	{OpReshape, "through blocks", func(b *bench) { b.w(Q8_0, 3, 64).SetRows(b.ids(3, 1), b.in(1, 64)).Reshape(3, 4, 16) }},
	{OpTopK, "none", func(b *bench) { b.in(2, 3).TopK(0) }},
	{OpTopK, "more than there are", func(b *bench) { b.in(2, 3).TopK(4) }},
	{OpTopK, "too many", func(b *bench) { b.in(2, 3000).TopK(MaxTopK + 1) }},
	{OpTopK, "axes", func(b *bench) { b.in(3).TopK(1) }},
	{OpTopK, "integers", func(b *bench) { b.g.Ints(2, 3).TopK(1) }},
	{OpRoute, "none", func(b *bench) { b.in(2, 3).Route(0) }},
	{OpRoute, "more than there are", func(b *bench) { b.in(2, 3).Route(4) }},
	{OpRoute, "too many", func(b *bench) { b.in(2, 100).Route(MaxChoices + 1) }},
	{OpRoute, "too many experts", func(b *bench) { b.g.Floats(1, 1<<14+1).Route(1) }},
	{OpRoute, "axes", func(b *bench) { b.in(3).Route(1) }},
	{OpRoute, "integers", func(b *bench) { b.g.Ints(2, 3).Route(1) }},
	{OpRouteWeights, "ids that nobody chose", func(b *bench) { b.in(2, 3).RouteWeights(b.g.Ints(2, 1), true) }},
	{OpRouteWeights, "ids of other logits", func(b *bench) { b.in(2, 3).RouteWeights(b.in(2, 4).Route(1), true) }},
	{OpRouteWeights, "ids that are floats", func(b *bench) { b.in(2, 3).RouteWeights(b.in(2, 1), true) }},
	{OpRouteWeightsBack, "gradient", func(b *bench) { x := b.in(2, 3); x.RouteWeightsBackward(x.Route(2), b.in(2, 1), true) }},
	{OpRouteWeightsBack, "tokens", func(b *bench) { b.in(2, 3).RouteWeightsBackward(b.in(4, 3).Route(2), b.in(4, 2), true) }},
	{OpGroup, "integers that nobody chose", func(b *bench) { b.g.Ints(2, 1).Group() }},
	{OpGroup, "floats", func(b *bench) { b.in(2, 1).Group() }},
	{OpGroupCounts, "another number of experts", func(b *bench) { b.in(2, 3).Route(1).Group().GroupCounts(4, b.in(2)) }},
	{OpGroupCounts, "weights", func(b *bench) { b.in(2, 4).Route(1).Group().GroupCounts(4, b.in(4)) }},
	{OpGroupCounts, "no group", func(b *bench) { b.g.Ints(8).GroupCounts(4, b.in(3)) }},
	{OpExperts, "inner axes", func(b *bench) { b.in(2, 3).Experts(b.in(4, 5, 6), b.in(2, 4).Route(1).Group()) }},
	{OpExperts, "no stack", func(b *bench) { b.in(2, 3).Experts(b.in(5, 3), b.in(2, 4).Route(1).Group()) }},
	{OpExperts, "tokens", func(b *bench) { b.in(3, 3).Experts(b.in(4, 5, 3), b.in(2, 4).Route(1).Group()) }},
	{OpExperts, "more experts than pairs", func(b *bench) { b.in(2, 3).Experts(b.in(9, 5, 3), b.in(2, 4).Route(1).Group()) }},
	{OpExperts, "a group of other experts", func(b *bench) { b.in(1, 3).Experts(b.in(5, 5, 3), b.in(2, 4).Route(1).Group()) }},
	{OpExperts, "integers that are no group", func(b *bench) { b.in(2, 3).Experts(b.in(4, 5, 3), b.g.Ints(7)) }},
	{OpExperts, "a group of floats", func(b *bench) { b.in(2, 3).Experts(b.in(4, 5, 3), b.in(7)) }},
	{OpExperts, "integers", func(b *bench) { b.in(2, 3).Experts(b.g.Ints(4, 5, 3), b.in(2, 4).Route(1).Group()) }},
	{OpExpertsBack, "inner axes", func(b *bench) { b.in(2, 3).ExpertsBackward(b.in(4, 5, 3), b.in(2, 4).Route(1).Group()) }},
	{OpExpertsBack, "a row for each token", func(b *bench) { b.in(2, 5).ExpertsBackward(b.in(4, 5, 3), b.in(2, 4).Route(2).Group()) }},
	{OpExpertsBackW, "pairs", func(b *bench) { b.in(3, 5).ExpertsBackwardWeight(b.in(2, 3), b.in(2, 4).Route(1).Group(), 4) }},
	{OpExpertsBackW, "tokens", func(b *bench) { b.in(2, 5).ExpertsBackwardWeight(b.in(3, 3), b.in(2, 4).Route(1).Group(), 4) }},
	{OpCombine, "pairs", func(b *bench) { b.in(5, 3).Combine(b.in(2, 2)) }},
	{OpCombine, "rows", func(b *bench) { b.in(5, 3).SumChoices(2) }},
	{OpCombineBack, "tokens", func(b *bench) { b.in(3, 2).CombineBackward(b.in(2, 3)) }},
	{OpCombineBackW, "columns", func(b *bench) { b.in(4, 2).CombineBackwardWeights(b.in(2, 3)) }},
	{OpGLU, "odd", func(b *bench) { b.in(2, 3).GLU() }},
	{OpGLU, "axes", func(b *bench) { b.in(2).GLU() }},
	{OpGLUBack, "gradient", func(b *bench) { b.in(2, 4).GLUBackward(b.in(2, 4)) }},
	{OpTopK, "ids that a float cannot tell apart", func(b *bench) { b.g.Floats(1, 1<<24).TopK(1) }},
}

func (b *bench) attention(n int, q, k, v []int, sequences int) {
	b.in(q...).Attention(b.in(k...), b.in(v...), b.g.Ints(n, 2), Attn{Scale: 1, Sequences: sequences})
}

func (b *bench) attentionBack(n int, q, k []int, dy, sequences int) {
	b.in(q...).AttentionBackward(b.in(k...), b.in(k...), b.g.Ints(n, 2), b.in(q[0], dy), Attn{Scale: 1, Sequences: sequences})
}

func (b *bench) update(d DType, n int, change func(s *AdamWState)) {
	s := AdamWState{Grad: b.in(n), M: b.w(F32, n), V: b.w(F32, n)}
	if change != nil {
		change(&s)
	}
	b.w(d, n).AdamW(s, b.in(7), b.in(2), 0)
}

// caught runs f and returns what [Catch] makes of its panic.
func caught(f func()) (err error) {
	defer Catch(&err)
	f()
	return nil
}

func TestWrongOperands(t *testing.T) {
	dev := open(t, 1)
	covered := map[Op]bool{}
	for _, c := range wrong {
		covered[c.op] = true
		t.Run(c.op.String()+"/"+c.name, func(t *testing.T) {
			err := caught(func() { c.build(newBench(t, dev)) })
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want an *Error", err)
			}
			if e.Op != c.op || !strings.HasPrefix(err.Error(), "tensor: "+c.op.String()+": ") {
				t.Errorf("got %q, want it to name %v", err, c.op)
			}
		})
	}
	for _, op := range Ops() {
		if !covered[op] && op != OpRopeTable { // RoPE makes that
			t.Errorf("no mistake is tried with %v", op)
		}
	}
}

func TestCatchLeavesOtherPanics(t *testing.T) {
	defer func() {
		if r := recover(); r != "other" {
			t.Errorf("got %v, want the panic to go on", r)
		}
	}()
	caught(func() { panic("other") })
}
