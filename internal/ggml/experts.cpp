// Mixture of experts. Each of N tokens is computed by k of E experts; token n and its
// choice j are pair p = n·k+j, of which there are P = N·k. How many pairs an expert has
// is data: shapes do not depend on it, and the work is that of the chosen experts alone.
//
// A group lists the pairs by expert, integers (E+1+P): where each expert's pairs
// begin, E+1 places, then the pairs themselves, those of one expert in their order.
#include "blocks.h"
#include "cggml.h"
#include "dots.h"
#include "gemm.h"
#include "kernels.h"
#include <algorithm>

typedef ggml_tensor T;

static inline const float *f32(const T *t) { return (const float *)t->data; }
static inline const int32_t *i32(const T *t) { return (const int32_t *)t->data; }
static inline float *out(T *t) { return (float *)t->data; }
static inline int64_t numel(const T *t) { return t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3]; }

struct range {
	int64_t from, to;
};
static inline range share(int64_t n, int ith, int nth, int64_t unit = 1) {
	int64_t u = (n + unit - 1) / unit;
	int64_t a = u * ith / nth * unit, b = u * (ith + 1) / nth * unit;
	return {a < n ? a : n, b < n ? b : n};
}

// dst (N, k) I32: the experts with the k largest logits src0 (N, E), the largest first, ties by
// lowest id; NaN is largest, so that an id is always one of an expert.
void route(T *dst, int ith, int nth, void *) {
	const int64_t k = dst->ne[0], e = dst->src[0]->ne[0];
	range r = share(dst->ne[1], ith, nth);
	for (int64_t n = r.from; n < r.to; n++) {
		const float *x = f32(dst->src[0]) + n * e;
		int32_t *id = (int32_t *)dst->data + n * k;
		for (int64_t i = 0, have = 0; i < e; i++) { // insertion: k is small
			int64_t at = have;
			while (at > 0 && (x[i] > x[id[at - 1]] || (std::isnan(x[i]) && !std::isnan(x[id[at - 1]])))) at--;
			if (at == k) continue;
			if (have < k) have++;
			for (int64_t j = have - 1; j > at; j--) id[j] = id[j - 1];
			id[at] = (int32_t)i;
		}
	}
}

// The largest of the logits that take part in a token's softmax, and the sum of their exponentials: of the chosen ones, or of all.
static void normalizer(const float *x, const int32_t *id, int64_t k, int64_t e, bool chosen, float *hi, float *sum) {
	float m = x[id[0]], s = 0; // the first chosen is the largest of all
	if (chosen)
		for (int64_t j = 0; j < k; j++) s += expf(x[id[j]] - m);
	else
		for (int64_t i = 0; i < e; i++) s += expf(x[i] - m);
	*hi = m;
	*sum = s;
}

// dst (N, k): the softmax of logits src0 (N, E) at the ids src1 (N, k). i[0]: 1 when it is over the chosen ones only.
void route_weights(T *dst, int ith, int nth, void *params) {
	const lg_params *p = (const lg_params *)params;
	const int64_t k = dst->ne[0], e = dst->src[0]->ne[0];
	range r = share(dst->ne[1], ith, nth);
	for (int64_t n = r.from; n < r.to; n++) {
		const float *x = f32(dst->src[0]) + n * e;
		const int32_t *id = i32(dst->src[1]) + n * k;
		float hi, sum;
		normalizer(x, id, k, e, p->i[0], &hi, &sum);
		for (int64_t j = 0; j < k; j++) out(dst)[n * k + j] = expf(x[id[j]] - hi) / sum;
	}
}

// The adjoint of route_weights: dx_i = y_i·(dy_i − Σ_j y_j·dy_j), with y over what the softmax is over
// and dy zero where nothing was chosen. src: logits (N, E), ids (N, k), dy (N, k).
void route_weights_back(T *dst, int ith, int nth, void *params) {
	const lg_params *p = (const lg_params *)params;
	const int64_t e = dst->ne[0], k = dst->src[1]->ne[0];
	range r = share(dst->ne[1], ith, nth);
	for (int64_t n = r.from; n < r.to; n++) {
		const float *x = f32(dst->src[0]) + n * e, *dy = f32(dst->src[2]) + n * k;
		const int32_t *id = i32(dst->src[1]) + n * k;
		float *dx = out(dst) + n * e, hi, sum, dot = 0;
		normalizer(x, id, k, e, p->i[0], &hi, &sum);
		for (int64_t j = 0; j < k; j++) dot += expf(x[id[j]] - hi) / sum * dy[j];
		for (int64_t i = 0; i < e; i++) dx[i] = p->i[0] ? 0 : -expf(x[i] - hi) / sum * dot;
		for (int64_t j = 0; j < k; j++) dx[id[j]] = expf(x[id[j]] - hi) / sum * (dy[j] - dot);
	}
}

