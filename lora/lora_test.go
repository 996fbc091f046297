package lora

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/data"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/optim"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/internal/train"
	"github.com/litgpt-go/litgpt/models"
)

const tiny = `{"architectures": ["LlamaForCausalLM"], "vocab_size": 17, "hidden_size": 16,
	"intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}`

var tinyBatch = data.Batch{Tokens: []int32{1, 2, 3, 4, 5, 6, 7, 8}, Targets: []int32{2, 3, 4, 5, 6, 7, 8, 9}, B: 2, T: 4}

func openCPU(t *testing.T) *tensor.Device {
	t.Helper()
	dev, err := tensor.Open("cpu", tensor.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dev.Close)
	return dev
}

// newTiny is a model of the same random weights every time, in F32 or another type.
func newTiny(t *testing.T, dev *tensor.Device, config string, dtype tensor.DType) models.Model {
	t.Helper()
	m, err := models.New([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, p := range nn.Params(m) {
			p.Free()
		}
	})
	rng := rand.New(rand.NewPCG(1, 2))
	for _, p := range nn.Params(m) {
		to := dtype
		if len(p.Shape()) == 1 {
			to = tensor.F32
		}
		if err := dev.Alloc(p, to); err != nil {
			t.Fatal(err)
		}
		x := make([]float32, p.Numel())
		for i := range x {
			if x[i] = 1; len(p.Shape()) > 1 {
				x[i] = float32(0.3 * rng.NormFloat64())
			}
		}
		p.SetValues(x)
	}
	return m
}

func inject(t *testing.T, dev *tensor.Device, m models.Model, cfg Config) ([]string, []*tensor.Tensor) {
	t.Helper()
	names, weights, err := Inject(dev, m, cfg, rand.New(rand.NewPCG(3, 4)))
	if err != nil {
		t.Fatal(err)
	}
	return names, weights
}

func newTrainer(t *testing.T, dev *tensor.Device, m models.Model, names []string, weights []*tensor.Tensor, recompute bool, seed int64) *train.Trainer {
	t.Helper()
	o, err := optim.New(dev, optim.Config{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8}, names, weights)
	if err != nil {
		t.Fatal(err)
	}
	tr := train.New(dev, m, o, recompute, seed)
	t.Cleanup(func() { tr.Close(); o.Close() })
	return tr
}

func steps(t *testing.T, tr *train.Trainer, n int, lr float64) (losses []float64) {
	t.Helper()
	for range n {
		loss, _, err := tr.Step([]data.Batch{tinyBatch}, lr, 1).Wait()
		if err != nil {
			t.Fatal(err)
		}
		losses = append(losses, loss)
	}
	return losses
}

func logits(t *testing.T, dev *tensor.Device, m models.Model) []float32 {
	t.Helper()
	g := tensor.NewGraph()
	b := nn.NewBatch(g, 1, 4)
	l := m.Logits(m.Forward(b))
	p, err := g.Compile(dev, l)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	b.Set([]int32{1, 2, 3, 4}, 0)
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	return l.Values()
}

func maxDiff(a, b []float32) (d float64) {
	for i := range a {
		x := math.Abs(float64(a[i]) - float64(b[i]))
		if math.IsNaN(x) {
			return x
		}
		d = max(d, x)
	}
	return d
}

