// The runtime's calls: memory is the process's, streams do everything at once, a
// captured graph is the list of what was submitted while capturing.
#include "emulate.h"
#include <map>
#include <memory>
#include <mutex>
#include <time.h>
#include <vector>

typedef std::vector<std::function<void()>> work_list;
struct lg_emulated_stream {
	bool capturing;
	work_list list;
};
struct lg_emulated_event {
	double ms;
};
struct lg_emulated_graph {
	work_list list;
};
struct lg_emulated_graph_exec {
	work_list list;
};

static std::mutex guard;
static cudaError_t last_error;
static std::map<const void *, size_t> shared_limit; // of the kernels that asked for more than 48 KiB

static cudaError_t fail(cudaError_t e) {
	if (e != cudaSuccess) last_error = e;
	return e;
}

namespace lg_emulate {

bool capturing(cudaStream_t s) { return s && s->capturing; }

void submit(cudaStream_t s, std::function<void()> work) {
	if (capturing(s)) s->list.push_back(std::move(work));
	else work();
}

bool launchable(const char *name, const void *kernel, dim3 grid, dim3 block, size_t shared_bytes) {
	size_t threads = (size_t)block.x * block.y * block.z, limit = 48 << 10;
	{
		std::lock_guard<std::mutex> lock(guard);
		auto it = shared_limit.find(kernel);
		if (it != shared_limit.end()) limit = it->second;
	}
	bool ok = threads > 0 && threads <= 1024 && block.z <= 64 && grid.x > 0 && grid.x <= 2147483647u && grid.y > 0 && grid.y <= 65535 && grid.z > 0 && grid.z <= 65535;
	if (ok && shared_bytes <= limit) return true;
	fprintf(stderr, "litgpt emulator: kernel %s refused: grid %u×%u×%u, block %u×%u×%u, %zu bytes of shared memory (limit %zu)\n", name, grid.x, grid.y, grid.z, block.x, block.y, block.z, shared_bytes, limit);
	fail(ok ? cudaErrorInvalidValue : cudaErrorInvalidConfiguration);
	return false;
}

cudaError_t set_attribute(const void *kernel, cudaFuncAttribute a, int value) {
	if (a != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
	if (value < 0 || value > 227 << 10) return fail(cudaErrorInvalidValue);
	std::lock_guard<std::mutex> lock(guard);
	shared_limit[kernel] = (size_t)value;
	return cudaSuccess;
}

} // namespace lg_emulate

cudaError_t cudaGetLastError(void) {
	cudaError_t e = last_error;
	last_error = cudaSuccess;
	return e;
}
cudaError_t cudaPeekAtLastError(void) { return last_error; }
const char *cudaGetErrorName(cudaError_t e) { return cudaGetErrorString(e); }
const char *cudaGetErrorString(cudaError_t e) {
	switch (e) {
	case cudaSuccess: return "no error";
	case cudaErrorInvalidValue: return "invalid argument";
	case cudaErrorMemoryAllocation: return "out of memory";
	case cudaErrorInvalidConfiguration: return "invalid configuration argument";
	case cudaErrorInsufficientDriver: return "CUDA driver version is insufficient for CUDA runtime version";
	case cudaErrorNoDevice: return "no CUDA-capable device is detected";
	case cudaErrorInvalidDevice: return "invalid device ordinal";
	case cudaErrorNotReady: return "device not ready";
	case cudaErrorStreamCaptureUnsupported: return "operation not permitted when stream is capturing";
	case cudaErrorStreamCaptureInvalidated: return "operation failed due to a previous error during capture";
	}
	return "unrecognized error code";
}

static long long setting(const char *name, long long otherwise) {
	const char *v = getenv(name);
	return v && *v ? atoll(v) : otherwise;
}
static int device_count() { return (int)setting("LITGPT_EMULATE_DEVICES", 2); }
static size_t device_memory() { return (size_t)setting("LITGPT_EMULATE_MEMORY", 80ll << 30); }
static int current_device;

cudaError_t cudaDriverGetVersion(int *v) { return *v = device_count() < 0 ? 0 : 13000, cudaSuccess; }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device) {
	if (device < 0 || device >= device_count()) return fail(cudaErrorInvalidDevice);
	*p = {"emulated GPU", device_memory(), 9, 0};
	return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int *n) {
	*n = device_count();
	return *n < 0 ? (*n = 0, fail(cudaErrorInsufficientDriver)) : *n == 0 ? fail(cudaErrorNoDevice) : cudaSuccess;
}
cudaError_t cudaGetDevice(int *device) { return *device = current_device, cudaSuccess; }
cudaError_t cudaSetDevice(int device) {
	if (device < 0 || device >= device_count()) return fail(cudaErrorInvalidDevice);
	return current_device = device, cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr a, int) {
	switch (a) { // an H100's
	case cudaDevAttrMultiProcessorCount: *value = 132; break;
	case cudaDevAttrComputeCapabilityMajor: *value = 9; break;
	case cudaDevAttrComputeCapabilityMinor: *value = 0; break;
	case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = 227 << 10; break;
	default: return fail(cudaErrorInvalidValue);
	}
	return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t *free, size_t *total) {
	*free = *total = device_memory();
	return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize(void) { return cudaSuccess; }

cudaError_t lg_cudaMalloc(void **p, size_t n) {
	*p = nullptr;
	if (n == 0) return cudaSuccess;
	if (posix_memalign(p, 256, n)) return fail(cudaErrorMemoryAllocation);
	memset(*p, 0xff, n);
	return cudaSuccess;
}
cudaError_t cudaFree(void *p) { return free(p), cudaSuccess; }
cudaError_t cudaFreeHost(void *p) { return cudaFree(p); }
cudaError_t cudaFreeAsync(void *p, cudaStream_t) { return cudaFree(p); }
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, cudaMemcpyKind kind, cudaStream_t s) {
	if (kind == cudaMemcpyDeviceToHost && setting("LITGPT_EMULATE_BROKEN", 0)) return fail(cudaErrorInvalidValue);
	lg_emulate::submit(s, [=] { memmove(to, from, n); });
	return cudaSuccess;
}
cudaError_t cudaMemcpyPeerAsync(void *to, int, const void *from, int, size_t n, cudaStream_t s) { return cudaMemcpyAsync(to, from, n, cudaMemcpyDeviceToDevice, s); }
cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t height, cudaMemcpyKind, cudaStream_t s) {
	if (width > to_pitch || width > from_pitch) return fail(cudaErrorInvalidValue);
	lg_emulate::submit(s, [=] {
		for (size_t i = 0; i < height; i++) memmove((char *)to + i * to_pitch, (const char *)from + i * from_pitch, width);
	});
	return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void *p, int value, size_t n, cudaStream_t s) {
	lg_emulate::submit(s, [=] { memset(p, value, n); });
	return cudaSuccess;
}
cudaError_t cudaMemcpy(void *to, const void *from, size_t n, cudaMemcpyKind kind) { return cudaMemcpyAsync(to, from, n, kind); }
cudaError_t cudaMemset(void *p, int value, size_t n) { return cudaMemsetAsync(p, value, n); }

