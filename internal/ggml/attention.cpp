// Exact causal attention, forward and backward, one head at a time on packed
// tiles; no score matrix is ever held but that of one block of queries.
// (The order of work is FlashAttention's, https://arxiv.org/abs/2205.14135; rows
// of scores are whole here, so no running maximum is needed.)
#include "cggml.h"
#include "gemm.h"
#include "kernels.h"

typedef ggml_tensor T;

// Scores held at once, in floats: 64 queries of 1,024 positions are a quarter MiB.
static const int64_t kScores = 65536;

static inline int64_t query_block(int64_t keys) {
	int64_t q = kScores / (keys > 0 ? keys : 1) / MR * MR;
	return q < MR ? MR : q > 8 * MR ? 8 * MR : q;
}

// softmax_rows turns scores s (n, ld) into probabilities of scale·s. Row i sees columns [span[2i]−lo, span[2i+1]−lo); the others become 0.
static void softmax_rows(float *s, int64_t n, int64_t ld, int64_t cols, const int32_t *span, int64_t lo, float scale) {
	for (int64_t i = 0; i < n; i++) {
		float *x = s + i * ld;
		int64_t from = span[2 * i] - lo, to = span[2 * i + 1] - lo;
		from = from < 0 ? 0 : from;
		to = to > cols ? cols : to;
		float hi = -INFINITY;
		int64_t j = from;
		if (to - from >= VL) {
			vf m = vload(x + j);
			for (; j + VL <= to; j += VL) m = vmax(m, vload(x + j));
			hi = vmaxall(m);
		}
		for (; j < to; j++) hi = x[j] > hi ? x[j] : hi;
		hi *= scale;
		vf sum = {};
		for (j = from; j + VL <= to; j += VL) {
			vf e = vexp(vload(x + j) * scale - hi);
			sum += e;
			vstore(x + j, e);
		}
		float t = vsum(sum);
		for (; j < to; j++) {
			x[j] = sexp(x[j] * scale - hi);
			t += x[j];
		}
		float inv = t > 0 ? 1.0f / t : 0;
		for (j = 0; j < from; j++) x[j] = 0;
		for (j = from; j < to; j++) x[j] *= inv;
		for (j = to > 0 ? to : 0; j < cols; j++) x[j] = 0;
	}
}

// cap_scores turns scores s (n, ld) into tanh(scale/cap·s) where a row sees them, so that softmax_rows with scale cap is that of
// cap·tanh(scale·s/cap). slope, where not null, gets the derivative of that, and 0 where nothing is seen.
static void cap_scores(float *s, int64_t n, int64_t ld, int64_t cols, const int32_t *span, int64_t lo, float scale, float cap, float *slope) {
	const float k = scale / cap;
	for (int64_t i = 0; i < n; i++) {
		float *x = s + i * ld, *y = slope ? slope + i * ld : nullptr;
		int64_t from = span[2 * i] - lo, to = span[2 * i + 1] - lo;
		from = from < 0 ? 0 : from;
		to = to > cols ? cols : to;
		if (y) memset(y, 0, cols * 4);
		for (int64_t j = from; j < to; j += VL) {
			float part[VL] = {};
			const int64_t m = to - j < VL ? to - j : VL;
			memcpy(part, x + j, m * 4);
			vf t = vtanh(vload(part) * k);
			vstore(part, t);
			memcpy(x + j, part, m * 4);
			if (!y) continue;
			vstore(part, scale * (1.0f - t * t));
			memcpy(y + j, part, m * 4);
		}
	}
}

static void bounds(const int32_t *span, int64_t n, int64_t *lo, int64_t *hi) {
	*lo = span[0];
	*hi = span[1];
	for (int64_t i = 1; i < n; i++) {
		if (span[2 * i] < *lo) *lo = span[2 * i];
		if (span[2 * i + 1] > *hi) *hi = span[2 * i + 1];
	}
}

// one_query is attention of one query over rows [lo,hi) of keys and values: dot products and sums straight from the cache.
static void one_query(const float *q, const T *k, const T *v, int64_t head, int64_t d, int64_t lo, int64_t hi, float scale, float cap, float *y) {
	int64_t ld = k->ne[0] * k->ne[1];
	float *s = scratch(0, hi - lo + VL), *tmp = scratch(1, d + ROW_EXTRA);
	for (int64_t j = lo; j < hi; j++) {
		const float *x = row_f32(k->type, k->data, j * ld + head * d, (int)d, tmp);
		vf a = {};
		int64_t i = 0;
		for (; i + VL <= d; i += VL) a += vload(x + i) * vload(q + i);
		float t = vsum(a);
		for (; i < d; i++) t += x[i] * q[i];
		s[j - lo] = t;
	}
	int32_t span[2] = {0, (int32_t)(hi - lo)};
	if (cap > 0) cap_scores(s, 1, hi - lo, hi - lo, span, 0, scale, cap, nullptr);
	softmax_rows(s, 1, hi - lo, hi - lo, span, 0, cap > 0 ? cap : scale);
	for (int64_t i = 0; i < d; i++) y[i] = 0;
	for (int64_t j = lo; j < hi; j++) {
		const float *x = row_f32(v->type, v->data, j * ld + head * d, (int)d, tmp), p = s[j - lo];
		for (int64_t i = 0; i < d; i++) y[i] += p * x[i];
	}
}

