package quantize

import (
	"sync"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/safetensors"
)

// Cache remembers the last tensors that a source had to make, since they are asked for once for each piece.
func Cache(src checkpoint.Source) checkpoint.Source { return &cache{Source: src} }

type cache struct {
	checkpoint.Source
	mu   sync.Mutex
	made []safetensors.Tensor // newest last
}

// kept are few: pieces of two tensors are on their way at once where one ends and the next begins.
const kept = 2

// Header implements checkpoint.Headers.
func (c *cache) Header(name string) (safetensors.Tensor, bool) {
	return checkpoint.Header(c.Source, name)
}

// Tensor implements checkpoint.Source.
func (c *cache) Tensor(name string) (safetensors.Tensor, bool) {
	if t, ok := checkpoint.Header(c.Source, name); !ok || t.Data != nil {
		return c.Source.Tensor(name)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.made {
		if t.Name == name {
			return t, true
		}
	}
	t, ok := c.Source.Tensor(name)
	if !ok {
		return t, false
	}
	t.Name = name
	if c.made = append(c.made, t); len(c.made) > kept {
		c.made = c.made[1:]
	}
	return t, true
}
