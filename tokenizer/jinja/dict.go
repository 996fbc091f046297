package jinja

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Dict is a Python dict: it keeps the order of its keys.
type Dict struct {
	keys, values []any
	index        map[any]int // by hash
}

// NewDict returns an empty dict.
func NewDict() *Dict { return &Dict{index: map[any]int{}} }

// Set sets the value of a key: nil, a bool, int64, float64 or string.
func (d *Dict) Set(key, value any) { d.set(scalarHash(key), key, value) }

// Get returns the value of a key that could be set.
func (d *Dict) Get(key any) (value any, ok bool) { return d.get(scalarHash(key)) }

// Keys returns the keys in order; the slice is the dict's own.
func (d *Dict) Keys() []any { return d.keys }

// Delete takes a key out and returns its value.
func (d *Dict) Delete(key any) (value any, ok bool) {
	at, ok := d.index[scalarHash(key)]
	if !ok {
		return nil, false
	}
	value = d.values[at]
	d.keys, d.values = slices.Delete(d.keys, at, at+1), slices.Delete(d.values, at, at+1)
	delete(d.index, scalarHash(key))
	for hash, i := range d.index {
		if i > at {
			d.index[hash] = i - 1
		}
	}
	return value, true
}

// Copy returns a dict with the same keys and values.
func (d *Dict) Copy() *Dict {
	c := &Dict{keys: append([]any(nil), d.keys...), values: append([]any(nil), d.values...), index: make(map[any]int, len(d.index))}
	for k, i := range d.index {
		c.index[k] = i
	}
	return c
}

func (d *Dict) set(hash, key, value any) {
	i, ok := d.index[hash]
	if !ok {
		d.index[hash] = len(d.keys)
		d.keys, d.values = append(d.keys, key), append(d.values, value)
		return
	}
	d.values[i] = value
}

func (d *Dict) get(hash any) (value any, ok bool) {
	i, ok := d.index[hash]
	if !ok {
		return nil, false
	}
	return d.values[i], true
}

func (d *Dict) items() []any {
	items := make([]any, len(d.keys))
	for i, k := range d.keys {
		items[i] = &Tuple{Items: []any{k, d.values[i]}}
	}
	return items
}

// dictView is what the methods keys, values and items give.
type dictView struct {
	of   *Dict
	kind string
}

func (v *dictView) items() []any {
	switch v.kind {
	case "keys":
		return v.of.keys
	case "values":
		return v.of.values
	}
	return v.of.items()
}

// scalarHash is the key under which index holds a scalar: 1, 1.0 and True are one.
func scalarHash(v any) any {
	switch x := v.(type) {
	case bool:
		i, _ := integer(x)
		return i
	case float64:
		if x == math.Trunc(x) && math.Abs(x) < 1<<63 {
			return int64(x)
		}
	case markup:
		return string(x)
	}
	return v
}

// tupleHash is scalarHash of a tuple.
type tupleHash string

// hash returns the key under which a Dict holds v, or Python's error for what
// cannot be a key.
func (e *evaluator) hash(v any) (any, error) {
	e.enter()
	defer e.leave()
	e.spend(stepCost)
	switch x := v.(type) {
	case *List, *Dict:
		return nil, errUnhashable(v)
	case *dictView:
		if x.kind != "values" {
			return nil, errUnhashable(v)
		}
	case undefined:
		return undefined{}, nil
	case *Tuple:
		var b strings.Builder
		for _, item := range x.Items {
			h, err := e.hash(item)
			if err != nil {
				return nil, err
			}
			part := fmt.Sprintf("%T:%v", h, h)
			e.text(len(part) + 20)
			fmt.Fprintf(&b, "%d:%s", len(part), part)
		}
		return tupleHash(b.String()), nil
	}
	return scalarHash(v), nil
}

func errUnhashable(v any) error {
	return fmt.Errorf("TypeError: unhashable type: '%s'", typeName(v))
}
