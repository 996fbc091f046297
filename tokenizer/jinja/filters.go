package jinja

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
)

// filterFunc is what stands after |.
type filterFunc func(e *evaluator, v any, a callArgs) (any, error)

// filter is a filter and the arguments it takes.
type filter struct {
	takes parameters
	call  filterFunc
}

func filterExists(name string) bool { _, ok := filters[name]; return ok }

// filters by name: those of Jinja2 but random, which no rendering could repeat, and
// urlize, which makes links for web pages.
var filters = map[string]filter{
	"default":        {takes("default_value?", "boolean?"), filterDefault},
	"d":              {takes("default_value?", "boolean?"), filterDefault},
	"tojson":         {takes("ensure_ascii?", "indent?", "separators?", "sort_keys?"), filterToJSON},
	"string":         {takes(), func(e *evaluator, v any, _ callArgs) (any, error) { return e.str(v), nil }},
	"safe":           {takes(), func(e *evaluator, v any, _ callArgs) (any, error) { return markup(e.str(v)), nil }},
	"pprint":         {takes(), func(e *evaluator, v any, _ callArgs) (any, error) { return e.pretty(v), nil }},
	"trim":           {takes("chars?"), textFilter("strip")},
	"upper":          {takes(), textFilter("upper")},
	"lower":          {takes(), textFilter("lower")},
	"capitalize":     {takes(), textFilter("capitalize")},
	"title":          {takes(), filterTitle},
	"center":         {takes("width?"), filterCenter},
	"replace":        {takes("old", "new", "count?"), filterReplace},
	"escape":         {takes(), filterEscape},
	"e":              {takes(), filterEscape},
	"forceescape":    {takes(), func(e *evaluator, v any, _ callArgs) (any, error) { return markup(e.escapeHTML(e.str(v))), nil }},
	"striptags":      {takes(), func(e *evaluator, v any, _ callArgs) (any, error) { return stripTags(e, e.str(v)), nil }},
	"indent":         {takes("width?", "first?", "blank?"), filterIndent},
	"truncate":       {takes("length?", "killwords?", "end?", "leeway?"), filterTruncate},
	"wordwrap":       {takes("width?", "break_long_words?", "wrapstring?", "break_on_hyphens?"), filterWordWrap},
	"wordcount":      {takes(), filterWordCount},
	"filesizeformat": {takes("binary?"), filterFileSize},
	"urlencode":      {takes(), filterURLEncode},
	"xmlattr":        {takes("autospace?"), filterXMLAttr},
	"format":         {takes("*"), filterFormat},
	"length":         {takes(), filterLength},
	"count":          {takes(), filterLength},
	"int":            {takes("default?", "base?"), filterInt},
	"float":          {takes("default?"), filterFloat},
	"abs":            {takes(), filterAbs},
	"round":          {takes("precision?", "method?"), filterRound},
	"items":          {takes(), filterItems},
	"dictsort":       {takes("case_sensitive?", "by?", "reverse?"), filterDictSort},
	"attr":           {takes("name"), filterAttr},

	"map":        {takes("*"), filterMap},
	"select":     {takes("*"), selecting(true, false)},
	"reject":     {takes("*"), selecting(false, false)},
	"selectattr": {takes("*"), selecting(true, true)},
	"rejectattr": {takes("*"), selecting(false, true)},

	"list":    {takes(), filterList},
	"first":   {takes(), filterFirst},
	"last":    {takes(), filterLast},
	"reverse": {takes(), filterReverse},
	"join":    {takes("d?", "attribute?"), filterJoin},
	"sort":    {takes("reverse?", "case_sensitive?", "attribute?"), filterSort},
	"unique":  {takes("case_sensitive?", "attribute?"), filterUnique},
	"min":     {takes("case_sensitive?", "attribute?"), extreme("<")},
	"max":     {takes("case_sensitive?", "attribute?"), extreme(">")},
	"sum":     {takes("attribute?", "start?"), filterSum},
	"batch":   {takes("linecount", "fill_with?"), filterBatch},
	"slice":   {takes("slices", "fill_with?"), filterSlice},
	"groupby": {takes("attribute", "default?", "case_sensitive?"), filterGroupBy},
}

