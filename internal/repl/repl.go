// Package repl is the terminal side of litgpt chat: it reads prompts, streams answers and remembers the conversation.
//
// It knows neither models nor tokens: whoever calls Run brings a Model. Run works in three ways: with line editing on a
// terminal in raw mode, line by line on a terminal that cannot do that, and as a filter, where every input line is a prompt
// and only answers reach the output. Start with Run here; session.go is the loop, keys.go and editor.go are raw mode,
// plain.go is the other two.
package repl

import (
	"cmp"
	"context"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/term"
)

// Turn is one message of a conversation. Role is system, user or assistant.
type Turn struct{ Role, Content string }

// Answer says how an answer went; its text went through emit.
type Answer struct {
	Tokens       int           // generated
	PromptTokens int           // of the whole conversation as the model read it; 0 means not known
	CachedTokens int           // of those, how many it had read for an earlier answer
	Duration     time.Duration // of generating Tokens, without reading the prompt; 0 means not known
	Stopped      bool          // by the user, through the context
	Truncated    bool          // the limit of new tokens was reached
	Full         bool          // the context was
}

// Model answers the last turn of a conversation, which is the user's. It emits the text in pieces, each of whole characters,
// and ends when emit gives an error. A conversation that is too long for the model is a FullError. When ctx is cancelled it returns what it has, with Stopped.
type Model interface {
	Reply(ctx context.Context, conversation []Turn, emit func(text string) error) (Answer, error)
}

// Options are the surroundings of a chat. In, Out and Err are needed; the rest may be absent.
type Options struct {
	In       io.Reader
	Out, Err io.Writer // answers; measurements and errors

	Terminal   bool                                   // a person types and reads; false: every line of In is a prompt, Out gets answers only
	RawMode    func() (restore func() error, _ error) // puts the terminal into raw mode; nil: no line editing
	Interrupts <-chan struct{}                        // Ctrl-C, where RawMode is nil; in raw mode it is a byte of In

	Multiline   bool             // a prompt is all lines up to !submit
	HistoryFile string           // of prompts, for the arrow keys; "" keeps none
	System      string           // first turn of every conversation; "" means none
	ModelName   string           // for the greeting
	Context     int              // tokens that the model reads; 0 means not known
	Settings    Settings         // what /set changes; nil: nothing
	Files       Files            // of /save and /load; nil: none
	Style       bool             // code, bold words and headings of Markdown are shown as such
	Now         func() time.Time // nil means time.Now
}

// Standard returns the options for the files of a process, usually os.Stdin, os.Stdout and os.Stderr: whether this is a
// terminal, how to edit lines on it, where its history is.
func Standard(in, out, errs *os.File) Options {
	o := Options{In: in, Out: out, Err: errs}
	fd := int(in.Fd())
	o.Terminal = term.IsTerminal(fd) && term.IsTerminal(int(out.Fd()))
	if o.Terminal && os.Getenv("TERM") != "dumb" {
		o.HistoryFile = DefaultHistoryFile()
		o.Style = os.Getenv("NO_COLOR") == "" // https://no-color.org
		o.RawMode = func() (func() error, error) {
			state, err := term.MakeRaw(fd)
			if err != nil {
				return nil, err
			}
			return func() error { return term.Restore(fd, state) }, nil
		}
	}
	return o
}

// DefaultHistoryFile is litgpt/chat_history in the user's configuration folder, "" where there is none.
func DefaultHistoryFile() string {
	dir, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "litgpt", "chat_history")
}

// Run chats until the user leaves or the input ends. It returns context.Canceled when interrupted (ctx, Ctrl-C in a filter,
// a third Ctrl-C on a model that does not stop), the first error of a write to Out, and, for a filter, an error if any prompt
// had no answer; on a terminal such errors are shown and the chat goes on. A goroutine may stay behind in a Read of In.
func Run(ctx context.Context, m Model, o Options) error {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.ModelName = cmp.Or(o.ModelName, "the model")
	s := &session{
		model: m, options: o, system: o.System,
		out: &screen{w: o.Out, clean: o.Terminal, style: o.Terminal && o.Style},
		err: &screen{w: o.Err},
	}
	s.notes = s.err
	if o.Terminal {
		s.notes = s.out
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the goroutines below
	restore, err := func() {}, error(nil)
	if o.Terminal && o.RawMode != nil {
		restore, err = s.enterRaw()
	}
	defer restore()
	if s.raw {
		s.source = newEditor(ctx, s)
	} else {
		s.source = newPlain(ctx, s)
	}
	defer s.source.close()
	if err != nil {
		s.err.printf("litgpt: no line editing: %v\n", err)
	}
	return s.run(ctx)
}

// enterRaw switches the terminal and what is written to it. Err may be a file that is not the terminal.
func (s *session) enterRaw() (func(), error) {
	restore, err := s.options.RawMode()
	if err != nil {
		return func() {}, err
	}
	s.raw, s.out.raw = true, true
	f, isFile := s.options.Err.(*os.File)
	s.err.raw = !isFile || term.IsTerminal(int(f.Fd()))
	return func() { _ = restore() }, nil // nothing can be done about a terminal that is gone
}
