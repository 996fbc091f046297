package toolcall

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/grammar"
	"github.com/litgpt-go/litgpt/tokenizer"
)

// withMarks is the small tokenizer of the tests with the marks of calls as tokens, special ones as in the families.
func withMarks(t *testing.T) *tokenizer.Tokenizer {
	t.Helper()
	b, err := os.ReadFile("../../tokenizer/testdata/fixture/tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]any
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	added := file["added_tokens"].([]any)
	for i, mark := range []string{toolCalls, argsMark, pythonTag, "<tool_call>", "</tool_call>", "<|tool_call|>", "<|/tool_call|>"} {
		added = append(added, map[string]any{"id": 512 + i, "content": mark, "special": i < 3, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false})
	}
	file["added_tokens"] = added
	if b, err = json.Marshal(file); err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// A model that draws at random, held to the grammar of a required call, makes calls that the parser reads, of tools that there
// are, with arguments of their schemas; and so behind the mark where calls are free.
func TestRandomCalls(t *testing.T) {
	tools, err := ParseTools([]byte(`[
		{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "additionalProperties": false, "required": ["city", "days"],
			"properties": {"city": {"type": "string", "maxLength": 5}, "days": {"type": "integer", "minimum": 0, "maximum": 9}, "unit": {"enum": ["C", "F"]}}}}},
		{"type": "function", "function": {"name": "now"}}]`))
	if err != nil {
		t.Fatal(err)
	}
	tok := withMarks(t)
	end, _ := tok.ID("</s>")
	v, err := grammar.NewVocab(tok, []int32{end})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*syntax{&hermes, &mistral, &mistralNamed, &phi, &granite, &llama, &gemma, &generic} {
		f := &Format{syntax: s}
		marks := f.Tokens(tok)
		for _, choice := range []Choice{{}, {Parallel: true}, {Name: "get_weather"}, {Auto: true, Parallel: true}} {
			t.Run(fmt.Sprintf("%s %+v", s.name, choice), func(t *testing.T) {
				c, err := f.Constrain(tools, choice, Special(tok))
				if err == ErrNotConstrained && choice.Auto {
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				g, err := grammar.Compile(grammar.Source{Type: grammar.GBNF, Text: c.Grammar, Schemas: c.Schemas}, v)
				if err != nil {
					t.Fatalf("%v in\n%s", err, c.Grammar)
				}
				if g, err = g.After(c.Triggers...); err != nil {
					t.Fatal(err)
				}
				for i := range 4 {
					r := rand.New(rand.NewPCG(uint64(i), 5))
					var a answer
					p := f.Parser(tools)
					state := g.Start()
					stream := tok.Stream(true)
					push := func(id int32) {
						t.Helper()
						if err := state.Accept(id); err != nil {
							t.Fatalf("token %d behind %s: %v", id, &a, err)
						}
						text := stream.Next(id)
						if mark, ok := marks[id]; ok {
							text = mark
						}
						a.add(t, p.Push(text))
					}
					if choice.Auto {
						for _, id := range tok.Encode("Some text.", false) {
							push(id)
						}
						mark, _ := tok.ID(s.marks[0])
						push(mark)
					}
					for n := 0; ; n++ {
						id, ok := pick(r, state.Allowed(), v.Size(), end, n > 60)
						if !ok {
							t.Fatalf("nothing can come behind %s", &a)
						}
						if id == end {
							break
						}
						push(id)
						if n > 3000 {
							t.Fatalf("no end: %s", &a)
						}
					}
					a.add(t, p.Push(stream.Flush()))
					a.add(t, p.Flush())
					checkCalls(t, &a, choice)
				}
			})
		}
	}
}

// pick draws one of the allowed tokens, the end with some probability where it is allowed, and short ones when it is late.
func pick(r *rand.Rand, allowed interface{ Has(int32) bool }, v int, end int32, late bool) (int32, bool) {
	var ids []int32
	for id := range int32(v) {
		if allowed.Has(id) {
			ids = append(ids, id)
		}
	}
	if allowed.Has(end) && (late || r.IntN(3) == 0) || len(ids) == 0 {
		return end, allowed.Has(end)
	}
	return ids[r.IntN(len(ids))], true
}

func checkCalls(t *testing.T, a *answer, choice Choice) {
	t.Helper()
	if len(a.calls) == 0 || len(a.calls) > 1 && !choice.Parallel || a.text != "" && !choice.Auto {
		t.Errorf("got %v", a)
	}
	if choice.Auto && !strings.HasPrefix(a.text, "Some text.") && !strings.HasPrefix(a.text, " Some text.") {
		t.Errorf("the text is %q", a.text)
	}
	for _, c := range a.calls {
		var arguments map[string]any
		if err := json.Unmarshal([]byte(c.Arguments), &arguments); err != nil {
			t.Errorf("arguments %q: %v", c.Arguments, err)
		}
		if c.Name == "get_weather" {
			_, city := arguments["city"].(string)
			days, ok := arguments["days"].(float64)
			if !city || !ok || days < 0 || days > 9 {
				t.Errorf("arguments %s", c.Arguments)
			}
		} else if c.Name != "now" || choice.Name != "" {
			t.Errorf("a call of %q", c.Name)
		}
	}
}
