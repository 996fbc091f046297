package toolcall

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// tools of the tests.
func testTools(t testing.TB) []Tool {
	t.Helper()
	var list []string
	for _, name := range []string{"get_weather", "add", "now", "python"} {
		list = append(list, fmt.Sprintf(`{"type": "function", "function": {"name": %q, "description": "d", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}`, name))
	}
	tools, err := ParseTools([]byte("[" + strings.Join(list, ",") + "]"))
	if err != nil {
		t.Fatal(err)
	}
	return tools
}

// answer puts the deltas together, and checks their order and shape.
type answer struct {
	text  string
	calls []Call
}

func (a *answer) add(t testing.TB, deltas []Delta) {
	t.Helper()
	for _, d := range deltas {
		switch {
		case !d.Call:
			if d.Text == "" || d.Arguments != "" || d.Name != "" {
				t.Errorf("a delta of text: %+v", d)
			}
			a.text += d.Text
		case d.Text != "":
			t.Errorf("a delta of a call with text: %+v", d)
		case d.Index == len(a.calls):
			if d.ID == "" || d.Name == "" {
				t.Errorf("the first delta of a call: %+v", d)
			}
			a.calls = append(a.calls, Call{ID: d.ID, Name: d.Name, Arguments: d.Arguments})
		case d.Index != len(a.calls)-1 || d.ID != "" || d.Name != "" || d.Arguments == "":
			t.Errorf("delta of call %d of %d: %+v", d.Index, len(a.calls), d)
		default:
			a.calls[d.Index].Arguments += d.Arguments
		}
	}
}

func (a *answer) String() string {
	s := fmt.Sprintf("%q", a.text)
	for _, c := range a.calls {
		s += fmt.Sprintf(" %s(%s)", c.Name, c.Arguments)
	}
	return s
}

func numbered() func() string {
	n := 0
	return func() string { n++; return fmt.Sprint("id", n) }
}

// parse reads an answer in pieces of the given ends.
func parse(t testing.TB, s *syntax, tools []Tool, pieces []string) *answer {
	t.Helper()
	p := (&Format{syntax: s}).Parser(tools)
	p.NewID = numbered()
	var a answer
	for _, piece := range pieces {
		a.add(t, p.Push(piece))
	}
	a.add(t, p.Flush())
	if p.Calls() != len(a.calls) {
		t.Errorf("%d calls are counted, want %d", p.Calls(), len(a.calls))
	}
	return &a
}

const weather = `{"city": "Köln \"}]\\", "n": [1, {"a": null}], "e": {}}`

