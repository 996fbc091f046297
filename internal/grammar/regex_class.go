package grammar

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

var (
	digits = []runeRange{{'0', '9'}}
	words  = []runeRange{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}
	// ECMAScript's white space and line ends.
	spaces = []runeRange{{'\t', '\r'}, {' ', ' '}, {0xA0, 0xA0}, {0x1680, 0x1680}, {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}}
)

// regexClasses are the escapes that stand for several characters.
var regexClasses = map[byte][]runeRange{
	'd': digits, 'D': without(digits),
	'w': words, 'W': without(words),
	's': spaces, 'S': without(spaces),
}

var regexControls = map[byte]rune{'t': '\t', 'n': '\n', 'r': '\r', 'f': '\f', 'v': '\v', 'a': '\a', '0': 0}

// escape reads a backslash and what it means outside of a set.
func (p *regexParser) escape() (*regex, error) {
	if len(p.rest()) > 1 {
		switch c := p.s[p.at+1]; c {
		case 'b', 'B':
			return nil, errors.New("word boundaries, \\b and \\B, are not supported")
		case 'A', 'z', 'Z':
			p.at += 2
			if c == 'A' {
				return &regex{op: opBegin}, nil
			}
			return &regex{op: opEnd}, nil
		}
	}
	c, err := p.escaped()
	if err != nil {
		return nil, err
	}
	return p.chars(c), nil
}

// escaped reads a backslash and the characters it stands for.
func (p *regexParser) escaped() ([]runeRange, error) {
	if len(p.rest()) < 2 {
		return nil, errors.New("\\ at the end")
	}
	c := p.s[p.at+1]
	if class, ok := regexClasses[c]; ok {
		p.at += 2
		return class, nil
	}
	one := func(r rune, err error) ([]runeRange, error) { return []runeRange{{r, r}}, err }
	if r, ok := regexControls[c]; ok {
		if c == '0' && len(p.rest()) > 2 && p.s[p.at+2] >= '0' && p.s[p.at+2] <= '9' {
			return nil, errors.New("octal escapes are not supported; use \\x")
		}
		p.at += 2
		return one(r, nil)
	}
	switch {
	case c >= '1' && c <= '9', c == 'k':
		return nil, errBackref
	case c == 'x':
		return one(p.hex(2))
	case c == 'u':
		return one(p.unicode())
	case c == 'c' && len(p.rest()) > 2 && unicode.IsLetter(rune(p.s[p.at+2])):
		r := rune(p.s[p.at+2] & 31)
		p.at += 3
		return one(r, nil)
	case c == 'p', c == 'P':
		return p.property(c == 'P')
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
		return nil, fmt.Errorf("escape \\%c is not supported", c)
	}
	r, n := utf8.DecodeRuneInString(p.s[p.at+1:])
	p.at += 1 + n
	return one(r, nil)
}

// hex reads the digits of \xHH, \uHHHH, or of \x{…} and \u{…}.
func (p *regexParser) hex(n int) (rune, error) {
	digits, size := p.rest()[2:], 2+n
	if strings.HasPrefix(digits, "{") {
		i := strings.IndexByte(digits, '}')
		if i < 0 {
			return 0, errors.New("escape without }")
		}
		digits, size = digits[1:i], 3+i
	} else if len(digits) >= n {
		digits = digits[:n]
	}
	r, err := strconv.ParseUint(digits, 16, 32)
	if err != nil || r > unicode.MaxRune || size == 2+n && len(digits) < n {
		return 0, fmt.Errorf("escape %q: want %d hexadecimal digits", p.rest()[:min(len(p.rest()), 2+n)], n)
	}
	p.at += size
	return rune(r), nil
}

// unicode reads \u, where characters beyond U+FFFF may be two surrogates.
func (p *regexParser) unicode() (rune, error) {
	r, err := p.hex(4)
	if err != nil || r < firstSurrogate || r > lastSurrogate {
		return r, err
	}
	if strings.HasPrefix(p.rest(), `\u`) && r < 0xDC00 {
		low, err := p.hex(4)
		if err != nil {
			return 0, err
		}
		if low >= 0xDC00 && low <= lastSurrogate {
			return (r-firstSurrogate)<<10 + low - 0xDC00 + 0x10000, nil
		}
	}
	return 0, errors.New("half of a surrogate pair is no character")
}

// property reads \pL or \p{Greek}: a general category or a script.
func (p *regexParser) property(not bool) ([]runeRange, error) {
	name, size := "", 0
	if rest := p.rest()[2:]; strings.HasPrefix(rest, "{") {
		i := strings.IndexByte(rest, '}')
		if i < 0 {
			return nil, errors.New("\\p without }")
		}
		name, size = rest[1:i], 3+i
	} else if rest != "" {
		name, size = rest[:1], 3
	}
	for _, prefix := range []string{"Script=", "sc=", "General_Category=", "gc="} {
		name = strings.TrimPrefix(name, prefix)
	}
	table, ok := unicode.Categories[name]
	if !ok {
		table, ok = unicode.Scripts[name]
	}
	if !ok {
		return nil, fmt.Errorf("\\p{%s}: want a general category (L, Lu, …) or a script (Greek, …)", name)
	}
	p.at += size
	var out []runeRange
	add := func(lo, hi, stride rune) {
		if stride == 1 {
			out = append(out, runeRange{lo, hi})
			return
		}
		for c := lo; c <= hi; c += stride {
			out = append(out, runeRange{c, c})
		}
	}
	for _, r := range table.R16 {
		add(rune(r.Lo), rune(r.Hi), rune(r.Stride))
	}
	for _, r := range table.R32 {
		add(rune(r.Lo), rune(r.Hi), rune(r.Stride))
	}
	if not {
		return without(out), nil
	}
	return normal(out), nil
}

// set reads […].
func (p *regexParser) set() (*regex, error) {
	p.at++
	not := p.take("^")
	var out []runeRange
	for first := true; ; first = false {
		switch {
		case p.at >= len(p.s):
			return nil, errors.New("[ without ]")
		case p.take("]"):
			if first {
				return nil, errors.New("empty set []; a ] in a set is written \\]")
			}
			if p.fold {
				out = foldCase(out)
			}
			if not {
				out = without(out)
			}
			return &regex{class: normal(out)}, nil
		case strings.HasPrefix(p.rest(), "[:"):
			return nil, errors.New("classes like [:alpha:] are not supported")
		}
		lo, err := p.setItem()
		if err != nil {
			return nil, err
		}
		if len(lo) != 1 || lo[0].lo != lo[0].hi || !strings.HasPrefix(p.rest(), "-") || strings.HasPrefix(p.rest(), "-]") {
			out = append(out, lo...)
			continue
		}
		p.at++
		hi, err := p.setItem()
		if err != nil {
			return nil, err
		}
		if len(hi) != 1 || hi[0].lo != hi[0].hi || hi[0].lo < lo[0].lo {
			return nil, fmt.Errorf("range in a set: want one that goes up, as in a-z")
		}
		out = append(out, runeRange{lo[0].lo, hi[0].lo})
	}
}

func (p *regexParser) setItem() ([]runeRange, error) {
	if strings.HasPrefix(p.rest(), `\`) {
		if p.take(`\b`) { // in a set, the character
			return []runeRange{{'\b', '\b'}}, nil
		}
		return p.escaped()
	}
	r, n := utf8.DecodeRuneInString(p.rest())
	if n == 0 {
		return nil, errors.New("[ without ]")
	}
	p.at += n
	return []runeRange{{r, r}}, nil
}
