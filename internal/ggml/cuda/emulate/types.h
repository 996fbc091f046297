// CUDA's vector and 16-bit types.
#pragma once
#include <cstdint>
#include <cstring>

template <class T, class F> static inline T lg_bits(F x) {
	static_assert(sizeof(T) == sizeof(F), "the same size");
	T y;
	memcpy(&y, &x, sizeof y);
	return y;
}

#define LG_VECTORS(T, name, a2, a4) \
	struct alignas(a2) name##2 { T x, y; }; \
	struct name##3 { T x, y, z; }; \
	struct alignas(a4) name##4 { T x, y, z, w; }; \
	static inline name##2 make_##name##2(T x, T y) { return {x, y}; } \
	static inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; } \
	static inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
LG_VECTORS(float, float, 8, 16)
LG_VECTORS(int, int, 8, 16)
LG_VECTORS(unsigned, uint, 8, 16)
LG_VECTORS(short, short, 4, 8)
LG_VECTORS(unsigned short, ushort, 4, 8)
LG_VECTORS(signed char, char, 2, 4)
LG_VECTORS(unsigned char, uchar, 2, 4)
#undef LG_VECTORS

struct dim3 {
	unsigned x, y, z;
	dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

static inline float lg_bf16_to_f32(uint16_t h) { return lg_bits<float>((uint32_t)h << 16); }
static inline uint16_t lg_f32_to_bf16(float f) {
	uint32_t u = lg_bits<uint32_t>(f);
	if ((u & 0x7fffffff) > 0x7f800000) return 0x7fff; // NaN
	return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
static inline float lg_f16_to_f32(uint16_t h) {
	// The exponent is moved by a product, which also makes subnormal numbers normal.
	uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = (uint32_t)(h & 0x7fff) << 13;
	if ((h & 0x7c00) == 0x7c00) return lg_bits<float>(sign | 0x7f800000 | (rest & 0x7fffff));
	return lg_bits<float>(sign | lg_bits<uint32_t>(lg_bits<float>(rest) * 0x1p112f));
}
static inline uint16_t lg_f32_to_f16(float f) {
	uint32_t u = lg_bits<uint32_t>(f);
	uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
	u &= 0x7fffffff;
	if (u > 0x7f800000) return 0x7fff;            // NaN
	if (u >= 0x477ff000) return sign | 0x7c00;    // rounds beyond 65504
	if (u < 0x38800000) {                         // subnormal: the sum rounds at 2^-24
		uint32_t v = lg_bits<uint32_t>(lg_bits<float>(u) + 0.5f);
		return (uint16_t)(sign | (v - 0x3f000000));
	}
	u += 0xfff + (u >> 13 & 1);
	return (uint16_t)(sign | ((u - 0x38000000) >> 13));
}

struct __nv_bfloat16 {
	uint16_t bits;
	__nv_bfloat16() = default;
	__nv_bfloat16(float x) : bits(lg_f32_to_bf16(x)) {}
	operator float() const { return lg_bf16_to_f32(bits); }
};
struct __half {
	uint16_t bits;
	__half() = default;
	__half(float x) : bits(lg_f32_to_f16(x)) {}
	operator float() const { return lg_f16_to_f32(bits); }
};
typedef __half half;
typedef __nv_bfloat16 nv_bfloat16;
struct alignas(4) __nv_bfloat162 { __nv_bfloat16 x, y; };
struct alignas(4) __half2 { __half x, y; };
typedef __half2 half2;
typedef __nv_bfloat162 nv_bfloat162;

static inline __nv_bfloat16 __float2bfloat16(float x) { return x; }
static inline __nv_bfloat16 __float2bfloat16_rn(float x) { return x; }
static inline float __bfloat162float(__nv_bfloat16 x) { return x; }
static inline __half __float2half(float x) { return x; }
static inline __half __float2half_rn(float x) { return x; }
static inline float __half2float(__half x) { return x; }
static inline __half __ushort_as_half(unsigned short x) { return lg_bits<__half>(x); }
static inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) { return {x, y}; }
static inline __nv_bfloat162 __float22bfloat162_rn(float2 v) { return {v.x, v.y}; }
static inline float2 __bfloat1622float2(__nv_bfloat162 v) { return {v.x, v.y}; }
static inline __half2 __floats2half2_rn(float x, float y) { return {x, y}; }
static inline __half2 __float22half2_rn(float2 v) { return {v.x, v.y}; }
static inline float2 __half22float2(__half2 v) { return {v.x, v.y}; }
