// Positions, losses and the optimizer on the GPU. Every sum has one order, whatever
// runs when, so results are the same bits on every run.
#include "kernels.cuh"

__device__ float max_block(float x) {
	__shared__ float part[BLOCK / 32];
	for (int o = 16; o > 0; o >>= 1) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, o));
	__syncthreads();
	if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = x;
	__syncthreads();
	x = part[0];
	for (int i = 1; i < BLOCK / 32; i++) x = fmaxf(x, part[i]);
	return x;
}

__global__ void rope_table(float *t, const int32_t *pos, const float *freq, int64_t half, int64_t n, float scale) {
	FOR_ELEMENTS(i, n * half) {
		double sn, cs, a = (double)((float)pos[i / half] * freq[i % half]); // the angle in float32, as on the CPU
		sincos(a, &sn, &cs);
		t[2 * i] = (float)cs * scale;
		t[2 * i + 1] = (float)sn * scale;
	}
}
LG_LAUNCHER(lg_cuda_rope_table) {
	int64_t half = dst->ne[1], n = dst->ne[2];
	LAUNCH(rope_table, grid(n * half), BLOCK, 0, s, out(dst), i32(dst->src[0]), f32(dst->src[1]), half, n, p->f[0]);
}

// A thread rotates one pair, or copies one of the channels beyond the pairs.
__global__ void rope(float *y, const float *x, const float *t, int64_t d, int64_t h, int64_t half, int64_t n, float sign) {
	int64_t per = d - half;
	FOR_ELEMENTS(i, n * h * per) {
		int64_t row = i / per, c = i % per;
		const float *a = x + row * d;
		float *b = y + row * d;
		if (c < half) {
			const float *cs = t + (row / h * half + c) * 2;
			float sn = cs[1] * sign;
			b[c] = a[c] * cs[0] - a[c + half] * sn;
			b[c + half] = a[c] * sn + a[c + half] * cs[0];
		} else {
			b[c + half] = a[c + half];
		}
	}
}
LG_LAUNCHER(lg_cuda_rope) {
	int64_t d = dst->ne[0], h = dst->ne[1], n = dst->ne[2], half = dst->src[1]->ne[1];
	LAUNCH(rope, grid(n * h * (d - half)), BLOCK, 0, s, out(dst), f32(dst->src[0]), f32(dst->src[1]), d, h, half, n, p->i[0] ? -1.0f : 1.0f);
}

// A part of the columns, and its adjoint; see columns and columns_back of the CPU.
__global__ void columns(float *y, const float *x, int64_t from, int64_t c, int64_t n, int64_t total) {
	FOR_ELEMENTS(i, total) y[i] = x[i / n * c + from + i % n];
}
LG_LAUNCHER(lg_cuda_columns) {
	LAUNCH(columns, grid(elements(dst)), BLOCK, 0, s, out(dst), f32(dst->src[0]), p->i[0], dst->src[0]->ne[0], dst->ne[0], elements(dst));
}
__global__ void columns_back(float *dx, const float *dy, int64_t from, int64_t c, int64_t n, int64_t total) {
	FOR_ELEMENTS(i, total) {
		int64_t col = i % c - from;
		dx[i] = col >= 0 && col < n ? dy[i / c * n + col] : 0;
	}
}
LG_LAUNCHER(lg_cuda_columns_back) {
	LAUNCH(columns_back, grid(elements(dst)), BLOCK, 0, s, out(dst), f32(dst->src[0]), p->i[0], dst->ne[0], dst->src[0]->ne[0], elements(dst));
}

// The block of the first token with an id sums the rows of all of them, in order.
__global__ void rows_back(float *y, const float *x, const int32_t *id, int64_t n, int64_t c) {
	__shared__ int earlier;
	const int64_t k = blockIdx.x;
	const int32_t me = id[k];
	if (threadIdx.x == 0) earlier = 0;
	__syncthreads();
	for (int64_t j = threadIdx.x; j < k; j += BLOCK)
		if (id[j] == me) earlier = 1; // whoever writes, writes the same
	__syncthreads();
	if (earlier) return;
	float *row = y + me * c;
	for (int64_t i = threadIdx.x; i < c; i += BLOCK) row[i] = x[k * c + i];
	for (int64_t j = k + 1; j < n; j++)
		if (id[j] == me)
			for (int64_t i = threadIdx.x; i < c; i += BLOCK) row[i] += x[j * c + i];
}
LG_LAUNCHER(lg_cuda_rows_back) {
	int64_t c = dst->ne[0], n = elements(dst->src[1]);
	cudaMemsetAsync(dst->data, 0, elements(dst) * 4, s);
	LAUNCH(rows_back, (unsigned)n, BLOCK, 0, s, out(dst), f32(dst->src[0]), i32(dst->src[1]), n, c);
}

LG_LAUNCHER(lg_cuda_zero) { cudaMemsetAsync(dst->data, 0, elements(dst) * 4, s); }

