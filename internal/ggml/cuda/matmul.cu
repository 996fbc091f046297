// Products: cuBLAS for many rows, our own for the few rows of decoding, where the
// time is that of reading the weights once.
#include "kernels.cuh"

static cudaDataType_t data_type(int type) {
	return type == GGML_TYPE_F32 ? CUDA_R_32F : type == GGML_TYPE_BF16 ? CUDA_R_16BF : CUDA_R_16F;
}

// cuBLAS counts columns first: dst (n, m) is its C (m, n), so B comes first and A second.
const char *lg_cuda_matmul(cublasHandle_t h, bool tf32, const ggml_tensor *dst, const lg_params *p) {
	const ggml_tensor *a = dst->src[0], *b = dst->src[1];
	const bool ta = p->i[0], tb = p->i[1];
	const int m = (int)dst->ne[0], n = (int)dst->ne[1], k = (int)(ta ? a->ne[1] : a->ne[0]);
	const float one = 1, zero = 0;
	const cudaDataType_t type = data_type(a->type);
	const cublasComputeType_t compute = type == CUDA_R_32F && tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
	const int64_t g2 = dst->ne[2] / b->ne[2], g3 = dst->ne[3] / b->ne[3];
	for (int64_t i3 = 0; i3 < dst->ne[3]; i3++)
		for (int64_t i2 = 0; i2 < dst->ne[2]; i2++) {
			const void *pa = (const char *)a->data + i2 * a->nb[2] + i3 * a->nb[3];
			const void *pb = (const char *)b->data + i2 / g2 * b->nb[2] + i3 / g3 * b->nb[3];
			void *pc = (char *)dst->data + i2 * dst->nb[2] + i3 * dst->nb[3];
			cublasStatus_t status = cublasGemmEx(h, tb ? CUBLAS_OP_N : CUBLAS_OP_T, ta ? CUBLAS_OP_T : CUBLAS_OP_N, m, n, k, &one, pb, type, (int)b->ne[0], pa, type,
				(int)a->ne[0], &zero, pc, CUDA_R_32F, m, compute, CUBLAS_GEMM_DEFAULT);
			if (status != CUBLAS_STATUS_SUCCESS) return cublasGetStatusString(status);
		}
	return nullptr;
}

__device__ float number(float x) { return x; }
__device__ float number(__half x) { return __half2float(x); }
__device__ float number(__nv_bfloat16 x) { return __bfloat162float(x); }

// W weights of 16 bytes as floats.
template <class T>
struct chunk {
	enum { n = 16 / sizeof(T) };
	float v[n];
	__device__ void load(const T *p) {
		int4 raw = *(const int4 *)p;
		const T *t = (const T *)&raw;
#pragma unroll
		for (int i = 0; i < n; i++) v[i] = number(t[i]);
	}
};

// A warp computes one row of weights against R rows of x: y[r][j] = w[j]·x[r].
// Whole pieces of 16 bytes when the rows are aligned to them (vec), else one by one.
enum { WARPS = 4 };
template <class T, int R>
__global__ void __launch_bounds__(32 * WARPS) matvec(float *y, const T *w, const float *x, int64_t k, int64_t m, bool vec) {
	const int lane = threadIdx.x % 32;
	const int64_t j = blockIdx.x * (int64_t)WARPS + threadIdx.x / 32;
	if (j >= m) return; // whole warps
	float s[R] = {};
	w += j * k;
	int64_t from = 0;
	if (vec) {
		const int n = chunk<T>::n;
		const int64_t step = 32 * n;
#pragma unroll 4
		for (int64_t i = lane * n; i < k; i += step) {
			chunk<T> c;
			c.load(w + i);
#pragma unroll
			for (int r = 0; r < R; r++)
#pragma unroll
				for (int q = 0; q < n; q += 4) {
					float4 v = *(const float4 *)(x + r * k + i + q);
					s[r] += c.v[q] * v.x + c.v[q + 1] * v.y + c.v[q + 2] * v.z + c.v[q + 3] * v.w;
				}
		}
		from = k;
	}
	for (int64_t i = from + lane; i < k; i += 32) {
		float a = number(w[i]);
#pragma unroll
		for (int r = 0; r < R; r++) s[r] += a * x[r * k + i];
	}
#pragma unroll
	for (int r = 0; r < R; r++) {
		for (int o = 16; o > 0; o >>= 1) s[r] += __shfl_xor_sync(0xffffffffu, s[r], o);
		if (lane == 0) y[r * m + j] = s[r];
	}
}

