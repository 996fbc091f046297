package tensor

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"github.com/litgpt-go/litgpt/internal/ggml"
)

// Device computes programs and holds weights.
type Device struct {
	Name    string // "cpu", "cuda:0"
	Threads int    // of the CPU
	Note    string // why "auto" found no GPU, in one line; else empty

	b     *ggml.Backend
	lower func(p *Program, t *Tensor, src []ggml.Tensor) ggml.Tensor
	group *group // set when the device is several

	dequantized DType // of quantized matrices in products on a GPU, see [Device.Dequantize]

	planning bool // counts memory and has none, see [Device.Plan]
	used     ledger
}

// Options are the choices in opening a device.
type Options struct {
	Threads int  // of the CPU; 0 for one per processor
	TF32    bool // on a GPU, products of float32 run on tensor cores, with 10 bits of mantissa
}

// Open returns the named device: "cpu"; "cuda" or "cuda:1", a GPU by its number;
// "auto" or "" is the first GPU if there is one that works, and else the CPU.
func Open(name string, o Options) (*Device, error) {
	kind, number, numbered := strings.Cut(name, ":")
	index, err := 0, error(nil)
	if numbered {
		if index, err = strconv.Atoi(number); err != nil || index < 0 || kind != "cuda" {
			return nil, fmt.Errorf("device %q: cpu, cuda, cuda:0, cuda:1 … or auto wanted", name)
		}
	}
	switch kind {
	case "cpu":
		return openCPU(o.Threads)
	case "cuda":
		return openCUDA(index, o)
	case "", "auto":
		gpu, err := openCUDA(0, o)
		if err == nil {
			return gpu, nil
		}
		d, cpuErr := openCPU(o.Threads)
		if cpuErr == nil {
			d.Note = err.Error()
		}
		return d, cpuErr
	}
	return nil, fmt.Errorf("device %q: cpu, cuda, cuda:0, cuda:1 … or auto wanted", name)
}

func openCPU(threads int) (*Device, error) {
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
	return &Device{Name: "cpu", Threads: threads, b: b, lower: lowerCPU}, nil
}

// Close releases the device. Weights and programs on it must be closed before.
func (d *Device) Close() {
	switch {
	case d.group != nil:
		d.group.close()
	case !d.planning: // a twin shares its device's backend
		d.b.Free()
	}
}

// storage is the memory of one weight.
type storage struct {
	dev  *Device
	ctx  *ggml.Context
	t    ggml.Tensor
	buf  ggml.Buffer
	keep []byte // host memory the weight is mapped from
	use  Use    // what the ledger has of it
}

// Alloc gives a weight memory of its own, with undefined contents. Earlier memory is released.
func (d *Device) Alloc(t *Tensor, dtype DType) error {
	if !t.IsWeight() {
		fail(OpLeaf, "storage for a node of a graph")
	}
	if err := dtype.fits(t); err != nil {
		return err
	}
	if d.group != nil {
		d = d.group.member(t.Name)
	}
	s := &storage{dev: d, ctx: ggml.NewContext(1, 0)}
	s.t = s.ctx.New(dtypes[dtype].ggml, ne(t.shape))
	size := d.bufferSize(d.b.Size(s.t))
	s.use = Use{Bytes: size}
	if !d.planning {
		var ok bool
		if s.buf, ok = d.b.Alloc(size); !ok {
			s.ctx.Free()
			return fmt.Errorf("%s: not enough memory on %s for %d MiB", t.Name, d.Name, size>>20)
		}
	}
	t.attach(s, dtype, 0)
	return nil
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
	if p%uintptr(dtypes[dtype].align) != 0 || d.Async() {
		if err := d.Alloc(t, dtype); err != nil {
			return err
		}
		t.SetBytes(data)
		return nil
	}
	use := Use{Mapped: len(data)}
	// GGML wants an aligned base; the tensor itself may begin anywhere in the buffer.
	off := int(p % 64)
	s := &storage{dev: d, ctx: ggml.NewContext(1, 0), keep: data, use: use}
	s.t = s.ctx.New(dtypes[dtype].ggml, ne(t.shape))
	if !d.planning {
		s.buf = d.b.Wrap(unsafe.Add(unsafe.Pointer(&data[0]), -off), len(data)+off+64)
	}
	t.attach(s, dtype, off)
	return nil
}

// fits reports rows that are no whole number of blocks.
func (d DType) fits(t *Tensor) error {
	if t.Dim(-1)%d.Block() != 0 {
		return fmt.Errorf("%s: %v is stored in blocks of %d; rows of %d elements are no multiple of that", t.Name, d, d.Block(), t.Dim(-1))
	}
	return nil
}

// attach gives t the memory at offset of s's buffer.
func (t *Tensor) attach(s *storage, dtype DType, offset int) {
	t.Free()
	if s.dev.planning {
		s.t.Pretend()
	} else {
		s.buf.Place(s.t, offset)
	}
	s.use = s.dev.used.add(s.use)
	t.store, t.dtype = s, dtype
}

// Free releases a weight's memory.
func (t *Tensor) Free() {
	if s := t.store; s != nil {
		if !s.dev.planning {
			s.buf.Free()
		}
		s.dev.used.remove(s.use)
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
	if t.store.dev.planning {
		fail(OpLeaf, "weight %q has no value on a planning device", t.Name)
	}
	t.store.dev.b.Get(t.store.t, out, offset)
}

// Err reports what has failed on the weight's device so far, such as reading it: what
// was read is worth nothing then. Who keeps values asks before it says that they are kept.
func (t *Tensor) Err() error {
	if t.store == nil {
		return nil
	}
	if err := t.store.dev.b.Err(); err != nil {
		return fmt.Errorf("%s: %w", t.store.dev.Name, err)
	}
	return nil
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
	if !t.store.dev.planning {
		t.store.dev.b.Set(t.store.t, data, offset)
	}
}
