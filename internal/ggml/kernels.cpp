#include "kernels.h"
#include "cggml.h"
#include "dots.h"
#include "gemm.h"
#include "operands.h"
#include <algorithm>
#include <cstdlib>
#include <functional>


// i[0]: 1 when src0 is read transposed, i[1]: src1 likewise.
// dst (n, m) = op(src0)·op(src1)ᵀ; batches of src1 are shared by groups of src0's.
static void matmul(T *dst, int ith, int nth, void *params) {
	const lg_params *p = (const lg_params *)params;
	const T *a = dst->src[0], *b = dst->src[1];
	lg_gemm g = {};
	g.n = (int)dst->ne[1];
	g.m = (int)dst->ne[0];
	g.k = (int)(p->i[0] ? a->ne[1] : a->ne[0]);
	g.atype = a->type;
	g.btype = b->type;
	g.lda = a->ne[0];
	g.ldb = b->ne[0];
	g.ta = p->i[0];
	g.tb = p->i[1];
	g.ldc = dst->ne[0];
	if (rows(dst) <= LG_GEMM_ROWS && rows(dst) == g.n && g.n <= g.m) {
		g.a = a->data;
		g.b = b->data;
		g.c = out(dst);
		for (range r; next_part((lg_params *)params, g.m, lg_gemm_unit(&g), nth, &r);) lg_gemm_columns(&g, (int)r.from, (int)r.to);
		return;
	}
	int64_t g2 = dst->ne[2] / b->ne[2], g3 = dst->ne[3] / b->ne[3];
	for (int64_t i3 = 0; i3 < dst->ne[3]; i3++)
		for (int64_t i2 = 0; i2 < dst->ne[2]; i2++) {
			g.a = (const char *)a->data + i2 * a->nb[2] + i3 * a->nb[3];
			g.b = (const char *)b->data + i2 / g2 * b->nb[2] + i3 / g3 * b->nb[3];
			g.c = (float *)((char *)dst->data + i2 * dst->nb[2] + i3 * dst->nb[3]);
			lg_gemm_run(&g, ith, nth);
		}
}

// table (N, D/2, 2): cos and sin of pos·freq, times f[0]; src: pos (N) I32, freqs (D/2) radians per position.
static void rope_table(T *dst, int ith, int nth, void *params) {
	const lg_params *p = (const lg_params *)params;
	int64_t half = dst->ne[1], n = dst->ne[2];
	range r = share(n, ith, nth);
	const int32_t *pos = (const int32_t *)dst->src[0]->data;
	const float *fr = f32(dst->src[1]);
	for (int64_t k = r.from; k < r.to; k++) {
		float *t = out(dst) + k * half * 2;
		for (int64_t i = 0; i < half; i++) {
			double a = (double)((float)pos[k] * fr[i]); // the angle in float32, as the reference implementations compute it
			t[2 * i] = (float)cos(a) * p->f[0];
			t[2 * i + 1] = (float)sin(a) * p->f[0];
		}
	}
}

// Rotates the pairs (i, i+half) of the first 2·half channels of each head, the rest is copied.
// src: x (N, H, D), table (N, half, 2). i[0]: 1 for the opposite rotation.
static void rope(T *dst, int ith, int nth, void *params) {
	const lg_params *p = (const lg_params *)params;
	int64_t d = dst->ne[0], h = dst->ne[1], n = dst->ne[2], half = dst->src[1]->ne[1];
	float sign = p->i[0] ? -1.0f : 1.0f;
	range r = share(n, ith, nth);
	float cs[1024], sn[1024];
	for (int64_t k = r.from; k < r.to; k++) {
		const float *t = f32(dst->src[1]) + k * half * 2;
		for (int64_t i = 0; i < half; i++) {
			cs[i] = t[2 * i];
			sn[i] = t[2 * i + 1] * sign;
		}
		for (int64_t j = 0; j < h; j++) {
			const float *x = f32(dst->src[0]) + (k * h + j) * d;
			float *y = out(dst) + (k * h + j) * d;
			for (int64_t i = 0; i < half; i++) {
				y[i] = x[i] * cs[i] - x[i + half] * sn[i];
				y[i + half] = x[i] * sn[i] + x[i + half] * cs[i];
			}
			for (int64_t i = 2 * half; i < d; i++) y[i] = x[i];
		}
	}
}

