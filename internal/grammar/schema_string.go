package grammar

import (
	"strings"
)

const (
	year     = `(?:000[1-9]|00[1-9]\d|0[1-9]\d\d|[1-9]\d{3})`
	leapYear = `(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)`
	date     = `(?:` + year + `-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8]))|` + leapYear + `-02-29)`
	clock    = `(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)`
	hours    = `(?:\d{1,9}H(?:\d{1,9}M(?:\d{1,9}S)?)?|\d{1,9}M(?:\d{1,9}S)?|\d{1,9}S)`
	days     = `(?:\d{1,9}Y(?:\d{1,9}M(?:\d{1,9}D)?)?|\d{1,9}M(?:\d{1,9}D)?|\d{1,9}D)`
	label    = `[A-Za-z0-9](?:[A-Za-z0-9-]{0,30}[A-Za-z0-9])?`
	atom     = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
	octet    = `(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)`
	pathChar = `(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})`
)

// formats are the formats that are kept, each by expressions that all have to
// match. Other formats only describe, as JSON Schema has it.
var formats = map[string][]string{
	"date":      {date}, // of the calendar, years 1 to 9999
	"time":      {clock},
	"date-time": {date + `T` + clock},
	"duration":  {`P(?:\d{1,9}W|` + days + `(?:T` + hours + `)?|T` + hours + `)`},
	"uuid":      {`[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}`},
	"ipv4":      {octet + `(?:\.` + octet + `){3}`},
	"ipv6":      {ipv6()},
	"hostname":  {label + `(?:\.` + label + `){0,6}`},
	"email":     {atom + `(?:\.` + atom + `)*@` + label + `(?:\.` + label + `){1,4}`, `[^@]{1,64}@[^@]+`},
	"uri":       {`[A-Za-z][A-Za-z0-9+.-]*://` + label + `(?:\.` + label + `){0,6}(?::\d{1,5})?(?:/` + pathChar + `*)?(?:\?(?:` + pathChar + `|\?)*)?(?:#(?:` + pathChar + `|\?)*)?`},
}

// ipv6 is eight groups, of which one row may be left out.
func ipv6() string {
	const group = `[0-9A-Fa-f]{1,4}`
	row := func(n int) string { return strings.TrimSuffix(strings.Repeat(group+":", n), ":") }
	ways := []string{row(8)}
	for left := range 8 {
		for right := range 8 - left {
			ways = append(ways, row(left)+"::"+row(right))
		}
	}
	return strings.Join(ways, "|")
}

// stringShape is the expression of a JSON string.
func (s *schemas) stringShape(sh *shape) (*node, error) {
	if sh.max >= 0 && sh.min > sh.max {
		return nothing, nil
	}
	if len(sh.patterns)+len(sh.formats) == 0 {
		return s.r.stringOf(lengths{sh.min, sh.max}), nil
	}
	d, err := s.stringAutomaton(sh)
	if err != nil {
		return nil, err
	}
	return s.quoted(d), nil
}

// quoted is a JSON string of a text that an automaton accepts. Characters are
// escaped where they have to be, and only there.
func (s *schemas) quoted(d *dfa) *node {
	return seq(text(`"`), auto(d.escaped()), text(`"`))
}

// stringAutomaton accepts the texts of strings, as they are before they are written
// as JSON; nil for all.
func (s *schemas) stringAutomaton(sh *shape) (*dfa, error) {
	var out *dfa
	and := func(at *value, n *node) error {
		d, err := determinize(n, s.limit)
		if err == nil {
			if out == nil {
				out = d.trim()
			} else {
				out, err = product(out, d, true, s.limit)
			}
		}
		if err != nil {
			return at.errorf("%w", err)
		}
		out = out.minimal()
		return nil
	}
	pad := star(class(anyRune))
	for _, p := range sh.patterns {
		x, err := parseRegex(p.text)
		if err != nil {
			return nil, p.errorf("%q: %w", p.text, err)
		}
		n, err := x.expression(pad)
		if err != nil {
			return nil, p.errorf("%q: %w", p.text, err)
		}
		if err := and(p, n); err != nil {
			return nil, err
		}
	}
	for _, f := range sh.formats {
		for _, e := range formats[f.text] {
			x, err := parseRegex(e)
			if err != nil {
				return nil, f.errorf("%w", err)
			}
			n, err := x.expression(empty)
			if err != nil {
				return nil, f.errorf("%w", err)
			}
			if err := and(f, n); err != nil {
				return nil, err
			}
		}
	}
	if sh.min > 0 || sh.max >= 0 {
		if sh.max >= 0 && sh.min > sh.max {
			return &dfa{states: make([]dfaState, 1)}, nil
		}
		if err := and(sh.at, repeat(class(anyRune), sh.min, sh.max)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// escapes are the characters with a short escape.
const escapes = "\"\\\b\f\n\r\t"

// escaped changes an automaton of texts to one of these texts inside JSON strings.
func (d *dfa) escaped() *dfa {
	out := &dfa{states: make([]dfaState, len(d.states))}
	add := func(edges ...edge) int32 {
		out.states = append(out.states, dfaState{edges: edges})
		return int32(len(out.states) - 1)
	}
	for i, s := range d.states {
		var plain []edge
		special := [0x20]int32{} // by control character: where it leads, +1
		short := map[byte]int32{}
		for _, e := range s.edges {
			for b := int(e.lo); b <= int(e.hi); b++ {
				c := byte(b)
				if k := strings.IndexByte(escapes, c); k >= 0 {
					short[`"\bfnrt`[k]] = e.to
				}
				if c < 0x20 {
					special[c] = e.to + 1
				} else if c != '"' && c != '\\' {
					plain = appendEdge(plain, edge{c, c, e.to})
				}
			}
		}
		var after []edge // after the backslash
		for b := range 256 {
			if to, ok := short[byte(b)]; ok {
				after = append(after, edge{byte(b), byte(b), to})
			}
			if b == 'u' {
				if u := hexEdges(special, add); u != nil {
					u := add(u...)
					after = append(after, edge{'u', 'u', add(edge{'0', '0', u})})
				}
			}
		}
		if len(after) > 0 {
			to := add(after...)
			k := 0
			for k < len(plain) && plain[k].hi < '\\' {
				k++
			}
			plain = append(plain[:k:k], append([]edge{{'\\', '\\', to}}, plain[k:]...)...)
		}
		out.states[i].edges, out.states[i].accept = plain, s.accept
	}
	return out
}

// hexEdges are the edges of the last two digits of \u00XX.
func hexEdges(special [0x20]int32, add func(...edge) int32) (first []edge) {
	for high := range 2 {
		var second []edge
		for _, digits := range []string{"0123456789", "ABCDEF", "abcdef"} {
			for k := range len(digits) {
				low := k
				if digits[0] != '0' {
					low += 10
				}
				if to := special[16*high+low]; to > 0 {
					second = appendEdge(second, edge{digits[k], digits[k], to - 1})
				}
			}
		}
		if len(second) > 0 {
			c := byte('0' + high)
			first = append(first, edge{c, c, add(second...)})
		}
	}
	return first
}
