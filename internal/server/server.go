// Package server answers over HTTP for language models: the API that OpenAI's clients
// speak, LitGPT's own POST /predict, and what a service needs beside that (health, metrics,
// models that come and go, keys, limits, a shutdown that finishes what is begun).
//
// It knows a model by the interface Model, and text by package tokenizer; what computes is
// behind Model. A request goes through middleware.go (id, log, keys), the handler of its
// endpoint (one file each), which makes a question of it, and serve.go, which asks: answer.go
// turns the tokens of a model into text and tool calls, sse.go sends those.
//
// Start with Config, New and Server.Run. No text of a request is logged unless Config says so.
package server

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/litgpt-go/litgpt/internal/sample"
)

// Config is how a server behaves. NewConfig has the defaults.
type Config struct {
	Keys    *Keys    // who may ask; nil: everybody
	Origins []string // web pages of which origins may ask (CORS), "*" for all; nil: none
	Hosts   []string // names by which the server may be addressed; nil: any

	// Open opens a model for POST /admin/models; nil: there is no such thing. Roots are the
	// directories in which it, and adapters, may lie.
	Open  func(ctx context.Context, dir string) (Model, error)
	Roots []string

	Sampling   sample.Config // what requests that do not say otherwise get
	AnyModel   bool          // requests for unknown models go to the first one
	MaxBody    int64         // bytes of a request
	MaxTokens  int           // of one answer; 0: as many as fit the context
	MaxChoices int           // n of a request
	MaxInputs  int           // texts of one request for embeddings, or prompts of one for completions
	Queue      int           // choices of a model that run or wait; more are refused with 429

	Timeout      time.Duration // for one request; 0: none
	WriteTimeout time.Duration // for a client to take what it is sent
	HeadTimeout  time.Duration // for a client to send its header, and as long again for the body
	PreDrain     time.Duration // from the signal until no new connections are taken
	Grace        time.Duration // for what runs then

	Predict     Predict
	Page        http.Handler // of / and the files beside it; nil: none
	OpenMetrics bool         // /metrics needs no key
	LogContent  bool         // prompts go to the log
	Log         *slog.Logger
}

// NewConfig returns the defaults.
func NewConfig(log *slog.Logger) Config {
	return Config{
		Sampling: sample.Config{Temperature: 0.8, TopK: 50, TopP: 1}, MaxBody: 8 << 20, MaxChoices: 16, MaxInputs: 256, Queue: 256,
		Timeout: 10 * time.Minute, WriteTimeout: 30 * time.Second, HeadTimeout: 10 * time.Second, PreDrain: 0, Grace: 2 * time.Minute,
		Predict: Predict{Path: "/predict", MaxTokens: 50}, Log: log,
	}
}

// Server is the handler of all endpoints. Close ends it.
type Server struct {
	c        Config
	log      *slog.Logger
	models   *registry
	metrics  *metrics
	routes   map[string]map[string]route // by path, by method
	prefixes []route
	gates    gates

	ready    atomic.Bool // the models to begin with are loaded
	stopping atomic.Bool // a shutdown has begun: nobody should send more
	draining atomic.Bool // and nothing new is begun
	abort    context.Context
	stop     context.CancelCauseFunc
}

// access is who may use a route.
type access int

const (
	keyed access = iota // those with a key, if there are keys
	open                // everybody
	admin               // those with a key of an administrator: nobody without keys
)

// route is an endpoint.
type route struct {
	method, path string // a path that ends with / is of all that begin with it
	access       access
	handle       func(http.ResponseWriter, *http.Request) error
}