// dst (V, C) = Σ of rows of src0 (N, C) at ids src1 (N). Threads own rows of dst, so the sum has one order.
static void rows_back(T *dst, int ith, int nth, void *) {
	int64_t c = dst->ne[0], n = numel(dst->src[1]);
	range r = share(dst->ne[1], ith, nth);
	const int32_t *id = (const int32_t *)dst->src[1]->data;
	if (r.from < r.to) memset(out(dst) + r.from * c, 0, (r.to - r.from) * c * 4);
	for (int64_t k = 0; k < n; k++) {
		if (id[k] < r.from || id[k] >= r.to) continue;
		const float *x = f32(dst->src[0]) + k * c;
		float *y = out(dst) + id[k] * c;
		for (int64_t i = 0; i < c; i++) y[i] += x[i];
	}
}

// src0 is there for the order of evaluation only.
static void zero(T *dst, int ith, int nth, void *) {
	range r = share(numel(dst), ith, nth, 16);
	if (r.from < r.to) memset(out(dst) + r.from, 0, (r.to - r.from) * 4);
}

// y[n] = −log softmax(x[n])[target[n]], 0 where the target is negative; src: logits (N, V), targets (N) I32.
static float log_sum_exp(const float *x, int64_t v) {
	vf m = vset(-INFINITY);
	int64_t i = 0;
	for (; i + VL <= v; i += VL) m = vmax(m, vload(x + i));
	float hi = vmaxall(m);
	for (; i < v; i++) hi = x[i] > hi ? x[i] : hi;
	// A float loses the many small terms of a vocabulary of 49,152 beside a large sum,
	// 2e-5 of the loss; so only short runs are summed in one.
	double t = 0;
	for (i = 0; i + VL <= v;) {
		vf s = {};
		for (int64_t end = i + 32 * VL; i + VL <= v && i < end; i += VL) s += vexp(vload(x + i) - hi);
		t += vsum(s);
	}
	for (; i < v; i++) t += sexp(x[i] - hi);
	return hi + (float)log(t);
}
static void cross_entropy(T *dst, int ith, int nth, void *) {
	const T *x = dst->src[0];
	const int32_t *id = (const int32_t *)dst->src[1]->data;
	range r = share(x->ne[1], ith, nth);
	for (int64_t n = r.from; n < r.to; n++) {
		const float *row = f32(x) + n * x->ne[0];
		out(dst)[n] = id[n] < 0 ? 0 : log_sum_exp(row, x->ne[0]) - row[id[n]];
	}
}

// dx = dy[n]·(softmax(x[n]) − onehot(target[n])), 0 for rows without target; src: logits (N, V), targets (N), dy (N).
static void cross_entropy_back(T *dst, int ith, int nth, void *) {
	const T *x = dst->src[0];
	const int64_t v = x->ne[0];
	const int32_t *id = (const int32_t *)dst->src[1]->data;
	range r = share(x->ne[1], ith, nth);
	for (int64_t n = r.from; n < r.to; n++) {
		float *y = out(dst) + n * v, w = f32(dst->src[2])[n];
		if (id[n] < 0 || w == 0) {
			memset(y, 0, v * 4);
			continue;
		}
		const float *row = f32(x) + n * v;
		float lse = log_sum_exp(row, v);
		int64_t i = 0;
		for (; i + VL <= v; i += VL) vstore(y + i, w * vexp(vload(row + i) - lse));
		for (; i < v; i++) y[i] = w * sexp(row[i] - lse);
		y[id[n]] -= w;
	}
}

