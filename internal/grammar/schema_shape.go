package grammar

import (
	"slices"
)

// Types of JSON Schema as bits. Every integer is a number, too.
const (
	typeNull = 1 << iota
	typeBoolean
	typeString
	typeInteger
	typeNumber
	typeArray
	typeObject
	allTypes = 1<<iota - 1
)

var typeBits = map[string]uint8{
	"null": typeNull, "boolean": typeBoolean, "string": typeString, "integer": typeInteger,
	"number": typeNumber | typeInteger, "array": typeArray, "object": typeObject,
}

// typeOf are the types that keywords speak of. A schema without a type is of those
// its keywords speak of: whoever writes "properties" means an object.
var typeOf = map[string]uint8{
	"minLength": typeString, "maxLength": typeString, "pattern": typeString, "format": typeString,
	"minimum": typeNumber | typeInteger, "maximum": typeNumber | typeInteger, "multipleOf": typeNumber | typeInteger,
	"exclusiveMinimum": typeNumber | typeInteger, "exclusiveMaximum": typeNumber | typeInteger,
	"items": typeArray, "prefixItems": typeArray, "additionalItems": typeArray, "minItems": typeArray, "maxItems": typeArray,
	"properties": typeObject, "required": typeObject, "additionalProperties": typeObject, "patternProperties": typeObject,
	"propertyNames": typeObject, "minProperties": typeObject, "maxProperties": typeObject, "unevaluatedProperties": typeObject,
}

// shape is one alternative of a value: all that holds together.
type shape struct {
	at    *value
	types uint8
	typed bool  // a schema said which
	meant uint8 // types keywords spoke of

	enum    []*value
	hasEnum bool

	min, max int // characters of a string; max < 0: no limit
	patterns []*value
	formats  []*value

	low, high *bound
	multiple  *value

	arrays             []*value // schemas that speak of items
	minItems, maxItems int

	objects            []*value // schemas that speak of properties
	required           []string
	minProps, maxProps int
	closed             bool // no other properties
}

// with returns the shape narrowed by the keywords of one schema, nil when nothing is left.
func (sh *shape) with(v *value) (*shape, error) {
	n := *sh
	for _, k := range v.keys {
		if x := v.fields[k]; max(len(x.list), len(x.keys)) > maxCounted && k != "$defs" && k != "definitions" {
			return nil, x.errorf("has more than %d entries", maxCounted)
		}
		if err := n.keyword(v, k, v.fields[k]); err != nil {
			return nil, err
		}
		n.meant |= typeOf[k]
	}
	if n.types == 0 || n.hasEnum && len(n.enum) == 0 {
		return nil, nil
	}
	for _, k := range []string{"items", "prefixItems", "additionalItems"} {
		if v.fields[k] != nil {
			n.arrays = append(slices.Clip(n.arrays), v)
			break
		}
	}
	for _, k := range []string{"properties", "patternProperties", "additionalProperties", "propertyNames"} {
		if v.fields[k] != nil {
			n.objects = append(slices.Clip(n.objects), v)
			break
		}
	}
	return &n, nil
}

// keyword applies one keyword.
func (sh *shape) keyword(v *value, k string, x *value) (err error) {
	atLeast := func(to *int) error {
		n, err := x.count()
		*to = max(*to, n)
		return err
	}
	atMost := func(to *int) error {
		n, err := x.count()
		if *to < 0 || n < *to {
			*to = n
		}
		return err
	}
	switch k {
	case "type":
		return sh.setTypes(x)
	case "enum":
		if x.kind != isArray {
			return x.errorf("is %s, want a list of values", kindNames[x.kind])
		}
		sh.only(x.list)
	case "const":
		sh.only([]*value{x})
	case "minLength":
		return atLeast(&sh.min)
	case "maxLength":
		return atMost(&sh.max)
	case "pattern", "format":
		if x.kind != isText {
			return x.errorf("is %s, want a string", kindNames[x.kind])
		}
		if k == "pattern" {
			sh.patterns = append(slices.Clip(sh.patterns), x)
		} else if _, ok := formats[x.text]; ok { // others only describe
			sh.formats = append(slices.Clip(sh.formats), x)
		}
	case "minimum", "exclusiveMinimum":
		sh.low, err = sh.low.tighter(x, k != "minimum", 1)
	case "maximum", "exclusiveMaximum":
		sh.high, err = sh.high.tighter(x, k != "maximum", -1)
	case "multipleOf":
		if sh.multiple != nil && sh.multiple.text != x.text {
			return x.errorf("together with multipleOf %s is not supported", sh.multiple.text)
		}
		sh.multiple = x
	case "minItems":
		return atLeast(&sh.minItems)
	case "maxItems":
		return atMost(&sh.maxItems)
	case "minProperties":
		return atLeast(&sh.minProps)
	case "maxProperties":
		return atMost(&sh.maxProps)
	case "required":
		return sh.require(x)
	case "unevaluatedProperties":
		if x.kind != isFalse && x.kind != isTrue {
			return x.errorf("want true or false")
		}
		sh.closed = sh.closed || x.kind == isFalse
	}
	return err
}

