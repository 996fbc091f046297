package jinja

import (
	"errors"
	"fmt"
	"strings"
)

// loopState is the variable loop.
type loopState struct {
	items   []any
	at      int
	depth   int  // of nested recursive loops, from 0
	changed any  // the last arguments of loop.changed
	called  bool // loop.changed was called
	recurse func(e *evaluator, items any) (string, error)
}

func (e *evaluator) forLoop(x forNode) (jump, error) {
	items, err := e.eval(x.items)
	if err != nil {
		return 0, err
	}
	if x.recursive {
		text, err := e.recursion(x, items, 0)
		e.print(text)
		return 0, err
	}
	return e.runLoop(x, items, nil)
}

// recursion is one level of a recursive loop.
func (e *evaluator) recursion(x forNode, over any, depth int) (string, error) {
	defined, out := e.scope, e.out
	e.out = &strings.Builder{}
	defer func() { e.out = out }()
	e.enter()
	defer e.leave()
	_, err := e.runLoop(x, over, &loopState{depth: depth, recurse: func(e *evaluator, items any) (string, error) {
		old := e.scope
		e.scope = defined
		defer func() { e.scope = old }()
		return e.recursion(x, items, depth+1)
	}})
	return e.out.String(), err
}

// runLoop runs the body for each element; loop is nil unless it is recursive.
func (e *evaluator) runLoop(x forNode, over any, loop *loopState) (jump, error) {
	items, late := e.iterate(over)
	if late != nil && len(items) == 0 {
		return 0, late
	}
	if x.cond != nil {
		var err error
		if items, err = e.loopItems(x, items); err != nil {
			return 0, err
		}
	}
	if loop == nil {
		loop = &loopState{}
	}
	loop.items = items
	whole := false // an iteration ended without break or continue: Jinja2 asks no more before it runs else
	for i, v := range items {
		loop.at = i
		e.spend(stepCost)
		j, err := e.inScope(x.symbols, func() (jump, error) {
			e.scope.set("loop", loop)
			if err := e.assign(x.target, v); err != nil {
				return 0, err
			}
			return e.nodes(x.body)
		})
		if err != nil {
			return 0, err
		}
		if j == jumpBreak {
			late = nil
			break
		}
		whole = whole || j == jumpNone
	}
	if late != nil {
		return 0, late
	}
	if whole || len(x.otherwise) == 0 {
		return 0, nil
	}
	return e.inScope(x.elseSymbols, func() (jump, error) { return e.nodes(x.otherwise) })
}

// loopItems keeps the items for which the loop's condition holds; those that the loop
// takes apart are tuples then.
func (e *evaluator) loopItems(x forNode, items []any) (kept []any, err error) {
	for _, v := range items {
		_, err := e.inScope(x.condSymbols, func() (jump, error) {
			if err := e.assign(x.target, v); err != nil {
				return 0, err
			}
			cond, err := e.eval(x.cond)
			if err == nil && truthy(cond) {
				if v, err = e.eval(x.target); err == nil {
					kept = append(kept, v)
				}
			}
			return 0, err
		})
		if err != nil {
			return nil, err
		}
	}
	return kept, nil
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
			return undefined{msg: "there is no previous item"}
		}
		return l.items[l.at-1]
	},
	"nextitem": func(l *loopState) any {
		if l.at == len(l.items)-1 {
			return undefined{msg: "there is no next item"}
		}
		return l.items[l.at+1]
	},
	"cycle": func(l *loopState) any {
		return &function{name: "cycle", call: func(_ *evaluator, a callArgs) (any, error) {
			if len(a.names) > 0 {
				return nil, fmt.Errorf("TypeError: cycle() got an unexpected keyword argument '%s'", a.names[0])
			}
			if len(a.pos) == 0 {
				return nil, errors.New("TypeError: no items for cycling given")
			}
			return a.pos[l.at%len(a.pos)], nil
		}}
	},
	"changed": func(l *loopState) any {
		return &function{name: "changed", call: func(e *evaluator, a callArgs) (any, error) {
			now := &Tuple{Items: a.pos}
			changed := !l.called || !e.equal(l.changed, now)
			l.changed, l.called = now, true
			return changed, nil
		}}
	},
}
