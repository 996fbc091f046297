package nn

import "github.com/litgpt-go/litgpt/internal/tensor"

// GatedMLP is the feed-forward layer down(act(gate(x)) · up(x)), with SiLU "SwiGLU". https://arxiv.org/abs/2002.05202
type GatedMLP struct {
	Gate *Linear `hf:"gate_proj"`
	Up   *Linear `hf:"up_proj"`
	Down *Linear `hf:"down_proj"`
	Act  tensor.Activation
}

// NewGatedMLP declares a layer from c channels to as many over hidden ones.
func NewGatedMLP(c, hidden int, act tensor.Activation, bias bool) *GatedMLP {
	return &GatedMLP{
		Gate: NewLinear(c, hidden, bias),
		Up:   NewLinear(c, hidden, bias),
		Down: NewLinear(hidden, c, bias),
		Act:  act,
	}
}

// Forward maps x (N, C) to (N, C).
func (m *GatedMLP) Forward(x *tensor.Tensor) *tensor.Tensor {
	return m.Down.Forward(m.Gate.Forward(x).Gate(m.Act, m.Up.Forward(x)))
}
