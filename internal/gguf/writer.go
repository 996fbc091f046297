package gguf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"unicode/utf8"
)

// KV is one value of the metadata. Value is one of uint8, int8, uint16, int16, uint32,
// int32, uint64, int64, float32, float64, bool, string, or a slice of one of them.
// Programs want the types that llama.cpp writes: uint32 for sizes, float32 for numbers.
type KV struct {
	Key   string
	Value any
}

// Info describes a tensor to be written. Shape is row-major, as that of Tensor.
type Info struct {
	Name  string
	Type  Type
	Shape []int
}

// Bytes is the size of the tensor's data.
func (i Info) Bytes() (int, error) {
	e, err := i.entry()
	return e.size, err
}

// entry checks the description as the reader does.
func (i Info) entry() (tensorInfo, error) {
	e := tensorInfo{name: i.Name, typ: i.Type, rank: len(i.Shape)}
	if err := checkName(i.Name); err != nil {
		return e, fmt.Errorf("tensor %s: name %w", quote(i.Name), err)
	}
	if len(i.Shape) > maxRank {
		return e, fmt.Errorf("tensor %s: %d dimensions, want at most %d", quote(i.Name), len(i.Shape), maxRank)
	}
	for d, n := range i.Shape {
		e.dims[len(i.Shape)-1-d] = uint64(max(n, 0)) // setSize refuses 0
	}
	if err := e.setSize(); err != nil {
		return e, fmt.Errorf("tensor %s: %w", quote(i.Name), err)
	}
	return e, nil
}

func checkName(name string) error {
	if len(name) == 0 || len(name) > maxName {
		return fmt.Errorf("has %d bytes, want 1 to %d", len(name), maxName)
	}
	if !utf8.ValidString(name) {
		return errors.New("is not UTF-8")
	}
	return nil
}

// Writer writes one file. Metadata and descriptions of the tensors go first, then
// their data, in the same order and in pieces of any length: nothing but the piece
// at hand has to be in memory. Not for several goroutines.
type Writer struct {
	w       io.Writer
	tensors []tensorInfo
	align   int
	next    int // index into tensors
	at      int // bytes of it that are written
	err     error
}

// NewWriter writes the header of version 3 to w: the metadata in the order given, and
// the tensors. general.alignment, a uint32, is obeyed when meta has it; else it is 32.
// The same input gives the same bytes.
func NewWriter(w io.Writer, meta []KV, tensors []Info) (*Writer, error) {
	out := &Writer{w: w, align: defaultAlignment}
	b := append([]byte(magic), 3, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(tensors)))
	b = binary.LittleEndian.AppendUint64(b, uint64(len(meta)))
	if len(meta) > maxKeys || len(tensors) > maxTensors {
		return nil, fmt.Errorf("%d metadata keys and %d tensors, want at most %d and %d", len(meta), len(tensors), maxKeys, maxTensors)
	}
	seen := map[string]bool{}
	for _, kv := range meta {
		if err := checkName(kv.Key); err != nil {
			return nil, fmt.Errorf("metadata %s: key %w", quote(kv.Key), err)
		}
		if seen[kv.Key] {
			return nil, fmt.Errorf("metadata has the key %s twice", quote(kv.Key))
		}
		seen[kv.Key] = true
		b = appendString(b, kv.Key)
		var err error
		if b, err = appendValue(b, kv.Value); err != nil {
			return nil, fmt.Errorf("metadata %s: %w", quote(kv.Key), err)
		}
		if kv.Key == alignmentKey {
			n, ok := kv.Value.(uint32)
			if !ok || n == 0 || n&(n-1) != 0 || n%8 != 0 || n > maxAlignment {
				return nil, fmt.Errorf("metadata %s: is %v, want a uint32, a power of two from 8 to %d", alignmentKey, kv.Value, maxAlignment)
			}
			out.align = int(n)
		}
	}
	names, offset := map[string]bool{}, uint64(0)
	for _, t := range tensors {
		e, err := t.entry()
		if err != nil {
			return nil, err
		}
		if names[t.Name] {
			return nil, fmt.Errorf("tensor %s is there twice", quote(t.Name))
		}
		names[t.Name] = true
		e.offset = offset
		if uint64(e.size) > math.MaxInt64-offset-uint64(out.align) {
			return nil, errors.New("the tensors have more bytes than 63 bits can count")
		}
		offset += uint64(e.size + out.padding(e.size))
		b = appendString(b, e.name)
		b = binary.LittleEndian.AppendUint32(b, uint32(e.rank))
		for _, d := range e.dims[:e.rank] {
			b = binary.LittleEndian.AppendUint64(b, d)
		}
		b = binary.LittleEndian.AppendUint32(b, uint32(e.typ))
		b = binary.LittleEndian.AppendUint64(b, e.offset)
		out.tensors = append(out.tensors, e)
	}
	b = append(b, make([]byte, out.padding(len(b)))...)
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	return out, nil
}

