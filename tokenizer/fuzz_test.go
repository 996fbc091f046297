package tokenizer

import (
	"os"
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
	const model = `"model":{"type":"BPE","unk_token":"a","byte_fallback":true,"fuse_unk":true,"vocab":{"a":0,"▁":1,"▁a":2,"<0xE2>":3,"b":4},"merges":["▁ a"]}}`
	for _, s := range []string{
		`{"normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]},` + model,
		`{"pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":true},` + model,
		`{"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},{"type":"ByteLevel"},{"type":"Punctuation","behavior":"Contiguous"}]},` + model,
		`{"pre_tokenizer":{"type":"Split","pattern":{"Regex":"(a+)+$|\\s(?!\\S)"},"behavior":"MergedWithNext","invert":true},` + model,
		`{"decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":9999999}]},` + model,
		`{"added_tokens":[{"id":7,"content":"<s>","lstrip":true,"rstrip":true,"single_word":true,"normalized":true,"special":true}],"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}},{"Sequence":{"id":"A"}}],"special_tokens":{"<s>":{"ids":[7]}}},` + model,
		`{"post_processor":{"type":"RobertaProcessing","cls":["a",0],"sep":[]},` + model,
		`{"normalizer":{"type":"NFC"},"decoder":null,` + model,
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
		tk, err := Parse(b)
		if err != nil {
			return
		}
		// Short, so that no expression can be slow on all of it.
		const text = "a ▁b 12 aaaaaaaaaaaa!<s> é\xe2\n"
		ids := tk.Encode(text, true)
		for _, id := range ids {
			if id < 0 || int(id) >= tk.VocabSize() {
				t.Errorf("id %d outside the vocabulary of %d", id, tk.VocabSize())
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

// FuzzEncode: any bytes encode; ids are in the vocabulary; byte-level text comes
// back as it was.
func FuzzEncode(f *testing.F) {
	byteLevel := loadDir(f, "testdata/fixture")
	pieces := parseFile(f, "testdata/mistral-7b-v0.1.tokenizer.json.gz")
	for _, s := range []string{"", "Hello, world", " a  b\n\n\tc", "<s></s><|im_start|>", "é🦙\u0300", "\xff\xe2\x82", "▁▁ ▁", strings.Repeat("ab", 100)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, tk := range []*Tokenizer{byteLevel, pieces} {
			ids := tk.Encode(text, true)
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
