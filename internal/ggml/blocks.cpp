// What is computed with quantized weights: floats unpacked from them, and, with AVX2,
// products with activations rounded to 8 bits. Rounding is GGML's, but for the scale,
// which it keeps in half precision: a chunk of 32 activations x is d·q, d = max|x|/127.
#include "blocks.h"
#include "cggml.h"
#include "kernels.h"
#include "operands.h"

// widen gives VL signed bytes as floats. Compilers would convert them one by one.
static inline vf widen(const int8_t *p) {
#if VL == 16
	return (vf)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
#elif defined(__AVX2__)
	return (vf)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
#else
	vf x;
	for (int i = 0; i < VL; i++) x[i] = p[i];
	return x;
#endif
}

template <class F>
static void floats(const uint8_t *row, ptrdiff_t from, int n, float *y) {
	const int C = F::block / 32, H = F::halves;
	float d[C * H], m[C * H];
	const uint8_t *p = row + from / C * F::size;
	F::scales(p, d, m);
	for (int c = (int)(from % C);; y += 32) {
		const b32 q = F::load(p, c);
		int8_t t[32];
		memcpy(t, &q, 32);
		for (int i = 0; i < 32; i += VL) {
			const int s = c * H + i / 16 * (H - 1);
			vstore(y + i, widen(t + i) * d[s] + m[s]);
		}
		if (--n == 0) return;
		if (++c == C) {
			c = 0;
			p += F::size;
			F::scales(p, d, m);
		}
	}
}

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)

static inline float sum8(__m256 x) {
	__m128 s = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
	s = _mm_add_ps(s, _mm_movehl_ps(s, s));
	return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
static inline int sum4(__m128i x) {
	x = _mm_add_epi32(x, _mm_unpackhi_epi64(x, x));
	return _mm_cvtsi128_si32(_mm_add_epi32(x, _mm_shuffle_epi32(x, 1)));
}

void round_row(const float *x, int k, float *y) {
	int8_t *q = (int8_t *)y;
	float *scale = y + k / 4, *sum = scale + k / 32, *half = sum + k / 32;
	const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
	for (int g = 0; g < k / 32; g++, x += 32, q += 32) {
		__m256 v[4];
		__m256i top = _mm256_setzero_si256();
		for (int i = 0; i < 4; i++) {
			v[i] = _mm256_loadu_ps(x + 8 * i);
			top = _mm256_max_epi32(top, _mm256_and_si256(_mm256_castps_si256(v[i]), magnitude)); // as integers, for then what is not finite is the largest
		}
		__m128i t = _mm_max_epi32(_mm256_castsi256_si128(top), _mm256_extracti128_si256(top, 1));
		t = _mm_max_epi32(t, _mm_unpackhi_epi64(t, t));
		const float largest = _mm_cvtss_f32(_mm_castsi128_ps(_mm_max_epi32(t, _mm_shuffle_epi32(t, 1))));
		const __m256 inverse = _mm256_set1_ps(largest > 0 ? 127 / largest : 0);
		__m256i n[4];
		for (int i = 0; i < 4; i++) n[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
		__m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(n[0], n[1]), _mm256_packs_epi32(n[2], n[3]));
		bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)); // packs works on halves
		_mm256_storeu_si256((__m256i *)q, bytes);
		// Sums of the halves, each in one half of the register.
		__m256i s = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes), _mm256_set1_epi16(1));
		s = _mm256_add_epi32(s, _mm256_shuffle_epi32(s, 0x4e));
		s = _mm256_add_epi32(s, _mm256_shuffle_epi32(s, 0xb1));
		scale[g] = largest / 127; // infinite or NaN where an activation is: times the bytes, which are 0 or anything, that gives NaN
		const float a = scale[g] * _mm256_cvtsi256_si32(s), b = scale[g] * _mm_cvtsi128_si32(_mm256_extracti128_si256(s, 1));
		half[2 * g] = a;
		half[2 * g + 1] = b;
		sum[g] = a + b;
	}
}

// product gives eight sums of products of the bytes of weights and activations, each of four.
template <class F>
static inline __m256i product(__m256i w, __m256i x) {
	const __m256i ones = _mm256_set1_epi16(1);
	if (F::is_signed) return _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w)), ones);
	return _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), ones);
}

