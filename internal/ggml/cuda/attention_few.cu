// Attention of few queries of each sequence, as in decoding: the time is that of
// reading keys and values once, so they are split over as many blocks as fill the
// card (https://pytorch.org/blog/flash-decoding) and the parts are joined by a second
// kernel. Which rows a block gets follows from the spans, which lie in device memory:
// a captured graph serves every length.
#include "attention.h"

static const int kFill = 528; // blocks that fill a large card: 4 on each of 132 multiprocessors
static const int kMaxSplits = 64;

// A block has R rows (a row is a query and one of the heads that share a key/value head) and a part of the keys. `lanes` lanes
// hold a key's row, 8 elements each; each such group goes through its own keys with its own online softmax, and the groups are joined at the end.
template <class T, int R, bool VEC, bool PAGED> __global__ void __launch_bounds__(128, R == 8 ? 2 : R == 4 ? 3 : 4) lg_attention_few(lg_attn a, int lanes) {
	constexpr int U = sizeof(typename lg_kv<T>::raw) <= 16 && R <= 4 ? 4 : 2; // keys of a group in flight
	typedef typename lg_kv<T>::raw raw;
	SHARED_DYNAMIC(float, joined); // (4 warps, R, 2+D)
	const int D = a.D, G = a.H / a.Hkv, rows = PAGED ? G : a.len * G, tiles = (rows + R - 1) / R;
	const int split = blockIdx.x, kv = blockIdx.y / tiles, tile = blockIdx.y % tiles, b = blockIdx.z;
	const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, col = lane % lanes * 8;
	const int slots = 128 / lanes, slot = threadIdx.x / lanes;
	const bool mine = col < D;
	if (PAGED && lg_long_run(a, b)) return;
	const int32_t *pages = PAGED ? a.pages + (int64_t)a.sequences[b] * a.width : nullptr;

	const float scale = a.cap != 0 ? a.cap : a.scale2;
	int from[R], to[R], lo = 0x7fffffff, hi = 0;
	float q[R][8];
#pragma unroll
	for (int r = 0; r < R; r++) {
		int row = tile * R + r, i = row / G, h = kv * G + row % G;
		from[r] = to[r] = 0;
#pragma unroll
		for (int d = 0; d < 8; d++) q[r][d] = 0;
		if (row >= rows) continue;
		int64_t n = PAGED ? b : (int64_t)b * a.len + i;
		from[r] = lg_from(a, a.spans + 2 * n, 0);
		to[r] = lg_to(a, a.spans + 2 * n, 0);
		if (from[r] < to[r]) lo = min(lo, from[r]), hi = max(hi, to[r]);
#pragma unroll
		for (int d = 0; d < 8; d++)
			if (col + d < D) q[r][d] = a.q[(n * a.H + h) * D + col + d] * scale;
	}
	// The rows seen are divided evenly, in parts of a multiple of 32: which block gets what depends on the spans alone.
	int chunk = hi > lo ? ((hi - lo + a.splits - 1) / a.splits + 31) / 32 * 32 : 0;
	int c0 = hi > lo ? lo + split * chunk : 0, c1 = min(hi, c0 + chunk);

	float m[R], l[R], acc[R][8];
#pragma unroll
	for (int r = 0; r < R; r++) {
		m[r] = -INFINITY;
		l[r] = 0;
#pragma unroll
		for (int d = 0; d < 8; d++) acc[r][d] = 0;
	}
	for (int j = c0; j < c1; j += U * slots) {
		raw kr[U], vr[U];
		float s[U][R];
#pragma unroll
		for (int u = 0; u < U; u++) {
			int key = j + u * slots + slot;
			kr[u] = lg_kv<T>::zero();
			vr[u] = lg_kv<T>::zero();
			if (VEC && key < c1 && mine) {
				int64_t e = ((PAGED ? lg_row(a, pages, key) : (int64_t)key) * a.Hkv + kv) * D + col;
				kr[u] = lg_kv<T>::load(a.k, e);
				vr[u] = lg_kv<T>::load(a.v, e);
			}
		}
#pragma unroll
		for (int u = 0; u < U; u++) {
			int key = j + u * slots + slot;
			float x[8];
			lg_kv<T>::widen(kr[u], x);
			if (!VEC) {
				int64_t e = ((PAGED ? lg_row(a, pages, min(key, c1 - 1)) : (int64_t)key) * a.Hkv + kv) * D + col;
#pragma unroll
				for (int d = 0; d < 8; d++) x[d] = key < c1 && col + d < D ? lg_kv<T>::at(a.k, e + d) : 0;
			}
#pragma unroll
			for (int r = 0; r < R; r++) {
				s[u][r] = 0;
#pragma unroll
				for (int d = 0; d < 8; d++) s[u][r] += q[r][d] * x[d];
			}
		}
		for (int w = lanes / 2; w > 0; w /= 2)
#pragma unroll
			for (int u = 0; u < U; u++)
#pragma unroll
				for (int r = 0; r < R; r++) s[u][r] += __shfl_xor_sync(~0u, s[u][r], w);
		if (a.cap != 0)
#pragma unroll
			for (int u = 0; u < U; u++)
#pragma unroll
				for (int r = 0; r < R; r++) s[u][r] = tanhf(s[u][r]) * a.scale2;
#pragma unroll
		for (int r = 0; r < R; r++) {
			float top = m[r];
#pragma unroll
			for (int u = 0; u < U; u++) {
				int key = j + u * slots + slot;
				if (key >= c1 || key < from[r] || key >= to[r]) s[u][r] = -INFINITY;
				top = fmaxf(top, s[u][r]);
			}
			float zero = top == -INFINITY ? 0.0f : top, old = lg_exp2(m[r] - zero);
			m[r] = top;
			l[r] *= old;
#pragma unroll
			for (int d = 0; d < 8; d++) acc[r][d] *= old;
#pragma unroll
			for (int u = 0; u < U; u++) {
				s[u][r] = lg_exp2(s[u][r] - zero);
				l[r] += s[u][r];
			}
		}
#pragma unroll
		for (int u = 0; u < U; u++) {
			int key = j + u * slots + slot;
			float x[8];
			lg_kv<T>::widen(vr[u], x);
			if (!VEC) {
				int64_t e = ((PAGED ? lg_row(a, pages, min(key, c1 - 1)) : (int64_t)key) * a.Hkv + kv) * D + col;
#pragma unroll
				for (int d = 0; d < 8; d++) x[d] = key < c1 && col + d < D ? lg_kv<T>::at(a.v, e + d) : 0;
			}
#pragma unroll
			for (int r = 0; r < R; r++)
#pragma unroll
				for (int d = 0; d < 8; d++) acc[r][d] += s[u][r] * x[d];
		}
	}
	for (int w = lanes; w < 32; w *= 2)
#pragma unroll
		for (int r = 0; r < R; r++) {
			float m2 = __shfl_xor_sync(~0u, m[r], w), top = fmaxf(m[r], m2), zero = top == -INFINITY ? 0.0f : top;
			float f = lg_exp2(m[r] - zero), f2 = lg_exp2(m2 - zero);
			m[r] = top;
			l[r] = l[r] * f + __shfl_xor_sync(~0u, l[r], w) * f2;
#pragma unroll
			for (int d = 0; d < 8; d++) acc[r][d] = acc[r][d] * f + __shfl_xor_sync(~0u, acc[r][d], w) * f2;
		}
	if (lane < lanes)
#pragma unroll
		for (int r = 0; r < R; r++) {
			float *x = joined + (warp * R + r) * (D + 2);
			if (lane == 0) x[0] = m[r], x[1] = l[r];
#pragma unroll
			for (int d = 0; d < 8; d++)
				if (col + d < D) x[2 + col + d] = acc[r][d];
		}
	__syncthreads();
	for (int i = threadIdx.x; i < R * D; i += 128) {
		int r = i / D, d = i % D, row = tile * R + r;
		if (row >= rows) break;
		float top = -INFINITY, sum = 0, y = 0;
		for (int w = 0; w < 4; w++) top = fmaxf(top, joined[(w * R + r) * (D + 2)]);
		for (int w = 0; w < 4 && top != -INFINITY; w++) {
			const float *x = joined + (w * R + r) * (D + 2);
			float f = lg_exp2(x[0] - top);
			sum += f * x[1];
			y += f * x[2 + d];
		}
		int64_t at = (PAGED ? (int64_t)b : (int64_t)b * a.len + row / G) * a.H + kv * G + row % G;
		if (a.splits == 1) {
			a.y[at * D + d] = sum > 0 ? y / sum : 0;
			continue;
		}
		float *p = a.part + (at * a.splits + split) * (D + 2);
		if (d == 0) p[0] = top, p[1] = sum;
		if (top != -INFINITY) p[2 + d] = y;
	}
}

