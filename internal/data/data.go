// Package data turns files of examples into batches of tokens.
//
// There are two kinds of data, chosen by the class of a [Config]: [JSON] holds
// instructions and answers for finetuning, [TextFiles] plain text for
// pretraining. [Open] reads, tokenizes and splits them into a training and a
// validation [Set]; a [Loader] deals a set out in batches, epoch after epoch, in
// an order that depends on the seed alone and can be resumed anywhere.
//
// Mistakes in the data are errors that name the file, the line and the sample;
// what is allowed but worth knowing (samples that were cut, text that was held
// out) is in [Set.Report]. The package prints nothing, and knows neither models
// nor prompt templates: see [Tokenizer] and [Style]. Start reading at [Open].
package data

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Ignore marks a target on which no loss is taken; it equals tensor.Ignore.
const Ignore = -100

// Config chooses a kind of data and says where it is. Only the fields of the
// chosen class are looked at.
type Config struct {
	Class     string    `yaml:",class" help:"kind of data: JSON or TextFiles"`
	JSON      JSON      `class:"JSON"`
	TextFiles TextFiles `class:"TextFiles"`
}

// JSON is instruction data: samples with the keys instruction, output and
// optionally input and sys_prompt. Other keys are left alone.
type JSON struct {
	JSONPath   string `yaml:"json_path" help:"a .json list or .jsonl file of samples, or a directory with train.json(l) and val.json(l)"`
	MaskPrompt bool   `yaml:"mask_prompt" help:"take the loss on the answer only"`
	// ValSplitFraction is the share of a single file's samples that is kept for
	// validation. 0 means absent: 0.05 for a file, and the only value allowed
	// for a directory, which brings its own validation file.
	ValSplitFraction float64 `yaml:"val_split_fraction" help:"share of a single file kept for validation, 0.05 when absent; not for directories"`
	PromptStyle      string  `yaml:"prompt_style" help:"template of the prompt"`
	// IgnoreIndex is here because LitGPT's recipes carry it. Only -100, or 0
	// for absent, is accepted: what a masked label is called has no effect.
	IgnoreIndex int   `yaml:"ignore_index" help:"label of positions without loss; always -100"`
	Seed        int64 `yaml:"seed" help:"seed of the split and of the order of the samples"`
	NumWorkers  int   `yaml:"num_workers" help:"samples tokenized at a time"`
}

// TextFiles is plain text: every *.txt file is one document.
type TextFiles struct {
	TrainDataPath string `yaml:"train_data_path" help:"a directory of .txt files, or one text file"`
	// ValDataPath may be empty: then the first of several training files is
	// held out, or the last twentieth of a single one.
	ValDataPath string `yaml:"val_data_path" help:"the same for validation; absent: the first file is held out, or the end of a single one"`
	Seed        int64  `yaml:"seed" help:"seed of the order of the samples"`
	NumWorkers  int    `yaml:"num_workers" help:"pieces of text tokenized at a time"`
}

// Defaults are LitGPT's.
func Defaults() Config {
	return Config{
		Class:     "JSON",
		JSON:      JSON{PromptStyle: "alpaca", IgnoreIndex: Ignore, Seed: 42, NumWorkers: 4},
		TextFiles: TextFiles{Seed: 42, NumWorkers: 4},
	}
}

// Tokenizer is what this package needs of one. Encode is called from several
// goroutines at a time.
type Tokenizer interface {
	// Encode gives the ids of text; addSpecial puts in the tokens that the
	// tokenizer adds by itself, such as the one that begins a text.
	Encode(text string, addSpecial bool) []int32
	// EOS lists the ids that end a text, the tokenizer's own first.
	EOS() []int32
	// Hash identifies the tokenizer: two with the same hash encode alike.
	Hash() string
	// VocabSize is one more than the largest id.
	VocabSize() int
}

// Style renders the prompt of one example. It is called from several goroutines
// at a time. addSpecial says whether the tokenizer shall add its own tokens, or
// the text brings them along.
type Style interface {
	Render(prompt, input, system string) (text string, addSpecial bool, err error)
}

// Options are the parts of [Open] that are not settings of the data.
type Options struct {
	Tokenizer Tokenizer
	Style     Style // of JSON data; nil for text
	// MaxSeqLength is in tokens. A JSON sample that is longer is cut, and 0
	// means that none is; text is dealt out in windows of one token more, and
	// has no default.
	MaxSeqLength int
	CacheDir     string // of tokenized text; "" is litgpt/tokens in the user's cache directory
	// Progress is called now and then from one goroutine with the bytes of the
	// files that are tokenized and their sum. Nil is fine. It is not called
	// when tokens come from the cache.
	Progress func(done, total int64)
}

func (o Options) progress(done, total int64) {
	if o.Progress != nil {
		o.Progress(done, total)
	}
}

// classes is the table of the kinds of data.
var classes = []struct {
	name string
	open func(context.Context, Config, Options) (train, val *Set, err error)
}{
	{"JSON", openJSON},
	{"TextFiles", openText},
}

// Open reads and tokenizes the data of cfg and gives its training and its
// validation set; only the latter may be empty, when the training set is a
// single sample. Both want to be closed.
func Open(ctx context.Context, cfg Config, opt Options) (train, val *Set, err error) {
	if opt.Tokenizer == nil {
		return nil, nil, errors.New("no tokenizer for the data: name a checkpoint, or give a valid --tokenizer_dir")
	}
	names := make([]string, len(classes))
	for i, c := range classes {
		names[i] = c.name
		if c.name == cfg.Class {
			return c.open(ctx, cfg, opt)
		}
	}
	slices.Sort(names)
	return nil, nil, fmt.Errorf("data %q is not known: want one of %s", cfg.Class, strings.Join(names, ", "))
}
