package generate

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
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

// same fails unless two greedy continuations are equal, or part where the model hardly prefers either.
func same(t *testing.T, what string, got, want []int32, gaps []float32) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			if gaps[i] > 0.01 {
				t.Errorf("%s: token %d: got %d, want %d (gap %g)", what, i, got[i], want[i], gaps[i])
			}
			return
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: got %d tokens, want %d", what, len(got), len(want))
	}
}

// gapped is greedy, and keeps how far the best token was ahead.
type gapped struct {
	*sample.Sampler
	gaps []float32
}

func (g *gapped) Need() int { return 0 }
func (g *gapped) Next(logits []float32, m sample.Mask) (int32, error) {
	sorted := slices.Sorted(slices.Values(logits))
	g.gaps = append(g.gaps, sorted[len(sorted)-1]-sorted[len(sorted)-2])
	return g.Sampler.Next(logits, m)
}

// TestTogether wants of many requests at once, with all that an engine may do to them, what an engine without company says of each.
func TestTogether(t *testing.T) {
	dev, m := bundled(t)
	r := rand.New(rand.NewPCG(9, 9))
	type text struct {
		Request
		want []int32
		gaps []float32
	}
	var texts []text
	plain := New(dev, m, Options{})
	defer plain.Close()
	for range 16 {
		n := 1 + r.IntN(100)
		x := text{Request: Request{Prompt: prompt(120)[:n], MaxTokens: 1 + r.IntN(60)}}
		switch r.IntN(3) {
		case 0:
			x.Prompt = prompt(n)
		case 1: // it says again what it said
			x.Prompt = slices.Concat(x.Prompt, prompt(20), prompt(20))
		case 2: // it says more than it was asked
			x.Prompt, x.MaxTokens = prompt(n%9+1), 60+n%20
		}
		g := &gapped{Sampler: sample.New(sample.Config{})}
		x.sampler = g
		x.want = collect(t, plain, x.Request)
		x.gaps, x.sampler = g.gaps, nil
		texts = append(texts, x)
	}
	for _, tt := range []struct {
		name string
		o    Options
		want func(s Stats) bool
	}{
		{"many", Options{Sequences: 16, Positions: 4000}, func(s Stats) bool { return s.Cached > 0 && s.Preempted == 0 && s.Passes < 100 }},
		{"small chunks", Options{Sequences: 16, Positions: 4000, Chunk: 20}, func(s Stats) bool { return s.Passes > 50 }},
		{"little memory", Options{Sequences: 16, Positions: 190}, func(s Stats) bool { return s.Preempted > 0 }},
		{"by look-up", Options{Sequences: 4, Positions: 4000, Lookup: 4}, func(s Stats) bool { return s.Accepted > 0 && s.Accepted < s.Drafted }},
		{"by a draft model", Options{Sequences: 4, Positions: 4000, Draft: &Draft{m, 3}}, func(s Stats) bool { return s.Accepted*10 > s.Drafted*9 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := New(dev, m, tt.o)
			defer e.Close()
			var wg sync.WaitGroup
			for i, x := range texts {
				wg.Go(func() { same(t, fmt.Sprint("request ", i), collect(t, e, x.Request), x.want, x.gaps) })
			}
			wg.Wait()
			idle(t, e)
			s := e.Stats()
			t.Logf("%+v", s)
			if !tt.want(s) {
				t.Errorf("the test tests something else: %+v", s)
			}
		})
	}
}