func filterDefault(_ *evaluator, v any, a callArgs) (any, error) {
	_, isUndefined := v.(undefined)
	if !isUndefined && !(a.has(1, "boolean") && !truthy(v)) {
		return v, nil
	}
	if value, ok := a.get(0, "default_value"); ok {
		return value, nil
	}
	return "", nil
}

func filterLength(_ *evaluator, v any, _ callArgs) (any, error) {
	if n, ok := length(v); ok {
		return int64(n), nil
	}
	return nil, fmt.Errorf("TypeError: object of type '%s' has no len()", typeName(v))
}

// Numbers as Python's int() and float() read them.
var (
	intText   = regexp.MustCompile(`^[+-]?\d+(?:_\d+)*$`)
	floatWord = regexp.MustCompile(`^(?i:[+-]?(?:(?:\d+(?:_\d+)*\.?(?:\d+(?:_\d+)*)?|\.\d+(?:_\d+)*)(?:e[+-]?\d+(?:_\d+)*)?|inf(?:inity)?|nan))$`)
)

// decimal writes the digits of other scripts in ASCII.
func decimal(s string) string {
	if isASCII(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r < 0x80 || !isDecimal(r) {
			return r
		}
		zero := r
		for isDecimal(zero-1) && r-zero < 9 { // digits stand in tens
			zero--
		}
		return '0' + (r-zero)%10
	}, s)
}

func pythonFloat(s string) (float64, bool) {
	s = decimal(strings.TrimFunc(s, isSpace))
	if !floatWord.MatchString(s) {
		return 0, false
	}
	f, _ := strconv.ParseFloat(strings.ReplaceAll(s, "_", ""), 64) // infinity where it is too large
	return f, true
}

// pythonInt is int(s, base); ok is false for what is none, and an error what is too
// large for us.
func pythonInt(s string, base int64) (i int64, ok bool, err error) {
	s = decimal(strings.TrimFunc(s, isSpace))
	if base != 10 {
		body := strings.TrimLeft(s, "+-")
		if len(s)-len(body) > 1 {
			return 0, false, nil
		}
		prefixes := map[int64]string{2: "0b", 8: "0o", 16: "0x"}
		if p := prefixes[base]; p != "" && len(body) > 2 && strings.EqualFold(body[:2], p) {
			body = strings.TrimPrefix(body[2:], "_")
		}
		if base != 0 && (strings.HasPrefix(body, "_") || strings.HasSuffix(body, "_") || strings.Contains(body, "__")) {
			return 0, false, nil
		}
		if base != 0 {
			body = strings.ReplaceAll(body, "_", "")
		} else if len(body) > 1 && body[0] == '0' && strings.Trim(body, "0_") != "" && body[1] >= '0' && body[1] <= '9' {
			return 0, false, nil
		}
		i, e := strconv.ParseInt(body, int(base), 64)
		if errors.Is(e, strconv.ErrRange) {
			return 0, false, errOverflow
		}
		if strings.HasPrefix(s, "-") {
			i = -i
		}
		return i, e == nil && body != "" && body[0] != '+' && body[0] != '-', nil
	}
	if !intText.MatchString(s) {
		return 0, false, nil
	}
	i, e := strconv.ParseInt(strings.ReplaceAll(s, "_", ""), 10, 64)
	if e != nil {
		return 0, false, errOverflow
	}
	return i, true, nil
}

func filterInt(_ *evaluator, v any, a callArgs) (any, error) {
	fallback, ok := a.get(0, "default")
	if !ok {
		fallback = int64(0)
	}
	base := int64(10)
	if x, ok := a.get(1, "base"); ok {
		if base, ok = integer(x); !ok || base < 0 || base == 1 || base > 36 {
			return fallback, nil
		}
	}
	var f float64
	switch x := plain(v).(type) {
	case undefined:
		return nil, x.err()
	case bigNumber:
		return x, nil
	case string:
		i, ok, err := pythonInt(x, base)
		if ok || err != nil {
			return i, err
		}
		if f, ok = pythonFloat(x); !ok {
			return fallback, nil
		}
	default:
		if i, ok := integer(v); ok {
			return i, nil
		}
		if f, ok = v.(float64); !ok {
			return fallback, nil
		}
		if math.IsInf(f, 0) { // int(float) is outside of what Jinja2 guards
			return fallback, nil
		}
	}
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return fallback, nil
	case math.Abs(f) >= 1<<63:
		return nil, errOverflow
	}
	return int64(f), nil
}

