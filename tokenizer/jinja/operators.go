package jinja

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strings"
)

var errOverflow = errors.New("OverflowError: integer too large")

// arithmetic is a op b for + - * / // % **.
func (e *evaluator) arithmetic(op string, a, b any) (any, error) {
	for _, v := range []any{a, b} {
		if u, ok := v.(undefined); ok {
			return nil, u.err()
		}
	}
	if op == "+" {
		if v, ok := e.addMarkup(a, b); ok {
			return v, nil
		}
	}
	a, b = plain(a), plain(b)
	if v, ok, err := e.sequenceArithmetic(op, a, b); ok || err != nil {
		return v, err
	}
	i, ok1 := integer(a)
	j, ok2 := integer(b)
	if ok1 && ok2 && op != "/" && !(op == "**" && j < 0) {
		return intArithmetic(op, i, j)
	}
	f, ok1 := number(a)
	g, ok2 := number(b)
	if !ok1 || !ok2 {
		return nil, fmt.Errorf("TypeError: unsupported operand type(s) for %s: '%s' and '%s'", op, typeName(a), typeName(b))
	}
	if g == 0 && (op == "/" || op == "//" || op == "%") {
		return nil, errors.New("ZeroDivisionError: division by zero")
	}
	switch op {
	case "+":
		return f + g, nil
	case "-":
		return f - g, nil
	case "*":
		return f * g, nil
	case "/":
		return f / g, nil
	case "//":
		return math.Floor(f / g), nil
	case "%":
		return f - math.Floor(f/g)*g, nil
	}
	return math.Pow(f, g), nil
}

// sequenceArithmetic is + and * of texts and lists, and % of a text; ok is false
// where numbers are meant.
func (e *evaluator) sequenceArithmetic(op string, a, b any) (v any, ok bool, err error) {
	switch x := a.(type) {
	case string:
		switch op {
		case "+":
			y, isText := b.(string)
			if !isText {
				return nil, true, fmt.Errorf("TypeError: can only concatenate str (not %q) to str", typeName(b))
			}
			e.text(len(x) + len(y))
			return x + y, true, nil
		case "%":
			v, err := e.percent(x, b)
			return v, true, err
		}
	case *List:
		if y, isList := b.(*List); isList && op == "+" {
			return &List{e.joined(x.Items, y.Items)}, true, nil
		}
	case *Tuple:
		if y, isTuple := b.(*Tuple); isTuple && op == "+" {
			return &Tuple{e.joined(x.Items, y.Items)}, true, nil
		}
	}
	if op != "*" {
		return nil, false, nil
	}
	for _, pair := range [][2]any{{a, b}, {b, a}} {
		n, isInt := integer(pair[1])
		if !isInt {
			continue
		}
		switch x := pair[0].(type) {
		case string:
			return e.repeat(x, n), true, nil
		case *List:
			return &List{e.repeatItems(x.Items, n)}, true, nil
		case *Tuple:
			return &Tuple{e.repeatItems(x.Items, n)}, true, nil
		}
	}
	return nil, false, nil
}

// repeat is s n times.
func (e *evaluator) repeat(s string, n int64) string {
	if n <= 0 || s == "" {
		return ""
	}
	if n > maxText {
		n = maxText + 1
	}
	e.text(len(s) * int(n))
	return strings.Repeat(s, int(n))
}

func (e *evaluator) joined(a, b []any) []any {
	e.spend(16 * (len(a) + len(b)))
	return append(append([]any(nil), a...), b...)
}

func (e *evaluator) repeatItems(items []any, n int64) (out []any) {
	for ; n > 0 && len(items) > 0; n-- {
		e.spend(16 * len(items))
		out = append(out, items...)
	}
	return out
}

