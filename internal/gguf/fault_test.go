//go:build unix

package gguf

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/litgpt-go/litgpt/internal/mmap"
)

// A file truncated while it is mapped gives errors, and the program lives.
func TestTruncatedWhileMapped(t *testing.T) {
	const size = 1 << 20
	path := save(t, head(2, 0).tensor("a", I8, 0, size).tensor("b", I8, size, size).data(32, 2*size).b)
	f := open(t, path)
	b, _ := f.Tensor("b")
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	err := b.CopyTo(make([]byte, size))
	if err == nil || !strings.HasPrefix(err.Error(), path+`: tensor "b": its 1048576 bytes cannot be read: the file was truncated`) {
		t.Errorf("got %v", err)
	}
	// A panic that has nothing to do with the mapping goes on.
	defer func() {
		if recover() == nil {
			t.Error("a foreign panic was swallowed")
		}
	}()
	mmap.Guard(b.Data, func() error { panic("other") })
}

// Opening must not wait for somebody to write to a pipe.
func TestPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "model.gguf")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Skipf("no pipes here: %v", err)
	}
	if _, err := Open(path); err == nil || !strings.HasSuffix(err.Error(), "is not a regular file") {
		t.Errorf("got %v", err)
	}
}
