package jinja

import "strings"

// markup is MarkupSafe's Markup, which the filters safe and escape make: a text
// that escapes for HTML what is added to it. Chat templates want no HTML, but some
// call safe, and their checkpoints were trained on the escaped text that follows.
type markup string

var htmlEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;")

// keepsMarkup are the filters whose result is markup again.
var keepsMarkup = map[string]bool{"trim": true, "upper": true, "lower": true, "capitalize": true, "string": true,
	"center": true, "indent": true, "reverse": true, "last": true}

// seesMarkup are the filters that tell markup from other texts.
var seesMarkup = map[string]bool{"default": true, "d": true, "escape": true, "e": true, "forceescape": true, "format": true,
	"truncate": true, "attr": true, "striptags": true, "pprint": true}

// plain takes the mark off a text.
func plain(v any) any {
	if m, ok := v.(markup); ok {
		return string(m)
	}
	return v
}

// rewrap makes a text, or the texts in a list or tuple, markup.
func rewrap(v any) any {
	switch x := v.(type) {
	case string:
		return markup(x)
	case *List:
		return &List{rewrapAll(x.Items)}
	case *Tuple:
		return &Tuple{Items: rewrapAll(x.Items)}
	}
	return v
}

func rewrapAll(items []any) []any {
	out := make([]any, len(items))
	for i, v := range items {
		out[i] = rewrap(v)
	}
	return out
}

func (e *evaluator) escapeHTML(s string) string {
	e.text(5 * len(s))
	return htmlEscapes.Replace(s)
}

// escaped is v as it is added to markup.
func (e *evaluator) escaped(v any) (string, bool) {
	switch x := v.(type) {
	case markup:
		return string(x), true
	case string:
		return e.escapeHTML(x), true
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

// escapesArgument are the methods of markup that escape this argument first.
var escapesArgument = map[string]int{"replace": 1, "ljust": 1, "rjust": 1, "center": 1}

// markupMethod is a method of str whose texts are markup.
func markupMethod(self markup, name string) *function {
	switch name {
	case "format":
		return &function{name: name, call: func(e *evaluator, a callArgs) (any, error) {
			s, err := e.formatMethod(string(self), a, e.escapeHTML)
			return markup(s), err
		}}
	case "join":
		return &function{name: name, call: func(e *evaluator, a callArgs) (any, error) {
			if err := positional(1, 1).check(name, a); err != nil {
				return nil, err
			}
			items, err := e.iterate(a.pos[0])
			if err != nil {
				return nil, err
			}
			w := &textWriter{e: e}
			for i, v := range items {
				if i > 0 {
					w.write(string(self))
				}
				text, ok := e.escaped(v)
				if !ok {
					text = e.escapeHTML(e.str(v))
				}
				w.write(text)
			}
			return markup(w.b.String()), nil
		}}
	case "striptags":
		return &function{name: name, call: func(e *evaluator, _ callArgs) (any, error) { return stripTags(e, string(self)), nil }}
	case "unescape":
		return &function{name: name, call: func(e *evaluator, _ callArgs) (any, error) { return unescapeHTML(e, string(self)), nil }}
	}
	m := methodOf(string(self), name)
	if m == nil {
		return nil
	}
	return &function{name: m.name, call: func(e *evaluator, a callArgs) (any, error) {
		if i, ok := escapesArgument[name]; ok && i < len(a.pos) {
			if text, isText := e.escaped(a.pos[i]); isText {
				a.pos = append([]any(nil), a.pos...)
				a.pos[i] = text
			}
		}
		v, err := m.call(e, a)
		return rewrap(v), err
	}}
}
