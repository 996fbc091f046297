package grammar

import (
	"errors"
	"strconv"
	"strings"
)

// decimal is a number by its digits, exactly.
type decimal struct {
	negative          bool
	integer, fraction string // without zeros before and after
}

// maxBound is how many digits a bound may have before and after its point.
const maxBound = 40

var errBound = errors.New("want a number of at most 40 digits before the point and 40 after it")

// newDecimal reads a number of JSON.
func newDecimal(s string) (decimal, error) {
	var d decimal
	s, d.negative = strings.TrimPrefix(s, "-"), strings.HasPrefix(s, "-")
	mantissa, exponent, _ := strings.Cut(strings.ToLower(s), "e")
	integer, fraction, _ := strings.Cut(mantissa, ".")
	shift := 0
	if exponent != "" {
		var err error
		if shift, err = strconv.Atoi(exponent); err != nil || shift > 1000 || shift < -1000 {
			return d, errBound
		}
	}
	if shift > 0 {
		fraction += strings.Repeat("0", max(0, shift-len(fraction)))
		integer, fraction = integer+fraction[:shift], fraction[shift:]
	} else if shift < 0 {
		integer = strings.Repeat("0", max(0, -shift-len(integer))) + integer
		cut := len(integer) + shift
		integer, fraction = integer[:cut], integer[cut:]+fraction
	}
	d.integer, d.fraction = strings.TrimLeft(integer, "0"), strings.TrimRight(fraction, "0")
	if d.integer == "" && d.fraction == "" {
		d.negative = false
	}
	if len(d.integer) > maxBound || len(d.fraction) > maxBound {
		return d, errBound
	}
	return d, nil
}

func (d decimal) compare(o decimal) int {
	if d.negative != o.negative {
		if d.negative {
			return -1
		}
		return 1
	}
	sign := 1
	if d.negative {
		sign = -1
	}
	if len(d.integer) != len(o.integer) {
		if len(d.integer) < len(o.integer) {
			return -sign
		}
		return sign
	}
	if c := strings.Compare(d.integer, o.integer); c != 0 {
		return sign * c
	}
	return sign * strings.Compare(d.fraction, o.fraction) // neither ends with zeros
}

// bound is an end of a range.
type bound struct {
	decimal
	exclusive bool
}

// tighter returns the tighter of two bounds; side is 1 for lower ones, -1 for upper.
func (b *bound) tighter(x *value, exclusive bool, side int) (*bound, error) {
	if x.kind != isNumber {
		return nil, x.errorf("is %s, want a number", kindNames[x.kind])
	}
	d, err := newDecimal(x.text)
	if err != nil {
		return nil, x.errorf("%w", err)
	}
	n := &bound{d, exclusive}
	if b != nil {
		if c := side * d.compare(b.decimal); c < 0 || c == 0 && b.exclusive {
			return b, nil
		}
	}
	return n, nil
}

// admits tells whether c, how a number compares with the bound, is right; side as above.
func (b *bound) admits(c, side int) bool { return b == nil || c*side > 0 || c == 0 && !b.exclusive }

func (sh *shape) allowsNumber(types uint8, v *value) (bool, error) {
	if types&(typeNumber|typeInteger) == 0 {
		return false, nil
	}
	d, err := newDecimal(v.text)
	if err != nil {
		return false, v.errorf("%w", err)
	}
	if sh.multiple != nil {
		return false, v.errorf("a number as one of some values, together with multipleOf, is not supported")
	}
	return (types&typeNumber != 0 || d.fraction == "") &&
		(sh.low == nil || sh.low.admits(d.compare(sh.low.decimal), 1)) &&
		(sh.high == nil || sh.high.admits(d.compare(sh.high.decimal), -1)), nil
}

func (s *schemas) integerShape(sh *shape) (*node, error) {
	if sh.low == nil && sh.high == nil && sh.multiple == nil {
		return s.r.integer(), nil
	}
	return s.numbers(sh, true)
}

func (s *schemas) numberShape(sh *shape) (*node, error) {
	if sh.low == nil && sh.high == nil && sh.multiple == nil {
		return s.r.number(), nil
	}
	return s.numbers(sh, false)
}

