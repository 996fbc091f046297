package ggufmap

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/gguf"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// TestGolden reads files that llama.cpp's own script made: the logits of the checkpoints they were made of.
func TestGolden(t *testing.T) {
	dev := openCPU(t)
	paths, err := filepath.Glob("testdata/*.gguf")
	if err != nil || len(paths) < 5 {
		t.Fatalf("%d golden files (%v)", len(paths), err)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".gguf")
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join("../../models/testdata/fixtures", name)
			config, err := os.ReadFile(filepath.Join(dir, "config.json"))
			if err != nil {
				t.Fatal(err)
			}
			src, err := safetensors.OpenDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			m, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			want, got := scores(t, dev, config, src), scores(t, dev, m.Config, m)
			for i := range want { // Gemma's norms are rounded where the script adds 1
				if d := math.Abs(float64(got[i] - want[i])); !(d <= 1e-4) {
					t.Fatalf("logit %d: got %g, want %g\n%s", i, got[i], want[i], m.Config)
				}
			}
		})
	}
}

func TestOrders(t *testing.T) {
	for name, o := range map[string]*interleave{"rotated": rotated, "grouped": grouped} {
		for _, s := range []sizes{{heads: 4, kvHeads: 4, headDim: 6}, {heads: 6, kvHeads: 2, headDim: 4}, {heads: 5, kvHeads: 1, headDim: 2}} {
			to, from := o.toGGUF(s), o.toHF(s)
			seen := map[int]bool{}
			for r := range (s.heads + 2*s.kvHeads) * s.headDim {
				if from(to(r)) != r || to(from(r)) != r {
					t.Errorf("%s %+v: row %d becomes %d, and that %d", name, s, r, to(r), from(to(r)))
				}
				seen[to(r)] = true
			}
			if len(seen) != (s.heads+2*s.kvHeads)*s.headDim {
				t.Errorf("%s %+v: %d rows", name, s, len(seen))
			}
		}
	}
	// A head of 6 channels: 0 and 3 turn into each other.
	var got []int
	for r := range 6 {
		got = append(got, rotated.toGGUF(sizes{headDim: 6})(r))
	}
	if want := []int{0, 3, 1, 4, 2, 5}; !slices.Equal(got, want) {
		t.Errorf("rows %v, want %v", got, want)
	}
}

// memory is a checkpoint in memory.
type memory map[string]safetensors.Tensor

func (m memory) Names() (names []string) {
	for n := range m {
		names = append(names, n)
	}
	return names
}

func (m memory) Tensor(name string) (safetensors.Tensor, bool) { t, ok := m[name]; return t, ok }

// tiny is a Llama whose weights have a type.
func tiny(d tensor.DType, extra string) ([]byte, memory) {
	config := `{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":64,"intermediate_size":96,"num_hidden_layers":1,
		"num_attention_heads":4,"num_key_value_heads":2,"vocab_size":40,"max_position_embeddings":64,"rms_norm_eps":1e-5,"tie_word_embeddings":true` + extra + `}`
	src, r := memory{}, rand.New(rand.NewPCG(1, 2))
	for name, shape := range map[string][]int{
		"model.embed_tokens.weight": {40, 64}, "model.norm.weight": {64}, "model.layers.0.input_layernorm.weight": {64},
		"model.layers.0.post_attention_layernorm.weight": {64}, "model.layers.0.self_attn.q_proj.weight": {64, 64},
		"model.layers.0.self_attn.k_proj.weight": {32, 64}, "model.layers.0.self_attn.v_proj.weight": {32, 64}, "model.layers.0.self_attn.o_proj.weight": {64, 64},
		"model.layers.0.mlp.gate_proj.weight": {96, 64}, "model.layers.0.mlp.up_proj.weight": {96, 64}, "model.layers.0.mlp.down_proj.weight": {64, 96},
	} {
		n, cols := view(shape)
		v := make([]float32, n*cols)
		for i := range v {
			v[i] = float32(r.NormFloat64() * 0.1)
		}
		to := d
		if len(shape) == 1 && d.Quantized() {
			to = tensor.F32
		}
		src[name] = safetensors.Tensor{Name: name, DType: safetensors.DType(to.String()), Shape: shape, Data: tensor.FromFloats(to, v)}
	}
	return []byte(config), src
}

