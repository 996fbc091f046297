package tokenizer

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Guard keeps what users write from becoming special tokens in a rendered prompt. Text of
// theirs is given a mark inside every special token that it spells ([Guard.Mark]); the
// template copies it to its place; and [Guard.Encode] finds added tokens only where no
// mark is inside, and drops the marks. Text without special tokens passes unchanged, and
// so do its ids. Several goroutines may use it.
type Guard struct {
	t        *Tokenizer // whose pre-tokenizers begin with the dropping of marks
	mark     string
	control  matcher // tokens with "special": true
	anything matcher // those, and the added tokens that the chat template writes
}

// guardMarks are characters for private use, of which a request will lack one.
const guardMarks = "\U000F4A01\U000F4A02\U000F4A03\U000F4A04\U000F4A05\U000F4A06\U000F4A07\U000F4A08"

// NewGuard returns a guard whose mark is not in text, or nil if there is none: which only
// somebody who wants it so brings about.
func (t *Tokenizer) NewGuard(text string) *Guard {
	for _, r := range guardMarks {
		if mark := string(r); !strings.Contains(text, mark) {
			return t.guard(mark)
		}
	}
	return nil
}

// Fits reports whether the guard can be used for a text: whether its mark is not in it.
func (g *Guard) Fits(text string) bool { return !strings.Contains(text, g.mark) }

func (t *Tokenizer) guard(mark string) *Guard {
	u := *t
	u.splits = append([]splitStep{dropMarks(mark)}, t.splits...)
	g := &Guard{t: &u, mark: mark}
	template := t.ChatTemplate()
	var control, anything []matchEntry
	for _, tok := range t.added {
		if utf8.RuneCountInString(tok.Content) < 2 {
			continue // nothing lies inside
		}
		e := matchEntry{tok.Content, tok}
		if tok.Special {
			control = append(control, e)
			anything = append(anything, e)
		} else if strings.ContainsFunc(tok.Content, unicode.IsLetter) && strings.Contains(template, tok.Content) {
			anything = append(anything, e)
		}
	}
	g.control, g.anything = newMatcher(control), newMatcher(anything)
	return g
}

// Mark marks the special tokens that text spells. With markup also added tokens that the
// chat template itself writes (the <tool_call> of some): for all but the assistant's
// turns, which hold them by right.
func (g *Guard) Mark(text string, markup bool) string {
	m := &g.control
	if markup {
		m = &g.anything
	}
	start, _, tok := m.find(text, 0)
	if tok == nil {
		return text
	}
	var b strings.Builder
	done := 0
	for tok != nil {
		_, n := utf8.DecodeRuneInString(text[start:])
		b.WriteString(text[done : start+n])
		b.WriteString(g.mark)
		done = start + n // tokens that overlap this one are marked as well
		start, _, tok = m.find(text, done)
	}
	b.WriteString(text[done:])
	return b.String()
}

// Unmark is the text without marks, as a reader should see it.
func (g *Guard) Unmark(text string) string { return strings.ReplaceAll(text, g.mark, "") }

// Encode is the style's Encode for a text with marks.
func (g *Guard) Encode(style PromptStyle, text string) []int32 { return style.Encode(g.t, text) }

// Append is Encode without what the post-processor adds, into a slice that the caller owns.
func (g *Guard) Append(dst []int32, text string) []int32 { return g.t.AppendEncode(dst, text, false) }

// dropMarks is a pre-tokenizer that takes the marks out.
func dropMarks(mark string) splitStep {
	return func(p part, emit func(part)) {
		if !strings.Contains(p.text, mark) {
			emit(p)
			return
		}
		q := part{first: p.first}
		var text strings.Builder
		for i := 0; i < len(p.text); {
			if strings.HasPrefix(p.text[i:], mark) {
				i += len(mark)
				continue
			}
			next := strings.Index(p.text[i:], mark)
			if next < 0 {
				next = len(p.text) - i
			}
			text.WriteString(p.text[i : i+next])
			if p.from != nil {
				q.from = append(q.from, p.from[i:i+next]...)
			}
			i += next
		}
		if q.text = text.String(); q.text != "" {
			emit(q)
		}
	}
}
