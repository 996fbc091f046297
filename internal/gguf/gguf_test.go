package gguf

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

// A builder puts the bytes of a file together, right or wrong.
type builder struct{ b []byte }

func (w *builder) u32(n uint32) *builder {
	w.b = binary.LittleEndian.AppendUint32(w.b, n)
	return w
}

func (w *builder) u64(n uint64) *builder {
	w.b = binary.LittleEndian.AppendUint64(w.b, n)
	return w
}

func (w *builder) text(s string) *builder { w.u64(uint64(len(s))).b = append(w.b, s...); return w }

func (w *builder) raw(s string) *builder { w.b = append(w.b, s...); return w }

// head begins a file of version 3.
func head(tensors, keys uint64) *builder {
	return new(builder).raw(magic).u32(3).u64(tensors).u64(keys)
}

// key begins a value of kind k.
func (w *builder) key(name string, k Kind) *builder { return w.text(name).u32(uint32(k)) }

// tensor describes a tensor; dims have the contiguous dimension first.
func (w *builder) tensor(name string, t Type, offset uint64, dims ...uint64) *builder {
	w.text(name).u32(uint32(len(dims)))
	for _, d := range dims {
		w.u64(d)
	}
	return w.u32(uint32(t)).u64(offset)
}

// data pads to alignment and appends n bytes.
func (w *builder) data(alignment, n int) *builder {
	for len(w.b)%alignment != 0 {
		w.b = append(w.b, 0)
	}
	for i := range n {
		w.b = append(w.b, byte(i))
	}
	return w
}

func save(tb testing.TB, b []byte) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "x.gguf")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		tb.Fatal(err)
	}
	return path
}

func open(tb testing.TB, path string) *File {
	tb.Helper()
	f, err := Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { f.Close() })
	return f
}

// everything is a file with a value of every type.
func everything() []byte {
	w := head(2, 18)
	w.key("u8", Uint8).raw("\xff")
	w.key("i8", Int8).raw("\xff")
	w.key("u16", Uint16).raw("\xfe\xff")
	w.key("i16", Int16).raw("\xfe\xff")
	w.key("u32", Uint32).u32(math.MaxUint32)
	w.key("i32", Int32).u32(math.MaxUint32)
	w.key("f32", Float32).u32(math.Float32bits(1.5))
	w.key("bool", Bool).raw("\x01")
	w.key("text", String).text("héllo")
	w.key("u64", Uint64).u64(math.MaxUint64)
	w.key("i64", Int64).u64(math.MaxUint64)
	w.key("f64", Float64).u64(math.Float64bits(-2.25))
	w.key("strings", Array).u32(uint32(String)).u64(3).text("a").text("").text("\xff\xfe")
	w.key("ints", Array).u32(uint32(Int32)).u64(2).u32(math.MaxUint32).u32(7)
	w.key("floats", Array).u32(uint32(Float32)).u64(1).u32(math.Float32bits(0.5))
	w.key("bools", Array).u32(uint32(Bool)).u64(2).raw("\x01\x00")
	w.key("nested", Array).u32(uint32(Array)).u64(2).u32(uint32(Uint8)).u64(3).raw("abc").u32(uint32(String)).u64(1).text("x")
	w.key(alignmentKey, Uint32).u32(64)
	w.tensor("a", F32, 0, 3, 2).tensor("b", 8, 64, 32)
	return w.data(64, 64+34).b
}

