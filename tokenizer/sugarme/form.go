package sugarme

import (
	"errors"
	"fmt"
	"slices"

	lib "github.com/sugarme/tokenizer"

	"github.com/litgpt-go/litgpt/tokenizer"
)

// form is what the post-processor of tokenizer.json makes of one text or a pair.
type form struct {
	slots []slot
	added int    // tokens around the texts
	plain [2]int // type ids of the texts when nothing is added

	// typesParts: parts that overflow get the type ids of the slots, as
	// RobertaProcessing does it. Otherwise they keep 0 and 1 for the first and the
	// second text, whatever TemplateProcessing says of the texts themselves.
	typesParts bool
}

// slot is one place of a form: the text 0 or 1, or a token around them.
type slot struct {
	text   int // 0, 1; -1: a token
	typeID int
	id     int
	token  string
}

// plainForm is that of a tokenizer without a post-processor.
func plainForm(pair bool) *form {
	f := &form{slots: []slot{{text: 0}}, plain: [2]int{0, 1}}
	if pair {
		f.slots = append(f.slots, slot{text: 1, typeID: 1})
	}
	return f
}

// probes are short texts to see what is put around them; a vocabulary may lack the
// characters of some.
var probes = []string{"a", "b", "0", ".", "the", "é", "中"}

// newForm finds the form by encoding texts whose ids are known.
func newForm(v *vocabulary, pair bool) (*form, error) {
	var texts []string
	var wanted [2][]int32
	for i := 0; i < len(probes)+len(v.tokens) && len(texts) < 2; i++ {
		text := v.token(int32(i - len(probes)))
		if i < len(probes) {
			text = probes[i]
		}
		ids := v.t.Encode(text, false)
		// Two texts that look the same in either order would not tell which is first.
		if len(ids) == 0 || len(texts) == 1 && slices.Equal(slices.Concat(ids, wanted[0]), slices.Concat(wanted[0], ids)) {
			continue
		}
		wanted[len(texts)] = ids
		texts = append(texts, text)
	}
	if len(texts) < 2 {
		return nil, errors.New("sugarme: the vocabulary gives no two texts different ids")
	}
	encode := func(addSpecial bool) []tokenizer.Token {
		if pair {
			return v.t.EncodePair(texts[0], texts[1], addSpecial)
		}
		return v.t.EncodeTokens(texts[0], addSpecial)
	}
	if !pair {
		wanted[1] = nil
	}
	f := &form{}
	var err error
	if f.slots, err = findSlots(v, encode(true), wanted); err != nil {
		return nil, err
	}
	plain, err := findSlots(v, encode(false), wanted)
	if err != nil {
		return nil, err
	}
	for _, s := range f.slots {
		if s.text < 0 {
			f.added++
		}
	}
	for _, s := range plain {
		if s.text < 0 {
			return nil, fmt.Errorf("sugarme: the post-processor adds %q even where none is asked for", s.token)
		}
		f.plain[s.text] = s.typeID
	}
	f.typesParts = pair && f.likeRoberta() && trimsOffsets(v, texts[0])
	return f, nil
}

// likeRoberta tells whether the form is <s> A </s></s> B </s> with type ids of 0.
// TemplateProcessing can write it too (XLM-RoBERTa's does); it does not trim offsets.
func (f *form) likeRoberta() bool {
	shape := []int{-1, 0, -1, -1, 1, -1}
	if len(f.slots) != len(shape) {
		return false
	}
	for i, s := range f.slots {
		if s.text != shape[i] || s.typeID != 0 || i > 1 && s.text < 0 && s.id != f.slots[2].id {
			return false
		}
	}
	return true
}

// trimsOffsets tells whether the offsets of a token leave out the space it begins with.
func trimsOffsets(v *vocabulary, word string) bool {
	toks := v.t.EncodeTokens(" "+word, false)
	return len(toks) > 0 && toks[0].Start > 0
}

