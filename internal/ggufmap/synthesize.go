package ggufmap

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/litgpt-go/litgpt/internal/gguf"
)

// meta reads the metadata of one architecture and remembers what was read.
type meta struct {
	f    *gguf.File
	arch string
	seen []string
	errs []error
}

func (m *meta) name(key string) string {
	m.seen = append(m.seen, key)
	return m.arch + "." + key
}

// int reads a size. An array with one number for each layer is read where all are the same.
func (m *meta) int(key string, must bool) (int, bool) {
	name := m.name(key)
	n, err := m.f.Int(name)
	if list, aerr := m.f.Ints(name); aerr == nil && len(list) > 0 {
		n, err = list[0], nil
		for _, x := range list {
			if x != n {
				err = fmt.Errorf("%s: layers of different sizes, %d and %d, which models here do not have", name, n, x)
			}
		}
	}
	if err == nil && (n < 0 || n > 1<<31) {
		err = fmt.Errorf("%s: is %d, want a size", name, n)
	}
	return int(n), m.ok(err, must)
}

func (m *meta) float(key string, must bool) (float64, bool) {
	v, err := m.f.Float(m.name(key))
	return v, m.ok(err, must)
}

func (m *meta) text(key string) (string, bool) {
	v, err := m.f.Text(m.name(key))
	return v, m.ok(err, false)
}

func (m *meta) ok(err error, must bool) bool {
	if err != nil && (must || !errors.Is(err, gguf.ErrNoKey)) {
		m.errs = append(m.errs, err)
	}
	return err == nil
}

// synthesize makes the config.json of the model in f, and the sizes that orders depend on.
func (fam *family) synthesize(f *gguf.File, arch string, over conf) (conf, sizes, error) {
	m := &meta{f: f, arch: arch}
	c := conf{}
	c.set("architectures", []string{fam.hf})
	c.set("model_type", fam.model)

	hidden, _ := m.int("embedding_length", true)
	c.set("hidden_size", hidden)
	for _, k := range []struct {
		gguf, hf string
		must     bool
	}{{"block_count", "num_hidden_layers", true}, {"context_length", "max_position_embeddings", true},
		{"feed_forward_length", fam.ffnKey(), true}} {
		if n, ok := m.int(k.gguf, k.must); ok {
			c.set(k.hf, n)
		}
	}
	const most = 1 << 14 // layers; published models have about 100
	if n := c.int("num_hidden_layers"); n > most {
		return nil, sizes{}, fmt.Errorf("%s.block_count is %d, want at most %d", arch, n, most)
	}
	heads, _ := m.int("attention.head_count", true)
	c.set("num_attention_heads", heads)
	kv := heads
	if n, ok := m.int("attention.head_count_kv", false); ok {
		kv = n
	}
	if fam.kv != "-" {
		c.set(fam.kvKey(), kv)
	} else if kv != heads {
		m.errs = append(m.errs, fmt.Errorf("%s.attention.head_count_kv is %d for %d heads, want the same number", arch, kv, heads))
	}
	if heads < 1 || hidden < 1 {
		return nil, sizes{}, errors.Join(append(m.errs, fmt.Errorf("%s: %d heads of %d channels together, want positive numbers", arch, heads, hidden))...)
	}
	head := hidden / heads
	if n, ok := m.int("attention.key_length", false); ok {
		head = n
	}
	if n, ok := m.int("attention.value_length", false); ok && n != head {
		m.errs = append(m.errs, fmt.Errorf("%s.attention.value_length is %d, want %d, the length of a key", arch, n, head))
	}
	switch {
	case !fam.noHead:
		c.set("head_dim", head)
	case head*heads != hidden:
		m.errs = append(m.errs, fmt.Errorf("%s: %d heads of %d channels, want %d together", arch, heads, head, hidden))
	}
	m.vocabulary(c)
	for _, k := range fam.keys {
		switch k.kind {
		case gguf.Float32:
			if v, ok := m.float(k.gguf, false); ok {
				c.number(k.hf, v)
			}
		case gguf.Bool:
			if v, err := f.Bool(m.name(k.gguf)); m.ok(err, false) {
				c.set(k.hf, v)
			}
		default:
			if n, ok := m.int(k.gguf, false); ok {
				c.set(k.hf, n)
			}
		}
	}
	if _, ok := f.Tensor("output.weight"); ok {
		c.set("tie_word_embeddings", false)
	} else {
		c.set("tie_word_embeddings", true)
	}
	m.ids(c)
	if fam.fromGGUF != nil {
		fam.fromGGUF(m, c)
	}
	fam.readRope(m, c, head, over)
	m.strange(fam)
	if err := errors.Join(m.errs...); err != nil {
		return nil, sizes{}, err
	}
	if !over.has("torch_dtype") {
		if name, ok := dtypeNames[f32OrMost(f)]; ok {
			c.set("torch_dtype", name)
		}
	}
	return c.merge(over), sizes{heads, kv, head, max(c.int("num_local_experts"), c.int("num_experts"))}, nil
}

// vocabulary is the rows of the embedding: the key of that name need not be there.
func (m *meta) vocabulary(c conf) {
	t, ok := m.f.Tensor("token_embd.weight")
	if !ok || len(t.Shape) != 2 {
		m.errs = append(m.errs, errors.New("tensor token_embd.weight: is missing, or is no matrix"))
		return
	}
	c.set("vocab_size", t.Shape[0])
	m.name("vocab_size")
}

// ids takes the special tokens from the tokenizer's metadata.
func (m *meta) ids(c conf) {
	for _, name := range []string{"bos", "eos"} {
		if n, err := m.f.Int("tokenizer.ggml." + name + "_token_id"); err == nil {
			c.set(name+"_token_id", n)
		}
	}
}

// strange refuses keys of the architecture that nothing here has read, unless they say that
// something is off.
func (m *meta) strange(fam *family) {
	for _, k := range m.f.Keys() {
		key, ok := strings.CutPrefix(k, m.arch+".")
		if !ok || slices.Contains(m.seen, key) || slices.Contains(harmless, key) || m.off(k) {
			continue
		}
		m.errs = append(m.errs, fmt.Errorf("%s: is not known here, and may change what the model computes", k))
	}
}

// harmless keys say nothing about the mathematics, or what always holds here.
var harmless = []string{"tensor_data_layout", "rope.scaling.finetuned", "use_parallel_residual", "rope.dimension_count"}

// off reports a key whose value is 0, false or empty.
func (m *meta) off(key string) bool {
	if v, err := m.f.Float(key); err == nil {
		return v == 0
	}
	if v, err := m.f.Bool(key); err == nil {
		return !v || strings.HasSuffix(key, ".attention.causal")
	}
	v, err := m.f.Text(key)
	return err == nil && v == ""
}

func (fam *family) ffnKey() string {
	if fam.ffn != "" {
		return fam.ffn
	}
	return "intermediate_size"
}

func (fam *family) kvKey() string {
	if fam.kv != "" {
		return fam.kv
	}
	return "num_key_value_heads"
}

var dtypeNames = map[gguf.Type]string{gguf.F32: "float32", gguf.F16: "float16", gguf.BF16: "bfloat16"}

// f32OrMost is the type of most weights.
func f32OrMost(f *gguf.File) gguf.Type {
	count := map[gguf.Type]int{}
	most := gguf.F32
	for _, name := range f.Names() {
		t, _ := f.Tensor(name)
		if count[t.Type] += len(t.Data); count[t.Type] > count[most] {
			most = t.Type
		}
	}
	return most
}
