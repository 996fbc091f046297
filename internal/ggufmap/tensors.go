package ggufmap

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/gguf"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// tensors lists those of a model, in the order of its fields.
func (fam *family) tensors(e *Exported, model any, src checkpoint.Source, s sizes) error {
	split := map[string][]nn.Piece{}
	if m, ok := model.(checkpoint.Pieced); ok {
		split = m.CheckpointPieces(func(name string) bool { _, ok := checkpoint.Header(src, name); return ok })
	}
	var errs []error
	for name, p := range nn.Params(model) {
		pieces := split[name]
		if pieces == nil {
			pieces = []nn.Piece{{Name: name, Shape: p.Shape()}}
		}
		list, err := fam.made(name, p.Shape(), pieces, src, s)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		e.Tensors = append(e.Tensors, list...)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("checkpoint cannot become GGUF:\n%w", err)
	}
	if fam.ownHead && !hasTensor(e.Tensors, "output.weight") {
		head := e.Tensors[0]
		head.Name = "output.weight"
		e.Tensors = append(e.Tensors, head)
	}
	return fam.keepExact(e)
}

func hasTensor(list []Tensor, name string) bool {
	for _, t := range list {
		if t.Name == name {
			return true
		}
	}
	return false
}

// made gives the tensors of GGUF that hold the weight name, stored in src as pieces.
func (fam *family) made(name string, shape []int, pieces []nn.Piece, src checkpoint.Source, s sizes) ([]Tensor, error) {
	for _, p := range pieces {
		if t, ok := checkpoint.Header(src, p.Name); !ok {
			return nil, fmt.Errorf("missing %s, shape %v", p.Name, p.Shape)
		} else if !equal(t.Shape, p.Shape) {
			return nil, fmt.Errorf("%s: shape %v in the checkpoint, %v in the model", p.Name, t.Shape, p.Shape)
		}
	}
	if base, ok := strings.CutSuffix(name, ".gate_up_proj"); ok && len(shape) == 3 {
		gate, up := base, base
		width := shape[1] / 2
		half := func(which int) (parts []part) {
			for i := range shape[0] {
				if len(pieces) == 1 {
					parts = append(parts, part{pieces[0].Name, (2*i + which) * width, width})
				} else {
					parts = append(parts, part{pieces[2*i+which].Name, 0, width})
				}
			}
			return parts
		}
		half3 := []int{shape[0], width, shape[2]}
		a, err := fam.stacked("blk.%d.ffn_gate_exps", gate, half3, half(0), src)
		if err != nil {
			return nil, err
		}
		b, err := fam.stacked("blk.%d.ffn_up_exps", up, half3, half(1), src)
		return []Tensor{a, b}, err
	}
	if base, ok := strings.CutSuffix(name, ".down_proj"); ok && len(shape) == 3 {
		var parts []part
		for _, p := range pieces {
			n, _ := view(p.Shape)
			parts = append(parts, part{p.Name, 0, n})
		}
		t, err := fam.stacked("blk.%d.ffn_down_exps", base, shape, parts, src)
		return []Tensor{t}, err
	}
	if len(pieces) != 1 {
		return nil, fmt.Errorf("%s: is several tensors in the checkpoint", name)
	}
	template, layer, suffix := templateOf(pieces[0].Name)
	for _, r := range fam.rules {
		if r.hf != template || r.stack {
			continue
		}
		n, _ := view(shape)
		made := rows{parts: []part{{pieces[0].Name, 0, n}}}
		if r.order != nil {
			made.order = r.order.toGGUF(s)
		}
		if r.plusOne {
			made.add = 1
		}
		return one(fill(r.gguf, layer)+suffix, shape, made, src, r.f32)
	}
	return nil, fmt.Errorf("%s: has no place in GGUF's %s", name, fam.arch)
}

func (fam *family) stacked(template, base string, shape []int, parts []part, src checkpoint.Source) (Tensor, error) {
	_, layer, _ := templateOf(base + ".weight")
	list, err := one(fill(template, layer)+".weight", shape, rows{parts: parts}, src, false)
	if err != nil {
		return Tensor{}, err
	}
	return list[0], nil
}

