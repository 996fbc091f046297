package sample

import "slices"

// TextStops finds the first stop string in a stream of text and withholds text that may be part of one until that is
// decided. A stop string may begin and end anywhere in the pieces, so it need not be whole tokens. It is Stops over bytes:
// where several stop strings are found, the one that ends first counts, and of those that end together the longest. One
// goroutine uses it at a time.
type TextStops struct {
	automaton *Stops
	state     int
	held      []byte // withheld text, as long as the state's depth
	matched   string
	done      bool
}

// NewTextStops prepares for stop strings; empty ones are ignored. Without any, all text passes at once.
func NewTextStops(stops []string) *TextStops {
	sequences := make([][]int32, len(stops))
	for i, stop := range stops {
		for _, b := range []byte(stop) {
			sequences[i] = append(sequences[i], int32(b))
		}
	}
	return &TextStops{automaton: NewStops(sequences)}
}

// Push takes the next piece of text and returns the text that is now certain not to belong to a stop string. done means that
// a stop string is complete: it and what follows are never emitted. Pieces of whole characters and stop strings of whole
// characters give whole characters.
func (s *TextStops) Push(piece string) (emit string, done bool) {
	if s.done {
		return "", true
	}
	if len(s.automaton.nodes) == 1 {
		return piece, false
	}
	for i := range len(piece) {
		s.state = s.automaton.step(s.state, int32(piece[i]))
		s.held = append(s.held, piece[i])
		if n := s.automaton.nodes[s.state].match; n > 0 {
			s.done = true
			s.matched = string(s.held[len(s.held)-n:])
			emit = string(s.held[:len(s.held)-n])
			s.held = nil
			return emit, true
		}
	}
	out := len(s.held) - s.automaton.nodes[s.state].depth
	emit = string(s.held[:out])
	s.held = slices.Delete(s.held, 0, out)
	return emit, false
}

// Held is how many bytes are withheld.
func (s *TextStops) Held() int { return len(s.held) }

// Matched is the stop string that ended the text, "" before that.
func (s *TextStops) Matched() string { return s.matched }

// Flush returns the text withheld for a stop string that did not come, for the end of generation, and starts a new stream.
func (s *TextStops) Flush() string {
	out := string(s.held)
	s.held, s.state, s.done, s.matched = nil, 0, false, ""
	return out
}