// y (N, H·D) = softmax(cap(f[0]·q·kᵀ))·v, cap(s) = f[1]·tanh(s/f[1]), or s where f[1] is 0. src: q (N, H, D), k and v (S, Hkv, D) in F32, F16, BF16, or in Q8_0 where D is a multiple of 32,
// spans (N, 2) I32: the rows [from, to) of k that a query sees.
// i[0]: sequences that the N queries are, of N/i[0] each; they bound the blocks.
void attention(T *dst, int ith, int nth, void *params) {
	const lg_params *p = (const lg_params *)params;
	const T *q = dst->src[0], *k = dst->src[1], *v = dst->src[2];
	const int32_t *spans = (const int32_t *)dst->src[3]->data;
	const int64_t d = q->ne[0], H = q->ne[1], N = q->ne[2], Hkv = k->ne[1], B = p->i[0], len = N / B;
	const int64_t ldq = H * d, ldk = Hkv * d;
	const float cap = p->f[1];
	for (int64_t task = ith; task < B * H; task += nth) {
		int64_t b = task / H, h = task % H, kv = h / (H / Hkv);
		const int32_t *span = spans + 2 * b * len;
		const float *qh = (const float *)q->data + b * len * ldq + h * d;
		float *yh = (float *)dst->data + b * len * ldq + h * d;
		if (len == 1) {
			one_query(qh, k, v, kv, d, span[0], span[1], p->f[0], cap, yh);
			continue;
		}
		int64_t lo, hi;
		bounds(span, len, &lo, &hi);
		int64_t S = hi - lo, panels = (S + NR - 1) / NR * NR, dp = (d + NR - 1) / NR * NR, qb = query_block(S);
		float *kp = scratch(0, panels * d), *vp = scratch(1, S * dp), *s = scratch(2, qb * panels);
		const ptrdiff_t first = type_bytes(k->type, lo * ldk + kv * d);
		pack_b(k->type, (const char *)k->data + first, ldk, false, 0, (int)S, 0, (int)d, kp);
		pack_b(v->type, (const char *)v->data + first, ldk, true, 0, (int)d, 0, (int)S, vp);
		for (int64_t i = 0; i < len; i += qb) {
			int64_t n = len - i < qb ? len - i : qb, from, to;
			bounds(span + 2 * i, n, &from, &to);
			// Panels are NR keys wide: start at the one that holds the first key seen.
			int64_t f0 = (from - lo) / NR * NR, cols = to - lo - f0;
			block((int)n, (int)cols, (int)d, qh + i * ldq, ldq, 1, kp + f0 * d, s, panels, false);
			if (cap > 0) cap_scores(s, n, panels, cols, span + 2 * i, lo + f0, p->f[0], cap, nullptr);
			softmax_rows(s, n, panels, cols, span + 2 * i, lo + f0, cap > 0 ? cap : p->f[0]);
			for (int64_t j = 0; j < d; j += NR) // panel j of V begins at depth f0
				for (int64_t r = 0; r < n; r += MR)
					tile_rows((int)(n - r < MR ? n - r : MR), (int)cols, s + r * panels, panels, 1, vp + j * S + f0 * NR, yh + (i + r) * ldq + j, ldq, (int)(d - j < NR ? d - j : NR), false);
		}
	}
}

