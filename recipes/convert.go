package recipes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/ggufmap"
	"github.com/litgpt-go/litgpt/internal/litgpt"
	"github.com/litgpt-go/litgpt/internal/progress"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/settings"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/lora"
	"github.com/litgpt-go/litgpt/models"
)

// Convert writes a checkpoint in another layout: "litgpt convert".
type Convert struct {
	Source      string `yaml:"source" arg:"0" help:"checkpoint to read: a Hugging Face directory, FILE.gguf, a LitGPT directory, or an adapter of PEFT's, llama.cpp's or LitGPT's"`
	Destination string `yaml:"destination" arg:"1" help:"what to write: FILE.gguf, or a directory; it must not be there yet"`
	Format      string `yaml:"format" help:"hf, gguf, litgpt, or peft for LitGPT's lit_model.pth.lora where the merged model is beside it; default gguf for FILE.gguf, and hf for a directory made of GGUF or LitGPT's files"`
	DType       string `yaml:"dtype" help:"type of the weights: float32, float16 or bfloat16; default their own, and float32 for quantized ones"`
	ModelName   string `yaml:"model_name" help:"what the model is called in model_config.yaml, by which LitGPT goes, and in GGUF; default the name of SOURCE"`
	Base        string `yaml:"pretrained_checkpoint_dir" help:"the base of an adapter, if it is not where the adapter says"`
	Threads     int    `yaml:"threads" help:"CPU threads of the comparison; 0 for one per processor"`
}

// floatTypes are the types that weights can be converted to, by the names that people give them.
var floatTypes = map[string]safetensors.DType{
	"float32": safetensors.F32, "f32": safetensors.F32, "float16": safetensors.F16, "f16": safetensors.F16, "half": safetensors.F16,
	"bfloat16": safetensors.BF16, "bf16": safetensors.BF16,
}

func parseType(name string) (safetensors.DType, error) {
	t, ok := floatTypes[strings.TrimPrefix(strings.ToLower(name), "torch.")]
	if ok || name == "" {
		return t, nil
	}
	if d, known := tensor.DTypeByName(strings.ToUpper(name)); known && d.Quantized() {
		return "", &settings.UsageError{Msg: fmt.Sprintf("--dtype is %q; float32, float16 or bfloat16 wanted", name), Hint: "litgpt quantize makes quantized files"}
	}
	return "", usage([]string{fmt.Sprintf("--dtype is %q; float32, float16 or bfloat16 wanted", name)})
}

// Run converts, compares both ends, and says how far they differ.
func (c Convert) Run(ctx context.Context, out Out) error {
	dtype, err := parseType(c.DType)
	if err != nil {
		return err
	}
	if c.Format != "" && !slices.Contains([]form{formHF, formGGUF, formLit, formPEFT}, form(c.Format)) {
		return usage([]string{fmt.Sprintf("--format is %q; hf, gguf, litgpt or peft wanted", c.Format)})
	}
	src := findDir(c.Source)
	if !exists(src) {
		return fmt.Errorf("%s: there is no such checkpoint", src)
	}
	if dir := litAdapter(src, form(c.Format) == formPEFT); dir != "" {
		if err := absent(c.Destination); err != nil {
			return err
		}
		if dtype != "" || c.Format != "" && form(c.Format) != formPEFT {
			return usage([]string{fmt.Sprintf("%s is an adapter of LitGPT's, which becomes a PEFT directory in float32; --dtype and other formats are for whole models", src)})
		}
		return c.fromLit(ctx, out, dir)
	}
	if form(c.Format) == formPEFT && !adapterFile(src) {
		return usage([]string{fmt.Sprintf("%s: has no %s, and --format peft is for LitGPT's adapters", src, litgpt.LoRAFile)})
	}
	if info, err := os.Stat(src); err == nil && !info.IsDir() && !ggufmap.Is(src) {
		return fmt.Errorf("%s: is a file, and no GGUF file; name the checkpoint's directory", src)
	}
	if err := absent(c.Destination); err != nil {
		return err
	}
	isGGUF := strings.HasSuffix(strings.ToLower(c.Destination), ".gguf")
	if lora.IsAdapter(src) || adapterFile(src) {
		if dtype != "" || c.Format != "" && (form(c.Format) == formGGUF) == adapterFile(src) {
			return usage([]string{"an adapter becomes a GGUF file, or a PEFT directory if it is one, in float32; --dtype and other formats are for whole models"})
		}
		return c.adapter(ctx, out, src)
	}
	from, to := formOf(src), form(c.Format)
	switch {
	case to == "" && isGGUF:
		to = formGGUF
	case to == "" && from == formHF && dtype == "" && !onlyTorch(src):
		return &settings.UsageError{Msg: fmt.Sprintf("%s is a Hugging Face directory, and nothing says what to make of it", src),
			Hint: "name a FILE.gguf, or give --format litgpt, or --dtype to write another Hugging Face directory"}
	case to == "":
		to = formHF
	case to == formGGUF && !isGGUF:
		return usage([]string{fmt.Sprintf("%s: a GGUF file is called something.gguf", c.Destination)})
	case to != formGGUF && isGGUF:
		return usage([]string{fmt.Sprintf("%s: is called like a GGUF file, and --format is %s", c.Destination, to)})
	}
	l, err := open(src)
	if err != nil {
		return err
	}
	v, err := newConversion(ctx, out, l, from, dtype, c.ModelName, c.Threads)
	if err != nil {
		return err
	}
	defer v.close()
	return v.run(to, c.Destination)
}

