package tokenizer

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// fromOniguruma spells a regular expression of Oniguruma, which Hugging Face's
// tokenizers use, in the dialect of regexp2 (.NET's): possessive quantifiers, sets
// within sets, intersections (&&), POSIX brackets, \h, \R, names of properties. What
// neither translates nor compiles is an error of the file; conditionals, calls of
// groups (\g) and \K, \X and \y are such.
func fromOniguruma(pattern string) (string, error) {
	p := &onigParser{s: []rune(pattern)}
	if err := p.sequence(); err != nil {
		return "", err
	}
	return string(p.out), nil
}

type onigParser struct {
	s   []rune
	i   int
	out []rune
}

func (p *onigParser) has(prefix string) bool {
	for k, r := range []rune(prefix) {
		if p.i+k >= len(p.s) || p.s[p.i+k] != r {
			return false
		}
	}
	return true
}

func (p *onigParser) emit(s string) { p.out = append(p.out, []rune(s)...) }

// wrap puts what was emitted since start into a group.
func (p *onigParser) wrap(start int, open string) {
	atom := string(p.out[start:])
	p.out = append(p.out[:start], []rune(open+atom+")")...)
}

// onigGroup is an open group, or the whole expression.
type onigGroup struct {
	start  int  // in out
	look   bool // looks ahead or behind, and takes nothing
	before bool // some alternative before the present one may be empty
	empty  bool // the present one may be, so far
	tricky bool // it holds lazy or atomic repetitions
}

// onigAtom is the last thing that can be repeated; start is -1 without one.
type onigAtom struct {
	start         int
	empty, tricky bool
	repeated      bool
}

// sequence translates the whole expression.
func (p *onigParser) sequence() error {
	groups := []onigGroup{{empty: true}}
	none := onigAtom{start: -1, empty: true}
	atom := none
	for p.i < len(p.s) {
		c, start := p.s[p.i], len(p.out)
		group := &groups[len(groups)-1]
		if c == '*' || c == '+' || c == '?' || c == '{' && p.interval() != "" {
			if err := p.repeat(&atom); err != nil {
				return err
			}
			continue
		}
		group.empty = group.empty && atom.empty
		group.tricky = group.tricky || atom.tricky
		atom = onigAtom{start: start}
		switch c {
		case '\\':
			at := p.i
			s, err := p.escape(false)
			if err != nil {
				return err
			}
			// These match places, or what a group did, and need no character.
			atom.empty = strings.ContainsRune("AZzGbBk123456789", p.s[at+1])
			p.emit(s)
		case '[':
			p.i++
			set, err := p.set(0)
			if err != nil {
				return err
			}
			p.emit(set.atom())
		case '(':
			p.group()
			opened := string(p.out[start:])
			groups = append(groups, onigGroup{start: start, empty: true, look: strings.Contains(opened, "=") || strings.Contains(opened, "!"),
				tricky: strings.HasPrefix(opened, "(?>")})
			atom = none
		case ')':
			if len(groups) == 1 {
				return errors.New("a ) too many")
			}
			p.emit(")")
			p.i++
			atom = onigAtom{start: group.start, empty: group.look || group.before || group.empty, tricky: group.tricky}
			groups = groups[:len(groups)-1]
		case '|':
			group.before, group.empty = group.before || group.empty, true
			atom = none
			p.emit("|")
			p.i++
		case '^': // a line that begins at the end of the text is none
			p.emit(`(?:\A|(?<=\n)(?!\z))`)
			p.i++
			atom.empty = true
		case '{', '}', ']':
			p.emit("\\" + string(c))
			p.i++
		default:
			p.emit(string(c))
			p.i++
			atom.empty = c == '$'
		}
	}
	if len(groups) > 1 {
		return errors.New("a ) too few")
	}
	return nil
}

// repeat translates a quantifier.
func (p *onigParser) repeat(atom *onigAtom) error {
	c := p.s[p.i]
	switch {
	case atom.start < 0:
		return fmt.Errorf("%q repeats nothing", c)
	case atom.empty && c != '?' && (atom.tricky || p.lazyAfter()):
		// regexp2 goes round in some such circles until memory is full.
		return fmt.Errorf("%q repeats what may be empty, in a lazy or possessive way: that is not supported", c)
	case atom.repeated: // .NET has no repetition of a repetition
		p.wrap(atom.start, "(?:")
	}
	if c == '{' {
		interval := p.interval()
		p.emit(interval)
		for p.s[p.i] != '}' {
			p.i++
		}
		atom.empty = atom.empty || strings.HasPrefix(interval, "{0")
	} else {
		p.emit(string(c))
		atom.empty = atom.empty || c != '+'
	}
	p.i++
	atom.repeated = true
	switch {
	case p.has("?"):
		p.emit("?")
		p.i++
		atom.tricky = true
	case p.has("+") && c != '{':
		p.wrap(atom.start, "(?>")
		p.i++
		atom.repeated, atom.tricky = false, true
	}
	return nil
}

// lazyAfter tells whether the quantifier at the parser's place is lazy or possessive.
func (p *onigParser) lazyAfter() bool {
	end := p.i
	if p.s[end] == '{' {
		for p.s[end] != '}' {
			end++
		}
	}
	return end+1 < len(p.s) && (p.s[end+1] == '?' || p.s[end+1] == '+')
}

// interval returns the repetition {n,m} at the parser's place, "" for a brace that
// stands for itself.
func (p *onigParser) interval() string {
	end := p.i + 1
	for end < len(p.s) && (p.s[end] >= '0' && p.s[end] <= '9' || p.s[end] == ',') {
		end++
	}
	if end >= len(p.s) || p.s[end] != '}' {
		return ""
	}
	body := string(p.s[p.i+1 : end])
	low, high, both := strings.Cut(body, ",")
	switch {
	case strings.Contains(high, ","), low == "" && high == "":
		return ""
	case low == "":
		low = "0"
	}
	if !both {
		return "{" + low + "}"
	}
	return "{" + low + "," + high + "}"
}

