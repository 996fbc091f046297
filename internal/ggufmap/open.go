package ggufmap

import (
	"fmt"
	"io"
	"os"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/gguf"
	"github.com/litgpt-go/litgpt/internal/safetensors"
)

// Model is an opened GGUF file as a checkpoint: a checkpoint.Source. Its methods may be called by several
// goroutines at once, except Close.
type Model struct {
	Config []byte // config.json, for models.New
	path   string
	f      *gguf.File
	src    checkpoint.Source
}

// Is reports whether path is a GGUF file, by its first bytes. What cannot be read is none.
func Is(path string) bool {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	magic := make([]byte, 4)
	_, err = io.ReadFull(f, magic)
	return err == nil && string(magic) == "GGUF"
}

// Open opens the model in the file at path. Errors begin with path.
func Open(path string) (*Model, error) {
	f, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	src, config, err := Source(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &Model{Config: config, path: path, f: f, src: src}, nil
}

// File gives the file, for its metadata.
func (m *Model) File() *gguf.File { return m.f }

// Files is the path alone.
func (m *Model) Files() []string { return []string{m.path} }

// Names implements checkpoint.Source.
func (m *Model) Names() []string { return m.src.Names() }

// Tensor implements checkpoint.Source.
func (m *Model) Tensor(name string) (safetensors.Tensor, bool) { return m.src.Tensor(name) }

// Header implements checkpoint.Headers.
func (m *Model) Header(name string) (safetensors.Tensor, bool) { return checkpoint.Header(m.src, name) }

// Close unmaps the file.
func (m *Model) Close() error { return m.f.Close() }
