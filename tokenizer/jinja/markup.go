package jinja

import "strings"

// markup is MarkupSafe's Markup, which the filters safe and escape make: a text
// that escapes for HTML what is added to it. Chat templates want no HTML, but some
// call safe, and their checkpoints were trained on the escaped text that follows.
type markup string

var htmlEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;")

// keepsMarkup are the filters whose result is markup again.
var keepsMarkup = map[string]bool{"trim": true, "upper": true, "lower": true, "capitalize": true, "string": true}

// plain takes the mark off a text.
func plain(v any) any {
	if m, ok := v.(markup); ok {
		return string(m)
	}
	return v
}

// rewrap makes a text markup.
func rewrap(v any) any {
	if s, ok := v.(string); ok {
		return markup(s)
	}
	return v
}

// escaped is v as it is added to markup.
func (e *evaluator) escaped(v any) (string, bool) {
	switch x := v.(type) {
	case markup:
		return string(x), true
	case string:
		e.text(5 * len(x))
		return htmlEscapes.Replace(x), true
	}
	return "", false
}

// addMarkup is a + b with markup on one side; ok is false where it is on none.
func (e *evaluator) addMarkup(a, b any) (v any, ok bool) {
	_, ok1 := a.(markup)
	_, ok2 := b.(markup)
	if !ok1 && !ok2 {
		return nil, false
	}
	x, ok1 := e.escaped(a)
	y, ok2 := e.escaped(b)
	if !ok1 || !ok2 {
		return nil, false
	}
	e.text(len(x) + len(y))
	return markup(x + y), true
}

// markupMethod is a method of str whose texts are markup.
func markupMethod(m *function) *function {
	if m == nil {
		return nil
	}
	return &function{m.name, func(e *evaluator, a callArgs) (any, error) {
		v, err := m.call(e, a)
		return rewrap(v), err
	}}
}
