package recipes

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/lora"
)

// TestMergedExperts: what is merged weight by weight is what merging in place gives, in the
// checkpoint's layout, which has a tensor for each expert's projection.
func TestMergedExperts(t *testing.T) {
	dev, err := tensor.Open("cpu", tensor.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	dir := filepath.Join("..", "models", "testdata", "fixtures", "mixtral-tiny")
	adapted := func() *loaded {
		l, err := open(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.close)
		if err := l.load(dev, checkpoint.F32, false); err != nil {
			t.Fatal(err)
		}
		if _, err := lora.Load(dev, l.Model, filepath.Join(dir, "reference", "adapter_experts")); err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := adapted()
	m, err := newMerged(dev, l)
	if err != nil {
		t.Fatal(err)
	}
	other := adapted()
	if err := lora.Merge(dev, other.Model); err != nil {
		t.Fatal(err)
	}
	var values []checkpoint.Value
	for name, p := range nn.Params(other.Model) {
		values = append(values, checkpoint.Value{Name: name, DType: tensor.F32, From: p})
	}
	values = other.layout(values)
	if len(values) != len(m.Names()) || len(values) != len(l.src.Names()) {
		t.Errorf("got %d tensors, want %d and the checkpoint's %d", len(m.Names()), len(values), len(l.src.Names()))
	}
	changed := 0
	for _, v := range values {
		got, ok := m.Tensor(v.Name)
		if !ok {
			t.Errorf("no %s", v.Name)
			continue
		}
		shape := v.Shape
		if shape == nil {
			shape = v.From.Shape()
		}
		n := 1
		for _, d := range shape {
			n *= d
		}
		if want := tensor.FromFloats(tensor.F32, v.From.Values()[v.Offset:v.Offset+n]); !bytes.Equal(got.Data, want) {
			t.Errorf("%s differs", v.Name)
		}
		if base, _ := l.src.Tensor(v.Name); !bytes.Equal(base.Data, got.Data) {
			changed++
		}
	}
	if changed < 2*3*4 { // at least the experts' projections
		t.Errorf("merging changed %d tensors", changed)
	}
	if _, ok := m.Tensor("none"); ok {
		t.Error("a tensor that is not there was given")
	}
}
