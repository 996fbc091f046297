// Package recipes holds one file per recipe. A recipe is a config struct, its
// defaults, and a Run method that puts the parts together, top to bottom. Names
// and defaults of the settings are LitGPT's.
package recipes

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/data"
	"github.com/litgpt-go/litgpt/internal/durable"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/optim"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/internal/train"
	"github.com/litgpt-go/litgpt/lora"
	"github.com/litgpt-go/litgpt/models"
)

// Finetune are the settings that both ways of finetuning share.
type Finetune struct {
	CheckpointDir string      `yaml:"checkpoint_dir" arg:"0" help:"the model to finetune: its directory, or a GGUF file"`
	OutDir        string      `yaml:"out_dir" help:"where checkpoints, logs and final/ go"`
	Precision     string      `yaml:"precision" help:"32-true, bf16-true or bf16-mixed; default 32-true for weights stored in float32, else bf16-mixed"`
	Data          data.Config `yaml:"data"`
	Train         Train       `yaml:"train"`
	Eval          Eval        `yaml:"eval"`
	Optimizer     Optimizer   `yaml:"optimizer"`
	Recompute     bool        `yaml:"recompute" help:"keep one block's intermediates at a time and compute them again: less memory, a third more work"`
	Resume        string      `yaml:"resume" help:"auto goes on from the newest checkpoint in out_dir if there is one; or a step-NNNNNN directory"`
	LoggerName    string      `yaml:"logger_name" help:"csv"`
	Devices       string      `yaml:"devices" help:"1 or auto; training over several devices comes later"`
	Device        `yaml:",inline"`
	Planned       `yaml:",inline"`
	Seed          int64 `yaml:"seed" help:"seed of the adapter, the order of the data and dropout"`
}

func newFinetune(out string) Finetune {
	return Finetune{
		OutDir: out,
		Data:   data.Defaults(),
		Train: Train{SaveInterval: 1000, LogInterval: 1, GlobalBatchSize: 16, MicroBatchSize: 1, LRWarmupSteps: 100, Epochs: 5, MinLR: 6e-5, RouterAuxLoss: "0",
			MaxNorm: 1},
		Eval:       Eval{Interval: 100, MaxNewTokens: 100, MaxIters: 100, FinalValidation: true, EvaluateExample: "first"},
		Optimizer:  newOptimizer(1e-3),
		LoggerName: "csv", Devices: "1", Device: newDevice(), Seed: 1337,
	}
}

// FinetuneLoRA trains low-rank adapters on a frozen base model: "litgpt finetune" and "finetune_lora".
type FinetuneLoRA struct {
	Finetune       `yaml:",inline"`
	Quantize       string  `yaml:"quantize" help:"quantize the layers while loading: bnb.nf4, bnb.fp4 (both IQ4_NL), bnb.int8 (Q8_0), or a type of GGML"`
	LoRAR          int     `yaml:"lora_r" help:"rank of the updates"`
	LoRAAlpha      float64 `yaml:"lora_alpha" help:"updates are scaled by lora_alpha/lora_r"`
	LoRADropout    float64 `yaml:"lora_dropout" help:"dropout of the updates' input"`
	LoRAQuery      bool    `yaml:"lora_query" help:"adapt the query projections"`
	LoRAKey        bool    `yaml:"lora_key" help:"adapt the key projections"`
	LoRAValue      bool    `yaml:"lora_value" help:"adapt the value projections"`
	LoRAProjection bool    `yaml:"lora_projection" help:"adapt the attention's output projections"`
	LoRAMLP        bool    `yaml:"lora_mlp" help:"adapt the MLPs"`
	LoRAHead       bool    `yaml:"lora_head" help:"adapt the output head"`
}

// NewFinetuneLoRA returns the defaults.
func NewFinetuneLoRA() FinetuneLoRA {
	return FinetuneLoRA{Finetune: newFinetune("out/finetune/lora"), LoRAR: 8, LoRAAlpha: 16, LoRADropout: 0.05, LoRAQuery: true, LoRAValue: true}
}

