package quantize

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/ggufmap"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/models"
)

// In the comments N is the tokens of a chunk, C the hidden size, K the columns of a matrix.

// Correct quantizes the linear layers of the blocks of a model with GPTQ, one block after the other, each on what the
// quantized blocks before it give for chunks of tokens. The weights of m are loaded on dev, and replaced by
// what they become; config and src are the model's. What Correct made is part of the plan then and is kept in
// memory, quantized. Other tensors, and types of eight bits and more, are left to Plan.Write. done, if not nil, is told each block.
func Correct(ctx context.Context, dev *tensor.Device, m models.Model, config []byte, src checkpoint.Source, p *Plan, chunks [][]int32, done func()) (err error) {
	defer tensor.Catch(&err)
	if len(chunks) == 0 {
		return fmt.Errorf("no tokens to measure on")
	}
	c := &corrector{dev: dev, m: m, p: p, n: len(chunks[0]), made: map[string]safetensors.Tensor{}}
	if err := c.build(); err != nil {
		return err
	}
	hidden, err := c.embed(ctx, chunks)
	if err != nil {
		return err
	}
	for k := range c.blocks {
		if err := c.block(ctx, k, hidden); err != nil {
			return err
		}
		if done != nil {
			done()
		}
	}
	return c.adopt(config, src)
}

// corrector goes through a model block by block.
type corrector struct {
	dev    *tensor.Device
	m      models.Model
	p      *Plan
	n      int // tokens of a chunk
	g      *tensor.Graph
	batch  *nn.Batch
	in     *tensor.Tensor   // (N, C), in place of a block's input
	marks  []*tensor.Tensor // (N, C): the embedding, then each block's result
	blocks [][]*layer       // of each block
	made   map[string]safetensors.Tensor
}

// layer is a linear layer that is to be quantized.
type layer struct {
	name   string
	linear *nn.Linear
	to     *Tensor        // what it becomes
	x      *tensor.Tensor // (N, K) its input, in the graph
}

// witness notes the input of a layer.
type witness struct{ l *layer }

// Forward implements nn.Adapter.
func (w witness) Forward(x, y *tensor.Tensor) *tensor.Tensor {
	w.l.x = x
	return y
}

// build makes the graph of the whole model, of which pieces are compiled later on.
func (c *corrector) build() error {
	var layers []*layer
	for name, l := range nn.Linears(c.m) {
		to := c.p.of(name)
		if l.Adapter != nil || to == nil || !isBlock(name) {
			continue
		}
		if _, ok := codecs[to.To]; !ok || to.DType().Quantized() {
			continue
		}
		w := &layer{name: name, linear: l, to: to}
		l.Adapter = witness{w}
		layers = append(layers, w)
	}
	defer func() {
		for _, l := range layers {
			l.linear.Adapter = nil
		}
	}()
	c.g = tensor.NewGraph()
	c.batch = nn.NewBatch(c.g, 1, c.n)
	c.m.Forward(c.batch)
	for _, t := range c.g.Nodes() {
		if t.Boundary {
			c.marks = append(c.marks, t)
		}
	}
	if want := c.m.Dims().Layers + 1; len(c.marks) != want {
		return fmt.Errorf("the model has %d marks between its blocks, want %d", len(c.marks), want)
	}
	c.in = c.g.Floats(c.marks[0].Shape()...)
	for k := 1; k < len(c.marks); k++ {
		inside := c.between(k)
		var of []*layer
		for _, l := range layers {
			if l.x != nil && (inside[l.x] || l.x == c.marks[k-1]) {
				of = append(of, l)
			}
		}
		c.blocks = append(c.blocks, of)
	}
	return nil
}

// of finds the tensor that holds a layer's weight.
func (p *Plan) of(name string) *Tensor {
	for i := range p.Tensors {
		if slices.Contains(p.Tensors[i].From, name+".weight") {
			return &p.Tensors[i]
		}
	}
	return nil
}

// between are the nodes that block k, from 1 on, computes of its input.
func (c *corrector) between(k int) map[*tensor.Tensor]bool {
	from, to := c.marks[k-1], c.marks[k]
	depends := map[*tensor.Tensor]bool{}
	started := false
	for _, t := range c.g.Nodes() {
		if started {
			for _, s := range t.Src {
				if s == from || depends[s] {
					depends[t] = true
				}
			}
		}
		started = started || t == from
		if t == to {
			break
		}
	}
	return depends
}

// copyOf adds block k to the graph once more, with its input from c.in, and gives what has become of each node.
func (c *corrector) copyOf(k int) func(*tensor.Tensor) *tensor.Tensor {
	inside := c.between(k)
	again := map[*tensor.Tensor]*tensor.Tensor{c.marks[k-1]: c.in}
	for _, t := range slices.Clone(c.g.Nodes()) {
		if !inside[t] {
			continue
		}
		src := slices.Clone(t.Src)
		for i, s := range src {
			if a := again[s]; a != nil {
				src[i] = a
			}
		}
		again[t] = t.Clone(src)
	}
	return func(t *tensor.Tensor) *tensor.Tensor { return again[t] }
}

