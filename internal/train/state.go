package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/data"
	"github.com/litgpt-go/litgpt/internal/durable"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// The files of a training state, beside the weights of a checkpoint.
const (
	stateFile   = "training_state.json"
	tensorsFile = "training_state.safetensors"
)

// State is all that a run needs to go on as if it had never stopped, besides the
// tensors of the optimizer. Random numbers follow from the seed and the step.
type State struct {
	Step   int        `json:"step"`
	Loader data.State `json:"loader"`
	Tokens int64      `json:"tokens"` // counted so far
	// Run describes what must be the same in the run that goes on.
	Run map[string]string `json:"run"`
}

// SaveState writes the state and the optimizer's tensors into d: masters in F32, and both moments.
func (t *Trainer) SaveState(d *durable.Dir, s State) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := d.WriteFile(stateFile, append(data, '\n')); err != nil {
		return err
	}
	var values []checkpoint.Value
	t.tensors(func(name string, p *tensor.Tensor) {
		values = append(values, checkpoint.Value{Name: name, DType: tensor.F32, From: p})
	})
	return checkpoint.SaveFile(d, tensorsFile, values)
}

// tensors visits what is saved of the optimizer.
func (t *Trainer) tensors(visit func(name string, p *tensor.Tensor)) {
	for _, p := range t.Optimizer.Params {
		visit("master."+p.Name, p.Master)
		visit("m."+p.Name, p.M)
		visit("v."+p.Name, p.V)
	}
}

// LoadState restores what SaveState wrote to dir, which the caller has verified.
// run must equal the saved description; the differences are listed.
func (t *Trainer) LoadState(dir string, run map[string]string) (s State, err error) {
	raw, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return s, fmt.Errorf("%s holds no training state to resume from: %w", dir, err)
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, fmt.Errorf("%s: %w", filepath.Join(dir, stateFile), err)
	}
	var errs []error
	for k, v := range run {
		if s.Run[k] != v {
			errs = append(errs, fmt.Errorf("%s was %q in the run that stopped and is %q now", k, s.Run[k], v))
		}
	}
	if len(errs) > 0 {
		slices.SortFunc(errs, func(a, b error) int { return len(a.Error()) - len(b.Error()) })
		return s, fmt.Errorf("cannot resume from %s:\n%w", dir, errors.Join(errs...))
	}
	f, err := safetensors.Open(filepath.Join(dir, tensorsFile))
	if err != nil {
		return s, err
	}
	defer f.Close()
	t.tensors(func(name string, p *tensor.Tensor) {
		x, ok := f.Tensor(name)
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("missing %s", name))
		case x.DType != "F32" || !slices.Equal(x.Shape, p.Shape()):
			errs = append(errs, fmt.Errorf("%s: %s %v, F32 %v wanted", name, x.DType, x.Shape, p.Shape()))
		default:
			errs = append(errs, checkpoint.Fill(p, x))
		}
	})
	if err := errors.Join(errs...); err != nil {
		return s, fmt.Errorf("%s:\n%w", filepath.Join(dir, tensorsFile), err)
	}
	for _, p := range t.Optimizer.Params {
		if p.Master != p.Weight {
			p.Weight.SetValues(p.Master.Values())
		}
	}
	t.Optimizer.Restart(s.Step)
	return s, nil
}
