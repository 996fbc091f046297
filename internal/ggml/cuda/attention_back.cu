// Gradients of attention without a cache, after FlashAttention-2
// (https://arxiv.org/abs/2307.08691, algorithm 2), without atomics: the forward
// tiles give each row's statistics, then one kernel makes dk and dv, which are sums
// over queries, and one makes dq, a sum over keys. Scores are computed in each.
//   P = exp2(scale2·QKᵀ − lse), dP = dY·Vᵀ, dS = scale·P∘(dP − delta), dQ = dS·K, dK = dSᵀ·Q, dV = Pᵀ·dY
// Scores with a soft cap are T = tanh(cap·QKᵀ) instead, and dS gets a factor 1 − T²: dP is changed such that
// dP − delta has it.
#include "attention.h"

// --- float32 ---------------------------------------------------------------------

// s (RM, RN per thread) = rows ty·RM… of a times rows tx, tx+16… of b.
template <int RM, int RN, int LD> static __device__ __forceinline__ void products(const float *a, const float *b, int D, float s[RM][RN]) {
	const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
#pragma unroll
	for (int i = 0; i < RM; i++)
#pragma unroll
		for (int j = 0; j < RN; j++) s[i][j] = 0;
	for (int d = 0; d < D; d += 4) {
		float4 y[RN];
#pragma unroll
		for (int j = 0; j < RN; j++) y[j] = *(const float4 *)&b[(tx + 16 * j) * LD + d];
#pragma unroll
		for (int i = 0; i < RM; i++) {
			float4 x = *(const float4 *)&a[(ty * RM + i) * LD + d];
#pragma unroll
			for (int j = 0; j < RN; j++) s[i][j] += x.x * y[j].x + x.y * y[j].y + x.z * y[j].z + x.w * y[j].w;
		}
	}
}

// scores_simt leaves P and dS of a tile of queries (from row i0 of sequence b, n of them) and keys (from j0) in ps and ss (BQ, BK+4); ps may be null.
template <int DT, int BQ, int BK>
static __device__ __forceinline__ void scores_simt(const lg_attn &a, const float *qs, const float *ys, const float *ks, const float *vs, int b, int h, int i0, int n, int j0, float *ps, float *ss) {
	constexpr int LD = DT + 4, LP = BK + 4, RM = BQ / 16, RN = BK / 16;
	const int tx = threadIdx.x % 16, ty = threadIdx.x / 16, base = b * a.len;
	float s[RM][RN], dp[RM][RN];
	products<RM, RN, LD>(qs, ks, a.D, s);
	products<RM, RN, LD>(ys, vs, a.D, dp);
#pragma unroll
	for (int i = 0; i < RM; i++) {
		const int row = ty * RM + i;
		const int64_t at = (int64_t)base + i0 + row;
		int from = 0, to = 0;
		float lse = 0, delta = 0;
		if (row < n) {
			from = lg_from(a, a.spans + 2 * at, base);
			to = lg_to(a, a.spans + 2 * at, base);
			lse = a.lse[at * a.H + h];
			delta = a.delta[at * a.H + h];
		}
		if (a.cap != 0)
#pragma unroll
			for (int j = 0; j < RN; j++) {
				s[i][j] = tanhf(s[i][j] * a.cap);
				dp[i][j] = fmaf(1.0f - s[i][j] * s[i][j], dp[i][j] - delta, delta);
			}
#pragma unroll
		for (int j = 0; j < RN; j++) {
			const int key = base + j0 + tx + 16 * j;
			float p = key >= from && key < to ? lg_exp2(s[i][j] * a.scale2 - lse) : 0.0f;
			if (ps) ps[row * LP + tx + 16 * j] = p;
			ss[row * LP + tx + 16 * j] = a.scale * p * (dp[i][j] - delta);
		}
	}
}

