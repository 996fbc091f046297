// The interface between the program and libggml-cuda.so (cuda/run.cu). The
// library exports one symbol, litgpt_cuda, which gives the table below; it takes
// every ggml_* function from the program, so both must be of the same GGML.
//
// Functions that can fail return NULL, or a message that the library keeps (until
// the next call on the same device) as said at each. Work on a device is queued
// on one stream and runs beside the host; a device is used by one thread at a time.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LG_CUDA_ABI 3

struct ggml_tensor;
struct ggml_cgraph;
struct ggml_backend;

typedef struct {
	char name[128];
	int major, minor; // compute capability
	size_t total;     // bytes
} lg_cuda_info;

typedef struct lg_cuda lg_cuda;                 // an open device
typedef struct lg_cuda_program lg_cuda_program; // a graph prepared for it
typedef struct lg_cuda_fetch lg_cuda_fetch;     // values on their way to the host

typedef struct {
	int abi;           // LG_CUDA_ABI
	const char *ggml;  // module and version of the GGML it was compiled with
	const char *build; // compiler and architectures
	size_t tensor;     // sizeof(struct ggml_tensor), against another layout

	// devices gives the number of devices, or -1 and why there is none.
	int (*devices)(const char **why);
	int (*driver)(void); // version of the driver's CUDA, 1000·major + 10·minor; 0 without one
	bool (*info)(int device, lg_cuda_info *out);

	// open gives a device, or NULL and why. tf32 lets products of float32 run on tensor cores.
	lg_cuda *(*open)(int device, bool tf32, const char **why);
	void (*close)(lg_cuda *d);
	struct ggml_backend *(*backend)(lg_cuda *d); // GGML's, for its buffers
	void (*memory)(lg_cuda *d, size_t *free, size_t *total);

	// supports says whether a node runs on the device: our kernel or GGML's.
	bool (*supports)(lg_cuda *d, const struct ggml_tensor *node);

	// scratch is how many floats of scratch memory a kernel of ours wants for these operands, as a last operand; 0: none is wanted.
	int64_t (*scratch)(int kernel, const struct ggml_tensor *const *src, const void *params);

	// compile prepares an allocated graph; NULL when there is no memory for it.
	lg_cuda_program *(*compile)(lg_cuda *d, struct ggml_cgraph *graph);
	void (*free_program)(lg_cuda_program *p);
	// run queues the graph. NULL, or what went wrong.
	const char *(*run)(lg_cuda_program *p);

	// set queues a copy to the tensor; data may be reused at once.
	const char *(*set)(lg_cuda *d, struct ggml_tensor *t, const void *data, size_t offset, size_t size);
	// get waits for the work queued before, then copies.
	const char *(*get)(lg_cuda *d, const struct ggml_tensor *t, void *data, size_t offset, size_t size);
	// fetch queues copies of n whole tensors to the host; NULL when there is no memory for it.
	lg_cuda_fetch *(*fetch)(lg_cuda *d, const struct ggml_tensor *const *t, int n);
	// wait blocks until they are there, copies them to out one after the other and gives f back.
	const char *(*wait)(lg_cuda_fetch *f, void *out);
	// copy queues a copy of a whole tensor from one device to one of the same size on another, after what is queued on both.
	const char *(*copy)(lg_cuda *from, const struct ggml_tensor *src, lg_cuda *to, struct ggml_tensor *dst);
	// synchronize waits for everything queued.
	const char *(*synchronize)(lg_cuda *d);
} lg_cuda_api;

typedef const lg_cuda_api *(*lg_cuda_entry)(void);

#ifdef __cplusplus
}
#endif
