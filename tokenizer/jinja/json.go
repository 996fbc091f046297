package jinja

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// ParseJSON turns JSON into values of this package. Dicts keep the order of keys,
// as in Python: templates print tools in the order they were written.
func ParseJSON(b []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	v, err := parseJSON(d)
	if err != nil {
		return nil, err
	}
	if d.More() {
		return nil, fmt.Errorf("text after the JSON value at byte %d", d.InputOffset())
	}
	return v, nil
}

func parseJSON(d *json.Decoder) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch x := t.(type) {
	case json.Delim:
		if x == '[' {
			list := &List{}
			for d.More() {
				v, err := parseJSON(d)
				if err != nil {
					return nil, err
				}
				list.Items = append(list.Items, v)
			}
			_, err := d.Token()
			return list, err
		}
		dict := NewDict()
		for d.More() {
			k, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := parseJSON(d)
			if err != nil {
				return nil, err
			}
			dict.Set(k, v)
		}
		_, err := d.Token()
		return dict, err
	case json.Number:
		if i, err := strconv.ParseInt(string(x), 10, 64); err == nil {
			return i, nil
		}
		return x.Float64()
	}
	return t, nil
}

// jsonWriter is Python's json.dumps.
type jsonWriter struct {
	textWriter
	indent          string // of one level; newlines only if lines
	lines           bool
	itemSep, keySep string
	sortKeys, ascii bool
}

// filterToJSON is transformers' tojson: no HTML escapes, unlike Jinja2's own.
func filterToJSON(e *evaluator, v any, a callArgs) (any, error) {
	w := &jsonWriter{textWriter: textWriter{e: e}, itemSep: ", ", keySep: ": ",
		ascii: a.has(0, "ensure_ascii"), sortKeys: a.has(3, "sort_keys")}
	if x, ok := a.get(1, "indent"); ok && x != nil {
		w.lines, w.itemSep = true, ","
		if s, ok := x.(string); ok {
			w.indent = s
		} else if n, ok := integer(x); ok && n > 0 {
			w.indent = e.repeat(" ", n)
		}
	}
	if x, ok := a.get(2, "separators"); ok && x != nil {
		if s, ok := sequence(x); ok && len(s) == 2 {
			w.itemSep, w.keySep = e.str(s[0]), e.str(s[1])
		}
	}
	if err := w.value(v, 0); err != nil {
		return nil, err
	}
	return w.b.String(), nil
}

func (w *jsonWriter) newline(level int) {
	if w.lines {
		w.write("\n")
		w.write(w.e.repeat(w.indent, int64(level)))
	}
}

func (w *jsonWriter) value(v any, level int) error {
	w.e.enter()
	defer w.e.leave()
	w.e.spend(stepCost)
	switch x := plain(v).(type) {
	case nil:
		w.write("null")
	case bool:
		w.write(strconv.FormatBool(x))
	case int64, float64:
		w.repr(x)
	case string:
		w.quoted(x)
	case *List, *Tuple:
		items, _ := sequence(v)
		return w.nested("[", "]", len(items), level, func(i int) error { return w.value(items[i], level+1) })
	case *Dict:
		order := make([]int, len(x.keys))
		for i := range order {
			order[i] = i
		}
		if w.sortKeys {
			slices.SortStableFunc(order, func(i, j int) int {
				return strings.Compare(w.e.str(x.keys[i]), w.e.str(x.keys[j]))
			})
		}
		return w.nested("{", "}", len(order), level, func(i int) error {
			key := x.keys[order[i]]
			switch k := key.(type) {
			case nil:
				key = "null"
			case bool:
				key = strconv.FormatBool(k)
			}
			w.quoted(w.e.str(key))
			w.write(w.keySep)
			return w.value(x.values[order[i]], level+1)
		})
	default:
		return fmt.Errorf("TypeError: Object of type %s is not JSON serializable", typeName(v))
	}
	return nil
}

func (w *jsonWriter) nested(open, end string, n, level int, item func(int) error) error {
	w.write(open)
	for i := range n {
		if i > 0 {
			w.write(w.itemSep)
		}
		w.newline(level + 1)
		if err := item(i); err != nil {
			return err
		}
	}
	if n > 0 {
		w.newline(level)
	}
	w.write(end)
	return nil
}

// jsonEscapes are the characters with a short escape.
var jsonEscapes = map[rune]string{'"': `\"`, '\\': `\\`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\b': `\b`, '\f': `\f`}

func (w *jsonWriter) quoted(s string) {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		short, ok := jsonEscapes[r]
		switch {
		case ok:
			b.WriteString(short)
		case r < 0x20 || w.ascii && r > 0x7e && r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		case w.ascii && r >= 0x10000:
			hi, lo := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, hi, lo)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	w.write(b.String())
}
