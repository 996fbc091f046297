package tokenizer

import (
	"fmt"
	"hash/maphash"
	"math"
	"math/bits"
)

// maxID bounds the ids of a vocabulary of n tokens. Ids have gaps in some
// vocabularies, but a file of a few bytes must not make us allocate gigabytes.
func maxID(n int) int { return max(4*n, 1<<20) }

// vocabulary maps tokens to ids and back in four allocations, however many tokens
// there are: a map[string]int32 and a []string take three times the memory, and
// the time of the garbage collector. It is complete before it is read.
type vocabulary struct {
	text   string       // all tokens, one after the other
	tokens []tokenRange // of text, by id; empty where no token has the id
	slots  []uint32     // hash table: some bits of the hash | id+1; 0: empty
	idBits uint
	seed   maphash.Seed
}

type tokenRange struct{ start, end uint32 }

// vocabularyEntry is a token while a vocabulary is read; tokens come one after the
// other, each ends where the next begins.
type vocabularyEntry struct {
	end    uint32 // in the text
	id     int32
	hidden bool // has an id, but is not found by its text
}

// newVocabulary makes a vocabulary of the tokens that text is cut into; of several
// ids of one token the last counts.
func newVocabulary(text []byte, entries []vocabularyEntry) (*vocabulary, error) {
	largest := int32(-1)
	for _, e := range entries {
		largest = max(largest, e.id)
	}
	if limit := maxID(len(entries)); int(largest) > limit {
		return nil, fmt.Errorf("id %d in a vocabulary of %d tokens; want at most %d", largest, len(entries), limit)
	}
	if uint64(len(text)) > math.MaxUint32 {
		return nil, fmt.Errorf("%d bytes of tokens; want at most %d", len(text), uint32(math.MaxUint32))
	}
	log := uint(4)
	for len(entries)*5 > 3<<log { // at most 0.6 full
		log++
	}
	v := &vocabulary{
		text:   string(text),
		tokens: make([]tokenRange, largest+1),
		slots:  make([]uint32, 1<<log),
		idBits: uint(bits.Len(uint(largest + 1))),
		seed:   maphash.MakeSeed(),
	}
	start := uint32(0)
	for _, e := range entries {
		v.tokens[e.id] = tokenRange{start, e.end}
		if !e.hidden {
			v.put(e.id, v.text[start:e.end])
		}
		start = e.end
	}
	return v, nil
}

func (v *vocabulary) put(id int32, token string) {
	h := maphash.String(v.seed, token)
	mask := uint64(len(v.slots) - 1)
	tag := uint32(h>>32) &^ (1<<v.idBits - 1)
	for ; ; h++ {
		s := v.slots[h&mask]
		if s == 0 || s&^(1<<v.idBits-1) == tag && v.token(int32(s&(1<<v.idBits-1))-1) == token {
			v.slots[h&mask] = tag | uint32(id+1)
			return
		}
	}
}

// size is the largest id + 1.
func (v *vocabulary) size() int { return len(v.tokens) }

// token returns the token of an id, "" where there is none.
func (v *vocabulary) token(id int32) string {
	if id < 0 || int(id) >= len(v.tokens) {
		return ""
	}
	t := v.tokens[id]
	return v.text[t.start:t.end]
}

// id returns the id of a token, -1 where there is none.
func (v *vocabulary) id(token string) int32 {
	return findToken(v, maphash.String(v.seed, token), token)
}

// idOf is id of bytes.
func (v *vocabulary) idOf(token []byte) int32 {
	return findToken(v, maphash.Bytes(v.seed, token), token)
}

func findToken[T string | []byte](v *vocabulary, h uint64, token T) int32 {
	mask := uint64(len(v.slots) - 1)
	low := uint32(1)<<v.idBits - 1
	tag := uint32(h>>32) &^ low
	for ; ; h++ {
		s := v.slots[h&mask]
		if s == 0 {
			return -1
		}
		if s&^low == tag {
			if t := v.tokens[s&low-1]; v.text[t.start:t.end] == string(token) {
				return int32(s&low) - 1
			}
		}
	}
}

// runeIDs holds a token for each character: pages of 256 for those below U+10000,
// which texts are made of, a map for the rest.
type runeIDs struct {
	pages [256]*[256]int32 // id+1; nil: none
	high  map[rune]int32
}

// set gives r the token id, which is not negative.
func (t *runeIDs) set(r rune, id int32) {
	if r >= 1<<16 {
		if t.high == nil {
			t.high = map[rune]int32{}
		}
		t.high[r] = id
		return
	}
	if t.pages[r>>8] == nil {
		t.pages[r>>8] = new([256]int32)
	}
	t.pages[r>>8][r&255] = id + 1
}

// get returns -1 for a character without a token.
func (t *runeIDs) get(r rune) int32 {
	if uint32(r) < 1<<16 {
		if p := t.pages[r>>8]; p != nil {
			return p[r&255] - 1
		}
		return -1
	}
	if id, ok := t.high[r]; ok {
		return id
	}
	return -1
}

// charPairs is a set of pairs of characters that may claim to have more: a row of
// bits, found by a hash.
type charPairs struct {
	bits  []uint64
	shift uint
}

// newCharPairs makes a set for the pairs of n merges, among which each pair comes
// about three times.
func newCharPairs(n int) *charPairs {
	log := uint(10)
	for n > 1<<(log-2) {
		log++
	}
	return &charPairs{make([]uint64, 1<<(log-6)), 64 - log}
}

func (p *charPairs) hash(x, y rune) uint64 {
	return (uint64(x)<<21 | uint64(y)) * 0x9E3779B97F4A7C15 >> p.shift
}

func (p *charPairs) add(x, y rune) { h := p.hash(x, y); p.bits[h>>6] |= 1 << (h & 63) }

func (p *charPairs) has(x, y rune) bool { h := p.hash(x, y); return p.bits[h>>6]>>(h&63)&1 != 0 }
