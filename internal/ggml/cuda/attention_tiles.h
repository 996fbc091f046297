// Tiles of queries with an online softmax (FlashAttention-2, https://arxiv.org/abs/2307.08691), in float32 on the
// ordinary cores or in F16/BF16 on tensor cores; with PAGED for runs of queries of several sequences, whose keys and values lie in pages.
#pragma once
#include "attention.h"

// Rows [from, to) of a tile are queries of one sequence. Without pages a tile is one run.
struct lg_run {
	int from, to;
	const int32_t *pages;
};
template <bool PAGED> static __device__ __forceinline__ lg_run lg_next_run(const lg_attn &a, int i0, int n, lg_run run) {
	run.from = run.to;
	if (!PAGED) return run;
	while (run.to < n) { // the rest of the tile, but for short runs
		const int32_t own = a.sequences[i0 + run.from];
		while (run.to < n && a.sequences[i0 + run.to] == own) run.to++;
		run.pages = a.pages + (int64_t)own * a.width;
		if (lg_long_run(a, i0 + run.from)) break;
		run.from = run.to;
	}
	return run;
}
template <bool PAGED> static __device__ __forceinline__ lg_run lg_first_run(const lg_attn &a, int i0, int n) {
	if (!PAGED) return {0, n, nullptr};
	return lg_next_run<true>(a, i0, n, {0, 0, nullptr});
}

// lg_load_keys fills a tile with the rows from position j0 on of keys or values p.
template <bool PAGED, int ROWS, int DT, int LD, int THREADS, class T>
static __device__ __forceinline__ void lg_load_keys(T *tile, const lg_attn &a, const void *p, const lg_run &run, int j0, int kv, int cols, bool vec) {
	if (PAGED) lg_load_tile_at<ROWS, DT, LD, THREADS>(tile, a.type, p, lg_paged_at{a, run.pages, j0, kv}, cols, a.D, vec, 1.0f);
	else lg_load_tile<ROWS, DT, LD, THREADS>(tile, a.type, p, ((int64_t)j0 * a.Hkv + kv) * a.D, (int64_t)a.Hkv * a.D, cols, a.D, vec);
}

// --- Tiles in float32 ------------------------------------------------------------

