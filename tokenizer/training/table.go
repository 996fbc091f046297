package training

import "hash/maphash"

// table counts words. Not for several goroutines.
type table struct {
	seed  maphash.Seed
	slots []uint32 // index in words + 1, 0 for free; open addressing, at most half full
	words []word
	text  []byte // of all words, one behind the other
	n     int64  // words counted
}

// word is a different word and how often it occurs.
type word struct {
	at    int64 // in table.text
	count int64
	len   uint32
	hash  uint32 // the low bits, which the place in slots is of
}

// wordSize is the size of a word and its two slots in bytes.
const wordSize = 24 + 2*4

func newTable(seed maphash.Seed) *table {
	return &table{seed: seed, slots: make([]uint32, 1<<10)}
}

// add counts s n times more.
func (t *table) add(s string, n int64) {
	t.addHashed(s, uint32(maphash.String(t.seed, s)), n)
}

func (t *table) addHashed(s string, hash uint32, n int64) {
	t.n += n
	mask := uint32(len(t.slots) - 1)
	i := hash & mask
	for ; t.slots[i] != 0; i = (i + 1) & mask {
		w := &t.words[t.slots[i]-1]
		if w.hash == hash && int(w.len) == len(s) && string(t.text[w.at:w.at+int64(w.len)]) == s {
			w.count += n
			return
		}
	}
	t.words = append(t.words, word{at: int64(len(t.text)), count: n, len: uint32(len(s)), hash: hash})
	t.text = append(t.text, s...)
	t.slots[i] = uint32(len(t.words))
	if 2*len(t.words) > len(t.slots) {
		t.grow()
	}
}

func (t *table) grow() {
	t.slots = make([]uint32, 2*len(t.slots))
	mask := uint32(len(t.slots) - 1)
	for k, w := range t.words {
		i := w.hash & mask
		for t.slots[i] != 0 {
			i = (i + 1) & mask
		}
		t.slots[i] = uint32(k + 1)
	}
}

// bytes is about the memory that the table takes.
func (t *table) bytes() int64 { return int64(len(t.words))*wordSize + int64(len(t.text)) }

func (t *table) textOf(w word) []byte { return t.text[w.at : w.at+int64(w.len)] }

// reset empties the table and keeps its memory.
func (t *table) reset() {
	clear(t.slots)
	t.words, t.text = t.words[:0], t.text[:0]
}

// join moves the words of tables of one seed into as many that have none in common.
func join(tables []*table) []*table {
	parts := make([]*table, len(tables))
	done := make(chan struct{})
	for p := range parts {
		go func() {
			defer func() { done <- struct{}{} }()
			parts[p] = newTable(tables[0].seed)
			for _, t := range tables {
				for _, w := range t.words {
					// The high bits: the low ones are the place in the new table.
					if int(uint64(w.hash)*uint64(len(parts))>>32) == p {
						parts[p].addHashed(string(t.textOf(w)), w.hash, w.count)
					}
				}
			}
		}()
	}
	for range parts {
		<-done
	}
	return parts
}
