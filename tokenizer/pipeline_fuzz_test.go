package tokenizer

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// Pieces of tokenizer.json that FuzzPipeline puts together.
var (
	fuzzNormalizers = []string{
		`{"type":"BertNormalizer"}`, `{"type":"BertNormalizer","lowercase":false,"strip_accents":true,"clean_text":false}`, `{"type":"NFC"}`, `{"type":"NFD"}`,
		`{"type":"NFKC"}`, `{"type":"NFKD"}`, `{"type":"Lowercase"}`, `{"type":"Nmt"}`, `{"type":"StripAccents"}`, `{"type":"ByteLevel"}`,
		`{"type":"Strip","strip_left":true,"strip_right":true}`, `{"type":"Strip","strip_left":true}`, `{"type":"Prepend","prepend":"▁"}`, `{"type":"Prepend","prepend":""}`,
		`{"type":"Replace","pattern":{"String":" "},"content":"▁"}`, `{"type":"Replace","pattern":{"String":"a"},"content":""}`, `{"type":"Replace","pattern":{"String":""},"content":"-"}`,
		`{"type":"Replace","pattern":{"Regex":"^|\\s+$"},"content":"éa"}`, `{"type":"Replace","pattern":{"Regex":"a*"},"content":"b"}`,
	}
	fuzzPreTokenizers = []string{
		`{"type":"BertPreTokenizer"}`, `{"type":"Whitespace"}`, `{"type":"WhitespaceSplit"}`, `{"type":"UnicodeScripts"}`, `{"type":"FixedLength","length":2}`,
		`{"type":"CharDelimiterSplit","delimiter":"a"}`, `{"type":"Digits","individual_digits":true}`, `{"type":"Digits"}`, `{"type":"Punctuation","behavior":"Contiguous"}`,
		`{"type":"Punctuation","behavior":"Removed"}`, `{"type":"Metaspace","replacement":"▁","prepend_scheme":"first"}`, `{"type":"Metaspace","replacement":"_","split":false}`,
		`{"type":"ByteLevel","add_prefix_space":true}`, `{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}`,
		`{"type":"Split","pattern":{"String":"a"},"behavior":"MergedWithPrevious"}`, `{"type":"Split","pattern":{"String":""},"behavior":"MergedWithNext"}`,
		`{"type":"Split","pattern":{"Regex":"\\w+|[^\\w\\s]+"},"behavior":"Removed","invert":true}`, `{"type":"Split","pattern":{"Regex":"$|b?"},"behavior":"Contiguous"}`,
	}
	fuzzModels = []string{
		`{"type":"BPE","unk_token":"?","fuse_unk":true,"vocab":{"a":0,"▁":1,"▁a":2,"?":3,"b":4,"Ġ":5,"Ã":6,"ba":7,"é":8},"merges":["▁ a","b a"]}`,
		`{"type":"BPE","byte_fallback":true,"vocab":{"a":0,"b":1,"<0xE2>":2,"<0x96>":3,"<0x81>":4,"ab":5,"<0x0A>":6},"merges":[["a","b"]]}`,
		`{"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"Ġ":3,"Ġa":4},"merges":[["a","b"],["Ġ","a"]],"ignore_merges":true}`,
		`{"type":"BPE","unk_token":"a","continuing_subword_prefix":"##","end_of_word_suffix":"</w>","vocab":{"a":0,"##b":1,"##b</w>":2,"ab</w>":3,"a</w>":4},"merges":[["a","##b</w>"]]}`,
		`{"type":"WordPiece","unk_token":"?","continuing_subword_prefix":"##","max_input_chars_per_word":9,"vocab":{"a":0,"##a":1,"?":2,"ab":3,"##b":4,"é":5}}`,
		`{"type":"WordPiece","unk_token":"none","continuing_subword_prefix":"","max_input_chars_per_word":100,"vocab":{"a":0,"ab":1,"▁":2}}`,
		`{"type":"WordLevel","unk_token":"?","vocab":{"a":0,"b":1,"?":2,"▁":3}}`,
		`{"type":"WordLevel","unk_token":"none","vocab":{"a":0,"▁a":1}}`,
	}
	fuzzDecoders = []string{
		`{"type":"ByteLevel"}`, `{"type":"Fuse"}`, `{"type":"ByteFallback"}`, `{"type":"WordPiece","prefix":"##","cleanup":true}`, `{"type":"WordPiece","prefix":"","cleanup":false}`,
		`{"type":"BPEDecoder","suffix":"</w>"}`, `{"type":"BPEDecoder","suffix":"a"}`, `{"type":"CTC","pad_token":"a","word_delimiter_token":"b"}`,
		`{"type":"Metaspace","replacement":"▁"}`, `{"type":"Metaspace","replacement":"a","prepend_scheme":"never"}`, `{"type":"Replace","pattern":{"String":"▁"},"content":" "}`,
		`{"type":"Replace","pattern":{"String":"ab"},"content":"c"}`, `{"type":"Replace","pattern":{"Regex":"^|b+"},"content":" "}`, `{"type":"Strip","content":"a","start":1,"stop":1}`,
		`{"type":"Strip","content":" ","start":2,"stop":0}`,
	}
	fuzzProcessors = []string{
		`{"type":"ByteLevel","trim_offsets":true,"add_prefix_space":true}`, `{"type":"ByteLevel","trim_offsets":true,"add_prefix_space":false}`,
		`{"type":"BertProcessing","cls":["a",0],"sep":["a",0]}`, `{"type":"RobertaProcessing","cls":["a",0],"sep":["a",0],"trim_offsets":true,"add_prefix_space":true}`,
		`{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"a","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[{"Sequence":{"id":"B","type_id":1}},{"Sequence":{"id":"A","type_id":0}}],"special_tokens":{"a":{"id":"a","ids":[0],"tokens":["a"]}}}`,
		`{"type":"TemplateProcessing","single":[{"Sequence":{"id":"A","type_id":1}},{"Sequence":{"id":"A","type_id":0}}],"special_tokens":{}}`,
	}
	fuzzAdded = []string{"<s>", " ", "  ", "a", "é", "e\u0301", "▁", "B", "\n", "aa"}
)

