package jinja

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// method is a method of a value; it gets at least args positional arguments.
type method[T any] struct {
	args int
	call func(e *evaluator, self T, a callArgs) (any, error)
}

// bind makes the function self.name, nil if there is no such method.
func bind[T any](methods map[string]method[T], self T, name string) *function {
	m, ok := methods[name]
	if !ok {
		return nil
	}
	return &function{name, func(e *evaluator, a callArgs) (any, error) {
		if err := a.need(name, m.args); err != nil {
			return nil, err
		}
		pos := make([]any, len(a.pos))
		for i, v := range a.pos {
			pos[i] = plain(v)
		}
		a.pos = pos
		return m.call(e, self, a)
	}}
}

// methodOf returns the method of a value, nil without one.
func methodOf(v any, name string) *function {
	switch x := v.(type) {
	case string:
		return bind(textMethods, x, name)
	case *Dict:
		return bind(dictMethods, x, name)
	case *List:
		return bind(listMethods, &x.Items, name)
	case *Tuple:
		if name == "index" || name == "count" {
			return bind(listMethods, &x.Items, name)
		}
	}
	return nil
}

// changing is a method that would change its value: the sandbox refuses.
func changing[T any](typ, name string) method[T] {
	return method[T]{0, func(*evaluator, T, callArgs) (any, error) {
		return nil, fmt.Errorf("SecurityError: access to attribute '%s' of '%s' object is unsafe", name, typ)
	}}
}

var dictMethods = map[string]method[*Dict]{
	"items": {0, func(e *evaluator, d *Dict, _ callArgs) (any, error) {
		e.spend(48 * len(d.keys))
		return &List{d.items()}, nil
	}},
	"keys":   {0, func(_ *evaluator, d *Dict, _ callArgs) (any, error) { return &List{d.keys}, nil }},
	"values": {0, func(_ *evaluator, d *Dict, _ callArgs) (any, error) { return &List{d.values}, nil }},
	"get": {1, func(_ *evaluator, d *Dict, a callArgs) (any, error) {
		if !hashable(a.pos[0]) {
			return nil, errUnhashable(a.pos[0])
		}
		if v, ok := d.Get(a.pos[0]); ok {
			return v, nil
		}
		v, _ := a.get(1, "default")
		return v, nil
	}},
	"copy": {0, func(e *evaluator, d *Dict, _ callArgs) (any, error) {
		e.spend(stepCost * len(d.keys))
		return makeDict(callArgs{pos: []any{d}})
	}},
	"update":     changing[*Dict]("dict", "update"),
	"pop":        changing[*Dict]("dict", "pop"),
	"popitem":    changing[*Dict]("dict", "popitem"),
	"setdefault": changing[*Dict]("dict", "setdefault"),
	"clear":      changing[*Dict]("dict", "clear"),
}

var listMethods = map[string]method[*[]any]{
	"index": {1, func(e *evaluator, items *[]any, a callArgs) (any, error) {
		for i, v := range *items {
			if e.equal(v, a.pos[0]) {
				return int64(i), nil
			}
		}
		return nil, fmt.Errorf("ValueError: %s is not in list", e.repr(a.pos[0]))
	}},
	"count": {1, func(e *evaluator, items *[]any, a callArgs) (any, error) {
		n := int64(0)
		for _, v := range *items {
			if e.equal(v, a.pos[0]) {
				n++
			}
		}
		return n, nil
	}},
	"copy": {0, func(e *evaluator, items *[]any, _ callArgs) (any, error) {
		return &List{e.joined(*items, nil)}, nil
	}},
	"append":  changing[*[]any]("list", "append"),
	"extend":  changing[*[]any]("list", "extend"),
	"insert":  changing[*[]any]("list", "insert"),
	"pop":     changing[*[]any]("list", "pop"),
	"remove":  changing[*[]any]("list", "remove"),
	"reverse": changing[*[]any]("list", "reverse"),
	"sort":    changing[*[]any]("list", "sort"),
	"clear":   changing[*[]any]("list", "clear"),
}

// isSpace is Python's str.isspace of one character.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// textArg returns a positional argument that must be a string.
func textArg(a callArgs, i int) (string, error) {
	s, ok := a.pos[i].(string)
	if !ok {
		return "", fmt.Errorf("TypeError: argument %d must be str, not %s", i+1, typeName(a.pos[i]))
	}
	return s, nil
}

func texts(parts []string) *List {
	list := &List{make([]any, len(parts))}
	for i, p := range parts {
		list.Items[i] = p
	}
	return list
}

// split is str.split (right false) and str.rsplit.
func split(e *evaluator, s string, a callArgs, right bool) (any, error) {
	sep, _ := a.get(0, "sep")
	limit := int64(-1)
	if x, ok := a.get(1, "maxsplit"); ok {
		limit, _ = integer(x)
	}
	n := len(s) + 1 // more splits than there can be
	if limit >= 0 && limit < int64(n) {
		n = int(limit)
	}
	e.spend(len(s))
	if sep == nil {
		return texts(splitSpace(s, n, right)), nil
	}
	q, ok := sep.(string)
	if !ok || q == "" {
		return nil, errors.New("ValueError: empty separator")
	}
	e.spend(32 * min(n, strings.Count(s, q)))
	if !right {
		return texts(strings.SplitN(s, q, n+1)), nil
	}
	var parts []string
	for ; n > 0; n-- {
		i := strings.LastIndex(s, q)
		if i < 0 {
			break
		}
		parts = append(parts, s[i+len(q):])
		s = s[:i]
	}
	parts = append(parts, s)
	for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
		parts[i], parts[j] = parts[j], parts[i]
	}
	return texts(parts), nil
}

// splitSpace splits at runs of white space, at most n times.
func splitSpace(s string, n int, right bool) (parts []string) {
	s = strings.TrimFunc(s, isSpace)
	if !right {
		for ; s != "" && n > 0; n-- {
			i := strings.IndexFunc(s, isSpace)
			if i < 0 {
				break
			}
			parts = append(parts, s[:i])
			s = strings.TrimLeftFunc(s[i:], isSpace)
		}
		if s != "" {
			parts = append(parts, s)
		}
		return parts
	}
	for ; s != "" && n > 0; n-- {
		i := strings.LastIndexFunc(s, isSpace)
		if i < 0 {
			break
		}
		word := s[i:]
		parts = append(parts, strings.TrimLeftFunc(word, isSpace))
		s = strings.TrimRightFunc(s[:i], isSpace)
	}
	if s != "" {
		parts = append(parts, s)
	}
	for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
		parts[i], parts[j] = parts[j], parts[i]
	}
	return parts
}

// splitLines is str.splitlines.
func splitLines(s string, keep bool) (lines []string) {
	for s != "" {
		i := strings.IndexAny(s, "\n\r\v\f\x1c\x1d\x1e\u0085\u2028\u2029")
		if i < 0 {
			return append(lines, s)
		}
		n := 1
		switch {
		case strings.HasPrefix(s[i:], "\r\n"):
			n = 2
		case s[i] >= 0x80:
			n = len(string([]rune(s[i:min(i+3, len(s))])[0]))
		}
		end := i
		if keep {
			end += n
		}
		lines = append(lines, s[:end])
		s = s[i+n:]
	}
	return lines
}
