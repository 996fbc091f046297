package data

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
)

// numbered is a set of n samples of two tokens; the first is the number.
func numbered(n int, dropLast bool) *Set {
	f := &tokenized{}
	for i := range n {
		f.tokens = append(f.tokens, int32(i), 1000)
		f.ends = append(f.ends, len(f.tokens))
		f.prompts, f.full = append(f.prompts, 1), append(f.full, 2)
	}
	return &Set{examples: &samples{file: f, index: upTo(n)}, dropLast: dropLast}
}

func TestLoaderEpochs(t *testing.T) {
	for _, c := range []struct {
		n, batch int
		drop     bool
		per      int
		sizes    []int // of the batches of an epoch
	}{
		{10, 4, false, 3, []int{4, 4, 2}},
		{10, 4, true, 2, []int{4, 4}},
		{8, 4, true, 2, []int{4, 4}},
		{3, 4, true, 1, []int{3}},
		{3, 4, false, 1, []int{3}},
		{1, 1, false, 1, []int{1}},
		{2, 0, false, 2, []int{1, 1}}, // a batch has at least one
	} {
		for _, shuffle := range []bool{false, true} {
			name := fmt.Sprintf("%+v, shuffle %v", c, shuffle)
			l := NewLoader(numbered(c.n, c.drop), c.batch, 42, shuffle, 0)
			equal(t, name+": batches per epoch", l.PerEpoch(), c.per)
			for epoch := range 3 {
				var seen []int32
				for i, size := range c.sizes {
					equal(t, name+": epoch", l.Epoch(), epoch)
					equal(t, name+": state", l.State(), State{epoch, i})
					b := l.Next()
					equal(t, name+": batch size", b.B, size)
					seen = append(seen, b.Tokens...)
				}
				if !shuffle && !slices.IsSorted(seen) {
					t.Errorf("%s: got order %v, want it sorted", name, seen)
				}
				slices.Sort(seen)
				if len(slices.Compact(seen)) != len(seen) || (!c.drop && len(seen) != c.n) {
					t.Errorf("%s: epoch %d dealt out %v, want every sample at most once", name, epoch, seen)
				}
			}
		}
	}
}

// take gives the tokens of the next n batches.
func take(l *Loader, n int) (batches [][]int32) {
	for range n {
		batches = append(batches, l.Next().Tokens)
	}
	return batches
}

func TestLoaderOrder(t *testing.T) {
	s := numbered(50, false)
	a := take(NewLoader(s, 50, 1, true, 0), 2)
	equal(t, "the same seed", take(NewLoader(s, 50, 1, true, 0), 2), a)
	if slices.Equal(a[0], a[1]) {
		t.Error("two epochs have the same order")
	}
	if b := take(NewLoader(s, 50, 2, true, 0), 2); slices.Equal(a[0], b[0]) || slices.Equal(a[1], b[0]) {
		t.Error("two seeds have the same order")
	}
	if slices.IsSorted(a[0]) {
		t.Error("a shuffled epoch is in order")
	}
}

// A run that is stopped anywhere and goes on sees the batches it would have seen.
func TestLoaderRestore(t *testing.T) {
	for _, drop := range []bool{false, true} {
		for _, shuffle := range []bool{false, true} {
			s := numbered(11, drop)
			all := take(NewLoader(s, 3, 7, shuffle, 0), 14)
			for stop := range len(all) {
				first := NewLoader(s, 3, 7, shuffle, 0)
				take(first, stop)
				saved, err := json.Marshal(first.State())
				if err != nil {
					t.Fatal(err)
				}
				var state State
				if err := json.Unmarshal(saved, &state); err != nil {
					t.Fatal(err)
				}
				second := NewLoader(s, 3, 7, shuffle, 0)
				take(second, 5) // what it did before does not matter
				if err := second.Restore(state); err != nil {
					t.Fatal(err)
				}
				equal(t, fmt.Sprintf("drop %v, shuffle %v, stopped after %d: batches", drop, shuffle, stop), take(second, len(all)-stop), all[stop:])
			}
		}
	}
	l := NewLoader(numbered(11, true), 3, 7, true, 0)
	take(l, 2)
	before := l.State()
	for _, s := range []State{{-1, 0}, {0, -1}, {0, 3}, {5, 1 << 40}} {
		wantError(t, l.Restore(s), fmt.Sprintf("epoch %d, batch %d does not exist: an epoch has 3 batches of 3", s.Epoch, s.Index))
	}
	equal(t, "state after refused ones", l.State(), before)
	if got, _ := json.Marshal(State{2, 5}); string(got) != `{"epoch":2,"index":5}` {
		t.Errorf("got %s", got)
	}
}

func BenchmarkNext(b *testing.B) {
	for _, shuffle := range []bool{false, true} {
		b.Run(fmt.Sprintf("shuffle=%v", shuffle), func(b *testing.B) {
			raw := make([]byte, 2*513*20000)
			s := &Set{examples: &windows{t: newTokens(raw, 2, nil), width: 513, n: 20000}, dropLast: true}
			l := NewLoader(s, 8, 1, shuffle, 0)
			b.SetBytes(8 * 513 * 2)
			b.ReportAllocs()
			for b.Loop() {
				l.Next()
			}
		})
	}
}