func TestRead(t *testing.T) {
	f := open(t, save(t, everything()))
	if f.Version() != 3 || len(f.Keys()) != 18 || f.Keys()[0] != "u8" || !f.Has("nested") || f.Has("none") {
		t.Errorf("version %d, keys %v", f.Version(), f.Keys())
	}
	if k, elem, n, ok := f.Kind("strings"); k != Array || elem != String || n != 3 || !ok {
		t.Errorf("Kind: got %v of %v, %d, %v", k, elem, n, ok)
	}
	for key, want := range map[string]int64{"u8": 255, "i8": -1, "u16": 65534, "i16": -2, "u32": math.MaxUint32, "i32": -1, "i64": -1} {
		if got, err := f.Int(key); got != want || err != nil {
			t.Errorf("Int(%s): got %d, %v, want %d", key, got, err, want)
		}
		if got, err := f.Float(key); got != float64(want) || err != nil {
			t.Errorf("Float(%s): got %v, %v, want %d", key, got, err, want)
		}
	}
	for key, want := range map[string]float64{"f32": 1.5, "f64": -2.25, "u64": math.MaxUint64} {
		if got, err := f.Float(key); got != want || err != nil {
			t.Errorf("Float(%s): got %v, %v, want %v", key, got, err, want)
		}
	}
	if got, err := f.Text("text"); got != "héllo" || err != nil {
		t.Errorf("Text: got %q, %v", got, err)
	}
	if got, err := f.Bool("bool"); !got || err != nil {
		t.Errorf("Bool: got %v, %v", got, err)
	}
	equal := func(what string, got, want any, err error) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, %v, want %v", what, got, err, want)
		}
	}
	strs, err := f.Strings("strings")
	equal("Strings", strs, []string{"a", "", "\xff\xfe"}, err)
	ints, err := f.Ints("ints")
	equal("Ints", ints, []int64{-1, 7}, err)
	floats, err := f.Floats("floats")
	equal("Floats", floats, []float64{0.5}, err)
	bools, err := f.Bools("bools")
	equal("Bools", bools, []bool{true, false}, err)

	equal("Names", f.Names(), []string{"a", "b"}, nil)
	a, _ := f.Tensor("a")
	equal("a", a.Shape, []int{2, 3}, nil)
	if a.Type.String() != "F32" || len(a.Data) != 24 || a.Data[1] != 1 || cap(a.Data) != 24 {
		t.Errorf("a: %v, %d bytes", a.Type, len(a.Data))
	}
	b, ok := f.Tensor("b")
	dst := make([]byte, 34)
	if err := b.CopyTo(dst); err != nil || !ok || dst[0] != 64 || b.Type.String() != "Q8_0" {
		t.Errorf("b: %v, %v, %v", dst, b.Type, err)
	}
	if err := b.CopyTo(dst[:3]); err == nil || !strings.Contains(err.Error(), `tensor "b": 34 bytes do not fit a buffer of 3 bytes`) {
		t.Errorf("short buffer: got %v", err)
	}
	if _, ok := f.Tensor("c"); ok {
		t.Error("got a tensor that is not there")
	}
	for range 2 {
		if err := f.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if _, ok := f.Tensor("a"); ok {
		t.Error("closed file still gives tensors")
	}
	if got, err := f.Text("text"); got != "héllo" || err != nil {
		t.Errorf("metadata after Close: got %q, %v", got, err)
	}
}

// A vocabulary ends with its metadata: no tensors, no padding.
func TestVersion2WithoutTensors(t *testing.T) {
	w := new(builder).raw(magic).u32(2).u64(0).u64(1).key("general.architecture", String).text("llama")
	f, err := Parse(w.b)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := f.Text("general.architecture"); s != "llama" || err != nil || f.Version() != 2 || len(f.Names()) != 0 {
		t.Errorf("got %q, %v, version %d", s, err, f.Version())
	}
}

func TestLookupErrors(t *testing.T) {
	f, err := Parse(everything())
	if err != nil {
		t.Fatal(err)
	}
	use := func(_ any, err error) error { return err }
	for want, got := range map[string]error{
		`none: is missing from the metadata`:                   use(f.Text("none")),
		`u32: want string, is uint32`:                          use(f.Text("u32")),
		`ints: want string, is an array of int32`:              use(f.Text("ints")),
		`text: want integer, is string`:                        use(f.Int("text")),
		`bool: want integer, is bool`:                          use(f.Int("bool")),
		`f32: want integer, is float32`:                        use(f.Int("f32")),
		`u64: is above 9223372036854775807`:                    use(f.Int("u64")),
		`u8: want bool, is uint8`:                              use(f.Bool("u8")),
		`text: want number, is string`:                         use(f.Float("text")),
		`text: want an array of strings, is string`:            use(f.Strings("text")),
		`ints: want an array of strings, is one of int32`:      use(f.Strings("ints")),
		`strings: want an array of integers, is one of string`: use(f.Ints("strings")),
		`nested: want an array of integers, is one of array`:   use(f.Ints("nested")),
		`bools: want an array of numbers, is one of bool`:      use(f.Floats("bools")),
		`ints: want an array of bools, is one of int32`:        use(f.Bools("ints")),
		`ints: want an array of uint8, is one of int32`:        use(f.Bytes("ints")),
	} {
		if got == nil || got.Error() != want {
			t.Errorf("got %v, want %s", got, want)
		}
	}
	if _, err := f.Text("none"); !errors.Is(err, ErrNoKey) {
		t.Errorf("got %v, want ErrNoKey", err)
	}
}

