package jinja

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
)

// ParseJSON turns JSON into values of this package. Dicts keep the order of keys,
// as in Python: templates print tools in the order they were written.
func ParseJSON(b []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	v, err := parseJSON(d, 0)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, errors.New("unexpected end of JSON")
	}
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("text after the JSON value at byte %d", d.InputOffset())
	}
	return v, nil
}

func parseJSON(d *json.Decoder, depth int) (any, error) {
	if depth > maxJSON {
		return nil, fmt.Errorf("JSON nested more than %d deep", maxJSON)
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch x := t.(type) {
	case json.Delim:
		if x == '[' {
			list := &List{}
			for d.More() {
				v, err := parseJSON(d, depth+1)
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
			v, err := parseJSON(d, depth+1)
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
		if strings.Trim(string(x), "-0123456789") == "" {
			return bigNumber(x), nil
		}
		f, _ := x.Float64() // infinity where it is too large, as in Python
		return f, nil
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
		if s, ok := plain(x).(string); ok {
			w.indent = s
		} else if n, ok := integer(x); ok {
			w.indent = e.repeat(" ", n)
		} else {
			return nil, fmt.Errorf("TypeError: indent must be an integer or a string, not %s", typeName(x))
		}
	}
	if x, ok := a.get(2, "separators"); ok && x != nil {
		s, err := e.iterate(x)
		if err != nil || len(s) != 2 {
			return nil, fmt.Errorf("ValueError: separators must be two texts, not %s", typeName(x))
		}
		for i, to := range []*string{&w.itemSep, &w.keySep} {
			text, ok := plain(s[i]).(string)
			if !ok {
				return nil, fmt.Errorf("TypeError: separators must be texts, not %s", typeName(s[i]))
			}
			*to = text
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
	case int64, bigNumber:
		w.repr(x)
	case float64:
		w.write(jsonFloat(x))
	case string:
		w.quoted(x)
	case *List, *Tuple:
		items, _ := sequence(v)
		return w.nested("[", "]", len(items), level, func(i int) error { return w.value(items[i], level+1) })
	case *Dict:
		items := x.items()
		w.e.spend(48 * len(items))
		if w.sortKeys {
			var err error
			key := func(v any) (any, error) { return v.(*Tuple).Items[0], nil }
			if items, err = w.e.sorted(items, key, false); err != nil {
				return err
			}
		}
		return w.nested("{", "}", len(items), level, func(i int) error {
			pair := items[i].(*Tuple).Items
			key, err := jsonKey(pair[0])
			if err != nil {
				return err
			}
			w.quoted(key)
			w.write(w.keySep)
			return w.value(pair[1], level+1)
		})
	default:
		return fmt.Errorf("TypeError: Object of type %s is not JSON serializable", typeName(v))
	}
	return nil
}

func jsonFloat(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	return floatText(f)
}

func jsonKey(key any) (string, error) {
	switch k := plain(key).(type) {
	case string:
		return k, nil
	case nil:
		return "null", nil
	case bool:
		return strconv.FormatBool(k), nil
	case int64:
		return strconv.FormatInt(k, 10), nil
	case float64:
		return jsonFloat(k), nil
	case bigNumber:
		return string(k), nil
	}
	return "", fmt.Errorf("TypeError: keys must be str, int, float, bool or None, not %s", typeName(key))
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
