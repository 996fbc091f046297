package jinja

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

func (e *evaluator) eval(x expr) (any, error) {
	e.enter()
	defer e.leave()
	e.spend(stepCost)
	switch x := x.(type) {
	case constExpr:
		return x.value, nil
	case nameExpr:
		if v, ok := e.scope.get(x.name); ok && v != (unset{}) {
			return v, nil
		}
		return undefined{msg: "'" + x.name + "' is undefined"}, nil
	case listExpr:
		items, err := e.evalAll(x.items)
		return &List{items}, err
	case tupleExpr:
		items, err := e.evalAll(x.items)
		return &Tuple{Items: items}, err
	case dictExpr:
		return e.dict(x)
	case attrExpr:
		of, err := e.eval(x.of)
		if err != nil {
			return nil, err
		}
		return e.attribute(of, x.name)
	case itemExpr:
		of, err := e.eval(x.of)
		if err != nil {
			return nil, err
		}
		index, err := e.eval(x.index)
		if err != nil {
			return nil, err
		}
		return e.item(of, index)
	case sliceExpr:
		return e.slice(x)
	case callExpr:
		return e.call(x, nil)
	case *filterExpr:
		v, err := e.eval(x.in)
		if err != nil {
			return nil, err
		}
		return e.filter(x, v)
	case testExpr:
		v, err := e.eval(x.in)
		if err != nil {
			return nil, err
		}
		args, err := e.args(x.args)
		if err != nil {
			return nil, err
		}
		return e.test(x.name, v, args)
	case unaryExpr:
		return e.unary(x)
	case condExpr:
		cond, err := e.eval(x.cond)
		if err != nil {
			return nil, err
		}
		if truthy(cond) {
			return e.eval(x.yes)
		}
		if x.no == nil {
			return undefined{msg: fmt.Sprintf("the inline if-expression on line %d evaluated to false and no else section was defined.", x.line)}, nil
		}
		return e.eval(x.no)
	case concatExpr:
		w := &textWriter{e: e}
		for _, item := range x.items {
			v, err := e.eval(item)
			if err != nil {
				return nil, err
			}
			w.write(e.str(v))
		}
		return w.b.String(), nil
	case compareExpr:
		return e.comparison(x)
	case binaryExpr:
		return e.binary(x)
	}
	return nil, fmt.Errorf("cannot evaluate %T", x)
}

func (e *evaluator) evalAll(xs []expr) ([]any, error) {
	items := make([]any, len(xs))
	for i, x := range xs {
		var err error
		if items[i], err = e.eval(x); err != nil {
			return nil, err
		}
	}
	return items, nil
}

func (e *evaluator) dict(x dictExpr) (any, error) {
	d := NewDict()
	for i := range x.keys {
		k, err := e.eval(x.keys[i])
		if err != nil {
			return nil, err
		}
		hash, err := e.hash(k)
		if err != nil {
			return nil, err
		}
		v, err := e.eval(x.values[i])
		if err != nil {
			return nil, err
		}
		d.set(hash, k, v)
	}
	return d, nil
}

func (e *evaluator) unary(x unaryExpr) (any, error) {
	v, err := e.eval(x.x)
	if err != nil {
		return nil, err
	}
	if x.op == "not" {
		return !truthy(v), nil
	}
	if i, ok := integer(v); ok {
		if x.op == "-" {
			if i == math.MinInt64 {
				return nil, errOverflow
			}
			i = -i
		}
		return i, nil
	}
	if f, ok := v.(float64); ok {
		if x.op == "-" {
			f = -f
		}
		return f, nil
	}
	if u, ok := v.(undefined); ok {
		return nil, u.err()
	}
	return nil, fmt.Errorf("TypeError: bad operand type for unary %s: '%s'", x.op, typeName(v))
}

