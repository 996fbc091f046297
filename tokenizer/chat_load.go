package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/litgpt-go/litgpt/tokenizer/jinja"
)

// LoadChatTemplates reads the templates of a checkpoint directory, with its special
// tokens as their variables; or the one in a file, which has no special tokens.
func LoadChatTemplates(path string) (*ChatTemplates, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	t := &ChatTemplates{}
	if !info.IsDir() {
		source, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		t.sources = map[string]string{"default": string(source)}
		return t, nil
	}
	config, special := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	if _, err := readJSON(filepath.Join(path, "tokenizer_config.json"), &config); err != nil {
		return nil, err
	}
	if _, err := readJSON(filepath.Join(path, "special_tokens_map.json"), &special); err != nil {
		return nil, err
	}
	if t.sources, err = readChatTemplates(path, config["chat_template"]); err != nil {
		return nil, err
	}
	if len(t.sources) == 0 {
		return nil, fmt.Errorf("%s: %w", path, ErrNoChatTemplate)
	}
	for role, content := range specialRoles(nil, special, config) {
		t.specials = append(t.specials, namedToken{role, content})
	}
	sort.Slice(t.specials, func(i, j int) bool { return t.specials[i].role < t.specials[j].role })
	return t, nil
}

// specialRoles are the special tokens by role. What tokenizer_config.json says, null
// included, goes before special_tokens_map.json.
func specialRoles(named []namedToken, specialMap, config map[string]json.RawMessage) map[string]string {
	roles := map[string]string{}
	for _, s := range named {
		roles[s.role] = s.content
	}
	for _, from := range []map[string]json.RawMessage{specialMap, config} {
		for role, raw := range from {
			if len(role) < 7 || role[len(role)-6:] != "_token" {
				continue
			}
			if content, ok := tokenContent(raw); ok {
				roles[role] = content
			} else if string(raw) == "null" {
				delete(roles, role)
			}
		}
	}
	return roles
}

// readChatTemplates returns the templates of a checkpoint by name, the only one as
// default: chat_template.jinja and additional_chat_templates/NAME.jinja; or else the
// key chat_template of tokenizer_config.json, a template or a list of named ones; or
// else that of chat_template.json, an older file of multimodal checkpoints.
func readChatTemplates(dir string, raw json.RawMessage) (map[string]string, error) {
	named := map[string]string{}
	more, err := filepath.Glob(filepath.Join(globEscape(dir), "additional_chat_templates", "*.jinja"))
	if err != nil {
		return nil, err
	}
	for _, path := range append(more, filepath.Join(dir, "chat_template.jinja")) {
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		name := strings.TrimSuffix(filepath.Base(path), ".jinja")
		if filepath.Dir(path) == filepath.Clean(dir) {
			name = "default"
		}
		named[name] = string(b)
	}
	if len(named) > 0 {
		return named, nil
	}
	from := filepath.Join(dir, "tokenizer_config.json")
	if raw == nil || string(raw) == "null" {
		var old struct {
			Template json.RawMessage `json:"chat_template"`
		}
		from = filepath.Join(dir, "chat_template.json")
		if _, err := readJSON(from, &old); err != nil {
			return nil, err
		}
		raw = old.Template
	}
	if raw == nil || string(raw) == "null" {
		return nil, nil
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return map[string]string{"default": text}, nil
	}
	var list []struct {
		Name     string `json:"name"`
		Template string `json:"template"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("%s: chat_template is neither a string nor a list of named templates", from)
	}
	for _, n := range list {
		named[n.Name] = n.Template
	}
	return named, nil
}

// globEscape makes a directory's name stand for itself in a pattern.
func globEscape(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// ParseChat reads a conversation from a JSON object of a template's variables:
// messages, tools, documents, add_generation_prompt, continue_final_message (true, or
// the key that is continued) and now (an ISO time); all others become Vars.
func ParseChat(b []byte) (Chat, error) {
	v, err := jinja.ParseJSON(b)
	if err != nil {
		return Chat{}, err
	}
	vars, ok := v.(*jinja.Dict)
	if !ok {
		return Chat{}, errors.New("a JSON object of the template's variables wanted")
	}
	c := Chat{Vars: vars}
	for name, to := range map[string]**jinja.List{"messages": &c.Turns, "tools": &c.Tools, "documents": &c.Documents} {
		v, ok := vars.Get(name)
		if list, isList := v.(*jinja.List); isList {
			*to = list
			vars.Delete(name)
		} else if ok && v == nil && name != "messages" {
			vars.Delete(name)
		}
	}
	if v, ok := vars.Get("add_generation_prompt"); ok {
		if on, isBool := v.(bool); isBool {
			c.AddGenerationPrompt = on
			vars.Delete("add_generation_prompt")
		}
	}
	if v, ok := vars.Delete("continue_final_message"); ok {
		switch x := v.(type) {
		case nil:
		case bool:
			c.ContinueFinalMessage = x
		case string:
			c.ContinueFinalMessage, c.ContinueField = x != "", x
		default:
			return Chat{}, errors.New("continue_final_message: true, false or the key to continue wanted")
		}
	}
	if v, ok := vars.Delete("now"); ok && v != nil {
		text, ok := v.(string)
		if !ok {
			return Chat{}, errors.New("now: an ISO time in quotes wanted")
		}
		at, err := jinja.ParseTime(text)
		if err != nil {
			return Chat{}, fmt.Errorf("now: %w", err)
		}
		c.Now = at
	}
	return c, nil
}
