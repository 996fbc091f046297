package tokenizer

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// component is any normalizer, pre-tokenizer, post-processor or decoder of
// tokenizer.json, with the fields of all.
type component struct {
	Type          string      `json:"type"`
	Normalizers   []component `json:"normalizers"` // of a Sequence
	Pretokenizers []component `json:"pretokenizers"`
	Processors    []component `json:"processors"`
	Decoders      []component `json:"decoders"`

	Pattern          pattern `json:"pattern"`
	Content          string  `json:"content"`
	Prepend          string  `json:"prepend"`
	Behavior         string  `json:"behavior"`
	Invert           bool    `json:"invert"`
	AddPrefixSpace   *bool   `json:"add_prefix_space"`
	TrimOffsets      *bool   `json:"trim_offsets"`
	UseRegex         *bool   `json:"use_regex"`
	PrependScheme    string  `json:"prepend_scheme"`
	Replacement      string  `json:"replacement"`
	Split            *bool   `json:"split"`
	IndividualDigits bool    `json:"individual_digits"`
	Delimiter        string  `json:"delimiter"`
	Length           *int    `json:"length"`
	Start            int     `json:"start"`
	Stop             int     `json:"stop"`
	StripLeft        bool    `json:"strip_left"`
	StripRight       bool    `json:"strip_right"`
	CleanText        *bool   `json:"clean_text"`
	HandleChinese    *bool   `json:"handle_chinese_chars"`
	StripAccents     *bool   `json:"strip_accents"`
	Lowercase        *bool   `json:"lowercase"`
	Charsmap         string  `json:"precompiled_charsmap"` // base64
	Prefix           *string `json:"prefix"`
	Suffix           *string `json:"suffix"`
	Cleanup          *bool   `json:"cleanup"`
	PadToken         *string `json:"pad_token"`
	WordDelimiter    *string `json:"word_delimiter_token"`

	Single        []templatePiece                  `json:"single"`
	Pair          []templatePiece                  `json:"pair"`
	SpecialTokens map[string]struct{ IDs []int32 } `json:"special_tokens"`
	CLS           json.RawMessage                  `json:"cls"`
	SEP           json.RawMessage                  `json:"sep"`
}

// pattern is what Split and Replace look for: one of the two.
type pattern struct{ String, Regex *string }

// fileJSON is a tokenizer.json.
type fileJSON struct {
	added         []*addedToken
	normalizer    *component
	preTokenizer  *component
	postProcessor *component
	decoder       *component
	truncation    Truncation
	padding       Padding
	model         modelJSON
}

// Parse reads the bytes of a tokenizer.json. Load adds what the other files of a
// checkpoint say: BOS, EOS and the chat template.
func Parse(b []byte) (*Tokenizer, error) {
	if !utf8.Valid(b) {
		return nil, errors.New("not valid UTF-8")
	}
	hashed := make(chan [sha256.Size]byte, 1)
	go func() { hashed <- sha256.Sum256(b) }() // beside the scan: large files have 35 MB
	f, err := scanFile(b)
	sum := <-hashed // b may change once Parse returns
	if err != nil {
		return nil, err
	}
	t := &Tokenizer{hash: hex.EncodeToString(sum[:]), truncation: f.truncation, padding: f.padding}
	if t.normalizer, err = buildNormalizer(f.normalizer); err != nil {
		return nil, err
	}
	splits, err := buildSplits(f.preTokenizer, f.model.hasBytes())
	if err != nil {
		return nil, err
	}
	t.splits = splits.steps
	t.origins = splits.origins || splits.asksFirst && len(t.normalizer) > 0
	if t.model, err = f.model.build(splits.bytes); err != nil {
		return nil, err
	}
	if err := t.setAdded(f.added); err != nil {
		return nil, err
	}
	if err := t.setPostProcessor(f.postProcessor); err != nil {
		return nil, err
	}
	chain := decodeChain{growth: 1}
	if err := chain.build(f.decoder); err != nil {
		return nil, err
	}
	chain.stream(t)
	t.decoders = chain.steps
	if len(chain.types) == 1 && chain.types[0] == "ByteLevel" {
		if m, ok := t.model.(*bpe); ok && m.byteLevel {
			t.bytes = m
		}
	}
	return t, nil
}

// scanFile cuts a tokenizer.json into its parts.
func scanFile(b []byte) (*fileJSON, error) {
	f := &fileJSON{}
	targets := map[string]any{
		"added_tokens":   &f.added,
		"normalizer":     &f.normalizer,
		"pre_tokenizer":  &f.preTokenizer,
		"post_processor": &f.postProcessor,
		"decoder":        &f.decoder,
		"truncation":     &f.truncation,
		"padding":        &f.padding,
	}
	s := &jsonScanner{b: b}
	err := s.object(func(k []byte) error {
		key := string(k)
		if key == "model" {
			return f.model.scan(s)
		}
		raw, err := s.skip()
		if err != nil {
			return err
		}
		if target := targets[key]; target != nil {
			if err := json.Unmarshal(raw, target); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if s.space(); s.i != len(b) {
		return nil, s.malformed()
	}
	if f.model.vocab == nil {
		return nil, errors.New("no model")
	}
	return f, nil
}

// setAdded registers the added tokens and sets size. As in Hugging Face's
// tokenizers the id of one is that of the vocabulary if its text is there, and
// otherwise the next free one; the id that the file gives is not used (and is the
// same in files that were not edited by hand).
func (t *Tokenizer) setAdded(tokens []*addedToken) error {
	t.added, t.addedID = map[int32]*addedToken{}, map[string]int32{}
	t.size = t.model.size()
	next := t.size
	if m, ok := t.model.(interface{ count() int }); ok {
		next = m.count()
	}
	special := map[string]bool{}
	var specials, others []*addedToken // in the order in which they are looked for
	for i, tok := range tokens {
		if tok == nil {
			return errors.New("added_tokens: an entry is null")
		}
		if tok.Special && tok.Content != "" && !special[tok.Content] {
			special[tok.Content] = true
			specials = append(specials, tokens[i])
		}
	}
	for _, tok := range tokens {
		if tok.Content == "" {
			continue
		}
		id, ok := t.ID(tok.Content)
		if !ok {
			id = int32(next)
			next++
		}
		known := *tok
		known.ID, known.Special = id, special[tok.Content]
		t.added[id], t.addedID[tok.Content] = &known, id
		t.size = max(t.size, int(id)+1)
		if !known.Special {
			others = append(others, tok)
		}
	}
	var raw, normed []matchEntry
	for _, tok := range append(specials, others...) {
		known := t.added[t.addedID[tok.Content]]
		if !tok.Normalized {
			raw = append(raw, matchEntry{tok.Content, known})
			continue
		}
		normed = append(normed, matchEntry{t.normalizer.text(tok.Content), known})
	}
	t.raw, t.normed = newMatcher(raw), newMatcher(normed)
	return nil
}
