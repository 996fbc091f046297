package tensor

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// history is a sequence of a paged batch: n queries at positions from at on.
type history struct{ at, n int }

// pool deals pages out at random to sequences.
type pool struct {
	page, count, width   int
	spans, rows, seqs    []int32
	pages                []int32
	sequences, positions int
}

// deal gives the integers of a batch of the sequences, in tables of random order with rows to spare. window: as of [nn.Attn]; padding tokens see nothing.
func deal(rng *rand.Rand, page, window, padding int, hs ...history) *pool {
	p := &pool{page: page, sequences: len(hs) + 1}
	for _, h := range hs {
		p.width = max(p.width, (h.at+h.n+page-1)/page)
		p.count += (h.at + h.n + page - 1) / page
	}
	p.width, p.count = p.width+1, p.count+2
	free := rng.Perm(p.count - 1)
	p.pages = make([]int32, p.sequences*p.width)
	order := rng.Perm(p.sequences)
	for i, h := range hs {
		r := order[i]
		for j := range (h.at + h.n + page - 1) / page {
			p.pages[r*p.width+j], free = int32(free[0]+1), free[1:]
		}
		for j := range h.n {
			pos := h.at + j
			from := 0
			if window > 0 {
				from = max(0, pos-window+1)
			}
			p.spans = append(p.spans, int32(from), int32(pos+1))
			p.rows = append(p.rows, p.pages[r*p.width+pos/page]*int32(page)+int32(pos%page))
			p.seqs = append(p.seqs, int32(r))
		}
	}
	for range padding {
		p.spans, p.rows, p.seqs = append(p.spans, 0, 0), append(p.rows, 0), append(p.seqs, 0)
	}
	return p
}

// attend is attention of random queries to a pool of random keys and values.
func (p *pool) attend(b *bench, q, k, v *Tensor, a Attn) *Tensor {
	n := len(p.seqs)
	a.Page = p.page
	return q.PagedAttention(k, v, b.spans(p.spans), b.g.Ints(n).SetInts(p.seqs), b.g.Ints(p.sequences, p.width).SetInts(p.pages), a)
}

// pagedCases are sequences of one token, chunks of prompts, both, and padding.
func pagedCases() (cases []opCase) {
	batches := [][]history{
		{{0, 1}}, {{0, 40}}, {{100, 1}}, {{300, 1}}, {{17, 33}}, {{250, 70}},
		{{5, 1}, {100, 1}, {31, 1}, {32, 1}, {63, 1}}, {{3, 7}, {90, 1}, {0, 21}, {63, 1}}, {{200, 3}, {40, 5}, {0, 2}},
	}
	for i, hs := range batches {
		for j, d := range []int{8, 24, 64, 80, 128} {
			heads, kv := []int{1, 4, 9, 6, 8}[(i+j)%5], []int{1, 2, 3, 6, 1}[(i+j)%5]
			page, window := MinPage<<((i+j)%3), []int{0, 20, 1, 64}[(i*5+j)%4]
			dtype := []DType{F32, F16, BF16, Q8_0}[(i+3*j)%4]
			if d%dtype.Block() != 0 {
				dtype = F16
			}
			a := Attn{Scale: 1 / math.Sqrt(float64(d))}
			if (i+j)%2 == 0 {
				a.Softcap = 1.5
			}
			cases = append(cases, opCase{op: OpPagedAttention, build: func(b *bench) {
				p := deal(b.rng, page, window, i%3, hs...)
				k, v := b.w(dtype, p.count*page, kv, d), b.w(dtype, p.count*page, kv, d)
				p.attend(b, b.in(len(p.seqs), heads, d), k, v, a)
			}})
		}
	}
	return cases
}

