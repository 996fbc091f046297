package tokenizer

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/litgpt-go/litgpt/internal/gguf"
)

// ggufModels are the values of tokenizer.ggml.model that we have.
var ggufModels = map[string]func(*ggufVocab, dirOptions) (*Tokenizer, error){
	"llama":  (*ggufVocab).sentencePiece, // SentencePiece's BPE
	"t5":     (*ggufVocab).sentencePiece, // its Unigram
	"gpt2":   (*ggufVocab).byteLevel,
	"gemma4": (*ggufVocab).spaceMarked,
	"bert":   (*ggufVocab).wordPiece,
}

// ggufVocab is the tokenizer in a GGUF file.
type ggufVocab struct {
	f      *gguf.File
	model  string // tokenizer.ggml.model
	pre    string // tokenizer.ggml.pre: how a text is split
	tokens []string
	kinds  []pieceKind // nil: all normal

	// What the tokenizer was made from, one of the two.
	json []byte // a tokenizer.json without a post-processor
	spm  *spmModel
}

const ggufKey = "tokenizer.ggml."

// parseGGUF reads the tokenizer in a GGUF file, the special tokens and the chat
// template. The ids are those of the tokenizer.json that the file was made from, as
// far as the file says what that was; llama.cpp's are the same but where its
// splitting of texts is approximate (see ggufPres).
func parseGGUF(f *gguf.File, o dirOptions) (*Tokenizer, error) {
	return (&ggufVocab{f: f}).parse(o)
}

func (v *ggufVocab) parse(o dirOptions) (*Tokenizer, error) {
	f := v.f
	var err error
	if v.model, err = f.Text(ggufKey + "model"); err != nil {
		return nil, err
	}
	build, ok := ggufModels[v.model]
	if !ok {
		return nil, fmt.Errorf("%smodel %q is not supported; want llama, gpt2, gemma4, t5 or bert", ggufKey, v.model)
	}
	if v.pre, err = f.Text(ggufKey + "pre"); err != nil && !errors.Is(err, gguf.ErrNoKey) {
		return nil, err
	}
	if err := v.readTokens(); err != nil {
		return nil, err
	}
	if err := v.place(o.added); err != nil {
		return nil, err
	}
	if v.f.Has(ggufWhole) { // exact, whatever llama.cpp makes of the rest
		return v.whole(o)
	}
	t, err := build(v, o)
	if err != nil {
		return nil, err
	}
	t.hash = hashOf([]byte(v.model + "\n" + v.pre + "\n" + strings.Join(v.tokens, "\n")))
	return t, v.setSpecials(t, o)
}

// ggufWhole is the key of a whole tokenizer.json.
const ggufWhole = "tokenizer.huggingface.json"

// whole reads the tokenizer.json that a file has; the special tokens are the metadata's nevertheless.
func (v *ggufVocab) whole(o dirOptions) (*Tokenizer, error) {
	text, err := v.f.Text(ggufWhole)
	if err != nil {
		return nil, err
	}
	v.json = []byte(text)
	t, err := Parse(v.json)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ggufWhole, err)
	}
	if t.size > len(v.tokens) {
		return nil, fmt.Errorf("%s: has %d ids, %stokens %d; they do not belong together", ggufWhole, t.size, ggufKey, len(v.tokens))
	}
	around := *t
	if err := v.setSpecials(t, o); err != nil {
		return nil, err
	}
	t.processors, t.wraps, t.prefix, t.suffix = around.processors, around.wraps, around.prefix, around.suffix
	return t, nil
}