// one describes a tensor; vectors become F32.
func one(name string, shape []int, r rows, src checkpoint.Source, f32 bool) ([]Tensor, error) {
	t := Tensor{rows: r, src: src, Keep: f32 || len(shape) < 2}
	for i, p := range r.parts {
		t.From = append(t.From, p.name)
		head, _ := checkpoint.Header(src, p.name)
		head.Name = p.name
		d, err := typeOf(head)
		if err != nil {
			return nil, err
		}
		if i > 0 && d != t.from {
			return nil, fmt.Errorf("%s: type %v beside %v of %s, want one type for all experts of a layer", p.name, d, t.from, r.parts[0].name)
		}
		t.from = d
	}
	t.dtype = t.from
	if t.Keep || r.add != 0 {
		t.dtype = tensor.F32
	}
	typ, ok := gguf.TypeByName(t.dtype.String())
	if !ok {
		return nil, fmt.Errorf("%s: type %v, which GGUF does not have", r.parts[0].name, t.dtype)
	}
	t.Info = gguf.Info{Name: name, Type: typ, Shape: shape}
	return []Tensor{t}, nil
}

// templateOf takes a published name apart: "model.layers.3.mlp.up_proj.weight" is "model.layers.%d.mlp.up_proj", 3 and ".weight".
func templateOf(name string) (template string, layer int, suffix string) {
	for _, s := range []string{".weight", ".bias"} {
		if base, ok := strings.CutSuffix(name, s); ok {
			name, suffix = base, s
			break
		}
	}
	words := strings.Split(name, ".")
	for i, w := range words {
		if n, err := strconv.Atoi(w); err == nil {
			words[i] = "%d"
			return strings.Join(words, "."), n, suffix
		}
	}
	return name, 0, suffix
}

func fill(template string, layer int) string { return published(template, layer) }

