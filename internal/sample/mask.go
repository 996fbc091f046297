package sample

import "math/bits"

// Mask is a set of tokens, bit i%64 of word i/64 for id i. It has (V+63)/64 words for a vocabulary of V.
type Mask []uint64

// NewMask returns an empty set for a vocabulary of v tokens.
func NewMask(v int) Mask { return make(Mask, (v+63)/64) }

// Has reports whether id is in the set.
func (m Mask) Has(id int32) bool { return id >= 0 && int(id)>>6 < len(m) && m[id>>6]>>(id&63)&1 != 0 }

// Set puts id into the set.
func (m Mask) Set(id int32) { m[id>>6] |= 1 << (id & 63) }

// Count is how many ids below v are in the set.
func (m Mask) Count(v int) int {
	n := 0
	for i := range min(len(m), (v+63)/64) {
		n += bits.OnesCount64(m.word(i, v))
	}
	return n
}

// word is the i-th word without ids from v on. A mask may be short: what it does not have is not in the set.
func (m Mask) word(i, v int) uint64 {
	if i >= len(m) {
		return 0
	}
	w := m[i]
	if rest := v - i*64; rest < 64 {
		w &= 1<<rest - 1
	}
	return w
}
