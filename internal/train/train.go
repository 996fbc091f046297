// Package train is the one training loop; recipes differ in what they give it.
//
// A step is GlobalBatch/MicroBatch micro-batches. Its loss is the mean over all
// tokens that count in all of them, wherever they are, so that padding, masking and
// the size of a micro-batch do not change the gradient.
package train

import (
	"fmt"
	"math"

	"github.com/litgpt-go/litgpt/internal/data"
	"github.com/litgpt-go/litgpt/internal/optim"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/models"
)

// Trainer holds the compiled graphs and the optimizer of one model.
type Trainer struct {
	Optimizer *optim.AdamW
	graphs    graphs
	seed      int64
	ahead     int // steps that Loop leaves to the device while it goes on
}

// New returns a trainer that updates o's parameters of model. recompute trades a
// third more arithmetic for the memory of the blocks' intermediates. seed decides
// the dropout masks.
func New(dev *tensor.Device, model models.Model, o *optim.AdamW, recompute bool, seed int64) *Trainer {
	t := &Trainer{Optimizer: o, seed: seed, graphs: graphs{dev: dev, model: model, params: o.Params, loss: o.Loss, recompute: recompute}}
	if dev.Async() {
		t.ahead = 1
	}
	return t
}

// Balance adds coef times the loss that balances the load of experts to the loss of
// each step, averaged over its micro-batches by their counted tokens; it is called
// before the first step. The model must have experts.
func (t *Trainer) Balance(coef float64) { t.graphs.balance = coef }

// NewEvaluator returns a trainer that can only [Trainer.Loss].
func NewEvaluator(dev *tensor.Device, model models.Model) *Trainer {
	return &Trainer{graphs: graphs{dev: dev, model: model}}
}

// Close releases the compiled graphs.
func (t *Trainer) Close() { t.graphs.close() }

// Scratch is the size in bytes of the largest compiled graph's intermediates.
func (t *Trainer) Scratch() int {
	if t.graphs.arena == nil {
		return 0
	}
	return t.graphs.arena.Size()
}

// Pending is a step that was launched. The device may still be at it.
type Pending struct {
	fetched *tensor.Fetched // the optimizer's Loss and Clip
	scale   float64         // of the loss
	lr      float64
	err     error // of the launch; nothing was updated then
}

// Wait waits for the step, and gives the mean loss over its counted tokens and the norm of the
// gradient before clipping. When one of them is not finite that is an error, and
// neither this step nor one launched after it has changed any weight.
func (p *Pending) Wait() (loss, norm float64, err error) {
	if p.err != nil {
		return 0, 0, p.err
	}
	v, err := p.fetched.Wait()
	if err != nil {
		return 0, 0, err
	}
	loss, norm = (float64(v[0][0])+float64(v[0][1]))*p.scale, float64(v[1][0])
	finite := func(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
	switch factor := float64(v[1][1]); {
	case !finite(loss):
		err = fmt.Errorf("the loss is %g; try a lower learning rate than %g", loss, p.lr)
	case !finite(norm):
		err = fmt.Errorf("the gradient is not finite (norm %g); try a lower learning rate than %g", norm, p.lr)
	case !finite(factor):
		err = fmt.Errorf("nothing was updated, since the loss or the gradient of an earlier step is not finite")
	}
	return loss, norm, err
}

// Step launches the micro-batches and the update of the parameters at rate lr, with
// the gradient clipped to maxNorm (0: not). On a device that runs beside the host
// ([tensor.Device.Async]) it returns before they are done, and the next step may be
// launched before this one is waited for; steps are waited for in their order.
func (t *Trainer) Step(micro []data.Batch, lr, maxNorm float64) *Pending {
	p := &Pending{lr: lr}
	n := 0
	for _, b := range micro {
		n += len(counted(b))
	}
	if n == 0 {
		p.err = fmt.Errorf("no token of the step's %d micro-batches counts for the loss; raise --train.max_seq_length or set --data.mask_prompt=false", len(micro))
		return p
	}
	weight := float32(1 / float64(n))
	p.scale = 1 / (float64(n) * float64(weight)) // the weight was rounded, a mean is exact
	first := true
	for i, b := range micro {
		if len(counted(b)) == 0 {
			continue
		}
		if _, p.err = t.graphs.run(b, weight, first, t.maskSeed(t.Optimizer.Steps+1, i)); p.err != nil {
			return p
		}
		first = false
	}
	if p.err = t.Optimizer.Step(lr, maxNorm); p.err == nil {
		p.fetched = t.graphs.dev.Fetch(t.Optimizer.Loss, t.Optimizer.Clip)
	}
	return p
}

// maskSeed makes the dropout masks depend on seed, step and micro-batch, and on nothing that a resumed run lacks.
func (t *Trainer) maskSeed(step, micro int) [2]int32 {
	z := uint64(t.seed)*0x9e3779b97f4a7c15 + uint64(step)<<20 + uint64(micro)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	z ^= z >> 31
	return [2]int32{int32(uint32(z)), int32(uint32(z >> 32))}
}

// Loss returns the negative log-likelihood of each counted position of b, in their order.
func (t *Trainer) Loss(b data.Batch) ([]float32, error) {
	g, err := t.graphs.run(b, 0, true, [2]int32{})
	if err != nil {
		return nil, err
	}
	return t.graphs.nll(g, len(counted(b)))
}
