// Attention of the queries of many sequences to keys and values in the pages of a pool.
#include "gemm.h"
#include "kernels.h"
#include "operands.h"

// y (N, H·D) = softmax(cap(f[0]·q·kᵀ))·v, cap(s) = f[1]·tanh(s/f[1]), or s where f[1] is 0. src: q (N, H, D); k and v (S, Hkv, D) in F32, F16, BF16,
// or in Q8_0 where D is a multiple of 32, pages of i[2] rows; spans (N, 2) I32: the positions [from, to) that a query sees; sequences (N) I32: the row
// of the tables that it uses; tables (R, M) I32: the pages of a sequence.
void paged_attention(T *dst, int ith, int nth, void *params) {
	const lg_params *p = (const lg_params *)params;
	const T *q = dst->src[0], *k = dst->src[1], *v = dst->src[2], *table = dst->src[5];
	const int32_t *spans = (const int32_t *)dst->src[3]->data, *sequences = (const int32_t *)dst->src[4]->data;
	const int64_t d = q->ne[0], H = q->ne[1], N = q->ne[2], Hkv = k->ne[1], page = p->i[2], ld = Hkv * d;
	const float scale = p->f[0], cap = p->f[1];
	range r = share(N * H, ith, nth);
	for (int64_t task = r.from; task < r.to; task++) {
		const int64_t n = task / H, h = task % H, kv = h / (H / Hkv), lo = spans[2 * n], hi = spans[2 * n + 1];
		const int32_t *pages = (const int32_t *)table->data + sequences[n] * table->ne[0];
		const float *x = f32(q) + (n * H + h) * d;
		float *y = out(dst) + (n * H + h) * d, *s = scratch(0, hi - lo + VL), *tmp = scratch(1, d + ROW_EXTRA), most = -INFINITY, sum = 0;
		auto row = [&](const T *t, int64_t j) { return row_f32(t->type, t->data, (pages[j / page] * page + j % page) * ld + kv * d, (int)d, tmp); };
		for (int64_t j = lo; j < hi; j++) {
			const float *z = row(k, j);
			float dot = 0;
			for (int64_t i = 0; i < d; i++) dot += x[i] * z[i];
			s[j - lo] = cap > 0 ? cap * tanhf(dot * scale / cap) : dot * scale;
			most = s[j - lo] > most ? s[j - lo] : most;
		}
		for (int64_t j = lo; j < hi; j++) sum += s[j - lo] = sexp(s[j - lo] - most);
		memset(y, 0, d * 4);
		for (int64_t j = lo; j < hi; j++) {
			const float *z = row(v, j), w = s[j - lo] / sum;
			for (int64_t i = 0; i < d; i++) y[i] += w * z[i];
		}
	}
}
