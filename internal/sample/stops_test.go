package sample

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func run(s *Stops, stream []int32) (out []int32, done bool) {
	for _, id := range stream {
		emit, end := s.Push(id)
		out = append(out, emit...)
		if end {
			return out, true
		}
	}
	return append(out, s.Flush()...), false
}

func TestStops(t *testing.T) {
	for _, c := range []struct {
		name   string
		stream []int32
		stops  [][]int32
		want   []int32
		done   bool
	}{
		// LitGPT's vectors for chat.generate.
		{"none", []int32{1, 1, 1, 1, 1, 1, 1, 1}, nil, []int32{1, 1, 1, 1, 1, 1, 1, 1}, false},
		{"one token", []int32{1, 2, 3, 0}, [][]int32{{0}}, []int32{1, 2, 3}, true},
		{"whole stream", []int32{1, 2, 3, 0}, [][]int32{{9}, {2, 4}, {1, 2, 3, 0}}, nil, true},
		{"shorter first", []int32{1, 2, 3, 0, 0}, [][]int32{{0, 0, 0}, {0, 0}}, []int32{1, 2, 3}, true},
		{"first token", []int32{3, 1, 2}, [][]int32{{1, 2}, {3}}, nil, true},
		{"no match", []int32{1, 2, 3, 0, 3, 2, 1, 0}, [][]int32{{4, 3, 2, 1}, {2, 4}}, []int32{1, 2, 3, 0, 3, 2, 1, 0}, false},
		// LitGPT's counters go back to zero at a mismatch and miss these.
		{"overlaps itself", []int32{1, 1, 1, 2, 5}, [][]int32{{1, 1, 2}}, []int32{1}, true},
		{"overlaps itself twice", []int32{7, 1, 2, 1, 2, 1, 3, 9}, [][]int32{{1, 2, 1, 3}}, []int32{7, 1, 2}, true},
		{"goes over to another", []int32{1, 2, 3, 9, 8}, [][]int32{{1, 2, 3, 4}, {3, 9}}, []int32{1, 2}, true},
		{"one inside another", []int32{5, 1, 2, 3}, [][]int32{{1, 2, 3}, {2}}, []int32{5, 1}, true},
		{"longest of two that end together", []int32{5, 1, 2}, [][]int32{{2}, {1, 2}}, []int32{5}, true},
		{"withheld at the end", []int32{5, 1, 2}, [][]int32{{1, 2, 3}}, []int32{5, 1, 2}, false},
		{"empty sequences", []int32{5, 1}, [][]int32{{}, nil}, []int32{5, 1}, false},
	} {
		s := NewStops(c.stops)
		for round := range 2 { // Flush makes it new
			got, done := run(s, c.stream)
			if !slices.Equal(got, c.want) || done != c.done {
				t.Errorf("%s, round %d: got %v done %v, want %v done %v", c.name, round, got, done, c.want, c.done)
			}
			if emit, again := s.Push(1); done && (len(emit) > 0 || !again) {
				t.Errorf("%s: Push after the end gave %v, %v", c.name, emit, again)
			}
			s.Flush()
		}
	}
}

// Random streams over three tokens against the definition: emitted is everything before the earliest ending of a stop
// sequence, and nothing is withheld that cannot become part of one.
func TestStopsAgainstDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	random := func(n int) []int32 {
		ids := make([]int32, n)
		for i := range ids {
			ids[i] = int32(r.IntN(3))
		}
		return ids
	}
	for range 5000 {
		stops := make([][]int32, 1+r.IntN(3))
		for i := range stops {
			stops[i] = random(1 + r.IntN(5))
		}
		s, stream := NewStops(stops), random(12)
		emitted := 0
		for end := 1; end <= len(stream); end++ {
			seen := stream[:end]
			longest, partial := 0, 0
			for _, stop := range stops {
				for n := 1; n <= min(len(stop), end); n++ {
					if slices.Equal(seen[end-n:], stop[:n]) {
						partial = max(partial, n)
						if n == len(stop) {
							longest = max(longest, n)
						}
					}
				}
			}
			want := end - partial
			if longest > 0 {
				want = end - longest
			}
			emit, done := s.Push(stream[end-1])
			if !slices.Equal(emit, stream[emitted:want]) || done != (longest > 0) {
				t.Fatalf("stops %v, after %v: got %v done %v, want %v done %v", stops, seen, emit, done, stream[emitted:want], longest > 0)
			}
			emitted = want
			if done {
				break
			}
		}
	}
}

func BenchmarkStops(b *testing.B) {
	s := NewStops([][]int32{{2}, {13, 14, 15}, {13, 13, 16}})
	b.ReportAllocs()
	i := int32(0)
	for b.Loop() {
		s.Push(10 + i%5)
		i++
	}
}
