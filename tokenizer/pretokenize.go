package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// part is a piece of text on its way to the model.
type part struct {
	text  string
	first bool // begins at byte 0 of the original text
}

// splitStep appends the parts that one pre-tokenizer makes of p.
type splitStep func(dst []part, p part) []part

// span is a piece of a text: a match of a pattern, or what lies between two.
type span struct {
	start, end int
	match      bool
}

// maxAdders bounds the pre-tokenizers that put something in front of each part:
// a chain of them can double a text at every step.
const maxAdders = 3

// splitChain is the pre-tokenizers of a file while they are read.
type splitChain struct {
	steps     []splitStep
	byteLevel bool // a ByteLevel step was seen: symbols are bytes
	adders    int
}

func (c *splitChain) add(step splitStep) {
	if c.byteLevel {
		step = onByteLevelText(step)
	}
	c.steps = append(c.steps, step)
}

// onByteLevelText runs a step on the text that ByteLevel makes of bytes, which is
// what the steps after it see in Hugging Face's pipeline, and maps the parts back.
func onByteLevelText(step splitStep) splitStep {
	return func(dst []part, p part) []part {
		n := len(dst)
		p.text = byteLevelText(p.text)
		dst = step(dst, p)
		for i := n; i < len(dst); i++ {
			raw, _ := byteLevelBytes([]byte(dst[i].text))
			dst[i].text = string(raw)
		}
		return dst
	}
}

func (c *splitChain) build(n *component) error {
	if n == nil {
		return nil
	}
	if n.Type == "Sequence" {
		for i := range n.Pretokenizers {
			if err := c.build(&n.Pretokenizers[i]); err != nil {
				return err
			}
		}
		return nil
	}
	build, ok := preTokenizers[n.Type]
	if !ok {
		return fmt.Errorf("pre_tokenizer %q is not supported", n.Type)
	}
	if err := build(c, n); err != nil {
		return fmt.Errorf("pre_tokenizer %s: %w", n.Type, err)
	}
	if c.adders > maxAdders {
		return fmt.Errorf("more than %d pre_tokenizers add a prefix", maxAdders)
	}
	return nil
}

// preTokenizers are the types of pre-tokenizer we have.
var preTokenizers = map[string]func(*splitChain, *component) error{
	"ByteLevel": func(c *splitChain, n *component) error {
		if c.byteLevel {
			return errors.New("twice in one tokenizer is not supported")
		}
		if n.AddPrefixSpace != nil && *n.AddPrefixSpace {
			c.adders++
			c.add(func(dst []part, p part) []part {
				if !strings.HasPrefix(p.text, " ") {
					p.text = " " + p.text
				}
				return append(dst, p)
			})
		}
		if n.UseRegex == nil || *n.UseRegex {
			c.add(scanStep(scanGPT2))
		}
		c.byteLevel = true
		return nil
	},
	"Metaspace": func(c *splitChain, n *component) error {
		if c.byteLevel {
			return errors.New("after ByteLevel is not supported")
		}
		mark, err := n.spaceMark()
		if err != nil {
			return err
		}
		scheme, split := n.prependScheme(), n.Split == nil || *n.Split
		if scheme != "never" {
			c.adders++
		}
		c.add(func(dst []part, p part) []part {
			p.text = strings.ReplaceAll(p.text, " ", mark)
			if (scheme == "always" || scheme == "first" && p.first) && !strings.HasPrefix(p.text, mark) {
				p.text = mark + p.text
			}
			if !split {
				return append(dst, p)
			}
			return mergedWithNext(dst, p, findString(p.text, mark))
		})
		return nil
	},
	"Split": func(c *splitChain, n *component) error {
		emit, ok := behaviors[n.Behavior]
		if !ok {
			return fmt.Errorf("behavior %q is not supported", n.Behavior)
		}
		find, err := n.finder()
		if err != nil {
			return err
		}
		if n.Pattern.Regex != nil && (n.Behavior == "Isolated" || n.Behavior == "Removed" && n.Invert) {
			if scan, ok := scanners[*n.Pattern.Regex]; ok {
				c.add(scanStep(scan))
				return nil
			}
		}
		invert := n.Invert
		c.add(func(dst []part, p part) []part {
			spans := find(p.text)
			for i := range spans {
				spans[i].match = spans[i].match != invert
			}
			return emit(dst, p, spans)
		})
		return nil
	},
	"Digits": func(c *splitChain, n *component) error {
		emit := contiguous
		if n.IndividualDigits {
			emit = isolated
		}
		c.add(func(dst []part, p part) []part {
			return emit(dst, p, findClass(p.text, func(r rune) bool { return class(r)&classNumber != 0 }))
		})
		return nil
	},
	"Punctuation": func(c *splitChain, n *component) error {
		emit, ok := behaviors[n.Behavior]
		if n.Behavior == "" {
			emit, ok = isolated, true
		}
		if !ok {
			return fmt.Errorf("behavior %q is not supported", n.Behavior)
		}
		c.add(func(dst []part, p part) []part { return emit(dst, p, findClass(p.text, isPunctuation)) })
		return nil
	},
}

