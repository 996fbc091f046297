package models_test

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/cudatest"
	"github.com/litgpt-go/litgpt/internal/data"
	"github.com/litgpt-go/litgpt/internal/generate"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/optim"
	"github.com/litgpt-go/litgpt/internal/sample"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/internal/train"
	"github.com/litgpt-go/litgpt/lora"
	"github.com/litgpt-go/litgpt/models"
)

// A fixture is a tiny Hugging Face checkpoint with what transformers and PEFT
// compute from it in float32: testdata/fixtures/README.md says what is in which
// file. TestFixtures compares. It also takes every directory of that format below
// the one that the environment variable LITGPT_FIXTURES names.

// The agreement that float32 allows.
const (
	logitsTolerance   = 2e-4 // absolute
	gradientTolerance = 1e-3 // of the tensor's norm
	lossTolerance     = 1e-3 // relative
	trainedTolerance  = 2e-3 // absolute, of logits after twelve updates, which carry the rounding of twelve gradients
)

type fixture struct {
	dir      string
	required bool // a missing file is an error; otherwise it skips its proof
	dev      *tensor.Device
}

// A proof is what is compared, by itself.
type proof struct {
	name   string
	trains bool // updates weights many times
	prove  func(t *testing.T, f fixture)
}

var proofs = []proof{
	{"names", false, proveNames},
	{"spellings", false, proveSpellings},
	{"logits", false, proveLogits},
	{"loss", false, proveLoss},
	{"gradients", false, proveGradients},
	{"full", true, proveFull},
	{"recompute", true, proveRecompute},
	{"lora", true, proveLoRA},
	{"greedy", false, proveGreedy},
	{"cache", false, proveCache},
}

const own = "testdata/fixtures"

func TestFixtures(t *testing.T) {
	dirs := fixtures(t)
	if len(dirs) < 7 {
		t.Fatalf("%s has %d checkpoints, at least 7 wanted", own, len(dirs))
	}
	proveAll(t, openCPU(t), dirs, proofs)
}

