package sample

// Mask is a set of tokens, bit i%64 of word i/64 for id i. It has (V+63)/64 words for a vocabulary of V.
type Mask []uint64

// NewMask returns an empty set for a vocabulary of v tokens.
func NewMask(v int) Mask { return make(Mask, (v+63)/64) }

// Has reports whether id is in the set.
func (m Mask) Has(id int32) bool { return id >= 0 && int(id)>>6 < len(m) && m[id>>6]>>(id&63)&1 != 0 }

// Set puts id into the set.
func (m Mask) Set(id int32) { m[id>>6] |= 1 << (id & 63) }
