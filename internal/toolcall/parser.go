package toolcall

import (
	"crypto/rand"
	"strings"
)

// Delta is a piece of an answer: of its text, or of a call.
type Delta struct {
	Text string

	Call      bool   // a piece of a call: what follows counts, and Text is ""
	Index     int    // of the call in the answer
	ID, Name  string // in a call's first delta only
	Arguments string // a piece of their JSON text
}

// Parser finds calls in an answer that comes piece by piece. What may be part of a call is withheld until that is decided;
// what turns out to be none is text, unchanged. White space beside calls is not text. One goroutine uses it at a time.
type Parser struct {
	// NewID makes the id of a call; nil: a random one.
	NewID func() string

	syntax *syntax
	known  map[string]bool // names of the tools
	state  func(*Parser, byte)
	out    []Delta

	text  []byte // to be given out, of an answer's text or a call's arguments
	space []byte // is given out when text follows
	held  []byte // may be part of a call
	wrote bool   // text that is no space, since the beginning or the last call
	calls int    // that were begun

	marked  bool   // a mark came before what is read now, so it is a call even without a tool of its name
	fenced  bool   // it stands in a code fence
	list    bool   // it stands in a list
	listed  int    // calls of the list so far
	open    bool   // a call is given out that is not complete
	code    bool   // Python is read
	object  object // that is read
	value   value  // the arguments behind [ARGS]
	name    []byte // before [ARGS]
	closing []byte // may be part of the mark that ends a call
	ticks   int    // of a code fence that is text, in a row
}

// Parser returns one for an answer to a conversation with these tools.
func (f *Format) Parser(tools []Tool) *Parser {
	p := &Parser{syntax: f.syntax, state: (*Parser).inText, known: map[string]bool{}}
	for _, t := range tools {
		p.known[t.Name] = true
	}
	return p
}

// Push takes the next piece of the answer, which may end anywhere, and returns what is certain by then.
func (p *Parser) Push(piece string) []Delta {
	p.out = nil
	for i := range len(piece) {
		p.state(p, piece[i])
	}
	p.give()
	return p.out
}

// Flush ends the answer and returns what was withheld.
func (p *Parser) Flush() []Delta {
	p.out = nil
	switch {
	case p.open: // what is no mark is part of the arguments
		p.text = append(p.text, p.closing...)
	case p.code && p.python():
	case len(p.held) > 0:
		p.write(p.held)
	case p.calls == 0 || p.wrote:
		p.write(nil)
	}
	p.give()
	p.held, p.space, p.closing, p.open, p.code = nil, nil, nil, false, false
	p.state = (*Parser).inText
	return p.out
}

// Calls is how many calls the answer has so far.
func (p *Parser) Calls() int { return p.calls }

// give gives out the text or arguments that were written.
func (p *Parser) give() {
	if len(p.text) == 0 {
		return
	}
	s := string(p.text)
	p.text = p.text[:0]
	n := len(p.out)
	switch {
	case !p.open:
		p.out = append(p.out, Delta{Text: s})
	case n > 0 && p.out[n-1].Call:
		p.out[n-1].Arguments = s
	default:
		p.out = append(p.out, Delta{Call: true, Index: p.calls - 1, Arguments: s})
	}
}

// write writes text of the answer, and the white space before it.
func (p *Parser) write(b []byte) {
	p.text = append(append(p.text, p.space...), b...)
	p.space = p.space[:0]
	p.wrote = p.wrote || len(b) > 0
}

// begin gives out a call; its arguments are appended to p.text.
func (p *Parser) begin(name string) {
	p.give()
	id := ""
	if p.NewID != nil {
		id = p.NewID()
	} else {
		id = p.syntax.newID()
	}
	p.out = append(p.out, Delta{Call: true, Index: p.calls, ID: id, Name: name})
	p.calls++
	p.listed++
	p.held, p.space, p.open, p.wrote = nil, nil, true, false
}

// end ends the call that is given out.
func (p *Parser) end() {
	p.give()
	p.open, p.held, p.closing = false, nil, nil
	p.state = (*Parser).behindCall
	if p.list {
		p.state = (*Parser).inList
	}
}

