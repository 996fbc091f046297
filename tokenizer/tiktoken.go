package tokenizer

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// parseTiktoken reads a file of lines "token in base64, rank", as OpenAI's tiktoken
// and the tokenizer.model of Llama 3 are. The file does not say how a text is split
// nor which special tokens there are; both come from the table of published files.
// name is the file's name, which is asked when its bytes are in no table.
func parseTiktoken(b []byte, name string, o dirOptions) (*Tokenizer, error) {
	pieces, err := tiktokenPieces(b)
	if err != nil {
		return nil, err
	}
	hash := hashOf(b)
	family, err := tiktokenFamily(hash, len(pieces), name)
	if err != nil {
		return nil, err
	}
	t, err := tiktokenTokenizer(pieces, family, o)
	if err != nil {
		return nil, err
	}
	t.hash = hash
	return t, nil
}

// tiktokenTokenizer makes a tokenizer of ranks and what the file does not say.
func tiktokenTokenizer(pieces []spmPiece, family *tiktokenKind, o dirOptions) (*Tokenizer, error) {
	added := replaceAdded(family.added(len(pieces)), o.added)
	var err error
	if pieces, err = placeAdded(pieces, added); err != nil {
		return nil, err
	}
	m := &pieceBPE{pieces: pieces, unknown: -1, bytewise: true}
	if err := m.index(); err != nil {
		return nil, err
	}
	t := &Tokenizer{model: m}
	if err := t.setAdded(added); err != nil {
		return nil, err
	}
	if family.nfc {
		if t.normalizer, err = buildNormalizer(&component{Type: "NFC"}); err != nil {
			return nil, err
		}
	}
	no := false
	splits, err := buildSplits(&component{Type: "Sequence", Pretokenizers: []component{
		{Type: "Split", Behavior: "Isolated", Pattern: pattern{Regex: &family.pattern}},
		{Type: "ByteLevel", UseRegex: &no},
	}}, true)
	if err != nil {
		return nil, err
	}
	t.splits = splits.steps
	if err := t.setDecoders(component{Type: "ByteLevel"}); err != nil {
		return nil, err
	}
	bos, hasBOS := t.ID(family.bos)
	if hasBOS {
		t.bos, t.hasBOS = bos, true
		t.specials = append(t.specials, namedToken{"bos_token", family.bos})
	}
	eos, hasEOS := t.ID(family.eos)
	if hasEOS {
		t.addEOS(eos)
		t.specials = append(t.specials, namedToken{"eos_token", family.eos})
	}
	return t, t.surround(hasBOS && o.bos(true), bos, hasEOS && o.eos(false), eos)
}

// looksLikeTiktoken tells whether a file begins with a line of such a file. A
// SentencePiece model begins with a byte that base64 has not.
func looksLikeTiktoken(b []byte) bool {
	line, _, _ := bytes.Cut(b[:min(len(b), 8<<10)], []byte("\n"))
	token, rank, ok := bytes.Cut(bytes.TrimSuffix(line, []byte("\r")), []byte(" "))
	if !ok {
		return false
	}
	_, err1 := base64.StdEncoding.AppendDecode(nil, token)
	_, err2 := strconv.ParseUint(string(rank), 10, 32)
	return err1 == nil && err2 == nil
}

// tiktokenPieces reads the lines. Ranks are ids; the lower is merged first.
func tiktokenPieces(b []byte) ([]spmPiece, error) {
	lines := bytes.Count(b, []byte("\n")) + 1
	limit := 4 * lines       // ranks have gaps, but a small file makes a small table
	var text strings.Builder // all tokens share one allocation
	text.Grow(len(b) / 2)
	type entry struct{ end, rank int }
	entries := make([]entry, 0, lines)
	largest := -1
	var token []byte
	for number := 1; len(b) > 0; number++ {
		var line []byte
		line, b, _ = bytes.Cut(b, []byte("\n"))
		if line = bytes.TrimSuffix(line, []byte("\r")); len(line) == 0 {
			continue
		}
		encoded, digits, ok := bytes.Cut(line, []byte(" "))
		rank, err := strconv.ParseUint(string(digits), 10, 31)
		if !ok || err != nil {
			return nil, fmt.Errorf("line %d: want a token in base64 and its rank, got %.40q", number, line)
		}
		if token, err = base64.StdEncoding.AppendDecode(token[:0], encoded); err != nil || len(token) == 0 {
			return nil, fmt.Errorf("line %d: %.40q is no token in base64", number, encoded)
		}
		if len(token) > maxPieceText {
			return nil, fmt.Errorf("line %d: a token of %d bytes, want at most %d", number, len(token), maxPieceText)
		}
		if rank > uint64(limit) {
			return nil, fmt.Errorf("line %d: rank %d in a file of %d tokens, want at most %d", number, rank, lines, limit)
		}
		text.Write(token)
		entries = append(entries, entry{text.Len(), int(rank)})
		largest = max(largest, int(rank))
	}
	if len(entries) == 0 {
		return nil, errors.New("no tokens")
	}
	pieces := make([]spmPiece, largest+1)
	all, start := text.String(), 0
	for i, e := range entries {
		if p := &pieces[e.rank]; p.kind != 0 {
			return nil, fmt.Errorf("token %d: rank %d is there twice", i+1, e.rank)
		}
		// Ranks below 2^24 are exact in a float32.
		pieces[e.rank] = spmPiece{all[start:e.end], float32(-e.rank), pieceNormal}
		start = e.end
	}
	if len(pieces) >= 1<<24 {
		return nil, fmt.Errorf("%d ranks, want at most %d", len(pieces), 1<<24-1)
	}
	return pieces, nil
}

