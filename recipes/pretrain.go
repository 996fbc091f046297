package recipes

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/data"
	"github.com/litgpt-go/litgpt/internal/durable"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/optim"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/internal/train"
	"github.com/litgpt-go/litgpt/models"
)

// Pretrain trains a model from random weights, or goes on from a checkpoint's: "litgpt pretrain".
type Pretrain struct {
	ModelName            string      `yaml:"model_name" arg:"0,optional" help:"name of a model to pretrain, a directory with a config.json, or list"`
	ModelConfig          ModelConfig `yaml:"model_config"`
	OutDir               string      `yaml:"out_dir" help:"where checkpoints, logs and final/ go"`
	Precision            string      `yaml:"precision" help:"32-true, bf16-true or bf16-mixed; default bf16-mixed"`
	InitialCheckpointDir string      `yaml:"initial_checkpoint_dir" help:"start from these weights instead of random ones"`
	Resume               string      `yaml:"resume" help:"auto goes on from the newest checkpoint in out_dir if there is one; or a step-NNNNNNNN directory"`
	Data                 data.Config `yaml:"data"`
	Train                Train       `yaml:"train"`
	Eval                 Eval        `yaml:"eval"`
	Optimizer            Optimizer   `yaml:"optimizer"`
	Recompute            bool        `yaml:"recompute" help:"keep one block's intermediates at a time and compute them again: less memory, a third more work"`
	Devices              string      `yaml:"devices" help:"1 or auto; training over several devices comes later"`
	Device               `yaml:",inline"`
	Planned              `yaml:",inline"`
	TokenizerDir         string `yaml:"tokenizer_dir" help:"directory of the tokenizer.json; default that of the model's directory"`
	LoggerName           string `yaml:"logger_name" help:"csv"`
	Seed                 int64  `yaml:"seed" help:"seed of the weights and the order of the data"`
}

// NewPretrain returns the defaults.
func NewPretrain() Pretrain {
	d := data.Defaults()
	d.Class = "TextFiles"
	return Pretrain{
		OutDir: "out/pretrain", Data: d,
		Train: Train{SaveInterval: 1000, LogInterval: 1, GlobalBatchSize: 512, MicroBatchSize: 4, LRWarmupSteps: 2000, MaxTokens: 3e12,
			MaxNorm: 1, MinLR: 4e-5, RouterAuxLoss: "0"},
		Eval: Eval{Interval: 1000, MaxIters: 100, FinalValidation: true}, Optimizer: newOptimizer(1e-3),
		Devices: "auto", Device: newDevice(), LoggerName: "csv", Seed: 42,
	}
}

// ModelConfig describes a model to pretrain in LitGPT's words. What is no Llama is an error for now.
type ModelConfig struct {
	Name             string  `yaml:"name" help:"name of the model"`
	BlockSize        int     `yaml:"block_size" help:"context in tokens"`
	VocabSize        int     `yaml:"vocab_size" help:"ids of the tokenizer"`
	PaddingMultiple  int     `yaml:"padding_multiple" help:"the embedding's rows are a multiple of this"`
	PaddedVocabSize  int     `yaml:"padded_vocab_size" help:"rows of the embedding; 0 is vocab_size rounded up to padding_multiple"`
	NLayer           int     `yaml:"n_layer" help:"blocks"`
	NHead            int     `yaml:"n_head" help:"query heads"`
	NEmbd            int     `yaml:"n_embd" help:"hidden size"`
	HeadSize         int     `yaml:"head_size" help:"channels per head; 0 is n_embd/n_head"`
	NQueryGroups     int     `yaml:"n_query_groups" help:"key/value heads; 0 is n_head"`
	RotaryPercentage float64 `yaml:"rotary_percentage" help:"share of a head that is rotated; 1"`
	ParallelResidual bool    `yaml:"parallel_residual" help:"false"`
	Bias             bool    `yaml:"bias" help:"biases in attention and MLP"`
	NormClassName    string  `yaml:"norm_class_name" help:"RMSNorm"`
	NormEps          float64 `yaml:"norm_eps" help:"added to the mean square"`
	ScaleEmbeddings  bool    `yaml:"scale_embeddings" help:"false"`
	MLPClassName     string  `yaml:"mlp_class_name" help:"LLaMAMLP"`
	IntermediateSize int     `yaml:"intermediate_size" help:"width of the MLP; 0 is 4·n_embd"`
	RopeBase         float64 `yaml:"rope_base" help:"base of the rotary frequencies"`
	HFConfig         HFName  `yaml:"hf_config"`
}

