// Package toolcall is how models of each family call tools: how their chat templates are told of tools, calls and results,
// how calls are found in what a model writes, piece by piece, and what a constrained decoder must allow for a call.
//
// Start with [For], which finds a checkpoint's [Format] by trying its chat template. [Format.Chat] makes the conversation
// that the template is given, [Format.Parser] reads the answer.
package toolcall

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"

	"github.com/litgpt-go/litgpt/tokenizer/jinja"
)

// Tool is a function that a model may call.
type Tool struct {
	Name, Description string
	Parameters        json.RawMessage // JSON schema of the arguments, an object
	Strict            bool            // arguments must follow the schema

	value *jinja.Dict // as the client wrote it, which is what templates print
}

// Call is a call of a tool.
type Call struct {
	ID, Name  string
	Arguments string // JSON text of an object
}

var toolName = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,64}$`)

// maxTools is OpenAI's limit.
const maxTools = 128

// ParseTools reads a list of tools as OpenAI's clients write it:
//
//	[{"type": "function", "function": {"name": …, "description": …, "parameters": …, "strict": …}}]
func ParseTools(b []byte) ([]Tool, error) {
	v, err := jinja.ParseJSON(b)
	if err != nil {
		return nil, fmt.Errorf("tools: %w", err)
	}
	list, ok := v.(*jinja.List)
	if !ok {
		return nil, errors.New("tools: a list of tools wanted")
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil {
		return nil, fmt.Errorf("tools: %w", err)
	}
	if len(raw) > maxTools {
		return nil, fmt.Errorf("tools: %d are too many, want at most %d", len(raw), maxTools)
	}
	var tools []Tool
	names := map[string]bool{}
	for i, item := range list.Items {
		t, err := parseTool(raw[i], item)
		if err == nil && names[t.Name] {
			err = fmt.Errorf("there is another one of the name %q", t.Name)
		}
		if err != nil {
			return nil, fmt.Errorf("tools[%d]: %w", i, err)
		}
		names[t.Name] = true
		tools = append(tools, t)
	}
	return tools, nil
}

func parseTool(raw json.RawMessage, value any) (t Tool, err error) {
	dict, ok := value.(*jinja.Dict)
	if !ok {
		return t, errors.New(`an object like {"type": "function", "function": …} wanted`)
	}
	var wrapped struct {
		Type     string
		Function *struct {
			Name, Description string
			Parameters        json.RawMessage
			Strict            *bool
		}
	}
	if err := json.Unmarshal(raw, &wrapped); err != nil {
		return t, err
	}
	f := wrapped.Function
	switch {
	case wrapped.Type != "function":
		return t, fmt.Errorf("type is %q, want \"function\"", wrapped.Type)
	case f == nil:
		return t, errors.New("function is missing")
	case !toolName.MatchString(f.Name):
		return t, fmt.Errorf("function.name is %.80q, want 1 to 64 of letters, digits, dots, _ and -", f.Name)
	}
	t = Tool{Name: f.Name, Description: f.Description, Parameters: f.Parameters, Strict: f.Strict != nil && *f.Strict, value: dict}
	if p := bytes.TrimSpace(t.Parameters); len(p) == 0 || string(p) == "null" {
		t.Parameters = json.RawMessage(`{"type": "object", "properties": {}}`)
		// templates write what they find under parameters and most fail without
		function, _ := dict.Get("function")
		dict = dict.Copy()
		with := function.(*jinja.Dict).Copy()
		parameters, err := jinja.ParseJSON(t.Parameters)
		if err != nil {
			return t, err
		}
		with.Set("parameters", parameters)
		dict.Set("function", with)
		t.value = dict
	} else if p[0] != '{' {
		return t, errors.New("function.parameters: a JSON schema of an object wanted")
	}
	return t, nil
}

// syntax is how models of a family write calls.
type syntax struct {
	name  string
	marks []string // that begin a call; the model's special tokens may be among them
	close []string // that may follow one
	bare  bool     // a call may come without a mark: an answer that begins with JSON, or JSON in a code fence

	array     bool   // behind the mark is a list of calls
	named     bool   // name[ARGS]arguments instead of JSON
	arguments string // key of the arguments
	ids       int    // characters of a call's id: 0 as OpenAI's

	before, between, after string // of calls as the model is trained to write them
	result                 string // what a tool said, in a message of the user, where the template has no role for it
	tell                   string // tells of tools, %s, where the template does not
}

const (
	toolCalls = "[TOOL_CALLS]"
	argsMark  = "[ARGS]"
	callID    = "[CALL_ID]"
	pythonTag = "<|python_tag|>"
	fence     = "```"
)

