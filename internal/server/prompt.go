package server

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/litgpt-go/litgpt/internal/toolcall"
	"github.com/litgpt-go/litgpt/tokenizer"
	"github.com/litgpt-go/litgpt/tokenizer/jinja"
)

// roles are those a message may have: free text here would end up beside the template's
// own markup. developer is OpenAI's newer name of system, function the older of tool.
var roles = map[string]string{"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool", "function": "tool", "ipython": "ipython"}

// message is one of a conversation.
type message struct {
	role    string // one of the values of roles
	content string
	null    bool // the content was null, or left out
	name    string
	callID  string // of the call that a tool's message answers
	calls   []call // of the assistant
	reason  string // reasoning_content of the assistant
}

// call is a call of a tool, as the assistant made it.
type call struct {
	id, name  string
	arguments string // JSON
}

const maxMessages = 10000

// messages reads and checks the messages of a request.
func messages(raw json.RawMessage) ([]message, error) {
	if isNull(raw) {
		return nil, bad("messages", "messages is missing; a list of at least one message wanted")
	}
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil {
		return nil, bad("messages", "messages must be a list")
	}
	if len(items) == 0 || len(items) > maxMessages {
		return nil, bad("messages", "there are %d messages; 1 to %d wanted", len(items), maxMessages)
	}
	out := make([]message, len(items))
	for i, item := range items {
		m, err := readMessage(item, fmt.Sprintf("messages[%d]", i))
		if err != nil {
			return nil, err
		}
		if n := len(items); m.role == "assistant" && i == n-1 && i > 0 && out[i-1].role == "assistant" && len(m.calls) == 0 {
			return nil, bad("messages", "the last two messages are both the assistant's; the last alone can be one to continue")
		}
		out[i] = m
	}
	return out, nil
}

func readMessage(raw json.RawMessage, at string) (m message, err error) {
	var in struct {
		Role       *string         `json:"role"`
		Content    json.RawMessage `json:"content"`
		Name       string          `json:"name"`
		ToolCallID string          `json:"tool_call_id"`
		ToolCalls  []struct {
			ID       string `json:"id"`
			Function *struct {
				Name      string          `json:"name"`
				Arguments json.RawMessage `json:"arguments"`
			} `json:"function"`
		} `json:"tool_calls"`
		Reasoning *string `json:"reasoning_content"`
	}
	if len(raw) == 0 || raw[0] != '{' {
		return m, bad("messages", "%s is no object; {\"role\": …, \"content\": …} wanted", at)
	}
	if err := unmarshal(raw, &in); err != nil {
		e := *err.(*Error) // all that unmarshal gives
		e.Param, e.Message = "messages", at+": "+e.Message
		return m, &e
	}
	if in.Role == nil {
		return m, bad("messages", "%s has no role", at)
	}
	role, ok := roles[*in.Role]
	if !ok {
		return m, bad("messages", "%s has the role %q; system, developer, user, assistant or tool wanted", at, clip(*in.Role))
	}
	m = message{role: role, name: in.Name, callID: in.ToolCallID, null: isNull(in.Content), reason: or(in.Reasoning, "")}
	if m.content, err = contentText(in.Content, at); err != nil {
		return m, err
	}
	for _, c := range in.ToolCalls {
		if c.Function == nil || c.Function.Name == "" {
			return m, bad("messages", "%s has a tool call without the name of a function", at)
		}
		made := call{id: c.ID, name: c.Function.Name, arguments: "{}"}
		var text string
		switch {
		case isNull(c.Function.Arguments):
		case json.Unmarshal(c.Function.Arguments, &text) == nil:
			made.arguments = text
		default: // an object, as some clients send
			made.arguments = string(c.Function.Arguments)
		}
		m.calls = append(m.calls, made)
	}
	if m.null && len(m.calls) == 0 && m.role != "assistant" {
		return m, bad("messages", "%s has no content", at)
	}
	return m, nil
}

// contentText is the text of a content: a string, or a list of parts, which are put on
// lines of their own.
func contentText(raw json.RawMessage, at string) (string, error) {
	if isNull(raw) {
		return "", nil
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text, nil
	}
	var parts []struct {
		Type    string  `json:"type"`
		Text    *string `json:"text"`
		Refusal *string `json:"refusal"`
	}
	if json.Unmarshal(raw, &parts) != nil {
		return "", bad("messages", "the content of %s must be a string or a list of parts", at)
	}
	var texts []string
	for i, p := range parts {
		switch {
		case p.Text != nil && (p.Type == "text" || p.Type == "input_text" || p.Type == "output_text"):
			texts = append(texts, *p.Text)
		case p.Refusal != nil && p.Type == "refusal":
			texts = append(texts, *p.Refusal)
		default:
			return "", bad("messages", "part %d of the content of %s has the type %q; this server reads text only", i, at, clip(p.Type))
		}
	}
	return strings.Join(texts, "\n"), nil
}