// readTokens reads the vocabulary and the types of its tokens.
func (v *ggufVocab) readTokens() error {
	var err error
	if v.tokens, err = v.f.Strings(ggufKey + "tokens"); err != nil {
		return err
	}
	if len(v.tokens) == 0 {
		return fmt.Errorf("%stokens: is empty", ggufKey)
	}
	for i, token := range v.tokens {
		switch {
		case token == "":
			v.tokens[i] = fmt.Sprintf("[EMPTY_%d]", i) // llama.cpp's name for it
		case len(token) > maxPieceText:
			return fmt.Errorf("%stokens: token %d has %d bytes, want at most %d", ggufKey, i, len(token), maxPieceText)
		case !utf8.ValidString(token):
			return fmt.Errorf("%stokens: token %d, %.40q, is not UTF-8", ggufKey, i, token)
		}
	}
	if !v.f.Has(ggufKey + "token_type") {
		return nil
	}
	types, err := v.f.Ints(ggufKey + "token_type")
	if err != nil {
		return err
	}
	if len(types) != len(v.tokens) {
		return fmt.Errorf("%stoken_type: has %d elements for %d tokens", ggufKey, len(types), len(v.tokens))
	}
	v.kinds = make([]pieceKind, len(types))
	for i, n := range types {
		if n < 0 || n > int64(pieceByte) {
			return fmt.Errorf("%stoken_type: element %d is %d, want 0 to %d", ggufKey, i, n, pieceByte)
		}
		v.kinds[i] = max(pieceKind(n), pieceNormal) // 0 is undefined
		if v.kinds[i] == pieceNormal && slices.Contains(endTokens, v.tokens[i]) {
			v.kinds[i] = pieceControl // mistaken conversions; as llama.cpp does
		}
	}
	return nil
}

// place puts the tokens of a checkpoint directory at their ids.
func (v *ggufVocab) place(added []*addedToken) error {
	for _, tok := range added {
		if tok.ID < 0 || int(tok.ID) >= len(v.tokens) || tok.Content == "" {
			return fmt.Errorf("added token %q has the id %d, outside the file's vocabulary of %d", tok.Content, tok.ID, len(v.tokens))
		}
		v.tokens[tok.ID] = tok.Content
	}
	return nil
}

func (v *ggufVocab) kind(i int) pieceKind {
	if v.kinds == nil {
		return pieceNormal
	}
	return v.kinds[i]
}

// flag reads a truth value that may be missing.
func (v *ggufVocab) flag(name string, otherwise bool) (bool, error) {
	if !v.f.Has(ggufKey + name) {
		return otherwise, nil
	}
	return v.f.Bool(ggufKey + name)
}

// sentencePiece reads the vocabularies of SentencePiece. As in llama.cpp every text
// between special tokens begins with the dummy space, and user-defined pieces are
// special in that.
func (v *ggufVocab) sentencePiece(o dirOptions) (*Tokenizer, error) {
	m := &spmModel{kind: 2, unk: -1, bos: -1, eos: -1, escape: true, pieces: make([]spmPiece, len(v.tokens))}
	var scores []float64
	var err error
	if v.f.Has(ggufKey + "scores") {
		if scores, err = v.f.Floats(ggufKey + "scores"); err != nil {
			return nil, err
		}
		if len(scores) != len(v.tokens) {
			return nil, fmt.Errorf("%sscores: has %d elements for %d tokens", ggufKey, len(scores), len(v.tokens))
		}
	}
	unknown, err := v.unknown()
	if err != nil {
		return nil, err
	}
	for i, token := range v.tokens {
		p := spmPiece{text: token, kind: v.kind(i)}
		if p.kind == pieceUnknown && i != unknown {
			p.kind = pieceControl // llama.cpp's own Phi-3 fills up with these
		}
		if scores != nil {
			if p.score = float32(scores[i]); p.score-p.score != 0 {
				return nil, fmt.Errorf("%sscores: element %d is %v", ggufKey, i, scores[i])
			}
		}
		m.pieces[i] = p
		m.byteFallback = m.byteFallback || p.kind == pieceByte
	}
	if m.dummyPrefix, err = v.flag("add_space_prefix", v.model == "llama"); err != nil {
		return nil, err
	}
	if m.mergeSpaces, err = v.flag("remove_extra_whitespaces", false); err != nil {
		return nil, err
	}
	if v.model == "t5" {
		m.kind = 1
		if v.f.Has(ggufKey + "precompiled_charsmap") {
			b, err := v.f.Bytes(ggufKey + "precompiled_charsmap")
			if err != nil {
				return nil, err
			}
			m.charsmap = string(b)
		}
	}
	v.spm = m
	name, _ := v.f.Text("general.name")
	name = strings.ToLower(name)
	return m.tokenizer(spmOptions{
		userRaw: true, double: true, added: o.added,
		// The file lacks what the tokens of this family do; llama.cpp goes by the name.
		rstrip: strings.Contains(name, "phi-3") || strings.Contains(name, "phi3"),
	})
}

