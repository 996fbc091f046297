package tokenizer

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/litgpt-go/litgpt/internal/gguf"
)

// GGUF gives the metadata that a GGUF file has for the tokenizer at path: a checkpoint directory with a tokenizer.json,
// or a GGUF file, whose own is copied. rows is how many the model's embedding has: llama.cpp wants a token for each, and what the
// vocabulary lacks are unused ones. notes says where llama.cpp's ids will be others, or ends of answers are unknown to it.
func GGUF(path string, rows int) (meta []gguf.KV, notes []string, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, err
	}
	if !info.IsDir() {
		meta, err = copyGGUF(path)
		return meta, nil, err
	}
	t, err := Load(path)
	if err != nil {
		return nil, nil, err
	}
	name := filepath.Join(path, "tokenizer.json")
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		paths, merr := matchFiles(path, "*.gguf")
		if merr != nil || len(paths) != 1 {
			return nil, nil, fmt.Errorf("%s: no tokenizer.json; GGUF's metadata is made of that", path)
		}
		meta, err = copyGGUF(paths[0])
		return meta, nil, err
	}
	if err != nil {
		return nil, nil, err
	}
	f, err := scanFile(b)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	if meta, notes, err = t.ggufMeta(f, rows); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(notes) > 0 { // no name for the expressions; perhaps one whose own do the same
		for _, name := range preNames() {
			named := gguf.SetKV(meta, gguf.KV{Key: ggufKey + "pre", Value: name})
			if back, err := parseMeta(named); err == nil && alike(t, back) {
				return named, nil, nil
			}
		}
	}
	// What the metadata cannot say goes along whole.
	if back, err := parseMeta(meta); err != nil || !alike(t, back) {
		meta = append(meta, gguf.KV{Key: ggufWhole, Value: string(b)})
		if len(notes) == 0 {
			notes = append(notes, "tokenizer: llama.cpp splits some texts otherwise, such as ones that begin with spaces")
		}
	}
	return meta, notes, nil
}

// parseMeta reads metadata that is not in a file yet.
func parseMeta(meta []gguf.KV) (*Tokenizer, error) {
	var b bytes.Buffer
	if _, err := gguf.NewWriter(&b, meta, nil); err != nil {
		return nil, err
	}
	f, err := gguf.Parse(b.Bytes())
	if err != nil {
		return nil, err
	}
	return parseGGUF(f, dirOptions{})
}

// alike compares the ids of texts in which pipelines differ.
func alike(a, b *Tokenizer) bool {
	for _, text := range telling {
		for _, special := range []bool{false, true} {
			if !slices.Equal(a.Encode(text, special), b.Encode(text, special)) {
				return false
			}
		}
	}
	for id := range a.added { // spaces and letters around them
		token, _ := a.Token(id)
		for _, text := range []string{token, " " + token + " x", "x " + token + token + "\n y"} {
			if !slices.Equal(a.Encode(text, false), b.Encode(text, false)) {
				return false
			}
		}
	}
	return true
}

// telling are such texts: spaces, line ends, digits, contractions, scripts, emoji, punctuation, characters that normalize.
var telling = []string{
	"", " ", "  ", "\n", " Hello", "   Hello  world ", "Hello\n\n\n \n\t\t x\r\n", "3 33 333 3333 33333 333333 3333333 3.3 3..3 ٣٤ ½",
	"I've been 'told he's there, 'RE you sure? 'M not sure I'll make it, We'Ve a'lL DON'T ſ's", "Ünïcödé naïve Å ﬁ ① ｆｕｌｌ é e\u0301",
	"កាន់តែពិសេសអាច 我想在apple工作 日本語です Български العربية עברית हिन्दी ไทย", "🚀 (normal) 😶\u200d🌫️ 👩\u200d👩\u200d👧 ✅", "======= ```````\"\"\"......!!!!!!?????? $x_1+y^2=~z|w>",
	"func main() {\n\tif x != nil {\n        return -1 // ok\n\t}\n}", "camelCaseWord snake_case HTTPServer a1b2", "▁x ▁▁ y", "<s>[INST] hi [/INST]</s>", "\u00a0x\u2003y\ufeffz\u200b",
}

// copyGGUF takes the tokenizer's part of a file's metadata.
func copyGGUF(path string) (meta []gguf.KV, err error) {
	f, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for _, key := range f.Keys() {
		if !strings.HasPrefix(key, "tokenizer.") {
			continue
		}
		kv, err := f.KV(key)
		if err != nil {
			return nil, err
		}
		meta = append(meta, kv)
	}
	return meta, nil
}

