package data

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fooBar is LitGPT's vector of SFTDataset: style "In: {P} Out:", bytes, end 1.
var fooBar = []int32{73, 110, 58, 32, 70, 111, 111, 32, 79, 117, 116, 58, 66, 97, 114, 1}

func TestJSONSample(t *testing.T) {
	dir := write(t, map[string]string{
		"train.json": `[{"instruction": "Foo", "output": "Bar"}]`,
		"val.jsonl":  `{"instruction": "Foo", "output": "Bar"}`,
	})
	masked := slices.Repeat([]int32{Ignore}, 11)
	for _, c := range []struct {
		name    string
		mask    bool
		max     int
		tokens  []int32
		targets []int32
	}{
		{"whole", false, 0, fooBar[:15], fooBar[1:]},
		{"just fits", false, 16, fooBar[:15], fooBar[1:]},
		{"cut", false, 5, fooBar[:4], fooBar[1:5]},
		{"masked", true, 0, fooBar[:15], append(slices.Clone(masked), fooBar[12:]...)},
		{"masked and cut", true, 13, fooBar[:12], append(slices.Clone(masked), fooBar[12])},
	} {
		cfg := jsonConfig(dir)
		cfg.JSON.MaskPrompt = c.mask
		train, val := open(t, cfg, Options{MaxSeqLength: c.max})
		for _, s := range []*Set{train, val} {
			b := s.Batch([]int{0}, 0)
			equal(t, c.name+": tokens", b.Tokens, c.tokens)
			equal(t, c.name+": targets", b.Targets, c.targets)
			equal(t, c.name+": longest", s.Longest(), len(c.tokens)+1)
			if c.max > 0 && c.max < 16 {
				wantReport(t, s, fmt.Sprintf("1 of 1 samples of %s are longer than %d tokens (the longest has 16)", s.examples.(*samples).file.path, c.max))
			} else {
				equal(t, c.name+": report", len(s.Report()), 0)
			}
		}
	}
}

func TestJSONForms(t *testing.T) {
	const a, b = `{"instruction": "a", "input": "-i", "output": "A", "id": 7}`, `{"instruction": "b", "output": "B", "sys_prompt": "s ", "input": null}`
	want := []string{"In: a-i Out:A\x01", "s In: b Out:B\x01"}
	for name, text := range map[string]string{
		"list.json":   "[" + a + "," + b + "]",
		"lines.JSON":  " [\n " + a + "\n ,\n" + b + " ]\n\n",
		"bom.json":    "\uFEFF[" + a + ",\r\n" + b + "]\r\n",
		"x.jsonl":     a + "\n" + b + "\n",
		"noend.jsonl": a + "\n" + b,
		"crlf.jsonl":  "\uFEFF" + a + "\r\n\r\n   \n" + b + "\r\n",
	} {
		dir := write(t, map[string]string{name: text})
		train, val := open(t, jsonConfig(filepath.Join(dir, name)), Options{})
		got := append(rows(train), rows(val)...)
		slices.Sort(got)
		equal(t, name, got, want)
	}
}

// A tokenizer that ends every text must not end the prompt, and an end that the
// answer has already is not doubled.
func TestJSONEnds(t *testing.T) {
	dir := write(t, map[string]string{
		"train.jsonl": `{"instruction": "p", "output": "done\u0001"}` + "\n" + `{"instruction": "p", "output": ""}`,
		"val.jsonl":   `{"instruction": "p", "output": "v"}`,
	})
	train, _ := open(t, jsonConfig(dir), Options{Tokenizer: endingTok{}, Style: specialStyle{}})
	equal(t, "rows", rows(train), []string{"\x00pdone\x01", "\x00p\x01"})
	train, _ = open(t, jsonConfig(dir), Options{Tokenizer: endlessTok{}})
	equal(t, "rows without end", rows(train), []string{"In: p Out:done\x01", "In: p Out:"})
	wantReport(t, train, "do not teach a model to stop")
}

type endingTok struct{ bytesTok }

func (endingTok) Encode(text string, special bool) []int32 {
	ids := bytesTok{}.Encode(text, special)
	if special {
		ids = append(ids, 1)
	}
	return ids
}

type endlessTok struct{ bytesTok }

func (endlessTok) EOS() []int32 { return nil }

