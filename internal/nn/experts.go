package nn

import (
	"fmt"

	"github.com/litgpt-go/litgpt/internal/tensor"
)

// Experts are the gated MLPs of a mixture of experts, of which each token is computed
// by k (https://arxiv.org/abs/2401.04088). The weights of all experts are one tensor
// for each projection, named as transformers 5 names them.
//
// In the comments N is tokens, E experts, C the hidden size, I the experts' own, and P =
// N·k the pairs of a token and one of its experts.
type Experts struct {
	GateUp *Stack `hf:"gate_up_proj"` // (E, 2I, C): the gate's rows, then up's
	Down   *Stack `hf:"down_proj"`    // (E, C, I)
}

// Stack is a linear layer of each of E experts.
type Stack struct {
	Weight *tensor.Tensor `hf:""` // (E, out, in)

	// Adapter, when set, corrects the output. Package lora sets it; no model file does.
	Adapter StackAdapter `hf:""`
}

// StackAdapter is a learned correction of a frozen [Stack].
type StackAdapter interface {
	// Forward returns the corrected output (P, out), given the input x of the layer, the
	// pairs by expert and the layer's output y.
	Forward(x, group, y *tensor.Tensor) *tensor.Tensor
}

// NewExperts declares e experts of hidden size c and their own size i.
func NewExperts(e, c, i int) *Experts {
	return &Experts{GateUp: &Stack{Weight: tensor.Param(e, 2*i, c)}, Down: &Stack{Weight: tensor.Param(e, c, i)}}
}

// Route is what one layer of experts chose in a batch.
type Route struct {
	Logits *tensor.Tensor // (N, E)
	Group  *tensor.Tensor // the pairs by expert, see [tensor.Tensor.Group]
}

// Forward gives the sum over each token's k experts of x (N, C), by router logits (N, E).
// Its weights are the softmax over the chosen logits, or, when chosen is false, over all.
func (e *Experts) Forward(b *Batch, x, logits *tensor.Tensor, k int, chosen bool) *tensor.Tensor {
	ids := logits.Route(k) // (N, k)
	group := ids.Group()
	if b.KV == nil {
		b.Routes = append(b.Routes, Route{logits, group})
	}
	h := e.GateUp.Forward(x, group).GLU() // (P, I)
	y := e.Down.Forward(h, group)         // (P, C)
	return y.Combine(logits.RouteWeights(ids, chosen))
}

// Forward maps the row of each pair, that of x (N, in) of its token or of x (P, in), to (P, out).
func (s *Stack) Forward(x, group *tensor.Tensor) *tensor.Tensor {
	y := x.Experts(s.Weight, group)
	if s.Adapter != nil {
		y = s.Adapter.Forward(x, group, y)
	}
	return y
}

// Piece is a tensor of a checkpoint that holds some rows of a weight.
type Piece struct {
	Name  string
	Shape []int
}

// Pieces adds to all, by the weights' names, the tensors of checkpoints that store each
// expert by itself: name is that of the experts as a part of the model, and gate, up and
// down give the names of expert i's projections.
func (e *Experts) Pieces(all map[string][]Piece, name string, gate, up, down func(i int) string) {
	experts, width, c := e.Down.Weight.Dim(0), e.Down.Weight.Dim(2), e.Down.Weight.Dim(1)
	gateUp, downs := make([]Piece, 0, 2*experts), make([]Piece, 0, experts)
	for i := range experts {
		gateUp = append(gateUp, Piece{gate(i), []int{width, c}}, Piece{up(i), []int{width, c}})
		downs = append(downs, Piece{down(i), []int{c, width}})
	}
	all[join(name, "gate_up_proj")], all[join(name, "down_proj")] = gateUp, downs
}

// Numbered names expert i's layer by a pattern with one %d.
func Numbered(pattern string) func(i int) string {
	return func(i int) string { return fmt.Sprintf(pattern, i) }
}