// two are two tensors of 32 bytes at the offsets given, before n bytes of data.
func two(a, b uint64, n int) []byte {
	return head(2, 0).tensor("a", I8, a, 32).tensor("b", I8, b, 32).data(32, n).b
}

// hostile has files that must not open, and what the error has to say.
var hostile = []struct {
	name string
	file []byte
	want string
}{
	{"empty", nil, `begins with "", want "GGUF"`},
	{"something else", []byte("hello, world, this is no model"), `begins with "hell", want "GGUF": this is no GGUF file`},
	{"big-endian magic", []byte("FUGG\x00\x00\x00\x03..................."), `is a big-endian GGUF file`},
	{"old format", []byte("tjgg\x03\x00\x00\x00..................."), `is in the GGJT format of before 2023`},
	{"LFS pointer", []byte("version https://git-lfs.github.com/spec/v1\noid"), `is a Git LFS pointer`},
	{"web page", []byte("<!DOCTYPE html><title>Sign in</title>"), `is a web page`},
	{"version cut", []byte("GGUF\x03"), `the version needs 4 bytes where the file has 1 left`},
	{"version 1", new(builder).raw(magic).u32(1).u64(0).u64(0).b, `is GGUF version 1, of August 2023 only`},
	{"version 4", new(builder).raw(magic).u32(4).u64(0).u64(0).b, `is GGUF version 4, want 2 or 3`},
	{"version big-endian", new(builder).raw(magic).u32(3 << 24).u64(0).u64(0).b, `is a big-endian GGUF file`},
	// counts
	{"tensors 2^64-1", head(math.MaxUint64, 0).b, `18446744073709551615 tensors in the 8 bytes that are left`},
	{"tensors 3", head(3, 0).raw(strings.Repeat(" ", 40)).b, `3 tensors in the 48 bytes that are left`},
	{"tensors 2, seen late", head(2, 0).raw(strings.Repeat(" ", 45)).b, `2 tensors in the 45 bytes that are left`},
	{"keys 2^63", head(0, 1<<63).b, `9223372036854775808 metadata keys in the 0 bytes`},
	{"keys too many", head(0, maxKeys+1).raw(strings.Repeat("x", (maxKeys+1)*minKey)).b, `65537 metadata keys, want at most 65536`},
	{"tensors too many", head(maxTensors+1, 0).raw(strings.Repeat("x", (maxTensors+1)*minTensor)).b, `262145 tensors, want at most 262144`},
	// keys
	{"key length -1", head(0, 1).u64(math.MaxUint64).u64(0).b, `metadata key 0 of 18446744073709551615 bytes, want 1 to 4096`},
	{"key length 3 GiB", head(0, 1).u64(3 << 30).u64(0).b, `metadata key 0 of 3221225472 bytes`},
	{"key empty", head(0, 1).key("", Uint8).raw("12").b, `metadata key 0 of 0 bytes, want 1 to 4096`},
	{"key cut", head(0, 1).u64(100).raw("general.arch").b, `metadata key 0 needs 100 bytes where the file has 12 left`},
	{"key not UTF-8", head(0, 1).key("a\xff", Uint32).u32(1).b, `metadata key 0 "a\xff" is not UTF-8`},
	{"key twice", head(0, 2).key("a", Uint32).u32(1).key("a", Uint32).u32(2).b, `metadata has the key "a" twice`},
	// values
	{"type 13", head(0, 1).key("a", 13).u32(1).b, `metadata "a": value of unknown type 13`},
	{"type 2^32-1", head(0, 1).key("a", math.MaxUint32).u32(1).b, `metadata "a": value of unknown type 4294967295`},
	{"value cut", head(0, 1).key("a", Uint64).u32(1).b, `metadata "a": a value needs 8 bytes where the file has 4 left`},
	{"bool 2", head(0, 1).key("a", Bool).raw("\x02").b, `metadata "a": bool of value 2, want 0 or 1`},
	{"bool 2 in an array", head(0, 1).key("a", Array).u32(uint32(Bool)).u64(2).raw("\x01\x02").b, `metadata "a": bool of value 2`},
	{"string 2^62", head(0, 1).key("a", String).u64(1 << 62).b, `metadata "a": a string needs 4611686018427387904 bytes where the file has 0 left`},
	{"string -1", head(0, 1).key("a", String).u64(math.MaxUint64).raw("abc").b, `metadata "a": a string needs 18446744073709551615 bytes`},
	{"array of 2^61 strings", head(0, 1).key("a", Array).u32(uint32(String)).u64(1 << 61).raw(strings.Repeat("x", 50)).b, `metadata "a": 2305843009213693952 elements in the 50 bytes that are left`},
	{"array of 8 G floats", head(0, 1).key("a", Array).u32(uint32(Float32)).u64(8 << 30).raw("12345678").b, `metadata "a": 8589934592 elements in the 8 bytes`},
	{"array size wraps", head(0, 1).key("a", Array).u32(uint32(Uint64)).u64(1 << 61).raw("12345678").b, `metadata "a": 2305843009213693952 elements`},
	{"array of unknown", head(0, 1).key("a", Array).u32(99).u64(1).raw("12345678").b, `metadata "a": array of values of unknown type 99`},
	{"array cut in a string", head(0, 1).key("a", Array).u32(uint32(String)).u64(2).text("abcdefgh").u64(7).b, `metadata "a": a string needs 7 bytes where the file has 0 left`},
	{"arrays nested", head(0, 1).key("a", Array).raw(strings.Repeat("\x09\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00", 50)).b, `metadata "a": arrays nested more than 4 deep`},
	// alignment
	{"alignment 0", head(0, 1).key(alignmentKey, Uint32).u32(0).b, `general.alignment: is 0, want a power of two from 8`},
	{"alignment 48", head(0, 1).key(alignmentKey, Uint32).u32(48).b, `general.alignment: is 48, want a power of two`},
	{"alignment 2^31", head(0, 1).key(alignmentKey, Uint32).u32(1 << 31).b, `general.alignment: is 2147483648, want a power of two`},
	{"alignment text", head(0, 1).key(alignmentKey, String).text("32").b, `general.alignment: want uint32, is string`},
	// tensors
	{"name cut", head(1, 0).u64(300).raw("abcdefghijklmnopqrs").b, `the name of tensor 0 needs 300 bytes`},
	{"name not UTF-8", head(1, 0).tensor("\xff", F32, 0, 1).b, `the name of tensor 0 "\xff" is not UTF-8`},
	{"name twice", head(2, 0).tensor("a", I8, 0, 32).tensor("a", I8, 32, 32).data(32, 64).b, `tensor "a" is there twice`},
	{"rank 5", head(1, 0).tensor("a", F32, 0, 1, 1, 1, 1, 1).b, `tensor "a": 5 dimensions, want at most 4`},
	{"rank 2^32-1", head(1, 0).text("a").u32(math.MaxUint32).u64(0).u64(0).b, `tensor "a": 4294967295 dimensions`},
	{"dimension 0", head(1, 0).tensor("a", F32, 0, 0, 4).b, `tensor "a": has a dimension of 0`},
	{"shape wraps to 0", head(1, 0).tensor("a", F32, 0, 1<<33, 1<<33).b, `tensor "a": has more elements than 63 bits can count`},
	{"shape 2^63", head(1, 0).tensor("a", I8, 0, 1<<62, 2).b, `tensor "a": has more elements than 63 bits`},
	{"bytes wrap", head(1, 0).tensor("a", F64, 0, 1<<62).b, `tensor "a": has more bytes than 63 bits can count`},
	{"type 250", head(1, 0).tensor("a", 250, 0, 32).b, `tensor "a": type 250 is none that this program knows`},
	{"type given up", head(1, 0).tensor("a", 4, 0, 32).b, `tensor "a": type 4 is none that this program knows`},
	{"half a block", head(1, 0).tensor("a", 12, 0, 255, 2).b, `tensor "a": a row of 255 elements is no whole number of blocks of 256, which Q4_K has`},
	{"offset odd", two(1, 32, 64), `tensor "a": offset 1 is no multiple of the alignment 32`},
	{"offset wraps", two(0, math.MaxUint64-31, 64), `tensor "b": its 32 bytes at offset 18446744073709551584 end behind the file's 64 bytes`},
	{"truncated", two(0, 32, 63), `tensor "b": its 32 bytes at offset 32 end behind the file's 63 bytes of data; the file is truncated`},
	{"no data", head(1, 0).tensor("a", I8, 0, 32).b, `tensor "a": its 32 bytes at offset 0 end behind the file's 0 bytes of data`},
	{"same place", two(32, 32, 64), `tensor "b" at offset 32 begins within "a", which has 32 bytes at 32`},
	{"overlap", head(2, 0).tensor("a", I8, 32, 8).tensor("b", I8, 0, 40).data(32, 64).b, `tensor "a" at offset 32 begins within "b", which has 40 bytes at 0`},
}

