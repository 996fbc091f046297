// Package nn holds the layers the model files are made of. A layer is a struct
// whose tensor fields carry, in the tag `hf`, their name in a Hugging Face
// checkpoint, and whose Forward adds its operations to the graph of its input.
package nn

import "github.com/litgpt-go/litgpt/internal/tensor"

// Linear is y = x·Wᵀ + b.
type Linear struct {
	Weight *tensor.Tensor `hf:"weight"` // (out, in)
	Bias   *tensor.Tensor `hf:"bias"`   // (out), nil when the layer has none

	// Adapter, when set, corrects the output. Package lora sets it; no model file does.
	Adapter Adapter `hf:""`
}

// Adapter is a learned correction of a frozen linear layer.
type Adapter interface {
	// Forward returns the corrected output, given the input x of the layer and
	// its output y.
	Forward(x, y *tensor.Tensor) *tensor.Tensor
}

// NewLinear declares a linear layer.
func NewLinear(in, out int, bias bool) *Linear {
	l := &Linear{Weight: tensor.Param(out, in)}
	if bias {
		l.Bias = tensor.Param(out)
	}
	return l
}

// Forward maps x (N, in) to (N, out).
func (l *Linear) Forward(x *tensor.Tensor) *tensor.Tensor {
	y := x.MatMulT(l.Weight)
	if l.Bias != nil {
		y = y.Add(l.Bias)
	}
	if l.Adapter != nil {
		y = l.Adapter.Forward(x, y)
	}
	return y
}

// Embedding maps token ids to rows of a table.
type Embedding struct {
	Weight *tensor.Tensor `hf:"weight"` // (vocab, C)
}

// NewEmbedding declares a table of vocab rows of c channels.
func NewEmbedding(vocab, c int) *Embedding { return &Embedding{tensor.Param(vocab, c)} }

// Forward maps ids (N) to (N, C).
func (e *Embedding) Forward(ids *tensor.Tensor) *tensor.Tensor { return e.Weight.Rows(ids) }

// AsLinear returns the output projection that shares this table ("tied" weights).
func (e *Embedding) AsLinear() *Linear { return &Linear{Weight: e.Weight} }

// RMSNorm normalizes by the root mean square and scales by a learned weight. https://arxiv.org/abs/1910.07467
type RMSNorm struct {
	Weight *tensor.Tensor `hf:"weight"` // (C)
	Eps    float64
	Offset float64 // added to the weight: 1 in Gemma's checkpoints, else 0
}

// NewRMSNorm declares a norm over c channels.
func NewRMSNorm(c int, eps float64) *RMSNorm { return &RMSNorm{Weight: tensor.Param(c), Eps: eps} }

// Forward normalizes the last axis of x.
func (n *RMSNorm) Forward(x *tensor.Tensor) *tensor.Tensor {
	return x.RMSNormOffset(n.Weight, n.Eps, n.Offset)
}

// LayerNorm subtracts the mean, divides by the standard deviation, and scales and shifts by learned weights. https://arxiv.org/abs/1607.06450
type LayerNorm struct {
	Weight *tensor.Tensor `hf:"weight"` // (C)
	Bias   *tensor.Tensor `hf:"bias"`   // (C), nil when the layer has none
	Eps    float64
}

// NewLayerNorm declares a norm over c channels.
func NewLayerNorm(c int, eps float64, bias bool) *LayerNorm {
	n := &LayerNorm{Weight: tensor.Param(c), Eps: eps}
	if bias {
		n.Bias = tensor.Param(c)
	}
	return n
}

// Forward normalizes the last axis of x.
func (n *LayerNorm) Forward(x *tensor.Tensor) *tensor.Tensor {
	return x.LayerNorm(n.Weight, n.Bias, n.Eps)
}
