package recipes

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/durable"
	"github.com/litgpt-go/litgpt/internal/gguf"
	"github.com/litgpt-go/litgpt/internal/ggufmap"
	"github.com/litgpt-go/litgpt/internal/litgpt"
	"github.com/litgpt-go/litgpt/internal/pth"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/tokenizer"
)

// output is a checkpoint that was written and is not at its place yet.
type output struct {
	base   string                               // where it is until then, for its tokenizer
	open   func() ([]byte, weights, error)      // reads it back
	commit func() error                         // puts it at its place
	abort  func()                               // removes it, unless commit did its work
	notes  []string                             // what other programs will not read of it
	tok    func() (*tokenizer.Tokenizer, error) // nil: it has none
}

// Forms that only LitGPT's commands write.
const (
	inPlace  form = "litgpt files"
	modelPth form = "model.pth"
)

// writers write the forms.
var writers = map[form]func(c *conversion, path string) (*output, error){
	formHF: (*conversion).writeHF, formGGUF: (*conversion).writeGGUF, formLit: (*conversion).writeLit, inPlace: (*conversion).writeInPlace,
	modelPth: (*conversion).writeModelPth,
}

// meter is a file whose writing can be interrupted and is seen.
type meter struct {
	c *conversion
	w io.Writer
}

func (m meter) Write(p []byte) (int, error) {
	if err := m.c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := m.w.Write(p)
	m.c.bar.Add(int64(n))
	return n, err
}

// directory writes a checkpoint directory: what fill writes, and the tokenizer's files.
func (c *conversion) directory(path string, fill func(d *durable.Dir) error) (*output, error) {
	d, err := durable.NewDir(path)
	if err != nil {
		return nil, err
	}
	err = c.sidecars(d)
	if err == nil {
		err = fill(d)
	}
	if err != nil {
		d.Abort()
		return nil, err
	}
	o := &output{
		base: d.Written(), commit: d.Commit, abort: func() { d.Abort() },
		open: func() ([]byte, weights, error) { return openWeights(d.Written()) },
	}
	if c.tok {
		o.tok = func() (*tokenizer.Tokenizer, error) { return loadTokenizer(d.Written()) }
	}
	return o, nil
}

// sidecars copies the tokenizer and the settings of generation.
func (c *conversion) sidecars(d *durable.Dir) error {
	if c.form == formGGUF && !c.tok {
		return nil
	}
	if err := copySidecars(d, c.from.base); err != nil {
		return err
	}
	if style := filepath.Join(c.from.base, tokenizer.StyleFile); c.form != formGGUF && exists(style) {
		return d.CopyFile(tokenizer.StyleFile, style)
	}
	return nil
}

// create writes one file of a directory.
func (c *conversion) create(d *durable.Dir, name string, write func(w io.Writer) error) error {
	f, err := d.Create(name)
	if err != nil {
		return err
	}
	err = write(meter{c, f})
	if closing := f.Close(); err == nil { // Close repeats the error of a write
		err = closing
	}
	return err
}

func (c *conversion) writeHF(path string) (*output, error) {
	return c.directory(path, func(d *durable.Dir) error {
		config, err := c.savedConfig()
		if err != nil {
			return err
		}
		if err := d.WriteFile("config.json", config); err != nil {
			return err
		}
		return c.saveShards(d, checkpoint.ShardSize)
	})
}

// saveShards writes model.safetensors, or shards of at most so many bytes with their index.
func (c *conversion) saveShards(d *durable.Dir, shard int) error {
	var shards [][]safetensors.Info
	at, total := 0, 0
	stored := map[*byte]bool{} // PyTorch files have one storage for several names
	for _, name := range c.src.Names() {
		t, ok := checkpoint.Header(c.src, name)
		if !ok {
			return fmt.Errorf("%s: cannot be read", name)
		}
		twice := len(t.Data) > 0 && stored[&t.Data[0]]
		if c.from.Dims().Tied && (name == "lm_head.weight" || name == "embed_out.weight") && (twice || c.form == formGGUF) {
			continue // some architectures of GGUF have the embedding again as their head
		}
		if len(t.Data) > 0 {
			stored[&t.Data[0]] = true
		}
		info := safetensors.Info{Name: name, DType: c.outType(t), Shape: t.Shape}
		n := info.DType.Size()
		for _, d := range info.Shape {
			n *= d
		}
		if shards == nil || at+n > shard {
			shards, at = append(shards, nil), 0
		}
		shards[len(shards)-1] = append(shards[len(shards)-1], info)
		at, total = at+n, total+n
	}
	if len(shards) == 1 {
		return c.create(d, "model.safetensors", func(w io.Writer) error { return c.saveTensors(w, shards[0]) })
	}
	index := struct {
		Metadata  map[string]int    `json:"metadata"`
		WeightMap map[string]string `json:"weight_map"`
	}{map[string]int{"total_size": total}, map[string]string{}}
	for i, s := range shards {
		name := fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		for _, info := range s {
			index.WeightMap[info.Name] = name
		}
		if err := c.create(d, name, func(w io.Writer) error { return c.saveTensors(w, s) }); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return err
	}
	return d.WriteFile("model.safetensors.index.json", append(text, '\n'))
}

