// Norms on the GPU: a block to a row of C numbers; the weights' gradients in parts of the rows.
#include "kernels.cuh"

__device__ float rstd_row(const float *x, int64_t c, float eps) {
	float t = 0;
	for (int64_t i = threadIdx.x; i < c; i += BLOCK) t += x[i] * x[i];
	return 1.0f / sqrtf(sum_block(t) / (float)c + eps);
}

__global__ void rms_norm(float *y, const float *x, const float *w, int64_t c, float eps, float offset) {
	x += blockIdx.x * c;
	y += blockIdx.x * c;
	float s = rstd_row(x, c, eps);
	for (int64_t i = threadIdx.x; i < c; i += BLOCK) y[i] = x[i] * s * (w[i] + offset);
}
LG_LAUNCHER(lg_cuda_rms_norm) {
	int64_t c = dst->ne[0];
	LAUNCH(rms_norm, (unsigned)(elements(dst) / c), BLOCK, 0, s, out(dst), f32(dst->src[0]), f32(dst->src[1]), c, p->f[0], p->f[1]);
}

__global__ void rms_norm_back(float *dx, const float *x, const float *w, const float *dy, int64_t c, float eps, float offset) {
	x += blockIdx.x * c;
	dy += blockIdx.x * c;
	dx += blockIdx.x * c;
	float s = rstd_row(x, c, eps), dot = 0;
	for (int64_t i = threadIdx.x; i < c; i += BLOCK) dot += x[i] * dy[i] * (w[i] + offset);
	float k = sum_block(dot) * s * s * s / (float)c;
	for (int64_t i = threadIdx.x; i < c; i += BLOCK) dx[i] = s * (w[i] + offset) * dy[i] - k * x[i];
}
LG_LAUNCHER(lg_cuda_rms_norm_back) {
	int64_t c = dst->ne[0];
	LAUNCH(rms_norm_back, (unsigned)(elements(dst) / c), BLOCK, 0, s, out(dst), f32(dst->src[0]), f32(dst->src[1]), f32(dst->src[2]), c, p->f[0], p->f[1]);
}

// The columns' sums go in two steps, over parts of the rows and then over the parts; how many follows from the number of rows alone.
static inline int column_parts(int64_t n) { return n >= 1024 ? 64 : (int)((n + 15) / 16); }

__global__ void row_rstd(float *s, const float *x, int64_t c, float eps) {
	float t = rstd_row(x + blockIdx.x * c, c, eps);
	if (threadIdx.x == 0) s[blockIdx.x] = t;
}
__global__ void rms_norm_back_w_part(float *part, const float *s, const float *x, const float *dy, int64_t n, int64_t c) {
	int64_t i = blockIdx.x * (int64_t)BLOCK + threadIdx.x, from = n * blockIdx.y / gridDim.y, to = n * (blockIdx.y + 1) / gridDim.y;
	if (i >= c) return;
	float t = 0;
	for (int64_t k = from; k < to; k++) t += x[k * c + i] * s[k] * dy[k * c + i];
	part[blockIdx.y * c + i] = t;
}
__global__ void sum_part_columns(float *y, const float *part, int64_t parts, int64_t c) {
	int64_t i = blockIdx.x * (int64_t)BLOCK + threadIdx.x;
	if (i >= c) return;
	float t = 0;
	for (int64_t k = 0; k < parts; k++) t += part[k * c + i];
	y[i] = t;
}
LG_SCRATCH_SIZE(lg_cuda_rms_norm_back_w_scratch) {
	(void)p;
	int64_t c = src[0]->ne[0];
	return elements(src[0]) / c + column_parts(elements(src[0]) / c) * c;
}
// src: x (N, C), dy (N, C), scratch.
LG_LAUNCHER(lg_cuda_rms_norm_back_w) {
	int64_t c = dst->ne[0], n = elements(dst->src[0]) / c;
	const int parts = column_parts(n);
	float *rstd = out(dst->src[2]), *part = rstd + n;
	LAUNCH(row_rstd, (unsigned)n, BLOCK, 0, s, rstd, f32(dst->src[0]), c, p->f[0]);
	LAUNCH(rms_norm_back_w_part, dim3(blocks(c, BLOCK), parts), BLOCK, 0, s, part, (const float *)rstd, f32(dst->src[0]), f32(dst->src[1]), n, c);
	LAUNCH(sum_part_columns, blocks(c, BLOCK), BLOCK, 0, s, out(dst), (const float *)part, (int64_t)parts, c);
}

