package tensor

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
)

// history is a sequence of a paged batch: n queries at positions from at on.
type history struct{ at, n int }

// pool deals pages out at random to sequences.
type pool struct {
	page, count, width int
	spans, rows, seqs  []int32
	pages              []int32
	sequences          int
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

// What a query gets does not depend on what else is in the batch, on how its sequence was cut into batches, or on the threads, to the bit.
func TestPagedAttentionIsInvariant(t *testing.T) {
	devices := []*Device{open(t, 1), open(t, 2), open(t, 3)}
	for _, c := range []struct {
		dtype            DType
		heads, kv, d     int
		window           int
		softcap          float64
		page, batchPages int
	}{{F32, 6, 2, 64, 0, 0, 32, 0}, {F16, 9, 3, 64, 0, 0, 16, 0}, {BF16, 4, 1, 24, 100, 2, 64, 0}, {Q8_0, 8, 8, 32, 0, 5, 32, 0}, {F16, 12, 1, 128, 300, 0, 128, 0}} {
		const n = 420
		rng := rand.New(rand.NewPCG(5, 6))
		random := func(n int) []float32 {
			v := make([]float32, n)
			for i := range v {
				v[i] = float32(rng.NormFloat64())
			}
			return v
		}
		qs, other := random(n*c.heads*c.d), random(64*c.heads*c.d)
		whole := deal(rng, c.page, c.window, 0, history{0, n}, history{0, 390}, history{0, 130})
		rows := whole.count * c.page
		keys, values := random(rows*c.kv*c.d), random(rows*c.kv*c.d)
		var want []float32
		run := func(dev *Device, at, count, company int, compare bool) {
			b := newBench(t, dev)
			b.g.Invariant = true
			k, v := b.w(c.dtype, rows, c.kv, c.d), b.w(c.dtype, rows, c.kv, c.d)
			k.SetValues(keys)
			v.SetValues(values)
			p := &pool{page: c.page, sequences: whole.sequences, width: whole.width, pages: whole.pages}
			q := qs[at*c.heads*c.d : (at+count)*c.heads*c.d]
			p.spans, p.seqs = append(p.spans, whole.spans[2*at:2*(at+count)]...), append(p.seqs, whole.seqs[at:at+count]...)
			for i := range company { // single queries of the other two
				j := n + i*7%390
				p.spans, p.seqs = append(p.spans, whole.spans[2*j:2*j+2]...), append(p.seqs, whole.seqs[j])
			}
			q = append(q[:len(q):len(q)], other[:company*c.heads*c.d]...)
			y := p.attend(b, b.g.Floats(count+company, c.heads, c.d).SetFloats(q), k, v, Attn{Scale: 0.125, Softcap: c.softcap})
			b.run(y)
			got := y.Values()[:count*c.heads*c.d]
			if want == nil {
				want = got
				return
			}
			equalBits(t, fmt.Sprintf("%+v: %d queries at %d with %d others, %d threads", c, count, at, company, dev.Threads), got, want[at*c.heads*c.d:])
		}
		run(devices[0], 0, n, 0, false)
		for i, part := range [][3]int{{0, n, 0}, {0, 1, 0}, {n - 1, 1, 0}, {n - 1, 1, 5}, {n - 1, 1, 64}, {200, 100, 3}, {127, 2, 0}, {128, 1, 1}, {99, 40, 40}, {300, 120, 0}, {256, 3, 64}} {
			for _, dev := range []*Device{devices[0], devices[1+i%2]} {
				run(dev, part[0], part[1], part[2], true)
			}
		}
	}
}

// BenchmarkPagedAttention is attention of SmolLM2's heads: single queries of many sequences, or a chunk of one, beside the contiguous kernel.
func BenchmarkPagedAttention(b *testing.B) {
	const heads, kv, d, page = 9, 3, 64, 32
	for _, c := range []struct{ sequences, positions, n int }{{1, 100, 1}, {1, 1000, 1}, {16, 100, 1}, {16, 1000, 1}, {64, 300, 1}, {1, 0, 256}, {1, 768, 256}} {
		for _, dtype := range []DType{F16, F32, Q8_0} {
			for _, paged := range []bool{false, true} {
				b.Run(fmt.Sprintf("%dx%d+%d/%v/paged=%v", c.sequences, c.positions, c.n, dtype, paged), func(b *testing.B) {
					x := newBench(b, open(b, runtime.GOMAXPROCS(0)))
					hs := make([]history, c.sequences)
					for i := range hs {
						hs[i] = history{c.positions, c.n}
					}
					p := deal(x.rng, page, 0, 0, hs...)
					q, k, v := x.in(c.sequences*c.n, heads, d), x.w(dtype, p.count*page, kv, d), x.w(dtype, p.count*page, kv, d)
					var y *Tensor
					for range 30 { // layers
						if paged {
							y = p.attend(x, q, k, v, Attn{Scale: 0.125})
						} else {
							spans := slices.Clone(p.spans)
							for i := range c.sequences * c.n {
								spans[2*i] += int32(i / c.n * (c.positions + c.n))
								spans[2*i+1] += int32(i / c.n * (c.positions + c.n))
							}
							y = q.Attention(k, v, x.spans(spans), Attn{Scale: 0.125, Sequences: c.sequences})
						}
						q = y.Reshape(c.sequences*c.n, heads, d)
					}
					prog := x.run(y)
					b.ResetTimer()
					for range b.N {
						if err := prog.Run(); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}
