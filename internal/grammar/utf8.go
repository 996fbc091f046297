package grammar

import (
	"sort"
	"unicode"
	"unicode/utf8"
)

// runeRange is an inclusive range of characters.
type runeRange struct{ lo, hi rune }

const (
	firstSurrogate = 0xD800
	lastSurrogate  = 0xDFFF
)

// anyRune is every character; surrogates are none, and UTF-8 does not have them.
var anyRune = []runeRange{{0, firstSurrogate - 1}, {lastSurrogate + 1, unicode.MaxRune}}

// normal sorts ranges, joins those that touch and leaves surrogates out.
func normal(in []runeRange) []runeRange {
	var cut []runeRange
	for _, r := range in {
		if r.hi < firstSurrogate || r.lo > lastSurrogate {
			cut = append(cut, r)
			continue
		}
		cut = append(cut, runeRange{r.lo, firstSurrogate - 1}, runeRange{lastSurrogate + 1, r.hi})
	}
	sort.Slice(cut, func(i, j int) bool { return cut[i].lo < cut[j].lo })
	var out []runeRange
	for _, r := range cut {
		if r.lo > r.hi {
			continue
		}
		if n := len(out); n > 0 && r.lo <= out[n-1].hi+1 {
			out[n-1].hi = max(out[n-1].hi, r.hi)
			continue
		}
		out = append(out, r)
	}
	return out
}

// without returns the characters that are not in ranges.
func without(ranges []runeRange) []runeRange {
	var out []runeRange
	next := rune(0)
	for _, r := range normal(ranges) {
		if r.lo > next {
			out = append(out, runeRange{next, r.lo - 1})
		}
		next = r.hi + 1
	}
	if next <= unicode.MaxRune {
		out = append(out, runeRange{next, unicode.MaxRune})
	}
	return normal(out)
}

// class is the expression of one character of ranges, in UTF-8.
func class(ranges []runeRange) *node {
	ranges = normal(ranges)
	if len(ranges) == 1 && ranges[0].hi < utf8.RuneSelf {
		return bytesIn(byte(ranges[0].lo), byte(ranges[0].hi))
	}
	var ways []*node
	for _, r := range ranges {
		splitUTF8(r.lo, r.hi, func(lo, hi []byte) {
			var s []*node
			for i := range lo {
				s = append(s, bytesIn(lo[i], hi[i]))
			}
			ways = append(ways, seq(s...))
		})
	}
	if len(ways) <= 4 {
		return alt(ways...)
	}
	d, err := determinize(alt(ways...), &limits{})
	if err != nil { // 1,114,112 characters fit
		return nothing
	}
	return auto(d.minimal())
}

// splitUTF8 cuts a range into parts whose encodings are all combinations of a
// range for each byte.
func splitUTF8(lo, hi rune, emit func(lo, hi []byte)) {
	for _, last := range []rune{0x7F, 0x7FF, 0xFFFF} {
		if lo <= last && hi > last {
			splitUTF8(lo, last, emit)
			splitUTF8(last+1, hi, emit)
			return
		}
	}
	for i := 1; i < utf8.RuneLen(lo); i++ {
		m := rune(1)<<(6*i) - 1
		if lo&^m == hi&^m {
			continue
		}
		if lo&m != 0 {
			splitUTF8(lo, lo|m, emit)
			splitUTF8(lo|m+1, hi, emit)
			return
		}
		if hi&m != m {
			splitUTF8(lo, hi&^m-1, emit)
			splitUTF8(hi&^m, hi, emit)
			return
		}
	}
	emit(utf8.AppendRune(nil, lo), utf8.AppendRune(nil, hi))
}
