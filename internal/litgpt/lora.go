package litgpt

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/pth"
	"github.com/litgpt-go/litgpt/internal/tensor"
)

// The files that LitGPT's finetune_lora leaves beside ConfigFile.
const (
	LoRAFile     = "lit_model.pth.lora"
	SettingsFile = "hyperparameters.yaml"
)

// LoRA is an adapter that LitGPT trained: what it adds to some layers of a model, under the names
// that those have at Hugging Face.
type LoRA struct {
	Rank           int
	Alpha, Dropout float64
	Base           string // checkpoint_dir: where the model was when the adapter was trained
	Quantize       string // bnb.nf4 …, how the model was quantized meanwhile; "" for not at all
	Layers         []Low  // in the order of the model
}

// Low is the correction of one layer: y += scale·B·A·x, with alpha/rank of the adapter as the
// scale. Where several projections are one layer, as Phi 3's query, key and value are, each has
// rows of A and columns of B for itself, and Rank is that many times the adapter's; B is zero elsewhere.
type Low struct {
	Name    string // of the layer, without ".weight"
	Rank    int
	Out, In int
	A       []float32 // (Rank, In)
	B       []float32 // (Out, Rank)
}

// settings are the keys of hyperparameters.yaml that say what an adapter is; there are many others.
type settings struct {
	CheckpointDir string  `yaml:"checkpoint_dir"`
	Quantize      string  `yaml:"quantize"`
	Rank          int     `yaml:"lora_r"`
	Alpha         float64 `yaml:"lora_alpha"`
	Dropout       float64 `yaml:"lora_dropout"`
	Query         bool    `yaml:"lora_query"`
	Key           bool    `yaml:"lora_key"`
	Value         bool    `yaml:"lora_value"`
	Projection    bool    `yaml:"lora_projection"`
	MLP           bool    `yaml:"lora_mlp"`
	Head          bool    `yaml:"lora_head"`
}

// ReadLoRA reads the adapter in a directory that LitGPT's finetune_lora wrote. All that does not fit its
// settings and the model's configuration is reported together.
func ReadLoRA(dir string) (*LoRA, error) {
	text, err := readSmall(filepath.Join(dir, SettingsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: no %s, which says what rank and alpha the adapter has; LitGPT's finetune_lora writes it", dir, SettingsFile)
	}
	if err != nil {
		return nil, err
	}
	var s settings
	if err := yaml.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, SettingsFile), err)
	}
	if text, err = readSmall(filepath.Join(dir, ConfigFile)); err != nil {
		return nil, err
	}
	f, err := pth.Open(filepath.Join(dir, LoRAFile))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	a, err := s.lora(text, f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return a, nil
}

func (s *settings) check() error {
	switch {
	case s.Rank < 1 || s.Rank > 1<<16:
		return fmt.Errorf("%s: lora_r is %d; a positive number wanted", SettingsFile, s.Rank)
	case !(s.Alpha > 0) || math.IsInf(s.Alpha, 0):
		return fmt.Errorf("%s: lora_alpha is %g; a positive number wanted", SettingsFile, s.Alpha)
	case !(s.Dropout >= 0 && s.Dropout < 1):
		return fmt.Errorf("%s: lora_dropout is %g; 0 ≤ dropout < 1 wanted", SettingsFile, s.Dropout)
	}
	return nil
}

