// Package checkpoint moves weights between files and models. Names are those of
// Hugging Face checkpoints throughout.
package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// Source is an opened checkpoint: a directory of safetensors shards, or a map in a test.
type Source interface {
	Names() []string
	Tensor(name string) (safetensors.Tensor, bool)
}

// Adapter is implemented by models whose checkpoints do not hold one tensor per
// weight under its name, e.g. fused or permuted projections.
type Adapter interface {
	AdaptCheckpoint(Source) Source
}

// Options say how weights are held.
type Options struct {
	// Matrix is the type of weights of two axes in memory; Stored keeps that of the
	// file. Norms and biases are always F32.
	Matrix Type

	// Own copies every weight, so that it can be trained; otherwise a weight whose
	// type fits is used where the file is mapped.
	Own bool
}

// Type is a choice of a weight's type in memory.
type Type int

// The choices.
const (
	Stored Type = iota
	F32
	BF16
	F16
)

var types = map[Type]tensor.DType{F32: tensor.F32, BF16: tensor.BF16, F16: tensor.F16}

var stored = map[safetensors.DType]tensor.DType{"F32": tensor.F32, "F16": tensor.F16, "BF16": tensor.BF16}

// Load fills every weight of model on dev; a planning device gets their sizes only, and
// of the files nothing but headers is read. It reports all that does not fit at
// once: weights the checkpoint lacks, tensors the model does not have, shapes that
// differ, and types that are no floats. Source must outlive the model.
func Load(dev *tensor.Device, model any, src Source, o Options) error {
	if a, ok := model.(Adapter); ok {
		src = a.AdaptCheckpoint(src)
	}
	type job struct {
		p *tensor.Tensor
		t safetensors.Tensor
	}
	var jobs []job
	var errs []error
	used := map[string]bool{}
	for name, p := range nn.Params(model) {
		p.Name = name
		used[name] = true
		t, ok := src.Tensor(name)
		_, float := stored[t.DType]
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("missing %s, shape %v", name, p.Shape()))
		case !slices.Equal(t.Shape, p.Shape()):
			errs = append(errs, fmt.Errorf("%s: shape %v in the checkpoint, %v in the model", name, t.Shape, p.Shape()))
		case !float:
			errs = append(errs, fmt.Errorf("%s: type %s in the checkpoint, F32, F16 or BF16 wanted", name, t.DType))
		default:
			jobs = append(jobs, job{p, t})
		}
	}
	for _, name := range src.Names() {
		if used[name] || strings.HasSuffix(name, ".rotary_emb.inv_freq") {
			continue // old checkpoints store the rotary frequencies, which config.json gives
		}
		if dev.Planning() && isHead(name) {
			continue // what it holds is seen when the weights are loaded
		}
		if err := extra(model, src, name); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("checkpoint does not match config.json:\n%w", err)
	}
	dev.Label("weights")
	for _, j := range jobs {
		if err := place(dev, j.p, j.t, o); err != nil {
			return fmt.Errorf("%s: %w", j.p.Name, err)
		}
	}
	return nil
}

// extra says what is wrong with a tensor that the model does not have. A head
// that equals the embedding it is tied to is only superfluous.
func extra(model any, src Source, name string) error {
	if !isHead(name) {
		return fmt.Errorf("unused %s", name)
	}
	embedding := ""
	for embedding = range nn.Params(model) { // the first weight of every family
		break
	}
	head, _ := src.Tensor(name)
	embed, ok := src.Tensor(embedding)
	if ok && head.DType == embed.DType && bytes.Equal(head.Data, embed.Data) {
		return nil
	}
	return fmt.Errorf("%s differs from %s, although tie_word_embeddings says they are one", name, embedding)
}

// isHead reports whether a tensor is called as output projections are.
func isHead(name string) bool { return name == "lm_head.weight" || name == "embed_out.weight" }

// place gives p memory and the value of t.
func place(dev *tensor.Device, p *tensor.Tensor, t safetensors.Tensor, o Options) error {
	from := stored[t.DType]
	to, ok := types[o.Matrix]
	if !ok {
		to = from
	}
	if len(p.Shape()) < 2 {
		to = tensor.F32
	}
	if from == to && !o.Own {
		return dev.Map(p, from, t.Data)
	}
	if err := dev.Alloc(p, to); err != nil || dev.Planning() {
		return err
	}
	return Fill(p, t)
}

// Fill converts the value of t to the type of p, which has memory of its own, a piece at a time.
func Fill(p *tensor.Tensor, t safetensors.Tensor) error {
	from, to := stored[t.DType], p.DType()
	const piece = 1 << 20 // elements
	n := p.Numel()
	raw, floats := make([]byte, min(n, piece)*from.Size()), make([]float32, min(n, piece))
	for at := 0; at < n; at += piece {
		m := min(piece, n-at)
		chunk := t
		chunk.Shape, chunk.Data = []int{m}, t.Data[at*from.Size():(at+m)*from.Size()]
		if err := chunk.CopyTo(raw[:m*from.Size()]); err != nil {
			return err
		}
		if from == to {
			p.WriteBytes(raw[:m*from.Size()], at*to.Size())
			continue
		}
		tensor.ToFloats(from, raw[:m*from.Size()], floats[:m])
		p.WriteBytes(tensor.FromFloats(to, floats[:m]), at*to.Size())
	}
	return nil
}
