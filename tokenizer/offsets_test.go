package tokenizer

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// ranges are the texts of tokens, in the text given.
func ranges(text string, tokens []Token) (parts []string) {
	for _, tok := range tokens {
		parts = append(parts, text[tok.Start:tok.End])
	}
	return parts
}

func TestOffsets(t *testing.T) {
	phi := parseFile(t, "testdata/phi-2.tokenizer.json.gz")
	mistral := parseFile(t, "testdata/mistral-7b-v0.1.tokenizer.json.gz")
	for _, c := range []struct {
		name string
		tk   *Tokenizer
		text string
		want []string
	}{
		{"spaces are part of offsets", phi, "Hello world  again", []string{"Hello", " world", "  ", "again"}},
		{"parts of a character have all of it", phi, "a🦙", []string{"a", "🦙", "🦙", "🦙"}},
		{"not UTF-8: a byte is a character", phi, "a\xff\xfe", []string{"a", "\xff", "\xfe"}},
		{"a space that was put in front has the first character's range", mistral, "Hi🦙", []string{"", "Hi", "🦙", "🦙", "🦙", "🦙"}},
		{"added tokens", mistral, "<s>a</s>", []string{"", "<s>", "a", "</s>"}},
		{"nothing", mistral, "", []string{""}},
	} {
		if got := ranges(c.text, c.tk.EncodeTokens(c.text, true)); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	pair := mistral.EncodePair("a", "bc", true)
	if len(pair) != 4 || !pair[0].Special || pair[2].Type != 1 || !pair[2].Special || pair[3] != (Token{ID: pair[3].ID, Type: 1, Start: 0, End: 2}) {
		t.Errorf("pair: got %+v", pair)
	}
}

// TestEncodePairWithoutTemplate: one text follows the other.
func TestEncodePairWithoutTemplate(t *testing.T) {
	tk, err := Parse([]byte(`{"model":{"type":"WordLevel","unk_token":"?","vocab":{"a":0,"b":1,"?":2}},"pre_tokenizer":{"type":"Whitespace"}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []Token{{ID: 0, Start: 1, End: 2}, {ID: 2, Type: 1, End: 1}, {ID: 1, Type: 1, Start: 2, End: 3}}
	if got := tk.EncodePair(" a", "c b", true); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestLimits: the file's wishes are told, and not carried out.
func TestLimits(t *testing.T) {
	tk, err := Parse([]byte(`{"truncation":{"direction":"Right","max_length":2,"strategy":"LongestFirst","stride":1},
		"padding":{"strategy":{"Fixed":8},"direction":"Left","pad_to_multiple_of":4,"pad_id":1,"pad_type_id":0,"pad_token":"b"},
		"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[]}}`))
	if err != nil {
		t.Fatal(err)
	}
	if want := (Truncation{MaxLength: 2, Stride: 1, Strategy: "LongestFirst", Direction: "Right"}); tk.Truncation() != want {
		t.Errorf("truncation: got %+v, want %+v", tk.Truncation(), want)
	}
	if want := (Padding{Length: 8, Multiple: 4, Direction: "Left", ID: 1, Token: "b"}); tk.Padding() != want {
		t.Errorf("padding: got %+v, want %+v", tk.Padding(), want)
	}
	if got := tk.Encode("aabaa", true); len(got) != 5 {
		t.Errorf("Encode: got %v, want all five", got)
	}
	tk, err = Parse([]byte(`{"truncation":null,"padding":{"strategy":"BatchLongest","pad_token":"b"},"model":{"type":"BPE","vocab":{"b":0},"merges":[]}}`))
	if err != nil || tk.Truncation() != (Truncation{}) || !reflect.DeepEqual(tk.Padding(), Padding{Token: "b"}) {
		t.Errorf("got %+v, %+v, %v", tk.Truncation(), tk.Padding(), err)
	}
}

// TestAddedTokenIDs: an added token has the vocabulary's id, or the next one.
func TestAddedTokenIDs(t *testing.T) {
	tk, err := Parse([]byte(`{"model":{"type":"WordLevel","unk_token":"?","vocab":{"a":0,"?":1}},"added_tokens":[
		{"id":1,"content":"a"},{"id":2,"content":"<x>","special":true},{"id":90,"content":"<y>"},{"id":91,"content":"<y>","special":true}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := tk.Encode("<x>a<y>", false), []int32{2, 0, 3}; !slices.Equal(got, want) || tk.VocabSize() != 4 {
		t.Errorf("got %v of %d, want %v of 4", got, tk.VocabSize(), want)
	}
	if got := tk.Decode([]int32{2, 0, 3}, true); got != "a" {
		t.Errorf("decoded without special tokens: got %q, want a: one entry makes its text special", got)
	}
}

func TestComponentErrors(t *testing.T) {
	const model = `"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}`
	for file, want := range map[string]string{
		`{"model":{"type":"Nonesuch","vocab":{}}}`:                                                         `model type "Nonesuch" is not supported; want one of BPE`,
		`{"model":{"type":"BPE","vocab":{"a":0}}}`:                                                         "merges are missing",
		`{"model":{"type":"BPE","dropout":0.1,"vocab":{},"merges":[]}}`:                                    "dropout 0.1",
		`{"model":{"type":"WordPiece","vocab":{"a":-1}}}`:                                                  "vocab: malformed JSON",
		`{"model":{"type":"WordLevel","vocab":{"a":2000000000}}}`:                                          "id 2000000000",
		`{"model":{"type":"Unigram","unk_id":7,"vocab":[["a",0]]}}`:                                        "unk_id 7",
		`{"model":{"type":"Unigram","vocab":[["a","x"]]}}`:                                                 "score of piece 0",
		`{"model":{"type":"BPE","continuing_subword_prefix":"##","vocab":{"a":0,"b":1},"merges":["a b"]}}`: "merge 0",
		`{"pre_tokenizer":{"type":"FixedLength","length":0},` + model:                                      "length 0",
		`{"pre_tokenizer":{"type":"CharDelimiterSplit","delimiter":"ab"},` + model:                         `delimiter "ab"`,
		`{"pre_tokenizer":{"type":"Metaspace","replacement":"_","prepend_scheme":"last"},` + model:         `prepend_scheme "last"`,
		`{"pre_tokenizer":{"type":"Split","behavior":"Isolated","pattern":{"Regex":"a)"}},` + model:        "a ) too many",
		`{"normalizer":{"type":"Precompiled","precompiled_charsmap":"*"},` + model:                         "precompiled_charsmap",
		`{"decoder":{"type":"BPEDecoder","suffix":""},` + model:                                            "suffix is empty",
		`{"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x"}}]},` + model:  `"x" is not in special_tokens`,
		`{"post_processor":{"type":"TemplateProcessing","single":[{"Sequence":{"id":"B"}}]},` + model:      "text B",
		`{"post_processor":{"type":"TemplateProcessing","single":[{"Sequence":{"id":"C"}}]},` + model:      "neither",
		`{"post_processor":{"type":"BertProcessing","cls":["x",5],"sep":["a",0]},` + model:                 "cls: id 5 is outside the vocabulary of 1",
		`{"post_processor":{"type":"Nonesuch"},` + model:                                                   `post_processor "Nonesuch" is not supported`,
		`{"padding":{"strategy":{"Fixed":"x"}},` + model:                                                   "padding: strategy",
		`{"post_processor":{"type":"Sequence","processors":[{"type":"TemplateProcessing","single":[{"Sequence":{"id":"A"}},{"Sequence":{"id":"A"}},{"Sequence":{"id":"A"}}]},` + fuzzProcessors[4] + `]},` + model: "another template",
	} {
		if _, err := Parse([]byte(file)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.90s: got %v, want %q", file, err, want)
		}
	}
}

func TestOniguruma(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          []string // the matches
	}{
		{`a++b`, "aab ab", []string{"aab", "ab"}},
		{`a?+ab`, "ab aab", []string{"aab"}}, // nothing given back
		{`(?:ab){2}+`, "ababababab", []string{"abababab"}},
		{`a{,2}b`, "aaab b", []string{"aab", "b"}},
		{`a{x}`, "a{x}", []string{"a{x}"}},
		{`[a-z&&[^aeiou]]+`, "hello", []string{"h", "ll"}},
		{`[a-z&&[^aeiou]&&[^l]]+`, "hello", []string{"h"}},
		{`[^a-z&&[^aeiou]]+`, "a1e", []string{"a1e"}},
		{`[ab[^\w ]]+`, "ab cd-!", []string{"ab", "-!"}},
		{`[a[b-c]]+`, "abcd", []string{"abc"}},
		{`[]a]+`, "a]b", []string{"a]"}},
		{`[\]^]+`, "a^]b", []string{"^]"}},
		{`[[:alpha:]]+`, "aé1Ⅷ", []string{"aé", "Ⅷ"}},
		{`[[:^alpha:]]+`, "a1b", []string{"1"}},
		{`[[:punct:]]`, "a+,", []string{"+", ","}},
		{`\p{Punct}`, "a+,", []string{","}},
		{`\p{^L}+`, "ab12", []string{"12"}},
		{`\P{han}+`, "a漢b", []string{"a", "b"}},
		{`\p{Script_Extensions}`, "", nil}, // no such property: an error
		{`\h+`, "xBEEFy", []string{"BEEF"}},
		{`\R`, "a\r\nb\n", []string{"\r\n", "\n"}},
		{`(?m:a.b)`, "a\nb", []string{"a\nb"}},
		{`^.`, "a\nb\n", []string{"a", "b"}},
		{`\x{1F999}|\x41`, "A🦙", []string{"A", "🦙"}},
		{`(?<n>a)\k<n>`, "aab", []string{"aa"}},
		{`\x41++\u0042?+`, "AAB", []string{"AAB"}}, // the whole escape is repeated
		{`(?>(?:(?>x?)+?)+)`, "", nil},             // fills memory in regexp2: an error
		{`(?:a?b?)*c`, "abbac", []string{"abbac"}},
		{`\w+`, "a²_漢-é\u0897", []string{"a²_漢", "é\u0897"}}, // U+0897 is of Unicode 16
		{`\p{L}`, "\u1c89", []string{"\u1c89"}},
		{`(?#comment)a`, "a", []string{"a"}},
		{`(?i)AB(?-i)C`, "abC abc", []string{"abC"}},
	} {
		re, err := compilePattern(c.pattern)
		if err != nil {
			if c.want != nil {
				t.Errorf("%s: %v", c.pattern, err)
			}
			continue
		}
		var got []string
		for _, x := range findPattern(c.text, re) {
			if x.match {
				got = append(got, c.text[x.start:x.end])
			}
		}
		if c.want == nil || !slices.Equal(got, c.want) {
			t.Errorf("%s of %q: got %q, want %q", c.pattern, c.text, got, c.want)
		}
	}
}

func BenchmarkEncodeTokens(b *testing.B) {
	var all strings.Builder // about a quarter of a megabyte: prose, code and scripts
	for all.Len() < 1<<18 {
		for _, v := range unmarshalFile[[]vector](b, "testdata/phi-2.vectors.json.gz") {
			all.WriteString(v.Text)
			all.WriteByte('\n')
		}
	}
	text := all.String()
	for _, name := range goldens {
		tk := parseFile(b, "testdata/"+name+".tokenizer.json.gz")
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				tk.EncodeTokens(text, false)
			}
		})
	}
}
