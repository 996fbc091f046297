package recipes

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/optim"
	"github.com/litgpt-go/litgpt/internal/settings"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// Train are the settings of every training recipe, with LitGPT's names. 0 means absent.
type Train struct {
	SaveInterval     int     `yaml:"save_interval" help:"optimizer steps between checkpoints; 0 saves at the end only"`
	LogInterval      int     `yaml:"log_interval" help:"optimizer steps between log lines"`
	GlobalBatchSize  int     `yaml:"global_batch_size" help:"sequences per optimizer step"`
	MicroBatchSize   int     `yaml:"micro_batch_size" help:"sequences per forward and backward pass"`
	LRWarmupSteps    int     `yaml:"lr_warmup_steps" help:"optimizer steps of linear warm-up"`
	LRWarmupFraction float64 `yaml:"lr_warmup_fraction" help:"warm-up as a fraction of an epoch, instead of lr_warmup_steps"`
	Epochs           int     `yaml:"epochs" help:"passes over the training data"`
	MaxTokens        int64   `yaml:"max_tokens" help:"tokens to train on (pretrain)"`
	MaxSteps         int     `yaml:"max_steps" help:"optimizer steps at most"`
	MaxTime          float64 `yaml:"max_time" help:"seconds at most; the step in work is finished and saved"`
	MaxSeqLength     int     `yaml:"max_seq_length" help:"tokens per sequence; longer ones are cut and counted; 0 is the model's context"`
	TieEmbeddings    bool    `yaml:"tie_embeddings" help:"share the embedding with the output projection (pretrain)"`
	MaxNorm          float64 `yaml:"max_norm" help:"norm to which larger gradients are scaled down; 0 for none"`
	RouterAuxLoss    string  `yaml:"router_aux_loss_coef" help:"weight of the loss that balances the load of experts: 0 for none, or config for the model's own"`
	MinLR            float64 `yaml:"min_lr" help:"learning rate at the end of the cosine"`
}

// Eval are the settings of validation.
type Eval struct {
	Interval          int    `yaml:"interval" help:"optimizer steps between validations; 0 for none"`
	MaxNewTokens      int    `yaml:"max_new_tokens" help:"tokens of the example that is generated at each validation; 0 for none"`
	MaxIters          int    `yaml:"max_iters" help:"batches per validation"`
	InitialValidation bool   `yaml:"initial_validation" help:"validate before the first step"`
	FinalValidation   bool   `yaml:"final_validation" help:"validate on the whole set at the end"`
	EvaluateExample   string `yaml:"evaluate_example" help:"which validation sample the example continues: first, random, or its number from 0"`
}

// Optimizer chooses the optimizer: a name, or class_path and init_args.
type Optimizer struct {
	Class string `yaml:",class" help:"optimizer"`
	AdamW AdamW  `class:"AdamW"`
}

// AdamW are torch.optim.AdamW's arguments.
type AdamW struct {
	LR          float64   `yaml:"lr" help:"peak learning rate"`
	WeightDecay float64   `yaml:"weight_decay" help:"decoupled decay of weight matrices; norms and biases do not decay"`
	Betas       []float64 `yaml:"betas" help:"decay rates of the moments"`
	Eps         float64   `yaml:"eps" help:"added to the denominator"`
}

func newOptimizer(lr float64) Optimizer {
	return Optimizer{Class: "AdamW", AdamW: AdamW{LR: lr, WeightDecay: 0.01, Betas: []float64{0.9, 0.999}, Eps: 1e-8}}
}

func (o Optimizer) config() optim.Config {
	a := o.AdamW
	return optim.Config{Beta1: a.Betas[0], Beta2: a.Betas[1], Eps: a.Eps, WeightDecay: a.WeightDecay}
}

// usage makes an error of wrong settings, all of them, or nil.
func usage(problems []string) error {
	if len(problems) == 0 {
		return nil
	}
	return &settings.UsageError{Msg: strings.Join(problems, "\n"), Hint: "--print_config shows all settings"}
}