cudaError_t cudaStreamCreate(cudaStream_t *s) { return *s = new lg_emulated_stream(), cudaSuccess; }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned) { return cudaStreamCreate(s); }
cudaError_t cudaStreamDestroy(cudaStream_t s) { return delete s, cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t s) { return lg_emulate::capturing(s) ? fail(cudaErrorStreamCaptureUnsupported) : cudaSuccess; }
cudaError_t cudaStreamQuery(cudaStream_t s) { return cudaStreamSynchronize(s); }
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }

static double now_ms() {
	timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec * 1e-6;
}
cudaError_t cudaEventCreate(cudaEvent_t *e) { return *e = new lg_emulated_event(), cudaSuccess; }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned) { return cudaEventCreate(e); }
cudaError_t cudaEventDestroy(cudaEvent_t e) { return delete e, cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) {
	lg_emulate::submit(s, [=] { e->ms = now_ms(); });
	return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventQuery(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to) {
	*ms = (float)(to->ms - from->ms);
	return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode) {
	if (!s || s->capturing) return fail(cudaErrorStreamCaptureUnsupported);
	s->capturing = true;
	s->list.clear();
	return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g) {
	*g = nullptr;
	if (!lg_emulate::capturing(s)) return fail(cudaErrorStreamCaptureInvalidated);
	s->capturing = false;
	*g = new lg_emulated_graph{std::move(s->list)};
	return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *e, cudaGraph_t g, unsigned long long) {
	*e = new lg_emulated_graph_exec{g->list};
	return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t e, cudaStream_t s) {
	for (auto &work : e->list) lg_emulate::submit(s, work);
	return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t g) { return delete g, cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t e) { return delete e, cudaSuccess; }
