package tokenizer

import "math"

// mergeTable maps a pair of ids to the rank of its merge and the id it makes: an
// open-addressing hash table, because a Go map of 300,000 pairs takes three times
// the memory and time.
type mergeTable struct {
	slots []mergeSlot // a power of two
	mask  uint64
}

type mergeSlot struct {
	pair uint64 // left id << 32 | right id; noPair: empty
	rank uint32
	id   int32
}

const (
	noPair = math.MaxUint64
	noRank = math.MaxUint32
)

// newMergeTable makes room for n merges at half load.
func newMergeTable(n int) *mergeTable {
	size := 16
	for size < n*2 {
		size *= 2
	}
	t := &mergeTable{slots: make([]mergeSlot, size), mask: uint64(size - 1)}
	for i := range t.slots {
		t.slots[i].pair = noPair
	}
	return t
}

func pairKey(a, b int32) uint64 { return uint64(uint32(a))<<32 | uint64(uint32(b)) }

// hashPair is Fibonacci hashing with the high bits folded in.
func hashPair(k uint64) uint64 { k *= 0x9E3779B97F4A7C15; return k ^ k>>29 }

// put adds a merge; the last one of a pair counts. There must be room.
func (t *mergeTable) put(a, b int32, rank uint32, id int32) {
	k := pairKey(a, b)
	for h := hashPair(k) & t.mask; ; h = (h + 1) & t.mask {
		if t.slots[h].pair == noPair || t.slots[h].pair == k {
			t.slots[h] = mergeSlot{k, rank, id}
			return
		}
	}
}

// get returns noRank for a pair that no merge joins.
func (t *mergeTable) get(a, b int32) (rank uint32, id int32) {
	k := pairKey(a, b)
	for h := hashPair(k) & t.mask; ; h = (h + 1) & t.mask {
		s := &t.slots[h]
		if s.pair == k {
			return s.rank, s.id
		}
		if s.pair == noPair {
			return noRank, -1
		}
	}
}

// mergeScratch is the memory of one merge, kept for the next.
type mergeScratch struct {
	ids, into  []int32  // into: what the pair at a position becomes
	rank       []uint32 // of the pair at a position
	prev, next []int32
	queue      []uint64
}

// maxScan is the number of symbols up to which looking at all of them each round
// is faster than a heap (measured on English words).
const maxScan = 48

// scan merges the lowest rank first, the leftmost of equal ones, by looking at all.
func (t *mergeTable) scan(k *mergeScratch, dst, ids []int32) []int32 {
	rank, into := k.rank[:0], k.into[:0]
	for i := 0; i+1 < len(ids); i++ {
		r, id := t.get(ids[i], ids[i+1])
		rank, into = append(rank, r), append(into, id)
	}
	for len(rank) > 0 {
		best, at := uint32(noRank), -1
		for i, r := range rank {
			if r < best {
				best, at = r, i
			}
		}
		if at < 0 {
			break
		}
		ids[at] = into[at]
		ids = append(ids[:at+1], ids[at+2:]...)
		rank = append(rank[:at], rank[at+1:]...)
		into = append(into[:at], into[at+1:]...)
		if at > 0 {
			rank[at-1], into[at-1] = t.get(ids[at-1], ids[at])
		}
		if at < len(rank) {
			rank[at], into[at] = t.get(ids[at], ids[at+1])
		}
	}
	k.rank, k.into = rank[:0], into[:0]
	return append(dst, ids...)
}

// heap does the same with a heap of rank<<32|position over a linked list, for
// long texts: O(n log n). Entries whose pair has changed since are passed over.
func (t *mergeTable) heap(k *mergeScratch, dst, ids []int32) []int32 {
	n := len(ids)
	if cap(k.prev) < n || cap(k.rank) < n || cap(k.into) < n {
		k.prev, k.next = make([]int32, n), make([]int32, n)
		k.rank, k.into = make([]uint32, n), make([]int32, n)
	}
	prev, next, rank, into := k.prev[:n], k.next[:n], k.rank[:n], k.into[:n]
	q := k.queue[:0]
	for i := range ids {
		prev[i], next[i], rank[i] = int32(i-1), int32(i+1), noRank
		if i+1 < n {
			rank[i], into[i] = t.get(ids[i], ids[i+1])
			if rank[i] != noRank {
				q = append(q, uint64(rank[i])<<32|uint64(i))
			}
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
		if ids[i] < 0 || rank[i] != uint32(top>>32) {
			continue
		}
		j := next[i]
		after := next[j]
		ids[i], ids[j] = into[i], -1
		rank[i], rank[j] = noRank, noRank
		next[i] = after
		if int(after) < n {
			prev[after] = i
			if rank[i], into[i] = t.get(ids[i], ids[after]); rank[i] != noRank {
				q = push(q, uint64(rank[i])<<32|uint64(i))
			}
		}
		if p := prev[i]; p >= 0 {
			if rank[p], into[p] = t.get(ids[p], ids[i]); rank[p] != noRank {
				q = push(q, uint64(rank[p])<<32|uint64(p))
			}
		}
	}
	for _, id := range ids {
		if id >= 0 {
			dst = append(dst, id)
		}
	}
	k.queue = q[:0]
	return dst
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
