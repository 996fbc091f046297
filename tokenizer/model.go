package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"
)

// model is "model" of tokenizer.json: it turns one pre-token into ids.
type model interface {
	// appendIDs appends the ids of w: the hot path.
	appendIDs(dst []int32, w string) []int32
	// appendPieces appends the same ids with their byte ranges in w.
	appendPieces(dst []piece, w string) []piece
	// id looks a token up as it is spelled in tokenizer.json; token is its inverse.
	id(token string) (int32, bool)
	token(id int32) (string, bool)
	// size is the largest id + 1.
	size() int
}

// piece is one id with the bytes of the pre-token that it stands for. The range
// may lie outside of the pre-token where Hugging Face's does (an affix that became
// bytes); whoever uses it checks.
type piece struct {
	id         int32
	start, end int
}

// modelJSON is "model" of tokenizer.json, its long tables unread.
type modelJSON struct {
	Type         string   `json:"type"`
	Unknown      *string  `json:"unk_token"`
	UnknownID    *int64   `json:"unk_id"` // of Unigram
	FuseUnknown  bool     `json:"fuse_unk"`
	ByteFallback bool     `json:"byte_fallback"`
	IgnoreMerges bool     `json:"ignore_merges"`
	Dropout      *float64 `json:"dropout"`
	Prefix       *string  `json:"continuing_subword_prefix"`
	Suffix       *string  `json:"end_of_word_suffix"`
	MaxChars     *int     `json:"max_input_chars_per_word"` // of WordPiece
	vocab        []byte
	merges       []byte
}

// models are the types of model we have. byteLevel says that the pre-tokenizers
// end with ByteLevel, so that the symbols are bytes.
var models = map[string]func(j *modelJSON, byteLevel bool) (model, error){
	"BPE": func(j *modelJSON, byteLevel bool) (model, error) {
		switch {
		case j.merges == nil:
			return nil, errors.New("merges are missing")
		case j.Dropout != nil && *j.Dropout != 0:
			return nil, fmt.Errorf("dropout %v is not supported: the ids of a text would change from call to call", *j.Dropout)
		}
		return buildModel(j, byteLevel)
	},
	"Unigram":   func(j *modelJSON, _ bool) (model, error) { return readUnigram(j) },
	"WordLevel": newWordLevel,
	"WordPiece": newWordPiece,
}

// scan reads the model's settings and cuts out its tables.
func (m *modelJSON) scan(s *jsonScanner) error {
	settings := map[string]json.RawMessage{}
	err := s.object(func(k []byte) error {
		key := string(k)
		raw, err := s.skip()
		if err != nil {
			return err
		}
		switch key {
		case "vocab":
			m.vocab = raw
		case "merges":
			m.merges = raw
		default:
			settings[key] = raw
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("model: %w", err)
	}
	small, err := json.Marshal(settings)
	if err == nil {
		err = json.Unmarshal(small, m)
	}
	if err != nil {
		return fmt.Errorf("model: %w", err)
	}
	if m.Type == "" {
		m.Type = m.guessType()
	}
	if m.vocab == nil {
		return errors.New("model: vocab is missing")
	}
	return nil
}

// hasBytes tells whether the model's symbols can be raw bytes: a BPE model that
// changes none of them.
func (m *modelJSON) hasBytes() bool {
	return m.Type == "BPE" && !m.ByteFallback && !m.hasAffix()
}

// hasAffix tells whether the symbols of a word differ by their place in it.
func (m *modelJSON) hasAffix() bool {
	return m.Prefix != nil && *m.Prefix != "" || m.Suffix != nil && *m.Suffix != ""
}

// guessType tells the type of a file written before the key existed, in the order
// in which Hugging Face tries them.
func (m *modelJSON) guessType() string {
	switch {
	case m.merges != nil:
		return "BPE"
	case m.MaxChars != nil:
		return "WordPiece"
	case strings.HasPrefix(string(m.vocab), "["):
		return "Unigram"
	}
	return "WordLevel"
}

// build makes the model of its settings and tables.
func (m *modelJSON) build(byteLevel bool) (model, error) {
	build, ok := models[m.Type]
	if !ok {
		names := make([]string, 0, len(models))
		for name := range models {
			names = append(names, name)
		}
		sort.Strings(names)
		return nil, fmt.Errorf("model type %q is not supported; want one of %s", m.Type, strings.Join(names, ", "))
	}
	built, err := build(m, byteLevel)
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	return built, nil
}

// readUnigram reads the vocabulary of a Unigram model: [["▁the", -3.1], …], where
// the place in the list is the id.
func readUnigram(j *modelJSON) (model, error) {
	var pieces []unigramPiece
	s := &jsonScanner{b: j.vocab}
	var text strings.Builder // all strings share one allocation
	ends := []int{}
	err := s.array(func() error {
		if !s.eat('[') {
			return s.malformed()
		}
		token, err := s.str()
		if err != nil {
			return err
		}
		text.Write(token)
		ends = append(ends, text.Len())
		if !s.eat(',') {
			return s.malformed()
		}
		raw, err := s.skip()
		if err != nil {
			return err
		}
		var p unigramPiece
		if err := json.Unmarshal(raw, &p.score); err != nil {
			return fmt.Errorf("score of piece %d: %w", len(pieces), err)
		}
		pieces = append(pieces, p)
		if !s.eat(']') {
			return s.malformed()
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("vocab: %w", err)
	}
	all, start := text.String(), 0
	for i, end := range ends {
		pieces[i].text = all[start:end]
		start = end
	}
	unknown := int32(-1)
	if j.UnknownID != nil {
		if *j.UnknownID < 0 || *j.UnknownID >= int64(len(pieces)) {
			return nil, fmt.Errorf("unk_id %d is outside the vocabulary of %d", *j.UnknownID, len(pieces))
		}
		unknown = int32(*j.UnknownID)
	}
	m, err := newUnigram(pieces, unknown, j.ByteFallback)
	if err != nil {
		return nil, err
	}
	return m, nil
}
