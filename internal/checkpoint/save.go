package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/litgpt-go/litgpt/internal/durable"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// Value is a tensor to save: its name, type in the file, and where its value is.
type Value struct {
	Name  string
	DType tensor.DType
	From  *tensor.Tensor // of any float type

	// Shape and Offset, in elements, say which part of From it is; with Shape nil it is all.
	Shape  []int
	Offset int

	Floats []float32 // the elements themselves, of Shape, where they are not From's; nil otherwise

	// Make, if not nil, makes the elements when they are written: all of From's, of which Shape and Offset say the part.
	Make func() ([]float32, error)
}

func (v Value) shape() []int {
	if v.Shape == nil {
		return v.From.Shape()
	}
	return v.Shape
}

func (v Value) numel() int {
	n := 1
	for _, d := range v.shape() {
		n *= d
	}
	return n
}

// Layout gives the values of a model's weights as they are stored in the checkpoint src
// that the model came from, or, with src nil, as others store them.
func Layout(model any, src Source, values []Value) (out []Value) {
	split := pieces(model, src)
	for _, v := range values {
		list := split[v.Name]
		if list == nil {
			out = append(out, v)
		}
		at := 0
		for _, p := range list {
			part := Value{Name: p.Name, DType: v.DType, From: v.From, Shape: p.Shape, Offset: at, Make: v.Make}
			at += part.numel()
			out = append(out, part)
		}
	}
	return out
}

// ShardSize is the size in bytes above which a checkpoint is split, as transformers does it.
const ShardSize = 5 << 30

// SaveWeights writes values as model.safetensors, or as shards of at most shard
// bytes with their index, into the directory d.
func SaveWeights(d *durable.Dir, values []Value, shard int) error {
	var shards [][]Value
	size, total := 0, 0
	for _, v := range values {
		n := v.numel() * v.DType.Size()
		if len(shards) == 0 || size+n > shard {
			shards, size = append(shards, nil), 0
		}
		shards[len(shards)-1] = append(shards[len(shards)-1], v)
		size += n
		total += n
	}
	if len(shards) == 1 {
		return SaveFile(d, "model.safetensors", values)
	}
	index := struct {
		Metadata  map[string]int    `json:"metadata"`
		WeightMap map[string]string `json:"weight_map"`
	}{map[string]int{"total_size": total}, map[string]string{}}
	for i, s := range shards {
		name := fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		for _, v := range s {
			index.WeightMap[v.Name] = name
		}
		if err := SaveFile(d, name, s); err != nil {
			return err
		}
	}
	data, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return err
	}
	return d.WriteFile("model.safetensors.index.json", append(data, '\n'))
}

// SaveFile writes values as one safetensors file of d.
func SaveFile(d *durable.Dir, name string, values []Value) (err error) {
	f, err := d.Create(name)
	if err != nil {
		return err
	}
	defer func() {
		if closing := f.Close(); err == nil { // Close repeats the error of a write
			err = closing
		}
	}()
	infos := make([]safetensors.Info, len(values))
	for i, v := range values {
		infos[i] = safetensors.Info{Name: v.Name, DType: safetensors.DType(v.DType.String()), Shape: v.shape()}
	}
	w, err := safetensors.NewWriter(f, infos, map[string]string{"format": "pt"})
	if err != nil {
		return err
	}
	for _, v := range values {
		if v.Make != nil {
			all, err := v.Make()
			if err != nil {
				return err
			}
			v.Floats = all[v.Offset : v.Offset+v.numel()]
		}
		if v.Floats != nil {
			if err := w.Write(v.Name, tensor.FromFloats(v.DType, v.Floats)); err != nil {
				return err
			}
			continue
		}
		from := v.From.DType()
		data := make([]byte, from.Bytes(v.numel()))
		v.From.ReadBytes(data, from.Bytes(v.Offset))
		if err := v.From.Err(); err != nil {
			return err
		}
		if from != v.DType {
			floats := make([]float32, v.numel())
			tensor.ToFloats(from, data, floats)
			data = tensor.FromFloats(v.DType, floats)
		}
		if err := w.Write(v.Name, data); err != nil {
			return err
		}
	}
	return w.Close()
}

// sidecars are the files beside the weights that a checkpoint takes along.
var sidecars = []string{"generation_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
	"special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json"}

// CopySidecars copies the tokenizer and generation settings of the directory from into d, as far as they exist.
func CopySidecars(d *durable.Dir, from string) error {
	for _, name := range sidecars {
		err := d.CopyFile(name, filepath.Join(from, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// ConfigWithType returns config.json with the type of the weights set, under the key that it already uses for it.
func ConfigWithType(config []byte, dtype tensor.DType) ([]byte, error) {
	names := map[tensor.DType]string{tensor.F32: "float32", tensor.BF16: "bfloat16", tensor.F16: "float16"}
	var c map[string]json.RawMessage // numbers stay as they are written: transformers refuses 0 for 0.0
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	key := "torch_dtype"
	if _, ok := c["dtype"]; ok {
		key = "dtype"
	}
	c[key] = json.RawMessage(strconv.Quote(names[dtype]))
	out, err := json.MarshalIndent(c, "", "  ")
	return append(out, '\n'), err
}

// ReadConfig reads config.json of a checkpoint directory.
func ReadConfig(dir string) ([]byte, error) {
	config, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(dir); err != nil {
			return nil, fmt.Errorf("checkpoint %s: there is no such directory", dir)
		}
		return nil, fmt.Errorf("checkpoint %s: no config.json; a Hugging Face checkpoint directory is wanted", dir)
	}
	return config, err
}
