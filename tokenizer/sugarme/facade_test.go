package sugarme

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	lib "github.com/sugarme/tokenizer"
	"github.com/sugarme/tokenizer/normalizer"
	"github.com/sugarme/tokenizer/processor"
)

// mixed has characters of one to four bytes, and spaces that byte-level tokens trim.
const mixed = "naïve café — 你好，世界 🙂👩‍👩‍👧 end"

func TestCharOffsets(t *testing.T) {
	k := fixture(t)
	input := lib.NewDualEncodeInput(lib.NewInputSequence(mixed), lib.NewInputSequence([]string{"é", "🙂🙂", "x"}))
	inBytes, err := k.Encode(input, true)
	if err != nil {
		t.Fatal(err)
	}
	sources := []string{mixed, "é", "🙂🙂", "x"}
	for _, tk := range []interface {
		EncodeCharOffsets(lib.EncodeInput, bool) (*lib.Encoding, error)
	}{k, k.Tokenizer} {
		inChars, err := tk.EncodeCharOffsets(input, true)
		if err != nil {
			t.Fatal(err)
		}
		for i, sequence := range SequenceIDs(inBytes) {
			want := []int{0, 0}
			if sequence >= 0 {
				source := sources[0]
				if sequence == 1 {
					source = sources[1+inBytes.Words[i]]
				}
				for j, b := range inBytes.Offsets[i] {
					want[j] = utf8.RuneCountInString(source[:b])
				}
			}
			if got := inChars.Offsets[i]; !slices.Equal(got, want) {
				t.Errorf("%T: token %d %q: characters %v, want %v", tk, i, inChars.Tokens[i], got, want)
			}
		}
	}
}

// The library panics on these texts; our methods give what the engine gives.
func TestInvalidUTF8(t *testing.T) {
	k := fixture(t)
	for _, text := range []string{"\xff", "a\xc3", "\xe4\xbd hello \xf0\x9f", "\xed\xa0\x80"} {
		e, err := k.EncodeSingle(text, true)
		if err != nil {
			t.Fatal(err)
		}
		var want []int
		for _, id := range k.vocab.t.Encode(text, true) {
			want = append(want, int(id))
		}
		if !slices.Equal(e.Ids, want) {
			t.Errorf("%q: got %v, want %v", text, e.Ids, want)
		}
		if e, err = k.EncodeCharOffsets(lib.NewSingleEncodeInput(lib.NewInputSequence(text)), false); err != nil {
			t.Fatal(err)
		}
		last := 0
		for _, o := range e.Offsets {
			if o[0] < 0 || o[0] > o[1] || o[1] > utf8.RuneCountInString(text) {
				t.Errorf("%q: characters %v of %d", text, o, utf8.RuneCountInString(text))
			}
			last = o[1]
		}
		if last != utf8.RuneCountInString(text) {
			t.Errorf("%q: the last token ends at character %d", text, last)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	text := lib.NewSingleEncodeInput(lib.NewInputSequence("a text of a few tokens"))
	for _, c := range []struct {
		name  string
		spoil func(k *Tokenizer)
		input lib.EncodeInput
		want  string // part of the error
	}{
		{"unknown token added", func(k *Tokenizer) { k.AddTokens([]lib.AddedToken{lib.NewAddedToken("<new>", false)}) }, text, `"<new>"`},
		{"plain token made special", func(k *Tokenizer) { k.AddSpecialTokens([]lib.AddedToken{lib.NewAddedToken("a", true)}) }, text, `"a"`},
		{"model replaced", func(k *Tokenizer) { k.WithModel(&model{k.vocab}) }, text, "model"},
		{"pre-tokenizer replaced", func(k *Tokenizer) { k.WithPreTokenizer(nil) }, text, "pre-tokenizer"},
		{"normalizer set", func(k *Tokenizer) { k.WithNormalizer(hide{}) }, text, "normalizer"},
		{"no input", nil, nil, "NewSingleEncodeInput"},
		{"empty sequence", nil, lib.Single{}, "NewInputSequence"},
		{"padding strategy", func(k *Tokenizer) { k.WithPadding(&lib.PaddingParams{}) }, text, "NewPaddingStrategy"},
		{"padding direction", func(k *Tokenizer) {
			k.WithPadding(&lib.PaddingParams{Strategy: *lib.NewPaddingStrategy(), Direction: 5})
		}, text, "Left or Right"},
		{"shorter than what is added", func(k *Tokenizer) { k.WithTruncation(&lib.TruncationParams{MaxLength: -1}) }, text, "MaxLength"},
		{"stride", func(k *Tokenizer) { k.WithTruncation(&lib.TruncationParams{MaxLength: 4, Stride: 3}) }, text, "Stride 3"},
		{"strategy", func(k *Tokenizer) { k.WithTruncation(&lib.TruncationParams{MaxLength: 4, Strategy: 9}) }, text, "strategy 9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := fixture(t)
			if c.spoil != nil {
				c.spoil(k)
			}
			if _, err := k.Encode(c.input, true); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Encode: error %v, want one about %s", err, c.want)
			}
			inputs := []lib.EncodeInput{c.input, c.input}
			if _, err := k.EncodeBatch(inputs, true); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("EncodeBatch: error %v, want one about %s", err, c.want)
			}
		})
	}
	if _, err := fixture(t).PostProcess(nil, nil, true); err == nil {
		t.Error("PostProcess of nothing: no error")
	}
	if err := fixture(t).GetModel().Save(t.TempDir()); err == nil {
		t.Error("Save: no error")
	}
}

