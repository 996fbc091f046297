package generate

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/litgpt-go/litgpt/internal/kvcache"
	"github.com/litgpt-go/litgpt/internal/sample"
	"github.com/litgpt-go/litgpt/models"
)

// cachedOf asks and returns how many tokens of the prompt were cached.
func cachedOf(t *testing.T, e *Engine, req Request) (cached int) {
	t.Helper()
	cached = -1
	for token, err := range e.Generate(t.Context(), req) {
		switch {
		case err != nil:
			t.Error(err)
		case cached < 0:
			cached = token.Cached
		case token.Cached != 0:
			t.Errorf("a later token says that %d tokens were cached", token.Cached)
		}
	}
	return cached
}

// oracleText is a prompt unlike that of another seed.
func oracleText(seed uint64, n int) (ids []int32) {
	for r := rand.New(rand.NewPCG(seed, 9)); len(ids) < n; {
		ids = append(ids, r.Int32N(oracleVocab))
	}
	return ids
}

// A request is told how much of its prompt was read before: all but the last token, which must be read for what follows it.
func TestCached(t *testing.T) {
	for _, lookup := range []int{0, 3} {
		e, _ := newOracle(t, Options{Positions: 1000, Chunk: 50, Lookup: lookup}, models.Dims{Context: 300})
		base := oracleText(1, 210)
		for _, tt := range []struct {
			name   string
			prompt []int32
			want   int
		}{
			{"first", base, 0},
			{"again", base, 209},
			{"and again", base, 209},
			{"longer", slices.Concat(base, oracleText(2, 40)), 210},
			{"of the same beginning", slices.Concat(base[:103], oracleText(3, 60)), 103},
			{"too little of a page", slices.Concat(base[:kvcache.Page+2], oracleText(4, 60)), kvcache.Page},
			{"another", oracleText(5, 100), 0},
			{"one token", base[:1], 0},
		} {
			if got := cachedOf(t, e, Request{Prompt: tt.prompt, MaxTokens: 1}); got != tt.want {
				t.Errorf("%s: got %d of %d cached, want %d", tt.name, got, len(tt.prompt), tt.want)
			}
		}
		idle(t, e)
	}
}

// Of many that ask the same at once one reads the prompt, and is told so.
func TestCachedTogether(t *testing.T) {
	e, run := newOracle(t, Options{Sequences: 8, Positions: 3000, Chunk: 64}, models.Dims{Context: 300})
	run.delay = time.Millisecond
	var all [8]int
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() {
			all[i] = cachedOf(t, e, Request{Prompt: oracleText(1, 210), MaxTokens: 20, Sampling: sample.Config{Temperature: 1, TopP: 1, Seed: uint64(i)}})
		})
	}
	wg.Wait()
	slices.Sort(all[:])
	if all[0] != 0 || all[1] < 192 || all[7] > 209 {
		t.Errorf("got %d cached, want 0 and seven times what fills pages, 192 of 210, or more", all)
	}
	idle(t, e)
}

// What a request had read itself before it gave its pages away is not told as cached when it is found again.
func TestCachedPreempted(t *testing.T) {
	for _, tt := range []struct {
		name          string
		first, second []int32
		tokens        int
		want          int // of the second
	}{
		{"after its first token", oracleText(1, 40), oracleText(2, 40), 150, 0},
		{"while its prompt is read", oracleText(1, 60), oracleText(2, 200), 95, 0},
		{"with a beginning of another's", oracleText(1, 70), slices.Concat(oracleText(1, 70)[:64], oracleText(2, 136)), 95, 64},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, run := newOracle(t, Options{Sequences: 2, Positions: 10 * kvcache.Page, Chunk: 8, Share: 1}, models.Dims{Context: 300})
			var wg sync.WaitGroup
			begun := false
			run.fail = func(*pass) error { // the second comes while the first is read
				if !begun {
					begun = true
					wg.Go(func() {
						if got := cachedOf(t, e, Request{Prompt: tt.second, MaxTokens: tt.tokens}); got != tt.want {
							t.Errorf("the second: got %d cached, want %d", got, tt.want)
						}
					})
					arrived := func() bool {
						e.mu.Lock()
						defer e.mu.Unlock()
						return len(e.arrivals) > 0
					}
					for end := time.Now().Add(20 * time.Second); !arrived() && time.Now().Before(end); {
						time.Sleep(time.Millisecond)
					}
				}
				return nil
			}
			if got := cachedOf(t, e, Request{Prompt: tt.first, MaxTokens: tt.tokens}); got != 0 {
				t.Errorf("the first: got %d cached, want 0", got)
			}
			wg.Wait()
			if s := e.Stats(); s.Preempted == 0 || s.Cached != int64(tt.want) {
				t.Errorf("got %+v, want %d cached and a request that gave its pages away", s, tt.want)
			}
			idle(t, e)
		})
	}
}
