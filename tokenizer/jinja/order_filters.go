package jinja

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// sorted returns items in the order of their keys.
func (e *evaluator) sorted(items []any, key func(any) (any, error), reverse bool) ([]any, error) {
	type pair struct{ key, item any }
	pairs := make([]pair, len(items))
	for i, item := range items {
		k, err := key(item)
		if err != nil {
			return nil, err
		}
		pairs[i] = pair{k, item}
	}
	var failed error
	less := func(a, b pair) bool {
		c, err := e.ordered("<", a.key, b.key)
		if err != nil && failed == nil {
			failed = err
		}
		return c
	}
	slices.SortStableFunc(pairs, func(a, b pair) int {
		switch {
		case failed != nil:
			return 0
		case less(a, b):
			return -1
		case less(b, a):
			return 1
		}
		return 0
	})
	out := make([]any, len(pairs))
	for i, p := range pairs {
		out[i] = p.item
	}
	if reverse { // equal ones stay in their order
		return e.reversedRuns(out, key)
	}
	return out, failed
}

// reversedRuns turns sorted items around, but not those with equal keys.
func (e *evaluator) reversedRuns(items []any, key func(any) (any, error)) ([]any, error) {
	slices.Reverse(items)
	for from := 0; from < len(items); {
		first, err := key(items[from])
		if err != nil {
			return nil, err
		}
		to := from + 1
		for ; to < len(items); to++ {
			k, err := key(items[to])
			if err != nil {
				return nil, err
			}
			before, err := e.ordered("<", k, first)
			if err != nil {
				return nil, err
			}
			if before {
				break
			}
		}
		slices.Reverse(items[from:to])
		from = to
	}
	return items, nil
}

func filterSort(e *evaluator, v any, a callArgs) (any, error) {
	items, err := e.iterate(v)
	if err != nil {
		return nil, err
	}
	var keys []func(any) (any, error) // of "a.b,c"
	attributes := []any{a.arg(2, "attribute")}
	if text, ok := plain(attributes[0]).(string); ok {
		attributes = attributes[:0]
		for _, name := range strings.Split(text, ",") {
			attributes = append(attributes, name)
		}
	}
	for _, attribute := range attributes {
		keys = append(keys, e.keyed(attribute, nil, a.has(1, "case_sensitive")))
	}
	items, err = e.sorted(items, func(v any) (any, error) {
		all := make([]any, len(keys))
		for i, key := range keys {
			var err error
			if all[i], err = key(v); err != nil {
				return nil, err
			}
		}
		return &List{all}, nil
	}, a.has(0, "reverse"))
	return &List{items}, err
}

func filterDictSort(e *evaluator, v any, a callArgs) (any, error) {
	at, by := 0, a.arg(1, "by")
	switch by {
	case nil, "key":
	case "value":
		at = 1
	default:
		return nil, errors.New(`FilterArgumentError: You can only sort by either "key" or "value"`)
	}
	d, ok := v.(*Dict)
	if !ok {
		if u, ok := v.(undefined); ok {
			return nil, u.err()
		}
		return nil, fmt.Errorf("AttributeError: '%s' object has no attribute 'items'", typeName(v))
	}
	items, err := e.sorted(d.items(), func(v any) (any, error) {
		return e.ignoreCase(v.(*Tuple).Items[at], a.has(0, "case_sensitive")), nil
	}, a.has(2, "reverse"))
	return &List{items}, err
}

func filterUnique(e *evaluator, v any, a callArgs) (any, error) {
	items, err := e.iterate(v)
	if err != nil {
		return &generator{kind: "generator object sync_do_unique", err: err}, nil
	}
	key := e.keyed(a.arg(1, "attribute"), nil, a.has(0, "case_sensitive"))
	seen := map[any]bool{}
	return e.lazily("generator object sync_do_unique", items, func(item any) (any, bool, error) {
		k, err := key(item)
		if err != nil {
			return nil, false, err
		}
		hash, err := e.hash(k)
		if err != nil || seen[hash] {
			return nil, false, err
		}
		seen[hash] = true
		return item, true, nil
	}), nil
}

