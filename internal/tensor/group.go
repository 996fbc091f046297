package tensor

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// group is a device made of several, each of which has some of a model's layers
// and all that belongs to them. A graph is computed in stages, one on each; what a
// stage needs of those before it is copied from device to device.
type group struct {
	members  []*Device
	layers   int
	replicas map[replica]*Tensor // weights that two stages read, such as a tied embedding
}

type replica struct {
	of *Tensor
	on *Device
}

// OpenSpread opens n GPUs, or all for 0, as one device that holds a model of so many
// layers by layers, "model.layers.0." first. One is what [Open] opens.
func OpenSpread(name string, n, layers int, o Options) (*Device, error) {
	if n == 0 {
		if n = 1; name == "cuda" || name == "auto" || name == "" {
			n = max(1, min(library().devices, layers))
		}
	}
	if n == 1 {
		return Open(name, o)
	}
	if n > layers {
		return nil, fmt.Errorf("%d devices for %d layers; at most one device a layer", n, layers)
	}
	if name == "cpu" || strings.Contains(name, ":") {
		return nil, fmt.Errorf("%d devices of %q; several devices are GPUs, --device cuda", n, name)
	}
	var members []*Device
	for i := range n {
		d, err := openCUDA(i, o)
		if err != nil {
			closeAll(members)
			return nil, err
		}
		members = append(members, d)
	}
	return newGroup(members, layers), nil
}

func newGroup(members []*Device, layers int) *Device {
	names := make([]string, len(members))
	for i, m := range members {
		names[i] = m.Name
	}
	first := members[0]
	return &Device{Name: strings.Join(names, ","), Threads: first.Threads, b: first.b, lower: first.lower,
		group: &group{members: members, layers: layers, replicas: map[replica]*Tensor{}}}
}

func closeAll(ds []*Device) {
	for _, d := range ds {
		d.Close()
	}
}

func (g *group) close() {
	for _, t := range g.replicas {
		t.Free()
	}
	closeAll(g.members)
}

// layerName finds the number of a weight's layer: "model.layers.3.", Falcon's "transformer.h.3.", a cache's "layer 3".
var layerName = regexp.MustCompile(`\b(?:layers?|h)[. ](\d+)\b`)

// member is the device that a weight belongs to, by its name: that of its layer,
// the first for what stands before the layers (the embedding), the last for what comes after.
func (g *group) member(name string) *Device {
	last := len(g.members) - 1
	if m := layerName.FindStringSubmatch(name); m != nil {
		layer, err := strconv.Atoi(m[1])
		if err == nil && layer < g.layers {
			return g.members[layer*len(g.members)/g.layers]
		}
	}
	if strings.Contains(name, "embed") && !strings.HasPrefix(name, "embed_out") { // which is GPT-NeoX's output projection
		return g.members[0]
	}
	return g.members[last]
}

// on gives a weight's copy on a device, or the weight itself where it is there.
func (g *group) on(d *Device, w *Tensor) (*Tensor, error) {
	if w.store == nil || w.store.dev == d {
		return w, nil
	}
	key := replica{w, d}
	if r := g.replicas[key]; r != nil {
		return r, nil
	}
	r := Param(w.shape...)
	r.Name = w.Name
	if err := d.Alloc(r, w.dtype); err != nil {
		return nil, err
	}
	if !d.planning {
		r.SetBytes(w.Bytes())
	}
	g.replicas[key] = r
	return r, nil
}

// stages are the programs of a graph over a group.
type stages struct {
	programs []*Program   // by device; nil where nothing of the graph belongs to it
	inputs   [][2]*Tensor // of the graph, and as a stage has it
	imports  []transfer
}

// transfer is a value that goes from one stage to an input of a later one.
type transfer struct {
	from, to int     // stages
	src, dst *Tensor // as the stages have it
}

