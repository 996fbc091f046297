package toolcall

import (
	"strings"

	"github.com/litgpt-go/litgpt/tokenizer"
	"github.com/litgpt-go/litgpt/tokenizer/jinja"
)

// Renderer fills a chat template: a [tokenizer.Tokenizer], or [tokenizer.ChatTemplates].
type Renderer interface {
	Render(tokenizer.Chat) (tokenizer.Rendering, error)
}

// Format is how a checkpoint's model calls tools, and what its chat template knows of that. It does not change; many
// goroutines may use it.
type Format struct {
	*syntax

	// What the template writes. What it does not is written into the text of messages (Chat).
	tools      bool   // the variable tools
	key        bool   // tools as a key of the system message, a string of JSON
	calls      bool   // tool_calls of a message of the assistant
	text       bool   // their arguments must be text, not objects
	parallel   bool   // several of them in one message
	content    bool   // the text of such a message
	apart      bool   // that text in a message of its own before it
	resultRole string // role of what tools say; "" is the user's
	system     bool   // messages of the system
}

// For finds the format of a checkpoint.
func For(tok *tokenizer.Tokenizer) *Format {
	return New(tok, func(token string) bool {
		_, ok := tok.ID(token)
		return ok
	})
}

// New finds the format by what a chat template makes of a small conversation with tools, and by which tokens the vocabulary
// has. Names of models and directories do not count.
func New(r Renderer, has func(token string) bool) *Format {
	f := &Format{syntax: &generic}
	seen := f.probe(r, has)
	f.syntax = recognize(seen, f.calls, has)
	return f
}

// recognize finds the syntax in what templates wrote.
func recognize(seen string, calls bool, has func(string) bool) *syntax {
	wrote := func(s string) bool { return strings.Contains(seen, s) }
	switch {
	case wrote(toolCalls) && wrote(argsMark), !calls && has(toolCalls) && has(argsMark):
		return &mistralNamed
	case wrote(toolCalls), has(toolCalls):
		return &mistral
	case wrote("<tool_call>"), has("<tool_call>"):
		return &hermes
	case has("<|tool_call|>") && has("<|/tool_call|>"):
		return &phi
	case wrote("<|tool_call|>"), has("<|tool_call|>"):
		return &granite
	case wrote(`{"name": "probe_tool", "parameters": {"probe_key"`), has(pythonTag):
		return &llama
	case wrote("<start_of_turn>"):
		return &gemma
	}
	return &generic
}

// Name is that of the syntax: mistral-args, mistral, hermes, phi, granite, llama, gemma or generic.
func (f *Format) Name() string { return f.name }

// Tokens are the tokens that the parser must see as text although a stream of text leaves special tokens out, by id.
func (f *Format) Tokens(tok *tokenizer.Tokenizer) map[int32]string {
	ids := map[int32]string{}
	for _, list := range [][]string{f.marks, f.close, {argsMark, callID}} {
		for _, mark := range list {
			if id, ok := tok.ID(mark); ok {
				ids[id] = mark
			}
		}
	}
	return ids
}

// The words of the conversation that templates are tried with.
const (
	probeTool   = "probe_tool"
	probeKey    = "probe_key"
	probeValue  = "probe_value"
	probeSecond = "probe_second"
	probeResult = "probe_result"
	probeSaid   = "probe_said"
	probeJSON   = `[{"type": "function", "function": {"name": "probe_tool", "description": "A probe.", "parameters":
		{"type": "object", "properties": {"probe_key": {"type": "string", "description": "A key."}}, "required": ["probe_key"]}}}]`
)

// probe finds out what the template writes, and returns all that it wrote.
func (f *Format) probe(r Renderer, has func(string) bool) string {
	tools, err := ParseTools([]byte(probeJSON))
	if err != nil {
		return "" // a test sees it
	}
	var seen strings.Builder
	try := func(tools []Tool, messages ...Message) string {
		c, err := f.Chat(messages, tools)
		if err != nil {
			return ""
		}
		c.AddGenerationPrompt = true
		out, err := r.Render(c)
		if err != nil {
			return ""
		}
		seen.WriteString(out.Text)
		return out.Text
	}
	user := Message{Role: "user", Content: "Hello."}
	system := Message{Role: "system", Content: probeSaid}
	call := func(value string) Call {
		return Call{ID: "probe1234", Name: probeTool, Arguments: `{"probe_key": "` + value + `"}`}
	}
	assistant := Message{Role: "assistant", Calls: []Call{call(probeValue)}}
	result := Message{Role: "tool", Content: probeResult, CallID: "probe1234", Name: probeTool}

	f.system = true
	f.system = strings.Contains(try(nil, system, user), probeSaid)
	f.tools = true
	if f.tools = strings.Contains(try(tools, user), probeTool); !f.tools {
		f.key = true
		f.key = f.system && strings.Contains(try(tools, user), probeTool)
	}
	if !f.tools {
		tools = nil
	}

	f.resultRole, f.calls, f.parallel, f.content = "tool", true, true, true
	whole := func(text string) bool { // arguments as they should be
		// mistral-common's templates make HTML of what they add to a filtered object
		return (strings.Contains(text, `"probe_key": "probe_value"`) || strings.Contains(text, `"probe_key":"probe_value"`)) && !strings.Contains(text, "&#34;")
	}
	f.calls = whole(try(tools, user, assistant, result)) || whole(try(tools, user, assistant))
	if !f.calls {
		f.calls, f.text = true, true
		f.calls = whole(try(tools, user, assistant, result)) || whole(try(tools, user, assistant))
		f.text = f.calls
	}
	tried := false
	for _, role := range []string{"tool_response", "tool", "ipython", "tool_results", "tool_response", "function", ""} {
		if f.resultRole = role; role == "" {
			break
		}
		// A template that writes any role in brackets is to write the token of results.
		text := try(tools, user, assistant, result)
		first := f.resultRole == "tool_response" && !tried
		tried = true
		if strings.Contains(text, probeResult) && (!first || has("<|tool_response|>") && strings.Contains(text, "<|tool_response|>")) {
			break
		}
	}
	if f.calls {
		two := Message{Role: "assistant", Calls: []Call{call(probeValue), call(probeSecond)}}
		text := try(tools, user, two, result, result)
		f.parallel = strings.Contains(text, probeValue) && strings.Contains(text, probeSecond)
		said := assistant
		said.Content = probeSaid
		last := Message{Role: "assistant", Content: "Done."}
		written := func() bool {
			text := try(tools, user, said, result, last)
			return strings.Contains(text, probeSaid) && strings.Contains(text, probeValue)
		}
		if f.content = written(); !f.content {
			f.apart = true
			f.apart = written()
		}
	}
	return seen.String()
}

func jsonValue(s string) any {
	v, err := jinja.ParseJSON([]byte(s))
	if err != nil {
		return s
	}
	return v
}