type specialStyle struct{}

func (specialStyle) Render(prompt, input, system string) (string, bool, error) {
	return prompt, true, nil
}

func TestJSONErrors(t *testing.T) {
	const good = `{"instruction": "i", "output": "o"}`
	dir := write(t, map[string]string{
		"empty.json":     "",
		"empty.jsonl":    "\n\n",
		"none.json":      " [ ] ",
		"object.json":    good,
		"text.json":      "hello",
		"after.json":     "[" + good + "] x",
		"comma.json":     "[" + good + ",\n]",
		"nocomma.json":   "[" + good + "\n" + good + "]",
		"open.json":      "[" + good + ",\n" + good,
		"quote.json":     "[\n" + `{"instruction": "é", "output: 1},` + "\n" + good + "]",
		"word.json":      "[\n" + `{"instruction": "é", "output": x},` + good + "]",
		"latin.json":     "[\n" + `{"instruction": "` + "\xe9" + `", "output": "o"}]`,
		"utf16.json":     "\xff\xfe[\x00]\x00",
		"half.jsonl":     good + "\n" + `{"instruction": "i", "out`,
		"list.jsonl":     "[" + good + "]",
		"keys.json":      "[" + good + `, {"messages": [], "Output": "o"}, {"instruction": 1, "output": null, "input": {}}]`,
		"messages.jsonl": strings.Repeat(good+"\n{}\n", 12),
		"refused.json":   `[{"instruction": "refused", "output": "o"}]`,
		"x.csv":          "instruction,output",
	})
	for _, c := range []struct {
		file string
		want []string
	}{
		{"empty.json", []string{"empty.json: holds no samples"}},
		{"empty.jsonl", []string{"empty.jsonl: holds no samples"}},
		{"none.json", []string{"none.json: holds no samples"}},
		{"object.json", []string{"object.json:1:1: want a list of samples, got an object", ".jsonl"}},
		{"text.json", []string{"text.json:1:1: want a list of samples, got 'h'"}},
		{"after.json", []string{"after.json:1:39: 'x' after the end of the list"}},
		{"comma.json", []string{"comma.json:2:1: sample 2: want a sample, got nothing; is there a comma too many?"}},
		{"nocomma.json", []string{"nocomma.json:2:1: sample 1: invalid character '{' after top-level value"}},
		{"open.json", []string{"open.json:2:35: the file ends inside the list"}},
		{"quote.json", []string{`quote.json:2:34: sample 1: a string contains '\n'; is a closing quote missing?`}},
		{"word.json", []string{"word.json:2:32: sample 1: invalid character 'x' looking for beginning of value"}},
		{"latin.json", []string{"latin.json:2:18: not UTF-8 text (byte 0xe9)"}},
		{"utf16.json", []string{"utf16.json:1:1: not UTF-8 text (byte 0xff)"}},
		{"half.jsonl", []string{"half.jsonl:2:26: sample 2: unexpected end of JSON input"}},
		{"list.jsonl", []string{"list.jsonl:1:1: sample 1: want an object, got a list"}},
		{"keys.json", []string{"keys.json: 2 mistakes:",
			`keys.json:1:39: sample 2: no "instruction", no "output" (its keys: Output, messages)`,
			`keys.json:1:72: sample 3: "instruction" is a number, want a string, "input" is an object, want a string, "output" is null, want a string`}},
		{"messages.jsonl", []string{"12 mistakes", "messages.jsonl:2:1: sample 2: no ", "messages.jsonl:20:1: sample 20:", "and 2 more"}},
		{"refused.json", []string{"refused.json:1:2: sample 1: prompt style alpaca: a prompt that the template refuses"}},
		{"x.csv", []string{"Unsupported file format: .csv. Expected `.json` or `.jsonl`."}},
		{"nothere.json", []string{"The `json_path` must be a file or a directory containing 'train.json' and 'val.json' files, but '" + dir + "/nothere.json' does not exist."}},
	} {
		_, _, err := Open(t.Context(), jsonConfig(filepath.Join(dir, c.file)), Options{Tokenizer: bytesTok{}, Style: plainStyle{}})
		wantError(t, err, c.want...)
	}
	if _, _, err := Open(t.Context(), jsonConfig(filepath.Join(dir, "messages.jsonl")), Options{Tokenizer: bytesTok{}, Style: plainStyle{}}); strings.Count(err.Error(), "\n") != 11 {
		t.Errorf("got %q, want ten mistakes and a line for the others", err)
	}

	for _, c := range []struct {
		name string
		file string
		max  int
		mask bool
		tok  Tokenizer
		want string
	}{
		{"masked prompt fills the length", "none-left.json", 8, true, bytesTok{}, "sample 1: the prompt alone has 10 tokens and fills train.max_seq_length 8"},
		{"masked prompt is all there is", "noanswer.json", 0, true, endlessTok{}, "sample 2: the output has no tokens"},
		{"one token", "one.json", 0, false, endlessTok{}, "one.json:1:2: sample 1: has 1 tokens, want at least 2"},
		{"length 1", "one.json", 1, false, bytesTok{}, "train.max_seq_length 1: want at least 2"},
	} {
		d := write(t, map[string]string{
			"none-left.json": "[" + good + "]",
			"noanswer.json":  `[` + good + `, {"instruction": "x", "output": ""}]`,
			"one.json":       `[{"instruction": "x", "output": ""}]`,
		})
		cfg := jsonConfig(filepath.Join(d, c.file))
		cfg.JSON.MaskPrompt = c.mask
		var style Style = plainStyle{}
		if c.file == "one.json" {
			style = bareStyle{}
		}
		_, _, err := Open(t.Context(), cfg, Options{Tokenizer: c.tok, Style: style, MaxSeqLength: c.max})
		wantError(t, err, c.want)
	}
}

