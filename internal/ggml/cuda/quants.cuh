// GGML's quantized types as our kernels read them. A block stores its elements in an
// order of its own: a word of nibbles holds four elements and the four that are 16 or 32
// further on. What a thread unpacks at once is therefore a piece, GROUPS × 4 elements,
// each group STRIDE behind the last; piece(b, i, p) gives piece i of a block, of PIECES.
//
// An element is scale·q − less, where q is a small number that a float holds exactly, and
// scale and less belong to the group: a product adds up q·x first. The arithmetic is that
// of GGML's dequantize_row_* (ggml-quants.c), which also say what the bits mean; the
// blocks themselves and the tables of the IQ types are GGML's (ggml-common.h).
#pragma once
#include "kernels.cuh"
#define GGML_COMMON_DECL_C    // anonymous structs; halves as their bits
#define GGML_COMMON_IMPL_CUDA // tables on the device
#include "ggml-common.h"

namespace {

// Unpacked groups of four.
template <int GROUPS>
struct unpacked {
	float q[GROUPS][4], scale[GROUPS], less[GROUPS];
};

// Type is a quantized type; each is written out below.
template <int TYPE> struct quant;

// What a type says of its pieces. LESS is 1 where elements have a subtrahend, else less is not set.
template <class B, int ELEMENTS, int G, int S, int LESSER = 0>
struct pieces {
	typedef B block;
	typedef unpacked<G> piece_of;
	enum { N = ELEMENTS, GROUPS = G, STRIDE = S, LESS = LESSER, PIECES = ELEMENTS / (4 * G) };
	// start is the place in its block of the first element of piece i.
	static __device__ __forceinline__ unsigned start(unsigned i) { return i / (S / 4) * (S * G) + i % (S / 4) * 4; }
};

__device__ __forceinline__ float half_bits(uint32_t h) { return __half2float(__ushort_as_half((unsigned short)h)); }

// Four bytes at a place that is a multiple of 4, of 2, or any.
__device__ __forceinline__ uint32_t word4(const void *p) { return *(const uint32_t *)p; }
__device__ __forceinline__ uint32_t word2(const void *p) { return ((const uint16_t *)p)[0] | (uint32_t)((const uint16_t *)p)[1] << 16; }
__device__ __forceinline__ uint32_t word1(const void *p) {
	const uint8_t *b = (const uint8_t *)p;
	return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

// small is x < 2^23 as a float, by an addition, which is quicker than a conversion.
__device__ __forceinline__ float small(uint32_t x) { return __uint_as_float(0x4b000000u | x) - 8388608.0f; }

// The four bytes of w, less by, as floats.
__device__ __forceinline__ void bytes(float q[4], uint32_t w, float by) {
#pragma unroll
	for (int j = 0; j < 4; j++) q[j] = small(w >> 8 * j & 255) - by;
}
// The four bytes of w, which are signed.
__device__ __forceinline__ void signed_bytes(float q[4], uint32_t w) { bytes(q, w ^ 0x80808080u, 128); }

// A byte of each sign: bit j of signs is that of q[j].
__device__ __forceinline__ void with_signs(float q[4], uint32_t w, uint32_t signs) {
	bytes(q, w, 0);
#pragma unroll
	for (int j = 0; j < 4; j++)
		if (signs >> j & 1) q[j] = -q[j];
}

// The entries of a table of 16 bytes, given as four words, that the nibbles of q name: of the low nibbles, and of the high ones.
template <uint32_t A, uint32_t B, uint32_t C, uint32_t D>
__device__ __forceinline__ uint2 look_up(uint32_t q) {
	// A selector of __byte_perm picks among 8 bytes, so bit 3 of the nibbles chooses between two such.
	const uint32_t half = 0x32103210u | (q & 0x88888888u) >> 1;
	uint32_t four[2];
#pragma unroll
	for (int i = 0; i < 2; i++) {
		const uint32_t s = q >> 16 * i & 0x7777;
		four[i] = __byte_perm(__byte_perm(A, B, s), __byte_perm(C, D, s), half >> 16 * i & 0xffff);
	}
	return make_uint2(__byte_perm(four[0], four[1], 0x6420), __byte_perm(four[0], four[1], 0x7531));
}
// kvalues_iq4nl and kvalues_mxfp4; the latter are twice the values of E2M1.
__device__ __forceinline__ uint2 iq4nl(uint32_t q) { return look_up<0xbfad9881, 0xf6eaddcf, 0x26190d01, 0x71594535>(q); }
__device__ __forceinline__ uint2 mxfp4(uint32_t q) { return look_up<0x03020100, 0x0c080604, 0xfdfeff00, 0xf4f8fafc>(q); }

// spread makes four bits the fifth bits of four bytes.
__device__ __forceinline__ uint32_t spread(uint32_t bits) { return (bits & 1) << 4 | (bits & 2) << 11 | (bits & 4) << 18 | (bits & 8) << 25; }

template <> struct quant<GGML_TYPE_Q4_0> : pieces<block_q4_0, 32, 2, 16> {
	static __device__ __forceinline__ void piece(const block &b, unsigned i, piece_of &p) {
		const uint32_t w = word2(b.qs + 4 * i);
		p.scale[0] = p.scale[1] = half_bits(b.d);
		bytes(p.q[0], w & 0x0f0f0f0f, 8);
		bytes(p.q[1], w >> 4 & 0x0f0f0f0f, 8);
	}
};

template <> struct quant<GGML_TYPE_Q4_1> : pieces<block_q4_1, 32, 2, 16, 1> {
	static __device__ __forceinline__ void piece(const block &b, unsigned i, piece_of &p) {
		const uint32_t w = word4(b.qs + 4 * i);
		p.scale[0] = p.scale[1] = half_bits(b.d);
		p.less[0] = p.less[1] = -half_bits(b.m);
		bytes(p.q[0], w & 0x0f0f0f0f, 0);
		bytes(p.q[1], w >> 4 & 0x0f0f0f0f, 0);
	}
};

template <> struct quant<GGML_TYPE_Q5_0> : pieces<block_q5_0, 32, 2, 16> {
	static __device__ __forceinline__ void piece(const block &b, unsigned i, piece_of &p) {
		const uint32_t w = word2(b.qs + 4 * i), h = word2(b.qh) >> 4 * i;
		p.scale[0] = p.scale[1] = half_bits(b.d);
		bytes(p.q[0], (w & 0x0f0f0f0f) | spread(h), 16);
		bytes(p.q[1], (w >> 4 & 0x0f0f0f0f) | spread(h >> 16), 16);
	}
};

template <> struct quant<GGML_TYPE_Q5_1> : pieces<block_q5_1, 32, 2, 16, 1> {
	static __device__ __forceinline__ void piece(const block &b, unsigned i, piece_of &p) {
		const uint32_t w = word4(b.qs + 4 * i), h = word4(b.qh) >> 4 * i;
		p.scale[0] = p.scale[1] = half_bits(b.d);
		p.less[0] = p.less[1] = -half_bits(b.m);
		bytes(p.q[0], (w & 0x0f0f0f0f) | spread(h), 0);
		bytes(p.q[1], (w >> 4 & 0x0f0f0f0f) | spread(h >> 16), 0);
	}
};

template <> struct quant<GGML_TYPE_Q8_0> : pieces<block_q8_0, 32, 2, 4> {
	static __device__ __forceinline__ void piece(const block &b, unsigned i, piece_of &p) {
		p.scale[0] = p.scale[1] = half_bits(b.d);
		signed_bytes(p.q[0], word2(b.qs + 8 * i));
		signed_bytes(p.q[1], word2(b.qs + 8 * i + 4));
	}
};

template <> struct quant<GGML_TYPE_Q2_K> : pieces<block_q2_K, 256, 4, 32, 1> {
	static __device__ __forceinline__ void piece(const block &b, unsigned i, piece_of &p) {
		const unsigned half = i / 8, at = i % 8 * 4;
		const uint32_t w = word4(b.qs + 32 * half + at);
		const float d = half_bits(b.d), min = half_bits(b.dmin);
#pragma unroll
		for (int g = 0; g < 4; g++) {
			const uint32_t sc = b.scales[8 * half + 2 * g + at / 16];
			p.scale[g] = d * small(sc & 15);
			p.less[g] = min * small(sc >> 4);
			bytes(p.q[g], w >> 2 * g & 0x03030303, 0);
		}
	}
};

template <> struct quant<GGML_TYPE_Q3_K> : pieces<block_q3_K, 256, 4, 32> {
	static __device__ __forceinline__ void piece(const block &b, unsigned i, piece_of &p) {
		const unsigned half = i / 8, at = i % 8 * 4;
		const uint32_t w = word2(b.qs + 32 * half + at), h = word2(b.hmask + at) >> 4 * half;
		const float d = half_bits(b.d);
#pragma unroll
		for (int g = 0; g < 4; g++) {
			const unsigned s = 8 * half + 2 * g + at / 16; // a scale's low four bits, then the other two
			const uint32_t sc = (s < 8 ? b.scales[s] & 15 : b.scales[s - 8] >> 4) | (b.scales[8 + s % 4] >> 2 * (s / 4) & 3) << 4;
			p.scale[g] = d * (small(sc) - 32);
			bytes(p.q[g], (w >> 2 * g & 0x03030303) | (h >> g & 0x01010101) << 2, 4);
		}
	}
};

// The six bits of scale j, and of minimum j, of Q4_K and Q5_K.
__device__ __forceinline__ void scale_min(const uint8_t *s, unsigned j, uint32_t &scale, uint32_t &min) {
	if (j < 4) {
		scale = s[j] & 63;
		min = s[j + 4] & 63;
	} else {
		scale = (s[j + 4] & 15) | s[j - 4] >> 6 << 4;
		min = s[j + 4] >> 4 | s[j] >> 6 << 4;
	}
}

template <> struct quant<GGML_TYPE_Q4_K> : pieces<block_q4_K, 256, 2, 32, 1> {
	static __device__ __forceinline__ void piece(const block &b, unsigned i, piece_of &p) {
		const unsigned c = i / 8;
		const uint32_t w = word4(b.qs + 4 * i);
		const float d = half_bits(b.d), min = half_bits(b.dmin);
#pragma unroll
		for (int g = 0; g < 2; g++) {
			uint32_t sc, m;
			scale_min(b.scales, 2 * c + g, sc, m);
			p.scale[g] = d * small(sc);
			p.less[g] = min * small(m);
			bytes(p.q[g], w >> 4 * g & 0x0f0f0f0f, 0);
		}
	}
};

template <> struct quant<GGML_TYPE_Q5_K> : pieces<block_q5_K, 256, 2, 32, 1> {
	static __device__ __forceinline__ void piece(const block &b, unsigned i, piece_of &p) {
		const unsigned c = i / 8;
		const uint32_t w = word4(b.qs + 4 * i), h = word4(b.qh + i % 8 * 4) >> 2 * c;
		const float d = half_bits(b.d), min = half_bits(b.dmin);
#pragma unroll
		for (int g = 0; g < 2; g++) {
			uint32_t sc, m;
			scale_min(b.scales, 2 * c + g, sc, m);
			p.scale[g] = d * small(sc);
			p.less[g] = min * small(m);
			bytes(p.q[g], (w >> 4 * g & 0x0f0f0f0f) | (h >> g & 0x01010101) << 4, 0);
		}
	}
};

template <> struct quant<GGML_TYPE_Q6_K> : pieces<block_q6_K, 256, 4, 32> {
	static __device__ __forceinline__ void piece(const block &b, unsigned i, piece_of &p) {
		const unsigned half = i / 8, at = i % 8 * 4;
		const uint32_t low[2] = {word2(b.ql + 64 * half + at), word2(b.ql + 64 * half + 32 + at)}, h = word2(b.qh + 32 * half + at);
		const float d = half_bits(b.d);
#pragma unroll
		for (int g = 0; g < 4; g++) {
			p.scale[g] = d * (float)b.scales[8 * half + 2 * g + at / 16];
			bytes(p.q[g], (low[g % 2] >> 4 * (g / 2) & 0x0f0f0f0f) | (h >> 2 * g & 0x03030303) << 4, 32);
		}
	}
};

template <> struct quant<GGML_TYPE_IQ4_NL> : pieces<block_iq4_nl, 32, 2, 16> {
	static __device__ __forceinline__ void piece(const block &b, unsigned i, piece_of &p) {
		const uint2 v = iq4nl(word2(b.qs + 4 * i));
		p.scale[0] = p.scale[1] = half_bits(b.d);
		signed_bytes(p.q[0], v.x);
		signed_bytes(p.q[1], v.y);
	}
};

template <> struct quant<GGML_TYPE_IQ4_XS> : pieces<block_iq4_xs, 256, 2, 16> {
	static __device__ __forceinline__ void piece(const block &b, unsigned i, piece_of &p) {
		const unsigned part = i / 4;
		const uint2 v = iq4nl(word4(b.qs + 4 * i));
		const uint32_t sc = (b.scales_l[part / 2] >> 4 * (part % 2) & 15) | (b.scales_h >> 2 * part & 3) << 4;
		p.scale[0] = p.scale[1] = half_bits(b.d) * (small(sc) - 32);
		signed_bytes(p.q[0], v.x);
		signed_bytes(p.q[1], v.y);
	}
};

template <> struct quant<GGML_TYPE_MXFP4> : pieces<block_mxfp4, 32, 2, 16> {
	static __device__ __forceinline__ void piece(const block &b, unsigned i, piece_of &p) {
		const uint2 v = mxfp4(word1(b.qs + 4 * i));
		// 2^(e−128), also where that is subnormal.
		p.scale[0] = p.scale[1] = __uint_as_float(b.e < 2 ? 0x00200000u << b.e : (uint32_t)(b.e - 1) << 23);
		signed_bytes(p.q[0], v.x);
		signed_bytes(p.q[1], v.y);
	}
};

template <> struct quant<GGML_TYPE_TQ1_0> : pieces<block_tq1_0, 256, 1, 4> {
	// Digit n of numbers in base 3: five to a byte, 32 bytes' digits 0, then their digits 1 …; then 16 bytes', then 4 of four digits.
	static __device__ __forceinline__ void piece(const block &b, unsigned i, piece_of &p) {
		const unsigned e = 4 * i;
		const uint8_t *at;
		unsigned n;
		if (e < 160) {
			at = b.qs + e % 32;
			n = e / 32;
		} else if (e < 240) {
			at = b.qs + 32 + e % 16;
			n = (e - 160) / 16;
		} else {
			at = b.qh;
			n = (e - 240) / 4;
		}
		unsigned power = 1;
		for (unsigned j = 0; j < n; j++) power *= 3;
		p.scale[0] = half_bits(b.d);
#pragma unroll
		for (int j = 0; j < 4; j++) p.q[0][j] = small((at[j] * power & 255) * 3 >> 8) - 1;
	}
};

template <> struct quant<GGML_TYPE_TQ2_0> : pieces<block_tq2_0, 256, 4, 32> {
	static __device__ __forceinline__ void piece(const block &b, unsigned i, piece_of &p) {
		const uint32_t w = word2(b.qs + 4 * i);
		const float d = half_bits(b.d);
#pragma unroll
		for (int g = 0; g < 4; g++) {
			p.scale[g] = d;
			bytes(p.q[g], w >> 2 * g & 0x03030303, 1);
		}
	}
};

// The IQ types of 1 to 3 bits: eight elements are an entry of a table, which holds their sizes, and signs.
// Piece i is quarter i%4 of the 32 elements i/4.

// eight gives elements whose sizes are the bytes of lo, then of hi.
template <class P>
__device__ __forceinline__ void eight(P &p, float scale, uint32_t lo, uint32_t hi, uint32_t signs) {
	p.scale[0] = p.scale[1] = scale;
	with_signs(p.q[0], lo, signs);
	with_signs(p.q[1], hi, signs >> 4);
}
template <class P>
__device__ __forceinline__ void eight(P &p, float scale, uint64_t sizes, uint32_t signs) { eight(p, scale, (uint32_t)sizes, (uint32_t)(sizes >> 32), signs); }

template <> struct quant<GGML_TYPE_IQ2_XXS> : pieces<block_iq2_xxs, 256, 2, 4> {
	static __device__ __forceinline__ void piece(const block &b, unsigned i, piece_of &p) {
		const uint16_t *q = b.qs + i / 4 * 4; // four indices, then four times 7 bits of signs and a scale
		const unsigned l = i % 4;
		const uint32_t s = word2(q + 2);
		eight(p, half_bits(b.d) * (0.5f + small(s >> 28)) * 0.25f, iq2xxs_grid[q[l / 2] >> 8 * (l % 2) & 255], ksigns_iq2xs[s >> 7 * l & 127]);
	}
};

template <> struct quant<GGML_TYPE_IQ2_XS> : pieces<block_iq2_xs, 256, 2, 4> {
	static __device__ __forceinline__ void piece(const block &b, unsigned i, piece_of &p) {
		const uint32_t q = b.qs[i], sc = b.scales[i / 4] >> 4 * (i % 4 / 2) & 15;
		eight(p, half_bits(b.d) * (0.5f + small(sc)) * 0.25f, iq2xs_grid[q & 511], ksigns_iq2xs[q >> 9]);
	}
};

template <> struct quant<GGML_TYPE_IQ2_S> : pieces<block_iq2_s, 256, 2, 4> {
	static __device__ __forceinline__ void piece(const block &b, unsigned i, piece_of &p) {
		const uint32_t sc = b.scales[i / 4] >> 4 * (i % 4 / 2) & 15, high = b.qh[i / 4] >> 2 * (i % 4) & 3;
		eight(p, half_bits(b.d) * (0.5f + small(sc)) * 0.25f, iq2s_grid[b.qs[i] | high << 8], b.qs[32 + i]);
	}
};

template <> struct quant<GGML_TYPE_IQ3_XXS> : pieces<block_iq3_xxs, 256, 2, 4> {
	static __device__ __forceinline__ void piece(const block &b, unsigned i, piece_of &p) {
		const uint32_t s = word2(b.qs + 64 + i / 4 * 4);
		eight(p, half_bits(b.d) * (0.5f + small(s >> 28)) * 0.5f, iq3xxs_grid[b.qs[2 * i]], iq3xxs_grid[b.qs[2 * i + 1]], ksigns_iq2xs[s >> 7 * (i % 4) & 127]);
	}
};

template <> struct quant<GGML_TYPE_IQ3_S> : pieces<block_iq3_s, 256, 2, 4> {
	static __device__ __forceinline__ void piece(const block &b, unsigned i, piece_of &p) {
		const uint32_t high = b.qh[i / 4] >> 2 * (i % 4), sc = b.scales[i / 8] >> 4 * (i / 4 % 2) & 15;
		eight(p, half_bits(b.d) * (1 + 2 * small(sc)), iq3s_grid[b.qs[2 * i] | (high & 1) << 8], iq3s_grid[b.qs[2 * i + 1] | (high & 2) << 7], b.signs[i]);
	}
};

// IQ1: an entry holds −1, 0 and 1 (here, for GPUs, 0 to 2, the second four in the high nibbles), and all eight are shifted by an eighth.
template <class P>
__device__ __forceinline__ void ternary(P &p, float scale, uint32_t index, bool down) {
	const uint32_t w = iq1s_grid_gpu[index];
	const float by = down ? 1 + IQ1S_DELTA : 1 - IQ1S_DELTA;
	p.scale[0] = p.scale[1] = scale;
	bytes(p.q[0], w & 0x0f0f0f0f, by);
	bytes(p.q[1], w >> 4 & 0x0f0f0f0f, by);
}

template <> struct quant<GGML_TYPE_IQ1_S> : pieces<block_iq1_s, 256, 2, 4> {
	static __device__ __forceinline__ void piece(const block &b, unsigned i, piece_of &p) {
		const uint32_t h = b.qh[i / 4];
		ternary(p, half_bits(b.d) * (2 * small(h >> 12 & 7) + 1), b.qs[i] | (h >> 3 * (i % 4) & 7) << 8, h & 0x8000);
	}
};

template <> struct quant<GGML_TYPE_IQ1_M> : pieces<block_iq1_m, 256, 2, 4> {
	static __device__ __forceinline__ void piece(const block &b, unsigned i, piece_of &p) {
		const uint16_t *s = (const uint16_t *)b.scales; // 3 bits for 16 elements; the high nibbles are the block's scale
		const float d = half_bits(s[0] >> 12 | (s[1] >> 8 & 0xf0) | (s[2] >> 4 & 0xf00) | (s[3] & 0xf000));
		const uint32_t h = b.qh[i / 2] >> 4 * (i % 2), sc = s[i / 8] >> 3 * (i / 2 % 4) & 7;
		ternary(p, d * (2 * small(sc) + 1), b.qs[i] | (h & 7) << 8, h & 8);
	}
};

} // namespace

// The quantized types, for switches: LG_QUANTIZED(CASE) is CASE of each.
#define LG_QUANTIZED(CASE) \
	CASE(GGML_TYPE_Q4_0) CASE(GGML_TYPE_Q4_1) CASE(GGML_TYPE_Q5_0) CASE(GGML_TYPE_Q5_1) CASE(GGML_TYPE_Q8_0) \
	CASE(GGML_TYPE_Q2_K) CASE(GGML_TYPE_Q3_K) CASE(GGML_TYPE_Q4_K) CASE(GGML_TYPE_Q5_K) CASE(GGML_TYPE_Q6_K) \
	CASE(GGML_TYPE_IQ4_NL) CASE(GGML_TYPE_IQ4_XS) CASE(GGML_TYPE_MXFP4) CASE(GGML_TYPE_TQ1_0) CASE(GGML_TYPE_TQ2_0) \
	CASE(GGML_TYPE_IQ2_XXS) CASE(GGML_TYPE_IQ2_XS) CASE(GGML_TYPE_IQ2_S) CASE(GGML_TYPE_IQ3_XXS) CASE(GGML_TYPE_IQ3_S) \
	CASE(GGML_TYPE_IQ1_S) CASE(GGML_TYPE_IQ1_M)
