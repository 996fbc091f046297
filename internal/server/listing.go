package server

import (
	"net/http"
	"strings"
)

// object is a model as GET /v1/models lists it.
func (m *served) object() map[string]any {
	o := map[string]any{"id": m.name, "object": "model", "created": m.created.Unix(), "owned_by": "litgpt", "max_model_len": m.model.Context(), "root": m.name, "parent": nil}
	if m.base != nil {
		o["root"], o["parent"] = m.base.name, m.base.name
	}
	return o
}

// listModels answers GET /v1/models.
func (s *Server) listModels(w http.ResponseWriter, r *http.Request) error {
	list := []any{}
	for _, m := range s.models.list() {
		list = append(list, m.object())
	}
	writeJSON(w, http.StatusOK, map[string]any{"object": "list", "data": list})
	return nil
}

// oneModel answers GET /v1/models/NAME.
func (s *Server) oneModel(w http.ResponseWriter, r *http.Request) error {
	name := strings.TrimPrefix(r.URL.Path, "/v1/models/")
	m, release, err := s.models.acquire(name, false)
	if err != nil {
		return err
	}
	defer release()
	writeJSON(w, http.StatusOK, m.object())
	return nil
}
