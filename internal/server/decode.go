package server

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"
)

// maxDepth is how deep the JSON of a request may be nested.
const maxDepth = 100

// read reads the body of a POST into v, a pointer to a struct, and returns it.
func (s *Server) read(w http.ResponseWriter, r *http.Request, v any) (body []byte, err error) {
	if body, err = s.readBody(w, r); err != nil {
		return nil, err
	}
	return body, unmarshal(body, v)
}

// readBody reads the body of a POST, JSON by its header, UTF-8, no deeper and no longer
// than allowed.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		// A page of another origin may send other types without asking (CORS). curl -d says application/x-www-form-urlencoded.
		return nil, &Error{Status: http.StatusUnsupportedMediaType, Type: "invalid_request_error", Code: "unsupported_media_type",
			Message: fmt.Sprintf("the body must be JSON with the header Content-Type: application/json, got %s; with curl, add -H 'Content-Type: application/json'",
				cmp.Or(clip(r.Header.Get("Content-Type")), "none"))}
	}
	large := &Error{Status: http.StatusRequestEntityTooLarge, Type: "invalid_request_error", Code: "request_too_large",
		Message: fmt.Sprintf("the body is larger than the %d bytes that the server takes", s.c.MaxBody)}
	if r.ContentLength > s.c.MaxBody {
		w.Header().Set("Connection", "close") // rather than to read it to its end
		return nil, large
	}
	paced := &pacedBody{from: http.MaxBytesReader(w, r.Body, s.c.MaxBody), control: http.NewResponseController(w), end: time.Now().Add(s.c.HeadTimeout)}
	body, err := io.ReadAll(paced)
	if err == nil {
		paced.control.SetReadDeadline(time.Time{}) // else its end would look as if the client had gone
	} else {
		w.Header().Set("Connection", "close") // the rest is not waited for
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, large
	}
	if err != nil {
		return nil, bad("", "the body cannot be read: it ends early or comes too slowly")
	}
	return body, checkJSON(body)
}

// pacedBody is a body that must come as fast as a header, and for each 64 KiB that came may
// take a second more.
type pacedBody struct {
	from    io.Reader
	control *http.ResponseController
	end     time.Time
	n       int
}

func (p *pacedBody) Read(b []byte) (int, error) {
	p.control.SetReadDeadline(p.end.Add(time.Duration(p.n>>16) * time.Second)) // not supported by a test's recorder
	n, err := p.from.Read(b)
	p.n += n
	return n, err
}

// checkJSON checks what the decoder would let pass, or be slow to find.
func checkJSON(body []byte) error {
	if !utf8.Valid(body) {
		return bad("", "the body is not UTF-8")
	}
	depth, quoted := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return bad("", "the body is nested more than %d deep", maxDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// unmarshal decodes the body into v, a pointer to a struct, and names the parameter that is
// wrong. Unknown ones are passed over: clients send what their vendor knows.
func unmarshal(body []byte, v any) error {
	err := json.Unmarshal(body, v)
	var wrong *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrong) && wrong.Field != "":
		field := wrong.Field
		for _, embedded := range []string{"chatRequest.", "common."} { // which clients know nothing of
			field = strings.TrimPrefix(field, embedded)
		}
		if number, ok := strings.CutPrefix(wrong.Value, "number "); ok && (strings.Trim(number, "-0123456789") == "" || kindName(wrong.Type) == "a number") {
			return bad(field, "%s is %s, which is out of range", clip(field), clip(number)) // of the type it is held in
		}
		return bad(field, "%s is a JSON %s; %s wanted", clip(field), clip(wrong.Value), kindName(wrong.Type))
	case errors.As(err, &wrong):
		return bad("", "the body is a JSON %s; an object wanted", wrong.Value)
	case errors.As(err, &syntax):
		return bad("", "the body is no JSON: %v at byte %d", syntax, syntax.Offset)
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return bad("", "the body is no JSON that is understood: %s", clip(err.Error()))
}

// kindName is how JSON calls a type of ours.
func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "an object"
	case reflect.Pointer:
		return kindName(t.Elem())
	}
	if strings.HasPrefix(t.Kind().String(), "int") || strings.HasPrefix(t.Kind().String(), "uint") {
		return "a whole number"
	}
	return "a number"
}

// isNull reports whether a value was left out, or is null.
func isNull(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

// stringOrList reads a parameter that is a string or a list of strings.
func stringOrList(raw json.RawMessage, param string) ([]string, error) {
	if isNull(raw) {
		return nil, nil
	}
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return []string{one}, nil
	}
	var list []string
	if json.Unmarshal(raw, &list) != nil {
		return nil, bad(param, "%s must be a string or a list of strings", param)
	}
	return list, nil
}
