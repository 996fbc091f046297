package recipes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/data"
	"github.com/litgpt-go/litgpt/internal/generate"
	"github.com/litgpt-go/litgpt/internal/progress"
	"github.com/litgpt-go/litgpt/internal/sample"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

const demoModel = "../demo/model"

var silent = Out{
	Log:    func(*progress.Bar) *slog.Logger { return slog.New(slog.DiscardHandler) },
	NewBar: func(int64, string, string) *progress.Bar { return nil },
	Result: io.Discard,
}

// planFinetune are settings of three short steps, of one sample each, with an example after every step.
func planFinetune(t *testing.T, c Finetune) Finetune {
	t.Helper()
	var samples []map[string]string
	for i, n := range []int{4, 40, 12, 25} {
		samples = append(samples, map[string]string{"instruction": fmt.Sprint("Number ", i), "output": strings.Repeat("word ", n)})
	}
	raw, err := json.Marshal(samples)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c.Data.JSON.JSONPath = filepath.Join(dir, "data.json")
	if err := os.WriteFile(c.Data.JSON.JSONPath, raw, 0o666); err != nil {
		t.Fatal(err)
	}
	c.CheckpointDir, c.OutDir, c.Threads = demoModel, filepath.Join(dir, "out"), 1
	c.Train.GlobalBatchSize, c.Train.MicroBatchSize, c.Train.Epochs, c.Train.LRWarmupSteps = 1, 1, 1, 0
	c.Data.JSON.ValSplitFraction, c.Data.JSON.MaskPrompt = 0.25, false
	c.Eval.Interval, c.Eval.MaxNewTokens = 1, 5
	return c
}

func nonzero(uses []tensor.Use) (out []tensor.Use) {
	for _, u := range uses {
		if u.Bytes+u.Mapped > 0 {
			out = append(out, u)
		}
	}
	return out
}

// What a run was planned to take is what it took, to the byte and by label.
func TestPlanIsTheRun(t *testing.T) {
	train := func(t *testing.T, c Finetune, run func(c Finetune, s *session, l *loaded, p precision) error) {
		s, l, prec, err := c.begin(silent)
		if err != nil {
			t.Fatal(err)
		}
		defer s.dev.Close()
		defer l.close()
		if err := run(c, s, l, prec); err != nil {
			t.Fatal(err)
		}
		got, want := nonzero(s.dev.Peak()), nonzero(s.planned)
		if !reflect.DeepEqual(got, want) || len(got) < 4 {
			t.Errorf("the run took\n%+v\nplanned were\n%+v", got, want)
		}
	}
	loraRun := func(c Finetune, s *session, l *loaded, p precision) error {
		f := NewFinetuneLoRA()
		f.Finetune = c
		return f.run(t.Context(), s, l, p)
	}
	t.Run("lora", func(t *testing.T) { train(t, planFinetune(t, NewFinetuneLoRA().Finetune), loraRun) })
	t.Run("lora in bf16, recomputing", func(t *testing.T) {
		c := planFinetune(t, NewFinetuneLoRA().Finetune)
		c.Precision, c.Recompute = "bf16-true", true
		train(t, c, loraRun)
	})
	for _, prec := range []string{"32-true", "bf16-mixed"} {
		t.Run("full "+prec, func(t *testing.T) {
			c := planFinetune(t, NewFinetuneFull().Finetune)
			c.Precision = prec
			train(t, c, func(c Finetune, s *session, l *loaded, p precision) error {
				return FinetuneFull{c}.run(t.Context(), s, l, p)
			})
		})
	}
	t.Run("generate", func(t *testing.T) {
		for _, tt := range []struct {
			prec           string
			prompt, tokens int
		}{{"", 5, 7}, {"bf16-true", 300, 20}, {"16-true", 256, 1}, {"", 1, 2}, {"", 257, 3}} {
			tk, err := newTalker(demoModel, "", Inference{Precision: tt.prec, Spread: Spread{Devices: "1", Device: Device{Threads: 1, Float32: "highest"}}})
			if err != nil {
				t.Fatal(err)
			}
			want, err := tk.uses(tk.matrix, tt.prompt, tt.tokens)
			if err == nil {
				err = tk.load(silent.Log(nil))
			}
			if err == nil {
				request := generate.Request{Prompt: make([]int32, tt.prompt), MaxTokens: tt.tokens, Sampling: sample.Config{}}
				for _, e := range tk.engine.Generate(t.Context(), request) {
					err = errors.Join(err, e)
				}
			}
			if got, want := nonzero(tk.dev.Peak()), nonzero(want); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%+v: the request took\n%+v, %v\nplanned were\n%+v", tt, got, err, want)
			}
			tk.close()
		}
	})
}