// log Σ exp(x) of a row. Each thread sums few terms in float, the threads' sums are added in double.
__device__ float log_sum_exp(const float *x, int64_t v) {
	float hi = -INFINITY;
	for (int64_t i = threadIdx.x; i < v; i += BLOCK) hi = fmaxf(hi, x[i]);
	hi = max_block(hi);
	double t = 0;
	for (int64_t i = threadIdx.x; i < v;) {
		float part = 0;
		for (int j = 0; j < 64 && i < v; j++, i += BLOCK) part += expf(x[i] - hi);
		t += part;
	}
	return hi + (float)log(sum_block(t));
}

__global__ void cross_entropy(float *y, const float *x, const int32_t *id, int64_t v) {
	const int64_t n = blockIdx.x;
	if (id[n] < 0) {
		if (threadIdx.x == 0) y[n] = 0;
		return;
	}
	float lse = log_sum_exp(x + n * v, v);
	if (threadIdx.x == 0) y[n] = lse - x[n * v + id[n]];
}
LG_LAUNCHER(lg_cuda_cross_entropy) {
	const ggml_tensor *x = dst->src[0];
	LAUNCH(cross_entropy, (unsigned)x->ne[1], BLOCK, 0, s, out(dst), f32(x), i32(dst->src[1]), x->ne[0]);
}

__global__ void cross_entropy_back(float *y, const float *x, const int32_t *id, const float *dy, int64_t v) {
	const int64_t n = blockIdx.x;
	const float w = dy[n];
	y += n * v;
	x += n * v;
	if (id[n] < 0 || w == 0) {
		for (int64_t i = threadIdx.x; i < v; i += BLOCK) y[i] = 0;
		return;
	}
	float lse = log_sum_exp(x, v);
	for (int64_t i = threadIdx.x; i < v; i += BLOCK) y[i] = w * expf(x[i] - lse) - (i == id[n] ? w : 0);
}
LG_LAUNCHER(lg_cuda_cross_entropy_back) {
	const ggml_tensor *x = dst->src[0];
	LAUNCH(cross_entropy_back, (unsigned)x->ne[1], BLOCK, 0, s, out(dst), f32(x), i32(dst->src[1]), f32(dst->src[2]), x->ne[0]);
}

// A warp's lanes are 32 columns; the BLOCK/32 warps share the rows.
__global__ void sum_rows(float *y, const float *x, int64_t lead, int64_t c) {
	__shared__ float part[BLOCK / 32][32];
	const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
	const int64_t i = blockIdx.x * 32 + lane;
	float t = 0;
	if (i < c)
		for (int64_t k = warp; k < lead; k += BLOCK / 32) t += x[k * c + i];
	part[warp][lane] = t;
	__syncthreads();
	if (warp == 0 && i < c) {
		t = 0;
		for (int k = 0; k < BLOCK / 32; k++) t += part[k][lane];
		y[i] = t;
	}
}
// One number: the whole block sums it.
__global__ void sum_all(float *y, const float *x, int64_t n) {
	float t = 0;
	for (int64_t i = threadIdx.x; i < n; i += BLOCK) t += x[i];
	t = sum_block(t);
	if (threadIdx.x == 0) y[0] = t;
}
LG_LAUNCHER(lg_cuda_sum_to) {
	int64_t c = elements(dst);
	if (c == 1)
		LAUNCH(sum_all, 1, BLOCK, 0, s, out(dst), f32(dst->src[0]), p->i[0]);
	else
		LAUNCH(sum_rows, blocks(c, 32), BLOCK, 0, s, out(dst), f32(dst->src[0]), p->i[0], c);
}

// The generator is the CPU's: the same masks on every device.
__device__ uint32_t hash3(uint64_t seed, uint64_t layer, uint64_t i) {
	uint64_t z = seed * 0x9e3779b97f4a7c15ull + layer * 0xbf58476d1ce4e5b9ull + i;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return (uint32_t)((z ^ (z >> 31)) >> 32);
}
__global__ void dropout(float *y, const float *x, const int32_t *seed, uint64_t layer, uint32_t cut, float keep, int64_t n) {
	const uint64_t z = (uint64_t)(uint32_t)seed[0] | (uint64_t)(uint32_t)seed[1] << 32;
	FOR_ELEMENTS(i, n) y[i] = hash3(z, layer, (uint64_t)i) < cut ? 0 : x[i] * keep;
}
LG_LAUNCHER(lg_cuda_dropout) {
	uint32_t cut = (uint32_t)((double)p->f[0] * 4294967295.0);
	LAUNCH(dropout, grid(elements(dst)), BLOCK, 0, s, out(dst), f32(dst->src[0]), i32(dst->src[1]), (uint64_t)p->i[0], cut, 1.0f / (1.0f - p->f[0]), elements(dst));
}

