package recipes

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/litgpt-go/litgpt/internal/durable"
	"github.com/litgpt-go/litgpt/internal/generate"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/sample"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// reportText is what models are compared on when no text is given: a play, and two pages of
// documentation with program text in them.
//
//go:embed report.txt
var reportText string

// Reporting are the settings of the report card: how a quantized model compares with the one it was made from.
type Reporting struct {
	Report        bool   `yaml:"report" help:"compare the file with the original and write NAME.report.md, .json and .svg beside it: size, perplexity, divergence, errors, speed"`
	ReportText    string `yaml:"report_text" help:"file of the text to compare on; default a short one of the program's own"`
	ReportLength  int    `yaml:"report_length" help:"tokens per window of the text, of which the second half counts"`
	ReportWindows int    `yaml:"report_windows" help:"windows at most; 0 for all"`
}

// NewReporting returns the defaults.
func NewReporting() Reporting { return Reporting{ReportLength: 512} }

// check lists settings that cannot be.
func (c Reporting) check() (bad []string) {
	if c.ReportLength < 4 || c.ReportWindows < 0 {
		bad = append(bad, fmt.Sprintf("--report_length is %d and --report_windows %d; at least 4, and no negative number, wanted", c.ReportLength, c.ReportWindows))
	}
	return bad
}

// reportCard is the report, as the JSON file has it.
type reportCard struct {
	Original  reported `json:"original"`
	Quantized reported `json:"quantized"`
	Text      string   `json:"text"`
	Windows   int      `json:"windows"`
	Length    int      `json:"window_tokens"`
	comparison
	Error   float64       `json:"weight_error"` // of all matrices together
	Weights []weightError `json:"weights"`
	Device  string        `json:"device"`
	Threads int           `json:"threads"`
}

// reported is one of the two models.
type reported struct {
	Path    string  `json:"path"`
	Types   string  `json:"types"`
	Bytes   int64   `json:"bytes"` // of its files of weights
	Bits    float64 `json:"bits_per_weight"`
	Prefill float64 `json:"prefill_tokens_per_second"`
	Decode  float64 `json:"decode_tokens_per_second"`
}

// report compares the checkpoint quantized with original, both on dev, and writes the three files.
func (c Reporting) report(ctx context.Context, out Out, dev *tensor.Device, original, quantized string) error {
	a, err := open(original)
	if err != nil {
		return err
	}
	defer a.close()
	b, err := open(quantized)
	if err != nil {
		return err
	}
	defer b.close()
	card, err := c.compare(ctx, out, dev, a, b)
	if err != nil {
		return err
	}
	name := filepath.Clean(quantized)
	if ggufFile(name) == name {
		name = strings.TrimSuffix(name, filepath.Ext(name))
	}
	files, err := card.write(name + ".report")
	if err != nil {
		return err
	}
	out.Log(nil).Info("report", "files", strings.Join(files, " "), "perplexity", round(card.Perplexity), "original", round(card.comparison.Original),
		"kl_divergence", card.KLD.Mean, "top1", round(card.Top1), "weight_error", round(card.Error))
	return nil
}

// compare loads both and measures.
func (c Reporting) compare(ctx context.Context, out Out, dev *tensor.Device, a, b *loaded) (*reportCard, error) {
	windows, text, err := c.windows(a)
	if err != nil {
		return nil, err
	}
	if err := loadBoth(dev, a, b); err != nil {
		return nil, err
	}
	bar := out.NewBar(int64(len(windows)*len(windows[0])), "compare", "tokens")
	defer bar.Done()
	out.Log(bar).Info("compare", "original", a.dir, "with", b.dir, "text", text, "windows", len(windows), "tokens", len(windows)*len(windows[0]), "device", dev.Name)
	cmp, err := compare(ctx, dev, a, b, windows, func(n int) { bar.Add(int64(n)) })
	if err != nil {
		return nil, err
	}
	bar.Done()
	card := &reportCard{Text: text, Windows: len(windows), Length: len(windows[0]), comparison: *cmp, Device: dev.Name, Threads: dev.Threads}
	if card.Weights, err = weightErrors(ctx, a, b); err != nil {
		return nil, err
	}
	card.Error = totalError(card.Weights)
	for _, x := range []struct {
		l  *loaded
		to *reported
	}{{a, &card.Original}, {b, &card.Quantized}} {
		*x.to = x.l.reported()
	}
	return card, card.speed(ctx, dev, a, b)
}