func TestInjectTrainMerge(t *testing.T) {
	for _, tt := range []struct {
		dtype     tensor.DType
		tolerance float64 // of merging: a rounding of the weights
	}{{tensor.F32, 1e-4}, {tensor.BF16, 0.1}, {tensor.F16, 0.02}} {
		t.Run(tt.dtype.String(), func(t *testing.T) {
			dev := openCPU(t)
			m := newTiny(t, dev, tiny, tt.dtype)
			base := logits(t, dev, m)
			names, weights := inject(t, dev, m, Config{Rank: 2, Alpha: 4, Targets: []string{"q_proj", "v_proj", "down_proj"}})
			if n := 2 * 3 * 2; len(weights) != n || len(names) != n {
				t.Fatalf("got %d trainable weights, want %d", len(weights), n)
			}
			for i, w := range weights {
				if w.DType() != tensor.F32 || !w.Trainable || w.Name != names[i] || !strings.Contains(names[i], "_proj.lora_") {
					t.Errorf("%s: got %v named %q", names[i], w.DType(), w.Name)
				}
			}
			if got := logits(t, dev, m); !slices.Equal(got, base) {
				t.Errorf("injection changed the scores by %g", maxDiff(base, got))
			}
			frozen := map[string][]byte{}
			for name, p := range nn.Params(m) {
				if !p.Trainable {
					frozen[name] = p.Bytes()
				}
			}
			if len(frozen) != 1+2*9+2 {
				t.Errorf("got %d frozen weights", len(frozen))
			}
			losses := steps(t, newTrainer(t, dev, m, names, weights, false, 1), 150, 3e-2)
			if first, last := losses[0], losses[len(losses)-1]; !(last < first/2) {
				t.Errorf("loss went from %g to %g", first, last)
			}
			for name, p := range nn.Params(m) {
				if w, ok := frozen[name]; ok && !slices.Equal(w, p.Bytes()) {
					t.Errorf("frozen weight %s moved", name)
				}
			}
			trained := logits(t, dev, m)
			if maxDiff(base, trained) < 0.5 {
				t.Error("training left the scores as they were")
			}
			if err := Merge(dev, m); err != nil {
				t.Fatal(err)
			}
			if d := maxDiff(trained, logits(t, dev, m)); !(d <= tt.tolerance) {
				t.Errorf("merging changed the scores by %g", d)
			}
			n := 0
			for name, p := range nn.Params(m) {
				if n++; isAdapter(name) {
					t.Errorf("%s is left", name)
				}
				if len(p.Shape()) > 1 && p.DType() != tt.dtype {
					t.Errorf("%s: got %v, want %v", name, p.DType(), tt.dtype)
				}
			}
			if n != len(frozen) {
				t.Errorf("got %d weights after merging, want %d", n, len(frozen))
			}
		})
	}
}

// TestMergeMapped merges into a weight that is mapped from a file, which must stay as it is.
func TestMergeMapped(t *testing.T) {
	dev := openCPU(t)
	m := newTiny(t, dev, tiny, tensor.F32)
	var q *nn.Linear
	for name, l := range nn.Linears(m) {
		if name == "model.layers.1.self_attn.q_proj" {
			q = l
		}
	}
	file := q.Weight.Bytes()
	before := slices.Clone(file)
	if err := dev.Map(q.Weight, tensor.F32, file); err != nil {
		t.Fatal(err)
	}
	_, weights := inject(t, dev, m, Config{Rank: 1, Alpha: 1, Targets: []string{"layers.1.self_attn.q_proj"}})
	if len(weights) != 2 {
		t.Fatalf("got %d weights, want those of one layer", len(weights))
	}
	weights[1].SetValues(slices.Repeat([]float32{0.5}, weights[1].Numel()))
	want := logits(t, dev, m)
	if err := Merge(dev, m); err != nil {
		t.Fatal(err)
	}
	if d := maxDiff(want, logits(t, dev, m)); !(d <= 1e-4) {
		t.Errorf("merging changed the scores by %g", d)
	}
	if !slices.Equal(file, before) {
		t.Error("merging wrote to the file")
	}
	if slices.Equal(q.Weight.Bytes(), before) {
		t.Error("nothing was merged")
	}
}

func TestMergeTiedHead(t *testing.T) {
	dev := openCPU(t)
	m := newTiny(t, dev, strings.TrimSuffix(tiny, "}")+`, "tie_word_embeddings": true}`, tensor.F32)
	inject(t, dev, m, Config{Rank: 1, Alpha: 1, Targets: []string{"lm_head"}})
	err := Merge(dev, m)
	if want := "lora: lm_head shares its weight with model.embed_tokens.weight"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestInjectErrors(t *testing.T) {
	const layers = "this model's layers are q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, lm_head"
	for _, tt := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"no match", Config{Rank: 2, Alpha: 4, Targets: []string{"query"}}, "lora: no layer is called query; " + layers},
		{"some match", Config{Rank: 2, Alpha: 4, Targets: []string{"query", "v_proj", "*_fc"}}, "lora: no layer is called query, *_fc; " + layers},
		{"no targets", Config{Rank: 2, Alpha: 4}, "no layers are chosen"},
		{"rank", Config{Rank: 0, Alpha: 4, Targets: []string{"q_proj"}}, "rank is 0"},
		{"huge rank", Config{Rank: 1 << 40, Alpha: 4, Targets: []string{"q_proj"}}, "rank is 1099511627776"},
		{"alpha", Config{Rank: 2, Alpha: math.NaN(), Targets: []string{"q_proj"}}, "alpha is NaN"},
		{"dropout", Config{Rank: 2, Alpha: 4, Dropout: 1, Targets: []string{"q_proj"}}, "dropout is 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dev := openCPU(t)
			m := newTiny(t, dev, tiny, tensor.F32)
			_, _, err := Inject(dev, m, tt.cfg, rand.New(rand.NewPCG(3, 4)))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			for name, l := range nn.Linears(m) {
				if l.Adapter != nil {
					t.Errorf("%s has an adapter after the error", name)
				}
			}
		})
	}
}

