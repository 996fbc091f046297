package recipes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/litgpt-go/litgpt/internal/data"
	"github.com/litgpt-go/litgpt/internal/durable"
	"github.com/litgpt-go/litgpt/internal/generate"
	"github.com/litgpt-go/litgpt/internal/progress"
	"github.com/litgpt-go/litgpt/internal/sample"
	"github.com/litgpt-go/litgpt/internal/settings"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/internal/train"
	"github.com/litgpt-go/litgpt/models"
	"github.com/litgpt-go/litgpt/tokenizer"
)

// Out is where a recipe reports to.
type Out struct {
	Log    func(*progress.Bar) *slog.Logger // lines that go above the bar, or plain ones for nil
	NewBar func(total int64, label, unit string) *progress.Bar
	Result io.Writer // stdout
}

// session is what the training recipes share: a trainer with its data, from the
// settings to the last checkpoint.
type session struct {
	out     Out
	train   Train
	eval    Eval
	lr      float64
	outDir  string
	resume  string
	digits  int // of step-NNN
	run     map[string]string
	seed    int64
	dev     *tensor.Device
	model   models.Model
	trainer *train.Trainer
	sets    [2]*data.Set // training, validation
	planned []tensor.Use // memory at most
	padTo   int
	hyper   any // the recipe's settings, for hyperparameters.yaml

	// save writes the weights and what belongs to them into a checkpoint directory.
	save func(d *durable.Dir) error

	// example continues a validation sample; nil for none.
	example func(ctx context.Context, log *slog.Logger) error

	log    *slog.Logger
	bar    *progress.Bar
	tokens int64
	loader *data.Loader
	val    float64
}

func (s *session) stepDir(step int) string {
	return filepath.Join(s.outDir, fmt.Sprintf("step-%0*d", s.digits, step))
}

// steps gives the last step and the steps of warm-up.
func (s *session) steps(seqLength int) (last, warmup int, err error) {
	micro := s.train.GlobalBatchSize / s.train.MicroBatchSize
	perEpoch := max(1, s.loader.PerEpoch()/micro)
	last = math.MaxInt
	if s.train.Epochs > 0 {
		last = s.train.Epochs * perEpoch
	}
	if s.train.MaxTokens > 0 {
		perStep := int64(s.train.GlobalBatchSize) * int64(seqLength)
		last = min(last, int((s.train.MaxTokens+perStep-1)/perStep))
	}
	if s.train.MaxSteps > 0 {
		last = min(last, s.train.MaxSteps)
	}
	if last == math.MaxInt {
		return 0, 0, usage([]string{"nothing says when to stop: set --train.max_steps, --train.epochs or --train.max_tokens"})
	}
	warmup = s.train.LRWarmupSteps
	if s.train.LRWarmupFraction > 0 {
		warmup = int(math.Ceil(s.train.LRWarmupFraction * float64(perEpoch)))
	}
	return last, warmup, nil
}