// dst = Σ over the i[0] leading rows of src0, each of dst's size. Threads own elements of dst, so the sum has one order.
static void sum_to(T *dst, int ith, int nth, void *params) {
	const lg_params *p = (const lg_params *)params;
	int64_t lead = p->i[0], c = numel(dst);
	range r = share(c, ith, nth, VL);
	if (r.from >= r.to) return;
	memset(out(dst) + r.from, 0, (r.to - r.from) * 4);
	for (int64_t k = 0; k < lead; k++) {
		const float *x = f32(dst->src[0]) + k * c;
		for (int64_t i = r.from; i < r.to; i++) out(dst)[i] += x[i];
	}
}

// A counter-based generator: the mask depends on (seed, layer, index) only, so
// that the backward pass and a recomputation meet the same one. SplitMix64's finalizer.
static inline uint32_t hash3(uint64_t seed, uint64_t layer, uint64_t i) {
	uint64_t z = seed * 0x9e3779b97f4a7c15ull + layer * 0xbf58476d1ce4e5b9ull + i;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return (uint32_t)((z ^ (z >> 31)) >> 32);
}

// y = x/(1−p) where a coin of probability 1−p shows, else 0; f[0]: p, i[0]: layer; src: x, seed (2) I32.
static void dropout(T *dst, int ith, int nth, void *params) {
	const lg_params *p = (const lg_params *)params;
	const int32_t *s = (const int32_t *)dst->src[1]->data;
	uint64_t seed = (uint64_t)(uint32_t)s[0] | (uint64_t)(uint32_t)s[1] << 32;
	uint32_t cut = (uint32_t)((double)p->f[0] * 4294967295.0);
	float keep = 1.0f / (1.0f - p->f[0]);
	range r = share(numel(dst), ith, nth);
	const float *x = f32(dst->src[0]);
	for (int64_t i = r.from; i < r.to; i++) out(dst)[i] = hash3(seed, (uint64_t)p->i[0], (uint64_t)i) < cut ? 0 : x[i] * keep;
}

// In place: dst = beta·dst + g; src: dst, g, beta (1). beta 0 overwrites whatever was there.
static void accumulate(T *dst, int ith, int nth, void *) {
	const float *g = f32(dst->src[1]);
	float beta = f32(dst->src[2])[0], *y = out(dst);
	range r = share(numel(dst), ith, nth, VL);
	if (beta == 0) {
		if (r.from < r.to) memcpy(y + r.from, g + r.from, (r.to - r.from) * 4);
		return;
	}
	for (int64_t i = r.from; i < r.to; i++) y[i] = beta * y[i] + g[i];
}

// AdamW with decoupled decay, in the order of torch.optim.AdamW (https://arxiv.org/abs/1711.05101):
// w −= lr·decay·w; m = β1·m+(1−β1)g; v = β2·v+(1−β2)g²; w −= lr/c1·m/(sqrt(v)/sqrt(c2)+ε).
// In place on w; src: w, g, m, v, h: lr, β1, β2, ε, 1−β1^t, sqrt(1−β2^t); clip's result, whose second number is
// g's factor, NaN for no update at all; and the working copy in BF16, if any. f[0]: weight decay.
static void adamw(T *dst, int ith, int nth, void *params) {
	const lg_params *p = (const lg_params *)params;
	float *w = out(dst), *m = (float *)dst->src[2]->data, *v = (float *)dst->src[3]->data;
	const float *g = f32(dst->src[1]), *h = f32(dst->src[4]);
	const float lr = h[0], b1 = h[1], b2 = h[2], eps = h[3], c1 = h[4], c2 = h[5], clip = f32(dst->src[5])[1];
	if (std::isnan(clip)) return;
	const float keep = 1 - lr * p->f[0], step = lr / c1;
	range r = share(numel(dst), ith, nth, 16);
	for (int64_t i = r.from; i < r.to; i++) {
		float x = g[i] * clip;
		m[i] = b1 * m[i] + (1 - b1) * x;
		v[i] = b2 * v[i] + (1 - b2) * x * x;
		w[i] = w[i] * keep - step * m[i] / (sqrtf(v[i]) / c2 + eps);
	}
	const T *copy = dst->src[6];
	if (!copy) return;
	uint16_t *d = (uint16_t *)copy->data;
	for (int64_t i = r.from; i < r.to; i++) d[i] = f32_to_bf16(w[i]);
}

