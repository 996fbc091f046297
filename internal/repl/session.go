package repl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

// source is where prompts come from. The errors of line are interrupt (Ctrl-C), errEnd (Ctrl-D), io.EOF, and those of reading.
type source interface {
	line(prompt string) (line, error)
	remember(prompt string)
	watch() <-chan struct{} // while an answer is generated, Ctrl-C goes to this channel
	unwatch()
	close()
}

type line struct {
	text   string
	pasted bool // ended inside pasted text: it continues, and is never a command
}

type session struct {
	model   Model
	options Options
	source  source
	raw     bool
	out     *screen // answers, and on a terminal everything said to the user
	err     *screen // measurements and errors
	notes   *screen // out on a terminal, err otherwise

	system   string
	turns    []Turn // without the system's: user and assistant alternate
	last     string // the prompt that /retry asks again; "" means none
	answered bool   // the last two turns are last and its answer

	context   int           // tokens of the conversation with its last answer; 0 means not known
	generated int           // tokens of all answers
	answers   int           // of this session
	decoding  time.Duration // of all answers

	asked, failed int   // prompts
	first         error // of the failed ones
}

func (s *session) run(ctx context.Context) error {
	if s.options.Terminal {
		s.greet()
	}
	for {
		text, command, err := s.prompt()
		if err == nil {
			if command {
				err = s.command(ctx, text)
			} else {
				err = s.ask(ctx, text)
			}
		}
		switch broken := s.out.failure(); {
		case errors.Is(err, errLeave):
			return s.result()
		case broken != nil:
			return fmt.Errorf("write the answer: %w", broken)
		case err != nil:
			return err
		}
	}
}

func (s *session) greet() {
	s.out.printf("Now chatting with %s.\n", strings.Map(visible, s.options.ModelName))
	if s.options.Multiline {
		s.out.printf("To exit, enter '!quit' or '!exit' on an empty prompt and press 'Enter'.\n")
	} else {
		s.out.printf("To exit, press 'Enter' on an empty prompt.\n")
	}
	s.out.printf("Type /help for commands.\n\n")
}

// result is what a filter ends with. On a terminal the user has seen the errors.
func (s *session) result() error {
	if s.options.Terminal || s.failed == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d prompts have no answer, the first: %w", s.failed, s.asked, s.first)
}

// complain shows an error and what can be done about it; the chat goes on.
func (s *session) complain(err error, hint string) {
	s.failed++
	if s.first == nil {
		s.first = err
	}
	s.err.printf("litgpt: error: %s\n", strings.Map(visible, err.Error()))
	if hint != "" {
		s.err.printf("litgpt: hint: %s\n", hint)
	}
	if s.options.Terminal {
		s.out.printf("\n")
	}
}