// padding is how many bytes go from n to the next multiple of the alignment.
func (w *Writer) padding(n int) int { return (w.align - n%w.align) % w.align }

// Next is the tensor that the next bytes belong to, and how many of its bytes are
// written; ok is false when all are whole.
func (w *Writer) Next() (name string, at int, ok bool) {
	if w.next == len(w.tensors) {
		return "", 0, false
	}
	return w.tensors[w.next].name, w.at, true
}

// Write writes the next bytes of the data. A call may end one tensor and begin the
// next; padding is added by itself.
func (w *Writer) Write(p []byte) (n int, err error) {
	for len(p) > 0 && w.err == nil {
		if w.next == len(w.tensors) {
			return n, fmt.Errorf("%d bytes more than the %d tensors of the header have", len(p), len(w.tensors))
		}
		t := &w.tensors[w.next]
		part := p[:min(len(p), t.size-w.at)]
		if _, err := w.w.Write(part); err != nil {
			w.err = fmt.Errorf("tensor %s: %w", quote(t.name), err)
			break
		}
		n, p, w.at = n+len(part), p[len(part):], w.at+len(part)
		if w.at == t.size {
			w.next, w.at = w.next+1, 0
			if _, err := w.w.Write(make([]byte, w.padding(t.size))); err != nil {
				w.err = fmt.Errorf("tensor %s: %w", quote(t.name), err)
			}
		}
	}
	return n, w.err
}

// Close says whether the file is whole: an error of an earlier Write, or one that
// names the first tensor that is missing. It does not close the underlying writer.
func (w *Writer) Close() error {
	if w.err == nil && w.next < len(w.tensors) {
		t := w.tensors[w.next]
		return fmt.Errorf("tensor %s: %d of its %d bytes are written, and nothing of the %d after it", quote(t.name), w.at, t.size, len(w.tensors)-w.next-1)
	}
	return w.err
}

func appendString(b []byte, s string) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(len(s)))
	return append(b, s...)
}

// appendValue appends the type of a value and the value. Strings need not be UTF-8:
// tokens are bytes.
func appendValue(b []byte, v any) ([]byte, error) {
	kind := func(k Kind) { b = binary.LittleEndian.AppendUint32(b, uint32(k)) }
	head := func(k Kind, n int) {
		kind(Array)
		kind(k)
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	switch v := v.(type) {
	case string:
		kind(String)
		return appendString(b, v), nil
	case []string:
		head(String, len(v))
		for _, s := range v {
			b = appendString(b, s)
		}
		return b, nil
	}
	for _, k := range []struct {
		kind  Kind
		one   func() bool
		slice func() (int, bool)
	}{
		{Uint8, is[uint8](v), many[uint8](v)}, {Int8, is[int8](v), many[int8](v)},
		{Uint16, is[uint16](v), many[uint16](v)}, {Int16, is[int16](v), many[int16](v)},
		{Uint32, is[uint32](v), many[uint32](v)}, {Int32, is[int32](v), many[int32](v)},
		{Uint64, is[uint64](v), many[uint64](v)}, {Int64, is[int64](v), many[int64](v)},
		{Float32, is[float32](v), many[float32](v)}, {Float64, is[float64](v), many[float64](v)},
		{Bool, is[bool](v), many[bool](v)},
	} {
		if k.one() {
			kind(k.kind)
			return binary.Append(b, binary.LittleEndian, v)
		}
		if n, ok := k.slice(); ok {
			head(k.kind, n)
			return binary.Append(b, binary.LittleEndian, v)
		}
	}
	return nil, fmt.Errorf("value of type %T, which the format does not have", v)
}

func is[T any](v any) func() bool { return func() bool { _, ok := v.(T); return ok } }

func many[T any](v any) func() (int, bool) {
	return func() (int, bool) { s, ok := v.([]T); return len(s), ok }
}

// TypeByName is the type that GGML calls name ("Q4_K"), and that safetensors calls so
// where it is a number ("BF16").
func TypeByName(name string) (Type, bool) {
	for t, l := range layouts {
		if l.name == name {
			return t, true
		}
	}
	return 0, false
}

// SetKV replaces the values of meta that set has, in their places, and appends the others.
func SetKV(meta []KV, set ...KV) []KV {
	meta = slices.Clone(meta)
	for _, kv := range set {
		if i := slices.IndexFunc(meta, func(m KV) bool { return m.Key == kv.Key }); i >= 0 {
			meta[i] = kv
			continue
		}
		meta = append(meta, kv)
	}
	return meta
}