// typeOrder is how Hugging Face's library sorts tensors: by their type, backwards, then by name.
var typeOrder = []safetensors.DType{"U64", "I64", "F64", "F32", "U32", "I32", "BF16", "F16", "U16", "I16", "F8_E4M3", "F8_E5M2", "I8", "U8", "BOOL"}

// saveTensors writes a safetensors file with the bytes that Hugging Face's library gives it.
func (c *conversion) saveTensors(w io.Writer, infos []safetensors.Info) error {
	slices.SortFunc(infos, func(a, b safetensors.Info) int {
		if n := slices.Index(typeOrder, a.DType) - slices.Index(typeOrder, b.DType); n != 0 {
			return n
		}
		return strings.Compare(a.Name, b.Name)
	})
	out, err := safetensors.NewWriter(w, infos, map[string]string{"format": "pt"})
	if err != nil {
		return err
	}
	for _, info := range infos {
		t, ok := c.src.Tensor(info.Name)
		if !ok {
			return fmt.Errorf("%s: cannot be read: its file was truncated or removed", info.Name)
		}
		if err := out.WriteFunc(info.Name, func(w io.Writer) error { return writeValues(w, t, info.DType) }); err != nil {
			return err
		}
	}
	return out.Close()
}

// writeValues writes the values of t in the type to, a piece at a time.
func writeValues(w io.Writer, t safetensors.Tensor, to safetensors.DType) error {
	const most = 1 << 18 // elements: whole blocks of every type
	from, _ := tensor.DTypeByName(string(t.DType))
	target, _ := tensor.DTypeByName(string(to))
	step := 4 * most
	if to != t.DType {
		step = from.Bytes(most)
	}
	raw := make([]byte, min(step, len(t.Data)))
	var values []float32
	for at := 0; at < len(t.Data); at += step {
		p := t
		p.Data = t.Data[at:min(at+step, len(t.Data))]
		piece := raw[:len(p.Data)]
		if err := p.CopyTo(piece); err != nil {
			return err
		}
		if to != t.DType {
			n := len(piece) / from.Bytes(from.Block()) * from.Block()
			values = slices.Grow(values[:0], n)[:n]
			tensor.ToFloats(from, piece, values)
			piece = tensor.FromFloats(target, values)
		}
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
	return nil
}

func (c *conversion) writeGGUF(path string) (*output, error) {
	e, err := ggufmap.Export(c.from.config, c.src)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.from.base, err)
	}
	if d, ok := tensor.DTypeByName(string(c.dtype)); ok {
		e.Convert(d)
	}
	meta := append(e.Metadata, gguf.KV{Key: "general.name", Value: c.name})
	o := &output{notes: e.Notes}
	if c.tok {
		at := c.from.base
		if c.form == formGGUF {
			at = ggufFile(at)
		}
		more, notes, err := tokenizer.GGUF(at, c.from.Dims().Vocab)
		if err != nil {
			return nil, err
		}
		meta, o.notes = append(meta, more...), append(o.notes, notes...)
	} else {
		o.notes = append(o.notes, "there is no tokenizer: llama.cpp will refuse the file")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return nil, err
	}
	f, err := durable.CreateFile(path, 0o644)
	if err != nil {
		return nil, err
	}
	if err := ggufmap.Write(meter{c, f}, meta, e.Tensors, nil); err != nil {
		f.Abort()
		return nil, err
	}
	if o.base, err = f.Written(); err != nil {
		f.Abort()
		return nil, err
	}
	o.commit, o.abort = f.Commit, f.Abort
	o.open = func() ([]byte, weights, error) { return openWeights(o.base) }
	if c.tok {
		o.tok = func() (*tokenizer.Tokenizer, error) { return tokenizer.Open(o.base) }
	}
	return o, nil
}

// lit translates to LitGPT's layout. dtype is the type in which the result has to be written, "" for each tensor's own.
func (c *conversion) lit() (modelConfig []byte, view *litgpt.View, dtype safetensors.DType, err error) {
	src, dtype := c.src, c.dtype
	for _, name := range src.Names() {
		t, _ := checkpoint.Header(src, name)
		if d, ok := tensor.DTypeByName(string(t.DType)); ok && d.Quantized() {
			src, dtype = converted{src, c}, "" // query, key and value may have several types, and become one weight
			break
		}
	}
	modelConfig, view, err = litgpt.ToLit(c.from.config, src, c.name)
	if err != nil {
		return nil, nil, "", fmt.Errorf("%s: %w", c.from.base, err)
	}
	if c.form == formLit { // what it says of itself stays
		modelConfig, err = os.ReadFile(filepath.Join(c.from.base, litgpt.ConfigFile))
	}
	return modelConfig, view, dtype, err
}

