package ggufmap

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/gguf"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/models"
)

// Exported is a model as GGUF has it, before anything is written.
type Exported struct {
	Arch string // general.architecture

	// Metadata is the model's: architecture and sizes. The tokenizer's is not among it (see
	// tokenizer's method GGUF), nor general.name.
	Metadata []gguf.KV

	// Tensors are in the order of the model; their values are read when they are asked for.
	Tensors []Tensor

	// Notes says what llama.cpp, as of 2026, does not read of the model or refuses: it would compute
	// something else. What is read back here is exact nevertheless.
	Notes []string
}

// Tensor is a tensor of a GGUF file to be written. Its values have the type that they have in the
// checkpoint, except that vectors, and what else llama.cpp wants so, are F32.
type Tensor struct {
	gguf.Info

	// From names the checkpoint's tensors that it is made of, in their published names.
	From []string

	// Keep says that it is F32 and stays so in quantized files.
	Keep bool

	rows  rows
	src   checkpoint.Source
	from  tensor.DType // in the checkpoint
	data  []byte       // the values themselves, where they are not the checkpoint's
	dtype tensor.DType // Type
}

// Export describes the model of a config.json, its weights in src, as GGUF. It reads no
// weights but small ones; src must stay open while the tensors are read.
func Export(config []byte, src checkpoint.Source) (*Exported, error) {
	model, err := models.New(config)
	if err != nil {
		return nil, err
	}
	if a, ok := model.(checkpoint.Adapter); ok {
		src = a.AdaptCheckpoint(src)
	}
	if config, err = models.SavedConfig(config); err != nil { // of the text model alone, where it is a part
		return nil, err
	}
	arch, err := models.Architecture(config)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(families, func(f family) bool { return f.hf == arch })
	if i < 0 {
		return nil, fmt.Errorf("config.json: %s has no counterpart in GGUF here", arch)
	}
	fam := &families[i]
	given, err := normalize(config, fam)
	if err != nil {
		return nil, err
	}
	defaults := conf{}
	if err := json.Unmarshal([]byte(fam.defaults), &defaults); err != nil {
		return nil, fmt.Errorf("defaults of %s: %w", fam.hf, err) // part of the program, and tested
	}
	full := defaults.merge(given)
	e := &Exported{Arch: fam.arch}
	fam.describe(e, full, model.Dims())
	if err := fam.tensors(e, model, src, sizesOf(model.Dims())); err != nil {
		return nil, err
	}
	e.Metadata = append(e.Metadata, gguf.KV{Key: "general.file_type", Value: FileType(e.most())})
	if e.most() != gguf.F32 && e.most() != gguf.F16 && e.most() != gguf.BF16 {
		e.Metadata = append(e.Metadata, gguf.KV{Key: "general.quantization_version", Value: uint32(2)})
	}
	if fam.notes != nil {
		e.Notes = append(e.Notes, fam.notes(full)...)
	}
	return e, fam.carry(e, given)
}

// Convert makes d, F32, F16 or BF16, the type of all tensors that need not be F32.
func (e *Exported) Convert(d tensor.DType) {
	for i := range e.Tensors {
		e.Tensors[i].Convert(d)
	}
	e.Metadata = slices.DeleteFunc(e.Metadata, func(kv gguf.KV) bool { return kv.Key == "general.quantization_version" })
	e.Metadata = gguf.SetKV(e.Metadata, gguf.KV{Key: "general.file_type", Value: FileType(e.most())})
}

func (e *Exported) set(key string, v any) {
	e.Metadata = gguf.SetKV(e.Metadata, gguf.KV{Key: e.Arch + "." + key, Value: v})
}

func (e *Exported) note(s string) { e.Notes = append(e.Notes, s) }

// vector adds a tensor of numbers that the configuration has.
func (e *Exported) vector(name string, v []float32) {
	e.Tensors = append(e.Tensors, Tensor{Info: gguf.Info{Name: name, Type: gguf.F32, Shape: []int{len(v)}}, Keep: true, data: floatBytes(v)})
}

func sizesOf(d models.Dims) sizes {
	return sizes{heads: d.Heads, kvHeads: d.KVHeads, headDim: d.HeadDim}
}

// describe writes the metadata of a complete configuration.
func (fam *family) describe(e *Exported, c conf, d models.Dims) {
	e.Metadata = []gguf.KV{{Key: "general.architecture", Value: fam.arch}, {Key: "general.type", Value: "model"}}
	e.set("block_count", uint32(d.Layers))
	e.set("context_length", uint32(d.Context))
	e.set("embedding_length", uint32(d.Hidden))
	ffn := c.int(fam.ffnKey())
	if ffn == 0 {
		ffn = 4 * d.Hidden
	}
	e.set("feed_forward_length", uint32(ffn))
	e.set("attention.head_count", uint32(d.Heads))
	e.set("attention.head_count_kv", uint32(d.KVHeads))
	e.set("attention.key_length", uint32(d.HeadDim))
	e.set("attention.value_length", uint32(d.HeadDim))
	e.set("vocab_size", uint32(d.Vocab))
	for _, k := range fam.keys {
		if !c.has(k.hf) {
			continue
		}
		switch k.kind {
		case gguf.Float32:
			e.set(k.gguf, float32(c.float(k.hf)))
		case gguf.Bool:
			e.set(k.gguf, c.bool(k.hf))
		default:
			e.set(k.gguf, uint32(c.int(k.hf)))
		}
	}
	fam.writeRope(e, c, sizesOf(d))
	if fam.toGGUF != nil {
		fam.toGGUF(e, c)
	}
}

// carry adds what the metadata does not say of the configuration, by reading it back.
func (fam *family) carry(e *Exported, given conf) error {
	f, err := e.probe()
	if err != nil {
		return err
	}
	over := conf{}
	back, _, err := fam.synthesize(f, e.Arch, conf{})
	if err != nil && given.has("rope_scaling") { // one that its factors alone do not tell
		over["rope_scaling"] = given["rope_scaling"]
		back, _, err = fam.synthesize(f, e.Arch, over)
	}
	if err != nil {
		return err
	}
	for k, v := range given {
		if !same(v, back[k]) {
			over[k] = v
		}
	}
	over["architectures"] = given["architectures"]
	text, err := json.Marshal(over)
	if err != nil {
		return fmt.Errorf("config.json: %w", err)
	}
	e.Metadata = append(e.Metadata, gguf.KV{Key: configKey, Value: string(text)})
	return nil
}

// probe is a file of the metadata, and of tensors as far as configurations are read from them.
func (e *Exported) probe() (*gguf.File, error) {
	var b bytes.Buffer
	infos := make([]gguf.Info, len(e.Tensors))
	for i, t := range e.Tensors {
		infos[i] = gguf.Info{Name: t.Name, Type: gguf.F32, Shape: []int{1}}
		switch {
		case t.data != nil:
			infos[i].Shape = t.Shape
		case t.Name == "token_embd.weight":
			infos[i].Shape = []int{t.Shape[0], 1}
		}
	}
	w, err := gguf.NewWriter(&b, e.Metadata, infos)
	if err != nil {
		return nil, err
	}
	for i, t := range e.Tensors {
		data := t.data
		if data == nil {
			n, _ := infos[i].Bytes()
			data = make([]byte, n)
		}
		if _, err := w.Write(data); err != nil {
			return nil, err
		}
	}
	return gguf.Parse(b.Bytes())
}
