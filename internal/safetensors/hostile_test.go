package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

// raw is a file with the given header, as it is, and data.
func raw(header, data string) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header+data...)
}

// length is a file that claims a header of n bytes.
func length(n uint64, rest string) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, n), rest...)
}

// one is a tensor "x" of a header.
func one(dtype, shape, offsets string) string {
	return fmt.Sprintf(`{"x":{"dtype":%s,"shape":%s,"data_offsets":%s}}`, dtype, shape, offsets)
}

// two are tensors "a" and "b" of U8.
func two(na int, a string, nb int, b string) string {
	return fmt.Sprintf(`{"a":{"dtype":"U8","shape":[%d],"data_offsets":%s},"b":{"dtype":"U8","shape":[%d],"data_offsets":%s}}`, na, a, nb, b)
}

// hostile has files that must not open, and what the error has to say.
var hostile = []struct {
	name string
	file []byte
	want string
}{
	// the length of the header
	{"empty file", nil, `has 0 bytes, want at least the 8`},
	{"7 bytes", []byte("1234567"), `has 7 bytes, want at least the 8`},
	{"length only", length(2, ""), `header of 2 bytes does not fit a file of 8 bytes; the file is truncated`},
	{"header 0", length(0, ""), `header of 0 bytes, want a JSON object`},
	{"header 2^62", length(1<<62, "{}"), `header of 4611686018427387904 bytes, want at most 100000000`},
	{"header -1", length(math.MaxUint64, "{}"), `header of 18446744073709551615 bytes, want at most 100000000`},
	{"header -8", length(math.MaxUint64-7, "{}"), `header of 18446744073709551608 bytes, want at most 100000000`},
	{"header 3 GiB", length(3<<30, "{}"), `header of 3221225472 bytes, want at most 100000000`},
	{"header 90 MB in 10 bytes", length(90_000_000, "{}"), `header of 90000000 bytes does not fit a file of 10 bytes`},
	{"header one too long", length(3, "{}"), `header of 3 bytes does not fit a file of 10 bytes`},
	// something else altogether
	{"LFS pointer", []byte("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"), `is a Git LFS pointer`},
	{"PyTorch", []byte("PK\x03\x04\x00\x00\x08\x08\x00\x00archive/data.pkl"), `is a PyTorch (zip) file`},
	{"pickle", []byte("\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."), `is a Python pickle`},
	{"GGUF", []byte("GGUF\x03\x00\x00\x00\x00\x00"), `is a GGUF file`},
	{"web page", []byte("<!DOCTYPE html><title>Sign in</title>"), `is a web page`},
	// JSON
	{"space first", raw(` {}`, ""), `header begins with " ", want '{'`},
	{"array", raw(`[]`, ""), `header begins with "[", want '{'`},
	{"not UTF-8", raw("{\"\xff\":1}", ""), `header is not UTF-8`},
	{"half a header", raw(one(`"U8"`, `[1]`, `[0,1]`)[:30], "1"), `ends in the middle of its JSON`},
	{"brace only", raw(`{`, ""), `header ends in the middle of its JSON`},
	{"comma too many", raw(`{"__metadata__":{},}`, ""), `header is not JSON at byte`},
	{"key without quotes", raw(`{x:1}`, ""), `header is not JSON at byte`},
	{"wrong bracket", raw(`{"__metadata__":{]}`, ""), `header is not JSON at byte`},
	{"something behind", raw(`{}{}`, ""), `header has an object behind its JSON`},
	{"junk behind", raw(`{} x`, ""), `header has something behind its JSON`},
	{"zeros as padding", raw("{}\x00\x00", ""), `header has something behind its JSON`},
	{"nested junk", raw(`{"x":`+strings.Repeat(`[`, 100_000)+strings.Repeat(`]`, 100_000)+`}`, ""), `tensor "x": its description is an array, want an object`},
	{"nested junk below", raw(one(`"U8"`, strings.Repeat(`[`, 100_000), `[0,1]`), "1"), `tensor "x": shape has an array, want integers`},
	// duplicates
	{"tensor twice", raw(strings.ReplaceAll(two(1, `[0,1]`, 1, `[1,2]`), `"b"`, `"a"`), "12"), `header has the key "a" twice`},
	{"tensor twice, one escaped", raw(strings.ReplaceAll(two(1, `[0,1]`, 1, `[1,2]`), `"b"`, `"\u0061"`), "12"), `header has the key "a" twice`},
	{"metadata twice", raw(`{"__metadata__":{},"__metadata__":{}}`, ""), `header has the key "__metadata__" twice`},
	{"metadata key twice", raw(`{"__metadata__":{"a":"1","a":"2"}}`, ""), `__metadata__ has the key "a" twice`},
	{"dtype twice", raw(`{"x":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}`, "1"), `tensor "x": its description has the key "dtype" twice`},
	// metadata
	{"metadata number", raw(`{"__metadata__":{"a":1}}`, ""), `__metadata__ "a" is the number "1", want a string`},
	{"metadata object", raw(`{"__metadata__":{"a":{}}}`, ""), `__metadata__ "a" is an object, want a string`},
	{"metadata null", raw(`{"__metadata__":null}`, ""), `__metadata__ is null, want an object`},
	{"metadata string", raw(`{"__metadata__":"pt"}`, ""), `__metadata__ is the string "pt", want an object`},
	{"metadata as tensor", raw(`{"__metadata__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, "1"), `__metadata__ "shape" is an array, want a string`},
	// the description of a tensor
	{"tensor null", raw(`{"x":null}`, ""), `tensor "x": its description is null, want an object`},
	{"tensor empty", raw(`{"x":{}}`, ""), `tensor "x": has no dtype`},
	{"no shape", raw(`{"x":{"dtype":"U8","data_offsets":[0,1]}}`, "1"), `tensor "x": has no shape`},
	{"no offsets", raw(`{"x":{"dtype":"U8","shape":[1]}}`, "1"), `tensor "x": 0 data_offsets, want 2`},
	{"unknown key", raw(`{"x":{"dtype":"U8","shape":[1],"strides":[4],"data_offsets":[0,1]}}`, "1"), `tensor "x": unknown key "strides"`},
	{"long name", raw(`{"`+strings.Repeat("n", maxName+1)+`":{}}`, ""), `name of 4097 bytes, want at most 4096`},
	{"half a surrogate", raw(`{"\ud800":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, "1"), `name is not valid Unicode`},
	{"dtype unknown", raw(one(`"F4"`, `[2]`, `[0,1]`), "1"), `tensor "x": unknown dtype "F4", want one of F64, F32`},
	{"dtype lower case", raw(one(`"f32"`, `[1]`, `[0,4]`), "1234"), `unknown dtype "f32"`},
	{"dtype number", raw(one(`32`, `[1]`, `[0,4]`), "1234"), `tensor "x": dtype is the number "32", want a string`},
	{"shape null", raw(one(`"U8"`, `null`, `[0,1]`), "1"), `tensor "x": shape is null, want an array of integers`},
	{"shape negative", raw(one(`"U8"`, `[-1]`, `[0,1]`), "1"), `tensor "x": shape has the number "-1", want integers from 0`},
	{"shape two negatives", raw(one(`"U8"`, `[-1,-1]`, `[0,1]`), "1"), `tensor "x": shape has the number "-1"`},
	{"shape fraction", raw(one(`"U8"`, `[1.0]`, `[0,1]`), "1"), `shape has the number "1.0", want integers`},
	{"shape exponent", raw(one(`"U8"`, `[1e0]`, `[0,1]`), "1"), `shape has the number "1e0", want integers`},
	{"shape NaN", raw(one(`"U8"`, `[NaN]`, `[0,1]`), "1"), `header is not JSON at byte`},
	{"shape 1e400", raw(one(`"U8"`, `[1e400]`, `[0,1]`), "1"), `shape has the number "1e400", want integers`},
	{"shape string", raw(one(`"U8"`, `["1"]`, `[0,1]`), "1"), `shape has the string "1", want integers`},
	{"shape 2^64", raw(one(`"U8"`, `[18446744073709551616]`, `[0,1]`), "1"), `shape has the number "18446744073709551616"`},
	{"shape product 2^64", raw(one(`"U8"`, `[4294967296,4294967296]`, `[0,0]`), ""), `more bytes than 63 bits can count`},
	{"shape product 2^64 + 4", raw(one(`"F32"`, `[2305843009213693952,2]`, `[0,0]`), ""), `more bytes than 63 bits can count`},
	{"shape product 2^63", raw(one(`"U8"`, `[4611686018427387904,2]`, `[0,0]`), ""), `more bytes than 63 bits can count`},
	{"shape times size", raw(one(`"F64"`, `[2305843009213693952]`, `[0,0]`), ""), `more bytes than 63 bits can count`},
	{"shape of 65", raw(one(`"U8"`, `[`+strings.Repeat("1,", 64)+`1]`, `[0,1]`), "1"), `tensor "x": shape has more than 64 numbers`},
	// sizes and places
	{"size too small", raw(one(`"F32"`, `[2]`, `[0,4]`), "1234"), `tensor "x": data_offsets [0, 4] hold 4 bytes, but F32 [2] has 8`},
	{"size too large", raw(one(`"F32"`, `[]`, `[0,8]`), "12345678"), `tensor "x": data_offsets [0, 8] hold 8 bytes, but F32 [] has 4`},
	{"offsets backwards", raw(one(`"U8"`, `[1]`, `[1,0]`), "1"), `tensor "x": data_offsets [1, 0] run backwards`},
	{"offsets negative", raw(one(`"U8"`, `[1]`, `[-1,0]`), "1"), `tensor "x": data_offsets has the number "-1"`},
	{"offsets huge", raw(one(`"U8"`, `[1]`, `[9223372036854775806,9223372036854775807]`), "1"), `end behind the file's 1 bytes of data`},
	{"offsets wrap", raw(one(`"U8"`, `[1]`, `[18446744073709551615,0]`), "1"), `data_offsets has the number "18446744073709551615"`},
	{"offsets one", raw(one(`"U8"`, `[1]`, `[0]`), "1"), `tensor "x": 1 data_offsets, want 2`},
	{"offsets three", raw(one(`"U8"`, `[1]`, `[0,1,2]`), "1"), `tensor "x": data_offsets has more than 2 numbers`},
	{"offsets fraction", raw(one(`"U8"`, `[1]`, `[0,1.5]`), "1"), `data_offsets has the number "1.5"`},
	{"first not at 0", raw(one(`"U8"`, `[1]`, `[1,2]`), "12"), `tensor "x": data_offsets [1, 2] leave a hole: the header ends at byte 0`},
	{"hole", raw(two(4, `[0,4]`, 4, `[8,12]`), "123456789012"), `tensor "b": data_offsets [8, 12] leave a hole: tensor "a" ends at byte 4`},
	{"overlap", raw(two(4, `[0,4]`, 4, `[2,6]`), "123456"), `tensor "b": data_offsets [2, 6] overlap tensor "a", which ends at byte 4`},
	{"misaligned overlap, out of order", raw(two(4, `[3,7]`, 4, `[0,4]`), "1234567"), `tensor "a": data_offsets [3, 7] overlap tensor "b", which ends at byte 4`},
	{"the same bytes", raw(two(4, `[0,4]`, 4, `[0,4]`), "1234"), `tensor "b": data_offsets [0, 4] overlap tensor "a"`},
	{"no elements in the middle of another", raw(two(4, `[0,4]`, 0, `[2,2]`), "1234"), `tensor "b": data_offsets [2, 2] overlap tensor "a"`},
	{"data truncated", raw(one(`"F32"`, `[2]`, `[0,8]`), "1234567"), `tensor "x": data_offsets [0, 8] end behind the file's 7 bytes of data; the file is truncated`},
	{"data missing", raw(one(`"F32"`, `[2]`, `[0,8]`), ""), `tensor "x": data_offsets [0, 8] end behind the file's 0 bytes of data`},
	{"data behind", raw(one(`"F32"`, `[1]`, `[0,4]`), "12345"), `1 bytes of data behind tensor "x" belong to no tensor`},
	{"data without tensors", raw(`{}`, "12345"), `5 bytes of data behind the header belong to no tensor`},
}

func TestHostile(t *testing.T) {
	for _, c := range hostile {
		t.Run(c.name, func(t *testing.T) {
			path := save(t, "model.safetensors", c.file)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			f, err := Open(path)
			runtime.ReadMemStats(&after)
			if err == nil {
				f.Close()
				t.Fatal("opened")
			}
			if !strings.HasPrefix(err.Error(), path+": ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want …/model.safetensors: … %s", err, c.want)
			}
			if strings.Contains(err.Error(), "\n") || len(err.Error()) > len(path)+500 {
				t.Errorf("error is not one short line: %v", err)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20+uint64(20*len(c.file)) {
				t.Errorf("allocated %d bytes for a file of %d", n, len(c.file))
			}
		})
	}
}

func TestNotAFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir); err == nil || err.Error() != dir+": is a directory, want a file" {
		t.Errorf("directory: got %v", err)
	}
	missing := filepath.Join(dir, "x")
	if _, err := Open(missing); !errors.Is(err, fs.ErrNotExist) || strings.Count(err.Error(), missing) != 1 {
		t.Errorf("missing: got %v", err)
	}
}

