package training

import (
	"unicode"
	"unicode/utf8"
)

// safeCut returns the last place in b, 0 for none, where text may be cut such that
// the words of both parts are the words of the whole, whatever follows b: between a
// letter or number and a white space, a symbol or a punctuation mark that is no
// apostrophe.
//
// Why this is exact, for all expressions of tokenizer.Splitters:
//
//   - A word ends there. In each of their alternatives, what may follow a letter or
//     number within a match is a letter, a number, a mark or the apostrophe of a
//     contraction.
//   - The words before it do not change when the text ends there. They are found from
//     left to right, and what an alternative looks at behind its match is the next
//     character (is the run over?) or, for (?!\S), whether white space ends before the
//     text does. The last character before the cut is a letter or number, so that no
//     white space reaches the end, and a run that ends at the cut ends there in
//     the whole text too, as the character after it is of no class that continues it.
//   - The words after it do not depend on what is before: no expression looks back.
//
// Categories are those of Go, which are older than Unicode 16 of the splitters: a
// character that was a letter then is one now, and what was punctuation, a symbol or
// white space has not become a letter (the test goes through all of them).
func safeCut(b []byte) int {
	end := len(b)
	var next rune // the character at end
	for k := 0; end > 0; k++ {
		r, n := utf8.DecodeLastRune(b[:end])
		// What is cut off at the end of b may be the beginning of a character.
		if k > 0 && wordRune(r, n) && separates(next) {
			return end
		}
		next = r
		if r == utf8.RuneError && n == 1 {
			next = 0 // no character; U+FFFD itself is a symbol
		}
		end -= n
	}
	return 0
}

// wordRune is \p{L}|\p{N}, of a well-formed character.
func wordRune(r rune, n int) bool {
	if r < utf8.RuneSelf {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
	}
	return unicode.IsLetter(r) || unicode.IsNumber(r)
}

// separates says whether r after a letter or number ends a word.
func separates(r rune) bool {
	return r != '\'' && (unicode.IsSpace(r) || unicode.IsPunct(r) || unicode.IsSymbol(r))
}
