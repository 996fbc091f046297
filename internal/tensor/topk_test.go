package tensor

import (
	"math"
	"slices"
	"testing"
)

// What is not a number comes first, equal elements by their ids, and both zeros are equal.
func TestTopKOrder(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	zero := float32(0)
	for _, c := range []struct {
		name string
		row  []float32
		want []float32 // ids
	}{
		{"ties", []float32{1, 3, 3, 2, 3}, []float32{1, 2, 4, 3}},
		{"zeros", []float32{-1, -zero, zero, -zero}, []float32{1, 2, 3, 0}},
		{"infinities", []float32{-inf, 5, inf, -inf, inf}, []float32{2, 4, 1, 0}},
		{"NaN", []float32{1, inf, nan, -nan, 2}, []float32{2, 3, 1, 4}},
		{"a NaN with a sign", []float32{1, math.Float32frombits(0xffc00001), 2}, []float32{1, 2}},
		{"small", []float32{1e-45, -1e-45, 0, 3e-45}, []float32{3, 0, 2, 1}},
	} {
		b := newBench(t, open(t, 1))
		y := b.g.Floats(1, len(c.row)).SetFloats(c.row).TopK(len(c.want))
		b.run(y)
		values, ids := y.Values()[:len(c.want)], y.Values()[len(c.want):]
		if !slices.Equal(ids, c.want) {
			t.Errorf("%s: got the ids %v, want %v", c.name, ids, c.want)
		}
		for i, id := range ids {
			if got, want := math.Float32bits(values[i]), math.Float32bits(c.row[int(id)]); got != want {
				t.Errorf("%s: value %d is %x, want %x", c.name, i, got, want)
			}
		}
	}
}
