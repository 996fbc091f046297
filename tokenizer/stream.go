package tokenizer

import "strings"

// Stream decodes ids one by one, for text that is shown as it is generated. What
// Next and Flush return, put together, is what Decode returns for all the ids.
// One goroutine uses a stream.
type Stream struct {
	t           *Tokenizer
	skipSpecial bool
	held        []byte // Tokenizer.bytes: the bytes of an unfinished character

	next    func(string)
	flushes []func() // in the order of the decoders
	out     strings.Builder
}

// Stream returns a new stream; skipSpecial is Decode's.
func (t *Tokenizer) Stream(skipSpecial bool) *Stream {
	s := &Stream{t: t, skipSpecial: skipSpecial}
	s.start()
	return s
}

// start builds the chain of decoders, which hold the state of one text.
func (s *Stream) start() {
	if s.t.bytes != nil {
		return
	}
	steps := s.t.decoders
	if len(steps) == 0 {
		steps = []decodeStep{joinedStep}
	}
	s.next, s.flushes = connect(steps, func(text string) { s.out.WriteString(text) })
}

// Next returns the text that id adds, "" while a character is unfinished.
func (s *Stream) Next(id int32) string {
	if s.t.bytes != nil {
		s.held = s.t.appendBytes(s.held, id, s.skipSpecial)
		var text string
		text, s.held = completeText(s.held)
		return text
	}
	s.push(id)
	return s.take()
}

// Flush returns what was held back, with U+FFFD for an unfinished character, and
// makes the stream ready for another text.
func (s *Stream) Flush() string {
	if s.t.bytes != nil {
		text := lossyUTF8(s.held)
		s.held = s.held[:0]
		return text
	}
	s.flush()
	text := s.take()
	s.start()
	return text
}

// push sends the token of id through the decoders.
func (s *Stream) push(id int32) {
	if tok := s.t.added[id]; tok != nil {
		if !(s.skipSpecial && tok.Special) {
			s.next(tok.Content)
		}
		return
	}
	if token, ok := s.t.model.token(id); ok {
		s.next(token)
	}
}

func (s *Stream) flush() {
	for _, flush := range s.flushes {
		flush()
	}
}

func (s *Stream) take() string {
	text := s.out.String()
	s.out.Reset()
	return text
}
