package models_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/data"
	"github.com/litgpt-go/litgpt/internal/durable"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/optim"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/lora"
	"github.com/litgpt-go/litgpt/models"
)

// mixtures are the fixtures with experts. Beside the others' files they have under
// reference/: stacked.safetensors, the weights as transformers 5 holds them; adapters on
// the experts, adapter_experts of PEFT's target_parameters, adapter_converted of
// target_modules that PEFT turned into such, adapter_modules with a layer for each
// expert as before transformers 5; the logits with each; and the gradients of the first.
func mixtures(t *testing.T) map[string]fixture {
	dev := openCPU(t)
	all := map[string]fixture{}
	for _, name := range []string{"mixtral-tiny", "qwen3-moe-mixed"} {
		all[name] = fixture{dir: filepath.Join(own, name), required: true, dev: dev}
	}
	return all
}

// loadFrom loads the fixture's model from another file of weights.
func (f fixture) loadFrom(t *testing.T, src checkpoint.Source) models.Model {
	t.Helper()
	m, err := models.New(f.read(t, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, p := range nn.Params(m) {
			p.Free()
		}
	})
	if err := checkpoint.Load(f.dev, m, src, checkpoint.Options{}); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestExpertLayouts reads and writes both layouts of a checkpoint: each is written as it came.
func TestExpertLayouts(t *testing.T) {
	for name, f := range mixtures(t) {
		t.Run(name, func(t *testing.T) {
			want := logits(t, f.dev, f.load(t, "config.json", false), f.inputs(t).IDs)
			for _, file := range []string{"model.safetensors", "reference/stacked.safetensors"} {
				path := filepath.Join(f.dir, filepath.FromSlash(file))
				src, err := safetensors.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				defer src.Close()
				m := f.loadFrom(t, src)
				if got := logits(t, f.dev, m, f.inputs(t).IDs); !slices.Equal(got, want) {
					t.Errorf("%s: the logits differ", file)
				}
				var values []checkpoint.Value
				for name, p := range nn.Params(m) {
					values = append(values, checkpoint.Value{Name: name, DType: tensor.F32, From: p})
				}
				back := saved(t, checkpoint.Layout(m, src, values))
				sameTensors(t, file, back, src)
			}
		})
	}
}

// saved writes values as a checkpoint and opens it.
func saved(t *testing.T, values []checkpoint.Value) *safetensors.Dir {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "out")
	d, err := durable.NewDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Abort()
	if err := checkpoint.SaveWeights(d, values, checkpoint.ShardSize); err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	src, err := safetensors.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	return src
}

func sameTensors(t *testing.T, what string, got, want checkpoint.Source) {
	t.Helper()
	if g, w := got.Names(), want.Names(); !slices.Equal(slices.Sorted(slices.Values(g)), slices.Sorted(slices.Values(w))) {
		t.Errorf("%s: got the names %v, want %v", what, g, w)
		return
	}
	for _, name := range want.Names() {
		g, _ := got.Tensor(name)
		w, _ := want.Tensor(name)
		if g.DType != w.DType || !slices.Equal(g.Shape, w.Shape) || !bytes.Equal(g.Data, w.Data) {
			t.Errorf("%s: %s differs: %s %v, want %s %v", what, name, g.DType, g.Shape, w.DType, w.Shape)
		}
	}
}

