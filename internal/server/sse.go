package server

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// keepAlive is after how long without anything to say a comment is sent, so that nothing
// between here and the client takes the connection for dead.
const keepAlive = 15 * time.Second

// maxBuffered is how many bytes of events are collected before they are sent.
const maxBuffered = 64 << 10

// events is a stream of server-sent events. Its header is sent with the first one, so that
// what goes wrong before can still be a status.
type events struct {
	w       http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration // for the client to take what is written
	started bool
	lines   bool // JSON lines instead of events
	buffer  bytes.Buffer
}

func (s *Server) newEvents(w http.ResponseWriter) *events {
	return &events{w: w, control: http.NewResponseController(w), timeout: s.c.WriteTimeout}
}

// add buffers an event with a value of this package; name is its "event:", "" for none.
func (e *events) add(name string, v any) {
	if name != "" {
		e.buffer.WriteString("event: " + name + "\n")
	}
	if !e.lines {
		e.buffer.WriteString("data: ")
	}
	encoder := json.NewEncoder(&e.buffer)
	encoder.SetEscapeHTML(false)
	encoder.Encode(v) // ends with a newline
	if !e.lines {
		e.buffer.WriteByte('\n')
	}
}

// text buffers an event that is no JSON.
func (e *events) text(data string) { e.buffer.WriteString("data: " + data + "\n\n") }

// flush sends what is buffered. An error is a client that is gone, or reads too slowly.
func (e *events) flush() error {
	if !e.started {
		e.started = true
		kind := "text/event-stream"
		if e.lines {
			kind = "application/x-ndjson"
		}
		streamHeader(e.w, kind)
	}
	return e.write()
}

// streamHeader begins an answer that comes bit by bit.
func streamHeader(w http.ResponseWriter, kind string) {
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would collect the answer
	w.WriteHeader(http.StatusOK)
}

func (e *events) write() error {
	e.control.SetWriteDeadline(time.Now().Add(e.timeout)) // not supported by a test's recorder
	if _, err := e.w.Write(e.buffer.Bytes()); err != nil {
		return err
	}
	e.buffer.Reset()
	return e.control.Flush()
}

// fail ends the stream with an error: as a status if nothing was sent.
func (e *events) fail(err *Error) {
	if !e.started {
		writeError(e.w, err)
		return
	}
	e.buffer.Reset()
	e.add("", err.body())
	e.write()
}

// follow calls each for the pieces that come, and flush when there are no more just now. It
// ends with the mailbox, or with an error of a choice or the client.
func (s *Server) follow(ctx context.Context, box *mailbox, e *events, each func(piece)) error {
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		pieces, more := box.take()
		for _, p := range pieces {
			if p.err != nil {
				return p.err
			}
			each(p)
			if e.buffer.Len() > maxBuffered {
				if err := e.flush(); err != nil {
					return errGone
				}
			}
		}
		if e.buffer.Len() > 0 {
			if err := e.flush(); err != nil {
				return errGone
			}
			tick.Reset(keepAlive)
		}
		if !more {
			return nil
		}
		select {
		case <-box.ready:
		case <-ctx.Done():
			return asError(ctx, ctx.Err())
		case <-tick.C:
			if e.lines {
				continue
			}
			e.buffer.WriteString(": still here\n\n")
			if err := e.flush(); err != nil {
				return errGone
			}
		}
	}
}

// collect gathers the pieces of all choices, and counts them.
func collect(ctx context.Context, box *mailbox, used *counts) (choices []whole, err error) {
	choices = make([]whole, len(used.cached))
	for {
		pieces, more := box.take()
		for _, p := range pieces {
			if p.err != nil {
				return nil, p.err
			}
			choices[p.choice].add(p)
			used.add(p)
		}
		if !more {
			return choices, nil
		}
		select {
		case <-box.ready:
		case <-ctx.Done():
			return nil, asError(ctx, ctx.Err())
		}
	}
}

// whole is a choice when all of it is there.
type whole struct {
	text   []byte
	probs  []tokenProb
	calls  []call
	finish string
	match  string
}

func (c *whole) add(p piece) {
	c.text = append(c.text, p.text...)
	c.probs = append(c.probs, p.probs...)
	for _, d := range p.calls {
		for len(c.calls) <= d.index {
			c.calls = append(c.calls, call{})
		}
		made := &c.calls[d.index]
		made.id += d.id
		made.name += d.name
		made.arguments += d.extra
	}
	if p.finish != "" {
		c.finish, c.match = p.finish, p.match
	}
}