// BM queries by BN keys at a time, on 16×16 threads; each has BM/16 rows, BN/16 columns of scores and DT/16 of the result.
template <int DT, int BM, int BN, bool PAGED> __global__ void __launch_bounds__(256, 2) lg_attention_simt(lg_attn a) {
	constexpr int LD = DT + 4, LP = BN + 4, RM = BM / 16, RN = BN / 16, RC = DT / 64;
	SHARED_DYNAMIC(float, qs); // (BM, LD)
	float *kvs = qs + BM * LD, *ps = kvs + BN * LD; // (BN, LD) keys, then values; (BM, LP) probabilities
	const int D = a.D, h = blockIdx.y, b = blockIdx.z, kv = h / (a.H / a.Hkv), base = b * a.len;
	const int i0 = (gridDim.x - 1 - blockIdx.x) * BM, n = min(BM, a.len - i0); // the last queries see most: they go first
	const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
	const int32_t *spans = a.spans + 2 * ((int64_t)base + i0);
	const int64_t first = ((int64_t)base + i0) * a.H + h;
	lg_load_tile<BM, DT, LD, 256>(qs, LG_F32, a.q, first * D, (int64_t)a.H * D, n, D, a.vec);
	float m[RM], l[RM], acc[RM][4 * RC];
#pragma unroll
	for (int i = 0; i < RM; i++) {
		m[i] = -INFINITY;
		l[i] = 0;
#pragma unroll
		for (int c = 0; c < 4 * RC; c++) acc[i][c] = 0;
	}
	for (lg_run run = lg_first_run<PAGED>(a, i0, n); run.from < run.to; run = lg_next_run<PAGED>(a, i0, n, run)) {
		lg_extent x = lg_extent_of(a, spans + 2 * run.from, run.to - run.from, base);
		int from[RM], to[RM];
#pragma unroll
		for (int i = 0; i < RM; i++) {
			int row = ty * RM + i;
			bool in = row >= run.from && row < run.to;
			from[i] = in ? lg_from(a, spans + 2 * row, base) : 0;
			to[i] = in ? lg_to(a, spans + 2 * row, base) : 0;
		}
		for (int j0 = x.lo; j0 < x.hi; j0 += BN) {
			const int cols = min(BN, x.hi - j0);
			__syncthreads();
			lg_load_keys<PAGED, BN, DT, LD, 256>(kvs, a, a.k, run, j0, kv, cols, a.vec);
			__syncthreads();
			float s[RM][RN] = {};
			for (int d = 0; d < D; d += 4) {
				float4 kk[RN];
#pragma unroll
				for (int j = 0; j < RN; j++) kk[j] = *(const float4 *)&kvs[(tx + 16 * j) * LD + d];
#pragma unroll
				for (int i = 0; i < RM; i++) {
					float4 q = *(const float4 *)&qs[(ty * RM + i) * LD + d];
#pragma unroll
					for (int j = 0; j < RN; j++) s[i][j] += q.x * kk[j].x + q.y * kk[j].y + q.z * kk[j].z + q.w * kk[j].w;
				}
			}
			if (a.cap != 0)
#pragma unroll
				for (int i = 0; i < RM; i++)
#pragma unroll
					for (int j = 0; j < RN; j++) s[i][j] = tanhf(s[i][j] * a.cap);
#pragma unroll
			for (int i = 0; i < RM; i++) {
				float top = m[i];
#pragma unroll
				for (int j = 0; j < RN; j++) {
					int key = j0 + tx + 16 * j;
					s[i][j] = key >= from[i] && key < to[i] ? s[i][j] * a.scale2 : -INFINITY;
					top = fmaxf(top, s[i][j]);
				}
				for (int w = 8; w > 0; w /= 2) top = fmaxf(top, __shfl_xor_sync(~0u, top, w));
				float zero = top == -INFINITY ? 0.0f : top, old = lg_exp2(m[i] - zero);
				m[i] = top;
				l[i] *= old;
#pragma unroll
				for (int c = 0; c < 4 * RC; c++) acc[i][c] *= old;
#pragma unroll
				for (int j = 0; j < RN; j++) {
					float p = lg_exp2(s[i][j] - zero);
					l[i] += p;
					ps[(ty * RM + i) * LP + tx + 16 * j] = p;
				}
			}
			__syncthreads();
			lg_load_keys<PAGED, BN, DT, LD, 256>(kvs, a, a.v, run, j0, kv, cols, a.vec);
			__syncthreads();
#pragma unroll 4
			for (int j = 0; j < BN; j++) {
				float4 v[RC];
#pragma unroll
				for (int c = 0; c < RC; c++) v[c] = *(const float4 *)&kvs[j * LD + tx * 4 + 64 * c];
#pragma unroll
				for (int i = 0; i < RM; i++) {
					float p = ps[(ty * RM + i) * LP + j];
#pragma unroll
					for (int c = 0; c < RC; c++) acc[i][4 * c] += p * v[c].x, acc[i][4 * c + 1] += p * v[c].y, acc[i][4 * c + 2] += p * v[c].z, acc[i][4 * c + 3] += p * v[c].w;
				}
			}
		}
	}
#pragma unroll
	for (int i = 0; i < RM; i++) {
		for (int w = 8; w > 0; w /= 2) l[i] += __shfl_xor_sync(~0u, l[i], w);
		const int row = ty * RM + i;
		const float inv = l[i] > 0 ? 1.0f / l[i] : 0.0f;
		const int64_t at = first + (int64_t)row * a.H;
		float dot = 0;
#pragma unroll
		for (int c = 0; c < 4 * RC; c++) {
			int d = tx * 4 + 64 * (c / 4) + c % 4;
			if (row >= n || d >= D || (PAGED && !lg_long_run(a, i0 + row))) continue;
			if (a.dy) dot += acc[i][c] * inv * a.dy[at * D + d];
			else a.y[at * D + d] = acc[i][c] * inv;
		}
		if (!a.dy) continue;
		for (int w = 8; w > 0; w /= 2) dot += __shfl_xor_sync(~0u, dot, w);
		if (tx == 0 && row < n) a.lse[at] = l[i] > 0 ? m[i] + log2f(l[i]) : INFINITY, a.delta[at] = dot;
	}
}

template <bool PAGED, int DT, int BM, int BN> static void simt(cudaStream_t s, const lg_attn &a, int sequences) {
	size_t bytes = ((BM + BN) * (DT + 4) + BM * (BN + 4)) * sizeof(float);
	if (!lg_shared_limit(lg_attention_simt<DT, BM, BN, PAGED>, bytes)) return;
	LAUNCH((lg_attention_simt<DT, BM, BN, PAGED>), dim3((a.len + BM - 1) / BM, a.H, sequences), 256, bytes, s, a);
}

// --- Tiles on tensor cores -------------------------------------------------------

