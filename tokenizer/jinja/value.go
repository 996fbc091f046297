package jinja

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
)

// Values are nil, bool, int64, float64, string, *List, *Tuple, *Dict, and inside
// a rendering markup, undefined, *generator, *namespace, *loopState and *function.

// List is a Python list; templates cannot change it.
type List struct{ Items []any }

// Tuple is a Python tuple.
type Tuple struct{ Items []any }

// Dict is a Python dict: it keeps the order of its keys.
type Dict struct {
	keys, values []any
	index        map[any]int
}

// NewDict returns an empty dict.
func NewDict() *Dict { return &Dict{index: map[any]int{}} }

// Set sets the value of a key: nil, a bool, int64, float64 or string.
func (d *Dict) Set(key, value any) {
	i, ok := d.index[key]
	if !ok {
		d.index[key] = len(d.keys)
		d.keys, d.values = append(d.keys, key), append(d.values, value)
		return
	}
	d.values[i] = value
}

// Get returns the value of a key that could be set.
func (d *Dict) Get(key any) (value any, ok bool) {
	i, ok := d.index[key]
	if !ok {
		return nil, false
	}
	return d.values[i], true
}

func (d *Dict) items() []any {
	items := make([]any, len(d.keys))
	for i, k := range d.keys {
		items[i] = &Tuple{[]any{k, d.values[i]}}
	}
	return items
}

// hashable tells whether v can be the key of a Dict.
func hashable(v any) bool {
	switch v.(type) {
	case nil, bool, int64, float64, string:
		return true
	}
	return false
}

func errUnhashable(v any) error {
	return fmt.Errorf("TypeError: unhashable type: '%s'", typeName(v))
}

// undefined is what a missing name or attribute gives; msg says which.
type undefined struct{ msg string }

func (u undefined) err() error { return errors.New("UndefinedError: " + u.msg) }

// generator is what Python's lazy filters give: true even when empty, without a
// length, read once. Its items are computed at once; err is what came after them.
type generator struct {
	items []any
	err   error
}

// namespace is the one thing that templates can change.
type namespace struct{ vars map[string]any }

// function is a macro, a method or a global.
type function struct {
	name string
	call func(e *evaluator, args callArgs) (any, error)
}

// callArgs are the values of a call.
type callArgs struct {
	pos    []any
	names  []string
	values []any
}

// named returns a keyword argument.
func (a callArgs) named(name string) (any, bool) {
	for i, n := range a.names {
		if n == name {
			return a.values[i], true
		}
	}
	return nil, false
}

// get returns the argument at a position or of a name.
func (a callArgs) get(i int, name string) (any, bool) {
	if i < len(a.pos) {
		return a.pos[i], true
	}
	return a.named(name)
}

// has is the truth of an argument; a missing one is false.
func (a callArgs) has(i int, name string) bool {
	v, ok := a.get(i, name)
	return ok && truthy(v)
}

// need reports a call with fewer than n positional arguments.
func (a callArgs) need(name string, n int) error {
	if len(a.pos) < n {
		return fmt.Errorf("TypeError: %s() takes at least %d argument(s), got %d", name, n, len(a.pos))
	}
	return nil
}

func truthy(v any) bool {
	switch x := v.(type) {
	case nil, undefined:
		return false
	case bool:
		return x
	case int64:
		return x != 0
	case float64:
		return x != 0
	case string:
		return x != ""
	case markup:
		return x != ""
	case *List:
		return len(x.Items) > 0
	case *Tuple:
		return len(x.Items) > 0
	case *Dict:
		return len(x.keys) > 0
	}
	return true
}

func typeName(v any) string {
	switch v.(type) {
	case nil:
		return "NoneType"
	case undefined:
		return "Undefined"
	case bool:
		return "bool"
	case int64:
		return "int"
	case float64:
		return "float"
	case string, markup:
		return "str"
	case *List:
		return "list"
	case *Tuple:
		return "tuple"
	case *Dict:
		return "dict"
	case *generator:
		return "generator"
	case *namespace:
		return "Namespace"
	case *loopState:
		return "LoopContext"
	}
	return "function"
}

