package server

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// responder writes the answer to a question in the form of its endpoint.
type responder interface {
	piece(e *events, p piece)                // in a stream
	done(e *events, used *counts)            // after the last piece of a stream
	whole(choices []whole, used *counts) any // instead of a stream
}

// gates count, by model, the choices that run or wait.
type gates struct {
	mu    sync.Mutex
	count map[Model]int
}

// enter lets n choices of a model in, unless its queue is full.
func (s *Server) enter(m *served, n int) (leave func(), err error) {
	g := &s.gates
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.count[m.model]+n > s.c.Queue {
		s.metrics.rejected.WithLabelValues("queue_full").Inc()
		return nil, errBusy
	}
	if g.count == nil {
		g.count = map[Model]int{}
	}
	g.count[m.model] += n
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.count[m.model] -= n; g.count[m.model] == 0 {
			delete(g.count, m.model)
		}
	}, nil
}

// acquire finds the model of a request and holds it.
func (s *Server) acquire(ctx context.Context, name string) (m *served, release func(), err error) {
	if s.draining.Load() {
		return nil, nil, errDraining
	}
	if !s.ready.Load() {
		return nil, nil, errLoading
	}
	m, release, err = s.models.acquire(name, s.c.AnyModel)
	if err == nil {
		note(ctx, "model", m.name)
	}
	return m, release, err
}

// working is the context of work for a request: it ends when the client goes, with the
// server's patience, and when a shutdown waits no longer.
func (s *Server) working(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.abort, func() { cancel(errDraining) })
	end := func() {}
	if s.c.Timeout > 0 {
		ctx, end = context.WithTimeoutCause(ctx, s.c.Timeout, context.DeadlineExceeded)
	}
	return ctx, func() {
		stop()
		end()
		cancel(context.Canceled)
	}
}

// reply is what a request for text comes down to.
type reply struct {
	questions     []*question
	out           responder
	stream, lines bool // lines: JSON lines instead of server-sent events
}

// serve answers a request for text: it finds the model, holds it, lets make the questions,
// asks them, and answers as a stream or at once.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, model string, prepare func(context.Context, *served) (*reply, error)) error {
	m, release, err := s.acquire(r.Context(), model)
	if err != nil {
		return err
	}
	defer release()
	a, err := prepare(r.Context(), m)
	if err != nil {
		return err
	}
	for _, q := range a.questions {
		if err := q.check(); err != nil {
			return err
		}
	}
	used := newCounts(a.questions)
	note(r.Context(), "prompt_tokens", used.prompt)
	leave, err := s.enter(m, len(used.cached))
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := s.working(r.Context())
	box, wait := s.ask(ctx, a.questions, len(used.cached))
	defer func() {
		cancel()
		wait() // before the model is released
	}()
	defer func() { note(r.Context(), "cached_tokens", used.found(), "tokens", used.generated) }()
	if a.stream {
		return s.stream(ctx, w, box, a, used)
	}
	all, err := collect(ctx, box, used)
	if err != nil {
		return err
	}
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.c.WriteTimeout))
	writeJSON(w, http.StatusOK, a.out.whole(all, used))
	return nil
}

// stream sends an answer as it comes.
func (s *Server) stream(ctx context.Context, w http.ResponseWriter, box *mailbox, a *reply, used *counts) error {
	e := s.newEvents(w)
	e.lines = a.lines
	err := s.follow(ctx, box, e, func(p piece) {
		used.add(p)
		a.out.piece(e, p)
	})
	if err == nil {
		a.out.done(e, used)
		if e.flush() != nil {
			err = errGone
		}
	}
	if err != nil && e.started && err != errGone {
		e.fail(asError(ctx, err))
	}
	return err
}
