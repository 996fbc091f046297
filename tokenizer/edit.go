package tokenizer

import "unicode/utf8"

// origin is where a byte of a normalized text comes from: a range of bytes of the
// text given, which is that of a whole character.
type origin struct{ start, end int }

// identity returns the origins of a text that nothing has changed: each byte comes
// from its character. base is added to all.
func identity(s string, base int) []origin {
	from := make([]origin, 0, len(s))
	for i := 0; i < len(s); {
		_, n := decodeRune(s, i)
		for range n {
			from = append(from, origin{base + i, base + i + n})
		}
		i += n
	}
	return from
}

// An editor rewrites a text from front to back and keeps the origins of its bytes,
// if they are asked for, by the rules of Hugging Face's NormalizedString: a
// character that takes the place of another has its origin, one that is added has
// the origin of the one before it. The rules decide what offsets a token has, so
// each normalizer says in these terms what Hugging Face's does, odd as it may be.
//
// A "character" is one byte where the text is not UTF-8.
type editor struct {
	src     string
	srcFrom []origin // nil: origins are not kept
	base    int      // where in the text given src begins
	at      int      // bytes of src that are done with
	out     []byte
	from    []origin
}

// next returns the character at the editor's place; "" at the end.
func (e *editor) next() string {
	if e.at >= len(e.src) {
		return ""
	}
	_, n := decodeRune(e.src, e.at)
	return e.src[e.at : e.at+n]
}

// copy keeps the next n bytes as they are.
func (e *editor) copy(n int) {
	e.out = append(e.out, e.src[e.at:e.at+n]...)
	if e.srcFrom != nil {
		e.from = append(e.from, e.srcFrom[e.at:e.at+n]...)
	}
	e.at += n
}

// take puts s in the place of the next character.
func (e *editor) take(s string) {
	e.out = append(e.out, s...)
	e.taken(len(s))
}

// add puts s after what was done last.
func (e *editor) add(s string) {
	e.out = append(e.out, s...)
	e.added(len(s))
}

// takeRune is take for one character.
func (e *editor) takeRune(r rune) {
	before := len(e.out)
	e.out = utf8.AppendRune(e.out, r)
	e.taken(len(e.out) - before)
}

// addRune is add for one character.
func (e *editor) addRune(r rune) {
	before := len(e.out)
	e.out = utf8.AppendRune(e.out, r)
	e.added(len(e.out) - before)
}

// taken notes that n bytes took the place of the next character.
func (e *editor) taken(n int) {
	if e.srcFrom != nil {
		o := origin{}
		switch {
		case e.at < len(e.srcFrom):
			o = e.srcFrom[e.at]
		case len(e.srcFrom) > 0:
			o = e.srcFrom[len(e.srcFrom)-1]
		}
		e.mark(n, o)
	}
	e.at += len(e.next())
}

// added notes that n bytes were added.
func (e *editor) added(n int) {
	switch {
	case e.srcFrom == nil:
	case e.at > 0:
		e.mark(n, e.srcFrom[e.at-1])
	default: // nothing is before them
		e.mark(n, origin{e.base, e.base})
	}
}

// drop leaves the next n bytes out.
func (e *editor) drop(n int) { e.at = min(e.at+n, len(e.src)) }

// dropChars leaves the next n characters out.
func (e *editor) dropChars(n int) {
	for ; n > 0 && e.at < len(e.src); n-- {
		e.at += len(e.next())
	}
}

func (e *editor) mark(n int, o origin) {
	for range n {
		e.from = append(e.from, o)
	}
}

// change is a character of a new text and what it does to the old one: 1, it was
// added; 0, it takes the place of the next; -n, it also removes n after that.
type change struct {
	out string
	n   int
}

// apply makes changes, in the terms of Hugging Face's transform.
func (e *editor) apply(changes []change) {
	for _, c := range changes {
		if c.n > 0 {
			e.add(c.out)
			continue
		}
		e.take(c.out)
		e.dropChars(-c.n)
	}
}

// edit is a normalizer: it reads all of e.src.
type edit func(e *editor)

// text runs f on s and returns the result.
func (f edit) text(s string) string {
	e := editor{src: s, out: make([]byte, 0, len(s)+len(s)/8)}
	f(&e)
	return string(e.out)
}

// aligned runs f on s, which begins at base of the text given and whose bytes come
// from from.
func (f edit) aligned(s string, from []origin, base int) (string, []origin) {
	if from == nil {
		from = []origin{}
	}
	e := editor{src: s, srcFrom: from, base: base, out: make([]byte, 0, len(s)), from: make([]origin, 0, len(s))}
	f(&e)
	return string(e.out), e.from
}

// mapChars is a normalizer that puts what f returns in the place of each
// character. The first of it takes its place, the others are added.
func mapChars(f func(r rune) (keep bool, first, second rune)) edit {
	return func(e *editor) {
		for e.at < len(e.src) {
			r, n := decodeRune(e.src, e.at)
			if r == utf8.RuneError && n == 1 { // not UTF-8: stays
				e.copy(1)
				continue
			}
			keep, first, second := f(r)
			switch {
			case !keep:
				e.drop(n)
			case first == r && second == 0:
				e.copy(n)
			default:
				e.takeRune(first)
				if second != 0 {
					e.addRune(second)
				}
			}
		}
	}
}

// filter is a normalizer that leaves characters out.
func filter(drop func(rune) bool) edit {
	return mapChars(func(r rune) (bool, rune, rune) { return !drop(r), r, 0 })
}

// rewriteEdit makes a normalizer of a rewrite, as Hugging Face's Precompiled does:
// characters correspond one to one from the front; what is left over is added
// after, or removed together with, the last.
func rewriteEdit(f rewrite) edit {
	return func(e *editor) {
		var changes []change
		pos := 0
		f(e.src, func(out string, n int) {
			n = min(n, len(e.src)-pos)
			old := e.src[pos : pos+n]
			pos += n
			diff := charCount(out) - charCount(old)
			from := len(changes)
			for i := 0; i < len(out); {
				_, k := decodeRune(out, i)
				changes = append(changes, change{out[i : i+k], 0})
				i += k
			}
			for i := max(from, len(changes)-diff); diff > 0 && i < len(changes); i++ {
				changes[i].n = 1
			}
			if diff < 0 && len(changes) > 0 {
				changes[len(changes)-1].n += diff
			}
		})
		e.apply(changes)
	}
}

func charCount(s string) int {
	n := 0
	for i := 0; i < len(s); n++ {
		_, k := decodeRune(s, i)
		i += k
	}
	return n
}
