package training

import (
	"bufio"
	"bytes"
	"container/heap"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"slices"
)

// spill is the tables of one thread that did not fit into memory: a file of runs,
// each of which has the words of a table in the order of their bytes: length, bytes
// and count of each, numbers as varints.
type spill struct {
	dir  string
	f    *os.File // nil before the first run
	runs []run
	size int64 // bytes in the file
}

type run struct{ at, size int64 }

// add writes t as a run and empties it.
func (s *spill) add(t *table) error {
	if len(t.words) == 0 {
		return nil
	}
	if s.f == nil {
		f, err := os.CreateTemp(s.dir, ".litgpt-words-")
		if err != nil {
			return err
		}
		s.f = f
		// Where a file may lose its name while it is open, nothing is left behind
		// however the program ends. Elsewhere close removes it.
		os.Remove(f.Name())
	}
	slices.SortFunc(t.words, func(a, b word) int { return bytes.Compare(t.textOf(a), t.textOf(b)) })
	w := bufio.NewWriterSize(s.f, 1<<20)
	at := s.size
	var number []byte
	for _, x := range t.words {
		number = binary.AppendUvarint(number[:0], uint64(x.len))
		w.Write(number) // Flush gives the error
		w.Write(t.textOf(x))
		s.size += int64(len(number)) + int64(x.len)
		number = binary.AppendUvarint(number[:0], uint64(x.count))
		w.Write(number)
		s.size += int64(len(number))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	s.runs = append(s.runs, run{at, s.size - at})
	t.reset()
	return nil
}

func (s *spill) close() error {
	if s.f == nil {
		return nil
	}
	err := s.f.Close()
	os.Remove(s.f.Name()) // where add could not
	s.f = nil
	return err
}

// sum calls f for every different word of all runs with the sum of its counts, in the
// order of bytes.
func sum(ctx context.Context, spills []*spill, f func(text []byte, count int64)) error {
	var q cursors
	for _, s := range spills {
		for _, r := range s.runs {
			c := &cursor{r: bufio.NewReaderSize(io.NewSectionReader(s.f, r.at, r.size), 64<<10)}
			if err := c.next(); err != nil {
				return err
			}
			q = append(q, c)
		}
	}
	heap.Init(&q)
	var text []byte
	var count int64
	for k := 0; len(q) > 0; k++ {
		if k%(1<<16) == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		c := q[0]
		if count > 0 && !bytes.Equal(text, c.text) {
			f(text, count)
			count = 0
		}
		text, count = append(text[:0], c.text...), count+c.count
		switch err := c.next(); {
		case errors.Is(err, io.EOF):
			heap.Pop(&q)
		case err != nil:
			return err
		default:
			heap.Fix(&q, 0)
		}
	}
	if count > 0 {
		f(text, count)
	}
	return nil
}

// cursor is a place in a run.
type cursor struct {
	r     *bufio.Reader
	text  []byte
	count int64
}

// next reads a word; io.EOF after the last.
func (c *cursor) next() error {
	n, err := binary.ReadUvarint(c.r)
	if err != nil {
		return err
	}
	c.text = slices.Grow(c.text[:0], int(n))[:n]
	if _, err := io.ReadFull(c.r, c.text); err != nil {
		return err
	}
	count, err := binary.ReadUvarint(c.r)
	c.count = int64(count)
	return err
}

// cursors is a heap with the least word first.
type cursors []*cursor

func (q cursors) Len() int           { return len(q) }
func (q cursors) Less(i, j int) bool { return bytes.Compare(q[i].text, q[j].text) < 0 }
func (q cursors) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *cursors) Push(x any)        { *q = append(*q, x.(*cursor)) }
func (q *cursors) Pop() any {
	last := len(*q) - 1
	c := (*q)[last]
	*q = (*q)[:last]
	return c
}
