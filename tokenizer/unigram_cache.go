package tokenizer

import (
	"strings"
	"sync"
)

// pieceCache remembers the ids of short texts: two generations of maps, of which
// the older is dropped when the younger is full, so that what is used stays and
// memory is bounded. The zero value is empty; several goroutines may use it.
type pieceCache struct {
	mu         sync.RWMutex
	young, old map[string][]int32
}

// The bounds of a generation: texts, and the bytes of one text.
const maxCached, maxCachedText = 1 << 15, 64

func (c *pieceCache) get(text string) ([]int32, bool) {
	if len(text) > maxCachedText {
		return nil, false
	}
	c.mu.RLock()
	ids, ok := c.young[text]
	old := false
	if !ok {
		ids, ok = c.old[text]
		old = ok
	}
	c.mu.RUnlock()
	if old {
		c.put(text, ids)
	}
	return ids, ok
}

// put copies text and ids.
func (c *pieceCache) put(text string, ids []int32) {
	if len(text) > maxCachedText {
		return
	}
	ids = append([]int32(nil), ids...)
	c.mu.Lock()
	if len(c.young) >= maxCached || c.young == nil {
		c.young, c.old = map[string][]int32{}, c.young
	}
	c.young[strings.Clone(text)] = ids
	c.mu.Unlock()
}
