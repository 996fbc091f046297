package jinja

import (
	"errors"
	"fmt"
	"slices"
)

// item is of[index].
func (e *evaluator) item(of, index any) (any, error) {
	switch x := of.(type) {
	case undefined:
		return nil, x.err()
	case *Dict:
		if hash, err := e.hash(index); err == nil {
			if v, ok := x.get(hash); ok {
				return v, nil
			}
		}
	case *List, *Tuple, string, markup, rangeValue:
		i, isInt := integer(index)
		if !isInt {
			break
		}
		if v, ok := e.at(of, i); ok {
			return v, nil
		}
	case *blockSet:
		if block, ok := x.blocks[e.str(index)]; ok {
			return x.function(block), nil
		}
		return missing(of, e.str(index)), nil
	}
	if name, ok := plain(index).(string); ok {
		if v, ok := attributeOf(of, name); ok {
			return v, nil
		}
		return missing(of, name), nil
	}
	return undefined{msg: fmt.Sprintf("'%s object' has no element %s", typeName(of), e.repr(index))}, nil
}

// at is the element of a sequence at an index, which may count from the end.
func (e *evaluator) at(of any, i int64) (any, bool) {
	n, _ := length(of)
	if i < 0 {
		i += int64(n)
	}
	if i < 0 || i >= int64(n) {
		return nil, false
	}
	switch x := of.(type) {
	case *List:
		return x.Items[i], true
	case *Tuple:
		return x.Items[i], true
	case rangeValue:
		return x.at(i), true
	case markup:
		return markup(e.character(string(x), n, i)), true
	}
	return e.character(of.(string), n, i), true
}

// character is the one at index i of a text of n.
func (e *evaluator) character(s string, n int, i int64) string {
	e.spend(len(s) / 8)
	if n == len(s) {
		return s[i : i+1]
	}
	for k, r := range s {
		if i == 0 {
			return s[k : k+runeLen(s[k:], r)]
		}
		i--
	}
	return ""
}

func missing(of any, name string) undefined {
	return undefined{msg: fmt.Sprintf("'%s object' has no attribute %s", typeName(of), quote(name))}
}

// attribute is of.name. Only what the tables here list exists: there is no way
// from a value to the program.
func (e *evaluator) attribute(of any, name string) (any, error) {
	if x, ok := of.(undefined); ok && (!slices.Contains(internals, name) || slices.Contains(functionInternals, name)) {
		return nil, x.err()
	}
	if v, ok := attributeOf(of, name); ok {
		return v, nil
	}
	switch x := of.(type) {
	case *Dict:
		if v, ok := x.Get(name); ok {
			return v, nil
		}
	case *blockSet:
		return e.item(of, name)
	}
	return missing(of, name), nil
}

// changing are the methods that would change their value: the sandbox hides them.
var changing = map[string][]string{
	"list": {"append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"},
	"dict": {"clear", "pop", "popitem", "setdefault", "update"},
}

// internals are attributes that every value has in Python and the sandbox hides.
var internals = []string{"__class__", "__doc__", "__init__", "__new__", "__dict__", "__module__", "__repr__", "__str__", "__hash__",
	"__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__dir__", "__getattribute__", "__setattr__", "__delattr__", "__reduce__",
	"__reduce_ex__", "__sizeof__", "__format__", "__subclasshook__", "__init_subclass__", "__call__", "__globals__", "__code__", "__self__",
	"__len__", "__iter__", "__getitem__", "__contains__", "__add__", "__mul__"}

// functionInternals are those of internals that an undefined value has not.
var functionInternals = []string{"__globals__", "__code__", "__self__", "__dict__", "__contains__"}

// attributeOf is what getattr gives in Python, behind the sandbox.
func attributeOf(of any, name string) (any, bool) {
	switch x := of.(type) {
	case *namespace:
		return x.vars.Get(name)
	case *loopState:
		if attr, ok := loopAttributes[name]; ok {
			return attr(x), true
		}
	case *cycler:
		if attr, ok := cyclerAttributes[name]; ok {
			return attr(x), true
		}
	case *function:
		if attr, ok := macroAttributes[name]; ok && x.macro != nil {
			return attr(x.macro), true
		}
	case *Tuple:
		if i := slices.Index(x.fields, name); i >= 0 {
			return x.Items[i], true
		}
	case rangeValue:
		if i := slices.Index([]string{"start", "stop", "step"}, name); i >= 0 {
			return []int64{x.start, x.stop, x.step}[i], true
		}
	case markup:
		if m := markupMethod(x, name); m != nil {
			return m, true
		}
	}
	if slices.Contains(changing[typeName(of)], name) || slices.Contains(internals, name) {
		return undefined{fmt.Sprintf("access to attribute %s of '%s' object is unsafe.", quote(name), typeName(of)), true}, true
	}
	if m := methodOf(of, name); m != nil {
		return m, true
	}
	return numberAttribute(of, name)
}

// numberAttribute is an attribute of int, bool and float that is no method.
func numberAttribute(of any, name string) (any, bool) {
	i, isInt := integer(of)
	f, isFloat := of.(float64)
	switch {
	case isInt && (name == "real" || name == "numerator"):
		return i, true
	case isInt && name == "imag":
		return int64(0), true
	case isInt && name == "denominator":
		return int64(1), true
	case isFloat && name == "real":
		return f, true
	case isFloat && name == "imag":
		return 0.0, true
	}
	return nil, false
}

// path is a.b.0 of filters like map(attribute="a.b"); a default that is not None
// stands for every part that is missing.
func (e *evaluator) path(v any, path []any, value any) (any, error) {
	for _, p := range path {
		var err error
		if v, err = e.item(v, p); err != nil {
			return nil, err
		}
		if _, none := v.(undefined); none && value != nil {
			v = value
		}
	}
	return v, nil
}

// macroAttributes are those of a macro.
var macroAttributes = map[string]func(*macroNode) any{
	"name": func(m *macroNode) any { return m.name },
	"arguments": func(m *macroNode) any {
		t := &Tuple{}
		for _, p := range m.params {
			t.Items = append(t.Items, p)
		}
		return t
	},
	"catch_kwargs":  func(m *macroNode) any { return m.uses["kwargs"] },
	"catch_varargs": func(m *macroNode) any { return m.uses["varargs"] },
	"caller":        func(m *macroNode) any { return m.uses["caller"] },
}

var cyclerAttributes = map[string]func(*cycler) any{
	"current": func(c *cycler) any { return c.items[c.at] },
	"pos":     func(c *cycler) any { return int64(c.at) },
	"items":   func(c *cycler) any { return &Tuple{Items: c.items} },
	"next": func(c *cycler) any {
		return &function{name: "next", call: func(*evaluator, callArgs) (any, error) {
			v := c.items[c.at]
			c.at = (c.at + 1) % len(c.items)
			return v, nil
		}}
	},
	"reset": func(c *cycler) any {
		return &function{name: "reset", call: func(*evaluator, callArgs) (any, error) {
			c.at = 0
			return nil, nil
		}}
	},
}

// blockSet is the variable self: the blocks of the template by name.
type blockSet struct{ blocks map[string]blockNode }

func (s *blockSet) function(b blockNode) *function {
	return &function{name: b.name, call: func(e *evaluator, a callArgs) (any, error) {
		if len(a.pos)+len(a.names) > 0 {
			return nil, errors.New("TypeError: a block takes no arguments")
		}
		b.scoped = false
		return e.block(b)
	}}
}
