package jinja

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

type textMethod = method[string]

// textMethods are those of str, but encode, maketrans and translate.
var textMethods = map[string]textMethod{
	"strip":  stripping(true, true),
	"lstrip": stripping(true, false),
	"rstrip": stripping(false, true),

	"upper":      mapping(upper),
	"lower":      mapping(lower),
	"casefold":   mapping(fold),
	"title":      mapping(title),
	"capitalize": mapping(capitalize),
	"swapcase":   mapping(swapCase),

	"split":  {takes("sep?", "maxsplit?"), func(e *evaluator, s string, a callArgs) (any, error) { return split(e, s, a, false) }},
	"rsplit": {takes("sep?", "maxsplit?"), func(e *evaluator, s string, a callArgs) (any, error) { return split(e, s, a, true) }},
	"splitlines": {takes("keepends?"), func(e *evaluator, s string, a callArgs) (any, error) {
		e.spend(8 * len(s))
		return texts(splitLines(s, a.has(0, "keepends"))), nil
	}},
	"partition":  partition(strings.Index, false),
	"rpartition": partition(strings.LastIndex, true),

	"startswith":   {positional(1, 3), affix(strings.HasPrefix)},
	"endswith":     {positional(1, 3), affix(strings.HasSuffix)},
	"removeprefix": removing(strings.TrimPrefix),
	"removesuffix": removing(strings.TrimSuffix),
	"replace":      {positional(2, 3), replaceText},
	"join":         {positional(1, 1), joinTexts},
	"expandtabs":   {takes("tabsize?"), expandTabs},
	"find":         {positional(1, 3), finding(strings.Index, false)},
	"rfind":        {positional(1, 3), finding(strings.LastIndex, false)},
	"index":        {positional(1, 3), finding(strings.Index, true)},
	"rindex":       {positional(1, 3), finding(strings.LastIndex, true)},
	"count": {positional(1, 3), func(e *evaluator, s string, a callArgs) (any, error) {
		q, err := textArg(a, 0)
		if err != nil {
			return nil, err
		}
		e.spend(len(s))
		part, _, ok, err := within(a, s)
		if !ok || err != nil {
			return int64(0), err
		}
		return int64(strings.Count(part, q)), nil
	}},

	"isdigit":      allOf(isDigit),
	"isdecimal":    allOf(isDecimal),
	"isnumeric":    allOf(isNumeric),
	"isalpha":      allOf(unicode.IsLetter),
	"isalnum":      allOf(isAlnum),
	"isspace":      allOf(isSpace),
	"isupper":      asking(allUpper),
	"islower":      asking(allLower),
	"istitle":      asking(isTitle),
	"isascii":      asking(isASCII),
	"isidentifier": asking(isIdentifier),
	"isprintable": asking(func(s string) bool {
		return strings.IndexFunc(s, func(r rune) bool { return r != ' ' && !unicode.IsPrint(r) }) < 0
	}),

	"zfill": {positional(1, 1), func(e *evaluator, s string, a callArgs) (any, error) {
		width, err := widthArg(a)
		if err != nil {
			return nil, err
		}
		zeros := e.repeat("0", width-int64(runeCount(s)))
		if s != "" && (s[0] == '-' || s[0] == '+') {
			return s[:1] + zeros + s[1:], nil
		}
		return zeros + s, nil
	}},
	"rjust":  padding(func(n, _ int64) int64 { return n }),
	"ljust":  padding(func(int64, int64) int64 { return 0 }),
	"center": padding(func(n, width int64) int64 { return n/2 + n&width&1 }), // as CPython rounds
}

func mapping(f func(string) string) textMethod {
	return textMethod{takes(), func(e *evaluator, s string, _ callArgs) (any, error) {
		e.text(3 * len(s)) // an upper case may have three characters
		return f(s), nil
	}}
}

func asking(f func(string) bool) textMethod {
	return textMethod{takes(), func(e *evaluator, s string, _ callArgs) (any, error) {
		e.spend(len(s))
		return f(s), nil
	}}
}

func allOf(is func(rune) bool) textMethod {
	return asking(func(s string) bool { return s != "" && strings.IndexFunc(s, func(r rune) bool { return !is(r) }) < 0 })
}

func stripping(left, right bool) textMethod {
	return textMethod{positional(0, 1), func(e *evaluator, s string, a callArgs) (any, error) {
		drop := isSpace
		if x := plain(a.arg(0, "")); x != nil {
			chars, isText := x.(string)
			if !isText {
				return nil, errors.New("TypeError: strip arg must be None or str")
			}
			drop = func(r rune) bool { return strings.ContainsRune(chars, r) }
			e.spend(min(len(chars), 64) * len(s))
		}
		e.spend(len(s))
		if left {
			s = strings.TrimLeftFunc(s, drop)
		}
		if right {
			s = strings.TrimRightFunc(s, drop)
		}
		return s, nil
	}}
}

func partition(find func(s, sep string) int, right bool) textMethod {
	return textMethod{positional(1, 1), func(e *evaluator, s string, a callArgs) (any, error) {
		sep, err := textArg(a, 0)
		if err == nil && sep == "" {
			err = errors.New("ValueError: empty separator")
		}
		if err != nil {
			return nil, err
		}
		e.spend(len(s))
		parts := []any{s, "", ""}
		if i := find(s, sep); i >= 0 {
			parts = []any{s[:i], sep, s[i+len(sep):]}
		} else if right {
			parts = []any{"", "", s}
		}
		return &Tuple{Items: parts}, nil
	}}
}

