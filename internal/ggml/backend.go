package ggml

// #include <stdlib.h>
// #include "cggml.h"
// #ifdef __GLIBC__
// #include <malloc.h>
// static void lg_one_heap(void) {
//   mallopt(M_ARENA_MAX, 1);
//   mallopt(M_MMAP_THRESHOLD, 256 << 10);
// }
// #else
// static void lg_one_heap(void) {}
// #endif
// static struct ggml_threadpool *lg_threadpool(int n) {
//   struct ggml_threadpool_params p = ggml_threadpool_params_default(n);
//   return ggml_threadpool_new(&p);
// }
// static void lg_pretend(struct ggml_tensor *t) { t->data = (void *)64; }
import "C"

import (
	"errors"
	"unsafe"
)

// Backend computes graphs on one device.
type Backend struct {
	p    C.ggml_backend_t
	buft C.ggml_backend_buffer_type_t
	pool *C.struct_ggml_threadpool
	cuda *cuda // nil on the CPU
	err  error // the first thing that went wrong where no error is returned
}

// NewCPU returns the CPU backend with its own pool of threads; nil when there is no memory for it.
//
// From then on C's memory is one heap, without what is larger than 256 KiB, which goes back to the system when it is freed: glibc's many, one for every few threads,
// and a bound that moves up to 32 MiB, let a server grow for days (300 bytes a request) as threads and graphs come and go. Nothing here allocates
// so often that threads would wait for each other.
func NewCPU(threads int) *Backend {
	C.lg_one_heap()
	p := C.ggml_backend_cpu_init()
	if p == nil {
		return nil
	}
	b := &Backend{p: p, buft: C.ggml_backend_get_default_buffer_type(p)}
	C.ggml_backend_cpu_set_n_threads(p, C.int(threads))
	if b.pool = C.lg_threadpool(C.int(threads)); b.pool != nil {
		C.ggml_backend_cpu_set_threadpool(p, b.pool)
	}
	return b
}

// Free releases the backend and its threads.
func (b *Backend) Free() {
	if b.cuda != nil {
		b.cuda.close()
		return
	}
	C.ggml_backend_free(b.p)
	if b.pool != nil {
		C.ggml_threadpool_free(b.pool)
	}
}

// Buffer is memory of a device.
type Buffer struct{ p C.ggml_backend_buffer_t }

// Alloc returns a buffer of n bytes, or false.
func (b *Backend) Alloc(n int) (Buffer, bool) {
	p := C.ggml_backend_buft_alloc_buffer(b.buft, C.size_t(n))
	return Buffer{p}, p != nil
}

// Size is what t takes in a buffer, its padding included.
func (b *Backend) Size(t Tensor) int { return int(C.ggml_backend_buft_get_alloc_size(b.buft, t.p)) }

// Set copies data into a tensor; Get copies from it, after all work before. Offsets are in bytes.
// What fails there is reported by the next [Backend.Compute] or [Backend.Wait].
func (b *Backend) Set(t Tensor, data []byte, offset int) {
	if len(data) == 0 {
		return
	}
	if b.cuda != nil {
		b.note(b.cuda.set(t, data, offset))
		return
	}
	C.ggml_backend_tensor_set(t.p, unsafe.Pointer(&data[0]), C.size_t(offset), C.size_t(len(data)))
}

func (b *Backend) Get(t Tensor, data []byte, offset int) {
	if len(data) == 0 {
		return
	}
	if b.cuda != nil {
		b.note(b.cuda.get(t, data, offset))
		return
	}
	C.ggml_backend_tensor_get(t.p, unsafe.Pointer(&data[0]), C.size_t(offset), C.size_t(len(data)))
}

// Err is the first thing that went wrong, also where nothing was returned, as in [Backend.Get].
func (b *Backend) Err() error { return b.err }

func (b *Backend) note(err error) {
	if b.err == nil {
		b.err = err
	}
}

// Async reports whether work runs beside the host.
func (b *Backend) Async() bool { return b.cuda != nil }

// Wait blocks until all work is done.
func (b *Backend) Wait() error {
	if b.cuda != nil {
		b.note(b.cuda.synchronize())
	}
	return b.err
}

// Supports reports whether the backend can compute a node.
func (b *Backend) Supports(t Tensor) bool {
	return b.cuda == nil || b.cuda.supports(t)
}

// Wrap makes a buffer of memory that the caller keeps alive; base must be 64-byte aligned.
func (b *Backend) Wrap(base unsafe.Pointer, n int) Buffer {
	return Buffer{C.ggml_backend_cpu_buffer_from_ptr(base, C.size_t(n))}
}

// Place gives t the memory at offset of the buffer.
func (b Buffer) Place(t Tensor, offset int) {
	C.ggml_backend_tensor_alloc(b.p, t.p, unsafe.Add(C.ggml_backend_buffer_get_base(b.p), offset))
}

// Free releases the buffer (not wrapped memory).
func (b Buffer) Free() { C.ggml_backend_buffer_free(b.p) }