// Settings named in the error of a run that does not fit do fit, and what is not named was not needed.
func TestAlternatives(t *testing.T) {
	c := planFinetune(t, NewFinetuneLoRA().Finetune)
	s, l, prec, err := c.begin(silent)
	if err != nil {
		t.Fatal(err)
	}
	defer s.dev.Close()
	defer l.close()
	c.Plan = true
	if err := loraPlan(t, c, s, l, prec); err != nil { // reads the data
		t.Fatal(err)
	}
	if s.dev.Usage() != nil {
		t.Errorf("--plan took memory: %+v", s.dev.Usage())
	}
	if exists(c.OutDir) {
		t.Errorf("--plan made %s", c.OutDir)
	}
	all, _ := tensor.Total(s.planned)
	m := memory{uses: s.planned, work: "work"}
	if err := m.check("cpu", all, all, alternatives{}); err != nil {
		t.Errorf("got %v for a run that takes all there is", err)
	}
	if err := m.check("cpu", 0, 0, alternatives{}); err != nil {
		t.Errorf("got %v for a device whose memory nobody knows", err)
	}
	tries := 0
	take := func(n int) func() ([]tensor.Use, error) {
		return func() ([]tensor.Use, error) {
			tries++
			if n < 0 {
				return nil, errors.New("cannot be")
			}
			return []tensor.Use{{Label: "x", Bytes: n << 20, Mapped: 1 << 40}}, nil
		}
	}
	m = memory{uses: []tensor.Use{{Label: "weights", Bytes: 3 << 20}, {Label: "activations", Bytes: 2 << 30}, {Label: "nothing"}}}
	for _, tt := range []struct {
		a     alternatives
		tries int
		want  string
	}{
		{alternatives{}, 0, "no change of the settings that was tried makes it fit; a smaller model would, or a machine with more memory"},
		{alternatives{each: [][]option{{{"-a", take(9)}, {"-b", take(8)}, {"-c", take(1)}}, {{"-d", take(-1)}, {"-e", take(7)}}, nil, {{"-f", take(9)}}},
			together: []option{{"-g", take(1)}}}, 5, "this would fit: -b (8.0 MiB); or -e (7.0 MiB)"},
		{alternatives{each: [][]option{{{"-a", take(9)}}}, together: []option{{"-b -c", take(9)}, {"-b -d", take(8)}}}, 3, "this would fit: -b -d (8.0 MiB)"},
	} {
		tries = 0
		var e *memoryError
		if err := m.check("gpu", 8<<20, 10<<30, tt.a); !errors.As(err, &e) {
			t.Errorf("got %v, want a memoryError", err)
		} else if e.Advice() != tt.want || tries != tt.tries {
			t.Errorf("got advice %q after %d tries, want %q after %d", e.Advice(), tries, tt.want, tt.tries)
		} else if want := "this run takes 2.00 GiB on gpu (weights 3.0 MiB, activations 2.00 GiB), where 8.0 MiB of 10.00 GiB are free"; err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
	}
}

// The planner's own suggestions are plans that fit.
func TestPlannerAlternatives(t *testing.T) {
	c := planFinetune(t, NewFinetuneLoRA().Finetune)
	c.Train.MicroBatchSize, c.Train.GlobalBatchSize, c.Plan = 2, 6, true
	s, l, prec, err := c.begin(silent)
	if err != nil {
		t.Fatal(err)
	}
	defer s.dev.Close()
	defer l.close()
	if err := loraPlan(t, c, s, l, prec); err != nil {
		t.Fatal(err)
	}
	p := &planner{dev: s.dev, l: l, optimizer: c.Optimizer.config(), padTo: 32, sets: s.sets,
		declare: func(dev *tensor.Device, l *loaded, prec precision) ([]string, []*tensor.Tensor, error) {
			if err := l.load(dev, prec.matrix, true); err != nil {
				return nil, nil, err
			}
			names, weights := trainAll(l.Model)
			return names, weights, nil
		}}
	now := trial{prec: prec, micro: 2, length: 512}
	m, err := p.memory(now)
	if err != nil {
		t.Fatal(err)
	}
	all, _ := tensor.Total(m.uses)
	act := m.uses[len(m.uses)-1].Bytes
	for _, u := range m.uses {
		if u.Label == tensor.Activations {
			act = u.Bytes
		}
	}
	for _, tt := range []struct {
		free int
		want []string // in the advice
		not  string
	}{
		{all - 1, []string{"--recompute true (", "--train.micro_batch_size 1 (", "--train.max_seq_length 128 ("}, "this would fit: ("},
		{all - act*9/10, []string{"--recompute true --train.micro_batch_size 1 --train.max_seq_length 32 ("}, "; or"},
		{all - act - 1, []string{"no change of the settings"}, "this would fit"},
	} {
		err := m.check("cpu", tt.free, 1<<40, p.alternatives(m, now, tt.free))
		var e *memoryError
		if !errors.As(err, &e) {
			t.Fatalf("got %v", err)
		}
		for _, w := range tt.want {
			if !strings.Contains(e.Advice(), w) || strings.Contains(e.Advice(), tt.not) {
				t.Errorf("%d of %d bytes: got advice %q, want in it %q, not %q", tt.free, all, e.Advice(), w, tt.not)
			}
		}
	}
}

