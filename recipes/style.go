package recipes

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/litgpt-go/litgpt/internal/data"
	"github.com/litgpt-go/litgpt/tokenizer"
)

// styleChoice is how prompts are written, and why so.
type styleChoice struct {
	style tokenizer.PromptStyle
	why   string

	// other is a style that one could have expected instead, and differs where the two
	// part ways; nil when they write the same.
	other   string
	differs *tokenizer.Difference
}

// warn says in one line that the chosen style is not what one could have expected.
func (c styleChoice) warn(log *slog.Logger) {
	if d := c.differs; d != nil {
		log.Warn("prompts would be written differently", "used", c.style.Name(), "other", c.other, "at", d.At, "used_has", d.Got, "other_has", d.Other)
	}
}

// chooseStyle is how prompts are written for this model: as asked; else as it was
// finetuned (prompt_style.yaml, which nothing but a finetuning writes); else by its own
// chat template; else by LitGPT's rule for its name. What an adapter's directory says
// goes before its base. asked is a name, or "" or auto for the model's own.
func (l *loaded) chooseStyle(tok *tokenizer.Tokenizer, asked string) (styleChoice, error) {
	own, err := l.ownStyle(tok)
	if asked == "" || asked == "auto" {
		return own, err
	}
	style, e := tokenizer.StyleByName(asked)
	if e != nil {
		return styleChoice{}, e
	}
	c := styleChoice{style: style, why: "asked for"}
	if err == nil { // else the file is broken, and nobody wants it
		c.compare(tok, own.style, fmt.Sprintf("%s (%s)", own.style.Name(), own.why))
	}
	return c, nil
}

// ownStyle is chooseStyle when nothing is asked for.
func (l *loaded) ownStyle(tok *tokenizer.Tokenizer) (c styleChoice, err error) {
	template, err := tokenizer.StyleByName(tokenizer.ChatTemplateStyle)
	if err != nil {
		return c, err
	}
	dirs := []string{l.dir}
	if l.base != l.dir {
		dirs = append(dirs, l.base)
	}
	for _, dir := range dirs {
		if info, err := os.Stat(dir); err == nil && !info.IsDir() {
			continue // a GGUF file has a template, and no style
		}
		style, ok, err := tokenizer.LoadStyle(dir)
		if err != nil {
			return c, err
		}
		if ok {
			c = styleChoice{style: style, why: filepath.Join(dir, tokenizer.StyleFile)}
			if tok.ChatTemplate() != "" {
				c.compare(tok, template, "the checkpoint's own chat template")
			}
			return c, nil
		}
		if tok.ChatTemplate() != "" && l.tokenizerDir() == dir {
			break // an adapter that brings a template was trained with it
		}
	}
	name := l.base
	if abs, err := filepath.Abs(name); err == nil {
		name = abs
	}
	name = strings.TrimSuffix(filepath.Base(name), ".gguf")
	byName := tokenizer.StyleForModel(name)
	if tok.ChatTemplate() == "" {
		return styleChoice{style: byName, why: "LitGPT's rule for the name " + name}, nil
	}
	c = styleChoice{style: template, why: "the checkpoint's own chat template"}
	if byName.Name() != (tokenizer.PromptStyle{}).Name() {
		c.compare(tok, byName, fmt.Sprintf("%s (LitGPT's rule for the name %s)", byName.Name(), name))
	}
	return c, nil
}

// compare notes where other would write prompts differently.
func (c *styleChoice) compare(tok *tokenizer.Tokenizer, other tokenizer.PromptStyle, name string) {
	c.other, c.differs = name, c.style.Compare(tok, other)
}

// trainingStyle is the style that the data asks for: LitGPT's default is alpaca, and
// auto is the rule that chat goes by. Text has none.
func (l *loaded) trainingStyle(d data.Config, tok *tokenizer.Tokenizer) (styleChoice, error) {
	if d.Class != "JSON" {
		return styleChoice{why: "text has no prompts"}, nil
	}
	c, err := l.chooseStyle(tok, d.JSON.PromptStyle)
	if err == nil && c.style.Name() == tokenizer.ChatTemplateStyle && tok.ChatTemplate() == "" {
		err = fmt.Errorf("--data.prompt_style chat_template: the checkpoint has no chat template")
	}
	if c.why == "asked for" {
		c.why = "--data.prompt_style"
	}
	return c, err
}

// rendered adapts a prompt style to the data's interface.
type rendered struct {
	style tokenizer.PromptStyle
	tok   *tokenizer.Tokenizer
}

func (r rendered) Render(prompt, input, system string) (string, bool, error) {
	text, err := r.style.Render(r.tok, prompt, input, system)
	return text, r.style.AddsSpecialTo(r.tok, text), err
}
