package tokenizer

import (
	"sync"
	"unicode/utf8"
)

// bpe is the byte pair encoding model: a text starts as one symbol per byte
// (byte-level) or per character, and the pair of the lowest rank is merged until
// no pair of neighbours is in the table.
type bpe struct {
	vocab    *vocabulary      // byte-level: tokens are raw bytes
	literals map[string]int32 // byte-level: tokens spelled outside the byte table, which no text reaches
	merges   *mergeTable

	byteLevel    bool
	byteFallback bool // characters outside the vocabulary become <0x..> tokens
	ignoreMerges bool // a word that is itself a token needs no merges (Llama 3)
	fuseUnknown  bool
	unknown      int32 // -1: characters outside the vocabulary are dropped

	byteID [256]int32 // byte-level: token of one byte; otherwise token <0x..>; -1 none
	runes  runeIDs    // otherwise: token of one character

	// joins holds the characters that some merge brings together. Between any other
	// two a text may be cut without changing its ids, so that vocabularies without
	// a pre-tokenizer find their words in the cache. nil: never cut.
	joins     *charPairs
	spellsAll bool // every character is in the vocabulary, as bytes if need be

	prefix, suffix string // of a symbol that does not begin, or ends, a word; mostly ""

	words   wordCache
	scratch sync.Pool // *mergeScratch
}

// spaceMark stands for a space in SentencePiece vocabularies.
const spaceMark = '▁'

// id looks a token up by its spelling in tokenizer.json.
func (m *bpe) id(token string) (int32, bool) {
	if m.byteLevel {
		raw, ok := byteLevelBytes([]byte(token))
		if !ok {
			id, ok := m.literals[token]
			return id, ok
		}
		token = string(raw)
	}
	id := m.vocab.id(token)
	return max(id, 0), id >= 0
}

// token is the inverse of id.
func (m *bpe) token(id int32) (string, bool) {
	s := m.vocab.token(id)
	if s == "" || !m.byteLevel {
		return s, s != ""
	}
	if lit, ok := m.literals[s]; ok && lit == id {
		return s, true
	}
	return byteLevelText(s), true
}

// size implements model.
func (m *bpe) size() int { return m.vocab.size() }

// appendIDs implements model: w is cut where no merge can cross.
func (m *bpe) appendIDs(dst []int32, w string) []int32 {
	if m.joins == nil {
		return m.encode(dst, w)
	}
	start, last, prev := 0, 0, rune(-1) // last: where prev begins
	for i := 0; i < len(w); {
		r, n := decodeRune(w, i)
		if i > 0 && !m.joins.has(prev, r) && (m.spellsAll || m.runes.get(prev) >= 0 && m.runes.get(r) >= 0) {
			dst = m.encodeChunk(dst, w[start:i], start == last, prev)
			start = i
		}
		last, prev = i, r
		i += n
	}
	return m.encodeChunk(dst, w[start:], start == last, prev)
}

// encodeChunk is encode; with single, w is the character r.
func (m *bpe) encodeChunk(dst []int32, w string, single bool, r rune) []int32 {
	if single && (r != utf8.RuneError || len(w) > 1) {
		if id := m.runes.get(r); id >= 0 {
			return append(dst, id)
		}
	}
	return m.encode(dst, w)
}

// encode appends the ids of w.
func (m *bpe) encode(dst []int32, w string) []int32 {
	switch {
	case w == "":
		return dst
	case len(w) > maxWord:
		if m.ignoreMerges {
			if id := m.vocab.id(w); id >= 0 {
				return append(dst, id)
			}
		}
		return m.merge(dst, w)
	case len(w) == 1 && m.byteLevel && m.byteID[w[0]] >= 0:
		return append(dst, m.byteID[w[0]])
	}
	key := newWordKey(w)
	dst, ok := m.words.appendIDs(dst, &key)
	if ok {
		return dst
	}
	n := len(dst)
	if id := int32(-1); m.ignoreMerges {
		if id = m.vocab.id(w); id >= 0 {
			dst = append(dst, id)
		}
	}
	if len(dst) == n {
		dst = m.merge(dst, w)
	}
	m.words.put(&key, dst[n:])
	return dst
}

// merge appends the ids of w without looking at the cache.
func (m *bpe) merge(dst []int32, w string) []int32 {
	k := m.getScratch()
	m.symbols(k, w)
	k.row = m.merges.windows(k, k.row[:0], k.ids)
	for i := range k.row {
		dst = append(dst, k.row[i].id)
	}
	m.putScratch(k)
	return dst
}

