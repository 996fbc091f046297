package tokenizer

import (
	"strings"
	"sync"
	"unicode/utf8"
)

// bpe is the byte pair encoding model: a text starts as one symbol per byte
// (byte-level) or per character, and the pair of the lowest rank is merged until
// no pair of neighbours is in the table.
type bpe struct {
	tokens   []string         // by id; byte-level: raw bytes. "" where no token has the id
	vocab    map[string]int32 // the inverse of tokens
	literals map[string]int32 // byte-level: tokens spelled outside the byte table, which no text reaches
	merges   *mergeTable

	byteLevel    bool
	byteFallback bool // characters outside the vocabulary become <0x..> tokens
	ignoreMerges bool // a word that is itself a token needs no merges (Llama 3)
	fuseUnknown  bool
	unknown      int32 // -1: characters outside the vocabulary are dropped

	prefix, suffix string // of a symbol that does not begin, or ends, a word; mostly ""

	byteID  [256]int32 // byte-level: token of one byte; otherwise token <0x..>; -1 none
	lowRune []int32    // token of a character below len, -1 none
	runeID  map[rune]int32

	// glued holds the characters x for which some merge makes a token that
	// contains x+"▁". Between any other x and a ▁ a text may be cut without
	// changing its ids, which keeps vocabularies without a pre-tokenizer fast.
	// nil: never cut.
	glued map[rune]bool

	scratch sync.Pool // *mergeScratch
	mu      sync.RWMutex
	words   map[string][]int32 // ids of short words seen before
}

// The word cache: words up to maxWord bytes, at most maxWords of them.
const maxWord, maxWords = 64, 1 << 16

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
	id, ok := m.vocab[token]
	return id, ok
}

// token is the inverse of id.
func (m *bpe) token(id int32) (string, bool) {
	if id < 0 || int(id) >= len(m.tokens) || m.tokens[id] == "" {
		return "", false
	}
	s := m.tokens[id]
	if !m.byteLevel {
		return s, true
	}
	if lit, ok := m.literals[s]; ok && lit == id {
		return s, true
	}
	return byteLevelText(s), true
}

// encodeChunks appends the ids of one pre-token, cut where no merge can cross.
func (m *bpe) encodeChunks(dst []int32, w string) []int32 {
	if m.glued == nil {
		return m.encode(dst, w)
	}
	start, prev := 0, rune(-1)
	for i, r := range w {
		if r == spaceMark && prev >= 0 && prev != spaceMark && !m.glued[prev] {
			dst = m.encode(dst, w[start:i])
			start = i
		}
		prev = r
	}
	return m.encode(dst, w[start:])
}

// encode appends the ids of w.
func (m *bpe) encode(dst []int32, w string) []int32 {
	if w == "" {
		return dst
	}
	if m.ignoreMerges {
		if id, ok := m.vocab[w]; ok {
			return append(dst, id)
		}
	}
	if len(w) > maxWord {
		return m.merge(dst, w)
	}
	m.mu.RLock()
	ids, ok := m.words[w]
	m.mu.RUnlock()
	if ok {
		return append(dst, ids...)
	}
	n := len(dst)
	dst = m.merge(dst, w)
	ids = append([]int32(nil), dst[n:]...)
	m.mu.Lock()
	if len(m.words) < maxWords {
		m.words[strings.Clone(w)] = ids
	}
	m.mu.Unlock()
	return dst
}

// merge appends the ids of w without looking at the cache.
func (m *bpe) merge(dst []int32, w string) []int32 {
	k, _ := m.scratch.Get().(*mergeScratch)
	if k == nil {
		k = new(mergeScratch)
	}
	ids := m.symbols(k.ids[:0], w)
	k.ids = ids
	if len(ids) <= maxScan {
		dst = m.merges.scan(k, dst, ids)
	} else {
		dst = m.merges.heap(k, dst, ids)
	}
	m.scratch.Put(k)
	return dst
}

// symbols appends the first symbols of w. What the vocabulary lacks becomes the
// unknown token (one for a run of them when fuseUnknown), or nothing without one.
func (m *bpe) symbols(ids []int32, w string) []int32 {
	if m.prefix+m.suffix != "" {
		for _, s := range m.lengthSymbols(w) {
			ids = append(ids, s.id)
		}
		return ids
	}
	unknown := false
	flush := func() {
		if unknown {
			ids = append(ids, m.unknown)
			unknown = false
		}
	}
	for i := 0; i < len(w); {
		id, n := int32(-1), 1
		if m.byteLevel {
			id = m.byteID[w[i]]
		} else {
			var r rune
			r, n = decodeRune(w, i)
			if r != utf8.RuneError || n > 1 {
				id = m.symbol(r)
			}
		}
		switch {
		case id >= 0:
			flush()
			ids = append(ids, id)
		case m.hasBytes(w[i : i+n]):
			// As in HF, bytes do not flush a pending unknown token.
			for _, b := range []byte(w[i : i+n]) {
				ids = append(ids, m.byteID[b])
			}
		case m.unknown >= 0:
			if !m.fuseUnknown {
				flush()
			}
			unknown = true
		}
		i += n
	}
	flush()
	return ids
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

// symbol returns the token of one character, -1 without one.
func (m *bpe) symbol(r rune) int32 {
	if int(r) < len(m.lowRune) {
		return m.lowRune[r]
	}
	if id, ok := m.runeID[r]; ok {
		return id
	}
	return -1
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
