package checkpoint

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/durable"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// tiny is the least model with a matrix, a vector, a bias and a head that may be tied.
type tiny struct {
	Embed *nn.Embedding `hf:"model.embed_tokens"`
	Up    *nn.Linear    `hf:"model.up"`
	Norm  *nn.RMSNorm   `hf:"model.norm"`
	Head  *nn.Linear    `hf:"lm_head"`
}

func newTiny(t *testing.T, tied bool) *tiny {
	m := &tiny{Embed: nn.NewEmbedding(5, 4), Up: nn.NewLinear(4, 4, true), Norm: nn.NewRMSNorm(4, 1e-6)}
	if m.Head = m.Embed.AsLinear(); !tied {
		m.Head = nn.NewLinear(4, 5, false)
	}
	t.Cleanup(func() {
		for _, p := range nn.Params(m) {
			p.Free()
		}
	})
	return m
}

func openCPU(t *testing.T) *tensor.Device {
	t.Helper()
	dev, err := tensor.Open("cpu", tensor.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dev.Close)
	return dev
}

// source is a checkpoint in memory.
type source map[string]safetensors.Tensor

func (s source) Names() []string { return slices.Sorted(maps.Keys(s)) }

func (s source) Tensor(name string) (safetensors.Tensor, bool) { t, ok := s[name]; return t, ok }

// put stores values in a type.
func (s source) put(name string, dtype tensor.DType, values []float32, shape ...int) source {
	s[name] = safetensors.Tensor{Name: name, DType: safetensors.DType(dtype.String()), Shape: shape, Data: tensor.FromFloats(dtype, values)}
	return s
}

// whole is a checkpoint of the untied model in a type; element i of a tensor is (i+1)/8, which every type holds.
func whole(dtype tensor.DType) source {
	return source{}.put("model.embed_tokens.weight", dtype, eighths(20, 0), 5, 4).put("model.up.weight", dtype, eighths(16, 1), 4, 4).
		put("model.up.bias", dtype, eighths(4, 2), 4).put("model.norm.weight", dtype, eighths(4, 3), 4).put("lm_head.weight", dtype, eighths(20, 4), 5, 4)
}

func eighths(n, first int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(first+i+1) / 8
	}
	return x
}

func TestLoadReportsEverything(t *testing.T) {
	src := whole(tensor.F32).put("model.norm.weight", tensor.F32, eighths(3, 0), 3).put("model.up.weight", tensor.F32, eighths(16, 0), 16).
		put("extra.weight", tensor.F32, eighths(1, 0), 1).put("old.rotary_emb.inv_freq", tensor.F32, eighths(2, 0), 2)
	delete(src, "model.embed_tokens.weight")
	src["model.up.bias"] = safetensors.Tensor{Name: "model.up.bias", DType: "I8", Shape: []int{4}, Data: make([]byte, 4)}
	m := newTiny(t, false)
	err := Load(openCPU(t), m, src, Options{})
	if err == nil {
		t.Fatal("no error")
	}
	want := []string{
		"checkpoint does not match config.json:",
		"missing model.embed_tokens.weight, shape [5 4]",
		"model.up.weight: shape [16] in the checkpoint, [4 4] in the model",
		"model.up.bias: type I8 in the checkpoint, F32, F16, BF16 or one of GGML's quantized types wanted",
		"model.norm.weight: shape [3] in the checkpoint, [4] in the model",
		"unused extra.weight",
	}
	if got := strings.Split(err.Error(), "\n"); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", err, strings.Join(want, "\n"))
	}
	for name, p := range nn.Params(m) {
		if p.Loaded() {
			t.Errorf("%s was loaded from a checkpoint that does not fit", name)
		}
	}
}

