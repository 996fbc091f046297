package tokenizer

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// buildModel reads the vocabulary and the merges.
func buildModel(j *modelJSON, byteLevel bool) (*bpe, error) {
	m := &bpe{
		byteLevel:    byteLevel,
		byteFallback: j.ByteFallback,
		ignoreMerges: j.IgnoreMerges,
		fuseUnknown:  j.FuseUnknown,
		unknown:      -1,
	}
	if err := m.readVocab(j.vocab); err != nil {
		return nil, fmt.Errorf("model.vocab: %w", err)
	}
	if j.Unknown != nil {
		if id, ok := m.id(*j.Unknown); ok {
			m.unknown = id
		}
	}
	m.index()
	if err := m.readMerges(j.merges); err != nil {
		return nil, fmt.Errorf("model.merges: %w", err)
	}
	return m, nil
}

// readVocab fills vocab and literals.
func (m *bpe) readVocab(raw []byte) error {
	m.literals = map[string]int32{}
	var text []byte
	// A token and its id are seven bytes and more in nearly all vocabularies.
	entries := make([]vocabularyEntry, 0, len(raw)/12)
	s := &jsonScanner{b: raw}
	err := s.object(func(token []byte) error {
		ok, start := true, len(text)
		if m.byteLevel {
			text, ok = appendByteLevel(text, token)
		} else {
			text = append(text, token...)
		}
		id, err := s.id()
		if err != nil {
			return err
		}
		if !ok {
			m.literals[string(text[start:])] = int32(id)
		}
		entries = append(entries, vocabularyEntry{uint32(len(text)), int32(id), !ok})
		return nil
	})
	if err != nil {
		return err
	}
	m.vocab, err = newVocabulary(text, entries)
	return err
}

// index finds the tokens of single bytes and characters; a vocabulary may lack
// some. It comes after vocab is set and before merges are added.
func (m *bpe) index() {
	for b := range 256 {
		token := string([]byte{byte(b)})
		if !m.byteLevel {
			token = fmt.Sprintf("<0x%02X>", b)
		}
		m.byteID[b] = m.vocab.id(token)
	}
	if m.byteLevel {
		return
	}
	for id := range m.vocab.size() {
		token := m.vocab.token(int32(id))
		if r, n := utf8.DecodeRuneInString(token); n > 0 && n == len(token) {
			m.runes.set(r, m.vocab.id(token))
		}
	}
	// Cutting a text is exact only if ▁ is a symbol of its own, and if no whole
	// word is looked up first.
	if m.runes.get(spaceMark) >= 0 && !m.ignoreMerges {
		m.glued = &runeIDs{}
	}
}

// readMerges fills the merge table. A merge is "a b" or ["a", "b"].
func (m *bpe) readMerges(raw []byte) error {
	count := 0
	counter := &jsonScanner{b: raw}
	if err := counter.array(func() error { count++; _, err := counter.skip(); return err }); err != nil {
		return err
	}
	var err error
	if m.merges, err = newMergeTable(count, m.vocab.size()); err != nil {
		return err
	}
	s := &jsonScanner{b: raw}
	var left, right, product []byte
	rank := uint32(0)
	return s.array(func() error {
		var err error
		if left, right, err = readMerge(s, left, right); err != nil {
			return err
		}
		a, b, ok := left, right, true
		product = product[:0]
		if m.byteLevel {
			var ok2 bool
			product, ok = appendByteLevel(product, left)
			n := len(product)
			product, ok2 = appendByteLevel(product, right)
			a, b = product[:n], product[n:]
			ok = ok && ok2 // no text reaches tokens outside the byte table
		} else {
			product = append(append(product, left...), right...)
		}
		if ok {
			ia, ib, ic := m.vocab.idOf(a), m.vocab.idOf(b), m.vocab.idOf(product)
			if ia < 0 || ib < 0 || ic < 0 {
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
	for i := 1; i+2 < len(product); i++ {
		if product[i] == spaceMark0 && product[i+1] == spaceMark1 && product[i+2] == spaceMark2 {
			if r, _ := utf8.DecodeLastRune(product[:i]); r != spaceMark {
				m.glued.set(r, 1)
			}
		}
	}
}
