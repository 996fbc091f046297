package pth

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/litgpt-go/litgpt/internal/safetensors"
)

// alignment is where records begin: torch.load(mmap=True) makes tensors of the file's pages.
const alignment = 64

// Writer writes a file that torch.load(weights_only=True) reads, one tensor at a time:
// nothing but a piece of the tensor at hand has to be in memory, and the file may be
// larger than 4 GiB. The same input gives the same bytes. Not for several goroutines.
type Writer struct {
	out     *counter
	z       *zip.Writer
	root    string
	open    int64 // bytes that the zip writer adds behind the record at hand
	values  []value
	index   map[string]int
	storage int // how many records of data there are
	err     error
}

// value is what the pickle says of a tensor.
type value struct {
	name    string
	dtype   safetensors.DType
	shape   []int
	numel   int
	storage int
}

// NewWriter begins a file called root.pth: torch.save names the directory inside the
// archive so, and takes any name.
func NewWriter(w io.Writer, root string) *Writer {
	out := &counter{w: w}
	return &Writer{out: out, z: zip.NewWriter(out), root: root, index: map[string]int{}}
}

// Write adds a tensor, given as tensors whose Data, one after the other, is its own. Their
// names and shapes do not matter, their types are that of t; t.Data does not either.
func (w *Writer) Write(t safetensors.Tensor, parts []safetensors.Tensor) error {
	return w.WriteFunc(t, func(out io.Writer) error {
		buffer := make([]byte, 1<<20)
		for _, p := range parts {
			for data := p.Data; len(data) > 0; {
				n := min(len(data), len(buffer))
				piece := p
				piece.Data = data[:n]
				if err := piece.CopyTo(buffer[:n]); err != nil { // a fault of mapped memory is an error
					return err
				}
				if _, err := out.Write(buffer[:n]); err != nil {
					return err
				}
				data = data[n:]
			}
		}
		return nil
	})
}

// WriteFunc adds a tensor whose bytes data writes; those of t do not matter.
func (w *Writer) WriteFunc(t safetensors.Tensor, data func(io.Writer) error) error {
	if w.err != nil {
		return w.err
	}
	v, err := w.check(t)
	if err != nil {
		return fmt.Errorf("tensor %s: %w", quote(t.Name), err)
	}
	want := int64(v.numel) * int64(t.DType.Size())
	record, err := w.create(fmt.Sprintf("data/%d", w.storage), uint64(want))
	if err != nil {
		return w.fail(err)
	}
	have := &counter{w: record}
	if err := data(have); err != nil {
		return w.fail(err)
	}
	if have.n != want {
		return w.fail(fmt.Errorf("tensor %s: %d bytes, but %s %v has %d", quote(t.Name), have.n, t.DType, t.Shape, want))
	}
	v.storage = w.storage
	w.storage++
	w.add(v)
	return nil
}

// Share adds the tensor name as another name of one that is written: both are one storage,
// as tied weights are.
func (w *Writer) Share(name, written string) error {
	i, ok := w.index[written]
	if !ok {
		return fmt.Errorf("tensor %s: %s, with which it shares its elements, is not written", quote(name), quote(written))
	}
	v := w.values[i]
	if _, err := w.check(safetensors.Tensor{Name: name, DType: v.dtype, Shape: v.shape}); err != nil {
		return fmt.Errorf("tensor %s: %w", quote(name), err)
	}
	v.name = name
	w.add(v)
	return nil
}

func (w *Writer) add(v value) {
	w.index[v.name] = len(w.values)
	w.values = append(w.values, v)
}

// Close writes what tensors there are, as a dictionary, or, unless key is "", as the value
// of key in a dictionary; LitGPT's own key is "model". It does not close the underlying
// writer. Without it the file is not one.
func (w *Writer) Close(key string) error {
	if w.err != nil {
		return w.err
	}
	p := pickler{globals: map[string]int{}}
	data, err := p.dump(key, w.values)
	if err != nil {
		return err
	}
	for _, r := range []struct {
		name string
		data []byte
	}{{"data.pkl", data}, {"byteorder", []byte("little")}, {"version", []byte("3\n")}} {
		record, err := w.create(r.name, uint64(len(r.data)))
		if err == nil {
			_, err = record.Write(r.data)
		}
		if err != nil {
			return w.fail(err)
		}
	}
	if err := w.z.Close(); err != nil {
		return w.fail(err)
	}
	w.err = errors.New("the file is closed")
	return nil
}

func (w *Writer) fail(err error) error {
	w.err = err
	return err
}

