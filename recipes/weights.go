package recipes

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/durable"
	"github.com/litgpt-go/litgpt/internal/ggufmap"
	"github.com/litgpt-go/litgpt/internal/litgpt"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/pth"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/models"
	"github.com/litgpt-go/litgpt/tokenizer"
)

// weights are those of an opened checkpoint.
type weights interface {
	checkpoint.Source
	Files() []string
	Close() error
}

// form is the layout of a checkpoint on the disk.
type form string

// The forms. LitGPT's programs leave Hugging Face's files beside their own, which hold the same
// weights: a directory with both is one of Hugging Face's.
const (
	formHF   form = "hf"     // config.json and *.safetensors, or pytorch_model*.bin
	formGGUF form = "gguf"   // one file, or a directory with one
	formLit  form = "litgpt" // model_config.yaml and lit_model.pth
)

// formOf says what a path holds; formHF when it is nothing known.
func formOf(path string) form {
	has := func(name string) bool { return exists(filepath.Join(path, name)) }
	switch {
	case ggufFile(path) != "":
		return formGGUF
	case !has(litgpt.ConfigFile):
		return formHF
	case !has("config.json"), !slices.ContainsFunc(hfWeights, has):
		return formLit
	}
	return formHF
}

// hfWeights are the files by which weights of Hugging Face's layout begin.
var hfWeights = []string{"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"}

// isCheckpoint reports whether a path looks like a checkpoint.
func isCheckpoint(path string) bool {
	return exists(filepath.Join(path, "config.json")) || formOf(path) != formHF
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

// readConfig gives config.json of a checkpoint; where it has none, it is made of what it has.
func readConfig(base string) ([]byte, error) {
	if formOf(base) == formHF {
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
	switch formOf(base) {
	case formGGUF:
		m, err := ggufmap.Open(ggufFile(base))
		if err != nil {
			return nil, nil, err
		}
		return m.Config, m, nil
	case formLit:
		config, view, err := litgpt.Open(base)
		if err != nil {
			return nil, nil, litAdvice(base, err)
		}
		return config, litWeights{view, base}, nil
	}
	config, err := checkpoint.ReadConfig(base)
	if err != nil {
		return nil, nil, err
	}
	if _, err := models.New(config); err != nil { // reported before weights that are missing
		return nil, nil, fmt.Errorf("%s: %w", base, err)
	}
	if !exists(filepath.Join(base, hfWeights[0])) && !exists(filepath.Join(base, hfWeights[1])) &&
		(exists(filepath.Join(base, hfWeights[2])) || exists(filepath.Join(base, hfWeights[3]))) {
		src, err := pth.OpenDir(base)
		if err != nil {
			return nil, nil, err
		}
		return config, src, nil
	}
	src, err := safetensors.OpenDir(base)
	if err != nil {
		return nil, nil, err
	}
	return config, src, nil
}

// litWeights are those of a directory of LitGPT's, under their names at Hugging Face.
type litWeights struct {
	*litgpt.View
	dir string
}

// Files lists what makes the model: the configuration, too.
func (w litWeights) Files() []string {
	return []string{filepath.Join(w.dir, litgpt.ConfigFile), filepath.Join(w.dir, litgpt.WeightsFile)}
}

// litAdvice says what else a directory without the weights of a whole model holds.
func litAdvice(dir string, err error) error {
	if litAdapter(dir, false) != "" {
		return litLoRA(dir)
	}
	for _, kind := range []string{"adapter", "adapter_v2"} {
		if name := litgpt.WeightsFile + "." + kind; !exists(filepath.Join(dir, litgpt.WeightsFile)) && exists(filepath.Join(dir, name)) {
			return fmt.Errorf("%s: %s is an adapter of LitGPT's that is no LoRA, which nothing here can use; finetune with LoRA instead", dir, name)
		}
	}
	return err
}

// litLoRA says what to do with an adapter that LitGPT made.
func litLoRA(dir string) error {
	return fmt.Errorf("%s: %s is an adapter of LitGPT's; make one of it that every command here takes: litgpt convert %s NEW_DIRECTORY", dir, litgpt.LoRAFile,
		filepath.Join(dir, litgpt.LoRAFile))
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
