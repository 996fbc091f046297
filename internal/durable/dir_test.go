package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// version writes a directory at path without committing it: a.txt, sub/b.txt.
func version(t testing.TB, path, text string) *Dir {
	t.Helper()
	d, err := NewDir(path)
	check0(t, err)
	check0(t, d.WriteFile("a.txt", []byte(text)))
	check0(t, d.WriteFile("sub/b.txt", []byte(strings.Repeat(text, 1000))))
	return d
}

// has fails unless path is the complete version with text and nothing is beside it but others.
func has(t *testing.T, path, text string, others ...string) {
	t.Helper()
	if err := Verify(path); err != nil {
		t.Error(err)
		return
	}
	files := tree(t, path)
	delete(files, manifestName)
	want := map[string]string{"a.txt": text, "sub/": "", "sub/b.txt": strings.Repeat(text, 1000)}
	if !maps.Equal(files, want) {
		t.Errorf("%s: got %.200q, want %.200q", path, files, want)
	}
	list := append([]string{filepath.Base(path)}, others...)
	slices.Sort(list)
	if got := names(t, filepath.Dir(path)); !slices.Equal(got, list) {
		t.Errorf("beside it there are %q, want %q", got, list)
	}
}

func TestCommit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out", "run", "final")
	d := version(t, path, "one")
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before Commit: got %v, want nothing", err)
	}
	check0(t, d.Commit())
	has(t, path, "one")
	check0(t, d.Abort()) // does nothing
	has(t, path, "one")

	text, err := os.ReadFile(filepath.Join(path, manifestName))
	check0(t, err)
	want := `{
  "format": "litgpt-manifest",
  "version": 1,
  "files": {
    "a.txt": {
      "size": 3,
      "sha256": "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    },
`
	if !strings.HasPrefix(string(text), want) {
		t.Errorf("manifest: got %s, want %s…", text, want)
	}

	if err := d.Commit(); err == nil || !strings.Contains(err.Error(), "already committed") {
		t.Errorf("second Commit: got %v", err)
	}
	if err := d.WriteFile("c", nil); err == nil || !strings.Contains(err.Error(), "already committed") {
		t.Errorf("file after Commit: got %v", err)
	}
	d = version(t, path, "two")
	has(t, path, "one", filepath.Base(d.tmp))
	check0(t, d.Commit())
	has(t, path, "two")

	d = version(t, path, "three")
	check0(t, d.Abort())
	check0(t, d.Abort())
	has(t, path, "two")
	if err := d.Commit(); err == nil {
		t.Error("Commit after Abort: got no error")
	}

	// Empty directories and files are versions too.
	d, err = NewDir(path)
	check0(t, err)
	check0(t, d.Commit())
	check0(t, Verify(path))
	if got, want := names(t, path), []string{manifestName}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Where directories cannot be exchanged.
func TestCommitWithoutExchange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "final")
	for _, text := range []string{"one", "two", "three"} {
		d := version(t, path, text)
		d.exchange = func(a, b string) error { return errors.ErrUnsupported }
		check0(t, d.Commit())
		has(t, path, text)
	}
}

// A failed exchange leaves the old version, and Abort cleans up.
func TestCommitExchangeFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "final")
	check0(t, version(t, path, "one").Commit())
	d := version(t, path, "two")
	d.exchange = func(a, b string) error { return &os.LinkError{Op: "rename", Old: a, New: b, Err: syscall.EBUSY} }
	if err := d.Commit(); !errors.Is(err, syscall.EBUSY) || !strings.HasPrefix(err.Error(), path+": ") {
		t.Errorf("got %v", err)
	}
	check0(t, d.Abort())
	has(t, path, "one")
}

