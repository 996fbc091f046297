// Quantized weights as floats: whole weights before cuBLAS multiplies by them, and rows of tables.
#include "quants.cuh"

namespace {

__device__ __forceinline__ void assign4(float *y, const float v[4]) { *(float4 *)y = make_float4(v[0], v[1], v[2], v[3]); }
__device__ __forceinline__ void assign4(__nv_bfloat16 *y, const float v[4]) {
	((__nv_bfloat162 *)y)[0] = __floats2bfloat162_rn(v[0], v[1]);
	((__nv_bfloat162 *)y)[1] = __floats2bfloat162_rn(v[2], v[3]);
}
__device__ __forceinline__ void assign4(__half *y, const float v[4]) {
	((__half2 *)y)[0] = __floats2half2_rn(v[0], v[1]);
	((__half2 *)y)[1] = __floats2half2_rn(v[2], v[3]);
}

// A thread unpacks one piece of a row: row id[r] of w is row r of y, row r itself where id is
// nullptr. Rows have count pieces; there are total pieces in y.
template <class Q, class To>
__global__ void unpack(To *y, const typename Q::block *w, const int32_t *id, int64_t count, int64_t total) {
	const int64_t t = blockIdx.x * (int64_t)BLOCK + threadIdx.x;
	if (t >= total) return;
	const int64_t from = id ? id[t / count] * count + t % count : t;
	typename Q::piece_of p;
	Q::piece(w[from / Q::PIECES], (unsigned)(from % Q::PIECES), p);
	y += t / Q::PIECES * Q::N + Q::start((unsigned)(t % Q::PIECES));
#pragma unroll
	for (int g = 0; g < Q::GROUPS; g++) {
		float v[4];
#pragma unroll
		for (int j = 0; j < 4; j++) v[j] = Q::LESS ? p.scale[g] * p.q[g][j] - p.less[g] : p.scale[g] * p.q[g][j];
		assign4(y + g * Q::STRIDE, v);
	}
}

template <class Q, class To>
void launch(cudaStream_t s, const ggml_tensor *dst, const int32_t *id) {
	const int64_t per = 4 * Q::GROUPS, total = elements(dst) / per;
	LAUNCH((unpack<Q, To>), blocks(total, BLOCK), BLOCK, 0, s, (To *)dst->data, (const typename Q::block *)dst->src[0]->data, id, dst->ne[0] / per, total);
}

template <int TYPE>
void convert_from(cudaStream_t s, const ggml_tensor *dst) {
	switch (dst->type) {
	case GGML_TYPE_BF16: return launch<quant<TYPE>, __nv_bfloat16>(s, dst, nullptr);
	case GGML_TYPE_F16: return launch<quant<TYPE>, __half>(s, dst, nullptr);
	default: return launch<quant<TYPE>, float>(s, dst, nullptr);
	}
}

} // namespace

// dst = src0, which is quantized, in dst's type, rounded to nearest even; F32, F16 and BF16.
void lg_cuda_dequantize(cudaStream_t s, const ggml_tensor *dst) {
	switch (dst->src[0]->type) {
#define CASE(type) \
	case type: return convert_from<type>(s, dst);
		LG_QUANTIZED(CASE)
#undef CASE
	default: break;
	}
}

// dst (n, c): the rows src1 (n) I32 of the quantized table src0 (rows, c).
LG_LAUNCHER(lg_cuda_rows) {
	(void)p;
	switch (dst->src[0]->type) {
#define CASE(type) \
	case type: return launch<quant<type>, float>(s, dst, i32(dst->src[1]));
		LG_QUANTIZED(CASE)
#undef CASE
	default: break;
	}
}
