// What the attention kernels share: their arguments, the types of keys and values,
// and tiles in shared memory. N = B·len queries, H query heads in groups of G to
// each of Hkv key/value heads, D head size, S rows of k and v.
#pragma once
#include "tensorcore.h"

enum { LG_F32 = 0, LG_F16 = 1, LG_Q8_0 = 8, LG_BF16 = 30 }; // ggml_type

struct lg_attn {
	const float *q, *dy;     // (N, H, D); dy for the gradient only
	const void *k, *v;       // (S, Hkv, D) of type
	const int32_t *spans;    // (N, 2): the rows a query sees
	float *y;                // (N, H, D): the result, or dq
	float *dk, *dv;          // (N, Hkv, D)
	float *lse, *delta;      // (N, H): log2 of the sum of exp2(score), rowsum(P∘dP); the tile kernels give them instead of y when dy is set
	float *part;             // partial results (N, H, splits, 2+D): maximum, sum, weighted values
	const unsigned *biggest; // bits of max |dy|; null: gradients are not scaled
	int H, Hkv, D, len, S, splits, type;
	bool vec;                // rows of 8 elements begin at multiples of 16 bytes
	bool bounded;            // queries of a sequence see rows of that sequence only
	float scale, scale2;     // scale2 = scale·log2(e): probabilities are powers of two
	float cap;               // 0, or scale/c: scores s become tanh(cap·s), and scale2 is c·log2(e)
	const int32_t *sequences, *pages; // paged only: (N) the row of pages that each query has; (…, width) the pages of its positions
	int width, page;                  // rows of k and v to a page, a power of two; spans are of positions, of which there are S then
};

// lg_row is the row of k and v that has a position, where its sequence's pages are given.
static __device__ __forceinline__ int64_t lg_row(const lg_attn &a, const int32_t *pages, int position) {
	return (int64_t)pages[position / (unsigned)a.page] * a.page + position % (unsigned)a.page;
}

// lg_long_run tells whether query n of len stands in a run of more than LG_FEW of one sequence: those are computed by tiles, the others one by one.
enum { LG_FEW = 16 };
static __device__ __forceinline__ bool lg_long_run(const lg_attn &a, int n) {
	const int32_t own = a.sequences[n];
	int from = n, to = n + 1;
	while (from > 0 && to - from <= LG_FEW && a.sequences[from - 1] == own) from--;
	while (to < a.len && to - from <= LG_FEW && a.sequences[to] == own) to++;
	return to - from > LG_FEW;
}

// In F16 small gradients would vanish: dy is multiplied by the power of two that brings its largest number to [1, 2),
// the results by its inverse.
static __device__ __forceinline__ float lg_gradient_scale(const lg_attn &a) {
	if (!a.biggest) return 1.0f;
	int e = (int)(*a.biggest >> 23);
	return e == 0 || e == 255 ? 1.0f : __uint_as_float((unsigned)max(254 - e, 1) << 23);
}

// lg_exp2 is 2ˣ within two units in the last place; lg_exp2_approx, within 2^-22, is the tensor-core kernels', whose operands have 8 or 11 bits.
static __device__ __forceinline__ float lg_exp2(float x) { return exp2f(x); }
static __device__ __forceinline__ float lg_exp2_approx(float x) {
#ifdef LITGPT_EMULATE
	return exp2f(x);
#else
	float y;
	asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
	return y;
#endif
}

// lg_scales sets the factors of scores from scale f[0] and soft cap f[1].
static inline void lg_scales(lg_attn &a, const lg_params *p) {
	a.scale = p->f[0];
	a.cap = p->f[1] > 0 ? p->f[0] / p->f[1] : 0;
	a.scale2 = (p->f[1] > 0 ? p->f[1] : p->f[0]) * 1.44269504088896341f;
}

// lg_tanh_approx, within 3e-7 whatever x, is the tensor-core kernels' tanh, whose scores come from operands of 8 or 11 bits. Where
// the power is infinite the quotient is 0.
static __device__ __forceinline__ float lg_tanh_approx(float x) { return 1.0f - __fdividef(2.0f, 1.0f + lg_exp2_approx(x * 2.88539008177792681f)); }

static __device__ __forceinline__ int lg_from(const lg_attn &a, const int32_t *span, int base) { return max(span[0], a.bounded ? base : 0); }
static __device__ __forceinline__ int lg_to(const lg_attn &a, const int32_t *span, int base) { return min(span[1], a.bounded ? base + a.len : a.S); }