template <class T>
static void matvec_rows(cudaStream_t s, const ggml_tensor *dst) {
	const int64_t k = dst->src[0]->ne[0], m = dst->ne[0], n = dst->ne[1];
	const T *w = (const T *)dst->src[1]->data;
	const float *x = f32(dst->src[0]);
	const bool vec = k % (16 / sizeof(T)) == 0 && (uintptr_t)w % 16 == 0 && (uintptr_t)x % 16 == 0;
	for (int64_t i = 0; i < n;) {
		const float *xi = x + i * k;
		float *y = out(dst) + i * m;
		const unsigned g = blocks(m, WARPS);
		if (n - i >= 4) {
			LAUNCH((matvec<T, 4>), g, 32 * WARPS, 0, s, y, w, xi, k, m, vec);
			i += 4;
		} else if (n - i >= 2) {
			LAUNCH((matvec<T, 2>), g, 32 * WARPS, 0, s, y, w, xi, k, m, vec);
			i += 2;
		} else {
			LAUNCH((matvec<T, 1>), g, 32 * WARPS, 0, s, y, w, xi, k, m, vec);
			i++;
		}
	}
}

// src: x (n, k) F32 with n of few rows, w (m, k) of any stored type.
LG_LAUNCHER(lg_cuda_matvec) {
	(void)p;
	switch (dst->src[1]->type) {
	case GGML_TYPE_BF16: return matvec_rows<__nv_bfloat16>(s, dst);
	case GGML_TYPE_F16: return matvec_rows<__half>(s, dst);
	case GGML_TYPE_F32: return matvec_rows<float>(s, dst);
	default: return lg_cuda_matvec_quantized(s, dst);
	}
}

__device__ void assign(float *y, float x) { *y = x; }
__device__ void assign(__half *y, float x) { *y = __float2half(x); }
__device__ void assign(__nv_bfloat16 *y, float x) { *y = __float2bfloat16(x); }

template <class From, class To>
__global__ void convert(To *y, const From *x, int64_t n) {
	// Four to a thread, so that a warp's loads are whole lines.
	const int64_t i = (blockIdx.x * (int64_t)BLOCK + threadIdx.x) * 4;
	for (int j = 0; j < 4; j++)
		if (i + j < n) assign(y + i + j, number(x[i + j]));
}
template <class From, class To>
static void convert_to(cudaStream_t s, const ggml_tensor *dst) {
	LAUNCH((convert<From, To>), blocks(elements(dst), BLOCK * 4), BLOCK, 0, s, (To *)dst->data, (const From *)dst->src[0]->data, elements(dst));
}
template <class From>
static void convert_from(cudaStream_t s, const ggml_tensor *dst) {
	switch (dst->type) {
	case GGML_TYPE_BF16: return convert_to<From, __nv_bfloat16>(s, dst);
	case GGML_TYPE_F16: return convert_to<From, __half>(s, dst);
	default: return convert_to<From, float>(s, dst);
	}
}
// dst = src0, of any stored type, in dst's type, rounded to nearest even; F32, F16 and BF16.
LG_LAUNCHER(lg_cuda_convert) {
	(void)p;
	switch (dst->src[0]->type) {
	case GGML_TYPE_BF16: return convert_from<__nv_bfloat16>(s, dst);
	case GGML_TYPE_F16: return convert_from<__half>(s, dst);
	case GGML_TYPE_F32: return convert_from<float>(s, dst);
	default: return lg_cuda_dequantize(s, dst);
	}
}
