package train

import (
	"fmt"
	"slices"

	"github.com/litgpt-go/litgpt/internal/autograd"
	"github.com/litgpt-go/litgpt/internal/data"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/optim"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/models"
)

// In the comments N is the tokens of a micro-batch, C the hidden size, V the vocabulary, R the rows of a chunk.

// graphs runs micro-batches. A compiled graph serves every batch of its shape.
type graphs struct {
	dev       *tensor.Device
	model     models.Model
	params    []*optim.Param
	loss      *tensor.Tensor // (2) of the optimizer, which micro-batches add to; nil without gradients
	recompute bool
	balance   float64 // weight of the loss that balances the load of experts; 0: none

	arena *tensor.Arena // scratch memory of all graphs, of which one runs at a time
	cache map[shape]*graph
	order []shape // least recently used first
}

// shape is what a graph is compiled for.
type shape struct {
	B, T   int
	chunks int  // of rows that count
	train  bool // with gradients
}

// graph is one compiled micro-batch: the trunk over all tokens, then the head and
// the loss over the rows that count, a chunk at a time, so that the scores of all
// rows are never held together. With gradients, a chunk's backward pass follows
// its forward pass at once, and the trunk's comes last.
type graph struct {
	p      *tensor.Program
	batch  *nn.Batch
	chunks []lossChunk
	beta   *tensor.Tensor // of the first addition to the loss and to each gradient: 0 starts a step
	seed   *tensor.Tensor
	load   *balance // nil without that loss
}

type lossChunk struct {
	in      *tensor.Tensor // (R) rows of the hidden states
	out     *tensor.Tensor // (R) rows of their gradient; those beyond the count go to row N, which nobody reads
	targets *tensor.Tensor // (R)
	weights *tensor.Tensor // (R) derivative of the loss by each row's; nil without gradients
	nll     *tensor.Tensor // (R)
}

// chunkRows bounds the scores held at once to 32 MiB, in whole tiles.
func chunkRows(n, vocab int) int {
	return min(n, max(48, 8<<20/vocab/48*48))
}

// counted are the rows that take part in the loss.
func counted(b data.Batch) (rows []int) {
	for i, t := range b.Targets {
		if t >= 0 {
			rows = append(rows, i)
		}
	}
	return rows
}

// run computes the negative log-likelihood of each counted row of b. When weight >
// 0 it adds weight times it to the loss, and weight times its gradient to those of
// the parameters; first overwrites them. It does not wait for the device then.
func (s *graphs) run(b data.Batch, weight float32, first bool, seed [2]int32) (*graph, error) {
	rows := counted(b)
	if len(rows) == 0 {
		return nil, fmt.Errorf("no token of the batch counts for the loss")
	}
	R := chunkRows(b.B*b.T, s.model.Dims().Vocab)
	g, err := s.get(shape{b.B, b.T, (len(rows) + R - 1) / R, weight > 0})
	if err != nil {
		return nil, err
	}
	g.batch.Set(b.Tokens, 0)
	for i, c := range g.chunks {
		in, out, targets, weights := make([]int32, R), make([]int32, R), make([]int32, R), make([]float32, R)
		for j := range R {
			if k := i*R + j; k < len(rows) {
				in[j], out[j], targets[j], weights[j] = int32(rows[k]), int32(rows[k]), b.Targets[rows[k]], weight
			} else {
				out[j], targets[j] = int32(b.B*b.T), tensor.Ignore
			}
		}
		c.in.SetInts(in)
		c.targets.SetInts(targets)
		if weight > 0 {
			c.out.SetInts(out)
			c.weights.SetFloats(weights)
		}
	}
	if weight > 0 {
		beta := float32(1)
		if first {
			beta = 0
		}
		g.beta.SetFloats([]float32{beta})
		g.seed.SetInts(seed[:])
		if g.load != nil {
			g.load.set(b, s.balance*float64(weight)*float64(len(rows)))
		}
	}
	return g, g.p.Run()
}

// nll waits for g's negative log-likelihoods of the n counted rows of the last run, in their order.
func (s *graphs) nll(g *graph, n int) (nll []float32, err error) {
	for _, c := range g.chunks {
		nll = append(nll, c.nll.Values()...)
	}
	return nll[:n], s.dev.Wait()
}

// keep is how many graphs stay compiled: enough for the lengths of most data,
// few enough that their descriptions, some MB each, do not count.
const keep = 32