// lg_extent of n queries whose spans begin at spans: rows [lo, hi) are seen by some of them, rows [all_lo, all_hi) by all. By a whole warp.
struct lg_extent {
	int lo, hi, all_lo, all_hi;
};
static __device__ __forceinline__ lg_extent lg_extent_of(const lg_attn &a, const int32_t *spans, int n, int base) {
	lg_extent x = {0x7fffffff, 0, 0, 0x7fffffff};
	for (int i = threadIdx.x % 32; i < n; i += 32) {
		int from = lg_from(a, spans + 2 * i, base), to = lg_to(a, spans + 2 * i, base);
		x.all_lo = max(x.all_lo, from);
		x.all_hi = min(x.all_hi, to);
		if (from < to) x.lo = min(x.lo, from), x.hi = max(x.hi, to);
	}
	for (int m = 16; m > 0; m /= 2) {
		x.lo = min(x.lo, __shfl_xor_sync(~0u, x.lo, m));
		x.hi = max(x.hi, __shfl_xor_sync(~0u, x.hi, m));
		x.all_lo = max(x.all_lo, __shfl_xor_sync(~0u, x.all_lo, m));
		x.all_hi = min(x.all_hi, __shfl_xor_sync(~0u, x.all_hi, m));
	}
	return x;
}

// lg_kv<T>: at is element e as a float; load gives the 8 elements from e, a multiple of 8, as they lie in memory, and widen makes them floats.
template <class T> struct lg_kv;
struct lg_q8_0 {}; // blocks of 32 elements: a half and 32 int8, 34 bytes

template <> struct lg_kv<float> {
	struct raw { float4 a, b; };
	static __device__ __forceinline__ float at(const void *p, int64_t e) { return ((const float *)p)[e]; }
	static __device__ __forceinline__ raw load(const void *p, int64_t e) {
		const float4 *x = (const float4 *)((const float *)p + e);
		return {x[0], x[1]};
	}
	static __device__ __forceinline__ raw zero() { return {make_float4(0, 0, 0, 0), make_float4(0, 0, 0, 0)}; }
	static __device__ __forceinline__ void widen(const raw &r, float x[8]) {
		x[0] = r.a.x, x[1] = r.a.y, x[2] = r.a.z, x[3] = r.a.w, x[4] = r.b.x, x[5] = r.b.y, x[6] = r.b.z, x[7] = r.b.w;
	}
};
template <> struct lg_kv<__nv_bfloat16> {
	typedef uint4 raw;
	static __device__ __forceinline__ float at(const void *p, int64_t e) { return __bfloat162float(((const __nv_bfloat16 *)p)[e]); }
	static __device__ __forceinline__ raw load(const void *p, int64_t e) { return *(const uint4 *)((const __nv_bfloat16 *)p + e); }
	static __device__ __forceinline__ raw zero() { return make_uint4(0, 0, 0, 0); }
	static __device__ __forceinline__ void widen(const raw &r, float x[8]) {
		const unsigned u[4] = {r.x, r.y, r.z, r.w};
#pragma unroll
		for (int i = 0; i < 4; i++) x[2 * i] = __uint_as_float(u[i] << 16), x[2 * i + 1] = __uint_as_float(u[i] & 0xffff0000u);
	}
};
template <> struct lg_kv<__half> {
	typedef uint4 raw;
	static __device__ __forceinline__ float at(const void *p, int64_t e) { return __half2float(((const __half *)p)[e]); }
	static __device__ __forceinline__ raw load(const void *p, int64_t e) { return *(const uint4 *)((const __half *)p + e); }
	static __device__ __forceinline__ raw zero() { return make_uint4(0, 0, 0, 0); }
	static __device__ __forceinline__ void widen(const raw &r, float x[8]) {
		const unsigned u[4] = {r.x, r.y, r.z, r.w};
#pragma unroll
		for (int i = 0; i < 4; i++) {
			float2 f = __half22float2(*(const __half2 *)&u[i]);
			x[2 * i] = f.x, x[2 * i + 1] = f.y;
		}
	}
};
template <> struct lg_kv<lg_q8_0> {
	struct raw { ushort4 q; __half d; };
	static __device__ __forceinline__ const char *block(const void *p, int64_t e) { return (const char *)p + e / 32 * 34; }
	static __device__ __forceinline__ float at(const void *p, int64_t e) {
		const char *b = block(p, e);
		return __half2float(*(const __half *)b) * (float)((const signed char *)b)[2 + e % 32];
	}
	static __device__ __forceinline__ raw load(const void *p, int64_t e) {
		const char *b = block(p, e);
		const unsigned short *q = (const unsigned short *)(b + 2 + e % 32); // blocks lie at multiples of 2 bytes
		return {make_ushort4(q[0], q[1], q[2], q[3]), *(const __half *)b};
	}
	static __device__ __forceinline__ raw zero() { return {make_ushort4(0, 0, 0, 0), __float2half(0.0f)}; }
	static __device__ __forceinline__ void widen(const raw &r, float x[8]) {
		const unsigned short u[4] = {r.q.x, r.q.y, r.q.z, r.q.w};
		float d = __half2float(r.d);
#pragma unroll
		for (int i = 0; i < 4; i++) x[2 * i] = d * (float)(signed char)(u[i] & 255), x[2 * i + 1] = d * (float)(signed char)(u[i] >> 8);
	}
};