// conversation is what a prompt is made of.
type conversation struct {
	messages []message
	tools    []toolcall.Tool // marked
	vars     *jinja.Dict     // chat_template_kwargs; nil: none
	open     bool            // the prompt ends where the answer begins; else within the last message, which is continued
	bare     bool            // nor that: the prompt ends behind the last message
	guard    *tokenizer.Guard
}

// errMarks is a request for which there is no guard.
var errMarks = bad("messages", "the messages have all of the private characters U+F4A01 to U+F4A08, of which the server needs one")

// prompt writes a conversation as the model was trained to read it.
func (m *served) prompt(c conversation) ([]int32, error) {
	guard := c.guard
	if m.model.Style().Name() != tokenizer.ChatTemplateStyle {
		return m.styled(guard, c)
	}
	var turns []toolcall.Message
	for _, msg := range c.messages {
		turns = append(turns, turn(guard, msg))
	}
	chat, err := m.format.Chat(turns, c.tools)
	if err != nil {
		return nil, bad("messages", "%s", guard.Unmark(err.Error()))
	}
	chat.Vars, chat.AddGenerationPrompt, chat.ContinueFinalMessage = c.vars, c.open && !c.bare, !c.open
	for _, item := range chat.Turns.Items { // what was spelled with escapes
		d := item.(*jinja.Dict) // Format.Chat makes no other
		if calls, ok := d.Get("tool_calls"); ok {
			d.Set("tool_calls", marked(guard, calls))
		}
	}
	if chat.Tools != nil {
		chat.Tools = marked(guard, chat.Tools).(*jinja.List)
	}
	made, err := m.model.Tokenizer().Render(chat)
	if err != nil {
		return nil, bad("messages", "the model's chat template does not take these messages: %s", guard.Unmark(clip(err.Error())))
	}
	return guard.Encode(m.model.Style(), made.Text), nil
}

// turn is a message as it goes to the template, its texts marked.
func turn(guard *tokenizer.Guard, msg message) toolcall.Message {
	t := toolcall.Message{Role: msg.role, Content: guard.Mark(msg.content, msg.role != "assistant"), CallID: guard.Mark(msg.callID, true), Name: guard.Mark(msg.name, true)}
	for _, c := range msg.calls {
		t.Calls = append(t.Calls, toolcall.Call{ID: guard.Mark(c.id, true), Name: guard.Mark(c.name, true), Arguments: guard.Mark(c.arguments, true)})
	}
	if msg.reason != "" {
		t.Fields = jinja.NewDict()
		t.Fields.Set("reasoning_content", guard.Mark(msg.reason, true))
	}
	return t
}

// marked is a value of JSON with all its strings marked.
func marked(guard *tokenizer.Guard, v any) any {
	switch x := v.(type) {
	case string:
		return guard.Mark(x, true)
	case *jinja.List:
		if x == nil {
			return x
		}
		list := &jinja.List{Items: make([]any, len(x.Items))}
		for i, item := range x.Items {
			list.Items[i] = marked(guard, item)
		}
		return list
	case *jinja.Dict:
		d := jinja.NewDict()
		for _, k := range x.Keys() {
			value, _ := x.Get(k)
			d.Set(marked(guard, k), marked(guard, value))
		}
		return d
	}
	return v
}

// styled writes a conversation in a style that has no chat template: such have no form for
// several turns, so earlier ones are written one after the other, as they were seen.
func (m *served) styled(guard *tokenizer.Guard, c conversation) ([]int32, error) {
	tok, style := m.model.Tokenizer(), m.model.Style()
	var ids []int32
	system := ""
	for i, msg := range c.messages {
		content := guard.Mark(msg.content, true)
		switch msg.role {
		case "system":
			system = strings.TrimLeft(system+"\n"+content, "\n")
		case "user":
			text, err := style.Render(tok, content, "", system)
			if err != nil {
				return nil, bad("messages", "the prompt style %s does not take these messages: %s", style.Name(), guard.Unmark(clip(err.Error())))
			}
			if len(ids) == 0 {
				ids = guard.Encode(style, text)
			} else {
				ids = guard.Append(ids, text)
			}
		case "assistant":
			ids = guard.Append(ids, content)
			if eos := tok.EOS(); len(eos) > 0 && (c.open || i < len(c.messages)-1) {
				ids = append(ids, eos[0])
			}
		default:
			return nil, bad("messages", "messages[%d] has the role %s, for which the prompt style %s has no form", i, msg.role, style.Name())
		}
	}
	return ids, nil
}
