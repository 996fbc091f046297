package toolcall

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litgpt-go/litgpt/tokenizer"
)

var update = flag.Bool("update", false, "write testdata/conversations.txt")

const templates = "../../tokenizer/jinja/testdata/"

// formats are templates with the tokens that vocabularies of their families have, and what must be found.
var formats = []struct {
	file   string
	tokens []string
	want   string
}{
	{templates + "cfg_qwen3.jinja", []string{"<tool_call>", "</tool_call>"}, "hermes: tools calls parallel content tool system"},
	{templates + "cz_qwen2.5-instruct.jinja", []string{"<tool_call>", "</tool_call>"}, "hermes: tools calls parallel content tool system"},
	{templates + "cfg_smollm3_jinja.jinja", []string{"<tool_call>", "</tool_call>", pythonTag}, "hermes: tools tool system"},
	{templates + "cfg_mistral_nemo.jinja", []string{toolCalls}, "mistral: tools calls parallel tool system"},
	{templates + "mc_v2.jinja", []string{toolCalls}, "mistral: tools calls text parallel tool system"},
	{templates + "mc_v3_spm.jinja", []string{toolCalls}, "mistral: tools calls text parallel tool system"},
	{templates + "mc_v7.jinja", []string{toolCalls}, "mistral: tools calls text parallel content tool system"},
	{templates + "mc_v13.jinja", []string{toolCalls, argsMark}, "mistral-args: tools calls parallel content tool system"},
	{templates + "mc_v15_think.jinja", []string{toolCalls, argsMark}, "mistral-args: tools calls parallel content tool system"},
	{templates + "cfg_phi-4-mini.jinja", []string{"<|tool_call|>", "<|/tool_call|>", "<|tool_response|>"}, "phi: key tool_response system"},
	{templates + "cfg_phi-4.jinja", nil, "generic: system"},
	{templates + "lcpp_microsoft-Phi-3.5-mini-instruct.jinja", nil, "generic: system"},
	{templates + "cz_granite-3.0-instruct.jinja", []string{"<|tool_call|>"}, "granite: tools tool_response system"},
	{templates + "cz_zephyr.jinja", nil, "generic: system"},
	{templates + "cz_chatml.jinja", nil, "generic: system"},
	{templates + "mc_v1_spm.jinja", nil, "generic: system"},
	{templates + "cfg_phi-3-medium.jinja", nil, "generic:"},
	{"testdata/llama-like.jinja", []string{pythonTag}, "llama: tools calls apart tool system"},
	{"testdata/gemma-like.jinja", nil, "gemma:"},
}

// load gives a template with the special tokens that it wants.
func load(t *testing.T, file string) *tokenizer.ChatTemplates {
	t.Helper()
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(map[string]string{"chat_template": string(source), "bos_token": "<s>", "eos_token": "</s>"})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tokenizer_config.json"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := tokenizer.LoadChatTemplates(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func has(tokens []string) func(string) bool {
	return func(token string) bool { return slices.Contains(tokens, token) }
}

// found is what New found, in words.
func (f *Format) found() string {
	s := f.Name() + ":"
	for _, c := range []struct {
		is   bool
		word string
	}{
		{f.tools, "tools"}, {f.key, "key"}, {f.calls, "calls"}, {f.text, "text"}, {f.calls && f.parallel, "parallel"}, {f.calls && f.content, "content"},
		{f.apart, "apart"}, {f.resultRole != "", f.resultRole}, {f.system, "system"},
	} {
		if c.is {
			s += " " + c.word
		}
	}
	return s
}

// conversation is one with everything: text beside calls, two calls at once, ids that are not of the family, a second question.
var conversation = []Message{
	{Role: "developer", Content: "Be brief."},
	{Role: "user", Content: "How warm is it in Köln and Paris?"},
	{Role: "assistant", Content: "I look it up.", Calls: []Call{
		{ID: "call_AbCdEfGhIjKlMnOpQrStUvWx", Name: "get_weather", Arguments: `{"city": "Köln", "days": [1, 2]}`},
		{ID: "call_2", Name: "get_weather", Arguments: `{"city": "Paris \"F\"", "days": []}`},
	}},
	{Role: "tool", CallID: "call_AbCdEfGhIjKlMnOpQrStUvWx", Content: `{"degrees": 21}`},
	{Role: "tool", CallID: "call_2", Content: "23 degrees"},
	{Role: "assistant", Content: "21 and 23 degrees."},
	{Role: "user", Content: "And now?"},
}