func removing(cut func(s, part string) string) textMethod {
	return textMethod{positional(1, 1), func(_ *evaluator, s string, a callArgs) (any, error) {
		p, err := textArg(a, 0)
		return cut(s, p), err
	}}
}

// within is the part of s between the arguments start and end, in characters, and
// how many stand before it; ok is false where start lies behind the end.
func within(a callArgs, s string) (part string, before int, ok bool, err error) {
	if len(a.pos) < 2 {
		return s, 0, true, nil
	}
	n := runeCount(s)
	from, to, err := bounds(a, 1, n)
	if err != nil || from > n || to < from {
		return "", 0, false, err
	}
	start := len(firstRunes(s, from))
	return s[start : start+len(firstRunes(s[start:], to-from))], from, true, nil
}

// affix is startswith and endswith, which take one text or a tuple of them.
func affix(has func(s, affix string) bool) func(*evaluator, string, callArgs) (any, error) {
	return func(_ *evaluator, s string, a callArgs) (any, error) {
		affixes := []any{a.pos[0]}
		if t, ok := a.pos[0].(*Tuple); ok {
			affixes = t.Items
		}
		part, _, ok, err := within(a, s)
		if err != nil {
			return nil, err
		}
		for _, v := range affixes {
			p, isText := plain(v).(string)
			if !isText {
				return nil, fmt.Errorf("TypeError: first arg must be str or a tuple of str, not %s", typeName(v))
			}
			if ok && has(part, p) {
				return true, nil
			}
		}
		return false, nil
	}
}

// finding returns the place of a text in characters, -1 or an error without it.
func finding(find func(s, q string) int, must bool) func(*evaluator, string, callArgs) (any, error) {
	return func(e *evaluator, s string, a callArgs) (any, error) {
		q, err := textArg(a, 0)
		if err != nil {
			return nil, err
		}
		e.spend(len(s))
		part, before, ok, err := within(a, s)
		if err != nil {
			return nil, err
		}
		i := -1
		if ok {
			i = find(part, q)
		}
		if i < 0 && must {
			return nil, errors.New("ValueError: substring not found")
		}
		if i < 0 {
			return int64(-1), nil
		}
		return int64(before + runeCount(part[:i])), nil
	}
}

func widthArg(a callArgs) (int64, error) {
	width, ok := integer(a.pos[0])
	if !ok {
		return 0, fmt.Errorf("TypeError: '%s' object cannot be interpreted as an integer", typeName(a.pos[0]))
	}
	return width, nil
}

// padding fills up to a width; left is how many of n characters go before the text.
func padding(left func(n, width int64) int64) textMethod {
	return textMethod{positional(1, 2), func(e *evaluator, s string, a callArgs) (any, error) {
		width, err := widthArg(a)
		if err != nil {
			return nil, err
		}
		fill := " "
		if len(a.pos) > 1 {
			if fill, err = textArg(a, 1); err == nil && runeCount(fill) != 1 {
				err = errors.New("TypeError: The fill character must be exactly one character long")
			}
			if err != nil {
				return nil, err
			}
		}
		n := max(0, width-int64(runeCount(s)))
		before := left(n, width)
		return e.repeat(fill, before) + s + e.repeat(fill, n-before), nil
	}}
}

func expandTabs(e *evaluator, s string, a callArgs) (any, error) {
	size, err := intArg(a, 0, "tabsize", 8)
	if err != nil {
		return nil, err
	}
	w := &textWriter{e: e}
	column := int64(0)
	for i, r := range s {
		switch {
		case r == '\t' && size > 0:
			n := size - column%size
			w.write(e.repeat(" ", n))
			column += n
		case r == '\t':
		default:
			column++
			if r == '\n' || r == '\r' {
				column = 0
			}
			w.write(s[i : i+runeLen(s[i:], r)])
		}
	}
	return w.b.String(), nil
}

func replaceText(e *evaluator, s string, a callArgs) (any, error) {
	old, err := textArg(a, 0)
	if err != nil {
		return nil, err
	}
	with, err := textArg(a, 1)
	if err != nil {
		return nil, err
	}
	limit, err := intArg(a, 2, "count", -1)
	if err != nil {
		return nil, err
	}
	n := strings.Count(s, old)
	if limit >= 0 {
		n = int(min(int64(n), limit))
	}
	e.text(len(s))
	if grow := len(with) - len(old); grow > 0 && n > 0 {
		if n > maxText/grow {
			n = maxText/grow + 1 // text stops here
		}
		e.text(len(s) + n*grow)
	}
	return strings.Replace(s, old, with, n), nil
}

func joinTexts(e *evaluator, sep string, a callArgs) (any, error) {
	items, err := e.iterate(a.pos[0])
	if err != nil {
		return nil, err
	}
	w := &textWriter{e: e}
	for i, v := range items {
		s, ok := plain(v).(string)
		if !ok {
			return nil, fmt.Errorf("TypeError: sequence item %d: expected str instance, %s found", i, typeName(v))
		}
		if i > 0 {
			w.write(sep)
		}
		w.write(s)
	}
	return w.b.String(), nil
}