func filterFloat(_ *evaluator, v any, a callArgs) (any, error) {
	switch x := plain(v).(type) {
	case undefined:
		return nil, x.err()
	case bigNumber:
		f, _ := strconv.ParseFloat(string(x), 64)
		return f, nil
	case string:
		if f, ok := pythonFloat(x); ok {
			return f, nil
		}
	default:
		if f, ok := number(v); ok {
			return f, nil
		}
	}
	if value, ok := a.get(0, "default"); ok {
		return value, nil
	}
	return 0.0, nil
}

func filterAbs(_ *evaluator, v any, _ callArgs) (any, error) {
	if i, ok := integer(v); ok {
		if i == math.MinInt64 {
			return nil, errOverflow
		}
		return max(i, -i), nil
	}
	if f, ok := v.(float64); ok {
		return math.Abs(f), nil
	}
	return nil, fmt.Errorf("TypeError: bad operand type for abs(): '%s'", typeName(v))
}

func filterRound(e *evaluator, v any, a callArgs) (any, error) {
	precision := int64(0)
	if x, ok := a.get(0, "precision"); ok {
		if precision, ok = integer(x); !ok && x != nil {
			return nil, fmt.Errorf("TypeError: '%s' object cannot be interpreted as an integer", typeName(x))
		}
	}
	method, ok := a.get(1, "method")
	if !ok {
		method = "common"
	}
	if method != "common" && method != "ceil" && method != "floor" {
		return nil, errors.New("FilterArgumentError: method must be common, ceil or floor")
	}
	i, isInt := integer(v)
	f, isNumber := number(v)
	switch {
	case !isNumber:
		return nil, fmt.Errorf("TypeError: type %s doesn't define __round__ method", typeName(v))
	case method != "common":
		scale := math.Pow(10, float64(max(-400, min(400, precision))))
		round := map[any]func(float64) float64{"ceil": math.Ceil, "floor": math.Floor}[method]
		if scaled := f * scale; math.IsInf(scaled, 0) || math.IsNaN(scaled) || scale == 0 {
			return nil, errors.New("OverflowError: cannot round to this precision")
		}
		return (round(f*scale) + 0) / scale, nil // + 0: no negative zero
	case isInt:
		return roundInt(i, precision), nil
	}
	return roundFloat(f, precision), nil
}

// roundInt is round(i, precision), half to even.
func roundInt(i, precision int64) int64 {
	if precision >= 0 {
		return i
	}
	if precision < -18 {
		return 0
	}
	unit := int64(math.Pow10(int(-precision)))
	rest := i % unit
	if rest < 0 {
		rest += unit
	}
	down := new(big.Int).Sub(big.NewInt(i), big.NewInt(rest))
	if twice := 2 * uint64(rest); twice > uint64(unit) || twice == uint64(unit) && new(big.Int).Div(down, big.NewInt(unit)).Bit(0) == 1 {
		down.Add(down, big.NewInt(unit))
	}
	return down.Int64()
}

// roundFloat is round(f, precision) of the exact value, half to even.
func roundFloat(f float64, precision int64) float64 {
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0) || precision > 400:
		return f
	case precision < -308:
		return math.Copysign(0, f)
	case precision >= 0:
		r, _ := strconv.ParseFloat(strconv.FormatFloat(f, 'f', int(precision), 64), 64)
		return r
	}
	unit := math.Pow10(int(-precision))
	return math.RoundToEven(f/unit) * unit
}

func filterItems(_ *evaluator, v any, _ callArgs) (any, error) {
	switch x := v.(type) {
	case undefined:
		return &generator{kind: "generator object do_items"}, nil
	case *Dict:
		return &generator{kind: "generator object do_items", items: x.items()}, nil
	}
	//lint:ignore ST1005 Python's words
	return &generator{kind: "generator object do_items", err: errors.New("TypeError: Can only get item pairs from a mapping.")}, nil
}

func filterAttr(e *evaluator, v any, a callArgs) (any, error) {
	if u, ok := v.(undefined); ok {
		return nil, u.err()
	}
	x, _ := a.get(0, "name")
	name, ok := plain(x).(string)
	if !ok {
		return nil, errors.New("TypeError: attribute name must be string, not '" + typeName(x) + "'")
	}
	if attr, ok := attributeOf(v, name); ok {
		return attr, nil
	}
	return missing(v, name), nil
}
