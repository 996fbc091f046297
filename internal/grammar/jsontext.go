package grammar

import (
	"fmt"
	"sync"
)

// The texts of JSON (RFC 8259). They are bounded where a model could go on for
// ever: white space, digits.

const (
	maxIndent   = 32 // spaces or tabs after a line feed
	maxInteger  = 18 // digits: all fit an int64
	maxFraction = 17 // digits: as many as a float64 needs
	maxExponent = 2  // digits: 18 of them before it and 1e99 are below 1.8e308
)

// inString are the characters that stand for themselves in a JSON string.
var inString = without([]runeRange{{0, 0x1F}, {'"', '"'}, {'\\', '\\'}})

var (
	digit    = bytesIn('0', '9')
	hexDigit = alt(digit, bytesIn('a', 'f'), bytesIn('A', 'F'))
)

// space is what may stand between two tokens of JSON: nothing, a space, or a line
// feed and what indents the next line.
func (r *rules) space() *node {
	return optional(r.once("space", "space", func() *node {
		return alt(text(" "), seq(text("\n"), alt(repeat(text(" "), 0, maxIndent), repeat(text("\t"), 1, maxIndent))))
	}))
}

// stringChar is one character of a JSON string: itself, or an escape, where those
// of surrogates come in pairs.
func stringChar() *node {
	u := func(first *node, second *node) *node { return seq(text(`\u`), first, second, hexDigit, hexDigit) }
	d, low := alt(text("d"), text("D")), alt(bytesIn('c', 'f'), bytesIn('C', 'F'))
	notD := alt(digit, bytesIn('a', 'c'), bytesIn('A', 'C'), bytesIn('e', 'f'), bytesIn('E', 'F'))
	return alt(
		class(inString),
		seq(text(`\`), alt(text(`"`), text(`\`), text("/"), text("b"), text("f"), text("n"), text("r"), text("t"))),
		u(notD, hexDigit),
		u(d, bytesIn('0', '7')),
		seq(u(d, alt(bytesIn('8', '9'), bytesIn('a', 'b'), bytesIn('A', 'B'))), u(d, low)),
	)
}

// restOfString is the automaton of what follows a string's first quote. State 0 is
// between two characters; the last is after the quote that ends it.
var restOfString = sync.OnceValue(func() *dfa {
	char, err := determinize(stringChar(), &limits{})
	if err != nil {
		panic(err) // cannot be: it has some 20 states
	}
	char = char.minimal()
	end := int32(len(char.states))
	for i := range char.states {
		for k, e := range char.states[i].edges {
			if char.states[e.to].accept { // nothing follows in a character that is complete
				char.states[i].edges[k].to = 0
			}
		}
	}
	var edges []edge
	for _, e := range char.states[0].edges { // none of them has the quote
		if e.lo > '"' && (len(edges) == 0 || edges[len(edges)-1].hi < '"') {
			edges = append(edges, edge{'"', '"', end})
		}
		edges = append(edges, e)
	}
	char.states[0].edges = edges
	char.states = append(char.states, dfaState{accept: true})
	for i := range char.states[:end] {
		char.states[i].accept = false
	}
	return char
})

// stringOf is a JSON string of so many characters.
func (r *rules) stringOf(l lengths) *node {
	name := "string"
	if l != (lengths{0, -1}) {
		name = fmt.Sprintf("string %d %d", l.min, l.max)
	}
	i, ok := r.byKind[l]
	if !ok {
		i = r.add(name, nothing)
		r.list[i].rest, r.list[i].keep = &l, true
		r.byKind[l] = i
	}
	return seq(text(`"`), ref(i))
}

func (r *rules) anyString() *node { return r.stringOf(lengths{0, -1}) }

// number is any number, integer any without fraction and exponent.
func (r *rules) number() *node {
	return r.once("number", "number", func() *node {
		return seq(integerText(),
			optional(seq(text("."), repeat(digit, 1, maxFraction))),
			optional(seq(alt(text("e"), text("E")), optional(alt(text("+"), text("-"))), repeat(digit, 1, maxExponent))))
	})
}

func (r *rules) integer() *node { return r.once("integer", "integer", integerText) }

func integerText() *node {
	return seq(optional(text("-")), alt(text("0"), seq(bytesIn('1', '9'), repeat(digit, 0, maxInteger-1))))
}

var boolean = alt(text("true"), text("false"))

// value is any JSON value.
func (r *rules) value() *node {
	return r.once("value", "value", func() *node {
		return alt(r.object(), r.array(), r.anyString(), r.number(), boolean, text("null"))
	})
}

// object is any object.
func (r *rules) object() *node {
	return r.once("object", "object", func() *node {
		return r.listOf("{", seq(r.anyString(), r.colon(), r.value()), "}")
	})
}

// array is any array.
func (r *rules) array() *node {
	return r.once("array", "array", func() *node { return r.listOf("[", r.value(), "]") })
}

func (r *rules) colon() *node { return seq(r.space(), text(":"), r.space()) }
func (r *rules) comma() *node { return seq(r.space(), text(","), r.space()) }

// listOf is any number of items between brackets.
func (r *rules) listOf(open string, item *node, shut string) *node {
	return seq(text(open), r.space(), optional(seq(item, star(seq(r.comma(), item)), r.space())), text(shut))
}
