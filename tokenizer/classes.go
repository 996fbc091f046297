package tokenizer

import "unicode"

// Character classes as bits, for the regular expressions of pre-tokenizers.
const (
	classLetter = 1 << iota // \p{L}
	classNumber             // \p{N}
	classSpace              // \s
	classMark               // \p{M}
	classUpper              // \p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}
	classLower              // \p{Ll}\p{Lm}\p{Lo}\p{M}
	classPunct              // \p{P}
)

// classPages holds the bits of every character, in pages of 256, nil where all
// are zero: one load per character, where unicode.Is is a binary search.
var classPages = func() (pages [(unicode.MaxRune + 1) >> 8]*[256]uint8) {
	put := func(lo, hi, stride uint32, bits uint8) {
		for c := lo; c <= hi; c += stride {
			if pages[c>>8] == nil {
				pages[c>>8] = new([256]uint8)
			}
			pages[c>>8][c&255] |= bits
		}
	}
	for _, class := range []struct {
		table *unicode.RangeTable
		bits  uint8
	}{
		{unicode.Lu, classLetter | classUpper},
		{unicode.Ll, classLetter | classLower},
		{unicode.Lt, classLetter | classUpper},
		{unicode.Lm, classLetter | classUpper | classLower},
		{unicode.Lo, classLetter | classUpper | classLower},
		{unicode.M, classMark | classUpper | classLower},
		{unicode.N, classNumber},
		{unicode.P, classPunct},
		{unicode.White_Space, classSpace},
	} {
		for _, r := range class.table.R16 {
			put(uint32(r.Lo), uint32(r.Hi), uint32(r.Stride), class.bits)
		}
		for _, r := range class.table.R32 {
			put(r.Lo, r.Hi, r.Stride, class.bits)
		}
	}
	for _, r := range unicode16 {
		put(r.lo, r.hi, 1, r.bits)
	}
	return pages
}()

// class returns the class bits of r.
func class(r rune) uint8 {
	if p := classPages[uint32(r)>>8]; p != nil {
		return p[r&255]
	}
	return 0
}
