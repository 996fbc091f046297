package tokenizer

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// vector is what Hugging Face's tokenizers makes of a text.
type vector struct {
	Name       string
	Text       string
	IDs        []int32
	Special    []int32  `json:"ids_special"`
	Offsets    [][2]int // of Special, in bytes; not in all files
	DecodeSkip string   `json:"decode_skip"` // of Special, special tokens left out
	Decode     string
}

// readGz returns the content of a file, unpacked if it ends in .gz.
func readGz(tb testing.TB, path string) []byte {
	tb.Helper()
	f, err := os.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	r := io.Reader(f)
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			tb.Fatal(err)
		}
	}
	b, err := io.ReadAll(r)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// unmarshalFile reads JSON, packed or not.
func unmarshalFile[T any](tb testing.TB, path string) (v T) {
	tb.Helper()
	if err := json.Unmarshal(readGz(tb, path), &v); err != nil {
		tb.Fatalf("%s: %v", path, err)
	}
	return v
}

// parseFile reads a packed tokenizer.json.
func parseFile(tb testing.TB, path string) *Tokenizer {
	tb.Helper()
	t, err := Parse(readGz(tb, path))
	if err != nil {
		tb.Fatalf("%s: %v", path, err)
	}
	return t
}

func loadDir(tb testing.TB, dir string) *Tokenizer {
	tb.Helper()
	t, err := Load(dir)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

// goldens are the tokenizers in testdata with vectors.
var goldens = []string{"phi-2", "mistral-7b-v0.1"}

// checkVectors compares every field of every vector and returns how many agree.
func checkVectors(t *testing.T, tk *Tokenizer, vectors []vector) (right int) {
	t.Helper()
	for _, v := range vectors {
		ok := true
		differ := func(what string, got, want any) {
			if ok = false; len(vectors)-right < 5 || testing.Verbose() {
				t.Errorf("%s: %s of %.60q:\n got %.200v\nwant %.200v", v.Name, what, v.Text, got, want)
			} else {
				t.Fail()
			}
		}
		if got := tk.Encode(v.Text, false); !slices.Equal(got, v.IDs) {
			differ("Encode", got, v.IDs)
		}
		if got := tk.Encode(v.Text, true); !slices.Equal(got, v.Special) {
			differ("Encode with special tokens", got, v.Special)
		}
		tokens, at := tk.EncodeTokens(v.Text, true), [][2]int{}
		if !slices.EqualFunc(tokens, v.Special, func(t Token, id int32) bool { return t.ID == id }) {
			differ("EncodeTokens", tokens, v.Special)
		}
		for _, t := range tokens {
			at = append(at, [2]int{t.Start, t.End})
		}
		if v.Offsets != nil && !slices.Equal(at, v.Offsets) {
			differ("offsets", at, v.Offsets)
		}
		if got := tk.Decode(v.Special, true); got != v.DecodeSkip {
			differ("Decode without special tokens", got, v.DecodeSkip)
		}
		if got := tk.Decode(v.Special, false); got != v.Decode {
			differ("Decode", got, v.Decode)
		}
		if ok {
			right++
		}
	}
	return right
}

func TestGolden(t *testing.T) {
	for _, name := range goldens {
		t.Run(name, func(t *testing.T) {
			tk := parseFile(t, "testdata/"+name+".tokenizer.json.gz")
			vectors := unmarshalFile[[]vector](t, "testdata/"+name+".vectors.json.gz")
			checkVectors(t, tk, vectors)
			checkStreams(t, tk, vectors)
		})
	}
}

// TestTokenizersDir runs the vectors DIR/golden/NAME.json.gz over the tokenizers
// DIR/NAME/tokenizer.json.gz, for data whose licence keeps it out of testdata.
func TestTokenizersDir(t *testing.T) {
	dir := os.Getenv("LITGPT_TOKENIZERS")
	if dir == "" {
		t.Skip("LITGPT_TOKENIZERS names no directory of tokenizers with golden vectors")
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*", "tokenizer.json.gz"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: no */tokenizer.json.gz (%v)", dir, err)
	}
	for _, path := range paths {
		name := filepath.Base(filepath.Dir(path))
		t.Run(name, func(t *testing.T) {
			golden := filepath.Join(dir, "golden", name+".json.gz")
			if _, err := os.Stat(golden); err != nil {
				t.Skip("no golden vectors")
			}
			tk := parseFile(t, path)
			vectors := unmarshalFile[[]vector](t, golden)
			right := checkVectors(t, tk, vectors)
			t.Logf("%d of %d exact (%.2f %%)", right, len(vectors), 100*float64(right)/float64(len(vectors)))
			checkStreams(t, tk, vectors)
		})
	}
}

