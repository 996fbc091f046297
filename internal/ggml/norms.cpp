// Norms over the last axis: x (N, C), w and b (C).
#include "kernels.h"
#include "operands.h"
#include "vec.h"

static inline float sum_row(const float *x, int64_t c) {
	vf s = {};
	int64_t i = 0;
	for (; i + VL <= c; i += VL) s += vload(x + i);
	float t = vsum(s);
	for (; i < c; i++) t += x[i];
	return t;
}

static inline float rstd(const float *x, int64_t c, float eps) {
	vf s = {};
	int64_t i = 0;
	for (; i + VL <= c; i += VL) {
		vf v = vload(x + i);
		s += v * v;
	}
	float t = vsum(s);
	for (; i < c; i++) t += x[i] * x[i];
	return 1.0f / sqrtf(t / (float)c + eps);
}

// y = x / sqrt(mean(x²)+f[0]) * (f[1]+w); src: x (N, C), w (C).
void rms_norm(T *dst, int ith, int nth, void *params) {
	const lg_params *p = (const lg_params *)params;
	int64_t c = dst->ne[0];
	range r = share(rows(dst), ith, nth);
	const float *w = f32(dst->src[1]), offset = p->f[1];
	for (int64_t n = r.from; n < r.to; n++) {
		const float *x = f32(dst->src[0]) + n * c;
		float *y = out(dst) + n * c, s = rstd(x, c, p->f[0]);
		for (int64_t i = 0; i < c; i++) y[i] = x[i] * s * (w[i] + offset);
	}
}

// dx = s·(u·dy) − x·s³/C·Σ(u·dy·x), s = 1/sqrt(mean(x²)+f[0]), u = f[1]+w; src: x (N, C), w (C), dy (N, C).
void rms_norm_back(T *dst, int ith, int nth, void *params) {
	const lg_params *p = (const lg_params *)params;
	int64_t c = dst->ne[0];
	range r = share(rows(dst), ith, nth);
	const float *w = f32(dst->src[1]), offset = p->f[1];
	for (int64_t n = r.from; n < r.to; n++) {
		const float *x = f32(dst->src[0]) + n * c, *dy = f32(dst->src[2]) + n * c;
		float *dx = out(dst) + n * c, s = rstd(x, c, p->f[0]);
		vf d = {};
		int64_t i = 0;
		for (; i + VL <= c; i += VL) d += vload(x + i) * vload(dy + i) * (vload(w + i) + offset);
		float dot = vsum(d);
		for (; i < c; i++) dot += x[i] * dy[i] * (w[i] + offset);
		float k = dot * s * s * s / (float)c;
		for (i = 0; i < c; i++) dx[i] = s * (w[i] + offset) * dy[i] - k * x[i];
	}
}

// dw = Σ_n dy·x/rms(x), whatever the offset; src: x (N, C), dy (N, C); dst (C). Threads own columns, so the sum has one order.
void rms_norm_back_w(T *dst, int ith, int nth, void *params) {
	const lg_params *p = (const lg_params *)params;
	int64_t c = dst->ne[0], n = numel(dst->src[0]) / c;
	range r = share(c, ith, nth, VL);
	if (r.from >= r.to) return;
	float *dw = out(dst);
	memset(dw + r.from, 0, (r.to - r.from) * 4);
	for (int64_t k = 0; k < n; k++) {
		const float *x = f32(dst->src[0]) + k * c, *dy = f32(dst->src[1]) + k * c;
		float s = rstd(x, c, p->f[0]);
		for (int64_t i = r.from; i < r.to; i++) dw[i] += x[i] * s * dy[i];
	}
}

// A row's mean, and 1/sqrt of its variance plus eps. The variance is of differences
// from the mean: the difference of two sums of squares would lose rows far from 0.
struct moments {
	float mean, rstd;
};
static inline moments moments_of(const float *x, int64_t c, float eps) {
	float mean = sum_row(x, c) / (float)c;
	vf s = {};
	int64_t i = 0;
	for (; i + VL <= c; i += VL) {
		vf v = vload(x + i) - mean;
		s += v * v;
	}
	float t = vsum(s);
	for (; i < c; i++) t += (x[i] - mean) * (x[i] - mean);
	return {mean, 1.0f / sqrtf(t / (float)c + eps)};
}

// y = (x−mean(x)) / sqrt(var(x)+f[0]) * w + b; src: x (N, C), w (C), and b (C) if any.
void layer_norm(T *dst, int ith, int nth, void *params) {
	const lg_params *p = (const lg_params *)params;
	int64_t c = dst->ne[0];
	range r = share(rows(dst), ith, nth);
	const float *w = f32(dst->src[1]), *b = dst->src[2] ? f32(dst->src[2]) : nullptr;
	for (int64_t n = r.from; n < r.to; n++) {
		const float *x = f32(dst->src[0]) + n * c;
		float *y = out(dst) + n * c;
		moments m = moments_of(x, c, p->f[0]);
		if (b)
			for (int64_t i = 0; i < c; i++) y[i] = (x[i] - m.mean) * m.rstd * w[i] + b[i];
		else
			for (int64_t i = 0; i < c; i++) y[i] = (x[i] - m.mean) * m.rstd * w[i];
	}
}

// dx = s·(g − mean(g) − h·mean(g·h)), h = (x−mean(x))·s, g = w·dy, s = 1/sqrt(var(x)+f[0]); src: x (N, C), w (C), dy (N, C).
void layer_norm_back(T *dst, int ith, int nth, void *params) {
	const lg_params *p = (const lg_params *)params;
	int64_t c = dst->ne[0];
	range r = share(rows(dst), ith, nth);
	const float *w = f32(dst->src[1]);
	for (int64_t n = r.from; n < r.to; n++) {
		const float *x = f32(dst->src[0]) + n * c, *dy = f32(dst->src[2]) + n * c;
		float *dx = out(dst) + n * c;
		moments m = moments_of(x, c, p->f[0]);
		vf a = {}, d = {};
		int64_t i = 0;
		for (; i + VL <= c; i += VL) {
			vf g = vload(w + i) * vload(dy + i);
			a += g;
			d += g * (vload(x + i) - m.mean);
		}
		float sum = vsum(a), dot = vsum(d);
		for (; i < c; i++) {
			sum += w[i] * dy[i];
			dot += w[i] * dy[i] * (x[i] - m.mean);
		}
		float mean = sum / (float)c, k = dot * m.rstd * m.rstd / (float)c;
		for (i = 0; i < c; i++) dx[i] = m.rstd * (w[i] * dy[i] - mean - k * (x[i] - m.mean));
	}
}

// dw = Σ_n dy·(x−mean(x))·s, s as above; src: x (N, C), dy (N, C); dst (C). Threads own columns, so the sum has one order.
void layer_norm_back_w(T *dst, int ith, int nth, void *params) {
	const lg_params *p = (const lg_params *)params;
	int64_t c = dst->ne[0], n = numel(dst->src[0]) / c;
	range r = share(c, ith, nth, VL);
	if (r.from >= r.to) return;
	float *dw = out(dst);
	memset(dw + r.from, 0, (r.to - r.from) * 4);
	for (int64_t k = 0; k < n; k++) {
		const float *x = f32(dst->src[0]) + k * c, *dy = f32(dst->src[1]) + k * c;
		moments m = moments_of(x, c, p->f[0]);
		for (int64_t i = r.from; i < r.to; i++) dw[i] += (x[i] - m.mean) * m.rstd * dy[i];
	}
}
