package jinja

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

func runeCount(s string) int { return utf8.RuneCountInString(s) }

type textMethod = method[string]

// textMethods are those of str.
var textMethods = map[string]textMethod{
	"strip":  stripping(true, true),
	"lstrip": stripping(true, false),
	"rstrip": stripping(false, true),

	"upper":      mapping(strings.ToUpper),
	"lower":      mapping(strings.ToLower),
	"casefold":   mapping(strings.ToLower),
	"title":      mapping(title),
	"capitalize": mapping(capitalize),

	"split":  {0, func(e *evaluator, s string, a callArgs) (any, error) { return split(e, s, a, false) }},
	"rsplit": {0, func(e *evaluator, s string, a callArgs) (any, error) { return split(e, s, a, true) }},
	"splitlines": {0, func(e *evaluator, s string, a callArgs) (any, error) {
		e.spend(8 * len(s))
		return texts(splitLines(s, a.has(0, "keepends"))), nil
	}},
	"partition": {1, func(_ *evaluator, s string, a callArgs) (any, error) {
		sep, err := textArg(a, 0)
		if i := strings.Index(s, sep); i >= 0 {
			return &Tuple{[]any{s[:i], sep, s[i+len(sep):]}}, err
		}
		return &Tuple{[]any{s, "", ""}}, err
	}},
	"rpartition": {1, func(_ *evaluator, s string, a callArgs) (any, error) {
		sep, err := textArg(a, 0)
		if i := strings.LastIndex(s, sep); i >= 0 {
			return &Tuple{[]any{s[:i], sep, s[i+len(sep):]}}, err
		}
		return &Tuple{[]any{"", "", s}}, err
	}},

	"startswith": {1, affix(strings.HasPrefix)},
	"endswith":   {1, affix(strings.HasSuffix)},
	"removeprefix": {1, func(_ *evaluator, s string, a callArgs) (any, error) {
		p, err := textArg(a, 0)
		return strings.TrimPrefix(s, p), err
	}},
	"removesuffix": {1, func(_ *evaluator, s string, a callArgs) (any, error) {
		p, err := textArg(a, 0)
		return strings.TrimSuffix(s, p), err
	}},
	"replace": {2, replaceText},
	"join":    {1, joinTexts},
	"format":  {0, formatText},
	"find":    {1, finding(strings.Index, false)},
	"rfind":   {1, finding(strings.LastIndex, false)},
	"index":   {1, finding(strings.Index, true)},
	"rindex":  {1, finding(strings.LastIndex, true)},
	"count": {1, func(e *evaluator, s string, a callArgs) (any, error) {
		q, err := textArg(a, 0)
		e.spend(len(s))
		return int64(strings.Count(s, q)), err
	}},

	"isdigit":   allOf(unicode.IsDigit),
	"isdecimal": allOf(unicode.IsDigit),
	"isnumeric": allOf(unicode.IsNumber),
	"isalpha":   allOf(unicode.IsLetter),
	"isalnum":   allOf(func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }),
	"isspace":   allOf(isSpace),
	"isupper": {0, func(_ *evaluator, s string, _ callArgs) (any, error) {
		return s == strings.ToUpper(s) && s != strings.ToLower(s), nil
	}},
	"islower": {0, func(_ *evaluator, s string, _ callArgs) (any, error) {
		return s == strings.ToLower(s) && s != strings.ToUpper(s), nil
	}},

	"zfill":  padding("0", func(n int64) (int64, int64) { return n, 0 }),
	"rjust":  padding(" ", func(n int64) (int64, int64) { return n, 0 }),
	"ljust":  padding(" ", func(n int64) (int64, int64) { return 0, n }),
	"center": padding(" ", func(n int64) (int64, int64) { return n / 2, n - n/2 }),
}

func mapping(f func(string) string) textMethod {
	return textMethod{0, func(e *evaluator, s string, _ callArgs) (any, error) {
		e.text(3 * len(s)) // an upper case may have three characters
		return f(s), nil
	}}
}

