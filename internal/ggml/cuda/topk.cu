// The k largest elements of rows, for sampling: of the logits of a vocabulary only
// these go to the host. One block works on a row.
//
// Elements are compared as integers of 64 bits that order them as TopK wants: by
// value, NaN above all, −0 as 0, ties by lowest id. No two are equal, so the k
// largest are one set and their order is one, whatever the order of the threads.
#include "launch.h"

static const int kThreads = 1024; // also the largest k
static const int kDigit = 11;     // bits of a key that one pass looks at: 64 = 5·11 + 9

static __device__ __forceinline__ uint64_t order_key(uint32_t bits, int id) {
	uint32_t u = bits & 0x7fffffff;
	if (u > 0x7f800000)
		u = 0xffffffff;
	else
		u = u == 0 ? 0x80000000 : bits >> 31 ? ~bits : bits | 0x80000000;
	return (uint64_t)u << 32 | (uint32_t)~id;
}

// each calls f(key) for the elements of a row that are the calling thread's, four at
// a time where the row's address allows it: a single block needs many bytes in flight.
template <class F> static __device__ __forceinline__ void each(const uint32_t *row, int v, F f) {
	int head = (int)(-(reinterpret_cast<uintptr_t>(row) / 4) & 3);
	head = head < v ? head : v;
	const int quads = (v - head) / 4, id = (int)threadIdx.x, tail = head + 4 * quads + id;
	if (id < head) f(order_key(row[id], id));
	const uint4 *q = reinterpret_cast<const uint4 *>(row + head);
#pragma unroll 4
	for (int i = id; i < quads; i += kThreads) {
		const uint4 a = q[i];
		const int at = head + 4 * i;
		f(order_key(a.x, at));
		f(order_key(a.y, at + 1));
		f(order_key(a.z, at + 2));
		f(order_key(a.w, at + 3));
	}
	if (tail < v) f(order_key(row[tail], tail));
}

// put writes the i-th largest: the element as it was, and its id.
static __device__ __forceinline__ void put(const uint32_t *row, uint64_t key, int i, int k, float *y) {
	const uint32_t id = ~(uint32_t)key;
	reinterpret_cast<uint32_t *>(y)[i] = row[id];
	y[k + i] = (float)id;
}

static __global__ void __launch_bounds__(kThreads) largest(const uint32_t *x, int v, float *y) {
	__shared__ uint64_t warps[kThreads / 32];
	const uint32_t *row = x + (int64_t)blockIdx.x * v;
	const int id = (int)threadIdx.x;
	uint64_t best = 0;
	each(row, v, [&](uint64_t key) { best = key > best ? key : best; });
	for (int d = 16; d > 0; d /= 2) {
		const uint64_t other = __shfl_xor_sync(0xffffffff, best, d);
		best = other > best ? other : best;
	}
	if (id % 32 == 0) warps[id / 32] = best;
	__syncthreads();
	if (id > 0) return;
	for (int i = 1; i < kThreads / 32; i++) best = warps[i] > best ? warps[i] : best;
	put(row, best, 0, 1, y + 2 * (int64_t)blockIdx.x);
}

// k_largest finds the k-th largest key digit by digit, each pass counting the keys that
// agree with it so far by their next digit, and sorts those that are not below it.
static __global__ void __launch_bounds__(kThreads) k_largest(const uint32_t *x, int v, int k, float *y) {
	__shared__ unsigned counts[1 << kDigit], warps[kThreads / 32];
	__shared__ unsigned digit, above, among; // of the k-th key; keys with a larger digit; with this one
	__shared__ uint64_t list[kThreads];
	__shared__ int n;
	const uint32_t *row = x + (int64_t)blockIdx.x * v;
	const int id = (int)threadIdx.x, lane = id % 32;
	list[id] = 0; // below all keys
	if (id == 0) n = 0;
	uint64_t prefix = 0, mask = 0; // the digits found, and which bits they are
	unsigned rest = (unsigned)k;   // of the keys with this prefix, so many are among the k largest
	for (int shift = 64; shift > 0;) {
		const int width = shift < kDigit ? shift : kDigit;
		shift -= width;
		const uint64_t digits = ((uint64_t)1 << width) - 1;
		counts[2 * id] = counts[2 * id + 1] = 0;
		__syncthreads();
		each(row, v, [&](uint64_t key) {
			if ((key & mask) == prefix) atomicAdd(&counts[(key >> shift) & digits], 1u); // integers: their sum has no order
		});
		__syncthreads();
		// The number of keys in the bins after each thread's two: a scan from the end.
		const unsigned low = counts[2 * id], high = counts[2 * id + 1];
		unsigned sum = low + high;
		for (int d = 1; d < 32; d *= 2) {
			const unsigned other = __shfl_down_sync(0xffffffff, sum, d);
			if (lane + d < 32) sum += other;
		}
		if (lane == 0) warps[id / 32] = sum;
		__syncthreads();
		sum -= low + high;
		for (int i = id / 32 + 1; i < kThreads / 32; i++) sum += warps[i];
		for (int i = 1; i >= 0; i--) {
			const unsigned c = i ? high : low;
			if (sum < rest && rest <= sum + c) { // in one bin of one thread
				digit = 2 * id + i;
				above = sum;
				among = c;
			}
			sum += c;
		}
		__syncthreads();
		rest -= above;
		prefix |= (uint64_t)digit << shift;
		mask |= digits << shift;
		if (among == rest) break; // all of them
	}
	each(row, v, [&](uint64_t key) {
		if ((key & mask) >= prefix) list[atomicAdd(&n, 1)] = key; // k of them, in any order
	});
	__syncthreads();
	int padded = 2;
	while (padded < k) padded *= 2;
	for (int size = 2; size <= padded; size *= 2) // bitonic, the largest first
		for (int d = size / 2; d > 0; d /= 2) {
			const int other = id ^ d;
			if (id < padded && other > id) {
				const uint64_t a = list[id], b = list[other];
				if (((id & size) == 0) == (a < b)) {
					list[id] = b;
					list[other] = a;
				}
			}
			__syncthreads();
		}
	if (id < k) put(row, list[id], id, k, y + 2 * (int64_t)k * blockIdx.x);
}

// dst (N, 2, k): the k largest elements of each row of src0 (N, V), largest first, and their ids, as floats. k ≤ 1024, V < 2^24.
extern "C" void lg_cuda_topk(cudaStream_t s, const ggml_tensor *dst, const lg_params *) {
	const ggml_tensor *x = dst->src[0];
	const uint32_t *in = (const uint32_t *)x->data;
	const int v = (int)x->ne[0], k = (int)dst->ne[0];
	const unsigned rows = (unsigned)x->ne[1];
	if (k == 1)
		LAUNCH(largest, rows, kThreads, 0, s, in, v, (float *)dst->data);
	else
		LAUNCH(k_largest, rows, kThreads, 0, s, in, v, k, (float *)dst->data);
}
