// Vectors of VL floats by the compiler's vector extensions: one source for
// AVX-512, AVX2, NEON and plain SSE2. The width is the build's (-march=native).
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
#define VL 16
#else
#define VL 8
#endif

typedef float vf __attribute__((vector_size(VL * 4)));
typedef float vfu __attribute__((vector_size(VL * 4), aligned(4), may_alias));
typedef int32_t vi __attribute__((vector_size(VL * 4)));

static inline vf vload(const float *p) { return (vf) * (const vfu *)p; }
static inline void vstore(float *p, vf x) { *(vfu *)p = (vfu)x; }
static inline vf vset(float x) { return x - vf{}; }
static inline vf vmax(vf a, vf b) { return a > b ? a : b; }

static inline float vsum(vf x) {
	float s = 0;
	for (int i = 0; i < VL; i++) s += x[i];
	return s;
}
static inline float vmaxall(vf x) {
	float s = x[0];
	for (int i = 1; i < VL; i++) s = x[i] > s ? x[i] : s;
	return s;
}

// exp(x), relative error below 2 ulp; 0 below -87.3, large above 88.
// Range reduction by n·ln2, then the Cephes polynomial of degree 5.
static inline vf vexp(vf x) {
	vf lo = vset(-87.3f), hi = vset(88.3f);
	vi under = x < lo;
	x = x > hi ? hi : x;
	x = x < lo ? lo : x;
	vf n = x * 1.44269504088896341f;
	vf magic = vset(12582912.0f); // 1.5·2^23: adding it rounds to an integer
	vf r = (n + magic);
	vi e = (vi)r - (vi)magic;
	n = r - magic;
	x = x - n * 0.693359375f;
	x = x + n * 2.12194440e-4f;
	vf y = vset(1.9875691500e-4f);
	y = y * x + 1.3981999507e-3f;
	y = y * x + 8.3334519073e-3f;
	y = y * x + 4.1665795894e-2f;
	y = y * x + 1.6666665459e-1f;
	y = y * x + 5.0000001201e-1f;
	y = y * x * x + x + 1.0f;
	vi scale = (e + 127) << 23;
	y = y * (vf)scale;
	return under ? vf{} : y;
}
static inline vf vsigmoid(vf x) { return 1.0f / (1.0f + vexp(-x)); }

// tanh(x), relative error below 3 ulp: Cephes' polynomial below 0.625, 1 − 2/(1+exp(2|x|)) above.
static inline vf vtanh(vf x) {
	vf a = x < 0 ? -x : x, z = x * x;
	vf p = vset(-5.70498872745e-3f);
	p = p * z + 2.06390887954e-2f;
	p = p * z - 5.37397155531e-2f;
	p = p * z + 1.33314422036e-1f;
	p = p * z - 3.33332819422e-1f;
	p = p * z * x + x;
	vf t = 1.0f - 2.0f / (1.0f + vexp(2.0f * a));
	t = x < 0 ? -t : t;
	return a < 0.625f ? p : t;
}

// The scalar tail of a row uses the same polynomial, so that an element's value
// does not depend on where in the row it stands.
static inline float sexp(float x) {
	vf v = vset(x);
	return vexp(v)[0];
}
static inline float ssigmoid(float x) { return 1.0f / (1.0f + sexp(-x)); }

static inline float bf16_to_f32(uint16_t h) {
	uint32_t u = (uint32_t)h << 16;
	float f;
	memcpy(&f, &u, 4);
	return f;
}
// Round to nearest even; NaN stays NaN.
static inline uint16_t f32_to_bf16(float f) {
	uint32_t u;
	memcpy(&u, &f, 4);
	if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)((u >> 16) | 64);
	return (uint16_t)((u + (0x7fff + ((u >> 16) & 1))) >> 16);
}
// Exact; written without branches so that loops over it become vector code. Times 2^112 moves the exponent's bias, also that of subnormals.
static inline float f16_to_f32(uint16_t h) {
	uint32_t u = (uint32_t)(h & 0x7fff) << 13, special = (h & 0x7c00) == 0x7c00 ? 0x7f800000 : 0;
	float f;
	memcpy(&f, &u, 4);
	f *= 5192296858534827628530496329220096.0f;
	memcpy(&u, &f, 4);
	u |= special | (uint32_t)(h & 0x8000) << 16;
	memcpy(&f, &u, 4);
	return f;
}

// GCC and Clang name the permutation of two vectors' lanes differently.
#if defined(__clang__)
#define VSHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define VSHUFFLE(a, b, ...) __builtin_shuffle(a, b, v4i{__VA_ARGS__})
#endif

typedef float v4 __attribute__((vector_size(16)));
typedef float v4u __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t v4i __attribute__((vector_size(16)));

// transpose4 writes elements [p, p+4) of 4 rows as 4 columns, ld apart.
static inline void transpose4(const float *const *r, int p, float *out, ptrdiff_t ld) {
	v4 a = (v4) * (const v4u *)(r[0] + p), b = (v4) * (const v4u *)(r[1] + p), c = (v4) * (const v4u *)(r[2] + p), d = (v4) * (const v4u *)(r[3] + p);
	v4 ab = VSHUFFLE(a, b, 0, 4, 1, 5), cd = VSHUFFLE(c, d, 0, 4, 1, 5), AB = VSHUFFLE(a, b, 2, 6, 3, 7), CD = VSHUFFLE(c, d, 2, 6, 3, 7);
	*(v4u *)out = (v4u)VSHUFFLE(ab, cd, 0, 1, 4, 5);
	*(v4u *)(out + ld) = (v4u)VSHUFFLE(ab, cd, 2, 3, 6, 7);
	*(v4u *)(out + 2 * ld) = (v4u)VSHUFFLE(AB, CD, 0, 1, 4, 5);
	*(v4u *)(out + 3 * ld) = (v4u)VSHUFFLE(AB, CD, 2, 3, 6, 7);
}
