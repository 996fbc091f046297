package tokenizer

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// parseSentencePiece reads the bytes of a tokenizer.model, SentencePiece's own
// format: BPE and Unigram.
//
// A text gives the ids that SentencePiece gives, and ids the text, with two
// exceptions, in which the tokenizer is what transformers makes of the same file:
// control and unknown pieces ("<s>", "</s>", "<unk>", "[INST]") that are written
// out in a text are those tokens, where SentencePiece takes them for ordinary
// text, because prompts are rendered as text here; and each text between two of
// them is encoded by itself, so that it begins with the dummy space, which is how
// the families that have such files put their prompts together. And a run of byte
// pieces that is not UTF-8 becomes one U+FFFD a byte.
//
// The pieces of the trainer's bos_id and eos_id are BOS and EOS. Encode with
// addSpecial puts the BOS before a text; tokenizer_config.json may say otherwise.
func parseSentencePiece(b []byte) (*Tokenizer, error) {
	m, err := parseSpm(b)
	if err != nil {
		return nil, err
	}
	t, err := m.tokenizer(spmOptions{addBOS: true})
	if err != nil {
		return nil, err
	}
	t.hash = hashOf(b)
	return t, nil
}

func hashOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// spmOptions are what a SentencePiece model does not say.
type spmOptions struct {
	addBOS, addEOS bool
	plain          bool // control and unknown pieces in a text are text, as for SentencePiece
	once           bool // the dummy space only before a text that begins the whole, unless there is one
	userRaw        bool // user-defined pieces are looked for before a text is normalized (llama.cpp)
	rstrip         bool // control pieces take the spaces after them along (Phi-3)
	added          []*addedToken
}

// spmKinds are the model types of SentencePiece.
var spmKinds = map[int]string{1: "UNIGRAM", 2: "BPE", 3: "WORD", 4: "CHAR"}

// turnTokens are user-defined pieces that end or begin a turn; transformers makes
// them special tokens.
var turnTokens = map[string]bool{"<start_of_turn>": true, "<end_of_turn>": true}

// tokenizer makes a tokenizer of the model.
func (m *spmModel) tokenizer(o spmOptions) (*Tokenizer, error) {
	unknown, err := m.check()
	if err != nil {
		return nil, err
	}
	t := &Tokenizer{}
	if m.kind == 2 {
		t.model, err = newPieceBPE(m.pieces, unknown, m.byteFallback)
	} else {
		t.model, err = m.unigram(unknown)
	}
	if err != nil {
		return nil, err
	}
	// User-defined pieces are found in the text as it is normalized, so that they are
	// registered before there is a normalizer that would change them.
	if err := t.setAdded(m.added(o)); err != nil {
		return nil, err
	}
	if err := m.setNormalizer(t, o.once); err != nil {
		return nil, err
	}
	steps := []component{{Type: "Replace", Pattern: patternOf(string(spaceMark)), Content: " "}}
	if m.byteFallback {
		steps = append(steps, component{Type: "ByteFallback"})
	}
	steps = append(steps, component{Type: "Fuse"})
	if m.dummyPrefix || m.mergeSpaces {
		steps = append(steps, component{Type: "Strip", Content: " ", Start: 1})
	}
	if err := t.setDecoders(steps...); err != nil {
		return nil, err
	}
	bos, eos := m.control(m.bosText, m.bos), m.control(m.eosText, m.eos)
	if bos >= 0 {
		t.bos, t.hasBOS = bos, true
		t.specials = append(t.specials, namedToken{"bos_token", m.pieces[bos].text})
	}
	if eos >= 0 {
		t.addEOS(eos)
		t.specials = append(t.specials, namedToken{"eos_token", m.pieces[eos].text})
	}
	if unknown >= 0 {
		t.specials = append(t.specials, namedToken{"unk_token", m.pieces[unknown].text})
	}
	return t, t.surround(o.addBOS && bos >= 0, bos, o.addEOS && eos >= 0, eos)
}

// check looks at what we cannot do, and finds the unknown piece, -1 without one.
func (m *spmModel) check() (unknown int32, err error) {
	unknown = -1
	switch {
	case m.kind != 1 && m.kind != 2:
		name := spmKinds[m.kind]
		if name == "" {
			name = fmt.Sprint(m.kind)
		}
		return 0, fmt.Errorf("model_type %s is not supported; want UNIGRAM or BPE", name)
	case m.spaceSuffix:
		return 0, errors.New("treat_whitespace_as_suffix is not supported; want spaces before words")
	}
	for i := range m.pieces {
		switch p := &m.pieces[i]; p.kind {
		case pieceUnknown:
			if unknown >= 0 {
				return 0, fmt.Errorf("pieces %d and %d are both of type UNKNOWN", unknown, i)
			}
			unknown = int32(i)
		case pieceByte:
			if _, ok := byteToken(p.text); !ok {
				return 0, fmt.Errorf("byte piece %d is %q, want <0x00> to <0xFF>", i, p.text)
			}
		}
	}
	return unknown, nil
}

// unigram makes the model with SentencePiece's scores: a user-defined piece is
// worth more than any other way to cut its text.
func (m *spmModel) unigram(unknown int32) (*unigram, error) {
	if _, err := pieceIDs(m.pieces); err != nil {
		return nil, err
	}
	pieces, use := make([]unigramPiece, len(m.pieces)), make([]bool, len(m.pieces))
	var lowest, highest float32
	first := true
	for i := range m.pieces {
		p := &m.pieces[i]
		pieces[i] = unigramPiece{p.text, float64(p.score)}
		use[i] = p.kind == pieceNormal || p.kind == pieceUser
		if p.kind == pieceNormal {
			if first {
				lowest, highest, first = p.score, p.score, false
			}
			lowest, highest = min(lowest, p.score), max(highest, p.score)
		}
	}
	for i := range m.pieces {
		if m.pieces[i].kind == pieceUser {
			pieces[i].score = float64(float32(len(pieces[i].text))*highest) - 0.1
		}
	}
	u, err := newUnigramOf(pieces, use, unknown, m.byteFallback)
	if err != nil {
		return nil, err
	}
	u.single, u.unkCost, u.byteID = true, float64(lowest-unknownPenalty), byteIDs(m.pieces)
	return u, nil
}

