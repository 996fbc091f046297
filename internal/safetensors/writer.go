package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"unicode/utf8"
)

// Writer writes one file. The header is written first, so all names, dtypes and
// shapes are given at the start and then the data, one tensor at a time: nothing
// but the tensor at hand has to be in memory. Not for several goroutines.
type Writer struct {
	w     io.Writer
	infos []Info
	next  int   // index into infos
	err   error // of an earlier Write: the file is broken
}

// NewWriter writes the header to w: the tensors in the order given, and metadata,
// which may be nil, with its keys sorted. The same input gives the same bytes. The
// data begins at a multiple of 8, as other readers expect; every tensor is aligned
// if those with larger elements come first, or if all have the same dtype.
func NewWriter(w io.Writer, infos []Info, metadata map[string]string) (*Writer, error) {
	head, err := encodeHeader(infos, metadata)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(head); err != nil {
		return nil, fmt.Errorf("safetensors header: %w", err)
	}
	return &Writer{w: w, infos: slices.Clone(infos)}, nil
}

// Write writes the data of the next tensor, which must be name. Data of a mapped
// Tensor is better given to the package function Write, which survives faults.
func (w *Writer) Write(name string, data []byte) error {
	return w.write(Tensor{Name: name, Data: data})
}

// WriteFunc writes the next tensor, which must be name, in pieces: data writes its bytes.
func (w *Writer) WriteFunc(name string, data func(io.Writer) error) error {
	size, err := w.expect(name)
	if err != nil {
		return err
	}
	have := &counter{w: w.w}
	if w.err = data(have); w.err == nil && have.n != size {
		w.err = fmt.Errorf("tensor %s: %d bytes are written, but it has %d", quote(name), have.n, size)
	}
	w.next++
	return w.err
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

// expect gives the size of the next tensor, which must be name.
func (w *Writer) expect(name string) (int64, error) {
	if w.err != nil {
		return 0, w.err
	}
	if w.next == len(w.infos) {
		return 0, fmt.Errorf("tensor %s: all %d tensors of the header are written", quote(name), len(w.infos))
	}
	want := w.infos[w.next]
	if name != want.Name {
		return 0, fmt.Errorf("tensor %s: want %s, the next one of the header", quote(name), quote(want.Name))
	}
	return want.bytes() // checked by NewWriter
}

func (w *Writer) write(t Tensor) error {
	size, err := w.expect(t.Name)
	if err != nil {
		return err
	}
	want := w.infos[w.next]
	if int64(len(t.Data)) != size {
		return fmt.Errorf("tensor %s: %d bytes, but %s %v has %d", quote(t.Name), len(t.Data), want.DType, want.Shape, size)
	}
	w.err = t.guard(func() error {
		if _, err := w.w.Write(t.Data); err != nil {
			return fmt.Errorf("tensor %s: %w", quote(t.Name), err)
		}
		return nil
	})
	w.next++
	return w.err
}

// Close says whether the file is whole: an error of an earlier Write, or one that
// names the first tensor that is missing. It does not close the underlying writer.
func (w *Writer) Close() error {
	if w.err == nil && w.next < len(w.infos) {
		return fmt.Errorf("tensor %s: not written, nor are the %d after it", quote(w.infos[w.next].Name), len(w.infos)-w.next-1)
	}
	return w.err
}

// Write writes a whole file to w.
func Write(w io.Writer, tensors []Tensor, metadata map[string]string) error {
	infos := make([]Info, len(tensors))
	for i, t := range tensors {
		infos[i] = Info{Name: t.Name, DType: t.DType, Shape: t.Shape}
	}
	out, err := NewWriter(w, infos, metadata)
	if err != nil {
		return err
	}
	for _, t := range tensors {
		if err := out.write(t); err != nil {
			return err
		}
	}
	return out.Close()
}

// encodeHeader is the length and the JSON, padded with spaces to a multiple of 8.
func encodeHeader(infos []Info, metadata map[string]string) ([]byte, error) {
	head := bytes.NewBuffer(make([]byte, 8, 8+128*len(infos)))
	head.WriteByte('{')
	// field writes the value behind its key; both are JSON that does not fail: the
	// strings are checked, and there are no floats.
	field := func(key string, value any) {
		if head.Len() > 9 {
			head.WriteByte(',')
		}
		enc := json.NewEncoder(head)
		enc.SetEscapeHTML(false)
		enc.Encode(key)
		head.Truncate(head.Len() - 1) // the newline
		head.WriteByte(':')
		enc.Encode(value)
		head.Truncate(head.Len() - 1)
	}
	if metadata != nil {
		for k, v := range metadata {
			if !utf8.ValidString(k) || !utf8.ValidString(v) {
				return nil, fmt.Errorf("metadata %s: not valid UTF-8", quote(k))
			}
		}
		field(metadataKey, metadata)
	}
	seen := make(map[string]bool, len(infos))
	var at int64
	for _, i := range infos {
		size, err := checkInfo(i)
		switch {
		case err != nil:
		case seen[i.Name]:
			err = errors.New("is there twice")
		case size > math.MaxInt64-at:
			err = errors.New("makes the file longer than 63 bits can count")
		}
		if err != nil {
			return nil, fmt.Errorf("tensor %s: %w", quote(i.Name), err)
		}
		seen[i.Name] = true
		field(i.Name, struct {
			DType   DType    `json:"dtype"`
			Shape   []int    `json:"shape"`
			Offsets [2]int64 `json:"data_offsets"`
		}{i.DType, append([]int{}, i.Shape...), [2]int64{at, at + size}}) // [] for nil, never null
		at += size
	}
	head.WriteByte('}')
	for head.Len()%8 != 0 {
		head.WriteByte(' ')
	}
	n := head.Len() - 8
	if n > maxHeader {
		return nil, fmt.Errorf("header of %d bytes, want at most %d: write several files", n, maxHeader)
	}
	binary.LittleEndian.PutUint64(head.Bytes(), uint64(n))
	return head.Bytes(), nil
}

// checkInfo refuses what parse would refuse, and gives the size in bytes.
func checkInfo(i Info) (int64, error) {
	if i.Name == metadataKey {
		return 0, errors.New("the name is reserved")
	}
	if err := checkName(i.Name); err != nil {
		return 0, err
	}
	if len(i.Shape) > maxRank {
		return 0, fmt.Errorf("%d dimensions, want at most %d", len(i.Shape), maxRank)
	}
	return i.bytes()
}
