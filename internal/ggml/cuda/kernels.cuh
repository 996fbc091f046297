// The launchers of our kernels: each computes dst from dst->src, on stream s.
// What an operation means, and p's fields, is said at the CPU's (../*.cpp);
// where scratch memory is needed it is the last operand.
#pragma once
#include "launch.h"

typedef void (*lg_launcher)(cudaStream_t s, const ggml_tensor *dst, const lg_params *p);
// How many floats of scratch memory a kernel wants for its operands.
typedef int64_t (*lg_scratch)(const ggml_tensor *const *src, const lg_params *p);

// Threads of a block in kernels that reduce a row.
enum { BLOCK = 256 };

static inline int64_t elements(const ggml_tensor *t) { return t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3]; }
static inline unsigned blocks(int64_t n, int64_t per) { return (unsigned)((n + per - 1) / per); }
static inline const float *f32(const ggml_tensor *t) { return (const float *)t->data; }
static inline const int32_t *i32(const ggml_tensor *t) { return (const int32_t *)t->data; }
static inline float *out(const ggml_tensor *t) { return (float *)t->data; }

// sum_block adds x over the threads of a block of BLOCK; every thread gets the sum.
template <class X>
static __device__ X sum_block(X x) {
	__shared__ X part[BLOCK / 32];
	for (int o = 16; o > 0; o >>= 1) x += __shfl_xor_sync(0xffffffffu, x, o);
	__syncthreads(); // part may still be read by an earlier sum
	if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = x;
	__syncthreads();
	x = 0;
	for (int i = 0; i < BLOCK / 32; i++) x += part[i];
	return x;
}

#define FOR_ELEMENTS(i, n) for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < (n); i += (int64_t)gridDim.x * blockDim.x)
// A grid for n elements, several to a thread when there are very many.
static inline unsigned grid(int64_t n) {
	unsigned b = blocks(n, BLOCK);
	return b < 1 ? 1 : b > 65536 ? 65536 : b;
}

#define LG_LAUNCHER(name) extern "C" void name(cudaStream_t s, const ggml_tensor *dst, const lg_params *p)
LG_LAUNCHER(lg_cuda_rms_norm);
LG_LAUNCHER(lg_cuda_rms_norm_back);
LG_LAUNCHER(lg_cuda_rms_norm_back_w);
LG_LAUNCHER(lg_cuda_layer_norm);
LG_LAUNCHER(lg_cuda_layer_norm_back);
LG_LAUNCHER(lg_cuda_layer_norm_back_w);
LG_LAUNCHER(lg_cuda_act);
LG_LAUNCHER(lg_cuda_act_back);
LG_LAUNCHER(lg_cuda_gate);
LG_LAUNCHER(lg_cuda_gate_back);
LG_LAUNCHER(lg_cuda_softcap);
LG_LAUNCHER(lg_cuda_softcap_back);
LG_LAUNCHER(lg_cuda_columns);
LG_LAUNCHER(lg_cuda_columns_back);
LG_LAUNCHER(lg_cuda_rope_table);
LG_LAUNCHER(lg_cuda_rope);
LG_LAUNCHER(lg_cuda_rows_back);
LG_LAUNCHER(lg_cuda_zero);
LG_LAUNCHER(lg_cuda_attention);
LG_LAUNCHER(lg_cuda_attention_back);
LG_LAUNCHER(lg_cuda_paged_attention);
LG_LAUNCHER(lg_cuda_cross_entropy);
LG_LAUNCHER(lg_cuda_cross_entropy_back);
LG_LAUNCHER(lg_cuda_sum_to);
LG_LAUNCHER(lg_cuda_dropout);
LG_LAUNCHER(lg_cuda_accumulate);
LG_LAUNCHER(lg_cuda_adamw);
LG_LAUNCHER(lg_cuda_square_sum);
LG_LAUNCHER(lg_cuda_add_dot);
LG_LAUNCHER(lg_cuda_clip);
LG_LAUNCHER(lg_cuda_matvec);
LG_LAUNCHER(lg_cuda_convert);
LG_LAUNCHER(lg_cuda_rows);
LG_LAUNCHER(lg_cuda_topk);
LG_LAUNCHER(lg_cuda_route);
LG_LAUNCHER(lg_cuda_route_weights);
LG_LAUNCHER(lg_cuda_route_weights_back);
LG_LAUNCHER(lg_cuda_group);
LG_LAUNCHER(lg_cuda_group_counts);
LG_LAUNCHER(lg_cuda_experts);
LG_LAUNCHER(lg_cuda_experts_back_w);
LG_LAUNCHER(lg_cuda_combine);
LG_LAUNCHER(lg_cuda_combine_back);
LG_LAUNCHER(lg_cuda_combine_back_w);
LG_LAUNCHER(lg_cuda_glu);
LG_LAUNCHER(lg_cuda_glu_back);
LG_LAUNCHER(lg_cuda_softmax_back);

#define LG_SCRATCH_SIZE(name) extern "C" int64_t name(const ggml_tensor *const *src, const lg_params *p)
LG_SCRATCH_SIZE(lg_cuda_rms_norm_back_w_scratch);
LG_SCRATCH_SIZE(lg_cuda_layer_norm_back_w_scratch);
LG_SCRATCH_SIZE(lg_cuda_attention_scratch);
LG_SCRATCH_SIZE(lg_cuda_attention_back_scratch);
LG_SCRATCH_SIZE(lg_cuda_paged_attention_scratch);
LG_SCRATCH_SIZE(lg_cuda_sum_scratch); // of square_sum and add_dot

// Of the launchers above, for quantized weights (quants.cu, quants_few.cu).
void lg_cuda_dequantize(cudaStream_t s, const ggml_tensor *dst);
void lg_cuda_matvec_quantized(cudaStream_t s, const ggml_tensor *dst);
void lg_cuda_experts_quantized(cudaStream_t s, const ggml_tensor *dst, int per);
static inline bool is_float(int type) { return type == GGML_TYPE_F32 || type == GGML_TYPE_F16 || type == GGML_TYPE_BF16; }

// The product needs the library's handle: dst (n, m) = op(src0)·op(src1)ᵀ, operands of one type (F32, BF16, F16), sums in float32.
// An error's name, or NULL.
const char *lg_cuda_matmul(cublasHandle_t h, bool tf32, const ggml_tensor *dst, const lg_params *p);