// TestTypes takes every kind of weight there and back: not a bit changes, but that vectors become F32.
func TestTypes(t *testing.T) {
	for _, d := range []tensor.DType{tensor.F32, tensor.F16, tensor.BF16, tensor.Q8_0, tensor.Q4_0, tensor.IQ4_NL, tensor.MXFP4} {
		config, src := tiny(d, "")
		e, err := Export(config, src)
		if err != nil {
			t.Fatal(err)
		}
		f := written(t, e)
		back, made, err := Source(f)
		if err != nil {
			t.Fatal(err)
		}
		if len(back.Names()) != len(src) {
			t.Errorf("%v: %d weights, want %d", d, len(back.Names()), len(src))
		}
		for name, want := range src {
			got, ok := back.Tensor(name)
			data := want.Data
			if len(want.Shape) == 1 {
				v := make([]float32, want.Shape[0])
				from, _ := tensor.DTypeByName(string(want.DType))
				tensor.ToFloats(from, data, v)
				data = tensor.FromFloats(tensor.F32, v)
			} else if got.DType != want.DType {
				t.Errorf("%v: %s: type %s, want %s", d, name, got.DType, want.DType)
			}
			if !ok || !slices.Equal(got.Shape, want.Shape) || !bytes.Equal(got.Data, data) {
				t.Errorf("%v: %s: other bytes, or shape %v for %v", d, name, got.Shape, want.Shape)
			}
		}
		if n, err := f.Int("general.file_type"); err != nil || uint32(n) != fileTypes[d.String()] {
			t.Errorf("%v: general.file_type %d (%v)", d, n, err)
		}
		var c map[string]any
		if err := json.Unmarshal(made, &c); err != nil || c["rms_norm_eps"] != 1e-5 || c["tie_word_embeddings"] != true {
			t.Errorf("%v: %v\n%s", d, err, made)
		}
		// Queries are stored in llama.cpp's order, and copied; embeddings are the file's own bytes.
		q, _ := f.Tensor("blk.0.attn_q.weight")
		if bytes.Equal(q.Data, src["model.layers.0.self_attn.q_proj.weight"].Data) {
			t.Errorf("%v: the queries have kept their order", d)
		}
		if h, _ := checkpoint.Header(back, "model.layers.0.self_attn.q_proj.weight"); h.Data != nil {
			t.Errorf("%v: the header of the queries has data", d)
		}
		embd, _ := f.Tensor("token_embd.weight")
		if h, _ := checkpoint.Header(back, "model.embed_tokens.weight"); &h.Data[0] != &embd.Data[0] {
			t.Errorf("%v: the embedding is a copy", d)
		}
	}
}