func totalError(list []weightError) float64 {
	square, norm := 0.0, 0.0
	for _, w := range list {
		square += w.square
		norm += w.norm
	}
	return math.Sqrt(square / max(norm, math.SmallestNonzeroFloat64))
}

// reported is what is known of a loaded checkpoint without running it.
func (l *loaded) reported() reported {
	r := reported{Path: l.dir, Types: matrixTypes(l.Model)}
	for _, name := range l.src.Files() {
		if !filepath.IsAbs(name) && !exists(name) {
			name = filepath.Join(l.base, name)
		}
		if info, err := os.Stat(name); err == nil {
			r.Bytes += info.Size()
		}
	}
	bytes, n := 0, 0
	for _, p := range nn.Params(l.Model) {
		bytes += p.DType().Bytes(p.Numel())
		n += p.Numel()
	}
	r.Bits = 8 * float64(bytes) / float64(max(1, n))
	return r
}

// windows are the text's ids, cut in pieces of one length; each begins with BOS if the tokenizer adds one.
func (c Reporting) windows(l *loaded) (windows [][]int32, name string, err error) {
	text, name := reportText, "the program's own"
	if c.ReportText != "" {
		raw, err := os.ReadFile(c.ReportText)
		if err != nil {
			return nil, "", err
		}
		text, name = string(raw), c.ReportText
	}
	tok, err := l.tokenizer()
	if err != nil {
		return nil, "", err
	}
	ids := tok.Encode(text, true)
	bos, has := tok.BOS()
	has = has && len(ids) > 0 && ids[0] == bos
	n := min(c.ReportLength, l.Dims().Context)
	for ; len(ids) >= n && n > 3; ids = ids[n:] {
		w := slices.Clone(ids[:n])
		if has {
			w[0] = bos
		}
		if err := checkIDs(w, l.Dims().Vocab); err != nil {
			return nil, "", err
		}
		if windows = append(windows, w); len(windows) == c.ReportWindows {
			break
		}
	}
	if len(windows) == 0 {
		return nil, "", fmt.Errorf("%s: the text has %d tokens, less than a window of %d; a longer one, or a smaller --report_length, wanted", name, len(ids), n)
	}
	return windows, name, nil
}

// speed measures both in turns, so that what else the machine does hits both, and takes medians.
func (r *reportCard) speed(ctx context.Context, dev *tensor.Device, a, b *loaded) error {
	context := a.Dims().Context
	prompt, tokens := min(512, context-1), min(32, context-2)
	if tokens < 1 {
		return nil
	}
	const rounds = 3
	var got [2][2][]float64
	for range rounds {
		for i, l := range []*loaded{a, b} {
			for j, n := range [2][2]int{{prompt, 1}, {1, tokens + 1}} {
				e := generate.New(dev, l.Model, generate.Options{Cache: cacheType("", l.dtype)})
				ids := make([]int32, n[0])
				run := func(first int32) (time.Duration, error) {
					ids[0] = first // another prompt each time: nothing of it is in the cache
					start := time.Now()
					for _, err := range e.Generate(ctx, generate.Request{Prompt: ids, MaxTokens: n[1], Sampling: sample.Config{}}) {
						if err != nil {
							return 0, err
						}
					}
					return time.Since(start), nil
				}
				_, err := run(1) // compiles
				var t time.Duration
				if err == nil {
					t, err = run(2)
				}
				e.Close()
				if err != nil {
					return err
				}
				got[i][j] = append(got[i][j], float64(max(prompt*(1-j), tokens*j))/t.Seconds())
			}
		}
	}
	for i, to := range []*reported{&r.Original, &r.Quantized} {
		for j, v := range []*float64{&to.Prefill, &to.Decode} {
			slices.Sort(got[i][j])
			*v = math.Round(got[i][j][rounds/2]*10) / 10
		}
	}
	return nil
}

// write makes the files NAME.md, NAME.json and NAME.svg.
func (r *reportCard) write(name string) (files []string, err error) {
	plot, err := r.plot()
	if err != nil {
		return nil, err
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, err
	}
	for _, f := range []struct {
		end  string
		data []byte
	}{{".svg", plot}, {".json", append(data, '\n')}, {".md", []byte(r.markdown(filepath.Base(name) + ".svg"))}} {
		if err := durable.WriteFile(name+f.end, f.data, 0o644); err != nil {
			return nil, err
		}
		files = append(files, name+f.end)
	}
	return files, nil
}

