package repl

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// prompt reads the next prompt or command, of one line or several, and never an empty one. Its error errLeave means that the
// user is done.
func (s *session) prompt() (text string, command bool, err error) {
	var lines []string
	start := func() {
		lines = nil
		if s.options.Multiline && s.options.Terminal {
			s.out.printf(">> Prompt: (Type '!submit' on a new line to end input).\n")
		}
	}
	start()
	warned, pasted := false, false
	for {
		l, err := s.source.line(s.mark(len(lines)))
		var stop interrupt
		switch {
		case errors.As(err, &stop) && !s.options.Terminal:
			return "", false, context.Canceled
		case errors.As(err, &stop):
			if warned && !stop.dirty && len(lines) == 0 {
				s.out.printf("\n")
				return "", false, errLeave
			}
			warned = true
			s.out.printf("^C\n%s\n", s.exits())
			start()
			continue
		case isEnd(err) && len(lines) > 0 && (!s.options.Terminal || errors.Is(err, errEnd)):
			// Ctrl-D ends a prompt that was begun, and so does the end of a file; a terminal that is gone does not.
			if s.options.Terminal {
				s.out.printf("\n")
			}
			l.text = "!submit"
		case isEnd(err):
			if s.options.Terminal {
				s.out.printf("\n")
			}
			return "", false, errLeave
		case err != nil:
			return "", false, err
		}
		ended := err != nil
		warned = false

		if len(lines) == 0 {
			pasted = l.pasted
		}
		word := strings.ToLower(strings.TrimSpace(l.text))
		switch {
		case l.pasted:
			lines = append(lines, l.text)
			continue
		case (word == "!quit" || word == "!exit") && (s.options.Multiline || len(lines) == 0):
			return "", false, errLeave
		case ended || s.options.Multiline && word == "!submit":
		case s.options.Multiline && !(len(lines) == 0 && isCommand(l.text)):
			lines = append(lines, l.text)
			continue
		case len(lines) == 0 && word == "" && s.options.Terminal && !s.options.Multiline:
			return "", false, errLeave
		case continues(l.text):
			lines = append(lines, strings.TrimSuffix(l.text, `\`))
			continue
		default:
			lines = append(lines, l.text)
		}

		text = strings.Join(lines, "\n")
		command = !pasted && isCommand(text)
		if text = strings.TrimSpace(text); text != "" {
			s.source.remember(text)
			return text, command, nil
		}
		start() // nothing to send: LitGPT would leave, and the conversation would be lost
	}
}

// mark is what a line begins with on a terminal.
func (s *session) mark(lines int) string {
	switch {
	case s.options.Multiline:
		return ""
	case lines > 0:
		return "... "
	}
	return ">> Prompt: "
}

func (s *session) exits() string {
	if s.options.Multiline {
		return "(To exit, press Ctrl-C again or Ctrl-D, or enter !quit.)"
	}
	return "(To exit, press Ctrl-C again or Ctrl-D, or 'Enter' on an empty prompt.)"
}

// continues is whether a line goes on in the next: it ends in a backslash, and not in two (a line break of LaTeX).
func continues(text string) bool {
	return (len(text)-len(strings.TrimRight(text, `\`)))%2 == 1
}

var commandWord = regexp.MustCompile(`^/([a-zA-Z]+|\?)(\s|$)`)

// isCommand is whether a prompt is one for us. A path like /etc/hosts is not, and a space before the slash makes it text.
func isCommand(text string) bool { return commandWord.MatchString(text) }

type command struct {
	name, argument, help string
	run                  func(s *session, ctx context.Context, argument string) error
}

func commands() []command {
	return []command{
		{"/help", "", "this list", (*session).help},
		{"/system", "TEXT", `set the system prompt; without TEXT show it, "" removes it`, (*session).setSystem},
		{"/set", "NAME VALUE", "change a setting; without VALUE show it, alone show all", (*session).set},
		{"/retry", "", "ask the last prompt again, in place of its answer", (*session).retry},
		{"/undo", "", "take the last prompt and its answer back", (*session).undo},
		{"/forget", "N", "drop the N oldest prompts and answers, to make room", (*session).forget},
		{"/reset", "", "forget the conversation, keep the system prompt", (*session).reset},
		{"/save", "FILE", "save the conversation and the settings", (*session).save},
		{"/load", "FILE", "go on with a conversation that was saved", (*session).load},
		{"/stats", "", "show how long the conversation is and how fast the model", (*session).stats},
		{"/multiline", "", "switch prompts of several lines on or off", (*session).toggleMultiline},
		{"/quit", "", "leave; so do !quit, !exit and Ctrl-D", func(*session, context.Context, string) error { return errLeave }},
	}
}

// aliases are the words of other programs, and older ones of ours.
var aliases = map[string]string{"/?": "/help", "/clear": "/reset", "/regenerate": "/retry", "/regen": "/retry", "/bye": "/quit", "/exit": "/quit"}

func (s *session) command(ctx context.Context, text string) error {
	word, argument, _ := strings.Cut(text, " ")
	if i := strings.IndexAny(word, "\t\n"); i >= 0 {
		word, argument = text[:i], text[i+1:]
	}
	name := strings.ToLower(word)
	if other, ok := aliases[name]; ok {
		name = other
	}
	for _, c := range commands() {
		if c.name == name {
			return c.run(s, ctx, strings.TrimSpace(argument))
		}
	}
	s.asked++
	s.complain(fmt.Errorf("there is no command %s", word), "/help lists the commands; a space before the slash sends it")
	return nil
}

func (s *session) help(context.Context, string) error {
	for _, c := range commands() {
		s.notes.printf("  %-16s %s\n", strings.TrimSpace(c.name+" "+c.argument), c.help)
	}
	if s.options.Multiline {
		s.notes.printf("A prompt ends with a line !submit.")
	} else {
		s.notes.printf(`A line that ends with \ goes on in the next.`)
	}
	if s.options.Terminal {
		s.notes.printf(" Ctrl-C stops an answer.")
	}
	if s.raw {
		s.notes.printf("\nAlt-Enter is a line break, pasted lines stay together, the arrow keys bring back earlier prompts.")
	}
	s.notes.printf("\n\n")
	return nil
}

func (s *session) reset(context.Context, string) error {
	s.turns, s.answered, s.context = nil, false, 0 // last stays: /reset and /retry is a way out of a full context
	s.notes.printf("The conversation is forgotten.\n\n")
	return nil
}

func (s *session) setSystem(_ context.Context, text string) error {
	switch {
	case text == "" && s.system == "":
		s.notes.printf("There is no system prompt.\n\n")
	case text == "":
		s.notes.printf("The system prompt is: %s\n\n", strings.Map(visible, s.system))
	case text == `""`:
		s.system = ""
		s.notes.printf("The system prompt is removed.\n\n")
	default:
		s.system = text
		s.notes.printf("The system prompt is set, from the next answer on.\n\n")
	}
	return nil
}

func (s *session) retry(ctx context.Context, _ string) error {
	if s.last == "" {
		s.asked++
		s.complain(errors.New("there is no prompt to ask again"), "")
		return nil
	}
	if !s.answered {
		return s.ask(ctx, s.last)
	}
	n := len(s.turns) - 2
	old := slices.Clone(s.turns[n:])
	s.turns = s.turns[:n]
	err := s.ask(ctx, s.last)
	if !s.answered { // the old answer is better than none
		s.turns, s.answered = append(s.turns, old...), true
	}
	return err
}
