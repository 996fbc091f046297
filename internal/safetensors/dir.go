package safetensors

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
)

const (
	singleName = "model.safetensors"
	indexName  = "model.safetensors.index.json"
)

// Dir is the weights of a checkpoint directory, in one file or in shards. Its
// methods may be called by several goroutines at once, except Close.
type Dir struct {
	files []*File
	where map[string]*File
}

// OpenDir opens model.safetensors in dir or else, as the transformers library
// does, the shards that model.safetensors.index.json names. Index and shards must
// agree on every tensor; all disagreements are reported together.
func OpenDir(dir string) (*Dir, error) {
	single := filepath.Join(dir, singleName)
	if _, err := os.Lstat(single); err == nil { // a dangling link is an error, not an absence
		f, err := Open(single)
		if err != nil {
			return nil, err
		}
		return newDir([]*File{f}), nil
	}
	index := filepath.Join(dir, indexName)
	shards, err := readIndex(index)
	if info, e := os.Stat(dir); errors.Is(err, fs.ErrNotExist) || e == nil && !info.IsDir() {
		return nil, noWeights(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", index, err)
	}

	var files []*File
	var wrong []string
	for _, s := range shards {
		f, err := Open(filepath.Join(dir, filepath.FromSlash(s.name)))
		if errors.Is(err, fs.ErrNotExist) {
			wrong = append(wrong, fmt.Sprintf("%s: missing, with %d tensors", s.name, len(s.tensors)))
			continue
		}
		if err != nil {
			wrong = append(wrong, err.Error())
			continue
		}
		files = append(files, f)
		wrong = append(wrong, s.compare(f)...)
	}
	d := newDir(files)
	if len(wrong) > 0 {
		d.Close()
		return nil, fmt.Errorf("%s: does not fit its shards; download the checkpoint again:\n\t%s", index, strings.Join(wrong, "\n\t"))
	}
	return d, nil
}

func newDir(files []*File) *Dir {
	d := &Dir{files: files, where: map[string]*File{}}
	for _, f := range files {
		for _, e := range f.header.entries {
			d.where[e.Name] = f
		}
	}
	return d
}

// Names lists the tensors, file by file and in the order of their data.
func (d *Dir) Names() []string {
	var names []string
	for _, f := range d.files {
		names = append(names, f.Names()...)
	}
	return names
}

// Tensor gives the tensor called name, as File.Tensor does.
func (d *Dir) Tensor(name string) (Tensor, bool) {
	f, ok := d.where[name]
	if !ok {
		return Tensor{}, false
	}
	return f.Tensor(name)
}

// Files lists the paths of the files the weights are in, sorted.
func (d *Dir) Files() []string {
	var paths []string
	for _, f := range d.files {
		paths = append(paths, f.path)
	}
	return paths
}

// Close closes all files.
func (d *Dir) Close() error {
	var errs []error
	for _, f := range d.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// shard is what the index says is in one file.
type shard struct {
	name    string   // relative to the directory, with slashes
	tensors []string // in the order of the index
}

// compare lists what differs between the index and the shard f.
func (s shard) compare(f *File) []string {
	listed := map[string]bool{}
	var missing, extra []string
	for _, name := range s.tensors {
		listed[name] = true
		if _, ok := f.byName[name]; !ok {
			missing = append(missing, name)
		}
	}
	for _, e := range f.header.entries {
		if !listed[e.Name] {
			extra = append(extra, e.Name)
		}
	}
	var wrong []string
	if len(missing) > 0 {
		wrong = append(wrong, fmt.Sprintf("%s: has no %s, which the index says it has", s.name, few(missing)))
	}
	if len(extra) > 0 {
		wrong = append(wrong, fmt.Sprintf("%s: has %s, which the index does not say is there", s.name, few(extra)))
	}
	return wrong
}

// few lists the first names; a damaged shard of a large model would fill screens.
func few(names []string) string {
	const most = 8
	var quoted []string
	for _, n := range names[:min(len(names), most)] {
		quoted = append(quoted, quote(n))
	}
	list := strings.Join(quoted, ", ")
	if len(names) > most {
		list += fmt.Sprintf(" and %d more", len(names)-most)
	}
	return list
}

func readIndex(path string) ([]shard, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxHeader+1))
	if err != nil {
		return nil, cause(err)
	}
	if len(text) > maxHeader {
		return nil, fmt.Errorf("more than %d bytes; this is no index", maxHeader)
	}
	return parseIndex(text)
}

