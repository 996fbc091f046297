package jinja

import (
	"errors"
	"fmt"
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
		if v, ok := e.scope.get(x.name); ok {
			return v, nil
		}
		return undefined{fmt.Sprintf("'%s' is undefined", x.name)}, nil
	case listExpr:
		items, err := e.evalAll(x.items)
		return &List{items}, err
	case tupleExpr:
		items, err := e.evalAll(x.items)
		return &Tuple{items}, err
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
			return undefined{"the inline if-expression evaluated to false and no else section was defined"}, nil
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
		if k = plain(k); !hashable(k) {
			return nil, errUnhashable(k)
		}
		v, err := e.eval(x.values[i])
		if err != nil {
			return nil, err
		}
		d.Set(k, v)
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
	c, err := e.compare(a, b)
	return err == nil && (op[0] == '<' && c < 0 || op[0] == '>' && c > 0 || len(op) == 2 && c == 0), err
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
	a.values, err = e.evalAll(x.values)
	return a, err
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
		args.names = append(append([]string(nil), args.names...), "caller")
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
		if err := args.need("loop", 1); err != nil {
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
		return nil, fmt.Errorf("TemplateRuntimeError: No filter named '%s'", name)
	}
	m, ok := v.(markup)
	if !ok || name == "default" || name == "d" || name == "escape" || name == "e" {
		return filter(e, v, args)
	}
	out, err := filter(e, string(m), args)
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
	switch v := plain(of).(type) {
	case undefined:
		return nil, v.err()
	case string:
		items, err := e.iterate(v)
		if err != nil {
			return nil, err
		}
		if items, err = sliced(items, bounds); err != nil {
			return nil, err
		}
		var b strings.Builder
		for _, r := range items {
			b.WriteString(r.(string))
		}
		return b.String(), nil
	case *List:
		items, err := sliced(v.Items, bounds)
		e.spend(16 * len(items))
		return &List{items}, err
	case *Tuple:
		items, err := sliced(v.Items, bounds)
		e.spend(16 * len(items))
		return &Tuple{items}, err
	}
	return undefined{fmt.Sprintf("'%s object' cannot be sliced", typeName(of))}, nil
}

// sliced picks items as Python's slice(from, to, step) does.
func sliced(items []any, bounds [3]*int64) ([]any, error) {
	n, step := int64(len(items)), int64(1)
	if bounds[2] != nil {
		step = max(-n-1, min(n+1, *bounds[2])) // more goes past the end as well
	}
	if step == 0 {
		return nil, errors.New("ValueError: slice step cannot be zero")
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
	from, to := index(bounds[0], first), index(bounds[1], last)
	if step < 0 {
		from, to = index(bounds[0], last), index(bounds[1], first)
	}
	var out []any
	for i := from; step > 0 && i < to || step < 0 && i > to; i += step {
		out = append(out, items[i])
	}
	return out, nil
}
