package tensor

import (
	"fmt"
	"math"
	"testing"
)

// span patterns: the rows that query i of n in sequence b (of n) sees, of keys rows.
var patterns = []struct {
	name string
	span func(b, i, n int) (from, to int)
}{
	{"causal", func(b, i, n int) (int, int) { return b * n, b*n + i + 1 }},
	{"full", func(b, i, n int) (int, int) { return b * n, b*n + n }},
	{"window", func(b, i, n int) (int, int) { return b*n + max(0, i-4), b*n + i + 1 }},
	{"packed", func(b, i, n int) (int, int) { return b*n + i/3*3, b*n + i + 1 }}, // documents of 3 tokens
	{"ragged", func(b, i, n int) (int, int) { return b*n + i*7%n, b*n + i*7%n + 1 + (n-1-i*7%n)*(i%2) }},
}

func (b *bench) pattern(k, sequences, n int) *Tensor {
	var v []int32
	for s := range sequences {
		for i := range n {
			from, to := patterns[k].span(s, i, n)
			v = append(v, int32(from), int32(to))
		}
	}
	return b.spans(v)
}

func attentionCases() (cases []opCase) {
	for k := range patterns {
		for _, n := range []int{1, 2, 3, 17, 33, 130} {
			for i, d := range []int{1, 24, 64, 80} {
				if n == 130 && d == 80 {
					continue
				}
				sequences, heads, kv := 1+i%3, []int{1, 4, 6, 2}[i], []int{1, 2, 3, 1}[i]
				a := Attn{Scale: 1 / math.Sqrt(float64(d)), Sequences: sequences}
				if (k+i+n)%2 == 0 {
					a.Softcap = 1.5 // of scores of about 1, which it changes much
				}
				cases = append(cases, opCase{op: OpAttention, build: func(b *bench) {
					b.in(sequences*n, heads, d).Attention(b.in(sequences*n, kv, d), b.in(sequences*n, kv, d), b.pattern(k, sequences, n), a)
				}}, opCase{op: OpAttentionBack, build: func(b *bench) {
					b.in(sequences*n, heads, d).AttentionBackward(b.in(sequences*n, kv, d), b.in(sequences*n, kv, d), b.pattern(k, sequences, n), b.in(sequences*n, heads*d), a)
				}})
			}
		}
	}
	// A cache of 97 rows that is longer than the queries, written and read in one graph; one query of each of 3 sequences, or 5 and 40 of each of 2.
	for _, d := range []DType{F32, F16, BF16, Q8_0} {
		for _, n := range []int{1, 5, 40} {
			cases = append(cases, opCase{op: OpAttention, build: func(b *bench) {
				const rows, kv = 97, 2
				dim := max(24, d.Block())
				sequences := map[bool]int{true: 3, false: 2}[n == 1]
				cache := func() *Tensor {
					ids := b.g.Ints(sequences * n)
					v := make([]int32, sequences*n)
					for i := range v {
						v[i] = int32(i/n*45 + 3 + i%n)
					}
					ids.SetInts(v)
					return b.w(d, rows, kv*dim).SetRows(ids, b.in(sequences*n, kv*dim)).Reshape(rows, kv, dim)
				}
				var spans []int32
				for s := range sequences {
					for i := range n {
						spans = append(spans, int32(s*45), int32(s*45+3+i+1))
					}
				}
				b.in(sequences*n, 6, dim).Attention(cache(), cache(), b.spans(spans), Attn{Scale: 0.2, Sequences: sequences})
				b.in(sequences*n, 6, dim).Attention(cache(), cache(), b.spans(spans), Attn{Scale: 0.2, Sequences: sequences, Softcap: 0.5})
			}})
		}
	}
	// Keys and values that are weights, in every type.
	for _, d := range []DType{F32, F16, BF16, Q8_0} {
		for _, dim := range []int{24, 32, 64, 96, 256} {
			if dim%d.Block() != 0 {
				continue
			}
			cases = append(cases, opCase{op: OpAttention, build: func(b *bench) {
				b.in(7, 4, dim).Attention(b.w(d, 50, 2, dim), b.w(d, 50, 2, dim), b.spans([]int32{0, 50, 49, 50, 0, 1, 3, 35, 16, 32, 15, 33, 1, 49}), Attn{Scale: 0.2, Sequences: 1})
				b.in(1, 4, dim).Attention(b.w(d, 50, 2, dim), b.w(d, 50, 2, dim), b.spans([]int32{7, 41}), Attn{Scale: 0.2, Sequences: 1})
			}})
		}
	}
	return cases
}

