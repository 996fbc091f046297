package generate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/litgpt-go/litgpt/internal/kvcache"
	"github.com/litgpt-go/litgpt/internal/sample"
	"github.com/litgpt-go/litgpt/models"
)

// oracle is a runner whose keys are the tokens themselves, and whose scores follow from the tokens that it sees
// through the page tables: a sequence that sees a wrong token goes on otherwise.
type oracle struct {
	t     testing.TB
	o     Options
	pages *kvcache.Pages
	rows  []int32
	back  int
	delay time.Duration
	fail  func(p *pass) error
	most  int // sequences in one pass
}

const oracleVocab = 50

func (o *oracle) room(int) (*kvcache.Pages, error) {
	if o.pages == nil {
		n := kvcache.Cover(o.o.Positions)
		o.rows = make([]int32, (n+1)*kvcache.Page)
		o.pages = kvcache.NewPages(n+1, func(from, to int32, n int) {
			copy(o.rows[to*kvcache.Page:], o.rows[from*kvcache.Page:int(from)*kvcache.Page+n])
		})
	}
	return o.pages, nil
}

func (o *oracle) window() int       { return o.back }
func (o *oracle) compiled() int64   { return 0 }
func (o *oracle) forget(a *adapter) { o.pages.Forget(a.roots[0]) }
func (o *oracle) close()            {}
func (o *oracle) used() int {
	if o.pages == nil {
		return 0
	}
	return o.pages.Used()
}

// scoresAfter are those of a text, of which the last window tokens are seen.
func scoresAfter(text []int32, window int, long bool) []float32 {
	if window > 0 {
		text = text[max(0, len(text)-window):]
	}
	h := uint64(7)
	for _, id := range text {
		h = (h ^ uint64(id+1)) * 0x9e3779b97f4a7c15
		h ^= h >> 29
	}
	if long {
		h++
	}
	r := rand.New(rand.NewPCG(h, 3))
	scores := make([]float32, oracleVocab)
	for i := range scores {
		scores[i] = float32(r.NormFloat64())
	}
	return scores
}

func (o *oracle) run(p *pass) error {
	time.Sleep(o.delay)
	if o.fail != nil {
		if err := o.fail(p); err != nil {
			return err
		}
	}
	o.most = max(o.most, len(p.pieces))
	p.scores, p.states = p.scores[:0], p.states[:0]
	if p.tokens > max(o.o.Chunk, o.o.Sequences) {
		o.t.Errorf("a pass of %d tokens", p.tokens)
	}
	for _, x := range p.pieces {
		for j, id := range x.tokens {
			o.rows[x.kv.Row(x.at+j)] = id
		}
	}
	for _, x := range p.pieces {
		if g := x.s.group(); g != p.group && !p.best {
			o.t.Errorf("%+v in a pass of %+v", g, p.group)
		}
		for j := range x.wanted {
			end := x.at + len(x.tokens) - x.wanted + j + 1
			from := 0
			if o.back > 0 {
				from = max(0, end-o.back)
			}
			var text []int32
			for i := from; i < end; i++ {
				text = append(text, o.rows[x.kv.Row(i)])
			}
			p.scores = append(p.scores, scoresAfter(text, o.back, p.long)...)
		}
		for range x.tokens {
			p.states = append(p.states, 3, 4)
		}
	}
	return nil
}

// alone is what a request must give.
func alone(req Request, end, window, original int) (ids []int32) {
	s := sample.New(req.Sampling)
	s.See(req.Prompt...)
	text := slices.Clone(req.Prompt)
	for len(text) < end {
		id, err := s.Next(scoresAfter(text, window, original > 0 && len(text) > original), nil)
		if err != nil {
			panic(err)
		}
		s.Accept(id)
		text, ids = append(text, id), append(ids, id)
		if slices.Contains(req.End, id) {
			break
		}
	}
	return ids
}

