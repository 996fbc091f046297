package jinja

import (
	"errors"
	"fmt"
	"strings"
)

// scope is the variables of a block.
type scope struct {
	vars map[string]any
	up   *scope
}

func (s *scope) get(name string) (any, bool) {
	for ; s != nil; s = s.up {
		if v, ok := s.vars[name]; ok {
			return v, true
		}
	}
	return nil, false
}

// jump is how a list of statements ended.
type jump int

const (
	jumpNone jump = iota
	jumpBreak
	jumpContinue
)

// evaluator is one rendering.
type evaluator struct {
	out     *strings.Builder
	scope   *scope
	filters map[string]filterFunc
	line    int // of the statement that runs
	depth   int
	left    int // units of work
}

func (e *evaluator) nodes(nodes []node) (jump, error) {
	e.enter()
	defer e.leave()
	for _, n := range nodes {
		e.spend(stepCost)
		if j, err := e.node(n); err != nil || j != jumpNone {
			return j, err
		}
	}
	return jumpNone, nil
}

// print writes to the output.
func (e *evaluator) print(s string) {
	if e.spend(len(s)); e.out.Len()+len(s) > maxText {
		e.text(maxText + 1)
	}
	e.out.WriteString(s)
}

// capture runs body with an output of its own.
func (e *evaluator) capture(body []node) (string, error) {
	old := e.out
	e.out = &strings.Builder{}
	defer func() { e.out = old }()
	_, err := e.nodes(body)
	return e.out.String(), err
}

// push opens a scope; the caller calls what it returns to close it.
func (e *evaluator) push() (pop func()) {
	old := e.scope
	e.scope = &scope{vars: map[string]any{}, up: old}
	return func() { e.scope = old }
}

func (e *evaluator) node(n node) (jump, error) {
	switch x := n.(type) {
	case dataNode:
		e.print(x.text)
	case outputNode:
		e.line = x.line
		v, err := e.eval(x.value)
		if err != nil {
			return 0, err
		}
		e.print(e.str(v))
	case ifNode:
		e.line = x.line
		for i, cond := range x.conds {
			v, err := e.eval(cond)
			if err != nil {
				return 0, err
			}
			if truthy(v) {
				return e.nodes(x.bodies[i])
			}
		}
		return e.nodes(x.otherwise)
	case forNode:
		e.line = x.line
		return 0, e.forLoop(x)
	case setNode:
		e.line = x.line
		return 0, e.set(x)
	case macroNode:
		e.scope.vars[x.name] = e.macro(x.name, x.signature, x.body)
	case callNode:
		e.line = x.line
		call, ok := x.call.(callExpr)
		if !ok {
			return 0, errors.New("TypeError: a call block needs a call")
		}
		v, err := e.call(call, e.macro("caller", x.signature, x.body))
		if err != nil {
			return 0, err
		}
		e.print(e.str(v))
	case filterNode:
		e.line = x.line
		v, err := e.filtered(x.body, x.filters)
		if err != nil {
			return 0, err
		}
		e.print(e.str(v))
	case scopeNode:
		defer e.push()()
		return e.nodes(x.body)
	case withNode:
		e.line = x.line
		values := make([]any, len(x.values))
		for i, value := range x.values {
			var err error
			if values[i], err = e.eval(value); err != nil {
				return 0, err
			}
		}
		defer e.push()()
		for i, name := range x.names {
			e.scope.vars[name] = values[i]
		}
		return e.nodes(x.body)
	case breakNode:
		return jumpBreak, nil
	case continueNode:
		return jumpContinue, nil
	}
	return jumpNone, nil
}

// filtered is the text of a body, in a scope of its own, through filters.
func (e *evaluator) filtered(body []node, filters []*filterExpr) (any, error) {
	pop := e.push()
	text, err := e.capture(body)
	pop()
	if err != nil {
		return nil, err
	}
	var v any = text
	for _, f := range filters {
		if v, err = e.filter(f, v); err != nil {
			return nil, err
		}
	}
	return v, nil
}

func (e *evaluator) set(x setNode) (err error) {
	var v any
	if x.value == nil {
		v, err = e.filtered(x.body, x.filters)
	} else {
		v, err = e.eval(x.value)
	}
	if err != nil {
		return err
	}
	if len(x.targets) == 1 {
		return e.assign(x.targets[0], v)
	}
	items, err := e.unpack(v, len(x.targets))
	if err != nil {
		return err
	}
	for i, target := range x.targets {
		if err := e.assign(target, items[i]); err != nil {
			return err
		}
	}
	return nil
}