// New returns a server without models, not yet ready.
func New(c Config) *Server {
	s := &Server{c: c, log: c.Log, models: newRegistry(), routes: map[string]map[string]route{}}
	s.abort, s.stop = context.WithCancelCause(context.Background())
	s.metrics = newMetrics(s)
	metricsAccess := keyed
	if c.OpenMetrics {
		metricsAccess = open
	}
	for _, r := range []route{
		{"POST", "/v1/chat/completions", keyed, s.chat},
		{"POST", "/chat/completions", keyed, s.chat},
		{"POST", "/v1/completions", keyed, s.completions},
		{"POST", "/completions", keyed, s.completions},
		{"POST", c.Predict.Path, keyed, s.predict},
		{"POST", "/v1/responses", keyed, s.responses},
		{"POST", "/responses", keyed, s.responses},
		{"POST", "/v1/embeddings", keyed, s.embeddings},
		{"POST", "/embeddings", keyed, s.embeddings},
		{"POST", "/tokenize", keyed, s.tokenize},
		{"POST", "/detokenize", keyed, s.detokenize},
		{"POST", "/apply-template", keyed, s.applyTemplate},
		{"POST", "/admin/models", admin, s.addModel},
		{"DELETE", "/admin/models/", admin, s.removeModel},
		{"POST", "/admin/adapters", admin, s.addAdapter},
		{"DELETE", "/admin/adapters/", admin, s.removeModel},
		{"POST", "/v1/load_lora_adapter", admin, s.addAdapter},
		{"POST", "/v1/unload_lora_adapter", admin, s.unloadAdapter},
		{"GET", "/v1/models", keyed, s.listModels},
		{"GET", "/models", keyed, s.listModels},
		{"GET", "/v1/models/", keyed, s.oneModel},
		{"GET", "/health", open, s.health},
		{"GET", "/health/live", open, s.live},
		{"GET", "/v2/health/live", open, s.live},    // KServe's names
		{"GET", "/v2/health/ready", open, s.health}, // of the two
		{"GET", "/info", keyed, s.info},
		{"GET", "/version", keyed, s.version},
		{"GET", "/metrics", metricsAccess, s.showMetrics},
	} {
		if strings.HasSuffix(r.path, "/") {
			s.prefixes = append(s.prefixes, r)
			continue
		}
		if s.routes[r.path] == nil {
			s.routes[r.path] = map[string]route{}
		}
		s.routes[r.path][r.method] = r
	}
	return s
}

// AddModel adds a model that is loaded. The server closes it.
func (s *Server) AddModel(name string, m Model) error {
	return s.models.addModel(name, func() (Model, error) { return m, nil })
}

// AddAdapter adds an adapter on a model under a name of its own.
func (s *Server) AddAdapter(ctx context.Context, name, base, dir string) error {
	return s.models.addAdapter(ctx, name, base, dir)
}

// Ready lets requests in: all models that the server begins with are added.
func (s *Server) Ready() { s.ready.Store(true) }

// Close ends what still runs and closes the models.
func (s *Server) Close() error {
	s.stopping.Store(true)
	s.draining.Store(true)
	s.stop(errDraining)
	return s.models.closeAll(context.Background())
}

// find returns the route of a request.
func (s *Server) find(r *http.Request) (route, *Error) {
	path := r.URL.Path
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if methods := s.routes[path]; methods != nil {
		if found, ok := methods[method]; ok {
			return found, nil
		}
		return route{path: path}, wrongMethod(r.Method, slices.Sorted(maps.Keys(methods)))
	}
	for _, p := range s.prefixes {
		if strings.HasPrefix(path, p.path) && len(path) > len(p.path) {
			if p.method == method {
				return p, nil
			}
			return route{path: p.path}, wrongMethod(r.Method, []string{p.method})
		}
	}
	if s.c.Page != nil && method == http.MethodGet && (path == "/" || strings.HasPrefix(path, "/page/")) {
		return route{"GET", "page", open, func(w http.ResponseWriter, r *http.Request) error {
			s.c.Page.ServeHTTP(w, r)
			return nil
		}}, nil
	}
	return route{path: "unknown"}, &Error{Status: http.StatusNotFound, Type: "invalid_request_error", Code: "not_found", Message: "there is no such endpoint; OpenAI's begin with /v1, as POST /v1/chat/completions"}
}

func wrongMethod(method string, allowed []string) *Error {
	e := &Error{Status: http.StatusMethodNotAllowed, Type: "invalid_request_error", Code: "method_not_allowed", Allow: allowed,
		Message: fmt.Sprintf("this endpoint does not take %s; %s wanted", clip(method), strings.Join(allowed, " or "))}
	if slices.Contains(allowed, http.MethodGet) {
		e.Allow = append(e.Allow, http.MethodHead)
	}
	return e
}

// panicked logs a panic of a handler.
func (s *Server) panicked(ctx context.Context, p any) {
	s.metrics.panics.Inc()
	s.log.Error("panic", "request", requestID(ctx), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
}