// dk, dv of BK keys of one key/value head.
template <int DT, int BQ, int BK> __global__ void __launch_bounds__(256, 2) lg_attention_dkdv_simt(lg_attn a) {
	constexpr int LD = DT + 4, LP = BK + 4, RK = BK / 16, RC = DT / 64;
	SHARED_DYNAMIC(float, ks);
	float *vs = ks + BK * LD, *qs = vs + BK * LD, *ys = qs + BQ * LD, *ps = ys + BQ * LD, *ss = ps + BQ * LP;
	const int D = a.D, G = a.H / a.Hkv, kv = blockIdx.y, b = blockIdx.z, base = b * a.len, j0 = blockIdx.x * BK, cols = min(BK, a.len - j0);
	const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
	const int64_t e = (((int64_t)base + j0) * a.Hkv + kv) * D, ldk = (int64_t)a.Hkv * D, ldq = (int64_t)a.H * D;
	lg_load_tile<BK, DT, LD, 256>(ks, LG_F32, a.k, e, ldk, cols, D, a.vec);
	lg_load_tile<BK, DT, LD, 256>(vs, LG_F32, a.v, e, ldk, cols, D, a.vec);
	float dk[RK][4 * RC] = {}, dv[RK][4 * RC] = {};
	for (int h = kv * G; h < kv * G + G; h++)
		for (int i0 = 0; i0 < a.len; i0 += BQ) {
			const int n = min(BQ, a.len - i0);
			const int64_t first = (int64_t)base + i0;
			lg_extent x = lg_extent_of(a, a.spans + 2 * first, n, base);
			if (x.hi <= base + j0 || x.lo >= base + j0 + cols) continue;
			__syncthreads();
			lg_load_tile<BQ, DT, LD, 256>(qs, LG_F32, a.q, (first * a.H + h) * D, ldq, n, D, a.vec);
			lg_load_tile<BQ, DT, LD, 256>(ys, LG_F32, a.dy, (first * a.H + h) * D, ldq, n, D, a.vec);
			__syncthreads();
			scores_simt<DT, BQ, BK>(a, qs, ys, ks, vs, b, h, i0, n, j0, ps, ss);
			__syncthreads();
#pragma unroll 2
			for (int i = 0; i < BQ; i++)
#pragma unroll
				for (int c = 0; c < RC; c++) {
					float4 y = *(const float4 *)&ys[i * LD + tx * 4 + 64 * c], q = *(const float4 *)&qs[i * LD + tx * 4 + 64 * c];
#pragma unroll
					for (int j = 0; j < RK; j++) {
						float p = ps[i * LP + ty * RK + j], s = ss[i * LP + ty * RK + j];
						dv[j][4 * c] += p * y.x, dv[j][4 * c + 1] += p * y.y, dv[j][4 * c + 2] += p * y.z, dv[j][4 * c + 3] += p * y.w;
						dk[j][4 * c] += s * q.x, dk[j][4 * c + 1] += s * q.y, dk[j][4 * c + 2] += s * q.z, dk[j][4 * c + 3] += s * q.w;
					}
				}
		}
#pragma unroll
	for (int j = 0; j < RK; j++)
#pragma unroll
		for (int c = 0; c < 4 * RC; c++) {
			int row = ty * RK + j, d = tx * 4 + 64 * (c / 4) + c % 4;
			if (row < cols && d < D) a.dk[e + row * ldk + d] = dk[j][c], a.dv[e + row * ldk + d] = dv[j][c];
		}
}