func newOracle(t testing.TB, o Options, d models.Dims) (*Engine, *oracle) {
	d.Vocab = oracleVocab
	o = o.defaults(d)
	r := &oracle{t: t, o: o}
	e := newEngine(r, d, o)
	t.Cleanup(e.Close)
	return e, r
}

// idle fails unless the engine has given back all it had.
func idle(t *testing.T, e *Engine) {
	t.Helper()
	if s := e.Stats(); s.Running != 0 || s.Waiting != 0 || s.UsedPages != 0 {
		t.Errorf("the engine is idle and has %+v", s)
	}
}

// still fails unless there are as many goroutines as before.
func still(t *testing.T, before int) {
	t.Helper()
	for range 200 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}

// TestRandomRequests lets many clients ask at once, with caches that are too small, windows, rotations that
// change, and speculation, and wants from each request what it gives alone.
func TestRandomRequests(t *testing.T) {
	for seed := range uint64(24) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			before := runtime.NumGoroutine()
			r := rand.New(rand.NewPCG(seed, 5))
			o := Options{Sequences: 1 + r.IntN(20), Chunk: 8 + r.IntN(100), Share: r.IntN(2) * (1 + r.IntN(60)), Positions: 300 + r.IntN(1500), Lookup: r.IntN(2) * r.IntN(6)}
			d := models.Dims{Context: 280, Original: r.IntN(2) * 100}
			e, run := newOracle(t, o, d)
			switch seed % 3 {
			case 0:
				run.back = 20 + r.IntN(60)
			case 1: // what it says repeats itself soon
				run.back = 2
			}
			if seed%4 == 1 { // a draft model that is right where the likeliest token is taken
				draft := &oracle{t: t, o: e.o, back: run.back}
				e.draft = &drafter{run: argmax{draft}, base: &adapter{roots: [2]int64{-2, -1}}, tokens: 1 + r.IntN(4), limit: 250}
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			beginnings := make([][]int32, 3)
			for i := range beginnings {
				for range 100 {
					beginnings[i] = append(beginnings[i], r.Int32N(oracleVocab))
				}
			}
			var wg sync.WaitGroup
			var cached atomic.Int64
			for range 8 {
				r := rand.New(rand.NewPCG(seed, r.Uint64()))
				wg.Go(func() {
					for range 15 {
						req := Request{Prompt: slices.Clone(beginnings[r.IntN(3)][:r.IntN(100)]), Sampling: sample.Config{Temperature: 1, TopP: 1, TopK: 10, Seed: r.Uint64()}}
						for range 1 + r.IntN(60) {
							req.Prompt = append(req.Prompt, r.Int32N(2))
						}
						if r.IntN(3) == 0 {
							req.Sampling = sample.Config{RepetitionPenalty: 1.5}
						}
						end := 280
						if r.IntN(4) > 0 {
							req.MaxTokens = 1 + r.IntN(100)
							end = len(req.Prompt) + req.MaxTokens
						}
						if r.IntN(3) == 0 {
							req.End = []int32{r.Int32N(oracleVocab)}
						}
						want := alone(req, end, run.back, d.Original)
						stop := -1
						if r.IntN(5) == 0 {
							stop = r.IntN(len(want))
						}
						var got []int32
						var last Token
						for token, err := range e.Generate(ctx, req) {
							if err != nil {
								t.Error(err)
								return
							}
							last = token
							cached.Add(int64(token.Cached))
							if token.Cached >= len(req.Prompt) || token.Cached > 0 && got != nil {
								t.Errorf("token %d says that %d of %d of the prompt were cached", len(got), token.Cached, len(req.Prompt))
							}
							if got = append(got, token.ID); len(got) == stop {
								break
							}
						}
						if stop > 0 {
							want = want[:stop]
						} else if reason := (map[bool]Reason{true: Stopped, false: Length})[slices.Contains(req.End, last.ID)]; last.Reason != reason {
							t.Errorf("the last token is %+v, want reason %s", last, reason)
						}
						if !slices.Equal(got, want) {
							t.Errorf("prompt of %d: got %d tokens %v, want %d %v", len(req.Prompt), len(got), got, len(want), want)
							return
						}
					}
				})
			}
			wg.Wait()
			idle(t, e)
			s := e.Stats()
			t.Logf("%+v, at most %d in a pass", s, run.most)
			if s.Cached == 0 || (e.draft != nil || o.Lookup > 0 && run.back == 2) && s.Accepted < 100 {
				t.Errorf("the test tests little: %+v", s)
			}
			if cached.Load() != s.Cached {
				t.Errorf("the requests were told of %d cached tokens, the engine counts %d", cached.Load(), s.Cached)
			}
			e.Close()
			still(t, before)
		})
	}
}

