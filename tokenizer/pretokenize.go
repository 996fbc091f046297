package tokenizer

import (
	"fmt"
	"strings"
)

// part is a piece of text on its way to the model.
type part struct {
	text  string
	first bool     // begins at byte 0 of the original text
	from  []origin // of each byte of text; nil when nobody asks for offsets
}

// cut returns the bytes from start to end as a part.
func (p part) cut(start, end int) part {
	q := part{text: p.text[start:end], first: p.first && start == 0}
	if p.from != nil {
		q.from = p.from[start:end]
		// As in Hugging Face it is the origin that counts: what a normalizer added
		// in front has the origin of the first character, one that was stripped has
		// taken the beginning with it.
		q.first = start < end && q.from[0].start == 0
	}
	return q
}

// edited runs f on the part.
func (p part) edited(f edit) part {
	if len(p.from) == 0 {
		p.text = f.text(p.text)
	} else {
		p.text, p.from = f.aligned(p.text, p.from, p.from[0].start)
	}
	return p
}

// A splitStep emits the parts that one pre-tokenizer makes of p, none of them empty.
type splitStep func(p part, emit func(part))

// span is a piece of a text: a match of a pattern, or what lies between two.
type span struct {
	start, end int
	match      bool
}

// maxAdders bounds the pre-tokenizers that put something in front of each part:
// a chain of them can double a text at every step.
const maxAdders = 3

// splitChain is the pre-tokenizers of a file while they are read.
type splitChain struct {
	steps []splitStep
	// bytes: what comes after ByteLevel only cuts, and the model is one whose
	// symbols can be bytes. Then no text is spelled with the byte table.
	bytes     bool
	byteLevel bool // a ByteLevel step was seen
	adders    int
	asksFirst bool // some step asks whether a part begins the text
	origins   bool // and only the origins of its bytes tell
}

// buildSplits reads the pre-tokenizers. bytes asks for raw bytes after ByteLevel; the
// chain's bytes tells whether they come.
func buildSplits(n *component, bytes bool) (*splitChain, error) {
	c := &splitChain{bytes: bytes && cutsAfterBytes(n, new(bool))}
	if err := c.build(n); err != nil {
		return nil, err
	}
	c.bytes = c.bytes && c.byteLevel
	return c, nil
}

// cutsAfterBytes tells whether all that comes after a first ByteLevel only cuts.
func cutsAfterBytes(n *component, seen *bool) bool {
	if n == nil {
		return true
	}
	for i := range n.Pretokenizers {
		if !cutsAfterBytes(&n.Pretokenizers[i], seen) {
			return false
		}
	}
	switch n.Type {
	case "Metaspace":
		return !*seen
	case "ByteLevel":
		if *seen {
			return false
		}
		*seen = true
	}
	return true
}

func (c *splitChain) add(step splitStep) {
	if c.byteLevel && c.bytes {
		step = onByteLevelText(step)
	}
	c.steps = append(c.steps, step)
}

// onByteLevelText runs a step on the text that ByteLevel makes of bytes, which is
// what the steps after it see in Hugging Face's pipeline, and maps the parts back.
func onByteLevelText(step splitStep) splitStep {
	return func(p part, emit func(part)) {
		step(p.spelled(), func(q part) {
			if q.from != nil {
				from := make([]origin, 0, len(q.text))
				for j := range q.text { // one origin for each character
					from = append(from, q.from[j])
				}
				q.from = from
			}
			raw, _ := byteLevelBytes([]byte(q.text))
			q.text = string(raw)
			emit(q)
		})
	}
}

// spelled is the part with its bytes spelled by the byte table.
func (p part) spelled() part {
	if p.from != nil {
		from := make([]origin, 0, 2*len(p.from))
		for i, o := range p.from {
			from = append(from, o)
			if byteRune[p.text[i]] >= 0x80 { // all of the table is at most two bytes long
				from = append(from, o)
			}
		}
		p.from = from
	}
	p.text = byteLevelText(p.text)
	return p
}