// extreme is min (<) or max (>): the first item that no other comes before.
func extreme(op string) filterFunc {
	return func(e *evaluator, v any, a callArgs) (any, error) {
		items, err := e.iterate(v)
		if err != nil {
			return nil, err
		}
		if len(items) == 0 {
			return undefined{msg: "No aggregated item, sequence was empty."}, nil
		}
		key := e.keyed(a.arg(1, "attribute"), nil, a.has(0, "case_sensitive"))
		best := items[0]
		bestKey, err := key(best)
		if err != nil {
			return nil, err
		}
		for _, item := range items[1:] {
			k, err := key(item)
			if err != nil {
				return nil, err
			}
			better, err := e.ordered(op, k, bestKey)
			if err != nil {
				return nil, err
			}
			if better {
				best, bestKey = item, k
			}
		}
		return best, nil
	}
}

func filterSum(e *evaluator, v any, a callArgs) (any, error) {
	items, err := e.iterate(v)
	if err != nil {
		return nil, err
	}
	sum := any(int64(0))
	if start, ok := a.get(1, "start"); ok {
		sum = start
	}
	if _, ok := plain(sum).(string); ok {
		return nil, errors.New("TypeError: sum() can't sum strings [use ''.join(seq) instead]")
	}
	key := e.keyed(a.arg(0, "attribute"), nil, true)
	for _, item := range items {
		if item, err = key(item); err != nil {
			return nil, err
		}
		if sum, err = e.arithmetic("+", sum, item); err != nil {
			return nil, err
		}
	}
	return sum, nil
}

func filterBatch(e *evaluator, v any, a callArgs) (any, error) {
	items, err := e.iterate(v)
	if err != nil {
		return &generator{kind: "generator object do_batch", err: err}, nil
	}
	n, ok := integer(a.arg(0, "linecount"))
	fill := a.arg(1, "fill_with")
	g := &generator{kind: "generator object do_batch"}
	if !ok && fill != nil {
		g.err = fmt.Errorf("TypeError: '<' not supported between instances of 'int' and '%s'", typeName(a.arg(0, "linecount")))
		return g, nil
	}
	if n == 0 && ok && len(items) > 0 {
		g.items = append(g.items, &List{}) // as full as it will be
	}
	for len(items) > 0 {
		size := len(items) // a length that no batch reaches makes one of all
		if n > 0 {
			size = int(min(n, int64(size)))
		}
		e.spend(stepCost + 16*size)
		batch := slices.Clone(items[:size])
		if fill != nil {
			batch = append(batch, e.repeatItems([]any{fill}, n-int64(size))...)
		}
		g.items, items = append(g.items, &List{batch}), items[size:]
	}
	return g, nil
}

func filterSlice(e *evaluator, v any, a callArgs) (any, error) {
	items, err := e.iterate(v)
	if err != nil {
		return &generator{kind: "generator object sync_do_slice", err: err}, nil
	}
	n, ok := integer(a.arg(0, "slices"))
	if !ok {
		return &generator{kind: "generator object sync_do_slice", err: fmt.Errorf("TypeError: '%s' object cannot be interpreted as an integer", typeName(a.arg(0, "slices")))}, nil
	}
	if n == 0 {
		return &generator{kind: "generator object sync_do_slice", err: errors.New("ZeroDivisionError: integer division or modulo by zero")}, nil
	}
	fill := a.arg(1, "fill_with")
	g := &generator{kind: "generator object sync_do_slice"}
	for i := int64(0); i < n; i++ {
		each, extra := int64(len(items))/n, int64(len(items))%n
		from, to := i*each+min(i, extra), (i+1)*each+min(i+1, extra)
		e.spend(stepCost + 16*int(to-from))
		part := slices.Clone(items[from:to])
		if fill != nil && i >= extra {
			part = append(part, fill)
		}
		g.items = append(g.items, &List{part})
	}
	return g, nil
}

func filterGroupBy(e *evaluator, v any, a callArgs) (any, error) {
	items, err := e.iterate(v)
	if err != nil {
		return nil, err
	}
	attribute, value, caseSensitive := a.arg(0, "attribute"), a.arg(1, "default"), a.has(2, "case_sensitive")
	key, shown := e.keyed(attribute, value, caseSensitive), e.keyed(attribute, value, true)
	if items, err = e.sorted(items, key, false); err != nil {
		return nil, err
	}
	list := &List{}
	var last any
	for i, item := range items {
		k, err := key(item)
		if err != nil {
			return nil, err
		}
		if i == 0 || !e.equal(k, last) {
			label, err := shown(item)
			if err != nil {
				return nil, err
			}
			list.Items = append(list.Items, &Tuple{[]any{label, &List{}}, []string{"grouper", "list"}})
		}
		last = k
		group := list.Items[len(list.Items)-1].(*Tuple).Items[1].(*List)
		group.Items = append(group.Items, item)
	}
	return list, nil
}
