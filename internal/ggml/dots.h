// Dot products of rows of weights of any type with few rows of activations: a weight
// is read once, converted exactly and packed nowhere. Products of few rows use them.
#pragma once
#include "vec.h"

#ifdef __F16C__
#include <immintrin.h>
#endif

struct f16 {
	uint16_t bits;
};
struct bf16 {
	uint16_t bits;
};

// A vector of VL weights as floats.
static inline vf weights(const float *w) { return vload(w); }
static inline vf weights(const bf16 *w) {
	typedef uint16_t vh __attribute__((vector_size(VL * 2), aligned(2), may_alias));
	return (vf)(__builtin_convertvector(*(const vh *)w, vi) << 16);
}
static inline vf weights(const f16 *w) {
#if defined(__F16C__) && VL == 8
	return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)w));
#else
	float t[VL];
	for (int i = 0; i < VL; i++) t[i] = f16_to_f32(w[i].bits);
	return vload(t);
#endif
}
static inline float weight(float w) { return w; }
static inline float weight(bf16 w) { return bf16_to_f32(w.bits); }
static inline float weight(f16 w) { return f16_to_f32(w.bits); }

// dots computes R rows of x with one row of weights; four sums a row hide the latency of the additions.
template <int R, class W>
static inline void dots(const W *w, const float *x, int64_t k, float *y, int64_t ldy) {
	vf s[R][4] = {};
	int64_t i = 0;
	for (; i + 4 * VL <= k; i += 4 * VL)
		for (int u = 0; u < 4; u++) {
			vf a = weights(w + i + u * VL);
			for (int r = 0; r < R; r++) s[r][u] += a * vload(x + r * k + i + u * VL);
		}
	for (; i + VL <= k; i += VL) {
		vf a = weights(w + i);
		for (int r = 0; r < R; r++) s[r][0] += a * vload(x + r * k + i);
	}
	for (int r = 0; r < R; r++) {
		float t = vsum((s[r][0] + s[r][1]) + (s[r][2] + s[r][3]));
		for (int64_t j = i; j < k; j++) t += weight(w[j]) * x[r * k + j];
		y[r * ldy] = t;
	}
}
