package tensor

import (
	"github.com/litgpt-go/litgpt/internal/ggml"
)

// How the graph is lowered for a GPU. The kernels there have the names of the
// CPU's (internal/ggml/cuda); what differs is below: products want operands of one
// type, some kernels want scratch memory, which is an operand like others, so that
// the planner counts it and gives it to the next operation.

// fewRows is the number of rows up to which a product reads the weights as they
// are, at the speed of memory, instead of going to cuBLAS.
const fewRows = 8

// cudaState is what lowering one graph remembers.
type cudaState struct {
	compute   DType // of products of activations: F32, or what the matrices are stored in
	converted map[conversion]converted
	weight    conversion  // the quantized weight that was dequantized last
	floats    ggml.Tensor // and what it became
	count     int         // operations lowered so far
}

type conversion struct {
	t  *Tensor
	to DType
}

type converted struct {
	n  ggml.Tensor
	at int
}

// keepConverted is for how many operations a converted activation is kept for
// another product to use: those of a layer's query, key and value projections with
// their adapters. Longer would hold memory for the backward pass.
const keepConverted = 32

func lowerCUDA(p *Program, t *Tensor, src []ggml.Tensor) ggml.Tensor {
	if p.cuda == nil {
		p.cuda = &cudaState{compute: computeType(t.g, p.dev.dequantized), converted: map[conversion]converted{}}
	}
	p.cuda.count++
	if l := cudaLowerings[t.Op]; l != nil {
		return l(p, t, src)
	}
	return lowerings[t.Op](p.ctx, t, src)
}

// computeType is the type in which products of a graph are computed, their sums
// being float32: that of its matrices when it is a half type, as in torch's
// bf16-true and autocast; dequantized when they are quantized, and there is no half type; else float32.
func computeType(g *Graph, dequantized DType) DType {
	compute := F32
	for _, t := range g.nodes {
		if t.Op != OpMatMulT && t.Op != OpMatMul && t.Op != OpExperts {
			continue
		}
		switch w := t.Src[1]; {
		case !w.IsWeight():
		case w.dtype == BF16 || w.dtype == F16:
			return w.dtype
		case w.dtype.Quantized():
			compute = dequantized
		}
	}
	return compute
}

// fewPairs reports whether the experts' kernel of few pairs, which reads quantized
// weights as they are, computes so many: it reads an expert's weights again for each of
// its pairs, dequantizing moves about 8 times as many bytes as it reads.
func fewPairs(pairs, experts int) bool { return pairs <= 8*experts && pairs < 1<<16 }

// experts lowers a product with the weights of each row's expert. Those that are
// quantized are dequantized as a whole, unless there are few rows.
func (p *Program) experts(t *Tensor, per, backward int64, s []ggml.Tensor) ggml.Tensor {
	w := t.Src[1]
	if w.dtype.Quantized() && (backward == 1 || !fewPairs(t.shape[0], w.shape[0])) {
		s = []ggml.Tensor{s[0], p.as(p.cuda.compute, w, s[1]), s[2]}
	}
	return p.ctx.Custom(ggml.Experts, ne(t.shape), ggml.Params{I: [6]int64{per, backward, int64(dtypes[p.cuda.compute].ggml)}}, s...)
}

