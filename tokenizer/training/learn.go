package training

import "context"

// Vocab is what was learned.
type Vocab struct {
	Tokens  []string    // by id, as they are spelled in tokenizer.json
	Merges  [][2]string // in order
	Reached bool        // there were enough pairs to merge for Config.VocabSize

	special []string
	split   Splitter
}

// learner merges pairs. Its result is that of Hugging Face's BpeTrainer:
//
//   - The pair that occurs most often is merged next; of those equally often that with
//     the smaller ids, the first one's before the second one's.
//   - Pairs that overlap ("aaa" has two of a, a) are all counted, and merged from
//     the left.
//   - A merge that spells a special token gives that token, and does not count
//     towards the size of the vocabulary.
//
// A count only falls once the pair is known: what raises it needs the new token of the
// merge under way, and no token is made by two different merges (until it is whole,
// nothing outside it takes part in how the bytes of a token come together). So a
// queue whose counts are too high at worst is put right when they come to its front,
// and pairs that begin too rare are forgotten at once.
type learner struct {
	*alphabet
	*symbols
	widths []int32 // by id, in bytes
	least  int64   // smallest count that is merged

	index map[uint64]int32 // by key
	pairs []pair
	queue queue

	// Of the merge under way: what is on the left of the pairs and on their right, by id.
	left, right side
}

// pair is two tokens that follow each other in a word.
type pair struct {
	count  int64
	places []int32 // where it begins, or did, in order; nil after it was merged
}

func key(a, b int32) uint64           { return uint64(a)<<32 | uint64(b) }
func unkey(key uint64) (int32, int32) { return int32(key >> 32), int32(key) }

// Learn merges pairs until the vocabulary is complete. step is told of every token
// added.
func (w *Words) Learn(ctx context.Context, cfg Config, step func(n int64)) (*Vocab, error) {
	cfg = cfg.filled()
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	l := &learner{alphabet: newAlphabet(cfg.Special), index: map[uint64]int32{}, least: max(1, cfg.MinFrequency)}
	var err error
	if l.symbols, err = w.newSymbols(ctx, cfg.Memory, l.alphabet); err != nil {
		return nil, err
	}
	w.tables = nil // their memory
	for range l.texts {
		l.widths = append(l.widths, 1) // that of a special token is set when it is merged
	}
	l.begin()
	v := &Vocab{special: cfg.Special, split: cfg.Splitter}
	for len(l.texts) < cfg.VocabSize {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		top, ok := l.next()
		if !ok {
			break
		}
		a, b := unkey(top.key)
		v.Merges = append(v.Merges, [2]string{l.texts[a], l.texts[b]})
		before := len(l.texts)
		l.merge(top.pair, a, b)
		step(int64(len(l.texts) - before))
	}
	v.Tokens, v.Reached = l.texts, len(l.texts) == cfg.VocabSize
	return v, nil
}

// begin finds the pairs of bytes.
func (l *learner) begin() {
	var counts [1 << 16]int64 // by both bytes
	var sizes [1 << 16]int32
	bytes := make([]int32, len(l.texts)) // by id
	for b, id := range l.bytes {
		bytes[id] = int32(b)
	}
	each := func(f func(pair, place int32)) {
		for i := range l.at[:len(l.at)-1] {
			if a, b := l.at[i].id, l.at[i+1].id; a >= 0 && b >= 0 {
				f(bytes[a]<<8|bytes[b], int32(i))
			}
		}
	}
	each(func(p, place int32) {
		counts[p] += l.count(place)
		sizes[p]++
	})
	places := make([][]int32, 1<<16)
	for p, n := range sizes {
		if counts[p] >= l.least {
			places[p] = make([]int32, 0, n)
		}
	}
	each(func(p, place int32) {
		if places[p] != nil {
			places[p] = append(places[p], place)
		}
	})
	for p, list := range places {
		if list != nil {
			l.add(key(l.bytes[p>>8], l.bytes[p&255]), counts[p], list)
		}
	}
}

// add makes a pair known.
func (l *learner) add(key uint64, count int64, places []int32) {
	l.index[key] = int32(len(l.pairs))
	l.queue.push(entry{count, key, int32(len(l.pairs))})
	l.pairs = append(l.pairs, pair{count, places})
}

// next takes the pair to merge from the queue.
func (l *learner) next() (entry, bool) {
	for len(l.queue) > 0 {
		top := l.queue[0]
		now := l.pairs[top.pair].count
		switch {
		case now == top.count:
			l.queue.pop()
			return top, true
		case now < l.least:
			l.queue.pop()
			l.forget(top)
		default:
			l.queue[0].count = now
			l.queue.down(0)
		}
	}
	return entry{}, false
}

func (l *learner) forget(e entry) {
	delete(l.index, e.key)
	l.pairs[e.pair].places = nil
}

// merge makes a token of a and b wherever they follow each other.
func (l *learner) merge(p int32, a, b int32) {
	z := l.alphabet.add(l.texts[a] + l.texts[b])
	width := l.widths[a] + l.widths[b]
	if int(z) == len(l.widths) {
		l.widths = append(l.widths, width)
	}
	l.widths[z] = width
	l.left.begin(len(l.texts))
	l.right.begin(len(l.texts))
	at := l.at
	for _, i := range l.pairs[p].places {
		if at[i].id != a {
			continue
		}
		j := i + l.widths[a]
		if at[j].id != b {
			continue
		}
		n := l.count(i)
		if x := at[i-1].id; x != border {
			if x < 0 {
				x = ^x
			}
			l.left.add(x, i-l.widths[x], n)
		}
		end := i + width
		at[i].id = z
		at[j].id = consumed
		at[end-1].id = ^z
		if y := at[end].id; y != border {
			l.right.add(y, i, n)
		}
	}
	l.forget(entry{key: key(a, b), pair: p})
	for _, x := range l.left.ids {
		l.lower(key(x, a), l.left.sums[x]) // not of z a, which is not known yet
	}
	for _, y := range l.right.ids {
		l.lower(key(b, y), l.right.sums[y])
	}
	l.left.sort(l.least)
	l.right.sort(l.least)
	for _, x := range l.left.ids {
		if count := l.left.sums[x]; count >= l.least {
			l.add(key(x, z), count, l.left.places(x))
		}
	}
	for _, y := range l.right.ids {
		count := l.right.sums[y]
		if y == a {
			count -= l.left.sums[z] // z a that has become z z: a b a b
		}
		if count >= l.least {
			l.add(key(z, y), count, l.right.places(y))
		}
	}
}

// lower takes count off that of a pair, if it is known.
func (l *learner) lower(key uint64, count int64) {
	if p, ok := l.index[key]; ok {
		l.pairs[p].count -= count
	}
}