// A sum that several operations add to is a pair of floats, the second what the
// first has lost of it; one float would lose 1e-7 of it each time.
static inline double pair(const T *t) { return (double)f32(t)[0] + (double)f32(t)[1]; }
static inline void set_pair(T *dst, double x) {
	float *y = out(dst);
	y[0] = (float)x;
	y[1] = std::isfinite(y[0]) ? (float)(x - y[0]) : 0; // not the NaN that inf − inf is
}

// dst (2) = src1 + Σ x², both pairs; one thread, since the order of the sum must not depend on their number.
// src: x; and a sum to begin with, if any.
static void square_sum(T *dst, int ith, int nth, void *) {
	if (ith) return;
	const float *x = f32(dst->src[0]);
	int64_t n = numel(dst->src[0]);
	double t = dst->src[1] ? pair(dst->src[1]) : 0;
	for (int64_t i = 0; i < n;) { // blocks in float, blocks summed in double
		int64_t to = i + 8192 < n ? i + 8192 : n;
		vf s = {};
		for (; i + VL <= to; i += VL) {
			vf a = vload(x + i);
			s += a * a;
		}
		float u = vsum(s);
		for (; i < to; i++) u += x[i] * x[i];
		t += u;
	}
	set_pair(dst, t);
}

// In place: the pair dst (2) = beta·dst + Σ x·y, in double; src: dst, x, y, beta (1). beta 0 overwrites whatever was there.
static void add_dot(T *dst, int ith, int nth, void *) {
	if (ith) return;
	const float *x = f32(dst->src[1]), *y = f32(dst->src[2]), beta = f32(dst->src[3])[0];
	double t = beta == 0 ? 0 : beta * pair(dst);
	for (int64_t i = 0; i < numel(dst->src[1]); i++) t += (double)x[i] * y[i];
	set_pair(dst, t);
}

// In place: dst (2) = the norm of the gradient, and the factor that brings it down to h[6] (0: 1). The factor is
// NaN, which says that the step does not count, when norm or loss are not finite or when it was NaN before: a host that is
// late to see this has launched further steps, which must not count either.
// src: dst, the gradient's sum of squares (2) and the loss (2), both pairs, h.
static void clip(T *dst, int ith, int nth, void *) {
	if (ith) return;
	double norm = sqrt(pair(dst->src[1])), limit = f32(dst->src[3])[6], factor = 1;
	if (limit > 0 && limit < norm + 1e-6) factor = limit / (norm + 1e-6); // torch.nn.utils.clip_grad_norm_
	if (!std::isfinite(norm) || !std::isfinite(pair(dst->src[2])) || std::isnan(out(dst)[1])) factor = NAN;
	out(dst)[0] = (float)norm;
	out(dst)[1] = (float)factor;
}

template <class W>
static void matvec_rows(T *dst, range r) {
	const int64_t k = dst->src[0]->ne[0], m = dst->ne[0], n = dst->ne[1];
	const float *x = f32(dst->src[0]);
	for (int64_t j = r.from; j < r.to; j++) {
		const W *w = (const W *)dst->src[1]->data + j * k;
		float *y = out(dst) + j;
		int64_t i = 0;
		for (; i + 2 <= n; i += 2) dots<2>(w, x + i * k, k, y + i * m, m);
		if (i < n) dots<1>(w, x + i * k, k, y + i * m, m);
	}
}