// TestLibraryRefuses: what would give other ids through the library's own Encode is
// an error there as well.
func TestLibraryRefuses(t *testing.T) {
	k := fixture(t)
	if n := k.AddSpecialTokens([]lib.AddedToken{lib.NewAddedToken("</s>", true)}); n != 0 {
		t.Errorf("%d tokens added, want 0", n)
	}
	if _, err := k.EncodeSingle("a </s> b"); err != nil {
		t.Errorf("a special token was named as special: %v", err)
	}
	k.Tokenizer.AddTokens([]lib.AddedToken{lib.NewAddedToken("<new>", false)})
	k.Tokenizer.AddSpecialTokens([]lib.AddedToken{lib.NewAddedToken("e", true)})
	for _, text := range []string{"<new>", "a <new> b", "hello"} {
		if _, err := k.Tokenizer.EncodeSingle(text); err == nil || !strings.Contains(err.Error(), "AddTokens") {
			t.Errorf("%q: error %v, want one about AddTokens", text, err)
		}
	}
	if _, err := k.Tokenizer.EncodeSingle("no such lurking"); err != nil {
		t.Errorf("a text without added tokens: %v", err)
	}
	k = fixture(t)
	k.WithNormalizer(upper{})
	if _, err := k.Tokenizer.EncodeSingle("hello"); err == nil || !strings.Contains(err.Error(), "normalizer") {
		t.Errorf("a text with a normalizer: error %v, want one about it", err)
	}
}

// upper is a normalizer that somebody might set.
type upper struct{}

func (upper) Normalize(n *normalizer.NormalizedString) (*normalizer.NormalizedString, error) {
	return n.Uppercase(), nil
}

// TestOwnPostProcessor: a program may bring its own post-processor.
func TestOwnPostProcessor(t *testing.T) {
	k := fixture(t)
	template, err := processor.NewTemplate("</s> $A </s>")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := processor.NewTemplate("$A </s> $B:1")
	if err != nil {
		t.Fatal(err)
	}
	k.WithPostProcessor(processor.NewTemplateProcessing(template, pair, processor.NewTokens([]lib.Token{{Id: 2, Value: "</s>"}})))
	k.WithTruncation(&lib.TruncationParams{MaxLength: 4})
	e, err := k.EncodeSingle("one two three four", true)
	if err != nil {
		t.Fatal(err)
	}
	plain := k.vocab.t.Encode("one two three four", false)
	if want := []int{2, int(plain[0]), int(plain[1]), 2}; !slices.Equal(e.Ids, want) {
		t.Errorf("got %v, want %v", e.Ids, want)
	}
}

