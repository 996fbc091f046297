package tensor

import (
	"fmt"
	"runtime"
	"unsafe"

	"github.com/litgpt-go/litgpt/internal/ggml"
)

// Device computes programs and holds weights.
type Device struct {
	Name    string // "cpu"
	Threads int
	b       *ggml.Backend
}

// Open returns the named device; for now "cpu", which "auto" and "" also mean.
// threads 0 means one per processor.
func Open(name string, threads int) (*Device, error) {
	switch name {
	case "", "auto", "cpu":
	default:
		return nil, fmt.Errorf("device %q: this program was built for the CPU only; use --device cpu", name)
	}
	if threads <= 0 {
		threads = runtime.NumCPU()
	}
	if threads > 512 {
		return nil, fmt.Errorf("%d threads: at most 512", threads)
	}
	b := ggml.NewCPU(threads)
	if b == nil {
		return nil, fmt.Errorf("device cpu: not enough memory for the backend")
	}
	return &Device{Name: "cpu", Threads: threads, b: b}, nil
}

// Close releases the device. Weights and programs on it must be closed before.
func (d *Device) Close() { d.b.Free() }

// storage is the memory of one weight.
type storage struct {
	dev  *Device
	ctx  *ggml.Context
	t    ggml.Tensor
	buf  ggml.Buffer
	keep []byte // host memory the weight is mapped from
}

var ggmlTypes = [...]ggml.Type{F32: ggml.F32, F16: ggml.F16, BF16: ggml.BF16, I32: ggml.I32, Q8_0: ggml.Q8_0}

// Alloc gives a weight memory of its own, with undefined contents. Earlier memory is released.
func (d *Device) Alloc(t *Tensor, dtype DType) error {
	if !t.IsWeight() {
		fail(OpLeaf, "storage for a node of a graph")
	}
	if err := dtype.fits(t); err != nil {
		return err
	}
	n := dtype.Bytes(t.Numel())
	buf, ok := d.b.Alloc(n + 64)
	if !ok {
		return fmt.Errorf("%s: not enough memory on %s for %d MiB", t.Name, d.Name, n>>20)
	}
	return d.attach(t, dtype, buf, 0, nil)
}

// Map lets a weight use data (row-major, little-endian, never written) in place
// if the device can; otherwise the data is copied. data must outlive the weight.
func (d *Device) Map(t *Tensor, dtype DType, data []byte) error {
	if err := dtype.fits(t); err != nil {
		return err
	}
	if len(data) != dtype.Bytes(t.Numel()) {
		return fmt.Errorf("%s: %d bytes for %v %v", t.Name, len(data), dtype, t.shape)
	}
	p := uintptr(unsafe.Pointer(&data[0]))
	if p%uintptr(dtypes[dtype].align) != 0 {
		if err := d.Alloc(t, dtype); err != nil {
			return err
		}
		t.SetBytes(data)
		return nil
	}
	// GGML wants an aligned base; the tensor itself may begin anywhere in the buffer.
	off := int(p % 64)
	return d.attach(t, dtype, d.b.Wrap(unsafe.Add(unsafe.Pointer(&data[0]), -off), len(data)+off+64), off, data)
}

// fits reports rows that are no whole number of blocks.
func (d DType) fits(t *Tensor) error {
	if t.Dim(-1)%d.Block() != 0 {
		return fmt.Errorf("%s: %v is stored in blocks of %d; rows of %d elements are no multiple of that", t.Name, d, d.Block(), t.Dim(-1))
	}
	return nil
}

func (d *Device) attach(t *Tensor, dtype DType, buf ggml.Buffer, off int, keep []byte) error {
	t.Free()
	ctx := ggml.NewContext(1, 0)
	s := &storage{dev: d, ctx: ctx, t: ctx.New(ggmlTypes[dtype], ne(t.shape)), buf: buf, keep: keep}
	buf.Place(s.t, off)
	t.store, t.dtype = s, dtype
	return nil
}

// Free releases a weight's memory.
func (t *Tensor) Free() {
	if s := t.store; s != nil {
		s.buf.Free()
		s.ctx.Free()
		t.store = nil
	}
}

// Loaded reports whether a weight has memory.
func (t *Tensor) Loaded() bool { return t.store != nil }

// Bytes copies the value of a weight, row-major and little-endian.
func (t *Tensor) Bytes() []byte {
	out := make([]byte, t.dtype.Bytes(t.Numel()))
	t.ReadBytes(out, 0)
	return out
}

// ReadBytes copies len(out) bytes of a weight's value from offset on.
func (t *Tensor) ReadBytes(out []byte, offset int) {
	if t.store == nil {
		fail(OpLeaf, "weight %q has no storage", t.Name)
	}
	if offset < 0 || offset+len(out) > t.dtype.Bytes(t.Numel()) {
		fail(OpLeaf, "weight %q: %d bytes at %d of %v %v", t.Name, len(out), offset, t.dtype, t.shape)
	}
	t.store.t.Get(out, offset)
}

// SetBytes sets the value of a weight that has memory of its own.
func (t *Tensor) SetBytes(data []byte) {
	if len(data) != t.dtype.Bytes(t.Numel()) {
		fail(OpLeaf, "weight %q: %d bytes for %v %v", t.Name, len(data), t.dtype, t.shape)
	}
	t.WriteBytes(data, 0)
}

// WriteBytes sets the bytes of a weight from offset on.
func (t *Tensor) WriteBytes(data []byte, offset int) {
	if t.store == nil || offset < 0 || offset+len(data) > t.dtype.Bytes(t.Numel()) {
		fail(OpLeaf, "weight %q: %d bytes at %d for %v %v", t.Name, len(data), offset, t.dtype, t.shape)
	}
	if t.store.keep != nil {
		fail(OpLeaf, "weight %q is mapped from a file and cannot be written", t.Name)
	}
	t.store.t.Set(data, offset)
}