func equal(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// Rows is the number of rows: a vector has rows of one element.
func (t *Tensor) Rows() int { n, _ := view(t.Shape); return n }

// Cols is the number of elements of a row.
func (t *Tensor) Cols() int { _, c := view(t.Shape); return c }

// DType is the type of what Read gives, that of Info.
func (t *Tensor) DType() tensor.DType { return t.dtype }

// Convert makes d, F32, F16 or BF16, the type of what Read gives, unless the tensor has to be F32.
func (t *Tensor) Convert(d tensor.DType) {
	if typ, ok := gguf.TypeByName(d.String()); ok && !t.Keep && t.data == nil && !d.Quantized() {
		t.dtype, t.Type = d, typ
	}
}

// Read gives rows of the tensor from row first on, in the type of Info: as many as fill dst. Goroutines
// may read at once.
func (t *Tensor) Read(dst []byte, first int) error {
	cols := t.Cols()
	rowBytes := t.dtype.Bytes(cols)
	n := len(dst) / rowBytes
	if n*rowBytes != len(dst) || first < 0 || first+n > t.Rows() {
		return fmt.Errorf("tensor %s: %d bytes from row %d on, want whole rows of %d bytes of its %d", t.Name, len(dst), first, rowBytes, t.Rows())
	}
	if t.data != nil {
		copy(dst, t.data[first*rowBytes:])
		return nil
	}
	if t.from == t.dtype && t.rows.add == 0 {
		return t.rows.gather(dst, first, n, rowBytes, t.src.Tensor)
	}
	v := make([]float32, n*cols)
	if err := t.Floats(v, first); err != nil {
		return err
	}
	copy(dst, tensor.FromFloats(t.dtype, v))
	return nil
}

// Floats is Read in float32: of quantized weights the numbers that they stand for.
func (t *Tensor) Floats(dst []float32, first int) error {
	cols := t.Cols()
	n := len(dst) / cols
	if n*cols != len(dst) || first < 0 || first+n > t.Rows() {
		return fmt.Errorf("tensor %s: %d elements from row %d on, want whole rows of %d of its %d", t.Name, len(dst), first, cols, t.Rows())
	}
	if t.data != nil {
		tensor.ToFloats(t.dtype, t.data[first*cols*4:], dst)
		return nil
	}
	raw := make([]byte, t.from.Bytes(n*cols))
	if err := t.rows.gather(raw, first, n, t.from.Bytes(cols), t.src.Tensor); err != nil {
		return err
	}
	tensor.ToFloats(t.from, raw, dst)
	for i := range dst {
		dst[i] += t.rows.add
	}
	return nil
}

// keepExact carries along the values of norms that w+1 rounds.
func (fam *family) keepExact(e *Exported) error {
	for i := range e.Tensors {
		t := &e.Tensors[i]
		if t.rows.add == 0 {
			continue
		}
		plus := make([]float32, t.Rows()*t.Cols())
		if err := t.Floats(plus, 0); err != nil {
			return err
		}
		exact := *t
		exact.rows.add = 0
		v := make([]float32, len(plus))
		if err := exact.Floats(v, 0); err != nil {
			return err
		}
		for j := range v {
			if math.Float32bits(plus[j]-t.rows.add) != math.Float32bits(v[j]) {
				e.Metadata = append(e.Metadata, gguf.KV{Key: exactPrefix + t.From[0], Value: v})
				break
			}
		}
	}
	return nil
}

// most is the type that most bytes of the tensors have.
func (e *Exported) most() gguf.Type {
	count := map[gguf.Type]int{}
	most := gguf.F32
	for _, t := range e.Tensors {
		n, _ := t.Bytes()
		if count[t.Type] += n; count[t.Type] > count[most] {
			most = t.Type
		}
	}
	return most
}

// FileType is general.file_type of a file most of whose matrices have type t; llama-quantize's
// mixtures, such as Q4_K_M, have numbers of their own.
func FileType(t gguf.Type) uint32 {
	if n, ok := fileTypes[t.String()]; ok {
		return n
	}
	return 0
}

// fileTypes are llama.h's llama_ftype of unmixed types.
var fileTypes = map[string]uint32{
	"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K": 12, "Q4_K": 15, "Q5_K": 17,
	"Q6_K": 18, "IQ2_XXS": 19, "IQ2_XS": 20, "IQ3_XXS": 23, "IQ1_S": 24, "IQ4_NL": 25, "IQ3_S": 26, "IQ2_S": 28, "IQ4_XS": 30,
	"IQ1_M": 31, "BF16": 32, "TQ1_0": 36, "TQ2_0": 37, "MXFP4": 38,
}

// Write writes a GGUF file of tensors as they are.
// progress, if not nil, is told the bytes of weights that are written, of all; its error ends the writing.
func Write(to io.Writer, meta []gguf.KV, tensors []Tensor, progress func(done, total int) error) error {
	infos := make([]gguf.Info, len(tensors))
	total := 0
	for i, t := range tensors {
		infos[i] = t.Info
		n, err := t.Bytes()
		if err != nil {
			return err
		}
		total += n
	}
	w, err := gguf.NewWriter(to, meta, infos)
	if err != nil {
		return err
	}
	done := 0
	for i := range tensors {
		t := &tensors[i]
		rowBytes := t.dtype.Bytes(t.Cols())
		step := max(1, 4<<20/max(1, rowBytes)) // rows of a piece
		buf := make([]byte, min(step, t.Rows())*rowBytes)
		for at := 0; at < t.Rows(); at += step {
			piece := buf[:min(step, t.Rows()-at)*rowBytes]
			if err := t.Read(piece, at); err != nil {
				return err
			}
			if _, err := w.Write(piece); err != nil {
				return err
			}
			done += len(piece)
			if progress != nil {
				if err := progress(done, total); err != nil {
					return err
				}
			}
		}
	}
	return w.Close()
}

var _ checkpoint.Headers = (*mapped)(nil)
