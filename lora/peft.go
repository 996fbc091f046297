package lora

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/durable"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// The files of a PEFT adapter directory.
const (
	ConfigFile  = "adapter_config.json"
	WeightsFile = "adapter_model.safetensors"
)

// prefix stands before every name in PEFT's files.
const prefix = "base_model.model."

// Base says which checkpoint an adapter corrects.
type Base struct {
	Path string // base_model_name_or_path
	Hash string // of its config.json and weights, ours; empty in adapters of other programs

	// Quantize is the type that the base's layers were quantized to while it was loaded for training, as
	// the setting of that name has it; "" for none.
	Quantize string
}

// peftConfig is adapter_config.json: what PEFT writes, and the hash of the base.
type peftConfig struct {
	PEFTType      string             `json:"peft_type"`
	TaskType      string             `json:"task_type"`
	BaseModel     string             `json:"base_model_name_or_path"`
	BaseHash      string             `json:"litgpt_base_sha256,omitempty"`
	BaseQuantize  string             `json:"litgpt_base_quantize,omitempty"`
	Rank          int                `json:"r"`
	Alpha         float64            `json:"lora_alpha"`
	Dropout       float64            `json:"lora_dropout"`
	Targets       targets            `json:"target_modules"`
	Parameters    []string           `json:"target_parameters,omitempty"`
	Bias          string             `json:"bias"`
	FanInFanOut   bool               `json:"fan_in_fan_out"`
	InferenceMode bool               `json:"inference_mode"`
	InitWeights   any                `json:"init_lora_weights"`
	UseDoRA       bool               `json:"use_dora"`
	UseRSLoRA     bool               `json:"use_rslora"`
	ModulesToSave []string           `json:"modules_to_save"`
	RankPattern   map[string]int     `json:"rank_pattern"`
	AlphaPattern  map[string]float64 `json:"alpha_pattern"`
	LoRABias      bool               `json:"lora_bias"`
}

// foreign are the keys of kinds of LoRA that compute something else, or elsewhere,
// than a plain one; PEFT writes them with the values null, false, [] or {} otherwise.
var foreign = []string{"use_dora", "use_rslora", "use_qalora", "use_bdlora", "fan_in_fan_out", "lora_bias", "modules_to_save",
	"layers_to_transform", "exclude_modules", "layer_replication", "trainable_token_indices", "alora_invocation_tokens",
	"arrow_config", "kasa_config", "monteclora_config", "velora_config"}

// otherBase are the initializations that PEFT repeats when it loads, and that change the base's weights.
var otherBase = []string{"pissa", "olora", "corda", "loftq", "lora_ga"}

// targets is a list of names; PEFT also writes one string, a regular expression or "all-linear".
type targets []string

func (t *targets) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		return fmt.Errorf("target_modules is the pattern %q; a list of layer names wanted", one)
	}
	return json.Unmarshal(data, (*[]string)(t))
}

// IsAdapter reports whether dir is an adapter directory.
func IsAdapter(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, ConfigFile))
	return err == nil
}

// Save writes the adapter of model into d in the PEFT layout.
func Save(d *durable.Dir, model any, cfg Config, base Base) error {
	if err := SaveConfig(d, cfg, base); err != nil {
		return err
	}
	var values []checkpoint.Value
	stacks := peftNames(model)
	for name, p := range nn.Params(model) {
		if to, ok := stacks[name]; ok {
			values = append(values, peftValue(to, p))
		} else if isAdapter(name) {
			values = append(values, checkpoint.Value{Name: prefix + name, DType: tensor.F32, From: p})
		}
	}
	slices.SortFunc(values, func(a, b checkpoint.Value) int { return strings.Compare(a.Name, b.Name) })
	return checkpoint.SaveFile(d, WeightsFile, values)
}

// SaveConfig writes adapter_config.json alone.
func SaveConfig(d *durable.Dir, cfg Config, base Base) error {
	// The parts of a fused weight have a joint rank, which PEFT knows as an exception.
	ranks, alphas := map[string]int{}, map[string]float64{}
	for key, r := range cfg.Ranks { // of stacks
		ranks[key] = r
	}
	for key, a := range cfg.Alphas {
		alphas[key] = a
	}
	for _, t := range cfg.Targets {
		if r := cfg.rank(t); r != cfg.Rank {
			ranks[t] = r
		}
		if a := cfg.alpha(t); a != cfg.Alpha {
			alphas[t] = a
		}
	}
	c := peftConfig{PEFTType: "LORA", TaskType: "CAUSAL_LM", BaseModel: base.Path, BaseHash: base.Hash, BaseQuantize: base.Quantize, Rank: cfg.Rank, Alpha: cfg.Alpha,
		Dropout: cfg.Dropout, Targets: cfg.Targets, Parameters: cfg.Parameters, Bias: "none", InferenceMode: true, InitWeights: true,
		RankPattern: ranks, AlphaPattern: alphas}
	if c.Targets == nil {
		c.Targets = targets{}
	}
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return d.WriteFile(ConfigFile, append(data, '\n'))
}

