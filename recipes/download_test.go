package recipes

import (
	_ "embed"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/settings"
	"github.com/litgpt-go/litgpt/models"
)

// The recipes LitGPT publishes, with the model each one names: the end of
// checkpoint_dir, or model_name.
//
//go:embed testdata/litgpt_recipes.tsv
var litgptRecipes string

func TestPublishedRecipes(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(litgptRecipes), "\n")
	if len(lines) != 46 {
		t.Errorf("got %d recipes, want 46", len(lines))
	}
	for _, line := range lines {
		recipe, model, _ := strings.Cut(line, "\t")
		c := NewPretrain()
		c.ModelName = model
		if model == "model_config" { // pretrain/tinystories.yaml
			c.ModelName = "stories15M"
			c.ModelConfig = ModelConfig{Name: "stories15M", BlockSize: 256, PaddedVocabSize: 32000, NLayer: 6, NHead: 6, NQueryGroups: 6, NEmbd: 288,
				HeadSize: 48, RotaryPercentage: 1, NormClassName: "RMSNorm", MLPClassName: "LLaMAMLP", IntermediateSize: 768}
			c.Train.TieEmbeddings = true
		}
		config, err := c.config()
		if err != nil {
			t.Errorf("%s: %v", recipe, err)
			continue
		}
		architecture, err := models.Architecture(config)
		if err != nil {
			t.Errorf("%s: %v", recipe, err)
			continue
		}
		if !models.Supported(architecture) {
			t.Logf("%s: %s has no file", recipe, architecture)
			continue
		}
		if _, err := models.New(config); err != nil {
			t.Errorf("%s: %v", recipe, err)
		}
	}
}

func TestDownloadErrors(t *testing.T) {
	for _, tt := range []struct{ repo, msg, hint string }{
		{"SmolLM2-135M", "get HuggingFaceTB/SmolLM2-135M by hand", "https://huggingface.co/HuggingFaceTB/SmolLM2-135M/tree/main"},
		{"google/gemma-2b", "get google/gemma-2b by hand", "tokenizer*"},
		{"someone/their-llama", "get someone/their-llama by hand", "https://huggingface.co/someone/their-llama/tree/main"},
		{"SmolLM2-135", `"SmolLM2-135" is no model known by name (did you mean "SmolLM2-135M"?)`, "litgpt pretrain list"},
		{"../x/y", `"../x/y" is no model known by name`, "litgpt pretrain list"},
	} {
		err := Download{RepoID: tt.repo}.Run(io.Discard)
		var usage *settings.UsageError
		if !errors.As(err, &usage) {
			t.Errorf("%s: got %v, want wrong use", tt.repo, err)
			continue
		}
		if !strings.Contains(usage.Msg, tt.msg) || !strings.Contains(usage.Hint, tt.hint) {
			t.Errorf("%s: got %q, %q, want %q, %q in them", tt.repo, usage.Msg, usage.Hint, tt.msg, tt.hint)
		}
	}
}
