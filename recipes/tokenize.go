package recipes

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"unicode/utf8"

	"github.com/litgpt-go/litgpt/internal/ggufmap"
	"github.com/litgpt-go/litgpt/lora"
	"github.com/litgpt-go/litgpt/tokenizer"
)

// Tokenize shows what a tokenizer makes of text, and of ids: "litgpt tokenize".
type Tokenize struct {
	Tokenizer   string `yaml:"tokenizer" arg:"0" help:"checkpoint directory, tokenizer.json, tokenizer.model, *.tiktoken or *.gguf"`
	Text        string `yaml:"text" arg:"1,optional" help:"text to encode, or with --decode ids such as [1,2,3]; default is what stdin has"`
	JSONL       string `yaml:"jsonl" help:"encode the texts of this file, a line {\"text\": …} each, or with --decode its {\"ids\": […]}; - is stdin"`
	Decode      bool   `yaml:"decode" help:"turn ids into text"`
	AddSpecial  bool   `yaml:"add_special_tokens" help:"add what the tokenizer adds around a text, e.g. BOS; a line's own key goes before"`
	SkipSpecial bool   `yaml:"skip_special_tokens" help:"with --decode leave special tokens out; a line's own key goes before"`
}

// NewTokenize returns the defaults, which are those of transformers.
func NewTokenize() Tokenize { return Tokenize{AddSpecial: true} }

// Run writes JSON to stdout: for one text an object with ids, pieces and offsets, for
// one list of ids a string, and for --jsonl a line for every line. terminal says that
// stdin is one, where no text is to be expected.
func (c Tokenize) Run(ctx context.Context, stdin io.Reader, terminal bool, stdout io.Writer) error {
	if c.JSONL != "" && c.Text != "" {
		return usage([]string{"TEXT and --jsonl are both given; one of them wanted"})
	}
	if c.JSONL == "" && c.Text == "" && terminal {
		return usage([]string{"there is no text: give it behind the tokenizer, pipe it in, or name a file by --jsonl"})
	}
	tok, err := openTokenizer(c.Tokenizer)
	if err != nil {
		return err
	}
	each := func(dst, line []byte) ([]byte, error) { return c.encodeLine(tok, dst, line) }
	if c.Decode {
		each = func(dst, line []byte) ([]byte, error) { return c.decodeLine(tok, dst, line) }
	}
	if c.JSONL != "" {
		in, name, err := openLines(c.JSONL, stdin)
		if err != nil {
			return err
		}
		defer in.Close()
		return mapLines(ctx, in, name, stdout, runtime.GOMAXPROCS(0), each)
	}
	text := c.Text
	if text == "" {
		raw, err := io.ReadAll(stdin)
		if err != nil {
			return err
		}
		text = string(raw)
	}
	var out []byte
	if c.Decode {
		ids, err := parseIDs([]byte(text))
		if err != nil {
			return usage([]string{err.Error()})
		}
		out, err = appendDecoded(nil, tok, ids, c.SkipSpecial)
		if err != nil {
			return err
		}
	} else {
		if !utf8.ValidString(text) {
			return errors.New("the text is not UTF-8")
		}
		out = appendTokens(nil, tok, tok.EncodeTokens(text, c.AddSpecial))
	}
	_, err = stdout.Write(append(out, '\n'))
	return err
}

// openTokenizer opens what the argument of tokenize names. An adapter without a
// tokenizer of its own has that of its base.
func openTokenizer(path string) (*tokenizer.Tokenizer, error) {
	path = findDir(path)
	if lora.IsAdapter(path) && !exists(filepath.Join(path, "tokenizer.json")) {
		_, base, err := lora.ReadConfig(path)
		if err != nil {
			return nil, err
		}
		for _, dir := range []string{base.Path, filepath.Join(path, base.Path), findDir(base.Path)} {
			if info, err := os.Stat(dir); base.Path != "" && err == nil && (info.IsDir() || ggufmap.Is(dir)) {
				return tokenizer.Open(dir)
			}
		}
	}
	return tokenizer.Open(path)
}

