package nn

import (
	"reflect"

	"github.com/litgpt-go/litgpt/internal/tensor"
)

// Offsets gives what norms add to their weights, for those that add something: such
// a norm scales by one where its weight is 1 - offset.
func Offsets(model any) map[*tensor.Tensor]float64 {
	offsets := map[*tensor.Tensor]float64{}
	walk(reflect.ValueOf(model), "", func(_ string, v any) bool {
		if n, ok := v.(*RMSNorm); ok && n.Offset != 0 {
			offsets[n.Weight] = n.Offset
		}
		return true
	})
	return offsets
}