// FuzzPipeline: any components together, on any text, give ids of the vocabulary,
// the same in all ways, ranges within the text, and the same text streamed as whole.
func FuzzPipeline(f *testing.F) {
	for i := range 40 {
		choices := make([]byte, 12)
		for k := range choices {
			choices[k] = byte(i*31 + k*k*7)
		}
		f.Add(choices, " a▁b  é\u0301 12<s>ﬁ 漢字\nBaab\xe2\x96")
	}
	f.Fuzz(func(t *testing.T, choices []byte, text string) {
		if len(text) > 200 {
			return
		}
		next := func() (b byte) {
			if len(choices) > 0 {
				b, choices = choices[0], choices[1:]
			}
			return b
		}
		sequence := func(key string, from []string) string {
			var parts []string
			for range next() % 4 {
				parts = append(parts, from[int(next())%len(from)])
			}
			return fmt.Sprintf(`{"type":"Sequence",%q:[%s]}`, key, strings.Join(parts, ","))
		}
		file := fmt.Sprintf(`{"model":%s,"normalizer":%s,"pre_tokenizer":%s,"decoder":%s,"post_processor":%s,"added_tokens":[`,
			fuzzModels[int(next())%len(fuzzModels)], sequence("normalizers", fuzzNormalizers), sequence("pretokenizers", fuzzPreTokenizers),
			sequence("decoders", fuzzDecoders), sequence("processors", fuzzProcessors))
		for i := range next() % 4 {
			if i > 0 {
				file += ","
			}
			b := next()
			file += fmt.Sprintf(`{"content":%q,"lstrip":%v,"rstrip":%v,"normalized":%v,"special":%v,"single_word":%v}`,
				fuzzAdded[int(next())%len(fuzzAdded)], b&1 > 0, b&2 > 0, b&4 > 0, b&8 > 0, b&16 > 0)
		}
		file += "]}"
		start := time.Now()
		tk, err := Parse([]byte(file))
		if err != nil {
			if !strings.Contains(err.Error(), "longer, more than") && !strings.Contains(err.Error(), "add a prefix") && !strings.Contains(err.Error(), "after another template") {
				t.Errorf("%v\n%s", err, file)
			}
			return
		}
		for _, special := range []bool{false, true} {
			ids := tk.Encode(text, special)
			for _, id := range ids {
				if _, ok := tk.Token(id); !ok {
					t.Errorf("%s\n%q: id %d is no token", file, text, id)
				}
			}
			checkRanges(t, tk.EncodeTokens(text, special), ids, text)
			for _, tok := range tk.EncodePair(text, text, special) {
				if tok.Start < 0 || tok.End < tok.Start || tok.End > len(text) {
					t.Errorf("%s\npair: token %+v outside a text of %d bytes", file, tok, len(text))
				}
			}
			all := append(ids, 0, 1, 2, 3, 2, 2, 0, int32(tk.VocabSize()), -1)
			want := tk.Decode(all, special)
			if got := streamed(t, tk.Stream(special), all); got != want {
				t.Errorf("%s\n%v: streamed %q, decoded %q", file, all, got, want)
			}
			if !utf8.ValidString(want) {
				t.Errorf("%s\ndecoded %q is no UTF-8", file, want)
			}
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%s\ntook %v", file, took)
		}
		if t.Failed() {
			t.Logf("%s\n%q", file, text)
		}
	})
}
