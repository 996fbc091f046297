// Attention of the queries of many sequences to keys and values in the pages of a pool.
//
// Positions are taken in segments, each with its own softmax, which are then joined in their order, and
// values are added one by one: what a query gets depends on its own positions alone, to the bit, not on how many queries,
// sequences or threads there are. For scores that holds only when asked for: of many rows, which products on packed panels
// are faster for, they are added up in another order than of few.
#include "dots.h"
#include "gemm.h"
#include "kernels.h"
#include "operands.h"
#include <algorithm>

static const int SEG = 128;    // positions to a segment
static const int kRows = 96;   // query rows at a time, a row being a token and a head: their scores fit L2
static const int kDirect = 8;  // rows up to which keys and values are read where they are; for more they are unpacked first

// add_values computes C vectors of y[r] = Σ p[r·SEG+j]·v[j] over [from, to), of R rows of y, dp apart.
template <int R, int C, class W>
static inline void add_values(const float *p, const W *const *v, int from, int to, int64_t at, float *y, int64_t dp) {
	vf a[R][C] = {};
	for (int j = from; j < to; j++) {
		vf x[C];
		for (int c = 0; c < C; c++) x[c] = weights(v[j] + at + c * VL);
		for (int r = 0; r < R; r++) {
			vf w = vset(p[r * SEG + j]);
			for (int c = 0; c < C; c++) a[r][c] += w * x[c];
		}
	}
	for (int r = 0; r < R; r++)
		for (int c = 0; c < C; c++) vstore(y + r * dp + at + c * VL, a[r][c]);
}
template <int R, class W>
static void mix_values(const float *p, const W *const *v, int from, int to, float *y, int64_t dp) {
	const int C = R < 4 ? 4 : 2;
	int64_t i = 0;
	for (; i + C * VL <= dp; i += C * VL) add_values<R, C>(p, v, from, to, i, y, dp);
	for (; i < dp; i += VL) add_values<R, 1>(p, v, from, to, i, y, dp);
}

// A softmax of a part of the positions that a row sees: the largest score, the sum of exponentials less that, and
// the values weighed by them; sum is 0 where nothing is seen.
struct partial {
	float most, sum, *y;
};

// soften turns the scores [from, to) of a row into exponentials, and those of the rest of the segment into 0.
static void soften(float *s, int from, int to, float cap, partial *out) {
	const int first = from / VL * VL, end = (to + VL - 1) / VL * VL;
	for (int j = 0; j < from; j++) s[j] = j < first ? 0 : -INFINITY;
	for (int j = to; j < SEG; j++) s[j] = j < end ? -INFINITY : 0;
	vf most = vset(-INFINITY), sum = {};
	for (int j = first; j < end; j += VL) {
		vf x = vload(s + j);
		if (cap > 0) {
			x = x < -1e30f ? x : cap * vtanh(x);
			vstore(s + j, x);
		}
		most = vmax(x, most);
	}
	out->most = vmaxall(most);
	for (int j = first; j < end; j += VL) { // by position, so that the lanes of the sum are always the same
		vf e = vexp(vload(s + j) - out->most);
		sum += e;
		vstore(s + j, e);
	}
	const v4 t = lanes4(sum);
	out->sum = (t[0] + t[2]) + (t[1] + t[3]);
}

// join makes a of a and b, which comes after it.
static void join(partial *a, const partial *b, int64_t dp) {
	if (!(b->sum != 0)) return;
	if (!(a->sum != 0)) {
		a->most = b->most;
		a->sum = b->sum;
		memcpy(a->y, b->y, dp * 4);
		return;
	}
	const float most = b->most > a->most ? b->most : a->most, f = sexp(a->most - most), g = sexp(b->most - most);
	for (int64_t i = 0; i < dp; i += VL) vstore(a->y + i, vload(a->y + i) * f + vload(b->y + i) * g);
	a->sum = a->sum * f + b->sum * g;
	a->most = most;
}

// attend is a run of the operation.
struct attend {
	const T *q, *k, *v, *table;
	const int32_t *spans, *sequences;
	int64_t d, dp, H, Hkv, group, page;
	float scale, cap, *y;
	bool invariant;
};

// queries are tokens of one sequence and the heads of one key/value head: rows of (token, head).
struct queries {
	int64_t token, tokens, kv;
	int rows, first, last; // segments that they see: [first, last)
	const int32_t *pages;
	const float *q; // (rows, dp), scaled
};