// HFName is LitGPT's reference to a model on the hub; it is kept and not used.
type HFName struct {
	Org  string `yaml:"org" help:"organization on the hub"`
	Name string `yaml:"name" help:"name on the hub"`
}

// config turns LitGPT's words into a config.json.
func (m ModelConfig) config() ([]byte, error) {
	var bad []string
	if m.RotaryPercentage != 0 && m.RotaryPercentage != 1 {
		bad = append(bad, fmt.Sprintf("rotary_percentage is %g; 1 wanted", m.RotaryPercentage))
	}
	if m.ParallelResidual {
		bad = append(bad, "parallel_residual is true; false wanted")
	}
	if m.ScaleEmbeddings {
		bad = append(bad, "scale_embeddings is true; false wanted")
	}
	if m.NormClassName != "" && m.NormClassName != "RMSNorm" {
		bad = append(bad, fmt.Sprintf("norm_class_name is %q; RMSNorm wanted", m.NormClassName))
	}
	if m.MLPClassName != "" && m.MLPClassName != "LLaMAMLP" {
		bad = append(bad, fmt.Sprintf("mlp_class_name is %q; LLaMAMLP wanted", m.MLPClassName))
	}
	for name, v := range map[string]int{"n_layer": m.NLayer, "n_head": m.NHead, "n_embd": m.NEmbd, "block_size": m.BlockSize} {
		if v <= 0 {
			bad = append(bad, fmt.Sprintf("%s is %d; a positive number wanted", name, v))
		}
	}
	vocab := m.PaddedVocabSize
	if vocab == 0 {
		k := max(1, m.PaddingMultiple)
		vocab = (m.VocabSize + k - 1) / k * k
	}
	if vocab <= 0 {
		bad = append(bad, "vocab_size or padded_vocab_size is missing")
	}
	if bad != nil {
		slices.Sort(bad)
		return nil, usage([]string{"model_config: " + strings.Join(bad, "; ")})
	}
	or := func(a, b float64) float64 {
		if a == 0 {
			return b
		}
		return a
	}
	return json.MarshalIndent(map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "hidden_act": "silu", "vocab_size": vocab,
		"max_position_embeddings": m.BlockSize, "num_hidden_layers": m.NLayer, "hidden_size": m.NEmbd, "num_attention_heads": m.NHead,
		"num_key_value_heads": int(or(float64(m.NQueryGroups), float64(m.NHead))), "head_dim": int(or(float64(m.HeadSize), float64(m.NEmbd/m.NHead))),
		"intermediate_size": int(or(float64(m.IntermediateSize), float64(4*m.NEmbd))), "rms_norm_eps": or(m.NormEps, 1e-5),
		"rope_theta": or(m.RopeBase, 10000), "attention_bias": m.Bias, "mlp_bias": m.Bias, "tie_word_embeddings": false,
		"initializer_range": 0.02,
	}, "", "  ")
}

// config finds the config.json to pretrain.
func (c Pretrain) config() ([]byte, error) {
	var config []byte
	var err error
	switch {
	case c.ModelConfig != ModelConfig{}:
		config, err = c.ModelConfig.config()
	case c.ModelName == "" && c.InitialCheckpointDir != "":
		config, err = readConfig(findDir(c.InitialCheckpointDir))
	case c.ModelName == "":
		return nil, usage([]string{"nothing says what to pretrain: name a model (list shows them), a directory with a config.json, or set --model_config"})
	case isCheckpoint(c.ModelName):
		config, err = readConfig(c.ModelName)
	default:
		shape, ok := models.FindShape(c.ModelName)
		if !ok {
			return nil, unknownModel(fmt.Sprintf("%q is neither a directory with a config.json nor a model known by name", c.ModelName), c.ModelName)
		}
		var indented bytes.Buffer // it will be a file that people read
		err = json.Indent(&indented, shape.Config, "", "  ")
		config = indented.Bytes()
	}
	if err != nil || !c.Train.TieEmbeddings {
		return config, err
	}
	var m map[string]any
	if err := json.Unmarshal(config, &m); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	m["tie_word_embeddings"] = true
	return json.MarshalIndent(m, "", "  ")
}

