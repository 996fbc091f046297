package lora

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/data"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/optim"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/internal/train"
	"github.com/litgpt-go/litgpt/models"
)

// tinyFused is tiny with the projections of Phi 3: the same function of the same weights, two of which are fused.
const tinyFused = `{"architectures": ["Phi3ForCausalLM"], "vocab_size": 17, "hidden_size": 16, "rms_norm_eps": 1e-6,
	"intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}`

// fusedRows are where the projections of tiny lie in the weights of tinyFused.
var fusedRows = map[string]struct {
	layer string
	rows  nn.Rows
}{
	"q_proj": {"qkv_proj", nn.Rows{From: 0, To: 16}}, "k_proj": {"qkv_proj", nn.Rows{From: 16, To: 24}}, "v_proj": {"qkv_proj", nn.Rows{From: 24, To: 32}},
	"gate_proj": {"gate_up_proj", nn.Rows{From: 0, To: 24}}, "up_proj": {"gate_up_proj", nn.Rows{From: 24, To: 48}},
}

func linears(m models.Model) map[string]*nn.Linear {
	all := map[string]*nn.Linear{}
	for name, l := range nn.Linears(m) {
		all[name] = l
	}
	return all
}

// fuse copies the weights of a tiny model into a fused one.
func fuse(t *testing.T, from, to models.Model) {
	t.Helper()
	values := map[string][]float32{}
	for name, p := range nn.Params(from) {
		values[name] = p.Values()
	}
	for name, p := range nn.Params(to) {
		dir := name[:strings.LastIndexByte(strings.TrimSuffix(name, ".weight"), '.')+1]
		switch {
		case strings.HasSuffix(name, "qkv_proj.weight"):
			p.SetValues(slices.Concat(values[dir+"q_proj.weight"], values[dir+"k_proj.weight"], values[dir+"v_proj.weight"]))
		case strings.HasSuffix(name, "gate_up_proj.weight"):
			p.SetValues(slices.Concat(values[dir+"gate_proj.weight"], values[dir+"up_proj.weight"]))
		default:
			p.SetValues(values[name])
		}
	}
}

// fusedConfig translates targets of tiny into those of tinyFused.
func fusedConfig(cfg Config) Config {
	out := cfg
	out.Targets, out.Parts = nil, map[string][]nn.Rows{}
	for _, t := range cfg.Targets {
		f, ok := fusedRows[t]
		if !ok {
			out.Targets = append(out.Targets, t)
			continue
		}
		if out.Parts[f.layer] == nil {
			out.Targets = append(out.Targets, f.layer)
		}
		out.Parts[f.layer] = append(out.Parts[f.layer], f.rows)
	}
	return out
}

// decayed trains with weight decay on everything, which must leave zeros alone.
func decayed(t *testing.T, dev *tensor.Device, m models.Model, names []string, weights []*tensor.Tensor, recompute bool, n int) (losses, norms []float64) {
	t.Helper()
	o, err := optim.New(dev, optim.Config{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1, DecayAll: true}, names, weights)
	if err != nil {
		t.Fatal(err)
	}
	tr := train.New(dev, m, o, recompute, 1)
	defer o.Close()
	defer tr.Close()
	for range n {
		loss, norm, err := tr.Step([]data.Batch{tinyBatch}, 1e-2, 1).Wait()
		if err != nil {
			t.Fatal(err)
		}
		losses, norms = append(losses, loss), append(norms, norm)
	}
	return losses, norms
}

