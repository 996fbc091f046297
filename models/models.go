// Package models holds one file per model family. A file reads top to bottom:
// the configuration as in config.json, the structs with the checkpoint names of
// their weights, the constructor that declares shapes, and the forward pass.
// Start with llama.go.
package models

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// Model is a decoder-only language model. The same two methods serve training
// (no cache, every token) and generation (cache, last tokens).
type Model interface {
	// Forward returns the hidden states (N, C) of a batch after the final norm.
	Forward(b *nn.Batch) *tensor.Tensor

	// Logits maps hidden states (N, C) to scores over the vocabulary (N, V).
	Logits(h *tensor.Tensor) *tensor.Tensor

	// Dims returns the sizes that the cache and the trainer allocate by.
	Dims() Dims
}

// Dims are the sizes of a model that code outside its file may ask for.
type Dims struct {
	Layers, Hidden, Vocab   int
	Heads, KVHeads, HeadDim int
	Context                 int  // positions the model was made for
	Original                int  // a sequence that outgrows these positions is rotated anew ([nn.LongRoPE]), so that its cache must be read again; 0: never
	Tied                    bool // the output projection is the embedding
}

// families maps "architectures" of config.json to a constructor. A new family
// is one file and one line here.
var families = map[string]func(config []byte) (Model, error){
	"FalconForCausalLM":              newFalcon,
	"GPTNeoXForCausalLM":             newGPTNeoX,
	"Gemma2ForCausalLM":              newGemma2,
	"Gemma3ForCausalLM":              newGemma3,
	"Gemma3ForConditionalGeneration": newGemma3Vision, // images are left out
	"GemmaForCausalLM":               newGemma,
	"LlamaForCausalLM":               newLlama,
	"MistralForCausalLM":             newMistral,
	"MixtralForCausalLM":             newMixtral,
	"Olmo2ForCausalLM":               newOlmo2,
	"Phi3ForCausalLM":                newPhi3,
	"PhiForCausalLM":                 newPhi,
	"Qwen2ForCausalLM":               newQwen2,
	"Qwen3ForCausalLM":               newQwen3,
	"Qwen3MoeForCausalLM":            newQwen3MoE,
	"SmolLM3ForCausalLM":             newSmolLM3,
	"StableLmForCausalLM":            newStableLM,
}

// Supported reports whether an architecture has a file here.
func Supported(architecture string) bool { return families[architecture] != nil }

// Architecture reads "architectures" of a config.json.
func Architecture(config []byte) (string, error) {
	var c struct {
		Architectures []string `json:"architectures"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return "", configError(config, err)
	}
	if len(c.Architectures) == 0 {
		return "", fmt.Errorf(`config.json: no "architectures"; it says which model this is, e.g. ["LlamaForCausalLM"]`)
	}
	return c.Architectures[0], nil
}

// New declares the model described by a config.json. Its weights have shapes and
// names, and no storage until a checkpoint is loaded or an initializer runs.
func New(config []byte) (m Model, err error) {
	defer func() {
		if e, ok := err.(*tensor.Error); ok {
			err = fmt.Errorf("config.json: a weight of %s", e.Msg) // sizes that are possible alone, not together
		}
	}()
	defer tensor.Catch(&err)
	arch, err := Architecture(config)
	if err != nil {
		return nil, err
	}
	build, ok := families[arch]
	if !ok {
		return nil, fmt.Errorf("config.json: unsupported architecture %q (supported: %s)", arch,
			strings.Join(slices.Sorted(maps.Keys(families)), ", "))
	}
	m, err = build(config)
	if err != nil {
		return nil, err
	}
	for name, p := range nn.Params(m) {
		p.Name = name
	}
	return m, nil
}

// parts are the architectures of which only a part is a model here, with what makes
// that part's config.json of the whole one.
var parts = map[string]func(config []byte) ([]byte, error){
	"Gemma3ForConditionalGeneration": gemma3TextConfig,
}

// SavedConfig gives the config.json to save beside weights of the model that config
// describes: config itself, except where the model is a part of it only.
func SavedConfig(config []byte) ([]byte, error) {
	arch, err := Architecture(config)
	if err != nil {
		return nil, err
	}
	if part, ok := parts[arch]; ok {
		return part(config)
	}
	return config, nil
}

// configError says where in config.json the JSON is wrong.
func configError(config []byte, err error) error {
	var offset int64
	switch e := err.(type) {
	case *json.SyntaxError:
		offset = e.Offset
	case *json.UnmarshalTypeError:
		key := strings.NewReplacer("sizes.", "", "rotary.", "", "YaRN.", "").Replace(e.Field) // the structs a config embeds are in the path, but no keys
		return fmt.Errorf("config.json: %s is a %s, %v wanted", key, e.Value, e.Type)
	default:
		return fmt.Errorf("config.json: %w", err)
	}
	before := config[:min(int(offset), len(config))]
	return fmt.Errorf("config.json:%d: %w", 1+strings.Count(string(before), "\n"), err)
}

// positive reports every value that is not between 1 and its limit.
func positive(values map[string]int) error {
	const limit = 1 << 28
	var bad []string
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if v := values[key]; v <= 0 || v > limit {
			bad = append(bad, fmt.Sprintf("%s is %d", key, v))
		}
	}
	if bad != nil {
		return fmt.Errorf("config.json: %s; positive numbers below 2^28 wanted", strings.Join(bad, ", "))
	}
	return nil
}

// unsupported reports keys whose presence with any value but the harmless ones
// would change the mathematics: they are never ignored.
func unsupported(config []byte, harmless map[string][]string) error {
	var c map[string]json.RawMessage
	if err := json.Unmarshal(config, &c); err != nil {
		return configError(config, err)
	}
	for _, key := range slices.Sorted(maps.Keys(harmless)) {
		v, ok := c[key]
		if !ok || string(v) == "null" || slices.Contains(harmless[key], string(v)) {
			continue
		}
		return fmt.Errorf("config.json: %s is %.60s, which this model family does not have here (known: %s)",
			key, v, strings.Join(append(harmless[key], "null"), ", "))
	}
	return nil
}