func (e *evaluator) comparison(x compareExpr) (any, error) {
	a, err := e.eval(x.first)
	if err != nil {
		return nil, err
	}
	for i, op := range x.ops {
		b, err := e.eval(x.rest[i])
		if err != nil {
			return nil, err
		}
		holds, err := e.holds(op, a, b)
		if err != nil {
			return nil, err
		}
		if !holds {
			return false, nil
		}
		a = b
	}
	return true, nil
}

// holds tells whether a op b.
func (e *evaluator) holds(op string, a, b any) (bool, error) {
	switch op {
	case "==":
		return e.equal(a, b), nil
	case "!=":
		return !e.equal(a, b), nil
	case "in":
		return e.contains(b, a)
	case "not in":
		in, err := e.contains(b, a)
		return !in, err
	}
	return e.ordered(op, a, b)
}

func (e *evaluator) binary(x binaryExpr) (any, error) {
	a, err := e.eval(x.a)
	if err != nil {
		return nil, err
	}
	if x.op == "and" || x.op == "or" {
		if truthy(a) == (x.op == "or") {
			return a, nil
		}
		return e.eval(x.b)
	}
	b, err := e.eval(x.b)
	if err != nil {
		return nil, err
	}
	return e.arithmetic(x.op, a, b)
}

func (e *evaluator) args(x argsExpr) (a callArgs, err error) {
	a.names = x.names
	if a.pos, err = e.evalAll(x.pos); err != nil {
		return a, err
	}
	if a.values, err = e.evalAll(x.values); err != nil {
		return a, err
	}
	if x.star != nil {
		v, err := e.eval(x.star)
		if err != nil {
			return a, err
		}
		items, err := e.iterate(v)
		if err != nil {
			return a, fmt.Errorf("TypeError: argument after * must be an iterable, not %s", typeName(v))
		}
		a.pos = e.joined(a.pos, items)
	}
	if x.starStar == nil {
		return a, nil
	}
	v, err := e.eval(x.starStar)
	if err != nil {
		return a, err
	}
	d, ok := v.(*Dict)
	if !ok {
		return a, fmt.Errorf("TypeError: argument after ** must be a mapping, not %s", typeName(v))
	}
	e.spend(stepCost * len(d.keys))
	a.names = slices.Clone(a.names)
	for i, k := range d.keys {
		name, ok := plain(k).(string)
		if !ok {
			return a, errors.New("TypeError: keywords must be strings")
		}
		if slices.Contains(x.names, name) {
			return a, fmt.Errorf("TypeError: got multiple values for keyword argument '%s'", name)
		}
		a.names, a.values = append(a.names, name), append(a.values, d.values[i])
	}
	return a, nil
}

// call calls a function; caller, if any, is the body of a call block.
func (e *evaluator) call(x callExpr, caller *function) (any, error) {
	f, err := e.eval(x.of)
	if err != nil {
		return nil, err
	}
	args, err := e.args(x.args)
	if err != nil {
		return nil, err
	}
	if caller != nil {
		if slices.Contains(args.names, "caller") {
			return nil, errors.New("TypeError: got multiple values for keyword argument 'caller'")
		}
		args.names = append(slices.Clone(args.names), "caller")
		args.values = append(args.values, caller)
	}
	switch g := f.(type) {
	case *function:
		e.enter()
		defer e.leave()
		return g.call(e, args)
	case *loopState:
		if g.recurse == nil {
			return nil, errors.New("TypeError: the loop must have the 'recursive' marker to be called recursively")
		}
		if err := takes("iterable").check("loop", args); err != nil {
			return nil, err
		}
		return g.recurse(e, args.pos[0])
	case undefined:
		return nil, g.err()
	}
	return nil, fmt.Errorf("TypeError: '%s' object is not callable", typeName(f))
}

func (e *evaluator) filter(f *filterExpr, v any) (any, error) {
	args, err := e.args(f.args)
	if err != nil {
		return nil, err
	}
	return e.apply(f.name, v, args)
}

