package recipes

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"unicode/utf8"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/data"
	"github.com/litgpt-go/litgpt/internal/durable"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/internal/train"
)

// Score computes how likely a text is: "litgpt score".
type Score struct {
	CheckpointDir string `yaml:"checkpoint_dir" arg:"0" help:"model directory, FILE.gguf, or adapter directory"`
	Text          string `yaml:"text" help:"text to score"`
	File          string `yaml:"file" help:"file of the text to score"`
	TokenIDs      string `yaml:"token_ids" help:"token ids to score, a list per window, e.g. [[1,2,3]]"`
	AddSpecial    bool   `yaml:"add_special_tokens" help:"begin the text with what the tokenizer adds, e.g. BOS"`
	MaxSeqLength  int    `yaml:"max_seq_length" help:"tokens per window; windows do not overlap; 0 is the model's context"`
	MaxWindows    int    `yaml:"max_windows" help:"windows to score; 0 for all"`
	Logits        string `yaml:"logits" help:"write the logits of all windows, float32 (tokens, vocabulary), to this safetensors file"`
	Precision     string `yaml:"precision" help:"32-true, bf16-true or 16-true; default the checkpoint's own type"`
	Quantize      string `yaml:"quantize" help:"quantize the layers while loading: bnb.nf4, bnb.fp4 (both IQ4_NL), bnb.int8 (Q8_0), or a type of GGML"`
	Spread        `yaml:",inline"`
	Planned       `yaml:",inline"`
}

// NewScore returns the defaults.
func NewScore() Score { return Score{Spread: newSpread()} }

// scores is the result, on stdout. The first token of a window has no log-probability and does not count.
type scores struct {
	TokenIDs   [][]int32   `json:"token_ids"`
	LogProbs   [][]float64 `json:"logprobs"` // natural, of the tokens from the second on
	NLL        []float64   `json:"nll"`      // mean per window
	Perplexity float64     `json:"perplexity"`
	Tokens     int         `json:"tokens"` // counted
}

// Run scores.
func (c Score) Run(ctx context.Context, stdout io.Writer, log *slog.Logger) error {
	given := 0
	for _, s := range []string{c.Text, c.File, c.TokenIDs} {
		if s != "" {
			given++
		}
	}
	if given != 1 || c.MaxSeqLength < 0 || c.MaxWindows < 0 {
		return usage([]string{"one of --text, --file and --token_ids is wanted, and --max_seq_length and --max_windows cannot be negative"})
	}
	var windows [][]int32
	if c.TokenIDs != "" {
		if err := json.Unmarshal([]byte(c.TokenIDs), &windows); err != nil {
			return usage([]string{fmt.Sprintf("--token_ids is %.60q; lists like [[1,2,3]] wanted", c.TokenIDs)})
		}
	}
	if err := checkInference(c.Precision); err != nil {
		return err
	}
	q, err := parseQuantization(c.Quantize)
	if err != nil {
		return err
	}
	l, err := open(c.CheckpointDir)
	if err != nil {
		return err
	}
	defer l.close()
	l.requantize(q)
	length := l.Dims().Context
	if c.MaxSeqLength > 0 {
		if c.MaxSeqLength > length {
			return usage([]string{fmt.Sprintf("--max_seq_length %d exceeds the model's context of %d", c.MaxSeqLength, length)})
		}
		length = c.MaxSeqLength
	}
	if c.TokenIDs == "" {
		if windows, err = c.windows(l, length); err != nil {
			return err
		}
	}
	if c.MaxWindows > 0 && len(windows) > c.MaxWindows {
		windows = windows[:c.MaxWindows]
	}
	for i, w := range windows {
		if len(w) < 2 || len(w) > l.Dims().Context {
			return usage([]string{fmt.Sprintf("window %d has %d tokens; 2 to %d (the context) wanted", i, len(w), l.Dims().Context)})
		}
		if err := checkIDs(w, l.Dims().Vocab); err != nil {
			return err
		}
	}
	if len(windows) == 0 {
		return usage([]string{"there is nothing to score: at least two tokens are wanted"})
	}

	dev, err := c.Spread.open(l.Dims().Layers)
	if err != nil {
		return err
	}
	defer dev.Close()
	matrix := checkpoint.Stored
	if c.Precision != "" {
		matrix = precisions[c.Precision].matrix
	}
	if done, err := c.plan(dev, l, matrix, windows, stdout); done || err != nil {
		return err
	}
	if err := l.load(dev, matrix, false); err != nil {
		return err
	}
	l.describe(log, dev, "windows", len(windows))
	e := train.NewEvaluator(dev, l.Model)
	defer e.Close()
	var out scores
	var sum float64
	for _, w := range windows {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := len(w) - 1
		nll, err := e.Loss(data.Batch{Tokens: w[:n], Targets: w[1:], B: 1, T: n})
		if err != nil {
			return err
		}
		lp, mean := make([]float64, n), 0.0
		for i, x := range nll {
			lp[i] = -float64(x)
			mean += float64(x)
		}
		if math.IsNaN(mean) || math.IsInf(mean, 0) {
			return fmt.Errorf("the model's scores are not finite; its weights may be damaged, or too large for --precision %s", c.Precision)
		}
		sum += mean
		out.TokenIDs, out.LogProbs, out.NLL = append(out.TokenIDs, w), append(out.LogProbs, lp), append(out.NLL, mean/float64(n))
		out.Tokens += n
	}
	out.Perplexity = math.Exp(sum / float64(out.Tokens))
	if c.Logits != "" {
		if err := c.writeLogits(dev, l, windows); err != nil {
			return err
		}
	}
	return json.NewEncoder(stdout).Encode(out)
}

