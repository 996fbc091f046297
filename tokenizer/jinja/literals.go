package jinja

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

func (l *lexer) name() error {
	end := l.pos
	for end < len(l.src) {
		r, n := utf8.DecodeRuneInString(l.src[end:])
		if !isWord(r) && !unicode.In(r, unicode.Mn, unicode.Mc, unicode.Pc, unicode.Other_ID_Continue) {
			break
		}
		end += n
	}
	name := l.src[l.pos:end]
	if !isIdentifier(name) {
		return l.fail("invalid character in identifier %q", name)
	}
	l.emit(tokName, name)
	l.pos = end
	return nil
}

// Numbers as Jinja2 reads them: 007 is two, 0x1f and 1_000 are one.
var (
	floatLiteral = regexp.MustCompile(`^(?i:(?:\d+_)*\d+(?:(?:\.(?:\d+_)*\d+)?e[+-]?(?:\d+_)*\d+|\.(?:\d+_)*\d+))`)
	intLiteral   = regexp.MustCompile(`^(?i:0b(?:_?[01])+|0o(?:_?[0-7])+|0x(?:_?[\da-f])+|[1-9](?:_?\d)*|0(?:_?0)*)`)
)

func (l *lexer) number() {
	// A number ends where a name could not go on, so a few bytes show it all.
	rest := l.src[l.pos:]
	kind, text := tokFloat, ""
	if !l.afterDot {
		text = floatLiteral.FindString(rest)
	}
	if text == "" {
		kind, text = tokInt, intLiteral.FindString(rest)
	}
	l.emit(kind, strings.ReplaceAll(text, "_", ""))
	l.pos += len(text)
}

// escapes of string literals that stand for one byte.
var escapes = map[byte]byte{'n': '\n', 't': '\t', 'r': '\r', 'b': '\b', 'f': '\f', 'v': '\v', 'a': '\a',
	'\\': '\\', '\'': '\'', '"': '"'}

// hexDigits after \x, \u and \U.
var hexDigits = map[byte]int{'x': 2, 'u': 4, 'U': 8}

// str reads a string literal in quotes q, with Python's escapes.
func (l *lexer) str(q byte) error {
	var b strings.Builder
	i := l.pos + 1
	for ; i < len(l.src) && l.src[i] != q; i++ {
		if l.src[i] != '\\' || i+1 >= len(l.src) {
			b.WriteByte(l.src[i])
			continue
		}
		i++
		switch c := l.src[i]; {
		case escapes[c] != 0:
			b.WriteByte(escapes[c])
		case hexDigits[c] > 0:
			n := hexDigits[c]
			if i+n >= len(l.src) {
				return l.fail("truncated \\%c escape", c)
			}
			v, err := strconv.ParseUint(l.src[i+1:i+1+n], 16, 32)
			if err != nil || v > utf8.MaxRune {
				return l.fail("truncated or illegal escape \\%s", l.src[i:i+1+n])
			}
			b.WriteRune(rune(v))
			i += n
		case c >= '0' && c <= '7':
			v := 0
			for n := 0; n < 3 && i < len(l.src) && l.src[i] >= '0' && l.src[i] <= '7'; n++ {
				v = 8*v + int(l.src[i]-'0')
				i++
			}
			b.WriteRune(rune(v))
			i--
		case c == '\n':
		case c == 'N':
			return l.fail("escape \\N of a character by name; write the character")
		case c >= 0x80: // Python writes the character as an escape first, and then undoes only its backslash
			r, n := utf8.DecodeRuneInString(l.src[i:])
			b.WriteString(escapedRune(r))
			i += n - 1
		default:
			b.WriteByte('\\')
			b.WriteByte(c)
		}
	}
	if i >= len(l.src) {
		return l.fail("unterminated string")
	}
	l.emit(tokString, b.String())
	l.advance(i + 1)
	return nil
}

// skipSpace returns where the white space at i ends.
func skipSpace(s string, i int) int {
	for i < len(s) {
		r, n := utf8.DecodeRuneInString(s[i:])
		if !isSpace(r) {
			break
		}
		i += n
	}
	return i
}
