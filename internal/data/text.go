package data

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// holdOut is the share of a single text's tokens, 1/holdOut, that is kept for
// validation.
const holdOut = 20

// openText is [Open] for plain text.
func openText(ctx context.Context, cfg Config, opt Options) (train, val *Set, err error) {
	c := cfg.TextFiles
	if err := c.check(opt); err != nil {
		return nil, nil, err
	}
	trainFiles, trainErr := listText("train_data_path", c.TrainDataPath)
	var valFiles []string
	var valErr error
	if c.ValDataPath != "" {
		valFiles, valErr = listText("val_data_path", c.ValDataPath)
	}
	if err := errors.Join(trainErr, valErr); err != nil {
		return nil, nil, err
	}
	note := ""
	switch {
	case c.ValDataPath != "":
		note = sharedFiles(trainFiles, valFiles)
	case len(trainFiles) > 1:
		valFiles, trainFiles = trainFiles[:1], trainFiles[1:]
		note = fmt.Sprintf("%s is held out for validation, being the first of %d files; choose with --data.val_data_path", valFiles[0], len(trainFiles)+1)
	}

	scans, err := scanAll(ctx, trainFiles, valFiles)
	if err != nil {
		return nil, nil, err
	}
	var total int64
	for _, s := range scans {
		total += s.size
	}
	build := builder{opt: opt, workers: c.NumWorkers, total: total}
	tokens, trainNotes, err := build.tokens(ctx, scans[:len(trainFiles)])
	if err != nil {
		return nil, nil, err
	}
	width := opt.MaxSeqLength + 1
	if len(valFiles) == 0 {
		return splitText(tokens, trainFiles[0], width, trainNotes)
	}
	train, err = textSet(tokens, width, scans[:len(trainFiles)])
	if err != nil {
		return nil, nil, errors.Join(err, tokens.close())
	}
	valTokens, valNotes, err := build.tokens(ctx, scans[len(trainFiles):])
	if err != nil {
		return nil, nil, errors.Join(err, tokens.close())
	}
	val, err = textSet(valTokens, width, scans[len(trainFiles):])
	if err != nil {
		return nil, nil, errors.Join(err, tokens.close(), valTokens.close())
	}
	if len(beginning(opt.Tokenizer)) == 0 {
		train.report = append(train.report, "the tokenizer names no token that begins or ends a text: nothing marks where one file ends and the next begins")
	}
	if note != "" {
		train.report = append(train.report, note)
	}
	train.report = append(train.report, trainNotes...)
	val.report = append(val.report, valNotes...)
	return train, val, nil
}

// check finds mistakes in the settings, all of them.
func (c TextFiles) check(opt Options) error {
	var errs []error
	if c.TrainDataPath == "" {
		errs = append(errs, errors.New("no data: give --data.train_data_path, a directory of .txt files or one text file"))
	}
	if c.NumWorkers < 0 {
		errs = append(errs, fmt.Errorf("data.num_workers %d: want 0 or more", c.NumWorkers))
	}
	if opt.MaxSeqLength < 1 {
		errs = append(errs, fmt.Errorf("train.max_seq_length %d: text wants a length of its windows, in tokens", opt.MaxSeqLength))
	}
	return errors.Join(errs...)
}

// listText lists the text files of a path, sorted by name.
func listText(key, path string) ([]string, error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("data.%s %s does not exist; want a directory of .txt files or one text file", key, path)
	}
	if err != nil {
		return nil, fmt.Errorf("data.%s: %w", key, err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path) // sorted
	if err != nil {
		return nil, fmt.Errorf("data.%s: %w", key, err)
	}
	var files []string
	for _, e := range entries {
		if !e.IsDir() && filepath.Ext(e.Name()) == ".txt" {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("data.%s %s: no .txt files among its %d entries (subdirectories are not searched)", key, path, len(entries))
	}
	return files, nil
}

// sharedFiles says which validation files are training text as well.
func sharedFiles(train, val []string) string {
	seen := make(map[string]bool)
	for _, path := range train {
		seen[realPath(path)] = true
	}
	both := slices.DeleteFunc(slices.Clone(val), func(path string) bool { return !seen[realPath(path)] })
	if len(both) == 0 {
		return ""
	}
	return fmt.Sprintf("%s: training text as well as validation text, so the validation loss will look better than it is", strings.Join(both, ", "))
}

func realPath(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return path
}

// splitText holds out the end of a single text. width is in tokens.
func splitText(t *tokens, path string, width int, notes []string) (train, val *Set, err error) {
	held := max(t.len()/holdOut, width)
	if t.len() < 2*width {
		return nil, nil, errors.Join(
			fmt.Errorf("%s: %d tokens are not enough for a training and a validation sample of %d; lower --train.max_seq_length, or give more text", path, t.len(), width),
			t.close())
	}
	split := t.len() - held
	t.users.Add(1)
	train = &Set{examples: &windows{t: t, from: 0, width: width, n: split / width}, dropLast: true}
	val = &Set{examples: &windows{t: t, from: split, width: width, n: held / width}, dropLast: true}
	train.report = append([]string{fmt.Sprintf("the last %d of %d tokens of %s are held out for validation; choose with --data.val_data_path", held, t.len(), path)}, notes...)
	return train, val, nil
}

// textSet deals out the tokens of files in windows. width is in tokens.
func textSet(t *tokens, width int, files []scan) (*Set, error) {
	if t.len() < width {
		return nil, fmt.Errorf("%s: %d tokens are not enough for a sample of %d; lower --train.max_seq_length, or give more text", fileList(files), t.len(), width)
	}
	return &Set{examples: &windows{t: t, width: width, n: t.len() / width}, dropLast: true}, nil
}

// windows are consecutive pieces of a text that do not overlap; a rest that
// fills none is left out. They run across the borders of documents.
type windows struct {
	t        *tokens
	from     int // first token
	width, n int // tokens of a window, number of windows
}

func (w *windows) len() int     { return w.n }
func (w *windows) longest() int { return w.width }
func (w *windows) close() error { return w.t.close() }

func (w *windows) read(dst []int32, i int) (ids []int32, masked int) {
	if i < 0 || i >= w.n {
		panic(fmt.Sprintf("data: sample %d of %d", i, w.n)) // as an index of a slice would
	}
	return w.t.read(dst, w.from+i*w.width, w.width), 0
}
