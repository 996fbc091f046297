// cuBLAS by plain loops over operands widened to float.
#include "emulate.h"
#include <vector>

struct lg_emulated_cublas {
	cudaStream_t stream;
};

cublasStatus_t cublasCreate(cublasHandle_t *h) { return *h = new lg_emulated_cublas(), CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasDestroy(cublasHandle_t h) { return delete h, CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasSetStream(cublasHandle_t h, cudaStream_t s) { return h->stream = s, CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasSetMathMode(cublasHandle_t, cublasMath_t) { return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasSetPointerMode(cublasHandle_t, cublasPointerMode_t mode) { return mode == CUBLAS_POINTER_MODE_HOST ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED; }
cublasStatus_t cublasSetWorkspace(cublasHandle_t, void *, size_t) { return CUBLAS_STATUS_SUCCESS; }
const char *cublasGetStatusString(cublasStatus_t s) {
	switch (s) {
	case CUBLAS_STATUS_SUCCESS: return "success";
	case CUBLAS_STATUS_NOT_INITIALIZED: return "the library was not initialized";
	case CUBLAS_STATUS_INVALID_VALUE: return "an invalid value was passed";
	case CUBLAS_STATUS_NOT_SUPPORTED: return "not supported";
	}
	return "unknown";
}

static bool known(cudaDataType t) { return t == CUDA_R_32F || t == CUDA_R_16F || t == CUDA_R_16BF; }

static float load(const void *p, cudaDataType t, int64_t i) {
	return t == CUDA_R_32F ? ((const float *)p)[i] : t == CUDA_R_16F ? (float)((const __half *)p)[i] : (float)((const __nv_bfloat16 *)p)[i];
}

static void store(void *p, cudaDataType t, int64_t i, float x) {
	if (t == CUDA_R_32F) ((float *)p)[i] = x;
	else if (t == CUDA_R_16F) ((__half *)p)[i] = x;
	else ((__nv_bfloat16 *)p)[i] = x;
}

// rows gives element (i, d) of n vectors of length k at [d*n+i], so that the product's inner loop runs over i.
static std::vector<float> rows(const void *p, cudaDataType t, int64_t from, int ld, bool depth_strides, int n, int k) {
	std::vector<float> out((size_t)n * k);
	for (int64_t d = 0; d < k; d++)
		for (int64_t i = 0; i < n; i++) out[d * n + i] = load(p, t, from + (depth_strides ? d * ld + i : i * ld + d));
	return out;
}

cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t h, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k, const void *alpha,
	const void *a, cudaDataType atype, int lda, long long stride_a, const void *b, cudaDataType btype, int ldb, long long stride_b, const void *beta,
	void *c, cudaDataType ctype, int ldc, long long stride_c, int batch, cublasComputeType_t, cublasGemmAlgo_t) {
	if (!h) return CUBLAS_STATUS_NOT_INITIALIZED;
	if (m < 0 || n < 0 || k < 0 || batch < 0 || lda < (ta == CUBLAS_OP_N ? m : k) || ldb < (tb == CUBLAS_OP_N ? k : n) || ldc < m) return CUBLAS_STATUS_INVALID_VALUE;
	// A and B of one type; C of that type or float (the table of cublasGemmEx in cuBLAS's manual).
	if (!known(atype) || atype != btype || (ctype != atype && ctype != CUDA_R_32F)) return CUBLAS_STATUS_NOT_SUPPORTED;
	float al = *(const float *)alpha, be = *(const float *)beta;
	lg_emulate::submit(h->stream, [=] {
		for (int64_t g = 0; g < batch; g++) {
			std::vector<float> x = rows(a, atype, g * stride_a, lda, ta == CUBLAS_OP_N, m, k), sum(m);
			for (int64_t j = 0; j < n; j++) {
				sum.assign(m, 0);
				for (int64_t d = 0; d < k; d++) {
					float y = load(b, btype, g * stride_b + (tb == CUBLAS_OP_N ? j * ldb + d : d * ldb + j));
					const float *col = &x[d * m];
					for (int64_t i = 0; i < m; i++) sum[i] += col[i] * y;
				}
				for (int64_t i = 0; i < m; i++) {
					int64_t at = g * stride_c + j * ldc + i;
					store(c, ctype, at, al * sum[i] + (be == 0 ? 0 : be * load(c, ctype, at)));
				}
			}
		}
	});
	return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGemmEx(cublasHandle_t h, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k, const void *alpha,
	const void *a, cudaDataType atype, int lda, const void *b, cudaDataType btype, int ldb, const void *beta,
	void *c, cudaDataType ctype, int ldc, cublasComputeType_t compute, cublasGemmAlgo_t algo) {
	return cublasGemmStridedBatchedEx(h, ta, tb, m, n, k, alpha, a, atype, lda, 0, b, btype, ldb, 0, beta, c, ctype, ldc, 0, 1, compute, algo);
}

cublasStatus_t cublasSgemm(cublasHandle_t h, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k, const float *alpha,
	const float *a, int lda, const float *b, int ldb, const float *beta, float *c, int ldc) {
	return cublasGemmEx(h, ta, tb, m, n, k, alpha, a, CUDA_R_32F, lda, b, CUDA_R_32F, ldb, beta, c, CUDA_R_32F, ldc, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
}
