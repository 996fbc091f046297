// Quantizing weights, bit for bit as llama-quantize does.
//
// GGML's own functions (ggml-quants.c, MIT License, © the ggml authors) are the definition: which sums are
// taken in which order, which candidates are tried. Two things are different here. The compiler may not fuse
// products and sums, which -march=native otherwise does and which changes some codes; llama.cpp's own
// library is built for any x86-64, without fused instructions. And each lane of a vector quantizes a block
// of its own, so that every sum is still taken in the order of the definition while VL blocks advance at once.
//
// In the comments x are the weights of a block, w how much their errors count, L their codes.
#include "quantize.h"

#if defined(__clang__)
#pragma clang fp contract(off)
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

#include "vec.h"

typedef uint8_t vb __attribute__((vector_size(VL)));

static const float tiny = 1e-15f; // GROUP_MAX_EPS: smaller blocks are all zero

static inline vi iset(int x) { return x - vi{}; }
static inline vi imin(vi a, vi b) { return a < b ? a : b; }
static inline vi imax(vi a, vi b) { return a > b ? a : b; }
static inline vi clamp(vi x, int lo, int hi) { return imax(imin(x, iset(hi)), iset(lo)); }
static inline vf fl(vi x) { return __builtin_convertvector(x, vf); }
static inline vi truncated(vf x) { return __builtin_convertvector(x, vi); }
static inline vb bytes(vi x) { return __builtin_convertvector(x, vb); }
static inline vf vabs(vf x) { return (vf)((vi)x & 0x7fffffff); }
static inline vi nearest(vf x) { return ((vi)(x + 12582912.f) & 0x007fffff) - 0x00400000; }
static inline vf vsqrt(vf x) {
	for (int i = 0; i < VL; i++) x[i] = sqrtf(x[i]);
	return x;
}
static inline bool any(vi m) {
	int64_t a[VL / 2], r = 0;
	memcpy(a, &m, sizeof m);
	for (int i = 0; i < VL / 2; i++) r |= a[i];
	return r != 0;
}

static inline uint32_t bits(float f) {
	uint32_t u;
	memcpy(&u, &f, 4);
	return u;
}
static inline float unbits(uint32_t u) {
	float f;
	memcpy(&f, &u, 4);
	return f;
}
static uint16_t half(float f) { // nearest, ties to even
	uint32_t u = bits(f), sign = u >> 16 & 0x8000, a = u & 0x7fffffff;
	if (a > 0x7f800000) return sign | 0x7e00;
	if (a >= 0x477ff000) return sign | 0x7c00;
	if (a < 0x38800000) return sign | (uint16_t)(bits(unbits(a) + 0.5f) - bits(0.5f));
	a += 0xfff + (a >> 13 & 1);
	return sign | (uint16_t)((a - 0x38000000) >> 13);
}
static float unhalf(uint16_t h) {
	uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 1023;
	if (e == 31) return unbits(sign | 0x7f800000 | m << 13);
	if (e) return unbits(sign | (e + 112) << 23 | m << 13);
	return unbits(bits((float)m * 0x1p-24f) | sign);
}

namespace {

// group is VL blocks of up to 256 weights on their way to bytes.
struct group {
	vf x[256];
	vf w[256]; // importance, if there is one
	bool weighted;
	vf rowSigma2; // mean square of the lane's whole row, where that is asked for
	vb out[224];  // byte i of the blocks

	// put stores a half at byte i of each block, and gives the numbers that were stored.
	vf put(int i, vf v) {
		for (int l = 0; l < VL; l++) {
			uint16_t h = half(v[l]);
			out[i][l] = h & 255, out[i + 1][l] = h >> 8;
			v[l] = unhalf(h);
		}
		return v;
	}
};

// symmetric finds the scale of n weights with codes -nmax … nmax-1: make_qx_quants.
struct symmetric {
	vf scale{}, iscale{};
	vi zero{}; // lanes without weights above tiny

