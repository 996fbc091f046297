package recipes

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"
)

// Lines of JSON in, lines of JSON out, in the same order, on several goroutines.

const (
	lineBatch = 256 << 10 // bytes of input that one goroutine takes at a time
	maxLine   = 1 << 30   // bytes of one line
)

// lineError is what is wrong with a line of a file.
type lineError struct {
	name string
	line int
	err  error
}

func (e *lineError) Error() string { return fmt.Sprintf("%s:%d: %v", e.name, e.line, e.err) }
func (e *lineError) Unwrap() error { return e.err }

// lineWork is a piece of the input and what became of it.
type lineWork struct {
	first int    // number of its first line, from 1
	in    []byte // whole lines
	out   []byte
	err   error
	done  chan struct{}
}

// openLines opens the file of a --jsonl flag; "-" is stdin.
func openLines(name string, stdin io.Reader) (io.ReadCloser, string, error) {
	if name == "-" {
		return io.NopCloser(stdin), "stdin", nil
	}
	f, err := os.Open(name)
	return f, name, err
}

// mapLines appends to w what each makes of every line of r, which name is the name of,
// line by line and in order. It reads ahead no more than workers need, and writes what
// is finished whenever r has nothing more to give for now, so that a program may write
// a line and wait for its answer. The first error ends it, after the lines before it
// are written.
func mapLines(ctx context.Context, r io.Reader, name string, w io.Writer, workers int, each func(dst, line []byte) ([]byte, error)) error {
	workers = max(1, workers)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	jobs, order := make(chan *lineWork), make(chan *lineWork, 2*workers)
	for range workers {
		go func() {
			for b := range jobs {
				b.run(name, each)
				close(b.done)
			}
		}()
	}
	var readErr error
	go func() {
		defer close(order)
		defer close(jobs)
		in := lineReader{r: bufio.NewReaderSize(r, lineBatch), name: name}
		for {
			b, err := in.next()
			if b != nil {
				for _, to := range []chan *lineWork{order, jobs} {
					select {
					case to <- b:
					case <-ctx.Done():
						close(b.done)
						return
					}
				}
			}
			if err != nil {
				if err != io.EOF {
					readErr = err
				}
				return
			}
		}
	}()
	out := bufio.NewWriterSize(w, lineBatch)
	for b := range order {
		select {
		case <-b.done:
		case <-ctx.Done():
			return errors.Join(out.Flush(), ctx.Err())
		}
		_, err := out.Write(b.out)
		if err == nil && len(order) == 0 {
			err = out.Flush()
		}
		if err == nil {
			err = ctx.Err()
		}
		if err == nil && b.err != nil {
			err = errors.Join(out.Flush(), b.err)
		}
		if err != nil {
			return err
		}
	}
	if err := errors.Join(out.Flush(), ctx.Err()); err != nil {
		return err
	}
	return readErr // order is closed after it is set
}

// run goes through the lines of b.
func (b *lineWork) run(name string, each func(dst, line []byte) ([]byte, error)) {
	in, n := b.in, b.first
	b.out = make([]byte, 0, 2*len(in))
	for len(in) > 0 {
		line := in
		if end := bytes.IndexByte(in, '\n'); end >= 0 {
			line, in = in[:end], in[end+1:]
		} else {
			in = nil
		}
		out, err := each(b.out, line)
		if err != nil {
			b.err = &lineError{name, n, err}
			return
		}
		b.out = append(out, '\n')
		n++
	}
}

// lineReader cuts a stream into pieces of whole lines.
type lineReader struct {
	r    *bufio.Reader
	name string
	line int // lines read
}

// next returns the lines that are there: those of a buffer, or one that is longer.
func (l *lineReader) next() (*lineWork, error) {
	b := &lineWork{first: l.line + 1, done: make(chan struct{})}
	for {
		if _, err := l.r.Peek(1); err != nil { // fills the buffer
			if err != io.EOF || len(b.in) == 0 {
				return nil, err
			}
			l.line++ // without a line feed
			return b, err
		}
		there, _ := l.r.Peek(l.r.Buffered())
		end := bytes.LastIndexByte(there, '\n') + 1
		whole := end > 0
		if !whole {
			end = len(there)
		}
		if len(b.in)+end > maxLine {
			return nil, &lineError{l.name, l.line + 1, fmt.Errorf("more than %d MiB in one line", maxLine>>20)}
		}
		b.in = append(b.in, there[:end]...)
		l.r.Discard(end)
		if whole {
			l.line += bytes.Count(b.in, []byte{'\n'})
			return b, nil
		}
	}
}

// fields calls f with every key of the JSON object in line and its value, unread.
func fields(line []byte, f func(key string, value []byte) error) error {
	if !utf8.Valid(line) {
		return errors.New("not UTF-8")
	}
	if err := wellFormed(line); err != nil {
		return err
	}
	// From here on the grammar needs no checks.
	s := bytes.TrimLeft(line, " \t\r")
	if s[0] != '{' {
		return fmt.Errorf("a JSON object wanted, got %.40q", s)
	}
	s = bytes.TrimLeft(s[1:], " \t\r")
	for s[0] != '}' {
		n := valueLength(s)
		key, err := unquote(s[:n])
		if err != nil {
			return err
		}
		s = bytes.TrimLeft(s[n:], " \t\r")
		s = bytes.TrimLeft(s[1:], " \t\r") // behind the colon
		n = valueLength(s)
		if err := f(key, s[:n]); err != nil {
			return err
		}
		if s = bytes.TrimLeft(s[n:], " \t\r"); s[0] == ',' {
			s = bytes.TrimLeft(s[1:], " \t\r")
		}
	}
	return nil
}

// wellFormed says where line is not JSON.
func wellFormed(line []byte) error {
	if json.Valid(line) {
		return nil
	}
	if len(bytes.TrimSpace(line)) == 0 {
		return errors.New("an empty line; a JSON object wanted")
	}
	var v json.RawMessage
	err := json.Unmarshal(line, &v)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("not JSON at byte %d: %w", syntax.Offset, err)
	}
	return fmt.Errorf("not JSON: %w", err)
}

// valueLength is the length of the JSON value that well-formed s begins with.
func valueLength(s []byte) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			for i++; s[i] != '"'; i++ {
				if s[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return i
			}
			if depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t', '\r', '\n', ':':
			if depth == 0 {
				return i
			}
		}
	}
	return len(s)
}

// unquote reads a JSON string. Half of a surrogate pair becomes U+FFFD, as everywhere in Go.
func unquote(raw []byte) (string, error) {
	if len(raw) > 1 && raw[0] == '"' && bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1]), nil
	}
	var s *string
	if err := json.Unmarshal(raw, &s); err != nil || s == nil {
		return "", fmt.Errorf("%.40s is not a string", raw)
	}
	return *s, nil
}

// appendString appends s as a JSON string, with <, > and & as they are.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c != 0x7F {
			continue
		}
		dst = append(dst, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(append(dst, s[from:]...), '"')
}
