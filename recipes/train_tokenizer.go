package recipes

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/litgpt-go/litgpt/internal/durable"
	"github.com/litgpt-go/litgpt/internal/settings"
	"github.com/litgpt-go/litgpt/tokenizer"
	"github.com/litgpt-go/litgpt/tokenizer/training"
)

// TrainTokenizer learns a byte-level BPE vocabulary from text: "litgpt train_tokenizer".
type TrainTokenizer struct {
	Paths         []string `yaml:"paths" arg:"0" help:"files of text or .jsonl records, as they are or .gz, and directories of them"`
	VocabSize     int      `yaml:"vocab_size" help:"ids, the 256 bytes and the special tokens included"`
	OutDir        string   `yaml:"out_dir" help:"new directory for tokenizer.json and tokenizer_config.json"`
	Pattern       string   `yaml:"pattern" help:"whose words text is split into first: llama3, gpt2, qwen2, tekken or o200k"`
	SpecialTokens []string `yaml:"special_tokens" help:"tokens that are no text; they get the first ids"`
	BOSToken      string   `yaml:"bos_token" help:"the special token that begins a text; default none"`
	EOSToken      string   `yaml:"eos_token" help:"the special token that ends a text; default the first one"`
	PadToken      string   `yaml:"pad_token" help:"the special token that fills a batch; default none"`
	MinFrequency  int64    `yaml:"min_frequency" help:"a pair of tokens that occurs less often is not merged"`
	ByLine        bool     `yaml:"by_line" help:"split each line by itself, as Hugging Face's train(files) does"`
	TextKey       string   `yaml:"text_key" help:"key of the text in .jsonl files; empty to read them as plain text"`
	Suffixes      []string `yaml:"suffixes" help:"which files of directories count"`
	EvalPath      string   `yaml:"eval_path" help:"text to measure bytes per token on; default pieces of the training text"`
	Threads       int      `yaml:"threads" help:"threads that count words; 0 is one per core"`
	MaxMemory     int64    `yaml:"max_memory" help:"MiB for the table of words; more words wait on the disk, and the rarest are not learned from"`
}

// NewTrainTokenizer returns the defaults.
func NewTrainTokenizer() TrainTokenizer {
	return TrainTokenizer{
		VocabSize: 32000, OutDir: "out/tokenizer", Pattern: tokenizer.Splitters()[0].Name, SpecialTokens: []string{"<|endoftext|>"},
		MinFrequency: 2, TextKey: "text", Suffixes: []string{".txt", ".jsonl", ".txt.gz", ".jsonl.gz"}, MaxMemory: training.DefaultMemory >> 20,
	}
}

// Run trains, writes the directory, and reads it again to measure it.
func (c TrainTokenizer) Run(ctx context.Context, out Out) error {
	start := time.Now()
	cfg, err := c.config()
	if err != nil {
		return err
	}
	files, err := training.List(c.Paths, c.Suffixes)
	if err != nil {
		return err
	}
	var evalFiles []training.File
	if c.EvalPath != "" {
		if evalFiles, err = training.List([]string{c.EvalPath}, c.Suffixes); err != nil {
			return fmt.Errorf("--eval_path: %w", err)
		}
	}
	if err := emptyDir(c.OutDir); err != nil {
		return err
	}
	// What does not fit into memory waits where the result goes: on a disk that was chosen.
	cfg.TempDir = existingParent(c.OutDir)

	vocab, sample, err := c.learn(ctx, out, files, cfg)
	if err != nil {
		return err
	}
	if c.EvalPath != "" {
		if sample, err = c.sample(ctx, evalFiles, cfg); err != nil {
			return fmt.Errorf("--eval_path: %w", err)
		}
	}
	if err := c.write(vocab); err != nil {
		return err
	}
	ratio, measured, err := measure(c.OutDir, vocab, sample)
	if err != nil {
		return err
	}
	out.Log(nil).Info("done", "tokenizer", c.OutDir, "vocab", len(vocab.Tokens), "merges", len(vocab.Merges),
		"bytes/token", math.Round(ratio*1000)/1000, "measured_on", measured, "time", time.Since(start).Round(time.Millisecond).String())
	return nil
}

