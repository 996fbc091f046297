// GGML's blocks of quantized weights, read 32 elements at a time: a chunk. An element
// is d·q + m, with q a byte and d and m common to the chunk, so that one reader serves
// products in floats and in integers. Layouts: ggml-common.h of the pinned module.
#pragma once
#include "gemm.h"

#if defined(__AVX2__) || defined(__F16C__)
#include <immintrin.h>
#endif

typedef uint8_t b32 __attribute__((vector_size(32)));
typedef uint8_t b32u __attribute__((vector_size(32), aligned(1), may_alias));
typedef uint8_t b16u __attribute__((vector_size(16), aligned(1), may_alias));

static inline float half_at(const uint8_t *p) {
	uint16_t h;
	memcpy(&h, p, 2);
#if defined(__F16C__)
	return _cvtsh_ss(h);
#else
	return f16_to_f32(h);
#endif
}
static inline b32 load32(const uint8_t *p) { return (b32) * (const b32u *)p; }

// bits gives the bits of every byte from bit at on, as many as mask has. Bytes are shifted in pairs, as AVX2 can.
typedef uint16_t b32pairs __attribute__((vector_size(32)));
static inline b32 bits(b32 x, int at, uint8_t mask) { return (b32)((b32pairs)x >> at) & mask; }
static inline b32 up(b32 x, int by) { return (b32)((b32pairs)x << by); } // where nothing leaves its byte

// nibbles gives the low halves of 16 bytes, then the high ones.
static inline b32 nibbles(const uint8_t *p) {
#if defined(__AVX2__)
	const __m256i x = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p));
	return (b32)_mm256_and_si256(_mm256_srlv_epi32(x, _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4)), _mm256_set1_epi8(15));
#else
	b16u x = *(const b16u *)p;
	union {
		b16u half[2];
		b32 all;
	} r;
	r.half[0] = x & 15;
	r.half[1] = x >> 4;
	return r.all;
#endif
}

// lookup replaces indices below 16 by the table's bytes.
static inline b32 lookup(const int8_t *table, b32 i) {
#if defined(__AVX2__)
	return (b32)_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)table)), (__m256i)i);
#else
	for (int j = 0; j < 32; j++) i[j] = (uint8_t)table[i[j]];
	return i;
#endif
}

// fifth_bits gives 16 for each bit set of 32, 0 for the others.
static inline b32 fifth_bits(const uint8_t *p) {
	uint32_t bits;
	memcpy(&bits, p, 4);
#if defined(__AVX2__)
	const __m256i byte = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
	const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201ull);
	__m256i x = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), byte), bit);
	return (b32)_mm256_and_si256(_mm256_cmpeq_epi8(x, bit), _mm256_set1_epi8(16));
#else
	b32 x;
	for (int j = 0; j < 32; j++) x[j] = (uint8_t)((bits >> j & 1) << 4);
	return x;
#endif
}

// Each format has
//   block, size   elements and bytes of a block, of block/32 chunks
//   halves        numbers d and m to a chunk: 1, or 2 where each is of 16 elements
//   is_signed     whether q is a signed byte; m is 0 then. Else it is unsigned, at most
//   top           so that the sums of products with signed bytes fit 16 bits
//   offset        m is −offset·d, or 0 for an m of its own
//   load          the bytes q of chunk c of a block
//   scales        d and m of all chunks of a block

struct q4_0 {
	enum { block = 32, size = 18, halves = 1, is_signed = 0, top = 15, offset = 8 };
	static b32 load(const uint8_t *p, int) { return nibbles(p + 2); }
	static void scales(const uint8_t *p, float *d, float *m) {
		*d = half_at(p);
		*m = -8 * *d;
	}
};
struct q4_1 {
	enum { block = 32, size = 20, halves = 1, is_signed = 0, top = 15, offset = 0 };
	static b32 load(const uint8_t *p, int) { return nibbles(p + 4); }
	static void scales(const uint8_t *p, float *d, float *m) {
		*d = half_at(p);
		*m = half_at(p + 2);
	}
};
struct q5_0 {
	enum { block = 32, size = 22, halves = 1, is_signed = 0, top = 31, offset = 16 };
	static b32 load(const uint8_t *p, int) { return nibbles(p + 6) | fifth_bits(p + 2); }
	static void scales(const uint8_t *p, float *d, float *m) {
		*d = half_at(p);
		*m = -16 * *d;
	}
};
struct q5_1 {
	enum { block = 32, size = 24, halves = 1, is_signed = 0, top = 31, offset = 0 };
	static b32 load(const uint8_t *p, int) { return nibbles(p + 8) | fifth_bits(p + 4); }
	static void scales(const uint8_t *p, float *d, float *m) {
		*d = half_at(p);
		*m = half_at(p + 2);
	}
};
struct q8_0 {
	enum { block = 32, size = 34, halves = 1, is_signed = 1, top = 128, offset = 0 };
	static b32 load(const uint8_t *p, int) { return load32(p + 2); }
	static void scales(const uint8_t *p, float *d, float *m) {
		*d = half_at(p);
		*m = 0;
	}
};

static const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

struct iq4_nl {
	enum { block = 32, size = 18, halves = 1, is_signed = 1, top = 127, offset = 0 };
	static b32 load(const uint8_t *p, int) { return lookup(iq4_values, nibbles(p + 2)); }
	static void scales(const uint8_t *p, float *d, float *m) {
		*d = half_at(p);
		*m = 0;
	}
};
struct iq4_xs {
	enum { block = 256, size = 136, halves = 1, is_signed = 1, top = 127, offset = 0 };
	static b32 load(const uint8_t *p, int c) { return lookup(iq4_values, nibbles(p + 8 + 16 * c)); }
	static void scales(const uint8_t *p, float *d, float *m) {
		const float all = half_at(p);
		const int high = p[2] | p[3] << 8;
		for (int c = 0; c < 8; c++) {
			d[c] = all * (((p[4 + c / 2] >> 4 * (c % 2) & 15) | (high >> 2 * c & 3) << 4) - 32);
			m[c] = 0;
		}
	}
};

