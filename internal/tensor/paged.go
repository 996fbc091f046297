package tensor

import (
	"fmt"
	"math/bits"
	"slices"
)

// Bounds of [Attn].Page: that of one page must be worth unpacking, and fit a core's nearest cache.
const (
	MinPage = 16
	MaxPage = 256
)

// PagedAttention is softmax(scale·t·kᵀ)·v per head for the queries t (N, H, D) of
// several sequences, whose keys and values lie in the pages of a pool: k and v (S, Hkv, D)
// are S/a.Page pages of a.Page rows. The result is (N, H·D).
//
// Query i belongs to the sequence whose pages are row sequences[i] of pages (R, M) and
// sees its positions [spans[i][0], spans[i][1]), none where that is empty: the result is 0
// then. Position p lies in row pages[r][p/a.Page]·a.Page + p%a.Page of k and v. sequences is
// (N), spans (N, 2); all three are inputs. Queries of a sequence stand together, in the order
// of their positions. a.Sequences is not used.
func (t *Tensor) PagedAttention(k, v, spans, sequences, pages *Tensor, a Attn) *Tensor {
	const op = OpPagedAttention
	wantFloats(op, t)
	wantStored(op, k)
	wantStored(op, v)
	same(op, k, v)
	if len(t.shape) != 3 || len(k.shape) != 3 || k.Dim(2) != t.Dim(2) || t.Dim(1)%k.Dim(1) != 0 {
		fail(op, "queries %v, keys %v", t.shape, k.shape)
	}
	if a.Page < MinPage || a.Page > MaxPage || bits.OnesCount(uint(a.Page)) != 1 || k.shape[0]%a.Page != 0 {
		fail(op, "pages of %d rows in a pool of %d: a power of two from %d to %d that divides it wanted", a.Page, k.shape[0], MinPage, MaxPage)
	}
	for _, x := range []*Tensor{spans, sequences, pages} {
		wantInts(op, x)
		if !x.IsInput() {
			fail(op, "operand of shape %v is no input", x.shape)
		}
	}
	n := t.shape[0]
	if !slices.Equal(spans.shape, []int{n, 2}) || !slices.Equal(sequences.shape, []int{n}) || len(pages.shape) != 2 {
		fail(op, "spans %v, sequences %v and pages %v for %d queries", spans.shape, sequences.shape, pages.shape, n)
	}
	if a.Softcap != 0 {
		wantCap(op, a.Softcap)
	}
	a.Sequences = 0
	return node(op, a, []int{n, t.shape[1] * t.shape[2]}, t, k, v, spans, sequences, pages)
}

// checkPaged checks the integers of a [Tensor.PagedAttention] against the pool and the tables.
func checkPaged(t *Tensor) error {
	wrong := func(format string, a ...any) error { return &Error{t.Op, fmt.Sprintf(format, a...)} }
	spans, sequences, pages := t.Src[3].ids, t.Src[4].ids, t.Src[5]
	page := t.Attr.(Attn).Page
	limit := pages.shape[1] * page
	for i, r := range sequences {
		if r < 0 || int(r) >= pages.shape[0] {
			return wrong("query %d is of sequence %d of %d", i, r, pages.shape[0])
		}
		if a, b := spans[2*i], spans[2*i+1]; a < 0 || a > b || int(b) > limit {
			return wrong("query %d sees positions %d to %d of %d", i, a, b, limit)
		}
	}
	count := t.Src[1].shape[0] / page
	for i, p := range pages.ids {
		if p < 0 || int(p) >= count {
			return wrong("page %d of sequence %d is %d of %d", i%pages.shape[1], i/pages.shape[1], p, count)
		}
	}
	return nil
}
