// Randommodel writes a checkpoint of a given shape with random weights in BF16,
// for measuring speed and memory where no real one can be had:
//
//	randommodel tools/shapes/llama-3-8b demo/tokenizer out/llama-3-8b
//
// The arguments are a directory with the config.json of a Llama, one with a
// tokenizer.json, and the directory to write. The weights are scaled such that
// values stay of ordinary size; they repeat with a long period, because drawing
// eight billion of them would take longer than what is to be measured.
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/litgpt-go/litgpt/internal/safetensors"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: randommodel CONFIG_DIR TOKENIZER_DIR OUT_DIR")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "randommodel:", err)
		os.Exit(1)
	}
}

type shape struct {
	Vocab        int  `json:"vocab_size"`
	Hidden       int  `json:"hidden_size"`
	Intermediate int  `json:"intermediate_size"`
	Layers       int  `json:"num_hidden_layers"`
	Heads        int  `json:"num_attention_heads"`
	KVHeads      int  `json:"num_key_value_heads"`
	Tied         bool `json:"tie_word_embeddings"`
}

func write(configDir, tokenizerDir, out string) error {
	config, err := os.ReadFile(filepath.Join(configDir, "config.json"))
	if err != nil {
		return err
	}
	var s shape
	if err := json.Unmarshal(config, &s); err != nil {
		return fmt.Errorf("%s/config.json: %w", configDir, err)
	}
	if s.Vocab <= 0 || s.Hidden <= 0 || s.Intermediate <= 0 || s.Layers <= 0 || s.Heads <= 0 || s.KVHeads <= 0 || s.Hidden%s.Heads != 0 {
		return fmt.Errorf("%s/config.json: the sizes %+v are no Llama", configDir, s)
	}
	if err := os.MkdirAll(out, 0o777); err != nil {
		return err
	}
	files := map[string][]byte{"config.json": config}
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json"} {
		if files[name], err = os.ReadFile(filepath.Join(tokenizerDir, name)); err != nil {
			return err
		}
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(out, name), data, 0o666); err != nil {
			return err
		}
	}
	f, err := os.Create(filepath.Join(out, "model.safetensors"))
	if err != nil {
		return err
	}
	defer f.Close()
	b := bufio.NewWriterSize(f, 1<<20)
	infos := s.tensors()
	w, err := safetensors.NewWriter(b, infos, map[string]string{"format": "pt"})
	if err != nil {
		return err
	}
	noise := normal(1 << 22)
	for i, t := range infos {
		n := 1
		for _, d := range t.Shape {
			n *= d
		}
		if err := w.Write(t.Name, s.values(t, n, i, noise)); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := b.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// tensors are the weights under their Hugging Face names.
func (s shape) tensors() (t []safetensors.Info) {
	add := func(name string, shape ...int) {
		t = append(t, safetensors.Info{Name: name + ".weight", DType: "BF16", Shape: shape})
	}
	kv := s.Hidden / s.Heads * s.KVHeads
	add("model.embed_tokens", s.Vocab, s.Hidden)
	for i := range s.Layers {
		block := fmt.Sprintf("model.layers.%d.", i)
		add(block+"input_layernorm", s.Hidden)
		add(block+"self_attn.q_proj", s.Hidden, s.Hidden)
		add(block+"self_attn.k_proj", kv, s.Hidden)
		add(block+"self_attn.v_proj", kv, s.Hidden)
		add(block+"self_attn.o_proj", s.Hidden, s.Hidden)
		add(block+"post_attention_layernorm", s.Hidden)
		add(block+"mlp.gate_proj", s.Intermediate, s.Hidden)
		add(block+"mlp.up_proj", s.Intermediate, s.Hidden)
		add(block+"mlp.down_proj", s.Hidden, s.Intermediate)
	}
	add("model.norm", s.Hidden)
	if !s.Tied {
		add("lm_head", s.Vocab, s.Hidden)
	}
	return t
}

// normal are n values of the standard normal distribution.
func normal(n int) []float32 {
	rng := rand.New(rand.NewPCG(1, 2))
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	return v
}

// values are the bytes of the i-th tensor: norms are one; matrices are noise of
// standard deviation 0.02, those that end a sub-layer smaller with depth (as GPT-2).
func (s shape) values(t safetensors.Info, n, i int, noise []float32) []byte {
	out := make([]byte, 2*n)
	if len(t.Shape) == 1 {
		for j := range n {
			binary.LittleEndian.PutUint16(out[2*j:], 0x3f80)
		}
		return out
	}
	std := float32(0.02)
	if strings.Contains(t.Name, ".o_proj.") || strings.Contains(t.Name, ".down_proj.") {
		std /= float32(math.Sqrt(2 * float64(s.Layers)))
	}
	// One period, then copies of it. An odd length, so that rows differ.
	period := min(n, len(noise)-1)
	start := i * 7919 % len(noise)
	for j := range period {
		bits := math.Float32bits(std * noise[(start+j)%len(noise)])
		binary.LittleEndian.PutUint16(out[2*j:], uint16((bits+0x7fff+bits>>16&1)>>16))
	}
	for done := 2 * period; done < len(out); done *= 2 {
		copy(out[done:], out[:done])
	}
	return out
}