// embed gives the input of the first block for each chunk.
func (c *corrector) embed(ctx context.Context, chunks [][]int32) ([][]float32, error) {
	p, err := c.g.Compile(c.dev, c.marks[0])
	if err != nil {
		return nil, err
	}
	defer p.Close()
	var hidden [][]float32
	for _, tokens := range chunks {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if len(tokens) != c.n {
			return nil, fmt.Errorf("a chunk has %d tokens, want %d as the others", len(tokens), c.n)
		}
		c.batch.Set(tokens, 0)
		if err := p.Run(); err != nil {
			return nil, err
		}
		hidden = append(hidden, c.marks[0].Values())
		if err := c.dev.Wait(); err != nil {
			return nil, err
		}
	}
	return hidden, nil
}

// block quantizes the layers of block k, from 0 on, and replaces its input by its result.
func (c *corrector) block(ctx context.Context, k int, hidden [][]float32) error {
	if len(c.blocks[k]) > 0 {
		if err := c.quantize(ctx, k, hidden); err != nil {
			return err
		}
	}
	out := c.copyOf(k + 1)(c.marks[k+1])
	return c.each(ctx, []*tensor.Tensor{out}, hidden, func(i int) { hidden[i] = out.Values() })
}

// each runs a piece of the graph on all chunks.
func (c *corrector) each(ctx context.Context, outputs []*tensor.Tensor, hidden [][]float32, then func(i int)) error {
	p, err := c.g.Compile(c.dev, outputs...)
	if err != nil {
		return err
	}
	defer p.Close()
	for i, h := range hidden {
		if err := ctx.Err(); err != nil {
			return err
		}
		c.in.SetFloats(h)
		if err := p.Run(); err != nil {
			return err
		}
		then(i)
		if err := c.dev.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// quantize measures the inputs of block k's layers, quantizes them, and puts them into the model.
func (c *corrector) quantize(ctx context.Context, k int, hidden [][]float32) error {
	again := c.copyOf(k + 1)
	products := map[*tensor.Tensor]*tensor.Tensor{} // XᵀX (K, K), by the layers' input
	sums := map[*tensor.Tensor][]float64{}
	var outputs []*tensor.Tensor
	for _, l := range c.blocks[k] {
		if products[l.x] != nil {
			continue
		}
		x := again(l.x)
		products[l.x] = x.TMatMul(x)
		sums[l.x] = make([]float64, products[l.x].Numel())
		outputs = append(outputs, products[l.x])
	}
	err := c.each(ctx, outputs, hidden, func(int) {
		for x, p := range products {
			sum := sums[x]
			for i, v := range p.Values() {
				sum[i] += float64(v)
			}
		}
	})
	if err != nil {
		return err
	}
	values := make([][]byte, len(c.blocks[k]))
	errs := make([]error, len(values))
	var all sync.WaitGroup
	for i, l := range c.blocks[k] {
		all.Go(func() {
			cols := l.linear.Weight.Dim(1)
			values[i], errs[i] = gptq(l.to.To, l.linear.Weight.Values(), cols, slices.Clone(sums[l.x]))
		})
	}
	all.Wait()
	for i, l := range c.blocks[k] {
		if errs[i] != nil {
			return fmt.Errorf("%s: %w", l.name, errs[i])
		}
		if !tensor.ValidBlocks(l.to.To, values[i]) {
			return fmt.Errorf("%s: weights too large for %v; give it another type with --override", l.name, l.to.To)
		}
		w := l.linear.Weight
		w.Free()
		if err := c.dev.Alloc(w, l.to.To); err != nil {
			return err
		}
		w.SetBytes(values[i])
		c.made[l.name+".weight"] = safetensors.Tensor{Name: l.name + ".weight", DType: safetensors.DType(l.to.To.String()), Shape: w.Shape(), Data: values[i]}
	}
	return nil
}

// adopt puts what was made into the plan, its rows in GGUF's order.
func (c *corrector) adopt(config []byte, src checkpoint.Source) error {
	if a, ok := c.m.(checkpoint.Adapter); ok {
		src = a.AdaptCheckpoint(src)
	}
	config, err := models.SavedConfig(config)
	if err != nil {
		return err
	}
	e, err := ggufmap.Export(config, &overlay{src, c.made})
	if err != nil {
		return err
	}
	for i := range e.Tensors {
		t := &e.Tensors[i]
		for j := range c.p.Tensors {
			if to := &c.p.Tensors[j]; to.Name == t.Name && len(t.From) == 1 && c.made[t.From[0]].Data != nil {
				to.was, to.gptq, to.Tensor = to.DType(), true, t
			}
		}
	}
	return nil
}

// overlay is a source some of whose tensors were made anew.
type overlay struct {
	checkpoint.Source
	made map[string]safetensors.Tensor
}

// Header implements checkpoint.Headers.
func (o *overlay) Header(name string) (safetensors.Tensor, bool) {
	if t, ok := o.made[name]; ok {
		return t, true
	}
	return checkpoint.Header(o.Source, name)
}

// Tensor implements checkpoint.Source.
func (o *overlay) Tensor(name string) (safetensors.Tensor, bool) {
	if t, ok := o.made[name]; ok {
		return t, true
	}
	return o.Source.Tensor(name)
}
