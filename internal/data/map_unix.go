//go:build unix

package data

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// mapFile gives the bytes of a file without reading them into memory, where the
// file system allows it, and what ends that.
func mapFile(f *os.File) (b []byte, unmap func() error, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if size := info.Size(); size > 0 && size == int64(int(size)) {
		if b, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED); err == nil {
			return b, func() error { return unix.Munmap(b) }, nil
		}
	}
	b, err = io.ReadAll(f)
	return b, func() error { return nil }, err
}
