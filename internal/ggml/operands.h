// What our CPU kernels read their operands with.
#pragma once
#include "cggml.h"
#include <cstdint>

typedef ggml_tensor T;

static inline const float *f32(const T *t) { return (const float *)t->data; }
static inline float *out(T *t) { return (float *)t->data; }
static inline int64_t rows(const T *t) { return t->ne[1] * t->ne[2] * t->ne[3]; }
static inline int64_t numel(const T *t) { return t->ne[0] * rows(t); }

// share is the part of n that thread ith of nth works on.
struct range {
	int64_t from, to;
};
static inline range share(int64_t n, int ith, int nth, int64_t unit = 1) {
	int64_t u = (n + unit - 1) / unit;
	int64_t a = u * ith / nth * unit, b = u * (ith + 1) / nth * unit;
	return {a, b < n ? b : n};
}
