package kvcache

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// store is a cache whose keys and values are the tokens themselves.
type store struct {
	*Pages
	rows []int32
}

func newStore(pages int) *store {
	s := &store{rows: make([]int32, (pages+1)*Page)}
	s.Pages = NewPages(pages+1, func(from, to int32, n int) {
		copy(s.rows[to*Page:], s.rows[from*Page:int(from)*Page+n])
	})
	return s
}

// write stores the tokens that follow those of q.
func (s *store) write(t *testing.T, q *Sequence, tokens ...int32) bool {
	t.Helper()
	if !q.Reserve(q.Len + len(tokens)) {
		return false
	}
	for i, id := range tokens {
		s.rows[q.Row(q.Len+i)] = id
	}
	q.Commit(tokens)
	return true
}

// holds fails unless the pages of q hold the beginning of tokens, from position from on.
func (s *store) holds(t *testing.T, q *Sequence, tokens []int32, from int) {
	t.Helper()
	for i := from; i < q.Len; i++ {
		if got := s.rows[q.Row(i)]; got != tokens[i] {
			t.Fatalf("position %d of %d holds %d, want %d", i, q.Len, got, tokens[i])
		}
	}
}

// check fails unless the account agrees with what the sequences have.
func (s *store) check(t *testing.T, live []*Sequence) {
	t.Helper()
	refs := make([]int, len(s.all))
	for _, q := range live {
		for _, i := range q.Table {
			if i != 0 {
				refs[i]++
			}
		}
	}
	used, state := 0, make([]string, len(s.all))
	for i := range s.all {
		if s.all[i].refs != refs[i] {
			t.Fatalf("page %d has %d references, want %d", i, s.all[i].refs, refs[i])
		}
		if refs[i] > 0 {
			used++
			state[i] = "used"
		}
	}
	mark := func(i int32, as string) {
		if state[i] != "" || i == 0 {
			t.Fatalf("page %d is %s, and %s too", i, as, state[i])
		}
		state[i] = as
	}
	for _, i := range s.free {
		mark(i, "free")
		if s.all[i].node != 0 {
			t.Fatalf("page %d is free and in the tree", i)
		}
	}
	n, last := 0, int32(0)
	for i := s.oldest; i != 0; i = s.all[i].next {
		mark(i, "idle")
		if s.all[i].prev != last || s.all[i].node == 0 {
			t.Fatalf("idle page %d comes after %d, not %d, node %d", i, last, s.all[i].prev, s.all[i].node)
		}
		n, last = n+1, i
	}
	if n != s.idle || last != s.newest || used != s.used || s.Available() != n+len(s.free) {
		t.Fatalf("got %d idle, %d used; want %d and %d", s.idle, s.used, n, used)
	}
	if i := slices.Index(state[1:], ""); i >= 0 {
		t.Fatalf("page %d is lost", i+1)
	}
	children := 0
	for parent, list := range s.children {
		children += len(list)
		for at, i := range list {
			if q := s.all[i]; q.parent != parent || q.at != at || q.node == 0 {
				t.Fatalf("page %d is child %d of %d: %+v", i, at, parent, q)
			}
		}
	}
	for i := range s.all {
		if s.all[i].node != 0 {
			children--
		}
	}
	if children != 0 {
		t.Fatalf("the tree lists %d pages too many", children)
	}
	for _, i := range s.whole {
		if len(s.all[i].tokens) != Page {
			t.Fatalf("page %d is looked up as whole and has %d tokens", i, len(s.all[i].tokens))
		}
	}
}

func text(n int, salt int32) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(i)*7 + salt
	}
	return ids
}

func TestPrefixes(t *testing.T) {
	s := newStore(20)
	root, other := int64(-1), int64(-2)
	all := text(100, 0)
	a := s.Begin(root, all)
	if a.Len != 0 || !s.write(t, a, all...) {
		t.Fatalf("a new sequence begins with %d", a.Len)
	}
	s.check(t, []*Sequence{a})
	b := s.Begin(root, all) // three whole pages, shared; the rest is the first one's own yet
	if b.Len != 96 || s.Used() != 4 {
		t.Errorf("got %d positions, %d pages used; want 96 and 4", b.Len, s.Used())
	}
	a.Release()
	s.check(t, []*Sequence{b})
	for _, tt := range []struct {
		name   string
		root   int64
		tokens []int32
		len    int
		used   int
	}{
		{"of another root", other, all, 0, 3},
		{"the whole text goes on in its last page", root, append(slices.Clone(all), 1, 2, 3), 100, 4},
		{"a part of a shared page is copied", root, all[:80], 80, 4},
		{"another end", root, append(slices.Clone(all[:50]), 9, 9, 9), 50, 4},
		{"too little to be worth a copy", root, append(slices.Clone(all[:66]), 9, 9), 64, 3},
		{"another beginning", root, text(40, 1), 0, 3},
		{"nothing", root, nil, 0, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := s.Begin(tt.root, tt.tokens)
			if q.Len != tt.len || s.Used() != tt.used {
				t.Errorf("got %d positions, %d pages used; want %d and %d", q.Len, s.Used(), tt.len, tt.used)
			}
			s.holds(t, q, tt.tokens, 0)
			s.check(t, []*Sequence{b, q})
			q.Release()
			s.check(t, []*Sequence{b})
		})
	}
	if pages, idle := s.Match(root, all); pages != 3 || idle != 0 {
		t.Errorf("got %d pages, %d idle; want 3 and none", pages, idle)
	}
	b.Release()
	if pages, idle := s.Match(root, all); pages != 3 || idle != 3 || s.Used() != 0 {
		t.Errorf("got %d pages, %d idle; want 3 and 3", pages, idle)
	}
	s.Forget(root)
	s.check(t, nil)
	if q := s.Begin(root, all); q.Len != 0 || len(s.free) != 20 {
		t.Errorf("after Forget %d positions are known, %d pages free", q.Len, len(s.free))
	}
}