// ahead asks for what will be read some time after N bytes at p. Weights come from memory once a token; with 34 bytes to
// 32 products that is what a product waits for (Q8_0 of 30 MB: 10 GB/s without, 12 with), with fewer it makes no difference.
template <int N>
static inline void ahead(const uint8_t *p) {
	for (int i = 0; i < N; i += 64) _mm_prefetch((const char *)p + 2048 + i, _MM_HINT_T0);
}

// halves8 gives numbers in half precision that are apart by so many bytes.
static inline __m256 halves8(const uint8_t *p, int apart) {
	uint16_t h[8];
	for (int i = 0; i < 8; i++) memcpy(h + i, p + i * apart, 2);
	return _mm256_cvtph_ps(_mm_setr_epi16((short)h[0], (short)h[1], (short)h[2], (short)h[3], (short)h[4], (short)h[5], (short)h[6], (short)h[7]));
}

// scales8 gives d and m of eight chunks, of those with an offset d alone.
template <class F>
static inline void scales8(const uint8_t *w, float *d, float *m) {
	if constexpr (F::block == 256) {
		F::scales(w, d, m);
	} else if constexpr ((int)F::size == (int)mxfp4::size) { // exponents
		for (int c = 0; c < 8; c++) F::scales(w + c * F::size, d + c, m + c);
	} else {
		_mm256_storeu_ps(d, halves8(w, F::size));
		if (!F::is_signed && F::offset == 0) _mm256_storeu_ps(m, halves8(w + 2, F::size));
	}
}

// few_rows is few for R rows. The scales of eight chunks are made at once, and meet those of the activations; of formats
// with an offset Σ d·Σx is summed, for it is the same for all chunks.
template <class F, int R>
static inline void few_rows(const uint8_t *w, const float *x, int k, float *const *y, int64_t j) {
	const int H = F::halves, S = 8 * H, chunks = k / 32;
	const int64_t ld = rounded_row(k);
	const int A = R < 4 ? 2 : 1; // sums of a row, taken in turn: several hide the latency of the additions
	__m256 sum[R][A], least[R];
	for (int r = 0; r < R; r++) {
		least[r] = _mm256_setzero_ps();
		for (int a = 0; a < A; a++) sum[r][a] = least[r];
	}
	int g = 0;
	for (; g + 8 <= chunks; g += 8) {
		float d[S], m[S], t[R][S];
		if (F::block == 32) ahead<8 * F::size>(w);
		scales8<F>(w, d, m);
#pragma GCC unroll 4
		for (int r = 0; r < R; r++) {
			const float *scale = x + r * ld + k / 4, *s = scale + chunks * H; // the sums of chunks, or of their halves
			const __m256 dx = _mm256_loadu_ps(scale + g);
			if (H == 2) {
				_mm256_storeu_ps(t[r], _mm256_mul_ps(_mm256_loadu_ps(d), _mm256_permutevar8x32_ps(dx, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3))));
				_mm256_storeu_ps(t[r] + S - 8, _mm256_mul_ps(_mm256_loadu_ps(d + S - 8), _mm256_permutevar8x32_ps(dx, _mm256_setr_epi32(4, 4, 5, 5, 6, 6, 7, 7))));
			} else {
				_mm256_storeu_ps(t[r], _mm256_mul_ps(_mm256_loadu_ps(d), dx));
			}
			if (!F::is_signed)
				for (int i = 0; i < S; i += 8) least[r] = _mm256_fmadd_ps(_mm256_loadu_ps((F::offset != 0 ? d : m) + i), _mm256_loadu_ps(s + g * H + i), least[r]);
		}
#pragma GCC unroll 8
		for (int c = 0; c < 8; c++) {
			const __m256i q = (__m256i)(F::block == 256 ? F::load(w, c) : F::load(w + c * F::size, 0));
#pragma GCC unroll 4
			for (int r = 0; r < R; r++) {
				const __m256i p = product<F>(q, _mm256_loadu_si256((const __m256i *)(x + r * ld) + g + c));
				const __m256 f = H == 2 ? _mm256_set_m128(_mm_set1_ps(t[r][2 * c % S + 1]), _mm_set1_ps(t[r][2 * c % S])) : _mm256_set1_ps(t[r][c]);
				sum[r][c % A] = _mm256_fmadd_ps(f, _mm256_cvtepi32_ps(p), sum[r][c % A]);
			}
		}
		w += F::block == 256 ? F::size : 8 * F::size;
	}
	for (; g < chunks; g++, w += F::size) { // of blocks of one chunk
		const __m256i q = (__m256i)F::load(w, 0);
		float d[F::block / 32 * H], m[F::block / 32 * H];
		F::scales(w, d, m);
#pragma GCC unroll 4
		for (int r = 0; r < R; r++) {
			const float *scale = x + r * ld + k / 4;
			const __m256i p = product<F>(q, _mm256_loadu_si256((const __m256i *)(x + r * ld) + g));
			sum[r][0] = _mm256_fmadd_ps(_mm256_set1_ps(d[0] * scale[g]), _mm256_cvtepi32_ps(p), sum[r][0]);
			if (!F::is_signed) least[r] = _mm256_fmadd_ps(_mm256_zextps128_ps256(_mm_set_ss(F::offset != 0 ? d[0] : m[0])), _mm256_zextps128_ps256(_mm_load_ss(scale + chunks + g)), least[r]);
		}
	}
	for (int r = 0; r < R; r++) {
		if (F::offset != 0) least[r] = _mm256_mul_ps(least[r], _mm256_set1_ps(-F::offset));
		if (A == 2) sum[r][0] = _mm256_add_ps(sum[r][0], sum[r][A - 1]);
		y[r][j] = sum8(_mm256_add_ps(sum[r][0], least[r]));
	}
}

