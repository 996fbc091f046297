package recipes

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// In the comments T is the tokens of a window, C the hidden size, V the vocabulary, R the rows of a chunk.

// comparison says how a model's predictions of a text differ from those of the model it was made
// from. Divergences are Kullback-Leibler's of the one's distribution from the original's, in nats
// per token.
type comparison struct {
	Tokens     int     `json:"tokens"` // predicted
	Original   float64 `json:"perplexity_original"`
	Perplexity float64 `json:"perplexity"`
	KLD        struct {
		Mean   float64 `json:"mean"`
		Median float64 `json:"median"`
		P99    float64 `json:"p99"`
		Max    float64 `json:"max"`
	} `json:"kl_divergence"`
	Top1 float64 `json:"top1_agreement"` // share of tokens whose likeliest successor is the same

	// Hidden is the error of the hidden states after the embedding and after each block, relative
	// to their norm over all tokens.
	Hidden []float64 `json:"hidden_error"`
}

// compare reads windows of one length with both models, which have their weights on dev. As
// llama-perplexity does it, the second half of a window counts, so that each token has at least
// half a window before it. Scores are held for a few rows at a time.
func compare(ctx context.Context, dev *tensor.Device, original, other *loaded, windows [][]int32, done func(tokens int)) (*comparison, error) {
	if len(windows) == 0 {
		return nil, fmt.Errorf("there is no text to compare on")
	}
	T := len(windows[0])
	a, err := newReader(dev, original, T)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", original.dir, err)
	}
	defer a.close()
	b, err := newReader(dev, other, T)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", other.dir, err)
	}
	defer b.close()
	c := &comparison{}
	var nll [2]float64
	var kld []float64
	same := 0
	wrong, norm := make([]float64, len(a.states)), make([]float64, len(a.states))
	for _, w := range windows {
		for _, r := range []*reader{a, b} {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if err := r.read(w); err != nil {
				return nil, err
			}
		}
		for i := range a.states {
			x, y := a.states[i].Values(), b.states[i].Values()
			for j := range x {
				d := float64(y[j]) - float64(x[j])
				wrong[i] += d * d
				norm[i] += float64(x[j]) * float64(x[j])
			}
		}
		for first := T / 2; first < T-1; first += a.rows {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			n := min(a.rows, T-1-first)
			x, err := a.logits(first, n)
			if err != nil {
				return nil, err
			}
			y, err := b.logits(first, n)
			if err != nil {
				return nil, err
			}
			for _, row := range divergences(x, y, w[first+1:first+1+n]) {
				if math.IsNaN(row.kld) || math.IsInf(row.nll[0]+row.nll[1], 0) {
					return nil, fmt.Errorf("the scores of %s or %s are not finite; the weights may be damaged", original.dir, other.dir)
				}
				nll[0] += row.nll[0]
				nll[1] += row.nll[1]
				kld = append(kld, row.kld)
				if row.same {
					same++
				}
			}
		}
		if done != nil {
			done(T)
		}
	}
	n := len(kld)
	slices.Sort(kld)
	sum := 0.0
	for _, x := range kld {
		sum += x
	}
	c.Tokens, c.Original, c.Perplexity = n, math.Exp(nll[0]/float64(n)), math.Exp(nll[1]/float64(n))
	c.KLD.Mean, c.KLD.Median, c.KLD.P99, c.KLD.Max = sum/float64(n), quantile(kld, 0.5), quantile(kld, 0.99), kld[n-1]
	c.Top1 = float64(same) / float64(n)
	for i := range wrong {
		c.Hidden = append(c.Hidden, math.Sqrt(wrong[i]/max(norm[i], math.SmallestNonzeroFloat64)))
	}
	return c, nil
}

// quantile interpolates in sorted values.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

// reader runs a model over windows of one length: the hidden states of all tokens, then
// the scores of some of them at a time.
type reader struct {
	trunk, head *tensor.Program
	batch       *nn.Batch
	hidden      *tensor.Tensor   // (T, C)
	states      []*tensor.Tensor // (T, C) after the embedding and each block
	in, out     *tensor.Tensor   // (R, C), (R, V) of the head
	rows        int              // R
	values      []float32        // of hidden
	dev         *tensor.Device
}

func newReader(dev *tensor.Device, l *loaded, T int) (r *reader, err error) {
	defer tensor.Catch(&err)
	d := l.Dims()
	r = &reader{dev: dev, rows: min((T+1)/2, max(1, 4<<20/d.Vocab))} // 16 MiB of scores
	g := tensor.NewGraph()
	r.batch = nn.NewBatch(g, 1, T)
	r.hidden = l.Forward(r.batch)
	for _, n := range g.Nodes() {
		if n.Boundary {
			r.states = append(r.states, n)
		}
	}
	if r.trunk, err = g.Compile(dev, append([]*tensor.Tensor{r.hidden}, r.states...)...); err != nil {
		return nil, err
	}
	g = tensor.NewGraph()
	r.in = g.Floats(r.rows, d.Hidden)
	r.out = l.Logits(r.in)
	if r.head, err = g.Compile(dev, r.out); err != nil {
		r.trunk.Close()
		return nil, err
	}
	return r, nil
}

func (r *reader) close() {
	r.trunk.Close()
	r.head.Close()
}