__global__ void accumulate(float *y, const float *g, const float *beta, int64_t n) {
	const float b = beta[0];
	FOR_ELEMENTS(i, n) y[i] = b == 0 ? g[i] : b * y[i] + g[i];
}
LG_LAUNCHER(lg_cuda_accumulate) {
	LAUNCH(accumulate, grid(elements(dst)), BLOCK, 0, s, out(dst), f32(dst->src[1]), f32(dst->src[2]), elements(dst));
}

__global__ void adamw(float *w, const float *g, float *m, float *v, const float *h, const float *clipped, __nv_bfloat16 *copy, float decay, int64_t n) {
	const float lr = h[0], b1 = h[1], b2 = h[2], eps = h[3], c1 = h[4], c2 = h[5], clip = clipped[1];
	if (isnan(clip)) return;
	const float keep = 1 - lr * decay, step = lr / c1;
	FOR_ELEMENTS(i, n) {
		float x = g[i] * clip;
		m[i] = b1 * m[i] + (1 - b1) * x;
		v[i] = b2 * v[i] + (1 - b2) * x * x;
		w[i] = w[i] * keep - step * m[i] / (sqrtf(v[i]) / c2 + eps);
		if (copy) copy[i] = __float2bfloat16(w[i]);
	}
}
LG_LAUNCHER(lg_cuda_adamw) {
	ggml_tensor *const *a = dst->src;
	LAUNCH(adamw, grid(elements(dst)), BLOCK, 0, s, out(dst), f32(a[1]), out(a[2]), out(a[3]), f32(a[4]), f32(a[5]), a[6] ? (__nv_bfloat16 *)a[6]->data : nullptr, p->f[0],
		elements(dst));
}

// Sums that go on from operation to operation are pairs of floats, as on the CPU.
__device__ double pair(const float *x) { return (double)x[0] + (double)x[1]; }
__device__ void set_pair(float *y, double x) {
	y[0] = (float)x;
	y[1] = isfinite(y[0]) ? (float)(x - y[0]) : 0;
}

// Σ x·y in parts, then over the parts, in double; how many follows from the number of elements alone.
enum { SUM_PARTS = 1024 };
static inline unsigned sum_parts(int64_t n) {
	unsigned b = blocks(n, BLOCK * 8);
	return b < SUM_PARTS ? b : SUM_PARTS;
}
__global__ void dot_part(double *part, const float *x, const float *y, int64_t n) {
	double t = 0;
	FOR_ELEMENTS(i, n) t += (double)x[i] * y[i];
	t = sum_block(t);
	if (threadIdx.x == 0) part[blockIdx.x] = t;
}
// y = beta·total + Σ parts; total and beta may be missing, which are then 0 and 1.
__global__ void add_parts(float *y, const double *part, int parts, const float *total, const float *beta) {
	double t = 0;
	for (int i = threadIdx.x; i < parts; i += BLOCK) t += part[i];
	t = sum_block(t);
	if (threadIdx.x) return;
	float b = beta ? beta[0] : 1;
	if (total && b != 0) t += b * pair(total);
	set_pair(y, t);
}
LG_SCRATCH_SIZE(lg_cuda_sum_scratch) {
	(void)src;
	(void)p;
	return 2 * SUM_PARTS;
}
// src: x, a sum to begin with if i[0], scratch.
LG_LAUNCHER(lg_cuda_square_sum) {
	const float *x = f32(dst->src[0]);
	double *part = (double *)dst->src[p->i[0] ? 2 : 1]->data;
	const unsigned parts = sum_parts(elements(dst->src[0]));
	LAUNCH(dot_part, parts, BLOCK, 0, s, part, x, x, elements(dst->src[0]));
	LAUNCH(add_parts, 1, BLOCK, 0, s, out(dst), (const double *)part, (int)parts, p->i[0] ? f32(dst->src[1]) : (const float *)nullptr, (const float *)nullptr);
}
// In place: dst = beta·dst + Σ x·y; src: dst, x, y, beta (1), scratch.
LG_LAUNCHER(lg_cuda_add_dot) {
	(void)p;
	ggml_tensor *const *a = dst->src;
	double *part = (double *)a[4]->data;
	const unsigned parts = sum_parts(elements(a[1]));
	LAUNCH(dot_part, parts, BLOCK, 0, s, part, f32(a[1]), f32(a[2]), elements(a[1]));
	LAUNCH(add_parts, 1, BLOCK, 0, s, out(dst), (const double *)part, (int)parts, f32(a[0]), f32(a[3]));
}

__global__ void clip(float *y, const float *squares, const float *loss, const float *h) {
	double norm = sqrt(pair(squares)), limit = h[6], factor = 1;
	if (limit > 0 && limit < norm + 1e-6) factor = limit / (norm + 1e-6);
	if (!isfinite(norm) || !isfinite(pair(loss)) || isnan(y[1])) factor = NAN;
	y[0] = (float)norm;
	y[1] = (float)factor;
}
LG_LAUNCHER(lg_cuda_clip) {
	(void)p;
	LAUNCH(clip, 1, 1, 0, s, out(dst), f32(dst->src[1]), f32(dst->src[2]), f32(dst->src[3]));
}