func stripping(left, right bool) textMethod {
	return textMethod{0, func(e *evaluator, s string, a callArgs) (any, error) {
		drop := isSpace
		if x, ok := a.get(0, "chars"); ok && x != nil {
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

func allOf(is func(rune) bool) textMethod {
	return textMethod{0, func(e *evaluator, s string, _ callArgs) (any, error) {
		e.spend(len(s))
		return s != "" && strings.IndexFunc(s, func(r rune) bool { return !is(r) }) < 0, nil
	}}
}

// affix is startswith and endswith, which take one text or a tuple of them.
func affix(has func(s, affix string) bool) func(*evaluator, string, callArgs) (any, error) {
	return func(_ *evaluator, s string, a callArgs) (any, error) {
		if t, ok := a.pos[0].(*Tuple); ok {
			for _, v := range t.Items {
				if p, ok := v.(string); ok && has(s, p) {
					return true, nil
				}
			}
			return false, nil
		}
		p, err := textArg(a, 0)
		return err == nil && has(s, p), err
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
		i := find(s, q)
		if i < 0 && must {
			return nil, errors.New("ValueError: substring not found")
		}
		if i < 0 {
			return int64(-1), nil
		}
		return int64(runeCount(s[:i])), nil
	}
}

// padding fills up to a width; share divides the missing characters.
func padding(fill string, share func(int64) (left, right int64)) textMethod {
	return textMethod{1, func(e *evaluator, s string, a callArgs) (any, error) {
		width, ok := integer(a.pos[0])
		if !ok {
			return nil, fmt.Errorf("TypeError: '%s' object cannot be interpreted as an integer", typeName(a.pos[0]))
		}
		with := fill
		if len(a.pos) > 1 {
			with = e.str(a.pos[1])
		}
		left, right := share(max(0, width-int64(runeCount(s))))
		return e.repeat(with, left) + s + e.repeat(with, right), nil
	}}
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
	n := strings.Count(s, old)
	if x, ok := a.get(2, "count"); ok {
		if limit, isInt := integer(x); isInt && limit >= 0 {
			n = int(min(int64(n), limit))
		}
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
		s, ok := v.(string)
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

func title(s string) string {
	inWord := false
	return strings.Map(func(r rune) rune {
		first := !inWord
		inWord = unicode.IsLetter(r)
		switch {
		case !inWord:
			return r
		case first:
			return unicode.ToTitle(r)
		}
		return unicode.ToLower(r)
	}, s)
}

func capitalize(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return s
	}
	return string(unicode.ToTitle(r)) + strings.ToLower(s[n:])
}

// formatText is str.format with fields {}, {0}, {name} and {:.2f}.
func formatText(e *evaluator, s string, a callArgs) (any, error) {
	w := &textWriter{e: e}
	next := 0
	for s != "" {
		i := strings.IndexAny(s, "{}")
		if i < 0 {
			break
		}
		w.write(s[:i])
		if strings.HasPrefix(s[i+1:], s[i:i+1]) { // {{ and }}
			w.write(s[i : i+1])
			s = s[i+2:]
			continue
		}
		end := strings.IndexByte(s[i:], '}')
		if s[i] == '}' || end < 0 {
			return nil, errors.New("ValueError: unbalanced '{' or '}' in format string")
		}
		field, spec, _ := strings.Cut(s[i+1:i+end], ":")
		s = s[i+end+1:]
		var v any
		var ok bool
		if field == "" {
			field = strconv.Itoa(next)
			next++
		}
		if k, err := strconv.Atoi(field); err == nil {
			if k < 0 || k >= len(a.pos) {
				return nil, errors.New("IndexError: Replacement index out of range for positional args tuple")
			}
			v = a.pos[k]
		} else if v, ok = a.named(field); !ok {
			return nil, fmt.Errorf("KeyError: %s", e.repr(field))
		}
		text := e.str(v)
		if n := len(spec); n > 0 && strings.IndexByte("dfegxXos", spec[n-1]) >= 0 {
			var err error
			if text, err = e.formatted("%"+spec[:n-1], spec[n-1], v); err != nil {
				return nil, err
			}
		}
		w.write(text)
	}
	w.write(s)
	return w.b.String(), nil
}
