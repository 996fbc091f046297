package jinja

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

func filterList(e *evaluator, v any, _ callArgs) (any, error) {
	items, err := e.iterate(v)
	e.spend(16 * len(items))
	return &List{slices.Clone(items)}, err
}

func filterFirst(e *evaluator, v any, _ callArgs) (any, error) {
	if g, ok := v.(*generator); ok && len(g.items) > 0 {
		first := g.items[0]
		g.items = g.items[1:]
		return first, nil
	}
	items, err := e.iterate(v)
	if err != nil {
		return nil, err
	}
	if len(items) == 0 {
		return undefined{"No first item, sequence was empty."}, nil
	}
	return items[0], nil
}

func filterLast(e *evaluator, v any, _ callArgs) (any, error) {
	if _, ok := v.(*generator); ok {
		return nil, errors.New("TypeError: 'generator' object is not reversible")
	}
	items, err := e.iterate(v)
	if err != nil {
		return nil, err
	}
	if len(items) == 0 {
		return undefined{"No last item, sequence was empty."}, nil
	}
	return items[len(items)-1], nil
}

func filterReverse(e *evaluator, v any, _ callArgs) (any, error) {
	if s, ok := v.(string); ok {
		e.text(len(s))
		r := []rune(s)
		slices.Reverse(r)
		return string(r), nil
	}
	items, err := e.iterate(v)
	if err != nil {
		return nil, err
	}
	e.spend(16 * len(items))
	items = slices.Clone(items)
	slices.Reverse(items)
	return &generator{items: items}, nil
}

// attributePath reads "a.b.0".
func (e *evaluator) attributePath(attribute any) []any {
	if i, ok := integer(attribute); ok {
		return []any{i}
	}
	var path []any
	for _, p := range strings.Split(e.str(attribute), ".") {
		if i, err := strconv.ParseInt(p, 10, 64); err == nil && i >= 0 {
			path = append(path, i)
		} else {
			path = append(path, p)
		}
	}
	return path
}

// keyed returns what reads the attribute of an item, or the item itself without one.
func (e *evaluator) keyed(a callArgs, pos int) func(any) (any, error) {
	attribute, ok := a.get(pos, "attribute")
	if !ok || attribute == nil {
		return func(v any) (any, error) { return v, nil }
	}
	path := e.attributePath(attribute)
	return func(v any) (any, error) { return e.path(v, path) }
}

func filterJoin(e *evaluator, v any, a callArgs) (any, error) {
	items, err := e.iterate(v)
	if err != nil {
		return nil, err
	}
	sep := ""
	if x, ok := a.get(0, "d"); ok {
		sep = e.str(x)
	}
	key := e.keyed(a, 1)
	w := &textWriter{e: e}
	for i, item := range items {
		if i > 0 {
			w.write(sep)
		}
		if item, err = key(item); err != nil {
			return nil, err
		}
		w.write(e.str(item))
	}
	return w.b.String(), nil
}

// iterateTrue is iterate for the filters that take none and 0 for an empty list.
func (e *evaluator) iterateTrue(v any) ([]any, error) {
	if !truthy(v) {
		return nil, nil
	}
	return e.iterate(v)
}

// lazily maps items one by one; an error is kept for whoever reads that far.
func (e *evaluator) lazily(items []any, f func(any) (v any, keep bool, err error)) *generator {
	g := &generator{}
	for _, item := range items {
		e.spend(stepCost)
		v, keep, err := f(item)
		if err != nil {
			g.err = err
			break
		}
		if keep {
			g.items = append(g.items, v)
		}
	}
	return g
}

func filterMap(e *evaluator, v any, a callArgs) (any, error) {
	items, err := e.iterateTrue(v)
	if err != nil {
		return &generator{err: err}, nil
	}
	if attribute, ok := a.named("attribute"); ok && len(a.pos) == 0 {
		path := e.attributePath(attribute)
		value, hasDefault := a.named("default")
		return e.lazily(items, func(item any) (any, bool, error) {
			v, err := e.path(item, path)
			if _, missing := v.(undefined); missing && hasDefault {
				v = value
			}
			return v, true, err
		}), nil
	}
	if len(a.pos) == 0 {
		return nil, errors.New("FilterArgumentError: map requires a filter argument")
	}
	name, args := e.str(a.pos[0]), callArgs{a.pos[1:], a.names, a.values}
	return e.lazily(items, func(item any) (any, bool, error) {
		v, err := e.apply(name, item, args)
		return v, true, err
	}), nil
}

// selecting is select, reject, selectattr and rejectattr.
func selecting(want, byAttribute bool) filterFunc {
	return func(e *evaluator, v any, a callArgs) (any, error) {
		items, err := e.iterateTrue(v)
		if err != nil {
			return &generator{err: err}, nil
		}
		args, key := a, func(v any) (any, error) { return v, nil }
		if byAttribute {
			if len(a.pos) == 0 {
				return nil, errors.New("FilterArgumentError: Missing parameter for attribute name")
			}
			path := e.attributePath(a.pos[0])
			key = func(v any) (any, error) { return e.path(v, path) }
			args.pos = a.pos[1:]
		}
		return e.lazily(items, func(item any) (any, bool, error) {
			v, err := key(item)
			if err != nil {
				return nil, false, err
			}
			holds := truthy(v)
			if len(args.pos) > 0 {
				test := callArgs{args.pos[1:], args.names, args.values}
				if holds, err = e.test(e.str(args.pos[0]), v, test); err != nil {
					return nil, false, err
				}
			}
			return item, holds == want, nil
		}), nil
	}
}