// loop trains and leaves the result in final/.
func (s *session) loop(ctx context.Context, seqLength int) (err error) {
	s.log = s.out.Log(nil)
	for _, set := range s.sets {
		for _, line := range set.Report() {
			s.log.Info("data", "note", line)
		}
	}
	s.loader = data.NewLoader(s.sets[0], s.train.MicroBatchSize, s.seed, true, s.padTo)
	last, warmup, err := s.steps(seqLength)
	if err != nil {
		return err
	}
	if warmup >= last {
		s.log.Warn("the warm-up is as long as the run, so the learning rate never reaches its peak", "lr_warmup_steps", warmup, "steps", last)
	}
	step, err := s.restore()
	if err != nil {
		return err
	}
	if step > 0 {
		s.log.Info("resuming", "from", s.stepDir(step), "step", step, "of", last)
	}
	metrics, err := newMetrics(s.outDir, step)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, metrics.close()) }()
	if s.eval.InitialValidation && step == 0 {
		if err := s.validate(ctx, 0, s.eval.MaxIters); err != nil {
			return err
		}
	}

	s.bar = s.out.NewBar(int64(last), "train", "step")
	s.bar.Skip(int64(step))
	s.log = s.out.Log(s.bar)
	defer s.bar.Done()
	begin, done := time.Now(), step
	report := func(p train.Progress) {
		s.tokens += int64(p.Tokens)
		rate := float64(p.Tokens) / p.Time.Seconds()
		eta := time.Duration(float64(time.Since(begin)) / float64(p.Step-done) * float64(last-p.Step)).Round(time.Second)
		s.bar.Add(1)
		s.bar.Describe(fmt.Sprintf("loss %.3f lr %.2e %.0f tok/s", p.Loss, p.Rate, rate))
		if p.Step%s.train.LogInterval == 0 || p.Step == last {
			s.log.Info("train", "step", p.Step, "epoch", p.Epoch+1, "loss", round(p.Loss), "lr", p.Rate, "norm", round(p.Norm),
				"ms", p.Time.Milliseconds(), "tok/s", int(rate), "eta", eta.String())
		}
		metrics.write(p, s.tokens, s.val)
		s.val = 0 // a validation stands in the row of the step after it
	}
	err = train.Loop(ctx, train.Config{
		MicroBatches: s.train.GlobalBatchSize / s.train.MicroBatchSize,
		LastStep:     last, MaxNorm: s.train.MaxNorm, SaveEvery: s.train.SaveInterval, ValidateEvery: s.eval.Interval,
		MaxTime:  time.Duration(s.train.MaxTime * float64(time.Second)),
		Schedule: train.Schedule{Rate: s.lr, Min: s.train.MinLR, Warmup: warmup, Last: last},
	}, train.Run{
		Trainer: s.trainer, Loader: s.loader, Step: step, Report: report,
		Validate: func(ctx context.Context, step int) error {
			if err := s.validate(ctx, step, s.eval.MaxIters); err != nil || s.example == nil {
				return err
			}
			return s.example(ctx, s.log)
		},
		Save: s.checkpoint,
	})
	if err != nil {
		return err
	}
	s.bar.Done()
	s.log = s.out.Log(nil)
	if s.eval.FinalValidation {
		if err := s.validate(ctx, last, 0); err != nil && ctx.Err() != nil {
			return fmt.Errorf("step %d is saved, --resume auto goes on from there: %w", s.trainer.Optimizer.Steps, err)
		} else if err != nil {
			return err
		}
	}
	final := filepath.Join(s.outDir, "final")
	if err := s.write(final, nil); err != nil {
		return err
	}
	s.log.Info("done", "checkpoint", final, "steps", s.trainer.Optimizer.Steps, "tokens", s.tokens, "time", time.Since(begin).Round(time.Second).String(), "scratch_MiB", s.trainer.Scratch()>>20)
	return nil
}

func round(x float64) float64 { return math.Round(x*1e4) / 1e4 }

// checkpoint saves the weights and the training state of a step.
func (s *session) checkpoint(step int) error {
	return s.write(s.stepDir(step), &train.State{Step: step, Loader: s.loader.State(), Tokens: s.tokens, Run: s.run})
}

func (s *session) write(dir string, state *train.State) error {
	d, err := durable.NewDir(dir)
	if err != nil {
		return err
	}
	defer d.Abort()
	if err := s.save(d); err != nil {
		return err
	}
	hyper, err := settings.Marshal(s.hyper)
	if err != nil {
		return err
	}
	if err := d.WriteFile("hyperparameters.yaml", hyper); err != nil {
		return err
	}
	if state != nil {
		if err := s.trainer.SaveState(d, *state); err != nil {
			return err
		}
	}
	return d.Commit()
}

// restore resumes from the checkpoint that --resume names and returns its step.
func (s *session) restore() (step int, err error) {
	dir := s.resume
	switch s.resume {
	case "", "false":
		if dirs := stepDirs(s.outDir); len(dirs) > 0 {
			return 0, fmt.Errorf("%s holds the checkpoints of an earlier run (up to %s); go on with --resume auto, choose another --out_dir, or remove it", s.outDir, filepath.Base(dirs[0]))
		}
		return 0, nil
	case "auto", "true":
		if err := durable.RecoverAll(s.outDir); err != nil && !errors.Is(err, os.ErrNotExist) {
			return 0, err
		}
		if dir, err = s.newest(); err != nil {
			return 0, err
		} else if dir == "" && s.resume == "true" {
			return 0, fmt.Errorf("--resume true: there is no checkpoint in --out_dir=%s", s.outDir)
		} else if dir == "" {
			return 0, nil
		}
	default:
		if err := durable.Verify(dir); err != nil {
			return 0, fmt.Errorf("--resume: %w", err)
		}
	}
	state, err := s.trainer.LoadState(dir, s.run)
	if err != nil {
		return 0, err
	}
	if err := s.loader.Restore(state.Loader); err != nil {
		return 0, fmt.Errorf("%s: %w", dir, err)
	}
	s.tokens = state.Tokens
	return state.Step, nil
}

