package tokenizer

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
	"golang.org/x/text/unicode/norm"
)

// A tokenizer.json comes from strangers. These bounds are far above what
// published tokenizers need and keep a hostile file from filling memory.
const (
	maxGrowth  = 64      // how many times longer a chain of replacements may make a text
	maxPattern = 1 << 14 // bytes of one regular expression
	regexTime  = time.Second
)

// A rewrite is a normalizer: it emits the output in order, each emit saying how
// many bytes of s the output replaces (the ns sum to len(s)).
type rewrite func(s string, emit func(out string, n int))

// textStep is one step of a normalizer: the function, and how many times longer
// it can make a text.
type textStep struct {
	apply  func(string) string
	growth float64
}

// buildNormalizer returns nil for no normalizer.
func buildNormalizer(c *component) (func(string) string, error) {
	steps, err := normalizerSteps(c, nil)
	if err != nil || len(steps) == 0 {
		return nil, err
	}
	growth := 1.0
	for _, s := range steps {
		growth *= s.growth
	}
	if growth > maxGrowth {
		return nil, fmt.Errorf("the normalizers make a text up to %.0f times longer, more than %d", growth, maxGrowth)
	}
	if len(steps) == 1 {
		return steps[0].apply, nil
	}
	return func(s string) string {
		for _, step := range steps {
			s = step.apply(s)
		}
		return s
	}, nil
}

// normalizerSteps appends the steps of c, sequences flattened.
func normalizerSteps(c *component, steps []textStep) ([]textStep, error) {
	if c == nil {
		return steps, nil
	}
	if c.Type == "Sequence" {
		var err error
		for i := range c.Normalizers {
			if steps, err = normalizerSteps(&c.Normalizers[i], steps); err != nil {
				return nil, err
			}
		}
		return steps, nil
	}
	build, ok := normalizers[c.Type]
	if !ok {
		return nil, fmt.Errorf("normalizer %q is not supported", c.Type)
	}
	step, err := build(c)
	if err != nil {
		return nil, fmt.Errorf("normalizer %s: %w", c.Type, err)
	}
	return append(steps, step), nil
}

// normalizers are the types of normalizer we have. The growth of the Unicode
// forms is the largest of any character (UAX 15, "Maximum Expansion Factor").
var normalizers = map[string]func(*component) (textStep, error){
	"Prepend": func(c *component) (textStep, error) {
		prefix := c.Prepend
		return textStep{func(s string) string {
			if s == "" {
				return s
			}
			return prefix + s
		}, 1}, nil
	},
	"Replace":   func(c *component) (textStep, error) { return replacement(c) },
	"NFC":       plainStep(nfc, 3),
	"NFD":       plainStep(norm.NFD.String, 3),
	"NFKC":      plainStep(norm.NFKC.String, 11),
	"NFKD":      plainStep(norm.NFKD.String, 11),
	"Lowercase": plainStep(strings.ToLower, 1.5),
	"Strip": func(c *component) (textStep, error) {
		return textStep{func(s string) string {
			if c.StripLeft {
				s = strings.TrimLeftFunc(s, unicode.IsSpace)
			}
			if c.StripRight {
				s = strings.TrimRightFunc(s, unicode.IsSpace)
			}
			return s
		}, 1}, nil
	},
}

func plainStep(f func(string) string, growth float64) func(*component) (textStep, error) {
	return func(*component) (textStep, error) { return textStep{f, growth}, nil }
}

// replacement is the Replace of normalizers and decoders.
func replacement(c *component) (textStep, error) {
	content := c.Content
	switch {
	case c.Pattern.String != nil && *c.Pattern.String != "":
		pattern := *c.Pattern.String
		growth := max(1, float64(len(content))/float64(len(pattern)))
		return textStep{func(s string) string { return strings.ReplaceAll(s, pattern, content) }, growth}, nil
	case c.Pattern.Regex != nil:
		re, err := compilePattern(*c.Pattern.Regex)
		if err != nil {
			return textStep{}, err
		}
		replace := func(s string) string {
			var b strings.Builder
			for _, x := range findPattern(s, re) {
				if x.match {
					b.WriteString(content)
				} else {
					b.WriteString(s[x.start:x.end])
				}
			}
			return b.String()
		}
		return textStep{replace, max(1, float64(len(content)))}, nil
	}
	return textStep{}, fmt.Errorf("no pattern")
}

// compilePattern compiles an expression for which scanners has no code.
func compilePattern(pattern string) (*regexp2.Regexp, error) {
	if len(pattern) > maxPattern {
		return nil, fmt.Errorf("regular expression of %d bytes, more than %d", len(pattern), maxPattern)
	}
	re, err := regexp2.Compile(pattern, regexp2.None)
	if err != nil {
		return nil, fmt.Errorf("regular expression: %w", err)
	}
	re.MatchTimeout = regexTime
	return re, nil
}

// findPattern returns the matches of re in s and what lies between, empty
// matches left out. An expression that backtracks for longer than regexTime finds
// no more: the rest of s stays in one piece. It gets a second try, because the
// clock also runs while the whole process is stopped.
func findPattern(s string, re *regexp2.Regexp) []span {
	runes := make([]rune, 0, len(s))
	at := make([]int, 0, len(s)+1) // byte offset of each character
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		runes, at = append(runes, r), append(at, i)
		i += n
	}
	at = append(at, len(s))
	var matches [][2]int
	for m, err := re.FindRunesMatch(runes); m != nil || err != nil; {
		if err != nil {
			from := 0
			if len(matches) > 0 {
				from = utf8.RuneCountInString(s[:matches[len(matches)-1][1]])
			}
			if m, err = re.FindRunesMatchStartingAt(runes, from); err != nil {
				break
			}
			continue
		}
		if m.Length > 0 {
			matches = append(matches, [2]int{at[m.Index], at[m.Index+m.Length]})
		}
		m, err = re.FindNextMatch(m)
	}
	return coverSpans(s, matches)
}
