package lora

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/gguf"
	"github.com/litgpt-go/litgpt/internal/ggufmap"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/models"
)

// fixture loads a tiny checkpoint of another package's tests.
func fixture(t *testing.T, dev *tensor.Device, name string) (config []byte, m models.Model, src *safetensors.Dir) {
	t.Helper()
	dir := filepath.Join("..", "models", "testdata", "fixtures", name)
	config, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if m, err = models.New(config); err != nil {
		t.Fatal(err)
	}
	if src, err = safetensors.OpenDir(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, p := range nn.Params(m) {
			p.Free()
		}
		src.Close()
	})
	if err := checkpoint.Load(dev, m, src, checkpoint.Options{}); err != nil {
		t.Fatal(err)
	}
	return config, m, src
}

// randomAdapter hangs an adapter of random numbers, B included, on all targets.
func randomAdapter(t *testing.T, dev *tensor.Device, m models.Model, cfg Config) {
	t.Helper()
	rng := rand.New(rand.NewPCG(5, 6))
	_, weights, err := Inject(dev, m, cfg, rng)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range weights {
		v := make([]float32, w.Numel())
		for i := range v {
			v[i] = float32(rng.NormFloat64()) / 8
		}
		w.SetValues(v)
	}
}

// values of an exported model, by GGUF's names.
func exported(t *testing.T, config []byte, src checkpoint.Source) map[string][]float32 {
	t.Helper()
	e, err := ggufmap.Export(config, src)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]float32{}
	for _, x := range e.Tensors {
		v := make([]float32, x.Rows()*x.Cols())
		if err := x.Floats(v, 0); err != nil {
			t.Fatal(err)
		}
		all[x.Name] = v
	}
	return all
}

// memory is a model's weights as a checkpoint.
type memory map[string]safetensors.Tensor

func (m memory) Names() (names []string) {
	for n := range m {
		names = append(names, n)
	}
	return names
}

func (m memory) Tensor(name string) (safetensors.Tensor, bool) { t, ok := m[name]; return t, ok }

// TestGGUFAdapter: what the file adds to the base's tensors in GGUF is what merging adds to the
// weights, rows in the order of GGUF; and the file read back is the adapter.
func TestGGUFAdapter(t *testing.T) {
	for _, tt := range []struct {
		fixture string
		cfg     Config
		pairs   int
	}{
		{"llama3", Config{Rank: 4, Alpha: 8, Targets: []string{"q_proj", "k_proj", "v_proj", "o_proj", "down_proj"}}, 10},
		{"llama-bias", Config{Rank: 4, Alpha: 8, Targets: []string{"k_proj"}, Ranks: map[string]int{"k_proj": 3}, Alphas: map[string]float64{"k_proj": 12}}, 2},
		{"gptneox", Config{Rank: 2, Alpha: 4, Targets: []string{"query_key_value", "dense_h_to_4h"}}, 4},
		{"falcon-40b", Config{Rank: 2, Alpha: 4, Targets: []string{"query_key_value"}}, 2},
		{"phi3-odd", Config{Rank: 2, Alpha: 4, Targets: []string{"gate_up_proj", "qkv_proj"}}, 2},
		{"gemma2-small", Config{Rank: 2, Alpha: 4, Targets: []string{"q_proj", "gate_proj"}}, 6},
		{"mixtral-tiny", Config{Rank: 2, Alpha: 8, Targets: []string{"q_proj"}, Parameters: []string{"mlp.experts.gate_up_proj", "mlp.experts.down_proj"}}, 8},
		{"qwen3-moe-mixed", Config{Rank: 2, Alpha: 8, Parameters: []string{"mlp.experts.gate_up_proj"}}, 2},
	} {
		t.Run(tt.fixture, func(t *testing.T) {
			dev := openCPU(t)
			config, m, src := fixture(t, dev, tt.fixture)
			randomAdapter(t, dev, m, tt.cfg)
			path := filepath.Join(t.TempDir(), "adapter.gguf")
			base := Base{Path: "some/base", Hash: "abc", Quantize: "bnb.nf4"}
			if err := SaveGGUF(path, m, config, tt.cfg, base); err != nil {
				t.Fatal(err)
			}

			_, other, _ := fixture(t, dev, tt.fixture)
			cfg, gotBase, err := LoadGGUF(dev, other, config, path)
			if err != nil {
				t.Fatal(err)
			}
			if gotBase != base {
				t.Errorf("got the base %+v, want %+v", gotBase, base)
			}
			if a, b := logits(t, dev, m), logits(t, dev, other); !(maxDiff(a, b) <= 1e-5) {
				t.Errorf("the scores of what was read back differ by %g", maxDiff(a, b))
			}
			// PEFT's files of it load too.
			_, third, _ := fixture(t, dev, tt.fixture)
			if _, err := Load(dev, third, saved(t, other, cfg, gotBase)); err != nil {
				t.Fatal(err)
			}
			if a, b := logits(t, dev, other), logits(t, dev, third); !slices.Equal(a, b) {
				t.Errorf("the scores through PEFT's files differ by %g", maxDiff(a, b))
			}

			before := exported(t, config, src)
			if err := Merge(dev, m); err != nil {
				t.Fatal(err)
			}
			merged := memory{}
			var values []checkpoint.Value
			for name, p := range nn.Params(m) {
				values = append(values, checkpoint.Value{Name: name, DType: tensor.F32, From: p})
			}
			for _, v := range checkpoint.Layout(m, src, values) {
				shape := v.Shape
				if shape == nil {
					shape = v.From.Shape()
				}
				n := 1
				for _, d := range shape {
					n *= d
				}
				merged[v.Name] = safetensors.Tensor{Name: v.Name, DType: "F32", Shape: shape, Data: tensor.FromFloats(tensor.F32, v.From.Values()[v.Offset:v.Offset+n])}
			}
			after := exported(t, config, merged)

			f, err := gguf.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if len(f.Names()) != 2*tt.pairs {
				t.Errorf("got the tensors %v, want %d pairs", f.Names(), tt.pairs)
			}
			floats := func(name string) ([]float32, []int) {
				x, ok := f.Tensor(name)
				if !ok {
					t.Fatalf("no %s in %v", name, f.Names())
				}
				n := 1
				for _, d := range x.Shape {
					n *= d
				}
				v := make([]float32, n)
				tensor.ToFloats(tensor.F32, x.Data, v)
				return v, x.Shape
			}
			for name, want := range after {
				got := before[name]
				if _, ok := f.Tensor(name + endA); ok {
					a, as := floats(name + endA)
					b, bs := floats(name + endB)
					rank, in, out := bs[len(bs)-1], as[len(as)-1], bs[len(bs)-2]
					scale := float32(tt.cfg.Alpha) / float32(rank)
					for i := range got {
						e, r, c := i/(in*out), i/in, i%in // r counts through the experts
						for k := range rank {
							got[i] += scale * b[r*rank+k] * a[(e*rank+k)*in+c]
						}
					}
				}
				if d := maxDiff(got, want); !(d <= 1e-5) || math.IsNaN(d) {
					t.Errorf("%s: off by %g", name, d)
				}
			}
		})
	}
}

