package recipes

import (
	"fmt"
	"strings"

	"github.com/litgpt-go/litgpt/internal/data"
	"github.com/litgpt-go/litgpt/internal/generate"
	"github.com/litgpt-go/litgpt/internal/optim"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/internal/train"
)

// declare gives the weights of l memory on dev, with their values unless dev only
// plans, and returns those to be trained. One function does both, so that the plan
// is of the run.
type declare func(dev *tensor.Device, l *loaded, prec precision) (names []string, weights []*tensor.Tensor, err error)

// planner finds the memory of a training run.
type planner struct {
	dev       *tensor.Device
	l         *loaded
	declare   declare
	optimizer optim.Config
	padTo     int
	window    int          // tokens that a sample may have beyond max_seq_length
	sets      [2]*data.Set // training, validation; nil for weights and optimizer alone
	validates bool
	balance   float64 // weight of the loss that balances the load of experts
	example   [2]int  // tokens of the validation example's prompt, and new ones; 0 for none
}

// trial are the settings that decide the memory.
type trial struct {
	prec      precision
	micro     int // sequences
	length    int // max_seq_length, in tokens
	recompute bool
}

// batch is the largest that a set can give: B sequences of T positions, of which rows count at most.
func (p *planner) batch(set *data.Set, t trial) (B, T, rows int) {
	if set == nil || set.Len() == 0 {
		return 0, 0, 0
	}
	B, T = min(t.micro, set.Len()), max(1, min(set.Longest(), t.length+p.window)-1)
	rows = B * T
	if p.padTo > 1 {
		T = (T + p.padTo - 1) / p.padTo * p.padTo
	}
	return B, T, rows
}

// uses prepares a run on the planning twin of the device.
func (p *planner) uses(t trial) ([]tensor.Use, error) {
	dev := p.dev.Plan()
	l, err := p.l.twin()
	if err != nil {
		return nil, err
	}
	defer l.free()
	names, weights, err := p.declare(dev, l, t.prec)
	if err != nil {
		return nil, err
	}
	o, err := optim.New(dev, p.optimizer, names, weights)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	tr := train.New(dev, l.Model, o, t.recompute, 0)
	tr.Balance(p.balance)
	defer tr.Close()
	for i, set := range p.sets {
		B, T, rows := p.batch(set, t)
		if B == 0 || i == 1 && !p.validates {
			continue
		}
		if _, err := tr.Plan(B, T, rows, i == 0); err != nil {
			return nil, err
		}
	}
	if p.example[1] > 0 && p.example[0]+p.example[1] <= l.Dims().Context {
		e := generate.New(dev, l.Model, generate.Options{Cache: tensor.F32, Positions: p.example[0] + p.example[1]})
		defer e.Close()
		if err := e.Plan(p.example[0], p.example[1]); err != nil {
			return nil, err
		}
	}
	return dev.Peak(), nil
}

// memory is what a run with settings t takes.
func (p *planner) memory(t trial) (m memory, err error) {
	B, T, _ := p.batch(p.sets[0], t)
	m.work = fmt.Sprintf("micro-batches of %d × %d tokens", B, T)
	m.uses, err = p.uses(t)
	return m, err
}

// alternatives are settings that take less than m does with t. The activations
// grow about as the tokens of a micro-batch do, which says where to begin.
func (p *planner) alternatives(m memory, t trial, free int) (a alternatives) {
	all, _ := tensor.Total(m.uses)
	act := 0
	for _, u := range m.uses {
		if u.Label == tensor.Activations {
			act = u.Bytes
		}
	}
	room := max(0, free-(all-act)) // for activations
	B, T, _ := p.batch(p.sets[0], t)
	share := func(n int) int { return int(float64(n) * float64(room) / float64(max(1, act))) }
	try := func(u trial) option {
		var flags []string
		if u.recompute != t.recompute {
			flags = append(flags, "--recompute true")
		}
		if u.micro != t.micro {
			flags = append(flags, fmt.Sprintf("--train.micro_batch_size %d", u.micro))
		}
		if u.length != t.length {
			flags = append(flags, fmt.Sprintf("--train.max_seq_length %d", u.length))
		}
		if u.prec.name != t.prec.name {
			flags = append(flags, "--precision "+u.prec.name)
		}
		return option{strings.Join(flags, " "), func() ([]tensor.Use, error) { return p.uses(u) }}
	}
	const tries = 2 // of each kind
	if room > 0 {
		if !t.recompute {
			u := t
			u.recompute = true
			a.each = append(a.each, []option{try(u)})
		}
		var list []option
		for n := B - 1; n > 0 && len(list) < tries; n-- {
			if t.micro%n == 0 && (n <= share(B) || n == 1) { // then it divides the global batch too
				u := t
				u.micro = n
				list = append(list, try(u))
			}
		}
		a.each = append(a.each, list)
		list = nil
		for _, n := range halves(T+1, share(T), 32) {
			if len(list) < tries {
				u := t
				u.length = n
				list = append(list, try(u))
			}
		}
		a.each = append(a.each, list)
	}
	if t.prec.matrix != precisions["bf16-true"].matrix {
		u := t
		u.prec = precisions["bf16-true"]
		a.each = append(a.each, []option{try(u)})
	}
	u := t
	u.recompute = true
	if B > 1 {
		u.micro = 1
		a.together = append(a.together, try(u))
	}
	for _, n := range halves(T+1, T/4, 32) {
		if len(a.together) < tries {
			u.length = n
			a.together = append(a.together, try(u))
		}
	}
	return a
}

// plan decides whether the run goes on: not when its memory was all that was
// asked for, nor when it would not fit.
func (s *session) plan(p *planner, c Planned, t trial) (done bool, err error) {
	p.sets = s.sets
	s.loader = data.NewLoader(s.sets[0], s.train.MicroBatchSize, s.seed, true, s.padTo)
	last, _, err := s.steps(s.sets[0].Longest())
	if err != nil {
		return true, err
	}
	during := s.eval.Interval > 0 && s.eval.Interval <= last
	p.validates = during || s.eval.InitialValidation || s.eval.FinalValidation
	if !during {
		p.example = [2]int{}
	}
	m, err := p.memory(t)
	if err != nil {
		return true, err
	}
	s.planned = m.uses
	free, _ := s.dev.Memory()
	return c.decide(s.out.Result, s.dev, m, p.alternatives(m, t, free))
}