// A block joins the parts of one row, in their order.
template <bool PAGED> __global__ void lg_attention_join(lg_attn a) {
	if (PAGED && lg_long_run(a, blockIdx.x / a.H)) return;
	const float *p = a.part + (int64_t)blockIdx.x * a.splits * (a.D + 2);
	float top = -INFINITY;
	for (int s = 0; s < a.splits; s++) top = fmaxf(top, p[s * (a.D + 2)]);
	for (int d = threadIdx.x; d < a.D; d += blockDim.x) {
		float sum = 0, y = 0;
		for (int s = 0; s < a.splits; s++) {
			const float *x = p + s * (a.D + 2);
			if (x[0] == -INFINITY) continue; // no key of its part was seen: the rest was not written
			float f = lg_exp2(x[0] - top);
			sum += f * x[1];
			y += f * x[2 + d];
		}
		a.y[(int64_t)blockIdx.x * a.D + d] = sum > 0 ? y / sum : 0;
	}
}

static int few_rows(int64_t rows) { return rows <= 1 ? 1 : rows <= 2 ? 2 : rows <= 4 ? 4 : 8; }

static int64_t few_splits(int64_t n, int64_t sequences, int64_t heads, int64_t kv_heads, int64_t rows) {
	if (sequences <= 0 || n / sequences > LG_FEW) return 1;
	int64_t r = n / sequences * (heads / kv_heads), blocks = sequences * kv_heads * ((r + few_rows(r) - 1) / few_rows(r));
	int64_t splits = (kFill + blocks - 1) / blocks, most = (rows + 127) / 128;
	splits = splits < most ? splits : most;
	return splits < 1 ? 1 : splits < kMaxSplits ? splits : kMaxSplits;
}

