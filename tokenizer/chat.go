package tokenizer

import (
	"errors"
	"fmt"

	"github.com/litgpt-go/litgpt/tokenizer/jinja"
)

// Message is one turn of a conversation. Role is "system", "user", "assistant" or
// what else the checkpoint's template knows.
type Message struct{ Role, Content string }

// ErrNoChatTemplate is a checkpoint without a chat template.
var ErrNoChatTemplate = errors.New("the checkpoint has no chat template; choose a prompt style by name")

// RenderChat fills the checkpoint's chat template, with the variables transformers
// gives it: messages, the special tokens by role (bos_token, …),
// add_generation_prompt, and tools and documents as none. addGenerationPrompt ends
// the text where the answer begins. The text holds its special tokens: Encode it
// without addSpecial.
func (t *Tokenizer) RenderChat(messages []Message, addGenerationPrompt bool) (string, error) {
	list := &jinja.List{}
	for _, m := range messages {
		d := jinja.NewDict()
		d.Set("role", m.Role)
		d.Set("content", m.Content)
		list.Items = append(list.Items, d)
	}
	return t.renderTemplate(list, addGenerationPrompt)
}

func (t *Tokenizer) renderTemplate(messages *jinja.List, addGenerationPrompt bool) (string, error) {
	if t.chatTemplate == "" {
		return "", ErrNoChatTemplate
	}
	template, err := jinja.Parse(t.chatTemplate)
	if err != nil {
		return "", fmt.Errorf("chat template: %w", err)
	}
	vars := jinja.NewDict()
	for _, s := range t.specials {
		vars.Set(s.role, s.content)
	}
	vars.Set("messages", messages)
	vars.Set("tools", nil)
	vars.Set("documents", nil)
	vars.Set("add_generation_prompt", addGenerationPrompt)
	text, err := template.Render(vars)
	if err != nil {
		return "", fmt.Errorf("chat template: %w", err)
	}
	return text, nil
}
