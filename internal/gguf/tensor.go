package gguf

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/litgpt-go/litgpt/internal/mmap"
)

// Type is the number GGML gives the layout of a tensor's elements.
type Type uint32

// The types whose elements are numbers of their own.
const (
	F32  Type = 0
	F16  Type = 1
	I8   Type = 24
	I16  Type = 25
	I32  Type = 26
	I64  Type = 27
	F64  Type = 28
	BF16 Type = 30
)

// layouts are GGML's types by number: a row is a whole number of blocks of elems
// elements in size bytes (ggml-common.h, the static_asserts beside each struct).
// Numbers that are missing were given up: 4, 5 in 2023, 31 to 33 and 36 to 38 in 2024.
var layouts = map[Type]struct {
	name        string
	elems, size int
}{
	F32: {"F32", 1, 4}, F16: {"F16", 1, 2}, BF16: {"BF16", 1, 2}, F64: {"F64", 1, 8},
	I8: {"I8", 1, 1}, I16: {"I16", 1, 2}, I32: {"I32", 1, 4}, I64: {"I64", 1, 8},
	2: {"Q4_0", 32, 18}, 3: {"Q4_1", 32, 20}, 6: {"Q5_0", 32, 22}, 7: {"Q5_1", 32, 24},
	8: {"Q8_0", 32, 34}, 9: {"Q8_1", 32, 36},
	10: {"Q2_K", 256, 84}, 11: {"Q3_K", 256, 110}, 12: {"Q4_K", 256, 144}, 13: {"Q5_K", 256, 176},
	14: {"Q6_K", 256, 210}, 15: {"Q8_K", 256, 292},
	16: {"IQ2_XXS", 256, 66}, 17: {"IQ2_XS", 256, 74}, 18: {"IQ3_XXS", 256, 98}, 19: {"IQ1_S", 256, 50},
	20: {"IQ4_NL", 32, 18}, 21: {"IQ3_S", 256, 110}, 22: {"IQ2_S", 256, 82}, 23: {"IQ4_XS", 256, 136},
	29: {"IQ1_M", 256, 56}, 34: {"TQ1_0", 256, 54}, 35: {"TQ2_0", 256, 66},
	39: {"MXFP4", 32, 17}, 40: {"NVFP4", 64, 36}, 41: {"Q1_0", 128, 18}, 42: {"Q2_0", 64, 18},
}

// String is GGML's name, or the number of a type we do not know.
func (t Type) String() string {
	if l, ok := layouts[t]; ok {
		return l.name
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// Block is the number of elements and of bytes that go together, 0 and 0 for a
// type we do not know.
func (t Type) Block() (elems, size int) {
	l := layouts[t]
	return l.elems, l.size
}

// Tensor is a named array.
type Tensor struct {
	Name string
	Type Type

	// Shape is row-major, the contiguous dimension last: (out, in) for a linear
	// weight, as in safetensors. The file has it the other way round.
	Shape []int

	// Data has as many bytes as Type and Shape say. It may alias a read-only mapping
	// (see the package comment). It begins at a multiple of the file's alignment,
	// which is 32 unless the file says otherwise.
	Data []byte

	path string // the file Data is mapped from, for errors
}

// CopyTo copies Data to dst, which must have the same length. It is an error, not a
// crash, when the file was truncated while it was mapped, or was closed. For a part
// of a tensor set Data of a copy of t to a part of Data.
func (t Tensor) CopyTo(dst []byte) error {
	err := fmt.Errorf("%d bytes do not fit a buffer of %d bytes", len(t.Data), len(dst))
	if len(dst) == len(t.Data) {
		err = mmap.Guard(t.Data, func() error {
			copy(dst, t.Data)
			return nil
		})
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("tensor %s: %w", quote(t.Name), err)
	if t.path != "" {
		err = fmt.Errorf("%s: %w", t.path, err)
	}
	return err
}

// Names lists the tensors in the order of the header.
func (f *File) Names() []string {
	names := make([]string, len(f.head.tensors))
	for i := range f.head.tensors {
		names[i] = f.head.tensors[i].name
	}
	return names
}

// Tensor gives the tensor called name. Its Data aliases the file and is valid until
// Close. On a closed file there are none.
func (f *File) Tensor(name string) (Tensor, bool) {
	i, ok := f.head.byName[name]
	if !ok || f.mapped == nil {
		return Tensor{}, false
	}
	e := &f.head.tensors[i]
	begin := f.head.start + int(e.offset)
	return Tensor{
		Name: e.name, Type: e.typ, Shape: e.shape(),
		Data: f.mapped[begin : begin+e.size : begin+e.size], path: f.path,
	}, true
}

// tensorInfo is the description of a tensor. offset counts from the start of the
// data, dims has the contiguous dimension first.
type tensorInfo struct {
	name   string
	typ    Type
	rank   int
	dims   [maxRank]uint64
	offset uint64
	size   int // bytes
}

func (e *tensorInfo) shape() []int {
	shape := make([]int, e.rank)
	for i := range shape {
		shape[i] = int(e.dims[e.rank-1-i])
	}
	return shape
}

// setSize checks type and dims against each other.
func (e *tensorInfo) setSize() error {
	layout, ok := layouts[e.typ]
	if !ok {
		return fmt.Errorf("%v is none that this program knows; it was given up, or is newer than the program", e.typ)
	}
	n := uint64(1)
	for _, d := range e.dims[:e.rank] {
		hi, lo := bits.Mul64(n, d)
		if d == 0 {
			return errors.New("has a dimension of 0")
		}
		if hi != 0 || lo > math.MaxInt64 {
			return errors.New("has more elements than 63 bits can count")
		}
		n = lo
	}
	row := uint64(1) // a scalar has one element
	if e.rank > 0 {
		row = e.dims[0]
	}
	if row%uint64(layout.elems) != 0 {
		return fmt.Errorf("a row of %d elements is no whole number of blocks of %d, which %v has", row, layout.elems, e.typ)
	}
	hi, size := bits.Mul64(n/uint64(layout.elems), uint64(layout.size))
	if hi != 0 || size > math.MaxInt {
		return errors.New("has more bytes than 63 bits can count")
	}
	e.size = int(size)
	return nil
}

// checkLayout refuses tensors outside the data, of size bytes, and overlaps.
func checkLayout(tensors []tensorInfo, size int) error {
	order := make([]*tensorInfo, len(tensors))
	for i := range tensors {
		e := &tensors[i]
		if e.offset > uint64(size) || uint64(e.size) > uint64(size)-e.offset {
			return fmt.Errorf("tensor %s: its %d bytes at offset %d end behind the file's %d bytes of data; "+
				"the file is truncated, download it again", quote(e.name), e.size, e.offset, size)
		}
		order[i] = e
	}
	slices.SortStableFunc(order, func(a, b *tensorInfo) int {
		if a.offset < b.offset {
			return -1
		}
		if a.offset > b.offset {
			return 1
		}
		return 0
	})
	for i := 1; i < len(order); i++ {
		a, b := order[i-1], order[i]
		if b.offset-a.offset < uint64(a.size) {
			return fmt.Errorf("tensor %s at offset %d begins within %s, which has %d bytes at %d",
				quote(b.name), b.offset, quote(a.name), a.size, a.offset)
		}
	}
	return nil
}
