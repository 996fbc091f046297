package repl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Files are where /save and /load keep conversations.
type Files interface {
	Read(path string) ([]byte, error)
	Write(path string, data []byte) error // wholly or not at all
}

// Settings are what /set changes.
type Settings interface {
	// Settings lists them in the order of the help, with their present values.
	Settings() []Setting
	// Set changes one. Its error says what is wanted.
	Set(name, value string) error
}

// Setting is one of them. Value is as it is typed.
type Setting struct{ Name, Value, Help string }

// FullError is a conversation that leaves no room in the model's context for an answer.
type FullError struct{ Tokens, Context int }

func (e *FullError) Error() string {
	return fmt.Sprintf("the context is full: the conversation has %d tokens, the model reads %d", e.Tokens, e.Context)
}

// saved is a conversation in a file, the messages as OpenAI's clients write them.
type saved struct {
	Format   string                     `json:"format"` // savedFormat
	Version  int                        `json:"version"`
	Model    string                     `json:"model,omitempty"`
	Saved    string                     `json:"saved,omitempty"` // RFC 3339
	Settings map[string]json.RawMessage `json:"settings,omitempty"`
	Messages []message                  `json:"messages"`
}

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

const (
	savedFormat  = "litgpt-chat"
	savedVersion = 1
)