static __device__ __forceinline__ float lg_at(int type, const void *p, int64_t e) {
	return type == LG_F32 ? lg_kv<float>::at(p, e) : type == LG_F16 ? lg_kv<__half>::at(p, e) : type == LG_BF16 ? lg_kv<__nv_bfloat16>::at(p, e) : lg_kv<lg_q8_0>::at(p, e);
}
template <class T> static __device__ __forceinline__ void lg_load8_as(const void *p, int64_t e, float x[8]) { lg_kv<T>::widen(lg_kv<T>::load(p, e), x); }
static __device__ __forceinline__ void lg_load8(int type, const void *p, int64_t e, float x[8]) {
	if (type == LG_F32) lg_load8_as<float>(p, e, x);
	else if (type == LG_F16) lg_load8_as<__half>(p, e, x);
	else if (type == LG_BF16) lg_load8_as<__nv_bfloat16>(p, e, x);
	else lg_load8_as<lg_q8_0>(p, e, x);
}

template <class T> static __device__ __forceinline__ uint32_t lg_pack(float x, float y);
template <> __device__ __forceinline__ uint32_t lg_pack<__half>(float x, float y) {
	__half2 h = __floats2half2_rn(x, y);
	return *(uint32_t *)&h;
}
template <> __device__ __forceinline__ uint32_t lg_pack<__nv_bfloat16>(float x, float y) {
	__nv_bfloat162 h = __floats2bfloat162_rn(x, y);
	return *(uint32_t *)&h;
}
static __device__ __forceinline__ void lg_store8(float *to, const float x[8]) {
	((float4 *)to)[0] = make_float4(x[0], x[1], x[2], x[3]);
	((float4 *)to)[1] = make_float4(x[4], x[5], x[6], x[7]);
}
template <class T> static __device__ __forceinline__ void lg_store8(T *to, const float x[8]) {
	*(uint4 *)to = make_uint4(lg_pack<T>(x[0], x[1]), lg_pack<T>(x[2], x[3]), lg_pack<T>(x[4], x[5]), lg_pack<T>(x[6], x[7]));
}

// Where rows of a tile begin: the first at element e and each ld after the one before; or by the pages of a sequence, from position j on.
struct lg_rows_at {
	int64_t e, ld;
	__device__ __forceinline__ int64_t operator()(int row) const { return e + row * ld; }
};
struct lg_paged_at {
	const lg_attn &a;
	const int32_t *pages;
	int j, kv;
	__device__ __forceinline__ int64_t operator()(int row) const { return (lg_row(a, pages, j + row) * a.Hkv + kv) * a.D; }
};

// lg_load_tile_at fills tile (ROWS, LD) with n rows of D elements of p, times factor; what is beyond n or D becomes 0. By all THREADS threads of a block.
template <int ROWS, int DT, int LD, int THREADS, class T, class At>
static __device__ __forceinline__ void lg_load_tile_at(T *tile, int type, const void *p, At first, int n, int D, bool vec, float factor) {
#pragma unroll 4
	for (int i = threadIdx.x; i < ROWS * (DT / 8); i += THREADS) {
		int row = i / (DT / 8), col = i % (DT / 8) * 8;
		float x[8] = {};
		if (row < n && col < D) {
			int64_t at = first(row) + col;
			if (vec) lg_load8(type, p, at, x);
			else {
#pragma unroll
				for (int j = 0; j < 8; j++)
					if (col + j < D) x[j] = lg_at(type, p, at + j);
			}
#pragma unroll
			for (int j = 0; j < 8; j++) x[j] *= factor;
		}
		lg_store8(tile + row * LD + col, x);
	}
}
template <int ROWS, int DT, int LD, int THREADS, class T>
static __device__ __forceinline__ void lg_load_tile(T *tile, int type, const void *p, int64_t e, int64_t ld, int n, int D, bool vec, float factor = 1.0f) {
	lg_load_tile_at<ROWS, DT, LD, THREADS>(tile, type, p, lg_rows_at{e, ld}, n, D, vec, factor);
}

