package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litgpt-go/litgpt/internal/data"
)

// letters is a tokenizer of one id per byte.
type letters struct{}

func (letters) Encode(text string, _ bool) (ids []int32) {
	for _, b := range []byte(text) {
		ids = append(ids, int32(b))
	}
	return ids
}
func (letters) EOS() []int32   { return nil }
func (letters) Hash() string   { return "letters" }
func (letters) VocabSize() int { return 256 }

const perStep = 2 // micro-batches of one sequence of 8 tokens

// newLoader deals out the text in its order, 16 tokens a step.
func newLoader(t *testing.T, text string) *data.Loader {
	t.Helper()
	dir := t.TempDir()
	cfg := data.Defaults()
	cfg.Class = "TextFiles"
	cfg.TextFiles.TrainDataPath, cfg.TextFiles.ValDataPath = filepath.Join(dir, "train"), filepath.Join(dir, "val")
	for _, name := range []string{cfg.TextFiles.TrainDataPath, cfg.TextFiles.ValDataPath} {
		if err := errors.Join(os.Mkdir(name, 0o777), os.WriteFile(filepath.Join(name, "a.txt"), []byte(text), 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	train, val, err := data.Open(t.Context(), cfg, data.Options{Tokenizer: letters{}, MaxSeqLength: 8, CacheDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { train.Close(); val.Close() })
	return data.NewLoader(train, 1, 0, false, 1)
}

// record runs a loop and notes what happens in which order.
type record struct {
	events   []string
	progress []Progress
	dealt    []int // steps dealt out by the loader when the step of that place was reported
	onReport func(step int)
}

func (r *record) run(ctx context.Context, tr *Trainer, l *data.Loader, cfg Config) error {
	note := func(what string) func(step int) error {
		return func(step int) error { r.events = append(r.events, fmt.Sprint(what, step)); return nil }
	}
	cfg.MicroBatches, cfg.Schedule = perStep, Schedule{Rate: 1e-2, Min: 1e-3, Last: cfg.LastStep}
	return Loop(ctx, cfg, Run{Trainer: tr, Loader: l,
		Report: func(p Progress) {
			note("report")(p.Step)
			r.progress = append(r.progress, p)
			r.dealt = append(r.dealt, (l.State().Epoch*l.PerEpoch()+l.State().Index)/perStep)
			if r.onReport != nil {
				r.onReport(p.Step)
			}
		},
		Validate: func(_ context.Context, step int) error { return note("validate")(step) },
		Save:     note("save"),
	})
}

// modes are a device that the host waits for, and one that it runs ahead of.
var modes = map[string]int{"at once": 0, "late": 1}

// Reports come in order and before the validation or the save of their step; all numbers and
// weights are the same, only that a step is launched before the one before it is reported.
func TestLoop(t *testing.T) {
	const last = 9
	text := strings.Repeat("The quick brown fox jumps over the lazy dog. ", 8)
	got, trainers := map[string]*record{}, map[string]*Trainer{}
	for name, ahead := range modes {
		r, tr := &record{}, newTrainer(t, 128)
		tr.ahead = ahead
		if err := r.run(t.Context(), tr, newLoader(t, text), Config{LastStep: last, MaxNorm: 1, SaveEvery: 4, ValidateEvery: 3}); err != nil {
			t.Fatal(err)
		}
		want := []string{"report1", "report2", "report3", "validate3", "report4", "save4", "report5", "report6", "validate6",
			"report7", "report8", "save8", "report9", "validate9", "save9"}
		if !slices.Equal(r.events, want) {
			t.Errorf("%s: got %q, want %q", name, r.events, want)
		}
		var total time.Duration
		for _, p := range r.progress {
			if total += p.Time; p.Time <= 0 || p.Tokens != 16 {
				t.Errorf("%s: step %d: got %d tokens in %v", name, p.Step, p.Tokens, p.Time)
			}
		}
		got[name], trainers[name] = r, tr
	}
	for i, p := range got["late"].progress {
		want := got["at once"].progress[i]
		if p.Time, want.Time = 0, 0; p != want {
			t.Errorf("late: got %+v, want %+v", p, want)
		}
	}
	if dealt, want := got["at once"].dealt, []int{1, 2, 3, 4, 5, 6, 7, 8, 9}; !slices.Equal(dealt, want) {
		t.Errorf("at once: got %v steps launched at the reports, want %v", dealt, want)
	}
	if dealt, want := got["late"].dealt, []int{2, 3, 3, 4, 6, 6, 8, 8, 9}; !slices.Equal(dealt, want) {
		t.Errorf("late: got %v steps launched at the reports, want %v", dealt, want)
	}
	if !equal(state(trainers["late"]), state(trainers["at once"])) {
		t.Error("the weights differ")
	}
}

// A cancellation, or the end of the time, saves after the last step that was launched, which is reported before.
func TestLoopStops(t *testing.T) {
	text := strings.Repeat("The quick brown fox jumps over the lazy dog. ", 8)
	for name, ahead := range modes {
		stopped := 3 + ahead
		for _, reason := range []string{"cancelled", "out of time"} {
			ctx, cancel := context.WithCancel(t.Context())
			r, tr := &record{}, newTrainer(t, 128)
			tr.ahead = ahead
			cfg := Config{LastStep: 100, MaxNorm: 1}
			const limit = 200 * time.Millisecond
			if reason == "cancelled" {
				r.onReport = func(step int) {
					if step == 3 {
						cancel()
					}
				}
			} else {
				cfg.MaxTime = limit
				r.onReport = func(step int) {
					if step == 3 {
						time.Sleep(limit)
					}
				}
			}
			err := r.run(ctx, tr, newLoader(t, text), cfg)
			if reason == "cancelled" {
				if want := fmt.Sprintf("step %d of 100 is saved, --resume auto goes on from there: context canceled", stopped); err == nil || err.Error() != want || !errors.Is(err, context.Canceled) {
					t.Errorf("%s, %s: got %v, want %s", name, reason, err, want)
				}
			} else if err != nil {
				t.Errorf("%s, %s: %v", name, reason, err)
			}
			var want []string
			for i := range len(r.progress) {
				want = append(want, fmt.Sprint("report", i+1))
			}
			want = append(want, fmt.Sprint("save", len(r.progress)))
			if !slices.Equal(r.events, want) || tr.Optimizer.Steps != len(r.progress) || reason == "cancelled" && len(r.progress) != stopped {
				t.Errorf("%s, %s: got %q after %d updates, want %q", name, reason, r.events, tr.Optimizer.Steps, want)
			}
			cancel()
		}
	}
}

// After a step that is not finite nothing is reported or saved, and the weights are
// those before it, though a step more was launched.
func TestLoopNotFinite(t *testing.T) {
	text := strings.Repeat("The quick brown fox jumps over the lazy dog. ", 8)
	for name, ahead := range modes {
		r, tr := &record{}, newTrainer(t, 128)
		tr.ahead = ahead
		failed := 3 + ahead // a loop that is late launches the third step before the report of the second
		var before [][]float32
		r.onReport = func(step int) {
			if step != 2 {
				return
			}
			w := tr.Optimizer.Params[0].Weight
			x := w.Values()
			for i := range x {
				x[i] = float32(math.Inf(1))
			}
			w.SetValues(x)
			before = state(tr)
		}
		err := r.run(t.Context(), tr, newLoader(t, text), Config{LastStep: 100, MaxNorm: 1, SaveEvery: 50})
		if want := fmt.Sprintf("step %d: the loss is NaN; try a lower learning rate than 0.0", failed); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
		if len(r.events) != failed-1 {
			t.Errorf("%s: got %q, want %d reports", name, r.events, failed-1)
		}
		if !equal(state(tr), before) {
			t.Errorf("%s: the weights are not those before the step", name)
		}
	}
}

// A step that cannot be launched ends the run at once: those before it are reported, none comes after it.
func TestLoopLaunchFails(t *testing.T) {
	// A sequence takes 9 bytes: the fourth step's are not in the vocabulary.
	text := strings.Repeat("123456789", 3*perStep) + strings.Repeat("é", 100)
	var weights [][][]float32
	for _, name := range []string{"at once", "late"} {
		r, tr := &record{}, newTrainer(t, 128)
		tr.ahead = modes[name]
		l := newLoader(t, text)
		err := r.run(t.Context(), tr, l, Config{LastStep: 100, MaxNorm: 1})
		if err == nil || !strings.HasPrefix(err.Error(), "step 4: token id 195 is out of range") {
			t.Errorf("%s: got %v", name, err)
		}
		if len(r.progress) != 3 || tr.Optimizer.Steps != 3 || l.State().Index != 4*perStep {
			t.Errorf("%s: got %d reports, %d updates, the loader at %+v", name, len(r.progress), tr.Optimizer.Steps, l.State())
		}
		weights = append(weights, state(tr))
	}
	if !equal(weights[0], weights[1]) {
		t.Error("the weights differ")
	}
}
