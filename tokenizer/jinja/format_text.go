package jinja

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// formatting is one call of str.format.
type formatting struct {
	e    *evaluator
	args callArgs
	auto int                 // the next number of {}; -1 after a field with a number
	used bool                // {} was seen
	last func(string) string // what each field goes through: escapes of markup
}

// formatMethod is str.format as the sandbox gives it.
func (e *evaluator) formatMethod(s string, a callArgs, last func(string) string) (string, error) {
	f := &formatting{e: e, args: a, last: last}
	return f.expand(s, 2)
}

func (f *formatting) expand(s string, depth int) (string, error) {
	if depth < 0 {
		return "", errors.New("ValueError: Max string recursion exceeded")
	}
	w := &textWriter{e: f.e}
	for {
		i := strings.IndexAny(s, "{}")
		if i < 0 {
			w.write(s)
			return w.b.String(), nil
		}
		w.write(s[:i])
		if strings.HasPrefix(s[i+1:], s[i:i+1]) { // {{ and }}
			w.write(s[i : i+1])
			s = s[i+2:]
			continue
		}
		if s[i] == '}' {
			return "", errors.New("ValueError: Single '}' encountered in format string")
		}
		n, open := i+1, 1
		for ; n < len(s) && open > 0; n++ {
			switch s[n] {
			case '{':
				open++
			case '}':
				open--
			case '[':
				if k := strings.IndexByte(s[n:], ']'); open == 1 && k > 0 && !strings.ContainsAny(s[i:n], ":!") {
					n += k
				}
			}
		}
		if open > 0 {
			return "", errors.New("ValueError: expected '}' before end of string")
		}
		text, err := f.field(s[i+1:n-1], depth)
		if err != nil {
			return "", err
		}
		w.write(text)
		s = s[n:]
	}
}

// field is what stands in braces: name!conversion:spec.
func (f *formatting) field(field string, depth int) (string, error) {
	end, inIndex := len(field), false
	for i := range len(field) {
		if inIndex = field[i] == '[' || inIndex && field[i] != ']'; !inIndex && (field[i] == ':' || field[i] == '!') {
			end = i
			break
		}
	}
	name, rest := field[:end], field[end:]
	if strings.ContainsAny(name, "{") {
		return "", errors.New("ValueError: unexpected '{' in field name")
	}
	var conversion byte
	if strings.HasPrefix(rest, "!") {
		if len(rest) < 2 || len(rest) > 2 && rest[2] != ':' {
			return "", errors.New("ValueError: expected ':' after conversion specifier")
		}
		conversion, rest = rest[1], rest[2:]
	}
	v, err := f.value(name)
	if err != nil {
		return "", err
	}
	switch conversion {
	case 0:
	case 's':
		v = f.e.str(v)
	case 'r':
		v = f.e.repr(v)
	case 'a':
		v = f.e.ascii(v)
	default:
		return "", fmt.Errorf("ValueError: Unknown conversion specifier '%c'", conversion)
	}
	spec, err := f.expand(strings.TrimPrefix(rest, ":"), depth-1)
	if err != nil {
		return "", err
	}
	m, marked := v.(markup)
	text, err := f.e.format(v, spec)
	if err == nil && f.last != nil {
		if marked && spec != "" {
			//lint:ignore ST1005 Python's words
			return "", errors.New("ValueError: Unsupported format specification for Markup.")
		}
		if marked {
			return string(m), nil
		}
		text = f.last(text)
	}
	return text, err
}