// loraPlan runs a LoRA recipe whose settings ask for the plan only.
func loraPlan(t *testing.T, c Finetune, s *session, l *loaded, prec precision) error {
	t.Helper()
	f := NewFinetuneLoRA()
	f.Finetune = c
	return f.run(t.Context(), s, l, prec)
}

func TestPlanTable(t *testing.T) {
	uses := []tensor.Use{{Label: "weights", Bytes: 5 << 20}, {Label: "KV cache"}, {Label: "activations", Bytes: 3 << 30}}
	mapped := []tensor.Use{{Label: "weights", Bytes: 5 << 20, Mapped: 1 << 20}}
	for _, tt := range []struct {
		uses        []tensor.Use
		free, total int
		want        string
	}{
		{uses, 4 << 30, 8 << 40, "work on cpu\n\nweights               5.0 MiB\nactivations          3.00 GiB\ntotal                3.00 GiB\n\nfree                 4.00 GiB  of 8.00 TiB\nfits\n"},
		{uses, 3 << 30, 8 << 30, "does not fit\n"},
		{uses, 0, 0, "total                3.00 GiB\n\n"},
		{mapped, 5<<20 + 1, 1 << 30, "fits, but the mapped weights will be read from disk again and again\n"},
		{mapped, 6 << 20, 1 << 30, "mapped                1.0 MiB  of weights used where"},
	} {
		var b bytes.Buffer
		if err := (memory{tt.uses, "work"}).write(&b, "cpu", tt.free, tt.total); err != nil || !strings.Contains(b.String(), tt.want) {
			t.Errorf("got %v,\n%s\nwant in it\n%s", err, &b, tt.want)
		}
	}
	if got := halves(100, 30, 8); !reflect.DeepEqual(got, []int{16, 8}) {
		t.Errorf("got %v", got)
	}
	if got := halves(64, 0, 8); !reflect.DeepEqual(got, []int{8}) {
		t.Errorf("got %v, want the least when there is room for none", got)
	}
}

// BenchmarkPlan is what the check costs at the start of a run of SmolLM2-135M.
func BenchmarkPlan(b *testing.B) {
	dev, err := tensor.Open("cpu", tensor.Options{Threads: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer dev.Close()
	name := filepath.Join(b.TempDir(), "text")
	if err := os.WriteFile(name, bytes.Repeat([]byte("0123456789"), 2000), 0o666); err != nil {
		b.Fatal(err)
	}
	cfg := data.Defaults()
	cfg.Class, cfg.TextFiles.TrainDataPath = "TextFiles", name
	var sets [2]*data.Set
	if sets[0], sets[1], err = data.Open(b.Context(), cfg, data.Options{Tokenizer: words{}, MaxSeqLength: 512, CacheDir: b.TempDir()}); err != nil {
		b.Fatal(err)
	}
	defer sets[0].Close()
	defer sets[1].Close()
	f, l := NewFinetuneLoRA(), &loaded{config: []byte(smolLM2)}
	for _, full := range []bool{false, true} {
		b.Run(map[bool]string{false: "lora", true: "full"}[full], func(b *testing.B) {
			p := &planner{dev: dev, l: l, optimizer: f.Optimizer.config(), sets: sets, declare: func(dev *tensor.Device, l *loaded, prec precision) ([]string, []*tensor.Tensor, error) {
				if err := initialize(dev, l.Model, prec, 1); err != nil {
					return nil, nil, err
				}
				if full {
					names, weights := trainAll(l.Model)
					return names, weights, nil
				}
				return f.inject(dev, l.Model)
			}}
			for b.Loop() {
				if _, err := p.uses(trial{prec: precision{matrix: checkpoint.F32}, micro: 4, length: 512}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
