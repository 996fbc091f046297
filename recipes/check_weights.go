package recipes

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/lora"
)

// checkWeights compares names, shapes and types of the weights with what config.json
// declares. Only headers are read, and a tied head.
func (c *checker) checkWeights() {
	if c.l.base == "" || c.l.src == nil && !c.openWeights() {
		return
	}
	if c.gguf == nil {
		c.checkType()
	}
	if c.l.Model == nil {
		c.guessRows()
		return
	}
	dev, err := tensor.Open("cpu", tensor.Options{Threads: 1})
	if err != nil {
		c.say(severe, "weights", c.at.weights, "", "%v", err)
		return
	}
	defer dev.Close()
	if err := checkpoint.Load(dev.Plan(), c.l.Model, c.l.src, checkpoint.Options{}); err != nil {
		advice := c.at.config + " or the weights are of another model"
		if strings.Contains(err.Error(), "missing lm_head.weight") {
			advice = "a model that shares its embedding with the head says so by tie_word_embeddings true; otherwise " + advice
		}
		c.sayLines(severe, "weights", c.at.weights, advice, err)
		return
	}
	c.checkHead()
}

// embeddings are the last parts of the names that embeddings have.
var embeddings = []string{"embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight", "tok_embeddings.weight"}

// guessRows finds the embedding of a model that has no family here.
func (c *checker) guessRows() {
	for _, name := range c.l.src.Names() {
		for _, end := range embeddings {
			if t, ok := c.l.src.Tensor(name); ok && strings.HasSuffix(name, end) && len(t.Shape) == 2 {
				c.rows = t.Shape[0]
				return
			}
		}
	}
}

// checkHead compares a stored output projection with the embedding that it is tied to.
func (c *checker) checkHead() {
	var src checkpoint.Source = c.l.src
	if a, ok := c.l.Model.(checkpoint.Adapter); ok {
		src = a.AdaptCheckpoint(src)
	}
	params, embedding := map[string]bool{}, ""
	for name := range nn.Params(c.l.Model) {
		if embedding == "" {
			embedding = name // the first weight of every family
		}
		params[name] = true
	}
	embed, ok := src.Tensor(embedding)
	for _, name := range []string{"lm_head.weight", "embed_out.weight"} {
		head, there := src.Tensor(name)
		if !ok || !there || params[name] {
			continue
		}
		same, err := sameValues(head, embed)
		if err != nil {
			c.say(severe, "tied-head", c.at.weights, "download the weights again", "%v", err)
		} else if !same {
			c.say(severe, "tied-head", c.at.weights, "set tie_word_embeddings to false if the model was trained with a head of its own, or remove the tensor",
				"%s differs from %s, although config.json says that they are one (tie_word_embeddings)", name, embedding)
		}
	}
}

// sameValues compares two tensors bit for bit, a piece at a time.
func sameValues(a, b safetensors.Tensor) (bool, error) {
	if a.DType != b.DType || !slices.Equal(a.Shape, b.Shape) {
		return false, nil
	}
	const piece = 1 << 20
	bufA, bufB := make([]byte, piece), make([]byte, piece)
	for at := 0; at < len(a.Data); at += piece {
		end := min(at+piece, len(a.Data))
		pa, pb := a, b
		pa.Data, pb.Data = a.Data[at:end], b.Data[at:end]
		if err := pa.CopyTo(bufA[:end-at]); err != nil {
			return false, err
		}
		if err := pb.CopyTo(bufB[:end-at]); err != nil {
			return false, err
		}
		if !bytes.Equal(bufA[:end-at], bufB[:end-at]) {
			return false, nil
		}
	}
	return true, nil
}

// typeNames are what config.json calls the types of safetensors.
var typeNames = map[safetensors.DType]string{"F32": "float32", "F16": "float16", "BF16": "bfloat16"}

// checkType compares the type that config.json names with that of most weights.
func (c *checker) checkType() {
	said, text := "", object{}
	for _, o := range []object{c.config, text} {
		if said == "" && !o.get("dtype", &said) {
			o.get("torch_dtype", &said)
		}
		c.config.get("text_config", &text)
	}
	said = strings.TrimPrefix(said, "torch.")
	stored := c.l.storedType()
	name := typeNames[stored]
	if name == "" {
		name = string(stored)
	}
	if said != "" && said != "auto" && said != name {
		c.say(suspect, "dtype", "config.json", "the stored type is used here; transformers converts to the one in config.json when dtype is \"auto\"",
			"it says %s, and most weights are stored as %s", said, name)
	}
}

// checkAdapter fits the adapter on its base. Its weights, which are few, are read.
func (c *checker) checkAdapter() {
	if c.l.lora == nil && c.adapter == "" || c.l.Model == nil {
		return
	}
	dev, err := tensor.Open("cpu", tensor.Options{Threads: 1})
	if err != nil {
		c.say(severe, "adapter", lora.WeightsFile, "", "%v", err)
		return
	}
	defer dev.Close()
	twin, err := c.l.twin()
	if err == nil {
		defer twin.free()
		if c.adapter != "" {
			_, _, err = lora.LoadGGUF(dev, twin.Model, c.l.config, c.adapter)
		} else {
			_, err = lora.Load(dev, twin.Model, c.l.dir)
		}
	}
	switch {
	case err == nil:
	case c.adapter != "":
		c.sayLines(severe, "adapter", filepath.Base(c.adapter), "the adapter belongs to another model, or is damaged", err)
	default:
		c.sayLines(severe, "adapter", lora.WeightsFile, "the adapter belongs to another model, or is damaged ("+filepath.Join(c.l.dir, lora.ConfigFile)+" names its base)", err)
	}
}
