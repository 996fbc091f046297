package toolcall

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/litgpt-go/litgpt/tokenizer"
	"github.com/litgpt-go/litgpt/tokenizer/jinja"
)

// Message is one of a conversation, as OpenAI's clients send it.
type Message struct {
	Role, Content string
	Calls         []Call      // of the assistant
	CallID, Name  string      // of a message of role tool: the call it answers, and the tool, which may be ""
	Fields        *jinja.Dict // more keys for the template; nil: none
}

// Chat is a conversation as the checkpoint's template must be given it. What the template cannot write is in the text of
// messages instead: tools in that of the system, calls in the assistant's, what tools say and the system's text in the
// user's. Text beside calls is left out where the template has no place for it at all.
func (f *Format) Chat(messages []Message, tools []Tool) (tokenizer.Chat, error) {
	names := map[string]string{} // of tools, by the id of their call
	var turns []Message
	for i, m := range messages {
		if m.Role == "developer" { // OpenAI's newer word
			m.Role = "system"
		}
		m.Calls = append([]Call(nil), m.Calls...)
		for j := range m.Calls {
			c := &m.Calls[j]
			if strings.TrimSpace(c.Arguments) == "" {
				c.Arguments = "{}"
			}
			c.ID = f.id(c.ID)
			names[c.ID] = c.Name
		}
		if m.Role == "tool" {
			if m.CallID == "" {
				return tokenizer.Chat{}, fmt.Errorf("messages[%d]: a message of role tool needs the tool_call_id of the call it answers", i)
			}
			m.CallID = f.id(m.CallID)
			if m.Name == "" {
				m.Name = names[m.CallID]
			}
		}
		turns = append(turns, m)
	}
	if len(tools) > 0 && !f.tools {
		turns = f.tell(turns, tools)
	}
	var list jinja.List
	for _, m := range f.arrange(turns) {
		list.Items = append(list.Items, f.turn(m))
	}
	c := tokenizer.Chat{Turns: &list}
	if len(tools) > 0 && f.tools {
		c.Tools = &jinja.List{}
		for _, t := range tools {
			c.Tools.Items = append(c.Tools.Items, t.value)
		}
	}
	return c, nil
}

// turn is a message as a value of the template.
func (f *Format) turn(m Message) *jinja.Dict {
	d := jinja.NewDict()
	d.Set("role", m.Role)
	d.Set("content", m.Content)
	if m.CallID != "" {
		d.Set("tool_call_id", m.CallID)
	}
	if m.Name != "" {
		d.Set("name", m.Name)
	}
	if len(m.Calls) > 0 {
		calls := &jinja.List{}
		for _, c := range m.Calls {
			function := jinja.NewDict()
			function.Set("name", c.Name)
			if f.text {
				function.Set("arguments", c.Arguments)
			} else {
				function.Set("arguments", jsonValue(c.Arguments))
			}
			call := jinja.NewDict()
			call.Set("id", c.ID)
			call.Set("type", "function")
			call.Set("function", function)
			calls.Items = append(calls.Items, call)
		}
		d.Set("tool_calls", calls)
	}
	if m.Fields != nil {
		for _, k := range m.Fields.Keys() {
			v, _ := m.Fields.Get(k)
			d.Set(k, v)
		}
	}
	return d
}

// arrange gives the messages as far as the template knows their kinds.
func (f *Format) arrange(messages []Message) (out []Message) {
	var results []Message // of calls that were given one by one, in the place of their messages
	system := ""          // what the next message of the user begins with
	for i, m := range messages {
		if m.Role == "system" && !f.system {
			system += m.Content + "\n\n"
			continue
		}
		if m.Role == "user" {
			m.Content, system = system+m.Content, ""
		}
		switch {
		case len(m.Calls) > 0 && !f.calls:
			text := f.write(m.Calls)
			if m.Content != "" {
				text = strings.TrimRight(m.Content, "\n") + "\n" + text
			}
			m.Content, m.Calls = text, nil
		case len(m.Calls) > 0 && !f.content:
			if m.Content != "" && f.apart {
				out = append(out, Message{Role: m.Role, Content: m.Content})
			}
			m.Content = ""
		}
		if len(m.Calls) > 1 && !f.parallel {
			for _, c := range m.Calls {
				one := m
				one.Calls = []Call{c}
				out = append(out, one)
				for _, r := range messages[i+1:] {
					if r.Role != "tool" {
						break
					}
					if r.CallID == c.ID {
						results = append(results, r)
						out = append(out, f.result(r))
					}
				}
				m.Content = ""
			}
			continue
		}
		if m.Role == "tool" {
			done := false
			for _, r := range results {
				done = done || r.CallID == m.CallID && r.Content == m.Content
			}
			if done {
				continue
			}
			m = f.result(m)
		} else {
			results = nil
		}
		if n := len(out); f.resultRole == "" && m.Role == "user" && n > 0 && out[n-1].Role == "user" {
			out[n-1].Content += "\n\n" + m.Content // roles of such templates must alternate
			continue
		}
		out = append(out, m)
	}
	if system != "" {
		out = append(out, Message{Role: "user", Content: strings.TrimSpace(system)})
	}
	return out
}

// result is what a tool said, as the template wants it.
func (f *Format) result(m Message) Message {
	if m.Role = f.resultRole; m.Role == "" {
		m.Role, m.Content = "user", fmt.Sprintf(f.syntax.result, m.Content)
		m.CallID, m.Name = "", ""
	}
	return m
}

// tell writes the tools into the conversation.
func (f *Format) tell(messages []Message, tools []Tool) []Message {
	var list []string
	for _, t := range tools {
		list = append(list, t.JSON())
	}
	if f.key {
		all := jinja.NewDict()
		all.Set("tools", "["+strings.Join(list, ", ")+"]")
		if len(messages) == 0 || messages[0].Role != "system" {
			return append([]Message{{Role: "system", Fields: all}}, messages...)
		}
		if old := messages[0].Fields; old != nil {
			for _, k := range old.Keys() {
				v, _ := old.Get(k)
				all.Set(k, v)
			}
		}
		messages[0].Fields = all
		return messages
	}
	separator := ", "
	if f.syntax.tell == tellHermes {
		separator = "\n"
	}
	text := fmt.Sprintf(strings.ReplaceAll(f.syntax.tell, "{arguments}", f.arguments), strings.Join(list, separator))
	if len(messages) == 0 || messages[0].Role != "system" {
		return append([]Message{{Role: "system", Content: text}}, messages...)
	}
	messages[0].Content = strings.TrimSpace(messages[0].Content + "\n\n" + text)
	return messages
}

// JSON is the tool as models are told of it.
func (t Tool) JSON() string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	type function struct {
		Name        string          `json:"name"`
		Description string          `json:"description,omitempty"`
		Parameters  json.RawMessage `json:"parameters"`
	}
	err := e.Encode(struct {
		Type     string   `json:"type"`
		Function function `json:"function"`
	}{"function", function{t.Name, t.Description, t.Parameters}})
	if err != nil {
		return "{}" // ParseTools has read it
	}
	return strings.TrimSpace(b.String())
}

var shortID = regexp.MustCompile(`^[a-zA-Z0-9]{9}$`)

// id is an id as the family's templates demand it: the same for the same, so that calls and answers still belong together.
func (f *Format) id(id string) string {
	if f.ids == 0 || shortID.MatchString(id) {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return fmt.Sprintf("%x", sum)[:f.ids]
}
