package settings

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// A kind is how one sort of Go value is written in files and flags.
type kind struct {
	flag string // type name in flag help; pflag shows no type for "bool"
	set  func(v reflect.Value, s string) error
	text func(v reflect.Value) string // set reads it back
}

var kinds = map[reflect.Kind]kind{
	reflect.String:  {"string", setString, reflect.Value.String},
	reflect.Bool:    {"bool", setBool, func(v reflect.Value) string { return strconv.FormatBool(v.Bool()) }},
	reflect.Int:     {"int", setInt, formatInt},
	reflect.Int64:   {"int", setInt, formatInt},
	reflect.Float64: {"float", setFloat, func(v reflect.Value) string { return formatFloat(v.Float()) }},
}

func isScalar(t reflect.Type) bool { return kinds[t.Kind()].set != nil }
func isList(t reflect.Type) bool   { return t.Kind() == reflect.Slice && isScalar(t.Elem()) }

// flagType names a type in flag help; typeName in the comments of Print.
func flagType(t reflect.Type) string {
	if isList(t) {
		return kinds[t.Elem().Kind()].flag + "s"
	}
	return kinds[t.Kind()].flag
}

func typeName(t reflect.Type) string {
	if isList(t) {
		return "list of " + kinds[t.Elem().Kind()].flag
	}
	return kinds[t.Kind()].flag
}

// defaultText is the value as flag help shows it: "" where it is absent.
func defaultText(v reflect.Value) string {
	if !isList(v.Type()) {
		return kinds[v.Kind()].text(v)
	}
	items := make([]string, v.Len())
	for i := range items {
		items[i] = kinds[v.Type().Elem().Kind()].text(v.Index(i))
	}
	return strings.Join(items, ",")
}

// setText sets a scalar; the error says what was wanted and what was got.
func setText(v reflect.Value, s string) error { return kinds[v.Kind()].set(v, s) }

// setList sets a slice of scalars to items.
func setList(v reflect.Value, items []string) error {
	list := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, s := range items {
		if err := setText(list.Index(i), s); err != nil {
			return fmt.Errorf("item %d: %w", i+1, err)
		}
	}
	v.Set(list)
	return nil
}

// setFromFlag sets v to the texts given for its flag: of a scalar the last one
// counts; those of a list follow each other, each is "a,b" or YAML's "[a, b]".
// null makes a number, bool or list absent; of a string it is the word.
func setFromFlag(v reflect.Value, given []string) error {
	last := given[len(given)-1]
	if v.Kind() != reflect.String && (last == "null" || last == "None") {
		v.SetZero()
		return nil
	}
	if !isList(v.Type()) {
		return setText(v, last)
	}
	var items []string
	for _, text := range given {
		more, err := splitList(text)
		if err != nil {
			return err
		}
		items = append(items, more...)
	}
	return setList(v, items)
}

func splitList(text string) ([]string, error) {
	if text = strings.TrimSpace(text); text == "" {
		return nil, nil
	}
	if !strings.HasPrefix(text, "[") {
		items := strings.Split(text, ",")
		for i := range items {
			items[i] = strings.TrimSpace(items[i])
		}
		return items, nil
	}
	src := &source{}
	node, err := src.parse([]byte(text))
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), ": "))
	}
	items, bad := listItems(node)
	if bad != nil {
		return nil, fmt.Errorf("want a list such as [a, b], got %q", text)
	}
	return items, nil
}

func setString(v reflect.Value, s string) error { v.SetString(s); return nil }

func setBool(v reflect.Value, s string) error {
	b, ok := parseBool(s)
	if !ok {
		return fmt.Errorf("want true or false, got %q", s)
	}
	v.SetBool(b)
	return nil
}

func parseBool(s string) (value, ok bool) {
	switch s {
	case "true", "True", "TRUE":
		return true, true
	case "false", "False", "FALSE":
		return false, true
	}
	return false, false
}

func formatInt(v reflect.Value) string { return strconv.FormatInt(v.Int(), 10) }

// setInt reads 10000000, 10_000_000 and whole floats such as 3e12.
func setInt(v reflect.Value, s string) error {
	digits, ok := dropUnderscores(s)
	if !ok {
		return fmt.Errorf("want a whole number, got %q", s)
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if errors.Is(err, strconv.ErrRange) || err == nil && v.OverflowInt(n) {
		return fmt.Errorf("%s is too large for a whole number", s)
	}
	if err != nil {
		// Up to 2^53 every whole float is exact.
		f, ferr := parseFloat(digits)
		if ferr != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
			return fmt.Errorf("want a whole number, got %q", s)
		}
		n = int64(f)
	}
	v.SetInt(n)
	return nil
}

// setFloat reads 0.5, 6e-4 (which YAML 1.1 takes for a string), 1_000.5, inf.
func setFloat(v reflect.Value, s string) error {
	digits, ok := dropUnderscores(s)
	f, err := parseFloat(digits)
	if !ok || err != nil {
		return fmt.Errorf("want a number, got %q", s)
	}
	v.SetFloat(f)
	return nil
}

var errNumber = errors.New("not a number")

// parseFloat reads decimal numbers and infinity in Go's and in YAML's spelling;
// hexadecimal floats, NaN and numbers beyond float64 are errors.
func parseFloat(s string) (float64, error) {
	if strings.ContainsAny(s, "xX") {
		return 0, errNumber
	}
	switch strings.ToLower(s) {
	case ".inf", "+.inf":
		return math.Inf(1), nil
	case "-.inf":
		return math.Inf(-1), nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) {
		return 0, errNumber
	}
	return f, nil
}

// formatFloat writes 6.0e-05 and 1.0: numbers, not strings or whole numbers,
// for readers of YAML 1.1 (LitGPT) as well.
func formatFloat(f float64) string {
	if math.IsInf(f, 0) {
		return strings.Replace(strings.ToLower(strconv.FormatFloat(f, 'g', -1, 64)), "inf", ".inf", 1)
	}
	s := strconv.FormatFloat(f, 'g', -1, 64)
	if strings.Contains(s, ".") {
		return s
	}
	if i := strings.IndexByte(s, 'e'); i >= 0 {
		return s[:i] + ".0" + s[i:]
	}
	return s + ".0"
}

// dropUnderscores removes underscores; each must stand between two digits.
func dropUnderscores(s string) (string, bool) {
	for i := range len(s) {
		if s[i] == '_' && (i == 0 || i == len(s)-1 || !digit(s[i-1]) || !digit(s[i+1])) {
			return s, false
		}
	}
	return strings.ReplaceAll(s, "_", ""), true
}

func digit(c byte) bool { return '0' <= c && c <= '9' }