// dq of BQ queries of one head.
template <int DT, int BQ, int BK> __global__ void __launch_bounds__(256, 2) lg_attention_dq_simt(lg_attn a) {
	constexpr int LD = DT + 4, LP = BK + 4, RM = BQ / 16, RC = DT / 64;
	SHARED_DYNAMIC(float, ks);
	float *vs = ks + BK * LD, *qs = vs + BK * LD, *ys = qs + BQ * LD, *ss = ys + BQ * LD;
	const int D = a.D, h = blockIdx.y, kv = h / (a.H / a.Hkv), b = blockIdx.z, base = b * a.len;
	const int i0 = (gridDim.x - 1 - blockIdx.x) * BQ, n = min(BQ, a.len - i0);
	const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
	const int64_t first = (int64_t)base + i0, ldk = (int64_t)a.Hkv * D, ldq = (int64_t)a.H * D;
	lg_load_tile<BQ, DT, LD, 256>(qs, LG_F32, a.q, (first * a.H + h) * D, ldq, n, D, a.vec);
	lg_load_tile<BQ, DT, LD, 256>(ys, LG_F32, a.dy, (first * a.H + h) * D, ldq, n, D, a.vec);
	lg_extent x = lg_extent_of(a, a.spans + 2 * first, n, base);
	float dq[RM][4 * RC] = {};
	for (int j0 = x.lo; j0 < x.hi; j0 += BK) {
		const int64_t e = ((int64_t)j0 * a.Hkv + kv) * D;
		__syncthreads();
		lg_load_tile<BK, DT, LD, 256>(ks, LG_F32, a.k, e, ldk, min(BK, x.hi - j0), D, a.vec);
		lg_load_tile<BK, DT, LD, 256>(vs, LG_F32, a.v, e, ldk, min(BK, x.hi - j0), D, a.vec);
		__syncthreads();
		scores_simt<DT, BQ, BK>(a, qs, ys, ks, vs, b, h, i0, n, j0 - base, nullptr, ss);
		__syncthreads();
#pragma unroll 2
		for (int j = 0; j < BK; j++)
#pragma unroll
			for (int c = 0; c < RC; c++) {
				float4 k = *(const float4 *)&ks[j * LD + tx * 4 + 64 * c];
#pragma unroll
				for (int i = 0; i < RM; i++) {
					float s = ss[(ty * RM + i) * LP + j];
					dq[i][4 * c] += s * k.x, dq[i][4 * c + 1] += s * k.y, dq[i][4 * c + 2] += s * k.z, dq[i][4 * c + 3] += s * k.w;
				}
			}
	}
#pragma unroll
	for (int i = 0; i < RM; i++)
#pragma unroll
		for (int c = 0; c < 4 * RC; c++) {
			int row = ty * RM + i, d = tx * 4 + 64 * (c / 4) + c % 4;
			if (row < n && d < D) a.y[((first + row) * a.H + h) * D + d] = dq[i][c];
		}
}

template <int DT, int BQ, int BK> static void simt(cudaStream_t s, const lg_attn &a, int sequences) {
	size_t bytes = ((2 * BQ + 2 * BK) * (DT + 4) + 2 * BQ * (BK + 4)) * sizeof(float);
	if (!lg_shared_limit(lg_attention_dkdv_simt<DT, BQ, BK>, bytes) || !lg_shared_limit(lg_attention_dq_simt<DT, BQ, BK>, bytes)) return;
	LAUNCH((lg_attention_dkdv_simt<DT, BQ, BK>), dim3((a.len + BK - 1) / BK, a.Hkv, sequences), 256, bytes, s, a);
	LAUNCH((lg_attention_dq_simt<DT, BQ, BK>), dim3((a.len + BQ - 1) / BQ, a.H, sequences), 256, bytes, s, a);
}

// --- Tensor cores ----------------------------------------------------------------