// Twice the values of E2M1, plus 12; the exponent E8M0 counts for half.
static const int8_t mxfp4_values[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};

struct mxfp4 {
	enum { block = 32, size = 17, halves = 1, is_signed = 0, top = 24, offset = 12 };
	static b32 load(const uint8_t *p, int) { return lookup(mxfp4_values, nibbles(p + 1)); }
	static void scales(const uint8_t *p, float *d, float *m) {
		const uint32_t u = *p < 2 ? 0x00200000u << *p : (uint32_t)(*p - 1) << 23; // 2^(e−128), not normal below 2
		memcpy(d, &u, 4);
		*m = -12 * *d;
	}
};

// scales_k gives the 8 scales and minima of 6 bits each in the 12 bytes of Q4_K and Q5_K, times those of the block.
static inline void scales_k(const uint8_t *p, float *d, float *m) {
	const float all = half_at(p), least = half_at(p + 2);
	uint32_t a, b, c;
	memcpy(&a, p + 4, 4);
	memcpy(&b, p + 8, 4);
	memcpy(&c, p + 12, 4);
	uint32_t u[4] = {a & 0x3f3f3f3f, (c & 0x0f0f0f0f) | (a >> 6 & 0x03030303) << 4, b & 0x3f3f3f3f, (c >> 4 & 0x0f0f0f0f) | (b >> 6 & 0x03030303) << 4};
#if defined(__AVX2__)
	const __m128i s = _mm_set_epi32((int)u[3], (int)u[2], (int)u[1], (int)u[0]);
	_mm256_storeu_ps(d, _mm256_mul_ps(_mm256_set1_ps(all), _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(s))));
	_mm256_storeu_ps(m, _mm256_mul_ps(_mm256_set1_ps(-least), _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(s, 8)))));
#else
	uint8_t s[16];
	memcpy(s, u, 16);
	for (int i = 0; i < 8; i++) d[i] = all * s[i];
	for (int i = 0; i < 8; i++) m[i] = -least * s[8 + i];
#endif
}
struct q4_k {
	enum { block = 256, size = 144, halves = 1, is_signed = 0, top = 15, offset = 0 };
	static b32 load(const uint8_t *p, int c) { return bits(load32(p + 16 + c / 2 * 32), c % 2 * 4, 15); }
	static void scales(const uint8_t *p, float *d, float *m) { scales_k(p, d, m); }
};
struct q5_k {
	enum { block = 256, size = 176, halves = 1, is_signed = 0, top = 31, offset = 0 };
	static b32 load(const uint8_t *p, int c) {
		return bits(load32(p + 48 + c / 2 * 32), c % 2 * 4, 15) | up(bits(load32(p + 16), c, 1), 4);
	}
	static void scales(const uint8_t *p, float *d, float *m) { scales_k(p, d, m); }
};
struct q6_k {
	enum { block = 256, size = 210, halves = 2, is_signed = 0, top = 63, offset = 32 };
	static b32 load(const uint8_t *p, int c) {
		const int r = c % 4;
		return bits(load32(p + c / 4 * 64 + r % 2 * 32), r / 2 * 4, 15) | up(bits(load32(p + 128 + c / 4 * 32), 2 * r, 3), 4);
	}
	static void scales(const uint8_t *p, float *d, float *m) {
		const float all = half_at(p + 208);
		const int8_t *s = (const int8_t *)p + 192;
#if defined(__AVX2__)
		for (int i = 0; i < 16; i += 8) {
			const __m256 x = _mm256_mul_ps(_mm256_set1_ps(all), _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(s + i)))));
			_mm256_storeu_ps(d + i, x);
			_mm256_storeu_ps(m + i, _mm256_mul_ps(x, _mm256_set1_ps(-32)));
		}
#else
		for (int i = 0; i < 16; i++) d[i] = all * s[i];
		for (int i = 0; i < 16; i++) m[i] = -32 * d[i];
#endif
	}
};

// What a format's reader is used for. Pointers are null where this build does not have it.
struct block_kernels {
	// floats unpacks chunks [from, from+n) of a row: 32·n numbers, exactly those that GGML's to_float gives.
	void (*floats)(const uint8_t *row, ptrdiff_t from, int n, float *y);
	// few computes y[i][j] for n rows of activations (round_row) and the rows [from, to) of weights w, of k elements.
	void (*few)(const uint8_t *w, const float *x, int n, int k, float *const *y, int64_t from, int64_t to);
	// many computes columns [j0, j0+m) of c (n, ldc), products of n rows of activations with as many rows of weights.
	void (*many)(const uint8_t *w, const float *x, int n, int j0, int m, int k, float *c, int64_t ldc);
	int most; // rows for which few is faster than packing the weights, few_at_most or less (BenchmarkQuantizedRows)
};
enum { few_at_most = 24 };
// block_kernels_of gives them for a type, null for those that GGML's own functions read.
const block_kernels *block_kernels_of(int type);

// round_row rounds k activations, whole chunks, to signed bytes with a scale for each chunk. A row of rounded
// activations is k bytes q; k/32 floats d; k/32 sums of d·q of the chunks; k/16 of their halves.
void round_row(const float *x, int k, float *y);
// rounded_row is the number of floats that such a row takes.
static inline ptrdiff_t rounded_row(ptrdiff_t k) { return k / 8 * 3; }
