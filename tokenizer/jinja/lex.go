package jinja

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind int

const (
	tokData tokenKind = iota // text between tags
	tokVarBegin
	tokVarEnd
	tokBlockBegin
	tokBlockEnd
	tokName
	tokString
	tokInt
	tokFloat
	tokOp
	tokEOF
)

type token struct {
	kind tokenKind
	text string
	line int
}

// lexer follows Jinja2's with trim_blocks and lstrip_blocks on and
// keep_trailing_newline off, the settings of transformers.
type lexer struct {
	src  string
	pos  int
	line int
	out  []token

	trimNewline bool // the last tag takes a newline after it along
	trimSpace   bool // the last tag ended in a minus: it takes all white space
}

func (l *lexer) fail(format string, args ...any) error {
	return &Error{l.line, "TemplateSyntaxError: " + fmt.Sprintf(format, args...)}
}

func (l *lexer) emit(kind tokenKind, text string) {
	l.out = append(l.out, token{kind, text, l.line})
}

// advance moves to byte p and counts the lines passed.
func (l *lexer) advance(p int) {
	l.line += strings.Count(l.src[l.pos:p], "\n")
	l.pos = p
}

func lex(src string) ([]token, error) {
	src = strings.ReplaceAll(strings.ReplaceAll(src, "\r\n", "\n"), "\r", "\n")
	l := &lexer{src: strings.TrimSuffix(src, "\n"), line: 1}
	for {
		start := nextTag(l.src, l.pos)
		l.data(start)
		if start < 0 {
			l.emit(tokEOF, "")
			return l.out, nil
		}
		if err := l.tag(); err != nil {
			return nil, err
		}
	}
}

// nextTag returns where the next {%, {{ or {# begins, -1 without one.
func nextTag(src string, from int) int {
	for i := from; ; i++ {
		k := strings.IndexByte(src[i:], '{')
		if k < 0 || i+k+1 >= len(src) {
			return -1
		}
		i += k
		if c := src[i+1]; c == '%' || c == '{' || c == '#' {
			return i
		}
	}
}

// modifier returns the - or + after the tag that begins at p, 0 without one.
func (l *lexer) modifier(p int) byte {
	if p+2 < len(l.src) && (l.src[p+2] == '-' || l.src[p+2] == '+') {
		return l.src[p+2]
	}
	return 0
}

// data emits the text up to the tag at start, or to the end (-1), less the white
// space that the tags around it take along.
func (l *lexer) data(start int) {
	end := start
	if start < 0 {
		end = len(l.src)
	}
	text := l.src[l.pos:end]
	switch {
	case l.trimSpace:
		text = strings.TrimLeftFunc(text, unicode.IsSpace)
	case l.trimNewline:
		text = strings.TrimPrefix(text, "\n")
	}
	cut := end - len(text)
	lineStart := cut == 0 || cut > l.pos && l.src[cut-1] == '\n'
	if start >= 0 {
		mod := l.modifier(start)
		if mod == '-' {
			text = strings.TrimRightFunc(text, unicode.IsSpace)
		} else if mod != '+' && l.src[start+1] != '{' { // lstrip_blocks
			i := strings.LastIndexByte(text, '\n') + 1
			if (i > 0 || lineStart) && strings.TrimSpace(text[i:]) == "" {
				text = text[:i]
			}
		}
	}
	if text != "" {
		l.emit(tokData, text)
	}
	l.advance(end)
	l.trimNewline, l.trimSpace = false, false
}

// tag reads the tag at pos.
func (l *lexer) tag() error {
	kind := l.src[l.pos+1]
	inner := l.pos + 2
	if l.modifier(l.pos) != 0 {
		inner++
	}
	switch kind {
	case '#':
		return l.comment(inner)
	case '%':
		if body, ok := rawBody(l.src, inner); ok {
			return l.raw(body)
		}
		l.emit(tokBlockBegin, "")
		l.advance(inner)
		return l.inside("%}", tokBlockEnd)
	}
	l.emit(tokVarBegin, "")
	l.advance(inner)
	return l.inside("}}", tokVarEnd)
}

func (l *lexer) comment(inner int) error {
	n := strings.Index(l.src[inner:], "#}")
	if n < 0 {
		return l.fail("missing end of comment tag")
	}
	end := inner + n
	switch {
	case n > 0 && l.src[end-1] == '-':
		l.trimSpace = true
	case n > 0 && l.src[end-1] == '+':
	default:
		l.trimNewline = true
	}
	l.advance(end + 2)
	return nil
}

// rawBody returns where the text of a raw block begins if p is inside {% raw %}.
func rawBody(src string, p int) (body int, ok bool) {
	p = skipSpace(src, p)
	if !strings.HasPrefix(src[p:], "raw") {
		return 0, false
	}
	p = skipSpace(src, p+3)
	for _, end := range []string{"%}", "-%}", "+%}"} {
		if strings.HasPrefix(src[p:], end) {
			return p + len(end), true
		}
	}
	return 0, false
}