// Run trains and leaves a complete checkpoint in out_dir/final.
func (c Pretrain) Run(ctx context.Context, out Out) error {
	if c.Data.Class != "TextFiles" {
		return usage([]string{fmt.Sprintf("--data is %q; pretrain reads TextFiles for now", c.Data.Class)})
	}
	if err := errors.Join(c.Train.check(c.Optimizer, c.Precision, trainPrecisions), checkShared(c.LoggerName, c.Devices)); err != nil {
		return err
	}
	if c.InitialCheckpointDir != "" && c.Resume != "" && c.Resume != "auto" && c.Resume != "false" {
		return usage([]string{"--resume and --initial_checkpoint_dir exclude each other"})
	}
	config, err := c.config()
	if err != nil {
		return err
	}
	m, err := models.New(config)
	if err != nil {
		return err
	}
	asked := c.Precision
	if asked == "" {
		asked = "bf16-mixed"
	}
	prec := precisions[asked]
	dev, err := c.Device.open()
	if err != nil {
		return err
	}
	defer dev.Close()
	l := &loaded{Model: m, dir: c.ModelName, config: config}

	// The weights: those of a checkpoint, or random ones.
	if c.InitialCheckpointDir != "" {
		if l, err = open(c.InitialCheckpointDir); err != nil {
			return err
		}
		if l.lora != nil {
			return fmt.Errorf("%s is an adapter; merge it with merge_lora first", l.dir)
		}
		m, config = l.Model, l.config
		defer l.src.Close()
	}
	declare := func(dev *tensor.Device, l *loaded, prec precision) ([]string, []*tensor.Tensor, error) {
		var err error
		if l.src == nil {
			err = initialize(dev, l.Model, prec, c.Seed)
		} else {
			err = l.load(dev, prec.matrix, true)
		}
		if err != nil {
			return nil, nil, err
		}
		names, weights := trainAll(l.Model)
		return names, weights, nil
	}
	balance, err := c.Train.balance(config)
	if err != nil {
		return err
	}
	p := &planner{dev: dev, l: l, declare: declare, optimizer: c.Optimizer.config(), window: 1, balance: balance}
	if _, err := p.uses(trial{prec: prec}); err != nil {
		return err
	}

	// The data.
	tokDir := c.TokenizerDir
	for _, dir := range []string{c.InitialCheckpointDir, c.ModelName} {
		if tokDir == "" && dir != "" && (exists(filepath.Join(dir, "tokenizer.json")) || ggufFile(dir) != "") {
			tokDir = dir
		}
	}
	if tokDir == "" {
		return usage([]string{"a tokenizer is needed to read the text: set --tokenizer_dir to a directory with a tokenizer.json"})
	}
	tok, err := loadTokenizer(tokDir)
	if err != nil {
		return err
	}
	if v := m.Dims().Vocab; tok.VocabSize() > v {
		return fmt.Errorf("%s: the tokenizer has %d ids, the model's embedding %d rows; set vocab_size to at least %d", tokDir, tok.VocabSize(), v, tok.VocabSize())
	}
	length := m.Dims().Context
	if c.Train.MaxSeqLength > 0 {
		length = min(length, c.Train.MaxSeqLength)
	}
	s := &session{out: out, train: c.Train, eval: c.Eval, lr: c.Optimizer.AdamW.LR, outDir: c.OutDir, resume: c.Resume, digits: 8, seed: c.Seed,
		dev: dev, model: m, run: describeRun(c.Train, c.Optimizer, c.Data, prec, c.Seed)}
	if s.sets[0], s.sets[1], err = data.Open(ctx, c.Data, data.Options{Tokenizer: tok, MaxSeqLength: length}); err != nil {
		return err
	}
	defer s.sets[0].Close()
	defer s.sets[1].Close()
	s.run["samples"] = strconv.Itoa(s.sets[0].Len())
	s.run["tokenizer"] = tok.Hash()
	s.run["model"] = string(config)
	if balance > 0 {
		s.run["router_aux_loss_coef"] = fmt.Sprint(balance)
	}

	// The memory, then the weights.
	if done, err := s.plan(p, c.Planned, trial{prec, c.Train.MicroBatchSize, length, c.Recompute}); done || err != nil {
		return err
	}
	defer func() {
		for _, p := range nn.Params(m) {
			p.Free()
		}
	}()
	names, weights, err := declare(dev, l, prec)
	if err != nil {
		return err
	}
	o, err := optim.New(dev, c.Optimizer.config(), names, weights)
	if err != nil {
		return err
	}
	defer o.Close()
	if prec.masters {
		if err := setMasters(o, m, l, c.Seed); err != nil {
			return err
		}
	}
	s.trainer = train.New(dev, m, o, c.Recompute, c.Seed)
	s.trainer.Balance(balance)
	defer s.trainer.Close()
	s.save = func(d *durable.Dir) error {
		if err := copySidecars(d, tokDir); err != nil {
			return err
		}
		return saveModel(d, l, config, o.Params, prec)
	}
	hyper := c
	hyper.Resume = ""
	s.hyper = &hyper
	l.dir = cmp.Or(l.dir, c.ModelConfig.Name)
	l.dtype = matrixType(m)
	l.describe(out.Log(nil), dev, "precision", prec.name, "sequences", s.sets[0].Len(), "length", length)
	return s.loop(ctx, length)
}

