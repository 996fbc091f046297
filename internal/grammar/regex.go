package grammar

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Regular expressions: what Go's and ECMAScript's have in common and mean alike.
// Groups capture nothing here, lazy repetitions are repetitions, ^ and $ are the
// text's ends. \d and \w are ASCII, \s and . are ECMAScript's (. is no line end).
// What no automaton can do, or only at a price (looking around, references back,
// word boundaries), is an error.

type regexOp uint8

const (
	opClass regexOp = iota
	opConcat
	opAlternate
	opRepeat
	opBegin
	opEnd
)

type regex struct {
	op       regexOp
	class    []runeRange
	subs     []*regex
	min, max int // max < 0: no limit
}

// readRegex reads an expression that all of a text has to match.
func readRegex(s string) (*rules, error) {
	x, err := parseRegex(s)
	if err != nil {
		return nil, err
	}
	body, err := x.expression(empty)
	if err != nil {
		return nil, err
	}
	r := newRules()
	r.add("root", body)
	return r, nil
}

var (
	errLookaround = errors.New("looking around, as in (?=…) or (?<!…), is not supported")
	errBackref    = errors.New("references back, as in \\1, are not supported")
	errAnchor     = errors.New("^ and $ are supported at the ends of the expression only")
)

type regexParser struct {
	s      string
	at     int
	depth  int
	fold   bool // (?i)
	dotAll bool // (?s)
}

const (
	maxNesting = 200       // groups in groups
	maxRepeat  = 1_000_000 // of a count; automata are smaller than that in any case
)

func parseRegex(s string) (*regex, error) {
	if !utf8.ValidString(s) {
		return nil, errors.New("expression is not UTF-8")
	}
	p := &regexParser{s: s}
	x, err := p.alternatives()
	if err == nil && p.at < len(s) {
		err = errors.New(") without (")
	}
	if err != nil {
		return nil, fmt.Errorf("character %d: %w", utf8.RuneCountInString(s[:min(p.at, len(s))])+1, err)
	}
	return x, nil
}

func (p *regexParser) rest() string { return p.s[p.at:] }

func (p *regexParser) take(prefix string) bool {
	if strings.HasPrefix(p.rest(), prefix) {
		p.at += len(prefix)
		return true
	}
	return false
}

func (p *regexParser) alternatives() (*regex, error) {
	if p.depth++; p.depth > maxNesting {
		return nil, fmt.Errorf("more than %d groups in one another", maxNesting)
	}
	defer func() { p.depth-- }()
	out := &regex{op: opAlternate}
	for {
		c := &regex{op: opConcat}
		for p.at < len(p.s) && p.s[p.at] != '|' && p.s[p.at] != ')' {
			x, err := p.item()
			if err != nil {
				return nil, err
			}
			if x != nil {
				c.subs = append(c.subs, x)
			}
		}
		out.subs = append(out.subs, c)
		if !p.take("|") {
			break
		}
	}
	if len(out.subs) == 1 {
		return out.subs[0], nil
	}
	return out, nil
}

// item reads one thing with its repetition; nil for flags.
func (p *regexParser) item() (*regex, error) {
	start := p.at
	x, err := p.atom()
	if err != nil || x == nil {
		return nil, err
	}
	low, high, ok, err := p.repetition()
	if err != nil || !ok {
		return x, err
	}
	if x.op == opBegin || x.op == opEnd {
		p.at = start
		return nil, errors.New("^ or $ is repeated")
	}
	if _, _, again, _ := p.repetition(); again {
		return nil, errors.New("a repetition is repeated; use a group")
	}
	return &regex{op: opRepeat, subs: []*regex{x}, min: low, max: high}, nil
}

// repetition reads * + ? {m} {m,} {m,n}, each with a ? that only says which match
// is preferred.
func (p *regexParser) repetition() (low, high int, ok bool, err error) {
	switch {
	case p.take("*"):
		low, high = 0, -1
	case p.take("+"):
		low, high = 1, -1
	case p.take("?"):
		low, high = 0, 1
	default:
		if low, high, ok = p.counts(); !ok {
			return 0, 0, false, nil
		}
		if low > maxRepeat || high > maxRepeat {
			return 0, 0, false, fmt.Errorf("repeated more than %d times", maxRepeat)
		}
		if high >= 0 && low > high {
			return 0, 0, false, fmt.Errorf("{%d,%d}: the first count is the larger one", low, high)
		}
	}
	p.take("?")
	return low, high, true, nil
}

// counts reads {m}, {m,} or {m,n}; anything else is a brace that stands for itself.
func (p *regexParser) counts() (low, high int, ok bool) {
	inside, _, closed := strings.Cut(p.rest(), "}")
	if !closed || !strings.HasPrefix(inside, "{") {
		return 0, 0, false
	}
	first, second, comma := strings.Cut(inside[1:], ",")
	low, ok = count(first)
	high = low
	if ok && comma {
		if high = -1; second != "" {
			high, ok = count(second)
		}
	}
	if ok {
		p.at += len(inside) + 1
	}
	return low, high, ok
}

// count reads digits; numbers without end are one too many.
func count(s string) (int, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	if err != nil || n > maxRepeat {
		return maxRepeat + 1, true
	}
	return n, true
}