// TestFixturesCUDA makes the same proofs on a GPU, in float32. The emulated one is
// slow: one checkpoint and no training does there, unless LITGPT_SLOW is set.
func TestFixturesCUDA(t *testing.T) {
	for name, lib := range cudatest.Libraries(t) {
		t.Run(name, func(t *testing.T) {
			dev, err := tensor.OpenLibrary(lib, 0, tensor.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(dev.Close)
			dirs, some := fixtures(t), proofs
			if name == "emulated" && os.Getenv("LITGPT_SLOW") == "" {
				dirs = map[string]string{"llama3.1": dirs["llama3.1"]}
				some = slices.DeleteFunc(slices.Clone(proofs), func(p proof) bool { return p.trains })
			}
			proveAll(t, dev, dirs, some)
		})
	}
}

// fixtures are our own and those of LITGPT_FIXTURES.
func fixtures(t *testing.T) map[string]string {
	t.Helper()
	dirs := checkpoints(t, own)
	if other := os.Getenv("LITGPT_FIXTURES"); other != "" {
		more := checkpoints(t, other)
		if len(more) == 0 {
			t.Fatalf("LITGPT_FIXTURES=%s has no checkpoint directories", other)
		}
		maps.Copy(dirs, more)
	}
	return dirs
}

func proveAll(t *testing.T, dev *tensor.Device, dirs map[string]string, proofs []proof) {
	for _, name := range slices.Sorted(maps.Keys(dirs)) {
		t.Run(name, func(t *testing.T) {
			f := fixture{dir: dirs[name], required: filepath.Dir(dirs[name]) == filepath.FromSlash(own), dev: dev}
			arch, err := models.Architecture(f.read(t, "config.json"))
			if err != nil {
				t.Fatal(err)
			}
			if !models.Supported(arch) {
				t.Skipf("package models has no file for %s", arch)
			}
			for _, p := range proofs {
				t.Run(p.name, func(t *testing.T) { p.prove(t, f) })
			}
		})
	}
}

// checkpoints finds the directories below root that hold a config.json, by their path in it.
func checkpoints(t *testing.T, root string) map[string]string {
	t.Helper()
	dirs := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "config.json" {
			return err
		}
		dir := filepath.Dir(path)
		name, err := filepath.Rel(root, dir)
		if name == "." {
			name = filepath.Base(dir)
		}
		dirs[filepath.ToSlash(name)] = dir
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

func proveNames(t *testing.T, f fixture) {
	var want struct{ Parameters int }
	f.json(t, "results.json", &want)
	n := 0
	for _, p := range nn.Params(f.load(t, "config.json", false)) { // checkpoint.Load wants the very names and shapes
		n += p.Numel()
	}
	if n != want.Parameters {
		t.Errorf("got %d parameters, want %d", n, want.Parameters)
	}
}

func proveSpellings(t *testing.T, f fixture) {
	in := f.inputs(t)
	a, b := f.load(t, "config.json", false), f.load(t, "config_v5.json", false)
	if a.Dims() != b.Dims() {
		t.Errorf("got %+v from config.json, %+v from config_v5.json", a.Dims(), b.Dims())
	}
	x, y := logits(t, f.dev, a, in.Long), logits(t, f.dev, b, in.Long)
	if !slices.Equal(x, y) {
		t.Error("the logits differ")
	}
}

func proveLogits(t *testing.T, f fixture) {
	in, out := f.inputs(t), f.tensors(t, "outputs.safetensors")
	m := f.load(t, "config.json", false)
	near(t, "logits", logits(t, f.dev, m, in.IDs), f.floats(t, out, "logits"), logitsTolerance)
	near(t, "logits_long", logits(t, f.dev, m, in.Long), f.floats(t, out, "logits_long"), logitsTolerance)
}

func proveLoss(t *testing.T, f fixture) {
	in := f.inputs(t)
	var want struct {
		Loss   float64
		Masked float64 `json:"loss_masked"`
	}
	f.json(t, "results.json", &want)
	e := train.NewEvaluator(f.dev, f.load(t, "config.json", false))
	defer e.Close()
	for _, c := range []struct {
		name   string
		labels [][]int32
		want   float64
	}{{"loss", in.IDs, want.Loss}, {"loss_masked", in.Masked, want.Masked}} {
		nll, err := e.Loss(batch(in.IDs, c.labels))
		if err != nil {
			t.Fatal(err)
		}
		var sum float64
		for _, x := range nll {
			sum += float64(x)
		}
		nearLoss(t, c.name, sum/float64(len(nll)), c.want)
	}
}

func proveGradients(t *testing.T, f fixture) {
	in := f.inputs(t)
	var src checkpoint.Source = f.tensors(t, "grads.safetensors")
	m := f.load(t, "config.json", true)
	if a, ok := m.(checkpoint.Adapter); ok {
		src = a.AdaptCheckpoint(src)
	}
	tr := f.trainer(t, m, optim.Config{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8}, false)
	if _, _, err := tr.Step([]data.Batch{batch(in.IDs, in.IDs)}, 0, 0).Wait(); err != nil { // a rate of 0: only the gradients
		t.Fatal(err)
	}
	if got, want := len(tr.Optimizer.Params), len(src.Names()); got != want {
		t.Errorf("got %d gradients, want %d", got, want)
	}
	worst := 0.0
	for _, p := range tr.Optimizer.Params {
		d := distance(p.Grad.Values(), f.floats(t, src, p.Name))
		if worst = max(worst, d); !(d <= gradientTolerance) {
			t.Errorf("%s: the gradient is off by %.2g of its norm", p.Name, d)
		}
	}
	t.Logf("gradients: within %.1e of their norms", worst)
}

func proveFull(t *testing.T, f fixture) {
	in, out := f.inputs(t), f.tensors(t, "outputs.safetensors")
	var want struct {
		Losses []float64 `json:"full_losses"`
		Norms  []float64 `json:"full_grad_norms"`
	}
	f.json(t, "results.json", &want)
	m := f.load(t, "config.json", true)
	losses, norms := in.steps(t, f.trainer(t, m, in.config(in.AdamW.Full), false), in.AdamW.Full.LR)
	nearLosses(t, "loss", losses, want.Losses)
	nearLosses(t, "gradient norm", norms, want.Norms)
	near(t, "full_final_logits", logits(t, f.dev, m, in.IDs), f.floats(t, out, "full_final_logits"), trainedTolerance)
}

func proveRecompute(t *testing.T, f fixture) {
	in := f.inputs(t)
	var losses, norms [2][]float64
	for i, recompute := range []bool{false, true} {
		tr := f.trainer(t, f.load(t, "config.json", true), in.config(in.AdamW.Full), recompute)
		losses[i], norms[i] = in.steps(t, tr, in.AdamW.Full.LR)
	}
	if !slices.Equal(losses[0], losses[1]) || !slices.Equal(norms[0], norms[1]) {
		t.Errorf("got losses %v and norms %v with recomputation, %v and %v without", losses[1], norms[1], losses[0], norms[0])
	}
}

func proveLoRA(t *testing.T, f fixture) {
	in, out := f.inputs(t), f.tensors(t, "outputs.safetensors")
	var want struct {
		Losses    []float64 `json:"lora_losses"`
		Norms     []float64 `json:"lora_grad_norms"`
		Trainable int       `json:"lora_trainable"`
	}
	f.json(t, "results.json", &want)
	trained := f.tensors(t, "adapter_trained/"+lora.WeightsFile)
	f.tensors(t, "adapter/"+lora.WeightsFile)
	m := f.load(t, "config.json", false)
	if _, err := lora.Load(f.dev, m, filepath.Join(f.dir, "reference", "adapter")); err != nil {
		t.Fatal(err)
	}
	tr := f.trainer(t, m, in.config(in.AdamW.LoRA), false)
	n := 0
	for _, p := range tr.Optimizer.Params {
		n += p.Weight.Numel()
	}
	if n != want.Trainable {
		t.Errorf("got %d trainable parameters, want %d", n, want.Trainable)
	}
	losses, norms := in.steps(t, tr, in.AdamW.LoRA.LR)
	nearLosses(t, "loss", losses, want.Losses)
	nearLosses(t, "gradient norm", norms, want.Norms)
	near(t, "lora_logits", logits(t, f.dev, m, in.IDs), f.floats(t, out, "lora_logits"), trainedTolerance)
	worst := 0.0
	for _, p := range tr.Optimizer.Params {
		d := distance(p.Weight.Values(), f.floats(t, trained, "base_model.model."+p.Name))
		if worst = max(worst, d); !(d <= lossTolerance) {
			t.Errorf("%s: the trained weight is off by %.2g of its norm", p.Name, d)
		}
	}
	t.Logf("trained adapter: within %.1e of its norms", worst)
}

func proveGreedy(t *testing.T, f fixture) {
	in := f.inputs(t)
	var want struct{ Greedy []int32 }
	f.json(t, "results.json", &want)
	m := f.load(t, "config.json", false)
	e := generate.New(f.dev, m, generate.Options{Cache: tensor.F32})
	defer e.Close()
	var got []int32
	for token, err := range e.Generate(t.Context(), generate.Request{Prompt: in.Prompt, MaxTokens: len(want.Greedy), Sampling: sample.Config{}}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, token.ID)
	}
	if !slices.Equal(got, want.Greedy) {
		t.Errorf("got  %v\nwant %v", got, want.Greedy)
	}
	proveTogether(t, f, m, in.Prompt, want.Greedy)
}

// proveTogether reads prompts of several lengths in small pieces at once, with guesses, where one sequence after another has to wait.
func proveTogether(t *testing.T, f fixture, m models.Model, prompt, want []int32) {
	t.Helper()
	most := min(m.Dims().Context, len(prompt)+len(want)+10)
	e := generate.New(f.dev, m, generate.Options{Cache: tensor.F32, Sequences: 4, Chunk: 5, Positions: 2 * most, Lookup: 2})
	defer e.Close()
	var wg sync.WaitGroup
	for i := range 5 {
		p := prompt[:len(prompt)-i%min(3, len(prompt))]
		wg.Go(func() {
			var got []int32
			for token, err := range e.Generate(t.Context(), generate.Request{Prompt: p, MaxTokens: len(want)}) {
				if err != nil {
					t.Error(err)
					return
				}
				got = append(got, token.ID)
			}
			if len(p) == len(prompt) && !slices.Equal(got, want) {
				t.Errorf("together: got  %v\nwant %v", got, want)
			}
		})
	}
	wg.Wait()
	if s := e.Stats(); s.UsedPages != 0 || s.Running != 0 {
		t.Errorf("afterwards: %+v", s)
	}
}

// proveCache compares the logits of a sequence read in pieces with those of the sequence read at once.
func proveCache(t *testing.T, f fixture) {
	tokens := f.inputs(t).Long[0]
	m := f.load(t, "config.json", false)
	d := m.Dims()
	want := logits(t, f.dev, m, [][]int32{tokens})
	one := make([]int, len(tokens))
	for i := range one {
		one[i] = 1
	}
	for name, pieces := range map[string][]int{"5, 1, rest": {5, 1, len(tokens) - 6}, "one at a time": one} {
		cache := newPaged(t, f.dev, tensor.F32, d, 1, len(tokens))
		var got []float32
		at := 0
		for _, n := range pieces {
			got = append(got, cached(t, f.dev, m, cache, tokens[at:at+n], at, len(tokens))...)
			at += n
		}
		near(t, name, got, want, logitsTolerance)
	}
}
