package models_test

import (
	"path/filepath"
	"testing"

	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/lora"
)

// TestPEFTComputesParts compares adapters on parts of fused weights, which this
// program trained and saved (LitGPT's switches query, value, projection and mlp),
// with what PEFT and transformers compute from the same files; alone and merged.
func TestPEFTComputesParts(t *testing.T) {
	dev := openCPU(t)
	for _, name := range []string{"phi3-odd", "gptneox", "falcon-40b"} {
		t.Run(name, func(t *testing.T) {
			f := fixture{dir: filepath.Join(own, name), required: true, dev: dev}
			m := f.load(t, "config.json", false)
			dir := filepath.Join(f.dir, "reference", "parts")
			cfg, err := lora.Load(dev, m, dir)
			if err != nil {
				t.Fatal(err)
			}
			if cfg.Rank != 2 || len(cfg.Ranks) == 0 {
				t.Errorf("got rank %d and %v, want 2 and joint ranks of the fused weights", cfg.Rank, cfg.Ranks)
			}
			file, err := safetensors.Open(filepath.Join(dir, "logits.safetensors"))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			want, ids := f.floats(t, file, "logits"), f.inputs(t).IDs
			if base := f.floats(t, f.tensors(t, "outputs.safetensors"), "logits"); distance(base, want) < 0.1 {
				t.Error("the adapter changes nothing, so nothing is compared")
			}
			near(t, "adapter", logits(t, dev, m, ids), want, logitsTolerance)
			if err := lora.Merge(dev, m); err != nil {
				t.Fatal(err)
			}
			near(t, "merged", logits(t, dev, m, ids), want, logitsTolerance)
		})
	}
}
