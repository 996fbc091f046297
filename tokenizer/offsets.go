package tokenizer

import "unicode/utf8"

// Token is one id of an encoding with where it comes from. Start and End are byte
// offsets in the text given (in its own text for a pair), always at the bounds of
// characters: tokens that are parts of one character all have its range. Both are 0
// when the post-processor added the token.
type Token struct {
	ID         int32
	Type       uint8 // 0: of the first text, 1: of the second; a template may say otherwise
	Special    bool  // added by the post-processor
	Start, End int
}

// EncodeTokens returns the ids of Encode with their offsets: those of Hugging
// Face's tokenizers, counted in bytes. They tell what normalization made a token
// of, so they may leave gaps (a space that was dropped) and overlap (a character
// that became several), and a composed character has the range of its first part.
func (t *Tokenizer) EncodeTokens(text string, addSpecial bool) []Token {
	return public(t.process([][]token{t.tokens(text)}, addSpecial, [2]string{text}))
}

// EncodePair encodes two texts together, as the post-processor's template for pairs
// says; without a post-processor one follows the other.
func (t *Tokenizer) EncodePair(text, pair string, addSpecial bool) []Token {
	return public(t.process([][]token{t.tokens(text), t.tokens(pair)}, addSpecial, [2]string{text, pair}))
}

func public(tokens []token) []Token {
	out := make([]Token, len(tokens))
	for i, tk := range tokens {
		out[i] = tk.Token
	}
	return out
}

// tokens returns the tokens of one text before post-processing.
func (t *Tokenizer) tokens(text string) []token {
	out := make([]token, 0, len(text)/3+1)
	var pieces []piece
	t.walk(text, true, func(p part, tok *addedToken) {
		if tok != nil {
			tk := token{Token: Token{ID: tok.ID}}
			if n := len(p.from); n > 0 {
				tk.Start, tk.End = p.from[0].start, p.from[n-1].end
			}
			if t.trims {
				tk.countSpaces(p.text)
			}
			out = append(out, tk)
			return
		}
		pieces = t.model.appendPieces(pieces[:0], p.text)
		if m, ok := t.model.(*bpe); ok && m.byteLevel {
			t.closeGaps(pieces, p.text)
		}
		for _, x := range pieces {
			tk := token{Token: Token{ID: x.id}}
			tk.Start, tk.End = p.origin(text, x.start, x.end)
			if t.trims {
				tk.countSpaces(t.spelling(x, p.text))
			}
			out = append(out, tk)
		}
	})
	return out
}

// closeGaps gives the pieces of a byte-level vocabulary that lacks bytes the ranges
// of Hugging Face's tokenizers, which count what the model gave from the front of
// the word, in the spelling of the byte table, as if nothing were missing.
func (t *Tokenizer) closeGaps(pieces []piece, w string) {
	total := 0
	for _, x := range pieces {
		total += x.end - x.start
	}
	if total == len(w) {
		return
	}
	var at []int // the byte of w for each byte of its spelling
	for i := range len(w) {
		at = append(at, i)
		if byteRune[w[i]] >= utf8.RuneSelf {
			at = append(at, i)
		}
	}
	pos := 0
	for i := range pieces {
		s, _ := t.model.token(pieces[i].id)
		start, end := pos, pos+len(s)
		if pos = end; s != "" && end <= len(at) {
			pieces[i].start, pieces[i].end = at[start], at[end-1]+1
		}
	}
}

// origin returns where in text the bytes from start to end of a part come from.
func (p part) origin(text string, start, end int) (int, int) {
	switch {
	case start == end && len(p.from) > 0:
		start += p.from[0].start
		end = start
	case start >= 0 && start < end && end <= len(p.from):
		return p.from[start].start, p.from[end-1].end
	}
	// A piece of what is not in the text (see piece) has its range in the part as
	// it is, like in Hugging Face's tokenizers: a place in the text by accident.
	start = charStart(text, start)
	return start, max(start, charStart(text, end))
}

// charStart returns where the character that byte i of s belongs to begins.
func charStart(s string, i int) int {
	if i < 0 || i >= len(s) {
		return max(0, min(i, len(s)))
	}
	for k := 0; k < utf8.UTFMax && i-k >= 0; k++ {
		if utf8.RuneStart(s[i-k]) {
			if _, n := decodeRune(s, i-k); n > k {
				return i - k
			}
			break
		}
	}
	return i
}

// spelling returns the text of a token that white space is counted in.
func (t *Tokenizer) spelling(x piece, w string) string {
	s, _ := t.model.token(x.id)
	if _, ok := t.model.(*unigram); ok && x.end <= len(w) {
		if _, isByte := byteToken(s); !isByte {
			return w[x.start:x.end] // also of the unknown token
		}
	}
	return s
}
