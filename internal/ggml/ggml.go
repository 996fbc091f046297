// Package ggml is the project's only cgo: Go names for the C functions of GGML
// that we call, and our own CPU kernels (kernels.cpp, gemm.cpp, attention_paged.cpp and so on).
//
// Nothing here checks operands: GGML asserts end the process, so package tensor
// checks every shape and type before it calls in. Shapes are GGML's, fastest
// axis first. A value of this package is used by one goroutine at a time.
package ggml

// #cgo CPPFLAGS: -DNDEBUG
// #cgo CXXFLAGS: -std=c++17 -O3 -Wno-psabi
// #cgo linux LDFLAGS: -lstdc++ -lm -lpthread -ldl -rdynamic
// #include <stdlib.h>
// #include "cggml.h"
// #include "kernels.h"
// static struct ggml_tensor *lg_custom(struct ggml_context *ctx, int kernel, enum ggml_type type, const int64_t *ne, struct ggml_tensor **args, int n, void *params) {
//   return ggml_custom_4d(ctx, type, ne[0], ne[1], ne[2], ne[3], args, n, lg_kernel_function(kernel), -1, params);
// }
// static struct ggml_tensor *lg_custom_inplace(struct ggml_context *ctx, int kernel, struct ggml_tensor *a, struct ggml_tensor **args, int n, void *params) {
//   return ggml_custom_inplace(ctx, a, args, n, lg_kernel_function(kernel), -1, params);
// }
// static struct ggml_context *lg_init(size_t size) {
//   struct ggml_init_params p = {size, NULL, true};
//   return ggml_init(p);
// }
import "C"

import (
	"unsafe"

	_ "github.com/ollama/ollama/ml/backend/ggml/ggml/src" // compiles GGML and links it
)

// Type is a ggml_type.
type Type int32

// The types of tensors; quants.go has those of quantized weights.
const (
	F32  Type = C.GGML_TYPE_F32
	F16  Type = C.GGML_TYPE_F16
	BF16 Type = C.GGML_TYPE_BF16
	I32  Type = C.GGML_TYPE_I32
)

// Kernel names one of our own CPU kernels; the .cpp files say what each computes.
type Kernel int

// The kernels.
const (
	MatMul           Kernel = C.LG_MATMUL
	RMSNorm          Kernel = C.LG_RMS_NORM
	RMSNormBack      Kernel = C.LG_RMS_NORM_BACK
	RMSNormBackW     Kernel = C.LG_RMS_NORM_BACK_W
	LayerNorm        Kernel = C.LG_LAYER_NORM
	LayerNormBack    Kernel = C.LG_LAYER_NORM_BACK
	LayerNormBackW   Kernel = C.LG_LAYER_NORM_BACK_W
	Act              Kernel = C.LG_ACT
	ActBack          Kernel = C.LG_ACT_BACK
	Gate             Kernel = C.LG_GATE
	GateBack         Kernel = C.LG_GATE_BACK
	Softcap          Kernel = C.LG_SOFTCAP
	SoftcapBack      Kernel = C.LG_SOFTCAP_BACK
	Columns          Kernel = C.LG_COLUMNS
	ColumnsBack      Kernel = C.LG_COLUMNS_BACK
	RopeTable        Kernel = C.LG_ROPE_TABLE
	RoPE             Kernel = C.LG_ROPE
	RowsBack         Kernel = C.LG_ROWS_BACK
	Zero             Kernel = C.LG_ZERO
	Attention        Kernel = C.LG_ATTENTION
	AttentionBack    Kernel = C.LG_ATTENTION_BACK
	CrossEntropy     Kernel = C.LG_CROSS_ENTROPY
	CrossEntropyBack Kernel = C.LG_CROSS_ENTROPY_BACK
	SumTo            Kernel = C.LG_SUM_TO
	Dropout          Kernel = C.LG_DROPOUT
	Accumulate       Kernel = C.LG_ACCUMULATE
	AdamW            Kernel = C.LG_ADAMW
	SquareSum        Kernel = C.LG_SQUARE_SUM
	MatVec           Kernel = C.LG_MATVEC
	AddDot           Kernel = C.LG_ADD_DOT
	Clip             Kernel = C.LG_CLIP
	TopK             Kernel = C.LG_TOPK
	Route            Kernel = C.LG_ROUTE // from here to GLUBack: experts.cpp
	RouteWeights     Kernel = C.LG_ROUTE_WEIGHTS
	RouteWeightsBack Kernel = C.LG_ROUTE_WEIGHTS_BACK
	Group            Kernel = C.LG_GROUP
	GroupCounts      Kernel = C.LG_GROUP_COUNTS
	Experts          Kernel = C.LG_EXPERTS
	ExpertsBackW     Kernel = C.LG_EXPERTS_BACK_W
	Combine          Kernel = C.LG_COMBINE
	CombineBack      Kernel = C.LG_COMBINE_BACK
	CombineBackW     Kernel = C.LG_COMBINE_BACK_W
	GLU              Kernel = C.LG_GLU
	GLUBack          Kernel = C.LG_GLU_BACK
	SoftmaxBack      Kernel = C.LG_SOFTMAX_BACK
	Convert          Kernel = C.LG_CONVERT // not on the CPU: src0 in the type of the result
	QuantizedRows    Kernel = C.LG_ROWS    // not on the CPU: rows src1 of the quantized table src0
	Scratch          Kernel = C.LG_SCRATCH // not on the CPU: memory for the operation that reads it
	Round            Kernel = C.LG_ROUND   // on the CPU only, as the next: quantized.cpp
	MatMulRounded    Kernel = C.LG_MATMUL_ROUNDED
	PagedAttention   Kernel = C.LG_PAGED_ATTENTION
)

