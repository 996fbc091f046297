package toolcall

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Constraint is what a constrained decoder must follow for calls: a grammar in GBNF, the form of llama.cpp, with rules that
// JSON schemas describe.
type Constraint struct {
	Grammar  string            // its rule root is the whole answer, or what follows a trigger
	Schemas  map[string]string // of rules that Grammar uses and does not have, by name
	Triggers []string          // texts or special tokens behind which Grammar begins; nil: it is the whole answer
}

// Choice is what is asked of the model.
type Choice struct {
	Name     string // the tool that must be called; "" is any
	Auto     bool   // the model may answer with text instead
	Parallel bool   // it may make several calls
}

// ErrNotConstrained is an answer that need not be a call, by a format without a mark that tells where one begins: there is
// nothing to constrain before the call is complete.
var ErrNotConstrained = errors.New("calls of this format have no mark; they cannot be constrained where they are not required")

// Constrain gives the grammar of calls of tools. id finds special tokens of the vocabulary, which stand in the grammar by
// their id: nil for none.
func (f *Format) Constrain(tools []Tool, c Choice, id func(token string) (int32, bool)) (Constraint, error) {
	if c.Name != "" {
		i := slices.IndexFunc(tools, func(t Tool) bool { return t.Name == c.Name })
		if i < 0 {
			return Constraint{}, fmt.Errorf("tool_choice: there is no tool %q", c.Name)
		}
		tools = tools[i : i+1]
	}
	if len(tools) == 0 {
		return Constraint{}, errors.New("tool_choice: there are no tools to choose from")
	}
	g := gbnf{id: id, syntax: f.syntax}
	out := Constraint{Schemas: map[string]string{}}
	before := f.before
	if c.Auto {
		if f.before == "" {
			return Constraint{}, ErrNotConstrained
		}
		out.Triggers = f.marks
		before = strings.TrimPrefix(before, f.marks[0])
	}
	var root []string
	if c.Auto && f.array {
		root = append(root, "[ \\n]?") // tokenizers of SentencePiece write a space
	}
	root = append(root, g.literal(before), "call")
	if c.Parallel {
		root = append(root, "("+g.literal(f.between)+" call)*")
	}
	root = append(root, g.literal(f.after))
	root = slices.DeleteFunc(root, func(s string) bool { return s == "" })
	var text strings.Builder
	fmt.Fprintf(&text, "root ::= %s\ncall ::=", strings.Join(root, " "))
	for i := range tools {
		if i > 0 {
			text.WriteString(" |")
		}
		fmt.Fprintf(&text, " call-%d", i)
	}
	text.WriteString("\n")
	for i, t := range tools {
		schema, err := objectSchema(t.Parameters)
		if err != nil {
			return Constraint{}, fmt.Errorf("tool %s: %w", t.Name, err)
		}
		arguments := fmt.Sprintf("arguments-%d", i)
		out.Schemas[arguments] = schema
		fmt.Fprintf(&text, "call-%d ::= %s\n", i, g.call(t.Name, arguments))
	}
	out.Grammar = text.String()
	return out, nil
}

// objectSchema makes sure that a schema describes an object: clients leave the type out.
func objectSchema(schema json.RawMessage) (string, error) {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(schema, &keys); err != nil {
		return "", fmt.Errorf("parameters: %w", err)
	}
	for _, key := range []string{"type", "$ref", "anyOf", "oneOf", "allOf"} {
		if _, ok := keys[key]; ok {
			return string(schema), nil
		}
	}
	rest := strings.TrimPrefix(string(bytes.TrimSpace(schema)), "{")
	if len(keys) > 0 {
		rest = ", " + rest
	}
	return `{"type": "object"` + rest, nil
}

// gbnf writes pieces of a grammar.
type gbnf struct {
	*syntax
	id func(token string) (int32, bool)
}

// call is a call of one tool.
func (g gbnf) call(name, arguments string) string {
	quoted, _ := json.Marshal(name)
	switch {
	case g.named:
		return g.literal(name+argsMark) + " " + arguments
	case g.ids > 0:
		return fmt.Sprintf(`%s %s (%s [a-zA-Z0-9]{%d} "\"")? "}"`, g.literal(fmt.Sprintf(`{"name": %s, %q: `, quoted, g.arguments)), arguments, g.literal(`, "id": "`), g.ids)
	}
	return fmt.Sprintf(`%s %s "}"`, g.literal(fmt.Sprintf(`{"name": %s, %q: `, quoted, g.arguments)), arguments)
}

// literal is a text as it stands; its special tokens are tokens.
func (g gbnf) literal(text string) string {
	var out []string
	quote := func(s string) {
		if s != "" {
			out = append(out, `"`+strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s)+`"`)
		}
	}
	for text != "" {
		at, mark := len(text), ""
		for _, list := range [][]string{g.marks, g.close, {argsMark}} {
			for _, m := range list {
				if i := strings.Index(text, m); i >= 0 && i < at {
					at, mark = i, m
				}
			}
		}
		quote(text[:at])
		if text = text[at:]; mark == "" {
			break
		}
		if id, ok := g.special(mark); ok {
			out = append(out, "<["+strconv.Itoa(int(id))+"]>")
		} else {
			quote(mark)
		}
		text = text[len(mark):]
	}
	return strings.Join(out, " ")
}

func (g gbnf) special(token string) (int32, bool) {
	if g.id == nil {
		return 0, false
	}
	return g.id(token)
}

// Special finds special tokens of a tokenizer: those that are left out of a text.
func Special(tok interface {
	ID(token string) (int32, bool)
	Decode(ids []int32, skipSpecial bool) string
}) func(token string) (int32, bool) {
	return func(token string) (int32, bool) {
		id, ok := tok.ID(token)
		return id, ok && tok.Decode([]int32{id}, true) == ""
	}
}