// ReadConfig reads adapter_config.json of dir. Kinds of adapters that compute
// something else (DoRA, saved modules) are errors. Ranks of their own are read for
// layers that are targets by the same name.
func ReadConfig(dir string) (Config, Base, error) {
	var c peftConfig
	name := filepath.Join(dir, ConfigFile)
	data, err := os.ReadFile(name)
	if err != nil {
		return Config{}, Base{}, err
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return Config{}, Base{}, fmt.Errorf("%s: %w", name, err)
	}
	var all map[string]any
	if err := json.Unmarshal(data, &all); err != nil {
		return Config{}, Base{}, fmt.Errorf("%s: %w", name, err)
	}
	cfg := Config{Rank: c.Rank, Alpha: c.Alpha, Dropout: c.Dropout, Targets: c.Targets, Parameters: c.Parameters}
	if len(c.RankPattern) > 0 {
		cfg.Ranks = c.RankPattern
	}
	if len(c.AlphaPattern) > 0 {
		cfg.Alphas = c.AlphaPattern
	}
	slices.Sort(cfg.Targets)
	slices.Sort(cfg.Parameters)
	bad := ""
	for _, pattern := range []struct {
		name string
		keys []string
	}{{"rank_pattern", slices.Sorted(maps.Keys(c.RankPattern))}, {"alpha_pattern", slices.Sorted(maps.Keys(c.AlphaPattern))}} {
		for _, key := range pattern.keys {
			stack := slices.ContainsFunc(cfg.Parameters, func(p string) bool { return strings.HasSuffix(key, lastPart(p)) }) // PEFT writes them for experts' gate_up_proj
			if !stack && !slices.Contains(cfg.Targets, key) {
				bad = fmt.Sprintf("%s has the pattern %.60q, which is none of target_modules", pattern.name, key)
			}
		}
	}
	init, _ := c.InitWeights.(string)
	switch {
	case c.PEFTType != "LORA":
		bad = fmt.Sprintf("peft_type is %q", c.PEFTType)
	case c.Bias != "" && c.Bias != "none":
		bad = "it trains biases"
	case slices.ContainsFunc(otherBase, func(kind string) bool { return strings.HasPrefix(init, kind) }):
		bad = fmt.Sprintf("init_lora_weights is %q, which also changes the base", init)
	}
	for _, key := range foreign {
		if v := fmt.Sprint(all[key]); !slices.Contains([]string{"<nil>", "false", "[]", "map[]"}, v) {
			bad = fmt.Sprintf("%s is %.60s", key, v)
		}
	}
	if bad != "" {
		return cfg, Base{}, fmt.Errorf("%s: %s; a plain LoRA adapter is wanted", name, bad)
	}
	if err := cfg.check(); err != nil {
		return cfg, Base{}, fmt.Errorf("%s: %w", name, err)
	}
	return cfg, Base{c.BaseModel, c.BaseHash, c.BaseQuantize}, nil
}

// Load hangs the adapter of dir on model, which is its base on dev. All that does
// not fit is reported together.
func Load(dev *tensor.Device, model any, dir string) (Config, error) {
	cfg, _, err := ReadConfig(dir)
	if err != nil {
		return cfg, err
	}
	f, err := safetensors.Open(filepath.Join(dir, WeightsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return cfg, fmt.Errorf("%s: no %s; the adapter's weights are missing", dir, WeightsFile)
	} else if err != nil {
		return cfg, err
	}
	defer f.Close()
	theirs := cfg
	apart, cfg := splitStacks(model, f, cfg)
	names, weights, err := Inject(dev, model, cfg, rand.New(rand.NewPCG(0, 0)))
	if err != nil {
		return cfg, fmt.Errorf("%s: %w", dir, err)
	}
	if dev.Planning() {
		return cfg, nil
	}
	var errs []error
	used := map[string]bool{}
	stacks := peftNames(model)
	for i, w := range weights {
		name, shape, fill := names[i], w.Shape(), checkpoint.Fill
		if to, ok := stacks[name]; ok {
			if stack := strings.TrimSuffix(strings.TrimSuffix(name, ".lora_A.weight"), ".lora_B.weight"); apart[stack] != nil {
				errs = append(errs, apart.fill(w, stack, f, theirs, used)...)
				continue
			}
			name, shape, fill = to, peftShape(w, isB(to)), fillStack
		}
		t, ok := f.Tensor(prefix + name)
		used[prefix+name] = true
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("missing %s%s, shape %v", prefix, name, shape))
		case !slices.Equal(t.Shape, shape):
			errs = append(errs, fmt.Errorf("%s: shape %v in the adapter, %v for this model", t.Name, t.Shape, shape))
		case !slices.Contains([]safetensors.DType{"F32", "F16", "BF16"}, t.DType):
			errs = append(errs, fmt.Errorf("%s: type %s, F32, F16 or BF16 wanted", t.Name, t.DType))
		default:
			if err := fill(w, t); err != nil {
				errs = append(errs, err)
			}
		}
	}
	for _, name := range f.Names() {
		if !used[name] {
			errs = append(errs, fmt.Errorf("unused %s", name))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return cfg, fmt.Errorf("%s does not fit the model:\n%w", filepath.Join(dir, WeightsFile), err)
	}
	return cfg, nil
}