func (c *splitChain) build(n *component) error {
	if n == nil {
		return nil
	}
	if n.Type == "Sequence" {
		for i := range n.Pretokenizers {
			if err := c.build(&n.Pretokenizers[i]); err != nil {
				return err
			}
		}
		return nil
	}
	build, ok := preTokenizers[n.Type]
	if !ok {
		return fmt.Errorf("pre_tokenizer %q is not supported", n.Type)
	}
	if err := build(c, n); err != nil {
		return fmt.Errorf("pre_tokenizer %s: %w", n.Type, err)
	}
	if c.adders > maxAdders {
		return fmt.Errorf("more than %d pre_tokenizers add a prefix", maxAdders)
	}
	return nil
}

// coverSpans fills the gaps between matches, which are [start, end) in order.
func coverSpans(s string, matches [][2]int) []span {
	spans := make([]span, 0, 2*len(matches)+1)
	at := 0
	for _, m := range matches {
		if m[0] > at {
			spans = append(spans, span{at, m[0], false})
		}
		spans = append(spans, span{m[0], m[1], true})
		at = m[1]
	}
	if at < len(s) {
		spans = append(spans, span{at, len(s), false})
	}
	return spans
}

func findString(s, pattern string) []span {
	var matches [][2]int
	for at := 0; pattern != ""; {
		i := strings.Index(s[at:], pattern)
		if i < 0 {
			break
		}
		matches = append(matches, [2]int{at + i, at + i + len(pattern)})
		at += i + len(pattern)
	}
	return coverSpans(s, matches)
}

// findClass matches each character for which is holds.
func findClass(s string, is func(rune) bool) []span {
	var matches [][2]int
	for i := 0; i < len(s); {
		r, n := decodeRune(s, i)
		if is(r) {
			matches = append(matches, [2]int{i, i + n})
		}
		i += n
	}
	return coverSpans(s, matches)
}

// A behavior is what becomes of the matches.
type behavior func(p part, spans []span, emit func(part))

// behaviors have the names of tokenizer.json.
var behaviors = map[string]behavior{
	"Isolated":           isolated,
	"Removed":            removed,
	"Contiguous":         contiguous,
	"MergedWithPrevious": mergedWithPrevious,
	"MergedWithNext":     mergedWithNext,
}

// behavior is the behavior of a file, and otherwise, where the file need not say.
func (n *component) behavior(otherwise behavior) (behavior, error) {
	if n.Behavior == "" && otherwise != nil {
		return otherwise, nil
	}
	if b, ok := behaviors[n.Behavior]; ok {
		return b, nil
	}
	return nil, fmt.Errorf("behavior %q is not supported", n.Behavior)
}

// emitCut emits the bytes from start to end, if there are any.
func (p part) emitCut(start, end int, emit func(part)) {
	if end > start {
		emit(p.cut(start, end))
	}
}

func isolated(p part, spans []span, emit func(part)) {
	for _, x := range spans {
		p.emitCut(x.start, x.end, emit)
	}
}

func removed(p part, spans []span, emit func(part)) {
	for _, x := range spans {
		if !x.match {
			p.emitCut(x.start, x.end, emit)
		}
	}
}

func contiguous(p part, spans []span, emit func(part)) {
	for i := 0; i < len(spans); {
		j := i + 1
		for j < len(spans) && spans[j].match == spans[i].match {
			j++
		}
		p.emitCut(spans[i].start, spans[j-1].end, emit)
		i = j
	}
}

func mergedWithPrevious(p part, spans []span, emit func(part)) {
	for i := 0; i < len(spans); {
		start, end := spans[i].start, spans[i].end
		// A match joins the piece before it unless that is a match as well.
		if i+1 < len(spans) && !spans[i].match && spans[i+1].match {
			i++
			end = spans[i].end
		}
		p.emitCut(start, end, emit)
		i++
	}
}

func mergedWithNext(p part, spans []span, emit func(part)) {
	for i := 0; i < len(spans); i++ {
		x := spans[i]
		// A match joins the piece after it unless that is a match as well.
		if x.match && i+1 < len(spans) && !spans[i+1].match {
			i++
			x.end = spans[i].end
		}
		p.emitCut(x.start, x.end, emit)
	}
}
