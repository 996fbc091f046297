package data

import (
	"fmt"
	"math/rand/v2"
)

// Loader deals out a set in batches without end. It belongs to one goroutine.
type Loader struct {
	set     *Set
	batch   int // sequences per batch
	seed    int64
	shuffle bool
	padTo   int

	order []int // of the samples in this epoch; nil: not made yet
	state State
}

// State is a place in the endless row of batches: the next one is batch Index,
// counted from 0, of epoch Epoch.
type State struct {
	Epoch int `json:"epoch"`
	Index int `json:"index"`
}

// NewLoader deals out s in batches of batch sequences (at least one), padded as
// in [Set.Batch]. With shuffle each epoch has an order of its own, which depends
// on the seed and the number of the epoch only.
func NewLoader(s *Set, batch int, seed int64, shuffle bool, padTo int) *Loader {
	return &Loader{set: s, batch: max(1, batch), seed: seed, shuffle: shuffle, padTo: padTo}
}

// PerEpoch is the number of batches in an epoch. The last batch of JSON samples
// may be smaller than the others; of text, a remainder that does not fill a
// batch is left out, unless it is all there is.
func (l *Loader) PerEpoch() int {
	n := l.set.Len()
	if l.set.dropLast && n >= l.batch {
		return n / l.batch
	}
	return (n + l.batch - 1) / l.batch
}

// Epoch is the number of epochs that were dealt out completely, which is also
// the number of the epoch the next batch belongs to.
func (l *Loader) Epoch() int { return l.state.Epoch }

// Next gives the next batch, the zero Batch if the set is empty.
func (l *Loader) Next() Batch {
	per := l.PerEpoch()
	if per == 0 {
		return Batch{}
	}
	if l.order == nil {
		l.order = l.permutation()
	}
	from := l.state.Index * l.batch
	b := l.set.Batch(l.order[from:min(from+l.batch, len(l.order))], l.padTo)
	if l.state.Index++; l.state.Index == per {
		l.state = State{Epoch: l.state.Epoch + 1}
		l.order = nil
	}
	return b
}

// permutation is the order of the samples in the present epoch.
func (l *Loader) permutation() []int {
	if l.shuffle {
		return rand.New(rand.NewPCG(uint64(l.seed), uint64(l.state.Epoch))).Perm(l.set.Len())
	}
	order := make([]int, l.set.Len())
	for i := range order {
		order[i] = i
	}
	return order
}

// State is the place of the next batch, to be kept with a checkpoint.
func (l *Loader) State() State { return l.state }

// Restore goes on at a place that [Loader.State] gave: the same batches follow,
// if data, seed and batch size are the same.
func (l *Loader) Restore(s State) error {
	per := l.PerEpoch()
	if s.Epoch < 0 || s.Index < 0 || s.Index >= max(per, 1) {
		return fmt.Errorf("data position epoch %d, batch %d does not exist: an epoch has %d batches of %d sequences; resume with the data and the batch size the run began with",
			s.Epoch, s.Index, per, l.batch)
	}
	l.state, l.order = s, nil
	return nil
}
