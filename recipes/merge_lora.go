package recipes

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/durable"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/lora"
	"github.com/litgpt-go/litgpt/models"
	"github.com/litgpt-go/litgpt/quantize"
)

// MergeLoRA adds an adapter to its base and writes a complete checkpoint: "litgpt merge_lora". A
// quantized base is dequantized: the sums are of the numbers that the adapter was trained on.
type MergeLoRA struct {
	CheckpointDir           string `yaml:"checkpoint_dir" arg:"0" help:"adapter directory, e.g. out/finetune/lora/final"`
	OutDir                  string `yaml:"out_dir" help:"where the merged checkpoint goes; default merged/ beside the adapter's directory, or merged.gguf"`
	PretrainedCheckpointDir string `yaml:"pretrained_checkpoint_dir" help:"the base, if it is not where the adapter says"`
	Precision               string `yaml:"precision" help:"32-true, bf16-true or 16-true; default the base's own type, 16-true for a quantized one"`
	OutType                 string `yaml:"out_type" help:"write a GGUF file of this type instead: Q4_K_M, Q8_0, F16 or others that litgpt quantize list shows"`
	Text                    string `yaml:"text" help:"file of text on which what was merged is compared with base and adapter"`
	Device                  `yaml:",inline"`
}

// NewMergeLoRA returns the defaults.
func NewMergeLoRA() MergeLoRA { return MergeLoRA{Device: newDevice()} }

// Run merges.
func (c MergeLoRA) Run(ctx context.Context, out Out) error {
	if err := checkInference(c.Precision); err != nil {
		return err
	}
	var mixture quantize.Mixture
	if c.OutType != "" {
		var err error
		if mixture, err = quantize.MixtureByName(c.OutType); err != nil {
			return err
		}
		if c.Precision != "" {
			return usage([]string{"--precision is the type of a checkpoint directory, --out_type that of a GGUF file; set one of them"})
		}
	}
	dir := findDir(c.CheckpointDir)
	if !lora.IsAdapter(dir) {
		if litAdapter(dir, true) != "" {
			return litLoRA(dir)
		}
		return fmt.Errorf("%s is no adapter directory: it has no %s", dir, lora.ConfigFile)
	}
	_, base, err := lora.ReadConfig(dir)
	if err != nil {
		return err
	}
	from := dir
	if c.PretrainedCheckpointDir != "" {
		from = c.PretrainedCheckpointDir
	}
	l, err := open(from)
	if err != nil {
		return err
	}
	defer l.close()
	if l.quant, err = parseQuantization(base.Quantize); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(dir, lora.ConfigFile), err)
	}
	dev, err := c.Device.open()
	if err != nil {
		return err
	}
	defer dev.Close()
	l.lora = nil // it is loaded below, from dir
	if err := l.load(dev, checkpoint.Stored, false); err != nil {
		return err
	}
	if _, err := lora.Load(dev, l.Model, dir); err != nil {
		return err
	}
	m, err := newMerged(dev, l)
	if err != nil {
		return err
	}
	to := c.OutDir
	if to == "" {
		to = filepath.Join(filepath.Dir(filepath.Clean(dir)), "merged")
		if c.OutType != "" {
			to += ".gguf"
		}
	}
	if c.OutType != "" {
		err = m.writeGGUF(ctx, out, to, mixture, c.Threads)
	} else {
		saved, set := c.saved(l)
		err = m.writeDir(ctx, dir, to, saved, set)
	}
	if err != nil {
		return err
	}
	r := &mergeReport{}
	if l.quantized() || c.OutType != "" || c.Text != "" {
		if r, err = m.measure(ctx, out, to, c.Text); err != nil {
			return fmt.Errorf("%s is written, and could not be measured: %w", to, err)
		}
		if err := r.write(out.Result); err != nil {
			return err
		}
	}
	wrote, err := open(to)
	if err != nil {
		return err
	}
	defer wrote.close()
	attrs := []any{"adapter", dir, "base", l.base, "checkpoint", to, "type", string(wrote.storedType())}
	if l.quant.name != "" {
		attrs = append(attrs, "base_quantize", l.quant.describe())
	}
	out.Log(nil).Info("merged", attrs...)
	return nil
}

// saved is the type to write floats in; 0, false keeps each weight's own.
func (c MergeLoRA) saved(l *loaded) (d tensor.DType, set bool) {
	switch {
	case c.Precision != "":
		return precisions[c.Precision].saved, true
	case l.quantized():
		// As large as BF16, with an eighth of its error: BF16 rounds away much of what a short training added.
		return tensor.F16, true
	}
	return 0, false
}

