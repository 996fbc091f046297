package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// A scanner returns the end of the match of its regular expression that begins
// at s[i], i < len(s). The expressions here match at every position.
type scanner func(s string, i int) int

// scanners are the expressions that published byte-level tokenizers split with,
// written by hand: ten times as fast as a backtracking engine, and with the
// classes of Unicode 16.
var scanners = map[string]scanner{
	patternGPT2:   scanGPT2,
	patternLlama3: func(s string, i int) int { return scanCL100k(s, i, 3) },
	patternQwen:   func(s string, i int) int { return scanCL100k(s, i, 1) },
	patternTekken: func(s string, i int) int { return scanO200k(s, i, 1, false) },
	patternO200k:  func(s string, i int) int { return scanO200k(s, i, 3, true) },
}

const (
	patternGPT2   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	patternLlama3 = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternQwen   = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternTekken = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternO200k  = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

func decodeRune(s string, i int) (rune, int) {
	if c := s[i]; c < utf8.RuneSelf {
		return rune(c), 1
	}
	return utf8.DecodeRuneInString(s[i:])
}

// run returns the end of the run of characters at i that have a bit of mask; with
// not, of those that have none. limit bounds their number, 0 does not.
func run(s string, i int, mask uint8, not bool, limit int) int {
	for k := 0; i < len(s) && (limit == 0 || k < limit); k++ {
		r, n := decodeRune(s, i)
		if (class(r)&mask != 0) == not {
			break
		}
		i += n
	}
	return i
}

// symbols is [^\s\p{L}\p{N}]*.
func symbols(s string, i int) int {
	return run(s, i, classLetter|classNumber|classSpace, true, 0)
}

// contraction is 's|'t|'re|'ve|'m|'ll|'d at an apostrophe; 0 without a match.
// Folding case also matches U+017F, whose upper case is S.
func contraction(s string, i int, fold bool) int {
	if i+1 >= len(s) {
		return 0
	}
	c, d := s[i+1], byte(0)
	if i+2 < len(s) {
		d = s[i+2]
	}
	if fold {
		if c < utf8.RuneSelf {
			c |= 0x20
		}
		if d < utf8.RuneSelf {
			d |= 0x20
		}
	}
	switch {
	case c == 's' || c == 't' || c == 'm' || c == 'd':
		return i + 2
	case (c == 'r' || c == 'v') && d == 'e', c == 'l' && d == 'l':
		return i + 3
	case fold && strings.HasPrefix(s[i+1:], "ſ"):
		return i + 1 + len("ſ")
	}
	return 0
}

// spaces is \s*[\r\n]+ (with newlines) |\s+(?!\S)|\s+ at white space.
func spaces(s string, i int, newlines bool) int {
	end, afterNewline, lastStart := i, 0, i
	for end < len(s) {
		r, n := decodeRune(s, end)
		if class(r)&classSpace == 0 {
			break
		}
		if r == '\n' || r == '\r' {
			afterNewline = end + 1
		}
		lastStart = end
		end += n
	}
	if newlines && afterNewline > 0 {
		return afterNewline
	}
	if end == len(s) || lastStart == i {
		return end
	}
	return lastStart
}

// lineEnds is [\r\n]*, with slash [\r\n/]*.
func lineEnds(s string, i int, slash bool) int {
	for i < len(s) && (s[i] == '\n' || s[i] == '\r' || slash && s[i] == '/') {
		i++
	}
	return i
}

func scanGPT2(s string, i int) int {
	r, n := decodeRune(s, i)
	if r == '\'' {
		if e := contraction(s, i, false); e > 0 {
			return e
		}
	}
	j, c := i, class(r)
	if r == ' ' && i+1 < len(s) {
		r2, n2 := decodeRune(s, i+1)
		if c2 := class(r2); c2&classSpace == 0 {
			j, c, n = i+1, c2, n2
		}
	}
	switch {
	case c&classLetter != 0:
		return run(s, j+n, classLetter, false, 0)
	case c&classNumber != 0:
		return run(s, j+n, classNumber, false, 0)
	case c&classSpace == 0:
		return symbols(s, j+n)
	}
	return spaces(s, i, false)
}

// scanCL100k splits digits in groups of digits.
func scanCL100k(s string, i, digits int) int {
	r, n := decodeRune(s, i)
	c := class(r)
	if r == '\'' {
		if e := contraction(s, i, true); e > 0 {
			return e
		}
	}
	if c&classLetter != 0 {
		return run(s, i+n, classLetter, false, 0)
	}
	if c&classNumber != 0 {
		return run(s, i, classNumber, false, digits)
	}
	j := i + n
	var c2 uint8
	var n2 int
	if j < len(s) {
		var r2 rune
		r2, n2 = decodeRune(s, j)
		c2 = class(r2)
		if c2&classLetter != 0 && r != '\r' && r != '\n' {
			return run(s, j+n2, classLetter, false, 0)
		}
	}
	if c&classSpace == 0 {
		return lineEnds(s, symbols(s, j), false)
	}
	if r == ' ' && j < len(s) && c2&(classSpace|classLetter|classNumber) == 0 {
		return lineEnds(s, symbols(s, j+n2), false)
	}
	return spaces(s, i, true)
}

// scanO200k splits words at changes of case too; contractions stay with the word
// when suffix is set.
func scanO200k(s string, i, digits int, suffix bool) int {
	r, n := decodeRune(s, i)
	c := class(r)
	prefix := r != '\r' && r != '\n' && c&(classLetter|classNumber) == 0 && i+n < len(s)
	for _, word := range []scanner{upperLower, upperThenLower} {
		e := 0
		if prefix {
			e = word(s, i+n)
		}
		if e == 0 {
			e = word(s, i)
		}
		if e == 0 {
			continue
		}
		if suffix && e < len(s) && s[e] == '\'' {
			e = max(e, contraction(s, e, true))
		}
		return e
	}
	if c&classNumber != 0 {
		return run(s, i, classNumber, false, digits)
	}
	if c&classSpace == 0 {
		return lineEnds(s, symbols(s, i+n), true)
	}
	if r == ' ' && i+1 < len(s) {
		r2, n2 := decodeRune(s, i+1)
		if class(r2)&(classSpace|classLetter|classNumber) == 0 {
			return lineEnds(s, symbols(s, i+1+n2), true)
		}
	}
	return spaces(s, i, true)
}

// upperLower is [upper]*[lower]+ with backtracking; 0 without a match.
func upperLower(s string, i int) int {
	end := 0 // after the last character of the upper run that is also lower
	for i < len(s) {
		r, n := decodeRune(s, i)
		c := class(r)
		if c&classUpper == 0 {
			if c&classLower == 0 {
				return end
			}
			return run(s, i, classLower, false, 0)
		}
		i += n
		if c&classLower != 0 {
			end = i
		}
	}
	return end
}

// upperThenLower is [upper]+[lower]*; 0 without a match.
func upperThenLower(s string, i int) int {
	end := run(s, i, classUpper, false, 0)
	if end == i {
		return 0
	}
	return run(s, end, classLower, false, 0)
}
