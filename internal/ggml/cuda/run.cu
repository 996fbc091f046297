// Runs GGML graphs on the GPU. GGML's own operations go to its CUDA backend in
// runs; our operations, which it refuses, go to our kernels; all on the stream of
// that backend. What was run once is captured as one CUDA graph, in which nothing
// of the host's per-operation work is left.
#include "kernels.cuh"
#include "../cudalib.h"
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#ifndef LITGPT_EMULATE
#include "common.cuh"
#include "ggml-backend-impl.h"
#include "ggml-cuda.h"
static ggml_backend_t native_backend(int device) { return ggml_backend_cuda_init(device); }
static cudaStream_t native_stream(ggml_backend_t b) { return ((ggml_backend_cuda_context *)b->context)->stream(); }
static bool native_queue(ggml_backend_t b, ggml_cgraph *g, cudaStream_t) { return ggml_backend_graph_compute_async(b, g, -1) == GGML_STATUS_SUCCESS; }
#else
static ggml_backend_t native_backend(int) {
	ggml_backend_t b = ggml_backend_cpu_init();
	if (b) ggml_backend_cpu_set_n_threads(b, 1);
	return b;
}
static cudaStream_t native_stream(ggml_backend_t) {
	cudaStream_t s = nullptr;
	cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking);
	return s;
}
static bool native_queue(ggml_backend_t b, ggml_cgraph *g, cudaStream_t s) {
	lg_emulate::submit(s, [=] { ggml_backend_graph_compute(b, g); });
	return true;
}
#endif

#ifndef LITGPT_GGML
#define LITGPT_GGML "unknown"
#endif

struct lg_cuda {
	int device;
	ggml_backend_t backend;
	cudaStream_t stream;
	cublasHandle_t blas;
	void *workspace;
	bool tf32;
	lg_cuda_fetch *fetches; // places for values on their way to the host
	char error[256];
};

static void free_fetches(lg_cuda *d);

extern "C" int64_t lg_attention_scratch(int64_t n, int64_t sequences, int64_t heads, int64_t kv_heads, int64_t head_dim, int64_t rows);
extern "C" int64_t lg_attention_back_scratch(int64_t n, int64_t heads);

LG_SCRATCH_SIZE(lg_cuda_attention_scratch) {
	const ggml_tensor *q = src[0], *k = src[1];
	return lg_attention_scratch(q->ne[2], p->i[0], q->ne[1], k->ne[1], q->ne[0], k->ne[2]);
}
LG_SCRATCH_SIZE(lg_cuda_attention_back_scratch) {
	(void)p;
	return lg_attention_back_scratch(src[0]->ne[2], src[0]->ne[1]);
}
LG_SCRATCH_SIZE(lg_cuda_paged_attention_scratch) { // each query may be a sequence's only one
	const ggml_tensor *q = src[0], *k = src[1];
	return lg_attention_scratch(q->ne[2], q->ne[2], q->ne[1], k->ne[1], q->ne[0], src[5]->ne[0] * p->i[2]);
}

