// Package litgpt translates checkpoints between LitGPT's layout, lit_model.pth and
// model_config.yaml, and that of Hugging Face: names, shapes and configuration.
//
// LitGPT has one model with switches for all families, under names of its own. Query, key
// and value are one weight there, in this order; GPT-NeoX and Falcon, who have them
// woven by head in one weight too, are unwoven; Phi 3's gate and up are two; a tied head
// is stored again. Nothing else changes: every weight's rows are moved, none of their
// numbers. So a translation is a [View]: what is translated is read when it is asked for.
//
// FromLit and Open lead to Hugging Face's layout, ToLit and Save to LitGPT's. What the other
// side cannot express (LongRoPE, biases in some layers only) is an error: its logits
// would not be the same. The layout is that of LitGPT 0.5.9; later versions read it, and
// what they write is read, as far as there is a family for it.
package litgpt

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/models"
)

const headName, embedName = "lm_head.weight", "transformer.wte.weight"

// FromLit translates a checkpoint of LitGPT's, given its model_config.yaml and its weights,
// to the config.json and the weights of transformers. The model computes what LitGPT's
// does; e.g. the epsilon of the norms is LitGPT's. A head whose values are those of the
// embedding is tied to it. src is used as long as the result.
func FromLit(modelConfig []byte, src checkpoint.Source) (config []byte, hf *View, err error) {
	c, err := ReadConfig(modelConfig)
	if err != nil {
		return nil, nil, err
	}
	f := of(&c)
	if f == nil {
		return nil, nil, fmt.Errorf("model_config.yaml: no family here has mlp_class_name %q with norm_class_name %q", c.MLP, c.Norm)
	}
	src = unwrapped(src, &c)
	var wrong []error
	want := c.weights()
	have := map[string]safetensors.Tensor{}
	for _, w := range want {
		t, ok := src.Tensor(w.name())
		switch {
		case !ok:
			wrong = append(wrong, fmt.Errorf("missing %s, shape %v", w.name(), w.shape))
		case !slices.Equal(t.Shape, w.shape):
			wrong = append(wrong, fmt.Errorf("%s: shape %v in the checkpoint, %v by model_config.yaml", w.name(), t.Shape, w.shape))
		}
		have[w.name()] = t
	}
	for _, name := range src.Names() {
		if _, ok := have[name]; ok {
			continue
		}
		if strings.Contains(name, "lora_") || strings.Contains(name, "adapter") || strings.Contains(name, "gating_factor") {
			return nil, nil, fmt.Errorf("%s belongs to an adapter; merge it into the model first (litgpt merge_lora)", name)
		}
		wrong = append(wrong, fmt.Errorf("unused %s", name))
	}
	if wrong != nil {
		return nil, nil, fmt.Errorf("lit_model.pth does not match model_config.yaml:\n%w", few(wrong))
	}
	head, embed := have[headName], have[embedName]
	tied, err := equal(head, embed)
	if err != nil {
		return nil, nil, err
	}
	if config, err = c.configJSON(f, tied, torchTypes[embed.DType]); err != nil {
		return nil, nil, err
	}
	hf = newView(src)
	err = c.walk(f, want, func(l link, ids []int, suffix string, lit, out []weight) error {
		if tied && lit[0].name() == headName {
			return nil
		}
		sources, targets := named(lit), named(out)
		return hf.add(targets, sources, c.weave(l, false))
	})
	return config, hf, err
}

