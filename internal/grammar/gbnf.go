package grammar

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Grammars in GBNF, llama.cpp's form: rules "name ::= …" of texts in quotes, sets
// of characters, names, groups, repetitions and alternatives; comments begin with
// #. A control token is written <name> or <[id]>; !<name> is one character, or
// another control token.

// readGBNF reads a grammar whose whole text the rule root describes.
func readGBNF(source Source, v *Vocab, limit *limits) (*rules, error) {
	p := &gbnfParser{s: source.Text, v: v, rules: newRules(), at: map[string]int{}, used: map[string]int{}}
	p.named("root")
	if err := p.read(); err != nil {
		line, column := p.place(p.pos)
		return nil, fmt.Errorf("line %d, column %d: %w", line, column, err)
	}
	schemas := newSchemas(p.rules, source.Strict, limit)
	for i, r := range slices.Clone(p.rules.list) {
		name := r.name
		if r.body != nil {
			continue
		}
		if schema, ok := source.Schemas[name]; ok {
			body, err := schemas.read(schema)
			if err != nil {
				return nil, fmt.Errorf("schema %s: %w", name, err)
			}
			p.rules.list[i].body = body
			continue
		}
		if name == "root" {
			return nil, errors.New("there is no rule root, which describes the whole text")
		}
		line, column := p.place(p.used[name])
		return nil, fmt.Errorf("line %d, column %d: rule %s is used, but there is none%s", line, column, name, p.nearest(name))
	}
	if err := schemas.finish(); err != nil {
		return nil, err
	}
	return p.rules, nil
}

type gbnfParser struct {
	s     string
	pos   int
	v     *Vocab
	rules *rules
	at    map[string]int // rule by name
	used  map[string]int // where a name was first used
	depth int
}

// place is the line and column of a byte, from 1; columns count characters.
func (p *gbnfParser) place(pos int) (line, column int) {
	before := p.s[:min(pos, len(p.s))]
	start := strings.LastIndexByte(before, '\n') + 1
	return strings.Count(before, "\n") + 1, utf8.RuneCountInString(before[start:]) + 1
}

// nearest is a hint at a rule whose name differs in case or signs only.
func (p *gbnfParser) nearest(name string) string {
	plain := func(s string) string { return strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(s)) }
	for other, i := range p.at {
		if p.rules.list[i].body != nil && plain(other) == plain(name) {
			return "; there is " + other
		}
	}
	return ""
}

// named returns the rule of a name, which may be read later.
func (p *gbnfParser) named(name string) int {
	i, ok := p.at[name]
	if !ok {
		i = p.rules.add(name, nil)
		p.at[name] = i
		p.used[name] = p.pos
	}
	return i
}

const maxRules = 20_000

func (p *gbnfParser) read() error {
	if !utf8.ValidString(p.s) {
		return errors.New("grammar is not UTF-8")
	}
	for p.space(true); p.pos < len(p.s); p.space(true) {
		start := p.pos
		name, err := p.name()
		if err != nil {
			return err
		}
		p.space(false)
		if !strings.HasPrefix(p.s[p.pos:], "::=") {
			return fmt.Errorf("want ::= after %s", name)
		}
		p.pos += 3
		p.space(true)
		i := p.named(name)
		r := p.rules.list[i]
		if r.body != nil {
			p.pos = start
			return fmt.Errorf("rule %s is there already, in line %d", name, r.line)
		}
		line, _ := p.place(start)
		body, err := p.alternatives(false)
		if err != nil {
			return err
		}
		r.body, r.line = body, line
		if p.pos < len(p.s) && p.s[p.pos] != '\n' && p.s[p.pos] != '\r' {
			return fmt.Errorf("unexpected %q", p.rune())
		}
		if len(p.rules.list) > maxRules {
			return fmt.Errorf("more than %d rules", maxRules)
		}
	}
	return nil
}

func (p *gbnfParser) rune() rune {
	r, _ := utf8.DecodeRuneInString(p.s[p.pos:])
	return r
}

