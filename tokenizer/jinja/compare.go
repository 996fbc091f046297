package jinja

import (
	"cmp"
	"fmt"
	"strings"
)

// equal is Python's ==.
func (e *evaluator) equal(a, b any) bool {
	e.enter()
	defer e.leave()
	e.spend(stepCost)
	a, b = plain(a), plain(b)
	if i, ok := integer(a); ok {
		if j, ok := integer(b); ok {
			return i == j
		}
	}
	if x, ok := number(a); ok {
		y, ok := number(b)
		return ok && x == y
	}
	switch x := a.(type) {
	case undefined:
		_, ok := b.(undefined)
		return ok
	case string:
		y, ok := b.(string)
		if ok && len(x) == len(y) {
			e.spend(len(x) / 8)
		}
		return ok && x == y
	case *List:
		y, ok := b.(*List)
		return ok && e.equalItems(x.Items, y.Items)
	case *Tuple:
		y, ok := b.(*Tuple)
		return ok && e.equalItems(x.Items, y.Items)
	case *Dict:
		y, ok := b.(*Dict)
		return ok && e.equalDicts(x, y)
	case *dictView:
		y, ok := b.(*dictView)
		return ok && e.equalViews(x, y)
	case rangeValue:
		y, ok := b.(rangeValue)
		return ok && x.n == y.n && (x.n == 0 || x.start == y.start && (x.n == 1 || x.step == y.step))
	}
	return a == b
}

func (e *evaluator) equalItems(a, b []any) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !e.equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

func (e *evaluator) equalDicts(a, b *Dict) bool {
	if len(a.keys) != len(b.keys) {
		return false
	}
	e.spend(stepCost * len(a.keys))
	for hash, i := range a.index {
		v, ok := b.get(hash)
		if !ok || !e.equal(a.values[i], v) {
			return false
		}
	}
	return true
}

// equalViews compares keys and items as sets; values are only equal to themselves.
func (e *evaluator) equalViews(a, b *dictView) bool {
	if a.kind != b.kind || a.kind == "values" {
		return a == b
	}
	if a.kind == "items" {
		return e.equalDicts(a.of, b.of)
	}
	e.spend(stepCost * len(a.of.keys))
	for hash := range a.of.index {
		if _, ok := b.of.get(hash); !ok {
			return false
		}
	}
	return len(a.of.keys) == len(b.of.keys)
}

// ordered is a op b for < <= > >=.
func (e *evaluator) ordered(op string, a, b any) (bool, error) {
	e.enter()
	defer e.leave()
	e.spend(stepCost)
	a, b = plain(a), plain(b)
	i, ok1 := integer(a)
	j, ok2 := integer(b)
	if ok1 && ok2 {
		return inOrder(op, cmp.Compare(i, j)), nil
	}
	f, ok1 := number(a)
	g, ok2 := number(b)
	if ok1 && ok2 {
		return f == f && g == g && inOrder(op, cmp.Compare(f, g)), nil // false with nan
	}
	if x, ok := a.(string); ok {
		if y, ok := b.(string); ok {
			e.spend(min(len(x), len(y)) / 8)
			return inOrder(op, strings.Compare(x, y)), nil
		}
	}
	x, ok1 := sequence(a)
	y, ok2 := sequence(b)
	if ok1 && ok2 && typeName(a) == typeName(b) {
		for i := 0; i < len(x) && i < len(y); i++ {
			if !e.equal(x[i], y[i]) {
				return e.ordered(op, x[i], y[i])
			}
		}
		return inOrder(op, cmp.Compare(len(x), len(y))), nil
	}
	for _, v := range []any{a, b} {
		if u, ok := v.(undefined); ok {
			return false, u.err()
		}
	}
	return false, fmt.Errorf("TypeError: '%s' not supported between instances of '%s' and '%s'", op, typeName(a), typeName(b))
}

// inOrder tells whether what compares as c stands in the order op.
func inOrder(op string, c int) bool {
	return op[0] == '<' && c < 0 || op[0] == '>' && c > 0 || len(op) == 2 && c == 0
}

// contains is Python's in.
func (e *evaluator) contains(in, x any) (bool, error) {
	switch y := plain(in).(type) {
	case string:
		s, ok := plain(x).(string)
		if !ok {
			return false, fmt.Errorf("TypeError: 'in <string>' requires string as left operand, not %s", typeName(x))
		}
		e.spend(len(y))
		return strings.Contains(y, s), nil
	case *Dict:
		hash, err := e.hash(x)
		if err != nil {
			return false, err
		}
		_, ok := y.get(hash)
		return ok, nil
	case *generator:
		for {
			v, ok, err := y.next()
			if !ok || err != nil {
				return false, err
			}
			if e.equal(v, x) {
				return true, nil
			}
		}
	case *dictView:
		if y.kind == "keys" {
			return e.contains(y.of, x)
		}
	}
	items, err := e.iterate(in)
	if err != nil {
		return false, fmt.Errorf("TypeError: argument of type '%s' is not iterable", typeName(in))
	}
	for _, v := range items {
		if e.equal(v, x) {
			return true, nil
		}
	}
	return false, nil
}
