// Mixture of experts on the GPU: choosing, listing the pairs of tokens and experts by
// expert, and products of each expert's rows with its weights in one launch for all.
// What the operations mean is said in ../experts.cpp. Nothing waits for the host, which
// does not know how many rows an expert has: a launch has blocks for the worst case, and
// those beyond the last tile return. Sums have one order: there are no atomics.
#include "kernels.cuh"
#include "tensorcore.h"

namespace {

__device__ __forceinline__ uint64_t order_key(float x, int id) {
	uint32_t u = __float_as_uint(x);
	if ((u & 0x7fffffff) > 0x7f800000)
		u = 0xffffffff;
	else
		u = (u & 0x7fffffff) == 0 ? 0x80000000 : u >> 31 ? ~u : u | 0x80000000;
	return (uint64_t)u << 32 | (uint32_t)~id;
}

__device__ __forceinline__ float sum_warp(float x) {
	for (int o = 16; o > 0; o >>= 1) x += __shfl_xor_sync(0xffffffffu, x, o);
	return x;
}

// Warps of a block of the kernels in which a warp has a token or a pair.
enum { WARPS = 4 };
__device__ __forceinline__ int64_t my_warp() { return blockIdx.x * (int64_t)WARPS + threadIdx.x / 32; }

// A warp chooses a token's experts, one after the other: the largest key below the last.
__global__ void route(int32_t *id, const float *x, int64_t n, int e, int k) {
	const int64_t t = my_warp();
	const int lane = threadIdx.x % 32;
	if (t >= n) return;
	x += t * e;
	uint64_t last = 0;
	for (int j = 0; j < k; j++) {
		uint64_t best = 0;
		for (int i = lane; i < e; i += 32) {
			const uint64_t key = order_key(x[i], i);
			if ((j == 0 || key < last) && key > best) best = key;
		}
		for (int o = 16; o > 0; o >>= 1) {
			const uint64_t other = __shfl_xor_sync(0xffffffffu, best, o);
			best = other > best ? other : best;
		}
		if (lane == 0) id[t * k + j] = (int32_t)~(uint32_t)best;
		last = best;
	}
}

// normalizer gives the sum of exponentials of a token's softmax, relative to its largest logit, which is the first chosen one's.
__device__ __forceinline__ float normalizer(const float *x, const int32_t *id, int k, int e, bool chosen, float hi) {
	float s = 0;
	if (chosen)
		for (int j = threadIdx.x % 32; j < k; j += 32) s += expf(x[id[j]] - hi);
	else
		for (int i = threadIdx.x % 32; i < e; i += 32) s += expf(x[i] - hi);
	return sum_warp(s);
}

__global__ void route_weights(float *y, const float *x, const int32_t *id, int64_t n, int e, int k, bool chosen) {
	const int64_t t = my_warp();
	if (t >= n) return;
	x += t * e;
	id += t * k;
	const float hi = x[id[0]], sum = normalizer(x, id, k, e, chosen, hi);
	for (int j = threadIdx.x % 32; j < k; j += 32) y[t * k + j] = expf(x[id[j]] - hi) / sum;
}

__global__ void route_weights_back(float *dx, const float *x, const int32_t *id, const float *dy, int64_t n, int e, int k, bool chosen) {
	const int64_t t = my_warp();
	const int lane = threadIdx.x % 32;
	if (t >= n) return;
	x += t * e;
	dx += t * e;
	id += t * k;
	dy += t * k;
	const float hi = x[id[0]], sum = normalizer(x, id, k, e, chosen, hi);
	float dot = 0;
	for (int j = lane; j < k; j += 32) dot += expf(x[id[j]] - hi) / sum * dy[j];
	dot = sum_warp(dot);
	for (int i = lane; i < e; i += 32) dx[i] = chosen ? 0 : -expf(x[i] - hi) / sum * dot;
	__syncwarp(); // the chosen ones are written again, by other lanes
	for (int j = lane; j < k; j += 32) dx[id[j]] = expf(x[id[j]] - hi) / sum * (dy[j] - dot);
}

// sum_block adds x over the threads of a block of BLOCK; every thread gets the sum.
template <class X>
__device__ X sum_block(X x) {
	__shared__ X part[BLOCK / 32];
	for (int o = 16; o > 0; o >>= 1) x += __shfl_xor_sync(0xffffffffu, x, o);
	__syncthreads();
	if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = x;
	__syncthreads();
	x = 0;
	for (int i = 0; i < BLOCK / 32; i++) x += part[i];
	return x;
}

// A block lists the pairs of its expert, in their order, behind those of lower experts, which it counts.
__global__ void group(int32_t *first, const int32_t *id, int n, int e) {
	__shared__ int warps[BLOCK / 32];
	const int me = blockIdx.x, lane = threadIdx.x % 32;
	int below = 0;
	for (int p = threadIdx.x; p < n; p += BLOCK) below += id[p] < me;
	int at = sum_block(below);
	if (threadIdx.x == 0) {
		first[me] = at;
		if (me == 0) first[e] = n;
	}
	int32_t *pair = first + e + 1;
	for (int from = 0; from < n; from += BLOCK) {
		const int p = from + threadIdx.x;
		const bool mine = p < n && id[p] == me;
		const unsigned votes = __ballot_sync(0xffffffffu, mine);
		if (lane == 0) warps[threadIdx.x / 32] = __popc(votes);
		__syncthreads();
		int before = __popc(votes & ((1u << lane) - 1)), all = 0;
		for (int w = 0; w < BLOCK / 32; w++) {
			if (w < (int)threadIdx.x / 32) before += warps[w];
			all += warps[w];
		}
		if (mine) pair[at + before] = p;
		at += all;
		__syncthreads(); // warps is written again
	}
}

// A block adds up the weights of its expert's pairs.
__global__ void group_counts(float *y, const int32_t *first, const float *w, int e, int k) {
	const int32_t *pair = first + e + 1;
	float t = 0;
	for (int p = first[blockIdx.x] + threadIdx.x; p < first[blockIdx.x + 1]; p += BLOCK) t += w[pair[p] / k];
	t = sum_block(t);
	if (threadIdx.x == 0) y[blockIdx.x] = t;
}

__device__ __forceinline__ float number(float x) { return x; }
__device__ __forceinline__ float number(__half x) { return __half2float(x); }
__device__ __forceinline__ float number(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ __forceinline__ void assign(float *y, float x) { *y = x; }
__device__ __forceinline__ void assign(__half *y, float x) { *y = __float2half(x); }
__device__ __forceinline__ void assign(__nv_bfloat16 *y, float x) { *y = __float2bfloat16(x); }

// N consecutive numbers as they are stored, loaded at once where they are aligned.
template <class W, int N>
struct alignas(sizeof(W) * N) run {
	W v[N];
};

// The rows of few pairs: a warp computes one row of weights of a pair's expert against the
// pair's row, at the speed of reading the weights. Grid: rows of weights, pairs by expert.
template <class W>
__global__ void __launch_bounds__(32 * WARPS) few_rows(float *y, const W *w, const float *x, const int32_t *first, int e, int64_t k, int64_t m, int per, bool vec) {
	const int lane = threadIdx.x % 32, at = blockIdx.y;
	const int64_t j = my_warp();
	if (j >= m) return;
	int lo = 0, hi = e - 1; // the expert of place at: the last that begins at or before it and is not empty
	while (lo < hi) {
		const int mid = (lo + hi + 1) / 2;
		if (first[mid] <= at) lo = mid; else hi = mid - 1;
	}
	const int64_t p = first[e + 1 + at];
	w += ((int64_t)lo * m + j) * k;
	x += p / per * k;
	float s = 0;
	int64_t from = 0;
	if (vec) {
		const int N = 16 / sizeof(W);
#pragma unroll 4
		for (int64_t i = lane * N; i < k; i += 32 * N) {
			const run<W, N> r = *(const run<W, N> *)(w + i);
#pragma unroll
			for (int q = 0; q < N; q += 4) {
				const float4 v = *(const float4 *)(x + i + q);
				s += number(r.v[q]) * v.x + number(r.v[q + 1]) * v.y + number(r.v[q + 2]) * v.z + number(r.v[q + 3]) * v.w;
			}
		}
		from = k;
	}
	for (int64_t i = from + lane; i < k; i += 32) s += number(w[i]) * x[i];
	s = sum_warp(s);
	if (lane == 0) y[p * m + j] = s;
}

// The tile of a block: ROWS × COLS of the result, DEPTH of the sum at a time.
enum { ROWS = 64, COLS = 128, DEPTH = 32, THREADS = 256, CLD = COLS + 4 };

// What the product of a kernel is: pairs' rows by Wᵀ, or by W, which is the adjoint, or the gradient of W.
enum mode { FORWARD, BACKWARD, WEIGHTS };

struct product {
	float *y;
	const float *a, *x; // of FORWARD and BACKWARD the rows a; of WEIGHTS a is dy (P, m) and x the rows
	const void *w;
	const int32_t *first; // the group
	int experts, per;     // pairs to a row of a, or of x
	int64_t m, k;         // columns of the result, and the depth; of WEIGHTS rows and columns of an expert's gradient
};

// Tiles in shared memory, in the layout that their loads have. Padding keeps rows of float
// in other banks, and those of half types at the alignment that wmma wants.
template <class T, mode M>
struct tiles {
	enum { PAD = sizeof(T) == 4 ? 1 : 8, A_LD = (M == WEIGHTS ? (int)ROWS : (int)DEPTH) + PAD, B_LD = (M == FORWARD ? (int)DEPTH : (int)COLS) + PAD };
	union alignas(128) {
		struct {
			alignas(128) T a[(M == WEIGHTS ? (int)DEPTH : (int)ROWS) * A_LD];
			alignas(128) T b[(M == FORWARD ? (int)COLS : (int)DEPTH) * B_LD];
		};
		float c[sizeof(T) == 4 ? 1 : ROWS * CLD];
	};
};

// load4 reads four numbers, of which valid are there; the others are 0.
template <class W>
__device__ __forceinline__ void load4(float *v, const W *p, int64_t valid, bool vec) {
	if (vec && valid >= 4) {
		const run<W, 4> r = *(const run<W, 4> *)p;
#pragma unroll
		for (int i = 0; i < 4; i++) v[i] = number(r.v[i]);
		return;
	}
#pragma unroll
	for (int i = 0; i < 4; i++) v[i] = i < valid ? number(p[i]) : 0;
}

// Accumulators: 8 warps as 2 × 4, each 32 × 32 of the tile, on tensor cores; float32 exactly, where a thread has 8 rows and 4 columns.
template <class T, mode M>
struct sums {
#if LG_TENSOR_CORES
	nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, 16, float> c[2][2];
	__device__ void clear() {
		for (int i = 0; i < 4; i++) nvcuda::wmma::fill_fragment(c[i / 2][i % 2], 0.0f);
	}
	template <class A, class B>
	__device__ void add_as(const tiles<T, M> &s) {
		typedef tiles<T, M> S;
		const int row = threadIdx.x / 32 / 4 * 32, col = threadIdx.x / 32 % 4 * 32;
#pragma unroll
		for (int d = 0; d < DEPTH; d += 16) {
			nvcuda::wmma::fragment<nvcuda::wmma::matrix_a, 16, 16, 16, T, A> a[2];
			nvcuda::wmma::fragment<nvcuda::wmma::matrix_b, 16, 16, 16, T, B> b[2];
#pragma unroll
			for (int i = 0; i < 2; i++) {
				nvcuda::wmma::load_matrix_sync(a[i], M == WEIGHTS ? s.a + d * S::A_LD + row + 16 * i : s.a + (row + 16 * i) * S::A_LD + d, S::A_LD);
				nvcuda::wmma::load_matrix_sync(b[i], M == FORWARD ? s.b + (col + 16 * i) * S::B_LD + d : s.b + d * S::B_LD + col + 16 * i, S::B_LD);
			}
#pragma unroll
			for (int i = 0; i < 4; i++) nvcuda::wmma::mma_sync(c[i / 2][i % 2], a[i / 2], b[i % 2], c[i / 2][i % 2]);
		}
	}
	__device__ void add(const tiles<T, M> &s);
	// store puts the tile where its parts were, and f takes its numbers.
	template <class F>
	__device__ void store(tiles<T, M> &s, F f) {
		const int row = threadIdx.x / 32 / 4 * 32, col = threadIdx.x / 32 % 4 * 32;
		__syncthreads();
#pragma unroll
		for (int i = 0; i < 4; i++)
			nvcuda::wmma::store_matrix_sync(s.c + (row + i / 2 * 16) * CLD + col + i % 2 * 16, c[i / 2][i % 2], CLD, nvcuda::wmma::mem_row_major);
		__syncthreads();
		for (int i = threadIdx.x; i < ROWS * COLS; i += THREADS) f(i / COLS, i % COLS, s.c[i / COLS * CLD + i % COLS]);
	}
#else
	__device__ void clear() { __trap(); }
	__device__ void add(const tiles<T, M> &) {}
	template <class F> __device__ void store(tiles<T, M> &, F) {}
#endif
};
#if LG_TENSOR_CORES
template <class T, mode M> struct layouts { typedef nvcuda::wmma::row_major a, b; };
template <class T> struct layouts<T, FORWARD> { typedef nvcuda::wmma::row_major a; typedef nvcuda::wmma::col_major b; };
template <class T> struct layouts<T, WEIGHTS> { typedef nvcuda::wmma::col_major a; typedef nvcuda::wmma::row_major b; };
template <class T, mode M> __device__ void sums<T, M>::add(const tiles<T, M> &s) { add_as<typename layouts<T, M>::a, typename layouts<T, M>::b>(s); }
#endif

template <mode M>
struct sums<float, M> {
	float c[8][4];
	__device__ void clear() {
		for (int i = 0; i < 32; i++) c[i / 4][i % 4] = 0;
	}
	__device__ void add(const tiles<float, M> &s) {
		typedef tiles<float, M> S;
		const int row = threadIdx.x / 32 * 8, col = threadIdx.x % 32;
		for (int d = 0; d < DEPTH; d++) {
			float a[8], b[4];
#pragma unroll
			for (int i = 0; i < 8; i++) a[i] = M == WEIGHTS ? s.a[d * S::A_LD + row + i] : s.a[(row + i) * S::A_LD + d];
#pragma unroll
			for (int j = 0; j < 4; j++) b[j] = M == FORWARD ? s.b[(col + 32 * j) * S::B_LD + d] : s.b[d * S::B_LD + col + 32 * j];
#pragma unroll
			for (int i = 0; i < 8; i++)
#pragma unroll
				for (int j = 0; j < 4; j++) c[i][j] += a[i] * b[j];
		}
	}
	template <class F>
	__device__ void store(tiles<float, M> &, F f) {
		const int row = threadIdx.x / 32 * 8, col = threadIdx.x % 32;
#pragma unroll
		for (int i = 0; i < 8; i++)
#pragma unroll
			for (int j = 0; j < 4; j++) f(row + i, col + 32 * j, c[i][j]);
	}
};

// T is what is multiplied, W what the weights are stored in. Grid: columns, then of FORWARD
// and BACKWARD tiles of rows of whichever expert, of WEIGHTS rows and experts.
template <class T, class W, mode M>
__global__ void __launch_bounds__(THREADS) grouped(product p, bool vec_a, bool vec_b) {
	typedef tiles<T, M> S;
	__shared__ S s;
	__shared__ int64_t rows[M == WEIGHTS ? (int)DEPTH : (int)ROWS]; // of a, or of x; −1 beyond the last
	__shared__ int64_t outs[M == WEIGHTS ? (int)DEPTH : (int)ROWS]; // pairs: of the result, or of dy
	__shared__ int expert, begin, end;
	const int id = threadIdx.x;
	const int64_t col0 = (int64_t)blockIdx.x * COLS;
	if (id == 0) {
		if (M == WEIGHTS) {
			expert = blockIdx.z;
			begin = p.first[expert];
			end = p.first[expert + 1];
		} else {
			int tile = blockIdx.y, from = 0, e = 0;
			for (; e < p.experts; e++) {
				const int to = p.first[e + 1], n = (to - from + ROWS - 1) / ROWS;
				if (tile < n) {
					begin = from + tile * ROWS;
					end = to;
					break;
				}
				tile -= n;
				from = to;
			}
			expert = e;
		}
	}
	__syncthreads();
	if (expert == p.experts) return; // the whole block
	const int32_t *pair = p.first + p.experts + 1;
	const int64_t row0 = M == WEIGHTS ? (int64_t)blockIdx.y * ROWS : 0;
	const int64_t depth = M == WEIGHTS ? end - begin : p.k;
	const W *w = M == WEIGHTS ? nullptr : (const W *)p.w + (int64_t)expert * p.m * p.k;

	// choose says which pairs' rows are meant from now on.
	auto choose = [&](int from, int n) {
		for (int i = id; i < n; i += THREADS) {
			const bool there = from + i < end;
			const int64_t at = there ? pair[from + i] : 0;
			rows[i] = there ? at / p.per : -1;
			outs[i] = there ? at : -1;
		}
	};
	if (M != WEIGHTS) {
		choose(begin, ROWS);
		__syncthreads();
	}

	enum { NA = ROWS * DEPTH / 4 / THREADS, NB = COLS * DEPTH / 4 / THREADS };
	float ra[NA][4], rb[NB][4]; // the next step's numbers, on their way
	auto load = [&](int64_t from) {
#pragma unroll
		for (int u = 0; u < NA; u++) {
			const int i = u * THREADS + id;
			if (M == WEIGHTS) { // dy, DEPTH pairs × ROWS
				const int d = i / (ROWS / 4);
				const int64_t r = row0 + i % (ROWS / 4) * 4;
				load4(ra[u], p.a + (outs[d] < 0 ? 0 : outs[d] * p.m + r), outs[d] < 0 ? 0 : p.m - r, vec_a);
			} else { // ROWS × DEPTH
				const int r = i / (DEPTH / 4);
				const int64_t d = from + i % (DEPTH / 4) * 4;
				load4(ra[u], p.a + (rows[r] < 0 ? 0 : rows[r] * p.k + d), rows[r] < 0 ? 0 : p.k - d, vec_a);
			}
		}
#pragma unroll
		for (int u = 0; u < NB; u++) {
			const int i = u * THREADS + id;
			if (M == FORWARD) { // COLS × DEPTH
				const int64_t c = col0 + i / (DEPTH / 4), d = from + i % (DEPTH / 4) * 4;
				load4(rb[u], w + (c < p.m ? c * p.k + d : 0), c < p.m ? p.k - d : 0, vec_b);
			} else { // DEPTH × COLS
				const int d = i / (COLS / 4);
				const int64_t c = col0 + i % (COLS / 4) * 4;
				if (M == BACKWARD)
					load4(rb[u], w + (from + d < p.k ? (from + d) * p.m + c : 0), from + d < p.k ? p.m - c : 0, vec_b);
				else
					load4(rb[u], p.x + (rows[d] < 0 ? 0 : rows[d] * p.k + c), rows[d] < 0 ? 0 : p.k - c, vec_b);
			}
		}
	};
	auto put = [&]() {
#pragma unroll
		for (int u = 0; u < NA; u++) {
			const int i = u * THREADS + id;
			T *to = M == WEIGHTS ? s.a + i / (ROWS / 4) * S::A_LD + i % (ROWS / 4) * 4 : s.a + i / (DEPTH / 4) * S::A_LD + i % (DEPTH / 4) * 4;
#pragma unroll
			for (int q = 0; q < 4; q++) assign(to + q, ra[u][q]);
		}
#pragma unroll
		for (int u = 0; u < NB; u++) {
			const int i = u * THREADS + id;
			T *to = M == FORWARD ? s.b + i / (DEPTH / 4) * S::B_LD + i % (DEPTH / 4) * 4 : s.b + i / (COLS / 4) * S::B_LD + i % (COLS / 4) * 4;
#pragma unroll
			for (int q = 0; q < 4; q++) assign(to + q, rb[u][q]);
		}
	};
	// next loads the step that begins at from, of which WEIGHTS first has to know the pairs.
	auto next = [&](int64_t from) {
		if (M == WEIGHTS) {
			choose(begin + (int)from, DEPTH);
			__syncthreads();
		}
		load(from);
	};

	sums<T, M> c;
	c.clear();
	if (depth > 0) next(0);
	for (int64_t from = 0; from < depth; from += DEPTH) {
		put();
		__syncthreads();
		if (from + DEPTH < depth) next(from + DEPTH);
		c.add(s);
		__syncthreads(); // the tiles, and the pairs of WEIGHTS, are written again
	}
	c.store(s, [&](int r, int j, float v) {
		if (M == WEIGHTS) {
			if (row0 + r < p.m && col0 + j < p.k) p.y[((int64_t)expert * p.m + row0 + r) * p.k + col0 + j] = v;
		} else if (outs[r] >= 0 && col0 + j < p.m) {
			p.y[outs[r] * p.m + col0 + j] = v;
		}
	});
}

bool aligned(const void *p, int64_t bytes) { return (uintptr_t)p % bytes == 0; }

template <class T, class W, mode M>
void launch(cudaStream_t s, const product &p, int64_t pairs) {
	const bool vec_a = (M == WEIGHTS ? p.m : p.k) % 4 == 0 && aligned(p.a, 16);
	if (M == WEIGHTS) {
		const bool vec_b = p.k % 4 == 0 && aligned(p.x, 16);
		LAUNCH((grouped<T, W, M>), dim3(blocks(p.k, COLS), blocks(p.m, ROWS), p.experts), THREADS, 0, s, p, vec_a, vec_b);
	} else {
		const bool vec_b = (M == FORWARD ? p.k : p.m) % 4 == 0 && aligned(p.w, 4 * sizeof(W));
		// Every expert's last tile may be a part of one.
		const int64_t most = pairs / ROWS + (pairs < p.experts ? pairs : p.experts);
		LAUNCH((grouped<T, W, M>), dim3(blocks(p.m, COLS), (unsigned)most), THREADS, 0, s, p, vec_a, vec_b);
	}
}

template <class T, class W>
void launch_mode(cudaStream_t s, const product &p, int64_t pairs, bool backward) {
	if (backward)
		launch<T, W, BACKWARD>(s, p, pairs);
	else
		launch<T, W, FORWARD>(s, p, pairs);
}

template <class W>
void launch_few(cudaStream_t s, const product &p, int64_t pairs) {
	const bool vec = p.k % (16 / sizeof(W)) == 0 && aligned(p.w, 16) && aligned(p.a, 16);
	LAUNCH((few_rows<W>), dim3(blocks(p.m, WARPS), (unsigned)pairs), 32 * WARPS, 0, s, p.y, (const W *)p.w, p.a, p.first, p.experts, p.k, p.m, p.per, vec);
}

__global__ void combine(float *y, const float *x, const float *w, int64_t n, int64_t c, int k) {
	for (int64_t i = blockIdx.x * (int64_t)BLOCK + threadIdx.x; i < n * c; i += (int64_t)gridDim.x * BLOCK) {
		const float *row = x + i / c * k * c + i % c;
		float t = 0;
		for (int j = 0; j < k; j++) t += (w ? w[i / c * k + j] : 1.0f) * row[j * c];
		y[i] = t;
	}
}
__global__ void combine_back(float *dx, const float *w, const float *dy, int64_t n, int64_t c, int k) {
	for (int64_t i = blockIdx.x * (int64_t)BLOCK + threadIdx.x; i < n * c; i += (int64_t)gridDim.x * BLOCK) dx[i] = w[i / c] * dy[i / c / k * c + i % c];
}
__global__ void combine_back_w(float *dw, const float *y, const float *dy, int64_t n, int64_t c, int k) {
	const int64_t p = my_warp();
	if (p >= n) return;
	float t = 0;
	for (int64_t i = threadIdx.x % 32; i < c; i += 32) t += y[p * c + i] * dy[p / k * c + i];
	t = sum_warp(t);
	if (threadIdx.x % 32 == 0) dw[p] = t;
}
__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
__global__ void glu(float *y, const float *x, int64_t n, int64_t c) {
	for (int64_t i = blockIdx.x * (int64_t)BLOCK + threadIdx.x; i < n * c; i += (int64_t)gridDim.x * BLOCK) {
		const float g = x[i / c * 2 * c + i % c];
		y[i] = g * sigmoid(g) * x[i / c * 2 * c + c + i % c];
	}
}
__global__ void glu_back(float *dx, const float *x, const float *dy, int64_t n, int64_t c) {
	for (int64_t i = blockIdx.x * (int64_t)BLOCK + threadIdx.x; i < n * c; i += (int64_t)gridDim.x * BLOCK) {
		const int64_t at = i / c * 2 * c + i % c;
		const float g = x[at], t = sigmoid(g);
		dx[at] = dy[i] * x[at + c] * t * (1.0f + g * (1.0f - t));
		dx[at + c] = dy[i] * g * t;
	}
}
__global__ void softmax_back(float *dx, const float *y, const float *dy, int64_t c, float scale) {
	const int64_t row = blockIdx.x * c;
	float dot = 0;
	for (int64_t i = threadIdx.x; i < c; i += BLOCK) dot += y[row + i] * dy[row + i];
	dot = sum_block(dot);
	for (int64_t i = threadIdx.x; i < c; i += BLOCK) dx[row + i] = scale * y[row + i] * (dy[row + i] - dot);
}

} // namespace

LG_LAUNCHER(lg_cuda_route) {
	(void)p;
	const int64_t k = dst->ne[0], n = dst->ne[1];
	LAUNCH(route, blocks(n, WARPS), 32 * WARPS, 0, s, (int32_t *)dst->data, f32(dst->src[0]), n, (int)dst->src[0]->ne[0], (int)k);
}
LG_LAUNCHER(lg_cuda_route_weights) {
	const int64_t k = dst->ne[0], n = dst->ne[1];
	LAUNCH(route_weights, blocks(n, WARPS), 32 * WARPS, 0, s, out(dst), f32(dst->src[0]), i32(dst->src[1]), n, (int)dst->src[0]->ne[0], (int)k, p->i[0] != 0);
}
LG_LAUNCHER(lg_cuda_route_weights_back) {
	const int64_t e = dst->ne[0], n = dst->ne[1];
	LAUNCH(route_weights_back, blocks(n, WARPS), 32 * WARPS, 0, s, out(dst), f32(dst->src[0]), i32(dst->src[1]), f32(dst->src[2]), n, (int)e,
		(int)dst->src[1]->ne[0], p->i[0] != 0);
}
LG_LAUNCHER(lg_cuda_group) {
	LAUNCH(group, (unsigned)p->i[0], BLOCK, 0, s, (int32_t *)dst->data, i32(dst->src[0]), (int)elements(dst->src[0]), (int)p->i[0]);
}
LG_LAUNCHER(lg_cuda_group_counts) {
	const int e = (int)dst->ne[0];
	LAUNCH(group_counts, (unsigned)e, BLOCK, 0, s, out(dst), i32(dst->src[0]), f32(dst->src[1]), e, (int)p->i[0]);
}

// i[0] and i[1] as on the CPU; i[2]: the type in which the products of weights in F32 are computed.
// Quantized weights come here for few pairs forward only (internal/tensor/cuda.go).
LG_LAUNCHER(lg_cuda_experts) {
	const ggml_tensor *x = dst->src[0], *w = dst->src[1];
	if (!is_float(w->type)) return lg_cuda_experts_quantized(s, dst, (int)p->i[0]);
	const bool backward = p->i[1] != 0;
	const int64_t pairs = dst->ne[1];
	product q = {};
	q.y = out(dst);
	q.a = f32(x);
	q.w = w->data;
	q.first = i32(dst->src[2]);
	q.experts = (int)w->ne[2];
	q.per = (int)p->i[0];
	q.m = dst->ne[0];
	q.k = x->ne[0];
	// With two pairs an expert or fewer, tiles would be nearly empty.
	if (!backward && pairs <= 2 * q.experts && pairs < 65536) {
		switch (w->type) {
		case GGML_TYPE_BF16: return launch_few<__nv_bfloat16>(s, q, pairs);
		case GGML_TYPE_F16: return launch_few<__half>(s, q, pairs);
		default: return launch_few<float>(s, q, pairs);
		}
	}
	switch (w->type) {
	case GGML_TYPE_BF16: return launch_mode<__nv_bfloat16, __nv_bfloat16>(s, q, pairs, backward);
	case GGML_TYPE_F16: return launch_mode<__half, __half>(s, q, pairs, backward);
	default: break;
	}
	switch (p->i[2]) {
	case GGML_TYPE_BF16: return launch_mode<__nv_bfloat16, float>(s, q, pairs, backward);
	case GGML_TYPE_F16: return launch_mode<__half, float>(s, q, pairs, backward);
	default: return launch_mode<float, float>(s, q, pairs, backward);
	}
}

// i[0] as on the CPU; i[1]: the type in which the products are computed.
LG_LAUNCHER(lg_cuda_experts_back_w) {
	product q = {};
	q.y = out(dst);
	q.a = f32(dst->src[0]);
	q.x = f32(dst->src[1]);
	q.first = i32(dst->src[2]);
	q.experts = (int)dst->ne[2];
	q.per = (int)p->i[0];
	q.m = dst->ne[1];
	q.k = dst->ne[0];
	switch (p->i[1]) {
	case GGML_TYPE_BF16: return launch<__nv_bfloat16, float, WEIGHTS>(s, q, 0);
	case GGML_TYPE_F16: return launch<__half, float, WEIGHTS>(s, q, 0);
	default: return launch<float, float, WEIGHTS>(s, q, 0);
	}
}

LG_LAUNCHER(lg_cuda_combine) {
	const ggml_tensor *w = dst->src[1];
	LAUNCH(combine, grid(elements(dst)), BLOCK, 0, s, out(dst), f32(dst->src[0]), w ? f32(w) : (const float *)nullptr, dst->ne[1], dst->ne[0], (int)p->i[0]);
}
LG_LAUNCHER(lg_cuda_combine_back) {
	(void)p;
	LAUNCH(combine_back, grid(elements(dst)), BLOCK, 0, s, out(dst), f32(dst->src[0]), f32(dst->src[1]), dst->ne[1], dst->ne[0], (int)dst->src[0]->ne[0]);
}
LG_LAUNCHER(lg_cuda_combine_back_w) {
	(void)p;
	const int64_t pairs = elements(dst);
	LAUNCH(combine_back_w, blocks(pairs, WARPS), 32 * WARPS, 0, s, out(dst), f32(dst->src[0]), f32(dst->src[1]), pairs, dst->src[0]->ne[0], (int)dst->ne[0]);
}
LG_LAUNCHER(lg_cuda_glu) {
	(void)p;
	LAUNCH(glu, grid(elements(dst)), BLOCK, 0, s, out(dst), f32(dst->src[0]), dst->ne[1], dst->ne[0]);
}
LG_LAUNCHER(lg_cuda_glu_back) {
	(void)p;
	LAUNCH(glu_back, grid(elements(dst->src[1])), BLOCK, 0, s, out(dst), f32(dst->src[0]), f32(dst->src[1]), dst->ne[1], dst->src[1]->ne[0]);
}
LG_LAUNCHER(lg_cuda_softmax_back) {
	const int64_t c = dst->ne[0];
	LAUNCH(softmax_back, (unsigned)(elements(dst) / c), BLOCK, 0, s, out(dst), f32(dst->src[0]), f32(dst->src[1]), c, p->f[0]);
}
