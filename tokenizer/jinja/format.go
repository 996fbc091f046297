package jinja

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// formatSpec is Python's [[fill]align][sign][#][0][width][grouping][.precision][type].
type formatSpec struct {
	fill             rune // 0: a space
	align, sign      byte // 0: not given
	alternate        bool
	width, precision int    // precision -1: not given
	grouping         string // "", "," or "_"
	verb             byte   // 0: not given
}

var errSpec = errors.New("ValueError: Invalid format specifier")

func parseSpec(s string) (f formatSpec, err error) {
	f.precision = -1
	if r, n := utf8.DecodeRuneInString(s); n < len(s) && strings.IndexByte("<>=^", s[n]) >= 0 {
		f.fill, f.align, s = r, s[n], s[n+1:]
	} else if s != "" && strings.IndexByte("<>=^", s[0]) >= 0 {
		f.align, s = s[0], s[1:]
	}
	if s != "" && strings.IndexByte("+- ", s[0]) >= 0 {
		f.sign, s = s[0], s[1:]
	}
	s = strings.TrimPrefix(s, "z") // negative zero, which is not looked for
	if strings.HasPrefix(s, "#") {
		f.alternate, s = true, s[1:]
	}
	if strings.HasPrefix(s, "0") {
		if s = s[1:]; f.fill == 0 {
			f.fill = '0'
		}
		if f.align == 0 {
			f.align = '0' // '=' of numbers, '<' of texts
		}
	}
	if f.width, s, err = leadingInt(s); err != nil {
		return f, err
	}
	for s != "" && (s[0] == ',' || s[0] == '_') {
		if f.grouping != "" {
			//lint:ignore ST1005 Python's words
			return f, errors.New("ValueError: Cannot specify both ',' and '_'.")
		}
		f.grouping, s = s[:1], s[1:]
	}
	if strings.HasPrefix(s, ".") {
		if s = s[1:]; s == "" || s[0] < '0' || s[0] > '9' {
			return f, errors.New("ValueError: Format specifier missing precision")
		}
		if f.precision, s, err = leadingInt(s); err != nil {
			return f, err
		}
	}
	if len(s) > 1 {
		return f, errSpec
	}
	if s != "" {
		f.verb = s[0]
	}
	return f, nil
}

func leadingInt(s string) (n int, rest string, err error) {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	if i == 0 {
		return 0, s, nil
	}
	if n, err = strconv.Atoi(s[:i]); err != nil || n > math.MaxInt32 {
		return 0, s, errors.New("ValueError: Too many decimal digits in format string")
	}
	return n, s[i:], nil
}

// format is Python's format(v, spec).
func (e *evaluator) format(v any, spec string) (string, error) {
	if spec == "" {
		return e.str(v), nil
	}
	text, isText := plain(v).(string)
	f, isFloat := v.(float64)
	i, isInt := integer(v)
	if !isText && !isFloat && !isInt {
		return "", fmt.Errorf("TypeError: unsupported format string passed to %s.__format__", typeName(v))
	}
	s, err := parseSpec(spec)
	if err != nil {
		return "", err
	}
	e.text(max(s.width, s.precision))
	switch {
	case isText:
		return e.formatText(text, s)
	case isInt && (s.verb == 0 || strings.IndexByte("bcdoxXn", s.verb) >= 0):
		return e.formatInt(i, s)
	case isInt:
		f = float64(i)
	}
	return e.formatFloat(f, s)
}

func (e *evaluator) formatText(text string, s formatSpec) (string, error) {
	if s.verb != 0 && s.verb != 's' {
		return "", fmt.Errorf("ValueError: Unknown format code '%c' for object of type 'str'", s.verb)
	}
	if s.sign != 0 || s.alternate || s.grouping != "" || s.align == '=' {
		return "", errors.New("ValueError: sign, =, # and grouping are not allowed in string format specifier")
	}
	if s.precision >= 0 {
		text = firstRunes(text, s.precision)
	}
	if s.align == '0' {
		s.align = 0
	}
	return e.pad(text, s, '<'), nil
}

