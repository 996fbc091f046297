package tokenizer

import (
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
)

// mergeTable maps a pair of ids to the rank of its merge and the id it makes: an
// open-addressing hash table of one word a merge. Most pairs that are looked up
// have none, so that what counts is how much of the table stays in the caches: a
// Go map takes six times the memory and time.
type mergeTable struct {
	slots    []uint64 // a power of two; left id | right id | rank+1, 0: empty
	products []int32  // by rank
	idBits   uint
	rankBits uint
	shift    uint   // of a hash, leaves the index of a slot
	factor   uint64 // of the hash: random, so that no file can be made to collide
}

const noRank = math.MaxUint32

// newMergeTable makes room for n merges of ids below size, at most 0.6 full.
func newMergeTable(n, size int) (*mergeTable, error) {
	t := &mergeTable{
		products: make([]int32, n),
		idBits:   uint(bits.Len(uint(size))),
		rankBits: uint(bits.Len(uint(n))), // of n itself: rank+1 of the last
		factor:   rand.Uint64() | 1,
	}
	if t.idBits*2+t.rankBits > 64 {
		return nil, fmt.Errorf("%d merges of ids up to %d do not fit our table: want 2 bits(ids) + bits(merges) of at most 64, got %d",
			n, size-1, t.idBits*2+t.rankBits)
	}
	log := uint(4)
	for n*5 > 3<<log {
		log++
	}
	t.slots, t.shift = make([]uint64, 1<<log), 64-log
	return t, nil
}

func (t *mergeTable) key(a, b int32) uint64 { return uint64(a)<<t.idBits | uint64(b) }

// hash is multiply-shift hashing (Dietzfelbinger et al., 1997).
func (t *mergeTable) hash(k uint64) uint64 { return k * t.factor >> (t.shift & 63) }

// put adds the merge of a rank; the last one of a pair counts. There must be room.
func (t *mergeTable) put(a, b int32, rank uint32, id int32) {
	k := t.key(a, b)
	mask := uint64(len(t.slots) - 1)
	t.products[rank] = id
	for h := t.hash(k); ; h = (h + 1) & mask {
		if s := t.slots[h]; s == 0 || s>>t.rankBits == k {
			t.slots[h] = k<<t.rankBits | uint64(rank+1)
			return
		}
	}
}

// rank returns noRank for a pair that no merge joins.
func (t *mergeTable) rank(a, b int32) uint32 {
	k := uint64(a)<<(t.idBits&63) | uint64(b)
	slots, rankBits := t.slots, t.rankBits&63
	for h := int(k * t.factor >> (t.shift & 63)); ; h++ {
		s := slots[h&(len(slots)-1)]
		if s>>rankBits == k {
			return uint32(s&(1<<rankBits-1)) - 1 // an empty slot: 0 - 1 is noRank
		}
		if s == 0 {
			return noRank
		}
	}
}

// A symbol is a token on its way: its id, the first symbol of the text that it
// is made of, and the rank of the pair that it forms with the next.
type symbol struct {
	id, at int32
	rank   uint32
}

// mergeScratch is the memory of one merge, kept for the next.
type mergeScratch struct {
	ids        []int32 // the first symbols of a text
	lens       []int32 // and their bytes
	row, next  []symbol
	prev, succ []int32
	queue      []uint64
}

// maxScan is the number of symbols up to which looking at all of them each round
// is faster than a heap (measured on English words).
const maxScan = 48

// merge appends to syms what becomes of ids: the lowest rank is merged first, the
// leftmost of equal ones. With k for memory.
func (t *mergeTable) merge(k *mergeScratch, syms []symbol, ids []int32) []symbol {
	for i, id := range ids {
		rank := uint32(noRank)
		if i+1 < len(ids) {
			rank = t.rank(id, ids[i+1])
		}
		syms = append(syms, symbol{id, int32(i), rank})
	}
	if len(ids) > maxScan {
		return t.heap(k, syms)
	}
	for {
		best, at := uint32(noRank), 0
		for i := range syms {
			if r := syms[i].rank; r < best {
				best, at = r, i
			}
		}
		if best == noRank {
			return syms
		}
		syms[at].id = t.products[best]
		copy(syms[at+1:], syms[at+2:])
		syms = syms[:len(syms)-1]
		if at+1 < len(syms) {
			syms[at].rank = t.rank(syms[at].id, syms[at+1].id)
		} else {
			syms[at].rank = noRank
		}
		if at > 0 {
			syms[at-1].rank = t.rank(syms[at-1].id, syms[at].id)
		}
	}
}

// heap does the same with a heap of rank<<32|position over a linked list:
// O(n log n). Entries whose pair has changed since are passed over.
func (t *mergeTable) heap(k *mergeScratch, syms []symbol) []symbol {
	n := len(syms)
	if cap(k.prev) < n {
		k.prev, k.succ = make([]int32, n), make([]int32, n)
	}
	prev, next, q := k.prev[:n], k.succ[:n], k.queue[:0]
	for i := range syms {
		prev[i], next[i] = int32(i-1), int32(i+1)
		if r := syms[i].rank; r != noRank {
			q = append(q, uint64(r)<<32|uint64(i))
		}
	}
	for i := len(q)/2 - 1; i >= 0; i-- {
		siftDown(q, i)
	}
	for len(q) > 0 {
		top := q[0]
		q[0] = q[len(q)-1]
		q = q[:len(q)-1]
		if len(q) > 0 {
			siftDown(q, 0)
		}
		i := int32(uint32(top))
		s := &syms[i]
		if s.id < 0 || s.rank != uint32(top>>32) {
			continue
		}
		j := next[i]
		after := next[j]
		s.id, s.rank = t.products[s.rank], noRank
		syms[j].id = -1
		next[i] = after
		if int(after) < n {
			prev[after] = i
			if s.rank = t.rank(s.id, syms[after].id); s.rank != noRank {
				q = push(q, uint64(s.rank)<<32|uint64(i))
			}
		}
		if p := prev[i]; p >= 0 {
			if syms[p].rank = t.rank(syms[p].id, s.id); syms[p].rank != noRank {
				q = push(q, uint64(syms[p].rank)<<32|uint64(p))
			}
		}
	}
	k.queue = q[:0]
	left := 0
	for _, s := range syms {
		if s.id >= 0 {
			syms[left] = s
			left++
		}
	}
	return syms[:left]
}

func push(q []uint64, v uint64) []uint64 {
	q = append(q, v)
	i := len(q) - 1
	for i > 0 {
		p := (i - 1) / 2
		if q[p] <= v {
			break
		}
		q[i] = q[p]
		i = p
	}
	q[i] = v
	return q
}

func siftDown(q []uint64, i int) {
	v, n := q[i], len(q)
	for {
		c := 2*i + 1
		if c >= n {
			break
		}
		if c+1 < n && q[c+1] < q[c] {
			c++
		}
		if q[c] >= v {
			break
		}
		q[i] = q[c]
		i = c
	}
	q[i] = v
}