// absent is an error when there is something at path: what is there stays.
func absent(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && info.IsDir() {
		if entries, err := os.ReadDir(path); err == nil && len(entries) == 0 {
			return nil
		}
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("%s: is there already; choose another name or remove it", path)
}

// onlyTorch reports whether the weights of a Hugging Face directory are PyTorch's alone.
func onlyTorch(dir string) bool {
	has := func(name string) bool { return exists(filepath.Join(dir, name)) }
	return !slices.ContainsFunc(hfWeights[:2], has) && slices.ContainsFunc(hfWeights[2:], has)
}

// conversion is one checkpoint on its way to another layout.
type conversion struct {
	ctx     context.Context
	out     Out
	log     *slog.Logger
	from    *loaded
	src     checkpoint.Source
	form    form
	name    string
	threads int

	dtype    safetensors.DType // of all weights in what is written; "" leaves each its own
	lossless bool              // no number changes
	tok      bool              // there is a tokenizer
	bar      *progress.Bar
}

// newConversion sees that a checkpoint, which is closed with the conversion, is whole.
func newConversion(ctx context.Context, out Out, l *loaded, f form, dtype safetensors.DType, name string, threads int) (*conversion, error) {
	c := &conversion{ctx: ctx, out: out, log: out.Log(nil), from: l, form: f, name: name, threads: threads, dtype: dtype}
	c.src = &recent{Source: l.src}
	if name == "" {
		abs, err := filepath.Abs(l.dir)
		if err != nil {
			abs = l.dir
		}
		c.name = strings.TrimSuffix(filepath.Base(abs), ".gguf")
	}
	if err := c.whole(); err != nil {
		c.close()
		return nil, err
	}
	if err := c.chooseType(); err != nil {
		c.close()
		return nil, err
	}
	c.tok = hasTokenizer(l.base)
	return c, nil
}

func (c *conversion) close() { c.from.close() }

// whole compares names, shapes and types of the weights with what the model needs.
func (c *conversion) whole() error {
	dev, err := tensor.Open("cpu", tensor.Options{Threads: 1})
	if err != nil {
		return err
	}
	defer dev.Close()
	twin, err := c.from.twin()
	if err != nil {
		return err
	}
	defer twin.free()
	return twin.load(dev.Plan(), checkpoint.Stored, false)
}

// chooseType decides what type the weights get. GGUF has vectors in float32: when all of them
// fit the type of the others exactly they go back to it, and so a checkpoint that became
// GGUF becomes what it was.
func (c *conversion) chooseType() error {
	names := c.from.src.Names()
	quantized, floats := false, []safetensors.DType{}
	for _, name := range names {
		t, _ := checkpoint.Header(c.from.src, name)
		if d, ok := tensor.DTypeByName(string(t.DType)); ok && d != tensor.I32 {
			quantized = quantized || d.Quantized()
			floats = append(floats, t.DType)
		}
	}
	if c.dtype != "" {
		c.lossless = !slices.ContainsFunc(floats, func(d safetensors.DType) bool { return !widens(d, c.dtype) })
		return nil
	}
	c.lossless = true
	if quantized {
		c.dtype = safetensors.F32
		return nil
	}
	most := c.from.storedType()
	if c.form != formGGUF || most != safetensors.F16 && most != safetensors.BF16 {
		return nil
	}
	to, _ := tensor.DTypeByName(string(most))
	for _, name := range names {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		t, _ := checkpoint.Header(c.from.src, name)
		if t.DType == most {
			continue
		}
		if t.DType != safetensors.F32 {
			return nil
		}
		if t, ok := c.from.src.Tensor(name); !ok || !exact(t, to) {
			return nil
		}
	}
	c.dtype = most
	return nil
}

// widens reports whether every number of one type is one of the other.
func widens(from, to safetensors.DType) bool {
	return from == to || to == safetensors.F32 && from != safetensors.F64
}

// exact reports whether a tensor of F32 has only numbers that the type to has.
func exact(t safetensors.Tensor, to tensor.DType) bool {
	const piece = 1 << 18 // elements
	raw, wide, back := make([]byte, 4*piece), make([]float32, piece), make([]float32, piece)
	for at := 0; at < len(t.Data); at += len(raw) {
		p := t
		p.Data = t.Data[at:min(at+len(raw), len(t.Data))]
		n := len(p.Data) / 4
		if p.CopyTo(raw[:4*n]) != nil {
			return false
		}
		tensor.ToFloats(tensor.F32, raw[:4*n], wide[:n])
		tensor.ToFloats(to, tensor.FromFloats(to, wide[:n]), back[:n])
		if !slices.Equal(wide[:n], back[:n]) {
			return false
		}
	}
	return true
}

// run writes the checkpoint, reads it back, compares, and only then puts it at its place.
func (c *conversion) run(to form, path string) error {
	write := writers[to]
	if write == nil {
		return fmt.Errorf("nothing writes the format %s", to)
	}
	if err := c.room(filepath.Dir(path)); err != nil {
		return err
	}
	o, err := func() (*output, error) {
		c.bar = c.out.NewBar(int64(c.bytes()), "convert", "B")
		defer c.bar.Done()
		return write(c, path)
	}()
	if err != nil {
		return err
	}
	defer o.abort()
	d, err := c.compare(o, path)
	if err != nil {
		return err
	}
	what := []any{"from", c.from.dir, "checkpoint", path, "format", string(to), "weights", len(c.src.Names()), "bytes", size(c.bytes())}
	if c.dtype != "" {
		what = append(what, "type", string(c.dtype))
	}
	return c.finish(o, d, what...)
}

// finish puts what was written and compared at its place, unless the user has stopped it, and logs what was made of what.
func (c *conversion) finish(o *output, d difference, what ...any) error {
	defer o.abort()
	if err := c.ctx.Err(); err != nil {
		return err
	}
	if err := o.commit(); err != nil {
		return err
	}
	for _, n := range o.notes {
		c.log.Warn(n)
	}
	c.log.Info("converted", append(what, d.attrs()...)...)
	return nil
}

// bytes is how large the weights will be.
func (c *conversion) bytes() (n int) {
	for _, name := range c.from.src.Names() {
		t, _ := checkpoint.Header(c.from.src, name)
		elements := 1
		for _, d := range t.Shape {
			elements *= d
		}
		d, ok := tensor.DTypeByName(string(c.outType(t)))
		if !ok {
			n += elements * t.DType.Size()
			continue
		}
		n += d.Bytes(elements)
	}
	return n
}

// outType is the type that a tensor gets; what holds no floats keeps its own.
func (c *conversion) outType(t safetensors.Tensor) safetensors.DType {
	if d, ok := tensor.DTypeByName(string(t.DType)); c.dtype == "" || !ok || d == tensor.I32 {
		return t.DType
	}
	return c.dtype
}

// room is an error when the disk has no place for what will be written.
func (c *conversion) room(dir string) error {
	for !exists(dir) && filepath.Dir(dir) != dir {
		dir = filepath.Dir(dir)
	}
	const others = 32 << 20 // tokenizer, metadata
	return enough(dir, c.bytes()+others, freeBytes)
}

// enough is an error when less than want bytes are free in dir; free gives false where nobody knows.
func enough(dir string, want int, free func(dir string) (int, bool)) error {
	if have, known := free(dir); known && have < want {
		return fmt.Errorf("%s: the disk has %s free, and the converted checkpoint takes %s; free some space, or write to another disk, or in a smaller --dtype", dir, size(have), size(want))
	}
	return nil
}

// recent keeps the last tensor that a source gave: it may have been made, and is read in pieces.
type recent struct {
	checkpoint.Source
	last safetensors.Tensor
}

func (r *recent) Tensor(name string) (safetensors.Tensor, bool) {
	if r.last.Data != nil && r.last.Name == name {
		return r.last, true
	}
	t, ok := r.Source.Tensor(name)
	if t.Name = name; ok {
		r.last = t
	}
	return t, ok
}

// Header implements checkpoint.Headers.
func (r *recent) Header(name string) (safetensors.Tensor, bool) {
	return checkpoint.Header(r.Source, name)
}

// hasTokenizer reports whether a checkpoint has a tokenizer.
func hasTokenizer(path string) bool {
	if file := ggufFile(path); file != "" {
		m, err := ggufmap.Open(file)
		if err != nil {
			return false
		}
		defer m.Close()
		return m.File().Has("tokenizer.ggml.model")
	}
	return exists(filepath.Join(path, "tokenizer.json")) || exists(filepath.Join(path, "tokenizer.model"))
}

// ConvertToLitGPT adds LitGPT's files to a Hugging Face directory: "litgpt convert_to_litgpt".
type ConvertToLitGPT struct {
	CheckpointDir string `yaml:"checkpoint_dir" arg:"0" help:"Hugging Face directory; lit_model.pth and model_config.yaml are put into it"`
	ModelName     string `yaml:"model_name" help:"what LitGPT calls the model; default the directory's name"`
	DType         string `yaml:"dtype" help:"type of the weights: float32, float16 or bfloat16; default their own"`
	Threads       int    `yaml:"threads" help:"CPU threads of the comparison; 0 for one per processor"`
}

// Run converts in place.
func (c ConvertToLitGPT) Run(ctx context.Context, out Out) error {
	dtype, err := parseType(c.DType)
	if err != nil {
		return err
	}
	dir := findDir(c.CheckpointDir)
	if f := formOf(dir); f != formHF {
		return fmt.Errorf("%s: is no Hugging Face directory; litgpt convert makes LitGPT's of other ones", dir)
	}
	for _, name := range []string{litgpt.WeightsFile, litgpt.ConfigFile} {
		if err := absent(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	l, err := open(dir)
	if err != nil {
		return err
	}
	v, err := newConversion(ctx, out, l, formHF, dtype, c.ModelName, c.Threads)
	if err != nil {
		return err
	}
	defer v.close()
	return v.run(inPlace, filepath.Join(dir, litgpt.WeightsFile))
}

// ConvertFromLitGPT makes a Hugging Face directory of one of LitGPT's: "litgpt convert_from_litgpt".
type ConvertFromLitGPT struct {
	CheckpointDir string `yaml:"checkpoint_dir" arg:"0" help:"directory with lit_model.pth and model_config.yaml"`
	OutputDir     string `yaml:"output_dir" arg:"1" help:"directory to write, which must not be there yet"`
	ModelPth      bool   `yaml:"model_pth" help:"write the weights as model.pth, as LitGPT does, and not as model.safetensors"`
	Threads       int    `yaml:"threads" help:"CPU threads of the comparison; 0 for one per processor"`
}

// Run converts.
func (c ConvertFromLitGPT) Run(ctx context.Context, out Out) error {
	to := formHF
	if c.ModelPth {
		to = modelPth
	}
	return fromLit(ctx, out, c.CheckpointDir, c.OutputDir, c.Threads, to)
}

// ConvertPretrained makes a checkpoint of LitGPT's pretraining one that can be finetuned:
// "litgpt convert_pretrained_checkpoint".
type ConvertPretrained struct {
	CheckpointDir string `yaml:"checkpoint_dir" arg:"0" help:"directory with the lit_model.pth of a run, which has the state of training, too"`
	OutputDir     string `yaml:"output_dir" arg:"1" help:"directory to write, which must not be there yet"`
	Threads       int    `yaml:"threads" help:"CPU threads of the comparison; 0 for one per processor"`
}

// Run extracts the weights.
func (c ConvertPretrained) Run(ctx context.Context, out Out) error {
	return fromLit(ctx, out, c.CheckpointDir, c.OutputDir, c.Threads, formLit)
}

// fromLit converts a directory of LitGPT's.
func fromLit(ctx context.Context, out Out, dir, to string, threads int, f form) error {
	dir = findDir(dir)
	if !exists(filepath.Join(dir, litgpt.ConfigFile)) {
		return fmt.Errorf("%s: no %s; a checkpoint directory of LitGPT's is wanted", dir, litgpt.ConfigFile)
	}
	if err := absent(to); err != nil {
		return err
	}
	config, view, err := litgpt.Open(dir) // also where Hugging Face's files are beside LitGPT's
	if err != nil {
		return litAdvice(dir, err)
	}
	l := &loaded{dir: dir, base: dir, config: config, src: litWeights{view, dir}}
	if l.Model, err = models.New(config); err != nil {
		view.Close()
		return fmt.Errorf("%s: %w", dir, err)
	}
	v, err := newConversion(ctx, out, l, formLit, "", "", threads)
	if err != nil {
		return err
	}
	defer v.close()
	return v.run(f, to)
}

// savedConfig is the config.json of what is written: that of the checkpoint, with the type of the weights if that changes.
func (c *conversion) savedConfig() ([]byte, error) {
	if c.form == formHF && c.dtype == "" {
		return c.from.config, nil
	}
	dtype := c.dtype
	if dtype == "" {
		dtype = c.from.storedType()
	}
	d, _ := tensor.DTypeByName(string(dtype))
	if _, err := models.New(c.from.config); err != nil {
		return nil, err
	}
	return checkpoint.ConfigWithType(c.from.config, d)
}
