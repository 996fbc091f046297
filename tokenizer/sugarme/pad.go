package sugarme

import (
	"errors"
	"fmt"
	"slices"

	lib "github.com/sugarme/tokenizer"
)

// padAll fills up encodings, and the parts that overflow from them, to the length
// that params ask for: a fixed one, or that of the longest encoding. Longer ones
// stay. What an encoding shares with others is not written to.
func padAll(encodings []lib.Encoding, params *lib.PaddingParams) error {
	length := 0
	switch size, fixed := params.Strategy.Value.(int); {
	case params.Strategy.Name == "Fixed" && fixed:
		length = size
	case params.Strategy.Name == "BatchLongest":
		for i := range encodings {
			length = max(length, len(encodings[i].Ids))
		}
	default:
		return fmt.Errorf("padding strategy %q with %v; want what NewPaddingStrategy returns", params.Strategy.Name, params.Strategy.Value)
	}
	if params.Direction != lib.Left && params.Direction != lib.Right {
		return fmt.Errorf("padding direction %d; want Left or Right", params.Direction)
	}
	if length > maxPadding {
		return errors.New("padding to more than 2^31-1 tokens")
	}
	for i := range encodings {
		pad(&encodings[i], length, params)
	}
	return nil
}

const maxPadding = 1<<31 - 1

func pad(e *lib.Encoding, length int, params *lib.PaddingParams) {
	e.Overflowing = slices.Clone(e.Overflowing)
	for i := range e.Overflowing {
		pad(&e.Overflowing[i], length, params)
	}
	n := length - len(e.Ids)
	if n <= 0 {
		return
	}
	left := params.Direction == lib.Left
	e.Ids = filled(e.Ids, params.PadId, n, left)
	e.TypeIds = filled(e.TypeIds, params.PadTypeId, n, left)
	e.Tokens = filled(e.Tokens, params.PadToken, n, left)
	e.SpecialTokenMask = filled(e.SpecialTokenMask, 1, n, left)
	e.AttentionMask = filled(e.AttentionMask, 0, n, left)
	e.Words = filled(e.Words, -1, n, left)
	e.Offsets = filled(e.Offsets, nil, n, left)
	for i, o := range e.Offsets {
		if o == nil {
			e.Offsets[i] = []int{0, 0}
		}
	}
	if !left {
		return
	}
	ranges := make(map[int]lib.Range, len(e.SequenceRanges))
	for sequence, r := range e.SequenceRanges {
		moved := make(lib.Range, len(r))
		for i, at := range r {
			moved[i] = at + n
		}
		ranges[sequence] = moved
	}
	e.SequenceRanges = ranges
}

// filled returns list with n times v before or after it, in memory of its own.
func filled[T any](list []T, v T, n int, before bool) []T {
	out := make([]T, 0, len(list)+n)
	if before {
		out = append(out, slices.Repeat([]T{v}, n)...)
		return append(out, list...)
	}
	out = append(out, list...)
	return append(out, slices.Repeat([]T{v}, n)...)
}