// answers in each format, and what is in them; text as it must come.
var answers = []struct {
	syntax       *syntax
	answer, want string
}{
	{&hermes, "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": " + weather + "}\n</tool_call>", `"" get_weather(` + weather + `)`},
	{&hermes, "Let me see.\n\n<tool_call>{\"name\":\"add\",\"arguments\":{\"a\":1}}</tool_call>\n<tool_call>\n{\"arguments\": {\"x\": \"</tool_call>\"}, \"name\": \"now\"}\n</tool_call>\n",
		`"Let me see." add({"a":1}) now({"x": "</tool_call>"})`},
	{&hermes, "<tool_call>\n{\"name\": \"unknown_tool\", \"arguments\": {}}\n</tool_call> and more\n", `" and more\n" unknown_tool({})`},
	{&hermes, "<tool_call>\n{\"name\": \"now\"}\n</tool_call>", `"" now({})`},
	{&hermes, "<tool_call>\n{\"name\": \"now\", \"arguments\": null, \"id\": 7}\n</tool_call>", `"" now({})`},
	{&hermes, "<tool_call>\n{\"name\": \"add\", \"arguments\": \"{\\\"a\\\": \\\"\\u00e9\\ud83d\\ude00\\\\n\\\"}\"}\n</tool_call>", `"" add({"a": "é😀\n"})`},
	{&hermes, "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": \"two\nlines\"}}}\n</tool_call>", `"" add({"a": "two\u000alines"})`},
	{&hermes, "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1}}\n{\"name\": \"now\", \"arguments\": {}}", `"" add({"a": 1}) now({})`},
	{&hermes, `{"name": "add", "arguments": {"a": 1}}`, `"" add({"a": 1})`},
	{&hermes, `{"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}`, `"" add({"a": 1})`},
	{&hermes, "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": ", `"" add({"a": )`},
	{&hermes, "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1]}\n</tool_call>text", `"text" add({"a": 1]}` + "\n)"},
	{&hermes, "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1}}\n</tool_", `"" add({"a": 1})`},
	{&hermes, "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": ]<tool_call>{\"name\": \"now\"}", `"" add({"a": ]) now({})`},
	{&hermes, "<tool_call>{\"name\": \"add\", \"arguments\": 12}</tool_call>", `"" add(12)`},

	{&mistral, `[TOOL_CALLS][{"name": "get_weather", "arguments": ` + weather + `, "id": "abcdefgh1"}, {"name": "now", "arguments": {}}]`, `"" get_weather(` + weather + `) now({})`},
	{&mistral, `Sure. [TOOL_CALLS] [{"name": "add", "arguments": {"a": 1}}]`, `"Sure." add({"a": 1})`},
	{&mistral, `[TOOL_CALLS]{"name": "add", "arguments": {"a": 1}}`, `"" add({"a": 1})`},
	{&mistral, `[TOOL_CALLS]add[ARGS]{"a": 1}`, `"" add({"a": 1})`},
	{&mistralNamed, `[TOOL_CALLS]get_weather[ARGS]` + weather + `[TOOL_CALLS]now[ARGS]{}`, `"" get_weather(` + weather + `) now({})`},
	{&mistralNamed, `I look.[TOOL_CALLS]add[CALL_ID]abcdefgh1[ARGS]{"a": 1}`, `"I look." add({"a": 1})`},
	{&mistralNamed, `[TOOL_CALLS]add{"a": 1}`, `"" add({"a": 1})`},
	{&mistralNamed, `[TOOL_CALLS][{"name": "add", "arguments": {"a": 1}}]`, `"" add({"a": 1})`},
	{&mistralNamed, `[TOOL_CALLS]add[ARGS]{"a": }x[TOOL_CALLS]now[ARGS]{}`, `"x" add({"a": }) now({})`},

	{&phi, `<|tool_call|>[{"name": "get_weather", "arguments": ` + weather + `}, {"name": "add", "arguments": {}}]<|/tool_call|>`, `"" get_weather(` + weather + `) add({})`},
	{&phi, `<|tool_call|>{"name": "add", "parameters": {"a": 2}}<|/tool_call|>`, `"" add({"a": 2})`},
	{&phi, `[{"name": "add", "arguments": {"a": 2}}]`, `"" add({"a": 2})`},
	{&granite, `<|tool_call|>[{"name": "add", "arguments": {"a": 2}}]`, `"" add({"a": 2})`},
	{&granite, `<|tool_call|> [{"arguments": {"a": 2}, "name": "add"}]`, `"" add({"a": 2})`},

	{&llama, `{"name": "get_weather", "parameters": ` + weather + `}`, `"" get_weather(` + weather + `)`},
	{&llama, `<|python_tag|>{"type": "function", "name": "add", "parameters": {"a": "1"}}`, `"" add({"a": "1"})`},
	{&llama, "{\"name\": \"add\", \"parameters\": {\"a\": 1}}; {\"name\": \"now\", \"parameters\": {}}\n{\"name\": \"add\", \"parameters\": {}}", `"" add({"a": 1}) now({}) add({})`},
	{&llama, "<|python_tag|>print(sum([1, 2]))\n", `"" python({"code":"print(sum([1, 2]))"})`},
	{&llama, `<|python_tag|>add.call(a="x y", b=-1.5)`, `"" add({"a": "x y", "b": -1.5})`},
	{&llama, "```json\n{\"name\": \"add\", \"parameters\": {\"a\": 1}}\n```\nDone.", `"\nDone." add({"a": 1})`},

	{&gemma, "```tool_code\nprint(get_weather(city='Köln', days=[1, 2], deep={'a': (True, None)},))\n```", `"" get_weather({"city": "Köln", "days": [1, 2], "deep": {"a": [true, null]}})`},
	{&gemma, "Okay.\n```tool_code\nadd(a=1)\nadd(a=\"it's\\n\")\n```\n", `"Okay." add({"a": 1}) add({"a": "it's\n"})`},
	{&gemma, "```json\n{\"name\": \"add\", \"parameters\": {\"a\": 1}}\n```", `"" add({"a": 1})`},
	{&gemma, "```tool_code\n{\"name\": \"add\", \"parameters\": {\"a\": 1}}\n```", `"" add({"a": 1})`},
	{&gemma, "```json\n[{\"name\": \"add\", \"parameters\": {\"a\": 1}},\n{\"name\": \"now\", \"parameters\": {}}]\n```", `"" add({"a": 1}) now({})`},
	{&gemma, `{"name": "add", "parameters": {"a": 1}}`, `"" add({"a": 1})`},
	{&generic, "\n {\"name\": \"add\", \"arguments\": {\"a\": 1}}\n", `"" add({"a": 1})`},
	{&generic, "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1}}</tool_call>", `"" add({"a": 1})`},
}

// texts have no calls, whatever the format, and must come back as they are.
var texts = []string{
	"", " ", "Hello.", "  two \n\n spaces\t", "{}", "{", "[1, 2, 3]", "[Paris](https://x.y)", `{"name": "Bob", "arguments": {"a": 1}}`, `{"name": "add"}`,
	`{"name": "add", "age": 3}`, `{"answer": 42}`, `{"name": 5}`, `{"name": "add", "arguments"`, `{"arguments": {"a": 1}}`, "<tool", "<tool_call>", "<tool_call> no JSON </tool_call>", "<tool_call>{\"x\": 1}</tool_call>",
	"<tool_call><tool_call>", "a < b and [TOOL", "[TOOL_CALLS]", "[TOOL_CALLS]...", "[TOOL_CALLS][]", "[TOOL_CALLS][{\"id\": \"x\"}]", "[TOOL_CALLS]add [ARGS]", "[TOOL_CALLS]add[CALL_ID]x", "<|tool_call|>", "<|tool_call|>[]", "<|python_tag|>",
	"```", "```\n", "```json\n{\"a\": 1}\n```\nand ```python\nprint('```')\n``` so", "``` inline ``` code", "```tool_code\nimport os\n```", "```tool_code\nadd(1)\n```\n", "```json\n", "```json\n{\"name\": \"nobody\", \"parameters\": {}}\n```\ntext",
	"```go\nfunc f() {}\n```\n```python\nx = 1\n```", "```js", "`a` ``b`` ```c```", "{\"name\": \"add\", \"arguments\": {\"a\": 1}", "  {\"name\": \"\\u00e9\"}", "größer 猫 <", "{\"name\": \"add\",\n \"arguments\": tru}", `{"name": "add", "arguments": 3}`,
}

// Every answer and text, in two pieces split at each byte, and byte by byte, gives the same.
func TestParser(t *testing.T) {
	tools := testTools(t)
	splits := func(t *testing.T, s *syntax, text, want string) {
		t.Helper()
		check := func(pieces []string) {
			if got := parse(t, s, tools, pieces).String(); got != want {
				t.Fatalf("%s, %q:\ngot  %s\nwant %s", s.name, pieces, got, want)
			}
		}
		for i := range len(text) + 1 {
			check([]string{text[:i], text[i:]})
		}
		check(strings.SplitAfter(text, " "))
		var bytes []string
		for i := range len(text) {
			bytes = append(bytes, text[i:i+1])
		}
		check(bytes)
	}
	for _, c := range answers {
		splits(t, c.syntax, c.answer, c.want)
	}
	for _, s := range []*syntax{&hermes, &mistral, &mistralNamed, &phi, &granite, &llama, &gemma, &generic} {
		for _, text := range texts {
			if cut := `{"name": "add", "arguments": {"a": 1}`; s.bare && text == cut {
				splits(t, s, text, `"" add({"a": 1})`) // begun, and the answer was cut off
				continue
			}
			splits(t, s, text, fmt.Sprintf("%q", text))
		}
	}
}

// What the families' own writing of calls says is what is read back.
func TestWrittenIsRead(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	tools := testTools(t)
	var random func(depth int) any
	random = func(depth int) any {
		switch n := r.IntN(8); {
		case n < 2 && depth < 4:
			m := map[string]any{}
			for range r.IntN(4) {
				m[text(r)] = random(depth + 1)
			}
			return m
		case n < 4 && depth < 4:
			l := []any{}
			for range r.IntN(4) {
				l = append(l, random(depth+1))
			}
			return l
		case n == 4:
			return r.NormFloat64() * 1e6
		case n == 5:
			return r.IntN(2) == 0
		}
		return text(r)
	}
	for _, s := range []*syntax{&hermes, &mistral, &mistralNamed, &phi, &granite, &llama, &gemma, &generic} {
		for i := range 300 {
			var calls []Call
			for range 1 + r.IntN(3) {
				arguments := map[string]any{}
				for range r.IntN(4) {
					arguments[text(r)] = random(0)
				}
				b, err := json.Marshal(arguments)
				if err != nil {
					t.Fatal(err)
				}
				if i%2 == 1 {
					b = []byte(strings.ReplaceAll(string(b), `":`, `" : `))
				}
				calls = append(calls, Call{ID: "abcdefgh1", Name: tools[r.IntN(len(tools))].Name, Arguments: string(b)})
			}
			written := s.write(calls)
			var pieces []string
			for rest := written; rest != ""; {
				n := 1 + r.IntN(min(9, len(rest)))
				pieces = append(pieces, rest[:n])
				rest = rest[n:]
			}
			got := parse(t, s, tools, pieces)
			want := answer{calls: calls}
			if got.String() != want.String() {
				t.Fatalf("%s, %q:\ngot  %v\nwant %v", s.name, written, got, &want)
			}
		}
	}
}

func text(r *rand.Rand) string {
	parts := []string{"a", " ", "ü", "\"", "\\", "}", "]", "</tool_call>", "<tool_call>", "[TOOL_CALLS]", "[ARGS]", "\n", "猫", "```", "{", "1"}
	s := ""
	for range r.IntN(6) {
		s += parts[r.IntN(len(parts))]
	}
	return s
}

// What is read does not depend on how it comes, nothing panics, and what has no mark and no tool comes back unchanged.
func FuzzParser(f *testing.F) {
	for i, c := range answers {
		f.Add(c.answer, uint64(i), i)
	}
	for i, text := range texts {
		f.Add(text, uint64(i), i)
	}
	all := []*syntax{&hermes, &mistral, &mistralNamed, &phi, &granite, &llama, &gemma, &generic}
	tools := testTools(f)
	f.Fuzz(func(t *testing.T, text string, seed uint64, which int) {
		if len(text) > 4000 {
			return
		}
		s := all[uint(which)%uint(len(all))]
		r := rand.New(rand.NewPCG(seed, 1))
		var pieces []string
		for rest := text; rest != ""; {
			n := 1 + r.IntN(min(7, len(rest)))
			pieces = append(pieces, rest[:n])
			rest = rest[n:]
		}
		got, want := parse(t, s, tools, pieces).String(), parse(t, s, tools, []string{text}).String()
		if got != want {
			t.Errorf("%s, %q:\ngot  %s\nwant %s", s.name, pieces, got, want)
		}
		if a := parse(t, s, nil, []string{text}); len(a.calls) == 0 && a.text != text {
			t.Errorf("%s, %q without calls: got %q", s.name, text, a.text)
		}
	})
}

// Text without calls passes at once, except for white space and what may begin one.
func TestNothingIsWithheldLong(t *testing.T) {
	tools := testTools(t)
	for _, c := range []struct {
		syntax *syntax
		answer string
		want   string // that is out before the end
	}{
		{&hermes, "The answer is 4", "The answer is 4"}, {&hermes, "a <", "a"}, {&hermes, "a <b", "a <b"}, {&hermes, "{\"temperature\": 3", "{\"temperature\": 3"},
		{&gemma, "```python\nx", "```python\nx"}, {&gemma, "```json\n{\"a\"", "```json\n{\"a\""}, {&llama, "[1", "[1"}, {&mistral, "[T", ""}, {&mistral, "[T ", "[T"},
		{&generic, "{\"name\": \"Bob\"", "{\"name\": \"Bob\""}, {&generic, "``` some", "``` some"},
	} {
		p := (&Format{syntax: c.syntax}).Parser(tools)
		var a answer
		for i := range len(c.answer) {
			a.add(t, p.Push(c.answer[i:i+1]))
		}
		if a.text != c.want {
			t.Errorf("%s, %q: %q is out, want %q", c.syntax.name, c.answer, a.text, c.want)
		}
	}
	// arguments come as they are written
	p := (&Format{syntax: &hermes}).Parser(tools)
	p.NewID = numbered()
	var steps []string
	for _, piece := range []string{"<tool_call>\n{\"name\": \"ad", "d\", \"argu", "ments\": {\"a\"", ": 1", "}}\n</tool", "_call>", "\n"} {
		var a []string
		for _, d := range p.Push(piece) {
			a = append(a, fmt.Sprintf("%s %s %s", d.ID, d.Name, d.Arguments))
		}
		steps = append(steps, strings.Join(a, "|"))
	}
	if got, want := strings.Join(steps, "/"), `//id1 add {"a"/  : 1/  }//`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestIDs(t *testing.T) {
	for _, c := range []struct {
		syntax *syntax
		length int
		prefix string
	}{{&hermes, 29, "call_"}, {&mistral, 9, ""}, {&mistralNamed, 9, ""}} {
		seen := map[string]bool{}
		for range 200 {
			id := c.syntax.newID()
			rest, ok := strings.CutPrefix(id, c.prefix)
			if len(id) != c.length || !ok || strings.Trim(rest, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") != "" || seen[id] {
				t.Errorf("%s: the id %q", c.syntax.name, id)
			}
			seen[id] = true
		}
	}
}

func BenchmarkParser(b *testing.B) {
	tools := testTools(b)
	answer := "Some text before. <tool_call>\n{\"name\": \"add\", \"arguments\": {\"text\": \"" + strings.Repeat("word ", 2000) + "\"}}\n</tool_call>"
	b.SetBytes(int64(len(answer)))
	for b.Loop() {
		p := (&Format{syntax: &hermes}).Parser(tools)
		for i := 0; i < len(answer); i += 4 {
			p.Push(answer[i:min(i+4, len(answer))])
		}
		p.Flush()
	}
}