	symmetric() {}
	symmetric(int n, int nmax, const vf *x, const vf *w) {
		vf max{}, amax{};
		for (int i = 0; i < n; i++) {
			vf ax = vabs(x[i]);
			vi m = ax > amax;
			amax = m ? ax : amax, max = m ? x[i] : max;
		}
		zero = amax < tiny;
		vf best{};
		for (int is = 0;; is = is == 0 ? -9 : is == -1 ? 1 : is + 1) { // 0, -9 … -1, 1 … 9
			vf id = -((float)nmax + 0.1f * is) / max;
			if (is == 0) id = (float)-nmax / max;
			vf sumlx{}, suml2{};
			for (int i = 0; i < n; i++) {
				vf l = fl(clamp(nearest(id * x[i]), -nmax, nmax - 1));
				sumlx += w[i] * x[i] * l;
				suml2 += w[i] * l * l;
			}
			if (is == 0) {
				scale = suml2 != 0 ? sumlx / suml2 : vf{};
				best = scale * sumlx;
				iscale = id;
				continue;
			}
			vi better = (suml2 > 0) & (sumlx * sumlx > best * suml2);
			scale = better ? sumlx / suml2 : scale;
			best = better ? scale * sumlx : best;
			iscale = better ? id : iscale;
			if (is == 9) break;
		}
		scale = zero ? vf{} : scale;
	}
	vi code(int nmax, vf x) const { return zero ? iset(0) : clamp(nearest(iscale * x), -nmax, nmax - 1) + nmax; }
};

// affine finds scale and offset of n weights with codes 0 … nmax: make_qkx2_quants, make_qkx3_quants.
struct affine {
	vf scale{}, min{}; // x is about scale·L - min
	vf iscale{}, from{};
	vi zero{};