// bareStyle is the prompt and nothing else.
type bareStyle struct{}

func (bareStyle) Render(prompt, input, system string) (string, bool, error) {
	return prompt, false, nil
}

func TestJSONSettings(t *testing.T) {
	dir := write(t, map[string]string{"train.json": "[]", "train.jsonl": "", "x.json": "[]"})
	for _, c := range []struct {
		set  func(*JSON)
		want []string
	}{
		{func(c *JSON) {}, []string{"has both train.json and train.jsonl; keep one of them", "has no val.json or val.jsonl"}},
		{func(c *JSON) { c.ValSplitFraction = 0.1 }, []string{"`val_split_fraction` should not be set"}},
		{func(c *JSON) { c.ValSplitFraction, c.IgnoreIndex, c.NumWorkers = 1, -1, -1 }, []string{"data.val_split_fraction 1", "data.ignore_index -1: only -100", "data.num_workers -1"}},
		{func(c *JSON) { c.JSONPath = "" }, []string{"give --data.json_path"}},
	} {
		cfg := jsonConfig(dir)
		c.set(&cfg.JSON)
		_, _, err := Open(t.Context(), cfg, Options{Tokenizer: bytesTok{}, Style: plainStyle{}})
		wantError(t, err, c.want...)
	}
}

func TestJSONSplit(t *testing.T) {
	for _, c := range []struct {
		samples  int
		fraction float64
		val      int
	}{
		{1, 0, 0}, {2, 0, 1}, {2, 0.9, 1}, {6, 0.5, 3}, {20, 0, 1}, {40, 0, 2}, {100, 0.25, 25}, {3, 0.999, 2},
	} {
		var text strings.Builder
		var all []string
		for i := range c.samples {
			fmt.Fprintf(&text, `{"instruction": "%03d", "output": "o"}`+"\n", i)
			all = append(all, fmt.Sprintf("In: %03d Out:o\x01", i))
		}
		cfg := jsonConfig(filepath.Join(write(t, map[string]string{"x.jsonl": text.String()}), "x.jsonl"))
		cfg.JSON.ValSplitFraction = c.fraction
		train, val := open(t, cfg, Options{})
		equal(t, fmt.Sprintf("validation samples of %d, fraction %v", c.samples, c.fraction), val.Len(), c.val)
		both := append(rows(train), rows(val)...)
		slices.Sort(both)
		equal(t, "training and validation together", both, all)
		if c.val > 0 {
			wantReport(t, train, fmt.Sprintf("%d of %d samples", c.val, c.samples))
		} else {
			wantReport(t, train, "none is left for validation")
			equal(t, "batch of an empty set", NewLoader(val, 2, 1, true, 0).Next(), Batch{})
		}

		again, _ := open(t, cfg, Options{})
		equal(t, "the same seed", rows(again), rows(train))
		cfg.JSON.Seed++
		if other, _ := open(t, cfg, Options{}); c.samples == 100 && slices.Equal(rows(other), rows(train)) {
			t.Error("another seed gives the same split")
		}
	}
}