func TestInjectTargets(t *testing.T) {
	for _, tt := range []struct {
		targets []string
		layers  int
	}{{[]string{"q_proj"}, 2}, {[]string{"*_proj"}, 14}, {[]string{"*_proj", "lm_head"}, 15}, {[]string{"lm_head"}, 1}, {[]string{"mlp.up_proj"}, 2}, {[]string{"model.layers.0.mlp.up_proj"}, 1}} {
		dev := openCPU(t)
		_, weights := inject(t, dev, newTiny(t, dev, tiny, tensor.F32), Config{Rank: 2, Alpha: 4, Targets: tt.targets})
		if len(weights) != 2*tt.layers {
			t.Errorf("%v: got %d weights, want those of %d layers", tt.targets, len(weights), tt.layers)
		}
		bound := 0.0
		for i, w := range weights {
			for _, x := range w.Values() {
				if i%2 == 0 {
					bound = max(bound, math.Abs(float64(x))*math.Sqrt(float64(w.Dim(1))))
				} else if x != 0 {
					t.Fatalf("%v: B begins with %g", tt.targets, x)
				}
			}
		}
		if bound > 1 || bound < 0.9 {
			t.Errorf("%v: A reaches to %g/√in, want almost 1", tt.targets, bound)
		}
	}
}

// TestDropout checks what the mask depends on: the seed and the step, not the memory saved by recomputation, nor anything in evaluation.
func TestDropout(t *testing.T) {
	run := func(dropout float64, recompute bool, seed int64) []float64 {
		dev := openCPU(t)
		m := newTiny(t, dev, tiny, tensor.F32)
		names, weights := inject(t, dev, m, Config{Rank: 2, Alpha: 4, Dropout: dropout, Targets: []string{"q_proj", "down_proj"}})
		return steps(t, newTrainer(t, dev, m, names, weights, recompute, seed), 5, 3e-2)
	}
	none, some := run(0, false, 1), run(0.5, false, 1)
	if none[0] != some[0] { // B is zero
		t.Errorf("dropout changed the first loss from %g to %g", none[0], some[0])
	}
	if slices.Equal(none, some) {
		t.Error("dropout changed nothing")
	}
	if again := run(0.5, false, 1); !slices.Equal(again, some) {
		t.Errorf("got losses %v with the same seed, want %v", again, some)
	}
	if again := run(0.5, true, 1); !slices.Equal(again, some) {
		t.Errorf("got losses %v with recomputation, want %v", again, some)
	}
	if other := run(0.5, false, 2); slices.Equal(other, some) {
		t.Error("another seed gives the same masks")
	}

	dev := openCPU(t)
	m := newTiny(t, dev, tiny, tensor.F32)
	names, weights := inject(t, dev, m, Config{Rank: 2, Alpha: 4, Dropout: 0.5, Targets: []string{"q_proj"}})
	weights[1].SetValues(slices.Repeat([]float32{0.5}, weights[1].Numel()))
	if losses := steps(t, newTrainer(t, dev, m, names, weights, false, 1), 2, 0); losses[0] == losses[1] { // the weights stay at a rate of 0
		t.Error("two steps have the same mask")
	}

	var evaluated [2][]float32
	for i, dropout := range []float64{0, 0.5} {
		m := newTiny(t, dev, tiny, tensor.F32)
		_, weights := inject(t, dev, m, Config{Rank: 2, Alpha: 4, Dropout: dropout, Targets: []string{"q_proj"}})
		weights[1].SetValues(slices.Repeat([]float32{0.5}, weights[1].Numel()))
		e := train.NewEvaluator(dev, m)
		defer e.Close()
		var err error
		if evaluated[i], err = e.Loss(tinyBatch); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(evaluated[0], evaluated[1]) {
		t.Error("dropout takes part in evaluation")
	}
}
