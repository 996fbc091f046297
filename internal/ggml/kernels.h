// Our own CPU kernels. They run inside a GGML graph as custom operations, on
// GGML's threads; each takes its destination, operands (dst->src) and a small
// struct of parameters. All values are float32 unless said otherwise.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// C (n, m) = A·Bᵀ over k. A(i,k) is a[i*lda+k], or a[k*lda+i] when ta; B likewise.
typedef struct {
	int n, m, k;
	int atype, btype; // ggml_type: F32, F16 or BF16
	const void *a, *b;
	int64_t lda, ldb; // elements
	bool ta, tb;
	float *c;
	int64_t ldc;
	bool add; // to what c holds
} lg_gemm;
void lg_gemm_run(const lg_gemm *g, int ith, int nth);
// lg_gemm_columns computes the columns [from, to) of C, from whole units on, as lg_gemm_run does.
void lg_gemm_columns(const lg_gemm *g, int from, int to);
int lg_gemm_unit(const lg_gemm *g);

// lg_few_rows is the number of rows of activations up to which LG_MATVEC, which packs nothing, is the fastest product with a weight of the type.
int lg_few_rows(int type);
// lg_rounds tells the quantized types that LG_MATMUL_ROUNDED multiplies by, in this build.
bool lg_rounds(int type);

enum { LG_SPLIT = 64 }; // tasks whose positions threads share

// Parameters of the operations below; the meaning of each field is said at the operation (the .cpp files). A run of the operation leaves next, out and done as it found them.
typedef struct {
	float f[4];
	int64_t i[6];
	int kernel;    // enum lg_kernel, for devices that launch by it
	int next, out; // what next_work has given out, and to how many threads nothing more
	int done[LG_SPLIT]; // of paged_attention
} lg_params;

enum lg_kernel {
	LG_MATMUL, LG_RMS_NORM, LG_RMS_NORM_BACK, LG_RMS_NORM_BACK_W, LG_LAYER_NORM, LG_LAYER_NORM_BACK, LG_LAYER_NORM_BACK_W,
	LG_ACT, LG_ACT_BACK, LG_GATE, LG_GATE_BACK, LG_SOFTCAP, LG_SOFTCAP_BACK, LG_COLUMNS, LG_COLUMNS_BACK,
	LG_ROPE_TABLE, LG_ROPE, LG_ROWS_BACK, LG_ZERO, LG_ATTENTION, LG_ATTENTION_BACK, LG_CROSS_ENTROPY, LG_CROSS_ENTROPY_BACK,
	LG_SUM_TO, LG_DROPOUT, LG_ACCUMULATE, LG_ADAMW, LG_SQUARE_SUM, LG_MATVEC, LG_ADD_DOT, LG_CLIP, LG_TOPK,
	LG_ROUTE, LG_ROUTE_WEIGHTS, LG_ROUTE_WEIGHTS_BACK, LG_GROUP, LG_GROUP_COUNTS, LG_EXPERTS, LG_EXPERTS_BACK_W,
	LG_COMBINE, LG_COMBINE_BACK, LG_COMBINE_BACK_W, LG_GLU, LG_GLU_BACK, LG_SOFTMAX_BACK, // experts.cpp
	LG_CONVERT, LG_ROWS, LG_SCRATCH, // of devices other than the CPU: another type; rows of a quantized table; memory for the operation that reads it
	LG_ROUND, LG_MATMUL_ROUNDED, // of the CPU: quantized.cpp
	LG_PAGED_ATTENTION, // attention_paged.cpp
	LG_COUNT
};

// The functions of LG_ACT and LG_GATE; GELU is that by erf, GELU_TANH its approximation by tanh.
enum lg_activation { LG_SILU, LG_GELU, LG_GELU_TANH, LG_RELU };

struct ggml_tensor;
typedef void (*lg_function)(struct ggml_tensor *dst, int ith, int nth, void *params);
lg_function lg_kernel_function(int kernel);

#ifdef __cplusplus
}
#endif