// The launchers by kernel; the product stands apart, since it needs the library's handle.
static const struct {
	int kernel;
	lg_launcher launch;
	lg_scratch scratch; // nullptr: none is wanted
} launchers[] = {
	{LG_RMS_NORM, lg_cuda_rms_norm, nullptr},
	{LG_RMS_NORM_BACK, lg_cuda_rms_norm_back, nullptr},
	{LG_RMS_NORM_BACK_W, lg_cuda_rms_norm_back_w, lg_cuda_rms_norm_back_w_scratch},
	{LG_LAYER_NORM, lg_cuda_layer_norm, nullptr},
	{LG_LAYER_NORM_BACK, lg_cuda_layer_norm_back, nullptr},
	{LG_LAYER_NORM_BACK_W, lg_cuda_layer_norm_back_w, lg_cuda_layer_norm_back_w_scratch},
	{LG_ACT, lg_cuda_act, nullptr},
	{LG_ACT_BACK, lg_cuda_act_back, nullptr},
	{LG_GATE, lg_cuda_gate, nullptr},
	{LG_GATE_BACK, lg_cuda_gate_back, nullptr},
	{LG_SOFTCAP, lg_cuda_softcap, nullptr},
	{LG_SOFTCAP_BACK, lg_cuda_softcap_back, nullptr},
	{LG_COLUMNS, lg_cuda_columns, nullptr},
	{LG_COLUMNS_BACK, lg_cuda_columns_back, nullptr},
	{LG_ROPE_TABLE, lg_cuda_rope_table, nullptr},
	{LG_ROPE, lg_cuda_rope, nullptr},
	{LG_ROWS_BACK, lg_cuda_rows_back, nullptr},
	{LG_ZERO, lg_cuda_zero, nullptr},
	{LG_ATTENTION, lg_cuda_attention, lg_cuda_attention_scratch},
	{LG_ATTENTION_BACK, lg_cuda_attention_back, lg_cuda_attention_back_scratch},
	{LG_PAGED_ATTENTION, lg_cuda_paged_attention, lg_cuda_paged_attention_scratch},
	{LG_CROSS_ENTROPY, lg_cuda_cross_entropy, nullptr},
	{LG_CROSS_ENTROPY_BACK, lg_cuda_cross_entropy_back, nullptr},
	{LG_SUM_TO, lg_cuda_sum_to, nullptr},
	{LG_DROPOUT, lg_cuda_dropout, nullptr},
	{LG_ACCUMULATE, lg_cuda_accumulate, nullptr},
	{LG_ADAMW, lg_cuda_adamw, nullptr},
	{LG_SQUARE_SUM, lg_cuda_square_sum, lg_cuda_sum_scratch},
	{LG_ADD_DOT, lg_cuda_add_dot, lg_cuda_sum_scratch},
	{LG_CLIP, lg_cuda_clip, nullptr},
	{LG_MATVEC, lg_cuda_matvec, nullptr},
	{LG_TOPK, lg_cuda_topk, nullptr},
	{LG_ROUTE, lg_cuda_route, nullptr},
	{LG_ROUTE_WEIGHTS, lg_cuda_route_weights, nullptr},
	{LG_ROUTE_WEIGHTS_BACK, lg_cuda_route_weights_back, nullptr},
	{LG_GROUP, lg_cuda_group, nullptr},
	{LG_GROUP_COUNTS, lg_cuda_group_counts, nullptr},
	{LG_EXPERTS, lg_cuda_experts, nullptr},
	{LG_EXPERTS_BACK_W, lg_cuda_experts_back_w, nullptr},
	{LG_COMBINE, lg_cuda_combine, nullptr},
	{LG_COMBINE_BACK, lg_cuda_combine_back, nullptr},
	{LG_COMBINE_BACK_W, lg_cuda_combine_back_w, nullptr},
	{LG_GLU, lg_cuda_glu, nullptr},
	{LG_GLU_BACK, lg_cuda_glu_back, nullptr},
	{LG_SOFTMAX_BACK, lg_cuda_softmax_back, nullptr},
	{LG_CONVERT, lg_cuda_convert, nullptr},
	{LG_ROWS, lg_cuda_rows, nullptr},
};

static lg_launcher launcher(int kernel) {
	for (const auto &l : launchers)
		if (l.kernel == kernel) return l.launch;
	return nullptr;
}

// A custom node carries our parameters where GGML keeps the function for the CPU.
static const lg_params *custom_params(const ggml_tensor *node) {
	struct {
		void *fun;
		int n_tasks;
		void *userdata;
	} p;
	memcpy(&p, node->op_params, sizeof p);
	return (const lg_params *)p.userdata;
}

static const char *fail(lg_cuda *d, const char *what, cudaError_t e) {
	cudaGetLastError();
	snprintf(d->error, sizeof d->error, "%s: %s", what, cudaGetErrorString(e));
	return d->error;
}

static int devices(const char **why) {
	int n = 0;
	cudaError_t e = cudaGetDeviceCount(&n);
	if (e != cudaSuccess) {
		cudaGetLastError(); // said here, not again after the next launch
		*why = cudaGetErrorString(e);
		return -1;
	}
	return n;
}

static int driver() {
	int v = 0;
	return cudaDriverGetVersion(&v) == cudaSuccess ? v : 0;
}

static bool info(int device, lg_cuda_info *out) {
	cudaDeviceProp p;
	if (cudaGetDeviceProperties(&p, device) != cudaSuccess) return false;
	memset(out, 0, sizeof *out);
	snprintf(out->name, sizeof out->name, "%s", p.name);
	out->major = p.major;
	out->minor = p.minor;
	out->total = p.totalGlobalMem;
	return true;
}

static void close_device(lg_cuda *d) {
	if (!d) return;
	cudaSetDevice(d->device);
	if (d->stream || d->backend) cudaStreamSynchronize(d->stream);
	free_fetches(d);
	if (d->blas) cublasDestroy(d->blas);
	if (d->workspace) cudaFree(d->workspace);
	if (d->backend) ggml_backend_free(d->backend);
	delete d;
}

