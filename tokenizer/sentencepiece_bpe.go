package tokenizer

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// pieceBPE is the BPE model of SentencePiece. It differs from that of
// tokenizer.json in that it has no merges: two neighbours may be joined when
// together they are a piece, however they came about; the piece of the best score
// comes first, the leftmost of equal ones.
type pieceBPE struct {
	pieces  []spmPiece // by id
	ids     map[string]int32
	rank    []uint32 // by id: 0 for the best score, equal for equal ones; noPiece: not looked for in a text
	longest int      // bytes of the longest piece with a rank
	unused  bool     // there are unused pieces
	unknown int32    // -1: characters outside the vocabulary are dropped
	byteID  [256]int32
	bytes   bool // characters outside the vocabulary become <0x..> tokens

	// glued holds the characters x for which some piece contains x+"▁". Between any
	// other x and a ▁ a text may be cut without changing its ids. nil: never cut.
	glued map[rune]bool

	// bytewise: pieces are bytes, and so are the symbols; a text that is a piece is
	// that piece, whatever its parts (tiktoken).
	bytewise bool

	scratch sync.Pool // *pieceScratch
	cache   pieceCache
}

const noPiece = ^uint32(0)

// newPieceBPE makes the model; the texts of pieces are to be unique.
func newPieceBPE(pieces []spmPiece, unknown int32, byteFallback bool) (*pieceBPE, error) {
	m := &pieceBPE{pieces: pieces, unknown: unknown, bytes: byteFallback, glued: map[rune]bool{}}
	m.byteID = byteIDs(pieces)
	return m, m.index()
}

