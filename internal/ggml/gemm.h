// Single-precision matrix products on packed panels.
//
//   C[i][j] = Σ_k A(i,k)·B(j,k)      i < n, j < m
//
// A(i,k) is a[i*rs + k*cs]; B is packed by pack_b into panels of NR columns,
// panel p holding b(p*NR+j, k) at [k][j], zero beyond m. The register tile is
// MR×NR: 6×16 with AVX2 (12 of 16 registers hold sums), 12×32 with AVX-512.
// (Goto & van de Geijn, "Anatomy of high-performance matrix multiplication", 2008)
#pragma once
#include "vec.h"

#define NR (2 * VL)
#if VL == 16
#define MR 12
#else
#define MR 6
#endif

enum { LG_GEMM_ROWS = MR * 16 }; // of A that a thread packs at a time
enum { LG_F32 = 0, LG_F16 = 1, LG_Q8_0 = 8, LG_BF16 = 30 }; // ggml_type; all others are quantized weights

template <int R>
static inline __attribute__((always_inline)) void micro(int k, const float *a, ptrdiff_t rs, ptrdiff_t cs, const float *b, vf *c0, vf *c1) {
	for (int p = 0; p < k; p++, b += NR, a += cs) {
		vf b0 = vload(b), b1 = vload(b + VL);
#pragma GCC unroll 16
		for (int i = 0; i < R; i++) {
			vf x = vset(a[i * rs]);
			c0[i] += x * b0;
			c1[i] += x * b1;
		}
	}
}

// tile computes R rows of one panel: c (R, cols) = [c +] A·B over k.
template <int R>
static inline void tile(int k, const float *a, ptrdiff_t rs, ptrdiff_t cs, const float *b, float *c, ptrdiff_t ldc, int cols, bool add) {
#pragma GCC unroll 16
	for (int i = 0; i < R; i++) __builtin_prefetch(c + i * ldc, 1); // its latency passes during the products
	vf c0[R] = {}, c1[R] = {};
	micro<R>(k, a, rs, cs, b, c0, c1);
	if (cols == NR) {
#pragma GCC unroll 16
		for (int i = 0; i < R; i++) {
			float *y = c + i * ldc;
			if (add) {
				c0[i] += vload(y);
				c1[i] += vload(y + VL);
			}
			vstore(y, c0[i]);
			vstore(y + VL, c1[i]);
		}
		return;
	}
#pragma GCC unroll 16
	for (int i = 0; i < R; i++) {
		float t[NR];
		vstore(t, c0[i]);
		vstore(t + VL, c1[i]);
		for (int j = 0; j < cols; j++) c[i * ldc + j] = add ? c[i * ldc + j] + t[j] : t[j];
	}
}

static inline void tile_rows(int r, int k, const float *a, ptrdiff_t rs, ptrdiff_t cs, const float *b, float *c, ptrdiff_t ldc, int cols, bool add) {
	switch (r) {
	case 1: return tile<1>(k, a, rs, cs, b, c, ldc, cols, add);
	case 2: return tile<2>(k, a, rs, cs, b, c, ldc, cols, add);
	case 3: return tile<3>(k, a, rs, cs, b, c, ldc, cols, add);
	case 4: return tile<4>(k, a, rs, cs, b, c, ldc, cols, add);
	case 5: return tile<5>(k, a, rs, cs, b, c, ldc, cols, add);
	case 6: return tile<6>(k, a, rs, cs, b, c, ldc, cols, add);
#if MR == 12
	case 7: return tile<7>(k, a, rs, cs, b, c, ldc, cols, add);
	case 8: return tile<8>(k, a, rs, cs, b, c, ldc, cols, add);
	case 9: return tile<9>(k, a, rs, cs, b, c, ldc, cols, add);
	case 10: return tile<10>(k, a, rs, cs, b, c, ldc, cols, add);
	case 11: return tile<11>(k, a, rs, cs, b, c, ldc, cols, add);
	case 12: return tile<12>(k, a, rs, cs, b, c, ldc, cols, add);
#endif
	}
}

// block multiplies n rows of A by the packed panels of m columns.
static inline void block(int n, int m, int k, const float *a, ptrdiff_t rs, ptrdiff_t cs, const float *bp, float *c, ptrdiff_t ldc, bool add) {
	for (int j = 0; j < m; j += NR, bp += (ptrdiff_t)k * NR) {
		int cols = m - j < NR ? m - j : NR;
		for (int i = 0; i < n; i += MR)
			tile_rows(n - i < MR ? n - i : MR, k, a + i * rs, rs, cs, bp, c + i * ldc + j, ldc, cols, add);
	}
}

// type_block is the number of elements that a type stores together: 1, 32 or 256.
int type_block(int type);
// block_bytes is the size of n elements, of whole blocks of a quantized type.
ptrdiff_t block_bytes(int type, ptrdiff_t n);
// type_bytes is the size of n elements of any type.
static inline ptrdiff_t type_bytes(int type, ptrdiff_t n) { return type == LG_F32 ? 4 * n : type == LG_F16 || type == LG_BF16 ? 2 * n : block_bytes(type, n); }
// row_f32 gives elements [from, from+k) of a row of any type as floats, through tmp when they are not floats already.
// Blocks are unpacked whole, so tmp has room for ROW_EXTRA more than k.
const float *row_f32(int type, const void *row, ptrdiff_t from, int k, float *tmp);
#define ROW_EXTRA 512

// pack_b packs columns [j0, j0+m) and depth [k0, k0+k) of B. Element (j,k) is at
// b[j*ld+k] when trans is false, at b[k*ld+j] when it is true; ld in elements.
void pack_b(int type, const void *b, ptrdiff_t ld, bool trans, int j0, int m, int k0, int k, float *out);

// scratch returns a buffer of the calling thread of at least n floats, 64-byte aligned; slot 0…3 are distinct.
float *scratch(int slot, size_t n);