// read computes the hidden states of a window.
func (r *reader) read(w []int32) error {
	r.batch.Set(w, 0)
	if err := r.trunk.Run(); err != nil {
		return err
	}
	r.values = r.hidden.Values()
	return r.dev.Wait()
}

// logits gives the scores (n, V) of the tokens from first on; n is at most rows.
func (r *reader) logits(first, n int) ([]float32, error) {
	c := r.in.Dim(1)
	x := make([]float32, r.rows*c)
	copy(x, r.values[first*c:(first+n)*c])
	r.in.SetFloats(x)
	if err := r.head.Run(); err != nil {
		return nil, err
	}
	v := r.out.Values()
	return v[:n*r.out.Dim(1)], r.dev.Wait()
}

// divergence is that of one token.
type divergence struct {
	kld  float64
	nll  [2]float64 // of the successor that is there
	same bool
}

// divergences compares two models' scores of the same tokens, whose successors are next.
func divergences(a, b []float32, next []int32) []divergence {
	out := make([]divergence, len(next))
	V := len(a) / len(next)
	workers := min(len(next), runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for k := range workers {
		wg.Go(func() {
			for i := k; i < len(next); i += workers {
				out[i] = diverge(a[i*V:(i+1)*V], b[i*V:(i+1)*V], next[i])
			}
		})
	}
	wg.Wait()
	return out
}

func diverge(a, b []float32, next int32) (d divergence) {
	za, ia := logSumExp(a)
	zb, ib := logSumExp(b)
	for i := range a {
		la := float64(a[i]) - za
		if p := math.Exp(la); p > 0 { // a token that cannot be adds nothing
			d.kld += p * (la - (float64(b[i]) - zb))
		}
	}
	d.kld = max(d.kld, 0) // of equal distributions rounding may leave a little less
	d.nll = [2]float64{za - float64(a[next]), zb - float64(b[next])}
	d.same = ia == ib
	return d
}

// logSumExp is the logarithm of the sum of exponentials, and where the largest is.
func logSumExp(x []float32) (z float64, at int) {
	for i, v := range x {
		if v > x[at] {
			at = i
		}
	}
	top, sum := float64(x[at]), 0.0
	for _, v := range x {
		sum += math.Exp(float64(v) - top)
	}
	return top + math.Log(sum), at
}

// weightError is what storing a weight in another type changed.
type weightError struct {
	Name     string  `json:"name"`
	Type     string  `json:"type"`
	Elements int     `json:"elements"`
	Error    float64 `json:"relative_error"` // Frobenius norm of the difference, relative to that of the original
	square   float64 // of the difference
	norm     float64 // square of the original's
}

// weightErrors compares the matrices of two models of the same shapes, a piece at a time.
func weightErrors(ctx context.Context, original, other *loaded) (list []weightError, err error) {
	defer tensor.Catch(&err)
	theirs := map[string]*tensor.Tensor{}
	for name, p := range nn.Params(other.Model) {
		theirs[name] = p
	}
	for name, p := range nn.Params(original.Model) {
		q := theirs[name]
		if q == nil || !slices.Equal(p.Shape(), q.Shape()) {
			return nil, fmt.Errorf("%s and %s are not the same model: %s differs", original.dir, other.dir, name)
		}
		if len(p.Shape()) < 2 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		e := weightError{Name: name, Type: q.DType().String(), Elements: p.Numel()}
		const piece = 1 << 20
		var x, y []float32
		for at := 0; at < p.Numel(); at += piece {
			n := min(piece, p.Numel()-at)
			if x, err = part(p, at, n, x); err != nil {
				return nil, err
			}
			if y, err = part(q, at, n, y); err != nil {
				return nil, err
			}
			for i := range x {
				d := float64(y[i]) - float64(x[i])
				e.square += d * d
				e.norm += float64(x[i]) * float64(x[i])
			}
		}
		e.Error = math.Sqrt(e.square / max(e.norm, math.SmallestNonzeroFloat64))
		list = append(list, e)
	}
	return list, nil
}

// part gives n elements of a weight from at on, whole blocks, as floats; to is memory to use.
func part(p *tensor.Tensor, at, n int, to []float32) ([]float32, error) {
	if cap(to) < n {
		to = make([]float32, n)
	}
	to = to[:n]
	raw := make([]byte, p.DType().Bytes(n))
	p.ReadBytes(raw, p.DType().Bytes(at))
	if err := p.Err(); err != nil {
		return to, err
	}
	tensor.ToFloats(p.DType(), raw, to)
	return to, nil
}

// loadBoth gives two checkpoints of one model memory on dev.
func loadBoth(dev *tensor.Device, original, other *loaded) error {
	for _, l := range []*loaded{original, other} {
		if err := l.load(dev, checkpoint.Stored, false); err != nil {
			return err
		}
	}
	if a, b := original.Dims(), other.Dims(); a.Vocab != b.Vocab || a.Layers != b.Layers || a.Hidden != b.Hidden {
		return fmt.Errorf("%s has %d layers of %d channels and %d ids, %s %d of %d and %d; two forms of one model are compared",
			original.dir, a.Layers, a.Hidden, a.Vocab, other.dir, b.Layers, b.Hidden, b.Vocab)
	}
	return nil
}
