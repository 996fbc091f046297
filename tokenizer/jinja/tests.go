package jinja

import (
	"fmt"
	"slices"
)

// testFunc is what stands after is; args are at least as many as its entry in
// tests wants.
type testFunc func(e *evaluator, v any, args []any) (bool, error)

// test runs a test by name.
func (e *evaluator) test(name string, v any, args callArgs) (bool, error) {
	if name == "filter" || name == "test" { // not in the table: they look into it
		if _, err := e.hash(v); err != nil {
			return false, err
		}
		text, _ := plain(v).(string)
		_, isFilter := e.filters[text]
		_, isTest := e.tests[text]
		return name == "filter" && isFilter || name == "test" && (isTest || text == "filter" || text == "test"), nil
	}
	t, ok := e.tests[name]
	if !ok {
		//lint:ignore ST1005 Python's words
		return false, fmt.Errorf("TemplateRuntimeError: No test named '%s' found.", name)
	}
	if len(args.names) == 1 && len(args.pos) == 0 && t.args == 1 && args.names[0] == t.param {
		args.pos, args.names = args.values, nil
	}
	if err := positional(t.args, t.args).check(name, args); err != nil {
		return false, err
	}
	return t.holds(e, v, args.pos)
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

// remainder is a test of v % n.
func (e *evaluator) remainder(v, n any, want int64) (bool, error) {
	rest, err := e.arithmetic("%", v, n)
	return err == nil && e.equal(rest, want), err
}

// is is a test that cannot fail.
func is(holds func(v any) bool) testFunc {
	return func(_ *evaluator, v any, _ []any) (bool, error) { return holds(v), nil }
}

type test struct {
	args  int
	holds testFunc
	param string // the name the argument may have; empty: none
}

func testExists(name string) bool {
	_, ok := tests[name]
	return ok || name == "filter" || name == "test"
}

var tests = map[string]test{
	"defined":   {0, is(func(v any) bool { _, u := v.(undefined); return !u }), ""},
	"undefined": {0, of[undefined], ""},
	"none":      {0, is(func(v any) bool { return v == nil }), ""},
	"string":    {0, is(func(v any) bool { _, ok := plain(v).(string); return ok }), ""},
	"escaped":   {0, of[markup], ""},
	"integer":   {0, is(func(v any) bool { return typeName(v) == "int" }), ""},
	"float":     {0, of[float64], ""},
	"boolean":   {0, of[bool], ""},
	"mapping":   {0, of[*Dict], ""},
	"true":      {0, is(func(v any) bool { return v == true }), ""},
	"false":     {0, is(func(v any) bool { return v == false }), ""},
	"number":    {0, is(func(v any) bool { return slices.Contains([]string{"int", "float", "bool"}, typeName(v)) }), ""},
	"callable": {0, is(func(v any) bool {
		switch v.(type) {
		case *function, *loopState, undefined:
			return true
		}
		return false
	}), ""},
	"iterable": {0, is(func(v any) bool {
		_, sized := length(v)
		_, lazy := v.(*generator)
		return sized || lazy
	}), ""},
	"sequence": {0, is(func(v any) bool {
		switch v.(type) {
		case *dictView, *loopState:
			return false
		}
		_, sized := length(v)
		return sized
	}), ""},
	"even":        {0, func(e *evaluator, v any, _ []any) (bool, error) { return e.remainder(v, int64(2), 0) }, ""},
	"odd":         {0, func(e *evaluator, v any, _ []any) (bool, error) { return e.remainder(v, int64(2), 1) }, ""},
	"divisibleby": {1, func(e *evaluator, v any, args []any) (bool, error) { return e.remainder(v, args[0], 0) }, "num"},
	"lower":       {0, func(e *evaluator, v any, _ []any) (bool, error) { return allLower(e.str(v)), nil }, ""},
	"upper":       {0, func(e *evaluator, v any, _ []any) (bool, error) { return allUpper(e.str(v)), nil }, ""},
	"sameas":      {1, func(_ *evaluator, v any, args []any) (bool, error) { return same(v, args[0]), nil }, "other"},
	"in":          {1, comparing("in"), "seq"},
	"==":          {1, comparing("=="), ""}, "eq": {1, comparing("=="), ""}, "equalto": {1, comparing("=="), ""},
	"!=": {1, comparing("!="), ""}, "ne": {1, comparing("!="), ""},
	">": {1, comparing(">"), ""}, "gt": {1, comparing(">"), ""}, "greaterthan": {1, comparing(">"), ""},
	"<": {1, comparing("<"), ""}, "lt": {1, comparing("<"), ""}, "lessthan": {1, comparing("<"), ""},
	">=": {1, comparing(">="), ""}, "ge": {1, comparing(">="), ""},
	"<=": {1, comparing("<="), ""}, "le": {1, comparing("<="), ""},
}

// same is Python's is: numbers and texts are one if they are equal, as small ones are
// in Python.
func same(a, b any) bool {
	switch x := a.(type) {
	case undefined:
		return false
	case float64:
		return false
	case *Tuple:
		y, ok := b.(*Tuple)
		return ok && (x == y || len(x.Items)+len(y.Items) == 0)
	}
	return a == b
}
