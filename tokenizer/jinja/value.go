package jinja

import (
	"errors"
	"fmt"
)

// Values are nil, bool, int64, float64, string, *List, *Tuple, *Dict, bigNumber, and
// inside a rendering markup, undefined, rangeValue, *dictView, *generator, *namespace,
// *loopState, *cycler, *blockSet and *function.

// List is a Python list; templates cannot change it.
type List struct{ Items []any }

// Tuple is a Python tuple.
type Tuple struct {
	Items  []any
	fields []string // names of the items, of a named tuple
}

// bigNumber is a whole number of JSON that no int64 holds, in decimal: it is printed
// and compared, and an error in arithmetic.
type bigNumber string

// rangeValue is what range() gives.
type rangeValue struct{ start, stop, step, n int64 }

func (r rangeValue) at(i int64) int64 { return r.start + i*r.step }

func (r rangeValue) items() []any {
	items := make([]any, r.n)
	for i := range items {
		items[i] = r.at(int64(i))
	}
	return items
}

// undefined is what a missing name or attribute gives; msg says which.
type undefined struct {
	msg    string
	unsafe bool // it exists in Python, and the sandbox hides it
}

func (u undefined) err() error {
	if u.unsafe {
		return errors.New("SecurityError: " + u.msg)
	}
	return errors.New("UndefinedError: " + u.msg)
}

// generator is what Python's lazy filters give: true even when empty, without a
// length, read once. Its items are computed at once; err is what came after them.
type generator struct {
	items []any
	err   error
	kind  string // as Python names it
}

// next takes one item off.
func (g *generator) next() (v any, ok bool, err error) {
	if len(g.items) == 0 {
		err, g.err = g.err, nil
		return nil, false, err
	}
	v, g.items = g.items[0], g.items[1:]
	return v, true, nil
}

// namespace is the one thing that templates can change.
type namespace struct{ vars *Dict }

// function is a macro, a method or a global.
type function struct {
	name  string
	call  func(e *evaluator, args callArgs) (any, error)
	macro *macroNode // nil: not a macro
}

// cycler is what cycler() gives.
type cycler struct {
	items []any
	at    int
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
	case *dictView:
		return len(x.of.keys) > 0
	case rangeValue:
		return x.n > 0
	}
	return true
}

func typeName(v any) string {
	switch x := v.(type) {
	case nil:
		return "NoneType"
	case undefined:
		return "Undefined"
	case bool:
		return "bool"
	case int64, bigNumber:
		return "int"
	case float64:
		return "float"
	case string:
		return "str"
	case markup:
		return "Markup"
	case *List:
		return "list"
	case *Tuple:
		return "tuple"
	case *Dict:
		return "dict"
	case *dictView:
		return "dict_" + x.kind
	case rangeValue:
		return "range"
	case *generator:
		return "generator"
	case *namespace:
		return "Namespace"
	case *loopState:
		return "LoopContext"
	case *cycler:
		return "Cycler"
	case *blockSet:
		return "TemplateReference"
	case *function:
		if x.macro != nil {
			return "Macro"
		}
	}
	return "function"
}

// length is Python's len(); ok is false where there is none.
func length(v any) (n int, ok bool) {
	switch x := v.(type) {
	case string:
		return runeCount(x), true
	case markup:
		return runeCount(string(x)), true
	case *List:
		return len(x.Items), true
	case *Tuple:
		return len(x.Items), true
	case *Dict:
		return len(x.keys), true
	case *dictView:
		return len(x.of.keys), true
	case rangeValue:
		return int(x.n), true
	case *loopState:
		return len(x.items), true
	case undefined:
		return 0, true
	}
	return 0, false
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
	case *dictView:
		e.spend(48 * len(x.of.keys))
		return x.items(), nil
	case rangeValue:
		e.spend(24 * int(x.n))
		return x.items(), nil
	case *generator:
		items, err := x.items, x.err
		x.items, x.err = nil, nil
		return items, err
	case string:
		return e.characters(x), nil
	case undefined:
		return nil, nil
	}
	return nil, fmt.Errorf("TypeError: '%s' object is not iterable", typeName(v))
}

// characters are those of a text, as texts.
func (e *evaluator) characters(s string) []any {
	e.spend(32 * len(s))
	items := make([]any, 0, len(s))
	for i, r := range s {
		items = append(items, s[i:i+runeLen(s[i:], r)])
	}
	return items
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