func TestGGUFAdapterErrors(t *testing.T) {
	dev := openCPU(t)
	f32 := func(shape ...int) gguf.Info { return gguf.Info{Type: gguf.F32, Shape: shape} }
	named := func(name string, i gguf.Info) gguf.Info { i.Name = name; return i }
	good := []gguf.KV{{Key: "general.architecture", Value: "llama"}, {Key: "general.type", Value: "adapter"}, {Key: "adapter.type", Value: "lora"}}
	q := "blk.0.attn_q.weight"
	for _, tt := range []struct {
		name    string
		meta    []gguf.KV
		tensors []gguf.Info
		want    string
	}{
		{"a model", gguf.SetKV(good, gguf.KV{Key: "general.type", Value: "model"}), nil, "is no adapter"},
		{"another kind", gguf.SetKV(good, gguf.KV{Key: "adapter.type", Value: "control"}), nil, `adapter.type is "control"`},
		{"another architecture", gguf.SetKV(good, gguf.KV{Key: "general.architecture", Value: "qwen2"}), nil, `general.architecture is "qwen2", that of the base "llama"`},
		{"empty", good, nil, "has no tensors"},
		{"half a pair", good, []gguf.Info{named(q+endA, f32(2, 16))}, "one of .lora_a and .lora_b is missing"},
		{"other ranks", good, []gguf.Info{named(q+endA, f32(2, 16)), named(q+endB, f32(16, 3))}, "does not fit the other one of the pair"},
		{"other size", good, []gguf.Info{named(q+endA, f32(2, 8)), named(q+endB, f32(16, 2))}, "corrects a weight of shape (16, 8), model.layers.0.self_attn.q_proj is [16 16]"},
		{"unknown weight", good, []gguf.Info{named("blk.9.attn_q.weight"+endA, f32(2, 16)), named("blk.9.attn_q.weight"+endB, f32(16, 2))}, "blk.9.attn_q.weight is corrected by the adapter"},
		{"a norm", good, []gguf.Info{named("blk.0.attn_norm.weight", f32(16))}, "is no part of a low-rank correction"},
		{"a vector", good, []gguf.Info{named(q+endA, f32(16))}, "a matrix or a stack of them wanted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.gguf")
			out, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			w, err := gguf.NewWriter(out, tt.meta, tt.tensors)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range tt.tensors {
				n, _ := i.Bytes()
				if _, err := w.Write(make([]byte, n)); err != nil {
					t.Fatal(err)
				}
			}
			_, _, err = LoadGGUF(dev, newTiny(t, dev, tiny, tensor.F32), []byte(tiny), path)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want %q and the path", err, tt.want)
			}
		})
	}
	m := newTiny(t, dev, strings.TrimSuffix(tiny, "}")+`, "tie_word_embeddings": true}`, tensor.F32)
	inject(t, dev, m, Config{Rank: 1, Alpha: 1, Targets: []string{"lm_head"}})
	err := SaveGGUF(filepath.Join(t.TempDir(), "a.gguf"), m, []byte(tiny), Config{Rank: 1, Alpha: 1}, Base{})
	if err == nil || !strings.Contains(err.Error(), "shares its weight with") {
		t.Errorf("got %v for a tied head", err)
	}
}

