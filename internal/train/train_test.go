package train

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/data"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/optim"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/models"
)

// newTrainer trains all weights of a tiny model, which has the same values every time.
func newTrainer(t *testing.T, vocab int) *Trainer {
	t.Helper()
	dev, err := tensor.Open("cpu", tensor.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dev.Close)
	m, err := models.New(fmt.Appendf(nil, `{"architectures": ["LlamaForCausalLM"], "vocab_size": %d, "hidden_size": 8, "intermediate_size": 12,
		"num_hidden_layers": 1, "num_attention_heads": 2}`, vocab))
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var names []string
	var weights []*tensor.Tensor
	for name, p := range nn.Params(m) {
		if err := dev.Alloc(p, tensor.F32); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Free)
		x := make([]float32, p.Numel())
		for i := range x {
			x[i] = float32(0.3 * rng.NormFloat64())
		}
		p.SetValues(x)
		names, weights = append(names, name), append(weights, p)
	}
	o, err := optim.New(dev, optim.Config{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8}, names, weights)
	if err != nil {
		t.Fatal(err)
	}
	tr := New(dev, m, o, false, 1)
	t.Cleanup(func() { tr.Close(); o.Close() })
	return tr
}

// sequence is a batch of one sequence of n tokens below limit, the first masked of which take no part in the loss.
func sequence(n, limit, masked int) data.Batch {
	b := data.Batch{B: 1, T: n}
	for i := range n {
		b.Tokens, b.Targets = append(b.Tokens, int32(i*7%limit)), append(b.Targets, int32((i+1)*7%limit))
		if i < masked {
			b.Targets[i] = data.Ignore
		}
	}
	return b
}

// state is everything that a step changes.
func state(tr *Trainer) (values [][]float32) {
	for _, p := range tr.Optimizer.Params {
		values = append(values, p.Weight.Values(), p.M.Values(), p.V.Values())
	}
	return values
}

func equal(a, b [][]float32) bool { return slices.EqualFunc(a, b, slices.Equal[[]float32]) }

// The loss of a step is the mean over the counted tokens of all micro-batches, of
// any size and in any number of chunks, as the evaluator gives them one by one.
func TestStepLoss(t *testing.T) {
	for name, tt := range map[string]struct {
		vocab int
		micro []data.Batch
	}{
		"one":            {17, []data.Batch{sequence(9, 17, 0)}},
		"several":        {17, []data.Batch{sequence(9, 17, 3), sequence(4, 17, 0), sequence(9, 17, 8), sequence(33, 17, 5)}},
		"none counts":    {17, []data.Batch{sequence(9, 17, 9), sequence(4, 17, 1), sequence(9, 17, 9)}},
		"many chunks":    {1 << 18, []data.Batch{sequence(110, 1<<18, 3), sequence(60, 1<<18, 0)}},
		"one token of a": {17, []data.Batch{sequence(9, 17, 8)}},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrainer(t, tt.vocab)
			for step := range 2 { // the second must not begin with the first's loss
				want, n := 0.0, 0
				for _, b := range tt.micro {
					if len(counted(b)) == 0 {
						continue
					}
					nll, err := tr.Loss(b)
					if err != nil {
						t.Fatal(err)
					}
					for _, x := range nll {
						want += float64(x)
					}
					n += len(nll)
				}
				want /= float64(n)
				loss, norm, err := tr.Step(tt.micro, 1e-2, 1).Wait()
				if err != nil || !(math.Abs(loss-want) <= 1e-8*want) || !(norm > 0) {
					t.Errorf("step %d: got loss %.9g, norm %g, %v; want loss %.9g", step+1, loss, norm, err, want)
				}
			}
		})
	}
}

func TestStepErrors(t *testing.T) {
	tr := newTrainer(t, 17)
	before := state(tr)
	for want, micro := range map[string][]data.Batch{
		"no token of the step's 2 micro-batches counts for the loss": {sequence(4, 17, 4), sequence(5, 17, 5)},
		"token id 17 is out of range":                                {sequence(4, 17, 0), {B: 1, T: 2, Tokens: []int32{1, 17}, Targets: []int32{1, 1}}},
	} {
		if _, _, err := tr.Step(micro, 1, 1).Wait(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if tr.Optimizer.Steps != 0 || !equal(state(tr), before) {
		t.Errorf("got %d steps, or changed weights", tr.Optimizer.Steps)
	}
}

// Of steps that were launched one after the other, the first that is not finite and all after it change nothing.
func TestStepNotFinite(t *testing.T) {
	tr := newTrainer(t, 17)
	embed := tr.Optimizer.Params[slices.IndexFunc(tr.Optimizer.Params, func(p *optim.Param) bool { return strings.Contains(p.Name, "embed") })].Weight
	x := embed.Values()
	x[16*8] = float32(math.NaN()) // of token 16
	embed.SetValues(x)
	good, bad := []data.Batch{sequence(2, 16, 0)}, []data.Batch{sequence(2, 16, 0), {B: 1, T: 1, Tokens: []int32{16}, Targets: []int32{1}}}

	if _, _, err := tr.Step(good, 1e-2, 1).Wait(); err != nil {
		t.Fatal(err)
	}
	before := finite(state(tr))
	second, third := tr.Step(bad, 2e-2, 1), tr.Step(good, 3e-2, 1)
	if _, _, err := second.Wait(); err == nil || err.Error() != "the loss is NaN; try a lower learning rate than 0.02" {
		t.Errorf("got %v, want that the loss is NaN", err)
	}
	if _, _, err := third.Wait(); err == nil || !strings.Contains(err.Error(), "nothing was updated") {
		t.Errorf("got %v, want that the earlier step is the reason", err)
	}
	if !equal(finite(state(tr)), before) {
		t.Error("weights or moments changed")
	}
	tr.Optimizer.Restart(1)
	if _, _, err := tr.Step(good, 1e-2, 1).Wait(); err != nil || tr.Optimizer.Steps != 2 || equal(finite(state(tr)), before) {
		t.Errorf("got %v, %d steps after the restart", err, tr.Optimizer.Steps)
	}
}

// finite has 0 for NaN, which equals nothing.
func finite(values [][]float32) [][]float32 {
	for _, v := range values {
		for i, x := range v {
			if x != x {
				v[i] = 0
			}
		}
	}
	return values
}
