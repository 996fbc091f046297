package server

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// state is what is known of a request while it is answered. The goroutine of its handler
// uses it.
type state struct {
	id      string
	notes   []any // keys and values for the log
	content bool  // texts are logged
}

type stateKey struct{}

func stateOf(ctx context.Context) *state {
	st, _ := ctx.Value(stateKey{}).(*state)
	return st
}

// requestID is the id of the request that ctx belongs to.
func requestID(ctx context.Context) string {
	if st := stateOf(ctx); st != nil {
		return st.id
	}
	return ""
}

// note adds to the request's line of the log.
func note(ctx context.Context, keysAndValues ...any) {
	if st := stateOf(ctx); st != nil {
		st.notes = append(st.notes, keysAndValues...)
	}
}

// logContent notes what a client wrote, where that is asked for.
func logContent(ctx context.Context, key, text string) {
	if st := stateOf(ctx); st != nil && st.content {
		st.notes = append(st.notes, key, text)
	}
}

// idPattern is what a client's X-Request-Id must be like to be taken over.
var idPattern = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,128}$`)

// randomID is 26 letters and digits.
func randomID() string { return rand.Text() }

// recorder remembers the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	st := &state{id: r.Header.Get("X-Request-Id"), content: s.c.LogContent}
	if !idPattern.MatchString(st.id) {
		st.id = "req-" + randomID()
	}
	r = r.WithContext(context.WithValue(r.Context(), stateKey{}, st))
	rec := &recorder{ResponseWriter: w}
	h := rec.Header()
	h.Set("X-Request-Id", st.id)
	h.Set("X-Content-Type-Options", "nosniff")
	late := time.Time{} // nobody reads an answer forever; streams are given less, again and again
	if s.c.Timeout > 0 {
		late = start.Add(s.c.Timeout + s.c.WriteTimeout)
	}
	http.NewResponseController(w).SetWriteDeadline(late) // not supported by a test's recorder
	found, missing := s.find(r)
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			s.panicked(r.Context(), p)
			if rec.status == 0 {
				writeError(rec, errPanic)
			}
			rec.status = http.StatusInternalServerError
		}
		s.record(r, found, rec, st, time.Since(start))
	}()
	err := s.guard(rec, r, found, missing)
	if err == nil {
		return
	}
	e := asError(r.Context(), err)
	if e.Status == http.StatusInternalServerError && !errors.As(err, new(*Error)) {
		s.log.Error("request", "request", st.id, "error", err.Error())
	}
	note(r.Context(), "error", e.Message)
	if rec.status == 0 {
		writeError(rec, e)
	}
	rec.status = e.Status // also of a stream that was begun
}

// record logs and counts a request that is answered.
func (s *Server) record(r *http.Request, found route, rec *recorder, st *state, took time.Duration) {
	s.metrics.request(found.path, rec.status, took)
	if found.access == open && rec.status < 400 {
		return // probes, every second
	}
	args := []any{"request", st.id, "method", r.Method, "path", clip(r.URL.Path), "status", rec.status, "ms", took.Milliseconds(), "bytes", rec.bytes, "client", r.RemoteAddr}
	s.log.Info("answered", append(args, st.notes...)...)
}

// guard checks who asks and hands the request to its endpoint.
func (s *Server) guard(w http.ResponseWriter, r *http.Request, found route, missing *Error) error {
	if err := s.checkHost(r); err != nil {
		return err
	}
	if s.cors(w, r) {
		return nil
	}
	if missing == nil || missing.Status != http.StatusNotFound {
		if err := s.authorize(r, found.access); err != nil {
			return err
		}
	}
	if missing != nil {
		return missing
	}
	return found.handle(w, r)
}

// checkHost refuses names that are not the server's: a web page can make its own name lead
// to a server on the reader's machine, and so read what is not meant for it.
func (s *Server) checkHost(r *http.Request) error {
	if s.c.Hosts == nil {
		return nil
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if slices.Contains(s.c.Hosts, strings.ToLower(strings.Trim(host, "[]"))) {
		return nil
	}
	return &Error{Status: http.StatusForbidden, Type: "permission_error", Code: "unknown_host", Message: "the server does not go by the name in the Host header; start it with that name in --allowed_hosts"}
}

// cors answers what browsers ask on behalf of pages of other origins; done says that the
// request was nothing but such a question.
func (s *Server) cors(w http.ResponseWriter, r *http.Request) (done bool) {
	origin := r.Header.Get("Origin")
	if origin == "" || len(s.c.Origins) == 0 {
		return false
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	if !slices.Contains(s.c.Origins, "*") && !slices.Contains(s.c.Origins, origin) {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", "X-Request-Id, Retry-After")
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, POST, DELETE")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, X-Api-Key, X-Request-Id")
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}
