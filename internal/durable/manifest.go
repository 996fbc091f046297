package durable

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	manifestName    = "manifest.json"
	manifestFormat  = "litgpt-manifest"
	manifestVersion = 1
	maxManifest     = 64 << 20 // bytes; a checkpoint has a few kilobytes
)

// manifest is the last file of a directory; it lists all others.
type manifest struct {
	Format  string               `json:"format"`
	Version int                  `json:"version"`
	Files   map[string]fileEntry `json:"files"` // by name, with slashes
}

type fileEntry struct {
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // 64 hexadecimal digits
}

func encodeManifest(files map[string]fileEntry) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	enc.Encode(manifest{manifestFormat, manifestVersion, files}) // strings and integers: cannot fail
	return b.Bytes()
}

// readManifest reads the manifest in root and believes nothing in it. The error
// does not name the directory.
func readManifest(root *os.Root) (manifest, error) {
	f, err := root.Open(manifestName)
	if errors.Is(err, fs.ErrNotExist) {
		return manifest{}, fmt.Errorf("has no %s (%w): whoever wrote it was interrupted, or was another program", manifestName, fs.ErrNotExist)
	}
	if err != nil {
		return manifest{}, fmt.Errorf("%s: %w", manifestName, cause(err))
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err != nil {
		return manifest{}, fmt.Errorf("%s: %w", manifestName, cause(err))
	}
	m, err := parseManifest(text)
	if err != nil {
		return manifest{}, fmt.Errorf("%s: %w", manifestName, err)
	}
	return m, nil
}

func parseManifest(text []byte) (manifest, error) {
	var m manifest
	if len(text) > maxManifest {
		return m, fmt.Errorf("more than %d bytes; it is damaged", maxManifest)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("%w; it is damaged", err)
	}
	if m.Format != manifestFormat {
		return m, fmt.Errorf("format %q, want %q; another program wrote it", m.Format, manifestFormat)
	}
	if m.Version != manifestVersion {
		return m, fmt.Errorf("version %d, want %d; a newer litgpt wrote it, update this one", m.Version, manifestVersion)
	}
	for name, e := range m.Files {
		sum, err := hex.DecodeString(e.SHA256)
		if !localName(name) || name == manifestName || e.Size < 0 || err != nil || len(sum) != sha256.Size {
			return m, fmt.Errorf("file %.100q, size %d, sha256 %.100q is not a possible entry; it is damaged", name, e.Size, e.SHA256)
		}
	}
	return m, nil
}

// Verify reads every file of the directory and compares it with the manifest; all
// that differ are reported together. Files the manifest does not list are ignored. It
// reads one version even when the directory is replaced meanwhile.
func Verify(path string) error { return check(path, (*manifest).sums) }

// VerifySizes is Verify without reading: the manifest is there, and every file has
// its size.
func VerifySizes(path string) error { return check(path, (*manifest).sizes) }

func check(path string, differences func(*manifest, *os.Root) []string) error {
	// The old version of a directory vanishes once it is replaced; ten replacements
	// during ten checks are not an accident any more.
	const tries = 10
	for try := 1; ; try++ {
		replaced, err := checkOnce(path, differences)
		if err == nil || !replaced || try == tries {
			return err
		}
	}
}

func checkOnce(path string, differences func(*manifest, *os.Root) []string) (replaced bool, err error) {
	root, err := os.OpenRoot(path) // stays with this version, and within it
	if err != nil {
		return false, fmt.Errorf("%s: %w", path, cause(err))
	}
	defer root.Close()
	m, err := readManifest(root)
	if err == nil {
		if wrong := differences(&m, root); len(wrong) > 0 {
			err = fmt.Errorf("%d of %d files are not as in %s:\n\t%s", len(wrong), len(m.Files), manifestName, strings.Join(wrong, "\n\t"))
		}
	}
	if err == nil {
		return false, nil
	}
	mine, e1 := root.Stat(".")
	now, e2 := os.Stat(path)
	replaced = e1 != nil || e2 == nil && !os.SameFile(mine, now)
	return replaced, fmt.Errorf("%s: %w", path, err)
}

// sizes lists the files that are missing or have another size, by name.
func (m *manifest) sizes(root *os.Root) []string {
	var wrong []string
	for _, name := range slices.Sorted(maps.Keys(m.Files)) {
		if w := m.size(root, name); w != "" {
			wrong = append(wrong, name+": "+w)
		}
	}
	return wrong
}

// size says what is wrong with the size of a file, "" when nothing is.
func (m *manifest) size(root *os.Root, name string) string {
	info, err := root.Stat(filepath.FromSlash(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "missing"
	case err != nil:
		return cause(err).Error()
	case !info.Mode().IsRegular():
		return "not a regular file"
	case info.Size() != m.Files[name].Size:
		return fmt.Sprintf("%d bytes, want %d", info.Size(), m.Files[name].Size)
	}
	return ""
}

// sums is sizes, and lists files with another content too.
func (m *manifest) sums(root *os.Root) []string {
	var wrong []string
	for _, name := range slices.Sorted(maps.Keys(m.Files)) {
		w := m.size(root, name)
		if w == "" {
			w = m.sum(root, name)
		}
		if w != "" {
			wrong = append(wrong, name+": "+w)
		}
	}
	return wrong
}

func (m *manifest) sum(root *os.Root, name string) string {
	f, err := root.Open(filepath.FromSlash(name))
	if err != nil {
		return cause(err).Error()
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return cause(err).Error()
	}
	if got, want := hex.EncodeToString(h.Sum(nil)), m.Files[name].SHA256; !strings.EqualFold(got, want) {
		return fmt.Sprintf("sha256 %s, want %s", got, want)
	}
	return ""
}

// disposable reports whether a directory is empty or holds the files of its manifest,
// with their sizes, and nothing else: then deleting it loses nothing but a version that
// has a successor.
func disposable(path string) bool {
	root, err := os.OpenRoot(path)
	if err != nil {
		return false
	}
	defer root.Close()
	entries, err := os.ReadDir(path)
	if err != nil || len(entries) == 0 {
		return err == nil
	}
	m, err := readManifest(root)
	if err != nil || len(m.sizes(root)) > 0 {
		return false
	}
	err = fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || name == manifestName {
			return err
		}
		if _, ok := m.Files[name]; !ok {
			return fmt.Errorf("%s is not ours", name)
		}
		return nil
	})
	return err == nil
}
