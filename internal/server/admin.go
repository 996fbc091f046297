package server

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// addition is the body of a request that loads something. lora_name and lora_path are how
// vLLM calls the first and the last.
type addition struct {
	Name     string `json:"name"`
	Path     string `json:"path"`
	Base     string `json:"base"`
	LoraName string `json:"lora_name"`
	LoraPath string `json:"lora_path"`
}

// readAddition reads and checks one.
func (s *Server) readAddition(w http.ResponseWriter, r *http.Request) (a addition, err error) {
	if _, err := s.read(w, r, &a); err != nil {
		return a, err
	}
	if a.LoraName != "" {
		a.Name = a.LoraName
	}
	if a.LoraPath != "" {
		a.Path = a.LoraPath
	}
	if err := checkName(a.Name); err != nil {
		return a, err
	}
	a.Path, err = s.inRoots(a.Path)
	return a, err
}

// inRoots finds a directory or file below one of the configured roots: links in the path
// are followed before it is looked where it leads.
func (s *Server) inRoots(path string) (string, error) {
	outside := &Error{Status: http.StatusForbidden, Type: "permission_error", Code: "path_not_allowed", Param: "path",
		Message: "the path is not that of a model below one of the server's --model_roots"}
	if path == "" || strings.ContainsRune(path, 0) {
		return "", outside
	}
	for _, root := range s.c.Roots {
		full := path
		if !filepath.IsAbs(full) {
			full = filepath.Join(root, full)
		}
		full, err := filepath.EvalSymlinks(full)
		if err != nil {
			continue
		}
		real, err := filepath.EvalSymlinks(root)
		if err != nil {
			continue
		}
		if full, err = filepath.Abs(full); err != nil {
			continue
		}
		if real, err = filepath.Abs(real); err != nil {
			continue
		}
		if below, err := filepath.Rel(real, full); err == nil && filepath.IsLocal(below) && below != "." {
			if _, err := os.Stat(full); err == nil {
				return full, nil
			}
		}
	}
	return "", outside
}

// cannotLoad is the error of a model that is there and cannot be used. Administrators may
// see why.
func cannotLoad(err error) error {
	if e, ok := err.(*Error); ok {
		return e
	}
	return &Error{Status: http.StatusUnprocessableEntity, Type: "invalid_request_error", Code: "cannot_load", Param: "path", Message: err.Error()}
}

// addModel answers POST /admin/models: {"name": …, "path": …} loads a model, and the answer
// comes when it can be used.
func (s *Server) addModel(w http.ResponseWriter, r *http.Request) error {
	a, err := s.readAddition(w, r)
	if err != nil {
		return err
	}
	if s.c.Open == nil {
		return &Error{Status: http.StatusForbidden, Type: "permission_error", Code: "no_admin", Message: "this server loads no models while it runs; start it with --model_roots"}
	}
	// A client that goes away does not leave a model half loaded.
	err = s.models.addModel(a.Name, func() (Model, error) { return s.c.Open(context.WithoutCancel(r.Context()), a.Path) })
	if err != nil {
		return cannotLoad(err)
	}
	return s.added(w, a.Name)
}

// addAdapter answers POST /admin/adapters: {"name": …, "path": …, "base": name of a model}.
func (s *Server) addAdapter(w http.ResponseWriter, r *http.Request) error {
	a, err := s.readAddition(w, r)
	if err != nil {
		return err
	}
	if err := s.models.addAdapter(context.WithoutCancel(r.Context()), a.Name, a.Base, a.Path); err != nil {
		return cannotLoad(err)
	}
	return s.added(w, a.Name)
}

func (s *Server) added(w http.ResponseWriter, name string) error {
	s.log.Info("loaded", "name", name)
	m, release, err := s.models.acquire(name, false)
	if err != nil {
		return err // removed again meanwhile
	}
	defer release()
	writeJSON(w, http.StatusOK, m.object())
	return nil
}

// removeModel answers DELETE /admin/models/NAME and DELETE /admin/adapters/NAME: new requests
// are refused at once, those that run are finished, then the answer comes.
func (s *Server) removeModel(w http.ResponseWriter, r *http.Request) error {
	name := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/admin/models/"), "/admin/adapters/")
	return s.removed(w, r, name)
}

// unloadAdapter answers vLLM's POST /v1/unload_lora_adapter.
func (s *Server) unloadAdapter(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Name string `json:"lora_name"`
	}
	if _, err := s.read(w, r, &in); err != nil {
		return err
	}
	return s.removed(w, r, in.Name)
}

func (s *Server) removed(w http.ResponseWriter, r *http.Request, name string) error {
	if err := s.models.remove(r.Context(), name); err != nil {
		if e, ok := err.(*Error); ok {
			return e
		}
		if r.Context().Err() != nil {
			return errGone
		}
		return err
	}
	s.log.Info("unloaded", "name", name)
	writeJSON(w, http.StatusOK, map[string]any{"id": name, "object": "model", "deleted": true})
	return nil
}
