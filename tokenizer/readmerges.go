package tokenizer

import (
	"bytes"
	"fmt"
	"math"
	"sync"
	"unicode/utf8"
)

// mergeBatch is some merges of a file on their way into the table: the scanner
// fills one after the other, and each finds its ids while the next is filled.
type mergeBatch struct {
	first int    // the rank of its first merge
	text  []byte // the tokens, left and right in turns
	ends  []int32
	dead  []bool // no text reaches its tokens

	found []foundMerge
	err   error
}

type foundMerge struct {
	left, right, product int32
	x, y                 rune // the characters that it brings together
}

// batchSize is the merges in a batch: a few hundred microseconds of work.
const batchSize = 4096

// readMerges fills the merge table. A merge is "a b" or ["a", "b"].
func (m *bpe) readMerges(raw []byte) error {
	var (
		batches []*mergeBatch
		batch   *mergeBatch
		wait    sync.WaitGroup
		count   int
	)
	find := func(b *mergeBatch) {
		if b != nil {
			wait.Go(func() { b.err = b.find(m) })
		}
	}
	s := &jsonScanner{b: raw}
	err := s.array(func() error {
		if count%batchSize == 0 {
			find(batch)
			batch = &mergeBatch{
				first: count,
				text:  make([]byte, 0, 8*batchSize),
				ends:  make([]int32, 0, 2*batchSize),
				dead:  make([]bool, 0, batchSize),
			}
			batches = append(batches, batch)
		}
		count++
		return batch.read(s, m.byteLevel)
	})
	find(batch)
	wait.Wait()
	if err != nil {
		return err
	}
	if m.merges, err = newMergeTable(count, m.vocab.size()); err != nil {
		return err
	}
	// Cutting a text is exact only if no word is looked up as a whole and no
	// symbol depends on its place in the word.
	if !m.byteLevel && !m.ignoreMerges && m.prefix == "" && m.suffix == "" {
		m.joins = newCharPairs(count)
	}
	for _, b := range batches {
		if b.err != nil {
			return b.err
		}
		for i, f := range b.found {
			if b.dead[i] {
				continue
			}
			m.merges.put(f.left, f.right, uint32(b.first+i), f.product)
			if m.joins != nil && (m.standsIn(f.left) || m.standsIn(f.right)) {
				m.joins = nil // a token is spelled with other characters than it stands for
			}
			if m.joins != nil {
				m.joins.add(f.x, f.y)
			}
		}
	}
	return nil
}

// standsIn tells whether id is the unknown token or one of byte fallback.
func (m *bpe) standsIn(id int32) bool {
	if id == m.unknown {
		return true
	}
	b, ok := byteToken(m.vocab.token(id))
	return ok && m.byteFallback && m.byteID[b] == id
}

// read appends the next merge of a file.
func (b *mergeBatch) read(s *jsonScanner, byteLevel bool) error {
	dead := false
	add := func(token []byte) {
		ok := true
		if byteLevel {
			b.text, ok = appendByteLevel(b.text, token)
		} else {
			b.text = append(b.text, token...)
		}
		b.ends = append(b.ends, int32(len(b.text)))
		dead = dead || !ok
	}
	if s.eat('[') {
		left, err := s.str()
		if err != nil {
			return err
		}
		add(left)
		if !s.eat(',') {
			return s.malformed()
		}
		right, err := s.str()
		if err != nil {
			return err
		}
		add(right)
		if !s.eat(']') {
			return s.malformed()
		}
	} else {
		both, err := s.str()
		if err != nil {
			return err
		}
		i := bytes.IndexByte(both, ' ')
		if i < 0 {
			return fmt.Errorf("merge %q has no space", both)
		}
		add(both[:i])
		add(both[i+1:])
	}
	b.dead = append(b.dead, dead)
	if len(b.text) > math.MaxInt32 {
		return fmt.Errorf("merges %d to %d are longer than %d bytes", b.first, b.first+len(b.dead), math.MaxInt32)
	}
	return nil
}

// find looks the tokens up.
func (b *mergeBatch) find(m *bpe) error {
	b.found = make([]foundMerge, len(b.dead))
	prefix := utf8.RuneCountInString(m.prefix) // characters where bytes are meant: as in HF
	start := int32(0)
	for i := range b.found {
		left, right, product := b.text[start:b.ends[2*i]], b.text[b.ends[2*i]:b.ends[2*i+1]], b.text[start:b.ends[2*i+1]]
		start = b.ends[2*i+1]
		if b.dead[i] {
			continue
		}
		f := &b.found[i]
		f.left, f.right = m.vocab.idOf(left), m.vocab.idOf(right)
		if prefix > 0 {
			if len(right) < prefix {
				return fmt.Errorf("merge %d of %q and %q: the second lacks continuing_subword_prefix %q", b.first+i, left, right, m.prefix)
			}
			product = append(append([]byte(nil), left...), right[prefix:]...)
		}
		if f.product = m.vocab.idOf(product); min(f.left, f.right, f.product) < 0 {
			return fmt.Errorf("merge %d of %q and %q: a token is not in the vocabulary", b.first+i, left, right)
		}
		f.x, _ = utf8.DecodeLastRune(left)
		f.y, _ = utf8.DecodeRune(right)
	}
	return nil
}
