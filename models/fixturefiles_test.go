package models_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/data"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/optim"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/internal/train"
	"github.com/litgpt-go/litgpt/models"
)

// inputs is reference/inputs.json.
type inputs struct {
	IDs     [][]int32   `json:"ids"`
	Masked  [][]int32   `json:"labels_masked"`
	Long    [][]int32   `json:"long"`
	Prompt  []int32     `json:"prompt"`
	Batches [][][]int32 `json:"batches"`
	AdamW   struct {
		Betas      [2]float64 `json:"betas"`
		Eps        float64    `json:"eps"`
		Clip       float64    `json:"clip_norm"`
		Full, LoRA update
	} `json:"adamw"`
}

type update struct {
	LR          float64 `json:"lr"`
	WeightDecay float64 `json:"weight_decay"`
}

// config gives the optimizer's constants. The reference decays every parameter.
func (in inputs) config(u update) optim.Config {
	return optim.Config{Beta1: in.AdamW.Betas[0], Beta2: in.AdamW.Betas[1], Eps: in.AdamW.Eps, WeightDecay: u.WeightDecay, DecayAll: true}
}

// steps makes an update for each batch.
func (in inputs) steps(t *testing.T, tr *train.Trainer, lr float64) (losses, norms []float64) {
	t.Helper()
	for _, ids := range in.Batches {
		loss, norm, err := tr.Step([]data.Batch{batch(ids, ids)}, lr, in.AdamW.Clip).Wait()
		if err != nil {
			t.Fatal(err)
		}
		losses, norms = append(losses, loss), append(norms, norm)
	}
	return losses, norms
}

// read gives a file of the fixture; without it the proof cannot be made.
func (f fixture) read(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(f.dir, filepath.FromSlash(name)))
	if err != nil && !f.required && os.IsNotExist(err) {
		t.Skipf("no %s", name)
	} else if err != nil {
		t.Fatal(err)
	}
	return raw
}

func (f fixture) json(t *testing.T, name string, v any) {
	t.Helper()
	if err := json.Unmarshal(f.read(t, "reference/"+name), v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func (f fixture) inputs(t *testing.T) (in inputs) {
	t.Helper()
	f.json(t, "inputs.json", &in)
	return in
}

func (f fixture) tensors(t *testing.T, name string) *safetensors.File {
	t.Helper()
	f.read(t, "reference/"+name)
	s, err := safetensors.Open(filepath.Join(f.dir, "reference", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func (f fixture) floats(t *testing.T, s checkpoint.Source, name string) []float32 {
	t.Helper()
	x, ok := s.Tensor(name)
	if !ok || x.DType != "F32" {
		t.Fatalf("the reference has no %s in F32", name)
	}
	out := make([]float32, len(x.Data)/4)
	tensor.ToFloats(tensor.F32, x.Data, out)
	return out
}

func (f fixture) load(t *testing.T, config string, own bool) models.Model {
	t.Helper()
	m, err := models.New(f.read(t, config))
	if err != nil {
		t.Fatal(err)
	}
	src, err := safetensors.OpenDir(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, p := range nn.Params(m) {
			p.Free()
		}
		src.Close()
	})
	if err := checkpoint.Load(f.dev, m, src, checkpoint.Options{Own: own}); err != nil {
		t.Fatal(err)
	}
	return m
}

// trainer updates the weights that an adapter made trainable, or all if there is none.
func (f fixture) trainer(t *testing.T, m models.Model, cfg optim.Config, recompute bool) *train.Trainer {
	t.Helper()
	var names, trainableNames []string
	var weights, trainable []*tensor.Tensor
	for name, p := range nn.Params(m) {
		names, weights = append(names, name), append(weights, p)
		if p.Trainable {
			trainableNames, trainable = append(trainableNames, name), append(trainable, p)
		}
	}
	if trainable != nil {
		names, weights = trainableNames, trainable
	}
	o, err := optim.New(f.dev, cfg, names, weights)
	if err != nil {
		t.Fatal(err)
	}
	tr := train.New(f.dev, m, o, recompute, 1)
	t.Cleanup(func() { tr.Close(); o.Close() })
	return tr
}

// nearLosses compares two trajectories.
func nearLosses(t *testing.T, what string, got, want []float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: got %d steps, want %d", what, len(got), len(want))
	}
	worst := 0.0
	for i := range got {
		worst = max(worst, nearLoss(t, what, got[i], want[i]))
	}
	t.Logf("%s: within %.1e", what, worst)
}

func nearLoss(t *testing.T, what string, got, want float64) (relative float64) {
	t.Helper()
	relative = math.Abs(got-want) / math.Abs(want)
	if !(relative <= lossTolerance) {
		t.Errorf("%s: got %.6f, want %.6f (off by %.2g)", what, got, want, relative)
	}
	return relative
}