// initialize gives the weights memory and random values (memory alone on a planning device): normal with variance
// 2/(5·C) (https://arxiv.org/abs/2204.06745, as LitGPT), the
// projections that end a sub-layer with 1/√C/layers, norms one, biases zero.
func initialize(dev *tensor.Device, m models.Model, prec precision, seed int64) error {
	types := map[checkpoint.Type]tensor.DType{checkpoint.F32: tensor.F32, checkpoint.BF16: tensor.BF16}
	dev.Label("weights")
	offsets := nn.Offsets(m)
	for name, p := range nn.Params(m) {
		dtype := tensor.F32
		if len(p.Shape()) > 1 {
			dtype = types[prec.matrix]
		}
		if err := dev.Alloc(p, dtype); err != nil {
			return err
		}
		if dev.Planning() {
			continue
		}
		v := initial(name, p, m.Dims(), seed)
		if offset, ok := offsets[p]; ok {
			for i := range v {
				v[i] -= float32(offset) // the norm adds it again
			}
		}
		p.SetValues(v)
	}
	return nil
}

// initial draws a weight's values; each name has a stream of its own.
func initial(name string, p *tensor.Tensor, d models.Dims, seed int64) []float32 {
	v := make([]float32, p.Numel())
	if len(p.Shape()) == 1 {
		if strings.HasSuffix(name, ".weight") {
			for i := range v {
				v[i] = 1
			}
		}
		return v
	}
	std := math.Sqrt(2 / (5 * float64(d.Hidden)))
	if endsSublayer(name) {
		std = 1 / math.Sqrt(float64(d.Hidden)) / float64(d.Layers)
	}
	var stream uint64 = 14695981039346656037 // FNV-1a of the name
	for _, b := range []byte(name) {
		stream = (stream ^ uint64(b)) * 1099511628211
	}
	rng := rand.New(rand.NewPCG(uint64(seed), stream))
	for i := range v {
		v[i] = float32(std * rng.NormFloat64())
	}
	return v
}

// endsSublayer reports whether a matrix is the projection that an attention or
// feed-forward layer ends with, by what the families call it.
func endsSublayer(name string) bool {
	layer := strings.TrimSuffix(name, ".weight") // stacked experts have no such ending
	return slices.Contains([]string{
		"o_proj", "down_proj", // Llama and most others
		"dense", "fc2", // Phi
		"dense_4h_to_h", // GPT-NeoX and Falcon, whose attention ends with dense too
		"w2",            // Mixtral
	}, layer[strings.LastIndexByte(layer, '.')+1:])
}

// setMasters gives F32 masters the values before their rounding to the working type.
func setMasters(o *optim.AdamW, m models.Model, l *loaded, seed int64) error {
	for _, p := range o.Params {
		if p.Master == p.Weight {
			continue
		}
		if l.src == nil {
			p.Master.SetValues(initial(p.Name, p.Weight, m.Dims(), seed))
		} else if there, err := checkpoint.FillWeight(p.Master, p.Name, m, l.src); err != nil {
			return err
		} else if !there {
			return fmt.Errorf("%s: %s is not in the checkpoint", l.base, p.Name)
		}
	}
	return nil
}
