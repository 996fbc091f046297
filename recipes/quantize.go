package recipes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/gguf"
	"github.com/litgpt-go/litgpt/internal/ggufmap"
	"github.com/litgpt-go/litgpt/internal/settings"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/quantize"
	"github.com/litgpt-go/litgpt/tokenizer"
)

// Quantize makes a smaller checkpoint: "litgpt quantize".
type Quantize struct {
	CheckpointDir string   `yaml:"checkpoint_dir" arg:"0" help:"model directory or GGUF file; or list, to see the types"`
	OutFile       string   `yaml:"out_file" arg:"1,optional" help:"the GGUF file to write"`
	Type          string   `yaml:"type" help:"how: Q4_K_M, Q4_0, Q8_0 and others of llama-quantize's"`
	Override      []string `yaml:"override" help:"types by name, the first that matches counts: 'blk.*.ffn_down=Q6_K', 'self_attn.v_proj=Q8_0'"`
	Pure          bool     `yaml:"pure" help:"one type for all matrices, instead of more bits for those that need them"`
	KeepHead      bool     `yaml:"keep_head" help:"leave the output projection, or the embedding that is it, in its type"`
	Requantize    bool     `yaml:"requantize" help:"quantize also what is quantized already, with the errors of both"`
	Calibrate     string   `yaml:"calibrate" help:"file of text on which the importance of columns is measured"`
	Length        int      `yaml:"calibrate_length" help:"tokens of the pieces that the text is cut into"`
	Chunks        int      `yaml:"calibrate_chunks" help:"pieces to take of it; 0 for all"`
	Imatrix       string   `yaml:"imatrix" help:"importance matrix: read (llama-imatrix's .gguf or .dat), or, with calibrate, written"`
	GPTQ          bool     `yaml:"gptq" help:"correct the errors of columns in those that follow, measured on calibrate's text"`
	Overwrite     bool     `yaml:"overwrite" help:"replace out_file if it is there"`
	DryRun        bool     `yaml:"dry_run" help:"print each tensor's type and the size, and end"`
	Reporting     `yaml:",inline"`
	Device        `yaml:",inline"`
}

// NewQuantize returns the defaults.
func NewQuantize() Quantize {
	return Quantize{Type: "Q4_K_M", Length: 512, Chunks: 128, Reporting: NewReporting(), Device: newDevice()}
}

// Run quantizes.
func (c Quantize) Run(ctx context.Context, out Out) error {
	if c.CheckpointDir == "list" {
		_, err := fmt.Fprintln(out.Result, strings.Join(quantize.Names(), "\n"))
		return err
	}
	if c.Report && !c.Overwrite && !c.DryRun && exists(findDir(c.OutFile)) {
		return c.reportOn(ctx, out)
	}
	cfg, err := c.config()
	if err != nil {
		return err
	}
	if err := c.target(); err != nil {
		return err
	}
	l, err := open(c.CheckpointDir)
	if err != nil {
		return err
	}
	defer l.close()
	if l.lora != nil {
		return fmt.Errorf("%s is an adapter; merge it with merge_lora first", l.dir)
	}
	e, err := l.export()
	if err != nil {
		return err
	}
	log := out.Log(nil)
	for _, note := range e.Notes {
		log.Warn(note)
	}
	if c.Calibrate != "" || c.Imatrix != "" {
		// Before hours of work: what the importance is for must fit.
		if err := c.fits(e, cfg); err != nil {
			return err
		}
	}
	start := time.Now()
	var chunks [][]int32
	var dev *tensor.Device
	if c.Calibrate != "" {
		if chunks, err = c.text(l); err != nil {
			return err
		}
		if dev, err = c.Device.open(); err != nil {
			return err
		}
		defer dev.Close()
		if cfg.Importance, err = c.observe(ctx, out, l, e, dev, chunks); err != nil {
			return err
		}
	} else if c.Imatrix != "" {
		if cfg.Importance, err = quantize.ReadImportance(c.Imatrix); err != nil {
			return err
		}
		log.Info("importance", "file", c.Imatrix, "entries", len(cfg.Importance.Entries), "chunks", cfg.Importance.Chunks)
	}
	p, err := quantize.Choose(e, cfg)
	if err != nil {
		return err
	}
	for _, note := range p.Notes {
		log.Warn(note)
	}
	if c.DryRun {
		return describePlan(out.Result, p)
	}
	if err := enoughDisk(c.OutFile, p.Bytes()); err != nil {
		return err
	}
	if c.GPTQ {
		if err := c.correct(ctx, out, l, p, dev, chunks); err != nil {
			return err
		}
	}
	threads := c.Threads
	if threads == 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	log.Info("quantize", "checkpoint", l.dir, "type", cfg.Mixture.Name, "tensors", len(p.Tensors), "from", size(p.SourceBytes()), "to", size(p.Bytes()), "threads", threads)
	bar := out.NewBar(int64(p.SourceBytes()), "quantize", "B")
	defer bar.Done()
	begin := time.Now()
	if err := p.Write(ctx, c.OutFile, threads, bar.Add); err != nil {
		return err
	}
	bar.Done()
	log.Info("done", "file", c.OutFile, "bytes", fileSize(c.OutFile), "bits/weight", fmt.Sprintf("%.2f", p.BitsPerWeight()),
		"MB/s", fmt.Sprintf("%.0f", float64(p.SourceBytes())/1e6/time.Since(begin).Seconds()), "time", time.Since(start).Round(time.Millisecond).String())
	if c.Report {
		return c.reportOn(ctx, out)
	}
	return nil
}

