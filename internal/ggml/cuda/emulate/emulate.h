// CUDA on the CPU: as much of the language and of the runtime as our kernels use,
// so that tests execute them where there is no GPU. A file is compiled with
//   g++ -x c++ -std=c++17 -fno-strict-aliasing -DLITGPT_EMULATE
// and linked with emulate.cpp and cublas.cpp.
//
// The threads of a block are fibers that take turns at barriers and warp
// collectives; blocks run one after the other, launches at once. Memory that CUDA
// leaves undefined holds NaN. What hardware may forgive ends the process with
// a message: a barrier that not all threads of a block reach, a collective whose
// lanes differ. With LITGPT_EMULATE_REVERSE=1 in the environment threads, warps
// and blocks run in the opposite order: a missing barrier shows as a difference.
//
// It does not model time, caches, bank conflicts, races within one order, or
// arithmetic that a GPU does differently in the last bit (exp2f, fused products).
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <tuple>
#include <utility>

#include "types.h"

using std::isfinite;
using std::isinf;
using std::isnan;

#define __global__
#define __device__
#define __host__
#define __constant__
#define __shared__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) alignas(n)

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
static const int warpSize = 32;

typedef struct lg_emulated_stream *cudaStream_t;

namespace lg_emulate {

typedef void (*thread_function)(const void *kernel_and_arguments);

// submit runs work now, or keeps it for the graph that stream is capturing.
// Whatever works on a stream (also what GGML's CPU backend does in place of its CUDA one) goes through it.
void submit(cudaStream_t stream, std::function<void()> work);
bool capturing(cudaStream_t stream);
// launchable is false, and the last error set, for a launch that a GPU would refuse.
bool launchable(const char *name, const void *kernel, dim3 grid, dim3 block, size_t shared_bytes);
void run(const char *name, dim3 grid, dim3 block, size_t shared_bytes, thread_function thread, const void *kernel_and_arguments);
unsigned char *shared();
[[noreturn]] void misuse(const char *what);

template <class... P> struct call {
	void (*kernel)(P...);
	std::tuple<P...> args;
	static void thread(const void *p) {
		const call *c = (const call *)p;
		std::apply(c->kernel, c->args);
	}
};

template <class... P, class... A> void launch(const char *name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream, A &&...args) {
	if (!launchable(name, (const void *)kernel, grid, block, shared_bytes)) return;
	call<P...> c{kernel, std::tuple<P...>(std::forward<A>(args)...)};
	if (capturing(stream)) submit(stream, [=] { run(name, grid, block, shared_bytes, call<P...>::thread, &c); });
	else run(name, grid, block, shared_bytes, call<P...>::thread, &c);
}

// sync_block waits for all threads of the block at the same line.
void sync_block(int line);

// collective waits until all lanes of mask have called it with the same function and
// mask; then gather is called once with the lanes' arguments (null for lanes that do not exist or take no part).
typedef void (*gather_function)(void *lanes[32]);
void collective(unsigned mask, gather_function gather, void *arguments);
int lane();

void sync_warp(unsigned mask);
uint64_t shuffle(unsigned mask, uint64_t value, int from);
unsigned ballot(unsigned mask, bool predicate);

template <class T> T shuffle_value(unsigned mask, T x, int from) {
	static_assert(sizeof(T) <= 8, "a shuffle moves up to 8 bytes");
	uint64_t bits = 0;
	memcpy(&bits, &x, sizeof(T));
	bits = shuffle(mask, bits, from);
	memcpy(&x, &bits, sizeof(T));
	return x;
}

} // namespace lg_emulate

#define LAUNCH(kernel, grid, block, shared_bytes, stream, ...) lg_emulate::launch(#kernel, kernel, grid, block, shared_bytes, stream, ##__VA_ARGS__)
#define SHARED_DYNAMIC(type, name) type *name = reinterpret_cast<type *>(lg_emulate::shared())

#define __syncthreads() lg_emulate::sync_block(__LINE__)
static inline void __syncwarp(unsigned mask = ~0u) { lg_emulate::sync_warp(mask); }
static inline void __threadfence() {}
static inline void __threadfence_block() {}
[[noreturn]] static inline void __trap() { lg_emulate::misuse("__trap()"); }

// Lanes of other segments of width lanes are out of reach: a lane then gets its own value (PTX ISA, shfl.sync).
template <class T> T __shfl_sync(unsigned mask, T x, int from, int width = 32) {
	return lg_emulate::shuffle_value(mask, x, (lg_emulate::lane() & ~(width - 1)) | (from & (width - 1)));
}
template <class T> T __shfl_xor_sync(unsigned mask, T x, int bits, int width = 32) {
	int lane = lg_emulate::lane(), from = lane ^ bits;
	return lg_emulate::shuffle_value(mask, x, from <= (lane | (width - 1)) ? from : lane);
}
template <class T> T __shfl_down_sync(unsigned mask, T x, unsigned delta, int width = 32) {
	int lane = lg_emulate::lane(), from = lane + (int)delta;
	return lg_emulate::shuffle_value(mask, x, from <= (lane | (width - 1)) ? from : lane);
}
template <class T> T __shfl_up_sync(unsigned mask, T x, unsigned delta, int width = 32) {
	int lane = lg_emulate::lane(), from = lane - (int)delta;
	return lg_emulate::shuffle_value(mask, x, from >= (lane & ~(width - 1)) ? from : lane);
}
static inline unsigned __ballot_sync(unsigned mask, int predicate) { return lg_emulate::ballot(mask, predicate != 0); }
static inline int __any_sync(unsigned mask, int predicate) { return lg_emulate::ballot(mask, predicate != 0) != 0; }
static inline int __all_sync(unsigned mask, int predicate) { return lg_emulate::ballot(mask, predicate == 0) == 0; }