func (m *bpe) getScratch() *mergeScratch {
	if k, _ := m.scratch.Get().(*mergeScratch); k != nil {
		return k
	}
	return new(mergeScratch)
}

// maxScratch is the symbols of the longest text whose memory is kept for the next.
const maxScratch = 1 << 16

func (m *bpe) putScratch(k *mergeScratch) {
	if cap(k.ids) <= maxScratch && cap(k.row) <= maxScratch && cap(k.next) <= maxScratch {
		m.scratch.Put(k)
	}
}

// appendPieces implements model. As in Hugging Face, what no symbol stands for
// takes no place, so that what follows it moves forward, and each byte of byte
// fallback is a byte of the text.
func (m *bpe) appendPieces(dst []piece, w string) []piece {
	if w == "" {
		return dst
	}
	if m.ignoreMerges {
		if id := m.vocab.id(w); id >= 0 {
			return append(dst, piece{id, 0, len(w)})
		}
	}
	k := m.getScratch()
	m.symbols(k, w)
	k.row = m.merges.windows(k, k.row[:0], k.ids)
	symbol, at := 0, 0
	for i, s := range k.row {
		start := at
		for n := length(k.row, i, len(k.ids)); n > 0; n-- {
			at += int(k.lens[symbol])
			symbol++
		}
		dst = append(dst, piece{s.id, start, at})
	}
	m.putScratch(k)
	return dst
}

// symbols sets ids and lens of k to the first symbols of w and their bytes. What
// the vocabulary lacks becomes the unknown token (one for a run of them when
// fuseUnknown), or nothing without one.
func (m *bpe) symbols(k *mergeScratch, w string) {
	affixes := m.prefix != "" || m.suffix != ""
	ids, lens := k.ids[:0], k.lens[:0]
	if cap(ids) < len(w) {
		ids, lens = make([]int32, 0, len(w)), make([]int32, 0, len(w))
	}
	unknown := int32(0) // bytes of an unknown token that is not yet in ids
	for i := 0; i < len(w); {
		id, n := int32(-1), 1
		spelled := ""
		if affixes {
			n, spelled = m.affixed(w, i)
			id = m.vocab.id(spelled)
		} else if m.byteLevel {
			id = m.byteID[w[i]]
		} else {
			var r rune
			r, n = decodeRune(w, i)
			if r != utf8.RuneError || n > 1 {
				id = m.runes.get(r)
			}
		}
		if !affixes {
			spelled = w[i : i+n]
		}
		switch {
		case id >= 0:
			if unknown > 0 {
				ids, lens = append(ids, m.unknown), append(lens, unknown)
				unknown = 0
			}
			ids, lens = append(ids, id), append(lens, int32(n))
		case m.hasBytes(spelled):
			// As in HF, bytes do not flush a pending unknown token.
			for _, b := range []byte(spelled) {
				ids, lens = append(ids, m.byteID[b]), append(lens, 1)
			}
		case m.unknown >= 0:
			if unknown > 0 && !m.fuseUnknown {
				ids, lens = append(ids, m.unknown), append(lens, unknown)
				unknown = 0
			}
			unknown += int32(n)
		}
		i += n
	}
	if unknown > 0 {
		ids, lens = append(ids, m.unknown), append(lens, unknown)
	}
	k.ids, k.lens = ids, lens
}

// affixed returns the bytes of the first symbol at byte i of w, and its token: in
// vocabularies with affixes symbols differ by their place in the word.
func (m *bpe) affixed(w string, i int) (n int, token string) {
	_, n = decodeRune(w, i)
	token = w[i : i+n]
	if i > 0 {
		token = m.prefix + token
	}
	if i+n == len(w) {
		token += m.suffix
	}
	return n, token
}

// hasBytes tells whether byte fallback can spell s.
func (m *bpe) hasBytes(s string) bool {
	if !m.byteFallback || m.byteLevel {
		return false
	}
	for i := 0; i < len(s); i++ {
		if m.byteID[s[i]] < 0 {
			return false
		}
	}
	return true
}

// byteToken returns the byte that a byte fallback token "<0xE2>" stands for.
func byteToken(s string) (byte, bool) {
	if len(s) != 6 || s[:3] != "<0x" || s[5] != '>' {
		return 0, false
	}
	hi, ok1 := hexDigit(s[3])
	lo, ok2 := hexDigit(s[4])
	return hi<<4 | lo, ok1 && ok2
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}