// findSlots cuts an encoding into added tokens and the texts of the wanted ids.
func findSlots(v *vocabulary, toks []tokenizer.Token, wanted [2][]int32) ([]slot, error) {
	var slots []slot
	found := [2]bool{wanted[0] == nil, wanted[1] == nil}
	for i := 0; i < len(toks); {
		tok := toks[i]
		if tok.Special {
			slots = append(slots, slot{-1, int(tok.Type), int(tok.ID), v.token(tok.ID)})
			i++
			continue
		}
		text := -1
		for n, ids := range wanted {
			if !found[n] && startsWith(toks[i:], ids) && (text < 0 || len(ids) > len(wanted[text])) {
				text = n
			}
		}
		if text < 0 {
			return nil, fmt.Errorf("sugarme: the post-processor's template puts a text elsewhere than once: token %d of %d", i, len(toks))
		}
		found[text] = true
		slots = append(slots, slot{text: text, typeID: int(tok.Type)})
		i += len(wanted[text])
	}
	if !found[0] || !found[1] {
		return nil, errors.New("sugarme: the post-processor's template leaves a text out")
	}
	return slots, nil
}

func startsWith(toks []tokenizer.Token, ids []int32) bool {
	if len(toks) < len(ids) {
		return false
	}
	for i, id := range ids {
		if toks[i].Special || toks[i].ID != id {
			return false
		}
	}
	return true
}

// apply puts the encodings into their slots. The result overflows into every
// combination of the two texts' parts but the one that it is. Order and nesting are
// those of Hugging Face's Encoding.merge_with: a combination in which one text is
// not cut off yet overflows into those in which it is, which stand on their own as
// well. The result shares no memory with the operands.
func (f *form) apply(first, second *lib.Encoding, addSpecial bool) *lib.Encoding {
	for _, s := range f.slots {
		typeID := s.typeID
		if s.text >= 0 && !addSpecial {
			typeID = f.plain[s.text]
		}
		switch s.text {
		case 0:
			first = retyped(first, typeID, f.typesParts && addSpecial)
		case 1:
			second = retyped(second, typeID, f.typesParts && addSpecial)
		}
	}
	out := f.fill(first, second, addSpecial)
	if second == nil {
		for i := range first.Overflowing {
			out.Overflowing = append(out.Overflowing, *f.fill(&first.Overflowing[i], nil, addSpecial))
		}
		return out
	}
	// a is the text that comes first in the result.
	a, b, join := first, second, func(a, b *lib.Encoding) *lib.Encoding { return f.fill(a, b, addSpecial) }
	if f.reversed() {
		a, b, join = second, first, func(a, b *lib.Encoding) *lib.Encoding { return f.fill(b, a, addSpecial) }
	}
	for i := range a.Overflowing {
		part := join(&a.Overflowing[i], b)
		for j := range b.Overflowing {
			part.Overflowing = append(part.Overflowing, *join(&a.Overflowing[i], &b.Overflowing[j]))
		}
		out.Overflowing = append(out.Overflowing, *part)
		for j := range b.Overflowing {
			out.Overflowing = append(out.Overflowing, *join(&a.Overflowing[i], &b.Overflowing[j]))
		}
	}
	for j := range b.Overflowing {
		part := join(a, &b.Overflowing[j])
		for i := range a.Overflowing {
			part.Overflowing = append(part.Overflowing, *join(&a.Overflowing[i], &b.Overflowing[j]))
		}
		out.Overflowing = append(out.Overflowing, *part)
	}
	return out
}

// retyped returns e, and its overflowing parts if parts says so, with another type id.
func retyped(e *lib.Encoding, typeID int, parts bool) *lib.Encoding {
	out := *e
	out.TypeIds = slices.Repeat([]int{typeID}, len(e.Ids))
	if parts {
		out.Overflowing = slices.Clone(e.Overflowing)
		for i := range out.Overflowing {
			out.Overflowing[i] = *retyped(&out.Overflowing[i], typeID, true)
		}
	}
	return &out
}

// reversed tells whether the second text comes first.
func (f *form) reversed() bool {
	for _, s := range f.slots {
		if s.text >= 0 {
			return s.text == 1
		}
	}
	return false
}

