package server

import (
	"context"
	"encoding/json"
	"net/http"
)

// Predict is LitGPT's own endpoint: a prompt in, text out, sampled as the server was told.
type Predict struct {
	Path      string // "/predict"
	Stream    bool   // JSON lines, one for each piece of text; else one object
	MaxTokens int    // of an answer
}

// predictRequest is its body. LitGPT knows the prompt only; the rest is a courtesy.
type predictRequest struct {
	Prompt json.RawMessage `json:"prompt"`
	common
}

// predict answers POST /predict. The prompt is written in the model's style, as LitGPT does.
func (s *Server) predict(w http.ResponseWriter, r *http.Request) error {
	var in predictRequest
	body, err := s.read(w, r, &in)
	if err != nil {
		return err
	}
	if isNull(in.Prompt) {
		return bad("prompt", "the prompt is missing; {\"prompt\": \"text\"} wanted")
	}
	var prompt string
	if json.Unmarshal(in.Prompt, &prompt) != nil {
		prompt = string(in.Prompt) // LitGPT makes a text of whatever it is
	}
	in.Stream = in.Stream || s.c.Predict.Stream
	return s.serve(w, r, in.Model, func(ctx context.Context, m *served) (*reply, error) {
		logContent(ctx, "prompt", prompt)
		q := &question{m: m}
		if q.settings, err = s.settings(&in.common, m.model.Vocab()); err != nil {
			return nil, err
		}
		if in.MaxTokens == nil && in.MaxCompletionTokens == nil && in.NPredict == nil {
			q.settings.max = s.c.Predict.MaxTokens
		}
		q.settings.n = 1
		c := conversation{guard: m.guardFor(string(body)), open: true, messages: []message{{role: "user", content: prompt}}}
		if c.guard == nil {
			return nil, errMarks
		}
		if q.ids, err = m.prompt(c); err != nil {
			return nil, err
		}
		return &reply{questions: []*question{q}, out: predictResponse{}, stream: in.Stream, lines: true}, nil
	})
}

// predictResponse writes {"output": "…"}: the whole, or a line for each piece.
type predictResponse struct{}

func (predictResponse) piece(e *events, p piece) {
	if p.text != "" {
		e.add("", map[string]any{"output": p.text})
	}
}

func (predictResponse) done(*events, *counts) {}

func (predictResponse) whole(choices []whole, _ *counts) any {
	return map[string]any{"output": string(choices[0].text)}
}
