package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// token is a Token on its way through the post-processors.
type token struct {
	Token
	lead, trail int  // white space at the ends of its spelling, in characters
	pair        bool // of the second text
}

// A processStep is one post-processor. It takes the encodings of one or two texts
// and returns encodings that follow each other; special asks for special tokens.
type processStep func(encodings [][]token, special bool, texts [2]string) [][]token

// templatePiece is one place of a post-processor's template: a token or a text.
type templatePiece struct {
	SpecialToken *templatePart
	Sequence     *templatePart // A or B
}

type templatePart struct {
	ID   string `json:"id"`
	Type uint8  `json:"type_id"`
}

// maxAround bounds the special tokens of a template: published ones have up to five.
const maxAround = 1 << 10

// setPostProcessor reads the post-processors, and finds what they put around a
// single text, if that is all they do to it.
func (t *Tokenizer) setPostProcessor(n *component) error {
	if err := t.addProcessor(n); err != nil {
		return fmt.Errorf("post_processor %w", err)
	}
	const text = -1 // stands for the ids of a text
	around := func(special bool) ([]int32, []int32, bool) {
		ids := idsOf(t.process([][]token{{{Token: Token{ID: text}}}}, special, [2]string{}))
		at := -1
		for i, id := range ids {
			if id == text {
				if at >= 0 {
					return nil, nil, false
				}
				at = i
			}
		}
		if at < 0 {
			return nil, nil, false
		}
		return ids[:at], ids[at+1:], true
	}
	before, after, ok := around(false)
	t.wraps = ok && len(before)+len(after) == 0
	t.prefix, t.suffix, ok = around(true)
	t.wraps = t.wraps && ok
	return nil
}

// process runs the post-processors on the encodings of one or two texts.
func (t *Tokenizer) process(encodings [][]token, special bool, texts [2]string) []token {
	for i := range encodings {
		for j := range encodings[i] {
			encodings[i][j].Type = uint8(i)
			encodings[i][j].pair = i > 0
		}
	}
	for _, step := range t.processors {
		encodings = step(encodings, special, texts)
	}
	if len(encodings) == 1 {
		return encodings[0]
	}
	var all []token
	for _, e := range encodings {
		all = append(all, e...)
	}
	return all
}

func idsOf(tokens []token) []int32 {
	ids := make([]int32, len(tokens))
	for i, tk := range tokens {
		ids[i] = tk.ID
	}
	return ids
}

// addProcessor appends the steps of n, sequences flattened.
func (t *Tokenizer) addProcessor(n *component) error {
	if n == nil {
		return nil
	}
	if n.Type == "Sequence" {
		for i := range n.Processors {
			if err := t.addProcessor(&n.Processors[i]); err != nil {
				return err
			}
		}
		return nil
	}
	build, ok := processors[n.Type]
	if !ok {
		return fmt.Errorf("%q is not supported", n.Type)
	}
	step, err := build(t, n)
	if err != nil {
		return fmt.Errorf("%s: %w", n.Type, err)
	}
	t.processors = append(t.processors, step)
	return nil
}

// processors are the types of post-processor we have.
var processors = map[string]func(*Tokenizer, *component) (processStep, error){
	"ByteLevel": func(t *Tokenizer, n *component) (processStep, error) {
		return t.trimmer(n), nil
	},
	"BertProcessing": func(t *Tokenizer, n *component) (processStep, error) {
		cls, sep, err := t.clsAndSep(n)
		if err != nil {
			return nil, err
		}
		return func(encodings [][]token, special bool, _ [2]string) [][]token {
			if !special {
				return encodings
			}
			for i, e := range encodings {
				unmark(e)
				if i == 0 {
					encodings[i] = join([]token{added(cls, 0)}, e, []token{added(sep, 0)})
				} else {
					encodings[i] = join(e, []token{added(sep, 1)})
				}
			}
			return encodings
		}, nil
	},
	"RobertaProcessing": func(t *Tokenizer, n *component) (processStep, error) {
		cls, sep, err := t.clsAndSep(n)
		if err != nil {
			return nil, err
		}
		trim := t.trimmer(n)
		return func(encodings [][]token, special bool, texts [2]string) [][]token {
			encodings = trim(encodings, special, texts)
			for i, e := range encodings {
				for j := range e {
					e[j].Type = 0 // of both texts
				}
				first := sep
				if i == 0 {
					first = cls
				}
				if special {
					unmark(e)
					encodings[i] = join([]token{added(first, 0)}, e, []token{added(sep, 0)})
				}
			}
			return encodings
		}, nil
	},
	"TemplateProcessing": templateProcessor,
}

func added(id int32, kind uint8) token {
	return token{Token: Token{ID: id, Type: kind, Special: true}}
}

// unmark: BERT's and RoBERTa's post-processors take what comes to them for text.
func unmark(e []token) {
	for i := range e {
		e[i].Special = false
	}
}