func TestLoadTiedHead(t *testing.T) {
	same := whole(tensor.F32)
	same["lm_head.weight"] = same["model.embed_tokens.weight"]
	absent := whole(tensor.F32)
	delete(absent, "lm_head.weight")
	otherType := whole(tensor.F32).put("lm_head.weight", tensor.F16, eighths(20, 0), 5, 4)
	for _, tt := range []struct {
		name string
		src  source
		tied bool
		want string
	}{
		{"absent", absent, true, ""},
		{"stored and equal", same, true, ""},
		{"stored and different", whole(tensor.F32), true, "lm_head.weight differs from model.embed_tokens.weight, although tie_word_embeddings says they are one"},
		{"stored in another type", otherType, true, "lm_head.weight differs"},
		{"absent although not tied", absent, false, "missing lm_head.weight, shape [5 4]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newTiny(t, tt.tied)
			err := Load(openCPU(t), m, tt.src, Options{})
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			if err == nil && !slices.Equal(m.Head.Weight.Values(), eighths(20, 0)) {
				t.Errorf("the head is %v", m.Head.Weight.Values())
			}
		})
	}
}

// TestLoadTypes goes through every stored type, every choice of a type in memory, mapped and own.
func TestLoadTypes(t *testing.T) {
	dev := openCPU(t)
	for _, from := range []tensor.DType{tensor.F32, tensor.F16, tensor.BF16} {
		for _, matrix := range []Type{Stored, F32, BF16, F16} {
			for _, own := range []bool{false, true} {
				t.Run(fmt.Sprintf("%v to %d, own %v", from, matrix, own), func(t *testing.T) {
					src, m := whole(from), newTiny(t, false)
					if err := Load(dev, m, src, Options{Matrix: matrix, Own: own}); err != nil {
						t.Fatal(err)
					}
					for name, p := range nn.Params(m) {
						want := types[matrix]
						if matrix == Stored {
							want = from
						}
						if len(p.Shape()) == 1 {
							want = tensor.F32
						}
						if p.DType() != want || p.Name != name {
							t.Errorf("%s: got %v named %q, want %v", name, p.DType(), p.Name, want)
						}
						values := make([]float32, p.Numel())
						tensor.ToFloats(from, src[name].Data, values)
						if got := p.Values(); !slices.Equal(got, values) {
							t.Errorf("%s: got %v, want %v", name, got, values)
						}
						mapped := want == from && !own
						if err := write(p); (err != nil) != mapped {
							t.Errorf("%s: writing gives %v, want an error only when mapped (%v)", name, err, mapped)
						}
						if !bytes.Equal(src[name].Data, tensor.FromFloats(from, values)) {
							t.Errorf("%s: loading or writing changed the checkpoint", name)
						}
					}
				})
			}
		}
	}
}

// write sets p to zero.
func write(p *tensor.Tensor) (err error) {
	defer tensor.Catch(&err)
	p.SetValues(make([]float32, p.Numel()))
	return nil
}

// TestFillRounds has values that the narrower types do not hold, and more elements than one piece.
func TestFillRounds(t *testing.T) {
	dev := openCPU(t)
	const n = 1<<20 + 3
	values := make([]float32, n)
	for i := range values {
		values[i] = float32(i)/1024 - 100
	}
	values[0], values[n-1] = 1+0x1p-8, 65520 // a tie to even of BF16; beyond the largest F16
	for _, tt := range []struct {
		to          tensor.DType
		first, last float32
	}{
		{tensor.F32, 1 + 0x1p-8, 65520},
		{tensor.BF16, 1, 65536},
		{tensor.F16, 1 + 0x1p-8, float32(math.Inf(1))},
	} {
		p := tensor.Param(n)
		if err := dev.Alloc(p, tt.to); err != nil {
			t.Fatal(err)
		}
		if err := Fill(p, source{}.put("x", tensor.F32, values, n)["x"]); err != nil {
			t.Fatal(err)
		}
		want := make([]float32, n)
		tensor.ToFloats(tt.to, tensor.FromFloats(tt.to, values), want)
		if got := p.Values(); got[0] != tt.first || got[n-1] != tt.last || !slices.Equal(got, want) {
			t.Errorf("%v: got %g … %g, want %g … %g", tt.to, got[0], got[n-1], tt.first, tt.last)
		}
		p.Free()
	}
}