// markdown is the report for people. image is the plot's file.
func (r *reportCard) markdown(image string) string {
	var b strings.Builder
	p := func(format string, a ...any) { fmt.Fprintf(&b, format, a...) }
	o, q := r.Original, r.Quantized
	p("# %s beside %s\n\n", filepath.Base(q.Path), filepath.Base(o.Path))
	p("| | original | quantized | |\n|---|---|---|---|\n")
	p("| types | %s | %s | |\n", o.Types, q.Types)
	p("| size | %s | %s | %.1f %% |\n", size(int(o.Bytes)), size(int(q.Bytes)), 100*float64(q.Bytes)/float64(max(1, o.Bytes)))
	p("| bits per weight | %.2f | %.2f | |\n", o.Bits, q.Bits)
	p("| perplexity | %.4f | %.4f | %+.2f %% |\n", r.comparison.Original, r.Perplexity, 100*(r.Perplexity/r.comparison.Original-1))
	p("| prefill, tokens/s | %.1f | %.1f | %.2f× |\n", o.Prefill, q.Prefill, q.Prefill/o.Prefill)
	p("| decode, tokens/s | %.1f | %.1f | %.2f× |\n\n", o.Decode, q.Decode, q.Decode/o.Decode)
	p("| against the original | |\n|---|---|\n")
	p("| KL divergence, mean | %.5f nats |\n| median | %.5f |\n| 99th percentile | %.5f |\n| largest | %.4f |\n", r.KLD.Mean, r.KLD.Median, r.KLD.P99, r.KLD.Max)
	p("| likeliest token the same | %.2f %% |\n", 100*r.Top1)
	p("| error of the weights | %.3f %% |\n", 100*r.Error)
	if n := len(r.Hidden); n > 0 {
		p("| error of the last hidden states | %.3f %% |\n", 100*r.Hidden[n-1])
	}
	p("\nText: %s, %d windows of %d tokens, of which the second half counts: %d tokens predicted. Device: %s, %d threads.\n",
		r.Text, r.Windows, r.Length, r.Tokens, r.Device, r.Threads)
	p("\n![error per layer](%s)\n\n## Weights\n\nErrors are Frobenius norms relative to the original's, in percent.\n\n", image)
	kinds, layers := r.byLayer()
	if len(kinds) > 0 {
		p("| layer |")
		for _, k := range kinds {
			p(" %s |", k.name)
		}
		p(" hidden states after it |\n|---|%s---|\n", strings.Repeat("---|", len(kinds)))
		for i := range layers {
			p("| %d |", i)
			for _, k := range kinds {
				if w := k.layers[i]; w != nil {
					p(" %.2f (%s) |", 100*w.Error, w.Type)
				} else {
					p(" |")
				}
			}
			if i+1 < len(r.Hidden) {
				p(" %.2f |\n", 100*r.Hidden[i+1])
			} else {
				p(" |\n")
			}
		}
		p("\n")
	}
	p("| others | type | error |\n|---|---|---|\n")
	for _, w := range r.Weights {
		if _, kind := layerOf(w.Name); kind == "" {
			p("| %s | %s | %.2f |\n", w.Name, w.Type, 100*w.Error)
		}
	}
	return b.String()
}

// kind is a weight that layers have.
type kind struct {
	name   string
	layers map[int]*weightError
}

// byLayer gives the kinds in the order of the model, and the number of layers.
func (r *reportCard) byLayer() (kinds []*kind, layers int) {
	for i := range r.Weights {
		layer, name := layerOf(r.Weights[i].Name)
		if name == "" {
			continue
		}
		at := slices.IndexFunc(kinds, func(k *kind) bool { return k.name == name })
		if at < 0 {
			kinds, at = append(kinds, &kind{name, map[int]*weightError{}}), len(kinds)
		}
		kinds[at].layers[layer] = &r.Weights[i]
		layers = max(layers, layer+1)
	}
	return kinds, layers
}

// layerOf takes model.layers.3.mlp.up_proj.weight apart: 3 and mlp.up_proj; "" for what is in no layer.
func layerOf(name string) (layer int, kind string) {
	words := strings.Split(strings.TrimSuffix(name, ".weight"), ".")
	for i, w := range words {
		if n, err := strconv.Atoi(w); err == nil {
			return n, strings.Join(words[i+1:], ".")
		}
	}
	return 0, ""
}
