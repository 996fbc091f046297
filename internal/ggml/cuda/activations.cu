// Element-wise functions on the GPU: activations, gates and the soft cap of scores.
// The formulas are said at ../activations.cpp; erfcf and tanhf are the library's, within 4 units in the last place.
#include "kernels.cuh"

static __device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

template <int A> static __device__ __forceinline__ float act_value(float x) {
	if (A == LG_SILU) return x * sigmoid(x);
	if (A == LG_GELU) return x * 0.5f * erfcf(-0.7071067811865476f * x);
	if (A == LG_GELU_TANH) return x * sigmoid(1.5957691216057308f * x * (1.0f + 0.044715f * x * x));
	return x < 0 ? 0.0f : x; // NaN stays
}
template <int A> static __device__ __forceinline__ float act_slope(float x) {
	if (A == LG_SILU) {
		float s = sigmoid(x);
		return s * (1.0f + x * (1.0f - s));
	}
	if (A == LG_GELU) return 0.5f * erfcf(-0.7071067811865476f * x) + x * 0.3989422804014327f * expf(-0.5f * x * x);
	if (A == LG_GELU_TANH) {
		float e = expf(fminf(-1.5957691216057308f * x * (1.0f + 0.044715f * x * x), 80.0f)), s = 1.0f / (1.0f + e); // e·s is 1−s
		x = x > 12.0f ? 12.0f : x < -12.0f ? -12.0f : x;
		return s + x * s * (e * s) * 1.5957691216057308f * (1.0f + 3 * 0.044715f * x * x);
	}
	return x > 0 ? 1.0f : x * 0.0f;
}

// y = act(x), or act(x)·u; dx = d·act'(x), or d·u·act'(x). u may be missing.
template <int A> __global__ void gate(float *y, const float *x, const float *u, int64_t n) {
	FOR_ELEMENTS(i, n) y[i] = u ? act_value<A>(x[i]) * u[i] : act_value<A>(x[i]);
}
template <int A> __global__ void gate_back(float *dx, const float *x, const float *u, const float *d, int64_t n) {
	FOR_ELEMENTS(i, n) dx[i] = (u ? d[i] * u[i] : d[i]) * act_slope<A>(x[i]);
}

static void launch_gate(cudaStream_t s, const ggml_tensor *dst, const lg_params *p, const float *u) {
	const float *x = f32(dst->src[0]);
	const int64_t n = elements(dst);
	switch (p->i[0]) {
	case LG_SILU: LAUNCH((gate<LG_SILU>), grid(n), BLOCK, 0, s, out(dst), x, u, n); break;
	case LG_GELU: LAUNCH((gate<LG_GELU>), grid(n), BLOCK, 0, s, out(dst), x, u, n); break;
	case LG_GELU_TANH: LAUNCH((gate<LG_GELU_TANH>), grid(n), BLOCK, 0, s, out(dst), x, u, n); break;
	case LG_RELU: LAUNCH((gate<LG_RELU>), grid(n), BLOCK, 0, s, out(dst), x, u, n); break;
	}
}
static void launch_gate_back(cudaStream_t s, const ggml_tensor *dst, const lg_params *p, const float *u, const float *d) {
	const float *x = f32(dst->src[0]);
	const int64_t n = elements(dst);
	switch (p->i[0]) {
	case LG_SILU: LAUNCH((gate_back<LG_SILU>), grid(n), BLOCK, 0, s, out(dst), x, u, d, n); break;
	case LG_GELU: LAUNCH((gate_back<LG_GELU>), grid(n), BLOCK, 0, s, out(dst), x, u, d, n); break;
	case LG_GELU_TANH: LAUNCH((gate_back<LG_GELU_TANH>), grid(n), BLOCK, 0, s, out(dst), x, u, d, n); break;
	case LG_RELU: LAUNCH((gate_back<LG_RELU>), grid(n), BLOCK, 0, s, out(dst), x, u, d, n); break;
	}
}
LG_LAUNCHER(lg_cuda_act) { launch_gate(s, dst, p, nullptr); }
LG_LAUNCHER(lg_cuda_act_back) { launch_gate_back(s, dst, p, nullptr, f32(dst->src[1])); }
LG_LAUNCHER(lg_cuda_gate) { launch_gate(s, dst, p, f32(dst->src[1])); }
LG_LAUNCHER(lg_cuda_gate_back) { launch_gate_back(s, dst, p, f32(dst->src[1]), f32(dst->src[2])); }

__global__ void softcap(float *y, const float *x, float c, float inverse, int64_t n) {
	FOR_ELEMENTS(i, n) y[i] = c * tanhf(x[i] * inverse);
}
LG_LAUNCHER(lg_cuda_softcap) {
	LAUNCH(softcap, grid(elements(dst)), BLOCK, 0, s, out(dst), f32(dst->src[0]), p->f[0], 1.0f / p->f[0], elements(dst));
}

__global__ void softcap_back(float *dx, const float *y, const float *dy, float inverse, int64_t n) {
	FOR_ELEMENTS(i, n) {
		float t = y[i] * inverse;
		dx[i] = dy[i] * (1.0f - t * t);
	}
}
LG_LAUNCHER(lg_cuda_softcap_back) {
	LAUNCH(softcap_back, grid(elements(dst)), BLOCK, 0, s, out(dst), f32(dst->src[0]), f32(dst->src[1]), 1.0f / p->f[0], elements(dst));
}
