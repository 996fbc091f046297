// Package tokenizer turns text into token ids and back, renders chat templates
// and holds the prompt styles.
//
// It reads the tokenizer.json of a checkpoint and gives what Hugging Face's
// tokenizers 0.22.2 gives: ids, those of pairs of texts, type ids, byte offsets,
// decoded text. The models are BPE, Unigram, WordPiece and WordLevel; it knows
// every normalizer, pre-tokenizer, post-processor and decoder of that library.
// testdata holds vectors made with it for each, tools/reference makes them.
//
// Four things differ, none of which a published tokenizer is known to need. An
// added token of which normalization leaves nothing is never found (Hugging Face's
// then cuts the text between all bytes, and stops at what is not ASCII). What a
// Replace puts at the very front of a text is not doubled by the normalizer after
// it. Regular expressions run on regexp2 (see fromOniguruma), which has no \X, \K
// or calls of groups, and one that backtracks for a second finds no more. And where
// Hugging Face's gives an error (an unknown word without an unknown token) or
// panics, encoding and decoding go on without that word.
//
// It does not truncate or pad (see Truncation), and a BPE model with dropout, whose
// ids change from call to call, is refused.
//
// Start with Load, then Encode, or EncodeTokens for offsets. A text goes through
// walk: added tokens, normalizer, pre-tokenizers, model; then through process, the
// post-processors. Decode and Stream share one chain of decoders. chat.go renders
// conversations, style.go turns an instruction into a prompt.
package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// Tokenizer is one checkpoint's tokenizer. It does not change after Load, and
// its methods may be called from several goroutines.
type Tokenizer struct {
	model      model
	bytes      *bpe                  // the model, when all text is bytes and the only decoder is ByteLevel: the fast path
	raw        matcher               // added tokens looked for in the text as it is
	normed     matcher               // added tokens looked for after normalization
	added      map[int32]*addedToken // every added token by id
	addedID    map[string]int32      // and by content
	normalizer normalizer
	splits     []splitStep // pre-tokenizers, in order
	origins    bool        // a pre-tokenizer has to know where in the text a part comes from
	processors []processStep
	wraps      bool         // all that the post-processors do to the ids of a text is to put them between
	prefix     []int32      // these
	suffix     []int32      // and these
	trims      bool         // a post-processor takes white space out of offsets
	decoders   []decodeStep // in order; empty: tokens joined by a space
	size       int          // largest id + 1
	hash       string       // SHA-256 of tokenizer.json, hex
	truncation Truncation
	padding    Padding

	specials []namedToken // bos_token, eos_token, …: variables of the chat template
	bos      int32
	hasBOS   bool
	eos      []int32
	chat     *ChatTemplates // nil when there are none
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
	if !t.wraps {
		tokens := []token{}
		for _, id := range t.appendIDs(nil, text) {
			tokens = append(tokens, token{Token: Token{ID: id}})
		}
		return append(dst, idsOf(t.process([][]token{tokens}, addSpecial, [2]string{}))...)
	}
	if addSpecial {
		dst = append(dst, t.prefix...)
	}
	dst = t.appendIDs(dst, text)
	if addSpecial {
		dst = append(dst, t.suffix...)
	}
	return dst
}

// appendIDs appends the ids of text without post-processing.
func (t *Tokenizer) appendIDs(dst []int32, text string) []int32 {
	t.walk(text, t.origins, func(p part, tok *addedToken) {
		if tok != nil {
			dst = append(dst, tok.ID)
		} else {
			dst = t.model.appendIDs(dst, p.text)
		}
	})
	return dst
}

// walk calls f with the parts of text in order: each added token by itself, and
// between them what goes to the model. origins asks for where their bytes come from.
func (t *Tokenizer) walk(text string, origins bool, f func(p part, tok *addedToken)) {
	split := func(p part) { f(p, nil) }
	for i := len(t.splits) - 1; i >= 0; i-- {
		step, emit := t.splits[i], split
		split = func(p part) { step(p, emit) }
	}
	t.raw.each(text, func(start, end int, tok *addedToken) {
		p := part{text: text[start:end], first: start == 0}
		if origins {
			p.from = identity(p.text, start)
		}
		if tok != nil {
			f(p, tok)
			return
		}
		if origins {
			p.text, p.from = t.normalizer.aligned(p.text, p.from, start)
		} else {
			p.text = t.normalizer.text(p.text)
		}
		t.normed.each(p.text, func(start, end int, tok *addedToken) {
			if q := p.cut(start, end); tok != nil {
				f(q, tok)
			} else {
				split(q)
			}
		})
	})
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
func (t *Tokenizer) ChatTemplate() string {
	if t.chat == nil {
		return ""
	}
	return t.chat.sources["default"]
}

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