// reportOn compares the file, which is there, with the original.
func (c Quantize) reportOn(ctx context.Context, out Out) error {
	if err := usage(c.Reporting.check()); err != nil {
		return err
	}
	dev, err := c.Device.open()
	if err != nil {
		return err
	}
	defer dev.Close()
	return c.report(ctx, out, dev, c.CheckpointDir, findDir(c.OutFile))
}

// config checks the settings, and reports all mistakes.
func (c Quantize) config() (quantize.Config, error) {
	cfg := quantize.Config{Pure: c.Pure, KeepHead: c.KeepHead, Requantize: c.Requantize}
	var err error
	var errs []error
	if cfg.Mixture, err = quantize.MixtureByName(c.Type); err != nil {
		errs = append(errs, err)
	}
	for _, s := range c.Override {
		o, err := quantize.ParseOverride(s)
		if err != nil {
			errs = append(errs, err)
		}
		cfg.Overrides = append(cfg.Overrides, o)
	}
	var bad []string
	if c.Length < 32 || c.Chunks < 0 {
		bad = append(bad, fmt.Sprintf("--calibrate_length is %d and --calibrate_chunks %d; at least 32, and no negative number, wanted", c.Length, c.Chunks))
	}
	if c.GPTQ && c.Calibrate == "" {
		bad = append(bad, "--gptq needs a text to measure on: --calibrate FILE")
	}
	if c.Report {
		bad = append(bad, c.Reporting.check()...)
	}
	if c.OutFile == "" && !c.DryRun {
		bad = append(bad, "out_file is missing: the GGUF file to write")
	} else if c.OutFile != "" && !strings.EqualFold(filepath.Ext(c.OutFile), ".gguf") {
		bad = append(bad, fmt.Sprintf("out_file is %s; a name that ends in .gguf wanted", c.OutFile))
	}
	return cfg, errors.Join(append(errs, usage(bad))...)
}

// target is an error if the file cannot be written.
func (c Quantize) target() error {
	if c.DryRun {
		return nil
	}
	for _, path := range []string{c.OutFile, c.Imatrix} {
		if path == "" || path == c.Imatrix && c.Calibrate == "" {
			continue
		}
		if info, err := os.Stat(filepath.Dir(path)); err != nil || !info.IsDir() {
			return fmt.Errorf("%s: its directory does not exist", path)
		}
		info, err := os.Lstat(path)
		switch {
		case err != nil:
		case info.IsDir():
			return fmt.Errorf("%s is a directory", path)
		case !c.Overwrite:
			return &settings.UsageError{Msg: path + " is there already", Hint: "choose another name, or set --overwrite"}
		}
	}
	if same(c.OutFile, ggufFile(findDir(c.CheckpointDir))) {
		return &settings.UsageError{Msg: fmt.Sprintf("%s is the file that is read", c.OutFile), Hint: "choose another name"}
	}
	return nil
}

func same(a, b string) bool {
	x, err1 := os.Stat(a)
	y, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

// fits chooses types as if there were importance of all, for the errors alone.
func (c Quantize) fits(e *ggufmap.Exported, cfg quantize.Config) error {
	cfg.Importance = quantize.Uniform(e)
	_, err := quantize.Choose(e, cfg)
	return err
}

// export describes the model as GGUF, with its tokenizer and names.
func (l *loaded) export() (*ggufmap.Exported, error) {
	e, err := ggufmap.Export(l.config, quantize.Cache(l.src))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.base, err)
	}
	general := []gguf.KV{{Key: "general.name", Value: filepath.Base(l.base)}}
	if m, ok := l.src.(*ggufmap.Model); ok {
		if general, err = generalKeys(m.File()); err != nil {
			return nil, err
		}
	}
	// Beside the architecture's keys, which come first.
	e.Metadata = slices.Insert(e.Metadata, 2, general...)
	if !hasTokenizer(l.base) {
		e.Notes = append(e.Notes, "there is no tokenizer: llama.cpp will refuse the file")
		return e, nil
	}
	path := l.base
	if file := ggufFile(path); file != "" {
		path = file
	}
	meta, notes, err := tokenizer.GGUF(path, l.Dims().Vocab)
	if err != nil {
		return nil, err
	}
	e.Metadata = gguf.SetKV(e.Metadata, meta...)
	e.Notes = append(e.Notes, notes...)
	return e, nil
}

