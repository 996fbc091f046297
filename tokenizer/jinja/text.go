package jinja

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

func runeCount(s string) int { return utf8.RuneCountInString(s) }

// runeLen is how many bytes r, the first rune of s, takes: one if s is not UTF-8.
func runeLen(s string, r rune) int {
	if r != utf8.RuneError {
		return utf8.RuneLen(r)
	}
	_, n := utf8.DecodeRuneInString(s)
	return n
}

// isSpace is Python's str.isspace of one character.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// str is Python's str().
func (e *evaluator) str(v any) string {
	switch x := v.(type) {
	case string:
		return x
	case markup:
		return string(x)
	case nil:
		return "None"
	case undefined:
		return ""
	case int64:
		return strconv.FormatInt(x, 10)
	}
	return e.repr(v)
}

// repr is Python's repr().
func (e *evaluator) repr(v any) string {
	w := &textWriter{e: e}
	w.repr(v)
	return w.b.String()
}

// textWriter builds a text and accounts for it.
type textWriter struct {
	e *evaluator
	b strings.Builder
}

func (w *textWriter) write(s string) {
	w.e.spend(len(s))
	if w.b.Len()+len(s) > maxText {
		w.e.text(maxText + 1)
	}
	w.b.WriteString(s)
}

func (w *textWriter) repr(v any) {
	w.e.enter()
	defer w.e.leave()
	w.e.spend(stepCost)
	switch x := v.(type) {
	case nil:
		w.write("None")
	case undefined:
		w.write("Undefined")
	case bool:
		if x {
			w.write("True")
		} else {
			w.write("False")
		}
	case int64:
		w.write(strconv.FormatInt(x, 10))
	case bigNumber:
		w.write(string(x))
	case float64:
		w.write(floatText(x))
	case string:
		w.write(quote(x))
	case markup:
		w.write("Markup(" + quote(string(x)) + ")")
	case *List:
		w.reprs("[", x.Items, "]")
	case *Tuple:
		end := ")"
		if len(x.Items) == 1 {
			end = ",)"
		}
		w.reprs("(", x.Items, end)
	case *Dict:
		w.reprDict(x)
	case *dictView:
		w.e.spend(48 * len(x.of.keys))
		w.reprs("dict_"+x.kind+"([", x.items(), "])")
	case rangeValue:
		if x.step == 1 {
			w.write(fmt.Sprintf("range(%d, %d)", x.start, x.stop))
		} else {
			w.write(fmt.Sprintf("range(%d, %d, %d)", x.start, x.stop, x.step))
		}
	case *namespace:
		w.write("<Namespace ")
		w.reprDict(x.vars)
		w.write(">")
	case *loopState:
		w.write(fmt.Sprintf("<LoopContext %d/%d>", x.at+1, len(x.items)))
	case *function:
		if x.macro != nil {
			w.write("<Macro " + quote(x.name) + ">")
		} else {
			w.write("<function " + x.name + ">")
		}
	case *generator:
		w.write("<" + x.kind + " at 0x7f0000000000>") // an address in Python
	default:
		w.write("<" + typeName(v) + " object>")
	}
}

func (w *textWriter) reprs(open string, items []any, end string) {
	w.write(open)
	for i, x := range items {
		if i > 0 {
			w.write(", ")
		}
		w.repr(x)
	}
	w.write(end)
}

func (w *textWriter) reprDict(d *Dict) {
	w.write("{")
	for i, k := range d.keys {
		if i > 0 {
			w.write(", ")
		}
		w.repr(k)
		w.write(": ")
		w.repr(d.values[i])
	}
	w.write("}")
}

// floatText is repr() of a float.
func floatText(f float64) string {
	switch a := math.Abs(f); {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 0):
		return strings.TrimPrefix(strings.ToLower(strconv.FormatFloat(f, 'f', -1, 64)), "+")
	case f == math.Trunc(f) && a < 1e16:
		return strconv.FormatFloat(f, 'f', 1, 64)
	case a >= 1e-4 && a < 1e16:
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return strconv.FormatFloat(f, 'e', -1, 64)
}

// quote is repr() of a string.
func quote(s string) string { return quoted(s, false) }

// quoted is repr(), or ascii(), of a string.
func quoted(s string, ascii bool) string {
	q := '\''
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		q = '"'
	}
	var b strings.Builder
	b.WriteRune(q)
	for _, r := range s {
		switch {
		case r == q || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case (r == ' ' || unicode.IsPrint(r)) && (r < 0x80 || !ascii):
			b.WriteRune(r)
		default:
			b.WriteString(escapedRune(r))
		}
	}
	b.WriteRune(q)
	return b.String()
}

// escapedRune is \xe9, \u20ac or \U0001f600.
func escapedRune(r rune) string {
	switch {
	case r < 0x100:
		return fmt.Sprintf(`\x%02x`, r)
	case r < 0x10000:
		return fmt.Sprintf(`\u%04x`, r)
	}
	return fmt.Sprintf(`\U%08x`, r)
}
