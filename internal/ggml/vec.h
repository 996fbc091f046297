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
static inline float f16_to_f32(uint16_t h) {
#if defined(__F16C__) || defined(__ARM_FP16_FORMAT_IEEE)
	_Float16 x;
	memcpy(&x, &h, 2);
	return (float)x;
#else
	uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = (h >> 10) & 31, man = h & 1023, u;
	if (exp == 31) {
		u = sign | 0x7f800000 | man << 13;
	} else if (exp) {
		u = sign | (exp + 112) << 23 | man << 13;
	} else {
		float f = (float)man * 5.9604644775390625e-8f; // 2^-24
		memcpy(&u, &f, 4);
		u |= sign;
	}
	float f;
	memcpy(&f, &u, 4);
	return f;
#endif
}
