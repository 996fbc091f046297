// What every .cu file here includes: the CUDA headers and GGML's, or, compiled
// by a C++ compiler with -x c++ -DLITGPT_EMULATE, the emulator that runs the same
// kernels on the CPU (emulate/emulate.h).
//
// The host function of a kernel is `void lg_cuda_NAME(cudaStream_t s, const
// ggml_tensor *dst, const lg_params *p)`: it launches on s, waits for nothing, and
// gives the same bits on every run (no float atomics). What goes wrong is found by
// its caller in cudaGetLastError.
#pragma once
#ifdef LITGPT_EMULATE
#include "emulate/emulate.h"
#include "../cggml.h"
#else
#include <cublas_v2.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <mma.h>
#include "ggml.h"

// LAUNCH starts a kernel; a kernel that is a template-id stands in parentheses: LAUNCH((sum<4>), grid, block, 0, s, x, n).
#define LAUNCH(kernel, grid, block, shared_bytes, stream, ...) kernel<<<(grid), (block), (shared_bytes), (stream)>>>(__VA_ARGS__)

// SHARED_DYNAMIC declares `type *name`, the kernel's shared memory of the size given at its launch; it begins at a multiple of 128 bytes.
#define SHARED_DYNAMIC(type, name) \
	extern __shared__ __align__(128) unsigned char lg_shared_dynamic[]; \
	type *name = reinterpret_cast<type *>(lg_shared_dynamic)
#endif

#include "../kernels.h"
