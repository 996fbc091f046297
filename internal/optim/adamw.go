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
	Steps  int // updates launched so far

	// Loss (2) is the loss of the step whose gradients are there, as a pair of floats
	// whose sum it is; 0 until somebody adds to it. A step whose loss is not finite
	// changes nothing.
	Loss *tensor.Tensor
	// Clip (2) is the norm of the last step's gradients before clipping, and the factor they
	// were multiplied by; that is NaN when nothing was changed, since norm or loss
	// were not finite or those of an earlier step since [AdamW.Restart].
	Clip *tensor.Tensor

	cfg    Config
	g      *tensor.Graph
	h      *tensor.Tensor // hyperparameters of the step, see tensor.AdamW
	update *tensor.Program
}

// New prepares the optimizer for weights that are loaded on dev. An F32 weight is
// updated in place and must have memory of its own; a BF16 one gets an F32 master.
func New(dev *tensor.Device, cfg Config, names []string, weights []*tensor.Tensor) (o *AdamW, err error) {
	defer tensor.Catch(&err)
	if len(weights) == 0 {
		return nil, fmt.Errorf("optimizer: no weights to train")
	}
	o = &AdamW{cfg: cfg, g: tensor.NewGraph()}
	defer func() {
		if err != nil {
			o.Close()
			o = nil
		}
	}()
	o.h = o.g.Floats(7)
	for _, t := range []struct {
		leaf **tensor.Tensor
		name string
	}{{&o.Loss, "loss"}, {&o.Clip, "norm of the gradient"}} {
		*t.leaf = tensor.Param(2)
		(*t.leaf).Name = t.name
		if err := dev.Alloc(*t.leaf, tensor.F32); err != nil {
			return o, fmt.Errorf("optimizer state: %w", err)
		}
	}
	clear(o.Loss)
	o.Restart(0)
	states := make([]tensor.AdamWState, len(weights))
	var squares *tensor.Tensor // Σ of all gradients
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
		states[i] = s
		squares = o.g.SquareSum(p.Grad, squares)
	}
	clip := o.Clip.Clip(squares, o.Loss, o.h)
	updates := make([]*tensor.Tensor, len(weights))
	for i, p := range o.Params {
		decay := 0.0
		if p.decayed {
			decay = cfg.WeightDecay
		}
		updates[i] = p.Master.AdamW(states[i], o.h, clip, decay)
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

// Step makes one update at learning rate lr. Gradients are scaled down to the norm
// maxNorm if they are larger; 0 leaves them. Whether it was made is known when the
// device has come to it: see [AdamW.Clip], which the next step overwrites.
func (o *AdamW) Step(lr, maxNorm float64) error {
	t := float64(o.Steps + 1)
	o.h.SetFloats([]float32{float32(lr), float32(o.cfg.Beta1), float32(o.cfg.Beta2), float32(o.cfg.Eps),
		float32(1 - math.Pow(o.cfg.Beta1, t)), float32(math.Sqrt(1 - math.Pow(o.cfg.Beta2, t))), float32(maxNorm)})
	if err := o.update.Run(); err != nil {
		return err
	}
	o.Steps++
	return nil
}

// Restart goes on after the given number of updates: those of a restored state, or
// those before a step that was not finite, after which no step changes anything
// until this is called.
func (o *AdamW) Restart(steps int) {
	o.Steps = steps
	o.Clip.SetValues([]float32{0, 1})
}

// Close releases gradients, moments and masters; the working weights stay.
func (o *AdamW) Close() {
	if o.update != nil {
		o.update.Close()
	}
	for _, t := range []*tensor.Tensor{o.Loss, o.Clip} {
		if t != nil {
			t.Free()
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
