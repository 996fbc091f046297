package recipes

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/durable"
	"github.com/litgpt-go/litgpt/internal/gguf"
	"github.com/litgpt-go/litgpt/internal/ggufmap"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/lora"
	"github.com/litgpt-go/litgpt/tokenizer"
)

// adapterFile reports whether path is an adapter of llama.cpp's.
func adapterFile(path string) bool {
	if !ggufmap.Is(path) {
		return false
	}
	f, err := gguf.Open(path)
	if err != nil {
		return false // what is wrong is said by whoever opens it as a model
	}
	defer f.Close()
	return lora.IsGGUF(f)
}

// adapter converts PEFT's directories to llama.cpp's files and back. Both are loaded on
// the base, and the logits compared.
func (c Convert) adapter(ctx context.Context, out Out, src string) error {
	toGGUF := !adapterFile(src)
	if toGGUF != strings.HasSuffix(strings.ToLower(c.Destination), ".gguf") {
		want := "a PEFT directory"
		if toGGUF {
			want = "a file called something.gguf"
		}
		return usage([]string{fmt.Sprintf("%s: the adapter %s becomes %s", c.Destination, src, want)})
	}
	base, err := c.adapterBase(src, toGGUF)
	if err != nil {
		return err
	}
	l, err := open(base)
	if err != nil {
		return err
	}
	defer l.src.Close()
	defer l.free()
	v := &conversion{ctx: ctx, out: out, log: out.Log(nil), from: l, form: formOf(base), threads: c.Threads, tok: hasTokenizer(base)}
	dev, err := tensor.Open("cpu", tensor.Options{Threads: c.Threads})
	if err != nil {
		return err
	}
	defer dev.Close()
	convert := v.fromGGUF
	if toGGUF {
		convert = v.fromPEFT
	}
	d, place, err := convert(dev, src, c.Destination)
	if err != nil {
		return err
	}
	return v.finish(place, d, "from", src, "base", base, "adapter", c.Destination)
}

// adapterBase finds the checkpoint that an adapter corrects.
func (c Convert) adapterBase(src string, peft bool) (string, error) {
	if c.Base != "" {
		return findDir(c.Base), nil
	}
	if peft {
		_, base, err := lora.ReadConfig(src)
		if err != nil {
			return "", err
		}
		return findBase(src, base)
	}
	f, err := gguf.Open(src)
	if err != nil {
		return "", err
	}
	defer f.Close()
	base, err := lora.GGUFBase(f)
	if err != nil {
		return "", fmt.Errorf("%s: %w", src, err)
	}
	if base.Path == "" {
		return "", usage([]string{fmt.Sprintf("%s does not say which checkpoint it corrects; name it by --pretrained_checkpoint_dir", src)})
	}
	return findBase(filepath.Dir(src), base)
}

// adapted computes the logits of the base with the adapter that hang puts on it, and lets use look at the model meanwhile.
func (c *conversion) adapted(dev *tensor.Device, hang func(l *loaded) error, use func(l *loaded) error) ([]float32, error) {
	l, err := c.from.twin()
	if err != nil {
		return nil, err
	}
	defer l.free()
	l.lora = nil
	if err := l.load(dev, checkpoint.Stored, false); err != nil {
		return nil, err
	}
	if err := hang(l); err != nil {
		return nil, err
	}
	if use != nil {
		if err := use(l); err != nil {
			return nil, err
		}
	}
	return c.score(dev, l, c.prompts())
}

// agree compares the two sides of an adapter, which have the same numbers but for the scale that GGUF puts into one of
// the matrices.
func (c *conversion) agree(want, got []float32, path string) (difference, error) {
	d, err := diff(want, got, c.from.Dims().Vocab)
	if err != nil {
		return d, err
	}
	const most = 1e-4
	if !(d.relative <= most) {
		return d, fmt.Errorf("%s: the logits with it differ by %.3g from those before (relative, at most %g); nothing is kept", path, d.relative, most)
	}
	return d, nil
}

func (c *conversion) fromPEFT(dev *tensor.Device, dir, path string) (d difference, o *output, err error) {
	cfg, base, err := lora.ReadConfig(dir)
	if err != nil {
		return d, nil, err
	}
	tmp, err := os.MkdirTemp("", "litgpt-adapter-") // adapters are small
	if err != nil {
		return d, nil, err
	}
	defer os.RemoveAll(tmp)
	made := filepath.Join(tmp, "adapter.gguf")
	peft := func(l *loaded) error { cfg, err = lora.Load(dev, l.Model, dir); return err }
	want, err := c.adapted(dev, peft, func(l *loaded) error { return lora.SaveGGUF(made, l.Model, l.config, cfg, base) })
	if err != nil {
		return d, nil, err
	}
	got, err := c.adapted(dev, func(l *loaded) error { _, _, err := lora.LoadGGUF(dev, l.Model, l.config, made); return err }, nil)
	if err != nil {
		return d, nil, err
	}
	if d, err = c.agree(want, got, path); err != nil {
		return d, nil, err
	}
	in, err := os.Open(made)
	if err != nil {
		return d, nil, err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return d, nil, err
	}
	f, err := durable.CreateFile(path, 0o644)
	if err != nil {
		return d, nil, err
	}
	if _, err := io.Copy(f, in); err != nil {
		f.Abort()
		return d, nil, err
	}
	return d, &output{commit: f.Commit, abort: f.Abort}, nil
}

func (c *conversion) fromGGUF(dev *tensor.Device, file, path string) (difference, *output, error) {
	return c.writePEFT(dev, path, "", func(l *loaded) (lora.Config, lora.Base, error) {
		cfg, base, err := lora.LoadGGUF(dev, l.Model, l.config, file)
		if base.Path == "" {
			base.Path = c.from.dir
		}
		return cfg, base, err
	})
}

// writePEFT writes the adapter that load puts on the base as a directory at path, with the prompt style at style if there is
// one, loads it again and compares the logits.
func (c *conversion) writePEFT(dev *tensor.Device, path, style string, load func(l *loaded) (lora.Config, lora.Base, error)) (d difference, o *output, err error) {
	dir, err := durable.NewDir(path)
	if err != nil {
		return d, nil, err
	}
	defer func() {
		if o == nil {
			dir.Abort()
		}
	}()
	var cfg lora.Config
	var base lora.Base
	want, err := c.adapted(dev, func(l *loaded) (err error) {
		cfg, base, err = load(l)
		return err
	}, func(l *loaded) error { return lora.Save(dir, l.Model, cfg, base) })
	if err != nil {
		return d, nil, err
	}
	got, err := c.adapted(dev, func(l *loaded) error { _, err := lora.Load(dev, l.Model, dir.Written()); return err }, nil)
	if err != nil {
		return d, nil, err
	}
	if d, err = c.agree(want, got, path); err != nil {
		return d, nil, err
	}
	if style != "" && exists(style) {
		if err := dir.CopyFile(tokenizer.StyleFile, style); err != nil {
			return d, nil, err
		}
	}
	return d, &output{commit: dir.Commit, abort: func() { dir.Abort() }}, nil
}
