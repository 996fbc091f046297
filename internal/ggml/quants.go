package ggml

// #include "cggml.h"
// #include "kernels.h"
// #include "quantize.h"
// static int64_t lg_block(enum ggml_type t) { return ggml_get_type_traits(t)->blck_size; }
// static size_t lg_block_bytes(enum ggml_type t) { return ggml_get_type_traits(t)->type_size; }
// static void lg_to_float(enum ggml_type t, const void *x, float *y, int64_t k) { ggml_get_type_traits(t)->to_float(x, y, k); }
import "C"

import "unsafe"

// The types of quantized weights: blocks of 32 elements, of 256 in those called K, IQ
// (but IQ4_NL) and TQ. Their layouts are GGML's (ggml-common.h).
const (
	Q4_0    Type = C.GGML_TYPE_Q4_0
	Q4_1    Type = C.GGML_TYPE_Q4_1
	Q5_0    Type = C.GGML_TYPE_Q5_0
	Q5_1    Type = C.GGML_TYPE_Q5_1
	Q8_0    Type = C.GGML_TYPE_Q8_0
	Q2_K    Type = C.GGML_TYPE_Q2_K
	Q3_K    Type = C.GGML_TYPE_Q3_K
	Q4_K    Type = C.GGML_TYPE_Q4_K
	Q5_K    Type = C.GGML_TYPE_Q5_K
	Q6_K    Type = C.GGML_TYPE_Q6_K
	IQ1_S   Type = C.GGML_TYPE_IQ1_S
	IQ1_M   Type = C.GGML_TYPE_IQ1_M
	IQ2_XXS Type = C.GGML_TYPE_IQ2_XXS
	IQ2_XS  Type = C.GGML_TYPE_IQ2_XS
	IQ2_S   Type = C.GGML_TYPE_IQ2_S
	IQ3_XXS Type = C.GGML_TYPE_IQ3_XXS
	IQ3_S   Type = C.GGML_TYPE_IQ3_S
	IQ4_NL  Type = C.GGML_TYPE_IQ4_NL
	IQ4_XS  Type = C.GGML_TYPE_IQ4_XS
	TQ1_0   Type = C.GGML_TYPE_TQ1_0
	TQ2_0   Type = C.GGML_TYPE_TQ2_0
	MXFP4   Type = C.GGML_TYPE_MXFP4
)

// Block is the number of elements that a type stores together, 1 for floats.
func (t Type) Block() int { return int(C.lg_block(C.enum_ggml_type(t))) }

// BlockBytes is the size of a block.
func (t Type) BlockBytes() int { return int(C.lg_block_bytes(C.enum_ggml_type(t))) }

// Dequantize converts whole blocks of a quantized type to floats.
func Dequantize(t Type, src []byte, dst []float32) {
	if len(dst) == 0 {
		return
	}
	C.lg_to_float(C.enum_ggml_type(t), unsafe.Pointer(&src[0]), (*C.float)(&dst[0]), C.int64_t(len(dst)))
}

// Quantize converts rows of perRow floats, whole blocks of t, as llama-quantize does, to the same bytes
// (quantize.cpp; of IQ1, IQ2, IQ3 and TQ to GGML's, which depend on the compiler's flags).
// importance, when not nil, weighs the errors of a row's elements: the mean squares of
// the activations that meet them (perRow). Several goroutines may quantize at once.
func Quantize(t Type, src []float32, perRow int, importance []float32, dst []byte) {
	if len(src) == 0 {
		return
	}
	var weights *C.float
	if importance != nil {
		weights = (*C.float)(&importance[0])
	}
	if C.lg_quantize(C.int(t), (*C.float)(&src[0]), (*C.uint8_t)(&dst[0]), C.int64_t(len(src)/perRow), C.int64_t(perRow), weights) {
		return
	}
	C.ggml_quantize_chunk(C.enum_ggml_type(t), (*C.float)(&src[0]), unsafe.Pointer(&dst[0]), 0, C.int64_t(len(src)/perRow), C.int64_t(perRow), weights)
}

// NeedsImportance tells the types that cannot be quantized to without importance.
func (t Type) NeedsImportance() bool {
	return bool(C.ggml_quantize_requires_imatrix(C.enum_ggml_type(t)))
}

// Valid reports whether the scales of blocks are numbers: no infinity, no NaN.
func Valid(t Type, data []byte) bool {
	return len(data) == 0 || bool(C.ggml_validate_row_data(C.enum_ggml_type(t), unsafe.Pointer(&data[0]), C.size_t(len(data))))
}

// FewRows is the number of rows of activations up to which [MatVec] is the fastest product with a quantized weight on the CPU.
func (t Type) FewRows() int { return int(C.lg_few_rows(C.int(t))) }

// Rounds tells the types that [MatMulRounded] multiplies by, in this build.
func (t Type) Rounds() bool { return bool(C.lg_rounds(C.int(t))) }