// config is the adapter of model m: what the switches mean is said by its family.
func (c FinetuneLoRA) config(m models.Model) lora.Config {
	l := lora.Config{Rank: c.LoRAR, Alpha: c.LoRAAlpha, Dropout: c.LoRADropout}
	targets := models.LoRATargets(m)
	for _, x := range []struct {
		on   bool
		name string
	}{{c.LoRAQuery, "query"}, {c.LoRAKey, "key"}, {c.LoRAValue, "value"}, {c.LoRAProjection, "projection"}, {c.LoRAMLP, "mlp"}, {c.LoRAHead, "head"}} {
		if !x.on {
			continue
		}
		for _, t := range targets[x.name] {
			if !slices.Contains(l.Targets, t.Layer) {
				l.Targets = append(l.Targets, t.Layer)
			}
			if t.Rows != (nn.Rows{}) {
				if l.Parts == nil {
					l.Parts = map[string][]nn.Rows{}
				}
				l.Parts[t.Layer] = append(l.Parts[t.Layer], t.Rows)
			}
		}
	}
	if experts := lora.Parameters(m); c.LoRAMLP && experts != nil { // some layers may have a dense MLP nevertheless
		mlp := []string{"gate_proj", "up_proj", "down_proj"}
		dense := lora.Modules(m, mlp...)
		l.Targets = slices.DeleteFunc(l.Targets, func(t string) bool { return slices.Contains(mlp, t) && !slices.Contains(dense, t) })
		l.Parameters = experts
	}
	return l
}

// inject hangs an adapter on each targeted layer of m and returns what is to be trained.
func (c FinetuneLoRA) inject(dev *tensor.Device, m models.Model) (names []string, weights []*tensor.Tensor, err error) {
	return lora.Inject(dev, m, c.config(m), rand.New(rand.NewPCG(uint64(c.Seed), 0)))
}

// Run trains and leaves the adapter, a PEFT directory, in out_dir/final.
func (c FinetuneLoRA) Run(ctx context.Context, out Out) error {
	q, err := parseQuantization(c.Quantize)
	if err != nil {
		return err
	}
	s, l, prec, err := c.Finetune.begin(out)
	if err != nil {
		return err
	}
	defer l.close()
	defer s.dev.Close()
	l.requantize(q)
	return c.run(ctx, s, l, prec)
}

// run is Run on what begin opened.
func (c FinetuneLoRA) run(ctx context.Context, s *session, l *loaded, prec precision) error {
	if l.lora != nil {
		return fmt.Errorf("%s is an adapter already; merge it with merge_lora first, or go on with its own run by --resume", l.dir)
	}

	// The base model, frozen, with an adapter on each targeted layer.
	cfg := c.config(l.Model)
	weights := func(dev *tensor.Device, l *loaded, prec precision) ([]string, []*tensor.Tensor, error) {
		if err := l.load(dev, prec.matrix, false); err != nil {
			return nil, nil, err
		}
		return c.inject(dev, l.Model)
	}
	hash, err := fingerprint(l.base)
	if err != nil {
		return err
	}
	base, err := filepath.Abs(l.base)
	if err != nil {
		return err
	}
	s.run["lora"] = fmt.Sprintf("%+v", cfg)
	s.run["base"] = hash
	s.run["quantize"] = l.quant.to.String()
	if l.quant.name == "" {
		delete(s.run, "quantize")
	}
	s.save = func(d *durable.Dir) error {
		if err := copySidecars(d, l.base); err != nil {
			return err
		}
		return lora.Save(d, l.Model, cfg, lora.Base{Path: base, Hash: hash, Quantize: l.quant.name})
	}
	c.Resume = ""
	s.hyper = &c
	return c.finish(ctx, s, l, weights, prec)
}

// FinetuneFull trains all weights: "litgpt finetune_full".
type FinetuneFull struct {
	Finetune `yaml:",inline"`
}

