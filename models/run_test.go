package models_test

import (
	"math"
	"slices"
	"testing"

	"github.com/litgpt-go/litgpt/internal/data"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/models"
)

// openCPU opens one thread: threads that wait for each other would take longer than these models, when the machine is busy.
func openCPU(t *testing.T) *tensor.Device {
	t.Helper()
	dev, err := tensor.Open("cpu", tensor.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dev.Close)
	return dev
}

// logits gives the scores (B, T, V) of sequences of one length.
func logits(t *testing.T, dev *tensor.Device, m models.Model, ids [][]int32) []float32 {
	t.Helper()
	g := tensor.NewGraph()
	b := nn.NewBatch(g, len(ids), len(ids[0]))
	return compute(t, dev, m, g, b, func() { b.Set(slices.Concat(ids...), 0) })
}

// cached gives the scores (N, V) of tokens that follow the first start ones of a sequence, the cache's only one, of
// length positions in the end, and stores them there.
func cached(t *testing.T, dev *tensor.Device, m models.Model, cache *paged, tokens []int32, start, length int) []float32 {
	t.Helper()
	n := len(tokens)
	positions, rows := make([]int32, n), make([]int32, n)
	for i := range n {
		positions[i], rows[i] = int32(start+i), cache.row(0, start+i)
	}
	g := tensor.NewGraph()
	b := nn.NewPagedBatch(g, n, 1, cache.width, cache)
	return compute(t, dev, m, g, b, func() { b.SetPaged(tokens, positions, rows, make([]int32, n), cache.tables, length) })
}

// compute gives the scores of a batch that set gives its values.
func compute(t *testing.T, dev *tensor.Device, m models.Model, g *tensor.Graph, b *nn.Batch, set func()) []float32 {
	t.Helper()
	scores := m.Logits(m.Forward(b))
	p, err := g.Compile(dev, scores)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	set()
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	return scores.Values()
}

// batch gives each position the label of the next one as its target.
func batch(ids, labels [][]int32) data.Batch {
	b := data.Batch{B: len(ids), T: len(ids[0])}
	for i := range ids {
		b.Tokens = append(b.Tokens, ids[i]...)
		b.Targets = append(append(b.Targets, labels[i][1:]...), data.Ignore)
	}
	return b
}

// near fails unless every element is within tolerance of what is wanted; NaN is far from everything.
func near(t *testing.T, what string, got, want []float32, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: got %d elements, want %d", what, len(got), len(want))
	}
	worst, at := 0.0, 0
	for i := range got {
		if d := math.Abs(float64(got[i]) - float64(want[i])); !(d <= worst) {
			worst, at = d, i
		}
		if math.IsNaN(worst) {
			break
		}
	}
	if !(worst <= tolerance) {
		t.Fatalf("%s: element %d: got %g, want %g within %g", what, at, got[at], want[at], tolerance)
	}
	t.Logf("%s: within %.1e", what, worst)
}

// distance is |got-want| / |want| of vectors, or of got alone where nothing is wanted.
func distance(got, want []float32) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	var d, n float64
	for i := range got {
		d += math.Pow(float64(got[i])-float64(want[i]), 2)
		n += math.Pow(float64(want[i]), 2)
	}
	if n == 0 {
		return math.Sqrt(d)
	}
	return math.Sqrt(d / n)
}