// isPunctuation is Rust's: all ASCII symbols, and \p{P}.
func isPunctuation(r rune) bool {
	if r < utf8.RuneSelf {
		return r >= 33 && r <= 47 || r >= 58 && r <= 64 || r >= 91 && r <= 96 || r >= 123 && r <= 126
	}
	return class(r)&classPunct != 0
}

func scanStep(scan scanner) splitStep {
	return func(dst []part, p part) []part {
		for i := 0; i < len(p.text); {
			end := scan(p.text, i)
			dst = append(dst, part{p.text[i:end], p.first && i == 0})
			i = end
		}
		return dst
	}
}

// finder returns what finds the spans of a Split's pattern.
func (n *component) finder() (func(string) []span, error) {
	switch {
	case n.Pattern.String != nil:
		pattern := *n.Pattern.String
		return func(s string) []span { return findString(s, pattern) }, nil
	case n.Pattern.Regex != nil:
		re, err := compilePattern(*n.Pattern.Regex)
		if err != nil {
			return nil, err
		}
		return func(s string) []span { return findPattern(s, re) }, nil
	}
	return nil, errors.New("no pattern")
}

// coverSpans fills the gaps between matches, which are [start, end) in order.
func coverSpans(s string, matches [][2]int) []span {
	spans := make([]span, 0, 2*len(matches)+1)
	at := 0
	for _, m := range matches {
		if m[0] > at {
			spans = append(spans, span{at, m[0], false})
		}
		spans = append(spans, span{m[0], m[1], true})
		at = m[1]
	}
	if at < len(s) {
		spans = append(spans, span{at, len(s), false})
	}
	return spans
}

func findString(s, pattern string) []span {
	var matches [][2]int
	for at := 0; pattern != ""; {
		i := strings.Index(s[at:], pattern)
		if i < 0 {
			break
		}
		matches = append(matches, [2]int{at + i, at + i + len(pattern)})
		at += i + len(pattern)
	}
	return coverSpans(s, matches)
}

// findClass matches each character for which is holds.
func findClass(s string, is func(rune) bool) []span {
	var matches [][2]int
	for i := 0; i < len(s); {
		r, n := decodeRune(s, i)
		if is(r) {
			matches = append(matches, [2]int{i, i + n})
		}
		i += n
	}
	return coverSpans(s, matches)
}

// behaviors are what becomes of the matches: the names of tokenizer.json.
var behaviors = map[string]func([]part, part, []span) []part{
	"Isolated":           isolated,
	"Removed":            removed,
	"Contiguous":         contiguous,
	"MergedWithPrevious": mergedWithPrevious,
	"MergedWithNext":     mergedWithNext,
}

func (p part) cut(dst []part, start, end int) []part {
	if end <= start {
		return dst
	}
	return append(dst, part{p.text[start:end], p.first && start == 0})
}

func isolated(dst []part, p part, spans []span) []part {
	for _, x := range spans {
		dst = p.cut(dst, x.start, x.end)
	}
	return dst
}

func removed(dst []part, p part, spans []span) []part {
	for _, x := range spans {
		if !x.match {
			dst = p.cut(dst, x.start, x.end)
		}
	}
	return dst
}

func contiguous(dst []part, p part, spans []span) []part {
	for i := 0; i < len(spans); {
		j := i + 1
		for j < len(spans) && spans[j].match == spans[i].match {
			j++
		}
		dst = p.cut(dst, spans[i].start, spans[j-1].end)
		i = j
	}
	return dst
}

func mergedWithPrevious(dst []part, p part, spans []span) []part {
	var merged []span
	previous := false
	for _, x := range spans {
		if x.match && !previous && len(merged) > 0 {
			merged[len(merged)-1].end = x.end
		} else {
			merged = append(merged, x)
		}
		previous = x.match
	}
	return isolated(dst, p, merged)
}

func mergedWithNext(dst []part, p part, spans []span) []part {
	for i := 0; i < len(spans); i++ {
		x := spans[i]
		// A match joins the piece after it unless that is a match as well.
		if x.match && i+1 < len(spans) && !spans[i+1].match {
			i++
			x.end = spans[i].end
		}
		dst = p.cut(dst, x.start, x.end)
	}
	return dst
}