static lg_cuda *open_device(int device, bool tf32, const char **why) {
	cudaError_t e = cudaSetDevice(device);
	if (e != cudaSuccess) {
		cudaGetLastError();
		*why = cudaGetErrorString(e);
		return nullptr;
	}
	lg_cuda *d = new lg_cuda{};
	d->device = device;
	d->tf32 = tf32;
	d->backend = native_backend(device);
	if (!d->backend) {
		*why = "GGML's CUDA backend cannot be opened";
		close_device(d);
		return nullptr;
	}
	d->stream = native_stream(d->backend);
	// A workspace of its own makes cuBLAS deterministic and lets it be captured; 32 MiB is what cuBLAS takes on Hopper.
	const size_t workspace = 32 << 20;
	if (cublasCreate(&d->blas) != CUBLAS_STATUS_SUCCESS || cublasSetStream(d->blas, d->stream) != CUBLAS_STATUS_SUCCESS) {
		*why = "cuBLAS cannot be opened";
		close_device(d);
		return nullptr;
	}
	if (cudaMalloc(&d->workspace, workspace) != cudaSuccess || cublasSetWorkspace(d->blas, d->workspace, workspace) != CUBLAS_STATUS_SUCCESS) {
		cudaGetLastError();
		*why = "no memory for cuBLAS's workspace of 32 MiB";
		close_device(d);
		return nullptr;
	}
	return d;
}

static ggml_backend_t backend(lg_cuda *d) { return d->backend; }

static void memory(lg_cuda *d, size_t *free, size_t *total) {
	cudaSetDevice(d->device);
	if (cudaMemGetInfo(free, total) != cudaSuccess) *free = *total = 0;
}

static bool supports(lg_cuda *d, const ggml_tensor *node) {
	if (node->op != GGML_OP_CUSTOM) return ggml_backend_supports_op(d->backend, node);
	int kernel = custom_params(node)->kernel;
	return kernel == LG_MATMUL || kernel == LG_SCRATCH || launcher(kernel) != nullptr;
}

static int64_t scratch(int kernel, const ggml_tensor *const *src, const void *params) {
	for (const auto &l : launchers)
		if (l.kernel == kernel) return l.scratch ? l.scratch(src, (const lg_params *)params) : 0;
	return 0;
}

// A part of a graph: nodes that go to GGML together, or one of ours.
struct part {
	ggml_cgraph *native; // nullptr for one of ours
	const ggml_tensor *node;
	const lg_params *params;
	lg_launcher launch; // nullptr for the product
};

struct lg_cuda_program {
	lg_cuda *d;
	ggml_context *ctx; // of the native parts' graphs
	std::vector<part> parts;
	int runs;
	bool capture; // false after a capture has failed, or by LITGPT_CUDA_GRAPHS=0
	cudaGraphExec_t graph;
};

static bool is_view(const ggml_tensor *t) {
	return t->op == GGML_OP_NONE || t->op == GGML_OP_RESHAPE || t->op == GGML_OP_VIEW || t->op == GGML_OP_PERMUTE || t->op == GGML_OP_TRANSPOSE;
}

static void free_program(lg_cuda_program *p) {
	if (!p) return;
	cudaSetDevice(p->d->device);
	cudaStreamSynchronize(p->d->stream);
	if (p->graph) cudaGraphExecDestroy(p->graph);
	if (p->ctx) ggml_free(p->ctx);
	delete p;
}

static lg_cuda_program *compile(lg_cuda *d, ggml_cgraph *graph) {
	lg_cuda_program *p = new lg_cuda_program{};
	p->d = d;
	const char *off = getenv("LITGPT_CUDA_GRAPHS");
	p->capture = !(off && !strcmp(off, "0"));
	// How long each native part is, first; its graph needs that much room.
	std::vector<std::vector<ggml_tensor *>> runs;
	const int n = ggml_graph_n_nodes(graph);
	bool open = false;
	for (int i = 0; i < n; i++) {
		ggml_tensor *t = ggml_graph_node(graph, i);
		if (is_view(t)) continue;
		if (t->op != GGML_OP_CUSTOM) {
			if (!open) {
				p->parts.push_back(part{});
				runs.emplace_back();
			}
			runs.back().push_back(t);
			open = true;
			continue;
		}
		const lg_params *params = custom_params(t);
		if (params->kernel == LG_SCRATCH) continue;
		p->parts.push_back(part{nullptr, t, params, launcher(params->kernel)});
		open = false;
	}
	if (!runs.empty()) {
		size_t size = 4096;
		for (const auto &r : runs) size += ggml_graph_overhead_custom(r.size(), false) + 256;
		ggml_init_params init = {size, nullptr, true};
		p->ctx = ggml_init(init);
		if (!p->ctx) {
			free_program(p);
			return nullptr;
		}
		size_t k = 0;
		for (auto &part : p->parts)
			if (!part.node) {
				part.native = ggml_new_graph_custom(p->ctx, runs[k].size(), false);
				for (ggml_tensor *t : runs[k]) ggml_graph_add_node(part.native, t);
				k++;
			}
	}
	return p;
}