func TestDecoder(t *testing.T) {
	k := fixture(t)
	d := k.GetDecoder()
	if got := d.Decode(nil); got != "" {
		t.Errorf("no tokens: %q", got)
	}
	if got := d.DecodeChain([]string{}); len(got) != 0 {
		t.Errorf("no tokens: %q", got)
	}
	for _, skip := range []bool{false, true} {
		if got := k.Decode(nil, skip) + k.Tokenizer.Decode([]int{}, skip) + k.Decode([]int{-1, 1 << 40, 511 + 1}, skip); got != "" {
			t.Errorf("no ids of the vocabulary: %q", got)
		}
	}
	e, err := k.EncodeSingle("</s>"+mixed, true)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := d.Decode(e.Tokens), "<s></s>"+mixed; got != want {
		t.Errorf("Decode: %q, want %q", got, want)
	}
	if got, want := strings.Join(d.DecodeChain(e.Tokens), ""), d.Decode(e.Tokens); got != want {
		t.Errorf("DecodeChain: %q, want %q", got, want)
	}
	// Half a character, then something that is no token.
	half := e.Tokens[slices.IndexFunc(e.Tokens, func(s string) bool { return s == "Ã" || s == "Ãī" || strings.HasPrefix(s, "ð") })]
	if got := d.Decode([]string{half, "no such token"}); !strings.HasSuffix(got, "no such token") {
		t.Errorf("a string that is no token: %q", got)
	}
}

func TestDecodeBatchKeepsOrder(t *testing.T) {
	k := fixture(t)
	var ids [][]int
	var want []string
	for i := range 200 {
		text := fmt.Sprint("text ", i)
		e, err := k.EncodeSingle(text)
		if err != nil {
			t.Fatal(err)
		}
		ids, want = append(ids, e.Ids), append(want, text)
	}
	if got := k.DecodeBatch(ids, false); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if got := k.DecodeBatch(nil, false); len(got) != 0 {
		t.Errorf("of nothing: %q", got)
	}
}

func TestVocabulary(t *testing.T) {
	k := fixture(t)
	vocab := k.GetVocab(true)
	if len(vocab) != k.GetVocabSize(true) || len(vocab) != 512 {
		t.Errorf("%d tokens, GetVocabSize %d, want 512", len(vocab), k.GetVocabSize(true))
	}
	for token, id := range vocab {
		if got, ok := k.TokenToId(token); !ok || got != id {
			t.Errorf("TokenToId(%q): %d %v, want %d", token, got, ok, id)
		}
		if got, ok := k.IdToToken(id); !ok || got != token {
			t.Errorf("IdToToken(%d): %q %v, want %q", id, got, ok, token)
		}
	}
	if _, ok := k.IdToToken(-1); ok {
		t.Error("id -1 has a token")
	}
	specials := k.GetSpecialTokens()
	slices.Sort(specials)
	if want := []string{"</s>", "<pad>", "<s>", "<|im_end|>", "<|im_start|>"}; !slices.Equal(specials, want) {
		t.Errorf("special tokens %q, want %q", specials, want)
	}
	tokens, err := k.GetModel().Tokenize("to be")
	if err != nil || len(tokens) == 0 || tokens[len(tokens)-1].Offsets[1] != len("to be") {
		t.Errorf("Tokenize: %v, %v", tokens, err)
	}
}

// TestEncodingsShareNothing: what is appended to one encoding must not show in another.
func TestEncodingsShareNothing(t *testing.T) {
	k := fixture(t)
	k.WithTruncation(&lib.TruncationParams{MaxLength: 5, Stride: 1})
	e, err := k.EncodeSingle("one two three four five six", true)
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Clone(e.Overflowing[0].Ids)
	_ = append(e.Ids, 99)
	e.Ids[len(e.Ids)-1] = 98
	e.Pad(9, 7, 0, "[PAD]", lib.Right)
	if got := e.Overflowing[0].Ids[:len(want)]; !slices.Equal(got, want) {
		t.Errorf("overflowing part changed to %v, want %v", got, want)
	}
}