// Threads take turns only at barriers, so a plain operation is atomic. Float atomics are left out on purpose.
template <class T> T lg_atomic(T *p, T x) {
	T old = *p;
	*p = x;
	return old;
}
static inline int atomicAdd(int *p, int x) { return lg_atomic(p, *p + x); }
static inline unsigned atomicAdd(unsigned *p, unsigned x) { return lg_atomic(p, *p + x); }
static inline unsigned long long atomicAdd(unsigned long long *p, unsigned long long x) { return lg_atomic(p, *p + x); }
static inline int atomicMax(int *p, int x) { return lg_atomic(p, *p > x ? *p : x); }
static inline unsigned atomicMax(unsigned *p, unsigned x) { return lg_atomic(p, *p > x ? *p : x); }
static inline unsigned long long atomicMax(unsigned long long *p, unsigned long long x) { return lg_atomic(p, *p > x ? *p : x); }
static inline int atomicMin(int *p, int x) { return lg_atomic(p, *p < x ? *p : x); }
static inline unsigned atomicMin(unsigned *p, unsigned x) { return lg_atomic(p, *p < x ? *p : x); }
static inline int atomicExch(int *p, int x) { return lg_atomic(p, x); }
static inline unsigned atomicExch(unsigned *p, unsigned x) { return lg_atomic(p, x); }
static inline int atomicCAS(int *p, int old, int x) { return lg_atomic(p, *p == old ? x : *p); }
static inline unsigned atomicCAS(unsigned *p, unsigned old, unsigned x) { return lg_atomic(p, *p == old ? x : *p); }
static inline unsigned atomicOr(unsigned *p, unsigned x) { return lg_atomic(p, *p | x); }

// Macros: the C library has functions of these names.
#define __expf(x) expf(x)
#define __logf(x) logf(x)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
#define __powf(x, y) powf(x, y)
static inline float __fdividef(float x, float y) { return x / y; }
static inline float __frcp_rn(float x) { return 1 / x; }
static inline float __fsqrt_rn(float x) { return sqrtf(x); }
static inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
static inline float __fadd_rn(float x, float y) { return x + y; }
static inline float __fmul_rn(float x, float y) { return x * y; }
static inline float __fdiv_rn(float x, float y) { return x / y; }
static inline float rsqrtf(float x) { return 1 / sqrtf(x); }
static inline float __saturatef(float x) { return x > 0 ? (x < 1 ? x : 1) : 0; }
static inline unsigned __umulhi(unsigned x, unsigned y) { return (unsigned)((uint64_t)x * y >> 32); }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline unsigned __brev(unsigned x) {
	unsigned r = 0;
	for (int i = 0; i < 32; i++) r |= (x >> i & 1) << (31 - i);
	return r;
}
static inline unsigned __byte_perm(unsigned x, unsigned y, unsigned s) {
	const uint64_t both = x | (uint64_t)y << 32;
	unsigned r = 0;
	for (int i = 0; i < 4; i++) r |= (unsigned)(both >> 8 * (s >> 4 * i & 7) & 255) << 8 * i;
	return r;
}
template <class T> T __ldg(const T *p) { return *p; }
template <class T> T __ldcs(const T *p) { return *p; }
template <class T> void __stcs(T *p, T x) { *p = x; }
static inline int __float2int_rn(float x) { return (int)nearbyintf(x); }
static inline int __float_as_int(float x) { return lg_bits<int>(x); }
static inline unsigned __float_as_uint(float x) { return lg_bits<unsigned>(x); }
static inline float __int_as_float(int x) { return lg_bits<float>(x); }
static inline float __uint_as_float(unsigned x) { return lg_bits<float>(x); }

#define LG_MINMAX(T) \
	static inline T min(T x, T y) { return x < y ? x : y; } \
	static inline T max(T x, T y) { return x > y ? x : y; }
LG_MINMAX(int)
LG_MINMAX(unsigned)
LG_MINMAX(long)
LG_MINMAX(unsigned long)
LG_MINMAX(long long)
LG_MINMAX(unsigned long long)
#undef LG_MINMAX
static inline float min(float x, float y) { return fminf(x, y); }
static inline float max(float x, float y) { return fmaxf(x, y); }

#include "matrix.h"
#include "runtime.h"
