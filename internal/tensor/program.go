package tensor

import (
	"fmt"
	"slices"
	"unsafe"

	"github.com/litgpt-go/litgpt/internal/ggml"
)

// Program is a graph compiled for a device: GGML nodes in the order in which the
// graph's were built, and one scratch buffer planned for all of them.
type Program struct {
	Scratch int // bytes of the buffer that holds inputs and intermediates

	dev     *Device
	ctx     *ggml.Context
	graph   *ggml.Graph
	lowered map[*Tensor]ggml.Tensor
	inputs  []*Tensor
	checks  []*Tensor // operations whose integer operands index memory
	weights map[*Tensor]*storage
	cuda    *cudaState // what the lowering for a GPU remembers; nil on the CPU
	round   struct {   // the activations rounded last, see rounded
		of *Tensor
		n  ggml.Tensor
		at int // weights, inputs and operations seen by then
	}
	shared struct { // memory where the threads of an operation exchange results, see partials
		n      ggml.Tensor
		floats int
	}
	stages *stages // on a device that is several: the programs of each, and nothing else here
	arena  *Arena  // that has the scratch memory; nil for its own
	use    Use     // of its own, in the ledger
}

// Compile prepares the computation of outputs, and of nothing they do not need.
// The values of outputs can be read after each run.
func (g *Graph) Compile(dev *Device, outputs ...*Tensor) (p *Program, err error) {
	return g.compile(dev, nil, outputs)
}

// compile is Compile with the scratch memory in an arena, or with its own for nil.
func (g *Graph) compile(dev *Device, arena *Arena, outputs []*Tensor) (p *Program, err error) {
	defer Catch(&err)
	if dev.group != nil { // each stage has scratch memory of its own; the arena knows of the program to close it
		if p, err = g.compileGroup(dev, outputs); err == nil && arena != nil {
			arena.progs, p.arena = append(arena.progs, p), arena
		}
		return p, err
	}
	if dev.dequantized == F32 {
		g.Exact = true
	}
	if g.Invariant && dev.Async() {
		return nil, fmt.Errorf("results that do not depend on what is computed beside them are not to be had on %s, whose products take turns by their size; use the CPU", dev.Name)
	}
	needed := g.needed(outputs)
	// An operation makes up to four GGML nodes (its scratch memory, two operands in
	// another type, itself); weights and inputs are leaves.
	size := 4*len(needed) + 64
	p = &Program{dev: dev, ctx: ggml.NewContext(size, size), lowered: make(map[*Tensor]ggml.Tensor, len(needed)), weights: map[*Tensor]*storage{}}
	defer func() {
		if r := recover(); r != nil {
			p.Close()
			panic(r)
		}
	}()
	p.graph = p.ctx.NewGraph(size)
	for _, t := range g.nodes {
		if !needed[t] {
			continue
		}
		checkOperands(t)
		src := make([]ggml.Tensor, len(t.Src))
		for i, s := range t.Src {
			src[i] = p.operand(s)
		}
		n := dev.lower(p, t, src)
		p.lowered[t] = n
		t.prog = p
		p.graph.Expand(n)
		switch t.Op {
		case OpRows, OpRowsBack, OpSetRows, OpAttention, OpAttentionBack, OpPagedAttention, OpCrossEntropy, OpCrossEntropyBack:
			if !slices.ContainsFunc(p.checks, func(c *Tensor) bool { return sameCheck(c, t) }) {
				p.checks = append(p.checks, t)
			}
		}
	}
	for _, t := range outputs {
		if t.IsInput() { // as the gradient of an output with respect to itself is
			p.graph.Expand(p.operand(t))
		}
		p.lowered[t].SetOutput()
		// The planner keeps an output's memory until the end, but not that of the node an output is a view of.
		for s := t; s.Op == OpReshape || s.Op == OpPart || s.Op == OpSetRows; {
			if s = s.Src[0]; s.IsWeight() {
				break
			}
			p.lowered[s].SetOutput()
		}
	}
	for _, n := range p.graph.Nodes() {
		if !dev.b.Supports(n) { // GGML would quietly compute it on the CPU, or end the process
			p.Close()
			return nil, fmt.Errorf("%s cannot compute %s; this is a bug, please report it", dev.Name, n.What())
		}
	}
	if !p.place(arena) {
		p.Close()
		return nil, fmt.Errorf("not enough memory on %s for the intermediate results of this batch; use a smaller micro batch or shorter sequences", dev.Name)
	}
	return p, nil
}

// needed are outputs and all that they depend on.
func (g *Graph) needed(outputs []*Tensor) map[*Tensor]bool {
	needed := map[*Tensor]bool{}
	var need func(t *Tensor)
	need = func(t *Tensor) {
		if !needed[t] {
			needed[t] = true
			for _, s := range t.Src {
				need(s)
			}
		}
	}
	for _, t := range outputs {
		if t.g != g {
			fail(t.Op, "an output of another graph")
		}
		need(t)
	}
	return needed
}

