package litgpt

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/durable"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/models"
)

const fixtures = "../../models/testdata/fixtures"

// inexpressible are the fixtures that LitGPT has no configuration for, with the reason given.
var inexpressible = map[string]string{
	"gemma3-small":       "attention_bias: LitGPT has biases of",
	"gptneox-sequential": "attention_bias is false: LitGPT has biases of every linear layer",
	"olmo2-small":        "attention_bias: LitGPT has biases of",
	"phi3-longrope":      `rope_scaling of type "longrope": LitGPT has linear and llama3`,
	"phi3-odd":           `rope_scaling of type "longrope": LitGPT has linear and llama3`,
	"qwen2.5-yarn":       `rope_scaling of type "yarn"`,
	"qwen3-moe-mixed":    "LitGPT has experts in every layer",
	"qwen3-small":        "attention_bias: LitGPT has biases of",
	"smollm3":            "LitGPT has no SmolLM3ForCausalLM",
	"smollm3-window":     "LitGPT has no SmolLM3ForCausalLM",
}

// directories are the fixtures of package models, and those of LITGPT_FIXTURES.
func directories(t *testing.T) map[string]string {
	t.Helper()
	dirs := map[string]string{}
	for _, root := range []string{fixtures, os.Getenv("LITGPT_FIXTURES")} {
		found, err := filepath.Glob(filepath.Join(root, "*", "model.safetensors"))
		if err != nil || root == fixtures && len(found) < 20 {
			t.Fatalf("%s: %d checkpoints, %v", root, len(found), err)
		}
		for _, f := range found {
			dirs[filepath.Base(filepath.Dir(f))] = filepath.Dir(f)
		}
	}
	return dirs
}