func TestLlama3(t *testing.T) {
	for _, c := range []struct {
		theta, factor, low, high, original float64
		dim                                int
	}{{500000, 8, 1, 4, 8192, 128}, {500000, 32, 1, 4, 8192, 64}, {10000, 16, 1, 4, 4096, 64}} {
		factors := llama3Factors(c.theta, c.dim, c.factor, c.low, c.high, c.original)
		got, err := llama3(factors, c.theta, c.dim, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got.float("factor") != c.factor || got.float("low_freq_factor") != c.low || got.float("high_freq_factor") != c.high || got.float("original_max_position_embeddings") != c.original {
			t.Errorf("got %s, want %+v", got.encode(), c)
		}
		factors[len(factors)/2] *= 1.5
		if _, err := llama3(factors, c.theta, c.dim, 0); err == nil {
			t.Errorf("%+v: a factor that is not the rule's is no error", c)
		}
	}
}

// TestErrors changes the metadata or the tensors of a good file.
func TestErrors(t *testing.T) {
	config, src := tiny(tensor.F32, "")
	for name, c := range map[string]struct {
		set    []gguf.KV
		change func(e *Exported)
		want   string // "" is none
	}{
		"good":               {nil, nil, ""},
		"unknown key":        {[]gguf.KV{{Key: "llama.logit_scale", Value: float32(2)}}, nil, "llama.logit_scale: is not known here"},
		"unknown key, off":   {[]gguf.KV{{Key: "llama.logit_scale", Value: float32(0)}}, nil, ""},
		"other architecture": {[]gguf.KV{{Key: "general.architecture", Value: "mamba"}}, nil, `"mamba", which is not here (known: falcon, gemma`},
		"adapter":            {[]gguf.KV{{Key: "general.type", Value: "adapter"}}, nil, `"adapter", want a model`},
		"part":               {[]gguf.KV{{Key: "split.count", Value: uint16(3)}}, nil, "one of 3 parts"},
		"heads of 0":         {[]gguf.KV{{Key: "llama.attention.head_count", Value: uint32(0)}}, nil, "0 heads"},
		"head of 3":          {[]gguf.KV{{Key: "llama.attention.key_length", Value: uint32(3)}, {Key: "llama.attention.value_length", Value: uint32(3)}, {Key: "llama.rope.dimension_count", Value: uint32(2)}}, nil, "want all 3"},
		"values differ":      {[]gguf.KV{{Key: "llama.attention.value_length", Value: uint32(8)}}, nil, "value_length is 8, want 16"},
		"layers differ":      {[]gguf.KV{{Key: "llama.feed_forward_length", Value: []uint32{96, 64}}}, nil, "layers of different sizes"},
		"a number as text":   {[]gguf.KV{{Key: "llama.block_count", Value: "1"}}, nil, "llama.block_count: want integer"},
		"odd scaling":        {[]gguf.KV{{Key: "llama.rope.scaling.type", Value: "ntk"}}, nil, `rope.scaling.type is "ntk"`},
		"linear scaling":     {[]gguf.KV{{Key: "llama.rope.scaling.type", Value: "linear"}, {Key: "llama.rope.scaling.factor", Value: float32(4)}}, nil, ""},
		"overlay no JSON":    {[]gguf.KV{{Key: configKey, Value: "{"}}, nil, configKey},
		"strange tensor":     {nil, func(e *Exported) { e.Tensors[1].Name = "blk.0.attn_sinks.weight" }, "blk.0.attn_sinks.weight: is none of the architecture"},
		"twice": {nil, func(e *Exported) {
			e.Tensors[2].Name = "blk.0.ffn_gate.bias"
			e.Tensors[3].Name = "blk.00.ffn_gate.bias"
		}, "is none of the architecture"},
		"experts as a matrix": {nil, func(e *Exported) { e.Tensors[2].Name = "blk.0.ffn_gate_exps.weight" }, "is none of the architecture"},
	} {
		e, err := Export(config, src)
		if err != nil {
			t.Fatal(err)
		}
		e.Metadata = gguf.SetKV(e.Metadata, c.set...)
		if c.change != nil {
			c.change(e)
		}
		_, _, err = Source(written(t, e))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// TestOverlay says of what models read that it survives, and that the metadata's own keys are not hidden.
func TestOverlay(t *testing.T) {
	config, src := tiny(tensor.BF16, `,"torch_dtype":"bfloat16","rope_theta":500000.0,"bos_token_id":1,"x_note":"kept",
		"rope_scaling":{"rope_type":"llama3","factor":32.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8}`)
	e, err := Export(config, src)
	if err != nil {
		t.Fatal(err)
	}
	e.Metadata = gguf.SetKV(e.Metadata, gguf.KV{Key: "llama.attention.layer_norm_rms_epsilon", Value: float32(1e-3)})
	_, made, err := Source(written(t, e))
	if err != nil {
		t.Fatal(err)
	}
	want, got := conf{}, conf{}
	if err := cmpErr(json.Unmarshal(config, &want), json.Unmarshal(made, &got)); err != nil {
		t.Fatal(err)
	}
	want["rms_norm_eps"] = json.RawMessage("1e-3")
	for key, v := range want {
		if !same(got[key], v) {
			t.Errorf("%s: got %s, want %s", key, got[key], v)
		}
	}
}

func cmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestRead asks for rows in pieces.
func TestRead(t *testing.T) {
	config, src := tiny(tensor.Q8_0, "")
	e, err := Export(config, src)
	if err != nil {
		t.Fatal(err)
	}
	for i := range e.Tensors {
		x := &e.Tensors[i]
		n, rowBytes := x.Rows(), x.DType().Bytes(x.Cols())
		whole, pieces := make([]byte, n*rowBytes), make([]byte, n*rowBytes)
		if err := x.Read(whole, 0); err != nil {
			t.Fatal(err)
		}
		for at := 0; at < n; at += 7 {
			if err := x.Read(pieces[at*rowBytes:min(n, at+7)*rowBytes], at); err != nil {
				t.Fatal(err)
			}
		}
		floats, want := make([]float32, n*x.Cols()), make([]float32, n*x.Cols())
		if err := x.Floats(floats, 0); err != nil {
			t.Fatal(err)
		}
		tensor.ToFloats(x.DType(), whole, want)
		if !bytes.Equal(whole, pieces) || !slices.Equal(floats, want) {
			t.Errorf("%s: pieces or floats differ", x.Name)
		}
		if x.Read(whole, 1) == nil || x.Read(whole[:rowBytes-1], 0) == nil || x.Floats(floats, 1) == nil {
			t.Errorf("%s: rows that are not there are no error", x.Name)
		}
	}
}

// TestSmolLM2 compares llama.cpp's files of SmolLM2 with the checkpoint, in the directory that the
// environment variable LITGPT_SMOLLM2_GGUF names: f32/, bf16/, f16/ and gguf/smollm2-F32.gguf, -BF16.gguf, -F16.gguf; and
// SmolLM2-135M-Instruct.Q4_1.gguf, of whose dequantized weights f32/ is made (it is the one whose text and losses
// recipes' tests compare).
func TestSmolLM2(t *testing.T) {
	root := os.Getenv("LITGPT_SMOLLM2_GGUF")
	if root == "" {
		t.Skip("LITGPT_SMOLLM2_GGUF names no directory")
	}
	for file, dir := range map[string]string{"smollm2-F32.gguf": "f32", "smollm2-BF16.gguf": "bf16", "smollm2-F16.gguf": "f16"} {
		m, err := Open(filepath.Join(root, "gguf", file))
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		src, err := safetensors.OpenDir(filepath.Join(root, dir))
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		for _, name := range src.Names() {
			want, _ := src.Tensor(name)
			got, ok := m.Tensor(name)
			if len(want.Shape) == 2 && (!ok || !bytes.Equal(got.Data, want.Data)) {
				t.Errorf("%s: %s differs", file, name)
			}
		}
	}
	m, err := Open(filepath.Join(root, "SmolLM2-135M-Instruct.Q4_1.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	src, err := safetensors.OpenDir(filepath.Join(root, "f32"))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	for _, name := range m.Names() {
		got, _ := m.Tensor(name)
		want, ok := src.Tensor(name)
		d, err := typeOf(got)
		if !ok || err != nil || len(want.Data)%4 != 0 {
			t.Fatalf("%s: %v", name, err)
		}
		v := make([]float32, len(want.Data)/4)
		tensor.ToFloats(d, got.Data, v)
		if !bytes.Equal(tensor.FromFloats(tensor.F32, v), want.Data) {
			t.Errorf("%s: other values of %v", name, d)
		}
	}
}
