package jinja

import (
	"errors"
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
	"unicode"
)

// textFilter is a method of str as a filter, which takes any value.
func textFilter(method string) filterFunc {
	return func(e *evaluator, v any, a callArgs) (any, error) {
		return methodOf(e.str(v), method).call(e, callArgs{pos: append(slices.Clone(a.pos), a.values...)})
	}
}

// filterTitle makes the first letter of each word upper case and the others lower;
// words begin after white space and ( { [ < -.
func filterTitle(e *evaluator, v any, _ callArgs) (any, error) {
	s := e.str(v)
	e.text(3 * len(s))
	isSep := func(r rune) bool { return isSpace(r) || strings.ContainsRune("-({[<", r) }
	var b strings.Builder
	for s != "" {
		n := strings.IndexFunc(s, func(r rune) bool { return !isSep(r) })
		if n < 0 {
			n = len(s)
		}
		b.WriteString(s[:n])
		s = s[n:]
		if n = strings.IndexFunc(s, isSep); n < 0 {
			n = len(s)
		}
		first := len(firstRunes(s[:n], 1))
		b.WriteString(upper(s[:first]) + lower(s[first:n]))
		s = s[n:]
	}
	return b.String(), nil
}

func filterCenter(e *evaluator, v any, a callArgs) (any, error) {
	width, ok := a.get(0, "width")
	if !ok {
		width = int64(80)
	}
	return methodOf(e.str(v), "center").call(e, callArgs{pos: []any{width}})
}

func filterReplace(e *evaluator, v any, a callArgs) (any, error) {
	old, _ := a.get(0, "old")
	with, _ := a.get(1, "new")
	args := callArgs{pos: []any{e.str(old), e.str(with)}}
	if count, ok := a.get(2, "count"); ok && count != nil {
		args.pos = append(args.pos, count)
	}
	return methodOf(e.str(v), "replace").call(e, args)
}

func filterEscape(e *evaluator, v any, _ callArgs) (any, error) {
	if _, ok := v.(markup); ok {
		return v, nil
	}
	return markup(e.escapeHTML(e.str(v))), nil
}

func filterFormat(e *evaluator, v any, a callArgs) (any, error) {
	if len(a.pos) > 0 && len(a.names) > 0 {
		return nil, errors.New("FilterArgumentError: can't handle positional and keyword arguments at the same time")
	}
	var values any = &Tuple{Items: a.pos}
	if len(a.names) > 0 {
		d := NewDict()
		for i, name := range a.names {
			d.Set(name, a.values[i])
		}
		values = d
	}
	if m, ok := v.(markup); ok {
		return e.arithmetic("%", m, values)
	}
	return e.percent(e.str(v), values, nil)
}

func filterIndent(e *evaluator, v any, a callArgs) (any, error) {
	prefix := "    "
	if x, ok := a.get(0, "width"); ok {
		if s, isText := plain(x).(string); isText {
			prefix = s
		} else if n, isInt := integer(x); isInt {
			prefix = e.repeat(" ", n)
		} else {
			return nil, fmt.Errorf("TypeError: can't multiply sequence by non-int of type '%s'", typeName(x))
		}
	}
	s, ok := v.(string)
	if !ok {
		if u, ok := v.(undefined); ok {
			return nil, u.err()
		}
		return nil, fmt.Errorf("TypeError: unsupported operand type(s) for +=: '%s' and 'str'", typeName(v))
	}
	first, blank := a.has(1, "first"), a.has(2, "blank")
	e.spend(8 * len(s))
	w := &textWriter{e: e}
	for i, line := range splitLines(s+"\n", false) {
		if i > 0 {
			w.write("\n")
		}
		if i == 0 && first || i > 0 && (line != "" || blank) {
			w.write(prefix)
		}
		w.write(line)
	}
	return w.b.String(), nil
}

// intArg is a whole number among arguments.
func intArg(a callArgs, pos int, name string, usual int64) (int64, error) {
	x, ok := a.get(pos, name)
	if !ok {
		return usual, nil
	}
	n, ok := integer(x)
	if !ok {
		return 0, fmt.Errorf("TypeError: %s must be a whole number, not %s", name, typeName(x))
	}
	return n, nil
}

func filterTruncate(e *evaluator, v any, a callArgs) (any, error) {
	limit, err := intArg(a, 0, "length", 255)
	if err != nil {
		return nil, err
	}
	leeway := int64(5)
	if x, ok := a.get(3, "leeway"); ok && x != nil {
		if leeway, err = intArg(a, 3, "leeway", 5); err != nil {
			return nil, err
		}
	}
	var end any = "..."
	if x, ok := a.get(2, "end"); ok {
		end = x
	}
	n, sized := length(end)
	if !sized || limit < int64(n) || leeway < 0 {
		return nil, fmt.Errorf("AssertionError: expected length >= %d and leeway >= 0, got %d and %d", n, limit, leeway)
	}
	size, sized := length(v)
	if !sized {
		return nil, fmt.Errorf("TypeError: object of type '%s' has no len()", typeName(v))
	}
	if int64(size) <= limit+leeway {
		return v, nil
	}
	text, ok := plain(v).(string)
	if !ok {
		return nil, fmt.Errorf("TypeError: truncate wants a text, not %s", typeName(v))
	}
	text = firstRunes(text, int(limit)-n)
	if i := strings.LastIndexByte(text, ' '); i >= 0 && !a.has(1, "killwords") {
		text = text[:i]
	}
	if _, ok := v.(markup); ok {
		return e.arithmetic("+", markup(text), end)
	}
	return e.arithmetic("+", text, end)
}

