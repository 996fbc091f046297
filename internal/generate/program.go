package generate

import (
	"fmt"
	"math/bits"
	"slices"

	"github.com/litgpt-go/litgpt/internal/kvcache"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/models"
)

// runner computes passes. The scheduler's goroutine, or who holds the engine's device, uses it.
type runner interface {
	// room makes the cache hold so many pages at least, as far as that is allowed, and gives the account of them.
	room(pages int) (*kvcache.Pages, error)

	// run fills in what comes of a pass.
	run(p *pass) error

	window() int       // positions back that any layer sees, itself included; 0 for all
	used() int         // pages
	compiled() int64   // graphs so far
	forget(a *adapter) // that is no more
	close()
}

// modelRunner runs a model. It keeps a compiled graph for each shape of a pass that came lately.
type modelRunner struct {
	dev   *tensor.Device
	model models.Model
	o     Options
	limit int // pages
	vocab int

	pool     *kvcache.Pool
	arena    *tensor.Arena
	programs map[shape]*program
	tick     int64
	made     int64
	back     int  // window
	narrow   bool // candidates are chosen on every device: for tests

	ids [5][]int32 // scratch
}

// shape is what a compiled graph is for.
type shape struct {
	adapter   *adapter
	embed     bool
	tokens    int
	sequences int
	width     int  // pages of a sequence
	wanted    int  // rows of scores
	all       bool // those are of all tokens, in their order
	k         int
}

// programs is how many compiled graphs are kept. Each takes about a megabyte beside the scratch memory that they share.
const programs = 32

// program is a compiled graph.
type program struct {
	p      *tensor.Program
	batch  *nn.Batch
	wanted *tensor.Tensor // (W) indices of the tokens whose scores are wanted; nil for all
	out    *tensor.Tensor // (W, V), (W, 2, k) of the candidates, or hidden states (N, C)
	tick   int64          // of the last use
}

func newModelRunner(dev *tensor.Device, m models.Model, o Options) *modelRunner {
	return &modelRunner{dev: dev, model: m, o: o, limit: kvcache.Cover(o.Positions), vocab: m.Dims().Vocab, programs: map[shape]*program{}}
}

func (r *modelRunner) room(pages int) (*kvcache.Pages, error) {
	switch {
	case r.pool == nil:
		d := r.model.Dims()
		if r.o.Sequences > 1 {
			pages = r.limit
		}
		pool, err := kvcache.NewPool(r.dev, r.o.Cache, d.Layers, d.KVHeads, d.HeadDim, min(max(1, pages), r.limit))
		if err != nil {
			return nil, err
		}
		r.pool = pool
	case pages > r.pool.Len() && r.pool.Len() < r.limit:
		r.drop(func(shape) bool { return true })
		if err := r.pool.Grow(min(r.limit, max(pages, 2*r.pool.Len()))); err != nil {
			r.pool = nil
			return nil, err
		}
	}
	return r.pool.Pages, nil
}

func (r *modelRunner) window() int     { return r.back }
func (r *modelRunner) compiled() int64 { return r.made }

func (r *modelRunner) used() int {
	if r.pool == nil {
		return 0
	}
	return r.pool.Used()
}

func (r *modelRunner) forget(a *adapter) {
	r.drop(func(s shape) bool { return s.adapter == a })
	if r.pool != nil {
		for _, root := range a.roots {
			r.pool.Forget(root)
		}
	}
}

// drop closes programs.
func (r *modelRunner) drop(which func(shape) bool) {
	for s, p := range r.programs {
		if which(s) {
			p.p.Close()
			delete(r.programs, s)
		}
	}
}

func (r *modelRunner) close() {
	r.drop(func(shape) bool { return true })
	if r.arena != nil {
		r.arena.Close()
		r.arena = nil
	}
	if r.pool != nil {
		r.pool.Close()
		r.pool = nil
	}
}

// padded is the number of tokens or rows for which there are graphs: each up to 8, where a row more
// costs what a row costs, and few beyond.
func padded(n int) int {
	switch {
	case n <= 8:
		return n
	case n <= 32:
		return (n + 3) / 4 * 4
	case n <= 128:
		return (n + 7) / 8 * 8
	}
	return (n + 15) / 16 * 16
}

// power is the least power of two that is not below n.
func power(n int) int { return 1 << bits.Len(uint(max(1, n)-1)) }

// shapeOf is that of the graph that a pass runs in.
func (r *modelRunner) shapeOf(p *pass) shape {
	s := shape{adapter: p.adapter, embed: p.embed, tokens: padded(p.tokens), k: p.k}
	s.sequences = min(s.tokens, power(len(p.pieces)))
	pages := 1
	for _, x := range p.pieces {
		n := x.at + len(x.tokens)
		if len(p.pieces) == 1 && r.o.Sequences == 1 { // so that one graph serves to the end
			n = max(n, x.s.end)
		}
		pages = max(pages, kvcache.Cover(n))
	}
	s.width = min(power(max(pages, 8)), r.limit)
	switch {
	case p.embed:
	case p.wanted == p.tokens:
		s.wanted, s.sequences, s.all = s.tokens, s.tokens, true
	default:
		s.wanted = min(padded(max(1, p.wanted)), s.tokens)
	}
	return s
}

