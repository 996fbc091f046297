package tokenizer

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/litgpt-go/litgpt/tokenizer/jinja"
)

// Message is one turn of a conversation. Role is "system", "user", "assistant",
// "tool" or what else the checkpoint's template knows.
type Message struct {
	Role, Content string
	// Fields are more keys in their order, with values of package jinja: tool_calls,
	// reasoning_content, tool_call_id, …. A content among them goes before Content:
	// a list of parts, or nil.
	Fields *jinja.Dict
}

// Chat is a conversation and what else a chat template is given. Lists and values are
// those of package jinja: jinja.ParseJSON keeps the order of keys, which templates
// print.
type Chat struct {
	Messages []Message
	// Turns are the messages as they are, instead of Messages.
	Turns            *jinja.List
	Tools, Documents *jinja.List // nil: none

	// Template names one of several templates; "" is tool_use if there are tools and
	// such a template, else default.
	Template string

	// AddGenerationPrompt ends the text where the answer begins.
	AddGenerationPrompt bool
	// ContinueFinalMessage ends the text within the last message, after what it says.
	ContinueFinalMessage bool
	// ContinueField is the key of the last message that is continued; "" is content.
	ContinueField string

	Vars *jinja.Dict // variables of the template more, instead of special tokens too; nil: none
	Now  time.Time   // of strftime_now; zero: the clock's
}

// Span is a part of a text, in bytes.
type Span = jinja.Span

// Rendering is the text a chat template makes. It holds its special tokens: Encode it
// without addSpecial.
type Rendering struct {
	Text string
	// Assistant are the parts that the template's {% generation %} blocks wrote; nil
	// without such blocks, and with ContinueFinalMessage.
	Assistant []Span
	// Displaced tells that the spans may lie elsewhere than the assistant's text: the
	// template has its generation blocks in a macro, where transformers counts wrong.
	Displaced bool
}

// ErrNoChatTemplate is a checkpoint without a chat template.
var ErrNoChatTemplate = errors.New("the checkpoint has no chat template; choose a prompt style by name")

// RenderChat fills the checkpoint's chat template with messages of text; see Render.
func (t *Tokenizer) RenderChat(messages []Message, addGenerationPrompt bool) (string, error) {
	r, err := t.Render(Chat{Messages: messages, AddGenerationPrompt: addGenerationPrompt})
	return r.Text, err
}

// Render fills the checkpoint's chat template as apply_chat_template of transformers
// does, with the variables messages, tools, documents, add_generation_prompt and the
// special tokens by role (bos_token, …).
func (t *Tokenizer) Render(c Chat) (Rendering, error) {
	if t.chat == nil {
		return Rendering{}, ErrNoChatTemplate
	}
	return t.chat.Render(c)
}

// AssistantMask returns the ids of a rendering and which of them hold something of
// the assistant's text, whole characters included. The template needs generation
// blocks.
func (t *Tokenizer) AssistantMask(r Rendering) (ids []int32, mask []bool, err error) {
	if r.Displaced {
		return nil, nil, errors.New("chat template: its {% generation %} blocks stand in a macro or another kept text, " +
			"where the place of the assistant's words is not known; move them to the template's own loop over the messages")
	}
	if r.Assistant == nil {
		return nil, nil, errors.New("chat template: no {% generation %} block wrote anything, so nothing tells which tokens are the assistant's")
	}
	var spans []Span // in order, and apart from each other
	for _, s := range r.Assistant {
		if s.End > s.Start {
			spans = append(spans, s)
		}
	}
	for _, tok := range t.EncodeTokens(r.Text, false) {
		i := sort.Search(len(spans), func(i int) bool { return spans[i].End > tok.Start })
		ids = append(ids, tok.ID)
		mask = append(mask, i < len(spans) && spans[i].Start < tok.End)
	}
	return ids, mask, nil
}

// ChatTemplates are the chat templates of a checkpoint, or one of a file. Several
// goroutines may use it.
type ChatTemplates struct {
	sources  map[string]string // by name
	specials []namedToken
	parsed   sync.Map // name -> *jinja.Template
}

// Names returns the templates' names in order; a checkpoint's only one is default.
func (t *ChatTemplates) Names() []string { return slices.Sorted(maps.Keys(t.sources)) }

// source chooses a template as transformers does.
func (t *ChatTemplates) source(c Chat) (name, source string, err error) {
	if len(t.sources) == 0 {
		return "", "", ErrNoChatTemplate
	}
	name = c.Template
	if name == "" {
		name = "default"
		if _, ok := t.sources["tool_use"]; ok && c.Tools != nil {
			name = "tool_use"
		}
	}
	source, ok := t.sources[name]
	if !ok {
		return "", "", fmt.Errorf("chat template: there is none named %q; choose one of %s", name, strings.Join(t.Names(), ", "))
	}
	return name, source, nil
}