// numbers is the automaton of the numbers of a range, written without exponent and
// without a zero's sign. As many digits are allowed as a float64 keeps, so that
// rounding does not bring a number out of the range.
func (s *schemas) numbers(sh *shape, integers bool) (*node, error) {
	r := numberRange{integers: integers, low: sh.low, high: sh.high, modulus: 1, digits: maxInteger}
	for _, b := range []*bound{sh.low, sh.high} {
		if b != nil {
			r.digits = max(r.digits, len(b.integer))
		}
	}
	if x := sh.multiple; x != nil {
		d, err := newDecimal(x.text)
		if err != nil || x.kind != isNumber || d.negative || d.integer+d.fraction == "" {
			return nil, x.errorf("want a number above 0")
		}
		if r.modulus, err = strconv.Atoi(d.integer + d.fraction); err != nil || r.modulus > 1000 {
			return nil, x.errorf("%s: its digits may make a number of at most 1000", x.text)
		}
		r.places, r.multiple = len(d.fraction), true
	}
	d, err := explore(numberState{}, "-.0123456789", r.step, r.accept, s.limit)
	if err != nil {
		return nil, sh.at.errorf("%w", err)
	}
	return auto(d), nil
}

type numberRange struct {
	integers  bool
	low, high *bound
	digits    int // before the point
	multiple  bool
	modulus   int // the number, times ten to the places, is a multiple of it
	places    int
}

// significant is how many digits of a number with a fraction there may be: decimal
// numbers of 15 digits are different as float64s.
const significant = 15

// numberState is how far a number has come: how its magnitude compares with those
// of the bounds, as far as digits were read.
type numberState struct {
	phase     numberPhase
	negative  bool
	some      bool // a digit that is not 0
	n, f      int8 // digits before and after the point
	low, high int8 // -1, 0, 1
	remainder int16
}

type numberPhase uint8

const (
	numberStart numberPhase = iota
	numberSigned
	numberZero // its integer part is 0 and complete
	numberInteger
	numberPoint
	numberFraction
)

func (r *numberRange) step(s numberState, c byte) (numberState, bool) {
	switch {
	case c == '-':
		ok := s.phase == numberStart
		s.phase, s.negative = numberSigned, true
		return s, ok
	case c == '.':
		if r.integers || s.phase != numberZero && s.phase != numberInteger || r.multiple && r.places == 0 {
			return s, false
		}
		s.low, s.high = s.whole(r.low, s.low), s.whole(r.high, s.high)
		s.phase = numberPoint
		return s, true
	}
	digit := c - '0'
	s.some = s.some || digit > 0
	s.remainder = int16((int(s.remainder)*10 + int(digit)) % r.modulus)
	switch s.phase {
	case numberStart, numberSigned:
		if s.phase = numberInteger; digit == 0 {
			s.phase = numberZero
			return s, true
		}
		fallthrough
	case numberInteger:
		s.low, s.high = r.low.digit(s.low, c, int(s.n), true), r.high.digit(s.high, c, int(s.n), true)
		s.n++
		return s, int(s.n) <= r.digits
	case numberPoint, numberFraction:
		s.low, s.high = r.low.digit(s.low, c, int(s.f), false), r.high.digit(s.high, c, int(s.f), false)
		s.f++
		s.phase = numberFraction
		if r.multiple {
			return s, int(s.f) <= r.places
		}
		return s, int(s.n+s.f) <= significant
	}
	return s, false
}

// digit compares one more digit with the bound's at the same place.
func (b *bound) digit(c int8, digit byte, at int, integer bool) int8 {
	if c != 0 || b == nil {
		return c
	}
	of := b.fraction
	if integer {
		of = b.integer
	}
	want := byte('0')
	if at < len(of) {
		want = of[at]
	} else if integer {
		return 0 // the length decides
	}
	switch {
	case digit < want:
		return -1
	case digit > want:
		return 1
	}
	return 0
}

// whole compares the integer part, which is complete, with the bound's.
func (s *numberState) whole(b *bound, c int8) int8 {
	switch {
	case b == nil:
		return 0
	case int(s.n) < len(b.integer):
		return -1
	case int(s.n) > len(b.integer):
		return 1
	}
	return c
}

func (r *numberRange) accept(s numberState) bool {
	switch s.phase {
	case numberZero, numberInteger:
		s.low, s.high = s.whole(r.low, s.low), s.whole(r.high, s.high)
	case numberFraction:
	default:
		return false
	}
	if s.negative && !s.some {
		return false
	}
	rest := int(s.remainder)
	for range r.places - int(s.f) {
		rest = rest * 10 % r.modulus
	}
	return rest == 0 && r.low.admits(s.against(r.low, s.low), 1) && r.high.admits(s.against(r.high, s.high), -1)
}

// against compares the complete number with a bound.
func (s *numberState) against(b *bound, c int8) int {
	if b == nil {
		return 0
	}
	zero := b.integer == "" && b.fraction == ""
	switch {
	case s.negative && (!b.negative || zero):
		return -1
	case !s.negative && b.negative:
		return 1
	case c == 0 && int(s.f) < len(b.fraction):
		c = -1
	}
	if s.negative {
		return int(-c)
	}
	return int(c)
}
