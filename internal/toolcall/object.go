package toolcall

import (
	"encoding/json"
	"fmt"
	"strings"
)

// object reads the JSON object of a call byte by byte: {"name": …, "arguments": {…}}, or with parameters, or within
// {"type": "function", "function": {…}}. Keys may come in any order.
type object struct {
	stage  stage
	key    []byte // that is read, as JSON
	nested bool   // in the object of "function"
	value  value
	field  field
	raw    []byte // the value of a field that is kept: the name, or arguments that come before it

	name     string
	before   []byte // arguments that came before the name
	complete bool   // the arguments are
}

type stage int

const (
	beforeObject stage = iota
	beforeKey
	inKey
	beforeColon
	inValue
	behindValue
)

type field int

const (
	otherField field = iota
	nameField
	argumentsField
)

// fields of a call; what else stands in an object without a mark shows that it is none.
var fields = map[string]field{
	"name": nameField, "arguments": argumentsField, "parameters": argumentsField, "args": argumentsField,
	"id": otherField, "type": otherField, "function": otherField,
}

// step takes the next byte. done: the object is complete. Not ok: it is none of a call.
func (o *object) step(p *Parser, b byte) (done, ok bool) {
	switch o.stage {
	case inKey:
		return false, o.stepKey(p, b)
	case inValue:
		return o.stepValue(p, b)
	}
	if isSpace(b) {
		return false, true
	}
	switch {
	case o.stage == beforeObject && b == '{':
		o.stage = beforeKey
	case o.stage == beforeKey && b == '"':
		o.stage, o.key = inKey, append(o.key[:0], b)
	case o.stage == beforeColon && b == ':':
		o.stage, o.value, o.raw = inValue, value{}, nil
	case o.stage == behindValue && b == ',':
		o.stage = beforeKey
	case (o.stage == behindValue || o.stage == beforeKey) && b == '}':
		if o.nested {
			o.nested, o.stage = false, behindValue
			return false, true
		}
		return true, true
	default:
		return false, false
	}
	return false, true
}

func (o *object) stepKey(p *Parser, b byte) (ok bool) {
	o.key = append(o.key, b)
	if b != '"' || o.key[len(o.key)-2] == '\\' {
		return len(o.key) < 64 || p.open || p.marked
	}
	var key string
	if json.Unmarshal(o.key, &key) != nil {
		return false
	}
	f, known := fields[key]
	if !known && !p.marked && !p.open {
		return false
	}
	if f == argumentsField && (o.complete || p.open) || f == nameField && o.name != "" {
		f = otherField // one call has one of each
	}
	o.field, o.stage = f, beforeColon
	return true
}

func (o *object) stepValue(p *Parser, b byte) (done, ok bool) {
	if o.field == otherField && !o.value.begun() && b == '{' && string(o.key) == `"function"` && !o.nested {
		o.nested, o.stage = true, beforeKey
		return false, true
	}
	use, end, ok := o.value.step(b)
	if !ok || o.field == nameField && o.value.begun() && o.value.kind != '"' {
		return false, false
	}
	if use {
		switch o.field {
		case nameField:
			o.raw = append(o.raw, b)
		case argumentsField:
			if !p.open && o.name != "" && o.value.kind != 0 {
				if !p.marked && !p.known[o.name] {
					return false, false
				}
				p.begin(o.name)
			}
			if p.open {
				p.text = o.value.append(p.text, b)
			} else {
				o.before = o.value.append(o.before, b)
			}
		}
	}
	if !end {
		return false, true
	}
	o.stage = behindValue
	switch o.field {
	case nameField:
		if json.Unmarshal(o.raw, &o.name) != nil || o.name == "" || !p.marked && !p.known[o.name] {
			return false, false
		}
		if o.complete {
			p.begin(o.name)
			p.text = append(p.text, o.before...)
		}
	case argumentsField:
		o.complete = true
		switch {
		case p.open:
			p.text = o.value.finish(p.text)
		case o.name != "": // a number or a word, of which nothing was given out
			if !p.marked && (!p.known[o.name] || string(o.value.word) != "null") {
				return false, false
			}
			p.begin(o.name)
			p.text = o.value.finish(p.text)
		default:
			o.before = o.value.finish(o.before)
		}
	}
	if !use { // the byte behind a number belongs to the object
		return o.step(p, b)
	}
	return false, true
}

