// Tests of the emulator. The argument is a case of the table at the end; it prints "ok" or what went wrong.
#include "../tensorcore.h"
#include <vector>

static int failures;
#define EXPECT(got, want) \
	do { \
		double g_ = (double)(got), w_ = (double)(want); \
		if (!(fabs(g_ - w_) <= 1e-4 * fabs(w_))) printf("line %d: %s: got %g, want %g\n", __LINE__, #got, g_, w_), failures++; \
	} while (0)

template <int SCALE> __global__ void scale(const float *__restrict__ x, float *__restrict__ y, int n) {
	int i = blockIdx.x * blockDim.x + threadIdx.x;
	if (i < n) y[i] = SCALE * x[i];
}

static void elementwise() {
	int n = 100000;
	std::vector<float> x(n), y(n);
	for (int i = 0; i < n; i++) x[i] = (float)i;
	cudaEvent_t a, b;
	cudaEventCreate(&a), cudaEventCreate(&b);
	cudaEventRecord(a);
	LAUNCH((scale<3>), (n + 255) / 256, 256, 0, nullptr, x.data(), y.data(), n);
	cudaEventRecord(b);
	for (int i = 0; i < n; i++) EXPECT(y[i], 3.0 * i);
	float ms;
	cudaEventElapsedTime(&ms, a, b);
	fprintf(stderr, "%d threads in %.2f ms\n", n, ms);
}

// A block's sum by a tree in static and dynamic shared memory; rotated shows that both buffers are needed.
__global__ void tree(const float *x, float *sums, float *rotated) {
	__shared__ float part[256];
	SHARED_DYNAMIC(float, copy);
	int t = threadIdx.x, n = blockDim.x;
	part[t] = copy[t] = x[blockIdx.x * n + t];
	__syncthreads();
	rotated[blockIdx.x * n + t] = copy[(t + 1) % n];
	for (int s = n / 2; s > 0; s /= 2) {
		if (t < s) part[t] += part[t + s];
		__syncthreads();
	}
	if (t == 0) sums[blockIdx.x] = part[0];
}

// The same without the first barrier: which values are read depends on the order.
__global__ void race(const float *x, float *rotated) {
	SHARED_DYNAMIC(float, copy);
	int t = threadIdx.x, n = blockDim.x;
	copy[t] = x[t];
	rotated[t] = copy[(t + 1) % n];
	__syncthreads();
}

static void barriers() {
	std::vector<float> x(3 * 256), r(3 * 256), sums(3);
	for (size_t i = 0; i < x.size(); i++) x[i] = (float)(i % 97);
	LAUNCH(tree, 3, 256, 256 * sizeof(float), nullptr, x.data(), sums.data(), r.data());
	for (int b = 0; b < 3; b++) {
		float want = 0;
		for (int i = 0; i < 256; i++) {
			want += x[b * 256 + i];
			EXPECT(r[b * 256 + i], x[b * 256 + (i + 1) % 256]);
		}
		EXPECT(sums[b], want);
	}
}

static void missing_barrier() {
	std::vector<float> x(64), r(64);
	for (int i = 0; i < 64; i++) x[i] = (float)i;
	LAUNCH(race, 1, 64, 64 * sizeof(float), nullptr, x.data(), r.data());
	for (int i = 0; i < 64; i++) EXPECT(r[i], (i + 1) % 64);
}

__global__ void warps(float *sum, int *got, unsigned *votes) {
	int t = threadIdx.x;
	float s = (float)t;
	for (int m = 16; m > 0; m /= 2) s += __shfl_xor_sync(~0u, s, m);
	sum[t] = s;
	got[4 * t] = __shfl_down_sync(~0u, t, 3, 8);
	got[4 * t + 1] = __shfl_up_sync(~0u, t, 3, 8);
	got[4 * t + 2] = __shfl_sync(~0u, t, 5, 16);
	got[4 * t + 3] = __shfl_xor_sync(~0u, t, 8, 8);
	votes[2 * t] = __ballot_sync(~0u, t % 3 == 0);
	if (t % 32 < 8) votes[2 * t + 1] = __ballot_sync(0xff, t % 2); // part of a warp
	__syncwarp();
}

static void collectives() {
	const int n = 96;
	std::vector<float> sum(n);
	std::vector<int> got(4 * n);
	std::vector<unsigned> votes(2 * n);
	LAUNCH(warps, 1, n, 0, nullptr, sum.data(), got.data(), votes.data());
	for (int t = 0; t < n; t++) {
		int w = t / 32 * 32;
		EXPECT(sum[t], 32 * w + 31 * 16);
		EXPECT(got[4 * t], t % 8 < 5 ? t + 3 : t);
		EXPECT(got[4 * t + 1], t % 8 >= 3 ? t - 3 : t);
		EXPECT(got[4 * t + 2], t / 16 * 16 + 5);
		EXPECT(got[4 * t + 3], t % 16 < 8 ? t : t - 8); // of a higher segment: its own; of a lower one: there
		unsigned want = 0;
		for (int i = 0; i < 32; i++) want |= (unsigned)((w + i) % 3 == 0) << i;
		EXPECT(votes[2 * t], want);
		if (t % 32 < 8) EXPECT(votes[2 * t + 1], 0xaa);
	}
}

// C = A·B and C = A·Bᵀ of 16×16 tiles with k = 32, by wmma.
template <class T> __global__ void tiles(const T *a, const T *b, float *c, float *ct) {
	using namespace nvcuda::wmma;
	fragment<matrix_a, 16, 16, 16, T, row_major> fa;
	fragment<matrix_b, 16, 16, 16, T, row_major> fb;
	fragment<matrix_b, 16, 16, 16, T, col_major> ft;
	fragment<accumulator, 16, 16, 16, float> s, st;
	fill_fragment(s, 0.0f);
	fill_fragment(st, 0.0f);
	for (int k = 0; k < 32; k += 16) {
		load_matrix_sync(fa, a + k, 32);
		load_matrix_sync(fb, b + k * 16, 16);
		mma_sync(s, fa, fb, s);
		load_matrix_sync(ft, b + k, 32); // the same numbers as 16 rows of 32
		mma_sync(st, fa, ft, st);
	}
	for (int i = 0; i < s.num_elements; i++) s.x[i] *= 2.0f;
	store_matrix_sync(c, s, 16, mem_row_major);
	store_matrix_sync(ct, st, 16, mem_col_major);
}

// The same product by mma.m16n8k16 on fragments from ldmatrix: Q·Kᵀ with K (16, 32) as it lies, A·V with V (32, 16) transposed on loading.
template <class T> __global__ void tensor(const T *a, const T *b, float *c, float *ct) {
	int lane = threadIdx.x;
	for (int half = 0; half < 16; half += 8) {
		float s[4] = {}, st[4] = {};
		for (int k = 0; k < 32; k += 16) {
			uint32_t fa[4], fb[4], fv[4];
			lg_ldmatrix(fa, a + (lane % 16) * 32 + k + lane / 16 * 8);
			lg_ldmatrix_trans(fv, b + (k + lane % 16) * 16 + half);
			lg_ldmatrix(fb, b + (half + lane % 8) * 32 + k + lane / 8 % 2 * 8);
			lg_mma<T>(s, fa, fv);
			lg_mma<T>(st, fa, fb);
		}
		for (int i = 0; i < 4; i++) {
			int row = lane / 4 + i / 2 * 8, col = half + lane % 4 * 2 + i % 2;
			c[row * 16 + col] = 2 * s[i];
			ct[row + col * 16] = st[i];
		}
	}
}

template <class T> static void products(void (*kernel)(const T *, const T *, float *, float *)) {
	alignas(32) T a[16 * 32], b[32 * 16];
	alignas(32) float c[256], ct[256];
	for (int i = 0; i < 512; i++) a[i] = (T)(float)(i * 37 % 19 - 9), b[i] = (T)((float)(i * 23 % 17 - 8) / 4);
	LAUNCH(kernel, 1, 32, 0, nullptr, a, b, c, ct);
	for (int i = 0; i < 16; i++)
		for (int j = 0; j < 16; j++) {
			double w = 0, wt = 0;
			for (int k = 0; k < 32; k++) w += (float)a[i * 32 + k] * (float)b[k * 16 + j], wt += (float)a[i * 32 + k] * (float)b[j * 32 + k];
			EXPECT(c[i * 16 + j], 2 * w);
			EXPECT(ct[i + j * 16], wt);
		}
}

static void matrices() {
	products<__half>(tiles<__half>);
	products<__nv_bfloat16>(tiles<__nv_bfloat16>);
	products<__half>(tensor<__half>);
	products<__nv_bfloat16>(tensor<__nv_bfloat16>);
}

static void types() {
	for (unsigned i = 0; i < 65536; i++) { // every 16-bit number survives
		uint16_t h = (uint16_t)i;
		if ((h & 0x7c00) != 0x7c00 && lg_f32_to_f16(lg_f16_to_f32(h)) != h) EXPECT(-1.0, h);
		if ((h & 0x7f80) != 0x7f80 && lg_f32_to_bf16(lg_bf16_to_f32(h)) != h) EXPECT(-2.0, h);
	}
	struct { float x, half, bf16; } table[] = {
		{1.0009765625f * 1.00000012f, 1.0009765625f, 1.0f}, {1.00048828125f, 1.0f, 1.0f}, {1.00146484375f, 1.001953125f, 1.0f}, // ties to even
		{1.00390625f, 1.00390625f, 1.0f}, {1.01171875f, 1.01171875f, 1.015625f}, {65519.0f, 65504.0f, 65536.0f}, {65520.0f, INFINITY, 65536.0f},
		{5.96046448e-8f, 5.96046448e-8f, 5.96046448e-8f}, {2.0e-8f, 0.0f, 2.00234354e-8f}, {-0.3333333f, -0.33325195f, -0.333984375f},
	};
	for (auto &r : table) {
		if ((float)__float2half(r.x) != r.half) EXPECT((float)__float2half(r.x), r.half);
		if ((float)__float2bfloat16(r.x) != r.bf16) EXPECT((float)__float2bfloat16(r.x), r.bf16);
	}
	if (!std::isnan((float)__float2half(NAN)) || !std::isnan((float)__float2bfloat16(NAN))) EXPECT(1, 0);
}

// Row-major Y (n, m) = X (n, k)·Wᵀ, W (m, k), is column-major Yᵀ = op(W)·X.
static void cublas() {
	const int n = 3, m = 4, k = 5, batch = 2;
	float x[batch * n * k], w[batch * m * k], y[batch * n * m], one = 1, half = 0.5f;
	for (int i = 0; i < batch * n * k; i++) x[i] = (float)(i % 7) - 3;
	for (int i = 0; i < batch * m * k; i++) w[i] = (float)(i % 5) - 2;
	for (int i = 0; i < batch * n * m; i++) y[i] = (float)i;
	cublasHandle_t h;
	cublasCreate(&h);
	EXPECT(cublasGemmStridedBatchedEx(h, CUBLAS_OP_T, CUBLAS_OP_N, m, n, k, &one, w, CUDA_R_32F, k, m * k, x, CUDA_R_32F, k, n * k, &half, y, CUDA_R_32F, m, n * m, batch, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT), 0);
	for (int g = 0; g < batch; g++)
		for (int i = 0; i < n; i++)
			for (int j = 0; j < m; j++) {
				double want = 0.5 * (g * n * m + i * m + j);
				for (int d = 0; d < k; d++) want += x[(g * n + i) * k + d] * w[(g * m + j) * k + d];
				EXPECT(y[(g * n + i) * m + j], want);
			}
	// dX = dY·W and dW = dYᵀ·X, 16-bit operands, float result.
	__nv_bfloat16 xb[n * k], wb[m * k], yb[n * m];
	for (int i = 0; i < n * k; i++) xb[i] = x[i];
	for (int i = 0; i < m * k; i++) wb[i] = w[i];
	for (int i = 0; i < n * m; i++) yb[i] = (float)(i % 6);
	float dx[n * k], dw[m * k], zero = 0;
	EXPECT(cublasGemmEx(h, CUBLAS_OP_N, CUBLAS_OP_N, k, n, m, &one, wb, CUDA_R_16BF, k, yb, CUDA_R_16BF, m, &zero, dx, CUDA_R_32F, k, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT), 0);
	EXPECT(cublasGemmEx(h, CUBLAS_OP_N, CUBLAS_OP_T, k, m, n, &one, xb, CUDA_R_16BF, k, yb, CUDA_R_16BF, m, &zero, dw, CUDA_R_32F, k, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT), 0);
	for (int d = 0; d < k; d++) {
		for (int i = 0; i < n; i++) {
			double want = 0;
			for (int j = 0; j < m; j++) want += (float)yb[i * m + j] * (float)wb[j * k + d];
			EXPECT(dx[i * k + d], want);
		}
		for (int j = 0; j < m; j++) {
			double want = 0;
			for (int i = 0; i < n; i++) want += (float)yb[i * m + j] * (float)xb[i * k + d];
			EXPECT(dw[j * k + d], want);
		}
	}
	EXPECT(cublasGemmEx(h, CUBLAS_OP_N, CUBLAS_OP_N, k, n, m, &one, wb, CUDA_R_16BF, k, x, CUDA_R_32F, m, &zero, dx, CUDA_R_32F, k, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT), CUBLAS_STATUS_NOT_SUPPORTED);
	cublasDestroy(h);
}

// A captured graph runs nothing while it is captured, and reads its operands anew at every launch.
static void graphs() {
	cudaStream_t s;
	cudaGraph_t g;
	cudaGraphExec_t e;
	cudaStreamCreate(&s);
	float x[4] = {1, 2, 3, 4}, y[4] = {}, z[4] = {};
	cudaStreamBeginCapture(s, cudaStreamCaptureModeRelaxed);
	LAUNCH((scale<2>), 1, 32, 0, s, x, y, 4);
	cudaMemcpyAsync(z, y, sizeof y, cudaMemcpyDeviceToDevice, s);
	EXPECT(cudaStreamEndCapture(s, &g), 0);
	EXPECT(z[3], 0);
	EXPECT(cudaGraphInstantiate(&e, g), 0);
	cudaGraphDestroy(g);
	for (int i = 1; i < 4; i++) {
		x[3] = (float)i;
		EXPECT(cudaGraphLaunch(e, s), 0);
		EXPECT(z[3], 2 * i);
	}
	cudaGraphExecDestroy(e);
	cudaStreamDestroy(s);
}

static void limits() {
	float x = 1, y = 0;
	LAUNCH((scale<3>), 1, 2048, 0, nullptr, &x, &y, 1);
	EXPECT(cudaGetLastError(), cudaErrorInvalidConfiguration);
	LAUNCH((scale<3>), 1, 32, 64 << 10, nullptr, &x, &y, 1);
	EXPECT(cudaGetLastError(), cudaErrorInvalidValue);
	EXPECT(y, 0);
	EXPECT(cudaFuncSetAttribute(scale<3>, cudaFuncAttributeMaxDynamicSharedMemorySize, 228 << 10), cudaErrorInvalidValue);
	cudaGetLastError();
	EXPECT(cudaFuncSetAttribute(scale<3>, cudaFuncAttributeMaxDynamicSharedMemorySize, 64 << 10), 0);
	LAUNCH((scale<3>), 1, 32, 64 << 10, nullptr, &x, &y, 1);
	EXPECT(cudaGetLastError(), 0);
	EXPECT(y, 3);
}

// Misuse: each must end the process.
__global__ void returns_early() {
	if (threadIdx.x < 40) return;
	__syncthreads();
}
__global__ void two_barriers() {
	if (threadIdx.x < 32) {
		__syncthreads();
	} else {
		__syncthreads();
	}
}
__global__ void lane_returned() {
	if (threadIdx.x == 3) return;
	__shfl_xor_sync(~0u, 1, 1);
}
__global__ void lane_at_barrier() {
	if (threadIdx.x == 3) __syncthreads();
	else __syncwarp();
}
__global__ void unlike_collectives() {
	if (threadIdx.x == 3) __shfl_xor_sync(~0u, 1, 1);
	else __ballot_sync(~0u, 1);
}
__global__ void not_in_mask() { __syncwarp(0xff); }

int main(int argc, char **argv) {
	struct { const char *name; void (*run)(); } table[] = {
		{"elementwise", elementwise}, {"barriers", barriers}, {"collectives", collectives}, {"matrices", matrices},
		{"types", types}, {"cublas", cublas}, {"graphs", graphs}, {"limits", limits}, {"missing barrier", missing_barrier},
		{"returns early", [] { LAUNCH(returns_early, 1, 64, 0, nullptr); }}, {"two barriers", [] { LAUNCH(two_barriers, 1, 64, 0, nullptr); }},
		{"lane returned", [] { LAUNCH(lane_returned, 1, 64, 0, nullptr); }}, {"lane at barrier", [] { LAUNCH(lane_at_barrier, 1, 64, 0, nullptr); }},
		{"unlike collectives", [] { LAUNCH(unlike_collectives, 1, 64, 0, nullptr); }}, {"not in mask", [] { LAUNCH(not_in_mask, 1, 64, 0, nullptr); }},
	};
	for (auto &c : table)
		if (argc == 2 && !strcmp(argv[1], c.name)) {
			c.run();
			if (!failures) puts("ok");
			return failures ? 1 : 0;
		}
	fprintf(stderr, "no such case\n");
	return 2;
}
