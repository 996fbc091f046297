package kvcache

import (
	"fmt"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

var _ nn.PagedKV = (*Pool)(nil)

// Pool is the memory of pages of keys and values, of all layers of one model, with the account of them.
type Pool struct {
	*Pages

	dev          *tensor.Device
	dtype        tensor.DType
	heads, dim   int
	keys, values []*tensor.Tensor // per layer (S, Hkv*D), S rows of pages
}

// NewPool returns a pool for so many pages, and one of padding, of layers with heads key/value heads of
// dim channels, in one of [Types].
func NewPool(dev *tensor.Device, dtype tensor.DType, layers, heads, dim, pages int) (c *Pool, err error) {
	if err := Check(dtype, dim); err != nil {
		return nil, err
	}
	c = &Pool{dev: dev, dtype: dtype, heads: heads, dim: dim, keys: make([]*tensor.Tensor, layers), values: make([]*tensor.Tensor, layers)}
	c.Pages = NewPages(1, c.move)
	if err := c.Grow(pages); err != nil {
		return nil, err
	}
	return c, nil
}

// Grow makes room for so many pages in all; what is stored stays. Programs compiled with the pool
// must be compiled again. After an error the pool is closed: what was stored is lost.
func (c *Pool) Grow(pages int) (err error) {
	if pages <= c.Len() {
		return nil
	}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	defer tensor.Catch(&err)
	c.dev.Label("KV cache")
	for i := range c.keys {
		for _, t := range []**tensor.Tensor{&c.keys[i], &c.values[i]} {
			larger := tensor.Param((pages+1)*Page, c.heads*c.dim)
			larger.Name = fmt.Sprintf("KV cache of layer %d", i)
			if err := c.dev.Alloc(larger, c.dtype); err != nil {
				return fmt.Errorf("%w; use a shorter context", err)
			}
			if old := *t; old != nil {
				if !c.dev.Planning() {
					larger.WriteBytes(old.Bytes(), 0)
				}
				old.Free()
			}
			*t = larger
		}
	}
	c.grow(pages + 1)
	return nil
}

// Page implements nn.PagedKV.
func (c *Pool) Page() int { return Page }

// Append implements nn.KV.
func (c *Pool) Append(a nn.Attn, rows, k, v *tensor.Tensor) (keys, values *tensor.Tensor) {
	put := func(cache, x *tensor.Tensor) *tensor.Tensor {
		return cache.SetRows(rows, x.Reshape(x.Dim(0), c.heads*c.dim)).Reshape(cache.Dim(0), c.heads, c.dim)
	}
	return put(c.keys[a.Layer], k), put(c.values[a.Layer], v)
}

// move copies the first rows of a page to another.
func (c *Pool) move(from, to int32, rows int) {
	size := c.dtype.Bytes(c.heads * c.dim)
	buf := make([]byte, rows*size)
	for i := range c.keys {
		for _, t := range []*tensor.Tensor{c.keys[i], c.values[i]} {
			t.ReadBytes(buf, int(from)*Page*size)
			t.WriteBytes(buf, int(to)*Page*size)
		}
	}
}

// Close releases the memory.
func (c *Pool) Close() {
	for i := range c.keys {
		for _, t := range []*tensor.Tensor{c.keys[i], c.values[i]} {
			if t != nil {
				t.Free()
			}
		}
		c.keys[i], c.values[i] = nil, nil
	}
}
