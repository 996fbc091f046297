package grammar

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/litgpt-go/litgpt/tokenizer"
)

const personSchema = `{"type": "object", "properties": {
	"name": {"type": "string", "minLength": 1, "maxLength": 80}, "email": {"type": "string", "format": "email"},
	"age": {"type": "integer", "minimum": 0, "maximum": 150}, "score": {"type": "number"}, "active": {"type": "boolean"},
	"role": {"enum": ["admin", "editor", "viewer", "guest"]}, "bio": {"type": "string"},
	"tags": {"type": "array", "items": {"type": "string"}, "maxItems": 20},
	"address": {"type": "object", "properties": {"street": {"type": "string"}, "city": {"type": "string"}, "zip": {"type": "string", "pattern": "^[0-9]{5}(-[0-9]{4})?$"}},
		"required": ["street", "city", "zip"], "additionalProperties": false},
	"friends": {"type": "array", "items": {"$ref": "#"}}, "born": {"type": "string", "format": "date"}, "note": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
	"required": ["name", "email", "age", "role", "tags", "address"], "additionalProperties": false}`

const personText = `{"name": "Ada Lovelace", "email": "ada.lovelace@example.org", "age": 36, "score": 99.25, "active": true, "role": "editor", ` +
	`"bio": "English mathematician and writer, chiefly known for her work on \"Charles Babbage's\" proposed mechanical general-purpose computer, the Analytical Engine.", ` +
	`"tags": ["mathematics", "computing", "poetry"], "address": {"street": "12 St. James's Square", "city": "London", "zip": "01234-5678"}, ` +
	`"friends": [{"name": "Charles", "email": "c@babbage.uk", "age": 44, "role": "guest", "tags": [], "address": {"street": "1 Dorset St", "city": "London", "zip": "00001"}}], "born": "1815-12-10", "note": null}`

var benchSources = []struct {
	name   string
	source Source
	text   string
}{
	{"schema", Source{Type: JSONSchema, Text: personSchema, Strict: true}, personText},
	{"object", Source{Type: JSONObject}, personText},
	{"regex", Source{Type: Regex, Text: `(From|To): [^\n]{1,60}\n\n(.|\n)*`}, "From: somebody whose name is long\n\nThe text of the letter goes on\nfor a while."},
	{"gbnf", Source{Type: GBNF, Text: jsonGBNF}, `{"a": [1, 2, {"b": "some text of a string, which is longer"}], "c": true}`},
}

const jsonGBNF = `root ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}" ws
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}
`

// syntheticVocab has v tokens of words like those of byte-level vocabularies.
func syntheticVocab(tb testing.TB, v int) *Vocab {
	r := rand.New(rand.NewPCG(7, 7))
	const letters = "etaoinshrdlucmfwypvbgkjqxz"
	tokens := make([][]byte, 0, v)
	for b := range 256 {
		tokens = append(tokens, []byte{byte(b)})
	}
	ends := []string{"", "", "", "", `"`, `":`, `",`, ".", ", ", "é", "日", `"}`, "\n", "()", "1"}
	for len(tokens) < v-1 {
		var b []byte
		if r.IntN(2) == 0 {
			b = append(b, ' ')
		}
		for range 1 + r.IntN(9) {
			b = append(b, letters[min(r.IntN(26), r.IntN(26))])
		}
		tokens = append(tokens, append(b, ends[r.IntN(len(ends))]...))
	}
	tokens = append(tokens, nil)
	vocab, err := VocabOf(tokens, []int32{int32(v - 1)})
	if err != nil {
		tb.Fatal(err)
	}
	return vocab
}

