package recipes_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/data"
	"github.com/litgpt-go/litgpt/internal/generate"
	"github.com/litgpt-go/litgpt/internal/ggufmap"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/optim"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/sample"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/internal/train"
	"github.com/litgpt-go/litgpt/lora"
	"github.com/litgpt-go/litgpt/models"
	"github.com/litgpt-go/litgpt/tokenizer"
)

// These tests compare with what transformers and PEFT compute from real weights,
// SmolLM2-135M-Instruct in float32 (https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct;
// the reference is of the weights in 4 bits, dequantized). The checkpoint is too
// large for the repository: LITGPT_SMOLLM2 names its directory, and
// LITGPT_SMOLLM2_ADAPTER that of the PEFT adapter that the ten LoRA steps start from;
// LITGPT_SMOLLM2_GGUF names the file of the weights in 4 bits, SmolLM2-135M-Instruct.Q4_1.gguf.

type smolReference struct {
	Greedy []struct {
		Prompt, Text string
		IDs          []int32
		Tokens       []int32
		Gap          []float64 `json:"top2_gap"` // between the two best logits
	}
	Perplexity struct {
		Windows, Length int
		NLL             []float64 `json:"mean_nll_per_window"`
		PPL             float64
		First           []int32 `json:"token_ids_first_32"`
	}
	LoRA struct {
		LR      float64
		Betas   [2]float64
		Decay   float64 `json:"weight_decay"`
		Clip    float64 `json:"clip_norm"`
		Batches [][][]int32
		Losses  []float64
		Norms   []float64 `json:"grad_norms"`
	}
}

// smollm2 gives the reference and the model, on a device with all processors.
func smollm2(t *testing.T) (ref smolReference, dir string, dev *tensor.Device, m models.Model) {
	t.Helper()
	dir = os.Getenv("LITGPT_SMOLLM2")
	if dir == "" {
		t.Skip("LITGPT_SMOLLM2 does not name the directory of SmolLM2-135M-Instruct in float32")
	}
	ref = readSmolLM2(t)
	config, err := checkpoint.ReadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	if m, err = models.New(config); err != nil {
		t.Fatal(err)
	}
	src, err := safetensors.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if dev, err = tensor.Open(cmp.Or(os.Getenv("LITGPT_DEVICE"), "cpu"), tensor.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, p := range nn.Params(m) {
			p.Free()
		}
		dev.Close()
		src.Close()
	})
	if err := checkpoint.Load(dev, m, src, checkpoint.Options{}); err != nil {
		t.Fatal(err)
	}
	return ref, dir, dev, m
}

func readSmolLM2(t *testing.T) (ref smolReference) {
	t.Helper()
	raw, err := os.ReadFile("testdata/smollm2.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &ref); err != nil {
		t.Fatal(err)
	}
	return ref
}

func smolTokenizer(t *testing.T, dir string) *tokenizer.Tokenizer {
	t.Helper()
	tok, err := tokenizer.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestSmolLM2Greedy(t *testing.T) {
	ref, dir, dev, m := smollm2(t)
	tok := smolTokenizer(t, dir)
	e := generate.New(dev, m, generate.Options{Cache: tensor.F32})
	defer e.Close()
	for _, tt := range ref.Greedy {
		t.Run(tt.Prompt, func(t *testing.T) {
			if got := tok.Encode(tt.Text, false); !slices.Equal(got, tt.IDs) {
				t.Fatalf("got the ids %v, want %v", got, tt.IDs)
			}
			i := 0
			for token, err := range e.Generate(t.Context(), generate.Request{Prompt: tt.IDs, MaxTokens: len(tt.Tokens), Sampling: sample.Config{}}) {
				if err != nil {
					t.Fatal(err)
				}
				if id := token.ID; id != tt.Tokens[i] {
					if tt.Gap[i] < 0.05 {
						t.Logf("token %d is %d instead of %d, whose logit is only %g larger: the comparison ends", i, id, tt.Tokens[i], tt.Gap[i])
						return
					}
					t.Fatalf("token %d: got %d, want %d (gap %g)", i, id, tt.Tokens[i], tt.Gap[i])
				}
				i++
			}
			if i != len(tt.Tokens) {
				t.Errorf("got %d tokens, want %d", i, len(tt.Tokens))
			}
			t.Logf("%d tokens equal", i)
		})
	}
}

// TestSmolLM2Together generates all of the reference at once, several times over, and with guesses.
func TestSmolLM2Together(t *testing.T) {
	ref, _, dev, m := smollm2(t)
	for _, o := range []generate.Options{{Sequences: 4}, {Sequences: 16}, {Sequences: 16, Chunk: 24}, {Sequences: 3, Lookup: 4}} {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			o.Positions = 16 * 256
			e := generate.New(dev, m, o)
			defer e.Close()
			var wg sync.WaitGroup
			for range 3 {
				for _, tt := range ref.Greedy {
					wg.Go(func() {
						i := 0
						for token, err := range e.Generate(t.Context(), generate.Request{Prompt: tt.IDs, MaxTokens: len(tt.Tokens)}) {
							if err != nil {
								t.Error(err)
								return
							}
							if token.ID != tt.Tokens[i] {
								if tt.Gap[i] >= 0.05 {
									t.Errorf("%s: token %d: got %d, want %d (gap %g)", tt.Prompt, i, token.ID, tt.Tokens[i], tt.Gap[i])
								}
								return
							}
							i++
						}
						if i != len(tt.Tokens) {
							t.Errorf("%s: got %d tokens, want %d", tt.Prompt, i, len(tt.Tokens))
						}
					})
				}
			}
			wg.Wait()
			t.Logf("%+v", e.Stats())
		})
	}
}