// queue gives every part to the stream.
static const char *queue(lg_cuda_program *p) {
	lg_cuda *d = p->d;
	for (const part &x : p->parts) {
		if (x.native) {
			if (!native_queue(d->backend, x.native, d->stream)) return "GGML's CUDA backend failed";
		} else if (x.launch) {
			x.launch(d->stream, x.node, x.params);
		} else if (const char *e = lg_cuda_matmul(d->blas, d->tf32, x.node, x.params)) {
			snprintf(d->error, sizeof d->error, "cuBLAS: %s", e);
			return d->error;
		}
	}
	cudaError_t e = cudaGetLastError();
	return e == cudaSuccess ? nullptr : fail(d, "a kernel could not be started", e);
}

// The first run is a plain one: libraries then set up what cannot be captured.
static const char *run(lg_cuda_program *p) {
	lg_cuda *d = p->d;
	cudaSetDevice(d->device);
	if (p->graph) {
		cudaError_t e = cudaGraphLaunch(p->graph, d->stream);
		return e == cudaSuccess ? nullptr : fail(d, "CUDA graph", e);
	}
	if (!p->capture || p->runs++ == 0) return queue(p);
	p->capture = false; // until it has worked
	if (cudaStreamBeginCapture(d->stream, cudaStreamCaptureModeRelaxed) != cudaSuccess) {
		cudaGetLastError();
		return queue(p);
	}
	const char *bad = queue(p);
	cudaGraph_t graph = nullptr;
	cudaError_t e = cudaStreamEndCapture(d->stream, &graph);
	if (!bad && e == cudaSuccess && graph) e = cudaGraphInstantiate(&p->graph, graph, 0);
	if (graph) cudaGraphDestroy(graph);
	if (bad || e != cudaSuccess || !p->graph) {
		p->graph = nullptr;
		cudaGetLastError(); // forget it: without a graph it works too
		return queue(p);
	}
	e = cudaGraphLaunch(p->graph, d->stream);
	return e == cudaSuccess ? nullptr : fail(d, "CUDA graph", e);
}

static const char *set(lg_cuda *d, ggml_tensor *t, const void *data, size_t offset, size_t size) {
	cudaSetDevice(d->device);
	// From pageable memory: the data is staged before the call returns.
	cudaError_t e = cudaMemcpyAsync((char *)t->data + offset, data, size, cudaMemcpyHostToDevice, d->stream);
	return e == cudaSuccess ? nullptr : fail(d, "copy to the device", e);
}

static const char *synchronize(lg_cuda *d) {
	cudaSetDevice(d->device);
	cudaError_t e = cudaStreamSynchronize(d->stream);
	return e == cudaSuccess ? nullptr : fail(d, "the device's work failed", e);
}

static const char *get(lg_cuda *d, const ggml_tensor *t, void *data, size_t offset, size_t size) {
	cudaSetDevice(d->device);
	cudaError_t e = cudaMemcpyAsync(data, (const char *)t->data + offset, size, cudaMemcpyDeviceToHost, d->stream);
	if (e != cudaSuccess) return fail(d, "copy from the device", e);
	return synchronize(d);
}

// A place for values on their way to the host. It is page-locked, so that the copy
// does not hold up the host, and kept: to lock and to free pages stops the device.
struct lg_cuda_fetch {
	lg_cuda *d;
	char *host;
	size_t size, room; // bytes on their way, and that there is room for
	cudaEvent_t there;
	bool busy;
	lg_cuda_fetch *next;
};

static void free_fetches(lg_cuda *d) {
	while (lg_cuda_fetch *f = d->fetches) {
		d->fetches = f->next;
		if (f->there) cudaEventDestroy(f->there);
		if (f->host) cudaFreeHost(f->host);
		delete f;
	}
}

