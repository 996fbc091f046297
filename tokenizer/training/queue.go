package training

// entry is a pair that waits to be merged.
type entry struct {
	count int64 // as it was; at least what it is
	key   uint64
	pair  int32 // in learner.pairs
}

// queue is a heap: first the largest count, then the smallest key.
type queue []entry

func (q queue) before(i, j int) bool {
	if q[i].count != q[j].count {
		return q[i].count > q[j].count
	}
	return q[i].key < q[j].key
}

func (q *queue) push(e entry) {
	*q = append(*q, e)
	h := *q
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if !h.before(i, up) {
			break
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
}

func (q *queue) pop() {
	h := *q
	last := len(h) - 1
	h[0] = h[last]
	*q = h[:last]
	q.down(0)
}

// down puts the entry at i, whose count has fallen, in its place.
func (q queue) down(i int) {
	for {
		first := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(q); c++ {
			if q.before(c, first) {
				first = c
			}
		}
		if first == i {
			return
		}
		q[i], q[first] = q[first], q[i]
		i = first
	}
}

// side collects the neighbours on one side of the pairs that a merge goes through: how
// often each token is one, and where the pair with it begins.
type side struct {
	sums []int64 // by id
	n    []int32 // places, by id
	end  []int32 // of those in sorted, by id
	ids  []int32 // those with places
	all  []neighbour

	sorted []int32 // the places of those with large enough a sum, by id
}

type neighbour struct{ id, place int32 }

// begin empties the side, for ids below size.
func (s *side) begin(size int) {
	for _, id := range s.ids {
		s.sums[id], s.n[id] = 0, 0
	}
	for len(s.sums) < size {
		s.sums, s.n, s.end = append(s.sums, 0), append(s.n, 0), append(s.end, 0)
	}
	s.ids, s.all = s.ids[:0], s.all[:0]
}

func (s *side) add(id, place int32, count int64) {
	if s.n[id] == 0 {
		s.ids = append(s.ids, id)
	}
	s.sums[id] += count
	s.n[id]++
	s.all = append(s.all, neighbour{id, place})
}

// sort brings the places of ids with a sum of least or more together, in one piece of
// memory. The order of each one's places stays.
func (s *side) sort(least int64) {
	var total int32
	for _, id := range s.ids {
		if s.sums[id] >= least {
			s.end[id] = total
			total += s.n[id]
		}
	}
	s.sorted = make([]int32, total)
	for _, x := range s.all {
		if s.sums[x.id] >= least {
			s.sorted[s.end[x.id]] = x.place
			s.end[x.id]++
		}
	}
}

// places returns those of an id with a large enough sum, after sort.
func (s *side) places(id int32) []int32 {
	end := s.end[id]
	return s.sorted[end-s.n[id] : end : end]
}
