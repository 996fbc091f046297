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

	Pattern          struct{ String, Regex *string } `json:"pattern"`
	Content          string                          `json:"content"`
	Prepend          string                          `json:"prepend"`
	Behavior         string                          `json:"behavior"`
	Invert           bool                            `json:"invert"`
	AddPrefixSpace   *bool                           `json:"add_prefix_space"`
	UseRegex         *bool                           `json:"use_regex"`
	PrependScheme    string                          `json:"prepend_scheme"`
	Replacement      string                          `json:"replacement"`
	Split            *bool                           `json:"split"`
	IndividualDigits bool                            `json:"individual_digits"`
	Start            int                             `json:"start"`
	Stop             int                             `json:"stop"`
	StripLeft        bool                            `json:"strip_left"`
	StripRight       bool                            `json:"strip_right"`

	Single        []templatePiece                  `json:"single"`
	SpecialTokens map[string]struct{ IDs []int32 } `json:"special_tokens"`
	CLS           json.RawMessage                  `json:"cls"`
	SEP           json.RawMessage                  `json:"sep"`
}

// templatePiece is one place of a post-processor's template: a token or the text.
type templatePiece struct {
	SpecialToken *struct {
		ID string `json:"id"`
	}
	Sequence *struct {
		ID string `json:"id"`
	}
}

// spaceMark returns what Metaspace puts in the place of a space.
func (c *component) spaceMark() (string, error) {
	if utf8.RuneCountInString(c.Replacement) != 1 {
		return "", fmt.Errorf("replacement %q is not one character", c.Replacement)
	}
	return c.Replacement, nil
}

// prependScheme is "always", "first" or "never"; old files say it with
// add_prefix_space.
func (c *component) prependScheme() string {
	switch {
	case c.PrependScheme != "":
		return c.PrependScheme
	case c.AddPrefixSpace != nil && !*c.AddPrefixSpace:
		return "never"
	}
	return "always"
}

// fileJSON is a tokenizer.json.
type fileJSON struct {
	added         []*addedToken
	normalizer    *component
	preTokenizer  *component
	postProcessor *component
	decoder       *component
	model         modelJSON
}

// Parse reads the bytes of a tokenizer.json. Load adds what the other files of a
// checkpoint say: BOS, EOS and the chat template.
func Parse(b []byte) (*Tokenizer, error) {
	if !utf8.Valid(b) {
		return nil, errors.New("not valid UTF-8")
	}
	f, err := scanFile(b)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b)
	t := &Tokenizer{hash: hex.EncodeToString(sum[:])}
	var splits splitChain
	if err := splits.build(f.preTokenizer); err != nil {
		return nil, err
	}
	t.splits = splits.steps
	if t.normalize, err = buildNormalizer(f.normalizer); err != nil {
		return nil, err
	}
	if t.model, err = f.model.build(splits.byteLevel); err != nil {
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

// setAdded registers the added tokens and sets size.
func (t *Tokenizer) setAdded(tokens []*addedToken) error {
	t.added, t.addedID = map[int32]*addedToken{}, map[string]int32{}
	t.size = t.model.size()
	limit := maxID(t.size + len(tokens))
	var raw, normed []matchEntry
	for _, tok := range tokens {
		if tok == nil {
			return errors.New("added_tokens: an entry is null")
		}
		if tok.ID < 0 || int(tok.ID) > limit {
			return fmt.Errorf("added_tokens: id %d of %q is outside 0 … %d", tok.ID, tok.Content, limit)
		}
		t.added[tok.ID] = tok
		if _, ok := t.addedID[tok.Content]; !ok {
			t.addedID[tok.Content] = tok.ID
		}
		t.size = max(t.size, int(tok.ID)+1)
		text := tok.Content
		if !tok.Normalized {
			raw = append(raw, matchEntry{text, tok})
			continue
		}
		if t.normalize != nil {
			text = t.normalize(text)
		}
		normed = append(normed, matchEntry{text, tok})
	}
	t.raw, t.normed = newMatcher(raw), newMatcher(normed)
	return nil
}

// setPostProcessor reads the tokens put around a text.
func (t *Tokenizer) setPostProcessor(n *component) error {
	if n == nil {
		return nil
	}
	switch n.Type {
	case "ByteLevel": // changes offsets only
	case "Sequence":
		for i := range n.Processors {
			if err := t.setPostProcessor(&n.Processors[i]); err != nil {
				return err
			}
		}
	case "TemplateProcessing":
		after := false
		for _, piece := range n.Single {
			switch {
			case piece.Sequence != nil:
				after = true
			case piece.SpecialToken != nil:
				special, ok := n.SpecialTokens[piece.SpecialToken.ID]
				if !ok {
					return fmt.Errorf("post_processor: %q is not in special_tokens", piece.SpecialToken.ID)
				}
				if after {
					t.suffix = append(t.suffix, special.IDs...)
				} else {
					t.prefix = append(t.prefix, special.IDs...)
				}
			}
		}
	case "RobertaProcessing", "BertProcessing":
		cls, err := tokenPair(n.CLS)
		if err != nil {
			return fmt.Errorf("post_processor: cls: %w", err)
		}
		sep, err := tokenPair(n.SEP)
		if err != nil {
			return fmt.Errorf("post_processor: sep: %w", err)
		}
		t.prefix, t.suffix = append(t.prefix, cls), append(t.suffix, sep)
	default:
		return fmt.Errorf("post_processor %q is not supported", n.Type)
	}
	for _, id := range append(append([]int32(nil), t.prefix...), t.suffix...) {
		if id < 0 || int(id) >= t.size {
			return fmt.Errorf("post_processor: id %d is outside the vocabulary of %d", id, t.size)
		}
	}
	return nil
}

// tokenPair reads the id of ["<s>", 0].
func tokenPair(raw json.RawMessage) (int32, error) {
	var pair []json.RawMessage
	if err := json.Unmarshal(raw, &pair); err != nil || len(pair) != 2 {
		return 0, fmt.Errorf("%.40s is not a token and its id", raw)
	}
	var id int32
	if err := json.Unmarshal(pair[1], &id); err != nil {
		return 0, err
	}
	return id, nil
}
