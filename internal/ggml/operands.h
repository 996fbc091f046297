// What our CPU kernels read their operands with.
#pragma once
#include "cggml.h"
#include "kernels.h"
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

// next_work gives the numbers below n out to the threads that ask for one, then −1 to each: so that a thread that the machine
// interrupts, or that came late, holds up the others by little. The last to be refused makes the next run begin at 0.
static inline int next_work(lg_params *p, int n, int nth) {
	const int i = __atomic_fetch_add(&p->next, 1, __ATOMIC_RELAXED);
	if (i < n) return i;
	if (__atomic_add_fetch(&p->out, 1, __ATOMIC_ACQ_REL) == nth) p->next = p->out = 0; // the threads meet before the next run
	return -1;
}

// next_part is next_work for n in parts of whole units.
static inline bool next_part(lg_params *p, int64_t n, int64_t unit, int nth, range *r) {
	const int64_t most = unit > 256 ? unit : 256 / unit * unit; // of a product with a vector, some 20 µs
	int64_t size = (n / (8 * nth) + unit - 1) / unit * unit;
	size = nth == 1 ? n : size < unit ? unit : size > most ? most : size;
	const int i = next_work(p, (int)((n + size - 1) / size), nth);
	*r = {i * size, (i + 1) * size < n ? (i + 1) * size : n};
	return i >= 0;
}
