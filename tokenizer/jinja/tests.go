package jinja

import (
	"errors"
	"fmt"
	"strings"
)

// testFunc is what stands after is; args are at least as many as its entry in
// tests wants.
type testFunc func(e *evaluator, v any, args []any) (bool, error)

// test runs a test by name.
func (e *evaluator) test(name string, v any, args callArgs) (bool, error) {
	t, ok := tests[name]
	if !ok {
		return false, fmt.Errorf("TemplateRuntimeError: No test named '%s'", name)
	}
	if err := args.need(name, t.args); err != nil {
		return false, err
	}
	return t.holds(e, plain(v), args.pos)
}

// of is a test of a value's type.
func of[T any](_ *evaluator, v any, _ []any) (bool, error) {
	_, ok := v.(T)
	return ok, nil
}

// comparing is a test that compares with its argument.
func comparing(op string) testFunc {
	return func(e *evaluator, v any, args []any) (bool, error) { return e.holds(op, v, args[0]) }
}

// parity is even (0) or odd (1).
func parity(rest int64) testFunc {
	return func(_ *evaluator, v any, _ []any) (bool, error) {
		i, ok := integer(v)
		if !ok {
			return false, fmt.Errorf("TypeError: unsupported operand type(s) for %%: '%s' and 'int'", typeName(v))
		}
		return i&1 == rest, nil
	}
}

var tests = map[string]struct {
	args  int
	holds testFunc
}{
	"defined":   {0, func(_ *evaluator, v any, _ []any) (bool, error) { _, u := v.(undefined); return !u, nil }},
	"undefined": {0, of[undefined]},
	"none":      {0, func(_ *evaluator, v any, _ []any) (bool, error) { return v == nil, nil }},
	"string":    {0, of[string]},
	"integer":   {0, of[int64]},
	"float":     {0, of[float64]},
	"boolean":   {0, of[bool]},
	"mapping":   {0, of[*Dict]},
	"callable":  {0, of[*function]},
	"number":    {0, func(_ *evaluator, v any, _ []any) (bool, error) { _, ok := number(v); return ok, nil }},
	"true":      {0, func(_ *evaluator, v any, _ []any) (bool, error) { return v == true, nil }},
	"false":     {0, func(_ *evaluator, v any, _ []any) (bool, error) { return v == false, nil }},
	"iterable": {0, func(_ *evaluator, v any, _ []any) (bool, error) {
		switch v.(type) {
		case *List, *Tuple, *Dict, *generator, string, undefined:
			return true, nil
		}
		return false, nil
	}},
	"sequence": {0, func(_ *evaluator, v any, _ []any) (bool, error) {
		switch v.(type) {
		case *List, *Tuple, *Dict, string, undefined:
			return true, nil
		}
		return false, nil
	}},
	"even": {0, parity(0)},
	"odd":  {0, parity(1)},
	"lower": {0, func(e *evaluator, v any, _ []any) (bool, error) {
		s := e.str(v)
		return s == strings.ToLower(s) && s != strings.ToUpper(s), nil
	}},
	"upper": {0, func(e *evaluator, v any, _ []any) (bool, error) {
		s := e.str(v)
		return s == strings.ToUpper(s) && s != strings.ToLower(s), nil
	}},
	"divisibleby": {1, func(_ *evaluator, v any, args []any) (bool, error) {
		i, ok1 := integer(v)
		j, ok2 := integer(args[0])
		if !ok1 || !ok2 || j == 0 {
			return false, errors.New("TypeError: divisibleby wants integers, and not zero")
		}
		return i%j == 0, nil
	}},
	"sameas": {1, func(_ *evaluator, v any, args []any) (bool, error) { return v == args[0], nil }},
	"in":     {1, comparing("in")},
	"==":     {1, comparing("==")}, "eq": {1, comparing("==")}, "equalto": {1, comparing("==")},
	"!=": {1, comparing("!=")}, "ne": {1, comparing("!=")},
	">": {1, comparing(">")}, "gt": {1, comparing(">")}, "greaterthan": {1, comparing(">")},
	"<": {1, comparing("<")}, "lt": {1, comparing("<")}, "lessthan": {1, comparing("<")},
	">=": {1, comparing(">=")}, "ge": {1, comparing(">=")},
	"<=": {1, comparing("<=")}, "le": {1, comparing("<=")},
}
