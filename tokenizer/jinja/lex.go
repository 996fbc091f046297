package jinja

import (
	"fmt"
	"strings"
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
	afterDot    bool // the last token is a dot, after which 0.1 are two numbers
}

func (l *lexer) fail(format string, args ...any) error {
	return &Error{l.line, "TemplateSyntaxError: " + fmt.Sprintf(format, args...)}
}

func (l *lexer) emit(kind tokenKind, text string) {
	l.out = append(l.out, token{kind, text, l.line})
	l.afterDot = kind == tokOp && text == "."
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
		text = strings.TrimLeftFunc(text, isSpace)
	case l.trimNewline:
		text = strings.TrimPrefix(text, "\n")
	}
	cut := end - len(text)
	lineStart := cut == 0 || cut > l.pos && l.src[cut-1] == '\n'
	if start >= 0 {
		text = stripBefore(text, l.modifier(start), lineStart, l.src[start+1] == '{')
	}
	if text != "" {
		l.emit(tokData, text)
	}
	l.advance(end)
	l.trimNewline, l.trimSpace = false, false
}

// stripBefore takes off what a tag takes along before it: all white space for a
// minus, what stands on its line before it (lstrip_blocks) unless it prints a value.
func stripBefore(text string, modifier byte, lineStart, prints bool) string {
	if modifier == '-' {
		return strings.TrimRightFunc(text, isSpace)
	}
	if modifier != '+' && !prints {
		i := strings.LastIndexByte(text, '\n') + 1
		if (i > 0 || lineStart) && strings.TrimLeftFunc(text[i:], isSpace) == "" {
			return text[:i]
		}
	}
	return text
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
	if strings.HasPrefix(src[p:], "-%}") {
		return skipSpace(src, p+3), true
	}
	return p + 2, strings.HasPrefix(src[p:], "%}")
}

// raw emits the text of a raw block as it is. A newline after the tag stays, unlike
// after other tags.
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
			at = begin + 2
			continue
		}
		p = skipSpace(l.src, p+len("endraw"))
		if !strings.HasPrefix(l.src[p:], "%}") && !strings.HasPrefix(l.src[p:], "-%}") && !strings.HasPrefix(l.src[p:], "+%}") {
			at = begin + 2
			continue
		}
		text := stripBefore(l.src[body:begin], l.modifier(begin), l.src[body-1] == '\n', false)
		if text != "" {
			l.emit(tokData, text)
		}
		return l.closeTag(p, "%}")
	}
}

// closeTag reads the end of a tag at p.
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

// closing brackets by their opening ones.
var closing = map[string]string{"(": ")", "[": "]", "{": "}"}

// inside emits the tokens of a tag up to its closer.
func (l *lexer) inside(closer string, end tokenKind) error {
	var open []string // the brackets that are to close, within which }} closes two dicts
	for {
		l.advance(skipSpace(l.src, l.pos))
		rest := l.src[l.pos:]
		if rest == "" {
			return l.fail("unexpected end of template")
		}
		if len(open) == 0 && (strings.HasPrefix(rest, closer) || strings.HasPrefix(rest, "-"+closer) ||
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
			if r == '_' || isWord(r) {
				if err := l.name(); err != nil {
					return err
				}
				continue
			}
			op := operator(rest)
			switch op {
			case "":
				return l.fail("unexpected character %q", r)
			case "(", "[", "{":
				if open = append(open, closing[op]); len(open) > maxDepth {
					return l.fail("nested more than %d deep", maxDepth)
				}
			case ")", "]", "}":
				if len(open) == 0 {
					return l.fail("unexpected '%s'", op)
				}
				if want := open[len(open)-1]; want != op {
					return l.fail("unexpected '%s', expected '%s'", op, want)
				}
				open = open[:len(open)-1]
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
