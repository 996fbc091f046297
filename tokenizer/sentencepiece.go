package tokenizer

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

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
	double         bool // Unigram's sums are float64 (Hugging Face, llama.cpp)
	rstrip         bool // control pieces take the spaces after them along (Phi-3)
	added          []*addedToken
}

// spmKinds are the model types of SentencePiece.
var spmKinds = map[int]string{1: "UNIGRAM", 2: "BPE", 3: "WORD", 4: "CHAR"}

// turnTokens are user-defined pieces that end or begin a turn; transformers makes
// them special tokens.
var turnTokens = map[string]bool{"<start_of_turn>": true, "<end_of_turn>": true}

// tokenizer makes a tokenizer of the model. A text gives the ids that SentencePiece
// gives, and ids the text, but that a run of byte pieces that is not UTF-8 becomes one
// U+FFFD a byte. Unless o.plain is set two things are as transformers has them for the
// same file: control and unknown pieces ("<s>", "</s>", "<unk>", "[INST]") that are
// written out in a text are those tokens, because prompts are rendered as text here;
// and each text between two of them is encoded by itself, so that it begins with the
// dummy space, which is how the families that have such files put prompts together.
//
// The pieces of the trainer's bos_id and eos_id are BOS and EOS.
func (m *spmModel) tokenizer(o spmOptions) (*Tokenizer, error) {
	var err error
	if m.pieces, err = placeAdded(m.pieces, o.added); err != nil {
		return nil, err
	}
	unknown, err := m.check()
	if err != nil {
		return nil, err
	}
	t := &Tokenizer{}
	if m.kind == 2 {
		t.model, err = newPieceBPE(m.pieces, unknown, m.byteFallback)
	} else {
		t.model, err = m.unigram(unknown, !o.double)
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
	mark := string(spaceMark)
	steps := []component{{Type: "Replace", Pattern: pattern{String: &mark}, Content: " "}}
	if m.byteFallback {
		steps = append(steps, component{Type: "ByteFallback"})
	}
	steps = append(steps, component{Type: "Fuse"})
	switch {
	case m.mergeSpaces: // no text begins with one
		steps = append(steps, component{Type: "Strip", Content: " ", Start: math.MaxInt32})
	case m.dummyPrefix:
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
func (m *spmModel) unigram(unknown int32, single bool) (*unigram, error) {
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
	u.single, u.unkCost, u.byteID = single, float64(lowest-unknownPenalty), byteIDs(m.pieces)
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

// placeAdded puts tokens at their ids into a vocabulary, in the place of pieces of
// another text (transformers gives unused pieces a name like that).
func placeAdded(pieces []spmPiece, added []*addedToken) ([]spmPiece, error) {
	for _, tok := range added {
		switch limit := maxID(len(pieces)); {
		case tok.Content == "":
			return nil, fmt.Errorf("added token %d has no text", tok.ID)
		case tok.ID < 0 || int(tok.ID) > limit:
			return nil, fmt.Errorf("added token %q has the id %d, want at most %d", tok.Content, tok.ID, limit)
		}
		for int(tok.ID) >= len(pieces) {
			pieces = append(pieces, spmPiece{})
		}
		if p := &pieces[tok.ID]; p.text != tok.Content {
			*p = spmPiece{tok.Content, 0, pieceControl}
		}
	}
	return pieces, nil
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

// surround sets what Encode with addSpecial puts around each text.
func (t *Tokenizer) surround(addBOS bool, bos int32, addEOS bool, eos int32) error {
	c := component{Type: "TemplateProcessing", SpecialTokens: map[string]struct{ IDs []int32 }{
		"bos": {[]int32{bos}}, "eos": {[]int32{eos}},
	}}
	for i, sequence := range []string{"A", "B"} {
		part := func(id string) *templatePart { return &templatePart{ID: id, Type: uint8(i)} }
		if addBOS {
			c.Pair = append(c.Pair, templatePiece{SpecialToken: part("bos")})
		}
		c.Pair = append(c.Pair, templatePiece{Sequence: part(sequence)})
		if addEOS {
			c.Pair = append(c.Pair, templatePiece{SpecialToken: part("eos")})
		}
		if i == 0 {
			c.Single = append(c.Single, c.Pair...)
		}
	}
	t.processors, t.prefix, t.suffix = nil, nil, nil
	return t.setPostProcessor(&c)
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
	// Each byte can become a replacement, or U+FFFD, behind the dummy space.
	step := textStep{edit: n.edit, apply: n.normalize, growth: 3}
	if n.charsmap != nil {
		step.growth = max(3, longestReplacement([]byte(m.charsmap)))
	}
	t.normalizer = normalizer{step}
	if !once || !m.dummyPrefix {
		return nil
	}
	no := false
	splits, err := buildSplits(&component{Type: "Metaspace", Replacement: string(spaceMark), PrependScheme: "first", Split: &no}, false)
	if err != nil {
		return err
	}
	t.splits = splits.steps
	t.origins = splits.origins || splits.asksFirst
	return nil
}

// edit is the rewrite with the origins of its bytes: what replaces several
// characters comes from the first of them, and the dummy space from nothing.
func (n *spmNormalizer) edit(e *editor) {
	n.rewrite(e.src, func(out string, k int) {
		switch {
		case k == 0:
			e.add(out)
		case out == e.src[e.at:e.at+k]:
			e.copy(k)
		case out == "":
			e.drop(k)
		default:
			first := len(e.next())
			e.take(out)
			e.drop(k - first)
		}
	})
}

// normalize is the rewrite as a function of texts.
func (n *spmNormalizer) normalize(s string) string {
	if n.charsmap == nil && !n.merge && utf8.ValidString(s) {
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