// dk, dv of 64 keys of one key/value head, 16 to a warp, by BQ queries at a time. Scores are made transposed, keys by
// queries, so that Pᵀ and dSᵀ are in registers what the products with dY and Q need.
template <class T, int DT, int BQ> __global__ void __launch_bounds__(128, 2) lg_attention_dkdv_tensor(lg_attn a) {
	constexpr int LD = DT + 8, BK = 64;
	__shared__ float lse[BQ], delta[BQ];
	__shared__ int from[BQ], to[BQ];
	SHARED_DYNAMIC(T, ks); // (BK, LD)
	T *vs = ks + BK * LD, *qs = vs + BK * LD, *ys = qs + BQ * LD; // (BK, LD), (BQ, LD), (BQ, LD)
	const int D = a.D, G = a.H / a.Hkv, kv = blockIdx.y, b = blockIdx.z, base = b * a.len, j0 = blockIdx.x * BK, cols = min(BK, a.len - j0);
	const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4 * 2, k0 = threadIdx.x / 32 * 16;
	const int64_t e = (((int64_t)base + j0) * a.Hkv + kv) * D, ldk = (int64_t)a.Hkv * D, ldq = (int64_t)a.H * D;
	const float up = lg_gradient_scale(a);
	lg_load_tile<BK, DT, LD, 128>(ks, LG_F32, a.k, e, ldk, cols, D, true);
	lg_load_tile<BK, DT, LD, 128>(vs, LG_F32, a.v, e, ldk, cols, D, true);
	float dk[DT / 8][4] = {}, dv[DT / 8][4] = {};
	for (int h = kv * G; h < kv * G + G; h++)
		for (int i0 = 0; i0 < a.len; i0 += BQ) {
			const int n = min(BQ, a.len - i0);
			const int64_t first = (int64_t)base + i0;
			lg_extent x = lg_extent_of(a, a.spans + 2 * first, n, base);
			if (x.hi <= base + j0 || x.lo >= base + j0 + cols) continue;
			__syncthreads();
			lg_load_tile<BQ, DT, LD, 128>(qs, LG_F32, a.q, (first * a.H + h) * D, ldq, n, D, true);
			lg_load_tile<BQ, DT, LD, 128>(ys, LG_F32, a.dy, (first * a.H + h) * D, ldq, n, D, true, up);
			for (int i = threadIdx.x; i < BQ; i += 128) {
				from[i] = i < n ? lg_from(a, a.spans + 2 * (first + i), base) - base - j0 : 0;
				to[i] = i < n ? lg_to(a, a.spans + 2 * (first + i), base) - base - j0 : 0;
				lse[i] = i < n ? a.lse[(first + i) * a.H + h] : 0;
				delta[i] = i < n ? a.delta[(first + i) * a.H + h] * up : 0;
			}
			__syncthreads();
			float s[BQ / 8][4] = {}, dp[BQ / 8][4] = {};
#pragma unroll
			for (int k = 0; k < DT / 16; k++) {
				uint32_t kf[4], vf[4];
				lg_tile_a<LD>(kf, ks + k0 * LD + 16 * k);
				lg_tile_a<LD>(vf, vs + k0 * LD + 16 * k);
#pragma unroll
				for (int c = 0; c < BQ / 16; c++) {
					uint32_t f[4];
					lg_tile_b<LD>(f, qs + 16 * c * LD + 16 * k);
					lg_mma<T>(s[2 * c], kf, f), lg_mma<T>(s[2 * c + 1], kf, f + 2);
					lg_tile_b<LD>(f, ys + 16 * c * LD + 16 * k);
					lg_mma<T>(dp[2 * c], vf, f), lg_mma<T>(dp[2 * c + 1], vf, f + 2);
				}
			}
			if (a.cap != 0)
#pragma unroll
				for (int c = 0; c < BQ / 8; c++)
#pragma unroll
					for (int i = 0; i < 4; i++) {
						const float d = delta[8 * c + t + i % 2];
						s[c][i] = lg_tanh_approx(s[c][i] * a.cap);
						dp[c][i] = fmaf(1.0f - s[c][i] * s[c][i], dp[c][i] - d, d);
					}
#pragma unroll
			for (int c = 0; c < BQ / 8; c++)
#pragma unroll
				for (int i = 0; i < 4; i++) {
					const int row = 8 * c + t + i % 2, key = k0 + g + 8 * (i / 2);
					float p = key >= from[row] && key < to[row] ? lg_exp2_approx(fmaf(s[c][i], a.scale2, -lse[row])) : 0.0f;
					s[c][i] = p;
					dp[c][i] = a.scale * p * (dp[c][i] - delta[row]);
				}
#pragma unroll
			for (int k = 0; k < BQ / 16; k++) {
				uint32_t pf[4], sf[4];
#pragma unroll
				for (int i = 0; i < 4; i++) {
					pf[i] = lg_pack<T>(s[2 * k + i / 2][2 * (i % 2)], s[2 * k + i / 2][2 * (i % 2) + 1]);
					sf[i] = lg_pack<T>(dp[2 * k + i / 2][2 * (i % 2)], dp[2 * k + i / 2][2 * (i % 2) + 1]);
				}
#pragma unroll
				for (int c = 0; c < DT / 16; c++) {
					uint32_t f[4];
					lg_tile_b_rows<LD>(f, ys + 16 * k * LD + 16 * c);
					lg_mma<T>(dv[2 * c], pf, f), lg_mma<T>(dv[2 * c + 1], pf, f + 2);
					lg_tile_b_rows<LD>(f, qs + 16 * k * LD + 16 * c);
					lg_mma<T>(dk[2 * c], sf, f), lg_mma<T>(dk[2 * c + 1], sf, f + 2);
				}
			}
		}
	const float down = 1.0f / up;
#pragma unroll
	for (int c = 0; c < DT / 8; c++)
#pragma unroll
		for (int half = 0; half < 2; half++) {
			const int row = k0 + g + 8 * half;
			const int64_t at = e + row * ldk + 8 * c + t;
			if (row >= cols || 8 * c >= D) continue;
			*(float2 *)&a.dk[at] = make_float2(dk[c][2 * half] * down, dk[c][2 * half + 1] * down);
			*(float2 *)&a.dv[at] = make_float2(dv[c][2 * half] * down, dv[c][2 * half + 1] * down);
		}
}

