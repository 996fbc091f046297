package pth

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/litgpt-go/litgpt/internal/safetensors"
)

const (
	singleName = "pytorch_model.bin"
	indexName  = "pytorch_model.bin.index.json"
	maxIndex   = 100_000_000 // bytes
)

// Dir is the weights of a Hugging Face checkpoint directory as PyTorch files. Its methods
// may be called by several goroutines at once, except Close.
type Dir struct {
	files []*File
	where map[string]*File
}

// OpenDir opens pytorch_model.bin in dir or else the shards that
// pytorch_model.bin.index.json names. All disagreements between the index and the
// shards are reported together. errors.Is(err, fs.ErrNotExist) says that neither is there.
func OpenDir(dir string) (*Dir, error) {
	single := filepath.Join(dir, singleName)
	if _, err := os.Lstat(single); err == nil {
		f, err := Open(single)
		if err != nil {
			return nil, err
		}
		d := &Dir{where: map[string]*File{}}
		d.add(f)
		return d, nil
	}
	index := filepath.Join(dir, indexName)
	shards, err := readIndex(index)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", index, err)
	}
	d := &Dir{where: map[string]*File{}}
	var wrong []string
	for _, name := range slices.Sorted(maps.Keys(shards)) {
		f, err := Open(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			wrong = append(wrong, err.Error())
			continue
		}
		d.files = append(d.files, f)
		missing := shards[name]
		for _, n := range f.names {
			if _, listed := missing[n]; !listed {
				wrong = append(wrong, fmt.Sprintf("%s: has %s, which the index does not say is there", name, quote(n)))
			}
			delete(missing, n)
			d.where[n] = f
		}
		for _, n := range slices.Sorted(maps.Keys(missing)) {
			wrong = append(wrong, fmt.Sprintf("%s: has no %s, which the index says it has", name, quote(n)))
		}
	}
	if len(wrong) > 0 {
		d.Close()
		const most = 8
		if n := len(wrong) - most; n > 0 {
			wrong = append(wrong[:most], fmt.Sprintf("and %d more", n))
		}
		return nil, fmt.Errorf("%s: does not fit its shards; download the checkpoint again:\n\t%s", index, strings.Join(wrong, "\n\t"))
	}
	return d, nil
}

func (d *Dir) add(f *File) {
	d.files = append(d.files, f)
	for _, n := range f.names {
		d.where[n] = f
	}
}

// Files lists the paths of the files the weights are in, sorted.
func (d *Dir) Files() []string {
	var paths []string
	for _, f := range d.files {
		paths = append(paths, f.path)
	}
	return paths
}

// Names lists the tensors, file by file.
func (d *Dir) Names() []string {
	var names []string
	for _, f := range d.files {
		names = append(names, f.names...)
	}
	return names
}

// Tensor gives the tensor called name, as File.Tensor does.
func (d *Dir) Tensor(name string) (safetensors.Tensor, bool) {
	f, ok := d.where[name]
	if !ok {
		return safetensors.Tensor{}, false
	}
	return f.Tensor(name)
}

// Close closes all files.
func (d *Dir) Close() error {
	var errs []error
	for _, f := range d.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// readIndex gives the tensors of each shard.
func readIndex(path string) (map[string]map[string]bool, error) {
	f, _, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxIndex+1))
	if err != nil {
		return nil, cause(err)
	}
	if len(text) > maxIndex {
		return nil, fmt.Errorf("more than %d bytes; this is no index", maxIndex)
	}
	return parseIndex(text)
}

func parseIndex(text []byte) (map[string]map[string]bool, error) {
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(text, &index); err != nil {
		return nil, fmt.Errorf("%w; download it again", err)
	}
	if len(index.WeightMap) == 0 {
		return nil, errors.New("has no weight_map, or an empty one; download the checkpoint again")
	}
	shards := map[string]map[string]bool{}
	for tensor, name := range index.WeightMap {
		odd := func(r rune) bool { return r == '\\' || r == ':' || unicode.IsControl(r) }
		if !fs.ValidPath(name) || !filepath.IsLocal(name) || strings.ContainsFunc(name, odd) || !strings.HasSuffix(name, ".bin") {
			return nil, fmt.Errorf("tensor %s: file %s is not a .bin file below the checkpoint directory; refused", quote(tensor), quote(name))
		}
		if shards[name] == nil {
			shards[name] = map[string]bool{}
		}
		shards[name][tensor] = true
	}
	return shards, nil
}
