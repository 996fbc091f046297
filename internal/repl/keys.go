package repl

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// The line editor (golang.org/x/term) gives one rune one cell of the screen, takes Ctrl-C and Ctrl-D both for the end of the
// input, keeps the bytes after them for itself, does not know half of the arrow keys' codes, and stalls on invalid UTF-8. So
// keys stands between it and the terminal, and hands it only whole keys that it knows, never more than one line at a time.
//
// Characters two cells wide are followed by a filler, and newlines and tabs inside a line are marks; look is what they look
// like, decode takes them out again. Keys whose meaning depends on fillers are sent as marks too and handled in
// editor.key. What remains: a wide character that does not fit into the last column is counted a cell short, so a line of
// several rows can look shifted while it is edited; its text is right. The marks are the last private-use code points of
// Unicode; such input is dropped.
const (
	markFirst   = 0x10ff00
	markFiller  = markFirst
	markLeft    = markFirst + 0x02
	markEnd     = markFirst + 0x04
	markRight   = markFirst + 0x06
	markBack    = markFirst + 0x08
	markTab     = markFirst + 0x09
	markNewline = markFirst + 0x0a
	markDelete  = markFirst + 0x7f
	markLast    = markFirst + 0xff
)

func look(r rune) rune {
	switch r {
	case markFiller:
		return -1
	case markTab:
		return ' '
	case markNewline:
		return '↵'
	}
	return r
}

// encode makes one editable line of text; characters that cannot be edited are left out.
func encode(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\n':
			b.WriteRune(markNewline)
		case r == '\t':
			b.WriteRune(markTab)
		case r < 0x20 || r >= 0x7f && r < 0xa0 || r >= markFirst && r <= markLast || r == utf8.RuneError:
		default:
			b.WriteRune(r)
			if k := width.LookupRune(r).Kind(); k == width.EastAsianWide || k == width.EastAsianFullwidth {
				b.WriteRune(markFiller)
			}
		}
	}
	return b.String()
}

func decode(line string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case markFiller:
			return -1
		case markTab:
			return '\t'
		case markNewline:
			return '\n'
		}
		return r
	}, line)
}

const (
	ctrlC      = 0x03
	ctrlD      = 0x04
	escape     = 0x1b
	pasteStart = "\x1b[200~"
	pasteEnd   = "\x1b[201~"
)

// controls is what the editor is told for a control character; the others are dropped. Ctrl-T would tear fillers off.
var controls = map[byte]string{
	0x01: "\x01", 0x05: "\x05", 0x0b: "\x0b", 0x0c: "\x0c", 0x0e: "\x0e", 0x10: "\x10", 0x15: "\x15", 0x17: "\x17", // ^A ^E ^K ^L ^N ^P ^U ^W
	0x02: string(rune(markLeft)), 0x06: string(rune(markRight)), // ^B ^F
	0x08: string(rune(markBack)), 0x7f: string(rune(markBack)),
}

// escapes is the same for escape sequences, of terminals in normal and application mode and of xterm, rxvt and the Linux
// console. Alt-Enter is a newline in the line.
var escapes = map[string]string{
	"[A": "\x1b[A", "OA": "\x1b[A", "[B": "\x1b[B", "OB": "\x1b[B",
	"[C": string(rune(markRight)), "OC": string(rune(markRight)), "[D": string(rune(markLeft)), "OD": string(rune(markLeft)),
	"[H": "\x1b[H", "OH": "\x1b[H", "[1~": "\x1b[H", "[7~": "\x1b[H",
	"[F": "\x1b[F", "OF": "\x1b[F", "[4~": "\x1b[F", "[8~": "\x1b[F",
	"[3~":   string(rune(markDelete)),
	"[1;3C": "\x1b[1;3C", "[1;5C": "\x1b[1;3C", "f": "\x1b[1;3C",
	"[1;3D": "\x1b[1;3D", "[1;5D": "\x1b[1;3D", "b": "\x1b[1;3D",
	"\x7f": "\x17", "\r": string(rune(markNewline)),
	"[200~": pasteStart, "[201~": "",
}

// interrupt is Ctrl-C at a prompt.
type interrupt struct{ dirty bool } // something was typed before it

func (interrupt) Error() string { return "interrupted" }

var errEnd = errors.New("end of input by Ctrl-D")

// keys reads the terminal in raw mode, always, so that it sees Ctrl-C during an answer.
type keys struct {
	done <-chan struct{} // of Run
	wake chan struct{}   // something was queued

	mu         sync.Mutex
	queue      []byte // typed, not yet read by the editor
	err        error  // that ended the input
	answering  bool
	interrupts chan struct{}

	// Used by the editor's goroutine only.
	paste       bool // inside a bracketed paste
	pastedEnter bool // the last line ended inside a paste
	dirty       bool // the line is not untouched
	asked       bool // Ctrl-D was sent as markEnd, and editor.key sets empty
	empty       bool
}

func newKeys(ctx context.Context, in io.Reader) *keys {
	k := &keys{done: ctx.Done(), wake: make(chan struct{}, 1), interrupts: make(chan struct{}, 8)}
	go k.pump(in)
	return k
}