// dq of 64 queries of one head, 16 to a warp, by BN keys at a time.
template <class T, int DT, int BN> __global__ void __launch_bounds__(128, 2) lg_attention_dq_tensor(lg_attn a) {
	constexpr int LD = DT + 8, BM = 64;
	SHARED_DYNAMIC(T, ks); // (BN, LD)
	T *vs = ks + BN * LD, *qs = vs + BN * LD, *ys = qs + BM * LD; // (BN, LD), (BM, LD), (BM, LD)
	const int D = a.D, h = blockIdx.y, kv = h / (a.H / a.Hkv), b = blockIdx.z, base = b * a.len;
	const int i0 = (gridDim.x - 1 - blockIdx.x) * BM, n = min(BM, a.len - i0);
	const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4 * 2, w0 = threadIdx.x / 32 * 16;
	const int64_t first = (int64_t)base + i0, ldk = (int64_t)a.Hkv * D, ldq = (int64_t)a.H * D;
	const float up = lg_gradient_scale(a);
	lg_load_tile<BM, DT, LD, 128>(qs, LG_F32, a.q, (first * a.H + h) * D, ldq, n, D, true);
	lg_load_tile<BM, DT, LD, 128>(ys, LG_F32, a.dy, (first * a.H + h) * D, ldq, n, D, true, up);
	lg_extent x = lg_extent_of(a, a.spans + 2 * first, n, base), mine = lg_extent_of(a, a.spans + 2 * (first + w0), max(0, min(16, n - w0)), base);
	int from[2] = {}, to[2] = {};
	float lse[2] = {}, delta[2] = {}, dq[DT / 8][4] = {};
#pragma unroll
	for (int half = 0; half < 2; half++) {
		const int row = w0 + g + 8 * half;
		if (row >= n) continue;
		from[half] = lg_from(a, a.spans + 2 * (first + row), base);
		to[half] = lg_to(a, a.spans + 2 * (first + row), base);
		lse[half] = a.lse[(first + row) * a.H + h];
		delta[half] = a.delta[(first + row) * a.H + h] * up;
	}
	for (int j0 = x.lo; j0 < x.hi; j0 += BN) {
		const int64_t e = ((int64_t)j0 * a.Hkv + kv) * D;
		__syncthreads();
		lg_load_tile<BN, DT, LD, 128>(ks, LG_F32, a.k, e, ldk, min(BN, x.hi - j0), D, true);
		lg_load_tile<BN, DT, LD, 128>(vs, LG_F32, a.v, e, ldk, min(BN, x.hi - j0), D, true);
		__syncthreads();
		if (j0 >= mine.hi || j0 + BN <= mine.lo) continue;
		float s[BN / 8][4] = {}, dp[BN / 8][4] = {};
#pragma unroll
		for (int k = 0; k < DT / 16; k++) {
			uint32_t qf[4], yf[4];
			lg_tile_a<LD>(qf, qs + w0 * LD + 16 * k);
			lg_tile_a<LD>(yf, ys + w0 * LD + 16 * k);
#pragma unroll
			for (int c = 0; c < BN / 16; c++) {
				uint32_t f[4];
				lg_tile_b<LD>(f, ks + 16 * c * LD + 16 * k);
				lg_mma<T>(s[2 * c], qf, f), lg_mma<T>(s[2 * c + 1], qf, f + 2);
				lg_tile_b<LD>(f, vs + 16 * c * LD + 16 * k);
				lg_mma<T>(dp[2 * c], yf, f), lg_mma<T>(dp[2 * c + 1], yf, f + 2);
			}
		}
		if (a.cap != 0)
#pragma unroll
			for (int c = 0; c < BN / 8; c++)
#pragma unroll
				for (int i = 0; i < 4; i++) {
					s[c][i] = lg_tanh_approx(s[c][i] * a.cap);
					dp[c][i] = fmaf(1.0f - s[c][i] * s[c][i], dp[c][i] - delta[i / 2], delta[i / 2]);
				}
#pragma unroll
		for (int c = 0; c < BN / 8; c++)
#pragma unroll
			for (int i = 0; i < 4; i++) {
				const int key = j0 + 8 * c + t + i % 2;
				float p = key >= from[i / 2] && key < to[i / 2] ? lg_exp2_approx(fmaf(s[c][i], a.scale2, -lse[i / 2])) : 0.0f;
				dp[c][i] = a.scale * p * (dp[c][i] - delta[i / 2]);
			}
#pragma unroll
		for (int k = 0; k < BN / 16; k++) {
			uint32_t sf[4];
#pragma unroll
			for (int i = 0; i < 4; i++) sf[i] = lg_pack<T>(dp[2 * k + i / 2][2 * (i % 2)], dp[2 * k + i / 2][2 * (i % 2) + 1]);
#pragma unroll
			for (int c = 0; c < DT / 16; c++) {
				uint32_t f[4];
				lg_tile_b_rows<LD>(f, ks + 16 * k * LD + 16 * c);
				lg_mma<T>(dq[2 * c], sf, f), lg_mma<T>(dq[2 * c + 1], sf, f + 2);
			}
		}
	}
	const float down = 1.0f / up;
#pragma unroll
	for (int c = 0; c < DT / 8; c++)
#pragma unroll
		for (int half = 0; half < 2; half++) {
			const int row = w0 + g + 8 * half;
			if (row < n && 8 * c < D) *(float2 *)&a.y[((first + row) * a.H + h) * D + 8 * c + t] = make_float2(dq[c][2 * half] * down, dq[c][2 * half + 1] * down);
		}
}

