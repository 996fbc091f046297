package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// maxHeader is the size of a request's header, in bytes.
const maxHeader = 32 << 10

// httpServer is the server of net/http with what protects it from slow clients.
func (s *Server) httpServer() *http.Server {
	return &http.Server{
		Handler:           s,
		ReadHeaderTimeout: s.c.HeadTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // what clients do wrong
	}
}

// Run answers on l until ctx ends, and then shuts down in three steps: /health says 503 for
// PreDrain while all is answered as before, so that whoever sends requests stops it; no new
// ones are taken while what runs is finished, for Grace at most; what is left then is ended
// with an error. It does not close the models: that is Close.
func (s *Server) Run(ctx context.Context, l net.Listener, config *tls.Config) error {
	h := s.httpServer()
	if config != nil {
		h.TLSConfig = config
		h.Protocols = new(http.Protocols)
		h.Protocols.SetHTTP1(true)
		h.Protocols.SetHTTP2(true)
	}
	failed := make(chan error, 1)
	go func() {
		if config != nil {
			failed <- h.ServeTLS(l, "", "")
		} else {
			failed <- h.Serve(l)
		}
	}()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	s.stopping.Store(true)
	s.log.Info("draining", "seconds", s.c.PreDrain.Seconds())
	select {
	case err := <-failed:
		return err
	case <-time.After(s.c.PreDrain):
	}
	s.draining.Store(true)
	s.log.Info("shutting down", "grace_seconds", s.c.Grace.Seconds())
	grace, cancel := context.WithTimeout(context.Background(), s.c.Grace)
	defer cancel()
	err := h.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn("ending what still runs")
		s.stop(errDraining)
		last, cancel := context.WithTimeout(context.Background(), s.c.WriteTimeout)
		defer cancel()
		if err = h.Shutdown(last); err != nil {
			err = h.Close()
		}
	}
	<-failed
	s.log.Info("stopped")
	return err
}