// benchVocabs are vocabularies with a way to cut a text into their tokens.
func benchVocabs(b *testing.B, f func(name string, v *Vocab, encode func(string) []int32)) {
	tokenizers(b, func(name string, tok *tokenizer.Tokenizer) {
		if name == "model" || name == "tinyllama" || name == "llama2" || name == "roberta-base" {
			return
		}
		v, err := NewVocab(tok, tok.EOS())
		if err != nil {
			b.Log(name, err)
			return
		}
		f(fmt.Sprintf("%s-%d", name, v.Size()), v, func(s string) []int32 { return tok.Encode(s, false) })
	})
	v := syntheticVocab(b, 128_000)
	f("synthetic-128000", v, func(s string) (out []int32) {
		longest := map[string]int32{}
		for id := range int32(v.Size()) {
			longest[string(v.Bytes(id))] = id
		}
		for s != "" {
			n := min(12, len(s))
			for ; ; n-- {
				if id, ok := longest[s[:n]]; ok {
					out = append(out, id)
					break
				}
			}
			s = s[n:]
		}
		return out
	})
}

// BenchmarkCompile is the time of Compile, without token masks.
func BenchmarkCompile(b *testing.B) {
	v := jsonVocab(b)
	for _, s := range benchSources {
		b.Run(s.name, func(b *testing.B) {
			for b.Loop() {
				compile(b, s.source, v)
			}
		})
	}
}

// BenchmarkMask is the time per token of Allowed and Accept: of the first text of a
// grammar (cold), and of later ones (warm). worst-us is the slowest token of the first.
func BenchmarkMask(b *testing.B) {
	benchVocabs(b, func(vocab string, v *Vocab, encode func(string) []int32) {
		for _, s := range benchSources {
			ids := encode(s.text)
			if b := v.Bytes(ids[0]); len(b) > 1 && b[0] == ' ' && s.text[0] != ' ' { // SentencePiece's own first space
				ids = ids[1:]
				for i := len(b) - 1; i > 0; i-- {
					ids = append([]int32{v.trie.ids[0]}, ids...)
					for id := range int32(v.Size()) {
						if string(v.Bytes(id)) == string(b[i]) {
							ids[0] = id
						}
					}
				}
			}
			b.Run(vocab+"/"+s.name+"/cold", func(b *testing.B) { benchCold(b, v, s.source, ids) })
			b.Run(vocab+"/"+s.name+"/warm", func(b *testing.B) { benchWarm(b, v, s.source, ids) })
		}
	})
}

func run(tb testing.TB, g *Grammar, ids []int32, each func()) {
	s := g.Start()
	for i, id := range ids {
		m := s.Allowed()
		if !m.Has(id) {
			tb.Fatalf("token %d, %q, is not allowed", i, g.v.Bytes(id))
		}
		if err := s.Accept(id); err != nil {
			tb.Fatal(err)
		}
		if each != nil {
			each()
		}
	}
}

// processor is the processor time of this thread, which other work on a busy
// machine does not stretch.
func processor(b *testing.B) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Skip(err)
	}
	return time.Duration(t.Nano())
}

func benchCold(b *testing.B, v *Vocab, s Source, ids []int32) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var worst, total, compiling time.Duration
	for b.Loop() {
		first := processor(b)
		g := compile(b, s, v)
		last := processor(b)
		compiling += last - first
		run(b, g, ids, func() {
			now := processor(b)
			worst = max(worst, now-last)
			total += now - last
			last = now
		})
	}
	b.ReportMetric(float64(compiling.Microseconds())/float64(b.N), "us-compile")
	b.ReportMetric(float64(total.Microseconds())/float64(b.N)/float64(len(ids)), "us/token")
	b.ReportMetric(float64(worst.Microseconds()), "worst-us")
	b.ReportMetric(0, "ns/op")
}

func benchWarm(b *testing.B, v *Vocab, s Source, ids []int32) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	g := compile(b, s, v)
	run(b, g, ids, nil)
	start := processor(b)
	for b.Loop() {
		run(b, g, ids, nil)
	}
	b.ReportMetric(float64((processor(b)-start).Nanoseconds())/float64(b.N)/float64(len(ids)), "ns/token")
	b.ReportMetric(0, "ns/op")
}
