package grammar

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// value is a JSON value as it is written in a schema: the order of keys is that of
// the text to come, and numbers keep their digits.
type value struct {
	kind   valueKind
	text   string   // of a string or number
	list   []*value // of an array
	keys   []string // of an object
	fields map[string]*value
	path   string // from the root, as a JSON pointer after #
	root   *value
	id     int
}

type valueKind uint8

const (
	isNull valueKind = iota
	isTrue
	isFalse
	isNumber
	isText
	isArray
	isObject
)

var kindNames = [...]string{"null", "true", "false", "a number", "a string", "an array", "an object"}

func (v *value) isBool() bool { return v.kind == isTrue || v.kind == isFalse }

// errorf is an error about this place of the schema.
func (v *value) errorf(format string, args ...any) error {
	return fmt.Errorf("%s: %w", v.path, fmt.Errorf(format, args...))
}

// readValue reads one JSON text.
func readValue(text string) (*value, error) {
	var raw json.RawMessage
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		var s *json.SyntaxError
		if errors.As(err, &s) {
			line := strings.Count(text[:min(int(s.Offset), len(text))], "\n") + 1
			return nil, fmt.Errorf("line %d: no JSON: %w", line, err)
		}
		return nil, err
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	r := &valueReader{d: d}
	r.root = &value{}
	return r.root, r.read(r.root, "#", 0)
}

type valueReader struct {
	d    *json.Decoder
	root *value
	n    int
}

func (r *valueReader) read(v *value, path string, depth int) error {
	r.n++
	v.path, v.root, v.id = path, r.root, r.n
	if depth > maxNesting {
		return v.errorf("more than %d levels", maxNesting)
	}
	t, err := r.d.Token()
	if err != nil {
		return v.errorf("%w", err)
	}
	switch t := t.(type) {
	case nil:
		v.kind = isNull
	case bool:
		if v.kind = isFalse; t {
			v.kind = isTrue
		}
	case json.Number:
		v.kind, v.text = isNumber, t.String()
	case string:
		v.kind, v.text = isText, t
	case json.Delim:
		if t == '[' {
			v.kind = isArray
			return r.array(v, depth)
		}
		v.kind = isObject
		return r.object(v, depth)
	}
	return nil
}

func (r *valueReader) array(v *value, depth int) error {
	for r.d.More() {
		item := &value{}
		v.list = append(v.list, item)
		if err := r.read(item, v.path+"/"+strconv.Itoa(len(v.list)-1), depth+1); err != nil {
			return err
		}
	}
	_, err := r.d.Token()
	return err
}

func (r *valueReader) object(v *value, depth int) error {
	v.fields = map[string]*value{}
	for r.d.More() {
		t, err := r.d.Token()
		if err != nil {
			return v.errorf("%w", err)
		}
		key, _ := t.(string)
		if v.fields[key] != nil {
			return v.errorf("%q is there twice", key)
		}
		field := &value{}
		v.keys, v.fields[key] = append(v.keys, key), field
		if err := r.read(field, v.path+"/"+pointerEscape.Replace(key), depth+1); err != nil {
			return err
		}
	}
	_, err := r.d.Token()
	return err
}

var (
	pointerEscape   = strings.NewReplacer("~", "~0", "/", "~1")
	pointerUnescape = strings.NewReplacer("~1", "/", "~0", "~")
)

// quote writes a string as JSON, with no more escapes than have to be.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		short := strings.IndexRune("\"\\\b\f\n\r\t", r)
		switch {
		case short >= 0:
			b.WriteByte('\\')
			b.WriteByte(`"\bfnrt`[short])
		case r < 0x20:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// literal is the expression of one value, with white space where JSON has it.
func (r *rules) literal(v *value) *node {
	switch v.kind {
	case isNull:
		return text("null")
	case isTrue:
		return text("true")
	case isFalse:
		return text("false")
	case isNumber:
		return text(v.text)
	case isText:
		return text(quote(v.text))
	case isArray:
		var items []*node
		for _, item := range v.list {
			items = append(items, r.literal(item))
		}
		return r.listed("[", items, "]")
	}
	var items []*node
	for _, k := range v.keys {
		items = append(items, seq(text(quote(k)), r.colon(), r.literal(v.fields[k])))
	}
	return r.listed("{", items, "}")
}

func (r *rules) listed(open string, items []*node, shut string) *node {
	out := []*node{text(open), r.space()}
	for i, item := range items {
		if i > 0 {
			out = append(out, r.comma())
		}
		out = append(out, item)
	}
	if len(items) > 0 {
		out = append(out, r.space())
	}
	return seq(append(out, text(shut))...)
}
