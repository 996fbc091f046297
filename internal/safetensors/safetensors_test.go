package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// save writes data to a file called name in a new directory and gives its path.
func save(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func encode(t testing.TB, tensors []Tensor, metadata map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, tensors, metadata); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func open(t testing.TB, path string) *File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// numbered gives n bytes that differ from their neighbours and from other seeds.
func numbered(n, seed int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + seed*31)
	}
	return b
}

func TestDTypeSize(t *testing.T) {
	want := map[DType]int{
		"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4, "I16": 2, "I8": 1,
		"U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1, "": 0, "F4": 0, "f32": 0, "F32 ": 0,
	}
	for d, n := range want {
		if got := d.Size(); got != n {
			t.Errorf("%q: got %d bytes, want %d", d, got, n)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	var all []Tensor
	for i, d := range dtypes {
		all = append(all, Tensor{Name: string(d.dtype), DType: d.dtype, Shape: []int{3, 5}, Data: numbered(15*d.size, i)})
	}
	for name, c := range map[string]struct {
		tensors  []Tensor
		metadata map[string]string
	}{
		"nothing":       {},
		"only metadata": {metadata: map[string]string{"format": "pt", "": "<&>\u2028\"\\\n"}},
		"every dtype":   {tensors: all, metadata: map[string]string{}},
		"scalars and no elements": {tensors: []Tensor{
			{Name: "empty first", DType: F32, Shape: []int{0}},
			{Name: "scalar", DType: F32, Shape: []int{}, Data: numbered(4, 1)},
			{Name: "empty", DType: F64, Shape: []int{3, 0, 2}},
			{Name: "empty too", DType: F64, Shape: []int{0, math.MaxInt}},
			{Name: "last", DType: U8, Shape: []int{1}, Data: numbered(1, 2)},
			{Name: "empty last", DType: I8, Shape: []int{0}},
		}},
		"odd names": {tensors: []Tensor{
			{Name: "", DType: U8, Shape: []int{1}, Data: []byte{1}},
			{Name: "a\"b\\c\n<ü>\u2028🙂", DType: U8, Shape: []int{1}, Data: []byte{2}},
			{Name: strings.Repeat("n", maxName), DType: U8, Shape: []int{1}, Data: []byte{3}},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			data := encode(t, c.tensors, c.metadata)
			if n := binary.LittleEndian.Uint64(data); n%8 != 0 {
				t.Errorf("got a header of %d bytes, want a multiple of 8", n)
			}
			f := open(t, save(t, "x.safetensors", data))
			if !reflect.DeepEqual(f.Metadata(), c.metadata) {
				t.Errorf("metadata: got %q, want %q", f.Metadata(), c.metadata)
			}
			var names []string
			for _, want := range c.tensors {
				names = append(names, want.Name)
				got, ok := f.Tensor(want.Name)
				if !ok || got.DType != want.DType || !slices.Equal(got.Shape, want.Shape) || !bytes.Equal(got.Data, want.Data) {
					t.Errorf("%q: got %v %s %v %x, want %s %v %x", want.Name, ok, got.DType, got.Shape, got.Data, want.DType, want.Shape, want.Data)
				}
				if cap(got.Data) != len(got.Data) {
					t.Errorf("%q: capacity %d reaches into the next tensor", want.Name, cap(got.Data))
				}
				dst := make([]byte, len(want.Data))
				if err := got.CopyTo(dst); err != nil || !bytes.Equal(dst, want.Data) {
					t.Errorf("%q: copy got %x, %v, want %x", want.Name, dst, err, want.Data)
				}
			}
			if got := f.Names(); !slices.Equal(got, names) {
				t.Errorf("names: got %q, want %q", got, names)
			}
			if _, ok := f.Tensor("not there"); ok {
				t.Error("got a tensor that is not there")
			}
			if again := encode(t, c.tensors, c.metadata); !bytes.Equal(again, data) {
				t.Error("the same tensors gave other bytes")
			}
		})
	}
}

// A LoRA adapter as another program, Hugging Face's library, wrote it.
func TestForeignFile(t *testing.T) {
	path := filepath.Join("testdata", "adapter_model.safetensors")
	f := open(t, path)
	if got, want := f.Metadata(), map[string]string{"format": "pt"}; !maps.Equal(got, want) {
		t.Errorf("metadata: got %q, want %q", got, want)
	}
	var tensors []Tensor
	for _, n := range f.Names() {
		x, _ := f.Tensor(n)
		want := []int{64, 4}
		if strings.HasSuffix(n, "lora_A.weight") {
			want = []int{4, 64}
		}
		if x.DType != F32 || !slices.Equal(x.Shape, want) {
			t.Errorf("%s: got %s %v, want F32 %v", n, x.DType, x.Shape, want)
		}
		if !x.Aligned() {
			t.Errorf("%s: data is not aligned", n)
		}
		for i := 0; i < len(x.Data); i += 4 {
			if v := math.Float32frombits(binary.LittleEndian.Uint32(x.Data[i:])); !(math.Abs(float64(v)) < 10) {
				t.Fatalf("%s: element %d is %v, not a weight", n, i/4, v)
			}
		}
		tensors = append(tensors, x)
	}
	if len(tensors) != 8 {
		t.Fatalf("got %d tensors, want 8", len(tensors))
	}
	if got, want := tensors[0].Name, "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"; got != want {
		t.Errorf("first tensor: got %s, want %s", got, want)
	}
	original, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(encode(t, tensors, f.Metadata()), original) {
		t.Error("written again, the file has other bytes")
	}
}

// A header that is not padded puts F32 data at an odd address; that is legal.
func TestMisalignedHeader(t *testing.T) {
	for pad := range 8 {
		h := `{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}` + strings.Repeat(" ", pad)
		f := open(t, save(t, "x.safetensors", raw(h, string(numbered(8, 1)))))
		x, _ := f.Tensor("a")
		if got, want := x.Aligned(), len(h)%4 == 0; got != want {
			t.Errorf("header of %d bytes: aligned %v, want %v", len(h), got, want)
		}
		if !bytes.Equal(x.Data, numbered(8, 1)) {
			t.Errorf("header of %d bytes: got %x", len(h), x.Data)
		}
	}
}

func TestWriterErrors(t *testing.T) {
	u8 := func(name string, n int) Info { return Info{Name: name, DType: U8, Shape: []int{n}} }
	for want, infos := range map[string][]Info{
		`tensor "a": is there twice`:                      {u8("a", 1), u8("a", 1)},
		`tensor "__metadata__": the name is reserved`:     {u8(metadataKey, 1)},
		`tensor "a": shape [-1] has a negative dimension`: {u8("a", -1)},
		`tensor "a": unknown dtype "Q4"`:                  {{Name: "a", DType: "Q4"}},
		`more bytes than 63 bits can count`:               {{Name: "a", DType: U8, Shape: []int{1 << 32, 1 << 32}}},
		`makes the file longer than 63 bits can count`:    {u8("a", math.MaxInt), u8("b", 1)},
		`name is not valid Unicode`:                       {u8("\xff", 1)},
		`name of 4097 bytes, want at most 4096`:           {u8(strings.Repeat("a", maxName+1), 1)},
		`65 dimensions, want at most 64`:                  {{Name: "a", DType: U8, Shape: make([]int, maxRank+1)}},
	} {
		var b bytes.Buffer
		if _, err := NewWriter(&b, infos, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
		if b.Len() > 0 {
			t.Errorf("%s: wrote %d bytes", want, b.Len())
		}
	}
	if _, err := NewWriter(&bytes.Buffer{}, nil, map[string]string{"k": "\xff"}); err == nil {
		t.Error("metadata that is not UTF-8: got no error")
	}

	w, err := NewWriter(&bytes.Buffer{}, []Info{u8("a", 2), u8("b", 1)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name string
		n    int
		want string
	}{
		{"b", 1, `tensor "b": want "a", the next one of the header`},
		{"a", 3, `tensor "a": 3 bytes, but U8 [2] has 2`},
		{"a", 2, ``},
		{"", -1, `tensor "b": not written, nor are the 0 after it`}, // Close
		{"a", 2, `tensor "a": want "b", the next one of the header`},
		{"b", 1, ``},
		{"c", 1, `tensor "c": all 2 tensors of the header are written`},
		{"", -1, ``},
	} {
		got := ""
		if step.n < 0 {
			err = w.Close()
		} else {
			err = w.Write(step.name, make([]byte, step.n))
		}
		if err != nil {
			got = err.Error()
		}
		if got != step.want {
			t.Errorf("%s, %d bytes: got %q, want %q", step.name, step.n, got, step.want)
		}
	}
}

// full takes n bytes and then fails as a full disk does.
type full struct{ n int }

func (f *full) Write(p []byte) (int, error) {
	if f.n -= len(p); f.n < 0 {
		return 0, fs.ErrPermission
	}
	return len(p), nil
}

// The error of the disk comes through at every point, and stays.
func TestWriterFullDisk(t *testing.T) {
	tensors := []Tensor{{Name: "a", DType: U8, Shape: []int{100}, Data: numbered(100, 1)}, {Name: "b", DType: U8, Shape: []int{100}, Data: numbered(100, 2)}}
	size := len(encode(t, tensors, nil))
	for n := range size {
		if err := Write(&full{n}, tensors, nil); !errors.Is(err, fs.ErrPermission) {
			t.Fatalf("disk of %d bytes for %d: got %v", n, size, err)
		}
	}
	if err := Write(&full{size}, tensors, nil); err != nil {
		t.Errorf("disk of %d bytes: got %v", size, err)
	}
	w, err := NewWriter(&full{size - 200}, []Info{{"a", U8, []int{100}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.Write("a", tensors[0].Data)
	if err := w.Close(); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("close after a failed write: got %v", err)
	}
}

func BenchmarkOpenAndCopy(b *testing.B) {
	const n, size = 64, 1 << 20
	var tensors []Tensor
	for i := range n {
		tensors = append(tensors, Tensor{Name: fmt.Sprint("layer.", i), DType: BF16, Shape: []int{size / 2}, Data: numbered(size, i)})
	}
	path := save(b, "x.safetensors", encode(b, tensors, nil))
	dst := make([]byte, size)
	b.SetBytes(n * size)
	for b.Loop() {
		f, err := Open(path)
		if err != nil {
			b.Fatal(err)
		}
		for _, name := range f.Names() {
			x, _ := f.Tensor(name)
			if err := x.CopyTo(dst); err != nil {
				b.Fatal(err)
			}
		}
		f.Close()
	}
}

// BenchmarkHeader opens a file with as many tensors as a mixture-of-experts shard.
func BenchmarkHeader(b *testing.B) {
	var tensors []Tensor
	for i := range 5000 {
		tensors = append(tensors, Tensor{Name: fmt.Sprintf("model.layers.%d.mlp.experts.7.down_proj.weight", i), DType: BF16, Shape: []int{1, 2}, Data: make([]byte, 4)})
	}
	path := save(b, "x.safetensors", encode(b, tensors, nil))
	b.ReportAllocs()
	for b.Loop() {
		f, err := Open(path)
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}
