// Package jinja renders the chat templates of Hugging Face checkpoints: the part
// of Jinja2 that they use, with the settings transformers gives it (sandbox,
// trim_blocks, lstrip_blocks, the tags break, continue and generation) and the
// Python methods of strings, lists and dicts that templates call.
//
// Templates come from strangers: they reach nothing but the variables they are
// given, cannot change them, and stop with an error when they take too many
// steps or make too much text. Start with Parse.
package jinja

import (
	"fmt"
	"strings"
	"time"
)

// Limits of one rendering. Published templates stay a hundred times below.
const (
	maxSource = 1 << 20   // bytes of a template
	maxDepth  = 200       // of nested expressions and blocks in the source
	maxStack  = 2000      // of nested evaluations, calls and values
	maxRange  = 100_000   // elements of range(), as in Jinja2's sandbox
	maxText   = 64 << 20  // bytes of the output and of any string
	budget    = 256 << 20 // units of work: stepCost for a step, one for a byte of text
	stepCost  = 128
)

// Error is a template that does not parse or render.
type Error struct {
	Line int    // in the template, from 1
	Msg  string // as Python words it: "TypeError: …"
}

func (e *Error) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Msg) }

// Template is a parsed template. It does not change; goroutines may share it.
type Template struct {
	body []node
	// Now is the clock of strftime_now; Parse sets time.Now.
	Now func() time.Time
}

// Parse reads a template. Its errors are of type *Error.
func Parse(source string) (*Template, error) {
	if len(source) > maxSource {
		return nil, &Error{1, fmt.Sprintf("TemplateSyntaxError: template of %d bytes, more than %d", len(source), maxSource)}
	}
	body, err := parse(source)
	if err != nil {
		return nil, err
	}
	return &Template{body: body, Now: time.Now}, nil
}

// Render fills the template with vars, whose keys are names. Values are nil,
// bool, int64, float64, string, *List, *Tuple and *Dict; ParseJSON makes them.
// Its errors are of type *Error; raise_exception in the template gives one too.
func (t *Template) Render(vars *Dict) (text string, err error) {
	top := &scope{vars: map[string]any{}, up: &scope{vars: globals(t.Now)}}
	for i, k := range vars.keys {
		if name, ok := k.(string); ok {
			top.vars[name] = vars.values[i]
		}
	}
	e := &evaluator{scope: top, filters: filters, out: &strings.Builder{}, line: 1, left: budget}
	defer func() {
		if r := recover(); r != nil {
			limit, ok := r.(limitError)
			if !ok {
				panic(r)
			}
			text, err = "", &Error{e.line, string(limit)}
		}
	}()
	if _, err := e.nodes(t.body); err != nil {
		return "", &Error{e.line, err.Error()}
	}
	return e.out.String(), nil
}

// limitError stops a rendering from any depth; Render recovers it.
type limitError string

// spend takes n units of work off the budget.
func (e *evaluator) spend(n int) {
	if e.left -= n; e.left < 0 || n < 0 {
		panic(limitError("the template does too much work for a chat template"))
	}
}

// text accounts for a string of n bytes that is about to be made.
func (e *evaluator) text(n int) {
	if n > maxText || n < 0 {
		panic(limitError(fmt.Sprintf("MemoryError: the template makes a text of more than %d MiB", maxText>>20)))
	}
	e.spend(n)
}

// enter guards recursion; the caller defers leave.
func (e *evaluator) enter() {
	if e.depth++; e.depth > maxStack {
		panic(limitError("RecursionError: maximum recursion depth exceeded"))
	}
}

func (e *evaluator) leave() { e.depth-- }
