package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// spmNormalizer is the normalizer of SentencePiece (normalizer.cc).
type spmNormalizer struct {
	charsmap *charsmap // nil: none
	user     *byteTrie // user-defined pieces, which stay as they are; nil: none
	prefix   bool      // a space before the text
	merge    bool      // one space for several, none at the ends
	space    string    // what stands for a space
}

// next rewrites the front of s, and says how many bytes that is: a user-defined
// piece, the longest key of the map, a character, or one byte that is no UTF-8.
func (n *spmNormalizer) next(s string) (out string, size int) {
	if n.user != nil {
		if k, _ := n.user.longest(s); k > 0 {
			return s[:k], k
		}
	}
	if n.charsmap != nil {
		if out, k := n.charsmap.find(s, true); k > 0 {
			return out, k
		}
	}
	r, k := decodeRune(s, 0)
	if r == utf8.RuneError && k == 1 {
		return "\uFFFD", 1
	}
	return s[:k], k
}

// rewrite implements rewrite.
func (n *spmNormalizer) rewrite(s string, emit func(out string, n int)) {
	i := 0
	if n.merge { // spaces at the front
		for i < len(s) {
			out, k := n.next(s[i:])
			if out != " " {
				break
			}
			emit("", k)
			i += k
		}
	}
	if i == len(s) {
		return
	}
	if n.prefix {
		emit(n.space, 0)
	}
	var held []emitted // ends with spaces that may be the end of the text
	flush := func() {
		for _, h := range held {
			emit(h.out, h.n)
		}
		held = held[:0]
	}
	afterSpace := n.merge
	for i < len(s) {
		out, k := n.next(s[i:])
		i += k
		for afterSpace && strings.HasPrefix(out, " ") {
			out = out[1:]
		}
		if out != "" {
			afterSpace = n.merge && strings.HasSuffix(out, " ")
			if n.space != " " && strings.Contains(out, " ") {
				out = strings.ReplaceAll(out, " ", n.space)
			}
		}
		if !n.merge {
			emit(out, k)
			continue
		}
		if strings.Trim(out, n.space) != "" {
			flush()
		}
		if len(held) > 0 || strings.HasSuffix(out, n.space) {
			held = append(held, emitted{out, k})
		} else {
			emit(out, k)
		}
	}
	for i := len(held) - 1; i >= 0; i-- {
		trimmed := held[i].out
		for strings.HasSuffix(trimmed, n.space) {
			trimmed = strings.TrimSuffix(trimmed, n.space)
		}
		held[i].out = trimmed
		if trimmed != "" {
			break
		}
	}
	flush()
}

// emitted is one emit of a rewrite that waits.
type emitted struct {
	out string
	n   int
}
