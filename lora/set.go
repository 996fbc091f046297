package lora

import (
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// Set is the layers of one adapter. Several adapters of one model are as many sets, of which one
// is on the model while a graph is built.
type Set struct {
	linears map[*nn.Linear]nn.Adapter
	stacks  map[*nn.Stack]nn.StackAdapter
	off     *Set // what was on the model when this was attached
	model   any
}

// Detach takes all adapters' layers off a model.
func Detach(model any) *Set {
	s := &Set{linears: map[*nn.Linear]nn.Adapter{}, stacks: map[*nn.Stack]nn.StackAdapter{}, model: model}
	for _, l := range nn.Linears(model) {
		if l.Adapter != nil {
			s.linears[l] = l.Adapter
		}
	}
	for _, l := range nn.Stacks(model) {
		if l.Adapter != nil {
			s.stacks[l] = l.Adapter
		}
	}
	for l := range s.linears {
		l.Adapter = nil
	}
	for l := range s.stacks {
		l.Adapter = nil
	}
	return s
}

// LoadSet is [Load] of an adapter that stays off the model, whatever is on it now.
func LoadSet(dev *tensor.Device, model any, dir string) (*Set, error) {
	before := Detach(model)
	defer before.hang()
	trainable := map[*tensor.Tensor]bool{}
	for _, p := range nn.Params(model) {
		trainable[p] = p.Trainable
	}
	_, err := Load(dev, model, dir)
	s := Detach(model)
	for _, p := range nn.Params(model) { // Load means to train
		p.Trainable = trainable[p]
	}
	if err != nil {
		s.Free()
		return nil, err
	}
	return s, nil
}

// Attach hangs the layers on the model, in place of those that are on it, until Detach.
func (s *Set) Attach() {
	s.off = Detach(s.model)
	s.hang()
}

// Detach puts back what was on the model before.
func (s *Set) Detach() {
	Detach(s.model)
	s.off.hang()
	s.off = nil
}

func (s *Set) hang() {
	for l, a := range s.linears {
		l.Adapter = a
	}
	for l, a := range s.stacks {
		l.Adapter = a
	}
}

// Free releases the weights.
func (s *Set) Free() {
	free := func(layer any) {
		for _, p := range nn.Params(layer) {
			p.Free()
		}
	}
	for _, a := range s.linears {
		free(a)
	}
	for _, a := range s.stacks {
		free(a)
	}
}
