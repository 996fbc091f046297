package jinja

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"strings"
)

var errOverflow = errors.New("OverflowError: integer too large")

// arithmetic is a op b for + - * / // % **.
func (e *evaluator) arithmetic(op string, a, b any) (any, error) {
	if op == "%" {
		switch x := a.(type) {
		case string:
			return e.percent(x, b, nil)
		case markup:
			text, err := e.percent(string(x), b, e.escapeHTML)
			return markup(text), err
		}
	}
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
	if v, ok, err := e.sequenceArithmetic(op, a, b); ok || err != nil {
		return v, err
	}
	i, ok1 := integer(a)
	j, ok2 := integer(b)
	if ok1 && ok2 && op != "/" && !(op == "**" && j < 0) {
		return intArithmetic(op, i, j)
	}
	f, ok3 := number(a)
	g, ok4 := number(b)
	if !ok3 || !ok4 {
		if typeName(a) == "int" && typeName(b) == "int" {
			return nil, errOverflow
		}
		return nil, fmt.Errorf("TypeError: unsupported operand type(s) for %s: '%s' and '%s'", op, typeName(a), typeName(b))
	}
	if op == "/" && ok1 && ok2 && j != 0 && max(i, j, -i, -j) > 1<<53 {
		q, _ := big.NewRat(i, j).Float64() // rounded once, as Python does
		return q, nil
	}
	return floatArithmetic(op, f, g)
}

func floatArithmetic(op string, f, g float64) (any, error) {
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
	case "//", "%":
		mod := math.Mod(f, g)
		div := (f - mod) / g
		if mod != 0 && (g < 0) != (mod < 0) {
			mod += g
			div--
		} else if mod == 0 {
			mod = math.Copysign(0, g)
		}
		if op == "%" {
			return mod, nil
		}
		if div == 0 {
			return math.Copysign(0, f/g), nil
		}
		floor := math.Floor(div)
		if div-floor > 0.5 {
			floor++
		}
		return floor, nil
	}
	p := math.Pow(f, g)
	switch {
	case f == 0 && g < 0:
		return nil, errors.New("ZeroDivisionError: 0.0 cannot be raised to a negative power")
	case f < 0 && g != math.Trunc(g) && !math.IsInf(f, 0):
		return nil, errors.New("TypeError: the root of a negative number is complex, which templates have no use for")
	case math.IsInf(p, 0) && !math.IsInf(f, 0) && !math.IsInf(g, 0):
		return nil, errors.New("OverflowError: (34, 'Numerical result out of range')")
	}
	return p, nil
}

// sequenceArithmetic is + and * of texts and lists; ok is false where numbers are
// meant.
func (e *evaluator) sequenceArithmetic(op string, a, b any) (v any, ok bool, err error) {
	if op == "+" {
		switch x := a.(type) {
		case string:
			y, isText := b.(string)
			if !isText {
				return nil, true, fmt.Errorf("TypeError: can only concatenate str (not %q) to str", typeName(b))
			}
			e.text(len(x) + len(y))
			return x + y, true, nil
		case *List:
			if y, isList := b.(*List); isList {
				return &List{e.joined(x.Items, y.Items)}, true, nil
			}
		case *Tuple:
			if y, isTuple := b.(*Tuple); isTuple {
				return &Tuple{Items: e.joined(x.Items, y.Items)}, true, nil
			}
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
		case markup:
			return markup(e.repeat(string(x), n)), true, nil
		case *List:
			return &List{e.repeatItems(x.Items, n)}, true, nil
		case *Tuple:
			return &Tuple{Items: e.repeatItems(x.Items, n)}, true, nil
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
