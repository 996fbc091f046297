package tokenizer

import (
	"errors"
	"fmt"
	"math"
	"sync"
)

// unigramPiece is one token of a Unigram vocabulary with its log probability.
type unigramPiece struct {
	text  string
	score float64
}

// unknownPenalty is how much worse than the worst piece a character outside the
// vocabulary is.
const unknownPenalty = 10

// unigram is the Unigram model of SentencePiece: of all ways to cut a text into
// pieces it takes the one whose scores have the largest sum (Viterbi).
type unigram struct {
	pieces  []unigramPiece // by id
	trie    *byteTrie      // the pieces a text may be cut into
	ids     map[string]int32
	unknown int32 // -1: characters outside the vocabulary are dropped
	unkCost float64
	byteID  [256]int32 // tokens <0x..>; -1 none
	bytes   bool       // fall back to them

	// single rounds sums to float32 as SentencePiece does; Hugging Face's sums are
	// float64, and two ways to cut a text can be that close.
	single bool

	scratch sync.Pool // *unigramScratch
	cache   pieceCache
}

// newUnigram makes the model as Hugging Face does: pieces by id, each of which may
// be found in a text. unknown is the id of the unknown token, -1 without one;
// byteFallback spells characters outside the vocabulary as <0x..> if it has them.
func newUnigram(pieces []unigramPiece, unknown int32, byteFallback bool) (*unigram, error) {
	return newUnigramOf(pieces, nil, unknown, byteFallback)
}

// newUnigramOf leaves those pieces out of the search for which use is false; nil
// leaves none out.
func newUnigramOf(pieces []unigramPiece, use []bool, unknown int32, byteFallback bool) (*unigram, error) {
	switch {
	case len(pieces) == 0:
		return nil, errors.New("the vocabulary is empty")
	case int(unknown) >= len(pieces):
		return nil, fmt.Errorf("unk_id %d is outside the vocabulary of %d", unknown, len(pieces))
	}
	m := &unigram{
		pieces: pieces, unknown: unknown, bytes: byteFallback,
		ids: make(map[string]int32, len(pieces)),
	}
	lowest := math.Inf(1)
	keys, values := make([]string, 0, len(pieces)), make([]int32, 0, len(pieces))
	for id, p := range pieces {
		if math.IsNaN(p.score) || math.IsInf(p.score, 0) {
			return nil, fmt.Errorf("score of piece %d, %q: %v is no number", id, p.text, p.score)
		}
		m.ids[p.text] = int32(id) // the last of equal ones
		if use != nil && !use[id] {
			continue
		}
		lowest = min(lowest, p.score)
		keys, values = append(keys, p.text), append(values, int32(id))
	}
	if math.IsInf(lowest, 1) {
		lowest = 0
	}
	m.trie = newByteTrie(keys, values)
	m.unkCost = lowest - unknownPenalty
	for b := range m.byteID {
		m.byteID[b] = -1
		if id, ok := m.ids[fmt.Sprintf("<0x%02X>", b)]; ok {
			m.byteID[b] = id
		}
	}
	return m, nil
}

func (m *unigram) size() int { return len(m.pieces) }

func (m *unigram) id(token string) (int32, bool) {
	id, ok := m.ids[token]
	return id, ok
}

func (m *unigram) token(id int32) (string, bool) {
	if id < 0 || int(id) >= len(m.pieces) {
		return "", false
	}
	return m.pieces[id].text, true
}

// appendIDs implements model.
func (m *unigram) appendIDs(dst []int32, w string) []int32 {
	if w == "" {
		return dst
	}
	if ids, ok := m.cache.get(w); ok {
		return append(dst, ids...)
	}
	n := len(dst)
	k := m.search(w)
	for i := len(k.path) - 1; i >= 0; i-- {
		m.spell(w, k.path[i], func(p piece) { dst = append(dst, p.id) })
	}
	m.release(k)
	m.cache.put(w, dst[n:])
	return dst
}

// appendPieces implements model. The bytes of a run of unknown characters all get
// the range of the run, as in Hugging Face.
func (m *unigram) appendPieces(dst []piece, w string) []piece {
	k := m.search(w)
	for i := len(k.path) - 1; i >= 0; i-- {
		m.spell(w, k.path[i], func(p piece) { dst = append(dst, p) })
	}
	m.release(k)
	return dst
}

// spell emits the ids of one step of the best path: a piece, or a run of unknown
// characters.
func (m *unigram) spell(w string, p piece, emit func(piece)) {
	if p.id != m.unknown {
		emit(p)
		return
	}
	text := w[p.start:p.end]
	if !m.single {
		// Two characters that are worse as a piece than as two unknowns are that
		// piece nevertheless.
		if id, ok := m.ids[text]; ok {
			p.id = id
			emit(p)
			return
		}
	}
	if m.bytes {
		whole := true
		for i := 0; i < len(text) && whole; i++ {
			whole = m.byteID[text[i]] >= 0
		}
		if whole {
			for i := 0; i < len(text); i++ {
				emit(piece{m.byteID[text[i]], p.start, p.end})
			}
			return
		}
	}
	if p.id >= 0 {
		emit(p)
	}
}

// unigramScratch is the memory of one search, kept for the next.
type unigramScratch struct {
	score []float64 // of the best path that ends at a byte
	from  []int32   // where its last piece begins, -1: no path yet
	last  []int32   // the id of that piece
	path  []piece   // of the whole text, last piece first
}

func (m *unigram) release(k *unigramScratch) {
	if cap(k.score) <= maxKept {
		m.scratch.Put(k)
	}
}

// search finds the best path through w. Runs of unknown characters are one step.
func (m *unigram) search(w string) *unigramScratch {
	k, _ := m.scratch.Get().(*unigramScratch)
	if k == nil {
		k = new(unigramScratch)
	}
	n := len(w)
	if cap(k.score) <= n {
		k.score, k.from, k.last = make([]float64, n+1), make([]int32, n+1), make([]int32, n+1)
	}
	k.score, k.from, k.last = k.score[:n+1], k.from[:n+1], k.last[:n+1]
	for i := range k.from {
		k.from[i] = -1
	}
	k.score[0] = 0
	t := m.trie
	for i := 0; i < n; {
		_, size := decodeRune(w, i)
		so, alone := k.score[i], false
		for node, j := uint32(0), i; j < n; {
			if node = t.child(node, w[j]); node == 0 {
				break
			}
			j++
			id := t.value[node]
			if id < 0 {
				continue
			}
			m.reach(k, i, j, id, m.round(so+m.pieces[id].score))
			alone = alone || j-i == size
		}
		if !alone {
			m.reach(k, i, i+size, m.unknown, m.round(so+m.unkCost))
		}
		i += size
	}
	k.path = k.path[:0]
	for end := n; end > 0; {
		start, id := int(k.from[end]), k.last[end]
		if last := len(k.path) - 1; id == m.unknown && last >= 0 && k.path[last].id == id {
			k.path[last].start = start
		} else {
			k.path = append(k.path, piece{id, start, end})
		}
		end = start
	}
	return k
}

// reach takes a path to end that is better than the one there is.
func (m *unigram) reach(k *unigramScratch, start, end int, id int32, score float64) {
	if k.from[end] < 0 || score > k.score[end] {
		k.score[end], k.from[end], k.last[end] = score, int32(start), id
	}
}

func (m *unigram) round(x float64) float64 {
	if m.single {
		return float64(float32(x))
	}
	return x
}
