package recipes

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/durable"
	"github.com/litgpt-go/litgpt/internal/litgpt"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/lora"
	"github.com/litgpt-go/litgpt/tokenizer"
)

// formPEFT is an adapter directory, as a value of --format.
const formPEFT form = "peft"

// litAdapter gives the directory that LitGPT's finetune_lora left at path, "" if there is none: path is
// it, or the adapter's weights in it. One that has the merged model too, as LitGPT leaves it in the end, is that model.
func litAdapter(at string, wanted bool) string {
	if filepath.Base(at) == litgpt.LoRAFile {
		return filepath.Dir(at)
	}
	if exists(filepath.Join(at, litgpt.LoRAFile)) && !lora.IsAdapter(at) && (wanted || !exists(filepath.Join(at, litgpt.WeightsFile))) {
		return at
	}
	return ""
}

// fromLit makes a PEFT directory of LitGPT's adapter in dir, on its base. What is written is loaded again,
// and the logits compared.
func (c Convert) fromLit(ctx context.Context, out Out, dir string) error {
	if strings.HasSuffix(strings.ToLower(c.Destination), ".gguf") {
		return usage([]string{fmt.Sprintf("%s: LitGPT's adapter becomes a PEFT directory, and that a GGUF file", c.Destination)})
	}
	a, err := litgpt.ReadLoRA(dir)
	if err != nil {
		return err
	}
	base := lora.Base{Path: a.Base}
	if c.Base != "" {
		base.Path = findDir(c.Base)
	}
	if base.Quantize = a.Quantize; base.Quantize != "" {
		if _, err := parseQuantization(base.Quantize); err != nil {
			return fmt.Errorf("%s: %w", filepath.Join(dir, litgpt.SettingsFile), err)
		}
	}
	from := ""
	for _, at := range []string{base.Path, filepath.Join(dir, base.Path), findDir(base.Path)} {
		if from == "" && base.Path != "" && isCheckpoint(at) {
			from = at
		}
	}
	if from == "" {
		return fmt.Errorf("%s: the adapter's base checkpoint %q is not there; name it by --pretrained_checkpoint_dir", dir, base.Path)
	}
	if base.Hash, err = fingerprint(from); err != nil {
		return err
	}
	if base.Path, err = filepath.Abs(from); err != nil {
		return err
	}
	l, err := open(from)
	if err != nil {
		return err
	}
	defer l.src.Close()
	defer l.free()
	dev, err := tensor.Open("cpu", tensor.Options{Threads: c.Threads})
	if err != nil {
		return err
	}
	defer dev.Close()
	v := &conversion{ctx: ctx, out: out, log: out.Log(nil), from: l, form: formOf(from), threads: c.Threads, tok: hasTokenizer(from)}
	d, place, err := v.fromLitAdapter(dev, a, base, dir, c.Destination)
	if err != nil {
		return err
	}
	return v.finish(place, d, "from", dir, "base", from, "adapter", c.Destination)
}

// fromLitAdapter writes the adapter twice: by the layers of its checkpoint, and, loaded from that, as this program
// does, which has all experts of a layer in one weight.
func (c *conversion) fromLitAdapter(dev *tensor.Device, a *litgpt.LoRA, base lora.Base, from, to string) (d difference, o *output, err error) {
	tmp, err := os.MkdirTemp("", "litgpt-adapter-") // adapters are small
	if err != nil {
		return d, nil, err
	}
	defer os.RemoveAll(tmp)
	layers := filepath.Join(tmp, "layers")
	if err := writeLayers(layers, a, base); err != nil {
		return d, nil, err
	}
	return c.writePEFT(dev, to, filepath.Join(from, tokenizer.StyleFile), func(l *loaded) (lora.Config, lora.Base, error) {
		cfg, err := lora.Load(dev, l.Model, layers)
		if err != nil {
			err = fmt.Errorf("%s: %w", from, err)
		}
		return cfg, base, err
	})
}

// writeLayers writes a PEFT directory that has each layer of the checkpoint by itself.
func writeLayers(to string, a *litgpt.LoRA, base lora.Base) error {
	cfg := lora.Config{Rank: a.Rank, Alpha: a.Alpha, Dropout: a.Dropout, Ranks: map[string]int{}, Alphas: map[string]float64{}}
	var values []checkpoint.Value
	for _, l := range a.Layers {
		target := l.Name[strings.LastIndexByte(l.Name, '.')+1:]
		if !slices.Contains(cfg.Targets, target) {
			cfg.Targets = append(cfg.Targets, target)
		}
		if l.Rank != a.Rank { // of several projections: as many times the rank, and the scale as before
			cfg.Ranks[target], cfg.Alphas[target] = l.Rank, a.Alpha*float64(l.Rank/a.Rank)
		}
		name := "base_model.model." + l.Name
		values = append(values, checkpoint.Value{Name: name + ".lora_A.weight", DType: tensor.F32, Shape: []int{l.Rank, l.In}, Floats: l.A},
			checkpoint.Value{Name: name + ".lora_B.weight", DType: tensor.F32, Shape: []int{l.Out, l.Rank}, Floats: l.B})
	}
	slices.Sort(cfg.Targets)
	slices.SortFunc(values, func(a, b checkpoint.Value) int { return strings.Compare(a.Name, b.Name) })
	d, err := durable.NewDir(to)
	if err != nil {
		return err
	}
	defer d.Abort()
	if err := lora.SaveConfig(d, cfg, base); err != nil {
		return err
	}
	if err := checkpoint.SaveFile(d, lora.WeightsFile, values); err != nil {
		return err
	}
	return d.Commit()
}
