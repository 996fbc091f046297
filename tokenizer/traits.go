package tokenizer

import (
	"sort"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// Traits of characters as bits. Each is as old as the Unicode tables of the code
// that decides it in Hugging Face's tokenizers, which is why they are not those of
// classes.go or of Go's unicode package.
const (
	traitNumeric    = 1 << iota // Digits
	traitPunct                  // Punctuation, BertPreTokenizer
	traitWord                   // Whitespace, single_word
	traitControl                // BertNormalizer's clean_text
	traitNonspacing             // BertNormalizer's strip_accents
	traitCombining              // StripAccents
	traitAssigned9              // the normal forms
)

// traitPages holds the bits of every character, in pages of 256, nil where all are
// zero.
var traitPages = func() (pages [(unicode.MaxRune + 1) >> 8]*[256]uint8) {
	for _, t := range []struct {
		chars string
		bit   uint8
	}{
		{numericChars, traitNumeric},
		{punctuationChars, traitPunct},
		{wordChars, traitWord},
		{controlChars, traitControl},
		{nonspacingChars, traitNonspacing},
		{combiningChars, traitCombining},
		{assigned9Chars, traitAssigned9},
	} {
		eachRange(t.chars, func(lo, hi rune, _ int) {
			for c := lo; c <= hi; c++ {
				if pages[c>>8] == nil {
					pages[c>>8] = new([256]uint8)
				}
				pages[c>>8][c&255] |= t.bit
			}
		})
	}
	return pages
}()

// trait returns the bits of r.
func trait(r rune) uint8 {
	if p := traitPages[uint32(r)>>8]; p != nil {
		return p[r&255]
	}
	return 0
}

// has returns a test for bits.
func has(bits uint8) func(rune) bool {
	return func(r rune) bool { return trait(r)&bits != 0 }
}

// eachRange reads a table of unicode_tables.go: words of up to three numbers in
// base 36, which are the characters left out, those after the first, and a value.
func eachRange(table string, f func(lo, hi rune, value int)) {
	at := rune(0)
	for _, word := range strings.Fields(table) {
		var n [3]int64
		for i, digits := range strings.SplitN(word, ",", 3) {
			n[i], _ = strconv.ParseInt(digits, 36, 32) // the generator wrote it
		}
		lo := at + rune(n[0])
		hi := lo + rune(n[1])
		f(lo, hi, int(n[2]))
		at = hi + 1
	}
}

// scriptRange is a run of characters of one script.
type scriptRange struct {
	lo, hi rune
	script int
}

var scriptRanges = sync.OnceValue(func() (ranges []scriptRange) {
	eachRange(scriptChars, func(lo, hi rune, script int) {
		ranges = append(ranges, scriptRange{lo, hi, script})
	})
	return ranges
})

// anyScript is the script of a space and of what has none.
const anyScript = -1

// scriptOf returns the number of the script of r in the table.
func scriptOf(r rune) int {
	ranges := scriptRanges()
	i := sort.Search(len(ranges), func(i int) bool { return ranges[i].hi >= r })
	if i < len(ranges) && ranges[i].lo <= r {
		return ranges[i].script
	}
	return anyScript
}

// lowered returns the lower case of r as Rust has it: one character for each but
// U+0130, whose second is returned as well.
func lowered(r rune) (lower, second rune) {
	switch {
	case r < utf8.RuneSelf:
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r, 0
	case r == 0x130:
		return 'i', 0x307
	}
	if l, ok := newLower[r]; ok {
		return l, 0
	}
	return unicode.ToLower(r), 0
}

// isHan is BertNormalizer's idea of a Chinese character, its blocks written out.
func isHan(r rune) bool {
	return r >= 0x4E00 && r <= 0x9FFF || r >= 0x3400 && r <= 0x4DBF ||
		r >= 0x20000 && r <= 0x2A6DF || r >= 0x2A700 && r <= 0x2B73F || r >= 0x2B740 && r <= 0x2B81F ||
		r >= 0x2B920 && r <= 0x2CEAF || r >= 0xF900 && r <= 0xFAFF || r >= 0x2F800 && r <= 0x2FA1F
}