// Fragments of 16-bit tiles. lg_tile_a: A (16, 16) whose corner is at p; lg_tile_b: B of two blocks of 8 columns, where
// the tile's rows are B's columns; lg_tile_b_rows: the same, where the tile's rows are B's rows.
template <int LD, class T> static __device__ __forceinline__ void lg_tile_a(uint32_t r[4], const T *p) {
	int l = threadIdx.x % 32;
	lg_ldmatrix(r, p + l % 16 * LD + l / 16 * 8);
}
template <int LD, class T> static __device__ __forceinline__ void lg_tile_b(uint32_t r[4], const T *p) {
	int l = threadIdx.x % 32;
	lg_ldmatrix(r, p + (l / 16 * 8 + l % 8) * LD + l / 8 % 2 * 8);
}
template <int LD, class T> static __device__ __forceinline__ void lg_tile_b_rows(uint32_t r[4], const T *p) {
	int l = threadIdx.x % 32;
	lg_ldmatrix_trans(r, p + l % 16 * LD + l / 16 * 8);
}

// lg_shared_limit allows a kernel bytes of dynamic shared memory. False, with the last error set, where the device has less.
template <class K> static bool lg_shared_limit(K *kernel, size_t bytes) {
	return bytes <= 48 << 10 || cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes) == cudaSuccess;
}

static inline int lg_device(cudaDeviceAttr attribute) {
	int device = 0, value = 0;
	if (cudaGetDevice(&device) == cudaSuccess) cudaDeviceGetAttribute(&value, attribute, device);
	return value;
}

// lg_attn_of takes the arguments that all forward passes have.
static inline lg_attn lg_attn_of(const ggml_tensor *dst, const lg_params *p) {
	const ggml_tensor *q = dst->src[0], *k = dst->src[1], *v = dst->src[2];
	lg_attn a = {};
	a.q = (const float *)q->data;
	a.k = k->data;
	a.v = v->data;
	a.spans = (const int32_t *)dst->src[3]->data;
	a.y = (float *)dst->data;
	a.D = (int)q->ne[0];
	a.H = (int)q->ne[1];
	a.Hkv = (int)k->ne[1];
	a.type = (int)k->type;
	lg_scales(a, p);
	a.vec = a.D % 8 == 0 && ((uintptr_t)a.q | (uintptr_t)a.y) % 16 == 0 && (a.type == LG_Q8_0 || ((uintptr_t)a.k | (uintptr_t)a.v) % 16 == 0);
	return a;
}

// Up to LG_FEW queries of a sequence are computed in float32 with the keys split over blocks; scratch may be null (one block for all keys).
void lg_attention_few_queries(cudaStream_t s, lg_attn a, int sequences, const ggml_tensor *scratch);
// lg_attention_paged_few does so for each query alone where runs are short.
void lg_attention_paged_few(cudaStream_t s, lg_attn a, const ggml_tensor *scratch);

// lg_attention_tiles launches the forward pass over tiles of queries, on tensor cores when compute says so and the operands allow it.
void lg_attention_tiles(cudaStream_t s, const lg_attn &a, int sequences, int compute);
bool lg_on_tensor_cores(const lg_attn &a, int compute);

extern "C" {
void lg_cuda_attention(cudaStream_t s, const ggml_tensor *dst, const lg_params *p);
void lg_cuda_attention_back(cudaStream_t s, const ggml_tensor *dst, const lg_params *p);
int64_t lg_attention_scratch(int64_t n, int64_t sequences, int64_t heads, int64_t kv_heads, int64_t head_dim, int64_t rows);
int64_t lg_attention_back_scratch(int64_t n, int64_t heads);
void lg_cuda_paged_attention(cudaStream_t s, const ggml_tensor *dst, const lg_params *p);
}
