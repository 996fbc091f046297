package server

import (
	"io"
	"net/http"
)

// health answers GET /health: "ok" when requests can be answered, as LitServe says it, and
// 503 while models are loaded and from the moment a shutdown begins.
func (s *Server) health(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	if s.stopping.Load() {
		return errDraining
	}
	if !s.ready.Load() {
		return errLoading
	}
	if r.Header.Get("Accept") == "application/json" {
		writeJSON(w, http.StatusOK, map[string]any{"status": "ok"})
		return nil
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.WriteString(w, "ok")
	return nil
}

// live answers GET /health/live: the process answers, whatever it is busy with.
func (s *Server) live(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	io.WriteString(w, "ok")
	return nil
}