// generalKeys are what a file says of its origin: author, license, name.
func generalKeys(f *gguf.File) (list []gguf.KV, err error) {
	for _, key := range f.Keys() {
		switch key {
		case "general.architecture", "general.type", "general.file_type", "general.quantization_version", "general.alignment":
			continue
		}
		if !strings.HasPrefix(key, "general.") {
			continue
		}
		kv, err := f.KV(key)
		if err != nil {
			return nil, err
		}
		list = append(list, kv)
	}
	return list, nil
}

// text cuts the calibration text into pieces of one length.
func (c Quantize) text(l *loaded) ([][]int32, error) {
	s := Score{File: c.Calibrate, AddSpecial: true}
	length := min(c.Length, l.Dims().Context)
	windows, err := s.windows(l, length)
	if err != nil {
		return nil, err
	}
	windows = slices.DeleteFunc(windows, func(w []int32) bool { return len(w) < length })
	if c.Chunks > 0 && len(windows) > c.Chunks {
		windows = windows[:c.Chunks]
	}
	if len(windows) == 0 {
		return nil, fmt.Errorf("%s: less than %d tokens; a longer text, or a smaller --calibrate_length, wanted", c.Calibrate, length)
	}
	for _, w := range windows {
		if err := checkIDs(w, l.Dims().Vocab); err != nil {
			return nil, err
		}
	}
	return windows, nil
}

// observe measures the importance, and writes it where that is asked for.
func (c Quantize) observe(ctx context.Context, out Out, l *loaded, e *ggufmap.Exported, dev *tensor.Device, chunks [][]int32) (*quantize.Importance, error) {
	t, err := l.twin()
	if err != nil {
		return nil, err
	}
	defer t.free()
	if err := t.load(dev, checkpoint.Stored, false); err != nil {
		return nil, err
	}
	t.describe(out.Log(nil), dev, "text", c.Calibrate, "chunks", len(chunks), "tokens", len(chunks)*len(chunks[0]))
	bar := out.NewBar(int64(len(chunks)*len(chunks[0])), "measure", "tokens")
	defer bar.Done()
	im, err := quantize.Observe(ctx, dev, t.Model, e, chunks, func() { bar.Add(int64(len(chunks[0]))) })
	if err != nil {
		return nil, err
	}
	bar.Done()
	im.Datasets = []string{filepath.Base(c.Calibrate)}
	if c.Imatrix != "" {
		if err := im.Write(c.Imatrix); err != nil {
			return nil, err
		}
		out.Log(nil).Info("importance", "file", c.Imatrix, "entries", len(im.Entries))
	}
	return im, nil
}

// correct quantizes the layers of the blocks with GPTQ.
func (c Quantize) correct(ctx context.Context, out Out, l *loaded, p *quantize.Plan, dev *tensor.Device, chunks [][]int32) error {
	t, err := l.twin()
	if err != nil {
		return err
	}
	defer t.free()
	if err := t.load(dev, checkpoint.Stored, false); err != nil {
		return err
	}
	bar := out.NewBar(int64(t.Dims().Layers), "correct", "blocks")
	defer bar.Done()
	if err := quantize.Correct(ctx, dev, t.Model, l.config, quantize.Cache(l.src), p, chunks, func() { bar.Add(1) }); err != nil {
		return err
	}
	bar.Done()
	return nil
}

// enoughDisk is an error when the disk of a file has less than n bytes.
func enoughDisk(path string, n int) error {
	if free, ok := freeBytes(filepath.Dir(path)); ok && free < n {
		return fmt.Errorf("%s: takes %s, and the disk has %s free; free some space, or choose a smaller --type", path, size(n), size(free))
	}
	return nil
}

func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// describePlan prints what would be written.
func describePlan(w io.Writer, p *quantize.Plan) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for i := range p.Tensors {
		x := &p.Tensors[i]
		fmt.Fprintf(t, "%s\t%v\t%v\t%v\t%s\n", x.Name, x.Shape, x.DType(), x.To, size(x.Bytes()))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%d tensors, %s to %s, %.2f bits per weight\n", len(p.Tensors), size(p.SourceBytes()), size(p.Bytes()), p.BitsPerWeight())
	return err
}