// two_rows is few_rows for one row of activations and two of weights, a and b, of Q4_0 and Q4_1. The 16 bytes of
// a chunk of each make one register, so that both cost little more than one: 11 instructions for 64 products.
template <class F>
static inline void two_rows(const uint8_t *a, const uint8_t *b, const float *x, int k, float *y) {
	const int chunks = k / 32, at = F::offset != 0 ? 2 : 4;
	const float *scale = x + k / 4, *s = scale + chunks;
	const __m256i low = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1), spread = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
	__m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()}, least[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
	auto chunk = [&](const uint8_t *a, const uint8_t *b, int g, __m256 d, int i) {
		const __m256i q = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(a + at))), _mm_loadu_si128((const __m128i *)(b + at)), 1);
		const __m256i x0 = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)x + 2 * g)), x1 = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)x + 2 * g + 1));
		const __m256i lo = _mm256_maddubs_epi16(_mm256_and_si256(q, low), x0), hi = _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(q, 4), low), x1);
		sum[i] = _mm256_fmadd_ps(d, _mm256_cvtepi32_ps(_mm256_madd_epi16(_mm256_add_epi16(lo, hi), ones)), sum[i]);
	};
	int g = 0;
	for (; g + 8 <= chunks; g += 8, a += 8 * F::size, b += 8 * F::size) {
		float pairs[16]; // d of a and b, in turn, times that of the activations
		const __m256 dx = _mm256_loadu_ps(scale + g), sx = _mm256_loadu_ps(s + g), da = halves8(a, F::size), db = halves8(b, F::size);
		const __m256 ta = _mm256_mul_ps(da, dx), tb = _mm256_mul_ps(db, dx), lo = _mm256_unpacklo_ps(ta, tb), hi = _mm256_unpackhi_ps(ta, tb);
		_mm256_storeu_ps(pairs, _mm256_permute2f128_ps(lo, hi, 0x20));
		_mm256_storeu_ps(pairs + 8, _mm256_permute2f128_ps(lo, hi, 0x31));
		least[0] = _mm256_fmadd_ps(F::offset != 0 ? da : halves8(a + 2, F::size), sx, least[0]);
		least[1] = _mm256_fmadd_ps(F::offset != 0 ? db : halves8(b + 2, F::size), sx, least[1]);
#pragma GCC unroll 8
		for (int c = 0; c < 8; c++) {
			double pair;
			memcpy(&pair, pairs + 2 * c, 8);
			chunk(a + c * F::size, b + c * F::size, g + c, _mm256_permutevar_ps(_mm256_castpd_ps(_mm256_set1_pd(pair)), spread), c % 2);
		}
	}
	for (; g < chunks; g++, a += F::size, b += F::size) {
		const float da = half_at(a), db = half_at(b);
		chunk(a, b, g, _mm256_set_m128(_mm_set1_ps(db * scale[g]), _mm_set1_ps(da * scale[g])), 0);
		least[0] = _mm256_fmadd_ps(_mm256_zextps128_ps256(_mm_set_ss(F::offset != 0 ? da : half_at(a + 2))), _mm256_zextps128_ps256(_mm_load_ss(s + g)), least[0]);
		least[1] = _mm256_fmadd_ps(_mm256_zextps128_ps256(_mm_set_ss(F::offset != 0 ? db : half_at(b + 2))), _mm256_zextps128_ps256(_mm_load_ss(s + g)), least[1]);
	}
	const __m256 t = _mm256_add_ps(sum[0], sum[1]), factor = _mm256_set1_ps(F::offset != 0 ? -F::offset : 1);
	y[0] = sum8(_mm256_add_ps(_mm256_zextps128_ps256(_mm256_castps256_ps128(t)), _mm256_mul_ps(least[0], factor)));
	y[1] = sum8(_mm256_add_ps(_mm256_zextps128_ps256(_mm256_extractf128_ps(t, 1)), _mm256_mul_ps(least[1], factor)));
}

