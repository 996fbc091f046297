package grammar

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// The example grammars of llama.cpp, as they are.
func TestExampleGrammars(t *testing.T) {
	v := jsonVocab(t)
	r := rand.New(rand.NewPCG(4, 4))
	for _, c := range []struct {
		file         string
		match, other []string
	}{
		{"arithmetic", []string{"a=1\n", "x +1=(2*y)\nz=3\n"}, []string{"a=1", "1+=2\n"}},
		{"c", []string{"int main(){return 1;}", "int f(int a){while(a<b){a = ( a+1 );}//done\n}"}, []string{"main(){}", "int f({}"}},
		{"chess", []string{"1. e4 e5\n2. Nf3 Nc6\n", "1. d4 Nf6\n12. O-O cxd4+\n"}, []string{"1. e4 e5\n", "e4 e5"}},
		{"english", []string{"Hello, world.", "a b"}, []string{"é", ""}},
		{"japanese", []string{"ひらがな カタカナ 漢字"}, []string{"latin"}},
		{"json", []string{`{"a":[1,2,{"b":null}],"c":"x\n"}`, "{ \"a\": -1.5e1}\n"}, []string{`[1]`, `{"a":}`}},
		{"json_arr", []string{"[\n1,\n2]", "[\n]"}, []string{"[1]", "{}"}},
		{"list", []string{"- one\n- two\n"}, []string{"one\n", "- one"}},
	} {
		b, err := os.ReadFile("testdata/" + c.file + ".gbnf")
		if err != nil {
			t.Fatal(err)
		}
		g := compile(t, Source{Type: GBNF, Text: string(b)}, v)
		for _, s := range c.match {
			if ok, why := feed(t, g, s, r); !ok {
				t.Errorf("%s: %q is not accepted: %s", c.file, s, why)
			}
		}
		for _, s := range c.other {
			if g.Accepts([]byte(s)) {
				t.Errorf("%s: %q is accepted", c.file, s)
			}
		}
		if c.file == "json" {
			for range 50 {
				text := draw(t, g, r, 80)
				if !json.Valid([]byte(text)) {
					t.Errorf("json: drew %q", text)
				}
			}
		}
	}
}

func TestGBNF(t *testing.T) {
	v := jsonVocab(t)
	r := rand.New(rand.NewPCG(6, 6))
	for _, c := range []struct {
		name, text   string
		match, other []string
	}{
		{"sets", `root ::= [a-c\-\]x]+ [^\n"]* "\"" "\u00e9" "\U0001F600"`, []string{`a-]xyz"é😀`}, []string{`"é😀`}},
		{"lines", "# c\nroot ::= # d\n  a |\n  b # e\na ::= \"x\" (\n \"y\"\n | \"z\" )?\n\nb ::= \"q\"", []string{"x", "xy", "xz", "q"}, []string{"y", "xyz"}},
		{"counts", `root ::= "a"{2} "b"{1,} "c"{0,2} "d" {,} | "x"`, nil, nil},
		{"empty", `root ::= "" | "a" root`, []string{"", "aaa"}, []string{"b"}},
		{"recursion", `root ::= "(" root ")" root | ""`, []string{"", "(())()", "((()()))"}, []string{"(", ")(", "(()"}},
		{"mutual", "root ::= a\na ::= \"a\" b | \"a\"\nb ::= \"b\" a | \"b\"", []string{"a", "ab", "aba"}, []string{"b", "aa"}},
		{"palindrome", `root ::= "a" root "a" | "b" root "b" | "c"`, []string{"c", "abcba"}, []string{"abcab", "ab"}},
		{"anything", `root ::= .{2}`, []string{"日\n"}, []string{"a", "abc"}},
		{"repeated group", `root ::= ("a" [0-9]){2,3} ("x" | "y")* "."`, []string{"a1a2.", "a1a2a3xyx."}, []string{"a1.", "a1a2a3a4."}},
		{"nullable", "root ::= ws \"a\" ws \"b\" ws\nws ::= [ \\t]*", []string{"ab", " a \t b  "}, []string{"a", "b"}},
		{"ambiguous", "root ::= s\ns ::= \"a\" s \"b\" | \"a\" t \"c\" | \"d\"\nt ::= \"a\" s \"e\" | \"a\" t \"f\" | \"d\"", []string{"d", "aadbb", "aadfc", "aadeb"}[:3], []string{"aadb"}},
		{"stars", `root ::= ("a"* "b"*)* "c"?`, []string{"", "abbac"}, []string{"ca"}},
		{"twice repeated", `root ::= "a"?*`, []string{"", "aaa"}, []string{"b"}},
	} {
		if c.match == nil {
			continue
		}
		g := compile(t, Source{Type: GBNF, Text: c.text}, v)
		for _, s := range c.match {
			if ok, why := feed(t, g, s, r); !ok {
				t.Errorf("%s: %q is not accepted: %s", c.name, s, why)
			}
		}
		for _, s := range c.other {
			if g.Accepts([]byte(s)) {
				t.Errorf("%s: %q is accepted", c.name, s)
			}
		}
	}
}

