package tokenizer

import (
	"slices"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// mark is a character of a decomposed text with its combining class, and what it
// does to the text before (see change).
type mark struct {
	r      rune
	ccc    uint8
	change int32
	raw    byte // the byte itself, where r is U+FFFD for one that is not UTF-8
}

// form is a Unicode normal form with the tables of Unicode 9.0, as in Hugging
// Face's tokenizers, and without the stream-safe limit of 30 marks by which x/text
// inserts U+034F. compat also resolves compatibility characters (the K of NFKC),
// compose puts what was decomposed together again (the C).
func form(compat, compose bool) textStep {
	f := norm.NFD
	switch {
	case compat && compose:
		f = norm.NFKC
	case compat:
		f = norm.NFKD
	case compose:
		f = norm.NFC
	}
	tables, growth := norm.NFD, 3.
	if compat {
		tables, growth = norm.NFKD, 11
	}
	return textStep{growth: growth, form: true, edit: func(e *editor) {
		// What is normal in a later Unicode is normal in an earlier one as well.
		if f.IsNormalString(e.src) {
			e.copy(len(e.src))
			return
		}
		marks := decompose(e.src, tables)
		if compose {
			marks = composed(marks)
		}
		for _, m := range marks {
			s := string(m.r)
			if m.raw != 0 {
				s = string([]byte{m.raw})
			}
			if m.change > 0 {
				e.add(s)
				continue
			}
			e.take(s)
			e.dropChars(int(-m.change))
		}
	}}
}

// decompose returns the characters of s decomposed and in canonical order.
func decompose(s string, tables norm.Form) []mark {
	marks := make([]mark, 0, len(s))
	var buf [utf8.UTFMax]byte
	for i := 0; i < len(s); {
		r, n := decodeRune(s, i)
		i += n
		switch {
		case r < utf8.RuneSelf:
			marks = append(marks, mark{r: r})
			continue
		case r == utf8.RuneError && n == 1:
			marks = append(marks, mark{r: r, raw: s[i-1]})
			continue
		case trait(r)&traitAssigned9 == 0:
			marks = append(marks, mark{r: r})
			continue
		}
		p := tables.Properties(buf[:utf8.EncodeRune(buf[:], r)])
		change := int32(0)
		put := func(x rune, ccc uint8) {
			marks = append(marks, mark{r: x, ccc: ccc, change: change})
			change = 1
		}
		if r >= 0xAC00 && r <= 0xD7A3 { // Hangul syllables decompose by arithmetic
			x := r - 0xAC00
			put(0x1100+x/588, 0)
			put(0x1161+x%588/28, 0)
			if t := x % 28; t > 0 {
				put(0x11A7+t, 0)
			}
			continue
		}
		if d := p.Decomposition(); d != nil {
			for _, x := range string(d) {
				put(x, combiningClass(x))
			}
			continue
		}
		put(r, p.CCC())
	}
	// Canonical ordering: stable within each run of marks.
	for i := 0; i < len(marks); i++ {
		j := i
		for j < len(marks) && marks[j].ccc != 0 {
			j++
		}
		if j-i > 1 {
			slices.SortStableFunc(marks[i:j], func(a, b mark) int { return int(a.ccc) - int(b.ccc) })
		}
		i = j
	}
	return marks
}

// composed puts each character together with the first before it that it composes
// with, in place; what was in between stays, and comes after.
func composed(marks []mark) []mark {
	out := marks[:0]
	starter, last := -1, uint8(0)
	for _, m := range marks {
		if starter >= 0 && (last < m.ccc || last == 0 && starter == len(out)-1) {
			if c := composePair(out[starter].r, m.r); c != 0 {
				out[starter].r = c
				out[starter].change += m.change - 1
				continue
			}
		}
		out = append(out, m)
		last = m.ccc
		if m.ccc == 0 {
			starter = len(out) - 1
		}
	}
	return out
}

func combiningClass(r rune) uint8 {
	var buf [utf8.UTFMax]byte
	if r < 0x300 || trait(r)&traitAssigned9 == 0 {
		return 0
	}
	return norm.NFD.Properties(buf[:utf8.EncodeRune(buf[:], r)]).CCC()
}

// composePair returns 0 when the two do not compose.
func composePair(a, b rune) rune {
	if b < 0x300 || trait(a)&trait(b)&traitAssigned9 == 0 {
		return 0
	}
	var in [2 * utf8.UTFMax]byte
	n := utf8.EncodeRune(in[:], a)
	n += utf8.EncodeRune(in[n:], b)
	out := norm.NFC.Bytes(in[:n])
	r, k := utf8.DecodeRune(out)
	if k != len(out) || trait(r)&traitAssigned9 == 0 {
		return 0
	}
	return r
}
