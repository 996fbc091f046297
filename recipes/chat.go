package recipes

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/litgpt-go/litgpt/internal/repl"
	"github.com/litgpt-go/litgpt/tokenizer"
)

// Chat talks with a model in the terminal: "litgpt chat".
type Chat struct {
	CheckpointDir string `yaml:"checkpoint_dir" arg:"0" help:"model directory, FILE.gguf, or adapter directory"`
	SysPrompt     string `yaml:"sys_prompt" help:"system prompt"`
	PromptStyle   string `yaml:"prompt_style" help:"style to write prompts in; default is the model's own: its finetuning's, else its chat template, else LitGPT's for its name"`
	Multiline     bool   `yaml:"multiline" help:"a prompt ends with a line that says !submit"`
	Sampling      `yaml:",inline"`
	Inference     `yaml:",inline"`
	Planned       `yaml:",inline"`
}

// NewChat returns the defaults.
func NewChat() Chat { return Chat{Sampling: newSampling(), Inference: newInference()} }

// Run talks until the user leaves. o has the terminal; the rest of it is set here.
func (c Chat) Run(ctx context.Context, o repl.Options, log *slog.Logger) error {
	if err := c.Sampling.check(); err != nil {
		return err
	}
	t, err := newTalker(c.CheckpointDir, c.PromptStyle, c.Inference)
	if err != nil {
		return err
	}
	defer t.close()
	if done, err := c.plan(t, o.Out); done || err != nil {
		return err
	}
	if err := t.load(log); err != nil {
		return err
	}
	o.ModelName, o.System, o.Multiline = filepath.Base(t.dir), c.SysPrompt, c.Multiline
	m := &chatModel{t: t, c: c}
	o.Context, o.Settings, o.Files = t.Dims().Context, chatSettings{m}, chatFiles{}
	return repl.Run(ctx, m, o)
}

// plan decides whether there is memory to begin a conversation, and with --plan for
// one as long as the context: how long it will be nobody knows.
func (c Chat) plan(t *talker, w io.Writer) (done bool, err error) {
	context := t.Dims().Context
	tokens := min(c.MaxNewTokens, context-1)
	prompt := min(256, context-tokens)
	if c.Plan {
		prompt = context - tokens
	}
	return t.plan(c.Planned, w, prompt, tokens)
}

// chatModel answers conversations.
type chatModel struct {
	t     *talker
	c     Chat
	turns int
}

// Reply implements repl.Model.
func (m *chatModel) Reply(ctx context.Context, conversation []repl.Turn, emit func(string) error) (a repl.Answer, err error) {
	ids, err := m.encode(conversation)
	if err != nil {
		return a, err
	}
	a.PromptTokens = len(ids)
	context := m.t.Dims().Context
	if len(ids) >= context {
		return a, &repl.FullError{Tokens: len(ids), Context: context}
	}
	m.turns++
	limit := min(m.c.MaxNewTokens, context-len(ids))
	sampling := m.c.Sampling.config(m.turns - 1)
	stream := m.t.tok.Stream(true)
	var start time.Time
	cached, reason, err := m.t.answer(ctx, ids, limit, sampling, func(sure []int32) error {
		if start.IsZero() {
			start = time.Now() // the prompt is read, decoding begins
		}
		for _, id := range sure {
			a.Tokens++
			if err := emit(stream.Next(id)); err != nil {
				return err
			}
		}
		return nil
	})
	a.CachedTokens = cached
	if !start.IsZero() {
		a.Duration = time.Since(start)
	}
	if err != nil && errors.Is(err, ctx.Err()) {
		a.Stopped = true
		return a, emit(stream.Flush())
	}
	a.Truncated = reason == "length"
	a.Full = a.Truncated && limit < m.c.MaxNewTokens
	if err == nil {
		err = emit(stream.Flush())
	}
	return a, err
}

// encode writes a conversation as the model was trained to read it. Styles other
// than the chat template have no form for several turns: earlier ones are written
// one after the other, as they were seen.
func (m *chatModel) encode(conversation []repl.Turn) ([]int32, error) {
	tok, style := m.t.tok, m.t.style
	if style.Name() == tokenizer.ChatTemplateStyle {
		var messages []tokenizer.Message
		for _, t := range conversation {
			messages = append(messages, tokenizer.Message{Role: t.Role, Content: t.Content})
		}
		text, err := tok.RenderChat(messages, true)
		if err != nil {
			return nil, err
		}
		return style.Encode(tok, text), nil
	}
	var ids []int32
	system := ""
	for _, t := range conversation {
		switch t.Role {
		case "system":
			system = t.Content
		case "user":
			text, err := style.Render(tok, t.Content, "", system)
			if err != nil {
				return nil, err
			}
			if len(ids) == 0 {
				ids = style.Encode(tok, text)
			} else {
				ids = append(ids, tok.Encode(text, false)...)
			}
		default:
			ids = append(ids, tok.Encode(t.Content, false)...)
			if eos := tok.EOS(); len(eos) > 0 {
				ids = append(ids, eos[0])
			}
		}
	}
	return ids, nil
}