// value reads a name like 0.content[1].
func (f *formatting) value(name string) (any, error) {
	if name == "" {
		if f.auto < 0 {
			return nil, errors.New("ValueError: cannot switch from manual field specification to automatic field numbering")
		}
		name, f.used = strconv.Itoa(f.auto), true
		f.auto++
	} else if _, err := strconv.Atoi(name); err == nil {
		if f.used {
			return nil, errors.New("ValueError: cannot switch from manual field specification to automatic field numbering")
		}
		f.auto = -1
	}
	first, rest := name, ""
	if i := strings.IndexAny(name, ".["); i >= 0 {
		first, rest = name[:i], name[i:]
	}
	var v any
	if k, err := strconv.Atoi(first); err == nil && first[0] != '-' && first[0] != '+' {
		if k >= len(f.args.pos) {
			return nil, errors.New("IndexError: Replacement index out of range for positional args tuple")
		}
		v = f.args.pos[k]
	} else if named, ok := f.args.named(first); ok {
		v = named
	} else {
		return nil, fmt.Errorf("KeyError: %s", quote(first))
	}
	for rest != "" {
		var err error
		if rest[0] == '.' {
			n := strings.IndexAny(rest[1:], ".[") + 1
			if n == 0 {
				n = len(rest)
			}
			if n == 1 {
				return nil, errors.New("ValueError: Empty attribute in format string")
			}
			v, err = f.e.attribute(v, rest[1:n])
			rest = rest[n:]
		} else {
			n := strings.IndexByte(rest, ']')
			if rest[0] != '[' || n < 2 {
				return nil, errors.New("ValueError: Missing ']' in format string")
			}
			var index any = rest[1:n]
			if k, e := strconv.ParseInt(rest[1:n], 10, 64); e == nil && k >= 0 {
				index = k
			}
			v, err = f.e.item(v, index)
			rest = rest[n+1:]
		}
		if err != nil {
			return nil, err
		}
	}
	return v, nil
}

// ascii is Python's ascii().
func (e *evaluator) ascii(v any) string {
	text := e.repr(v)
	if isASCII(text) {
		return text
	}
	e.text(10 * len(text))
	var b strings.Builder
	for _, r := range text {
		if r < 0x80 {
			b.WriteRune(r)
		} else {
			b.WriteString(escapedRune(r))
		}
	}
	return b.String()
}

// percent is Python's text % values; each value that is written as text goes through
// escape first, if there is one.
func (e *evaluator) percent(format string, values any, escape func(string) string) (string, error) {
	args, single := []any{values}, true
	if t, ok := values.(*Tuple); ok {
		args, single = t.Items, false
	}
	dict, isDict := values.(*Dict)
	next := func() (any, error) {
		if len(args) == 0 {
			return nil, errors.New("TypeError: not enough arguments for format string")
		}
		v := args[0]
		args = args[1:]
		return v, nil
	}
	w := &textWriter{e: e}
	for {
		i := strings.IndexByte(format, '%')
		if i < 0 {
			break
		}
		w.write(format[:i])
		format = format[i+1:]
		var key any
		keyed := strings.HasPrefix(format, "(")
		if keyed {
			n, open := 0, 0
			for ; n < len(format); n++ {
				if format[n] == '(' {
					open++
				} else if format[n] == ')' {
					if open--; open == 0 {
						break
					}
				}
			}
			if n == len(format) {
				return "", errors.New("ValueError: incomplete format key")
			}
			if !isDict {
				return "", errors.New("TypeError: format requires a mapping")
			}
			key, format = format[1:n], format[n+1:]
		}
		s := formatSpec{precision: -1}
		flags := format[:len(format)-len(strings.TrimLeft(format, "-+ #0"))]
		format = format[len(flags):]
		number := func() (int, error) {
			if !strings.HasPrefix(format, "*") {
				n, rest, err := leadingInt(format)
				format = rest
				return n, err
			}
			format = format[1:]
			v, err := next()
			if err != nil {
				return 0, err
			}
			n, ok := integer(v)
			if !ok {
				return 0, errors.New("TypeError: * wants int")
			}
			e.text(int(max(-maxText-1, min(maxText+1, n))) & math.MaxInt32)
			return int(max(-maxText-1, min(maxText+1, n))), nil
		}
		var err error
		if s.width, err = number(); err != nil {
			return "", err
		}
		if s.width < 0 {
			s.width, flags = -s.width, flags+"-"
		}
		if strings.HasPrefix(format, ".") {
			format = format[1:]
			if s.precision, err = number(); err != nil {
				return "", err
			}
			s.precision = max(s.precision, 0)
		}
		if format != "" && strings.IndexByte("hlL", format[0]) >= 0 {
			format = format[1:]
		}
		if format == "" {
			return "", errors.New("ValueError: incomplete format")
		}
		r, n := utf8.DecodeRuneInString(format)
		format = format[n:]
		if r == '%' {
			w.write("%")
			continue
		}
		var v any
		if keyed {
			var ok bool
			if v, ok = dict.Get(key); !ok {
				return "", fmt.Errorf("KeyError: %s", e.repr(key))
			}
		} else if v, err = next(); err != nil {
			return "", err
		}
		e.text(max(s.width, s.precision))
		text, err := e.percentOne(s, flags, r, v, escape)
		if err != nil {
			return "", err
		}
		w.write(text)
	}
	w.write(format)
	if len(args) > 0 && !isDict {
		switch values.(type) {
		case *List, rangeValue, undefined: // Python takes what has items for a mapping
			if single {
				return w.b.String(), nil
			}
		}
		return "", errors.New("TypeError: not all arguments converted during string formatting")
	}
	return w.b.String(), nil
}

