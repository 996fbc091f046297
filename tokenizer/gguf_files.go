package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"unicode/utf8"

	"github.com/litgpt-go/litgpt/internal/gguf"
)

// Files gives the tokenizer of the GGUF file at path as the files that a Hugging Face checkpoint directory has:
// tokenizer.json, tokenizer_config.json, generation_config.json and, if there is a chat template,
// chat_template.jinja. The ids are those that Open of the file gives. Unigram vocabularies (model t5) have no such form here.
func Files(path string) (map[string][]byte, error) {
	f, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	v := &ggufVocab{f: f}
	t, err := v.parse(dirOptions{})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	body := v.json
	if v.spm != nil {
		if body, err = v.spm.json(t); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	b := body
	if !f.Has(ggufWhole) {
		b = []byte(`{"version":"1.0","truncation":null,"padding":null,"post_processor":`)
		b = append(append(t.appendTemplate(b), ','), body[1:]...)
	}

	config := map[string]any{"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false}
	for _, s := range t.specials {
		config[s.role] = s.content
	}
	generation := map[string]any{"eos_token_id": t.eos}
	if t.hasBOS {
		generation["bos_token_id"] = t.bos
	}
	files := map[string][]byte{"tokenizer.json": append(b, '\n')}
	for name, value := range map[string]any{"tokenizer_config.json": config, "generation_config.json": generation} {
		text, err := json.MarshalIndent(value, "", "  ")
		if err != nil {
			return nil, err
		}
		files[name] = append(text, '\n')
	}
	if t.ChatTemplate() != "" {
		files["chat_template.jinja"] = []byte(t.ChatTemplate())
	}
	return files, nil
}

// appendTemplate writes the post-processor that puts prefix and suffix around a text.
func (t *Tokenizer) appendTemplate(b []byte) []byte {
	special := func(ids []int32) {
		for _, id := range ids {
			token, _ := t.Token(id)
			b = append(appendJSON(append(b, `{"SpecialToken":{"id":`...), token), `,"type_id":0}},`...)
		}
	}
	sequence := func(name string) {
		special(t.prefix)
		b = fmt.Appendf(b, `{"Sequence":{"id":%q,"type_id":0}},`, name)
		special(t.suffix)
		b = b[:len(b)-1]
	}
	b = append(b, `{"type":"TemplateProcessing","single":[`...)
	sequence("A")
	b = append(b, `],"pair":[`...)
	sequence("A")
	b = append(b, ',')
	sequence("B")
	b = append(b, `],"special_tokens":{`...)
	for i, id := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(t.prefix, t.suffix)))) {
		if i > 0 {
			b = append(b, ',')
		}
		token, _ := t.Token(id)
		b = append(appendJSON(b, token), `:{"id":`...)
		b = fmt.Appendf(appendJSON(b, token), `,"ids":[%d],"tokens":[`, id)
		b = append(appendJSON(b, token), `]}`...)
	}
	return append(b, `}}`...)
}

// json is a tokenizer.json of the model, a BPE, which t was made of. SentencePiece joins the pair whose piece
// has the highest score; as a list of merges that is every way to join two pieces to a third, by its score.
func (m *spmModel) json(t *Tokenizer) ([]byte, error) {
	if m.kind != 2 || m.charsmap != "" || m.mergeSpaces {
		return nil, errors.New("its SentencePiece model is no BPE without normalization; it has no form as a tokenizer.json here")
	}
	b := []byte(`{"normalizer":`)
	if m.dummyPrefix {
		b = append(b, `{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},`...)
	}
	b = append(b, `{"type":"Replace","pattern":{"String":" "},"content":"▁"}`...)
	if m.dummyPrefix {
		b = append(b, `]}`...)
	}
	b = append(b, `,"pre_tokenizer":null,"decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "}`...)
	if m.byteFallback {
		b = append(b, `,{"type":"ByteFallback"}`...)
	}
	b = append(b, `,{"type":"Fuse"}`...)
	if m.dummyPrefix {
		b = append(b, `,{"type":"Strip","content":" ","start":1,"stop":0}`...)
	}
	b = append(b, `]},"model":{"type":"BPE","dropout":null,"unk_token":`...)
	unknown := slices.IndexFunc(m.pieces, func(p spmPiece) bool { return p.kind == pieceUnknown })
	if unknown >= 0 {
		b = appendJSON(b, m.pieces[unknown].text)
	} else {
		b = append(b, `null`...)
	}
	b = append(b, `,"continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":true,"byte_fallback":`...)
	b = append(strconv.AppendBool(b, m.byteFallback), `,"ignore_merges":false,"vocab":{`...)
	ids := make(map[string]int, len(m.pieces))
	for i, p := range m.pieces {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(append(appendJSON(b, p.text), ':'), int64(i), 10)
		ids[p.text] = i
	}
	b = append(b, `},"merges":[`...)
	for i, j := range m.merges(ids) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendJSON(append(b, '['), j.left), ',')
		b = append(appendJSON(b, j.right), ']')
	}
	b = append(b, `]},"added_tokens":[`...)
	for i, id := range slices.Sorted(func(yield func(int32) bool) {
		for id := range t.added {
			if !yield(id) {
				return
			}
		}
	}) {
		if i > 0 {
			b = append(b, ',')
		}
		text, err := json.Marshal(t.added[id])
		if err != nil {
			return nil, err
		}
		b = append(b, text...)
	}
	return append(b, `]}`...), nil
}

// spmMerge is two pieces that are a third together.
type spmMerge struct {
	left, right string
	score       float32
	product     int
}

// merges are all pairs of pieces in the order in which SentencePiece would join them.
func (m *spmModel) merges(ids map[string]int) (all []spmMerge) {
	inText := func(text string) bool {
		i, ok := ids[text]
		return ok && (m.pieces[i].kind == pieceNormal || m.pieces[i].kind == pieceUser)
	}
	for i, p := range m.pieces {
		if p.kind != pieceNormal {
			continue
		}
		for at := range p.text {
			if at > 0 && utf8.RuneStart(p.text[at]) && inText(p.text[:at]) && inText(p.text[at:]) {
				all = append(all, spmMerge{p.text[:at], p.text[at:], p.score, i})
			}
		}
	}
	sort.SliceStable(all, func(i, j int) bool {
		a, b := all[i], all[j]
		if a.score != b.score {
			return a.score > b.score
		}
		if a.product != b.product {
			return a.product < b.product
		}
		return len(a.left) < len(b.left)
	})
	return all
}