// unknown is the id of the unknown token: the one the file names, or the first of
// that type; -1 without one.
func (v *ggufVocab) unknown() (int, error) {
	if v.f.Has(ggufKey + "unknown_token_id") {
		id, err := v.f.Int(ggufKey + "unknown_token_id")
		return int(id), err
	}
	return slices.Index(v.kinds, pieceUnknown), nil
}

// ggufSpecials are the keys of special tokens and their roles in chat templates.
var ggufSpecials = []struct{ key, role string }{
	{"bos_token_id", "bos_token"}, {"eos_token_id", "eos_token"}, {"unknown_token_id", "unk_token"},
	{"seperator_token_id", "sep_token"}, {"padding_token_id", "pad_token"}, {"mask_token_id", "mask_token"},
	{"cls_token_id", "cls_token"}, {"eot_token_id", ""}, {"eom_token_id", ""},
}

// endTokens end an answer wherever they are special tokens; files tell one or two of
// a model's (llama.cpp keeps this list too).
var endTokens = []string{
	"<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<end_of_turn>", "<|endoftext|>", "<|eom_id|>",
	"<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>", "<end_of_utterance>", "<｜end▁of▁sentence｜>", "<turn|>",
}

// setSpecials reads the special tokens by id, what is put around a text, and the
// chat template.
func (v *ggufVocab) setSpecials(t *Tokenizer, o dirOptions) error {
	ids := map[string]int32{}
	t.specials, t.eos, t.hasBOS = nil, nil, false
	for _, s := range ggufSpecials {
		key := ggufKey + s.key
		if !v.f.Has(key) {
			continue
		}
		id, err := v.f.Int(key)
		if err != nil {
			return err
		}
		if id < 0 || id == 1<<32-1 { // -1 is some programs' word for none
			continue
		}
		if id >= int64(len(v.tokens)) {
			return fmt.Errorf("%s: %d is outside the vocabulary of %d", key, id, len(v.tokens))
		}
		ids[s.key] = int32(id)
		if s.role != "" {
			t.specials = append(t.specials, namedToken{s.role, v.tokens[id]})
		}
	}
	// What llama.cpp takes where the file is silent.
	for key, id := range ggufDefaults[v.model] {
		if _, ok := ids[key]; !ok && !v.f.Has(ggufKey+key) && int(id) < len(v.tokens) {
			ids[key] = id
		}
	}
	if t.bos, t.hasBOS = ids["bos_token_id"]; !t.hasBOS {
		t.bos, t.hasBOS = ids["cls_token_id"]
	}
	for _, key := range []string{"eos_token_id", "eot_token_id", "eom_token_id"} {
		if id, ok := ids[key]; ok {
			t.addEOS(id)
		}
	}
	for _, text := range endTokens {
		if id, ok := t.ID(text); ok && int(id) < len(v.tokens) && v.kind(int(id)) == pieceControl {
			t.addEOS(id)
		}
	}
	addBOS, err := v.flag("add_bos_token", ggufAddsBOS[v.model] || ggufPres[v.pre].addBOS && v.model == "gpt2")
	if err != nil {
		return err
	}
	addEOS, err := v.flag("add_eos_token", v.model == "t5")
	if err != nil {
		return err
	}
	after := ids["eos_token_id"]
	_, hasAfter := ids["eos_token_id"]
	if v.model == "bert" { // ends with a separator, whatever the flags say
		addBOS, addEOS = true, true
		after, hasAfter = ids["seperator_token_id"]
	}
	if err := t.surround(o.bos(addBOS) && t.hasBOS, t.bos, o.eos(addEOS) && hasAfter, after); err != nil {
		return err
	}
	template, err := v.f.Text("tokenizer.chat_template")
	if errors.Is(err, gguf.ErrNoKey) {
		return nil
	}
	t.chat = &ChatTemplates{sources: map[string]string{"default": template}, specials: t.specials}
	return err
}