// get gives the graph for a shape. Graphs share scratch memory as large as the
// largest needs; one that is larger than all before it closes them.
func (s *graphs) get(k shape) (*graph, error) {
	if i := slices.Index(s.order, k); i >= 0 {
		s.order = slices.Delete(s.order, i, i+1)
		if g := s.cache[k]; !g.p.Closed() {
			s.order = append(s.order, k)
			return g, nil
		}
		delete(s.cache, k)
	}
	if s.arena == nil {
		s.arena, s.cache = s.dev.NewArena(), map[shape]*graph{}
	}
	g, err := s.build(k)
	if err != nil {
		return nil, err
	}
	s.cache[k], s.order = g, append(s.order, k)
	if len(s.order) > keep {
		s.cache[s.order[0]].p.Close()
		delete(s.cache, s.order[0])
		s.order = s.order[1:]
	}
	return g, nil
}

func (s *graphs) close() {
	if s.arena != nil {
		s.arena.Close()
	}
	s.arena, s.cache, s.order = nil, nil, nil
}

func (s *graphs) build(k shape) (out *graph, err error) {
	defer tensor.Catch(&err)
	d := s.model.Dims()
	g := tensor.NewGraph()
	g.Training = k.train
	g.Exact = true // losses are those of the weights, and gradients those of the losses
	N := k.B * k.T
	out = &graph{batch: nn.NewBatch(g, k.B, k.T), seed: g.Seed()}
	h := s.model.Forward(out.batch) // (N, C)

	var results []*tensor.Tensor
	add := accumulator{g: g, params: s.params, started: make([]bool, len(s.params))}
	var dh *tensor.Tensor
	if k.train {
		out.beta = g.Floats(1)
		add.beta, add.one = out.beta, g.Floats(1).SetFloats([]float32{1})
		dh = h.Zeros(N+1, d.Hidden)
	}
	weights := make([]*tensor.Tensor, len(s.params))
	for i, p := range s.params {
		weights[i] = p.Weight
	}
	R := chunkRows(N, d.Vocab)
	for range k.chunks {
		c := lossChunk{in: g.Ints(R), targets: g.Ints(R)}
		hc := h.Rows(c.in)                                 // (R, C)
		c.nll = s.model.Logits(hc).CrossEntropy(c.targets) // (R)
		if !k.train {
			results = append(results, c.nll)
		} else {
			c.out, c.weights = g.Ints(R), g.Floats(R)
			beta := add.one
			if len(out.chunks) == 0 {
				beta = add.beta
			}
			results = append(results, c.nll.AddDot(c.weights, s.loss, beta))
			grads, err := autograd.Gradients([]autograd.Output{{Value: c.nll, Grad: c.weights}},
				append(slices.Clone(weights), hc), autograd.Options{Ready: add.add})
			if err != nil {
				return nil, err
			}
			dh = dh.SetRows(c.out, grads[len(weights)])
		}
		out.chunks = append(out.chunks, c)
	}
	if k.train {
		outs := []autograd.Output{{Value: h, Grad: dh.Part(0, N, d.Hidden)}}
		if s.balance > 0 {
			load, more, result, err := newBalance(g, N, out.batch.Routes, s.loss, add.one)
			if err != nil {
				return nil, err
			}
			out.load, outs, results = load, append(outs, more...), append(results, result)
		}
		_, err := autograd.Gradients(outs, weights,
			autograd.Options{Recompute: s.recompute, Ready: add.add})
		if err != nil {
			return nil, err
		}
		for i, p := range s.params {
			if !add.started[i] {
				return nil, fmt.Errorf("the loss does not depend on %s", p.Name)
			}
		}
		results = append(results, add.results...)
	}
	out.p, err = g.CompileIn(s.arena, results...)
	return out, err
}

// accumulator adds gradients to those of the parameters, in place and in the order of building.
type accumulator struct {
	g         *tensor.Graph
	params    []*optim.Param
	beta, one *tensor.Tensor
	started   []bool
	results   []*tensor.Tensor
}

// add takes the complete gradient of parameter i; that of other nodes is not for it.
func (a *accumulator) add(i int, d *tensor.Tensor) {
	if i >= len(a.params) {
		return
	}
	beta := a.one
	if !a.started[i] {
		a.started[i], beta = true, a.beta
	}
	a.results = append(a.results, d.Accumulate(a.params[i].Grad, beta))
}
