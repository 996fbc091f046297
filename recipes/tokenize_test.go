package recipes

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/litgpt-go/litgpt/tokenizer"
)

// tokenizing runs tokenize and gives what it wrote.
func tokenizing(t testing.TB, c Tokenize, stdin string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := c.Run(t.Context(), strings.NewReader(stdin), false, &out)
	return out.String(), err
}

func TestTokenize(t *testing.T) {
	jsonl := filepath.Join(t.TempDir(), "lines.jsonl")
	lines := func(text string) string {
		if err := os.WriteFile(jsonl, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		return jsonl
	}
	for _, tt := range []struct {
		name  string
		set   func(c *Tokenize)
		stdin string
		want  string // the output, or what is in the error
	}{
		{"text", func(c *Tokenize) { c.Text = "a é<|im_end|>" }, "",
			`{"ids":[1,69,225,132,107,4],"pieces":["<s>","a","Ġ","Ã","©","<|im_end|>"],"offsets":[[0,0],[0,1],[1,2],[2,4],[2,4],[4,14]]}` + "\n"},
		{"no special", func(c *Tokenize) { c.Text, c.AddSpecial = "a", false }, "", `{"ids":[69],"pieces":["a"],"offsets":[[0,1]]}` + "\n"},
		{"stdin", func(c *Tokenize) { c.AddSpecial = false }, "a\n", `{"ids":[69,203],"pieces":["a","Ċ"],"offsets":[[0,1],[1,2]]}` + "\n"},
		{"empty", func(c *Tokenize) { c.AddSpecial = false }, "", `{"ids":[],"pieces":[],"offsets":[]}` + "\n"},
		{"a file", func(c *Tokenize) { c.Tokenizer, c.Text = c.Tokenizer+"/tokenizer.json", "a" }, "", `{"ids":[1,69],"pieces":["<s>","a"],"offsets":[[0,0],[0,1]]}` + "\n"},
		{"not UTF-8", func(c *Tokenize) {}, "a\xff", "error: the text is not UTF-8"},
		{"decode", func(c *Tokenize) { c.Decode, c.Text = true, "[1, 69, 4]" }, "", `"<s>a<|im_end|>"` + "\n"},
		{"decode words", func(c *Tokenize) { c.Decode, c.SkipSpecial, c.Text = true, true, "1 69,4" }, "", `"a"` + "\n"},
		{"decode stdin", func(c *Tokenize) { c.Decode = true }, "69\n69\n", `"aa"` + "\n"},
		{"decode out of range", func(c *Tokenize) { c.Decode, c.Text = true, "[512]" }, "", "error: ids[0] is 512; the vocabulary has the ids 0 to 511"},
		{"decode negative", func(c *Tokenize) { c.Decode, c.Text = true, "[-1]" }, "", "error: ids[0] is -1"},
		{"decode words of text", func(c *Tokenize) { c.Decode, c.Text = true, "hello" }, "", `error: ids: "hello" is not a list`},
		{"lines", func(c *Tokenize) {
			c.JSONL = lines(`{"text": "a"}` + "\n" + `{"text":"a<s>","add_special_tokens":false,"id":[{"text":"\"]"}]}` + "\r\n" + ` {"add_special_tokens" : true , "text" : ""} `)
		}, "", "[1,69]\n[69,1]\n[1]\n"},
		{"lines by flag", func(c *Tokenize) {
			c.AddSpecial, c.JSONL = false, lines(`{"text": "a"}`+"\n"+`{"text": "a", "add_special_tokens": true}`+"\n")
		}, "", "[69]\n[1,69]\n"},
		{"lines of stdin", func(c *Tokenize) { c.JSONL = "-" }, `{"text": "\u0061\n"}` + "\n", "[1,69,203]\n"},
		{"lines, none", func(c *Tokenize) { c.JSONL = "-" }, "", ""},
		{"half a surrogate pair", func(c *Tokenize) { c.JSONL = "-" }, `{"text": "\ud800"}` + "\n" + `{"text": "` + "\uFFFD" + `"}`, "[1,176,128,126]\n[1,176,128,126]\n"},
		{"line no JSON", func(c *Tokenize) { c.JSONL = "-" }, `{"text": "a"}` + "\n{\n", "error: stdin:2: not JSON at byte 1: unexpected end"},
		{"line empty", func(c *Tokenize) { c.JSONL = "-" }, "\n", "error: stdin:1: an empty line"},
		{"line no object", func(c *Tokenize) { c.JSONL = "-" }, "[1]", `error: stdin:1: a JSON object wanted, got "[1]"`},
		{"line without text", func(c *Tokenize) { c.JSONL = "-" }, `{"Text": "a"}`, `error: stdin:1: no "text"`},
		{"line of null", func(c *Tokenize) { c.JSONL = "-" }, `{"text": null}`, `error: stdin:1: text: null is not a string`},
		{"line of no bool", func(c *Tokenize) { c.JSONL = "-" }, `{"text": "", "add_special_tokens": 1}`, `error: stdin:1: add_special_tokens is 1; true or false wanted`},
		{"line not UTF-8", func(c *Tokenize) { c.JSONL = "-" }, "{\"text\": \"\xff\"}", `error: stdin:1: not UTF-8`},
		{"no file", func(c *Tokenize) { c.JSONL = "none.jsonl" }, "", "error: open none.jsonl"},
		{"text and lines", func(c *Tokenize) { c.JSONL, c.Text = "-", "a" }, "", "error: TEXT and --jsonl are both given"},
		{"ids of lines", func(c *Tokenize) { c.Decode, c.JSONL = true, "-" },
			`{"ids": [1, 69]}` + "\n" + `{"ids":[1,69],"skip_special_tokens":true}` + "\n" + `{"ids":[]}` + "\n" + `{"ids":[31,225,203,6]}`, `"<s>a"` + "\n" + `"a"` + "\n" + `""` + "\n" + `"; \n\""` + "\n"},
		{"ids of lines by flag", func(c *Tokenize) { c.Decode, c.SkipSpecial, c.JSONL = true, true, "-" }, `{"ids": [1, 69]}` + "\n" + `{"ids":[1],"skip_special_tokens":false}`, `"a"` + "\n" + `"<s>"` + "\n"},
		{"ids out of range", func(c *Tokenize) { c.Decode, c.JSONL = true, "-" }, `{"ids":[1]}` + "\n" + `{"ids":[1,9999999999]}`, `error: stdin:2: ids: "9999999999" is not`},
		{"ids too large", func(c *Tokenize) { c.Decode, c.JSONL = true, "-" }, `{"ids":[1]}` + "\n" + `{"ids":[1,512]}`, `error: stdin:2: ids[1] is 512; the vocabulary has the ids 0 to 511`},
		{"ids no whole numbers", func(c *Tokenize) { c.Decode, c.JSONL = true, "-" }, `{"ids":[1.0]}`, `error: stdin:1: ids: "[1.0]" is not a list`},
		{"ids nested", func(c *Tokenize) { c.Decode, c.JSONL = true, "-" }, `{"ids":[[1]]}`, `error: stdin:1: ids:`},
		{"no ids", func(c *Tokenize) { c.Decode, c.JSONL = true, "-" }, `{"text": "a"}`, `error: stdin:1: no "ids"`},
		{"no tokenizer", func(c *Tokenize) { c.Tokenizer = "none" }, "", "error: stat none"},
	} {
		c := NewTokenize()
		c.Tokenizer = demoModel
		tt.set(&c)
		got, err := tokenizing(t, c, tt.stdin)
		if want, fails := strings.CutPrefix(tt.want, "error: "); fails {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %q, %v, want the error %s", tt.name, got, err, want)
			}
		} else if got != tt.want || err != nil {
			t.Errorf("%s: got %s, %v, want %s", tt.name, got, err, tt.want)
		}
	}
	var out bytes.Buffer
	if err := (Tokenize{Tokenizer: demoModel}).Run(t.Context(), strings.NewReader(""), true, &out); err == nil || !strings.Contains(err.Error(), "there is no text") {
		t.Errorf("a terminal: got %v", err)
	}
}

