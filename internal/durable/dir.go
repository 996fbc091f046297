package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// Dir is a new version of a directory, being written. Nothing of it is at its path
// before Commit. Files may be written by several goroutines at once; Commit and
// Abort are called when they are done.
//
//	d, err := durable.NewDir(path)
//	if err != nil {
//		return err
//	}
//	defer d.Abort() // does nothing after Commit
//	if err := d.WriteFile("config.json", config); err != nil {
//		return err
//	}
//	return d.Commit()
type Dir struct {
	path string // absolute, links followed
	tmp  string
	held *os.File // its lock; nil where there is none

	mu    sync.Mutex
	files map[string]fileEntry // complete ones
	open  map[string]bool      // begun and not closed
	err   error                // of a file that could not be written: there must be no Commit
	done  bool                 // Commit has put the directory in place, or Abort removed it

	// What tests replace.
	openFile openFunc
	exchange func(a, b string) error
	reached  func(point string) error // an error is a crash at this point of Commit
}

// NewDir begins a new version of the directory path and creates its parents. What
// is at path stays until Commit, and must be a directory if it is anything.
func NewDir(path string) (*Dir, error) {
	target, err := resolve(path)
	if err != nil {
		return nil, err
	}
	var perm os.FileMode // of the old version, 0 for none
	switch info, err := os.Lstat(target); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, failed(path, err)
	case !info.IsDir():
		return nil, fmt.Errorf("%s: is not a directory; choose another name or remove it", path)
	default:
		perm = info.Mode().Perm()
	}
	if err := makeParents(filepath.Dir(target)); err != nil {
		return nil, failed(path, err)
	}
	tmp := sibling(target, tmpMark)
	if err := os.Mkdir(tmp, 0o777); err != nil {
		return nil, failed(path, err)
	}
	if perm != 0 {
		if err := os.Chmod(tmp, perm|0o700); err != nil {
			os.Remove(tmp)
			return nil, failed(path, err)
		}
	}
	return &Dir{
		path: target, tmp: tmp, held: lockDir(tmp), files: map[string]fileEntry{}, open: map[string]bool{},
		openFile: os.OpenFile, exchange: exchange, reached: func(string) error { return nil },
	}, nil
}

// resolve makes path absolute, so that a later change of directory does no harm, and
// follows it if it is a link, so that the link survives.
func resolve(path string) (string, error) {
	target, err := filepath.Abs(path)
	if err != nil {
		return "", failed(path, err)
	}
	if info, err := os.Lstat(target); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		link := target
		if target, err = filepath.EvalSymlinks(link); errors.Is(err, fs.ErrNotExist) {
			// The directory it leads to may be what a crash moved aside.
			if target, err = os.Readlink(link); err == nil && !filepath.IsAbs(target) {
				target = filepath.Join(filepath.Dir(link), target)
			}
		}
		if err != nil {
			return "", failed(path, err)
		}
	}
	if filepath.Dir(target) == target {
		return "", fmt.Errorf("%s: is the root of a file system; choose a directory below it", path)
	}
	return target, nil
}