// encodeChat is the conversation as a file. A question without an answer is the last message.
func (s *session) encodeChat() ([]byte, error) {
	c := saved{Format: savedFormat, Version: savedVersion, Model: s.options.ModelName, Saved: s.options.Now().UTC().Format(time.RFC3339), Messages: []message{}}
	if s.system != "" {
		c.Messages = append(c.Messages, message{"system", s.system})
	}
	for _, t := range s.turns {
		c.Messages = append(c.Messages, message(t))
	}
	if s.last != "" && !s.answered {
		c.Messages = append(c.Messages, message{"user", s.last})
	}
	if s.options.Settings != nil {
		c.Settings = map[string]json.RawMessage{}
		for _, v := range s.options.Settings.Settings() {
			if c.Settings[v.Name] = json.RawMessage(v.Value); !json.Valid(c.Settings[v.Name]) {
				c.Settings[v.Name] = json.RawMessage(strconv.Quote(v.Value))
			}
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(c)
	return b.Bytes(), err
}

// decodeChat reads a file of encodeChat: the system prompt, the turns, and a last question without an answer.
func decodeChat(data []byte) (c saved, system string, turns []Turn, open string, err error) {
	if !utf8.Valid(data) {
		return c, "", nil, "", errors.New("the file is not UTF-8")
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, "", nil, "", fmt.Errorf("the file is no JSON of a chat: %w", err)
	}
	switch {
	case c.Format != savedFormat:
		return c, "", nil, "", fmt.Errorf("the file is no chat that /save wrote: its format is %q, want %q", c.Format, savedFormat)
	case c.Version > savedVersion || c.Version < 1:
		return c, "", nil, "", fmt.Errorf("the chat has version %d, this program reads version %d", c.Version, savedVersion)
	}
	messages := c.Messages
	if len(messages) > 0 && messages[0].Role == "system" {
		system, messages = messages[0].Content, messages[1:]
	}
	for i, m := range messages {
		if want := []string{"user", "assistant"}[i%2]; m.Role != want {
			return c, "", nil, "", fmt.Errorf("message %d is of %q, want %q: a system's message first, then user and assistant in turn", i+1+len(c.Messages)-len(messages), m.Role, want)
		}
		turns = append(turns, Turn(m))
	}
	if n := len(turns); n%2 == 1 {
		open, turns = turns[n-1].Content, turns[:n-1]
	}
	return c, system, turns, open, nil
}

var errNoFiles = errors.New("there are no files here")

// path is a file's name as it was typed: perhaps in quotes.
func path(argument string) string {
	if n := len(argument); n >= 2 && (argument[0] == '"' || argument[0] == '\'') && argument[n-1] == argument[0] {
		return argument[1 : n-1]
	}
	return argument
}

// fail shows what is wrong with a command.
func (s *session) fail(err error, hint string) error {
	s.asked++
	s.complain(err, hint)
	return nil
}

func (s *session) save(_ context.Context, argument string) error {
	name := path(argument)
	switch {
	case s.options.Files == nil:
		return s.fail(errNoFiles, "")
	case name == "":
		return s.fail(errors.New("/save wants the name of a file"), "/save chat.json")
	}
	if old, err := s.options.Files.Read(name); err == nil {
		if _, _, _, _, err := decodeChat(old); err != nil {
			return s.fail(fmt.Errorf("%s is there and is no saved chat; it is left as it is", name), "choose another name")
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return s.fail(err, "")
	}
	data, err := s.encodeChat()
	if err == nil {
		err = s.options.Files.Write(name, data)
	}
	if err != nil {
		return s.fail(err, "")
	}
	s.notes.printf("The conversation is saved in %s (%s).\n\n", strings.Map(visible, name), s.length())
	return nil
}

func (s *session) load(_ context.Context, argument string) error {
	name := path(argument)
	switch {
	case s.options.Files == nil:
		return s.fail(errNoFiles, "")
	case name == "":
		return s.fail(errors.New("/load wants the name of a file"), "/load chat.json")
	}
	data, err := s.options.Files.Read(name)
	if err != nil {
		return s.fail(err, "")
	}
	c, system, turns, open, err := decodeChat(data)
	if err != nil {
		return s.fail(fmt.Errorf("%s: %w", name, err), "")
	}
	s.system, s.turns, s.context = system, turns, 0
	s.last, s.answered = open, false
	if n := len(turns); open == "" && n > 0 {
		s.last, s.answered = turns[n-2].Content, true
	}
	s.notes.printf("The conversation of %s is loaded (%s).\n", strings.Map(visible, name), s.length())
	if open != "" {
		s.notes.printf("Its last question has no answer: /retry asks it.\n")
	}
	if s.options.Settings != nil {
		for _, v := range s.options.Settings.Settings() { // in their order
			raw, ok := c.Settings[v.Name]
			if !ok {
				continue
			}
			delete(c.Settings, v.Name)
			value := string(raw)
			if text := ""; json.Unmarshal(raw, &text) == nil {
				value = text
			}
			if err := s.options.Settings.Set(v.Name, value); err != nil {
				s.notes.printf("The setting %s stays %s: %s\n", v.Name, v.Value, strings.Map(visible, err.Error()))
			}
		}
	}
	for name := range c.Settings {
		s.notes.printf("The setting %.40q is not known here.\n", name)
	}
	s.notes.printf("\n")
	return nil
}

// length is how long the conversation is, in words.
func (s *session) length() string {
	n := len(s.turns) / 2
	text := fmt.Sprintf("%d answers", n)
	if n == 1 {
		text = "1 answer"
	}
	if s.system != "" {
		text += ", a system prompt"
	}
	return text
}

// set shows the settings, one of them, or changes it. "/set parameter temperature 0.7" is how ollama writes it.
func (s *session) set(_ context.Context, argument string) error {
	if s.options.Settings == nil {
		return s.fail(errors.New("there is nothing to set here"), "")
	}
	words := strings.FieldsFunc(argument, func(r rune) bool { return r == ' ' || r == '\t' || r == '=' })
	if len(words) > 0 && words[0] == "parameter" {
		words = words[1:]
	}
	if len(words) > 2 {
		return s.fail(fmt.Errorf("/set wants a name and a value, got %d words", len(words)), "/set temperature 0.7")
	}
	shown := false
	for _, v := range s.options.Settings.Settings() {
		if len(words) > 0 && v.Name != words[0] {
			continue
		}
		shown = true
		if len(words) < 2 {
			s.notes.printf("  %-20s %-8s %s\n", v.Name, v.Value, v.Help)
			continue
		}
		if err := s.options.Settings.Set(v.Name, words[1]); err != nil {
			return s.fail(err, "")
		}
		s.notes.printf("%s is %s, from the next answer on.\n", v.Name, strings.Map(visible, words[1]))
	}
	if !shown {
		return s.fail(fmt.Errorf("there is no setting %.40q", words[0]), "/set lists them")
	}
	s.notes.printf("\n")
	return nil
}

// forget drops the oldest questions with their answers, which is the user's choice and never ours.
func (s *session) forget(ctx context.Context, argument string) error {
	n, err := strconv.Atoi(argument)
	if err != nil || n < 1 {
		return s.fail(fmt.Errorf("/forget wants how many of the oldest questions and answers to drop, got %.20q", argument), "/forget 1")
	}
	if n *= 2; n >= len(s.turns) {
		return s.reset(ctx, "")
	}
	s.turns, s.context = s.turns[n:], 0
	s.notes.printf("The oldest are forgotten; the model knows the last %s.\n\n", s.length())
	return nil
}

// undo takes the last question and its answer back.
func (s *session) undo(context.Context, string) error {
	if s.last != "" && !s.answered { // it is in no turn
		s.last = ""
	} else if n := len(s.turns); n >= 2 {
		s.turns, s.context = s.turns[:n-2], 0
	} else {
		return s.fail(errors.New("there is no question to take back"), "")
	}
	s.last, s.answered = "", false
	if n := len(s.turns); n >= 2 {
		s.last, s.answered = s.turns[n-2].Content, true
	}
	s.notes.printf("The last question is taken back (%s left).\n\n", s.length())
	return nil
}

// stats shows what the session came to.
func (s *session) stats(context.Context, string) error {
	rate := "not known"
	if s.decoding > 0 {
		rate = fmt.Sprintf("%.2f tokens/sec", float64(s.generated)/s.decoding.Seconds())
	}
	used := "not known before the next answer"
	if s.context > 0 {
		used = fmt.Sprintf("%d tokens", s.context)
		if s.options.Context > 0 {
			used += fmt.Sprintf(" of %d (%.0f%%)", s.options.Context, 100*float64(s.context)/float64(s.options.Context))
		}
	}
	s.notes.printf("  %-14s %s\n  %-14s %s\n", "model", strings.Map(visible, s.options.ModelName), "conversation", s.length())
	s.notes.printf("  %-14s %s\n  %-14s %d tokens in %d answers of this session\n  %-14s %s\n\n", "context", used, "generated", s.generated, s.answers, "speed", rate)
	return nil
}

func (s *session) toggleMultiline(_ context.Context, argument string) error {
	on, ok := map[string]bool{"": !s.options.Multiline, "on": true, "off": false}[strings.ToLower(argument)]
	if !ok {
		return s.fail(fmt.Errorf("/multiline is on or off, got %.20q", argument), "")
	}
	if s.options.Multiline = on; on {
		s.notes.printf("A prompt is now all lines up to !submit.\n\n")
	} else {
		s.notes.printf("A prompt is now one line.\n\n")
	}
	return nil
}