// NewFinetuneFull returns the defaults.
func NewFinetuneFull() FinetuneFull {
	c := FinetuneFull{newFinetune("out/finetune/full")}
	c.Eval.Interval = 600
	return c
}

// Run trains and leaves a complete checkpoint in out_dir/final.
func (c FinetuneFull) Run(ctx context.Context, out Out) error {
	s, l, prec, err := c.Finetune.begin(out)
	if err != nil {
		return err
	}
	defer l.close()
	defer s.dev.Close()
	return c.run(ctx, s, l, prec)
}

// run is Run on what begin opened.
func (c FinetuneFull) run(ctx context.Context, s *session, l *loaded, prec precision) error {
	if l.lora != nil {
		return fmt.Errorf("%s is an adapter; merge it with merge_lora first", l.dir)
	}
	weights := func(dev *tensor.Device, l *loaded, prec precision) ([]string, []*tensor.Tensor, error) {
		if err := l.load(dev, prec.matrix, true); err != nil {
			return nil, nil, err
		}
		names, weights := trainAll(l.Model)
		return names, weights, nil
	}
	hash, err := fingerprint(l.base)
	if err != nil {
		return err
	}
	s.run["base"] = hash
	s.save = func(d *durable.Dir) error {
		if err := copySidecars(d, l.base); err != nil {
			return err
		}
		return saveModel(d, l, l.config, s.trainer.Optimizer.Params, prec)
	}
	c.Resume = ""
	s.hyper = &c
	return c.finish(ctx, s, l, weights, prec)
}

// trainAll marks all weights of a model as trained, and lists them.
func trainAll(m models.Model) (names []string, weights []*tensor.Tensor) {
	for name, p := range nn.Params(m) {
		p.Trainable = true
		names, weights = append(names, name), append(weights, p)
	}
	return names, weights
}

// begin checks the settings, opens the model's directory and the device.
func (c Finetune) begin(out Out) (*session, *loaded, precision, error) {
	none := precision{}
	if err := c.Train.check(c.Optimizer, c.Precision, trainPrecisions); err != nil {
		return nil, nil, none, err
	}
	if err := checkShared(c.LoggerName, c.Devices); err != nil {
		return nil, nil, none, err
	}
	l, err := open(c.CheckpointDir)
	if err != nil {
		return nil, nil, none, err
	}
	prec := l.trainPrecision(c.Precision)
	dev, err := c.Device.open()
	if err != nil {
		l.close()
		return nil, nil, none, err
	}
	s := &session{out: out, train: c.Train, eval: c.Eval, lr: c.Optimizer.AdamW.LR, outDir: c.OutDir, resume: c.Resume, digits: 6, seed: c.Seed,
		dev: dev, model: l.Model, padTo: 32, run: describeRun(c.Train, c.Optimizer, c.Data, prec, c.Seed)}
	return s, l, prec, nil
}

// describeRun is what must not change when a run is resumed.
func describeRun(t Train, o Optimizer, d data.Config, p precision, seed int64) map[string]string {
	return map[string]string{
		"precision": p.name, "seed": strconv.FormatInt(seed, 10), "global_batch_size": strconv.Itoa(t.GlobalBatchSize),
		"micro_batch_size": strconv.Itoa(t.MicroBatchSize), "max_seq_length": strconv.Itoa(t.MaxSeqLength),
		"optimizer": fmt.Sprintf("%+v", o.AdamW), "max_norm": fmt.Sprint(t.MaxNorm), "data": fmt.Sprintf("%+v", d),
	}
}

func checkShared(logger, devices string) error {
	var bad []string
	if logger != "csv" {
		bad = append(bad, fmt.Sprintf("--logger_name is %q; csv is the only one for now", logger))
	}
	if devices != "1" && devices != "auto" {
		bad = append(bad, fmt.Sprintf("--devices is %q; 1 or auto wanted", devices))
	}
	return usage(bad)
}

