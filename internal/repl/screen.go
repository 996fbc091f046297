package repl

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode/utf8"
)

// screen writes to a terminal or a file. The first error of a write stays and ends the chat.
type screen struct {
	mu    sync.Mutex
	w     io.Writer
	raw   bool // the terminal does not turn \n into \r\n by itself
	clean bool // a person reads: control characters of a model must not reach the terminal
	style bool // Markdown is shown

	partial  string // beginning of a character of an answer
	markdown markdown
	err      error
}

// text writes what a model generated. A model can be made to say escape sequences that retitle a terminal or write to its
// clipboard; on a terminal their control characters are shown as symbols.
func (s *screen) text(text string) error {
	if !s.clean {
		return s.write(text)
	}
	text, s.partial = whole(s.partial + text)
	return s.write(s.styled(strings.Map(visible, text)))
}

// end ends an answer.
func (s *screen) end() {
	rest := strings.Map(visible, strings.ToValidUTF8(s.partial, "\ufffd"))
	s.partial = ""
	_ = s.write(s.styled(rest) + s.markdown.end()) // kept in s.err
}

func (s *screen) styled(text string) string {
	if !s.style {
		return text
	}
	return s.markdown.write(text)
}

// whole splits off the beginning of a character at the end of text.
func whole(text string) (complete, partial string) {
	for i := len(text) - 1; i >= 0 && i >= len(text)-utf8.UTFMax; i-- {
		if utf8.RuneStart(text[i]) {
			if !utf8.FullRuneInString(text[i:]) {
				return text[:i], text[i:]
			}
			break
		}
	}
	return text, ""
}

// overrides are the characters that turn the direction of text around them, with which a line can be made to read as another.
const overrides = "\u202d\u202e"

// visible replaces control characters except newline and tab by their pictures (U+2400 and following), drops carriage returns.
func visible(r rune) rune {
	switch {
	case r == '\n' || r == '\t':
		return r
	case r == '\r':
		return -1
	case r < 0x20:
		return 0x2400 + r
	case r == 0x7f:
		return 0x2421
	case strings.ContainsRune(overrides, r):
		return 0xfffd
	case r >= 0x80 && r < 0xa0: // the C1 controls, some of which begin escape sequences too
		return 0xfffd
	}
	return r
}

// printf writes our own lines.
func (s *screen) printf(format string, args ...any) {
	_ = s.write(fmt.Sprintf(format, args...)) // kept in s.err
}

func (s *screen) write(text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.raw {
		text = strings.ReplaceAll(text, "\n", "\r\n")
	}
	return s.put(text)
}

func (s *screen) put(text string) error {
	if s.err == nil && text != "" {
		_, s.err = io.WriteString(s.w, text)
	}
	return s.err
}

// Write takes the line editor's output, which has its own \r\n, and replaces our marks (keys.go) by what they look like.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.put(strings.Map(look, string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (s *screen) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
