package tokenizer

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonScanner walks JSON without building a tree: the vocabulary and merges of
// tokenizer.json are 10 MB and more, and encoding/json needs seconds for them.
// Everything small is cut out with skip and goes through encoding/json.
type jsonScanner struct {
	b   []byte
	i   int
	buf []byte // the string returned by str, when it held escapes
}

const (
	eachByte    = 0x0101010101010101
	eightSpaces = ' ' * eachByte
)

// unescaped returns how many bytes of b are before the first quote or backslash, or
// the end: eight at a time (Mycroft's test for a zero byte).
func unescaped(b []byte) int {
	i := 0
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		q, e := x^'"'*eachByte, x^'\\'*eachByte
		if found := ((q-eachByte)&^q | (e-eachByte)&^e) & (0x80 * eachByte); found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for i < len(b) && b[i] != '"' && b[i] != '\\' {
		i++
	}
	return i
}

func (s *jsonScanner) malformed() error {
	return fmt.Errorf("malformed JSON at byte %d", min(s.i, len(s.b)))
}

func (s *jsonScanner) space() {
	if s.i < len(s.b) && s.b[s.i] <= ' ' {
		s.spaces()
	}
}

// spaces skips space that is there; indented files have much of it.
func (s *jsonScanner) spaces() {
	for s.i < len(s.b) {
		if rest := s.b[s.i:]; len(rest) >= 8 && binary.LittleEndian.Uint64(rest) == eightSpaces {
			s.i += 8
			continue
		}
		switch s.b[s.i] {
		case ' ', '\n', '\t', '\r':
			s.i++
		default:
			return
		}
	}
}

// eat skips space and then c, if it is next.
func (s *jsonScanner) eat(c byte) bool {
	s.space()
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

// str returns the next string; the slice is valid until the next call.
func (s *jsonScanner) str() ([]byte, error) {
	if !s.eat('"') {
		return nil, s.malformed()
	}
	start := s.i
	if s.i += unescaped(s.b[s.i:]); s.i < len(s.b) && s.b[s.i] == '"' {
		s.i++
		return s.b[start : s.i-1], nil
	}
	s.buf = append(s.buf[:0], s.b[start:s.i]...)
	for s.i < len(s.b) {
		c := s.b[s.i]
		s.i++
		switch c {
		case '"':
			return s.buf, nil
		case '\\':
			if err := s.escape(); err != nil {
				return nil, err
			}
		default:
			s.buf = append(s.buf, c)
		}
	}
	return nil, s.malformed()
}

// escape decodes what follows a backslash.
func (s *jsonScanner) escape() error {
	if s.i >= len(s.b) {
		return s.malformed()
	}
	c := s.b[s.i]
	s.i++
	switch c {
	case 'n':
		c = '\n'
	case 't':
		c = '\t'
	case 'r':
		c = '\r'
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case '"', '\\', '/':
	case 'u':
		r, err := s.hex4()
		if err != nil {
			return err
		}
		if utf16.IsSurrogate(r) && s.i+6 <= len(s.b) && s.b[s.i] == '\\' && s.b[s.i+1] == 'u' {
			s.i += 2
			low, err := s.hex4()
			if err != nil {
				return err
			}
			r = utf16.DecodeRune(r, low)
		}
		s.buf = utf8.AppendRune(s.buf, r)
		return nil
	default:
		return s.malformed()
	}
	s.buf = append(s.buf, c)
	return nil
}

func (s *jsonScanner) hex4() (rune, error) {
	if s.i+4 > len(s.b) {
		return 0, s.malformed()
	}
	x, err := strconv.ParseUint(string(s.b[s.i:s.i+4]), 16, 32)
	if err != nil {
		return 0, s.malformed()
	}
	s.i += 4
	return rune(x), nil
}

// id returns the next number, which must be a token id: 0 … 2³¹-1.
func (s *jsonScanner) id() (int, error) {
	s.space()
	n, start := 0, s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		if n = n*10 + int(s.b[s.i]-'0'); n > math.MaxInt32 {
			return 0, fmt.Errorf("token id at byte %d is above 2147483647", start)
		}
		s.i++
	}
	if start == s.i {
		return 0, s.malformed()
	}
	return n, nil
}

// skip returns the raw bytes of the next value. It balances brackets and strings
// and checks no more: whoever reads the value does.
func (s *jsonScanner) skip() ([]byte, error) {
	s.space()
	start, depth := s.i, 0
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case '"':
			s.i++
			for s.i += unescaped(s.b[s.i:]); s.i < len(s.b) && s.b[s.i] == '\\'; {
				s.i = min(s.i+2, len(s.b))
				s.i += unescaped(s.b[s.i:])
			}
			if s.i >= len(s.b) {
				return nil, s.malformed()
			}
			s.i++
			if depth == 0 {
				return s.b[start:s.i], nil
			}
		case '{', '[':
			depth++
			s.i++
		case '}', ']':
			if depth == 0 {
				return s.b[start:s.i], nil
			}
			depth--
			s.i++
			if depth == 0 {
				return s.b[start:s.i], nil
			}
		case ',':
			if depth == 0 {
				return s.b[start:s.i], nil
			}
			s.i++
		case ' ':
			s.spaces()
		default:
			s.i++
		}
	}
	if depth > 0 {
		return nil, s.malformed()
	}
	return s.b[start:], nil
}

// object calls f with each key; f reads the value. The key is valid until f
// reads a string.
func (s *jsonScanner) object(f func(key []byte) error) error {
	if !s.eat('{') {
		return s.malformed()
	}
	if s.eat('}') {
		return nil
	}
	for {
		key, err := s.str()
		if err != nil {
			return err
		}
		if !s.eat(':') {
			return s.malformed()
		}
		if err := f(key); err != nil {
			return err
		}
		if s.eat('}') {
			return nil
		}
		if !s.eat(',') {
			return s.malformed()
		}
	}
}

// array calls f before each element; f reads it.
func (s *jsonScanner) array(f func() error) error {
	if !s.eat('[') {
		return s.malformed()
	}
	if s.eat(']') {
		return nil
	}
	for {
		if err := f(); err != nil {
			return err
		}
		if s.eat(']') {
			return nil
		}
		if !s.eat(',') {
			return s.malformed()
		}
	}
}