// TestGGUFAdapterPartial: an adapter of one layer of two, and of the gate alone of all experts.
func TestGGUFAdapterPartial(t *testing.T) {
	dev := openCPU(t)
	m := newTiny(t, dev, tiny, tensor.F32)
	cfg := Config{Rank: 2, Alpha: 4, Targets: []string{"model.layers.1.self_attn.q_proj", "v_proj"}}
	randomAdapter(t, dev, m, cfg)
	path := filepath.Join(t.TempDir(), "a.gguf")
	if err := SaveGGUF(path, m, []byte(tiny), cfg, Base{}); err != nil {
		t.Fatal(err)
	}
	other := newTiny(t, dev, tiny, tensor.F32)
	got, _, err := LoadGGUF(dev, other, []byte(tiny), path)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Targets, cfg.Targets) || got.Rank != 2 || got.Alpha != 4 {
		t.Errorf("got %+v, want %+v", got, cfg)
	}
	if d := maxDiff(logits(t, dev, m), logits(t, dev, other)); d != 0 {
		t.Errorf("the scores differ by %g", d)
	}
}

// TestGGUFGateAndUp: gate and up with matrices A of their own become one correction of the joint rank.
func TestGGUFGateAndUp(t *testing.T) {
	dev := openCPU(t)
	config, m, _ := fixture(t, dev, "mixtral-tiny")
	var name string
	var w *tensor.Tensor
	for n, s := range nn.Stacks(m) {
		if strings.HasSuffix(n, "gate_up_proj") {
			name, w = n, s.Weight
			break
		}
	}
	e, width, in := w.Dim(0), w.Dim(1)/2, w.Dim(2)
	rng := rand.New(rand.NewPCG(1, 2))
	random := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(rng.NormFloat64())
		}
		return v
	}
	gate, up := random(e*2*in), random(e*3*in)
	gateB, upB := random(e*width*2), random(e*width*3)
	for _, alpha := range []float32{0, 6} {
		meta := []gguf.KV{{Key: "general.architecture", Value: "llama"}, {Key: "general.type", Value: "adapter"}, {Key: "adapter.type", Value: "lora"}, {Key: "adapter.lora.alpha", Value: alpha}}
		path := filepath.Join(t.TempDir(), "a.gguf")
		out, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		g, u := "blk.0.ffn_gate_exps.weight", "blk.0.ffn_up_exps.weight"
		gw, err := gguf.NewWriter(out, meta, []gguf.Info{{Name: g + endA, Shape: []int{e, 2, in}}, {Name: g + endB, Shape: []int{e, width, 2}},
			{Name: u + endA, Shape: []int{e, 3, in}}, {Name: u + endB, Shape: []int{e, width, 3}}})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range [][]float32{gate, gateB, up, upB} {
			if _, err := gw.Write(tensor.FromFloats(tensor.F32, v)); err != nil {
				t.Fatal(err)
			}
		}
		out.Close()
		_, other, _ := fixture(t, dev, "mixtral-tiny")
		if _, _, err := LoadGGUF(dev, other, config, path); err != nil {
			t.Fatal(err)
		}
		before := w.Values()
		if err := Merge(dev, other); err != nil {
			t.Fatal(err)
		}
		for n, s := range nn.Stacks(other) {
			if n != name {
				continue
			}
			for i, got := range s.Weight.Values() {
				x, row, c := i/(2*width*in), i/in%(2*width), i%in
				rank, a, b := 2, gate, gateB
				if row >= width {
					rank, a, b, row = 3, up, upB, row-width
				}
				scale := float32(1)
				if alpha > 0 {
					scale = alpha / float32(rank)
				}
				want := before[i]
				for k := range rank {
					want += scale * b[(x*width+row)*rank+k] * a[(x*rank+k)*in+c]
				}
				if math.Abs(float64(got-want)) > 1e-4 {
					t.Fatalf("alpha %g: element %d: got %g, want %g", alpha, i, got, want)
				}
			}
		}
	}
}
