package sugarme

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	lib "github.com/sugarme/tokenizer"
)

var errNormalized = errors.New("sugarme: a normalizer was set: tokenizer.json's own is part of the ids; normalize the text before Encode")

func errAdded(token string) error {
	return fmt.Errorf("sugarme: the library's added tokens cut %q out of the text, which gives other ids: "+
		"write tokens into added_tokens of tokenizer.json instead of calling AddTokens or AddSpecialTokens", token)
}

func errSave(path string) error {
	return fmt.Errorf("sugarme: %s not written: the model is the tokenizer.json it was loaded from; copy that file", path)
}

// Encode encodes one text or a pair, each a string or a list of words, with
// offsets in bytes of the text or word.
func (k *Tokenizer) Encode(input lib.EncodeInput, addSpecialTokens bool) (*lib.Encoding, error) {
	return k.encode(input, addSpecialTokens, lib.Byte)
}

// EncodeCharOffsets is Encode with offsets in characters; a byte that is no UTF-8
// counts as one.
func (k *Tokenizer) EncodeCharOffsets(input lib.EncodeInput, addSpecialTokens bool) (*lib.Encoding, error) {
	return k.encode(input, addSpecialTokens, lib.Char)
}

// EncodeSingle encodes a text; without addSpecialTokens as if it were false.
func (k *Tokenizer) EncodeSingle(input string, addSpecialTokens ...bool) (*lib.Encoding, error) {
	return k.Encode(lib.NewSingleEncodeInput(lib.NewInputSequence(input)), optional(addSpecialTokens))
}

// EncodePair encodes two texts that belong together, a question and a passage;
// without addSpecialTokens as if it were false.
func (k *Tokenizer) EncodePair(input, pair string, addSpecialTokens ...bool) (*lib.Encoding, error) {
	return k.Encode(lib.NewDualEncodeInput(lib.NewInputSequence(input), lib.NewInputSequence(pair)), optional(addSpecialTokens))
}

// Tokenize returns the tokens of EncodeSingle.
func (k *Tokenizer) Tokenize(input string, addSpecialTokens ...bool) ([]string, error) {
	e, err := k.EncodeSingle(input, addSpecialTokens...)
	if err != nil {
		return nil, err
	}
	return e.Tokens, nil
}

func optional(flag []bool) bool { return len(flag) > 0 && flag[0] }

