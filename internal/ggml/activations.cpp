// Element-wise functions: activations, gates and the soft cap of scores.
#include "kernels.h"
#include "operands.h"
#include "vec.h"

// Each activation has its value and its slope. Scalars go through the same vector
// code, so that an element's value does not depend on where in the row it stands.

// https://arxiv.org/abs/1606.08415: x·sigmoid(x), slope s·(1 + x·(1−s)).
struct silu {
	static vf value(vf x) { return x * vsigmoid(x); }
	static vf slope(vf x) {
		vf s = vsigmoid(x);
		return s * (1.0f + x * (1.0f - s));
	}
};

// upper_tail is the probability that a normal number exceeds |x|, and e = exp(−x²/2):
// e·t·P(t) with t = 1/(1+k|x|), the form of Abramowitz and Stegun 26.2.17, with our own
// fit, of relative error 6e-8 on 0 ≤ |x| ≤ 13.3, beyond which e is 0.
static inline vf upper_tail(vf x, vf *e) {
	vf a = x < 0 ? -x : x, t = 1.0f / (1.0f + 0.26f * a);
	vf p = vset(0.0324409045279026f);
	p = p * t - 0.16216053068637848f;
	p = p * t + 0.27060601115226746f;
	p = p * t - 0.1726296991109848f;
	p = p * t + 0.17580546438694f;
	p = p * t + 0.044742852449417114f;
	p = p * t + 0.10462956875562668f;
	p = p * t + 0.10279323905706406f;
	p = p * t + 0.10377218574285507f;
	*e = vexp(-0.5f * x * x);
	return *e * t * p;
}

// x·Φ(x), Φ the normal distribution: x·(1 + erf(x/√2))/2. Slope Φ + x·φ.
struct gelu {
	static vf value(vf x) {
		vf e, q = upper_tail(x, &e);
		return x * (x < 0 ? q : 1.0f - q);
	}
	static vf slope(vf x) {
		vf e, q = upper_tail(x, &e);
		return (x < 0 ? q : 1.0f - q) + x * e * 0.3989422804014327f; // 1/√(2π)
	}
};

// x·(1 + tanh(u))/2 = x·sigmoid(2u), u = √(2/π)·(x + 0.044715x³). Slope s + x·s·(1−s)·2u'.
struct gelu_tanh {
	static vf twice(vf x) { return 1.5957691216057308f * x * (1.0f + 0.044715f * x * x); }
	static vf value(vf x) { return x * vsigmoid(twice(x)); }
	static vf slope(vf x) {
		vf e = vexp(-twice(x)), s = 1.0f / (1.0f + e);
		x = x > 12.0f ? vset(12.0f) : x; // s·(1−s) is 0 there; x³ must not become infinite beside it
		x = x < -12.0f ? vset(-12.0f) : x;
		return s + x * s * (e * s) * 1.5957691216057308f * (1.0f + 3 * 0.044715f * x * x);
	}
};

struct relu {
	static vf value(vf x) { return x < 0 ? vf{} : x; } // NaN stays
	static vf slope(vf x) { return x > 0 ? vset(1.0f) : x * 0.0f; }
};

// map fills dst with f of its operands, element by element; N is their number.
template <int N, class F>
static inline void map(T *dst, int ith, int nth, F f) {
	range r = share(numel(dst), ith, nth, VL);
	const float *x[3] = {};
	for (int k = 0; k < N; k++) x[k] = f32(dst->src[k]);
	float *y = out(dst);
	int64_t i = r.from;
	for (; i + VL <= r.to; i += VL) {
		vf v[3] = {};
		for (int k = 0; k < N; k++) v[k] = vload(x[k] + i);
		vstore(y + i, f(v[0], v[1], v[2]));
	}
	if (i >= r.to) return;
	float rest[3][VL] = {}, z[VL];
	for (int k = 0; k < N; k++) memcpy(rest[k], x[k] + i, (r.to - i) * 4);
	vstore(z, f(vload(rest[0]), vload(rest[1]), vload(rest[2])));
	memcpy(y + i, z, (r.to - i) * 4);
}

// by_activation calls f with the activation i[0].
template <class F>
static inline void by_activation(const void *params, F f) {
	switch (((const lg_params *)params)->i[0]) {
	case LG_SILU: return f(silu());
	case LG_GELU: return f(gelu());
	case LG_GELU_TANH: return f(gelu_tanh());
	case LG_RELU: return f(relu());
	}
}

// y = act(x). i[0]: enum lg_activation, here and below.
void act(T *dst, int ith, int nth, void *params) {
	by_activation(params, [=](auto a) { map<1>(dst, ith, nth, [](vf x, vf, vf) { return decltype(a)::value(x); }); });
}

// dx = dy·act'(x); src: x, dy.
void act_back(T *dst, int ith, int nth, void *params) {
	by_activation(params, [=](auto a) { map<2>(dst, ith, nth, [](vf x, vf d, vf) { return d * decltype(a)::slope(x); }); });
}

// y = act(gate)·up. https://arxiv.org/abs/2002.05202
void gate(T *dst, int ith, int nth, void *params) {
	by_activation(params, [=](auto a) { map<2>(dst, ith, nth, [](vf x, vf u, vf) { return decltype(a)::value(x) * u; }); });
}

// dgate = dy·up·act'(gate); src: gate, up, dy.
void gate_back(T *dst, int ith, int nth, void *params) {
	by_activation(params, [=](auto a) { map<3>(dst, ith, nth, [](vf x, vf u, vf d) { return d * u * decltype(a)::slope(x); }); });
}

// y = f[0]·tanh(x/f[0]).
void softcap(T *dst, int ith, int nth, void *params) {
	const float c = ((const lg_params *)params)->f[0], inverse = 1.0f / c;
	map<1>(dst, ith, nth, [=](vf x, vf, vf) { return c * vtanh(x * inverse); });
}

// dx = dy·(1 − (y/f[0])²); src: the result y, dy.
void softcap_back(T *dst, int ith, int nth, void *params) {
	const float inverse = 1.0f / ((const lg_params *)params)->f[0];
	map<2>(dst, ith, nth, [=](vf y, vf d, vf) {
		vf t = y * inverse;
		return d * (1.0f - t * t);
	});
}