	affine() {}
	affine(int n, int nmax, const vf *x, const vf *w, float rmin, float rdelta, int steps, bool mad) {
		vf lo = x[0], hi = x[0], sumw = w[0], sumx = sumw * x[0];
		for (int i = 1; i < n; i++) {
			lo = x[i] < lo ? x[i] : lo;
			hi = x[i] > hi ? x[i] : hi;
			sumw += w[i];
			sumx += w[i] * x[i];
		}
		lo = lo > 0 ? vf{} : lo;
		zero = hi <= lo;
		vf id = (float)nmax / (hi - lo), best{};
		scale = 1.f / id, iscale = id, from = lo;
		for (int i = 0; i < n; i++) {
			vf diff = scale * fl(clamp(nearest(id * (x[i] - lo)), 0, nmax)) + lo - x[i];
			best += w[i] * (mad ? vabs(diff) : diff * diff);
		}
		for (int is = 0; is <= steps; is++) {
			vf sl{}, sl2{}, sxl{}, L[32];
			id = (rmin + rdelta * is + nmax) / (hi - lo);
			for (int i = 0; i < n; i++) {
				vf l = fl(clamp(nearest(id * (x[i] - lo)), 0, nmax));
				L[i] = l;
				vf wl = w[i] * l;
				sl += wl;
				sl2 += wl * l;
				sxl += wl * x[i];
			}
			vf D = sumw * sl2 - sl * sl;
			vf s = (sumw * sxl - sumx * sl) / D, m = (sl2 * sumx - sl * sxl) / D;
			vi above = m > 0;
			m = above ? vf{} : m;
			s = above ? sxl / sl2 : s;
			vf error{};
			for (int i = 0; i < n; i++) {
				vf diff = s * L[i] + m - x[i];
				error += w[i] * (mad ? vabs(diff) : diff * diff);
			}
			vi better = (D > 0) & (error < best);
			best = better ? error : best;
			scale = better ? s : scale;
			iscale = better ? id : iscale;
			from = better ? lo : from;
			lo = better ? m : lo;
		}
		min = -lo;
		scale = zero ? vf{} : scale;
	}
	vi code(int nmax, vf x) const { return zero ? iset(0) : clamp(nearest(iscale * (x - from)), 0, nmax); }
};

// positive finds the scale of n numbers ≥ 0 with codes 0 … nmax: make_qp_quants.
vf positive(int n, int nmax, const vf *x, const vf *w, vi *L) {
	vf max{};
	for (int i = 0; i < n; i++) max = max > x[i] ? max : x[i];
	vi zero = max < tiny;
	vf iscale = (float)nmax / max, scale = 1.f / iscale, best{};
	for (int i = 0; i < n; i++) {
		vf diff = x[i] - scale * fl(nearest(iscale * x[i]) & 255);
		best += w[i] * diff * diff;
	}
	for (int is = -4; is <= 4; is++) {
		if (is == 0) continue;
		vf id = (0.1f * is + nmax) / max, s = 1.f / id, error{};
		for (int i = 0; i < n; i++) {
			vf diff = x[i] - s * fl(imin(nearest(id * x[i]), iset(nmax)));
			error += w[i] * diff * diff;
		}
		vi better = error < best;
		best = better ? error : best;
		iscale = better ? id : iscale;
	}
	vf sumlx{}, suml2{};
	for (int i = 0; i < n; i++) {
		vi l = imin(nearest(iscale * x[i]), iset(nmax));
		L[i] = l & 255;
		sumlx += w[i] * x[i] * fl(l);
		suml2 += w[i] * fl(l) * fl(l);
	}
	for (int round = 0; round < 5; round++) {
		vi changed{};
		for (int i = 0; i < n; i++) {
			vf wx = w[i] * x[i], l = fl(L[i]);
			vf slx = sumlx - wx * l, sl2 = suml2 - w[i] * l * l;
			vi next = imin(nearest(x[i] * sl2 / slx), iset(nmax));
			vi take = (slx > 0) & (sl2 > 0) & (next != L[i]);
			slx += wx * fl(next);
			sl2 += w[i] * fl(next) * fl(next);
			take &= slx * slx * suml2 > sumlx * sumlx * sl2;
			L[i] = take ? next & 255 : L[i];
			sumlx = take ? slx : sumlx;
			suml2 = take ? sl2 : suml2;
			changed |= take;
		}
		if (!any(changed & ~zero)) break;
	}
	for (int i = 0; i < n; i++) L[i] = zero ? iset(0) : L[i];
	return zero | ~(suml2 > 0) ? vf{} : sumlx / suml2;
}

// descend finds the scale of n weights with codes -nmax … nmax-1 by changing one code at a time: make_q3_quants.
vf descend(int n, int nmax, const vf *x, vi *L) {
	vf max{}, amax{};
	for (int i = 0; i < n; i++) {
		vf ax = vabs(x[i]);
		vi m = ax > amax;
		amax = m ? ax : amax, max = m ? x[i] : max;
	}
	vi zero = amax < tiny;
	vf iscale = (float)-nmax / max, sumlx{}, suml2{};
	for (int i = 0; i < n; i++) {
		L[i] = clamp(nearest(iscale * x[i]), -nmax, nmax - 1);
		vf w = x[i] * x[i], l = fl(L[i]);
		sumlx += w * x[i] * l;
		suml2 += w * l * l;
	}
	for (int round = 0; round < 5; round++) {
		vi changed{};
		for (int i = 0; i < n; i++) {
			vf w = x[i] * x[i], l = fl(L[i]);
			vf slx = sumlx - w * x[i] * l, sl2 = suml2 - w * l * l;
			vi next = clamp(nearest(x[i] * sl2 / slx), -nmax, nmax - 1);
			vi take = (slx > 0) & (next != L[i]);
			slx += w * x[i] * fl(next);
			sl2 += w * fl(next) * fl(next);
			take &= (sl2 > 0) & (slx * slx * suml2 > sumlx * sumlx * sl2);
			L[i] = take ? next : L[i];
			sumlx = take ? slx : sumlx;
			suml2 = take ? sl2 : suml2;
			changed |= take;
		}
		if (!any(changed & ~zero)) break;
	}
	for (int i = 0; i < n; i++) L[i] = zero ? iset(0) : L[i] + nmax;
	return zero | ~(suml2 > 0) ? vf{} : sumlx / suml2;
}

// weigh gives the weights of n elements from their importance and the mean square of their surroundings.
void weigh(group &g, int from, int n, vf sigma2, vf *w) {
	for (int i = 0; i < n; i++) w[i] = g.w[from + i] * vsqrt(sigma2 + g.x[from + i] * g.x[from + i]);
}

vf sumSquares(const vf *x, int n) {
	vf s{};
	for (int i = 0; i < n; i++) s += x[i] * x[i];
	return s;
}

vf sum(const vf *x, int n) {
	vf s{};
	for (int i = 0; i < n; i++) s += x[i];
	return s;
}

// nibbles packs 32 codes of 4 bits, and the fifth bits of those that have one into four bytes at high.
void nibbles(group &g, const vi *L, int at, int high) {
	for (int i = 0; i < 16; i++) g.out[at + i] = bytes((L[i] & 15) | (L[i + 16] & 15) << 4);
	if (high < 0) return;
	for (int b = 0; b < 4; b++) {
		vi v{};
		for (int k = 0; k < 8; k++) v |= (L[8 * b + k] >> 4 & 1) << k;
		g.out[high + b] = bytes(v);
	}
}

// Q4_0, Q5_0: codes around 0.
template <int nmax> void legacy0(group &g) {
	const bool five = nmax == 16;
	vi L[32];
	if (g.weighted) {
		vf w[32];
		weigh(g, 0, 32, g.rowSigma2, w);
		symmetric s(32, nmax, g.x, w);
		g.put(0, s.scale);
		for (int i = 0; i < 32; i++) L[i] = s.code(nmax, g.x[i]);
	} else {
		vf max{}, amax{};
		for (int i = 0; i < 32; i++) {
			vf ax = vabs(g.x[i]);
			vi m = amax < ax;
			amax = m ? ax : amax, max = m ? g.x[i] : max;
		}
		vf d = max / (float)-nmax, id = d != 0 ? 1.f / d : vf{};
		g.put(0, d);
		for (int i = 0; i < 32; i++) L[i] = imin(truncated(g.x[i] * id + (nmax + 0.5f)) << 24 >> 24, iset(2 * nmax - 1));
	}
	nibbles(g, L, five ? 6 : 2, five ? 2 : -1);
}

// Q4_1, Q5_1: codes from a minimum on.
template <int nmax> void legacy1(group &g) {
	const bool five = nmax == 31;
	vi L[32];
	if (g.weighted) {
		vf w[32];
		weigh(g, 0, 32, g.rowSigma2, w);
		affine a(32, nmax, g.x, w, -0.9f, 0.05f, 36, false);
		g.put(0, a.scale);
		g.put(2, -a.min);
		for (int i = 0; i < 32; i++) L[i] = a.code(nmax, g.x[i]);
	} else {
		vf lo = vset(3.40282347e+38f), hi = -lo;
		for (int i = 0; i < 32; i++) {
			lo = g.x[i] < lo ? g.x[i] : lo;
			hi = g.x[i] > hi ? g.x[i] : hi;
		}
		vf d = (hi - lo) / (float)nmax, id = d != 0 ? 1.f / d : vf{};
		g.put(0, d);
		g.put(2, lo);
		for (int i = 0; i < 32; i++) {
			L[i] = truncated((g.x[i] - lo) * id + 0.5f);
			L[i] = five ? L[i] & 255 : imin(L[i] << 24 >> 24, iset(15));
		}
	}
	nibbles(g, L, five ? 8 : 4, five ? 4 : -1);
}

// twobits packs the low two bits of 256 codes.
void twobits(group &g, const vi *L, int at) {
	for (int j = 0; j < 256; j += 128)
		for (int l = 0; l < 32; l++)
			g.out[at + j / 4 + l] = bytes((L[j + l] & 3) | (L[j + l + 32] & 3) << 2 | (L[j + l + 64] & 3) << 4 | (L[j + l + 96] & 3) << 6);
}

// Q2_K: scales 16, codes 64, d, dmin.
void q2k(group &g) {
	affine a[16];
	vf scales[16], mins[16], sw[16], w[16], sigma2{};
	if (g.weighted) sigma2 = sumSquares(g.x, 256) / 256.f;
	for (int j = 0; j < 16; j++) {
		const vf *x = g.x + 16 * j;
		if (g.weighted) {
			weigh(g, 16 * j, 16, sigma2, w);
			sw[j] = sum(w, 16);
			a[j] = affine(16, 3, x, w, -0.9f, 0.05f, 36, false);
		} else {
			for (int l = 0; l < 16; l++) w[l] = vabs(x[l]);
			a[j] = affine(16, 3, x, w, -0.5f, 0.1f, 15, true);
		}
		scales[j] = a[j].scale, mins[j] = a[j].min;
	}
	vi ls[16], lm[16];
	vf d, dmin;
	if (g.weighted) {
		d = g.put(80, positive(16, 15, scales, sw, ls));
		dmin = g.put(82, positive(16, 15, mins, sw, lm));
	} else {
		vf most{}, least{};
		for (int j = 0; j < 16; j++) {
			most = scales[j] > most ? scales[j] : most;
			least = mins[j] > least ? mins[j] : least;
		}
		for (int j = 0; j < 16; j++) {
			ls[j] = most > 0 ? nearest(15.f / most * scales[j]) : iset(0);
			lm[j] = least > 0 ? nearest(15.f / least * mins[j]) : iset(0);
		}
		d = g.put(80, most > 0 ? most / 15.f : vf{});
		dmin = g.put(82, least > 0 ? least / 15.f : vf{});
	}
	vi L[256];
	for (int j = 0; j < 16; j++) {
		vi both = (ls[j] | lm[j] << 4) & 255;
		g.out[j] = bytes(both);
		vf dl = d * fl(both & 15), ml = dmin * fl(both >> 4);
		for (int i = 16 * j; i < 16 * j + 16; i++) L[i] = dl != 0 ? clamp(nearest((g.x[i] + ml) / dl), 0, 3) : a[j].code(3, g.x[i]);
	}
	twobits(g, L, 16);
}

// Q3_K: high bits 32, codes 64, scales 12, d.
void q3k(group &g) {
	symmetric s[16];
	vf scales[16], sw[16], w[16], d;
	vi ls[16], L[256];
	if (g.weighted) {
		vf sigma2 = 2.f * sumSquares(g.x, 256) / 256.f;
		for (int j = 0; j < 16; j++) {
			weigh(g, 16 * j, 16, sigma2, w);
			sw[j] = sum(w, 16);
			s[j] = symmetric(16, 4, g.x + 16 * j, w);
			scales[j] = s[j].scale;
			for (int i = 16 * j; i < 16 * j + 16; i++) L[i] = s[j].code(4, g.x[i]);
		}
		symmetric all(16, 32, scales, sw);
		for (int j = 0; j < 16; j++) ls[j] = all.code(32, scales[j]);
		d = g.put(108, all.scale);
	} else {
		vf most{}, amost{};
		for (int j = 0; j < 16; j++) {
			scales[j] = descend(16, 4, g.x + 16 * j, L + 16 * j);
			vi m = vabs(scales[j]) > amost;
			amost = m ? vabs(scales[j]) : amost, most = m ? scales[j] : most;
		}
		vi some = most != 0;
		vf iscale = -32.f / most;
		for (int j = 0; j < 16; j++) ls[j] = some ? clamp(nearest(iscale * scales[j]), -32, 31) + 32 : iset(0);
		d = g.put(108, some ? 1.f / iscale : vf{});
	}
	vi packed[12] = {};
	for (int j = 0; j < 16; j++) {
		packed[j % 8] |= (ls[j] & 15) << (j < 8 ? 0 : 4);
		packed[j % 4 + 8] |= (ls[j] >> 4 & 3) << (2 * (j / 4));
		vf dl = d * fl(ls[j] - 32);
		for (int i = 16 * j; i < 16 * j + 16; i++) L[i] = dl != 0 ? clamp(nearest(g.x[i] / dl), -4, 3) + 4 : L[i];
	}
	for (int j = 0; j < 12; j++) g.out[96 + j] = bytes(packed[j]);
	for (int m = 0; m < 32; m++) {
		vi high{};
		for (int b = 0; b < 8; b++) high |= (L[32 * b + m] >> 2 & 1) << b;
		g.out[m] = bytes(high);
	}
	twobits(g, L, 32);
}

// Q4_K: d, dmin, scales 12, codes 128. Q5_K: d, dmin, scales 12, high bits 32, codes 128.
template <int nmax> void q45k(group &g) {
	const bool five = nmax == 31;
	affine a[8];
	vf scales[8], mins[8], sw[8], w[32], sigma2{};
	if (g.weighted) sigma2 = 2.f * sumSquares(g.x, 256) / 256.f;
	for (int j = 0; j < 8; j++) {
		const vf *x = g.x + 32 * j;
		if (g.weighted) {
			weigh(g, 32 * j, 32, sigma2, w);
			sw[j] = sum(w, 32);
			a[j] = affine(32, nmax, x, w, -0.9f, 0.05f, 36, false);
		} else {
			vf av = vsqrt(sumSquares(x, 32) / 32.f);
			for (int l = 0; l < 32; l++) w[l] = av + vabs(x[l]);
			a[j] = five ? affine(32, nmax, x, w, -0.5f, 0.1f, 15, false) : affine(32, nmax, x, w, -1.f, 0.1f, 20, false);
		}
		scales[j] = a[j].scale, mins[j] = a[j].min;
	}
	vi ls[8], lm[8];
	vf d, dmin;
	if (g.weighted) {
		d = g.put(0, positive(8, 63, scales, sw, ls));
		dmin = g.put(2, positive(8, 63, mins, sw, lm));
	} else {
		vf most{}, least{};
		for (int j = 0; j < 8; j++) {
			most = scales[j] > most ? scales[j] : most;
			least = mins[j] > least ? mins[j] : least;
		}
		vf is = most > 0 ? 63.f / most : vf{}, im = least > 0 ? 63.f / least : vf{};
		for (int j = 0; j < 8; j++) {
			ls[j] = imin(nearest(is * scales[j]) & 255, iset(63));
			lm[j] = imin(nearest(im * mins[j]) & 255, iset(63));
		}
		d = g.put(0, most / 63.f);
		dmin = g.put(2, least / 63.f);
	}
	vi packed[12] = {};
	for (int j = 0; j < 8; j++) {
		if (j < 4) {
			packed[j] |= ls[j] & 63;
			packed[j + 4] |= lm[j] & 63;
			continue;
		}
		packed[j + 4] = (ls[j] & 15) | (lm[j] & 15) << 4;
		packed[j - 4] |= (ls[j] >> 4 & 3) << 6;
		packed[j] |= (lm[j] >> 4 & 3) << 6;
	}
	for (int j = 0; j < 12; j++) g.out[4 + j] = bytes(packed[j]);
	vi L[256];
	for (int j = 0; j < 8; j++) {
		vf dl = d * fl(ls[j] & 63), ml = dmin * fl(lm[j] & 63);
		for (int i = 32 * j; i < 32 * j + 32; i++) L[i] = dl != 0 ? clamp(nearest((g.x[i] + ml) / dl), 0, nmax) : a[j].code(nmax, g.x[i]);
	}
	vb *q = g.out + (five ? 48 : 16);
	for (int j = 0; j < 256; j += 64)
		for (int l = 0; l < 32; l++) *q++ = bytes((L[j + l] & 15) | (L[j + l + 32] & 15) << 4);
	for (int l = 0; five && l < 32; l++) {
		vi high{};
		for (int b = 0; b < 8; b++) high |= (L[32 * b + l] >> 4 & 1) << b;
		g.out[16 + l] = bytes(high);
	}
}

// Q6_K: low bits 128, high bits 64, scales 16, d.
void q6k(group &g) {
	symmetric s[16];
	vf most{}, amost{}, w[16];
	for (int j = 0; j < 16; j++) {
		for (int l = 0; l < 16; l++) w[l] = g.weighted ? g.w[16 * j + l] : g.x[16 * j + l] * g.x[16 * j + l];
		s[j] = symmetric(16, 32, g.x + 16 * j, w);
		vf a = vabs(s[j].scale);
		vi m = a > amost;
		amost = m ? a : amost, most = m ? s[j].scale : most;
	}
	vi zero = amost < tiny, L[256];
	vf iscale = -128.f / most;
	vf d = g.put(208, zero ? vf{} : 1.f / iscale);
	for (int j = 0; j < 16; j++) {
		vi sc = imin(nearest(iscale * s[j].scale), iset(127)) << 24 >> 24;
		sc = zero ? iset(0) : sc;
		g.out[192 + j] = bytes(sc & 255);
		vf dl = d * fl(sc);
		for (int i = 16 * j; i < 16 * j + 16; i++) {
			vi l = dl != 0 ? clamp(nearest(g.x[i] / dl), -32, 31) + 32 : s[j].code(32, g.x[i]);
			L[i] = zero ? iset(0) : l;
		}
	}
	for (int h = 0; h < 2; h++)
		for (int l = 0; l < 32; l++) {
			const vi *q = L + 128 * h + l;
			g.out[64 * h + l] = bytes((q[0] & 15) | (q[64] & 15) << 4);
			g.out[64 * h + l + 32] = bytes((q[32] & 15) | (q[96] & 15) << 4);
			g.out[128 + 32 * h + l] = bytes((q[0] >> 4) | (q[32] >> 4) << 2 | (q[64] >> 4) << 4 | (q[96] >> 4) << 6);
		}
}

// The values of IQ4_NL's codes, and where the nearest one changes; exact in float32 either way.
const int nl[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static inline vf nlValue(vf x) {
	vf q = vset(nl[0]);
	for (int i = 0; i < 15; i++) q = x >= 0.5f * (nl[i] + nl[i + 1]) ? vset(nl[i + 1]) : q;
	return q;
}
static inline vi nlCode(vf x) {
	vi q{};
	for (int i = 0; i < 15; i++) q -= x >= 0.5f * (nl[i] + nl[i + 1]);
	return q;
}

// nonlinear finds the scale of 32 weights by IQ4_NL's values: quantize_row_iq4_nl_impl.
vf nonlinear(const vf *x, const vf *w) {
	vf max{}, amax{};
	for (int i = 0; i < 32; i++) {
		vf ax = vabs(x[i]);
		vi m = ax > amax;
		amax = m ? ax : amax, max = m ? x[i] : max;
	}
	vi zero = amax < tiny;
	vf d{}, best{};
	for (int t = -8; t <= 7; t++) { // -8 stands for the first, which is compared with nothing
		vf id = t == -8 ? 1.f / (-max / (float)nl[0]) : (float)(t + nl[0]) / max;
		vf sumqx{}, sumq2{};
		for (int i = 0; i < 32; i++) {
			vf q = nlValue(id * x[i]), wq = w[i] * q;
			sumqx += wq * x[i];
			sumq2 += wq * q;
		}
		if (t == -8) {
			d = sumqx / sumq2;
			best = d * sumqx;
			continue;
		}
		vi better = (sumq2 > 0) & (sumqx * sumqx > best * sumq2);
		d = better ? sumqx / sumq2 : d;
		best = better ? d * sumqx : best;
	}
	return zero ? vf{} : d;
}

void nonlinearWeights(group &g, int from, int n, vf *w) {
	if (g.weighted) {
		vf sigma2 = sumSquares(g.x + from / n * n, n) * (2.f / n);
		weigh(g, from, 32, sigma2, w);
		return;
	}
	for (int i = 0; i < 32; i++) w[i] = g.x[from + i] * g.x[from + i];
}

// IQ4_NL: d, codes 16.
void iq4nl(group &g) {
	vf w[32];
	nonlinearWeights(g, 0, 32, w);
	vf d = nonlinear(g.x, w);
	g.put(0, d);
	vf id = d != 0 ? 1.f / d : vf{};
	vi L[32];
	for (int i = 0; i < 32; i++) L[i] = nlCode(id * g.x[i]);
	nibbles(g, L, 2, -1);
}

// IQ4_XS: d, high bits of scales 2, low bits of scales 4, codes 128.
void iq4xs(group &g) {
	vf scales[8], most{}, amost{}, w[32];
	for (int j = 0; j < 8; j++) {
		nonlinearWeights(g, 32 * j, 256, w);
		scales[j] = nonlinear(g.x + 32 * j, w);
		vi m = vabs(scales[j]) > amost;
		amost = m ? vabs(scales[j]) : amost, most = m ? scales[j] : most;
	}
	vf d = -most / 32.f, id = d != 0 ? 1.f / d : vf{};
	g.put(0, d);
	vi high{}, low[4] = {};
	for (int j = 0; j < 8; j++) {
		vi l = clamp(nearest(id * scales[j]), -32, 31);
		vf dl = d * fl(l), idl = dl != 0 ? 1.f / dl : vf{};
		vi L[32];
		for (int i = 0; i < 32; i++) L[i] = nlCode(idl * g.x[32 * j + i]);
		nibbles(g, L, 8 + 16 * j, -1);
		l += 32;
		low[j / 2] |= (l & 15) << 4 * (j % 2);
		high |= (l >> 4) << 2 * j;
	}
	g.out[2] = bytes(high & 255), g.out[3] = bytes(high >> 8 & 255);
	for (int j = 0; j < 4; j++) g.out[4 + j] = bytes(low[j]);
}

struct format {
	int type, block, size;
	void (*quantize)(group &g);
};

const format formats[] = {
	{GGML_TYPE_Q4_0, 32, 18, legacy0<8>},    {GGML_TYPE_Q4_1, 32, 20, legacy1<15>}, {GGML_TYPE_Q5_0, 32, 22, legacy0<16>},
	{GGML_TYPE_Q5_1, 32, 24, legacy1<31>},   {GGML_TYPE_Q2_K, 256, 84, q2k},        {GGML_TYPE_Q3_K, 256, 110, q3k},
	{GGML_TYPE_Q4_K, 256, 144, q45k<15>},    {GGML_TYPE_Q5_K, 256, 176, q45k<31>},  {GGML_TYPE_Q6_K, 256, 210, q6k},
	{GGML_TYPE_IQ4_NL, 32, 18, iq4nl},       {GGML_TYPE_IQ4_XS, 256, 136, iq4xs},
};

} // namespace

extern "C" bool lg_quantize(int type, const float *src, uint8_t *dst, int64_t rows, int64_t perRow, const float *importance) {
	const format *f = nullptr;
	for (const format &k : formats)
		if (k.type == type) f = &k;
	if (!f) return false;
	int64_t perLine = perRow / f->block, blocks = rows * perLine, sigmaOf = -1;
	float sigma2 = 0;
	group *g = new group();
	g->weighted = importance != nullptr;
	for (int64_t at = 0; at < blocks; at += VL) {
		int lanes = blocks - at < VL ? (int)(blocks - at) : VL;
		for (int l = 0; l < lanes; l++) {
			int64_t b = at + l, row = b / perLine;
			const float *x = src + b * f->block, *w = importance + b % perLine * f->block;
			for (int i = 0; i < f->block; i++) g->x[i][l] = x[i];
			if (!g->weighted) continue;
			for (int i = 0; i < f->block; i++) g->w[i][l] = w[i];
			if (f->block == 32 && row != sigmaOf) {
				sigmaOf = row, sigma2 = 0;
				for (int64_t i = row * perRow; i < (row + 1) * perRow; i++) sigma2 += src[i] * src[i];
				sigma2 /= perRow;
			}
			g->rowSigma2[l] = sigma2;
		}
		f->quantize(*g);
		for (int l = 0; l < lanes; l++)
			for (int i = 0; i < f->size; i++) dst[(at + l) * f->size + i] = g->out[i][l];
	}
	delete g;
	return true;
}