// ggufAddsBOS are the models that begin a text with BOS unless told otherwise.
var ggufAddsBOS = map[string]bool{"llama": true, "gemma4": true, "bert": true}

// ggufDefaults are the special tokens of files that do not name them.
var ggufDefaults = map[string]map[string]int32{
	"llama": {"bos_token_id": 1, "eos_token_id": 2},
	"t5":    {"eos_token_id": 1},
	"bert":  {"bos_token_id": 101, "seperator_token_id": 102},
}

// The other vocabularies become a tokenizer.json, so that there is one reader of
// pipelines.

// byteLevel is GPT-2's kind of BPE.
func (v *ggufVocab) byteLevel(o dirOptions) (*Tokenizer, error) {
	pre, ok := ggufPres[v.pre]
	if !ok {
		return nil, fmt.Errorf("%spre %q is none that this program knows; a text cannot be split as in training: "+
			"put the model's tokenizer.json into a checkpoint directory with the file", ggufKey, v.pre)
	}
	var b []byte
	b = append(b, '{')
	if pre.nfc {
		b = append(b, `"normalizer":{"type":"NFC"},`...)
	}
	b = append(b, `"pre_tokenizer":{"type":"Sequence","pretokenizers":[`...)
	for _, pattern := range pre.patterns {
		b = append(b, `{"type":"Split","behavior":"Isolated","invert":false,"pattern":{"Regex":`...)
		b = append(appendJSON(b, pattern), `}},`...)
	}
	b = append(b, `{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":false,"use_regex":false}]},"decoder":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":false,"use_regex":true},`...)
	return v.parseBPE(b, o, pre.ignoreMerges, false)
}

// spaceMarked is BPE over characters with ▁ for spaces, and byte fallback.
func (v *ggufVocab) spaceMarked(o dirOptions) (*Tokenizer, error) {
	const pipeline = `{"normalizer":{"type":"Replace","pattern":{"String":" "},"content":"▁"},` +
		`"decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"}]},`
	return v.parseBPE([]byte(pipeline), o, false, true)
}

// parseBPE completes a tokenizer.json. Merges of tokens that are not in the
// vocabulary are left out: no text could use them.
func (v *ggufVocab) parseBPE(b []byte, o dirOptions, ignoreMerges, byteFallback bool) (*Tokenizer, error) {
	ids, err := v.ids()
	if err != nil {
		return nil, err
	}
	merges, err := v.f.Strings(ggufKey + "merges")
	if err != nil {
		return nil, err
	}
	b = append(b, `"model":{"type":"BPE","dropout":null,"unk_token":null,"fuse_unk":false,"ignore_merges":`...)
	b = strconv.AppendBool(b, ignoreMerges)
	b = append(b, `,"byte_fallback":`...)
	b = strconv.AppendBool(b, byteFallback)
	b = v.appendVocab(append(b, `,"vocab":`...), v.tokens)
	b = append(b, `,"merges":[`...)
	comma := false
	for i, merge := range merges {
		at := 0
		if merge != "" {
			at = strings.IndexByte(merge[1:], ' ') + 1
		}
		if at == 0 {
			return nil, fmt.Errorf("%smerges: merge %d, %.40q, has no space", ggufKey, i, merge)
		}
		left, right := merge[:at], merge[at+1:]
		_, ok1 := ids[left]
		_, ok2 := ids[right]
		_, ok3 := ids[left+right]
		if !ok1 || !ok2 || !ok3 {
			continue
		}
		if comma {
			b = append(b, ',')
		}
		comma = true
		b = appendJSON(append(b, '['), left)
		b = append(appendJSON(append(b, ','), right), ']')
	}
	b = append(b, `]},`...)
	b = v.appendAdded(b, o)
	v.json = append(b, '}')
	return Parse(v.json)
}