// Each template's format is found, and its text of the whole conversation is the one in the golden file, which was read.
func TestFormats(t *testing.T) {
	tools := testTools(t)[:2]
	var out strings.Builder
	for _, c := range formats {
		r := load(t, c.file)
		f := New(r, has(c.tokens))
		if got := f.found(); got != c.want {
			t.Errorf("%s: found %q, want %q", c.file, got, c.want)
		}
		chat, err := f.Chat(conversation, tools)
		if err != nil {
			t.Fatalf("%s: %v", c.file, err)
		}
		chat.AddGenerationPrompt, chat.Now = true, time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
		made, err := r.Render(chat)
		if err != nil {
			t.Errorf("%s: %v", c.file, err)
			continue
		}
		fmt.Fprintf(&out, "-- %s: %s\n%s\n", filepath.Base(c.file), c.want, made.Text)
		// Nothing of the conversation is missing, and all is in order.
		rest := made.Text
		words := []string{"How warm is it", "get_weather", "Köln", "get_weather", "Paris", "degrees", "23 degrees", "21 and 23 degrees.", "And now?"}
		if f.Name() == "llama" { // calls and results one by one
			words = []string{"How warm is it", "I look it up", "get_weather", "Köln", "degrees", "get_weather", "Paris", "23 degrees", "21 and 23 degrees.", "And now?"}
		}
		if strings.HasSuffix(c.file, "mc_v2.jinja") { // which forgets the calls of earlier questions
			words = []string{"How warm is it", "21 and 23 degrees.", "And now?"}
		}
		for _, word := range words {
			_, after, ok := strings.Cut(rest, word)
			if !ok {
				t.Errorf("%s: %q is missing, or in the wrong place:\n%s", c.file, word, made.Text)
				break
			}
			rest = after
		}
		for _, word := range []string{`"add"`, "Be brief."} {
			if !strings.Contains(made.Text, word) && !strings.Contains(made.Text, strings.ReplaceAll(word, `"`, "'")) { // Python's repr in SmolLM3's template
				t.Errorf("%s: %q is missing:\n%s", c.file, word, made.Text)
			}
		}
	}
	const golden = "testdata/conversations.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(out.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("the conversations differ from %s; run go test -update and read the diff", golden)
	}
}

// What a template writes for calls, the parser reads: the rest of a rendering behind the generation prompt is what the model
// would have written.
func TestTemplatesAreRead(t *testing.T) {
	tools := testTools(t)[:2]
	for _, c := range formats {
		r := load(t, c.file)
		f := New(r, has(c.tokens))
		render := func(messages []Message, prompt bool) string {
			chat, err := f.Chat(messages, tools)
			if err != nil {
				t.Fatal(err)
			}
			chat.AddGenerationPrompt = prompt
			made, err := r.Render(chat)
			if err != nil {
				t.Fatalf("%s: %v", c.file, err)
			}
			return made.Text
		}
		said := conversation[2]
		if !f.parallel && f.calls {
			said.Calls = said.Calls[:1]
		}
		said.Content = ""
		before := render(conversation[1:2], true)
		after := render([]Message{conversation[1], said}, false)
		answer, ok := strings.CutPrefix(after, strings.TrimRight(before, "\n"))
		if !ok {
			t.Errorf("%s: %q does not begin with %q", c.file, after, before)
			continue
		}
		answer = strings.TrimPrefix(answer, "\n<think>\n\n</think>\n\n")
		for range 2 {
			answer = strings.TrimRight(answer, "\n")
			for _, end := range []string{"</s>", "<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "<|end_of_text|>"} {
				answer = strings.TrimSuffix(answer, end)
			}
		}
		answer, _, _ = strings.Cut(answer, "<|end|>") // of Phi: nothing follows but its eos token
		for i := range len(answer) {
			got := parse(t, f.syntax, tools, []string{answer[:i], answer[i:]})
			same := len(got.calls) == len(said.Calls) && got.text == ""
			for i := range got.calls {
				same = same && got.calls[i].Name == said.Calls[i].Name && got.calls[i].Arguments == said.Calls[i].Arguments
			}
			if !same {
				t.Fatalf("%s: of %q the parser reads %v", c.file, answer, got)
			}
		}
	}
}

