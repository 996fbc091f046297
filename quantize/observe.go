package quantize

import (
	"context"
	"fmt"
	"strings"

	"github.com/litgpt-go/litgpt/internal/ggufmap"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/models"
)

// In the comments N is the tokens of a chunk, C the columns of a matrix, E experts, P pairs of a token and an expert.

// Observe runs a model over chunks of tokens, all of one length, and sums what meets each column of its
// matrices; the output projection and embeddings are left out, as llama-imatrix does. The weights of m
// must be loaded on dev. done, if not nil, is told each chunk.
func Observe(ctx context.Context, dev *tensor.Device, m models.Model, e *ggufmap.Exported, chunks [][]int32, done func()) (im *Importance, err error) {
	defer tensor.Catch(&err)
	if len(chunks) == 0 {
		return nil, fmt.Errorf("no tokens to measure importance on")
	}
	n := len(chunks[0])
	g := tensor.NewGraph()
	o := newObserver(g, n)
	o.attach(m)
	defer o.detach(m)
	b := nn.NewBatch(g, 1, n)
	m.Forward(b)
	p, err := g.Compile(dev, o.outputs...)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	im = &Importance{Entries: map[string]*Entry{}, ChunkSize: n}
	for _, c := range chunks {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if len(c) != n {
			return nil, fmt.Errorf("a chunk has %d tokens, want %d as the others", len(c), n)
		}
		b.Set(c, 0)
		if err := p.Run(); err != nil {
			return nil, err
		}
		o.read()
		if err := dev.Wait(); err != nil {
			return nil, err
		}
		im.Chunks++
		if done != nil {
			done()
		}
	}
	for name, s := range o.seen {
		for _, t := range tensorsOf(e, name) {
			entry := &Entry{Sums: s.total, Counts: s.counts}
			if s.counts == nil {
				entry.Counts = []float64{float64(n * len(chunks))}
			}
			im.Entries[t.Name] = entry
		}
	}
	return im, nil
}

// observer is hung on all layers of a model. It adds to the graph the sums of what they are given.
type observer struct {
	g       *tensor.Graph
	n       int
	ones    map[int]*tensor.Tensor // inputs of ones, by their length
	sums    map[input]*sum         // of what several layers may share
	seen    map[string]*sum        // by the layers' names
	outputs []*tensor.Tensor
}

// input is what a layer is given, and whether by experts: a router has the same as its experts.
type input struct {
	x       *tensor.Tensor
	experts bool
}

// sum is what one input is summed to.
type sum struct {
	squares, tokens *tensor.Tensor // (C) or (E, 1, C); (E), nil without experts
	total, counts   []float64      // of all chunks
}

func newObserver(g *tensor.Graph, n int) *observer {
	return &observer{g: g, n: n, ones: map[int]*tensor.Tensor{}, sums: map[input]*sum{}, seen: map[string]*sum{}}
}

// attach hangs the observer on the layers of a model that have no adapter.
func (o *observer) attach(m models.Model) {
	for name, l := range nn.Linears(m) {
		if l.Adapter == nil && isBlock(name) {
			l.Adapter = &probe{o, name, 0}
		}
	}
	for name, s := range nn.Stacks(m) {
		if s.Adapter == nil {
			s.Adapter = stackProbe{&probe{o, name, s.Weight.Dim(0)}}
		}
	}
}

func (o *observer) detach(m models.Model) {
	for _, l := range nn.Linears(m) {
		if _, ours := l.Adapter.(*probe); ours {
			l.Adapter = nil
		}
	}
	for _, s := range nn.Stacks(m) {
		if _, ours := s.Adapter.(stackProbe); ours {
			s.Adapter = nil
		}
	}
}

// isBlock reports whether a layer's name is that of one in a block: the output projection's has no number.
func isBlock(name string) bool {
	for _, w := range strings.Split(name, ".") {
		if w != "" && strings.Trim(w, "0123456789") == "" {
			return true
		}
	}
	return false
}

// probe is the observer at one layer.
type probe struct {
	o       *observer
	name    string
	experts int
}

// Forward implements nn.Adapter.
func (p *probe) Forward(x, y *tensor.Tensor) *tensor.Tensor {
	in := input{x, false}
	s := p.o.sums[in]
	if s == nil {
		s = &sum{squares: x.Mul(x).SumTo([]int{x.Dim(-1)})}
		p.o.add(in, s)
	}
	p.o.seen[p.name] = s
	return y
}

// stackProbe is a probe at the layers of experts.
type stackProbe struct{ *probe }

// Forward implements nn.StackAdapter.
func (p stackProbe) Forward(x, group, y *tensor.Tensor) *tensor.Tensor {
	in := input{x, true}
	s := p.o.sums[in]
	if s == nil {
		pairs := p.o.constant(y.Dim(0), y.Dim(0), 1)
		s = &sum{squares: pairs.ExpertsBackwardWeight(x.Mul(x), group, p.experts), tokens: group.GroupCounts(p.experts, p.o.constant(-p.o.n, p.o.n))}
		p.o.add(in, s)
	}
	p.o.seen[p.name] = s
	return y
}

// constant is an input of ones.
func (o *observer) constant(key int, shape ...int) *tensor.Tensor {
	if o.ones[key] == nil {
		t := o.g.Floats(shape...)
		v := make([]float32, t.Numel())
		for i := range v {
			v[i] = 1
		}
		o.ones[key] = t.SetFloats(v)
	}
	return o.ones[key]
}

func (o *observer) add(in input, s *sum) {
	o.sums[in] = s
	o.outputs = append(o.outputs, s.squares)
	s.total = make([]float64, s.squares.Numel())
	if s.tokens != nil {
		o.outputs = append(o.outputs, s.tokens)
		s.counts = make([]float64, s.tokens.Numel())
	}
}

// read adds what the last run gave.
func (o *observer) read() {
	for _, s := range o.sums {
		for i, v := range s.squares.Values() {
			s.total[i] += float64(v)
		}
		if s.tokens == nil {
			continue
		}
		for i, v := range s.tokens.Values() {
			s.counts[i] += float64(v)
		}
	}
}

// tensorsOf are the tensors of GGUF that hold a layer's weight, by its name in the model. The
// experts' layers of a model are one weight where checkpoints may have many.
func tensorsOf(e *ggufmap.Exported, name string) (list []*ggufmap.Tensor) {
	for i := range e.Tensors {
		t := &e.Tensors[i]
		for _, from := range t.From {
			if from == name || from == name+".weight" {
				list = append(list, t)
				break
			}
		}
	}
	if len(list) > 0 {
		return list
	}
	which := map[string][]string{"gate_up_proj": {"ffn_gate_exps.weight", "ffn_up_exps.weight"}, "down_proj": {"ffn_down_exps.weight"}}
	_, rest, _ := strings.Cut(name, "layers.")
	number, _, _ := strings.Cut(rest, ".")
	for _, suffix := range which[name[strings.LastIndex(name, ".")+1:]] {
		for i := range e.Tensors {
			if e.Tensors[i].Name == "blk."+number+"."+suffix {
				list = append(list, &e.Tensors[i])
			}
		}
	}
	return list
}