static void bounds(const attend &a, queries *t) {
	int64_t lo = INT64_MAX, hi = 0;
	for (int64_t i = t->token; i < t->token + t->tokens; i++) {
		const int32_t *s = a.spans + 2 * i;
		if (s[0] >= s[1]) continue;
		lo = std::min<int64_t>(lo, s[0]);
		hi = std::max<int64_t>(hi, s[1]);
	}
	t->first = hi ? (int)(lo / SEG) : 0;
	t->last = (int)((hi + SEG - 1) / SEG);
	t->rows = (int)(t->tokens * a.group);
	t->pages = (const int32_t *)a.table->data + a.sequences[t->token] * a.table->ne[0];
}

// gather lays the rows of queries side by side, scaled, zero beyond d.
static void gather(const attend &a, queries *t, float *q) {
	const float scale = a.cap > 0 ? a.scale / a.cap : a.scale;
	t->q = q;
	for (int r = 0; r < t->rows; r++, q += a.dp) {
		const float *x = f32(a.q) + ((t->token + r / a.group) * a.H + t->kv * a.group + r % a.group) * a.d;
		for (int64_t i = 0; i < a.d; i++) q[i] = x[i] * scale;
		for (int64_t i = a.d; i < a.dp; i++) q[i] = 0;
	}
}

// seen is what rows [r, r+n) see of the segment that begins at base.
static range seen(const attend &a, const queries &t, int r, int n, int64_t base) {
	range all = {SEG, 0};
	for (int64_t i = t.token + r / a.group; i <= t.token + (r + n - 1) / a.group; i++) {
		const int64_t from = std::max<int64_t>(a.spans[2 * i] - base, 0), to = std::min<int64_t>(a.spans[2 * i + 1] - base, SEG);
		if (from < to) all = {std::min(all.from, from), std::max(all.to, to)};
	}
	return all.from < all.to ? all : range{0, 0};
}

static inline int tile_of(int n) { return n == 4 ? 4 : n < 3 ? n : 3; }

// soften_rows is soften for rows [from, to).
static void soften_rows(const attend &a, const queries &t, int64_t base, int from, int to, float *s, partial *out) {
	range own = {};
	for (int i = from; i < to; i++) {
		if (i == from || i % a.group == 0) own = seen(a, t, i, 1, base);
		if (own.from < own.to) {
			soften(s + i * SEG, (int)own.from, (int)own.to, a.cap, out + i);
			continue;
		}
		out[i].sum = 0;
		memset(s + i * SEG, 0, SEG * 4);
	}
}

template <class W>
static void score_rows(const attend &a, const queries &t, int64_t base, const W *const *k, float *s, partial *out) {
	for (int r = 0, n; r < t.rows; r += n) {
		n = tile_of(t.rows - r);
		const range c = seen(a, t, r, n, base);
		const float *q = t.q + r * a.dp;
		float *x = s + r * SEG;
		switch (n) {
		case 1: dot_rows<1>(q, a.dp, a.dp, k, (int)c.from, (int)c.to, x, SEG); break;
		case 2: dot_rows<2>(q, a.dp, a.dp, k, (int)c.from, (int)c.to, x, SEG); break;
		case 3: dot_rows<3>(q, a.dp, a.dp, k, (int)c.from, (int)c.to, x, SEG); break;
		case 4: dot_rows<4>(q, a.dp, a.dp, k, (int)c.from, (int)c.to, x, SEG); break;
		}
		soften_rows(a, t, base, r, r + n, s, out);
	}
}
template <class W>
static void mix_rows(const attend &a, const queries &t, int64_t base, const W *const *v, const float *s, partial *out) {
	for (int r = 0, n; r < t.rows; r += n) {
		n = t.rows - r >= 6 ? 6 : tile_of(t.rows - r);
		const range c = seen(a, t, r, n, base);
		const float *p = s + r * SEG;
		float *y = out[r].y;
		switch (n) {
		case 1: mix_values<1>(p, v, (int)c.from, (int)c.to, y, a.dp); break;
		case 2: mix_values<2>(p, v, (int)c.from, (int)c.to, y, a.dp); break;
		case 3: mix_values<3>(p, v, (int)c.from, (int)c.to, y, a.dp); break;
		case 4: mix_values<4>(p, v, (int)c.from, (int)c.to, y, a.dp); break;
		case 6: mix_values<6>(p, v, (int)c.from, (int)c.to, y, a.dp); break;
		}
	}
}

// first_element is that of position j's row, of a key/value head.
static inline int64_t first_element(const attend &a, const queries &t, int64_t j) {
	return ((t.pages[j / a.page] * a.page + j % a.page) * a.Hkv + t.kv) * a.d;
}

