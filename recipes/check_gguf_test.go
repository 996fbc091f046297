package recipes

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/gguf"
)

// ggufParts are what a GGUF file is made of, to be damaged.
type ggufParts struct {
	t     *testing.T
	meta  []gguf.KV
	infos []gguf.Info
	data  map[string][]byte
}

func readParts(t *testing.T, path string) ggufParts {
	t.Helper()
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := ggufParts{t: t, data: map[string][]byte{}}
	for _, key := range f.Keys() {
		kv, err := f.KV(key)
		if err != nil {
			t.Fatal(err)
		}
		p.meta = append(p.meta, kv)
	}
	for _, name := range f.Names() {
		x, _ := f.Tensor(name)
		p.infos = append(p.infos, gguf.Info{Name: name, Type: x.Type, Shape: x.Shape})
		p.data[name] = bytes.Clone(x.Data)
	}
	return p
}

// copy is a copy whose slices can be changed.
func (p ggufParts) copy() *ggufParts {
	p.meta, p.infos = slices.Clone(p.meta), slices.Clone(p.infos)
	return &p
}

// write makes a file of the parts; data is cut, or filled with zeros, to the tensors' sizes.
func (p *ggufParts) write(path string) {
	p.t.Helper()
	var b bytes.Buffer
	w, err := gguf.NewWriter(&b, p.meta, p.infos)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, info := range p.infos {
		n, _ := info.Bytes()
		data := make([]byte, n)
		copy(data, p.data[info.Name])
		if _, err := w.Write(data); err != nil {
			p.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o666); err != nil {
		p.t.Fatal(err)
	}
}

// set gives a key another value; nil removes it.
func (p *ggufParts) set(key string, value any) {
	p.meta = slices.DeleteFunc(p.meta, func(kv gguf.KV) bool { return kv.Key == key })
	if value != nil {
		p.meta = append(p.meta, gguf.KV{Key: key, Value: value})
	}
}

// get gives a key's value, which has to be of type T.
func get[T any](p *ggufParts, key string) T {
	p.t.Helper()
	for _, kv := range p.meta {
		if v, ok := kv.Value.(T); ok && kv.Key == key {
			return v
		}
	}
	p.t.Fatalf("no %s of the type", key)
	panic("unreachable")
}

func (p *ggufParts) tensor(name string) *gguf.Info {
	p.t.Helper()
	i := slices.IndexFunc(p.infos, func(i gguf.Info) bool { return i.Name == name })
	if i < 0 {
		p.t.Fatalf("no tensor %s", name)
	}
	return &p.infos[i]
}

// GGUF files of what the fixtures of every family are give no errors, nor does one with an adapter.
func TestCheckGGUFFixtures(t *testing.T) {
	tmp := t.TempDir()
	for _, name := range []string{"llama2", "llama3.2", "gemma-small", "phi3-window", "gptneox", "mixtral-tiny", "qwen3-small"} {
		path := filepath.Join(tmp, name+".gguf")
		if err := convert(t, filepath.Join(fixtures, name), path, nil); err != nil {
			t.Fatal(err)
		}
		for _, at := range []string{path, filepath.Join(tmp, name)} {
			if at != path { // a directory of one file
				if err := os.Mkdir(at, 0o777); err != nil {
					t.Fatal(err)
				}
				if err := os.Link(path, filepath.Join(at, "model.gguf")); err != nil {
					t.Fatal(err)
				}
			}
			findings, err := inspect(t, at)
			if err != nil {
				t.Errorf("%s: %v %s", at, err, dump(findings))
			}
			for _, f := range findings {
				if f.Severity == suspect && f.Check != "tokenizer" && f.Check != "end-of-turn" {
					t.Errorf("%s: %+v", at, f)
				}
			}
		}
	}
	// llama2's adapter, as a directory on the GGUF base and as a file of its own.
	base := filepath.Join(tmp, "llama2.gguf")
	adapter := copyCheckpoint(t, fixtures+"/llama2/reference/adapter")
	adapter.set("adapter_config.json", "base_model_name_or_path", fmt.Sprintf("%q", base))
	file := filepath.Join(tmp, "adapter.gguf")
	if err := convert(t, adapter.dir, file, nil); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{adapter.dir, file} {
		if findings, err := inspect(t, at); err != nil {
			t.Errorf("%s: %v %s", at, err, dump(findings))
		}
	}
	p := readParts(t, file)
	p.tensor("blk.0.attn_q.weight.lora_b").Shape[0] = 8
	p.write(file)
	if findings, err := inspect(t, file); err == nil || !strings.Contains(dump(findings), "error adapter adapter.gguf: blk.0.attn_q.weight corrects a weight of shape (8, ") {
		t.Errorf("a damaged adapter: got %v %s", err, dump(findings))
	}
	p.set("litgpt.base.path", nil)
	p.write(file)
	if findings, err := inspect(t, file); err != nil || !strings.Contains(dump(findings), "info adapter adapter.gguf: it does not say which checkpoint") {
		t.Errorf("an adapter of nothing: got %v %s", err, dump(findings))
	}
}

// One thing at a time is wrong in a GGUF file.
func TestCheckGGUF(t *testing.T) {
	const tokens, template = "tokenizer.ggml.tokens", "tokenizer.chat_template"
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole.gguf")
	if err := convert(t, fixtures+"/llama2", whole, nil); err != nil {
		t.Fatal(err)
	}
	parts := readParts(t, whole)
	for _, tt := range []struct {
		name            string
		damage          func(p *ggufParts)
		severity, check string
		text            string
	}{
		{"unknown architecture", func(p *ggufParts) { p.set("general.architecture", "zebra") }, severe, "config", `general.architecture is "zebra", which is not here`},
		{"no architecture", func(p *ggufParts) { p.set("general.architecture", nil) }, severe, "config", "general.architecture: is missing"},
		{"a size missing", func(p *ggufParts) { p.set("llama.embedding_length", nil) }, severe, "config", "llama.embedding_length"},
		{"an unknown key", func(p *ggufParts) { p.set("llama.attention.zebra", float32(2)) }, severe, "config", "llama.attention.zebra"},
		{"a part", func(p *ggufParts) { p.set("split.count", uint16(3)) }, severe, "config", "one of 3 parts"},
		{"other layers", func(p *ggufParts) { p.set("llama.block_count", uint32(3)) }, severe, "weights", "missing model.layers.2."},
		{"other heads", func(p *ggufParts) { p.set("llama.attention.head_count", uint32(3)) }, severe, "", "3"},
		{"tensor missing", func(p *ggufParts) {
			p.infos = slices.DeleteFunc(p.infos, func(i gguf.Info) bool { return i.Name == "blk.0.ffn_up.weight" })
		}, severe, "weights", "missing model.layers.0.mlp.up_proj.weight"},
		{"tensor unknown", func(p *ggufParts) { p.tensor("blk.0.ffn_up.weight").Name = "blk.0.ffn_zebra.weight" }, severe, "weights", "tensor blk.0.ffn_zebra.weight: is none of the architecture llama"},
		{"shape", func(p *ggufParts) { p.tensor("blk.0.ffn_norm.weight").Shape = []int{7} }, severe, "weights", "model.layers.0.post_attention_layernorm.weight: shape [7]"},
		{"norm quantized", func(p *ggufParts) { p.tensor("blk.0.ffn_norm.weight").Type = 8 }, severe, "weights", "type Q8_0 of a vector"},
		{"integers", func(p *ggufParts) { p.tensor("blk.0.ffn_up.weight").Type = 26 }, severe, "weights", "I32"},
		{"rows of the embedding", func(p *ggufParts) {
			i := p.tensor("token_embd.weight")
			i.Shape = []int{i.Shape[0] + 1, i.Shape[1]}
		}, severe, "vocabulary", "there are 512 tokens, and the embedding has 513 rows"},
		{"more tokens than rows", func(p *ggufParts) {
			i := p.tensor("token_embd.weight")
			i.Shape = []int{i.Shape[0] - 100, i.Shape[1]}
		}, severe, "vocabulary", "the tokenizer has ids up to 511, and the model's embedding 412 rows"},
		{"vocab_size", func(p *ggufParts) { p.set("llama.vocab_size", uint32(500)) }, suspect, "vocabulary", "llama.vocab_size is 500, and there are 512 tokens"},
		{"file type", func(p *ggufParts) { p.set("general.file_type", uint32(2)) }, suspect, "dtype", "general.file_type is 2, a quantized type, and most weights are stored as F32"},
		{"file type F16", func(p *ggufParts) { p.set("general.file_type", uint32(1)) }, suspect, "dtype", "general.file_type is 1, F16, and most weights are stored as F32"},
		{"no tokenizer", func(p *ggufParts) { p.set("tokenizer.ggml.model", nil) }, suspect, "tokenizer", "there is no tokenizer"},
		{"unknown tokenizer", func(p *ggufParts) { p.set("tokenizer.ggml.model", "zebra") }, severe, "tokenizer", `tokenizer.ggml.model "zebra" is not supported`},
		{"no tokens", func(p *ggufParts) { p.set(tokens, nil) }, severe, "tokenizer", "tokenizer.ggml.tokens: is missing"},
		{"types of tokens", func(p *ggufParts) { p.set("tokenizer.ggml.token_type", []int32{1, 2}) }, severe, "tokenizer", "has 2 elements for 512 tokens"},
		{"eos too large", func(p *ggufParts) { p.set("tokenizer.ggml.eos_token_id", uint32(512)) }, severe, "tokenizer", "eos_token_id: 512 is outside the vocabulary of 512"},
		{"eos ordinary", func(p *ggufParts) { p.set("tokenizer.ggml.eos_token_id", uint32(70)) }, suspect, "special-tokens", "eos_token_id is 70"},
		{"bos ordinary", func(p *ggufParts) {
			types := slices.Clone(get[[]int32](p, "tokenizer.ggml.token_type"))
			types[1] = 1
			p.set("tokenizer.ggml.token_type", types)
		}, suspect, "special-tokens", `bos_token_id is 1, "<s>", an ordinary token`},
		{"pad is eos", func(p *ggufParts) { p.set("tokenizer.ggml.padding_token_id", uint32(2)) }, suspect, "pad", "padding_token_id is eos_token_id, 2"},
		{"a token twice", func(p *ggufParts) {
			list := slices.Clone(get[[]string](p, tokens))
			list[511] = list[100]
			p.set(tokens, list)
			p.set("tokenizer.huggingface.json", nil)
		}, severe, "tokenizer", "100 and 511 are both"},
		{"bos is not added", func(p *ggufParts) {
			p.set("tokenizer.ggml.add_bos_token", true)
			p.set("tokenizer.ggml.bos_token_id", uint32(1<<32-1))
		}, suspect, "bos", "add_bos_token is true, and there is no token"},
		{"template syntax", func(p *ggufParts) { p.set(template, "{% for %}") }, severe, "template", "a conversation of user does not render"},
		{"no generation prompt", func(p *ggufParts) { p.set(template, strings.Split(chatml, "{% if add")[0]) }, severe, "generation-prompt", "it lacks a generation prompt"},
		{"marker no token", func(p *ggufParts) { p.set(template, strings.ReplaceAll(chatml, "im_end", "eot_id")) }, severe, "template-token", `answers end with "<|eot_id|>", which is no token`},
		{"template writes bos twice", func(p *ggufParts) { p.set(template, "{{ bos_token }}<s>"+chatml) }, severe, "bos-twice", `"<s>", twice`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := parts.copy()
			p.t = t
			tt.damage(p)
			path := filepath.Join(t.TempDir(), "damaged.gguf")
			p.write(path)
			findings, err := inspect(t, path)
			if (err != nil) != slices.ContainsFunc(findings, func(f finding) bool { return f.Severity == severe }) {
				t.Errorf("got %v with %s", err, dump(findings))
			}
			for _, f := range findings {
				if strings.Contains(f.Where, ".json") || strings.Contains(f.Advice, ".json") {
					t.Errorf("%s in %q: names a file that there is none of", f.Where, f.Advice)
				}
				if f.Severity == tt.severity && (f.Check == tt.check || tt.check == "") && strings.Contains(f.Problem, tt.text) {
					return
				}
			}
			t.Errorf("got %v and %s\nwant %s %s with %q", err, dump(findings), tt.severity, tt.check, tt.text)
		})
	}
	b, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(dir, "cut.gguf")
	if err := os.WriteFile(cut, b[:len(b)-100], 0o666); err != nil {
		t.Fatal(err)
	}
	if findings, err := inspect(t, cut); err == nil || !strings.Contains(dump(findings), "error files cut.gguf: ") || len(findings) != 1 {
		t.Errorf("a truncated file: got %v %s", err, dump(findings))
	}
}