// intArithmetic is exact; what a Python integer would hold and an int64 does not
// is an error.
func intArithmetic(op string, i, j int64) (any, error) {
	switch op {
	case "+":
		if r := i + j; (r > i) == (j > 0) {
			return r, nil
		}
	case "-":
		if r := i - j; (r < i) == (j > 0) {
			return r, nil
		}
	case "*":
		if r, ok := product(i, j); ok {
			return r, nil
		}
	case "**":
		r := int64(1)
		for ok := true; ; {
			if j&1 != 0 {
				if r, ok = product(r, i); !ok {
					return nil, errOverflow
				}
			}
			if j >>= 1; j == 0 {
				return r, nil
			}
			if i, ok = product(i, i); !ok {
				return nil, errOverflow
			}
		}
	default: // // and %
		if j == 0 {
			return nil, errors.New("ZeroDivisionError: integer division or modulo by zero")
		}
		q, r := i/j, i%j
		if r != 0 && (r < 0) != (j < 0) { // Python rounds down
			q--
			r += j
		}
		if op == "//" {
			return q, nil
		}
		return r, nil
	}
	return nil, errOverflow
}

func product(i, j int64) (int64, bool) {
	abs := func(n int64) uint64 {
		if n < 0 {
			return -uint64(n)
		}
		return uint64(n)
	}
	hi, lo := bits.Mul64(abs(i), abs(j))
	if hi != 0 || lo > math.MaxInt64 {
		return 0, false
	}
	return i * j, true
}

// percent is Python's text % values.
func (e *evaluator) percent(format string, values any) (any, error) {
	args := []any{values}
	if t, ok := values.(*Tuple); ok {
		args = t.Items
	}
	w := &textWriter{e: e}
	for {
		i := strings.IndexByte(format, '%')
		if i < 0 {
			break
		}
		w.write(format[:i])
		n := 1 + len(format[i+1:]) - len(strings.TrimLeft(format[i+1:], "0123456789.+- #"))
		if i+n >= len(format) {
			return nil, errors.New("ValueError: incomplete format")
		}
		spec, verb := format[i:i+n], format[i+n]
		format = format[i+n+1:]
		if verb == '%' {
			w.write("%")
			continue
		}
		if len(args) == 0 {
			return nil, errors.New("TypeError: not enough arguments for format string")
		}
		s, err := e.formatted(spec, verb, args[0])
		if err != nil {
			return nil, err
		}
		w.write(s)
		args = args[1:]
	}
	w.write(format)
	if _, isTuple := values.(*Tuple); isTuple && len(args) > 0 {
		return nil, errors.New("TypeError: not all arguments converted during string formatting")
	}
	return w.b.String(), nil
}

// formatted is one value in a C-like format; spec is what stands before the verb.
func (e *evaluator) formatted(spec string, verb byte, v any) (string, error) {
	if len(spec) > 12 || strings.Trim(spec[1:], "0123456789.+- #") != "" {
		return "", fmt.Errorf("ValueError: format specification %q is not supported", spec[1:])
	}
	var width, precision int
	digits := strings.TrimLeft(spec, "%+- #0")
	fmt.Sscanf(digits, "%d", &width)
	if _, after, ok := strings.Cut(digits, "."); ok {
		fmt.Sscanf(after, "%d", &precision)
	}
	e.text(max(width, precision))
	switch verb {
	case 's':
		return fmt.Sprintf(spec+"s", e.str(v)), nil
	case 'r':
		return fmt.Sprintf(spec+"s", e.repr(v)), nil
	}
	f, ok := number(v)
	if !ok {
		return "", fmt.Errorf("TypeError: %%%c format: a real number is required, not %s", verb, typeName(v))
	}
	i, isInt := integer(v)
	switch verb {
	case 'd', 'i':
		if !isInt {
			if math.IsNaN(f) || math.Abs(f) >= 1<<63 {
				return "", errOverflow
			}
			i = int64(f)
		}
		return fmt.Sprintf(spec+"d", i), nil
	case 'f', 'F', 'e', 'E', 'g', 'G':
		return fmt.Sprintf(spec+string(verb), f), nil
	case 'x', 'X', 'o':
		if isInt {
			return fmt.Sprintf(spec+string(verb), i), nil
		}
	}
	return "", fmt.Errorf("ValueError: unsupported format character %q", verb)
}