// fill is apply without the overflowing parts.
func (f *form) fill(first, second *lib.Encoding, addSpecial bool) *lib.Encoding {
	b := &builder{}
	n := f.added + len(first.Ids)
	if second != nil {
		n += len(second.Ids)
	}
	b.grow(n)
	ranges := map[int]lib.Range{}
	for _, s := range f.slots {
		if s.text < 0 {
			if addSpecial {
				b.add(s.id, s.typeID, s.token, 0, 0, -1, 1)
			}
			continue
		}
		e := first
		if s.text == 1 {
			e = second
		}
		start := len(b.e.Ids)
		b.append(e)
		if end := len(b.e.Ids); end > start { // the library has no empty Range
			r := make(lib.Range, 0, end-start)
			for i := start; i < end; i++ {
				r = append(r, i)
			}
			ranges[s.text] = r
		}
	}
	out := b.encoding()
	out.SequenceRanges = ranges
	return out
}

// builder makes an Encoding whose lists are all as long as Ids.
type builder struct {
	e       lib.Encoding
	offsets []int // the memory of e.Offsets: start, end, start, end, …
}

func (b *builder) grow(n int) {
	e := &b.e
	e.Ids, e.TypeIds, e.Words = slices.Grow(e.Ids, n), slices.Grow(e.TypeIds, n), slices.Grow(e.Words, n)
	e.Tokens, e.Offsets = slices.Grow(e.Tokens, n), slices.Grow(e.Offsets, n)
	e.SpecialTokenMask, e.AttentionMask = slices.Grow(e.SpecialTokenMask, n), slices.Grow(e.AttentionMask, n)
	b.offsets = make([]int, 0, 2*n) // what lies in the one before stays there
}

// add appends one token that counts for attention.
func (b *builder) add(id, typeID int, token string, start, end, word, special int) {
	e := &b.e
	e.Ids, e.TypeIds, e.Tokens = append(e.Ids, id), append(e.TypeIds, typeID), append(e.Tokens, token)
	b.offset(start, end)
	e.Words = append(e.Words, word)
	e.SpecialTokenMask, e.AttentionMask = append(e.SpecialTokenMask, special), append(e.AttentionMask, 1)
}

// append appends all of e.
func (b *builder) append(e *lib.Encoding) {
	to := &b.e
	to.Ids, to.TypeIds, to.Tokens = append(to.Ids, e.Ids...), append(to.TypeIds, e.TypeIds...), append(to.Tokens, e.Tokens...)
	to.SpecialTokenMask = append(to.SpecialTokenMask, e.SpecialTokenMask...)
	to.AttentionMask = append(to.AttentionMask, e.AttentionMask...)
	if len(e.Words) == len(e.Ids) {
		to.Words = append(to.Words, e.Words...)
	} else { // an Encoding made without words
		to.Words = append(to.Words, slices.Repeat([]int{-1}, len(e.Ids))...)
	}
	for _, o := range e.Offsets {
		b.offset(o[0], o[1])
	}
}

func (b *builder) offset(start, end int) {
	b.offsets = append(b.offsets, start, end)
	n := len(b.offsets)
	b.e.Offsets = append(b.e.Offsets, b.offsets[n-2:n:n])
}

func (b *builder) encoding() *lib.Encoding {
	if b.e.SequenceRanges == nil {
		b.e.SequenceRanges = map[int]lib.Range{}
	}
	return &b.e
}

// postProcessor is the forms as the library's PostProcessor.
type postProcessor struct{ k *Tokenizer }

// AddedTokens implements lib.PostProcessor.
func (p *postProcessor) AddedTokens(isPair bool) int { return p.k.form(isPair).added }

// Process implements lib.PostProcessor. The library has truncated by now, a pair
// not always as it should: what it cut off is put back and cut again. An error has
// no way out of here: what cannot be truncated stays as the library left it.
func (p *postProcessor) Process(encoding, pairEncoding *lib.Encoding, addSpecialTokens bool) *lib.Encoding {
	f := p.k.form(pairEncoding != nil)
	if trunc := p.k.GetTruncation(); trunc != nil && trunc.MaxLength != 0 {
		added := 0
		if addSpecialTokens {
			added = f.added
		}
		first, second, err := truncatePair(whole(encoding, trunc.Stride), whole(pairEncoding, trunc.Stride), trunc, added)
		if err == nil {
			encoding, pairEncoding = first, second
		}
	}
	return f.apply(encoding, pairEncoding, addSpecialTokens)
}
