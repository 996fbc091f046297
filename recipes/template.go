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

	"github.com/litgpt-go/litgpt/internal/settings"
	"github.com/litgpt-go/litgpt/tokenizer"
)

// Template fills chat templates with conversations: "litgpt template".
type Template struct {
	Source string `yaml:"checkpoint_or_file" arg:"0" help:"checkpoint directory, or the file of a chat template"`
	JSONL  string `yaml:"jsonl" help:"file of the template's variables, one JSON object a line: messages, tools, documents, add_generation_prompt, continue_final_message, bos_token, …, and now, an ISO time for strftime_now; - is standard input"`
	Name   string `yaml:"name" help:"which of the checkpoint's templates; default is tool_use, if there is one and tools are given, else default"`
}

// NewTemplate returns the defaults.
func NewTemplate() Template { return Template{} }

// maxTemplateLine is how many bytes one line of variables may have.
const maxTemplateLine = 64 << 20

// filled is a line of output: the text, or what is wrong.
type filled struct {
	Text  *string `json:"text,omitempty"`
	Error string  `json:"error,omitempty"`
}

// Run writes a line for each line of variables: {"text": …} or {"error": …}. What a
// template says against its variables is a result like others; lines that are no JSON
// objects get an error as well, and make the command fail after the last line.
func (c Template) Run(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	if c.JSONL == "" {
		return &settings.UsageError{Msg: "--jsonl is missing: a file with one JSON object of variables a line, or - for standard input"}
	}
	templates, err := tokenizer.LoadChatTemplates(c.Source)
	if err != nil {
		return err
	}
	from := "standard input"
	if c.JSONL != "-" {
		f, err := os.Open(c.JSONL)
		if err != nil {
			return err
		}
		defer f.Close()
		stdin, from = f, c.JSONL
	}
	in, out := bufio.NewReaderSize(stdin, 1<<16), bufio.NewWriter(stdout)
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	bad, firstBad := 0, 0
	n := 0
	for {
		if err := ctx.Err(); err != nil {
			return errors.Join(out.Flush(), err)
		}
		line, err := readLine(in, maxTemplateLine)
		if err == io.EOF {
			break
		}
		n++
		result := filled{}
		if err != nil && !errors.Is(err, errLongLine) {
			return errors.Join(out.Flush(), fmt.Errorf("%s: %w", from, err))
		}
		var chat tokenizer.Chat
		if err == nil {
			chat, err = tokenizer.ParseChat(line)
		}
		if err != nil {
			result.Error = fmt.Sprintf("%s: line %d: %v", from, n, err)
			if bad++; bad == 1 {
				firstBad = n
			}
		} else if text, err := c.fill(templates, chat); err != nil {
			result.Error = err.Error()
		} else {
			result.Text = &text
		}
		if err := encoder.Encode(result); err != nil {
			return err
		}
		if in.Buffered() == 0 { // whoever writes line by line reads line by line
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("%s: %d of %d lines are no JSON objects of variables, the first is line %d", from, bad, n, firstBad)
	}
	return nil
}

func (c Template) fill(templates *tokenizer.ChatTemplates, chat tokenizer.Chat) (string, error) {
	chat.Template = c.Name
	r, err := templates.Render(chat)
	return r.Text, err
}

var errLongLine = fmt.Errorf("more than %d MiB", maxTemplateLine>>20)

// readLine reads a line without its end; one of more than limit bytes is skipped and
// errLongLine.
func readLine(in *bufio.Reader, limit int) (line []byte, err error) {
	long := false
	for {
		part, err := in.ReadSlice('\n')
		if long = long || len(line)+len(part) > limit; !long {
			line = append(line, part...)
		}
		switch {
		case err == bufio.ErrBufferFull:
			continue
		case err == io.EOF && len(part) == 0 && len(line) == 0 && !long:
			return nil, io.EOF
		case err != nil && err != io.EOF:
			return nil, err
		case long:
			return nil, errLongLine
		}
		return bytes.TrimRight(line, "\r\n"), nil
	}
}