// matvec_tiles is matvec_rows by tiles of rows of x and of weights, for whole vectors.
template <class W>
static void matvec_tiles(T *dst, range r) {
	const int64_t k = dst->src[0]->ne[0], m = dst->ne[0], n = dst->ne[1];
	const int B = 64, R = 6; // rows of weights that stay near while those of x pass by, R or fewer at a time
	for (int64_t j = r.from; j < r.to; j += B) {
		const W *w[B];
		const int cols = (int)std::min<int64_t>(B, r.to - j);
		for (int c = 0; c < cols; c++) w[c] = (const W *)dst->src[1]->data + (j + c) * k;
		for (int64_t i = 0, t; i < n; i += t) {
			const float *x = f32(dst->src[0]) + i * k;
			float *y = out(dst) + i * m + j;
			const int64_t times = (n - i + R - 1) / R;
			switch (t = (n - i + times - 1) / times) {
			case 1: dot_rows<1>(x, k, k, w, 0, cols, y, m); break;
			case 2: dot_rows<2>(x, k, k, w, 0, cols, y, m); break;
			case 3: dot_rows<3>(x, k, k, w, 0, cols, y, m); break;
			case 4: dot_rows<4>(x, k, k, w, 0, cols, y, m); break;
			case 5: dot_rows<5>(x, k, k, w, 0, cols, y, m); break;
			case 6: dot_rows<6>(x, k, k, w, 0, cols, y, m); break;
			}
		}
	}
}

void matvec_quantized(T *dst, int ith, int nth, void *params);

// dst (n, m) = x·Wᵀ for few rows: x (n, k) F32, W (m, k) of any type, read once; floats are converted exactly.
// With i[0], of floats and a k that is a multiple of 16, a row's result does not depend, to the bit, on how many there are. Without,
// one row is multiplied by one row of weights after the other, which memory gives out faster than tiles of them.
static void matvec(T *dst, int ith, int nth, void *params) {
	if (type_block(dst->src[1]->type) > 1) return matvec_quantized(dst, ith, nth, params);
	const bool tiles = dst->src[0]->ne[0] % 16 == 0 && (dst->ne[1] > 1 || ((lg_params *)params)->i[0]);
	for (range r; next_part((lg_params *)params, dst->ne[0], 16, nth, &r);)
		switch ((int)dst->src[1]->type | (tiles ? 1 << 16 : 0)) {
		case LG_F16 | 1 << 16: matvec_tiles<f16>(dst, r); break;
		case LG_BF16 | 1 << 16: matvec_tiles<bf16>(dst, r); break;
		case LG_F32 | 1 << 16: matvec_tiles<float>(dst, r); break;
		case LG_F16: matvec_rows<f16>(dst, r); break;
		case LG_BF16: matvec_rows<bf16>(dst, r); break;
		default: matvec_rows<float>(dst, r);
		}
}

// order_key is an integer that orders elements of a row as TopK does: by value, NaN above all, −0 as 0, ties by lowest id.
static inline uint64_t order_key(float x, int64_t id) {
	uint32_t u;
	memcpy(&u, &x, 4);
	if ((u & 0x7fffffff) > 0x7f800000)
		u = 0xffffffff;
	else
		u = (u & 0x7fffffff) == 0 ? 0x80000000 : u >> 31 ? ~u : u | 0x80000000;
	return (uint64_t)u << 32 | (uint32_t)~id;
}

