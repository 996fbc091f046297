package tokenizer

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// decoders are the types of decoder we have. After Fuse or ByteLevel there is one
// token, the whole text so far, and the others see only that.
var decoders = map[string]func(*decodeChain, *component) (decodeStep, error){
	"BPEDecoder":   bpeDecoder,
	"ByteFallback": byteFallbackDecoder,
	"ByteLevel": func(c *decodeChain, _ *component) (decodeStep, error) {
		if c.fused { // all of the text is mapped, or nothing
			c.late = len(c.steps)
			return collectedStep(func(s string) string {
				raw, _ := byteLevelBytes([]byte(s))
				return lossyUTF8(raw)
			}), nil
		}
		c.fused = true
		return byteLevelStep, nil
	},
	"CTC": ctcDecoder,
	"Fuse": func(c *decodeChain, _ *component) (decodeStep, error) {
		c.fused = true
		return func(out func(string)) (func(string), func()) { return out, nil }, nil
	},
	"Metaspace": metaspaceDecoder,
	"Replace":   replaceDecoder,
	"Strip":     stripDecoder,
	"WordPiece": wordPieceDecoder,
}

// or is the text a file gives, and otherwise, where it gives none.
func or(s *string, otherwise string) string {
	if s != nil {
		return *s
	}
	return otherwise
}

// bpeDecoder puts a space where a word ends, but not at the end of the text.
func bpeDecoder(c *decodeChain, n *component) (decodeStep, error) {
	suffix := or(n.Suffix, "</w>")
	if suffix == "" {
		return nil, fmt.Errorf("suffix is empty")
	}
	last := func(s string) string { return strings.ReplaceAll(s, suffix, "") }
	if c.fused {
		return collectedStep(last), nil
	}
	return func(out func(string)) (func(string), func()) {
		held, holds := "", false
		return func(s string) {
				if holds {
					out(strings.ReplaceAll(held, suffix, " "))
				}
				held, holds = s, true
			}, func() {
				if holds {
					out(last(held))
				}
			}
	}, nil
}

func byteFallbackDecoder(c *decodeChain, _ *component) (decodeStep, error) {
	c.growth *= 3 // a byte alone becomes U+FFFD
	if !c.fused {
		return byteFallbackStep, nil
	}
	return collectedStep(func(s string) string {
		if b, ok := byteToken(s); ok {
			return lossyUTF8([]byte{b})
		}
		return s
	}), nil
}

// ctcDecoder leaves out repetitions and padding, as in the output of models that
// recognise speech.
func ctcDecoder(c *decodeChain, n *component) (decodeStep, error) {
	pad, delimiter, clean := or(n.PadToken, "<pad>"), or(n.WordDelimiter, "|"), n.Cleanup == nil || *n.Cleanup
	text := func(s string) string {
		if pad != "" {
			s = strings.ReplaceAll(s, pad, "")
		}
		if clean {
			s = cleanUp(s)
			if delimiter != "" {
				s = strings.ReplaceAll(s, delimiter, " ")
			}
		}
		return s
	}
	if c.fused {
		return collectedStep(text), nil
	}
	return func(out func(string)) (func(string), func()) {
		last, any := "", false
		return func(s string) {
			if any && s == last {
				return
			}
			last, any = s, true
			if s = text(s); s != "" {
				out(s)
			}
		}, nil
	}, nil
}

// metaspaceDecoder puts spaces for the marks, but none at the front where one was
// prepended.
func metaspaceDecoder(c *decodeChain, n *component) (decodeStep, error) {
	mark, err := n.spaceMark()
	if err != nil {
		return nil, err
	}
	scheme, err := n.prependScheme()
	if err != nil {
		return nil, err
	}
	never := scheme == "never"
	all := func(s, with string) string { return strings.ReplaceAll(s, mark, with) }
	if c.fused {
		// All tokens are the first one.
		with := map[bool]string{true: " ", false: ""}[never]
		return perToken(func(s string) string { return all(s, with) }), nil
	}
	return func(out func(string)) (func(string), func()) {
		first := !never
		return func(s string) {
			if first {
				first = false
				out(all(s, ""))
				return
			}
			out(all(s, " "))
		}, nil
	}, nil
}

func replaceDecoder(c *decodeChain, n *component) (decodeStep, error) {
	r, err := replace(n)
	if err != nil {
		return nil, err
	}
	step := r[0]
	c.growth *= step.growth
	apply := func(s string) string {
		if s == "" {
			return "" // nothing is found in nothing, not even nothing
		}
		return step.text(s)
	}
	// One character is never split between two pieces of a fused text; a longer
	// pattern may be, so that text is collected first.
	if c.fused && (n.Pattern.String == nil || utf8.RuneCountInString(*n.Pattern.String) != 1) {
		c.collects = true
		return collectedStep(apply), nil
	}
	return perToken(apply), nil
}

func stripDecoder(c *decodeChain, n *component) (decodeStep, error) {
	r, size := utf8.DecodeRuneInString(n.Content)
	if size == 0 || size != len(n.Content) {
		return nil, fmt.Errorf("content %q is not one character", n.Content)
	}
	if c.fused {
		return stripFusedStep(r, n.Start, n.Stop), nil
	}
	return perToken(func(s string) string {
		s, _ = trimStart(s, r, n.Start)
		s, _ = trimEnd(s, r, n.Stop)
		return s
	}), nil
}

// wordPieceDecoder puts a space before each word but the first.
func wordPieceDecoder(c *decodeChain, n *component) (decodeStep, error) {
	prefix, clean := or(n.Prefix, "##"), n.Cleanup == nil || *n.Cleanup
	text := func(s string) string {
		if clean {
			return cleanUp(s)
		}
		return s
	}
	c.growth *= 2
	if c.fused {
		return collectedStep(text), nil
	}
	return func(out func(string)) (func(string), func()) {
		first := true
		return func(s string) {
			if !first {
				if rest, ok := strings.CutPrefix(s, prefix); ok {
					s = rest
				} else {
					s = " " + s
				}
			}
			first = false
			out(text(s))
		}, nil
	}, nil
}

// cleanUp takes back the spaces that tokenizers of English put before punctuation.
func cleanUp(s string) string {
	for _, r := range [][2]string{
		{" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","}, {" ' ", "'"}, {" n't", "n't"}, {" 'm", "'m"},
		{" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
	} {
		s = strings.ReplaceAll(s, r[0], r[1])
	}
	return s
}