// ToLit translates a checkpoint of transformers', given its config.json and its weights, to
// LitGPT's model_config.yaml and weights. name is what the model is called, e.g. its
// directory or repository, or "": LitGPT goes by names, so it gets one in which this one
// appears if LitGPT's rules allow. src is used as long as the result.
func ToLit(config []byte, src checkpoint.Source, name string) (modelConfig []byte, lit *View, err error) {
	m, err := models.New(config)
	if err != nil {
		return nil, nil, err
	}
	if a, ok := m.(checkpoint.Adapter); ok { // a part of a model that sees images; masks of old checkpoints
		src = a.AdaptCheckpoint(src)
	}
	if config, err = models.SavedConfig(config); err != nil {
		return nil, nil, err
	}
	c, f, err := configOf(config, name)
	if err != nil {
		return nil, nil, err
	}
	if modelConfig, err = c.encode(); err != nil {
		return nil, nil, err
	}
	lit = newView(src)
	tied := m.Dims().Tied
	var wrong []error
	used := map[string]bool{}
	err = c.walk(f, c.weights(), func(l link, ids []int, suffix string, out, hf []weight) error {
		if tied && out[0].name() == headName {
			lit.share(headName, embedName)
			return nil
		}
		var sources []part
		for _, w := range hf {
			p, shape, ok := find(src, w, ids, c.Experts)
			switch {
			case !ok:
				wrong = append(wrong, fmt.Errorf("missing %s, shape %v", w.name(), w.shape))
			case !slices.Equal(shape, w.shape):
				wrong = append(wrong, fmt.Errorf("%s: shape %v in the checkpoint, %v by config.json", w.name(), shape, w.shape))
			}
			used[p.name] = true
			sources = append(sources, p)
		}
		if wrong != nil {
			return nil
		}
		return lit.add(named(out), sources, c.weave(l, true))
	})
	if err != nil {
		return nil, nil, err
	}
	for _, n := range src.Names() {
		switch {
		case used[n] || strings.HasSuffix(n, ".rotary_emb.inv_freq"):
		case tied && (n == headName || n == "embed_out.weight"):
			head, _ := src.Tensor(n)
			embed, _ := src.Tensor(lit.targets[embedName].pieces[0].from)
			if same, err := equal(head, embed); err != nil || !same {
				wrong = append(wrong, cmp.Or(err, fmt.Errorf("%s differs from the embedding, although tie_word_embeddings says they are one", n)))
			}
		default:
			wrong = append(wrong, fmt.Errorf("unused %s", n))
		}
	}
	if wrong != nil {
		return nil, nil, fmt.Errorf("checkpoint does not match config.json:\n%w", few(wrong))
	}
	return modelConfig, lit, nil
}

// few joins the first errors; a wrong configuration of a large model would fill screens.
func few(errs []error) error {
	const most = 12
	if n := len(errs) - most; n > 0 {
		errs = append(errs[:most:most], fmt.Errorf("and %d more", n))
	}
	return errors.Join(errs...)
}

// torchTypes are torch's names of the types that weights have.
var torchTypes = map[safetensors.DType]string{safetensors.F32: "float32", safetensors.F16: "float16", safetensors.BF16: "bfloat16", safetensors.F64: "float64"}

// walk goes through the links between a family's weights, with both sides' weights.
func (c *Config) walk(f *family, all []weight, visit func(l link, ids []int, suffix string, lit, hf []weight) error) error {
	shapes := map[string][]int{}
	for _, w := range all {
		shapes[w.name()] = w.shape
	}
	type place struct {
		link
		first bool
	}
	places := map[string]place{}
	for _, l := range f.links(c) {
		for i, name := range strings.Fields(l.lit) {
			places[name] = place{l, i == 0}
		}
	}
	for _, w := range all {
		p, ok := places[w.layer]
		if !ok {
			return fmt.Errorf("model_config.yaml: %s has no %s", f.architecture, w.name())
		}
		if !p.first {
			continue // it came with the first one
		}
		var lit, hf []weight
		rows := 0
		for _, name := range strings.Fields(p.lit) {
			part := weight{name, w.ids, w.suffix, nil}
			if part.shape = shapes[part.name()]; part.shape == nil {
				return fmt.Errorf("model_config.yaml: %s without %s", w.name(), part.name())
			}
			rows += part.shape[0]
			lit = append(lit, part)
		}
		names := strings.Fields(p.hf)
		split := []int{rows}
		if len(names) == 3 { // query, key and value
			split = []int{c.Heads * c.HeadSize, c.Groups * c.HeadSize, c.Groups * c.HeadSize}
		}
		for i, name := range names {
			hf = append(hf, weight{name, w.ids, w.suffix, append([]int{split[i]}, w.shape[1:]...)})
		}
		if err := visit(p.link, w.ids, w.suffix, lit, hf); err != nil {
			return err
		}
	}
	return nil
}

// weave gives the rows of a link's one side in the order of the other side's, nil where they
// are the same. LitGPT has the rows of all queries, then keys, then values.
func (c *Config) weave(l link, toLit bool) []rows {
	if !l.weave {
		return nil
	}
	d, g := c.HeadSize, c.Heads/c.Groups
	var list []rows
	if toLit {
		for _, r := range []rows{{0, g * d}, {g * d, d}, {(g + 1) * d, d}} {
			for i := range c.Groups {
				list = append(list, rows{i*(g+2)*d + r.first, r.n})
			}
		}
		return list
	}
	for i := range c.Groups {
		list = append(list, rows{i * g * d, g * d}, rows{(c.Heads + i) * d, d}, rows{(c.Heads + c.Groups + i) * d, d})
	}
	return list
}