// argmax makes a runner give the likeliest token only, as a draft model's does.
type argmax struct{ *oracle }

func (a argmax) run(p *pass) error {
	if err := a.oracle.run(p); err != nil {
		return err
	}
	var best []float32
	for i := range p.wanted {
		row := p.scores[i*oracleVocab : (i+1)*oracleVocab]
		id := sample.Greedy(row)
		best = append(best, row[id], float32(id))
	}
	p.scores, p.k = best, 1
	return nil
}

// Requests that fail do so alone: what is wrong is theirs, or that of one pass.
func TestFailures(t *testing.T) {
	e, run := newOracle(t, Options{Sequences: 4, Positions: 400}, models.Dims{Context: 300})
	broken := errors.New("broken")
	for _, tt := range []struct {
		name string
		req  Request
		want string
	}{
		{"empty", Request{MaxTokens: 1}, "the prompt has no tokens"},
		{"id", Request{Prompt: []int32{1, 50}, MaxTokens: 1}, "token id 50 at place 1 is out of range; the model has 50"},
		{"negative", Request{Prompt: []int32{-1}, MaxTokens: 1}, "token id -1 at place 0 is out of range; the model has 50"},
		{"too long", Request{Prompt: make([]int32, 290), MaxTokens: 11}, "a prompt of 290 tokens and 11 new ones exceed the model's context of 300"},
		{"full", Request{Prompt: make([]int32, 300)}, "a prompt of 300 tokens and 1 new ones exceed the model's context of 300"},
		{"adapter", Request{Prompt: []int32{1}, Adapter: "x"}, `there is no adapter "x"`},
		{"constraint", Request{Prompt: []int32{1}, MaxTokens: 5, Constraint: &listed{ids: []int32{7, 8}, err: broken}}, "broken"},
		{"sampler", Request{Prompt: []int32{1}, MaxTokens: 5, sampler: broken2{sample.New(sample.Config{})}}, "no choice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var wg sync.WaitGroup
			other := Request{Prompt: []int32{3, 4, 5}, MaxTokens: 30}
			wg.Go(func() {
				if got, want := collect(t, e, other), alone(other, 33, 0, 0); !slices.Equal(got, want) {
					t.Errorf("beside it: got %v, want %v", got, want)
				}
			})
			var last error
			for _, err := range e.Generate(t.Context(), tt.req) {
				last = err
			}
			wg.Wait()
			if last == nil || last.Error() != tt.want {
				t.Errorf("got %v, want %s", last, tt.want)
			}
			idle(t, e)
		})
	}
	run.fail = func(*pass) error { return broken }
	for _, err := range e.Generate(t.Context(), Request{Prompt: []int32{1}, MaxTokens: 3}) {
		if !errors.Is(err, broken) {
			t.Errorf("got %v, want %v", err, broken)
		}
	}
	run.fail = nil
	if got := collect(t, e, Request{Prompt: []int32{1}, MaxTokens: 3}); len(got) != 3 {
		t.Errorf("after a failure: got %v", got)
	}
	e.Close()
	for _, err := range e.Generate(t.Context(), Request{Prompt: []int32{1}, MaxTokens: 3}) {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("got %v, want %v", err, ErrClosed)
		}
	}
}

