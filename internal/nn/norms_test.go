package nn

import (
	"maps"
	"testing"

	"github.com/litgpt-go/litgpt/internal/tensor"
)

func TestOffsets(t *testing.T) {
	plain, shifted := NewRMSNorm(3, 1e-6), NewRMSNorm(3, 1e-6)
	shifted.Offset = 1
	m := struct {
		A *RMSNorm   `hf:"a"`
		B []*RMSNorm `hf:"b"`
		C *Linear    `hf:"c"`
	}{plain, []*RMSNorm{plain, shifted}, NewLinear(2, 2, true)}
	if got, want := Offsets(m), (map[*tensor.Tensor]float64{shifted.Weight: 1}); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