func (s *syntax) newID() string {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	n, prefix := s.ids, ""
	if n == 0 {
		n, prefix = 24, "call_"
	}
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	for i := range b {
		b[i] = letters[int(b[i])%len(letters)]
	}
	return prefix + string(b)
}

func isSpace(b byte) bool { return b == ' ' || b == '\n' || b == '\t' || b == '\r' }

// match reports whether text is one of the marks, or may become one.
func match(text []byte, marks []string) (whole, part bool) {
	for _, m := range marks {
		if m == string(text) {
			return true, false
		}
		part = part || strings.HasPrefix(m, string(text))
	}
	return false, part
}

// inText is outside of calls.
func (p *Parser) inText(b byte) {
	if isSpace(b) {
		if len(p.held) > 0 {
			p.write(p.held)
			p.held = nil
		}
		p.space = append(p.space, b)
		return
	}
	if len(p.held) == 0 && p.syntax.bare && !p.wrote && (b == '{' || b == '[') {
		p.marked, p.fenced = false, false
		p.startJSON(b)
		return
	}
	for p.held = append(p.held, b); len(p.held) > 0; p.held = p.held[1:] {
		if p.syntax.bare && strings.HasPrefix(fence, string(p.held)) {
			if len(p.held) == len(fence) {
				p.state = (*Parser).inFenceInfo
			}
			return
		}
		whole, part := match(p.held, p.syntax.marks)
		if whole {
			p.marked, p.fenced = true, false
			p.state = (*Parser).behindMark
		}
		if whole || part {
			return
		}
		p.write(p.held[:1])
	}
	p.held = nil
}

// giveBack makes text of what is withheld. b was read with it and is what showed that it is no call.
func (p *Parser) giveBack(b byte) {
	p.write(p.held[:len(p.held)-1])
	p.held = nil
	p.wrote = true
	p.state = (*Parser).inText
	if p.fenced {
		p.fenced = false
		p.state = (*Parser).inForeignFence
	}
	p.state(p, b)
}

// behindMark is after a mark, before the call.
func (p *Parser) behindMark(b byte) {
	switch {
	case isSpace(b):
		p.held = append(p.held, b)
	case b == '{' || b == '[':
		p.startJSON(b)
	case p.syntax.marks[0] == toolCalls && nameByte(b): // also where the template has lists: newer models, older templates
		p.held = append(p.held, b)
		p.name = append(p.name[:0], b)
		p.state = (*Parser).inName
	case p.syntax.marks[0] == pythonTag:
		p.held = append(p.held, b)
		p.code = true
		p.state = (*Parser).inPython
	default:
		p.held = append(p.held, b)
		p.giveBack(b)
	}
}

func nameByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '_' || b == '-' || b == '.'
}

