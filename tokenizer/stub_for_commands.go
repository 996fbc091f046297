package tokenizer

import (
	"fmt"
	"os"
	"path/filepath"
)

// This file is to be deleted when the loaders' open.go is merged.

// Open reads a tokenizer.
func Open(path string) (*Tokenizer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return Load(path)
	}
	if filepath.Ext(path) != ".json" {
		return nil, fmt.Errorf("%s: not a tokenizer.json", path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	t, err := Parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}
