package tokenizer

// A text of many symbols is merged in windows, so that the work for each symbol
// does not grow with the text and stays in the processor's caches. What a window
// gives near its end may be wrong, because what comes after it is unseen; the
// windows overlap, and the following makes the result exact.
//
// Call two neighbouring tokens compatible if their symbols alone merge into just
// the two of them. If tokens are what some text merges into, all neighbours among
// them are compatible: no merge crossed a border between them, so those on either
// side happened in the order in which they happen alone. The other way round, if
// all neighbours of a row of tokens are compatible, then the row is what its
// symbols merge into: take the first merge in the text that would cross a border.
// Until then the tokens on both sides of it were merged as they are alone, and it
// was the lowest and leftmost there as well, so the two would not be compatible.
//
// So two rows that share a token, one its last and one its first, make one row.
// Window after window begins at a token of the one before, and is taken if its
// first token is that token.

const (
	// window is the symbols of a first try; restart is where the next begins:
	// 16 symbols before the end, longer than nearly all tokens (measured: 32 to
	// 96 symbols differ by a tenth).
	window, restart = 48, 32
	// tries is how many tokens are tried as the beginning of the next window
	// before this one is made twice as long. They lie in its second half, which
	// bounds the work by O(n log n) for any vocabulary.
	tries = 4
)

// windows calls emit with the tokens of ids in order; base is what a symbol's at
// counts from.
func (t *mergeTable) windows(k *mergeScratch, ids []int32, emit func(base int, syms []symbol)) {
	start, size := 0, window
	current := t.merge(k, k.a[:0], ids[:min(size, len(ids))])
	spare := k.b
	for start+size < len(ids) {
		i := len(current) - 1
		for i > 0 && int(current[i].at) > size-(window-restart) {
			i--
		}
		joined := false
		for try := 0; try < tries && i > 0 && int(current[i].at) >= size/2; try++ {
			at := start + int(current[i].at)
			following := t.merge(k, spare[:0], ids[at:min(at+window, len(ids))])
			if joined = following[0].id == current[i].id && sameLength(current, following, i, size, window); joined {
				emit(start, current[:i])
				start, size = at, window
				current, spare = following, current
				break
			}
			spare = following
			i--
		}
		if !joined {
			size *= 2
			current = t.merge(k, current[:0], ids[start:min(start+size, len(ids))])
		}
	}
	emit(start, current)
	k.a, k.b = current, spare
}

// sameLength tells whether token i of current and the first of following are made
// of as many symbols. An id alone does not tell: "<0x41>" may be a byte, or
// spelled out in the text. A last token reaches to the end of its window.
func sameLength(current, following []symbol, i, size, next int) bool {
	end, end2 := int32(size), int32(next)
	if i+1 < len(current) {
		end = current[i+1].at
	}
	if len(following) > 1 {
		end2 = following[1].at
	}
	return end-current[i].at == end2
}