// EncodeBatch encodes inputs on all processors and pads them to one length if
// padding says so. The error is that of the first input that has one.
func (k *Tokenizer) EncodeBatch(inputs []lib.EncodeInput, addSpecialTokens bool) ([]lib.Encoding, error) {
	out := make([]lib.Encoding, len(inputs))
	errs := make([]error, len(inputs))
	parallel(len(inputs), func(i int) {
		e, err := k.Encode(inputs[i], addSpecialTokens)
		if err != nil {
			errs[i] = fmt.Errorf("input %d: %w", i, err)
			return
		}
		out[i] = *e
	})
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	if p := k.GetPadding(); p != nil {
		if err := padAll(out, p); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// parallel calls f with 0 … n-1, on as many goroutines as there are processors.
func parallel(n int, f func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wg.Wait()
}

func (k *Tokenizer) encode(input lib.EncodeInput, addSpecial bool, offsets lib.OffsetType) (*lib.Encoding, error) {
	var first, second *lib.Encoding
	var err error
	switch in := input.(type) {
	case lib.Single:
		first, err = k.EncodeSingleSequence(in.Sentence, 0, offsets)
	case lib.Dual:
		if first, err = k.EncodeSingleSequence(in.Sentence, 0, offsets); err == nil {
			second, err = k.EncodeSingleSequence(in.Pair, 1, offsets)
		}
	default:
		err = fmt.Errorf("sugarme: input is a %T; want what NewSingleEncodeInput or NewDualEncodeInput returns", input)
	}
	if err != nil {
		return nil, err
	}
	return k.PostProcess(first, second, addSpecial)
}

// EncodeSingleSequence encodes a text or its words and does nothing else: nothing
// is added, truncated or padded. All tokens get the type id.
func (k *Tokenizer) EncodeSingleSequence(sequence lib.InputSequence, typeId int, offsetType lib.OffsetType) (*lib.Encoding, error) {
	if err := k.usable(); err != nil {
		return nil, err
	}
	if offsetType != lib.Byte && offsetType != lib.Char {
		return nil, fmt.Errorf("sugarme: offset type %d; want Byte or Char", offsetType)
	}
	texts, words, err := readInput(sequence)
	if err != nil {
		return nil, err
	}
	b := &builder{}
	for i, text := range texts {
		toks := k.vocab.t.EncodeTokens(text, false)
		b.grow(len(toks))
		at := position{text: text}
		word := -1
		if words {
			word = i
		}
		for _, tok := range toks {
			start, end := tok.Start, tok.End
			if offsetType == lib.Char {
				start, _ = at.chars(start)
				_, end = at.chars(end)
			}
			b.add(int(tok.ID), typeId, k.vocab.token(tok.ID), start, end, word, 0)
		}
	}
	return b.encoding(), nil
}

// position counts characters up to a byte, which seldom goes backwards.
type position struct {
	text       string
	byte, char int // the first byte of a character, and the characters before it
}

// chars returns how many characters lie before byte b, and how many begin before it.
func (p *position) chars(b int) (before, begun int) {
	if b < p.byte {
		p.byte, p.char = 0, 0
	}
	for p.byte < len(p.text) {
		_, n := utf8.DecodeRuneInString(p.text[p.byte:])
		if p.byte+n > b {
			break
		}
		p.byte += n
		p.char++
	}
	if p.byte < b {
		return p.char, p.char + 1
	}
	return p.char, p.char
}

// readInput returns what NewInputSequence was given: one text, or words. The
// library has no accessor, so its fields are read by name; v0.3.0 is pinned.
func readInput(s lib.InputSequence) (texts []string, words bool, err error) {
	v := reflect.ValueOf(s)
	list, kind := v.FieldByName("input"), v.FieldByName("inputType")
	if !list.IsValid() || list.Kind() != reflect.Slice || !kind.IsValid() || !kind.CanInt() {
		return nil, false, errors.New("sugarme: InputSequence is not that of github.com/sugarme/tokenizer v0.3.0; pin that version")
	}
	texts = make([]string, list.Len())
	for i := range texts {
		texts[i] = list.Index(i).String()
	}
	words = kind.Int() != lib.RawInput
	if !words && len(texts) != 1 {
		return nil, false, errors.New("sugarme: empty InputSequence; want what NewInputSequence returns")
	}
	return texts, words, nil
}

// PostProcess truncates, puts the post-processor's tokens around and pads, as
// Encode does. pairEncoding is nil for one text. The encodings given are not changed.
func (k *Tokenizer) PostProcess(encoding, pairEncoding *lib.Encoding, addSpecialTokens bool) (*lib.Encoding, error) {
	if encoding == nil {
		return nil, errors.New("sugarme: no encoding to process")
	}
	post := k.GetPostProcessor()
	own := post == lib.PostProcessor(k.parts.post)
	if trunc := k.GetTruncation(); trunc != nil && trunc.MaxLength != 0 {
		added := 0
		if addSpecialTokens && post != nil {
			added = post.AddedTokens(pairEncoding != nil)
		}
		var err error
		if encoding, pairEncoding, err = truncatePair(encoding, pairEncoding, trunc, added); err != nil {
			return nil, err
		}
	}
	var out *lib.Encoding
	switch {
	case own:
		out = k.form(pairEncoding != nil).apply(encoding, pairEncoding, addSpecialTokens)
	case post != nil:
		out = post.Process(encoding, pairEncoding, addSpecialTokens)
	default:
		out = plainForm(pairEncoding != nil).apply(encoding, pairEncoding, addSpecialTokens)
	}
	if p := k.GetPadding(); p != nil {
		one := []lib.Encoding{*out}
		if err := padAll(one, p); err != nil {
			return nil, err
		}
		out = &one[0]
	}
	return out, nil
}

func (k *Tokenizer) form(pair bool) *form {
	if pair {
		return k.forms[1]
	}
	return k.forms[0]
}

// Decode returns the text of ids; ids outside the vocabulary are left out, and so
// are special tokens when skipSpecialTokens says so.
func (k *Tokenizer) Decode(ids []int, skipSpecialTokens bool) string {
	if k.GetDecoder() != lib.Decoder(k.parts.decoder) || k.GetModel() != lib.Model(k.parts.model) {
		return k.Tokenizer.Decode(ids, skipSpecialTokens)
	}
	known := make([]int32, 0, len(ids))
	for _, id := range ids {
		if id >= 0 && id <= math.MaxInt32 {
			known = append(known, int32(id))
		}
	}
	return k.vocab.t.Decode(known, skipSpecialTokens)
}

// DecodeBatch returns the text of each list of ids, in their order.
func (k *Tokenizer) DecodeBatch(sentences [][]int, skipSpecialTokens bool) []string {
	out := make([]string, len(sentences))
	parallel(len(out), func(i int) { out[i] = k.Decode(sentences[i], skipSpecialTokens) })
	return out
}

// SequenceIDs returns for each token 0 or 1, the text it is from, or -1 for one
// that was added. (Encoding.GetSequenceIds panics on encodings with added tokens.)
func SequenceIDs(e *lib.Encoding) []int {
	out := make([]int, len(e.Ids))
	for i := range out {
		out[i] = -1
	}
	for sequence, r := range e.SequenceRanges {
		for _, i := range r {
			if i >= 0 && i < len(out) {
				out[i] = sequence
			}
		}
	}
	return out
}