type broken2 struct{ *sample.Sampler }

func (broken2) Next([]float32, sample.Mask) (int32, error) { return 0, errors.New("no choice") }

// listed allows its ids, one after the other.
type listed struct {
	ids []int32
	err error // of Accept
}

func (l *listed) Allowed() sample.Mask {
	m := sample.NewMask(oracleVocab)
	m.Set(l.ids[0])
	return m
}
func (l *listed) Accept(id int32) error {
	if id != l.ids[0] {
		return fmt.Errorf("got %d, want %d", id, l.ids[0])
	}
	l.ids = l.ids[1:]
	return l.err
}
func (l *listed) Done() bool { return len(l.ids) == 0 }

func TestConstraint(t *testing.T) {
	e, _ := newOracle(t, Options{Positions: 100, Lookup: 3}, models.Dims{Context: 100})
	want := []int32{7, 9, 7, 9, 7, 9, 7}
	var got []int32
	var last Token
	for token, err := range e.Generate(t.Context(), Request{Prompt: []int32{1, 2}, Constraint: &listed{ids: slices.Clone(want)}, Logprobs: 3}) {
		if err != nil {
			t.Fatal(err)
		}
		last, got = token, append(got, token.ID)
		if len(token.Top) != 2 || !(token.Logprob < 0) || !(token.Top[0].Logprob >= token.Logprob) {
			t.Errorf("got %+v, want two likelier candidates and a log-probability", token)
		}
	}
	if !slices.Equal(got, want) || last.Reason != Stopped {
		t.Errorf("got %v and %q, want %v", got, last.Reason, want)
	}
	if s := e.Stats(); s.Accepted == 0 {
		t.Errorf("nothing was guessed: %+v", s)
	}
	for token, err := range e.Generate(t.Context(), Request{Prompt: []int32{1, 2}, Constraint: &listed{}}) {
		t.Errorf("got %v, %v of a constraint that is done", token, err)
	}
	idle(t, e)
}

// TestCancelled cancels a thousand requests at any time, and leaves others alone.
func TestCancelled(t *testing.T) {
	before := runtime.NumGoroutine()
	e, run := newOracle(t, Options{Sequences: 8, Positions: 2000}, models.Dims{Context: 300})
	run.delay = 50 * time.Microsecond
	var wg sync.WaitGroup
	for c := range uint64(20) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(c, 8))
			for range 50 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(r.IntN(3000))*time.Microsecond)
				for _, err := range e.Generate(ctx, Request{Prompt: make([]int32, 1+r.IntN(200)), Sampling: sample.Config{Temperature: 1, TopP: 1, Seed: r.Uint64()}}) {
					if err != nil && !errors.Is(err, context.DeadlineExceeded) {
						t.Error(err)
					}
				}
				cancel()
			}
		})
	}
	req := Request{Prompt: []int32{1, 2, 3}, MaxTokens: 200}
	if got, want := collect(t, e, req), alone(req, 203, 0, 0); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	wg.Wait()
	idle(t, e)
	still(t, before)
}

// One that came first is not overtaken for ever by those that fit better, and a full queue says so.
func TestOrder(t *testing.T) {
	e, run := newOracle(t, Options{Sequences: 4, Positions: 300, Queue: 3}, models.Dims{Context: 300})
	run.delay = time.Millisecond
	var wg sync.WaitGroup
	begin := func(req Request) chan error {
		started := make(chan error, 1)
		wg.Go(func() {
			for _, err := range e.Generate(t.Context(), req) {
				select {
				case started <- err:
				default:
				}
			}
		})
		return started
	}
	small := func() Request {
		return Request{Prompt: make([]int32, 40), MaxTokens: 100, Sampling: sample.Config{Temperature: 1, TopP: 1, Seed: rand.Uint64()}}
	}
	<-begin(small())
	<-begin(small())
	large := begin(Request{Prompt: slices.Repeat([]int32{1}, 280), MaxTokens: 20})
	for range 3 {
		time.Sleep(2 * time.Millisecond)
		begin(small())
	}
	full := 0
	for range 5 {
		for _, err := range e.Generate(t.Context(), small()) {
			if errors.Is(err, ErrFull) {
				full++
			}
			break
		}
	}
	if full == 0 {
		t.Error("the queue is never full")
	}
	select {
	case err := <-large:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the large request never began")
	}
	wg.Wait()
	idle(t, e)
}

