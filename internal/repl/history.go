package repl

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	historyEntries = 1000
	historyEntry   = 64 << 10 // bytes; longer prompts are not kept
	historyBytes   = 8 << 20  // of the file that are read, from its end
)

// history keeps prompts for the arrow keys, in memory and in a file with one prompt per line, where \n and \\ stand for
// newline and backslash. It implements term.History.
type history struct {
	entries []string // oldest first
	path    string   // "" means no file
	failed  func(error)
}

var (
	escapeEntry   = strings.NewReplacer("\\", "\\\\", "\n", "\\n")
	unescapeEntry = strings.NewReplacer("\\\\", "\\", "\\n", "\n")
)

// loadHistory reads the file at path. Where it cannot be used, failed is told once and the history is in memory only.
func loadHistory(path string, failed func(error)) *history {
	h := &history{path: path, failed: failed}
	if path == "" {
		return h
	}
	raw, err := readTail(path)
	if errors.Is(err, fs.ErrNotExist) {
		return h
	}
	if err != nil {
		h.fail(err)
		return h
	}
	lines := strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n")
	for _, line := range lines[max(0, len(lines)-historyEntries):] {
		if line != "" && len(line) <= 2*historyEntry {
			h.entries = append(h.entries, unescapeEntry.Replace(line))
		}
	}
	if len(lines) > 2*historyEntries || len(raw) > historyBytes/2 {
		h.rewrite()
	}
	return h
}

func readTail(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	skip := info.Size() - historyBytes
	if skip <= 0 {
		return io.ReadAll(io.LimitReader(f, historyBytes))
	}
	raw, err := io.ReadAll(io.NewSectionReader(f, skip, historyBytes))
	_, raw, _ = bytes.Cut(raw, []byte("\n")) // the first line is cut in two
	return raw, err
}

// rewrite shortens the file to the entries that were read.
func (h *history) rewrite() {
	var b strings.Builder
	for _, entry := range h.entries {
		b.WriteString(escapeEntry.Replace(entry) + "\n")
	}
	f, err := os.CreateTemp(filepath.Dir(h.path), filepath.Base(h.path)+".*") // with mode 0600
	if err == nil {
		_, err = f.WriteString(b.String())
		err = errors.Join(err, f.Close())
		if err == nil {
			err = os.Rename(f.Name(), h.path)
		}
		if err != nil {
			os.Remove(f.Name())
		}
	}
	if err != nil {
		h.fail(err)
	}
}

// remember appends a prompt, unless it repeats the last one. Prompts are private: the file is the user's only.
func (h *history) remember(prompt string) {
	if prompt == "" || len(prompt) > historyEntry || len(h.entries) > 0 && h.entries[len(h.entries)-1] == prompt {
		return
	}
	h.entries = append(h.entries, prompt)
	if h.path == "" {
		return
	}
	err := os.MkdirAll(filepath.Dir(h.path), 0o700)
	if err == nil {
		var f *os.File
		if f, err = os.OpenFile(h.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
			_, err = f.WriteString(escapeEntry.Replace(prompt) + "\n")
			err = errors.Join(err, f.Close())
		}
	}
	if err != nil {
		h.fail(err)
	}
}

func (h *history) fail(err error) {
	h.path = ""
	h.failed(err)
}

// Add is called by the line editor for every line; remember keeps whole prompts instead.
func (h *history) Add(string) {}

func (h *history) Len() int { return len(h.entries) }

// At returns an entry in the editor's form; 0 is the latest.
func (h *history) At(i int) string { return encode(h.entries[len(h.entries)-1-i]) }