// config checks the settings, and reports all mistakes.
func (c TrainTokenizer) config() (training.Config, error) {
	cfg := training.Config{
		VocabSize: c.VocabSize, MinFrequency: c.MinFrequency, Special: c.SpecialTokens, ByLine: c.ByLine, TextKey: c.TextKey,
		Threads: c.Threads, Memory: c.MaxMemory << 20,
	}
	if cfg.Threads == 0 {
		cfg.Threads = runtime.GOMAXPROCS(0)
	}
	var bad, names []string
	for _, s := range tokenizer.Splitters() {
		names = append(names, s.Name)
		if s.Name == c.Pattern {
			cfg.Splitter = training.Splitter{Pattern: s.Pattern, GPT2: s.Name == "gpt2", Next: s.Next}
		}
	}
	if cfg.Splitter.Next == nil {
		bad = append(bad, fmt.Sprintf("--pattern is %q; one of %s wanted", c.Pattern, strings.Join(names, ", ")))
	}
	if err := cfg.Check(); err != nil {
		bad = append(bad, "--"+err.Error())
	}
	for _, role := range c.roles() {
		if role.token != "" && !slices.Contains(c.SpecialTokens, role.token) {
			bad = append(bad, fmt.Sprintf("--%s is %q, which is not among --special_tokens %s", role.name, role.token, strings.Join(c.SpecialTokens, ",")))
		}
	}
	if c.MaxMemory <= 0 {
		bad = append(bad, fmt.Sprintf("--max_memory is %d; a positive number of MiB wanted", c.MaxMemory))
	}
	if c.Threads < 0 {
		bad = append(bad, fmt.Sprintf("--threads is %d; it cannot be negative", c.Threads))
	}
	if c.MinFrequency < 0 {
		bad = append(bad, fmt.Sprintf("--min_frequency is %d; it cannot be negative", c.MinFrequency))
	}
	if c.OutDir == "" {
		bad = append(bad, "--out_dir is empty; a new directory wanted")
	}
	return cfg, usage(bad)
}

type role struct{ name, token string }

// roles are the special tokens that tokenizer_config.json names; "" for none.
func (c TrainTokenizer) roles() []role {
	eos := c.EOSToken
	if eos == "" && len(c.SpecialTokens) > 0 {
		eos = c.SpecialTokens[0]
	}
	return []role{{"bos_token", c.BOSToken}, {"eos_token", eos}, {"pad_token", c.PadToken}}
}

// emptyDir is an error if there is something at path that is not an empty
// directory: a vocabulary that models were trained with is not for replacing.
func emptyDir(path string) error {
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("--out_dir: %w", err)
	case len(entries) > 0:
		return &settings.UsageError{
			Msg:  fmt.Sprintf("--out_dir %s is not empty: it has %s", path, entries[0].Name()),
			Hint: "choose another --out_dir, or remove it",
		}
	}
	return nil
}

// existingParent is the nearest directory above path that is there.
func existingParent(path string) string {
	for {
		parent := filepath.Dir(path)
		if info, err := os.Stat(parent); err == nil && info.IsDir() || parent == path {
			return parent
		}
		path = parent
	}
}

