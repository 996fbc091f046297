package grammar

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/litgpt-go/litgpt/tokenizer"
)

// byteRunes are the characters by which GPT-2's byte-level vocabularies spell
// bytes: printable Latin-1 as itself, the rest from U+0100 on.
func byteRunes() map[rune]byte {
	m, next := map[rune]byte{}, rune(256)
	for b := range 256 {
		r := rune(b)
		if !(b >= 33 && b <= 126 || b >= 161 && b <= 172 || b >= 174) {
			r = next
			next++
		}
		m[r] = byte(b)
	}
	return m
}

// tokenBytes returns the bytes of each token and the names of the special ones. A
// tokenizer whose texts are not what its tokens say one after the other is refused.
func tokenBytes(tok *tokenizer.Tokenizer) (tokens [][]byte, special map[int32]string, err error) {
	size := tok.VocabSize()
	tokens, special = make([][]byte, size), map[int32]string{}
	level := isByteLevel(tok)
	fallback := hasByteTokens(tok)
	table := byteRunes()
	stream := tok.Stream(false)
	if before := tok.Encode("a", false); len(before) > 0 {
		stream.Next(before[len(before)-1]) // the first token of a text may be different
	}
	for id := range int32(size) {
		name, ok := tok.Token(id)
		if !ok || name == "" {
			continue
		}
		if tok.Decode([]int32{id}, true) == "" && tok.Decode([]int32{id}, false) == name {
			special[id] = name
			continue
		}
		if b, ok := byteToken(name); ok && fallback {
			tokens[id] = []byte{b}
			continue
		}
		if level {
			tokens[id] = levelBytes(name, table)
			continue
		}
		tokens[id] = []byte(stream.Next(id))
	}
	return tokens, special, checkBytes(tok, tokens)
}

// levelBytes maps a byte-level token to its bytes; one with another character (an
// added token) is what it says.
func levelBytes(name string, table map[rune]byte) []byte {
	out := make([]byte, 0, len(name))
	for _, r := range name {
		b, ok := table[r]
		if !ok {
			return []byte(name)
		}
		out = append(out, b)
	}
	return out
}

// isByteLevel tells whether the decoder maps characters of the byte table back.
func isByteLevel(tok *tokenizer.Tokenizer) bool {
	for _, c := range []struct{ token, text string }{{"Ġ", " "}, {"Ċ", "\n"}} {
		if id, ok := tok.ID(c.token); ok {
			return tok.Decode([]int32{id}, false) == c.text
		}
	}
	return false
}

// hasByteTokens tells whether tokens like <0x0A> are bytes.
func hasByteTokens(tok *tokenizer.Tokenizer) bool {
	id, ok := tok.ID("<0x41>")
	return ok && tok.Decode([]int32{id}, false) == "A"
}

func byteToken(name string) (byte, bool) {
	if len(name) != 6 || !strings.HasPrefix(name, "<0x") || name[5] != '>' {
		return 0, false
	}
	b, err := strconv.ParseUint(name[3:5], 16, 8)
	return byte(b), err == nil
}

// checkBytes encodes a text that has a bit of everything and puts the bytes of its
// tokens together again.
func checkBytes(tok *tokenizer.Tokenizer, tokens [][]byte) error {
	const sample = `a {"name": "Zoë", "list": [1, -2.5e3, true], "say": "don't \"go\""} end.`
	var got []byte
	for _, id := range tok.Encode(sample, false) {
		got = append(got, tokens[id]...)
	}
	if strings.TrimPrefix(string(got), " ") != sample {
		return fmt.Errorf("the tokenizer changes texts, so that its output cannot be constrained: %q becomes %q", sample, got)
	}
	return nil
}
