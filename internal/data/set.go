package data

// B sequences, T positions each

// Batch is what one training step sees, row after row.
type Batch struct {
	Tokens []int32 // (B, T); 0 after the end of a sample
	// Targets holds the token that follows each position, Ignore where no loss
	// is taken: in a masked prompt and after the end of a sample.
	Targets []int32 // (B, T)
	B, T    int
}

// Set is a tokenized data set. It may be read by several goroutines.
type Set struct {
	examples examples
	dropLast bool // the loader leaves out an incomplete batch
	report   []string
}

// examples are tokenized samples: [samples] of JSON files, [windows] of text.
type examples interface {
	len() int
	longest() int
	// read appends the tokens of sample i to dst; on the first masked ones no
	// loss is taken.
	read(dst []int32, i int) (ids []int32, masked int)
	close() error
}

// Len is the number of samples.
func (s *Set) Len() int { return s.examples.len() }

// Longest is the number of tokens of the longest sample, 0 for an empty set.
func (s *Set) Longest() int { return s.examples.longest() }

// Prompt gives the prompt's tokens of instruction sample i, and nil for text.
func (s *Set) Prompt(i int) []int32 {
	if e, ok := s.examples.(*samples); ok {
		return e.prompt(i)
	}
	return nil
}

// Report says in one line each what a user should know about the data: samples
// that were cut, what was held out, where the tokens were kept.
func (s *Set) Report() []string { return s.report }

// Close gives back the mapped file of tokens. The set cannot be read any more.
func (s *Set) Close() error { return s.examples.close() }

// Batch collects the samples with the given indices. A sample of n tokens fills
// n-1 positions; T is that of the longest, rounded up to a multiple of padTo
// (0 and 1: not rounded).
func (s *Set) Batch(indices []int, padTo int) Batch {
	rows := make([][]int32, len(indices))
	masked := make([]int, len(indices))
	b := Batch{B: len(indices)}
	for r, i := range indices {
		rows[r], masked[r] = s.examples.read(nil, i)
		b.T = max(b.T, len(rows[r])-1)
	}
	if padTo > 1 {
		b.T = (b.T + padTo - 1) / padTo * padTo
	}
	b.Tokens, b.Targets = make([]int32, b.B*b.T), make([]int32, b.B*b.T)
	for r, ids := range rows {
		tokens, targets := b.Tokens[r*b.T:(r+1)*b.T], b.Targets[r*b.T:(r+1)*b.T]
		copy(tokens, ids[:len(ids)-1])
		for t := range targets {
			if t+1 < len(ids) && t+1 >= masked[r] {
				targets[t] = ids[t+1]
			} else {
				targets[t] = Ignore
			}
		}
	}
	return b
}