func TestHostile(t *testing.T) {
	for _, c := range hostile {
		t.Run(c.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := Parse(c.file)
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %s", err, c.want)
			}
			if used, limit := after.TotalAlloc-before.TotalAlloc, uint64(10*len(c.file)+64<<10); used > limit {
				t.Errorf("allocated %d bytes for a file of %d", used, len(c.file))
			}
			if len(c.file) >= minFile {
				path := save(t, c.file)
				if _, err := Open(path); err == nil || !strings.HasPrefix(err.Error(), path+": ") || !strings.Contains(err.Error(), c.want) {
					t.Errorf("Open: got %v, want %s", err, c.want)
				}
			}
		})
	}
}

// Every beginning of a good file is an error, never a panic.
func TestTruncated(t *testing.T) {
	whole := everything()
	for n := range whole {
		if _, err := Parse(whole[:n]); err == nil {
			t.Errorf("the first %d of %d bytes: no error", n, len(whole))
		}
	}
}

func TestOpenErrors(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := Open(t.TempDir()); err == nil || !strings.HasSuffix(err.Error(), "is a directory, want a file") {
		t.Errorf("got %v", err)
	}
	if _, err := Open(save(t, []byte("GGUF"))); err == nil || !strings.Contains(err.Error(), "has 4 bytes, want at least the 24") {
		t.Errorf("got %v", err)
	}
}

