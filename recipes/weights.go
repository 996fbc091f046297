package recipes

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/durable"
	"github.com/litgpt-go/litgpt/internal/ggufmap"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/models"
	"github.com/litgpt-go/litgpt/tokenizer"
)

// weights are those of an opened checkpoint, which is a Hugging Face directory or a GGUF file.
type weights interface {
	checkpoint.Source
	Files() []string
	Close() error
}

// ggufFile gives the GGUF file that path means: itself, or the only one of a directory that has no
// config.json. "" is none.
func ggufFile(path string) string {
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		if err == nil && ggufmap.Is(path) {
			return path
		}
		return ""
	}
	if exists(filepath.Join(path, "config.json")) {
		return ""
	}
	all, err := filepath.Glob(filepath.Join(escapeGlob(path), "*.gguf"))
	if err != nil || len(all) != 1 || !ggufmap.Is(all[0]) {
		return ""
	}
	return all[0]
}

// escapeGlob makes a pattern that matches path itself.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// readConfig gives config.json of a checkpoint; that of a GGUF file is made of its metadata.
func readConfig(base string) ([]byte, error) {
	if ggufFile(base) == "" {
		return checkpoint.ReadConfig(base)
	}
	config, src, err := openWeights(base)
	if err != nil {
		return nil, err
	}
	return config, src.Close()
}

// openWeights opens a checkpoint's config.json and its weights.
func openWeights(base string) ([]byte, weights, error) {
	if file := ggufFile(base); file != "" {
		m, err := ggufmap.Open(file)
		if err != nil {
			return nil, nil, err
		}
		return m.Config, m, nil
	}
	config, err := checkpoint.ReadConfig(base)
	if err != nil {
		return nil, nil, err
	}
	src, err := safetensors.OpenDir(base)
	if err != nil {
		return nil, nil, err
	}
	return config, src, nil
}

// loadTokenizer opens the tokenizer of a checkpoint.
func loadTokenizer(base string) (*tokenizer.Tokenizer, error) {
	if file := ggufFile(base); file != "" {
		return tokenizer.Open(file)
	}
	return tokenizer.Load(base)
}

// copySidecars puts the tokenizer and the generation settings of a checkpoint into d. Those of a GGUF file
// become the files that a Hugging Face directory has.
func copySidecars(d *durable.Dir, base string) error {
	file := ggufFile(base)
	if file == "" {
		return checkpoint.CopySidecars(d, base)
	}
	files, err := tokenizer.Files(file)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := d.WriteFile(name, files[name]); err != nil {
			return err
		}
	}
	return nil
}

// matrixTypes are the types of a model's matrices, that of most elements first: Q4_K+Q6_K.
func matrixTypes(m models.Model) string {
	count := map[tensor.DType]int{}
	for _, p := range nn.Params(m) {
		if len(p.Shape()) > 1 {
			count[p.DType()] += p.Numel()
		}
	}
	types := slices.SortedFunc(maps.Keys(count), func(a, b tensor.DType) int { return count[b] - count[a] })
	var names []string
	for _, t := range types {
		names = append(names, t.String())
	}
	return strings.Join(names, "+")
}