// dst (E+1+P) I32: the group of ids src0 (N, k). i[0]: E. A counting sort, by one thread: P is small beside the products.
void group(T *dst, int ith, int, void *params) {
	if (ith) return;
	const int64_t e = ((const lg_params *)params)->i[0], n = numel(dst->src[0]);
	const int32_t *id = i32(dst->src[0]);
	int32_t *first = (int32_t *)dst->data, *pair = first + e + 1;
	std::fill(first, first + e + 1, 0);
	for (int64_t p = 0; p < n; p++) first[id[p]]++;
	int32_t at = 0;
	for (int64_t i = 0; i <= e; i++) {
		int32_t count = first[i];
		first[i] = at;
		at += count;
	}
	for (int64_t p = 0; p < n; p++) pair[first[id[p]]++] = (int32_t)p;
	for (int64_t i = e; i > 0; i--) first[i] = first[i - 1]; // each has moved to the next one's place
	first[0] = 0;
}

// dst (E): the sum of the weights src1 (N) of each expert's pairs, a pair's being its token's; src0: a group. i[0]: k.
void group_counts(T *dst, int ith, int, void *params) {
	if (ith) return;
	const int64_t k = ((const lg_params *)params)->i[0], e = dst->ne[0];
	const int32_t *first = i32(dst->src[0]), *pair = first + e + 1;
	for (int64_t i = 0; i < e; i++) {
		double t = 0;
		for (int32_t p = first[i]; p < first[i + 1]; p++) t += f32(dst->src[1])[pair[p] / k];
		out(dst)[i] = (float)t;
	}
}

// Up to this many pairs of an expert are computed by dot products, which read its weights once and pack nothing.
// (BenchmarkExperts: with 8 or 16 pairs to each of 8 experts, two thirds of the time of packing.)
static const int kFewPairs = 16;
// Pairs and columns at a time: their rows lie side by side in scratch memory, and packing the weights anew for each costs a hundredth of the products.
static const int kPairs = 256;
static const int kColumns = 2048;

// rows_of computes R rows of x, side by side, with one of weights.
template <int R, class W>
static inline void rows_of(const W *w, const float *x, int64_t k, float *const *y, int64_t j) {
	float t[R];
	dots<R>(w, x, k, t, 1);
	for (int i = 0; i < R; i++) y[i][j] = t[i];
}
template <class W>
static void few(const W *w, const float *x, float *const *y, int n, range r, int64_t k) {
	for (int64_t j = r.from; j < r.to; j++) {
		int i = 0;
		for (; i + 4 <= n; i += 4) rows_of<4>(w + j * k, x + i * k, k, y + i, j);
		if (i + 2 <= n) {
			rows_of<2>(w + j * k, x + i * k, k, y + i, j);
			i += 2;
		}
		if (i < n) rows_of<1>(w + j * k, x + i * k, k, y + i, j);
	}
}

// rounded_experts computes columns r of the n pairs of one expert with activations rounded to 8 bits, as matvec_quantized and matmul_rounded do.
static void rounded_experts(const block_kernels *b, T *dst, const T *x, const uint8_t *w, const int32_t *of, int n, int64_t per, range r, bool invariant) {
	const int64_t k = x->ne[0], m = dst->ne[0], ld = rounded_row(k), row = block_bytes(dst->src[1]->type, k);
	for (int from = 0; from < n; from += kPairs) {
		const int rows = std::min(kPairs, n - from);
		float *in = scratch(2, (size_t)kPairs * ld);
		for (int j = 0; j < rows; j++) round_row(f32(x) + of[from + j] / per * k, (int)k, in + j * ld);
		if (n <= b->most && !invariant) {
			float *y[few_at_most];
			for (int j = 0; j < n; j++) y[j] = out(dst) + of[j] * m;
			return b->few(w, in, n, (int)k, y, r.from, r.to);
		}
		float *result = scratch(3, (size_t)kPairs * kColumns);
		for (int64_t c = r.from; c < r.to; c += kColumns) {
			const int64_t cols = std::min<int64_t>(kColumns, r.to - c);
			b->many(w + c * row, in, rows, 0, (int)cols, (int)k, result, cols);
			for (int j = 0; j < rows; j++) memcpy(out(dst) + of[from + j] * m + c, result + j * cols, cols * 4);
		}
	}
}

