package recipes

import (
	"context"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/lora"
)

// Names implements checkpoint.Source.
func (m *merged) Names() (names []string) {
	for _, v := range m.values {
		names = append(names, v.Name)
	}
	return names
}

// Header implements checkpoint.Headers: nothing is made before it is asked for.
func (m *merged) Header(name string) (safetensors.Tensor, bool) {
	i, ok := m.index[name]
	if !ok {
		return safetensors.Tensor{}, false
	}
	v := m.values[i]
	shape := v.Shape
	if shape == nil {
		shape = v.From.Shape()
	}
	return safetensors.Tensor{Name: name, DType: "F32", Shape: shape}, true
}

// Tensor implements checkpoint.Source. A value that cannot be made is one that is not there.
func (m *merged) Tensor(name string) (safetensors.Tensor, bool) {
	t, ok := m.Header(name)
	if !ok {
		return t, false
	}
	v := m.values[m.index[name]]
	all, err := v.Make()
	if err != nil {
		return t, false
	}
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	t.Data = tensor.FromFloats(tensor.F32, all[v.Offset:v.Offset+n])
	return t, true
}

// Files implements weights.
func (m *merged) Files() []string { return m.l.src.Files() }

// Close implements weights; base and adapter are the caller's.
func (m *merged) Close() error { return nil }

// mergeReport says what the sums of base and adapter lose in the types that they can be stored in.
type mergeReport struct {
	types   []typeLoss
	compare *comparison
}

// typeLoss is the error of all matrices in one type.
type typeLoss struct {
	name         string
	bits         float64 // per weight
	square, norm float64 // sums over n elements: of the differences, and of the values
	n            int

	// Of the weights that the adapter corrects alone: the differences, and the corrections. Where these are
	// alike the adapter is lost in rounding, however small the error is.
	lost, update float64
}

// measure compares the weights that were written, and those that float types would give, with the
// exact sums; with a text also the predictions with those of base and adapter.
func (m *merged) measure(ctx context.Context, out Out, to, text string) (*mergeReport, error) {
	wrote, err := open(to)
	if err != nil {
		return nil, err
	}
	defer wrote.close()
	if err := wrote.load(m.dev, checkpoint.Stored, false); err != nil {
		return nil, err
	}
	theirs := map[string]*tensor.Tensor{}
	for name, p := range nn.Params(wrote.Model) {
		theirs[name] = p
	}
	floats := []tensor.DType{tensor.F32, tensor.F16, tensor.BF16}
	r := &mergeReport{types: make([]typeLoss, len(floats)+1)}
	written := 0
	for name, p := range nn.Params(m.l.Model) {
		q := theirs[name]
		if lora.IsWeight(name) || len(p.Shape()) < 2 || q == nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		exact, err := m.of(p)
		if err != nil {
			return nil, err
		}
		got := q.Values()
		if err := q.Err(); err != nil {
			return nil, err
		}
		var base []float32
		if m.merger.Corrects(p) {
			base = p.Values()
		}
		r.types[0].add(exact, got, base)
		written += q.DType().Bytes(q.Numel())
		for i, d := range floats {
			tensor.ToFloats(d, tensor.FromFloats(d, exact), got)
			r.types[i+1].add(exact, got, base)
		}
	}
	if x := r.types[0].square; math.IsNaN(x) || math.IsInf(x, 0) {
		return nil, fmt.Errorf("some weights are not finite in %s; set --precision 32-true", matrixTypes(wrote.Model))
	}
	for i, d := range floats {
		r.types[i+1].name, r.types[i+1].bits = d.String(), float64(8*d.Size())
	}
	r.types[0].name, r.types[0].bits = matrixTypes(wrote.Model)+", written", 8*float64(written)/float64(max(1, r.types[0].n))
	if text == "" {
		return r, nil
	}
	windows, _, err := Reporting{ReportText: text, ReportLength: 512}.windows(m.l)
	if err != nil {
		return nil, err
	}
	bar := out.NewBar(int64(len(windows)*len(windows[0])), "compare", "tokens")
	defer bar.Done()
	r.compare, err = compare(ctx, m.dev, m.l, wrote, windows, func(n int) { bar.Add(int64(n)) })
	return r, err
}

// add counts a weight; base is what the adapter corrects, nil for weights that it leaves.
func (t *typeLoss) add(exact, got, base []float32) {
	square := 0.0
	for i, x := range exact {
		d := float64(got[i]) - float64(x)
		square += d * d
		t.norm += float64(x) * float64(x)
	}
	for i, x := range base {
		d := float64(exact[i]) - float64(x)
		t.update += d * d
	}
	if base != nil {
		t.lost += square
	}
	t.square += square
	t.n += len(exact)
}

// write prints the report.
func (r *mergeReport) write(w io.Writer) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "merged weights in\tbits\tmean squared error\trelative error\tagainst the adapter's update")
	for _, x := range r.types {
		fmt.Fprintf(t, "%s\t%.2f\t%.3e\t%.5f %%\t%.2f %%\n", x.name, x.bits, x.square/float64(max(1, x.n)), 100*math.Sqrt(x.square/max(x.norm, math.SmallestNonzeroFloat64)),
			100*math.Sqrt(x.lost/max(x.update, math.SmallestNonzeroFloat64)))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if c := r.compare; c != nil {
		fmt.Fprintf(&b, "\nperplexity of %d tokens: %.4f with base and adapter, %.4f merged\n", c.Tokens, c.Original, c.Perplexity)
		fmt.Fprintf(&b, "divergence: mean %.6f, 99th percentile %.6f nats; the likeliest token is the same for %.2f %%\n", c.KLD.Mean, c.KLD.P99, 100*c.Top1)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
