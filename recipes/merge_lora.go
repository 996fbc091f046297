package recipes

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/durable"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/lora"
	"github.com/litgpt-go/litgpt/models"
)

// MergeLoRA adds an adapter to its base and writes a complete checkpoint: "litgpt merge_lora".
type MergeLoRA struct {
	CheckpointDir           string `yaml:"checkpoint_dir" arg:"0" help:"adapter directory, e.g. out/finetune/lora/final"`
	OutDir                  string `yaml:"out_dir" help:"where the merged checkpoint goes; default merged/ beside the adapter's directory"`
	PretrainedCheckpointDir string `yaml:"pretrained_checkpoint_dir" help:"the base, if it is not where the adapter says"`
	Precision               string `yaml:"precision" help:"32-true, bf16-true or 16-true; default the base's own type"`
	Device                  `yaml:",inline"`
}

// NewMergeLoRA returns the defaults.
func NewMergeLoRA() MergeLoRA { return MergeLoRA{Device: newDevice()} }

// Run merges.
func (c MergeLoRA) Run(ctx context.Context, log *slog.Logger) error {
	if err := checkInference(c.Precision); err != nil {
		return err
	}
	dir := findDir(c.CheckpointDir)
	if !lora.IsAdapter(dir) {
		return fmt.Errorf("%s is no adapter directory: it has no %s", dir, lora.ConfigFile)
	}
	var l *loaded
	var err error
	if c.PretrainedCheckpointDir != "" {
		l, err = open(c.PretrainedCheckpointDir)
	} else {
		l, err = open(dir)
	}
	if err != nil {
		return err
	}
	defer l.close()
	dev, err := c.Device.open()
	if err != nil {
		return err
	}
	defer dev.Close()
	matrix := checkpoint.Stored
	if c.Precision != "" {
		matrix = precisions[c.Precision].matrix
	}
	l.lora = nil // it is loaded below, from dir
	if err := l.load(dev, matrix, false); err != nil {
		return err
	}
	if _, err := lora.Load(dev, l.Model, dir); err != nil {
		return err
	}
	if err := lora.Merge(dev, l.Model); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	to := c.OutDir
	if to == "" {
		to = filepath.Join(filepath.Dir(filepath.Clean(dir)), "merged")
	}
	d, err := durable.NewDir(to)
	if err != nil {
		return err
	}
	defer d.Abort()
	// The adapter's directory has the prompt style and may have its own tokenizer files; the base fills the rest.
	if err := copySidecars(d, l.base); err != nil {
		return err
	}
	if exists(filepath.Join(dir, "prompt_style.yaml")) {
		if err := d.CopyFile("prompt_style.yaml", filepath.Join(dir, "prompt_style.yaml")); err != nil {
			return err
		}
	}
	var values []checkpoint.Value
	for name, p := range nn.Params(l.Model) {
		dtype := p.DType()
		if t, ok := checkpoint.Header(l.src, name); ok && len(p.Shape()) < 2 && c.Precision == "" {
			dtype = map[string]tensor.DType{"F32": tensor.F32, "BF16": tensor.BF16, "F16": tensor.F16}[string(t.DType)]
		} else if len(p.Shape()) < 2 && c.Precision != "" {
			dtype = precisions[c.Precision].saved
		}
		values = append(values, checkpoint.Value{Name: name, DType: dtype, From: p})
	}
	config, err := models.SavedConfig(l.config)
	if err != nil {
		return err
	}
	config, err = checkpoint.ConfigWithType(config, l.dtype)
	if err != nil {
		return err
	}
	if err := d.WriteFile("config.json", config); err != nil {
		return err
	}
	if err := checkpoint.SaveWeights(d, l.layout(values), checkpoint.ShardSize); err != nil {
		return err
	}
	if err := d.Commit(); err != nil {
		return err
	}
	log.Info("merged", "adapter", dir, "base", l.base, "checkpoint", to, "type", l.dtype.String())
	return nil
}

func checkInference(precision string) error {
	if precision == "" || slices.Contains(inferPrecisions, precision) {
		return nil
	}
	return usage([]string{fmt.Sprintf("--precision is %q; one of 32-true, bf16-true, 16-true wanted", precision)})
}