// index looks at the pieces.
func (m *pieceBPE) index() error {
	pieces := m.pieces
	m.rank = make([]uint32, len(pieces))
	var err error
	if m.ids, err = pieceIDs(pieces); err != nil {
		return err
	}
	if id, ok := m.ids[string(spaceMark)]; !ok || !pieces[id].kind.inText() {
		m.glued = nil
	}
	order := make([]int32, 0, len(pieces))
	for i := range pieces {
		p := &pieces[i]
		m.rank[i] = noPiece
		if !p.kind.inText() {
			continue
		}
		order = append(order, int32(i))
		m.longest = max(m.longest, len(p.text))
		m.unused = m.unused || p.kind == pieceUnused
		m.noteGlued(p.text)
	}
	slices.SortFunc(order, func(a, b int32) int {
		switch x, y := pieces[a].score, pieces[b].score; {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return 0
	})
	rank := uint32(0)
	for i, id := range order {
		if i > 0 && pieces[order[i-1]].score != pieces[id].score {
			rank++
		}
		m.rank[id] = rank
	}
	return nil
}

// noteGlued records which characters stand before a ▁ in a piece.
func (m *pieceBPE) noteGlued(text string) {
	if m.glued == nil {
		return
	}
	for i := 1; i < len(text); {
		k := strings.Index(text[i:], string(spaceMark))
		if k < 0 {
			return
		}
		i += k
		if r, _ := utf8.DecodeLastRuneInString(text[:i]); i > 0 && r != spaceMark {
			m.glued[r] = true
		}
		i += len(string(spaceMark))
	}
}

// pieceIDs is the inverse of pieces, which are to be unique. Those without a kind
// are ids without a piece.
func pieceIDs(pieces []spmPiece) (map[string]int32, error) {
	ids, n := make(map[string]int32, len(pieces)), 0
	for i := range pieces {
		if pieces[i].kind != 0 {
			ids[pieces[i].text] = int32(i)
			n++
		}
	}
	if len(ids) == n {
		return ids, nil
	}
	for i := range pieces {
		if j := ids[pieces[i].text]; pieces[i].kind != 0 && int(j) != i {
			return nil, fmt.Errorf("pieces %d and %d are both %q", i, j, pieces[i].text)
		}
	}
	return ids, nil
}

// byteIDs finds the byte pieces; -1 for bytes without one.
func byteIDs(pieces []spmPiece) (ids [256]int32) {
	for b := range ids {
		ids[b] = -1
	}
	for i := range pieces {
		if b, ok := byteToken(pieces[i].text); ok && pieces[i].kind == pieceByte {
			ids[b] = int32(i)
		}
	}
	return ids
}

func (m *pieceBPE) size() int { return len(m.pieces) }

func (m *pieceBPE) id(token string) (int32, bool) {
	id, ok := m.ids[token]
	if m.bytewise && !(ok && m.rank[id] == noPiece) { // special tokens are spelled as they are
		raw, spelled := byteLevelBytes([]byte(token))
		if !spelled {
			return 0, false
		}
		id, ok = m.ids[string(raw)]
	}
	return id, ok
}

func (m *pieceBPE) token(id int32) (string, bool) {
	if id < 0 || int(id) >= len(m.pieces) || m.pieces[id].kind == 0 {
		return "", false
	}
	if m.bytewise && m.rank[id] != noPiece {
		return byteLevelText(m.pieces[id].text), true
	}
	return m.pieces[id].text, true
}

// appendIDs implements model.
func (m *pieceBPE) appendIDs(dst []int32, w string) []int32 {
	m.chunks(w, func(start, end int) {
		chunk := w[start:end]
		if ids, ok := m.cache.get(chunk); ok {
			dst = append(dst, ids...)
			return
		}
		n := len(dst)
		m.merge(chunk, func(p piece) { dst = append(dst, p.id) })
		m.cache.put(chunk, dst[n:])
	})
	return dst
}

// appendPieces implements model. The bytes of a character all get its range.
func (m *pieceBPE) appendPieces(dst []piece, w string) []piece {
	m.chunks(w, func(start, end int) {
		m.merge(w[start:end], func(p piece) {
			dst = append(dst, piece{p.id, start + p.start, start + p.end})
		})
	})
	return dst
}

// chunks cuts w where no piece can cross.
func (m *pieceBPE) chunks(w string, f func(start, end int)) {
	start := 0
	if m.glued != nil {
		prev := spaceMark
		for i, r := range w {
			if r == spaceMark && prev != spaceMark && !m.glued[prev] {
				f(start, i)
				start = i
			}
			prev = r
		}
	}
	if start < len(w) {
		f(start, len(w))
	}
}

// pieceScratch is the memory of one merge, kept for the next.
type pieceScratch struct {
	symbols []pieceSymbol
	queue   []uint64 // rank<<32 | symbol, a heap
	// halves has the length of the left half of an unused piece, as it was last seen.
	halves map[string]int
}

// pieceSymbol is a part of the text that is a piece or a character. A symbol that
// was joined to the one before it has no bytes left.
type pieceSymbol struct {
	start, end int32
	prev, next int32
	rank       uint32 // of the piece that it makes with the next symbol
	into       int32  // that piece
	id         int32  // -1: a character, not looked up yet
}

// merge emits the ids of w in order.
func (m *pieceBPE) merge(w string, emit func(piece)) {
	if m.bytewise {
		if id, ok := m.ids[w]; ok && m.rank[id] != noPiece {
			emit(piece{id, 0, len(w)})
			return
		}
	}
	k, _ := m.scratch.Get().(*pieceScratch)
	if k == nil {
		k = &pieceScratch{halves: map[string]int{}}
	}
	syms, q := k.symbols[:0], k.queue[:0]
	for i := 0; i < len(w); {
		n := 1
		if !m.bytewise {
			_, n = decodeRune(w, i)
		}
		at := int32(len(syms))
		syms = append(syms, pieceSymbol{int32(i), int32(i + n), at - 1, at + 1, noPiece, -1, -1})
		i += n
	}
	last := int32(len(syms))
	consider := func(i int32) { // the pair of symbol i and the one after it
		s := &syms[i]
		s.rank = noPiece
		if s.next >= last {
			return
		}
		end := syms[s.next].end
		if int(end-s.start) > m.longest {
			return
		}
		text := w[s.start:end]
		id, ok := m.ids[text]
		if !ok || m.rank[id] == noPiece {
			return
		}
		s.rank, s.into = m.rank[id], id
		q = pushKey(q, uint64(s.rank)<<32|uint64(i))
		if m.unused && m.pieces[id].kind == pieceUnused {
			k.halves[text] = int(s.end - s.start)
		}
	}
	for i := range last {
		consider(i)
	}
	for len(q) > 0 {
		var top uint64
		top, q = popKey(q)
		i := int32(uint32(top))
		s := &syms[i]
		if s.start == s.end || s.rank != uint32(top>>32) {
			continue // the pair has changed since
		}
		right := &syms[s.next]
		s.end, s.id, s.next = right.end, s.into, right.next
		right.start = right.end
		if s.next < last {
			syms[s.next].prev = i
		}
		if s.prev >= 0 {
			consider(s.prev)
		}
		consider(i)
	}
	m.emit(k, w, syms, emit)
	if cap(syms) <= maxKept {
		k.symbols, k.queue = syms, q[:0]
		clear(k.halves)
		m.scratch.Put(k)
	}
}

// emit gives the ids of what is left of the symbols. A run of unknown ones is one.
func (m *pieceBPE) emit(k *pieceScratch, w string, syms []pieceSymbol, emit func(piece)) {
	unknown := piece{-1, 0, 0} // not emitted yet
	flush := func() {
		if unknown.id >= 0 {
			emit(unknown)
			unknown.id = -1
		}
	}
	one := func(id int32, start, end int) {
		text := w[start:end]
		if id < 0 {
			var ok bool
			if id, ok = m.ids[text]; !ok {
				id = m.unknown
			}
		}
		switch {
		case id != m.unknown:
			flush()
			emit(piece{id, start, end})
		case m.spells(text):
			flush()
			for i := 0; i < len(text); i++ {
				emit(piece{m.byteID[text[i]], start, end})
			}
		case id < 0:
		case unknown.id >= 0:
			unknown.end = end
		default:
			unknown = piece{id, start, end}
		}
	}
	var split func(id int32, start, end int)
	split = func(id int32, start, end int) {
		n := 0
		if m.unused && id >= 0 && m.pieces[id].kind == pieceUnused {
			n = k.halves[w[start:end]]
		}
		if n == 0 {
			one(id, start, end)
			return
		}
		for _, half := range [][2]int{{start, start + n}, {start + n, end}} {
			id, ok := m.ids[w[half[0]:half[1]]]
			if !ok {
				id = -1
			}
			split(id, half[0], half[1])
		}
	}
	for i := int32(0); int(i) < len(syms); i = syms[i].next {
		split(syms[i].id, int(syms[i].start), int(syms[i].end))
	}
	flush()
}

// spells tells whether byte fallback can spell s.
func (m *pieceBPE) spells(s string) bool {
	for i := 0; i < len(s); i++ {
		if !m.bytes || m.byteID[s[i]] < 0 {
			return false
		}
	}
	return true
}

// maxKept bounds the memory that is kept between two texts, in bytes of text.
const maxKept = 1 << 16

// pushKey and popKey keep q a heap, the smallest first.
func pushKey(q []uint64, v uint64) []uint64 {
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

func popKey(q []uint64) (top uint64, rest []uint64) {
	n := len(q) - 1
	top, rest = q[0], q[:n]
	if n == 0 {
		return top, rest
	}
	v, i := q[n], 0
	for {
		c := 2*i + 1
		if c >= n {
			break
		}
		if c+1 < n && rest[c+1] < rest[c] {
			c++
		}
		if rest[c] >= v {
			break
		}
		rest[i] = rest[c]
		i = c
	}
	rest[i] = v
	return top, rest
}
