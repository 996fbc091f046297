// The two instructions of tensor cores that attention is made of, with the register
// layouts of the PTX ISA ("Warp-level matrix load", "Matrix fragments for
// mma.m16n8k16"); unlike wmma's fragments these say which row a register belongs to.
// They need sm_80; the emulator's versions are in emulate/matrix.h.
//
// Lane l, g = l/4, t = 2(l%4). A (16, 16): a[0] (g, t), a[1] (g+8, t), a[2] (g, t+8), a[3] (g+8, t+8), each
// with its right neighbour; B (16, 8): b[0] (t, g), b[1] (t+8, g), each with the one below;
// C (16, 8): c[0], c[1] (g, t), (g, t+1), c[2], c[3] (g+8, t), (g+8, t+1).
#pragma once
#include "launch.h"

#ifdef LITGPT_EMULATE
#define LG_TENSOR_CORES 1
#else
#define LG_TENSOR_CORES (__CUDA_ARCH__ >= 800)
#endif

// lg_ldmatrix loads four 8×8 matrices of 16-bit numbers: lane l says where row l%8 of matrix l/8 begins, in shared memory at a multiple of 16 bytes.
static __device__ __forceinline__ void lg_ldmatrix(uint32_t r[4], const void *row) {
#ifdef LITGPT_EMULATE
	lg_emulate::ldmatrix_operands o{r, row, false};
	lg_emulate::collective(~0u, lg_emulate::ldmatrix_gather, &o);
#elif LG_TENSOR_CORES
	uint32_t at = (uint32_t)__cvta_generic_to_shared(row);
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
#else
	__trap();
#endif
}

// lg_ldmatrix_trans is lg_ldmatrix of the transposed 8×8 matrices.
static __device__ __forceinline__ void lg_ldmatrix_trans(uint32_t r[4], const void *row) {
#ifdef LITGPT_EMULATE
	lg_emulate::ldmatrix_operands o{r, row, true};
	lg_emulate::collective(~0u, lg_emulate::ldmatrix_gather, &o);
#elif LG_TENSOR_CORES
	uint32_t at = (uint32_t)__cvta_generic_to_shared(row);
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
#else
	__trap();
#endif
}

// lg_mma adds A·B to c. T is __half or __nv_bfloat16.
template <class T> static __device__ __forceinline__ void lg_mma(float c[4], const uint32_t a[4], const uint32_t b[2]);
#ifdef LITGPT_EMULATE
template <> void lg_mma<__half>(float c[4], const uint32_t a[4], const uint32_t b[2]) {
	lg_emulate::mma_operands o{c, a, b};
	lg_emulate::collective(~0u, lg_emulate::mma_gather<lg_f16_to_f32>, &o);
}
template <> void lg_mma<__nv_bfloat16>(float c[4], const uint32_t a[4], const uint32_t b[2]) {
	lg_emulate::mma_operands o{c, a, b};
	lg_emulate::collective(~0u, lg_emulate::mma_gather<lg_bf16_to_f32>, &o);
}
#else
#if LG_TENSOR_CORES
#define LG_MMA(type) \
	asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." type "." type ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};" \
		: "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
#else
#define LG_MMA(type) __trap()
#endif
template <> __device__ __forceinline__ void lg_mma<__half>(float c[4], const uint32_t a[4], const uint32_t b[2]) { LG_MMA("f16"); }
template <> __device__ __forceinline__ void lg_mma<__nv_bfloat16>(float c[4], const uint32_t a[4], const uint32_t b[2]) { LG_MMA("bf16"); }
#undef LG_MMA
#endif
