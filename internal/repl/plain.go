package repl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxLine is the longest line of a plain input, in bytes: far more than a context, far less than memory.
const maxLine = 16 << 20

// plain reads whole lines: of a pipe or a file, or of a terminal that edits lines by itself. It is a source (session.go).
type plain struct {
	ctx        context.Context // of Run: the only one there is
	prompts    *screen         // nil shows none
	lines      chan read
	interrupts <-chan struct{}
}

type read struct {
	text string
	err  error
}

func newPlain(ctx context.Context, s *session) *plain {
	p := &plain{ctx: ctx, lines: make(chan read), interrupts: s.options.Interrupts}
	if s.options.Terminal {
		p.prompts = s.out
	}
	go p.pump(s.options.In)
	return p
}

// pump reads one line ahead, so that line can wait for other things too.
func (p *plain) pump(in io.Reader) {
	scanner := bufio.NewScanner(in)
	scanner.Buffer(nil, maxLine)
	number := 0
	send := func(r read) bool {
		select {
		case p.lines <- r:
			return true
		case <-p.ctx.Done():
			return false
		}
	}
	for scanner.Scan() {
		text := scanner.Text()
		if number++; number == 1 {
			text = strings.TrimPrefix(text, "\ufeff")
		}
		if !send(read{text: strings.ToValidUTF8(text, "\ufffd")}) {
			return
		}
	}
	err := scanner.Err()
	switch {
	case errors.Is(err, bufio.ErrTooLong):
		err = fmt.Errorf("line %d of the input is longer than %d MiB", number+1, maxLine>>20)
	case err == nil:
		err = io.EOF
	}
	for send(read{err: err}) { // every further line has the same error
	}
}

func (p *plain) line(prompt string) (line, error) {
	if p.prompts != nil {
		p.prompts.printf("%s", prompt)
	}
	for {
		select {
		case r := <-p.lines:
			return line{text: r.text}, r.err
		case _, ok := <-p.interrupts:
			if ok {
				return line{}, interrupt{}
			}
			p.interrupts = nil // closed: no more will come
		case <-p.ctx.Done():
			return line{}, p.ctx.Err()
		}
	}
}

func (p *plain) remember(string)        {}
func (p *plain) watch() <-chan struct{} { return p.interrupts }
func (p *plain) unwatch()               {}
func (p *plain) close()                 {}
