#include "gemm.h"
#include "kernels.h"
#include <cstdlib>

struct buffer {
	float *p = nullptr;
	size_t n = 0;
	~buffer() { free(p); }
};

float *scratch(int slot, size_t n) {
	static thread_local buffer b[4];
	if (b[slot].n < n) {
		free(b[slot].p);
		b[slot].n = 0;
		size_t bytes = (n * sizeof(float) + 4095) & ~(size_t)4095;
		b[slot].p = (float *)aligned_alloc(4096, bytes);
		if (!b[slot].p) abort(); // a few MiB; the graph's own buffers were had before
		b[slot].n = n;
	}
	return b[slot].p;
}

size_t type_bytes(int type) { return type == LG_F32 ? 4 : 2; }

static void convert(int type, const uint16_t *s, int k, float *d) {
	if (type == LG_BF16) {
		for (int i = 0; i < k; i++) {
			uint32_t u = (uint32_t)s[i] << 16;
			memcpy(d + i, &u, 4);
		}
	} else {
		for (int i = 0; i < k; i++) d[i] = f16_to_f32(s[i]);
	}
}

const float *row_f32(int type, const void *row, ptrdiff_t from, int k, float *tmp) {
	if (type == LG_F32) return (const float *)row + from;
	convert(type, (const uint16_t *)row + from, k, tmp);
	return tmp;
}

void pack_b(int type, const void *b, ptrdiff_t ld, bool trans, int j0, int m, int k0, int k, float *out) {
	const char *base = (const char *)b;
	const size_t es = type_bytes(type);
	if (trans) { // rows of k hold neighbouring j: copy strips
		float tmp[NR];
		for (int j = 0; j < m; j += NR) {
			int w = m - j < NR ? m - j : NR;
			for (int p = 0; p < k; p++, out += NR) {
				const float *r = row_f32(type, base + (size_t)(k0 + p) * ld * es, j0 + j, w, tmp);
				if (w == NR) {
					vstore(out, vload(r));
					vstore(out + VL, vload(r + VL));
				} else {
					for (int x = 0; x < NR; x++) out[x] = x < w ? r[x] : 0;
				}
			}
		}
		return;
	}
	const int KB = 64; // depth of one strip, so that the rows of a panel stay in L1 while they are transposed
	float tmp[NR][KB];
	for (int j = 0; j < m; j += NR, out += (ptrdiff_t)k * NR) {
		int w = m - j < NR ? m - j : NR;
		for (int p0 = 0; p0 < k; p0 += KB) {
			int kb = k - p0 < KB ? k - p0 : KB;
			const float *r[NR];
			for (int x = 0; x < w; x++) r[x] = row_f32(type, base + (size_t)(j0 + j + x) * ld * es, k0 + p0, kb, tmp[x]);
			float *o = out + (ptrdiff_t)p0 * NR;
			if (w == NR) {
				for (int p = 0; p < kb; p++)
					for (int x = 0; x < NR; x++) o[p * NR + x] = r[x][p];
			} else {
				for (int p = 0; p < kb; p++)
					for (int x = 0; x < NR; x++) o[p * NR + x] = x < w ? r[x][p] : 0;
			}
		}
	}
}

// pack_a copies n rows and depth k of A into panels of MR rows, [k][MR], so that
// the tile reads it in one stream. Rows beyond n are not read by tile_rows.
static void pack_a(int type, const void *a, ptrdiff_t ld, bool trans, int i0, int n, int k0, int k, float *out) {
	const char *base = (const char *)a;
	const size_t es = type_bytes(type);
	float tmp[1024];
	for (int i = 0; i < n; i += MR, out += (ptrdiff_t)k * MR) {
		int w = n - i < MR ? n - i : MR;
		if (trans) {
			for (int p = 0; p < k; p++) {
				const float *r = row_f32(type, base + (size_t)(k0 + p) * ld * es, i0 + i, w, tmp);
				for (int x = 0; x < w; x++) out[p * MR + x] = r[x];
			}
		} else {
			for (int x = 0; x < w; x++) {
				const float *r = row_f32(type, base + (size_t)(i0 + i + x) * ld * es, k0, k, tmp);
				for (int p = 0; p < k; p++) out[p * MR + x] = r[p];
			}
		}
	}
}

// gemm computes rows [i0,i1) and columns [j0,j1) of C.
static void gemm(const lg_gemm *g, int i0, int i1, int j0, int j1) {
	// Blocks by the caches of small cores: a panel of B (KC×NR) in L1, a block of A (MC×KC) in half of L2, B (KC×NC) in L3.
	const int KC = 256, MC = MR * 32, NC = NR * 64;
	float *pa = scratch(0, (size_t)MC * KC), *pb = scratch(1, (size_t)NC * KC);
	for (int jc = j0; jc < j1; jc += NC) {
		int m = j1 - jc < NC ? j1 - jc : NC;
		for (int kc = 0; kc < g->k; kc += KC) {
			int k = g->k - kc < KC ? g->k - kc : KC;
			pack_b(g->btype, g->b, g->ldb, g->tb, jc, m, kc, k, pb);
			for (int ic = i0; ic < i1; ic += MC) {
				int n = i1 - ic < MC ? i1 - ic : MC;
				pack_a(g->atype, g->a, g->lda, g->ta, ic, n, kc, k, pa);
				for (int j = 0; j < m; j += NR) {
					int cols = m - j < NR ? m - j : NR;
					const float *b = pb + (ptrdiff_t)j * k;
					for (int i = 0; i < n; i += MR)
						tile_rows(n - i < MR ? n - i : MR, k, pa + (ptrdiff_t)i * k, 1, MR, b, g->c + (ptrdiff_t)(ic + i) * g->ldc + jc + j, g->ldc, cols, kc > 0);
				}
			}
		}
	}
}

void lg_gemm_run(const lg_gemm *g, int ith, int nth) {
	// Threads share the longer side of C in whole tiles, so that each packs its part of that operand once; the sum over k is never split, so results do not depend on the number of threads.
	if (g->m >= g->n) {
		int tiles = (g->m + NR - 1) / NR;
		int j0 = (int)((int64_t)tiles * ith / nth) * NR, j1 = (int)((int64_t)tiles * (ith + 1) / nth) * NR;
		if (j1 > g->m) j1 = g->m;
		if (j0 < j1) gemm(g, 0, g->n, j0, j1);
	} else {
		int tiles = (g->n + MR - 1) / MR;
		int i0 = (int)((int64_t)tiles * ith / nth) * MR, i1 = (int)((int64_t)tiles * (ith + 1) / nth) * MR;
		if (i1 > g->n) i1 = g->n;
		if (i0 < i1) gemm(g, i0, i1, 0, g->m);
	}
}