// raw emits the text of a raw block as it is.
func (l *lexer) raw(body int) error {
	for at := body; ; {
		n := strings.Index(l.src[at:], "{%")
		if n < 0 {
			return l.fail("missing end of raw directive")
		}
		begin := at + n
		inner := begin + 2
		if l.modifier(begin) != 0 {
			inner++
		}
		p := skipSpace(l.src, inner)
		if !strings.HasPrefix(l.src[p:], "endraw") {
			at = inner
			continue
		}
		p = skipSpace(l.src, p+len("endraw"))
		text := l.src[body:begin]
		switch l.src[body-3] {
		case '-':
			text = strings.TrimLeftFunc(text, unicode.IsSpace)
		case '+':
		default:
			text = strings.TrimPrefix(text, "\n")
		}
		if l.modifier(begin) == '-' {
			text = strings.TrimRightFunc(text, unicode.IsSpace)
		}
		if text != "" {
			l.emit(tokData, text)
		}
		return l.closeTag(p, "%}")
	}
}

// closeTag reads the end of a block tag at p.
func (l *lexer) closeTag(p int, closer string) error {
	rest := l.src[p:]
	switch {
	case strings.HasPrefix(rest, "-"+closer):
		l.trimSpace = true
		p += 3
	case strings.HasPrefix(rest, "+"+closer):
		p += 3
	case strings.HasPrefix(rest, closer):
		l.trimNewline = closer == "%}"
		p += 2
	default:
		return l.fail("expected %q", closer)
	}
	l.advance(p)
	return nil
}

// inside emits the tokens of a tag up to its closer.
func (l *lexer) inside(closer string, end tokenKind) error {
	depth := 0 // of brackets, in which }} closes two dicts
	for {
		l.advance(skipSpace(l.src, l.pos))
		rest := l.src[l.pos:]
		if rest == "" {
			return l.fail("unexpected end of template")
		}
		if depth == 0 && (strings.HasPrefix(rest, closer) || strings.HasPrefix(rest, "-"+closer) ||
			closer == "%}" && strings.HasPrefix(rest, "+%}")) {
			l.emit(end, closer)
			return l.closeTag(l.pos, closer)
		}
		c := rest[0]
		var err error
		switch {
		case c == '"' || c == '\'':
			err = l.str(c)
		case c >= '0' && c <= '9':
			l.number()
		default:
			r, _ := utf8.DecodeRuneInString(rest)
			if r == '_' || unicode.IsLetter(r) {
				l.name()
				continue
			}
			op := operator(rest)
			switch op {
			case "":
				return l.fail("unexpected character %q", r)
			case "(", "[", "{":
				depth++
			case ")", "]", "}":
				depth--
			}
			l.emit(tokOp, op)
			l.pos += len(op)
		}
		if err != nil {
			return err
		}
	}
}

// operators, longest first.
var operators = []string{"**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~",
	"<", ">", "=", "(", ")", "[", "]", "{", "}", ".", ",", ":", "|", ";"}

func operator(s string) string {
	for _, op := range operators {
		if strings.HasPrefix(s, op) {
			return op
		}
	}
	return ""
}

func (l *lexer) name() {
	end := l.pos
	for end < len(l.src) {
		r, n := utf8.DecodeRuneInString(l.src[end:])
		if r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			break
		}
		end += n
	}
	l.emit(tokName, l.src[l.pos:end])
	l.pos = end
}

func (l *lexer) number() {
	kind, end := tokInt, l.pos
	digit := func(p int) bool { return p < len(l.src) && l.src[p] >= '0' && l.src[p] <= '9' }
	for ; end < len(l.src); end++ {
		c := l.src[end]
		if c == '.' && kind == tokInt && digit(end+1) {
			kind = tokFloat
		} else if c != '_' && !digit(end) {
			break
		}
	}
	if end < len(l.src) && (l.src[end] == 'e' || l.src[end] == 'E') {
		exp := end + 1
		if exp < len(l.src) && (l.src[exp] == '+' || l.src[exp] == '-') {
			exp++
		}
		if digit(exp) {
			kind = tokFloat
			for end = exp; digit(end); end++ {
			}
		}
	}
	l.emit(kind, strings.ReplaceAll(l.src[l.pos:end], "_", ""))
	l.pos = end
}

// escapes of string literals that stand for one byte.
var escapes = map[byte]byte{'n': '\n', 't': '\t', 'r': '\r', 'b': '\b', 'f': '\f', 'v': '\v', 'a': '\a',
	'0': 0, '\\': '\\', '\'': '\'', '"': '"'}

// hexDigits after \x, \u and \U.
var hexDigits = map[byte]int{'x': 2, 'u': 4, 'U': 8}

// str reads a string literal in quotes q.
func (l *lexer) str(q byte) error {
	var b strings.Builder
	i := l.pos + 1
	for ; i < len(l.src) && l.src[i] != q; i++ {
		if l.src[i] != '\\' || i+1 >= len(l.src) {
			b.WriteByte(l.src[i])
			continue
		}
		i++
		c := l.src[i]
		if e, ok := escapes[c]; ok {
			b.WriteByte(e)
		} else if n := hexDigits[c]; n > 0 {
			if i+n >= len(l.src) {
				return l.fail("truncated escape in string")
			}
			v, err := strconv.ParseUint(l.src[i+1:i+1+n], 16, 32)
			if err != nil {
				return l.fail("escape \\%s in string", l.src[i:i+1+n])
			}
			b.WriteRune(rune(v))
			i += n
		} else if c != '\n' {
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

func skipSpace(s string, i int) int {
	for i < len(s) && strings.IndexByte(" \n\t\f\v", s[i]) >= 0 {
		i++
	}
	return i
}