// An adapter without a tokenizer has its base's.
func TestTokenizeAdapter(t *testing.T) {
	dir := copyCheckpoint(t, fixtures+"/llama2/reference/adapter")
	base, err := filepath.Abs(demoModel)
	if err != nil {
		t.Fatal(err)
	}
	dir.set("adapter_config.json", "base_model_name_or_path", fmt.Sprintf("%q", base))
	c := NewTokenize()
	c.Tokenizer, c.Text = dir.dir, "a"
	if got, err := tokenizing(t, c, ""); err != nil || !strings.HasPrefix(got, `{"ids":[1,69]`) {
		t.Errorf("got %s, %v", got, err)
	}
}

// Lines come out in their order whatever their lengths, and those before an error do.
func TestMapLines(t *testing.T) {
	var in, want strings.Builder
	for i := range 20_000 {
		n := i % 50
		if i == 777 || i == 15_000 {
			n = 3 * lineBatch // longer than a buffer
		}
		line := fmt.Sprint(i, " ", strings.Repeat("x", n))
		in.WriteString(line + "\n")
		want.WriteString("<" + line + ">\n")
	}
	each := func(dst, line []byte) ([]byte, error) {
		if string(line) == "bad" {
			return dst, errors.New("it is bad")
		}
		return fmt.Appendf(dst, "<%s>", line), nil
	}
	var out bytes.Buffer
	if err := mapLines(t.Context(), strings.NewReader(in.String()), "f", &out, 4, each); err != nil || out.String() != want.String() {
		t.Errorf("got %d bytes, %v, want %d", out.Len(), err, want.Len())
	}
	out.Reset()
	err := mapLines(t.Context(), strings.NewReader(in.String()+"bad\nmore\n"), "f", &out, 4, each)
	if err == nil || err.Error() != "f:20001: it is bad" || out.String() != want.String() {
		t.Errorf("got %v after %d bytes, want an error after %d", err, out.Len(), want.Len())
	}
	out.Reset()
	broken := io.MultiReader(strings.NewReader("a\nb"), readerFunc(func([]byte) (int, error) { return 0, os.ErrClosed }))
	if err := mapLines(t.Context(), broken, "f", &out, 2, each); !errors.Is(err, os.ErrClosed) || out.String() != "<a>\n" {
		t.Errorf("a reader that fails: got %q, %v", &out, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	endless := readerFunc(func(b []byte) (int, error) { cancel(); return copy(b, "a\n"), nil })
	if err := mapLines(ctx, endless, "f", io.Discard, 2, each); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
	full := errors.New("disk full")
	if err := mapLines(t.Context(), strings.NewReader(in.String()), "f", writerFunc(func([]byte) (int, error) { return 0, full }), 2, each); !errors.Is(err, full) {
		t.Errorf("a writer that fails: got %v", err)
	}
}

// A program may write a line and wait for its answer.
func TestMapLinesAnswers(t *testing.T) {
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- mapLines(t.Context(), inR, "f", outW, 2, func(dst, line []byte) ([]byte, error) { return append(dst, line...), nil })
	}()
	buf := make([]byte, 16)
	for _, line := range []string{"one\n", "two\n"} {
		io.WriteString(inW, line)
		n, err := io.ReadFull(outR, buf[:len(line)])
		if got := string(buf[:n]); got != line || err != nil {
			t.Fatalf("got %q, %v, want %q", got, err, line)
		}
	}
	inW.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// fields splits what encoding/json accepts as encoding/json does, and nothing else.
func FuzzFields(f *testing.F) {
	for _, s := range []string{`{"text":"a\"b","add":[1,{"x":"}"}],"n":-1e3}`, `{ }`, `{"a" : null , "b":{"c":[]}}`, `[]`, `{"a":1,}`, `{"\u0061":true}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		got, n := map[string]json.RawMessage{}, 0
		err := fields(line, func(key string, value []byte) error {
			got[key] = bytes.Clone(value)
			n++
			return nil
		})
		var want map[string]json.RawMessage
		wantErr := json.Unmarshal(line, &want)
		if !utf8.Valid(line) || bytes.Contains(line, []byte("\n")) {
			return // lines are neither
		}
		if (err == nil) != (wantErr == nil && want != nil) {
			t.Fatalf("%q: got %v, encoding/json says %v", line, err, wantErr)
		}
		if err == nil && len(want) != 0 && !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: got %q, want %q", line, got, want)
		}
	})
}

// A string comes back from encoding/json as it was.
func FuzzAppendString(f *testing.F) {
	f.Add("a<b>&\"\\\n\r\t\x00\x7f\u2028é")
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			return
		}
		var back string
		if err := json.Unmarshal(appendString(nil, s), &back); err != nil || back != s {
			t.Fatalf("%q: got %q, %v", s, back, err)
		}
	})
}

// Lines of text per second, as the command has them.
func BenchmarkTokenizeLines(b *testing.B) {
	text, err := os.ReadFile("../demo/tinyshakespeare.txt")
	if err != nil {
		b.Fatal(err)
	}
	tok, err := tokenizer.Load(demoModel)
	if err != nil {
		b.Fatal(err)
	}
	var in []byte
	for _, p := range strings.Split(string(text), "\n\n") {
		in = append(append(in, `{"text":`...), appendString(nil, p)...)
		in = append(in, "}\n"...)
	}
	c := NewTokenize()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		if err := mapLines(b.Context(), bytes.NewReader(in), "f", io.Discard, runtime.GOMAXPROCS(0), func(dst, line []byte) ([]byte, error) {
			return c.encodeLine(tok, dst, line)
		}); err != nil {
			b.Fatal(err)
		}
	}
}
