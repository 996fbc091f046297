// Package sugarme gives our exact ids to programs that are built on
// github.com/sugarme/tokenizer: its Encoding, its truncation and padding, its
// interfaces, but none of its models, pre-tokenizers, added vocabulary or
// decoders, which differ from Hugging Face's (docs/tokenizers.md says where).
//
// New returns a Tokenizer, which has every method of the library's Tokenizer.
// Those that encode, decode, truncate and pad are our own and exact; they return
// errors where the library ends the process or panics. For a function that asks
// for the library's own type there is the embedded one:
//
//	tk, err := sugarme.New(t)
//	tk.EncodePair(question, passage, true) // exact
//	embed(tk.Tokenizer)                    // func embed(*tokenizer.Tokenizer)
//
// What is exact through the embedded one is in the doc of Tokenizer.
package sugarme

import (
	"fmt"

	lib "github.com/sugarme/tokenizer"

	"github.com/litgpt-go/litgpt/tokenizer"
)

// Tokenizer is the library's Tokenizer with our tokenizer inside. Setters
// (WithTruncation, WithPadding, …) are the library's own; what they set holds for
// both the methods here and those of the embedded Tokenizer. The methods may be
// called from several goroutines as long as nobody calls a setter.
//
// All methods here are exact: ids, tokens, type ids, masks, offsets, overflowing
// parts and decoded text are those of Hugging Face's tokenizers. Exceptions:
//
//   - Words is -1 for a text, the number of the word for an input that came in
//     words. (Hugging Face numbers its pre-tokens, which stay inside our engine.)
//   - Tokens are spelled as in tokenizer.json. Hugging Face shows of an added token
//     what it took out of the text, which differs where a normalizer rewrites the
//     token ("▁<s>" for "<s>" in old files of Llama 2) or where it takes spaces
//     along, and of Unigram's unknown token the text it stands for.
//   - TruncationParams.MaxLength 0 means no truncation, as in the library.
//   - GetVocab and GetVocabSize count added tokens whatever their argument says.
//   - AddTokens and AddSpecialTokens take no tokens that tokenizer.json lacks:
//     after such a call every Encode returns an error.
//   - Train, TrainAndReplace, Save and Serialize are the library's: the first
//     replaces the model, after which Encode returns an error; the others do
//     nothing, or too little.
//
// The same methods of the embedded *lib.Tokenizer run the library's code around
// our ids. Exact there: Encode, EncodeSingle, EncodePair, Tokenize,
// EncodeCharOffsets, EncodeSingleSequence and EncodeBatch of valid UTF-8, with
// truncation and with padding on the right; Decode; TokenToId, IdToToken,
// GetSpecialTokens. Not so, and beyond our reach:
//
//   - text that is not valid UTF-8 panics (NormalizedString);
//   - padding on the left panics (Encoding.Pad);
//   - a truncation that cannot be done, and any error inside EncodeBatch, end the
//     process (log.Fatal); a stride as long as the text leaves the text whole;
//   - parts that overflow from a part that overflows are not padded;
//   - DecodeBatch is a data race and returns its texts in any order;
//   - added tokens are looked for in the wrong order: after AddTokens or
//     AddSpecialTokens a text that holds one is an error;
//   - Words is 0 for all of a text;
//   - one text takes some 300 bytes for each of its bytes, and a regular
//     expression is compiled for each special token on each call.
//
// Of the library's Encoding the fields are exact, its methods are not all:
// GetSequenceIds and SequenceRange panic or return too much (use SequenceIDs),
// Truncate, Pad and MergeWith are the ones avoided here.
type Tokenizer struct {
	*lib.Tokenizer
	vocab   *vocabulary
	forms   [2]*form // of one text, of a pair
	parts   parts
	refused error // of the first AddTokens that could not be followed
}

// parts are what New put into the embedded Tokenizer, to see what was replaced.
type parts struct {
	model   *model
	pre     *preTokenizer
	post    *postProcessor
	decoder *decoder
}

// New returns t behind the library's interfaces. t is shared, not copied.
func New(t *tokenizer.Tokenizer) (*Tokenizer, error) {
	v := newVocabulary(t)
	k := &Tokenizer{vocab: v}
	for i := range k.forms {
		f, err := newForm(v, i == 1)
		if err != nil {
			return nil, err
		}
		k.forms[i] = f
	}
	k.parts = parts{&model{v}, &preTokenizer{v}, &postProcessor{k}, &decoder{v}}
	k.Tokenizer = lib.NewTokenizer(k.parts.model)
	k.WithPreTokenizer(k.parts.pre)
	k.WithPostProcessor(k.parts.post)
	k.WithDecoder(k.parts.decoder)
	markSpecials(k.Tokenizer, v.specials)
	return k, nil
}

// usable tells whether the parts that make ids are still ours.
func (k *Tokenizer) usable() error {
	switch {
	case k.refused != nil:
		return k.refused
	case k.GetModel() != lib.Model(k.parts.model):
		return fmt.Errorf("sugarme: the model was replaced by a %T: use the library's own Tokenizer for it", k.GetModel())
	case k.GetPreTokenizer() != lib.PreTokenizer(k.parts.pre):
		return fmt.Errorf("sugarme: the pre-tokenizer was replaced by a %T: tokenizer.json's own is part of the ids", k.GetPreTokenizer())
	case k.GetNormalizer() != nil:
		return fmt.Errorf("sugarme: a normalizer %T was set: tokenizer.json's own is part of the ids; normalize the text before Encode", k.GetNormalizer())
	}
	return nil
}

// AddTokens answers how many tokens were added: none. tokenizer.json decides what
// is cut out of a text; a token that it does not name as special cannot be added
// behind our ids, and makes every later Encode return an error that names it.
func (k *Tokenizer) AddTokens(tokens []lib.AddedToken) int {
	for _, tok := range tokens {
		if k.refused == nil && tok.Content != "" && !k.vocab.isSpecial(tok.Content) {
			k.refused = fmt.Errorf("sugarme: token %q cannot be added: write it into added_tokens of tokenizer.json and load that", tok.Content)
		}
	}
	return 0
}

// AddSpecialTokens is AddTokens: the special tokens of tokenizer.json are special
// already.
func (k *Tokenizer) AddSpecialTokens(tokens []lib.AddedToken) int { return k.AddTokens(tokens) }
