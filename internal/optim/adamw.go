// Package optim updates weights from gradients, on the device where they are.
package optim

import (
	"fmt"
	"math"

	"github.com/litgpt-go/litgpt/internal/tensor"
)

// Config are the constants of AdamW.
type Config struct {
	Beta1, Beta2, Eps float64
	WeightDecay       float64 // of the weights in the decay group
	DecayAll          bool    // norms and biases decay too; otherwise only weights of two axes do
}

// Param is a weight in training. All its tensors but the working copy are F32.
type Param struct {
	Name    string
	Weight  *tensor.Tensor // what the model computes with: F32, or BF16 beside an F32 master
	Master  *tensor.Tensor // the weight that is updated; Weight itself when that is F32
	Grad    *tensor.Tensor
	M, V    *tensor.Tensor // first and second moment
	decayed bool
}

// AdamW is Adam with decoupled weight decay (https://arxiv.org/abs/1711.05101), in
// torch.optim.AdamW's order of operations.
type AdamW struct {
	Params []*Param
	Steps  int // updates made so far

	cfg    Config
	g      *tensor.Graph
	h      *tensor.Tensor // hyperparameters of the step, see tensor.AdamW
	update *tensor.Program
	norm   *tensor.Program
	sums   []*tensor.Tensor
}

// New prepares the optimizer for weights that are loaded on dev. An F32 weight is
// updated in place and must have memory of its own; a BF16 one gets an F32 master.
func New(dev *tensor.Device, cfg Config, names []string, weights []*tensor.Tensor) (o *AdamW, err error) {
	defer tensor.Catch(&err)
	o = &AdamW{cfg: cfg, g: tensor.NewGraph()}
	defer func() {
		if err != nil {
			o.Close()
			o = nil
		}
	}()
	o.h = o.g.Floats(7)
	var updates []*tensor.Tensor
	for i, w := range weights {
		p := &Param{Name: names[i], Weight: w, Master: w, decayed: cfg.DecayAll || len(w.Shape()) > 1}
		o.Params = append(o.Params, p)
		state := []**tensor.Tensor{&p.Grad, &p.M, &p.V}
		s := tensor.AdamWState{}
		if w.DType() != tensor.F32 {
			state = append(state, &p.Master)
			s.Working = w
		}
		for _, t := range state {
			*t = tensor.Param(w.Shape()...)
			(*t).Name = p.Name
			dev.Label(label(t == &p.Grad, t == &p.Master))
			if err := dev.Alloc(*t, tensor.F32); err != nil {
				return o, fmt.Errorf("optimizer state: %w", err)
			}
		}
		if !dev.Planning() {
			clear(p.Grad)
			clear(p.M)
			clear(p.V)
			if p.Master != w {
				p.Master.SetValues(w.Values())
			}
		}
		s.Grad, s.M, s.V = p.Grad, p.M, p.V
		decay := 0.0
		if p.decayed {
			decay = cfg.WeightDecay
		}
		updates = append(updates, p.Master.AdamW(s, o.h, decay))
		o.sums = append(o.sums, o.g.SquareSum(p.Grad))
	}
	if o.norm, err = o.g.Compile(dev, o.sums...); err != nil {
		return o, err
	}
	o.update, err = o.g.Compile(dev, updates...)
	return o, err
}

// label is what the memory of a parameter's tensor is counted as.
func label(grad, master bool) string {
	switch {
	case grad:
		return "gradients"
	case master:
		return "master weights"
	}
	return "optimizer"
}

func clear(t *tensor.Tensor) {
	const piece = 1 << 20
	zero := make([]byte, min(piece, 4*t.Numel()))
	for at := 0; at < 4*t.Numel(); at += piece {
		t.WriteBytes(zero[:min(piece, 4*t.Numel()-at)], at)
	}
}

// Norm is the Euclidean norm of all gradients together.
func (o *AdamW) Norm() (float64, error) {
	if err := o.norm.Run(); err != nil {
		return 0, err
	}
	var sum float64
	one := make([]float32, 1)
	for _, s := range o.sums {
		s.ReadFrom(o.norm, one)
		sum += float64(one[0])
	}
	return math.Sqrt(sum), nil
}

// Step makes one update at learning rate lr. Gradients are scaled down to the norm
// maxNorm if they are larger; 0 leaves them. It returns their norm before.
func (o *AdamW) Step(lr, maxNorm float64) (norm float64, err error) {
	if norm, err = o.Norm(); err != nil {
		return 0, err
	}
	if math.IsNaN(norm) || math.IsInf(norm, 0) {
		return norm, fmt.Errorf("the gradient is not finite (norm %g)", norm)
	}
	factor := 1.0
	if maxNorm > 0 {
		factor = min(1, maxNorm/(norm+1e-6)) // torch.nn.utils.clip_grad_norm_
	}
	o.Steps++
	t := float64(o.Steps)
	o.h.SetFloats([]float32{float32(lr), float32(o.cfg.Beta1), float32(o.cfg.Beta2), float32(o.cfg.Eps),
		float32(1 - math.Pow(o.cfg.Beta1, t)), float32(math.Sqrt(1 - math.Pow(o.cfg.Beta2, t))), float32(factor)})
	return norm, o.update.Run()
}

// Close releases gradients, moments and masters; the working weights stay.
func (o *AdamW) Close() {
	for _, p := range []*tensor.Program{o.norm, o.update} {
		if p != nil {
			p.Close()
		}
	}
	for _, p := range o.Params {
		for _, t := range []*tensor.Tensor{p.Grad, p.M, p.V} {
			if t != nil {
				t.Free()
			}
		}
		if p.Master != p.Weight {
			p.Master.Free()
		}
	}
}