// sortKey folds case unless asked not to.
func sortKey(v any, caseSensitive bool) any {
	if s, ok := v.(string); ok && !caseSensitive {
		return strings.ToLower(s)
	}
	return v
}

// sorted returns items in the order of their keys.
func (e *evaluator) sorted(items []any, key func(any) (any, error), caseSensitive, reverse bool) ([]any, error) {
	type pair struct{ key, item any }
	pairs := make([]pair, len(items))
	for i, item := range items {
		k, err := key(item)
		if err != nil {
			return nil, err
		}
		pairs[i] = pair{sortKey(k, caseSensitive), item}
	}
	var failed error
	slices.SortStableFunc(pairs, func(a, b pair) int {
		c, err := e.compare(a.key, b.key)
		if err != nil && failed == nil {
			failed = err
		}
		if reverse {
			return -c
		}
		return c
	})
	out := make([]any, len(pairs))
	for i, p := range pairs {
		out[i] = p.item
	}
	return out, failed
}

func filterSort(e *evaluator, v any, a callArgs) (any, error) {
	items, err := e.iterate(v)
	if err != nil {
		return nil, err
	}
	items, err = e.sorted(items, e.keyed(a, 2), a.has(1, "case_sensitive"), a.has(0, "reverse"))
	return &List{items}, err
}

func filterDictSort(e *evaluator, v any, a callArgs) (any, error) {
	d, ok := v.(*Dict)
	if !ok {
		return nil, errors.New("TypeError: dictsort wants a mapping")
	}
	by, _ := a.get(1, "by")
	items, err := e.sorted(d.items(), func(v any) (any, error) {
		pair := v.(*Tuple).Items
		if by == "value" {
			return pair[1], nil
		}
		return pair[0], nil
	}, a.has(0, "case_sensitive"), a.has(2, "reverse"))
	return &List{items}, err
}

func filterUnique(e *evaluator, v any, a callArgs) (any, error) {
	items, err := e.iterate(v)
	if err != nil {
		return nil, err
	}
	key := e.keyed(a, 1)
	var seen []any
	return e.lazily(items, func(item any) (any, bool, error) {
		k, err := key(item)
		if err != nil {
			return nil, false, err
		}
		k = sortKey(k, a.has(0, "case_sensitive"))
		if slices.ContainsFunc(seen, func(s any) bool { return e.equal(s, k) }) {
			return nil, false, nil
		}
		seen = append(seen, k)
		return item, true, nil
	}), nil
}

// extreme is min (-1) or max (1).
func extreme(sign int) filterFunc {
	return func(e *evaluator, v any, a callArgs) (any, error) {
		items, err := e.iterate(v)
		if err != nil {
			return nil, err
		}
		if len(items) == 0 {
			return undefined{"No aggregated item, sequence was empty."}, nil
		}
		key := e.keyed(a, 1)
		best, bestKey := any(nil), any(nil)
		for i, item := range items {
			k, err := key(item)
			if err != nil {
				return nil, err
			}
			k = sortKey(k, a.has(0, "case_sensitive"))
			c := 1
			if i > 0 {
				if c, err = e.compare(k, bestKey); err != nil {
					return nil, err
				}
				c *= sign
			}
			if c > 0 {
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
	key := e.keyed(a, 0)
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
		return nil, err
	}
	x, _ := a.get(0, "linecount")
	n, ok := integer(x)
	if !ok || n < 1 {
		return nil, errors.New("TypeError: batch wants a positive size")
	}
	fill, filled := a.get(1, "fill_with")
	g := &generator{}
	for len(items) > 0 {
		size := min(int(min(n, maxRange)), len(items))
		batch := slices.Clone(items[:size])
		for filled && fill != nil && int64(len(batch)) < n {
			e.spend(stepCost)
			batch = append(batch, fill)
		}
		g.items, items = append(g.items, &List{batch}), items[size:]
	}
	return g, nil
}

func filterGroupBy(e *evaluator, v any, a callArgs) (any, error) {
	items, err := e.iterate(v)
	if err != nil {
		return nil, err
	}
	key := e.keyed(a, 0)
	if items, err = e.sorted(items, key, false, false); err != nil {
		return nil, err
	}
	list := &List{}
	var last any
	for i, item := range items {
		k, err := key(item)
		if err != nil {
			return nil, err
		}
		if i == 0 || !e.equal(sortKey(k, false), sortKey(last, false)) {
			list.Items = append(list.Items, &Tuple{[]any{k, &List{}}})
		}
		last = k
		group := list.Items[len(list.Items)-1].(*Tuple).Items[1].(*List)
		group.Items = append(group.Items, item)
	}
	return list, nil
}
