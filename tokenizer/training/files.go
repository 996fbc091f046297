package training

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// File is a file of text, or of records (.jsonl); either may be compressed (.gz).
type File struct {
	Path string
	Size int64 // on the disk, in bytes
}

// List returns the files that paths name, each once: files as they are, directories
// searched with what is below them for names that end in one of suffixes. Hidden
// directories and files are passed over. It reports all paths that are wrong.
func List(paths, suffixes []string) ([]File, error) {
	var files []File
	var errs []error
	seen := map[string]bool{}
	add := func(path string, info fs.FileInfo) {
		key, err := filepath.Abs(path)
		if err != nil {
			key = path
		}
		if !seen[key] {
			seen[key] = true
			files = append(files, File{path, info.Size()})
		}
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			errs = append(errs, fmt.Errorf("%s: no such file or directory", path))
		case err != nil:
			errs = append(errs, err)
		case info.IsDir():
			found, others, err := search(path, suffixes, add)
			if err != nil {
				errs = append(errs, err)
			} else if found == 0 {
				errs = append(errs, fmt.Errorf("%s: none of its %d files ends in %s; choose with --suffixes", path, others, strings.Join(suffixes, ", ")))
			}
		case !info.Mode().IsRegular():
			errs = append(errs, fmt.Errorf("%s: is no regular file", path))
		default:
			add(path, info)
		}
	}
	return files, errors.Join(errs...)
}

// search calls add for the files below dir that end in one of suffixes, and counts
// them and the others.
func search(dir string, suffixes []string, add func(string, fs.FileInfo)) (found, others int, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path != dir && strings.HasPrefix(e.Name(), "."):
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		case e.IsDir():
			return nil
		case !slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(e.Name(), s) }):
			others++
			return nil
		}
		info, err := os.Stat(path) // of what a link points to
		if err == nil && info.Mode().IsRegular() {
			add(path, info)
			found++
		}
		return err
	})
	return found, others, err
}

// records says whether the file holds JSON records.
func (f File) records() bool {
	name := strings.TrimSuffix(f.Path, ".gz")
	return strings.HasSuffix(name, ".jsonl") || strings.HasSuffix(name, ".ndjson")
}

func (f File) compressed() bool { return strings.HasSuffix(f.Path, ".gz") }