func (k *keys) pump(in io.Reader) {
	buf := make([]byte, 4096)
	for {
		n, err := in.Read(buf)
		k.mu.Lock()
		k.queue = append(k.queue, buf[:n]...)
		if k.answering {
			k.findInterrupts()
		}
		k.err = err
		k.mu.Unlock()
		select {
		case k.wake <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// findInterrupts takes every Ctrl-C, and what was typed before it, out of the queue.
func (k *keys) findInterrupts() {
	for {
		i := bytes.IndexByte(k.queue, ctrlC)
		if i < 0 {
			return
		}
		k.queue = append(k.queue[:0], k.queue[i+1:]...)
		select {
		case k.interrupts <- struct{}{}:
		default: // eight are waiting
		}
	}
}

// watch begins an answer: from now on Ctrl-C goes to the channel.
func (k *keys) watch() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(k.interrupts) > 0 {
		<-k.interrupts
	}
	k.answering = true
	k.findInterrupts()
	return k.interrupts
}

// unwatch ends an answer. Enter keys hit out of impatience must not count as the empty prompt that leaves the chat.
func (k *keys) unwatch() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.answering = false
	k.queue = append(k.queue[:0], bytes.TrimLeft(k.queue, "\r\n")...)
}

// Read gives the editor its next keys, at most up to the end of a line.
func (k *keys) Read(p []byte) (int, error) {
	for {
		k.mu.Lock()
		out, err := k.translate(p[:0])
		k.mu.Unlock()
		if len(out) > 0 || err != nil {
			return len(out), err
		}
		select {
		case <-k.wake:
		case <-k.done:
			return 0, context.Canceled
		}
	}
}

// translate appends keys from the queue to out while they fit: none is longer than 8 bytes. Nothing means that more input
// is needed.
func (k *keys) translate(out []byte) ([]byte, error) {
	if k.asked {
		k.asked = false
		if k.empty {
			return out, errEnd
		}
	}
	for len(out)+8 <= cap(out) && len(k.queue) > 0 {
		b := k.queue[0]
		switch {
		case b == ctrlC:
			if len(out) > 0 {
				return out, nil // the editor first sees what was typed before
			}
			k.queue = k.queue[1:]
			if !k.paste {
				out = append(out, 0x05) // to the end of the line, so that what follows does not overwrite it
			}
			k.paste = false
			return out, interrupt{k.dirty}
		case b == '\r' || b == '\n':
			k.queue = k.queue[1:]
			if b == '\r' && len(k.queue) > 0 && k.queue[0] == '\n' {
				k.queue = k.queue[1:]
			}
			k.pastedEnter = k.paste
			return append(out, '\r'), nil
		case b == ctrlD && !k.paste:
			// Only the editor knows whether the line is empty: ask it, and end at the next Read if it is.
			k.queue, k.asked, k.empty = k.queue[1:], true, false
			return utf8.AppendRune(out, markEnd), nil
		case b == escape:
			key, n := k.escape()
			if n == 0 {
				if k.err != nil {
					k.queue = nil
				}
				return k.ended(out)
			}
			k.queue = k.queue[n:]
			out = append(out, key...)
		case b < 0x20 || b == 0x7f:
			k.queue = k.queue[1:]
			switch {
			case k.paste && b == '\t':
				out = utf8.AppendRune(out, markTab)
			case !k.paste:
				out = append(out, controls[b]...)
			}
		default:
			if !utf8.FullRune(k.queue) && k.err == nil {
				return out, nil
			}
			r, n := utf8.DecodeRune(k.queue)
			k.queue = k.queue[n:]
			out = append(out, encode(string(r))...)
		}
		k.dirty = k.dirty || len(out) > 0
	}
	return k.ended(out)
}

// ended adds the error that ended the input once all of it was read.
func (k *keys) ended(out []byte) ([]byte, error) {
	if len(out) == 0 && len(k.queue) == 0 {
		return out, k.err
	}
	return out, nil
}

// escape translates the escape sequence at the start of the queue and says how long it is, 0 if its end is still to come.
func (k *keys) escape() (key string, n int) {
	q := k.queue
	if k.paste { // all but the end of the paste is text
		if bytes.HasPrefix(q, []byte(pasteEnd)) {
			k.paste = false
			return pasteEnd, len(pasteEnd)
		}
		if len(q) < len(pasteEnd) && strings.HasPrefix(pasteEnd, string(q)) {
			return "", 0
		}
		return "", 1
	}
	switch {
	case len(q) < 2:
		return "", 0
	case q[1] == 'O':
		if len(q) < 3 {
			return "", 0
		}
		return escapes[string(q[1:3])], 3
	case q[1] == '[': // parameters and intermediates, then one final byte (ECMA-48 section 5.4)
		for i := 2; i < len(q); i++ {
			switch c := q[i]; {
			case c >= 0x40 && c <= 0x7e:
				key = escapes[string(q[1:i+1])]
				k.paste = key == pasteStart
				return key, i + 1
			case c < 0x20 || c > 0x3f || i > 32:
				return "", i // not a sequence: the rest is read as keys
			}
		}
		return "", 0
	}
	if key, ok := escapes[string(q[1:2])]; ok {
		return key, 2
	}
	return "", 1 // the Escape key alone, or Alt with a key: the key counts
}
