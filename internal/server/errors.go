package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/litgpt-go/litgpt/internal/generate"
)

// Error is an error as the OpenAI API tells it.
type Error struct {
	Status     int           // of HTTP
	Type, Code string        // "invalid_request_error", "model_not_found"; Code may be ""
	Param      string        // the parameter it is about; "" for none
	Message    string        // lower case, as everywhere here
	RetryAfter time.Duration // 0: not to be retried
	Allow      []string      // with 405: the methods that there are
	extra      map[string]any
}

func (e *Error) Error() string { return e.Message }

// body is what follows "error": in a response.
func (e *Error) body() map[string]any {
	body := map[string]any{"message": e.Message, "type": e.Type, "param": orNull(e.Param), "code": orNull(e.Code)}
	for k, v := range e.extra {
		body[k] = v
	}
	return map[string]any{"error": body}
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// bad is a request that cannot be answered because of one of its parameters.
func bad(param, format string, a ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Type: "invalid_request_error", Param: param, Message: fmt.Sprintf(format, a...)}
}

func notFound(model string) *Error {
	return &Error{Status: http.StatusNotFound, Type: "invalid_request_error", Code: "model_not_found", Param: "model",
		Message: fmt.Sprintf("the model %q does not exist; GET /v1/models lists those there are", clip(model))}
}

// tooLong is a prompt that leaves no room for an answer. The last two fields are llama.cpp's.
func tooLong(prompt, context int) *Error {
	e := bad("messages", "the prompt has %d tokens, which leaves none of the model's context of %d for an answer; shorten the prompt", prompt, context)
	e.Code = "context_length_exceeded"
	e.extra = map[string]any{"n_prompt_tokens": prompt, "n_ctx": context}
	return e
}

var (
	errBusy = &Error{Status: http.StatusTooManyRequests, Type: "rate_limit_error", Code: "queue_full", RetryAfter: time.Second,
		Message: "as many requests wait as the server lets wait; try again shortly"}
	errDraining = &Error{Status: http.StatusServiceUnavailable, Type: "service_unavailable", Code: "draining", RetryAfter: 5 * time.Second,
		Message: "the server is shutting down"}
	errLoading = &Error{Status: http.StatusServiceUnavailable, Type: "service_unavailable", Code: "loading", RetryAfter: 2 * time.Second,
		Message: "the server is still loading its models"}
	errTimeout = &Error{Status: http.StatusGatewayTimeout, Type: "timeout_error", Code: "timeout",
		Message: "the request took longer than the server allows; ask for fewer tokens"}
	errPanic = &Error{Status: http.StatusInternalServerError, Type: "server_error", Code: "internal_error", Message: "internal error; the server's log has more"}
)

// statusGone is what the log and the metrics say of a request whose client went away.
const statusGone = 499

// errGone is such a request: nobody reads what it says.
var errGone = &Error{Status: statusGone, Type: "cancelled", Message: "the client closed the connection"}

// asError is err as clients are told of it. What they have no part in says no more than that
// it happened: its text may name files.
func asError(ctx context.Context, err error) *Error {
	var e *Error
	var full *generate.ContextError
	var adapter *generate.AdapterError
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &adapter):
		return notFound(adapter.Name)
	case errors.Is(err, generate.ErrFull):
		return errBusy
	case errors.Is(err, generate.ErrClosed):
		return errDraining
	case errors.As(err, &full):
		return tooLong(full.Prompt, full.Context)
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		return errTimeout
	case errors.Is(context.Cause(ctx), errDraining):
		return errDraining
	case ctx.Err() != nil:
		return errGone
	}
	return &Error{Status: http.StatusInternalServerError, Type: "server_error", Code: "generation_failed", Message: "the model could not answer; the server's log has more"}
}

// writeError answers a request with an error.
func writeError(w http.ResponseWriter, e *Error) {
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((e.RetryAfter+time.Second-1)/time.Second)))
	}
	if len(e.Allow) > 0 {
		w.Header().Set("Allow", strings.Join(e.Allow, ", "))
	}
	if e.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	status := e.Status
	if status == statusGone {
		status = http.StatusServiceUnavailable // nobody reads it
	}
	writeJSON(w, status, e.body())
}

// writeJSON answers with a value; those of this package can be written as JSON.
func writeJSON(w http.ResponseWriter, status int, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.Encode(v) // an error is a client that went away
}

// clip shortens a client's text for a message.
func clip(s string) string {
	const most = 100
	if len(s) <= most {
		return s
	}
	n := 0
	for i := range s {
		if i > most {
			break
		}
		n = i
	}
	return s[:n] + "…"
}