// operand gives the GGML tensor of a node, an input or a weight.
func (p *Program) operand(s *Tensor) ggml.Tensor {
	if n, ok := p.lowered[s]; ok {
		return n
	}
	var n ggml.Tensor
	switch {
	case s.IsWeight():
		if s.store.dev.planning && !p.dev.planning {
			fail(OpLeaf, "weight %q is on a planning device, and the program is not", s.Name)
		}
		n = s.store.t
		p.weights[s] = s.store
	case s.IsInput():
		n = p.ctx.New(dtypes[s.dtype].ggml, ne(s.shape))
		n.SetInput()
		s.prog = p
		p.inputs = append(p.inputs, s)
	default:
		fail(s.Op, "an operand comes after its use")
	}
	p.lowered[s] = n
	return n
}

// Run computes the outputs from the present values of inputs and weights; on a
// device that is [Device.Async] it returns when that is queued. Ids that lie
// outside their table are an error, and nothing is computed then.
func (p *Program) Run() error {
	if p.stages != nil {
		return p.stages.run()
	}
	if p.dev.planning {
		return fmt.Errorf("tensor: a planning device computes nothing")
	}
	if p.ctx == nil {
		return fmt.Errorf("tensor: the program is closed, or its arena has grown since it was compiled")
	}
	for _, t := range p.inputs {
		if !t.imported && len(t.ids) == 0 && len(t.floats) == 0 {
			return fmt.Errorf("tensor: an input of shape %v has no value", t.shape)
		}
	}
	for t, s := range p.weights {
		if t.store != s {
			return fmt.Errorf("tensor: weight %q has other memory than when the program was compiled", t.Name)
		}
	}
	for _, t := range p.checks {
		if err := checkIDs(t); err != nil {
			return err
		}
	}
	for _, t := range p.inputs {
		if t.imported {
			continue
		}
		if t.dtype == I32 {
			p.dev.b.Set(p.lowered[t], unsafe.Slice((*byte)(unsafe.Pointer(&t.ids[0])), 4*len(t.ids)), 0)
		} else {
			p.dev.b.Set(p.lowered[t], asBytes(t.floats), 0)
		}
	}
	if err := p.dev.b.Compute(p.graph); err != nil {
		return fmt.Errorf("%s: %w", p.dev.Name, err)
	}
	return nil
}

// sameCheck reports whether the integers of two operations are the same, and index as much: the layers of a model share them.
func sameCheck(a, b *Tensor) bool {
	if a.Op != b.Op || a.Op == OpRows || len(a.Src) != len(b.Src) || !slices.Equal(a.shape, b.shape) {
		return false
	}
	for i := range a.Src {
		if same := a.Src[i] == b.Src[i]; !same && (a.Src[i].dtype == I32 || !slices.Equal(a.Src[i].shape, b.Src[i].shape)) {
			return false
		}
	}
	return a.Attr == b.Attr // of the operations that are checked, no uncomparable type
}

// checkIDs checks integer operands against what they index.
func checkIDs(t *Tensor) error {
	var ids []int32
	low, limit, what := 0, 0, ""
	switch t.Op {
	case OpRows:
		ids, limit, what = t.Src[1].ids, t.Src[0].shape[0], "token id"
	case OpRowsBack, OpSetRows:
		ids, limit, what = t.Src[1].ids, t.shape[0], "row"
	case OpCrossEntropy, OpCrossEntropyBack:
		ids, low, limit, what = t.Src[1].ids, -1<<31, t.Src[0].shape[1], "target"
	case OpPagedAttention:
		return checkPaged(t)
	case OpAttention, OpAttentionBack:
		spans, from, rows := t.Src[3].ids, 0, t.Src[1].shape[0]
		for i := 0; i < len(spans); i += 2 {
			if t.Op == OpAttentionBack { // without a cache the keys of a sequence are its own
				n := t.Src[0].shape[0] / t.Attr.(Attn).Sequences
				from = i / 2 / n * n
				rows = from + n
			}
			if a, b := int(spans[i]), int(spans[i+1]); a < from || a >= b || b > rows {
				return fmt.Errorf("tensor: query %d sees rows %d to %d of %d to %d", i/2, a, b, from, rows)
			}
		}
		return nil
	}
	for _, id := range ids {
		if int(id) < low || int(id) >= limit {
			return fmt.Errorf("%s %d is out of range, there are %d rows", what, id, limit)
		}
	}
	return nil
}

// Close releases the program; its outputs can no longer be read.
func (p *Program) Close() {
	if p.stages != nil {
		p.stages.close()
		if p.arena != nil {
			p.arena.drop(p)
		}
		return
	}
	if p.ctx == nil {
		return
	}
	p.graph.Free()
	p.dev.used.remove(p.use)
	if p.arena != nil {
		p.arena.drop(p)
	}
	p.ctx.Free()
	p.ctx, p.lowered, p.weights = nil, nil, nil
}