func firstRunes(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

// pad fills text up to the width; the usual alignment is what the spec leaves open.
func (e *evaluator) pad(text string, s formatSpec, usual byte) string {
	missing := int64(s.width - runeCount(text))
	if missing <= 0 {
		return text
	}
	fill := " "
	if s.fill != 0 {
		fill = string(s.fill)
	}
	if s.align == 0 {
		s.align = usual
	}
	left := int64(0)
	switch s.align {
	case '>':
		left = missing
	case '^':
		left = missing / 2
	}
	return e.repeat(fill, left) + text + e.repeat(fill, missing-left)
}

// number puts a sign, a prefix like 0x, grouped digits and the rest together.
func (e *evaluator) number(negative bool, prefix, digits, rest string, group int, s formatSpec) string {
	sign := ""
	switch {
	case negative:
		sign = "-"
	case s.sign == '+' || s.sign == ' ':
		sign = string(s.sign)
	}
	head := sign + prefix
	zeros := s.fill == '0' && (s.align == '0' || s.align == '=')
	if s.grouping != "" {
		if zeros {
			for want := s.width - len(head) - len(rest); len(grouped("0"+digits, s.grouping, group)) <= want; {
				digits = "0" + digits
				e.spend(len(digits))
			}
			if g := grouped(digits, s.grouping, group); len(g)+1 == s.width-len(head)-len(rest) && len(digits)%group == 0 {
				digits = "0" + digits // a separator cannot come first: one zero too many
			}
		}
		digits = grouped(digits, s.grouping, group)
	}
	if s.align == '0' || s.align == '=' {
		fill := s.fill
		if fill == 0 {
			fill = ' '
		}
		missing := s.width - runeCount(head) - len(digits) - len(rest)
		return head + e.repeat(string(fill), int64(missing)) + digits + rest
	}
	return e.pad(head+digits+rest, s, '>')
}

func grouped(digits, sep string, n int) string {
	var b strings.Builder
	for i := range len(digits) {
		if i > 0 && (len(digits)-i)%n == 0 {
			b.WriteString(sep)
		}
		b.WriteByte(digits[i])
	}
	return b.String()
}

// bases of the verbs of whole numbers, and what stands before with #.
var bases = map[byte]struct {
	base   int
	prefix string
}{'b': {2, "0b"}, 'o': {8, "0o"}, 'x': {16, "0x"}, 'X': {16, "0X"}, 'd': {10, ""}, 'n': {10, ""}, 'i': {10, ""}, 'u': {10, ""}}

// abs is the size of an integer in a base.
func absText(i int64, base int) string {
	return strings.TrimPrefix(strconv.FormatInt(i, base), "-")
}

func (e *evaluator) formatInt(i int64, s formatSpec) (string, error) {
	if s.precision >= 0 {
		return "", errors.New("ValueError: Precision not allowed in integer format specifier")
	}
	if s.verb == 'c' {
		if s.sign != 0 || s.alternate || s.grouping != "" || i < 0 || i > utf8.MaxRune {
			return "", errors.New("OverflowError: %c arg not in range(0x110000), or with a sign")
		}
		return e.pad(string(rune(i)), s, '>'), nil
	}
	verb := s.verb
	if verb == 0 {
		verb = 'd'
	}
	b := bases[verb]
	group := 3
	if b.base != 10 {
		if group = 4; s.grouping == "," {
			//lint:ignore ST1005 Python's words
			return "", fmt.Errorf("ValueError: Cannot specify ',' with '%c'.", verb)
		}
	}
	if verb == 'n' && s.grouping != "" {
		//lint:ignore ST1005 Python's words
		return "", fmt.Errorf("ValueError: Cannot specify '%s' with 'n'.", s.grouping)
	}
	text := absText(i, b.base)
	if verb == 'X' {
		text = strings.ToUpper(text)
	}
	prefix := ""
	if s.alternate {
		prefix = b.prefix
	}
	return e.number(i < 0, prefix, text, "", group, s), nil
}

func (e *evaluator) formatFloat(f float64, s formatSpec) (string, error) {
	if s.verb != 0 && strings.IndexByte("eEfFgGn%", s.verb) < 0 {
		return "", fmt.Errorf("ValueError: Unknown format code '%c' for object of type 'float'", s.verb)
	}
	text := floatDigits(f, s.verb, s.precision, s.alternate)
	digits, rest := text, ""
	if i := strings.IndexAny(text, ".eE%"); i >= 0 && text[0] >= '0' && text[0] <= '9' {
		digits, rest = text[:i], text[i:]
	}
	if !(digits[0] >= '0' && digits[0] <= '9') { // inf and nan are not grouped
		digits, rest, s.grouping = "", text, ""
	}
	return e.number(math.Signbit(f) && !math.IsNaN(f), "", digits, rest, 3, s), nil
}

// floatDigits is the size of f as a verb writes it: e, f, g, %, or 0 for what str()
// writes, with precision -1 for the usual one.
func floatDigits(f float64, verb byte, precision int, alternate bool) string {
	lower := verb | 0x20
	if verb == 0 || verb == '%' {
		lower = verb
	}
	var text string
	f = math.Abs(f)
	switch {
	case math.IsInf(f, 0):
		text = "inf"
	case math.IsNaN(f):
		text = "nan"
	case lower == 0 && precision < 0:
		text = floatText(f)
	default:
		p := precision
		if p < 0 {
			p = 6
		}
		switch lower {
		case 'e':
			text = strconv.FormatFloat(f, 'e', p, 64)
		case 'f':
			text = strconv.FormatFloat(f, 'f', p, 64)
		case '%':
			text = strconv.FormatFloat(100*f, 'f', p, 64)
		default:
			text = general(f, max(p, 1), alternate, lower == 0)
		}
		if alternate && (lower == 'e' || lower == 'f') && p == 0 {
			mantissa, exponent, ok := strings.Cut(text, "e")
			if text = mantissa + "."; ok {
				text += "e" + exponent
			}
		}
	}
	if lower == '%' {
		text += "%"
	}
	if verb == 'E' || verb == 'F' || verb == 'G' {
		text = strings.ToUpper(text)
	}
	return text
}

// general is f with p significant digits, as %g; point adds ".0" to a whole number.
func general(f float64, p int, alternate, point bool) string {
	text := strconv.FormatFloat(f, 'e', p-1, 64)
	mantissa, exponent, _ := strings.Cut(text, "e")
	x, _ := strconv.Atoi(exponent)
	limit := p
	if point {
		limit--
	}
	exponential := x < -4 || x >= limit
	if !exponential {
		mantissa = strconv.FormatFloat(f, 'f', max(p-1-x, 0), 64)
	}
	if strings.Contains(mantissa, ".") && !alternate {
		mantissa = strings.TrimSuffix(strings.TrimRight(mantissa, "0"), ".")
	}
	switch {
	case exponential:
		return mantissa + "e" + exponent
	case point && !strings.Contains(mantissa, "."):
		return mantissa + ".0"
	}
	return mantissa
}
