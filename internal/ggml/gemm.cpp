#include "blocks.h"
#include "cggml.h"
#include "kernels.h"
#include <cstdlib>
#if __has_include(<sys/mman.h>)
#include <sys/mman.h>
#endif

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
		const size_t page = 2 << 20; // huge pages: fewer translations, and no two pages of a block fall on the same part of L2
		size_t bytes = (n * sizeof(float) + page - 1) / page * page;
		b[slot].p = (float *)aligned_alloc(page, bytes);
		if (!b[slot].p) abort(); // a few MiB; the graph's own buffers were had before
#ifdef MADV_HUGEPAGE
		madvise(b[slot].p, bytes, MADV_HUGEPAGE); // a hint: to refuse it costs speed only
#endif
		b[slot].n = n;
	}
	return b[slot].p;
}

static void convert(int type, const uint16_t *s, int k, float *d) {
	if (type == LG_BF16) {
		for (int i = 0; i < k; i++) d[i] = bf16_to_f32(s[i]);
	} else {
		int i = 0;
#if defined(__F16C__) && VL == 8
		for (; i + VL <= k; i += VL) vstore(d + i, (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(s + i))));
#endif
		for (; i < k; i++) d[i] = f16_to_f32(s[i]);
	}
}

int type_block(int type) { return type == LG_F32 || type == LG_F16 || type == LG_BF16 ? 1 : (int)ggml_get_type_traits((ggml_type)type)->blck_size; }

ptrdiff_t block_bytes(int type, ptrdiff_t n) {
	const ggml_type_traits *t = ggml_get_type_traits((ggml_type)type);
	return n / t->blck_size * (ptrdiff_t)t->type_size;
}

const float *row_f32(int type, const void *row, ptrdiff_t from, int k, float *tmp) {
	if (type == LG_F32) return (const float *)row + from;
	if (type == LG_F16 || type == LG_BF16) {
		convert(type, (const uint16_t *)row + from, k, tmp);
		return tmp;
	}
	if (const block_kernels *b = block_kernels_of(type)) {
		const ptrdiff_t first = from / 32, end = (from + k + 31) / 32;
		b->floats((const uint8_t *)row, first, (int)(end - first), tmp);
		return tmp + (from - first * 32);
	}
	const ggml_type_traits *t = ggml_get_type_traits((ggml_type)type);
	const ptrdiff_t first = from / t->blck_size * t->blck_size, end = (from + k + t->blck_size - 1) / t->blck_size * t->blck_size;
	t->to_float((const char *)row + block_bytes(type, first), tmp, end - first);
	return tmp + (from - first);
}

// Both operands are packed by the two functions below, into panels of W columns, [k][W]; zero where columns are missing.

// pack_rows packs an operand whose rows run along the panels: element (x,p) is at src[p*ld+at+x]. Each row
// is read once from end to end, for there the next row may lie a power of two away, in the same cache set.
template <int W>
static void pack_rows(int type, const char *src, ptrdiff_t ld, ptrdiff_t at, int n, int k, float *out) {
	const int XB = W * 16; // columns at a time: as many panels are written in turn
	float tmp[XB + ROW_EXTRA];
	for (int x0 = 0; x0 < n; x0 += XB) {
		int xb = n - x0 < XB ? n - x0 : XB;
		for (int p = 0; p < k; p++) {
			const float *r = row_f32(type, src + type_bytes(type, (ptrdiff_t)p * ld), at + x0, xb, tmp);
			float *o = out + (ptrdiff_t)x0 * k + p * W;
			int x = 0;
			for (; x + W <= xb; x += W, o += (ptrdiff_t)k * W) memcpy(o, r + x, W * 4);
			if (x < xb)
				for (int i = 0; i < W; i++) o[i] = x + i < xb ? r[x + i] : 0;
		}
	}
}

// pack_columns packs an operand whose rows run along the depth: element (x,p) is at src[x*ld+at+p].
// Blocks of 4×4 are transposed in registers. When W is no multiple of 4, as 6, a store's surplus
// lies where the next step of p, or the next panel, is written after it.
// KB is the depth at a time, the length of the longest blocks for quantized types.
template <int W, int KB>
static void pack_columns(int type, const char *src, ptrdiff_t ld, ptrdiff_t at, int n, int k, float *out) {
	const int G = (W + 3) / 4 * 4; // rows rounded up
	static const float zeros[KB] = {};
	float tmp[W][KB + (KB > 64 ? ROW_EXTRA : 0)];
	for (int x0 = 0; x0 < n; x0 += W) {
		int w = n - x0 < W ? n - x0 : W;
		for (int p0 = 0; p0 < k; p0 += KB) {
			int kb = k - p0 < KB ? k - p0 : KB, p = 0;
			const float *r[G];
			for (int x = 0; x < G; x++) r[x] = x < w ? row_f32(type, src + type_bytes(type, (x0 + x) * ld), at + p0, kb, tmp[x]) : zeros;
			for (; p + 4 <= kb; p += 4, out += 4 * W)
#pragma GCC unroll 4
				for (int x = G - 4; x >= 0; x -= 4) transpose4(r + x, p, out + x, W);
			for (; p < kb; p++, out += W)
				for (int x = 0; x < W; x++) out[x] = r[x][p];
		}
	}
}

