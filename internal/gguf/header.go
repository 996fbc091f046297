package gguf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	magic   = "GGUF"
	minFile = 4 + 4 + 8 + 8 // magic, version, number of tensors, number of keys

	maxKeys    = 1 << 16 // files have about 30
	maxTensors = 1 << 18 // the largest mixtures of experts have some 10,000
	maxName    = 4096    // bytes of a key or a name; the longest seen have under 100
	maxRank    = 4       // GGML_MAX_DIMS
	maxNesting = 4       // arrays of arrays; published files have none

	minKey    = 8 + 1 + 4 + 1     // bytes of a key: its length, one character, type, one byte
	minTensor = 8 + 1 + 4 + 4 + 8 // of a tensor: its length, one character, rank, type, offset

	defaultAlignment = 32
	maxAlignment     = 1 << 16
	alignmentKey     = "general.alignment"
)

// header is everything before the bytes of the tensors.
type header struct {
	version uint32
	meta    []byte // the file up to the end of the header; values are read from it
	keys    []value
	byKey   map[string]int // index into keys
	tensors []tensorInfo
	byName  map[string]int // index into tensors
	start   int            // of the tensors' bytes in the file
}

// own copies the metadata out of mapped memory.
func (h *header) own() { h.meta = bytes.Clone(h.meta) }

// value is one key of the metadata; its bytes stay in header.meta.
type value struct {
	key  string
	kind Kind
	elem Kind // of an Array
	n    int  // elements of an Array
	at   int  // where the value begins; of an Array, its first element
}

