package tokenizer

import (
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
)

// A tokenizer.json comes from strangers. These bounds are far above what
// published tokenizers need and keep a hostile file from filling memory.
const (
	maxGrowth  = 1024    // how many times longer a chain of normalizers or decoders may make a text
	maxPattern = 1 << 14 // bytes of one regular expression
	regexTime  = time.Second
)

// A rewrite is a normalizer: it emits the output in order, each emit saying how
// many bytes of s the output replaces (the ns sum to len(s)).
type rewrite func(s string, emit func(out string, n int))

// textStep is one normalizer.
type textStep struct {
	edit   edit
	apply  func(string) string // the same without origins, faster; nil: edit is run
	growth float64             // how many times longer it can make a text
	form   bool                // is a Unicode normal form
}

func (s textStep) text(x string) string {
	if s.apply != nil {
		return s.apply(x)
	}
	return s.edit.text(x)
}

// normalizer is the normalizers of a file in order; empty: the text stays as it is.
type normalizer []textStep

// text normalizes s.
func (n normalizer) text(s string) string {
	for _, step := range n {
		s = step.text(s)
	}
	return s
}

// aligned normalizes s, which begins at base of the text given and whose bytes come
// from from.
func (n normalizer) aligned(s string, from []origin, base int) (string, []origin) {
	for _, step := range n {
		s, from = step.edit.aligned(s, from, base)
	}
	return s, from
}

func buildNormalizer(c *component) (normalizer, error) {
	steps, err := normalizerSteps(c, nil)
	if err != nil {
		return nil, err
	}
	growth, last := 1.0, 0.0
	for _, s := range steps {
		if last > 0 && s.form { // what is normal already does not grow again
			growth *= max(1, s.growth/last)
		} else {
			growth *= s.growth
		}
		if last = 0; s.form {
			last = s.growth
		}
	}
	if growth > maxGrowth {
		return nil, fmt.Errorf("the normalizers make a text up to %.0f times longer, more than %d", growth, maxGrowth)
	}
	return steps, nil
}

// normalizerSteps appends the steps of c, sequences flattened.
func normalizerSteps(c *component, steps normalizer) (normalizer, error) {
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
	made, err := build(c)
	if err != nil {
		return nil, fmt.Errorf("normalizer %s: %w", c.Type, err)
	}
	return append(steps, made...), nil
}

// compilePattern compiles an expression for which scanners has no code.
func compilePattern(pattern string) (*regexp2.Regexp, error) {
	if len(pattern) > maxPattern {
		return nil, fmt.Errorf("regular expression of %d bytes, more than %d", len(pattern), maxPattern)
	}
	translated, err := fromOniguruma(pattern)
	if err != nil {
		return nil, fmt.Errorf("regular expression: %w", err)
	}
	// In Oniguruma ^ and $ are always the ends of a line.
	re, err := regexp2.Compile(translated, regexp2.Multiline)
	if err != nil {
		return nil, fmt.Errorf("regular expression: %w", err)
	}
	re.MatchTimeout = regexTime
	return re, nil
}

// finder returns what cuts a text into the matches of a pattern and what lies
// between.
func (c *component) finder() (func(string) []span, error) {
	switch {
	case c.Pattern.String != nil && *c.Pattern.String != "":
		pattern := *c.Pattern.String
		return func(s string) []span { return findString(s, pattern) }, nil
	case c.Pattern.String != nil || c.Pattern.Regex != nil:
		pattern := "" // matches between any two characters
		if c.Pattern.Regex != nil {
			pattern = *c.Pattern.Regex
		}
		re, err := compilePattern(pattern)
		if err != nil {
			return nil, err
		}
		return func(s string) []span { return findPattern(s, re) }, nil
	}
	return nil, fmt.Errorf("no pattern")
}

// findPattern returns the matches of re in s and what lies between. As in
// Oniguruma's iterator an empty match counts, but not where the last one ended. An
// expression that backtracks for longer than regexTime, or that regexp2 fails on,
// finds no more: the rest of s stays in one piece. It gets a second try, because the clock also runs while the
// whole process is stopped.
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
	last := -1 // characters up to the end of the last match
	find := func() (*regexp2.Match, error) { return re.FindRunesMatch(runes) }
	tried := false
	for m, err := guarded(find); m != nil || err != nil; {
		if err != nil {
			if tried {
				break
			}
			tried = true
			find = func() (*regexp2.Match, error) { return re.FindRunesMatchStartingAt(runes, max(last, 0)) }
			m, err = guarded(find)
			continue
		}
		if end := m.Index + m.Length; m.Length > 0 || end != last {
			matches = append(matches, [2]int{at[m.Index], at[end]})
			last = end
		}
		before := m
		m, err = guarded(func() (*regexp2.Match, error) { return re.FindNextMatch(before) })
	}
	return coverSpans(s, matches)
}

// guarded makes an error of a panic of regexp2: 1.11.4 loses count of its captures
// in some nests of atomic groups (1?++?++), which only a hostile file has.
func guarded(find func() (*regexp2.Match, error)) (m *regexp2.Match, err error) {
	defer func() {
		if r := recover(); r != nil {
			m, err = nil, fmt.Errorf("regular expression: %v", r)
		}
	}()
	return find()
}
