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
	perByte   = 32   // units of work more for each byte of the variables' texts
	maxJSON   = 1000 // nested lists and objects of ParseJSON
)

// Error is a template that does not parse or render.
type Error struct {
	Line int    // in the template, from 1
	Msg  string // as Python words it: "TypeError: …"
}

func (e *Error) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Msg) }

// Template is a parsed template. It does not change; goroutines may share it.
type Template struct {
	body    []node
	blocks  map[string]blockNode
	symbols *symbols
	// Now is the clock of strftime_now; Parse sets the machine's, without its zone.
	Now func() time.Time
}

// Parse reads a template. Its errors are of type *Error.
func Parse(source string) (*Template, error) {
	if len(source) > maxSource {
		return nil, &Error{1, fmt.Sprintf("TemplateSyntaxError: template of %d bytes, more than %d", len(source), maxSource)}
	}
	t, err := parse(source)
	if err != nil {
		return nil, err
	}
	t.Now = func() time.Time { return Naive(time.Now()) }
	return t, nil
}

// Span is a part of a text, in bytes.
type Span struct{ Start, End int }

// Rendering is what a template made of its variables.
type Rendering struct {
	Text string
	// Generated are the parts that {% generation %} blocks wrote, in order: the
	// assistant's words, as transformers' AssistantTracker counts them.
	Generated []Span
	// Displaced tells that a block stands in a macro or in another body whose text is
	// kept before it is printed. Transformers then counts from what was printed until
	// the block began, and so do we: the spans may lie elsewhere than the text.
	Displaced bool
}

// Render fills the template with vars, whose keys are names. Values are nil,
// bool, int64, float64, string, *List, *Tuple and *Dict; ParseJSON makes them.
// Its errors are of type *Error; raise_exception in the template gives one too.
func (t *Template) Render(vars *Dict) (string, error) {
	r, err := t.RenderSpans(vars)
	return r.Text, err
}

// RenderSpans is Render that also tells what {% generation %} blocks wrote.
func (t *Template) RenderSpans(vars *Dict) (r Rendering, err error) {
	given := &scope{vars: map[string]any{}, up: &scope{vars: globals(t.Now, t.blocks)}}
	size := 0
	for i, k := range vars.keys {
		if name, ok := k.(string); ok {
			given.vars[name] = vars.values[i]
			size += textSize(vars.values[i])
		}
	}
	out := &strings.Builder{}
	e := &evaluator{filters: filters, tests: tests, out: out, main: out, line: 1, left: budget + perByte*size}
	defer func() {
		if p := recover(); p != nil {
			limit, ok := p.(limitError)
			if !ok {
				panic(p)
			}
			r, err = Rendering{}, &Error{e.line, string(limit)}
		}
	}()
	e.top = e.open(given, t.symbols)
	e.scope = e.top
	if _, err := e.nodes(t.body); err != nil {
		return Rendering{}, &Error{e.line, err.Error()}
	}
	r = Rendering{Text: out.String(), Generated: e.spans, Displaced: e.displaced}
	for i, s := range r.Generated {
		r.Generated[i] = Span{min(s.Start, len(r.Text)), min(s.End, len(r.Text))}
	}
	return r, nil
}

// textSize is how many bytes the texts in v have.
func textSize(v any) (n int) {
	switch x := v.(type) {
	case string:
		return len(x)
	case *List:
		for _, item := range x.Items {
			n += textSize(item)
		}
	case *Tuple:
		for _, item := range x.Items {
			n += textSize(item)
		}
	case *Dict:
		for _, item := range x.values {
			n += textSize(item)
		}
	}
	return n
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