// The same text read twice at once is stored once in the end, and one that is behind takes what is there.
func TestSameTextTwice(t *testing.T) {
	s := newStore(20)
	root, all := int64(-1), text(96, 0)
	a, b, c := s.Begin(root, all), s.Begin(root, all), s.Begin(root, all)
	c.Reserve(96)
	s.write(t, a, all[:70]...)
	s.write(t, b, all[:40]...)
	if a.Table[0] != b.Table[0] || a.Table[1] == b.Table[1] || s.Used() != 3+1+3 {
		t.Errorf("tables %v and %v, %d pages used", a.Table, b.Table, s.Used())
	}
	if n := c.Follow(all); n != 64 || c.Len != 64 || s.Used() != 3+1+1 {
		t.Errorf("followed %d positions to %d, %d pages used", n, c.Len, s.Used())
	}
	s.write(t, b, all[40:70]...)
	for _, q := range []*Sequence{a, b, c} {
		s.holds(t, q, all, 0)
	}
	s.check(t, []*Sequence{a, b, c})
	a.Release()
	b.Release()
	if s.idle != 1 { // of the two unfinished pages with the same contents one is kept
		t.Errorf("%d idle pages, want 1", s.idle)
	}
	c.Release()
	s.check(t, nil)
}

// Pages before a window are given back while the sequence goes on.
func TestDrop(t *testing.T) {
	s := newStore(4)
	root, all := int64(-1), text(400, 0)
	q := s.Begin(root, all)
	for i, id := range all {
		q.Drop(i - 40)
		if !s.write(t, q, id) {
			t.Fatalf("no page for position %d: %d used", i, s.Used())
		}
		s.holds(t, q, all, max(0, i-40))
		s.check(t, []*Sequence{q})
	}
	q.Release()
	s.check(t, nil)
}

// TestRandomSchedules does what an engine does in any order, and compares account and contents after each step.
func TestRandomSchedules(t *testing.T) {
	for seed := range uint64(15) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			s := newStore(8 + r.IntN(60))
			roots := []int64{-1, -2}
			type user struct {
				*Sequence
				tokens []int32 // stored or not
				seen   int     // positions before it are not seen any more
			}
			var live []*user
			sequences := func() (all []*Sequence) {
				for _, u := range live {
					all = append(all, u.Sequence)
				}
				return all
			}
			shared, stored := 0, 0
			for range 1500 {
				switch k := r.IntN(20); {
				case k < 4 || len(live) == 0: // texts of a few beginnings
					var tokens []int32
					for range r.IntN(5) {
						tokens = append(tokens, text(1+r.IntN(50), int32(r.IntN(2)))...)
					}
					u := &user{s.Begin(roots[r.IntN(2)], tokens), tokens, 0}
					shared += u.Len
					live = append(live, u)
				case k < 7:
					i := r.IntN(len(live))
					live[i].Release()
					live = slices.Delete(live, i, i+1)
				case k == 7:
					u := live[r.IntN(len(live))]
					u.Follow(u.tokens)
				case k == 8:
					u := live[r.IntN(len(live))]
					u.seen = max(u.seen, r.IntN(u.Len+1))
					u.Drop(u.seen)
				case k == 9 && r.IntN(20) == 0:
					i := r.IntN(2)
					s.Forget(roots[i])
				case k == 10 && r.IntN(20) == 0:
					s.rows = append(s.rows, make([]int32, 3*Page)...)
					s.grow(len(s.all) + 3)
				default:
					u := live[r.IntN(len(live))]
					n := 1 + r.IntN(40)
					for len(u.tokens) < u.Len+n {
						u.tokens = append(u.tokens, int32(r.IntN(2)))
					}
					if s.write(t, u.Sequence, u.tokens[u.Len:u.Len+n]...) {
						stored += n
					}
				}
				s.check(t, sequences())
				for _, u := range live {
					s.holds(t, u.Sequence, u.tokens, (u.seen+Page-1)/Page*Page)
				}
			}
			if stored < 1000 || shared == 0 {
				t.Errorf("%d positions stored, %d shared: the test tests little", stored, shared)
			}
			for _, u := range live {
				u.Release()
			}
			s.check(t, nil)
		})
	}
}