// reader walks the header. The first error stays, and everything after it is zero.
type reader struct {
	b   []byte
	at  int
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

func (r *reader) left() int { return len(r.b) - r.at }

// take returns the next n bytes, nil when they are not there.
func (r *reader) take(n uint64, what string) []byte {
	if r.err != nil {
		return nil
	}
	if n > uint64(r.left()) {
		r.fail("%s needs %d bytes where the file has %d left; it is truncated or damaged, download it again", what, n, r.left())
		return nil
	}
	b := r.b[r.at : r.at+int(n)]
	r.at += int(n)
	return b
}

func (r *reader) u32(what string) uint32 {
	if b := r.take(4, what); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64(what string) uint64 {
	if b := r.take(8, what); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// count reads a number of things that take at least size bytes each, at most limit.
func (r *reader) count(what string, size, limit int) int {
	n := r.u64("the number of " + what)
	if r.err == nil && n > uint64(r.left()/size) {
		r.fail("%d %s in the %d bytes that are left; the file is truncated or damaged, download it again", n, what, r.left())
	} else if r.err == nil && n > uint64(limit) {
		r.fail("%d %s, want at most %d", n, what, limit)
	}
	if r.err != nil {
		return 0
	}
	return int(n)
}

// name reads a key or a tensor's name.
func (r *reader) name(what string) string {
	n := r.u64("the length of " + what)
	if r.err == nil && (n == 0 || n > maxName) {
		r.fail("%s of %d bytes, want 1 to %d; the file is damaged", what, n, maxName)
	}
	b := r.take(n, what)
	if r.err == nil && !utf8.Valid(b) {
		r.fail("%s %q is not UTF-8", what, b[:min(len(b), 40)])
	}
	if r.err != nil {
		return ""
	}
	return string(b)
}

// impostors are beginnings of files that are often found under the name of a GGUF
// file.
var impostors = []struct{ magic, message string }{
	{"FUGG", "is a big-endian GGUF file; want a little-endian one"},
	{"ggml", "is in the GGML format of before 2023; want GGUF: convert it from the original weights"},
	{"lmgg", "is in the GGML format of before 2023; want GGUF: convert it from the original weights"},
	{"tjgg", "is in the GGJT format of before 2023; want GGUF: convert it from the original weights"},
	{"fmgg", "is in the GGMF format of before 2023; want GGUF: convert it from the original weights"},
	{"version https://git-lfs", "is a Git LFS pointer, not the weights; run git lfs pull, or download the file again"},
	{"<!DOCTYPE", "is a web page, not GGUF; the download went wrong, download it again"},
	{"<html", "is a web page, not GGUF; the download went wrong, download it again"},
	{"PK\x03\x04", "is a PyTorch (zip) file, not GGUF"},
}

// parse reads and checks the header of a whole file.
func parse(b []byte) (header, error) {
	if !bytes.HasPrefix(b, []byte(magic)) {
		for _, i := range impostors {
			if bytes.HasPrefix(b, []byte(i.magic)) {
				return header{}, errors.New(i.message)
			}
		}
		return header{}, fmt.Errorf("begins with %q, want %q: this is no GGUF file", b[:min(len(b), 4)], magic)
	}
	r := &reader{b: b, at: len(magic)}
	h := header{version: r.u32("the version")}
	if r.err == nil {
		if err := checkVersion(h.version); err != nil {
			return header{}, err
		}
	}
	// The number of tensors stands before the keys, so that only both together can
	// be compared with what is left.
	tensors := r.count("tensors", minTensor, maxTensors)
	keys := r.count("metadata keys", minKey, maxKeys)
	h.keys, h.byKey = make([]value, 0, keys), make(map[string]int, keys)
	for i := range keys {
		v := r.keyValue(i)
		if r.err != nil {
			return header{}, r.err
		}
		if _, twice := h.byKey[v.key]; twice {
			return header{}, fmt.Errorf("metadata has the key %s twice", quote(v.key))
		}
		h.byKey[v.key] = i
		h.keys = append(h.keys, v)
	}
	if r.err == nil && tensors > r.left()/minTensor {
		r.fail("%d tensors in the %d bytes that are left; the file is truncated or damaged, download it again", tensors, r.left())
	}
	if r.err != nil {
		return header{}, r.err
	}
	h.meta = b
	alignment, err := h.alignment()
	if err != nil {
		return header{}, err
	}
	h.tensors, h.byName = make([]tensorInfo, 0, tensors), make(map[string]int, tensors)
	for i := range tensors {
		e := r.tensor(i, alignment)
		if r.err != nil {
			return header{}, r.err
		}
		if _, twice := h.byName[e.name]; twice {
			return header{}, fmt.Errorf("tensor %s is there twice", quote(e.name))
		}
		h.byName[e.name] = i
		h.tensors = append(h.tensors, e)
	}
	h.meta = b[:r.at:r.at]
	h.start = (r.at + alignment - 1) / alignment * alignment
	if len(h.tensors) == 0 { // a vocabulary has no data, and no padding before it
		return h, nil
	}
	return h, checkLayout(h.tensors, max(0, len(b)-h.start))
}

func checkVersion(v uint32) error {
	switch {
	case v == 2 || v == 3:
		return nil
	case v&0xFFFF == 0:
		return errors.New("is a big-endian GGUF file; want a little-endian one")
	case v == 1:
		return errors.New("is GGUF version 1, of August 2023 only; want version 2 or 3: convert it again")
	}
	return fmt.Errorf("is GGUF version %d, want 2 or 3", v)
}

// alignment is the key general.alignment.
func (h *header) alignment() (int, error) {
	i, ok := h.byKey[alignmentKey]
	if !ok {
		return defaultAlignment, nil
	}
	if k := h.keys[i].kind; k != Uint32 {
		return 0, fmt.Errorf("%s: want uint32, is %v", alignmentKey, k)
	}
	n := binary.LittleEndian.Uint32(h.meta[h.keys[i].at:])
	if n == 0 || n&(n-1) != 0 || n%8 != 0 || n > maxAlignment {
		return 0, fmt.Errorf("%s: is %d, want a power of two from 8 to %d", alignmentKey, n, maxAlignment)
	}
	return int(n), nil
}

// keyValue reads key i and walks over its value.
func (r *reader) keyValue(i int) value {
	v := value{key: r.name(fmt.Sprintf("metadata key %d", i))}
	if r.err != nil {
		return v
	}
	v.kind = Kind(r.u32("its type"))
	switch {
	case r.err != nil:
	case v.kind == Array:
		v.elem, v.n = r.arrayHead()
		v.at = r.at
		r.walkArray(v.elem, v.n, 1)
	default:
		v.at = r.at
		r.walk(v.kind, 0)
	}
	if r.err != nil {
		r.err = fmt.Errorf("metadata %s: %w", quote(v.key), r.err)
	}
	return v
}

// arrayHead reads the type and the number of elements, which is bounded by what is
// left.
func (r *reader) arrayHead() (Kind, int) {
	elem := Kind(r.u32("the type of its elements"))
	if r.err == nil && !elem.known() {
		r.fail("array of values of unknown type %d", uint32(elem))
	}
	if r.err != nil {
		return 0, 0
	}
	n := r.count("elements", kinds[elem].min, len(r.b))
	return elem, n
}

// walk moves over one value.
func (r *reader) walk(k Kind, depth int) {
	switch {
	case r.err != nil:
	case !k.known():
		r.fail("value of unknown type %d", uint32(k))
	case k == Array:
		elem, n := r.arrayHead()
		r.walkArray(elem, n, depth+1)
	case k == String:
		r.take(r.u64("the length of a string"), "a string")
	default:
		b := r.take(uint64(kinds[k].size), "a value")
		if r.err == nil && k == Bool && b[0] > 1 {
			r.fail("bool of value %d, want 0 or 1", b[0])
		}
	}
}

// walkArray moves over n elements. Numbers are passed over in one step.
func (r *reader) walkArray(elem Kind, n, depth int) {
	if r.err == nil && depth > maxNesting {
		r.fail("arrays nested more than %d deep", maxNesting)
	}
	if r.err == nil && elem != String && elem != Array {
		b := r.take(uint64(n)*uint64(kinds[elem].size), "an array")
		if elem == Bool {
			for _, c := range b {
				if c > 1 {
					r.fail("bool of value %d, want 0 or 1", c)
				}
			}
		}
		return
	}
	for i := 0; i < n && r.err == nil; i++ {
		r.walk(elem, depth)
	}
}

// tensor reads the description of tensor i.
func (r *reader) tensor(i, alignment int) tensorInfo {
	e := tensorInfo{name: r.name(fmt.Sprintf("the name of tensor %d", i))}
	if r.err != nil {
		return e
	}
	rank := r.u32("its rank")
	if r.err == nil && rank > maxRank {
		r.fail("%d dimensions, want at most %d", rank, maxRank)
	}
	for d := 0; d < int(rank) && r.err == nil; d++ {
		e.dims[d] = r.u64("a dimension")
	}
	e.rank, e.typ, e.offset = int(rank), Type(r.u32("its type")), r.u64("its offset")
	if r.err == nil {
		r.err = e.setSize()
	}
	if r.err == nil && e.offset%uint64(alignment) != 0 {
		r.fail("offset %d is no multiple of the alignment %d", e.offset, alignment)
	}
	if r.err != nil {
		r.err = fmt.Errorf("tensor %s: %w", quote(e.name), r.err)
	}
	return e
}

// quote is %q, shortened: names come from the file.
func quote(name string) string {
	const most = 120
	if len(name) > most {
		return fmt.Sprintf("%q…", strings.ToValidUTF8(name[:most], ""))
	}
	return fmt.Sprintf("%q", name)
}