// A header too long must be refused even when a sparse file is long enough for it.
func TestSparseFile(t *testing.T) {
	path := save(t, "x.safetensors", length(3<<30, "{"))
	if err := os.Truncate(path, 4<<30); err != nil {
		t.Skipf("no sparse file of 4 GiB here: %v", err)
	}
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "header of 3221225472 bytes, want at most") {
		t.Errorf("got %v", err)
	}
}

// FuzzHeader: whatever the bytes, parse gives an error or a header whose tensors cover
// the data exactly, and which survives being written and read again.
func FuzzHeader(f *testing.F) {
	for _, c := range hostile {
		f.Add(c.file)
	}
	f.Add(raw(`{}`, ""))
	f.Add(raw(two(4, `[4,8]`, 4, `[0,4]`), "12345678"))
	f.Add(raw(`{"__metadata__":{"format":"pt"},"x":{"dtype":"BF16","shape":[2,1],"data_offsets":[0,4]}}  `, "1234"))
	f.Fuzz(func(t *testing.T, file []byte) {
		h, err := parse(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			if s := err.Error(); s == "" || strings.Contains(s, "\n") || len(s) > 4000 {
				t.Fatalf("error is not one short line: %q", s)
			}
			return
		}
		at := h.start
		var tensors []Tensor
		for _, e := range h.entries {
			if h.start+e.begin != at {
				t.Fatalf("%q begins at %d, want %d", e.Name, h.start+e.begin, at)
			}
			at = h.start + e.end
			tensors = append(tensors, Tensor{Name: e.Name, DType: e.DType, Shape: e.Shape, Data: file[h.start+e.begin : at]})
		}
		if at != int64(len(file)) {
			t.Fatalf("the tensors end at %d, the file at %d", at, len(file))
		}
		again := encode(t, tensors, h.metadata)
		g, err := parse(bytes.NewReader(again), int64(len(again)))
		if err != nil {
			t.Fatalf("written again: %v", err)
		}
		if !reflect.DeepEqual(g.entries, h.entries) || !reflect.DeepEqual(g.metadata, h.metadata) {
			t.Fatalf("written again: got %v, want %v", g, h)
		}
		if !bytes.Equal(again[g.start:], file[h.start:]) {
			t.Fatal("written again: other data")
		}
	})
}