// LITGPT_TOKENIZERS names a directory of checkpoints' tokenizers, to try real ones that are not kept here.
func TestRealFormats(t *testing.T) {
	root := os.Getenv("LITGPT_TOKENIZERS")
	if root == "" {
		t.Skip("LITGPT_TOKENIZERS is not set")
	}
	for dir, want := range map[string]string{
		"llama3_2": "llama: tools calls apart tool system", "gemma": "gemma:", "mistral_nemo": "mistral: tools calls parallel tool system",
		"qwen3": "hermes: tools calls parallel content tool system", "qwen2.5-v5": "hermes: tools system", "smollm3": "hermes: tools tool system",
	} {
		c, err := tokenizer.LoadChatTemplates(filepath.Join(root, dir))
		if err != nil {
			t.Fatal(err)
		}
		config, err := os.ReadFile(filepath.Join(root, dir, "tokenizer_config.json"))
		if err != nil {
			t.Fatal(err)
		}
		f := New(c, func(token string) bool { return strings.Contains(string(config), `"content": "`+token+`"`) })
		if got := f.found(); got != want {
			t.Errorf("%s: found %q, want %q", dir, got, want)
		}
		chat, err := f.Chat(conversation, testTools(t))
		if err != nil {
			t.Fatal(err)
		}
		if made, err := c.Render(chat); err != nil || !strings.Contains(made.Text, "Paris") || !strings.Contains(made.Text, "23 degrees") {
			t.Errorf("%s: %v\n%s", dir, err, made.Text)
		}
	}
}

func TestChatEdges(t *testing.T) {
	tools := testTools(t)
	gemma := New(load(t, "testdata/gemma-like.jinja"), has(nil))
	if _, err := gemma.Chat([]Message{{Role: "user", Content: "a"}, {Role: "tool", Content: "b"}}, tools); err == nil || !strings.Contains(err.Error(), "messages[1]") {
		t.Errorf("a result without an id: got %v", err)
	}
	// arguments that are no JSON, as a model may write them, do not end a conversation
	for _, c := range formats {
		r := load(t, c.file)
		f := New(r, has(c.tokens))
		chat, err := f.Chat([]Message{{Role: "user", Content: "a"}, {Role: "assistant", Calls: []Call{{ID: "x", Name: "add", Arguments: `{"a": `}}}, {Role: "tool", CallID: "x", Content: "no"}}, tools)
		if err != nil {
			t.Fatal(err)
		}
		if made, err := r.Render(chat); err != nil || !strings.Contains(made.Text, "add") {
			t.Errorf("%s: %v\n%s", c.file, err, made.Text)
		}
	}
	// the messages of the caller stay as they are
	messages := []Message{{Role: "user", Content: "a"}, {Role: "assistant", Calls: []Call{{ID: "call_1", Name: "add"}}}}
	mistral := New(load(t, templates+"mc_v7.jinja"), has([]string{toolCalls}))
	if _, err := mistral.Chat(messages, tools); err != nil || messages[1].Calls[0].ID != "call_1" || messages[1].Calls[0].Arguments != "" {
		t.Errorf("got %v, %+v", err, messages)
	}
	if a, b := mistral.id("call_1"), mistral.id("call_2"); a == b || !shortID.MatchString(a) || mistral.id("abcDEF123") != "abcDEF123" {
		t.Errorf("ids %q and %q", a, b)
	}
	// tools are told of although there is no message at all
	if chat, err := gemma.Chat(nil, tools); err != nil || len(chat.Turns.Items) != 1 {
		t.Errorf("got %v, %v", chat.Turns, err)
	}
}

func TestParseTools(t *testing.T) {
	for _, c := range []struct{ json, want string }{
		{`[]`, ""},
		{`[{"type": "function", "function": {"name": "f"}}]`, ""},
		{`[{"type": "function", "function": {"name": "f", "parameters": null, "strict": true}}]`, ""},
		{`{}`, "tools: a list of tools wanted"},
		{`[`, "tools: "},
		{`[1]`, "tools[0]: an object like"},
		{`[{"type": "web_search"}]`, `tools[0]: type is "web_search"`},
		{`[{"type": "function"}]`, "tools[0]: function is missing"},
		{`[{"type": "function", "function": {"name": "a b"}}]`, `tools[0]: function.name is "a b"`},
		{`[{"type": "function", "function": {"name": "f", "parameters": []}}]`, "tools[0]: function.parameters: a JSON schema"},
		{`[{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "f"}}]`, `tools[1]: there is another one of the name "f"`},
		{"[" + strings.Repeat(`{"type": "function", "function": {"name": "f"}},`, 128) + `{}]`, "tools: 129 are too many"},
	} {
		tools, err := ParseTools([]byte(c.json))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.json, err, c.want)
		}
		for _, tool := range tools {
			if f, _ := tool.value.Get("function"); f == nil || !json.Valid(tool.Parameters) || !strings.Contains(tool.JSON(), `"parameters":{"type"`) {
				t.Errorf("%s: got %+v", c.json, tool)
			}
		}
	}
}