// quantized reports whether some matrix is in memory.
func (l *loaded) quantized() bool {
	for _, p := range nn.Params(l.Model) {
		if p.DType().Quantized() {
			return true
		}
	}
	return false
}

// merged is a base with its adapter as a checkpoint in float32, made weight by weight. It is the
// weights of a [loaded].
type merged struct {
	l      *loaded
	dev    *tensor.Device
	merger *lora.Merger
	values []checkpoint.Value // in the layout of the base
	index  map[string]int
	last   *tensor.Tensor // that was made last
	floats []float32      // of last
}

func newMerged(dev *tensor.Device, l *loaded) (*merged, error) {
	merger, err := lora.NewMerger(dev, l.Model)
	if err != nil {
		return nil, err
	}
	m := &merged{l: l, dev: dev, merger: merger, index: map[string]int{}}
	var values []checkpoint.Value
	for name, p := range nn.Params(l.Model) {
		if !lora.IsWeight(name) {
			values = append(values, checkpoint.Value{Name: name, DType: tensor.F32, From: p, Make: func() ([]float32, error) { return m.of(p) }})
		}
	}
	m.values = l.layout(values)
	for i, v := range m.values {
		m.index[v.Name] = i
	}
	return m, nil
}

// of gives a merged weight; a stack of experts is asked for once for each.
func (m *merged) of(p *tensor.Tensor) (v []float32, err error) {
	if m.last == p {
		return m.floats, nil
	}
	if v, err = m.merger.Values(p); err != nil {
		return nil, err
	}
	m.last, m.floats = p, v
	return v, nil
}

// writeDir writes a Hugging Face checkpoint. With set all weights have the type saved.
func (m *merged) writeDir(ctx context.Context, adapter, to string, saved tensor.DType, set bool) error {
	l := m.l
	d, err := durable.NewDir(to)
	if err != nil {
		return err
	}
	defer d.Abort()
	// The adapter's directory has the prompt style and may have its own tokenizer files; the base fills the rest.
	if err := copySidecars(d, l.base); err != nil {
		return err
	}
	if exists(filepath.Join(adapter, "prompt_style.yaml")) {
		if err := d.CopyFile("prompt_style.yaml", filepath.Join(adapter, "prompt_style.yaml")); err != nil {
			return err
		}
	}
	values := slices.Clone(m.values)
	for i := range values {
		v := &values[i]
		v.DType = v.From.DType()
		if t, ok := checkpoint.Header(l.src, v.Name); ok && len(v.From.Shape()) < 2 {
			v.DType, _ = tensor.DTypeByName(string(t.DType))
		}
		if set {
			v.DType = saved
		}
		make := v.Make
		v.Make = func() ([]float32, error) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			return make()
		}
	}
	config, err := models.SavedConfig(l.config)
	if err != nil {
		return err
	}
	if !set {
		saved = l.dtype
	}
	if config, err = checkpoint.ConfigWithType(config, saved); err != nil {
		return err
	}
	if err := d.WriteFile("config.json", config); err != nil {
		return err
	}
	if err := checkpoint.SaveWeights(d, values, checkpoint.ShardSize); err != nil {
		return err
	}
	return d.Commit()
}

// writeGGUF quantizes what was merged.
func (m *merged) writeGGUF(ctx context.Context, out Out, to string, mixture quantize.Mixture, threads int) error {
	if !strings.EqualFold(filepath.Ext(to), ".gguf") {
		return usage([]string{fmt.Sprintf("--out_dir is %s; the name of a file that ends in .gguf wanted with --out_type", to)})
	}
	if same(to, ggufFile(m.l.base)) {
		return fmt.Errorf("%s is the base itself; choose another --out_dir", to)
	}
	if info, err := os.Stat(filepath.Dir(filepath.Clean(to))); err != nil || !info.IsDir() {
		return fmt.Errorf("%s: its directory does not exist", to)
	}
	t := *m.l
	t.src = m
	e, err := t.export()
	if err != nil {
		return err
	}
	p, err := quantize.Choose(e, quantize.Config{Mixture: mixture})
	if err != nil {
		return err
	}
	for _, note := range append(e.Notes, p.Notes...) {
		out.Log(nil).Warn(note)
	}
	if threads == 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	bar := out.NewBar(int64(p.SourceBytes()), "quantize", "B")
	defer bar.Done()
	return p.Write(ctx, to, threads, bar.Add)
}

func checkInference(precision string) error {
	if precision == "" || slices.Contains(inferPrecisions, precision) {
		return nil
	}
	return usage([]string{fmt.Sprintf("--precision is %q; one of 32-true, bf16-true, 16-true wanted", precision)})
}
