package grammar

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

// regexCases are expressions that Go understands alike, with texts.
var regexCases = []struct {
	pattern      string
	match, other []string
}{
	{``, []string{""}, []string{"a"}},
	{`abc`, []string{"abc"}, []string{"ab", "abcd", ""}},
	{`a|bc|`, []string{"a", "bc", ""}, []string{"b", "abc"}},
	{`(ab)*c+d?`, []string{"c", "ababccd", "cd"}, []string{"ab", "abd"}},
	{`a{2}b{1,}c{0,2}`, []string{"aab", "aabbbcc"}, []string{"ab", "aabccc"}},
	{`[a-c_.-]+`, []string{"a-b_.c"}, []string{"", "d", "a d"}},
	{`[^a-z\n]{2}`, []string{"AB", "日é", "😀1"}, []string{"a1", "\n1", "日"}},
	{`\d\D\w\W`, []string{"1a_ ", "9-z-"}, []string{"aaaa", "1122"}},
	{`a\.b\\c\/\-`, []string{`a.b\c/-`}, []string{`axb\c/-`}},
	{`\x41\t\n`, []string{"A\t\n"}, []string{"A"}},
	{`(?:x|y)(?P<name>z)(?<other>w)`, []string{"xzw", "yzw"}, []string{"zw"}},
	{`(?i)straße`, []string{"STRAßE", "straSSe"[:0] + "Straße"}, []string{"strasse"}},
	{`a(?i:b)c`, []string{"abc", "aBc"}, []string{"ABc", "aBC"}},
	{`a(?i)b|c`, []string{"ab", "aB", "C"}, []string{"AB"}},
	{`^a$`, []string{"a"}, []string{"", "aa"}},
	{`^(a|b)$|^c$`, []string{"a", "b", "c"}, []string{"ac"}},
	{`(^a|b$)`, []string{"a", "b"}, []string{"ab"}},
	{`(?s).`, []string{"\n", "日"}, []string{"", "ab"}},
	{`\p{L}+\pN`, []string{"é日1", "a٣"}, []string{"1", "a"}},
	{`[\d\-x]+`, []string{"1-x"}, []string{"y"}},
	{`a{,2}`, []string{"a{,2}"}, []string{"a", "aa"}},
	{`a{x`, []string{"a{x"}, []string{"a"}},
	{`(a*)*(b+)+?`, []string{"aab", "bbb"}, []string{"a"}},
	{`.{3}`, []string{"abc", "日本語"}, []string{"ab", "a\nb"}},
	{`[😀-😂]`, []string{"😁"}, []string{"😃", "\xf0\x9f"}},
	{`((a?){20}b){2}`, []string{"bb", "aabaaab"}, []string{"b", "aa"}},
	{`(a|aa){0,30}c`, []string{"c", strings.Repeat("a", 60) + "c"}, []string{strings.Repeat("a", 61) + "c"}},
}

func TestRegex(t *testing.T) {
	v := jsonVocab(t)
	r := rand.New(rand.NewPCG(2, 2))
	for _, c := range regexCases {
		g := compile(t, Source{Type: Regex, Text: c.pattern}, v)
		oracle := regexp.MustCompile(`^(?:` + c.pattern + `)$`)
		for _, s := range c.match {
			if !oracle.MatchString(s) {
				t.Errorf("%s: Go does not match %q", c.pattern, s)
			}
			if ok, why := feed(t, g, s, r); !ok {
				t.Errorf("%s: %q is not accepted: %s", c.pattern, s, why)
			}
		}
		for _, s := range c.other {
			if g.Accepts([]byte(s)) {
				t.Errorf("%s: %q is accepted", c.pattern, s)
			}
		}
		for range 30 {
			if s := draw(t, g, r, 40); !oracle.MatchString(s) {
				t.Errorf("%s: drew %q, which Go does not match", c.pattern, s)
			}
		}
	}
}

