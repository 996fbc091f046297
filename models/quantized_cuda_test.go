package models_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/cudatest"
	"github.com/litgpt-go/litgpt/internal/data"
	"github.com/litgpt-go/litgpt/internal/generate"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/optim"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/sample"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/lora"
	"github.com/litgpt-go/litgpt/models"
)

// quantizedSource has the matrices of a checkpoint in a quantized type, or as the floats that those stand for.
type quantizedSource struct {
	checkpoint.Source
	to     tensor.DType
	floats bool
}

func (s quantizedSource) Tensor(name string) (safetensors.Tensor, bool) {
	t, ok := s.Source.Tensor(name)
	if !ok || len(t.Shape) != 2 {
		return t, ok
	}
	n := t.Shape[0] * t.Shape[1]
	v, raw := make([]float32, n), make([]byte, s.to.Bytes(n))
	tensor.ToFloats(tensor.F32, t.Data, v)
	tensor.Quantize(s.to, v, t.Shape[1], nil, raw)
	if s.floats {
		tensor.ToFloats(s.to, raw, v)
		return safetensors.Tensor{Name: name, DType: "F32", Shape: t.Shape, Data: tensor.FromFloats(tensor.F32, v)}, true
	}
	return safetensors.Tensor{Name: name, DType: safetensors.DType(s.to.String()), Shape: t.Shape, Data: raw}, true
}

// computed is what a model with an adapter gives.
type computed struct {
	logits []float32
	tokens []int32
	loss   float64
	grads  map[string][]float32
}

func (f fixture) compute(t *testing.T, s quantizedSource) (c computed) {
	t.Helper()
	m, err := models.New(f.read(t, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := checkpoint.Load(f.dev, m, s, checkpoint.Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := lora.Load(f.dev, m, filepath.Join(f.dir, "reference", "adapter_trained")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, p := range nn.Params(m) {
			p.Free()
		}
	})
	stored := 0
	for _, p := range nn.Params(m) {
		if p.DType() == s.to {
			stored++
		}
	}
	if (stored == 0) != s.floats {
		t.Fatalf("%d weights are %v", stored, s.to)
	}
	in := f.inputs(t)
	c.logits = logits(t, f.dev, m, in.Long)
	e := generate.New(f.dev, m, generate.Options{Cache: tensor.F32})
	defer e.Close()
	for token, err := range e.Generate(t.Context(), generate.Request{Prompt: in.Prompt, MaxTokens: 6, Sampling: sample.Config{}}) {
		if err != nil {
			t.Fatal(err)
		}
		c.tokens = append(c.tokens, token.ID)
	}
	tr := f.trainer(t, m, optim.Config{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8}, true)
	loss, _, err := tr.Step([]data.Batch{batch(in.IDs, in.IDs)}, 0, 0).Wait() // a rate of 0: only the gradients
	if err != nil {
		t.Fatal(err)
	}
	c.loss, c.grads = loss, map[string][]float32{}
	for _, p := range tr.Optimizer.Params {
		c.grads[p.Name] = p.Grad.Values()
	}
	return c
}

// TestQuantizedCUDA computes with quantized weights on a GPU, in float32, what the CPU computes with the
// floats that they stand for: logits, greedy tokens, the loss and the gradients of an adapter (QLoRA);
// and in BF16, as it is by default, nearly the same.
func TestQuantizedCUDA(t *testing.T) {
	f := fixture{dir: fixtures(t)["llama3.1"], required: true}
	src, err := safetensors.OpenDir(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	cpu := openCPU(t)
	for name, lib := range cudatest.Libraries(t) {
		dev, err := tensor.OpenLibrary(lib, 0, tensor.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(dev.Close)
		for _, d := range []tensor.DType{tensor.Q4_1, tensor.Q8_0} {
			f.dev = cpu
			want := f.compute(t, quantizedSource{src, d, true})
			for _, c := range []struct {
				to                     tensor.DType
				logits, loss, gradient float64 // logits and gradients of their norms
			}{{tensor.F32, 1e-5, 1e-5, 1e-4}, {tensor.BF16, 0.03, 3e-3, 0.05}} {
				t.Run(fmt.Sprintf("%s/%v/%v", name, d, c.to), func(t *testing.T) {
					dev.Dequantize(c.to)
					f := f
					f.dev = dev
					got := f.compute(t, quantizedSource{src, d, false})
					if e := distance(got.logits, want.logits); !(e <= c.logits) {
						t.Errorf("the logits are off by %.2g of their norm", e)
					} else {
						t.Logf("logits: within %.1e of their norm; loss %g, want %g", e, got.loss, want.loss)
					}
					if c.to == tensor.F32 && !slices.Equal(got.tokens, want.tokens) {
						t.Errorf("tokens: got %v, want %v", got.tokens, want.tokens)
					}
					if e := (got.loss - want.loss) / want.loss; !(max(e, -e) <= c.loss) {
						t.Errorf("loss: got %g, want %g", got.loss, want.loss)
					}
					if len(got.grads) != len(want.grads) || len(got.grads) == 0 {
						t.Errorf("%d gradients, want %d", len(got.grads), len(want.grads))
					}
					worst := 0.0
					for name, g := range got.grads {
						d := distance(g, want.grads[name])
						if worst = max(worst, d); !(d <= c.gradient) {
							t.Errorf("%s: the gradient is off by %.2g of its norm", name, d)
						}
					}
					t.Logf("gradients: within %.1e of their norms", worst)
				})
			}
		}
	}
}