// TestDeterministic wants the same tokens to the bit whatever runs beside a request, however it is read, and with or without guesses.
func TestDeterministic(t *testing.T) {
	dev, m := bundled(t)
	for _, dtype := range []tensor.DType{tensor.F32, tensor.Q4_0} {
		if dtype != tensor.F32 {
			for name, p := range nn.Params(m) {
				if len(p.Shape()) == 2 && p.Dim(1)%dtype.Block() == 0 && !strings.Contains(name, "embed") {
					v := p.Values()
					if err := dev.Alloc(p, dtype); err != nil {
						t.Fatal(err)
					}
					p.SetValues(v)
				}
			}
		}
		r := rand.New(rand.NewPCG(4, 4))
		texts := make([]Request, 12)
		for i := range texts {
			texts[i] = Request{Prompt: slices.Concat(prompt(70)[:r.IntN(70)], prompt(1+r.IntN(40))), MaxTokens: 1 + r.IntN(45), Logprobs: 1,
				Sampling: sample.Config{Temperature: 1.2, TopP: 0.95, Seed: r.Uint64()}}
		}
		var want [12][]Token
		for _, tt := range []struct {
			name string
			o    Options
		}{
			{"alone", Options{}},
			{"together", Options{Sequences: 16, Positions: 4000}},
			{"small chunks", Options{Sequences: 5, Positions: 4000, Chunk: 7}},
			{"little memory", Options{Sequences: 16, Positions: 130}},
			{"by look-up", Options{Sequences: 2, Positions: 4000, Lookup: 4}},
			{"by a draft model", Options{Sequences: 3, Positions: 4000, Draft: &Draft{m, 3}}},
		} {
			t.Run(fmt.Sprint(dtype, "/", tt.name), func(t *testing.T) {
				tt.o.Deterministic = true
				e := New(dev, m, tt.o)
				defer e.Close()
				var wg sync.WaitGroup
				for i, x := range texts {
					run := func() {
						var got []Token
						for token, err := range e.Generate(t.Context(), x) {
							if err != nil {
								t.Error(err)
							}
							token.Cached = 0 // which says what ran before
							got = append(got, token)
						}
						if tt.name == "alone" {
							want[i] = got
							e.Close() // nothing is cached for the next
							e = New(dev, m, tt.o)
						} else if !reflect.DeepEqual(got, want[i]) {
							t.Errorf("request %d:\n got %v\nwant %v", i, got, want[i])
						}
					}
					if tt.name == "alone" {
						run()
					} else {
						wg.Go(run)
					}
				}
				wg.Wait()
				t.Logf("%+v", e.Stats())
			})
		}
	}
}

// TestConversation reads of each turn what is new only.
func TestConversation(t *testing.T) {
	dev, m := bundled(t)
	e, fresh := New(dev, m, Options{Positions: 250}), New(dev, m, Options{})
	defer e.Close()
	defer fresh.Close()
	var said []int32
	var cached int64
	for turn := range 5 {
		said = append(said, prompt(11+7*turn)...)
		before := e.Stats()
		g := &gapped{Sampler: sample.New(sample.Config{})}
		want := collect(t, fresh, Request{Prompt: said, MaxTokens: 9, sampler: g})
		got := collect(t, e, Request{Prompt: said, MaxTokens: 9})
		same(t, fmt.Sprint("turn ", turn), got, want, g.gaps)
		if found := e.Stats().Cached - before.Cached; found != cached {
			t.Errorf("turn %d: %d of %d tokens were cached, want %d", turn, found, len(said), cached)
		}
		said = append(said, want...)
		cached = int64(len(said) - 1) // the last token was chosen and not read
		fresh.Close()
		fresh = New(dev, m, Options{})
	}
}

// half is an adapter: all linear layers give half of what they would.
type half struct {
	model models.Model
	freed *int
}

type halver struct{}

func (halver) Forward(x, y *tensor.Tensor) *tensor.Tensor { return y.Scale(0.5) }

func (h half) Attach() {
	for _, l := range nn.Linears(h.model) {
		l.Adapter = halver{}
	}
}
func (h half) Detach() {
	for _, l := range nn.Linears(h.model) {
		l.Adapter = nil
	}
}
func (h half) Free() { *h.freed++ }

