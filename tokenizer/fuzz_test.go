package tokenizer

import (
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// FuzzTokenizerJSON: a tokenizer.json from a stranger gives an error or a tokenizer
// that works; it does not panic, hang or fill memory.
func FuzzTokenizerJSON(f *testing.F) {
	fixture, err := os.ReadFile("testdata/fixture/tokenizer.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(fixture)
	for _, set := range unmarshalFile[[]componentCases](f, "testdata/components.json.gz") {
		if len(set.File) < 1<<13 { // small ones mutate well
			f.Add([]byte(set.File))
		}
	}
	const model = `"model":{"type":"BPE","unk_token":"a","byte_fallback":true,"fuse_unk":true,"vocab":{"a":0,"▁":1,"▁a":2,"<0xE2>":3,"b":4},"merges":["▁ a"]}}`
	for _, s := range []string{
		`{"normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]},` + model,
		`{"normalizer":{"type":"Sequence","normalizers":[{"type":"BertNormalizer"},{"type":"Nmt"},{"type":"StripAccents"},{"type":"ByteLevel"},{"type":"Replace","pattern":{"Regex":"^|$"},"content":"▁"}]},` + model,
		`{"pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":true},` + model,
		`{"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},{"type":"ByteLevel"},{"type":"Punctuation","behavior":"Contiguous"}]},` + model,
		`{"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"UnicodeScripts"},{"type":"Whitespace"},{"type":"BertPreTokenizer"},{"type":"FixedLength","length":2},{"type":"CharDelimiterSplit","delimiter":"a"},{"type":"ByteLevel","add_prefix_space":true},{"type":"Metaspace","replacement":"_"}]},` + model,
		`{"pre_tokenizer":{"type":"Split","pattern":{"Regex":"(a+)+$|\\s(?!\\S)"},"behavior":"MergedWithNext","invert":true},` + model,
		`{"pre_tokenizer":{"type":"Split","pattern":{"Regex":"[a-z&&[^aeiou]]++|\\h?+|[[:punct:]]{,2}|\\p{^Han}"},"behavior":"MergedWithPrevious"},` + model,
		`{"decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":9999999}]},` + model,
		`{"decoder":{"type":"Sequence","decoders":[{"type":"CTC"},{"type":"WordPiece"},{"type":"BPEDecoder","suffix":"a"},{"type":"ByteLevel"},{"type":"CTC"},{"type":"ByteFallback"}]},` + model,
		`{"added_tokens":[{"id":7,"content":"<s>","lstrip":true,"rstrip":true,"single_word":true,"normalized":true,"special":true}],"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}},{"Sequence":{"id":"A"}}],"special_tokens":{"<s>":{"ids":[5]}}},` + model,
		`{"post_processor":{"type":"Sequence","processors":[{"type":"ByteLevel"},{"type":"BertProcessing","cls":["a",0],"sep":["b",4]},{"type":"RobertaProcessing","cls":["a",0],"sep":["b",4],"add_prefix_space":false}]},` + model,
		`{"normalizer":{"type":"NFC"},"decoder":null,"truncation":{"max_length":1},"padding":{"strategy":{"Fixed":3},"pad_token":"x"},` + model,
		`{"model":{"type":"BPE","continuing_subword_prefix":"##","end_of_word_suffix":"</w>","byte_fallback":true,"vocab":{"a":0,"##b</w>":1,"ab</w>":2,"<0x23>":3},"merges":[["a","##b</w>"]]}}`,
		`{"model":{"type":"WordPiece","unk_token":"?","continuing_subword_prefix":"#","max_input_chars_per_word":9,"vocab":{"a":0,"#a":1,"?":2,"ab":3}},"pre_tokenizer":{"type":"WhitespaceSplit"},"decoder":{"type":"WordPiece","prefix":"#"}}`,
		`{"model":{"type":"WordLevel","unk_token":"?","vocab":{"a":0,"b":1,"?":2}},"normalizer":{"type":"NFKD"},"pre_tokenizer":{"type":"Whitespace"}}`,
		`{"model":{"type":"Unigram","unk_id":0,"byte_fallback":true,"vocab":[["<unk>",0],["▁",-1.5],["a",-2],["▁a",-2.5],["<0xE2>",-9]]},"pre_tokenizer":{"type":"Metaspace","replacement":"▁"},"decoder":{"type":"Metaspace","replacement":"▁"}}`,
		`{"normalizer":{"type":"Precompiled","precompiled_charsmap":"AAQAAAAAAAA="},` + model,
		`{"model":{"type":"BPE","vocab":{"a":99999999999},"merges":[["a","a"]]}}`,
		`{"model":{"vocab":{"\ud800\"`, `[`, `{"a":"`, ``,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 {
			return
		}
		start := time.Now()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		tk, err := Parse(b)
		runtime.ReadMemStats(&after)
		// Tables that every tokenizer has (single characters, caches, expressions of
		// a few classes) take a megabyte or two however small the file.
		if grown := after.TotalAlloc - before.TotalAlloc; grown > uint64(10*len(b)+16<<20) {
			t.Errorf("a file of %d bytes takes %d", len(b), grown)
		}
		if err != nil {
			return
		}
		// Short, so that no expression can be slow on all of it.
		const text = "a ▁b 12 aaaaaaaaaaaa!<s> é\xe2 İe\u0301漢ﬁ\n"
		ids := tk.Encode(text, true)
		for _, id := range ids {
			if id < 0 || int(id) >= tk.VocabSize() {
				t.Errorf("id %d outside the vocabulary of %d", id, tk.VocabSize())
			}
		}
		checkRanges(t, tk.EncodeTokens(text, true), ids, text)
		for _, tok := range tk.EncodePair(text, "b a", false) {
			if tok.Start < 0 || tok.End < tok.Start || tok.End > len(text) {
				t.Errorf("pair: token %+v outside a text of %d bytes", tok, len(text))
			}
		}
		all := append(ids, 0, 1, 2, 3, 4, 5, -1, int32(tk.VocabSize()), 1<<31-1)
		want := tk.Decode(all, false)
		if got := streamed(t, tk.Stream(false), all); got != want {
			t.Errorf("streamed %q, decoded %q", got, want)
		}
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// checkRanges compares tokens with the ids of Encode, and their ranges with the text.
func checkRanges(t *testing.T, tokens []Token, ids []int32, text string) {
	t.Helper()
	if !slices.EqualFunc(tokens, ids, func(tok Token, id int32) bool { return tok.ID == id }) {
		t.Errorf("%q: tokens %v, ids %v", text, tokens, ids)
	}
	for _, tok := range tokens {
		if tok.Start < 0 || tok.End < tok.Start || tok.End > len(text) {
			t.Errorf("token %+v outside a text of %d bytes", tok, len(text))
		}
		if tok.Special && tok.End > 0 {
			t.Errorf("token %+v was added, and has a place in the text", tok)
		}
	}
}

// FuzzOniguruma: what is translated either compiles or is an error.
func FuzzOniguruma(f *testing.F) {
	for pattern := range scanners {
		f.Add(pattern)
	}
	for _, s := range []string{`[a&&[^b]&&\p{L}]++`, `(?m:.)(?i)x{,3}?`, `[[:^alpha:]\h]`, `(?<n>a)\k<n>`, `\x{10FFFF}\R`, `[]a]`, `[^\]]`, `a**+?`, `\p{^Han}{2}+`, `(?#x)`, `(?<`, `[`, `\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, pattern string) {
		if len(pattern) > 200 {
			return
		}
		if _, err := fromOniguruma(pattern); err != nil {
			return
		}
		re, err := compilePattern(pattern)
		if err != nil {
			return
		}
		re.MatchTimeout = 50 * time.Millisecond
		start := time.Now()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		const text = "ab É\n漢1 _\xff"
		end := 0
		for _, x := range findPattern(text, re) {
			if x.start != end || x.end < x.start {
				t.Errorf("%q: a piece from %d to %d after %d", pattern, x.start, x.end, end)
			}
			end = x.end
		}
		runtime.ReadMemStats(&after)
		if took, grown := time.Since(start), (after.TotalAlloc-before.TotalAlloc)>>20; took > 5*time.Second || grown > 500 {
			t.Errorf("%q: took %v and %d MB", pattern, took, grown)
		}
		if end != len(text) {
			t.Errorf("%q: pieces end at %d of %d", pattern, end, len(text))
		}
	})
}

// FuzzEncode: any bytes encode; ids are in the vocabulary; byte-level text comes
// back as it was.
func FuzzEncode(f *testing.F) {
	byteLevel := loadDir(f, "testdata/fixture")
	pieces := parseFile(f, "testdata/mistral-7b-v0.1.tokenizer.json.gz")
	all := []*Tokenizer{byteLevel, pieces}
	for _, set := range unmarshalFile[[]componentCases](f, "testdata/components.json.gz") {
		if tk, err := Parse(set.File); err == nil {
			all = append(all, tk)
		}
	}
	for _, s := range []string{"", "Hello, world", " a  b\n\n\tc", "<s></s><|im_start|>", "é🦙\u0300", "\xff\xe2\x82", "▁▁ ▁", strings.Repeat("ab", 100)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1<<10 { // through a hundred tokenizers
			return
		}
		for i, tk := range all {
			if i > 1 {
				checkRanges(t, tk.EncodeTokens(text, true), tk.Encode(text, true), text)
				continue
			}
			ids := tk.Encode(text, true)
			checkRanges(t, tk.EncodeTokens(text, true), ids, text)
			for _, id := range ids {
				if _, ok := tk.Token(id); !ok {
					t.Errorf("id %d is no token", id)
				}
			}
			want := tk.Decode(ids, false)
			if got := streamed(t, tk.Stream(false), ids); got != want {
				t.Errorf("streamed %q, decoded %q", got, want)
			}
			if !utf8.ValidString(want) {
				t.Errorf("decoded %q is no UTF-8", want)
			}
		}
		if got, want := byteLevel.Decode(byteLevel.Encode(text, false), false), lossyUTF8([]byte(text)); got != want {
			t.Errorf("round trip: got %q, want %q", got, want)
		}
	})
}
