package tokenizer

import (
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