template <class F>
static void few(const uint8_t *w, const float *x, int n, int k, float *const *y, int64_t from, int64_t to) {
	const int64_t ld = rounded_row(k), row = (int64_t)k / F::block * F::size;
	int64_t j = from;
	if constexpr (F::block == 32 && F::top == 15) // threads share rows in sixteens: which are computed in pairs does not depend on their number
		if (n == 1)
			for (; j + 2 <= to; j += 2) two_rows<F>(w + j * row, w + (j + 1) * row, x, k, y[0] + j);
	for (; j < to; j++) {
		int i = 0;
		for (; i + 4 <= n; i += 4) few_rows<F, 4>(w + j * row, x + i * ld, k, y + i, j);
		if (i + 2 <= n) {
			few_rows<F, 2>(w + j * row, x + i * ld, k, y + i, j);
			i += 2;
		}
		if (i < n) few_rows<F, 1>(w + j * row, x + i * ld, k, y + i, j);
	}
}

// Products of many rows. Weights are packed into panels of 16 columns, chunk after chunk: 8 steps of 4 bytes of each
// column, then d and m of each (of formats with halves: d and m of the first, d and m of the second). Zero where columns are missing.
#define PANEL 16
#define TILE 6

template <class F>
static inline int chunk_bytes() { return PANEL * 32 + PANEL * 4 * 2 * F::halves; }

template <class F>
static void pack_panels(const uint8_t *w, int64_t row, int m, ptrdiff_t from, int n, uint8_t *out) {
	const int C = F::block / 32, H = F::halves, AT = 8; // chunks at a time
	for (int j = 0; j < m; j += PANEL) {
		const int cols = m - j < PANEL ? m - j : PANEL;
		for (int g0 = 0; g0 < n; g0 += AT) {
			const int chunks = n - g0 < AT ? n - g0 : AT;
			alignas(32) uint8_t q[PANEL][AT * 32];
			if (cols < PANEL) memset(q, 0, sizeof q);
			for (int x = 0; x < PANEL; x++) {
				float d[C * H], l[C * H];
				ptrdiff_t at = -1;
				for (int g = 0; g < chunks; g++) {
					float *s = (float *)(out + g * chunk_bytes<F>() + PANEL * 32) + x;
					if (x >= cols) {
						for (int h = 0; h < 2 * H; h++) s[h * PANEL] = 0;
						continue;
					}
					const ptrdiff_t c = from + g0 + g;
					const uint8_t *p = w + (j + x) * row + c / C * F::size;
					if (c / C != at) F::scales(p, d, l);
					at = c / C;
					b32 v = F::load(p, (int)(c % C));
					memcpy(q[x] + 32 * g, &v, 32);
					for (int h = 0; h < H; h++) {
						s[2 * h * PANEL] = d[c % C * H + h];
						s[(2 * h + 1) * PANEL] = l[c % C * H + h];
					}
				}
			}
			for (int g = 0; g < chunks; g++, out += chunk_bytes<F>()) {
				const float *r[PANEL];
				for (int x = 0; x < PANEL; x++) r[x] = (const float *)(q[x] + 32 * g);
				for (int p = 0; p < 8; p += 4)
					for (int x = 0; x < PANEL; x += 4) transpose4(r + x, p, (float *)out + p * PANEL + x, PANEL); // four bytes move as one float
			}
		}
	}
}

