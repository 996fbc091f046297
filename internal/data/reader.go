package data

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"
)

// chunkSize is how many bytes of a file are read at a time.
const chunkSize = 256 << 10

// reader reads UTF-8 text without its byte order mark. It gives whole
// characters only, and an [*encodingError] at the first byte that is none.
type reader struct {
	src  *bufio.Reader
	lf   bool   // give CR LF and CR as LF, as Python's text files do
	buf  []byte // the chunk, and behind it the start of a character
	held []byte // that start; a part of buf
	pos  int64  // bytes given, the byte order mark not counted
	cr   bool   // the last byte was CR
	rest []byte // of the chunk, for Read
}

func newReader(r io.Reader, lf bool) *reader {
	return &reader{src: bufio.NewReaderSize(r, 16), lf: lf, buf: make([]byte, chunkSize)}
}

var byteOrderMark = []byte("\uFEFF")

// next gives the next characters, valid until the following call, or io.EOF.
func (r *reader) next() ([]byte, error) {
	if r.pos == 0 && len(r.held) == 0 {
		mark, err := r.src.Peek(len(byteOrderMark))
		if err != nil && err != io.EOF {
			return nil, err
		}
		if bytes.Equal(mark, byteOrderMark) {
			r.src.Discard(len(byteOrderMark))
		}
	}
	for {
		n := copy(r.buf, r.held)
		m, err := r.src.Read(r.buf[n:])
		chunk := r.buf[:n+m]
		if err != nil && err != io.EOF {
			return nil, err
		}
		if err == io.EOF && len(chunk) == 0 {
			return nil, io.EOF
		}
		whole := len(chunk)
		if err == nil {
			whole = wholeRunes(chunk)
		}
		if i := firstInvalid(chunk[:whole]); i >= 0 {
			return nil, &encodingError{offset: r.pos + int64(i), b: chunk[i]}
		}
		r.pos += int64(whole)
		r.held = chunk[whole:]
		if whole == 0 {
			continue
		}
		if out := r.newlines(chunk[:whole]); len(out) > 0 {
			return out, nil
		}
	}
}

// newlines replaces CR LF and CR in b, in place.
func (r *reader) newlines(b []byte) []byte {
	if !r.lf || (!r.cr && bytes.IndexByte(b, '\r') < 0) {
		return b
	}
	out := b[:0]
	for _, c := range b {
		after := r.cr
		r.cr = c == '\r'
		switch {
		case c == '\n' && after: // CR gave it already
		case c == '\r':
			out = append(out, '\n')
		default:
			out = append(out, c)
		}
	}
	return out
}

// Read makes the reader an io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		var err error
		if r.rest, err = r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// wholeRunes is the length of b without a character that has only begun.
func wholeRunes(b []byte) int {
	for i := len(b) - 1; i >= max(0, len(b)-utf8.UTFMax); i-- {
		if utf8.RuneStart(b[i]) {
			if utf8.FullRune(b[i:]) {
				break
			}
			return i
		}
	}
	return len(b)
}

// firstInvalid is the place of the first byte that is not UTF-8, or -1.
func firstInvalid(b []byte) int {
	if utf8.Valid(b) {
		return -1
	}
	for i := 0; ; {
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
}

// encodingError is a byte that is not UTF-8, at an offset in the text.
type encodingError struct {
	offset int64
	b      byte
}

func (e *encodingError) Error() string {
	return fmt.Sprintf("not UTF-8 text (byte 0x%02x); save the file as UTF-8", e.b)
}

// locate puts the file, and for an [*encodingError] the place, before err.
func locate(path string, err error) error {
	var enc *encodingError
	if errors.As(err, &enc) {
		return fmt.Errorf("%s: %w", place(path, enc.offset), err)
	}
	var file *os.PathError
	if errors.As(err, &file) {
		return err // names the file itself
	}
	return fmt.Errorf("%s: %w", path, err)
}

// place is "path:line:column" of an offset behind the byte order mark. The file
// is read once more for it, which saves every correct file the counting of its
// lines.
func place(path string, offset int64) string {
	f, err := os.Open(path)
	if err != nil {
		return path
	}
	defer f.Close()
	src := bufio.NewReader(f)
	if mark, _ := src.Peek(len(byteOrderMark)); bytes.Equal(mark, byteOrderMark) {
		src.Discard(len(byteOrderMark))
	}
	line, column := 1, 1
	for range offset {
		c, err := src.ReadByte()
		switch {
		case err != nil:
			return fmt.Sprintf("%s:%d:%d", path, line, column)
		case c == '\n':
			line, column = line+1, 1
		case utf8.RuneStart(c): // columns are characters
			column++
		}
	}
	return fmt.Sprintf("%s:%d:%d", path, line, column)
}