// newest is the newest checkpoint in out_dir whose files are all as they were
// written, "" when there are none. A damaged one costs the steps since the one
// before, and a warning; when all are damaged that is an error, as nobody wants
// to lose a run by starting it again.
func (s *session) newest() (string, error) {
	var damaged []error
	for _, dir := range stepDirs(s.outDir) {
		err := durable.Verify(dir)
		if err == nil {
			for _, e := range damaged {
				s.log.Warn("a damaged checkpoint is passed over", "error", e)
			}
			return dir, nil
		}
		damaged = append(damaged, err)
	}
	if len(damaged) > 0 {
		return "", fmt.Errorf("no checkpoint in %s can be resumed; remove them to begin anew:\n%w", s.outDir, errors.Join(damaged...))
	}
	return "", nil
}

// stepDirs lists the directories of steps in out_dir, the last one first.
func stepDirs(outDir string) (dirs []string) {
	entries, _ := os.ReadDir(outDir) // a missing one has none
	number := map[string]int{}
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), "step-")
		if n, err := strconv.Atoi(digits); ok && err == nil && e.IsDir() {
			dir := filepath.Join(outDir, e.Name())
			number[dir] = n
			dirs = append(dirs, dir)
		}
	}
	slices.SortFunc(dirs, func(a, b string) int { return cmp.Or(number[b]-number[a], strings.Compare(a, b)) })
	return dirs
}

// validate logs the mean loss over at most iters batches of the validation set; 0 means all.
func (s *session) validate(ctx context.Context, step, iters int) error {
	set := s.sets[1]
	if set.Len() == 0 {
		return nil
	}
	start := time.Now()
	l := data.NewLoader(set, s.train.MicroBatchSize, 0, false, s.padTo)
	n := l.PerEpoch()
	if iters > 0 {
		n = min(n, iters)
	}
	var sum float64
	count := 0
	for range n {
		if err := ctx.Err(); err != nil {
			return err
		}
		nll, err := s.trainer.Loss(l.Next())
		if err != nil {
			return fmt.Errorf("validation: %w", err)
		}
		for _, x := range nll {
			sum += float64(x)
		}
		count += len(nll)
	}
	s.val = sum / float64(count)
	s.log.Info("validate", "step", step, "loss", round(s.val), "perplexity", round(math.Exp(s.val)), "tokens", count, "ms", time.Since(start).Milliseconds())
	return nil
}

// exampleFrom returns a function that continues the tokens of a prompt and logs the text.
func (s *session) exampleFrom(ids []int32, tok *tokenizer.Tokenizer) func(context.Context, *slog.Logger) error {
	return func(ctx context.Context, log *slog.Logger) error {
		if room := s.model.Dims().Context - len(ids); room < s.eval.MaxNewTokens {
			log.Warn("no example: the prompt and max_new_tokens exceed the context", "tokens", len(ids))
			return nil
		}
		e := generate.New(s.dev, s.model, generate.Options{Cache: tensor.F32, Positions: len(ids) + s.eval.MaxNewTokens})
		defer e.Close()
		sampling := sample.Config{Temperature: 0.8, TopP: 1, Seed: uint64(s.seed)}
		stops := sample.NewStops(single(tok.EOS()))
		var out []int32
		for token, err := range e.Generate(ctx, generate.Request{Prompt: ids, MaxTokens: s.eval.MaxNewTokens, Sampling: sampling}) {
			if err != nil {
				return err
			}
			emit, done := stops.Push(token.ID)
			if out = append(out, emit...); done {
				break
			}
		}
		log.Info("example", "prompt", tok.Decode(ids, true), "answer", tok.Decode(out, true))
		return nil
	}
}

func single(ids []int32) (seqs [][]int32) {
	for _, id := range ids {
		seqs = append(seqs, []int32{id})
	}
	return seqs
}

// exampleIndex is the number of the sample that --eval.evaluate_example names.
func exampleIndex(which string, n int, seed int64) (int, error) {
	switch which {
	case "", "first":
		return 0, nil
	case "random":
		return rand.New(rand.NewPCG(uint64(seed), 0)).IntN(n), nil
	}
	i, err := strconv.Atoi(which)
	if err != nil || i < 0 || i >= n {
		return 0, usage([]string{fmt.Sprintf("--eval.evaluate_example is %q; first, random or a number below %d wanted", which, n)})
	}
	return i, nil
}
