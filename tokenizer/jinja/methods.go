package jinja

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
	"unicode/utf8"
)

// method is a method of a value.
type method[T any] struct {
	takes parameters
	call  func(e *evaluator, self T, a callArgs) (any, error)
}

// bind makes the function self.name, nil if there is no such method.
func bind[T any](methods map[string]method[T], self T, name string) *function {
	m, ok := methods[name]
	if !ok {
		return nil
	}
	return &function{name: name, call: func(e *evaluator, a callArgs) (any, error) {
		if err := m.takes.check(name, a); err != nil {
			return nil, err
		}
		return m.call(e, self, a)
	}}
}

// methodOf returns the method of a value, nil without one.
func methodOf(v any, name string) *function {
	switch x := v.(type) {
	case string:
		if name == "format" || name == "format_map" { // not in the table, which formats look into
			return formatFunction(x, name)
		}
		return bind(textMethods, x, name)
	case *Dict:
		return bind(dictMethods, x, name)
	case *List:
		if name == "copy" {
			return &function{name: name, call: func(e *evaluator, _ callArgs) (any, error) { return &List{e.joined(x.Items, nil)}, nil }}
		}
		return bind(sequenceMethods, any(x), name)
	case *Tuple, rangeValue:
		return bind(sequenceMethods, v, name)
	case float64:
		return bind(floatMethods, x, name)
	case int64, bool:
		i, _ := integer(v)
		return bind(intMethods, i, name)
	}
	return nil
}

func formatFunction(s, name string) *function {
	return &function{name: name, call: func(e *evaluator, a callArgs) (any, error) {
		if name == "format_map" {
			if err := positional(1, 1).check(name, a); err != nil {
				return nil, err
			}
			d, ok := a.pos[0].(*Dict)
			if !ok {
				return nil, fmt.Errorf("TypeError: format_map() wants a mapping, not %s", typeName(a.pos[0]))
			}
			a = callArgs{}
			for i, k := range d.keys {
				a.names, a.values = append(a.names, e.str(k)), append(a.values, d.values[i])
			}
		}
		return e.formatMethod(s, a, nil)
	}}
}

func view(kind string) method[*Dict] {
	return method[*Dict]{takes(), func(_ *evaluator, d *Dict, _ callArgs) (any, error) { return &dictView{d, kind}, nil }}
}

// dictMethods are those of dict that change nothing.
var dictMethods = map[string]method[*Dict]{
	"items":  view("items"),
	"keys":   view("keys"),
	"values": view("values"),
	"get": {positional(1, 2), func(e *evaluator, d *Dict, a callArgs) (any, error) {
		hash, err := e.hash(a.pos[0])
		if err != nil {
			return nil, err
		}
		if v, ok := d.get(hash); ok {
			return v, nil
		}
		return a.arg(1, ""), nil
	}},
	"copy": {takes(), func(e *evaluator, d *Dict, _ callArgs) (any, error) {
		e.spend(stepCost * len(d.keys))
		return d.Copy(), nil
	}},
	"fromkeys": {positional(1, 2), func(e *evaluator, _ *Dict, a callArgs) (any, error) {
		keys, err := e.iterate(a.pos[0])
		d := NewDict()
		for _, k := range keys {
			hash, err := e.hash(k)
			if err != nil {
				return nil, err
			}
			d.set(hash, k, a.arg(1, ""))
		}
		return d, err
	}},
}

// sequenceMethods are those of list, tuple and range that change nothing.
var sequenceMethods = map[string]method[any]{
	"index": {positional(1, 3), func(e *evaluator, self any, a callArgs) (any, error) {
		items, err := e.iterate(self)
		if err != nil {
			return nil, err
		}
		from, to, err := bounds(a, 1, len(items))
		if err != nil {
			return nil, err
		}
		for i := from; i < to; i++ {
			if e.equal(items[i], a.pos[0]) {
				return int64(i), nil
			}
		}
		return nil, fmt.Errorf("ValueError: %s is not in %s", e.repr(a.pos[0]), typeName(self))
	}},
	"count": {positional(1, 1), func(e *evaluator, self any, a callArgs) (any, error) {
		items, err := e.iterate(self)
		n := int64(0)
		for _, v := range items {
			if e.equal(v, a.pos[0]) {
				n++
			}
		}
		return n, err
	}},
}

var floatMethods = map[string]method[float64]{
	"is_integer": {takes(), func(_ *evaluator, f float64, _ callArgs) (any, error) {
		return f == math.Trunc(f) && !math.IsInf(f, 0), nil
	}},
	"conjugate": {takes(), func(_ *evaluator, f float64, _ callArgs) (any, error) { return f, nil }},
}

var intMethods = map[string]method[int64]{
	"bit_length": {takes(), func(_ *evaluator, i int64, _ callArgs) (any, error) {
		return int64(bits.Len64(uint64(max(i, -i)))), nil
	}},
	"bit_count": {takes(), func(_ *evaluator, i int64, _ callArgs) (any, error) {
		return int64(bits.OnesCount64(uint64(max(i, -i)))), nil
	}},
	"conjugate": {takes(), func(_ *evaluator, i int64, _ callArgs) (any, error) { return i, nil }},
	"as_integer_ratio": {takes(), func(_ *evaluator, i int64, _ callArgs) (any, error) {
		return &Tuple{Items: []any{i, int64(1)}}, nil
	}},
}

// bounds reads the arguments start and end at pos of a method that searches n elements.
func bounds(a callArgs, pos, n int) (from, to int, err error) {
	out := [2]int{0, n}
	for i := range out {
		v := a.arg(pos+i, "")
		k, ok := integer(v)
		switch {
		case v == nil:
			continue
		case !ok:
			return 0, 0, errors.New("TypeError: slice indices must be integers or None or have an __index__ method")
		case k < 0:
			k = max(0, k+int64(n))
		}
		out[i] = int(min(k, int64(n)+1)) // one past the end finds not even nothing
	}
	return out[0], min(out[1], n), nil
}

// textArg returns a positional argument that must be a string.
func textArg(a callArgs, i int) (string, error) {
	s, ok := plain(a.pos[i]).(string)
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
	sep := plain(a.arg(0, "sep"))
	limit, err := intArg(a, 1, "maxsplit", -1)
	if err != nil {
		return nil, err
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
	if !ok {
		return nil, fmt.Errorf("TypeError: must be str or None, not %s", typeName(sep))
	}
	if q == "" {
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
	slices.Reverse(parts)
	return texts(parts), nil
}

// splitSpace splits at runs of white space, at most n times; what is left keeps its
// other end.
func splitSpace(s string, n int, right bool) (parts []string) {
	if right {
		s = strings.TrimRightFunc(s, isSpace)
	} else {
		s = strings.TrimLeftFunc(s, isSpace)
	}
	for ; s != "" && n > 0; n-- {
		var i, size int
		if right {
			if i = strings.LastIndexFunc(s, isSpace); i >= 0 {
				_, size = utf8.DecodeRuneInString(s[i:])
			}
		} else {
			i = strings.IndexFunc(s, isSpace)
		}
		if i < 0 {
			break
		}
		if right {
			parts = append(parts, s[i+size:])
			s = strings.TrimRightFunc(s[:i], isSpace)
		} else {
			parts = append(parts, s[:i])
			s = strings.TrimLeftFunc(s[i:], isSpace)
		}
	}
	if s != "" {
		parts = append(parts, s)
	}
	if right {
		slices.Reverse(parts)
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
		_, n := utf8.DecodeRuneInString(s[i:])
		if strings.HasPrefix(s[i:], "\r\n") {
			n = 2
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
