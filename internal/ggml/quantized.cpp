// Products of activations with quantized weights in integers: activations are rounded
// to 8 bits, by our own kernels (blocks.cpp) or as GGML's dot product of the type wants them.
#include "blocks.h"
#include "cggml.h"
#include "kernels.h"
#include "operands.h"

static const int kFewOfGGML = 6;

int lg_few_rows(int type) {
	const block_kernels *b = block_kernels_of(type);
	return b && b->few ? b->most : kFewOfGGML;
}

bool lg_rounds(int type) {
	const block_kernels *b = block_kernels_of(type);
	return b && b->many;
}

// dst (n, m) = x·Wᵀ for few rows x (n, k) F32. Every thread rounds all of x for itself: that is less than waiting for the others.
void matvec_quantized(T *dst, int, int nth, void *params) {
	const T *x = dst->src[0], *w = dst->src[1];
	const int64_t k = x->ne[0], m = dst->ne[0], n = dst->ne[1], row = block_bytes(w->type, k);
	range r;
	if (!next_part((lg_params *)params, m, 16, nth, &r)) return;
	const uint8_t *base = (const uint8_t *)w->data;
	const block_kernels *b = block_kernels_of(w->type);
	if (b && b->few) {
		float *rounded = scratch(0, rounded_row(k) * n), *y[few_at_most];
		for (int64_t i = 0; i < n; i++) {
			round_row(f32(x) + i * k, (int)k, rounded + i * rounded_row(k));
			y[i] = out(dst) + i * m;
		}
		do b->few(base, rounded, (int)n, (int)k, y, r.from, r.to);
		while (next_part((lg_params *)params, m, 16, nth, &r));
		return;
	}
	const ggml_type_traits_cpu *t = ggml_get_type_traits_cpu(w->type);
	const ggml_from_float_t round = ggml_get_type_traits_cpu(t->vec_dot_type)->from_float;
	const int64_t ld = block_bytes(t->vec_dot_type, k);
	char *rounded = (char *)scratch(0, (ld * n + 3) / 4);
	float bad[few_at_most]; // NaN where an activation is not finite, which GGML's rounding may lose; else 0
	for (int64_t i = 0; i < n; i++) {
		round(f32(x) + i * k, rounded + i * ld, k);
		bad[i] = 0;
		for (int64_t j = 0; j < k; j++) bad[i] += f32(x)[i * k + j] * 0;
	}
	do {
		for (int64_t j = r.from; j < r.to; j++)
			for (int64_t i = 0; i < n; i++) {
				t->vec_dot((int)k, out(dst) + i * m + j, 0, base + j * row, 0, rounded + i * ld, 0, 1);
				out(dst)[i * m + j] += bad[i];
			}
	} while (next_part((lg_params *)params, m, 16, nth, &r));
}

// dst (n, 3k/8): the rows of src0 (n, k) rounded, as round_row says.
void round_rows(T *dst, int ith, int nth, void *) {
	const int64_t k = dst->src[0]->ne[0];
	range r = share(rows(dst->src[0]), ith, nth);
	for (int64_t i = r.from; i < r.to; i++) round_row(f32(dst->src[0]) + i * k, (int)k, out(dst) + i * rounded_row(k));
}

// dst (n, m) = x·Wᵀ; src: rounded rows x, W (m, k) of a type that lg_rounds. Threads share the longer side in whole tiles; no sum is split.
void matmul_rounded(T *dst, int ith, int nth, void *params) {
	const T *x = dst->src[0], *w = dst->src[1];
	const int64_t k = w->ne[0], m = dst->ne[0], n = dst->ne[1];
	const block_kernels *b = block_kernels_of(w->type);
	if (m >= n) {
		for (range r; next_part((lg_params *)params, m, 16, nth, &r);) b->many((const uint8_t *)w->data, f32(x), (int)n, (int)r.from, (int)(r.to - r.from), (int)k, out(dst), m);
		return;
	}
	const range r = share(n, ith, nth, 6);
	if (r.from < r.to) b->many((const uint8_t *)w->data, f32(x) + r.from * rounded_row(k), (int)(r.to - r.from), 0, (int)m, (int)k, out(dst) + r.from * m, m);
}