func filterWordCount(e *evaluator, v any, _ callArgs) (any, error) {
	n, inWord := int64(0), false
	for _, r := range e.str(v) {
		if w := isWord(r); w != inWord {
			if inWord = w; w {
				n++
			}
		}
	}
	return n, nil
}

func filterFileSize(e *evaluator, v any, a callArgs) (any, error) {
	size, err := filterFloat(e, v, callArgs{pos: []any{nil}})
	f, ok := size.(float64)
	if err != nil || !ok {
		return nil, fmt.Errorf("ValueError: could not convert %s to float", typeName(v))
	}
	base, suffix := 1000.0, "B"
	units := "kMGTPEZY"
	if a.has(0, "binary") {
		base, suffix, units = 1024, "iB", "KMGTPEZY"
	}
	switch {
	case f == 1:
		return "1 Byte", nil
	case f < base:
		return fmt.Sprintf("%d Bytes", int64(f)), nil
	}
	unit := base
	for i := range units {
		unit *= base
		if f < unit || i == len(units)-1 {
			return floatDigits(base*f/unit, 'f', 1, false) + " " + units[i:i+1] + suffix, nil
		}
	}
	return nil, errOverflow
}

func urlQuote(s string, query bool) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("_.-~", c) >= 0, c == '/' && !query:
			b.WriteByte(c)
		case c == ' ' && query:
			b.WriteByte('+')
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func filterURLEncode(e *evaluator, v any, _ callArgs) (any, error) {
	s, isText := v.(string)
	if !isText {
		items, err := e.iterate(v)
		if err != nil { // nothing to iterate over
			s, isText = e.str(v), true
		} else {
			if d, ok := v.(*Dict); ok {
				items = d.items()
			}
			w := &textWriter{e: e}
			for i, item := range items {
				pair, err := e.iterate(item)
				if err != nil || len(pair) != 2 {
					return nil, errors.New("ValueError: urlencode wants pairs of key and value")
				}
				if i > 0 {
					w.write("&")
				}
				w.write(urlQuote(e.str(pair[0]), true) + "=" + urlQuote(e.str(pair[1]), true))
			}
			return w.b.String(), nil
		}
	}
	e.text(3 * len(s))
	return urlQuote(s, false), nil
}

func filterXMLAttr(e *evaluator, v any, a callArgs) (any, error) {
	d, ok := v.(*Dict)
	if !ok {
		return nil, fmt.Errorf("TypeError: xmlattr wants a mapping, not %s", typeName(v))
	}
	w := &textWriter{e: e}
	for i, k := range d.keys {
		if _, none := d.values[i].(undefined); none || d.values[i] == nil {
			continue
		}
		key, ok := plain(k).(string)
		if !ok {
			return nil, fmt.Errorf("TypeError: expected string or bytes-like object, got '%s'", typeName(k))
		}
		if strings.ContainsAny(key, " \t\n\r\f\v/>=") {
			return nil, fmt.Errorf("ValueError: Invalid character in attribute name: %s", quote(key))
		}
		value, ok := e.escaped(d.values[i])
		if !ok {
			value = e.escapeHTML(e.str(d.values[i]))
		}
		if x, given := a.get(0, "autospace"); w.b.Len() > 0 || !given || truthy(x) {
			w.write(" ")
		}
		w.write(e.escapeHTML(key) + `="` + value + `"`)
	}
	return w.b.String(), nil
}

// stripTags is MarkupSafe's striptags.
func stripTags(e *evaluator, s string) string {
	e.text(len(s))
	var b strings.Builder
	for {
		start := strings.IndexByte(s, '<')
		if start < 0 {
			break
		}
		n := -1
		if strings.HasPrefix(s[start:], "<!--") {
			if n = strings.Index(s[start+4:], "-->"); n >= 0 {
				n += start + 7
			}
		} else if n = strings.IndexByte(s[start:], '>'); n >= 0 {
			n += start + 1
		}
		if n < 0 {
			break
		}
		b.WriteString(s[:start])
		s = s[n:]
	}
	b.WriteString(s)
	return unescapeHTML(e, strings.Join(strings.FieldsFunc(b.String(), isSpace), " "))
}

func unescapeHTML(e *evaluator, s string) string {
	e.text(len(s))
	return html.UnescapeString(s)
}