// makeParents is os.MkdirAll that also makes the new names durable.
func makeParents(dir string) error {
	var missing []string
	for at := dir; ; at = filepath.Dir(at) {
		if there, err := exists(at); err != nil || there {
			break // MkdirAll reports what is wrong with it
		}
		missing = append(missing, at)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	for _, m := range slices.Backward(missing) {
		if err := syncDir(filepath.Dir(m)); err != nil {
			return err
		}
	}
	return nil
}

// Create begins the file called name, relative and with slashes; directories in it
// are made. Errors of the file name its final path. Close syncs it to the disk, and
// must be called before Commit. When a Write or Close fails, Commit will refuse.
func (d *Dir) Create(name string) (io.WriteCloser, error) {
	final := filepath.Join(d.path, filepath.FromSlash(name))
	switch {
	case !localName(name):
		return nil, fmt.Errorf("%s: name %q is not a plain path below the directory", d.path, name)
	case name == manifestName:
		return nil, fmt.Errorf("%s: is written by Commit", final)
	}
	return d.create(name)
}

func (d *Dir) create(name string) (*file, error) {
	final := filepath.Join(d.path, filepath.FromSlash(name))
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done {
		return nil, fmt.Errorf("%s: the directory is already committed or aborted", final)
	}
	if _, there := d.files[name]; there || d.open[name] {
		return nil, fmt.Errorf("%s: is already written", final)
	}
	if err := os.MkdirAll(filepath.Join(d.tmp, filepath.FromSlash(path.Dir(name))), 0o777); err != nil {
		return nil, d.fail(final, err)
	}
	f, err := d.openFile(filepath.Join(d.tmp, filepath.FromSlash(name)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, d.fail(final, err)
	}
	d.open[name] = true
	return newFile(d, name, final, f), nil
}

// fail notes the first error, with d.mu held.
func (d *Dir) fail(final string, err error) error {
	err = failed(final, err)
	if d.err == nil {
		d.err = err
	}
	return err
}

// Written is the directory in which the files are until Commit, so that those that are
// closed can be looked at.
func (d *Dir) Written() string { return d.tmp }

// WriteFile writes a whole file.
func (d *Dir) WriteFile(name string, data []byte) error {
	f, err := d.Create(name)
	if err != nil {
		return err
	}
	f.Write(data) // Close gives its error as well
	return f.Close()
}

// CopyFile copies the file at the path from. An error of reading it is one of the
// Dir as well: Commit will refuse.
func (d *Dir) CopyFile(name, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("%s: %w", from, cause(err))
	}
	defer in.Close()
	out, err := d.Create(name)
	if err != nil {
		return err
	}
	if _, err := io.Copy(onlyWriter{out}, in); err != nil && out.(*file).err == nil {
		out.(*file).fail(fmt.Errorf("copy %s: %w", from, cause(err)))
	}
	return out.Close()
}

// onlyWriter hides everything but Write, so that all bytes pass the hash.
type onlyWriter struct{ io.Writer }

// Commit makes the directory complete and puts it at its path in one step, as far as
// others can see; where the system cannot (other than Linux, and some network
// disks) the path is absent for a moment, and Recover heals a crash in it. What was
// there is then removed, or kept if it is not only ours (see the package comment).
// After an error that says so, the new version is in place; after all others the old
// one is, and Abort removes what was written.
func (d *Dir) Commit() error {
	d.mu.Lock()
	switch {
	case d.done:
		d.mu.Unlock()
		return fmt.Errorf("%s: already committed or aborted", d.path)
	case d.err != nil:
		d.mu.Unlock()
		return fmt.Errorf("not committed: %w", d.err)
	case len(d.open) > 0:
		var names []string
		for n := range d.open {
			names = append(names, n)
		}
		slices.Sort(names)
		d.mu.Unlock()
		return fmt.Errorf("%s: not committed: not closed: %s", d.path, strings.Join(names, ", "))
	}
	manifest := encodeManifest(d.files)
	d.mu.Unlock()

	if err := d.reached("files written"); err != nil {
		return err
	}
	if err := syncTree(d.tmp); err != nil {
		return failed(d.path, err)
	}
	f, err := d.create(manifestName)
	if err != nil {
		return err
	}
	f.Write(manifest)
	if err := d.reached("manifest begun"); err != nil {
		f.f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := syncDir(d.tmp); err != nil {
		return failed(d.path, err)
	}
	if err := d.reached("manifest written"); err != nil {
		return err
	}
	return d.place()
}

// place puts the complete directory at its path.
func (d *Dir) place() error {
	there, err := exists(d.path)
	if err != nil {
		return failed(d.path, err)
	}
	old := "" // where the old version is afterwards
	switch {
	case !there:
		err = os.Rename(d.tmp, d.path)
	case !disposable(d.path):
		// First out of the way, under its visible name: Recover takes a hidden directory
		// for one of ours.
		kept, err2 := keep(d.path, d.path)
		if err2 != nil {
			return failed(d.path, err2)
		}
		if err := d.reached("old version kept"); err != nil {
			return err
		}
		if err = os.Rename(d.tmp, d.path); err != nil {
			err = errors.Join(err, os.Rename(kept, d.path))
		}
	default:
		old = d.tmp
		if err = d.exchange(d.tmp, d.path); !errors.Is(err, errors.ErrUnsupported) {
			break
		}
		old = sibling(d.path, asideMark)
		if err = os.Rename(d.path, old); err != nil {
			break
		}
		if err := d.reached("old version aside"); err != nil {
			return err
		}
		if err = os.Rename(d.tmp, d.path); err != nil {
			err = errors.Join(err, os.Rename(old, d.path))
		}
	}
	if err != nil {
		return failed(d.path, err)
	}
	d.finish()
	if err := d.reached("placed"); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(d.path)); err != nil {
		return fmt.Errorf("%w; the new version is in place", failed(d.path, err))
	}
	if old == "" {
		return nil
	}
	if err := retire(old, d.path); err != nil {
		return fmt.Errorf("%s: the new version is in place, but the old one cannot be removed: %w", d.path, err)
	}
	return nil
}

// finish ends writing and gives the lock back.
func (d *Dir) finish() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done = true
	if d.held != nil {
		d.held.Close()
		d.held = nil
	}
}

// Abort removes what was written. After Commit or Abort it does nothing.
func (d *Dir) Abort() error {
	d.mu.Lock()
	done := d.done
	d.mu.Unlock()
	if done {
		return nil
	}
	d.finish()
	if err := os.RemoveAll(d.tmp); err != nil {
		return failed(d.path, err)
	}
	return nil
}

// syncTree makes the names in dir and below it durable.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		return syncDir(path)
	})
}

// localName reports whether name, with slashes, is a plain path below a directory on
// every operating system.
func localName(name string) bool {
	odd := func(r rune) bool { return r == '\\' || r == ':' || unicode.IsControl(r) }
	return name != "." && fs.ValidPath(name) && filepath.IsLocal(filepath.FromSlash(name)) && !strings.ContainsFunc(name, odd)
}
