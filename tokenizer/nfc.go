package tokenizer

import (
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// mark is a character of a decomposed text with its combining class.
type mark struct {
	r   rune
	ccc uint8
}

// Two pairs of Dives Akuru that compose since Unicode 13 and stay apart in 9.0.
const divesAkuruVowel, divesAkuruPair = 0x11935, 0x11938

// nfc is canonical composition with the tables of Unicode 9.0, as in Hugging
// Face's tokenizers, and without the stream-safe limit of 30 marks by which
// x/text inserts U+034F.
func nfc(s string) string {
	if norm.NFC.IsNormalString(s) {
		return s
	}
	marks := decompose(s)
	// Canonical ordering: a stable insertion sort within runs of marks.
	for i := 1; i < len(marks); i++ {
		if marks[i].ccc == 0 {
			continue
		}
		x, j := marks[i], i
		for ; j > 0 && marks[j-1].ccc > x.ccc; j-- {
			marks[j] = marks[j-1]
		}
		marks[j] = x
	}
	out := marks[:0]
	starter, last := -1, uint8(0)
	for _, m := range marks {
		if starter >= 0 && (last < m.ccc || last == 0 && starter == len(out)-1) {
			if c := composePair(out[starter].r, m.r); c != 0 {
				out[starter].r = c
				continue
			}
		}
		out = append(out, m)
		last = m.ccc
		if m.ccc == 0 {
			starter = len(out) - 1
		}
	}
	b := make([]byte, 0, len(s))
	for _, m := range out {
		b = utf8.AppendRune(b, m.r)
	}
	return string(b)
}

func decompose(s string) []mark {
	marks := make([]mark, 0, len(s))
	var buf [utf8.UTFMax]byte
	for _, r := range s {
		if r < 0xC0 || marksAfter9[r] || r == divesAkuruPair {
			marks = append(marks, mark{r, 0})
			continue
		}
		p := norm.NFD.Properties(buf[:utf8.EncodeRune(buf[:], r)])
		if d := p.Decomposition(); d != nil {
			for _, x := range string(d) {
				marks = append(marks, mark{x, combiningClass(x)})
			}
			continue
		}
		if r >= 0xAC00 && r <= 0xD7A3 { // Hangul syllables decompose by arithmetic
			x := r - 0xAC00
			marks = append(marks, mark{0x1100 + x/588, 0}, mark{0x1161 + x%588/28, 0})
			if t := x % 28; t > 0 {
				marks = append(marks, mark{0x11A7 + t, 0})
			}
			continue
		}
		marks = append(marks, mark{r, p.CCC()})
	}
	return marks
}

func combiningClass(r rune) uint8 {
	var buf [utf8.UTFMax]byte
	if r < 0x300 || marksAfter9[r] {
		return 0
	}
	return norm.NFD.Properties(buf[:utf8.EncodeRune(buf[:], r)]).CCC()
}

// composePair returns 0 when the two do not compose.
func composePair(a, b rune) rune {
	if marksAfter9[b] || a == divesAkuruVowel {
		return 0
	}
	var in [2 * utf8.UTFMax]byte
	n := utf8.EncodeRune(in[:], a)
	n += utf8.EncodeRune(in[n:], b)
	out := norm.NFC.Bytes(in[:n])
	if r, k := utf8.DecodeRune(out); k == len(out) {
		return r
	}
	return 0
}
