package lora

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
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

// Models whose rows are whole blocks of every quantized type.
const (
	blocks = `{"architectures": ["LlamaForCausalLM"], "vocab_size": 40, "hidden_size": 256, "intermediate_size": 256,
		"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": true}`
	expertBlocks = `{"architectures": ["MixtralForCausalLM"], "vocab_size": 40, "hidden_size": 64, "intermediate_size": 32, "num_hidden_layers": 2,
		"num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 4, "num_experts_per_tok": 2}`
)

// quantized is a checkpoint of random weights, with matrices of the type d, and the same one dequantized.
func quantized(t *testing.T, config string, d tensor.DType) (q, floats memory) {
	t.Helper()
	m, err := models.New([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(7, 8))
	q, floats = memory{}, memory{}
	for name, p := range nn.Params(m) {
		v := make([]float32, p.Numel())
		for i := range v {
			if v[i] = 1; len(p.Shape()) > 1 {
				v[i] = float32(rng.NormFloat64() / 10)
			}
		}
		to := tensor.F32
		if n := p.Shape()[len(p.Shape())-1]; len(p.Shape()) > 1 && n%d.Block() == 0 {
			to = d
		}
		raw := tensor.FromFloats(to, v)
		tensor.ToFloats(to, raw, v)
		q[name] = safetensors.Tensor{Name: name, DType: safetensors.DType(to.String()), Shape: p.Shape(), Data: raw}
		floats[name] = safetensors.Tensor{Name: name, DType: "F32", Shape: p.Shape(), Data: tensor.FromFloats(tensor.F32, v)}
	}
	return q, floats
}

// from loads a model of the weights in src.
func from(t *testing.T, dev *tensor.Device, config string, src memory) models.Model {
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
	if err := checkpoint.Load(dev, m, src, checkpoint.Options{}); err != nil {
		t.Fatal(err)
	}
	return m
}

// wide and few are batches whose products have many rows, and few.
var (
	wide = data.Batch{Tokens: []int32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, Targets: []int32{2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}, B: 2, T: 6}
	few  = data.Batch{Tokens: []int32{1, 2, 3}, Targets: []int32{2, 3, -100}, B: 1, T: 3}
)

// TestQLoRA trains adapters on quantized weights, which stay as they are: losses and adapters
// are those of training on the weights dequantized to float32.
func TestQLoRA(t *testing.T) {
	dense := Config{Rank: 4, Alpha: 8, Targets: []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}}
	sparse := Config{Rank: 4, Alpha: 8, Targets: []string{"q_proj", "o_proj"}, Parameters: []string{"mlp.experts.gate_up_proj", "mlp.experts.down_proj"}}
	for _, tt := range []struct {
		name, config string
		cfg          Config
		types        []tensor.DType
	}{
		{"dense", blocks, dense, []tensor.DType{tensor.Q4_0, tensor.Q4_1, tensor.Q5_0, tensor.Q5_1, tensor.Q8_0, tensor.IQ4_NL, tensor.MXFP4,
			tensor.Q2_K, tensor.Q3_K, tensor.Q4_K, tensor.Q5_K, tensor.Q6_K, tensor.IQ4_XS}},
		{"experts", expertBlocks, sparse, []tensor.DType{tensor.Q4_1, tensor.Q8_0}},
	} {
		for _, d := range tt.types {
			t.Run(tt.name+"/"+d.String(), func(t *testing.T) {
				dev := openCPU(t)
				q, floats := quantized(t, tt.config, d)
				var losses [2][]float64
				var trained [2][][]float32
				for i, src := range []memory{q, floats} {
					m := from(t, dev, tt.config, src)
					if got := firstType(m); i == 0 && got != d {
						t.Fatalf("the weights are %v in memory, want %v", got, d)
					}
					names, weights := inject(t, dev, m, tt.cfg)
					tr := newTrainer(t, dev, m, names, weights, i == 0 && d == tensor.Q4_K, 1) // recomputed or not is the same
					for step := range 6 {
						b := wide
						if step%3 == 2 {
							b = few
						}
						loss, norm, err := tr.Step([]data.Batch{b}, 1e-3, 1).Wait()
						if err != nil {
							t.Fatal(err)
						}
						losses[i] = append(losses[i], loss, norm)
					}
					for _, w := range weights {
						trained[i] = append(trained[i], w.Values())
					}
					for name, p := range nn.Params(m) {
						if x, ok := src[name]; ok && !slices.Equal(p.Bytes(), x.Data) {
							t.Errorf("%s moved", name)
						}
					}
				}
				for i, want := range losses[1] {
					if got := losses[0][i]; !(math.Abs(got-want) <= 1e-5*math.Abs(want)) {
						t.Errorf("loss or norm %d: got %g, want %g", i, got, want)
					}
				}
				if losses[0][6] >= losses[0][0] {
					t.Errorf("the loss went from %g to %g", losses[0][0], losses[0][6])
				}
				// Floats and blocks are multiplied by different kernels, so gradients differ by rounding, which AdamW makes as large
				// as a step where the gradient is hardly more: 6 steps of 1e-3 here.
				for i := range trained[0] {
					if d := maxDiff(trained[0][i], trained[1][i]); !(d <= 1e-3) {
						t.Errorf("adapter %d is off by %g", i, d)
					}
				}
			})
		}
	}
}