// TestAdapters answers with adapters and without at once, while some come and go.
func TestAdapters(t *testing.T) {
	dev, m := bundled(t)
	e := New(dev, m, Options{Sequences: 6, Positions: 2000})
	defer e.Close()
	freed := 0
	load := func() (Layers, error) { return half{m, &freed}, nil }
	if err := e.AddAdapter("half", load); err != nil {
		t.Fatal(err)
	}
	if err := e.AddAdapter("half", load); err == nil || err.Error() != `there is an adapter "half" already` {
		t.Errorf("got %v", err)
	}
	if err := e.AddAdapter("other", func() (Layers, error) { return nil, fmt.Errorf("no file") }); err == nil || err.Error() != `adapter "other": no file` {
		t.Errorf("got %v", err)
	}
	ids := prompt(50)
	base := collect(t, e, Request{Prompt: ids, MaxTokens: 20})
	adapted := collect(t, e, Request{Prompt: ids, MaxTokens: 20, Adapter: "half"})
	if slices.Equal(base, adapted) {
		t.Fatal("the adapter changes nothing")
	}
	var wg sync.WaitGroup
	for i := range 6 {
		name, want := "half", adapted
		if i%2 == 0 {
			name, want = "", base
		}
		wg.Go(func() {
			if got := collect(t, e, Request{Prompt: ids, MaxTokens: 20, Adapter: name}); !slices.Equal(got, want) {
				t.Errorf("with %q: got %v, want %v", name, got, want)
			}
		})
	}
	wg.Wait()
	begun, ended := make(chan bool), make(chan bool)
	go func() {
		n := 0
		for _, err := range e.Generate(t.Context(), Request{Prompt: ids, MaxTokens: 60, Adapter: "half"}) {
			if err != nil {
				t.Error(err)
			}
			if n++; n == 1 {
				close(begun)
			}
		}
		if n != 60 {
			t.Errorf("the adapter's last request gave %d tokens, want 60", n)
		}
		close(ended)
	}()
	<-begun
	if err := e.RemoveAdapter("half"); err != nil || freed != 1 {
		t.Errorf("got %v, freed %d times", err, freed)
	}
	<-ended
	for _, err := range e.Generate(t.Context(), Request{Prompt: ids, MaxTokens: 1, Adapter: "half"}) {
		if err == nil || err.Error() != `there is no adapter "half"` {
			t.Errorf("got %v", err)
		}
	}
	if err := e.RemoveAdapter("half"); err == nil {
		t.Error("an adapter is removed twice")
	}
	if got := collect(t, e, Request{Prompt: ids, MaxTokens: 20}); !slices.Equal(got, base) {
		t.Errorf("afterwards: got %v, want %v", got, base)
	}
	idle(t, e)
}

// TestEmbed compares with the mean of the hidden states of a batch without a cache.
func TestEmbed(t *testing.T) {
	dev, m := bundled(t)
	e := New(dev, m, Options{Chunk: 32, Positions: 400, Sequences: 3})
	defer e.Close()
	ids := prompt(77)
	g := tensor.NewGraph()
	b := nn.NewBatch(g, 1, len(ids))
	h := m.Forward(b)
	p, err := g.Compile(dev, h)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	b.Set(ids, 0)
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	want := make([]float32, h.Dim(-1))
	for i, x := range h.Values() {
		want[i%len(want)] += x
	}
	want = normalized(want)
	collect(t, e, Request{Prompt: ids, MaxTokens: 3}) // what is cached is not left out
	for range 2 {
		got, err := e.Embed(t.Context(), "", ids)
		if err != nil || len(got) != len(want) {
			t.Fatalf("got %d numbers, %v; want %d", len(got), err, len(want))
		}
		for i := range got {
			if d := got[i] - want[i]; !(d < 1e-4 && d > -1e-4) {
				t.Fatalf("element %d: got %g, want %g", i, got[i], want[i])
			}
		}
	}
	if _, err := e.Embed(t.Context(), "", nil); err == nil {
		t.Error("nothing has an embedding")
	}
	idle(t, e)
}
