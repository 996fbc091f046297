package jinja

import (
	"slices"
	"strings"
)

// pretty is Python's pprint.pformat with a width of 80: what does not fit is broken
// after commas, keys are sorted. Long texts stay whole, which Python splits at spaces.
func (e *evaluator) pretty(v any) string {
	w := &textWriter{e: e}
	w.pretty(v, 0, 0)
	return w.b.String()
}

func (w *textWriter) pretty(v any, indent, after int) {
	w.e.enter()
	defer w.e.leave()
	v = sortedKeys(w.e, v)
	text := w.e.repr(v)
	if runeCount(text) <= 80-indent-after {
		w.write(text)
		return
	}
	pad := ",\n" + strings.Repeat(" ", indent+1)
	items, isSequence := sequence(v)
	d, isDict := v.(*Dict)
	if isDict {
		items = d.keys
	}
	if len(items) == 0 || !isSequence && !isDict {
		w.write(text)
		return
	}
	open, end := "[", "]"
	if _, ok := v.(*Tuple); ok {
		if open, end = "(", ")"; len(items) == 1 {
			end = ",)"
		}
	}
	if isDict {
		open, end = "{", "}"
	}
	w.write(open)
	for i, item := range items {
		last := 1
		if i > 0 {
			w.write(pad)
		}
		if i == len(items)-1 {
			last = after + len(end)
		}
		if !isDict {
			w.pretty(item, indent+1, last)
			continue
		}
		key := w.e.repr(item)
		w.write(key + ": ")
		w.pretty(d.values[i], indent+runeCount(key)+3, last)
	}
	w.write(end)
}

// sortedKeys is v with the keys of dicts in it in order, where they have one.
func sortedKeys(e *evaluator, v any) any {
	e.enter()
	defer e.leave()
	e.spend(stepCost)
	each := func(items []any) []any {
		items = slices.Clone(items)
		for i, item := range items {
			items[i] = sortedKeys(e, item)
		}
		return items
	}
	switch x := v.(type) {
	case *List:
		return &List{each(x.Items)}
	case *Tuple:
		return &Tuple{Items: each(x.Items)}
	case *Dict:
		items, err := e.sorted(x.items(), func(v any) (any, error) { return v.(*Tuple).Items[0], nil }, false)
		if err != nil {
			items = x.items()
		}
		d := NewDict()
		for _, pair := range items {
			p := pair.(*Tuple).Items
			if hash, err := e.hash(p[0]); err == nil {
				d.set(hash, p[0], sortedKeys(e, p[1]))
			}
		}
		return d
	}
	return v
}