// compileGroup cuts the graph where it goes from one device to the next and
// compiles each part for its own.
func (g *Graph) compileGroup(dev *Device, outputs []*Tensor) (p *Program, err error) {
	gr := dev.group
	index := map[*Device]int{}
	for i, m := range gr.members {
		index[m] = i
	}
	n := len(gr.members)
	needed := g.needed(outputs)
	stage := map[*Tensor]int{}
	for _, t := range g.nodes {
		for _, s := range t.Src {
			if s.IsWeight() && s.store != nil {
				stage[t] = max(stage[t], index[s.store.dev])
			} else {
				stage[t] = max(stage[t], stage[s]) // 0 for an input
			}
		}
	}

	graphs := make([]*Graph, n)
	for i := range graphs {
		graphs[i] = &Graph{Training: g.Training, Exact: g.Exact, Invariant: g.Invariant}
	}
	clones := make([]map[*Tensor]*Tensor, n) // by stage: a node, or an input of it, as the stage has it
	for i := range clones {
		clones[i] = map[*Tensor]*Tensor{}
	}
	s := &stages{programs: make([]*Program, n)}
	exports := make([][]*Tensor, n)
	operand := func(i int, t *Tensor) (*Tensor, error) {
		if t.IsWeight() {
			return gr.on(gr.members[i], t)
		}
		if c := clones[i][t]; c != nil {
			return c, nil
		}
		c := &Tensor{Op: OpLeaf, g: graphs[i], dtype: t.dtype, shape: t.shape}
		clones[i][t] = c
		if t.IsInput() {
			c.ids, c.floats = t.ids, t.floats
			s.inputs = append(s.inputs, [2]*Tensor{t, c})
			return c, nil
		}
		from := stage[t]
		c.imported = true
		s.imports = append(s.imports, transfer{from, i, clones[from][t], c})
		if !slices.Contains(exports[from], clones[from][t]) {
			exports[from] = append(exports[from], clones[from][t])
		}
		return c, nil
	}
	for _, t := range g.nodes {
		if !needed[t] {
			continue
		}
		i := stage[t]
		src := make([]*Tensor, len(t.Src))
		for k, x := range t.Src {
			if src[k], err = operand(i, x); err != nil {
				return nil, err
			}
		}
		c := &Tensor{Op: t.Op, Attr: t.Attr, Src: src, shape: t.shape, dtype: t.dtype, g: graphs[i]}
		graphs[i].nodes = append(graphs[i].nodes, c)
		clones[i][t] = c
	}
	for _, t := range outputs {
		if !t.IsInput() {
			exports[stage[t]] = append(exports[stage[t]], clones[stage[t]][t])
		}
	}

	p = &Program{dev: dev, stages: s}
	for i, part := range graphs {
		if len(exports[i]) == 0 {
			continue
		}
		if s.programs[i], err = part.Compile(gr.members[i], exports[i]...); err != nil {
			p.Close()
			return nil, err
		}
		p.Scratch += s.programs[i].Scratch
	}
	for _, t := range outputs {
		if !t.IsInput() { // read through the stage that computes it
			part := s.programs[stage[t]]
			part.lowered[t], t.prog = part.lowered[clones[stage[t]][t]], part
		}
	}
	return p, nil
}

// run computes the stages in order. Values go ahead from device to device without the host waiting.
func (s *stages) run() error {
	for _, in := range s.inputs {
		in[1].ids, in[1].floats = in[0].ids, in[0].floats
	}
	for i, p := range s.programs {
		if p == nil {
			continue
		}
		for _, t := range s.imports {
			if t.to == i {
				from := s.programs[t.from]
				from.dev.b.Copy(from.lowered[t.src], p.dev.b, p.lowered[t.dst])
			}
		}
		if err := p.Run(); err != nil {
			return err
		}
	}
	return nil
}

func (s *stages) close() {
	for _, p := range s.programs {
		if p != nil {
			p.Close()
		}
	}
}