func TestGBNFErrors(t *testing.T) {
	v := jsonVocab(t)
	for text, want := range map[string]string{
		"root ::= a":                             "line 1, column 10: rule a is used, but there is none",
		"root ::= \"x\" my_rule\nmy-rule ::= []": "there is my-rule",
		"x ::= \"a\"":                            "no rule root",
		"root ::= \"a\nb":                        "line 1, column 10: the text that begins here has no end",
		"root ::= [a":                            "the set that begins here has no end",
		"root ::= (\"a\"\nb ::= \"b\"":           "a ) is missing",
		"root ::= \"a\" )":                       "unexpected ')'",
		"root = \"a\"":                           "line 1, column 6: want ::=",
		"root ::= \"a\"\n\nroot ::= \"b\"":       "line 3, column 1: rule root is there already, in line 1",
		"root ::= * \"a\"":                       "nothing before '*'",
		"root ::= \"a\"{3,2}":                    "repetition",
		"root ::= \"a\"{1000001}":                "repetition",
		"root ::= \"\\q\"":                       "escape \\q",
		"root ::= \"\\x4\"":                      "hexadecimal",
		"root ::= \"\\ud800\"":                   "no character",
		"root ::= root \"a\" | \"a\"":            "left-recursive (root → root)",
		"root ::= a\na ::= b? c\nb ::= \"b\"\nc ::= a \"x\" | \"y\"": "left-recursive",
		"root ::= \"a\" root":                  "no text at all",
		"root ::= <nope>":                      "no token <nope>",
		"root ::= <[99999]>":                   "want an id below",
		"root ::= \"a\"{1000000}":              "too large",
		"root ::= (((\"a\"?){999}){999}){999}": "too large",
		"root ::= " + strings.Repeat("(", 300): "groups in one another",
		ambiguous(12):                          "too ambiguous",
		"root ::= \"\xff\"":                    "not UTF-8",
	} {
		_, err := Compile(Source{Type: GBNF, Text: text}, v)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: got %v, want %q", text, err, want)
		}
	}
}

// ambiguous is a grammar whose first character is understood in 2ⁿ ways.
func ambiguous(n int) string {
	var b strings.Builder
	b.WriteString("root ::= a0\n")
	for i := range n {
		s, next := string(rune('a'+i)), string(rune('a'+i+1))
		for _, k := range []string{"0", "1"} {
			b.WriteString(s + k + " ::= " + next + "0 \"" + s + k + "\" | " + next + "1 \"x" + k + "\" | \"z\" " + s + k + "\n")
		}
	}
	last := string(rune('a' + n))
	b.WriteString(last + "0 ::= \"q\" " + last + "0 | \"q\"\n" + last + "1 ::= \"q\" " + last + "1 | \"q\"\n")
	return b.String()
}

// Rules given by schemas, and control tokens, inside a grammar.
func TestGBNFParts(t *testing.T) {
	tokens := [][]byte{}
	for b := range 256 {
		tokens = append(tokens, []byte{byte(b)})
	}
	tokens = append(tokens, nil, nil, nil)
	v, err := newVocab(tokens, map[int32]string{256: "<think>", 257: "</think>"}, []int32{258})
	if err != nil {
		t.Fatal(err)
	}
	g := compile(t, Source{Type: GBNF, Text: "root ::= <think> !</think>* <[257]> \"call \" args", Schemas: map[string]string{
		"args": `{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"],"additionalProperties":false}`, "unused": `{"type":7}`,
	}}, v)
	s := g.Start()
	accept := func(ids ...int32) {
		t.Helper()
		for _, id := range ids {
			if !s.Allowed().Has(id) {
				t.Fatalf("token %d (%s) is not allowed", id, v.name(id))
			}
			if err := s.Accept(id); err != nil {
				t.Fatal(err)
			}
		}
	}
	bytesOf := func(s string) (out []int32) {
		for _, b := range []byte(s) {
			out = append(out, int32(b))
		}
		return out
	}
	if s.Allowed().Has('a') || s.Allowed().Has(257) {
		t.Error("something else than <think> can begin")
	}
	accept(256)
	accept(bytesOf("some é")...)
	accept(256) // another control token than </think>
	accept(257)
	accept(bytesOf(`call {"n":`)...)
	if s.Allowed().Has('"') {
		t.Error("a string where the schema has an integer")
	}
	accept(bytesOf(`12}`)...)
	if !s.Done() {
		t.Error("not done")
	}
	if _, err := Compile(Source{Type: GBNF, Text: "root ::= a", Schemas: map[string]string{"a": `{"type":7}`}}, v); err == nil || !strings.Contains(err.Error(), "schema a: #/type") && !strings.Contains(err.Error(), "#/type") {
		t.Errorf("wrong schema: %v", err)
	}
}