func TestConstrain(t *testing.T) {
	tools := testTools(t)[:2]
	ids := func(token string) (int32, bool) {
		id, ok := map[string]int32{toolCalls: 9, argsMark: 32}[token]
		return id, ok
	}
	for _, c := range []struct {
		syntax *syntax
		choice Choice
		want   string
	}{
		{&hermes, Choice{Parallel: true}, `root ::= "<tool_call>\n" call ("\n</tool_call>\n<tool_call>\n" call)* "\n</tool_call>"
call ::= call-0 | call-1
call-0 ::= "{\"name\": \"get_weather\", \"arguments\": " arguments-0 "}"
call-1 ::= "{\"name\": \"add\", \"arguments\": " arguments-1 "}"
`},
		{&mistral, Choice{Name: "add"}, `root ::= <[9]> "[" call "]"
call ::= call-0
call-0 ::= "{\"name\": \"add\", \"arguments\": " arguments-0 (", \"id\": \"" [a-zA-Z0-9]{9} "\"")? "}"
`},
		{&mistralNamed, Choice{Auto: true, Parallel: true}, `root ::= call (<[9]> call)*
call ::= call-0 | call-1
call-0 ::= "get_weather" <[32]> arguments-0
call-1 ::= "add" <[32]> arguments-1
`},
		{&phi, Choice{Auto: true}, `root ::= [ \n]? "[" call "]" "<|/tool_call|>"
call ::= call-0 | call-1
call-0 ::= "{\"name\": \"get_weather\", \"arguments\": " arguments-0 "}"
call-1 ::= "{\"name\": \"add\", \"arguments\": " arguments-1 "}"
`},
	} {
		got, err := (&Format{syntax: c.syntax}).Constrain(tools, c.choice, ids)
		got.Grammar = strings.ReplaceAll(got.Grammar, `"<tool_call>" "\n"`, `"<tool_call>\n"`)
		got.Grammar = strings.ReplaceAll(got.Grammar, `"\n" "</tool_call>" "\n" "<tool_call>\n"`, `"\n</tool_call>\n<tool_call>\n"`)
		got.Grammar = strings.ReplaceAll(got.Grammar, `"\n" "</tool_call>"`, `"\n</tool_call>"`)
		if err != nil || got.Grammar != c.want {
			t.Errorf("%s %+v: %v\ngot  %s\nwant %s", c.syntax.name, c.choice, err, got.Grammar, c.want)
		}
		if c.choice.Auto != (len(got.Triggers) > 0) || len(got.Schemas) == 0 {
			t.Errorf("%s: triggers %q, schemas %q", c.syntax.name, got.Triggers, got.Schemas)
		}
	}
	f := &Format{syntax: &llama}
	if _, err := f.Constrain(tools, Choice{Auto: true}, nil); !errors.Is(err, ErrNotConstrained) {
		t.Errorf("a format without a mark: got %v", err)
	}
	if _, err := f.Constrain(tools, Choice{Name: "nobody"}, nil); err == nil || !strings.Contains(err.Error(), `no tool "nobody"`) {
		t.Errorf("an unknown tool: got %v", err)
	}
	if _, err := f.Constrain(nil, Choice{}, nil); err == nil {
		t.Error("no tools: no error")
	}
	for schema, want := range map[string]string{
		`{}`: `{"type": "object"}`, ` {"properties": {}}`: `{"type": "object", "properties": {}}`, `{"type": "object"}`: `{"type": "object"}`, `{"$ref": "#"}`: `{"$ref": "#"}`,
	} {
		if got, err := objectSchema([]byte(schema)); err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", schema, got, err, want)
		}
	}
}
