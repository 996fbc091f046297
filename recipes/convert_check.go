package recipes

import (
	"fmt"
	"math"
	"slices"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/models"
	"github.com/litgpt-go/litgpt/tokenizer"
)

// difference is how far the logits of two checkpoints are apart.
type difference struct {
	tokens   int
	max      float64 // largest absolute difference
	relative float64 // root of the mean square of differences, over that of the logits
	top      int     // positions whose likeliest token is the same
	skipped  string  // why nothing was compared
}

func (d difference) attrs() []any {
	if d.skipped != "" {
		return []any{"compared", "no: " + d.skipped}
	}
	return []any{"max_diff", fmt.Sprintf("%.3g", d.max), "rel_diff", fmt.Sprintf("%.3g", d.relative), "same_top1", fmt.Sprintf("%d/%d", d.top, d.tokens)}
}

// promptText is scored at both ends where there is a tokenizer.
const promptText = "The capital of France is Paris. 12 + 30 = 42;\n\tfunc main() { return }\n"

// prompts are the token ids that both ends are asked about: some from all over the
// vocabulary, and, with a tokenizer, a text.
func (c *conversion) prompts() [][]int32 {
	d := c.from.Dims()
	// Longer than the windows and first contexts of small models, and than the few rows for which products take other ways.
	ids := make([]int32, min(70, d.Context))
	for i := range ids {
		ids[i] = int32((i*i*7919 + i*31 + 3) % d.Vocab)
	}
	all := [][]int32{ids}
	if text := c.text(c.from.tokenizer); len(text) > 0 && len(text) <= d.Context {
		all = append(all, text)
	}
	return all
}

// text tokenizes the fixed text; nil where there is no tokenizer or one that cannot be used.
func (c *conversion) text(open func() (*tokenizer.Tokenizer, error)) []int32 {
	if !c.tok {
		return nil
	}
	t, err := open()
	if err != nil {
		return nil
	}
	return t.Encode(promptText, false)
}

// compare loads both ends, one after the other, and compares their logits. It is an error when they
// differ by more than the types explain.
func (c *conversion) compare(o *output, path string) (difference, error) {
	dev, err := tensor.Open("cpu", tensor.Options{Threads: c.threads})
	if err != nil {
		return difference{}, err
	}
	defer dev.Close()
	if c.tok && o.tok != nil {
		t, err := o.tok()
		if err != nil {
			return difference{}, fmt.Errorf("%s: the tokenizer that was written cannot be read, nothing is kept: %w", path, err)
		}
		if want := c.text(c.from.tokenizer); want != nil && !slices.Equal(t.Encode(promptText, false), want) {
			return difference{}, fmt.Errorf("%s: the tokenizer that was written gives other ids than that of %s, nothing is kept", path, c.from.dir)
		}
	}
	prompts := c.prompts()
	a, err := c.from.twin()
	if err != nil {
		return difference{}, err
	}
	b := &loaded{dir: path, base: path}
	if b.config, b.src, err = o.open(); err != nil {
		return difference{}, fmt.Errorf("%s: what was written cannot be read, nothing is kept: %w", path, err)
	}
	defer b.src.Close()
	if b.Model, err = models.New(b.config); err != nil {
		return difference{}, fmt.Errorf("%s: what was written cannot be read, nothing is kept: %w", path, err)
	}
	for _, l := range []*loaded{a, b} {
		need, err := c.need(dev, l, prompts)
		if err != nil {
			return difference{}, err
		}
		if free, total := dev.Memory(); total > 0 && need > free {
			why := fmt.Sprintf("it would take %s of memory, and %s are free", size(need), size(free))
			c.log.Warn("the logits of both ends were not compared: " + why)
			return difference{skipped: why}, nil
		}
	}
	want, typesA, err := c.logits(dev, a, prompts)
	if err != nil {
		return difference{}, err
	}
	got, typesB, err := c.logits(dev, b, prompts)
	if err != nil {
		return difference{}, err
	}
	d, err := diff(want, got, c.from.Dims().Vocab)
	if err != nil {
		return d, fmt.Errorf("%s: %w", c.from.dir, err)
	}
	limit := 0.0
	if !c.lossless || !slices.Equal(typesA, typesB) {
		limit = tolerance(append(typesA, typesB...))
	}
	if !(d.relative <= limit) {
		return d, fmt.Errorf("%s: its logits differ from those of %s by %.3g (relative, at most %.3g; largest difference %.3g); nothing is kept", path, c.from.dir, d.relative, limit, d.max)
	}
	return d, nil
}

