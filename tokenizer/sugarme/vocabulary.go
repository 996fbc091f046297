package sugarme

import (
	"strings"

	lib "github.com/sugarme/tokenizer"
	"github.com/sugarme/tokenizer/normalizer"

	"github.com/litgpt-go/litgpt/tokenizer"
)

// vocabulary is our tokenizer with its tokens laid out as the library wants them.
type vocabulary struct {
	t        *tokenizer.Tokenizer
	tokens   []string // by id, as in tokenizer.json; "" where no token has the id
	count    int      // of ids that have a token
	specials []string // in the order of their ids
	special  map[string]bool
}

func newVocabulary(t *tokenizer.Tokenizer) *vocabulary {
	v := &vocabulary{t: t, tokens: make([]string, t.VocabSize()), special: map[string]bool{}}
	ids := make([]int32, 0, len(v.tokens))
	for i := range v.tokens {
		if s, ok := t.Token(int32(i)); ok {
			v.tokens[i] = s
			ids = append(ids, int32(i))
		}
	}
	v.count = len(ids)
	v.findSpecials(ids)
	return v
}

// findSpecials notes which of ids decoding leaves out when special tokens are to
// be skipped. Halving finds the few among the many.
func (v *vocabulary) findSpecials(ids []int32) {
	if len(ids) == 1 {
		// Twice, since a decoder may take the first token's space away.
		ids = []int32{ids[0], ids[0]}
	}
	if len(ids) == 0 || v.t.Decode(ids, true) == v.t.Decode(ids, false) {
		return
	}
	if len(ids) == 2 && ids[0] == ids[1] {
		s := v.tokens[ids[0]]
		v.specials = append(v.specials, s)
		v.special[s] = true
		return
	}
	v.findSpecials(ids[:len(ids)/2])
	v.findSpecials(ids[len(ids)/2:])
}

func (v *vocabulary) isSpecial(token string) bool { return v.special[token] }

// token returns the token of an id, "" without one.
func (v *vocabulary) token(id int32) string {
	if id < 0 || int(id) >= len(v.tokens) {
		return ""
	}
	return v.tokens[id]
}

// unmatchable stands for special tokens in the library's added vocabulary. It is
// made of code points that Unicode keeps out of texts.
const unmatchable = "\U0010FFFF\uFDD0\U000EFFFE\uFDD1\U0010FFFE\uFDD2"

// markSpecials tells tk which tokens are special, so that its Decode can skip them
// and GetSpecialTokens lists them, without letting it look for them in texts: it
// would find them in the wrong order. A token that is a "single word" is looked
// for as the normalizer of the moment writes it, and ours writes what no text has.
func markSpecials(tk *lib.Tokenizer, specials []string) {
	if len(specials) == 0 {
		return
	}
	list := make([]lib.AddedToken, len(specials))
	for i, s := range specials {
		list[i] = lib.AddedToken{Content: s, SingleWord: true}
	}
	tk.WithNormalizer(hide{})
	tk.AddSpecialTokens(list)
	tk.WithNormalizer(nil)
}

// hide is a normalizer that makes any text unmatchable.
type hide struct{}

// Normalize implements normalizer.Normalizer.
func (hide) Normalize(n *normalizer.NormalizedString) (*normalizer.NormalizedString, error) {
	return normalizer.NewNormalizedString(n.GetOriginal(), unmatchable, nil, nil, 0), nil
}

// model is our tokenizer as the library's Model.
type model struct{ v *vocabulary }

// Tokenize implements lib.Model. The sequence is taken for a whole text without
// special tokens around it; Offsets are bytes of it.
func (m *model) Tokenize(sequence string) ([]lib.Token, error) {
	return m.v.encode(sequence), nil
}

// encode returns the tokens of a text, with offsets in bytes.
func (v *vocabulary) encode(text string) []lib.Token {
	toks := v.t.EncodeTokens(text, false)
	out := make([]lib.Token, len(toks))
	for i, tok := range toks {
		out[i] = lib.NewToken(int(tok.ID), v.token(tok.ID), []int{tok.Start, tok.End})
	}
	return out
}

// TokenToId implements lib.Model.
func (m *model) TokenToId(token string) (id int, ok bool) {
	i, ok := m.v.t.ID(token)
	return int(i), ok
}

// IdToToken implements lib.Model.
func (m *model) IdToToken(id int) (token string, ok bool) {
	if id < 0 || id >= len(m.v.tokens) {
		return "", false
	}
	s := m.v.tokens[id]
	return s, s != ""
}

// GetVocab implements lib.Model; added tokens are part of it. The caller owns the map.
func (m *model) GetVocab() map[string]int {
	vocab := make(map[string]int, m.v.count)
	for id, s := range m.v.tokens {
		if _, again := vocab[s]; s != "" && !again {
			vocab[s] = id
		}
	}
	return vocab
}

// GetVocabSize implements lib.Model: the number of tokens, added ones included.
func (m *model) GetVocabSize() int { return m.v.count }

// Save implements lib.Model. It always fails: the model is a tokenizer.json.
func (m *model) Save(path string, _ ...string) error { return errSave(path) }

// preTokenizer gives the library's Encode all tokens of a text at once.
type preTokenizer struct{ v *vocabulary }

// PreTokenize implements lib.PreTokenizer.
func (p *preTokenizer) PreTokenize(in *lib.PreTokenizedString) (*lib.PreTokenizedString, error) {
	for _, s := range in.GetSplits(normalizer.OriginalTarget, lib.Byte) {
		if s.Tokens != nil {
			return nil, errAdded(s.Value)
		}
	}
	var text string
	var changed error
	parts := 0
	in.Split(func(_ int, n *normalizer.NormalizedString) []lib.SplitIdx {
		text = n.GetNormalized()
		if parts++; text != n.GetOriginal() {
			changed = errNormalized
		}
		return []lib.SplitIdx{{Normalized: n}}
	})
	if changed != nil {
		return nil, changed
	}
	if parts == 0 { // the empty text
		return in, nil
	}
	if parts > 1 {
		return nil, errAdded(text)
	}
	tokens := p.v.encode(text)
	// Without alignments the library takes our offsets as they are. A byte more
	// than the text lets it find the character after the last one, without which
	// its offsets in characters end one too early.
	n := normalizer.NewNormalizedString(text+"\x00", text, nil, nil, 0)
	out := lib.NewPreTokenizedStringFromNS(n)
	return out.Split(func(int, *normalizer.NormalizedString) []lib.SplitIdx {
		if len(tokens) == 0 {
			return nil // a split without tokens would be an error
		}
		return []lib.SplitIdx{{Normalized: n, Tokens: tokens}}
	}), nil
}

// decoder is our decoding as the library's Decoder.
type decoder struct{ v *vocabulary }

// Decode implements lib.Decoder. Strings that are no tokens stay as they are.
func (d *decoder) Decode(tokens []string) string { return strings.Join(d.DecodeChain(tokens), "") }

// DecodeChain implements lib.Decoder: the text that each token adds, and at the
// end what was held back for an unfinished character, if anything.
func (d *decoder) DecodeChain(tokens []string) []string {
	out := make([]string, 0, len(tokens)+1)
	s := d.v.t.Stream(false)
	for _, tok := range tokens {
		if id, ok := d.v.t.ID(tok); ok {
			out = append(out, s.Next(id))
		} else {
			out = append(out, s.Flush()+tok)
		}
	}
	if rest := s.Flush(); rest != "" {
		out = append(out, rest)
	}
	return out
}
