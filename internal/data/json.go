package data

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// defaultValFraction is held out of a single file, as in LitGPT.
const defaultValFraction = 0.05

// openJSON is [Open] for instruction data.
func openJSON(ctx context.Context, cfg Config, opt Options) (train, val *Set, err error) {
	c := cfg.JSON
	if err := c.check(opt); err != nil {
		return nil, nil, err
	}
	info, err := os.Stat(c.JSONPath)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, fmt.Errorf("The `json_path` must be a file or a directory containing 'train.json' and 'val.json' files, but '%s' does not exist.", c.JSONPath) //lint:ignore ST1005 LitGPT's words
	}
	if err != nil {
		return nil, nil, err
	}
	if !info.IsDir() {
		return c.openFile(ctx, opt)
	}
	if c.ValSplitFraction != 0 {
		return nil, nil, fmt.Errorf("`val_split_fraction` should not be set when `json_path` is a directory: %s brings its own validation samples", c.JSONPath)
	}
	return c.openDir(ctx, opt)
}

// check finds mistakes in the settings, all of them.
func (c JSON) check(opt Options) error {
	var errs []error
	if c.JSONPath == "" {
		errs = append(errs, errors.New("no data: give --data.json_path, a .json or .jsonl file, or a directory with train.json and val.json"))
	}
	if f := c.ValSplitFraction; f < 0 || f >= 1 || math.IsNaN(f) {
		errs = append(errs, fmt.Errorf("data.val_split_fraction %v: want a share between 0 and 1; 0 stands for %v", f, defaultValFraction))
	}
	if c.IgnoreIndex != 0 && c.IgnoreIndex != Ignore {
		errs = append(errs, fmt.Errorf("data.ignore_index %d: only %d is known; leave it out", c.IgnoreIndex, Ignore))
	}
	if c.NumWorkers < 0 {
		errs = append(errs, fmt.Errorf("data.num_workers %d: want 0 or more", c.NumWorkers))
	}
	if opt.MaxSeqLength < 0 || opt.MaxSeqLength == 1 {
		errs = append(errs, fmt.Errorf("train.max_seq_length %d: want at least 2 tokens, or none for no limit", opt.MaxSeqLength))
	}
	if opt.Style == nil {
		errs = append(errs, errors.New("no prompt style for JSON data"))
	}
	return errors.Join(errs...)
}

// openFile splits one file.
func (c JSON) openFile(ctx context.Context, opt Options) (train, val *Set, err error) {
	all, err := c.load(ctx, c.JSONPath, opt, 0, fileSize(c.JSONPath))
	if err != nil {
		return nil, nil, err
	}
	n := len(all.prompts)
	fraction := c.ValSplitFraction
	if fraction == 0 {
		fraction = defaultValFraction
	}
	held := min(max(int(math.Round(fraction*float64(n))), 1), n-1)
	perm := rand.New(rand.NewPCG(uint64(c.Seed), 0)).Perm(n)
	train = c.set(all, perm[held:], opt)
	val = c.set(all, perm[:held], opt)
	note := fmt.Sprintf("%d of %d samples (%v of %s) are held out for validation", held, n, fraction, c.JSONPath)
	if held == 0 {
		note = fmt.Sprintf("%s has a single sample: none is left for validation", c.JSONPath)
	}
	train.report = append([]string{note}, train.report...)
	return train, val, nil
}

// openDir reads train.json(l) and val.json(l).
func (c JSON) openDir(ctx context.Context, opt Options) (train, val *Set, err error) {
	trainPath, trainErr := findSplit(c.JSONPath, "train")
	valPath, valErr := findSplit(c.JSONPath, "val")
	if err := errors.Join(trainErr, valErr); err != nil {
		return nil, nil, err
	}
	first := fileSize(trainPath)
	total := first + fileSize(valPath)
	a, trainErr := c.load(ctx, trainPath, opt, 0, total)
	if ctx.Err() != nil {
		return nil, nil, trainErr
	}
	b, valErr := c.load(ctx, valPath, opt, first, total)
	if err := errors.Join(trainErr, valErr); err != nil {
		return nil, nil, err
	}
	return c.set(a, upTo(len(a.prompts)), opt), c.set(b, upTo(len(b.prompts)), opt), nil
}

