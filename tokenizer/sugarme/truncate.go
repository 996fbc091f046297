package sugarme

import (
	"errors"
	"fmt"

	lib "github.com/sugarme/tokenizer"
)

// truncatePair cuts one or two encodings so that together with the added tokens
// they are no longer than MaxLength, as Hugging Face's truncate_encodings does
// (0.22: the longer of a pair is cut down to the shorter's length, then both to
// half). second may be nil. What is cut off is in Overflowing; the operands stay
// as they are.
func truncatePair(first, second *lib.Encoding, params *lib.TruncationParams, added int) (a, b *lib.Encoding, err error) {
	limit := params.MaxLength - added
	if limit < 0 || params.Stride < 0 {
		return nil, nil, fmt.Errorf("truncation: MaxLength %d and Stride %d, where %d tokens are added; want MaxLength at least %d and Stride at least 0",
			params.MaxLength, params.Stride, added, added)
	}
	n1, n2 := len(first.Ids), 0
	if second != nil {
		n2 = len(second.Ids)
	}
	remove := n1 + n2 - limit
	if remove <= 0 {
		return first, second, nil
	}
	switch {
	case limit == 0:
		n1, n2 = 0, 0
	case params.Strategy == lib.LongestFirst && second == nil:
		n1 = limit
	case params.Strategy == lib.LongestFirst:
		n1, n2 = longestFirst(n1, n2, limit)
	case params.Strategy == lib.OnlyFirst:
		if n1 -= remove; n1 <= 0 {
			return nil, nil, fmt.Errorf("truncation of the first text: %d of %d tokens are to go; use LongestFirst or a larger MaxLength", remove, n1+remove)
		}
	case params.Strategy == lib.OnlySecond:
		if second == nil {
			return nil, nil, errors.New("truncation of the second text, but there is one text; use LongestFirst or OnlyFirst")
		}
		if n2 -= remove; n2 <= 0 {
			return nil, nil, fmt.Errorf("truncation of the second text: %d of %d tokens are to go; use LongestFirst or a larger MaxLength", remove, n2+remove)
		}
	default:
		return nil, nil, fmt.Errorf("truncation strategy %d; want LongestFirst, OnlyFirst or OnlySecond", params.Strategy)
	}
	if a, err = cut(first, n1, params.Stride); err != nil {
		return nil, nil, err
	}
	if second != nil {
		if b, err = cut(second, n2, params.Stride); err != nil {
			return nil, nil, err
		}
	}
	return a, b, nil
}

// longestFirst returns the lengths that two texts of n1 and n2 tokens keep.
func longestFirst(n1, n2, limit int) (keep1, keep2 int) {
	short := min(n1, n2)
	long := short
	if short <= limit {
		long = max(short, limit-short)
	}
	if short+long > limit {
		short = limit / 2
		long = short + limit%2
	}
	if n1 > n2 {
		return long, short
	}
	return short, long
}

// cut keeps the first n tokens of e; the rest overflows in parts of n tokens, of
// which stride are the last ones of the part before.
func cut(e *lib.Encoding, n, stride int) (*lib.Encoding, error) {
	size := len(e.Ids)
	if n >= size {
		return e, nil
	}
	if n == 0 {
		out := window(e, 0, 0)
		out.Overflowing = []lib.Encoding{*window(e, 0, size)}
		return out, nil
	}
	if stride >= n {
		return nil, fmt.Errorf("truncation: Stride %d in parts of %d tokens; want less than the part (MaxLength without the tokens that are added)", stride, n)
	}
	out := window(e, 0, n)
	for start := n - stride; ; start += n - stride {
		end := min(start+n, size)
		out.Overflowing = append(out.Overflowing, *window(e, start, end))
		if end == size {
			return out, nil
		}
	}
}

// window returns tokens start … end-1 of e. The lists are e's, capped so that
// nothing appended to them reaches e.
func window(e *lib.Encoding, start, end int) *lib.Encoding {
	words := e.Words
	if len(words) == len(e.Ids) {
		words = words[start:end:end]
	}
	return &lib.Encoding{
		Ids:              e.Ids[start:end:end],
		TypeIds:          e.TypeIds[start:end:end],
		Tokens:           e.Tokens[start:end:end],
		Offsets:          e.Offsets[start:end:end],
		SpecialTokenMask: e.SpecialTokenMask[start:end:end],
		AttentionMask:    e.AttentionMask[start:end:end],
		Words:            words,
		SequenceRanges:   map[int]lib.Range{},
	}
}

// whole puts together what the library's Encoding.Truncate cut apart.
func whole(e *lib.Encoding, stride int) *lib.Encoding {
	if e == nil || len(e.Overflowing) == 0 {
		return e
	}
	b := &builder{}
	b.append(e)
	for i := range e.Overflowing {
		o := &e.Overflowing[i]
		b.append(window(o, min(stride, len(o.Ids)), len(o.Ids)))
	}
	return b.encoding()
}
