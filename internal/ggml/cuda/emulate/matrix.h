// Tensor cores: nvcuda::wmma for 16×16×16, and the PTX instructions ldmatrix and
// mma.m16n8k16 with the layouts of the PTX ISA ("Warp-level matrix instructions").
#pragma once

namespace nvcuda {
namespace wmma {

struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
enum layout_t { mem_row_major, mem_col_major };

template <class T> struct element { typedef float type; };

// Lane l holds elements 8l … 8l+7 in row-major order, unlike any GPU: only what is uniform over x[] may rely on it.
template <class Use, int M, int N, int K, class T, class Layout = void> struct fragment {
	static_assert(M == 16 && N == 16 && K == 16, "16x16x16 only");
	enum { num_elements = 8 };
	T x[8];
};

template <class F, class T> void fill_fragment(F &f, T value) {
	for (auto &x : f.x) x = value;
}

namespace detail {
template <class T> struct is_col { enum { value = 0 }; };
template <> struct is_col<col_major> { enum { value = 1 }; };
static inline int64_t offset(int i, unsigned ld, bool col) {
	int e = 8 * lg_emulate::lane() + i, r = e / 16, c = e % 16;
	return col ? r + (int64_t)c * ld : (int64_t)r * ld + c;
}
template <class T> void check(const T *p, unsigned ld) {
	if ((uintptr_t)p % 32 || ld * sizeof(T) % 16) lg_emulate::misuse("wmma: a pointer not at a multiple of 32 bytes or a stride not of 16");
}
template <class Fd, class Fa, class Fb, class Fc> struct operands {
	Fd *d;
	const Fa *a;
	const Fb *b;
	const Fc *c;
};
template <class Fd, class Fa, class Fb, class Fc> void product(void *lanes[32]) {
	typedef operands<Fd, Fa, Fb, Fc> O;
	float a[256], b[256], c[256];
	for (int l = 0; l < 32; l++) {
		if (!lanes[l]) lg_emulate::misuse("mma_sync: needs all 32 lanes of a warp");
		const O *o = (const O *)lanes[l];
		for (int i = 0; i < 8; i++) a[8 * l + i] = o->a->x[i], b[8 * l + i] = o->b->x[i], c[8 * l + i] = o->c->x[i];
	}
	for (int i = 0; i < 16; i++)
		for (int k = 0; k < 16; k++)
			for (int j = 0; j < 16; j++) c[16 * i + j] += a[16 * i + k] * b[16 * k + j];
	for (int l = 0; l < 32; l++)
		for (int i = 0; i < 8; i++) ((const O *)lanes[l])->d->x[i] = c[8 * l + i];
}
} // namespace detail

template <class U, class T, class L> void load_matrix_sync(fragment<U, 16, 16, 16, T, L> &f, const T *p, unsigned ld) {
	detail::check(p, ld);
	for (int i = 0; i < 8; i++) f.x[i] = p[detail::offset(i, ld, detail::is_col<L>::value)];
}
template <class T> void load_matrix_sync(fragment<accumulator, 16, 16, 16, T> &f, const T *p, unsigned ld, layout_t layout) {
	detail::check(p, ld);
	for (int i = 0; i < 8; i++) f.x[i] = p[detail::offset(i, ld, layout == mem_col_major)];
}
template <class T> void store_matrix_sync(T *p, const fragment<accumulator, 16, 16, 16, T> &f, unsigned ld, layout_t layout) {
	detail::check(p, ld);
	for (int i = 0; i < 8; i++) p[detail::offset(i, ld, layout == mem_col_major)] = f.x[i];
}
template <class D, class T, class LA, class LB, class C>
void mma_sync(fragment<accumulator, 16, 16, 16, D> &d, const fragment<matrix_a, 16, 16, 16, T, LA> &a, const fragment<matrix_b, 16, 16, 16, T, LB> &b, const fragment<accumulator, 16, 16, 16, C> &c) {
	typedef fragment<accumulator, 16, 16, 16, D> Fd;
	typedef fragment<matrix_a, 16, 16, 16, T, LA> Fa;
	typedef fragment<matrix_b, 16, 16, 16, T, LB> Fb;
	typedef fragment<accumulator, 16, 16, 16, C> Fc;
	detail::operands<Fd, Fa, Fb, Fc> o{&d, &a, &b, &c};
	lg_emulate::collective(~0u, detail::product<Fd, Fa, Fb, Fc>, &o);
}

} // namespace wmma
} // namespace nvcuda

namespace lg_emulate {

// ldmatrix.x4.b16: lane l gives the address of row l%8 of 8×8 matrix l/8; lane l gets of each matrix elements
// (l/4, 2(l%4)) and the one right of it, or with trans those of the transposed matrix.
struct ldmatrix_operands {
	uint32_t *r;
	const void *row;
	bool trans;
};
static inline void ldmatrix_gather(void *lanes[32]) {
	const uint16_t *row[32];
	for (int l = 0; l < 32; l++) {
		if (!lanes[l]) misuse("ldmatrix: needs all 32 lanes of a warp");
		row[l] = (const uint16_t *)((ldmatrix_operands *)lanes[l])->row;
		if ((uintptr_t)row[l] % 16) misuse("ldmatrix: a row not at a multiple of 16 bytes");
	}
	for (int l = 0; l < 32; l++) {
		ldmatrix_operands *o = (ldmatrix_operands *)lanes[l];
		int g = l / 4, t = 2 * (l % 4);
		for (int m = 0; m < 4; m++) {
			uint16_t lo = o->trans ? row[8 * m + t][g] : row[8 * m + g][t], hi = o->trans ? row[8 * m + t + 1][g] : row[8 * m + g][t + 1];
			o->r[m] = lo | (uint32_t)hi << 16;
		}
	}
}

// mma.m16n8k16, D = A·B + C with 32-bit sums. Lane l, g = l/4, t = 2(l%4), holds
// A (16×16): a[0] (g, t), a[1] (g+8, t), a[2] (g, t+8), a[3] (g+8, t+8), each with its right neighbour;
// B (16×8): b[0] (t, g), b[1] (t+8, g), each with the one below; C (16×8): c[0], c[1] (g, t…), c[2], c[3] (g+8, t…).
struct mma_operands {
	float *c;
	const uint32_t *a, *b;
};
template <float (*to_float)(uint16_t)> void mma_gather(void *lanes[32]) {
	float a[16][16], b[16][8], c[16][8];
	for (int l = 0; l < 32; l++) {
		if (!lanes[l]) misuse("mma: needs all 32 lanes of a warp");
		const mma_operands *o = (const mma_operands *)lanes[l];
		int g = l / 4, t = 2 * (l % 4);
		for (int i = 0; i < 8; i++) a[g + i / 2 % 2 * 8][t + i / 4 * 8 + i % 2] = to_float((uint16_t)(o->a[i / 2] >> i % 2 * 16));
		for (int i = 0; i < 4; i++) b[t + i / 2 * 8 + i % 2][g] = to_float((uint16_t)(o->b[i / 2] >> i % 2 * 16));
		for (int i = 0; i < 4; i++) c[g + i / 2 * 8][t + i % 2] = o->c[i];
	}
	for (int i = 0; i < 16; i++)
		for (int k = 0; k < 16; k++)
			for (int j = 0; j < 8; j++) c[i][j] += a[i][k] * b[k][j];
	for (int l = 0; l < 32; l++)
		for (int i = 0; i < 4; i++) ((mma_operands *)lanes[l])->c[i] = c[l / 4 + i / 2 * 8][2 * (l % 4) + i % 2];
}

} // namespace lg_emulate