// Render fills a template; see Tokenizer.Render.
func (t *ChatTemplates) Render(c Chat) (Rendering, error) {
	name, source, err := t.source(c)
	if err != nil {
		return Rendering{}, err
	}
	fail := func(err error) (Rendering, error) { return Rendering{}, fmt.Errorf("chat template: %w", err) }
	parsed, ok := t.parsed.Load(name)
	if !ok {
		template, err := jinja.Parse(source)
		if err != nil {
			return fail(err)
		}
		parsed, _ = t.parsed.LoadOrStore(name, template)
	}
	template := *parsed.(*jinja.Template)
	if !c.Now.IsZero() {
		template.Now = func() time.Time { return c.Now }
	}
	if err := c.check(); err != nil {
		return fail(err)
	}
	messages, final := c.turns(), ""
	if c.ContinueFinalMessage {
		if messages, final, err = c.marked(messages, source); err != nil {
			return fail(err)
		}
	}
	vars := jinja.NewDict()
	for _, s := range t.specials {
		vars.Set(s.role, s.content)
	}
	if messages != nil {
		vars.Set("messages", messages)
	}
	vars.Set("tools", listOrNone(c.Tools))
	vars.Set("documents", listOrNone(c.Documents))
	vars.Set("add_generation_prompt", c.AddGenerationPrompt)
	if c.Vars != nil {
		for _, k := range c.Vars.Keys() {
			v, _ := c.Vars.Get(k)
			vars.Set(k, v)
		}
	}
	made, err := template.RenderSpans(vars)
	if err != nil {
		return fail(err)
	}
	if c.ContinueFinalMessage {
		text, err := cutAfter(made.Text, final)
		if err != nil {
			return fail(err)
		}
		return Rendering{Text: text}, nil
	}
	return Rendering{Text: made.Text, Assistant: made.Generated, Displaced: made.Displaced}, nil
}

// listOrNone is a list as a template's value.
func listOrNone(l *jinja.List) any {
	if l == nil {
		return nil
	}
	return l
}

// check reports what transformers refuses before it renders.
func (c Chat) check() error {
	if c.ContinueFinalMessage && c.AddGenerationPrompt {
		return errors.New("continue_final_message and add_generation_prompt cannot both be set: the one continues the last message, the other begins a new one")
	}
	for name, list := range map[string]*jinja.List{"tools": c.Tools, "documents": c.Documents} {
		if list == nil {
			continue
		}
		for i, item := range list.Items {
			if _, ok := item.(*jinja.Dict); !ok {
				return fmt.Errorf("%s[%d] is no object; %s wanted", name, i, map[string]string{"tools": "JSON schemas", "documents": "objects like {\"title\": …, \"text\": …}"}[name])
			}
		}
	}
	return nil
}

// turns are the messages as a template gets them, nil if none are given.
func (c Chat) turns() *jinja.List {
	if c.Turns != nil || c.Messages == nil {
		return c.Turns
	}
	list := &jinja.List{}
	for _, m := range c.Messages {
		d := jinja.NewDict()
		d.Set("role", m.Role)
		d.Set("content", m.Content)
		if m.Fields != nil {
			for _, k := range m.Fields.Keys() {
				v, _ := m.Fields.Get(k)
				d.Set(k, v)
			}
		}
		list.Items = append(list.Items, d)
	}
	return list
}

// continueTag is transformers' mark of the place where the text is cut. Its space
// tells whether the template trims messages.
const continueTag = "CONTINUE_FINAL_MESSAGE_TAG "

// marked is the messages with continueTag after the text of the last one, and that
// text.
func (c Chat) marked(messages *jinja.List, source string) (marked *jinja.List, final string, err error) {
	field := c.ContinueField
	if field == "" {
		field = "content"
	}
	if messages == nil || len(messages.Items) == 0 {
		return nil, "", errors.New("continue_final_message is set but there is no message to continue")
	}
	n := len(messages.Items) - 1
	last, ok := messages.Items[n].(*jinja.Dict)
	if !ok {
		return nil, "", errors.New("continue_final_message is set but the final message is no object")
	}
	value, _ := last.Get(field)
	if value == nil {
		return nil, "", fmt.Errorf("continue_final_message is set but the final message has no %q to continue", field)
	}
	if !strings.Contains(source, field) {
		return nil, "", fmt.Errorf("continue_final_message is set to %q but this is not an accepted field in the chat_template", field)
	}
	last = last.Copy()
	switch x := value.(type) {
	case string:
		final = x
		last.Set(field, x+continueTag)
	case *jinja.List:
		parts := slices.Clone(x.Items)
		k := len(parts) - 1
		for ; k >= 0; k-- {
			if part, ok := parts[k].(*jinja.Dict); ok {
				if text, ok := part.Get("text"); ok {
					if final, ok = text.(string); !ok {
						return nil, "", errors.New("continue_final_message is set but the text of the final message's last part is no text")
					}
					part = part.Copy()
					part.Set("text", final+continueTag)
					parts[k] = part
					break
				}
			}
		}
		if k < 0 {
			return nil, "", errors.New("continue_final_message is set but we could not find any text to continue in the final message")
		}
		last.Set(field, &jinja.List{Items: parts})
	default:
		return nil, "", fmt.Errorf("continue_final_message is set but the final message's %q is no text", field)
	}
	items := slices.Clone(messages.Items)
	items[n] = last
	return &jinja.List{Items: items}, final, nil
}

// isSpace is what Python's str.strip takes off.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// cutAfter cuts a rendering where the final message's text ends.
func cutAfter(text, final string) (string, error) {
	tag := strings.TrimFunc(continueTag, isSpace)
	at := strings.LastIndex(text, tag)
	if at < 0 || !strings.Contains(text, strings.TrimFunc(final, isSpace)) {
		return "", errors.New("continue_final_message is set but the final message does not appear in the chat after applying the chat template: " +
			"the template drops or changes part of it")
	}
	if strings.HasPrefix(text[at:], continueTag) {
		return text[:at], nil
	}
	return strings.TrimRightFunc(text[:at], isSpace), nil // the template trims messages
}