// unpack gives the rows [c.from, c.to) of a segment as floats, dp apart.
static void unpack(const attend &a, const queries &t, const T *x, int64_t base, range c, float *to, const float **rows) {
	for (int64_t j = c.from; j < c.to; j++, to += a.dp) {
		const float *row = row_f32(x->type, x->data, first_element(a, t, base + j), (int)a.d, to);
		if (row != to) memcpy(to, row, a.d * 4);
		for (int64_t i = a.d; i < a.dp; i++) to[i] = 0;
		rows[j] = to;
	}
}

// score_packed is score_rows by products on packed panels.
static void score_packed(const attend &a, const queries &t, int64_t base, range c, float *s, partial *out) {
	float *panels = scratch(3, (size_t)SEG * a.d);
	const int64_t from = c.from / NR * NR; // in the page where c.from is: pages are whole panels
	for (int64_t j = from, n; j < c.to; j += n) {
		n = std::min(a.page - (base + j) % a.page, c.to - j);
		pack_b(a.k->type, (const char *)a.k->data + type_bytes(a.k->type, first_element(a, t, base + j)), a.Hkv * a.d, false, 0, (int)n, 0, (int)a.d, panels + (j - from) * a.d);
	}
	::block(t.rows, (int)(c.to - from), (int)a.d, t.q, a.dp, 1, panels, s + from, SEG, false);
	soften_rows(a, t, base, 0, t.rows, s, out);
}

// fetch asks for rows of n bytes long before they are read: heads lie side by side, so that the rows of one are far apart.
template <class W>
static inline void fetch(const W *const *rows, range c, int64_t n) {
	for (int64_t j = c.from; j < c.to; j++)
		for (int64_t i = 0; i < n; i += 64) __builtin_prefetch((const char *)rows[j] + i);
}

template <class W>
static void direct(const attend &a, const queries &t, int64_t base, range c, float *s, partial *out) {
	const W *keys[SEG], *values[SEG];
	for (int64_t j = c.from; j < c.to; j++) {
		const int64_t at = first_element(a, t, base + j);
		keys[j] = (const W *)a.k->data + at;
		values[j] = (const W *)a.v->data + at;
	}
	fetch(keys, c, a.d * sizeof(W));
	fetch(values, c, a.d * sizeof(W));
	score_rows(a, t, base, keys, s, out);
	mix_rows(a, t, base, values, s, out);
}

// segment computes what the rows get of one. y of out (rows, dp) is one array.
static void segment(const attend &a, const queries &t, int index, partial *out) {
	const int64_t base = (int64_t)index * SEG;
	const range c = seen(a, t, 0, t.rows, base);
	float *s = scratch(2, (size_t)kRows * SEG);
	if (t.rows <= kDirect && a.d == a.dp) {
		switch ((int)a.k->type) {
		case LG_F32: return direct<float>(a, t, base, c, s, out);
		case LG_F16: return direct<f16>(a, t, base, c, s, out);
		case LG_BF16: return direct<bf16>(a, t, base, c, s, out);
		}
	}
	const float *rows[SEG];
	float *floats = scratch(1, (size_t)SEG * a.dp + ROW_EXTRA);
	if (t.rows > kDirect && !a.invariant && a.page % NR == 0) {
		score_packed(a, t, base, c, s, out);
	} else {
		unpack(a, t, a.k, base, c, floats, rows);
		score_rows(a, t, base, rows, s, out);
	}
	unpack(a, t, a.v, base, c, floats, rows);
	mix_rows(a, t, base, rows, s, out);
}

// finish writes the result of row r.
static void finish(const attend &a, const queries &t, int r, const partial &x) {
	float *y = a.y + ((t.token + r / a.group) * a.H + t.kv * a.group + r % a.group) * a.d;
	const float inv = x.sum != 0 ? 1.0f / x.sum : 0;
	for (int64_t i = 0; i < a.d; i++) y[i] = x.sum != 0 ? x.y[i] * inv : 0;
}

// whole computes all segments of the queries, one after the other.
static void whole(const attend &a, queries *t) {
	float *memory = scratch(0, (size_t)3 * kRows * a.dp);
	partial all[kRows], part[kRows];
	gather(a, t, memory);
	for (int r = 0; r < t->rows; r++) {
		all[r] = {0, 0, memory + (kRows + r) * a.dp};
		part[r] = {0, 0, memory + (2 * kRows + r) * a.dp};
	}
	for (int i = t->first; i < t->last; i++) {
		segment(a, *t, i, i == t->first ? all : part);
		if (i > t->first)
			for (int r = 0; r < t->rows; r++) join(all + r, part + r, a.dp);
	}
	for (int r = 0; r < t->rows; r++) finish(a, *t, r, all[r]);
}