func (p *regexParser) atom() (*regex, error) {
	r, n := utf8.DecodeRuneInString(p.rest())
	switch r {
	case '(':
		return p.group()
	case '[':
		return p.set()
	case '*', '+', '?':
		return nil, fmt.Errorf("nothing before %q to repeat", r)
	case '\\':
		return p.escape()
	}
	p.at += n
	switch r {
	case '.':
		if p.dotAll {
			return &regex{class: anyRune}, nil
		}
		return &regex{class: without([]runeRange{{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}})}, nil
	case '^':
		return &regex{op: opBegin}, nil
	case '$':
		return &regex{op: opEnd}, nil
	}
	return p.chars([]runeRange{{r, r}}), nil
}

// chars is one of some characters, of either case with the flag i.
func (p *regexParser) chars(c []runeRange) *regex {
	if p.fold {
		c = foldCase(c)
	}
	return &regex{class: c}
}

func (p *regexParser) group() (*regex, error) {
	p.at++
	fold, dotAll := p.fold, p.dotAll
	if p.take("?") {
		switch {
		case p.take(":"):
		case p.take("="), p.take("!"), p.take("<="), p.take("<!"):
			return nil, errLookaround
		case p.take("<"), p.take("P<"):
			i := strings.IndexByte(p.rest(), '>')
			if i <= 0 {
				return nil, errors.New("name of a group without >")
			}
			p.at += i + 1
		case p.take("P="):
			return nil, errBackref
		case p.take(">"):
			return nil, errors.New("groups that do not give back, (?>…), are not supported")
		default:
			only, err := p.flags()
			if err != nil || only {
				return nil, err // flags for the rest of the group this is in
			}
		}
	}
	x, err := p.alternatives()
	if err != nil {
		return nil, err
	}
	if !p.take(")") {
		return nil, errors.New("( without )")
	}
	p.fold, p.dotAll = fold, dotAll
	if x.op == opConcat { // apart from what it stands in
		x = &regex{op: opAlternate, subs: []*regex{x}}
	}
	return x, nil
}

// flags reads those of (?i) and (?i:…); only tells that no group follows.
func (p *regexParser) flags() (only bool, err error) {
	on := true
	for p.at < len(p.s) {
		c := p.s[p.at]
		p.at++
		switch c {
		case 'i':
			p.fold = on
		case 's':
			p.dotAll = on
		case '-':
			on = false
		case ':':
			return false, nil
		case ')':
			return true, nil
		default:
			p.at--
			return false, fmt.Errorf("flag %q of a group: want i or s", c)
		}
	}
	return false, errors.New("( without )")
}

// expression is the expression over bytes; pad is what may stand before and after
// it where no ^ and $ say otherwise.
func (x *regex) expression(pad *node) (*node, error) { return x.lower(pad, true, true) }

// lower has left and right when x stands at that end of the whole expression.
func (x *regex) lower(pad *node, left, right bool) (*node, error) {
	switch x.op {
	case opAlternate:
		var subs []*node
		for _, s := range x.subs {
			n, err := s.lower(pad, left, right)
			if err != nil {
				return nil, err
			}
			subs = append(subs, n)
		}
		return alt(subs...), nil
	case opConcat:
		return x.lowerConcat(pad, left, right)
	case opBegin, opEnd:
		return (&regex{op: opConcat, subs: []*regex{x}}).lowerConcat(pad, left, right)
	}
	var n *node
	if x.op == opClass {
		n = class(x.class)
	} else {
		sub, err := x.subs[0].lower(pad, false, false)
		if err != nil {
			return nil, err
		}
		n = repeat(sub, x.min, x.max)
	}
	return padded(n, pad, left, right), nil
}

func padded(n, pad *node, left, right bool) *node {
	s := []*node{n}
	if left {
		s = []*node{pad, n}
	}
	if right {
		s = append(s, pad)
	}
	return seq(s...)
}

func (x *regex) lowerConcat(pad *node, left, right bool) (*node, error) {
	subs := x.subs
	for len(subs) > 0 && subs[0].op == opBegin {
		if !left && len(subs) == len(x.subs) {
			return nil, errAnchor
		}
		subs, left = subs[1:], false
	}
	for n := len(subs); n > 0 && subs[n-1].op == opEnd; n = len(subs) {
		if !right && (len(x.subs) == 0 || x.subs[len(x.subs)-1] == subs[n-1]) {
			return nil, errAnchor
		}
		subs, right = subs[:n-1], false
	}
	if len(subs) == 0 {
		return padded(empty, pad, left, right), nil
	}
	var out []*node
	for i, s := range subs {
		n, err := s.lower(pad, left && i == 0, right && i == len(subs)-1)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return seq(out...), nil
}

// foldCase adds the other cases of characters.
func foldCase(in []runeRange) []runeRange {
	out := append([]runeRange(nil), in...)
	const last = 0x1E943 // no character after it has two cases
	for _, r := range in {
		for c := r.lo; c <= min(r.hi, last); c++ {
			for f := unicode.SimpleFold(c); f != c; f = unicode.SimpleFold(f) {
				out = append(out, runeRange{f, f})
			}
		}
	}
	return normal(out)
}
