package models

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Shape is a published model that LitGPT knows by name: what "pretrain" starts
// from, and where its weights are. A checkpoint needs none of this, it brings its
// own config.json.
type Shape struct {
	Name    string // LitGPT's
	Repo    string // on the Hugging Face Hub, organization/name
	Weights int    // as published, a shared embedding counted once; 0 is not known
	Config  []byte // config.json
}

// names.jsonl has a line per shape: the models that have it, LitGPT's name to the
// repository, and its config.json. The sizes are those of LitGPT 0.5.13, the keys
// Hugging Face's. Some things LitGPT leaves out or has otherwise are as in the
// published config.json: tied embeddings (Gemma, Llama 3.2, SmolLM2, small Qwen,
// Phi-4-mini, Falcon, OLMo-1B), Gemma's epsilon of 1e-6, Phi-3's window of 2047, 8
// key/value heads of Platypus2-70B, the contexts of CodeLlama-13b-Instruct and
// LLaMA-2-7B-32K. Phi's LongRoPE tables belong to the trained weights and are left
// out.
//
//go:embed names.jsonl
var names []byte

// Shapes returns all models known by name, in the order of the alphabet.
func Shapes() []Shape {
	var all []Shape
	for i, line := range strings.Split(strings.TrimSpace(string(names)), "\n") {
		var s struct {
			Models  map[string]string `json:"models"`
			Weights int               `json:"weights"`
			Config  json.RawMessage   `json:"config"`
		}
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			panic(fmt.Sprintf("names.jsonl:%d: %v", i+1, err)) // part of the program, and tested
		}
		for name, repo := range s.Models {
			all = append(all, Shape{name, repo, s.Weights, s.Config})
		}
	}
	slices.SortFunc(all, func(a, b Shape) int {
		return cmp.Or(strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)), strings.Compare(a.Name, b.Name))
	})
	return all
}

// FindShape looks for LitGPT's name, the repository, or the repository's name
// without its organization; letters may be small or large.
func FindShape(name string) (Shape, bool) {
	for _, s := range Shapes() {
		_, base, _ := strings.Cut(s.Repo, "/")
		for _, known := range []string{s.Name, s.Repo, base} {
			if strings.EqualFold(known, name) {
				return s, true
			}
		}
	}
	return Shape{}, false
}