// Attention to keys and values in a narrow type is, to the bit, attention to what they are as floats.
func TestAttentionReadsExactly(t *testing.T) {
	for _, d := range []DType{F16, BF16, Q8_0} {
		for _, n := range []int{1, 3, 40} {
			for _, dim := range []int{32, 64, 160} {
				b := newBench(t, open(t, 2))
				k, v, q := b.w(d, 70, 2, dim), b.w(d, 70, 2, dim), b.in(n, 4, dim)
				wideOf := func(w *Tensor) *Tensor { return b.g.Floats(w.shape...).SetFloats(w.Values()) }
				var spans []int32
				for i := range n {
					spans = append(spans, int32(i%7), int32(30+i))
				}
				narrow := q.Attention(k, v, b.spans(spans), Attn{Scale: 0.2, Sequences: 1})
				wide := q.Attention(wideOf(k), wideOf(v), b.spans(spans), Attn{Scale: 0.2, Sequences: 1})
				b.run(narrow, wide)
				equalBits(t, fmt.Sprintf("%v, %d queries of %d", d, n, dim), narrow.Values(), wide.Values())
			}
		}
	}
}

// The fused operation and the product, softmax and product that it stands for give the same.
func TestAttentionUnfused(t *testing.T) {
	for k, p := range patterns {
		for i, n := range []int{1, 17, 70, 70} {
			limit := float64(i % 2 * 2) // the soft cap
			t.Run(fmt.Sprintf("%s/%d/%g", p.name, n, limit), func(t *testing.T) {
				const heads, kv, d = 6, 2, 24
				b := newBench(t, open(t, 2))
				q, keys, values := b.in(n, heads, d), b.in(n, kv, d), b.in(n, kv, d)
				fused := q.Attention(keys, values, b.pattern(k, 1, n), Attn{Scale: 0.25, Sequences: 1, Softcap: limit})
				mask := make([]float32, n*n)
				for i := range n {
					from, to := p.span(0, i, n)
					for j := range n {
						if j < from || j >= to {
							mask[i*n+j] = float32(math.Inf(-1))
						}
					}
				}
				scores := q.Permute(1, 0, 2).MatMulT(keys.Permute(1, 0, 2)) // (H, N, N)
				scores = scores.Scale(0.25)
				if limit != 0 {
					scores = scores.Softcap(limit)
				}
				probs := scores.Softmax(1, b.g.Floats(n, n).SetFloats(mask))
				plain := probs.MatMul(values.Permute(1, 0, 2)).Permute(1, 0, 2).Reshape(n, heads*d)
				b.run(fused, plain)
				near(t, "fused", fused.Values(), wide(plain.Values()), 2e-6)
			})
		}
	}
}

// A query's result does not depend on what else is in the batch's cache, even NaN.
func TestAttentionIgnoresUnseenRows(t *testing.T) {
	for _, n := range []int{1, 9} {
		run := func(fill float32) []float32 {
			b := newBench(t, open(t, 2))
			k, v := b.random(64*24), b.random(64*24)
			for i := range 64 * 24 {
				if r := i / 24; r < 20 || r >= 40 {
					k[i], v[i] = fill, fill
				}
			}
			var spans []int32
			for i := range n {
				spans = append(spans, int32(20+i), 40)
			}
			y := b.in(n, 1, 24).Attention(b.g.Floats(64, 1, 24).SetFloats(k), b.g.Floats(64, 1, 24).SetFloats(v), b.spans(spans), Attn{Scale: 0.2, Sequences: 1})
			b.run(y)
			return y.Values()
		}
		equalBits(t, fmt.Sprintf("%d queries", n), run(float32(math.NaN())), run(0))
	}
}