func read(t *testing.T, elem ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestRoundTrip goes from every fixture to LitGPT's files and back, with either spelling
// of its config.json: the same bytes, and the same logits to the last bit. With LITGPT_LIT
// set, the files are kept there, for tools/reference/pth_check.py.
func TestRoundTrip(t *testing.T) {
	dev := cpu(t)
	dirs := directories(t)
	for name, dir := range dirs {
		for _, spelling := range []string{"config.json", "config_v5.json"} {
			t.Run(name+"/"+spelling, func(t *testing.T) {
				config := read(t, dir, spelling)
				src, err := safetensors.OpenDir(dir)
				if err != nil {
					t.Fatal(err)
				}
				defer src.Close()
				modelConfig, lit, err := ToLit(config, src, name)
				if want := inexpressible[name]; want != "" {
					if err == nil || !strings.Contains(err.Error(), want) {
						t.Errorf("got %v, want %s", err, want)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				out := filepath.Join(t.TempDir(), "lit")
				if keep := os.Getenv("LITGPT_LIT"); keep != "" && spelling == "config.json" {
					out = filepath.Join(keep, "ours", name)
					if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
						t.Fatal(err)
					}
				}
				save(t, out, modelConfig, lit, "")
				back, hf, err := Open(out)
				if err != nil {
					t.Fatal(err)
				}
				defer hf.Close()
				same(t, hf, src)
				if a, b := compute(t, dev, dir, back, hf), compute(t, dev, dir, config, src); !slices.Equal(a, b) {
					t.Errorf("the logits differ\n%s\n%s", modelConfig, back)
				}
				again, _, err := ToLit(back, hf, name)
				if err != nil || !bytes.Equal(again, modelConfig) {
					t.Errorf("got %v\n%s\nwant\n%s", err, again, modelConfig)
				}
			})
		}
	}
}

func save(t *testing.T, dir string, modelConfig []byte, lit *View, dtype safetensors.DType) {
	t.Helper()
	d, err := durable.NewDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Abort()
	if err := write(d, modelConfig, lit, dtype); err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
}

// same compares all tensors, but a head that is stored although it is tied, and what only images need.
func same(t *testing.T, got, want checkpoint.Source) {
	t.Helper()
	n := 0
	for _, name := range want.Names() {
		text := name
		if strings.Contains(name, "vision_tower") || strings.Contains(name, "multi_modal_projector") {
			continue
		}
		for _, prefix := range []string{"language_model.", "model.language_model."} {
			if rest, ok := strings.CutPrefix(name, prefix); ok {
				text = "model." + strings.TrimPrefix(rest, "model.")
			}
		}
		x, ok := got.Tensor(text)
		y, _ := want.Tensor(name)
		if !ok || x.Name != text || x.DType != y.DType || !slices.Equal(x.Shape, y.Shape) || !bytes.Equal(x.Data, y.Data) {
			t.Errorf("%s: got %v %s %v, want %s %v with the same bytes", text, ok, x.DType, x.Shape, y.DType, y.Shape)
		}
		n++
	}
	if len(got.Names()) != n {
		t.Errorf("got %d tensors, want %d", len(got.Names()), n)
	}
}

func cpu(t *testing.T) *tensor.Device {
	t.Helper()
	dev, err := tensor.Open("cpu", tensor.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dev.Close)
	return dev
}

// compute gives the logits on the fixture's short and long text.
func compute(t *testing.T, dev *tensor.Device, dir string, config []byte, src checkpoint.Source) []float32 {
	t.Helper()
	m, err := models.New(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := checkpoint.Load(dev, m, src, checkpoint.Options{}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		for _, p := range nn.Params(m) {
			p.Free()
		}
	}()
	var in struct {
		IDs  [][]int32 `json:"ids"`
		Long [][]int32 `json:"long"`
	}
	if err := json.Unmarshal(read(t, dir, "reference", "inputs.json"), &in); err != nil {
		t.Fatal(err)
	}
	var all []float32
	for _, ids := range [][][]int32{in.IDs, in.Long} {
		g := tensor.NewGraph()
		b := nn.NewBatch(g, len(ids), len(ids[0]))
		scores := m.Logits(m.Forward(b))
		p, err := g.Compile(dev, scores)
		if err != nil {
			t.Fatal(err)
		}
		b.Set(slices.Concat(ids...), 0)
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		all = append(all, scores.Values()...)
		p.Close()
	}
	return all
}

// floats gives tensors of a file, one after the other.
func floats(t *testing.T, path string, names ...string) []float32 {
	t.Helper()
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []float32
	for _, n := range names {
		x, _ := f.Tensor(n)
		values := make([]float32, len(x.Data)/4)
		tensor.ToFloats(tensor.F32, x.Data, values)
		all = append(all, values...)
	}
	return all
}

// distance is the largest absolute difference; more than any, if one is no number.
func distance(t *testing.T, got, want []float32) float64 {
	t.Helper()
	if len(got) != len(want) || len(got) == 0 {
		t.Fatalf("got %d logits, want %d", len(got), len(want))
	}
	worst := 0.0
	for i := range got {
		d := math.Abs(float64(got[i]) - float64(want[i]))
		if math.IsNaN(d) {
			return math.Inf(1)
		}
		worst = max(worst, d)
	}
	return worst
}

// TestLitGPT reads checkpoints that LitGPT itself converted (tools/reference/pth.py): the
// weights of the fixture that they come from, and the logits of transformers.
func TestLitGPT(t *testing.T) {
	dev := cpu(t)
	for _, name := range []string{"gptneox", "mixtral-tiny"} {
		config, hf, err := Open(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		defer hf.Close()
		dir := filepath.Join(fixtures, name)
		src, err := safetensors.OpenDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		same(t, hf, src)
		want := floats(t, filepath.Join(dir, "reference", "outputs.safetensors"), "logits", "logits_long")
		if d := distance(t, compute(t, dev, dir, config, hf), want); d > 2e-4 {
			t.Errorf("%s: the logits are off by %g", name, d)
		}
	}
}

// TestTheirs compares with the logits of LitGPT on the checkpoints below LITGPT_LIT/theirs that
// tools/reference/pth_check.py let LitGPT convert.
func TestTheirs(t *testing.T) {
	root := os.Getenv("LITGPT_LIT")
	if root == "" {
		t.Skip("LITGPT_LIT is not set; see tools/reference/pth_check.py")
	}
	dev := cpu(t)
	all := directories(t)
	dirs, err := filepath.Glob(filepath.Join(root, "theirs", "*"))
	if err != nil || len(dirs) == 0 {
		t.Fatalf("%s has no checkpoints: %v", root, err)
	}
	for _, dir := range dirs {
		name := filepath.Base(dir)
		config, hf, err := Open(dir)
		if name == "qwen2.5-yarn" && err != nil && strings.Contains(err.Error(), "rope_adjustments has [beta_fast ") {
			continue // which LitGPT 0.5.9 reads as linear scaling, later versions as something else
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		d := distance(t, compute(t, dev, all[name], config, hf), floats(t, filepath.Join(dir, "logits.safetensors"), "logits", "logits_long"))
		t.Logf("%-16s %.1e", name, d)
		if d > 2e-4 {
			t.Errorf("%s: the logits are off by %g", name, d)
		}
		hf.Close()
	}
}

// write writes the two files of a checkpoint of LitGPT's into d.
func write(d *durable.Dir, modelConfig []byte, lit *View, dtype safetensors.DType) (err error) {
	f, err := d.Create(WeightsFile)
	if err != nil {
		return err
	}
	defer func() {
		if closing := f.Close(); err == nil { // Close repeats the error of a write
			err = closing
		}
	}()
	if err := Write(f, lit, dtype); err != nil {
		return err
	}
	return d.WriteFile(ConfigFile, modelConfig)
}
