//go:build unix

package mmap

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Map maps the size bytes of f read-only. size is not 0: an empty
// mapping is an error on every Unix.
func Map(f *os.File, size int) (mapped []byte, release func([]byte) error, err error) {
	mapped, err = unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, fmt.Errorf("map %d bytes: %w", size, err)
	}
	return mapped, unix.Munmap, nil
}
