package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// responsesRequest is the body of POST /v1/responses. Nothing is stored, so the conversation
// is in input, all of it.
type responsesRequest struct {
	Model           string          `json:"model"`
	Input           json.RawMessage `json:"input"`
	Instructions    *string         `json:"instructions"`
	MaxOutputTokens *int            `json:"max_output_tokens"`
	Temperature     *float64        `json:"temperature"`
	TopP            *float64        `json:"top_p"`
	TopLogprobs     *int            `json:"top_logprobs"`
	Stream          bool            `json:"stream"`
	Previous        *string         `json:"previous_response_id"`
	Conversation    json.RawMessage `json:"conversation"`
	Background      bool            `json:"background"`
	Tools           json.RawMessage `json:"tools"`
	ToolChoice      json.RawMessage `json:"tool_choice"`
	ParallelCalls   *bool           `json:"parallel_tool_calls"`
	Metadata        json.RawMessage `json:"metadata"`
	Text            *struct {
		Format json.RawMessage `json:"format"`
	} `json:"text"`

	Seed *int64 `json:"seed"` // which OpenAI has in chat completions only
}

// responses answers POST /v1/responses.
func (s *Server) responses(w http.ResponseWriter, r *http.Request) error {
	var in responsesRequest
	body, err := s.read(w, r, &in)
	if err != nil {
		return err
	}
	chat, err := in.chat()
	if err != nil {
		return err
	}
	return s.serve(w, r, in.Model, func(ctx context.Context, m *served) (*reply, error) {
		q, err := s.chatQuestion(m, chat, string(body))
		if err != nil {
			return nil, renamed(err)
		}
		logContent(ctx, "input", string(in.Input))
		return &reply{questions: []*question{q}, out: newResponse(m, q, &in), stream: in.Stream}, nil
	})
}

// chat is the request as one for a chat completion.
func (in *responsesRequest) chat() (*chatRequest, error) {
	switch {
	case in.Previous != nil && *in.Previous != "":
		return nil, bad("previous_response_id", "responses are not stored; send the whole conversation as input")
	case !isNull(in.Conversation):
		return nil, bad("conversation", "conversations are not stored; send the whole conversation as input")
	case in.Background:
		return nil, bad("background", "responses in the background are not served")
	}
	c := &chatRequest{ParallelCalls: in.ParallelCalls}
	c.Model, c.Temperature, c.TopP, c.MaxCompletionTokens, c.Seed = in.Model, in.Temperature, in.TopP, in.MaxOutputTokens, in.Seed
	if in.TopLogprobs != nil {
		c.Logprobs, c.TopLogprobs = true, in.TopLogprobs
	}
	var err error
	if c.Messages, err = in.messages(); err != nil {
		return nil, err
	}
	if in.Text != nil {
		if c.ResponseFormat, err = wrapped(in.Text.Format, "json_schema", "json_schema"); err != nil {
			return nil, bad("text.format", "text.format must be an object with a type")
		}
	}
	if c.Tools, err = in.tools(); err != nil {
		return nil, err
	}
	if c.ToolChoice, err = wrapped(in.ToolChoice, "function", "function"); err != nil {
		return nil, bad("tool_choice", "tool_choice must be none, auto, required, or an object with a type")
	}
	return c, nil
}

// renamed tells an error of a chat completion by the names that its parameters have here.
func renamed(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	for _, name := range []struct{ chat, here string }{{"max_completion_tokens", "max_output_tokens"}, {"response_format", "text.format"}} {
		if e.Param == name.chat {
			told := *e
			told.Param, told.Message = name.here, strings.ReplaceAll(e.Message, name.chat, name.here)
			return &told
		}
	}
	return err
}

// wrapped turns {"type": kind, …} into {"type": kind, key: {…}}, which is how chat
// completions have it. Values of other kinds stay.
func wrapped(raw json.RawMessage, kind, key string) (json.RawMessage, error) {
	if isNull(raw) || raw[0] == '"' {
		return raw, nil
	}
	var v struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		return nil, err
	}
	if v.Type != kind {
		return raw, nil
	}
	return joinedObject(kind, key, raw), nil
}