// What ECMAScript has and Go has not.
func TestRegexECMAScript(t *testing.T) {
	v := jsonVocab(t)
	for _, c := range []struct {
		pattern string
		match   []string
		other   []string
	}{
		{`\u00e9\u{1F600}\ud83d\ude00`, []string{"é😀😀"}, []string{"é😀"}},
		{`\cJ\0`, []string{"\n\x00"}, nil},
		{`\s\S`, []string{"\u00a0x", "\u2028x", "\vx"}, []string{"x\u00a0", "\u00a0\u3000"}},
		{`.`, []string{"a"}, []string{"\r", "\u2028", "\n"}},
		{`\p{Script=Greek}`, []string{"α"}, []string{"a"}},
		{`[\b]`, []string{"\b"}, []string{"b"}},
	} {
		g := compile(t, Source{Type: Regex, Text: c.pattern}, v)
		for _, s := range c.match {
			if !g.Accepts([]byte(s)) {
				t.Errorf("%s: %q is not accepted", c.pattern, s)
			}
		}
		for _, s := range c.other {
			if g.Accepts([]byte(s)) {
				t.Errorf("%s: %q is accepted", c.pattern, s)
			}
		}
	}
}

func TestRegexErrors(t *testing.T) {
	v := jsonVocab(t)
	for pattern, want := range map[string]string{
		`a(?=b)`: "character 5: looking around", `(?<!a)b`: "looking around", `(a)\1`: "references back", `(?P=a)`: "references back", `\k<a>`: "references back",
		`\bword`: "word boundaries", `(a`: "( without )", `a)`: ") without (", `*a`: "nothing before '*'", `a**`: "a repetition is repeated", `a{3,2}`: "the first count is the larger one",
		`[a`: "[ without ]", `[]`: "empty set", `[z-a]`: "that goes up", `a\`: "at the end", `\q`: `\q is not supported`, `\p{Nope}`: "general category", `\ud800`: "half of a surrogate",
		`x^y`: "at the ends of the expression only", `a$b`: "at the ends of the expression only", `(^a)*`: "at the ends", `(?m)a`: `flag 'm'`, `(?>a)`: "do not give back", "\xff": "not UTF-8", `a{1000001}`: "more than 1000000 times",
		`(a{1000}){1000}`: "too large", `((((a?){1000}){1000}){1000}){1000}`: "too large", `(x+x+)+y(a|b)*a(a|b){25}`: "too large", strings.Repeat("(", 300) + strings.Repeat(")", 300): "groups in one another",
		`(){1000000}{2}`: "repeated", `((){1000000}){1000000}`: "too large", `[^\x00-\x{10FFFF}]`: "no text at all", `\u{110000}`: "hexadecimal", `[[:alpha:]]`: "not supported", `\012`: "octal", `^*`: "is repeated",
	} {
		_, err := Compile(Source{Type: Regex, Text: pattern}, v)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: got %v, want %q", pattern, err, want)
		}
	}
}

// The automata of characters agree with the characters.
func TestClasses(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for range 200 {
		var ranges []runeRange
		for range 1 + r.IntN(4) {
			lo := rune(r.IntN(1 << (1 + r.IntN(20))))
			ranges = append(ranges, runeRange{lo, min(lo+rune(r.IntN(1<<(1+r.IntN(18)))), 0x10FFFF)})
		}
		d, err := determinize(class(ranges), &limits{})
		if err != nil {
			t.Fatal(err)
		}
		not, err := determinize(class(without(ranges)), &limits{})
		if err != nil {
			t.Fatal(err)
		}
		for range 300 {
			c := rune(r.IntN(0x110000))
			if r.IntN(2) == 0 {
				c = ranges[r.IntN(len(ranges))].hi + rune(r.IntN(3)) - 1
			}
			if c < 0 || c > 0x10FFFF || c >= firstSurrogate && c <= lastSurrogate {
				continue
			}
			in := false
			for _, x := range ranges {
				in = in || x.lo <= c && c <= x.hi
			}
			if d.matches(string(c)) != in || not.matches(string(c)) == in {
				t.Fatalf("%v: U+%04X is in: %v, automaton: %v, of the others: %v", ranges, c, in, d.matches(string(c)), not.matches(string(c)))
			}
		}
	}
}
