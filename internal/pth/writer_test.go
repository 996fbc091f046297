package pth

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/safetensors"
)

// encode writes tensors, each in two parts.
func encode(t *testing.T, key string, tensors ...safetensors.Tensor) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := NewWriter(&buf, "lit_model")
	for _, x := range tensors {
		a, b := x, x
		a.Data, b.Data = x.Data[:len(x.Data)/2], x.Data[len(x.Data)/2:]
		if err := w.Write(x, []safetensors.Tensor{a, b}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(key); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestWriter(t *testing.T) {
	for _, name := range []string{"types", "views"} {
		for _, key := range []string{"", "model"} {
			want, err := safetensors.Open("testdata/" + name + ".safetensors")
			if err != nil {
				t.Fatal(err)
			}
			defer want.Close()
			var list []safetensors.Tensor
			for _, n := range want.Names() {
				if x, _ := want.Tensor(n); classes[x.DType] != "" {
					list = append(list, x)
				}
			}
			data := encode(t, key, list...)
			if again := encode(t, key, list...); !bytes.Equal(data, again) {
				t.Error("a second time the bytes differ")
			}
			path := filepath.Join(t.TempDir(), "x.pth")
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
			f := load(t, path)
			for _, x := range list {
				y, ok := f.Tensor(x.Name)
				if !ok || y.DType != x.DType || len(y.Shape) != len(x.Shape) || !bytes.Equal(x.Data, y.Data) {
					t.Errorf("%s: got %v, want %v", x.Name, y, x)
				}
			}
			if got := f.Names(); len(got) != len(list) {
				t.Errorf("got %q", got)
			}
			for _, v := range f.tensors {
				if v.storage.offset%alignment != 0 {
					t.Errorf("a record begins at %d", v.storage.offset)
				}
			}
			z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range z.File { // the checksums, which our reader does not look at
				r, err := e.Open()
				if err == nil {
					_, err = io.Copy(io.Discard, r)
				}
				if err != nil {
					t.Errorf("%s: %v", e.Name, err)
				}
			}
		}
	}
}

func TestShare(t *testing.T) {
	var buf bytes.Buffer
	w := NewWriter(&buf, "x")
	x := safetensors.Tensor{Name: "a", DType: "F32", Shape: []int{2, 1}, Data: []byte("12345678")}
	if err := w.Write(x, []safetensors.Tensor{x}); err != nil {
		t.Fatal(err)
	}
	if err := w.Share("b", "a"); err != nil {
		t.Fatal(err)
	}
	if err := w.Share("c", "none"); err == nil || !strings.Contains(err.Error(), `"none", with which it shares its elements, is not written`) {
		t.Errorf("got %v", err)
	}
	if err := w.Share("a", "b"); err == nil || !strings.Contains(err.Error(), "is written already") {
		t.Errorf("got %v", err)
	}
	if err := w.Close(""); err != nil {
		t.Fatal(err)
	}
	f, err := openBytes(t, buf.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a, _ := f.Tensor("a")
	b, _ := f.Tensor("b")
	if &a.Data[0] != &b.Data[0] || string(b.Data) != "12345678" {
		t.Errorf("got %q and %q, want one storage", a.Data, b.Data)
	}
}

func TestWriterErrors(t *testing.T) {
	ok := safetensors.Tensor{Name: "a", DType: "F32", Shape: []int{2}, Data: make([]byte, 8)}
	with := func(change func(*safetensors.Tensor)) safetensors.Tensor {
		x := ok
		change(&x)
		return x
	}
	for name, c := range map[string]struct {
		x    safetensors.Tensor
		want string
	}{
		"type":  {with(func(x *safetensors.Tensor) { x.DType = "Q4_K" }), `elements of type "Q4_K" cannot be stored in a PyTorch file; convert them`},
		"short": {with(func(x *safetensors.Tensor) { x.Data = x.Data[:7] }), "7 bytes, but F32 [2] has 8"},
		"name":  {with(func(x *safetensors.Tensor) { x.Name = "\xff" }), "not valid Unicode"},
		"shape": {with(func(x *safetensors.Tensor) { x.Shape = []int{-2} }), "is not one"},
		"large": {with(func(x *safetensors.Tensor) { x.Shape = []int{1 << 40, 1 << 40} }), "is not one"},
	} {
		w := NewWriter(io.Discard, "x")
		if err := w.Write(c.x, []safetensors.Tensor{c.x}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
	full := errors.New("disk full")
	w := NewWriter(failing{full}, "x")
	big := safetensors.Tensor{Name: "b", DType: "U8", Shape: []int{1 << 20}, Data: make([]byte, 1<<20)}
	err := w.Write(big, []safetensors.Tensor{big})
	if closing := w.Close(""); !errors.Is(err, full) || !errors.Is(closing, full) {
		t.Errorf("got %v, then %v", err, closing)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// sparse keeps the bytes of a file that is mostly zeros.
type sparse struct {
	size   int64
	blocks map[int64][]byte // of 64 KiB, by number
}

const block = 1 << 16

var zeros [block]byte

func (s *sparse) Write(p []byte) (int, error) {
	for n := len(p); n > 0; {
		m := min(n, int(block-s.size%block))
		if part := p[len(p)-n:][:m]; !bytes.Equal(part, zeros[:m]) {
			b := s.blocks[s.size/block]
			if b == nil {
				b = make([]byte, block)
				s.blocks[s.size/block] = b
			}
			copy(b[s.size%block:], part)
		}
		s.size += int64(m)
		n -= m
	}
	return len(p), nil
}

func (s *sparse) ReadAt(p []byte, at int64) (int, error) {
	for n := 0; n < len(p); {
		if at >= s.size {
			return n, io.EOF
		}
		m := int(min(int64(len(p)-n), block-at%block, s.size-at))
		clear(p[n : n+m])
		if b := s.blocks[at/block]; b != nil {
			copy(p[n:n+m], b[at%block:])
		}
		n += m
		at += int64(m)
	}
	return len(p), nil
}

// TestZip64 writes a tensor of more than 4 GiB, and one behind it.
func TestZip64(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 4 GiB of zeros")
	}
	part := safetensors.Tensor{DType: "U8", Data: make([]byte, 1<<26)}
	var parts []safetensors.Tensor
	for range 65 {
		parts = append(parts, part)
	}
	s := &sparse{blocks: map[int64][]byte{}}
	w := NewWriter(s, "x")
	small := safetensors.Tensor{Name: "b", DType: "U8", Shape: []int{3}, Data: []byte("abc")}
	for _, err := range []error{
		w.Write(safetensors.Tensor{Name: "a", DType: "U8", Shape: []int{65, 1 << 26}}, parts),
		w.Write(small, []safetensors.Tensor{small}), w.Close("model"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	a, err := openArchive(s, s.size)
	if err != nil {
		t.Fatal(err)
	}
	_, tensors, err := a.state()
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 3)
	if _, err := s.ReadAt(got, tensors["b"].storage.offset); err != nil || string(got) != "abc" || tensors["a"].numel() != 65<<26 {
		t.Errorf("got %q of %v, %v", got, tensors, err)
	}
	if o := tensors["b"].storage.offset; o < 1<<32 || o%alignment != 0 {
		t.Errorf("b begins at %d", o)
	}
}