// cudaLowerings are the operations that differ from the CPU's.
var cudaLowerings = [numOps]func(p *Program, t *Tensor, s []ggml.Tensor) ggml.Tensor{
	OpMatMulT: func(p *Program, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		if len(t.shape) == 2 && t.shape[0] <= fewRows {
			return p.ctx.Custom(ggml.MatVec, ne(t.shape), ggml.Params{}, s...)
		}
		return p.product(t, 0, 0, s)
	},
	OpMatMul:  func(p *Program, t *Tensor, s []ggml.Tensor) ggml.Tensor { return p.product(t, 0, 1, s) },
	OpTMatMul: func(p *Program, t *Tensor, s []ggml.Tensor) ggml.Tensor { return p.product(t, 1, 1, s) },
	OpRMSNormBackW: func(p *Program, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		return p.withScratch(ggml.RMSNormBackW, t, params(t.Attr), s)
	},
	OpLayerNormBackW: func(p *Program, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		return p.withScratch(ggml.LayerNormBackW, t, params(t.Attr), s)
	},
	OpSquareSum: func(p *Program, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		return p.withScratch(ggml.SquareSum, t, ggml.Params{I: [6]int64{int64(len(s) - 1)}}, s)
	},
	OpAddDot: func(p *Program, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		return p.ctx.CustomInPlace(ggml.AddDot, s[0], ggml.Params{}, append(s[1:], p.scratch(ggml.AddDot, ggml.Params{}, s))...)
	},
	OpExperts: func(p *Program, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		return p.experts(t, int64(t.Attr.(int)), 0, s)
	},
	OpExpertsBack: func(p *Program, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		return p.experts(t, 1, 1, s)
	},
	OpRows: func(p *Program, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		if t.Src[0].dtype.Quantized() { // GGML has few of the types
			return p.ctx.Custom(ggml.QuantizedRows, ne(t.shape), ggml.Params{}, s...)
		}
		return p.ctx.GetRows(s[0], s[1])
	},
	// Of dy and x, which are float32 both, the products are of the graph's type as others are.
	OpExpertsBackW: func(p *Program, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		return p.ctx.Custom(ggml.ExpertsBackW, ne(t.shape), ggml.Params{I: [6]int64{int64(t.Attr.(int)), int64(dtypes[p.cuda.compute].ggml)}}, s...)
	},
	OpAttention: func(p *Program, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		return p.withScratch(ggml.Attention, t, p.attention(t), s)
	},
	OpAttentionBack: func(p *Program, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		return p.withScratch(ggml.AttentionBack, t, p.attention(t), s)
	},
	OpPagedAttention: func(p *Program, t *Tensor, s []ggml.Tensor) ggml.Tensor {
		if t.shape[0] > 1<<16-1 {
			fail(t.Op, "%d queries: fewer than 65536 wanted on a GPU", t.shape[0])
		}
		return p.withScratch(ggml.PagedAttention, t, p.attention(t), s)
	},
}

func (p *Program) attention(t *Tensor) ggml.Params {
	a := params(t.Attr)
	a.I[1] = int64(dtypes[p.cuda.compute].ggml)
	return a
}

// withScratch is a kernel with its scratch memory.
func (p *Program) withScratch(k ggml.Kernel, t *Tensor, params ggml.Params, s []ggml.Tensor) ggml.Tensor {
	return p.ctx.Custom(k, ne(t.shape), params, append(s, p.scratch(k, params, s))...)
}

// scratch is memory that holds nothing, as much as the kernel wants for its operands.
func (p *Program) scratch(k ggml.Kernel, params ggml.Params, s []ggml.Tensor) ggml.Tensor {
	return p.ctx.Custom(ggml.Scratch, ne([]int{max(1, p.dev.b.Scratch(k, params, s...))}), ggml.Params{})
}

// product lowers a product of which both operands get one type: that of a stored float, or the graph's.
func (p *Program) product(t *Tensor, ta, tb int64, s []ggml.Tensor) ggml.Tensor {
	to := p.cuda.compute
	for _, x := range t.Src {
		if x.dtype != F32 && !x.dtype.Quantized() {
			to = x.dtype
		}
	}
	return p.ctx.Custom(ggml.MatMul, ne(t.shape), ggml.Params{I: [6]int64{ta, tb}}, p.as(to, t.Src[0], s[0]), p.as(to, t.Src[1], s[1]))
}

// as gives an operand in another type, the copy made for an earlier product if that is near.
// Of quantized weights only the last one's copy is used again, for the weight's next
// product or its gradient's: so that there is memory for one dequantized weight at a time.
func (p *Program) as(to DType, t *Tensor, n ggml.Tensor) ggml.Tensor {
	if t.dtype == to {
		return n
	}
	key := conversion{t, to}
	convert := func() ggml.Tensor {
		return p.ctx.CustomOf(dtypes[to].ggml, ggml.Convert, ne(t.shape), ggml.Params{}, n)
	}
	if t.dtype.Quantized() {
		if p.cuda.weight != key {
			p.cuda.weight, p.cuda.floats = key, convert()
		}
		return p.cuda.floats
	}
	if c, ok := p.cuda.converted[key]; ok && p.cuda.count-c.at <= keepConverted {
		return c.n
	}
	c := convert()
	p.cuda.converted[key] = converted{c, p.cuda.count}
	return c
}