// Graph is a sequence of operations with its scratch memory.
type Graph struct {
	p     *C.struct_ggml_cgraph
	alloc C.ggml_gallocr_t
	cuda  *cudaProgram
}

// NewGraph returns an empty graph of at most n nodes and leaves.
func (c *Context) NewGraph(n int) *Graph {
	return &Graph{p: C.ggml_new_graph_custom(c.p, C.size_t(n), false)}
}

// Expand appends t after everything it needs.
func (g *Graph) Expand(t Tensor) { C.ggml_build_forward_expand(g.p, t.p) }

// Plan allocates all intermediates in one buffer and reports its size in bytes; false means there is not that much memory.
func (g *Graph) Plan(b *Backend) (bytes int, ok bool) {
	g.alloc = C.ggml_gallocr_new(b.buft)
	if !C.ggml_gallocr_reserve(g.alloc, g.p) || !C.ggml_gallocr_alloc_graph(g.alloc, g.p) {
		return 0, false
	}
	return int(C.ggml_gallocr_get_buffer_size(g.alloc, 0)), true
}

// Prepare gets a graph whose nodes have memory ready to be computed; false means there is not enough for it.
func (g *Graph) Prepare(b *Backend) bool {
	if b.cuda != nil {
		g.cuda = b.cuda.compile(g)
		return g.cuda != nil
	}
	return true
}

// Compute runs the graph, and waits for it where the backend is not [Backend.Async].
func (b *Backend) Compute(g *Graph) error {
	if b.err != nil {
		return b.err
	}
	if g.cuda != nil {
		b.note(g.cuda.run())
		return b.err
	}
	if C.ggml_backend_graph_compute(b.p, g.p) != C.GGML_STATUS_SUCCESS {
		return errors.New("GGML's CPU backend failed")
	}
	return nil
}

// Nodes are the operations in their order.
func (g *Graph) Nodes() []Tensor {
	nodes := make([]Tensor, C.ggml_graph_n_nodes(g.p))
	for i := range nodes {
		nodes[i] = Tensor{C.ggml_graph_node(g.p, C.int(i))}
	}
	return nodes
}

// Free releases the scratch memory.
func (g *Graph) Free() {
	if g.cuda != nil {
		g.cuda.free()
		g.cuda = nil
	}
	if g.alloc != nil {
		C.ggml_gallocr_free(g.alloc)
		g.alloc = nil
	}
}

// Features names the vector instructions GGML was compiled with.
func Features() (f []string) {
	for _, x := range []struct {
		name string
		has  C.int
	}{{"avx2", C.ggml_cpu_has_avx2()}, {"fma", C.ggml_cpu_has_fma()}, {"f16c", C.ggml_cpu_has_f16c()},
		{"avx512", C.ggml_cpu_has_avx512()}, {"avx512_bf16", C.ggml_cpu_has_avx512_bf16()}, {"neon", C.ggml_cpu_has_neon()}} {
		if x.has != 0 {
			f = append(f, x.name)
		}
	}
	return f
}

// Alignment is what the sizes and addresses of the backend's buffers are multiples of, in bytes.
func (b *Backend) Alignment() int { return int(C.ggml_backend_buft_get_alignment(b.buft)) }

// Pretend makes t look as if it had memory, for [Graph.Measure]. There is none: nothing may touch it.
func (t Tensor) Pretend() { C.lg_pretend(t.p) }

// Measure is the size in bytes of the buffer that [Graph.Plan] would allocate.
func (g *Graph) Measure(b *Backend) int {
	a := C.ggml_gallocr_new(b.buft)
	defer C.ggml_gallocr_free(a)
	var size C.size_t
	C.ggml_gallocr_reserve_n_size(a, g.p, nil, nil, &size)
	return int(size)
}

// Arena is one buffer for the intermediates of several graphs, of which one is computed at a time.
type Arena struct{ alloc C.ggml_gallocr_t }

// NewArena returns an empty arena of b's memory.
func (b *Backend) NewArena() *Arena { return &Arena{C.ggml_gallocr_new(b.buft)} }

// Size is that of the buffer, in bytes.
func (a *Arena) Size() int { return int(C.ggml_gallocr_get_buffer_size(a.alloc, 0)) }

// Free releases the buffer; no graph in it may be computed any more.
func (a *Arena) Free() { C.ggml_gallocr_free(a.alloc) }

// Reserve makes the buffer large enough for g. When Size differs afterwards it is
// another buffer, and the graphs that were placed in the old one are lost. False
// means there is not that much memory, and then there is no buffer.
func (a *Arena) Reserve(g *Graph) bool { return bool(C.ggml_gallocr_reserve(a.alloc, g.p)) }

// Place gives g's intermediates their memory in the buffer, right after Reserve.
func (a *Arena) Place(g *Graph) bool { return bool(C.ggml_gallocr_alloc_graph(a.alloc, g.p)) }