// joinedObject is {"type": kind, key: value}.
func joinedObject(kind, key string, value json.RawMessage) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"type":%q,%q:%s}`, kind, key, value))
}

// tools are the tools as chat completions have them.
func (in *responsesRequest) tools() (json.RawMessage, error) {
	if isNull(in.Tools) {
		return nil, nil
	}
	var list []json.RawMessage
	if json.Unmarshal(in.Tools, &list) != nil {
		return nil, bad("tools", "tools must be a list")
	}
	for i := range list {
		var err error
		if list[i], err = wrapped(list[i], "function", "function"); err != nil {
			return nil, bad("tools", "tools[%d] must be an object with a type", i)
		}
	}
	return joined(list), nil
}

// joined is a JSON list of its items, as they are.
func joined(list []json.RawMessage) json.RawMessage {
	b := []byte{'['}
	b = append(b, bytes.Join(rawBytes(list), []byte{','})...)
	return append(b, ']')
}

func rawBytes(list []json.RawMessage) [][]byte {
	out := make([][]byte, len(list))
	for i, raw := range list {
		out[i] = raw
	}
	return out
}

// messages are instructions and input as messages.
func (in *responsesRequest) messages() (json.RawMessage, error) {
	var list []json.RawMessage
	add := func(message map[string]any) {
		b, err := json.Marshal(message)
		if err == nil { // it is made of what was JSON
			list = append(list, b)
		}
	}
	if in.Instructions != nil && *in.Instructions != "" {
		add(map[string]any{"role": "system", "content": *in.Instructions})
	}
	var text string
	if json.Unmarshal(in.Input, &text) == nil && !isNull(in.Input) {
		add(map[string]any{"role": "user", "content": text})
		return joined(list), nil
	}
	var items []json.RawMessage
	if isNull(in.Input) || json.Unmarshal(in.Input, &items) != nil || len(items) == 0 {
		return nil, bad("input", "input must be a text or a list of at least one item")
	}
	for i, raw := range items {
		var item struct {
			Type      string          `json:"type"`
			CallID    string          `json:"call_id"`
			Name      string          `json:"name"`
			Arguments string          `json:"arguments"`
			Output    json.RawMessage `json:"output"`
		}
		if err := json.Unmarshal(raw, &item); err != nil {
			return nil, bad("input", "input[%d] is not understood: an object with role and content, or of a known type, wanted", i)
		}
		switch item.Type {
		case "", "message":
			list = append(list, raw)
		case "function_call":
			add(map[string]any{"role": "assistant", "content": nil, "tool_calls": []any{map[string]any{
				"id": item.CallID, "type": "function", "function": map[string]any{"name": item.Name, "arguments": item.Arguments}}}})
		case "function_call_output":
			add(map[string]any{"role": "tool", "tool_call_id": item.CallID, "content": item.Output})
		case "reasoning": // of an earlier answer: nothing that the model would read
		default:
			return nil, bad("input", "input[%d] has the type %q; message, function_call or function_call_output wanted", i, clip(item.Type))
		}
	}
	return joined(list), nil
}

// response writes answers of /v1/responses.
type response struct {
	m       *served
	q       *question
	in      *responsesRequest
	id      string
	created int64
	top     int

	// Of a stream.
	number  int // of the next event
	begun   bool
	items   []any          // that are done
	text    map[string]any // the message that is written; nil before and after
	said    []byte
	probs   []any
	call    *call // that is written; nil before and after
	callID  string
	stopped string // the reason of the end
}

func newResponse(m *served, q *question, in *responsesRequest) *response {
	return &response{m: m, q: q, in: in, id: "resp_" + randomID(), created: time.Now().Unix(), top: or(in.TopLogprobs, 0)}
}

// object is the response as it stands.
func (o *response) object(status string, output []any, usage any) map[string]any {
	g := o.q.settings
	object := map[string]any{
		"id": o.id, "object": "response", "created_at": o.created, "status": status, "error": nil, "incomplete_details": nil, "model": o.m.name,
		"output": output, "usage": usage, "instructions": o.in.Instructions, "max_output_tokens": o.in.MaxOutputTokens, "previous_response_id": nil,
		"temperature": g.sampling.Temperature, "top_p": g.sampling.TopP, "store": false, "truncation": "disabled", "background": false,
		"parallel_tool_calls": or(o.in.ParallelCalls, true), "tool_choice": "auto", "tools": []any{}, "metadata": map[string]any{},
		"reasoning": map[string]any{"effort": nil, "summary": nil}, "text": map[string]any{"format": map[string]any{"type": "text"}}, "user": nil,
	}
	for key, raw := range map[string]json.RawMessage{"tools": o.in.Tools, "tool_choice": o.in.ToolChoice, "metadata": o.in.Metadata} {
		if !isNull(raw) {
			object[key] = raw
		}
	}
	if o.in.Text != nil && !isNull(o.in.Text.Format) {
		object["text"] = map[string]any{"format": o.in.Text.Format}
	}
	if status == "incomplete" {
		object["incomplete_details"] = map[string]any{"reason": "max_output_tokens"}
	}
	return object
}

// status is how an answer ended.
func status(finish string) string {
	if finish == "length" {
		return "incomplete"
	}
	return "completed"
}

// textPart is the text of a message.
func textPart(text string, probs []any) map[string]any {
	if probs == nil {
		probs = []any{}
	}
	return map[string]any{"type": "output_text", "text": text, "annotations": []any{}, "logprobs": probs}
}

func messageItem(id, status string, parts ...any) map[string]any {
	if parts == nil {
		parts = []any{}
	}
	return map[string]any{"type": "message", "id": id, "status": status, "role": "assistant", "content": parts}
}

func callItem(id, status string, c call) map[string]any {
	return map[string]any{"type": "function_call", "id": id, "status": status, "call_id": c.id, "name": c.name, "arguments": c.arguments}
}

// whole implements responder.
func (o *response) whole(choices []whole, used *counts) any {
	w := choices[0]
	output := []any{}
	if len(w.text) > 0 || len(w.calls) == 0 {
		output = append(output, messageItem("msg_"+randomID(), status(w.finish), textPart(string(w.text), o.m.tokenList(w.probs, o.top))))
	}
	for _, c := range w.calls {
		output = append(output, callItem("fc_"+randomID(), status(w.finish), c))
	}
	return o.object(status(w.finish), output, used.responseUsage())
}

// event sends one event. Values are of this package.
func (o *response) event(e *events, kind string, fields map[string]any) {
	fields["type"], fields["sequence_number"] = kind, o.number
	o.number++
	e.add(kind, fields)
}

// piece implements responder.
func (o *response) piece(e *events, p piece) {
	if !o.begun {
		o.begun = true
		o.event(e, "response.created", map[string]any{"response": o.object("in_progress", []any{}, nil)})
		o.event(e, "response.in_progress", map[string]any{"response": o.object("in_progress", []any{}, nil)})
	}
	if p.text != "" || len(p.probs) > 0 {
		o.write(e, p)
	}
	for _, d := range p.calls {
		o.writeCall(e, d)
	}
	if p.finish != "" {
		o.stopped = p.finish
	}
}

// write sends some text of the message.
func (o *response) write(e *events, p piece) {
	o.endCall(e)
	if o.text == nil {
		o.begin(e)
	}
	o.said = append(o.said, p.text...)
	probs := o.m.tokenList(p.probs, o.top)
	o.probs = append(o.probs, probs...)
	o.event(e, "response.output_text.delta", map[string]any{"item_id": o.text["id"], "output_index": len(o.items), "content_index": 0, "delta": p.text, "logprobs": probs})
}

// begin opens a message.
func (o *response) begin(e *events) {
	id := "msg_" + randomID()
	o.text = messageItem(id, "in_progress")
	o.event(e, "response.output_item.added", map[string]any{"output_index": len(o.items), "item": o.text})
	o.event(e, "response.content_part.added", map[string]any{"item_id": id, "output_index": len(o.items), "content_index": 0, "part": textPart("", nil)})
}

// endText closes the message.
func (o *response) endText(e *events) {
	if o.text == nil {
		return
	}
	id, at := o.text["id"], len(o.items)
	part := textPart(string(o.said), o.probs)
	o.event(e, "response.output_text.done", map[string]any{"item_id": id, "output_index": at, "content_index": 0, "text": string(o.said), "logprobs": part["logprobs"]})
	o.event(e, "response.content_part.done", map[string]any{"item_id": id, "output_index": at, "content_index": 0, "part": part})
	item := messageItem(id.(string), status(o.stopped), part)
	o.event(e, "response.output_item.done", map[string]any{"output_index": at, "item": item})
	o.items, o.text, o.said, o.probs = append(o.items, item), nil, nil, nil
}

// writeCall sends some of a call.
func (o *response) writeCall(e *events, d callDelta) {
	o.endText(e)
	if d.id != "" {
		o.endCall(e)
		o.call, o.callID = &call{id: d.id, name: d.name}, "fc_"+randomID()
		o.event(e, "response.output_item.added", map[string]any{"output_index": len(o.items), "item": callItem(o.callID, "in_progress", *o.call)})
	}
	if o.call != nil && d.extra != "" {
		o.call.arguments += d.extra
		o.event(e, "response.function_call_arguments.delta", map[string]any{"item_id": o.callID, "output_index": len(o.items), "delta": d.extra})
	}
}

// endCall closes a call.
func (o *response) endCall(e *events) {
	if o.call == nil {
		return
	}
	at := len(o.items)
	o.event(e, "response.function_call_arguments.done", map[string]any{"item_id": o.callID, "output_index": at, "name": o.call.name, "arguments": o.call.arguments})
	item := callItem(o.callID, status(o.stopped), *o.call)
	o.event(e, "response.output_item.done", map[string]any{"output_index": at, "item": item})
	o.items, o.call = append(o.items, item), nil
}

// done implements responder.
func (o *response) done(e *events, used *counts) {
	if o.text == nil && o.call == nil && len(o.items) == 0 {
		o.begin(e) // an empty answer is a message nevertheless
	}
	o.endText(e)
	o.endCall(e)
	state := status(o.stopped)
	o.event(e, "response."+state, map[string]any{"response": o.object(state, o.items, used.responseUsage())})
}