// parseIndex reads {"metadata": …, "weight_map": {tensor: file}}; the shards come
// back sorted by name. Keys other than weight_map say nothing we need.
func parseIndex(text []byte) ([]shard, error) {
	byName := map[string]*shard{}
	var names []string
	p := newParser("index", text)
	err := p.object("index", func(key string) error {
		if key != "weight_map" {
			var skip json.RawMessage
			if err := p.dec.Decode(&skip); err != nil {
				return fmt.Errorf("%s: %w", quote(key), err)
			}
			return nil
		}
		return p.object(key, func(tensor string) error {
			name, err := p.text("the file of " + quote(tensor))
			if err != nil {
				return err
			}
			if err := checkShardName(name); err != nil {
				return fmt.Errorf("tensor %s: %w", quote(tensor), err)
			}
			s := byName[name]
			if s == nil {
				s = &shard{name: name}
				byName[name] = s
				names = append(names, name)
			}
			s.tensors = append(s.tensors, tensor)
			return nil
		})
	})
	if err == nil {
		err = p.end()
	}
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, errors.New("has no weight_map, or an empty one; download the checkpoint again")
	}
	slices.Sort(names)
	shards := make([]shard, len(names))
	for i, n := range names {
		shards[i] = *byName[n]
	}
	return shards, nil
}

// checkShardName lets an index name safetensors files below its own directory
// only, whatever the operating system takes for a path.
func checkShardName(name string) error {
	odd := func(r rune) bool { return r == '\\' || r == ':' || unicode.IsControl(r) }
	if !fs.ValidPath(name) || !filepath.IsLocal(name) || strings.ContainsFunc(name, odd) {
		return fmt.Errorf("file %s is not a plain path below the checkpoint directory; refused", quote(name))
	}
	if !strings.HasSuffix(name, ".safetensors") {
		return fmt.Errorf("file %s is not a .safetensors file", quote(name))
	}
	return nil
}

// otherWeights says what to do about files in which weights come otherwise, best
// first.
var otherWeights = []struct{ pattern, advice string }{
	{"model-*-of-*.safetensors", "%s is there, but without " + indexName + "; download that file as well"},
	{"*.safetensors", "%s is there; rename it to " + singleName + " if it is the model"},
	{"pytorch_model.bin*", "only %s is there, and safetensors wanted; litgpt convert DIR DIR2 writes that"},
	{"pytorch_model-*-of-*.bin", "%s is there, but without pytorch_model.bin.index.json; download that file as well"},
	{"lit_model.pth", "%s is there, but without model_config.yaml, which LitGPT keeps beside it; copy that file as well"},
	{"*.pth", "only %s is there; rename it to pytorch_model.bin if it is the model under its names at Hugging Face"},
	{"*.bin", "only %s is there; rename it to pytorch_model.bin if it is the model"},
	{"*.gguf", "only %s is there; name that file instead of its directory"},
}

// noWeights is the error for a directory without either of the two names.
func noWeights(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("%s: %w; want a checkpoint directory", dir, cause(err))
	}
	if !info.IsDir() {
		return fmt.Errorf("%s: is a file; want a checkpoint directory", dir)
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, cause(err))
	}
	advice := "it has no weights at all; is this the right directory?"
search:
	for _, o := range otherWeights {
		for _, n := range names {
			if ok, _ := filepath.Match(o.pattern, n.Name()); ok {
				advice = fmt.Sprintf(o.advice, n.Name())
				break search
			}
		}
	}
	return fmt.Errorf("%s: no %s and no %s: %s", dir, singleName, indexName, advice)
}