// named gives weights as the parts of a row space.
func named(list []weight) []part {
	var parts []part
	for _, w := range list {
		parts = append(parts, part{w.name(), 0, w.shape})
	}
	return parts
}

// stacks are the names under which transformers 5 has the weights of all experts of a layer
// in one tensor, for the names of one expert's: (E, 2F, C) has each one's gate, then its
// up, (E, C, F) its down.
var stacks = []struct{ one, all string }{
	{"model.layers.{}.block_sparse_moe.experts.{}.w1", "gate"}, {"model.layers.{}.block_sparse_moe.experts.{}.w3", "up"},
	{"model.layers.{}.block_sparse_moe.experts.{}.w2", "down"},
	{"model.layers.{}.mlp.experts.{}.gate_proj", "gate"}, {"model.layers.{}.mlp.experts.{}.up_proj", "up"}, {"model.layers.{}.mlp.experts.{}.down_proj", "down"},
}

// find gives where a weight's rows are: a tensor of that name, or some rows of a stack of
// experts, with the shape that it has there.
func find(src checkpoint.Source, w weight, ids []int, experts int) (part, []int, bool) {
	if t, ok := src.Tensor(w.name()); ok {
		return part{w.name(), 0, t.Shape}, t.Shape, true
	}
	router := "model.layers.{}.block_sparse_moe.gate"
	if w.layer == router {
		w.layer = "model.layers.{}.mlp.gate"
		t, ok := src.Tensor(w.name())
		return part{w.name(), 0, t.Shape}, t.Shape, ok
	}
	for _, s := range stacks {
		if w.layer != s.one {
			continue
		}
		name, width, first := "model.layers.{}.mlp.experts.gate_up_proj", 2*w.shape[0], 0
		switch s.all {
		case "up":
			first = w.shape[0]
		case "down":
			name, width = "model.layers.{}.mlp.experts.down_proj", w.shape[0]
		}
		name = number(name, ids[:1])
		t, ok := src.Tensor(name)
		if !ok || !slices.Equal(t.Shape, []int{experts, width, w.shape[1]}) {
			return part{}, nil, false
		}
		return part{name, ids[1]*width + first, w.shape}, w.shape, true
	}
	return part{}, nil, false
}

// equal compares the values of two tensors.
func equal(a, b safetensors.Tensor) (bool, error) {
	if a.DType != b.DType || len(a.Data) != len(b.Data) {
		return false, nil
	}
	if len(a.Data) == 0 || &a.Data[0] == &b.Data[0] {
		return true, nil // one storage
	}
	const piece = 1 << 20
	x, y := make([]byte, min(piece, len(a.Data))), make([]byte, min(piece, len(a.Data)))
	for at := 0; at < len(a.Data); at += piece {
		end := min(at+piece, len(a.Data))
		p, q := a, b
		p.Data, q.Data = a.Data[at:end], b.Data[at:end]
		if err := firstError(p.CopyTo(x[:end-at]), q.CopyTo(y[:end-at])); err != nil {
			return false, err
		}
		if !bytes.Equal(x[:end-at], y[:end-at]) {
			return false, nil
		}
	}
	return true, nil
}

// unwrapped gives LitGPT's weights their names of today: without what torch.compile and
// Lightning put before them, and with the projection of old checkpoints, attn.attn, which
// is woven by head, unwoven as attn.qkv.
func unwrapped(src checkpoint.Source, c *Config) checkpoint.Source {
	names := src.Names()
	from := map[string]string{}
	changed := false
	for _, n := range names {
		to := n
		for _, prefix := range []string{"_forward_module.", "_orig_mod.", "module."} {
			to = strings.TrimPrefix(to, prefix)
		}
		to = strings.ReplaceAll(to, "_orig_mod.", "")
		if _, ok := from[to]; ok {
			return src // two of one name: they are reported under the names they have
		}
		from[to] = n
		changed = changed || to != n || strings.Contains(to, ".attn.attn.")
	}
	if !changed {
		return src
	}
	v := newView(src)
	for _, to := range slices.Sorted(maps.Keys(from)) {
		old := from[to]
		t, _ := src.Tensor(old)
		var order []rows
		if strings.Contains(to, ".attn.attn.") && len(t.Shape) > 0 && t.Shape[0] == (c.Heads+2*c.Groups)*c.HeadSize {
			to, order = strings.Replace(to, ".attn.attn.", ".attn.qkv.", 1), c.weave(link{weave: true}, true)
		}
		if err := v.add([]part{{to, 0, t.Shape}}, []part{{old, 0, t.Shape}}, order); err != nil {
			return src
		}
	}
	return v
}