// TestSaveLoad writes a model as one file and as shards, in every type, and reads it back.
func TestSaveLoad(t *testing.T) {
	dev := openCPU(t)
	for _, tt := range []struct {
		name  string
		shard int
		dtype tensor.DType
		files []string
	}{
		{"one file", ShardSize, tensor.F32, []string{"model.safetensors"}},
		{"just one file", 64 * 4, tensor.F32, []string{"model.safetensors"}},
		{"one file of F16", ShardSize, tensor.F16, []string{"model.safetensors"}},
		{"shards", 64*4 - 1, tensor.F32, []string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"}},
		{"shards of BF16", 24 * 2, tensor.BF16, []string{"model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors", "model.safetensors.index.json"}},
		{"shards smaller than a weight", 1, tensor.F32, []string{"model-00001-of-00005.safetensors", "model-00002-of-00005.safetensors",
			"model-00003-of-00005.safetensors", "model-00004-of-00005.safetensors", "model-00005-of-00005.safetensors", "model.safetensors.index.json"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newTiny(t, false)
			if err := Load(dev, m, whole(tensor.F32), Options{Own: true}); err != nil {
				t.Fatal(err)
			}
			var values []Value
			for name, p := range nn.Params(m) {
				values = append(values, Value{Name: name, DType: tt.dtype, From: p})
			}
			dir := filepath.Join(t.TempDir(), "out")
			d, err := durable.NewDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Abort()
			if err := SaveWeights(d, values, tt.shard); err != nil {
				t.Fatal(err)
			}
			if err := d.Commit(); err != nil {
				t.Fatal(err)
			}
			names, err := filepath.Glob(filepath.Join(dir, "model*"))
			if err != nil {
				t.Fatal(err)
			}
			for i := range names {
				names[i] = filepath.Base(names[i])
			}
			if !slices.Equal(names, tt.files) {
				t.Errorf("got the files %v, want %v", names, tt.files)
			}
			src, err := safetensors.OpenDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			back := newTiny(t, false)
			if err := Load(dev, back, src, Options{}); err != nil {
				t.Fatal(err)
			}
			want := maps.Collect(nn.Params(m))
			for name, p := range nn.Params(back) {
				if !slices.Equal(p.Values(), want[name].Values()) {
					t.Errorf("%s: got %v, want %v", name, p.Values(), want[name].Values())
				}
				if x, _ := src.Tensor(name); string(x.DType) != tt.dtype.String() {
					t.Errorf("%s: stored as %s, want %v", name, x.DType, tt.dtype)
				}
				p.Free() // before its file is closed
			}
		})
	}
}

func TestConfigWithType(t *testing.T) {
	for _, tt := range []struct{ config, want string }{
		{`{"torch_dtype": "float32", "big": 1e30}`, `"torch_dtype": "bfloat16"`},
		{`{"dtype": "float32"}`, `"dtype": "bfloat16"`},
		{`{"torch_dtype": "float32", "router_jitter_noise": 0.0}`, `"router_jitter_noise": 0.0`},
		{`{}`, `"torch_dtype": "bfloat16"`},
	} {
		got, err := ConfigWithType([]byte(tt.config), tensor.BF16)
		if err != nil || !strings.Contains(string(got), tt.want) || strings.Count(string(got), "dtype") != 1 {
			t.Errorf("%s: got %s, %v, want %s", tt.config, got, err, tt.want)
		}
	}
	if _, err := ConfigWithType([]byte("{"), tensor.F32); err == nil || !strings.HasPrefix(err.Error(), "config.json: ") {
		t.Errorf("got %v, want an error that names the file", err)
	}
}

func TestReadConfig(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{dir: "no config.json; a Hugging Face checkpoint directory is wanted", filepath.Join(dir, "none"): "there is no such directory"} {
		if _, err := ReadConfig(path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("got %v, want %q and the directory", err, want)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadConfig(dir); string(got) != "{}" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}
