// Package autograd adds reverse-mode differentiation to a tensor graph. The
// gradient of a node is itself a node, built from the same operations, so
// whatever backend runs the forward pass runs the backward pass.
package autograd

import (
	"fmt"
	"slices"

	"github.com/litgpt-go/litgpt/internal/tensor"
)

// Output is a value to differentiate and the gradient of the loss with respect
// to it, of the same shape.
type Output struct{ Value, Grad *tensor.Tensor }

// Options change how the gradients are computed, not what they are.
type Options struct {
	// Recompute computes the intermediates between two marked nodes
	// ([tensor.Tensor.Mark]) again in the backward pass instead of keeping them:
	// memory for one block at a time, for a third more arithmetic.
	// https://arxiv.org/abs/1604.06174
	Recompute bool

	// Ready, if set, is called with the place of each parameter that has a gradient as
	// soon as that is complete, so that the caller can use it up there and then: a
	// graph that adds gradients up at its end holds all of them at once.
	Ready func(i int, grad *tensor.Tensor)
}

// Gradients appends to the graph of the outputs the gradients of the loss with
// respect to params (weights or nodes of the graph), and returns them in the
// order of params. One the outputs do not depend on gets nil. Differentiation
// stops at params.
//
// Nodes are visited in reverse of the order they were built, so all consumers of
// a node have contributed before its own rule runs. A gradient is summed to the
// shape of its operand here, once, so that no rule thinks of broadcasting.
func Gradients(outputs []Output, params []*tensor.Tensor, o Options) (grads []*tensor.Tensor, err error) {
	defer tensor.Catch(&err)

	if len(outputs) == 0 {
		return nil, fmt.Errorf("autograd: no outputs to differentiate")
	}
	forward := slices.Clone(outputs[0].Value.Graph().Nodes()) // the rules append to the graph
	wanted := make(map[*tensor.Tensor]bool, len(params))
	place := make(map[*tensor.Tensor]int, len(params))
	for i, p := range params {
		wanted[p], place[p] = true, i
	}
	uses := map[*tensor.Tensor]int{} // operands of forward nodes that a parameter still is
	for _, n := range forward {
		for _, s := range n.Src {
			if wanted[s] {
				uses[s]++
			}
		}
	}
	// needs[n] reports whether some parameter is upstream of n or is n.
	needs := make(map[*tensor.Tensor]bool, len(forward))
	for p := range wanted {
		needs[p] = true
	}
	for _, n := range forward {
		if !wanted[n] {
			needs[n] = slices.ContainsFunc(n.Src, func(s *tensor.Tensor) bool { return needs[s] })
		}
	}

	grad := map[*tensor.Tensor]*tensor.Tensor{}
	add := func(t, dt *tensor.Tensor) {
		if sum := grad[t]; sum != nil {
			dt = sum.Add(dt)
		}
		grad[t] = dt
	}
	for _, out := range outputs {
		if !slices.Equal(out.Value.Shape(), out.Grad.Shape()) {
			return nil, fmt.Errorf("autograd: gradient of shape %v for an output of %v", out.Grad.Shape(), out.Value.Shape())
		}
		add(out.Value, out.Grad)
	}
	// done notes that the backward pass is through with n.
	done := func(n *tensor.Tensor) {
		for _, s := range n.Src {
			if !wanted[s] {
				continue
			}
			if uses[s]--; uses[s] == 0 && grad[s] != nil && o.Ready != nil {
				o.Ready(place[s], grad[s])
			}
		}
	}
	again := clones{}
	for _, n := range slices.Backward(forward) {
		dy := grad[n]
		if dy == nil || !needs[n] || wanted[n] {
			done(n)
			continue
		}
		rule := rules[n.Op]
		if rule == nil {
			return nil, fmt.Errorf("autograd: no gradient rule for %v", n.Op)
		}
		y := n
		if o.Recompute {
			y = again.of(n)
		} else if slices.ContainsFunc(n.Src, cheap) {
			y = n.Clone(again.cheap(n.Src))
		}
		for i, dx := range rule(y, dy, func(i int) bool { return needs[n.Src[i]] }) {
			src := n.Src[i]
			if !needs[src] {
				continue
			}
			if dx == nil {
				return nil, fmt.Errorf("autograd: no gradient of %v with respect to operand %d", n.Op, i)
			}
			if !slices.Equal(dx.Shape(), src.Shape()) {
				dx = dx.SumTo(src.Shape())
			}
			add(src, dx)
		}
		delete(grad, n)
		done(n)
	}

	grads = make([]*tensor.Tensor, len(params))
	for i, p := range params {
		grads[i] = grad[p]
	}
	return grads, nil
}

// cheap says that a node is always computed again in the backward pass rather than
// kept for it: it reads values that are kept anyway and costs one pass over them,
// against a tensor of memory per layer (a LoRA layer's dropped input, a trained
// layer's normalized one).
func cheap(n *tensor.Tensor) bool {
	switch n.Op {
	case tensor.OpDropout, tensor.OpRMSNorm, tensor.OpLayerNorm, tensor.OpAct, tensor.OpGate:
		return !n.Boundary
	}
	return false
}

// cheap gives operands with the cheap ones, and those below them, copied.
func (c clones) cheap(src []*tensor.Tensor) []*tensor.Tensor {
	out := slices.Clone(src)
	for i, s := range out {
		if !cheap(s) {
			continue
		}
		if c[s] == nil {
			c[s] = s.Clone(c.cheap(s.Src))
		}
		out[i] = c[s]
	}
	return out
}

// clones are the second copies of nodes, made when the backward pass first needs them.
type clones map[*tensor.Tensor]*tensor.Tensor

// of gives a node to differentiate: n itself when it is kept, else a copy whose
// operands go back to the last marked nodes. A rule may read its node's value, its
// operands' or neither; a copy that turns out unused is never computed.
func (c clones) of(n *tensor.Tensor) *tensor.Tensor {
	if n.Op == tensor.OpLeaf || n.Op == tensor.OpRopeTable {
		return n
	}
	if y := c[n]; y != nil {
		return y
	}
	src := make([]*tensor.Tensor, len(n.Src))
	for i, s := range n.Src {
		if s.Boundary {
			src[i] = s
		} else {
			src[i] = c.of(s)
		}
	}
	c[n] = n.Clone(src)
	return c[n]
}
