package ggufmap

import (
	"fmt"
	"slices"
	"sort"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/models"
)

// Places says where GGUF has the weights of a model, for what corrects them: an adapter's
// matrices follow the rows of the weight that they belong to.
type Places struct {
	Arch    string // general.architecture
	OwnHead bool   // there is an output.weight even where it is the embedding

	fam       *family
	s         sizes
	published map[string][]nn.Piece // names that differ from the model's
}

// Placed is a tensor of GGUF that is made of rows of one weight.
type Placed struct {
	Name  string // blk.0.attn_q.weight
	Shape []int  // (out, in), or (E, out, in) of experts

	// Row gives, for a row of the tensor, the weight's; those of experts follow each other.
	Row func(row int) int
}

// NewPlaces is for the model of a config.json, of the text model alone where it is a part.
func NewPlaces(config []byte) (*Places, error) {
	model, err := models.New(config)
	if err != nil {
		return nil, err
	}
	if config, err = models.SavedConfig(config); err != nil {
		return nil, err
	}
	arch, err := models.Architecture(config)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(families, func(f family) bool { return f.hf == arch })
	if i < 0 {
		return nil, fmt.Errorf("config.json: %s has no counterpart in GGUF here", arch)
	}
	p := &Places{Arch: families[i].arch, OwnHead: families[i].ownHead, fam: &families[i], s: sizesOf(model.Dims())}
	if m, ok := model.(checkpoint.Pieced); ok {
		p.published = m.CheckpointPieces(nil)
	}
	return p, nil
}

// Of gives the tensors of GGUF that hold the weight called name as the model calls it: one, or
// those of the gate and of up for experts that have both in one weight.
func (p *Places) Of(name string, shape []int) ([]Placed, error) {
	piece := nn.Piece{Name: name, Shape: shape}
	if as := p.published[name]; len(as) == 1 {
		piece.Name = as[0].Name
	}
	list, err := p.fam.made(name, shape, []nn.Piece{piece}, shapes{piece.Name: shape}, p.s)
	if err != nil {
		return nil, err
	}
	out := make([]Placed, len(list))
	for i, t := range list {
		out[i] = Placed{Name: t.Name, Shape: t.Shape, Row: t.rows.row}
	}
	return out, nil
}

// row is the row of the first part's tensor that row r is.
func (r *rows) row(row int) int {
	if r.order != nil {
		row = r.order(row)
	}
	at := 0
	ends := make([]int, len(r.parts))
	for i, p := range r.parts {
		at += p.n
		ends[i] = at
	}
	i := sort.SearchInts(ends, row+1)
	return r.parts[i].from + row - (ends[i] - r.parts[i].n)
}

// shapes is a source of float32 tensors that nobody reads.
type shapes map[string][]int

func (s shapes) Names() []string { return nil }

func (s shapes) Tensor(name string) (safetensors.Tensor, bool) {
	shape, ok := s[name]
	return safetensors.Tensor{Name: name, DType: "F32", Shape: shape}, ok
}
