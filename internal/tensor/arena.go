package tensor

import (
	"slices"

	"github.com/litgpt-go/litgpt/internal/ggml"
)

// Arena is scratch memory that several programs of a device use in turn, so that
// together they take what the largest of them takes: the graphs of a training run,
// one for each length of its batches. A run overwrites the inputs, intermediates
// and outputs of all others, so outputs are read before another program runs.
//
// An arena grows with the first program that is too large for it. That closes the
// programs compiled before; [Program.Closed] says so, and they are compiled again
// when they are wanted.
type Arena struct {
	dev   *Device
	mem   *ggml.Arena // nil on a planning device
	size  int         // bytes
	progs []*Program  // open
	use   Use
}

// NewArena returns an empty arena.
func (d *Device) NewArena() *Arena {
	a := &Arena{dev: d}
	if !d.planning {
		a.mem = d.b.NewArena()
	}
	return a
}

// Size is the arena's memory in bytes.
func (a *Arena) Size() int { return a.size }

// Close closes the programs in the arena, then releases its memory.
func (a *Arena) Close() {
	a.resize(0)
	if a.mem != nil {
		a.mem.Free()
		a.mem = nil
	}
}

// CompileIn is [Graph.Compile] with the scratch memory in an arena.
func (g *Graph) CompileIn(a *Arena, outputs ...*Tensor) (*Program, error) {
	return g.compile(a.dev, a, outputs)
}

// Closed reports whether the program was closed, by [Program.Close] or because its arena grew.
func (p *Program) Closed() bool { return p.ctx == nil && p.stages == nil }

// place gives a program its scratch memory, or its size on a planning device.
// False means that there is not enough.
func (p *Program) place(a *Arena) (ok bool) {
	switch d := p.dev; {
	case a == nil && d.planning:
		p.Scratch, ok = p.graph.Measure(d.b), true
		p.use = d.used.add(Use{Label: Activations, Bytes: p.Scratch})
	case a == nil:
		if p.Scratch, ok = p.graph.Plan(d.b); ok {
			p.use = d.used.add(Use{Label: Activations, Bytes: p.Scratch})
		}
	case d.planning:
		p.Scratch, ok = p.graph.Measure(d.b), true
		if p.Scratch > a.size {
			a.resize(p.Scratch)
		}
		a.progs, p.arena = append(a.progs, p), a
	default:
		ok = a.mem.Reserve(p.graph)
		if size := a.mem.Size(); size != a.size {
			a.resize(size)
		}
		if ok = ok && a.mem.Place(p.graph); ok {
			p.Scratch = a.size
			a.progs, p.arena = append(a.progs, p), a
		}
	}
	return ok && (p.dev.planning || p.graph.Prepare(p.dev.b))
}

// resize notes that the arena's memory is now another, of size bytes.
func (a *Arena) resize(size int) {
	for _, p := range slices.Clone(a.progs) {
		p.Close()
	}
	a.dev.used.remove(a.use)
	if a.size = size; size > 0 {
		a.use = a.dev.used.add(Use{Label: Activations, Bytes: size})
	} else {
		a.use = Use{}
	}
}

// drop forgets a program that is closed.
func (a *Arena) drop(p *Program) {
	a.progs = slices.DeleteFunc(a.progs, func(q *Program) bool { return q == p })
}
