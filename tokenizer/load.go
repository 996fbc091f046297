package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"sort"
)

// Load reads the tokenizer of a checkpoint directory: tokenizer.json, or else
// tokenizer.model, one *.tiktoken or one *.gguf; and what is there of
// tokenizer_config.json, special_tokens_map.json, generation_config.json,
// config.json and chat_template.jinja.
func Load(dir string) (*Tokenizer, error) {
	path := filepath.Join(dir, "tokenizer.json")
	var t *Tokenizer
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		var found bool
		if t, found, err = openInstead(dir); err == nil && !found {
			err = missingTokenizer(dir, path)
		}
	} else if err == nil {
		if t, err = Parse(b); err != nil {
			err = fmt.Errorf("%s: %w", path, err)
		}
	}
	if err != nil {
		return nil, err
	}
	var (
		config  = map[string]json.RawMessage{} // tokenizer_config.json
		special = map[string]json.RawMessage{} // special_tokens_map.json
		gen     idsJSON
		model   struct {
			idsJSON
			Text idsJSON `json:"text_config"` // multimodal checkpoints
		}
	)
	found, err := readJSON(filepath.Join(dir, "tokenizer_config.json"), &config)
	if err != nil {
		return nil, err
	}
	if _, err := readJSON(filepath.Join(dir, "special_tokens_map.json"), &special); err != nil {
		return nil, err
	}
	if _, err := readJSON(filepath.Join(dir, "generation_config.json"), &gen); err != nil {
		return nil, err
	}
	if _, err := readJSON(filepath.Join(dir, "config.json"), &model); err != nil {
		return nil, err
	}
	t.setSpecials(special, config)
	if !t.hasBOS && !found {
		// Without a tokenizer_config.json nothing says that there is no BOS.
		for _, ids := range []idList{gen.BOS, model.BOS, model.Text.BOS} {
			if len(ids) > 0 && !t.hasBOS {
				t.bos, t.hasBOS = ids[0], true
			}
		}
	}
	for _, ids := range []idList{gen.EOS, model.EOS, model.Text.EOS} {
		for _, id := range ids {
			t.addEOS(id)
		}
	}
	if len(t.eos) > 1 && t.hasBOS && t.eos[0] == t.bos {
		// A converted checkpoint may name its BOS as eos_token; an answer cannot be
		// taught to end with what begins a text when the others know better.
		t.eos = append(t.eos[1:], t.eos[0])
	}
	templates, err := readChatTemplates(dir, config["chat_template"])
	if err != nil {
		return nil, err
	}
	if len(templates) == 0 && t.chat != nil {
		templates = t.chat.sources // a GGUF file has one of its own
	}
	if len(templates) > 0 {
		t.chat = &ChatTemplates{sources: templates, specials: t.specials}
	}
	return t, nil
}

// missingTokenizer says what is wrong with a directory without tokenizer.json.
func missingTokenizer(dir, path string) error {
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("checkpoint directory: %w", err)
	}
	return fmt.Errorf("%s: no such file; a checkpoint directory needs the tokenizer.json (or tokenizer.model, *.tiktoken, *.gguf) of its model: %w", path, fs.ErrNotExist)
}

// setSpecials reads the special tokens by role. What tokenizer_config.json says,
// null included, goes before special_tokens_map.json.
func (t *Tokenizer) setSpecials(specialMap, config map[string]json.RawMessage) {
	roles := specialRoles(t.specials, specialMap, config)
	t.specials = nil
	for role, content := range roles {
		t.specials = append(t.specials, namedToken{role, content})
	}
	sort.Slice(t.specials, func(i, j int) bool { return t.specials[i].role < t.specials[j].role })
	if content, ok := roles["bos_token"]; ok {
		t.bos, t.hasBOS = t.ID(content)
	}
	if content, ok := roles["eos_token"]; ok {
		if id, ok := t.ID(content); ok {
			t.addEOS(id)
		}
	}
}

func (t *Tokenizer) addEOS(id int32) {
	for _, have := range t.eos {
		if have == id {
			return
		}
	}
	t.eos = append(t.eos, id)
}

// tokenContent reads a special token: a string, or an object with content.
func tokenContent(raw json.RawMessage) (string, bool) {
	var text string
	if json.Unmarshal(raw, &text) == nil && string(raw) != "null" {
		return text, true
	}
	var object struct {
		Content *string `json:"content"`
	}
	if json.Unmarshal(raw, &object) == nil && object.Content != nil {
		return *object.Content, true
	}
	return "", false
}

// idsJSON is what generation_config.json and config.json say of tokens.
type idsJSON struct {
	BOS idList `json:"bos_token_id"`
	EOS idList `json:"eos_token_id"`
}

// idList is an id, a list of ids, or null.
type idList []int32

// UnmarshalJSON implements json.Unmarshaler.
func (l *idList) UnmarshalJSON(b []byte) error {
	var value any
	if err := json.Unmarshal(b, &value); err != nil {
		return err
	}
	values, ok := value.([]any)
	if !ok {
		values = []any{value}
	}
	*l = nil
	for _, v := range values {
		id, ok := v.(float64)
		switch {
		case v == nil || ok && id < 0: // -1 is some configurations' word for none
		case !ok || id != math.Trunc(id) || id > math.MaxInt32:
			return fmt.Errorf("token id %v is not a whole number from 0 to 2147483647", v)
		default:
			*l = append(*l, int32(id))
		}
	}
	return nil
}

// A few published generation_config.json files are not quite JSON: a comma too
// many before a bracket, or one too few at the end of a line.
var (
	trailingComma = regexp.MustCompile(`,(\s*[}\]])`)
	missingComma  = regexp.MustCompile(`([}\]0-9el"])([ \t]*\n\s*")`)
)

// readJSON reads a file into v; found is false when there is none.
func readJSON(path string, v any) (found bool, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err = json.Unmarshal(b, v); err == nil {
		return true, nil
	}
	repaired := missingComma.ReplaceAll(trailingComma.ReplaceAll(b, []byte("$1")), []byte("$1,$2"))
	if json.Unmarshal(repaired, v) == nil {
		return true, nil
	}
	return false, fmt.Errorf("%s: %w", path, err)
}