// program gives the graph of a shape.
func (r *modelRunner) program(s shape) (*program, error) {
	r.tick++
	if p := r.programs[s]; p != nil && !p.p.Closed() {
		p.tick = r.tick
		return p, nil
	}
	r.drop(func(o shape) bool { return r.programs[o].p.Closed() }) // by the arena
	for len(r.programs) >= programs {
		oldest := shape{}
		for o, p := range r.programs {
			if r.programs[oldest] == nil || p.tick < r.programs[oldest].tick {
				oldest = o
			}
		}
		r.drop(func(o shape) bool { return o == oldest })
	}
	if r.arena == nil {
		r.arena = r.dev.NewArena()
	}
	p, err := r.compile(s)
	if err != nil {
		return nil, err
	}
	r.made++
	p.tick = r.tick
	r.programs[s] = p
	return p, nil
}

func (r *modelRunner) compile(s shape) (p *program, err error) {
	defer tensor.Catch(&err)
	if a := s.adapter; a != nil && a.layers != nil {
		a.layers.Attach()
		defer a.layers.Detach()
	}
	g := tensor.NewGraph()
	g.Invariant = r.o.Deterministic
	p = &program{batch: nn.NewPagedBatch(g, s.tokens, s.sequences, s.width, r.pool)}
	p.out = r.model.Forward(p.batch) // (N, C)
	r.back = p.batch.Window()
	if !s.embed {
		if !s.all {
			p.wanted = g.Ints(s.wanted)
			p.out = p.out.Rows(p.wanted)
		}
		p.out = r.model.Logits(p.out)
		if s.k > 0 {
			p.out = p.out.TopK(s.k)
		}
	}
	p.p, err = g.CompileIn(r.arena, p.out)
	return p, err
}

// candidates is how many are enough for all of a pass: the host need not see the logits
// of a device with memory of its own then. 0 for all.
func (r *modelRunner) candidates(p *pass) (k int) {
	if p.best {
		return 1
	}
	if !r.dev.Async() && !r.narrow {
		return 0
	}
	for _, x := range p.pieces {
		n := x.s.need()
		if n == 0 && x.wanted > 0 {
			return 0
		}
		k = max(k, n)
	}
	if k = min(k, r.vocab); k > tensor.MaxTopK {
		return 0
	}
	return max(1, k)
}

func (r *modelRunner) run(p *pass) (err error) {
	defer tensor.Catch(&err)
	if !p.embed {
		p.k = r.candidates(p)
	}
	s := r.shapeOf(p)
	g, err := r.program(s)
	if err != nil {
		return err
	}
	r.set(p, s, g)
	if err := g.p.Run(); err != nil {
		return err
	}
	switch {
	case p.embed:
		p.states = slices.Grow(p.states[:0], g.out.Numel())[:g.out.Numel()]
		g.out.Read(p.states)
		p.states = p.states[:p.tokens*g.out.Dim(-1)]
	case p.wanted > 0:
		p.scores = slices.Grow(p.scores[:0], g.out.Numel())[:g.out.Numel()]
		g.out.Read(p.scores)
	}
	if err := r.dev.Wait(); err != nil { // also what went wrong in reading
		return fmt.Errorf("%s: %w", r.dev.Name, err)
	}
	return nil
}

// set gives a graph the values of a pass. What it has more of is padding, in page 0.
func (r *modelRunner) set(p *pass, s shape, g *program) {
	for i := range r.ids {
		r.ids[i] = r.ids[i][:0]
	}
	tokens, positions, rows, sequences, pages := r.ids[0], r.ids[1], r.ids[2], r.ids[3], r.ids[4]
	wanted := make([]int32, 0, s.wanted)
	for i, x := range p.pieces {
		for j, id := range x.tokens {
			at := x.at + j
			tokens, positions, sequences = append(tokens, id), append(positions, int32(at)), append(sequences, int32(i))
			rows = append(rows, x.kv.Row(at))
		}
		for j := range x.wanted {
			wanted = append(wanted, int32(len(tokens)-x.wanted+j))
		}
		table := x.kv.Table[:min(len(x.kv.Table), s.width)]
		pages = append(pages, table...)
		pages = append(pages, make([]int32, s.width-len(table))...)
	}
	for i := len(tokens); i < s.tokens; i++ {
		tokens, positions, sequences = append(tokens, 0), append(positions, 0), append(sequences, int32(min(len(p.pieces), s.sequences-1)))
		rows = append(rows, int32(i%kvcache.Page))
	}
	pages = append(pages, make([]int32, s.sequences*s.width-len(pages))...)
	g.batch.SetPaged(tokens, positions, rows, sequences, pages, p.length)
	if g.wanted != nil {
		g.wanted.SetInts(append(wanted, make([]int32, s.wanted-len(wanted))...))
	}
	r.ids = [5][]int32{tokens, positions, rows, sequences, pages}
}