func filterWordWrap(e *evaluator, v any, a callArgs) (any, error) {
	s, ok := v.(string)
	if !ok {
		if u, ok := v.(undefined); ok {
			return nil, u.err()
		}
		return nil, fmt.Errorf("AttributeError: '%s' object has no attribute 'splitlines'", typeName(v))
	}
	width, err := intArg(a, 0, "width", 79)
	if err != nil {
		return nil, err
	}
	breakLong, hyphens := true, true
	if x, ok := a.get(1, "break_long_words"); ok {
		breakLong = truthy(x)
	}
	if x, ok := a.get(3, "break_on_hyphens"); ok {
		hyphens = truthy(x)
	}
	newline := "\n"
	if x, ok := a.get(2, "wrapstring"); ok && x != nil {
		newline = e.str(x)
	}
	e.spend(64 * len(s))
	w := &textWriter{e: e}
	for i, line := range splitLines(s, false) {
		if width <= 0 && strings.Trim(line, textwrapSpace) != "" {
			return nil, fmt.Errorf("ValueError: invalid width %d (must be > 0)", width)
		}
		if i > 0 {
			w.write(newline)
		}
		for k, wrapped := range wrap(line, int(min(width, math.MaxInt32)), breakLong, hyphens) {
			if k > 0 {
				w.write(newline)
			}
			w.write(wrapped)
		}
	}
	return w.b.String(), nil
}

// textwrapSpace is the white space of Python's textwrap.
const textwrapSpace = "\t\n\v\f\r "

// wrap is textwrap.wrap of one line.
func wrap(line string, width int, breakLong, hyphens bool) (lines []string) {
	chunks := wrapChunks(line, hyphens)
	for len(chunks) > 0 {
		if len(lines) > 0 && strings.Trim(chunks[0], textwrapSpace) == "" {
			chunks = chunks[1:]
			if len(chunks) == 0 {
				break
			}
		}
		var row []string
		size := 0
		for len(chunks) > 0 && size+runeCount(chunks[0]) <= width {
			row, size, chunks = append(row, chunks[0]), size+runeCount(chunks[0]), chunks[1:]
		}
		if len(chunks) > 0 && runeCount(chunks[0]) > width { // a word longer than a line
			space := max(1, width-size)
			switch {
			case breakLong:
				cut := firstRunes(chunks[0], space)
				if k := strings.LastIndexByte(cut, '-'); hyphens && runeCount(chunks[0]) > space && k > 0 && strings.Trim(cut[:k], "-") != "" {
					cut = cut[:k+1]
				}
				row, chunks[0] = append(row, cut), chunks[0][len(cut):]
				if chunks[0] == "" {
					chunks = chunks[1:]
				}
			case len(row) == 0:
				row, chunks = append(row, chunks[0]), chunks[1:]
			}
		}
		if n := len(row); n > 0 && strings.Trim(row[n-1], textwrapSpace) == "" {
			row = row[:n-1]
		}
		if len(row) > 0 {
			lines = append(lines, strings.Join(row, ""))
		}
	}
	return lines
}

// wrapChunks splits a line where textwrap may break it: around white space, and with
// hyphens after those within words and around dashes of two and more.
func wrapChunks(line string, hyphens bool) (chunks []string) {
	isSep := func(r rune) bool { return strings.ContainsRune(textwrapSpace, r) }
	for line != "" {
		r := []rune(line[:1])[0]
		n := strings.IndexFunc(line, func(r rune) bool { return !isSep(r) })
		if !isSep(r) {
			n = strings.IndexFunc(line, isSep)
		}
		if n < 0 {
			n = len(line)
		}
		word := line[:n]
		line = line[n:]
		if isSep(r) || !hyphens {
			chunks = append(chunks, word)
			continue
		}
		chunks = append(chunks, hyphenChunks(word)...)
	}
	return chunks
}

// hyphenChunks splits a word after hyphens between letters (two before, one letter
// or digit after), and around dashes.
func hyphenChunks(word string) (chunks []string) {
	r := []rune(word)
	start := 0
	letter := func(i int) bool { return i >= 0 && i < len(r) && isWord(r[i]) && !unicode.IsDigit(r[i]) }
	inWord := func(i int) bool {
		return i >= 0 && i < len(r) && (isWord(r[i]) || strings.ContainsRune(`!"'&.,?`, r[i]))
	}
	for i := 0; i < len(r); i++ {
		if r[i] != '-' {
			continue
		}
		end := i
		for end < len(r) && r[end] == '-' {
			end++
		}
		switch {
		case end-i >= 2 && inWord(i-1) && end < len(r) && isWord(r[end]): // a dash between words
			if i > start {
				chunks = append(chunks, string(r[start:i]))
			}
			chunks = append(chunks, string(r[i:end]))
			start = end
		case end-i == 1 && (letter(i-1) && letter(i-2) || letter(i-1) && i-2 >= 0 && r[i-2] == '-' && letter(i-3)) && letter(i+1) && (letter(i+2) || i+2 < len(r) && r[i+2] == '-' && letter(i+3)):
			chunks = append(chunks, string(r[start:end]))
			start = end
		}
		i = end - 1
	}
	if start < len(r) {
		chunks = append(chunks, string(r[start:]))
	}
	return chunks
}