// finish reads the data, checks that there is memory enough, loads the weights and trains.
func (c Finetune) finish(ctx context.Context, s *session, l *loaded, declare declare, prec precision) error {
	balance, err := c.Train.balance(l.config)
	if err != nil {
		return err
	}
	if balance > 0 {
		s.run["router_aux_loss_coef"] = fmt.Sprint(balance)
	}
	// Weights that do not fit the model are found before the data is read.
	p := &planner{dev: s.dev, l: l, declare: declare, optimizer: c.Optimizer.config(), padTo: s.padTo, balance: balance}
	if _, err := p.uses(trial{prec: prec}); err != nil {
		return err
	}
	tok, err := l.tokenizer()
	if err != nil {
		return err
	}
	context := l.Dims().Context
	length := context
	if c.Train.MaxSeqLength > 0 {
		length = min(length, c.Train.MaxSeqLength)
	}
	chosen, err := l.trainingStyle(c.Data, tok)
	if err != nil {
		return err
	}
	style := chosen.style
	if s.sets[0], s.sets[1], err = data.Open(ctx, c.Data, data.Options{Tokenizer: tok, Style: rendered{style, tok}, MaxSeqLength: length}); err != nil {
		return err
	}
	defer s.sets[0].Close()
	defer s.sets[1].Close()
	s.run["samples"] = fmt.Sprintf("%d of at most %d tokens", s.sets[0].Len(), s.sets[0].Longest())

	// The prompts of serving are those of training: the style goes with the weights.
	save := s.save
	s.save = func(d *durable.Dir) error {
		if err := d.WriteFile("prompt_style.yaml", style.YAML()); err != nil {
			return err
		}
		return save(d)
	}
	from := s.sets[1]
	if from.Len() == 0 {
		from = s.sets[0]
	}
	i, err := exampleIndex(c.Eval.EvaluateExample, from.Len(), c.Seed)
	if err != nil {
		return err
	}
	if prompt := from.Prompt(i); prompt != nil && c.Eval.MaxNewTokens > 0 {
		s.example = s.exampleFrom(prompt, tok)
		p.example = [2]int{len(prompt), c.Eval.MaxNewTokens}
	}
	if c.Data.Class == "TextFiles" {
		p.window = 1
	}
	if done, err := s.plan(p, c.Planned, trial{prec, c.Train.MicroBatchSize, length, c.Recompute}); done || err != nil {
		return err
	}
	names, weights, err := declare(s.dev, l, prec)
	if err != nil {
		return err
	}

	o, err := optim.New(s.dev, c.Optimizer.config(), names, weights)
	if err != nil {
		return err
	}
	defer o.Close()
	if prec.masters {
		if err := setMasters(o, l.Model, l, c.Seed); err != nil {
			return err
		}
	}
	s.trainer = train.New(s.dev, l.Model, o, c.Recompute, c.Seed)
	s.trainer.Balance(p.balance)
	defer s.trainer.Close()
	n := 0
	for _, w := range weights {
		n += w.Numel()
	}
	chosen.warn(s.out.Log(nil))
	l.describe(s.out.Log(nil), s.dev, "prompt_style", style.Name(), "style_from", chosen.why, "trainable", n, "precision", prec.name, "samples", s.sets[0].Len(), "longest", s.sets[0].Longest(), "context", context)
	return s.loop(ctx, s.sets[0].Longest())
}

// saveModel writes a complete checkpoint of trained weights, in the layout that they came in.
func saveModel(d *durable.Dir, l *loaded, config []byte, params []*optim.Param, prec precision) error {
	config, err := models.SavedConfig(config)
	if err != nil {
		return err
	}
	config, err = checkpoint.ConfigWithType(config, prec.saved)
	if err != nil {
		return err
	}
	if err := d.WriteFile("config.json", config); err != nil {
		return err
	}
	var values []checkpoint.Value
	for _, p := range params {
		from := p.Weight
		if prec.masters {
			from = p.Master
		}
		values = append(values, checkpoint.Value{Name: p.Name, DType: prec.saved, From: from})
	}
	return checkpoint.SaveWeights(d, l.layout(values), checkpoint.ShardSize)
}