// iterate returns the elements of v; a generator is empty afterwards.
func (e *evaluator) iterate(v any) ([]any, error) {
	switch x := plain(v).(type) {
	case *List:
		return x.Items, nil
	case *Tuple:
		return x.Items, nil
	case *Dict:
		return x.keys, nil
	case *generator:
		items, err := x.items, x.err
		x.items, x.err = nil, nil
		return items, err
	case string:
		e.spend(32 * len(x))
		items := make([]any, 0, len(x))
		for _, r := range x {
			items = append(items, string(r))
		}
		return items, nil
	case undefined:
		return nil, nil
	}
	return nil, fmt.Errorf("TypeError: '%s' object is not iterable", typeName(v))
}

// sequence returns the elements of a list or tuple.
func sequence(v any) ([]any, bool) {
	switch x := v.(type) {
	case *List:
		return x.Items, true
	case *Tuple:
		return x.Items, true
	}
	return nil, false
}

// number returns the value of an int, float or bool.
func number(v any) (float64, bool) {
	if i, ok := integer(v); ok {
		return float64(i), true
	}
	f, ok := v.(float64)
	return f, ok
}

// integer returns the value of an int or bool.
func integer(v any) (int64, bool) {
	switch x := v.(type) {
	case int64:
		return x, true
	case bool:
		if x {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

// str is Python's str().
func (e *evaluator) str(v any) string {
	switch x := v.(type) {
	case string:
		return x
	case markup:
		return string(x)
	case nil:
		return "None"
	case undefined:
		return ""
	case int64:
		return strconv.FormatInt(x, 10)
	}
	return e.repr(v)
}

// repr is Python's repr().
func (e *evaluator) repr(v any) string {
	w := &textWriter{e: e}
	w.repr(v)
	return w.b.String()
}

// textWriter builds a text and accounts for it.
type textWriter struct {
	e *evaluator
	b strings.Builder
}

func (w *textWriter) write(s string) {
	w.e.spend(len(s))
	if w.b.Len()+len(s) > maxText {
		w.e.text(maxText + 1)
	}
	w.b.WriteString(s)
}

func (w *textWriter) repr(v any) {
	w.e.enter()
	defer w.e.leave()
	w.e.spend(stepCost)
	switch x := plain(v).(type) {
	case nil:
		w.write("None")
	case undefined:
		w.write("Undefined")
	case bool:
		if x {
			w.write("True")
		} else {
			w.write("False")
		}
	case int64:
		w.write(strconv.FormatInt(x, 10))
	case float64:
		w.write(floatText(x))
	case string:
		w.write(quote(x))
	case *List:
		w.write("[")
		w.reprs(x.Items)
		w.write("]")
	case *Tuple:
		w.write("(")
		w.reprs(x.Items)
		if len(x.Items) == 1 {
			w.write(",")
		}
		w.write(")")
	case *Dict:
		w.write("{")
		for i, k := range x.keys {
			if i > 0 {
				w.write(", ")
			}
			w.repr(k)
			w.write(": ")
			w.repr(x.values[i])
		}
		w.write("}")
	default:
		w.write("<" + typeName(v) + ">")
	}
}

func (w *textWriter) reprs(items []any) {
	for i, x := range items {
		if i > 0 {
			w.write(", ")
		}
		w.repr(x)
	}
}

// floatText is repr() of a float.
func floatText(f float64) string {
	switch a := math.Abs(f); {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 0):
		return strings.TrimPrefix(strings.ToLower(strconv.FormatFloat(f, 'f', -1, 64)), "+")
	case f == math.Trunc(f) && a < 1e16:
		return strconv.FormatFloat(f, 'f', 1, 64)
	case a >= 1e-4 && a < 1e16:
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// quote is repr() of a string.
func quote(s string) string {
	q := '\''
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		q = '"'
	}
	var b strings.Builder
	b.WriteRune(q)
	for _, r := range s {
		switch {
		case r == q || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == ' ' || unicode.IsPrint(r):
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteRune(q)
	return b.String()
}
