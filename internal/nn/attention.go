package nn

import "github.com/litgpt-go/litgpt/internal/tensor"

// Batch is what one forward pass sees: N tokens in a row, of one sequence or of
// several. It is the only place where training and cached inference differ; the
// model files never ask which one is running.
//
// Its tensors are inputs of the graph, so one compiled graph serves every batch of
// the same size: [Batch.Set] gives the values.
type Batch struct {
	Tokens    *tensor.Tensor // (N) token ids
	Positions *tensor.Tensor // (N) position of each token in its sequence
	Rows      *tensor.Tensor // (N) where in the cache each token's key and value go; nil without a cache
	B, T      int            // without a cache, N = B*T: B sequences of T tokens
	KV        KV             // nil when training
	Routes    []Route        // without a cache: what the layers of experts chose, in their order

	g     *tensor.Graph
	spans map[int]*tensor.Tensor // by window, shared by the layers
	paged *paged                 // nil unless keys and values lie in pages
	ropes map[*LongRoPE]*tensor.RoPE
}

// Attn are the fixed properties of one attention layer.
type Attn struct {
	Layer   int     // index in the KV cache
	Scale   float64 // of the scores, usually 1/sqrt(D)
	Window  int     // how many positions back a query sees, itself included; 0 means all
	Softcap float64 // scores s become Softcap·tanh(s/Softcap); 0 means they stay
}

// KV remembers the keys and values of earlier positions. Package kvcache implements it.
type KV interface {
	// Append stores k and v (N, Hkv, D) in the rows of the batch and returns all
	// keys and values (S, Hkv, D), of which each token sees the span it was given.
	Append(a Attn, rows, k, v *tensor.Tensor) (keys, values *tensor.Tensor)
}

// NewBatch returns a batch without a cache, for B sequences of T tokens, one after
// the other, each at positions 0…T-1.
func NewBatch(g *tensor.Graph, B, T int) *Batch {
	return &Batch{Tokens: g.Ints(B * T), Positions: g.Ints(B * T), B: B, T: T, g: g, spans: map[int]*tensor.Tensor{}}
}

// Set gives the values for the next run of a batch without a cache, after the model's Forward: the tokens (N)
// and the position of the first of each sequence.
func (b *Batch) Set(tokens []int32, start int) {
	n := b.B * b.T
	b.Tokens.SetInts(tokens)
	pos, span := make([]int32, n), make([]int32, 2*n)
	for i := range pos {
		pos[i] = int32(start + i%b.T)
	}
	b.Positions.SetInts(pos)
	b.setRopes(start + b.T)
	for window, spans := range b.spans {
		for i, p := range pos {
			base := int32(i / b.T * b.T) // of the token's sequence among the keys
			span[2*i], span[2*i+1] = base+first(p, window), base+p+1
		}
		spans.SetInts(span)
	}
}

// first is the first of the positions up to p that a token at p sees through a window.
func first(p int32, window int) int32 {
	if window <= 0 {
		return 0
	}
	return max(0, p-int32(window)+1)
}

// Attend is softmax(q·kᵀ·scale)·v for one layer, over the positions that each
// token may see. q is (N, H, D), k and v are (N, Hkv, D) where Hkv divides H; the
// result is (N, H*D).
//
// With a cache, k and v are appended to it and attention covers the history;
// without one, each sequence of the batch attends to itself.
func (b *Batch) Attend(a Attn, q, k, v *tensor.Tensor) *tensor.Tensor {
	if b.KV != nil {
		k, v = b.KV.Append(a, b.Rows, k, v)
	}
	spans := b.spans[a.Window]
	if spans == nil {
		spans = b.g.Ints(b.B*b.T, 2)
		b.spans[a.Window] = spans
	}
	if b.paged != nil {
		return q.PagedAttention(k, v, spans, b.paged.sequences, b.paged.pages, tensor.Attn{Scale: a.Scale, Softcap: a.Softcap, Page: b.paged.page})
	}
	return q.Attention(k, v, spans, tensor.Attn{Scale: a.Scale, Sequences: b.B, Softcap: a.Softcap})
}

// Heads splits the channels of x (N, H*D) into heads: (N, H, D).
func Heads(x *tensor.Tensor, heads int) *tensor.Tensor {
	return x.Reshape(x.Dim(0), heads, x.Dim(1)/heads)
}
