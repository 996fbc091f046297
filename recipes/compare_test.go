package recipes

import (
	"math"
	"testing"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/models"
)

const comparedConfig = `{"architectures": ["LlamaForCausalLM"], "vocab_size": 37, "hidden_size": 32, "intermediate_size": 64,
	"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}`

// compared is a loaded model of random weights, multiplied by 1+by.
func compared(t *testing.T, dev *tensor.Device, by float32) *loaded {
	t.Helper()
	m, err := models.New([]byte(comparedConfig))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, p := range nn.Params(m) {
			p.Free()
		}
	})
	for name, p := range nn.Params(m) {
		if err := dev.Alloc(p, tensor.F32); err != nil {
			t.Fatal(err)
		}
		v := initial(name, p, m.Dims(), 1)
		for i := range v {
			if v[i] *= 3; len(p.Shape()) > 1 && i%2 == 0 {
				v[i] *= 1 + by
			}
		}
		p.SetValues(v)
	}
	return &loaded{Model: m, dir: "random", config: []byte(comparedConfig)}
}

// TestCompare compares two models with what all scores, computed at once, say.
func TestCompare(t *testing.T) {
	dev, err := tensor.Open("cpu", tensor.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	a, b := compared(t, dev, 0), compared(t, dev, 0.2)
	windows := [][]int32{{1, 2, 3, 4, 5, 6, 7, 8, 9}, {9, 8, 7, 6, 5, 4, 3, 2, 1}, {36, 0, 36, 0, 17, 17, 17, 2, 2}}
	got, err := compare(t.Context(), dev, a, b, windows, nil)
	if err != nil {
		t.Fatal(err)
	}
	probs := func(l *loaded, w []int32) [][]float64 {
		p, batch, logits, err := compileLogits(dev, l, len(w))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		batch.Set(w, 0)
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		v := logits.Values()
		rows := make([][]float64, len(w))
		for i := range rows {
			sum := 0.0
			for j := range 37 {
				x := math.Exp(float64(v[i*37+j]))
				rows[i] = append(rows[i], x)
				sum += x
			}
			for j := range rows[i] {
				rows[i][j] /= sum
			}
		}
		return rows
	}
	kld, nllA, nllB, same, n := 0.0, 0.0, 0.0, 0, 0
	for _, w := range windows {
		pa, pb := probs(a, w), probs(b, w)
		for i := 4; i < 8; i++ { // 9/2, to the last but one
			topA, topB := 0, 0
			for j, p := range pa[i] {
				kld += p * math.Log(p/pb[i][j])
				if p > pa[i][topA] {
					topA = j
				}
				if pb[i][j] > pb[i][topB] {
					topB = j
				}
			}
			if topA == topB {
				same++
			}
			nllA -= math.Log(pa[i][w[i+1]])
			nllB -= math.Log(pb[i][w[i+1]])
			n++
		}
	}
	near := func(what string, got, want float64) {
		t.Helper()
		if !(math.Abs(got-want) <= 1e-5*math.Abs(want)) {
			t.Errorf("%s: got %g, want %g", what, got, want)
		}
	}
	near("mean divergence", got.KLD.Mean, kld/float64(n))
	near("perplexity", got.Perplexity, math.Exp(nllB/float64(n)))
	near("original's perplexity", got.Original, math.Exp(nllA/float64(n)))
	near("agreement", got.Top1, float64(same)/float64(n))
	if got.Tokens != n || len(got.Hidden) != 3 || !(got.Hidden[0] > 0) || !(got.KLD.Mean > 1e-4) || !(got.KLD.Max >= got.KLD.P99 && got.KLD.P99 >= got.KLD.Median) {
		t.Errorf("got %+v", got)
	}

	self, err := compare(t.Context(), dev, a, compared(t, dev, 0), windows, nil)
	if err != nil {
		t.Fatal(err)
	}
	if self.KLD.Max > 1e-12 || self.Top1 != 1 || self.Hidden[2] != 0 || self.Perplexity != self.Original {
		t.Errorf("a model beside itself: got %+v", self)
	}

	errs, err := weightErrors(t.Context(), a, b)
	if err != nil {
		t.Fatal(err)
	}
	if len(errs) != 2+2*7 {
		t.Errorf("got %d matrices", len(errs))
	}
	for _, e := range errs { // every second element is off by a fifth
		if !(e.Error > 0.1 && e.Error < 0.19) {
			t.Errorf("%s: got an error of %g", e.Name, e.Error)
		}
	}
}

func TestQuantile(t *testing.T) {
	for _, tt := range []struct {
		v       []float64
		q, want float64
	}{{[]float64{3}, 0.99, 3}, {[]float64{1, 2}, 0.5, 1.5}, {[]float64{0, 1, 2, 3, 4}, 0.99, 3.96}, {[]float64{0, 1, 2}, 1, 2}} {
		if got := quantile(tt.v, tt.q); math.Abs(got-tt.want) > 1e-12 {
			t.Errorf("%v at %g: got %g, want %g", tt.v, tt.q, got, tt.want)
		}
	}
}

func TestLayerOf(t *testing.T) {
	for name, want := range map[string]struct {
		layer int
		kind  string
	}{"model.layers.12.mlp.up_proj.weight": {12, "mlp.up_proj"}, "model.embed_tokens.weight": {}, "transformer.h.3.self_attention.dense.weight": {3, "self_attention.dense"},
		"model.layers.0.mlp.experts.down_proj": {0, "mlp.experts.down_proj"}} {
		if layer, kind := layerOf(name); layer != want.layer || kind != want.kind {
			t.Errorf("%s: got %d %q, want %+v", name, layer, kind, want)
		}
	}
}
