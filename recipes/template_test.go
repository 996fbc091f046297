package recipes

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTemplate: a line for each line, and what is wrong with the input.
func TestTemplate(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := write("t.jinja", "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if tools %}{{ tools | tojson }}{% endif %}{{ strftime_now('%Y') }}\n")
	checkpoint := filepath.Join(dir, "c")
	if err := os.Mkdir(checkpoint, 0o777); err != nil {
		t.Fatal(err)
	}
	write("c/tokenizer_config.json", `{"bos_token":{"content":"<s>"},"chat_template":[{"name":"default","template":"{{ bos_token }}D"},{"name":"rag","template":"R"}]}`)
	long := strings.Repeat(" ", maxTemplateLine)
	for _, c := range []struct {
		name, source, template, in string
		want                       []string
		err                        string
	}{
		{"texts", file, "", `{"messages":[{"role":"user","content":"<a> & é"}],"now":"2024-07-26"}` + "\n" + `{"messages":[],"tools":[{"b":1,"a":"<"}],"bos_token":"B","now":"2025-01-01T00:00:00Z"}`,
			[]string{`{"text":"<user><a> & é2024"}`, `{"text":"B[{\"b\": 1, \"a\": \"<\"}]2025"}`}, ""},
		{"errors are results", file, "", `{"messages":7,"now":"2024-07-26"}` + "\n" + `{"now":"2024-07-26"}` + "\n",
			[]string{`{"error":"chat template: line 1: TypeError: 'int' object is not iterable"}`, `{"text":"2024"}`}, ""},
		{"lines that are no JSON", file, "", "{\"messages\":[]\n\n[1]\r\n{\"now\":\"2024-07-26\"}\n" + long + "x\n{\"now\":\"2026-07-26\"}",
			[]string{`line 1: unexpected`, `line 2: `, `line 3: a JSON object`, `{"text":"2024"}`, `line 5: more than 64 MiB`, `{"text":"2026"}`}, "4 of 6 lines are no JSON objects of variables, the first is line 1"},
		{"nothing", file, "", "", nil, ""},
		{"special tokens of a checkpoint", checkpoint, "", "{}\n{\"bos_token\":\"x\"}\n{\"bos_token\":null}", []string{`{"text":"<s>D"}`, `{"text":"xD"}`, `{"text":"NoneD"}`}, ""},
		{"named", checkpoint, "rag", "{}", []string{`{"text":"R"}`}, ""},
		{"unknown name", checkpoint, "x", "{}", []string{`{"error":"chat template: there is none named \"x\"; choose one of default, rag"}`}, ""},
		{"broken template", write("b.jinja", "\n{% if %}"), "", "{}", []string{`{"error":"chat template: line 2: TemplateSyntaxError`}, ""},
		{"no such file", filepath.Join(dir, "none"), "", "{}", nil, "no such file"},
		{"no template", dir, "", "{}", nil, "no chat template"},
	} {
		for _, from := range []string{"-", write("in.jsonl", c.in)} {
			var out bytes.Buffer
			err := Template{Source: c.source, JSONL: from, Name: c.template}.Run(context.Background(), strings.NewReader(c.in), &out)
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: got %v, want %q", c.name, err, c.err)
			}
			got := strings.SplitAfter(out.String(), "\n")
			if got = got[:len(got)-1]; len(got) != len(c.want) {
				t.Errorf("%s: %d lines %.200q, want %d", c.name, len(got), got, len(c.want))
				continue
			}
			for i, want := range c.want {
				whole := strings.HasPrefix(want, "{") && strings.HasSuffix(want, "}")
				if whole && got[i] != want+"\n" || !strings.Contains(got[i], want) || !whole && !strings.HasPrefix(got[i], `{"error":`) {
					t.Errorf("%s: line %d: got %.200s, want %s", c.name, i+1, got[i], want)
				}
			}
		}
	}
	if err := (Template{Source: file}).Run(context.Background(), nil, nil); err == nil || !strings.Contains(err.Error(), "--jsonl is missing") {
		t.Errorf("without --jsonl: got %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := (Template{Source: file, JSONL: "-"}).Run(ctx, strings.NewReader("{}"), &bytes.Buffer{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}