func TestSmolLM2(t *testing.T) {
	dir := os.Getenv("LITGPT_SMOLLM2")
	if dir == "" {
		t.Skip("LITGPT_SMOLLM2 names no checkpoint of SmolLM2-135M-Instruct")
	}
	tk := loadDir(t, dir)
	vectors := unmarshalFile[[]vector](t, "testdata/smollm2.vectors.json.gz")
	right := checkVectors(t, tk, vectors)
	t.Logf("%d of %d exact", right, len(vectors))
	checkStreams(t, tk, vectors)

	// What transformers rendered and encoded before it generated.
	want := unmarshalFile[struct {
		Chat []struct {
			Prompt, Text string
			IDs          []int32
		}
		Text struct {
			Text string
			IDs  []int32
		}
	}](t, "testdata/smollm2.chat.json")
	for _, c := range want.Chat {
		text, err := tk.RenderChat([]Message{{Role: "user", Content: c.Prompt}}, true)
		if err != nil || text != c.Text {
			t.Errorf("RenderChat(%q)\n got %q, %v\nwant %q", c.Prompt, text, err, c.Text)
		}
		if got := tk.Encode(c.Text, false); !slices.Equal(got, c.IDs) {
			t.Errorf("Encode(%q)\n got %v\nwant %v", c.Text, got, c.IDs)
		}
		if got := tk.Decode(c.IDs, false); got != c.Text {
			t.Errorf("Decode: got %q, want %q", got, c.Text)
		}
	}
	n := len(want.Text.IDs)
	if got := tk.Encode(want.Text.Text, false); len(got) < n || !slices.Equal(got[:n], want.Text.IDs) {
		t.Errorf("Encode(%q)\n got %v\nwant %v", want.Text.Text, got, want.Text.IDs)
	}
	// Every byte, also those the vocabulary lacks: none makes an id it has not.
	for b := range 256 {
		for _, id := range tk.Encode("a"+string([]byte{byte(b)})+"b", true) {
			if _, ok := tk.Token(id); !ok {
				t.Errorf("byte %#x: id %d is no token", b, id)
			}
		}
	}
	if len(tk.EOS()) == 0 {
		t.Error("no EOS")
	}
}

// TestMissingBytes: a vocabulary without the token of a byte drops that byte, or
// puts the unknown token in its place.
func TestMissingBytes(t *testing.T) {
	const file = `{"model":{"type":"BPE","unk_token":%,"vocab":{"a":0,"b":1,"ab":2,"?":3},"merges":["a b"]},
		"pre_tokenizer":{"type":"ByteLevel"},"decoder":{"type":"ByteLevel"}}`
	for _, c := range []struct {
		unknown string
		want    []int32
	}{
		{"null", []int32{2, 0}},
		{`"?"`, []int32{2, 3, 3, 0}},
	} {
		tk, err := Parse([]byte(strings.Replace(file, "%", c.unknown, 1)))
		if err != nil {
			t.Fatal(err)
		}
		if got := tk.Encode("ab\xe9\n"+"a", false); !slices.Equal(got, c.want) {
			t.Errorf("unk_token %s: got %v, want %v", c.unknown, got, c.want)
		}
	}
}