// A row's mean, and 1/sqrt of its variance plus eps; the variance is of differences from the mean, as on the CPU.
struct moments {
	float mean, rstd;
};
__device__ moments moments_row(const float *x, int64_t c, float eps) {
	float t = 0;
	for (int64_t i = threadIdx.x; i < c; i += BLOCK) t += x[i];
	const float mean = sum_block(t) / (float)c;
	t = 0;
	for (int64_t i = threadIdx.x; i < c; i += BLOCK) t += (x[i] - mean) * (x[i] - mean);
	return {mean, 1.0f / sqrtf(sum_block(t) / (float)c + eps)};
}

__global__ void layer_norm(float *y, const float *x, const float *w, const float *b, int64_t c, float eps) {
	x += blockIdx.x * c;
	y += blockIdx.x * c;
	moments m = moments_row(x, c, eps);
	for (int64_t i = threadIdx.x; i < c; i += BLOCK) y[i] = (x[i] - m.mean) * m.rstd * w[i] + (b ? b[i] : 0);
}
LG_LAUNCHER(lg_cuda_layer_norm) {
	int64_t c = dst->ne[0];
	const float *b = dst->src[2] ? f32(dst->src[2]) : nullptr;
	LAUNCH(layer_norm, (unsigned)(elements(dst) / c), BLOCK, 0, s, out(dst), f32(dst->src[0]), f32(dst->src[1]), b, c, p->f[0]);
}

__global__ void layer_norm_back(float *dx, const float *x, const float *w, const float *dy, int64_t c, float eps) {
	x += blockIdx.x * c;
	dy += blockIdx.x * c;
	dx += blockIdx.x * c;
	moments m = moments_row(x, c, eps);
	float sum = 0, dot = 0;
	for (int64_t i = threadIdx.x; i < c; i += BLOCK) {
		float g = w[i] * dy[i];
		sum += g;
		dot += g * (x[i] - m.mean);
	}
	const float mean = sum_block(sum) / (float)c, k = sum_block(dot) * m.rstd * m.rstd / (float)c;
	for (int64_t i = threadIdx.x; i < c; i += BLOCK) dx[i] = m.rstd * (w[i] * dy[i] - mean - k * (x[i] - m.mean));
}
LG_LAUNCHER(lg_cuda_layer_norm_back) {
	int64_t c = dst->ne[0];
	LAUNCH(layer_norm_back, (unsigned)(elements(dst) / c), BLOCK, 0, s, out(dst), f32(dst->src[0]), f32(dst->src[1]), f32(dst->src[2]), c, p->f[0]);
}

__global__ void row_moments(moments *y, const float *x, int64_t c, float eps) {
	moments m = moments_row(x + blockIdx.x * c, c, eps);
	if (threadIdx.x == 0) y[blockIdx.x] = m;
}
__global__ void layer_norm_back_w_part(float *part, const moments *m, const float *x, const float *dy, int64_t n, int64_t c) {
	int64_t i = blockIdx.x * (int64_t)BLOCK + threadIdx.x, from = n * blockIdx.y / gridDim.y, to = n * (blockIdx.y + 1) / gridDim.y;
	if (i >= c) return;
	float t = 0;
	for (int64_t k = from; k < to; k++) t += (x[k * c + i] - m[k].mean) * m[k].rstd * dy[k * c + i];
	part[blockIdx.y * c + i] = t;
}
LG_SCRATCH_SIZE(lg_cuda_layer_norm_back_w_scratch) {
	(void)p;
	int64_t c = src[0]->ne[0], n = elements(src[0]) / c;
	return 2 * n + column_parts(n) * c;
}
// src: x (N, C), dy (N, C), scratch.
LG_LAUNCHER(lg_cuda_layer_norm_back_w) {
	int64_t c = dst->ne[0], n = elements(dst->src[0]) / c;
	const int parts = column_parts(n);
	moments *m = (moments *)out(dst->src[2]);
	float *part = out(dst->src[2]) + 2 * n;
	LAUNCH(row_moments, (unsigned)n, BLOCK, 0, s, m, f32(dst->src[0]), c, p->f[0]);
	LAUNCH(layer_norm_back_w_part, dim3(blocks(c, BLOCK), parts), BLOCK, 0, s, part, (const moments *)m, f32(dst->src[0]), f32(dst->src[1]), n, c);
	LAUNCH(sum_part_columns, blocks(c, BLOCK), BLOCK, 0, s, out(dst), (const float *)part, (int64_t)parts, c);
}