// check reports settings that cannot be.
func (t Train) check(o Optimizer, precision string, precisions []string) error {
	var bad []string
	say := func(cond bool, format string, a ...any) {
		if cond {
			bad = append(bad, fmt.Sprintf(format, a...))
		}
	}
	for _, x := range []struct {
		name string
		v    int
	}{{"global_batch_size", t.GlobalBatchSize}, {"micro_batch_size", t.MicroBatchSize}, {"log_interval", t.LogInterval}} {
		say(x.v <= 0, "--train.%s is %d; a positive number wanted", x.name, x.v)
	}
	for _, x := range []struct {
		name string
		v    float64
	}{{"save_interval", float64(t.SaveInterval)}, {"lr_warmup_steps", float64(t.LRWarmupSteps)}, {"epochs", float64(t.Epochs)}, {"max_tokens", float64(t.MaxTokens)},
		{"max_steps", float64(t.MaxSteps)}, {"max_time", t.MaxTime}, {"max_seq_length", float64(t.MaxSeqLength)}, {"max_norm", t.MaxNorm}, {"min_lr", t.MinLR}} {
		say(!(x.v >= 0), "--train.%s is %g; it cannot be negative", x.name, x.v)
	}
	if t.GlobalBatchSize > 0 && t.MicroBatchSize > 0 {
		say(t.GlobalBatchSize%t.MicroBatchSize != 0, "--train.micro_batch_size %d does not divide --train.global_batch_size %d", t.MicroBatchSize, t.GlobalBatchSize)
	}
	say(t.LRWarmupFraction != 0 && t.LRWarmupSteps != 0, "--train.lr_warmup_fraction and --train.lr_warmup_steps are both set; set one to 0")
	say(!(t.LRWarmupFraction >= 0 && t.LRWarmupFraction <= 1), "--train.lr_warmup_fraction is %g; 0 to 1 wanted", t.LRWarmupFraction)
	_, err := t.balance(nil)
	say(err != nil, "%v", err)
	a := o.AdamW
	say(!(a.LR > 0), "--optimizer.lr is %g; a positive number wanted", a.LR)
	say(!(a.WeightDecay >= 0), "--optimizer.weight_decay is %g; it cannot be negative", a.WeightDecay)
	say(!(a.Eps > 0), "--optimizer.eps is %g; a positive number wanted", a.Eps)
	say(len(a.Betas) != 2 || slices.ContainsFunc(a.Betas, func(b float64) bool { return !(b >= 0 && b < 1) }), "--optimizer.betas is %v; two numbers from 0 to below 1 wanted", a.Betas)
	say(precision != "" && !slices.Contains(precisions, precision), "--precision is %q; one of %s wanted", precision, strings.Join(precisions, ", "))
	return usage(bad)
}

// balance is the weight of the loss that balances the load of experts; config.json's when that is asked for.
func (t Train) balance(config []byte) (float64, error) {
	if t.RouterAuxLoss == "config" {
		var c struct {
			Coef float64 `json:"router_aux_loss_coef"`
		}
		if config == nil {
			return 0, nil
		}
		if err := json.Unmarshal(config, &c); err != nil || !(c.Coef >= 0) {
			return 0, fmt.Errorf("config.json: router_aux_loss_coef: a number that is not negative wanted")
		}
		return c.Coef, nil
	}
	coef, err := strconv.ParseFloat(cmp.Or(t.RouterAuxLoss, "0"), 64)
	if err != nil || !(coef >= 0) || math.IsInf(coef, 0) {
		return 0, fmt.Errorf("--train.router_aux_loss_coef is %q; a number that is not negative, or config, wanted", t.RouterAuxLoss)
	}
	return coef, nil
}

// precision is how weights are held, computed with and saved. Intermediates are always float32.
type precision struct {
	name    string
	matrix  checkpoint.Type // in memory
	masters bool            // trained weights keep their file's precision in F32 masters, and are saved in F32
	saved   tensor.DType
}

var precisions = map[string]precision{
	"32-true":    {"32-true", checkpoint.F32, true, tensor.F32},
	"bf16-true":  {"bf16-true", checkpoint.BF16, false, tensor.BF16},
	"bf16-mixed": {"bf16-mixed", checkpoint.BF16, true, tensor.F32},
	"16-true":    {"16-true", checkpoint.F16, false, tensor.F16},
}

// trainPrecisions are those one can train in; F16 has too small a range for weights without loss scaling.
var trainPrecisions = []string{"32-true", "bf16-true", "bf16-mixed"}
var inferPrecisions = []string{"32-true", "bf16-true", "16-true"}
