package jinja

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// filterFunc is what stands after |.
type filterFunc func(e *evaluator, v any, a callArgs) (any, error)

// filters by name. sequence_filters.go has those of lists.
var filters = map[string]filterFunc{
	"default":    filterDefault,
	"d":          filterDefault,
	"tojson":     filterToJSON,
	"string":     func(e *evaluator, v any, _ callArgs) (any, error) { return e.str(v), nil },
	"safe":       func(e *evaluator, v any, _ callArgs) (any, error) { return markup(e.str(v)), nil },
	"pprint":     func(e *evaluator, v any, _ callArgs) (any, error) { return e.repr(v), nil },
	"trim":       textFilter("strip"),
	"upper":      textFilter("upper"),
	"lower":      textFilter("lower"),
	"title":      textFilter("title"),
	"capitalize": textFilter("capitalize"),
	"replace":    filterReplace,
	"escape":     filterEscape,
	"e":          filterEscape,
	"indent":     filterIndent,
	"format":     func(e *evaluator, v any, a callArgs) (any, error) { return e.percent(e.str(v), &Tuple{a.pos}) },
	"wordcount":  func(e *evaluator, v any, _ callArgs) (any, error) { return int64(len(strings.Fields(e.str(v)))), nil },
	"length":     filterLength,
	"count":      filterLength,
	"int":        filterInt,
	"float":      filterFloat,
	"abs":        filterAbs,
	"round":      filterRound,
	"items":      filterItems,
	"dictsort":   filterDictSort,
	"attr":       filterAttr,

	"list":       filterList,
	"first":      filterFirst,
	"last":       filterLast,
	"reverse":    filterReverse,
	"join":       filterJoin,
	"map":        filterMap,
	"select":     selecting(true, false),
	"reject":     selecting(false, false),
	"selectattr": selecting(true, true),
	"rejectattr": selecting(false, true),
	"sort":       filterSort,
	"unique":     filterUnique,
	"min":        extreme(-1),
	"max":        extreme(1),
	"sum":        filterSum,
	"batch":      filterBatch,
	"groupby":    filterGroupBy,
}

func filterDefault(_ *evaluator, v any, a callArgs) (any, error) {
	_, isUndefined := v.(undefined)
	if !isUndefined && !(a.has(1, "boolean") && !truthy(v)) {
		return v, nil
	}
	if value, ok := a.get(0, "default_value"); ok {
		return value, nil
	}
	return "", nil
}

// textFilter is a method of str as a filter, which takes any value.
func textFilter(method string) filterFunc {
	return func(e *evaluator, v any, a callArgs) (any, error) {
		return methodOf(e.str(v), method).call(e, a)
	}
}

func filterReplace(e *evaluator, v any, a callArgs) (any, error) {
	args := callArgs{names: a.names, values: a.values}
	for i, x := range a.pos {
		if i < 2 {
			x = e.str(x)
		}
		args.pos = append(args.pos, x)
	}
	return methodOf(e.str(v), "replace").call(e, args)
}

func filterEscape(e *evaluator, v any, _ callArgs) (any, error) {
	if _, ok := v.(markup); ok {
		return v, nil
	}
	s, _ := e.escaped(e.str(v))
	return markup(s), nil
}

func filterIndent(e *evaluator, v any, a callArgs) (any, error) {
	prefix := "    "
	if x, ok := a.get(0, "width"); ok {
		if s, isText := x.(string); isText {
			prefix = s
		} else if n, isInt := integer(x); isInt {
			prefix = e.repeat(" ", n)
		}
	}
	first, blank := a.has(1, "first"), a.has(2, "blank")
	w := &textWriter{e: e}
	for i, line := range strings.Split(e.str(v), "\n") {
		if i > 0 {
			w.write("\n")
		}
		if (i > 0 || first) && (line != "" || blank) {
			w.write(prefix)
		}
		w.write(line)
	}
	return w.b.String(), nil
}

func filterLength(e *evaluator, v any, _ callArgs) (any, error) {
	switch x := v.(type) {
	case string:
		return int64(runeCount(x)), nil
	case *List:
		return int64(len(x.Items)), nil
	case *Tuple:
		return int64(len(x.Items)), nil
	case *Dict:
		return int64(len(x.keys)), nil
	case undefined:
		return int64(0), nil
	}
	return nil, fmt.Errorf("TypeError: object of type '%s' has no len()", typeName(v))
}

func filterInt(_ *evaluator, v any, a callArgs) (any, error) {
	if s, ok := v.(string); ok {
		s = strings.TrimSpace(s)
		if i, err := strconv.ParseInt(s, 10, 64); err == nil {
			return i, nil
		}
		if f, err := strconv.ParseFloat(s, 64); err == nil && math.Abs(f) < 1<<63 {
			return int64(f), nil
		}
	} else if i, ok := integer(v); ok {
		return i, nil
	} else if f, ok := v.(float64); ok && math.Abs(f) < 1<<63 {
		return int64(f), nil
	}
	if value, ok := a.get(0, "default"); ok {
		return value, nil
	}
	return int64(0), nil
}

func filterFloat(_ *evaluator, v any, a callArgs) (any, error) {
	if s, ok := v.(string); ok {
		if f, err := strconv.ParseFloat(strings.TrimSpace(s), 64); err == nil {
			return f, nil
		}
	} else if f, ok := number(v); ok {
		return f, nil
	}
	if value, ok := a.get(0, "default"); ok {
		return value, nil
	}
	return 0.0, nil
}

func filterAbs(_ *evaluator, v any, _ callArgs) (any, error) {
	if i, ok := integer(v); ok {
		return max(i, -i), nil
	}
	if f, ok := v.(float64); ok {
		return math.Abs(f), nil
	}
	return nil, fmt.Errorf("TypeError: bad operand type for abs(): '%s'", typeName(v))
}

func filterRound(_ *evaluator, v any, a callArgs) (any, error) {
	f, ok := number(v)
	if !ok {
		return nil, fmt.Errorf("TypeError: type %s doesn't define __round__ method", typeName(v))
	}
	scale := 1.0
	if x, ok := a.get(0, "precision"); ok {
		n, _ := integer(x)
		scale = math.Pow(10, float64(max(-300, min(300, n))))
	}
	method, _ := a.get(1, "method")
	switch method {
	case "ceil":
		return math.Ceil(f*scale) / scale, nil
	case "floor":
		return math.Floor(f*scale) / scale, nil
	}
	return math.RoundToEven(f*scale) / scale, nil
}

func filterItems(_ *evaluator, v any, _ callArgs) (any, error) {
	switch x := v.(type) {
	case undefined:
		return &generator{}, nil
	case *Dict:
		return &generator{items: x.items()}, nil
	}
	return nil, errors.New("TypeError: Can only get item pairs from a mapping")
}

func filterAttr(e *evaluator, v any, a callArgs) (any, error) {
	if err := a.need("attr", 1); err != nil {
		return nil, err
	}
	return e.attribute(v, e.str(a.pos[0]))
}