func TestSmolLM2Perplexity(t *testing.T) {
	ref, dir, dev, m := smollm2(t)
	raw, err := os.ReadFile("../demo/tinyshakespeare.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := ref.Perplexity
	ids := smolTokenizer(t, dir).Encode(string(raw[:40000]), false)
	if got := ids[:len(want.First)]; !slices.Equal(got, want.First) {
		t.Fatalf("got the ids %v, want %v", got, want.First)
	}
	e := train.NewEvaluator(dev, m)
	defer e.Close()
	var sum float64
	n := 0
	for i := range want.Windows {
		w := ids[i*want.Length : (i+1)*want.Length]
		nll, err := e.Loss(data.Batch{Tokens: w[:len(w)-1], Targets: w[1:], B: 1, T: len(w) - 1})
		if err != nil {
			t.Fatal(err)
		}
		mean := 0.0
		for _, x := range nll {
			mean += float64(x) / float64(len(nll))
		}
		sum, n = sum+mean*float64(len(nll)), n+len(nll)
		smolNear(t, "window's loss", mean, want.NLL[i])
	}
	smolNear(t, "perplexity", math.Exp(sum/float64(n)), want.PPL)
}

func TestSmolLM2LoRA(t *testing.T) {
	ref, _, dev, m := smollm2(t)
	smolLoRA(t, ref, dev, m)
}

// TestSmolLM2QLoRA trains on the weights in 4 bits as they are in the file: the losses are PEFT's on what they stand for.
func TestSmolLM2QLoRA(t *testing.T) {
	path := os.Getenv("LITGPT_SMOLLM2_GGUF")
	if path == "" {
		t.Skip("LITGPT_SMOLLM2_GGUF does not name SmolLM2-135M-Instruct.Q4_1.gguf")
	}
	src, err := ggufmap.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	m, err := models.New(src.Config)
	if err != nil {
		t.Fatal(err)
	}
	dev, err := tensor.Open(cmp.Or(os.Getenv("LITGPT_DEVICE"), "cpu"), tensor.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, p := range nn.Params(m) {
			p.Free()
		}
		dev.Close()
		src.Close()
	})
	if err := checkpoint.Load(dev, m, src, checkpoint.Options{}); err != nil {
		t.Fatal(err)
	}
	types := map[tensor.DType]int{}
	for _, p := range nn.Params(m) {
		types[p.DType()]++
	}
	if types[tensor.Q4_1] < 200 {
		t.Errorf("got weights of the types %v, most of them Q4_1 wanted", types)
	}
	smolLoRA(t, readSmolLM2(t), dev, m)
}

// smolLoRA repeats the ten steps from the initial adapter.
func smolLoRA(t *testing.T, ref smolReference, dev *tensor.Device, m models.Model) {
	t.Helper()
	adapter := os.Getenv("LITGPT_SMOLLM2_ADAPTER")
	if adapter == "" {
		t.Skip("LITGPT_SMOLLM2_ADAPTER does not name the directory of the initial adapter")
	}
	want := ref.LoRA
	if _, err := lora.Load(dev, m, adapter); err != nil {
		t.Fatal(err)
	}
	var names []string
	var weights []*tensor.Tensor
	for name, p := range nn.Params(m) {
		if p.Trainable {
			names, weights = append(names, name), append(weights, p)
		}
	}
	o, err := optim.New(dev, optim.Config{Beta1: want.Betas[0], Beta2: want.Betas[1], Eps: 1e-8, WeightDecay: want.Decay, DecayAll: true}, names, weights)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	tr := train.New(dev, m, o, false, 1)
	defer tr.Close()
	for i, rows := range want.Batches {
		b := data.Batch{B: len(rows), T: len(rows[0])}
		for _, r := range rows {
			b.Tokens = append(b.Tokens, r...)
			b.Targets = append(append(b.Targets, r[1:]...), data.Ignore)
		}
		loss, norm, err := tr.Step([]data.Batch{b}, want.LR, want.Clip).Wait()
		if err != nil {
			t.Fatal(err)
		}
		smolNear(t, "loss", loss, want.Losses[i])
		smolNear(t, "gradient norm", norm, want.Norms[i])
	}
}

// smolNear wants agreement within 1e-3 relative.
func smolNear(t *testing.T, what string, got, want float64) {
	t.Helper()
	d := math.Abs(got-want) / math.Abs(want)
	t.Logf("%s: got %.6f, want %.6f (%.1e)", what, got, want, d)
	if !(d <= 1e-3) {
		t.Errorf("%s: got %.6f, want %.6f", what, got, want)
	}
}