// tiktokenKind is one published file.
type tiktokenKind struct {
	name    string
	hash    string // SHA-256 of the file
	ranks   int
	pattern string
	special []addedToken
	bos     string // put before a text; "" none
	eos     string
	nfc     bool
}

// added are the special tokens; an id of 0 follows the one before it, the first
// follows the ranks.
func (k *tiktokenKind) added(ranks int) []*addedToken {
	var added []*addedToken
	next := int32(ranks)
	for _, tok := range k.special {
		if tok.ID == 0 {
			tok.ID = next
		}
		next = tok.ID + 1
		tok.Special = true
		added = append(added, &tok)
	}
	return added
}

// tiktokenFamily finds what a file does not say: by its bytes, or by the number of
// its ranks when its name begins with that of a family as well.
func tiktokenFamily(hash string, ranks int, name string) (*tiktokenKind, error) {
	kinds := tiktokenKinds()
	for i := range kinds {
		if kinds[i].hash == hash {
			return &kinds[i], nil
		}
	}
	base := strings.ToLower(filepath.Base(name))
	var names []string
	for i := range kinds {
		if kinds[i].ranks == ranks && strings.HasPrefix(base, kinds[i].name) {
			return &kinds[i], nil
		}
		names = append(names, fmt.Sprintf("%s (%d ranks)", kinds[i].name, kinds[i].ranks))
	}
	return nil, fmt.Errorf("a tiktoken file of %d ranks that is none we know; it does not say how a text is split, so that its ids cannot be exact: "+
		"use the tokenizer.json of the same model, or give a copy of one of these files the name of its family: %s", ranks, strings.Join(names, ", "))
}

// tiktokenKinds is the table. The patterns of OpenAI's files are written there with
// possessive quantifiers and match the same; the special tokens of Llama 3 are
// those of 3.1 and later, whose names differ for tokens that 3 reserved.
func tiktokenKinds() []tiktokenKind {
	special := func(texts ...string) (list []addedToken) {
		for _, text := range texts {
			list = append(list, addedToken{Content: text})
		}
		return list
	}
	numbered := func(format string, from, to int) (list []addedToken) {
		for i := from; i <= to; i++ {
			list = append(list, addedToken{Content: fmt.Sprintf(format, i)})
		}
		return list
	}
	join := func(lists ...[]addedToken) (all []addedToken) {
		for _, l := range lists {
			all = append(all, l...)
		}
		return all
	}
	at := func(id int32, text string) []addedToken { return []addedToken{{ID: id, Content: text}} }
	const end = "<|endoftext|>"
	llama4 := join(
		special("<|begin_of_text|>", "<|end_of_text|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>",
			"<|header_start|>", "<|header_end|>", "<|eom|>", "<|eot|>", "<|step|>"),
		numbered("<|text_post_train_reserved_special_token_%d|>", 0, 5),
		special("<|python_start|>", "<|python_end|>", "<|finetune_right_pad|>"),
		numbered("<|text_post_train_reserved_special_token_%d|>", 8, 68),
		special("<|image_start|>", "<|image_end|>"),
		numbered("<|vision_reserved_special_token_%d|>", 0, 1),
		special("<|tile_x_separator|>", "<|tile_y_separator|>"),
		numbered("<|vision_reserved_special_token_%d|>", 2, 5),
		special("<|image|>", "<|vision_reserved_special_token_6|>", "<|patch|>"),
		numbered("<|vision_reserved_special_token_%d|>", 7, 1047),
		numbered("<|reasoning_reserved_special_token_%d|>", 0, 7),
		special("<|reasoning_thinking_start|>", "<|reasoning_thinking_end|>"),
	)
	llama4 = append(llama4, numbered("<|reserved_special_token_%d|>", 0, 2047-len(llama4))...)
	return []tiktokenKind{
		{name: "r50k_base", hash: "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930", ranks: 50256,
			pattern: patternGPT2, special: at(50256, end), eos: end},
		{name: "p50k_base", hash: "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069", ranks: 50281,
			pattern: patternGPT2, special: at(50256, end), eos: end},
		{name: "cl100k_base", hash: "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7", ranks: 100256,
			pattern: patternLlama3, eos: end,
			special: join(at(100257, end), special("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"), at(100276, "<|endofprompt|>"))},
		{name: "o200k_base", hash: "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d", ranks: 199998,
			pattern: patternO200k, special: join(at(199999, end), at(200018, "<|endofprompt|>")), eos: end},
		{name: "llama3", hash: "82e9d31979e92ab929cd544440f129d9ecd797b69e327f80f17e1c50d5551b55", ranks: 128000,
			pattern: patternLlama3, bos: "<|begin_of_text|>", eos: "<|end_of_text|>",
			special: join(special("<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>",
				"<|finetune_right_pad_id|>", "<|reserved_special_token_2|>", "<|start_header_id|>", "<|end_header_id|>",
				"<|eom_id|>", "<|eot_id|>", "<|python_tag|>"), numbered("<|reserved_special_token_%d|>", 3, 247))},
		{name: "llama4", hash: "d0bdbaf59b0762c8c807617e2d8ea51420eb1b1de266df2495be755c8e0ed6ed", ranks: 200000,
			pattern: patternO200k, bos: "<|begin_of_text|>", eos: "<|end_of_text|>", special: llama4},
		{name: "qwen", hash: "6cf5f2a2560a7d581548aeb0c31c6a60de2d3e873152346e421affc871699be4", ranks: 151643,
			pattern: patternQwen, nfc: true, eos: end,
			special: join(special(end, "<|im_start|>", "<|im_end|>"), numbered("<|extra_%d|>", 0, 204))},
	}
}