// dst (P, m): row p is W[e]·x, with x row p/i[0] of src0 and W[e] the weights of its expert, src1 (E, m, k) of any type;
// with i[1], which is the adjoint, W[e]ᵀ·x for W (E, k, m). Without i[2] products with quantized weights may round x; with i[3] each pair is computed the same way however many there are. src2: the group of P pairs among E experts.
// Threads share the columns, so that each has its part of every expert's work, and no sum is split.
void experts(T *dst, int ith, int nth, void *params) {
	const lg_params *p = (const lg_params *)params;
	const T *x = dst->src[0], *w = dst->src[1];
	const int64_t per = p->i[0], m = dst->ne[0], k = x->ne[0], e = w->ne[2];
	const bool trans = p->i[1];
	const int32_t *first = i32(dst->src[2]), *pair = first + e + 1;
	const int block = type_block(w->type);
	const block_kernels *rounded = trans || p->i[2] || block == 1 ? nullptr : block_kernels_of(w->type);
	const bool invariant = p->i[3];
	if (rounded && (!rounded->few || (invariant && !rounded->many))) rounded = nullptr;
	range r = share(m, ith, nth, trans && block > NR ? block : NR); // blocks along m are not cut
	if (r.from >= r.to) return;
	for (int64_t i = 0; i < e; i++) {
		const char *we = (const char *)w->data + type_bytes(w->type, i * m * k);
		const int32_t *of = pair + first[i];
		const int n = first[i + 1] - first[i];
		if (n <= kFewPairs && !trans && block == 1 && !invariant) {
			if (n == 0) continue;
			float *in = scratch(2, (size_t)kFewPairs * k), *ys[kFewPairs];
			for (int j = 0; j < n; j++) {
				memcpy(in + j * k, f32(x) + of[j] / per * k, k * 4);
				ys[j] = out(dst) + of[j] * m;
			}
			switch ((int)w->type) {
			case LG_F16: few((const f16 *)we, in, ys, n, r, k); break;
			case LG_BF16: few((const bf16 *)we, in, ys, n, r, k); break;
			default: few((const float *)we, in, ys, n, r, k);
			}
			continue;
		}
		if (rounded && n > 0 && (n <= rounded->most || rounded->many)) {
			rounded_experts(rounded, dst, x, (const uint8_t *)we, of, n, per, r, invariant);
			continue;
		}
		for (int from = 0; from < n; from += kPairs) {
			const int rows = std::min(kPairs, n - from);
			float *in = scratch(2, (size_t)kPairs * k), *result = scratch(3, (size_t)kPairs * kColumns);
			for (int j = 0; j < rows; j++) memcpy(in + j * k, f32(x) + of[from + j] / per * k, k * 4);
			for (int64_t c = r.from; c < r.to; c += kColumns) {
				const int64_t cols = std::min<int64_t>(kColumns, r.to - c);
				lg_gemm g = {};
				g.n = rows;
				g.m = (int)cols;
				g.k = (int)k;
				g.atype = LG_F32;
				g.btype = w->type;
				g.a = in;
				g.lda = k;
				g.b = we + type_bytes(w->type, trans ? c : c * k);
				g.ldb = trans ? m : k;
				g.tb = trans;
				g.c = result;
				g.ldc = cols;
				lg_gemm_run(&g, 0, 1);
				for (int j = 0; j < rows; j++) memcpy(out(dst) + of[from + j] * m + c, result + j * cols, cols * 4);
			}
		}
	}
}

// dst (E, m, k): dW[e] = Σ dy_p ⊗ x over the pairs of expert e, in their order, zero where there are none; x is row p/i[0] of src1.
// src: dy (P, m), x (…, k), group. Threads share the rows of dW.
void experts_back_w(T *dst, int ith, int nth, void *params) {
	const int64_t per = ((const lg_params *)params)->i[0], k = dst->ne[0], m = dst->ne[1], e = dst->ne[2];
	const T *dy = dst->src[0], *x = dst->src[1];
	const int32_t *first = i32(dst->src[2]), *pair = first + e + 1;
	range r = share(m, ith, nth, MR);
	if (r.from >= r.to) return;
	const int64_t rows = r.to - r.from;
	for (int64_t i = 0; i < e; i++) {
		float *dw = out(dst) + (i * m + r.from) * k;
		const int32_t *of = pair + first[i];
		const int n = first[i + 1] - first[i];
		if (n == 0) memset(dw, 0, rows * k * 4);
		for (int from = 0; from < n; from += kPairs) {
			const int depth = std::min(kPairs, n - from);
			float *a = scratch(2, (size_t)kPairs * k), *d = scratch(3, (size_t)kPairs * rows);
			for (int j = 0; j < depth; j++) {
				memcpy(a + j * k, f32(x) + of[from + j] / per * k, k * 4);
				memcpy(d + j * rows, f32(dy) + of[from + j] * m + r.from, rows * 4);
			}
			lg_gemm g = {};
			g.n = (int)rows;
			g.m = (int)k;
			g.k = depth;
			g.atype = g.btype = LG_F32;
			g.a = d;
			g.lda = rows;
			g.ta = true;
			g.b = a;
			g.ldb = k;
			g.tb = true;
			g.c = dw;
			g.ldc = k;
			g.add = from > 0;
			lg_gemm_run(&g, 0, 1);
		}
	}
}