// FuzzParse: bytes from a stranger give an error or a file whose every value and
// tensor can be read, in memory that follows from their number.
func FuzzParse(f *testing.F) {
	f.Add(everything())
	for _, c := range hostile {
		if len(c.file) < 1<<12 {
			f.Add(c.file)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<20 {
			return
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		g, err := Parse(b)
		runtime.ReadMemStats(&after)
		if used, limit := after.TotalAlloc-before.TotalAlloc, uint64(10*len(b)+256<<10); used > limit {
			t.Errorf("allocated %d bytes for a file of %d", used, len(b))
		}
		if err != nil {
			return
		}
		sum := 0
		for _, key := range g.Keys() {
			k, elem, n, _ := g.Kind(key)
			s, _ := g.Text(key)
			i, _ := g.Int(key)
			x, _ := g.Float(key)
			l, _ := g.Strings(key)
			ints, _ := g.Ints(key)
			floats, _ := g.Floats(key)
			bools, _ := g.Bools(key)
			bs, _ := g.Bytes(key)
			if k == Array && elem == String && len(l) != n {
				t.Errorf("%q: %d strings, want %d", key, len(l), n)
			}
			sum += len(s) + int(i&1) + len(fmt.Sprint(x)) + len(l) + len(ints) + len(floats) + len(bools) + len(bs)
		}
		for _, name := range g.Names() {
			x, ok := g.Tensor(name)
			if !ok || x.CopyTo(make([]byte, len(x.Data))) != nil {
				t.Errorf("tensor %q cannot be read", name)
			}
		}
		if !bytes.HasPrefix(b, []byte(magic)) || sum < 0 {
			t.Error("opened something else")
		}
	})
}

// BenchmarkOpen opens a file with the metadata of a large vocabulary.
func BenchmarkOpen(b *testing.B) {
	w := head(0, 2)
	w.key("tokens", Array).u32(uint32(String)).u64(262144)
	for i := range 262144 {
		w.text(fmt.Sprint("token", i))
	}
	w.key("scores", Array).u32(uint32(Float32)).u64(262144).raw(strings.Repeat("\x00\x00\x80\x3f", 262144))
	path := save(b, w.b)
	b.ReportAllocs()
	for b.Loop() {
		f, err := Open(path)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := f.Strings("tokens"); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}
