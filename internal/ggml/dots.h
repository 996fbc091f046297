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
	for (; i + 4 * VL <= k; i += 4 * VL) {
		__builtin_prefetch((const char *)(w + i) + 4096); // the rows after this one, which are read next
		for (int u = 0; u < 4; u++) {
			vf a = weights(w + i + u * VL);
			for (int r = 0; r < R; r++) s[r][u] += a * vload(x + r * k + i + u * VL);
		}
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

// lanes4 adds up lanes that are 4 apart.
static inline v4 lanes4(vf x) {
	v4 part[VL / 4], s;
	memcpy(part, &x, sizeof x);
	s = part[0];
	for (int i = 1; i < VL / 4; i++) s += part[i];
	return s;
}
// sums are those of the lanes of each.
static inline v4 sums(v4 a, v4 b, v4 c, v4 d) {
	v4 x = VSHUFFLE(a, b, 0, 4, 1, 5) + VSHUFFLE(a, b, 2, 6, 3, 7), y = VSHUFFLE(c, d, 0, 4, 1, 5) + VSHUFFLE(c, d, 2, 6, 3, 7);
	return VSHUFFLE(x, y, 0, 1, 4, 5) + VSHUFFLE(x, y, 2, 3, 6, 7);
}

// dot_rows computes s[r·lds+j] = q[r]·k[j] for R rows of q, ldq apart, and the rows [from, to) of k, C at a time; d is a multiple of VL. A sum
// is of lanes in one order, whatever R and whichever row.
template <int R, class W>
static void dot_rows(const float *q, int64_t ldq, int64_t d, const W *const *k, int from, int to, float *s, int64_t lds) {
	const int C = R < 4 || VL == 16 ? 4 : 2; // as many sums as there are registers
	for (int j = from; j < to; j += C) {
		const W *at[C];
		for (int c = 0; c < C; c++) at[c] = k[j + c < to ? j + c : to - 1];
		vf a[R][C] = {};
		for (int64_t i = 0; i < d; i += VL) {
			vf x[C];
			for (int c = 0; c < C; c++) {
				if (i * sizeof(W) % 64 == 0) __builtin_prefetch((const char *)(at[c] + i) + 4096); // rows mostly follow each other
				x[c] = weights(at[c] + i);
			}
#pragma GCC unroll 8
			for (int r = 0; r < R; r++) {
				vf y = vload(q + r * ldq + i);
				for (int c = 0; c < C; c++) a[r][c] += y * x[c];
			}
		}
		for (int r = 0; r < R; r++) {
			const v4 t = sums(lanes4(a[r][0]), lanes4(a[r][1]), lanes4(a[r][C - 2]), lanes4(a[r][C - 1]));
			float *y = s + r * lds + j;
			if (C == 4 && j + 4 <= to)
				*(v4u *)y = (v4u)t;
			else
				for (int c = 0; c < C && j + c < to; c++) y[c] = t[c];
		}
	}
}