// lg_attention_scratch is how many floats src[4] of an attention must have; 0: none is needed, src[4] may be null.
// n queries in all, of so many sequences; rows is S. Without scratch the keys are not split: the same numbers but for rounding, slower.
int64_t lg_attention_scratch(int64_t n, int64_t sequences, int64_t heads, int64_t kv_heads, int64_t head_dim, int64_t rows) {
	int64_t splits = few_splits(n, sequences, heads, kv_heads, rows);
	return splits == 1 ? 0 : n * heads * splits * (head_dim + 2);
}

// few_of launches for all sequences; with PAGED each query is one.
template <bool PAGED, class T> static void few_of(cudaStream_t s, const lg_attn &a, int sequences) {
	int len = PAGED ? 1 : a.len, rows = len * (a.H / a.Hkv), r = a.vec ? few_rows(rows) : 2, lanes = 1;
	while (lanes * 8 < a.D) lanes *= 2;
	dim3 grid(a.splits, a.Hkv * ((rows + r - 1) / r), sequences);
	size_t bytes = 4 * r * (a.D + 2) * sizeof(float);
	if (!a.vec) LAUNCH((lg_attention_few<T, 2, false, PAGED>), grid, 128, bytes, s, a, lanes);
	else if (r == 1) LAUNCH((lg_attention_few<T, 1, true, PAGED>), grid, 128, bytes, s, a, lanes);
	else if (r == 2) LAUNCH((lg_attention_few<T, 2, true, PAGED>), grid, 128, bytes, s, a, lanes);
	else if (r == 4) LAUNCH((lg_attention_few<T, 4, true, PAGED>), grid, 128, bytes, s, a, lanes);
	else LAUNCH((lg_attention_few<T, 8, true, PAGED>), grid, 128, bytes, s, a, lanes);
	if (a.splits > 1) LAUNCH((lg_attention_join<PAGED>), sequences * len * a.H, a.D <= 64 ? 64 : 128, 0, s, a);
}

template <bool PAGED> static void few_queries(cudaStream_t s, lg_attn a, int sequences, int queries, const ggml_tensor *scratch) {
	a.splits = scratch ? (int)few_splits(queries, sequences, a.H, a.Hkv, a.S) : 1;
	a.part = scratch ? (float *)scratch->data : nullptr;
	if (a.type == LG_F32) few_of<PAGED, float>(s, a, sequences);
	else if (a.type == LG_F16) few_of<PAGED, __half>(s, a, sequences);
	else if (a.type == LG_BF16) few_of<PAGED, __nv_bfloat16>(s, a, sequences);
	else few_of<PAGED, lg_q8_0>(s, a, sequences);
}

void lg_attention_few_queries(cudaStream_t s, lg_attn a, int sequences, const ggml_tensor *scratch) { few_queries<false>(s, a, sequences, a.len * sequences, scratch); }
void lg_attention_paged_few(cudaStream_t s, lg_attn a, const ggml_tensor *scratch) { few_queries<true>(s, a, a.len, a.len, scratch); }