func TestJSONReal(t *testing.T) {
	path := filepath.Join("testdata", "self_instruct.json")
	var last, total int64
	cfg := jsonConfig(path)
	cfg.JSON.MaskPrompt = true
	train, val := open(t, cfg, Options{MaxSeqLength: 256, Progress: func(d, n int64) {
		if d < last || d > n {
			t.Errorf("progress went from %d to %d of %d", last, d, n)
		}
		last, total = d, n
	}})
	equal(t, "samples", []int{train.Len(), val.Len()}, []int{19, 1})
	equal(t, "progress at the end", []int64{last, total}, []int64{fileSize(path), fileSize(path)})
	equal(t, "longest", train.Longest(), 256)
	wantReport(t, train, "were cut")
	l := NewLoader(train, 4, 1, true, 64)
	for range l.PerEpoch() {
		b := l.Next()
		if b.T%64 != 0 || len(b.Tokens) != b.B*b.T || len(b.Targets) != b.B*b.T {
			t.Errorf("got a batch of (%d, %d) with %d tokens and %d targets, want T in multiples of 64", b.B, b.T, len(b.Tokens), len(b.Targets))
		}
	}
}

func TestJSONCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var text strings.Builder
	for range 5000 {
		text.WriteString(`{"instruction": "` + strings.Repeat("x", 200) + `", "output": "o"}` + "\n")
	}
	dir := write(t, map[string]string{"train.jsonl": text.String(), "val.jsonl": text.String()})
	_, _, err := Open(ctx, jsonConfig(dir), Options{Tokenizer: bytesTok{}, Style: plainStyle{}, Progress: func(done, total int64) {
		if done > 0 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

// What is valid JSON is cut into its elements; anything else is an error with a
// place inside the file, and never a panic.
func FuzzReadJSON(f *testing.F) {
	for _, s := range []string{`[]`, `[{"instruction":"a\"]","output":"b"}, {"x":[1,{}]}]`, `[1,]`, `{"a":1}`, "{}\n\n{\"instruction\": \"\\ud800\"}\r\n", "[\"\\", "\uFEFF[{}]", "]", "[}]", "[[]", "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for suffix, read := range formats {
			count := 0
			var wrong error
			err := read(newReader(strings.NewReader(string(b)), false), func(raw rawSample) error {
				count++
				if raw.number != count || raw.offset < 0 || raw.offset+int64(len(raw.text)) > int64(len(b)) {
					t.Fatalf("%s: sample %d at %d with %d bytes, of %d bytes", suffix, raw.number, raw.offset, len(raw.text), len(b))
				}
				_, err := parseSample(raw.text)
				var syn *syntaxError
				if errors.As(err, &syn) {
					wrong = err
					if syn.offset < 0 || syn.offset > int64(len(raw.text)) {
						t.Fatalf("%s: syntax error at %d of %d bytes", suffix, syn.offset, len(raw.text))
					}
				}
				return nil
			})
			if suffix != ".json" {
				continue
			}
			var list []any
			text := strings.TrimPrefix(string(b), "\uFEFF")
			standard := json.Unmarshal([]byte(text), &list)
			if standard == nil && list != nil && firstInvalid(b) < 0 {
				if err != nil || wrong != nil || count != len(list) {
					t.Fatalf("%q: got %d samples, %v, %v; want %d", b, count, err, wrong, len(list))
				}
			} else if standard != nil && strings.Trim(text, space) != "" && err == nil && wrong == nil {
				t.Fatalf("%q: got no error, want one as in %v", b, standard)
			}
		}
	})
}

func BenchmarkOpenJSON(b *testing.B) {
	var text strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&text, `{"instruction": "number %d", "output": "%s"}`+"\n", i, strings.Repeat("word ", 80))
	}
	cfg := jsonConfig(filepath.Join(write(b, map[string]string{"x.jsonl": text.String()}), "x.jsonl"))
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		open(b, cfg, Options{CacheDir: "unused"})
	}
}