// TestQLoRAGradient compares the gradient with the slope of the loss along it.
func TestQLoRAGradient(t *testing.T) {
	for _, tt := range []struct {
		name, config string
		cfg          Config
		d            tensor.DType
	}{
		{"dense", blocks, Config{Rank: 4, Alpha: 8, Targets: []string{"q_proj", "v_proj", "down_proj"}}, tensor.Q4_K},
		{"experts", expertBlocks, Config{Rank: 4, Alpha: 8, Parameters: []string{"mlp.experts.gate_up_proj", "mlp.experts.down_proj"}}, tensor.Q4_1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dev := openCPU(t)
			q, _ := quantized(t, tt.config, tt.d)
			m := from(t, dev, tt.config, q)
			randomAdapter(t, dev, m, tt.cfg)
			var names []string
			var weights []*tensor.Tensor
			for name, p := range nn.Params(m) {
				if p.Trainable {
					names, weights = append(names, name), append(weights, p)
				}
			}
			o, err := optim.New(dev, optim.Config{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8}, names, weights)
			if err != nil {
				t.Fatal(err)
			}
			defer o.Close()
			tr := train.New(dev, m, o, false, 1)
			defer tr.Close()
			loss := func() float64 {
				l, _, err := tr.Step([]data.Batch{wide}, 0, 0).Wait() // a rate of 0 changes nothing
				if err != nil {
					t.Fatal(err)
				}
				return l
			}
			loss()
			square := 0.0
			var at, grads [][]float32
			for _, p := range o.Params {
				g := p.Grad.Values()
				at, grads = append(at, p.Weight.Values()), append(grads, g)
				for _, x := range g {
					square += float64(x) * float64(x)
				}
			}
			const h = 1e-2
			move := func(by float64) float64 {
				for i, p := range o.Params {
					v := slices.Clone(at[i])
					for j := range v {
						v[j] += float32(by * float64(grads[i][j]) / math.Sqrt(square))
					}
					p.Weight.SetValues(v)
				}
				return loss()
			}
			slope := (move(h) - move(-h)) / (2 * h)
			if want := math.Sqrt(square); !(math.Abs(slope-want) <= 1e-2*want) || want < 1e-2 {
				t.Errorf("the loss rises by %g along the gradient, whose norm is %g", slope, want)
			}
		})
	}
}

// firstType is the type of the first matrix in memory.
func firstType(m models.Model) tensor.DType {
	for name, p := range nn.Params(m) {
		if strings.HasSuffix(name, "_proj.weight") {
			return p.DType()
		}
	}
	return tensor.F32
}
