package tokenizer

import (
	"bytes"
	"fmt"
	"slices"
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
	if err := m.setAffixes(j); err != nil {
		return nil, err
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
	m.spellsAll = m.byteFallback && slices.Min(m.byteID[:]) >= 0
	for id := range m.vocab.size() {
		token := m.vocab.token(int32(id))
		if r, n := utf8.DecodeRuneInString(token); n > 0 && n == len(token) {
			m.runes.set(r, m.vocab.id(token))
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
	var err error
	if m.merges, err = newMergeTable(count, m.vocab.size()); err != nil {
		return err
	}
	// Cutting a text is exact only if no word is looked up as a whole and no
	// symbol depends on its place in the word.
	if !m.byteLevel && !m.ignoreMerges && m.prefix == "" && m.suffix == "" {
		m.joins = newCharPairs(count)
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
			ia, ib := m.vocab.idOf(a), m.vocab.idOf(b)
			m.noteJoin(ia, ib, a, b)
			if m.prefix != "" {
				n := utf8.RuneCountInString(m.prefix) // as in HF
				if len(b) < n {
					return fmt.Errorf("merge %d of %q and %q: the second lacks continuing_subword_prefix %q", rank, left, right, m.prefix)
				}
				product = append(product[:len(a)], product[len(a)+n:]...)
			}
			ic := m.vocab.idOf(product)
			if ia < 0 || ib < 0 || ic < 0 {
				return fmt.Errorf("merge %d of %q and %q: a token is not in the vocabulary", rank, left, right)
			}
			m.merges.put(ia, ib, rank, ic)
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

// noteJoin records which characters the merge of a and b brings together.
func (m *bpe) noteJoin(ia, ib int32, a, b []byte) {
	if m.joins == nil {
		return
	}
	if m.standsIn(ia) || m.standsIn(ib) {
		m.joins = nil // a token is spelled with other characters than it stands for
		return
	}
	x, _ := utf8.DecodeLastRune(a)
	y, _ := utf8.DecodeRune(b)
	m.joins.add(x, y)
}

// standsIn tells whether id is the unknown token or one of byte fallback.
func (m *bpe) standsIn(id int32) bool {
	if id == m.unknown {
		return true
	}
	b, ok := byteToken(m.vocab.token(id))
	return ok && m.byteFallback && m.byteID[b] == id
}
