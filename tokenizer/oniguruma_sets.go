package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode"
)

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
