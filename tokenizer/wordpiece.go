package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// A words table is a vocabulary with its inverse.
type words struct {
	tokens []string // by id; "" where no token has the id
	known  []bool
	vocab  map[string]int32
}

// readWords reads {"the": 17, …}. All strings share one allocation.
func readWords(raw []byte) (words, error) {
	type entry struct{ end, id int }
	var (
		w       words
		text    strings.Builder
		entries []entry
		largest = -1
	)
	s := &jsonScanner{b: raw}
	err := s.object(func(token []byte) error {
		text.Write(token)
		id, err := s.id()
		if err != nil {
			return err
		}
		largest = max(largest, id)
		entries = append(entries, entry{text.Len(), id})
		return nil
	})
	if err != nil {
		return w, fmt.Errorf("vocab: %w", err)
	}
	if limit := maxID(len(entries)); largest > limit {
		return w, fmt.Errorf("vocab: id %d in a vocabulary of %d tokens; want at most %d", largest, len(entries), limit)
	}
	w.tokens, w.known = make([]string, largest+1), make([]bool, largest+1)
	w.vocab = make(map[string]int32, len(entries))
	all, start := text.String(), 0
	for _, e := range entries {
		token := all[start:e.end]
		start = e.end
		w.tokens[e.id], w.known[e.id] = token, true
		w.vocab[token] = int32(e.id)
	}
	return w, nil
}

// id implements model.
func (w *words) id(token string) (int32, bool) {
	id, ok := w.vocab[token]
	return id, ok
}

// token implements model.
func (w *words) token(id int32) (string, bool) {
	if id < 0 || int(id) >= len(w.tokens) || !w.known[id] {
		return "", false
	}
	return w.tokens[id], true
}

// size implements model.
func (w *words) size() int { return len(w.tokens) }

// count is the number of tokens, which is less than size where ids have gaps.
func (w *words) count() int { return len(w.vocab) }

// wordLevel is a vocabulary of whole words. A word it lacks is the unknown token;
// without one it is left out, where Hugging Face's tokenizers give an error.
type wordLevel struct {
	words
	unknown int32 // -1: none
}

func newWordLevel(j *modelJSON, _ bool) (model, error) {
	w, err := readWords(j.vocab)
	if err != nil {
		return nil, err
	}
	return &wordLevel{w, w.idOr(or(j.Unknown, "<unk>"), -1)}, nil
}

func (w *words) idOr(token string, otherwise int32) int32 {
	if id, ok := w.vocab[token]; ok {
		return id
	}
	return otherwise
}

// appendIDs implements model.
func (m *wordLevel) appendIDs(dst []int32, w string) []int32 {
	if id := m.idOr(w, m.unknown); id >= 0 && w != "" {
		dst = append(dst, id)
	}
	return dst
}

// appendPieces implements model.
func (m *wordLevel) appendPieces(dst []piece, w string) []piece {
	if id := m.idOr(w, m.unknown); id >= 0 && w != "" {
		dst = append(dst, piece{id, 0, len(w)})
	}
	return dst
}

// wordPiece is BERT's model: the longest token that begins a word, then the longest
// that goes on, …; the whole word is unknown when that does not come out even.
type wordPiece struct {
	words
	inner    map[string]int32 // tokens that go on in a word, without their prefix
	unknown  int32            // -1: none, unknown words are left out
	maxChars int              // longer words are unknown
	maxFirst int              // bytes of the longest token, and of the longest that goes on
	maxInner int
}

func newWordPiece(j *modelJSON, _ bool) (model, error) {
	w, err := readWords(j.vocab)
	if err != nil {
		return nil, err
	}
	m := &wordPiece{words: w, maxChars: 100, unknown: w.idOr(or(j.Unknown, "[UNK]"), -1)}
	if j.MaxChars != nil {
		if m.maxChars = *j.MaxChars; m.maxChars < 0 {
			return nil, errors.New("max_input_chars_per_word is negative")
		}
	}
	prefix := or(j.Prefix, "##")
	m.inner = map[string]int32{}
	for token, id := range w.vocab {
		m.maxFirst = max(m.maxFirst, len(token))
		if rest, ok := strings.CutPrefix(token, prefix); ok {
			m.inner[rest] = id
			m.maxInner = max(m.maxInner, len(rest))
		}
	}
	return m, nil
}

// each calls f with the pieces of w.
func (m *wordPiece) each(w string, f func(piece)) {
	if w == "" {
		return
	}
	unknown := func() {
		if m.unknown >= 0 {
			f(piece{m.unknown, 0, len(w)})
		}
	}
	if len(w) > m.maxChars && charCount(w) > m.maxChars {
		unknown()
		return
	}
	var found [32]piece
	pieces := found[:0]
	table, longest := m.vocab, m.maxFirst
	for start := 0; start < len(w); {
		end := min(len(w), start+longest)
		for end > start && end < len(w) && !utf8.RuneStart(w[end]) {
			end--
		}
		id, ok := int32(-1), false
		for end > start {
			if id, ok = table[w[start:end]]; ok {
				break
			}
			_, n := utf8.DecodeLastRuneInString(w[start:end])
			end -= n
		}
		if !ok {
			unknown()
			return
		}
		pieces = append(pieces, piece{id, start, end})
		start = end
		table, longest = m.inner, m.maxInner
	}
	for _, p := range pieces {
		f(p)
	}
}

// appendIDs implements model.
func (m *wordPiece) appendIDs(dst []int32, w string) []int32 {
	m.each(w, func(p piece) { dst = append(dst, p.id) })
	return dst
}

// appendPieces implements model.
func (m *wordPiece) appendPieces(dst []piece, w string) []piece {
	m.each(w, func(p piece) { dst = append(dst, p) })
	return dst
}
