package durable

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// File is one file on its way to the disk, for what is too long to be in memory at
// once: WriteFile in pieces. Not for several goroutines.
type File struct {
	path, tmp string
	f         *os.File
	buf       *bufio.Writer
	err       error
	done      bool
}

// CreateFile begins a new version of the file at path; perm is subject to the umask.
// What is there stays until Commit. Commit or Abort must follow.
func CreateFile(path string, perm os.FileMode) (*File, error) {
	tmp := sibling(path, tmpMark)
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return nil, failed(path, err)
	}
	lock(f) // released by closing it
	return &File{path: path, tmp: tmp, f: f, buf: bufio.NewWriterSize(f, 1<<20)}, nil
}

// Write appends p.
func (f *File) Write(p []byte) (int, error) {
	if f.done {
		return 0, fmt.Errorf("%s: %w", f.path, fs.ErrClosed)
	}
	if f.err != nil {
		return 0, f.err
	}
	n, err := f.buf.Write(p)
	if err != nil {
		f.err = failed(f.path, err)
	}
	return n, f.err
}

// Written gives the path of what was written so far, so that it can be looked at
// before Commit.
func (f *File) Written() (string, error) {
	if f.err == nil && !f.done {
		if err := f.buf.Flush(); err != nil {
			f.err = failed(f.path, err)
		}
	}
	return f.tmp, f.err
}

// Commit makes what was written durable and puts it in its place. After an error, of
// this or of an earlier Write, what was at path is untouched and nothing else is left.
func (f *File) Commit() error {
	if f.done {
		return f.err
	}
	for _, step := range []func() error{f.buf.Flush, f.f.Sync, f.f.Close, func() error { return os.Rename(f.tmp, f.path) }} {
		if f.err == nil {
			if err := step(); err != nil {
				f.err = failed(f.path, err)
			}
		}
	}
	if f.err != nil {
		err := f.err
		f.Abort()
		return err
	}
	f.done = true
	if err := syncDir(filepath.Dir(f.path)); err != nil {
		f.err = failed(f.path, err)
	}
	return f.err
}

// Abort removes what was written, unless Commit has put it in its place.
func (f *File) Abort() {
	if f.done {
		return
	}
	f.done = true
	f.f.Close()
	os.Remove(f.tmp)
}