// space skips white space and comments, line ends only where they mean nothing.
func (p *gbnfParser) space(lines bool) {
	for p.pos < len(p.s) {
		switch c := p.s[p.pos]; {
		case c == ' ' || c == '\t' || lines && (c == '\n' || c == '\r'):
			p.pos++
		case c == '#':
			for p.pos < len(p.s) && p.s[p.pos] != '\n' && p.s[p.pos] != '\r' {
				p.pos++
			}
		default:
			return
		}
	}
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

func (p *gbnfParser) name() (string, error) {
	start := p.pos
	for p.pos < len(p.s) && isNameByte(p.s[p.pos]) {
		p.pos++
	}
	if start == p.pos {
		return "", fmt.Errorf("want the name of a rule, got %q", p.rune())
	}
	return p.s[start:p.pos], nil
}

func (p *gbnfParser) alternatives(nested bool) (*node, error) {
	if p.depth++; p.depth > maxNesting {
		return nil, fmt.Errorf("more than %d groups in one another", maxNesting)
	}
	defer func() { p.depth-- }()
	var out []*node
	for {
		n, err := p.sequence(nested)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
		if p.pos >= len(p.s) || p.s[p.pos] != '|' {
			break
		}
		p.pos++
		p.space(true)
	}
	if len(out) == 1 {
		return out[0], nil
	}
	return alt(out...), nil
}

func (p *gbnfParser) sequence(nested bool) (*node, error) {
	var out []*node
	for p.pos < len(p.s) {
		n, err := p.item(nested)
		if err != nil {
			return nil, err
		}
		if n == nil {
			break
		}
		p.space(nested)
		for {
			low, high, ok, err := p.repetition()
			if err != nil {
				return nil, err
			}
			if !ok {
				break
			}
			n = repeat(n, low, high)
			p.space(nested)
		}
		out = append(out, n)
	}
	return seq(out...), nil
}

// item reads what can be repeated; nil where none begins.
func (p *gbnfParser) item(nested bool) (*node, error) {
	switch c := p.s[p.pos]; {
	case c == '"':
		return p.text()
	case c == '[':
		return p.set()
	case c == '.':
		p.pos++
		return class(anyRune), nil
	case c == '<', c == '!':
		return p.token()
	case c == '(':
		p.pos++
		p.space(true)
		n, err := p.alternatives(true)
		if err != nil {
			return nil, err
		}
		if p.pos >= len(p.s) || p.s[p.pos] != ')' {
			return nil, errors.New("want )")
		}
		p.pos++
		return n, nil
	case c == '*' || c == '+' || c == '?' || c == '{':
		return nil, fmt.Errorf("nothing before %q to repeat", c)
	case isNameByte(c):
		start := p.pos
		name, _ := p.name()
		end := p.pos
		if p.space(nested); nested && strings.HasPrefix(p.s[p.pos:], "::=") {
			p.pos = start
			return nil, errors.New("a rule begins inside a group: a ) is missing before it")
		}
		p.pos = start
		i := p.named(name)
		p.pos = end
		return ref(i), nil
	}
	return nil, nil
}

func (p *gbnfParser) repetition() (low, high int, ok bool, err error) {
	if p.pos >= len(p.s) {
		return 0, 0, false, nil
	}
	switch p.s[p.pos] {
	case '*':
		low, high = 0, -1
	case '+':
		low, high = 1, -1
	case '?':
		low, high = 0, 1
	case '{':
		q := &regexParser{s: strings.ReplaceAll(strings.SplitN(p.s[p.pos:], "\n", 2)[0], " ", "")}
		if low, high, ok = q.counts(); !ok || low > maxRepeat || high > maxRepeat || high >= 0 && low > high {
			return 0, 0, false, fmt.Errorf("repetition: want {m}, {m,} or {m,n} with m not above n, and at most %d", maxRepeat)
		}
		p.pos += strings.IndexByte(p.s[p.pos:], '}')
	default:
		return 0, 0, false, nil
	}
	p.pos++
	return low, high, true, nil
}

// char reads a character of a text or a set, which may be escaped.
func (p *gbnfParser) char() (rune, error) {
	if p.pos >= len(p.s) {
		return 0, errors.New("the grammar ends inside a text or a set")
	}
	r, n := utf8.DecodeRuneInString(p.s[p.pos:])
	if r != '\\' {
		p.pos += n
		return r, nil
	}
	if p.pos+1 >= len(p.s) {
		return 0, errors.New("\\ at the end")
	}
	c := p.s[p.pos+1]
	if i := strings.IndexByte(`tnr\"[]-`, c); i >= 0 {
		p.pos += 2
		return rune("\t\n\r\\\"[]-"[i]), nil
	}
	size := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
	if size == 0 {
		return 0, fmt.Errorf("escape \\%c: want one of \\t \\n \\r \\\\ \\\" \\[ \\] \\- \\xHH \\uHHHH \\UHHHHHHHH", c)
	}
	hex := p.s[p.pos+2:]
	hex = hex[:min(len(hex), size)]
	code, err := strconv.ParseUint(hex, 16, 32)
	if err != nil || len(hex) < size {
		return 0, fmt.Errorf("escape \\%c%s: want %d hexadecimal digits", c, hex, size)
	}
	p.pos += 2 + size
	return rune(min(code, 0x7FFFFFFF)), nil
}

func (p *gbnfParser) text() (*node, error) {
	start := p.pos
	p.pos++
	var out []byte
	for p.pos < len(p.s) && p.s[p.pos] != '"' {
		at := p.pos
		r, err := p.char()
		if err != nil {
			return nil, err
		}
		if !utf8.ValidRune(r) {
			p.pos = at
			return nil, fmt.Errorf("U+%04X is no character", r)
		}
		out = utf8.AppendRune(out, r)
	}
	if p.pos >= len(p.s) {
		p.pos = start
		return nil, errors.New("the text that begins here has no end")
	}
	p.pos++
	return text(string(out)), nil
}

func (p *gbnfParser) set() (*node, error) {
	start := p.pos
	p.pos++
	not := p.pos < len(p.s) && p.s[p.pos] == '^'
	if not {
		p.pos++
	}
	var ranges []runeRange
	for p.pos < len(p.s) && p.s[p.pos] != ']' {
		lo, err := p.char()
		if err != nil {
			return nil, err
		}
		hi := lo
		if rest := p.s[p.pos:]; len(rest) > 1 && rest[0] == '-' && rest[1] != ']' {
			p.pos++
			if hi, err = p.char(); err != nil {
				return nil, err
			}
		}
		ranges = append(ranges, runeRange{lo, min(hi, utf8.MaxRune)})
	}
	if p.pos >= len(p.s) {
		p.pos = start
		return nil, errors.New("the set that begins here has no end")
	}
	p.pos++
	if not {
		return class(without(ranges)), nil
	}
	return class(ranges), nil
}

// token reads <name>, <[id]> and those with ! before.
func (p *gbnfParser) token() (*node, error) {
	not := p.s[p.pos] == '!'
	rest := strings.TrimPrefix(p.s[p.pos:], "!")
	name, _, ok := strings.Cut(rest, ">")
	if !ok || !strings.HasPrefix(name, "<") || strings.Contains(name, "\n") {
		return nil, errors.New("want a token as <name> or <[id]>")
	}
	name += ">"
	id, special := p.v.specials[name]
	if digits, ok := strings.CutPrefix(name, "<["); ok {
		n, err := strconv.ParseInt(strings.TrimSuffix(digits, "]>"), 10, 32)
		if err != nil || n < 0 || int(n) >= p.v.size {
			return nil, fmt.Errorf("token %s: want an id below %d", name, p.v.size)
		}
		id = int32(n)
		_, special = p.v.special[id]
	} else if !special {
		if id = int32(slices.IndexFunc(p.v.token, func(b []byte) bool { return string(b) == name })); id < 0 {
			return nil, fmt.Errorf("the tokenizer has no token %s", name)
		}
	}
	p.pos += len(name)
	if not {
		p.pos++
		return p.notToken(id, special)
	}
	if special {
		return text(mark(id)), nil
	}
	if slices.Contains(p.v.end, id) || len(p.v.token[id]) == 0 {
		return nil, fmt.Errorf("token %s ends the text or is none", name)
	}
	return text(string(p.v.token[id])), nil
}

func (p *gbnfParser) notToken(id int32, special bool) (*node, error) {
	if !special {
		return nil, errors.New("! is supported before special tokens only; use a set of characters")
	}
	ways := []*node{class(anyRune)}
	for other := range p.v.special {
		if other != id && !slices.Contains(p.v.end, other) {
			ways = append(ways, text(mark(other)))
		}
	}
	return alt(ways...), nil
}
