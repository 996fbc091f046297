package tokenizer

import "unicode/utf8"

// appendIDs implements model.
func (m *bpe) appendIDs(dst []int32, w string) []int32 { return m.encodeChunks(dst, w) }

// size implements model.
func (m *bpe) size() int { return len(m.tokens) }

// count is the number of tokens, which is less than size where ids have gaps.
func (m *bpe) count() int { return len(m.vocab) + len(m.literals) }

// appendPieces implements model. It merges the pair of the lowest rank first like
// merge, over symbols that know how many bytes they are; as in Hugging Face, what
// no symbol stands for takes no place, so that what follows it moves forward.
func (m *bpe) appendPieces(dst []piece, w string) []piece {
	if m.ignoreMerges {
		if id, ok := m.vocab[w]; ok && w != "" {
			return append(dst, piece{id, 0, len(w)})
		}
	}
	syms := m.lengthSymbols(w)
	ids := make([]int32, len(syms))
	for i, s := range syms {
		ids[i] = s.id
	}
	// heap leaves the id of each token where its first symbol was and -1 after it.
	m.merges.heap(new(mergeScratch), nil, ids)
	pos := 0
	for i := 0; i < len(syms); {
		start := pos
		pos += syms[i].end
		j := i + 1
		for ; j < len(syms) && ids[j] < 0; j++ {
			pos += syms[j].end
		}
		dst = append(dst, piece{ids[i], start, pos})
		i = j
	}
	return dst
}

// lengthSymbols is symbols with the number of bytes of each in end.
func (m *bpe) lengthSymbols(w string) []piece {
	var syms []piece
	unknown := 0 // bytes of the pending unknown token
	flush := func() {
		if unknown > 0 {
			syms = append(syms, piece{id: m.unknown, end: unknown})
			unknown = 0
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
		spelled := w[i : i+n]
		if m.prefix != "" && i > 0 {
			spelled = m.prefix + spelled
		}
		if m.suffix != "" && i+n == len(w) {
			spelled += m.suffix
		}
		if len(spelled) > n {
			id = -1
			if known, ok := m.vocab[spelled]; ok {
				id = known
			}
		}
		switch {
		case id >= 0:
			flush()
			syms = append(syms, piece{id: id, end: n})
		case m.hasBytes(spelled):
			for _, b := range []byte(spelled) {
				syms = append(syms, piece{id: m.byteID[b], end: 1})
			}
		case m.unknown >= 0:
			if !m.fuseUnknown {
				flush()
			}
			unknown += n
		}
		i += n
	}
	flush()
	return syms
}
