package nn

import "github.com/litgpt-go/litgpt/internal/tensor"

// PagedKV is a [KV] whose rows are a pool of pages, which sequences share. The first page belongs to none.
type PagedKV interface {
	KV
	Page() int // rows of a page
}

// paged is where a batch's sequences have their keys and values.
type paged struct {
	sequences *tensor.Tensor // (N) row of pages that each token's sequence has
	pages     *tensor.Tensor // (R, M) physical page of each logical one
	page      int            // rows of a page
}

// NewPagedBatch returns a batch of n tokens of up to rows sequences, whose histories
// are in the pages of kv, up to width of them for each. [Batch.SetPaged] gives the values.
func NewPagedBatch(g *tensor.Graph, n, rows, width int, kv PagedKV) *Batch {
	b := NewBatch(g, 1, n)
	b.Rows, b.KV = g.Ints(n), kv
	b.paged = &paged{g.Ints(n), g.Ints(rows, width), kv.Page()}
	return b
}

// SetPaged gives the values for the next run of a paged batch, after the model's
// Forward: the tokens (N) with their positions in their sequences (N); the row of the cache
// where each token's keys and values go (N); the row of pages that each token's sequence has (N);
// and the tables of pages (R, M), of which those that no token sees may be any, such as 0.
// Tokens of a sequence stand together, in their order. Tokens that go to a row of page 0 are
// padding, which sees nothing and is not seen. length is that of the longest
// sequence there will be; only [LongRoPE] asks for it.
func (b *Batch) SetPaged(tokens, positions, rows, sequences, pages []int32, length int) {
	b.Tokens.SetInts(tokens)
	b.Positions.SetInts(positions)
	b.Rows.SetInts(rows)
	b.paged.sequences.SetInts(sequences)
	b.paged.pages.SetInts(pages)
	b.setRopes(length)
	for window, spans := range b.spans {
		span := make([]int32, 2*len(positions))
		for i, p := range positions {
			if int(rows[i]) >= b.paged.page {
				span[2*i], span[2*i+1] = first(p, window), p+1
			}
		}
		spans.SetInts(span)
	}
}