template <class T, int DT, int BQ, int BN> static void tensor(cudaStream_t s, const lg_attn &a, int sequences) {
	size_t dkdv = (128 + 2 * BQ) * (DT + 8) * sizeof(T), dq = (128 + 2 * BN) * (DT + 8) * sizeof(T);
	if (!lg_shared_limit(lg_attention_dkdv_tensor<T, DT, BQ>, dkdv) || !lg_shared_limit(lg_attention_dq_tensor<T, DT, BN>, dq)) return;
	LAUNCH((lg_attention_dkdv_tensor<T, DT, BQ>), dim3((a.len + 63) / 64, a.Hkv, sequences), 128, dkdv, s, a);
	LAUNCH((lg_attention_dq_tensor<T, DT, BN>), dim3((a.len + 63) / 64, a.H, sequences), 128, dq, s, a);
}

template <class T> static void tensor_by_size(cudaStream_t s, const lg_attn &a, int sequences) {
	if (a.D <= 64) tensor<T, 64, 64, 64>(s, a, sequences);
	else if (a.D <= 96) tensor<T, 96, 32, 64>(s, a, sequences);
	else tensor<T, 128, 32, 64>(s, a, sequences);
}

// A maximum is the same in any order, so this atomic keeps results the same on every run.
__global__ void lg_attention_biggest(const float *x, int64_t n, unsigned *biggest) {
	unsigned m = 0;
	for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < n; i += (int64_t)gridDim.x * blockDim.x) m = max(m, __float_as_uint(fabsf(x[i])));
	for (int w = 16; w > 0; w /= 2) m = max(m, __shfl_xor_sync(~0u, m, w));
	if (threadIdx.x % 32 == 0) atomicMax(biggest, m);
}

