package train

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/litgpt-go/litgpt/internal/data"
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
//
// Where the device runs beside the host a step is launched before the one before it
// is waited for and reported, so that the device never waits for the host. Before
// anything looks at the weights, all steps are waited for and reported.
func Loop(ctx context.Context, cfg Config, r Run) error {
	begin, saved := time.Now(), r.Step
	steps := inFlight{report: r.Report}
	for step := r.Step + 1; step <= cfg.LastStep; step++ {
		s := launched{start: time.Now(), Progress: Progress{Step: step, Epoch: r.Loader.Epoch(), Rate: cfg.Schedule.At(step)}}
		micro := make([]data.Batch, cfg.MicroBatches)
		for i := range micro {
			micro[i] = r.Loader.Next()
			s.Tokens += len(counted(micro[i]))
		}
		s.pending = r.Trainer.Step(micro, s.Rate, cfg.MaxNorm)
		if err := steps.add(s, r.Trainer.ahead); err != nil {
			return err
		}

		late := cfg.MaxTime > 0 && time.Since(begin) > cfg.MaxTime
		stop := ctx.Err() != nil || late
		validate := r.Validate != nil && cfg.ValidateEvery > 0 && step%cfg.ValidateEvery == 0 && !stop
		save := step == cfg.LastStep || cfg.SaveEvery > 0 && step%cfg.SaveEvery == 0
		if stop || validate || save {
			if err := steps.settle(0); err != nil {
				return err
			}
		}
		if validate {
			if err := r.Validate(ctx, step); err != nil && ctx.Err() == nil {
				return err
			}
			stop = ctx.Err() != nil
		}
		if stop || save {
			if err := r.Save(step); err != nil {
				return err
			}
			saved = step
		}
		// A cancellation that comes now, and not before the save, is the next step's.
		if saved == step && ctx.Err() != nil {
			return fmt.Errorf("step %d of %d is saved, --resume auto goes on from there: %w", saved, cfg.LastStep, ctx.Err())
		}
		if late {
			return nil
		}
	}
	return nil
}

// launched is a step of which loss, norm and time are not known yet.
type launched struct {
	Progress
	pending *Pending
	start   time.Time
}

// inFlight are the steps that were launched and not yet reported, in their order.
type inFlight struct {
	report func(Progress)
	steps  []launched
	done   time.Time // when the last one that was reported was done
}

// add takes in a step, and leaves at most ahead of them to the device.
func (f *inFlight) add(s launched, ahead int) error {
	f.steps = append(f.steps, s)
	if s.pending.err != nil { // no further step may be launched after this one
		ahead = 0
	}
	return f.settle(ahead)
}

// settle waits for all but the last keep steps and reports them. After an error it
// waits for the rest too and reports nothing more.
func (f *inFlight) settle(keep int) error {
	for len(f.steps) > keep {
		s := f.steps[0]
		f.steps = f.steps[1:]
		var err error
		if s.Loss, s.Norm, err = s.pending.Wait(); err != nil {
			for _, s := range f.steps {
				s.pending.Wait() // what it says follows from the error
			}
			return fmt.Errorf("step %d: %w", s.Step, err)
		}
		now := time.Now()
		if f.done.After(s.start) {
			s.start = f.done // the device was at the step before until then
		}
		s.Time, f.done = now.Sub(s.start), now
		f.report(s.Progress)
	}
	return nil
}
