package ggml

// #include <stdlib.h>
// #include <dlfcn.h>
// #include "cggml.h"
// #include "cudalib.h"
// #include "kernels.h"
// static const lg_cuda_api *lg_api(void *handle) {
//   lg_cuda_entry entry = (lg_cuda_entry)dlsym(handle, "litgpt_cuda");
//   return entry ? entry() : NULL;
// }
// static int lg_devices(const lg_cuda_api *a, const char **why) { return a->devices(why); }
// static int lg_driver(const lg_cuda_api *a) { return a->driver(); }
// static bool lg_info(const lg_cuda_api *a, int i, lg_cuda_info *out) { return a->info(i, out); }
// static lg_cuda *lg_open(const lg_cuda_api *a, int i, bool tf32, const char **why) { return a->open(i, tf32, why); }
// static void lg_close(const lg_cuda_api *a, lg_cuda *d) { a->close(d); }
// static struct ggml_backend *lg_backend(const lg_cuda_api *a, lg_cuda *d) { return a->backend(d); }
// static void lg_memory(const lg_cuda_api *a, lg_cuda *d, size_t *free, size_t *total) { a->memory(d, free, total); }
// static bool lg_supports(const lg_cuda_api *a, lg_cuda *d, struct ggml_tensor *t) { return a->supports(d, t); }
// static int64_t lg_scratch(const lg_cuda_api *a, int kernel, struct ggml_tensor **src, void *params) { return a->scratch(kernel, (const struct ggml_tensor *const *)src, params); }
// static lg_cuda_program *lg_compile(const lg_cuda_api *a, lg_cuda *d, struct ggml_cgraph *g) { return a->compile(d, g); }
// static void lg_free_program(const lg_cuda_api *a, lg_cuda_program *p) { a->free_program(p); }
// static const char *lg_run(const lg_cuda_api *a, lg_cuda_program *p) { return a->run(p); }
// static const char *lg_set(const lg_cuda_api *a, lg_cuda *d, struct ggml_tensor *t, void *data, size_t at, size_t n) { return a->set(d, t, data, at, n); }
// static const char *lg_get(const lg_cuda_api *a, lg_cuda *d, struct ggml_tensor *t, void *data, size_t at, size_t n) { return a->get(d, t, data, at, n); }
// static lg_cuda_fetch *lg_fetch(const lg_cuda_api *a, lg_cuda *d, struct ggml_tensor **t, int n) { return a->fetch(d, (const struct ggml_tensor *const *)t, n); }
// static const char *lg_wait(const lg_cuda_api *a, lg_cuda_fetch *f, void *out) { return a->wait(f, out); }
// static const char *lg_copy(const lg_cuda_api *a, lg_cuda *d, struct ggml_tensor *src, lg_cuda *to, struct ggml_tensor *dst) { return a->copy(d, src, to, dst); }
// static const char *lg_synchronize(const lg_cuda_api *a, lg_cuda *d) { return a->synchronize(d); }
import "C"

import (
	"errors"
	"fmt"
	"unsafe"
)

// Source is the module and version that GGML comes from; a CUDA library must be made of the same.
const Source = "github.com/ollama/ollama v0.24.0"

// Library is a loaded libggml-cuda.so.
type Library struct {
	GGML, Build string // what it was made from, and how
	api         *C.lg_cuda_api
}

// LoadLibrary loads libggml-cuda.so. It stays loaded until the program ends, like
// everything that starts CUDA.
func LoadLibrary(path string) (*Library, error) {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	// The library takes GGML's functions from this program, which is linked with -rdynamic for it.
	handle := C.dlopen(name, C.RTLD_NOW|C.RTLD_LOCAL)
	if handle == nil {
		return nil, errors.New(C.GoString(C.dlerror()))
	}
	api := C.lg_api(handle)
	if api == nil {
		return nil, fmt.Errorf("%s is no library of litgpt's", path)
	}
	l := &Library{api: api}
	if api.abi != C.LG_CUDA_ABI {
		return nil, fmt.Errorf("%s is made for another version of litgpt (interface %d, this program has %d); make it again with `make cuda`", path, api.abi, int(C.LG_CUDA_ABI))
	}
	l.GGML, l.Build = C.GoString(api.ggml), C.GoString(api.build)
	if l.GGML != Source || api.tensor != C.size_t(unsafe.Sizeof(C.struct_ggml_tensor{})) {
		return nil, fmt.Errorf("%s is made from GGML of %s, this program from %s; make it again with `make cuda`", path, l.GGML, Source)
	}
	return l, nil
}

// Devices is the number of GPUs that can be used.
func (l *Library) Devices() (int, error) {
	var why *C.char
	n := C.lg_devices(l.api, &why)
	if n < 0 {
		return 0, errors.New(C.GoString(why))
	}
	return int(n), nil
}

// Driver is the version of CUDA that the driver has, e.g. "13.0"; "" without a driver.
func (l *Library) Driver() string {
	v := int(C.lg_driver(l.api))
	if v == 0 {
		return ""
	}
	return fmt.Sprintf("%d.%d", v/1000, v%1000/10)
}