// dst (N, C) = Σ_j w[n][j]·y[n·k+j]; src: y (P, C), w (N, k), which may be absent for ones. i[0]: k.
void combine(T *dst, int ith, int nth, void *params) {
	const int64_t k = ((const lg_params *)params)->i[0], c = dst->ne[0];
	const T *w = dst->src[1];
	range r = share(dst->ne[1], ith, nth);
	for (int64_t n = r.from; n < r.to; n++) {
		const float *y = f32(dst->src[0]) + n * k * c;
		float *o = out(dst) + n * c;
		for (int64_t j = 0; j < k; j++, y += c) {
			const float s = w ? f32(w)[n * k + j] : 1;
			if (j == 0)
				for (int64_t i = 0; i < c; i++) o[i] = s * y[i];
			else
				for (int64_t i = 0; i < c; i++) o[i] += s * y[i];
		}
	}
}

// dst (P, C) = w[p]·dy[p/k]: the gradient of combine by y; src: w (N, k), dy (N, C).
void combine_back(T *dst, int ith, int nth, void *) {
	const int64_t k = dst->src[0]->ne[0], c = dst->ne[0];
	range r = share(dst->ne[1], ith, nth);
	for (int64_t p = r.from; p < r.to; p++) {
		const float *dy = f32(dst->src[1]) + p / k * c, s = f32(dst->src[0])[p];
		float *o = out(dst) + p * c;
		for (int64_t i = 0; i < c; i++) o[i] = s * dy[i];
	}
}

// dst (N, k) = y[p]·dy[p/k]: the gradient of combine by w; src: y (P, C), dy (N, C).
void combine_back_w(T *dst, int ith, int nth, void *) {
	const int64_t k = dst->ne[0], c = dst->src[0]->ne[0];
	range r = share(numel(dst), ith, nth);
	for (int64_t p = r.from; p < r.to; p++) dots<1>(f32(dst->src[0]) + p * c, f32(dst->src[1]) + p / k * c, c, out(dst) + p, 0);
}

// dst (P, I) = silu(gate)·up, the halves of each row of src0 (P, 2I). https://arxiv.org/abs/2002.05202
void glu(T *dst, int ith, int nth, void *) {
	const int64_t c = dst->ne[0];
	range r = share(dst->ne[1], ith, nth);
	for (int64_t p = r.from; p < r.to; p++) {
		const float *g = f32(dst->src[0]) + p * 2 * c, *u = g + c;
		float *y = out(dst) + p * c;
		int64_t i = 0;
		for (; i + VL <= c; i += VL) {
			vf x = vload(g + i);
			vstore(y + i, x * vsigmoid(x) * vload(u + i));
		}
		for (; i < c; i++) y[i] = g[i] * ssigmoid(g[i]) * u[i];
	}
}

// dst (P, 2I): the gradients of glu by gate and up, side by side; src: gate and up (P, 2I), dy (P, I).
void glu_back(T *dst, int ith, int nth, void *) {
	const int64_t c = dst->src[1]->ne[0];
	range r = share(dst->ne[1], ith, nth);
	for (int64_t p = r.from; p < r.to; p++) {
		const float *g = f32(dst->src[0]) + p * 2 * c, *u = g + c, *d = f32(dst->src[1]) + p * c;
		float *dg = out(dst) + p * 2 * c, *du = dg + c;
		int64_t i = 0;
		for (; i + VL <= c; i += VL) {
			vf x = vload(g + i), s = vsigmoid(x), y = vload(d + i);
			vstore(dg + i, y * vload(u + i) * s * (1.0f + x * (1.0f - s)));
			vstore(du + i, y * x * s);
		}
		for (; i < c; i++) {
			float s = ssigmoid(g[i]);
			dg[i] = d[i] * u[i] * s * (1.0f + g[i] * (1.0f - s));
			du[i] = d[i] * g[i] * s;
		}
	}
}

// dx = f[0]·y·(dy − Σ y·dy) for each row: the adjoint of the softmax whose result is y; src: y, dy. GGML's own
// is wrong when the planner puts dx in y's place, as it may: it copies dy there before it reads y.
void softmax_back(T *dst, int ith, int nth, void *params) {
	const float scale = ((const lg_params *)params)->f[0];
	const int64_t c = dst->ne[0];
	range r = share(numel(dst) / c, ith, nth);
	for (int64_t n = r.from; n < r.to; n++) {
		const float *y = f32(dst->src[0]) + n * c, *dy = f32(dst->src[1]) + n * c;
		float *dx = out(dst) + n * c, dot;
		dots<1>(y, dy, c, &dot, 0);
		for (int64_t i = 0; i < c; i++) dx[i] = scale * y[i] * (dy[i] - dot);
	}
}