// Activations, in Params.I[0] of Act, ActBack, Gate and GateBack.
const (
	SiLU     = C.LG_SILU
	GELU     = C.LG_GELU
	GELUTanh = C.LG_GELU_TANH
	ReLU     = C.LG_RELU
)

// Params are the constants of a custom operation.
type Params struct {
	F [4]float32
	I [6]int64
}

// Tensor is a node or leaf of a Context.
type Tensor struct{ p *C.struct_ggml_tensor }

// Nil reports whether t is no tensor.
func (t Tensor) Nil() bool { return t.p == nil }

// Bytes is the size of the data.
func (t Tensor) Bytes() int { return int(C.ggml_nbytes(t.p)) }

// What names the operation of a node, for messages.
func (t Tensor) What() string { return C.GoString(C.ggml_op_desc(t.p)) }

// SetInput and SetOutput mark what the allocator must keep.
func (t Tensor) SetInput()  { C.ggml_set_input(t.p) }
func (t Tensor) SetOutput() { C.ggml_set_output(t.p) }

// Context owns the descriptions of tensors (not their data) and the parameters of custom operations.
type Context struct {
	p      *C.struct_ggml_context
	params []unsafe.Pointer
}

// NewContext has room for n tensors and, when graph > 0, a graph of that many nodes.
func NewContext(n, graph int) *Context {
	size := C.size_t(n+1)*C.ggml_tensor_overhead() + 4096
	if graph > 0 {
		size += C.ggml_graph_overhead_custom(C.size_t(graph), false)
	}
	return &Context{p: C.lg_init(size)}
}

// Free releases the context; its tensors are gone.
func (c *Context) Free() {
	C.ggml_free(c.p)
	for _, p := range c.params {
		C.free(p)
	}
	c.p, c.params = nil, nil
}

// New makes a tensor without data.
func (c *Context) New(t Type, ne [4]int64) Tensor {
	return Tensor{C.ggml_new_tensor_4d(c.p, C.enum_ggml_type(t), C.int64_t(ne[0]), C.int64_t(ne[1]), C.int64_t(ne[2]), C.int64_t(ne[3]))}
}

