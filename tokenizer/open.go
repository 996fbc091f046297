package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/litgpt-go/litgpt/internal/gguf"
)

// Open reads a tokenizer: a checkpoint directory as Load does, or one file, whose
// kind is told by its bytes: a tokenizer.json, a tokenizer.model of SentencePiece,
// a tiktoken file (the tokenizer.model of Llama 3 is one), a GGUF file. The files
// beside a single file are not read. A tokenizer.model by itself gives what
// SentencePiece gives: nothing is added to a text, and a control piece written out
// in it is text. In a directory it is what transformers makes of it.
func Open(path string) (*Tokenizer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return Load(path)
	}
	return openFile(path, dirOptions{alone: true})
}

// maxFile bounds what is read into memory: the largest published tokenizer.json has
// 35 MB. GGUF files are mapped and may be as large as they like.
const maxFile = 1 << 30

// openFile reads one file.
func openFile(path string, o dirOptions) (*Tokenizer, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	magic := make([]byte, 4)
	n, err := f.Read(magic)
	f.Close()
	if err != nil && n == 0 {
		return nil, fmt.Errorf("%s: is empty or cannot be read: %w", path, err)
	}
	if string(magic) == "GGUF" {
		g, err := gguf.Open(path)
		if err != nil {
			return nil, err
		}
		defer g.Close()
		t, err := parseGGUF(g, o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return t, nil
	}
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if info.Size() > maxFile {
		return nil, fmt.Errorf("%s: has %d bytes, want at most %d of a tokenizer", path, info.Size(), maxFile)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	t, err := parseAny(b, path, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// parseAny reads the bytes of a file by what they begin with.
func parseAny(b []byte, name string, o dirOptions) (*Tokenizer, error) {
	switch {
	case bytes.HasPrefix(b, []byte("version https://git-lfs")):
		return nil, errors.New("is a Git LFS pointer, not the tokenizer; run git lfs pull, or download the file again")
	case looksLikeTiktoken(b):
		return parseTiktoken(b, name, o)
	case strings.HasPrefix(string(bytes.TrimLeft(b[:min(len(b), 64)], " \t\r\n\xEF\xBB\xBF")), "{"):
		return Parse(b)
	}
	m, err := parseSpm(b)
	if err != nil {
		return nil, fmt.Errorf("is no tokenizer.json, no tiktoken file, no GGUF file, and as a SentencePiece model: %w", err)
	}
	spm := spmOptions{addBOS: o.bos(true), addEOS: o.eos(false), once: o.Legacy != nil && !*o.Legacy, added: o.added}
	if o.alone {
		spm = spmOptions{plain: true}
	}
	t, err := m.tokenizer(spm)
	if err != nil {
		return nil, err
	}
	t.hash = hashOf(b)
	return t, nil
}

// openInstead opens what a checkpoint directory without a tokenizer.json has:
// tokenizer.model, then one *.tiktoken, then one *.gguf. found is false when there
// is none of them.
func openInstead(dir string) (t *Tokenizer, found bool, err error) {
	for _, pattern := range []string{"tokenizer.model", "*.tiktoken", "*.gguf"} {
		paths, err := matchFiles(dir, pattern)
		switch {
		case err != nil:
			return nil, false, err
		case len(paths) == 0:
			continue
		case len(paths) > 1 && !firstShard(paths):
			return nil, true, fmt.Errorf("%s: no tokenizer.json, and %d files *%s to choose from, %s and %s among them; name one file",
				dir, len(paths), filepath.Ext(pattern), filepath.Base(paths[0]), filepath.Base(paths[1]))
		}
		o, err := readDirOptions(dir)
		if err != nil {
			return nil, true, err
		}
		t, err = openFile(paths[0], o)
		return t, true, err
	}
	return nil, false, nil
}

// firstShard tells whether several files are one model in parts, the first of which
// has the metadata.
func firstShard(paths []string) bool {
	return strings.Contains(paths[0], "-00001-of-") && !strings.Contains(paths[1], "-00001-of-")
}

// matchFiles lists the files of dir whose name matches pattern, sorted.
func matchFiles(dir, pattern string) (paths []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	for _, e := range entries {
		if ok, _ := filepath.Match(pattern, e.Name()); ok && !e.IsDir() {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	sort.Strings(paths)
	return paths, nil
}

// dirOptions are what the other files of a checkpoint directory say about a
// tokenizer that is no tokenizer.json. The zero value says nothing.
type dirOptions struct {
	AddBOS *bool  `json:"add_bos_token"`
	AddEOS *bool  `json:"add_eos_token"`
	Legacy *bool  `json:"legacy"` // of SentencePiece models: false is a dummy space at the start only
	Class  string `json:"tokenizer_class"`
	added  []*addedToken
	alone  bool // there is no directory: the file says everything
}

// bos and eos tell whether the token is put around a text; otherwise is the family's
// way.
func (o *dirOptions) bos(otherwise bool) bool { return either(o.AddBOS, otherwise) }

func (o *dirOptions) eos(otherwise bool) bool {
	// T5 ends every text; its configuration need not say so.
	return either(o.AddEOS, otherwise || strings.HasPrefix(o.Class, "T5Tokenizer"))
}

func either(p *bool, otherwise bool) bool {
	if p != nil {
		return *p
	}
	return otherwise
}

// readDirOptions reads tokenizer_config.json and added_tokens.json. The tokens that
// they add take the place of the file's own of the same ids.
func readDirOptions(dir string) (o dirOptions, err error) {
	var config struct {
		dirOptions
		Added map[string]addedToken `json:"added_tokens_decoder"`
	}
	path := filepath.Join(dir, "tokenizer_config.json")
	if _, err := readJSON(path, &config); err != nil {
		return o, err
	}
	o = config.dirOptions
	for id, tok := range config.Added {
		if err := json.Unmarshal([]byte(id), &tok.ID); err != nil || tok.ID < 0 {
			return o, fmt.Errorf("%s: added_tokens_decoder has the key %.40q, want an id", path, id)
		}
		o.added = append(o.added, &tok)
	}
	if len(config.Added) == 0 { // older checkpoints
		ids := map[string]int32{}
		if _, err := readJSON(filepath.Join(dir, "added_tokens.json"), &ids); err != nil {
			return o, err
		}
		for text, id := range ids {
			o.added = append(o.added, &addedToken{ID: id, Content: text})
		}
	}
	sort.Slice(o.added, func(i, j int) bool { return o.added[i].ID < o.added[j].ID })
	return o, nil
}
