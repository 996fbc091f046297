package jinja

import (
	"errors"
	"fmt"
)

// item is of[index].
func (e *evaluator) item(of, index any) (any, error) {
	index = plain(index)
	if m, ok := of.(markup); ok {
		if name, ok := index.(string); ok {
			return e.attribute(m, name)
		}
		of = string(m)
	}
	switch x := of.(type) {
	case undefined:
		return nil, x.err()
	case *Dict:
		if !hashable(index) {
			return nil, errUnhashable(index)
		}
		if v, ok := x.Get(index); ok {
			return v, nil
		}
		if name, ok := index.(string); ok {
			if m := methodOf(of, name); m != nil {
				return m, nil
			}
		}
		return missing(of, index), nil
	case *List, *Tuple, string:
		i, ok := integer(index)
		if !ok {
			break
		}
		items, _ := sequence(of)
		if s, isText := of.(string); isText {
			var err error
			if items, err = e.iterate(s); err != nil {
				return nil, err
			}
		}
		if i < 0 {
			i += int64(len(items))
		}
		if i < 0 || i >= int64(len(items)) {
			return undefined{fmt.Sprintf("'%s object' has no element %v", typeName(of), index)}, nil
		}
		return items[i], nil
	}
	if name, ok := index.(string); ok {
		return e.attribute(of, name)
	}
	return undefined{fmt.Sprintf("'%s object' has no element %s", typeName(of), e.str(index))}, nil
}

func missing(of, name any) undefined {
	return undefined{fmt.Sprintf("'%s object' has no attribute '%v'", typeName(of), name)}
}

// attribute is of.name. Only what the tables here list exists: there is no way
// from a value to the program.
func (e *evaluator) attribute(of any, name string) (any, error) {
	switch x := of.(type) {
	case undefined:
		return nil, x.err()
	case *namespace:
		if v, ok := x.vars[name]; ok {
			return v, nil
		}
		return missing(of, name), nil
	case *loopState:
		if attr, ok := loopAttributes[name]; ok {
			return attr(x), nil
		}
		return missing(of, name), nil
	case *Dict:
		if m := methodOf(of, name); m != nil {
			return m, nil
		}
		if v, ok := x.Get(name); ok {
			return v, nil
		}
		return missing(of, name), nil
	}
	m := methodOf(of, name)
	if text, ok := of.(markup); ok {
		m = markupMethod(methodOf(string(text), name))
	}
	if m != nil {
		return m, nil
	}
	return missing(of, name), nil
}

// path is a.b.0 of filters like map(attribute="a.b").
func (e *evaluator) path(v any, path []any) (any, error) {
	for _, p := range path {
		var err error
		if v, err = e.item(v, p); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// loopAttributes are those of the variable loop.
var loopAttributes = map[string]func(*loopState) any{
	"index":     func(l *loopState) any { return int64(l.at + 1) },
	"index0":    func(l *loopState) any { return int64(l.at) },
	"first":     func(l *loopState) any { return l.at == 0 },
	"last":      func(l *loopState) any { return l.at == len(l.items)-1 },
	"length":    func(l *loopState) any { return int64(len(l.items)) },
	"revindex":  func(l *loopState) any { return int64(len(l.items) - l.at) },
	"revindex0": func(l *loopState) any { return int64(len(l.items) - l.at - 1) },
	"depth":     func(l *loopState) any { return int64(l.depth + 1) },
	"depth0":    func(l *loopState) any { return int64(l.depth) },
	"previtem": func(l *loopState) any {
		if l.at == 0 {
			return undefined{"there is no previous item"}
		}
		return l.items[l.at-1]
	},
	"nextitem": func(l *loopState) any {
		if l.at == len(l.items)-1 {
			return undefined{"there is no next item"}
		}
		return l.items[l.at+1]
	},
	"cycle": func(l *loopState) any {
		return &function{"cycle", func(_ *evaluator, a callArgs) (any, error) {
			if len(a.pos) == 0 {
				return nil, errors.New("TypeError: no items for cycling given")
			}
			return a.pos[l.at%len(a.pos)], nil
		}}
	},
	"changed": func(l *loopState) any {
		return &function{"changed", func(e *evaluator, a callArgs) (any, error) {
			now := &Tuple{a.pos}
			changed := !l.called || !e.equal(l.changed, now)
			l.changed, l.called = now, true
			return changed, nil
		}}
	},
}
