package nn

import (
	"math"
	"testing"

	"github.com/litgpt-go/litgpt/internal/tensor"
)

// What the layers pass on to the operations: names of weights, offsets, biases, soft caps.
func TestLayers(t *testing.T) {
	dev, err := tensor.Open("cpu", tensor.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dev.Close)
	layers := struct {
		RMS   *RMSNorm   `hf:"rms"`
		Gemma *RMSNorm   `hf:"gemma"`
		Layer *LayerNorm `hf:"layer"`
		Bare  *LayerNorm `hf:"bare"`
	}{NewRMSNorm(2, 0), &RMSNorm{Weight: tensor.Param(2), Offset: 1}, NewLayerNorm(2, 0, true), NewLayerNorm(2, 0, false)}
	values := map[string][]float32{"rms.weight": {2, 3}, "gemma.weight": {2, 3}, "layer.weight": {2, 3}, "layer.bias": {10, 20}, "bare.weight": {2, 3}}
	for name, w := range Params(layers) {
		if values[name] == nil {
			t.Fatalf("weight %q", name)
		}
		if err := dev.Alloc(w, tensor.F32); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Free)
		w.SetValues(values[name])
		delete(values, name)
	}
	if len(values) != 0 {
		t.Errorf("no weights named %v", values)
	}
	g := tensor.NewGraph()
	x := g.Floats(1, 2).SetFloats([]float32{1, 7}) // root mean square 5, mean 4, standard deviation 3
	tests := []struct {
		name string
		y    *tensor.Tensor
		want []float64
	}{
		{"RMSNorm", layers.RMS.Forward(x), []float64{0.4, 4.2}},
		{"RMSNorm with an offset", layers.Gemma.Forward(x), []float64{0.6, 5.6}},
		{"LayerNorm", layers.Layer.Forward(x), []float64{8, 23}},
		{"LayerNorm without bias", layers.Bare.Forward(x), []float64{-2, 3}},
	}
	for _, c := range tests {
		p, err := g.Compile(dev, c.y)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		for i, got := range c.y.Values() {
			if math.Abs(float64(got)-c.want[i]) > 1e-5 {
				t.Errorf("%s: element %d: got %g, want %g", c.name, i, got, c.want[i])
			}
		}
		p.Close()
	}
	b := NewBatch(g, 1, 2)
	q := g.Floats(2, 1, 4)
	want := tensor.Attn{Scale: 0.5, Sequences: 1, Softcap: 50}
	if got := b.Attend(Attn{Scale: 0.5, Softcap: 50}, q, q, q).Attr; got != want {
		t.Errorf("attention: got %v, want %v", got, want)
	}
}