// TestParts adapts parts of fused weights, and the same projections of a model that
// has them apart: both must train alike, be merged alike and load as they were saved.
func TestParts(t *testing.T) {
	for _, tt := range []struct {
		name    string
		targets []string
		ranks   map[string]int // of the files
	}{
		{"one part", []string{"v_proj"}, nil},
		{"LitGPT's defaults", []string{"q_proj", "v_proj"}, map[string]int{"qkv_proj": 4}},
		{"all", []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"}, map[string]int{"qkv_proj": 6, "gate_up_proj": 4}},
		{"half of the MLP", []string{"up_proj", "down_proj"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dev := openCPU(t)
			apart, fused := newTiny(t, dev, tiny, tensor.F32), newTiny(t, dev, tinyFused, tensor.F32)
			fuse(t, apart, fused)
			cfg := Config{Rank: 2, Alpha: 6, Targets: tt.targets}
			fusedCfg := fusedConfig(cfg)
			names, weights := inject(t, dev, apart, cfg)
			fusedNames, fusedWeights := inject(t, dev, fused, fusedCfg)
			copyParts(t, apart, fused, cfg, fusedCfg, func(t *testing.T, what string, part, whole []float32) { copy(whole, part) })

			losses, norms := decayed(t, dev, apart, names, weights, false, 20)
			fusedLosses, fusedNorms := decayed(t, dev, fused, fusedNames, fusedWeights, true, 20)
			for i := range losses {
				if math.Abs(losses[i]-fusedLosses[i]) > 1e-4*losses[i] || math.Abs(norms[i]-fusedNorms[i]) > 1e-3*norms[i] {
					t.Fatalf("step %d: got loss %g, norm %g, want %g, %g", i, fusedLosses[i], fusedNorms[i], losses[i], norms[i])
				}
			}
			if last := losses[len(losses)-1]; !(last < losses[0]-0.1) {
				t.Errorf("the loss went from %g to %g", losses[0], last)
			}
			trained := logits(t, dev, fused)
			if d := maxDiff(trained, logits(t, dev, apart)); !(d <= 1e-3) {
				t.Errorf("the scores differ by %g", d)
			}
			copyParts(t, apart, fused, cfg, fusedCfg, func(t *testing.T, what string, part, whole []float32) {
				for i := range part {
					if math.Abs(float64(part[i]-whole[i])) > 1e-3 {
						t.Fatalf("%s: got %v, want %v", what, whole, part)
					}
				}
			})

			dir := saved(t, fused, fusedCfg, Base{})
			back := newTiny(t, dev, tinyFused, tensor.F32)
			fuse(t, newTiny(t, dev, tiny, tensor.F32), back)
			read, err := Load(dev, back, dir)
			if err != nil {
				t.Fatal(err)
			}
			if len(read.Ranks) != len(tt.ranks) || len(read.Alphas) != len(tt.ranks) {
				t.Errorf("got ranks %v and alphas %v, want %v", read.Ranks, read.Alphas, tt.ranks)
			}
			for target, r := range tt.ranks {
				if read.Ranks[target] != r || read.Alphas[target] != float64(3*r) {
					t.Errorf("%s: got rank %d and alpha %g, want %d and %d", target, read.Ranks[target], read.Alphas[target], r, 3*r)
				}
			}
			if got := logits(t, dev, back); !slices.Equal(got, trained) {
				t.Errorf("saving and loading changed the scores by %g", maxDiff(got, trained))
			}
			again := saved(t, back, read, Base{})
			for _, name := range []string{ConfigFile, WeightsFile} {
				a, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				if b, err := os.ReadFile(filepath.Join(again, name)); err != nil || name == WeightsFile && string(a) != string(b) {
					t.Errorf("%s: saved again it differs (%v)", name, err)
				}
			}

			before := map[string][]float32{}
			for name, l := range linears(back) {
				before[name] = l.Weight.Values()
			}
			if err := Merge(dev, back); err != nil {
				t.Fatal(err)
			}
			if d := maxDiff(logits(t, dev, back), trained); !(d <= 1e-4) {
				t.Errorf("merging changed the scores by %g", d)
			}
			for name, l := range linears(back) {
				rows := fusedCfg.Parts[lastPart(name)]
				if rows == nil {
					continue
				}
				in := l.Weight.Dim(1)
				for i := range l.Weight.Dim(0) {
					mine := slices.ContainsFunc(rows, func(r nn.Rows) bool { return r.Has(i) })
					same := slices.Equal(l.Weight.Values()[i*in:(i+1)*in], before[name][i*in:(i+1)*in])
					if mine == same {
						t.Fatalf("%s, row %d: adapted %v, changed %v", name, i, mine, !same)
					}
				}
			}
		})
	}
}

// copyParts calls visit with A and B of each adapted projection of the model that
// has them apart, and the same parts of the fused model's; what visit changes in the
// latter is stored. It fails where B is not zero outside of them.
func copyParts(t *testing.T, apart, fused models.Model, cfg, fusedCfg Config, visit func(t *testing.T, what string, part, whole []float32)) {
	t.Helper()
	all := linears(apart)
	for name, l := range linears(fused) {
		a, ok := l.Adapter.(*Layer)
		if !ok {
			continue
		}
		dir, last := name[:strings.LastIndexByte(name, '.')+1], lastPart(name)
		rows := fusedCfg.Parts[last]
		A, B := a.A.Weight.Values(), a.B.Weight.Values()
		in, out := a.A.Weight.Dim(1), a.B.Weight.Dim(0)
		if rows == nil {
			from := all[name].Adapter.(*Layer)
			visit(t, name, from.A.Weight.Values(), A)
			visit(t, name, from.B.Weight.Values(), B)
		}
		for p, r := range rows {
			source := ""
			for n, f := range fusedRows {
				if f.layer == last && f.rows == r {
					source = n
				}
			}
			from := all[dir+source].Adapter.(*Layer)
			visit(t, source+".A", from.A.Weight.Values(), A[p*cfg.Rank*in:(p+1)*cfg.Rank*in])
			R, b := cfg.Rank*len(rows), from.B.Weight.Values()
			for i := range out {
				of := B[i*R+p*cfg.Rank : i*R+(p+1)*cfg.Rank]
				if r.Has(i) {
					visit(t, source+".B", b[(i-r.From)*cfg.Rank:(i-r.From+1)*cfg.Rank], of)
				} else if slices.Max(of) != 0 || slices.Min(of) != 0 {
					t.Fatalf("%s, row %d of part %d: got %v, want zeros", name, i, p, of)
				}
			}
		}
		a.A.Weight.SetValues(A)
		a.B.Weight.SetValues(B)
	}
}

func TestPartsErrors(t *testing.T) {
	dev := openCPU(t)
	m := newTiny(t, dev, tiny, tensor.F32)
	_, _, err := Inject(dev, m, Config{Rank: 2, Alpha: 4, Targets: []string{"q_proj"}, Parts: map[string][]nn.Rows{"qkv_proj": {{To: 4}}}}, nil)
	if want := "parts of qkv_proj are given, which is no target (q_proj)"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}