// lora translates the tensors of src.
func (s *settings) lora(modelConfig []byte, src checkpoint.Source) (*LoRA, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	c, err := ReadConfig(modelConfig)
	if err != nil {
		return nil, err
	}
	f := of(&c)
	if f == nil {
		return nil, fmt.Errorf("%s: no family here has mlp_class_name %q with norm_class_name %q", ConfigFile, c.MLP, c.Norm)
	}
	a := &LoRA{Rank: s.Rank, Alpha: s.Alpha, Dropout: s.Dropout, Base: s.CheckpointDir, Quantize: s.Quantize}
	r := &loraReader{s: s, c: &c, src: unwrapped(src, &c), used: map[string]bool{}}
	err = c.walk(f, c.weights(), func(l link, ids []int, suffix string, lit, hf []weight) error {
		if suffix == ".weight" && len(lit[0].shape) == 2 {
			a.Layers = append(a.Layers, r.layers(lit, hf, c.weave(l, false))...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, name := range r.src.Names() {
		if !r.used[name] {
			r.wrong = append(r.wrong, fmt.Errorf("unused %s", name))
		}
	}
	if r.wrong != nil {
		return nil, fmt.Errorf("%s does not match %s and %s:\n%w", LoRAFile, ConfigFile, SettingsFile, few(r.wrong))
	}
	return a, nil
}

// loraReader reads corrections and notes what does not fit.
type loraReader struct {
	s     *settings
	c     *Config
	src   checkpoint.Source
	used  map[string]bool
	wrong []error
}

// update is the correction of some of the rows that a link's layers have, one layer after the other.
type update struct {
	rows
	a, b []float32 // (r, in), (n, r)
}

// on says whether the settings switch a layer of LitGPT's on.
func (s *settings) on(layer string) bool {
	switch {
	case strings.HasSuffix(layer, ".attn.qkv"):
		return s.Query || s.Key || s.Value
	case strings.HasSuffix(layer, ".attn.proj"):
		return s.Projection
	case layer == "lm_head":
		return s.Head
	}
	return s.MLP && strings.Contains(layer, ".mlp.")
}

// updates reads those of LitGPT's layers. Of the queries, keys and values, which are one layer
// there, those that are switched on follow each other in its matrices.
func (r *loraReader) updates(lit []weight) (list []update) {
	at, rank := 0, r.s.Rank
	for _, w := range lit {
		first := at
		at += w.shape[0]
		if !r.s.on(w.layer) {
			continue
		}
		parts := []rows{{first, w.shape[0]}}
		if strings.HasSuffix(w.layer, ".attn.qkv") {
			parts = nil
			q, kv := r.c.Heads*r.c.HeadSize, r.c.Groups*r.c.HeadSize
			for _, p := range []struct {
				on bool
				rows
			}{{r.s.Query, rows{0, q}}, {r.s.Key, rows{q, kv}}, {r.s.Value, rows{q + kv, kv}}} {
				if p.on {
					parts = append(parts, rows{first + p.first, p.n})
				}
			}
		}
		out, in := 0, w.shape[1]
		for _, p := range parts {
			out += p.n
		}
		layer := strings.TrimSuffix(w.name(), ".weight")
		a, okA := r.matrix(layer+".lora_A", len(parts)*rank, in)
		b, okB := r.matrix(layer+".lora_B", out, rank)
		if !okA || !okB {
			continue
		}
		for _, p := range parts {
			list = append(list, update{p, a[:rank*in], b[:p.n*rank]})
			a, b = a[rank*in:], b[p.n*rank:]
		}
	}
	return list
}

// matrix reads a tensor of the shape (n, m).
func (r *loraReader) matrix(name string, n, m int) ([]float32, bool) {
	t, ok := r.src.Tensor(name)
	r.used[name] = true
	from, known := tensor.DTypeByName(string(t.DType))
	switch {
	case !ok:
		r.wrong = append(r.wrong, fmt.Errorf("missing %s, shape [%d %d]", name, n, m))
		return nil, false
	case !slices.Equal(t.Shape, []int{n, m}):
		r.wrong = append(r.wrong, fmt.Errorf("%s: shape %v in the adapter, [%d %d] by the settings", name, t.Shape, n, m))
		return nil, false
	case !known || from == tensor.I32 || from.Quantized():
		r.wrong = append(r.wrong, fmt.Errorf("%s: type %s; F32, F16 or BF16 wanted", name, t.DType))
		return nil, false
	}
	raw, v := make([]byte, len(t.Data)), make([]float32, n*m)
	if err := t.CopyTo(raw); err != nil {
		r.wrong = append(r.wrong, err)
		return nil, false
	}
	tensor.ToFloats(from, raw, v)
	return v, true
}

// layers deals the updates of LitGPT's layers out to those of transformers. order is that of the rows
// there, nil for the same.
func (r *loraReader) layers(lit, hf []weight, order []rows) (list []Low) {
	all := r.updates(lit)
	if len(all) == 0 {
		return nil
	}
	var from []int // the row in LitGPT's layers
	if order == nil {
		total := 0
		for _, w := range hf {
			total += w.shape[0]
		}
		order = []rows{{0, total}}
	}
	for _, o := range order {
		for i := range o.n {
			from = append(from, o.first+i)
		}
	}
	rank := r.s.Rank
	for _, w := range hf {
		own := from[:w.shape[0]]
		from = from[w.shape[0]:]
		var met []update
		for _, u := range all {
			if slices.ContainsFunc(own, u.has) {
				met = append(met, u)
			}
		}
		if met == nil {
			continue
		}
		low := Low{Name: strings.TrimSuffix(w.name(), ".weight"), Rank: rank * len(met), Out: w.shape[0], In: w.shape[1]}
		// transformers has had the router there since it has all experts of a layer in one weight.
		low.Name = strings.Replace(low.Name, ".block_sparse_moe.gate", ".mlp.gate", 1)
		low.B = make([]float32, low.Out*low.Rank)
		for i, u := range met {
			low.A = append(low.A, u.a...)
			for row, at := range own {
				if u.has(at) {
					copy(low.B[row*low.Rank+i*rank:][:rank], u.b[(at-u.first)*rank:])
				}
			}
		}
		list = append(list, low)
	}
	return list
}

// has reports whether row is one of them.
func (r rows) has(row int) bool { return row >= r.first && row < r.first+r.n }
