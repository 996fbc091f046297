package recipes

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/settings"
	"github.com/litgpt-go/litgpt/tokenizer"
)

const play = "../demo/tinyshakespeare.txt"

func TestTrainTokenizer(t *testing.T) {
	for name, tt := range map[string]struct {
		set       func(*TrainTokenizer)
		config    map[string]any // of tokenizer_config.json, beside what all have
		bos, eos  string
		encodings map[string]int // ids of a text
	}{
		"defaults": {func(*TrainTokenizer) {}, map[string]any{"eos_token": "<|endoftext|>"}, "", "<|endoftext|>",
			map[string]int{"<|endoftext|>": 1, " the": 1, "123": 3, "é": 2}}, // the play has no digits in a row
		"roles": {func(c *TrainTokenizer) {
			c.SpecialTokens, c.BOSToken, c.EOSToken, c.PadToken = []string{"<pad>", "<s>", "</s>"}, "<s>", "</s>", "<pad>"
		}, map[string]any{"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}, "<s>", "</s>", map[string]int{"<s></s>": 2}},
		"no special tokens": {func(c *TrainTokenizer) { c.SpecialTokens, c.Pattern = nil, "gpt2" }, map[string]any{}, "", "", map[string]int{" the": 1}},
	} {
		c := NewTrainTokenizer()
		c.Paths, c.VocabSize, c.OutDir, c.Threads = []string{play}, 600, filepath.Join(t.TempDir(), "a", "b"), 2
		tt.set(&c)
		if err := c.Run(t.Context(), silent); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		tok, err := tokenizer.Load(c.OutDir)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if tok.VocabSize() != 600 {
			t.Errorf("%s: got %d ids, want 600", name, tok.VocabSize())
		}
		for id, want := range c.SpecialTokens {
			if got, _ := tok.Token(int32(id)); got != want {
				t.Errorf("%s: id %d is %q, want %q", name, id, got, want)
			}
		}
		bos, eos := "", ""
		if id, ok := tok.BOS(); ok {
			bos, _ = tok.Token(id)
		}
		if ids := tok.EOS(); len(ids) > 0 {
			eos, _ = tok.Token(ids[0])
		}
		if bos != tt.bos || eos != tt.eos {
			t.Errorf("%s: got bos %q, eos %q, want %q, %q", name, bos, eos, tt.bos, tt.eos)
		}
		for text, n := range tt.encodings {
			if ids := tok.Encode(text, true); len(ids) != n {
				t.Errorf("%s: %q gives %v, want %d ids", name, text, ids, n)
			}
		}
		b, err := os.ReadFile(filepath.Join(c.OutDir, "tokenizer_config.json"))
		var config map[string]any
		if err == nil {
			err = json.Unmarshal(b, &config)
		}
		if err != nil {
			t.Fatal(err)
		}
		for key, want := range map[string]any{"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false,
			"add_prefix_space": false, "model_max_length": 1000000000000000019884624838656.0} {
			tt.config[key] = want
		}
		if !reflect.DeepEqual(config, tt.config) {
			t.Errorf("%s: got %v, want %v", name, config, tt.config)
		}
	}
}

func TestTrainTokenizerErrors(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.txt")
	if err := os.WriteFile(empty, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		set   func(*TrainTokenizer)
		usage bool
		want  []string
	}{
		"all at once": {func(c *TrainTokenizer) {
			c.VocabSize, c.Pattern, c.BOSToken, c.MaxMemory, c.Threads, c.MinFrequency = 256, "llama2", "<s>", 0, -1, -1
		}, true, []string{"--vocab_size 256 is too small: 256 bytes and 1 special tokens want 257 at least", `--pattern is "llama2"; one of llama3, gpt2, qwen2, tekken, o200k wanted`,
			`--bos_token is "<s>", which is not among --special_tokens <|endoftext|>`, "--max_memory is 0", "--threads is -1", "--min_frequency is -1"}},
		"twice":        {func(c *TrainTokenizer) { c.SpecialTokens = []string{"a", "a"} }, true, []string{`--special_tokens: "a" is given twice`}},
		"out_dir full": {func(c *TrainTokenizer) { c.OutDir = dir }, true, []string{"is not empty: it has empty.txt"}},
		"out_dir file": {func(c *TrainTokenizer) { c.OutDir = empty }, false, []string{"--out_dir: ", "not a directory"}},
		"no out_dir":   {func(c *TrainTokenizer) { c.OutDir = "" }, true, []string{"--out_dir is empty"}},
		"no file":      {func(c *TrainTokenizer) { c.Paths = []string{"missing.txt"} }, false, []string{"missing.txt: no such file or directory"}},
		"no text":      {func(c *TrainTokenizer) { c.Paths = []string{empty} }, false, []string{"no text in 1 files, 0 bytes on the disk"}},
		"eval_path":    {func(c *TrainTokenizer) { c.EvalPath = "missing" }, false, []string{"--eval_path: missing: no such file"}},
		"eval empty":   {func(c *TrainTokenizer) { c.EvalPath = empty }, false, []string{"--eval_path: ", "no text in it"}},
	} {
		c := NewTrainTokenizer()
		c.Paths, c.VocabSize, c.OutDir = []string{play}, 300, filepath.Join(t.TempDir(), "out")
		out := c.OutDir
		tt.set(&c)
		err := c.Run(t.Context(), silent)
		if err == nil {
			t.Errorf("%s: got no error", name)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %q, want %q in it", name, err, want)
			}
		}
		var u *settings.UsageError
		if errors.As(err, &u) != tt.usage {
			t.Errorf("%s: wrong use: got %t, want %t", name, !tt.usage, tt.usage)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%s: left %s", name, out)
		}
	}
}

func TestTrainTokenizerInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	parent := t.TempDir()
	c := NewTrainTokenizer()
	c.Paths, c.OutDir = []string{play}, filepath.Join(parent, "out")
	if err := c.Run(ctx, silent); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want it cancelled", err)
	}
	if left, _ := os.ReadDir(parent); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}