// TestExpertPieces names what a checkpoint lacks by the names that it would have.
func TestExpertPieces(t *testing.T) {
	f := mixtures(t)["mixtral-tiny"]
	src, err := safetensors.OpenDir(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	m, err := models.New(f.read(t, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	err = checkpoint.Load(f.dev, m, without{src, "model.layers.1.block_sparse_moe.experts.2.w3.weight"}, checkpoint.Options{})
	if err == nil || !strings.Contains(err.Error(), "missing model.layers.1.block_sparse_moe.experts.2.w3.weight, shape [24 16]") {
		t.Errorf("got %v, want the missing tensor", err)
	}
}

type without struct {
	*safetensors.Dir
	name string
}

func (w without) Tensor(name string) (safetensors.Tensor, bool) {
	if name == w.name {
		return safetensors.Tensor{}, false
	}
	return w.Dir.Tensor(name)
}

func (w without) Names() []string {
	return slices.DeleteFunc(w.Dir.Names(), func(n string) bool { return n == w.name })
}

// TestExpertAdapters loads adapters of every kind that PEFT writes, compares the logits
// with them, and those of the merged weights.
func TestExpertAdapters(t *testing.T) {
	for name, f := range mixtures(t) {
		for kind, file := range map[string]string{"experts": "adapter_logits", "modules": "adapter_logits", "converted": "converted_logits"} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				ids := f.inputs(t).IDs
				want := f.floats(t, f.tensors(t, file+".safetensors"), kind)
				m := f.load(t, "config.json", true)
				if _, err := lora.Load(f.dev, m, filepath.Join(f.dir, "reference", "adapter_"+kind)); err != nil {
					t.Fatal(err)
				}
				near(t, "adapter", logits(t, f.dev, m, ids), want, logitsTolerance)
				if err := lora.Merge(f.dev, m); err != nil {
					t.Fatal(err)
				}
				near(t, "merged", logits(t, f.dev, m, ids), want, logitsTolerance)
				for name := range nn.Params(m) {
					if strings.Contains(name, "lora") {
						t.Errorf("%s is left after merging", name)
					}
				}
			})
		}
	}
}

// TestExpertAdapterSaved writes what PEFT wrote, and trains it with PEFT's gradients.
func TestExpertAdapterSaved(t *testing.T) {
	for name, f := range mixtures(t) {
		t.Run(name, func(t *testing.T) {
			for _, kind := range []string{"adapter_experts", "adapter_converted"} {
				m := f.load(t, "config.json", false)
				cfg, err := lora.Load(f.dev, m, filepath.Join(f.dir, "reference", kind))
				if err != nil {
					t.Fatal(err)
				}
				dir := filepath.Join(t.TempDir(), "out")
				d, err := durable.NewDir(dir)
				if err != nil {
					t.Fatal(err)
				}
				defer d.Abort()
				if err := lora.Save(d, m, cfg, lora.Base{}); err != nil {
					t.Fatal(err)
				}
				if err := d.Commit(); err != nil {
					t.Fatal(err)
				}
				got, err := safetensors.Open(filepath.Join(dir, lora.WeightsFile))
				if err != nil {
					t.Fatal(err)
				}
				defer got.Close()
				sameTensors(t, kind, got, f.tensors(t, kind+"/"+lora.WeightsFile))
				again, _, err := lora.ReadConfig(dir)
				if err != nil || !slices.Equal(again.Parameters, cfg.Parameters) || len(again.Ranks) != len(cfg.Ranks) {
					t.Errorf("got %+v, %v, want %+v", again, err, cfg)
				}
				if kind == "adapter_experts" {
					proveExpertGradients(t, f, m, dir)
				}
			}
		})
	}
}

// proveExpertGradients puts the gradients in the places of the weights and saves those, so that they have PEFT's layout.
func proveExpertGradients(t *testing.T, f fixture, m models.Model, dir string) {
	in := f.inputs(t)
	tr := f.trainer(t, m, optim.Config{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8}, false)
	if _, _, err := tr.Step([]data.Batch{batch(in.IDs, in.IDs)}, 0, 0).Wait(); err != nil {
		t.Fatal(err)
	}
	for _, p := range tr.Optimizer.Params {
		p.Weight.SetValues(p.Grad.Values())
	}
	cfg, _, err := lora.ReadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	d, err := durable.NewDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Abort()
	if err := lora.Save(d, m, cfg, lora.Base{}); err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	got, err := safetensors.Open(filepath.Join(dir, lora.WeightsFile))
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	want := f.tensors(t, "adapter_experts_grads.safetensors")
	if len(got.Names()) != len(want.Names()) {
		t.Errorf("got %d gradients, want %d", len(got.Names()), len(want.Names()))
	}
	for _, name := range want.Names() {
		if d := distance(f.floats(t, got, name), f.floats(t, want, name)); !(d <= gradientTolerance) {
			t.Errorf("%s: the gradient is off by %.2g of its norm", name, d)
		}
	}
}

