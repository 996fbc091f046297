// Package tokenizer turns text into token ids and back, renders chat templates
// and holds the prompt styles.
//
// It reads the tokenizer.json of a checkpoint (byte pair encoding, byte-level
// or in the style of SentencePiece) and gives the ids that Hugging Face's
// tokenizers gives; testdata holds vectors made with it. It does not train
// tokenizers, and it does not truncate or pad.
//
// Start with Load, then Encode; chat.go renders conversations, style.go turns
// an instruction into a prompt.
package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// Tokenizer is one checkpoint's tokenizer. It does not change after Load, and
// its methods may be called from several goroutines.
type Tokenizer struct {
	model     model
	raw       matcher               // added tokens looked for in the text as it is
	normed    matcher               // added tokens looked for after normalization
	added     map[int32]*addedToken // every added token by id
	addedID   map[string]int32      // and by content
	normalize func(string) string   // nil: the text stays as it is
	splits    []splitStep           // pre-tokenizers, in order
	decoders  []decodeStep          // in order; empty: tokens joined by a space
	bytes     *bpe                  // the model, when all text is bytes and the only decoder is ByteLevel: the fast path
	prefix    []int32               // what the post-processor puts before a text
	suffix    []int32               // and after it
	size      int                   // largest id + 1
	hash      string                // SHA-256 of tokenizer.json, hex

	specials     []namedToken // bos_token, eos_token, …: variables of the chat template
	bos          int32
	hasBOS       bool
	eos          []int32
	chatTemplate string
}

// namedToken is a special token by its role in tokenizer_config.json.
type namedToken struct{ role, content string }

// Encode returns the ids of text. addSpecial adds what the post-processor of
// tokenizer.json adds (BOS for Llama), as add_special_tokens does in
// transformers. Special tokens written out in text are recognised either way.
// Bytes that are not UTF-8 cost no error: byte-level vocabularies keep them.
func (t *Tokenizer) Encode(text string, addSpecial bool) []int32 {
	ids := make([]int32, 0, len(text)/3+len(t.prefix)+len(t.suffix)+1)
	return t.AppendEncode(ids, text, addSpecial)
}

// AppendEncode is Encode into a slice that the caller owns.
func (t *Tokenizer) AppendEncode(dst []int32, text string, addSpecial bool) []int32 {
	if addSpecial {
		dst = append(dst, t.prefix...)
	}
	t.raw.each(text, func(p part, tok *addedToken) {
		if tok != nil {
			dst = append(dst, tok.ID)
			return
		}
		if t.normalize != nil {
			p.text = t.normalize(p.text)
		}
		atStart := p.first
		t.normed.each(p.text, func(q part, tok *addedToken) {
			q.first = q.first && atStart
			if tok != nil {
				dst = append(dst, tok.ID)
				return
			}
			dst = t.appendPlain(dst, q)
		})
	})
	if addSpecial {
		dst = append(dst, t.suffix...)
	}
	return dst
}

// appendPlain encodes normalized text that holds no added token.
func (t *Tokenizer) appendPlain(dst []int32, p part) []int32 {
	if p.text == "" {
		return dst
	}
	parts := []part{p}
	for _, step := range t.splits {
		next := make([]part, 0, len(p.text)/4+len(parts))
		for _, q := range parts {
			next = step(next, q)
		}
		parts = next
	}
	for _, q := range parts {
		dst = t.model.appendIDs(dst, q.text)
	}
	return dst
}

// Decode returns the text of ids; skipSpecial leaves special tokens out. Ids
// outside the vocabulary are skipped. Bytes that form no character become
// U+FFFD, as in Hugging Face's tokenizers; the clean-up of spaces that some
// versions of transformers add on top is not done.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	if t.bytes != nil {
		b := make([]byte, 0, 4*len(ids))
		for _, id := range ids {
			b = t.appendBytes(b, id, skipSpecial)
		}
		return lossyUTF8(b)
	}
	s := t.Stream(skipSpecial)
	for _, id := range ids {
		s.push(id)
	}
	s.flush()
	return s.out.String()
}

// appendBytes appends the bytes one id stands for under the ByteLevel decoder.
func (t *Tokenizer) appendBytes(b []byte, id int32, skipSpecial bool) []byte {
	if tok := t.added[id]; tok != nil {
		if skipSpecial && tok.Special {
			return b
		}
		// An added token made only of characters of the byte table is mapped
		// back like any other, whether or not that was meant: so does HF.
		raw, _ := byteLevelBytes([]byte(tok.Content))
		return append(b, raw...)
	}
	return append(b, t.bytes.vocab.token(id)...)
}

// VocabSize returns the largest id + 1, added tokens included.
func (t *Tokenizer) VocabSize() int { return t.size }

// ID returns the id of a token as it is spelled in tokenizer.json ("Ġthe",
// "▁the", "<|im_end|>").
func (t *Tokenizer) ID(token string) (int32, bool) {
	if id, ok := t.addedID[token]; ok {
		return id, true
	}
	return t.model.id(token)
}

// Token returns the token of an id as it is spelled in tokenizer.json.
func (t *Tokenizer) Token(id int32) (string, bool) {
	if tok := t.added[id]; tok != nil {
		return tok.Content, true
	}
	return t.model.token(id)
}

// BOS returns the token that begins a text, if the checkpoint has one.
func (t *Tokenizer) BOS() (int32, bool) { return t.bos, t.hasBOS }

// EOS returns every id that ends an answer: the tokenizer's eos_token first,
// then those of generation_config.json and config.json, each once.
func (t *Tokenizer) EOS() []int32 { return append([]int32(nil), t.eos...) }

// Hash returns the SHA-256 of tokenizer.json in hex, to key caches of ids.
func (t *Tokenizer) Hash() string { return t.hash }

// ChatTemplate returns the checkpoint's Jinja template, "" when there is none.
func (t *Tokenizer) ChatTemplate() string { return t.chatTemplate }

// lossyUTF8 mirrors Rust's String::from_utf8_lossy: one U+FFFD for each maximal
// ill-formed part. strings.ToValidUTF8 merges neighbours, so it will not do.
func lossyUTF8(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var out strings.Builder
	out.Grow(len(b) + 8)
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r != utf8.RuneError || n > 1 {
			out.Write(b[i : i+n])
			i += n
			continue
		}
		out.WriteString("\uFFFD")
		i += illFormed(b[i:])
	}
	return out.String()
}

// illFormed returns the length of the maximal ill-formed part at the start of b
// (Unicode 16, table 3-7).
func illFormed(b []byte) int {
	c, rest := b[0], 0
	lo, hi := byte(0x80), byte(0xBF)
	switch {
	case c >= 0xC2 && c <= 0xDF:
		rest = 1
	case c == 0xE0:
		rest, lo = 2, 0xA0
	case c == 0xED:
		rest, hi = 2, 0x9F
	case c >= 0xE1 && c <= 0xEF:
		rest = 2
	case c == 0xF0:
		rest, lo = 3, 0x90
	case c == 0xF4:
		rest, hi = 3, 0x8F
	case c >= 0xF1 && c <= 0xF3:
		rest = 3
	}
	k := 1
	for ; k <= rest && k < len(b) && b[k] >= lo && b[k] <= hi; k++ {
		lo, hi = 0x80, 0xBF
	}
	return k
}
