package lora

import (
	"slices"
	"testing"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// TestSets keeps two adapters off one model, and hangs one and the other on it.
func TestSets(t *testing.T) {
	dev := openCPU(t)
	cfg := Config{Rank: 2, Alpha: 4, Targets: []string{"q_proj", "down_proj"}}
	var dirs []string
	var want [][]float32
	for i := range 2 {
		m := newTiny(t, dev, tiny, tensor.F32)
		_, weights := inject(t, dev, m, cfg)
		for j, w := range weights {
			v := w.Values()
			for k := range v {
				v[k] = float32((k*7+j+i*3)%5-2) / 10
			}
			w.SetValues(v)
		}
		dirs = append(dirs, saved(t, m, cfg, Base{Path: "base"}))
		want = append(want, logits(t, dev, m))
	}
	m := newTiny(t, dev, tiny, tensor.F32)
	base := logits(t, dev, m)
	var sets []*Set
	for _, dir := range dirs {
		s, err := LoadSet(dev, m, dir)
		if err != nil {
			t.Fatal(err)
		}
		sets = append(sets, s)
	}
	if _, err := LoadSet(dev, m, t.TempDir()); err == nil {
		t.Error("an empty directory is an adapter")
	}
	for name, p := range nn.Params(m) {
		if IsWeight(name) || p.Trainable {
			t.Errorf("%s is on the model, or trainable", name)
		}
	}
	for _, i := range []int{0, 1, 0} {
		sets[i].Attach()
		if got := logits(t, dev, m); !slices.Equal(got, want[i]) {
			t.Errorf("with adapter %d the logits are off by %g", i, maxDiff(got, want[i]))
		}
		sets[i].Detach()
		if got := logits(t, dev, m); !slices.Equal(got, base) {
			t.Errorf("after adapter %d the model is off by %g", i, maxDiff(got, base))
		}
	}
	if maxDiff(want[0], base) < 1e-3 || maxDiff(want[0], want[1]) < 1e-3 {
		t.Error("the adapters change nothing")
	}

	// One that is on the model stays there.
	if _, err := Load(dev, m, dirs[0]); err != nil {
		t.Fatal(err)
	}
	sets[1].Attach()
	if got := logits(t, dev, m); !slices.Equal(got, want[1]) {
		t.Errorf("in place of another the logits are off by %g", maxDiff(got, want[1]))
	}
	sets[1].Detach()
	if got := logits(t, dev, m); !slices.Equal(got, want[0]) {
		t.Errorf("the model's own adapter is off by %g", maxDiff(got, want[0]))
	}
	for _, s := range sets {
		s.Free()
	}
	for _, l := range sets[0].linears {
		if l.(*Layer).A.Weight.Loaded() {
			t.Error("a weight of a set that was freed has memory")
		}
	}
}
