package recipes

import (
	"bytes"
	"errors"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/data"
	"github.com/litgpt-go/litgpt/internal/durable"
	"github.com/litgpt-go/litgpt/internal/settings"
)

// words is a tokenizer of one id per byte.
type words struct{}

func (words) Encode(text string, _ bool) (ids []int32) {
	for _, b := range []byte(text) {
		ids = append(ids, int32(b))
	}
	return ids
}
func (words) EOS() []int32   { return nil }
func (words) Hash() string   { return "bytes" }
func (words) VocabSize() int { return 256 }

// When a run ends, and how long it warms up.
func TestSteps(t *testing.T) {
	name := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(name, []byte(strings.Repeat("0123456789", 200)), 0o666); err != nil {
		t.Fatal(err)
	}
	cfg := data.Defaults()
	cfg.Class, cfg.TextFiles.TrainDataPath = "TextFiles", name
	train, val, err := data.Open(t.Context(), cfg, data.Options{Tokenizer: words{}, MaxSeqLength: 9, CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer train.Close()
	defer val.Close()
	const length, perEpoch = 9, 190 / 4 / 2 // windows of ten bytes, a twentieth held out; batches of 4, two a step
	for name, tt := range map[string]struct {
		train        Train
		last, warmup int
	}{
		"steps":           {Train{MaxSteps: 7}, 7, 0},
		"epochs":          {Train{Epochs: 2, LRWarmupSteps: 3}, 2 * perEpoch, 3},
		"tokens":          {Train{MaxTokens: 8*length*5 + 1}, 6, 0},
		"the first of":    {Train{MaxSteps: 50, Epochs: 2, MaxTokens: 8 * length * 5}, 5, 0},
		"fraction":        {Train{MaxSteps: 7, LRWarmupFraction: 0.1}, 7, int(math.Ceil(0.1 * perEpoch))},
		"huge max_tokens": {Train{MaxTokens: 3e12, MaxSteps: 1}, 1, 0},
	} {
		tt.train.GlobalBatchSize, tt.train.MicroBatchSize = 8, 4
		s := &session{train: tt.train, loader: data.NewLoader(train, 4, 0, true, 1)}
		if last, warmup, err := s.steps(length); err != nil || last != tt.last || warmup != tt.warmup {
			t.Errorf("%s: got %d steps, %d of warm-up, %v; want %d, %d", name, last, warmup, err, tt.last, tt.warmup)
		}
	}
	s := &session{train: Train{GlobalBatchSize: 8, MicroBatchSize: 4}, loader: data.NewLoader(train, 4, 0, true, 1)}
	if _, _, err := s.steps(length); err == nil {
		t.Error("got no error, want one that nothing says when to stop")
	}
}

// step writes a complete checkpoint directory.
func step(t *testing.T, parent, name string) string {
	t.Helper()
	d, err := durable.NewDir(filepath.Join(parent, name))
	if err == nil {
		err = errors.Join(d.WriteFile("state", []byte("state of "+name)), d.Commit())
	}
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(parent, name)
}

// The newest checkpoint is the one with the highest number, however it is written, of which no byte has changed.
func TestNewest(t *testing.T) {
	out := t.TempDir()
	var log bytes.Buffer
	s := &session{outDir: out, log: slog.New(slog.NewTextHandler(&log, nil))}
	if dir, err := s.newest(); dir != "" || err != nil {
		t.Errorf("got %q, %v in an empty directory", dir, err)
	}
	for _, name := range []string{"step-2", "step-000010", "step-000009", "final", "step-x"} {
		step(t, out, name)
	}
	if err := os.WriteFile(filepath.Join(out, "step-99"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, dir := range stepDirs(out) {
		names = append(names, filepath.Base(dir))
	}
	if want := []string{"step-000010", "step-000009", "step-2"}; !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
	for i, want := range append(names, "") {
		dir, err := s.newest()
		if want == "" {
			if err == nil || strings.Count(err.Error(), "state: sha256") != 3 {
				t.Errorf("got %q, %v; want an error that lists three damaged files", dir, err)
			}
			break
		}
		if err != nil || dir != filepath.Join(out, want) {
			t.Errorf("got %q, %v, want %s", dir, err, want)
		}
		if got := strings.Count(log.String(), "level=WARN"); got != i {
			t.Errorf("got %d warnings for %d damaged checkpoints:\n%s", got, i, &log)
		}
		log.Reset()
		if err := os.WriteFile(filepath.Join(out, want, "state"), []byte("stale of "+want), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// All mistakes of the settings are said at once, as wrong use.
func TestCheck(t *testing.T) {
	for _, c := range []Train{NewFinetuneLoRA().Train, NewFinetuneFull().Train, NewPretrain().Train} {
		if err := c.check(newOptimizer(1e-3), "", trainPrecisions); err != nil {
			t.Errorf("got %v for the defaults", err)
		}
	}
	o := newOptimizer(math.NaN())
	o.AdamW.Betas = []float64{0.9}
	err := Train{GlobalBatchSize: 4, MicroBatchSize: 3, MaxTime: math.NaN(), LRWarmupSteps: 1, LRWarmupFraction: 2}.check(o, "fp8", trainPrecisions)
	var wrong *settings.UsageError
	if !errors.As(err, &wrong) {
		t.Fatalf("got %v, want a usage error", err)
	}
	for _, want := range []string{"log_interval is 0", "3 does not divide --train.global_batch_size 4", "max_time is NaN", "are both set", "lr_warmup_fraction is 2",
		"optimizer.lr is NaN", "betas is [0.9]", `--precision is "fp8"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want in it %q", err, want)
		}
	}
	for which, want := range map[string]int{"": 0, "first": 0, "4": 4, "5": -1, "-1": -1, "last": -1} {
		if got, err := exampleIndex(which, 5, 1); (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("%q: got %d, %v, want %d", which, got, err, want)
		}
	}
	a, _ := exampleIndex("random", 1000, 1)
	if b, _ := exampleIndex("random", 1000, 1); a != b {
		t.Errorf("got %d and %d for one seed", a, b)
	}
}

// A model in LitGPT's words that is no Llama is refused with all reasons.
func TestModelConfig(t *testing.T) {
	_, err := ModelConfig{NLayer: 1, NHead: 2, RotaryPercentage: 0.25, ParallelResidual: true, NormClassName: "LayerNorm", MLPClassName: "GptNeoxMLP"}.config()
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{"rotary_percentage is 0.25", "parallel_residual", `"LayerNorm"`, `"GptNeoxMLP"`, "n_embd is 0", "block_size is 0", "vocab_size"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want in it %q", err, want)
		}
	}
	config, err := ModelConfig{NLayer: 1, NHead: 2, NEmbd: 8, BlockSize: 4, VocabSize: 100, PaddingMultiple: 64}.config()
	for _, want := range []string{`"vocab_size": 128`, `"num_key_value_heads": 2`, `"head_dim": 4`, `"intermediate_size": 32`} {
		if err != nil || !strings.Contains(string(config), want) {
			t.Errorf("got %s, %v, want in it %s", config, err, want)
		}
	}
}
