package train

import (
	"fmt"

	"github.com/litgpt-go/litgpt/internal/autograd"
	"github.com/litgpt-go/litgpt/internal/data"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// The loss that balances the load of experts (https://arxiv.org/abs/2101.03961, (4) to (6)),
// as transformers computes it over all layers together: E·Σ_e f_e·P_e, where f_e is the
// number of pairs of expert e for each token and layer, which has no gradient, and P_e the
// mean probability that the routers give it. It is 1·k when all experts have the same
// load. What comes after the end of a sequence does not count.
//
// In the comments N is the tokens of a micro-batch, L the layers with experts, E the experts.

// balance is what a graph has for it.
type balance struct {
	tokens *tensor.Tensor // (N) 1 for those that count, else 0
	scale  *tensor.Tensor // (1) E/(L·M)² times the loss's weight, for M tokens that count
	layers int            // L
	E      int
}

// newBalance adds the loss to that of the step, and gives the values to differentiate
// with their gradients: each layer's probabilities.
func newBalance(g *tensor.Graph, N int, routes []nn.Route, loss, one *tensor.Tensor) (b *balance, outs []autograd.Output, result *tensor.Tensor, err error) {
	if len(routes) == 0 {
		return nil, nil, nil, fmt.Errorf("router_aux_loss_coef is set, and this model has no experts; set --train.router_aux_loss_coef 0")
	}
	E := routes[0].Logits.Dim(1)
	b = &balance{tokens: g.Floats(N), scale: g.Floats(1), layers: len(routes), E: E}
	var load, mass *tensor.Tensor // (E), over the layers
	var probs []*tensor.Tensor
	mask := b.tokens.Reshape(N, 1)
	plus := func(sum, x *tensor.Tensor) *tensor.Tensor {
		if sum == nil {
			return x
		}
		return sum.Add(x)
	}
	for _, r := range routes {
		if r.Logits.Dim(1) != E {
			return nil, nil, nil, fmt.Errorf("router_aux_loss_coef: layers of %d and of %d experts; as many in each are wanted", E, r.Logits.Dim(1))
		}
		p := r.Logits.Softmax(1, nil) // (N, E)
		probs = append(probs, p)
		load = plus(load, r.Group.GroupCounts(E, b.tokens))
		mass = plus(mass, p.Combine(mask).SumTo([]int{E}))
	}
	load = load.Reshape(E, 1).Mul(b.scale).Reshape(E)
	slope := load.Zeros(N, E).Add(load).Combine(mask) // by each probability
	for _, p := range probs {
		outs = append(outs, autograd.Output{Value: p, Grad: slope})
	}
	return b, outs, load.AddDot(mass, loss, one), nil
}

// set gives the values for a batch whose loss has the given weight.
func (b *balance) set(batch data.Batch, weight float64) {
	mask, n := make([]float32, batch.B*batch.T), 0
	for s := range batch.B {
		end := 0 // one beyond the token that is the last target
		for i, t := range batch.Targets[s*batch.T : (s+1)*batch.T] {
			if t >= 0 {
				end = min(i+2, batch.T)
			}
		}
		for i := range end {
			mask[s*batch.T+i] = 1
		}
		n += end
	}
	all := float64(b.layers * n)
	b.tokens.SetFloats(mask)
	b.scale.SetFloats([]float32{float32(weight * float64(b.E) / (all * all))})
}
