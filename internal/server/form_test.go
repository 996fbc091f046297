package server

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/generate"
)

// babble draws tokens at random among those that the constraint allows, with a liking for the
// end: the worst model there is.
func babble(m *fake) func(context.Context, generate.Request, func(generate.Token, error) bool) {
	return func(ctx context.Context, r generate.Request, yield func(generate.Token, error) bool) {
		random := rand.New(rand.NewPCG(r.Sampling.Seed, 1))
		for range r.MaxTokens {
			if r.Constraint == nil || r.Constraint.Done() || ctx.Err() != nil {
				return
			}
			mask := r.Constraint.Allowed()
			var ids []int32
			for id := range int32(m.Vocab()) {
				if mask == nil || mask.Has(id) {
					ids = append(ids, id)
				}
			}
			id := ids[random.IntN(len(ids))]
			if end := m.tok.EOS()[0]; mask != nil && mask.Has(end) && random.IntN(4) == 0 {
				id = end
			}
			if err := r.Constraint.Accept(id); err != nil {
				yield(generate.Token{}, err)
				return
			}
			reason := generate.Reason("")
			if r.Constraint.Done() {
				reason = generate.Stopped
			}
			if !yield(generate.Token{ID: id, Reason: reason}, nil) || reason != "" {
				return
			}
		}
	}
}

func TestResponseFormat(t *testing.T) {
	m := newFake(t)
	m.context = 1 << 16
	m.say = babble(m)
	c := start(t, m, nil)
	type person struct {
		Name string `json:"name"`
		Age  *int   `json:"age"`
	}
	object := func(text string) error { return json.Unmarshal([]byte(text), &map[string]any{}) }
	for _, x := range []struct {
		format string
		valid  func(string) error
	}{
		{`"response_format": {"type": "json_object"}`, object},
		{`"response_format": {"type": "json_schema", "json_schema": {"name": "p", "strict": true, "schema": {"type": "object", "required": ["name", "age"],
			"properties": {"name": {"type": "string", "maxLength": 10}, "age": {"type": "integer", "minimum": 0, "maximum": 150}}}}}`, func(text string) error {
			var p person
			d := json.NewDecoder(strings.NewReader(text))
			d.DisallowUnknownFields()
			if err := d.Decode(&p); err != nil {
				return err
			}
			if p.Age == nil || *p.Age < 0 || *p.Age > 150 {
				return fmt.Errorf("age %v", p.Age)
			}
			return nil
		}},
		{`"response_format": {"type": "json_object", "schema": {"type": "object", "properties": {"x": {"const": 1}}, "required": ["x"], "additionalProperties": false}}`, object},
		{`"regex": "[a-c]{3}-[0-9]{2}"`, func(text string) error {
			if !regexp.MustCompile(`^[a-c]{3}-[0-9]{2}$`).MatchString(text) {
				return fmt.Errorf("no match")
			}
			return nil
		}},
		{`"grammar": "root ::= \"yes\" | \"no\""`, func(text string) error {
			if text != "yes" && text != "no" {
				return fmt.Errorf("neither")
			}
			return nil
		}},
	} {
		finished := 0
		for seed := range 10 {
			got := c.post("/v1/chat/completions", fmt.Sprintf(ask, fmt.Sprintf(`, "seed": %d, "max_tokens": 3000, %s`, seed, x.format)))
			if at(t, got, "choices", 0, "finish_reason") == "length" {
				continue // as the model would have it
			}
			finished++
			text := at(t, got, "choices", 0, "message", "content").(string)
			if err := x.valid(text); err != nil {
				t.Errorf("%.60s: %v in %q", x.format, err, text)
			}
		}
		if finished == 0 {
			t.Errorf("%.60s: nothing was finished", x.format)
		}
	}
}

const weather = `"tools": [{"type": "function", "function": {"name": "weather", "description": "The weather.", "parameters": {"type": "object",
	"properties": {"city": {"type": "string", "maxLength": 8}}, "required": ["city"], "additionalProperties": false}}},
	{"type": "function", "function": {"name": "time", "parameters": {"type": "object", "properties": {}, "additionalProperties": false}}}]`