// ask sends the conversation with a new prompt. Errors of the model are shown; what it returns ends the chat.
func (s *session) ask(ctx context.Context, prompt string) error {
	s.asked++
	s.last, s.answered = prompt, false
	var conversation []Turn
	if s.system != "" {
		conversation = append(conversation, Turn{"system", s.system})
	}
	conversation = append(append(conversation, s.turns...), Turn{"user", prompt})
	if s.options.Terminal {
		s.out.printf(">> Reply: ")
	}
	began := s.options.Now()
	r, err := s.reply(ctx, conversation)
	if err != nil {
		return err
	}
	s.out.end()
	total := s.options.Now().Sub(began)
	if r.text != "" || r.err == nil || s.options.Terminal { // a filter's prompt without an answer has no line
		s.out.printf("\n")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if broken := s.out.failure(); broken != nil {
		return broken
	}
	if r.err != nil {
		hint := ""
		var full *FullError
		switch {
		case errors.As(r.err, &full) && len(s.turns) > 0:
			hint = "/forget 1 drops the oldest prompt and its answer, /reset all of them; then /retry asks again"
		case errors.As(r.err, &full):
			hint = "ask for less, or shorten the system prompt"
		case len(s.turns) > 0:
			hint = "/reset forgets the conversation, /retry asks again"
		case s.options.Terminal:
			hint = "/retry asks again"
		}
		s.complain(r.err, hint)
		return nil
	}
	s.measure(r.answer, total)
	if r.text != "" || !r.answer.Stopped { // a prompt stopped before its answer began is taken back
		s.turns = append(s.turns, Turn{"user", prompt}, Turn{"assistant", r.text})
		s.answered = true
	}
	if r.answer.Stopped && !s.options.Terminal {
		return context.Canceled // who stops a filter means all of it
	}
	return nil
}

// measure prints LitGPT's line: the time includes reading the prompt, the speed does not.
func (s *session) measure(a Answer, total time.Duration) {
	decode := a.Duration
	if decode <= 0 {
		decode = total
	}
	rate := 0.0
	if decode > 0 {
		rate = float64(a.Tokens) / decode.Seconds()
	}
	text := fmt.Sprintf("Time for inference: %.2f sec total, %.2f tokens/sec, %d tokens", total.Seconds(), rate, a.Tokens)
	if a.PromptTokens > 0 {
		text += fmt.Sprintf(", %d prompt tokens", a.PromptTokens)
		if a.CachedTokens > 0 {
			text += fmt.Sprintf(" (%d cached)", a.CachedTokens)
		}
	}
	if a.Stopped {
		text += ", stopped"
	}
	switch {
	case a.Full:
		text += ", cut off: the context is full; /forget N drops the oldest prompts, /reset all"
	case a.Truncated:
		text += ", cut off: the limit of new tokens was reached; /set max_new_tokens changes it"
	}
	s.answers++
	s.generated += a.Tokens
	s.decoding += decode
	if a.PromptTokens > 0 {
		s.context = a.PromptTokens + a.Tokens
	}
	if s.options.Terminal {
		s.err.printf("\n%s\n", text)
		s.out.printf("\n")
	} else {
		s.err.printf("%s\n", text)
	}
}

type reply struct {
	answer Answer
	text   string
	err    error
	panic  string // the model panicked: what, and where
}

// reply lets the model generate and stops it at Ctrl-C. The model runs in a goroutine of its own, so that a third Ctrl-C can
// leave a model that does not stop: raw mode has no other way to end the program.
func (s *session) reply(ctx context.Context, conversation []Turn) (reply, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	interrupts := s.source.watch()
	defer s.source.unwatch()

	var mu sync.Mutex // of text and abandoned
	var text strings.Builder
	abandoned := false
	emit := func(piece string) error {
		mu.Lock()
		defer mu.Unlock()
		if abandoned {
			return context.Canceled
		}
		text.WriteString(piece)
		return s.out.text(piece)
	}
	done := make(chan reply, 1)
	go func() {
		var r reply
		defer func() {
			if p := recover(); p != nil {
				r.panic = fmt.Sprintf("%v\n%s", p, debug.Stack())
			}
			done <- r
		}()
		r.answer, r.err = s.model.Reply(ctx, slices.Clone(conversation), emit)
	}()
	for count := 0; ; {
		select {
		case r := <-done:
			if r.panic != "" {
				panic(r.panic) // here, where Run gives the terminal back
			}
			r.text = text.String()
			if count > 0 && (r.err == nil || errors.Is(r.err, context.Canceled)) {
				r.answer.Stopped, r.err = true, nil
			}
			return r, nil
		case _, ok := <-interrupts:
			if !ok {
				interrupts = nil
				continue
			}
			cancel()
			switch count++; count {
			case 2:
				s.notes.printf("\n(The model has not stopped yet. Ctrl-C again leaves without waiting.)\n")
			case 3:
				mu.Lock()
				abandoned = true
				mu.Unlock()
				s.notes.printf("\n")
				return reply{}, context.Canceled
			}
		}
	}
}

var errLeave = errors.New("the user leaves")

// isEnd is the end of input, by key or by file.
func isEnd(err error) bool { return errors.Is(err, errEnd) || errors.Is(err, io.EOF) }