// lg_attention_back_scratch is how many floats src[5] of an attention_back must have: each row's lse and delta, and the largest |dy|.
int64_t lg_attention_back_scratch(int64_t n, int64_t heads) { return 2 * n * heads + 1; }

// Gradients of lg_cuda_attention without a cache: q (N, H, D), k, v (N, Hkv, D), all F32; queries see rows of their own sequence.
// src: q, k, v, spans, dy (N, H·D), scratch of lg_attention_back_scratch floats. dst is flat: dq (N, H, D), dk, dv (N, Hkv, D).
// i[0]: sequences, i[1]: what products run in; D above 128 runs in F32 (the accumulators would not fit into registers).
void lg_cuda_attention_back(cudaStream_t s, const ggml_tensor *dst, const lg_params *p) {
	const ggml_tensor *q = dst->src[0], *k = dst->src[1];
	const int sequences = (int)p->i[0];
	const int64_t N = q->ne[2];
	if (N == 0 || sequences == 0) return;
	lg_attn a = {};
	a.q = (const float *)q->data;
	a.k = k->data;
	a.v = dst->src[2]->data;
	a.spans = (const int32_t *)dst->src[3]->data;
	a.dy = (const float *)dst->src[4]->data;
	a.D = (int)q->ne[0];
	a.H = (int)q->ne[1];
	a.Hkv = (int)k->ne[1];
	a.S = (int)N;
	a.len = (int)N / sequences;
	a.type = LG_F32;
	a.bounded = true;
	a.y = (float *)dst->data;
	a.dk = a.y + N * a.H * a.D;
	a.dv = a.dk + N * a.Hkv * a.D;
	a.lse = (float *)dst->src[5]->data;
	a.delta = a.lse + N * a.H;
	lg_scales(a, p);
	a.vec = a.D % 8 == 0 && ((uintptr_t)a.q | (uintptr_t)a.k | (uintptr_t)a.v | (uintptr_t)a.dy | (uintptr_t)a.y) % 16 == 0;
	int compute = a.D <= 128 && lg_on_tensor_cores(a, (int)p->i[1]) ? (int)p->i[1] : LG_F32;
	lg_attention_tiles(s, a, sequences, compute);
	if (compute == LG_F16) {
		unsigned *biggest = (unsigned *)(a.delta + N * a.H);
		int64_t n = N * a.H * a.D, blocks = (n + 4095) / 4096;
		cudaMemsetAsync(biggest, 0, sizeof *biggest, s);
		LAUNCH(lg_attention_biggest, (unsigned)(blocks < 1024 ? blocks : 1024), 256, 0, s, a.dy, n, biggest);
		a.biggest = biggest;
		tensor_by_size<__half>(s, a, sequences);
	} else if (compute == LG_BF16) tensor_by_size<__nv_bfloat16>(s, a, sequences);
	else if (a.D <= 64) simt<64, 32, 32>(s, a, sequences);
	else if (a.D <= 128) simt<128, 32, 32>(s, a, sequences);
	else simt<256, 16, 16>(s, a, sequences);
}