// learn trains, and reports on the text. It returns a sample of it as well.
func (c TrainTokenizer) learn(ctx context.Context, out Out, files []training.File, cfg training.Config) (*training.Vocab, []string, error) {
	var size int64
	for _, f := range files {
		size += f.Size
	}
	log := out.Log(nil)
	log.Info("text", "files", len(files), "bytes", size, "vocab_size", c.VocabSize, "pattern", c.Pattern, "threads", cfg.Threads)

	start := time.Now()
	bar := out.NewBar(size, "count words", "B")
	defer bar.Done()
	words, err := training.Count(ctx, files, cfg, bar.Add)
	if err != nil {
		return nil, nil, err
	}
	defer words.Close()
	bar.Done()
	s := words.Stats
	if s.Bytes == 0 {
		return nil, nil, fmt.Errorf("%s: no text in %d files, %d bytes on the disk", strings.Join(c.Paths, ", "), s.Files, size)
	}
	log.Info("words", "documents", s.Documents, "bytes", s.Bytes, "words", s.Words, "time", time.Since(start).Round(time.Millisecond).String())
	if s.Broken > 0 {
		log.Warn("not all text is UTF-8: each broken part counts as the character U+FFFD", "parts", s.Broken, "files", s.BrokenFiles)
	}
	if s.Forced > 0 {
		log.Warn("text without a place to cut was cut anyway, which may have split a word", "places", s.Forced)
	}
	if s.Spilled > 0 {
		log.Info("words that did not fit into memory waited on the disk", "MiB", s.Spilled>>20, "max_memory", c.MaxMemory)
	}

	start = time.Now()
	bar = out.NewBar(int64(c.VocabSize-cfg.Minimum()), "merge", "tokens")
	defer bar.Done()
	vocab, err := words.Learn(ctx, cfg, bar.Add)
	if err != nil {
		return nil, nil, err
	}
	bar.Done()
	s = words.Stats
	log.Info("merges", "different_words", s.Distinct, "merges", len(vocab.Merges), "time", time.Since(start).Round(time.Millisecond).String())
	if s.PrunedDistinct > 0 {
		log.Warn("the rarest words were not learned from, for want of memory", "different_words", s.PrunedDistinct, "words", s.PrunedWords,
			"kept_from_count", s.MinCount, "max_memory", c.MaxMemory)
	}
	if !vocab.Reached {
		log.Warn("the text has too few pairs to merge for this vocabulary; it is smaller", "vocab", len(vocab.Tokens), "vocab_size", c.VocabSize, "min_frequency", c.MinFrequency)
	}
	return vocab, words.Sample, nil
}

// sample reads pieces from all over files.
func (c TrainTokenizer) sample(ctx context.Context, files []training.File, cfg training.Config) ([]string, error) {
	words, err := training.Count(ctx, files, cfg, func(int64) {})
	if err != nil {
		return nil, err
	}
	defer words.Close()
	if words.Stats.Bytes == 0 {
		return nil, fmt.Errorf("%s: no text in it", c.EvalPath)
	}
	return words.Sample, nil
}

// write puts the directory in its place, as a whole.
func (c TrainTokenizer) write(vocab *training.Vocab) error {
	config := map[string]any{
		"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false, "add_prefix_space": false,
		"model_max_length": json.Number("1000000000000000019884624838656"), // transformers' word for no limit
	}
	for _, role := range c.roles() {
		if role.token != "" {
			config[role.name] = role.token
		}
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false) // <s> stays readable
	e.SetIndent("", "  ")
	if err := e.Encode(config); err != nil {
		return err
	}
	hyper, err := settings.Marshal(&c)
	if err != nil {
		return err
	}
	d, err := durable.NewDir(c.OutDir)
	if err != nil {
		return err
	}
	defer d.Abort()
	for name, b := range map[string][]byte{"tokenizer.json": vocab.JSON(), "tokenizer_config.json": text.Bytes(), "hyperparameters.yaml": hyper} {
		if err := d.WriteFile(name, b); err != nil {
			return err
		}
	}
	return d.Commit()
}

// measure reads the tokenizer in dir, checks that it is the one that was written and
// gives every text back, and returns its bytes per token on them.
func measure(dir string, vocab *training.Vocab, texts []string) (ratio float64, size int, err error) {
	tok, err := tokenizer.Load(dir)
	if err != nil {
		return 0, 0, err
	}
	for id, want := range vocab.Tokens {
		if got, ok := tok.Token(int32(id)); !ok || got != want {
			return 0, 0, fmt.Errorf("%s: token %d is read as %q, want %q; please report this", dir, id, got, want)
		}
	}
	ids := 0
	for _, text := range texts {
		encoded := tok.Encode(text, false)
		if got := tok.Decode(encoded, false); got != text {
			return 0, 0, fmt.Errorf("%s: a text of %d bytes comes back different (%d bytes); please report this", dir, len(text), len(got))
		}
		ids, size = ids+len(encoded), size+len(text)
	}
	return float64(size) / float64(max(ids, 1)), size, nil
}
