package sample

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// best gives the n candidates that Pick is promised, by a full sort.
func best(logits []float32, n int) (values []float32, ids []int32) {
	all := make([]int32, len(logits))
	for i := range all {
		all[i] = int32(i)
	}
	slices.SortStableFunc(all, func(a, b int32) int {
		x, y := logits[a], logits[b]
		switch {
		case x != x && y != y || x == y:
			return 0
		case x != x || x > y:
			return -1
		}
		return 1
	})
	for _, id := range all[:min(n, len(all))] {
		values, ids = append(values, logits[id]), append(ids, id)
	}
	return values, ids
}

// Drawing from the candidates gives the tokens, and the errors, of drawing from all logits, draw after draw.
func TestPickIsSample(t *testing.T) {
	kinds := []struct {
		name string
		make func(r *rand.Rand, v int) []float32
	}{
		{"normal", func(r *rand.Rand, v int) []float32 {
			return filled(v, func(int) float32 { return float32(r.NormFloat64() * 4) })
		}},
		{"ties", func(r *rand.Rand, v int) []float32 { return filled(v, func(int) float32 { return float32(r.IntN(3)) }) }},
		{"equal", func(r *rand.Rand, v int) []float32 { return filled(v, func(int) float32 { return -7 }) }},
		{"two zeros", func(r *rand.Rand, v int) []float32 {
			zero := float32(0)
			return filled(v, func(int) float32 { return []float32{zero, -zero, -1}[r.IntN(3)] * float32(1-2*r.IntN(2)) })
		}},
		{"mostly masked", func(r *rand.Rand, v int) []float32 {
			return filled(v, func(int) float32 {
				if r.IntN(20) > 0 {
					return -inf
				}
				return float32(r.NormFloat64())
			})
		}},
		{"all masked", func(r *rand.Rand, v int) []float32 { return filled(v, func(int) float32 { return -inf }) }},
		{"a NaN or two", func(r *rand.Rand, v int) []float32 {
			x := filled(v, func(int) float32 { return float32(r.NormFloat64()) })
			x[r.IntN(v)], x[r.IntN(v)] = nan, nan
			return x
		}},
		{"infinite", func(r *rand.Rand, v int) []float32 {
			x := filled(v, func(int) float32 { return float32(r.NormFloat64()) })
			x[r.IntN(v)] = inf
			return x
		}},
	}
	failures := 0
	for _, c := range []Config{
		{}, {Temperature: 1, TopP: 1, TopK: 1}, {Temperature: 1, TopP: 0, TopK: 9}, {Temperature: 0.8, TopP: 1, TopK: 50}, {Temperature: 1.5, TopP: 0.9, TopK: 20},
		{Temperature: 3, TopP: 0.5, TopK: heapLimit}, {Temperature: 1, TopP: 1, TopK: heapLimit + 1}, {Temperature: 2, TopP: 0.99, TopK: MaxCandidates}, {Temperature: 1e-3, TopP: 1, TopK: 3},
	} {
		for _, k := range kinds {
			t.Run(fmt.Sprintf("%+v/%s", c, k.name), func(t *testing.T) {
				r := rand.New(rand.NewPCG(5, uint64(c.TopK)))
				c.Seed = r.Uint64()
				whole, part := New(c), New(c)
				for i := range 40 {
					logits := k.make(r, []int{1, 2, 7, 49, 50, 51, 700, 3000}[i%8])
					want, wantErr := whole.Sample(logits)
					values, ids := best(logits, part.Need())
					got, err := part.Pick(values, ids)
					if got != want || fmt.Sprint(err) != fmt.Sprint(wantErr) {
						t.Fatalf("draw %d of %d logits: got %d, %v, want %d, %v", i, len(logits), got, err, want, wantErr)
					}
					if err != nil {
						failures++
					}
				}
				if a, b := whole.random.Uint64(), part.random.Uint64(); a != b {
					t.Error("the random sources have parted")
				}
			})
		}
	}
	if failures == 0 {
		t.Error("no logits were refused")
	}
}

func filled(v int, value func(i int) float32) []float32 {
	x := make([]float32, v)
	for i := range x {
		x[i] = value(i)
	}
	return x
}

func TestNeed(t *testing.T) {
	for _, c := range []struct {
		config Config
		want   int
	}{
		{Config{}, 1}, {Config{Temperature: 1, TopP: 0, TopK: 50}, 1}, {Config{Temperature: 1, TopP: 1, TopK: 1}, 1}, {Config{Temperature: 0, TopP: 1, TopK: 5000}, 1},
		{Config{Temperature: 1, TopP: 1}, 0}, {Config{Temperature: 1, TopP: 0.9}, 0}, {Config{Temperature: 1, TopP: 1, TopK: -3}, 0},
		{Config{Temperature: 1, TopP: 1, TopK: 50}, 50}, {Config{Temperature: 1, TopP: 1, TopK: MaxCandidates}, MaxCandidates}, {Config{Temperature: 1, TopP: 1, TopK: MaxCandidates + 1}, 0},
	} {
		if got := New(c.config).Need(); got != c.want {
			t.Errorf("%+v: got %d candidates, want %d", c.config, got, c.want)
		}
	}
}

func TestPickRefuses(t *testing.T) {
	for _, c := range []struct {
		config Config
		logits []float32
		ids    []int32
		want   string
	}{
		{Config{}, nil, nil, "logits: empty"},
		{Config{}, []float32{1, 0}, []int32{3, 4}, "at most 1"},
		{Config{Temperature: 1, TopP: 1, TopK: 3}, []float32{1, 0}, []int32{3}, "2 candidates with 1 ids"},
		{Config{Temperature: 1, TopP: 1}, []float32{1}, []int32{3}, "at most 0"},
	} {
		if _, err := New(c.config).Pick(c.logits, c.ids); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: got %v, want %q", c.logits, err, c.want)
		}
	}
}
