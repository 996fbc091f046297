package server

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/litgpt-go/litgpt/internal/generate"
	"github.com/litgpt-go/litgpt/internal/grammar"
	"github.com/litgpt-go/litgpt/internal/toolcall"
)

// form is what an answer must look like.
type form struct {
	grammar *grammar.Grammar        // nil: anything goes
	parser  func() *toolcall.Parser // nil: the answer is text
}

// constraint is the grammar's state for one answer.
func (f form) constraint() generate.Constraint {
	if f.grammar == nil {
		return nil
	}
	return f.grammar.Start()
}

// responseFormat reads the format that a request asks for; ok is false for free text.
func responseFormat(format json.RawMessage, gbnf, regex string) (source grammar.Source, param string, ok bool, err error) {
	var in struct {
		Type   string          `json:"type"`
		Schema json.RawMessage `json:"schema"` // of llama.cpp's json_object
		Inner  *struct {
			Name   string          `json:"name"`
			Schema json.RawMessage `json:"schema"`
			Strict *bool           `json:"strict"`
		} `json:"json_schema"`
	}
	given := 0
	if gbnf != "" {
		source, param, ok = grammar.Source{Type: grammar.GBNF, Text: gbnf}, "grammar", true
		given++
	}
	if regex != "" {
		source, param, ok = grammar.Source{Type: grammar.Regex, Text: regex}, "regex", true
		given++
	}
	if !isNull(format) {
		if json.Unmarshal(format, &in) != nil {
			return source, param, false, bad("response_format", "response_format must be an object like {\"type\": \"json_object\"}")
		}
		switch {
		case in.Type == "text":
		case in.Type == "json_object" && isNull(in.Schema):
			source, param, ok = grammar.Source{Type: grammar.JSONObject}, "response_format", true
			given++
		case in.Type == "json_object":
			source, param, ok = grammar.Source{Type: grammar.JSONSchema, Text: string(in.Schema)}, "response_format", true
			given++
		case in.Type == "json_schema" && in.Inner != nil && !isNull(in.Inner.Schema):
			source, param, ok = grammar.Source{Type: grammar.JSONSchema, Text: string(in.Inner.Schema), Strict: or(in.Inner.Strict, false)}, "response_format", true
			given++
		case in.Type == "json_schema":
			return source, param, false, bad("response_format", "response_format of type json_schema needs json_schema: {\"name\": …, \"schema\": …}")
		default:
			return source, param, false, bad("response_format", "response_format has the type %q; text, json_object or json_schema wanted", clip(in.Type))
		}
	}
	if given > 1 {
		return source, param, false, bad(param, "response_format, grammar and regex exclude each other")
	}
	return source, param, ok, nil
}

// constrain sets the form of an answer without tools.
func (s *Server) constrain(q *question, format json.RawMessage, gbnf, regex string) error {
	source, param, ok, err := responseFormat(format, gbnf, regex)
	if err != nil || !ok {
		return err
	}
	q.form.grammar, err = q.m.compile(source, param)
	return err
}

// toolChoice is what a request says about tools.
type toolChoice struct {
	none, required bool
	name           string // of the one that must be called; "" for any
}

func readToolChoice(raw json.RawMessage) (c toolChoice, err error) {
	if isNull(raw) {
		return c, nil
	}
	var word string
	if json.Unmarshal(raw, &word) == nil {
		switch word {
		case "auto":
		case "none":
			c.none = true
		case "required", "any":
			c.required = true
		default:
			return c, bad("tool_choice", "tool_choice is %q; none, auto, required or the name of a function wanted", clip(word))
		}
		return c, nil
	}
	var named struct {
		Type     string `json:"type"`
		Function struct {
			Name string `json:"name"`
		} `json:"function"`
	}
	if json.Unmarshal(raw, &named) != nil || named.Type != "function" || named.Function.Name == "" {
		return c, bad("tool_choice", "tool_choice must be none, auto, required or {\"type\": \"function\", \"function\": {\"name\": …}}")
	}
	return toolChoice{required: true, name: named.Function.Name}, nil
}

// form sets the form of an answer, and tells the conversation of the tools.
func (s *Server) form(q *question, in *chatRequest, c *conversation) error {
	choice, err := readToolChoice(in.ToolChoice)
	if err != nil {
		return err
	}
	var tools []toolcall.Tool
	if !isNull(in.Tools) {
		if tools, err = toolcall.ParseTools(in.Tools); err != nil {
			return bad("tools", "%v", err)
		}
	}
	if len(tools) == 0 && choice.required {
		return bad("tool_choice", "tool_choice asks for a call, but there are no tools")
	}
	if len(tools) == 0 || choice.none {
		return s.constrain(q, in.ResponseFormat, in.Grammar, in.Regex)
	}
	if q.m.format == nil {
		return bad("tools", "the model has no chat template, so it cannot be told of tools")
	}
	if c.tools, err = toolcall.ParseTools([]byte(c.guard.Mark(string(in.Tools), true))); err != nil {
		return bad("tools", "%v", err)
	}
	q.form.parser = func() *toolcall.Parser { return q.m.format.Parser(tools) }
	return s.constrainCalls(q, in, tools, choice)
}

// constrainCalls sets the grammar of an answer that is, or has, calls of tools.
func (s *Server) constrainCalls(q *question, in *chatRequest, tools []toolcall.Tool, choice toolChoice) error {
	answer, param, formatted, err := responseFormat(in.ResponseFormat, in.Grammar, in.Regex)
	if err != nil {
		return err
	}
	if formatted && !choice.required && answer.Type != grammar.JSONSchema && answer.Type != grammar.JSONObject {
		return bad(param, "%s and tools exclude each other, but with tool_choice none or required", param)
	}
	want := toolcall.Choice{Name: choice.name, Auto: !choice.required && !formatted, Parallel: or(in.ParallelCalls, true)}
	calls, err := q.m.format.Constrain(tools, want, toolcall.Special(q.m.model.Tokenizer()))
	if errors.Is(err, toolcall.ErrNotConstrained) {
		return nil
	}
	if err != nil {
		return bad("tools", "%v", err)
	}
	strict := slices.ContainsFunc(tools, func(t toolcall.Tool) bool { return t.Strict })
	source := grammar.Source{Type: grammar.GBNF, Text: calls.Grammar, Schemas: calls.Schemas, Strict: strict}
	if formatted && !choice.required { // calls, or an answer in the format
		rest, ok := strings.CutPrefix(calls.Grammar, "root ::=")
		if !ok {
			return errors.New("the grammar of calls does not begin with its root")
		}
		source.Text = "root ::= calls | answer\ncalls ::=" + rest
		source.Schemas["answer"] = answer.Text
		if answer.Type == grammar.JSONObject {
			source.Schemas["answer"] = `{"type": "object"}`
		}
		source.Strict = strict || answer.Strict
	}
	compiled, err := q.m.compile(source, "tools")
	if err != nil && want.Auto && !strict {
		return nil // a call that is not asked for is as good as the model makes it
	}
	if err != nil {
		return err
	}
	q.form.grammar, err = compiled.After(calls.Triggers...)
	return err
}
