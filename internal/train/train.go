// Package train is the one training loop; recipes differ in what they give it.
//
// A step is GlobalBatch/MicroBatch micro-batches. Its loss is the mean over all
// tokens that count in all of them, wherever they are, so that padding, masking and
// the size of a micro-batch do not change the gradient.
package train

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/litgpt-go/litgpt/internal/data"
	"github.com/litgpt-go/litgpt/internal/optim"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/models"
)

// Schedule is the learning rate over the steps of a run: linear warm-up, then a
// cosine down to Min (https://arxiv.org/abs/1608.03983).
type Schedule struct {
	Rate, Min    float64
	Warmup, Last int // steps
}

// At is the rate of a step, counted from 1.
func (s Schedule) At(step int) float64 {
	if step <= s.Warmup {
		return s.Rate * float64(step) / float64(s.Warmup)
	}
	low := min(s.Min, s.Rate)
	progress := min(1, float64(step-s.Warmup)/float64(max(1, s.Last-s.Warmup)))
	return low + (s.Rate-low)*(1+math.Cos(math.Pi*progress))/2
}

// Trainer holds the compiled graphs and the optimizer of one model.
type Trainer struct {
	Optimizer *optim.AdamW
	graphs    graphs
	seed      int64
}

// New returns a trainer that updates o's parameters of model. recompute trades a
// third more arithmetic for the memory of the blocks' intermediates. seed decides
// the dropout masks.
func New(dev *tensor.Device, model models.Model, o *optim.AdamW, recompute bool, seed int64) *Trainer {
	return &Trainer{Optimizer: o, seed: seed, graphs: graphs{dev: dev, model: model, params: o.Params, recompute: recompute}}
}

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

// Step runs the micro-batches and updates the parameters at rate lr. It returns the
// mean loss over counted tokens and the norm of the gradient before clipping to
// maxNorm (0: none).
func (t *Trainer) Step(micro []data.Batch, lr, maxNorm float64) (loss, norm float64, err error) {
	n := 0
	for _, b := range micro {
		n += len(counted(b))
	}
	if n == 0 {
		return 0, 0, fmt.Errorf("no token of the step's %d micro-batches counts for the loss; raise --train.max_seq_length or set --data.mask_prompt=false", len(micro))
	}
	var sum float64
	first := true
	for i, b := range micro {
		if len(counted(b)) == 0 {
			continue
		}
		nll, err := t.graphs.run(b, 1/float64(n), first, t.maskSeed(t.Optimizer.Steps+1, i))
		if err != nil {
			return 0, 0, err
		}
		first = false
		for _, x := range nll {
			sum += float64(x)
		}
	}
	loss = sum / float64(n)
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		return loss, 0, fmt.Errorf("the loss is %g; try a lower learning rate than %g", loss, lr)
	}
	if norm, err = t.Optimizer.Step(lr, maxNorm); err != nil {
		return loss, norm, fmt.Errorf("%w; try a lower learning rate than %g", err, lr)
	}
	return loss, norm, nil
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
	return t.graphs.run(b, 0, true, [2]int32{})
}

// Config are the settings of [Loop].
type Config struct {
	MicroBatches  int // per step
	LastStep      int
	MaxNorm       float64
	SaveEvery     int           // steps; 0 for none before the end
	ValidateEvery int           // steps; 0 for none
	MaxTime       time.Duration // 0 for none
	Schedule      Schedule
}

// Run is what a recipe trains.
type Run struct {
	Trainer  *Trainer
	Loader   *data.Loader
	Step     int // steps already done, when resumed
	Report   func(Progress)
	Validate func(ctx context.Context, step int) error // may be nil
	Save     func(step int) error
}

// Progress is one finished step.
type Progress struct {
	Step, Epoch int
	Loss, Norm  float64
	Rate        float64
	Tokens      int // of the step, padding not counted
	Time        time.Duration
}

// Loop trains until cfg.LastStep or the cancellation of ctx. On cancellation it
// finishes the step and saves before it returns ctx's error, so nothing that was
// done is lost.
func Loop(ctx context.Context, cfg Config, r Run) error {
	begin, saved := time.Now(), r.Step
	for step := r.Step + 1; step <= cfg.LastStep; step++ {
		start := time.Now()
		p := Progress{Step: step, Rate: cfg.Schedule.At(step)}
		micro := make([]data.Batch, cfg.MicroBatches)
		p.Epoch = r.Loader.Epoch()
		for i := range micro {
			micro[i] = r.Loader.Next()
			p.Tokens += len(counted(micro[i]))
		}
		var err error
		if p.Loss, p.Norm, err = r.Trainer.Step(micro, p.Rate, cfg.MaxNorm); err != nil {
			return fmt.Errorf("step %d: %w", step, err)
		}
		p.Time = time.Since(start)
		r.Report(p)

		late := cfg.MaxTime > 0 && time.Since(begin) > cfg.MaxTime
		stop := ctx.Err() != nil || late
		if r.Validate != nil && cfg.ValidateEvery > 0 && step%cfg.ValidateEvery == 0 && !stop {
			if err := r.Validate(ctx, step); err != nil && ctx.Err() == nil {
				return err
			}
			stop = ctx.Err() != nil
		}
		if stop || step == cfg.LastStep || cfg.SaveEvery > 0 && step%cfg.SaveEvery == 0 {
			if err := r.Save(step); err != nil {
				return err
			}
			saved = step
		}
		if ctx.Err() != nil {
			return fmt.Errorf("step %d of %d is saved, --resume auto goes on from there: %w", saved, cfg.LastStep, ctx.Err())
		}
		if late {
			return nil
		}
	}
	return nil
}
