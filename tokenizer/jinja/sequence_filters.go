package jinja

import (
	"errors"
	"fmt"
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
	if g, ok := v.(*generator); ok {
		first, ok, err := g.next()
		if !ok && err == nil {
			first = undefined{msg: "No first item, sequence was empty."}
		}
		return first, err
	}
	items, err := e.iterate(v)
	if err != nil {
		return nil, err
	}
	if len(items) == 0 {
		return undefined{msg: "No first item, sequence was empty."}, nil
	}
	return items[0], nil
}

func filterLast(e *evaluator, v any, _ callArgs) (any, error) {
	switch v.(type) {
	case *generator, *loopState:
		return nil, fmt.Errorf("TypeError: '%s' object is not reversible", typeName(v))
	}
	items, err := e.iterate(v)
	if err != nil {
		return nil, err
	}
	if len(items) == 0 {
		return undefined{msg: "No last item, sequence was empty."}, nil
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
		if _, ok := v.(*generator); ok {
			return nil, err
		}
		return nil, errors.New("FilterArgumentError: argument must be iterable")
	}
	e.spend(16 * len(items))
	items = slices.Clone(items)
	slices.Reverse(items)
	if _, ok := v.(*generator); ok {
		return &List{items}, nil
	}
	return &generator{kind: "list_reverseiterator object", items: items}, nil
}

// attributePath reads "a.b.0".
func (e *evaluator) attributePath(attribute any) []any {
	text, ok := plain(attribute).(string)
	if !ok {
		if attribute == nil {
			return nil
		}
		return []any{attribute}
	}
	e.spend(32 * len(text))
	var path []any
	for _, p := range strings.Split(text, ".") {
		if i, err := strconv.ParseInt(p, 10, 64); err == nil && strings.Trim(p, "0123456789") == "" {
			path = append(path, i)
		} else {
			path = append(path, p)
		}
	}
	return path
}

// keyed returns what reads an attribute of an item, or the item itself without one,
// in lower case unless cases count; value stands for what is missing.
func (e *evaluator) keyed(attribute, value any, caseSensitive bool) func(any) (any, error) {
	path := e.attributePath(attribute)
	return func(v any) (any, error) {
		v, err := e.path(v, path, value)
		return e.ignoreCase(v, caseSensitive), err
	}
}

func (e *evaluator) ignoreCase(v any, caseSensitive bool) any {
	s, ok := plain(v).(string)
	if !ok || caseSensitive {
		return v
	}
	e.text(3 * len(s))
	return lower(s)
}

// arg is an argument, nil if it is not given.
func (a callArgs) arg(i int, name string) any {
	v, _ := a.get(i, name)
	return v
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
	key := e.keyed(a.arg(1, "attribute"), nil, true)
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
func (e *evaluator) lazily(kind string, items []any, f func(any) (v any, keep bool, err error)) *generator {
	g := &generator{kind: kind}
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
	if err != nil && len(items) == 0 || len(items) == 0 && !truthy(v) {
		return &generator{kind: "generator object sync_do_map", err: err}, nil
	}
	fail := func(text string) (any, error) {
		return &generator{kind: "generator object sync_do_map", err: errors.New("FilterArgumentError: " + text)}, nil
	}
	var g *generator
	if attribute, ok := a.named("attribute"); ok && len(a.pos) == 0 {
		value, _ := a.named("default")
		for _, name := range a.names {
			if name != "attribute" && name != "default" {
				return fail("Unexpected keyword argument '" + name + "'")
			}
		}
		path := e.attributePath(attribute)
		g = e.lazily("generator object sync_do_map", items, func(item any) (any, bool, error) {
			v, err := e.path(item, path, value)
			return v, true, err
		})
	} else if len(a.pos) == 0 {
		return fail("map requires a filter argument")
	} else {
		name, args := e.str(a.pos[0]), callArgs{a.pos[1:], a.names, a.values}
		g = e.lazily("generator object sync_do_map", items, func(item any) (any, bool, error) {
			v, err := e.apply(name, item, args)
			return v, true, err
		})
	}
	if g.err == nil {
		g.err = err
	}
	return g, nil
}

// selecting is select, reject, selectattr and rejectattr.
func selecting(want, byAttribute bool) filterFunc {
	return func(e *evaluator, v any, a callArgs) (any, error) {
		items, err := e.iterateTrue(v)
		if err != nil {
			return &generator{kind: "generator object select_or_reject", err: err}, nil
		}
		args, key := a, func(v any) (any, error) { return v, nil }
		if byAttribute {
			if len(a.pos) == 0 {
				if !truthy(v) {
					return &generator{kind: "generator object select_or_reject"}, nil
				}
				return &generator{kind: "generator object select_or_reject", err: errors.New("FilterArgumentError: Missing parameter for attribute name")}, nil
			}
			path := e.attributePath(a.pos[0])
			key = func(v any) (any, error) { return e.path(v, path, nil) }
			args.pos = a.pos[1:]
		}
		return e.lazily("generator object select_or_reject", items, func(item any) (any, bool, error) {
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
