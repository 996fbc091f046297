// Products of few rows with quantized weights, which are read as they are, once: what
// decoding does. Activations stay float32.
//
// A row of x is 7 to 16 times as large as a row of weights, so several rows of weights
// share what was read of x: a block computes ROWS of them, its threads share the depth.
#include "quants.cuh"

namespace {

enum { ROWS = 4, THREADS = 128 };

// Four floats; vec says that they are aligned.
__device__ __forceinline__ float4 load4(const float *x, bool vec) { return vec ? *(const float4 *)x : make_float4(x[0], x[1], x[2], x[3]); }

// dots computes ROWS columns of y = x·wᵀ from column j0 on: y (n, m), x (n, k), w (m, k), n ≤ R.
// Rows beyond the last, of x and of w, are computed as the last and not written.
template <class Q, int R>
__device__ void dots(float *y, const typename Q::block *w, const float *x, int64_t k, int64_t m, int n, int64_t j0, bool vec) {
	__shared__ float sums[THREADS / 32][ROWS][R];
	const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
	const typename Q::block *row[ROWS];
#pragma unroll
	for (int j = 0; j < ROWS; j++) row[j] = w + (j0 + j < m ? j0 + j : m - 1) * (k / Q::N);
	float s[ROWS][R] = {};
	const unsigned count = (unsigned)(k / (4 * Q::GROUPS));
	for (unsigned t = threadIdx.x; t < count; t += THREADS) {
		const unsigned b = t / Q::PIECES, i = t % Q::PIECES;
		typename Q::piece_of p[ROWS];
#pragma unroll
		for (int j = 0; j < ROWS; j++) Q::piece(row[j][b], i, p[j]);
		const float *at = x + b * (unsigned)Q::N + Q::start(i);
#pragma unroll
		for (int g = 0; g < Q::GROUPS; g++)
#pragma unroll
			for (int r = 0; r < R; r++) {
				const float4 v = load4(at + (r < n ? r : n - 1) * k + g * Q::STRIDE, vec);
				const float all = Q::LESS ? v.x + v.y + v.z + v.w : 0;
#pragma unroll
				for (int j = 0; j < ROWS; j++) {
					const float *q = p[j].q[g];
					s[j][r] += p[j].scale[g] * (q[0] * v.x + q[1] * v.y + q[2] * v.z + q[3] * v.w);
					if (Q::LESS) s[j][r] -= p[j].less[g] * all;
				}
			}
	}
#pragma unroll
	for (int j = 0; j < ROWS; j++)
#pragma unroll
		for (int r = 0; r < R; r++) {
			for (int o = 16; o > 0; o >>= 1) s[j][r] += __shfl_xor_sync(0xffffffffu, s[j][r], o);
			if (lane == 0) sums[warp][j][r] = s[j][r];
		}
	__syncthreads();
	if (threadIdx.x >= ROWS * R) return;
	const int r = threadIdx.x / ROWS, j = threadIdx.x % ROWS;
	if (r >= n || j0 + j >= m) return;
	float all = 0;
	for (int i = 0; i < THREADS / 32; i++) all += sums[i][j][r];
	y[r * m + j0 + j] = all;
}

template <class Q, int R>
__global__ void __launch_bounds__(THREADS) matvec(float *y, const typename Q::block *w, const float *x, int64_t k, int64_t m, int n, bool vec) {
	dots<Q, R>(y, w, x, k, m, n, blockIdx.x * (int64_t)ROWS, vec);
}

// The same for pairs of tokens and experts: grid rows of weights, pairs by expert. See few_rows of experts.cu.
template <class Q>
__global__ void __launch_bounds__(THREADS) pairs(float *y, const typename Q::block *w, const float *x, const int32_t *first, int e, int64_t k, int64_t m, int per, bool vec) {
	const int at = blockIdx.y;
	int lo = 0, hi = e - 1; // the expert of place at: the last that begins at or before it and is not empty
	while (lo < hi) {
		const int mid = (lo + hi + 1) / 2;
		if (first[mid] <= at) lo = mid; else hi = mid - 1;
	}
	const int64_t p = first[e + 1 + at];
	dots<Q, 1>(y + p * m, w + (int64_t)lo * m * (k / Q::N), x + p / per * k, k, m, 1, blockIdx.x * (int64_t)ROWS, vec);
}

template <class Q>
void matvec_of(cudaStream_t s, const ggml_tensor *dst) {
	const int64_t k = dst->src[0]->ne[0], m = dst->ne[0];
	const typename Q::block *w = (const typename Q::block *)dst->src[1]->data;
	const unsigned g = blocks(m, ROWS);
	for (int64_t i = 0; i < dst->ne[1]; i += 8) {
		const float *x = f32(dst->src[0]) + i * k;
		float *y = out(dst) + i * m;
		const int n = (int)(dst->ne[1] - i < 8 ? dst->ne[1] - i : 8);
		const bool vec = (uintptr_t)x % 16 == 0;
		if (n == 1)
			LAUNCH((matvec<Q, 1>), g, THREADS, 0, s, y, w, x, k, m, n, vec);
		else if (n <= 4)
			LAUNCH((matvec<Q, 4>), g, THREADS, 0, s, y, w, x, k, m, n, vec);
		else
			LAUNCH((matvec<Q, 8>), g, THREADS, 0, s, y, w, x, k, m, n, vec);
	}
}

template <class Q>
void experts_of(cudaStream_t s, const ggml_tensor *dst, int per) {
	const ggml_tensor *x = dst->src[0], *w = dst->src[1];
	const int64_t m = dst->ne[0], n = dst->ne[1];
	LAUNCH((pairs<Q>), dim3(blocks(m, ROWS), (unsigned)n), THREADS, 0, s, out(dst), (const typename Q::block *)w->data, f32(x), i32(dst->src[2]), (int)w->ne[2], x->ne[0], m, per,
		(uintptr_t)x->data % 16 == 0);
}

} // namespace

// As lg_cuda_matvec, for quantized w.
void lg_cuda_matvec_quantized(cudaStream_t s, const ggml_tensor *dst) {
	switch (dst->src[1]->type) {
#define CASE(type) \
	case type: return matvec_of<quant<type>>(s, dst);
		LG_QUANTIZED(CASE)
#undef CASE
	default: break;
	}
}

// As lg_cuda_experts forward, for quantized weights and fewer than 65536 pairs.
void lg_cuda_experts_quantized(cudaStream_t s, const ggml_tensor *dst, int per) {
	switch (dst->src[1]->type) {
#define CASE(type) \
	case type: return experts_of<quant<type>>(s, dst, per);
		LG_QUANTIZED(CASE)
#undef CASE
	default: break;
	}
}