// check refuses what could not be read back.
func (w *Writer) check(t safetensors.Tensor) (value, error) {
	v := value{name: t.Name, dtype: t.DType, shape: slices.Clone(t.Shape), numel: 1}
	_, again := w.index[t.Name]
	switch {
	case again:
		return v, errors.New("is written already")
	case len(t.Name) > maxName || !utf8.ValidString(t.Name):
		return v, fmt.Errorf("its name is not valid Unicode of at most %d bytes", maxName)
	case classes[t.DType] == "":
		return v, fmt.Errorf("elements of type %s cannot be stored in a PyTorch file; convert them to F32, F16 or BF16", quote(string(t.DType)))
	case len(t.Shape) > maxRank:
		return v, fmt.Errorf("%d dimensions, want at most %d", len(t.Shape), maxRank)
	}
	for _, d := range t.Shape {
		if d < 0 || d > 0 && v.numel > (1<<56)/d {
			return v, fmt.Errorf("shape %v is not one", t.Shape)
		}
		v.numel *= d
	}
	return v, nil
}

// create begins a record, not compressed, whose data begins at a multiple of alignment:
// the header is padded with an extra field, as torch.save does.
func (w *Writer) create(name string, size uint64) (io.Writer, error) {
	if err := w.z.Flush(); err != nil {
		return nil, err
	}
	h := &zip.FileHeader{Name: w.root + "/" + name, Method: zip.Store}
	const header, field = 30, 4 // bytes of a local header, and of an empty extra field
	pad := -(w.out.n + w.open + header + field + int64(len(h.Name))) & (alignment - 1)
	h.Extra = binary.LittleEndian.AppendUint16([]byte("FB"), uint16(pad))
	h.Extra = append(h.Extra, bytes.Repeat([]byte{'Z'}, int(pad))...)
	// Behind a record come its checksum and sizes, which are longer from 4 GiB on.
	if w.open = 16; size >= math.MaxUint32 {
		w.open = 24
	}
	return w.z.CreateHeader(h)
}

// counter counts the bytes written.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// classes are the storages' classes by type.
var classes = func() map[safetensors.DType]string {
	m := map[safetensors.DType]string{}
	for class, dtype := range storages {
		if dtype != "" {
			m[dtype] = class
		}
	}
	return m
}()

// pickler writes the one pickle that Close needs, in protocol 2, which every PyTorch reads.
type pickler struct {
	bytes.Buffer
	globals map[string]int // their places in the memo
}

func (p *pickler) dump(key string, values []value) ([]byte, error) {
	p.WriteString("\x80\x02")
	if key != "" {
		p.WriteString("}")
		p.text(key)
	}
	p.WriteString("}(")
	for _, v := range values {
		p.text(v.name)
		p.global("torch._utils", "_rebuild_tensor_v2")
		p.WriteString("((") // the arguments; the persistent id
		p.text("storage")
		p.global("torch", classes[v.dtype][len("torch."):])
		p.text(fmt.Sprint(v.storage))
		p.text("cpu")
		p.integer(v.numel)
		p.WriteString("tQ")
		p.integer(0)
		stride := make([]int, len(v.shape))
		for i, n := len(stride)-1, 1; i >= 0; i-- {
			stride[i] = n
			n *= max(v.shape[i], 1)
		}
		for _, list := range [][]int{v.shape, stride} {
			p.WriteByte('(')
			for _, n := range list {
				p.integer(n)
			}
			p.WriteByte('t')
		}
		p.WriteByte(0x89) // requires_grad
		p.global("collections", "OrderedDict")
		p.WriteString(")RtR")
	}
	p.WriteByte('u')
	if key != "" {
		p.WriteByte('s')
	}
	p.WriteByte('.')
	if p.Len() > maxPickle {
		return nil, fmt.Errorf("%d tensors are more than one PyTorch file holds", len(values))
	}
	return p.Bytes(), nil
}

func (p *pickler) text(s string) {
	p.WriteByte('X')
	p.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(s))))
	p.WriteString(s)
}

// integer writes a number that is not negative.
func (p *pickler) integer(n int) {
	if n < 1<<31 {
		p.WriteByte('J')
		p.Write(binary.LittleEndian.AppendUint32(nil, uint32(n)))
		return
	}
	p.WriteString("\x8a\x08") // LONG1
	p.Write(binary.LittleEndian.AppendUint64(nil, uint64(n)))
}

// global names something of Python's, the first time by its name.
func (p *pickler) global(module, name string) {
	full := module + "." + name
	if i, ok := p.globals[full]; ok {
		p.Write([]byte{'h', byte(i)})
		return
	}
	i := len(p.globals)
	p.globals[full] = i
	p.WriteString("c" + module + "\n" + name + "\n")
	p.Write([]byte{'q', byte(i)})
}
