// Package ggufmap translates between GGUF files, as llama.cpp writes and reads them,
// and Hugging Face checkpoints: the metadata to and from config.json, the tensors to
// and from their published names.
//
// There is one table entry per architecture (families.go). What differs between the two
// layouts is of few kinds: rows in another order (Llama's rotated heads, fused
// projections), norms stored as w+1 (Gemma), the experts of a layer in one tensor, and
// factors of the rotation as tensors. Reordering rows is exact for quantized tensors too,
// which have whole blocks in each row; rows are copied when they are asked for.
//
// What a config.json says and GGUF has no key for goes into one key of our own, configKey, so
// that a model survives the way there and back; Exported.Notes lists what of it changes the
// mathematics, since llama.cpp does not read it. The way from GGUF is strict: a key of the
// architecture that is not known here is an error.
//
// Start with Source for the way in and Export for the way out. Tokenizers are package
// tokenizer's.
package ggufmap

import (
	"fmt"
	"slices"
	"strings"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/gguf"
)

// configKey holds, as a JSON object, the keys of config.json that the others do not give.
const configKey = "litgpt.config"

// exactPrefix begins the keys that hold the float32 values of weights which the GGUF
// form rounds: Gemma's norms, where w+1 has lost bits of w. The weight's published name follows.
const exactPrefix = "litgpt.exact."

// Source opens the model in f: its weights under their published names, and the
// config.json that describes it to models.New. Weights whose rows have the order
// of Hugging Face checkpoints alias f, which must stay open; others are copied each time they are asked for.
func Source(f *gguf.File) (checkpoint.Source, []byte, error) {
	arch, err := f.Text("general.architecture")
	if err != nil {
		return nil, nil, err
	}
	if err := whole(f); err != nil {
		return nil, nil, err
	}
	over, err := readOverlay(f)
	if err != nil {
		return nil, nil, err
	}
	fam, err := familyOf(f, arch, over)
	if err != nil {
		return nil, nil, err
	}
	c, s, err := fam.synthesize(f, arch, over)
	if err != nil {
		return nil, nil, err
	}
	src, err := fam.source(f, s)
	if err != nil {
		return nil, nil, err
	}
	return src, c.encode(), nil
}

// whole refuses files that are not a model by themselves.
func whole(f *gguf.File) error {
	if kind, err := f.Text("general.type"); err == nil && kind != "model" {
		return fmt.Errorf("general.type is %.40q, want a model", kind)
	}
	if n, err := f.Int("split.count"); err == nil && n > 1 {
		return fmt.Errorf("is one of %d parts of a model; join them first (llama-gguf-split --merge)", n)
	}
	return nil
}

// familyOf finds the entry of the table for an architecture of GGUF. Several of Hugging
// Face's can have one there: what was exported here says which it was.
func familyOf(f *gguf.File, arch string, over conf) (*family, error) {
	var known []string
	for i := range families {
		fam := &families[i]
		known = append(known, fam.arch)
		if !slices.Contains(append(fam.aliases, fam.arch), arch) {
			continue
		}
		if name, ok := over.architecture(); ok {
			if name == fam.hf {
				return fam, nil
			}
			continue
		}
		if fam.when == nil || fam.when(f, arch) {
			return fam, nil
		}
	}
	slices.Sort(known)
	return nil, fmt.Errorf("general.architecture is %.40q, which is not here (known: %s)", arch, strings.Join(slices.Compact(known), ", "))
}
