package jinja

import (
	"fmt"
	"strings"
)

// equal is Python's ==.
func (e *evaluator) equal(a, b any) bool {
	e.enter()
	defer e.leave()
	e.spend(stepCost)
	a, b = plain(a), plain(b)
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
		if !ok || len(x.keys) != len(y.keys) {
			return false
		}
		for i, k := range x.keys {
			v, ok := y.Get(k)
			if !ok || !e.equal(x.values[i], v) {
				return false
			}
		}
		return true
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

// compare orders two values as Python's < and > do.
func (e *evaluator) compare(a, b any) (int, error) {
	e.enter()
	defer e.leave()
	e.spend(stepCost)
	a, b = plain(a), plain(b)
	if x, ok := number(a); ok {
		if y, ok := number(b); ok {
			switch {
			case x < y:
				return -1, nil
			case x > y:
				return 1, nil
			}
			return 0, nil
		}
	}
	if x, ok := a.(string); ok {
		if y, ok := b.(string); ok {
			e.spend(min(len(x), len(y)) / 8)
			return strings.Compare(x, y), nil
		}
	}
	x, ok1 := sequence(a)
	y, ok2 := sequence(b)
	if ok1 && ok2 {
		for i := 0; i < len(x) && i < len(y); i++ {
			if !e.equal(x[i], y[i]) {
				return e.compare(x[i], y[i])
			}
		}
		return len(x) - len(y), nil
	}
	for _, v := range []any{a, b} {
		if u, ok := v.(undefined); ok {
			return 0, u.err()
		}
	}
	return 0, fmt.Errorf("TypeError: '<' not supported between instances of '%s' and '%s'", typeName(a), typeName(b))
}

// contains is Python's in.
func (e *evaluator) contains(in, x any) (bool, error) {
	in, x = plain(in), plain(x)
	switch y := in.(type) {
	case string:
		s, ok := x.(string)
		if !ok {
			return false, fmt.Errorf("TypeError: 'in <string>' requires string as left operand, not %s", typeName(x))
		}
		e.spend(len(y))
		return strings.Contains(y, s), nil
	case *Dict:
		if !hashable(x) {
			if _, ok := x.(undefined); ok {
				return false, nil
			}
			return false, errUnhashable(x)
		}
		_, ok := y.Get(x)
		return ok, nil
	case *namespace:
		return false, fmt.Errorf("TypeError: argument of type 'Namespace' is not iterable")
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