// tolerance is what the types of the weights explain, relative to the logits: several times what models of
// these types differ by (a tiny one with experts by 0.024 in F16, where a rounding chooses another expert),
// and far below what a wrong layer does (about 1).
func tolerance(types []tensor.DType) float64 {
	most := 1e-4
	for _, t := range types {
		switch {
		case t == tensor.BF16, t.Quantized(): // quantized weights may be multiplied by activations in 8 bits
			most = max(most, 0.1)
		case t == tensor.F16:
			most = max(most, 0.05)
		}
	}
	return most
}

// need is the memory that computing logits takes.
func (c *conversion) need(dev *tensor.Device, l *loaded, prompts [][]int32) (int, error) {
	dev = dev.Plan()
	twin, err := l.twin()
	if err != nil {
		return 0, err
	}
	defer twin.free()
	if err := twin.load(dev, checkpoint.Stored, false); err != nil {
		return 0, err
	}
	p, _, _, err := compileLogits(dev, twin, len(prompts[0]))
	if err != nil {
		return 0, err
	}
	p.Close()
	all, _ := tensor.Total(dev.Peak())
	return all, nil
}

// logits are those of all tokens of all prompts, and the types that the weights had.
func (c *conversion) logits(dev *tensor.Device, l *loaded, prompts [][]int32) (all []float32, types []tensor.DType, err error) {
	defer tensor.Catch(&err)
	defer l.free()
	if err := l.load(dev, checkpoint.Stored, false); err != nil {
		return nil, nil, err
	}
	for _, p := range nn.Params(l.Model) {
		types = append(types, p.DType())
	}
	all, err = c.score(dev, l, prompts)
	return all, types, err
}

// score are the logits of a model that is loaded.
func (c *conversion) score(dev *tensor.Device, l *loaded, prompts [][]int32) (all []float32, err error) {
	defer tensor.Catch(&err)
	for _, ids := range prompts {
		if err := c.ctx.Err(); err != nil {
			return nil, err
		}
		p, b, logits, err := compileLogits(dev, l, len(ids))
		if err != nil {
			return nil, err
		}
		b.Set(ids, 0)
		err = p.Run()
		if err == nil {
			err = dev.Wait()
		}
		if err == nil {
			all = append(all, logits.Values()...)
		}
		p.Close()
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// diff compares logits (T, V).
func diff(want, got []float32, vocab int) (d difference, err error) {
	if len(want) != len(got) {
		return d, fmt.Errorf("%d logits here, %d in what was written", len(want), len(got))
	}
	var sum, all float64
	for i, x := range want {
		a, b := float64(x), float64(got[i])
		if math.IsNaN(a) || math.IsInf(a, 0) {
			return d, fmt.Errorf("its logits are not finite; its weights may be damaged")
		}
		d.max = max(d.max, math.Abs(a-b)) // NaN stays
		sum += (a - b) * (a - b)
		all += a * a
	}
	for at := 0; at < len(want); at += vocab {
		d.tokens++
		if argmax(want[at:at+vocab]) == argmax(got[at:at+vocab]) {
			d.top++
		}
	}
	d.relative = math.Sqrt(sum / max(all, math.SmallestNonzeroFloat64))
	return d, nil
}

func argmax(x []float32) (best int) {
	for i := range x {
		if x[i] > x[best] {
			best = i
		}
	}
	return best
}