// wordPiece is BERT's vocabulary; llama.cpp spells "##x" as "x", and "x" as "▁x".
func (v *ggufVocab) wordPiece(o dirOptions) (*Tokenizer, error) {
	if _, err := v.ids(); err != nil {
		return nil, err
	}
	spelled := make([]string, len(v.tokens))
	for i, token := range v.tokens {
		after, begins := strings.CutPrefix(token, string(spaceMark))
		switch {
		case v.kind(i) != pieceNormal:
			spelled[i] = token
		case begins:
			spelled[i] = after
		default:
			spelled[i] = "##" + token
		}
	}
	v.tokens = spelled
	unknown := "[UNK]"
	if id, err := v.f.Int(ggufKey + "unknown_token_id"); err == nil && id >= 0 && id < int64(len(v.tokens)) {
		unknown = v.tokens[id]
	}
	b := []byte(`{"normalizer":{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":true},` +
		`"pre_tokenizer":{"type":"BertPreTokenizer"},"decoder":{"type":"WordPiece","prefix":"##","cleanup":false},` +
		`"model":{"type":"WordPiece","continuing_subword_prefix":"##","max_input_chars_per_word":100,"unk_token":`)
	b = v.appendVocab(append(appendJSON(b, unknown), `,"vocab":`...), v.tokens)
	b = v.appendAdded(append(b, `},`...), o)
	v.json = append(b, '}')
	return Parse(v.json)
}

// ids is the inverse of tokens, which are to be unique.
func (v *ggufVocab) ids() (map[string]int32, error) {
	ids := make(map[string]int32, len(v.tokens))
	for i, token := range v.tokens {
		if j, twice := ids[token]; twice {
			return nil, fmt.Errorf("%stokens: %d and %d are both %.40q", ggufKey, j, i, token)
		}
		ids[token] = int32(i)
	}
	return ids, nil
}

func (v *ggufVocab) appendVocab(b []byte, tokens []string) []byte {
	b = append(b, '{')
	for i, token := range tokens {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendJSON(b, token), ':')
		b = strconv.AppendInt(b, int64(i), 10)
	}
	return append(b, '}')
}

// appendAdded writes "added_tokens": special are control and unknown tokens, the
// user-defined ones are not.
func (v *ggufVocab) appendAdded(b []byte, o dirOptions) []byte {
	var added []*addedToken
	for i, token := range v.tokens {
		switch v.kind(i) {
		case pieceControl, pieceUnknown:
			added = append(added, &addedToken{ID: int32(i), Content: token, Special: true})
		case pieceUser:
			added = append(added, &addedToken{ID: int32(i), Content: token})
		}
	}
	b = append(b, `"added_tokens":[`...)
	for i, tok := range replaceAdded(added, o.added) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendJSON(append(b, `{"content":`...), tok.Content)
		b = fmt.Appendf(b, `,"id":%d,"special":%t,"normalized":%t,"lstrip":%t,"rstrip":%t,"single_word":%t}`,
			tok.ID, tok.Special, tok.Normalized, tok.StripLeft, tok.StripRight, tok.SingleWord)
	}
	return append(b, ']')
}

// appendJSON appends a JSON string; s is UTF-8.
func appendJSON(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20:
			b = fmt.Appendf(b, `\u%04x`, c)
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
