// Package safetensors reads and writes the safetensors format: an 8-byte
// little-endian length N, a JSON header of N bytes, then the bytes of the tensors.
//
// Files come from strangers, so a reader believes nothing: the rules are those of
// Hugging Face's own library (known dtypes, sizes that follow from the shapes, no
// holes, no overlaps, no duplicate names, nothing behind the last tensor), and
// what is allocated is bounded by the size of the file, never by a number in it.
// A file that is opened is consistent; values are not looked at.
//
// Start with Open for one file, OpenDir for a checkpoint of one or several shards,
// NewWriter or Write for the way out. The package does not convert dtypes.
//
// # Mapped memory
//
// On Unix a File is a read-only memory mapping, so opening 140 GB costs nothing
// and Tensor.Data is the page cache itself. Two things follow. Writing to Data, or
// reading it after Close, crashes the program. And when another process truncates
// the file while it is mapped, or a network disk goes away, the kernel answers a
// read with SIGBUS, which Go turns into a crash that cannot be recovered; in C
// code it always ends the process. Tensor.CopyTo is the safe way: it copies with
// faults turned into errors. Use it before handing weights to a backend.
package safetensors

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"unsafe"

	"github.com/litgpt-go/litgpt/internal/mmap"
)

// DType is the type of an element as the header spells it.
type DType string

const (
	F64     DType = "F64"
	F32     DType = "F32"
	F16     DType = "F16"
	BF16    DType = "BF16"
	F8_E4M3 DType = "F8_E4M3"
	F8_E5M2 DType = "F8_E5M2"
	I64     DType = "I64"
	I32     DType = "I32"
	I16     DType = "I16"
	I8      DType = "I8"
	U64     DType = "U64"
	U32     DType = "U32"
	U16     DType = "U16"
	U8      DType = "U8"
	BOOL    DType = "BOOL"
)

// dtypes has every dtype we read. The format also knows types smaller than a byte
// (F4, F6_*) and C64; no checkpoint of a family we have uses them.
var dtypes = []struct {
	dtype DType
	size  int // bytes per element
}{
	{F64, 8}, {F32, 4}, {F16, 2}, {BF16, 2}, {F8_E4M3, 1}, {F8_E5M2, 1},
	{I64, 8}, {I32, 4}, {I16, 2}, {I8, 1}, {U64, 8}, {U32, 4}, {U16, 2}, {U8, 1}, {BOOL, 1},
}

// Size is the number of bytes per element, 0 for an unknown dtype.
func (d DType) Size() int {
	for _, t := range dtypes {
		if t.dtype == d {
			return t.size
		}
	}
	return 0
}

// Tensor is a named array, row-major and little-endian.
type Tensor struct {
	Name  string
	DType DType
	Shape []int // empty for a scalar; a 0 among them means no elements

	// Data has as many bytes as DType and Shape say. It may alias a read-only
	// mapping (see the package comment) and may begin at any address, see Aligned.
	Data []byte

	path string // the file Data is mapped from, for errors; "" when it is ordinary memory
}

// Aligned reports whether Data begins at a multiple of the element size, so that
// it may be viewed as a slice of elements. Files whose header is not padded, or
// that mix dtypes, have tensors for which this is false: CopyTo aligned memory.
func (t Tensor) Aligned() bool {
	size := uintptr(max(t.DType.Size(), 1))
	return len(t.Data) == 0 || uintptr(unsafe.Pointer(unsafe.SliceData(t.Data)))%size == 0
}

// CopyTo copies Data to dst, which must have the same length. It is an error,
// not a crash, when the file was truncated while it was mapped, or was closed.
// For a part of a tensor, or to go through it in pieces, set Data of a copy of t to
// a part of Data.
func (t Tensor) CopyTo(dst []byte) error {
	if len(dst) != len(t.Data) {
		return t.errorf("%d bytes do not fit a buffer of %d bytes", len(t.Data), len(dst))
	}
	return t.guard(func() error {
		copy(dst, t.Data)
		return nil
	})
}

// guard runs read, which reads t.Data, with faults turned into errors.
func (t Tensor) guard(read func() error) error {
	var failed error
	if err := mmap.Guard(t.Data, func() error { failed = read(); return nil }); err != nil {
		return t.errorf("%w", err)
	}
	return failed
}

func (t Tensor) errorf(format string, args ...any) error {
	err := fmt.Errorf("tensor %s: "+format, append([]any{quote(t.Name)}, args...)...)
	if t.path != "" {
		err = fmt.Errorf("%s: %w", t.path, err)
	}
	return err
}

// File is an open safetensors file. Its methods may be called by several
// goroutines at once, except Close.
type File struct {
	path    string
	mapped  []byte // the whole file; nil when closed
	header  header
	byName  map[string]int // index into header.entries
	release func([]byte) error
}

// Open opens and checks the file at path. Errors begin with path and say what is
// wrong and what to do; those of the operating system can be unwrapped.
func Open(path string) (*File, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close() // a mapping outlives its descriptor
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, cause(err))
	}
	h, err := parse(f, info.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	mapped, release, err := mmap.Map(f, int(info.Size()))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, cause(err))
	}
	byName := make(map[string]int, len(h.entries))
	for i, e := range h.entries {
		byName[e.Name] = i
	}
	return &File{path: path, mapped: mapped, header: h, byName: byName, release: release}, nil
}

// Names lists the tensors in the order of their data.
func (f *File) Names() []string {
	names := make([]string, len(f.header.entries))
	for i, e := range f.header.entries {
		names[i] = e.Name
	}
	return names
}

// Tensor gives the tensor called name. Its Data aliases the file and is valid until
// Close. On a closed file there are none.
func (f *File) Tensor(name string) (Tensor, bool) {
	i, ok := f.byName[name]
	if !ok || f.mapped == nil {
		return Tensor{}, false
	}
	e := f.header.entries[i]
	begin, end := f.header.start+e.begin, f.header.start+e.end
	return Tensor{
		Name: e.Name, DType: e.DType, Shape: slices.Clone(e.Shape),
		Data: f.mapped[begin:end:end], path: f.path,
	}, true
}

// Metadata is the header's __metadata__, nil when there is none. By convention
// "format" says which framework wrote the file, "pt" for PyTorch.
func (f *File) Metadata() map[string]string { return maps.Clone(f.header.metadata) }

// Close unmaps the file: Data of its tensors must not be read any more.
func (f *File) Close() error {
	if f.mapped == nil {
		return nil
	}
	mapped := f.mapped
	f.mapped = nil
	if err := f.release(mapped); err != nil {
		return fmt.Errorf("%s: close: %w", f.path, err)
	}
	return nil
}

// openRegular opens a file of bytes. It asks first, since opening a named pipe
// would wait for a writer.
func openRegular(path string) (*os.File, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, cause(err)
	case info.IsDir():
		return nil, errors.New("is a directory, want a file")
	case !info.Mode().IsRegular():
		return nil, errors.New("is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, cause(err)
	}
	return f, nil
}

// cause strips the operation and the path that package os adds, since our errors
// begin with the path already.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// quote is %q, shortened: names come from the file.
func quote(name string) string {
	const most = 120
	if len(name) > most {
		return fmt.Sprintf("%q…", strings.ToValidUTF8(name[:most], ""))
	}
	return fmt.Sprintf("%q", name)
}
