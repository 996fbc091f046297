package tokenizer

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// A decodeStep makes one decoder of tokenizer.json for one stream. Tokens come in
// through next and go on to out; what depends on later tokens is held back and
// goes out at flush (nil: nothing is ever held back). Decode and Stream run the
// same steps, so their texts are the same by construction.
type decodeStep func(out func(string)) (next func(string), flush func())

// decodeChain is the decoders of a file while they are read.
type decodeChain struct {
	steps    []decodeStep
	types    []string
	fused    bool // from here on all tokens are one (Fuse, ByteLevel)
	late     int  // the ByteLevel after that, 0 for none
	collects bool // a Replace waits for the end of the text
	growth   float64
}

func (c *decodeChain) build(n *component) error {
	if n == nil {
		return nil
	}
	if n.Type == "Sequence" {
		for i := range n.Decoders {
			if err := c.build(&n.Decoders[i]); err != nil {
				return err
			}
		}
		return nil
	}
	build, ok := decoders[n.Type]
	if !ok {
		return fmt.Errorf("decoder %q is not supported", n.Type)
	}
	step, err := build(c, n)
	if err != nil {
		return fmt.Errorf("decoder %s: %w", n.Type, err)
	}
	if c.growth > maxGrowth {
		return fmt.Errorf("the decoders make a text up to %.0f times longer, more than %d", c.growth, maxGrowth)
	}
	c.steps, c.types = append(c.steps, step), append(c.types, n.Type)
	return nil
}

// stream lets a ByteLevel after Fuse give out text as it comes, where that is the same as
// at the end: no token of the vocabulary has a character that is none of the byte table. The files that transformers makes of
// GGUF's tokenizers are so.
func (c *decodeChain) stream(t *Tokenizer) {
	if c.late == 0 || c.collects {
		return
	}
	for _, kind := range c.types[:c.late] {
		if kind != "ByteFallback" && kind != "Fuse" && kind != "Replace" {
			return // what it makes of a text may not be what it makes of the tokens one by one
		}
	}
	mapped := true
	next, flushes := connect(c.steps[:c.late], func(s string) {
		_, ok := byteLevelBytes([]byte(s))
		mapped = mapped && ok
	})
	for id := int32(0); mapped && int(id) < t.size; id++ {
		if token, ok := t.Token(id); ok {
			next(token)
			for _, flush := range flushes {
				flush()
			}
		}
	}
	if mapped {
		c.steps[c.late] = byteLevelStep
	}
}

// connect makes one chain of steps, and what flushes them in their order.
func connect(steps []decodeStep, out func(string)) (next func(string), flushes []func()) {
	next = out
	for _, step := range slices.Backward(steps) {
		var flush func()
		if next, flush = step(next); flush != nil {
			flushes = append([]func(){flush}, flushes...)
		}
	}
	return next, flushes
}

// joinedStep is the lack of a decoder: tokens with a space between.
func joinedStep(out func(string)) (next func(string), flush func()) {
	first := true
	return func(s string) {
		if !first {
			s = " " + s
		}
		first = false
		out(s)
	}, nil
}

// perToken applies f to each token.
func perToken(f func(string) string) decodeStep {
	return func(out func(string)) (func(string), func()) {
		return func(s string) { out(f(s)) }, nil
	}
}

// byteLevelStep maps the characters of the byte table back to bytes.
func byteLevelStep(out func(string)) (next func(string), flush func()) {
	var held []byte
	return func(s string) {
			raw, _ := byteLevelBytes([]byte(s))
			var text string
			text, held = completeText(append(held, raw...))
			out(text)
		}, func() {
			out(lossyUTF8(held))
		}
}

// byteFallbackStep turns runs of tokens like <0xE2> into the text their bytes
// spell, or into one U+FFFD for each byte when the run as a whole is not UTF-8.
func byteFallbackStep(out func(string)) (next func(string), flush func()) {
	var held []byte
	flush = func() {
		switch {
		case len(held) == 0:
		case utf8.Valid(held):
			out(string(held))
		default:
			for range held {
				out("\uFFFD")
			}
		}
		held = held[:0]
	}
	return func(s string) {
		if b, ok := byteToken(s); ok {
			held = append(held, b)
			return
		}
		flush()
		out(s)
	}, flush
}

// collectedStep applies f to the whole text at the end.
func collectedStep(f func(string) string) decodeStep {
	return func(out func(string)) (func(string), func()) {
		var all strings.Builder
		return func(s string) { all.WriteString(s) }, func() {
			out(f(all.String()))
		}
	}
}

// stripFusedStep takes up to start characters r off the front of a text that comes
// in pieces, and up to stop off its end.
func stripFusedStep(r rune, start, stop int) decodeStep {
	return func(out func(string)) (func(string), func()) {
		left, tail := start, ""
		next := func(s string) {
			if left > 0 {
				n := 0
				if s, n = trimStart(s, r, left); s == "" {
					left -= n
					return
				}
				left = 0
			}
			if stop <= 0 {
				out(s)
				return
			}
			// The last characters r may be the end of the text.
			s = tail + s
			body, n := trimEnd(s, r, stop)
			tail = strings.Repeat(string(r), n)
			out(body)
		}
		// What is still held back is the end of the text, to be left out.
		return next, nil
	}
}

// trimStart takes up to limit characters r off the front and says how many.
func trimStart(s string, r rune, limit int) (string, int) {
	n := 0
	for ; n < limit && s != ""; n++ {
		c, size := utf8.DecodeRuneInString(s)
		if c != r {
			break
		}
		s = s[size:]
	}
	return s, n
}

// trimEnd takes up to limit characters r off the end and says how many.
func trimEnd(s string, r rune, limit int) (string, int) {
	n := 0
	for ; n < limit && s != ""; n++ {
		c, size := utf8.DecodeLastRuneInString(s)
		if c != r {
			break
		}
		s = s[:len(s)-size]
	}
	return s, n
}

// completeText returns the text of b up to where later bytes could still change
// it, and the rest: at most three bytes, moved to the front of b.
func completeText(b []byte) (text string, rest []byte) {
	n := len(b)
	for k := 1; k <= 3 && k <= len(b); k++ {
		c := b[len(b)-k]
		if c >= 0xC0 && !utf8.FullRune(b[len(b)-k:]) {
			n = len(b) - k
		}
		if c >= 0xC0 || c < 0x80 {
			break
		}
	}
	text = lossyUTF8(b[:n])
	return text, append(b[:0], b[n:]...)
}