template <int W>
static void pack(int type, const void *src, ptrdiff_t ld, bool trans, int x0, int n, int k0, int k, float *out) {
	const char *p = (const char *)src;
	if (trans)
		pack_rows<W>(type, p + type_bytes(type, k0 * ld), ld, x0, n, k, out);
	else if (type_block(type) == 1)
		pack_columns<W, 64>(type, p + type_bytes(type, x0 * ld), ld, k0, n, k, out);
	else
		pack_columns<W, 256>(type, p + type_bytes(type, x0 * ld), ld, k0, n, k, out);
}

void pack_b(int type, const void *b, ptrdiff_t ld, bool trans, int j0, int m, int k0, int k, float *out) {
	pack<NR>(type, b, ld, trans, j0, m, k0, k, out);
}

// gemm computes rows [i0,i1) and columns [j0,j1) of C.
static void gemm(const lg_gemm *g, int i0, int i1, int j0, int j1) {
	// Blocks by the caches of small cores: a panel of B (KC×NR) and one of A in L1, a block of A (MC×KC) in a quarter of L2, B (KC×NC) in L3.
	const int KC = 320, MC = LG_GEMM_ROWS, NC = NR * 64;
	// Few rows are read where they are: packing them again for each part of the columns would not pay.
	const bool direct = g->n <= MC && g->atype == LG_F32 && !g->ta;
	// 4 more: pack_columns stores a surplus.
	float *pa = scratch(0, (size_t)MC * KC + 4), *pb = scratch(1, (size_t)NC * KC);
	// Equal steps: a short last one would not pay for its pass over C. Whole blocks: each is unpacked once.
	const int unit = g->tb ? 1 : type_block(g->btype), steps = (g->k + KC - 1) / KC;
	int depth = ((g->k + steps - 1) / steps + unit - 1) / unit * unit;
	if (depth > KC) depth = KC / unit * unit;
	for (int jc = j0; jc < j1; jc += NC) {
		int m = j1 - jc < NC ? j1 - jc : NC;
		for (int kc = 0; kc < g->k; kc += depth) {
			int k = g->k - kc < depth ? g->k - kc : depth;
			pack_b(g->btype, g->b, g->ldb, g->tb, jc, m, kc, k, pb);
			for (int ic = i0; ic < i1; ic += MC) {
				int n = i1 - ic < MC ? i1 - ic : MC;
				const float *a = pa;
				ptrdiff_t rs = 1, cs = MR, tile = k; // between rows, columns and, in rows, tiles
				if (direct)
					a = (const float *)g->a + ic * g->lda + kc, rs = tile = g->lda, cs = 1;
				else
					pack<MR>(g->atype, g->a, g->lda, g->ta, ic, n, kc, k, pa);
				for (int j = 0; j < m; j += NR) {
					int cols = m - j < NR ? m - j : NR;
					const float *b = pb + (ptrdiff_t)j * k;
					for (int i = 0; i < n; i += MR)
						tile_rows(n - i < MR ? n - i : MR, k, a + i * tile, rs, cs, b, g->c + (ptrdiff_t)(ic + i) * g->ldc + jc + j, g->ldc, cols, g->add || kc > 0);
				}
			}
		}
	}
}

// A part of few columns is to be whole blocks where they run along them.
int lg_gemm_unit(const lg_gemm *g) {
	const int block = g->tb ? type_block(g->btype) : 1;
	return block > NR ? block : NR;
}
void lg_gemm_columns(const lg_gemm *g, int from, int to) { gemm(g, 0, g->n, from, to); }

void lg_gemm_run(const lg_gemm *g, int ith, int nth) {
	// Threads share the longer side of C in whole tiles, so that each packs its part of that operand once; the sum over k is never split, so results do not depend on the number of threads.
	if (g->m >= g->n) {
		const int unit = lg_gemm_unit(g);
		int tiles = (g->m + unit - 1) / unit;
		int j0 = (int)((int64_t)tiles * ith / nth) * unit, j1 = (int)((int64_t)tiles * (ith + 1) / nth) * unit;
		if (j1 > g->m) j1 = g->m;
		if (j0 < j1) gemm(g, 0, g->n, j0, j1);
	} else {
		int tiles = (g->n + MR - 1) / MR;
		int i0 = (int)((int64_t)tiles * ith / nth) * MR, i1 = (int)((int64_t)tiles * (ith + 1) / nth) * MR;
		if (i1 > g->n) i1 = g->n;
		if (i0 < i1) gemm(g, i0, i1, 0, g->m);
	}
}
