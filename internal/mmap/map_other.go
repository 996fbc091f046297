//go:build !unix

package mmap

import (
	"fmt"
	"io"
	"os"
)

// Map reads the size bytes of f into memory where there is no mmap.
func Map(f *os.File, size int) (mapped []byte, release func([]byte) error, err error) {
	mapped = make([]byte, size)
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, int64(size)), mapped); err != nil {
		return nil, nil, fmt.Errorf("read %d bytes: %w", size, err)
	}
	return mapped, func([]byte) error { return nil }, nil
}
