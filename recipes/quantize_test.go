package recipes

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/progress"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

func TestParseQuantization(t *testing.T) {
	for name, want := range map[string]tensor.DType{"bnb.nf4": tensor.IQ4_NL, "bnb.nf4-dq": tensor.IQ4_NL, "bnb.fp4": tensor.IQ4_NL, "bnb.fp4-dq": tensor.IQ4_NL,
		"bnb.int8": tensor.Q8_0, "bnb.int8-training": tensor.Q8_0, "q4_k": tensor.Q4_K, "Q5_1": tensor.Q5_1} {
		if q, err := parseQuantization(name); err != nil || q.to != want {
			t.Errorf("%s: got %v, %v, want %v", name, q.to, err, want)
		}
	}
	for _, name := range []string{"bnb.nf5", "nf4", "F16", "IQ2_XXS", "Q4_K_M", "I32"} {
		if q, err := parseQuantization(name); err == nil {
			t.Errorf("%s: got %v, want an error", name, q.to)
		}
	}
	if _, err := parseQuantization("bnb.nf5"); !strings.Contains(err.Error(), `did you mean "bnb.nf4"`) {
		t.Errorf("got %v, want the nearest name", err)
	}
}

// TestQuantizeWhileLoading: layers get the type, what cannot keeps its own, and the scores stay near.
func TestQuantizeWhileLoading(t *testing.T) {
	dev, err := tensor.Open("cpu", tensor.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	dir := "../models/testdata/fixtures/llama2"
	nll := map[string]float64{}
	for _, name := range []string{"", "bnb.int8", "bnb.nf4"} {
		l, err := open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer l.close()
		if l.quant, err = parseQuantization(name); err != nil {
			t.Fatal(err)
		}
		if err := l.load(dev, checkpoint.Stored, false); err != nil {
			t.Fatal(err)
		}
		for weight, p := range nn.Params(l.Model) {
			want := tensor.F32
			if _, layer := strings.CutSuffix(weight, "_proj.weight"); name != "" && (layer || weight == "lm_head.weight") {
				want = l.quant.to
			}
			if p.DType() != want {
				t.Errorf("%q: %s is %v, want %v", name, weight, p.DType(), want)
			}
		}
		c := NewScore()
		c.CheckpointDir, c.TokenIDs, c.Quantize, c.Device.Device, c.Threads = dir, "[[1,5,9,40,3,2,77,31]]", name, "cpu", 1
		var out bytes.Buffer
		if err := c.Run(context.Background(), &out, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		var got scores
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		nll[name] = got.NLL[0]
	}
	for name, tolerance := range map[string]float64{"bnb.int8": 0.02, "bnb.nf4": 0.3} {
		if d := nll[name] - nll[""]; d == 0 || d > tolerance || d < -tolerance {
			t.Errorf("%s: the negative log-likelihood changes by %g, want a little, and at most %g", name, d, tolerance)
		}
	}
}

// printing is an Out that shows nothing but results.
func printing(w io.Writer) Out {
	return Out{Result: w, NewBar: func(int64, string, string) *progress.Bar { return nil }, Log: func(*progress.Bar) *slog.Logger { return slog.New(slog.DiscardHandler) }}
}

func TestQuantizeCommand(t *testing.T) {
	dir := t.TempDir()
	c := NewQuantize()
	c.CheckpointDir, c.Type, c.Device.Device, c.Threads = "../models/testdata/fixtures/llama2", "Q8_0", "cpu", 1
	c.OutFile = filepath.Join(dir, "q8.gguf")
	if err := c.Run(context.Background(), printing(io.Discard)); err != nil {
		t.Fatal(err)
	}
	l, err := open(c.OutFile)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	if got, _ := checkpoint.Header(l.src, "model.layers.0.mlp.up_proj.weight"); got.DType != "Q8_0" {
		t.Errorf("up_proj is %s, want Q8_0", got.DType)
	}
	for name, x := range map[string]struct {
		change func(*Quantize)
		want   string
	}{
		"there already":   {func(*Quantize) {}, "there already"},
		"itself":          {func(c *Quantize) { c.CheckpointDir, c.Overwrite = c.OutFile, true }, "is the file that is read"},
		"no directory":    {func(c *Quantize) { c.OutFile = filepath.Join(dir, "none", "x.gguf") }, "its directory does not exist"},
		"a directory":     {func(c *Quantize) { c.OutFile = filepath.Join(dir, "d.gguf"); os.Mkdir(c.OutFile, 0o755) }, "is a directory"},
		"no GGUF":         {func(c *Quantize) { c.OutFile = filepath.Join(dir, "x.bin") }, "ends in .gguf"},
		"no file":         {func(c *Quantize) { c.OutFile = "" }, "out_file is missing"},
		"unknown type":    {func(c *Quantize) { c.Type = "Q9" }, `type "Q9" is not known`},
		"GPTQ of nothing": {func(c *Quantize) { c.GPTQ = true }, "--gptq needs a text"},
		"missing imatrix": {func(c *Quantize) { c.Imatrix, c.OutFile = filepath.Join(dir, "x"), filepath.Join(dir, "x.gguf") }, "no such file"},
		"quantized": {func(c *Quantize) {
			c.CheckpointDir, c.Type, c.OutFile = c.OutFile, "Q4_0", filepath.Join(dir, "x.gguf")
		}, "quantized already"},
		"override of nothing": {func(c *Quantize) { c.Override, c.OutFile = []string{"fn_up=Q4_0"}, filepath.Join(dir, "x.gguf") }, "no matrix has such a name"},
	} {
		t.Run(name, func(t *testing.T) {
			c := c
			x.change(&c)
			if err := c.Run(context.Background(), printing(io.Discard)); err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("got %v, want %q", err, x.want)
			}
			if files, _ := filepath.Glob(filepath.Join(dir, "*.gguf")); len(files) > 2 { // the file and d.gguf
				t.Errorf("left behind: %v", files)
			}
		})
	}
	var list bytes.Buffer
	c.CheckpointDir = "list"
	if err := c.Run(context.Background(), printing(&list)); err != nil || !strings.Contains(list.String(), "Q4_K_M\n") {
		t.Errorf("list: %q, %v", list.String(), err)
	}
}