// apply runs a filter by name.
func (e *evaluator) apply(name string, v any, args callArgs) (any, error) {
	filter, ok := e.filters[name]
	if !ok {
		//lint:ignore ST1005 Python's words
		return nil, fmt.Errorf("TemplateRuntimeError: No filter named '%s' found.", name)
	}
	if err := filter.takes.check(name, args); err != nil {
		return nil, err
	}
	m, ok := v.(markup)
	if !ok || seesMarkup[name] {
		return filter.call(e, v, args)
	}
	out, err := filter.call(e, string(m), args)
	if keepsMarkup[name] {
		out = rewrap(out)
	}
	return out, err
}

// slice is of[from:to:step].
func (e *evaluator) slice(x sliceExpr) (any, error) {
	of, err := e.eval(x.of)
	if err != nil {
		return nil, err
	}
	var bounds [3]*int64
	for i, part := range []expr{x.from, x.to, x.step} {
		if part == nil {
			continue
		}
		v, err := e.eval(part)
		if err != nil {
			return nil, err
		}
		if n, ok := integer(v); ok {
			bounds[i] = &n
		} else if v != nil {
			return nil, errors.New("TypeError: slice indices must be integers or None")
		}
	}
	switch v := of.(type) {
	case undefined:
		return nil, v.err()
	case string:
		return e.sliceText(v, bounds)
	case markup:
		text, err := e.sliceText(string(v), bounds)
		return markup(text), err
	case *List:
		items, err := e.sliced(v.Items, bounds)
		return &List{items}, err
	case *Tuple:
		items, err := e.sliced(v.Items, bounds)
		return &Tuple{Items: items}, err
	case rangeValue:
		from, to, step, n, err := indices(v.n, bounds)
		return rangeValue{v.at(from), v.at(to), step * v.step, n}, err
	case *Dict:
		return nil, errors.New("TypeError: unhashable type: 'slice'")
	}
	return nil, fmt.Errorf("TypeError: '%s' object is not subscriptable", typeName(of))
}

func (e *evaluator) sliceText(s string, bounds [3]*int64) (string, error) {
	if len(s) != runeCount(s) {
		items, err := e.sliced(e.characters(s), bounds)
		var b strings.Builder
		for _, c := range items {
			b.WriteString(c.(string))
		}
		return b.String(), err
	}
	from, _, step, n, err := indices(int64(len(s)), bounds)
	if n == 0 || err != nil {
		return "", err
	}
	if e.text(int(n)); step == 1 {
		return s[from : from+n], nil
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = s[from+int64(i)*step]
	}
	return string(b), nil
}

// sliced picks items as Python's slice(from, to, step) does.
func (e *evaluator) sliced(items []any, bounds [3]*int64) ([]any, error) {
	from, _, step, n, err := indices(int64(len(items)), bounds)
	if err != nil {
		return nil, err
	}
	e.spend(16 * int(n))
	out := make([]any, n)
	for i := range out {
		out[i] = items[from+int64(i)*step]
	}
	return out, nil
}

// indices are those a slice picks of n: the first, the one behind, the step and how
// many.
func indices(n int64, bounds [3]*int64) (from, to, step, count int64, err error) {
	step = 1
	if bounds[2] != nil {
		step = max(-n-1, min(n+1, *bounds[2])) // more goes past the end as well
	}
	if bounds[2] != nil && *bounds[2] == 0 {
		return 0, 0, 0, 0, errors.New("ValueError: slice step cannot be zero")
	}
	first, last := int64(0), n // the range an index is cut to
	if step < 0 {
		first, last = -1, n-1
	}
	index := func(v *int64, absent int64) int64 {
		if v == nil {
			return absent
		}
		i := *v
		if i < 0 {
			i += n
		}
		return max(first, min(last, i))
	}
	from, to = index(bounds[0], first), index(bounds[1], last)
	if step < 0 {
		from, to = index(bounds[0], last), index(bounds[1], first)
		return from, to, step, max(0, (from-to-step-1)/-step), nil
	}
	return from, to, step, max(0, (to-from+step-1)/step), nil
}