// tile computes R rows of one panel over n chunks; x are the rounded rows, of k elements, from chunk g0 on.
template <class F, int R>
static void tile_many(const uint8_t *w, const float *x, int k, int g0, int n, float *c, int64_t ldc, int cols, bool add) {
	const int H = F::halves, STEPS = 8 / H, FIT = 32767 / (F::top * 2 * 127); // products that fit in 16 bits
	const int RUN = FIT >= STEPS ? STEPS : FIT >= 4 ? 4 : FIT >= 2 ? 2 : 1;
	const int64_t ld = rounded_row(k);
	const __m256i ones = _mm256_set1_epi16(1);
	__m256 y[R][2];
	for (int r = 0; r < R; r++) y[r][0] = y[r][1] = _mm256_setzero_ps();
	for (int g = 0; g < n; g++, w += chunk_bytes<F>()) {
		const float *scales = (const float *)(w + PANEL * 32);
#pragma GCC unroll 2
		for (int h = 0; h < H; h++) {
			__m256i total[R][2];
#pragma GCC unroll 4
			for (int run = 0; run < STEPS; run += RUN) {
				__m256i t[R][2];
#pragma GCC unroll 8
				for (int p = 0; p < RUN; p++) {
					const __m256i *b = (const __m256i *)w + (h * STEPS + run + p) * 2;
					const __m256i b0 = _mm256_loadu_si256(b), b1 = _mm256_loadu_si256(b + 1);
#pragma GCC unroll 6
					for (int r = 0; r < R; r++) {
						int32_t four;
						memcpy(&four, (const int8_t *)(x + r * ld) + (g0 + g) * 32 + (h * STEPS + run + p) * 4, 4);
						const __m256i a = _mm256_set1_epi32(four);
						const __m256i t0 = _mm256_maddubs_epi16(b0, a), t1 = _mm256_maddubs_epi16(b1, a);
						t[r][0] = p ? _mm256_add_epi16(t[r][0], t0) : t0;
						t[r][1] = p ? _mm256_add_epi16(t[r][1], t1) : t1;
					}
				}
#pragma GCC unroll 6
				for (int r = 0; r < R; r++)
					for (int i = 0; i < 2; i++) {
						const __m256i s = _mm256_madd_epi16(t[r][i], ones);
						total[r][i] = run ? _mm256_add_epi32(total[r][i], s) : s;
					}
			}
			const float *d = scales + 2 * h * PANEL, *m = d + PANEL;
			const __m256 d0 = _mm256_loadu_ps(d), d1 = _mm256_loadu_ps(d + 8), m0 = _mm256_loadu_ps(m), m1 = _mm256_loadu_ps(m + 8);
#pragma GCC unroll 6
			for (int r = 0; r < R; r++) {
				const float *sx = x + r * ld + k / 4, *sums = sx + k / 32;
				const __m256 dx = _mm256_set1_ps(sx[g0 + g]), s = _mm256_set1_ps(H == 2 ? sums[k / 32 + 2 * (g0 + g) + h] : sums[g0 + g]);
				y[r][0] = _mm256_fmadd_ps(_mm256_mul_ps(d0, dx), _mm256_cvtepi32_ps(total[r][0]), _mm256_fmadd_ps(m0, s, y[r][0]));
				y[r][1] = _mm256_fmadd_ps(_mm256_mul_ps(d1, dx), _mm256_cvtepi32_ps(total[r][1]), _mm256_fmadd_ps(m1, s, y[r][1]));
			}
		}
	}
	for (int r = 0; r < R; r++) {
		float t[PANEL], *o = c + r * ldc;
		_mm256_storeu_ps(t, y[r][0]);
		_mm256_storeu_ps(t + 8, y[r][1]);
		for (int j = 0; j < cols; j++) o[j] = add ? o[j] + t[j] : t[j];
	}
}

