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
// Window after window begins at a token of the row so far, and is taken if its
// first token is that token; what the row had after it is dropped.

const (
	// window is the symbols of a window at first, margin how many before the end
	// of the row the next begins: nearly all tokens are shorter.
	window, margin = 48, 16
	// tries is how many tokens are tried as the beginning of the next window, an
	// eighth of it apart, before windows are made twice as long. Each one taken
	// makes the row longer by a quarter of a window, so that the work is
	// O(n log n) with one size, and O(n log² n) for any vocabulary.
	tries = 4
)

// windows appends to row what becomes of ids, as merge does. The row uses none of
// k's memory.
func (t *mergeTable) windows(k *mergeScratch, row []symbol, ids []int32) []symbol {
	size := window
	end := min(size, len(ids)) // of the symbols in row
	row = t.merge(k, row, ids[:end])
	for end < len(ids) {
		i, joined := len(row)-1, false
		for try := 0; try < tries && !joined; try++ {
			for i > 0 && int(row[i].at) > end-margin-try*size/8 {
				i--
			}
			at := int(row[i].at)
			if at+size <= end+size/4 {
				break
			}
			stop := min(at+size, len(ids))
			next := t.merge(k, k.next[:0], ids[at:stop])
			k.next = next
			if joined = i == 0 || next[0].id == row[i].id && length(next, 0, stop-at) == length(row, i, end); joined {
				row = row[:i]
				for _, s := range next {
					s.at += int32(at)
					row = append(row, s)
				}
				end = stop
			}
		}
		if !joined {
			size *= 2
		}
	}
	return row
}

// length returns how many symbols token i of a row that has end of them is made
// of. Its id does not tell: "<0x41>" may be a byte, or spelled out in the text.
func length(row []symbol, i, end int) int {
	if i+1 < len(row) {
		end = int(row[i+1].at)
	}
	return end - int(row[i].at)
}
