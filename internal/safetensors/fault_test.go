//go:build unix

package safetensors

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A file truncated while it is mapped gives errors, and the program lives.
func TestTruncatedWhileMapped(t *testing.T) {
	const size = 1 << 20
	path := save(t, "x.safetensors", encode(t, []Tensor{
		{Name: "a", DType: U8, Shape: []int{size}, Data: numbered(size, 1)},
		{Name: "b", DType: U8, Shape: []int{size}, Data: numbered(size, 2)},
	}, nil))
	f := open(t, path)
	a, _ := f.Tensor("a")
	b, _ := f.Tensor("b")
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	const want = `tensor "b": its 1048576 bytes cannot be read: the file was truncated`
	err := b.CopyTo(make([]byte, size))
	if err == nil || !strings.HasPrefix(err.Error(), path+": "+want) {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := Write(&bytes.Buffer{}, []Tensor{b}, nil); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("write: got %v, want %s", err, want)
	}
	part := a // what is left can still be read, piece by piece
	part.Data = a.Data[:size/2]
	dst := make([]byte, size/2)
	if err := part.CopyTo(dst); err != nil || !bytes.Equal(dst, numbered(size/2, 1)) {
		t.Errorf("first half of a: got %v", err)
	}
}

func TestCopyTo(t *testing.T) {
	path := filepath.Join("testdata", "adapter_model.safetensors")
	f := open(t, path)
	x, _ := f.Tensor(f.Names()[0])
	if err := x.CopyTo(make([]byte, 5)); err == nil || !strings.Contains(err.Error(), "1024 bytes do not fit a buffer of 5 bytes") {
		t.Errorf("short buffer: got %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Errorf("second close: got %v", err)
	}
	if _, ok := f.Tensor(x.Name); ok {
		t.Error("closed file still gives tensors")
	}
	// A panic that has nothing to do with the mapping goes on.
	defer func() {
		if recover() == nil {
			t.Error("a foreign panic was swallowed")
		}
	}()
	x.guard(func() error { panic("other") })
}

// Opening must not wait for somebody to write to a pipe.
func TestPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "model.safetensors")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Skipf("no pipes here: %v", err)
	}
	if _, err := Open(path); err == nil || !strings.HasSuffix(err.Error(), "is not a regular file") {
		t.Errorf("got %v", err)
	}
}
