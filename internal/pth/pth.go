// Package pth reads and writes what torch.save writes: a zip archive with a pickle,
// which says what tensors there are, and a record of bytes for each storage they lie in.
//
// A pickle is a program: Python calls whatever it names. Here it is read by an
// interpreter that knows the few things a checkpoint is made of (pickle.go), makes
// values of its own out of them and runs nothing. Everything else is refused, with
// the name of what would have been called. Files come from strangers, so what is
// allocated is bounded by the size of the file, every tensor has to lie inside its
// storage, and records are neither compressed nor copied: the bytes of a tensor are
// those of the mapped file, as in package safetensors, whose notes on mapped memory
// hold here as well.
//
// Start with Open for one file, OpenDir for the shards of a Hugging Face checkpoint,
// NewWriter for the way out. The package does not convert dtypes.
package pth

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/litgpt-go/litgpt/internal/mmap"
	"github.com/litgpt-go/litgpt/internal/safetensors"
)

// File is an open checkpoint. Its methods may be called by several goroutines at
// once, except Close.
type File struct {
	path    string
	mapped  []byte // the whole file; nil when closed
	release func([]byte) error
	names   []string
	tensors map[string]view
}

// Open opens and checks the file at path. Its tensors are those of the dictionary that was
// saved, or of its "model" or "state_dict", where LitGPT's and Lightning's training
// states have them. Errors begin with path; those of the operating system can be unwrapped.
func Open(path string) (*File, error) {
	f, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

func open(path string) (*File, error) {
	file, size, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer file.Close() // a mapping outlives its descriptor
	a, err := openArchive(file, size)
	if err != nil {
		return nil, err
	}
	names, tensors, err := a.state()
	if err != nil {
		return nil, err
	}
	mapped, release, err := mmap.Map(file, int(size))
	if err != nil {
		return nil, cause(err)
	}
	return &File{path: path, mapped: mapped, release: release, names: names, tensors: tensors}, nil
}

// Files is the path alone.
func (f *File) Files() []string { return []string{f.path} }

// Names lists the tensors in the order of the dictionary.
func (f *File) Names() []string { return slices.Clone(f.names) }

// Tensor gives the tensor called name, row-major: its Data aliases the file and is valid
// until Close, except where the elements do not lie in the file one after the other
// (a transposed view): those are copied by every call. On a closed file there are none.
func (f *File) Tensor(name string) (safetensors.Tensor, bool) {
	v, ok := f.tensors[name]
	if !ok || f.mapped == nil {
		return safetensors.Tensor{}, false
	}
	t := safetensors.Tensor{Name: name, DType: v.dtype, Shape: slices.Clone(v.shape)}
	size := int64(v.dtype.Size())
	begin := v.storage.offset + v.offset*size
	if v.contiguous() {
		end := begin + v.numel()*size
		t.Data = f.mapped[begin:end:end]
		return t, true
	}
	all := t
	all.Data = f.mapped[begin : begin+v.span()*size]
	span := make([]byte, len(all.Data))
	if err := all.CopyTo(span); err != nil { // the file was truncated since it was opened
		return safetensors.Tensor{}, false
	}
	t.Data = make([]byte, v.numel()*size)
	v.gather(t.Data, span)
	return t, true
}

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

// openRegular opens a file of bytes. It asks first, since opening a named pipe
// would wait for a writer.
func openRegular(path string) (*os.File, int64, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, 0, cause(err)
	case info.IsDir():
		return nil, 0, errors.New("is a directory, want a file")
	case !info.Mode().IsRegular():
		return nil, 0, errors.New("is not a regular file")
	case int64(int(info.Size())) != info.Size():
		return nil, 0, fmt.Errorf("file of %d bytes is too large for this program", info.Size())
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, cause(err)
	}
	return f, info.Size(), nil
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

// quote is %q, shortened: names come from the file.
func quote(name string) string {
	const most = 120
	if len(name) > most {
		return fmt.Sprintf("%q…", strings.ToValidUTF8(name[:most], ""))
	}
	return fmt.Sprintf("%q", name)
}