// The syntaxes of the families. They are recognized in this order (recognize).
var (
	mistralNamed = syntax{tell: tellMistral, result: "[TOOL_RESULTS]%s[/TOOL_RESULTS]", name: "mistral-args", marks: []string{toolCalls}, named: true, arguments: "arguments", ids: 9, before: toolCalls, between: toolCalls}
	mistral      = syntax{tell: tellMistral, result: "[TOOL_RESULTS]%s[/TOOL_RESULTS]", name: "mistral", marks: []string{toolCalls}, array: true, arguments: "arguments", ids: 9, before: toolCalls + "[", between: ", ", after: "]"}
	hermes       = syntax{tell: tellHermes, result: "<tool_response>\n%s\n</tool_response>", name: "hermes", marks: []string{"<tool_call>"}, close: []string{"</tool_call>"}, bare: true, arguments: "arguments",
		before: "<tool_call>\n", between: "\n</tool_call>\n<tool_call>\n", after: "\n</tool_call>"}
	phi = syntax{tell: tellTags, result: "<|tool_response|>%s", name: "phi", marks: []string{"<|tool_call|>"}, close: []string{"<|/tool_call|>"}, bare: true, array: true, arguments: "arguments",
		before: "<|tool_call|>[", between: ", ", after: "]<|/tool_call|>"}
	granite = syntax{tell: tellPlain, result: "%s", name: "granite", marks: []string{"<|tool_call|>"}, bare: true, array: true, arguments: "arguments",
		before: "<|tool_call|>[", between: ", ", after: "]"}
	llama   = syntax{tell: tellPlain, result: "%s", name: "llama", marks: []string{pythonTag}, bare: true, arguments: "parameters", between: "; "}
	gemma   = syntax{tell: tellPlain, result: "```tool_output\n%s\n```", name: "gemma", bare: true, arguments: "parameters", between: "\n"}
	generic = syntax{tell: tellPlain, result: "The tool answered:\n%s", name: "generic", marks: []string{"<tool_call>"}, close: []string{"</tool_call>"}, bare: true, arguments: "arguments", between: "\n"}
)

// What models are told of tools where their templates do not: the words they were trained with, as far as these are known.
const (
	tellHermes = "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n" +
		"You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n%s\n</tools>\n\n" +
		"For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\n" +
		"<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call>"
	tellTags    = "<|tool|>[%s]<|/tool|>"
	tellMistral = "[AVAILABLE_TOOLS][%s][/AVAILABLE_TOOLS]"
	tellPlain   = "You have access to functions. If you decide to invoke any of the function(s), you MUST put it in the format of\n" +
		"{\"name\": function name, \"{arguments}\": dictionary of argument name and its value}\n\n" +
		"You SHOULD NOT include any other text in the response if you call a function\n[%s]"
)

// write is calls as the model would have written them.
func (s *syntax) write(calls []Call) string {
	out := s.before
	for i, c := range calls {
		if i > 0 {
			out += s.between
		}
		name, _ := json.Marshal(c.Name)
		switch {
		case s.named:
			out += c.Name + argsMark + c.Arguments
		case s.ids > 0:
			out += fmt.Sprintf(`{"name": %s, %q: %s, "id": "%s"}`, name, s.arguments, c.Arguments, c.ID)
		default:
			out += fmt.Sprintf(`{"name": %s, %q: %s}`, name, s.arguments, c.Arguments)
		}
	}
	return out + s.after
}