func (sh *shape) require(x *value) error {
	if x.kind != isArray {
		return x.errorf("is %s, want a list of names", kindNames[x.kind])
	}
	for _, name := range x.list {
		if name.kind != isText {
			return name.errorf("is %s, want a name", kindNames[name.kind])
		}
		if !slices.Contains(sh.required, name.text) {
			sh.required = append(slices.Clip(sh.required), name.text)
		}
	}
	return nil
}

func (sh *shape) setTypes(x *value) error {
	names := []*value{x}
	if x.kind == isArray {
		names = x.list
	}
	types := uint8(0)
	for _, name := range names {
		bits, ok := typeBits[name.text]
		if name.kind != isText || !ok {
			return name.errorf("want null, boolean, string, integer, number, array or object")
		}
		types |= bits
	}
	sh.types, sh.typed = sh.types&types, true
	return nil
}

// only keeps the values that are in another list, too.
func (sh *shape) only(list []*value) {
	if sh.hasEnum {
		list = slices.DeleteFunc(slices.Clone(list), func(v *value) bool {
			return !slices.ContainsFunc(sh.enum, v.equal)
		})
	}
	sh.enum, sh.hasEnum = list, true
}

// equal tells whether two values are the same one, whatever the order of their keys
// and the spelling of their numbers.
func (v *value) equal(o *value) bool {
	if v.kind != o.kind || len(v.list) != len(o.list) || len(v.keys) != len(o.keys) {
		return false
	}
	if v.kind == isNumber {
		a, err1 := newDecimal(v.text)
		b, err2 := newDecimal(o.text)
		return v.text == o.text || err1 == nil && err2 == nil && a.compare(b) == 0
	}
	for i := range v.list {
		if !v.list[i].equal(o.list[i]) {
			return false
		}
	}
	for k, x := range v.fields {
		if o.fields[k] == nil || !x.equal(o.fields[k]) {
			return false
		}
	}
	return v.text == o.text
}

// count reads a number of characters, items or properties.
func (v *value) count() (int, error) {
	if v.kind == isNumber {
		if d, err := newDecimal(v.text); err == nil && !d.negative && d.fraction == "" {
			if n, ok := count("0" + d.integer); ok {
				return n, nil
			}
		}
	}
	return 0, v.errorf("want a whole number of at least 0")
}

// shape is the expression of one alternative.
func (s *schemas) shape(sh *shape) (*node, error) {
	types := sh.types
	if !sh.typed && sh.meant != 0 && !sh.hasEnum {
		types &= sh.meant
	}
	var ways []*node
	if sh.hasEnum {
		for _, v := range sh.enum {
			ok, err := s.allows(sh, types, v)
			if err != nil {
				return nil, err
			}
			if ok {
				ways = append(ways, s.r.literal(v))
			}
		}
		return alt(ways...), nil
	}
	for _, t := range []struct {
		bit  uint8
		make func(*shape) (*node, error)
	}{
		{typeNull, func(*shape) (*node, error) { return text("null"), nil }},
		{typeBoolean, func(*shape) (*node, error) { return boolean, nil }},
		{typeString, s.stringShape},
		{typeNumber, s.numberShape},
		{typeInteger, s.integerShape},
		{typeArray, s.arrayShape},
		{typeObject, s.objectShape},
	} {
		if types&t.bit == 0 || t.bit == typeInteger && types&typeNumber != 0 {
			continue
		}
		n, err := t.make(sh)
		if err != nil {
			return nil, err
		}
		ways = append(ways, n)
	}
	return alt(ways...), nil
}

// allows tells whether a value of an enum is one of the types, and keeps the other
// keywords of its alternative.
func (s *schemas) allows(sh *shape, types uint8, v *value) (bool, error) {
	switch v.kind {
	case isNull:
		return types&typeNull != 0, nil
	case isTrue, isFalse:
		return types&typeBoolean != 0, nil
	case isText:
		d, err := s.stringAutomaton(sh)
		if err != nil || types&typeString == 0 {
			return false, err
		}
		return d == nil || d.matches(v.text), nil
	case isNumber:
		return sh.allowsNumber(types, v)
	case isArray:
		if len(sh.arrays) > 0 || sh.minItems > 0 || sh.maxItems >= 0 {
			return false, v.errorf("a list as one of some values, together with keywords about lists, is not supported")
		}
		return types&typeArray != 0, nil
	}
	if len(sh.objects) > 0 || len(sh.required) > 0 || sh.minProps > 0 || sh.maxProps >= 0 || sh.closed {
		return false, v.errorf("an object as one of some values, together with keywords about properties, is not supported")
	}
	return types&typeObject != 0, nil
}
