// Package training learns byte-level BPE vocabularies from text.
//
// Count splits text into words, as the pre-tokenizer does, and counts them on many
// cores; Words.Learn merges the most frequent pair of neighbours again and again;
// Vocab.JSON is the tokenizer.json. The vocabulary and the merges are those that
// Hugging Face's BpeTrainer learns from the same text with the same settings,
// whatever the number of threads: testdata holds vocabularies made with it.
//
// It does not encode text; package tokenizer reads what is written here. It trains
// no other kind of model.
package training

import (
	"fmt"
	"unicode/utf8"
)

// Splitter cuts text into words; no token crosses the end of a word. safeCut says
// what it must keep to.
type Splitter struct {
	Pattern string // the regular expression, as in tokenizer.json; GPT2 writes itself differently
	GPT2    bool   // Pattern is GPT-2's, which ByteLevel splits with by itself
	Next    func(text string, i int) int
}

// Config says what to learn and how. The zero value of a field is "absent".
type Config struct {
	Splitter     Splitter
	VocabSize    int      // ids, bytes and special tokens included
	MinFrequency int64    // a pair that occurs less often is not merged; 0 is 1
	Special      []string // special tokens; they get the first ids

	// ByLine splits every line by itself, with the line break at its end. So do
	// Hugging Face's Tokenizer.train(files) and the tools on top of it; encoding a
	// text does not, so that words of several line breaks are never learned.
	ByLine  bool
	TextKey string // key of the text in the records of .jsonl files; "": they are plain text
	Threads int    // goroutines that count; 0 is 1

	// Memory bounds the table of words, in bytes: of all threads while counting (the
	// rest waits in files in TempDir), and again while merging (the rarest words are
	// left out, which Stats tells). 0 is DefaultMemory. The program as a whole takes
	// up to about half as much again.
	Memory  int64
	TempDir string // "" is the system's

	blockSize, maxBlock int // bytes of text handed to a thread; 0 is 1 MiB and 256 MiB; tests take less
}

// DefaultMemory is 4 GiB: all words of some 20 GB of English.
const DefaultMemory = 4 << 30

// Minimum returns the smallest VocabSize: the special tokens and a token for every
// byte.
func (c Config) Minimum() int { return len(newAlphabet(c.Special).texts) }

// Check reports special tokens that cannot be and a vocabulary that is too small.
func (c Config) Check() error {
	seen := map[string]bool{}
	for _, s := range c.Special {
		switch {
		case s == "":
			return fmt.Errorf("special_tokens: one is empty")
		case !utf8.ValidString(s):
			return fmt.Errorf("special_tokens: %q is not UTF-8", s)
		case seen[s]:
			return fmt.Errorf("special_tokens: %q is given twice", s)
		}
		seen[s] = true
	}
	if n := c.Minimum(); c.VocabSize < n {
		return fmt.Errorf("vocab_size %d is too small: 256 bytes and %d special tokens want %d at least", c.VocabSize, len(c.Special), n)
	}
	return nil
}

// Stats are what Count saw.
type Stats struct {
	Files, Documents int64
	Bytes            int64 // of text, as UTF-8
	Words, Distinct  int64
	Spilled          int64 // bytes of tables that did not fit into memory

	// Broken counts the ill-formed parts of the text, each of which is one U+FFFD as in
	// Python's open(errors="replace"); BrokenFiles the files that have some.
	Broken, BrokenFiles int64

	// Forced counts the places where text was cut, for want of a better one in
	// 256 MiB, where the splitter might not have.
	Forced int64

	// Words that occur less than MinCount times were left out since there was no memory
	// for them: that many different ones, and that many in all.
	MinCount, PrunedDistinct, PrunedWords int64
}