// Nothing is deleted that this package did not write.
func TestForeignFilesAreKept(t *testing.T) {
	for name, c := range map[string]struct {
		change func(path string)
		kept   map[string]string // nil when the old version may go
	}{
		"empty directory": {func(path string) { os.RemoveAll(path); os.Mkdir(path, 0o755) }, nil},
		"only ours":       {func(string) {}, nil},
		"no manifest":     {func(path string) { os.Remove(filepath.Join(path, manifestName)) }, map[string]string{"a.txt": "one"}},
		"added file":      {func(path string) { write(t, filepath.Join(path, "sub", "notes"), "mine") }, map[string]string{"a.txt": "one", "sub/notes": "mine"}},
		"edited file":     {func(path string) { write(t, filepath.Join(path, "a.txt"), "edited") }, map[string]string{"a.txt": "edited"}},
		"another program's manifest": {func(path string) { write(t, filepath.Join(path, manifestName), `{"name":"web app"}`) },
			map[string]string{manifestName: `{"name":"web app"}`}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "final")
			check0(t, version(t, path, "one").Commit())
			c.change(path)
			for n, text := range []string{"two", "three"} {
				check0(t, version(t, path, text).Commit())
				if c.kept == nil {
					has(t, path, text)
					continue
				}
				has(t, path, text, "final.old-1")
				if n == 0 {
					got := tree(t, path+".old-1")
					for file, want := range c.kept {
						if got[file] != want {
							t.Errorf("%s: got %q, want %q", file, got[file], want)
						}
					}
				}
			}
			if c.kept != nil {
				c.change(path)
				check0(t, version(t, path, "four").Commit())
				has(t, path, "four", "final.old-1", "final.old-2")
			}
		})
	}
}

func TestDirErrors(t *testing.T) {
	base := t.TempDir()
	path := filepath.Join(base, "final")
	d := version(t, path, "one")
	for _, name := range []string{"", ".", "..", "../x", "/x", "a/../b", "a//b", "a/", `a\b`, "C:x", "x\x00", manifestName, "a.txt", "a.txt/c"} {
		f, err := d.Create(name)
		if err == nil {
			f.Close()
		}
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: got %v, want an error with the path", name, err)
		}
	}
	check0(t, d.Abort())

	write(t, filepath.Join(base, "file"), "x")
	for path, want := range map[string]string{
		filepath.Join(base, "file"):      "is not a directory; choose another name",
		filepath.Join(base, "file", "x"): "not a directory",
		string(filepath.Separator):       "is the root of a file system",
	} {
		if _, err := NewDir(path); err == nil || !strings.HasPrefix(err.Error(), path+": ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", path, err, want)
		}
	}
	if got, want := names(t, base), []string{"file"}; !slices.Equal(got, want) {
		t.Errorf("left are %q, want %q", got, want)
	}
}

// Every way in which a file fails forbids the Commit.
func TestNoCommitAfterError(t *testing.T) {
	full := func(d *Dir) {
		d.openFile = func(string, int, os.FileMode) (*os.File, error) { return os.OpenFile("/dev/full", os.O_WRONLY, 0) }
	}
	for name, c := range map[string]struct {
		fail func(t *testing.T, d *Dir) error
		want string
		is   error
	}{
		"open file": {func(t *testing.T, d *Dir) error {
			f, err := d.Create("c.txt")
			t.Cleanup(func() { f.Close() })
			return err
		}, "not committed: not closed: c.txt", nil},
		"full disk, small file": {func(t *testing.T, d *Dir) error { full(d); return d.WriteFile("c.txt", []byte("x")) }, "c.txt: no space left on device; free some space", syscall.ENOSPC},
		"full disk, large file": {func(t *testing.T, d *Dir) error { full(d); return d.WriteFile("c.txt", make([]byte, 3<<20)) }, "c.txt: no space left on device; free some space", syscall.ENOSPC},
		"full disk, copy":       {func(t *testing.T, d *Dir) error { full(d); return d.CopyFile("c.txt", "dir_test.go") }, "c.txt: no space left on device", syscall.ENOSPC},
		"full disk, piece by piece": {func(t *testing.T, d *Dir) error {
			full(d)
			f, err := d.Create("c.txt")
			check0(t, err)
			var first error
			for range 3 {
				if _, err := f.Write(make([]byte, 1<<20)); err != nil && first == nil {
					first = err
				}
			}
			err = f.Close()
			if err != first || f.Close() != first {
				t.Errorf("close: got %v, want the error of the write, %v", err, first)
			}
			if _, err := f.Write(nil); !errors.Is(err, fs.ErrClosed) {
				t.Errorf("write after close: got %v", err)
			}
			return err
		}, "c.txt: no space left on device", syscall.ENOSPC},
		"full disk, manifest": {func(t *testing.T, d *Dir) error { full(d); return nil }, "manifest.json: no space left on device", syscall.ENOSPC},
		"no permission": {func(t *testing.T, d *Dir) error {
			d.openFile = func(name string, _ int, _ os.FileMode) (*os.File, error) {
				return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
			}
			return d.WriteFile("c.txt", nil)
		}, "c.txt: permission denied", fs.ErrPermission},
		"copy of a directory": {func(t *testing.T, d *Dir) error { return d.CopyFile("c.txt", t.TempDir()) }, "c.txt: copy " + os.TempDir(), nil},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.HasPrefix(name, "full") {
				if _, err := os.Stat("/dev/full"); err != nil {
					t.Skip("no /dev/full here")
				}
			}
			path := filepath.Join(t.TempDir(), "final")
			check0(t, version(t, path, "one").Commit())
			d := version(t, path, "two")
			first := c.fail(t, d)
			err := d.Commit()
			if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), tmpMark) {
				t.Errorf("Commit: got %v, want %s", err, c.want)
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("Commit: got %v, want %v", err, c.is)
			}
			if first != nil && !strings.Contains(err.Error(), first.Error()) {
				t.Errorf("Commit: got %v, want what the file said, %v", err, first)
			}
			check0(t, d.Abort())
			has(t, path, "one")
		})
	}
}

