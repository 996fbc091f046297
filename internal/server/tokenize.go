package server

import (
	"encoding/json"
	"net/http"
	"unicode/utf8"
)

// tokenize answers POST /tokenize: the ids of {"content": text} (llama.cpp's name; vLLM's
// "prompt" does as well), or of the prompt that {"messages": […]} become.
func (s *Server) tokenize(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		chatRequest
		Content    *string `json:"content"`
		Prompt     *string `json:"prompt"`
		AddSpecial bool    `json:"add_special"`        // as llama.cpp calls it
		Special    *bool   `json:"add_special_tokens"` // as vLLM does, where it is on unless told
		WithPieces bool    `json:"with_pieces"`
	}
	body, err := s.read(w, r, &in)
	if err != nil {
		return err
	}
	m, release, err := s.acquire(r.Context(), in.Model)
	if err != nil {
		return err
	}
	defer release()
	var ids []int32
	tok := m.model.Tokenizer()
	switch {
	case !isNull(in.Messages):
		in.bare = true
		q, err := s.chatQuestion(m, &in.chatRequest, string(body))
		if err != nil {
			return err
		}
		ids = q.ids
	case in.Content != nil:
		ids = tok.Encode(*in.Content, or(in.Special, in.AddSpecial))
	case in.Prompt != nil:
		ids = tok.Encode(*in.Prompt, or(in.Special, true))
	default:
		return bad("content", "content is missing: {\"content\": text}, {\"prompt\": text} or {\"messages\": […]} wanted")
	}
	tokens := make([]any, len(ids))
	for i, id := range ids {
		if tokens[i] = id; in.WithPieces {
			tokens[i] = map[string]any{"id": id, "piece": m.pieceOf(id)}
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{"tokens": tokens, "count": len(ids), "max_model_len": m.model.Context()})
	return nil
}

// pieceOf is the text of a token, or its bytes where they are no text by themselves.
func (m *served) pieceOf(id int32) any {
	b := m.tokenBytes(id)
	if utf8.Valid(b) {
		return string(b)
	}
	return numbers(b)
}

// numbers are bytes as JSON's numbers: []byte would be written in base64.
func numbers(b []byte) []int {
	list := make([]int, len(b))
	for i, x := range b {
		list[i] = int(x)
	}
	return list
}

// detokenize answers POST /detokenize: the text of {"tokens": […]}.
func (s *Server) detokenize(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Model  string          `json:"model"`
		Tokens json.RawMessage `json:"tokens"`
	}
	if _, err := s.read(w, r, &in); err != nil {
		return err
	}
	m, release, err := s.acquire(r.Context(), in.Model)
	if err != nil {
		return err
	}
	defer release()
	var ids []int32
	if isNull(in.Tokens) || json.Unmarshal(in.Tokens, &ids) != nil {
		return bad("tokens", "tokens must be a list of token ids")
	}
	for _, id := range ids {
		if id < 0 || int(id) >= m.model.Vocab() {
			return bad("tokens", "token id %d is out of range; the model has %d", id, m.model.Vocab())
		}
	}
	text := m.model.Tokenizer().Decode(ids, false)
	writeJSON(w, http.StatusOK, map[string]any{"content": text, "prompt": text}) // as llama.cpp and as vLLM call it
	return nil
}

// applyTemplate answers POST /apply-template: the prompt that messages become, as text.
func (s *Server) applyTemplate(w http.ResponseWriter, r *http.Request) error {
	var in chatRequest
	body, err := s.read(w, r, &in)
	if err != nil {
		return err
	}
	m, release, err := s.acquire(r.Context(), in.Model)
	if err != nil {
		return err
	}
	defer release()
	in.bare = true
	q, err := s.chatQuestion(m, &in, string(body))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, map[string]any{"prompt": m.model.Tokenizer().Decode(q.ids, false)})
	return nil
}
