package tensor

import (
	"fmt"

	"github.com/litgpt-go/litgpt/internal/ggml"
)

// Activation is an element-wise function between the two halves of an MLP.
type Activation uint8

// The activations.
const (
	SiLU     Activation = iota // x·sigmoid(x), also called swish
	GELU                       // x·(1+erf(x/√2))/2. https://arxiv.org/abs/1606.08415
	GELUTanh                   // its approximation x·(1+tanh(√(2/π)(x+0.044715x³)))/2
	ReLU                       // max(x, 0)
)

// activations are the kernels' numbers, and names for messages.
var activations = [...]struct {
	name   string
	kernel int64
}{SiLU: {"silu", ggml.SiLU}, GELU: {"gelu", ggml.GELU}, GELUTanh: {"gelu_tanh", ggml.GELUTanh}, ReLU: {"relu", ggml.ReLU}}

func (a Activation) String() string {
	if int(a) >= len(activations) {
		return fmt.Sprintf("activation %d", uint8(a))
	}
	return activations[a].name
}

func wantActivation(op Op, a Activation) {
	if int(a) >= len(activations) {
		fail(op, "%v: one of %v to %v wanted", a, SiLU, ReLU)
	}
}

// Act returns a(t) element-wise.
func (t *Tensor) Act(a Activation) *Tensor {
	wantFloats(OpAct, t)
	wantActivation(OpAct, a)
	return node(OpAct, a, t.shape, t)
}

// Gate returns a(t)·up. https://arxiv.org/abs/2002.05202
func (t *Tensor) Gate(a Activation, up *Tensor) *Tensor {
	wantFloats(OpGate, t, up)
	same(OpGate, t, up)
	wantActivation(OpGate, a)
	return node(OpGate, a, t.shape, t, up)
}

// SwiGLU returns silu(t)·up.
func (t *Tensor) SwiGLU(up *Tensor) *Tensor { return t.Gate(SiLU, up) }

// ActBackward is the gradient of [Tensor.Act] for dy.
func (t *Tensor) ActBackward(a Activation, dy *Tensor) *Tensor {
	wantFloats(OpActBack, t, dy)
	same(OpActBack, t, dy)
	wantActivation(OpActBack, a)
	return node(OpActBack, a, t.shape, t, dy)
}

// GateBackward is the gradient of [Tensor.Gate] with respect to the gate t; that of up is t.Gate(a, dy).
func (t *Tensor) GateBackward(a Activation, up, dy *Tensor) *Tensor {
	wantFloats(OpGateBack, t, up, dy)
	same(OpGateBack, t, up)
	same(OpGateBack, t, dy)
	wantActivation(OpGateBack, a)
	return node(OpGateBack, a, t.shape, t, up, dy)
}