func TestCopyFile(t *testing.T) {
	base := t.TempDir()
	path := filepath.Join(base, "final")
	from := filepath.Join(base, "from")
	data := strings.Repeat("0123456789", 300_000)
	write(t, from, data)
	d, err := NewDir(path)
	check0(t, err)
	check0(t, d.CopyFile("tokenizer.json", from))
	missing := filepath.Join(base, "missing")
	if err := d.CopyFile("x", missing); !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), missing+": ") {
		t.Errorf("missing: got %v", err) // and the caller may go on without it
	}
	check0(t, d.Commit())
	check0(t, Verify(path))
	if got := tree(t, path)["tokenizer.json"]; got != data {
		t.Errorf("got %d bytes, want %d", len(got), len(data))
	}
}

// Shards are written side by side.
func TestConcurrentFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "final")
	d, err := NewDir(path)
	check0(t, err)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			f, err := d.Create(fmt.Sprintf("shards/%d", i))
			if err != nil {
				t.Error(err)
				return
			}
			for range 100 {
				io.WriteString(f, strings.Repeat(fmt.Sprint(i), 5000))
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	check0(t, d.Commit())
	check0(t, Verify(path))
	if got := len(tree(t, path)); got != 10 {
		t.Errorf("got %d names, want 8 shards, their directory and the manifest", got)
	}
}

// A link at the path survives; what it leads to is replaced.
func TestLinkedPath(t *testing.T) {
	base := t.TempDir()
	disk, link := filepath.Join(base, "disk", "final"), filepath.Join(base, "out", "final")
	check0(t, os.Mkdir(filepath.Dir(link), 0o755))
	check0(t, version(t, disk, "one").Commit())
	if err := os.Symlink(filepath.Join("..", "disk", "final"), link); err != nil {
		t.Skipf("no links here: %v", err)
	}
	check0(t, version(t, link, "two").Commit())
	has(t, link, "two")
	has(t, disk, "two")
	// A crash while the directory was aside: the link dangles.
	check0(t, os.Rename(disk, sibling(disk, asideMark)))
	check0(t, Recover(link))
	has(t, link, "two")
}

func TestPermissionsStay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "final")
	check0(t, version(t, path, "one").Commit())
	check0(t, os.Chmod(path, 0o750))
	check0(t, version(t, path, "two").Commit())
	if info, err := os.Stat(path); err != nil || filepath.Separator == '/' && info.Mode().Perm() != 0o750 {
		t.Errorf("got %v, want 0750", info.Mode())
	}
}