// Keys and values that a batch writes are seen by it, and what other pages and later rows hold does not matter, even NaN.
func TestPagedAttentionIgnoresUnseenRows(t *testing.T) {
	run := func(fill float32) []float32 {
		const page, kv, d = 16, 2, 24
		b := newBench(t, open(t, 2))
		p := deal(b.rng, page, 0, 2, history{0, 17}, history{0, 1}, history{0, 40})
		cache := func() *Tensor {
			w := b.w(F32, p.count*page, kv*d)
			old := make([]float32, w.Numel())
			for i := range old {
				old[i] = fill
			}
			w.SetValues(old)
			return w.SetRows(b.g.Ints(len(p.rows)).SetInts(p.rows), b.in(len(p.rows), kv*d)).Reshape(p.count*page, kv, d)
		}
		y := p.attend(b, b.in(len(p.seqs), 4, d), cache(), cache(), Attn{Scale: 0.2})
		b.run(y)
		return y.Values()
	}
	got := run(float32(math.NaN()))
	equalBits(t, "with NaN", got, run(0))
	for i, x := range got[len(got)-2*4*24:] {
		if x != 0 {
			t.Fatalf("padding: element %d is %g, want 0", i, x)
		}
	}
}

// Pages in any order give, nearly, what the contiguous cache gives.
func TestPagedAttentionIsAttention(t *testing.T) {
	for _, h := range []history{{0, 1}, {99, 1}, {500, 1}, {0, 64}, {77, 30}} {
		const heads, kv, d, page = 6, 2, 32, 32
		b := newBench(t, open(t, 2))
		p := deal(b.rng, page, 0, 0, h)
		n := h.at + h.n
		keys, values := b.random(n*kv*d), b.random(n*kv*d)
		spread := func(x []float32) *Tensor {
			y := make([]float32, p.count*page*kv*d)
			for i := range n {
				row := int(p.pages[int(p.seqs[0])*p.width+i/page])*page + i%page
				copy(y[row*kv*d:], x[i*kv*d:(i+1)*kv*d])
			}
			return b.g.Floats(p.count*page, kv, d).SetFloats(y)
		}
		q := b.in(h.n, heads, d)
		got := p.attend(b, q, spread(keys), spread(values), Attn{Scale: 0.2})
		want := q.Attention(b.g.Floats(n, kv, d).SetFloats(keys), b.g.Floats(n, kv, d).SetFloats(values), b.spans(p.spans), Attn{Scale: 0.2, Sequences: 1})
		b.run(got, want)
		near(t, fmt.Sprint(h), got.Values(), wide(want.Values()), 2e-6)
	}
}

// Integers that would lead C beyond the end of memory are found before it runs.
func TestPagedAttentionChecks(t *testing.T) {
	for _, c := range []struct {
		name                   string
		spans, sequence, pages []int32
		ok                     bool
	}{
		{"right", []int32{0, 20}, []int32{1}, []int32{0, 0, 2, 1}, true},
		{"empty", []int32{5, 5}, []int32{0}, []int32{0, 0, 2, 1}, true},
		{"sequence", []int32{0, 20}, []int32{2}, []int32{0, 0, 2, 1}, false},
		{"negative sequence", []int32{0, 20}, []int32{-1}, []int32{0, 0, 2, 1}, false},
		{"beyond the table", []int32{0, 33}, []int32{1}, []int32{0, 0, 2, 1}, false},
		{"backwards", []int32{3, 2}, []int32{1}, []int32{0, 0, 2, 1}, false},
		{"before the start", []int32{-1, 2}, []int32{1}, []int32{0, 0, 2, 1}, false},
		{"page", []int32{0, 20}, []int32{1}, []int32{0, 0, 3, 1}, false},
		{"negative page", []int32{0, 20}, []int32{1}, []int32{0, 0, 2, -1}, false},
	} {
		b := newBench(t, open(t, 1))
		k := b.w(F32, 3*16, 1, 8)
		y := b.in(1, 2, 8).PagedAttention(k, k, b.spans(c.spans), b.g.Ints(1).SetInts(c.sequence), b.g.Ints(2, 2).SetInts(c.pages), Attn{Scale: 1, Page: 16})
		p, err := b.g.Compile(b.dev, y)
		if err != nil {
			t.Fatal(err)
		}
		err = p.Run()
		p.Close()
		var e *Error
		if c.ok && err != nil || !c.ok && !errors.As(err, &e) {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
}

func (b *bench) pagedAttention(q, k, spans, sequences, pages []int, page int) {
	b.in(q...).PagedAttention(b.in(k...), b.in(k...), b.g.Ints(spans...), b.g.Ints(sequences...), b.g.Ints(pages...), Attn{Scale: 1, Page: page})
}