// encodeLine appends the ids of {"text": …, "add_special_tokens": …}; other keys are
// columns of a data set, which nobody asked about.
func (c Tokenize) encodeLine(tok *tokenizer.Tokenizer, dst, line []byte) ([]byte, error) {
	text, given, special := "", false, c.AddSpecial
	err := fields(line, func(key string, value []byte) (err error) {
		switch key {
		case "text":
			given = true
			if text, err = unquote(value); err != nil {
				return fmt.Errorf("text: %w", err)
			}
		case "add_special_tokens":
			return setBool(key, value, &special)
		}
		return nil
	})
	if err != nil {
		return dst, err
	}
	if !given {
		return dst, errors.New(`no "text"`)
	}
	return appendIDs(dst, tok.Encode(text, special)), nil
}

// decodeLine appends the text of {"ids": […], "skip_special_tokens": …}.
func (c Tokenize) decodeLine(tok *tokenizer.Tokenizer, dst, line []byte) ([]byte, error) {
	var ids []int32
	given, skip := false, c.SkipSpecial
	err := fields(line, func(key string, value []byte) (err error) {
		switch key {
		case "ids":
			given = true
			ids, err = parseIDs(value)
			return err
		case "skip_special_tokens":
			return setBool(key, value, &skip)
		}
		return nil
	})
	if err != nil {
		return dst, err
	}
	if !given {
		return dst, errors.New(`no "ids"`)
	}
	return appendDecoded(dst, tok, ids, skip)
}

func setBool(key string, value []byte, b *bool) error {
	if err := json.Unmarshal(value, b); err != nil || string(value) == "null" {
		return fmt.Errorf("%s is %.40s; true or false wanted", key, value)
	}
	return nil
}

// parseIDs reads [1, 2, 3], and the same without brackets or commas as one types it.
func parseIDs(s []byte) ([]int32, error) {
	bad := func(what []byte) error {
		return fmt.Errorf("ids: %.40q is not a list of token ids like [1,2,3]", what)
	}
	list := bytes.TrimSpace(s)
	if len(list) > 1 && list[0] == '[' && list[len(list)-1] == ']' {
		list = list[1 : len(list)-1]
	}
	ids := make([]int32, 0, len(list)/4+1)
	for i := 0; i < len(list); {
		switch c := list[i]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == ',':
			i++
			continue
		case c != '-' && (c < '0' || c > '9'):
			return nil, bad(s)
		}
		start, n := i, int64(0)
		for i++; i < len(list) && list[i] >= '0' && list[i] <= '9'; i++ {
		}
		if i < len(list) && bytes.IndexByte([]byte(" \t\n\r,"), list[i]) < 0 {
			return nil, bad(s)
		}
		n, err := strconv.ParseInt(string(list[start:i]), 10, 64)
		if err != nil || n < math.MinInt32 || n > math.MaxInt32 {
			return nil, bad(list[start:i])
		}
		ids = append(ids, int32(n))
	}
	return ids, nil
}

// appendDecoded appends the text of ids as a JSON string.
func appendDecoded(dst []byte, tok *tokenizer.Tokenizer, ids []int32, skip bool) ([]byte, error) {
	for i, id := range ids {
		if id < 0 || int(id) >= tok.VocabSize() {
			return dst, fmt.Errorf("ids[%d] is %d; the vocabulary has the ids 0 to %d", i, id, tok.VocabSize()-1)
		}
	}
	return appendString(dst, tok.Decode(ids, skip)), nil
}

func appendIDs(dst []byte, ids []int32) []byte {
	dst = append(dst, '[')
	for i, id := range ids {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(dst, int64(id), 10)
	}
	return append(dst, ']')
}

// appendTokens appends ids, pieces (as tokenizer.json spells them) and offsets (bytes
// of the text from and to) as one object.
func appendTokens(dst []byte, tok *tokenizer.Tokenizer, tokens []tokenizer.Token) []byte {
	ids := make([]int32, len(tokens))
	for i, t := range tokens {
		ids[i] = t.ID
	}
	dst = appendIDs(append(dst, `{"ids":`...), ids)
	dst = append(dst, `,"pieces":[`...)
	for i, t := range tokens {
		if i > 0 {
			dst = append(dst, ',')
		}
		piece, _ := tok.Token(t.ID)
		dst = appendString(dst, piece)
	}
	dst = append(dst, `],"offsets":[`...)
	for i, t := range tokens {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendIDs(dst, []int32{int32(t.Start), int32(t.End)})
	}
	return append(dst, "]}"...)
}
