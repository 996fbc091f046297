package tokenizer

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxID bounds the ids of a vocabulary of n tokens. Ids have gaps in some
// vocabularies, but a file of a few bytes must not make us allocate gigabytes.
func maxID(n int) int { return max(4*n, 1<<20) }

// buildModel reads the vocabulary and the merges.
func buildModel(j *modelJSON, byteLevel bool) (*bpe, error) {
	m := &bpe{
		byteLevel:    byteLevel,
		byteFallback: j.ByteFallback,
		ignoreMerges: j.IgnoreMerges,
		fuseUnknown:  j.FuseUnknown,
		unknown:      -1,
		words:        map[string][]int32{},
		prefix:       or(j.Prefix, ""),
		suffix:       or(j.Suffix, ""),
	}
	if err := m.readVocab(j.vocab); err != nil {
		return nil, fmt.Errorf("model.vocab: %w", err)
	}
	if j.Unknown != nil {
		if id, ok := m.id(*j.Unknown); ok {
			m.unknown = id
		}
	}
	m.indexBytes()
	if !byteLevel {
		m.indexRunes()
		// Cutting a text is exact only if ▁ is a symbol of its own, and if no
		// whole word is looked up first.
		if m.symbol(spaceMark) >= 0 && !m.ignoreMerges && !j.hasAffix() {
			m.glued = map[rune]bool{}
		}
	}
	if err := m.readMerges(j.merges); err != nil {
		return nil, fmt.Errorf("model.merges: %w", err)
	}
	return m, nil
}

// readVocab fills tokens, vocab and literals. All strings share one allocation.
func (m *bpe) readVocab(raw []byte) error {
	type entry struct {
		end     int // of the token in text
		id      int
		literal bool
	}
	var text strings.Builder
	text.Grow(len(raw))
	entries := make([]entry, 0, bytes.Count(raw, []byte{':'}))
	s := &jsonScanner{b: raw}
	largest := -1
	err := s.object(func(token []byte) error {
		ok := true
		if m.byteLevel {
			token, ok = byteLevelBytes(token)
		}
		text.Write(token)
		id, err := s.id()
		if err != nil {
			return err
		}
		largest = max(largest, id)
		entries = append(entries, entry{text.Len(), id, !ok})
		return nil
	})
	if err != nil {
		return err
	}
	if limit := maxID(len(entries)); largest > limit {
		return fmt.Errorf("id %d in a vocabulary of %d tokens; want at most %d", largest, len(entries), limit)
	}
	m.tokens = make([]string, largest+1)
	m.vocab = make(map[string]int32, len(entries))
	m.literals = map[string]int32{}
	all, start := text.String(), 0
	for _, e := range entries {
		token := all[start:e.end]
		start = e.end
		m.tokens[e.id] = token
		if e.literal {
			m.literals[token] = int32(e.id)
		} else {
			m.vocab[token] = int32(e.id)
		}
	}
	return nil
}

// indexBytes finds the tokens of single bytes; a vocabulary may lack some.
func (m *bpe) indexBytes() {
	for b := range 256 {
		token := string([]byte{byte(b)})
		if !m.byteLevel {
			token = fmt.Sprintf("<0x%02X>", b)
		}
		m.byteID[b] = -1
		if id, ok := m.vocab[token]; ok {
			m.byteID[b] = id
		}
	}
}

// lowRunes is where the plane of most characters in vocabularies ends.
const lowRunes = 0x3400

// indexRunes finds the tokens of single characters.
func (m *bpe) indexRunes() {
	m.lowRune, m.runeID = make([]int32, lowRunes), map[rune]int32{}
	for i := range m.lowRune {
		m.lowRune[i] = -1
	}
	for token, id := range m.vocab {
		r, n := utf8.DecodeRuneInString(token)
		switch {
		case n == 0 || n != len(token):
		case r < lowRunes:
			m.lowRune[r] = id
		default:
			m.runeID[r] = id
		}
	}
}

// readMerges fills the merge table. A merge is "a b" or ["a", "b"].
func (m *bpe) readMerges(raw []byte) error {
	count := 0
	counter := &jsonScanner{b: raw}
	if err := counter.array(func() error { count++; _, err := counter.skip(); return err }); err != nil {
		return err
	}
	m.merges = newMergeTable(count)
	s := &jsonScanner{b: raw}
	var left, right, product []byte
	rank := uint32(0)
	return s.array(func() error {
		var err error
		if left, right, err = readMerge(s, left, right); err != nil {
			return err
		}
		a, b, ok := left, right, true
		if m.byteLevel {
			var ok1, ok2 bool
			a, ok1 = byteLevelBytes(left)
			b, ok2 = byteLevelBytes(right)
			ok = ok1 && ok2 // no text reaches tokens outside the byte table
		}
		if ok {
			if len(b) < len(m.prefix) {
				return fmt.Errorf("merge %d of %q and %q: the second does not begin with %q", rank, left, right, m.prefix)
			}
			product = append(append(product[:0], a...), b[len(m.prefix):]...)
			ia, ok1 := m.vocab[string(a)]
			ib, ok2 := m.vocab[string(b)]
			ic, ok3 := m.vocab[string(product)]
			if !ok1 || !ok2 || !ok3 {
				return fmt.Errorf("merge %d of %q and %q: a token is not in the vocabulary", rank, left, right)
			}
			m.merges.put(ia, ib, rank, ic)
			m.noteGlued(product)
		}
		rank++
		return nil
	})
}

// readMerge reads one merge into the memory of left and right.
func readMerge(s *jsonScanner, left, right []byte) ([]byte, []byte, error) {
	if !s.eat('[') {
		both, err := s.str()
		if err != nil {
			return left, right, err
		}
		i := bytes.IndexByte(both, ' ')
		if i < 0 {
			return left, right, fmt.Errorf("merge %q has no space", both)
		}
		return append(left[:0], both[:i]...), append(right[:0], both[i+1:]...), nil
	}
	a, err := s.str()
	if err != nil {
		return left, right, err
	}
	left = append(left[:0], a...)
	if !s.eat(',') {
		return left, right, s.malformed()
	}
	b, err := s.str()
	if err != nil {
		return left, right, err
	}
	right = append(right[:0], b...)
	if !s.eat(']') {
		return left, right, s.malformed()
	}
	return left, right, nil
}

// noteGlued records which characters a merge joins to a ▁ after them.
func (m *bpe) noteGlued(product []byte) {
	if m.glued == nil {
		return
	}
	prev := rune(-1)
	for i := 0; i < len(product); {
		r, n := utf8.DecodeRune(product[i:])
		if r == spaceMark && prev >= 0 && prev != spaceMark {
			m.glued[prev] = true
		}
		prev = r
		i += n
	}
}
