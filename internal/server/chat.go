package server

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/litgpt-go/litgpt/tokenizer/jinja"
)

// chatRequest is the body of POST /v1/chat/completions.
type chatRequest struct {
	common
	Messages       json.RawMessage `json:"messages"`
	Logprobs       bool            `json:"logprobs"`
	TopLogprobs    *int            `json:"top_logprobs"`
	ResponseFormat json.RawMessage `json:"response_format"`
	Tools          json.RawMessage `json:"tools"`
	ToolChoice     json.RawMessage `json:"tool_choice"`
	ParallelCalls  *bool           `json:"parallel_tool_calls"`

	// What OpenAI has not.
	Grammar      string          `json:"grammar"`     // GBNF, as llama.cpp takes it
	Schema       json.RawMessage `json:"json_schema"` // as llama.cpp takes it: for response_format
	Regex        string          `json:"regex"`
	TemplateVars json.RawMessage `json:"chat_template_kwargs"`
	Continue     *bool           `json:"continue_final_message"`
	Open         *bool           `json:"add_generation_prompt"`

	bare bool // the prompt is only looked at, so that it may end behind a message
}

// chat answers POST /v1/chat/completions.
func (s *Server) chat(w http.ResponseWriter, r *http.Request) error {
	var in chatRequest
	body, err := s.read(w, r, &in)
	if err != nil {
		return err
	}
	return s.serve(w, r, in.Model, func(ctx context.Context, m *served) (*reply, error) {
		q, err := s.chatQuestion(m, &in, string(body))
		if err != nil {
			return nil, err
		}
		logContent(ctx, "messages", string(in.Messages))
		out := &chatResponse{completion: newCompletion("chatcmpl-", m, q, &in.common), top: or(in.TopLogprobs, 0)}
		return &reply{questions: []*question{q}, out: out, stream: in.Stream}, nil
	})
}

// chatQuestion turns a request into a question.
func (s *Server) chatQuestion(m *served, in *chatRequest, raw string) (*question, error) {
	q := &question{m: m}
	var err error
	if q.settings, err = s.settings(&in.common, m.model.Vocab()); err != nil {
		return nil, err
	}
	if top := or(in.TopLogprobs, 0); top < 0 || top > maxLogprobs {
		return nil, bad("top_logprobs", "top_logprobs is %d; 0 to %d wanted", top, maxLogprobs)
	} else if in.Logprobs {
		q.settings.logprobs = 1 + top
	} else if in.TopLogprobs != nil && top > 0 {
		return nil, bad("top_logprobs", "top_logprobs needs logprobs: true")
	}
	if !isNull(in.Schema) && isNull(in.ResponseFormat) {
		in.ResponseFormat = joinedObject("json_object", "schema", in.Schema)
	}
	c := conversation{guard: m.guardFor(raw)}
	if c.guard == nil {
		return nil, errMarks
	}
	if c.messages, err = messages(in.Messages); err != nil {
		return nil, err
	}
	last := c.messages[len(c.messages)-1]
	c.open = !(last.role == "assistant" && len(last.calls) == 0)
	if in.Continue != nil {
		if *in.Continue && c.open {
			return nil, bad("continue_final_message", "continue_final_message needs a last message of the assistant's")
		}
		if *in.Continue && or(in.Open, false) {
			return nil, bad("continue_final_message", "continue_final_message and add_generation_prompt exclude each other")
		}
		c.open = !*in.Continue
	}
	c.bare = in.bare && c.open && !or(in.Open, true)
	if c.open && !c.bare && in.Open != nil && !*in.Open {
		return nil, bad("add_generation_prompt", "without a generation prompt there is nothing to answer; set continue_final_message to continue a last message of the assistant's")
	}
	if !isNull(in.TemplateVars) {
		v, err := jinja.ParseJSON(in.TemplateVars)
		vars, ok := v.(*jinja.Dict)
		if err != nil || !ok {
			return nil, bad("chat_template_kwargs", "chat_template_kwargs must be an object")
		}
		c.vars = marked(c.guard, vars).(*jinja.Dict)
	}
	if err := s.form(q, in, &c); err != nil {
		return nil, err
	}
	q.ids, err = m.prompt(c)
	return q, err
}

// completion is what the answers of both endpoints have in common.
type completion struct {
	id      string
	created int64
	m       *served
	q       *question
	usage   bool // as the last event of a stream
}

func newCompletion(prefix string, m *served, q *question, in *common) completion {
	return completion{id: prefix + randomID(), created: time.Now().Unix(), m: m, q: q, usage: in.StreamOptions != nil && in.StreamOptions.IncludeUsage}
}

