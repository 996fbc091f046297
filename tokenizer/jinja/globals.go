package jinja

import (
	"errors"
	"fmt"
	"time"
)

// globals are the functions every template has: Jinja2's, and raise_exception and
// strftime_now of transformers. lipsum, which makes random text, is left out.
func globals(now func() time.Time, blocks map[string]blockNode) map[string]any {
	vars := map[string]any{"self": &blockSet{blocks}}
	for name, call := range globalFunctions {
		vars[name] = &function{name: name, call: call}
	}
	vars["strftime_now"] = &function{name: "strftime_now", call: func(e *evaluator, a callArgs) (any, error) {
		if err := takes("format").check("strftime_now", a); err != nil {
			return nil, err
		}
		v, _ := a.get(0, "format")
		format, ok := plain(v).(string)
		if !ok {
			return nil, fmt.Errorf("TypeError: strftime() argument 1 must be str, not %s", typeName(v))
		}
		e.text(32 * len(format))
		return strftime(now(), format), nil
	}}
	return vars
}

var globalFunctions = map[string]func(*evaluator, callArgs) (any, error){
	"range": makeRange,
	"dict":  func(e *evaluator, a callArgs) (any, error) { return e.makeDict("dict", a) },
	"namespace": func(e *evaluator, a callArgs) (any, error) {
		d, err := e.makeDict("namespace", a)
		return &namespace{d}, err
	},
	"cycler": func(_ *evaluator, a callArgs) (any, error) {
		if len(a.names) > 0 {
			return nil, fmt.Errorf("TypeError: cycler() got an unexpected keyword argument '%s'", a.names[0])
		}
		if len(a.pos) == 0 {
			return nil, errors.New("RuntimeError: at least one item has to be provided")
		}
		return &cycler{items: a.pos}, nil
	},
	"joiner": func(e *evaluator, a callArgs) (any, error) {
		if err := takes("sep?").check("joiner", a); err != nil {
			return nil, err
		}
		sep, ok := a.get(0, "sep")
		if !ok {
			sep = ", "
		}
		used := false
		return &function{name: "joiner", call: func(*evaluator, callArgs) (any, error) {
			if !used {
				used = true
				return "", nil
			}
			return sep, nil
		}}, nil
	},
	"raise_exception": func(e *evaluator, a callArgs) (any, error) {
		if err := takes("message").check("raise_exception", a); err != nil {
			return nil, err
		}
		message, _ := a.get(0, "message")
		return nil, errors.New("TemplateError: " + e.str(message))
	},
}

// makeDict is dict(mapping or pairs, name=value, …).
func (e *evaluator) makeDict(name string, a callArgs) (*Dict, error) {
	if len(a.pos) > 1 {
		return nil, fmt.Errorf("TypeError: %s expected at most 1 argument, got %d", name, len(a.pos))
	}
	d := NewDict()
	for _, x := range a.pos {
		if from, ok := x.(*Dict); ok {
			e.spend(stepCost * len(from.keys))
			d = from.Copy()
			continue
		}
		pairs, err := e.iterate(x)
		if err != nil {
			return nil, err
		}
		for _, p := range pairs {
			pair, err := e.iterate(p)
			if err != nil {
				return nil, err
			}
			if len(pair) != 2 {
				return nil, fmt.Errorf("ValueError: dictionary update sequence element has length %d; 2 is required", len(pair))
			}
			hash, err := e.hash(pair[0])
			if err != nil {
				return nil, err
			}
			d.set(hash, pair[0], pair[1])
		}
	}
	for i, name := range a.names {
		d.Set(name, a.values[i])
	}
	return d, nil
}

func makeRange(e *evaluator, a callArgs) (any, error) {
	if len(a.pos) == 0 || len(a.pos) > 3 || len(a.names) > 0 {
		return nil, fmt.Errorf("TypeError: range expected 1 to 3 arguments, got %d", len(a.pos))
	}
	n := [3]int64{0, 0, 1}
	for i, x := range a.pos {
		v, ok := integer(x)
		if !ok {
			return nil, fmt.Errorf("TypeError: '%s' object cannot be interpreted as an integer", typeName(x))
		}
		n[i] = v
	}
	r := rangeValue{start: n[0], stop: n[1], step: n[2]}
	if len(a.pos) == 1 {
		r.start, r.stop = 0, n[0]
	}
	if r.step == 0 {
		return nil, errors.New("ValueError: range() arg 3 must not be zero")
	}
	// Distance and step as uint64, in which no difference of int64 overflows.
	distance, step := uint64(r.stop)-uint64(r.start), uint64(r.step)
	if r.step < 0 {
		distance, step = uint64(r.start)-uint64(r.stop), -uint64(r.step)
	}
	if (r.step > 0) == (r.stop > r.start) && r.stop != r.start {
		count := (distance-1)/step + 1
		if count > maxRange {
			//lint:ignore ST1005 Python's words
			return nil, fmt.Errorf("OverflowError: Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).", maxRange)
		}
		r.n = int64(count)
	}
	return r, nil
}