// ggufMeta makes the metadata of a tokenizer.json.
func (t *Tokenizer) ggufMeta(f *fileJSON, rows int) (meta []gguf.KV, notes []string, err error) {
	if t.size > rows {
		return nil, nil, fmt.Errorf("the tokenizer has %d ids, the model's embedding %d rows; they do not belong together", t.size, rows)
	}
	set := func(key string, v any) { meta = append(meta, gguf.KV{Key: ggufKey + key, Value: v}) }
	if f.model.Type != "BPE" {
		return nil, nil, fmt.Errorf("model %s has no counterpart for decoders in GGUF, want BPE", f.model.Type)
	}
	isBytes := f.preTokenizer.has("ByteLevel")
	tokens, kinds := make([]string, rows), make([]int32, rows)
	for id := range tokens {
		token, ok := t.Token(int32(id))
		added := t.added[int32(id)]
		kind := pieceNormal
		_, isByte := byteToken(token)
		switch {
		case !ok:
			token, kind = fmt.Sprintf("[PAD%d]", id), pieceUnused
		case added != nil && (added.Special || looksSpecial(token)):
			kind = pieceControl
		case added != nil:
			kind = pieceUser
			if !isBytes { // llama.cpp looks for these in the text itself
				token = strings.ReplaceAll(token, string(spaceMark), " ")
			}
		case !isBytes && isByte:
			kind = pieceByte
		}
		tokens[id], kinds[id] = token, int32(kind)
	}
	model, pre := "gpt2", ""
	var merges []string
	if merges, err = f.model.mergeList(); err != nil {
		return nil, nil, err
	}
	var scores []float32
	addPrefix := false
	if isBytes {
		if pre = f.ggufPre(); pre == "" {
			pre = "default"
			notes = append(notes, "tokenizer: llama.cpp has no name for the way this one splits a text; its ids will be others (the file says default)")
		}
	} else {
		model, pre = "llama", "default"
		if addPrefix, err = f.dummyPrefix(); err != nil {
			return nil, nil, err
		}
		// The rank of the first merge that gives a token is what SentencePiece's score says.
		rank := make(map[string]int, len(merges))
		for i, m := range merges {
			left, right, _ := strings.Cut(m, "\x00")
			if _, ok := rank[left+right]; !ok {
				rank[left+right] = i + 1
			}
		}
		scores = make([]float32, rows)
		for id, token := range tokens {
			if n, ok := rank[token]; ok {
				scores[id] = -float32(n)
			} else if kinds[id] == int32(pieceNormal) {
				scores[id] = -1e6
			}
		}
		if f.model.Unknown != nil {
			if id, ok := t.ID(*f.model.Unknown); ok && kinds[id] == int32(pieceControl) {
				kinds[id] = int32(pieceUnknown)
			}
		}
	}
	set("model", model)
	set("pre", pre)
	set("tokens", tokens)
	if scores != nil {
		set("scores", scores)
	}
	set("token_type", kinds)
	if isBytes {
		for i, m := range merges {
			merges[i] = strings.Replace(m, "\x00", " ", 1)
		}
		set("merges", merges)
	}
	t.setGGUFSpecials(set, addPrefix, model == "llama")
	if t.ChatTemplate() != "" {
		meta = append(meta, gguf.KV{Key: "tokenizer.chat_template", Value: t.ChatTemplate()})
	}
	return meta, notes, nil
}

// setGGUFSpecials writes the special tokens and what is put around a text.
func (t *Tokenizer) setGGUFSpecials(set func(key string, v any), addPrefix, llama bool) {
	roles := map[string]string{}
	for _, s := range t.specials {
		roles[s.role] = s.content
	}
	bos, hasBOS := t.bos, t.hasBOS
	if len(t.prefix) > 0 {
		bos, hasBOS = t.prefix[0], true
	}
	if hasBOS {
		set("bos_token_id", uint32(bos))
	}
	if len(t.eos) > 0 {
		set("eos_token_id", uint32(t.eos[0]))
		for _, id := range t.eos[1:] { // llama.cpp knows a second end by this key; others it knows by their names
			if token, _ := t.Token(id); !slices.Contains(endTokens, token) {
				set("eot_token_id", uint32(id))
				break
			}
		}
	}
	for _, s := range []struct{ key, role string }{{"unknown_token_id", "unk_token"}, {"padding_token_id", "pad_token"}} {
		if id, ok := t.ID(roles[s.role]); ok {
			set(s.key, uint32(id))
		}
	}
	set("add_bos_token", len(t.prefix) > 0)
	set("add_eos_token", len(t.suffix) > 0)
	if llama {
		set("add_space_prefix", addPrefix)
	}
}

// looksSpecial is llama.cpp's rule for added tokens that ought to be special.
func looksSpecial(token string) bool {
	return token == "<pad>" || token == "<mask>" || token == "<2mass>" || token == "[@BOS@]" ||
		strings.HasPrefix(token, "<|") && strings.HasSuffix(token, "|>") ||
		strings.HasPrefix(token, "<｜") && strings.HasSuffix(token, "｜>") ||
		strings.HasPrefix(token, "<unused") && strings.HasSuffix(token, ">")
}

