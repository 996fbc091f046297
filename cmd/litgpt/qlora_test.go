package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// contains fails the test unless s has all of want.
func contains(t testing.TB, what, s string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(s, w) {
			t.Errorf("%s: got\n%s\nwant in it %q", what, s, w)
		}
	}
}

// TestQLoRA trains an adapter on a quantized file, resumes, merges and uses the result.
func TestQLoRA(t *testing.T) {
	dir := t.TempDir()
	asGGUF(t, filepath.Join(dir, "q4.gguf"), tensor.Q4_1)
	args := finetuneArgs(t, "finetune", 8, 4)
	args[1] = "q4.gguf"
	plan := ok(t, litgpt(t, dir, append(args, "--plan")...))
	contains(t, "--plan", plan.stdout, "adapter", "of weights used where their files are mapped", "fits")
	r := ok(t, litgpt(t, dir, args...))
	contains(t, "stderr", r.stderr, "type=Q4_1", "precision=32-true", "checkpoint=q4.gguf")

	// Resumed in the middle it ends in the same bytes.
	weights := filepath.Join(dir, "out", "final", "adapter_model.safetensors")
	whole, err := os.ReadFile(weights)
	check(t, err)
	check(t, os.RemoveAll(filepath.Join(dir, "out", "final")))
	check(t, os.RemoveAll(filepath.Join(dir, "out", "step-000008")))
	r = ok(t, litgpt(t, dir, append(args, "--resume", "auto")...))
	contains(t, "stderr", r.stderr, "msg=resuming")
	again, err := os.ReadFile(weights)
	check(t, err)
	if !bytes.Equal(whole, again) {
		t.Error("a run that was resumed ends in another adapter")
	}

	// Merged: floats, and quantized anew.
	r = ok(t, litgpt(t, dir, "merge_lora", "out/final", "--out_dir", "merged", "--text", path("testdata/text.txt"), "--threads", "1"))
	contains(t, "merge_lora", r.stdout, "F16, written", "relative error", "against the adapter's update", "perplexity of", "divergence: mean")
	contains(t, "stderr", r.stderr, "msg=merged adapter=out/final", "type=F16")
	ok(t, litgpt(t, dir, "generate", "merged", "--prompt", "First Citizen", "--max_new_tokens", "4", "--threads", "1"))
	r = ok(t, litgpt(t, dir, "merge_lora", "out/final", "--out_type", "Q8_0", "--threads", "1"))
	contains(t, "merge_lora --out_type", r.stdout, "Q8_0, written")
	r = ok(t, litgpt(t, dir, "generate", "out/merged.gguf", "--prompt", "First Citizen", "--max_new_tokens", "4", "--threads", "1"))
	contains(t, "stderr", r.stderr, "type=Q8_0")
	fails(t, litgpt(t, dir, "merge_lora", "out/final", "--out_type", "Q8_0", "--precision", "32-true"), exitUsage, "set one of them")
	fails(t, litgpt(t, dir, "merge_lora", "out/final", "--out_type", "Q8_0", "--out_dir", "q4.gguf"), exitFailed, "is the base itself")
	fails(t, litgpt(t, dir, "merge_lora", "out/final", "--out_type", "Q8_0", "--out_dir", "x"), exitUsage, "ends in .gguf")

	// The card of the base's file.
	r = ok(t, litgpt(t, dir, "quantize", tiny(t), "q4.gguf", "--report", "--report_text", path("testdata/text.txt"), "--report_windows", "8", "--threads", "1"))
	contains(t, "stderr", r.stderr, "msg=report", "q4.report.md")
	raw, err := os.ReadFile(filepath.Join(dir, "q4.report.json"))
	check(t, err)
	var card struct {
		Tokens     int
		Perplexity float64
		Top1       float64 `json:"top1_agreement"`
		KLD        struct {
			Mean, P99 float64
		} `json:"kl_divergence"`
		Error   float64 `json:"weight_error"`
		Weights []struct {
			Name, Type string
			Error      float64 `json:"relative_error"`
		}
		Hidden []float64 `json:"hidden_error"`
	}
	check(t, json.Unmarshal(raw, &card))
	if card.Tokens != 8*63 || !(card.KLD.Mean > 0 && card.KLD.P99 > card.KLD.Mean) || !(card.Top1 > 0.5 && card.Top1 < 1) ||
		!(card.Error > 0.02 && card.Error < 0.15) || len(card.Hidden) != 3 || !(card.Hidden[2] > 0) {
		t.Errorf("got %s", raw)
	}
	if len(card.Weights) != 16 || card.Weights[0].Type != "Q4_1" || !(card.Weights[0].Error > 0) { // embedding, head, 7 of each layer
		t.Errorf("got %+v", card.Weights)
	}
	svg, err := os.ReadFile(filepath.Join(dir, "q4.report.svg"))
	check(t, err)
	contains(t, "plot", string(svg), "<svg", "Relative error of the weights")
	md, err := os.ReadFile(filepath.Join(dir, "q4.report.md"))
	check(t, err)
	contains(t, "report", string(md), "| perplexity |", "| KL divergence, mean |", "self_attn.q_proj", "model.embed_tokens.weight", "q4.report.svg")
}

// TestQuantizedWhileLoading trains on a base quantized in memory: the adapter says how, and is used and merged so.
func TestQuantizedWhileLoading(t *testing.T) {
	dir := t.TempDir()
	r := ok(t, litgpt(t, dir, finetuneArgs(t, "finetune", 4, 0, "--quantize", "bnb.nf4")...))
	contains(t, "stderr", r.stderr, `quantize="bnb.nf4 as IQ4_NL"`)
	raw, err := os.ReadFile(filepath.Join(dir, "out", "final", "adapter_config.json"))
	check(t, err)
	contains(t, "adapter_config.json", string(raw), `"litgpt_base_quantize": "bnb.nf4"`)
	generate := []string{"generate", "out/final", "--prompt", "First Citizen", "--max_new_tokens", "4", "--threads", "1"}
	contains(t, "stderr", ok(t, litgpt(t, dir, generate...)).stderr, `quantize="bnb.nf4 as IQ4_NL"`)
	contains(t, "stderr", ok(t, litgpt(t, dir, append(generate, "--quantize", "bnb.int8")...)).stderr, `quantize="bnb.int8 as Q8_0"`)
	if r := ok(t, litgpt(t, dir, append(generate, "--quantize", "none")...)); strings.Contains(r.stderr, "IQ4_NL") {
		t.Errorf("got stderr %s", r.stderr)
	}

	r = ok(t, litgpt(t, dir, "merge_lora", "out/final", "--out_dir", "merged", "--precision", "32-true", "--threads", "1"))
	contains(t, "merge_lora", r.stdout, "F32, written")
	base, err := safetensors.OpenDir(tiny(t))
	check(t, err)
	defer base.Close()
	merged, err := safetensors.OpenDir(filepath.Join(dir, "merged"))
	check(t, err)
	defer merged.Close()
	for name, same := range map[string]bool{"model.layers.1.mlp.up_proj.weight": true, "model.layers.1.self_attn.q_proj.weight": false} {
		b, _ := base.Tensor(name)
		m, _ := merged.Tensor(name)
		v := make([]float32, len(b.Data)/4)
		tensor.ToFloats(tensor.F32, b.Data, v)
		tensor.ToFloats(tensor.IQ4_NL, tensor.FromFloats(tensor.IQ4_NL, v), v)
		if got := bytes.Equal(tensor.FromFloats(tensor.F32, v), m.Data); got != same {
			t.Errorf("%s: the merged weight is the base's dequantized: %v, want %v", name, got, same)
		}
	}
}