template <class F>
static void many(const uint8_t *w, const float *x, int n, int j0, int m, int k, float *c, int64_t ldc) {
	// As gemm's: a panel and a tile's rows in L1, rows of a block in L2, panels of all columns in L3.
	const int DEPTH = 32, COLUMNS = 1024, ROWS = 96; // chunks, columns, rows at a time
	const int chunks = k / 32, passes = (chunks + DEPTH - 1) / DEPTH, depth = (chunks + passes - 1) / passes;
	const int64_t row = (int64_t)k / F::block * F::size, ld = rounded_row(k);
	uint8_t *panels = (uint8_t *)scratch(1, (size_t)COLUMNS / PANEL * depth * chunk_bytes<F>() / 4);
	for (int jc = j0; jc < j0 + m; jc += COLUMNS) {
		const int cols = j0 + m - jc < COLUMNS ? j0 + m - jc : COLUMNS;
		for (int g = 0; g < chunks; g += depth) {
			const int d = chunks - g < depth ? chunks - g : depth;
			pack_panels<F>(w + jc * row, row, cols, g, d, panels);
			for (int ic = 0; ic < n; ic += ROWS)
				for (int j = 0; j < cols; j += PANEL) {
					const uint8_t *b = panels + (ptrdiff_t)j / PANEL * d * chunk_bytes<F>();
					const int wide = cols - j < PANEL ? cols - j : PANEL, end = n - ic < ROWS ? n : ic + ROWS;
					for (int i = ic; i < end; i += TILE) {
						const float *a = x + i * ld;
						float *o = c + (int64_t)i * ldc + jc + j;
						switch (end - i) {
						case 1: tile_many<F, 1>(b, a, k, g, d, o, ldc, wide, g > 0); break;
						case 2: tile_many<F, 2>(b, a, k, g, d, o, ldc, wide, g > 0); break;
						case 3: tile_many<F, 3>(b, a, k, g, d, o, ldc, wide, g > 0); break;
						case 4: tile_many<F, 4>(b, a, k, g, d, o, ldc, wide, g > 0); break;
						case 5: tile_many<F, 5>(b, a, k, g, d, o, ldc, wide, g > 0); break;
						default: tile_many<F, TILE>(b, a, k, g, d, o, ldc, wide, g > 0);
						}
					}
				}
		}
	}
}

// Signed bytes times signed bytes take twice the instructions, as many as floats do.
template <class F>
static block_kernels kernels_of() {
	if constexpr (F::is_signed)
		return {floats<F>, few<F>, nullptr, few_at_most};
	else
		return {floats<F>, few<F>, many<F>, F::block == 32 ? 4 : F::halves == 2 ? 16 : 8};
}

#else

void round_row(const float *, int, float *) {}

template <class F>
static block_kernels kernels_of() { return {floats<F>, nullptr, nullptr, 0}; }

#endif

const block_kernels *block_kernels_of(int type) {
	static const struct {
		ggml_type type;
		block_kernels kernels;
	} table[] = {
		{GGML_TYPE_Q4_0, kernels_of<q4_0>()},
		{GGML_TYPE_Q4_1, kernels_of<q4_1>()},
		{GGML_TYPE_Q5_0, kernels_of<q5_0>()},
		{GGML_TYPE_Q5_1, kernels_of<q5_1>()},
		{GGML_TYPE_Q8_0, kernels_of<q8_0>()},
		{GGML_TYPE_Q4_K, kernels_of<q4_k>()},
		{GGML_TYPE_Q5_K, kernels_of<q5_k>()},
		{GGML_TYPE_Q6_K, kernels_of<q6_k>()},
		{GGML_TYPE_IQ4_NL, kernels_of<iq4_nl>()},
		{GGML_TYPE_IQ4_XS, kernels_of<iq4_xs>()},
		{GGML_TYPE_MXFP4, kernels_of<mxfp4>()},
	};
	for (const auto &e : table)
		if (e.type == type) return &e.kernels;
	return nullptr;
}