func (e *evaluator) assign(target expr, v any) error {
	switch x := target.(type) {
	case nameExpr:
		e.scope.vars[x.name] = v
		return nil
	case attrExpr:
		of, err := e.eval(x.of)
		if err != nil {
			return err
		}
		if ns, ok := of.(*namespace); ok {
			ns.vars[x.name] = v
			return nil
		}
	}
	return errors.New("TemplateRuntimeError: cannot assign attribute on non-namespace object")
}

// unpack returns the n elements of v.
func (e *evaluator) unpack(v any, n int) ([]any, error) {
	items, err := e.iterate(v)
	if err != nil {
		return nil, err
	}
	if len(items) != n {
		return nil, fmt.Errorf("ValueError: not the right number of values to unpack (expected %d, got %d)", n, len(items))
	}
	return items, nil
}

// macro makes a function of a body; it sees the variables of where it stands.
func (e *evaluator) macro(name string, s signature, body []node) *function {
	defined := e.scope
	return &function{name, func(e *evaluator, a callArgs) (any, error) {
		if len(a.pos) > len(s.params) {
			return nil, fmt.Errorf("TypeError: macro '%s' takes not more than %d argument(s)", name, len(s.params))
		}
		old, line := e.scope, e.line
		e.scope = &scope{vars: map[string]any{}, up: defined}
		defer func() { e.scope = old }()
		for i, p := range s.params {
			v, ok := a.get(i, p)
			if !ok && s.defaults[i] != nil {
				var err error
				if v, err = e.eval(s.defaults[i]); err != nil {
					return nil, err
				}
			} else if !ok {
				v = undefined{fmt.Sprintf("parameter '%s' was not provided", p)}
			}
			e.scope.vars[p] = v
		}
		if caller, ok := a.named("caller"); ok {
			e.scope.vars["caller"] = caller
		}
		text, err := e.capture(body)
		if err == nil {
			e.line = line
		}
		return text, err
	}}
}

// loopState is the variable loop.
type loopState struct {
	items   []any
	at      int
	depth   int  // of nested recursive loops, from 0
	changed any  // the last arguments of loop.changed
	called  bool // loop.changed was called
	recurse func(e *evaluator, items any) (string, error)
}

func (e *evaluator) forLoop(x forNode) error {
	items, err := e.eval(x.items)
	if err != nil {
		return err
	}
	return e.runLoop(x, items, 0)
}

func (e *evaluator) runLoop(x forNode, over any, depth int) error {
	items, err := e.iterate(over)
	if err != nil {
		return err
	}
	if x.cond != nil {
		if items, err = e.loopItems(x, items); err != nil {
			return err
		}
	}
	if len(items) == 0 {
		defer e.push()()
		_, err := e.nodes(x.otherwise)
		return err
	}
	loop := &loopState{items: items, depth: depth}
	if x.recursive {
		defined := e.scope
		loop.recurse = func(e *evaluator, items any) (string, error) {
			old, out := e.scope, e.out
			e.scope, e.out = defined, &strings.Builder{}
			defer func() { e.scope, e.out = old, out }()
			err := e.runLoop(x, items, depth+1)
			return e.out.String(), err
		}
	}
	for i, v := range items {
		loop.at = i
		pop := e.push()
		e.scope.vars["loop"] = loop
		err := e.bind(x, v)
		var j jump
		if err == nil {
			j, err = e.nodes(x.body)
		}
		pop()
		if err != nil || j == jumpBreak {
			return err
		}
	}
	return nil
}

// loopItems keeps the items for which the loop's condition holds.
func (e *evaluator) loopItems(x forNode, items []any) (kept []any, err error) {
	for _, v := range items {
		pop := e.push()
		err := e.bind(x, v)
		var cond any
		if err == nil {
			cond, err = e.eval(x.cond)
		}
		pop()
		if err != nil {
			return nil, err
		}
		if truthy(cond) {
			kept = append(kept, v)
		}
	}
	return kept, nil
}

// bind sets the loop's variables.
func (e *evaluator) bind(x forNode, v any) error {
	if !x.unpack {
		e.scope.vars[x.targets[0]] = v
		return nil
	}
	items, err := e.unpack(v, len(x.targets))
	if err != nil {
		return err
	}
	for i, name := range x.targets {
		e.scope.vars[name] = items[i]
	}
	return nil
}
