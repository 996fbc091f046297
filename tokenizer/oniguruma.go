package tokenizer

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
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

// sequence translates the whole expression.
func (p *onigParser) sequence() error {
	var groups []int // where each open group begins in out
	atom := -1       // where the last thing that can be repeated begins
	repeated := false
	for p.i < len(p.s) {
		c, start := p.s[p.i], len(p.out)
		switch {
		case c == '\\':
			s, err := p.escape(false)
			if err != nil {
				return err
			}
			p.emit(s)
			atom, repeated = start, false
		case c == '[':
			p.i++
			set, err := p.set(0)
			if err != nil {
				return err
			}
			p.emit(set.atom())
			atom, repeated = start, false
		case c == '(':
			groups = append(groups, start)
			p.group()
			atom = -1
		case c == ')':
			if len(groups) == 0 {
				return errors.New("a ) too many")
			}
			p.emit(")")
			p.i++
			atom, repeated = groups[len(groups)-1], false
			groups = groups[:len(groups)-1]
		case c == '*' || c == '+' || c == '?' || c == '{' && p.interval() != "":
			if atom < 0 {
				return fmt.Errorf("%q repeats nothing", c)
			}
			if repeated { // .NET has no repetition of a repetition
				p.wrap(atom, "(?:")
			}
			if c == '{' {
				p.emit(p.interval())
				for p.s[p.i] != '}' {
					p.i++
				}
			} else {
				p.emit(string(c))
			}
			p.i++
			repeated = true
			switch {
			case p.has("?"):
				p.emit("?")
				p.i++
			case p.has("+") && c != '{':
				p.wrap(atom, "(?>")
				p.i++
				repeated = false
			}
		case c == '^': // a line that begins at the end of the text is none
			p.emit(`(?:\A|(?<=\n)(?!\z))`)
			p.i++
			atom, repeated = start, false
		case c == '{' || c == '}' || c == ']':
			p.emit("\\" + string(c))
			p.i++
			atom, repeated = start, false
		default:
			p.emit(string(c))
			p.i++
			if atom, repeated = start, false; c == '|' {
				atom = -1
			}
		}
	}
	if len(groups) > 0 {
		return errors.New("a ) too few")
	}
	return nil
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
	}
	return `\` + string(c), nil
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

// onigSet is a set of characters: plain ones, and others that are themselves
// expressions for one character; or the common ones of several sets.
type onigSet struct {
	not     bool
	content string   // of .NET's set
	others  []string // one of these will do as well
	common  []onigSet
}

// maxNested bounds sets within sets.
const maxNested = 20

// set reads a set after its opening bracket.
func (p *onigParser) set(depth int) (onigSet, error) {
	if depth > maxNested {
		return onigSet{}, fmt.Errorf("sets within sets, more than %d deep", maxNested)
	}
	var all, one onigSet
	if all.not = p.has("^"); all.not {
		p.i++
	}
	for first := true; p.i < len(p.s); first = false {
		switch c := p.s[p.i]; {
		case c == ']' && !first:
			p.i++
			if len(all.common) > 0 {
				all.common = append(all.common, one)
			} else {
				all.content, all.others = one.content, one.others
			}
			return all, nil
		case p.has("[:"):
			content, not, ok, err := p.bracket()
			if err != nil {
				return all, err
			}
			switch {
			case !ok:
				one.content += `\[`
				p.i++
			case not:
				one.others = append(one.others, "[^"+content+"]")
			default:
				one.content += content
			}
		case c == '[':
			p.i++
			inner, err := p.set(depth + 1)
			if err != nil {
				return all, err
			}
			if inner.not || len(inner.others)+len(inner.common) > 0 {
				one.others = append(one.others, inner.atom())
			} else {
				one.content += inner.content
			}
		case p.has("&&"):
			p.i += 2
			all.common = append(all.common, one)
			one = onigSet{}
		case c == '\\':
			s, err := p.escape(true)
			if err != nil {
				return all, err
			}
			one.content += s
		case c == '^' || c == ']':
			one.content += `\` + string(c)
			p.i++
		default:
			one.content += string(c)
			p.i++
		}
	}
	return all, errors.New("a ] is missing")
}

// bracket reads [:name:]; ok is false for a bracket that is none.
func (p *onigParser) bracket() (content string, not, ok bool, err error) {
	end := p.i + 2
	for end < len(p.s) && (unicode.IsLetter(p.s[end]) || p.s[end] == '^') {
		end++
	}
	if end+1 >= len(p.s) || p.s[end] != ':' || p.s[end+1] != ']' {
		return "", false, false, nil
	}
	name, not := strings.CutPrefix(string(p.s[p.i+2:end]), "^")
	p.i = end + 2
	if name == "punct" { // more than \p{punct}
		return `\p{P}\p{S}` + newChars(classPunct), not, true, nil
	}
	content, err = property(name)
	return content, not, true, err
}

// atom is the set as an expression.
func (s onigSet) atom() string {
	var out string
	switch {
	case len(s.common) > 0:
		for _, c := range s.common {
			out += "(?=" + c.atom() + ")"
		}
		out = "(?:" + out + `[\s\S])`
	case len(s.others) == 0 && s.not:
		return "[^" + s.content + "]"
	case len(s.others) == 0 && s.content == "":
		return "(?!)" // nothing is in it
	case len(s.others) == 0:
		return "[" + s.content + "]"
	default:
		parts := s.others
		if s.content != "" {
			parts = append([]string{"[" + s.content + "]"}, parts...)
		}
		out = "(?:" + strings.Join(parts, "|") + ")"
	}
	if s.not {
		return "(?:(?!" + out + `)[\s\S])`
	}
	return out
}

// property returns the content of a set for a property, a script or a POSIX class,
// whose names are compared without case, spaces, - and _.
func property(name string) (string, error) {
	if content, ok := properties()[plainName(name)]; ok {
		return content, nil
	}
	return "", fmt.Errorf("property %q is not supported", name)
}

func plainName(name string) string {
	return strings.NewReplacer(" ", "", "_", "", "-", "").Replace(strings.ToLower(name))
}

// newChars is what Unicode 16 adds to a class of Go's tables.
func newChars(bit uint8) string {
	var out strings.Builder
	for _, r := range unicode16 {
		if r.bits == bit {
			out.WriteRune(rune(r.lo))
			out.WriteByte('-')
			out.WriteRune(rune(r.hi))
		}
	}
	return out.String()
}

// latinNumbers are words to a \w that stands alone, but not to one in a set.
const latinNumbers = "²³¹¼-¾"

// wordSet is \w: Alphabetic, \p{M}, \p{Nd} and \p{Pc}.
var wordSet = sync.OnceValue(func() string {
	return `\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\p{Other_Alphabetic}` + newChars(classLetter) + newChars(classMark)
})

var properties = sync.OnceValue(func() map[string]string {
	all := map[string]string{}
	for _, tables := range []map[string]*unicode.RangeTable{unicode.Properties, unicode.Scripts, unicode.Categories} {
		for name := range tables {
			all[plainName(name)] = `\p{` + name + `}`
		}
	}
	for name, bit := range map[string]uint8{"L": classLetter, "N": classNumber, "M": classMark, "P": classPunct} {
		content := `\p{` + name + `}` + newChars(bit)
		all[plainName(name)] = content
		all[map[string]string{"L": "letter", "N": "number", "M": "mark", "P": "punctuation"}[name]] = content
	}
	alpha := `\p{L}\p{Nl}\p{Other_Alphabetic}` + newChars(classLetter)
	graph := `\p{L}\p{M}\p{N}\p{P}\p{S}\p{Cf}\p{Co}` + newChars(classLetter) + newChars(classMark) + newChars(classNumber) + newChars(classPunct)
	for name, content := range map[string]string{
		"alnum":  alpha + `\p{Nd}`,
		"alpha":  alpha,
		"any":    `\s\S`,
		"ascii":  `\x00-\x7f`,
		"blank":  `\p{Zs}\t`,
		"cntrl":  `\p{Cc}`,
		"digit":  `\p{Nd}`,
		"graph":  graph,
		"lower":  `\p{Ll}\p{Other_Lowercase}`,
		"print":  graph + `\p{Zs}`,
		"punct":  all["p"],
		"space":  `\s`,
		"upper":  `\p{Lu}\p{Other_Uppercase}`,
		"word":   wordSet(),
		"xdigit": `0-9a-fA-F`,
	} {
		all[name] = content
	}
	return all
})
