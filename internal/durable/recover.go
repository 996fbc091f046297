package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Recover repairs what a writer of path that was killed left beside it: it is for
// the start of a program, before path is read. When path is absent, the newest
// complete version among the temporary ones takes its place, else the old one that
// was moved aside. All other temporary files and directories of path are removed, except
// those of a writer that is still alive. Without any it does nothing.
func Recover(path string) error {
	target, err := resolve(path)
	if err != nil {
		return err
	}
	left, err := leftovers(filepath.Dir(target))
	if err != nil {
		return failed(path, err)
	}
	return recoverOne(target, left[filepath.Base(target)])
}

// RecoverAll is Recover for every name in the directory parent, which may be missing.
func RecoverAll(parent string) error {
	left, err := leftovers(parent)
	if err != nil {
		return failed(parent, err)
	}
	var errs []error
	for base, list := range left {
		errs = append(errs, recoverOne(filepath.Join(parent, base), list))
	}
	return errors.Join(errs...)
}

// leftover is a temporary sibling of a dead writer.
type leftover struct {
	path  string
	aside bool // an old version; else a new one, or an old one that was exchanged
	isDir bool
	time  time.Time
}

// leftovers finds the temporary siblings in a directory by the name they belong to, the
// newest first.
func leftovers(parent string) (map[string][]leftover, error) {
	entries, err := os.ReadDir(parent)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	left := map[string][]leftover{}
	for _, e := range entries {
		base, mark, ok := splitSibling(e.Name())
		if !ok || !e.IsDir() && !e.Type().IsRegular() {
			continue
		}
		path := filepath.Join(parent, e.Name())
		info, err := e.Info()
		if err != nil || locked(path) {
			continue // gone meanwhile, or being written
		}
		left[base] = append(left[base], leftover{path, mark == asideMark, e.IsDir(), info.ModTime()})
	}
	for _, list := range left {
		slices.SortStableFunc(list, func(a, b leftover) int { return b.time.Compare(a.time) })
	}
	return left, nil
}

func recoverOne(target string, list []leftover) error {
	there, err := exists(target)
	if err != nil {
		return failed(target, err)
	}
	if !there {
		// A new version is complete and on the disk once its manifest is: finishing the
		// rename is as good as its writer's. What was moved aside is the second choice.
		// One of which files are gone was already being removed.
		complete := func(aside bool) int {
			return slices.IndexFunc(list, func(l leftover) bool { return l.isDir && l.aside == aside && VerifySizes(l.path) == nil })
		}
		best := complete(false)
		if best < 0 {
			best = complete(true)
		}
		if best >= 0 {
			if err := os.Rename(list[best].path, target); err != nil {
				return failed(target, err)
			}
			if err := syncDir(filepath.Dir(target)); err != nil {
				return failed(target, err)
			}
			list = slices.Delete(list, best, best+1)
		}
	}
	var errs []error
	for _, l := range list {
		if err := retire(l.path, target); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", l.path, cause(err)))
		}
	}
	return errors.Join(errs...)
}

// retire removes old, a temporary sibling of path. One with a manifest was complete; if
// somebody has added to it since, it is kept.
func retire(old, path string) error {
	if complete, _ := exists(filepath.Join(old, manifestName)); complete && VerifySizes(old) == nil && !disposable(old) {
		_, err := keep(old, path)
		return err
	}
	return os.RemoveAll(old)
}

// keep moves the directory old, a version of path, to the first free name of
// "<path>.old-1", "<path>.old-2" and so on.
func keep(old, path string) (string, error) {
	for n := 1; ; n++ {
		name := fmt.Sprintf("%s.old-%d", path, n)
		there, err := exists(name)
		if err != nil {
			return "", err
		}
		if !there {
			return name, os.Rename(old, name)
		}
	}
}

// Latest finds the newest complete one of the directories in parent that are named
// prefix and digits, e.g. "step-" and step-000200: the highest number that
// VerifySizes accepts. Incomplete ones are passed over. ok is false when there is
// none, also when parent is missing.
func Latest(parent, prefix string) (dir string, step int, ok bool, err error) {
	entries, err := os.ReadDir(parent)
	if errors.Is(err, fs.ErrNotExist) {
		return "", 0, false, nil
	}
	if err != nil {
		return "", 0, false, failed(parent, err)
	}
	type numbered struct {
		name string
		step int
	}
	var found []numbered
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), prefix)
		if !ok || digits == "" || strings.Trim(digits, "0123456789") != "" {
			continue
		}
		if n, err := strconv.Atoi(digits); err == nil { // else too large for a step
			found = append(found, numbered{e.Name(), n})
		}
	}
	slices.SortStableFunc(found, func(a, b numbered) int { return b.step - a.step })
	for _, f := range found {
		dir := filepath.Join(parent, f.name)
		if VerifySizes(dir) == nil {
			return dir, f.step, true, nil
		}
	}
	return "", 0, false, nil
}
