package repl

import "strings"

// markdown shows Markdown on a terminal while it is written: code in a colour, bold words and headings bold. It only adds
// escape sequences: every character is shown, also the marks, so that nothing can be lost and text is copied as it was.
type markdown struct {
	lead    bool // only indentation and marks so far in this line
	started bool
	ticks   int  // back-quotes at the line's beginning
	hashes  int  // of a heading
	fence   bool // in a code block
	opened  bool // by this line
	closing bool // by this line
	code    bool // inline
	bold    bool
	heading bool
	star    bool // the last character was one, outside of code
}

const (
	styleOff  = "\x1b[0m"
	styleBold = "\x1b[1m"
	styleCode = "\x1b[36m"
)

// write gives text with styles. It may end anywhere.
func (m *markdown) write(text string) string {
	var out strings.Builder
	for _, r := range text {
		if !m.started {
			m.started, m.lead = true, true
		}
		if r == '\n' {
			m.newline(&out)
			out.WriteRune(r)
			continue
		}
		if m.lead && m.mark(r, &out) {
			continue
		}
		switch {
		case m.opened && r == '`': // text behind it, so it is no block: ```code```
			out.WriteRune(r)
			m.fence, m.opened = false, false
			m.apply(&out)
		case m.fence:
			m.closing = m.closing && r == ' '
			out.WriteRune(r)
		case r == '`':
			if m.code = !m.code; m.code {
				m.apply(&out)
				out.WriteRune(r)
			} else {
				out.WriteRune(r)
				m.apply(&out)
			}
		case r == '*' && m.star && !m.code:
			m.star = false
			m.bold = !m.bold
			out.WriteRune(r)
			m.apply(&out)
			continue
		default:
			out.WriteRune(r)
		}
		m.star = r == '*' && !m.code && !m.fence
	}
	return out.String()
}

// mark takes a character of a line's beginning; false: the beginning is over, the character is text.
func (m *markdown) mark(r rune, out *strings.Builder) bool {
	switch {
	case r == ' ' && m.ticks == 0 && m.hashes == 0:
	case r == '`' && m.hashes == 0:
		if m.ticks++; m.ticks == 3 {
			m.closing, m.opened = m.fence, !m.fence
			m.fence = true
			if m.opened {
				out.WriteRune(r)
				m.apply(out)
				return true
			}
		}
	case r == '#' && m.ticks == 0 && !m.fence:
		m.hashes++
	default:
		m.lead = false
		if m.ticks == 1 && !m.fence {
			m.code = true
			m.apply(out)
		}
		if m.hashes > 0 && m.hashes <= 6 && r == ' ' {
			m.heading = true
			m.apply(out)
		}
		return false
	}
	out.WriteRune(r)
	return true
}

// newline ends what ends with a line.
func (m *markdown) newline(out *strings.Builder) {
	styled := m.code || m.bold || m.heading
	fence := m.fence && !m.closing
	if styled || m.fence != fence {
		out.WriteString(styleOff)
	}
	*m = markdown{started: true, lead: true, fence: fence}
}

// apply switches to the styles of the state.
func (m *markdown) apply(out *strings.Builder) {
	out.WriteString(styleOff)
	if m.bold || m.heading {
		out.WriteString(styleBold)
	}
	if m.code || m.fence {
		out.WriteString(styleCode)
	}
}

// end ends a text, and gives what switches its styles off.
func (m *markdown) end() string {
	styled := m.code || m.bold || m.heading || m.fence
	*m = markdown{}
	if styled {
		return styleOff
	}
	return ""
}
