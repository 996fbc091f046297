package jinja

import (
	"fmt"
	"slices"
	"strings"
)

// callArgs are the values of a call.
type callArgs struct {
	pos    []any
	names  []string
	values []any
}

// named returns a keyword argument.
func (a callArgs) named(name string) (any, bool) {
	if i := slices.Index(a.names, name); i >= 0 {
		return a.values[i], true
	}
	return nil, false
}

// get returns the argument at a position or of a name.
func (a callArgs) get(i int, name string) (any, bool) {
	if i < len(a.pos) {
		return a.pos[i], true
	}
	return a.named(name)
}

// has is the truth of an argument; a missing one is false.
func (a callArgs) has(i int, name string) bool {
	v, ok := a.get(i, name)
	return ok && truthy(v)
}

// parameters is which arguments a filter, test or method takes.
type parameters struct {
	names   []string
	need    int  // the first so many must be given
	byName  bool // they may be given by name
	anyMore bool // more than names is fine
}

// takes reads a signature: "sep?" is optional, "*" any number of arguments more.
func takes(names ...string) parameters {
	p := parameters{byName: true}
	for _, name := range names {
		if name == "*" {
			p.anyMore = true
			continue
		}
		name, optional := strings.CutSuffix(name, "?")
		if !optional {
			p.need = len(p.names) + 1
		}
		p.names = append(p.names, name)
	}
	return p
}

// positional is a signature of Python's own functions, without names: need to most.
func positional(need, most int) parameters {
	return parameters{names: make([]string, most), need: need}
}

// check reports a call that Python would refuse.
func (p parameters) check(name string, a callArgs) error {
	if p.anyMore {
		return nil
	}
	if len(a.pos) > len(p.names) {
		return fmt.Errorf("TypeError: %s() takes at most %d argument(s), got %d", name, len(p.names), len(a.pos))
	}
	for _, n := range a.names {
		i := slices.Index(p.names, n)
		if !p.byName || i < 0 {
			return fmt.Errorf("TypeError: %s() got an unexpected keyword argument '%s'", name, n)
		}
		if i < len(a.pos) {
			return fmt.Errorf("TypeError: %s() got multiple values for argument '%s'", name, n)
		}
	}
	for i := len(a.pos); i < p.need; i++ {
		if !p.byName || !slices.Contains(a.names, p.names[i]) {
			return fmt.Errorf("TypeError: %s() needs %d argument(s), got %d", name, p.need, len(a.pos))
		}
	}
	return nil
}