// group copies what opens a group; the m of its options, by which . takes line
// ends, is s in .NET.
func (p *onigParser) group() {
	p.emit("(")
	p.i++
	if !p.has("?") {
		return
	}
	for k := p.i + 1; k < len(p.s); k++ {
		c := p.s[k]
		if c == 'i' || c == 'm' || c == 'x' || c == '-' {
			continue
		}
		if c == ':' || c == ')' {
			p.emit(strings.ReplaceAll(string(p.s[p.i:k]), "m", "s"))
			p.i = k
		}
		break
	}
	if p.i < len(p.s) && p.s[p.i] != ')' {
		// What says the kind of group: ?: ?= ?! ?> ?<= ?<name> or the : after options.
		end := p.i + 1
		if p.has("?") {
			end++
		}
		if p.has("?<") && !p.has("?<=") && !p.has("?<!") {
			for end < len(p.s) && p.s[end-1] != '>' {
				end++
			}
		} else if p.has("?<") {
			end++
		}
		end = min(end, len(p.s))
		p.emit(string(p.s[p.i:end]))
		p.i = end
	}
}

// escape translates what follows a backslash, in a set or outside of one.
func (p *onigParser) escape(inSet bool) (string, error) {
	p.i++
	if p.i >= len(p.s) {
		return "", errors.New("nothing after a backslash")
	}
	c := p.s[p.i]
	p.i++
	boxed := func(content string, not bool) string {
		switch {
		case not:
			return "[^" + content + "]"
		case inSet:
			return content
		}
		return "[" + content + "]"
	}
	switch c {
	case 'h':
		return boxed("0-9a-fA-F", false), nil
	case 'H':
		if !inSet {
			return boxed("0-9a-fA-F", true), nil
		}
	case 'w':
		if inSet {
			return wordSet(), nil
		}
		return "[" + wordSet() + latinNumbers + "]", nil
	case 'W':
		if !inSet {
			return "[^" + wordSet() + latinNumbers + "]", nil
		}
	case 'b', 'B':
		if !inSet { // .NET's own words are others
			word := "[" + wordSet() + latinNumbers + "]"
			if c == 'b' {
				return "(?:(?<=" + word + ")(?!" + word + ")|(?<!" + word + ")(?=" + word + "))", nil
			}
			return "(?:(?<=" + word + ")(?=" + word + ")|(?<!" + word + ")(?!" + word + "))", nil
		}
	case 'R':
		if !inSet {
			return `(?>\r\n|[\n-\r\u0085\u2028\u2029])`, nil
		}
	case 'N':
		if !inSet {
			return `[^\n]`, nil
		}
	case 'O':
		if !inSet {
			return `[\s\S]`, nil
		}
	case 'p', 'P':
		name, not, ok := p.propertyName()
		if !ok {
			return "", fmt.Errorf(`\%c without a name`, c)
		}
		content, err := property(name)
		if err != nil {
			return "", err
		}
		if not = not != (c == 'P'); not && inSet {
			if !strings.HasPrefix(content, `\p{`) || strings.Count(content, `\`) > 1 {
				return "", fmt.Errorf(`\P{%s} within a set is not supported`, name)
			}
			content, _, _ = strings.Cut(content, "}")
			return `\P` + content[2:] + "}", nil
		}
		return boxed(content, not), nil
	case 'x':
		if p.has("{") {
			end := p.i
			for end < len(p.s) && p.s[end] != '}' {
				end++
			}
			n, err := strconv.ParseUint(string(p.s[p.i+1:min(end, len(p.s))]), 16, 32)
			if err != nil || n > unicode.MaxRune || end >= len(p.s) {
				return "", errors.New(`\x{…} is not a character`)
			}
			p.i = end + 1
			return literal(rune(n)), nil
		}
		return p.rest(c, 2, isHex), nil
	case 'u':
		return p.rest(c, 4, isHex), nil
	case 'c':
		return p.rest(c, 1, func(rune) bool { return true }), nil
	case 'k':
		if p.has("<") {
			end := slices.Index(p.s[p.i:], '>')
			if end < 0 {
				return "", errors.New(`\k without a name`)
			}
			p.i += end + 1
			return `\k` + string(p.s[p.i-end-1:p.i]), nil
		}
	case '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return p.rest(c, 2, unicode.IsDigit), nil
	}
	return `\` + string(c), nil
}

// rest copies an escape of c with up to n characters that belong to it.
func (p *onigParser) rest(c rune, n int, is func(rune) bool) string {
	start := p.i
	for p.i < len(p.s) && p.i < start+n && is(p.s[p.i]) {
		p.i++
	}
	return `\` + string(c) + string(p.s[start:p.i])
}

func isHex(r rune) bool {
	return r < 0x80 && strings.ContainsRune("0123456789abcdefABCDEF", r)
}

// propertyName reads {L}, {^L} of \p.
func (p *onigParser) propertyName() (name string, not, ok bool) {
	if !p.has("{") {
		return "", false, false
	}
	p.i++
	if not = p.has("^"); not {
		p.i++
	}
	start := p.i
	for p.i < len(p.s) && p.s[p.i] != '}' {
		p.i++
	}
	if p.i >= len(p.s) {
		return "", false, false
	}
	name = string(p.s[start:p.i])
	p.i++
	return name, not, name != ""
}

// literal spells a character by itself.
func literal(r rune) string {
	if r < 0x80 && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
		return fmt.Sprintf(`\x%02x`, r)
	}
	return string(r)
}