func TestFixtureTokenizer(t *testing.T) {
	tk := loadDir(t, "testdata/fixture")
	vectors := unmarshalFile[[]vector](t, "testdata/fixture/vectors.json.gz")
	checkVectors(t, tk, vectors)
	checkStreams(t, tk, vectors)
	if got := tk.VocabSize(); got != 512 {
		t.Errorf("VocabSize: got %d, want 512", got)
	}
	if id, ok := tk.BOS(); id != 1 || !ok {
		t.Errorf("BOS: got %d, %v, want 1, true", id, ok)
	}
	if got := tk.EOS(); !slices.Equal(got, []int32{2}) {
		t.Errorf("EOS: got %v, want [2]", got)
	}
	if got, ok := tk.ID("<|im_end|>"); got != 4 || !ok {
		t.Errorf("ID: got %d, %v", got, ok)
	}
	if got, want := tk.Hash(), 64; len(got) != want {
		t.Errorf("Hash: %q has %d digits, want %d", got, len(got), want)
	}
	for id := int32(0); id < 512; id++ {
		token, ok := tk.Token(id)
		if back, ok2 := tk.ID(token); !ok || !ok2 || back != id {
			t.Errorf("token %d: %q, %v, and back %d, %v", id, token, ok, back, ok2)
		}
	}
	if got := tk.Decode([]int32{-1, 1 << 30, 512, -1 << 31}, false); got != "" {
		t.Errorf("ids out of range: got %q, want nothing", got)
	}
	if _, ok := tk.Token(512); ok {
		t.Error("Token(512) of a vocabulary of 512")
	}
}

// TestSplitDigits is the pipeline of SmolLM2's published tokenizer.json: each digit
// alone, then GPT-2's expression.
func TestSplitDigits(t *testing.T) {
	const file = `{"model":{"type":"BPE","vocab":{"1":0,"2":1,"12":2,"a":3,"Ġ":4,"Ġa":5,"Ġ1":6},"merges":["1 2","Ġ a","Ġ 1"]},
		"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},
			{"type":"ByteLevel","add_prefix_space":false,"use_regex":true}]},"decoder":{"type":"ByteLevel"}}`
	tk, err := Parse([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	// The space before a digit stays alone: the split comes first.
	if got, want := tk.Encode("a 12 a", false), []int32{3, 4, 0, 1, 5}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestLoadErrors(t *testing.T) {
	const model = `{"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}`
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"no file", nil, "tokenizer.json: no such file"},
		{"only a model file", map[string]string{"tokenizer.model": "x"}, "tokenizer.model: is no tokenizer.json, no tiktoken file"},
		{"not JSON", map[string]string{"tokenizer.json": "hello"}, "tokenizer.json: malformed JSON at byte 0"},
		{"unigram", map[string]string{"tokenizer.json": `{"model":{"type":"Unigram","vocab":[],"unk_id":3}}`}, `outside the vocabulary`},
		{"no model", map[string]string{"tokenizer.json": `{}`}, "no model"},
		{"cut off", map[string]string{"tokenizer.json": model[:40]}, "malformed JSON"},
		{"huge id", map[string]string{"tokenizer.json": `{"model":{"type":"BPE","vocab":{"a":2000000000},"merges":[]}}`}, "id 2000000000"},
		{"merge", map[string]string{"tokenizer.json": `{"model":{"type":"BPE","vocab":{"a":0},"merges":["a b"]}}`}, "merge 0"},
		{"regexp", map[string]string{"tokenizer.json": `{"pre_tokenizer":{"type":"Split","behavior":"Isolated","pattern":{"Regex":"("}},` + model[1:]}, "regular expression"},
		{"normalizer", map[string]string{"tokenizer.json": `{"normalizer":{"type":"Nonesuch"},` + model[1:]}, `normalizer "Nonesuch" is not supported`},
		{"growth", map[string]string{"tokenizer.json": `{"normalizer":{"type":"Replace","pattern":{"String":"a"},"content":"` + strings.Repeat("a", 2000) + `"},` + model[1:]}, "2000 times longer"},
		{"config", map[string]string{"tokenizer.json": model, "tokenizer_config.json": "{"}, "tokenizer_config.json"},
		{"eos", map[string]string{"tokenizer.json": model, "config.json": `{"eos_token_id":"x"}`}, "config.json: token id x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			writeFiles(t, dir, c.files)
			_, err := Load(dir)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one line with %q", err, c.want)
			}
		})
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing directory: got %v", err)
	}
}