// value reads one JSON value byte by byte. append gives it as the arguments of a call: an object as it is; a string, in which
// some models wrap the object, without its quotes and escapes; null as {}.
type value struct {
	kind    byte   // its first byte: { [ or ", and 0 before it and for numbers and words
	started bool   // the first byte came
	open    []byte // closing brackets to come
	str     bool   // in a string
	escaped bool   // behind a backslash in it
	word    []byte // a number or word
	escape  []byte // of a string that is unwrapped, not complete
	high    string // first half of a surrogate pair, as an escape
}

func (v *value) begun() bool { return v.started }

// step takes the next byte. use: it belongs to the value. done: the value is complete, with this byte or before it.
func (v *value) step(b byte) (use, done, ok bool) {
	switch {
	case !v.started:
		if isSpace(b) {
			return false, false, true
		}
		return true, false, v.start(b)
	case v.word != nil:
		if isSpace(b) || b == ',' || b == '}' || b == ']' {
			return false, true, json.Valid(v.word)
		}
		v.word = append(v.word, b)
		return true, false, len(v.word) < 64
	case v.escaped:
		v.escaped = false
		return true, false, true
	case v.str:
		v.escaped = b == '\\'
		v.str = b != '"'
		return true, !v.str && len(v.open) == 0, true
	}
	switch b {
	case '"':
		v.str = true
	case '{':
		v.open = append(v.open, '}')
	case '[':
		v.open = append(v.open, ']')
	case '}', ']':
		if v.open[len(v.open)-1] != b {
			return false, false, false
		}
		v.open = v.open[:len(v.open)-1]
	}
	return true, len(v.open) == 0, len(v.open) < 1000
}

func (v *value) start(b byte) bool {
	v.started, v.kind = true, b
	switch {
	case b == '{':
		v.open = append(v.open, '}')
	case b == '[':
		v.open = append(v.open, ']')
	case b == '"':
		v.str = true
	case b == '-' || b >= '0' && b <= '9' || b == 't' || b == 'f' || b == 'n':
		v.kind = 0
		v.word = append(v.word, b)
	default:
		return false
	}
	return true
}

// append adds what a byte that step used is in the arguments.
func (v *value) append(to []byte, b byte) []byte {
	switch {
	case v.kind == 0: // finish
		return to
	case v.kind != '"' && v.str && b < 0x20: // models write line breaks into strings
		return fmt.Appendf(to, `\u%04x`, b)
	case v.kind != '"':
		return append(to, b)
	case len(v.escape) == 0 && b == '"':
		return append(to, v.high...)
	case len(v.escape) == 0 && b != '\\':
		to = append(append(to, v.high...), b)
		v.high = ""
		return to
	}
	v.escape = append(v.escape, b)
	if n := len(v.escape); n == 1 || v.escape[1] == 'u' && n < 6 {
		return to
	}
	escape := v.high + string(v.escape)
	v.escape, v.high = v.escape[:0], ""
	if len(escape) == 6 && strings.ContainsAny(escape[2:3], "dD") && strings.ContainsAny(escape[3:4], "89abAB") {
		v.high = escape
		return to
	}
	var s string
	if json.Unmarshal([]byte(`"`+escape+`"`), &s) != nil {
		return append(to, escape...)
	}
	return append(to, s...)
}

// finish adds what is left of a complete value.
func (v *value) finish(to []byte) []byte {
	if v.kind == 0 && string(v.word) == "null" {
		return append(to, "{}"...)
	}
	return append(to, v.word...)
}
