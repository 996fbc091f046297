package jinja

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// globals are the functions every template has: Jinja2's, and raise_exception and
// strftime_now of transformers.
func globals(now func() time.Time) map[string]any {
	vars := map[string]any{}
	for name, call := range globalFunctions {
		vars[name] = &function{name, call}
	}
	vars["strftime_now"] = &function{"strftime_now", func(e *evaluator, a callArgs) (any, error) {
		if err := a.need("strftime_now", 1); err != nil {
			return nil, err
		}
		format := e.str(a.pos[0])
		e.text(16 * len(format))
		return strftime(now(), format), nil
	}}
	return vars
}

var globalFunctions = map[string]func(*evaluator, callArgs) (any, error){
	"range": makeRange,
	"namespace": func(e *evaluator, a callArgs) (any, error) {
		d, err := makeDict(a)
		if err != nil {
			return nil, err
		}
		ns := &namespace{map[string]any{}}
		for i, k := range d.keys {
			ns.vars[e.str(k)] = d.values[i]
		}
		return ns, nil
	},
	"dict": func(_ *evaluator, a callArgs) (any, error) { return makeDict(a) },
	"raise_exception": func(e *evaluator, a callArgs) (any, error) {
		message, _ := a.get(0, "message")
		return nil, errors.New("TemplateError: " + e.str(message))
	},
}

func makeDict(a callArgs) (*Dict, error) {
	d := NewDict()
	for _, x := range a.pos {
		from, ok := x.(*Dict)
		if !ok {
			return nil, fmt.Errorf("TypeError: '%s' object is not a mapping", typeName(x))
		}
		for i, k := range from.keys {
			d.Set(k, from.values[i])
		}
	}
	for i, name := range a.names {
		d.Set(name, a.values[i])
	}
	return d, nil
}

func makeRange(e *evaluator, a callArgs) (any, error) {
	if len(a.pos) == 0 || len(a.pos) > 3 {
		return nil, fmt.Errorf("TypeError: range expected 1 to 3 arguments, got %d", len(a.pos))
	}
	n := [3]int64{0, 0, 1}
	for i, x := range a.pos {
		v, ok := integer(x)
		if !ok {
			return nil, fmt.Errorf("TypeError: '%s' object cannot be interpreted as an integer", typeName(x))
		}
		n[i] = v
	}
	from, to, step := n[0], n[1], n[2]
	if len(a.pos) == 1 {
		from, to = 0, from
	}
	if step == 0 {
		return nil, errors.New("ValueError: range() arg 3 must not be zero")
	}
	list := &List{}
	for i := from; step > 0 && i < to || step < 0 && i > to; {
		if len(list.Items) >= maxRange {
			return nil, fmt.Errorf("OverflowError: range too big: more than %d", maxRange)
		}
		list.Items = append(list.Items, i)
		next := i + step
		if (next > i) != (step > 0) { // past the largest integer
			break
		}
		i = next
	}
	e.spend(24 * len(list.Items))
	return list, nil
}

// strftime formats a time as C does; unknown directives stay as they are.
func strftime(t time.Time, format string) string {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 >= len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		bare := format[i] == '-' && i+1 < len(format) // %-d: without a leading zero
		if bare {
			i++
		}
		directive, ok := directives[format[i]]
		if !ok {
			b.WriteByte('%')
			b.WriteByte(format[i])
			continue
		}
		text := directive(t)
		if bare {
			if text = strings.TrimLeft(text, "0 "); text == "" {
				text = "0"
			}
		}
		b.WriteString(text)
	}
	return b.String()
}

// directives of strftime in the C locale.
var directives = func() map[byte]func(time.Time) string {
	table := map[byte]func(time.Time) string{
		'e': func(t time.Time) string { return fmt.Sprintf("%2d", t.Day()) },
		's': func(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) },
		'%': func(time.Time) string { return "%" },
	}
	for directive, layout := range map[byte]string{
		'Y': "2006", 'y': "06", 'm': "01", 'd': "02", 'H': "15", 'I': "03", 'M': "04", 'S': "05", 'j': "002",
		'b': "Jan", 'h': "Jan", 'B': "January", 'a': "Mon", 'A': "Monday", 'p': "PM", 'F': "2006-01-02",
		'T': "15:04:05", 'R': "15:04", 'D': "01/02/06", 'Z': "MST", 'z': "-0700",
	} {
		table[directive] = func(t time.Time) string { return t.Format(layout) }
	}
	return table
}()