// place finds room for size bytes, or makes it.
static lg_cuda_fetch *place(lg_cuda *d, size_t size) {
	for (lg_cuda_fetch *f = d->fetches; f; f = f->next)
		if (!f->busy && f->room >= size) return f;
	lg_cuda_fetch *f = new lg_cuda_fetch{};
	f->d = d;
	f->room = (size + 4095) / 4096 * 4096;
	if (cudaMallocHost((void **)&f->host, f->room) != cudaSuccess || cudaEventCreateWithFlags(&f->there, cudaEventDisableTiming) != cudaSuccess) {
		if (f->host) cudaFreeHost(f->host);
		delete f;
		return nullptr;
	}
	f->next = d->fetches;
	return d->fetches = f;
}

static lg_cuda_fetch *fetch(lg_cuda *d, const ggml_tensor *const *t, int n) {
	cudaSetDevice(d->device);
	size_t size = 0;
	for (int i = 0; i < n; i++) size += ggml_nbytes(t[i]);
	lg_cuda_fetch *f = place(d, size);
	if (!f) {
		cudaGetLastError();
		return nullptr;
	}
	f->size = size;
	bool ok = true;
	size_t at = 0;
	for (int i = 0; ok && i < n; i++) {
		ok = cudaMemcpyAsync(f->host + at, t[i]->data, ggml_nbytes(t[i]), cudaMemcpyDeviceToHost, d->stream) == cudaSuccess;
		at += ggml_nbytes(t[i]);
	}
	f->busy = ok && cudaEventRecord(f->there, d->stream) == cudaSuccess;
	if (f->busy) return f;
	cudaGetLastError();
	return nullptr;
}

static const char *wait(lg_cuda_fetch *f, void *out) {
	lg_cuda *d = f->d;
	cudaSetDevice(d->device);
	cudaError_t e = cudaEventSynchronize(f->there);
	if (e == cudaSuccess) memcpy(out, f->host, f->size);
	f->busy = false;
	return e == cudaSuccess ? nullptr : fail(d, "the device's work failed", e);
}

static const char *copy(lg_cuda *from, const ggml_tensor *src, lg_cuda *to, ggml_tensor *dst) {
	cudaEvent_t done, there;
	cudaSetDevice(to->device);
	cudaError_t e = cudaEventCreateWithFlags(&there, cudaEventDisableTiming);
	if (e != cudaSuccess) return fail(to, "copy between devices", e);
	cudaSetDevice(from->device);
	if ((e = cudaEventCreateWithFlags(&done, cudaEventDisableTiming)) != cudaSuccess) {
		cudaEventDestroy(there);
		return fail(from, "copy between devices", e);
	}
	// The copy runs on the source's stream, after the receiver is done with what stood there before.
	cudaSetDevice(to->device);
	e = cudaEventRecord(there, to->stream);
	cudaSetDevice(from->device);
	if (e == cudaSuccess) e = cudaStreamWaitEvent(from->stream, there, 0);
	if (e == cudaSuccess) e = cudaMemcpyPeerAsync(dst->data, to->device, src->data, from->device, ggml_nbytes(src), from->stream);
	if (e == cudaSuccess) e = cudaEventRecord(done, from->stream);
	cudaSetDevice(to->device);
	if (e == cudaSuccess) e = cudaStreamWaitEvent(to->stream, done, 0);
	cudaEventDestroy(done); // freed once they have happened
	cudaEventDestroy(there);
	return e == cudaSuccess ? nullptr : fail(from, "copy between devices", e);
}

#define STRING(x) #x
#define TEXT(x) STRING(x)
#ifdef LITGPT_EMULATE
static const char build[] = "emulated on the CPU";
#else
static const char build[] = "nvcc " TEXT(__CUDACC_VER_MAJOR__) "." TEXT(__CUDACC_VER_MINOR__) "." TEXT(__CUDACC_VER_BUILD__)
#ifdef __CUDA_ARCH_LIST__
	", architectures " TEXT((__CUDA_ARCH_LIST__))
#endif
	;
#endif

extern "C" __attribute__((visibility("default"))) const lg_cuda_api *litgpt_cuda(void) {
	static const lg_cuda_api api = {
		LG_CUDA_ABI, LITGPT_GGML, build, sizeof(ggml_tensor),
		devices, driver, info,
		open_device, close_device, backend, memory,
		supports, scratch, compile, free_program, run,
		set, get, fetch, wait, copy, synchronize};
	return &api;
}
