package generate

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/sample"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/models"
)

// bundled loads the repository's model: 512 tokens, heads of 32 channels, trained.
func bundled(t *testing.T) (*tensor.Device, models.Model) {
	t.Helper()
	const dir = "../../demo/model"
	dev, err := tensor.Open("cpu", tensor.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dev.Close)
	config, err := checkpoint.ReadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := models.New(config)
	if err != nil {
		t.Fatal(err)
	}
	src, err := safetensors.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, p := range nn.Params(m) {
			p.Free()
		}
		src.Close()
	})
	if err := checkpoint.Load(dev, m, src, checkpoint.Options{}); err != nil {
		t.Fatal(err)
	}
	return dev, m
}

func collect(t *testing.T, e *Engine, req Request) (ids []int32) {
	t.Helper()
	for token, err := range e.Generate(t.Context(), req) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, token.ID)
	}
	return ids
}

func prompt(n int) []int32 {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = r.Int32N(512)
	}
	return ids
}

// Drawing from candidates that the device chose gives the tokens of drawing from all logits, also when the sampler of a
// conversation changes and compiled passes serve again.
func TestCandidates(t *testing.T) {
	dev, m := bundled(t)
	usual, narrow := New(dev, m, Options{Cache: tensor.F32}), New(dev, m, Options{Cache: tensor.F32})
	narrow.run.(*modelRunner).narrow = true
	defer usual.Close()
	defer narrow.Close()
	for i, c := range []struct {
		config sample.Config
		k      int // candidates that must be used
	}{
		{sample.Config{}, 1},
		{sample.Config{Temperature: 0.8, TopK: 50, TopP: 1}, 50},
		{sample.Config{Temperature: 1.3, TopK: 50, TopP: 0.9}, 50},
		{sample.Config{Temperature: 2, TopK: 1000, TopP: 1}, 512},
		{sample.Config{Temperature: 1, TopP: 1}, 0},
		{sample.Config{Temperature: 1, TopP: 0.5, TopK: 2000}, 0},
		{sample.Config{Temperature: 5, TopK: 3, TopP: 1}, 3},
	} {
		for _, n := range []int{1, 20, chunk + 1} {
			t.Run(fmt.Sprintf("%+v/%d", c.config, n), func(t *testing.T) {
				c.config.Seed = uint64(7*i + n)
				req := Request{Prompt: prompt(n), MaxTokens: 12}
				req.sampler = sample.New(c.config)
				want := collect(t, usual, req)
				req.sampler = sample.New(c.config)
				if got := collect(t, narrow, req); !slices.Equal(got, want) {
					t.Errorf("got %v, want %v", got, want)
				}
				if narrow.pass.k != c.k || usual.pass.k != 0 {
					t.Errorf("got %d candidates and %d, want %d and none", narrow.pass.k, usual.pass.k, c.k)
				}
			})
		}
	}
}

// broken is a sampler that fails.
type broken struct{ *sample.Sampler }

func (broken) Pick([]float32, []int32) (int32, error) { return 0, fmt.Errorf("no choice") }

func TestSamplerFails(t *testing.T) {
	dev, m := bundled(t)
	e := New(dev, m, Options{Cache: tensor.F32})
	e.run.(*modelRunner).narrow = true
	defer e.Close()
	var errs []string
	for _, err := range e.Generate(t.Context(), Request{Prompt: prompt(3), MaxTokens: 5, sampler: broken{sample.New(sample.Config{})}}) {
		errs = append(errs, fmt.Sprint(err))
	}
	if !slices.Equal(errs, []string{"no choice"}) {
		t.Errorf("got %q, want one error", errs)
	}
}

// watched keeps the logits it is shown and follows a path.
type watched struct {
	path   []int32
	logits [][]float32
}

func (w *watched) Need() int    { return 0 }
func (w *watched) See(...int32) {}
func (w *watched) Accept(int32) {}
func (w *watched) Next(logits []float32, _ sample.Mask) (int32, error) {
	w.logits = append(w.logits, slices.Clone(logits))
	return w.path[len(w.logits)-1], nil
}
func (w *watched) Pick([]float32, []int32) (int32, error) { panic("all logits were wanted") }

// Along the greedy path of an F32 cache, the logits with a cache of another type are near those with F32.
func TestCacheTypes(t *testing.T) {
	dev, m := bundled(t)
	const steps = 60
	ids := prompt(40)
	e := New(dev, m, Options{Cache: tensor.F32})
	defer e.Close()
	path := collect(t, e, Request{Prompt: ids, MaxTokens: steps, Sampling: sample.Config{}})
	exact := &watched{path: path}
	collect(t, e, Request{Prompt: ids, MaxTokens: steps, sampler: exact})
	largest := float32(0)
	for _, x := range slices.Concat(exact.logits...) {
		largest = max(largest, x, -x)
	}
	for _, c := range []struct {
		dtype     tensor.DType
		tolerance float32 // of the largest logit
		gap       float32 // between the two best logits, below which the cache's rounding may choose the other
	}{{tensor.F16, 1e-3, 0.02}, {tensor.BF16, 5e-3, 0.1}, {tensor.Q8_0, 2e-2, 0.3}} {
		t.Run(c.dtype.String(), func(t *testing.T) {
			e := New(dev, m, Options{Cache: c.dtype})
			defer e.Close()
			near := &watched{path: path}
			collect(t, e, Request{Prompt: ids, MaxTokens: steps, sampler: near})
			worst, same := float32(0), 0
			for i := range exact.logits {
				for j, x := range exact.logits[i] {
					worst = max(worst, x-near.logits[i][j], near.logits[i][j]-x)
				}
				sorted := slices.Sorted(slices.Values(exact.logits[i]))
				gap := sorted[len(sorted)-1] - sorted[len(sorted)-2]
				if sample.Greedy(near.logits[i]) == path[i] {
					same++
				} else if gap > c.gap {
					t.Errorf("token %d: another is the most probable, which was %g behind", i, gap)
				}
			}
			t.Logf("logits within %.1e of the largest, %g; %d of %d tokens the same", worst/largest, largest, same, steps)
			if !(worst <= c.tolerance*largest) || worst == 0 {
				t.Errorf("logits differ by %g, want more than 0 and at most %g", worst, c.tolerance*largest)
			}
		})
	}
}

// Heads that are no whole number of blocks are refused before anything is computed.
func TestCacheOfOddHeads(t *testing.T) {
	dev, err := tensor.Open("cpu", tensor.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	m, err := models.New([]byte(`{"architectures": ["LlamaForCausalLM"], "vocab_size": 32, "hidden_size": 96, "intermediate_size": 32,
		"num_hidden_layers": 1, "num_attention_heads": 4, "max_position_embeddings": 16}`))
	if err != nil {
		t.Fatal(err)
	}
	e := New(dev, m, Options{Cache: tensor.Q8_0})
	defer e.Close()
	for _, err := range e.Generate(t.Context(), Request{Prompt: []int32{1}, MaxTokens: 1, Sampling: sample.Config{}}) {
		if err == nil || !strings.Contains(err.Error(), "stores 32 channels together, which heads of 24 are no multiple of; store it in f16 or bf16") {
			t.Errorf("got %v", err)
		}
	}
}