// has reports whether a component, or one it is a sequence of, is of a type.
func (c *component) has(kind string) bool {
	if c == nil {
		return false
	}
	for _, list := range [][]component{c.Pretokenizers, c.Normalizers} {
		for i := range list {
			if list[i].has(kind) {
				return true
			}
		}
	}
	return c.Type == kind
}

// dummyPrefix reports whether a text gets a space in front, as SentencePiece's do.
func (f *fileJSON) dummyPrefix() (bool, error) {
	if f.normalizer.has("Prepend") {
		return true, nil
	}
	if f.preTokenizer.has("Metaspace") {
		for _, c := range append([]component{*f.preTokenizer}, f.preTokenizer.Pretokenizers...) {
			if c.Type == "Metaspace" {
				return c.PrependScheme != "never" && (c.PrependScheme != "" || c.AddPrefixSpace == nil || *c.AddPrefixSpace), nil
			}
		}
	}
	return false, nil
}

// ggufPre is the name that GGUF has for the way a text is split, "" if it has none.
func (f *fileJSON) ggufPre() string {
	patterns, ok := splitPatterns(f.preTokenizer)
	if !ok {
		return ""
	}
	nfc := f.normalizer.has("NFC")
	prefer := append(slices.Clone(commonPres), slices.Sorted(maps.Keys(ggufPres))...)
	for _, strict := range []bool{true, false} { // NFC matters for few texts: a name without it is better than none
		for _, name := range prefer {
			p := ggufPres[name]
			if slices.Equal(p.patterns, patterns) && p.ignoreMerges == f.model.IgnoreMerges && (p.nfc == nfc || !strict) {
				return name
			}
		}
	}
	for _, name := range prefer { // whether whole words are looked up first says the vocabulary's own merges, mostly
		if slices.Equal(ggufPres[name].patterns, patterns) {
			return name
		}
	}
	return ""
}

// commonPres are the names to prefer of several for one way.
var commonPres = []string{"llama-bpe", "gpt-2", "smollm", "qwen2", "stablelm2", "dbrx", "gpt-4o", "tekken", "falcon", "deepseek-v3"}

// preNames are names of different ways to split a text, one for each.
func preNames() (names []string) {
	for _, name := range append(slices.Clone(commonPres), slices.Sorted(maps.Keys(ggufPres))...) {
		same := func(other string) bool {
			a, b := ggufPres[name], ggufPres[other]
			return slices.Equal(a.patterns, b.patterns) && a.ignoreMerges == b.ignoreMerges && a.nfc == b.nfc
		}
		if !slices.ContainsFunc(names, same) {
			names = append(names, name)
		}
	}
	return names
}

// splitPatterns are the expressions by which byte-level BPE cuts a text; ok is false for other ways.
func splitPatterns(c *component) (patterns []string, ok bool) {
	if c == nil {
		return nil, false
	}
	if c.Type == "Sequence" {
		for i := range c.Pretokenizers {
			more, ok := splitPatterns(&c.Pretokenizers[i])
			if !ok {
				return nil, false
			}
			patterns = append(patterns, more...)
		}
		if slices.Equal(patterns, []string{patternPunct, patternGPT2, `\p{N}+`, patternThreeASCII}) {
			patterns = ggufPres["falcon"].patterns // llama.cpp's way to say it
		}
		return patterns, true
	}
	switch {
	case c.Type == "ByteLevel" && c.AddPrefixSpace != nil && *c.AddPrefixSpace:
		return nil, false
	case c.Type == "ByteLevel" && c.UseRegex != nil && !*c.UseRegex:
		return nil, true
	case c.Type == "ByteLevel":
		return []string{patternGPT2}, true
	case c.Type == "Digits" && c.IndividualDigits:
		return []string{`\p{N}`}, true
	case c.Type == "Digits":
		return []string{`\p{N}+`}, true
	case c.Type == "Split" && c.Pattern.Regex != nil && !c.Invert && (c.Behavior == "Isolated" || c.Behavior == "Removed"):
		return []string{*c.Pattern.Regex}, true
	case c.Type == "Punctuation":
		return []string{patternPunct}, true
	}
	return nil, false
}

// mergeList are the merges, the two tokens of each divided by a zero byte.
func (m *modelJSON) mergeList() (list []string, err error) {
	s := &jsonScanner{b: m.merges}
	err = s.array(func() error {
		b := &mergeBatch{}
		if err := b.read(s, false); err != nil {
			return err
		}
		if len(b.ends) != 2 {
			return fmt.Errorf("merge %d: want two tokens", len(list))
		}
		list = append(list, string(b.text[:b.ends[0]])+"\x00"+string(b.text[b.ends[0]:b.ends[1]]))
		return nil
	})
	return list, err
}