// split computes one segment of the queries; whoever computes the last of them joins all, which lie in shared memory.
static void split(const attend &a, queries *t, int index, float *shared, int segments, int *done) {
	float *memory = scratch(0, (size_t)2 * kRows * a.dp);
	partial part[kRows];
	auto slot = [&](int r, int i) { // sum, most, y
		return shared + (((t->token + r / a.group) * a.H + t->kv * a.group + r % a.group) * segments + i - t->first) * (a.dp + 2);
	};
	if (t->last > t->first) {
		gather(a, t, memory);
		for (int r = 0; r < t->rows; r++) part[r] = {0, 0, memory + (kRows + r) * a.dp};
		segment(a, *t, index, part);
		for (int r = 0; r < t->rows; r++) {
			float *to = slot(r, index);
			to[0] = part[r].sum;
			to[1] = part[r].most;
			memcpy(to + 2, part[r].y, a.dp * 4);
		}
	}
	if (__atomic_add_fetch(done, 1, __ATOMIC_ACQ_REL) < t->last - t->first) return;
	*done = 0; // for the next run
	for (int r = 0; r < t->rows; r++) {
		partial all = {0, 0, memory};
		for (int i = t->first; i < t->last; i++) {
			float *x = slot(r, i);
			const partial next = {x[1], x[0], x + 2};
			join(&all, &next, a.dp);
		}
		finish(a, *t, r, all);
	}
}

// blocks goes through the runs of tokens of one sequence, in blocks of at most kRows rows.
struct blocks {
	const attend &a;
	int64_t next = 0;
	queries now = {};
	bool step() {
		const int64_t N = a.q->ne[2], most = std::max<int64_t>(1, kRows / a.group);
		now.token = next;
		while (next < N && next - now.token < most && a.sequences[next] == a.sequences[now.token]) next++;
		now.tokens = next - now.token;
		if (now.tokens) bounds(a, &now);
		return now.tokens > 0;
	}
};

// y (N, H·D) = softmax(cap(f[0]·q·kᵀ))·v, cap(s) = f[1]·tanh(s/f[1]), or s where f[1] is 0. src: q (N, H, D), at most kRows heads to a key/value head; k and v
// (S, Hkv, D) in F32, F16, BF16, or in Q8_0 where D is a multiple of 32, pages of i[2] rows; i[3]: whether results must not depend on what else is computed; spans (N, 2) I32: the positions [from, to) that a query sees;
// sequences (N) I32: the row of the tables that it uses; tables (R, M) I32: the pages of a sequence; and memory that the threads share, of any size.
void paged_attention(T *dst, int, int nth, void *params) {
	lg_params *p = (lg_params *)params;
	attend a = {dst->src[0], dst->src[1], dst->src[2], dst->src[5], (const int32_t *)dst->src[3]->data, (const int32_t *)dst->src[4]->data};
	a.d = a.q->ne[0];
	a.dp = (a.d + VL - 1) / VL * VL;
	a.H = a.q->ne[1];
	a.Hkv = a.k->ne[1];
	a.group = a.H / a.Hkv;
	a.page = p->i[2];
	a.invariant = p->i[3];
	a.scale = p->f[0];
	a.cap = p->f[1];
	a.y = out(dst);
	int count = 0, most = 1;
	for (blocks b = {a}; b.step(); count++) most = std::max(most, b.now.last - b.now.first);
	const T *shared = dst->src[6];
	const bool few = count * a.Hkv < 3 * nth && count * a.Hkv <= LG_SPLIT && most > 1; // then some would wait for others
	blocks b = {a};
	if (nth > 1 && few && shared && numel(shared) >= a.q->ne[2] * a.H * most * (a.dp + 2)) {
		int at = -1; // the block that b is at
		for (int i; (i = next_work(p, count * (int)a.Hkv * most, nth)) >= 0;) {
			const int block = i / (most * (int)a.Hkv), rest = i % (most * (int)a.Hkv), seg = rest / (int)a.Hkv;
			for (; at < block; at++) b.step();
			queries t = b.now;
			t.kv = rest % a.Hkv;
			if (seg < std::max(1, t.last - t.first)) split(a, &t, t.first + seg, (float *)shared->data, most, p->done + block * a.Hkv + t.kv);
		}
		return;
	}
	int at = -1;
	for (int i; (i = next_work(p, count * (int)a.Hkv, nth)) >= 0;) {
		for (; at < i / (int)a.Hkv; at++) b.step();
		queries t = b.now;
		t.kv = i % a.Hkv;
		whole(a, &t);
	}
}