func writeFiles(tb testing.TB, dir string, files map[string]string) {
	tb.Helper()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			tb.Fatal(err)
		}
	}
}

func TestSpecialTokens(t *testing.T) {
	const model = `{"model":{"type":"BPE","vocab":{"a":0,"<s>":1,"</s>":2,"<end>":3},"merges":[]}}`
	for _, c := range []struct {
		name  string
		files map[string]string
		bos   int32 // -1: none
		eos   []int32
		chat  string
	}{
		{"nothing", nil, -1, nil, ""},
		{"strings", map[string]string{"tokenizer_config.json": `{"bos_token":"<s>","eos_token":"</s>","chat_template":"x"}`}, 1, []int32{2}, "x"},
		{"objects", map[string]string{"tokenizer_config.json": `{"bos_token":{"content":"<s>"},"eos_token":{"content":"</s>"}}`}, 1, []int32{2}, ""},
		{"map", map[string]string{"special_tokens_map.json": `{"bos_token":"<s>","eos_token":"</s>"}`}, 1, []int32{2}, ""},
		{"null goes before the map", map[string]string{"special_tokens_map.json": `{"bos_token":"<s>"}`, "tokenizer_config.json": `{"bos_token":null}`}, -1, nil, ""},
		{"generation config", map[string]string{"generation_config.json": `{"bos_token_id":1,"eos_token_id":[3,2]}`}, 1, []int32{3, 2}, ""},
		{"tokenizer's eos first, each once", map[string]string{"tokenizer_config.json": `{"eos_token":"</s>"}`, "generation_config.json": `{"eos_token_id":[3,2]}`, "config.json": `{"bos_token_id":1,"eos_token_id":0}`}, -1, []int32{2, 3, 0}, ""},
		{"text config", map[string]string{"config.json": `{"text_config":{"eos_token_id":3}}`}, -1, []int32{3}, ""},
		{"nulls", map[string]string{"config.json": `{"bos_token_id":null,"eos_token_id":-1}`}, -1, nil, ""},
		{"repaired", map[string]string{"generation_config.json": "{\"bos_token_id\": 1\n \"eos_token_id\": [3,],\n}"}, 1, []int32{3}, ""},
		{"named templates", map[string]string{"tokenizer_config.json": `{"chat_template":[{"name":"tool_use","template":"t"},{"name":"default","template":"d"}]}`}, -1, nil, "d"},
		{"template file", map[string]string{"tokenizer_config.json": `{"chat_template":"x"}`, "chat_template.jinja": "y"}, -1, nil, "y"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			writeFiles(t, dir, c.files)
			writeFiles(t, dir, map[string]string{"tokenizer.json": model})
			tk := loadDir(t, dir)
			bos, ok := tk.BOS()
			if !ok {
				bos = -1
			}
			if bos != c.bos || !slices.Equal(tk.EOS(), c.eos) || tk.ChatTemplate() != c.chat {
				t.Errorf("got BOS %d, EOS %v, template %q; want %d, %v, %q", bos, tk.EOS(), tk.ChatTemplate(), c.bos, c.eos, c.chat)
			}
		})
	}
}

func TestConcurrentEncode(t *testing.T) {
	tk := parseFile(t, "testdata/mistral-7b-v0.1.tokenizer.json.gz")
	vectors := unmarshalFile[[]vector](t, "testdata/mistral-7b-v0.1.vectors.json.gz")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for _, v := range vectors[:200] {
				if got := tk.Encode(v.Text, false); !slices.Equal(got, v.IDs) {
					t.Errorf("%s: got %v, want %v", v.Name, got, v.IDs)
				}
			}
		})
	}
	wg.Wait()
}
