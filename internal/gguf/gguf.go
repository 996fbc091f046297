// Package gguf reads and writes the GGUF format of llama.cpp: a header, typed metadata,
// the descriptions of the tensors, padding, then the bytes of the tensors.
//
// Versions 2 and 3 in little-endian order are read; version 1 and big-endian files
// are refused by name. Files come from strangers, so a reader believes nothing:
// every count, length and offset is compared with the bytes that are there before
// anything is allocated, and what is allocated is bounded by the size of the
// metadata, never by a number in it. A file that is opened is consistent: keys and
// names are unique, types are known, tensors lie within the file and do not
// overlap. Values are not looked at, and nothing is dequantized.
//
// Start with Open; Text, Int, Strings and their kin read metadata, Tensor gives
// weights. NewWriter is the way out.
//
// # Mapped memory
//
// On Unix the file is a read-only memory mapping and Tensor.Data is the page cache
// itself: opening costs what the metadata costs. Metadata is copied and stays good
// after Close; Data must not be read then, nor ever be written. When another
// process truncates the file while it is mapped, a read of Data ends the program;
// Tensor.CopyTo gives an error instead. Use it before handing weights to a backend.
package gguf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"github.com/litgpt-go/litgpt/internal/mmap"
)

// File is an open GGUF file. Its methods may be called by several goroutines at
// once, except Close.
type File struct {
	path    string // for errors; "" when it was parsed from memory
	head    header
	mapped  []byte // the whole file; nil when closed
	release func([]byte) error
}

// Open opens and checks the file at path. Errors begin with path and say what is
// wrong and what to do; those of the operating system can be unwrapped.
func Open(path string) (*File, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close() // a mapping outlives its descriptor
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, cause(err))
	}
	size := info.Size()
	switch {
	case size < minFile:
		return nil, fmt.Errorf("%s: has %d bytes, want at least the %d of a GGUF header; download it again", path, size, minFile)
	case int64(int(size)) != size:
		return nil, fmt.Errorf("%s: file of %d bytes is too large for a %d-bit program", path, size, strconv.IntSize)
	}
	mapped, release, err := mmap.Map(f, int(size))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, cause(err))
	}
	g := &File{path: path, mapped: mapped, release: release}
	err = mmap.Guard(mapped, func() error {
		var err error
		if g.head, err = parse(mapped); err == nil {
			g.head.own()
		}
		return err
	})
	if err != nil {
		release(mapped)
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return g, nil
}

// Parse checks a file that is in memory. The File keeps b, which must not change.
func Parse(b []byte) (*File, error) {
	head, err := parse(b)
	if err != nil {
		return nil, err
	}
	return &File{head: head, mapped: b, release: func([]byte) error { return nil }}, nil
}

// Version is 2 or 3.
func (f *File) Version() int { return int(f.head.version) }

// Close unmaps the file: Data of its tensors must not be read any more.
func (f *File) Close() error {
	if f.mapped == nil {
		return nil
	}
	mapped := f.mapped
	f.mapped = nil
	if err := f.release(mapped); err != nil {
		return fmt.Errorf("%s: close: %w", f.path, err)
	}
	return nil
}

// errorf begins with the path, if there is one.
func (f *File) errorf(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if f.path != "" {
		err = fmt.Errorf("%s: %w", f.path, err)
	}
	return err
}

// openRegular opens a file of bytes. It asks first, since opening a named pipe
// would wait for a writer.
func openRegular(path string) (*os.File, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, cause(err)
	case info.IsDir():
		return nil, errors.New("is a directory, want a file")
	case !info.Mode().IsRegular():
		return nil, errors.New("is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, cause(err)
	}
	return f, nil
}

// cause strips the operation and the path that package os adds, since our errors
// begin with the path already.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
