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

// New returns a cache for layers of size positions with heads key/value heads of
// dim channels, in F32 or F16.
func New(dev *tensor.Device, dtype tensor.DType, layers, heads, size, dim int) (c *Cache, err error) {
	defer tensor.Catch(&err)
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