// inName is in name[ARGS]{…}, where [CALL_ID]id may stand before [ARGS], and special tokens may be lost.
func (p *Parser) inName(b byte) {
	p.held = append(p.held, b)
	p.name = append(p.name, b)
	name, rest := string(p.name), ""
	if i := strings.IndexAny(name, "[{"); i >= 0 {
		name, rest = name[:i], name[i:]
	}
	if after, ok := strings.CutPrefix(rest, callID); ok {
		rest = strings.TrimLeft(after, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
	}
	switch {
	case rest == argsMark || rest == "{":
		p.begin(name)
		p.value, p.list = value{}, false
		p.state = (*Parser).inArguments
		if rest == "{" {
			p.inArguments(b)
		}
	case rest == "" && p.name[len(name)-1] == b && !nameByte(b), len(p.name) > 150,
		!strings.HasPrefix(argsMark, rest) && !strings.HasPrefix(callID, rest):
		p.giveBack(b)
	}
}

// inArguments is behind [ARGS].
func (p *Parser) inArguments(b byte) {
	use, done, ok := p.value.step(b)
	if !ok {
		p.state = (*Parser).inBroken
		p.inBroken(b)
		return
	}
	if use {
		p.text = p.value.append(p.text, b)
	}
	if done {
		p.text = p.value.finish(p.text)
		p.end()
		if !use {
			p.state(p, b)
		}
	}
}

// startJSON begins to read a call or a list of them.
func (p *Parser) startJSON(b byte) {
	p.held = append(p.held, b)
	p.list, p.listed = b == '[', 0
	if p.list {
		p.state = (*Parser).inList
		return
	}
	p.object = object{}
	p.state = (*Parser).inObject
	p.object.step(p, b)
}

// inList is between the calls of a list.
func (p *Parser) inList(b byte) {
	p.held = append(p.held, b)
	switch {
	case isSpace(b) || b == ',' && p.listed > 0:
	case b == '{':
		p.object = object{}
		p.state = (*Parser).inObject
		p.object.step(p, b)
	case b == ']' && p.listed > 0:
		p.list = false
		p.end()
	default:
		p.giveBack(b)
	}
}

// inObject is in the JSON object of a call.
func (p *Parser) inObject(b byte) {
	if !p.open {
		p.held = append(p.held, b)
	}
	done, ok := p.object.step(p, b)
	switch {
	case !ok && p.open:
		p.state = (*Parser).inBroken
		p.inBroken(b)
	case !ok:
		p.giveBack(b)
	case done && !p.open && p.marked && p.object.name != "": // a tool without arguments
		p.begin(p.object.name)
		p.text = append(p.text, "{}"...)
		p.end()
	case done && !p.open:
		p.giveBack(b)
	case done:
		p.end()
	}
}

// inBroken is in a call the JSON of which is wrong, until a mark: what comes is given out as arguments, where these are not
// complete.
func (p *Parser) inBroken(b byte) {
	for p.closing = append(p.closing, b); len(p.closing) > 0; p.closing = p.closing[1:] {
		closed, more := match(p.closing, p.syntax.close)
		opened, again := match(p.closing, p.syntax.marks)
		switch {
		case closed:
			p.list = false
			p.end()
			return
		case opened:
			mark := p.closing
			p.list = false
			p.end()
			p.held, p.marked, p.fenced = mark, true, false
			p.state = (*Parser).behindMark
			return
		case more || again:
			return
		}
		if !p.object.complete {
			p.text = append(p.text, p.closing[0])
		}
	}
}

// behindCall is after a call, where its mark of the end may come, or another call.
func (p *Parser) behindCall(b byte) {
	if len(p.closing) == 0 {
		switch {
		case isSpace(b) || b == '}' || b == ']' || p.syntax.bare && (b == ';' || b == ','):
			return // models close more braces than they open
		case b == '{' && !p.syntax.named:
			p.startJSON(b)
			return
		}
	}
	p.closing = append(p.closing, b)
	closing := p.syntax.close
	if p.fenced {
		closing = []string{fence}
	}
	whole, part := match(p.closing, closing)
	if part {
		return
	}
	again := p.closing
	p.closing, p.fenced = nil, false
	p.state = (*Parser).inText
	if !whole {
		for _, b := range again {
			p.state(p, b)
		}
	}
}

// inFenceInfo is in the line of an opening code fence.
func (p *Parser) inFenceInfo(b byte) {
	p.held = append(p.held, b)
	info := string(p.held[len(fence):])
	if b != '\n' {
		if !nameByte(b) && b != '\r' || len(info) > 12 {
			p.foreign()
		}
		return
	}
	switch strings.TrimSpace(info) {
	case "", "json", "tool_call", "tool_code":
		p.marked, p.fenced = false, true
		p.state = (*Parser).inFence
	default:
		p.foreign()
	}
}

// foreign gives back a fence of something else.
func (p *Parser) foreign() {
	b := p.held[len(p.held)-1]
	p.fenced = true
	p.giveBack(b)
}

// inForeignFence is in a code fence that is text, until it ends.
func (p *Parser) inForeignFence(b byte) {
	p.write([]byte{b})
	if b != '`' {
		p.ticks = 0
		return
	}
	if p.ticks++; p.ticks == len(fence) {
		p.ticks = 0
		p.state = (*Parser).inText
	}
}

// inFence is in a code fence, before what stands in it.
func (p *Parser) inFence(b byte) {
	switch {
	case isSpace(b):
		p.held = append(p.held, b)
	case b == '{' || b == '[':
		p.startJSON(b)
	case strings.HasPrefix(string(p.held), fence+"tool_code"):
		p.held = append(p.held, b)
		p.code = true
		p.state = (*Parser).inPython
	default:
		p.held = append(p.held, b)
		p.giveBack(b)
	}
}
