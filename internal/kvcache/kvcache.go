// Package kvcache stores the keys and values of positions already seen.
package kvcache

import (
	"fmt"

	"github.com/litgpt-go/litgpt/internal/tensor"
)

// Types are those that a cache may be stored in, by the names that settings have for them.
// Q8_0 takes half of F16's memory, and time to read it for each token; keys and
// values are rounded to 8 bits then, in units of the largest of 32.
var Types = map[string]tensor.DType{"f32": tensor.F32, "f16": tensor.F16, "bf16": tensor.BF16, "q8_0": tensor.Q8_0}

// Check reports a type that heads of dim channels cannot be stored in.
func Check(dtype tensor.DType, dim int) error {
	if dim%dtype.Block() != 0 {
		return fmt.Errorf("a KV cache in %v stores %d channels together, which heads of %d are no multiple of; store it in f16 or bf16", dtype, dtype.Block(), dim)
	}
	return nil
}
