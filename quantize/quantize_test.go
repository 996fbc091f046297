package quantize

import (
	"bytes"
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/ggufmap"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

func TestMatches(t *testing.T) {
	for _, x := range []struct {
		pattern, name string
		want          bool
	}{
		{"blk.*.ffn_down", "blk.12.ffn_down.weight", true},
		{"blk.*.ffn_down", "blk.12.ffn_down_exps.weight", false},
		{"blk.*.ffn_down*", "blk.12.ffn_down_exps.weight", true},
		{"blk.1.*", "blk.1.attn_q.weight", true},
		{"blk.1.*", "blk.11.attn_q.weight", false},
		{"*", "output.weight", true},
		{"attn_q", "blk.0.attn_q.weight", true},
		{"attn_q", "blk.0.attn_qkv.weight", false},
		{"self_attn.v_proj", "model.layers.3.self_attn.v_proj.weight", true},
		{"model.layers.*.mlp.*", "model.layers.3.mlp.up_proj.weight", true},
		{"output.weight", "output.weight", true},
		{"output", "attn_output.weight", false},
		{"*a*a*", "bab", false},
	} {
		if got := matches(x.pattern, x.name); got != x.want {
			t.Errorf("%q and %q: got %v, want %v", x.pattern, x.name, got, x.want)
		}
	}
}

func TestParseOverride(t *testing.T) {
	if o, err := ParseOverride("blk.*.ffn_down=q6_k"); err != nil || o.String() != "blk.*.ffn_down=Q6_K" {
		t.Errorf("got %v, %v", o, err)
	}
	for _, s := range []string{"", "ffn_down", "=Q4_0", "ffn_down=", "ffn_down=Q4_K_M", "ffn_down=I32"} {
		if o, err := ParseOverride(s); err == nil {
			t.Errorf("%q is %v, want an error", s, o)
		}
	}
}

func TestMixtureNames(t *testing.T) {
	for _, x := range []struct{ given, want string }{{"q4_k", "Q4_K_M"}, {"Q4_K_M", "Q4_K_M"}, {"iq4_nl", "IQ4_NL"}, {"Q3_K", "Q3_K_M"}} {
		if m, err := MixtureByName(x.given); err != nil || m.Name != x.want {
			t.Errorf("%s: got %s, %v, want %s", x.given, m.Name, err, x.want)
		}
	}
	if _, err := MixtureByName("Q7_K"); err == nil {
		t.Error("Q7_K: no error")
	}
}

// typesOf are those that a config gives a model's tensors.
func typesOf(t *testing.T, e *ggufmap.Exported, c Config) map[string]tensor.DType {
	t.Helper()
	p, err := Choose(e, c)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]tensor.DType{}
	for _, x := range p.Tensors {
		out[x.Name] = x.To
	}
	return out
}

