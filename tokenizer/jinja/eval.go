package jinja

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// scope is the variables of a block.
type scope struct {
	vars map[string]any // nil until one is set
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

func (s *scope) set(name string, v any) {
	if s.vars == nil {
		s.vars = map[string]any{}
	}
	s.vars[name] = v
}

// unset is the value of a variable that is not set yet.
type unset struct{}

// open makes a scope for a part of the template.
func (e *evaluator) open(up *scope, s *symbols) *scope {
	inner := &scope{up: up}
	for _, name := range s.unset {
		e.spend(stepCost)
		inner.set(name, unset{})
	}
	return inner
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
	out, main *strings.Builder // where output goes; that of the template
	scope     *scope
	top       *scope            // the template's
	filters   map[string]filter // fields: the tables refer to functions that refer to them
	tests     map[string]test
	line      int // of the statement that runs
	depth     int
	left      int // units of work

	spans     []Span // what generation blocks wrote
	displaced bool   // one wrote elsewhere than to main
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

// printText writes the result of a call or filter block, which has to be a text.
func (e *evaluator) printText(v any) error {
	if _, ok := plain(v).(string); !ok {
		return fmt.Errorf("TypeError: sequence item: expected str instance, %s found", typeName(v))
	}
	e.print(e.str(v))
	return nil
}

// capture runs body with an output of its own.
func (e *evaluator) capture(body []node) (string, jump, error) {
	old := e.out
	e.out = &strings.Builder{}
	defer func() { e.out = old }()
	j, err := e.nodes(body)
	return e.out.String(), j, err
}

// inScope runs f in a scope of its own.
func (e *evaluator) inScope(s *symbols, f func() (jump, error)) (jump, error) {
	old := e.scope
	e.scope = e.open(old, s)
	defer func() { e.scope = old }()
	return f()
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
		return e.forLoop(x)
	case setNode:
		e.line = x.line
		return e.set(x)
	case *macroNode:
		e.scope.set(x.name, e.macro(x))
	case callNode:
		e.line = x.line
		v, err := e.call(x.call, e.macro(x.body))
		if err != nil {
			return 0, err
		}
		return 0, e.printText(v)
	case generationNode:
		e.line = x.line
		return 0, e.generation(x)
	case filterNode:
		e.line = x.line
		v, j, err := e.filtered(x.body, x.symbols, x.filters)
		if err != nil || j != jumpNone {
			return j, err
		}
		return 0, e.printText(v)
	case scopeNode:
		return e.inScope(x.symbols, func() (jump, error) { return e.nodes(x.body) })
	case withNode:
		e.line = x.line
		return e.with(x)
	case blockNode:
		e.line = x.line
		text, err := e.block(x)
		e.print(text)
		return 0, err
	case breakNode:
		return jumpBreak, nil
	case continueNode:
		return jumpContinue, nil
	}
	return jumpNone, nil
}

// filtered is the text of a body, in a scope of its own, through filters. A break in
// the body leaves it without a value.
func (e *evaluator) filtered(body []node, s *symbols, filters []*filterExpr) (v any, j jump, err error) {
	j, err = e.inScope(s, func() (jump, error) {
		text, j, err := e.capture(body)
		if err != nil || j != jumpNone {
			return j, err
		}
		v = text
		for _, f := range filters {
			if v, err = e.filter(f, v); err != nil {
				return 0, err
			}
		}
		return 0, nil
	})
	return v, j, err
}

func (e *evaluator) set(x setNode) (jump, error) {
	if err := e.checkTarget(x.target); err != nil {
		return 0, err
	}
	if x.value != nil {
		v, err := e.eval(x.value)
		if err != nil {
			return 0, err
		}
		return 0, e.assign(x.target, v)
	}
	v, j, err := e.filtered(x.body, x.symbols, x.filters)
	if err != nil || j != jumpNone {
		return j, err
	}
	return 0, e.assign(x.target, v)
}

func (e *evaluator) with(x withNode) (jump, error) {
	values := make([]any, len(x.values))
	for i, value := range x.values {
		var err error
		if values[i], err = e.eval(value); err != nil {
			return 0, err
		}
	}
	return e.inScope(x.symbols, func() (jump, error) {
		for i, target := range x.targets {
			if err := e.assign(target, values[i]); err != nil {
				return 0, err
			}
		}
		return e.nodes(x.body)
	})
}

// block is the text of a block: it sees the variables of the template, not those of
// the loop it stands in unless it is scoped.
func (e *evaluator) block(x blockNode) (string, error) {
	old := e.scope
	around := old
	if !x.scoped {
		around = &scope{vars: map[string]any{}, up: e.top.up}
		for name, v := range e.top.vars {
			if v != (unset{}) {
				e.spend(stepCost)
				around.vars[name] = v
			}
		}
	}
	e.scope = e.open(around, x.symbols)
	defer func() { e.scope = old }()
	e.enter()
	defer e.leave()
	text, _, err := e.capture(x.body)
	return text, err
}

var errNamespace = errors.New("TemplateRuntimeError: cannot assign attribute on non-namespace object")

// checkTarget reports attributes that cannot be set before the value is computed.
func (e *evaluator) checkTarget(target expr) error {
	switch x := target.(type) {
	case tupleExpr:
		for _, item := range x.items {
			if err := e.checkTarget(item); err != nil {
				return err
			}
		}
	case attrExpr:
		of, err := e.eval(x.of)
		if _, ok := of.(*namespace); !ok && err == nil {
			err = errNamespace
		}
		return err
	}
	return nil
}

func (e *evaluator) assign(target expr, v any) error {
	switch x := target.(type) {
	case nameExpr:
		e.scope.set(x.name, v)
	case tupleExpr:
		items, err := e.iterate(v)
		if err != nil {
			return err
		}
		if len(items) != len(x.items) {
			return fmt.Errorf("ValueError: not the right number of values to unpack (expected %d, got %d)", len(x.items), len(items))
		}
		for i, item := range x.items {
			if err := e.assign(item, items[i]); err != nil {
				return err
			}
		}
	case attrExpr:
		of, err := e.eval(x.of)
		if err != nil {
			return err
		}
		ns, ok := of.(*namespace)
		if !ok {
			return errNamespace
		}
		e.spend(stepCost)
		ns.vars.Set(x.name, v)
	}
	return nil
}

// macro makes a function of a body; it sees the variables of where it stands.
func (e *evaluator) macro(m *macroNode) *function {
	defined := e.scope
	return &function{name: m.name, macro: m, call: func(e *evaluator, a callArgs) (any, error) {
		old, line := e.scope, e.line
		e.scope = e.open(defined, m.symbols)
		defer func() { e.scope = old }()
		if err := e.bindMacro(m, a); err != nil {
			return nil, err
		}
		text, _, err := e.capture(m.body)
		if err == nil {
			e.line = line
		}
		return text, err
	}}
}

// bindMacro sets the parameters of a macro in the scope.
func (e *evaluator) bindMacro(m *macroNode, a callArgs) error {
	var rest callArgs // keyword arguments that are no parameters
	for i, name := range a.names {
		if k := slices.Index(m.params, name); k < 0 || k < len(a.pos) {
			rest.names, rest.values = append(rest.names, name), append(rest.values, a.values[i])
		}
	}
	given := make([]bool, len(m.params))
	for i, p := range m.params {
		var v any
		if v, given[i] = a.get(i, p); given[i] {
			e.scope.set(p, v)
		}
	}
	for i, p := range m.params {
		var v any = undefined{msg: fmt.Sprintf("parameter '%s' was not provided", p)}
		if given[i] {
			continue
		}
		if m.defaults[i] != nil {
			var err error
			if v, err = e.eval(m.defaults[i]); err != nil {
				return err
			}
		}
		e.scope.set(p, v)
	}
	if m.uses["caller"] && !slices.Contains(m.params, "caller") {
		var caller any = undefined{msg: "No caller defined"}
		if i := slices.Index(rest.names, "caller"); i >= 0 {
			caller = rest.values[i]
			rest.names, rest.values = slices.Delete(rest.names, i, i+1), slices.Delete(rest.values, i, i+1)
		}
		e.scope.set("caller", caller)
	}
	if m.uses["kwargs"] && !slices.Contains(m.params, "kwargs") {
		kwargs := NewDict()
		for i, name := range rest.names {
			kwargs.Set(name, rest.values[i])
		}
		e.scope.set("kwargs", kwargs)
	} else if len(rest.names) > 0 {
		return fmt.Errorf("TypeError: macro '%s' takes no keyword argument '%s'", m.name, rest.names[0])
	}
	extra := a.pos[min(len(a.pos), len(m.params)):]
	if m.uses["varargs"] && !slices.Contains(m.params, "varargs") {
		e.scope.set("varargs", &Tuple{Items: extra})
	} else if len(extra) > 0 {
		return fmt.Errorf("TypeError: macro '%s' takes not more than %d argument(s)", m.name, len(m.params))
	}
	return nil
}

// generation writes a generation block and notes where. Like transformers, it takes
// for its place what the template has written by then: inside a macro, or another
// body that is kept first, that is not where the text will stand.
func (e *evaluator) generation(x generationNode) error {
	text, err := e.macro(x.body).call(e, callArgs{})
	if err != nil {
		return err
	}
	start := e.main.Len()
	e.spans = append(e.spans, Span{start, start + len(text.(string))})
	e.displaced = e.displaced || e.out != e.main
	e.print(text.(string))
	return nil
}
