package server

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"net/http"
)

// embeddings answers POST /v1/embeddings: a unit vector for each text.
func (s *Server) embeddings(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Model      string          `json:"model"`
		Input      json.RawMessage `json:"input"`
		Format     string          `json:"encoding_format"`
		Dimensions *int            `json:"dimensions"`
		User       string          `json:"user"`
	}
	if _, err := s.read(w, r, &in); err != nil {
		return err
	}
	if in.Format != "" && in.Format != "float" && in.Format != "base64" {
		return bad("encoding_format", "encoding_format is %q; float or base64 wanted", clip(in.Format))
	}
	m, release, err := s.acquire(r.Context(), in.Model)
	if err != nil {
		return err
	}
	defer release()
	texts, err := s.prompts(m, in.Input, "input", true)
	if err != nil {
		return err
	}
	logContent(r.Context(), "input", string(in.Input))
	tokens := 0
	for i, ids := range texts {
		if len(ids) > m.model.Context() {
			e := tooLong(len(ids), m.model.Context())
			e.Param = "input"
			e.Message = "one of the texts is longer than the model's context; split it"
			return e
		}
		tokens += len(texts[i])
	}
	leave, err := s.enter(m, len(texts))
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := s.working(r.Context())
	defer cancel()
	note(ctx, "prompt_tokens", tokens)
	data := []any{}
	for i, ids := range texts {
		v, err := m.model.Embed(ctx, m.adapter(), ids)
		if err != nil {
			return err
		}
		if d := or(in.Dimensions, len(v)); d != len(v) {
			return bad("dimensions", "dimensions is %d; the model's embeddings have %d and are not cut", d, len(v))
		}
		data = append(data, map[string]any{"object": "embedding", "index": i, "embedding": encoded(v, in.Format)})
	}
	writeJSON(w, http.StatusOK, map[string]any{"object": "list", "model": m.name, "data": data, "usage": map[string]any{"prompt_tokens": tokens, "total_tokens": tokens}})
	return nil
}

// encoded is a vector as it was asked for: numbers, or base64 of little-endian float32.
func encoded(v []float32, format string) any {
	if format != "base64" {
		return v
	}
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return base64.StdEncoding.EncodeToString(b)
}