// converted is a source whose tensors have the type of the result. One is in memory at a time.
type converted struct {
	checkpoint.Source
	c *conversion
}

func (s converted) Header(name string) (safetensors.Tensor, bool) {
	t, ok := checkpoint.Header(s.Source, name)
	if to := s.c.outType(t); ok && to != t.DType {
		t.DType, t.Data = to, nil
	}
	return t, ok
}

func (s converted) Tensor(name string) (safetensors.Tensor, bool) {
	t, ok := s.Source.Tensor(name)
	to := s.c.outType(t)
	if !ok || to == t.DType {
		return t, ok
	}
	var all sliceWriter
	if writeValues(&all, t, to) != nil {
		return t, false
	}
	return safetensors.Tensor{Name: name, DType: to, Shape: t.Shape, Data: all}, true
}

type sliceWriter []byte

func (w *sliceWriter) Write(p []byte) (int, error) { *w = append(*w, p...); return len(p), nil }

func (c *conversion) writeLit(path string) (*output, error) {
	modelConfig, view, dtype, err := c.lit()
	if err != nil {
		return nil, err
	}
	return c.directory(path, func(d *durable.Dir) error {
		if err := d.WriteFile(litgpt.ConfigFile, modelConfig); err != nil {
			return err
		}
		config := c.from.config // LitGPT takes it along; transformers reads it, and we the special tokens' ids
		if c.form == formLit {
			var err error
			if config, err = os.ReadFile(filepath.Join(c.from.base, "config.json")); os.IsNotExist(err) {
				config = nil
			} else if err != nil {
				return err
			}
		}
		if config != nil {
			if err := d.WriteFile("config.json", config); err != nil {
				return err
			}
		}
		return c.create(d, litgpt.WeightsFile, func(w io.Writer) error { return litgpt.Write(w, view, dtype) })
	})
}

// writeInPlace puts LitGPT's files beside those of Hugging Face; path is that of the weights.
func (c *conversion) writeInPlace(path string) (*output, error) {
	modelConfig, view, dtype, err := c.lit()
	if err != nil {
		return nil, err
	}
	f, err := durable.CreateFile(path, 0o644)
	if err != nil {
		return nil, err
	}
	tmp := ""
	if err = litgpt.Write(meter{c, f}, view, dtype); err == nil {
		tmp, err = f.Written()
	}
	if err != nil {
		f.Abort()
		return nil, err
	}
	settings := filepath.Join(filepath.Dir(path), litgpt.ConfigFile)
	return &output{
		abort: f.Abort,
		open:  func() ([]byte, weights, error) { return openPth(modelConfig, tmp) },
		commit: func() error { // the weights last: without them nobody takes it for a checkpoint of LitGPT's
			if err := durable.WriteFile(settings, modelConfig, 0o644); err != nil {
				return err
			}
			err := f.Commit()
			if err != nil {
				os.Remove(settings)
			}
			return err
		},
	}, nil
}

// openPth opens weights of LitGPT's that have another name.
func openPth(modelConfig []byte, path string) ([]byte, weights, error) {
	f, err := pth.Open(path)
	if err != nil {
		return nil, nil, err
	}
	config, view, err := litgpt.FromLit(modelConfig, f)
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return config, pthWeights{view, f}, nil
}

// pthWeights are translated weights of one PyTorch file.
type pthWeights struct {
	checkpoint.Source
	f *pth.File
}

func (w pthWeights) Files() []string { return w.f.Files() }
func (w pthWeights) Close() error    { return w.f.Close() }

// writeModelPth writes what LitGPT's convert_from_litgpt does, model.pth, and what transformers needs beside it.
func (c *conversion) writeModelPth(path string) (*output, error) {
	lit, ok := c.from.src.(litWeights)
	if !ok {
		return nil, fmt.Errorf("%s: is no checkpoint of LitGPT's", c.from.base)
	}
	config, err := c.savedConfig()
	if err != nil {
		return nil, err
	}
	const name = "model.pth"
	o, err := c.directory(path, func(d *durable.Dir) error {
		if err := d.WriteFile("config.json", config); err != nil {
			return err
		}
		return c.create(d, name, func(w io.Writer) error { return litgpt.Write(w, lit.View, c.dtype) })
	})
	if err != nil {
		return nil, err
	}
	o.open = func() ([]byte, weights, error) {
		f, err := pth.Open(filepath.Join(o.base, name))
		if err != nil {
			return nil, nil, err
		}
		return config, pthWeights{f, f}, nil
	}
	return o, nil
}
