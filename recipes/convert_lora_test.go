package recipes

import (
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/litgpt"
	"github.com/litgpt-go/litgpt/internal/pth"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

const litLoRAs = "testdata/litgpt_lora" // made by tools/reference/litgpt_lora.py

// lastLogits are those behind the last of ids.
func lastLogits(t *testing.T, dir string, ids []int32) []float32 {
	t.Helper()
	l, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	dev, err := tensor.Open("cpu", tensor.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	if err := l.load(dev, checkpoint.Stored, false); err != nil {
		t.Fatal(err)
	}
	c := &conversion{ctx: t.Context(), from: l}
	all, err := c.score(dev, l, [][]int32{ids})
	if err != nil {
		t.Fatal(err)
	}
	return all[len(all)-l.Dims().Vocab:]
}

// Adapters that LitGPT trained, or made of random numbers, become PEFT's with the logits that LitGPT computed:
// queries and values of one weight for all; rows woven by head; gate and up of one weight; experts.
func TestConvertLitLoRA(t *testing.T) {
	for _, name := range []string{"llama2", "gptneox", "phi3-window", "mixtral-tiny"} {
		t.Run(name, func(t *testing.T) {
			from, base, tmp := filepath.Join(litLoRAs, name), filepath.Join(fixtures, name), t.TempDir()
			var want struct {
				IDs    []int32   `json:"ids"`
				Base   []float32 `json:"base"`
				Logits []float32 `json:"logits"`
			}
			text, err := os.ReadFile(filepath.Join(from, "logits.json"))
			if err == nil {
				err = json.Unmarshal(text, &want)
			}
			if err != nil {
				t.Fatal(err)
			}
			adapter, gguf := filepath.Join(tmp, "adapter"), filepath.Join(tmp, "adapter.gguf")
			if err := convert(t, from, adapter, func(c *Convert) { c.Base = base }); err != nil {
				t.Fatal(err)
			}
			far := 0.0 // of the adapter from its base: what the comparison can tell
			distance := func(got, want []float32) (most float64) {
				for i, x := range want {
					most = max(most, math.Abs(float64(x)-float64(got[i])))
				}
				return most
			}
			far = distance(want.Base, want.Logits)
			if d := distance(lastLogits(t, base, want.IDs), want.Base); d > 2e-4 {
				t.Errorf("the base's logits are off by %g", d)
			}
			if d := distance(lastLogits(t, adapter, want.IDs), want.Logits); d > 2e-4 || far < 0.02 {
				t.Errorf("the logits are off by %g; the adapter changes them by %g", d, far)
			}
			// The ways of an adapter go on from there.
			merged := filepath.Join(tmp, "merged")
			m := NewMergeLoRA()
			m.CheckpointDir, m.OutDir, m.Device.Device, m.Threads = adapter, merged, "cpu", 1
			if err := m.Run(t.Context(), quiet(io.Discard)); err != nil {
				t.Fatal(err)
			}
			if d := distance(lastLogits(t, merged, want.IDs), want.Logits); d > 5e-4 {
				t.Errorf("merged: the logits are off by %g", d)
			}
			if err := convert(t, adapter, gguf, nil); err != nil {
				t.Error(err)
			}
			if findings, err := inspect(t, adapter); err != nil {
				t.Errorf("check: %v %s", err, dump(findings))
			}
			// The file names the directory, too; a second time there is something already.
			if err := convert(t, filepath.Join(from, "lit_model.pth.lora"), adapter, func(c *Convert) { c.Base = base }); err == nil || !strings.Contains(err.Error(), "is there already") {
				t.Errorf("a second time: got %v", err)
			}
		})
	}
}

// What is wrong with an adapter of LitGPT's is said at once, and where commands want one of PEFT's, how to make it.
func TestConvertLitLoRAErrors(t *testing.T) {
	const settings = "hyperparameters.yaml"
	for _, tt := range []struct {
		name   string
		damage func(d damaged)
		want   string
	}{
		{"no settings", func(d damaged) { d.remove(settings) }, "no hyperparameters.yaml, which says"},
		{"settings no YAML", func(d damaged) { d.write(settings, "a: [") }, "hyperparameters.yaml: yaml"},
		{"no rank", func(d damaged) { d.edit(settings, "lora_r: 4", "lora_r: 0") }, "lora_r is 0"},
		{"alpha", func(d damaged) { d.edit(settings, "lora_alpha: 8", "lora_alpha: -.inf") }, "lora_alpha is -Inf"},
		{"dropout", func(d damaged) { d.edit(settings, "lora_dropout: 0.05", "lora_dropout: 1") }, "lora_dropout is 1"},
		{"other rank", func(d damaged) { d.edit(settings, "lora_r: 4", "lora_r: 5") }, "transformer.h.0.attn.qkv.lora_A: shape [8 64] in the adapter, [10 64] by the settings"},
		{"a key more", func(d damaged) { d.edit(settings, "lora_key: false", "lora_key: true") }, "transformer.h.0.attn.qkv.lora_A: shape [8 64] in the adapter, [12 64]"},
		{"a switch more", func(d damaged) { d.edit(settings, "lora_mlp: false", "lora_mlp: true") }, "missing transformer.h.0.mlp.fc_1.lora_A"},
		{"no switch", func(d damaged) {
			d.edit(settings, "lora_query: true", "lora_query: false")
			d.edit(settings, "lora_value: true", "lora_value: false")
		}, "unused transformer.h.0.attn.qkv.lora_A"},
		{"no model_config.yaml", func(d damaged) { d.remove("model_config.yaml") }, "model_config.yaml"},
		{"other model", func(d damaged) { d.edit("model_config.yaml", "n_layer: 2", "n_layer: 3") }, "missing transformer.h.2.attn.qkv.lora_A"},
		{"weights cut", func(d damaged) { d.write("lit_model.pth.lora", "PK") }, "lit_model.pth.lora"},
		{"no base", func(d damaged) { d.edit(settings, "checkpoint_dir: base/llama2", "checkpoint_dir: nowhere") }, `base checkpoint "nowhere" is not there; name it by --pretrained_checkpoint_dir`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := copyCheckpoint(t, filepath.Join(litLoRAs, "llama2"))
			tt.damage(d)
			to := filepath.Join(t.TempDir(), "adapter")
			base := fixtures + "/llama2"
			if strings.HasPrefix(tt.name, "no base") {
				base = ""
			}
			err := convert(t, d.dir, to, func(c *Convert) { c.Base = base })
			if err == nil || !strings.Contains(err.Error(), tt.want) || exists(to) {
				t.Errorf("got %v, want %s; %t", err, tt.want, exists(to))
			}
		})
	}
	dir := filepath.Join(litLoRAs, "llama2")
	to := filepath.Join(t.TempDir(), "adapter")
	if err := convert(t, dir, to, func(c *Convert) { c.Base = fixtures + "/gptneox" }); err == nil || exists(to) {
		t.Errorf("another base: got %v", err)
	}
	for _, c := range []Convert{{Format: "gguf"}, {Format: "litgpt"}, {DType: "float16"}} {
		if err := convert(t, dir, to, func(x *Convert) { x.Format, x.DType = c.Format, c.DType }); err == nil || !strings.Contains(err.Error(), "becomes a PEFT directory") {
			t.Errorf("%+v: got %v", c, err)
		}
	}
	const advice = "litgpt convert " + litLoRAs + "/llama2/lit_model.pth.lora NEW_DIRECTORY"
	if _, err := open(dir); err == nil || !strings.Contains(err.Error(), advice) {
		t.Errorf("opened: got %v, want %s", err, advice)
	}
	m := NewMergeLoRA()
	m.CheckpointDir = dir
	if err := m.Run(t.Context(), quiet(io.Discard)); err == nil || !strings.Contains(err.Error(), advice) {
		t.Errorf("merge_lora: got %v, want %s", err, advice)
	}
	// With the merged model beside it, as LitGPT leaves it, the directory is that model, unless the adapter is asked for.
	whole := copyCheckpoint(t, dir)
	whole.write("lit_model.pth", "PK")
	if err := convert(t, whole.dir, to, nil); err == nil || !strings.Contains(err.Error(), "lit_model.pth: ") {
		t.Errorf("a merged model: got %v", err)
	}
	if err := convert(t, whole.dir, to, func(c *Convert) { c.Format, c.Base = "peft", fixtures+"/llama2" }); err != nil {
		t.Error(err)
	}
	if err := convert(t, fixtures+"/llama2", to+"2", func(c *Convert) { c.Format = "peft" }); err == nil || !strings.Contains(err.Error(), "has no lit_model.pth.lora") {
		t.Errorf("no adapter: got %v", err)
	}
}

// What is read of an adapter: its settings, and the matrices that query and value have together.
func TestLitLoRALayers(t *testing.T) {
	a, err := litgpt.ReadLoRA(filepath.Join(litLoRAs, "llama2"))
	if err != nil {
		t.Fatal(err)
	}
	if a.Rank != 4 || a.Alpha != 8 || a.Dropout != 0.05 || a.Base != "base/llama2" || a.Quantize != "" || len(a.Layers) != 4 {
		t.Fatalf("got %+v", a)
	}
	f, err := pth.Open(filepath.Join(litLoRAs, "llama2", litgpt.LoRAFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	values := func(name string) []float32 {
		x, ok := f.Tensor(name)
		if !ok || x.DType != safetensors.F32 {
			t.Fatalf("no %s", name)
		}
		v := make([]float32, len(x.Data)/4)
		tensor.ToFloats(tensor.F32, x.Data, v)
		return v
	}
	A, B := values("transformer.h.1.attn.qkv.lora_A"), values("transformer.h.1.attn.qkv.lora_B")
	q, v := a.Layers[2], a.Layers[3]
	if q.Name != "model.layers.1.self_attn.q_proj" || v.Name != "model.layers.1.self_attn.v_proj" {
		t.Errorf("got %s and %s", q.Name, v.Name)
	}
	if !slices.Equal(append(slices.Clone(q.A), v.A...), A) || !slices.Equal(append(slices.Clone(q.B), v.B...), B) {
		t.Error("the matrices of query and value are not LitGPT's, one after the other")
	}
}
