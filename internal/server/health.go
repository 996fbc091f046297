package server

import (
	"io"
	"net/http"
	"runtime/debug"
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

// info answers GET /info as LitServe does: what is served, and how.
func (s *Server) info(w http.ResponseWriter, r *http.Request) error {
	list := []any{}
	for _, m := range s.models.list() {
		list = append(list, m.object())
	}
	writeJSON(w, http.StatusOK, map[string]any{"model": list, "server": map[string]any{"queue": s.c.Queue, "timeout": s.c.Timeout.Seconds(), "max_payload_size": s.c.MaxBody,
		"stream": s.c.Predict.Stream, "api_path": s.c.Predict.Path, "max_tokens": s.c.MaxTokens}})
	return nil
}

// version answers GET /version.
func (s *Server) version(w http.ResponseWriter, r *http.Request) error {
	version := "(devel)"
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Version != "" {
		version = b.Main.Version
	}
	writeJSON(w, http.StatusOK, map[string]any{"version": version})
	return nil
}