// GPU describes a device.
type GPU struct {
	Name    string
	Compute string // capability, e.g. "9.0"
	Total   int    // bytes of memory
}

// Info describes device i.
func (l *Library) Info(i int) (GPU, bool) {
	var x C.lg_cuda_info
	if !C.lg_info(l.api, C.int(i), &x) {
		return GPU{}, false
	}
	return GPU{C.GoString(&x.name[0]), fmt.Sprintf("%d.%d", x.major, x.minor), int(x.total)}, true
}

// cuda is an open GPU.
type cuda struct {
	api *C.lg_cuda_api
	p   *C.lg_cuda
}

// Open returns the backend of device i. tf32 lets products of float32 run on tensor cores, with 10 bits of mantissa.
func (l *Library) Open(i int, tf32 bool) (*Backend, error) {
	var why *C.char
	p := C.lg_open(l.api, C.int(i), C.bool(tf32), &why)
	if p == nil {
		return nil, errors.New(C.GoString(why))
	}
	b := &Backend{p: C.lg_backend(l.api, p), cuda: &cuda{l.api, p}}
	b.buft = C.ggml_backend_get_default_buffer_type(b.p)
	return b, nil
}

func failure(message *C.char) error {
	if message == nil {
		return nil
	}
	return errors.New(C.GoString(message))
}

func (c *cuda) close() { C.lg_close(c.api, c.p) }

func (c *cuda) supports(t Tensor) bool { return bool(C.lg_supports(c.api, c.p, t.p)) }

// Scratch is how many floats of scratch memory a kernel wants for these operands, as its last one.
func (b *Backend) Scratch(k Kernel, p Params, src ...Tensor) int {
	if b.cuda == nil {
		return 0
	}
	var args [9]*C.struct_ggml_tensor
	for i, s := range src {
		args[i] = s.p
	}
	params := C.lg_params{}
	*(*Params)(unsafe.Pointer(&params)) = p
	return int(C.lg_scratch(b.cuda.api, C.int(k), &args[0], unsafe.Pointer(&params)))
}

func (c *cuda) set(t Tensor, data []byte, offset int) error {
	return failure(C.lg_set(c.api, c.p, t.p, unsafe.Pointer(&data[0]), C.size_t(offset), C.size_t(len(data))))
}

func (c *cuda) get(t Tensor, data []byte, offset int) error {
	return failure(C.lg_get(c.api, c.p, t.p, unsafe.Pointer(&data[0]), C.size_t(offset), C.size_t(len(data))))
}

func (c *cuda) synchronize() error { return failure(C.lg_synchronize(c.api, c.p)) }

// Memory is the device's free and total memory in bytes; a CPU backend does not know it.
func (b *Backend) Memory() (free, total int) {
	if b.cuda == nil {
		return 0, 0
	}
	var f, t C.size_t
	C.lg_memory(b.cuda.api, b.cuda.p, &f, &t)
	return int(f), int(t)
}

// cudaProgram is a planned graph as the library runs it.
type cudaProgram struct {
	api *C.lg_cuda_api
	p   *C.lg_cuda_program
}

func (c *cuda) compile(g *Graph) *cudaProgram {
	p := C.lg_compile(c.api, c.p, g.p)
	if p == nil {
		return nil
	}
	return &cudaProgram{c.api, p}
}

func (p *cudaProgram) run() error { return failure(C.lg_run(p.api, p.p)) }

func (p *cudaProgram) free() { C.lg_free_program(p.api, p.p) }

// Fetch is the contents of tensors on their way to the host.
type Fetch struct {
	b    *Backend
	p    *C.lg_cuda_fetch
	size int
}

// Fetch queues copies of whole tensors to the host. On the CPU there is no need for it.
func (b *Backend) Fetch(ts []Tensor) *Fetch {
	f := &Fetch{b: b}
	args := make([]*C.struct_ggml_tensor, len(ts))
	for i, t := range ts {
		args[i] = t.p
		f.size += t.Bytes()
	}
	if f.p = C.lg_fetch(b.cuda.api, b.cuda.p, &args[0], C.int(len(ts))); f.p == nil {
		b.note(errors.New("values cannot be brought to the host: there is no memory for them, or the device has failed"))
	}
	return f
}

// Wait gives the tensors' bytes, one after the other, once they are there. It is called once.
func (f *Fetch) Wait() ([]byte, error) {
	out := make([]byte, f.size)
	if f.p != nil {
		f.b.note(failure(C.lg_wait(f.b.cuda.api, f.p, unsafe.Pointer(&out[0]))))
	}
	return out, f.b.err
}

// Copy queues a copy of src, on b, to dst of the same size on another GPU of the same library.
func (b *Backend) Copy(src Tensor, to *Backend, dst Tensor) {
	b.note(failure(C.lg_copy(b.cuda.api, b.cuda.p, src.p, to.cuda.p, dst.p)))
}