// dst (N, 2, k): the k largest elements of each row of src0 (N, V), largest first, and their ids, as floats. k ≤ 1024, V < 2^24.
static void top_k(T *dst, int ith, int nth, void *) {
	const T *x = dst->src[0];
	const int64_t k = dst->ne[0], v = x->ne[0];
	range r = share(x->ne[1], ith, nth);
	uint64_t best[1024]; // a heap whose top is the least
	for (int64_t n = r.from; n < r.to; n++) {
		const float *row = f32(x) + n * v;
		for (int64_t i = 0; i < k; i++) best[i] = order_key(row[i], i);
		std::make_heap(best, best + k, std::greater<uint64_t>());
		for (int64_t i = k; i < v; i++) {
			uint64_t key = order_key(row[i], i);
			if (key <= best[0]) continue;
			std::pop_heap(best, best + k, std::greater<uint64_t>());
			best[k - 1] = key;
			std::push_heap(best, best + k, std::greater<uint64_t>());
		}
		std::sort_heap(best, best + k, std::greater<uint64_t>());
		float *y = out(dst) + n * 2 * k;
		for (int64_t i = 0; i < k; i++) {
			uint32_t id = ~(uint32_t)best[i];
			y[i] = row[id];
			y[k + i] = (float)id;
		}
	}
}

// dst (…, n): columns [i[0], i[0]+n) of src0 (…, C).
static void columns(T *dst, int ith, int nth, void *params) {
	int64_t from = ((const lg_params *)params)->i[0], n = dst->ne[0], c = dst->src[0]->ne[0];
	range r = share(rows(dst), ith, nth);
	for (int64_t k = r.from; k < r.to; k++) memcpy(out(dst) + k * n, f32(dst->src[0]) + k * c + from, n * 4);
}

// dst (…, C): src0 (…, n) in columns [i[0], i[0]+n), 0 in the others.
static void columns_back(T *dst, int ith, int nth, void *params) {
	int64_t from = ((const lg_params *)params)->i[0], c = dst->ne[0], n = dst->src[0]->ne[0];
	range r = share(rows(dst), ith, nth);
	for (int64_t k = r.from; k < r.to; k++) {
		float *y = out(dst) + k * c;
		memset(y, 0, from * 4);
		memcpy(y + from, f32(dst->src[0]) + k * n, n * 4);
		memset(y + from + n, 0, (c - from - n) * 4);
	}
}

// norms.cpp, activations.cpp, attention.cpp
#define KERNEL(name) void name(T *dst, int ith, int nth, void *params)
KERNEL(rms_norm);
KERNEL(rms_norm_back);
KERNEL(rms_norm_back_w);
KERNEL(layer_norm);
KERNEL(layer_norm_back);
KERNEL(layer_norm_back_w);
KERNEL(act);
KERNEL(act_back);
KERNEL(gate);
KERNEL(gate_back);
KERNEL(softcap);
KERNEL(softcap_back);
KERNEL(attention);
KERNEL(attention_back);
KERNEL(route);
KERNEL(route_weights);
KERNEL(route_weights_back);
KERNEL(group);
KERNEL(group_counts);
KERNEL(experts);
KERNEL(experts_back_w);
KERNEL(combine);
KERNEL(combine_back);
KERNEL(combine_back_w);
KERNEL(glu);
KERNEL(glu_back);
KERNEL(softmax_back);
KERNEL(round_rows);
KERNEL(matmul_rounded);
KERNEL(paged_attention);

lg_function lg_kernel_function(int kernel) {
	static const lg_function table[LG_COUNT] = {
		matmul, rms_norm, rms_norm_back, rms_norm_back_w, layer_norm, layer_norm_back, layer_norm_back_w,
		act, act_back, gate, gate_back, softcap, softcap_back, columns, columns_back,
		rope_table, rope, rows_back, zero, attention, attention_back, cross_entropy, cross_entropy_back,
		sum_to, dropout, accumulate, adamw, square_sum, matvec, add_dot, clip, top_k,
		route, route_weights, route_weights_back, group, group_counts, experts, experts_back_w, combine, combine_back, combine_back_w, glu, glu_back, softmax_back,
		nullptr, nullptr, nullptr, round_rows, matmul_rounded, paged_attention};
	return kernel >= 0 && kernel < LG_COUNT ? table[kernel] : nullptr;
}
