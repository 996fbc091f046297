package tokenizer

import (
	"fmt"
	"os"
	"path/filepath"
)

// This file is to be deleted when the engine's offsets.go and the loaders' open.go are merged.

// Token is one id of an encoding with where it comes from.
type Token struct {
	ID         int32
	Type       uint8
	Special    bool
	Start, End int
}

// EncodeTokens has right offsets for byte-level vocabularies only.
func (t *Tokenizer) EncodeTokens(text string, addSpecial bool) []Token {
	var out []Token
	at := 0
	prefix := 0
	if addSpecial {
		prefix = len(t.Encode("", true))
	}
	for i, id := range t.Encode(text, addSpecial) {
		if i < prefix {
			out = append(out, Token{ID: id, Special: true})
			continue
		}
		n := len(t.appendBytes(nil, id, false))
		start, end := at, at+n
		for start > 0 && start < len(text) && text[start]&0xC0 == 0x80 {
			start--
		}
		for end < len(text) && text[end]&0xC0 == 0x80 {
			end++
		}
		out = append(out, Token{ID: id, Start: start, End: end})
		at += n
	}
	return out
}

// Open reads a tokenizer.
func Open(path string) (*Tokenizer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return Load(path)
	}
	if filepath.Ext(path) != ".json" {
		return nil, fmt.Errorf("%s: not a tokenizer.json", path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	t, err := Parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}
