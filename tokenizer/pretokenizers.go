package tokenizer

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// preTokenizers are the types of pre-tokenizer we have.
var preTokenizers = map[string]func(*splitChain, *component) error{
	"BertPreTokenizer": func(c *splitChain, _ *component) error {
		c.cutClass(unicode.IsSpace, removed)
		c.cutClass(has(traitPunct), isolated)
		return nil
	},
	"ByteLevel":          byteLevelSplit,
	"CharDelimiterSplit": delimiterSplit,
	"Delimiter":          delimiterSplit,
	"Digits": func(c *splitChain, n *component) error {
		b := contiguous
		if n.IndividualDigits {
			b = isolated
		}
		c.cutClass(has(traitNumeric), b)
		return nil
	},
	"FixedLength": func(c *splitChain, n *component) error {
		length := 5
		if n.Length != nil {
			length = *n.Length
		}
		if length <= 0 {
			return fmt.Errorf("length %d is not above 0", length)
		}
		c.add(fixedLength(length))
		return nil
	},
	"Metaspace": metaspaceSplit,
	"Punctuation": func(c *splitChain, n *component) error {
		b, err := n.behavior(isolated)
		if err != nil {
			return err
		}
		c.cutClass(has(traitPunct), b)
		return nil
	},
	"Split": patternSplit,
	"UnicodeScripts": func(c *splitChain, _ *component) error {
		c.add(scriptSplit)
		return nil
	},
	"Whitespace": func(c *splitChain, _ *component) error {
		c.add(wordSplit)
		return nil
	},
	"WhitespaceSplit": func(c *splitChain, _ *component) error {
		c.cutClass(unicode.IsSpace, removed)
		return nil
	},
}

// cutClass adds a step that matches single characters.
func (c *splitChain) cutClass(is func(rune) bool, b behavior) {
	c.add(func(p part, emit func(part)) { b(p, findClass(p.text, is), emit) })
}

func byteLevelSplit(c *splitChain, n *component) error {
	if n.AddPrefixSpace != nil && *n.AddPrefixSpace {
		c.adders++
		space := prependTo(" ")
		c.add(func(p part, emit func(part)) {
			if !strings.HasPrefix(p.text, " ") {
				p = p.edited(space)
			}
			emit(p)
		})
	}
	if n.UseRegex == nil || *n.UseRegex {
		c.add(scanStep(scanGPT2))
	}
	if !c.bytes {
		c.add(func(p part, emit func(part)) { emit(p.spelled()) })
	}
	c.byteLevel = true
	return nil
}

func metaspaceSplit(c *splitChain, n *component) error {
	mark, err := n.spaceMark()
	if err != nil {
		return err
	}
	scheme, err := n.prependScheme()
	if err != nil {
		return err
	}
	split := n.Split == nil || *n.Split
	if scheme != "never" {
		c.adders++
	}
	if scheme == "first" {
		c.asksFirst = true
		c.origins = c.origins || len(c.steps) > 0
	}
	space := " "
	replaced, err := replace(&component{Pattern: pattern{String: &space}, Content: mark})
	if err != nil {
		return err
	}
	front := prependTo(mark)
	c.add(func(p part, emit func(part)) {
		if p.from == nil {
			p.text = strings.ReplaceAll(p.text, " ", mark)
		} else {
			p = p.edited(replaced[0].edit)
		}
		if (scheme == "always" || scheme == "first" && p.first) && !strings.HasPrefix(p.text, mark) {
			p = p.edited(front)
		}
		if !split {
			emit(p)
			return
		}
		mergedWithNext(p, findString(p.text, mark), emit)
	})
	return nil
}

// spaceMark returns what Metaspace puts in the place of a space.
func (c *component) spaceMark() (string, error) {
	if utf8.RuneCountInString(c.Replacement) != 1 {
		return "", fmt.Errorf("replacement %q is not one character", c.Replacement)
	}
	return c.Replacement, nil
}

// prependScheme is "always", "first" or "never"; old files say it with
// add_prefix_space.
func (c *component) prependScheme() (string, error) {
	switch {
	case c.PrependScheme == "" && c.AddPrefixSpace != nil && !*c.AddPrefixSpace:
		return "never", nil
	case c.PrependScheme == "":
		return "always", nil
	case c.PrependScheme == "always", c.PrependScheme == "first", c.PrependScheme == "never":
		return c.PrependScheme, nil
	}
	return "", fmt.Errorf("prepend_scheme %q is not supported; want always, first or never", c.PrependScheme)
}

func patternSplit(c *splitChain, n *component) error {
	b, err := n.behavior(nil)
	if err != nil {
		return err
	}
	if n.Pattern.Regex != nil && (n.Behavior == "Isolated" || n.Behavior == "Removed" && n.Invert) {
		if scan, ok := scanners[*n.Pattern.Regex]; ok {
			c.add(scanStep(scan))
			return nil
		}
	}
	find, err := n.finder()
	if err != nil {
		return err
	}
	invert := n.Invert
	c.add(func(p part, emit func(part)) {
		spans := find(p.text)
		for i := range spans {
			spans[i].match = spans[i].match != invert
		}
		b(p, spans, emit)
	})
	return nil
}

func delimiterSplit(c *splitChain, n *component) error {
	r, size := utf8.DecodeRuneInString(n.Delimiter)
	if size == 0 || size != len(n.Delimiter) {
		return fmt.Errorf("delimiter %q is not one character", n.Delimiter)
	}
	c.cutClass(func(x rune) bool { return x == r }, removed)
	return nil
}

func scanStep(scan scanner) splitStep {
	return func(p part, emit func(part)) {
		for i := 0; i < len(p.text); {
			end := scan(p.text, i)
			emit(p.cut(i, end))
			i = end
		}
	}
}

// fixedLength cuts after every n characters.
func fixedLength(n int) splitStep {
	return func(p part, emit func(part)) {
		start, count := 0, 0
		for i := 0; i < len(p.text); {
			_, size := decodeRune(p.text, i)
			i += size
			if count++; count == n || i == len(p.text) {
				emit(p.cut(start, i))
				start, count = i, 0
			}
		}
	}
}

// wordSplit is \w+|[^\w\s]+, and drops what lies between.
func wordSplit(p part, emit func(part)) {
	const none, word, other = 0, 1, 2
	kind := func(r rune) int {
		switch {
		case trait(r)&traitWord != 0:
			return word
		case unicode.IsSpace(r):
			return none
		}
		return other
	}
	start, last := 0, none
	for i := 0; i < len(p.text); {
		r, n := decodeRune(p.text, i)
		if k := kind(r); k != last {
			if last != none {
				p.emitCut(start, i, emit)
			}
			start, last = i, k
		}
		i += n
	}
	if last != none {
		p.emitCut(start, len(p.text), emit)
	}
}

// scriptSplit cuts where the script changes; what is of any script stays with what
// is before it. What comes before the first script is lost, as in Hugging Face.
func scriptSplit(p part, emit func(part)) {
	start, last := -1, anyScript
	for i := 0; i < len(p.text); {
		r, n := decodeRune(p.text, i)
		if s := scriptOf(r); s != anyScript && s != last {
			if start >= 0 {
				p.emitCut(start, i, emit)
			}
			start, last = i, s
		}
		i += n
	}
	if start >= 0 {
		p.emitCut(start, len(p.text), emit)
	}
}