func join(parts ...[]token) []token {
	var all []token
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// templateProcessor puts the texts and special tokens where a template says.
func templateProcessor(t *Tokenizer, n *component) (processStep, error) {
	// In front of a template two encodings must still be two.
	for count := 1; count <= 2; count++ {
		encodings := make([][]token, count)
		for _, special := range []bool{false, true} {
			got := encodings
			for _, step := range t.processors {
				got = step(got, special, [2]string{})
			}
			if len(got) != 1 && len(got) != 2 {
				return nil, fmt.Errorf("after another template is not supported: it makes %d encodings of %d", len(got), count)
			}
		}
	}
	for _, template := range [][]templatePiece{n.Single, n.Pair} {
		total := 0
		for _, piece := range template {
			if piece.SpecialToken == nil {
				if piece.Sequence == nil || piece.Sequence.ID != "A" && piece.Sequence.ID != "B" {
					return nil, errors.New("a piece of the template is neither a special token nor text A or B")
				}
				continue
			}
			special, ok := n.SpecialTokens[piece.SpecialToken.ID]
			if !ok {
				return nil, fmt.Errorf("%q is not in special_tokens", piece.SpecialToken.ID)
			}
			if total += len(special.IDs); total > maxAround {
				return nil, fmt.Errorf("a template of more than %d special tokens", maxAround)
			}
			for _, id := range special.IDs {
				if err := t.checkID(id); err != nil {
					return nil, err
				}
			}
		}
		if len(template) > maxAround {
			return nil, fmt.Errorf("a template of more than %d pieces", maxAround)
		}
	}
	for _, piece := range n.Single {
		if piece.Sequence != nil && piece.Sequence.ID != "A" {
			return nil, errors.New("the template of one text has text B")
		}
	}
	pair := n.Pair
	if len(pair) == 0 {
		pair = pairTemplate
	}
	return func(encodings [][]token, special bool, _ [2]string) [][]token {
		template := n.Single
		if len(encodings) == 2 {
			template = pair
		}
		out := make([][]token, 0, len(template))
		for _, piece := range template {
			if piece.Sequence != nil {
				e := encodings[0]
				if piece.Sequence.ID == "B" {
					e = encodings[1]
				}
				e = append([]token(nil), e...)
				for i := range e {
					e[i].Type = piece.Sequence.Type
				}
				out = append(out, e)
			} else if special {
				var e []token
				for _, id := range n.SpecialTokens[piece.SpecialToken.ID].IDs {
					e = append(e, added(id, piece.SpecialToken.Type))
				}
				out = append(out, e)
			}
		}
		return out
	}, nil
}

// pairTemplate is the pair of Hugging Face's TemplateProcessing that was given none:
// one text after the other.
var pairTemplate = func() []templatePiece {
	pair := make([]templatePiece, 2)
	for i := range pair {
		pair[i].Sequence = &templatePart{ID: string(rune('A' + i)), Type: uint8(i)}
	}
	return pair
}()

// clsAndSep reads the two tokens of BERT's and RoBERTa's post-processors.
func (t *Tokenizer) clsAndSep(n *component) (cls, sep int32, err error) {
	if cls, err = t.namedID(n.CLS); err != nil {
		return 0, 0, fmt.Errorf("cls: %w", err)
	}
	if sep, err = t.namedID(n.SEP); err != nil {
		return 0, 0, fmt.Errorf("sep: %w", err)
	}
	return cls, sep, nil
}

// namedID reads the id of ["<s>", 0].
func (t *Tokenizer) namedID(raw json.RawMessage) (int32, error) {
	var pair []json.RawMessage
	if err := json.Unmarshal(raw, &pair); err != nil || len(pair) != 2 {
		return 0, fmt.Errorf("%.40s is not a token and its id", raw)
	}
	var id int32
	if err := json.Unmarshal(pair[1], &id); err != nil {
		return 0, err
	}
	return id, t.checkID(id)
}

func (t *Tokenizer) checkID(id int32) error {
	if id < 0 || int(id) >= t.size {
		return fmt.Errorf("id %d is outside the vocabulary of %d", id, t.size)
	}
	return nil
}

// trimmer takes the white space at the ends of tokens out of their offsets.
func (t *Tokenizer) trimmer(n *component) processStep {
	if n.TrimOffsets != nil && !*n.TrimOffsets {
		return func(encodings [][]token, _ bool, _ [2]string) [][]token { return encodings }
	}
	t.trims = true
	prefixed := n.AddPrefixSpace == nil || *n.AddPrefixSpace
	return func(encodings [][]token, _ bool, texts [2]string) [][]token {
		for _, e := range encodings {
			for i := range e {
				text := texts[0]
				if e[i].pair {
					text = texts[1]
				}
				e[i].trim(text, i == 0, prefixed)
			}
		}
		return encodings
	}
}

// trim moves the offsets by characters of the text, as many as are white space in
// the token's spelling. The one space in front of a text that has just been put
// there takes nothing away.
func (tk *token) trim(text string, first, prefixed bool) {
	lead := tk.lead
	if prefixed && lead == 1 && (first || tk.Start == 0) {
		lead = 0
	}
	for ; lead > 0 && tk.Start < tk.End; lead-- {
		_, n := decodeRune(text, tk.Start)
		tk.Start = min(tk.Start+n, tk.End)
	}
	end := tk.End
	for range tk.trail {
		if end == 0 {
			return // more white space than there is text
		}
		_, n := utf8.DecodeLastRuneInString(text[:end])
		end -= n
	}
	tk.End = max(tk.Start, end)
}

// countSpaces counts the white space at the ends of a token's spelling.
func (tk *token) countSpaces(spelling string) {
	isSpace := func(r rune) bool { return r == byteRune[' '] || unicode.IsSpace(r) }
	for _, r := range spelling {
		if !isSpace(r) {
			break
		}
		tk.lead++
	}
	for len(spelling) > 0 {
		r, n := utf8.DecodeLastRuneInString(spelling)
		if !isSpace(r) {
			break
		}
		spelling = spelling[:len(spelling)-n]
		tk.trail++
	}
}