// The operations of GGML that we use.
func (c *Context) Add(a, b Tensor) Tensor { return Tensor{C.ggml_add(c.p, a.p, b.p)} }
func (c *Context) Mul(a, b Tensor) Tensor { return Tensor{C.ggml_mul(c.p, a.p, b.p)} }
func (c *Context) Scale(a Tensor, s float32) Tensor {
	return Tensor{C.ggml_scale(c.p, a.p, C.float(s))}
}
func (c *Context) MulMat(a, b Tensor) Tensor    { return Tensor{C.ggml_mul_mat(c.p, a.p, b.p)} }
func (c *Context) GetRows(a, ids Tensor) Tensor { return Tensor{C.ggml_get_rows(c.p, a.p, ids.p)} }
func (c *Context) SetRows(dst, src, ids Tensor) Tensor {
	return Tensor{C.ggml_set_rows(c.p, dst.p, src.p, ids.p)}
}
func (c *Context) Cont(a Tensor) Tensor { return Tensor{C.ggml_cont(c.p, a.p)} }

// SoftMax is softmax(scale·a + mask) along the fastest axis; mask may be nil.
func (c *Context) SoftMax(a, mask Tensor, scale float32) Tensor {
	return Tensor{C.ggml_soft_max_ext(c.p, a.p, mask.p, C.float(scale), 0)}
}

// Permute moves axis i of a to place axes[i].
func (c *Context) Permute(a Tensor, axes [4]int) Tensor {
	return Tensor{C.ggml_permute(c.p, a.p, C.int(axes[0]), C.int(axes[1]), C.int(axes[2]), C.int(axes[3]))}
}

// Reshape gives a contiguous tensor another shape.
func (c *Context) Reshape(a Tensor, ne [4]int64) Tensor {
	return Tensor{C.ggml_reshape_4d(c.p, a.p, C.int64_t(ne[0]), C.int64_t(ne[1]), C.int64_t(ne[2]), C.int64_t(ne[3]))}
}

// View is a contiguous part of a, from offset bytes on.
func (c *Context) View(a Tensor, ne [4]int64, element, offset int) Tensor {
	nb1 := C.size_t(ne[0]) * C.size_t(element)
	nb2 := nb1 * C.size_t(ne[1])
	return Tensor{C.ggml_view_4d(c.p, a.p, C.int64_t(ne[0]), C.int64_t(ne[1]), C.int64_t(ne[2]), C.int64_t(ne[3]),
		nb1, nb2, nb2*C.size_t(ne[2]), C.size_t(offset))}
}

func (c *Context) keep(k Kernel, p Params) unsafe.Pointer {
	m := (*C.lg_params)(C.calloc(1, C.size_t(unsafe.Sizeof(C.lg_params{}))))
	*(*Params)(unsafe.Pointer(m)) = p
	m.kernel = C.int(k)
	c.params = append(c.params, unsafe.Pointer(m))
	return unsafe.Pointer(m)
}

// Custom runs one of our kernels with a new float32 destination.
func (c *Context) Custom(k Kernel, ne [4]int64, p Params, src ...Tensor) Tensor {
	return c.CustomOf(F32, k, ne, p, src...)
}

// CustomOf is Custom with a destination of another type.
func (c *Context) CustomOf(t Type, k Kernel, ne [4]int64, p Params, src ...Tensor) Tensor {
	var args [9]*C.struct_ggml_tensor
	for i, s := range src {
		args[i] = s.p
	}
	return Tensor{C.lg_custom(c.p, C.int(k), C.enum_ggml_type(t), (*C.int64_t)(&ne[0]), &args[0], C.int(len(src)), c.keep(k, p))}
}

// CustomInPlace runs one of our kernels on the data of a, which is also its first operand.
func (c *Context) CustomInPlace(k Kernel, a Tensor, p Params, src ...Tensor) Tensor {
	var args [8]*C.struct_ggml_tensor
	for i, s := range src {
		args[i] = s.p
	}
	return Tensor{C.lg_custom_inplace(c.p, C.int(k), a.p, &args[0], C.int(len(src)), c.keep(k, p))}
}
