package tokenizer

import (
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

// addedToken is an entry of "added_tokens": a string that is cut out of the text
// before the model sees it.
type addedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"` // only between characters that are no part of a word
	StripLeft  bool   `json:"lstrip"`      // takes the spaces before it along
	StripRight bool   `json:"rstrip"`      // and those after it
	Normalized bool   `json:"normalized"`  // is looked for in the normalized text
	Special    bool   `json:"special"`     // left out by Decode(…, skipSpecial)
}

// matcher finds added tokens, leftmost first, the longest of those that begin at
// the same byte.
type matcher struct {
	entries []matchEntry // sorted by text, each text once
	first   [256]matchRange
}

type matchEntry struct {
	text string
	tok  *addedToken
}

// matchRange is a half-open range of matcher.entries.
type matchRange struct{ lo, hi int }

// newMatcher keeps the first of several entries of one text, and none without text.
func newMatcher(entries []matchEntry) matcher {
	sort.SliceStable(entries, func(i, j int) bool { return entries[i].text < entries[j].text })
	var m matcher
	for i, e := range entries {
		if e.text == "" || i > 0 && entries[i-1].text == e.text {
			continue
		}
		m.entries = append(m.entries, e)
	}
	for i, e := range m.entries {
		r := &m.first[e.text[0]]
		if r.hi == 0 {
			r.lo = i
		}
		r.hi = i + 1
	}
	return m
}

// find returns the first match at or after byte i of s; tok is nil without one.
func (m *matcher) find(s string, i int) (start, end int, tok *addedToken) {
	if len(m.entries) == 0 {
		return 0, 0, nil
	}
	for ; i < len(s); i++ {
		r := m.first[s[i]]
		if r.hi == 0 {
			continue
		}
		// The entries that share the first depth bytes with s[i:] are neighbours.
		for depth := 1; r.lo < r.hi; depth++ {
			if e := m.entries[r.lo]; len(e.text) == depth {
				tok, end = e.tok, i+depth
				r.lo++
			}
			if i+depth >= len(s) {
				break
			}
			r = m.narrow(r, depth, s[i+depth])
		}
		if tok != nil {
			return i, end, tok
		}
	}
	return 0, 0, nil
}

// narrow keeps the entries of r whose byte at depth is c; all are longer than depth.
func (m *matcher) narrow(r matchRange, depth int, c byte) matchRange {
	n := r.hi - r.lo
	lo := r.lo + sort.Search(n, func(k int) bool { return m.entries[r.lo+k].text[depth] >= c })
	hi := lo + sort.Search(r.hi-lo, func(k int) bool { return m.entries[lo+k].text[depth] > c })
	return matchRange{lo, hi}
}

// each calls f with the pieces of s in order: added tokens, and the text between
// them with a nil token. Two tokens overlap where one takes spaces along that are a
// token themselves: so it is in Hugging Face's tokenizers.
func (m *matcher) each(s string, f func(start, end int, tok *addedToken)) {
	done, from := 0, 0
	for {
		start, end, tok := m.find(s, from)
		if tok == nil {
			break
		}
		from = end
		if tok.SingleWord {
			before, _ := utf8.DecodeLastRuneInString(s[:start])
			after, _ := utf8.DecodeRuneInString(s[end:])
			if start > 0 && isWord(before) || end < len(s) && isWord(after) {
				continue
			}
		}
		if tok.StripLeft {
			start = max(done, len(strings.TrimRightFunc(s[:start], unicode.IsSpace)))
		}
		if tok.StripRight {
			end = len(s) - len(strings.TrimLeftFunc(s[end:], unicode.IsSpace))
		}
		if start > done {
			f(done, start, nil)
		}
		if start < end {
			f(start, end, tok)
		}
		done = max(done, end)
	}
	if done < len(s) {
		f(done, len(s), nil)
	}
}

func isWord(r rune) bool { return trait(r)&traitWord != 0 }