// The same prompt asked for many times at once is read once.
func TestReadOnce(t *testing.T) {
	e, run := newOracle(t, Options{Sequences: 8, Positions: 3000, Chunk: 64}, models.Dims{Context: 300})
	run.delay = 2 * time.Millisecond
	prompt := slices.Repeat([]int32{1, 2, 3}, 70)
	var wg sync.WaitGroup
	for i := range uint64(8) {
		wg.Go(func() {
			collect(t, e, Request{Prompt: prompt, MaxTokens: 20, Sampling: sample.Config{Temperature: 1, TopP: 1, Seed: i}})
		})
	}
	wg.Wait()
	if s := e.Stats(); s.Prompt != 8*210 || s.Cached < 7*192 {
		t.Errorf("got %+v, want most of 7 of 8 prompts cached", s)
	}
	collect(t, e, Request{Prompt: prompt, MaxTokens: 1})
	if s := e.Stats(); s.Cached < 7*192+209 {
		t.Errorf("got %+v, want all but the last token of the prompt cached", s)
	}
	idle(t, e)
}

// A long prompt is read in whole chunks when it is alone, and in smaller parts when another sequence waits for its next token.
func TestShare(t *testing.T) {
	e, run := newOracle(t, Options{Sequences: 4, Positions: 3000, Chunk: 100, Share: 24}, models.Dims{Context: 1000})
	var beside, alone []int // tokens of prompts in passes
	run.fail = func(p *pass) error {
		read, next := 0, 0
		for _, x := range p.pieces {
			switch {
			case x.at >= len(x.s.req.Prompt):
				next++
			case next > 0 || p.wanted > 0 && x.wanted == 0:
				read += len(x.tokens)
			default:
				alone = append(alone, len(x.tokens))
			}
		}
		if read > 0 {
			beside = append(beside, read)
		}
		return nil
	}
	long := Request{Prompt: slices.Repeat([]int32{1, 2, 3, 4, 5}, 100), MaxTokens: 3}
	collect(t, e, long)
	if !slices.Equal(alone, []int{100, 100, 100, 100, 100}) || beside != nil {
		t.Errorf("alone: parts of %d, beside others %d", alone, beside)
	}
	first := true
	var wg sync.WaitGroup
	for range e.Generate(t.Context(), Request{Prompt: []int32{7}, MaxTokens: 900}) {
		if first {
			first = false
			long.Prompt = slices.Repeat([]int32{5, 4, 3, 2, 1}, 100)
			wg.Go(func() { collect(t, e, long) })
		}
	}
	wg.Wait()
	if len(beside) < 10 || slices.Max(beside) > padded(1+24)-1 || slices.Max(beside) < 24 {
		t.Errorf("beside another: parts of %d, want about 24", beside)
	}
	idle(t, e)
}

func TestEmbedSums(t *testing.T) {
	e, _ := newOracle(t, Options{Positions: 100}, models.Dims{Context: 100})
	v, err := e.Embed(t.Context(), "", make([]int32, 100))
	if err != nil || len(v) != 2 || math.Abs(float64(v[0])-0.6) > 1e-6 {
		t.Errorf("got %v, %v; want 0.6 and 0.8", v, err)
	}
	idle(t, e)
}
