package tokenizer

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// wordCache keeps the ids of words seen before in a table of fixed size: no text
// makes it grow, a new word takes the place of an old one, and reading takes no
// lock. Each slot has a sequence lock: its head is odd while somebody writes, and
// changed afterwards. All words of a slot are read and written atomically, so a
// reader that sees a changed head has read garbage, but no race.
type wordCache struct {
	once  sync.Once
	table atomic.Pointer[wordTable] // nil until the first word
}

// wordTable is 2.25 MiB for each tokenizer in use. A word may be in any slot of
// its set; the heads of a set lie side by side, the data of a slot is a cache line.
type wordTable struct {
	heads [wordSets][wordWays]atomic.Uint64 // see the constants below; 0: empty
	data  [wordSets][wordWays]wordData
}

// wordData is a word of up to maxWord bytes, filled up with zeros to uint64s, and
// after it its ids, three of 21 bits in each.
type wordData [slotData]atomic.Uint64

const (
	wordSets, wordWays = 1 << 13, 4

	slotData  = 8
	maxWord   = 8 * (slotData - 1)
	maxWordID = 1<<21 - 1

	// A head: sequence<<32 | ids<<24 | bytes<<16 | 16 bits of the hash.
	sequence  = 1 << 32
	whichWord = 0xFFFFFF // bytes and hash
	idsOffset = 24
)

// wordKey is a word as a slot holds it.
type wordKey struct {
	data [slotData - 1]uint64
	n    int    // of data in use
	id   uint64 // of a head
	set  uint64
	way  uint64 // of the set, to be written if none is empty
}

// newWordKey makes the key of a word of 1 to maxWord bytes. The hash is wyhash's
// folded product; it need not resist an attacker, who could win only misses.
func newWordKey(w string) (k wordKey) {
	h := uint64(len(w)) * 0x9E3779B97F4A7C15
	i := 0
	for ; i+8 <= len(w); i += 8 {
		x := load64(w[i:])
		k.data[k.n] = x
		k.n++
		hi, lo := bits.Mul64(x^0xA0761D6478BD642F, h^0xE7037ED1A0B428DB)
		h = hi ^ lo
	}
	if rest := len(w) - i; rest > 0 {
		var x uint64
		switch {
		case len(w) >= 8:
			x = load64(w[len(w)-8:]) >> (8 * uint(8-rest))
		case rest >= 4:
			x = load32(w) | load32(w[rest-4:])<<(8*uint(rest-4))
		default:
			x = uint64(w[0]) | uint64(w[rest/2])<<(8*uint(rest/2)) | uint64(w[rest-1])<<(8*uint(rest-1))
		}
		k.data[k.n] = x
		k.n++
		hi, lo := bits.Mul64(x^0xA0761D6478BD642F, h^0xE7037ED1A0B428DB)
		h = hi ^ lo
	}
	k.id = uint64(len(w))<<16 | h&0xFFFF
	k.set, k.way = h>>20%wordSets, h>>40%wordWays
	return k
}

func load64(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

func load32(s string) uint64 {
	_ = s[3]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24
}

// appendIDs appends the ids of k's word if the cache has it.
func (c *wordCache) appendIDs(dst []int32, k *wordKey) ([]int32, bool) {
	t := c.table.Load()
	if t == nil {
		return dst, false
	}
	heads := &t.heads[k.set%wordSets]
	for way := range heads {
		head := heads[way].Load()
		if head&whichWord != k.id || head&sequence != 0 {
			continue
		}
		data := &t.data[k.set%wordSets][way]
		if !data.holds(k) {
			continue
		}
		n, ids := len(dst), int(head>>idsOffset&0xFF)
		for i := k.n; ids > 0 && i < slotData; i++ {
			x := data[i].Load()
			dst = append(dst, int32(x&maxWordID))
			if ids > 1 {
				dst = append(dst, int32(x>>21&maxWordID))
			}
			if ids > 2 {
				dst = append(dst, int32(x>>42&maxWordID))
			}
			ids -= 3
		}
		if heads[way].Load() != head {
			return dst[:n], false
		}
		return dst, true
	}
	return dst, false
}

func (d *wordData) holds(k *wordKey) bool {
	for i := 0; i < k.n && i < len(k.data); i++ {
		if d[i].Load() != k.data[i] {
			return false
		}
	}
	return true
}

// put keeps the ids of k's word, if they fit.
func (c *wordCache) put(k *wordKey, ids []int32) {
	if len(ids) > 3*(slotData-k.n) {
		return
	}
	for _, id := range ids {
		if id > maxWordID {
			return
		}
	}
	c.once.Do(func() { c.table.Store(new(wordTable)) })
	t := c.table.Load()
	heads, way := &t.heads[k.set], k.way
	for i := range heads {
		if heads[i].Load() == 0 {
			way = uint64(i)
			break
		}
	}
	head := heads[way].Load()
	if head&sequence != 0 || !heads[way].CompareAndSwap(head, head+sequence) {
		return // somebody else is at it
	}
	data := &t.data[k.set][way]
	for i := range k.n {
		data[i].Store(k.data[i])
	}
	for i := 0; i < len(ids); i += 3 {
		x := uint64(ids[i])
		if i+1 < len(ids) {
			x |= uint64(ids[i+1]) << 21
		}
		if i+2 < len(ids) {
			x |= uint64(ids[i+2]) << 42
		}
		data[k.n+i/3].Store(x)
	}
	heads[way].Store((head&^0xFFFFFFFF + 2*sequence) | uint64(len(ids))<<idsOffset | k.id)
}
