package tokenizer

import (
	"encoding/base64"
	"fmt"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"
)

// normalizers are the types of normalizer we have. The growth of the Unicode
// forms is the largest of any character (UAX 15, "Maximum Expansion Factor").
var normalizers = map[string]func(*component) (normalizer, error){
	"BertNormalizer": func(c *component) (normalizer, error) { return bertNormalizer(c), nil },
	"ByteLevel":      plain(textStep{edit: byteLevelEdit, growth: 2}),
	"Lowercase":      plain(lowercase),
	"NFC":            plain(form(false, true)),
	"NFD":            plain(form(false, false)),
	"NFKC":           plain(form(true, true)),
	"NFKD":           plain(form(true, false)),
	"Nmt":            plain(nmt),
	"Precompiled":    precompiled,
	"Prepend":        prepend,
	"Replace":        replace,
	"Strip": func(c *component) (normalizer, error) {
		return normalizer{{edit: stripSpace(c.StripLeft, c.StripRight), growth: 1}}, nil
	},
	"StripAccents": plain(textStep{edit: filter(has(traitCombining)), growth: 1}),
}

// plain is a type of normalizer without settings.
func plain(steps ...textStep) func(*component) (normalizer, error) {
	return func(*component) (normalizer, error) { return steps, nil }
}

// lowercase maps character by character, without the final sigma of words.
var lowercase = textStep{
	edit: mapChars(func(r rune) (bool, rune, rune) {
		first, second := lowered(r)
		return true, first, second
	}),
	growth: 1.5,
}

// nmt is what SentencePiece's NMT rules drop and what they take for a space.
var nmt = textStep{growth: 1, edit: mapChars(func(r rune) (bool, rune, rune) {
	switch {
	case r >= 0x01 && r <= 0x08, r == 0x0B, r >= 0x0E && r <= 0x1F, r == 0x7F, r == 0x8F, r == 0x9F:
		return false, 0, 0
	case r == 0x09, r == 0x0A, r == 0x0C, r == 0x0D, r == 0x1680, r >= 0x200B && r <= 0x200F,
		r == 0x2028, r == 0x2029, r == 0x2581, r == 0xFEFF, r == 0xFFFD:
		return true, ' ', 0
	}
	return true, r, 0
})}

// bertNormalizer is up to four steps; accents go with the case unless the file
// says otherwise.
func bertNormalizer(c *component) normalizer {
	isOn := func(b *bool) bool { return b == nil || *b }
	var steps normalizer
	if isOn(c.CleanText) {
		steps = append(steps, textStep{growth: 1, edit: mapChars(func(r rune) (bool, rune, rune) {
			switch {
			case r == 0 || r == utf8.RuneError || trait(r)&traitControl != 0:
				return false, 0, 0
			case unicode.IsSpace(r):
				return true, ' ', 0
			}
			return true, r, 0
		})})
	}
	if isOn(c.HandleChinese) {
		steps = append(steps, textStep{growth: 5. / 3, edit: func(e *editor) {
			for e.at < len(e.src) {
				r, n := decodeRune(e.src, e.at)
				if !isHan(r) {
					e.copy(n)
					continue
				}
				s := e.next()
				e.take(" ")
				e.add(s)
				e.add(" ")
			}
		}})
	}
	strip := isOn(c.Lowercase)
	if c.StripAccents != nil {
		strip = *c.StripAccents
	}
	if strip {
		steps = append(steps, form(false, false), textStep{edit: filter(has(traitNonspacing)), growth: 1})
	}
	if isOn(c.Lowercase) {
		steps = append(steps, lowercase)
	}
	return steps
}

// byteLevelEdit spells the bytes of each character with those of the byte table.
func byteLevelEdit(e *editor) {
	for e.at < len(e.src) {
		s := e.next()
		e.takeRune(byteRune[s[0]])
		for i := 1; i < len(s); i++ {
			e.addRune(byteRune[s[i]])
		}
	}
}

// stripSpace leaves out the white space at the ends.
func stripSpace(left, right bool) edit {
	return func(e *editor) {
		s := e.src
		if left {
			s = strings.TrimLeftFunc(s, unicode.IsSpace)
			e.drop(len(e.src) - len(s))
		}
		if right {
			s = strings.TrimRightFunc(s, unicode.IsSpace)
		}
		e.copy(len(s))
	}
}

// prependTo puts prefix before a text that is not empty; it has the origin of the
// first character.
func prependTo(prefix string) edit {
	return func(e *editor) {
		first := e.next()
		if first == "" {
			return
		}
		if prefix != "" {
			e.take(prefix)
			e.add(first)
		} else {
			e.add(first)
			e.drop(len(first))
		}
		e.copy(len(e.src) - e.at)
	}
}

func prepend(c *component) (normalizer, error) {
	prefix := c.Prepend
	return normalizer{{
		edit: prependTo(prefix),
		apply: func(s string) string {
			if s == "" {
				return s
			}
			return prefix + s
		},
		growth: 1,
	}}, nil
}

// replace is the Replace of normalizers and decoders.
func replace(c *component) (normalizer, error) {
	find, err := c.finder()
	if err != nil {
		return nil, err
	}
	content := c.Content
	step := textStep{growth: 1 + float64(len(content)), edit: func(e *editor) {
		for _, x := range find(e.src) {
			if !x.match {
				e.copy(x.end - x.start)
				continue
			}
			e.drop(x.end - x.start)
			e.add(content)
		}
	}}
	if p := c.Pattern.String; p != nil && *p != "" {
		pattern := *p
		step.growth = max(1, float64(len(content))/float64(len(pattern)))
		step.apply = func(s string) string { return strings.ReplaceAll(s, pattern, content) }
	}
	return normalizer{step}, nil
}

// precompiled is SentencePiece's table of replacements.
func precompiled(c *component) (normalizer, error) {
	b, err := base64.StdEncoding.DecodeString(c.Charsmap)
	if err != nil {
		return nil, fmt.Errorf("precompiled_charsmap: %w", err)
	}
	f, err := newPrecompiled(b)
	if err != nil {
		return nil, err
	}
	return normalizer{{
		edit: rewriteEdit(f),
		apply: func(s string) string {
			var out strings.Builder
			out.Grow(len(s))
			f(s, func(text string, _ int) { out.WriteString(text) })
			return out.String()
		},
		growth: longestReplacement(b),
	}}, nil
}

// longestReplacement returns the bytes of the longest text in the pool of a
// charsmap, which one byte may stand for.
func longestReplacement(b []byte) float64 {
	if len(b) < 4 {
		return 1
	}
	trie := uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24
	if trie > uint64(len(b)-4) {
		return math.Inf(1)
	}
	longest := 1
	for _, s := range strings.Split(string(b[4+trie:]), "\x00") {
		longest = max(longest, len(s))
	}
	return float64(longest)
}