func TestChoices(t *testing.T) {
	override := func(s string) Override {
		o, err := ParseOverride(s)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	for name, x := range map[string]struct {
		config string
		c      Config
		want   map[string]tensor.DType
	}{
		"as usual": {"llama", Config{Mixture: mixture(t, "Q4_K_M")},
			map[string]tensor.DType{"token_embd.weight": tensor.Q6_K, "blk.0.attn_q.weight": tensor.Q4_K, "blk.0.attn_v.weight": tensor.Q6_K, "blk.0.attn_norm.weight": tensor.F32}},
		"pure": {"llama", Config{Mixture: mixture(t, "Q4_K_M"), Pure: true},
			map[string]tensor.DType{"token_embd.weight": tensor.Q4_K, "blk.0.attn_v.weight": tensor.Q4_K}},
		"tied head kept": {"llama", Config{Mixture: mixture(t, "Q4_0"), KeepHead: true},
			map[string]tensor.DType{"token_embd.weight": tensor.F32, "blk.0.attn_q.weight": tensor.Q4_0}},
		"head kept": {"grouped", Config{Mixture: mixture(t, "Q4_0"), KeepHead: true},
			map[string]tensor.DType{"output.weight": tensor.F32, "token_embd.weight": tensor.Q4_0}},
		"the first override counts": {"llama", Config{Mixture: mixture(t, "Q4_0"), Overrides: []Override{override("blk.3.ffn_down=F16"), override("mlp.down_proj=Q8_0")}},
			map[string]tensor.DType{"blk.3.ffn_down.weight": tensor.F16, "blk.2.ffn_down.weight": tensor.Q8_0, "blk.2.ffn_up.weight": tensor.Q4_0}},
		"rows that no block divides": {"odd", Config{Mixture: mixture(t, "Q4_K_M"), Overrides: []Override{override("attn_q=Q6_K")}},
			map[string]tensor.DType{"blk.0.attn_q.weight": tensor.Q8_0, "blk.0.attn_k.weight": tensor.Q5_0, "blk.0.ffn_down.weight": tensor.F16}},
		"all experts": {"moe", Config{Mixture: mixture(t, "MXFP4_MOE")},
			map[string]tensor.DType{"blk.0.ffn_up_exps.weight": tensor.MXFP4, "blk.0.attn_q.weight": tensor.Q8_0, "blk.0.ffn_gate_inp.weight": tensor.F32}},
		"all matrices": {"moe", Config{Mixture: mixture(t, "MXFP4")},
			map[string]tensor.DType{"blk.0.ffn_up_exps.weight": tensor.MXFP4, "blk.0.attn_q.weight": tensor.MXFP4, "output.weight": tensor.Q8_0}},
	} {
		t.Run(name, func(t *testing.T) {
			e, _ := exported(t, configs[x.config])
			got := typesOf(t, e, x.c)
			for tensor, want := range x.want {
				if got[tensor] != want {
					t.Errorf("%s is %v, want %v", tensor, got[tensor], want)
				}
			}
		})
	}
}

func TestChooseErrors(t *testing.T) {
	e, _ := exported(t, configs["llama"])
	other := someImportance(t, configs["odd"])
	for name, x := range map[string]struct {
		c    Config
		want string
	}{
		"needs importance":           {Config{Mixture: mixture(t, "IQ2_XXS")}, "needs importance"},
		"Q2_K_S needs importance":    {Config{Mixture: mixture(t, "Q2_K_S")}, "needs importance"},
		"another model's importance": {Config{Mixture: mixture(t, "Q4_0"), Importance: other}, "belongs to another model"},
		"nothing of that name":       {Config{Mixture: mixture(t, "Q4_0"), Overrides: []Override{{"ffn_dwn", tensor.Q8_0}}}, "no matrix has such a name"},
	} {
		if _, err := Choose(e, x.c); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: got %v, want %q", name, err, x.want)
		}
	}
	// What is quantized already.
	p, err := Choose(e, Config{Mixture: mixture(t, "Q4_0")})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "q4.gguf")
	if err := p.Write(context.Background(), path, 1, nil); err != nil {
		t.Fatal(err)
	}
	f, err := ggufmap.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	again, err := ggufmap.Export(f.Config, Cache(f))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Choose(again, Config{Mixture: mixture(t, "Q8_0")}); err == nil || !strings.Contains(err.Error(), "quantized already") {
		t.Errorf("got %v, want that it is quantized already", err)
	}
	if _, err := Choose(again, Config{Mixture: mixture(t, "Q8_0"), Requantize: true}); err != nil {
		t.Errorf("with requantize: %v", err)
	}
	// To its own types it is copied.
	if p, err = Choose(again, Config{Mixture: mixture(t, "Q4_0")}); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "copy.gguf")
	if err := p.Write(context.Background(), copied, 2, nil); err != nil {
		t.Fatal(err)
	}
	_, a := read(t, path)
	_, b := read(t, copied)
	if digest(a) != digest(b) {
		t.Error("a copy has other values")
	}
}

// TestWorkers: how many there are changes nothing, and all of the source is counted.
func TestWorkers(t *testing.T) {
	e, _ := exported(t, configs["moe"])
	p, err := Choose(e, Config{Mixture: mixture(t, "Q4_K_M"), Importance: someImportance(t, configs["moe"])})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var first []byte
	for _, workers := range []int{1, 2, 7} {
		var seen int64
		path := filepath.Join(dir, "out.gguf")
		if err := p.Write(context.Background(), path, workers, func(n int64) { seen += n }); err != nil {
			t.Fatal(err)
		}
		if seen != int64(p.SourceBytes()) {
			t.Errorf("%d workers: %d bytes counted, want %d", workers, seen, p.SourceBytes())
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = raw
		}
		if !bytes.Equal(raw, first) {
			t.Errorf("%d workers write another file than one", workers)
		}
	}
}

// broken has a weight that is no number.
type broken struct{ *random }

func (b broken) Tensor(name string) (safetensors.Tensor, bool) {
	t, ok := b.random.Tensor(name)
	if name == "model.layers.1.mlp.up_proj.weight" {
		copy(t.Data[4*(256*3+5):], tensor.FromFloats(tensor.F32, []float32{float32(math.NaN())}))
	}
	return t, ok
}

// TestNothingIsLeft: neither of damaged weights nor of an interrupted run, and what was there stays.
func TestNothingIsLeft(t *testing.T) {
	e, err := ggufmap.Export([]byte(configs["llama"]), broken{newRandom(t, configs["llama"])})
	if err != nil {
		t.Fatal(err)
	}
	good, _ := exported(t, configs["llama"])
	for name, x := range map[string]struct {
		e    *ggufmap.Exported
		stop int // pieces
		want string
	}{
		"damaged":     {e, -1, "blk.1.ffn_up.weight: element [3,5] is NaN"},
		"interrupted": {good, 9, context.Canceled.Error()},
		"at once":     {good, 0, context.Canceled.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "out.gguf")
			if err := os.WriteFile(path, []byte("before"), 0o644); err != nil {
				t.Fatal(err)
			}
			p, err := Choose(x.e, Config{Mixture: mixture(t, "Q4_0")})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			pieces := 0
			if x.stop == 0 {
				cancel()
			}
			err = p.Write(ctx, path, 2, func(int64) {
				if pieces++; pieces == x.stop {
					cancel()
				}
			})
			if err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("got %v, want %q", err, x.want)
			}
			files, _ := os.ReadDir(dir)
			if b, _ := os.ReadFile(path); string(b) != "before" || len(files) != 1 {
				t.Errorf("%d files, and %q in the one that was there", len(files), b)
			}
		})
	}
}