// added are the pieces that are cut out of a text before the model sees it. The
// user-defined ones of a Unigram model are not among them: there a text is cut into
// them because of their score.
func (m *spmModel) added(o spmOptions) []*addedToken {
	var added []*addedToken
	for i := range m.pieces {
		p := &m.pieces[i]
		user := p.kind == pieceUser && (m.kind == 2 || o.userRaw)
		if !user && (p.kind != pieceControl && p.kind != pieceUnknown || o.plain) {
			continue
		}
		tok := &addedToken{ID: int32(i), Content: p.text, Special: true}
		if user {
			tok.Normalized, tok.Special = !o.userRaw, turnTokens[p.text] && !o.plain
		}
		tok.StripRight = o.rstrip && !keepsSpaces[p.text]
		added = append(added, tok)
	}
	return replaceAdded(added, o.added)
}

// keepsSpaces are the special tokens of Phi-3 that take no spaces along.
var keepsSpaces = map[string]bool{"<unk>": true, "<s>": true, "<|endoftext|>": true}

// replaceAdded is added with more, which take the place of tokens of the same id or
// text.
func replaceAdded(added, more []*addedToken) []*addedToken {
	ids, texts := map[int32]bool{}, map[string]bool{}
	for _, tok := range more {
		ids[tok.ID], texts[tok.Content] = true, true
	}
	kept := added[:0]
	for _, tok := range added {
		if !ids[tok.ID] && !texts[tok.Content] {
			kept = append(kept, tok)
		}
	}
	return append(kept, more...)
}

// control finds a control piece by its text, or else by its id; -1 without one.
func (m *spmModel) control(text string, id int) int32 {
	if id < 0 {
		return -1
	}
	for i := range m.pieces {
		if p := &m.pieces[i]; p.kind == pieceControl && p.text == text {
			return int32(i)
		}
	}
	if id < len(m.pieces) && m.pieces[id].kind == pieceControl {
		return int32(id)
	}
	return -1
}

// surround sets what Encode with addSpecial puts around a text.
func (t *Tokenizer) surround(addBOS bool, bos int32, addEOS bool, eos int32) error {
	c := component{Type: "TemplateProcessing", SpecialTokens: map[string]struct{ IDs []int32 }{
		"bos": {[]int32{bos}}, "eos": {[]int32{eos}},
	}}
	for _, sequence := range []string{"A", "B"} {
		part := []templatePiece{}
		if addBOS {
			part = append(part, specialPiece("bos"))
		}
		part = append(part, sequencePiece(sequence))
		if addEOS {
			part = append(part, specialPiece("eos"))
		}
		if sequence == "A" {
			c.Single = part
		}
	}
	t.prefix, t.suffix = nil, nil
	return t.setPostProcessor(&c)
}

func specialPiece(id string) templatePiece {
	return templatePiece{SpecialToken: &struct {
		ID string `json:"id"`
	}{id}}
}

func sequencePiece(id string) templatePiece {
	return templatePiece{Sequence: &struct {
		ID string `json:"id"`
	}{id}}
}

func patternOf(text string) struct{ String, Regex *string } {
	return struct{ String, Regex *string }{String: &text}
}

// setDecoders sets the decoders as if a tokenizer.json had them.
func (t *Tokenizer) setDecoders(steps ...component) error {
	chain := decodeChain{growth: 1}
	if err := chain.build(&component{Type: "Sequence", Decoders: steps}); err != nil {
		return err
	}
	t.decoders = chain.steps
	return nil
}

// setNormalizer sets what SentencePiece makes of a text before the model sees it.
// once leaves the dummy space to a pre-tokenizer: transformers' tokenizers with
// "legacy": false.
func (m *spmModel) setNormalizer(t *Tokenizer, once bool) error {
	n := spmNormalizer{prefix: m.dummyPrefix && !once, merge: m.mergeSpaces, space: " "}
	if m.escape {
		n.space = string(spaceMark)
	}
	if len(m.charsmap) > 0 {
		var err error
		if n.charsmap, err = newCharsmap([]byte(m.charsmap)); err != nil {
			return err
		}
	}
	var user []string
	for i := range m.pieces {
		if m.pieces[i].kind == pieceUser {
			user = append(user, m.pieces[i].text)
		}
	}
	if n.charsmap != nil || n.merge {
		n.user = newByteTrie(user, make([]int32, len(user)))
	}
	t.normalize = n.normalize
	if !once || !m.dummyPrefix {
		return nil
	}
	no := false
	var splits splitChain
	err := splits.build(&component{Type: "Metaspace", Replacement: string(spaceMark), PrependScheme: "first", Split: &no})
	t.splits = splits.steps
	return err
}

// normalize is the rewrite as a function of texts.
func (n *spmNormalizer) normalize(s string) string {
	if n.charsmap == nil && !n.merge && isUTF8(s) {
		// The rewrite of nearly all models of today.
		s = strings.ReplaceAll(s, " ", n.space)
		if n.prefix && s != "" {
			s = n.space + s
		}
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + len(s)/2)
	n.rewrite(s, func(out string, _ int) { b.WriteString(out) })
	return b.String()
}
