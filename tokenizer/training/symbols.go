package training

import (
	"context"
	"fmt"
	"math"
	"slices"
)

// symbols are the different words of a text, one behind the other, each as the tokens
// it consists of so far. A token that spans n bytes takes n places: its id is at the
// first, and ^id at the last of several; what is between is of no use. border stands
// between words. Neighbours are found by the widths of tokens, without links.
type symbols struct {
	at  []symbol
	big []int64 // counts of 2³¹ and more
}

// symbol is a place. count is how often its word occurs, or if the highest bit is
// set an index of symbols.big.
type symbol struct {
	id    int32
	count uint32
}

const (
	border   = math.MinInt32     // between words
	consumed = math.MinInt32 + 1 // was the beginning of a token
	bigCount = 1 << 31
)

func (s *symbols) count(i int32) int64 {
	c := s.at[i].count
	if c < bigCount {
		return int64(c)
	}
	return s.big[c-bigCount]
}

// placeSize is the memory that merging takes for each byte of the words: its symbol,
// its place in the list of the pair that begins there, and in those of two more
// pairs for each merge.
const placeSize = 8 + 4 + 8

// newSymbols lays out the words, leaving the rarest out if they are too many for the
// memory, and sets Stats.
func (w *Words) newSymbols(ctx context.Context, memory int64, a *alphabet) (*symbols, error) {
	memory = min(memory, placeSize*(math.MaxInt32-1)) // places are int32
	sizes := map[int64]int64{}                        // by count
	w.Stats.Distinct = 0
	err := w.all(ctx, func(text []byte, count int64) {
		sizes[count] += placeSize * int64(len(text)+1)
		w.Stats.Distinct++
	})
	if err != nil {
		return nil, err
	}
	counts := make([]int64, 0, len(sizes))
	for c := range sizes {
		counts = append(counts, c)
	}
	slices.Sort(counts)
	total, least := int64(placeSize), int64(math.MaxInt64)
	for _, c := range slices.Backward(counts) {
		if total += sizes[c]; total > memory {
			total -= sizes[c]
			break
		}
		least = c
	}
	if least == math.MaxInt64 && len(counts) > 0 {
		return nil, fmt.Errorf("max_memory of %d MiB does not hold the words that are the most frequent; give more", memory>>20)
	}
	if len(counts) > 0 && least > counts[0] {
		w.Stats.MinCount = least
	}

	s := &symbols{at: make([]symbol, 0, total/placeSize)}
	w.Stats.PrunedDistinct, w.Stats.PrunedWords = 0, 0
	s.at = append(s.at, symbol{id: border})
	err = w.all(ctx, func(text []byte, count int64) {
		if count < least {
			w.Stats.PrunedDistinct++
			w.Stats.PrunedWords += count
			return
		}
		c := uint32(count)
		if count >= bigCount {
			c = uint32(bigCount + len(s.big))
			s.big = append(s.big, count)
		}
		for _, b := range text {
			s.at = append(s.at, symbol{a.bytes[b], c})
		}
		s.at = append(s.at, symbol{id: border})
	})
	return s, err
}