// A warp has 16·MT queries, a block four times that, by BN keys at a time. Scores stay in registers: an accumulator of S has the layout of an operand of P·V.
template <class T, int DT, int BN, int MT, bool PAGED> __global__ void __launch_bounds__(128, 2) lg_attention_tensor(lg_attn a) {
	constexpr int LD = DT + 8, BM = 64 * MT; // rows shifted by 16 bytes: ldmatrix without bank conflicts
	SHARED_DYNAMIC(T, qs); // (BM, LD)
	T *ks = qs + BM * LD, *vs = ks + BN * LD; // (BN, LD)
	const int D = a.D, h = blockIdx.y, b = blockIdx.z, kv = h / (a.H / a.Hkv), base = b * a.len;
	const int i0 = (gridDim.x - 1 - blockIdx.x) * BM, n = min(BM, a.len - i0); // the last queries see most: they go first
	const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4 * 2, w0 = threadIdx.x / 32 * 16 * MT;
	const int32_t *spans = a.spans + 2 * ((int64_t)base + i0);
	const int64_t first = ((int64_t)base + i0) * a.H + h;
	lg_load_tile<BM, DT, LD, 128>(qs, LG_F32, a.q, first * D, (int64_t)a.H * D, n, D, true);
	float o[MT][DT / 8][4], m[MT][2], l[MT][2];
#pragma unroll
	for (int r = 0; r < MT; r++) {
		m[r][0] = m[r][1] = -INFINITY;
		l[r][0] = l[r][1] = 0;
#pragma unroll
		for (int c = 0; c < DT / 8; c++)
#pragma unroll
			for (int i = 0; i < 4; i++) o[r][c][i] = 0;
	}
	for (lg_run run = lg_first_run<PAGED>(a, i0, n); run.from < run.to; run = lg_next_run<PAGED>(a, i0, n, run)) {
		const int m0 = max(w0, run.from), mn = min(w0 + 16 * MT, run.to) - m0; // this warp's part of the run
		lg_extent x = lg_extent_of(a, spans + 2 * run.from, run.to - run.from, base), mine = lg_extent_of(a, spans + 2 * m0, max(0, mn), base);
		for (int j0 = x.lo; j0 < x.hi; j0 += BN) {
			const int cols = min(BN, x.hi - j0);
			__syncthreads();
			lg_load_keys<PAGED, BN, DT, LD, 128>(ks, a, a.k, run, j0, kv, cols, true);
			lg_load_keys<PAGED, BN, DT, LD, 128>(vs, a, a.v, run, j0, kv, cols, true);
			__syncthreads();
			if (j0 >= mine.hi || j0 + BN <= mine.lo) continue; // no query of this warp sees these keys

			float s[MT][BN / 8][4] = {};
#pragma unroll
			for (int k = 0; k < DT / 16; k++) {
				uint32_t qf[MT][4];
#pragma unroll
				for (int r = 0; r < MT; r++) lg_tile_a<LD>(qf[r], qs + (w0 + 16 * r) * LD + 16 * k);
#pragma unroll
				for (int c = 0; c < BN / 16; c++) {
					uint32_t kf[4];
					lg_tile_b<LD>(kf, ks + 16 * c * LD + 16 * k);
#pragma unroll
					for (int r = 0; r < MT; r++) lg_mma<T>(s[r][2 * c], qf[r], kf), lg_mma<T>(s[r][2 * c + 1], qf[r], kf + 2);
				}
			}
			if (a.cap != 0)
#pragma unroll
				for (int r = 0; r < MT; r++)
#pragma unroll
					for (int c = 0; c < BN / 8; c++)
#pragma unroll
						for (int i = 0; i < 4; i++) s[r][c][i] = lg_tanh_approx(s[r][c][i] * a.cap);
			const bool masked = j0 < mine.all_lo || j0 + BN > mine.all_hi || (PAGED && mn < 16 * MT);
#pragma unroll
			for (int r = 0; r < MT; r++)
#pragma unroll
				for (int half = 0; half < 2; half++) {
					float top = m[r][half];
					if (masked) {
						int row = w0 + 16 * r + 8 * half + g;
						bool in = PAGED ? row >= run.from && row < run.to : row < n;
						int from = in ? lg_from(a, spans + 2 * row, base) : 0, to = in ? lg_to(a, spans + 2 * row, base) : 0;
#pragma unroll
						for (int c = 0; c < BN / 8; c++)
#pragma unroll
							for (int i = 0; i < 2; i++) {
								int key = j0 + 8 * c + t + i;
								if (key < from || key >= to) s[r][c][2 * half + i] = -INFINITY;
							}
					}
					float high = -INFINITY;
#pragma unroll
					for (int c = 0; c < BN / 8; c++) high = fmaxf(high, fmaxf(s[r][c][2 * half], s[r][c][2 * half + 1]));
					high = fmaxf(high, __shfl_xor_sync(~0u, high, 1));
					high = fmaxf(high, __shfl_xor_sync(~0u, high, 2));
					top = fmaxf(top, high * a.scale2);
					float zero = top == -INFINITY ? 0.0f : top, old = lg_exp2_approx(m[r][half] - zero);
					m[r][half] = top;
					l[r][half] *= old;
#pragma unroll
					for (int c = 0; c < DT / 8; c++) o[r][c][2 * half] *= old, o[r][c][2 * half + 1] *= old;
#pragma unroll
					for (int c = 0; c < BN / 8; c++)
#pragma unroll
						for (int i = 0; i < 2; i++) {
							float p = lg_exp2_approx(fmaf(s[r][c][2 * half + i], a.scale2, -zero));
							s[r][c][2 * half + i] = p;
							l[r][half] += p;
						}
				}
#pragma unroll
			for (int k = 0; k < BN / 16; k++) {
				uint32_t pf[MT][4];
#pragma unroll
				for (int r = 0; r < MT; r++)
#pragma unroll
					for (int i = 0; i < 4; i++) pf[r][i] = lg_pack<T>(s[r][2 * k + i / 2][2 * (i % 2)], s[r][2 * k + i / 2][2 * (i % 2) + 1]);
#pragma unroll
				for (int c = 0; c < DT / 16; c++) {
					uint32_t vf[4];
					lg_tile_b_rows<LD>(vf, vs + 16 * k * LD + 16 * c);
#pragma unroll
					for (int r = 0; r < MT; r++) lg_mma<T>(o[r][2 * c], pf[r], vf), lg_mma<T>(o[r][2 * c + 1], pf[r], vf + 2);
				}
			}
		}
	}
#pragma unroll
	for (int r = 0; r < MT; r++)
#pragma unroll
		for (int half = 0; half < 2; half++) {
			const int row = w0 + 16 * r + 8 * half + g;
			const int64_t at = first + (int64_t)row * a.H;
			float sum = l[r][half], dot = 0;
			sum += __shfl_xor_sync(~0u, sum, 1);
			sum += __shfl_xor_sync(~0u, sum, 2);
			const float inv = sum > 0 ? 1.0f / sum : 0.0f;
#pragma unroll
			for (int c = 0; c < DT / 8; c++) {
				if (row >= n || 8 * c >= D || (PAGED && !lg_long_run(a, i0 + row))) continue;
				float2 y = make_float2(o[r][c][2 * half] * inv, o[r][c][2 * half + 1] * inv);
				if (a.dy) {
					float2 d = *(const float2 *)&a.dy[at * D + 8 * c + t];
					dot += y.x * d.x + y.y * d.y;
				} else *(float2 *)&a.y[at * D + 8 * c + t] = y;
			}
			if (!a.dy) continue;
			dot += __shfl_xor_sync(~0u, dot, 1);
			dot += __shfl_xor_sync(~0u, dot, 2);
			if (t == 0 && row < n) a.lse[at] = sum > 0 ? m[r][half] + log2f(sum) : INFINITY, a.delta[at] = dot;
		}
}

