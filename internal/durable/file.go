package durable

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io/fs"
	"os"
)

// file is a file of a Dir. Not for several goroutines.
type file struct {
	dir         *Dir
	name, final string
	f           *os.File
	buf         *bufio.Writer
	sum         hash.Hash
	size        int64
	closed      bool
	err         error
}

func newFile(d *Dir, name, final string, f *os.File) *file {
	return &file{dir: d, name: name, final: final, f: f, buf: bufio.NewWriterSize(f, 1<<20), sum: sha256.New()}
}

func (f *file) Write(p []byte) (int, error) {
	if f.closed {
		return 0, fmt.Errorf("%s: %w", f.final, fs.ErrClosed)
	}
	if f.err != nil {
		return 0, f.err
	}
	n, err := f.buf.Write(p)
	f.sum.Write(p[:n])
	f.size += int64(n)
	if err != nil {
		f.fail(err)
	}
	return n, f.err
}

func (f *file) fail(err error) {
	f.dir.mu.Lock()
	defer f.dir.mu.Unlock()
	f.err = f.dir.fail(f.final, err)
}

// Close makes the file durable. A second Close gives the result of the first.
func (f *file) Close() error {
	if f.closed {
		return f.err
	}
	f.closed = true
	for _, step := range []func() error{f.buf.Flush, f.f.Sync} {
		if f.err == nil {
			if err := step(); err != nil {
				f.fail(err)
			}
		}
	}
	if err := f.f.Close(); err != nil && f.err == nil {
		f.fail(err)
	}
	f.dir.mu.Lock()
	defer f.dir.mu.Unlock()
	delete(f.dir.open, f.name)
	if f.err == nil {
		f.dir.files[f.name] = fileEntry{Size: f.size, SHA256: hex.EncodeToString(f.sum.Sum(nil))}
	}
	return f.err
}