// Gradients of attention without a cache: q (N, H, D), k, v (N, Hkv, D), N = i[0] sequences of equal length.
// src: q, k, v, spans, dy (N, H·D). dst is flat: dq (N, H, D), dk (N, Hkv, D), dv (N, Hkv, D).
//   P = softmax(cap(f·QKᵀ)), dP = dY·Vᵀ, dS = f·cap'∘P∘(dP − rowsum(P∘dP)), dQ = dS·K, dK = dSᵀ·Q, dV = Pᵀ·dY
// A task is a sequence and a key/value head, whose query heads add to the same dk and dv.
void attention_back(T *dst, int ith, int nth, void *params) {
	const lg_params *p = (const lg_params *)params;
	const T *q = dst->src[0], *k = dst->src[1], *v = dst->src[2];
	const int32_t *spans = (const int32_t *)dst->src[3]->data;
	const float *dy = (const float *)dst->src[4]->data;
	const int64_t d = q->ne[0], H = q->ne[1], N = q->ne[2], Hkv = k->ne[1], B = p->i[0], len = N / B, group = H / Hkv;
	const int64_t ldq = H * d, ldk = Hkv * d;
	float *dq = (float *)dst->data, *dk = dq + N * ldq, *dv = dk + N * ldk;
	const int64_t S = len, panels = (S + NR - 1) / NR * NR, dp = (d + NR - 1) / NR * NR, qb = query_block(S);
	float *packs = scratch(0, 2 * panels * d + S * dp + 2 * qb * dp), *scores = scratch(1, 3 * qb * panels);
	float *kt = packs, *vt = kt + panels * d, *kn = vt + panels * d, *qp = kn + S * dp, *yp = qp + qb * dp;
	const float cap = p->f[1];
	float *P = scores, *dP = P + qb * panels, *slopes = cap > 0 ? dP + qb * panels : nullptr;
	for (int64_t task = ith; task < B * Hkv; task += nth) {
		int64_t b = task / Hkv, kv = task % Hkv, base = b * len;
		const int32_t *span = spans + 2 * base;
		const float *kh = (const float *)k->data + base * ldk + kv * d, *vh = (const float *)v->data + base * ldk + kv * d;
		float *dkh = dk + base * ldk + kv * d, *dvh = dv + base * ldk + kv * d;
		pack_b(LG_F32, kh, ldk, false, 0, (int)S, 0, (int)d, kt);
		pack_b(LG_F32, vh, ldk, false, 0, (int)S, 0, (int)d, vt);
		pack_b(LG_F32, kh, ldk, true, 0, (int)d, 0, (int)S, kn);
		for (int64_t j = 0; j < S; j++) {
			memset(dkh + j * ldk, 0, d * 4);
			memset(dvh + j * ldk, 0, d * 4);
		}
		for (int64_t g = 0; g < group; g++) {
			int64_t h = kv * group + g;
			const float *qh = (const float *)q->data + base * ldq + h * d, *yh = dy + base * ldq + h * d;
			float *dqh = dq + base * ldq + h * d;
			for (int64_t i = 0; i < len; i += qb) {
				int64_t n = len - i < qb ? len - i : qb, from, to;
				bounds(span + 2 * i, n, &from, &to);
				from -= base;
				to -= base;
				int64_t f0 = from / NR * NR, cols = to - f0;
				block((int)n, (int)cols, (int)d, qh + i * ldq, ldq, 1, kt + f0 * d, P, panels, false);
				if (cap > 0) cap_scores(P, n, panels, cols, span + 2 * i, base + f0, p->f[0], cap, slopes);
				softmax_rows(P, n, panels, cols, span + 2 * i, base + f0, cap > 0 ? cap : p->f[0]);
				block((int)n, (int)cols, (int)d, yh + i * ldq, ldq, 1, vt + f0 * d, dP, panels, false);
				// dV += Pᵀ·dY
				pack_b(LG_F32, yh + i * ldq, ldq, true, 0, (int)d, 0, (int)n, yp);
				block((int)cols, (int)d, (int)n, P, 1, panels, yp, dvh + f0 * ldk, ldk, true);
				for (int64_t r = 0; r < n; r++) {
					float *x = P + r * panels, *y = dP + r * panels;
					vf a = {};
					int64_t j = 0;
					for (; j + VL <= cols; j += VL) a += vload(x + j) * vload(y + j);
					float dot = vsum(a);
					for (; j < cols; j++) dot += x[j] * y[j];
					const float *slope = slopes ? slopes + r * panels : nullptr;
					if (slope)
						for (j = 0; j < cols; j++) y[j] = slope[j] * x[j] * (y[j] - dot);
					else
						for (j = 0; j < cols; j++) y[j] = p->f[0] * x[j] * (y[j] - dot);
				}
				for (int64_t j = 0; j < d; j += NR)
					for (int64_t r = 0; r < n; r += MR)
						tile_rows((int)(n - r < MR ? n - r : MR), (int)cols, dP + r * panels, panels, 1, kn + j * S + f0 * NR, dqh + (i + r) * ldq + j, ldq, (int)(d - j < NR ? d - j : NR), false);
				pack_b(LG_F32, qh + i * ldq, ldq, true, 0, (int)d, 0, (int)n, qp);
				block((int)cols, (int)d, (int)n, dP, 1, panels, qp, dkh + f0 * ldk, ldk, true);
			}
		}
	}
}
