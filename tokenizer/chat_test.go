package tokenizer

import (
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/litgpt-go/litgpt/tokenizer/jinja"
)

// TestConversations renders conversations with tools, documents, parts, reasoning and
// final messages to continue as transformers does; LITGPT_CONVERSATIONS names another
// file of tools/reference/chat.py cases.
func TestConversations(t *testing.T) {
	path := "jinja/testdata/conversations.json.gz"
	if other := os.Getenv("LITGPT_CONVERSATIONS"); other != "" {
		path = other
	}
	var file struct {
		Cases []struct {
			Source, Template, Case, Now, Text, Error string
			Ctx                                      map[string]json.RawMessage
			OK                                       bool
			Spans                                    [][2]int // in characters
		}
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(unzipped).Decode(&file); err != nil {
		t.Fatal(err)
	}
	var templates *ChatTemplates
	right, continued, marked := 0, 0, 0
	for _, c := range file.Cases {
		if c.Source != "" { // once for the cases of a template
			templates = &ChatTemplates{sources: map[string]string{"default": c.Source}}
		}
		c.Ctx["now"], _ = json.Marshal(c.Now)
		var line strings.Builder
		line.WriteString("{")
		for _, k := range slices.Sorted(func(yield func(string) bool) {
			for k := range c.Ctx {
				if !yield(k) {
					return
				}
			}
		}) {
			if line.Len() > 1 {
				line.WriteString(",")
			}
			line.WriteString(`"` + k + `":` + string(c.Ctx[k]))
		}
		chat, err := ParseChat([]byte(line.String() + "}"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := templates.Render(chat)
		var spans [][2]int
		for _, s := range got.Assistant {
			spans = append(spans, [2]int{utf8.RuneCountInString(got.Text[:s.Start]), utf8.RuneCountInString(got.Text[:s.End])})
		}
		if (err == nil) != c.OK || err == nil && (got.Text != c.Text || !slices.Equal(spans, c.Spans)) {
			t.Errorf("%s, %s:\n got %.400q %v %v\nwant %.400q %v %s", c.Template, c.Case, got.Text, spans, err, c.Text, c.Spans, c.Error)
			continue
		}
		right++
		if chat.ContinueFinalMessage && c.OK {
			continued++
		}
		if len(spans) > 0 {
			marked++
		}
	}
	t.Logf("%d of %d; %d continue a message, %d have generation blocks", right, len(file.Cases), continued, marked)
	if path == "jinja/testdata/conversations.json.gz" && (continued < 50 || marked < 5) {
		t.Errorf("%d continue a message and %d have generation blocks; more wanted", continued, marked)
	}
}

func list(t *testing.T, text string) *jinja.List {
	t.Helper()
	v, err := jinja.ParseJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return v.(*jinja.List)
}

// TestNamedTemplates: which template is taken, from which file.
func TestNamedTemplates(t *testing.T) {
	const tokenizerJSON = `{"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}`
	config := `{"bos_token":"<s>","chat_template":[{"name":"default","template":"D{{ bos_token }}"},{"name":"tool_use","template":"T{{ tools | length }}"},{"name":"rag","template":"R{{ documents[0].text }}"}]}`
	tools := list(t, `[{"name":"f"}]`)
	for _, c := range []struct {
		name  string
		files map[string]string
		chat  Chat
		want  string // or part of the error
	}{
		{"default", map[string]string{"tokenizer_config.json": config}, Chat{}, "D<s>"},
		{"tools", map[string]string{"tokenizer_config.json": config}, Chat{Tools: tools}, "T1"},
		{"no tools in the list", map[string]string{"tokenizer_config.json": config}, Chat{Tools: &jinja.List{}}, "T0"},
		{"by name", map[string]string{"tokenizer_config.json": config}, Chat{Template: "rag", Documents: list(t, `[{"text":"x"}]`)}, "Rx"},
		{"unknown name", map[string]string{"tokenizer_config.json": config}, Chat{Template: "chat"}, `none named "chat"; choose one of default, rag, tool_use`},
		{"no default", map[string]string{"tokenizer_config.json": `{"chat_template":[{"name":"rag","template":"R"}]}`}, Chat{}, `none named "default"; choose one of rag`},
		{"files", map[string]string{"tokenizer_config.json": config, "chat_template.jinja": "J", "additional_chat_templates/tool_use.jinja": "A"}, Chat{}, "J"},
		{"files and tools", map[string]string{"tokenizer_config.json": config, "chat_template.jinja": "J", "additional_chat_templates/tool_use.jinja": "A"}, Chat{Tools: tools}, "A"},
		{"older file", map[string]string{"chat_template.json": `{"chat_template":"O"}`}, Chat{}, "O"},
		{"older file is not read", map[string]string{"tokenizer_config.json": `{"chat_template":"C"}`, "chat_template.json": `{"chat_template":"O"}`}, Chat{}, "C"},
		{"variable before special token", map[string]string{"tokenizer_config.json": config}, Chat{Vars: vars(t, `{"bos_token":"x"}`)}, "Dx"},
		{"none", nil, Chat{}, "no chat template"},
		{"tools that are none", map[string]string{"tokenizer_config.json": config}, Chat{Tools: list(t, `["f"]`)}, "tools[0] is no object"},
		{"two ends", map[string]string{"tokenizer_config.json": config}, Chat{AddGenerationPrompt: true, ContinueFinalMessage: true}, "cannot both be set"},
		{"nothing to continue", map[string]string{"tokenizer_config.json": config}, Chat{ContinueFinalMessage: true}, "no message to continue"},
		{"clock", map[string]string{"chat_template.jinja": "{{ strftime_now('%d %b %Y %Z') }}"}, Chat{Now: time.Date(2024, 7, 26, 0, 0, 0, 0, time.UTC)}, "26 Jul 2024 UTC"},
		{"fields", map[string]string{"chat_template.jinja": "{% for m in messages %}{{ m | tojson }}{% endfor %}"},
			Chat{Messages: []Message{{Role: "user", Content: "q"}, {Role: "assistant", Fields: vars(t, `{"tool_calls":[{"z":1,"a":2}],"content":null}`)}}},
			`{"role": "user", "content": "q"}{"role": "assistant", "content": null, "tool_calls": [{"z": 1, "a": 2}]}`},
	} {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "additional_chat_templates"), 0o777); err != nil {
			t.Fatal(err)
		}
		writeFiles(t, dir, c.files)
		writeFiles(t, dir, map[string]string{"tokenizer.json": tokenizerJSON})
		tok, err := Load(dir)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		got, err := tok.Render(c.chat)
		if got.Text != c.want && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %q, %v, want %q", c.name, got.Text, err, c.want)
		}
		if templates, err := LoadChatTemplates(dir); err == nil { // without the tokenizer
			again, err := templates.Render(c.chat)
			if again.Text != got.Text || (err == nil) != (got.Text != "") {
				t.Errorf("%s: ChatTemplates: got %q, %v, want %q", c.name, again.Text, err, got.Text)
			}
		} else if c.files != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func vars(t *testing.T, text string) *jinja.Dict {
	t.Helper()
	v, err := jinja.ParseJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return v.(*jinja.Dict)
}

// TestAssistantMask: tokens of what generation blocks wrote, and no others.
func TestAssistantMask(t *testing.T) {
	const file = `{"model":{"type":"BPE","vocab":{"a":0,"b":1,"c":2,"ab":3,"<":4,">":5,"Ã":6,"©":7},"merges":[["a","b"]]},"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false}}`
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"tokenizer.json": file,
		"chat_template.jinja": "{% for m in messages %}{% if m.role == 'assistant' %}<{% generation %}{{ m.content }}>{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}"})
	tok := loadDir(t, dir)
	r, err := tok.Render(Chat{Messages: []Message{{Role: "user", Content: "ab"}, {Role: "assistant", Content: "abé"}, {Role: "user", Content: "c"}, {Role: "assistant", Content: ""}}})
	if want := "ab<abé>c<>"; err != nil || r.Text != want {
		t.Fatalf("got %q, %v, want %q", r.Text, err, want)
	}
	ids, mask, err := tok.AssistantMask(r)
	if want := []int32{3, 4, 3, 6, 7, 5, 2, 4, 5}; err != nil || !slices.Equal(ids, want) {
		t.Errorf("ids %v, %v, want %v", ids, err, want)
	}
	if want := []bool{false, false, true, true, true, true, false, false, true}; !slices.Equal(mask, want) {
		t.Errorf("mask %v, want %v", mask, want)
	}
	for source, want := range map[string]string{
		"{{ messages[0].content }}": "no {% generation %} block",
		"{% macro m() %}{% generation %}a{% endgeneration %}{% endmacro %}b{{ m() }}": "stand in a macro",
	} {
		templates := &ChatTemplates{sources: map[string]string{"default": source}}
		r, err := templates.Render(Chat{Messages: []Message{{Role: "user", Content: "a"}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := tok.AssistantMask(r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", source, err, want)
		}
	}
}

func TestParseChat(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{`{"messages":[],"x":1,"now":"2024-07-26 10:30:00+02:00"}`, "26 10:30 UTC+02:00 none none False"},
		{`{"messages":[],"x":1,"now":"2024-07-26","tools":null,"add_generation_prompt":true}`, "26 00:00  none none True"},
		{`{"messages":[],"x":1,"now":"2024-07-26T10:30:05Z","documents":[]}`, "26 10:30 UTC none [] False"},
		{`{"now":"26. Juli"}`, "no ISO time"},
		{`{"now":5}`, "ISO time in quotes"},
		{`[1]`, "a JSON object"},
		{`{"a":1} x`, "text after the JSON value"},
		{`{"continue_final_message":1}`, "continue_final_message"},
	} {
		templates := &ChatTemplates{sources: map[string]string{"default": "{{ strftime_now('%d %H:%M %Z') }} {{ tools | default('none', true) }} {{ 'none' if documents is none else documents }} {{ add_generation_prompt }}"}}
		chat, err := ParseChat([]byte(c.line))
		var got Rendering
		if err == nil {
			got, err = templates.Render(chat)
		}
		if got.Text != c.want && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %q, %v, want %q", c.line, got.Text, err, c.want)
		}
	}
}