// Calls that are required are made, whatever the model.
func TestRequiredCalls(t *testing.T) {
	m := newFake(t)
	m.context = 1 << 16
	m.say = babble(m)
	c := start(t, m, nil)
	for _, x := range []struct{ choice, name string }{
		{`"required"`, ""}, {`{"type": "function", "function": {"name": "weather"}}`, "weather"}, {`{"type": "function", "function": {"name": "time"}}`, "time"},
	} {
		made := 0
		for seed := range 10 {
			body := fmt.Sprintf(ask, fmt.Sprintf(`, "seed": %d, "max_tokens": 3000, "parallel_tool_calls": false, %s, "tool_choice": %s`, seed, weather, x.choice))
			got := c.post("/v1/chat/completions", body)
			if at(t, got, "choices", 0, "finish_reason") != "tool_calls" {
				t.Logf("%s: got %v", x.choice, at(t, got, "choices", 0))
				continue
			}
			made++
			calls := at(t, got, "choices", 0, "message", "tool_calls").([]any)
			name := at(t, calls, 0, "function", "name").(string)
			var arguments map[string]string
			if err := json.Unmarshal([]byte(at(t, calls, 0, "function", "arguments").(string)), &arguments); err != nil || len(calls) != 1 ||
				x.name != "" && name != x.name || (name == "weather") != (len(arguments) == 1) || at(t, calls, 0, "id") == "" {
				t.Errorf("%s: got %v, %v", x.choice, calls, err)
			}
			events, _ := c.stream("/v1/chat/completions", strings.TrimSuffix(body, "}")+`, "stream": true}`)
			streamed, id := "", ""
			for _, e := range events {
				delta := at(t, e, "choices", 0, "delta").(map[string]any)
				if list, ok := delta["tool_calls"].([]any); ok {
					for _, d := range list {
						streamed += at(t, d, "function", "arguments").(string)
						if s, ok := d.(map[string]any)["id"].(string); ok {
							id += s
							streamed = at(t, d, "function", "name").(string) + streamed
						}
					}
				}
			}
			if want := name + at(t, calls, 0, "function", "arguments").(string); streamed != want || id == "" {
				t.Errorf("%s: got %q streamed, want %q", x.choice, streamed, want)
			}
		}
		if made < 5 {
			t.Errorf("%s: %d calls of 10 were made", x.choice, made)
		}
	}
}

// The model is told of tools, calls and results; what it writes is text or a call.
func TestCalls(t *testing.T) {
	m := newFake(t)
	m.context = 1 << 16
	c := start(t, m, nil)
	var prompt string
	said := func(text string) {
		say := texts(m.tok, text)
		m.say = func(ctx context.Context, r generate.Request, yield func(generate.Token, error) bool) {
			prompt = m.tok.Decode(r.Prompt, false)
			say(ctx, r, yield)
		}
	}
	said(`{"name": "weather", "arguments": {"city": "Oslo"}}`)
	got := c.post("/v1/chat/completions", fmt.Sprintf(ask, ", "+weather))
	if at(t, got, "choices", 0, "finish_reason") != "tool_calls" || at(t, got, "choices", 0, "message", "tool_calls", 0, "function", "arguments") != `{"city": "Oslo"}` ||
		at(t, got, "choices", 0, "message", "content") != nil {
		t.Errorf("got %v", at(t, got, "choices", 0))
	}
	if !strings.Contains(prompt, `"The weather."`) {
		t.Errorf("the tools are not in the prompt %q", prompt)
	}
	got = c.post("/v1/chat/completions", fmt.Sprintf(ask, `, "tool_choice": "none", `+weather))
	if at(t, got, "choices", 0, "finish_reason") != "stop" || strings.Contains(prompt, "weather") {
		t.Errorf("without a choice: got %v for %q", at(t, got, "choices", 0), prompt)
	}
	said("It rains.")
	got = c.post("/v1/chat/completions", `{"messages": [{"role": "user", "content": "Ho"}, {"role": "assistant", "content": null, "tool_calls": [{"id": "call_1", "type": "function",
		"function": {"name": "weather", "arguments": "{\"city\": \"Oslo\u003c|im_end|>\"}"}}]}, {"role": "tool", "tool_call_id": "call_1", "content": "rain"}], `+weather+`}`)
	if at(t, got, "choices", 0, "message", "content") != "It rains." || !strings.Contains(prompt, "Oslo") || !strings.Contains(prompt, "rain") {
		t.Errorf("got %v for %q", at(t, got, "choices", 0), prompt)
	}
	got = c.post("/v1/responses", `{"input": "Ho", "tools": [{"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}]}`)
	if at(t, got, "output", 0, "content", 0, "text") != "It rains." {
		t.Errorf("got %v", got)
	}
	said(`{"name": "weather", "arguments": {"city": "Oslo"}}`)
	events, _ := c.stream("/v1/responses", `{"input": "Ho", "stream": true, "tools": [{"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}]}`)
	item := at(t, events[len(events)-1], "response", "output", 0)
	if at(t, item, "type") != "function_call" || at(t, item, "arguments") != `{"city": "Oslo"}` {
		t.Errorf("got %v", item)
	}
}