// TestBalance compares the gradients of the loss that balances the load of experts with
// those of transformers' load_balancing_loss_func, which reference/aux_grads.safetensors has.
func TestBalance(t *testing.T) {
	for name, f := range mixtures(t) {
		for _, recompute := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/recompute %v", name, recompute), func(t *testing.T) {
				in := f.inputs(t)
				var aux struct{ Aux, Coef float64 }
				f.json(t, "aux.json", &aux)
				var want struct{ Loss float64 }
				f.json(t, "results.json", &want)
				grads, more := f.tensors(t, "grads.safetensors"), f.tensors(t, "aux_grads.safetensors")
				tr := f.trainer(t, f.load(t, "config.json", true), optim.Config{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8}, recompute)
				tr.Balance(aux.Coef)
				loss, _, err := tr.Step([]data.Batch{batch(in.IDs, in.IDs)}, 0, 0).Wait()
				if err != nil {
					t.Fatal(err)
				}
				nearLoss(t, "loss", loss, want.Loss+aux.Coef*aux.Aux)
				for _, p := range tr.Optimizer.Params {
					wanted := f.floats(t, grads, p.Name)
					got, aside := p.Grad.Values(), make([]float32, len(wanted))
					if _, ok := more.Tensor(p.Name); ok {
						aside = f.floats(t, more, p.Name)
					}
					for i := range got {
						got[i] -= wanted[i]
					}
					if d, n := distance(got, aside), distance(aside, make([]float32, len(aside))); n > 1e-3 && !(d <= gradientTolerance) {
						t.Errorf("%s: the gradient is off by %.2g of its norm", p.Name, d)
					} else if n <= 1e-3 && !(distance(got, make([]float32, len(got))) <= 1e-4) {
						t.Errorf("%s: the gradient should not change", p.Name)
					}
				}
			})
		}
	}
	tr := fixture{dev: openCPU(t)}
	m := newTiny(t, tr.dev, families[0].config)
	trainer := tr.trainer(t, m, optim.Config{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8}, false)
	trainer.Balance(0.01)
	if _, _, err := trainer.Step([]data.Batch{{Tokens: []int32{1, 2}, Targets: []int32{2, 3}, B: 1, T: 2}}, 0, 0).Wait(); err == nil || !strings.Contains(err.Error(), "no experts") {
		t.Errorf("got %v, want an error for a model without experts", err)
	}
}

func TestExpertConfigErrors(t *testing.T) {
	const sizes = `"vocab_size": 17, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2`
	for _, tt := range []struct{ name, arch, keys, want string }{
		{"fits", "MixtralForCausalLM", `"num_local_experts": 4`, ""},
		{"fewer than are chosen", "MixtralForCausalLM", `"num_local_experts": 1`, "num_experts_per_tok 2 of num_local_experts 1: at most 16384 experts, and at most 1 of them per token"},
		{"no experts", "MixtralForCausalLM", `"num_local_experts": 0`, "num_local_experts is 0"},
		{"none chosen", "MixtralForCausalLM", `"num_experts_per_tok": 0`, "num_experts_per_tok is 0"},
		{"too many", "MixtralForCausalLM", `"num_local_experts": 100000`, "num_local_experts 100000"},
		{"noise", "MixtralForCausalLM", `"router_jitter_noise": 0.1`, "router_jitter_noise is 0.1"},
		{"no noise", "MixtralForCausalLM", `"router_jitter_noise": 0.0`, ""},
		{"activation", "MixtralForCausalLM", `"hidden_act": "gelu"`, `hidden_act is "gelu"`},
		{"window", "MixtralForCausalLM", `"sliding_window": -1`, "sliding_window -1"},
		{"fits", "Qwen3MoeForCausalLM", `"num_experts": 8`, ""},
		{"too many chosen", "Qwen3MoeForCausalLM", `"num_experts": 100, "num_experts_per_tok": 65`, "num_experts_per_tok 65 of num_experts 100"},
		{"step", "Qwen3MoeForCausalLM", `"decoder_sparse_step": 0`, "decoder_sparse_step is 0"},
		{"expert size", "Qwen3MoeForCausalLM", `"moe_intermediate_size": -1`, "moe_intermediate_size is -1"},
		{"window", "Qwen3MoeForCausalLM", `"use_sliding_window": true`, "use_sliding_window is true"},
		{"dense layers", "Qwen3MoeForCausalLM", `"mlp_only_layers": ["a"]`, "mlp_only_layers is a string"},
	} {
		t.Run(tt.arch+"/"+tt.name, func(t *testing.T) {
			_, err := models.New(fmt.Appendf(nil, `{"architectures": [%q], %s, %s}`, tt.arch, sizes, tt.keys))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
