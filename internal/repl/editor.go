package repl

import (
	"context"
	"io"
	"os"
	"sync"
	"unicode/utf8"

	"golang.org/x/term"
)

// editor reads lines from a terminal in raw mode, with history and bracketed paste. It is a source (session.go).
type editor struct {
	keys    *keys
	out     *screen
	history *history
	device  *os.File // of which the size is asked; nil means 80 by 24

	mu   sync.Mutex // of term, which the goroutine that watches the window's size uses too
	term *term.Terminal

	stop func()
}

func newEditor(ctx context.Context, s *session) *editor {
	e := &editor{keys: newKeys(ctx, s.options.In), out: s.out}
	e.history = loadHistory(s.options.HistoryFile, func(err error) {
		s.err.printf("litgpt: the history of prompts is not kept: %v\n", err)
	})
	e.device, _ = s.options.Out.(*os.File)
	e.reset()
	e.current().SetBracketedPasteMode(true)
	resized, stop := windowChanges()
	e.stop = stop
	go func() {
		for {
			select {
			case <-resized:
				e.resize(e.current())
			case <-ctx.Done():
				return
			}
		}
	}()
	return e
}

// reset starts a new line editor, which is how a line that was begun is forgotten.
func (e *editor) reset() {
	t := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{e.keys, e.out}, "")
	t.History = e.history
	t.AutoCompleteCallback = e.key
	e.resize(t)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.term = t
}

func (e *editor) current() *term.Terminal {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.term
}

func (e *editor) resize(t *term.Terminal) {
	if e.device == nil {
		return
	}
	// Not Fd(), which would make reads of the same file block for good.
	conn, err := e.device.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) {
		if w, h, err := term.GetSize(int(fd)); err == nil && w > 0 && h > 0 {
			_ = t.SetSize(w, h) // an error of its repainting shows up at the next write
		}
	})
}

func (e *editor) line(prompt string) (line, error) {
	e.keys.dirty = false
	t := e.current()
	t.SetPrompt(prompt)
	text, err := t.ReadLine()
	if err == term.ErrPasteIndicator { // keys knows better: it also sees a paste that continues a typed line
		err = nil
	}
	if err != nil {
		e.reset()
		return line{}, err
	}
	return line{text: decode(text), pasted: e.keys.pastedEnter}, nil
}

// key handles the keys that must not tear a character from its fillers; the editor calls it for every printable key.
// pos counts bytes of text.
func (e *editor) key(text string, pos int, key rune) (string, int, bool) {
	before, after := pos, pos // where the characters left and right of the cursor begin and end
	for before > 0 {
		r, n := utf8.DecodeLastRuneInString(text[:before])
		if before -= n; r != markFiller {
			break
		}
	}
	for after < len(text) {
		r, n := utf8.DecodeRuneInString(text[after:])
		if after > pos && r != markFiller {
			break
		}
		after += n
	}
	switch key {
	case markLeft:
		return text, before, true
	case markRight:
		return text, after, true
	case markBack:
		return text[:before] + text[pos:], before, true
	case markEnd:
		e.keys.empty = text == ""
		return text[:pos] + text[after:], pos, true
	case markDelete:
		return text[:pos] + text[after:], pos, true
	}
	return "", 0, false
}

func (e *editor) remember(prompt string) { e.history.remember(prompt) }
func (e *editor) watch() <-chan struct{} { return e.keys.watch() }
func (e *editor) unwatch()               { e.keys.unwatch() }

func (e *editor) close() {
	e.stop()
	e.current().SetBracketedPasteMode(false)
}