// fingerprint changes when answers to the same request and seed may.
const fingerprint = "litgpt-1"

// object is a response, or one event of it.
func (c *completion) object(kind string, choices []any) map[string]any {
	return map[string]any{"id": c.id, "object": kind, "created": c.created, "model": c.m.name, "system_fingerprint": fingerprint, "choices": choices}
}

// chatResponse writes chat completions.
type chatResponse struct {
	completion
	top   int
	begun map[int]bool // choices whose role was told
}

const chatChunk = "chat.completion.chunk"

// chunk is an event about one choice.
func (c *chatResponse) chunk(choice int, delta map[string]any, logprobs, finish any) map[string]any {
	o := c.object(chatChunk, []any{map[string]any{"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": finish}})
	if c.usage {
		o["usage"] = nil
	}
	return o
}

// piece implements responder.
func (c *chatResponse) piece(e *events, p piece) {
	if !c.begun[p.choice] {
		if c.begun == nil {
			c.begun = map[int]bool{}
		}
		c.begun[p.choice] = true
		e.add("", c.chunk(p.choice, map[string]any{"role": "assistant", "content": nil}, nil, nil))
	}
	var logprobs any
	if len(p.probs) > 0 {
		logprobs = c.logprobs(p.probs)
	}
	if p.text != "" || logprobs != nil {
		e.add("", c.chunk(p.choice, map[string]any{"content": p.text}, logprobs, nil))
	}
	if len(p.calls) > 0 {
		e.add("", c.chunk(p.choice, map[string]any{"tool_calls": callDeltas(p.calls)}, nil, nil))
	}
	if p.finish != "" {
		e.add("", c.chunk(p.choice, map[string]any{}, nil, p.finish))
	}
}

// done implements responder.
func (c *chatResponse) done(e *events, used *counts) {
	if c.usage {
		o := c.object(chatChunk, []any{})
		o["usage"] = used.usage()
		e.add("", o)
	}
	e.text("[DONE]")
}

// callDeltas are tool calls as they stream.
func callDeltas(calls []callDelta) (list []any) {
	for _, d := range calls {
		function := map[string]any{"arguments": d.extra}
		item := map[string]any{"index": d.index, "function": function}
		if d.id != "" {
			item["id"], item["type"], function["name"] = d.id, "function", d.name
		}
		list = append(list, item)
	}
	return list
}

// whole implements responder.
func (c *chatResponse) whole(choices []whole, used *counts) any {
	list := []any{}
	for i, w := range choices {
		message := map[string]any{"role": "assistant", "content": string(w.text), "refusal": nil}
		if len(w.calls) > 0 {
			message["tool_calls"] = callObjects(w.calls)
			if len(w.text) == 0 {
				message["content"] = nil
			}
		}
		choice := map[string]any{"index": i, "message": message, "logprobs": nil, "finish_reason": w.finish}
		if c.q.settings.logprobs > 0 {
			choice["logprobs"] = c.logprobs(w.probs)
		}
		list = append(list, choice)
	}
	o := c.object("chat.completion", list)
	o["usage"] = used.usage()
	return o
}

// callObjects are whole tool calls.
func callObjects(calls []call) (list []any) {
	for _, made := range calls {
		list = append(list, map[string]any{"id": made.id, "type": "function", "function": map[string]any{"name": made.name, "arguments": made.arguments}})
	}
	return list
}

// logprobs are the probabilities of an answer's tokens as chat completions tell them.
func (c *chatResponse) logprobs(probs []tokenProb) any {
	return map[string]any{"content": c.m.tokenList(probs, c.top), "refusal": nil}
}

// tokenList are tokens with their probabilities, and those of the top likeliest of each place.
func (m *served) tokenList(probs []tokenProb, top int) []any {
	list := []any{}
	for _, t := range probs {
		o, likeliest := m.tokenObject(t.id, t.logprob), []any{}
		for _, alternative := range t.top[:min(len(t.top), top)] {
			likeliest = append(likeliest, m.tokenObject(alternative.ID, alternative.Logprob))
		}
		o["top_logprobs"] = likeliest
		list = append(list, o)
	}
	return list
}

// tokenObject is a token with its probability.
func (m *served) tokenObject(id int32, logprob float32) map[string]any {
	b := m.tokenBytes(id)
	return map[string]any{"token": string(b), "bytes": numbers(b), "logprob": finite(logprob)}
}

// finite is a log-probability as JSON can hold it; that of the impossible is OpenAI's -9999.
func finite(x float32) float32 {
	if x >= -9999 {
		return x
	}
	return -9999
}