// findSplit finds the file of one split in a directory.
func findSplit(dir, split string) (string, error) {
	var found []string
	for _, suffix := range []string{".json", ".jsonl"} {
		path := filepath.Join(dir, split+suffix)
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			found = append(found, path)
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("%s: has no %s.json or %s.jsonl; a directory needs both train and val, or name a single file", dir, split, split)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%s: has both %s.json and %s.jsonl; keep one of them", dir, split, split)
}

// set makes a set of the samples of f with the given indices, in file order.
func (c JSON) set(f *tokenized, index []int, opt Options) *Set {
	slices.Sort(index)
	s := &samples{file: f, index: index, mask: c.MaskPrompt}
	set := &Set{examples: s}
	var cut, lost, longest int
	for _, i := range index {
		if f.full[i] > s.size(i) {
			cut++
			longest = max(longest, f.full[i])
			if f.prompts[i] >= s.size(i) {
				lost++
			}
		}
	}
	if cut > 0 {
		note := fmt.Sprintf("%d of %d samples of %s are longer than %d tokens (the longest has %d) and were cut: the end of their answers is not learned",
			cut, len(index), f.path, opt.MaxSeqLength, longest)
		if lost > 0 {
			note += fmt.Sprintf(", and nothing of the answer in %d", lost)
		}
		set.report = append(set.report, note+"; raise --train.max_seq_length to keep them whole")
	}
	if len(opt.Tokenizer.EOS()) == 0 {
		set.report = append(set.report, "the tokenizer names no token that ends a text: the answers do not teach a model to stop")
	}
	return set
}

// tokenized is a file of samples as tokens.
type tokenized struct {
	path    string
	tokens  []int32 // of all samples
	ends    []int   // of each sample in tokens
	prompts []int   // tokens of each prompt before it was cut
	full    []int   // tokens of each sample before it was cut
}

// samples are some of a file's samples.
type samples struct {
	file  *tokenized
	index []int // in the file
	mask  bool  // no loss on prompts
}

func (s *samples) len() int     { return len(s.index) }
func (s *samples) close() error { return nil }

func (s *samples) longest() int {
	n := 0
	for _, i := range s.index {
		n = max(n, s.size(i))
	}
	return n
}

// size is the number of tokens of sample i of the file.
func (s *samples) size(i int) int { return s.file.ends[i] - s.begin(i) }

func (s *samples) begin(i int) int {
	if i == 0 {
		return 0
	}
	return s.file.ends[i-1]
}

// prompt gives the tokens of sample n's prompt, as far as it was not cut.
func (s *samples) prompt(n int) []int32 {
	i := s.index[n]
	ids := s.file.tokens[s.begin(i):s.file.ends[i]]
	return slices.Clone(ids[:min(s.file.prompts[i], len(ids))])
}

func (s *samples) read(dst []int32, n int) (ids []int32, masked int) {
	i := s.index[n]
	if s.mask {
		masked = s.file.prompts[i]
	}
	return append(dst, s.file.tokens[s.begin(i):s.file.ends[i]]...), masked
}

// load reads and tokenizes a file; done and total are for the progress.
func (c JSON) load(ctx context.Context, path string, opt Options, done, total int64) (*tokenized, error) {
	suffix := filepath.Ext(path)
	read := formats[strings.ToLower(suffix)]
	if read == nil {
		return nil, fmt.Errorf("Unsupported file format: %s. Expected `.json` or `.jsonl`.", suffix) //lint:ignore ST1005 LitGPT's words
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()

	t := &tokenized{path: path}
	wrong := mistakes{path: path}
	count := 0
	told := done
	opt.progress(done, total)
	err = ordered(ctx, c.NumWorkers,
		func(yield func(rawSample) error) error { return read(newReader(f, false), yield) },
		func(raw rawSample) encoded { return c.encode(raw, opt) },
		func(e encoded) error {
			count++
			if at := done + e.offset; at-told >= 1<<18 {
				told = at
				opt.progress(at, total)
			}
			var syn *syntaxError
			if errors.As(e.err, &syn) {
				wrong.add(e.offset+syn.offset, fmt.Errorf("sample %d: %w", e.number, e.err))
				if strings.EqualFold(suffix, ".json") {
					return errStop // what follows a wrong element is guesswork
				}
			} else if e.err != nil {
				wrong.add(e.offset, fmt.Errorf("sample %d: %w", e.number, e.err))
			}
			if wrong.count > 0 {
				return nil
			}
			t.tokens = append(t.tokens, e.ids...)
			t.ends = append(t.ends, len(t.tokens))
			t.prompts = append(t.prompts, e.prompt)
			t.full = append(t.full, e.full)
			return nil
		})
	var syn *syntaxError
	switch {
	case errors.As(err, &syn):
		wrong.add(syn.offset, syn)
	case err != nil && err != errStop:
		return nil, locate(path, err)
	}
	if err := wrong.err(); err != nil {
		return nil, err
	}
	if count == 0 {
		return nil, fmt.Errorf("%s: holds no samples; want objects with instruction and output", path)
	}
	opt.progress(done+fileSize(path), total)
	return t, nil
}

// errStop ends the reading of a file after a mistake that was noted.
var errStop = errors.New("stop")

// encoded is a sample as tokens.
type encoded struct {
	number int
	offset int64
	ids    []int32
	prompt int // tokens of the prompt, before the cut
	full   int // tokens, before the cut
	err    error
}

// encode renders and tokenizes a sample.
func (c JSON) encode(raw rawSample, opt Options) (e encoded) {
	e = encoded{number: raw.number, offset: raw.offset}
	var s sample
	if s, e.err = parseSample(raw.text); e.err != nil {
		return e
	}
	text, addSpecial, err := opt.Style.Render(s.instruction, s.input, s.system)
	if err != nil {
		e.err = fmt.Errorf("prompt style %s: %w", c.PromptStyle, err)
		return e
	}
	var eos []int32 // the tokenizer's own, or none
	if all := opt.Tokenizer.EOS(); len(all) > 0 {
		eos = all[:1]
	}
	prompt := opt.Tokenizer.Encode(text, addSpecial)
	if n := len(prompt) - 1; addSpecial && n > 0 && eos != nil && prompt[n] == eos[0] {
		prompt = prompt[:n] // some tokenizers end every text; this one goes on
	}
	answer := opt.Tokenizer.Encode(s.output, false)
	if eos != nil && (len(answer) == 0 || answer[len(answer)-1] != eos[0]) {
		answer = append(slices.Clip(answer), eos[0])
	}
	e.ids = slices.Concat(prompt, answer)
	e.prompt, e.full = len(prompt), len(e.ids)
	if opt.MaxSeqLength > 0 && len(e.ids) > opt.MaxSeqLength {
		e.ids = e.ids[:opt.MaxSeqLength]
	}
	switch {
	case len(e.ids) < 2:
		e.err = fmt.Errorf("has %d tokens, want at least 2: there is nothing to predict; remove it", len(e.ids))
	case c.MaskPrompt && e.prompt >= len(e.ids) && e.full > len(e.ids):
		e.err = fmt.Errorf("the prompt alone has %d tokens and fills train.max_seq_length %d, so that with data.mask_prompt nothing is left to learn; raise --train.max_seq_length, or remove the sample", e.prompt, opt.MaxSeqLength)
	case c.MaskPrompt && e.prompt >= len(e.ids):
		e.err = errors.New("the output has no tokens, so that with data.mask_prompt nothing is left to learn; remove the sample")
	}
	return e
}

// mistakes collects what is wrong with a file and keeps the first few.
type mistakes struct {
	path  string
	count int
	first []string
}

func (m *mistakes) add(offset int64, err error) {
	if m.count++; m.count <= 10 {
		m.first = append(m.first, fmt.Sprintf("%s: %v", place(m.path, offset), err))
	}
}

// err is nil, the only mistake, or a list.
func (m *mistakes) err() error {
	switch m.count {
	case 0:
		return nil
	case 1:
		return errors.New(m.first[0])
	}
	text := fmt.Sprintf("%s: %d mistakes:\n  %s", m.path, m.count, strings.Join(m.first, "\n  "))
	if more := m.count - len(m.first); more > 0 {
		text += fmt.Sprintf("\n  and %d more", more)
	}
	return errors.New(text)
}

// fileSize is the size of a file in bytes, 0 if it cannot be told.
func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// upTo is 0, 1, … n-1.
func upTo(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}
