// Package kvcache stores the keys and values of positions already seen.
package kvcache

import (
	"fmt"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

var _ nn.KV = (*Cache)(nil)

// Cache is a contiguous cache of one sequence on one device.
type Cache struct {
	Len  int // positions stored so far; the caller advances it after a pass
	Size int // positions there is room for

	heads, dim   int
	keys, values []*tensor.Tensor // per layer (Size, Hkv*D)
}

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

// New returns a cache for layers of size positions with heads key/value heads of
// dim channels, in one of [Types].
func New(dev *tensor.Device, dtype tensor.DType, layers, heads, size, dim int) (c *Cache, err error) {
	defer tensor.Catch(&err)
	if err := Check(dtype, dim); err != nil {
		return nil, err
	}
	c = &Cache{Size: size, heads: heads, dim: dim}
	dev.Label("KV cache")
	for i := range 2 * layers {
		t := tensor.Param(size, heads*dim)
		t.Name = fmt.Sprintf("KV cache of layer %d", i/2)
		if err := dev.Alloc(t, dtype); err != nil {
			c.Close()
			return nil, fmt.Errorf("%w; use a shorter context", err)
		}
		if i%2 == 0 {
			c.keys = append(c.keys, t)
		} else {
			c.values = append(c.values, t)
		}
	}
	return c, nil
}

// Append implements nn.KV.
func (c *Cache) Append(a nn.Attn, rows, k, v *tensor.Tensor) (keys, values *tensor.Tensor) {
	put := func(cache, x *tensor.Tensor) *tensor.Tensor {
		return cache.SetRows(rows, x.Reshape(x.Dim(0), c.heads*c.dim)).Reshape(c.Size, c.heads, c.dim)
	}
	return put(c.keys[a.Layer], k), put(c.values[a.Layer], v)
}

// Close releases the memory.
func (c *Cache) Close() {
	for _, t := range append(c.keys, c.values...) {
		t.Free()
	}
}