// windows tokenizes the text and cuts it.
func (c Score) windows(l *loaded, length int) (windows [][]int32, err error) {
	text, from := c.Text, "--text"
	if c.File != "" {
		raw, err := os.ReadFile(c.File)
		if err != nil {
			return nil, err
		}
		text, from = string(raw), c.File
	}
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("%s: the text is not UTF-8", from)
	}
	tok, err := l.tokenizer()
	if err != nil {
		return nil, err
	}
	ids := tok.Encode(text, c.AddSpecial)
	for len(ids) > 1 {
		n := min(len(ids), length)
		windows = append(windows, ids[:n])
		ids = ids[n:]
	}
	return windows, nil
}

// writeLogits computes the scores of all tokens of all windows, a window at a time.
func (c Score) writeLogits(dev *tensor.Device, l *loaded, windows [][]int32) (err error) {
	defer tensor.Catch(&err)
	n, v := 0, l.Dims().Vocab
	for _, w := range windows {
		n += len(w)
	}
	all := make([]byte, 0, 4*n*v)
	for _, w := range windows {
		p, b, logits, err := compileLogits(dev, l, len(w))
		if err != nil {
			return err
		}
		b.Set(w, 0)
		if err := p.Run(); err != nil {
			p.Close()
			return err
		}
		all = append(all, tensor.FromFloats(tensor.F32, logits.Values())...)
		p.Close()
		if err := dev.Wait(); err != nil { // also what went wrong in reading
			return err
		}
	}
	return writeFile(c.Logits, []safetensors.Tensor{{Name: "logits", DType: "F32", Shape: []int{n, v}, Data: all}})
}

// compileLogits is the graph of all scores (T, V) of a window of T tokens.
func compileLogits(dev *tensor.Device, l *loaded, T int) (p *tensor.Program, b *nn.Batch, logits *tensor.Tensor, err error) {
	defer tensor.Catch(&err)
	g := tensor.NewGraph()
	g.Exact = true // what is measured is the weights
	b = nn.NewBatch(g, 1, T)
	logits = l.Logits(l.Forward(b))
	p, err = g.Compile(dev, logits)
	return p, b, logits, err
}

// plan decides whether there is memory for the longest window; done says that this was all that was asked for.
func (c Score) plan(dev *tensor.Device, l *loaded, matrix checkpoint.Type, windows [][]int32, out io.Writer) (done bool, err error) {
	longest := 0
	for _, w := range windows {
		longest = max(longest, len(w))
	}
	m := memory{work: fmt.Sprintf("windows of %d tokens", longest)}
	if m.uses, err = c.uses(dev, l, matrix, longest); err != nil {
		return true, err
	}
	var a alternatives
	if c.TokenIDs == "" { // else the windows are given
		var list []option
		for _, n := range halves(longest, longest, 32) {
			list = append(list, option{fmt.Sprintf("--max_seq_length %d", n), func() ([]tensor.Use, error) { return c.uses(dev, l, matrix, n) }})
		}
		a.each = append(a.each, list)
	}
	a.each = append(a.each, halved(matrix, func(bf16 checkpoint.Type) ([]tensor.Use, error) { return c.uses(dev, l, bf16, longest) }))
	return c.decide(out, dev, m, a)
}

// uses is the memory for windows of T tokens, found on the planning twin of the device.
func (c Score) uses(dev *tensor.Device, l *loaded, matrix checkpoint.Type, T int) ([]tensor.Use, error) {
	dev = dev.Plan()
	l, err := l.twin()
	if err != nil {
		return nil, err
	}
	defer l.free()
	if err := l.load(dev, matrix, false); err != nil {
		return nil, err
	}
	e := train.NewEvaluator(dev, l.Model)
	defer e.Close()
	if _, err := e.Plan(1, T-1, T-1, false); err != nil {
		return nil, err
	}
	if c.Logits != "" { // the scores of the evaluation are kept meanwhile
		p, _, _, err := compileLogits(dev, l, T)
		if err != nil {
			return nil, err
		}
		p.Close()
	}
	return dev.Peak(), nil
}

func writeFile(path string, tensors []safetensors.Tensor) error {
	if info, err := os.Stat(filepath.Dir(path)); err != nil || !info.IsDir() {
		return fmt.Errorf("%s: its directory does not exist", path)
	}
	var buf bytes.Buffer
	if err := safetensors.Write(&buf, tensors, map[string]string{"format": "pt"}); err != nil {
		return err
	}
	return durable.WriteFile(path, buf.Bytes(), 0o644)
}