// percentOne is one value after %.
func (e *evaluator) percentOne(s formatSpec, flags string, verb rune, v any, escape func(string) string) (string, error) {
	minus, zero := strings.Contains(flags, "-"), strings.Contains(flags, "0")
	s.alternate = strings.Contains(flags, "#")
	switch {
	case strings.Contains(flags, "+"):
		s.sign = '+'
	case strings.Contains(flags, " "):
		s.sign = ' '
	}
	s.align = '>'
	if minus {
		s.align = '<'
	}
	texts := map[rune]func(any) string{'s': e.str, 'r': e.repr, 'a': e.ascii}
	if f := texts[verb]; f != nil {
		text := f(v)
		if m, ok := v.(markup); ok && verb == 's' {
			text = string(m)
		} else if escape != nil {
			text = escape(text)
		}
		if s.precision >= 0 {
			text = firstRunes(text, s.precision)
		}
		return e.pad(text, s, '>'), nil
	}
	if u, ok := v.(undefined); ok && strings.ContainsRune("diueEfFgG", verb) {
		return "", u.err()
	}
	if zero && !minus {
		s.fill, s.align = '0', '='
	}
	f, isNumber := number(v)
	i, isInt := integer(v)
	switch verb {
	case 'c':
		if text, ok := plain(v).(string); ok && runeCount(text) == 1 {
			s.fill, s.align = 0, '>'
			if minus {
				s.align = '<'
			}
			return e.pad(text, s, '>'), nil
		}
		if !isInt || i < 0 || i > utf8.MaxRune {
			return "", errors.New("TypeError: %c requires int or char")
		}
		return e.pad(string(rune(i)), s, '>'), nil
	case 'd', 'i', 'u', 'x', 'X', 'o':
		if !isNumber || !isInt && (verb == 'x' || verb == 'X' || verb == 'o') {
			return "", fmt.Errorf("TypeError: %%%c format: a real number is required, not %s", verb, typeName(v))
		}
		if !isInt {
			if math.IsNaN(f) || math.Abs(f) >= 1<<63 {
				return "", errOverflow
			}
			i = int64(f)
		}
		b := bases[byte(verb)]
		digits := absText(i, b.base)
		if verb == 'X' {
			digits = strings.ToUpper(digits)
		}
		digits = e.repeat("0", int64(s.precision-len(digits))) + digits
		prefix := ""
		if s.alternate {
			prefix = b.prefix
		}
		return e.number(i < 0, prefix, digits, "", 3, s), nil
	case 'e', 'E', 'f', 'F', 'g', 'G':
		if !isNumber {
			return "", fmt.Errorf("TypeError: must be real number, not %s", typeName(v))
		}
		s.verb = byte(verb)
		return e.formatFloat(f, s)
	}
	return "", fmt.Errorf("ValueError: unsupported format character %s (0x%x)", quote(string(verb)), verb)
}
