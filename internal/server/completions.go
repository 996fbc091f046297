package server

import (
	"context"
	"encoding/json"
	"net/http"
)

// completionRequest is the body of POST /v1/completions.
type completionRequest struct {
	common
	Prompt         json.RawMessage `json:"prompt"`
	Echo           bool            `json:"echo"`
	Logprobs       *int            `json:"logprobs"`
	BestOf         *int            `json:"best_of"`
	Suffix         string          `json:"suffix"`
	ResponseFormat json.RawMessage `json:"response_format"`
	Grammar        string          `json:"grammar"`
	Regex          string          `json:"regex"`
	Special        *bool           `json:"add_special_tokens"`
}

// completions answers POST /v1/completions: text is continued as it is, without a template.
func (s *Server) completions(w http.ResponseWriter, r *http.Request) error {
	var in completionRequest
	if _, err := s.read(w, r, &in); err != nil {
		return err
	}
	return s.serve(w, r, in.Model, func(ctx context.Context, m *served) (*reply, error) {
		out, questions, err := s.completionQuestions(m, &in)
		if err != nil {
			return nil, err
		}
		logContent(ctx, "prompt", string(in.Prompt))
		return &reply{questions: questions, out: out, stream: in.Stream}, nil
	})
}

// completionQuestions turns a request into a question for each prompt.
func (s *Server) completionQuestions(m *served, in *completionRequest) (*textResponse, []*question, error) {
	g, err := s.settings(&in.common, m.model.Vocab())
	if err != nil {
		return nil, nil, err
	}
	switch top := or(in.Logprobs, 0); {
	case in.Suffix != "":
		return nil, nil, bad("suffix", "suffix is not served: the models have no form for text to be filled in")
	case in.BestOf != nil && *in.BestOf != g.n:
		return nil, nil, bad("best_of", "best_of is not served other than as n")
	case top < 0 || top > maxLogprobs:
		return nil, nil, bad("logprobs", "logprobs is %d; 0 to %d wanted", top, maxLogprobs)
	case in.Logprobs != nil && in.Echo:
		return nil, nil, bad("echo", "echo with logprobs is not served; litgpt score measures a text")
	case in.Logprobs != nil:
		g.logprobs = 1 + top
	}
	prompts, err := s.prompts(m, in.Prompt, "prompt", or(in.Special, true))
	if err != nil {
		return nil, nil, err
	}
	out := &textResponse{echo: in.Echo, top: or(in.Logprobs, 0)}
	var questions []*question
	for _, ids := range prompts {
		q := &question{m: m, ids: ids, settings: g}
		if err := s.constrain(q, in.ResponseFormat, in.Grammar, in.Regex); err != nil {
			return nil, nil, err
		}
		questions = append(questions, q)
		for range g.n {
			out.asked = append(out.asked, q)
		}
	}
	out.completion = newCompletion("cmpl-", m, questions[0], &in.common)
	return out, questions, nil
}

// prompts reads a prompt, or an input for embeddings: a text, ids, or a list of either.
func (s *Server) prompts(m *served, raw json.RawMessage, param string, special bool) (all [][]int32, err error) {
	const wanted = "a text, a list of token ids, or a list of either wanted"
	if isNull(raw) {
		return nil, bad(param, "the %s is missing; %s", param, wanted)
	}
	if raw[0] != '[' {
		raw = append(append(json.RawMessage("["), raw...), ']')
	}
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil || len(items) == 0 {
		return nil, bad(param, "the %s is empty; %s", param, wanted)
	}
	if c := items[0][0]; c == '-' || c >= '0' && c <= '9' {
		items = []json.RawMessage{raw}
	}
	if len(items) > s.c.MaxInputs {
		return nil, bad(param, "there are %d texts; at most %d wanted in one request", len(items), s.c.MaxInputs)
	}
	tok, vocab := m.model.Tokenizer(), m.model.Vocab()
	for _, item := range items {
		var text string
		var ids []int32
		if json.Unmarshal(item, &text) == nil && item[0] == '"' {
			all = append(all, tok.Encode(text, special))
			continue
		}
		if json.Unmarshal(item, &ids) != nil || item[0] != '[' {
			return nil, bad(param, "the %s is not understood; %s", param, wanted)
		}
		for _, id := range ids {
			if id < 0 || int(id) >= vocab {
				return nil, bad(param, "token id %d is out of range; the model has %d", id, vocab)
			}
		}
		all = append(all, ids)
	}
	for _, ids := range all {
		if len(ids) == 0 {
			return nil, bad(param, "the %s is empty; at least one token wanted", param)
		}
	}
	return all, nil
}

// textResponse writes completions.
type textResponse struct {
	completion
	asked   []*question // by choice
	echo    bool
	top     int
	offsets map[int]int // by choice, characters sent
}

// object is a response or an event about some text of a choice.
func (t *textResponse) choice(i int, text string, probs []tokenProb, finish any) map[string]any {
	if t.offsets == nil {
		t.offsets = map[int]int{}
	}
	choice := map[string]any{"index": i, "text": text, "logprobs": nil, "finish_reason": finish}
	if t.q.settings.logprobs > 0 {
		choice["logprobs"] = t.logprobs(i, probs)
	}
	return choice
}

// echoed is the text of a choice's prompt, where that was asked for.
func (t *textResponse) echoed(choice int) string {
	if !t.echo {
		return ""
	}
	return t.m.model.Tokenizer().Decode(t.asked[choice].ids, true)
}

// piece implements responder.
func (t *textResponse) piece(e *events, p piece) {
	text := p.text
	if _, begun := t.offsets[p.choice]; !begun {
		text = t.echoed(p.choice) + text
	}
	var finish any
	if p.finish != "" {
		finish = p.finish
	}
	choice := t.choice(p.choice, text, p.probs, finish)
	t.offsets[p.choice] += 0 // begun
	o := t.object("text_completion", []any{choice})
	if t.usage {
		o["usage"] = nil
	}
	e.add("", o)
}

// done implements responder.
func (t *textResponse) done(e *events, used *counts) {
	if t.usage {
		o := t.object("text_completion", []any{})
		o["usage"] = used.usage()
		e.add("", o)
	}
	e.text("[DONE]")
}

// whole implements responder.
func (t *textResponse) whole(choices []whole, used *counts) any {
	list := []any{}
	for i, w := range choices {
		list = append(list, t.choice(i, t.echoed(i)+string(w.text), w.probs, w.finish))
	}
	o := t.object("text_completion", list)
	o["usage"] = used.usage()
	return o
}

// logprobs are the probabilities of tokens as completions tell them; offsets count bytes
// of the answer.
func (t *textResponse) logprobs(choice int, probs []tokenProb) any {
	tokens, values, tops, offsets := []any{}, []any{}, []any{}, []any{}
	for _, p := range probs {
		tokens = append(tokens, string(t.m.tokenBytes(p.id)))
		values = append(values, finite(p.logprob))
		top := map[string]float32{}
		for _, alternative := range p.top[:min(len(p.top), t.top)] {
			top[string(t.m.tokenBytes(alternative.ID))] = finite(alternative.Logprob)
		}
		tops = append(tops, top)
		offsets = append(offsets, p.start)
	}
	return map[string]any{"tokens": tokens, "token_logprobs": values, "top_logprobs": tops, "text_offset": offsets}
}