template <bool PAGED, class T, int DT, int BN, int MT> static void tensor(cudaStream_t s, const lg_attn &a, int sequences) {
	constexpr int BM = 64 * MT;
	size_t bytes = (BM + 2 * BN) * (DT + 8) * sizeof(T);
	if (!lg_shared_limit(lg_attention_tensor<T, DT, BN, MT, PAGED>, bytes)) return;
	LAUNCH((lg_attention_tensor<T, DT, BN, MT, PAGED>), dim3((a.len + BM - 1) / BM, a.H, sequences), 128, bytes, s, a);
}

template <bool PAGED, class T> static void tensor_by_size(cudaStream_t s, const lg_attn &a, int sequences) {
	// As many queries to a warp, then keys to a step, as registers hold without spilling (ptxas -v for sm_90).
	if (a.D <= 64) tensor<PAGED, T, 64, 64, 2>(s, a, sequences);
	else if (a.D <= 96) tensor<PAGED, T, 96, 32, 2>(s, a, sequences);
	else if (a.D <= 128) tensor<PAGED, T, 128, 32, 2>(s, a, sequences);
	else tensor<PAGED, T, 256, 32, 1>(s, a, sequences);
}

// lg_tiles launches the forward pass over tiles of queries, on tensor cores when compute says so and the operands allow it.
template <bool PAGED> static void lg_tiles(cudaStream_t s, const lg_attn &a, int sequences, int compute) {
	if (lg_on_tensor_cores(a, compute)) {
		if (compute == LG_F16) tensor_by_size<PAGED, __half>(s, a, sequences);
		else tensor_by_size<PAGED, __nv_bfloat16>(s, a, sequences);
	} else if (a.D <= 64) simt<PAGED, 64, 64, 32>(s, a, sequences);
	else if (a.D <= 128) simt<PAGED, 128, 64, 32>(s, a, sequences);
	else simt<PAGED, 256, 32, 16>(s, a, sequences);
}
